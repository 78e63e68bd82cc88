"""PCI config space of Xen's functions: the type 0 header, declared once.

Law: PCI Local Bus Specification 3.0, 6.1 (header), 6.2.2 (command), 6.2.5.1 (BARs); identities as observed on QEMU
7.2, 10.0 and 10.2, and as registered in xen/docs/man/xen-pci-device-reservations.7.pod::

    pci_cfg_read xen-platform 00:02.0 @0x0 -> 0x5853
    pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc001
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from dissectors.platform.registers import VENDOR, Direction

if TYPE_CHECKING:
    from construct import Container, Struct

COMMAND_BITS: Final = {
    0x001: "I/O", 0x002: "memory", 0x004: "bus master", 0x008: "special cycles", 0x010: "write and invalidate",
    0x020: "VGA snoop", 0x040: "parity errors", 0x100: "SERR", 0x200: "fast back-to-back", 0x400: "INTx off",
}  # fmt: skip
_IDENTITIES: Final = {
    (VENDOR, 0x0001): "xen-platform",
    (VENDOR, 0x0002): "xen-platform of XenServer",
    (VENDOR, 0xC000): "xen-pvdevice",
    (0xFFFD, 0x0101): "xen-platform before 2006-09",
}
_HOLDERS: Final = (
    (range(0xC000, 0xC100), "Citrix XenServer"),
    (range(0xC100, 0xC200), "Citrix XenClient"),
    (range(0xC200, 0xC300), "XCP-ng"),
    (range(0xC300, 0xFFFF), "a vendor of the pool c000-fffe"),
)
_CLASSES: Final = {0xFF8000: "unassigned, as Xen's platform device", 0x088000: "system peripheral", 0x010000: "SCSI"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the header: where it is, its size in bytes, its name."""

    offset: int
    size: int
    name: str


_LAYOUT: Final = (
    ("vendor_id", 2), ("device_id", 2), ("command", 2), ("status", 2), ("revision", 1), ("class_code", 3),
    ("cache_line_size", 1), ("latency_timer", 1), ("header_type", 1), ("bist", 1),
    *((f"BAR{number}", 4) for number in range(6)),
    ("cardbus_cis", 4), ("subsystem_vendor_id", 2), ("subsystem_id", 2), ("expansion_rom", 4), ("capabilities", 1),
    (None, 7), ("interrupt_line", 1), ("interrupt_pin", 1), ("min_grant", 1), ("max_latency", 1),
)  # fmt: skip
"""The 64 bytes of a type 0 header, from the first on: each field with its size; bytes from 0x40 on are the device's."""


def _fields() -> Iterator[Field]:
    offset = 0
    for name, size in _LAYOUT:
        if name is not None:
            yield Field(offset, size, name)
        offset += size


FIELDS: Final = tuple(_fields())
"""The fields of the header with their places; reserved bytes are none."""


@cache
def header() -> Struct:
    """The header as construct reads and builds it; the base address registers are one array, `bar`.

    To say what an access means takes no construct: it is imported here.
    """
    from construct import Array, BytesInteger, Int32ul, Padding, Struct

    parts = []
    for name, size in _LAYOUT:
        if name == "BAR0":
            parts.append("bar" / Array(6, Int32ul))
        elif name is None:
            parts.append(Padding(size))
        elif not name.startswith("BAR"):
            parts.append(name / BytesInteger(size, swapped=True))
    return Struct(*parts)


def fields_at(offset: int, size: int) -> list[Field]:
    """The fields of the header that an access of that size touches."""
    return [field for field in FIELDS if field.offset < offset + size and field.offset + field.size > offset]


def identity(vendor: int, device: int) -> str | None:
    """What a vendor and device id name, or None where they are not Xen's."""
    if (vendor, device) in _IDENTITIES:
        return _IDENTITIES[vendor, device]
    if vendor != VENDOR:
        return None
    return next((f"a device of {holder}" for ids, holder in _HOLDERS if device in ids), "an unregistered Xen device")


def parse(raw: bytes) -> Container:
    """A header from its 64 bytes; raises construct.StreamError where there are fewer."""
    found: Container = header().parse(raw)
    return found


def _bar(name: str, value: int, direction: Direction) -> str:
    if direction == "write" and value >= 0xFFFFFFF0:
        return f"asks for the size of {name}"
    if value & 1 and value >> 16:  # x86 has no such port: this is the answer to sizing
        return f"{name} 0x{value:08x} (size of {0x100000000 - (value & 0xFFFFFFFC)} I/O ports)"
    if value & 1:
        return f"{name} 0x{value:08x} (I/O ports at 0x{value & 0xFFFFFFFC:x})"
    kind = "prefetchable memory" if value & 8 else "memory"
    return f"{name} 0x{value:08x} ({kind} at 0x{value & 0xFFFFFFF0:x})" if value > 1 else f"{name} 0x{value:08x}"


def _command(value: int) -> str:
    return ", ".join(said for bit, said in COMMAND_BITS.items() if value & bit) or "nothing decoded"


def _say_part(field: Field, value: int, start: int, end: int) -> str:
    """Some bytes of a field, numbered from its lowest; the value stands at their width, not at the field's."""
    numbers = f"byte {start}" if end - start == 1 else f"bytes {start}-{end - 1}"
    shown = f"{numbers} of {field.name.replace('_', ' ')} 0x{value:0{2 * (end - start)}x}"
    return f"{shown} ({_command(value << 8 * start)})" if field.name == "command" else shown


def _say(field: Field, value: int, direction: Direction) -> str:
    shown = f"{field.name.replace('_', ' ')} 0x{value:0{2 * field.size}x}"
    if field.name.startswith("BAR"):
        return _bar(field.name, value, direction)
    if field.name == "command":
        return f"{shown} ({_command(value)})"
    if field.name == "expansion_rom" and direction == "write" and value >= 0xFFFFF800:
        return "asks for the size of expansion rom"
    if field.name == "class_code" and value in _CLASSES:
        return f"{shown} ({_CLASSES[value]})"
    if field.name.endswith("vendor_id") and value == VENDOR:
        return f"{shown} (XenSource)"
    if field.name == "vendor_id" and value == 0xFFFF:
        return f"{shown} (no function here)"
    return shown


def meaning(offset: int, size: int | None, direction: Direction, value: int | None, function: str) -> str:
    """What a config access says, in words; `function` is put in front as it is."""
    verb = "reads" if direction == "read" else "sets"
    if size is None:
        names = ", ".join(field.name.replace("_", " ") for field in fields_at(offset, 1)) or f"offset 0x{offset:x}"
        shown = "value not recorded" if value is None else f"0x{value:x}"
        return f"{function}: {verb} {names} {shown} (size not recorded)"
    touched = fields_at(offset, size)
    if value is None:
        names = ", ".join(field.name.replace("_", " ") for field in touched) or f"offset 0x{offset:x}"
        return f"{function}: {verb} {names}, value not recorded"
    if not touched:
        return f"{function}: {verb} offset 0x{offset:x} 0x{value & (1 << 8 * size) - 1:0{2 * size}x}"
    said = []
    for field in touched:
        start, end = max(field.offset, offset), min(field.offset + field.size, offset + size)
        part = value >> 8 * (start - offset) & (1 << 8 * (end - start)) - 1
        if end - start == field.size:
            said.append(_say(field, part, direction))
        else:
            said.append(_say_part(field, part, start - field.offset, end - field.offset))
    verb = "" if said[0].startswith("asks for") else f"{verb} "
    text = f"{function}: {verb}{', '.join(said)}"
    named = identity(value & 0xFFFF, value >> 16 & 0xFFFF) if (offset, size, direction) == (0, 4, "read") else None
    return f"{text}: {named}" if named else text
