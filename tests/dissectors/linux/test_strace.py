"""strace shows a vCPU's writes with every value, its reads without, and whose they are.

No recording with the vCPUs' state (-e kvm=vcpu+) is public: those lines are composed from strace's src/kvm.c and
tests/ioctl_kvm_run_auxstr_vcpu_more.c; what stands in front of a call is as strace 6.1 wrote it (tests/data/kvm).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.linux.strace import DISSECTOR, NEEDLES, Strace, sniff
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record

WRITE, READ = 0, 1
AT = 1795557148_579412_000


def state(io: bytes, vcpu: bytes = b"VCPU:0> ", reason: bytes = b"2 /* KVM_EXIT_IO */") -> bytes:
    union = b", {io={" + io + b"}}" if io else b""
    return (b" " + vcpu + b"{request_interrupt_window=0, immediate_exit=0, exit_reason=" + reason +
            b", ready_for_interrupt_injection=0, if_flag=0, flags=0, cr8=0000000000000000"
            b", apic_base=0x000000fee00900" + union + b"}\n")


def access(direction: bytes, size: int, port: int, count: int, data: bytes | None) -> bytes:
    """The union as `%#04x` and `%#016llx` write it."""
    told = b"direction=KVM_EXIT_IO_%s, size=%d, port=%#04x, count=%d, data_offset=0x00000000001000" % (
        direction, size, port, count)
    return told if data is None else told + b", data=[" + data + b"]"


CALL = b"1899  1795557148.579412 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n"
BEFORE = state(b"", b"VCPU:0< ", b"0 /* KVM_EXIT_UNKNOWN */")
UNPLUG = state(access(b"OUT", 2, 0x10, 1, b"0x3, 0"))


def scan(data: bytes) -> Iterator[Record | Damage | Loss]:
    """What is told of the lines that a needle is in and their neighbours, as the program shows them."""
    lines = data.splitlines(keepends=True)
    hit = {number for number, line in enumerate(lines) if any(needle.search(line) for needle in NEEDLES)}
    reader, offset = Strace(Given("strace.txt", catalogue.load())), 0
    for number, line in enumerate(lines):
        if hit & {number - 1, number, number + 1}:
            yield from reader.read(line.rstrip(b"\n"), offset, number + 1, len(line))
        offset += len(line)


def accesses(data: bytes) -> list[Record]:
    found = list(scan(data))
    assert all(isinstance(one, Record) for one in found)
    return [one for one in found if isinstance(one, Record)]


def told(record: Record) -> tuple[int | None, ...]:
    assert record.event == "port_access"
    return tuple(record.integer(name) for name in ("dir", "addr", "size", "val", "count"))


@pytest.mark.parametrize(
    ("io", "expected"),
    [
        (access(b"OUT", 2, 0x10, 1, b"0x3, 0"), [(WRITE, 0x10, 2, 3, 1)]),
        (access(b"OUT", 4, 0x10, 1, b"0x24, 0x6, 0, 0"), [(WRITE, 0x10, 4, 0x624, 1)]),
        (access(b"OUT", 1, 0x12, 6, b"0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa"),
         [(WRITE, 0x12, 1, letter, 1) for letter in b"hello\n"]),
        (access(b"OUT", 2, 0xC140, 2, b"0x1, 0x2, 0x3, 0x4"), [(WRITE, 0xC140, 2, 0x201, 1),
                                                              (WRITE, 0xC140, 2, 0x403, 1)]),
        (access(b"OUT", 4, 0xCF9, 1, b"0, 0, 0, 0x80, 0, 0, 0, 0"), [(WRITE, 0xCF9, 4, 0x80000000, 1)]),
        # -s shortens, and an element that is not whole has no value
        (access(b"OUT", 2, 0x12, 4, b"0x1, 0x2, 0x3, ..."), [(WRITE, 0x12, 2, 0x201, 1), (WRITE, 0x12, 2, None, 3)]),
        (access(b"OUT", 1, 0x12, 1, b"... /* 0x7f0000001000 */"), [(WRITE, 0x12, 1, None, 1)]),
        (access(b"OUT", 1, 0x12, 1, None) + b", data=0x7f0000001000", [(WRITE, 0x12, 1, None, 1)]),
        (access(b"OUT", 1, 0x12, 3, None), [(WRITE, 0x12, 1, None, 3)]),
        # what is there when the vCPU leaves is not the answer
        (access(b"IN", 2, 0x10, 1, b"0, 0"), [(READ, 0x10, 2, None, 1)]),
        (access(b"IN", 2, 0xC140, 3, b"0, 0, 0, 0, 0, 0"), [(READ, 0xC140, 2, None, 3)]),
        # -X verbose, -X raw; and as wide as a u16 with its 0x could have been
        (access(b"OUT", 1, 0x12, 1, b"0x41").replace(b"KVM_EXIT_IO_OUT", b"0x1 /* KVM_EXIT_IO_OUT */"),
         [(WRITE, 0x12, 1, 0x41, 1)]),
        (access(b"OUT", 1, 0x12, 1, b"0x41").replace(b"KVM_EXIT_IO_OUT", b"0x1"), [(WRITE, 0x12, 1, 0x41, 1)]),
        (access(b"IN", 1, 0x12, 1, b"0").replace(b"KVM_EXIT_IO_IN", b"0"), [(READ, 0x12, 1, None, 1)]),
        (access(b"OUT", 2, 0x10, 1, b"0x3, 0").replace(b"0x10,", b"0x0010,"), [(WRITE, 0x10, 2, 3, 1)]),
        # others' ports
        (access(b"OUT", 1, 0x3F8, 1, b"0xa"), []),
        (access(b"OUT", 1, 0xC, 1, b"0xa"), []),
    ],
)
def test_the_state_after_a_run_tells_the_access(io: bytes, expected: list[tuple[int | None, ...]]) -> None:
    recording = CALL + BEFORE + state(io)
    found = accesses(recording)
    assert [told(record) for record in found] == expected
    assert all((record.thread, record.time_ns, record.clock, record.integer("cpu_index"), record.line)
               == (1899, AT, "wall", 0, 3) for record in found)
    assert all(recording[record.offset : record.offset + record.length - 1] == record.raw for record in found)


@pytest.mark.parametrize(
    ("call", "thread", "time_ns"),
    [
        (CALL, 1899, AT),
        (b"[pid  1967<CPU 1/KVM>] 1795557148.715387 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", 1967,
         1795557148_715387_000),
        (b"1927<CPU 1/KVM> 1795557148.631809 <... ioctl resumed>, 0) = 0 (KVM_EXIT_IO)\n", 1927, 1795557148_631809_000),
        (b"1795557148.579412 ioctl(5<anon_inode:kvm-vcpu:1>, KVM_RUN, 0) = 0 (KVM_EXIT_IO) <0.000088>\n", None, AT),
        (b"2279  1795557148 ioctl(5, 0xae80 /* KVM_RUN */, 0) = 0 (KVM_EXIT_IO)\n", 2279, 1795557148 * 10**9),
        (b"1913  21:52:28.611376 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", 1913, None),
        (b"2287  21:52:57 [  16] ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", 2287, None),
        (b"1941       0.000029 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", 1941, None),
        (b"9999  9999999999.000000 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", 9999, None),
        (b"ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)\n", None, None),
    ],
)
def test_whose_call_it_was_and_when(call: bytes, thread: int | None, time_ns: int | None) -> None:
    (record,) = accesses(b"7  1.5 ioctl(4, KVM_CHECK_EXTENSION) = 0\n" + call + BEFORE + UNPLUG)
    assert (record.thread, record.time_ns) == (thread, time_ns)
    assert record.clock == (None if time_ns is None else "wall")


def test_the_call_and_the_state_may_share_a_line() -> None:
    (record,) = accesses(CALL[:-1] + UNPLUG)
    assert (told(record), record.thread, record.time_ns) == ((WRITE, 0x10, 2, 3, 1), 1899, AT)


def test_a_state_that_does_not_follow_a_call_is_nobodys() -> None:
    (record,) = accesses(CALL + BEFORE + b"1900  1795557148.579500 futex(0x7f, FUTEX_WAKE, 1) = 0\n" + UNPLUG)
    assert (record.thread, record.time_ns, record.clock) == (None, None, None)


def test_the_state_before_a_run_is_of_the_access_before() -> None:
    of_before = state(access(b"OUT", 2, 0x10, 1, b"0x3, 0"), b"VCPU:0< ")
    hlt = state(b"", b"VCPU:0> ", b"5 /* KVM_EXIT_HLT */")
    assert accesses(CALL.replace(b"_IO)", b"_HLT)") + of_before + hlt) == []


def test_a_vcpu_whose_memory_strace_does_not_know_has_no_number_and_no_data() -> None:
    (record,) = accesses(CALL + state(access(b"OUT", 1, 0x12, 1, None), b"VCPU> "))
    assert told(record) == (WRITE, 0x12, 1, None, 1)
    assert record.integer("cpu_index") is None


def test_two_vcpus_by_turns() -> None:
    calls = CALL + BEFORE + UNPLUG + (CALL + BEFORE + UNPLUG).replace(b"1899", b"1900").replace(b"VCPU:0", b"VCPU:1")
    assert [(record.thread, record.integer("cpu_index"), record.line) for record in accesses(calls)] == [
        (1899, 0, 3), (1900, 1, 6)]


@pytest.mark.parametrize(
    "line",
    [UNPLUG[:-12], UNPLUG.replace(b"size=2", b"size=3"), UNPLUG.replace(b"count=1", b"count=0"),
     UNPLUG.replace(b"KVM_EXIT_IO_OUT", b"KVM_EXIT_IO_???")],
)
def test_a_state_that_is_not_whole_is_damage(line: bytes) -> None:
    (found,) = scan(CALL + BEFORE + line)
    assert isinstance(found, Damage)
    assert (found.offset, found.length, found.line) == (len(CALL + BEFORE), len(line), 3)


@pytest.mark.parametrize("name", ["strace-6.1-file.txt", "strace-6.1-terminal.txt"])
def test_without_the_state_an_exit_tells_nothing(data: Path, name: str) -> None:
    recording = (data / "kvm" / name).read_bytes()
    assert recording.count(b" = 0 (KVM_EXIT_IO)") == 26
    assert list(scan(recording)) == []
    assert sniff(recording) == 40


@pytest.mark.parametrize(
    ("name", "thread", "time_ns"),
    [("strace-6.1-file.txt", 1927, 1795557148_631809_000), ("strace-6.1-terminal.txt", 1967, 1795557148_715387_000)],
)
def test_the_state_is_of_the_call_in_front_of_it_in_a_recording(
    data: Path, name: str, thread: int, time_ns: int
) -> None:
    recording = (data / "kvm" / name).read_bytes()
    first = recording.index(b"\n", recording.index(b" = 0 (KVM_EXIT_IO)")) + 1
    (record,) = accesses(recording[:first] + BEFORE + UNPLUG + recording[first:])
    assert (record.thread, record.time_ns, told(record)) == (thread, time_ns, (WRITE, 0x10, 2, 3, 1))


def test_the_example_is_read_and_sniffed() -> None:
    assert sniff(DISSECTOR.example) == 80
    (record,) = accesses(DISSECTOR.example + b"\n")
    assert told(record) == (WRITE, 0x10, 2, 3, 1)


@pytest.mark.parametrize(
    ("head", "sure"),
    [
        (b"", 0),
        (b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n", 0),
        (b"[20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1\n", 0),
        (b'1378  1795557075.605218 execve("/usr/bin/true", ["true"], 0x7ffdc3ce4600 /* 35 vars */) = 0\n', 10),
        (b"1795557148.714013 ioctl(3, KVM_CREATE_VM, 0) = 4\n", 40),
        (CALL, 40),
        (BEFORE, 80),
    ],
)
def test_how_sure_it_is(head: bytes, sure: int) -> None:
    assert sniff(head) == sure


# -- hostile

RECORDING = CALL + BEFORE + state(access(b"OUT", 1, 0x12, 6, b"0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa")) + CALL + UNPLUG


def sane(data: bytes) -> None:
    last = 0
    for found in scan(data):
        assert last <= found.offset
        assert found.length > 0
        assert found.offset + found.length <= len(data)
        last = found.offset
        if isinstance(found, Record):
            assert found.time_ns is None or 0 <= found.time_ns < 1 << 63


def test_a_recording_cut_at_any_byte_is_read_as_far_as_it_goes() -> None:
    whole = accesses(RECORDING)
    assert len(whole) == 7
    for end in range(len(RECORDING)):
        sane(RECORDING[:end])
        found = [one for one in scan(RECORDING[:end]) if isinstance(one, Record)]
        before = [told(record) for record in whole if record.offset + record.length <= end]
        assert [told(record) for record in found[: len(before)]] == before


@given(st.binary(max_size=300), st.integers(0, len(RECORDING) - 1), st.integers(0, 7))
def test_a_recording_with_other_bytes_in_it_makes_nothing_fail(noise: bytes, at: int, bit: int) -> None:
    sane(RECORDING[:at] + noise + RECORDING[at:])
    sane(RECORDING[:at] + bytes([RECORDING[at] ^ 1 << bit]) + RECORDING[at + 1 :])
    sane(RECORDING[at:] + RECORDING)
    sane(noise)
    sniff(noise)


@pytest.mark.parametrize(
    "unit", [b" ", b"<", b"[pid 1<", b"VCPU:0> {", b"{io={direction=0, ", b"0x1, ", b", port=0x10, ", b"1899  ",
             b"ioctl(5 KVM", b"write() "],
)
def test_a_long_line_takes_no_longer_than_its_length_allows(unit: bytes) -> None:
    line = unit * ((1 << 16) // len(unit))
    reader = Strace(Given("strace.txt", catalogue.load()))
    begin = time.process_time()
    for _ in range(10):
        list(reader.read(line, 0, 1, len(line)))
        list(reader.read(UNPLUG[:-6] + line, 0, 1, len(line)))
        sniff(line)
    assert time.process_time() - begin < 5
