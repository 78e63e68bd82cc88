"""From what is written to what is asked: fields and words are looked up, and types that do not go together refused.

Every refusal says what is wrong, where, and what was probably meant::

    filter, character 1: there is no field 'registr'; did you mean register?
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from xptrace.filter.computed import MASK
from xptrace.filter.fault import FilterError, quoted
from xptrace.filter.fields import ENTRIES, Field, Table, Type, table
from xptrace.filter.moments import Moment, moment, since_origin
from xptrace.filter.pattern import Pattern
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
from xptrace.filter.tree import All, Among, Bits, Compare, Either, Literal, Node, Not, Range, Word
from xptrace.filter.tree import Inverted as InvertedBits

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NAMES: Final = {
    "integer": "a number", "text": "text", "enumeration": "a word", "boolean": "true or false", "time": "a time",
    "duration": "a duration",
}


def understand(tree: Node, table: Table, source: str) -> Condition:
    """What the filter asks of the rows of a table; raises FilterError where it makes no sense."""
    return _Reader(table, source).condition(tree)


class _Reader:
    def __init__(self, table: Table, source: str) -> None:
        self._fields, self._table, self._source = table.fields, table, source

    def _refusal(self, node: Node, what: str, hint: str = "") -> FilterError:
        return FilterError(self._source, node.start, node.end, what, hint)

    # -- conditions

    def condition(self, node: Node) -> Condition:
        """What a node asks, if it can be true or false."""
        match node:
            case All(parts):
                return Both(tuple(map(self.condition, parts)))
            case Either(parts):
                return AnyOf(tuple(map(self.condition, parts)))
            case Not(part):
                return Opposite(self.condition(part))
            case Compare(operator, left, right):
                return self._compare(node, operator, left, right)
            case Among(subject, choices):
                return self._among(subject, choices)
            case Word():
                field = self._field(node)
                return _flag(field) if field.type == "boolean" else Present(field)
            case Bits() | InvertedBits():
                return AnyBit(self._with_field(node))
        raise self._refusal(node, "a value alone says nothing", "compare a field with it, such as value == 3")

    def _field(self, word: Word) -> Field:
        if (found := self._fields.get(word.name)) is None:
            raise self._unknown(word)
        return found

    def _unknown(self, word: Word) -> FilterError:
        name = word.name
        holders = [field.name for field in self._fields.values() if name in field.words]
        near = _nearest(name, self._fields)
        hint = f"{name} is a word of {holders[0]}: write {holders[0]} == {name}" if holders else (
            f"did you mean {near}?" if near else "xptrace fields lists them; text stands in quotes")
        return self._refusal(word, f"there is no field {quoted(name)} among {self._table.title}", hint)

    # -- numbers

    def _with_field(self, node: Node) -> Integer:
        number = self._integer(node)
        if not _asks(number):
            raise self._refusal(node, "there is no field in it", "it is the same for every row")
        return number

    def _integer(self, node: Node) -> Integer:
        match node:
            case Word():
                field = self._field(node)
                if field.type != "integer":
                    what = f"{field.name} is {_NAMES[field.type]}, not a number"
                    raise self._refusal(node, what, _numbers(self._fields))
                return Number(field)
            case Literal("integer", _, int(value)):
                return Constant(value)
            case Literal(kind, spelled):
                raise self._refusal(node, f"{quoted(spelled)} is {_NAMES[kind]}, not a number", _unquoted(node))
            case Bits(operator, parts):
                return BitsOf(operator, tuple(map(self._integer, parts)))
            case InvertedBits(part):
                return Inverted(self._integer(part))
        raise self._refusal(node, "this is true or false, not a number", "operators of bits bind more strongly than &&")

    def _amount(self, node: Node, field: Field | None) -> Integer:
        """A number to compare a field with: one in nanoseconds may be compared with a duration."""
        match node:
            case Literal("duration", spelled, int(value)):
                if field is None or field.unit != "ns":
                    name = "this" if field is None else field.name
                    raise self._refusal(node, f"{quoted(spelled)} is a duration, and {name} is not in nanoseconds")
                return Constant(value)
        return self._integer(node)

    # -- comparisons

    def _compare(self, node: Compare, operator: str, left: Node, right: Node) -> Condition:
        if operator in ("contains", "matches"):
            return self._search(operator, left, right)
        if self._stands_right(left, right):
            left, right, operator = right, left, _MIRRORED.get(operator, operator)
        order = cast("Order", operator)
        match left:
            case Word():
                field = self._field(left)
                if field.type in ("text", "enumeration", "boolean"):
                    if order not in ("==", "!="):
                        raise self._refusal(node, f"{field.name} is {_NAMES[field.type]}, which has no order",
                                     "write == or !=, in, contains or matches")
                    same = self._equals(field, right)
                    return same if order == "==" else Opposite(same)
                if field.type == "time":
                    return Timed(order, field, self._moment(right))
                return Ordered(order, Number(field), self._amount(right, field))
            case Literal():
                raise self._refusal(node, "there is no field in it", "it is the same for every row")
        return Ordered(order, self._with_field(left), self._amount(right, None))

    def _stands_right(self, left: Node, right: Node) -> bool:
        """Whether the field is on the right, as in `unplug_mask == register` and `3 < value`."""
        if isinstance(left, Literal):
            return not isinstance(right, Literal)
        if not isinstance(left, Word) or left.name in self._fields or not isinstance(right, Word):
            return False
        return right.name in self._fields

    def _equals(self, field: Field, node: Node) -> Condition:
        if field.type == "boolean":
            match node:
                case Literal("boolean", _, wanted):
                    return _flag(field) if wanted else Opposite(_flag(field))
            raise self._refusal(node, f"{field.name} is true or false", f"write {field.name} or !{field.name}")
        match node:
            case Word(name) if name in self._fields and name not in field.words:
                other = self._fields[name]
                if other.type != field.type or (field.type == "enumeration" and other != field):
                    raise self._refusal(node, f"{field.name} is {_NAMES[field.type]} and {name} is {_NAMES[other.type]}"
                                 if other.type != field.type else f"{field.name} and {name} have no words in common")
                return Same(field, other)
        return OneOf(field, frozenset({self._word(field, node)}))

    def _word(self, field: Field, node: Node) -> str:
        """A text to compare a field with; of an enumeration, one of its words, with quotes or without."""
        match node:
            case Literal("text", _, str(text)):
                if field.type == "text" or text in field.words:
                    return text
            case Word(text):
                if text in field.words:
                    return text
                if field.type == "text":
                    raise self._refusal(node, f"there is no field {quoted(text)}", f'text stands in quotes: "{text}"')
            case Literal(kind, spelled):
                wanted = f'"{spelled}"' if field.type == "text" else f"one of: {', '.join(field.words)}"
                what = f"{field.name} is {_NAMES[field.type]} and {quoted(spelled)} is {_NAMES[kind]}"
                raise self._refusal(node, what, f"write {wanted}")
            case _:
                raise self._refusal(node, f"{field.name} is {_NAMES[field.type]}, and this is none")
        near = _nearest(text, field.words)
        raise self._refusal(node, f"{field.name} has no word {quoted(text)}",
                     f"did you mean {near}?" if near else f"there are: {', '.join(field.words)}")

    def _moment(self, node: Node) -> Moment:
        match node:
            case Literal("time", _, Moment() as at):
                return at
            case Literal("duration", _, int(value)):
                return since_origin(value)
            case Literal("text", _, str(text)) if (at_time := moment(text)) is not None:
                return at_time
            case Literal("integer", spelled, int()):
                raise self._refusal(node, f"{quoted(spelled)} has no unit", f"write {spelled}s for seconds, or time_ns")
        raise self._refusal(node, "this is not a time", "write 2026-11-23T04:05:29Z, 04:05:29 or 12.5s")

    # -- sets and texts

    def _among(self, subject: Node, choices: Iterable[Word | Literal | Range]) -> Condition:
        field = self._field(subject) if isinstance(subject, Word) else None
        if field is None or field.type == "integer":
            number = self._with_field(subject)
            return self._any_range(choices, lambda order, node: Ordered(order, number, self._amount(node, field)))
        if field.type == "time":
            timed = field
            return self._any_range(choices, lambda order, node: Timed(order, timed, self._moment(node)))
        if field.type == "boolean":
            raise self._refusal(subject, f"{field.name} is true or false", f"write {field.name} or !{field.name}")
        words = set()
        for node in choices:
            if isinstance(node, Range):
                raise self._refusal(node, f"{field.name} is {_NAMES[field.type]}, which has no order", "list the words")
            words.add(self._word(field, node))
        return OneOf(field, frozenset(words))

    def _any_range(
        self, choices: Iterable[Word | Literal | Range], asked: Callable[[Order, Node], Ordered | Timed]
    ) -> Condition:
        found: list[Condition] = []
        for node in choices:
            if not isinstance(node, Range):
                found.append(asked("==", node))
                continue
            low, high = asked(">=", node.low), asked("<=", node.high)
            if _is_empty(low, high):
                raise self._refusal(node, "nothing is in this range", f"did you mean {node.high}..{node.low}?")
            found.append(Both((low, high)))
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def _search(self, operator: str, left: Node, right: Node) -> Condition:
        if not isinstance(left, Word):
            raise self._refusal(left, f"{operator} looks into a field of text", _texts(self._fields))
        field = self._field(left)
        if field.type not in ("text", "enumeration"):
            raise self._refusal(left, f"{field.name} is {_NAMES[field.type]}, not text", _texts(self._fields))
        match right:
            case Literal("text", _, str(text)):
                if operator == "contains":
                    return Contains(field, text)
                try:
                    return Matches(field, Pattern(text))
                except ValueError as error:
                    raise self._refusal(right, f"no pattern: {quoted(str(error))}", "patterns are RE2's") from None
        hint = f'write "{right}"' if isinstance(right, Word) else ""
        raise self._refusal(right, f"{operator} needs a text in quotes", hint)


def _flag(field: Field) -> Condition:
    """Whether a boolean field is true; those that are bits of the mask are asked as such."""
    if not field.bit:
        return Flag(field)
    return AnyBit(BitsOf("&", (Number(table(ENTRIES).fields[MASK]), Constant(field.bit))))


def _asks(number: Integer) -> bool:
    match number:
        case Constant():
            return False
        case BitsOf(_, parts):
            return any(map(_asks, parts))
        case Inverted(part):
            return _asks(part)
    return True


def _is_empty(low: Ordered | Timed, high: Ordered | Timed) -> bool:
    match low, high:
        case Ordered(right=Constant(least)), Ordered(right=Constant(most)):
            return least > most
        case Timed(moment=least), Timed(moment=most):
            return least.of_day == most.of_day and least.time_ns > most.time_ns
    return False


def _nearest(word: str, words: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word, words, 1)), "")


def _named(fields: Iterable[Field], *types: Type) -> str:
    return ", ".join(field.name for field in fields if field.type in types)


def _numbers(fields: Mapping[str, Field]) -> str:
    return f"numbers are: {_named(fields.values(), 'integer')}"


def _texts(fields: Mapping[str, Field]) -> str:
    return f"texts are: {_named(fields.values(), 'text', 'enumeration')}"


def _unquoted(node: Literal) -> str:
    return "write it without quotes" if isinstance(node.value, str) and node.value.isdecimal() else ""
