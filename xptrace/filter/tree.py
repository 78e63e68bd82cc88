"""A filter as a tree, as it is written: nothing in it is known to be right but its grammar.

Where a node stands in the source is kept for messages and is no part of what it says: two filters are equal where
they are written with the same words, whatever their blanks and parentheses. `str` writes a tree as text that reads as
the same tree::

    All((Compare("==", Word("register"), Word("unplug_mask")), Bits("&", (Word("value"), Literal("integer", "1", 1)))))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from xptrace.filter.lexer import Kind, Value

OR, AND, NOT, COMPARISON, BIT_OR, BIT_XOR, BIT_AND, INVERT, ATOM = range(1, 10)
"""How strongly operators bind, the weakest first: those of bits more than comparisons, unlike in C."""
OF_BITS: Final = {"|": BIT_OR, "^": BIT_XOR, "&": BIT_AND}


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of a filter; `start` and `end` are where it stands."""

    start: int = field(default=0, compare=False, kw_only=True, repr=False)
    end: int = field(default=0, compare=False, kw_only=True, repr=False)

    def __str__(self) -> str:
        """The part as text."""
        return _text(self)


@dataclass(frozen=True, slots=True)
class Word(Node):
    """A field, or a word of an enumeration."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A value, and how it is spelled."""

    kind: Kind
    spelled: str
    value: Value


@dataclass(frozen=True, slots=True)
class Range(Node):
    """From one literal to another, both included."""

    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class Bits(Node):
    """`&`, `|` or `^` over two or more."""

    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Inverted(Node):
    """`~` of one."""

    part: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`==`, `!=`, `<`, `<=`, `>`, `>=`, `contains` or `matches` between two."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Among(Node):
    """`in`: whether one is of a set."""

    subject: Node
    choices: tuple[Word | Literal | Range, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """The opposite of one."""

    part: Node


@dataclass(frozen=True, slots=True)
class All(Node):
    """Two or more that all must hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either(Node):
    """Two or more of which one must hold."""

    parts: tuple[Node, ...]


def _power(node: Node) -> int:
    match node:
        case Either():
            return OR
        case All():
            return AND
        case Not():
            return NOT
        case Compare() | Among():
            return COMPARISON
        case Bits(operator):
            return OF_BITS[operator]
        case Inverted():
            return INVERT
    return ATOM


def _inner(node: Node, above: int) -> str:
    """The part as text, in parentheses unless it binds more strongly than what it stands in."""
    return _text(node) if _power(node) > above else f"({_text(node)})"


def _text(node: Node) -> str:
    match node:
        case Word(name):
            return name
        case Literal(_, spelled):
            return spelled
        case Range(low, high):
            return f"{low.spelled}..{high.spelled}"
        case Either(parts):
            return " || ".join(_inner(part, OR) for part in parts)
        case All(parts):
            return " && ".join(_inner(part, AND) for part in parts)
        case Not(part):
            return f"!{_inner(part, INVERT)}"
        case Compare(operator, left, right):
            return f"{_inner(left, COMPARISON)} {operator} {_inner(right, COMPARISON)}"
        case Among(subject, choices):
            return f"{_inner(subject, COMPARISON)} in {{{', '.join(map(_text, choices))}}}"
        case Bits(operator, parts):
            return f" {operator} ".join(_inner(part, OF_BITS[operator]) for part in parts)
        case Inverted(part):
            return f"~{_inner(part, BIT_AND)}"
    raise TypeError(node)
