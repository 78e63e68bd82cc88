"""What a filter says of a row: truths by hand, three-valued where a recording does not tell, and bounded work."""

from __future__ import annotations

import sqlite3
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissectors.clock import CLOCKS
from dissectors.platform.registers import NAMES, Direction, Space, pieces, register_name
from tests.xptrace.filter import making
from tests.xptrace.filter.making import WIN10_NS, access, message, record
from xptrace.access.rows import Entry, Event
from xptrace.filter import compile_filter
from xptrace.filter.tree import All, Among, Bits, Compare, Either, Literal, Node, Not, Range, Word
from xptrace.negotiation.story import Story, tell


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('vm == "win10" && register == unplug_mask && value & 1 && time > 03:03', True),
        ("value & 4", False), ("value & 6", True), ("value & 3 == 3", True), ("value ^ 3", False),
        ("value | 4 == 7", True),
        ("~value & 1", False), ("~value == 0xfffffffffffffffc", True), ("-1 < value", True), ("~value > -1", True),
        ("value in {1, 2..5}", True), ("value in {4..5, 1}", False), ("value not in {1}", True), ("3 == value", True),
        ("4 > value", True), ("4 < value", False), ("value >= 0b11", True), ("value != 3", False),
        ("address == 0x10", True),
        ("register == magic", False), ("unplug_mask == register", True), ('register == "unplug_mask"', True),
        ("register in {magic, unplug_mask}", True), ('register contains "mask"', True), ("space == pio", True),
        ("kind == access", True), ("kind != message", True), ("direction != read", True),
        ('vm contains "in1"', True), ('vm contains ""', True), ('vm matches r"^win\\d+$"', True),
        ('vm matches "^in"', False),
        ('vm matches "(?i)WIN"', True), ("vm == source", False), ("vm != source", True), ("vm == vm", True),
        ("mask == 3", True), ("mask.nics && mask.ide_disks && !mask.nvme_disks", True), ("mask.nics == false", False),
        ('vm in {"win10", "win11"}', True), ("offset < 1KiB && line == 1", True), ("time_ns == 1795406729s", True),
        ("time", True), ("vcpu", False), ("!vcpu", True), ("text", False),
    ],
)  # fmt: skip
def test_a_write_of_mask_3(text: str, holds: bool) -> None:
    assert compile_filter(text).matches(access()) is holds


@pytest.mark.parametrize(
    ("text", "known"),
    [
        # missing: neither true nor false, and so is the opposite
        ("value == 3", False), ("!(value == 3)", False), ("value != 3", False), ("!(value != 3)", False),
        ("value & 0", False), ("!(value & 0)", False), ("value in {3}", False), ("value not in {3}", False),
        # unless the rest decides
        ("value == 3 || boot == 1", True), ("!(value == 3 && boot == 2)", True), ("value == 3 && boot == 1", False),
        ("!(value == 3 || boot == 2)", False),
        # whether it is there is always known
        ("value", False), ("!value", True), ("value != 3 || !value", True), ("mask", False), ("!mask", True),
        # what another kind of row has is missing too
        ('text contains ""', False), ('!(text contains "x")', False), ("complete", False), ("!complete", False),
        ("complete == false", False), ("mask.nics", False), ("!mask.nics", False),
    ],
)  # fmt: skip
def test_what_is_missing_is_unknown(text: str, known: bool) -> None:
    assert compile_filter(text).matches(access(value=None)) is known


@pytest.mark.parametrize(
    ("text", "clocks"),
    [
        ("time >= 04:05:29", {"wall", "syslog", "local", "local, year inferred", "guest"}),
        ("time >= 2026-11-23T04:05:29", {"wall", "syslog", "local", "local, year inferred", "guest"}),
        ("time >= 2026-11-23T04:05:29Z", {"wall", "syslog"}),
        ("time >= 04:05:29Z", {"wall", "syslog"}),
        ("time >= 1795406729s", set(CLOCKS)),
        ('time == "2026-11-23 04:05:29"', {"wall", "syslog", "local", "local, year inferred", "guest"}),
        ("time in {04:05..04:06}", {"wall", "syslog", "local", "local, year inferred", "guest"}),
    ],
)
def test_a_time_is_compared_only_with_clocks_that_mean_the_same(text: str, clocks: set[str]) -> None:
    wanted, opposite = compile_filter(text), compile_filter(f"!({text})")
    for clock in CLOCKS:
        assert wanted.matches(access(clock=clock)) is (clock in clocks)
        assert not opposite.matches(access(clock=clock))
    assert not wanted.matches(access(time_ns=None, clock=None))


@pytest.mark.parametrize(
    ("text", "holds"),
    [("time == 04:05:29.5", True), ("time > 04:05:29.499999999 && time < 4:05:30", True), ("time > 04:06", False),
     ("time < 2026-11-24", True), ("time > 2026-11-23T05:05:29+01:00", True), ("time == 1795406729.5s", True)],
)  # fmt: skip
def test_times_are_exact(text: str, holds: bool) -> None:
    assert compile_filter(text).matches(access(time_ns=WIN10_NS + 5 * 10**8)) is holds


def test_messages_and_events() -> None:
    line = message("XEN|BUGCHECK: ====>", complete=False, via="debug")
    assert compile_filter('text matches "BUGCHECK" && !complete && via == debug').matches(line)
    event = Event(WIN10_NS, "wall", "win10", 1, "frontend", "vbd/768", "Connected", 4, [record()])
    assert compile_filter('topic == frontend && subject == "vbd/768" && value == 4 && kind == event').matches(event)
    assert [*compile_filter("kind == message").choose([access(), line, event])] == [line]


def test_the_tables_of_findings_and_negotiations() -> None:
    finding = {"rule": "A13", "severity": "high", "vm": "win10", "boot": 2, "certainty": "assumed"}
    text = 'severity in {high, medium} && certainty == assumed && rule == "A13"'
    assert compile_filter(text, "findings").matches(finding)
    row = {"vm": "win10", "duration_ns": 150_000_000, "code": "double-access", "blacklisted": None, "build": 9}
    assert compile_filter("duration_ns > 100ms && code == double-access && !(code == blacklisted)",
                          "negotiations").matches(row)
    assert not compile_filter("blacklisted || !blacklisted", "negotiations").matches(row)


def test_a_filter_knows_which_kinds_of_row_it_is_about() -> None:
    assert compile_filter("value & 1 && register == magic").kinds == {"access"}
    assert compile_filter("text").kinds == {"message"}
    assert compile_filter("!text && kind != message").kinds == {"access", "event"}
    assert compile_filter('vm == "a"').kinds == {"access", "message", "event"}
    assert compile_filter("kind != access && !(value > 1 && boot == 1)").kinds == {"message", "event"}
    assert compile_filter("value > 1 && text").kinds == set()


@given(making.ASKED, making.ACCESSES | making.MESSAGES | making.EVENTS)
def test_no_other_kind_is_ever_chosen(tree: Node, entry: Entry) -> None:
    wanted = compile_filter(str(tree))
    assert not wanted.matches(entry) or entry.kind in wanted.kinds


def test_hostile_text_and_hostile_patterns_take_no_more_time_than_others() -> None:
    evil = compile_filter(r'text matches r"^(a+)+$" || text matches r"(a|aa)+b" || text matches r"(.*)*(.*)*(.*)*x$"')
    lines = [message("a" * 100_000 + "!" * number) for number in range(1, 6)]
    started = time.perf_counter()
    assert not any(map(evil.matches, lines))
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("text", ["a\x00b", "\ufffd", "\x1b[2J", "\u202e", "=1+1", '"', "\\"])
def test_texts_of_strangers_are_compared_as_they_are(text: str) -> None:
    spelled = "".join(f"\\U{ord(character):08x}" for character in text)
    row = message(f"before {text} after")
    assert compile_filter(f'text contains "{spelled}"').matches(row)
    assert compile_filter(f'text == "before {spelled} after"').matches(row)
    assert compile_filter('text matches "^before .* after$"').matches(row)


# -- the mask of an access is that of the steps that the access consists of


@given(
    st.sampled_from(["pio", "bar0"]), st.integers(0x08, 0x20), st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["read", "write"]), st.none() | st.integers(0, (1 << 64) - 1) | st.sampled_from([1, 2, 3, 0x10000]),
)
@example("pio", 0x0F, 4, "write", 0x00000300)
@example("bar0", 3, 4, "write", 0x00000100)
@example("bar0", 8, 1, "write", 2)
def test_the_mask_is_what_the_first_register_asks_for(
    space: Space, at: int, size: int, direction: Direction, value: int | None
) -> None:
    offset = at if space == "pio" else at - 8
    value = None if value is None else value & (1 << 8 * size) - 1
    name = register_name(space, offset, size, direction)
    one = access(space=space, address=offset + (0xC000 if space == "bar0" else 0), size=size, direction=direction,
                 value=value, register=name, base=0xC000 if space == "bar0" else 0)
    story = Story("win10", 1)
    tell(story, one)
    first = next((piece for piece in pieces(space, offset, size, direction, value)
                  if piece.register is not None and piece.register.name == name), None)
    expected = next((step.mask for step in story.steps
                     if first is not None and (step.register, step.offset) == (name, first.offset)), None)
    if expected is None:
        assert compile_filter("!mask").matches(one)
    else:
        assert compile_filter(f"mask == {expected}").matches(one)


# -- another reader of three-valued logic: SQLite


def _sql(node: Node) -> str:
    match node:
        case Word(name):
            return name
        case Literal(_, _, int(value)):
            return str(value)
        case Literal(_, _, str(text)):
            return f"'{text}'"
        case All(parts):
            return "(" + " AND ".join(map(_truth, parts)) + ")"
        case Either(parts):
            return "(" + " OR ".join(map(_truth, parts)) + ")"
        case Not(part):
            return f"(NOT {_truth(part)})"
        case Bits(operator, parts):
            return "(" + f" {operator} ".join(map(_sql, parts)) + ")"
        case Compare("contains", left, right):
            return f"(instr({_sql(left)}, {_sql(right)}) > 0)"
        case Compare(operator, left, right):
            return f"({_sql(left)} {operator} {_sql(right)})"
        case Among(subject, choices):
            one = _sql(subject)
            return "(" + " OR ".join(
                f"{one} BETWEEN {_sql(choice.low)} AND {_sql(choice.high)}" if isinstance(choice, Range)
                else f"{one} = {_sql(choice)}" for choice in choices) + ")"
    raise TypeError(node)


def _truth(node: Node) -> str:
    if isinstance(node, Word):
        return f"({node.name} IS NOT NULL)"
    return f"({_sql(node)} <> 0)" if isinstance(node, Bits) else _sql(node)


_SMALL = st.sampled_from(["0", "1", "2", "3", "7"]).map(making.literal)
_FIELDS = st.sampled_from(["value", "size", "vcpu"]).map(Word)
_SIMPLE: st.SearchStrategy[Node] = st.one_of(
    _FIELDS,
    st.builds(Bits, st.sampled_from("&|"), st.tuples(_FIELDS, _FIELDS | _SMALL)),
    st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), _FIELDS, _FIELDS | _SMALL),
    st.builds(Compare, st.sampled_from(["==", "!=", "contains"]), st.just(Word("vm")),
              st.sampled_from(['"win10"', '"w"', '""']).map(making.literal)),
    st.builds(Among, _FIELDS, st.lists(_SMALL, min_size=1, max_size=3).map(tuple)),
    st.just(Among(Word("value"), (Range(making.literal("1"), making.literal("2")),))),
)
_ASKED: st.SearchStrategy[Node] = st.recursive(
    _SIMPLE, lambda parts: st.builds(All, st.tuples(parts, parts)) | st.builds(Either, st.tuples(parts, parts))
    | st.builds(Not, parts), max_leaves=6)


_CELLS = st.none() | st.integers(0, 4)


@given(_ASKED, st.lists(st.tuples(_CELLS, _CELLS, _CELLS, st.sampled_from(["win10", "v", ""])), max_size=8))
def test_sqlite_chooses_the_same_rows(tree: Node, rows: list[tuple[int | None, int | None, int | None, str]]) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("create table rows (value, size, vcpu, vm)")
    database.executemany("insert into rows values (?, ?, ?, ?)", rows)
    chosen = [one for (one,) in database.execute(f"select rowid - 1 from rows where {_truth(tree)} order by 1")]  # noqa: S608
    database.close()
    wanted = compile_filter(str(tree))
    assert chosen == [at for at, (value, size, vcpu, vm) in enumerate(rows)
                      if wanted.matches(access(value=value, size=size, vcpu=vcpu, vm=vm))]


def test_every_register_can_be_asked_for() -> None:
    for name in NAMES:
        assert compile_filter(f"register == {name}").matches(access(register=name))
