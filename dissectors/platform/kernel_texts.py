r"""What the kernels of guests say of the platform device, of its unplug and of their own drivers, as typed texts.

Law: Linux arch/x86/xen/platform-pci-unplug.c, drivers/xen/platform-pci.c, drivers/xen/xenbus/xenbus_probe_frontend.c
and drivers/block/xen-blkfront.c; the Xen tree's unmodified_drivers (xenlinux); FreeBSD sys/x86/xen/hvm.c, up to 9
amd64/amd64/machdep.c; NetBSD sys/arch/xen/xen/hypervisor.c; OpenBSD sys/dev/pv/xen.c. A line of each, without what the
recording and the kernel put in front of it::

    platform_pci_unplug: Xen Platform PCI: unrecognised magic value
    Blkfront and the Xen platform PCI driver have been compiled for this kernel: unplug emulated disks.
    xen-platform-pci 0000:00:03.0: failed backend handshake: unrecognised magic value
    XEN: disabling emulated disks
    hypervisor0: Unable to disable emulated devices
    xen0: failed to disable emulated devices

A line says what the kernel is about to do or what it saw, not what the device did; a kernel whose messages are not
shown says nothing, and Linux is silent about an unplug that `xen_emul_unplug` asked for. Whoever may write to the
guest's console may write any of them: a text is the guest's word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from dissectors.platform.texts import Author, Form, Text, Value

DISKS, NICS = 1, 2
"""Bits of the mask that is written to port 0x10 (docs/misc/hvm-emulated-unplug.pandoc)."""


def _decimal(text: str) -> int:
    return int(text)


def _byte(text: str) -> int:
    """A byte that was printed as a signed character."""
    return int(text) & 0xFF


def _hex(text: str) -> int:
    return int(text, 16)


def _module(text: str) -> str:
    """The name of a module, which a file of it may write with hyphens."""
    return text.replace("-", "_")


def _form(
    author: Author, kind: str, pattern: str, /, always: Mapping[str, Value] | None = None,
    **reads: Callable[[str], Value],
) -> Form:
    return Form(kind, author, re.compile(pattern), reads, always or {})


_UNPLUG: Final = r"(?:platform_pci_unplug: )?"
"""What Linux puts in front since 5.16."""
_FRONTEND: Final = r"(?:xenbus_probe_frontend|XENBUS): "
"""The second up to Linux 3.10."""
_DEVICE: Final = r"(?P<device>device/[\w.-]{1,64}/\d{1,10})"
_SLOT: Final = r"(?P<slot>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_XENLINUX: Final = rf"xen-platform-pci(?: {_SLOT}: |: )?"
"""Before the driver named its device, it glued its own name to the text."""
_FAILED: Final = rf"{_XENLINUX}failed backend handshake"

LINUX: Final[tuple[Form, ...]] = (
    _form("linux", "hypervisor detected", r"Hypervisor detected: Xen(?: (?P<mode>HVM|PVH|PV))?", mode=str),
    _form("linux", "xen version", r"Xen version (?P<major>\d{1,3})\.(?P<minor>\d{1,3})\.",
          major=_decimal, minor=_decimal),
    _form("linux", "platform version", rf"{_UNPLUG}Xen Platform PCI: I/O protocol version (?P<version>-?\d{{1,3}})",
          version=_byte),
    _form("linux", "magic unrecognised", rf"{_UNPLUG}Xen Platform PCI: unrecognised magic value"),
    _form("linux", "version unknown", rf"{_UNPLUG}Xen Platform PCI: unknown I/O protocol version"),
    _form("linux", "blacklisted", rf"{_UNPLUG}Xen Platform: blacklisted by host", {"blacklisted": True}),
    _form("linux", "unplug demanded",
          rf"{_UNPLUG}Netfront and the Xen platform PCI driver have been compiled for this kernel:"
          r"(?: unplug emulated NICs\.)?", {"mask": NICS}),
    _form("linux", "unplug demanded",
          rf"{_UNPLUG}Blkfront and the Xen platform PCI driver have been compiled for this kernel:"
          r"(?: unplug emulated disks\.)?.{0,200}", {"mask": DISKS}),
    _form("linux", "root device hint", rf"{_UNPLUG}You might have to change the root device"),
    _form("linux", "unplug parameter", r"Command line: (?:.{0,4000} )?xen_emul_unplug=(?P<options>\S{0,200})(?: .*)?",
          options=str),
    _form("linux", "unplug parameter unrecognised",
          rf"{_UNPLUG}unrecognised option '(?P<option>[^']{{0,200}})' in parameter 'xen_emul_unplug'", option=str),
    _form("linux", "platform device found",
          rf"pci {_SLOT}: \[5853:(?P<device_id>[0-9a-f]{{4}})\] type [0-9a-f]{{2}}"
          r" class 0x(?P<class_code>[0-9a-f]{6})(?: .{0,80})?", slot=str, device_id=_hex, class_code=_hex),
    _form("linux", "callback failed",
          rf"(?:xen-platform-pci|platform-pci) {_SLOT}: Unable to set the evtchn callback err=(?P<error>-?\d{{1,6}})",
          slot=str, error=_decimal),
    _form("linux", "resume failed", rf"(?:(?:xen-platform-pci|platform-pci) {_SLOT}: )?platform_pci_resume failure!",
          slot=str),
    _form("linux", "frontend driver", r"(?:xen_netfront: )?Initialising Xen virtual ethernet driver\.?",
          {"driver": "xen_netfront"}),
    _form("linux", "frontend refused",
          r"(?:modprobe|insmod): (?:ERROR: could not|can't) insert '(?:\S{0,200}/)?(?P<driver>xen[-_](?:blk|net)front)"
          r"(?:\.ko(?:\.\w{1,4})?)?': No such device", driver=_module),
    _form("linux", "disk refused",
          r"(?:\w{1,40}: )?HVM does not support vbd (?P<vbd>\d{1,10}) as xen block device", vbd=_decimal),
    _form("linux", "disk connected",
          r"blkfront: (?P<disk>[a-z]{1,16}\d{0,4}): (?:flush diskcache|barriers?(?: or flush)?)\b.{0,300}", disk=str),
    _form("linux", "frontend timeout",
          rf"{_FRONTEND}Timeout connecting to device: {_DEVICE}"
          r" \((?:local )?state (?P<local>\d)(?:, remote state (?P<remote>\d))?\)",
          device=str, local=_decimal, remote=_decimal),
    _form("linux", "frontends awaited", rf"{_FRONTEND}Waiting for devices to initialise: .{{0,400}}"),
    _form("linux", "device without driver", rf"{_FRONTEND}Device with no driver: {_DEVICE}", device=str),
    _form("linux", "frontend not connected",
          rf"(?:xenbus_probe_frontend: )?xenbus_(?:frontend_)?dev_shutdown: {_DEVICE}:"
          r" (?P<state>\w{1,20}) != Connected, skipping", device=str, state=str),
    # of the kernel's sleep in general, which a suspend by Xen goes through too
    _form("linux", "suspend begin", r"Freezing user space processes(?: \.\.\. .{0,80})?"),
    _form("linux", "suspend end", r"Restarting tasks(?: ?\.\.\. .{0,40}|: (?:Starting|Done))?"),
)
"""Lines of Linux, and of the program that loads its modules."""

XENLINUX: Final[tuple[Form, ...]] = (
    _form("xenlinux", "platform version", rf"{_XENLINUX}I/O protocol version (?P<version>-?\d{{1,3}})",
          slot=str, version=_byte),
    _form("xenlinux", "magic unrecognised", rf"{_FAILED}: unrecognised magic value", slot=str),
    _form("xenlinux", "version unknown", rf"{_FAILED}: unknown I/O protocol version", slot=str),
    _form("xenlinux", "backend too old", rf"{_FAILED}: backend too old", slot=str),
    _form("xenlinux", "blacklisted", rf"{_XENLINUX}blacklisted by host", {"blacklisted": True}, slot=str),
    _form("xenlinux", "unplug failed", rf"{_XENLINUX}failed to execute specified dev_unplug options!", slot=str),
    _form("xenlinux", "unplug parameter unrecognised",
          rf"(?:{_XENLINUX})?unrecognised option '(?P<option>[^']{{0,200}})' in module parameter 'dev_unplug'",
          slot=str, option=str),
)
"""Lines of the driver that the Xen tree had for older kernels, until 2020."""

BSD: Final[tuple[Form, ...]] = (
    _form("freebsd", "xen version", r"XEN: Hypervisor version (?P<major>\d{1,3})\.(?P<minor>\d{1,3}) detected\.",
          major=_decimal, minor=_decimal),
    _form("freebsd", "unplug demanded", r"XEN: disabling emulated disks", {"mask": DISKS}),
    _form("freebsd", "unplug demanded", r"XEN: disabling emulated nics", {"mask": NICS}),
    _form("freebsd", "unplug demanded", r"X(?:EN: D|en detected: d)isabling emulated block and network devices",
          {"mask": DISKS | NICS}),
    _form("netbsd", "xen version",
          r"hypervisor\d{1,3}(?: at mainbus\d{1,3})?: Xen version (?P<major>\d{1,3})\.(?P<minor>\d{1,3}).{0,40}",
          major=_decimal, minor=_decimal),
    _form("netbsd", "magic unrecognised", r"hypervisor\d{1,3}: Unable to disable emulated devices"),
    _form("openbsd", "magic unrecognised", r"xen\d{1,3}: failed to disable emulated devices"),
)
"""Lines of FreeBSD, NetBSD and OpenBSD."""

_FORMS: Final = (*LINUX, *XENLINUX, *BSD)


def read_kernel_text(line: str) -> Text | None:
    """What one line says, or None where no known kernel prints such a line. `line` has neither stamp nor newline."""
    line = line.rstrip("\r ")
    for form in _FORMS:
        values = form.read(line)
        if values is not None:
            return Text(form.kind, form.author, values)
    return None
