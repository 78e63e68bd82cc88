"""A flow of bytes, in parts as they come, that can be looked at before it is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator


class BrokenOff(Exception):  # noqa: N818 - it ends a flow as an end of file does, and is no error of the program
    """A flow ends before what it should have held; the message says why. What came before it counts."""


Chunks = Generator[bytes, None, None]
"""Parts of a flow, of any size, none of them empty; it may end in BrokenOff."""


class Flow:
    """Chunks with a look ahead. It ends where they break off; `broken` says why, from then on."""

    def __init__(self, chunks: Chunks) -> None:
        """Nothing is read before it is asked for."""
        self._chunks = chunks
        self._ahead: deque[bytes] = deque()
        self._held = 0
        self._over = False
        self.broken: str | None = None

    def _more(self) -> bool:
        if self._over:
            return False
        try:
            chunk = next(self._chunks, b"")
        except BrokenOff as error:
            self.broken, chunk = str(error), b""
        if not chunk:
            self._over = True
            return False
        self._ahead.append(chunk)
        self._held += len(chunk)
        return True

    def peek(self, size: int) -> bytes:
        """The next bytes, up to `size`, which stay where they are."""
        while self._held < size and self._more():
            pass
        if len(self._ahead) > 1:
            whole = b"".join(self._ahead)
            self._ahead.clear()
            self._ahead.append(whole)
        return self._ahead[0][:size] if self._ahead else b""

    def read(self, size: int) -> bytes:
        """The next bytes: `size` of them, unless the flow ends before that."""
        while self._held < size and self._more():
            pass
        parts = []
        while size > 0 and self._ahead:
            part = self._ahead.popleft()
            if len(part) > size:
                self._ahead.appendleft(part[size:])
                part = part[:size]
            parts.append(part)
            size -= len(part)
            self._held -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def next(self) -> bytes:
        """The next bytes, as many as there are in one piece; none where the flow ends."""
        if not self._ahead and not self._more():
            return b""
        piece = self._ahead.popleft()
        self._held -= len(piece)
        return piece

    def skip(self, size: int) -> None:
        """Pass over the next bytes: so many, unless the flow ends before that."""
        while size > 0 and (piece := self.next()):
            self.give_back(piece[size:])
            size -= len(piece)

    def give_back(self, data: bytes) -> None:
        """Put back what was read too far."""
        if data:
            self._ahead.appendleft(data)
            self._held += len(data)

    def chunks(self) -> Chunks:
        """All that is left, as it comes; ends in BrokenOff where the flow breaks off."""
        while self._ahead or self._more():
            part = self._ahead.popleft()
            self._held -= len(part)
            yield part
        if self.broken is not None:
            raise BrokenOff(self.broken)

    def close(self) -> None:
        """Nothing more is wanted: let go of the file."""
        self._chunks.close()
        self._ahead.clear()
        self._held = 0
        self._over = True
