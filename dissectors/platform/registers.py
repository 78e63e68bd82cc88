"""The register map of the Xen platform device, declared once.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for the protocol; hw/i386/xen/xen_platform.c of QEMU 7.2, 10.0 and
10.2, observed on the running devices, wherever the document is silent or differs. A register is what an access
means by space, offset, size and direction: the width decides. A word read of port 0x10 is the magic, a word write
of the same port unplugs, a dword write there names a build::

    memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'
    memory_region_ops_write cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x3 size 2 name 'xen-fixed'

Everything else that speaks of registers (decoded text, scapy layers, filters) is made from `REGISTERS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from dissectors.platform.products import PRODUCTS

Direction = Literal["read", "write"]
Space = Literal["pio", "bar0", "bar1", "pci-config"]

MAGIC: Final = 0x49D2
MAGIC_BLACKLISTED: Final = 0xD249
"""What the magic turns into for a blacklisted driver: the magic with its bytes swapped."""

PORTS: Final = range(0x10, 0x20)
"""The fixed ports, present whatever the command register and the BARs say."""
REGION: Final = "xen-fixed"
"""The region of memory that QEMU's device has them in (hw/i386/xen/xen_platform.c)."""
BAR0_SIZE: Final = 0x100
LOG_BUFFER: Final = 4095
"""Characters the device holds before it must emit a line; the one that finds them all held is dropped."""
VENDOR: Final = 0x5853
"""The PCI vendor id of the device: XenSource."""
LOG_REGISTERS: Final = ("log", "bar0_log")
"""The registers that share one log buffer."""


class Bit(NamedTuple):
    """One flag of a register: its value, its name in the scapy layers and filters, its meaning in words."""

    value: int
    name: str
    meaning: str


class Register(NamedTuple):
    """One register: where it is, which way and how wide it is accessed, and what its value says.

    `offset` is relative to the space: the port itself for `pio`, the offset in the BAR for `bar0`.
    `sentence` is a format string over `value`, `hex` (at the register's width) and `said` (bits or enumeration).
    """

    name: str
    space: Space
    offset: int
    size: int
    direction: Direction
    sentence: str
    bits: tuple[Bit, ...] = ()
    values: Mapping[int, str] = MappingProxyType({})
    otherwise: str = ""
    """What a value outside `values` means."""
    lineage: str = ""
    """Since when, and where it differs."""

    def say(self, value: int | None) -> str:
        """What this value of the register means, in words; a missing value is said to be missing."""
        if value is None:
            return f"{self.name.replace('_', ' ')}, value not recorded"
        said = self.values.get(value)
        if said is None:
            said = ", ".join(bit.meaning for bit in self.bits if value & bit.value) or self.otherwise
        return self.sentence.format(value=value, hex=f"0x{value:0{2 * self.size}x}", said=said)


UNPLUG_BITS: Final = (
    Bit(1, "ide_disks", "IDE and SCSI disks"),
    Bit(2, "nics", "NICs"),
    Bit(4, "aux_ide_disks", "IDE disks except the primary master"),
    Bit(8, "nvme_disks", "NVMe disks"),
)


ALL_UNPLUG_BITS: Final = sum(bit.value for bit in UNPLUG_BITS)


LEGACY_UNPLUGS: Final[dict[tuple[str, int], int]] = {
    ("bar0_unplug_all", 1): 3, ("bar0_log", 1): 1, ("bar0_log", 2): 2,
}
"""Legacy registers and the values that unplug, with the mask bits that they amount to."""


def in_words(mask: int) -> str:
    """What a mask asks to unplug, in words."""
    return ", ".join(bit.meaning for bit in UNPLUG_BITS if mask & bit.value) or "nothing"


_NVME_ALONE = "NVMe disks and, where that bit stands alone, IDE and SCSI disks too"
"""Observed on QEMU 7.2, 10.0 and 10.2: bit 3 without bit 2 starts the whole walk over the disks."""

_ROM_LOCK = (Bit(1, "rom_lock", "ROM area read-only"),)
_FLAGS_READ = "flags {hex}: {said}"
_FLAGS_WRITE = "set flags {hex}: {said}"
_WRITABLE = "ROM area writable"


def _character(value: int) -> str:
    return repr(chr(value)) if 0x20 <= value < 0x7F else f"0x{value:02x}"


_CHARACTERS: Final = {value: _character(value) for value in range(256)} | {0x0A: "end of line"}
_LOG = "log character {said}"

REGISTERS: Final[tuple[Register, ...]] = (
    Register("flags", "pio", 0x10, 1, "read", _FLAGS_READ, _ROM_LOCK, otherwise=_WRITABLE),
    Register("flags", "pio", 0x10, 1, "write", _FLAGS_WRITE, _ROM_LOCK, otherwise=_WRITABLE,
             lineage="real Xen asks the hypervisor to protect 0xc0000-0xfffff; KVM-Xen only stores the bit"),
    Register("magic", "pio", 0x10, 2, "read", "magic {hex}: {said}",
             values={MAGIC: "Xen platform device, not blacklisted", MAGIC_BLACKLISTED: "driver blacklisted",
                     0xFFFF: "nothing answers"},
             otherwise="not the Xen platform device",
             lineage="0xd249: qemu-xen-traditional and XenServer's queue; no upstream QEMU release produces it"),
    Register("unplug_mask", "pio", 0x10, 2, "write", "unplug mask {hex}: {said}", UNPLUG_BITS,
             values={0x8: _NVME_ALONE, 0xA: f"{_NVME_ALONE}, NICs"}, otherwise="nothing to unplug",
             lineage="upstream QEMU since 1.0; bit 2 since 2.9, bit 3 on its own since 2.10"),
    Register("build_number", "pio", 0x10, 4, "write", "driver build {value} ({hex})",
             lineage="ignored by upstream QEMU; stored by qemu-xen-traditional, XenServer and XCP-ng"),
    Register("unplug_type", "pio", 0x11, 1, "write", "unplug type {value}: {said}",
             values={0: "none", 1: "IDE", 2: "NIC"}, otherwise="unrecognised",
             lineage="XenServer's protocol 2 only; ignored by every other device"),
    Register("protocol_version", "pio", 0x12, 1, "read", "protocol version {value} ({said})",
             values={0: "no product, build or blacklist", 1: "unplug by mask", 2: "XenServer's: unplug by device",
                     0xFF: "nothing answers"}, otherwise="unknown"),
    Register("product_number", "pio", 0x12, 2, "write", "driver product {value} ({said})", values=PRODUCTS,
             otherwise="unregistered"),
    Register("log", "pio", 0x12, 1, "write", _LOG, values=_CHARACTERS),
    Register("unplug_index", "pio", 0x13, 1, "write", "unplug index {value}, or choice of the protocol version",
             lineage="XenServer's protocol 2 only: the first write chooses the version; ignored by every other device"),
    Register("bar0_flags", "bar0", 0, 1, "read", _FLAGS_READ, _ROM_LOCK, otherwise=_WRITABLE),
    Register("bar0_flags", "bar0", 0, 1, "write", _FLAGS_WRITE, _ROM_LOCK, otherwise=_WRITABLE),
    Register("bar0_unplug_all", "bar0", 4, 1, "write", "{said} ({hex})",
             values={1: "unplug IDE and SCSI disks, NICs (SUSE legacy)"}, otherwise="not 1, so nothing is unplugged",
             lineage="upstream QEMU since 2.8"),
    Register("bar0_log", "bar0", 8, 1, "write", "{said}",
             values={value: f"log character {said}" for value, said in _CHARACTERS.items()}
             | {1: "unplug IDE and SCSI disks (Novell legacy)", 2: "unplug NICs (Novell legacy)"},
             lineage="before upstream QEMU 2.8 every value is a log character"),
)

_BY_PLACE: Final = {(r.space, r.offset, r.size, r.direction): r for r in REGISTERS}

UNDEFINED: Final = "undefined"
WHOLE_SPACE: Final[Mapping[Space, str]] = {"bar1": "bar1", "pci-config": "config"}
"""Spaces whose accesses all have one register name."""
NAMES: Final = tuple(dict.fromkeys([*(r.name for r in REGISTERS), UNDEFINED, *WHOLE_SPACE.values()]))
"""Every register name, in the order of the map."""


def find(space: Space, offset: int, size: int | None, direction: Direction) -> Register | None:
    """The register at this place, or None where the device has none. A missing size is resolved only if unique."""
    if size is not None:
        return _BY_PLACE.get((space, offset, size, direction))
    fits = [r for r in REGISTERS if (r.space, r.offset, r.direction) == (space, offset, direction)]
    return fits[0] if len(fits) == 1 else None


class Piece(NamedTuple):
    """The part of an access that reaches the device as one call: offset in its space, size, value (or None)."""

    space: Space
    offset: int
    size: int
    value: int | None
    direction: Direction

    @property
    def register(self) -> Register | None:
        """The register that the piece reaches, if there is one."""
        return find(self.space, self.offset, self.size, self.direction)


def lengths(space: Space, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """How QEMU cuts an access: (offset, size) of each call, low to high.

    Fixed ports take an access whole, but one that starts below 0x10 arrives there in powers of two, biggest first,
    its lower bytes one by one elsewhere; BAR0 takes single bytes; BAR1 at most four aligned bytes (observed on QEMU
    7.2, 10.0 and 10.2).
    """
    end = offset + size
    while offset < end:
        if space == "bar0" or (space == "pio" and offset < PORTS.start):
            step = 1
        elif space == "bar1":
            step = min(4, offset & -offset or 4, 1 << (end - offset).bit_length() - 1)
        else:
            step = 1 << (end - offset).bit_length() - 1
        yield offset, step
        offset += step


def pieces(space: Space, offset: int, size: int | None, direction: Direction, value: int | None) -> list[Piece]:
    """The calls that an access becomes at the device; bytes that another device takes are left out."""
    if size is None or space in WHOLE_SPACE:
        return []
    found = []
    for start, length in lengths(space, offset, size):
        if (space == "pio" and start < PORTS.start) or (space == "bar0" and not 0 <= start < BAR0_SIZE):
            continue
        part = None if value is None else value >> 8 * (start - offset) & (1 << 8 * length) - 1
        found.append(Piece(space, start, length, part, direction))
    return found


def register_name(space: Space, offset: int | None, size: int | None, direction: Direction) -> str:
    """The register an access is filed under: the first one that any of its pieces reaches, else `undefined`."""
    if space in WHOLE_SPACE:
        return WHOLE_SPACE[space]
    if offset is None:
        return UNDEFINED
    if size is None:
        found = find(space, offset, None, direction)
        return found.name if found else UNDEFINED
    for piece in pieces(space, offset, size, direction, None):
        if piece.register is not None:
            return piece.register.name
    return UNDEFINED


def _say_undefined(direction: Direction, size: int, value: int | None) -> str:
    if direction == "write":
        return "no register here: ignored"
    ones = value is not None and value == (1 << 8 * size) - 1
    return "no register here: all ones" if ones else "no register here"


def meaning(space: Space, offset: int | None, size: int | None, direction: Direction, value: int | None) -> str:
    """What an access says, in words; of an access that arrives in pieces, what each piece says."""
    if offset is None or size is None:
        found = find(space, offset, None, direction) if offset is not None else None
        return f"{found.say(value)} (size not recorded)" if found else "size not recorded: cannot tell the register"
    if value is not None:
        value &= (1 << 8 * size) - 1
    parts = pieces(space, offset, size, direction, value)
    if len(parts) == 1 and (parts[0].offset, parts[0].size) == (offset, size):
        register = parts[0].register
        return register.say(value) if register else _say_undefined(direction, size, value)
    said = []
    for part in parts:
        if part.register is None:
            continue
        place = f"0x{part.offset:x}" if space == "pio" else f"+{part.offset}"
        said.append(f"[{place}, {part.size} byte{'s' if part.size > 1 else ''}] {part.register.say(part.value)}")
    return "; ".join(said) or _say_undefined(direction, size, value)
