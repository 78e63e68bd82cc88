"""Reading ahead: a thread fetches the next items while this one is worked on.

It is worth while where one of the two lets go of the interpreter's lock: reading, decompressing, what the kernel does,
what Arrow does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SLICE_S: Final = 0.1
"""The longest that it takes the thread to see that no more is wanted."""


@dataclass(frozen=True, slots=True)
class _Ready(Generic[T]):
    item: T


@dataclass(frozen=True, slots=True)
class _Over:
    error: BaseException | None


def ahead(items: Iterator[T], most: int = 2) -> Iterator[T]:
    """The items, in order, of which so many may lie ready; an error on the way to one is raised in its place.

    The first two are fetched by the caller's own thread: of most sources there is but one.
    """
    yield from islice(items, 2)
    ready: queue.Queue[_Ready[T] | _Over] = queue.Queue(most)
    unwanted = threading.Event()

    def put(entry: _Ready[T] | _Over) -> None:
        while not unwanted.is_set():
            try:
                ready.put(entry, timeout=_SLICE_S)
            except queue.Full:
                continue
            return

    def fetch() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(_Ready(item))
                if unwanted.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is waited for
            error = raised
        put(_Over(error))

    thread = threading.Thread(target=fetch, name="xptrace-ahead", daemon=True)
    thread.start()
    try:
        while isinstance(entry := ready.get(), _Ready):
            yield entry.item
        if entry.error is not None:
            raise entry.error
    finally:
        unwanted.set()
        thread.join()
