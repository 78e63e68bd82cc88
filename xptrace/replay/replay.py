"""A recording replayed: every access of every VM and boot set beside what a device of one profile would have answered.

Law: `xptrace.replay.judge`, access by access, and what a machine outlives: a new device model knows nothing, a reset
keeps what QEMU keeps, a migration takes flags and config space along (`xptrace.model.machine`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dissectors.platform.registers import LOG_REGISTERS
from xptrace.access.attribution import Beginning, Vm
from xptrace.access.messages import decode_text
from xptrace.access.rows import Access, Message, Row
from xptrace.model.device import Blacklist
from xptrace.model.effects import Character, Effect, Logged
from xptrace.model.function import Identity
from xptrace.model.inventory import Bridge, Inventory
from xptrace.model.log import LogBuffer, take
from xptrace.model.machine import Machine, migrate, power_on, reset
from xptrace.model.profile import Profile
from xptrace.replay.automaton import Automaton
from xptrace.replay.judge import ASSUMED, NOTHING, Judgement, Observed, Standing
from xptrace.replay.words import divergence


@dataclass(frozen=True, slots=True)
class Start:
    """The device that a recording is replayed on; what is not given is the profile's own."""

    profile: Profile
    identities: tuple[Identity, ...] = ()
    inventory: Inventory = ()
    bridges: tuple[Bridge, ...] = ()
    blacklist: Blacklist = frozenset()

    def machine(self) -> Machine:
        """A machine of this kind that has just started."""
        return power_on(self.profile, identities=self.identities or None, inventory=self.inventory,
                        bridges=self.bridges, blacklist=self.blacklist)

    def standing(self, began: Beginning | None) -> Standing:
        """Where a replay stands at the start; of a start that the recording does not show the state is assumed."""
        standing = Standing(self.machine(), given=bool(self.identities))
        return replace(standing, assumed=standing.assumed - ASSUMED) if began == "process" else standing


@dataclass(frozen=True, slots=True)
class Judged:
    """One row of a recording with the model's word on it; `state` is the number of the state before the access."""

    row: Row
    judgement: Judgement
    effects: tuple[Effect, ...] = ()
    state: int = -1
    after: int = -1

    def keys(self) -> dict[str, object]:
        """The keys of `decode`, and `expected` and `agrees`."""
        return {**self.row.row(), "expected": self.judgement.expected, "agrees": self.judgement.agrees}


def observe(access: Access) -> Observed:
    """What the model gets to see of a row."""
    function, base = access.function, access.base
    # of BAR1 whose base is not known, every offset is as good as the first: it has no registers
    offset = 0 if access.space == "bar1" and not base else access.offset
    return Observed(access.space, offset, access.size, access.direction, access.value,
                    None if function is None else function.number, None if function is None else function.device)


@dataclass(slots=True)
class _Following:
    """One VM while its rows pass by."""

    boot: int
    state: int
    buffer: LogBuffer = field(default_factory=LogBuffer)
    gap: bool = False
    """Whether bytes of the line that is being written are not recorded."""
    line: bytes | None = None
    """The last line that the model emitted, until the recording tells its own."""


class Replay:
    """Replays rows as they come; `automaton` holds the states that they led through."""

    def __init__(self, start: Start, vms: Mapping[str, Vm]) -> None:
        """`vms` tells how each boot began; it may grow while the rows come in."""
        self.start = start
        self.automaton = Automaton()
        self._vms = vms
        self._following: dict[str, _Following] = {}

    def machine(self, vm: str) -> Machine | None:
        """The machine of a VM as it is now, its log buffer included; None where it has no access yet."""
        following = self._following.get(vm)
        if following is None:
            return None
        machine = self.automaton.standings[following.state].machine
        place = machine.platform
        if place is None:
            return machine
        functions = list(machine.functions)
        functions[place] = replace(functions[place], log=following.buffer)
        return replace(machine, functions=tuple(functions))

    def rows(self, rows: Iterable[Row]) -> Iterator[Judged]:
        """Each row with the model's word on it, in order."""
        return map(self.row, rows)

    def row(self, row: Row, observed: Observed | None = None) -> Judged:
        """One more row, with the model's word on it; of an access that somebody knows already how it is observed."""
        following = self._at(row.vm, row.boot)
        if isinstance(row, Message):
            return Judged(row, self._message(following, row))
        if self.automaton.full:
            self._begin_anew()
        before, after, _, judgement, effects = self.automaton.transitions[
            self.automaton.step(following.state, observed or observe(row))
        ]
        following.state = after
        if effects:
            effects = self._log(following, effects, row.time_ns)
        elif row.value is None and row.direction == "write" and row.register in LOG_REGISTERS:
            following.gap = True
        return Judged(row, judgement, effects, before, after)

    def _begin_anew(self) -> None:
        standings = {name: self.automaton.standings[one.state] for name, one in self._following.items()}
        self.automaton = Automaton()
        for name, standing in standings.items():
            self._following[name].state = self.automaton.enter(standing)

    def _at(self, name: str, boot: int) -> _Following:
        following = self._following.get(name)
        if following is None:
            began = self._vms[name].began.get(boot) if name in self._vms else None
            following = self._following[name] = _Following(boot, self.automaton.enter(self.start.standing(began)))
        elif following.boot != boot:
            began = self._vms[name].began.get(boot) if name in self._vms else None
            standing = self.automaton.standings[following.state]
            following.state = self.automaton.enter(next_standing(self.start, standing, began))
            following.boot, following.line = boot, None
            if began != "reset":
                following.buffer, following.gap = LogBuffer(), False
        return following

    def _log(self, following: _Following, effects: tuple[Effect, ...], time_ns: int | None) -> tuple[Effect, ...]:
        """The effects with the lines that characters for the log became."""
        done: list[Effect] = []
        for effect in effects:
            if not isinstance(effect, Character):
                done.append(effect)
                continue
            following.buffer, said = take(self.start.profile, following.buffer, effect.value, time_ns)
            for one in said:
                if isinstance(one, Logged):
                    following.line, following.gap = None if following.gap else one.text, False
            done += said
        return tuple(done)

    @staticmethod
    def _message(following: _Following, row: Message) -> Judgement:
        """Whether the device's own line is the one that the bytes before it make."""
        line, following.line = following.line, None
        told = any(record.event == "xen_platform_log" for record in row.records)
        if not told:
            return NOTHING
        if line is None:  # the bytes were not recorded, and what is pending was emitted too
            following.buffer = LogBuffer()
            return NOTHING
        return Judgement(None, decode_text(line) == row.text)


def next_standing(start: Start, standing: Standing, began: Beginning | None) -> Standing:
    """Where a replay stands at the beginning of a VM's next boot."""
    if began == "reset":
        return replace(standing, machine=reset(standing.machine))
    if began == "migration":
        return replace(standing, machine=migrate(standing.machine, start.inventory))
    fresh = start.standing(began)
    functions = standing.machine.functions  # the functions are where they were: the same VM starts again
    if start.identities or not functions:
        return fresh
    machine = power_on(
        start.profile, identities=[one.identity for one in functions], inventory=start.inventory,
        bridges=start.bridges, blacklist=start.blacklist,
    )
    placed = tuple(
        replace(new, number=old.number, bus=old.bus) for new, old in zip(machine.functions, functions, strict=True)
    )
    return replace(fresh, machine=replace(machine, functions=placed))


@dataclass(slots=True)
class Tally:
    """The account of one VM and boot: what agreed, what did not, what there was nothing to compare with."""

    accesses: int = 0
    agreed: int = 0
    diverged: int = 0
    adopted: int = 0
    lines_agreed: int = 0
    lines_diverged: int = 0

    def add(self, judged: Judged) -> None:
        """Count one row."""
        agrees = judged.judgement.agrees
        if isinstance(judged.row, Message):
            self.lines_agreed += agrees is True
            self.lines_diverged += agrees is False
            return
        self.accesses += 1
        self.agreed += agrees is True
        self.diverged += agrees is False
        self.adopted += judged.judgement.adopted

    @property
    def uncompared(self) -> int:
        """Accesses of which there was nothing to compare: writes, and answers that one side does not know."""
        return self.accesses - self.agreed - self.diverged


def sentence(profile: Profile, judged: Judged) -> str:
    """Why a row diverges, in words; the guest's own text is not in it."""
    if isinstance(judged.row, Message):
        return "the line that the device emitted is not the one that the bytes written before it make"
    return divergence(profile, observe(judged.row), judged.judgement.expected or 0)
