"""Timelines as pictures: one boot, or a few, lane by lane.

Law: the lanes, axes and breaks of `xptrace.negotiation.timeline`; colours after Okabe and Ito, "Color Universal Design"
(2008), each with a second sign beside it: a hatching, a shape or a word. A picture is laid out in pixels of a hundredth
of an inch, text by its measured width, so that nothing lies over anything else. The same boots give the same bytes::

    figure = timeline_figure(timeline(story, findings)); save(figure, "win10.svg")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from dissectors.clock import CLOCKS
from xptrace.negotiation.timeline import Axis, Item, Remark, Scale, Timeline, lay_out
from xptrace.views import moment
from xptrace.views.fleet import MANY
from xptrace.views.lanes import named, no_room, plain, stack, ticks
from xptrace.views.sheet import (
    BAND,
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
from xptrace.views.timeline import ORDER, recorded, took

_STATE_FILLS: Final = {
    "reset": "#ffffff", "probed": "#dcedf8", "versioned": "#c8e2f3", "named": "#b4d7ee", "built": "#a0cce9",
    "accepted": "#8cc1e4", "unplugged": "#f5d08a", "blacklisted": "#ea9a6b", "no-device": "#ea9a6b",
    "Initialising": "#ececec", "InitWait": "#dcedf8", "Initialised": "#b4d7ee", "Connected": "#86d0b5",
    "Closing": "#f5d08a", "Closed": "#cfcfcf",
}
_LANE_SIGNS: Final = {
    "driver": ("o", "#0072b2"), "device": ("s", "#cc79a7"), "disks": ("v", "#d55e00"), "NICs": ("v", "#d55e00"),
    "other PV": ("v", "#d55e00"), "log": ("d", "#009e73"),
}
_LEGEND_SIGNS: Final = (
    ("step at a register", *_LANE_SIGNS["driver"]), ("device", *_LANE_SIGNS["device"]),
    ("unplug", *_LANE_SIGNS["disks"]), ("log line", *_LANE_SIGNS["log"]),
    *((f"{severity} finding", *sign) for severity, sign in SEVERITY_SIGNS.items()),
)


def timeline_figure(*told: Timeline) -> Figure:
    """A picture of these boots, lane by lane, one under the other."""
    sheet = Sheet()
    y = 14.0
    for number, one in enumerate(told):
        if number:
            sheet.line([(MARGIN, y), (WIDTH - MARGIN, y)], FAINT, 1)
            y += 14
        y = _head(sheet, one, y)
        for axis in one.axes:
            y = _lanes(sheet, axis, y) + 10
        y = _remarks(sheet, one.remarks, y)
    if not told:
        sheet.text(MARGIN, y, "nothing recorded")
        y += 20
    return sheet.finish(legend(sheet, y) + 8)


def _head(sheet: Sheet, told: Timeline, y: float) -> float:
    """The title: whose, by which driver, how it ended, from which recording, when, and how long each phase took."""
    story, room = told.story, WIDTH - 2 * MARGIN
    title = f"{shown(story.id)}: {told.driver or 'no driver named itself'}"
    sheet.text(MARGIN, y + 8, sheet.cut(title, TITLE, room, bold=True), TITLE, bold=True)
    y += 28
    sources = dict.fromkeys(PurePath(item.begin.place.source).name for item in told.items)
    names = ", ".join(map(shown, sources)) or "none"
    lines = [f"Verdict: {told.verdict.sentence}", f"Recording: {names}; {recorded(told.spans)}"]
    if told.phases:
        phases = (f"{phase.name}{took(phase.duration_ns)}" for phase in told.phases)
        lines.append(f"Phases: {', '.join(phases)}")
    for line in lines:
        for part in sheet.wrap(line, BODY, room, 2):
            sheet.text(MARGIN, y, part)
            y += 17
    return y + 4


@dataclass(slots=True)
class _Chart:
    """The part of a sheet where an axis runs: from which pixel, and where each position is."""

    left: float
    right: float
    scale: Scale
    per_column: float = 8

    def at(self, position: int) -> float:
        """The pixel of a position."""
        return self.left + self.scale.column(position) * self.per_column

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """From which pixel to which each break reaches."""
        return [(self.left + before.right * self.per_column + 3, self.left + after.left * self.per_column - 3)
                for before, after in self.scale.breaks]


def _lanes(sheet: Sheet, axis: Axis, y: float) -> float:
    """The lanes of one axis, with its ticks above them."""
    names = [name for lane, tracks in axis.tracks().items() for name in (lane, *map(_track, tracks))]
    left = round(MARGIN + min(max(sheet.width(shown(name), LABEL, bold=True) for name in names) + 18, 190))
    right = WIDTH - MARGIN - 4.0
    chart = _Chart(left, right, lay_out(axis, (right - left) / 8, pause=5.5))
    y = _axis(sheet, axis, chart, y)
    top = y
    for number, (lane, tracks) in enumerate(axis.tracks().items()):
        here = [item for item in axis.items if item.lane == lane]
        begin = y
        ground = "#ffffff" if number % 2 else BAND
        y = _lane(sheet, axis, chart, lane, tracks, here, y + 3, ground) + 3
        sheet.box(MARGIN, begin, right + 4, y, ground, layer=0)
    for begin, end in chart.breaks:
        sheet.box(begin, top, end, y, "#ffffff", layer=6, opacity=0.72)
        for x in (begin, end):
            sheet.line([(x, top - 4), (x, y)], GREY, 0.6, style=(0, (2, 2)), layer=7)
    sheet.line([(MARGIN, y), (right + 4, y)], FAINT)
    return y


def _axis(sheet: Sheet, axis: Axis, chart: _Chart, y: float) -> float:
    """What the axis tells, its ticks, and how long each break is."""
    sheet.text(chart.left, y + 7, _about(axis, chart.scale), LABEL, colour=GREY)
    y += 26
    taken: list[tuple[float, float]] = []

    def place(x: float, text: str, size: float) -> float | None:
        """Where a text about this pixel may stand, if it has room."""
        half = sheet.width(text, size) / 2
        middle = min(max(x, chart.left + half - 8), chart.right - half)
        if any(middle + half + 7 > begin and middle - half - 7 < end for begin, end in taken):
            return None
        taken.append((middle - half, middle + half))
        return middle

    for position, text in ticks(axis, chart.scale, 9):
        x = chart.at(position)
        middle = place(x, text, LABEL)
        if middle is not None:
            sheet.text(middle, y, text, LABEL, side="center")
            sheet.line([(x, y + 8), (x, y + 13)], INK, 0.8)
    y += 13
    for stretch in chart.scale.stretches:
        sheet.line([(chart.at(stretch.begin), y), (chart.at(stretch.end), y)], INK, 0.8)
    taken.clear()
    for (begin, end), (before, after) in zip(chart.breaks, chart.scale.breaks, strict=True):
        text = moment.duration(after.begin - before.end)
        middle = place((begin + end) / 2, text, SMALL)
        if middle is not None:
            sheet.text(middle, y + 9, text, SMALL, colour=GREY, side="center")
        for x in ((begin + end) / 2 - 3, (begin + end) / 2 + 3):
            sheet.line([(x - 3, y + 4), (x + 3, y - 4)], GREY, 0.8)
    return y + (18 if chart.scale.breaks else 6)


def _about(axis: Axis, scale: Scale) -> str:
    if axis.clock is None:
        return f"{ORDER}: {shown(PurePath(axis.source or '').name)}, #1 to #{axis.end + 1}"
    said = f"{moment.duration(axis.end - axis.begin)} by {CLOCKS.get(axis.clock, axis.clock or 'an unnamed clock')}"
    if not scale.breaks:
        return said
    count = len(scale.breaks)
    return (f"{said}; {count} break{'s' * (count > 1)} leave{'s' * (count == 1)} out "
            f"{moment.duration(scale.hidden)} of waiting; each stretch has its own scale, + is since its begin")


def _track(track: str) -> str:
    return "" if track in ("phases", "state") else track


_MOST_TRACKS: Final = 12
_BAR, _ROW = 18.0, 13.0


def _lane(
    sheet: Sheet, axis: Axis, chart: _Chart, lane: str, tracks: Sequence[str], items: Sequence[Item], y: float,
    ground: str,
) -> float:
    """One lane: bars without a name of their own, marks with their labels, then one row a track."""
    sheet.text(MARGIN + 4, y + 8, lane, LABEL, bold=True)
    marks = [item for item in items if item.kind == "mark"]
    own, others = [one for one in tracks if not _track(one)], [one for one in tracks if _track(one)]
    for row in (row for track in own for row in axis.layers(track)):
        y = _bars(sheet, axis, chart, row, y)
    if marks:
        y = _marks(sheet, axis, chart, marks, y, 10 if lane == "driver" else 7, ground)
    elif not own:
        y += 16
    for track in others[:_MOST_TRACKS]:
        name = sheet.cut(shown(track), LABEL, chart.left - MARGIN - 18)
        sheet.text(MARGIN + 12, y + _BAR / 2, name, LABEL, colour=GREY)
        for row in axis.layers(track):
            y = _bars(sheet, axis, chart, row, y)
    if len(others) > _MOST_TRACKS:
        sheet.text(MARGIN + 12, y + 8, f"and {len(others) - _MOST_TRACKS} more", LABEL, colour=GREY)
        y += 16
    return y


def _bars(sheet: Sheet, axis: Axis, chart: _Chart, bars: Sequence[Item], y: float) -> float:
    """One row of bars, each with its name where there is room between the breaks."""
    for bar in bars:
        begin, end = (chart.at(position) for position in axis.span(bar))
        end = max(end, begin + 2)
        fill, hatch = PHASE_FILLS.get(bar.name, ("", "")) if bar.track == "phases" else ("", "")
        fill = fill or _STATE_FILLS.get(bar.name, "#e0e0e0")
        sheet.box(begin, y + 1, end, y + _BAR - 1, fill, hatch=hatch, edge="#7a7a7a")
        left, right = _widest(begin, end, chart.breaks)
        name = sheet.cut(shown(bar.name), LABEL, right - left - 6)
        if len(name) > 2:
            sheet.text(left + 4, y + _BAR / 2, name, LABEL, fill=fill if hatch else None)
    return y + _BAR


def _widest(begin: float, end: float, breaks: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The widest part of a bar between the breaks."""
    parts, left = [], begin
    for off, on in breaks:
        if begin < on and off < end:
            parts.append((left, off))
            left = on
    parts.append((left, end))
    return max(parts, key=lambda part: part[1] - part[0])


def _sign(item: Item) -> tuple[str, str]:
    return SEVERITY_SIGNS[item.severity] if item.severity in SEVERITY_SIGNS else _LANE_SIGNS[item.lane]


def _marks(
    sheet: Sheet, axis: Axis, chart: _Chart, marks: Sequence[Item], y: float, most: int, ground: str
) -> float:
    """A row of marks, and their labels below, each joined to its mark by a line."""
    groups: list[tuple[float, list[Item]]] = []
    dot = 0.0
    sign: tuple[float, str | None] = 0.0, None
    for item in marks:
        x = round(chart.at(axis.at(item.begin)), 1)
        if plain(item):
            if x - dot >= 1.5:  # lines that fall on one pixel are one stroke
                sheet.line([(x, y + 5), (x, y + 13)], _LANE_SIGNS["log"][1], 1.2, layer=7)
                dot = x
            continue
        same = groups and groups[-1][1][-1].name == item.name and x - groups[-1][0] < 90
        if groups and (x - groups[-1][0] < 3 or same):
            groups[-1][1].append(item)
        else:
            groups.append((x, [item]))
        if (x, item.severity) != sign:
            sheet.sign(x, y + 9, *_sign(item))
            sign = x, item.severity
    names = [sheet.cut(shown(named(items)), LABEL, 300) for _, items in groups]
    spans = [(x - chart.left, sheet.width(name, LABEL) + 5) for (x, _), name in zip(groups, names, strict=True)]
    rows = stack(spans, chart.right - chart.left, most, 5)
    lost = rows.count(None)
    for (x, _), name, where in zip(groups, names, rows, strict=True):
        if where is None:
            continue
        row, leftwards = where
        middle = y + 19 + row * _ROW + _ROW / 2
        sheet.line([(x, y + 12), (x, middle), (x - 3 if leftwards else x + 3, middle)], GREY, 0.6, layer=7)
        sheet.text(x - 5 if leftwards else x + 5, middle, name, LABEL, side="right" if leftwards else "left",
                   fill=ground)
    y += 20 + _ROW * (1 + max((row for row, _ in filter(None, rows)), default=-1))
    if lost:
        sheet.text(chart.left, y + 6, no_room(lost), SMALL, colour=GREY)
        y += 14
    return y


def _remarks(sheet: Sheet, remarks: Sequence[Remark], y: float) -> float:
    """The findings in words, the worst first."""
    for remark in remarks[:MANY]:
        sheet.sign(MARGIN + 8, y + 7, *SEVERITY_SIGNS[remark.severity])
        for line in sheet.wrap(shown(f"{remark.rule.id} {remark.severity}: {remark.sentence}"), BODY,
                               WIDTH - 2 * MARGIN - 24, 2):
            sheet.text(MARGIN + 20, y + 7, line)
            y += 16
    if len(remarks) > MANY:
        sheet.text(MARGIN + 20, y + 7, f"and {len(remarks) - MANY} more findings")
        y += 16
    return y + 6


def legend(sheet: Sheet, y: float, *, signs: bool = True) -> float:
    """What colours, hatchings and shapes stand for."""
    x = float(MARGIN)

    def step(width: float) -> float:
        nonlocal x, y
        if x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 17
        x += width
        return x - width

    y += 8
    for phase, (fill, hatch) in PHASE_FILLS.items():
        at = step(sheet.width(phase, LABEL) + 42)
        sheet.box(at, y - 6, at + 20, y + 6, fill, hatch=hatch, edge="#7a7a7a")
        sheet.text(at + 25, y, phase, LABEL)
    for name, shape, fill in _LEGEND_SIGNS if signs else _LEGEND_SIGNS[4:]:
        at = step(sheet.width(name, LABEL) + 28)
        sheet.sign(at + 6, y, shape, fill)
        sheet.text(at + 14, y, name, LABEL)
    return y + 12
