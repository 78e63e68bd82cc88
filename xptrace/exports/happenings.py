"""What the timelines of others are made of: one happening for each access, line, event and finding, with its UTC time.

Timesketch, log stores and log2timeline want UTC of every line. Only two clocks give it (`dissectors.clock`: wall and
syslog; `--clock-offset` makes a recording's times wall). What has none is not given one: it stands at the time of the
last thing before it *in the same recording, of the same VM*, that has a UTC time, and says so: only the order is
certain. Where there is nothing before it, it has no time (`time_ns` of a happening is None)::

    Happening(what="access", said="write 2 bytes at pio 0x10: unplug mask 0x0003: IDE and SCSI disks, NICs",
              vm="win10", boot=1, time_ns=1795401471823011000, certainty="recorded", ...)

The bytes of the log port are left out, their lines stand for them. Happenings come in the order of the recordings, the
findings at the end, each with the time of its first proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from dissectors.clock import CLOCKS, SYSLOG, WALL
from dissectors.platform.registers import LOG_REGISTERS
from xptrace.access.rows import Access, Entry, Message
from xptrace.errors import XptraceError
from xptrace.exports.lines import jsonl
from xptrace.negotiation.story import Moment, Step
from xptrace.views.escape import printable

if TYPE_CHECKING:
    from xptrace.case import Case
    from xptrace.findings.assess import Finding

What = Literal["access", "message", "event", "finding"]
Certainty = Literal["recorded", "order only", "none"]

CERTAINTIES: Final[Mapping[Certainty, str]] = {
    "recorded": "Time recorded",
    "order only": "By order alone: recorded after what has this time",
    "none": "No UTC time recorded",
}
"""How sure a time is, and in the words of a timeline."""
LARGEST: Final = (1 << 63) - 1
"""The largest number that a document store takes; it refuses a whole document for a larger one."""
_UTC: Final = (WALL, SYSLOG)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WAYS: Final = {"log": "log", "debug": "debug port", "kernel": "kernel"}


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a timeline: `said` in words, safe to print and never a formula, `row` with all keys of what it is.

    `time_ns` is UTC, or None; `row["time_ns"]` and `row["clock"]` are what was recorded. `finding` is what was found.
    """

    what: What
    said: str
    vm: str
    boot: int
    time_ns: int | None
    certainty: Certainty
    row: Mapping[str, Any]
    finding: Finding | None = None

    @property
    def clock(self) -> str | None:
        """The clock of `time_ns`, where it was recorded."""
        clock: str | None = self.row.get("clock")
        return clock if self.certainty == "recorded" else None


@dataclass(slots=True)
class Happenings:
    """Tells what happened, and counts what has no UTC time of its own."""

    case: Case
    undated: Counter[str] = field(default_factory=Counter)
    """Happenings without any UTC time, by what tells of them, in words."""
    last_ns: int | None = None
    """The latest UTC time that was told."""

    def told(self) -> Iterator[Happening]:
        """Every happening."""
        findings = self.case.assessment.findings
        wanted = {(place.source, place.offset) for found in findings for place in found.evidence[:1]}
        moments: dict[tuple[str, int], Happening] = {}
        before: dict[tuple[str, str], int] = {}
        for entry in self.case.entries():
            here = self._of(entry, before)
            for record in entry.records:
                if (record.source, record.offset) in wanted:
                    moments.setdefault((record.source, record.offset), here)
            if not isinstance(entry, Access) or not _log_byte(entry):
                yield self._counted(here)
        for found in findings:
            yield self._counted(_found(found, moments))

    def _of(self, entry: Entry, before: dict[tuple[str, str], int]) -> Happening:
        recording, time_ns = (entry.records[0].source, entry.vm), utc(entry)
        certainty: Certainty = "recorded"
        if time_ns is None:
            time_ns = before.get(recording)
            certainty = "none" if time_ns is None else "order only"
        else:
            before[recording] = time_ns
        return Happening(entry.kind, _said(entry), printable(entry.vm), entry.boot, time_ns, certainty, entry.row())

    def _counted(self, one: Happening) -> Happening:
        if one.time_ns is None:
            clock = one.row.get("clock")
            self.undated[f"by {CLOCKS.get(clock, clock)}" if clock else "without a time"] += 1
        else:
            self.last_ns = one.time_ns if self.last_ns is None else max(self.last_ns, one.time_ns)
        return one

    def dated(self) -> Iterator[Happening]:
        """Those that have a UTC time; raises XptraceError where there is none at all."""
        yield from (one for one in self.told() if one.time_ns is not None)
        if self.last_ns is None:
            raise XptraceError(
                f"no UTC time is recorded ({self.missing or 'nothing happened'}), and this format needs one: "
                "--clock-offset CLOCK=SECONDS tells how a clock stands to UTC"
            )

    @property
    def missing(self) -> str:
        """How many had no UTC time, clock by clock, in words; empty where all had one."""
        return ", ".join(f"{count} {how}" for how, count in sorted(self.undated.items()))


def utc(entry: Entry) -> int | None:
    """The UTC time of an entry, missing where its clock is none that tells UTC, or the time is no date."""
    if entry.time_ns is None or entry.clock not in _UTC or iso(entry.time_ns) is None:
        return None
    return entry.time_ns


def iso(time_ns: int) -> str | None:
    """ISO 8601 in UTC with nanoseconds; missing for what is beyond the years that have four digits."""
    microseconds, rest = divmod(time_ns, 1000)
    try:
        when = (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")
    except OverflowError:
        return None
    return f"{when[:26]}{rest:03d}Z"


def inert(row: Mapping[str, Any]) -> str:
    """One JSON object, safe also where it is put into a page as it stands."""
    return jsonl(row).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a row that have a value: texts safe to print, numbers of more than 63 bits as texts in `KEY_hex`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, str):
            found[key] = printable(value)
        elif isinstance(value, int) and value > LARGEST:
            found[f"{key}_hex"] = f"0x{value:x}"
        elif value is not None:
            found[key] = value
    return found


def _log_byte(access: Access) -> bool:
    """Whether it writes one character to the log port, and not a legacy unplug."""
    if access.register not in LOG_REGISTERS or access.direction != "write" or access.size != 1:
        return False
    step = Step(access.register, access.space, access.offset or 0, 1, "write", access.value, Moment.of(access))
    return step.mask is None


def _said(entry: Entry) -> str:
    if isinstance(entry, Access):
        size = "" if entry.size is None else f" {entry.size} byte{'s' * (entry.size > 1)}"
        place = "" if entry.address is None else f" at {entry.space} 0x{entry.address:x}"
        doubt = "" if entry.certainty == "observed" else " (inferred)"
        return printable(f"{entry.direction}{size}{place}: {entry.meaning}{doubt}")
    if isinstance(entry, Message):
        return printable(f"guest ({_WAYS[entry.via]}): {entry.text}")
    return printable(f"{entry.topic} {entry.subject}: {entry.said}")


def _found(found: Finding, moments: Mapping[tuple[str, int], Happening]) -> Happening:
    row = found.row()
    first = found.evidence[0] if found.evidence else None
    at = moments.get((first.source, first.offset)) if first else None
    if first:
        row |= {"source": first.source, "offset": first.offset, "line": first.line}
    if at is not None:
        row |= {"time_ns": at.row["time_ns"], "clock": at.row["clock"]}
    said = printable(f"finding {found.rule.id} ({found.severity}): {found.sentence}")
    return Happening("finding", said, printable(found.vm), found.boot, at.time_ns if at else None,
                     at.certainty if at else "none", row, found)
