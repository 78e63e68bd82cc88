"""Sources: recordings, decompressed by magic, read as windows of whole lines.

A source is a file, standard input, or a member of an archive. A window is some MiB, so memory does not grow with the
source; a line longer than a window is handed on in parts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import ClassVar, Final, NamedTuple, TypeVar

from xptrace.errors import XptraceError
from xptrace.intake import content
from xptrace.intake.ahead import Ahead
from xptrace.intake.compression import MAGIC_BYTES, codec_of, unfold
from xptrace.intake.evidence import CHUNK, Evidence, File, Home, Region, evidence
from xptrace.intake.flow import BrokenOff, Flow
from xptrace.intake.limits import LIMITS, Limits
from xptrace.intake.member import safe
from xptrace.intake.rotation import Rotation

WINDOW: Final = 6 << 20
"""Bytes read at a time."""
_TAIL: Final = 1 << 12
"""Bytes at the end of a window in which its last newline is looked for before it is read."""
HEAD: Final = 1 << 20
"""Bytes at the start of a source that are looked at to learn whose it is."""

AHEAD: Final = 8
"""Lines that a window shows of the next one: more than the calls of one access."""

STDIN: Final = "<stdin>"
"""The name of standard input, whose path is `-`."""


_Part = TypeVar("_Part")


@dataclass(slots=True)
class Window:
    """Whole lines of a source: `data` starts at byte `offset`; `partial` says that its last line goes on.

    The last `ahead` bytes are lines that begin the next window too: what stands beside a line matters.
    """

    offset: int
    data: bytes
    partial: bool = False
    ahead: int = 0

    @property
    def size(self) -> int:
        """Bytes that belong to this window and to no other."""
        return len(self.data) - self.ahead

    def part(self, start: int, end: int) -> Window:
        """The lines from one place to another, with the same lines ahead as any window has."""
        stop = end
        for _ in range(AHEAD):
            stop = self.data.find(b"\n", stop) + 1 or len(self.data)
        if start == 0 and end == self.size:
            return self
        return Window(self.offset + start, self.data[start:stop], partial=self.partial and stop == len(self.data),
                      ahead=stop - end)


class _Place(NamedTuple):
    """Where a source lies in a file, from first to last; without a length, up to the end of the file."""

    home: Home
    start: int
    length: int | None

    def windows(self, descriptor: int, offset: int) -> Iterator[Window]:
        """Its windows; each is read once, and not copied, where a newline is near the end of what is read."""
        while self.length is None or offset + WINDOW <= self.length:
            seen = min(_TAIL, WINDOW)
            tail = os.pread(descriptor, seen, self.start + offset + WINDOW - seen)
            size = WINDOW - seen + tail.rfind(b"\n") + 1
            data = os.pread(descriptor, size, self.start + offset) if len(tail) == seen and b"\n" in tail else b""
            if not data or len(data) < size:
                break
            keep = _ahead(data, size)
            yield Window(offset, data, partial=not data.endswith(b"\n"), ahead=size - keep)
            offset += keep
        yield from _windows(offset, self.pieces(descriptor, offset, WINDOW))

    def pieces(self, descriptor: int, offset: int, size: int, again: int = 0) -> Iterator[bytes]:
        """What follows an offset, so much at a time; each begins with so many bytes of what was before it."""
        while self.length is None or offset < self.length:
            before = min(again, offset)
            more = size if self.length is None else min(size, self.length - offset)
            data = os.pread(descriptor, before + more, self.start + offset - before)
            if len(data) <= before:
                if self.length is not None:
                    raise BrokenOff("the file has become shorter")
                return
            yield data
            offset += len(data) - before


def _ahead(data: bytes, cut: int) -> int:
    """Where the last lines before a place begin that the next window shows again; the place, if there are too few."""
    keep = cut
    for _ in range(AHEAD):
        keep = data.rfind(b"\n", 0, keep - 1) + 1 if keep > 1 else 0
    return keep or cut


def _windows(offset: int, pieces: Iterator[bytes]) -> Iterator[Window]:
    """The pieces of a source from an offset on, as windows, each put together once."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size < WINDOW:
            continue
        cut = piece.rfind(b"\n") + 1
        whole = cut or len(piece)  # a line that is longer than a piece is looked at below
        data = b"".join((*held[:-1], memoryview(piece)[:whole]))
        rest = piece[whole:]
        if not cut and (cut := data.rfind(b"\n") + 1):
            data, rest = data[:cut], data[cut:]
        keep = _ahead(data, len(data))
        yield Window(offset, data, partial=not data.endswith(b"\n"), ahead=len(data) - keep)
        held = [data[keep:] + rest]
        size = len(held[0])
        offset += keep
    data = b"".join(held)
    if cut := data.rfind(b"\n") + 1:
        keep = _ahead(data, cut)
        yield Window(offset, data[:cut], ahead=cut - keep)
        data = data[keep:]
        offset += keep
    if data:
        yield Window(offset, data)


def shown_again(pieces: Iterator[bytes], again: int) -> Iterator[bytes]:
    """The pieces, each of which begins with so many of the last bytes before it, or with all."""
    if not again:
        yield from pieces
        return
    before = b""
    for piece in pieces:
        data = before + piece
        yield data
        before = data[-again:]


class Source:
    """One input: a path, `-` for standard input, or what lies in an archive. Offsets count decompressed bytes."""

    __slots__ = (
        "_flow", "_limits", "begin", "begin_lines", "evidence", "name", "original", "overlap", "path", "rotation",
        "site", "truncated", "written_ns",
    )

    grows: ClassVar[bool] = False
    """Whether it is still being written, so that windows may be empty."""

    def __init__(
        self, path: str, *, name: str | None = None, lies: Evidence | None = None, flow: Flow | None = None,
        original: str | None = None, limits: Limits = LIMITS,
    ) -> None:
        """Remember where it lies; raises XptraceError where nothing readable is there.

        `lies` is the evidence if that is not a file at the path, `flow` what has been opened of it already.
        """
        self.path = path
        """The path; of a member of an archive the archive's and its own, as if that were a directory."""
        self.name = name or (STDIN if path == "-" else safe(path))
        """How it is called where something is said of it: `ARCHIVE!MEMBER` for a member."""
        self.evidence = lies or evidence_at(path)
        """Its bytes as they lie there."""
        self.written_ns = self.evidence.written_ns
        """When it was last written, as the file system or the archive tells; None where neither does."""
        self.original = original or path
        """The path of the file that the evidence is: the archive's for its members."""
        self.site = str(PurePath(path).parent) if path != "-" else path
        """What it was collected with; sources of one site are of one host."""
        self.rotation: Rotation | None = None
        """Its place in a rotated log."""
        self.overlap = 0
        """Bytes at its start that the file before it in a rotated log ends with, too."""
        self.begin = self.begin_lines = 0
        """Bytes, and lines, at its start that are passed over: a line begins there. For plain files alone."""
        self.truncated: str | None = None
        """Why the end of the input is missing, once that has been met."""
        self._limits = limits
        self._flow = flow

    def head(self, size: int | None = None) -> bytes:
        """The first bytes, decompressed. Of what can be read once only they are kept and read again by `windows`."""
        flow = self._open()
        data = flow.peek(HEAD if size is None else size)
        self.truncated = flow.broken
        if self.evidence.once:
            self._flow = flow
        else:
            flow.close()
        return data

    def windows(self) -> Iterator[Window]:
        """The whole source, in order, as windows that end at a newline wherever there is one."""
        place = self._place()
        if place is None:
            windows = _windows(self.begin, self._pieces())
            if self.evidence.once:
                yield from windows
            else:
                with Ahead(windows, 2) as ready:
                    yield from ready
            return
        yield from self._placed(place, lambda descriptor: place.windows(descriptor, self.begin))

    def _placed(self, place: _Place, read: Callable[[int], Iterator[_Part]]) -> Iterator[_Part]:
        """What is read of a place by a descriptor of its file, as far as that goes."""
        self.truncated = None
        try:
            with place.home.opened() as descriptor:
                yield from read(descriptor)
        except OSError as error:
            self.truncated = error.strerror or str(error)
        except BrokenOff as error:
            self.truncated = str(error)

    def _place(self) -> _Place | None:
        """Where it lies in one piece, as it is read; None where it must be unpacked first, or can be read once only."""
        if not isinstance(self.evidence, File | Region):  # else what is read is checked against what an archive tells
            return None
        region = self.evidence.region
        if region.cut is not None or len(region.pieces) != 1:
            return None
        ((place, length),) = region.pieces
        self._open().close()
        with region.reader() as reader:
            packed = codec_of(reader.at(0, MAGIC_BYTES)) is not None
        if place is None or packed:
            return None
        return _Place(region.home, place, None if isinstance(self.evidence, File) else length)

    def chunks(self, again: int = 0) -> Iterator[bytes]:
        """The whole source, in order, in parts; each begins with so many of the last bytes before it, or with all."""
        place = self._place() if again and not self.begin else None
        if place is not None:
            return self._placed(place, lambda descriptor: place.pieces(descriptor, 0, CHUNK, again))
        return shown_again(self._pieces(CHUNK), again)

    def sha256(self) -> str | None:
        """The digest of the bytes as they lie there, before any decompression; of a member, as it was archived.

        They are read for it once more; None where they can be read once only.
        """
        import hashlib

        if self.evidence.once:
            return None
        digest = hashlib.sha256()
        flow = Flow(self.evidence.chunks())
        while chunk := flow.read(WINDOW):
            digest.update(chunk)
        if flow.broken is not None:
            raise XptraceError(f"{self.name}: cannot be read: {flow.broken}")
        return digest.hexdigest()

    def _pieces(self, size: int | None = None) -> Iterator[bytes]:
        """The whole source, in order, in pieces of a size, or as they come."""
        self.truncated = None
        flow, hasty = (self._later(), False) if self.begin else self._begun(quick=not self.evidence.once)
        done = 0
        try:
            while True:
                while piece := flow.read(size) if size is not None else flow.next():
                    done += len(piece)
                    yield piece
                if not hasty or flow.broken is None:
                    break
                flow.close()
                flow, hasty = self._begun()  # with care
                flow.skip(done)
            self.truncated = flow.broken
        finally:
            if self.evidence.once:
                self._flow = flow
            else:
                flow.close()

    def _open(self) -> Flow:
        return self._begun()[0]

    def _begun(self, *, quick: bool = False) -> tuple[Flow, bool]:
        """The source from its beginning, and whether what breaks off may give more when it is read with care."""
        if self._flow is not None:
            return self._flow, False
        flow, layers = unfold(self.evidence.chunks(), self._limits, quick=quick)
        head = flow.peek(content.BLOCK)
        why = content.foreign(head) or ("a zip archive: unpack it first" if content.container(head) == "zip" else None)
        if why is not None:
            flow.close()
            raise XptraceError(f"{self.name}: {why}")
        return flow, quick and any(codec.quick is not None for codec in layers)

    def _later(self) -> Flow:
        """What is not passed over."""
        region = self.evidence.region
        if region is None:
            raise ValueError(f"{self.name} cannot be read from a place in it on")
        return Flow(replace(region, pieces=region.part(self.begin, region.size - self.begin)).chunks())


def evidence_at(path: str) -> Evidence:
    """The evidence at a path; raises XptraceError where nothing readable is there."""
    try:
        return evidence(path, lambda: sys.stdin.buffer)
    except IsADirectoryError:
        raise XptraceError(f"{path}: is a directory; name the files in it") from None
    except FileNotFoundError:
        raise XptraceError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise XptraceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None

