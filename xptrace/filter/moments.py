"""Times as a filter names them, and which clocks they may be compared with.

Law: `dissectors.clock`: only some clocks tell dates, and of those only two tell UTC; to compare another's time with a
date would be a guess. A time that a clock cannot be compared with is neither before nor after it: it is unknown::

    2026-11-23T04:05:29.5Z    with a zone: clocks that are known to be UTC
    2026-11-23T04:05:29       as it stands in the recording: every clock whose times are dates
    04:05:29                  on whatever day: the same clocks
    12.5s                     seconds of the clock's own count, whichever it is: since 1970, since the host's boot
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from dissectors.clock import CLOCKS, DATES, SYSLOG, WALL

DAY_NS: Final = 86_400 * 10**9
UNITS_NS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
"""Units of a duration, in nanoseconds."""
_UTC: Final = frozenset({WALL, SYSLOG})
_ALL: Final = frozenset(CLOCKS)
_MOMENT: Final = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)(?:[T ](?=\d)|$))?"
    r"(?:(?P<time>\d\d?:\d\d(?::\d\d)?)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, or a time of day (`of_day`), in nanoseconds, and the clocks that it means something to."""

    time_ns: int
    clocks: frozenset[str]
    of_day: bool = False


def moment(text: str) -> Moment | None:
    """The moment that is written so, with its date, its time or both; None where it is no time, or beyond 64 bits."""
    found = _MOMENT.fullmatch(text)
    if found is None or not text:
        return None
    date, time, zone = found["date"], found["time"], found["zone"]
    try:
        hour, _, rest = (time or "0:00").partition(":")
        begun = datetime.fromisoformat(f"{date or '1970-01-01'}T{hour:0>2}:{rest}{zone or '+00:00'}")
        seconds = (begun - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=1)
    except (OverflowError, ValueError):
        return None
    time_ns = seconds * 10**9 + int((found["fraction"] or "0").ljust(9, "0"))
    if date is None:
        time_ns %= DAY_NS
    return Moment(time_ns, _UTC if zone else DATES, date is None) if abs(time_ns) < 1 << 63 else None


def count(number: str, unit: str) -> int | None:
    """A duration in nanoseconds; None where it is no whole number of them, or beyond 64 bits."""
    exact = Fraction(number) * UNITS_NS[unit]
    return int(exact) if exact.denominator == 1 and exact < 1 << 63 else None


def since_origin(time_ns: int) -> Moment:
    """The point that lies so far from the origin of whatever clock."""
    return Moment(time_ns, _ALL)
