r"""The regular expressions of `matches`, in time that grows with the text and not with what a pattern makes of it.

Law: RE2's syntax (https://github.com/google/re2/wiki/Syntax), which pyarrow carries: no back references, no looking
around, repetitions of at most 1000. Guest text may be made to let a backtracking matcher run for years, and a pattern
may by accident; this one visits each character once::

    text matches r"(?i)^(bugcheck|panic)"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MOST_REMEMBERED: Final = 4096
"""Texts of which the answer is kept; meanings come again and again, and each call costs more than its search."""


class Pattern:
    """One pattern; equal patterns are equal. Raises ValueError, with the reason, for what is none."""

    __slots__ = ("_remembered", "expression")

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._remembered: dict[str, bool] = {}
        try:
            self.each([""])
        except ValueError as error:  # of what pyarrow raises and of lone surrogates, ValueError is the common base
            raise ValueError(str(error).removeprefix("Invalid regular expression: ")) from None

    def __eq__(self, other: object) -> bool:
        """Whether it is the same expression."""
        return isinstance(other, Pattern) and other.expression == self.expression

    def __hash__(self) -> int:
        """By the expression."""
        return hash(self.expression)

    def each(self, texts: Sequence[str]) -> list[bool]:
        """Whether each of the texts holds what the pattern describes."""
        import pyarrow as pa
        from pyarrow import compute

        whole = [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        column = pa.array(whole, pa.large_string())
        found: list[bool] = compute.match_substring_regex(column, self.expression).to_pylist()
        return found

    def search(self, text: str) -> bool:
        """Whether the text holds what the pattern describes."""
        known = self._remembered.get(text)
        if known is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[text] = self.each([text])[0]
        return known
