"""A filter run over the columns of a table at once: no row is looked at on its own.

A condition is two masks, of the rows where it is true and of those where it is false; where neither is set it is
unknown. Texts are numbered by their distinct values, and what is asked of a text is asked of each of these once.
Integers are int64 or uint64 as their column is, and compared as the numbers that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import reduce
from typing import Any, Final, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xptrace.errors import XptraceError
from xptrace.filter.computed import ASKING, MASK
from xptrace.filter.fields import Field
from xptrace.filter.moments import DAY_NS
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
    Order,
    Ordered,
    Present,
    Same,
    Timed,
)

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64] | NDArray[np.uint64]

_ORDERS: Final[dict[Order, Callable[[Any, Any], Any]]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}
_MIRRORED: Final[dict[Order, Order]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BITS: Final[dict[str, Callable[[Any, Any], Any]]] = {"&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor}


class Kleene(NamedTuple):
    """Where a condition is true, and where it is false."""

    true: Mask
    false: Mask

    @classmethod
    def of(cls, holds: Mask, known: Mask) -> Kleene:
        """A condition that is known only where its values are."""
        return cls(holds & known, ~holds & known)


class Known(NamedTuple):
    """Integers, and where they are known; of one number in place of a column, `known` is of one element too."""

    values: Numbers
    known: Mask


class Coded(NamedTuple):
    """Texts by their number among the distinct ones, -1 where missing."""

    codes: NDArray[np.intp]
    distinct: list[str]


def chosen(condition: Condition, frame: pd.DataFrame, kind: str | None) -> Mask:
    """Which rows the condition is true for; `kind` is that of all rows of a table without such a column."""
    return _Table(frame, kind).run(condition).true


class _Table:
    """One table while a filter runs over it: what was made of a column is kept."""

    def __init__(self, frame: pd.DataFrame, kind: str | None) -> None:
        self._frame, self._kind = frame, kind
        self._numbers: dict[str, Known] = {}
        self._texts: dict[str, Coded] = {}

    def _nothing(self) -> Mask:
        return np.zeros(len(self._frame), np.bool_)

    def run(self, condition: Condition) -> Kleene:
        """Where the condition is true, and where false."""
        match condition:
            case Both(parts):
                done = [self.run(part) for part in parts]
                return Kleene(reduce(np.logical_and, [one.true for one in done]),
                              reduce(np.logical_or, [one.false for one in done]))
            case AnyOf(parts):
                done = [self.run(part) for part in parts]
                return Kleene(reduce(np.logical_or, [one.true for one in done]),
                              reduce(np.logical_and, [one.false for one in done]))
            case Opposite(part):
                inner = self.run(part)
                return Kleene(inner.false, inner.true)
            case Ordered(order, left, right):
                one, other = self._integer(left), self._integer(right)
                return Kleene.of(_compare(order, one.values, other.values), one.known & other.known)
            case AnyBit(number):
                values, known = self._integer(number)
                return Kleene.of(values != 0, known)
            case Timed(order, _, moment):
                times, known = self._number("time_ns")
                values = times % DAY_NS if moment.of_day else times
                comparable = self._asked("clock", moment.clocks.__contains__)
                return Kleene.of(_compare(order, values, _constant(moment.time_ns)), known & comparable.true)
            case OneOf(field, words):
                return self._asked(field.name, words.__contains__)
            case Contains(field, part_of_it):
                return self._asked(field.name, lambda text: part_of_it in text)
            case Matches(field, pattern):
                coded = self._text(field.name)
                return _by_word(coded, np.array(pattern.each(coded.distinct), np.bool_))
            case Same(one_field, other_field):
                return self._same(one_field.name, other_field.name)
            case Flag(field):
                return self._flag(field.name)
            case Present(field):
                present = self._present(field)
                return Kleene(present, ~present)

    # -- integers

    def _integer(self, number: Integer) -> Known:
        match number:
            case Number(field):
                return self._mask() if field.name == MASK else self._number(field.name)
            case Constant(value):
                return Known(_constant(value), np.ones(1, np.bool_))
            case Inverted(part):
                values, known = self._integer(part)
                return Known(~_unsigned(values), known)
            case BitsOf(operator, parts):
                done = [self._integer(part) for part in parts]
                return Known(reduce(_BITS[operator], [_unsigned(one.values) for one in done]),
                             reduce(np.logical_and, [one.known for one in done]))

    def _number(self, name: str) -> Known:
        if name not in self._numbers:
            self._numbers[name] = self._read_number(name)
        return self._numbers[name]

    def _read_number(self, name: str) -> Known:
        if name not in self._frame:
            return Known(np.zeros(len(self._frame), np.int64), self._nothing())
        column = self._frame[name]
        if not pd.api.types.is_integer_dtype(column.dtype):
            raise _wrong(column, "Int64")
        known = column.notna().to_numpy(np.bool_)
        unsigned = pd.api.types.is_unsigned_integer_dtype(column.dtype)
        values = column.fillna(0).to_numpy(np.uint64 if unsigned else np.int64)
        return Known(cast("Numbers", values), known)

    def _mask(self) -> Known:
        """What `xptrace.filter.computed.mask_of` gives of a row."""
        if MASK not in self._numbers:
            values, known = self._number("value")
            addresses, placed = self._number("address")
            values, addresses = _unsigned(values), _unsigned(addresses)
            written = self._asked("direction", "write".__eq__).true & known
            masks, asked = np.zeros(len(self._frame), np.uint64), self._nothing()
            for asks in ASKING:
                begins = addresses & np.uint64(asks.within - 1)
                reaches = (begins <= asks.offset) & (begins + np.uint64(8) > asks.offset) | ~placed
                here = self._asked("register", asks.name.__eq__).true & written & reaches
                shift = np.where(here & placed, np.uint64(8) * (np.uint64(asks.offset) - begins), np.uint64(0))
                part = values >> shift & np.uint64((1 << 8 * asks.size) - 1)
                if asks.masks is None:
                    masks[here], asked[here] = part[here], True
                    continue
                for value, mask in asks.masks.items():
                    hit = here & (part == value)
                    masks[hit], asked[hit] = mask, True
            self._numbers[MASK] = Known(masks, asked)
        return self._numbers[MASK]

    # -- texts

    def _text(self, name: str) -> Coded:
        if name not in self._texts:
            self._texts[name] = self._read_text(name)
        return self._texts[name]

    def _read_text(self, name: str) -> Coded:
        if name not in self._frame:
            if name == "kind" and self._kind is not None:
                return Coded(np.zeros(len(self._frame), np.intp), [self._kind])
            return Coded(np.full(len(self._frame), -1, np.intp), [])
        column = self._frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes, distinct = column.cat.codes.to_numpy(np.intp), column.cat.categories.tolist()
        elif pd.api.types.is_string_dtype(column.dtype) or column.isna().all():
            codes, values = pd.factorize(column)
            distinct = list(values)
        else:
            raise _wrong(column, "string")
        if not all(isinstance(one, str) for one in distinct):
            raise _wrong(column, "string")
        return Coded(codes.astype(np.intp), distinct)

    def _asked(self, name: str, asks: Callable[[str], bool]) -> Kleene:
        coded = self._text(name)
        return _by_word(coded, np.fromiter(map(asks, coded.distinct), np.bool_, len(coded.distinct)))

    def _same(self, one: str, other: str) -> Kleene:
        left, right = self._text(one), self._text(other)
        numbers = {word: number for number, word in enumerate(left.distinct)}
        as_left = np.array([numbers.get(word, -2) for word in right.distinct] or [-2], np.intp)
        return Kleene.of(left.codes == as_left[right.codes], (left.codes >= 0) & (right.codes >= 0))

    # -- the rest

    def _flag(self, name: str) -> Kleene:
        if name not in self._frame:
            return Kleene(self._nothing(), self._nothing())
        column = self._frame[name]
        if not pd.api.types.is_bool_dtype(column.dtype):
            raise _wrong(column, "boolean")
        return Kleene.of(column.fillna(False).to_numpy(np.bool_), column.notna().to_numpy(np.bool_))

    def _present(self, field: Field) -> Mask:
        if field.name == MASK:
            return self._mask().known
        if field.name == "kind":
            return self._text("kind").codes >= 0
        name = "time_ns" if field.type == "time" else field.name
        return self._frame[name].notna().to_numpy(np.bool_) if name in self._frame else self._nothing()


def kind_of(columns: Collection[str]) -> str | None:
    """What kind all the rows of a table are, by the columns that only such a table has; None where that is not told."""
    signs = {"access": {"register", "direction"}, "message": {"text", "via"}, "event": {"topic", "subject"}}
    return next((kind for kind, sign in signs.items() if sign <= set(columns)), None)


def _wrong(column: pd.Series[Any], wanted: str) -> XptraceError:
    return XptraceError(f"column {str(column.name)!r} is {column.dtype}, and a filter needs {wanted}; "
                        "xptrace.frames.schema has the dtypes")


def _by_word(coded: Coded, holds: Mask) -> Kleene:
    return Kleene.of(np.append(holds, False)[coded.codes], coded.codes >= 0)


def _constant(value: int) -> Numbers:
    return np.array([value], np.int64) if value < 0 else np.array([value], np.uint64)


def _unsigned(values: Numbers) -> NDArray[np.uint64]:
    """The same 64 bits as a number from 0 on."""
    return values.view(np.uint64)


def _compare(order: Order, left: Numbers, right: Numbers) -> Mask:
    """How integers stand to each other, as numbers, also where only one side has a sign."""
    if left.dtype == right.dtype:
        return _plainly(order, left, right)
    if left.dtype == np.uint64:
        return _compare(_MIRRORED.get(order, order), right, left)
    negative, compared = left < 0, _plainly(order, _unsigned(left), right)
    return negative | compared if order in ("<", "<=", "!=") else ~negative & compared


def _plainly(order: Order, left: Numbers, right: Numbers) -> Mask:
    return cast("Mask", _ORDERS[order](left, right))
