"""KVM's port accesses are read from every text that a kernel trace becomes, and what the trace lost is said."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.linux import columns
from dissectors.linux.kvm import DISSECTOR, NEEDLES, KvmTrace, sniff
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record

WRITE, READ = 0, 1

# What the program behind tests/data/kvm does on each vCPU, in order: direction, port, size, value, elements. Its
# access to port 0x3f8 is none of ours; of its last, which has three elements, the kernel prints the first.
PROGRAM = [
    (READ, 0x10, 2, 0x49D2, 1),
    (READ, 0x12, 1, 1, 1),
    (WRITE, 0x12, 2, 3, 1),
    (WRITE, 0x10, 4, 0x624, 1),
    (WRITE, 0x10, 2, 3, 1),
    *((WRITE, 0x12, 1, letter, 1) for letter in b"hello\n"),
    (READ, 0xC140, 2, 0x49D2, 1),
    (READ, 0xC140, 2, None, 2),
]
EVENT = b"kvm_pio: pio_write at 0x10 size 2 count 1 val 0x3 "
PLACE = b"       CPU 0/KVM-1680    [001] ..... 12773.927701: "


def read(line: bytes) -> list[Record | Damage | Loss]:
    return list(KvmTrace(Given("trace.txt", catalogue.load())).read(line, 100, 7, len(line) + 1))


def one(line: bytes) -> Record:
    (record,) = read(line)
    assert isinstance(record, Record)
    return record


def scan(data: bytes) -> Iterator[Record | Damage | Loss]:
    """Every line, with its place."""
    reader, offset = KvmTrace(Given("trace.txt", catalogue.load())), 0
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        yield from reader.read(line.rstrip(b"\n"), offset, number, len(line))
        offset += len(line)


def accesses(data: bytes) -> list[Record]:
    found = list(scan(data))
    assert not [one for one in found if isinstance(one, Damage)]
    return [one for one in found if isinstance(one, Record)]


def told(record: Record) -> tuple[int | None, ...]:
    assert record.event == "port_access"
    return tuple(record.integer(name) for name in ("dir", "addr", "size", "val", "count"))


def contents(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


# -- recordings that users posted


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # ports of others, but for the first, which is of a BAR
        ("kvm-ftrace-2.6.3x-noval.log", [(READ, 0xC13E, 2, None, 1)]),
        ("kvm-ftrace-debugport-e9.log", []),
        ("kvm-ftrace-trace_pipe-3.x.log", []),
        ("kvm-pio-commname-with-space-6.x.log", []),
        ("trace-cmd-report-kvm_pio.log", []),
        ("perf-script-kvm_pio.log", []),
    ],
)
def test_public_recordings_are_recognised_and_tell_only_of_ports_that_can_be_the_devices(
    corpus: Path, name: str, expected: list[tuple[int | None, ...]]
) -> None:
    data = (corpus / "public" / name).read_bytes()
    assert sniff(data) == 80
    assert [told(record) for record in scan(data) if isinstance(record, Record)] == expected
    assert len(list(scan(data))) == len(expected)


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [  # the same lines as if the access had been to port 0x10: what the columns and the event say
        ("kvm-ftrace-2.6.3x-noval.log", b"0xc13e", [(5664, 11906_220188_000, READ, 2, None, None)]),
        ("kvm-ftrace-debugport-e9.log", b"0xe9", [(24797, 83184_290322_000, READ, 1, 0x31, None)]),
        ("kvm-ftrace-trace_pipe-3.x.log", b"0x3f8", [(20024, 2323301_154971_000, WRITE, 1, 0x34, None),
                                                     (20024, 2323301_155007_000, WRITE, 1, 0xA, None)]),
        ("kvm-pio-commname-with-space-6.x.log", b"0x3f8", [(2063, 1466862_728737_000, WRITE, 1, 0xD, 36),
                                                           (2063, 1466862_728783_000, WRITE, 1, 0xA, 36)]),
        ("trace-cmd-report-kvm_pio.log", b"0x5658", [(6660, 398_691441_000, READ, 4, 4, None)]),
        ("perf-script-kvm_pio.log", b"0x3fd", [(10042, 313831_754508_000, READ, 1, 0x60, None),
                                               (10042, 313831_754515_000, READ, 1, 0x60, None)]),
    ],
)
def test_the_columns_of_public_recordings(
    corpus: Path, name: str, port: bytes, expected: list[tuple[int | None, ...]]
) -> None:
    data = (corpus / "public" / name).read_bytes().replace(b" " + port + b" ", b" 0x10 ")
    found = accesses(data)
    assert [(record.thread, record.time_ns, record.integer("dir"), record.integer("size"), record.integer("val"),
             record.integer("cpu_index")) for record in found] == expected
    assert {(record.clock, record.integer("addr"), record.integer("count")) for record in found} == {("trace", 0x10, 1)}


def test_sums_are_not_ours(corpus: Path) -> None:
    data = (corpus / "public" / "perf-kvm-stat-ioport.log").read_bytes()
    assert sniff(data) == 0
    assert list(scan(data)) == []


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
def test_what_qemu_writes_to_the_trace_marker_takes_part_and_tells_nothing(corpus: Path, version: str) -> None:
    data = contents(corpus / "recorded" / "qemu-oracle" / version / "75-ftrace" / "ftrace-trace.txt.gz")
    assert sniff(data[: 1 << 20]) == 40
    assert list(scan(data)) == []


# -- recordings of a program whose accesses are known


@pytest.mark.parametrize(
    ("name", "threads", "first_ns"),
    [
        ("tracefs.txt", (1680, 1681), 12773_927666_000),
        ("tracefs-tgid.txt", (1693, 1694), 12773_958291_000),
        ("tracefs-no-irq-info.txt", (1714, 1715), 12774_021518_000),
        ("tracefs-tgid-no-irq-info.txt", (1709, 1710), 12773_990515_000),
        ("tracefs-latency-format.txt", (1719, 1720), None),
        ("tracefs-counter.txt", (1724,), None),
        ("perf-script.txt", (1862, 1863), 12774_824143_000),
        ("perf-script-no-cpu.txt", (1862, 1863), 12774_824143_000),
        ("perf-script-pid-ns.txt", (1862, 1863), 12774_824143_344),
        ("perf-script-callgraph.txt.gz", (1874,), 12776_256400_000),
    ],
)
def test_every_form_tells_the_accesses_of_every_vcpu(
    data: Path, name: str, threads: tuple[int, ...], first_ns: int | None
) -> None:
    recording = contents(data / "kvm" / name)
    found = accesses(recording)
    assert sniff(recording) == 80
    assert {record.thread for record in found} == set(threads)
    for vcpu, thread in enumerate(threads):
        of_thread = [record for record in found if record.thread == thread]
        assert [told(record) for record in of_thread] == PROGRAM
        assert {record.integer("cpu_index") for record in of_thread} == {vcpu}
    times = [record.time_ns for record in found]
    if first_ns is not None:
        assert found[0].time_ns == first_ns
    if name in {"tracefs-latency-format.txt", "tracefs-counter.txt"}:
        assert {(record.time_ns, record.clock) for record in found} == {(None, None)}
    else:
        assert {record.clock for record in found} == {"trace"}
        assert times == sorted(times, key=lambda one: one or 0)


def test_each_record_is_where_its_line_is_and_a_needle_is_in_it(data: Path) -> None:
    recording = contents(data / "kvm" / "tracefs.txt")
    lines = recording.splitlines()
    for record in accesses(recording):
        assert record.raw == lines[record.line - 1] == recording[record.offset : record.offset + record.length - 1]
        assert any(needle.search(record.raw) for needle in NEEDLES)


@pytest.mark.parametrize(
    ("name", "process"),
    [("tracefs-tgid.txt", 1691), ("tracefs-tgid-no-irq-info.txt", 1708), ("perf-script-pid-ns.txt", 1860),
     ("tracefs.txt", None), ("perf-script.txt", None)],
)
def test_the_thread_group_is_in_the_columns_where_it_was_recorded(data: Path, name: str, process: int | None) -> None:
    found = [columns.read(line) for line in contents(data / "kvm" / name).splitlines()]
    assert {one.process for one in found if one is not None} == {process}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("tracefs-overrun.txt.gz", {3: "975 records were overwritten before the trace was read",
                                    261: "the records of one processor begin here: those before were overwritten"}),
        ("trace_pipe-lost.txt.gz", {1: "the recording says that records are missing here",
                                    41: "the recording says that records are missing here"}),
        ("perf-script-lost.txt.gz", {30: "159 records are missing here", 808: "62 records are missing here",
                                     989: "47 records are missing here", 990: "47 records are missing here",
                                     1165: "12 records are missing here"}),
    ],
)
def test_a_recording_says_where_records_are_missing(data: Path, name: str, lines: dict[int, str]) -> None:
    recording = contents(data / "kvm" / name)
    found = list(scan(recording))
    assert {one.line: one.reason for one in found if isinstance(one, Loss)} == lines
    assert not [one for one in found if isinstance(one, Damage)]
    assert {told(one) for one in found if isinstance(one, Record)} <= set(PROGRAM)
    written = recording.splitlines()
    assert all(any(needle.search(written[number - 1]) for needle in NEEDLES) for number in lines)


# -- one line


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        (b"CPU:3 [LOST 120 EVENTS]", True),
        (b"CPU:3 [LOST EVENTS]", True),  # Linux 5.12 and newer, where nobody knows how many
        (b"CPU:7 [204600 EVENTS DROPPED]", True),  # of ARM-software/trappy's tests
        (b"CPU:7 [EVENTS DROPPED]", True),
        (b"##### CPU 2 buffer started ####", True),
        (b"# entries-in-buffer/entries-written: 57813/70138   #P:12", True),
        (b"# entries-in-buffer/entries-written: 26/26   #P:2", False),
        (b"PERF_RECORD_LOST lost 9", True),
        (b"the guest says PERF_RECORD_LOST lost 9", False),
        (b"x CPU:3 [LOST 120 EVENTS]", False),
        (b"CPU:3 [KVM]", False),
    ],
)
def test_lines_that_say_that_records_are_missing(line: bytes, missing: bool) -> None:
    assert [type(found) for found in read(line)] == ([Loss] if missing else [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"pio_read at 0x10 size 2 count 1", [(READ, 0x10, 2, None, 1)]),  # up to Linux 3.15
        (b"pio_write at 0x12 size 1 count 6", [(WRITE, 0x12, 1, None, 6)]),
        (b"pio_write at 0x12 size 1 count 6 val 0x68 (...)", [(WRITE, 0x12, 1, 0x68, 1), (WRITE, 0x12, 1, None, 5)]),
        (b"pio_write at 0xcfc size 4 count 1 val 0xffffffff ", [(WRITE, 0xCFC, 4, 0xFFFFFFFF, 1)]),
        (b"pio_write at 0x12 size 1 count 1 val 0xff \r", [(WRITE, 0x12, 1, 0xFF, 1)]),
    ],
)
def test_the_text_of_the_event_in_its_versions(text: bytes, expected: list[tuple[int | None, ...]]) -> None:
    found = read(PLACE + b"kvm_pio: " + text)
    assert [told(record) for record in found if isinstance(record, Record)] == expected
    assert {(one.offset, one.line, one.length) for one in found} == {(100, 7, len(PLACE + text) + 10)}


@pytest.mark.parametrize(
    ("port", "ours"),
    [(0xC, False), (0xD, True), (0xF, True), (0x10, True), (0x1F, True), (0x20, False), (0x3F8, False), (0xCF7, False),
     (0xCF8, True), (0xCF9, True), (0xCFF, True), (0xD00, False), (0xB000, False), (0xC000, True), (0xFFFF, True)],
)
def test_only_ports_that_can_be_the_devices_are_told_of(port: int, ours: bool) -> None:
    line = PLACE + b"kvm_pio: pio_write at 0x%x size 2 count 1 val 0x3 " % port
    assert [type(found) for found in read(line)] == ([Record] if ours else [])
    assert any(needle.search(line) for needle in NEEDLES) == ours


@pytest.mark.parametrize(
    ("place", "thread", "time_ns", "vcpu"),
    [
        (b"             kvm-5664  [000] 11906.220188: ", 5664, 11906_220188_000, None),
        (b"       CPU 1/KVM-1681    [001] d..1. 12773.929246: ", 1681, 12773_929246_000, 1),
        (b"       CPU 1/KVM-1681    [001] dNs3 12773.929246: ", 1681, 12773_929246_000, 1),
        (b"       CPU 1/KVM-1681    (-------) [001] ..... 12773.929246: ", 1681, 12773_929246_000, 1),
        (b"           <...>-8050    [001] ...1.  4132.412865: ", 8050, 4132_412865_000, None),
        (b"     a-1 [0] b-4194304 [001] .... 2323301.150469: ", 4194304, 2323301_150469_000, None),
        (b" qemu-system-x86-6660  [007]   398.691441123: ", 6660, 398_691441_123, None),  # trace-cmd report -t
        (b"host.dat: CPU 12/KVM-6660  [007]   398.691441: ", 6660, 398_691441_000, 12),
        (b"qemu-sys-6660    7d..1.   398.691441: ", 6660, 398_691441_000, None),  # trace-cmd report -l
        (b"CPU 10/K-1719      0..... 12379us+: ", 1719, None, 10),
        (b"qemu-system-x86 10042 [000] 313831.754508:   kvm:", 10042, 313831_754508_000, None),
        (b":10042 10042/10043 [000] 313831.754508999: kvm:", 10043, 313831_754508_999, None),
        (b"             kvm-5664  [000] 99999999999.220188: ", 5664, None, None),
    ],
)
def test_columns_in_other_forms(place: bytes, thread: int, time_ns: int | None, vcpu: int | None) -> None:
    record = one(place + EVENT)
    assert (record.thread, record.time_ns, record.integer("cpu_index")) == (thread, time_ns, vcpu)
    assert record.clock == (None if time_ns is None else "trace")
    assert told(record) == (WRITE, 0x10, 2, 3, 1)


@pytest.mark.parametrize(
    "line",
    [
        PLACE + EVENT[:-12],  # broken off
        PLACE + EVENT + b"CPU 1/KVM-1681 [001]",
        PLACE + b"kvm_pio: pio_write at 0x10 size 3 count 1 val 0x3 ",
        PLACE + b"kvm_pio: pio_write at 0x10 size 2 count 0 val 0x3 ",
        PLACE + b"kvm_pio: pio_write at 0x10 size 1 count 1 val 0x100 ",
        PLACE[-26:] + EVENT,  # begins in mid-line
    ],
)
def test_an_access_that_is_not_whole_is_damage(line: bytes) -> None:
    (found,) = read(line)
    assert isinstance(found, Damage)
    assert (found.offset, found.length, found.line) == (100, len(line) + 1, 7)


@pytest.mark.parametrize(
    "line",
    [
        PLACE + b"kvm_userspace_exit: reason KVM_EXIT_IO (2)",
        PLACE + b"kvm_exit: reason IO_INSTRUCTION rip 0x1007 info 100000 0",
        PLACE + b"tracing_mark_write: xen_platform_log xen platform: 1: " + EVENT,  # a guest's words
        b"213@1795406729.213774:xen_platform_log xen platform: 1: " + EVENT,
        PLACE + b"tracing_mark_write: pio_write at 0x10 size 2 count 1 val 0x3 ",
        PLACE + b"kvm_pio: pio_write at 0x10",
        b"pio_write at 0x10 size 2",
        b"",
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert read(line) == []


def test_the_example_is_read() -> None:
    assert sniff(DISSECTOR.example) == 80
    record = one(DISSECTOR.example)
    assert (told(record), record.time_ns, record.thread, record.integer("cpu_index")) == (
        (WRITE, 0x10, 2, 3, 1), 12773_927701_000, 1680, 0)


@pytest.mark.parametrize(
    ("head", "sure"),
    [
        (b"", 0),
        (b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n", 0),
        (b"Nov 23 03:12:23 vm qemu-system-i386[8003]: cpu_in addr 0x10(w) value 18898\n", 0),
        (b"[20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1\n", 0),
        (b"version = 6\ncpus=8\n", 40),
        (b"# tracer: nop\n#\n", 40),
        (b"1: kvm_ack" + b"\n" + PLACE + b"kvm_entry: vcpu 0, rip 0x0\n", 40),
        (b"001] 1.234567: kvm_pio: pio_read at 0x3f8 size 1 count 1\n", 80),
    ],
)
def test_how_sure_it_is(head: bytes, sure: int) -> None:
    assert sniff(head) == sure


# -- hostile


def sane(data: bytes) -> None:
    last = 0
    for found in scan(data):
        assert last <= found.offset
        assert found.length > 0
        assert found.offset + found.length <= len(data)
        last = found.offset
        if isinstance(found, Record):
            assert found.time_ns is None or 0 <= found.time_ns < 1 << 63
            assert (found.time_ns is None) == (found.clock is None)


@given(st.binary(max_size=400), st.integers(0, 4000), st.integers(0, 7))
@example(b"", 0, 0)
def test_a_recording_with_other_bytes_in_it_makes_nothing_fail(data: Path, noise: bytes, at: int, bit: int) -> None:
    recording = contents(data / "kvm" / "tracefs-tgid.txt")
    at %= len(recording)
    sane(recording[:at] + noise + recording[at:])
    sane(recording[:at] + bytes([recording[at] ^ 1 << bit]) + recording[at + 1 :])
    sane(recording[at:] + recording[:at])
    sane(noise)
    sniff(noise)


def test_a_recording_cut_at_any_byte_of_its_last_lines_tells_all_before(data: Path) -> None:
    recording = contents(data / "kvm" / "tracefs.txt")
    whole = accesses(recording)
    for end in range(len(recording) - 600, len(recording)):
        cut = [found for found in scan(recording[:end]) if isinstance(found, Record)]
        before = [record for record in whole if record.offset + record.length <= end]
        assert [told(record) for record in cut[: len(before)]] == [told(record) for record in before]
        sane(recording[:end])


@given(st.lists(st.sampled_from([
    PLACE, EVENT, b" ", b"-1", b"[001] ", b"12773.927701: ", b"kvm_pio: ", b"pio_read at 0x10 ", b"(", b"\n", b"9" * 30,
    b"CPU:1 [", b"EVENTS]", b"PERF_RECORD_LOST lost 1", b"kvm:", b"\x00\xff",
]), max_size=40))
def test_parts_in_any_order_make_nothing_fail(parts: list[bytes]) -> None:
    sane(b"".join(parts))
    sniff(b"".join(parts))


@pytest.mark.parametrize("unit", [b" ", b"-1 ", b"1 ", b"a-1 [0] ", b"( ", b"1.000000: ", b": kvm_pio: ", b"x 1/2 "])
def test_a_long_line_takes_no_longer_than_its_length_allows(unit: bytes) -> None:
    line = unit * ((1 << 16) // len(unit)) + b": kvm_pio: pio_read at 0x10 size 2 count 1"
    begin = time.process_time()
    for _ in range(20):
        read(line)
        sniff(line)
    assert time.process_time() - begin < 5
