"""A guest's kernel is heard through every form of log, by the best clock there is; Dom0's is not taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.linux.guest_kernel import DISSECTOR, NEEDLES, KernelLog, sniff
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import broken, feed, inside
from tests.dissectors.platform.test_kernel_texts import LINES

SAID = b"Xen Platform PCI: I/O protocol version 1"
BANNER = b"Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12) #1 SMP"
AT = 1795405467_000_000_000
"""2026-11-23 03:44:27 as if it were UTC, by `date -u +%s`."""


def read(text: bytes) -> list[Record | Damage | Loss]:
    """What a whole log says, each of its lines shown."""
    log, offset, found = KernelLog(Given("guest.log", catalogue.load())), 0, list[Record | Damage | Loss]()
    for number, line in enumerate(text.split(b"\n"), 1):
        found += log.read(line, offset, number, len(line) + 1)
        offset += len(line) + 1
    return found


def told(text: bytes) -> list[tuple[int, str, bytes]]:
    """Line, event and the first words of each record."""
    found = read(text)
    assert all(isinstance(one, Record) for one in found), found
    return [(one.line, one.event, one.text("s")[:60]) for one in found if isinstance(one, Record)]


def one(line: bytes) -> Record:
    (found,) = read(line)
    assert isinstance(found, Record)
    return found


def test_a_guest_without_the_platform_device(data: Path) -> None:
    assert told((data / "guest-kernel" / "no-platform-pci.log").read_bytes()) == [
        (2, "guest_start", b"Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org"),
        (15, "guest_line", b"Hypervisor detected: Xen HVM"),
        (16, "guest_line", b"Xen version 4.17."),
        (17, "guest_line", b"platform_pci_unplug: Xen Platform PCI: unrecognised magic va"),
        (22, "guest_line", b"insmod: can't insert '/mod/xen-blkfront.ko': No such device"),
        (23, "guest_line", b"insmod: can't insert '/mod/xen-netfront.ko': No such device"),
        # lines 25 to 27 are the guest's dmesg, printed again
        (30, "guest_line", b"xenbus_probe_frontend: xenbus_frontend_dev_shutdown: device/"),
        (31, "guest_line", b"xenbus_probe_frontend: xenbus_frontend_dev_shutdown: device/"),
        (32, "guest_line", b"xenbus_probe_frontend: xenbus_frontend_dev_shutdown: device/"),
    ]


def test_a_guest_that_migrates(data: Path) -> None:
    before = told((data / "guest-kernel" / "migrate-local.log").read_bytes())
    assert [event for _, event, _ in before].count("guest_start") == 1
    assert before[-1][2] == b"Freezing user space processes"
    assert [text[:30] for _, _, text in before if b"demanded" in text or b"front and" in text] == [
        b"platform_pci_unplug: Netfront ", b"platform_pci_unplug: Blkfront "]
    after = told((data / "guest-kernel" / "migrate-local--incoming.log").read_bytes())
    assert after == [(4, "guest_line", b"Restarting tasks ... done.")]


def test_the_console_daemons_date_wins_over_the_kernels_stamp(data: Path) -> None:
    text = (data / "guest-kernel" / "no-platform-pci.log").read_bytes()
    start = next(found for found in read(text) if isinstance(found, Record))
    assert (start.time_ns, start.clock) == (1795404006_000_000_000, "local")  # date -u -d '2026-11-23 03:20:06' +%s
    for found in read(text):
        assert isinstance(found, Record)
        assert text[found.offset : found.offset + found.length] == found.raw + b"\n"
        assert found.values.get("via") == (b"kernel" if found.event == "guest_line" else None)
        assert (found.domain, found.guest) == (None, None)


@pytest.mark.parametrize(
    ("front", "time_ns", "clock"),
    [
        (b"[    0.000000] ", 0, "uptime"),
        (b"[   12.345678] ", 12_345_678_000, "uptime"),
        (b"[   12.345678][    T1] ", 12_345_678_000, "uptime"),
        (b"[   1.0000030] ", 1_000_003_000, "uptime"),  # NetBSD has seven digits
        (b"<6>[   12.345678] ", 12_345_678_000, "uptime"),
        (b"kern  :info  : [   12.345678] ", 12_345_678_000, "uptime"),
        (b"[2026-11-23 03:44:27] [   12.345678] ", AT, "local"),
        (b"[2026-11-23 03:44:27] ", AT, "local"),
        (b"2026-11-23T03:44:27.123456+01:00 vm kernel: [   12.345678] ", AT - 3600 * 10**9 + 123_456_000, "syslog"),
        (b"2026-11-23T03:44:27-0200 vm kernel: ", AT + 7200 * 10**9, "syslog"),
        (b"<6>2026-11-23T03:44:27Z vm kernel: ", AT, "syslog"),
        (b"Nov 23 03:44:27 vm kernel: [   12.345678] ", 12_345_678_000, "uptime"),  # no year: no time of its own
        (b"Nov 23 03:44:27 vm kernel: ", None, None),
        (b"Nov  3 03:44:27 vm kernel: ", None, None),
        (b"[Mon Nov 23 03:44:27 2026] ", AT, "guest"),
        (b"2026-11-23T03:44:27,123456+00:00 ", AT + 123_456_000, "guest"),
        (b"", None, None),
        (b"[1969-11-23 03:44:27] ", None, None),
    ],
)
def test_what_may_stand_in_front_of_a_text(front: bytes, time_ns: int | None, clock: str | None) -> None:
    for text, event in ((SAID, "guest_line"), (BANNER, "guest_start")):
        for end in (b"", b"\r"):
            record = one(front + text + end)
            assert (record.event, record.text("s"), record.time_ns, record.clock) == (event, text, time_ns, clock)
            assert not record.recovered


def test_a_kernels_line_glued_to_anothers_is_found() -> None:
    record = one(b"Probing EDD (edd=off to disable)... [    0.000000] " + BANNER)
    assert (record.event, record.recovered, record.time_ns, record.clock) == ("guest_start", True, 0, "uptime")


@pytest.mark.parametrize(
    "front", [b"[2026-13-23 03:44:27] ", b"[Mon Foo 23 03:44:27 2026] ", b"2026-11-23T25:44:27Z vm kernel: "]
)
def test_a_date_that_is_none_leaves_the_kernels_stamp(front: bytes) -> None:
    assert (one(front + SAID).time_ns, one(front + SAID).clock) == (None, None)
    assert (one(front + b"[    2.000000] " + SAID).time_ns, one(front + b"[    2.000000] " + SAID).clock) == (
        2 * 10**9, "uptime")


def test_a_year_is_inferred_where_the_kernel_has_no_stamp() -> None:
    log = KernelLog(Given("guest.log", catalogue.load(), written_ns=AT + 10**9))
    for front, time_ns, clock in ((b"", AT, "local, year inferred"), (b"[    2.000000] ", 2 * 10**9, "uptime")):
        (found,) = log.read(b"Nov 23 03:44:27 vm kernel: " + front + SAID, 0, 1, 100)
        assert isinstance(found, Record)
        assert (found.time_ns, found.clock) == (time_ns, clock)


@pytest.mark.parametrize(
    "line",
    [
        b"Copyright (c) 1992-2023 The FreeBSD Project.",
        b"[2026-11-23 03:44:27] Copyright (c) 1992-2023 The FreeBSD Project.",
        b"Copyright (c) 1995-2023 OpenBSD. All rights reserved.  https://www.OpenBSD.org",
        b"Nov 23 03:44:27 vm /bsd: Copyright (c) 1995-2023 OpenBSD. All rights reserved.  https://www.OpenBSD.org",
        b"[   1.0000000] NetBSD 10.0 (GENERIC) #0: Thu Mar 28 08:33:33 UTC 2024",
    ],
)
def test_the_kernels_of_bsd_begin(line: bytes) -> None:
    assert one(line).event == "guest_start"
    assert any(needle.search(line) for needle in NEEDLES)


@pytest.mark.parametrize(
    "text",
    [
        b"NetBSD 10.0 (GENERIC) #0: Thu Mar 28 08:33:33 UTC 2024",  # the message of the day
        b"[    0.000000] blkfront: x\n" + BANNER,  # /proc/version
        b"e1000: Copyright (c) 1999-2006 Intel Corporation.",
        b"[    0.000000] Kernel command line: xen_emul_unplug=never",
        b"[2026-11-23 03:44:27] [    0.000000] xen:grant_table: Grant tables using version 1 layout",
        b"213@1795406729.213774:xen_platform_log xen platform: xen-platform-pci",
        b"Jan  1 00:00:00 vm sshd[1]: Linux version 6 (x)",
        b"x" * 9000 + SAID, b"[    0.000000] ", b"[", b"",
    ],
)
def test_other_lines_say_nothing(text: bytes) -> None:
    assert read(text) == []


def test_what_is_printed_again_is_told_once_in_each_boot() -> None:
    boot = b"[    0.000000] " + BANNER + b"\n[    0.100000] " + SAID + b"\n"
    assert [event for _, event, _ in told(boot + b"[    0.100000] " + SAID)] == ["guest_start", "guest_line"]
    assert [event for _, event, _ in told(boot * 2)] == ["guest_start", "guest_line"] * 2
    assert len(told(b"[    0.100000] " + SAID + b"\n[    7.100000] " + SAID)) == 2  # after a resume


def test_a_kernel_under_xen_pv_is_left_out_until_the_next_boot() -> None:
    stamp = b"[    0.000000] "
    text = stamp + BANNER + b"\n%s\n" + stamp + SAID + b"\n" + stamp + BANNER + b"\n" + stamp + SAID
    for pv in (b"Hypervisor detected: Xen PV", b"Booting paravirtualized kernel on Xen"):
        assert [line for line, _, _ in told(text % (stamp + pv))] == [1, 4, 5]
    assert [line for line, _, _ in told(text % (stamp + b"Hypervisor detected: Xen PVH"))] == [1, 2, 3, 4, 5]


def test_the_consoles_that_users_posted_are_read_among_other_lines(corpus: Path) -> None:
    text = (corpus / "public" / "kvm-xen-trace-serial-interleaved-9.2.log").read_bytes()
    demanded = b"%sfront and the Xen platform PCI driver have"
    assert told(text) == [
        (11, "guest_start", b"Linux version 6.13.0-rc2+ (builder at host) (gcc (GCC) 14.2."),
        (14, "guest_line", b"Hypervisor detected: Xen HVM"),
        (15, "guest_line", b"Xen version 4.10."),
        (21, "guest_line", (b"platform_pci_unplug: " + demanded % b"Net")[:60]),
        (22, "guest_line", (b"platform_pci_unplug: " + demanded % b"Blk")[:60]),
        (23, "guest_line", b"You might have to change the root device"),
        (28, "guest_line", b"pci 0000:00:02.0: [5853:0001] type 00 class 0xff8000 convent"),
    ]
    syslog = read((corpus / "public" / "linux-guest-syslog-unplug.log").read_bytes())
    assert [found.line for found in syslog] == [3, 4, 5, 6, 7]


def test_guests_are_sniffed_and_hosts_are_not(data: Path, corpus: Path) -> None:
    assert sniff(DISSECTOR.example) > 50
    assert one(DISSECTOR.example).event == "guest_line"
    assert sniff((data / "guest-kernel" / "dom0.dmesg").read_bytes()) == 0
    real = corpus / "recorded" / "real-xen"
    for name in ("dom0-dmesg.txt", "hypervisor.log", "xl-dmesg.txt"):
        for log in real.glob(f"*/{name}"):
            assert sniff(log.read_bytes()) == 0, log
    guests = [log for log in real.glob("*/guest-*.log") if log.name != "guest-serial.log"]
    assert len(guests) > 10
    for log in guests:
        assert sniff(log.read_bytes()) >= 20, log
    for name in ("dmesg-ec2-unplug", "dmesg-multiline-newer", "syslog-unplug"):
        assert sniff((corpus / "public" / f"linux-guest-{name}.log").read_bytes()) > 50
    assert sniff(b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n") == 0


def test_each_boot_of_the_recordings_begins_once(corpus: Path) -> None:
    for log in (corpus / "recorded" / "real-xen").glob("*/guest-*.log"):
        text = log.read_bytes()
        starts = [found for found in read(text) if isinstance(found, Record) and found.event == "guest_start"]
        assert len(starts) == text.count(b"] Linux version 6.1.0-56-amd64 ("), log


def test_every_line_that_is_told_holds_a_needle(corpus: Path) -> None:
    for line, *_ in LINES:
        assert any(needle.search(line.encode()) for needle in NEEDLES), line
        assert one(b"[    1.000000] " + line.encode()).text("s") == line.encode()
    for log in (corpus / "recorded" / "real-xen").glob("*/guest-*.log"):
        for found in read(log.read_bytes()):
            assert isinstance(found, Record)
            assert any(needle.search(found.raw) for needle in NEEDLES)


def test_a_log_that_is_cut_anywhere_or_is_two_logs_is_read_as_far_as_it_goes(data: Path) -> None:
    text = (data / "guest-kernel/no-platform-pci.log").read_bytes()
    for cut in range(0, len(text), 7):
        assert inside(text[:cut], feed(DISSECTOR, text[:cut]))
    other = b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n" + text
    assert inside(text + other, feed(DISSECTOR, text + other))


@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_log_with_bits_turned_and_pieces_moved_makes_it_not_fail(data: Path, draw: st.DataObject) -> None:
    text = draw.draw(broken((data / "guest-kernel/no-platform-pci.log").read_bytes()))
    assert inside(text, feed(DISSECTOR, text))


@given(st.binary(max_size=200) | st.lists(st.sampled_from([
    b"[    0.000000] ", b"[2026-11-23 03:44:27] ", b"[9999-12-31 23:59:59] ", b"[0001-01-01 00:00:00] ", b"\n",
    SAID, BANNER, b"2026-11-23T03:44:27+99:99 vm kernel: ", b"[Mon Nov 99 03:44:27 2026] ", b"[999999999.999999999] ",
    b"[Mon Nov 23 03:44:27 0000] ", b"Hypervisor detected: Xen PV", b"\xff", b"\x00", b"Restarting tasks", b"\r", b" ",
    b"0001-01-01T00:00:00+23:59 x kernel: ",
]), max_size=12).map(b"".join))
def test_no_log_makes_it_fail(text: bytes) -> None:
    places = [0]
    for found in read(text):
        assert places[-1] <= found.offset
        assert found.offset + found.length <= len(text) + 1
        if isinstance(found, Record):
            assert found.time_ns is None or 0 <= found.time_ns < 1 << 63
            assert (found.time_ns is None) == (found.clock is None)
        places.append(found.offset)
    assert 0 <= sniff(text) <= 100
