r"""The pseudo-header: what stands in front of each access, message or event in a capture, declared once.

Law: this page. The link type is LINKTYPE_USER0 (147), which <https://www.tcpdump.org/linktypes.html> leaves to private
agreement, and this is ours. A packet is a head, its texts, and a body by its kind; all numbers are little endian.

======  ==================================================================================================
bytes   head
======  ==================================================================================================
1       version, 1: a reader that meets another one does not know the rest
1       kind: 0 an access, 1 a message (a line of the guest's), 2 an event
2       length of head and texts: the body begins there
2       flags, see `FLAGS`
1       clock that the packet's time is by, see `CLOCK_NAMES`; 0: it has no time, and the packet's is no time at all;
        255: the one that the last text names
1       how the boot began: 0 not told, 1 a new process, 2 a reset in place, 3 the destination of a migration
4       boot, from 1
4       vCPU, signed; -1 where it is not told
4       count: 1, or the elements of a string access that are not recorded one by one
4       PCI function: bus << 8 | slot << 3 | function, where the flags say so
8       base: where the space of the access begins, 0 for the fixed ports
8 + 8   evidence: the byte offset of the record that told of it, and its line, in the source that is named below
2 × 6   lengths of the texts, in the order of `TEXTS`: the VM's name, the source, the names of the events that told
        of it, the subject (the function's device type; of an event what it happened to), what it says in words (of
        an access only where the register map does not, of an event its state or value), the name of a clock that
        has no number
======  ==================================================================================================

The texts follow, UTF-8, without an end mark. The body of an access says in a byte each its space (0 fixed ports, 1
BAR0, 2 BAR1, 3 PCI config space), its direction (0 read, 1 write), its size (0: not told) and whether its value is
told, in four bytes its offset in the space, in eight its address; then comes the value, as wide as the access, or eight
bytes where no size is told, or nothing. The body of a message is a byte for its way (0 log port, 1 port 0xe9, 2 the
kernel's own) and the text; that of an event a byte for its topic, eight for its number, and the integer arguments of
the record that told of it as `name=value`, separated by blanks. A guest `win` asks for the NICs to be unplugged::

    01 00 4b00 2000 01 00 01000000 ffffffff 01000000 00000000 0000000000000000 7800000000000000 0300000000000000
    0300 0500 0700 0000 0000 0000  77696e 612e6c6f67 6370755f6f7574
    00 01 02 01 10000000 1000000000000000  0200
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812  (the module calls it error)
from types import MappingProxyType
from typing import Final, NamedTuple

from dissectors.clock import (
    GUEST,
    LOCAL,
    LOCAL_YEARLESS,
    MONOTONIC,
    SYSLOG,
    TEST,
    TRACE,
    TSC,
    UPTIME,
    WALL,
    XEN,
    XENALYZE,
)
from dissectors.platform.registers import Direction, Space
from dissectors.record import Value

LINKTYPE: Final = 147
"""LINKTYPE_USER0, by private agreement."""
VERSION: Final = 1

CAPTURED_ACCESS: Final = "captured_access"
CAPTURED_MESSAGE: Final = "captured_message"
CAPTURED_EVENT: Final = "captured_event"
CAPTURED: Final = (CAPTURED_ACCESS, CAPTURED_MESSAGE, CAPTURED_EVENT)
"""Events of the records that a capture gives, by the number of their kind. Their values are those of `unpack`."""

KINDS: Final[Mapping[int, str]] = {0: "access", 1: "message", 2: "event"}
ACCESS, MESSAGE, EVENT = KINDS
SPACES: Final[Mapping[int, Space]] = {0: "pio", 1: "bar0", 2: "bar1", 3: "pci-config"}
DIRECTIONS: Final[Mapping[int, Direction]] = {0: "read", 1: "write"}
WAYS: Final[Mapping[int, str]] = {0: "log", 1: "debug", 2: "kernel"}
TOPICS: Final[Mapping[int, str]] = dict(enumerate(
    ("frontend", "backend", "function", "mapping", "life", "store", "identity", "driver")))  # fmt: skip
CLOCK_NAMES: Final[Mapping[int, str]] = {
    0: "none", 1: WALL, 2: SYSLOG, 3: LOCAL, 4: LOCAL_YEARLESS, 5: TRACE, 6: MONOTONIC, 7: XEN, 8: TSC, 9: UPTIME,
    10: GUEST, 11: TEST, 12: XENALYZE, 255: "another",
}  # fmt: skip
"""Those that have a number; the name of another one, a third party's, is among the texts."""
NO_CLOCK, OTHER_CLOCK = 0, 255
BEGINNINGS: Final[Mapping[int, str]] = {0: "not told", 1: "process", 2: "reset", 3: "migration"}
FLAGS: Final = ("inferred", "derived", "complete", "vcpu", "function", "address", "number")
"""Bits of the flags, from the lowest: the entry is inferred; it follows from a record that does not tell it; a message
is whole; the vCPU, the function, the address of an access, the number of an event are told."""
_TOLD: Final = ("vcpu", "function", "address", "number")


class Field(NamedTuple):
    """One number: its name, its code in `struct`, and what its values are called, where they have names."""

    name: str
    code: str
    names: Mapping[int, str] = MappingProxyType({})

    @property
    def size(self) -> int:
        """Bytes."""
        return {"B": 1, "H": 2, "I": 4, "i": 4, "Q": 8}[self.code]


TEXTS: Final = ("vm", "source", "told_by", "subject", "said", "clock_name")
HEAD: Final = (
    Field("version", "B"), Field("kind", "B", KINDS), Field("length", "H"), Field("flags", "H"),
    Field("clock", "B", CLOCK_NAMES), Field("began", "B", BEGINNINGS), Field("boot", "I"), Field("vcpu", "i"),
    Field("count", "I"), Field("function", "I"), Field("base", "Q"), Field("source_offset", "Q"),
    Field("source_line", "Q"), *(Field(f"{name}_bytes", "H") for name in TEXTS),
)  # fmt: skip
BODIES: Final[Mapping[int, tuple[Field, ...]]] = {
    ACCESS: (
        Field("space", "B", SPACES), Field("access", "B", DIRECTIONS), Field("size", "B"), Field("recorded", "B"),
        Field("offset", "I"), Field("address", "Q"),
    ),
    MESSAGE: (Field("via", "B", WAYS),),
    EVENT: (Field("topic", "B", TOPICS), Field("number", "Q")),
}  # fmt: skip
"""What the body of each kind begins with; the field of the direction is called as in `dissectors.platform.layers`."""

UNKNOWN_WIDTH: Final = 8
"""Bytes of a value whose access has no recorded size."""
_LONGEST_TEXT: Final = 0xFFFF
_ARGUMENT: Final = re.compile(rb"(\w{1,255})=(-?\d{1,40})(?: |$)")
_UNTOLD: Final = {"vcpu": -1, "count": 1, "boot": 1}
"""What stands for a number that is not told, where it is not 0."""


def structure(fields: tuple[Field, ...]) -> Struct:
    """These fields, one behind the other, little endian."""
    return Struct("<" + "".join(one.code for one in fields))


_HEAD: Final = structure(HEAD)
_HEAD_NAMES: Final = tuple(one.name for one in HEAD)
HEAD_BYTES: Final = _HEAD.size
_BODY: Final = {kind: structure(fields) for kind, fields in BODIES.items()}


class HeaderError(ValueError):
    """What a packet lacks to be one of ours, or what cannot be written as one."""


def width(size: int | None) -> int:
    """How many bytes the value of an access of that size takes."""
    return size or UNKNOWN_WIDTH


def pack(values: Mapping[str, Value]) -> bytes:
    """A packet from its values: those of head, texts and body, None or left out where they are not told.

    Beside the fields' names there are the flags', `value` of an access, `text` of a message and `arguments` of an
    event. Raises HeaderError where a number or text does not fit.
    """
    texts = [_text(values, name) for name in TEXTS]
    kind = _number(values, "kind")
    flags = sum(1 << bit for bit, name in enumerate(FLAGS)
                if (values.get(name) is not None if name in _TOLD else values.get(name)))  # fmt: skip
    filled = {
        "version": VERSION, "flags": flags, "length": HEAD_BYTES + sum(map(len, texts)),
        **{f"{name}_bytes": len(text) for name, text in zip(TEXTS, texts, strict=True)},
    }
    try:
        head = _HEAD.pack(*(filled[one.name] if one.name in filled else _number(values, one.name) for one in HEAD))
        return head + b"".join(texts) + _pack_body(kind, values)
    except (StructError, OverflowError) as error:
        raise HeaderError(f"no packet can say this: {error}") from None


def _number(values: Mapping[str, Value], name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) else _UNTOLD.get(name, 0)


def _text(values: Mapping[str, Value], name: str) -> bytes:
    value = values.get(name)
    text = value if isinstance(value, bytes) else b""
    if len(text) > _LONGEST_TEXT:
        raise HeaderError(f"no packet can say this: {name} has {len(text)} bytes")
    return text


def _pack_body(kind: int, values: Mapping[str, Value]) -> bytes:
    if kind not in BODIES:
        raise HeaderError(f"no kind {kind} of packet")
    value = values.get("value")
    told = {"recorded": int(value is not None)}
    body = _BODY[kind].pack(
        *(told[one.name] if one.name in told else _number(values, one.name) for one in BODIES[kind])
    )
    if kind == ACCESS:
        wide = width(_number(values, "size"))
        return body + (value.to_bytes(wide, "little") if isinstance(value, int) else b"")
    rest = values.get("text" if kind == MESSAGE else "arguments")
    return body + (rest if isinstance(rest, bytes) else b"")


def unpack(packet: bytes) -> dict[str, Value]:
    """The values of a packet, the reverse of `pack`; raises HeaderError where it is none of ours, or not whole."""
    if len(packet) < HEAD_BYTES:
        raise HeaderError(f"expected a head of {HEAD_BYTES} bytes, found {len(packet)}")
    values: dict[str, Value] = dict(zip(_HEAD_NAMES, _HEAD.unpack_from(packet), strict=True))
    version, kind, begin, flags = (_number(values, name) for name in ("version", "kind", "length", "flags"))
    if version != VERSION:
        raise HeaderError(f"expected version {VERSION} of the pseudo-header, found {version}")
    if kind not in BODIES:
        raise HeaderError(f"expected a packet of kind 0 to {max(BODIES)}, found {kind}")
    at = HEAD_BYTES
    for name in TEXTS:
        size = _number(values, f"{name}_bytes")
        values[name] = packet[at : at + size]
        at += size
    if at > begin:
        raise HeaderError(f"expected texts up to byte {begin}, found that they end at {at}")
    if begin + _BODY[kind].size > len(packet):
        raise HeaderError(f"expected {begin + _BODY[kind].size} bytes at least, found {len(packet)}")
    names = (one.name for one in BODIES[kind])
    values.update(zip(names, _BODY[kind].unpack_from(packet, begin), strict=True))
    values.update((name, flags >> bit & 1) for bit, name in enumerate(FLAGS) if name not in _TOLD)
    values.update((name, None) for bit, name in enumerate(FLAGS) if name in _TOLD and not flags >> bit & 1)
    rest = packet[begin + _BODY[kind].size :]
    for one in (*HEAD, *BODIES[kind]):
        if one.names and one.name != "clock" and values[one.name] not in one.names:
            raise HeaderError(f"no {one.name} has the number {_number(values, one.name)}")
    if kind == ACCESS:
        wide = width(_number(values, "size"))
        if values["recorded"] and len(rest) < wide:
            raise HeaderError(f"expected a value of {wide} bytes, found {len(rest)}")
        values["value"] = int.from_bytes(rest[:wide], "little") if values["recorded"] else None
        values["size"] = values["size"] or None
    else:
        values["text" if kind == MESSAGE else "arguments"] = rest
    return values


def arguments(numbers: Mapping[str, Value]) -> bytes:
    """The integers among a record's values, as the body of an event holds them."""
    return b" ".join(b"%s=%d" % (name.encode(), value) for name, value in numbers.items() if isinstance(value, int))


def numbers(told: bytes) -> dict[str, Value]:
    """The reverse of `arguments`; what is no argument is left out."""
    return {found[1].decode(): int(found[2]) for found in _ARGUMENT.finditer(told)}
