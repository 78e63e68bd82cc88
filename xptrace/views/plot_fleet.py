"""Many boots as a picture: a line each, from the first probe on or by the clock, and how long each phase takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Final, Literal

from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.timeline import Strip
from xptrace.negotiation.verdict import CODES
from xptrace.views import moment
from xptrace.views.fleet import QUANTILES, latency_cells
from xptrace.views.plot import legend
from xptrace.views.sheet import (
    _DPI,
    BODY,
    FAINT,
    GREY,
    INK,
    LABEL,
    MARGIN,
    PHASE_FILLS,
    SEVERITY_SIGNS,
    SMALL,
    TITLE,
    WIDTH,
    Figure,
    Sheet,
    shown,
)
from xptrace.views.timeline import ORDER

Align = Literal["probe", "clock"]
_MOST_TALL: Final = 60
"""Rows that are as tall as their text; more than these are thinner, and not each has a label."""
_TALLEST: Final = 30_000
"""Pixels that all rows take at most: a PNG of more than twice as many cannot be drawn."""


def fleet_figure(rows: Sequence[Strip], *, align: Align = "probe") -> Figure:
    """Many boots, one row each, grouped by how they ended, the worst first.

    `probe` lays the first probes over each other, on one logarithmic scale; `clock` lays each boot where it was.
    """
    sheet = Sheet()
    y = _fleet_head(sheet, rows, align)
    tall = 19.0 if len(rows) <= _MOST_TALL else max(min(6.5, _TALLEST / len(rows)), 1100 / len(rows))
    names = min(max((sheet.width(shown(row.story.id), LABEL) for row in rows), default=0), 230)
    left, right = MARGIN + names + 16, WIDTH - MARGIN - 118.0
    axis = _SinceProbe.of(rows, left, right) if align == "probe" else _ByClock.of(rows, left, right)
    grid = [(x, text) for x, text in axis.ticks()]
    y = _grid_texts(sheet, grid, y)
    top = y
    for code, found in groupby(rows, key=lambda row: row.verdict.code):
        group = list(found)
        heading = f"{code}: {len(group)} — {CODES[code]}"
        heading = sheet.cut(heading, BODY, WIDTH - 2 * MARGIN, bold=True)
        sheet.text(MARGIN, y + 10, heading, BODY, bold=True, fill="#ffffff")
        y += 21
        labelled = _labelled(group, tall)
        for number, row in enumerate(group):
            _strip(sheet, axis, row, y, tall, number in labelled)
            y += tall
        y += 6
    for x, _ in grid:
        sheet.line([(x, top), (x, y)], FAINT, 0.5, layer=1)
    return sheet.finish(_latencies(sheet, rows, legend(sheet, y + 2, signs=False)) + 8)


def _fleet_head(sheet: Sheet, rows: Sequence[Strip], align: Align) -> float:
    vms = len({row.story.vm for row in rows})
    title = f"{len(rows)} negotiations of {vms} VM{'s' * (vms != 1)}"
    sheet.text(MARGIN, 22, title, TITLE, bold=True)
    sources = sorted({PurePath(row.story.first.place.source).name for row in rows if row.story.first is not None})
    ends = [one for row in rows for one in (row.story.first, row.story.last) if one is not None]
    times = [one for one in ends if one.time_ns is not None]
    clocks = {one.clock for one in times}
    when = ORDER
    if len(clocks) == 1:
        order = sorted(one.time_ns for one in times if one.time_ns is not None)
        when = f"{moment.utc(order[0], times[0].clock)} to {moment.utc(order[-1], times[0].clock)}"
    elif clocks:
        when = "times by several clocks"
    more = f" and {len(sources) - 4} more" if len(sources) > 4 else ""
    how = "from the first probe of each, logarithmic" if align == "probe" else "by the clock, | is the first probe"
    lines = [
        f"Recordings: {', '.join(map(shown, sources[:4]))}{more}; {when}",
        f"Time: {how}. Right: the worst finding, and the time from the first probe to the end of the last phase.",
    ]
    y = 46.0
    for line in lines:
        for part in sheet.wrap(line, BODY, WIDTH - 2 * MARGIN, 2):
            sheet.text(MARGIN, y, part)
            y += 17
    return y


def _grid_texts(sheet: Sheet, grid: Sequence[tuple[float, str]], y: float) -> float:
    after = 0.0
    for x, text in grid:
        half = sheet.width(text, LABEL) / 2
        if x - half > after:
            sheet.text(x, y + 8, text, LABEL, side="center")
            after = x + half + 8
    return y + 20


def _labelled(rows: Sequence[Strip], tall: float) -> set[int]:
    """Which rows have room for their names: those with the worst findings first, then as many others as fit."""
    apart = math.ceil(12.5 / tall)
    order = sorted(range(len(rows)), key=lambda at: (_rank(rows[at]), at % apart, at))
    chosen: set[int] = set()
    for at in order:
        if not any(other in chosen for other in range(at - apart + 1, at + apart)):
            chosen.add(at)
    return chosen


def _rank(row: Strip) -> int:
    worst = row.worst.severity if row.worst else ""
    return SEVERITIES.index(worst) if worst in SEVERITIES[:2] else len(SEVERITIES)


def _strip(sheet: Sheet, axis: _SinceProbe | _ByClock, row: Strip, y: float, tall: float, labelled: bool) -> None:
    """One boot as a row."""
    middle, thin = y + tall / 2, min(tall * 0.18, 3)
    if labelled:
        room = axis.left - MARGIN - 14
        sheet.text(MARGIN, middle, _middle(sheet, shown(row.story.id), LABEL, room), LABEL)
    spans, why = axis.spans(row)
    if (probed := axis.probed(row)) is not None:
        sheet.line([(probed, y + thin), (probed, y + tall - thin)], INK, 1.2, layer=4)
    for phase, begin, end in spans:
        fill, hatch = PHASE_FILLS[phase]
        sheet.box(begin, y + thin, max(end, begin + 1.5), y + tall - thin, fill, hatch=hatch if tall > 10 else "",
                  edge="#7a7a7a" if tall > 10 else "none")
    if not spans and probed is None and labelled:
        sheet.text(axis.left + 6, middle, why, SMALL, colour=GREY, fill="#ffffff")
    if row.worst is not None:
        sheet.sign(axis.right + 12, middle, *SEVERITY_SIGNS[row.worst.severity], size=min(6, (tall - 1) * 72 / _DPI))
        if labelled:
            sheet.text(axis.right + 22, middle, sheet.cut(shown(row.worst.rule.id), LABEL, 44), LABEL)
    if row.spans and labelled:
        sheet.text(WIDTH - MARGIN, middle, moment.duration(row.spans[-1][2]), LABEL, side="right")


def _middle(sheet: Sheet, text: str, size: float, room: float) -> str:
    """The text, cut in its middle where it has no room: numbers at the end tell names apart."""
    if sheet.width(text, size) <= room:
        return text
    for kept in range(len(text), 4, -1):
        shown = f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"
        if sheet.width(shown, size) <= room:
            return shown
    return "…"


_DECADES: Final = {3: "1 µs", 4: "10 µs", 5: "100 µs", 6: "1 ms", 7: "10 ms", 8: "100 ms", 9: "1 s", 10: "10 s",
                   11: "100 s", 12: "1000 s"}
_FLOOR_NS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _SinceProbe:
    """A logarithmic axis of the time since each boot's first probe."""

    left: float
    right: float
    first: int
    last: int

    @classmethod
    def of(cls, rows: Iterable[Strip], left: float, right: float) -> _SinceProbe:
        """The decades that all spans lie in."""
        ends = [end for row in rows for _, _, end in row.spans if end > _FLOOR_NS] or [_FLOOR_NS * 10]
        return cls(left, right, len(str(min(ends) - 1)) - 1, len(str(max(ends))))

    def _at(self, since_ns: int) -> float:
        share = (math.log10(max(since_ns, 1)) - self.first) / (self.last - self.first)
        return self.left + (self.right - self.left) * min(max(share, 0), 1)

    def spans(self, row: Strip) -> tuple[list[tuple[str, float, float]], str]:
        """(phase, from which pixel, to which), and why there are none."""
        if not row.phases:
            return [], "no handshake" if not row.story.begun else "no phase came to an end"
        return [(phase, self._at(begin), self._at(end)) for phase, begin, end in row.spans], ORDER

    @staticmethod
    def probed(_row: Strip) -> float | None:
        """Where the first probe is marked: nowhere, it is the axis' own begin."""
        return None

    def ticks(self) -> Iterator[tuple[float, str]]:
        """(pixel, text) of each decade."""
        for decade in range(self.first, self.last + 1):
            yield self._at(10**decade), _DECADES.get(decade, f"1e{decade - 9} s")


@dataclass(frozen=True, slots=True)
class _ByClock:
    """A linear axis of one clock; boots of which another clock tells are not on it."""

    left: float
    right: float
    begin: int
    end: int
    clock: str | None

    @classmethod
    def of(cls, rows: Iterable[Strip], left: float, right: float) -> _ByClock:
        """The clock that tells of most boots, from the first probe to the end of the last phase."""
        times: dict[str | None, list[int]] = {}
        for row in rows:
            if (probed := row.probed) is not None and probed.time_ns is not None:
                ends = [phase.end.time_ns for phase in row.phases if phase.end.clock == probed.clock]
                times.setdefault(probed.clock, []).extend((probed.time_ns, *(end for end in ends if end is not None)))
        if not times:
            return cls(left, right, 0, 1, None)
        clock, found = max(times.items(), key=lambda one: len(one[1]))
        return cls(left, right, min(found), max(*found, min(found) + 1), clock)

    def _at(self, time_ns: int) -> float:
        return self.left + (self.right - self.left) * (time_ns - self.begin) / (self.end - self.begin)

    def spans(self, row: Strip) -> tuple[list[tuple[str, float, float]], str]:
        """(phase, from which pixel, to which), and why there are none."""
        if not row.phases:
            return [], "no handshake" if not row.story.begun else "no phase came to an end"
        found = []
        for phase in row.phases:
            begin, end = phase.begin, phase.end
            if begin.time_ns is not None and end.time_ns is not None and begin.clock == end.clock == self.clock:
                found.append((phase.name, self._at(begin.time_ns), self._at(max(begin.time_ns, end.time_ns))))
        return found, ORDER if row.phases[0].begin.time_ns is None else "told by another clock"

    def probed(self, row: Strip) -> float | None:
        """Where the first probe is marked."""
        probed = row.probed if row.story.begun else None
        if probed is None or probed.time_ns is None or probed.clock != self.clock:
            return None
        return self._at(probed.time_ns)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """(pixel, text) of even steps."""
        if self.clock is None:
            return
        steps = [digit * 10**power for power in range(3, 10) for digit in (1, 2, 5)]
        steps += [count * 10**9 for count in (10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)]
        wanted = (self.end - self.begin) / 8
        step = next((one for one in steps if one >= wanted), self.end - self.begin)
        at = -(-self.begin // step) * step
        while at <= self.end:
            text = moment.utc(at, self.clock)
            yield self._at(at), text.removesuffix("Z").rstrip("0").rstrip(".").partition("T")[2] or text
            at += step


def _latencies(sheet: Sheet, rows: Iterable[Strip], y: float) -> float:
    """How long each phase took, as a small table."""
    lines = [["phase", "count", *QUANTILES], *latency_cells(rows)]
    for number, line in enumerate(lines if len(lines) > 1 else ()):
        y += 15
        for column, cell in enumerate(line):
            sheet.text(MARGIN + 70 + column * 78, y, cell, LABEL, bold=not number, side="right")
    return y + 10
