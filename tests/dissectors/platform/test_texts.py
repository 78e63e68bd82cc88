"""The texts of the log port: each line as its source prints it, and lines that users posted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform import texts
from dissectors.platform.texts import BUGCHECKS, DEVICE, Text, read_text

MS = 10**6


def told(line: str) -> Text:
    text = read_text(line)
    assert text is not None, line
    return text


def lines(path: Path) -> list[str]:
    """The lines of a recording, without what the device model and the hypervisor put in front of them."""
    front = re.compile(r"\d+@\d+\.\d+:xen_platform_log xen platform: |\(d\d+\) (?:\[ *[\d.]+\] )?")
    return [front.sub("", line, count=1) for line in path.read_text(encoding="utf-8").splitlines()]


def kinds(path: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(text.kind, dict(text.fields)) for line in lines(path) if (text := read_text(line)) is not None]


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        ("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", "unplug preamble", {"blacklisted": False}),
        ("UNPLUG: PRE-AMBLE (DRIVERS BLACKLISTED)", "unplug preamble", {"blacklisted": True}),
        ("UNPLUG: DISKS", "unplug disks", {"auxiliary": False}),
        ("UNPLUG: AUX DISKS", "unplug disks", {"auxiliary": True}),
        ("UNPLUG: NICS", "unplug nics", {}),
        ("UNPLUG: BOOT_EMULATED 1", "boot emulated", {"value": 1}),
        ("xen|UnplugSetRequest: VETO Unplug VBD", "unplug veto", {"device": "vbd"}),
        ("XEN|UnplugSetRequest: VETO Unplug VIF", "unplug veto", {"device": "vif"}),
        ("VETO Unplug VIF", "unplug veto", {"device": "vif"}),
        ("xenfilt|DriverIsActivePresent: ACTIVE DEVICE PRESENT", "active device", {"present": True, "forced": False}),
        ("XENFILT|DriverSetFilterState: ACTIVE DEVICE NOT PRESENT", "active device",
         {"present": False, "forced": False}),
        ("xenfilt|DriverIsActivePresent: ACTIVE DEVICE PRESENT (FORCED)", "active device",
         {"present": True, "forced": True}),
        ("ACTIVE DEVICE PRESENT PENDING", "active device", {"present": True, "forced": False, "state": "pending"}),
        ("xenfilt|DriverSetFilterState: PENDING", "filter state", {"state": "pending"}),
        ("xenfilt|DriverSetFilterState: DISABLED", "filter state", {"state": "disabled"}),
        (r"xenbus|DriverSetActive: PCI\VEN_5853&DEV_C000&SUBSYS_C0005853&REV_01\3&267A616A&0&40: PCI bus 0",
         "active device id", {"device_id": 0xC000, "revision": 1}),
        (r"xenfilt|DriverSetActiveDeviceInstance: PCI\VEN_5853&DEV_0002&SUBSYS_00025853&REV_02/3&13C0B0C5&0&10",
         "active device id", {"device_id": 2, "revision": 2}),
        ("SUSPEND: ====>", "suspend begin", {}),
        ("SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend ====>", "suspend shutdown", {}),
        ("SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (00000000)", "suspend return", {"status": 0}),
        ("SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (c0000120)", "suspend return", {"status": 0xC0000120}),
        ("SUSPEND: EARLY (3)", "suspend early", {"cpu": 3}),
        ("SUSPEND: LATE (0)", "suspend late", {"cpu": 0}),
        ("SUSPEND: <====", "suspend end", {}),
        ("PRE-SUSPEND: TickCount = 00000000.00012345 (TimeIncrement = 0002625a)", "suspend timer",
         {"side": "pre", "clock": "TickCount", "value": 0x12345, "rate": 156250}),
        ("POST-SUSPEND: PerformanceCounter = 00000001.00000002 (Frequency = 00000000.00989680)", "suspend timer",
         {"side": "post", "clock": "PerformanceCounter", "value": (1 << 32) + 2, "rate": 10_000_000}),
        ("xen|ModuleAdd: FFFFF80000400000 - FFFFF80000C45FFF [ntoskrnl.exe]", "module",
         {"start": 0xFFFFF80000400000, "end": 0xFFFFF80000C45FFF, "name": "ntoskrnl.exe"}),
        ("xen|BUGCHECK: ====>", "bugcheck begin", {}),
        ("XEN|BUGCHECK: <====", "bugcheck end", {}),
        ("BUGCHECK: ====>", "bugcheck begin", {}),
        ("xen|BUGCHECK: 0000007A: 0000000000000001 0000000000000002 0000000000000003 0000000000000004", "bugcheck code",
         {"code": 0x7A, "name": "KERNEL_DATA_INPAGE_ERROR", "parameters": (1, 2, 3, 4)}),
        ("xen|BUGCHECK: 00000ABC: 00000001 00000002 00000003 00000004", "bugcheck code",
         {"code": 0xABC, "parameters": (1, 2, 3, 4)}),
        ("XEN|BUGCHECK: SOMETHING_NEW: 00000001 00000002 00000003 00000004", "bugcheck code",
         {"name": "SOMETHING_NEW", "parameters": (1, 2, 3, 4)}),
        ("xen|BUGCHECK: EXCEPTION (FFFFF80418A21E27):", "bugcheck exception", {"address": 0xFFFFF80418A21E27}),
        ("xen|BUGCHECK: CONTEXT (FFFFAC009F27B900):\r", "bugcheck context", {"address": 0xFFFFAC009F27B900}),
        ("xen|BUGCHECK: STACK:", "bugcheck stack", {}),
        ("xen|BUGCHECK: - GS = 002B", "bugcheck value", {"name": "GS", "value": 0x2B}),
        ("xen|BUGCHECK: - Parameter[14] = 8B000006F9850F07", "bugcheck value",
         {"name": "Parameter[14]", "value": 0x8B000006F9850F07}),
        ("xen|BUGCHECK: MEMORY REFERENCED: 0000000000000010", "bugcheck line",
         {"said": "MEMORY REFERENCED: 0000000000000010"}),
        ("xenvif|FrontendConnect: fail1 (c0000001)", "driver line", {"said": "fail1 (c0000001)"}),
    ],
)  # fmt: skip
def test_what_the_windows_drivers_say(line: str, kind: str, fields: dict[str, Any]) -> None:
    text = told(line)
    assert (text.kind, dict(text.fields)) == (kind, fields)
    assert (text.author, text.speaker) == ("windows", "guest")


def test_the_module_and_function_are_told_in_their_own_case() -> None:
    text = told("XENBUS|FdoStart: fail1")
    assert (text.module, text.function) == ("XENBUS", "FdoStart")


def test_a_windows_clock_counts_100_ns_since_1601() -> None:
    """116444736000000000 of them passed until 1970, which is 0x019db1ded53e8000."""
    assert told("PRE-SUSPEND: SystemTime = 019db1de.d53e8000").guest_time_ns == 0
    assert told("POST-SUSPEND: SystemTime = 019db1de.d53e8001").guest_time_ns == 100
    assert told("PRE-SUSPEND: TickCount = 019db1de.d53e8000 (TimeIncrement = 0002625a)").guest_time_ns is None


@pytest.mark.parametrize(
    ("said", "kind", "fields"),
    [
        ("qemu version = 1", "version read", {"version": 1}),
        ("qemu we are blacklisted", "blacklisted", {}),
        ("unknown qemu version 2", "version unknown", {"version": 2}),
        ("disabled qemu devices 03", "mask written", {"mask": 3}),
        ("XenPci_Init", "gplpv line", {"said": "XenPci_Init"}),
    ],
)
def test_what_gplpv_says(said: str, kind: str, fields: dict[str, Any]) -> None:
    text = told(f"13048960291467: {said}")
    assert (text.kind, dict(text.fields), text.author, text.speaker) == (kind, fields, "gplpv", "guest")
    expected = datetime(2014, 7, 4, 15, 11, 31, 467_000, tzinfo=UTC)
    assert text.guest_time_ns == int(expected.timestamp() * 1000) * MS


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        ("Register xen platform.", "device begun", {}),
        ("Done register platform.", "device created", {}),
        ("platform_fixed_ioport: changed ro/rw state of ROM memory area. now is rw state.", "flags", {"state": "rw"}),
        ("platform_fixed_ioport: unable to change ro/rw state of ROM memory area!", "flags failed", {}),
        ("Citrix Windows PV drivers loaded in guest", "product", {"product": 1}),
        ("Unknown PV product 65535 loaded in guest", "product", {"product": 65535}),
        ("Guest claimed to be running PV product 0?", "product", {"product": 0}),
        ("PV driver build 589824", "build", {"build": 0x090000}),
        ("PV driver build -1", "build", {"build": 0xFFFFFFFF}),
        ("Drivers are blacklisted!", "verdict", {"blacklisted": True}),
        ("Drivers tried to set their version number (1) before setting the product number?", "build before product",
         {"build": 1}),
        ("region type 1 at [c100,c200).", "region removed", {"type": 1, "start": 0xC100, "end": 0xC200}),
        ("squash iomem [f1600000, f1600100).", "memory removed", {"start": 0xF1600000, "end": 0xF1600100}),
        ("log_throttling disabled", "throttle", {"enabled": False}),
        ("log_throttling enabled", "throttle", {"enabled": True}),
        ("throttling guest access to syslog", "throttled", {"glued": ""}),
        ("throttling guest access to syslogUNPLUG: DISKS", "throttled", {"glued": "UNPLUG: DISKS"}),
        ("UNPLUG: protocol version set to 2 (drivers blacklisted)", "version chosen",
         {"version": 2, "blacklisted": True}),
        ("UNPLUG: protocol version set to 1 (drivers not blacklisted)", "version chosen",
         {"version": 1, "blacklisted": False}),
        ("UNPLUG: protocol 1 active", "version active", {"version": 1}),
        ("UNPLUG: product_id: 3 build_number: 514", "product and build", {"product": 3, "build": 514}),
        ("UNPLUG: product_id has not been set", "build before product", {}),
        ("UNPLUG: drivers not blacklisted", "verdict", {"blacklisted": False}),
        ("UNPLUG: drivers blacklisted", "verdict", {"blacklisted": True}),
        ("UNPLUG: IDE", "unplug of a type", {"type": "IDE"}),
        ("UNPLUG: NIC", "unplug of a type", {"type": "NIC"}),
        ("UNPLUG: unrecognized type 00", "unplug of an unknown type", {"type": 0}),
        ("ide_unplug_harddisk: drive 0", "disk removed", {"drive": 0}),
        ("pci_dev_unplug: 00:04.0", "function removed", {"said": "00:04.0"}),
        ("net_tap_shutdown: model=tap", "tap removed", {"said": "tap"}),
        ("skipping hotplug device", "passthrough kept", {}),
        ("ROM memory area now RO", "flags", {"state": "ro"}),
        ("xen platform: device_id=0002 revision=02", "identity", {"device_id": 2, "revision": 2}),
    ],
)  # fmt: skip
def test_what_the_traditional_device_model_writes_is_unproven(line: str, kind: str, fields: dict[str, Any]) -> None:
    """A guest on it writes the same bytes into the same file."""
    text = told(line)
    assert (text.kind, dict(text.fields)) == (kind, fields)
    assert text.speaker == "unproven"
    assert text.author in ("qemu-xen-traditional", "xenserver-trad")


@pytest.mark.parametrize(
    "line",
    [
        "", "hello", "UNPLUG: ", "unplug: disks", "UNPLUG: DISKS and more", "foo|Bar: text", "xen|: text",
        "130489602914: a clock of 1605", "SUSPEND: EARLY", "I/O request not ready: 0, ptr: 0, port: 0",
        "PRE-SUSPEND: SystemTime = 1.2", "region type 1", "domid: 7",
    ],
)  # fmt: skip
def test_what_no_source_prints_is_no_text(line: str) -> None:
    assert read_text(line) is None


def test_a_crash_that_was_posted_is_understood_whole(corpus: Path) -> None:
    """xen-devel, 2021-02-01: 58 lines, every one of them of a known form."""
    found = kinds(corpus / "public" / "qemu-xen-log-winpv-bugcheck.log")
    assert len(found) == 58
    assert (found[0][0], found[-1][0]) == ("bugcheck begin", "bugcheck end")
    assert found[1] == ("bugcheck code", {
        "name": "SYSTEM_SERVICE_EXCEPTION", "code": 0x3B,
        "parameters": (0xC0000096, 0xFFFFF800A43C72C5, 0xFFFFD0014343D580, 0),
    })  # fmt: skip
    assert not [kind for kind, _ in found if kind == "bugcheck line"]
    assert [fields["module"] for kind, fields in found if kind == "bugcheck frame" and "module" in fields] == (
        ["ntoskrnl.exe"] * 4
    )


def test_the_same_texts_at_the_hypervisors_console(corpus: Path) -> None:
    found = kinds(corpus / "public" / "xl-dmesg-d1-bugcheck.log")
    assert [kind for kind, _ in found][:2] == ["bugcheck begin", "bugcheck code"]
    assert found[-1][0] == "bugcheck end"
    assert found[1][1]["code"] == 0x3B
    assert len(found) == 14  # the lines of (XEN) are the hypervisor's own


def test_gplpv_on_qemu_xen_traditional(corpus: Path) -> None:
    """A forum, 2014-07-04: version 1, product 2, build 1, mask 3, and 15 ms between the guest's two lines."""
    found = [told(line) for line in lines(corpus / "public" / "qemu-trad-gplpv-win7.log") if read_text(line)]
    assert [text.kind for text in found] == [
        "device begun", "device created", "flags", "flags", "flags", "version read", "product", "build",
        "region removed", "region removed", "memory removed", "mask written",
    ]  # fmt: skip
    version, mask = (text for text in found if text.speaker == "guest")
    assert (version.integer("version"), mask.integer("mask")) == (1, 3)
    assert version.guest_time_ns is not None
    assert mask.guest_time_ns is not None
    assert mask.guest_time_ns - version.guest_time_ns == 15 * MS
    product, build = (next(text for text in found if text.kind == kind) for kind in ("product", "build"))
    assert (product.integer("product"), build.integer("build")) == (2, 1)
    assert [text.word("state") for text in found if text.kind == "flags"] == ["rw", "rw", "ro"]


def test_a_stub_domains_logs(corpus: Path) -> None:
    public = corpus / "public"
    assert [kind for kind, _ in kinds(public / "qubes-ministubdom-qemu-trad.log")] == [
        "device begun", "device created", "flags",
    ]  # fmt: skip
    assert kinds(public / "qubes-stubdom-dm-console-timestamps.log") == []


def test_stop_codes_and_their_names_are_one_to_one() -> None:
    assert len(set(BUGCHECKS.values())) == len(BUGCHECKS)


PIECES = st.sampled_from((
    "xen", "XENBUS", "|", ": ", "BUGCHECK", "====>", "<====", "UNPLUG", "DISKS", "13048960291467", "SUSPEND", " = ",
    "00000000.00000000", "FFFFF80418A21E27", "throttling guest access to syslog", "(", ")", "[", "\r", "\n",
    r"DriverSetActive: PCI\VEN_5853&DEV_C000", "now is rw state.", "-1",
))  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join))
def test_any_line_is_read_or_not_and_its_values_have_their_types(line: str) -> None:
    text = read_text(line)
    if text is not None:
        assert text.speaker in ("guest", "unproven")
        for name, value in text.fields.items():
            told = (text.integer(name), text.word(name), text.flag(name), text.numbers(name) or None)
            assert [one for one in told if one is not None] == [value]


@given(st.sampled_from(DEVICE))
def test_no_text_of_the_device_is_ever_taken_for_proven(form: texts.Form) -> None:
    assert Text(form.kind, form.author).speaker == "unproven"


@pytest.mark.parametrize("unit", ["xen|", "13048960291467: ", "throttling guest access to syslog", "&DEV_", "A", " "])
def test_a_long_line_costs_no_more_than_its_length(unit: str) -> None:
    """A pattern that backtracks would not come to an end on a million characters."""
    line = unit * (1_000_000 // len(unit))
    read_text(line)
    read_text(rf"xenbus|DriverSetActive: PCI\VEN_5853&DEV_C000{line}")
    read_text(f"xen|BUGCHECK: {line}")
