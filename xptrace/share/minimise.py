"""The smallest recording that still gives a named finding, by delta debugging over its lines.

A finding is the same where its rule, severity and VM are, and where its proof begins in the same boot; boots may have
other numbers when those before them are gone. What is tried is what a user will open: files of the names that the
output has, read as any recording is.

First come coarse steps, each one trial: only what the dissectors tell of; then the proof alone, what stands around it
in its boot, the boot, the VM. What is left of that is reduced line by line (`xptrace.share.reduction`).
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dissectors import Given
from xptrace.access.attribution import Reading
from xptrace.access.decode import Decoder
from xptrace.access.rows import Entry
from xptrace.errors import XptraceError
from xptrace.findings.assess import Assessment, Finding, all_rules
from xptrace.intake.member import safe
from xptrace.negotiation.story import Place
from xptrace.share.layout import Layout, layout, outputs
from xptrace.share.reduction import OutOfTrials, reduce
from xptrace.share.settings import Settings
from xptrace.share.simpletrace import walk
from xptrace.share.told import Boot, Rests, Told, once, parts, told

MOST_RECORDS: Final = 2_000_000
MOST_BYTES: Final = 512 << 20
"""What is held of a recording at most: the records that were decoded, and their bytes."""
MOST_TRIALS: Final = 5000
MOST_SECONDS: Final = 600
_BINARY: Final = 1 << 16
"""Bytes in which a source that is no text has a NUL."""
AROUND: Final = (0, 1, 4, 16, 64, 256, 1024)
"""Lines of the boot that are kept on either side of the proof, the fewest first."""

_NAMED: Final = re.compile(r"(?P<rule>[^@#]+)(?:@(?P<vm>.*?)(?:#(?P<boot>\d{1,9}))?)?")


@dataclass(frozen=True, slots=True)
class Named:
    """Which finding is meant: the rule, and of several boots the VM and the boot."""

    rule: str
    vm: str | None = None
    boot: int | None = None

    @classmethod
    def of(cls, text: str) -> Named:
        """Read `A14`, `A14@win10` or `A14@win10#2`; raises XptraceError where it is none of them."""
        found = _NAMED.fullmatch(text)
        if found is None:
            raise XptraceError(f"--finding: {text!r} is not RULE, RULE@VM or RULE@VM#BOOT")
        return cls(found["rule"], found["vm"], None if found["boot"] is None else int(found["boot"]))

    def means(self, found: Finding) -> bool:
        """Whether a finding is the one that is meant."""
        return found.rule.id == self.rule and self.vm in (None, found.vm) and self.boot in (None, found.boot)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the search may go on."""

    trials: int = MOST_TRIALS
    seconds: float = MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Part:
    """A line or a record of one of the sources.

    What is `fixed` cannot be left out: a file's header. What is a `base` is left out by the last step at the earliest:
    the names of simpletrace's events, by which the records beside them are read.
    """

    source: int
    offset: int
    data: bytes
    fixed: bool = False
    base: bool = False


@dataclass(frozen=True, slots=True)
class Minimised:
    """What came of it: the finding as the output gives it, lines or records before and after, and trials."""

    finding: Finding
    before: int
    after: int
    trials: int
    minimal: bool
    """Whether no line of it can be left out; else the search ended at a limit."""
    written: tuple[str, ...]


Progress = Callable[[int, int], None]
"""Is told how many trials there were, and how many lines are left."""


def minimise(
    paths: Sequence[str], named: Named, output: str, settings: Settings | None = None, limits: Limits | None = None,
    progress: Progress | None = None,
) -> Minimised:
    """Write the smallest recording that still gives the finding; raises XptraceError where that cannot be done."""
    settings, limits = settings or Settings(), limits or Limits()
    whole = _Whole(paths, named, settings)
    sources = [reading.source for reading in whole.readings]
    where = layout(sources, output)
    search = _Search(whole, where, settings, limits, progress)
    minimal = search.run()
    with outputs(output, where) as root:
        written = search.write(root, search.best)
        found = search.found(root, search.best)
        if found is None:
            raise XptraceError("the smallest recording does not give the finding when it is read again")
    return Minimised(found, whole.total, sum(not part.fixed for part in search.best), search.trials, minimal,
                     tuple(written))


class _Decoder(Decoder):
    """Learns what every entry rests on while the recordings are examined."""

    rests: Rests

    def entries(self, progress: Callable[[int], None] | None = None, **_: object) -> Iterator[Entry]:
        self.rests = Rests(MOST_RECORDS)
        return self.rests.watch(super().entries(progress))


class _Whole:
    """The recordings as they are: the finding that is meant, and the parts that they are made of."""

    def __init__(self, paths: Sequence[str], named: Named, settings: Settings) -> None:
        self._settings = settings
        once(paths)
        self._decoder = settings.decoder(paths, _Decoder)
        book = all_rules() if settings.book is None else settings.book
        if named.rule not in book:
            raise XptraceError(f"--finding: no rule {named.rule!r}; there are: {', '.join(book)}")
        done = settings.examine(self._decoder)
        self.readings = self._decoder.readings
        self.finding = _meant(done, named)
        self.names = [reading.source.name for reading in self.readings]
        self.total = sum(ledger.total.lines for ledger in self._decoder.ledgers)
        self.boot: Boot = self.finding.vm, self.finding.boot
        self.first = self._begins_in_its_boot()

    def _begins_in_its_boot(self) -> bool:
        """Whether the proof begins in the finding's own boot, as it does unless it is about what came before."""
        evidence = self.finding.evidence
        return bool(evidence) and self.boot in self.boots(evidence[0].source, evidence[0].offset)

    def boots(self, source: str, offset: int) -> tuple[Boot, ...]:
        """The boots that rest on what is at this place."""
        return self._decoder.rests.boots(source, offset)

    def parts(self, *, every: bool) -> list[Part]:
        """What the sources are made of, in order: what is told of, or every line."""
        found: list[Part] = []
        size = 0
        for index, reading in enumerate(self.readings):
            for part in self._of(index, reading, every=every):
                size += len(part.data)
                if size > MOST_BYTES:
                    raise XptraceError(f"{reading.source.name}: more than {MOST_BYTES >> 20} MiB "
                                       f"{'of lines' if every else 'are decoded'}: cut the recording first, e.g. to "
                                       "the hours that matter")
                found.append(part)
        return found

    def _of(self, index: int, reading: Reading, *, every: bool) -> Iterator[Part]:
        source = reading.source
        if reading.dissectors[0].name == "simpletrace":
            yield from self._records(index, reading, every=every)
            return
        if reading.dissectors[0].stream is not None and b"\0" in source.head(_BINARY):
            yield Part(index, 0, b"".join(source.chunks()))  # a format whose records rest on one another
            return
        spans = _lines(source.chunks()) if every else self._spans(reading)
        spans = [(offset, length) for offset, length in spans if offset >= source.overlap]
        for (offset, _), data in zip(spans, parts(source, spans), strict=True):
            yield Part(index, offset, data if data.endswith(b"\n") else data + b"\n")

    def _records(self, index: int, reading: Reading, *, every: bool) -> Iterator[Part]:
        data = bytearray()
        for chunk in reading.source.chunks():
            data += chunk
            if len(data) > MOST_BYTES:
                raise XptraceError(f"{reading.source.name}: longer than {MOST_BYTES >> 20} MiB: cut it first")
        wanted = {offset for offset, _ in self._spans(reading)}
        for offset, length, kind in walk(bytes(data)):
            if every or kind != "record" or offset in wanted:
                yield Part(index, offset, bytes(data[offset : offset + length]), kind == "header", kind != "record")

    def _spans(self, reading: Reading) -> list[tuple[int, int]]:
        """Where the lines are that the dissectors tell of, in order; what overlaps is one."""
        source, settings = reading.source, self._settings
        given = Given(source.name, self._decoder.catalogue, source.written_ns, settings.tsc_hz)
        found: dict[int, int] = {}
        for one in told(reading, given, self._decoder.rests):
            if isinstance(one, Told):
                found[one.read.offset] = max(one.read.length, found.get(one.read.offset, 0))
        whole: list[tuple[int, int]] = []
        for offset in sorted(found):
            if whole and offset < sum(whole[-1]):
                whole[-1] = whole[-1][0], max(sum(whole[-1]), offset + found[offset]) - whole[-1][0]
            else:
                whole.append((offset, found[offset]))
        return whole


def _lines(chunks: Iterator[bytes]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    offset = length = 0
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            length += end - start
            found.append((offset, length))
            offset, length, start = offset + length, 0, end
        length += len(chunk) - start
    if length:
        found.append((offset, length))
    return found


def _meant(done: Assessment, named: Named) -> Finding:
    """The finding that is named; raises XptraceError where there is none, or where it may be several."""
    found = [one for one in done.findings if named.means(one)]
    boots = list(dict.fromkeys(f"{one.rule.id}@{one.vm}#{one.boot}" for one in found))
    if len(boots) == 1:
        return found[0]
    if boots:
        raise XptraceError(f"{named.rule} was found in {len(boots)} boots; name one: {', '.join(boots[:8])}")
    there = list(dict.fromkeys(f"{one.rule.id}@{one.vm}#{one.boot}" for one in done.findings))
    raise XptraceError("there is no such finding; " + (f"there are: {', '.join(there[:20])}" if there else
                                                      "nothing was found at all"))


class _Search:
    """The trials: parts are written as files, read, and examined."""

    def __init__(
        self, whole: _Whole, where: Layout, settings: Settings, limits: Limits, progress: Progress | None
    ) -> None:
        self._whole, self._where, self._settings, self._limits = whole, where, settings, limits
        self._progress = progress
        self._until = time.monotonic() + limits.seconds
        self.trials = 0
        self.best: list[Part] = []
        """The smallest parts that hold, so far."""
        self._scratch = Path()
        self._vm: str | None = None
        """What the VM is called by the names of the outputs."""

    def run(self) -> bool:
        """Search; returns whether what was found is minimal, else a limit was reached."""
        with tempfile.TemporaryDirectory(prefix="xptrace-") as scratch:
            self._scratch = Path(scratch)
            self._begin()
            try:
                self._coarse()
                self._fine()
            except OutOfTrials:
                return False
        return True

    # -- the steps

    def _begin(self) -> None:
        """Find parts that hold: what is told of, or every line where what nobody tells of matters."""
        for every in (False, True):
            found = self._whole.parts(every=every)
            if (finding := self.found(self._scratch / self._fresh(), found)) is not None:
                self._vm, self.best = finding.vm, found
                return
        raise XptraceError(f"the finding is lost where the recording is called {self._where.names[0]}: name the output "
                           "as the recording is named, e.g. by a directory (-o OUT/)")

    def _coarse(self) -> None:
        """Try whole kinds of parts, the smallest first; what each part is of, its boot tells."""
        boots = [() if part.base else self._whole.boots(self._whole.names[part.source], part.offset)
                 for part in self.best]
        mine = [at for at, owners in enumerate(boots) if self._whole.boot in owners]
        vm = [at for at, owners in enumerate(boots) if any(owner[0] == self._whole.boot[0] for owner in owners)]
        free = [at for at, owners in enumerate(boots) if not owners]
        proof = {(place.source, place.offset) for place in self._whole.finding.evidence}
        proven = [at for at, part in enumerate(self.best)
                  if (self._whole.names[part.source], part.offset) in proof]
        whole = self.best
        tried: set[int] = {len(whole)}
        for chosen in (*(_around(mine, proven, lines) for lines in AROUND), mine, [*mine, *free], vm, [*vm, *free]):
            kept = set(chosen)
            left = [part for at, part in enumerate(whole) if at in kept or part.base]
            if len(left) not in tried and len(left) < len(whole) and self.holds(left):
                self._take(left)
                return
            tried.add(len(left))

    def _fine(self) -> None:
        """Leave out line by line what can be left out."""
        fixed = [part for part in self.best if part.fixed]
        order = {id(part): at for at, part in enumerate(self.best)}

        def whole(left: Sequence[Part]) -> list[Part]:
            return sorted([*left, *fixed], key=lambda part: order[id(part)]) if fixed else list(left)

        reduce([part for part in self.best if not part.fixed], lambda left: self.holds(whole(left)),
               lambda left: self._take(whole(left)))

    # -- one trial

    def holds(self, left: Sequence[Part]) -> bool:
        """Whether these parts still give the finding."""
        if self.trials >= self._limits.trials or time.monotonic() > self._until:
            raise OutOfTrials
        self.trials += 1
        if self._progress is not None:
            self._progress(self.trials, len(self.best))
        return self.found(self._scratch / self._fresh(), left) is not None

    def _take(self, left: Sequence[Part]) -> None:
        self.best = list(left)

    def _fresh(self) -> str:
        return "single" if self._where.single else "many"

    def write(self, root: Path, left: Sequence[Part]) -> list[str]:
        """Write the parts as the files that they make; returns their names. A source without a part has no file."""
        by_source: dict[int, list[bytes]] = {}
        for part in left:
            by_source.setdefault(part.source, []).append(part.data)
        for index, reading in enumerate(self._whole.readings):
            path = self._where.path(root, index)
            path.unlink(missing_ok=True)
            if index in by_source:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(by_source[index]))
                written = reading.source.written_ns
                if written is not None:  # by which dates without a year are read
                    os.utime(path, ns=(written, written))
        return [self._where.names[index] for index in by_source]

    def found(self, root: Path, left: Sequence[Part]) -> Finding | None:
        """The finding as these parts give it, read as a user will read them; None where they do not."""
        root.mkdir(exist_ok=True)
        self.write(root, left)
        path = str(self._where.path(root, 0) if self._where.single else root)
        if not left:
            return None
        try:
            done = self._settings.examine(self._settings.decoder([path]), self._whole.finding.rule.id)
        except XptraceError:  # nothing that can be read is left
            return None
        origin = _Origin(self._whole, self._where, root, left)
        return next((one for one in done.findings if self._is_meant(one, origin)), None)

    def _is_meant(self, found: Finding, origin: _Origin) -> bool:
        if found.severity != self._whole.finding.severity or self._vm not in (None, found.vm):
            return False
        if not self._whole.finding.evidence:
            return True
        evidence = found.evidence[:1] if self._whole.first else found.evidence
        return any(self._whole.boot in origin.boots(place) for place in evidence)


def _around(mine: Sequence[int], proven: Sequence[int], lines: int) -> list[int]:
    """Of the parts of a boot, those so many lines around the proof, and the proof."""
    kept = set(proven)
    for at in proven:
        place = bisect_right(mine, at)
        kept.update(mine[max(0, place - 1 - lines) : place + lines])
    return sorted(kept)


class _Origin:
    """Where the lines of a trial came from."""

    def __init__(self, whole: _Whole, where: Layout, root: Path, left: Sequence[Part]) -> None:
        self._whole = whole
        self._starts: dict[str, tuple[list[int], list[Part]]] = {}
        for part in left:
            name = safe(str(where.path(root, part.source)))
            starts, of = self._starts.setdefault(name, ([], []))
            starts.append(starts[-1] + len(of[-1].data) if of else 0)
            of.append(part)

    def boots(self, place: Place) -> tuple[Boot, ...]:
        """The boots of the whole recording that rest on what is at a place of the trial."""
        starts, of = self._starts.get(place.source, ([], []))
        at = bisect_right(starts, place.offset) - 1
        if at < 0:
            return ()
        part = of[at]
        return self._whole.boots(self._whole.names[part.source], part.offset + place.offset - starts[at])
