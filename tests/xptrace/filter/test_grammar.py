"""What is written and what it means to the parser: binding, spelling, bounds, and the way back to text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.xptrace.filter import making
from xptrace.errors import XptraceError
from xptrace.filter import FilterError, compile_filter
from xptrace.filter.grammar import MOST_DEPTH, parse
from xptrace.filter.lexer import MOST_CHARACTERS
from xptrace.filter.tree import All, Bits, Compare, Either, Literal, Node, Not, Word

ONE, THREE = Literal("integer", "1", 1), Literal("integer", "3", 3)
A, B, C = Word("a"), Word("b"), Word("c")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a && b || c", Either((All((A, B)), C))),
        ("a || b && c", Either((A, All((B, C))))),
        ("a and b or not c", Either((All((A, B)), Not(C)))),
        ("(a || b) && c", All((Either((A, B)), C))),
        ("a && b && c", All((A, B, C))),
        ("a && (b && c)", All((A, All((B, C))))),
        ("!a == 1", Not(Compare("==", A, ONE))),
        ("! a && b", All((Not(A), B))),
        ("a & 1 == 1", Compare("==", Bits("&", (A, ONE)), ONE)),
        ("a | b ^ c & 1", Bits("|", (A, Bits("^", (B, Bits("&", (C, ONE))))))),
        ("1 <= a", Compare("<=", ONE, A)),
        ("a not in {1}", parse("!(a in {1})")),
        ("a\n  ==\t3", Compare("==", A, THREE)),
        ("pci-config.b-c", Word("pci-config.b-c")),
    ],
)
def test_operators_bind_as_documented(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("spelled", "kind", "value"),
    [
        ("0x49d2", "integer", 0x49D2), ("0b101", "integer", 5), ("-1", "integer", -1), ("4KiB", "integer", 4096),
        ("1.5MB", "integer", 1_500_000), ("18446744073709551615", "integer", (1 << 64) - 1),
        ("12.5s", "duration", 12_500_000_000), ("300ms", "duration", 300_000_000), ("1.5us", "duration", 1500),
        ("2min", "duration", 120 * 10**9), (r'"a\tb\x1b\u202e\"\\"', "text", 'a\tb\x1b\u202e"\\'),
        (r'r"\d\""', "text", r'\d\"'), ("'it\"s'", "text", 'it"s'), ("true", "boolean", True),
    ],
)
def test_literals(spelled: str, kind: str, value: object) -> None:
    assert parse(spelled) == Literal(kind, spelled, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spelled", "time_ns", "of_day", "utc_only"),
    [
        ("2026-11-23T04:05:29.5Z", 1795406729_500000000, False, True),  # date -u -d 2026-11-23T04:05:29Z +%s
        ("2026-11-23T05:05:29+01:00", 1795406729_000000000, False, True),
        ("2026-11-23T04:05:29", 1795406729_000000000, False, False),
        ("2026-11-23", 1795392000_000000000, False, False),
        ("04:05:29.000000001", (4 * 3600 + 5 * 60 + 29) * 10**9 + 1, True, False),
        ("12:03", 43380 * 10**9, True, False),
        ("0:30+01:00", 84600 * 10**9, True, True),
    ],
)
def test_times(spelled: str, time_ns: int, of_day: bool, utc_only: bool) -> None:
    node = parse(spelled)
    assert isinstance(node, Literal)
    at = node.value
    assert (at.time_ns, at.of_day) == (time_ns, of_day)  # type: ignore[union-attr]
    assert ("local" in at.clocks, "wall" in at.clocks, "trace" in at.clocks) == (not utc_only, True, False)  # type: ignore[union-attr]


@given(making.TREES)
def test_a_tree_as_text_is_read_as_the_same_tree(tree: Node) -> None:
    assert parse(str(tree)) == tree


@given(making.ASKED)
def test_what_makes_sense_still_does_as_text(tree: Node) -> None:
    wanted = compile_filter(str(tree))
    assert str(wanted) == str(tree)
    assert str(compile_filter(str(wanted))) == str(wanted)


_PIECES = st.sampled_from([
    "value", "vm", "register", "magic", "time", "mask.nics", "complete", "==", "!=", "<", "&&", "||", "!", "not", "in",
    "contains", "matches", "(", ")", "{", "}", ",", "..", "&", "|", "^", "~", "1", "0x", "5s", "04:05", "25:99", '"x"',
    '"', "'", "\\", 'r"("', "-", "-1", "9" * 30, "true", "é", "\u202e", "\x00", "\ud800", " ", "\n", "2026-13-01",
])


_LISTS = st.lists(_PIECES, max_size=12)


@given(_LISTS.map(" ".join) | _LISTS.map("".join) | st.text(max_size=40))
@example("value == 9999-12-31")
@example("time > 9999-12-31")
@example("time > 0001-01-01T00:00:00+23:59")
@example('text matches "\\ud800"')
@example('text contains "\\ud800"')
@example('text matches "(\n\u2028"')
@example("value & 1 in {1, 2..}")
@example('text matches "(((a{1000}){1000}){1000})"')
@example("1.0000000000000000000001B == value")
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        wanted = compile_filter(text)
    except XptraceError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  (an error is one of two outcomes here)
        assert isinstance(error, FilterError)  # noqa: PT017
        assert 0 <= error.start < error.end  # noqa: PT017
    else:
        wanted.matches(making.access())
        wanted.matches(making.message("x"))


@pytest.mark.parametrize("open_one", ["(", "!", "~", "!(", "not ", "value & (", "value || value && value == (1|(1&"])
def test_depth_is_bounded(open_one: str) -> None:
    with pytest.raises(FilterError, match=f"nested more than {MOST_DEPTH} deep"):
        parse(open_one * (MOST_CHARACTERS // len(open_one) - 5) + "value")


def test_length_is_bounded_and_width_is_not_depth() -> None:
    with pytest.raises(FilterError, match="at most"):
        parse("value" + " " * MOST_CHARACTERS)
    for joint in (" || ", " && ", " & ", "|"):
        wanted = compile_filter(joint.join(["value"] * 400))
        assert wanted.matches(making.access())
        assert compile_filter(str(wanted)).tree == wanted.tree
    numbers = ",".join(map(str, range(1000)))
    assert compile_filter(f"value in {{{numbers}}}").matches(making.access(value=999))
