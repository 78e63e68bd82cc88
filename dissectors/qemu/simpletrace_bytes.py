"""The bytes of a recording of simpletrace that are held while records are looked for in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_LONGEST_SIGN: Final = 32
"""Bytes of what is looked for."""


class Held:
    """The bytes of a source that are still held; `at` is the place in them that is looked at."""

    __slots__ = ("_again", "_chunks", "at", "base", "data", "doubtful")

    def __init__(self, chunks: Iterable[bytes], again: int = 0) -> None:
        """Nothing is held yet. Each chunk begins with so many of the last bytes of what was before it, or with all."""
        self._chunks, self._again = iter(chunks), again
        self.data, self.base, self.at = b"", 0, 0
        self.doubtful: int | None = None
        """Offset of a record that was passed over, and whose length nothing has confirmed yet."""

    @property
    def offset(self) -> int:
        """Where in the source `at` is."""
        return self.base + self.at

    def reach(self, count: int) -> bool:
        """Whether so many bytes are there from `at` on; takes chunks until they are, and lets go of what is over."""
        while len(self.data) - self.at < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            offset = max(self.base + len(self.data) - self._again, 0)
            keep = self.offset if self.doubtful is None else self.doubtful
            if keep < offset:
                chunk, offset = self.data[keep - self.base : offset - self.base] + chunk, keep
            self.at += self.base - offset
            self.data, self.base = chunk, offset
        return True

    def seek(self, sign: re.Pattern[bytes]) -> bool:
        """Go to the next place that has the sign; to the end where none has."""
        while True:
            if found := sign.search(self.data, self.at):
                self.at = found.start()
                return True
            self.at = max(self.at, len(self.data) - _LONGEST_SIGN)
            if not self.reach(len(self.data) - self.at + 1):
                self.at = len(self.data)
                return False
