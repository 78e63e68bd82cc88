r"""QEMU's trace events out of LTTng, as babeltrace prints them.

Law: QEMU's scripts/tracetool/format/ust_events_h.py, by which the fields of `qemu:NAME` are the event's arguments;
babeltrace 2's src/plugins/text/pretty/print.c, and babeltrace 1's text output, which looks the same. The same event
with default settings and with `--clock-seconds --names=all --fields=all`, whose header is shortened here::

    [03:12:34.126851111] (+0.000029035) vm qemu:cpu_in: { cpu_id = 1 }, { vpid = 8179, vtid = 8179, procname =
        "qemu-system-i38" }, { addr = 0x10, val = 18898 }
    timestamp = 1795403554.126851111, delta = +0.000029035, ..., name = qemu:cpu_in, stream.packet.context = { cpu_id =
        1 }, stream.event.context = { vpid = 8179, ... }, event.fields = { addr = 0x10, val = 18898 }

What QEMU does not hand over is not there: an argument of type `char`, such as the size of `cpu_in` and `cpu_out`, and
the last one of a format with two macros close together, such as the size of `pci_update_mappings_add`. These are None.
`cpu_id` is the host's processor, and no vCPU.

Time is what CLOCK_MONOTONIC said, moved once to the date when the session began: `WALL` but for steps of the clock. By
default babeltrace prints only the time of day, in its own zone: that is no time. With `--clock-date` it is `LOCAL`.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
from datetime import datetime

from dissectors import Dissector, Given
from dissectors.clock import LOCAL, WALL
from dissectors.qemu.declaration import CHARACTER, POINTER, REAL, STRING
from dissectors.record import Damage, Loss, Record, Value

NEEDLES: tuple[re.Pattern[bytes], ...] = (
    re.compile(rb" qemu:[A-Za-z_]\w*[:,] "), re.compile(rb"Tracer (?:discarded|lost) "),
)
"""Bytes that must occur in any record of ours: the provider and the event, or what babeltrace says of a loss."""

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_BRIEF = re.compile(rb"\[(?P<stamp>[^\]]{1,48})\] [^{}\"]{0,512}?(?<= )qemu:(?P<name>\w{1,80}): (?=\{)")
_FULL = re.compile(rb"timestamp = (?P<stamp>[^,]{1,48}), [^{}\"]{0,1024}?(?<= )name = qemu:(?P<name>\w{1,80}), ")
_GROUP = re.compile(rb"(?:[\w.]{1,64} = )?\{ (?P<fields>(?:[^{}\"]|" + _STRING + rb")*+)\}(?P<more>, |\r?$)", re.DOTALL)
_FIELD = re.compile(rb"(?P<name>\w{1,80}) = (?P<value>" + _STRING + rb"|[^\s,\"]{1,64})(?:, | ?$)", re.DOTALL)
_INTEGER = re.compile(rb"-?\d{1,20}|0x[0-9A-Fa-f]{1,16}")
_EPOCH = re.compile(rb"(\d{1,11})\.(\d{9})")
_DATE = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{9})")
_COLOUR = rb"(?:\x1b\[[\d;]*m)*"
_LOSS = re.compile(
    _COLOUR + rb"(?:WARNING|\[warning\])" + _COLOUR + rb":? Tracer (?:discarded|lost) (?P<count>-?\d{1,20}) "
)
_HEAD = re.compile(
    rb"(?m)^(?:\[[^\]\n]{1,48}\] [^{}\"\n]{0,512}? qemu:\w{1,80}: \{ |timestamp = [^{}\n]{1,1024}? name = qemu:)"
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {
    b"0": b"\0", b"a": b"\a", b"b": b"\b", b"e": b"\x1b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
    b"v": b"\v",
}  # fmt: skip
_BROKEN = "not whole, or not as babeltrace writes it"


Layout = tuple[tuple[str, bytes, str], ...]
"""The arguments of a declaration: name, the same as printed, and kind."""


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes((int(found[1], 16),))
    return _ESCAPED.get(found[2], found[2])


def _fields(text: bytes) -> dict[bytes, bytes] | None:
    """The fields of one group in order, as printed; None where it has anything else."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        if (found := _FIELD.match(text, at)) is None:
            return None
        fields[found["name"]] = found["value"]
        at = found.end()
    return fields


def _groups(line: bytes, at: int) -> list[bytes] | None:
    """The groups from here to the end of the line: contexts, and last the event's own; None where it is not whole."""
    groups = []
    while (found := _GROUP.match(line, at)) is not None:
        groups.append(found["fields"])
        at = found.end()
        if found["more"] != b", ":
            return groups
    return None


def _value(kind: str, printed: bytes) -> tuple[Value] | None:
    """What was printed of an argument; None where it is not of its kind."""
    if printed[:1] == b'"' or kind == STRING:
        text = kind == STRING and printed[:1] == b'"'
        return (_ESCAPE.sub(_unescape, printed[1:-1]),) if text else None
    if kind == REAL:
        return (printed,)
    if not _INTEGER.fullmatch(printed):
        return None
    number = int(printed, 16) if printed[:2] == b"0x" else int(printed)
    if kind == CHARACTER:
        return (bytes((number & 0xFF,)),)
    return ((number or None) if kind == POINTER else number,)


def _values(layout: Layout, fields: Mapping[bytes, bytes]) -> tuple[int, dict[str, Value]] | None:
    """The values by the arguments of one declaration, and how many it lacks without excuse; None where it is another's.

    The fields are arguments in their order; QEMU leaves out some.
    """
    values: dict[str, Value] = {}
    lacking = taken = 0
    order = list(fields.items())
    for name, field, kind in layout:
        if taken < len(order) and order[taken][0] == field:
            if (value := _value(kind, order[taken][1])) is None:
                return None
            (values[name],) = value
            taken += 1
        else:
            values[name] = None
            lacking += kind != CHARACTER
    return (lacking, values) if taken == len(order) else None


class BabeltraceText:
    """Reads candidate lines of one source into the events that QEMU traced."""

    def __init__(self, given: Given) -> None:
        self._source, self._catalogue = given.source, given.catalogue
        self._layouts: dict[bytes, tuple[Layout, ...]] = {}
        """Of the events of ours that have been met."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        found = _BRIEF.match(line) or _FULL.match(line)
        if found is None:
            if lost := _LOSS.match(line):
                missing = _count(lost)
                yield Loss(self._source, offset, length, number, f"the tracer says that {missing} are missing here")
            return
        name = found["name"]
        if not (layouts := self._layouts.get(name) or self._learn(name)):
            return
        groups = _groups(line, found.end())
        fields = None if groups is None else _fields(groups[-1])
        if groups is None or fields is None:
            yield Damage(self._source, offset, length, number, f"{name.decode()} is {_BROKEN}")
            return
        fitting = [one for one in (_values(layout, fields) for layout in layouts) if one is not None]
        if not fitting:
            yield Damage(self._source, offset, length, number, f"{name.decode()} does not have the form of its event")
            return
        _, values = min(fitting, key=lambda one: one[0])
        time_ns, clock = _time(found["stamp"])
        yield Record(self._source, offset, length, number, name.decode(), values, line, time_ns, clock,
                     _thread(groups[:-1]))

    def _learn(self, name: bytes) -> tuple[Layout, ...]:
        """The forms of an event, the newest first; none where it is not ours."""
        layouts = tuple(dict.fromkeys(
            tuple((argument.name, argument.name.encode(), argument.kind) for argument in declaration.arguments)
            for declaration in self._catalogue.declarations(name)
        ))
        if layouts:
            self._layouts[name] = layouts
        return layouts


def _count(lost: re.Match[bytes]) -> str:
    count = int(lost["count"])
    return f"{count} of its records" if count > 0 else "records"


def _thread(contexts: list[bytes]) -> int | None:
    """The thread, or else the process, where somebody had it added to the context."""
    told: dict[bytes, bytes] = {}
    for context in contexts:
        told |= _fields(context) or {}
    found = told.get(b"vtid", told.get(b"vpid", b""))
    return int(found) if found.isdigit() and len(found) <= 10 else None


def _time(stamp: bytes) -> tuple[int, str] | tuple[None, None]:
    """The time and its clock; neither for a time of day."""
    second = None
    clock = WALL
    if found := _EPOCH.fullmatch(stamp):
        second = int(found[1])
    elif found := _DATE.fullmatch(stamp):
        clock = LOCAL
        try:
            second = timegm(datetime.fromisoformat(found[1].decode()).timetuple())
        except ValueError:
            return None, None
    if found is None or second is None:
        return None, None
    time_ns = second * 10**9 + int(found[2])
    return (time_ns, clock) if 0 <= time_ns < 1 << 63 else (None, None)


def sniff(head: bytes) -> int:
    """How sure it is that a source is such text: QEMU's events say so; or it may be another program's so far."""
    if _HEAD.search(head):
        return 90
    return 20 if re.search(rb"\] \(\+[\d?.]{1,32}\) |^timestamp = ", head) and b" cpu_id = " in head else 0


DISSECTOR = Dissector(
    "lttng", "QEMU's trace events out of LTTng, as babeltrace prints them",
    b"[03:12:34.133971760] (+0.000036439) vm qemu:xen_platform_log: { cpu_id = 1 }, { vpid = 8179, vtid = 8179, "
    b'procname = "qemu-system-i38" }, { s = "hello from guest" }',
    sniff, lines=BabeltraceText, needles=NEEDLES,
)
