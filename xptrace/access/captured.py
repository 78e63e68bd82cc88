"""An access, message or event as the values of a packet, and back again, as it stood.

Law: `dissectors.capture.header`. What was put together once is not put together again: VM, boot and certainty are those
that the capture tells. The evidence of what is read is the packet; that of the recording before it stays in the values.
What the register map says of an access is not written, but said again by whoever reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

from dissectors.capture import header
from dissectors.capture.header import (
    ACCESS,
    CLOCK_NAMES,
    DIRECTIONS,
    EVENT,
    MESSAGE,
    NO_CLOCK,
    OTHER_CLOCK,
    SPACES,
)
from dissectors.platform import registers
from dissectors.record import Record, Value
from xptrace.access.attribution import Beginning, Vm
from xptrace.access.messages import decode_text
from xptrace.access.rows import Access, Certainty, Entry, Event, Message, Topic, Way

_Key = TypeVar("_Key")
_CLOCKS: Final = {name: number for number, name in CLOCK_NAMES.items() if number not in (NO_CLOCK, OTHER_CLOCK)}
_SPACES: Final = {name: number for number, name in SPACES.items()}
_WAYS: Final[dict[Way, int]] = {"log": 0, "debug": 1, "kernel": 2}
_TOPICS: Final[dict[Topic, int]] = {
    "frontend": 0, "backend": 1, "function": 2, "mapping": 3, "life": 4, "store": 5, "identity": 6, "driver": 7,
}  # fmt: skip
_BEGINNINGS: Final[dict[Beginning, int]] = {"process": 1, "reset": 2, "migration": 3}


# -- to a packet


def values_of(entry: Entry, began: Beginning | None = None) -> dict[str, Value]:
    """What a packet is to say of an entry; `began` is how its boot began, where that is known."""
    evidence = entry.cited
    clock = NO_CLOCK if entry.time_ns is None else _CLOCKS.get(entry.clock or "", OTHER_CLOCK)
    values: dict[str, Value] = {
        "clock": clock, "clock_name": _bytes(entry.clock or "") if clock == OTHER_CLOCK else b"",
        "boot": entry.boot, "began": 0 if began is None else _BEGINNINGS[began],
        "vm": _bytes(entry.vm), "source": _bytes(evidence.source), "source_offset": evidence.offset,
        "source_line": evidence.line, "derived": entry.records[0].derived,
        "told_by": _bytes(" ".join(dict.fromkeys(record.event for record in entry.records))),
    }
    if isinstance(entry, Access):
        return values | _access(entry)
    if isinstance(entry, Message):
        return values | {
            "kind": MESSAGE, "inferred": entry.certainty == "inferred", "complete": entry.complete,
            "via": _WAYS[entry.via], "text": _bytes(entry.text),
        }
    return values | {
        "kind": EVENT, "topic": _TOPICS[entry.topic], "number": entry.value, "subject": _bytes(entry.subject),
        "said": _bytes(entry.said), "arguments": header.arguments(evidence.values),
    }


def _access(access: Access) -> dict[str, Value]:
    function, address, offset = access.function, access.address, access.offset
    if offset is None:
        offset = access.records[0].integer("addr")  # in the BAR, whose place nobody has told
    mapped = access.space in ("pio", "bar0") and access.meaning == registers.meaning(
        access.space, access.offset, access.size, access.direction, access.value)
    return {
        "kind": ACCESS, "inferred": access.certainty == "inferred", "vcpu": access.vcpu, "count": access.count,
        "function": None if function is None else function.number,
        "subject": _bytes((function.device if function is not None else None) or ""),
        "base": access.base, "space": _SPACES[access.space], "access": int(access.direction == "write"),
        "size": access.size, "offset": (offset or 0) & 0xFFFFFFFF, "address": address, "value": access.value,
        "said": b"" if mapped else _bytes(access.meaning),
    }


def _bytes(text: str) -> bytes:
    """UTF-8; a byte that was none in a file's name is that byte again, and other halves of a pair are shown as lost."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


# -- from a packet


def restored(record: Record, vm: Vm) -> Entry:
    """The entry that a packet tells of; `vm` is whose it is, and learns in which boot, and how that began."""
    boot = vm.boot = record.integer("boot") or 0
    if began := record.integer("began"):
        vm.began[boot] = _named(_BEGINNINGS, began)
    records = [replace(record, event=name) for name in _string(record, "told_by").split()] or [record]
    kind = record.integer("kind")
    if kind == EVENT:
        records[0].values = {**record.values, **header.numbers(record.text("arguments"))}
        return Event(record.time_ns, record.clock, vm.name, boot, _named(_TOPICS, record.integer("topic")),
                     _string(record, "subject"), _string(record, "said"), record.integer("number"), records)
    vm.used = True
    certainty: Certainty = "inferred" if record.integer("inferred") else "observed"
    if kind == MESSAGE:
        return Message(record.time_ns, record.clock, vm.name, boot, decode_text(record.text("text")),
                       bool(record.integer("complete")), certainty, records, _named(_WAYS, record.integer("via")))
    vm.accessed = True
    return _restored_access(record, vm, certainty, records)


def _restored_access(record: Record, vm: Vm, certainty: Certainty, records: list[Record]) -> Access:
    space, direction = SPACES[record.integer("space") or 0], DIRECTIONS[record.integer("access") or 0]
    address, base, number = (record.integer(name) for name in ("address", "base", "function"))
    function = None
    if number is not None:
        function = vm.spaces.function(number, _string(record, "subject") or None)
        function.ours = True  # only accesses to Xen's functions are entries
    access = Access(
        record.time_ns, record.clock, vm.name, vm.boot, record.integer("vcpu"), space, address, record.integer("size"),
        direction, record.integer("value"), record.integer("count") or 0, "", "", certainty, records, base or 0,
        function,
    )
    offset = access.offset
    access.register = registers.register_name(space, offset, access.size, direction)
    access.meaning = _in_words(space, offset, access, _string(record, "said"))
    return access


def _in_words(space: str, offset: int | None, access: Access, said: str) -> str:
    """What an access means: as it was said, or else as the protocol's declarations say it."""
    if said:
        return said
    if space == "pci-config" and offset is not None:
        from dissectors.platform import config_space

        name = "function" if access.function is None else access.function.name
        return config_space.meaning(offset, access.size, access.direction, access.value, name)
    if space == "bar1":
        return "BAR1: address space for the driver"
    return registers.meaning(access.space, offset, access.size, access.direction, access.value)


def _string(record: Record, name: str) -> str:
    return record.text(name).decode("utf-8", "surrogateescape" if name == "source" else "replace")


def _named(table: Mapping[_Key, int], number: int | None) -> _Key:
    """The name that has this number."""
    return next(name for name, one in table.items() if one == number)
