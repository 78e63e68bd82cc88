"""Entries that are known but must wait: for their function to become known, or for what began before them."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final

from xptrace.access.rows import Entry, Event
from xptrace.access.spaces import Function
from xptrace.intake.ledger import Ledger

MOST_HELD: Final = 10_000
"""Accesses that wait for their function to become known; beyond that, the oldest is taken for another device's."""


class ForFunction:
    """Hands entries on in order, unless one waits for its function to become known; the ledger counts those."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing waits."""
        self._ledger = ledger
        self._held: deque[tuple[Entry, Function | None]] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._held)

    def emit(self, entry: Entry, function: Function | None) -> Iterator[Entry]:
        """Hand an entry on, unless it, or one before it, waits."""
        unknown = function is not None and function.ours is None
        if not self._held and not unknown:
            yield self._settle(entry)
            return
        self._held.append((entry, function))
        yield from self.drain()
        if len(self._held) > MOST_HELD:
            self._held.popleft()
            yield from self.drain()

    def drain(self) -> Iterator[Entry]:
        """Hand on what waits no longer."""
        while self._held:
            entry, function = self._held[0]
            if function is not None and function.ours is None:
                return
            self._held.popleft()
            if function is None or function.ours:
                yield self._settle(entry)

    def finish(self) -> Iterator[Entry]:
        """Hand on what is ours; what is still unknown is another device's."""
        for entry, function in self._held:
            if function is None or function.ours:
                yield self._settle(entry)
        self._held.clear()

    def _settle(self, entry: Entry) -> Entry:
        for record in () if isinstance(entry, Event) else entry.records:  # an event was counted when it was read
            self._ledger.decode(record)
        return entry


class ForTurn:
    """Puts entries in the order in which they began."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._ready: list[tuple[int, int, Entry]] = []
        self._sequence = itertools.count()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._ready)

    def put(self, entry: Entry) -> None:
        """One more entry, which began with its first record."""
        heapq.heappush(self._ready, (entry.records[0].offset, next(self._sequence), entry))

    def take(self, before: int | None = None) -> Iterator[Entry]:
        """What began before an offset, or all."""
        while self._ready and (before is None or self._ready[0][0] < before):
            yield heapq.heappop(self._ready)[2]
