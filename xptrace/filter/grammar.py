"""The grammar of filters: a parser by how strongly operators bind (V. Pratt, Top Down Operator Precedence, 1973).

From the weakest: `||` or, `&&` and, `!` not; comparisons, `in`, `contains`, `matches`; `|`, `^`, `&`; `~`. So
`value & 1 == 1` asks for the bit, and `!value == 3` for any other value. Nesting is bounded, and so is the work.
"""

from __future__ import annotations

from typing import Final

from xptrace.filter.fault import FilterError, quoted
from xptrace.filter.lexer import Token, tokens
from xptrace.filter.tree import (
    AND,
    COMPARISON,
    INVERT,
    NOT,
    OF_BITS,
    OR,
    All,
    Among,
    Bits,
    Compare,
    Either,
    Inverted,
    Literal,
    Node,
    Not,
    Range,
    Word,
)

MOST_DEPTH: Final = 32
"""How deep parentheses and negations may be nested."""

_SAME: Final = {"and": "&&", "or": "||", "not": "!"}
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "contains", "matches")
_POWERS: Final = {"||": OR, "&&": AND, **OF_BITS, **dict.fromkeys(_COMPARISONS, COMPARISON)}
KEYWORDS: Final = frozenset({"and", "or", "not", "in", "contains", "matches", "true", "false"})
"""Words that can name no field."""
_LITERALS: Final = ("integer", "duration", "time", "text", "boolean")


def parse(source: str) -> Node:
    """The tree of a filter; raises FilterError where it follows no rule of the grammar."""
    parser = _Parser(source)
    if not source.strip():
        raise FilterError(source, 0, 0, "the filter is empty", "write for instance: register == unplug_mask")
    node = parser.expression(0)
    if parser.now.kind != "end":
        raise parser.unexpected("an operator, such as && or ==")
    return node


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = list(tokens(source))
        self._at = self._depth = 0

    @property
    def now(self) -> Token:
        """The word that is to be read."""
        return self._tokens[self._at]

    @property
    def _operator(self) -> str:
        """The operator that is to be read, by its sign where it has two names; empty where there is none."""
        now = self.now
        if now.kind == "operator" or (now.kind == "word" and now.spelled in KEYWORDS):
            return _SAME.get(now.spelled, now.spelled)
        return ""

    def _take(self) -> Token:
        taken = self.now
        self._at += 1
        return taken

    def _expect(self, operator: str, where: str) -> Token:
        if self._operator != operator:
            raise self.unexpected(f"{operator} {where}")
        return self._take()

    def unexpected(self, wanted: str) -> FilterError:
        """The error that says what should have stood here."""
        now = self.now
        found = "the filter ends" if now.kind == "end" else f"{quoted(now.spelled)} stands"
        return FilterError(self._source, now.start, now.end, f"{found} where there should be {wanted}")

    def expression(self, above: int) -> Node:
        """What binds more strongly than the operator that it stands beside."""
        left = self._operand(above)
        while (power := self._infix()) > above:
            left = self._comparison(left) if power == COMPARISON else self._chain(left, self._operator, power)
        return left

    def _infix(self) -> int:
        """How strongly the operator to be read binds; 0 where there is none between two operands."""
        if self._operator == "!" and self._tokens[self._at + 1].spelled in ("in", "contains", "matches"):
            return COMPARISON
        return _POWERS.get(self._operator, 0)

    def _chain(self, left: Node, operator: str, power: int) -> Node:
        parts = [left]
        while self._operator == operator:
            self._take()
            parts.append(self.expression(power))
        start, end = left.start, parts[-1].end
        if operator in OF_BITS:
            return Bits(operator, tuple(parts), start=start, end=end)
        return (All if operator == "&&" else Either)(tuple(parts), start=start, end=end)

    def _comparison(self, left: Node) -> Node:
        negated = self._operator == "!"
        if negated:
            self._take()
        operator = self._operator
        self._take()
        found: Node
        if operator == "in":
            choices = self._set()
            found = Among(left, choices, start=left.start, end=self._tokens[self._at - 1].end)
        else:
            right = self.expression(COMPARISON)
            found = Compare(operator, left, right, start=left.start, end=right.end)
        if self._infix() == COMPARISON:
            raise FilterError(self._source, self.now.start, self.now.end, "comparisons do not chain",
                              "write a < b && b < c")
        return Not(found, start=found.start, end=found.end) if negated else found

    def _operand(self, above: int) -> Node:
        operator, now = self._operator, self.now
        if operator == "(":
            self._deeper()
            inner = self.expression(0)
            self._expect(")", "to close the parenthesis")
            self._depth -= 1
            return inner
        if operator == "~" or (operator == "!" and above < COMPARISON):
            self._deeper()
            part = self.expression(INVERT if operator == "~" else NOT)
            self._depth -= 1
            return (Inverted if operator == "~" else Not)(part, start=now.start, end=part.end)
        return self._atom("parentheses around a negation" if operator == "!" else "a field or a value")

    def _deeper(self) -> None:
        now = self._take()
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise FilterError(self._source, now.start, now.end, f"nested more than {MOST_DEPTH} deep")

    def _atom(self, wanted: str) -> Word | Literal:
        now = self.now
        if now.kind in _LITERALS:
            self._take()
            return Literal(now.kind, now.spelled, now.value, start=now.start, end=now.end)
        if now.kind == "word" and now.spelled not in KEYWORDS:
            self._take()
            return Word(now.spelled, start=now.start, end=now.end)
        raise self.unexpected(wanted)

    def _set(self) -> tuple[Word | Literal | Range, ...]:
        self._expect("{", "to begin a set, as in {1, 2..5}")
        choices = [self._choice()]
        while self._operator == ",":
            self._take()
            choices.append(self._choice())
        self._expect("}", "or a comma")
        return tuple(choices)

    def _choice(self) -> Word | Literal | Range:
        low = self._atom("a value of the set")
        if self._operator != ".." or not isinstance(low, Literal):
            return low
        self._take()
        high = self._atom("the end of the range")
        if not isinstance(high, Literal):
            raise FilterError(self._source, high.start, high.end, "a range ends with a value")
        return Range(low, high, start=low.start, end=high.end)
