"""What the dissectors of one source say of it, record by record, and the account of every byte of it.

Lines are shown to every dissector that takes part, if a needle of any of them is in the line or beside it; bytes are
read by one. Where a third party's code fails, that is damage at its place, and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from dissectors import Given, Held, Stream, is_ours
from dissectors.record import Damage, Loss, Record
from xptrace.access.attribution import Reading
from xptrace.intake.ledger import Ledger
from xptrace.intake.scan import LONGEST_LINE, candidates, hits
from xptrace.intake.source import Window

Read = Record | Damage | Loss
Place = tuple[int, int, int]
"""Offset, line and length."""


def _at(place: Place) -> Callable[[], Place]:
    return lambda: place


class Reads:
    """Reads one source by its dissectors. `needles` are asked for, by lines that were found, for what else to find."""

    def __init__(
        self, reading: Reading, given: Given, ledger: Ledger, needles: Callable[[bytes], Iterable[re.Pattern[bytes]]],
        stopped: Callable[[], bool],
    ) -> None:
        """Make the readers; nothing is read yet. Where `stopped` says so, the source ends before its end."""
        self._stopped = stopped
        self._source, self._ledger, self._more = reading.source, ledger, needles
        chosen = reading.dissectors
        self._stream = next(((one.name, one.stream(given)) for one in chosen if one.stream is not None), None)
        self._readers = [(one.name, one.lines(given)) for one in chosen if one.lines is not None]
        self._needles = tuple(dict.fromkeys(needle for one in chosen for needle in one.needles))
        self._neighbour = False
        """Whether the first line of the next window stands beside a hit."""

    def records(self, progress: Callable[[int], None] | None = None) -> Iterator[Read | None]:
        """Everything that is said, in order; `progress` is told the bytes that are read.

        None is a pause: the source is one that grows, and has no more at present.
        """
        yield from self._lines(progress) if self._stream is None else self._bytes(*self._stream, progress)
        self._ledger.truncated = self._source.truncated

    def _bytes(self, name: str, stream: Stream, progress: Callable[[int], None] | None) -> Iterator[Read]:
        """What a source of bytes says; what the ledger counts as lines are its records."""
        total = self._ledger.total

        def counted() -> Iterator[bytes]:
            for chunk in self._source.chunks():
                total.bytes += len(chunk)
                if progress:
                    progress(len(chunk))
                yield chunk
                self._ledger.forget_before(total.bytes - len(chunk))
                if self._stopped():
                    return

        for read in self._guarded(name, stream.read(counted()), lambda: (total.bytes, stream.records, 0)):
            total.lines = stream.records
            if isinstance(read, Damage) and self._stopped():  # what was not read on is not damaged
                continue
            yield read
        total.lines = stream.records

    def _lines(self, progress: Callable[[int], None] | None) -> Iterator[Read | None]:
        total = self._ledger.total
        line = 1
        for window in self._source.windows():
            if not window.data:
                yield None
                continue
            yield from self._window(window, line)
            size = window.size
            newlines = window.data.count(b"\n", 0, size)
            line += newlines
            total.bytes += size
            total.lines += newlines + (not window.data.endswith(b"\n") and not window.partial)
            self._ledger.forget_before(window.offset)
            if progress:
                progress(size)
            if self._stopped():
                break
        for name, reader in self._readers:
            if isinstance(reader, Held):
                yield from self._guarded(name, reader.finish(), lambda: (total.bytes, line, 0))

    def _window(self, window: Window, line: int) -> Iterator[Read]:
        found = hits(window, self._needles)
        if self._neighbour and window.data:  # the last line before this window was a hit
            found[0] = window.data.find(b"\n") + 1 or len(window.data)
        self._neighbour = False
        told = b"".join(window.data[start : min(end, start + LONGEST_LINE)] for start, end in found.items())
        found |= hits(window, self._more(told))
        for start, end, number in candidates(window, found, line):
            if start >= window.size:
                self._neighbour = start == window.size
                break
            place = window.offset + start, number, end - start
            if place[0] < self._source.overlap:  # the file before it in the rotation ended with it
                continue
            bare = window.data[start : min(end, start + LONGEST_LINE)].removesuffix(b"\n")
            for name, reader in self._readers:
                yield from self._guarded(name, reader.read(bare, *place), _at(place))

    def _guarded(self, name: str, reads: Iterator[Read], place: Callable[[], Place]) -> Iterator[Read]:
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
