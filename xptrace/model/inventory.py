"""The emulated devices that an unplug may take away: what they are, where they sit, what lies behind them.

Law: QEMU's device types and the PCI class codes of their functions (hw/*/*.c, include/hw/pci/pci_ids.h). An inventory
is written as a list, or read from the command line of a device model, which libvirt and ps both show::

    ide0,ide1,cd2,scsi,nvme,e1000,virtio-net@br0
    qemu-system-i386 -drive if=ide,index=0,... -device e1000,netdev=n0,id=nic0,addr=0a.0
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

CLASS_IDE, CLASS_SATA, CLASS_SCSI, CLASS_NVME, CLASS_NIC = 0x0101, 0x0106, 0x0100, 0x0108, 0x0200

CLASSES: Final = {
    "piix3-ide": CLASS_IDE, "piix4-ide": CLASS_IDE, "ich9-ahci": CLASS_SATA, "lsi53c895a": CLASS_SCSI,
    "lsi53c810": CLASS_SCSI, "pvscsi": CLASS_SCSI, "am53c974": CLASS_SCSI, "dc390": CLASS_SCSI,
    "virtio-blk-pci": CLASS_SCSI, "virtio-scsi-pci": CLASS_SCSI, "megasas": 0x0104, "megasas-gen2": 0x0104,
    "mptsas1068": CLASS_SCSI, "nvme": CLASS_NVME, "e1000": CLASS_NIC, "e1000e": CLASS_NIC, "rtl8139": CLASS_NIC,
    "pcnet": CLASS_NIC, "ne2k_pci": CLASS_NIC, "vmxnet3": CLASS_NIC, "i82551": CLASS_NIC, "i82557b": CLASS_NIC,
    "i82559er": CLASS_NIC, "tulip": CLASS_NIC, "igb": CLASS_NIC, "virtio-net-pci": CLASS_NIC, "pci-bridge": 0x0604,
}  # fmt: skip
"""QEMU's type to the class word of its PCI function; types without one (ISA, IDE drives) are not here."""

_SHORT: Final = {
    "scsi": "lsi53c895a", "nvme": "nvme", "virtio-blk": "virtio-blk-pci", "virtio-scsi": "virtio-scsi-pci",
    "ahci": "ich9-ahci", "virtio-net": "virtio-net-pci", "isa-nic": "ne2k_isa", "nic": "rtl8139",
}
PASSED_THROUGH: Final = {"xen-pci-passthrough", "vfio-pci"}
_NICS: Final = {name for name, code in CLASSES.items() if code == CLASS_NIC} | {"ne2k_isa"}
ROOT: Final = "pci.0"
ISA: Final = "isa.0"

Media = Literal["disk", "cdrom"]


@dataclass(frozen=True, slots=True)
class Emulated:
    """One emulated device: its name (its id, or one of ours) and QEMU's type.

    `bus` is the bus that it sits on by name (pci.0, a bridge's id, ide.0, ahci.1, a controller's id), `unit` its place
    there; `controller` the device whose bus that is, where it is not the root. `backend` is the block device or the
    network link behind it. Of a device that is gone `present` is False; of one whose back end is gone, `connected` is.
    """

    name: str
    type: str
    pci_class: int | None = None
    bus: str = ROOT
    unit: int = 0
    controller: str | None = None
    media: Media | None = None
    backend: str | None = None
    by_drive: bool = False
    """Whether it was given by `-drive if=ide` (or -hda), not by -device."""
    slot: int | None = None
    present: bool = True
    connected: bool = True

    @property
    def is_nic(self) -> bool:
        """Whether QEMU's network layer has it as a NIC; a passed-through one is none."""
        return self.type in _NICS


@dataclass(frozen=True, slots=True)
class Bridge:
    """A PCI-to-PCI bridge: its name, its own place (slot << 3 | function), and the number of the bus behind it."""

    name: str
    number: int
    secondary: int = 0


Inventory = tuple[Emulated, ...]


def _ide(index: int, media: Media, name: str, backend: str | None, *, by_drive: bool = True) -> Emulated:
    kind = "ide-cd" if media == "cdrom" else "ide-hd"
    return Emulated(name, kind, None, f"ide.{index // 2}", index % 2, "ide", media, backend, by_drive)


def typical() -> Inventory:
    """What a toolstack gives an HVM guest that says nothing else: a disk, a CD drive, a NIC."""
    return parse("ide0,cd3,rtl8139")


_ITEM: Final = re.compile(r"(?:(?P<through>pt|vfio):)?(?P<kind>[a-z0-9_-]+?)(?P<index>\d?)(?:@(?P<bus>[\w.-]+))?$")


def _item(text: str, taken: Sequence[Emulated]) -> Emulated:
    found = _ITEM.match(text)
    if found is None:
        raise ValueError(_unknown(text))
    kind, bus = found["kind"], found["bus"] or ROOT
    name = text.replace("@", "-").replace(":", "-")
    if name in {one.name for one in taken}:
        name = f"{name}-{sum(one.name.startswith(name) for one in taken) + 1}"
    if kind in ("ide", "cd") and not found["through"]:
        index = int(found["index"] or (0 if kind == "ide" else 3))
        if index > 3:
            raise ValueError(f"{text!r}: an IDE disk is 0 to 3")
        return _ide(index, "disk" if kind == "ide" else "cdrom", name, name)
    if kind == "sata":
        index = int(found["index"] or 0)
        return Emulated(name, "ide-hd", None, f"ide.{index}", 0, "ahci", "disk", name)
    whole = kind + found["index"]
    of_type = whole if whole in CLASSES or whole in _SHORT else kind
    of_type = _SHORT.get(of_type, of_type)
    if of_type not in CLASSES and of_type != "ne2k_isa":
        raise ValueError(_unknown(text))
    if found["through"]:
        passed = "xen-pci-passthrough" if found["through"] == "pt" else "vfio-pci"
        return Emulated(name, passed, CLASSES.get(of_type), bus)
    if of_type == "ne2k_isa":
        return Emulated(name, of_type, None, ISA, backend=f"{name}-link")
    return Emulated(name, of_type, CLASSES[of_type], bus, backend=f"{name}-link" if of_type in _NICS else name)


def _unknown(text: str) -> str:
    kinds = ", ".join(["ide0-3", "cd0-3", "sata0-5", *_SHORT, *sorted(CLASSES.keys() - set(_SHORT.values()))])
    return f"{text!r} is no emulated device; there are: {kinds}; pt: or vfio: in front passes through, @BUS behind"


def parse(text: str) -> Inventory:
    """An inventory from a list such as `ide0,cd3,scsi,nvme,e1000,pt:e1000,virtio-net@br0`; raises ValueError.

    `sataN` is a disk of the chipset's own AHCI (q35). Every controller that a drive needs is there with it.
    """
    devices: list[Emulated] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        devices.append(_item(part, devices))
    buses = {one.controller for one in devices}
    controllers = []
    if "ide" in buses:
        controllers.append(Emulated("ide", "piix3-ide", CLASS_IDE, slot=1 << 3 | 1))
    if "ahci" in buses:
        controllers.append(Emulated("ahci", "ich9-ahci", CLASS_SATA, slot=0x1F << 3 | 2))
    return (*controllers, *devices)


# -- the command line of a device model


def _options(text: str) -> tuple[str, dict[str, str]]:
    """The first word and the `key=value` pairs of an option's argument; `,,` is a comma."""
    first, pairs = "", {}
    for position, part in enumerate(text.replace(",,", "\0").split(",")):
        key, equals, value = part.replace("\0", ",").partition("=")
        if not equals and position == 0:
            first = key
        else:
            pairs[key] = value if equals else "on"
    return first, pairs


def place_of(address: str | None) -> int | None:
    """Slot and function of an `addr` property, such as `0a.0`, as one number; raises ValueError."""
    if not address:
        return None
    slot, _, function = address.partition(".")
    return int(slot, 16) << 3 | int(function or "0", 16)


def _device(first: str, options: dict[str, str], position: int, buses: dict[str, str]) -> Emulated | None:
    name = options.get("id") or f"{first}-{position}"
    pci_class = CLASSES.get(first)
    if "class" in options:  # passed-through functions have the class of what they are
        pci_class = int(options["class"], 0)
    bus = options.get("bus", ROOT)
    if first in ("ide-hd", "ide-cd", "ide-drive", "scsi-hd", "scsi-cd"):
        controller = buses.get(bus, bus.partition(".")[0])
        media: Media = "cdrom" if first.endswith("cd") else "disk"
        return Emulated(name, first, None, bus, int(options.get("unit", "0")), controller, media, options.get("drive"))
    if first in _NICS:
        return Emulated(name, first, pci_class, bus if pci_class else ISA, backend=options.get("netdev"),
                        slot=place_of(options.get("addr")))
    if pci_class is None:
        return None
    return Emulated(name, first, pci_class, bus, backend=options.get("drive"), slot=place_of(options.get("addr")))


def _arguments(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for option, value in zip(words, [*words[1:], ""], strict=False):
        if option.startswith("-"):
            yield option.lstrip("-"), value


def command_line(text: str) -> tuple[Inventory, tuple[Bridge, ...], tuple[tuple[str, dict[str, str]], ...]]:
    """What a device model's command line says: (inventory, bridges, Xen's functions with their properties).

    Options that are not of disks, NICs, bridges or Xen's functions are passed over. Raises ValueError where the text
    is no command line at all.
    """
    words = shlex.split(text.replace("\\\n", " "))
    options = list(_arguments(words))
    if not any(option in ("device", "drive", "M", "machine", "hda", "m") for option, _ in options):
        raise ValueError("no options of a device model in it (-device, -drive, -machine)")
    machine = next((value.split(",")[0] for option, value in options if option in ("M", "machine")), "pc")
    q35 = "q35" in machine
    devices = [Emulated("ahci-of-the-chipset", "ich9-ahci", CLASS_SATA, slot=0x1F << 3 | 2)] if q35 else [
        Emulated("ide", "piix3-ide", CLASS_IDE, slot=1 << 3 | 1)
    ]
    buses = {f"ide.{n}": devices[0].name for n in range(6 if q35 else 2)}
    bridges: list[Bridge] = []
    functions: list[tuple[str, dict[str, str]]] = []
    for position, (option, value) in enumerate(options):
        first, given = _options(value)
        if option == "drive" and given.get("if", "ide") == "ide" and not q35:
            index, media = int(given.get("index", "0")), given.get("media", "disk")
            name = given.get("id") or f"ide{index}"
            devices.append(_ide(index, "cdrom" if media == "cdrom" else "disk", name, name))
        elif option in ("hda", "hdb", "hdc", "hdd") and not q35:
            devices.append(_ide("abcd".index(option[2]), "disk", option, option))
        elif option == "cdrom" and not q35:
            devices.append(_ide(2, "cdrom", option, option))
        elif option == "device" and first == "pci-bridge":
            bridges.append(Bridge(given.get("id", f"bridge-{position}"), place_of(given.get("addr")) or 0))
            devices.append(Emulated(bridges[-1].name, first, CLASSES[first], slot=bridges[-1].number))
        elif option == "device" and first in ("xen-platform", "xen-pvdevice"):
            functions.append((first, given))
        elif option == "device" and (found := _device(first, given, position, buses)) is not None:
            devices.append(found)
    return tuple(devices), tuple(bridges), tuple(functions)


def whole_again(inventory: Inventory) -> Inventory:
    """The inventory of a device model that has just started: nothing of it was taken away."""
    return tuple(replace(one, present=True, connected=True) for one in inventory)
