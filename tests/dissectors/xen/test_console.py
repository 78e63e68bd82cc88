"""The hypervisor's console is read into what drivers of guests wrote, and what became of domains, and nothing else."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.console import DISSECTOR, NEEDLES, Console, begins_line, sniff

WRITTEN = 1795564800 * 10**9
"""2026-11-25T00:00:00Z."""
SECOND = 10**9
AT = 1795403850 * SECOND
"""2026-11-23 03:17:30 as UTC, by `date -u -d`."""
LINE = b"xen|BUGCHECK: ====>"


def read(line: bytes) -> list[Record | Damage | Loss]:
    return list(Console(Given("xl-dmesg.txt", catalogue.load(), WRITTEN)).read(line, 100, 7, len(line) + 1))


def one(line: bytes) -> Record:
    (record,) = read(line)
    assert isinstance(record, Record)
    return record


def whole(data: bytes) -> list[Record | Damage | Loss]:
    """Everything that all the lines of a source say."""
    reader = Console(Given("hypervisor.log", catalogue.load(), WRITTEN))
    found: list[Record | Damage | Loss] = []
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        length = min(len(line) + 1, len(data) - offset)
        said = list(reader.read(line, offset, number, length))
        assert not said or any(needle.search(line) for needle in NEEDLES), line
        found += said
        offset += length
    return found


@pytest.mark.parametrize(
    ("line", "domain", "time_ns", "clock"),
    [
        (b"(d1) " + LINE, 1, None, None),
        (b"(d1) [  132.028963] " + LINE, 1, 132_028_963_000, "xen"),
        (b"(d32751) [1234567.000001] " + LINE, 32751, 1234567 * SECOND + 1000, "xen"),
        (b"(d2) [2026-11-23 03:17:30] " + LINE, 2, AT, "wall"),
        (b"(d2) [2026-11-23 03:17:30.125] " + LINE, 2, AT + 125 * 10**6, "wall"),
        (b"(d2) [00000a1b2c3d4e5f] " + LINE, 2, None, None),
        (b"(d2) [2026-13-23 03:17:30] " + LINE, 2, None, None),
        (b"(XEN) HVM3: " + LINE, 3, None, None),
        (b"(XEN) [2026-11-23 03:17:30] HVM3: " + LINE, 3, AT, "wall"),
        (b"[2026-11-23 03:17:30] (d1) " + LINE, 1, AT, "local"),
        (b" [2026-11-23 03:17:30] (d1) " + LINE, 1, AT, "local"),
        (b"[2026-11-23 04:17:30] (d1) [  132.028963] " + LINE, 1, 132_028_963_000, "xen"),
        (b"2026-11-23T04:17:30.5+01:00 host hypervisor[77]: (d1) " + LINE, 1, AT + 5 * 10**8, "syslog"),
        (b"Nov 23 03:17:30 host hypervisor: (d1) " + LINE, 1, AT, "local, year inferred"),
    ],
)
def test_a_line_of_a_driver_is_read_with_the_stamp_that_tells_most(
    line: bytes, domain: int, time_ns: int | None, clock: str | None
) -> None:
    record = one(line)
    assert (record.event, record.values) == ("guest_line", {"s": LINE, "via": b"debug"})
    assert (record.domain, record.time_ns, record.clock) == (domain, time_ns, clock)
    assert (record.source, record.offset, record.length, record.line, record.raw) == (
        "xl-dmesg.txt", 100, len(line) + 1, 7, line)
    assert any(needle.search(line) for needle in NEEDLES)


def test_the_carriage_return_of_a_serial_line_is_not_the_guests() -> None:
    assert one(b"(d1) " + LINE + b"\r").values["s"] == LINE


@pytest.mark.parametrize(
    "said",
    [b"XEN|BUGCHECK: <====", b"xenbus|FdoStartDevice: x", b"xenvif|no function", b"UNPLUG: DISKS",
     b"UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", b"SUSPEND: ====>", b"VETO Unplug VBD",
     b"ACTIVE DEVICE NOT PRESENT", b"BUGCHECK: STACK:"],
)
def test_lines_of_the_drivers_are_the_guests(said: bytes) -> None:
    assert one(b"(d5) [    1.000000] " + said).values == {"s": said, "via": b"debug"}


@pytest.mark.parametrize(
    "line",
    [
        b"(d1) HVM Loader",  # of the recordings
        b"(d1) Detected Xen v4.17.7",
        b"(d1) xen: copy e820...",
        b"(d1) ",
        b"(d1) Searching bootorder for: /pci@i0cf8/*@1,1/drive@0/disk@0",
        b"(XEN) d1v0: upcall vector f3",
        b"(XEN) HVM1 restore: CPU 0",
        b"(XEN) HVM d1v0 save: VIRIDIAN_VCPU",
        b"[2026-11-23 02:55:25] Logfile Opened",
        b"(XEN) [  132.040828] memory_map:remove: dom1 gfn=f60c0 mfn=a3080 nr=4",
        b"21244@1612191983.279616:xen_platform_log xen platform: XEN|BUGCHECK: ====>",
        LINE,  # nobody says whose
        b"(d0) " + LINE,  # Dom0's
        b"(d99999) " + LINE,
        b"(d1)  " + LINE,
        b"d1) [  132.028963] " + LINE,  # where the ring was overwritten
        b"(XEN) xen|BUGCHECK: ====>",  # Xen itself runs no driver
        b"(d1) Register xen platform.",  # a device model in a stub domain
        b"(d1) UNPLUG: IDE",
        b"(XEN) Domain 0 (vcpu#0) crashed on cpu#3:",
        b"(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds.",
        b"(XEN) domain_crash called from p2m-pod.c:1218",
        b"(XEN) *** Dumping Dom5 vcpu#0 state: ***",
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert read(line) == []


def test_a_guest_cannot_write_a_line_of_xens() -> None:
    for front in (b"(d1) ", b"(d1) [  132.028963] ", b"(XEN) HVM1: "):
        for said in (b"d2v0 VIRIDIAN CRASH: 3b 0 0 0 0", b"(XEN) d2v0 VIRIDIAN CRASH: 3b 0 0 0 0",
                     b"Domain 2 (vcpu#0) crashed on cpu#3:", b"(d2) " + LINE):
            assert read(front + said) == []


@pytest.mark.parametrize(
    ("line", "domain", "values", "time_ns"),
    [
        # posted on xen-devel, 2021-02-01 and 2020-09-16, the second without the stamp
        (b"(XEN) d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0", 11,
         {"code": 0x3B, "p1": 0xC0000096, "p2": 0x75B12C5, "p3": 0x9E7F1580, "p4": 0, "cpu_index": 0}, None),
        ((b"(XEN) [   58.000001] d5v3 VIRIDIAN CRASH: 7e ffffffffc0000096 fffff8054cbe5ffe fffffa0837a066e8 "
          b"fffffa0837a05f30"), 5,
         {"code": 0x7E, "p1": 0xFFFFFFFFC0000096, "p2": 0xFFFFF8054CBE5FFE, "p3": 0xFFFFFA0837A066E8,
          "p4": 0xFFFFFA0837A05F30, "cpu_index": 3}, 58 * SECOND + 1000),
        # of no recording: the prefix of a debug build
        (b"(XEN) viridian.c:456:d8v0 VIRIDIAN CRASH: 1e 0 0 0 0\r", 8,
         {"code": 0x1E, "p1": 0, "p2": 0, "p3": 0, "p4": 0, "cpu_index": 0}, None),
    ],
)
def test_a_crash_that_windows_reports_to_the_hypervisor(
    line: bytes, domain: int, values: dict[str, int], time_ns: int | None
) -> None:
    record = one(line)
    assert (record.event, record.domain, record.values, record.time_ns) == ("guest_crash", domain, values, time_ns)
    assert any(needle.search(line) for needle in NEEDLES)


def test_a_crash_that_is_not_whole_is_damage() -> None:
    line = b"(XEN) d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0"
    for end in range(line.index(b": ") + 1, len(line) - 1):
        (damage,) = read(line[:end])
        assert isinstance(damage, Damage)
        assert (damage.offset, damage.length, damage.line) == (100, end + 1, 7)


@pytest.mark.parametrize(
    ("line", "domain", "values"),
    [
        # posted: Qubes' documentation; xen-devel 2022-11, 2024-12, 2020-06; xen/arch/x86/hvm/hvm.c of 2009 and 2014
        (b"(XEN) Domain 120 (vcpu#0) crashed on cpu#3:", 120, {"what": b"crashed", "cpu_index": 0}),
        (b"(XEN) Domain 1 reported crashed by domain 0 on cpu#2:", 1, {"what": b"crashed"}),
        (b"(XEN) d5v0 Triple fault - invoking HVM shutdown action 1", 5,
         {"what": b"triple fault", "reason": 1, "cpu_index": 0}),
        (b"(XEN) hvm.c:1309:d5v2 Triple fault on VCPU2 - invoking HVM shutdown action 3.", 5,
         {"what": b"triple fault", "reason": 3, "cpu_index": 2}),
        (b"(XEN) hvm.c:1620:d6v0 All CPUs offline -- powering off.", 6,
         {"what": b"all CPUs offline", "reason": 0, "cpu_index": 0}),
        (b"(XEN) hvm.c:280:d6v0 DOM6: all CPUs offline -- powering off.", 6,
         {"what": b"all CPUs offline", "reason": 0, "cpu_index": 0}),
    ],
)
def test_the_end_of_a_domain(line: bytes, domain: int, values: dict[str, int | bytes]) -> None:
    record = one(line)
    assert (record.event, record.domain, record.values) == ("domain_life", domain, values)
    assert any(needle.search(line) for needle in NEEDLES)


def test_the_crash_that_was_posted_line_by_line_in_order_with_xens_times(corpus: Path) -> None:
    data = (corpus / "public" / "xl-dmesg-d1-bugcheck.log").read_bytes()
    records = whole(data)
    assert all(isinstance(record, Record) and record.event == "guest_line" for record in records)
    told = [(record.line, record.time_ns, record.domain, record.text("s"))
            for record in records if isinstance(record, Record)]
    assert [number for number, _, _, _ in told] == list(range(1, 15))  # the last three lines are Xen's
    assert told[0] == (1, 132_028_963_000, 1, b"xen|BUGCHECK: ====>")
    assert told[1][:3] == (2, 132_029_008_000, 1)
    assert told[1][3].startswith(b"xen|BUGCHECK: SYSTEM_SERVICE_EXCEPTION: 00000000C0000096 FFFFF80418A21E27 ")
    assert told[-1] == (14, 132_031_151_000, 1, b"xen|BUGCHECK: <====")
    times = [time_ns for _, time_ns, _, _ in told if time_ns is not None]
    assert times == sorted(times)
    assert sniff(data) > 50


def test_the_same_crash_as_qemu_traced_it_is_not_the_consoles(corpus: Path) -> None:
    data = (corpus / "public" / "qemu-xen-log-winpv-bugcheck.log").read_bytes()
    assert sniff(data) == 0
    assert whole(data) == []


def test_consoles_of_linux_guests_are_recognised_and_hold_nothing_of_a_driver(corpus: Path) -> None:
    real = corpus / "recorded" / "real-xen"
    files = [*real.glob("*/hypervisor.log"), *real.glob("*/xl-dmesg.txt")]
    assert len(files) > 20
    for file in files:
        data = file.read_bytes()
        assert sniff(data) > 50, file
        assert whole(data) == [], file
    serial = lzma.decompress((real / "linux-default" / "L1-serial-whole-run.log.xz").read_bytes())
    assert sniff(serial) > 50
    assert whole(serial) == []


def test_traces_and_logs_of_others_are_not_taken_for_a_console(corpus: Path) -> None:
    for file in sorted((corpus / "public").glob("*.log")):
        assert (sniff(file.read_bytes()) > 0) == (file.name == "xl-dmesg-d1-bugcheck.log"), file.name


@pytest.mark.parametrize(
    ("head", "sure"),
    [(b"", 0), (b"xx(XEN) Xen version 4.17\n", 0), (b"cut\n(XEN) Xen version 4.17\n", 80), (b"(d1) HVM Loader\n", 60),
     (b"[2026-11-23 02:55:25] (XEN) Xen version\n", 80), (b"x" * 600 + b"(XEN) y", 0), (b"dom0 says (d1) x\n", 0)],
)
def test_how_sure_it_is_that_a_source_is_a_console(head: bytes, sure: int) -> None:
    assert sniff(head) == sure


def test_a_sign_is_found_wherever_its_line_begins() -> None:
    assert begins_line(NEEDLES[0], b"x\n" * 1000 + b"(d1) x")
    assert not begins_line(NEEDLES[0], b"x(d1) " * 1000)


def test_the_example_is_read_and_is_the_hosts_view() -> None:
    assert DISSECTOR.vantage == "host"
    assert sniff(DISSECTOR.example) > 50
    assert one(DISSECTOR.example).domain == 1


SAMPLE = (
    b"(XEN) d1v0: upcall vector f3\n(d1) [  132.028963] xen|BUGCHECK: ====>\n"
    b"[2026-11-23 03:17:30] (d2) UNPLUG: DISKS\r\n(XEN) d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0\n"
    b"(XEN) Domain 120 (vcpu#0) crashed on cpu#3:\n(XEN) [2026-11-23 03:17:30.001] HVM3: XEN|x: y\n"
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
            assert told.domain is not None
            assert 0 < told.domain < 0x7FF0
    assert 0 <= sniff(data) <= 90
    return len(found)


def test_a_console_that_is_cut_anywhere_says_only_what_is_left() -> None:
    assert lies_inside(SAMPLE) == 5
    for end in range(len(SAMPLE)):
        assert lies_inside(SAMPLE[:end]) <= 5
        assert lies_inside(SAMPLE[end:]) <= 5


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=12))
def test_a_console_with_broken_bytes_says_nothing_that_is_not_in_it(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE + b"21244@1612191983.279616:xen_platform_log xen platform: XEN|BUGCHECK: ====>\n" + SAMPLE)
    for at, value in changes:
        data[at] = value
    assert lies_inside(bytes(data)) >= 5


@given(st.binary(max_size=300) | st.builds(
    lambda front, said: front + said,
    st.sampled_from([b"(XEN) ", b"(d1) ", b"(XEN) [", b"(d1) [  1.0", b"(XEN) d1v0 VIRIDIAN CRASH: ",
                     b"(XEN) HVM1: xen|", b"[2026-11-23 03:17:30] (d65535) xen|",
                     b"<30>1 2026-11-23T03:17:30Z h t p m - (d1) "]),
    st.binary(max_size=60),
))
def test_no_line_makes_it_fail(data: bytes) -> None:
    lies_inside(data)
