"""What kernels print of the platform device is understood as their sources have it, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform.kernel_texts import BSD, LINUX, XENLINUX, read_kernel_text

DRIVERS = "and the Xen platform PCI driver have been compiled for this kernel"

LINES: list[tuple[str, str, str, dict[str, object]]] = [
    # arch/x86/kernel/cpu/hypervisor.c and arch/x86/xen/enlighten_hvm.c
    ("Hypervisor detected: Xen HVM", "linux", "hypervisor detected", {"mode": "HVM"}),
    ("Hypervisor detected: Xen", "linux", "hypervisor detected", {}),
    ("Xen version 4.17.", "linux", "xen version", {"major": 4, "minor": 17}),
    # arch/x86/xen/platform-pci-unplug.c: without and, since 5.16, with the name of its file
    ("Xen Platform PCI: I/O protocol version 1", "linux", "platform version", {"version": 1}),
    ("Xen Platform PCI: I/O protocol version -1", "linux", "platform version", {"version": 255}),
    ("platform_pci_unplug: Xen Platform PCI: unrecognised magic value", "linux", "magic unrecognised", {}),
    ("Xen Platform PCI: unrecognised magic value", "linux", "magic unrecognised", {}),
    ("Xen Platform PCI: unknown I/O protocol version", "linux", "version unknown", {}),
    ("Xen Platform: blacklisted by host", "linux", "blacklisted", {"blacklisted": True}),
    ("platform_pci_unplug: Xen Platform: blacklisted by host", "linux", "blacklisted", {"blacklisted": True}),
    (f"Netfront {DRIVERS}: unplug emulated NICs.", "linux", "unplug demanded", {"mask": 2}),
    (f"platform_pci_unplug: Netfront {DRIVERS}: unplug emulated NICs.", "linux", "unplug demanded", {"mask": 2}),
    (f"Blkfront {DRIVERS}: unplug emulated disks.", "linux", "unplug demanded", {"mask": 1}),
    (f"Blkfront {DRIVERS}: unplug emulated disks.#012You might have to", "linux", "unplug demanded", {"mask": 1}),
    (f"Blkfront {DRIVERS}:", "linux", "unplug demanded", {"mask": 1}),  # the rest is on the next line
    ("You might have to change the root device", "linux", "root device hint", {}),
    ("unrecognised option 'nicks' in parameter 'xen_emul_unplug'", "linux", "unplug parameter unrecognised",
     {"option": "nicks"}),
    ("Command line: BOOT_IMAGE=/vmlinuz xen_emul_unplug=ide-disks,nics do= fin=off", "linux", "unplug parameter",
     {"options": "ide-disks,nics"}),
    ("Command line: xen_emul_unplug=", "linux", "unplug parameter", {"options": ""}),
    # drivers/pci/probe.c, drivers/xen/platform-pci.c
    ("pci 0000:00:02.0: [5853:0001] type 00 class 0xff8000", "linux", "platform device found",
     {"slot": "0000:00:02.0", "device_id": 1, "class_code": 0xFF8000}),
    ("pci 0000:00:02.0: [5853:c000] type 00 class 0xff8000 conventional PCI endpoint", "linux",
     "platform device found", {"slot": "0000:00:02.0", "device_id": 0xC000, "class_code": 0xFF8000}),
    ("xen-platform-pci 0000:00:02.0: Unable to set the evtchn callback err=-38", "linux", "callback failed",
     {"slot": "0000:00:02.0", "error": -38}),
    ("xen-platform-pci 0000:00:02.0: platform_pci_resume failure!", "linux", "resume failed", {"slot": "0000:00:02.0"}),
    ("platform_pci_resume failure!", "linux", "resume failed", {}),
    # drivers/xen/xenbus/xenbus_probe_frontend.c, xenbus_probe.c
    ("xenbus_probe_frontend: Timeout connecting to device: device/vfb/0 (local state 3, remote state 1)", "linux",
     "frontend timeout", {"device": "device/vfb/0", "local": 3, "remote": 1}),
    ("XENBUS: Timeout connecting to device: device/vbd/768 (state 3)", "linux", "frontend timeout",
     {"device": "device/vbd/768", "local": 3}),
    ("xenbus_probe_frontend: Device with no driver: device/vbd/5632", "linux", "device without driver",
     {"device": "device/vbd/5632"}),
    ("XENBUS: Device with no driver: device/console/0", "linux", "device without driver",
     {"device": "device/console/0"}),
    ("xenbus_probe_frontend: Waiting for devices to initialise: 25s...20s...", "linux", "frontends awaited", {}),
    ("xenbus_probe_frontend: xenbus_frontend_dev_shutdown: device/vbd/768: Initialising != Connected, skipping",
     "linux", "frontend not connected", {"device": "device/vbd/768", "state": "Initialising"}),
    # drivers/block/xen-blkfront.c, drivers/net/xen-netfront.c
    ("blkfront_probe: HVM does not support vbd 768 as xen block device", "linux", "disk refused", {"vbd": 768}),
    ("blkfront: xvda: flush diskcache: enabled; persistent grants: disabled; indirect descriptors: disabled;", "linux",
     "disk connected", {"disk": "xvda"}),
    ("blkfront: xvda: barriers enabled", "linux", "disk connected", {"disk": "xvda"}),
    ("blkfront: xvda1: barrier or flush: disabled", "linux", "disk connected", {"disk": "xvda1"}),
    ("xen_netfront: Initialising Xen virtual ethernet driver", "linux", "frontend driver", {"driver": "xen_netfront"}),
    # kmod, busybox
    ("modprobe: ERROR: could not insert 'xen_blkfront': No such device", "linux", "frontend refused",
     {"driver": "xen_blkfront"}),
    ("insmod: can't insert '/mod/xen-netfront.ko': No such device", "linux", "frontend refused",
     {"driver": "xen_netfront"}),
    # kernel/power/process.c
    ("Freezing user space processes", "linux", "suspend begin", {}),
    ("Freezing user space processes ... (elapsed 0.001 seconds) done.", "linux", "suspend begin", {}),
    ("Restarting tasks ... done.", "linux", "suspend end", {}),
    # unmodified_drivers of the Xen tree
    ("xen-platform-pciI/O protocol version 1", "xenlinux", "platform version", {"version": 1}),
    ("xen-platform-pci 0000:00:03.0: I/O protocol version 0", "xenlinux", "platform version",
     {"slot": "0000:00:03.0", "version": 0}),
    ("xen-platform-pci 0000:00:03.0: failed backend handshake: unrecognised magic value", "xenlinux",
     "magic unrecognised", {"slot": "0000:00:03.0"}),
    ("xen-platform-pci 0000:00:03.0: failed backend handshake: unknown I/O protocol version", "xenlinux",
     "version unknown", {"slot": "0000:00:03.0"}),
    ("xen-platform-pci 0000:00:03.0: failed backend handshake: backend too old", "xenlinux", "backend too old",
     {"slot": "0000:00:03.0"}),
    ("xen-platform-pci 0000:00:03.0: blacklisted by host", "xenlinux", "blacklisted",
     {"slot": "0000:00:03.0", "blacklisted": True}),
    ("xen-platform-pci 0000:00:03.0: failed to execute specified dev_unplug options!", "xenlinux", "unplug failed",
     {"slot": "0000:00:03.0"}),
    ("unrecognised option 'x' in module parameter 'dev_unplug'", "xenlinux", "unplug parameter unrecognised",
     {"option": "x"}),
    # FreeBSD sys/x86/xen/hvm.c; 10; up to 9
    ("XEN: Hypervisor version 4.13 detected.", "freebsd", "xen version", {"major": 4, "minor": 13}),
    ("XEN: disabling emulated disks", "freebsd", "unplug demanded", {"mask": 1}),
    ("XEN: disabling emulated nics", "freebsd", "unplug demanded", {"mask": 2}),
    ("XEN: Disabling emulated block and network devices", "freebsd", "unplug demanded", {"mask": 3}),
    ("Xen detected: disabling emulated block and network devices", "freebsd", "unplug demanded", {"mask": 3}),
    # NetBSD sys/arch/xen/xen/hypervisor.c, OpenBSD sys/dev/pv/xen.c
    ("hypervisor0 at mainbus0: Xen version 4.13.2", "netbsd", "xen version", {"major": 4, "minor": 13}),
    ("hypervisor0: Unable to disable emulated devices", "netbsd", "magic unrecognised", {}),
    ("xen0: failed to disable emulated devices", "openbsd", "magic unrecognised", {}),
]


@pytest.mark.parametrize(("line", "author", "kind", "fields"), LINES)
def test_a_line_of_a_kernel(line: str, author: str, kind: str, fields: dict[str, object]) -> None:
    for end in ("", "\r", " "):
        text = read_kernel_text(line + end)
        assert text is not None
        assert (text.author, text.kind, dict(text.fields)) == (author, kind, fields)


def test_every_form_has_its_line_here() -> None:
    said = [line for line, *_ in LINES]
    for form in (*LINUX, *XENLINUX, *BSD):
        assert any(form.read(line) is not None for line in said), form


def test_no_line_has_two_meanings() -> None:
    for line, *_ in LINES:
        assert len([form for form in (*LINUX, *XENLINUX, *BSD) if form.read(line) is not None]) == 1, line


@pytest.mark.parametrize(
    "line",
    [
        "", "from /dev/hd[a-d] to /dev/xvd[a-d]", "Xen version: 4.17.7 (preserve-AD)", "HVMOP_pagetable_dying not",
        "Kernel command line: xen_emul_unplug=never", "Command line: foo_xen_emul_unplug=never",
        "xen-blkback: backend/vbd/1/51712: using 1 queues, protocol 1 (x86_64-abi) persistent grants",
        "pci 0000:00:02.0: [8086:1237] type 00 class 0x060000", "xen:grant_table: Grant tables using version 1 layout",
        "Xen Platform PCI: I/O protocol version 1 and more", " Xen Platform: blacklisted by host",
        "UNPLUG: DISKS", "modprobe: ERROR: could not insert 'xen_blkfront': Operation not permitted",
    ],
)
def test_other_lines_mean_nothing(line: str) -> None:
    assert read_kernel_text(line) is None


def test_the_lines_that_users_posted(corpus: Path) -> None:
    lines = (corpus / "public" / "linux-guest-dmesg-multiline-newer.log").read_text("utf-8").splitlines()
    texts = [read_kernel_text(line.partition("] ")[2]) for line in lines if line.startswith("[")]
    assert [(text.kind, dict(text.fields)) for text in texts if text is not None] == [
        ("hypervisor detected", {"mode": "HVM"}), ("xen version", {"major": 4, "minor": 11}),
        ("platform version", {"version": 1}), ("unplug demanded", {"mask": 2}), ("unplug demanded", {"mask": 1})]


@given(st.text(max_size=300) | st.builds(
    lambda line, at, new: line[:at] + new + line[at:],
    st.sampled_from([line for line, *_ in LINES]), st.integers(0, 80), st.text(max_size=9),
))
def test_no_line_makes_it_fail(line: str) -> None:
    text = read_kernel_text(line)
    assert text is None or text.kind


@pytest.mark.parametrize("line", [
    "Command line: " + " xen_emul_unplug=" * 5000, "XENBUS: Waiting for devices to initialise: " + "1s..." * 50_000,
    "xen-platform-pci " * 10_000, "x" * 500_000, "HVM does not support vbd " * 10_000,
])
def test_a_hostile_line_takes_no_time_to_speak_of(line: str) -> None:
    begun = perf_counter()
    read_kernel_text(line)
    assert perf_counter() - begun < 1
