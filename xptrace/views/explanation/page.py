"""One thing explained, for people and for machines: a heading, and facts of which each is a text, words, or a table.

A kind of thing knows the names of its own, and makes a page of each.

A fact is printed beside its name, wrapped at the width that there is; where a table's last column would become too
narrow, it goes below the others::

    product 2: gplpv-windows
      driver   GPLPV
      sent by  gplpv  GPLPV (James Harper's drivers)  always 1
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

from xptrace.views.escape import paint

Row = tuple[str, ...]
Fact = str | tuple[str, ...] | list[Row]
"""A text, whose paragraphs begin lines of their own; the words of a list; or the rows of a table."""

_INDENT, _GAP = "  ", "  "
_NARROW, _NARROWEST = 34, 16
"""Characters that a last column needs, and those that the others keep where they make room for it."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is explained: its kind and name, what it is in a few words, and what there is to know, in order."""

    kind: str
    name: str
    title: str
    facts: Mapping[str, Fact]

    def row(self) -> dict[str, Any]:
        """The page for machines; facts without a content are left out."""
        facts = {name: fact for name, fact in self.facts.items() if fact}
        return {"kind": self.kind, "name": self.name, "title": self.title, "facts": facts}


Find = Callable[[str], list[Page]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing: the names of which each has a page, and how to find a page by a word in lower case.

    `find` takes a word that stands alone, and so only what can be nothing else; `named` one that follows the name of
    the kind. `shown` is what the index prints where the names are too many.
    """

    name: str
    plural: str
    names: Callable[[], Iterable[str]]
    find: Find
    named: Find
    shown: Callable[[], Iterable[str]] | None = None
    overview: Callable[[], Page] | None = None

    def pages(self) -> Page:
        """All of this kind on one page, with a line for each."""
        if self.overview is not None:
            return self.overview()
        rows: list[Row] = [(page.name, page.title) for name in self.names() for page in self.named(name.lower())]
        return Page("all", self.plural, f"`xptrace explain {self.name} NAME` tells more of one", {self.plural: rows})


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False) or [""]


def _columns(rows: Sequence[Row]) -> list[Row]:
    """Rows of one length, without columns in which nothing stands."""
    longest = max(map(len, rows))
    columns = list(zip(*((*row, *[""] * (longest - len(row))) for row in rows), strict=True))
    return list(zip(*(column for column in columns if any(column)), strict=True))


def _widths(rows: Sequence[Row], width: int) -> list[int] | None:
    """The widths of the columns, the widest narrowed, but not below its words, until the last has room; else None."""
    columns = list(zip(*rows, strict=True))
    *widths, needed = [max(map(len, column)) for column in columns]
    least = [max(_NARROWEST, *(len(word) for cell in column for word in cell.split())) for column in columns[:-1]]
    room = width - len(_GAP) * len(widths)
    while widths and room - sum(widths) < min(needed, _NARROW):
        spare = [at for at, shortest in enumerate(least) if widths[at] > shortest]
        if not spare:
            return None
        widths[max(spare, key=widths.__getitem__)] -= 1
    return [*widths, room - sum(widths)]


def _table(rows: Sequence[Row], width: int) -> Iterator[str]:
    """Aligned rows; a first cell that is the one above it is not repeated."""
    whole = _columns(rows)
    widths = _widths(whole, width)
    if widths is None:
        for row in whole:
            yield from _wrap(_GAP.join(filter(None, row[:-1])), width)
            yield from (f"{_INDENT * 2}{line}" for line in _wrap(row[-1], width - 2 * len(_INDENT)) if line)
        return
    for before, row in pairwise([(), *whole]):
        shown = ("", *row[1:]) if len(row) > 1 and before[:1] == row[:1] else row
        cells = [_wrap(cell, at) for cell, at in zip(shown, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            yield _GAP.join(f"{cell:<{at}}" for cell, at in zip(line, widths, strict=True)).rstrip()


def _fact(fact: Fact, width: int) -> Iterator[str]:
    if isinstance(fact, str):
        for paragraph in fact.split("\n\n"):
            yield from _wrap(paragraph, width)
    elif isinstance(fact, tuple):
        yield from _wrap(", ".join(fact), width)
    else:
        yield from _table(fact, width)


def page_lines(page: Page, width: int, *, colour: bool = False) -> Iterator[str]:
    """The lines of one page, none of them longer than the width."""
    for line in _wrap(f"{page.kind} {page.name}: {page.title}", width):
        yield paint(colour, "1", line)
    facts = {name: fact for name, fact in page.facts.items() if fact}
    label = max(map(len, facts), default=0)
    beside = len(_INDENT) + label + len(_GAP)
    for name, fact in facts.items():
        for number, line in enumerate(_fact(fact, width - beside)):
            shown = f"{name if number == 0 else '':<{label}}"
            painted = paint(colour and number == 0, "36", shown)
            yield f"{_INDENT}{painted}{_GAP}{line}".rstrip()
