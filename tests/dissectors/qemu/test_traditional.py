"""The log of qemu-xen-traditional: what it tells, what follows from it, and what is nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.qemu.traditional import DISSECTOR, NEEDLES, TraditionalLog, sniff
from dissectors.record import Damage, Loss, Record

WRITTEN = 1795564800 * 10**9
"""2026-11-25T00:00:00Z."""
AT = 1795403850 * 10**9
"""2026-11-23 03:17:30 as UTC, by `date -u -d`."""
QEMU_VERSION = 1404486691_467_000_000
"""2014-07-04T15:11:31.467Z, by `date -u -d`."""
FLAGS = b"platform_fixed_ioport: changed ro/rw state of ROM memory area. now is %s state."
REGISTER = b"Register xen platform."
WRITE, READ = 0, 1

Told = Record | Damage | Loss


def whole(data: bytes) -> list[Told]:
    """Everything that all the lines of a source say."""
    reader = TraditionalLog(Given("qemu-dm-win7.log", catalogue.load(), WRITTEN))
    found: list[Told] = []
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        length = min(len(line) + 1, len(data) - offset)
        said = list(reader.read(line, offset, number, length))
        assert not said or any(needle.search(line) for needle in NEEDLES), line
        found += said
        offset += length
    return found


def records(*lines: bytes) -> list[Record]:
    found = whole(b"\n".join(lines) + b"\n")
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


def one(*lines: bytes) -> Record:
    (record,) = records(*lines)
    return record


def access(direction: int, port: int, size: int, value: int) -> dict[str, int]:
    return {"dir": direction, "addr": port, "size": size, "val": value, "count": 1}


def short(record: Record) -> str:
    """An access as it is written in the specification of the recordings, e.g. W2 12=2; anything else by its event."""
    if record.event != "port_access":
        return record.event
    way, size, port, value = (record.integer(name) for name in ("dir", "size", "addr", "val"))
    return f"{'WR'[way or 0]}{size} {port:x}={value:x}"


# -- the device's own lines, and what follows from them


@pytest.mark.parametrize(
    ("line", "values"),
    [  # hw/xen_platform.c of qemu-xen-traditional
        (FLAGS % b"rw", access(WRITE, 0x10, 1, 0)),
        (FLAGS % b"ro", access(WRITE, 0x10, 1, 1)),
        (b"Citrix Windows PV drivers loaded in guest", access(WRITE, 0x12, 2, 1)),
        (b"Guest claimed to be running PV product 0?", access(WRITE, 0x12, 2, 0)),
        (b"Unknown PV product 2 loaded in guest", access(WRITE, 0x12, 2, 2)),
        (b"Unknown PV product 65535 loaded in guest", access(WRITE, 0x12, 2, 0xFFFF)),
        (b"PV driver build 1", access(WRITE, 0x10, 4, 1)),
        (b"PV driver build 589824\r", access(WRITE, 0x10, 4, 0x90000)),
        (b"PV driver build -1", access(WRITE, 0x10, 4, 0xFFFFFFFF)),
        (b"PV driver build -2147483648", access(WRITE, 0x10, 4, 0x80000000)),
        (b"Drivers tried to set their version number (-2) before setting the product number?",
         access(WRITE, 0x10, 4, 0xFFFFFFFE)),
        # XenServer's unplug-version-2.patch
        (b"ROM memory area now RO", access(WRITE, 0x10, 1, 1)),
        (b"ROM memory area now RW", access(WRITE, 0x10, 1, 0)),
        (b"UNPLUG: protocol 1 active", access(READ, 0x12, 1, 1)),
        (b"UNPLUG: protocol 2 active", access(READ, 0x12, 1, 2)),
        (b"UNPLUG: protocol version set to 2 (drivers blacklisted)", access(WRITE, 0x13, 1, 2)),
        (b"UNPLUG: protocol version set to 0 (drivers not blacklisted)", access(WRITE, 0x13, 1, 0)),
    ],
)
def test_an_access_follows_from_a_line_that_is_written_for_it_alone(line: bytes, values: dict[str, int]) -> None:
    record = one(line)
    assert (record.event, record.values, record.derived) == ("port_access", values, True)
    assert (record.time_ns, record.clock, record.domain, record.raw) == (None, None, None, line)


@pytest.mark.parametrize(
    "line",
    [
        b"Done register platform.",
        b"Drivers are blacklisted!",
        b"platform_fixed_ioport: unable to change ro/rw state of ROM memory area!",
        b"region type 1 at [c100,c200).",
        b"squash iomem [f1600000, f1600100).",
        b"log_throttling disabled",
        b"log_throttling enabled",
        b"Warning: attempted read from physical address 0xf2000004 in xen platform mmio space",
        b"Warning: attempted write of 0x1 to physical address 0xf2000004 in xen platform mmio space",
        # of XenServer's; the value is not told, or which of two accesses it was
        b"unable to change state of ROM memory area!",
        b"UNPLUG: protocol version set to 1 (drivers not blacklisted)",
        b"UNPLUG: product_id has not been set",
        b"UNPLUG: drivers blacklisted",
        b"UNPLUG: drivers not blacklisted",
        b"UNPLUG: IDE",
        b"UNPLUG: NIC",
        b"UNPLUG: unrecognized type 00",
        b"ide_unplug_harddisk: drive 0",
        b"pci_dev_unplug: 00:04:00",
        b"pci_unplug_nic: 00:16:3e:01:02:03",
        b"net_tap_shutdown: model=tap,name=tap.0",
        b"skipping hotplug device",
        b"xen platform: device_id=0002 revision=02",
    ],
)
def test_other_lines_of_the_device_are_its_own(line: bytes) -> None:
    record = one(line)
    assert (record.event, record.values, record.derived) == ("device_line", {"s": line}, False)


def test_a_product_that_xenserver_tells_with_the_build_was_written_before_it() -> None:
    told = records(
        b"UNPLUG: protocol version set to 2 (drivers blacklisted)", b"UNPLUG: protocol 2 active",
        b"UNPLUG: product_id: 3 build_number: 514", b"UNPLUG: drivers not blacklisted",
        b"UNPLUG: product_id: 3 build_number: 514", b"UNPLUG: product_id: 65535 build_number: -1",
    )
    assert [short(record) for record in told] == [
        "W1 13=2", "R1 12=2", "W2 12=3", "W4 10=202", "device_line", "W4 10=202", "W2 12=ffff", "W4 10=ffffffff"]
    assert [record.derived for record in told] == [True, True, True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Unknown PV product 65536 loaded in guest", "register"),
        (b"PV driver build 4294967295", "register"),
        (b"PV driver build -2147483649", "register"),
        (b"UNPLUG: protocol 256 active", "register"),
        (b"UNPLUG: product_id: 65536 build_number: 1", "register"),
        (b"UNPLUG: product_id: 3 build_number: 2147483648", "register"),
        (b"domid: 32752", "domain"),
        (b"Guest uuid = 4e1fdbd3-7daa-4b24-9737", "uuid"),
    ],
)
def test_a_number_that_no_device_can_have_printed_is_damage(line: bytes, reason: str) -> None:
    (damage,) = whole(line)
    assert isinstance(damage, Damage)
    assert reason in damage.reason
    assert (damage.offset, damage.length, damage.line) == (0, len(line), 1)


# -- a device model begins


def test_a_device_model_begins_with_its_domain_and_tells_its_uuid() -> None:
    told = records(b"domid: 7", b"Watching /local/domain/0/device-model/7/command", b"Watching /local/domain/7/cpu",
                   b"Guest uuid = 4e1fdbd3-7daa-4b24-9737-8815429755e3", REGISTER, b"Done register platform.")
    assert [(record.event, record.line, record.domain) for record in told] == [
        ("device_start", 1, 7), ("domain", 1, 7), ("domain", 4, 7), ("device_line", 5, 7), ("device_line", 6, 7)]
    assert told[2].values == {"uuid": b"4e1fdbd3-7daa-4b24-9737-8815429755e3"}


def test_the_flags_that_a_device_sets_when_it_begins_are_not_the_guests() -> None:
    rw, ro = FLAGS % b"rw", FLAGS % b"ro"
    for begin in ((b"domid: 7", REGISTER), (REGISTER,)):
        head = len(records(*begin))
        boot = [short(record) for record in records(*begin, rw, rw, ro, rw, ro)[head:]]
        assert boot == ["device_line", "W1 10=0", "W1 10=1", "W1 10=0", "W1 10=1"]
        # a state that is restored sets them once more, before the guest runs
        restored = [short(record) for record in records(*begin, rw, ro, rw, ro)[head:]]
        assert restored == ["device_line", "device_line", "W1 10=0", "W1 10=1"]
        failed = [short(record) for record in records(
            *begin, b"platform_fixed_ioport: unable to change ro/rw state of ROM memory area!", rw, ro)[head:]]
        assert failed == ["device_line", "W1 10=0", "W1 10=1"]


def test_xenservers_device_sets_them_as_well() -> None:
    told = records(REGISTER, b"ROM memory area now RW", b"ROM memory area now RW", b"ROM memory area now RO")
    assert [short(record) for record in told] == [
        "device_start", "device_line", "device_line", "W1 10=0", "W1 10=1"]


def test_without_a_domid_the_platform_device_is_the_first_of_a_device_model() -> None:
    watch = b"xs_watch(/local/domain/%d/log-throttling, /local/domain/%d/log-throttling)"
    told = records(REGISTER, watch % (42, 42), b"Drivers are blacklisted!", REGISTER, watch % (43, 43),
                   b"Drivers are blacklisted!")
    assert [(record.event, record.domain) for record in told] == [
        ("device_start", None), ("device_line", None), ("domain", 42), ("device_line", 42),
        ("device_start", None), ("device_line", None), ("domain", 43), ("device_line", 43)]


def test_a_guest_cannot_begin_a_device_model_where_each_tells_its_domain() -> None:
    told = records(b"domid: 7", REGISTER, FLAGS % b"rw", REGISTER, FLAGS % b"ro",
                   b"Watching /local/domain/9/cpu", b"Drivers are blacklisted!")
    assert [(record.event, record.domain) for record in told] == [
        ("device_start", 7), ("domain", 7), ("device_line", 7), ("device_line", 7), ("device_line", 7),
        ("device_line", 7), ("device_line", 7)]


@pytest.mark.parametrize(("line", "what"), [(b"Issued domain 7 poweroff", b"poweroff"),
                                            (b"Issued domain 7 reboot", b"reboot")])
def test_what_the_device_model_made_of_its_domain(line: bytes, what: bytes) -> None:
    record = one(line)
    assert (record.event, record.domain, record.values) == ("domain_life", 7, {"what": what})


# -- the guest's lines


@pytest.mark.parametrize(
    "line",
    [b"xen|BUGCHECK: ====>", b"XEN|BUGCHECK: <====", b"xenvif|PdoParse: something\r", b"UNPLUG: DISKS", b"UNPLUG: NICS",
     b"UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", b"SUSPEND: ====>", b"VETO Unplug VBD", b"ACTIVE DEVICE PRESENT",
     b"BUGCHECK: STACK:"],
)
def test_a_line_of_a_driver_is_the_guests(line: bytes) -> None:
    record = one(line)
    assert (record.event, record.values) == ("guest_line", {"s": line, "via": b"log"})
    assert (record.time_ns, record.clock, record.derived) == (None, None, False)


def test_gplpv_puts_the_guests_clock_in_front() -> None:
    read, record = records(b"13048960291467: qemu version = 1")
    assert (read.values, read.derived) == (access(READ, 0x12, 1, 1), True), "the version that it says it has read"
    assert record.values == {"s": b"13048960291467: qemu version = 1", "via": b"log"}
    assert (record.time_ns, record.clock) == (QEMU_VERSION, "guest")


def test_a_clock_that_no_date_can_have_is_no_time() -> None:
    for clock in (b"00000000.00000000", b"ffffffff.ffffffff"):
        record = one(b"PRE-SUSPEND: SystemTime = " + clock)
        assert (record.event, record.time_ns, record.clock) == ("guest_line", None, None)


def test_the_mask_that_gplpv_says_it_wrote_was_written_before() -> None:
    written, said = records(b"13048960291482: disabled qemu devices 03")
    assert (written.event, written.values, written.derived) == ("port_access", access(WRITE, 0x10, 2, 3), True)
    assert (said.event, said.derived) == ("guest_line", False)
    assert (written.time_ns, written.clock) == (said.time_ns, said.clock) == (QEMU_VERSION + 15 * 10**6, "guest")


def test_the_negotiation_that_was_posted(corpus: Path) -> None:
    data = (corpus / "public" / "qemu-trad-gplpv-win7.log").read_bytes()
    assert sniff(data) > 50
    found = whole(data)
    told = [one for one in found if isinstance(one, Record)]
    assert len(told) == len(found)
    assert {record.domain for record in told} == {7}
    assert [(record.line, short(record)) for record in told] == [
        (1, "device_start"), (1, "domain"), (12, "domain"), (13, "device_line"), (14, "device_line"),
        (15, "device_line"),  # the flags, as the device begins
        (70, "W1 10=0"), (71, "W1 10=1"),  # rombios
        (72, "R1 12=1"), (72, "guest_line"), (73, "W2 12=2"), (74, "W4 10=1"),
        (75, "device_line"), (76, "device_line"), (77, "device_line"),
        (78, "W2 10=3"), (78, "guest_line"),
    ]
    said = [record for record in told if record.event == "guest_line"]
    assert [record.text("s") for record in said] == [
        b"13048960291467: qemu version = 1", b"13048960291482: disabled qemu devices 03"]
    assert [record.time_ns for record in said] == [QEMU_VERSION, QEMU_VERSION + 15_000_000]
    assert all(record.clock == "guest" for record in said)
    for record in told:
        assert data[record.offset : record.offset + record.length].rstrip(b"\n") == record.raw


def test_a_device_model_in_a_stub_domain_that_was_posted(corpus: Path) -> None:
    data = (corpus / "public" / "qubes-ministubdom-qemu-trad.log").read_bytes()
    assert sniff(data) > 50
    assert [(record.line, record.event, record.domain) for record in whole(data) if isinstance(record, Record)] == [
        (1, "device_start", None), (1, "device_line", None), (2, "device_line", None), (3, "domain", 42),
        (4, "device_line", 42)]


# -- glued lines, stamps, syslog


def test_the_line_that_had_to_wait_is_glued_to_the_warning() -> None:
    warning, said = records(b"x", b"throttling guest access to syslogxen|BUGCHECK: ====>")
    assert (warning.event, warning.values) == ("device_line", {"s": b"throttling guest access to syslog"})
    assert (said.event, said.values) == ("guest_line", {"s": b"xen|BUGCHECK: ====>", "via": b"log"})
    assert (warning.offset, warning.length) == (said.offset, said.length) == (2, 53)
    assert one(b"throttling guest access to syslog").values == {"s": b"throttling guest access to syslog"}
    assert one(b"throttling guest access to syslogsomething").event == "device_line"


def test_what_is_glued_to_the_warning_is_the_guests_whatever_it_imitates() -> None:
    told = records(b"throttling guest access to syslogUnknown PV product 2 loaded in guest")
    assert [(record.event, record.text("s")) for record in told] == [
        ("device_line", b"throttling guest access to syslog"),
        ("device_line", b"Unknown PV product 2 loaded in guest")]
    assert [short(record) for record in records(
        b"throttling guest access to syslog13048960291482: disabled qemu devices 03")] == [
        "device_line", "W2 10=3", "guest_line"]
    assert [record.event for record in records(b"throttling guest access to syslogdomid: 9")] == ["device_line"]


@pytest.mark.parametrize("front", [b"[2026-11-23 03:17:30] ", b" [2026-11-23 03:17:30] "])
def test_xenconsoleds_stamp_is_local_time_also_after_a_blank_that_was_left(front: bytes) -> None:
    for line in (b"PV driver build 1", b"13048960291467: qemu version = 1", b"Drivers are blacklisted!"):
        record = records(front + line)[-1]
        assert (record.time_ns, record.clock) == (AT, "local")
        if record.event != "port_access":
            assert record.text("s") == line


def test_a_syslog_daemon_mixes_the_lines_of_several_device_models() -> None:
    told = records(
        b"Nov 23 03:17:30 host qemu-dm-5[123]: Register xen platform.",
        b"Nov 23 03:17:30 host qemu-dm-6[124]: ROM memory area now RW",
        b"Nov 23 03:17:30 host qemu-dm-5[123]: ROM memory area now RW",
        b"Nov 23 03:17:30 host qemu-dm-6[124]: UNPLUG: product_id: 3 build_number: 514",
        b"2026-11-23T03:17:30Z host qemu-dm-5[123]: UNPLUG: product_id: 3 build_number: 514",
    )
    assert [(record.domain, record.thread, short(record)) for record in told] == [
        (5, 123, "device_start"), (5, 123, "device_line"), (6, 124, "W1 10=0"), (5, 123, "device_line"),
        (6, 124, "W2 12=3"), (6, 124, "W4 10=202"), (5, 123, "W2 12=3"), (5, 123, "W4 10=202")]
    assert {record.time_ns for record in told} == {AT}
    assert [record.clock for record in told] == ["local, year inferred"] * 6 + ["syslog"] * 2


def test_the_tag_says_whose_line_it_is_whatever_the_line_says() -> None:
    told = records(b"Nov 23 03:17:30 host qemu-dm-5[123]: domid: 9",
                   b"Nov 23 03:17:30 host qemu-dm-5[123]: Issued domain 9 poweroff")
    assert [record.domain for record in told] == [5, 5, 5]
    assert whole(b"Nov 23 03:17:30 host sshd[123]: PV driver build 1\n") == []


# -- what is nobody's


@pytest.mark.parametrize(
    "line",
    [
        b"I/O request not ready: 0, ptr: 0, port: 0, data: 0, count: 0, size: 0",
        b"xs_read(/local/domain/7/log-throttling): read error",
        b"qemu: ignoring not-understood drive `/local/domain/7/log-throttling'",
        b"[B]husb: open device 1.1",
        b"Watching /local/domain/0/device-model/7/command",
        b"domid: ",
        b"domid: 0",
        b"domid: 7x",
        b" domid: 7",
        b"Issued domain 0 poweroff",
        b"Issued domain 7 suspend",
        b"xen_platform_log xen platform: Unknown PV product 2 loaded in guest",  # a guest's, through upstream QEMU
        b"21244@1612191983.279616:xen_platform_log xen platform: UNPLUG: DISKS",
        b"[2026-11-23 03:17:30] xen_platform_log xen platform: xen|ModuleAdd: x",
        b"21244@1612191983.279616:xen_platform_log xen platform: XEN|BUGCHECK: ====>",
        b"destroy_hvm_domain_action Issued domain 5 poweroff",
        b"(d1) xen|BUGCHECK: ====>",  # the hypervisor's console
        b"xen be: qdisk-768: 13048960291467: x",
        b"UNPLUG: SOMETHING",
        b"Drivers are tired",
        b"1000000000000: qemu version = 1",  # before GPLPV was there
        b"",
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert whole(line) == []


def test_nothing_is_taken_from_the_logs_of_upstream_qemu(corpus: Path) -> None:
    files = [*(corpus / "recorded" / "real-xen").glob("*/qemu-dm*.log*"), *(corpus / "public").glob("libxl-*.log"),
             corpus / "public" / "qubes-stubdom-dm-console-timestamps.log",
             corpus / "public" / "qemu-xen-log-winpv-bugcheck.log"]
    assert len(files) > 15
    for file in files:
        data = file.read_bytes()
        assert whole(data) == [], file
        assert sniff(data) == 0, file


@pytest.mark.parametrize(
    ("head", "sure"),
    [
        (b"domid: 7\nUsing file x\nRegister xen platform.\n", 80),
        (b"cut\nRegister xen platform.\nDone register platform.\nxs_watch(/local/domain/42/log-throttling, x)\n", 80),
        ((b"Nov 23 03:17:30 host qemu-dm-5[123]: UNPLUG: protocol 1 active\n"
          b"Nov 23 03:17:30 host qemu-dm-5[123]: ROM memory area now RW\n"), 80),
        (b"13048960291467: qemu version = 1\n", 30),
        (b"Register xen platform.\n", 30),
        (b"[2026-11-23 03:17:30] Register xen platform.\n", 30),
        (b"Issued domain 5 poweroff\n", 10),
        (b"xen platform: PV driver build 1\n", 0),
        (b"x domid: 7\n", 0),
        (b"", 0),
    ],
)
def test_how_sure_it_is_that_a_source_is_such_a_log(head: bytes, sure: int) -> None:
    assert sniff(head) == sure


def test_the_example_is_read() -> None:
    assert DISSECTOR.vantage == "device"
    assert sniff(DISSECTOR.example) > 0
    assert short(one(DISSECTOR.example)) == "W2 12=2"


# -- anything else that bytes can be

SAMPLE = (
    b"domid: 7\nGuest uuid = 4e1fdbd3-7daa-4b24-9737-8815429755e3\nRegister xen platform.\n"
    + FLAGS % b"rw" + b"\n13048960291467: qemu version = 1\nUnknown PV product 2 loaded in guest\nPV driver build -1\n"
    b"throttling guest access to syslogxen|BUGCHECK: ====>\n13048960291482: disabled qemu devices 03\r\n"
    b"UNPLUG: product_id: 3 build_number: 514\n [2026-11-23 03:17:30] Issued domain 7 poweroff\n"
)


def lies_inside(data: bytes) -> int:
    """How many things a source says, each of which lies inside it, none before the one before it."""
    found = whole(data)
    offsets = [one.offset for one in found]
    assert offsets == sorted(offsets)
    for told in found:
        assert 0 <= told.offset < told.offset + told.length <= len(data)
        if isinstance(told, Record):
            assert told.time_ns is None or 0 <= told.time_ns < 1 << 63
            assert (told.time_ns is None) == (told.clock is None)
            assert told.domain is None or 0 < told.domain < 0x7FF0
            assert told.event != "port_access" or told.derived
    assert 0 <= sniff(data) <= 90
    return len(found)


def test_a_log_that_is_cut_anywhere_says_only_what_is_left() -> None:
    everything = lies_inside(SAMPLE)
    assert everything == 16
    for end in range(len(SAMPLE)):
        assert lies_inside(SAMPLE[:end]) <= everything
        assert lies_inside(SAMPLE[end:]) <= everything + 1  # its device model begins without its first line


def test_a_log_twice_is_two_device_models() -> None:
    assert lies_inside(SAMPLE + SAMPLE) == 2 * lies_inside(SAMPLE)


def test_the_state_that_is_held_of_many_device_models_is_bounded() -> None:
    reader = TraditionalLog(Given("daemon.log", catalogue.load(), WRITTEN))
    for pid in range(2000):
        line = b"Nov 23 03:17:30 host qemu-dm-5[%d]: UNPLUG: IDE" % pid
        assert len(list(reader.read(line, 0, 1, len(line)))) == 1
    assert len(reader._models) <= 256


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=12))
def test_a_log_with_broken_bytes_says_nothing_that_is_not_in_it(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE + b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n(d1) xen|x: y\n" + SAMPLE)
    for at, value in changes:
        data[at] = value
    assert lies_inside(bytes(data)) >= 15


@given(st.binary(max_size=300) | st.builds(
    lambda front, said: front + said,
    st.sampled_from([b"domid: ", b"Guest uuid = ", b"Unknown PV product ", b"PV driver build ", b"UNPLUG: product_id: ",
                     b"throttling guest access to syslog", b"13048960291467: ", b"xen|", b"[2026-11-23 03:17:30] xen|",
                     b"Nov 23 03:17:30 host qemu-dm-70000[1]: domid: 7\n", b"POST-SUSPEND: SystemTime = ffffffff."]),
    st.binary(max_size=60),
))
def test_no_line_makes_it_fail(line: bytes) -> None:
    for told in TraditionalLog(Given("x", catalogue.load(), WRITTEN)).read(line, 100, 7, len(line) + 1):
        assert (told.offset, told.length, told.line) == (100, len(line) + 1, 7)
        assert not isinstance(told, Record) or told.time_ns is None or 0 <= told.time_ns < 1 << 63
    sniff(line)
