"""Filters, rows and tables made at random, and by hand, for the tests beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from dissectors.clock import CLOCKS
from dissectors.platform.registers import NAMES
from dissectors.record import Record
from xptrace.access.rows import Access, Entry, Event, Message
from xptrace.filter.grammar import KEYWORDS
from xptrace.filter.lexer import tokens
from xptrace.filter.tree import All, Among, Bits, Compare, Either, Inverted, Literal, Node, Not, Range, Word
from xptrace.frames import schema
from xptrace.frames.build import Columns

WIN10_NS = 1795406729 * 10**9
"""2026-11-23T04:05:29Z."""


def record(source: str = "trace.log", offset: int = 0, line: int = 1) -> Record:
    return Record(source, offset, 80, line, "cpu_out", {}, b"")


def access(**given: object) -> Access:
    """A write of the unplug mask 3 by the VM win10, at 04:05:29 by the host's clock, unless said otherwise."""
    usual: dict[str, Any] = {
        "time_ns": WIN10_NS, "clock": "wall", "vm": "win10", "boot": 1, "vcpu": None, "space": "pio", "address": 0x10,
        "size": 2, "direction": "write", "value": 3, "count": 1, "register": "unplug_mask", "meaning": "unplug mask",
        "certainty": "observed", "records": [record()],
    }
    return Access(**(usual | given))


def message(text: str, **given: object) -> Message:
    usual: dict[str, Any] = {"time_ns": WIN10_NS, "clock": "wall", "vm": "win10", "boot": 1, "complete": True,
                             "certainty": "observed", "records": [record()]}
    return Message(text=text, **(usual | given))


def frame_of(entries: Sequence[Entry], columns: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    made = Columns(columns)
    for entry in entries:
        made.append(entry.row())
    return made.frame()


# -- at random

FEW = st.sampled_from([0, 1, 2, 3, 4, 16, 17, 255, 0x49D2, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
TEXTS = st.sampled_from(["", "win10", "Win10 ", "=cmd|'/c calc'!A0", "\x1b[2J", "a\x00b", "\ufffd", "\u202eabc", "ß"])
TIMES = st.sampled_from([0, 1, 5 * 10**9, WIN10_NS, WIN10_NS + 5 * 10**8, WIN10_NS + 86_400 * 10**9, (1 << 63) - 1])
_WHEN = {"time_ns": st.none() | TIMES, "clock": st.none() | st.sampled_from(list(CLOCKS)), "vm": TEXTS,
         "boot": st.integers(1, 3)}
_RECORDS = st.lists(st.builds(record, st.sampled_from(["trace.log", "ß"]), FEW.filter(lambda one: one < 1 << 63),
                              st.integers(1, 9)), min_size=1, max_size=2)
ACCESSES = st.builds(
    Access, **_WHEN, vcpu=st.none() | st.integers(0, 3), space=st.sampled_from(["pio", "bar0", "bar1", "pci-config"]),
    address=st.none() | FEW | st.sampled_from([0x0E, 0x0F, 0xC004, 0xC008, 0xC003, 0xC0FF]),
    size=st.none() | st.sampled_from([1, 2, 4, 8]), direction=st.sampled_from(["read", "write"]),
    value=st.none() | FEW, count=st.integers(1, 3), register=st.sampled_from(NAMES), meaning=TEXTS,
    certainty=st.sampled_from(["observed", "inferred"]), records=_RECORDS,
)
MESSAGES = st.builds(Message, **_WHEN, text=TEXTS, complete=st.booleans(), records=_RECORDS,
                     certainty=st.sampled_from(["observed", "inferred"]),
                     via=st.sampled_from(["log", "debug", "kernel"]))
EVENTS = st.builds(Event, **_WHEN, topic=st.sampled_from(["frontend", "life"]), subject=TEXTS, said=TEXTS,
                   value=st.none() | st.integers(0, (1 << 64) - 1), records=_RECORDS)
TABLES = ((ACCESSES, schema.ACCESSES), (MESSAGES, schema.MESSAGES), (EVENTS, schema.EVENTS))

_NUMBERS = ("0", "1", "2", "3", "0x10", "0b101", "-1", "255", "4KiB", "18446744073709551615", "-9223372036854775808")
_MOMENTS = ("04:05:29", "4:05", "04:05:29.5Z", "2026-11-23", "2026-11-23T04:05:29Z", "2026-11-23T05:05:29.25+01:00",
            "5s", "1795406729s", "0.5ms", "1h")
_QUOTED = ('""', '"win10"', "'Win10 '", r'"\x1b"', r'r"\d"', '"ß"', '"="')
_PATTERNS = ('"."', r'r"(?i)^WIN\d+"', '"^$"', r'r"\x1b|\x00"', '"ß"')


def literal(spelled: str) -> Literal:
    """The literal that is spelled so."""
    one = next(iter(tokens(spelled)))
    return Literal(one.kind, one.spelled, one.value)


def _literals(*spelled: str) -> st.SearchStrategy[Literal]:
    return st.sampled_from([literal(one) for one in spelled])


_ANY_LITERAL = _literals(*_NUMBERS, *_MOMENTS, *_QUOTED, "true", "false")
_WORD = st.from_regex(r"[A-Za-z_][a-z0-9_]{0,5}([.-][a-z0-9_]{1,4}){0,2}", fullmatch=True).filter(
    lambda word: word not in KEYWORDS).map(Word)


def _two_or_more(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[tuple[Node, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


def _grown(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    choices = st.lists(_WORD | _ANY_LITERAL | st.builds(Range, _ANY_LITERAL, _ANY_LITERAL), min_size=1, max_size=3)
    return st.one_of(
        st.builds(All, _two_or_more(parts)), st.builds(Either, _two_or_more(parts)), st.builds(Not, parts),
        st.builds(Inverted, parts), st.builds(Bits, st.sampled_from("&|^"), _two_or_more(parts)),
        st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "contains", "matches"]), parts, parts),
        st.builds(Among, parts, choices.map(tuple)),
    )


TREES: st.SearchStrategy[Node] = st.recursive(_WORD | _ANY_LITERAL, _grown, max_leaves=12)
"""Filters that follow the grammar, whether they make sense or not."""

_ORDERS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_NUMBER_FIELDS = st.sampled_from([Word(name) for name in
                                  ("value", "address", "size", "vcpu", "mask", "offset", "line", "count", "boot")])
_TEXT_FIELDS = st.sampled_from([Word(name) for name in ("vm", "meaning", "text", "subject", "said", "source")])
_NUMBER = _literals(*_NUMBERS)
_BITS: st.SearchStrategy[Node] = st.recursive(
    _NUMBER_FIELDS,
    lambda parts: st.builds(Inverted, parts) | st.builds(
        lambda sign, one, more: Bits(sign, (one, *more)), st.sampled_from("&|^"), parts,
        st.lists(parts | _NUMBER, min_size=1, max_size=2)),
    max_leaves=3)
_RANGES = _NUMBER.flatmap(lambda low: _NUMBER.filter(lambda high: low.value <= high.value).map(  # type: ignore[operator]
    lambda high: Range(low, high)))
_WORDS = {
    "register": ("unplug_mask", "bar0_log", "bar0_unplug_all", "magic", '"log"'), "space": ("pio", "pci-config"),
    "direction": ("read", "write"), "kind": ("access", "message", "event"), "via": ("log", "kernel"),
    "clock": ("wall", "xen", '"local, year inferred"'), "topic": ("life", "frontend"), "certainty": ("inferred",),
}


def _of_words(name: str) -> st.SearchStrategy[Node]:
    words = st.sampled_from([literal(one) if one[0] == '"' else Word(one) for one in _WORDS[name]])
    compared = st.tuples(st.sampled_from(["==", "!="]), words, st.booleans()).map(
        lambda drawn: Compare(drawn[0], *((drawn[1], Word(name)) if drawn[2] else (Word(name), drawn[1]))))
    return compared | st.lists(words, min_size=1, max_size=3).map(lambda found: Among(Word(name), tuple(found)))


_CONDITIONS: st.SearchStrategy[Node] = st.one_of(
    st.builds(Compare, _ORDERS, _BITS, _BITS | _NUMBER),
    st.builds(Compare, _ORDERS, _NUMBER, _BITS),
    _BITS.filter(lambda node: not isinstance(node, Word)),
    st.builds(Among, _BITS, st.lists(_NUMBER | _RANGES, min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, st.sampled_from(["==", "!="]), _TEXT_FIELDS, _literals(*_QUOTED) | _TEXT_FIELDS),
    st.builds(Among, _TEXT_FIELDS, st.lists(_literals(*_QUOTED), min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, st.just("contains"), _TEXT_FIELDS, _literals(*_QUOTED)),
    st.builds(Compare, st.just("matches"), _TEXT_FIELDS, _literals(*_PATTERNS)),
    st.builds(Compare, _ORDERS, st.just(Word("time")), _literals(*_MOMENTS)),
    st.sampled_from(sorted(_WORDS)).flatmap(_of_words),
    st.sampled_from([Word(name) for name in (
        "value", "time", "time_ns", "vcpu", "text", "complete", "mask", "mask.nics", "mask.ide_disks", "clock", "kind",
        "vm", "register", "said")]),
)
ASKED: st.SearchStrategy[Node] = st.recursive(
    _CONDITIONS,
    lambda parts: st.builds(All, _two_or_more(parts)) | st.builds(Either, _two_or_more(parts)) | st.builds(Not, parts),
    max_leaves=6)
"""Filters that make sense."""
