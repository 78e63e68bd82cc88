r"""Sources: files and standard input, decompressed by magic, read as windows of whole lines.

Law: RFC 1952 (gzip ``1f 8b``), the bzip2 file format (``BZh``), the .xz file format (``fd 37 7a 58 5a 00``). The
magic decides, never the name. A window is some MiB, so memory does not grow with the file; a line longer than a
window is handed on in parts.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from xptrace.errors import XptraceError

WINDOW: Final = 4 << 20
"""Bytes read at a time."""
HEAD: Final = 1 << 20
"""Bytes at the start of a source that are looked at to learn whose it is."""

AHEAD: Final = 8
"""Lines that a window shows of the next one: more than the calls of one access."""

_CONTAINERS: Final = {
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd-compressed: decompress it first (zstd -d)",
}


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


class Source:
    """One input: a path or `-` for standard input. Offsets count decompressed bytes."""

    def __init__(self, path: str) -> None:
        """Remember the path; raises XptraceError where nothing readable is there."""
        self.path = path
        self.name = "<stdin>" if path == "-" else path
        self.truncated: str | None = None
        """Why the end of the input is missing, once that has been met."""
        self._stdin_head = b""
        if path == "-":
            return
        file = Path(path)
        try:
            if file.is_dir():
                raise XptraceError(f"{path}: is a directory; name the files in it")
            with file.open("rb") as stream:
                stream.read(1)
        except FileNotFoundError:
            raise XptraceError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise XptraceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None

    def head(self) -> bytes:
        """The first bytes, decompressed. Of standard input they are kept and read again by `windows`."""
        if self.path != "-":
            self.truncated = None
            with self._open() as stream:
                return self._read(stream, HEAD)
        if not self._stdin_head:
            self._stdin_head = sys.stdin.buffer.read(HEAD)
        return self._stdin_head

    def windows(self) -> Iterator[Window]:
        """The whole source, in order, as windows that end at a newline wherever there is one."""
        offset = 0
        rest = b""
        self.truncated = None
        with self._open() as stream:
            ahead, self._stdin_head = self._stdin_head, b""
            while True:
                chunk = ahead or self._read(stream, WINDOW)
                ahead = b""
                if not chunk:
                    break
                data = rest + chunk
                cut = data.rfind(b"\n") + 1
                if not cut and len(data) < WINDOW:
                    rest = data
                    continue
                cut = cut or len(data)
                keep = cut
                for _ in range(AHEAD):
                    keep = data.rfind(b"\n", 0, keep - 1) + 1 if keep > 1 else 0
                keep = keep or cut
                yield Window(offset, data[:cut], partial=data[cut - 1 : cut] != b"\n", ahead=cut - keep)
                rest = data[keep:]
                offset += keep
        if rest:
            yield Window(offset, rest)

    def chunks(self) -> Iterator[bytes]:
        """The whole source, in order, as it comes."""
        self.truncated = None
        with self._open() as stream:
            ahead, self._stdin_head = self._stdin_head, b""
            while chunk := ahead or self._read(stream, WINDOW):
                ahead = b""
                yield chunk

    def _open(self) -> IO[bytes]:
        if self.path == "-":
            return sys.stdin.buffer
        with Path(self.path).open("rb") as stream:
            magic = stream.read(6)
        for start, what in _CONTAINERS.items():
            if magic.startswith(start):
                raise XptraceError(f"{self.path}: {what}")
        if magic.startswith(b"\x1f\x8b"):
            return cast("IO[bytes]", gzip.open(self.path, "rb"))
        if magic.startswith(b"BZh"):
            return cast("IO[bytes]", bz2.open(self.path, "rb"))
        if magic.startswith(b"\xfd7zXZ\x00"):
            return cast("IO[bytes]", lzma.open(self.path, "rb"))
        return Path(self.path).open("rb")

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        """Up to `size` bytes; where a compressed stream breaks off or is corrupt, what came before that."""
        parts = []
        while size > 0 and self.truncated is None:
            try:
                part = stream.read1(min(size, 1 << 16)) if hasattr(stream, "read1") else stream.read(size)
            except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError) as error:
                self.truncated = str(error) or type(error).__name__
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
