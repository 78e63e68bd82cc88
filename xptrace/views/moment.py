"""Times as people write them, and back. Integers of nanoseconds inside; no floating point touches them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from dissectors.clock import DATES, SYSLOG, WALL
from xptrace.errors import XptraceError

_DAY = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d\d?:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?$")
_EPOCH = re.compile(r"(\d{1,11})(?:\.(\d{1,9}))?$")
_DATE = re.compile(r"\d{4}-\d\d-\d\d$")
_UTC = (WALL, SYSLOG)
_DAY_NS = 86400 * 10**9


def utc(time_ns: int, clock: str | None) -> str:
    """ISO 8601 in UTC with microseconds, without a zone where none is known; seconds alone where there is no date."""
    seconds, rest = divmod(time_ns, 10**9)
    if clock not in DATES:
        return f"{seconds}.{rest // 1000:06d}"
    try:
        day = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds}.{rest // 1000:06d}"
    return f"{day:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}{'Z' if clock in _UTC else ''}"


def plain(time_ns: int) -> str:
    """Seconds and microseconds."""
    sign = "-" if time_ns < 0 else ""
    seconds, rest = divmod(abs(time_ns), 10**9)
    return f"{sign}{seconds}.{rest // 1000:06d}"


def duration(time_ns: int | None) -> str:
    """A duration to three digits, in the unit that suits it."""
    if time_ns is None:
        return "-"
    for unit, scale in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if abs(time_ns) >= scale:
            return f"{time_ns / scale:.3g} {unit}" if abs(time_ns) < 1000 * scale else f"{time_ns / scale:.0f} {unit}"
    return f"{time_ns} ns"


def _not_a_time(text: str) -> XptraceError:
    return XptraceError(f"{text!r} is not a time: write 2026-11-23T04:05:29Z, 04:05:29 or seconds since 1970")


class Limit:
    """A bound of `--since` or `--until`: a point in time, or a time of day on whatever day the recording is."""

    def __init__(self, text: str) -> None:
        """Read `2026-11-23T04:05:29Z`, `2026-11-23`, `04:05:29.2` or seconds since 1970; raises XptraceError."""
        self._of_day = False
        epoch, day = _EPOCH.match(text), _DAY.match(text)
        try:
            if epoch:
                self.time_ns = int(epoch[1]) * 10**9 + int((epoch[2] or "0").ljust(9, "0"))
            elif _DATE.match(text):
                self.time_ns = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9
            elif day:
                self._of_day = day[1] is None
                clock = day[2] if day[2][2] == ":" else f"0{day[2]}"
                moment = datetime.fromisoformat(f"{day[1] or '1970-01-01'}T{clock}{day[4] or '+00:00'}")
                self.time_ns = int(moment.timestamp()) * 10**9 + int((day[3] or "0").ljust(9, "0"))
            else:
                raise _not_a_time(text)
        except ValueError:
            raise _not_a_time(text) from None

    def compare(self, time_ns: int) -> int:
        """The time less this limit, in nanoseconds."""
        if self._of_day:
            time_ns %= _DAY_NS
        return time_ns - self.time_ns

    def between(self, first_ns: int, last_ns: int) -> int | None:
        """The time that it is in a recording from the first to the last; None for a time of day where days change."""
        if not self._of_day:
            return self.time_ns
        day = first_ns // _DAY_NS
        return day * _DAY_NS + self.time_ns if day == last_ns // _DAY_NS else None
