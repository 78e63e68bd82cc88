"""What the dissectors of one source say of it, record by record, and the account of every byte of it.

Lines are shown to every dissector that takes part, if a needle of any of them is in the line or beside it; bytes are
read by one. Where a third party's code fails, that is damage at its place, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from dissectors import AGAIN, Given, Held, Packed, Passed, Plain, Stream, Wanted, is_ours
from dissectors.kernel import Batch, Kernel
from dissectors.record import Damage, Loss, Record
from xptrace.access.attribution import Reading
from xptrace.access.stretch import PlainLines, PlainRecords, Stretch
from xptrace.intake.ahead import Ahead, ahead
from xptrace.intake.ledger import Account, Ledger
from xptrace.intake.needles import Lines, Search, search, unknown
from xptrace.intake.scan import LONGEST_LINE, candidates, hits, numbered
from xptrace.intake.source import WINDOW, Window

Read = Record | Damage | Loss
_Said = TypeVar("_Said")
_FEW: Final = 1 << 12
"""Bytes that are read line by line where a line is not plain, before the kernel is asked again; more if in vain."""
LARGE: Final = 1 << 19
"""Bytes of a window from which on it is worth while to load what reads many lines at once."""
_OFTEN: Final = 256
"""Lines that are read one by one before it is asked again whether to stop: a window of nothing else takes seconds."""
_WORTH_WHILE: Final = 256
"""Plain lines for which it was worth while to ask."""
Place = tuple[int, int, int]
"""Offset, line and length."""


@dataclass(slots=True)
class _Beforehand:
    """What is known of a window before its turn has come."""

    plain: PlainRecords | None = None
    lines: Lines | None = None
    large: bool = False


def _at(place: Place) -> Callable[[], Place]:
    return lambda: place


class Reads:
    """Reads one source by its dissectors. `needles` are asked for, by lines that were found, for what else to find."""

    def __init__(
        self, reading: Reading, given: Given, ledger: Ledger, needles: Callable[[bytes], Iterable[re.Pattern[bytes]]],
        stopped: Callable[[], bool], kernel: Kernel | None = None, *, many: bool = False,
        wanted: Callable[[], Wanted | None] | None = None,
    ) -> None:
        """Make the readers; nothing is read yet. Where `stopped` says so, the source ends before its end.

        `many` says that plain records are welcome as stretches, which a kernel can read. If `wanted` is given, no more
        of a source of bytes need be told than it says.
        """
        self._stopped = stopped
        self._source, self._ledger, self._more = reading.source, ledger, needles
        chosen = reading.dissectors
        self._stream = next(((one.name, one.stream(given)) for one in chosen if one.stream is not None), None)
        self._readers = [(one.name, one.lines(given)) for one in chosen if one.lines is not None]
        self._needles = tuple(dict.fromkeys(needle for one in chosen for needle in one.needles))
        self._neighbour = False
        """Whether the first line of the next window is a hit or stands beside one."""
        only = self._readers[0][1] if len(self._readers) == 1 else None
        self._plain = only if many and kernel is not None and isinstance(only, Plain) else None
        self._kernel, self._many, self._wanted = kernel, many, wanted
        self._plain_lines = None if self._plain is None or kernel is None else PlainLines(kernel)
        self._pace = _FEW
        self._beyond = Account()
        """What has been taken with a window already of the next one."""
        self._cut: int | None = None
        """Where reading was stopped within a window: an offset in the source, at which a line begins."""
        self._search: Search | None = None
        """What looks for needles in large windows."""

    def records(self, progress: Callable[[int], None] | None = None) -> Iterator[Read | Stretch | Passed | None]:
        """Everything that is said, in order; `progress` is told the bytes that are read.

        None is a pause: the source is one that grows, and has no more at present.
        """
        yield from self._lines(progress) if self._stream is None else self._bytes(*self._stream, progress)
        self._ledger.truncated = self._source.truncated

    def _bytes(
        self, name: str, stream: Stream, progress: Callable[[int], None] | None
    ) -> Iterator[Read | Stretch | Passed]:
        """What a source of bytes says; what the ledger counts as lines are its records."""
        total = self._ledger.total

        def counted(again: int = 0) -> Iterator[bytes]:
            chunks = self._source.chunks(again)
            for chunk in chunks if self._source.evidence.once else ahead(chunks):
                size = len(chunk) - min(again, total.bytes)
                total.bytes += size
                if progress:
                    progress(size)
                yield chunk
                self._ledger.forget_before(total.bytes - WINDOW)
                if self._stopped():
                    return

        kernel = self._kernel
        wanted = self._wanted
        reads: Iterator[Read | Batch | Passed] = (
            stream.read(counted()) if kernel is None or wanted is None or not isinstance(stream, Packed)
            else stream.batches(counted(AGAIN), kernel, wanted, many=self._many)
        )
        for read in self._guarded(name, reads, lambda: (total.bytes, stream.records, 0)):
            total.lines = stream.records
            if isinstance(read, Batch):
                yield from self._batch(name, read)
            elif isinstance(read, Passed):
                self._ledger.told[name] += read.told - 1  # it has been counted as one
                yield read
            elif not (isinstance(read, Damage) and self._stopped()):  # what was not read on is not damaged
                yield read
        total.lines = stream.records

    def _batch(self, name: str, batch: Batch) -> Iterator[Stretch]:
        """Plain records of a source of bytes; those that are not taken its dissector reads one by one."""
        stretch = Stretch(self._source.name, batch.data, batch.offset, batch.number, batch.records, batch.events,
                          batch.clocks)
        yield stretch
        batch.taken, batch.apart = stretch.taken, stretch.apart
        self._ledger.told[name] += stretch.taken - 1  # it has been counted as one

    def _lines(self, progress: Callable[[int], None] | None) -> Iterator[Read | Stretch | None]:
        total = self._ledger.total
        line = 1 + self._source.begin_lines
        self._ledger.skipped = Account(self._source.begin, self._source.begin_lines)
        for window, before in self._windows():
            if not window.data:
                yield None
                continue
            size = window.size
            large = before.large or self._beyond.lines
            if large and self._plain is not None and window.offset >= self._source.overlap:
                newlines = yield from self._mixed(window, before, line, self._plain)
            else:
                yield from self._window(window, line, before.lines)
                newlines = before.lines.newlines if before.lines else window.data.count(b"\n", 0, size)
            unended = not window.data.endswith(b"\n") and not window.partial
            if self._cut is not None:
                size = self._cut - window.offset
                newlines, unended = window.data.count(b"\n", 0, size), False
            line += newlines
            total.bytes += size
            total.lines += newlines + unended
            self._ledger.forget_before(window.offset)
            if progress:
                progress(size)
            if self._stopped():
                total.bytes += self._beyond.bytes
                total.lines += self._beyond.lines
                break
            del window, before  # or they would be held while the next ones are waited for
        for name, reader in self._readers:
            if isinstance(reader, Held):
                yield from self._guarded(name, reader.finish(), lambda: (total.bytes, line, 0))

    def _windows(self) -> Iterator[tuple[Window, _Beforehand]]:
        """The windows, those of what lies there whole with what is done beforehand."""
        windows = self._source.windows()
        if self._source.grows:
            yield from ((one, _Beforehand()) for one in windows)
            return
        ready = ((one, self._beforehand(one)) for one in windows)
        if self._plain is None or (self._source.evidence.stored or 0) < 2 * WINDOW:
            yield from ahead(ready)
            return
        with Ahead(ready, 2) as found:
            import numpy  # noqa: F401, ICN001 - to be loaded while the first ones are read

            yield from found

    def _beforehand(self, window: Window) -> _Beforehand:
        """What can be done with a window by another thread: to read plain lines, where they were many, or to search."""
        if window.size < LARGE:
            return _Beforehand()
        if self._plain is not None and self._plain_lines is not None and self._pace == _FEW:
            return _Beforehand(self._plain_lines.read(window, 0, self._plain.programs), large=True)
        if self._search is None:
            self._search = search(self._kernel, self._needles, window.data)
        lines = None if self._search is None else self._search.lines(window)
        return _Beforehand(lines=lines, large=True)

    def _mixed(
        self, window: Window, before: _Beforehand, line: int, plain: Plain
    ) -> Generator[Read | Stretch, None, int]:
        """Plain lines in stretches, and those between them one by one; returns how many newlines there are."""
        first, taken = line, self._beyond
        if taken.bytes > window.size:
            newlines = window.data.count(b"\n", 0, window.size)
            self._beyond = Account(taken.bytes - window.size, taken.lines - newlines)
            return newlines
        at, line, self._beyond = taken.bytes, line + taken.lines, Account()
        found, skipped = before.plain, taken.lines
        while at < window.size:
            if found is None and plain.idle and self._plain_lines is not None:
                found, skipped = self._plain_lines.read(window, at, plain.programs), 0
            count = 0
            if found is not None and found.many > skipped:
                records = found.numbers()[skipped:]
                count = int(records["start"].searchsorted(window.size))
            if count:
                yield from self._stretches(Stretch(self._source.name, window.data, window.offset, line, records,
                                                   plain.events, plain.clocks, read=plain.read), plain, count)
                if self._cut is not None:
                    break
                at = int(records["start"][count - 1]) + int(records["length"][count - 1])
                line += count
                self._neighbour = True
            if found is not None and self._plain_lines is not None:
                self._plain_lines.over(found)
            found = None
            self._pace = _FEW if count >= _WORTH_WHILE else min(4 * self._pace, WINDOW)
            end = window.size
            if at + self._pace < end:
                end = window.data.find(b"\n", at + self._pace, end) + 1 or end
            if end > at:
                part, lines = window.part(at, end), None
                if before.lines is not None and end == window.size:
                    lines = before.lines.since(at, line - first)
                elif part.size >= LARGE and self._search is not None:
                    lines = self._search.lines(part)
                yield from self._window(part, line, lines)
                if self._cut is not None:
                    break
                line += window.data.count(b"\n", at, end) if lines is None else lines.newlines
                at = end
        return line - first

    def _stretches(self, stretch: Stretch, plain: Plain, count: int) -> Iterator[Read | Stretch]:
        """One stretch, until so many of its records have been taken, or been read one by one.

        Those beyond begin the next window, and are there for an access that goes on in it.
        """
        name, reader = self._readers[0]
        while True:
            yield stretch
            done = stretch.taken
            if done:
                plain.passed(stretch.line + done - 1)
                self._ledger.told[name] += done
            if done > count:
                self._beyond = Account(int(stretch.records["length"][count:done].sum()), done - count)
            apart = min(done + stretch.apart, count)
            for index in range(done, apart):
                offset, line, length = stretch.place(index)
                start = offset - stretch.offset
                bare = stretch.data[start : start + length - 1]
                yield from self._guarded(name, reader.read(bare, offset, line, length), _at((offset, line, length)))
            if apart == count:
                return
            count -= apart
            if self._stopped():
                self._cut = stretch.offset + int(stretch.records["start"][apart])
                return
            stretch = replace(stretch, line=stretch.line + apart, records=stretch.records[apart:], taken=0)

    def _window(self, window: Window, line: int, lines: Lines | None) -> Iterator[Read]:
        """The candidate lines of a window, of which those that hold needles may be known."""
        beside, self._neighbour = self._neighbour, False
        known = self._needles if lines is None else lines.needles
        hit = hits(window, known) if lines is None else {start: end for start, end, _ in lines.found}
        told = b"".join(window.data[start : min(end, start + LONGEST_LINE)] for start, end in hit.items())
        found: Iterable[tuple[int, int, int]]
        if more := unknown(self._more(told), known):
            hit |= hits(window, more)
            found = numbered(window, hit)
            learnt = self._more(b"")
            if lines is not None and unknown(learnt, known):  # windows to come are searched for them as well
                self._search = search(self._kernel, (*self._needles, *learnt), window.data) or self._search
        else:
            found = numbered(window, hit) if lines is None else lines.found
        due = _OFTEN
        for count, (start, end, number) in enumerate(candidates(window, found, line, beside=beside)):
            if start >= window.size:
                self._neighbour = start == window.size
                break
            place = window.offset + start, number, end - start
            if place[0] < self._source.overlap:  # the file before it in the rotation ended with it
                continue
            bare = window.data[start : min(end, start + LONGEST_LINE)].removesuffix(b"\n")
            for name, reader in self._readers:
                yield from self._guarded(name, reader.read(bare, *place), _at(place))
            # up to the end of a hit the same would be found of a source that ends there
            if count >= due and start in hit and end < window.size:
                due = count + _OFTEN
                if self._stopped():
                    self._cut = window.offset + end
                    break

    def _guarded(
        self, name: str, reads: Iterator[_Said], place: Callable[[], Place]
    ) -> Iterator[_Said | Damage]:
        """What a dissector says; where a third party's fails, damage at that place is what it says."""
        told = self._ledger.told
        try:
            for read in reads:
                told[name] += 1
                yield read
        except Exception as error:
            if is_ours(name):
                raise
            offset, line, length = place()
            reason = f"{name} failed: {type(error).__name__}: {error}"
            told[name] += 1
            yield Damage(self._source.name, offset, length, line, reason)
