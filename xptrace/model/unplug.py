"""What an unplug takes away: one walk over the emulated devices, as each lineage and version does it.

Law: hw/i386/xen/xen_platform.c (unplug_disks, unplug_nic, del_nic_peer) and hw/ide/piix.c (pci_piix3_xen_ide_unplug) of
QEMU; hw/ide.c, hw/pci.c and net.c of qemu-xen-traditional. Observed on QEMU 7.2, 10.0 and 10.2: disks go before NICs;
only the bus that the platform device itself sits on is walked, and only while its number is 0; a network back end
that was deleted once is an assertion the second time, and the device model ends there.
"""

from __future__ import annotations

from dataclasses import replace

from xptrace.model.effects import Aborted, Effect, Removed
from xptrace.model.inventory import CLASS_IDE, CLASS_NIC, CLASS_NVME, CLASS_SATA, CLASS_SCSI, Emulated, Inventory
from xptrace.model.profile import Profile

_DISKS, _NICS, _AUXILIARY = 1, 2, 4
PEER_DELETED_TWICE = "net/net.c: qemu_del_net_client: Assertion 'queues != 0' failed"


def _is_primary_master(drive: Emulated) -> bool:
    """The drive that bit 2 spares: the first on the bus named ide.0, whatever its controller (observed)."""
    return drive.bus == "ide.0" and drive.unit == 0


def _drive_goes(profile: Profile, drive: Emulated, controller: Emulated, auxiliary: bool) -> bool:
    if not drive.present or not drive.connected or drive.media != "disk":
        return False
    if auxiliary and _is_primary_master(drive):
        return False
    if controller.pci_class == CLASS_SATA:
        return profile.sata
    index = 2 * int(drive.bus.rpartition(".")[2] or 0) + drive.unit if drive.bus.startswith("ide.") else drive.unit
    if profile.ide == "none" or (profile.ide == "first three" and index > 2):
        return False
    return drive.by_drive or not profile.ide_by_drive


def _gone(device: Emulated, *, whole: bool) -> Emulated:
    return replace(device, present=device.present and not whole, connected=False)


def _disks(profile: Profile, inventory: Inventory, mask: int, bus: str) -> Inventory:
    """The inventory after the walk over the disks on one bus."""
    auxiliary = bool(mask & _AUXILIARY) and not mask & _DISKS
    devices = {one.name: one for one in inventory}
    for controller in inventory:
        if not controller.present or controller.bus != bus or controller.type in profile.spared:
            continue
        kind = controller.pci_class
        targets = [one for one in inventory if one.controller == controller.name]
        if kind in (CLASS_IDE, CLASS_SATA):
            for drive in targets:
                if _drive_goes(profile, drive, controller, auxiliary):
                    devices[drive.name] = _gone(drive, whole=profile.ide_device_goes)
        elif (kind == CLASS_SCSI and profile.scsi and not auxiliary) or (
            kind == CLASS_NVME and mask & profile.nvme_bit
        ):
            for one in (controller, *targets):
                devices[one.name] = _gone(one, whole=True)
    return tuple(devices[one.name] for one in inventory)


def _nics(profile: Profile, inventory: Inventory, bus: str) -> tuple[Inventory, Effect | None]:
    """The inventory after the walk over the NICs, or the assertion that ends the device model."""
    after = []
    for one in inventory:
        has_peer = one.is_nic and one.present and one.backend is not None
        if has_peer and (profile.peers == "all" or (profile.peers == "pci" and one.pci_class is not None)):
            if not one.connected:
                return inventory, Aborted(PEER_DELETED_TWICE)
            one = _gone(one, whole=False)  # noqa: PLW2901
        walked = one.present and one.bus == bus and one.pci_class == CLASS_NIC and one.type not in profile.spared
        after.append(replace(one, present=False) if walked and profile.nics == "removed" else one)
    return tuple(after), None


def _difference(before: Inventory, after: Inventory, mask: int) -> Removed:
    pairs = list(zip(before, after, strict=True))
    return Removed(
        mask,
        tuple(old.name for old, new in pairs if old.present and not new.present),
        tuple(old.backend for old, new in pairs if old.connected and not new.connected and old.backend is not None),
    )


def _bus_walked(bus: str, number: int) -> str | None:
    return bus if number == 0 else None


def by_mask(
    profile: Profile, inventory: Inventory, mask: int, bus: str, bus_number: int
) -> tuple[Inventory, tuple[Effect, ...]]:
    """The inventory after a mask of 4 bits, and what went; `bus` is the platform device's own."""
    walked = _bus_walked(bus, bus_number) or ""
    after = _disks(profile, inventory, mask, walked) if mask & profile.disk_bits else inventory
    if mask & _NICS and profile.nics != "none":
        after, aborted = _nics(profile, after, walked)
        if aborted is not None:
            return after, (_difference(inventory, after, mask), aborted)
    return after, (_difference(inventory, after, mask),)


def by_index(profile: Profile, inventory: Inventory, kind: int, index: int) -> tuple[Inventory, tuple[Effect, ...]]:
    """The inventory after one unplug of protocol 2: IDE disk `index` (kind 1), or NIC `index`, at slot 4 + index.

    XenServer's unplug-version-2.patch and constant_devfn_for_nic.patch. A NIC without a known slot counts by order.
    """
    after = list(inventory)
    nics = [at for at, one in enumerate(inventory) if one.pci_class == CLASS_NIC and one.is_nic]
    for at, one in enumerate(inventory):
        if kind == _DISKS:
            is_it = one.media == "disk" and one.bus in ("ide.0", "ide.1") and (
                2 * int(one.bus[-1]) + one.unit == index)
            if is_it and one.connected:
                after[at] = _gone(one, whole=profile.ide_device_goes)
        elif at in nics and one.present and one.type not in profile.spared:
            place = one.slot >> 3 if one.slot is not None else 4 + nics.index(at)
            if place == 4 + index:
                after[at] = _gone(one, whole=True)
    return tuple(after), (_difference(inventory, tuple(after), kind),)
