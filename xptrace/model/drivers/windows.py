"""Windows drivers of their own lineages: GPLPV, Citrix's closed ones, and SUSE's VMDP.

Law: xenpci/xenpci.c and xenpci_dbgprint.c of GPLPV; xen/docs/misc/hvm-emulated-unplug.pandoc, to which Citrix's
drivers are assumed to keep; xen/xenbus/xenbus_client.c and xen/inf/xenbus.inf of VMDP. What GPLPV left in the log of
a qemu-xen-traditional, with the guest's clock in milliseconds since 1601 in front::

    13048960291467: qemu version = 1
    13048960291482: disabled qemu devices 03
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dissectors.platform.products import PRODUCTS
from dissectors.platform.registers import MAGIC, in_words
from xptrace.model.access import read, write
from xptrace.model.drivers import options
from xptrace.model.drivers.driver import (
    Binding,
    Claim,
    Driver,
    Identity,
    Negotiation,
    NextBoot,
    Outcome,
    Part,
    blacklisted,
    name_itself,
    not_there,
    say,
    unknown_version,
)
from xptrace.model.drivers.options import Options, option
from xptrace.model.drivers.steps import Seen

STOP_7B: Final = Claim(
    "The boot disk's devnode hangs from the platform device: with it gone, or under another identity, Windows stops "
    "with 0x7B, INACCESSIBLE_BOOT_DEVICE.", "documented",
)  # fmt: skip
NO_BOOT_DISK: Final = Claim(
    "The emulated boot disk is gone and no PV disk takes its place: Windows stops with 0x7B.", "documented"
)


@dataclass(frozen=True, slots=True)
class GplpvOptions(Options):
    """What stands in the registry and among the boot options, and the guest's clock."""

    mask: int = option(options.number(0xFFFF), 3, "what qemu_hide_flags and txt_qemu_hide_flags come to")
    filter_hide: bool = option(options.FLAG, False, "hide by a filter (EJBPVUSEFILTERHIDE, GPLPVUSEFILTERHIDE)")
    clock_ms: int = option(options.number(10**15), 13048960291467, "the guest's clock, milliseconds since 1601")


def _stamped(chosen: GplpvOptions, text: str) -> Part:
    yield from say(f"{chosen.clock_ms}: {text}")


def gplpv_boot(chosen: GplpvOptions) -> Negotiation:
    """DriverEntry: versions 0 and 1; where the handshake fails, a filter hides the emulated devices instead."""
    so = "it hides the emulated devices by a filter, and unplugs nothing"
    if chosen.filter_hide:
        return Outcome("unasked", f"as its boot option says, {so}")
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return not_there(magic, so)
    protocol = yield read(0x12, 1)
    if protocol is not None:
        yield from _stamped(chosen, f"qemu version = {protocol}")
    if protocol == 1:
        magic = yield from name_itself(2, 1)
        if magic != MAGIC:
            yield from _stamped(chosen, "qemu we are blacklisted")
            return blacklisted(magic, so)
    elif protocol != 0:
        if protocol is not None:
            yield from _stamped(chosen, f"unknown qemu version {protocol}")
        return unknown_version(protocol, so)
    yield write(0x10, 2, chosen.mask)
    yield from _stamped(chosen, f"disabled qemu devices {chosen.mask:02x}")
    return Outcome("accepted", f"it asks to unplug {in_words(chosen.mask)}", mask=chosen.mask, pv=True)


def gplpv_resume(chosen: GplpvOptions) -> Negotiation:
    """The mask again, if it is not empty; nobody is asked."""
    if chosen.filter_hide or not chosen.mask:
        return Outcome("unasked", "it unplugged nothing at boot, and unplugs nothing now")
    yield write(0x10, 2, chosen.mask)
    yield from _stamped(chosen, f"disabled qemu devices {chosen.mask:02x}")
    return Outcome("unasked", f"it asks again to unplug {in_words(chosen.mask)}", mask=chosen.mask, pv=True)


def gplpv_infer(seen: Seen) -> GplpvOptions:
    """The mask as it is."""
    return GplpvOptions(mask=3 if seen.mask is None else seen.mask)


GPLPV: Final = Driver(
    name="gplpv", title="GPLPV (James Harper's drivers)", product=2, builds="always 1", options=GplpvOptions,
    boot=gplpv_boot, resume=gplpv_resume,
    resumes=Claim("The mask alone, after a resume and after waking from hibernation.", "documented"),
    infer=gplpv_infer,
    binding=Binding(
        (Identity(0x0001, "xenpci/xenpci.c"),), needed=False,
        claim=Claim("It unplugs in DriverEntry, which Windows calls at boot whatever devices there are.", "inferred"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("It unplugs before it knows that there is nothing to attach to, and the boot disk hangs "
                            "from the platform device: Windows stops with 0x7B.", "inferred"),
        blacklisted=Claim("The handshake fails, and a filter hides the devices that hide_devices names; they are not "
                          "unplugged.", "documented"),
        without_frontends=NO_BOOT_DISK,
    ),
    law="xenpci/xenpci.c", certainty="documented",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CitrixOptions(Options):
    """Two numbers that nobody outside knows before a recording tells them."""

    build: int = option(options.number(0xFFFF_FFFF), 1, "the build number; the default is an assumption")
    mask: int = option(options.number(0xFFFF), 3, "what to unplug; 1, 2 or 3 are known")


def citrix_boot(chosen: CitrixOptions) -> Negotiation:
    """The documented protocol, step by step; the source is closed, so that it is assumed."""
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return not_there(magic, "as the protocol demands, it does nothing")
    protocol = yield read(0x12, 1)
    if protocol != 0:
        magic = yield from name_itself(1, chosen.build)
        if magic != MAGIC:
            return blacklisted(magic, "as the protocol demands, it stays on the emulated devices", pv=False)
    yield write(0x10, 2, chosen.mask)
    return Outcome("accepted", f"it asks to unplug {in_words(chosen.mask)}", mask=chosen.mask)


def citrix_infer(seen: Seen) -> CitrixOptions:
    """Both numbers as they are, if it is product 1."""
    build = 1 if seen.build is None else seen.build
    return CitrixOptions(build, 3 if seen.mask is None else seen.mask) if seen.product == 1 else CitrixOptions()


CITRIX_LEGACY: Final = Driver(
    name="citrix-legacy", title="Citrix Windows drivers until XenServer 6.0 (XP and 2003 also later)", product=1,
    builds="the count of Citrix's own builds", options=CitrixOptions, boot=citrix_boot, resume=citrix_boot,
    resumes=Claim("It is reported to unplug again; that it goes through the whole sequence is assumed.", "assumed"),
    infer=citrix_infer,
    binding=Binding(
        (Identity(0x0001, "slides on Windows PV drivers, 2013 and 2015"),), needed=None,
        claim=Claim("The source is closed: whether it unplugs without being bound is not known.", "assumed"),
    ),
    next_boot=NextBoot(
        identity_gone=STOP_7B,
        blacklisted=Claim("It stays on the emulated devices, as the protocol demands.", "assumed"),
        without_frontends=NO_BOOT_DISK,
    ),
    law="xen/docs/misc/hvm-emulated-unplug.pandoc, assumed", certainty="assumed",
)  # fmt: skip


_MASKS: Final = {"all": 7, "disk": 5, "net": 2}
_LEGACY: Final = {"all": (4, 1), "disk": (8, 1), "net": (8, 2)}
"""Offset in BAR0 and value."""
_LEGACY_BITS: Final = {"all": 3, "disk": 1, "net": 2}


@dataclass(frozen=True, slots=True)
class VmdpOptions(Options):
    """What the registry has it control, its version, and whether it is old enough to ask nobody."""

    control: str = option(options.choice("all", "disk", "net", "none"), "all", "what the registry leaves to it")
    product: int = option(options.number(0xFFFF), 205, "the product number, which follows from the version")
    build: int = option(options.number(0xFFFF_FFFF), 20505, "the build number, which follows from the version")
    asks: bool = option(options.FLAG, True, "whether it asks first; no is a version before 1.7")


def vmdp_boot(chosen: VmdpOptions) -> Negotiation:
    """xenbus_control_pv_devices: versions 0 and 1; without the magic, the legacy registers in BAR0 are tried."""
    if chosen.control == "none":
        return Outcome("unasked", "the registry leaves no device to it, so it does not touch the ports")
    if not chosen.asks:
        return (yield from _legacy(chosen, "a version before 1.7 asks nobody"))
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return (yield from _legacy(chosen, not_there(magic, "it falls back to BAR0").sentence))
    protocol = yield read(0x12, 1)
    if protocol not in (0, 1):
        return unknown_version(protocol, "its PV drivers are not used", pv=False)
    if protocol == 1:
        magic = yield from name_itself(chosen.product, chosen.build)
        if magic != MAGIC:
            return blacklisted(magic, "its PV drivers are not used", pv=False)
    mask = _MASKS[chosen.control]
    yield write(0x10, 2, mask)
    return Outcome("accepted", f"it asks to unplug {in_words(mask)}", mask=mask, pv=True)


def _legacy(chosen: VmdpOptions, why: str) -> Negotiation:
    offset, value = _LEGACY[chosen.control]
    mask = _LEGACY_BITS[chosen.control]
    yield write(offset, 4, value, "bar0")
    return Outcome("unasked", f"{why}; by BAR0+{offset} it asks to unplug {in_words(mask)}", mask=mask, pv=True)


def vmdp_infer(seen: Seen) -> VmdpOptions:
    """The choice from the mask or the legacy register; the numbers, where nobody else is known to send them."""
    controls = {mask: control for control, mask in _MASKS.items()}
    control = controls.get(-1 if seen.mask is None else seen.mask, "all")
    if seen.legacy:
        control = {place: control for control, place in _LEGACY.items()}[seen.legacy[0]]
    if seen.product == 205 or (seen.product is not None and seen.product not in PRODUCTS):
        return VmdpOptions(control, seen.product, 20505 if seen.build is None else seen.build)
    return VmdpOptions(control, asks=bool(seen.magics) or not seen.legacy)


VMDP: Final = Driver(
    name="vmdp", title="SUSE VMDP (Virtual Machine Driver Pack)", product=205,
    builds="20505 in 2.5.5; how other versions are encoded is not known", options=VmdpOptions,
    boot=vmdp_boot, resume=vmdp_boot,
    resumes=Claim("The whole sequence again, called when the driver starts anew.", "documented"),
    infer=vmdp_infer,
    binding=Binding(
        (Identity(0x0001, "xen/inf/xenbus.inf, for Windows later than XP"),), needed=True,
        claim=Claim("It unplugs when its bus driver starts, which it does on the platform device.", "inferred"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("Its bus driver does not start, nothing is unplugged, and the PV boot disk that Windows "
                            "expects hangs from a device that is gone: 0x7B is to be expected.", "inferred"),
        blacklisted=Claim("Its PV drivers are not used: nothing is unplugged.", "documented"),
        without_frontends=NO_BOOT_DISK,
    ),
    law="xen/xenbus/xenbus_client.c of VMDP", certainty="documented",
)  # fmt: skip
