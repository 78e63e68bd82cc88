"""Many boots for a terminal: one line each, on one logarithmic scale, and how long each phase takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from xptrace.negotiation.course import PHASES
from xptrace.negotiation.timeline import Strip
from xptrace.views import moment
from xptrace.views.style import SEVERITY_COLOURS, SEVERITY_MARKS, Style, width_of
from xptrace.views.timeline import ORDER

MANY: Final = 10
"""More boots than this are shown as one line each."""

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
    return style.paint(SEVERITY_COLOURS[severity],
                       style.fit(f"{SEVERITY_MARKS[severity][not style.drawing]} {row.worst.rule.id}", _WORST))


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
