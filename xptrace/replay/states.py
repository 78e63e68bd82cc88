"""The state of the modelled device as intervals: which register held what, from which access to which.

Law: `xptrace.model.device` for what is remembered. Every value is the model's, and says how sure it is: derived from
what the recording shows, or only assumed of a start that the recording does not show::

    unplugged 0x3 from trace.log:60 (unplug mask 0x0003) to the end
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from dissectors.platform.products import PRODUCTS
from dissectors.platform.registers import in_words
from dissectors.record import Record
from xptrace.access.rows import Access
from xptrace.model.machine import Machine
from xptrace.replay.judge import Standing
from xptrace.replay.replay import Judged, Replay

Certainty = Literal["derived", "assumed"]

KEYS: Final = (
    "vm", "boot", "profile", "register", "value", "meaning", "certainty", "clock", "from_ns", "to_ns", "source",
    "offset", "line", "to_source", "to_offset", "to_line",
)
"""The keys of a state row, in order."""

REGISTERS: Final = (
    "flags", "product", "build", "protocol", "blacklisted", "unplugged", "command", "bar0", "bar1",
)
"""What is followed; the log buffer changes with every character, and is told for one instant only."""

_ASSUMED_AS: Final = {"flags": "flags", "blacklisted": "blacklisted", "protocol": "protocol"}


def values(machine: Machine) -> dict[str, int | None]:
    """The value of every register that is followed, missing where the machine has none."""
    place = machine.platform
    if place is None:
        return dict.fromkeys(REGISTERS)
    function = machine.functions[place]
    device, profile = function.device, machine.profile
    assert device is not None  # noqa: S101  (a place is a platform device's)
    return {
        "flags": device.flags, "product": device.product, "build": device.build,
        "protocol": device.protocol if profile.protocol_choice else 1,
        "blacklisted": int(device.blacklisted) if profile.blacklist != "none" else 0,
        "unplugged": device.asked, "command": function.command, "bar0": function.bar0, "bar1": function.bar1,
    }


def meaning(register: str, value: int | None) -> str:
    """What a value of a register says, in words."""
    if value is None:
        return {"build": "not named, or not kept by this device", "bar0": "not decoded", "bar1": "not decoded"}.get(
            register, "not known"
        )
    if register == "flags":
        return f"ROM area {'read-only' if value & 1 else 'writable'}"
    if register == "product":
        return PRODUCTS.get(value, "unregistered") if value else "none named"
    if register == "blacklisted":
        return "the driver is refused" if value else "no driver is refused"
    if register == "unplugged":
        return in_words(value)
    if register == "protocol":
        return {0: "not chosen yet", 1: "unplug by mask", 2: "unplug by device"}.get(value, "unknown")
    if register == "build":
        return f"0x{value:08x}"
    if register == "command":
        decoded = [name for bit, name in ((1, "I/O"), (2, "memory"), (4, "bus master")) if value & bit]
        return ", ".join(decoded) or "nothing decoded"
    return f"at 0x{value:x}"


@dataclass(frozen=True, slots=True)
class Interval:
    """One value of one register, from one access to the next that changed it; `until` is missing at the end."""

    vm: str
    boot: int
    profile: str
    register: str
    value: int | None
    certainty: Certainty
    clock: str | None
    since_ns: int | None
    since: Record
    until_ns: int | None = None
    until: Record | None = None

    def row(self) -> dict[str, Any]:
        """The keys of a state row, in order."""
        until = self.until
        return {
            "vm": self.vm, "boot": self.boot, "profile": self.profile, "register": self.register, "value": self.value,
            "meaning": meaning(self.register, self.value), "certainty": self.certainty, "clock": self.clock,
            "from_ns": self.since_ns, "to_ns": self.until_ns, "source": self.since.source,
            "offset": self.since.offset, "line": self.since.line, "to_source": until and until.source,
            "to_offset": until and until.offset, "to_line": until and until.line,
        }


class States:
    """Follows a replay, and hands on each interval when it ends."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._open: dict[str, dict[str, Interval]] = {}

    def watch(self, rows: Iterable[Judged]) -> Iterator[Interval]:
        """Every interval, in the order in which they end; those that are open at the end come last."""
        for judged in rows:
            if isinstance(judged.row, Access):
                yield from self._take(judged.row, judged)
        for held in self._open.values():
            yield from held.values()

    @property
    def now(self) -> Mapping[str, Mapping[str, Interval]]:
        """The intervals that are open, by VM and register."""
        return self._open

    def _take(self, access: Access, judged: Judged) -> Iterator[Interval]:
        held = self._open.get(access.vm)
        standings = self._replay.automaton.standings
        boot_is_new = held is not None and next(iter(held.values())).boot != access.boot
        if held is None or boot_is_new:
            if held is not None:
                yield from (self._ended(one, access) for one in held.values())
            held = self._open[access.vm] = {}
            self._begin(held, access, standings[judged.state])
        if judged.after == judged.state:
            return
        before, after = standings[judged.state], standings[judged.after]
        new = values(after.machine)
        for name, value in new.items():
            if held[name].value != value:
                yield self._ended(held[name], access)
                held[name] = self._interval(access, name, value, "derived")
            elif name in _ASSUMED_AS and _assumed(before, name) and not _assumed(after, name):
                held[name] = replace(held[name], certainty="derived")

    def _begin(self, held: dict[str, Interval], access: Access, standing: Standing) -> None:
        for name, value in values(standing.machine).items():
            certainty: Certainty = "assumed" if _assumed(standing, name) or name in ("command", "bar0", "bar1") \
                else "derived"
            held[name] = self._interval(access, name, value, certainty)

    def _interval(self, access: Access, name: str, value: int | None, certainty: Certainty) -> Interval:
        return Interval(access.vm, access.boot, self._replay.start.profile.name, name, value, certainty, access.clock,
                        access.time_ns, access.cited)

    @staticmethod
    def _ended(interval: Interval, access: Access) -> Interval:
        same_clock = interval.clock == access.clock
        return replace(interval, until_ns=access.time_ns if same_clock else None, until=access.cited)


def _assumed(standing: Standing, register: str) -> bool:
    name = _ASSUMED_AS.get(register, "product" if register in ("product", "build", "unplugged") else "")
    if name == "product":  # nothing shows these but what is written: of a start that is not shown they are assumed
        return bool(standing.assumed & {"flags"})
    return name in standing.assumed
