"""A case: recordings, opened together, as DataFrames.

The tables that grow with the recordings (accesses, messages, events) are held as Arrow, some 150 bytes a row, and a
DataFrame is made of one when it is asked for. Past a limit they lie as Parquet in a directory for the time being, and
the case says so::

    <xptrace case: 1 source, 1 VM, 81234567 accesses, 12 messages; lazy: tables of 12.2 GB lie in /tmp/xptrace-x1k2_3ab>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack, cast

import pandas as pd

from xptrace.access.correlation import Correlation, Views
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Entry, Row
from xptrace.access.stretch import Block
from xptrace.access.survey import Survey, Surveyed
from xptrace.errors import XptraceError
from xptrace.frames import arrow, build, schema
from xptrace.frames.build import Columns
from xptrace.frames.held import Held
from xptrace.frames.memory import allowed, in_words
from xptrace.negotiation.sayings import sayings
from xptrace.negotiation.story import Stories, Story
from xptrace.negotiation.summary import complete, summary_row
from xptrace.replay.columns import Interned

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from xptrace.access.attribution import Vm
    from xptrace.findings.assess import Assessment
    from xptrace.replay.device import Properties
    from xptrace.replay.fit import Candidate
    from xptrace.replay.replay import Start
    from xptrace.views.notebook import FleetView, TimelineView

ROWS: Final = ("accesses", "messages")
LARGE: Final = (*ROWS, "events")
"""The tables that grow with the recordings; the others grow with VMs, boots and sources."""
_FILTERED: Final = (*LARGE, "findings", "negotiations")


class _Compared(NamedTuple):
    """What is kept of the accesses to compare them: with those of other recordings, and with a device."""

    views: Views
    interned: Interned

    @classmethod
    def of(cls, decoder: Decoder) -> _Compared:
        return cls(Views(decoder.vms), Interned())

    def watch(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in self.views.watch(entries):
            if isinstance(entry, Access):
                self.interned.add(entry)
            yield entry


class _Reading:
    """One reading of the recordings, watched: it stands for the case that its tables are made of."""

    def __init__(self, decoder: Decoder, compared: _Compared | None) -> None:
        self.decoder, self.compared = decoder, compared
        self.stories, self.survey = Stories(decoder.vms), Survey(decoder)

    def entries(self) -> Iterator[Entry]:
        entries = self.survey.watch(self.stories.watch(self.decoder.entries(brief=self.compared is None)))
        return entries if self.compared is None else self.compared.watch(entries)


class _Told(NamedTuple):
    """What a reading told that looked at every entry: the accesses and messages only where it is the one reading."""

    held: Held
    decoder: Decoder
    stories: list[Story]
    sources: list[Surveyed]
    compared: _Compared | None


class Case:
    """Recordings that belong together, as tables.

    They are read when a table is first asked for: once for accesses and messages, which is quick, and once for what is
    understood of them; standard input once for both.

    Columns, dtypes and units of every table are those of `xptrace.frames.schema`. A table is to be had as a DataFrame
    (`case.accesses`), as Arrow (`case.arrow`), as a dataset of pyarrow (`case.dataset`) or batch by batch
    (`case.batches`). What is more than `memory` lies in files that go when the case goes; then datasets, batches and
    `case.filter` work as before, and what would be a DataFrame of more than that raises XptraceError.
    """

    def __init__(
        self, paths: Sequence[str], trace_events: Sequence[str] = (), *, dissector: str | None = None,
        tsc_hz: float | None = None, clock_offsets: Mapping[str, int] | None = None, memory: int | str | None = None,
    ) -> None:
        """Open the recordings, with the settings of `Decoder`; raises XptraceError where one cannot be read.

        `memory` is what the tables may take (`xptrace.frames.memory`).
        """
        self.paths = tuple(map(str, paths))
        self.memory = allowed(memory)
        """Bytes that accesses and messages may take together, and the events, and each of them as a DataFrame."""
        self._open = partial(Decoder, self.paths, tuple(trace_events), dissector=dissector, tsc_hz=tsc_hz,
                             clock_offsets=clock_offsets)
        self.decoder = self._open()
        """What has read them last; its ledgers are the account of what was read."""
        self._frames: dict[str, pd.DataFrame] = {}

    @property
    def _once(self) -> bool:
        """Whether the recordings can be read once only, so that all that may be asked for is kept."""
        return "-" in self.paths

    @cached_property
    def _told(self) -> _Told:
        decoder = self._fresh()
        reading = _Reading(decoder, _Compared.of(decoder) if self._once else None)
        names = LARGE if self._once else [name for name in LARGE if name not in ROWS]
        held = Held.of(names, arrow.batches(cast("Case", reading), names), self.memory)
        return _Told(held, decoder, complete(reading.stories, decoder.vms.values()), reading.survey.sources,
                     reading.compared)

    @cached_property
    def _rows(self) -> Held:
        """The accesses and messages, which are read in blocks where nothing else is asked for."""
        return self._told.held if self._once else Held.of(ROWS, arrow.batches(self, ROWS), self.memory)

    @cached_property
    def _both(self) -> Held:
        """The accesses and messages as one table."""
        return Held.of([arrow.ROWS], arrow.batches(self, [arrow.ROWS]), self.memory)

    @cached_property
    def _views(self) -> Views:
        """The accesses as they are compared with those of other recordings."""
        if (told := self._told.compared if self._once else None) is not None:
            return told.views
        decoder = self._again()
        views = Views(decoder.vms)
        for _ in views.watch(decoder.entries()):
            pass
        return views

    @cached_property
    def _interned(self) -> tuple[Interned, Mapping[str, Vm]]:
        """The accesses as a replay wants them, and their VMs."""
        if (told := self._told.compared if self._once else None) is not None:
            return told.interned, self._told.decoder.vms
        decoder, interned = self._again(), Interned()
        for row in decoder.blocks():
            if isinstance(row, Block):
                interned.add_block(row)
            elif isinstance(row, Access):
                interned.add(row)
        return interned, decoder.vms

    def _held(self, name: str) -> Held | None:
        """What holds a large table; None of one that is small."""
        if name in ROWS:
            return self._rows
        if name in LARGE:
            return self._told.held
        return self._both if name == arrow.ROWS else None

    def _small(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The rows of a table that is small."""
        told = self._told
        if name == "negotiations":
            yield from map(summary_row, told.stories)
        elif name == "sayings":
            yield from (saying.row(story) for story in told.stories for saying in sayings(story))
        elif name == "findings":
            yield from (found.row() for found in self.assessment.findings)
        elif name == "sources":
            yield from (surveyed.summary() for surveyed in told.sources)
        elif name == "ledger":
            for ledger in told.decoder.ledgers:
                yield from ({"source": ledger.source, "kind": kind, "bytes": size, "lines": lines}
                            for kind, size, lines in ledger.rows())

    def _frame(self, name: str) -> pd.DataFrame:
        frame = self._frames.get(name)
        if frame is None:
            declared = arrow.declaration(name)
            if name in LARGE:
                frame = build.frame(declared, self.arrow(name))
            else:
                columns = Columns(declared)
                for row in self._small(name):
                    columns.append(row)
                frame = columns.frame()
            self._frames[name] = frame
        return frame

    def entries(self) -> Iterator[Entry]:
        """Every access, message and event (`xptrace.access.rows`), in the order of the recordings, read once more."""
        return self._fresh().entries()

    def blocks(self) -> Iterator[Row | Block]:
        """Every access and message in order, read once more: where it is quicker, many in a `Block`."""
        return self._fresh().blocks()

    # -- the tables

    @property
    def accesses(self) -> pd.DataFrame:
        """One row an access of the guest, in the order of the recording.

        Raises XptraceError where that would take more than `memory`, as the next two do.
        """
        return self._frame("accesses")

    @property
    def messages(self) -> pd.DataFrame:
        """One row a line that the guest wrote to the log port."""
        return self._frame("messages")

    @property
    def events(self) -> pd.DataFrame:
        """One row an event of a VM's life, of a PV device's state, of a PCI function or of a node of xenstore."""
        return self._frame("events")

    @property
    def sayings(self) -> pd.DataFrame:
        """One row a thing that the guest said: what is understood of its log; a crash or a suspend is one."""
        return self._frame("sayings")

    @property
    def negotiations(self) -> pd.DataFrame:
        """One row a VM and boot: the driver, its phases and how long they took, the verdict."""
        return self._frame("negotiations")

    @property
    def summary(self) -> pd.DataFrame:
        """The negotiations, by their older name."""
        return self.negotiations

    @property
    def findings(self) -> pd.DataFrame:
        """One row an anomaly, worst first, with its proof."""
        return self._frame("findings")

    @property
    def ledger(self) -> pd.DataFrame:
        """The account of every byte and line read."""
        return self._frame("ledger")

    @property
    def sources(self) -> pd.DataFrame:
        """One row a recording: what it is, whose view, which VMs and boots, its clock and the times by it.

        For their digests the recordings are read once more, when this is first asked for.
        """
        return self._frame("sources")

    def arrow(self, name: str) -> pa.Table:
        """A table of the case as Arrow, with units and meanings as metadata; `rows`: accesses and messages in one.

        Raises XptraceError where there is no such table, or where it would take more than `memory`.
        """
        arrow.declaration(name)
        held = self._held(name)
        return arrow.made(name, self._small(name)) if held is None else held.table(name)

    def dataset(self, name: str) -> ds.Dataset:
        """A table of whatever size as a dataset of pyarrow, of which only what is asked for is read into memory.

        DuckDB and polars (`scan_pyarrow_dataset`) query it as it is. Raises XptraceError where there is no such table.
        """
        import pyarrow.dataset as ds

        held = self._held(name)
        return ds.dataset(self.arrow(name)) if held is None else held.dataset(name)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """A table of whatever size in parts, in order. Raises XptraceError where there is no such table."""
        arrow.declaration(name)
        held = self._held(name)
        return iter(self.arrow(name).to_batches()) if held is None else held.batches(name)

    def filter(self, text: str, table: str = "accesses") -> pd.DataFrame:
        """The rows of a table (accesses, messages, events, findings, negotiations) of which a filter is true.

        Of a table of more than `memory` only those rows are in memory. Raises XptraceError where there is no such
        table, or where the filter is none (`xptrace.filter`).
        """
        from xptrace.filter import compile_filter

        if table not in _FILTERED:
            raise XptraceError(f"no table {table!r} can be filtered")
        asked = compile_filter(text, table if table in ("findings", "negotiations") else "entries")
        held = self._held(table)
        if held is None or held.fits(table):
            return asked.frame(self._frame(table))
        return held.chosen(table, asked.mask)

    # -- several recordings

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """One row a pair of recordings of one boot that saw the same: how many matches, how their clocks stand."""
        from xptrace.views.correlation import relation_row

        columns = Columns(schema.CORRELATIONS)
        for one in self._correlated:
            columns.append(relation_row(one))
        return columns.frame()

    @cached_property
    def sightings(self) -> pd.DataFrame:
        """One row a thing that either recording of a pair saw, on one clock, with its place in both."""
        from xptrace.views.correlation import sighting_rows

        columns = Columns(schema.SIGHTINGS)
        for one in self._correlated:
            for row in sighting_rows(one):
                columns.append(row)
        return columns.frame()

    @cached_property
    def _correlated(self) -> list[Correlation]:
        return self._views.correlations()

    # -- what is made of them

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

    # -- the model

    def replay(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """The accesses with two more columns: `expected`, what the device answers, and `agrees`.

        `profile` names the device; by default it is the newest of those that explain the recording. `device` may
        give what `xptrace.replay.device.Properties` lists. Raises XptraceError where there is no such device.
        """
        from xptrace.replay.columns import replay

        start = self._start(profile, device)
        judged = replay(start, *self._interned)
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
        from xptrace.replay.fit import LOOKED_AT, Fit

        decoder = self._again()
        fit = Fit(decoder.vms, decoder.catalogue)
        fit.take(decoder.rows(brief=True, specimens=LOOKED_AT))
        return fit.candidates()

    def states(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """One row an interval of one register of the modelled device; the arguments are those of `replay`."""
        from xptrace.replay.replay import Replay
        from xptrace.replay.states import States

        decoder = self._again()
        replay = Replay(self._start(profile, device), decoder.vms)
        columns = Columns(schema.STATES)
        for interval in States(replay).watch(replay.rows(decoder.rows(brief=True))):
            columns.append(interval.row())
        return columns.frame()

    def whatif(self, profile: str | None = None, **device: Unpack[Properties]) -> pd.DataFrame:
        """What the recorded drivers would have done on another device: predictions, one row a boot and device.

        The arguments are those of `replay`; with none but the profile, the four devices of 2013 are tried: the older
        identity, the newer, both, and the older with the driver blacklisted.
        """
        from xptrace.replay.whatif import Negotiations, predict, variants_of

        start, negotiations = self._start(profile, device), Negotiations()
        for _ in negotiations.watch(self._again().rows(brief=True)):
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
        """What was opened, and what is in it; of tables that are more than memory, where they lie."""
        vms, held = len({story.vm for story in self._told.stories}), self._rows
        where = "" if held.place is None else f"; lazy: tables of {in_words(held.size)} lie in {held.place}"
        return (
            f"<xptrace case: {len(self.paths)} source{'s' * (len(self.paths) != 1)}, {vms} VM{'s' * (vms != 1)}, "
            f"{held.rows['accesses']} accesses, {held.rows['messages']} messages{where}>"
        )
