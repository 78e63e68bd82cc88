"""Where to begin to read a log of which only the end is asked for: bisection over a file whose times do not decrease.

Nothing is known of a file before it has been read, so its times are probed: at the offsets of the bisection, and once
in every block of what is to be skipped, whose lines have to be counted anyway. If one of these is earlier than one
before it in the file, or by another clock, there is no order to rely on, and nothing is skipped. Between two probes
lines may still be out of order: whoever skips has to be asked to.

What is found is not the first line from the time on, but a place before it, by `MARGIN`: the records of one access
stand beside each other only as far as other threads let them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

MARGIN: Final = 1 << 18
"""Bytes that are read before the first line of interest."""
GRAIN: Final = 1 << 16
"""Bytes that are not worth a further probe."""
BLOCK: Final = 1 << 20
"""Bytes of what is skipped in which one line is probed at least."""
MOST_UNDATED: Final = 16 << 20
"""Bytes without any time that a probe looks through."""

_STEP: Final = 1 << 12
_LONGEST: Final = 1 << 12
"""Bytes of a line in which its time stands, if it has one."""


class Bytes(Protocol):
    """Bytes that can be read in any order."""

    size: int

    def at(self, place: int, size: int) -> bytes:
        """So many bytes from there, fewer at the end."""
        ...


Moment = tuple[int, str]
"""A time and the clock that told it."""
Stamp = Callable[[bytes], Moment | None]
"""Reads the time of a line, its newline left out; None where it has none."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Where a line begins before which nothing is of interest, and how many lines that are.

    `why` says why nothing is skipped of a file of which something else than its beginning may be asked for.
    """

    offset: int = 0
    lines: int = 0
    why: str | None = None


@dataclass(frozen=True, slots=True)
class _Probe:
    offset: int
    time_ns: int
    clock: str


class _Disorder(Exception):  # noqa: N818 - it ends the search, and is no error
    """The times of a file are no order; the message says why."""


def seek(
    data: Bytes, stamp: Stamp, limit: Callable[[Moment, Moment], int | str], *, margin: int = MARGIN,
    grain: int = GRAIN, block: int = BLOCK,
) -> Sought:
    """Where to begin, so that no line from a time on is before that; where times are no order, at the beginning.

    `limit` is told the first and the last time of the file, and says which time that is, or why nobody can.
    """
    try:
        first, last = _first(data, stamp, 0, data.size), _last(data, stamp)
        if first is None or last is None:
            return Sought(why="its lines have no time that is understood")
        _in_order(first, last)
        limit_ns = limit((first.time_ns, first.clock), (last.time_ns, last.clock))
        if isinstance(limit_ns, str):
            return Sought(why=limit_ns)
        if first.time_ns >= limit_ns:
            return Sought()
        offset = _line_start(data, max(0, _bisect(data, stamp, limit_ns, first, last, grain).offset - margin))
        return Sought(offset, _count(data, stamp, offset, limit_ns, block))
    except _Disorder as disorder:
        return Sought(why=str(disorder))


def _in_order(before: _Probe, after: _Probe) -> None:
    if after.clock != before.clock:
        raise _Disorder(f"its times are of two clocks, {before.clock} and {after.clock}")
    if after.time_ns < before.time_ns:
        raise _Disorder(f"its times go back before byte {after.offset}")


def _bisect(data: Bytes, stamp: Stamp, limit_ns: int, first: _Probe, last: _Probe, grain: int) -> _Probe:
    """A line before the limit, no other before the limit being further on than the grain."""
    low, high, end = first, last, data.size
    while end - low.offset > grain:
        middle = (low.offset + end) // 2
        found = _first(data, stamp, middle, end)
        if found is not None:
            _in_order(low, found)
            _in_order(found, high)
            if found.time_ns < limit_ns:
                low = found
                continue
            high = found
        end = middle
    return low


def _count(data: Bytes, stamp: Stamp, end: int, limit_ns: int, block: int) -> int:
    """How many lines there are before `end`; each block of them must be in order, and before the limit."""
    lines, before = 0, None
    for start in range(0, end, block):
        piece = data.at(start, min(block, end - start))
        lines += piece.count(b"\n")
        found = next(_stamped(data, stamp, _line_start(data, start), min(start + block, end)), None)
        if found is None:
            continue
        if before is not None:
            _in_order(before, found)
        if found.time_ns >= limit_ns:
            raise _Disorder(f"its times go back after byte {found.offset}")
        before = found
    return lines


def _first(data: Bytes, stamp: Stamp, start: int, end: int) -> _Probe | None:
    """The first line with a time that begins from `start` on and before `end`."""
    start = _line_start(data, start)
    found = next(_stamped(data, stamp, start, min(end, start + MOST_UNDATED)), None)
    if found is None and end - start > MOST_UNDATED:
        raise _Disorder(f"there is no time in {MOST_UNDATED} bytes from byte {start} on")
    return found


def _last(data: Bytes, stamp: Stamp) -> _Probe | None:
    """The last line with a time."""
    size = _STEP
    while size <= MOST_UNDATED:
        start = _line_start(data, max(0, data.size - size))
        found = deque(_stamped(data, stamp, start, data.size), maxlen=1)
        if found or size >= data.size:
            return found.pop() if found else None
        size *= 4
    return None


def _stamped(data: Bytes, stamp: Stamp, start: int, end: int) -> Iterator[_Probe]:
    """The lines with a time that begin before `end`; one begins at `start`."""
    for offset, line in _lines(data, start, end):
        if (found := stamp(line)) is not None:
            yield _Probe(offset, *found)


def _lines(data: Bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines that begin before `end`, each with its offset, of a long one its beginning; one begins at `start`."""
    size = _STEP
    while start < end and (piece := data.at(start, size)):
        at = 0
        while start + at < end and (newline := piece.find(b"\n", at)) >= 0:
            yield start + at, piece[at:newline][:_LONGEST]
            at = newline + 1
        if not at:
            yield start, piece[:_LONGEST]
        start = start + at if at else _line_start(data, start + len(piece))
        size = min(2 * size, BLOCK)


def _line_start(data: Bytes, place: int) -> int:
    """Where the first line begins from a place on."""
    if place <= 0:
        return 0
    at = place - 1
    while piece := data.at(at, 4 * _STEP):
        if (newline := piece.find(b"\n")) >= 0:
            return at + newline + 1
        at += len(piece)
    return data.size
