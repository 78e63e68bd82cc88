"""A case: recordings, opened together, as DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, Unpack

import pandas as pd

from xptrace.access.attribution import Vm
from xptrace.access.correlation import Correlation, Views
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Entry, Message
from xptrace.access.survey import Survey, Surveyed
from xptrace.errors import XptraceError
from xptrace.frames import schema
from xptrace.frames.build import Columns
from xptrace.negotiation.sayings import sayings
from xptrace.negotiation.story import Stories, Story
from xptrace.negotiation.summary import complete, summary_row
from xptrace.replay.columns import Interned

if TYPE_CHECKING:
    import pyarrow as pa

    from xptrace.findings.assess import Assessment
    from xptrace.replay.device import Properties
    from xptrace.replay.fit import Candidate
    from xptrace.replay.replay import Start
    from xptrace.views.notebook import FleetView, TimelineView


class _Tables(NamedTuple):
    accesses: pd.DataFrame
    messages: pd.DataFrame
    events: pd.DataFrame
    summary: pd.DataFrame
    ledger: pd.DataFrame
    sources: list[Surveyed]
    correlations: list[Correlation]
    vms: dict[str, Vm]
    interned: Interned
    stories: list[Story]


class Case:
    """Recordings that belong together. They are read when a table is first asked for, and once.

    Columns, dtypes and units of every table are those of `xptrace.frames.schema`.
    """

    def __init__(
        self, paths: Sequence[str], trace_events: Sequence[str] = (), *, dissector: str | None = None,
        tsc_hz: float | None = None, clock_offsets: Mapping[str, int] | None = None,
    ) -> None:
        """Open the recordings, with the settings of `Decoder`; raises XptraceError where one cannot be read."""
        self.paths = tuple(map(str, paths))
        self._open = partial(Decoder, self.paths, tuple(trace_events), dissector=dissector, tsc_hz=tsc_hz,
                             clock_offsets=clock_offsets)
        self.decoder = self._open()
        """What has read them last; its ledgers are the account of what was read."""

    @cached_property
    def _tables(self) -> _Tables:
        accesses, messages = Columns(schema.ACCESSES), Columns(schema.MESSAGES)
        negotiations, accounts = Columns(schema.SUMMARY), Columns(schema.LEDGER)
        events = Columns(schema.EVENTS)
        decoder = self._fresh()
        stories, interned = Stories(decoder.vms), Interned()
        views, survey = Views(decoder.vms), Survey(decoder)
        for entry in survey.watch(views.watch(stories.watch(decoder.entries()))):
            if isinstance(entry, Access):
                accesses.append(entry.row())
                interned.add(entry)
            else:
                (messages if isinstance(entry, Message) else events).append(entry.row())
        told = complete(stories, decoder.vms.values())
        for story in told:
            negotiations.append(summary_row(story))
        for ledger in decoder.ledgers:
            for kind, size, lines in ledger.rows():
                accounts.append({"source": ledger.source, "kind": kind, "bytes": size, "lines": lines})
        return _Tables(accesses.frame(), messages.frame(), events.frame(), negotiations.frame(), accounts.frame(),
                       survey.sources, views.correlations(), decoder.vms, interned, told)

    def entries(self) -> Iterator[Entry]:
        """Every access, message and event (`xptrace.access.rows`), in the order of the recordings, read once more."""
        return self._fresh().entries()

    @property
    def accesses(self) -> pd.DataFrame:
        """One row an access of the guest, in the order of the recording."""
        return self._tables.accesses

    @property
    def messages(self) -> pd.DataFrame:
        """One row a line that the guest wrote to the log port."""
        return self._tables.messages

    @cached_property
    def sayings(self) -> pd.DataFrame:
        """One row a thing that the guest said: what is understood of its log; a crash or a suspend is one."""
        columns = Columns(schema.SAYINGS)
        for story in self._tables.stories:
            for saying in sayings(story):
                columns.append(saying.row(story))
        return columns.frame()

    @property
    def events(self) -> pd.DataFrame:
        """One row an event of a VM's life, of a PV device's state, of a PCI function or of a node of xenstore."""
        return self._tables.events

    @property
    def negotiations(self) -> pd.DataFrame:
        """One row a VM and boot: the driver, its phases and how long they took, the verdict."""
        return self._tables.summary

    @property
    def summary(self) -> pd.DataFrame:
        """The negotiations, by their older name."""
        return self._tables.summary

    @property
    def ledger(self) -> pd.DataFrame:
        """The account of every byte and line read."""
        return self._tables.ledger

    @cached_property
    def sources(self) -> pd.DataFrame:
        """One row a recording: what it is, whose view, which VMs and boots, its clock and the times by it.

        For their digests the recordings are read once more, when this is first asked for.
        """
        columns = Columns(schema.SOURCES)
        for surveyed in self._tables.sources:
            columns.append(surveyed.summary())
        return columns.frame()

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """One row a pair of recordings of one boot that saw the same: how many matches, how their clocks stand."""
        from xptrace.views.correlation import relation_row

        columns = Columns(schema.CORRELATIONS)
        for one in self._tables.correlations:
            columns.append(relation_row(one))
        return columns.frame()

    @cached_property
    def sightings(self) -> pd.DataFrame:
        """One row a thing that either recording of a pair saw, on one clock, with its place in both."""
        from xptrace.views.correlation import sighting_rows

        columns = Columns(schema.SIGHTINGS)
        for one in self._tables.correlations:
            for row in sighting_rows(one):
                columns.append(row)
        return columns.frame()

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row an anomaly, worst first, with its proof."""
        columns = Columns(schema.FINDINGS)
        for found in self.assessment.findings:
            columns.append(found.row())
        return columns.frame()

    @cached_property
    def assessment(self) -> Assessment:
        """Every rule over every boot: findings, what could not be assessed, and the facts of each boot."""
        from xptrace.findings.assess import examine

        return examine(self._fresh())

    def timeline(self, vm: str | None = None) -> TimelineView:
        """The boots of one VM as lanes on a time axis: a table with `.plot(path)`, in a notebook a picture.

        `vm` may be left out where there is only one. Raises XptraceError where there is no such VM, or several.
        """
        from xptrace.negotiation.timeline import timeline
        from xptrace.views.notebook import TimelineView

        done = self.assessment
        names = list(dict.fromkeys(story.vm for story in done.stories))
        if vm is None and len(names) == 1:
            vm = names[0]
        if vm not in names:
            raise XptraceError(f"there is no VM {vm!r}; there are: {', '.join(names)}" if vm else
                               f"there are several VMs; name one: {', '.join(names)}")
        return TimelineView.of(tuple(timeline(story, done.findings) for story in done.stories if story.vm == vm))

    def fleet(self) -> FleetView:
        """Every negotiation, one row each: a table with `.latencies()` and `.plot(path)`, in a notebook a picture."""
        from xptrace.views.notebook import FleetView

        return FleetView.of(tuple(self.assessment.stories), tuple(self.assessment.findings))

    def filter(self, text: str, table: str = "accesses") -> pd.DataFrame:
        """The rows of a table (accesses, messages, events, findings, negotiations) of which a filter is true.

        Raises XptraceError where there is no such table, or where the filter is none (`xptrace.filter`).
        """
        from xptrace.filter import compile_filter

        if table not in ("accesses", "messages", "events", "findings", "negotiations"):
            raise XptraceError(f"no table {table!r} can be filtered")
        asked = compile_filter(text, table if table in ("findings", "negotiations") else "entries")
        return asked.frame(getattr(self, table))

    def arrow(self, name: str) -> pa.Table:
        """A table of the case as Arrow, with units and meanings as metadata; `rows`: accesses and messages in one."""
        from xptrace.frames.arrow import table

        return table(self, name)

    # -- the model

    def replay(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """The accesses with two more columns: `expected`, what the device answers, and `agrees`.

        `profile` names the device; by default it is the newest of those that explain the recording. `device` may
        give what `xptrace.replay.device.Properties` lists. Raises XptraceError where there is no such device.
        """
        from xptrace.replay.columns import replay

        start = self._start(profile, device)
        judged = replay(start, self._tables.interned, self._tables.vms)
        expected = pd.arrays.IntegerArray(judged.expected, ~judged.has_expected)
        agrees = pd.arrays.BooleanArray(judged.agrees == 1, judged.agrees < 0)
        return self.accesses.assign(expected=expected, agrees=agrees)

    @cached_property
    def fit(self) -> pd.DataFrame:
        """One row a profile: whether it explains the recordings, and what speaks against it; the best first."""
        columns = Columns(schema.FIT)
        for candidate in self._candidates:
            row = candidate.row()
            row["against"] = [f"{one['source']}:{one['line']} {one['said']}" for one in row["against"]]
            columns.append(row)
        return columns.frame()

    @cached_property
    def _candidates(self) -> list[Candidate]:
        from xptrace.replay.fit import Fit

        decoder = self._again()
        fit = Fit(decoder.vms, decoder.catalogue)
        fit.take(decoder.rows())
        return fit.candidates()

    def states(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """One row an interval of one register of the modelled device; the arguments are those of `replay`."""
        from xptrace.replay.replay import Replay
        from xptrace.replay.states import States

        decoder = self._again()
        replay = Replay(self._start(profile, device), decoder.vms)
        columns = Columns(schema.STATES)
        for interval in States(replay).watch(replay.rows(decoder.rows())):
            columns.append(interval.row())
        return columns.frame()

    def whatif(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """What the recorded drivers would have done on another device: predictions, one row a boot and device.

        The arguments are those of `replay`; with none but the profile, the four devices of 2013 are tried: the older
        identity, the newer, both, and the older with the driver blacklisted.
        """
        from xptrace.replay.whatif import Negotiations, predict, variants_of

        start, negotiations = self._start(profile, device), Negotiations()
        for _ in negotiations.watch(self._again().rows()):
            pass
        columns = Columns(schema.PREDICTIONS)
        for one in negotiations.found:
            for variant in variants_of(start, one):
                if (prediction := predict(one, variant)) is not None:
                    columns.append(prediction.row())
        return columns.frame()

    def _fresh(self) -> Decoder:
        """A decoder that has read nothing: the first one, or another where that has been used."""
        if self.decoder.readings:
            self.decoder = self._again()
        return self.decoder

    def _again(self) -> Decoder:
        if "-" in self.paths:
            raise XptraceError("standard input can be read only once: name a profile, or keep it in a file")
        return self._open()

    def _start(self, profile: str | None, device: Properties) -> Start:
        from xptrace.replay.device import described
        from xptrace.replay.fit import best

        return described(profile or best(self._candidates).name, **device)

    def __repr__(self) -> str:
        """What was opened, and what is in it."""
        vms = self.summary["vm"].nunique()
        return (
            f"<xptrace case: {len(self.paths)} source{'s' * (len(self.paths) != 1)}, {vms} VM{'s' * (vms != 1)}, "
            f"{len(self.accesses)} accesses, {len(self.messages)} messages>"
        )
