"""Decoding: sources in, accesses and messages out, one source after the other, each in the order of its recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from dissectors import Given, dissectors
from dissectors.qemu import catalogue
from dissectors.qemu.declaration import DeclarationError
from xptrace.access.attribution import Reading, Vm, arrange, site
from xptrace.access.domains import Domains
from xptrace.access.entries import Form, SourceDecoder
from xptrace.access.making import unfinished
from xptrace.access.rows import Entry, Event, Row
from xptrace.access.stretch import Block
from xptrace.errors import XptraceError
from xptrace.intake.compression import MAGIC_BYTES, codec_of
from xptrace.intake.expand import Intake, expand
from xptrace.intake.ledger import Ledger
from xptrace.intake.source import Source


@runtime_checkable
class Onlooker(Protocol):
    """What `progress` may be besides: one that wants to know of whom it is told, and when that has ended."""

    def begins(self, decoder: Decoder) -> None:
        """A decoder begins to read."""
        ...

    def ends(self) -> None:
        """It reads no more."""
        ...


class Decoder:
    """Decodes the sources of one case; `ledgers` holds the account of each when its rows have been taken."""

    def __init__(
        self, paths: Sequence[str], trace_events: Sequence[str] = (), *, dissector: str | None = None,
        tsc_hz: float | None = None, clock_offsets: Mapping[str, int] | None = None,
        sources: Sequence[Source] | None = None,
    ) -> None:
        """Open the paths, and read each by the dissector that is named, by default by the one that knows its format.

        `tsc_hz` is the frequency of the host's time stamp counter; `clock_offsets` are the nanoseconds that times of a
        clock lack to be UTC, by its name: they become times of the wall clock. `sources` are what the paths hold, if
        that is known already. Raises XptraceError where a path cannot be read, or where there is no such dissector.
        """
        if dissector is not None and dissector not in dissectors():
            raise XptraceError(f"no dissector {dissector!r}; there are: {', '.join(dissectors())}")
        self._dissector, self._tsc_hz, self._offsets = dissector, tsc_hz, clock_offsets or {}
        self.paths = tuple(paths)
        """What was named."""
        taken = expand(paths) if sources is None else Intake(tuple(sources), (), ())
        self._sources = taken.sources
        self.passed_over: list[tuple[str, str]] = [(one.name, one.reason) for one in taken.skipped]
        """What was named, or found in what was named, and not read, and why."""
        self.notes: list[tuple[str, str]] = [(one.name, one.reason) for one in taken.notes]
        """What else should be known of the sources."""
        try:
            self.catalogue = catalogue.load([Path(file) for file in trace_events])
        except DeclarationError as error:
            raise XptraceError(str(error)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise XptraceError(f"--trace-events: cannot be read: {error}") from None
        self.readings: list[Reading] = []
        """The sources in the order in which they are read, from the moment that reading begins."""
        self.ledgers: list[Ledger] = []
        self.vms: dict[str, Vm] = {}
        self.stopped = False
        """Whether reading has ended, or will end, before the end: whoever sets it wants no more."""
        self.over = False
        """Whether everything has been read that will be."""
        self.on_stop: Callable[[], None] | None = None
        """Called when reading has been stopped, before anything is made of what was read."""
        self.on_source: Callable[[Reading], None] | None = None
        """Called before a source is read."""

    @property
    def size(self) -> int | None:
        """The bytes of all sources that are to be read; None where only their end tells, as of compressed ones."""
        sizes = [_size(source) for source in self._sources]
        known = [size for size in sizes if size is not None]
        return sum(known) - self.skipped if len(known) == len(sizes) else None

    @property
    def skipped(self) -> int:
        """The bytes at the beginnings of sources that are passed over, as far as that is known already."""
        return sum(source.begin for source in self._sources)

    def rows(
        self, progress: Callable[[int], None] | None = None, *, brief: bool = False, specimens: int = 0
    ) -> Iterator[Row]:
        """Every access and message, in order; `progress` is told the bytes read so far.

        If `brief`, a row may have no record but the one that says where it stands, of an access the first, of a message
        the last, and that without its arguments and its text, but for the first `specimens` of each event. That is
        quicker.
        """
        entries = self.entries(progress, brief=brief, specimens=specimens)
        return (entry for entry in entries if not isinstance(entry, Event))

    def entries(
        self, progress: Callable[[int], None] | None = None, *, brief: bool = False, specimens: int = 0
    ) -> Iterator[Entry]:
        """The rows, and between them the events of each VM's life, back ends and functions."""
        entries = self._entries(progress, "brief" if brief else "full", specimens)
        return (entry for entry in entries if not isinstance(entry, Block))

    def blocks(self, progress: Callable[[int], None] | None = None) -> Iterator[Row | Block]:
        """The same as `rows`; but where it is quicker, many of them at once."""
        return (entry for entry in self._entries(progress, "blocks") if not isinstance(entry, Event))

    def _entries(
        self, progress: Callable[[int], None] | None, form: Form, specimens: int = 0
    ) -> Iterator[Entry | Block]:
        told: object = progress
        if isinstance(told, Onlooker):
            told.begins(self)
        try:
            for reading, domains in self._arranged():
                if self.stopped:
                    break
                if self.on_source is not None:
                    self.on_source(reading)
                yield from filter(None, self._decoder(reading, domains, form, specimens).rows(progress))
        finally:
            self.over = True
            if isinstance(told, Onlooker):
                told.ends()
        if self.stopped:
            del self.readings[len(self.ledgers) :]
            if self.on_stop is not None:
                self.on_stop()
        for vm in self.vms.values():
            yield from unfinished(vm)

    def live(self) -> Iterator[Entry | None]:
        """The entries of sources that grow, as they come, whatever source they are of; None where none has more."""
        going = [self._decoder(reading, domains).rows(None) for reading, domains in self._arranged()]
        while going:
            for rows in tuple(going):
                for entry in rows:
                    if entry is None:
                        break
                    if not isinstance(entry, Block):
                        yield entry
                else:
                    going.remove(rows)
            if going:
                yield None
        self.over = True
        for vm in self.vms.values():
            yield from unfinished(vm)

    def _arranged(self) -> Iterator[tuple[Reading, Domains]]:
        """The sources that are read, in order, each with the domains of its host."""
        readings = arrange(self._sources, self.catalogue, self._dissector)
        self.readings = list(readings)
        sites = {site(reading.source): Domains() for reading in readings}
        for reading in readings:
            for domain, name in reading.names.items():
                sites[site(reading.source)].named(domain, name)
        for reading in readings:
            if advice := reading.dissectors[0].advice:
                self._pass_over(reading, advice, alone=len(readings) == 1)
                continue
            yield reading, sites[site(reading.source)]

    def _pass_over(self, reading: Reading, advice: str, *, alone: bool) -> None:
        """What another program must convert first is no source; where there are others, they are read."""
        import shlex

        path = shlex.quote(reading.source.path)
        why = f"{reading.dissectors[0].title}; convert it first: {advice.replace('FILE', path)}"
        if alone:
            raise XptraceError(f"{reading.source.name}: {why}")
        self.passed_over.append((reading.source.name, why))
        self.readings.remove(reading)

    def _decoder(self, reading: Reading, domains: Domains, form: Form = "full", specimens: int = 0) -> SourceDecoder:
        def noted(what: str) -> None:
            self.notes.append((reading.source.name, what))

        given = Given(reading.source.name, self.catalogue, reading.source.written_ns, self._tsc_hz)
        kernels = [1]
        if reading.vantage == "guest" and (vm := self.vms.get(reading.vm)) is not None:
            kernels = [boot for boot in range(1, vm.boot + 1) if vm.began.get(boot) != "migration"]
            trial = SourceDecoder(reading, given, self.vms, domains, Ledger(reading.source.name), {},
                                   stopped=lambda: self.stopped, noted=noted, form=form, specimens=specimens)
            if len(kernels) != max(trial.kernels(), 1):  # nobody knows which start of the kernel is which boot
                reading, kernels = reading._replace(vm=f"{reading.vm} (console)"), [1]
        ledger = Ledger(reading.source.name)
        self.ledgers.append(ledger)
        return SourceDecoder(reading, given, self.vms, domains, ledger, self._offsets, kernels,
                              stopped=lambda: self.stopped, noted=noted, form=form, specimens=specimens)


def _size(source: Source) -> int | None:
    region = source.evidence.region
    if region is None:
        return None
    with region.reader() as reader:
        return None if codec_of(reader.at(0, MAGIC_BYTES)) else region.size
