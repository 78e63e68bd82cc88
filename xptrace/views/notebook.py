"""Timelines as tables that a notebook shows as pictures: one VM's boots, or a whole fleet's negotiations.

Law: pandas' own rules for subclasses of a DataFrame: what is taken out of one of these (rows, columns) is a plain
DataFrame again. A display is an inline SVG and a small table: no script, nothing from elsewhere, every text escaped.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import pandas as pd

from xptrace.errors import XptraceError
from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.story import Story
from xptrace.negotiation.timeline import Remark, Timeline, strips
from xptrace.negotiation.verdict import CODES
from xptrace.views.plot import timeline_figure
from xptrace.views.plot_fleet import Align, fleet_figure
from xptrace.views.sheet import Figure, encode, save, shown
from xptrace.views.tables import fleet_frame, latencies, timeline_frame
from xptrace.views.timeline import ORDER, took


def _inline(figure: Callable[[], Figure]) -> str:
    """A picture as an element of a page; where there is no matplotlib, how to get it."""
    try:
        raw = encode(figure(), "svg").decode("utf-8")
    except XptraceError as error:
        return f"<p>{html.escape(str(error).replace('--plot', 'a picture'))}</p>"
    raw = re.sub(r"<metadata>.*?</metadata>", "", raw[raw.index("<svg") :], count=1, flags=re.DOTALL)
    return f'<div style="overflow-x:auto">{raw}</div>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(shown(cell))}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{line(heads, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


class TimelineView(pd.DataFrame):
    """The timelines of one VM's boots: a table of one row an item, which a notebook shows as a picture.

    What is taken out of it (rows, columns) is a plain DataFrame.
    """

    _metadata = ["told"]  # noqa: RUF012  (pandas' way of declaring what is no column)
    told: tuple[Timeline, ...]

    @classmethod
    def of(cls, told: tuple[Timeline, ...]) -> TimelineView:
        """The table of these timelines."""
        view = cls(timeline_frame(*told))
        view.told = told
        return view

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:  # type: ignore[override]
        """The picture, also written to this file (.svg, .png, .pdf); raises XptraceError where it cannot be."""
        figure = timeline_figure(*self.told)
        if path is not None:
            save(figure, path)
        return figure

    def _repr_html_(self) -> str:
        """The picture, and a table of phases and findings."""
        rows = []
        for one in self.told:
            rows += [(one.story.id, f"phase {phase.name}", took(phase.duration_ns).strip() or ORDER)
                     for phase in one.phases]
            rows += [(one.story.id, f"{remark.severity} {remark.rule.id}", remark.sentence) for remark in one.remarks]
            rows.append((one.story.id, "verdict", one.verdict.sentence))
        return _inline(lambda: timeline_figure(*self.told)) + _table(("negotiation", "what", ""), rows)


class FleetView(pd.DataFrame):
    """The negotiations of many VMs: a table of one row each, which a notebook shows as a picture.

    What is taken out of it (rows, columns) is a plain DataFrame.
    """

    _metadata = ["stories", "remarks"]  # noqa: RUF012  (pandas' way of declaring what is no column)
    stories: tuple[Story, ...]
    remarks: tuple[Remark, ...]

    @classmethod
    def of(cls, stories: tuple[Story, ...], findings: tuple[Remark, ...] = ()) -> FleetView:
        """The table of these negotiations."""
        view = cls(fleet_frame(stories, findings))
        view.stories, view.remarks = stories, findings
        return view

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def latencies(self) -> pd.DataFrame:
        """How long each phase took over all VMs and boots: count, least, percentiles, most, in nanoseconds."""
        return latencies(self)

    def plot(  # type: ignore[override]
        self, path: str | os.PathLike[str] | None = None, *, align: Align = "probe"
    ) -> Figure:
        """The picture, also written to this file (.svg, .png, .pdf); raises XptraceError where it cannot be."""
        figure = fleet_figure(strips(self.stories, self.remarks, SEVERITIES), align=align)
        if path is not None:
            save(figure, path)
        return figure

    def _repr_html_(self) -> str:
        """The picture, and how many ended in which way."""
        rows = strips(self.stories, self.remarks, SEVERITIES)
        counts = [(code, str(len(list(group))), CODES[code])
                  for code, group in groupby(rows, key=lambda row: row.verdict.code)]
        return _inline(lambda: fleet_figure(rows)) + _table(("verdict", "count", ""), counts)
