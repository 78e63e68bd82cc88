"""The one exception that users meet: an input or a request that cannot be served, in one line."""

from __future__ import annotations


class XptraceError(Exception):
    """Something the user gave cannot be used; the message is one line and says what to try."""
