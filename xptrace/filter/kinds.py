"""Which kinds of row a filter can be true of at all, so that a rule can say what evidence it needs.

A row of a kind misses the fields that its kind does not have; what rests on them is unknown, whatever the row.
"""

from __future__ import annotations

from typing import NamedTuple

from xptrace.filter.fields import Field
from xptrace.filter.plan import (
    AnyBit,
    AnyOf,
    BitsOf,
    Both,
    Condition,
    Constant,
    Contains,
    Flag,
    Integer,
    Inverted,
    Matches,
    Number,
    OneOf,
    Opposite,
    Ordered,
    Present,
    Same,
    Timed,
)


class _Can(NamedTuple):
    """Whether a condition can be true of a row, and whether it can be false."""

    hold: bool
    fail: bool


def can_hold(condition: Condition, kind: str) -> bool:
    """Whether a row of that kind can be one for which the condition is true."""
    return _can(condition, kind).hold


def _can(condition: Condition, kind: str) -> _Can:
    match condition:
        case Both(parts):
            each = [_can(part, kind) for part in parts]
            return _Can(all(one.hold for one in each), any(one.fail for one in each))
        case AnyOf(parts):
            each = [_can(part, kind) for part in parts]
            return _Can(any(one.hold for one in each), all(one.fail for one in each))
        case Opposite(part):
            inner = _can(part, kind)
            return _Can(inner.fail, inner.hold)
        case OneOf(field, words) if field.name == "kind":
            return _Can(kind in words, kind not in words)
        case Present(field):
            return _Can(_has(field, kind), fail=True)
        case Ordered(_, left, right):
            known = _told(left, kind) and _told(right, kind)
        case AnyBit(number):
            known = _told(number, kind)
        case Same(one_field, other_field):
            known = _has(one_field, kind) and _has(other_field, kind)
        case Timed(field=field) | OneOf(field) | Contains(field) | Matches(field) | Flag(field):
            known = _has(field, kind)
    return _Can(known, known)


def _has(field: Field, kind: str) -> bool:
    return kind in field.kinds


def _told(number: Integer, kind: str) -> bool:
    match number:
        case Number(field):
            return _has(field, kind)
        case Constant():
            return True
        case Inverted(part):
            return _told(part, kind)
        case BitsOf(_, parts):
            return all(_told(part, kind) for part in parts)
