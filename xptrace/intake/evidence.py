"""Where bytes lie: in a file, in a part of one, packed in an archive, or in a pipe; and how they are read.

Nothing is ever written under a name that an archive tells: what has to be unpacked to be read goes, once, to a
temporary file without a name.
"""

from __future__ import annotations

import io
import os
import stat
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

from xptrace.intake.compression import Codec, unpack
from xptrace.intake.flow import BrokenOff, Chunks, Flow
from xptrace.intake.limits import Limits

CHUNK: Final = 2 << 20
"""Bytes read at a time."""
Pieces = tuple[tuple[int | None, int], ...]
"""Places in a file and lengths; a hole has no place."""
_ZEROS: Final = bytes(CHUNK)


class Evidence(Protocol):
    """Bytes as they lie there, before any decompression."""

    @property
    def written_ns(self) -> int | None:
        """When they were last written, by the file system or the archive; None where nothing tells."""

    @property
    def stored(self) -> int | None:
        """How many there are; None where that is known at their end only."""

    @property
    def once(self) -> bool:
        """Whether they can be read once only."""

    @property
    def region(self) -> Region | None:
        """Where they can be read in any order, if they can."""

    def chunks(self) -> Chunks:
        """All of them, in order; ends in BrokenOff where they end too early."""


class Home(Protocol):
    """What regions are parts of."""

    def opened(self) -> AbstractContextManager[int]:
        """Its descriptor, as long as it is read."""


class OnDisk(NamedTuple):
    """A regular file."""

    path: str

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open it as long as it is read."""
        with Path(self.path).open("rb", buffering=0) as file:
            yield file.fileno()


class Spool:
    """One temporary file, without a name, for everything that must be unpacked to be read in any order."""

    def __init__(self, limits: Limits) -> None:
        """No file before something is put into it."""
        self._limits = limits
        self._file: IO[bytes] | None = None
        self._size = 0

    @contextmanager
    def opened(self) -> Iterator[int]:
        """It stays open as long as anything refers to it: without a name, it cannot be opened anew."""
        if self._file is None:
            raise ValueError("nothing has been put into it")
        yield self._file.fileno()

    def put(self, flow: Flow) -> tuple[Region | None, str | None]:
        """Unpack a flow; returns where it lies, if anywhere, and why that is not all of it, if so."""
        import tempfile

        start = self._size
        why = None
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="xptrace-", buffering=0)  # noqa: SIM115 - kept open
                weakref.finalize(self, self._file.close)
            for chunk in flow.chunks():
                why = self._full(len(chunk))
                if why is not None:
                    break
                self._write(self._file, chunk)
        except BrokenOff as error:
            why = str(error)
        except OSError as error:
            why = f"the temporary directory takes no more: {error.strerror or error}"
        finally:
            flow.close()
        return None if self._file is None else Region(self, ((start, self._size - start),)), why

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:
            done = os.pwrite(file.fileno(), left, self._size)
            self._size += done
            left = left[done:]

    def _full(self, more: int) -> str | None:
        if self._size + more > self._limits.spooled:
            return f"compressed archives unfold to more than {self._limits.spooled} bytes"
        if self._size >> 24 != (self._size + more) >> 24 or not self._size:
            import shutil
            import tempfile

            free = shutil.disk_usage(tempfile.gettempdir()).free
            if free - (1 << 24) < self._limits.reserve:
                return f"{tempfile.gettempdir()} has {free} bytes left, and {self._limits.reserve} of them stay free"
        return None


@dataclass(frozen=True, slots=True)
class Region:
    """Parts of a file, one after the other, each a place and a length; a hole has no place, and reads as zeros."""

    home: Home
    pieces: Pieces
    written_ns: int | None = None
    cut: str | None = None
    """Why it is shorter than it should be, if so."""

    once: bool = field(default=False, init=False)

    @property
    def size(self) -> int:
        """Its length, holes counted."""
        return sum(length for _, length in self.pieces)

    @property
    def stored(self) -> int:
        """How many of its bytes are stored."""
        return sum(length for place, length in self.pieces if place is not None)

    @property
    def region(self) -> Region:
        """Itself."""
        return self

    def part(self, start: int, length: int) -> Pieces:
        """The pieces of a part of it, as far as that lies within."""
        found = []
        at = 0
        for place, size in self.pieces:
            first, last = max(start, at), min(start + length, at + size)
            if first < last:
                found.append((None if place is None else place + first - at, last - first))
            at += size
        return tuple(found)

    def chunks(self) -> Chunks:
        """All of it, in order."""
        try:
            with self.home.opened() as descriptor:
                for place, length in self.pieces:
                    done = 0
                    while done < length:
                        size = min(CHUNK, length - done)
                        data = _ZEROS[:size] if place is None else os.pread(descriptor, size, place + done)
                        if not data:
                            raise BrokenOff("the file has become shorter")
                        yield data
                        done += len(data)
        except OSError as error:
            raise BrokenOff(error.strerror or str(error)) from None
        if self.cut is not None:
            raise BrokenOff(self.cut)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open it to be read in any order."""
        with self.home.opened() as descriptor:
            yield Reader(self, descriptor)


class Reader(io.RawIOBase):
    """A region as a file that can be read in any order."""

    def __init__(self, region: Region, descriptor: int) -> None:
        """Begin at its start."""
        super().__init__()
        self._region, self._descriptor = region, descriptor
        self.size = region.size
        self._at = 0

    def at(self, place: int, size: int) -> bytes:
        """The bytes there: fewer where the region ends, or where the file cannot be read."""
        found = []
        for start, length in self._region.part(place, size):
            try:
                data = bytes(length) if start is None else os.pread(self._descriptor, length, start)
            except OSError:
                data = b""
            found.append(data)
            if len(data) < length:
                break
        return b"".join(found)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed's buffer has no length
        """Read on."""
        data = self.at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class File:
    """A regular file."""

    once = False

    def __init__(self, path: str) -> None:
        """Raises OSError where it cannot be looked at."""
        self.path = path
        told = Path(path).stat()
        self.written_ns: int | None = told.st_mtime_ns if told.st_mtime_ns > 0 else None
        self.stored: int | None = told.st_size
        self.identity = told.st_dev, told.st_ino
        """The same for every name of the file."""

    @property
    def region(self) -> Region:
        """All of it."""
        return Region(OnDisk(self.path), ((0, self.stored or 0),), self.written_ns)

    def chunks(self) -> Chunks:
        """All of it, also what has been added since."""
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise BrokenOff(error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class Pipe:
    """Standard input, or another file that can be read once only."""

    opened: Callable[[], AbstractContextManager[IO[bytes]]]

    written_ns: None = field(default=None, init=False)
    stored: None = field(default=None, init=False)
    once: bool = field(default=True, init=False)
    region: None = field(default=None, init=False)

    def chunks(self) -> Chunks:
        """What comes, as soon as it comes."""
        try:
            with self.opened() as stream:
                read = getattr(stream, "read1", stream.read)
                while chunk := read(CHUNK):
                    yield chunk
        except OSError as error:
            raise BrokenOff(error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class Packed:
    """A member of a zip archive."""

    inner: Region
    codec: Codec | None
    limits: Limits
    length: int | None
    """Its length when unpacked, as the archive tells; so its checksum."""
    checksum: int | None

    once: bool = field(default=False, init=False)

    @property
    def written_ns(self) -> int | None:
        """What the archive tells."""
        return self.inner.written_ns

    @property
    def stored(self) -> int:
        """How many bytes it takes in the archive."""
        return self.inner.stored

    @property
    def region(self) -> Region | None:
        """Where it lies, if it is not compressed."""
        return self.inner if self.codec is None else None

    def chunks(self) -> Chunks:
        """All of it, checked against what the archive tells of it."""
        chunks = self.inner.chunks()
        if self.codec is not None:
            chunks = unpack(Flow(chunks), self.codec, self.limits)
        length = checksum = 0
        for chunk in chunks:
            length += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
            if self.length is not None and length > self.length:
                yield from filter(None, (chunk[: self.length - length],))
                raise BrokenOff(f"it is longer than the {self.length} bytes that the archive tells")
            yield chunk
        if self.length is not None and length < self.length:
            raise BrokenOff(f"{length} of {self.length} bytes are there")
        if self.checksum is not None and checksum != self.checksum:
            raise BrokenOff("its checksum is not the one that the archive tells")


def evidence(path: str, standard_input: Callable[[], IO[bytes]]) -> Evidence:
    """What lies at a path that a user names; `-` is standard input. Raises OSError where nothing readable is there."""
    if path == "-":
        return Pipe(lambda: nullcontext(standard_input()))
    kind = Path(path).stat().st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        return Pipe(lambda: Path(path).open("rb", buffering=0))
    with Path(path).open("rb"):
        return File(path)
