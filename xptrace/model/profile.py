"""What sets one lineage and version of the device apart from another: a profile, as data.

Law: the device's own sources: hw/xen_platform.c of qemu-xen-traditional and of XenServer's patch queue on it,
hw/i386/xen/xen_platform.c of QEMU and of XenServer's and XCP-ng's patches on it; QEMU 7.2, 10.0 and 10.2 as observed
on the running devices. Which release has which behaviour stands in `xptrace.model.profiles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Lineage = Literal["qemu", "kvm-xen", "xcp-ng", "qemu-xen-traditional", "xenserver-trad"]
Basis = Literal["observed", "documented"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device: every field is a fact in which lineages or versions differ."""

    name: str
    lineage: Lineage
    version: tuple[int, ...] = ()
    basis: Basis = "documented"
    """`observed` where the running device of this very release was measured."""

    # -- how an access reaches the registers
    tables: bool = False
    """Ports have a handler for each width, at multiples of it (ioport.c of old); else QEMU's memory regions."""
    unaligned: bool = True
    """Whether accesses that are not aligned are known to be taken; before QEMU 1.6 no source tells."""

    # -- registers
    protocol_choice: bool = False
    """Protocol 2: port 0x13 chooses the version, 0x11 and 0x13 unplug device by device."""
    blacklist: Literal["none", "keys", "keys and identity"] = "none"
    """Whether a build may be refused: by /mh/driver-blacklist, or by what it says of the PCI identity as well."""
    build_kept: bool = False
    """Whether the build number is remembered."""
    build_event: bool = False
    """Whether a build write sends the QMP event XEN_PLATFORM_PV_DRIVER_INFO."""
    rom_lock: Literal["hypervisor", "stored"] = "hypervisor"
    """Whether the flag protects 0xc0000-0xfffff, or is only remembered."""
    legacy_bar0: bool = False
    """Whether BAR0+4 and BAR0+8 unplug, as SUSE's and Novell's old drivers expect."""
    host_lines: bool = False
    """Whether the device itself writes lines about registers into the log, between the guest's."""
    log_filtered: bool = False
    """Whether the log drops what is not printable, blanks excepted."""
    throttled: bool = False
    """Whether a flood of log bytes makes the guest wait."""

    # -- what an unplug takes away
    ide: Literal["none", "first three", "all"] = "none"
    """Which of the four IDE disks go; a CD drive never does."""
    ide_by_drive: bool = True
    """Whether only disks given by `-drive if=ide` go, and not those given by `-device ide-hd`."""
    ide_device_goes: bool = False
    """Whether the disk device goes too; else it stays, empty."""
    auxiliary: bool = False
    """Whether mask bit 2 works."""
    scsi: bool = False
    """Whether controllers of the SCSI class go whole, virtio-blk and virtio-scsi among them."""
    sata: bool = False
    """Whether disks at SATA controllers go."""
    nvme_bit: int = 0
    """The mask bit that takes NVMe controllers away; 0 where none does."""
    nics: Literal["none", "left", "removed"] = "none"
    """`left`: told to go, but the emulated NIC stays where it is."""
    peers: Literal["kept", "all", "pci"] = "kept"
    """Whose network back ends go with mask bit 1: nobody's, every NIC's, those of NICs of a PCI model."""
    spared: frozenset[str] = frozenset()
    """Types of devices that an unplug passes over, whatever their class."""

    # -- PCI identity, as the machine is started by its toolstack
    device_id: int = 0x0001
    """The PCI device id."""
    revision: int = 0x01
    """The PCI revision."""
    class_code: int = 0xFF8000
    """Class, subclass and programming interface."""
    interrupt_pin: int = 1
    """The interrupt pin: 1 is INTA."""
    identity_settable: bool = False
    """Whether device id, revision, class and subsystem are properties of the machine, and so may differ by VM."""
    command_at_start: int = 0
    """The command register before any guest has written it."""

    @property
    def disk_bits(self) -> int:
        """The mask bits that start the walk over the disks; any of them alone takes away what bit 0 would."""
        if self.ide == "none":
            return 0
        return 1 | (4 if self.auxiliary else 0) | (self.nvme_bit & 8)

    @property
    def unplugs(self) -> bool:
        """Whether the mask does anything at all."""
        return self.ide != "none" or self.nics != "none"
