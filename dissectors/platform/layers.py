"""The register map as scapy layers: an access is a packet.

Law: `dissectors.platform.registers`, from which every layer, field, flag and enumeration here is made; scapy's
packet model. `PortAccess` is a header of ours (`dissectors.capture.header`: the body of an access); the register that
the access reaches is its payload. It stands alone, or in a capture's packet under `XenPlatform`. The field of the
direction is called `access`, because every scapy packet has a `direction` of its own::

    >>> PortAccess() / UnplugMask(mask="ide_disks+nics")
    <PortAccess  |<UnplugMask  mask=ide_disks+nics |>>

A value that the recording does not hold is `recorded=0`, and has no payload. With these layers imported, scapy reads
and writes captures: `rdpcap("win10.pcapng")`, `sniff(offline="win10.pcapng")`, `wrpcap`.
"""

from __future__ import annotations

from typing import Final

from scapy.fields import (
    ByteEnumField,
    ByteField,
    Field,
    FlagsField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortEnumField,
    LEShortField,
)
from scapy.packet import Packet, bind_layers

from dissectors.capture.header import ACCESS, BODIES, DIRECTIONS, SPACES, UNKNOWN_WIDTH
from dissectors.capture.layers import GuestLine, Happening, XenPlatform, field
from dissectors.platform import registers
from dissectors.platform.registers import Direction, Register, Space

_FIELD_NAMES: Final = {
    "flags": "flags", "magic": "magic", "unplug_mask": "mask", "build_number": "build", "unplug_type": "type",
    "protocol_version": "version", "product_number": "product", "log": "character", "unplug_index": "index",
    "bar0_flags": "flags", "bar0_log": "character",
}
_NUMBERS: Final = {space: number for number, space in SPACES.items()}


class _Little(Field[int, int]):
    """An unsigned number, little endian, as wide as the access that it is the value of."""

    def __init__(self, name: str, default: int) -> None:
        super().__init__(name, default, "B")

    @staticmethod
    def _width(packet: Packet | None) -> int:
        header = None if packet is None else packet.underlayer
        told = header.size if isinstance(header, PortAccess) else None
        return int(told) if told else UNKNOWN_WIDTH

    def addfield(self, pkt: Packet, s: bytes, val: int | None) -> bytes:
        """Append the value."""
        width = self._width(pkt)
        return s + ((val or 0) & (1 << 8 * width) - 1).to_bytes(width, "little")

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, int]:
        """Take the value off."""
        width = self._width(pkt)
        return s[width:], int.from_bytes(s[:width], "little")

    def i2repr(self, pkt: Packet, x: int) -> str:  # noqa: ARG002  (scapy's signature)
        """Show it in hexadecimal."""
        return f"0x{x:x}"


class RegisterLayer(Packet):
    """The value of one register; where the register is, the class knows."""

    space: Space | None = None
    offset: int | None = None
    width: int | None = None
    way: Direction | None = None
    register = registers.UNDEFINED

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Nothing follows a value."""
        return b"", s

    def value_text(self) -> str:
        """The value as its field shows it."""
        field = self.fields_desc[0]
        return str(field.i2repr(self, self.getfieldval(field.name)))

    def mysummary(self) -> tuple[str, list[type[Packet]]]:
        """The register and its value, after the header's own words."""
        return f"{self.register} {self.value_text()}", [PortAccess]


class PortAccess(Packet):
    """One access: where, how wide, which way. What is not given is taken from the payload when it is built."""

    name = "PortAccess"
    fields_desc = [  # noqa: RUF012  (scapy's way of declaring a layer)
        field(one, 1 if one.name == "recorded" else None) for one in BODIES[ACCESS]
    ]

    def _filled(self, name: str) -> int | None:
        value = self.getfieldval(name)
        layer = self.payload
        if value is not None or not isinstance(layer, RegisterLayer):
            return None if value is None else int(value)
        return {
            "space": None if layer.space is None else _NUMBERS[layer.space],
            "access": None if layer.way is None else int(layer.way == "write"),
            "size": layer.width,
            "offset": layer.offset,
            "address": layer.offset if self.offset is None else int(self.offset),
        }[name]

    def self_build(self) -> bytes:
        """The header, what is missing in it taken from the payload."""
        told = {name: self._filled(name) for name in ("space", "access", "size", "offset", "address")}
        filled = self.copy()
        filled.remove_payload()
        for name, value in told.items():
            setattr(filled, name, value or 0)
        return b"".join(field.addfield(filled, b"", filled.getfieldval(field.name)) for field in self.fields_desc)

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """The layer of the register that the access reaches."""
        if not self.recorded or len(payload) < (self.size or UNKNOWN_WIDTH):
            return Packet.guess_payload_class(self, payload)  # type: ignore[no-any-return]
        return layer_of(SPACES.get(self.space, "pio"), self.offset, self.size, DIRECTIONS.get(self.access, "read"))

    def mysummary(self) -> tuple[str, list[type[Packet]]]:
        """Direction, address and size in words, after those of the capture's header."""
        direction = DIRECTIONS.get(self._filled("access") or 0, "?")
        register = "" if isinstance(self.payload, RegisterLayer) else " value not recorded"
        size = self._filled("size")
        width = f"{size} byte{'s' if size > 1 else ''}" if size else "size not recorded"
        return f"{direction} 0x{self._filled('address') or 0:x} {width}{register}", [XenPlatform]


def _field(register: Register) -> Field[int, int]:
    name, default = _FIELD_NAMES.get(register.name, "value"), 0
    if register.bits:
        names = {bit.value: bit.name for bit in register.bits}
        flags = [names.get(1 << bit, f"bit{bit}") for bit in range(8 * register.size)]
        return FlagsField(name, default, -8 * register.size if register.size > 1 else 8, flags)
    if register.values:
        enumerated = {1: ByteEnumField, 2: LEShortEnumField, 4: LEIntEnumField}[register.size]
        return enumerated(name, default, dict(register.values))
    return {1: ByteField, 2: LEShortField, 4: LEIntField, 8: LELongField}[register.size](name, default)


def _layer(register: Register) -> type[RegisterLayer]:
    ways = {r.direction for r in registers.REGISTERS if r.name == register.name}
    return type(
        register.name.title().replace("_", ""),
        (RegisterLayer,),
        {
            "__doc__": f"The register {register.name}: {register.lineage or 'every lineage'}.",
            "__module__": __name__,
            "name": register.name.title().replace("_", ""),
            "fields_desc": [_field(register)],
            "space": register.space,
            "offset": register.offset,
            "width": register.size,
            "way": ways.pop() if len(ways) == 1 else None,
            "register": register.name,
        },
    )


_LAYERS: Final[dict[str, type[RegisterLayer]]] = {}
for _register in registers.REGISTERS:
    if _register.name not in _LAYERS:
        _LAYERS[_register.name] = _layer(_register)


class Undefined(RegisterLayer):
    """A value where the device has no register, or that several registers share."""

    name = "Undefined"
    fields_desc = [_Little("value", 0)]  # noqa: RUF012


class Bar1(RegisterLayer):
    """A value in BAR1, which is address space only."""

    name = "Bar1"
    space = "bar1"
    register = "bar1"
    fields_desc = [_Little("value", 0)]  # noqa: RUF012


class Config(RegisterLayer):
    """A value in PCI config space."""

    name = "Config"
    space = "pci-config"
    register = "config"
    fields_desc = [_Little("value", 0)]  # noqa: RUF012


Flags = _LAYERS["flags"]
Magic = _LAYERS["magic"]
UnplugMask = _LAYERS["unplug_mask"]
BuildNumber = _LAYERS["build_number"]
UnplugType = _LAYERS["unplug_type"]
ProtocolVersion = _LAYERS["protocol_version"]
ProductNumber = _LAYERS["product_number"]
Log = _LAYERS["log"]
UnplugIndex = _LAYERS["unplug_index"]
Bar0Flags = _LAYERS["bar0_flags"]
Bar0UnplugAll = _LAYERS["bar0_unplug_all"]
Bar0Log = _LAYERS["bar0_log"]

bind_layers(XenPlatform, PortAccess, kind=ACCESS)

__all__ = [
    "Bar0Flags", "Bar0Log", "Bar0UnplugAll", "Bar1", "BuildNumber", "Config", "Flags", "GuestLine", "Happening", "Log",
    "Magic", "PortAccess", "ProductNumber", "ProtocolVersion", "Undefined", "UnplugIndex", "UnplugMask", "UnplugType",
    "XenPlatform", "packet",
]  # fmt: skip


def layer_of(space: Space, offset: int, size: int, direction: Direction) -> type[RegisterLayer]:
    """The layer for an access: that of its register, or `Undefined` where it has none of its own."""
    whole = registers.WHOLE_SPACE.get(space)
    if whole is not None:
        return Bar1 if whole == "bar1" else Config
    register = registers.find(space, offset, size, direction)
    return Undefined if register is None else _LAYERS[register.name]


def packet(
    space: Space, address: int, size: int | None, direction: Direction, value: int | None, *, offset: int | None = None
) -> PortAccess:
    """An access as a packet. `offset` is that in the space, by default the address itself.

    Of a value wider than the access only the access's own bytes count: QEMU traces a dword of ones as 64 bits.
    """
    place = address if offset is None else offset
    header = PortAccess(
        space=_NUMBERS[space], access=int(direction == "write"), size=size or 0, recorded=int(value is not None),
        offset=place & 0xFFFFFFFF, address=address,
    )
    if value is None:
        return header
    width = size or UNKNOWN_WIDTH
    return PortAccess(bytes(header) + (value & (1 << 8 * width) - 1).to_bytes(width, "little"))
