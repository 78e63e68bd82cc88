"""Timelines for a terminal: lanes drawn with characters, scaled to its width, and the steps below; many boots as lines.

Law: the lanes, axes and breaks of `xptrace.negotiation.timeline`. Nothing is wider than the width that is asked for,
and labels never lie over each other; what has no room on the picture stands in the list below it::

    driver        ├probe┼naming─┼ver┼dec┼handover─┄┄┄───────┤
                  ●     ●  ●    ●   ●   ●
                  │     │  │    │   │   ╰mask 0x3
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from dissectors.clock import CLOCKS
from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.course import PHASES
from xptrace.negotiation.story import Story
from xptrace.negotiation.timeline import LANES, LINE, Axis, Item, Remark, Scale, Strip, Timeline, lay_out, strips
from xptrace.views import moment
from xptrace.views.escape import paint, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

NARROWEST: Final = 60
WIDEST: Final = 200
"""Columns: what is narrower or wider than these is drawn as if it were these."""
MANY: Final = 10
"""More boots than this are shown as one line each."""
ORDER: Final = "order, no time recorded"
_MOST_STEPS: Final = 200
_MOST_TRACKS: Final = 8
_MOST_WRAPPED: Final = 3


# -- text of a known width


def _cells(text: str) -> list[str]:
    """The text, one string a column: characters that need two are followed by an empty one, marks join theirs."""
    cells: list[str] = []
    for character in text:
        if unicodedata.category(character) not in ("Mn", "Me", "Cf"):
            cells.append(character)
            if unicodedata.east_asian_width(character) in "WF":
                cells.append("")
        elif cells:
            cells[-1 if cells[-1] else -2] += character
        else:  # a mark with nothing to join
            cells.append(f" {character}")
    return cells


def width_of(text: str) -> int:
    """How many columns a text takes."""
    return len(_cells(text))


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show: how many columns, whether line drawing characters, whether colours."""

    columns: int = 100
    encoding: str = "utf-8"
    colour: bool = False

    @property
    def drawing(self) -> bool:
        """Whether the encoding has characters for lines and blocks."""
        try:
            "├─┤┄┊╰│●◆▲○·▁█…".encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    @property
    def width(self) -> int:
        """The columns that are drawn on."""
        return min(max(self.columns, NARROWEST), WIDEST)

    def text(self, text: str) -> str:
        """A text as this terminal can show it, with nothing in it that acts."""
        text = printable(text)
        if self.drawing:
            return text
        return text.replace("µ", "u").replace("×", "x").encode("ascii", "backslashreplace").decode("ascii")

    def fit(self, text: str, width: int) -> str:
        """The text in exactly so many columns, cut with a sign that it is, or filled up."""
        cells = _cells(self.text(text))
        if len(cells) > width:
            sign = list("…" if self.drawing else "~")
            cells = cells[: max(width - 1, 0)]
            if cells and width_of(cells[-1]) == 2:  # half of a wide character is none
                cells[-1] = " "
            cells += sign[:width]
        return "".join(cells) + " " * (width - len(cells))

    def short(self, text: str, width: int) -> str:
        """The text in at most so many columns."""
        return self.fit(text, min(width, width_of(self.text(text))))

    def ends(self, text: str, width: int) -> str:
        """The text in exactly so many columns, cut in its middle: numbers at the end tell names apart."""
        cells = _cells(self.text(text))
        if len(cells) <= width:
            return "".join(cells) + " " * (width - len(cells))
        tail = cells[len(cells) - (width - 1) * 2 // 3 :]
        if tail and not tail[0]:  # half of a wide character is none
            tail = tail[1:]
        return self.fit("".join(cells), width - len(tail)) + "".join(tail)

    def wrap(self, text: str | Sequence[str], width: int, most: int = _MOST_WRAPPED) -> list[str]:
        """The text, or these words, in at most so many lines of at most so many columns."""
        lines: list[str] = [""]
        words = self.text(text[: width * most * 2]).split() if isinstance(text, str) else map(self.text, text)
        for word in words:
            joined = f"{lines[-1]} {word}".lstrip()
            if width_of(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(word)
        lines = [line for line in lines if line] or [""]
        if len(lines) > most:
            lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
        return [self.fit(line, width).rstrip() for line in lines]

    def paint(self, code: str, text: str) -> str:
        """The text in a colour, where there are colours."""
        return paint(self.colour, code, text)


_UNICODE: Final = {"begin": "├", "end": "┤", "both": "┼", "one": "│", "line": "─", "idle": "┄", "gap": "┊", "down": "│",
                   "right": "╰", "left": "╯", "tick": "┬", "axis": "─", "open": "─", "dot": "·", "mark": "●"}
_ASCII: Final = {"begin": "[", "end": "]", "both": "|", "one": "|", "line": "-", "idle": ".", "gap": ":", "down": "|",
                 "right": "`", "left": "'", "tick": "+", "axis": "-", "open": "-", "dot": ".", "mark": "o"}
_SEVERITY_MARKS: Final = {"high": ("▲", "!"), "medium": ("◆", "#"), "low": ("●", "o"), "info": ("○", "i")}
_SEVERITY_COLOURS: Final = {"high": "1;31", "medium": "1;33", "low": "36", "info": "2"}
_LANE_COLOURS: Final = {"driver": "34", "device": "35", "disks": "32", "NICs": "36", "other PV": "36", "log": "2"}


# -- labels that do not lie over each other


def stack(
    marks: Sequence[tuple[float, float]], limit: float, most: int, pad: float = 1
) -> list[tuple[int, bool] | None]:
    """Rows for the labels of marks: for each (position, width), in order, the row below and whether it runs leftwards.

    A label begins at its mark, to which a line leads through the rows above. It runs leftwards where it would pass the
    limit. None is what finds no room in so many rows.
    """
    leftwards = [at + width > limit for at, width in marks]
    for one in range(len(marks) - 2, -1, -1):
        end = sum(marks[one]) + pad
        leftwards[one] |= any(leftwards[other] and marks[other][0] <= end for other in range(one + 1, len(marks)))
    order = [one for one in reversed(range(len(marks))) if not leftwards[one]]
    order += [one for one in range(len(marks)) if leftwards[one]]
    taken: list[list[tuple[float, float]]] = [[] for _ in range(most)]
    found: list[tuple[int, bool] | None] = [None] * len(marks)

    for one in order:
        at, width = marks[one]
        begin, end = (at - width + 1, at + 1) if leftwards[one] else (at, at + width)
        for row in range(most):
            if begin >= 0 and all(end + pad <= left or right + pad <= begin for left, right in taken[row]):
                found[one] = row, leftwards[one]
                taken[row].append((begin, end))
                for above in taken[:row]:
                    above.append((at, at + 1))
                break
            if any(left <= at < right for left, right in taken[row]):  # the line down would cross a label
                break
    return found


@dataclass(slots=True)
class _Canvas:
    """Rows of cells, with a margin that names them, and breaks through all of them."""

    style: Style
    margin: int
    scale: Scale
    rows: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)

    @property
    def columns(self) -> int:
        """The columns of the picture itself."""
        return self.style.width - self.margin - 1

    @property
    def glyphs(self) -> dict[str, str]:
        """The characters to draw with."""
        return _UNICODE if self.style.drawing else _ASCII

    def paused(self) -> set[int]:
        """The columns that breaks take."""
        return {column for one in self.waits() for column in one}

    def waits(self) -> list[range]:
        """The columns of each break."""
        return [range(round(before.right) + 1, round(after.left)) for before, after in self.scale.breaks]

    def row(self, name: str = "") -> list[tuple[str, str]]:
        """A new row, empty but for the breaks."""
        cells = [(" ", "")] * self.columns
        for wait in self.waits():
            cells[wait[len(wait) // 2]] = self.glyphs["gap"], "2"
        self.rows.append((name, cells))
        return cells

    def column(self, position: int) -> int:
        """The column of a position."""
        return round(self.scale.column(position))

    def write(self, cells: list[tuple[str, str]], at: int, text: str, colour: str) -> None:
        """Write a text, as far as there is room."""
        for column, cell in enumerate(_cells(text), at):
            if 0 <= column < self.columns:
                cells[column] = cell, colour

    def lines(self) -> Iterator[str]:
        """The rows as text."""
        for name, cells in self.rows:
            text = "".join(
                self.style.paint(colour, "".join(cell for cell, _ in run))
                for colour, run in groupby(cells, key=lambda cell: cell[1])
            )
            yield f"{self.style.fit(name, self.margin)} {text}".rstrip()


def _bars(canvas: _Canvas, axis: Axis, name: str, bars: Sequence[Item]) -> None:
    """One row of bars; each has a column at least, and its name where there is room."""
    cells, glyphs, paused = canvas.row(name), canvas.glyphs, canvas.paused()
    before = -1
    for bar in bars:
        begin, end = (canvas.column(position) for position in axis.span(bar))
        begin = begin + 1 if begin == before and begin + 1 < canvas.columns else begin
        colour = _LANE_COLOURS.get(bar.lane, "")
        for column in range(begin, end + 1):
            cells[column] = glyphs["idle" if column in paused else "line"], colour
        joined = begin and cells[begin - 1][0] in (glyphs["line"], glyphs["idle"])
        if end > begin:
            cells[end] = glyphs["open" if bar.end is None else "end"], colour
        cells[begin] = glyphs["one" if end <= begin else "both" if joined else "begin"], colour
        at, room = _room(begin, end, paused)
        if room >= 2:
            canvas.write(cells, at, canvas.style.short(bar.name, room), colour)
        before = begin


def _room(begin: int, end: int, paused: set[int]) -> tuple[int, int]:
    """(where, how wide) the widest part of a bar's inside without a break is; the first of equals."""
    best, at = (begin + 1, 0), begin + 1
    for column in range(begin + 1, end + 1):
        if column == end or column in paused:
            if column - at > best[1]:
                best = at, column - at
            at = column + 1
    return best


def _mark(style: Style, item: Item) -> tuple[str, str]:
    """(character, colour) of a mark."""
    glyphs = _UNICODE if style.drawing else _ASCII
    if item.severity in _SEVERITY_MARKS:
        return _SEVERITY_MARKS[item.severity][not style.drawing], _SEVERITY_COLOURS[item.severity]
    return glyphs["dot" if plain(item) else "mark"], _LANE_COLOURS.get(item.lane, "")


def plain(item: Item) -> bool:
    """Whether a mark is one among many, and stands without a name."""
    return item.lane == "log" and item.name == LINE


def named(marks: Sequence[Item]) -> str:
    """One label for marks that stand in one place: their names, each with how often."""
    counted: dict[str, int] = {}
    for item in marks:
        if not plain(item):
            counted[item.name] = counted.get(item.name, 0) + 1
    words = [name if count == 1 else f"{name} ×{count}" for name, count in counted.items()]
    return ", ".join(words) if len(words) <= 3 else f"{words[0]} … {words[-1]} ({sum(counted.values())})"


def _marks(canvas: _Canvas, axis: Axis, name: str, marks: Sequence[Item], most: int) -> int:
    """A row of marks, and their labels below it; returns how many labels found no room."""
    cells, glyphs = canvas.row(name), canvas.glyphs
    groups: list[tuple[int, list[Item]]] = []
    for item in marks:
        column = canvas.column(axis.at(item.begin))
        cells[column] = _mark(canvas.style, item)
        same = groups and [one.name for one in groups[-1][1][-1:]] == [item.name] and column - groups[-1][0] < 12
        if groups and (groups[-1][0] == column or same):  # marks in one place, or of one name, share a label
            groups[-1][1].append(item)
        else:
            groups.append((column, [item]))
    labels = [(column, canvas.style.text(text), items[0]) for column, items in groups if (text := named(items))]
    widest = canvas.columns // 2 - 1
    texts = [canvas.style.short(text, widest) for _, text, _ in labels]
    rows = stack([(column, width_of(text) + 1) for (column, _, _), text in zip(labels, texts, strict=True)],
                 canvas.columns, most)
    below = [canvas.row() for _ in range(1 + max((row for row, _ in filter(None, rows)), default=-1))]
    for (column, _, item), text, where in zip(labels, texts, rows, strict=True):
        if where is None:
            continue
        row, leftwards = where
        colour = _mark(canvas.style, item)[1]
        for above in below[:row]:
            above[column] = glyphs["down"], "2"
        if leftwards:
            canvas.write(below[row], column - width_of(text), text + glyphs["left"], colour)
        else:
            canvas.write(below[row], column, glyphs["right"] + text, colour)
    return rows.count(None)


def no_room(labels: int) -> str:
    """That so many labels are left out."""
    return f"{labels} label{'s' * (labels != 1)} found no room"


# -- the axis

_STEPS: Final = [digit * 10**power for power in range(12) for digit in (1, 2, 5)]


def _exact(position_ns: int, step_ns: int) -> str:
    """A time since the start, with as many digits as the step to the next one needs."""
    digits = next((digits for digits in range(6) if step_ns >= 10 ** (9 - digits)), 6) if position_ns else 0
    return f"{position_ns / 10**9:.{digits}f} s"


def ticks(axis: Axis, scale: Scale, least: float) -> Iterator[tuple[int, str]]:
    """(position, text) of the ticks, the important ones first: the begin of each stretch, then even steps in it.

    Even steps are no closer than `least` columns, and tell the time since the begin of their stretch where that
    follows a break.
    """
    inner: list[tuple[int, str]] = []
    for stretch in sorted(scale.stretches, key=lambda one: (one.begin > axis.begin, one.left - one.right)):
        length, columns = stretch.end - stretch.begin, stretch.right - stretch.left
        wanted = length * least / columns if columns else 0
        step = next((step for step in _STEPS if step >= wanted and step), _STEPS[-1])
        if axis.clock is None:
            yield stretch.begin, f"#{stretch.begin + 1}"
            inner += [(at, f"#{at + 1}") for at in range(stretch.begin + step - 1, stretch.end + 1, step)]
            continue
        origin = stretch.begin - axis.begin
        yield stretch.begin, _exact(origin, step if length else 10**6)
        for count in range(1, length // step + 1):
            since = count * step
            inner.append((stretch.begin + since, f"{'+' if origin else ''}{moment.duration(since)}"))
    yield from inner


def _axis(canvas: _Canvas, axis: Axis) -> None:
    """The ticks, their texts, and how long each break is."""
    glyphs = canvas.glyphs
    texts, line = canvas.row(), canvas.row()
    taken: list[tuple[int, int]] = []
    for column in range(canvas.columns):
        line[column] = glyphs["axis"], "2"
    for position, text in ticks(axis, canvas.scale, 9):
        column, shown = canvas.column(position), canvas.style.text(text)
        end = column + width_of(shown)
        if end <= canvas.columns and all(end < left or right < column for left, right in taken):
            taken.append((column, end))
            canvas.write(texts, column, shown, "1")
            line[column] = glyphs["tick"], ""
    taken.clear()
    waits = list(zip(canvas.waits(), canvas.scale.breaks, strict=True))
    waits.sort(key=lambda one: one[1][0].end - one[1][1].begin)
    cells = canvas.row("waiting") if waits else []
    for hidden, (before, after) in waits:
        shown = canvas.style.text(moment.duration(after.begin - before.end))
        column = hidden[len(hidden) // 2] - width_of(shown) // 2
        column = min(max(column, 0), canvas.columns - width_of(shown))
        for at in hidden:
            line[at] = " ", ""
        line[hidden[len(hidden) // 2]] = glyphs["gap"], ""
        if all(column + width_of(shown) < left or right < column for left, right in taken):
            taken.append((column, column + width_of(shown)))
            canvas.write(cells, column, shown, "2")


# -- one boot


def timeline_lines(told: Timeline, style: Style) -> Iterator[str]:
    """A boot in full: its head, its lanes on each axis, and its steps."""
    yield from _head(told, style)
    for axis in told.axes:
        yield ""
        yield from style.wrap(_about(axis, style), style.width)
        yield from _picture(axis, style)
    for axis in told.axes:
        yield ""
        yield from _steps(axis, style)


def _head(told: Timeline, style: Style) -> Iterator[str]:
    yield style.paint("1", style.short(told.story.id, style.width))
    lines: list[str | list[str]] = [told.driver or "no driver named itself", told.verdict.sentence]
    if told.spans:
        lines.append(recorded(told.spans))
    if told.phases:
        lines.append([f"{phase.name}{took(phase.duration_ns)}{',' * (phase is not told.phases[-1])}"
                      for phase in told.phases])
    for line in lines:
        yield from (f"  {part}" for part in style.wrap(line, style.width - 2))
    for remark in told.remarks[:_MOST_REMARKS]:
        mark, colour = _SEVERITY_MARKS[remark.severity][not style.drawing], _SEVERITY_COLOURS[remark.severity]
        text = style.wrap(f"{mark} {remark.rule.id} {remark.severity}: {remark.sentence}", style.width - 2)
        yield from (f"  {style.paint(colour, part)}" for part in text)
    if len(told.remarks) > _MOST_REMARKS:
        yield f"  and {len(told.remarks) - _MOST_REMARKS} more findings, in the list below"


_MOST_REMARKS: Final = 5


def recorded(spans: Iterable[tuple[str, int, int]]) -> str:
    """The first and the last time by each clock; that there is only order where no clock tells."""
    said = [f"{moment.utc(first, clock)} to {moment.utc(last, clock)}" for clock, first, last in spans]
    return "; ".join(said) or ORDER


def took(time_ns: int | None) -> str:
    """How long a phase took, with a blank before it; nothing where no clock tells."""
    return "" if time_ns is None else f" {moment.duration(time_ns) if time_ns else 'at once'}"


def _about(axis: Axis, style: Style) -> str:
    """What the axis tells, in a sentence."""
    if axis.clock is None:
        return f"{ORDER}: {PurePath(axis.source or '').name}, #1 to #{axis.end + 1}"
    scale = lay_out(axis, _columns(axis, style) - 1, pause=4, least=1)
    said = f"{moment.duration(axis.end - axis.begin)} by {CLOCKS.get(axis.clock, axis.clock or 'an unnamed clock')}"
    if not scale.breaks:
        return said
    count = len(scale.breaks)
    gap = (_UNICODE if style.drawing else _ASCII)["gap"]
    return (f"{said}; {gap} {count} break{'s' * (count > 1)} leave{'s' * (count == 1)} out "
            f"{moment.duration(scale.hidden)} of waiting; each stretch has its own scale, + is since its begin")


def _track(track: str) -> str:
    """The name of a track in the margin; those of the driver and the device need none."""
    return "" if track in ("phases", "state") else f" {track.replace('frontend', 'front').replace('backend', 'back')}"


def _margin(axis: Axis, style: Style) -> int:
    names = [name for lane, tracks in axis.tracks().items() for name in (lane, *map(_track, tracks))]
    return min(max(width_of(style.text(name)) for name in names), style.width // 5, 20)


def _columns(axis: Axis, style: Style) -> int:
    return style.width - _margin(axis, style) - 1


def _picture(axis: Axis, style: Style) -> Iterator[str]:
    scale = lay_out(axis, _columns(axis, style) - 1, pause=4, least=1)
    canvas = _Canvas(style, _margin(axis, style), scale)
    _axis(canvas, axis)
    hidden = 0
    for lane, tracks in axis.tracks().items():
        here = [item for item in axis.items if item.lane == lane]
        marks = [item for item in here if item.kind == "mark"]
        own = [track for track in tracks if not _track(track)]
        for number, row in enumerate(row for track in own for row in axis.layers(track)):
            _bars(canvas, axis, "" if number else lane, row)
        if marks:
            hidden += _marks(canvas, axis, "" if own else lane, marks, 8 if lane == "driver" else 5)
        elif not own:
            canvas.row(lane)
        others = [track for track in tracks if _track(track)]
        for track in others[:_MOST_TRACKS]:
            for number, row in enumerate(axis.layers(track)):
                _bars(canvas, axis, "" if number else _track(track), row)
        if len(others) > _MOST_TRACKS:
            canvas.row(f" and {len(others) - _MOST_TRACKS} more")
    yield from canvas.lines()
    if hidden:
        yield from style.wrap(f"{no_room(hidden)}: what they mark is in the list below", style.width)


# -- the list of steps


def _steps(axis: Axis, style: Style) -> Iterator[str]:
    """What happened, one after the other: time since the start, lane, what, and where it stands."""
    became = {item.begin.place: item.name for item in axis.items if item.track == "state"}
    driven = {item.begin.place for item in axis.items if item.lane == "driver" and item.kind == "mark"}
    shown = [
        item for item in axis.items
        if item.track not in ("phases", "state")
        and not (item.lane in ("disks", "NICs") and item.kind == "mark" and item.begin.place in driven)
    ]
    runs = [list(run) for _, run in groupby(shown, key=_sameness)]
    rows = []
    for run in runs[:_MOST_STEPS]:
        item = run[0]
        since = f"#{axis.at(item.begin) + 1}" if axis.clock is None else moment.plain(axis.at(item.begin) - axis.begin)
        what = item.label if len(run) == 1 or _sameness(item)[-1] else item.name
        if len(run) > 1:
            what += f" ×{len(run)}"
        if item.severity:
            what = f"{item.name} {item.severity}: {what}"
        if item.lane == "driver" and (state := became.get(item.begin.place)):
            what += f" {'→' if style.drawing else '->'} {state}"
        place = item.begin.place
        rows.append((since, item, what, f"{PurePath(place.source).name}:{place.line}"))
    if not rows:
        return
    first = max(len(since) for since, *_ in rows)
    last = min(max(width_of(style.text(where)) for *_, where in rows), style.width // 4)
    middle = style.width - first - last - 13
    for since, item, what, where in rows:
        colour = _SEVERITY_COLOURS.get(item.severity or "", _LANE_COLOURS.get(item.lane, ""))
        parts = style.wrap(what, middle)
        for number, part in enumerate(parts):
            head = f"{since:>{first}}  {item.lane:<8}" if not number else " " * (first + 10)
            text = style.paint(colour, style.fit(part, middle))
            yield f"{head} {text}  {_tail(style, where, last)}" if not number else f"{head} {text}".rstrip()
    if len(runs) > _MOST_STEPS:
        yield f"and {len(runs) - _MOST_STEPS} more: -T jsonl has all of them"


def _sameness(item: Item) -> tuple[str, str, str]:
    """What the list shows as one line when it comes several times in a row."""
    many = item.lane == "device" and item.name == "function mapped"
    return item.lane, item.name, "" if many else item.label


def _tail(style: Style, where: str, width: int) -> str:
    """A place in so many columns: of the name of the recording the middle is cut."""
    return style.ends(where, width).rstrip()


# -- many boots

_HEIGHTS: Final = dict(zip(PHASES, "▁▂▃▄▆█", strict=True))
_LETTERS: Final = {phase: phase[0] for phase in PHASES}
_PHASE_COLOURS: Final = dict(zip(PHASES, ("36", "34", "35", "33", "31", "32"), strict=True))
_FLOOR_NS: Final = 10_000
"""Where the common scale of many boots begins at the earliest."""


def fleet_lines(rows: Sequence[Strip], style: Style) -> Iterator[str]:
    """Many boots, one line each, grouped by how they ended, the worst first; then how long each phase takes."""
    vms = len({row.story.vm for row in rows})
    said = (f"{len(rows)} negotiations of {vms} VM{'s' * (vms != 1)}, each from its first probe on, all on one "
            "logarithmic scale; --vm NAME shows one in full")
    yield from style.wrap(said, style.width)
    signs = _HEIGHTS if style.drawing else _LETTERS
    yield from style.wrap([f"{signs[phase]} {phase}" for phase in PHASES], style.width)
    names = min(max((width_of(style.text(row.story.id)) for row in rows), default=1), style.width // 4)
    columns = style.width - names - _WORST - _TOOK - 5
    scale = _Decades.of(rows, columns)
    yield ""
    yield f"{'':{names + _WORST + 4}}{scale.header()}".rstrip()
    for code, found in groupby(rows, key=lambda row: row.verdict.code):
        group = list(found)
        yield from (style.paint("1", part) for part in style.wrap(f"{code}: {len(group)}", style.width))
        for row in group:
            spans = row.spans
            if spans:
                bar = "".join(_painted(style, signs, phase) for phase in scale.phases(spans))
            else:
                bar = style.fit(_unspanned(row), columns)
            length = moment.duration(spans[-1][2]) if spans else "-"
            yield f"  {style.ends(row.story.id, names)} {_worst(row, style)} {bar} {style.text(length):>{_TOOK}}"
    yield ""
    yield from _latency_lines(rows, style)


_WORST: Final = 6
_TOOK: Final = 7


def _painted(style: Style, signs: Mapping[str, str], phase: str | None) -> str:
    return " " if phase is None else style.paint(_PHASE_COLOURS[phase], signs[phase])


def _unspanned(row: Strip) -> str:
    if not row.phases:
        return "no handshake" if not row.story.begun else "no phase came to an end"
    return ORDER


def _worst(row: Strip, style: Style) -> str:
    if row.worst is None:
        return " " * _WORST
    severity = row.worst.severity
    return style.paint(_SEVERITY_COLOURS[severity],
                       style.fit(f"{_SEVERITY_MARKS[severity][not style.drawing]} {row.worst.rule.id}", _WORST))


@dataclass(frozen=True, slots=True)
class _Decades:
    """A logarithmic scale of time since the first probe, the same for all rows."""

    first: int
    last: int
    columns: int

    @classmethod
    def of(cls, rows: Iterable[Strip], columns: int) -> _Decades:
        """The decades that all spans lie in."""
        ends = [end for row in rows for _, _, end in row.spans if end > _FLOOR_NS] or [_FLOOR_NS * 10]
        return cls(len(str(min(ends) - 1)) - 1, len(str(max(ends))), columns)

    def column(self, decade: float) -> int:
        """The column of a power of ten of nanoseconds."""
        return round((decade - self.first) / (self.last - self.first) * (self.columns - 1))

    def header(self) -> str:
        """The decades above their columns, as many as have room."""
        cells = [" "] * (self.columns + _TOOK)
        after = 0
        for decade in range(self.first, self.last + 1):
            text, at = _DECADES.get(decade, ""), self.column(decade)
            if at >= after:
                cells[at : at + len(text)] = text
                after = at + len(text) + 1
        return "".join(cells)

    def phases(self, spans: Sequence[tuple[str, int, int]]) -> Iterator[str | None]:
        """For each column the phase at that time."""
        for column in range(self.columns):
            at = 10 ** (self.first + column * (self.last - self.first) / (self.columns - 1))
            yield next((phase for phase, begin, end in spans if begin <= at < end or (not column and at < end)), None)


_DECADES: Final = {4: "10us", 5: "100us", 6: "1ms", 7: "10ms", 8: "100ms", 9: "1s", 10: "10s", 11: "100s", 12: "1000s"}


# -- how long the phases take

QUANTILES: Final = {"min": 0, "p50": 50, "p90": 90, "p99": 99, "max": 100}
"""The columns of `latencies` after the count, and the percentage of values that are not above each."""


def quantile(values: Sequence[int], percent: int) -> int:
    """The smallest of the sorted values that so many per cent of them do not exceed: always one that was measured."""
    return values[max(-(-len(values) * percent // 100), 1) - 1]


def _latency_lines(rows: Iterable[Strip], style: Style) -> Iterator[str]:
    heads = ["phase", "count", *QUANTILES]
    widths = [8, 6, *[8] * len(QUANTILES)]
    yield style.paint("1", " ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for cells in latency_cells(rows):
        yield " ".join(f"{style.text(cell):>{width}}" for cell, width in zip(cells, widths, strict=True))


def latency_cells(rows: Iterable[Strip]) -> Iterator[list[str]]:
    """How long each phase took over these boots: its name, how many, then the quantiles; the phases that there are."""
    lengths: dict[str, list[int]] = {phase: [] for phase in PHASES}
    for row in rows:
        for phase in row.phases:
            if phase.duration_ns is not None:
                lengths[phase.name].append(phase.duration_ns)
    for name, values in lengths.items():
        if values:
            values.sort()
            quantiles = (moment.duration(quantile(values, percent)) for percent in QUANTILES.values())
            yield [name, str(len(values)), *quantiles]


# -- as tables

TIMELINE: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("category", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "lane": ("category", f"{', '.join(LANES)}"),
    "kind": ("category", "bar (from begin to end) or mark (one moment)"),
    "name": ("string", "in two words: a phase, a step, a state, a rule; untrusted"),
    "begin_ns": ("Int64", "nanoseconds by `clock`; missing where the recording has no time"),
    "end_ns": ("Int64", "of a bar; missing where it lasts as long as the recording, or another clock tells its end"),
    "clock": ("category", "of begin_ns and end_ns"),
    "label": ("string", "in a sentence; untrusted, not escaped"),
    "severity": ("category", "of a finding: high, medium, low, info"),
    "source": ("category", "the recording"),
    "offset": ("Int64", "byte offset of the record in it, after decompression"),
    "line": ("Int64", "line number, from 1"),
}
FLEET: Final[Mapping[str, tuple[str, str]]] = {
    "id": ("string", "the negotiation's name, VM#boot"),
    "vm": ("string", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "epoch": ("category", "how the boot began: process, reset or migration; missing where it is not shown"),
    "driver": ("string", "the driver in words, inferred from product and build"),
    "code": ("category", "how it ended: a code of xptrace.negotiation.verdict.CODES"),
    "worst": ("category", "the worst severity of its findings; missing where nothing was found"),
    "findings": ("Int64", "how many findings there are"),
    "probed_ns": ("Int64", "when the first step of the handshake was, by `clock`"),
    "clock": ("category", "of probed_ns"),
    **{f"{phase}_ns": ("Int64", meaning) for phase, meaning in PHASES.items()},
}
LATENCIES: Final[Mapping[str, tuple[str, str]]] = {
    "phase": ("string", "the phase"),
    "count": ("Int64", "boots in which a clock tells how long it took"),
    **{name: ("Int64", f"nanoseconds that {percent} % of them did not exceed, a measured value")
       for name, percent in QUANTILES.items()},
}


def timeline_frame(*told: Timeline) -> pd.DataFrame:
    """One row an item, boot by boot, in the order of each axis; the columns are those of `TIMELINE`."""
    from xptrace.frames.build import Columns

    columns = Columns(TIMELINE)
    for one in told:
        for row in one.rows():
            columns.append(row)
    return columns.frame()


def fleet_frame(stories: Iterable[Story], findings: Sequence[Remark] = ()) -> pd.DataFrame:
    """One row a negotiation, those that ended worst first; the columns are those of `FLEET`."""
    from xptrace.frames.build import Columns

    columns = Columns(FLEET)
    for row in strips(stories, findings, SEVERITIES):
        story, probed = row.story, row.probed if row.story.begun else None
        columns.append({
            "id": story.id, "vm": story.vm, "boot": story.boot, "epoch": story.began, "driver": row.driver,
            "code": row.verdict.code, "worst": row.worst.severity if row.worst else None,
            "findings": sum((one.vm, one.boot) == (story.vm, story.boot) for one in findings),
            "probed_ns": probed.time_ns if probed else None, "clock": probed.clock if probed else None,
            **{f"{phase.name}_ns": phase.duration_ns for phase in row.phases},
        })
    return columns.frame()


def latencies(frame: pd.DataFrame) -> pd.DataFrame:
    """How long each phase takes over all VMs and boots of a table with `PHASE_ns`; the columns are `LATENCIES`."""
    from xptrace.frames.build import Columns

    columns = Columns(LATENCIES)
    for phase in PHASES:
        values = sorted(int(value) for value in frame[f"{phase}_ns"].dropna())
        told = {name: quantile(values, percent) for name, percent in QUANTILES.items()} if values else {}
        columns.append({"phase": phase, "count": len(values), **told})
    return columns.frame()
