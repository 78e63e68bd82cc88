"""Words that sentences of findings share: when, and how long.

Law: `xptrace.negotiation.story` for moments. A time is written by UTC where its clock counts the date, and as a line
of the recording where there is none, for order is a fact too::

    at 04:05:29.1 UTC
    in line 17
"""

from __future__ import annotations

from typing import Final

from xptrace.negotiation.story import Moment

_DATED: Final = ("wall", "syslog")
"""Clocks that count since 1970-01-01T00:00:00Z."""
_SECOND: Final = 10**9
_DAY: Final = 86_400


def when(moment: Moment) -> str:
    """When it was: by UTC to a tenth of a second, else by its line."""
    if moment.time_ns is None or moment.clock not in _DATED:
        return f"in line {moment.place.line}"
    tenths = moment.time_ns * 10 // _SECOND
    seconds = tenths // 10 % _DAY
    return f"at {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{tenths % 10} UTC"


def span(duration_ns: int) -> str:
    """How long it took, in the unit that a reader thinks in."""
    if abs(duration_ns) < _SECOND // 1000:
        return f"{duration_ns // 1000} µs"
    if abs(duration_ns) < _SECOND:
        return f"{duration_ns // 10**6} ms"
    return f"{duration_ns / _SECOND:.1f} s"
