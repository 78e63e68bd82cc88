"""Anomalies of what a device model of a certain release does: what it takes away too much, too little, or never again.

Law: the history of hw/i386/xen/xen_platform.c and hw/ide/piix.c in QEMU (`xptrace.model.profiles`), XenServer's queue
on qemu-xen-traditional (unplug-version-2.patch), hw/i386/xen/xen_pvdevice.c. On real Xen the functions that the device
model serves are told, and those that an unplug takes away; what they are is not::

    cpu_out addr 0x10(w) value 1
    xen_unmap_pcidev id: 0 bdf: 00.07.00
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dissectors.platform.products import LINUX, LINUX_BUILDS
from dissectors.platform.registers import UNPLUG_BITS, in_words
from xptrace.findings.rule import Certainty, Context, Hit, places, rule
from xptrace.findings.rules.ownership import connected_disks, lost_disks, named, twin
from xptrace.findings.words import span, when
from xptrace.model.profile import Profile
from xptrace.negotiation.story import Mapping, Moment, Step, Story, comes_after

_PLATFORM: Final = "hw/i386/xen/xen_platform.c"
_QUEUE: Final = "unplug-version-2.patch of XenServer's queue on qemu-xen-traditional"
_DISKS, _NICS, _AUXILIARY, _NVME = (bit.value for bit in UNPLUG_BITS)
_MOST: Final = 8
"""Places that are named of one anomaly."""
_WHOLE_RESET: Final = (8, 1)
_FOURTH: Final = 3
"""The place of the secondary slave, hdd, among the IDE disks."""


def _first_mask(story: Story, bits: int) -> Step | None:
    return next((step for step in story.masks if (step.mask or 0) & bits), None)


# -- what the guest does beside the protocol


@rule(
    "A35", severity="medium", title="the guest changed the protection of the ROM area", needs={"ports"},
    law=f"{_PLATFORM}, platform_fixed_ioport_writeb; tools/firmware/rombios of Xen",
    advice="Find out which program of the guest writes byte 0x10 of the I/O space or of BAR0; no driver has reason to.",
)
def rom_lock(story: Story, case: Context) -> Iterator[Hit]:
    """Bit 0 of the flags makes the pages 0xC0000 to 0xFFFFF read-only or writable, and is firmware's business.

    A write after a driver's probe comes from the operating system: with the lock off, the BIOS and option ROMs in
    memory can be overwritten, which shows at the next call into them.
    """
    probe = next(iter(story.magics), None)
    flags = [
        step for step in story.steps
        if step.register in ("flags", "bar0_flags") and step.direction == "write"
        and probe is not None and comes_after(step.at, probe.at)
    ]
    if not flags:
        return
    stored = case.device(story, lambda profile: profile.rom_lock == "stored")
    value = flags[0].value
    how = "the flags" if value is None else f"flags 0x{value:02x} (ROM area {'read-only' if value & 1 else 'writable'})"
    effect = "; this device only remembers the bit" if stored else ""
    times = f", the first of {len(flags)} writes" if len(flags) > 1 else ""
    yield Hit(f"{story.id}: {how} written {when(flags[0].at)}{times}, after the first probe of the device{effect}",
              places(*(step.at for step in flags[:_MOST])), severity="low" if stored else None)


@rule(
    "A36", severity="medium", title="the guest accessed BAR1, where nothing answers", needs={"bar1"},
    law=f"{_PLATFORM}, xen-mmio; hw/i386/xen/xen_pvdevice.c: xen_pv_mmio_read, xen_pv_mmio_write",
    advice="See what the guest did just then: a resume whose grant table was not mapped again, or a program that pokes "
           "at the device.",
)
def bar1(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """BAR1 is address space in which a driver has the hypervisor map its grant table and shared information.

    Once they are mapped, no access reaches the device. One that does met nothing: reads give zeros (all ones from
    xen-pvdevice), writes are lost, and a driver that relies on it works with wrong data.
    """
    if story.bar1:
        first, number = story.bar1[0], story.counts["bar1"]
        more = f", the first of {number}" if number > 1 else ""
        yield Hit(f"{story.id}: a {first.direction} of BAR1 reached the device {when(first.at)}{more}: nothing was "
                  "mapped there", places(*(step.at for step in story.bar1[:_MOST])))


# -- too much taken away


@dataclass(frozen=True, slots=True)
class _Gone:
    """Functions that went with one write of a mask."""

    mask: Step
    functions: tuple[tuple[str, Moment], ...]


def _gone(story: Story, bits: int, but: int) -> Iterator[_Gone]:
    """What the hypervisor was told to be gone after each mask with some bits, and without others."""
    steps = story.masks
    for at, mask in enumerate(steps):
        value = mask.mask or 0
        if not value & bits or value & but:
            continue
        until = steps[at + 1].at if at + 1 < len(steps) else None
        gone = [(event.subject, Moment.of(event)) for event in story.hotplug if event.said == "unmapped"]
        found = tuple(
            (name, one) for name, one in gone
            if comes_after(one, mask.at) and (until is None or comes_after(until, one)) and not _ends_before(story, one)
        )
        if found:
            yield _Gone(mask, found)


def _ends_before(story: Story, one: Moment) -> bool:
    """Whether the machine was on its way out, when everything goes."""
    ends = (Moment.of(event) for event in story.life if event.said in ("shutdown", "destroyed"))
    return any(comes_after(one, end) for end in ends)


@rule(
    "A37", severity="high", title="the unplug took a whole disk controller, and no PV disk took over",
    law=f"{_PLATFORM}, 78f66897dd (QEMU 2.8); docs/system/i386/xen.rst", needs={"ports", "hotplug", "vbd", "time"},
    advice="Boot the guest with xen_emul_unplug=never (or nics), or give it its root disk as a PV disk.",
)
def controller_gone(story: Story, case: Context) -> Iterator[Hit]:
    """Since QEMU 2.8 mask bit 0 removes every controller of PCI class 0100 with all that hangs from it.

    virtio-blk and virtio-scsi are of that class, so a guest that boots from virtio and asks for the unplug of its IDE
    disks loses its root disk as well. Where a PV disk takes over, nothing is lost.
    """
    lost = lost_disks(story, case)
    if lost is None:
        return
    for gone in _gone(story, _DISKS, _NICS | _NVME):
        names = ", ".join(name for name, _ in gone.functions[:_MOST])
        yield Hit(f"{story.id}: mask 0x{gone.mask.mask or 0:04x}, written {when(gone.mask.at)}, took away PCI function "
                  f"{names}, which must be a disk controller, and no PV disk connected in the {span(lost.waited_ns)} "
                  "after the first unplug of disks",
                  places(gone.mask.at, *(at for _, at in gone.functions[: _MOST - 2]), story.last), "derived")


@rule(
    "A41", severity="high", title="the unplug of emulated NICs cut off the PV NIC", needs={"ports", "vif"},
    law=f"{_PLATFORM}, 6c808651e3 (QEMU 2.10), 25511f3e8c (QEMU 8.2)",
    advice="Update to QEMU 8.2 or later, leave the NICs out of the mask (xen_emul_unplug=ide-disks), or have the "
           "kernel serve the PV NIC.",
)
def peer_gone(story: Story, case: Context) -> Iterator[Hit]:
    """QEMU 2.10 to 8.1 deletes the network back end of every NIC with mask bit 1, that of its own PV NIC among them.

    The PV NIC then still looks connected to the guest, and no packet ever passes. From 8.2 on only NICs of a PCI model
    lose theirs.
    """
    mask, nics = _first_mask(story, _NICS), story.pv_devices("vif")
    if mask is not None and nics and case.device(story, lambda profile: profile.peers == "all"):
        first = next(change for change in story.changes if change.device == nics[0])
        yield Hit(f"{story.id}: mask 0x{mask.mask or 0:04x}, written {when(mask.at)}, deletes the network back end of "
                  f"every NIC on this device, that of {', '.join(nics[:_MOST])} too, which QEMU serves itself",
                  places(mask.at, first.at), "derived")


# -- too little taken away


@rule(
    "A39", severity="high", title="the fourth IDE disk stays beside its PV disk", needs={"ports", "vbd"},
    law="679f4f8b17 (QEMU 1.0), d4f9e806c2 (QEMU 2.2): pci_piix3_xen_ide_unplug",
    advice="Update to QEMU 2.2 or later, or give the VM at most three disks that are emulated.",
)
def fourth_disk(story: Story, case: Context) -> Iterator[Hit]:
    """QEMU 1.0 to 2.1 counts one IDE disk too few at the unplug: the secondary slave (hdd, xvdd) is never removed.

    Its PV twin connects all the same, so the guest has two ways to that one image, which a second mount corrupts.
    """
    mask = _first_mask(story, _DISKS)
    if mask is None or not case.device(story, lambda profile: profile.ide == "first three"):
        return
    for change in connected_disks(story, mask.at):
        disk = twin(change.device)
        if disk is not None and (disk.bus, disk.index) == ("ide", _FOURTH):
            yield Hit(f"{story.id}: {named(change.device)} connected {when(change.at)}, after mask "
                      f"0x{mask.mask or 0:04x}: this device removes the first three IDE disks only, so the fourth "
                      "stays beside it",
                      places(mask.at, change.at), "derived")


@rule(
    "A40", severity="medium", title="the emulated NIC stays beside the PV NIC", needs={"ports"},
    law="679f4f8b17 (QEMU 1.0), 4accd107d0 (QEMU 1.1)", advice="Update to QEMU 1.1 or later.",
)
def nic_stays(story: Story, case: Context) -> Iterator[Hit]:
    """QEMU 1.0 tells emulated NICs to go at mask bit 1, and they do not.

    The guest then has two NICs with one MAC address, and which of the two it uses is chance.
    """
    mask = _first_mask(story, _NICS)
    if mask is not None and case.device(story, lambda profile: profile.nics == "left"):
        pv = story.connected("vif", mask.at)
        both = f", and PV NIC {pv[0].device} connected {when(pv[0].at)}" if pv else ""
        yield Hit(f"{story.id}: mask 0x{mask.mask or 0:04x}, written {when(mask.at)}, asks for the unplug of NICs, "
                  f"which QEMU 1.0 leaves where they are{both}", places(mask.at, pv[0].at if pv else None),
                  "derived" if pv else "assumed")


# -- what stays behind in the device model


@rule(
    "A42", severity="high", title="a controller's ports came to lie on another's after the unplug",
    law="hw/ide/piix.c, 856ca10f9c (QEMU 8.1)", needs={"ports", "mapping"}, advice="Update to QEMU 8.1 or later.",
)
def bars_overlap(story: Story, case: Context) -> Iterator[Hit]:
    """Before QEMU 8.1 the IDE function was reset only in part at the unplug, and its bus master BAR was cut short.

    It may then lie where the USB controller's ports are, whose driver reads another device's registers and gives up.
    """
    mask = _first_mask(story, _DISKS | _AUXILIARY)
    if mask is None:
        return
    there: dict[tuple[str, int], Mapping] = {}
    for one in story.mappings:
        if not one.mapped:
            there.pop((one.function, one.bar), None)
            continue
        other = next((two for two in there.values() if two.function != one.function and one.overlaps(two)), None)
        there[one.function, one.bar] = one
        if other is not None and comes_after(one.at, mask.at):
            fixed = case.device(story, lambda profile: profile.lineage == "qemu" and profile.version >= _WHOLE_RESET)
            odd = ", though this release resets the IDE function whole" if fixed else ""
            yield Hit(f"{story.id}: {_ports(one)} was mapped {when(one.at)}, after mask 0x{mask.mask or 0:04x}, onto "
                      f"{_ports(other)}{odd}", places(mask.at, one.at, other.at))
            return


def _ports(one: Mapping) -> str:
    return f"BAR{one.bar} of {one.function} (ports 0x{one.base:x} to 0x{one.base + one.size - 1:x})"


def _real_xen(story: Story) -> bool:
    """Whether the device model registered with a hypervisor."""
    return bool(story.hotplug) or any(event.said == "created" for event in story.life)


@rule(
    "A46", severity="medium", title="the machine was reset in place, and unplugged devices do not come back",
    law=f"{_PLATFORM}, platform_reset: unplugged devices are no state; docs/system/i386/xen.rst",
    advice="Stop the VM and start it anew, rather than resetting it; or boot firmware that reads PV disks (OVMF).",
)
def reset_in_place(story: Story, case: Context) -> Iterator[Hit]:
    """On real Xen a reboot is a new device model with all its devices; where QEMU emulates Xen on KVM it is a reset.

    A reset brings no unplugged device back. Firmware that reads no PV disks then finds nothing to boot from.
    """
    before = case.before(story)
    kvm = case.device(story, lambda profile: profile.lineage == "kvm-xen")
    if story.began != "reset" or before is None or not (before.mask or 0) & (_DISKS | _NICS | _AUXILIARY | _NVME):
        return
    if kvm is False or not story.evidence & {"ports", "config"} or _real_xen(story) or _real_xen(before):
        return
    again = story.handshake[:1]
    booted = f"; it booted all the same, for a driver probed the device {when(again[0].at)}" if again else ""
    yield Hit(f"{story.id}: the machine was reset in place; what {before.id} had unplugged with mask "
              f"0x{before.mask or 0:04x} ({in_words(before.mask or 0)}) does not come back{booted}",
              places(story.first, before.masks[0].at, again[0].at if again else None),
              "derived" if kvm else "assumed", "low" if again else None)


# -- XenServer's protocol 2


@dataclass(frozen=True, slots=True)
class _Protocol:
    """Which protocol a boot's accesses chose, and what they did that it ignores."""

    pinned: tuple[Step, Step] | None = None
    """The read that pinned protocol 1, and the choice of another that came too late."""
    ignored: tuple[Step, ...] = ()
    """Masks in protocol 2, unplugs by index in protocol 1."""
    version: int | None = None


def _protocol(story: Story) -> _Protocol:
    """Follow the version: the first read of it pins 1, unless a write to port 0x13 chose another before.

    A driver chooses the version with no type written, or type 0, so that an index for once means nothing.
    """
    version: int | None = None
    read: Step | None = None
    pinned: tuple[Step, Step] | None = None
    ignored: list[Step] = []
    kind: int | None = None
    for step in story.steps:
        if step.register == "unplug_type":
            kind = step.value
        elif step.register == "protocol_version" and version is None and step.value == 1:
            version, read = 1, step
        elif step.register == "unplug_index" and version is None:
            version = step.value
        elif step.register == "unplug_index" and version == 1:
            if kind in (1, 2):
                ignored.append(step)
            elif pinned is None and read is not None and (step.value or 0) > 1:
                pinned = read, step
        elif step.register == "unplug_mask" and version is not None and version > 1:
            ignored.append(step)
    return _Protocol(pinned, tuple(ignored), version)


def _knows_protocol_2(story: Story, case: Context) -> Certainty | None:
    """How well it is known that the device has protocol 2; None where it has not."""

    def chooses(profile: Profile) -> bool:
        return profile.protocol_choice

    answer = case.device(story, chooses)
    shown = any((step.value or 0) > 1 for step in story.versions if step.value != 0xFF)
    return "derived" if answer or (answer is None and shown) else None if answer is False else "assumed"


@rule(
    "A47", severity="high", title="protocol 2 was chosen after protocol 1 had been pinned", needs={"ports"},
    law=_QUEUE, advice="Keep whatever reads port 0x12 before the driver does (a boot loader, another driver) from it; "
                       "then start the VM anew, for the version lasts as long as the device model.",
)
def pinned(story: Story, case: Context) -> Iterator[Hit]:
    """XenServer's device takes the first read of the protocol version for a choice of version 1, and keeps to it.

    A driver that asks for version 2 afterwards is not heard, reads 1, and gives up: the guest stays on emulated
    devices.
    """
    certainty, found = _knows_protocol_2(story, case), _protocol(story).pinned
    if certainty is not None and found is not None:
        read, choice = found
        yield Hit(f"{story.id}: the protocol version was read as 1 {when(read.at)}, which pins it, and a driver chose "
                  f"version {choice.value} {when(choice.at)}, too late", places(read.at, choice.at), certainty)


@rule(
    "A48", severity="medium", title="an unplug in the words of the other protocol", needs={"ports"}, law=_QUEUE,
    advice="Have the driver unplug in the way of the protocol that it chose: by mask in version 1, by type and index "
           "in version 2.",
)
def other_protocol(story: Story, case: Context) -> Iterator[Hit]:
    """XenServer's device hears the mask in protocol 1 only, and unplugs by type and index in protocol 2 only.

    It ignores the other without a word, so the driver believes to have unplugged, and the emulated devices stay.
    """
    certainty, found = _knows_protocol_2(story, case), _protocol(story)
    if certainty is None or not found.ignored:
        return
    first = found.ignored[0]
    what = f"mask 0x{first.value or 0:04x}" if first.register == "unplug_mask" else f"unplug of index {first.value}"
    yield Hit(f"{story.id}: {what} {when(first.at)} means nothing in protocol {found.version}, and is ignored",
              places(*(step.at for step in found.ignored[:_MOST])), certainty)


_TOOLSTACK: Final = re.compile(
    r"/local/domain/\d+/(?:vm-data/|xenserver/|platform/(?:device_id|revision|subsystem_id)$|control/has-vendor-device$)"
)
"""Nodes that xenopsd alone sets up for a guest, by their whole path."""
_UPDATED: Final = re.compile(r"(?:^|/local/domain/\d+/)data/updated$")
_TICK_NS: Final = 10**6
"""To what oxenstored's access log rounds its times down."""


def _as_linux(story: Story) -> tuple[Step, Step] | None:
    """The product and the build by which a driver first named itself in the way that XenServer takes for Linux'."""
    product: Step | None = None
    for step in story.handshake:
        if step.register == "product_number":
            product = step
        elif step.register == "build_number" and product is not None and (
            product.value == LINUX and step.value in LINUX_BUILDS
        ):
            return product, step
    return None


def _logged(story: Story) -> list[Moment]:
    """When the log of xenstored tells of this guest."""
    events = [event for event in story.store if event.records[0].event.startswith("xenstored_")]
    logs = {event.records[0].source for event in events}
    return [*(Moment.of(event) for event in events), *(one.at for one in story.changes if one.at.place.source in logs)]


@rule(
    "A49", severity="medium", title="XenServer was not told that PV drivers run", needs={"ports", "xenstored"},
    law="notify.patch of XenServer's queue; XEN_PLATFORM_PV_DRIVER_INFO and xenopsd",
    advice="Install the guest tools, or see why xenopsd did not act upon XEN_PLATFORM_PV_DRIVER_INFO.",
)
def not_told(story: Story, case: Context) -> Iterator[Hit]:
    """For Linux (product 3, build below 256) the host itself notes in xenstore that the guest can suspend and stop.

    Without these nodes the toolstack takes the guest for one without PV drivers, and refuses to shut it down cleanly,
    to suspend or to migrate it.
    """
    named_as = _as_linux(story)
    if named_as is None or story.blacklisted is not False or story.counts["store"] > len(story.store):
        return
    product, build = named_as
    written = [event for event in story.store if event.records[0].event == "xenstored_write"]
    setup = next((Moment.of(event) for event in written if _TOOLSTACK.match(event.subject)), None)
    before = None if setup is None else story.nanoseconds(setup, build.at)
    if before is None or before < 0:  # not XenServer's, or its log begins too late to tell
        return
    for event in written:
        after = story.nanoseconds(build.at, Moment.of(event))
        if _UPDATED.search(event.subject) and (after is None or after > -_TICK_NS):
            return
    timed = [(waited, at) for at in _logged(story) if (waited := story.nanoseconds(build.at, at)) is not None]
    waited, last = max(timed, key=lambda entry: entry[0])
    if waited > case.patience_ns:
        yield Hit(f"{story.id}: the driver named product {LINUX}, build {build.value} {when(build.at)}, and nobody "
                  f"wrote data/updated in the {span(waited)} for which xenstored's log goes on to tell of this guest",
                  places(product.at, build.at, last), "derived")
