"""The BSDs: they look for the magic, unplug, and name neither product nor build.

Law: sys/x86/xen/hvm.c and sys/dev/xen/xenpci/xenpci.c of FreeBSD, in releases up to 9 sys/xen/xenhvm_mod.c;
sys/arch/xen/xen/hypervisor.c of NetBSD; sys/dev/pv/xen.c, xbf.c and if_xnf.c and sys/dev/pci/xspd.c of OpenBSD::

    inw 0x10 -> 0x49d2, outw 0x10 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import MAGIC, in_words
from xptrace.model.access import read, write
from xptrace.model.drivers import options
from xptrace.model.drivers.driver import Binding, Claim, Driver, Identity, Negotiation, NextBoot, Outcome
from xptrace.model.drivers.driver import not_there as _not_there
from xptrace.model.drivers.options import Options, option
from xptrace.model.drivers.steps import Seen

_NEVER_BLACKLISTED = Claim(
    "It names no build, so the host cannot refuse it; where the magic reads 0xd249 for another reason, it unplugs "
    "nothing.", "inferred",
)  # fmt: skip
_BY_HYPERVISOR = Claim("The unplug needs only the ports; PV devices are found through the hypervisor.", "inferred")
_GONE = Claim("Disks and NICs that were unplugged are gone: there is no device left to find them on.", "inferred")


def _two_steps(mask: int, otherwise: str) -> Negotiation:
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return _not_there(magic, otherwise)
    if not mask:
        return Outcome("accepted", "it was told to unplug nothing, and writes no mask", pv=False)
    yield write(0x10, 2, mask)
    return Outcome("accepted", f"it asks to unplug {in_words(mask)}", mask=mask, pv=True)


@dataclass(frozen=True, slots=True)
class FreebsdOptions(Options):
    """Tunables of the kernel, hw.xen.*."""

    disable_pv_disks: bool = option(options.FLAG, False, "keep the emulated disks (hw.xen.disable_pv_disks)")
    disable_pv_nics: bool = option(options.FLAG, False, "keep the emulated NICs (hw.xen.disable_pv_nics)")


def freebsd_boot(chosen: FreebsdOptions) -> Negotiation:
    """xen_hvm_disable_emulated_devices: silent where the magic is not there, and no write for an empty mask."""
    mask = (not chosen.disable_pv_disks) | (not chosen.disable_pv_nics) << 1
    return (yield from _two_steps(mask, "it says nothing and leaves the emulated devices alone"))


def freebsd_infer(seen: Seen) -> FreebsdOptions:
    """The tunables that give the mask; the magic with nothing after it is both of them."""
    if seen.mask is None and not (seen.magics == (MAGIC,) and seen.version is None):
        return FreebsdOptions()
    mask = seen.mask or 0
    return FreebsdOptions(disable_pv_disks=not mask & 1, disable_pv_nics=not mask & 2)


_FREEBSD_BOUND = Binding(
    (Identity(0x0001, "sys/dev/xen/xenpci/xenpci.c"),), needed=False,
    claim=Claim("The unplug needs only the ports; xenpci serves where the hypervisor can give no callback vector.",
                "inferred"),
)  # fmt: skip
_FREEBSD_NEXT = NextBoot(
    identity_gone=Claim("Its disks and NICs hang from the hypervisor and not from the PCI function; it loses its "
                        "interrupt where the hypervisor gives no callback vector.", "inferred"),
    blacklisted=_NEVER_BLACKLISTED, without_frontends=_GONE,
)  # fmt: skip
FREEBSD: Final = Driver(
    name="freebsd", title="FreeBSD 10 and later", product=None, builds="none", options=FreebsdOptions,
    boot=freebsd_boot, resume=freebsd_boot,
    resumes=Claim("The same again, but not after a suspend that was cancelled.", "documented"),
    infer=freebsd_infer, binding=_FREEBSD_BOUND, next_boot=_FREEBSD_NEXT, law="sys/x86/xen/hvm.c",
    certainty="documented",
)  # fmt: skip


def all_boot(chosen: Options) -> Negotiation:  # noqa: ARG001 - it has none
    """Mask 3, if the magic is there."""
    return (yield from _two_steps(3, "it leaves the emulated devices alone"))


def all_infer(seen: Seen) -> Options:  # noqa: ARG001
    """It has nothing to choose."""
    return Options()


FREEBSD_9: Final = Driver(
    name="freebsd-9", title="FreeBSD until 9, XENHVM kernel or xenhvm module", product=None, builds="none",
    options=Options, boot=all_boot, resume=None,
    resumes=Claim("It does not unplug again, so the new device model's emulated devices stay.", "documented"),
    infer=all_infer, binding=_FREEBSD_BOUND, next_boot=_FREEBSD_NEXT, law="sys/xen/xenhvm_mod.c of FreeBSD 9",
    certainty="documented",
)  # fmt: skip

NETBSD: Final = Driver(
    name="netbsd", title="NetBSD 10 and later, PVHVM", product=None, builds="none", options=Options,
    boot=all_boot, resume=None,
    resumes=Claim("It does not unplug again: the resume hook serves PV guests alone.", "documented"),
    infer=all_infer,
    binding=Binding(None, needed=False, claim=_BY_HYPERVISOR),
    next_boot=NextBoot(
        identity_gone=Claim("Its devices hang from the hypervisor and not from the PCI function.", "inferred"),
        blacklisted=_NEVER_BLACKLISTED, without_frontends=_GONE,
    ),
    law="sys/arch/xen/xen/hypervisor.c", certainty="documented",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenbsdOptions(Options):
    """Which PV drivers attached; each asks for the unplug of what it replaces."""

    xbf: bool = option(options.FLAG, True, "whether a PV disk attached: unplugs all IDE disks, by both bits")
    xnf: bool = option(options.FLAG, True, "whether a PV NIC attached: unplugs the NICs")


def openbsd_boot(chosen: OpenbsdOptions) -> Negotiation:
    """xen_disable_emulated_devices, which comes after the PV devices have attached and asked for it."""
    mask = 5 * chosen.xbf | 2 * chosen.xnf
    return (yield from _two_steps(mask, "it reports that it failed to disable emulated devices"))


def openbsd_infer(seen: Seen) -> OpenbsdOptions:
    """The PV drivers whose bits the mask has; the magic with nothing after it is none."""
    if seen.mask is None and not (seen.magics == (MAGIC,) and seen.version is None):
        return OpenbsdOptions()
    return OpenbsdOptions(xbf=bool((seen.mask or 0) & 5), xnf=bool((seen.mask or 0) & 2))


OPENBSD: Final = Driver(
    name="openbsd", title="OpenBSD", product=None, builds="none", options=OpenbsdOptions,
    boot=openbsd_boot, resume=None,
    resumes=Claim("No source that was read has it unplug again.", "assumed"),
    infer=openbsd_infer,
    binding=Binding(
        (Identity(0x0001, "sys/dev/pci/xspd.c"),), needed=False,
        claim=Claim("The unplug needs only the ports; xspd serves where the hypervisor can give no callback vector.",
                    "inferred"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("Its devices hang from the hypervisor and not from the PCI function; it loses its "
                            "interrupt where the hypervisor gives no callback vector.", "inferred"),
        blacklisted=_NEVER_BLACKLISTED,
        without_frontends=Claim("It cannot be: what has no PV driver attached is not unplugged.", "documented"),
    ),
    law="sys/dev/pv/xen.c", certainty="documented",
)  # fmt: skip
