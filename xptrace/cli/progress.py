"""How far reading has come, on one line of a terminal that is written over, and is gone at the end.

::

    xptrace: 1.2 GB of 3.4 GB (35 %), 110.4 MB/s, 20 s left, 3 VMs, 41250 lines decoded
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import IO, Final

from xptrace.access.decode import Decoder

PATIENCE: Final = 2.0
"""Seconds before anything is said: most recordings are read by then."""
INTERVAL: Final = 0.2
"""Seconds from one line to the next."""
_WIDTH: Final = 80
_ERASE: Final = "\r\x1b[K"


class Progress:
    """Tells a terminal of the bytes that it is told of, of the decoder that has begun."""

    def __init__(self, terminal: IO[str], now: Callable[[], float] = time.monotonic) -> None:
        """Nothing is said yet."""
        self._terminal, self._now = terminal, now
        self._decoder: Decoder | None = None
        self._whole: int | None = None
        self._read = 0
        self._began = self._next = 0.0
        self._shown = False

    def begins(self, decoder: Decoder) -> None:
        """A decoder begins to read: what is told from now on is of it."""
        size = decoder.size
        self._decoder, self._read = decoder, 0
        self._whole = None if size is None else size + decoder.skipped
        self._began = self._now()
        self._next = self._began + PATIENCE

    def __call__(self, size: int) -> None:
        """So many bytes more have been read."""
        self._read += size
        now = self._now()
        if now >= self._next:
            self._next = now + INTERVAL
            self._show(", ".join(self._parts(now - self._began)))

    def ends(self) -> None:
        """Leave the line as it was before."""
        if self._shown:
            self._terminal.write(_ERASE)
            self._terminal.flush()
            self._shown = False

    def _parts(self, seconds: float) -> Iterator[str]:
        rate = self._read / seconds if seconds > 0 else 0.0
        of_whole = left = ""
        whole = self._whole
        if whole is not None and self._decoder is not None:
            whole -= self._decoder.skipped  # which is known when the turn of a source comes
        if whole is not None and whole >= self._read > 0:  # it may have grown since
            of_whole = f" of {size_text(whole)} ({100 * self._read // whole} %)"
            left = f"{_duration((whole - self._read) / rate)} left" if rate else ""
        yield size_text(self._read) + of_whole
        yield f"{size_text(int(rate))}/s"
        if left:
            yield left
        if self._decoder is not None:
            vms = len(self._decoder.vms)
            yield f"{vms} VM{'s' * (vms != 1)}"
            yield f"{sum(ledger.decoded.lines for ledger in self._decoder.ledgers)} lines decoded"

    def _show(self, text: str) -> None:
        line = f"xptrace: {text}"[: _columns(self._terminal) - 1]  # a line that wraps cannot be written over
        self._terminal.write(f"{_ERASE}{line}")
        self._terminal.flush()
        self._shown = True


def size_text(count: int) -> str:
    """A number of bytes, for people."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02} h"


def _columns(terminal: IO[str]) -> int:
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        return _WIDTH
