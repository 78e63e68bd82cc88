"""Delta debugging: the smallest part of a sequence that still does what the whole does.

Law: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002), the algorithm ddmin. Of its two
steps only the reduction to a complement is taken: a part of a recording that does it alone is found by coarser steps
before this one. The result is 1-minimal: it no longer does it without any one of its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Element = TypeVar("Element")


class OutOfTrials(Exception):  # noqa: N818 - it ends a search, and is no error
    """No more trials are allowed."""


def reduce(
    whole: Sequence[Element], holds: Callable[[Sequence[Element]], bool], take: Callable[[Sequence[Element]], None],
) -> None:
    """Reduce a sequence that holds; `take` is given each smaller one that holds, too, the smallest last.

    `holds` may raise OutOfTrials, which is handed on.
    """
    left = list(whole)
    parts = 2
    while left:
        size = -(-len(left) // parts)
        reduced = False
        at = 0
        while at < len(left):
            rest = left[:at] + left[at + size :]
            if holds(rest):
                left, reduced = rest, True
                take(left)
            else:
                at += size
        if size == 1 and not reduced:
            return
        parts = min(len(left), 2 * parts) if size > 1 else len(left)
