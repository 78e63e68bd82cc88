"""The protocol explained: pages made from the project's declarations alone, found by the words of the user.

Law: `dissectors.platform` and `xptrace.model`; no fact of theirs is written a second time here. Each kind of thing has
a file of its own, and a word that means several things is explained as each of them::

    $ xptrace explain linux
    product 3: linux
    driver linux: Linux (pvops), 2.6.36 and later
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from xptrace.errors import XptraceError
from xptrace.views.escape import printable
from xptrace.views.explanation.drivers import DRIVER
from xptrace.views.explanation.findings import PHASE, RULE, VERDICT
from xptrace.views.explanation.functions import FIELD, IDENTITY
from xptrace.views.explanation.numbers import BUILD, CONSTANT, PRODUCT
from xptrace.views.explanation.page import Kind, Page, page_lines
from xptrace.views.explanation.profiles import PROFILE
from xptrace.views.explanation.registers import PORT, REGISTER
from xptrace.views.explanation.unplug import BIT, MASK

__all__ = ["KINDS", "Page", "explain", "page_lines"]

KINDS: Final[tuple[Kind, ...]] = (
    REGISTER, PORT, MASK, BIT, CONSTANT, PRODUCT, BUILD, DRIVER, PROFILE, IDENTITY, FIELD, PHASE, VERDICT, RULE,
)  # fmt: skip
"""In the order in which they are listed, and in which a word with several meanings is explained."""


def explain(words: Sequence[str]) -> list[Page]:
    """The pages on these words, or the list of what there is where there are none; raises XptraceError.

    A word is a name, a kind with a name behind it, or the plural of a kind, for all of it.
    """
    if not words:
        return [_index()]
    pages = []
    left = list(words)
    while left:
        word = left.pop(0)
        kind = next((one for one in KINDS if word.lower() in (one.name, one.plural)), None)
        if kind is None:
            pages += _anything(word)
        elif left and word.lower() == kind.name:
            pages += _of(kind, left.pop(0))
        else:
            pages.append(kind.pages())
    return pages


def _index() -> Page:
    """Every kind, with its names."""
    shown = {kind.plural: tuple((kind.shown or kind.names)()) for kind in KINDS}
    return Page("xptrace", "explain", "a name of these, a kind and a name (`product 3`), or the word for a kind", shown)


def _anything(word: str) -> list[Page]:
    found = [page for kind in KINDS for page in kind.find(word.lower())]
    if not found:
        names = [name for kind in KINDS for name in (*kind.names(), kind.name, kind.plural)]
        raise XptraceError(f"nothing is called {printable(word)!r}; {_hint(word, names)}")
    return found


def _of(kind: Kind, word: str) -> list[Page]:
    found = kind.named(word.lower())
    if not found:
        raise XptraceError(f"no {kind.name} {printable(word)!r}; {_hint(word, list(kind.names()))}")
    return found


def _hint(word: str, names: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in names}
    near = [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, 3, 0.6)]
    return f"did you mean {' or '.join(near)}?" if near else "`xptrace explain` lists what there is"
