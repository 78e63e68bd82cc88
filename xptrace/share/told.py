"""The lines of a source with what its dissectors say of them, and the bytes of any of its parts.

Law: the contract of `dissectors`; a line is shown to its readers where the decoder shows it (`xptrace.access.decode`):
where a needle is in it or beside it, and where a row of the decoder's rests on it, as one about a BAR does.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dissectors import Given, Held, is_ours
from dissectors.record import Damage, Loss, Record
from xptrace.access.attribution import Reading
from xptrace.access.rows import Entry
from xptrace.errors import XptraceError
from xptrace.intake.scan import LONGEST_LINE, candidates, hits, numbered
from xptrace.intake.source import Source, Window

Boot = tuple[str, int]
"""A VM and a boot of it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one dissector says of a line, or of several."""

    dissector: str
    read: Record | Damage | Loss


@dataclass(frozen=True, slots=True)
class Untold:
    """A line that was shown to the dissectors, and is no record of theirs; it may change how the next is read."""

    offset: int
    length: int
    line: int
    raw: bytes


class Rests:
    """Which boots rest on which records of which sources, learnt while the entries of a case pass by."""

    def __init__(self, most: int | None = None) -> None:
        """Raise XptraceError, from `take`, where there are more records than `most`."""
        self._most = most
        self._count = 0
        self._owners: dict[str, dict[int, tuple[Boot, ...]]] = {}

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Hand the entries on, having taken what they rest on."""
        for entry in entries:
            self.take(entry)
            yield entry

    def take(self, entry: Entry) -> None:
        """Take what one entry rests on."""
        boot = entry.vm, entry.boot
        for record in entry.records:
            owners = self._owners.setdefault(record.source, {})
            known = owners.get(record.offset)
            if known is None:
                owners[record.offset] = (boot,)
                self._count += 1
                if self._most is not None and self._count > self._most:
                    raise XptraceError(f"{record.source}: more than {self._most} decoded records: cut the recording "
                                       "first, e.g. to the hours that matter")
            elif boot not in known:
                owners[record.offset] = (*known, boot)

    def boots(self, source: str, offset: int) -> tuple[Boot, ...]:
        """The boots that rest on the record at this place; none where no entry does."""
        return self._owners.get(source, {}).get(offset, ())

    def offsets(self, source: str) -> list[int]:
        """Where the records of a source are that anything rests on, in order."""
        return sorted(self._owners.get(source, ()))


def told(reading: Reading, given: Given, rests: Rests, *, every: bool = False) -> Iterator[Told | Untold]:
    """What the dissectors say of a source, line by line; of one of bytes, record by record.

    A record that waited for a later line comes after that line's. With `every`, all lines are shown to them.
    """
    name = reading.dissectors[0].name
    if (stream := reading.dissectors[0].stream) is not None:
        for read in _guarded(name, stream(given).read(reading.source.chunks())):
            yield Told(name, read)
        return
    readers = [(one.name, one.lines(given)) for one in reading.dissectors if one.lines is not None]
    needles = tuple(dict.fromkeys(needle for one in reading.dissectors for needle in one.needles))
    wanted = rests.offsets(reading.source.name)
    number, beside = 1, False
    for window in reading.source.windows():
        found = hits(window, needles)
        found |= _all(window) if every else _lines_at(window, wanted)
        first, beside = beside, False
        for start, end, line in candidates(window, numbered(window, found), number, beside=first):
            if start >= window.size:
                beside = start == window.size
                break
            place = window.offset + start, line, end - start
            if place[0] < reading.source.overlap:
                continue
            raw = window.data[start : min(end, start + LONGEST_LINE)].removesuffix(b"\n")
            said = False
            for reader_name, reader in readers:
                for read in _guarded(reader_name, reader.read(raw, *place)):
                    said = said or isinstance(read, Record)
                    yield Told(reader_name, read)
            if not said:
                yield Untold(place[0], place[2], line, raw)
        number += window.data.count(b"\n", 0, window.size)
    for reader_name, reader in readers:
        if isinstance(reader, Held):
            for read in _guarded(reader_name, reader.finish()):
                yield Told(reader_name, read)


def _guarded(name: str, reads: Iterator[Record | Damage | Loss]) -> Iterator[Record | Damage | Loss]:
    """What a dissector says; where a third party's fails, it says no more."""
    if is_ours(name):
        yield from reads
        return
    with contextlib.suppress(Exception):  # whatever somebody else's code raises; the decoder has reported it
        yield from reads


def _lines_at(window: Window, offsets: Sequence[int]) -> Mapping[int, int]:
    """Start and end, in the window, of the lines that begin at these offsets."""
    found: dict[int, int] = {}
    for offset in offsets[bisect_left(offsets, window.offset) :]:
        start = offset - window.offset
        if start >= len(window.data):
            break
        found[start] = window.data.find(b"\n", start) + 1 or len(window.data)
    return found


def _all(window: Window) -> Mapping[int, int]:
    """Start and end of every line of a window."""
    found: dict[int, int] = {}
    start = 0
    while start < len(window.data):
        end = window.data.find(b"\n", start) + 1 or len(window.data)
        found[start] = end
        start = end
    return found


def parts(source: Source, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of each (offset, length) of a source; the spans are in order and do not overlap."""
    chunks = source.chunks()
    held, base = b"", 0
    for offset, length in spans:
        while base + len(held) < offset + length:
            chunk = next(chunks, b"")
            if not chunk:
                break
            keep = max(0, min(offset - base, len(held)))
            held, base = held[keep:] + chunk, base + keep
        yield held[offset - base : offset - base + length]


def once(paths: Sequence[str]) -> None:
    """Raise XptraceError where any of these can be read only once: what is done with them takes more."""
    if "-" in paths:
        raise XptraceError("standard input can be read only once: keep it in a file")
    for path in paths:
        if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
            raise XptraceError(f"{path}: can be read only once: keep it in a file")
