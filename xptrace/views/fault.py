"""Where a filter or the like is at fault, for the eye: the text, and a caret under the place.

::

    vm == "win10" && registr == unplug_mask
                     ^^^^^^^
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from xptrace.views.escape import printable

_AROUND: Final = 60
"""Characters of a long text that are shown on either side of the fault."""


def picture(text: str, begins: int, ends: int) -> Iterator[str]:
    """The line with the text, cut where it is long, and the line with the carets below the fault."""
    source = re.sub(r"\s", " ", text)
    start, end = max(0, begins - _AROUND), min(len(source), ends + _AROUND, begins + 2 * _AROUND)
    before = ("…" if start else "") + printable(source[start:begins])
    fault, after = printable(source[begins : min(end, ends)]), printable(source[min(end, ends) : end])
    yield f"    {before}{fault}{after}{'…' if end < len(source) else ''}"
    yield f"    {' ' * _cells(before)}{'^' * max(1, _cells(fault))}"


def _cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))
