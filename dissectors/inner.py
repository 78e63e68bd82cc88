r"""Records inside of something that carried them: a journal's entry, a mail. The dissectors of lines read them.

Law: the contract of `dissectors`: a line is shown to a dissector whose needle is in it, and so is the line after it::

    {"SYSLOG_IDENTIFIER":"qemu-system-i386","MESSAGE":"cpu_in addr 0x10(w) value 18898", ...}
    > cpu_in addr 0x10(w) value 18898
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dissectors import Dissector, Given, Lines, dissectors, is_ours
from dissectors.record import Damage, Loss, Record

LONGEST_LINE: Final = 1 << 16
"""A record of ours is shorter than this; of a longer line only so much is looked at."""


class Bytes:
    """The bytes of a source, taken line by line or by number; nothing is held but the chunk that is being read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._at = 0
        self.offset = 0
        """How many bytes have been taken."""
        self._noted = bytearray()

    def note(self, begun: bytes) -> None:
        """Begin to note what is taken, after what `begun` it; `noted` tells it."""
        self._noted = bytearray(begun[:LONGEST_LINE])

    def noted(self, length: int) -> bytes:
        """The first `length` bytes of what has been noted, at most those of a long line."""
        return bytes(self._noted[:length])

    def _more(self) -> bool:
        """Whether there is at least one byte, once the next chunk has been asked for."""
        while self._at >= len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk, self._at = chunk, 0
        return True

    def line(self, most: int) -> tuple[bytes, int]:
        """The next line with its newline, or its first `most` bytes, and its length; (b"", 0) at the end."""
        parts: list[bytes] = []
        kept = length = 0
        while self._more():
            newline = self._chunk.find(b"\n", self._at)
            end = newline + 1 or len(self._chunk)
            if kept < most:
                parts.append(self._chunk[self._at : min(end, self._at + most - kept)])
                kept += len(parts[-1])
                self._noted += parts[-1][: max(LONGEST_LINE - len(self._noted), 0)]
            length += end - self._at
            self._at = end
            if newline >= 0:
                break
        self.offset += length
        return b"".join(parts), length

    def take(self, count: int, *, keep: bool = True) -> bytes:
        """The next `count` bytes, fewer at the end; nothing of them unless they are to be kept."""
        parts: list[bytes] = []
        while count > 0 and self._more():
            part = self._chunk[self._at : self._at + count]
            self._at += len(part)
            self.offset += len(part)
            count -= len(part)
            self._noted += part[: max(LONGEST_LINE - len(self._noted), 0)]
            if keep:
                parts.append(part)
        return b"".join(parts)


@dataclass(slots=True)
class _Reader:
    """One dissector of lines at work."""

    dissector: Dissector
    lines: Lines
    near: bool = False
    """Whether its needle was in the last line."""

    def wants(self, line: bytes, *, goes_on: bool) -> bool:
        """Whether the line is to be shown to it. After one with a needle, or after one that goes on, so is the next."""
        needles: tuple[re.Pattern[bytes], ...] = self.dissector.needles
        hit = any(needle.search(line) for needle in needles)
        wanted = hit or self.near
        self.near = hit or (goes_on and wanted)
        return wanted


class Inner:
    """Every dissector of lines, at work on lines that somebody else restored."""

    def __init__(self, given: Given, *, everything: bool = False) -> None:
        """Show them the lines that they ask for, or `everything`."""
        self._everything = everything
        self._source = given.source
        self._readers = [_Reader(one, one.lines(given)) for one in dissectors().values() if one.lines is not None]

    def read(
        self, line: bytes, offset: int, number: int, length: int, *, but: str | None = None, only: str | None = None,
        goes_on: bool = False,
    ) -> Iterator[Record | Damage | Loss]:
        """What the dissectors say of a line, but for those of one vantage, or only those of one.

        `offset`, `number` and `length` are those of what carried it. After one that `goes_on`, the next is shown.
        """
        line = line[:LONGEST_LINE]
        for reader in self._readers:
            vantage = reader.dissector.vantage
            if vantage == but or only not in (None, vantage):
                continue
            if self._everything or reader.wants(line, goes_on=goes_on):
                yield from self._guarded(reader, line, offset, number, length)

    def _guarded(
        self, reader: _Reader, line: bytes, offset: int, number: int, length: int
    ) -> Iterator[Record | Damage | Loss]:
        """What a dissector says; where a third party's fails, damage is what it says."""
        name = reader.dissector.name
        if is_ours(name):
            yield from reader.lines.read(line, offset, number, length)
            return
        try:
            yield from reader.lines.read(line, offset, number, length)
        except Exception as error:  # noqa: BLE001  whatever somebody else's code raises
            yield Damage(self._source, offset, length, number, f"{name} failed: {type(error).__name__}: {error}")

    def finish(self) -> Iterator[Record | Damage | Loss]:
        """What dissectors still keep when there is no further line."""
        for reader in self._readers:
            finish = getattr(reader.lines, "finish", None)
            if finish is not None and is_ours(reader.dissector.name):
                yield from finish()
