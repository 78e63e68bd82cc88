r"""Which releases of QEMU can have written a record: by the form of its event, and by what stands before it.

Law: the eras of the declarations (`events/`) and of the line forms (`dissectors.qemu.writing`). A record belongs to
every era whose declaration prints exactly its text, so that one without a zero in it may belong to several::

    cpu_in addr 0x10(w) value 18898     2.5 and later: before, no size was told
    cpu_in addr 0(b) value 0            2.5 to 2.9: later, zero has its 0x
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dissectors.clock import MONOTONIC
from dissectors.qemu import prefix
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.writing import FORMS, Range, Version, print_event, range_of
from dissectors.record import Record

_STAMPED = re.compile(rb"\d{1,10}@\d{1,11}\.\d{6}:$")
_ISO = re.compile(rb"^\d{4}-\d\d-\d\dT[\d:]{8}(?:\.\d{6})?Z $")


class Era(NamedTuple):
    """The releases that write such a record; `sign` names what says so, in words, and is the same for like records."""

    sign: str
    ranges: tuple[Range, ...]

    def holds(self, version: Version) -> bool:
        """Whether a release is one of them."""
        return any(one.holds(version) for one in self.ranges)


def _said(ranges: tuple[Range, ...]) -> str:
    def end(version: Version | None) -> str:
        return ".".join(map(str, version or ()))

    return " or ".join(
        f"{end(one.first)} and later" if one.first and not one.last
        else f"up to {end(one.last)}" if one.last and not one.first
        else f"{end(one.first)} to {end(one.last)}"
        for one in ranges
    )


def of_event(catalogue: Catalogue, record: Record) -> Era | None:
    """The era of a record's event text; None where every release writes it so, or none that is known."""
    if record.clock == MONOTONIC:  # of simpletrace, which has no lines
        return None
    found = prefix.read(record.raw)
    if found is None or record.recovered:
        return None
    text = record.raw[found.end :]
    fits = []
    for declaration in catalogue.declarations(record.event.encode()):
        try:
            printed = print_event(declaration, record.values)
        except ValueError:  # another form has other arguments
            continue
        if printed == text:
            fits.append(range_of(declaration.era))
    if not fits or any(one == Range() for one in fits):
        return None
    ranges = _joined(fits)
    return Era(f"{record.event} is written so by QEMU {_said(ranges)}", ranges)


def _joined(ranges: list[Range]) -> tuple[Range, ...]:
    """Ranges that follow each other as one; eras of one event have no gaps but those where it did not exist."""
    ordered = sorted(set(ranges), key=lambda one: one.first or ())
    joined: list[Range] = []
    for one in ordered:
        if joined and joined[-1].last and one.first and one.first <= _next(joined[-1].last):
            joined[-1] = Range(joined[-1].first, one.last)
        else:
            joined.append(one)
    return tuple(joined)


_LAST_MINOR = {0: 15, 1: 7, 2: 12, 3: 1}
"""The last minor release of a major one; since 4 it is always 2."""


def _next(version: Version) -> Version:
    major, minor = (*version, 0)[:2]
    return (major + 1, 0) if minor >= _LAST_MINOR.get(major, 2) else (major, minor + 1)


def of_line(record: Record) -> Era | None:
    """The era of what stands before the event; None where it tells nothing (syslog, the tracer's marker)."""
    found = prefix.read(record.raw)
    if found is None or record.recovered:
        return None
    before = record.raw[: found.end]
    if not before:
        ranges = FORMS["qemu-log"].versions
        return Era(f"lines without a prefix are written by QEMU {_said(ranges)}", ranges)
    if _STAMPED.search(before):
        ranges = _joined([*FORMS["qemu-log-pid"].versions, *FORMS["qemu-log-tid"].versions])
        return Era(f"the prefix NUMBER@SECONDS is written by QEMU {_said(ranges)}", ranges)
    if _ISO.match(before):
        ranges = FORMS["qemu-log-iso"].versions
        return Era(f"the prefix of an ISO 8601 time is written by QEMU {_said(ranges)}", ranges)
    return None
