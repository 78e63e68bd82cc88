"""Every lineage and version of the device, as a list of changes: what a release did, by its commit.

Law: the history of hw/i386/xen/xen_platform.c (hw/xen_platform.c, xen-all.c and ide/piix.c before) in QEMU, of
hw/xen_platform.c in qemu-xen-traditional, XenServer's queue on it (unplug-version-2, product-nr-1/3/4-blacklist,
CP-3235, CA-8472, xen-platform-scsi-controller), and XCP-ng's patches on QEMU 2.10.2 and 4.2.1. What was observed on
the running devices of QEMU 7.2, 10.0 and 10.2 comes before what sources say::

    $ xptrace explain qemu-2.9
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from xptrace.model.profile import Profile


@dataclass(frozen=True, slots=True)
class Change:
    """What one release changed: its version, the commit (or the patch) and its month where known, and what it set."""

    version: tuple[int, ...]
    commit: str
    date: str
    said: str
    sets: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


_PASSTHROUGH = frozenset({"xen-pci-passthrough"})

QEMU: Final[tuple[Change, ...]] = (
    Change((0, 15), "01195b7347", "2011-06", "the device: magic, version, flags, log; the build is ignored, nothing is "
           "unplugged", {"tables": True}),
    Change((1, 0), "679f4f8b17", "2011-07", "mask bits 0 and 1 through piix3-ide-xen; IDE disks 0 to 2 only; the "
           "emulated NIC stays", {"tables": False, "unaligned": False, "ide": "first three", "nics": "left"}),
    Change((1, 0), "e7b48c97fe", "2011-11", "the ports answer at their offsets again"),
    Change((1, 1), "4accd107d0", "2012-05", "the NIC really goes; before, there were two with one MAC address",
           {"nics": "removed"}),
    Change((1, 3), "bd4982a6c6", "2012-10", "passed-through devices are spared", {"spared": _PASSTHROUGH}),
    Change((1, 6), "962b03fcf5", "2013-06/07", "accesses need not be aligned; unknown offsets are ignored",
           {"unaligned": True}),
    Change((1, 6), "8fbab3b62a", "2013-07", "xen-pvdevice: an identity of its own, without ports"),
    Change((2, 0), "539891a85d", "", "the device id of xen-pvdevice must be given"),
    Change((2, 2), "d4f9e806c2", "2014-10", "the secondary slave is unplugged too", {"ide": "all"}),
    Change((2, 4), "6cd387833d", "2015-08", "CVE-2015-5166 (XSA-139): no use of an unplugged drive after it is freed"),
    Change((2, 5), "dbb7405d8c", "2015-10", "refuses to start without Xen"),
    Change((2, 6), "d1fc684f36", "2016-04", "no abort (blk_delete) at an unplug"),
    Change((2, 8), "78f66897dd", "2016-09/10", "SCSI controllers go whole with bit 0, virtio-blk and virtio-scsi too",
           {"scsi": True}),
    Change((2, 8), "35132016dc", "2016-10", "BAR0+4 and BAR0+8 unplug, as SUSE's and Novell's drivers expect",
           {"legacy_bar0": True}),
    Change((2, 9), "3d89e3f7e8", "2017-01", "NVMe controllers go with bit 0", {"nvme_bit": 1}),
    Change((2, 9), "ae4d2eb273", "2017-01", "bit 2 works: every IDE disk but the primary master", {"auxiliary": True}),
    Change((2, 10), "6c808651e3", "2017-07", "the NIC's network back end goes with it", {"peers": "all"}),
    Change((2, 10), "04d6da4ff6", "2017-07", "NVMe controllers go with bit 3 only", {"nvme_bit": 8}),
    Change((3, 0), "1dd6af7395", "2018-05", "xen-pvdevice takes part in migration"),
    Change((5, 2), "045b1d4dbb", "2020-11", "IDE disks given by -device ide-hd go too", {"ide_by_drive": False}),
    Change((6, 0), "6661d9a58a", "2021-02", "the blacklist that nothing could set is gone; 0xd249 cannot be read"),
    Change((8, 1), "856ca10f9c", "2023-08", "the IDE function is reset whole; its BAR no longer overlaps the USB's"),
    Change((8, 2), "25511f3e8c", "2023-11", "network back ends go only with NICs of a PCI model, so a PV NIC keeps its "
           "own", {"peers": "pci"}),
    Change((8, 2), "a73049953b", "2023-11", "SATA disks go (q35, hdtype=ahci), and the disk devices with them",
           {"sata": True, "ide_device_goes": True}),
)
"""Upstream QEMU, on real Xen."""

KVM_XEN: Final[tuple[Change, ...]] = (
    Change((8, 0), "3bb1ebac6c", "2023-03", "emulates Xen on KVM: the ROM lock is only remembered",
           {"rom_lock": "stored"}),
    Change((8, 0), "bb346fae38", "2023-03", "vfio-pci devices are spared", {"spared": _PASSTHROUGH | {"vfio-pci"}}),
)
"""What QEMU that emulates Xen on KVM does otherwise."""

XCP_NG: Final[tuple[Change, ...]] = (
    Change((2, 10), "CP-21767", "2017-04", "device id, revision, class and subsystem are properties; the platform "
           "device is a SCSI controller by class, and spares itself",
           {"identity_settable": True, "class_code": 0x010000, "spared": _PASSTHROUGH | {"xen-platform"}}),
    Change((2, 10), "build-number", "2017-07", "the build is kept, and told by XEN_PLATFORM_PV_DRIVER_INFO",
           {"build_kept": True, "build_event": True}),
    Change((2, 10), "nvme-with-ide", "", "NVMe controllers go with bit 0; bit 3 is not used", {"nvme_bit": 1}),
)
"""XenServer's and XCP-ng's patches on QEMU."""

_RELEASES: Final = (
    "0.15", "1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", *(f"2.{n}" for n in range(13)), "3.0", "3.1",
    *(f"{major}.{minor}" for major in range(4, 10) for minor in range(3)), "10.0", "10.1", "10.2",
)  # fmt: skip
NAMES: Final = "qemu-MAJOR.MINOR, kvm-xen-MAJOR.MINOR, xcp-ng-MAJOR.MINOR, qemu-xen-traditional, xenserver-trad"
"""What a profile may be called."""
OBSERVED: Final = ("7.2", "10.0", "10.2")
"""Releases of which the running device was measured."""

TRADITIONAL: Final = Profile(
    name="qemu-xen-traditional", lineage="qemu-xen-traditional", tables=True, blacklist="keys", build_kept=True,
    host_lines=True, throttled=True, ide="all", auxiliary=True, nics="removed", peers="all", spared=_PASSTHROUGH,
    command_at_start=3,
)
"""hw/xen_platform.c of qemu-xen-traditional, 2009 to 2016: the mask is acted upon even when the driver is refused."""

XENSERVER_TRADITIONAL: Final = replace(
    TRADITIONAL, name="xenserver-trad", lineage="xenserver-trad", protocol_choice=True, blacklist="keys and identity",
    log_filtered=True, class_code=0x010000, interrupt_pin=3, identity_settable=True,
)
"""XenServer's queue on it, 2010 to 2016: protocol 2, and a refused driver cannot unplug."""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _with(profile: Profile, changes: tuple[Change, ...]) -> Profile:
    for change in changes:
        if change.version <= profile.version:
            profile = replace(profile, **change.sets)
    return profile


def _qemu(release: str) -> Profile:
    basis: Any = "observed" if release in OBSERVED else "documented"
    return _with(Profile(name=f"qemu-{release}", lineage="qemu", version=_version(release), basis=basis), QEMU)


@cache
def profiles() -> Mapping[str, Profile]:
    """Every profile by its name, the oldest of a lineage first."""
    found = [TRADITIONAL, XENSERVER_TRADITIONAL]
    upstream = [_qemu(release) for release in _RELEASES]
    found += upstream
    for profile in upstream:
        if profile.version in ((2, 10), (4, 2)):
            name = f"xcp-ng-{'.'.join(map(str, profile.version))}"
            found.append(_with(replace(profile, name=name, lineage="xcp-ng", basis="documented"), XCP_NG))
    for profile in upstream:
        if profile.version >= (8, 0):
            name = f"kvm-xen-{'.'.join(map(str, profile.version))}"
            found.append(_with(replace(profile, name=name, lineage="kvm-xen"), KVM_XEN))
    return MappingProxyType({profile.name: profile for profile in found})


def profile(name: str) -> Profile:
    """The profile of that name; a point release is that of its minor (qemu-7.2.22 is qemu-7.2).

    Raises KeyError, with one line that names near ones, where there is none.
    """
    known = profiles()
    short = re.sub(r"^(\S+-\d+\.\d+)\.\d+$", r"\1", name)
    if short in known:
        return known[short]
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are: {NAMES}"
    message = f"no profile {name!r}; {hint}"
    raise KeyError(message)


def history(of: Profile) -> tuple[Change, ...]:
    """The changes that made a profile what it is, in order; none for those of the traditional lineages."""
    lists = {"qemu": (QEMU,), "kvm-xen": (QEMU, KVM_XEN), "xcp-ng": (QEMU, XCP_NG)}.get(of.lineage, ())
    return tuple(change for changes in lists for change in changes if change.version <= of.version)
