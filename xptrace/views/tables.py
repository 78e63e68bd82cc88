"""Timelines, boots and the lengths of phases as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.course import PHASES
from xptrace.negotiation.story import Story
from xptrace.negotiation.timeline import LANES, Remark, Timeline, strips
from xptrace.views.fleet import QUANTILES, quantile

if TYPE_CHECKING:
    import pandas as pd

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
