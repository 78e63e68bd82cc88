"""The bytes of a source that are still held while it is read from first to last."""

from __future__ import annotations

from collections.abc import Iterable


class Held:
    """A source's bytes from some place on; `at` is the place in them that is looked at."""

    __slots__ = ("_chunks", "at", "base", "data")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.data, self.base, self.at = b"", 0, 0

    @property
    def offset(self) -> int:
        """Where in the source `at` is."""
        return self.base + self.at

    @property
    def left(self) -> int:
        """How many bytes are held from `at` on."""
        return len(self.data) - self.at

    def reach(self, count: int) -> bool:
        """Whether so many bytes are there from `at` on; takes chunks until they are."""
        if self.left >= count:
            return True
        parts, have = [self.data[self.at :]], self.left
        while have < count and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        self.base += self.at
        self.data, self.at = b"".join(parts), 0
        return have >= count
