"""Timelines as pictures: one boot lane by lane, or many boots as rows; SVG, PNG and PDF by matplotlib, without pyplot.

Law: the lanes, axes and breaks of `xptrace.negotiation.timeline`; colours after Okabe and Ito, "Color Universal Design"
(2008), each with a second sign beside it: a hatching, a shape or a word. A picture is laid out in pixels of a hundredth
of an inch, text by its measured width, so that nothing lies over anything else. The same boots give the same bytes::

    timeline_figure(timeline(story, findings)); save(figure, "win10.svg")
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any, Final, Literal, TypeAlias

from dissectors.clock import CLOCKS
from xptrace.errors import XptraceError
from xptrace.exports.file import whole
from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.timeline import Axis, Item, Remark, Scale, Strip, Timeline, lay_out
from xptrace.negotiation.verdict import CODES
from xptrace.views import moment
from xptrace.views.escape import printable
from xptrace.views.timeline import (
    MANY,
    ORDER,
    QUANTILES,
    latency_cells,
    named,
    no_room,
    plain,
    recorded,
    stack,
    ticks,
    took,
)

Figure: TypeAlias = Any
"""A `matplotlib.figure.Figure`; matplotlib is an extra, and only looked for when a picture is asked for."""

NEEDS: Final = "--plot needs matplotlib: pip install 'xptrace[plot]'"
FORMATS: Final = ("svg", "png", "pdf")
_WIDTH: Final = 1300
_MARGIN: Final = 24
_DPI: Final = 100
_FONTS: Final = ("DejaVu Sans", "sans-serif")
"""The first comes with matplotlib, so that widths are the same everywhere; the second is for browsers without it."""

_LOOSE: Final = 1.03
"""Text is this much wider where glyphs are not fitted to pixels, as in SVG and PDF."""

_INK, _GREY, _FAINT, _BAND = "#1a1a1a", "#5c5c5c", "#bdbdbd", "#f4f4f4"
_TITLE, _BODY, _LABEL, _SMALL = 13.0, 9.5, 8.0, 7.0

_PHASE_FILLS: Final = {
    "probe": ("#a6d8f5", ""), "naming": ("#7fb4d6", "///"), "verdict": ("#e6c0d6", "..."),
    "decision": ("#f5d08a", ""), "unplug": ("#ea9a6b", "xxx"), "handover": ("#86d0b5", "\\\\\\"),
}
"""(fill, hatching) of each phase."""
_STATE_FILLS: Final = {
    "reset": "#ffffff", "probed": "#dcedf8", "versioned": "#c8e2f3", "named": "#b4d7ee", "built": "#a0cce9",
    "accepted": "#8cc1e4", "unplugged": "#f5d08a", "blacklisted": "#ea9a6b", "no-device": "#ea9a6b",
    "Initialising": "#ececec", "InitWait": "#dcedf8", "Initialised": "#b4d7ee", "Connected": "#86d0b5",
    "Closing": "#f5d08a", "Closed": "#cfcfcf",
}
_SEVERITY_SIGNS: Final = {
    "high": ("^", "#d55e00"), "medium": ("D", "#e69f00"), "low": ("o", "#56b4e9"), "info": ("o", "#ffffff"),
}
"""(shape, fill) of each severity."""
_LANE_SIGNS: Final = {
    "driver": ("o", "#0072b2"), "device": ("s", "#cc79a7"), "disks": ("v", "#d55e00"), "NICs": ("v", "#d55e00"),
    "other PV": ("v", "#d55e00"), "log": ("d", "#009e73"),
}
_LEGEND_SIGNS: Final = (
    ("step at a register", *_LANE_SIGNS["driver"]), ("device", *_LANE_SIGNS["device"]),
    ("unplug", *_LANE_SIGNS["disks"]), ("log line", *_LANE_SIGNS["log"]),
    *((f"{severity} finding", *sign) for severity, sign in _SEVERITY_SIGNS.items()),
)
_NOT_XML: Final = re.compile("[\ufffe\uffff]")


def shown(text: str) -> str:
    """A text with nothing in it that acts, and nothing that XML cannot hold."""
    return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", printable(text))


def _library(name: str) -> Any:  # noqa: ANN401 - what is not installed has no types
    try:
        return import_module(name)
    except ImportError:
        raise XptraceError(NEEDS) from None


def ready(path: str) -> None:
    """Raises XptraceError, before anything is read, where no picture can be drawn or its format is not known."""
    if PurePath(path).suffix.lower().removeprefix(".") not in FORMATS:
        raise XptraceError(f"{path}: a picture is written as {', '.join(f'.{name}' for name in FORMATS)}")
    _library("matplotlib")


# -- a sheet to draw on

_Shape = Literal["left", "center", "right"]


@dataclass(slots=True)
class _Sheet:
    """One figure that grows downwards; positions are pixels from its top left."""

    figure: Figure = field(init=False)
    axes: Any = field(init=False)
    _renderer: Any = field(init=False)
    _widths: dict[tuple[str, float, bool], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.figure = _library("matplotlib.figure").Figure(figsize=(_WIDTH / _DPI, 1), dpi=_DPI, facecolor="white")
        self._renderer = _library("matplotlib.backends.backend_agg").FigureCanvasAgg(self.figure).get_renderer()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()

    def finish(self, height: float) -> Figure:
        """The figure, of this height."""
        self.figure.set_size_inches(_WIDTH / _DPI, math.ceil(height) / _DPI)
        self.axes.set_xlim(0, _WIDTH)
        self.axes.set_ylim(math.ceil(height), 0)
        return self.figure

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """How wide a text is."""
        key = text, size, bold
        if key not in self._widths:
            manager = _library("matplotlib.font_manager")
            face = manager.FontProperties(family=list(_FONTS), size=size, weight="bold" if bold else "normal")
            with _quietly():
                wide = float(self._renderer.get_text_width_height_descent(text, face, False)[0])
            self._widths[key] = wide * _LOOSE
        return self._widths[key]

    def cut(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """The text, as much of it as has room, with a sign where it is cut."""
        if self.width(text, size, bold=bold) <= room:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(f"{text[:middle]}…", size, bold=bold) <= room:
                low = middle
            else:
                high = middle - 1
        return f"{text[:low]}…" if low else ""

    def wrap(self, text: str, size: float, room: float, most: int) -> list[str]:
        """The text in at most so many lines."""
        lines = [""]
        words = text[:2000].split(" ")
        for at, word in enumerate(words):
            joined = f"{lines[-1]} {word}".lstrip()
            if self.width(joined, size) <= room or not lines[-1]:
                lines[-1] = joined
            elif len(lines) == most:
                lines[-1] = f"{lines[-1]} {' '.join(words[at:])}"
                break
            else:
                lines.append(word)
        return [self.cut(line, size, room) for line in lines]

    def text(
        self, x: float, y: float, text: str, size: float = _BODY, *, colour: str = _INK, bold: bool = False,
        side: _Shape = "left", fill: str | None = None,
    ) -> None:
        """A text, its middle at this height; `fill` is laid under it."""
        if text:
            box = {"facecolor": fill, "edgecolor": "none", "pad": 0.6} if fill else None
            self.axes.text(x, y, text, fontsize=size, fontfamily=list(_FONTS), color=colour, ha=side,
                           va="center_baseline", fontweight="bold" if bold else "normal", parse_math=False, bbox=box,
                           zorder=9)

    def box(self, left: float, top: float, right: float, bottom: float, fill: str, *, hatch: str = "",
            edge: str = "none", layer: float = 3, opacity: float = 1) -> None:
        """A rectangle."""
        with _quietly():
            patch = _library("matplotlib.patches").Rectangle(
                (left, top), right - left, bottom - top, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=0.6,
                alpha=None if opacity == 1 else opacity, zorder=layer, clip_on=False)
        self.axes.add_patch(patch)

    def line(self, points: Sequence[tuple[float, float]], colour: str = _FAINT, width: float = 0.6, *,
             style: str | tuple[float, tuple[float, float]] = "-", layer: float = 2) -> None:
        """A line through these points."""
        xs, ys = zip(*points, strict=True)
        line = _library("matplotlib.lines").Line2D(xs, ys, color=colour, linewidth=width, linestyle=style,
                                                   zorder=layer, clip_on=False, solid_capstyle="butt")
        self.axes.add_line(line)

    def sign(self, x: float, y: float, shape: str, fill: str, size: float = 6) -> None:
        """A small shape."""
        line = _library("matplotlib.lines").Line2D((x,), (y,), marker=shape, markersize=size, markerfacecolor=fill,
                                                   markeredgecolor=_INK, markeredgewidth=0.6, linestyle="none",
                                                   zorder=8, clip_on=False)
        self.axes.add_line(line)


_SETTINGS: Final = {
    "svg.hashsalt": "xptrace", "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.4, "text.usetex": False,
    "savefig.bbox": None, "savefig.facecolor": "auto", "figure.autolayout": False,
    "figure.constrained_layout.use": False, "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}
"""What is drawn is the same whatever the user's own settings are: text stays text, names are not random."""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """With our settings, and without the warnings that the font lacks a sign: a stranger's text may hold any."""
    with warnings.catch_warnings(), _library("matplotlib").rc_context(_SETTINGS):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


# -- one boot, or a few


def timeline_figure(*told: Timeline) -> Figure:
    """A picture of these boots, lane by lane, one under the other."""
    sheet = _Sheet()
    y = 14.0
    for number, one in enumerate(told):
        if number:
            sheet.line([(_MARGIN, y), (_WIDTH - _MARGIN, y)], _FAINT, 1)
            y += 14
        y = _head(sheet, one, y)
        for axis in one.axes:
            y = _lanes(sheet, axis, y) + 10
        y = _remarks(sheet, one.remarks, y)
    if not told:
        sheet.text(_MARGIN, y, "nothing recorded")
        y += 20
    return sheet.finish(_legend(sheet, y) + 8)


def _head(sheet: _Sheet, told: Timeline, y: float) -> float:
    """The title: whose, by which driver, how it ended, from which recording, when, and how long each phase took."""
    story, room = told.story, _WIDTH - 2 * _MARGIN
    title = f"{shown(story.id)}: {told.driver or 'no driver named itself'}"
    sheet.text(_MARGIN, y + 8, sheet.cut(title, _TITLE, room, bold=True), _TITLE, bold=True)
    y += 28
    sources = dict.fromkeys(PurePath(item.begin.place.source).name for item in told.items)
    names = ", ".join(map(shown, sources)) or "none"
    lines = [f"Verdict: {told.verdict.sentence}", f"Recording: {names}; {recorded(told.spans)}"]
    if told.phases:
        phases = (f"{phase.name}{took(phase.duration_ns)}" for phase in told.phases)
        lines.append(f"Phases: {', '.join(phases)}")
    for line in lines:
        for part in sheet.wrap(line, _BODY, room, 2):
            sheet.text(_MARGIN, y, part)
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


def _lanes(sheet: _Sheet, axis: Axis, y: float) -> float:
    """The lanes of one axis, with its ticks above them."""
    names = [name for lane, tracks in axis.tracks().items() for name in (lane, *map(_track, tracks))]
    left = round(_MARGIN + min(max(sheet.width(shown(name), _LABEL, bold=True) for name in names) + 18, 190))
    right = _WIDTH - _MARGIN - 4.0
    chart = _Chart(left, right, lay_out(axis, (right - left) / 8, pause=5.5))
    y = _axis(sheet, axis, chart, y)
    top = y
    for number, (lane, tracks) in enumerate(axis.tracks().items()):
        here = [item for item in axis.items if item.lane == lane]
        begin = y
        ground = "#ffffff" if number % 2 else _BAND
        y = _lane(sheet, axis, chart, lane, tracks, here, y + 3, ground) + 3
        sheet.box(_MARGIN, begin, right + 4, y, ground, layer=0)
    for begin, end in chart.breaks:
        sheet.box(begin, top, end, y, "#ffffff", layer=6, opacity=0.72)
        for x in (begin, end):
            sheet.line([(x, top - 4), (x, y)], _GREY, 0.6, style=(0, (2, 2)), layer=7)
    sheet.line([(_MARGIN, y), (right + 4, y)], _FAINT)
    return y


def _axis(sheet: _Sheet, axis: Axis, chart: _Chart, y: float) -> float:
    """What the axis tells, its ticks, and how long each break is."""
    sheet.text(chart.left, y + 7, _about(axis, chart.scale), _LABEL, colour=_GREY)
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
        middle = place(x, text, _LABEL)
        if middle is not None:
            sheet.text(middle, y, text, _LABEL, side="center")
            sheet.line([(x, y + 8), (x, y + 13)], _INK, 0.8)
    y += 13
    for stretch in chart.scale.stretches:
        sheet.line([(chart.at(stretch.begin), y), (chart.at(stretch.end), y)], _INK, 0.8)
    taken.clear()
    for (begin, end), (before, after) in zip(chart.breaks, chart.scale.breaks, strict=True):
        text = moment.duration(after.begin - before.end)
        middle = place((begin + end) / 2, text, _SMALL)
        if middle is not None:
            sheet.text(middle, y + 9, text, _SMALL, colour=_GREY, side="center")
        for x in ((begin + end) / 2 - 3, (begin + end) / 2 + 3):
            sheet.line([(x - 3, y + 4), (x + 3, y - 4)], _GREY, 0.8)
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
    sheet: _Sheet, axis: Axis, chart: _Chart, lane: str, tracks: Sequence[str], items: Sequence[Item], y: float,
    ground: str,
) -> float:
    """One lane: bars without a name of their own, marks with their labels, then one row a track."""
    sheet.text(_MARGIN + 4, y + 8, lane, _LABEL, bold=True)
    marks = [item for item in items if item.kind == "mark"]
    own, others = [one for one in tracks if not _track(one)], [one for one in tracks if _track(one)]
    for row in (row for track in own for row in axis.layers(track)):
        y = _bars(sheet, axis, chart, row, y)
    if marks:
        y = _marks(sheet, axis, chart, marks, y, 10 if lane == "driver" else 7, ground)
    elif not own:
        y += 16
    for track in others[:_MOST_TRACKS]:
        name = sheet.cut(shown(track), _LABEL, chart.left - _MARGIN - 18)
        sheet.text(_MARGIN + 12, y + _BAR / 2, name, _LABEL, colour=_GREY)
        for row in axis.layers(track):
            y = _bars(sheet, axis, chart, row, y)
    if len(others) > _MOST_TRACKS:
        sheet.text(_MARGIN + 12, y + 8, f"and {len(others) - _MOST_TRACKS} more", _LABEL, colour=_GREY)
        y += 16
    return y


def _bars(sheet: _Sheet, axis: Axis, chart: _Chart, bars: Sequence[Item], y: float) -> float:
    """One row of bars, each with its name where there is room between the breaks."""
    for bar in bars:
        begin, end = (chart.at(position) for position in axis.span(bar))
        end = max(end, begin + 2)
        fill, hatch = _PHASE_FILLS.get(bar.name, ("", "")) if bar.track == "phases" else ("", "")
        fill = fill or _STATE_FILLS.get(bar.name, "#e0e0e0")
        sheet.box(begin, y + 1, end, y + _BAR - 1, fill, hatch=hatch, edge="#7a7a7a")
        left, right = _widest(begin, end, chart.breaks)
        name = sheet.cut(shown(bar.name), _LABEL, right - left - 6)
        if len(name) > 2:
            sheet.text(left + 4, y + _BAR / 2, name, _LABEL, fill=fill if hatch else None)
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
    return _SEVERITY_SIGNS[item.severity] if item.severity in _SEVERITY_SIGNS else _LANE_SIGNS[item.lane]


def _marks(
    sheet: _Sheet, axis: Axis, chart: _Chart, marks: Sequence[Item], y: float, most: int, ground: str
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
    names = [sheet.cut(shown(named(items)), _LABEL, 300) for _, items in groups]
    spans = [(x - chart.left, sheet.width(name, _LABEL) + 5) for (x, _), name in zip(groups, names, strict=True)]
    rows = stack(spans, chart.right - chart.left, most, 5)
    lost = rows.count(None)
    for (x, _), name, where in zip(groups, names, rows, strict=True):
        if where is None:
            continue
        row, leftwards = where
        middle = y + 19 + row * _ROW + _ROW / 2
        sheet.line([(x, y + 12), (x, middle), (x - 3 if leftwards else x + 3, middle)], _GREY, 0.6, layer=7)
        sheet.text(x - 5 if leftwards else x + 5, middle, name, _LABEL, side="right" if leftwards else "left",
                   fill=ground)
    y += 20 + _ROW * (1 + max((row for row, _ in filter(None, rows)), default=-1))
    if lost:
        sheet.text(chart.left, y + 6, no_room(lost), _SMALL, colour=_GREY)
        y += 14
    return y


def _remarks(sheet: _Sheet, remarks: Sequence[Remark], y: float) -> float:
    """The findings in words, the worst first."""
    for remark in remarks[:MANY]:
        sheet.sign(_MARGIN + 8, y + 7, *_SEVERITY_SIGNS[remark.severity])
        for line in sheet.wrap(shown(f"{remark.rule.id} {remark.severity}: {remark.sentence}"), _BODY,
                               _WIDTH - 2 * _MARGIN - 24, 2):
            sheet.text(_MARGIN + 20, y + 7, line)
            y += 16
    if len(remarks) > MANY:
        sheet.text(_MARGIN + 20, y + 7, f"and {len(remarks) - MANY} more findings")
        y += 16
    return y + 6


def _legend(sheet: _Sheet, y: float, *, signs: bool = True) -> float:
    """What colours, hatchings and shapes stand for."""
    x = float(_MARGIN)

    def step(width: float) -> float:
        nonlocal x, y
        if x + width > _WIDTH - _MARGIN:
            x, y = float(_MARGIN), y + 17
        x += width
        return x - width

    y += 8
    for phase, (fill, hatch) in _PHASE_FILLS.items():
        at = step(sheet.width(phase, _LABEL) + 42)
        sheet.box(at, y - 6, at + 20, y + 6, fill, hatch=hatch, edge="#7a7a7a")
        sheet.text(at + 25, y, phase, _LABEL)
    for name, shape, fill in _LEGEND_SIGNS if signs else _LEGEND_SIGNS[4:]:
        at = step(sheet.width(name, _LABEL) + 28)
        sheet.sign(at + 6, y, shape, fill)
        sheet.text(at + 14, y, name, _LABEL)
    return y + 12


# -- many boots

Align = Literal["probe", "clock"]
_MOST_TALL: Final = 60
"""Rows that are as tall as their text; more than these are thinner, and not each has a label."""
_TALLEST: Final = 30_000
"""Pixels that all rows take at most: a PNG of more than twice as many cannot be drawn."""


def fleet_figure(rows: Sequence[Strip], *, align: Align = "probe") -> Figure:
    """Many boots, one row each, grouped by how they ended, the worst first.

    `probe` lays the first probes over each other, on one logarithmic scale; `clock` lays each boot where it was.
    """
    sheet = _Sheet()
    y = _fleet_head(sheet, rows, align)
    tall = 19.0 if len(rows) <= _MOST_TALL else max(min(6.5, _TALLEST / len(rows)), 1100 / len(rows))
    names = min(max((sheet.width(shown(row.story.id), _LABEL) for row in rows), default=0), 230)
    left, right = _MARGIN + names + 16, _WIDTH - _MARGIN - 118.0
    axis = _SinceProbe.of(rows, left, right) if align == "probe" else _ByClock.of(rows, left, right)
    grid = [(x, text) for x, text in axis.ticks()]
    y = _grid_texts(sheet, grid, y)
    top = y
    for code, found in groupby(rows, key=lambda row: row.verdict.code):
        group = list(found)
        heading = f"{code}: {len(group)} — {CODES[code]}"
        heading = sheet.cut(heading, _BODY, _WIDTH - 2 * _MARGIN, bold=True)
        sheet.text(_MARGIN, y + 10, heading, _BODY, bold=True, fill="#ffffff")
        y += 21
        labelled = _labelled(group, tall)
        for number, row in enumerate(group):
            _strip(sheet, axis, row, y, tall, number in labelled)
            y += tall
        y += 6
    for x, _ in grid:
        sheet.line([(x, top), (x, y)], _FAINT, 0.5, layer=1)
    return sheet.finish(_latencies(sheet, rows, _legend(sheet, y + 2, signs=False)) + 8)


def _fleet_head(sheet: _Sheet, rows: Sequence[Strip], align: Align) -> float:
    vms = len({row.story.vm for row in rows})
    title = f"{len(rows)} negotiations of {vms} VM{'s' * (vms != 1)}"
    sheet.text(_MARGIN, 22, title, _TITLE, bold=True)
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
        for part in sheet.wrap(line, _BODY, _WIDTH - 2 * _MARGIN, 2):
            sheet.text(_MARGIN, y, part)
            y += 17
    return y


def _grid_texts(sheet: _Sheet, grid: Sequence[tuple[float, str]], y: float) -> float:
    after = 0.0
    for x, text in grid:
        half = sheet.width(text, _LABEL) / 2
        if x - half > after:
            sheet.text(x, y + 8, text, _LABEL, side="center")
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


def _strip(sheet: _Sheet, axis: _SinceProbe | _ByClock, row: Strip, y: float, tall: float, labelled: bool) -> None:
    """One boot as a row."""
    middle, thin = y + tall / 2, min(tall * 0.18, 3)
    if labelled:
        room = axis.left - _MARGIN - 14
        sheet.text(_MARGIN, middle, _middle(sheet, shown(row.story.id), _LABEL, room), _LABEL)
    spans, why = axis.spans(row)
    if (probed := axis.probed(row)) is not None:
        sheet.line([(probed, y + thin), (probed, y + tall - thin)], _INK, 1.2, layer=4)
    for phase, begin, end in spans:
        fill, hatch = _PHASE_FILLS[phase]
        sheet.box(begin, y + thin, max(end, begin + 1.5), y + tall - thin, fill, hatch=hatch if tall > 10 else "",
                  edge="#7a7a7a" if tall > 10 else "none")
    if not spans and probed is None and labelled:
        sheet.text(axis.left + 6, middle, why, _SMALL, colour=_GREY, fill="#ffffff")
    if row.worst is not None:
        sheet.sign(axis.right + 12, middle, *_SEVERITY_SIGNS[row.worst.severity], size=min(6, (tall - 1) * 72 / _DPI))
        if labelled:
            sheet.text(axis.right + 22, middle, sheet.cut(shown(row.worst.rule.id), _LABEL, 44), _LABEL)
    if row.spans and labelled:
        sheet.text(_WIDTH - _MARGIN, middle, moment.duration(row.spans[-1][2]), _LABEL, side="right")


def _middle(sheet: _Sheet, text: str, size: float, room: float) -> str:
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


def _latencies(sheet: _Sheet, rows: Iterable[Strip], y: float) -> float:
    """How long each phase took, as a small table."""
    lines = [["phase", "count", *QUANTILES], *latency_cells(rows)]
    for number, line in enumerate(lines if len(lines) > 1 else ()):
        y += 15
        for column, cell in enumerate(line):
            sheet.text(_MARGIN + 70 + column * 78, y, cell, _LABEL, bold=not number, side="right")
    return y + 10


# -- files and notebooks


def encode(figure: Figure, form: str) -> bytes:
    """The bytes of a picture, the same for the same picture: no date, no version, no random name in it."""
    nothing: Mapping[str, dict[str, None]] = {
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
        "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
        "png": dict.fromkeys(("Software",)),
    }
    buffer = io.BytesIO()
    with _quietly():
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=nothing[form])
    raw = buffer.getvalue()
    return re.sub(rb"<!DOCTYPE[^>]*>\s*", b"", raw, count=1) if form == "svg" else raw


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the name ends in; the file appears whole or not at all."""
    target = Path(path)
    ready(str(target))
    raw = encode(figure, target.suffix.lower().removeprefix("."))
    with whole(target) as file:
        file.write(raw)
