"""A filter run over rows, one after the other, as they are decoded: a function made once, of functions.

A condition gives True, False, or None where it is unknown (`xptrace.filter.plan`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from xptrace.filter.computed import MASK, mask_of
from xptrace.filter.fields import Field
from xptrace.filter.moments import DAY_NS
from xptrace.filter.plan import (
    BITS_64,
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

Row = Mapping[str, Any]
Test = Callable[[Row], bool | None]
Get = Callable[[Row], Any]

ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}
_BITS: Final[dict[str, Callable[[int, int], int]]] = {"&": operator.and_, "|": operator.or_, "^": operator.xor}


def test_of(condition: Condition) -> Test:
    """A function from a row to whether the condition holds, None where that is unknown."""
    match condition:
        case Both(parts):
            return _all([test_of(part) for part in parts])
        case AnyOf(parts):
            return _any([test_of(part) for part in parts])
        case Opposite(part):
            return _opposite(test_of(part))
        case Ordered(order, left, right):
            return _ordered(ORDERS[order], _number(left), _number(right))
        case AnyBit(number):
            return _known(_number(number), bool)
        case Timed():
            return _timed(condition)
        case OneOf(field, words):
            return _known(_value(field), words.__contains__)
        case Contains(field, part):
            return _known(_value(field), lambda text: part in text)
        case Matches(field, pattern):
            return _known(_value(field), pattern.search)
        case Same(left_field, right_field):
            return _ordered(operator.eq, _value(left_field), _value(right_field))
        case Flag(field):
            return _known(_value(field), bool)
        case Present(field):
            get = _value(field)
            return lambda row: get(row) is not None


def _value(field: Field) -> Get:
    if field.name == MASK:
        return mask_of
    name = "time_ns" if field.type == "time" else field.name
    return lambda row: row.get(name)


def _number(number: Integer) -> Get:
    match number:
        case Number(field):
            return _value(field)
        case Constant(value):
            return lambda _: value
        case Inverted(part):
            inner = _number(part)
            return lambda row: None if (value := inner(row)) is None else ~value & BITS_64
        case BitsOf(sign, parts):
            return _bits(_BITS[sign], [_number(part) for part in parts])


def _bits(combine: Callable[[int, int], int], parts: list[Get]) -> Get:
    def get(row: Row) -> int | None:
        result: int | None = None
        for part in parts:
            value = part(row)
            if value is None:
                return None
            result = value & BITS_64 if result is None else combine(result, value & BITS_64)
        return result

    return get


def _all(parts: list[Test]) -> Test:
    def test(row: Row) -> bool | None:
        whole: bool | None = True
        for part in parts:
            holds = part(row)
            if holds is False:
                return False
            if holds is None:
                whole = None
        return whole

    return test


def _any(parts: list[Test]) -> Test:
    def test(row: Row) -> bool | None:
        whole: bool | None = False
        for part in parts:
            holds = part(row)
            if holds:
                return True
            if holds is None:
                whole = None
        return whole

    return test


def _opposite(part: Test) -> Test:
    return lambda row: None if (holds := part(row)) is None else not holds


def _known(get: Get, asks: Callable[[Any], bool]) -> Test:
    return lambda row: None if (value := get(row)) is None else asks(value)


def _ordered(order: Callable[[Any, Any], bool], left: Get, right: Get) -> Test:
    def test(row: Row) -> bool | None:
        one, other = left(row), right(row)
        return None if one is None or other is None else order(one, other)

    return test


def _timed(asked: Timed) -> Test:
    order, at = ORDERS[asked.order], asked.moment

    def test(row: Row) -> bool | None:
        time_ns = row.get("time_ns")
        if time_ns is None or row.get("clock") not in at.clocks:
            return None
        return order(time_ns % DAY_NS if at.of_day else time_ns, at.time_ns)

    return test
