"""Timesketch: JSON lines that its importers take as they are.

Law: Timesketch's user guide, "Import from JSON or CSV": an object a line, `message`, `datetime` (ISO 8601) and
`timestamp_desc` mandatory, `timestamp` in microseconds since 1970; any other key becomes an attribute::

    {"message":"write 2 bytes at pio 0x10: unplug mask 0x0003: IDE and SCSI disks, NICs","timestamp":1795401471823011,
     "datetime":"2026-11-23T02:37:51.823011+00:00","timestamp_desc":"Time recorded","data_type":"xptrace:access", ...}

Which times are told, and of what, is `xptrace.exports.happenings`. `time_certainty` says how sure a time is. What has
no UTC time is left out; the last line says how much that is, at the latest time of the timeline.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from xptrace.exports.export import Export
from xptrace.exports.happenings import CERTAINTIES, Happening, Happenings, inert, iso, plain

if TYPE_CHECKING:
    from xptrace.case import Case


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as a timeline of Timesketch; raises XptraceError where nothing has a UTC time."""
    happenings = Happenings(case)
    for one in happenings.dated():
        file.write(f"{inert(line(one))}\n".encode())
    if happenings.missing and happenings.last_ns is not None:
        file.write(f"{inert(_left_out(happenings.missing, happenings.last_ns))}\n".encode())


def line(one: Happening) -> dict[str, Any]:
    """The attributes of one event."""
    row = plain(one.row)
    row.pop("kind", None)
    return {**_stamped(one.said, one.time_ns or 0, CERTAINTIES[one.certainty], one.certainty, one.what),
            "vm": one.vm, "boot": one.boot, **row}


def _stamped(said: str, time_ns: int, description: str, certainty: str, what: str) -> dict[str, Any]:
    return {"message": said, "timestamp": time_ns // 1000, "datetime": _micro(time_ns), "timestamp_desc": description,
            "data_type": f"xptrace:{what}", "time_certainty": certainty}


def _micro(time_ns: int) -> str:
    """ISO 8601 with the microseconds that Timesketch counts in."""
    return f"{(iso(time_ns) or '')[:26]}+00:00"


def _left_out(missing: str, last_ns: int) -> dict[str, Any]:
    said = f"xptrace: not in this timeline, for want of a UTC time: {missing}"
    return _stamped(said, last_ns, "Note of the export, no event", "none", "note")


EXPORT = Export("timesketch", "a timeline for Timesketch, as JSON lines", ".jsonl", write, binary=False)
