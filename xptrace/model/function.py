"""Xen's PCI functions: their config space, what of it a guest can write, and where their BARs are.

Law: PCI Local Bus Specification 3.0, 6.1 and 6.2.5.1; hw/pci/pci.c of QEMU (pci_default_write_config); identities and
write masks as observed on QEMU 7.2, 10.0 and 10.2: the command register keeps 0x0507, of the status nothing can be
written, the bytes from 0x40 on are plain storage::

    xen-platform 5853:0001 class ff8000 revision 1, BAR0 256 ports, BAR1 16 MiB of prefetchable memory
    xen-pvdevice 5853:c000 class 088000 revision 1, BAR1 4 MiB of prefetchable memory
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Literal

from dissectors.platform import config_space
from dissectors.platform.registers import BAR0_SIZE, VENDOR
from xptrace.model.device import Device
from xptrace.model.log import LogBuffer
from xptrace.model.profile import Profile

Kind = Literal["xen-platform", "xen-pvdevice"]

CONFIG_SIZE: Final = 256
PLATFORM_BAR1: Final = 16 << 20
PVDEVICE_BAR1: Final = 4 << 20
COMMAND: Final = 0x04
BAR0: Final = 0x10
BAR1: Final = 0x14
_COMMAND_MASK: Final = 0x0507
_CACHE_LINE, _INTERRUPT_LINE, _OWN = 0x0C, 0x3C, 0x40
_IO, _PREFETCHABLE = 1, 8
_DECODES_IO, _DECODES_MEMORY = 1, 2


class PropertyError(ValueError):
    """A property with which the device model refuses to start; the message is its reason in one line."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a function says it is. Sizes are in bytes; a BAR that is not there has size 0."""

    vendor: int = VENDOR
    device: int = 0x0001
    revision: int = 1
    class_code: int = 0xFF8000
    subsystem_vendor: int = VENDOR
    subsystem: int = 0x0001
    pin: int = 1
    bar0_size: int = BAR0_SIZE
    bar1_size: int = PLATFORM_BAR1


def pvdevice(
    device: int | None, *, vendor: int = VENDOR, revision: int = 1, size: int = PVDEVICE_BAR1
) -> Identity:
    """The identity of a xen-pvdevice: hw/i386/xen/xen_pvdevice.c.

    Raises PropertyError for what the device model refuses to start with (observed on QEMU 7.2 and 10.0): no device id,
    a vendor id of more than 16 bits, a size that is no power of two. Sizes below 16 cannot be told from 16 by a guest.
    """
    if device is None or device == 0xFFFF:
        raise PropertyError("Device ID invalid, it must always be supplied")
    given = (("vendor-id", vendor, 0xFFFF), ("device-id", device, 0xFFFF), ("revision", revision, 0xFF))
    for name, value, most in given:
        if not 0 <= value <= most:
            message = f"{name} 0x{value:x} is out of range (0 to 0x{most:x})"
            raise PropertyError(message)
    if size <= 0 or size & (size - 1):
        message = f"size 0x{size:x} is no power of two: the device model aborts (pci_register_bar)"
        raise PropertyError(message)
    return Identity(vendor, device, revision, 0x088000, vendor, device, 1, 0, size)


def platform(profile: Profile, device: int | None = None, revision: int | None = None) -> Identity:
    """The identity of the platform device; raises PropertyError where this device has no such property.

    Where the identity is a property, a device id that is given brings revision 2, unless that is given too
    (XenServer's CP-3235.patch, and xenopsd).
    """
    asked = (device or profile.device_id, profile.revision if revision is None else revision)
    if asked != (profile.device_id, profile.revision) and not profile.identity_settable:
        message = f"the platform device of {profile.name} is 5853:0001 revision 1, and has no property to change that"
        raise PropertyError(message)
    if device is not None and revision is None and profile.identity_settable:
        revision = 2
    return Identity(
        device=profile.device_id if device is None else device,
        revision=profile.revision if revision is None else revision,
        class_code=profile.class_code, pin=profile.interrupt_pin,
    )


@dataclass(frozen=True, slots=True)
class Function:
    """One of Xen's functions: where it is (bus << 8 | slot << 3 | function), its config space, and what it remembers.

    `bus` is the name of the bus that it sits on. A xen-pvdevice has neither registers nor a log.
    """

    number: int
    kind: Kind
    identity: Identity
    config: bytes
    bus: str = "pci.0"
    device: Device | None = None
    log: LogBuffer | None = None

    @property
    def command(self) -> int:
        """The command register."""
        return int.from_bytes(self.config[COMMAND : COMMAND + 2], "little")

    @property
    def bar0(self) -> int | None:
        """The first port of BAR0, missing where it is not mapped or not decoded."""
        base = int.from_bytes(self.config[BAR0 : BAR0 + 4], "little") & 0xFFFFFFFC
        decoded = self.identity.bar0_size and self.command & _DECODES_IO and 0 < base <= 0x10000 - BAR0_SIZE
        return base if decoded else None

    @property
    def bar1(self) -> int | None:
        """The first address of BAR1, missing where it is not mapped or not decoded."""
        base = int.from_bytes(self.config[BAR1 : BAR1 + 4], "little") & 0xFFFFFFF0
        decoded = self.identity.bar1_size and self.command & _DECODES_MEMORY and base
        return base if decoded and base + self.identity.bar1_size < 1 << 32 else None


@cache
def _at_reset(identity: Identity, command: int) -> bytes:
    """Config space as it is when the machine starts."""
    header = config_space.header().build({
        "vendor_id": identity.vendor, "device_id": identity.device, "command": command, "status": 0,
        "revision": identity.revision, "class_code": identity.class_code, "cache_line_size": 0, "latency_timer": 0,
        "header_type": 0, "bist": 0,
        "bar": [_IO if identity.bar0_size else 0, _PREFETCHABLE if identity.bar1_size else 0, 0, 0, 0, 0],
        "cardbus_cis": 0, "subsystem_vendor_id": identity.subsystem_vendor, "subsystem_id": identity.subsystem,
        "expansion_rom": 0, "capabilities": 0, "interrupt_line": 0, "interrupt_pin": identity.pin, "min_grant": 0,
        "max_latency": 0,
    })  # fmt: skip
    return bytes(header).ljust(CONFIG_SIZE, b"\0")


@cache
def _writable(identity: Identity) -> int:
    """The bits of config space that a guest can write, as one little-endian number."""
    mask = _COMMAND_MASK << 8 * COMMAND | 0xFF << 8 * _CACHE_LINE | 0xFF << 8 * _INTERRUPT_LINE
    mask |= ((1 << 8 * (CONFIG_SIZE - _OWN)) - 1) << 8 * _OWN
    for offset, size, least in ((BAR0, identity.bar0_size, 4), (BAR1, identity.bar1_size, 16)):
        if size:
            mask |= (-max(size, least) & 0xFFFFFFFF) << 8 * offset
    return mask


def start(number: int, kind: Kind, identity: Identity, *, command: int = 0, bus: str = "pci.0") -> Function:
    """A function as its device model starts it."""
    has_registers = kind == "xen-platform"
    device = Device(device_id=identity.device, revision=identity.revision) if has_registers else None
    return Function(number, kind, identity, _at_reset(identity, command), bus, device,
                    LogBuffer() if has_registers else None)


def fixed(function: Function, offset: int) -> int:
    """The bits of one byte of config space that a guest cannot write."""
    return ~(_writable(function.identity) >> 8 * offset) & 0xFF


def config_read(function: Function, offset: int, size: int) -> int:
    """What config space holds, little endian; what lies past its 256 bytes reads as ones."""
    found = function.config[offset : offset + size]
    return int.from_bytes(found.ljust(size, b"\xff"), "little")


def config_write(function: Function, offset: int, size: int, value: int) -> Function:
    """The function after a write, of which only the writable bits stay."""
    bits = (1 << 8 * size) - 1
    mask = (_writable(function.identity) >> 8 * offset & bits) << 8 * offset
    old = int.from_bytes(function.config, "little")
    new = old & ~mask | (value & bits) << 8 * offset & mask
    return replace(function, config=new.to_bytes(CONFIG_SIZE, "little")) if new != old else function


def told_size(function: Function, offset: int, size: int, value: int) -> int | None:
    """The size of BAR1 that an answer to sizing tells, where it is not the one that the function has; else None."""
    asked = config_read(function, BAR1, 4) == _writable(function.identity) >> 8 * BAR1 & 0xFFFFFFFF | _PREFETCHABLE
    if not asked or (offset, size) != (BAR1, 4) or value & 0xF != _PREFETCHABLE:
        return None
    told = -(value & 0xFFFFFFF0) & 0xFFFFFFFF
    return told if told != function.identity.bar1_size and told and not told & (told - 1) else None


def adopt(function: Function, offset: int, size: int, value: int) -> Function:
    """The function with these bytes of config space as a recording shows them, writable or not."""
    kept = bytearray(function.config)
    kept[offset : offset + size] = value.to_bytes(size, "little")[: max(0, CONFIG_SIZE - offset)]
    return replace(function, config=bytes(kept))


def reset(function: Function) -> Function:
    """The function after a reset of the machine: flags, command, BARs, cache line and interrupt line are cleared.

    hw/pci/pci.c, pci_do_device_reset, and platform_reset. Product, log buffer and what was unplugged stay (observed);
    so do the bytes from 0x40 on.
    """
    fresh = _at_reset(function.identity, 0)
    cleared = bytearray(function.config)
    for offset, size in ((COMMAND, 2), (_CACHE_LINE, 1), (BAR0, 24), (_INTERRUPT_LINE, 1)):
        cleared[offset : offset + size] = fresh[offset : offset + size]
    device = function.device and replace(function.device, flags=0)
    return replace(function, config=bytes(cleared), device=device)
