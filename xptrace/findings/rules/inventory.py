"""Rules about the emulated devices that the masks leave: what is there after an unplug, by the model of the device.

Law: `xptrace.model.unplug`, which is hw/i386/xen/xen_platform.c of QEMU by release. The inventory is not in any trace:
it is the user's word, and so every finding here is derived from that and from the release that explains the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dissectors.platform.registers import UNPLUG_BITS, in_words
from xptrace.findings.rule import Context, Hit, places, rule
from xptrace.findings.rules.ownership import lost_disks
from xptrace.findings.words import span, when
from xptrace.model.inventory import (
    CLASS_NIC,
    CLASS_NVME,
    CLASS_SATA,
    CLASS_SCSI,
    PASSED_THROUGH,
    ROOT,
    Emulated,
    Inventory,
)
from xptrace.model.profile import Profile
from xptrace.model.unplug import by_mask
from xptrace.negotiation.story import Story

_PLATFORM = "hw/i386/xen/xen_platform.c"
_DISKS, _NICS, _, _NVME = (bit.value for bit in UNPLUG_BITS)


def after(story: Story, inventory: Inventory, profile: Profile) -> Inventory:
    """The emulated devices after every mask of a boot, on a device of this profile."""
    for step in story.masks:
        inventory, _ = by_mask(profile, inventory, (step.mask or 0) & 0xF, ROOT, 0)
    return inventory


def left(story: Story, case: Context, which: Callable[[Emulated], bool]) -> list[Emulated]:
    """The devices of a kind that are there after the masks on every device that explains the recording."""
    names: set[str] | None = None
    for profile in case.devices.get(story.vm, ()):
        there = {one.name for one in after(story, case.inventory, profile) if one.present and which(one)}
        names = there if names is None else names & there
    return [one for one in case.inventory if one.name in (names or ())]


def _hit(story: Story, devices: list[Emulated], said: str) -> Iterator[Hit]:
    if devices:
        names = ", ".join(f"{one.name} ({one.type})" for one in devices)
        last = story.masks[-1]
        mask = f"mask 0x{story.mask or 0:x} ({in_words(story.mask or 0)})"
        sentence = f"{story.id}: {mask}, last written {when(last.at)}, leaves {names}: {said}"
        yield Hit(sentence, places(last.at), "derived")


@rule(
    "A16", severity="high", title="an emulated NVMe disk stays, because the mask lacks bit 3",
    law=f"{_PLATFORM}, 04d6da4ff6 (QEMU 2.10)", needs={"ports", "inventory"},
    advice="Give the guest's disks as IDE or SCSI, or update its drivers: Linux never sets bit 3, Windows drivers do "
           "since 2026.",
)
def nvme_stays(story: Story, case: Context) -> Iterator[Hit]:
    """Since QEMU 2.10 only bit 3 takes NVMe controllers away, and few drivers set it.

    The disk is then there twice, emulated and PV, over one image, which a second mount corrupts.
    """
    if (story.mask or 0) & _DISKS and not (story.mask or 0) & _NVME:
        there = left(story, case, lambda one: one.pci_class == CLASS_NVME and one.type not in PASSED_THROUGH)
        yield from _hit(story, there, "the disk is there twice, emulated and PV")


@rule(
    "A38", severity="high", title="disks on AHCI stay beside their PV disks",
    law=f"{_PLATFORM}, a73049953b (QEMU 8.2)", needs={"ports", "inventory"},
    advice="Update to QEMU 8.2 or later, or use hdtype=ide rather than hdtype=ahci or q35.",
)
def ahci_stays(story: Story, case: Context) -> Iterator[Hit]:
    """QEMU before 8.2 does not unplug disks on an AHCI controller, as q35 and hdtype=ahci have.

    Every such disk is there twice, emulated and PV, over one image, which a second mount corrupts.
    """
    controllers = {one.name for one in case.inventory if one.pci_class == CLASS_SATA and one.bus == ROOT}
    if (story.mask or 0) & _DISKS:
        there = left(story, case, lambda one: one.controller in controllers and one.media == "disk" and one.connected)
        yield from _hit(story, there, "the disk is there twice, emulated and PV")


@rule(
    "A44", severity="medium", title="a device behind a bridge was not unplugged",
    law=f"{_PLATFORM}: pci_for_each_device on bus 0 alone", needs={"ports", "inventory"},
    advice="Put emulated disks and NICs on bus 0, not behind a root port or a bridge.",
)
def behind_bridge(story: Story, case: Context) -> Iterator[Hit]:
    """The unplug walks over the functions of bus 0 and no others.

    A disk controller or NIC behind a bridge or a root port stays, and its PV twin makes it two.
    """
    mask = story.mask or 0
    classes = ((_DISKS, (CLASS_SCSI, CLASS_SATA)), (_NICS, (CLASS_NIC,)), (_NVME, (CLASS_NVME,)))
    asked_for = {kind for bit, kinds in classes for kind in kinds if mask & bit}
    there = left(story, case, lambda one: one.bus != ROOT and one.pci_class in asked_for
                 and one.type not in PASSED_THROUGH)
    yield from _hit(story, there, "only bus 0 is unplugged")


@rule(
    "A45", severity="medium", title="a passed-through NIC or NVMe disk is taken for unplugged",
    law=f"{_PLATFORM}, bd4982a6c6 (QEMU 1.3), bb346fae38 (QEMU 8.0)", needs={"ports", "inventory"},
    advice="Leave that kind of device out of the guest's mask and of its list of hidden devices.",
)
def passed_through(story: Story, case: Context) -> Iterator[Hit]:
    """A passed-through function is never unplugged, whatever the mask says.

    A driver that hides what it believes unplugged hides a real device: Windows that boots from a passed-through NVMe
    disk stops with a blue screen.
    """
    mask = story.mask or 0
    kinds = {kind for bit, kind in ((_NICS, CLASS_NIC), (_NVME, CLASS_NVME), (_DISKS, CLASS_SCSI)) if mask & bit}
    there = left(story, case, lambda one: one.type in PASSED_THROUGH and one.pci_class in kinds)
    yield from _hit(story, there, "it was passed through, and stays")


@rule(
    "A43", severity="medium", title="the image of an unplugged NVMe disk may still be open",
    law="XCP-ng's patches on QEMU 4.2.1: the NVMe back end is closed at the unplug",
    needs={"ports", "vbd", "inventory"},
    advice="Update XCP-ng or XenServer; until then, shut the VM down to have its image released.",
)
def backend_open(story: Story, case: Context) -> Iterator[Hit]:
    """XenServer's QEMU once kept the image of an unplugged NVMe disk open.

    The PV disk's back end then cannot have it, nor can the host detach, snapshot or migrate it. That somebody holds the
    image is in no recording; that no PV disk took over is.
    """
    devices = [profile for profile in case.devices.get(story.vm, ()) if profile.lineage == "xcp-ng"]
    lost = lost_disks(story, case) if devices else None
    if lost is None:
        return
    there = {one.name for one in after(story, case.inventory, devices[0]) if one.present}
    gone = [
        one.name for one in case.inventory
        if one.pci_class == CLASS_NVME and one.type not in PASSED_THROUGH and one.name not in there
    ]
    if gone:
        sole = all(profile.lineage == "xcp-ng" for profile in case.devices[story.vm])
        whose = "" if sole else " if the device is XCP-ng's or XenServer's"
        yield Hit(f"{story.id}: mask 0x{lost.mask.mask or 0:04x}, written {when(lost.mask.at)}, took {', '.join(gone)} "
                  f"away{whose}, and no PV disk connected in the {span(lost.waited_ns)} after it",
                  places(lost.mask.at, story.last), "assumed")
