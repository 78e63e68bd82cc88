"""Reading ahead: a thread fetches the next items while this one is worked on.

It is worth while where one of the two lets go of the interpreter's lock: reading, decompressing, what the kernel does,
what Arrow does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Final, Generic, NamedTuple, Self, TypeVar

T = TypeVar("T")

_SLICE_S: Final = 0.1
"""The longest that it takes the thread to see that no more is wanted."""


class _Ready(NamedTuple, Generic[T]):
    item: T


class _Over(NamedTuple):
    error: BaseException | None


class Ahead(Generic[T]):
    """The items, in order, that a thread fetches from now on; it ends with the `with` block."""

    def __init__(self, items: Iterator[T], most: int) -> None:
        """So many may lie ready."""
        self._items = items
        self._ready: queue.Queue[_Ready[T] | _Over] = queue.Queue(most)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._fetch, name="xptrace-ahead", daemon=True)

    def __enter__(self) -> Self:
        """It begins."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No more is wanted."""
        self._unwanted.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        """Each item once; an error on the way to one is raised in its place."""
        while isinstance(entry := self._ready.get(), _Ready):
            yield entry.item
            del entry  # or it would be held while the next one is waited for
        if entry.error is not None:
            raise entry.error

    def _fetch(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._put(_Ready(item))
                if self._unwanted.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is waited for
            error = raised
        self._put(_Over(error))

    def _put(self, entry: _Ready[T] | _Over) -> None:
        while not self._unwanted.is_set():
            try:
                self._ready.put(entry, timeout=_SLICE_S)
            except queue.Full:
                continue
            return


def ahead(items: Iterator[T], most: int = 2) -> Iterator[T]:
    """The items, in order; the first two are fetched by the caller's own thread: of most sources there is but one."""
    yield from islice(items, 2)
    with Ahead(items, most) as rest:
        yield from rest
