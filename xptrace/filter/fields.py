"""What a filter can ask for: the fields of each table, with their types, units, meanings and examples.

They are the columns of `xptrace.frames.schema`, declared there once, with what a column's dtype does not tell: the
words of an enumeration, the unit of a number. Four things are computed: what `kind` a row is, its `time` as a time,
the `mask` that an access asks to unplug, and each bit of it by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, get_args

from dissectors.clock import CLOCKS
from dissectors.platform.registers import NAMES, UNPLUG_BITS, Direction, Space
from xptrace.access.rows import Certainty, Topic, Way
from xptrace.errors import XptraceError
from xptrace.frames import schema

Type = Literal["integer", "text", "enumeration", "boolean", "time"]
Columns = Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name, type, meaning and unit, an example, the words of an enumeration, which kinds of row have it.

    `bit` is set where the field is a bit of the field `mask`.
    """

    name: str
    type: Type
    meaning: str
    example: str
    unit: str = ""
    words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    bit: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """The fields of one table by name, and the kinds of row that it holds."""

    name: str
    title: str
    fields: Mapping[str, Field]
    kinds: tuple[str, ...] = ()


ENTRIES: Final = "entries"
_KINDS: Final[Mapping[str, Columns]] = {
    "access": schema.ACCESSES, "message": schema.MESSAGES, "event": schema.EVENTS,
}
_TYPES: Final[Mapping[str, Type]] = {
    "Int64": "integer", "UInt64": "integer", "boolean": "boolean", "category": "text", "string": "text",
}
"""The type of a field by the dtype of its column; a column of lists is no field."""
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "clock": tuple(CLOCKS), "space": get_args(Space), "direction": get_args(Direction), "register": NAMES,
    "certainty": get_args(Certainty), "via": get_args(Way), "topic": get_args(Topic),
}
_UNITS: Final = {"size": "bytes", "offset": "bytes", "bytes": "bytes"}
_EXAMPLES: Final = {
    "kind": "kind == message", "time": "time > 12:03", "time_ns": "time_ns >= 1795406729212941000",
    "clock": "clock in {wall, syslog}", "vm": 'vm == "win10"', "boot": "boot > 1", "vcpu": "vcpu in {0..3}",
    "space": "space == pio", "address": "address in {0x10..0x13}", "size": "size == 2",
    "direction": "direction == write", "value": "value & 1", "count": "count > 1",
    "register": "register == unplug_mask", "meaning": 'meaning contains "blacklisted"',
    "text": r'text matches r"(?i)bugcheck|panic"', "complete": "!complete", "via": "via == log",
    "topic": "topic in {frontend, backend}", "subject": 'subject == "vbd/768"', "said": 'said contains "Closing"',
    "source": 'source contains "qemu-dm"', "offset": "offset < 1MiB", "line": "line in {100..200}",
    "mask": "mask == 0b11", "severity": "severity in {high, medium}", "rule": 'rule == "A13"',
    "duration_ns": "duration_ns > 100ms", "code": "code == double-access", "build": "build >= 0x09000000",
}


def _column(name: str, dtype: str, meaning: str, words: Collection[str], kinds: tuple[str, ...] = ()) -> Field:
    kind: Type = "enumeration" if words else _TYPES[dtype]
    usual = {"integer": f"{name} > 0", "boolean": name, "text": f'{name} contains "…"'}
    example = _EXAMPLES.get(name) or usual.get(kind) or f"{name} == {next(iter(words))}"
    unit = "ns" if name.endswith("_ns") else _UNITS.get(name, "")
    return Field(name, kind, meaning, example, unit, tuple(words), kinds)


def _entries() -> Table:
    everything = tuple(_KINDS)
    found = [Field("kind", "enumeration", "what the row is", _EXAMPLES["kind"], words=everything, kinds=everything),
             Field("time", "time", "when, by `clock`; only what that clock can be compared with is before or after it",
                   _EXAMPLES["time"], kinds=everything)]
    names = dict.fromkeys(name for columns in _KINDS.values() for name in columns if name not in schema.EVIDENCE)
    for name in (*names, *schema.EVIDENCE):
        kinds = tuple(kind for kind, columns in _KINDS.items() if name in columns)
        meanings = dict.fromkeys(_KINDS[kind][name][1] for kind in kinds)
        found.append(_column(name, _KINDS[kinds[0]][name][0], "; of an event, ".join(meanings),
                             _WORDS.get(name, ()), kinds))
    found.append(Field("mask", "integer", "what a write asks to unplug, by the mask or by the legacy registers of BAR0",
                       _EXAMPLES["mask"], kinds=("access",)))
    found += [Field(f"mask.{bit.name}", "boolean", f"whether it asks to unplug {bit.meaning}",
                    f"mask.{bit.name} && boot > 1", kinds=("access",), bit=bit.value) for bit in UNPLUG_BITS]
    return Table(ENTRIES, "accesses, messages and events", {one.name: one for one in found}, everything)


def _of(name: str, title: str, columns: Columns, words: Mapping[str, Collection[str]]) -> Table:
    return Table(name, title, {
        column: _column(column, dtype, meaning, words.get(column, ()))
        for column, (dtype, meaning) in columns.items() if dtype in _TYPES
    })


def _findings() -> Table:
    from xptrace.findings.rule import SEVERITIES, Certainty

    return _of("findings", "what `check` finds", schema.FINDINGS,
               {"severity": SEVERITIES, "certainty": get_args(Certainty)})


def _negotiations() -> Table:
    from xptrace.access.attribution import Beginning
    from xptrace.negotiation.verdict import CODES

    return _of("negotiations", "the rows of `summary`", schema.SUMMARY, {"code": CODES, "epoch": get_args(Beginning)})


_TABLES: Final = {ENTRIES: _entries, "findings": _findings, "negotiations": _negotiations}
TABLES: Final = tuple(_TABLES)
"""The names of the tables that a filter can be asked of."""


@cache
def table(name: str) -> Table:
    """The table of that name; raises XptraceError where there is none."""
    if name not in _TABLES:
        raise XptraceError(f"no table {name!r} can be filtered; there are: {', '.join(TABLES)}")
    return _TABLES[name]()
