"""The account of what was read: decoded + other + damaged + lost = everything, in bytes and in lines.

Where a beginning was passed over because nothing of it was asked for, everything is that and what was skipped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dissectors.record import Damage, Loss, Record

_MOST_STRETCHES: Final = 1 << 12
"""Stretches that are remembered before those that are over are forgotten."""
KEPT_NOTES: Final = 1000
"""Damage and loss are counted without limit; their places are kept up to this many."""


@dataclass(slots=True)
class Account:
    """Bytes and lines of one kind."""

    bytes: int = 0
    lines: int = 0

    def add(self, length: int) -> None:
        """Count one line of `length` bytes."""
        self.bytes += length
        self.lines += 1


@dataclass(slots=True)
class Stretches:
    """Stretches of a source that have been counted: apart from each other, in order."""

    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)

    def add(self, start: int, end: int) -> int:
        """Take one more; returns how many of its bytes had not been counted."""
        if self._ends and start >= self._ends[-1]:  # as nearly always
            if start == self._ends[-1]:
                self._ends[-1] = end
            else:
                self._starts.append(start)
                self._ends.append(end)
            return end - start
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end, first)
        size = end - start
        if first < last:
            for known, until in zip(self._starts[first:last], self._ends[first:last], strict=True):
                size -= max(0, min(end, until) - max(start, known))
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return size

    def forget_before(self, offset: int) -> None:
        """No stretch that ends before this offset is asked for again."""
        if len(self._ends) > _MOST_STRETCHES:
            done = bisect_left(self._ends, offset)
            del self._starts[:done], self._ends[:done]


@dataclass(slots=True)
class Ledger:
    """The account of one source. A line is counted once, whatever it holds."""

    source: str
    total: Account = field(default_factory=Account)
    decoded: Account = field(default_factory=Account)
    damaged: Account = field(default_factory=Account)
    lost: Account = field(default_factory=Account)
    notes: list[Damage | Loss] = field(default_factory=list)
    skipped: Account = field(default_factory=Account)
    """What was passed over, unread, because nothing of it was asked for; it is no part of `total`."""
    told: Counter[str] = field(default_factory=Counter)
    """How many records, damaged ones and losses each dissector has told of."""
    truncated: str | None = None
    """Why the end of the input could not be read."""
    _settled: Stretches = field(default_factory=Stretches)
    _line: int | None = None
    """The number of the line that was counted last."""

    @property
    def other(self) -> Account:
        """What is neither ours, nor damaged, nor a report of loss."""
        return Account(
            self.total.bytes - self.decoded.bytes - self.damaged.bytes - self.lost.bytes,
            self.total.lines - self.decoded.lines - self.damaged.lines - self.lost.lines,
        )

    def decode(self, record: Record) -> None:
        """A record that has been used."""
        self._count(self.decoded, record)

    def plain(self, start: int, end: int, lines: int) -> None:
        """So many lines that have been used, one after the other, of which none has been counted yet."""
        self.decoded.bytes += self._settled.add(start, end)
        self.decoded.lines += lines

    def note(self, found: Damage | Loss) -> None:
        """A damaged line, or one that reports a loss."""
        self._count(self.damaged if isinstance(found, Damage) else self.lost, found)
        if len(self.notes) < KEPT_NOTES:
            self.notes.append(found)

    def _count(self, account: Account, what: Record | Damage | Loss) -> None:
        size = self._settled.add(what.offset, what.offset + what.length)
        account.bytes += size
        if size and what.line != self._line:  # else it is another part of a line that is longer than a window
            account.lines += 1
            self._line = what.line

    def forget_before(self, offset: int) -> None:
        """Nothing before this offset will be counted again: keep the memory of it no longer."""
        self._settled.forget_before(offset)

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """(kind, bytes, lines), the kinds adding up to the last row."""
        for kind, account in (("decoded", self.decoded), ("other", self.other), ("damaged", self.damaged),
                              ("lost", self.lost)):
            yield kind, account.bytes, account.lines
        if self.skipped.bytes:
            yield "skipped", self.skipped.bytes, self.skipped.lines
            yield "all", self.total.bytes + self.skipped.bytes, self.total.lines + self.skipped.lines
        else:
            yield "read", self.total.bytes, self.total.lines
