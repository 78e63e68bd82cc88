"""What a filter asks, once its fields and types are known: the one form that both executions run.

A condition is true, false or unknown. It is unknown where it rests on what a recording does not tell: `value == 3` of
an access whose value is not recorded is not false, and its opposite not true. Conditions combine as in SQL (S. C.
Kleene's three-valued logic): false and unknown is false, true or unknown is true, the opposite of unknown is unknown.
A row is chosen where the whole is true. Whether something is there, is always known::

    Both((TextTest(register, "equals", {"unplug_mask"}), AnyBit(BitsOf("&", (Number(value), Constant(1))))))

Integers have 64 bits; what `&`, `|`, `^` and `~` give is unsigned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xptrace.filter.fields import Field
from xptrace.filter.moments import Moment
from xptrace.filter.pattern import Pattern

Order = Literal["==", "!=", "<", "<=", ">", ">="]
BITS_64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Number:
    """The value of an integer field."""

    field: Field


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the filter."""

    value: int


@dataclass(frozen=True, slots=True)
class BitsOf:
    """`&`, `|` or `^` of two or more; missing where one is."""

    operator: str
    parts: tuple[Integer, ...]


@dataclass(frozen=True, slots=True)
class Inverted:
    """All 64 bits the other way."""

    part: Integer


Integer = Number | Constant | BitsOf | Inverted


@dataclass(frozen=True, slots=True)
class Ordered:
    """How two integers stand to each other."""

    order: Order
    left: Integer
    right: Integer


@dataclass(frozen=True, slots=True)
class AnyBit:
    """Whether an integer is not 0."""

    number: Integer


@dataclass(frozen=True, slots=True)
class Timed:
    """How the time of the row stands to a moment; unknown where its clock and that moment have nothing in common."""

    order: Order
    field: Field
    moment: Moment


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether a text or the word of an enumeration is one of these."""

    field: Field
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a text contains another."""

    field: Field
    part: str


@dataclass(frozen=True, slots=True)
class Matches:
    """Whether a text holds what a pattern describes."""

    field: Field
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Same:
    """Whether two fields hold the same text."""

    left: Field
    right: Field


@dataclass(frozen=True, slots=True)
class Present:
    """Whether a field is there: never unknown."""

    field: Field


@dataclass(frozen=True, slots=True)
class Flag:
    """Whether a boolean field is true."""

    field: Field


@dataclass(frozen=True, slots=True)
class Opposite:
    """The opposite of a condition."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """All of several conditions."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several conditions."""

    parts: tuple[Condition, ...]


Condition = (
    Ordered | AnyBit | Timed | OneOf | Contains | Matches | Same | Present | Flag | Opposite | Both | AnyOf
)
