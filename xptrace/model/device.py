"""The platform device: what it remembers, and what each register does with an access. One handler a register.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc (the protocol, steps 1 to 7), hw/i386/xen/xen_platform.c of QEMU,
hw/xen_platform.c of qemu-xen-traditional, XenServer's unplug-version-2.patch and product-nr-1/3/4-blacklist.patch on
it. A handler is pure: it is given the profile, the device and the value written, and returns the device as it is
then, the answer, and the effects. A whole negotiation reads so::

    inw 0x10 -> 0x49d2, inb 0x12 -> 1, outw 0x12 3, outl 0x10 1, inw 0x10 -> 0x49d2, outw 0x10 3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, Direction
from xptrace.model.effects import Character, DriverNamed, Effect, Ignored, Printed, RomLock, Unplug
from xptrace.model.profile import Profile

Blacklist = frozenset[tuple[int, int]]
"""(product, build) of every key below /mh/driver-blacklist."""

KEYED_PRODUCTS: Final = (1, 2, 0xFFFF)
"""Products that have a name in the path of a blacklist key; no other can be blacklisted by one."""
_IDE, _NIC = 1, 2
_AREA: Final = "platform_fixed_ioport: changed ro/rw state of ROM memory area. now is {} state."


@dataclass(frozen=True, slots=True)
class Device:
    """What one platform device remembers; what its profile does not keep stays as it is at power-on.

    `flags` is missing while it is not known, which is so only in a replay that begins in the middle. `asked` is the
    union of the mask bits that were acted upon. `rom_lock_works` is no state but a fact of the host: whether the
    hypervisor grants the protection.
    """

    flags: int | None = 0
    product: int = 0
    build: int | None = None
    protocol: int = 0
    """Where it is a choice: the version chosen, 0 before that."""
    blacklisted: bool = False
    unplug_type: int = 0
    asked: int = 0
    device_id: int = 0x0001
    revision: int = 0x01
    rom_lock_works: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler may look at: the profile, the blacklist of the host, which device it is, the value written."""

    profile: Profile
    blacklist: Blacklist
    place: int
    value: int = 0


Reaction = tuple[Device, int | None, tuple[Effect, ...]]
Handler = Callable[[Call, Device], Reaction]
HANDLERS: Final[dict[tuple[str, Direction], Handler]] = {}
"""Register name and direction to its handler; a register that has none there is as good as absent."""


def handles(register: str, direction: Direction) -> Callable[[Handler], Handler]:
    """Register a handler; the same one may serve several registers."""

    def enter(handler: Handler) -> Handler:
        HANDLERS[register, direction] = handler
        return handler

    return enter


@handles("flags", "read")
@handles("bar0_flags", "read")
def flags_read(call: Call, device: Device) -> Reaction:  # noqa: ARG001
    """The flags as they were last set: xen_platform.c, platform_fixed_ioport_readb and BAR0+0."""
    return device, device.flags, ()


@handles("flags", "write")
@handles("bar0_flags", "write")
def flags_write(call: Call, device: Device) -> Reaction:
    """Bit 0 alone is kept: xen_platform.c, platform_fixed_ioport_writeb.

    On real Xen the hypervisor is asked to change the pages first, and where it refuses the flags stay (observed on
    QEMU 7.2 and 10.0). With Xen emulated on KVM there is nobody to ask.
    """
    asked = call.value & 1
    if call.profile.rom_lock == "stored":
        return replace(device, flags=asked), None, ()
    if not device.rom_lock_works:
        why = "the hypervisor does not change the pages, so the flags stay"
        return device, None, (Ignored(why),)
    effects: tuple[Effect, ...] = (RomLock(bool(asked)),)
    if call.profile.host_lines:
        said = f"ROM memory area now {'RO' if asked else 'RW'}" if call.profile.protocol_choice else _AREA.format(
            "ro" if asked else "rw"
        )
        effects += (Printed(said),)
    return replace(device, flags=asked), None, effects


@handles("magic", "read")
def magic_read(call: Call, device: Device) -> Reaction:
    """Steps 1 and 5: 0x49d2, or 0xd249 for a driver that is blacklisted; no upstream QEMU ever sets the latter."""
    refused = call.profile.blacklist != "none" and device.blacklisted
    return device, MAGIC_BLACKLISTED if refused else MAGIC, ()


@handles("protocol_version", "read")
def version_read(call: Call, device: Device) -> Reaction:
    """Step 2: 1. Where protocol 2 can be chosen, a read before the choice pins 1: unplug-version-2.patch."""
    if not call.profile.protocol_choice:
        return device, 1, ()
    device = replace(device, protocol=device.protocol or 1)
    return device, device.protocol, (Printed(f"UNPLUG: protocol {device.protocol} active"),)


@handles("product_number", "write")
def product_write(call: Call, device: Device) -> Reaction:
    """Step 3: the product is remembered; qemu-xen-traditional says its name. Reset keeps it (observed).

    unplug-version-2.patch takes it only after the version was read or chosen.
    """
    if call.profile.protocol_choice:
        if not device.protocol:
            return device, None, (Ignored("no protocol version was read or chosen before"),)
        return replace(device, product=call.value), None, ()
    said: tuple[Effect, ...] = ()
    if call.profile.host_lines:
        known = {0: "Guest claimed to be running PV product 0?", 1: "Citrix Windows PV drivers loaded in guest"}
        said = (Printed(known.get(call.value, f"Unknown PV product {call.value} loaded in guest")),)
    return replace(device, product=call.value), None, said


def _by_identity(device: Device, product: int, build: int) -> bool:
    """product-nr-1/3/4-blacklist.patch: a build that says for which device id and revision it was made."""
    if product == 1:
        return device.device_id != 0x0001
    if product not in (3, 4):
        return False
    made_for = build >> 8
    if product == 3 and made_for == 0:  # Linux
        return False
    return made_for != device.device_id or build & 0xFF < device.revision


def refuses(call: Call, device: Device, build: int) -> bool:
    """Whether the host refuses this build of the product that was named (step 5; the keys are xenstore's)."""
    keyed = device.product in KEYED_PRODUCTS and (device.product, build) in call.blacklist
    if call.profile.blacklist == "keys and identity":
        return keyed or _by_identity(device, device.product, build)
    return call.profile.blacklist == "keys" and keyed


def _signed(build: int) -> int:
    return build - (1 << 32) if build >> 31 else build


@handles("build_number", "write")
def build_write(call: Call, device: Device) -> Reaction:
    """Step 4: upstream QEMU ignores it; XenServer's and XCP-ng's keep it and send an event; the others judge.

    qemu-xen-traditional demands a product before, and once it has refused a build it refuses for good; XenServer's
    queue demands a version as well, and judges anew at each build.
    """
    profile, build = call.profile, call.value
    if not profile.build_kept:
        return device, None, (Ignored("this device does not keep the build"),)
    if profile.blacklist == "none":
        named = DriverNamed(device.product, build, None, profile.build_event)
        return replace(device, build=build), None, (named,)
    signed = _signed(build)
    if profile.protocol_choice:
        if not device.protocol or not device.product:
            return device, None, (Printed("UNPLUG: product_id has not been set"),)
        refused = refuses(call, device, build)
        lines = (f"UNPLUG: product_id: {device.product} build_number: {signed}",
                 f"UNPLUG: drivers {'' if refused else 'not '}blacklisted")
    else:
        if not device.product:
            said = f"Drivers tried to set their version number ({signed}) before setting the product number?"
            return device, None, (Printed(said),)
        refused = device.blacklisted or refuses(call, device, build)
        lines = (f"PV driver build {signed}", *(("Drivers are blacklisted!",) if refused else ()))
    named = DriverNamed(device.product, build, refused)
    return replace(device, build=build, blacklisted=refused), None, (named, *map(Printed, lines))


@handles("unplug_mask", "write")
def mask_write(call: Call, device: Device) -> Reaction:
    """Step 6: what to take away. Upstream and qemu-xen-traditional act even when the driver was refused.

    unplug-version-2.patch acts only under protocol 0 or 1, and only for a driver that is not blacklisted.
    """
    if call.profile.protocol_choice:
        if device.protocol > 1:
            return device, None, (Ignored("protocol 2 unplugs by device, not by mask"),)
        if device.blacklisted:
            return device, None, (Ignored("the driver is blacklisted"),)
    if not call.profile.unplugs:
        return device, None, (Ignored("this device cannot unplug"),)
    mask = call.value & 0xF
    return replace(device, asked=device.asked | mask), None, (Unplug(call.place, mask),)


@handles("log", "write")
def log_write(call: Call, device: Device) -> Reaction:
    """Step 7: one character of the guest's log, allowed at any time: xen_platform.c, log_writeb."""
    return device, None, (Character(call.place, call.value),)


@handles("unplug_type", "write")
def type_write(call: Call, device: Device) -> Reaction:
    """Protocol 2: the kind of device that the next index names; 0 names none, on purpose: unplug-version-2.patch."""
    if not call.profile.protocol_choice:
        return device, None, (Ignored("no register here"),)
    if device.protocol != 2:
        return device, None, (Ignored("protocol 2 was not chosen"),)
    return replace(device, unplug_type=call.value), None, ()


@handles("unplug_index", "write")
def index_write(call: Call, device: Device) -> Reaction:
    """Protocol 2: the first write chooses the version, later ones name the device to unplug: unplug-version-2.patch.

    Any version above 1 blacklists until a build was accepted. A version that was pinned by a read stays.
    """
    if not call.profile.protocol_choice:
        return device, None, (Ignored("no register here"),)
    if not device.protocol:
        refused = call.value > 1
        said = f"UNPLUG: protocol version set to {call.value} (drivers {'' if refused else 'not '}blacklisted)"
        return replace(device, protocol=call.value, blacklisted=refused), None, (Printed(said),)
    if device.protocol != 2:
        return device, None, (Ignored(f"protocol {device.protocol} was chosen before, and stays"),)
    if device.blacklisted:
        return device, None, (Ignored("the driver is blacklisted"),)
    if device.unplug_type not in (_IDE, _NIC):
        return device, None, (Printed(f"UNPLUG: unrecognized type {device.unplug_type:02x}"),)
    bit, name = (1, "IDE") if device.unplug_type == _IDE else (2, "NIC")
    demand = Unplug(call.place, bit, call.value)
    return replace(device, asked=device.asked | bit), None, (Printed(f"UNPLUG: {name}"), demand)


@handles("bar0_unplug_all", "write")
def bar0_all_write(call: Call, device: Device) -> Reaction:
    """BAR0+4: 1 unplugs disks and NICs, for SUSE's old drivers: xen_platform.c since QEMU 2.8."""
    if not call.profile.legacy_bar0:
        return device, None, (Ignored("no register here"),)
    if call.value != 1:
        return device, None, (Ignored("only the value 1 unplugs"),)
    return replace(device, asked=device.asked | 3), None, (Unplug(call.place, 3),)


@handles("bar0_log", "write")
def bar0_log_write(call: Call, device: Device) -> Reaction:
    """BAR0+8: 1 unplugs disks, 2 NICs, for Novell's old drivers since QEMU 2.8; all else is logged."""
    if call.profile.legacy_bar0 and call.value in (1, 2):
        return replace(device, asked=device.asked | call.value), None, (Unplug(call.place, call.value),)
    return device, None, (Character(call.place, call.value),)
