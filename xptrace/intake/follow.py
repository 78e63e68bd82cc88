"""Recordings that are still being written: what is there, and then what is added, through rotation and truncation.

A rotated log is another file at the same path (logrotate's `create`): the old one is read to its end first. A log that
has become shorter than what was read of it (`copytruncate`) begins anew. Either way the source goes on: its offsets
and line numbers count on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

from xptrace.errors import XptraceError
from xptrace.intake.compression import MAGIC_BYTES, codec_of
from xptrace.intake.evidence import File, Pipe
from xptrace.intake.source import AHEAD, HEAD, WINDOW, Source, Window, evidence_at, shown_again

_SLICE_S: Final = 0.2
"""The longest that an interrupt has to wait."""


class Patience:
    """Waits for more, until nothing has come for too long, or until nobody wants any."""

    def __init__(self, interval_s: float, idle_s: float | None = None) -> None:
        """Look every `interval_s`; give up when nothing has come for `idle_s`, if that is given."""
        self._interval_s, self._idle_s = interval_s, idle_s
        self._came = time.monotonic()
        self.over = False
        """Whether no more is wanted."""
        self.before_waiting: Callable[[], None] | None = None
        """Called before every wait: all that has come has been handed on."""

    def came(self) -> None:
        """Something has come."""
        self._came = time.monotonic()

    def wait(self) -> bool:
        """Wait for as long as one looks away; returns whether to look again."""
        if self.before_waiting is not None:
            self.before_waiting()
        until = time.monotonic() + self._interval_s
        while not self.over and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))
        if self._idle_s is not None and time.monotonic() - self._came >= self._idle_s:
            self.over = True
        return not self.over


class Growing(Source):
    """A file that is still being written. Between windows of lines, an empty one says that there are no more yet."""

    __slots__ = ("_file", "_left", "_patience", "_start", "_told", "_turned")
    grows: ClassVar[bool] = True

    def __init__(
        self, path: str, patience: Patience, told: Callable[[str, str], None], *, from_now: bool = False
    ) -> None:
        """Open it, or what is written from now on; raises XptraceError where it is nothing that can grow.

        `told` is told the name, and what happens to the file besides growing.
        """
        lies = evidence_at(path)
        if not isinstance(lies, File):
            raise XptraceError(f"{path}: is no regular file, and cannot be followed: xptrace decode reads it")
        super().__init__(path, lies=Pipe(lambda: Path(path).open("rb", buffering=0)))  # noqa: SIM115 - not yet
        self.written_ns = lies.written_ns
        self._patience, self._told = patience, told
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - it stays open, also when it is renamed
        if codec_of(self.head(MAGIC_BYTES)) is not None:
            raise XptraceError(f"{self.name}: is compressed, and does not grow: xptrace decode reads it")
        self._start = self._last_line() if from_now else 0
        self._left = self._start
        """The offset in the file of what is still to be read."""
        self._turned = False
        """Whether the file has begun anew, so that what was left of the old one is all there is of it."""

    def head(self, size: int | None = None) -> bytes:
        """The first bytes that are there by now."""
        return os.pread(self._file.fileno(), HEAD if size is None else size, 0)

    def windows(self) -> Iterator[Window]:
        """The lines that are there, and those that are added; what the last line lacks is waited for."""
        offset, rest, fresh = self._start, b"", True
        while not self._patience.over:
            chunk = self._more()
            if self._turned:
                self._turned = False
                if rest:
                    yield Window(offset, rest)
                    offset, rest = offset + len(rest), b""
            if chunk:
                fresh = True
                data = rest + chunk
                cut = data.rfind(b"\n") + 1 or (len(data) if len(data) >= WINDOW else 0)
                keep = _ahead(data, cut)
                if keep:
                    yield Window(offset, data[:cut], partial=data[cut - 1 : cut] != b"\n", ahead=cut - keep)
                    offset += keep
                rest = data[keep:]
                continue
            if not fresh and (cut := rest.rfind(b"\n") + 1):  # what was kept to stand beside the next lines
                yield Window(offset, rest[:cut])
                offset, rest = offset + cut, rest[cut:]
            fresh = False
            yield Window(offset, b"")
        if rest:
            yield Window(offset, rest)

    def chunks(self, again: int = 0) -> Iterator[bytes]:
        """The bytes that are there, and those that are added; a binary recording ends where another begins."""
        return shown_again(self._added(), again)

    def _added(self) -> Iterator[bytes]:
        while not self._patience.over:
            chunk = self._more()
            if self._turned:
                self._told(self.name, "this is another recording now; follow it anew")
                return
            if chunk:
                yield chunk
            elif not self._patience.wait():
                return

    def _more(self) -> bytes:
        """What has been added, also to a file that has taken the place of this one; nothing where nothing has."""
        chunk = self._read()
        if chunk:
            return chunk
        here = os.fstat(self._file.fileno())
        if here.st_size < self._left:
            self._told(self.name, f"has been truncated to {here.st_size} bytes; it is read from its start")
            return self._anew()
        try:
            there = Path(self.path).stat()
        except OSError:  # it has been moved away, and nothing has come in its place yet
            return b""
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return b""
        if chunk := self._read():  # written after the last look, before the file was moved away
            return chunk
        try:
            file = Path(self.path).open("rb", buffering=0)  # noqa: SIM115
        except OSError:
            return b""
        self._file.close()
        self._file = file
        self._told(self.name, "has been rotated; the new file is read")
        return self._anew()

    def _anew(self) -> bytes:
        self._left, self._turned = 0, True
        return self._read()

    def _read(self) -> bytes:
        chunk = os.pread(self._file.fileno(), WINDOW, self._left)
        self._left += len(chunk)
        if chunk:
            self._patience.came()
        return chunk

    def _last_line(self) -> int:
        """Where the line begins that is being written."""
        size = os.fstat(self._file.fileno()).st_size
        begin = max(0, size - HEAD)
        tail = os.pread(self._file.fileno(), size - begin, begin)
        return begin + tail.rfind(b"\n") + 1 if b"\n" in tail else size if begin else 0


def _ahead(data: bytes, cut: int) -> int:
    """Where the lines begin that the next window shows once more; the start, where there are no others."""
    keep = cut
    for _ in range(AHEAD):
        keep = data.rfind(b"\n", 0, keep - 1) + 1 if keep > 1 else 0
    return keep or (cut if cut >= WINDOW else 0)
