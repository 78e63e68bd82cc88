"""How much of the model a recording exercised: which registers, which of their cases, which states and transitions.

Law: `xptrace.model.device`, whose states are counted here by what a guest can tell apart: flags, protocol, whether a
product and a build were named, whether the driver is refused, and what was unplugged. All that can be reached is found
by trying every kind of access in every state, from power-on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from dissectors.platform.registers import LOG_BUFFER, LOG_REGISTERS, pieces
from xptrace.access.rows import Access
from xptrace.model.access import Access as Tried
from xptrace.model.effects import Logged
from xptrace.model.inventory import Inventory
from xptrace.model.machine import Machine, power_on, reach
from xptrace.model.profile import Profile
from xptrace.replay.replay import Judged, Replay, observe


class State(NamedTuple):
    """What a guest can tell of the device."""

    flags: int
    protocol: int
    named: bool
    built: bool
    refused: bool
    asked: int


def state_of(machine: Machine) -> State | None:
    """The state of the device that answers the fixed ports; None where there is none."""
    place = machine.platform
    device = None if place is None else machine.functions[place].device
    if device is None:
        return None
    return State(device.flags or 0, device.protocol, bool(device.product), device.build is not None,
                 device.blacklisted, device.asked)


class Case(NamedTuple):
    """One case of a register: its name, the direction, and which values are alike."""

    register: str
    direction: str
    which: str


def _case(register: str, direction: str, value: int | None) -> Case:
    which = ""
    if value is None:
        which = "not recorded"
    elif direction == "write":
        if register in ("flags", "bar0_flags"):
            which = str(value & 1)
        elif register == "unplug_mask":
            which = f"0x{value & 0xF:x}"
        elif register in LOG_REGISTERS:
            unplugs = register == "bar0_log" and value in (1, 2)
            which = "unplug" if unplugs else "end of line" if value == 0x0A else "text"
        elif register == "bar0_unplug_all":
            which = "1" if value == 1 else "other"
        elif register == "product_number":
            which = "0" if value == 0 else "named"
        elif register == "unplug_type":
            which = str(value) if value < 3 else "other"
        elif register == "unplug_index":
            which = str(value) if value < 3 else "3 and up"
    return Case(register, direction, which)


_TRIED: Final = (
    *((0x10, 1, "write", value) for value in (0, 1)), *((0x10, 2, "write", mask) for mask in range(16)),
    *((0x12, 2, "write", value) for value in (0, 3, 0xFFFF)), *((0x10, 4, "write", value) for value in (1, 0x202)),
    (0x12, 1, "write", 0x41), (0x12, 1, "write", 0x0A), *((0x11, 1, "write", value) for value in range(4)),
    *((0x13, 1, "write", value) for value in range(4)), (0x10, 1, "read", None), (0x10, 2, "read", None),
    (0x12, 1, "read", None),
)
_TRIED_BAR0: Final = (
    (0, 1, "read", None), *((0, 1, "write", value) for value in (0, 1)), (4, 1, "write", 1), (4, 1, "write", 0),
    *((8, 1, "write", value) for value in (1, 2, 0x0A, 0x41)),
)


def _tried() -> Iterator[Tried]:
    for offset, size, direction, value in _TRIED:
        yield Tried("pio", offset, size, direction, value)  # type: ignore[arg-type]
    for offset, size, direction, value in _TRIED_BAR0:
        yield Tried("bar0", offset, size, direction, value)  # type: ignore[arg-type]


def _cases(access: Tried) -> Iterator[Case]:
    for piece in pieces(access.space, access.offset, access.size, access.direction, access.value):
        if piece.register is not None:
            yield _case(piece.register.name, access.direction, piece.value if access.direction == "write" else 0)


@cache
def reachable(profile: Profile) -> tuple[frozenset[State], frozenset[tuple[State, Case, State]]]:
    """Every state and transition that a guest can bring about on a device; no inventory is needed for that."""
    nothing: Inventory = ()
    start = power_on(profile, inventory=nothing)
    first = state_of(start)
    assert first is not None  # noqa: S101  (a machine starts with its platform device)
    seen: dict[State, Machine] = {first: start}
    transitions = set()
    todo = deque([start])
    while todo:
        machine = todo.popleft()
        before = state_of(machine)
        for access in _tried():
            after_machine = reach(machine, access).machine
            after = state_of(after_machine)
            assert before is not None  # noqa: S101
            assert after is not None  # noqa: S101
            transitions |= {(before, case, after) for case in _cases(access)}
            if after not in seen:
                seen[after] = after_machine
                todo.append(after_machine)
    return frozenset(seen), frozenset(transitions)


@dataclass(slots=True)
class Coverage:
    """What a replay went through so far."""

    profile: Profile
    cases: Counter[Case] = field(default_factory=Counter)
    states: set[State] = field(default_factory=set)
    transitions: set[tuple[State, Case, State]] = field(default_factory=set)
    full_buffer: int = 0
    """Lines that went out because the buffer was full."""

    def take(self, replay: Replay, judged: Judged) -> None:
        """Count one judged row."""
        if not isinstance(judged.row, Access) or judged.state < 0:
            return
        standings = replay.automaton.standings
        before, after = state_of(standings[judged.state].machine), state_of(standings[judged.after].machine)
        if before is None or after is None:
            return
        self.states |= {before, after}
        self.full_buffer += any(
            isinstance(effect, Logged) and len(effect.text) == LOG_BUFFER and effect.lost is not None
            for effect in judged.effects
        )
        observed = observe(judged.row)
        for piece in pieces(observed.space, observed.offset or 0, observed.size, observed.direction, observed.value):
            if piece.register is None:
                continue
            case = _case(piece.register.name, piece.direction, piece.value if piece.direction == "write" else 0)
            self.cases[case] += 1
            self.transitions.add((before, case, after))

    def counts(self) -> dict[str, tuple[int, int]]:
        """(exercised, reachable) of cases, states and transitions."""
        states, transitions = reachable(self.profile)
        cases = {case for _, case, _ in transitions}
        return {
            "register cases": (len(self.cases.keys() & cases), len(cases)),
            "states": (len(self.states & states), len(states)),
            "transitions": (len(self.transitions & transitions), len(transitions)),
        }

    def missing(self) -> list[Case]:
        """The cases of registers that were never exercised, in order."""
        _, transitions = reachable(self.profile)
        return sorted({case for _, case, _ in transitions} - self.cases.keys())
