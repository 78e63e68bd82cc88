"""Linux: the kernel's own unplug (pvops), and the two xenlinux modules that came before it.

Law: arch/x86/xen/platform-pci-unplug.c and drivers/xen/platform-pci.c of Linux; unmodified_drivers/linux-2.6/
platform-pci/platform-pci.c of Xen until 2020; the section on SUSE in xen/docs/misc/hvm-emulated-unplug.pandoc. A
Linux 6.1 guest on real Xen, started with xen_emul_unplug=ide-disks::

    inw 0x10 -> 0x49d2, inb 0x12 -> 1, outw 0x12 3, outl 0x10 1, inw 0x10 -> 0x49d2, outw 0x10 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    blacklisted,
    name_itself,
    not_there,
    unknown_version,
)
from xptrace.model.drivers.options import Options, option
from xptrace.model.drivers.steps import MISDIRECTED, Seen

_UNNECESSARY, _NEVER = 1 << 16, 1 << 17
_WORDS: Final = {
    "all": 7, "ide-disks": 1, "aux-ide-disks": 4, "nics": 2, "unnecessary": _UNNECESSARY, "never": _NEVER,
}  # fmt: skip
"""Words of xen_emul_unplug, in the order in which the kernel tries them."""
_BY_MASK: Final = {
    1: ("ide-disks",), 2: ("nics",), 4: ("aux-ide-disks",), 5: ("ide-disks", "aux-ide-disks"),
    6: ("aux-ide-disks", "nics"), 7: ("all",),
}  # fmt: skip


def _unplug_bits(word: str) -> int | None:
    """A word may be cut short, and the first that begins so is meant: `n` is nics, and an empty word is all."""
    return next((bits for name, bits in _WORDS.items() if name.startswith(word)), None)


@dataclass(frozen=True, slots=True)
class LinuxOptions(Options):
    """The kernel parameter, and the frontends that the kernel was built with."""

    xen_emul_unplug: tuple[str, ...] | None = option(
        options.words(lambda word: _unplug_bits(word) is not None, _WORDS), None,
        "what to unplug; not given, it follows from the frontends",
    )  # fmt: skip
    blkfront: bool = option(options.FLAG, True, "whether the kernel has the PV disk frontend")
    netfront: bool = option(options.FLAG, True, "whether the kernel has the PV NIC frontend")


def boot(chosen: LinuxOptions) -> Negotiation:
    """xen_unplug_emulated_devices: only version 1 will do, and any failure keeps the PV drivers away (since 3.14)."""
    asked = 0
    for word in chosen.xen_emul_unplug or ():
        asked |= _unplug_bits(word) or 0
    if asked & _NEVER:
        return Outcome("unasked", "xen_emul_unplug=never: no access to the ports, and no PV drivers", pv=False)
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        if asked & _UNNECESSARY:
            return not_there(magic, "xen_emul_unplug=unnecessary has the PV drivers start all the same", pv=True)
        return not_there(magic, "it unplugs nothing, and its PV drivers refuse to load", pv=False)
    protocol = yield read(0x12, 1)
    if protocol != 1:
        return unknown_version(protocol, "it unplugs nothing, and its PV drivers refuse to load", pv=False)
    magic = yield from name_itself(3, 1)
    if magic != MAGIC:
        return blacklisted(magic, "it unplugs nothing, and its PV drivers refuse to load", pv=False)
    if asked & _UNNECESSARY:
        return Outcome("accepted", "xen_emul_unplug=unnecessary: emulated and PV devices run side by side", pv=True)
    mask = asked or chosen.blkfront | chosen.netfront << 1
    yield write(0x10, 2, mask)
    return Outcome("accepted", f"it asks to unplug {in_words(mask)}", mask=mask, pv=mask != 0)


def infer(seen: Seen) -> LinuxOptions:
    """The parameter that gives the mask; an accepted handshake without a mask is `unnecessary`."""
    if seen.mask is None:
        return LinuxOptions(xen_emul_unplug=("unnecessary",)) if seen.magics[1:2] == (MAGIC,) else LinuxOptions()
    if seen.mask == 0:
        return LinuxOptions(blkfront=False, netfront=False)
    return LinuxOptions(xen_emul_unplug=None if seen.mask == 3 else _BY_MASK.get(seen.mask))


_PLATFORM_PCI = "drivers/xen/platform-pci.c"
LINUX: Final = Driver(
    name="linux", title="Linux (pvops), 2.6.36 and later", product=3, builds="always 1", options=LinuxOptions,
    boot=boot, resume=boot,
    resumes=Claim("The whole sequence again, even after a suspend that was cancelled.", "documented"),
    infer=infer,
    binding=Binding(
        (
            Identity(0x0001, _PLATFORM_PCI),
            Identity(0x0002, f"{_PLATFORM_PCI}, patch of 2025-02-27", since="about Linux 6.15, and stable releases"),
        ),
        needed=False,
        claim=Claim("The unplug needs only the ports: it happens also where platform-pci attaches to no function.",
                    "documented"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("Its disks and NICs hang from xenbus and not from the PCI function, so nothing is lost "
                            "as long as the ports answer.", "inferred"),
        blacklisted=Claim("It stays on the emulated devices: nothing is unplugged, and the PV frontends refuse to "
                          "load.", "documented"),
        without_frontends=Claim("A default mask leaves out what has no frontend; where xen_emul_unplug says otherwise, "
                                "or the initrd lacks the module, the root disk is not found.", "documented"),
    ),
    law="arch/x86/xen/platform-pci-unplug.c", certainty="observed",
)  # fmt: skip


_UNPLUGS: Final = {"all": 7, "ide-disks": 1, "aux-ide-disks": 4, "nics": 2, "never": 0}
"""Words of dev_unplug."""
_ERAS: Final = ("2009-07", "2010-01", "2010-02", "2013-09", "2018-06")
"""Since when the module does what it does: the handshake, with swapped arguments; these in order, but mask 0x0f for
all; the mask follows dev_unplug, and nothing is unplugged without; everything is; again at resume."""


@dataclass(frozen=True, slots=True)
class XenlinuxOptions(Options):
    """The module parameter, the kernel that it was built for, and the age of the module."""

    dev_unplug: tuple[str, ...] | None = option(
        options.words(_UNPLUGS.__contains__, _UNPLUGS), None, "what to unplug; not given, it depends on the era"
    )
    kernel: tuple[int, int, int] = option(options.version(0xFF), (2, 6, 18), "the kernel's version, sent as the build")
    era: str = option(options.choice(*_ERAS), _ERAS[-1], "since when the module does as it does")

    @property
    def build(self) -> int:
        """LINUX_VERSION_CODE << 8."""
        major, minor, patch = self.kernel
        return major << 24 | minor << 16 | patch << 8

    @property
    def mask(self) -> int:
        """What it will ask for; of three words and more only the first counts, for the module splits only once."""
        if self.era == "2010-01":
            return 0x0F
        if self.dev_unplug is None:
            return 7 if self.era >= "2013-09" else 0
        mask = 0
        for word in self.dev_unplug if len(self.dev_unplug) < 3 else self.dev_unplug[:1]:
            mask = mask | _UNPLUGS[word] if word != "never" else 0
        return mask


def xenlinux_boot(chosen: XenlinuxOptions) -> Negotiation:
    """check_platform_magic: versions 0 and 1; a failure matters only where there was something to unplug."""
    unplugs_nothing = None if chosen.era == "2009-07" else chosen.mask == 0
    so = "the module goes on, having had nothing to unplug" if unplugs_nothing else "the module does not load"
    magic = yield read(0x10, 2)
    if magic != MAGIC:
        return not_there(magic, so, pv=unplugs_nothing)
    protocol = yield read(0x12, 1)
    if protocol not in (0, 1):
        return unknown_version(protocol, so, pv=unplugs_nothing)
    if chosen.era == "2009-07":
        return (yield from _swapped(protocol))
    if protocol == 1:
        magic = yield from name_itself(0xFFFF, chosen.build)
        if magic != MAGIC:
            return blacklisted(magic, "the module does not load", pv=False)
    yield write(0x10, 2, chosen.mask)
    return Outcome("accepted", f"it asks to unplug {in_words(chosen.mask)}", mask=chosen.mask, pv=True)


def _swapped(protocol: int) -> Negotiation:
    """The module of 2009-07: value and port changed places, so that product 0xbeef and build 0xdead became ports."""
    if protocol == 1:
        yield write(0xBEEF, 2, 0x12)
        yield write(0xDEAD, 4, 0x10)
        magic = yield read(0x10, 2)
        if magic != MAGIC:
            return blacklisted(magic, "the module does not load", pv=False)
    yield MISDIRECTED
    return Outcome("accepted", "its writes go to ports where nobody listens, so nothing is unplugged", pv=True)


def xenlinux_resume(chosen: XenlinuxOptions) -> Negotiation:
    """Since 2018-06 the mask is written again, without asking; older modules leave the ports alone."""
    if chosen.era < "2018-06":
        return Outcome("unasked", "a module from before 2018-06 does not unplug again: the emulated devices are back")
    yield write(0x10, 2, chosen.mask)
    return Outcome("unasked", f"it asks again to unplug {in_words(chosen.mask)}", mask=chosen.mask, pv=True)


def xenlinux_infer(seen: Seen) -> XenlinuxOptions:
    """Era and word from the mask, the kernel from the build: a version code has 2 or 3 on top, and nothing below."""
    build = seen.build or 0
    of_linux = build >> 24 in (2, 3) and build & 0xFF == 0
    kernel = (build >> 24, build >> 16 & 0xFF, build >> 8 & 0xFF) if of_linux else (2, 6, 18)
    if seen.misdirected:
        return XenlinuxOptions(era="2009-07")
    if seen.mask == 0x0F:
        return XenlinuxOptions(kernel=kernel, era="2010-01")
    if seen.mask == 0:
        return XenlinuxOptions(kernel=kernel, era="2010-02")
    by_mask = {**_BY_MASK, 3: ("ide-disks", "nics"), 7: None}
    return XenlinuxOptions(by_mask.get(seen.mask or 7), kernel)


_PLATFORM = "unmodified_drivers/linux-2.6/platform-pci/platform-pci.c"
XENLINUX: Final = Driver(
    name="xenlinux", title="Linux with xenlinux's unmodified_drivers, 2009 to 2020", product=0xFFFF,
    builds="the kernel's version code << 8, as 0x02061200 for 2.6.18", options=XenlinuxOptions,
    boot=xenlinux_boot, resume=xenlinux_resume,
    resumes=Claim("The mask alone, and only since 2018-06; an older module leaves the emulated devices as the new "
                  "device model brings them.", "documented"),
    infer=xenlinux_infer,
    binding=Binding(
        (Identity(0x0001, _PLATFORM), Identity(0x0101, f"{_PLATFORM}, the identity before 2006-09", vendor=0xFFFD)),
        needed=True,
        claim=Claim("The handshake is part of the probe: a module that attaches to nothing unplugs nothing and "
                    "brings no PV devices.", "documented"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("The module is not probed, so the guest stays on the emulated devices, under their names.",
                            "inferred"),
        blacklisted=Claim("The module does not load, so the guest stays on the emulated devices.", "documented"),
        without_frontends=Claim("Disks and NICs that were unplugged are gone until a frontend module is loaded.",
                                "inferred"),
    ),
    law=_PLATFORM, certainty="documented",
)  # fmt: skip


def suse_boot(chosen: Options) -> Negotiation:  # noqa: ARG001 - it has none
    """SUSE's own: one dword to BAR0+4, without any question before."""
    yield write(4, 4, 1, "bar0")
    return Outcome("unasked", f"without asking it has the device unplug {in_words(3)}", mask=3)


def suse_infer(seen: Seen) -> Options:  # noqa: ARG001
    """It has nothing to choose."""
    return Options()


SUSE_LEGACY: Final = Driver(
    name="suse-legacy", title="SUSE xenlinux until SLES 11 SP3 and openSUSE 12.3", product=None, builds="none",
    options=Options, boot=suse_boot, resume=None,
    resumes=Claim("No source that was read has it unplug again.", "assumed"),
    infer=suse_infer,
    binding=Binding(
        None, needed=True,
        claim=Claim("It unplugs through BAR0, whose address it has from the function that it is probed for.",
                    "inferred"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("It is not probed, so the guest stays on the emulated devices.", "inferred"),
        blacklisted=Claim("It never learns of it: it neither asks nor names a build.", "documented"),
        without_frontends=Claim("Disks and NICs that were unplugged are gone until a frontend is loaded.", "inferred"),
    ),
    law="xen/docs/misc/hvm-emulated-unplug.pandoc, on SUSE", certainty="documented",
)  # fmt: skip
