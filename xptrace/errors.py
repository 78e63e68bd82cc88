"""The one exception that users meet: an input or a request that cannot be served, in one line."""

from __future__ import annotations


class XptraceError(Exception):
    """Something the user gave cannot be used; the message is one line and says what to try."""

    place: tuple[str, int, int] | None = None
    """A text that was given, and where in it the fault begins and ends, if it is one that can be pointed at."""
