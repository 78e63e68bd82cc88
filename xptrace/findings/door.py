"""Users' own rules, by the same door as ours: a Python file that declares them, or a TOML file for simple ones.

A Python file does what ours do (`from xptrace.findings.rule import Hit, places, rule`). A TOML file says what to look
for in the steps of a negotiation or in the lines of the guest's log, and what to say of it::

    [[rule]]
    id = "U01"
    severity = "medium"
    title = "a driver that is not ours"
    register = "product_number"
    not_value = [3, 0xffff]
    sentence = "{id}: product {value} is not on our list"

    [[rule]]
    id = "U02"
    severity = "high"
    title = "disks go while NICs stay"
    filter = "mask.ide_disks && !mask.nics"

A filter (`xptrace.filter`, `xptrace fields`) is asked of what is kept of a boot: each access to a fixed port or a BAR
by the register that it reaches, log characters left out; each line of the guest's; each event but those of BARs. The
address of an access to a BAR is not kept, nor is any access's vCPU, nor are accesses to config space.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from dissectors.platform.registers import NAMES, meaning
from xptrace.access.rows import Event
from xptrace.errors import XptraceError
from xptrace.findings.rule import RULES, Context, Hit, Need, Rule, Severity, places
from xptrace.negotiation.story import Change, Evidence, Line, Moment, Step, Story

if TYPE_CHECKING:
    from xptrace.filter import Filter

_KNOWN: Final = {
    "id", "severity", "title", "why", "advice", "law", "sentence", "register", "direction", "value", "not_value",
    "mask", "text", "filter", "at_least",
}
_LOOKS: Final = ("register", "text", "filter")
"""What a rule looks for: one of these."""
_EVIDENCE: Final[Mapping[str, tuple[Evidence, ...]]] = {
    "access": ("ports", "bar1"), "message": ("messages", "debug", "kernel"),
    "event": ("vbd", "vif", "life", "hotplug", "store"),
}
"""What shows that rows of a kind are recorded at all."""


def book_with(own: Mapping[str, Rule], files: Sequence[str]) -> dict[str, Rule]:
    """Our rules and those of the user's files; raises XptraceError, in one line, for a file that cannot be used."""
    book = dict(own)
    for file in files:
        for one in _toml(file) if file.endswith(".toml") else _python(file):
            if one.id in book:
                raise XptraceError(f"{file}: there is a rule {one.id} already: {book[one.id].title}")
            book[one.id] = one
    return book


def _python(file: str) -> list[Rule]:
    before = set(RULES)
    spec = importlib.util.spec_from_file_location(f"xptrace_rules_{Path(file).stem}", file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise XptraceError(f"{file}: is neither a Python file nor a .toml file with rules")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a user's file raises is told in one line)
        raise XptraceError(f"{file}: {type(error).__name__}: {error}") from None
    return [RULES.pop(number) for number in [*RULES] if number not in before]


def _toml(file: str) -> list[Rule]:
    try:
        told = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise XptraceError(f"{file}: {error}") from None
    tables = told.get("rule")
    if not isinstance(tables, list) or not tables:
        raise XptraceError(f"{file}: expected [[rule]] tables, found none")
    return [_declared(file, table) for table in tables]


def _declared(file: str, table: Mapping[str, Any]) -> Rule:
    unknown = set(table) - _KNOWN
    if unknown:
        raise XptraceError(f"{file}: {min(unknown)!r} is not known; there are: {', '.join(sorted(_KNOWN))}")
    for needed in ("id", "severity", "title"):
        if not isinstance(table.get(needed), str):
            raise XptraceError(f"{file}: every rule needs {needed!r}")
    if table["severity"] not in get_args(Severity):
        raise XptraceError(f"{file}: severity {table['severity']!r}; there are: {', '.join(get_args(Severity))}")
    if sum(key in table for key in _LOOKS) != 1:
        raise XptraceError(f"{file}: {table['id']}: a rule looks for a register, for a text, or by a filter")
    if "register" in table and table["register"] not in NAMES:
        raise XptraceError(f"{file}: no register {table['register']!r}; there are: {', '.join(NAMES)}")
    for number in ("at_least", "mask"):
        if not isinstance(table.get(number, 0), int):
            raise XptraceError(f"{file}: {table['id']}: {number!r} is a number")
    try:
        re.compile(str(table.get("text", "")))
    except re.error as error:
        raise XptraceError(f"{file}: {table['id']}: 'text' is no regular expression: {error}") from None
    wanted = _filter(file, table) if "filter" in table else None

    def check(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
        yield from _hits(table, story, wanted)

    check.__doc__ = str(table.get("why") or table["title"])
    return Rule(table["id"], table["severity"], table["title"], str(table.get("law", "a rule of this house")),
                str(table.get("advice", "")), _needs(table, wanted), check)


def _filter(file: str, table: Mapping[str, Any]) -> Filter:
    from xptrace.filter import compile_filter

    try:
        return compile_filter(str(table["filter"]))
    except XptraceError as error:
        raise XptraceError(f"{file}: {table['id']}: {error}") from None


def _needs(table: Mapping[str, Any], wanted: Filter | None) -> frozenset[Need]:
    if wanted is None:
        return frozenset({_EVIDENCE["message"] if "text" in table else "ports"})
    if wanted.kinds == set(_EVIDENCE):
        return frozenset()
    return frozenset({tuple(one for kind, any_of in _EVIDENCE.items() if kind in wanted.kinds for one in any_of)})


def _hits(table: Mapping[str, Any], story: Story, wanted: Filter | None) -> Iterator[Hit]:
    found: list[Fact] = []
    if wanted is not None:
        facts = sorted(_facts(story), key=lambda fact: (_at(fact).place.source, _at(fact).place.offset))
        found += [fact for fact in facts if wanted.matches(_row(fact, story))]
    elif "text" in table:
        pattern = re.compile(str(table["text"]))
        found += [line for line in story.lines if pattern.search(line.text)]
    else:
        found += [step for step in story.steps if _is_meant(table, step)]
    if len(found) < table.get("at_least", 1):
        return
    first = found[0]
    value = first.state if isinstance(first, Change) else None if isinstance(first, Line) else first.value
    text = first.text if isinstance(first, Line) else ""
    sentence = str(table.get("sentence", "{id}: " + str(table["title"])))
    for name, word in (("{id}", story.id), ("{value}", str(value)), ("{text}", text), ("{count}", str(len(found)))):
        sentence = sentence.replace(name, word)
    yield Hit(sentence, places(*map(_at, found[:8])))


Fact = Step | Line | Change | Event


def _facts(story: Story) -> Iterator[Fact]:
    """Everything that is kept of a boot."""
    for kept in (story.steps, story.bar1, story.lines, story.changes, story.hotplug, story.life, story.store):
        yield from kept


def _at(fact: Fact) -> Moment:
    return Moment.of(fact) if isinstance(fact, Event) else fact.at


def _row(fact: Fact, story: Story) -> Mapping[str, Any]:
    """A fact by the keys of `xptrace.access.rows`; what is not kept of it is missing."""
    if isinstance(fact, Event):
        return fact.row()
    row = {
        "time_ns": fact.at.time_ns, "clock": fact.at.clock, "vm": story.vm, "boot": story.boot,
        "source": fact.at.place.source, "offset": fact.at.place.offset, "line": fact.at.place.line,
    }
    if isinstance(fact, Line):
        return {"kind": "message", "text": fact.text, "complete": fact.complete, "via": fact.via, **row}
    if isinstance(fact, Change):
        return {"kind": "event", "topic": fact.end, "subject": fact.device, "value": fact.state, **row}
    said = meaning(fact.space, fact.offset, fact.size, fact.direction, fact.value)
    return {
        "kind": "access", "space": fact.space, "address": fact.offset if fact.space == "pio" else None,
        "size": fact.size, "direction": fact.direction, "value": fact.value, "count": 1, "register": fact.register,
        "meaning": said, "certainty": fact.certainty, **row,
    }


def _is_meant(table: Mapping[str, Any], step: Step) -> bool:
    if step.register != table["register"] or step.value is None:
        return False
    if table.get("direction", step.direction) != step.direction:
        return False
    value, refused = table.get("value", step.value), table.get("not_value", [])
    wanted = value if isinstance(value, list) else [value]
    return (
        step.value in wanted and step.value not in (refused if isinstance(refused, list) else [refused])
        and ("mask" not in table or bool(step.value & table["mask"]))
    )
