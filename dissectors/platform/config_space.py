"""PCI config space of Xen's functions: the type 0 header, declared once with construct.

Law: PCI Local Bus Specification 3.0, 6.1 (header), 6.2.2 (command), 6.2.5.1 (BARs); identities as observed on QEMU
7.2, 10.0 and 10.2, and as registered in xen/docs/man/xen-pci-device-reservations.7.pod::

    pci_cfg_read xen-platform 00:02.0 @0x0 -> 0x5853
    pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc001
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from construct import Array, Container, Int8ul, Int16ul, Int24ul, Int32ul, Padding, Struct

from dissectors.platform.registers import VENDOR, Direction

HEADER: Final = Struct(
    "vendor_id" / Int16ul,
    "device_id" / Int16ul,
    "command" / Int16ul,
    "status" / Int16ul,
    "revision" / Int8ul,
    "class_code" / Int24ul,
    "cache_line_size" / Int8ul,
    "latency_timer" / Int8ul,
    "header_type" / Int8ul,
    "bist" / Int8ul,
    "bar" / Array(6, Int32ul),
    "cardbus_cis" / Int32ul,
    "subsystem_vendor_id" / Int16ul,
    "subsystem_id" / Int16ul,
    "expansion_rom" / Int32ul,
    "capabilities" / Int8ul,
    Padding(7),
    "interrupt_line" / Int8ul,
    "interrupt_pin" / Int8ul,
    "min_grant" / Int8ul,
    "max_latency" / Int8ul,
)
"""The 64 bytes of a type 0 header; bytes from 0x40 on are the device's own."""

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


def _fields() -> tuple[Field, ...]:
    found = []
    offset = 0
    for part in HEADER.subcons:
        size = int(part.sizeof())
        if part.name == "bar":
            found += [Field(offset + 4 * number, 4, f"BAR{number}") for number in range(size // 4)]
        elif part.name is not None:
            found.append(Field(offset, size, str(part.name)))
        offset += size
    return tuple(found)


FIELDS: Final = _fields()
"""The fields of `HEADER` with their places; reserved bytes are none."""


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
    header: Container = HEADER.parse(raw)
    return header


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
