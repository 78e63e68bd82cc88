"""The xenbus drivers for Windows: XenServer 6.1's, with protocol 2, and those of the Xen project, which came from them.

Law: src/xen/unplug.c of win-xenbus, once at 6d1066c (2013-05, XenServer 6.1 and 6.2), once as it is today, with its
src/xenfilt/driver.c, src/xenbus/suspend.c and src/xenbus.inf. What a boot of today's driver reads like, log lines
included::

    inw 0x10 -> 0x49d2, inb 0x12 -> 1, outw 0x12 0xffff, outl 0x10 0x090000, inw 0x10 -> 0x49d2,
    "UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", outw 0x10 1, "UNPLUG: DISKS", outw 0x10 2, "UNPLUG: NICS"
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, in_words
from xptrace.model.access import Access, read, write
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
from xptrace.model.drivers.options import Kind, Options, option
from xptrace.model.drivers.steps import Seen
from xptrace.model.drivers.windows import NO_BOOT_DISK, STOP_7B

_TYPES: Final = {"ide": 1, "nic": 2}
Devices = tuple[tuple[int, int], ...]


def _read_devices(text: str) -> Devices:
    found = []
    for word in text.split(",") if text else ():
        kind, index = _TYPES[word[:3]], int(word[3:])
        if not 0 <= index <= 0xFF:
            raise ValueError
        found.append((kind, index))
    return tuple(found)


def _write_devices(devices: Devices) -> str:
    names = {kind: name for name, kind in _TYPES.items()}
    return ",".join(f"{names[kind]}{index}" for kind, index in devices)


_DEVICES: Final = Kind("devices such as ide0,nic0, with an index up to 255, or nothing", _read_devices, _write_devices)


@dataclass(frozen=True, slots=True)
class XenserverOptions(Options):
    """The identity that the driver was built for, and the devices that have a PV twin."""

    device_id: int = option(options.number(0xFFFFFF), 0x0002, "the PCI device id that it was built for")
    revision: int = option(options.number(0xFF), 0x02, "the lowest PCI revision that it was built for")
    devices: tuple[tuple[int, int], ...] = option(_DEVICES, ((1, 0), (2, 0)), "what to unplug, in this order")
    checked: bool = option(options.FLAG, False, "whether it is a checked build, which stops at a failed assertion")


def _prepare(
    chosen: XenserverOptions, so: str, pv: bool | None
) -> Generator[Access, int | None, Outcome | None]:
    """Choose protocol 2 and name the build; returns the failure, if it is one, with what the driver makes of it.

    Type 0 is written first: where protocol 2 is chosen already, the choice would be taken for an index.
    """
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return not_there(magic, so, pv)
    yield write(0x11, 1, 0)
    yield write(0x13, 1, 2)
    protocol = yield read(0x12, 1)
    if protocol is None or protocol < 2:
        return unknown_version(protocol, so, pv)
    magic = yield from name_itself(3, chosen.device_id << 8 | chosen.revision)
    return blacklisted(magic, so, pv) if magic != MAGIC else None


def _unplug(devices: Devices) -> Part:
    for kind, index in devices:
        yield write(0x11, 1, kind)
        yield write(0x13, 1, index)


def _done(devices: Devices) -> Outcome:
    return Outcome("accepted", f"it asks to unplug {_write_devices(devices) or 'nothing'}", devices=devices, pv=True)


def xenserver_boot(chosen: XenserverOptions) -> Negotiation:
    """UnplugReference, and UnplugDevice for each device that gets a PV twin, once."""
    failure = yield from _prepare(chosen, "it unplugs nothing, and says so in the guest alone", pv=False)
    if failure is not None:
        return failure
    devices = tuple(dict.fromkeys(chosen.devices))
    yield from _unplug(devices)
    return _done(devices)


def xenserver_resume(chosen: XenserverOptions) -> Negotiation:
    """UnplugReplay: by type and index. Only a checked build minds a handshake that fails now."""
    so = "the assertion stops Windows" if chosen.checked else "it replays its unplugs all the same"
    failure = yield from _prepare(chosen, so, pv=False if chosen.checked else None)
    if failure is not None and chosen.checked:
        return failure
    devices = tuple(sorted(set(chosen.devices)))
    yield from _unplug(devices)
    return _done(devices) if failure is None else replace(failure, devices=devices)


def xenserver_infer(seen: Seen) -> XenserverOptions:
    """The identity from the build, the devices as they are, up to one of a type that it does not know."""
    if seen.product != 3 or seen.build is None:
        return XenserverOptions()
    devices = tuple(takewhile(lambda device: device[0] in _TYPES.values(), seen.devices))
    return XenserverOptions(seen.build >> 8, seen.build & 0xFF, devices if seen.over else ((1, 0), (2, 0)))


XENSERVER_6_1: Final = Driver(
    name="xenserver-6.1", title="XenServer 6.1 and 6.2 Windows drivers (protocol 2)", product=3,
    builds="PCI device id << 8 | revision, as 0x000202", options=XenserverOptions,
    boot=xenserver_boot, resume=xenserver_resume,
    resumes=Claim("The whole handshake again, then every device that it unplugged before.", "documented"),
    infer=xenserver_infer,
    binding=Binding(
        (Identity(0x0002, "slides on Windows PV drivers, 2013 and 2015"),), needed=True,
        claim=Claim("Its bus driver, which starts on the platform device, takes up the unplug; without it nothing "
                    "is unplugged.", "inferred"),
    ),
    next_boot=NextBoot(
        identity_gone=STOP_7B,
        blacklisted=Claim("It unplugs nothing and logs the failure in the guest alone: Windows stays on the emulated "
                          "devices.", "documented"),
        without_frontends=NO_BOOT_DISK,
    ),
    law="src/xen/unplug.c of win-xenbus, 6d1066c (2013-05)", certainty="documented",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class XenbusOptions(Options):
    """The driver's version, and what the registry and the boot options ask of it."""

    version: tuple[int, int, int] = option(options.version(0xFFFF), (9, 0, 0), "its version, sent as the build")
    product: int = option(options.number(0xFFFF), 0xFFFF, "the product number; a derived driver may send its own")
    disks: bool = option(options.FLAG, True, "whether the registry requests the disks' unplug (XEN\\Unplug, DISKS)")
    nics: bool = option(options.FLAG, True, "whether the registry requests the NICs' unplug (XEN\\Unplug, NICS)")
    veto: tuple[str, ...] | None = option(
        options.words(("vbd", "vif").__contains__, ("vbd", "vif")), None,
        "what Enum\\XENBUS has no child of, so that the request is ignored (since 2024-07)",
    )  # fmt: skip
    boot_emulated: bool = option(options.FLAG, False, "XEN:BOOT_EMULATED=TRUE, the boot disk stays emulated")
    nvme: bool = option(options.FLAG, False, "whether NVMe disks go too (drivers since 2026)")
    cpus: int = option(options.number(0xFFFF), 1, "how many processors tell of a resume")
    checked: bool = option(options.FLAG, False, "whether it is a checked build, which stops at a failed assertion")

    @property
    def build(self) -> int:
        """Major, minor and micro version in one number."""
        major, minor, micro = self.version
        return major << 16 | minor << 8 | micro

    @property
    def disk_mask(self) -> int:
        """The mask for the disks, 0 where they are not to go."""
        if not self.disks or "vbd" in (self.veto or ()):
            return 0
        return 4 if self.boot_emulated else 9 if self.nvme else 1

    @property
    def nic_mask(self) -> int:
        """The mask for the NICs, 0 where they are not to go."""
        return 2 if self.nics and "vif" not in (self.veto or ()) else 0


def xenbus_boot(chosen: XenbusOptions) -> Negotiation:
    """UnplugDevices: the preamble only takes note of a blacklist, and the masks follow whatever it was told."""
    magic = yield read(0x10, 2)
    first, refused = magic, magic == MAGIC_BLACKLISTED
    if magic == MAGIC:
        protocol = yield read(0x12, 1)
        if protocol != 0:
            refused = (yield from name_itself(chosen.product, chosen.build)) == MAGIC_BLACKLISTED
    elif not refused and chosen.checked:
        return not_there(magic, "the preamble fails, and the assertion stops Windows", pv=False)
    if first in (MAGIC, MAGIC_BLACKLISTED):
        yield from say(f"UNPLUG: PRE-AMBLE (DRIVERS {'' if refused else 'NOT '}BLACKLISTED)")
    yield from _masks(chosen)
    mask = chosen.disk_mask | chosen.nic_mask
    asks = f"it asks to unplug {in_words(mask)}" if mask else "nothing is to be unplugged, and no mask is written"
    if refused:
        return Outcome("blacklisted", f"the host blacklists it, of which it only takes note: {asks}", mask or None)
    if first != MAGIC:
        return Outcome("refused", not_there(first, f"the preamble fails, but {asks}").sentence, mask or None)
    return Outcome("accepted", asks, mask or None, pv=True if mask else None)


def _masks(chosen: XenbusOptions) -> Part:
    if chosen.disk_mask:
        yield write(0x10, 2, chosen.disk_mask)
        yield from say("UNPLUG: AUX DISKS" if chosen.boot_emulated else "UNPLUG: DISKS")
    if chosen.nic_mask:
        yield write(0x10, 2, chosen.nic_mask)
        yield from say("UNPLUG: NICS")


def xenbus_resume(chosen: XenbusOptions) -> Negotiation:
    """As the new device model sees it: the log speaks before any magic is read, then everything again.

    The lines of timers after the first one are left out, for they show clocks that only the guest has.
    """
    yield from say("SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (00000000)")
    for cpu in range(chosen.cpus):
        yield from say(f"SUSPEND: EARLY ({cpu})")
    outcome = yield from xenbus_boot(chosen)
    for cpu in range(chosen.cpus):
        yield from say(f"SUSPEND: LATE ({cpu})")
    yield from say("SUSPEND: <====")
    return outcome


def xenbus_infer(seen: Seen) -> XenbusOptions:
    """Version and product as they are, unless they are a kernel's; the requests from the masks."""
    build = 0x090000 if seen.build is None else seen.build
    product = 0xFFFF if seen.product is None else seen.product
    if product == 0xFFFF and build >> 24 in (2, 3) and build & 0xFF == 0:
        return XenbusOptions()
    version = (build >> 16, build >> 8 & 0xFF, build & 0xFF)
    if not seen.masks and not seen.over:
        return XenbusOptions(version, product)
    disks = seen.mask if seen.mask in (1, 4, 9) else None
    nics = 2 in seen.masks[: 1 if disks is None else 2]
    return XenbusOptions(version, product, disks is not None, nics, boot_emulated=disks == 4, nvme=disks == 9)


_INF = "src/xenbus.inf of win-xenbus"
WINDOWS_XENBUS: Final = Driver(
    name="windows-xenbus", title="Windows xenbus of the Xen project, XenServer 7 and later, XCP-ng", product=0xFFFF,
    builds="major << 16 | minor << 8 | micro, as 0x090000 for 9.0.0", options=XenbusOptions,
    boot=xenbus_boot, resume=xenbus_resume,
    resumes=Claim("Everything again, on processor 0 before the others go on, with log lines around it; not after a "
                  "suspend that was cancelled, and not before 2015-04.", "documented"),
    infer=xenbus_infer,
    binding=Binding(
        (
            Identity(0xC000, f"{_INF}, builds of a vendor that has this id", revision=0x01),
            Identity(0x0002, _INF), Identity(0x0001, _INF),
        ),
        needed=True,
        claim=Claim("Only the instance that is recorded as the active device unplugs: where that device is not "
                    "present, nothing happens at the ports.", "documented"),
    ),
    next_boot=NextBoot(
        identity_gone=STOP_7B,
        blacklisted=Claim("It takes note of it and unplugs all the same; a device that ignores the mask of a "
                          "blacklisted driver keeps the emulated devices.", "documented"),
        without_frontends=Claim("Since 2024-07 a request is ignored where Enum\\XENBUS has no PV child; before, the "
                                "boot disk is gone and Windows stops with 0x7B.", "documented"),
    ),
    law="src/xen/unplug.c of win-xenbus", certainty="documented",
)  # fmt: skip
