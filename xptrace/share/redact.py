"""A recording without what is nobody's business, and the proof that it still shows what it showed.

Every line is put together anew from what the dissectors understood of it (`xptrace.share.shapes`); what they do not
understand is not written. Names are others, but the same in every file of a run (`xptrace.share.pseudonyms`). Then both
recordings are examined, and the findings must be the same: rule, severity, boot, and the lines that prove them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Record
from dissectors.vocabulary import MEMORY_ACCESS, PORT_ACCESS
from xptrace.access.attribution import Reading, arrange
from xptrace.access.decode import Decoder
from xptrace.access.rows import Entry
from xptrace.errors import XptraceError
from xptrace.findings.assess import Finding
from xptrace.intake.evidence import File
from xptrace.intake.expand import expand
from xptrace.intake.member import safe
from xptrace.share.layout import Layout, layout, outputs, replaceable
from xptrace.share.logbytes import LogBytes
from xptrace.share.pseudonyms import KEY_BYTES, Pseudonyms
from xptrace.share.settings import Settings
from xptrace.share.shapes import SHOWN, Shapes
from xptrace.share.stamps import Stamps
from xptrace.share.store import StoreTexts
from xptrace.share.texts import GuestTexts, called, sweep
from xptrace.share.told import Rests, Told, once, told
from xptrace.share.words import WORDS

_SHORTEST_KEY: Final = 16
_LOOK_BACK: Final = 4096
"""Lines that a record may wait for a later line, before it is taken that nothing more is said of its own."""
_SURE: Final = 50
"""From here on a dissector is sure that the source is of its format, in percent."""
_ACCESSES: Final = ("handle_ioreq", "cpu_", "memory_region_")
_CONFIG_PORTS: Final = range(0xCF8, 0xD00)
"""Where PCI configuration goes through: what is written there tells what the next access is about."""

_NAME: Final = re.compile(
    r"(?P<head>(?:qemu-dm-|qemu-trace-|guest-|xl-|xenstored-|xentrace-)?)(?P<name>.*?)"
    r"(?P<tail>(?:-dm)?(?:\.(?:log|txt|out|trace|bin|\d{1,3}|old))*(?:-\d{8})?~*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Secrecy:
    """How to redact: the key, by how much dates are moved, what is kept besides.

    `keep_other` keeps lines that no dissector knows, redacted by patterns; `keep` are words to keep in guests' texts.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    shift_s: int = 0
    keep_other: bool = False
    keep: tuple[str, ...] = ()


Proven = tuple[str, str, int, tuple[tuple[int, int], ...]]
"""Rule, severity, boot and evidence of a finding, the latter as the index of a source and the line in its output."""


@dataclass(slots=True)
class Redacted:
    """What came of it; `lost` and `new` are findings of the one recording that the other does not give."""

    names: Pseudonyms
    findings: int = 0
    lost: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    read: int = 0
    written: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    """Accesses, messages and events of the recording, and of what was written."""
    unshown: Counter[str] = field(default_factory=Counter)
    """Lines that a dissector understood, but that cannot be shown, by the dissector."""
    files: tuple[str, ...] = ()
    single: bool = False
    """Whether the output is one file, called as the user calls it, and not as the recording is."""
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Sources that cannot be redacted, and of what format they are."""

    @property
    def same(self) -> bool:
        """Whether the findings are unchanged."""
        return not self.lost and not self.new


Progress = Callable[[int], None]


def redact(
    paths: Sequence[str], output: str, settings: Settings | None = None, secrecy: Secrecy | None = None,
    progress: Progress | None = None,
) -> Redacted:
    """Write the recordings without names; raises XptraceError where that cannot be done."""
    redaction = _Redaction(paths, settings or Settings(), secrecy or Secrecy(), progress)
    sources = [reading.source for reading in redaction.readings]
    where = layout(sources, output, redaction.file_name, several=bool(redaction.done.left_out))
    with outputs(output, where) as root:
        redaction.write(root, where)
        redaction.prove(root, where)
    redaction.done.files, redaction.done.single = where.names, where.single
    return redaction.done


def _that_can_be_shown(paths: Sequence[str], settings: Settings) -> tuple[Sequence[str], list[tuple[str, str]]]:
    """The paths without sources of formats that cannot be shown, and those sources.

    Raises XptraceError where nothing would be left, or where what would be left cannot be named.
    """
    once(paths)
    taken = expand(paths).sources
    readings = arrange(taken, settings.decoder(paths).catalogue, settings.dissector)
    shown = [one for one in readings if one.dissectors[0].name in SHOWN
             or (one.sure[one.dissectors[0].name] < _SURE and SHOWN.intersection(each.name for each in one.dissectors))]
    left_out = [(one.source.name, one.dissectors[0].name) for one in readings if one not in shown]
    if not left_out:
        return paths, left_out
    if not shown:
        raise XptraceError(f"{left_out[0][0]}: a recording of the format {left_out[0][1]} cannot be redacted; there "
                           f"are: {', '.join(sorted(SHOWN))}")
    if any(not isinstance(one.source.evidence, File) for one in shown):
        raise XptraceError(f"{left_out[0][0]}: a recording of the format {left_out[0][1]} cannot be redacted: unpack "
                           "the archive, and name the other files")
    return [one.path for one in taken if any(one is other.source for other in shown)], left_out


class _Counting(Decoder):
    """Counts the entries that it gives."""

    counts: Counter[str]

    def entries(self, progress: Callable[[int], None] | None = None, **_: object) -> Iterator[Entry]:
        self.counts = Counter()
        for entry in super().entries(progress):
            self.counts[entry.kind] += 1
            yield entry


class _Decoder(_Counting):
    """Learns what every entry rests on, and what the guest writes, while the recordings are examined."""

    rests: Rests
    log: LogBytes
    highest = 0
    """The highest number of a domain."""

    def entries(self, progress: Callable[[int], None] | None = None, **_: object) -> Iterator[Entry]:
        self.rests = Rests()
        for entry in self.log.watch(self.rests.watch(super().entries(progress))):
            for record in entry.records:
                self.highest = max(self.highest, record.domain or 0)
            yield entry


class _Redaction:
    def __init__(
        self, paths: Sequence[str], settings: Settings, secrecy: Secrecy, progress: Progress | None
    ) -> None:
        self._settings, self._secrecy = settings, secrecy
        names = Pseudonyms(secrecy.key)
        self.done = Redacted(names)
        guest = GuestTexts(names, secrecy.shift_s, secrecy.keep)
        paths, self.done.left_out = _that_can_be_shown(paths, settings)
        self._decoder = settings.decoder(paths, _Decoder)
        self._decoder.log = LogBytes(guest)
        self._found = settings.examine(self._decoder, progress=progress).findings
        self.readings = self._decoder.readings
        for reading in self.readings:
            self._decoder.highest = max(self._decoder.highest, reading.domain or 0, *reading.names, 0)
        names.domains_up_to(self._decoder.highest)
        self._shapes = Shapes(names, Stamps(names, secrecy.shift_s), guest, StoreTexts(names), catalogue.load(),
                              self._decoder.log, secrecy.shift_s)
        self._proof = {(place.source, place.offset) for one in self._found for place in one.evidence}
        self._lines: dict[tuple[str, int], tuple[int, int]] = {}
        """Of every place that proves anything, the index of its source and the line of its output."""

    def file_name(self, name: str) -> str:
        """A part of an output's path: what every host calls its files stays, the name of a VM does not."""
        found = _NAME.fullmatch(name)
        head, bare, tail = ("", name, "") if found is None else found.group("head", "name", "tail")
        if head in ("qemu-dm-", "qemu-trace-", "guest-", "xl-"):
            return head + called(self.done.names, bare) + tail
        return head + sweep(self.done.names, bare, WORDS, "name", short=False) + tail

    # -- the outputs

    def write(self, root: Path, where: Layout) -> None:
        """Write the outputs."""
        for index, reading in enumerate(self.readings):
            self.done.read += self._decoder.ledgers[index].total.lines
            path = where.path(root, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for line in self._output(index, reading):
                    file.write(line + b"\n")
            written = reading.source.written_ns
            if written is not None:  # by which dates without a year are read
                written += self._secrecy.shift_s * 10**9
                os.utime(path, ns=(written, written))

    def _output(self, index: int, reading: Reading) -> Iterator[bytes]:
        for number, (offset, line) in enumerate(self._shown(reading), 1):
            if (reading.source.name, offset) in self._proof:
                self._lines[reading.source.name, offset] = index, number
            self.done.written += 1
            yield line

    def _shown(self, reading: Reading) -> Iterator[tuple[int, bytes]]:
        """(offset, line to show) of every line that can be shown, in order."""
        source = reading.source
        given = Given(source.name, self._decoder.catalogue, source.written_ns, self._settings.tsc_hz)
        order = [one.name for one in reading.dissectors]
        waiting: dict[int, tuple[int, list[Told], list[bytes]]] = {}
        last = 0
        for one in told(reading, given, self._decoder.rests, every=self._secrecy.keep_other):
            read = one.read if isinstance(one, Told) else one
            line, tolds, raws = waiting.setdefault(read.offset, (read.line, [], []))
            if isinstance(one, Told):
                tolds.append(one)
            else:
                raws.append(one.raw)
            if line > last + _LOOK_BACK:
                last = line
                for offset in sorted(waiting):
                    if waiting[offset][0] <= line - _LOOK_BACK:
                        yield from self._line(reading, order, offset, waiting.pop(offset))
        for offset in sorted(waiting):
            yield from self._line(reading, order, offset, waiting[offset])

    def _line(
        self, reading: Reading, order: Sequence[str], offset: int, waited: tuple[int, list[Told], list[bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        _, tolds, raws = waited
        rested = bool(self._decoder.rests.boots(reading.source.name, offset))
        records = [(one.dissector, one.read) for one in tolds if isinstance(one.read, Record)
                   and (rested or not _is_anothers(one.read))]
        lines: dict[bytes, None] = {}
        told_by = ""
        for name in order:
            for dissector, read in records:
                # what another dissector found inside of the line is put behind what is shown of it
                if dissector == name and (not lines or told_by == name or read.recovered):
                    line = self._shapes.line(name, read)
                    if line is not None:
                        told_by = name if not lines else told_by
                        lines.setdefault(line)
        if lines:
            yield offset, b" ".join(lines)
            return
        if records and rested:
            unknown = [dissector for dissector, _ in records if dissector not in SHOWN]
            if unknown:
                raise XptraceError(f"{reading.source.name}: what {unknown[0]} tells cannot be redacted: name the "
                                   "other files, or read this one as another format (--source)")
        if records:
            self.done.unshown[records[0][0]] += 1
        for raw in raws:
            line = self._shapes.untold(order, raw)
            if line is None and self._secrecy.keep_other and b"\0" not in raw:
                line = self._shapes.other(raw)
            if line is not None:
                yield offset, line

    # -- the proof

    def prove(self, root: Path, where: Layout) -> None:
        """Examine the outputs, and compare."""
        path = str(where.path(root, 0) if where.single else root)
        decoder = self._settings.decoder([path], _Counting)
        found = self._settings.examine(decoder).findings
        self.done.entries, self.done.kept = self._decoder.counts, decoder.counts
        index = {safe(str(where.path(root, at))): at for at in range(len(self.readings))}
        before = [(self._known(one), one) for one in self._found]
        after = [(_proven(one, lambda source, _offset, line: (index.get(source, -1), line)), one) for one in found]
        vms: dict[str, set[str]] = {}
        left = list(after)
        for proven, one in before:
            same = next((other for other in left if other[0] == proven and vms.get(one.vm, {other[1].vm})
                         == {other[1].vm}), None)
            if same is None:
                self.done.lost.append(_said(one))
            else:
                left.remove(same)
                vms.setdefault(one.vm, set()).add(same[1].vm)
        self.done.new = [_said(one) for _, one in left]
        self.done.findings = len(self._found)
        if len({name for names in vms.values() for name in names}) < len(vms):
            self.done.lost.append("two VMs have become one")

    def _known(self, found: Finding) -> Proven:
        return _proven(found, lambda source, offset, _line: self._lines.get((source, offset), (-1, -1)))


def _is_anothers(record: Record) -> bool:
    """Whether a record is of an access on which nothing rests: another device's. Those that address others count."""
    if record.event in (PORT_ACCESS, MEMORY_ACCESS) or record.event.startswith(_ACCESSES):
        return (record.integer("addr") or 0) not in _CONFIG_PORTS
    return False


def _proven(found: Finding, place: Callable[[str, int, int], tuple[int, int]]) -> Proven:
    return found.rule.id, found.severity, found.boot, tuple(
        place(one.source, one.offset, one.line) for one in found.evidence)


def _said(found: Finding) -> str:
    places = ", ".join(f"{place.source}:{place.line}" for place in found.evidence[:4])
    return f"{found.rule.id} ({found.severity}) in {found.vm}#{found.boot}: {places}"


# -- what stays in the house


def key_of(path: str) -> bytes:
    """The key in a file; it is made where there is none, for nobody else to read."""
    file = Path(path)
    try:
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as new:
                new.write(secrets.token_bytes(KEY_BYTES))
        replaceable(path)
        key = file.read_bytes()
    except OSError as error:
        raise XptraceError(f"{path}: cannot be used for the key: {error.strerror}") from None
    if len(key) < _SHORTEST_KEY:
        raise XptraceError(f"{path}: a key has at least {_SHORTEST_KEY} bytes, this has {len(key)}")
    return key


def write_mapping(path: str, names: Pseudonyms) -> None:
    """Write what was called how, one JSON object a line, for nobody else to read."""
    replaceable(path)
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            for (kind, was), now in sorted(names.mapping.items()):
                file.write(json.dumps({"kind": kind, "was": was, "is": now}) + "\n")
        Path(name).replace(target)
    except OSError as error:
        raise XptraceError(f"{path}: cannot be written: {error.strerror}") from None


