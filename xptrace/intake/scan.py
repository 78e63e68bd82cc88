"""The search for candidate lines: only a line that holds a needle, and its neighbours, is looked at.

One search per needle beats one alternation of all: each starts with a literal, which the regular-expression engine
finds at memory speed, while an alternation is tried at every byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from xptrace.intake.source import Window

LONGEST_LINE = 1 << 16
"""A record of ours is shorter than this; of a longer line only so much is looked at."""


def hits(window: Window, needles: Iterable[re.Pattern[bytes]]) -> dict[int, int]:
    """Start and end, in the window, of every line that holds a needle."""
    data = window.data
    found: dict[int, int] = {}
    for needle in needles:
        end = 0
        for match in needle.finditer(data):
            at = match.start()
            if at < end:
                continue
            start = data.rfind(b"\n", 0, at) + 1
            end = data.find(b"\n", at) + 1 or len(data)
            found[start] = end
    return found


def numbered(window: Window, found: Mapping[int, int]) -> Iterator[tuple[int, int, int]]:
    """Each of these lines with its number in the window, from 0, in order."""
    number = counted = 0
    for start in sorted(found):
        number += window.data.count(b"\n", counted, start)
        counted = start
        yield start, found[start], number


def candidates(
    window: Window, found: Iterable[tuple[int, int, int]], line: int, *, beside: bool = False
) -> Iterator[tuple[int, int, int]]:
    """(start in the window, end with newline, line number) of every candidate line, in order.

    `found` are start, end and number in the window of the lines that are; `line` is the number of the window's first
    line, and `beside` says that it is one itself. The line before and the line after a hit are candidates too: two
    records of one access need not both hold a needle.
    """
    data = window.data
    size = len(data)
    done = -1
    if beside and size:
        done = 0
        yield 0, data.find(b"\n") + 1 or size, line
    for start, end, number in found:
        before = data.rfind(b"\n", 0, start - 1) + 1 if start else start
        after = (data.find(b"\n", end) + 1 or size) if end < size else end
        for first, last, step in ((before, start, -1), (start, end, 0), (end, after, 1)):
            if first <= done or first == last:
                continue
            done = first
            yield first, last, line + number + step
