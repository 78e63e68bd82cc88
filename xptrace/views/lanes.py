"""Lanes for a terminal: bars, marks and an axis on rows of cells, with labels that do not lie over each other.

Law: the lanes, axes and breaks of `xptrace.negotiation.timeline`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from xptrace.negotiation.timeline import LINE, Axis, Item, Scale
from xptrace.views import moment
from xptrace.views.style import (
    ASCII,
    LANE_COLOURS,
    SEVERITY_COLOURS,
    SEVERITY_MARKS,
    UNICODE,
    Style,
    cells_of,
    width_of,
)


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
class Canvas:
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
        return UNICODE if self.style.drawing else ASCII

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
        for column, cell in enumerate(cells_of(text), at):
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


def draw_bars(canvas: Canvas, axis: Axis, name: str, bars: Sequence[Item]) -> None:
    """One row of bars; each has a column at least, and its name where there is room."""
    cells, glyphs, paused = canvas.row(name), canvas.glyphs, canvas.paused()
    before = -1
    for bar in bars:
        begin, end = (canvas.column(position) for position in axis.span(bar))
        begin = begin + 1 if begin == before and begin + 1 < canvas.columns else begin
        colour = LANE_COLOURS.get(bar.lane, "")
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
    glyphs = UNICODE if style.drawing else ASCII
    if item.severity in SEVERITY_MARKS:
        return SEVERITY_MARKS[item.severity][not style.drawing], SEVERITY_COLOURS[item.severity]
    return glyphs["dot" if plain(item) else "mark"], LANE_COLOURS.get(item.lane, "")


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


def draw_marks(canvas: Canvas, axis: Axis, name: str, marks: Sequence[Item], most: int) -> int:
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


def draw_axis(canvas: Canvas, axis: Axis) -> None:
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
