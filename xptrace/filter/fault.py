"""What is wrong with a filter, and where in it."""

from __future__ import annotations

from typing import Final

from xptrace.errors import XptraceError

_LONGEST_QUOTE: Final = 60


class FilterError(XptraceError):
    """A filter that cannot be used: one line that says why and what to try, and the place in `source` at fault."""

    def __init__(self, source: str, start: int, end: int, what: str, hint: str = "") -> None:
        self.source, self.start, self.end = source, start, max(end, start + 1)
        self.place = self.source, self.start, self.end
        super().__init__(f"filter, character {start + 1}: {what}{'; ' + hint if hint else ''}")


def quoted(text: str) -> str:
    """A piece of a filter as it stands in a message: on one line, and cut where it is long."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 1]}…")
