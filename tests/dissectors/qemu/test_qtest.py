"""A qtest log is read into the accesses that the test made, with what QEMU answered."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.qemu.qtest import DISSECTOR, sniff
from dissectors.record import Damage, Record
from tests.dissectors.feeding import broken, feed, inside, records
from tests.xptrace.test_golden import read_text

PORTS = ((0x0D, 0x1F), (0xCF8, 0xCFF), (0xC000, 0xFFFF))
NEGOTIATION = b"""[I 0.000000] OPENED
[R +0.144178] inw 0x10
[S +0.144389] OK 0x49d2
[R +0.147240] inb 0x12
[S +0.147334] OK 0x0001
[R +0.147681] outw 0x12 0x3
[S +0.147745] OK
[R +0.152200] readl 0xf0000000
[S +0.152210] OK 0x0000000000000000
[I +0.152235] CLOSED
"""
"""Lines of 03-linux-negotiation and 45-mmio."""


def told(record: Record) -> tuple[str, int | None, int | None, str, int | None]:
    space = {"port_access": "io", "memory_access": "mem"}[record.event]
    assert record.values["count"] == 1
    return (space, record.integer("addr"), record.integer("size"), "wr"[record.integer("dir") or 0],
            record.integer("val"))


def golden(path: Path) -> list[tuple[str, int, int, str, int | None]]:
    """What the driver of the device did, in order, at the ports concerned and in memory."""
    steps: list[dict[str, Any]] = [json.loads(line) for line in read_text(path).splitlines()]
    return [
        (one["space"], one["addr"], one["size"], one["dir"], one.get("value"))
        for one in steps
        if one.get("space") == "mem"
        or (one.get("space") == "io" and any(low <= one["addr"] <= high for low, high in PORTS))
    ]


def test_a_read_is_one_record_at_its_request_with_the_answers_value_and_the_tests_clock() -> None:
    magic, version, product, bar = records(DISSECTOR, NEGOTIATION)
    assert (told(magic), magic.time_ns, magic.clock) == (("io", 0x10, 2, "r", 0x49D2), 144_178_000, "test")
    assert (magic.line, magic.offset, magic.length) == (2, 20, 23)
    assert magic.raw == b"[R +0.144178] inw 0x10"
    assert told(version) == ("io", 0x12, 1, "r", 1)
    assert (told(product), product.time_ns) == (("io", 0x12, 2, "w", 3), 147_681_000)
    assert told(bar) == ("mem", 0xF0000000, 4, "r", 0)
    assert (magic.thread, magic.guest, magic.domain, magic.recovered) == (None, None, None, False)


def test_a_recording_says_what_was_done_and_answered(data: Path) -> None:
    folder = data / "qtest"
    found = records(DISSECTOR, (folder / "05-windows-pv-negotiation.log").read_bytes())
    assert [told(one) for one in found] == golden(folder / "05-windows-pv-negotiation.golden.jsonl")
    assert len(found) == 66
    """132 lines between OPENED and CLOSED, two for each access."""


def test_every_recorded_log_says_what_was_done_and_answered(corpus: Path) -> None:
    """The log holds nothing else of golden.jsonl: neither configuration space by its device (`cfg`; its two port
    accesses are there), nor the device's state and effects, nor what was done over QMP (reset, migration), nor how
    QEMU ended. Of an access in which it died there is no answer; those recordings have no qtest log."""
    logs = sorted((corpus / "recorded" / "qemu-oracle").glob("*/*/qtest.log"))
    assert len(logs) == 177
    for log in logs:
        found = records(DISSECTOR, log.read_bytes())
        assert [told(one) for one in found] == golden(next(log.parent.glob("golden.jsonl*"))), log
    assert {log.parts[-3] for log in logs} == {"7.2.22", "10.0.13", "10.2.2"}


def test_public_logs_are_read_among_trace_lines_and_stdout(corpus: Path) -> None:
    public = corpus / "public"
    closed = records(DISSECTOR, (public / "qtest-log-closed-7.x.log").read_bytes())
    assert [told(one) for one in closed] == [
        ("io", 0xC00D, 4, "w", 0x200), ("io", 0xCF8, 4, "w", 0x80000890), ("io", 0xCFC, 1, "w", 4),
        ("io", 0xCFC, 2, "w", 0x100)]
    mixed = records(DISSECTOR, (public / "qtest-log-pci-cfg-5.1.log").read_bytes())
    assert [told(one) for one in mixed] == [
        ("io", 0xCF8, 4, "w", 0x80001018), ("io", 0xCFC, 4, "w", 0xE0800000), ("io", 0xCF8, 4, "w", 0x80001020),
        ("io", 0xCF8, 4, "w", 0x80001004), ("io", 0xCFC, 2, "w", 7),
        ("mem", 0xE0801024, 8, "w", 0x10646C00776C6CFF)]
    assert mixed[1].time_ns == 46_332_000
    ide = (public / "qtest-log-with-trace-5.0.log").read_bytes()
    assert sniff(ide) == 90
    assert records(DISSECTOR, ide) == []  # port 0x176 is a disk's


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"outb 0xc008 0x41", ("io", 0xC008, 1, "w", 0x41)),
        (b"outw 16 3", ("io", 0x10, 2, "w", 3)),
        (b"outb 0x12 0x168", ("io", 0x12, 1, "w", 0x68)),  # qtest.c hands on a uint8_t
        (b"outl 0xd 0x1", ("io", 0x0D, 4, "w", 1)),
        (b"writeq 0xf0000008 0x1", ("mem", 0xF0000008, 8, "w", 1)),
        (b"write 0x1000 0x2 0x1234", ("mem", 0x1000, 2, "w", 0x3412)),  # bytes in the order of memory
        (b"write 0x1000 0x4 0x12", ("mem", 0x1000, 4, "w", 0x12)),
    ],
)
def test_a_write_is_told_at_once(command: bytes, expected: tuple[object, ...]) -> None:
    (record,) = records(DISSECTOR, b"[R +1.000001] " + command + b"\n")
    assert (told(record), record.time_ns) == (expected, 1_000_001_000)


@pytest.mark.parametrize(
    ("command", "answer", "expected"),
    [
        (b"inb 0x10", b"OK 0x0007", 7),
        (b"readb 0xf0000000", b"OK 0x00000000000000ff", 0xFF),
        (b"read 0xf0000000 0x4", b"OK 0x01020304", 0x04030201),
        (b"inb 0x10", b"FAIL Unknown command 'inb'", None),
        (b"inb 0x10", b"ERR no", None),
        (b"inb 0x10", b"OK", None),
    ],
)
def test_a_read_waits_for_its_answer(command: bytes, answer: bytes, expected: int | None) -> None:
    log = b"[R +1.000001] " + command + b"\n[S +1.000002] IRQ raise 5\nOK 0x9\n[S +1.000003] " + answer
    (record,) = records(DISSECTOR, log)
    assert (record.integer("val"), record.line) == (expected, 1)


@pytest.mark.parametrize("rest", [b"", b"[I +2.000000] CLOSED\n", b"[R +2.000000] x\n", b"[R +2.000000] inb 0x7"])
def test_a_read_that_nobody_answers_is_a_record_without_a_value(rest: bytes) -> None:
    (record,) = records(DISSECTOR, b"[R +1.000001] inb 0x10\n" + rest)
    assert (record.values["val"], record.time_ns) == (None, 1_000_001_000)


@pytest.mark.parametrize(
    "line",
    [
        b"[R +1.000001] outb 0x20 0x11", b"[R +1.000001] outb 0x70 0x11", b"[R +1.000001] outl 0xd00 0x1",
        b"[R +1.000001] outb 0xbfff 0x1", b"[R +1.000001] outb 0x10010 0x1", b"[R +1.000001] outl 0xc 0x1",
        b"[R +1.000001] clock_step 100", b"[R +1.000001] write 0x1000 0x3 0x112233",
        b"[R +1.000001] write 0x1000 0x100 0x" + b"00" * 256, b"[R +1.000001] b64write 0x1000 0x2 AAA=",
        b"[R +1.000001] irq_intercept_in ioapic", b"[S +1.000001] OK 0x10", b"[R +1.000001]",
        b"1@2.000003:xen_platform_log xen platform: [R +1.000001] outw 0x10 0x1",
        b"xen platform: outw 0x10 0x1", b"layout 0x10 0x1", b"outw 0x10", b"outw 0x10 0x1 and more",
    ],
)
def test_what_is_no_access_to_the_device_is_nothing(line: bytes) -> None:
    assert feed(DISSECTOR, line + b"\n") == []


@pytest.mark.parametrize("command", [b"outw 0x10", b"outw 0x10 0x", b"inw", b"inw 0xgg", b"write 0x10 0x1", b"outw "])
def test_a_command_that_is_not_whole_is_damage(command: bytes) -> None:
    (found,) = feed(DISSECTOR, b"\n[R +1.000001] " + command + b"\n")
    assert isinstance(found, Damage)
    assert (found.offset, found.line, found.reason) == (1, 2, "a qtest command without its address or value")


def test_a_script_is_accesses_without_a_time() -> None:
    """As posted with reports: commands for `-qtest stdio`, of which nobody shows what was answered."""
    log = b"outl 0xcf8 0x80001018\n outl 0xcfc 0xe0800000\ninl 0xcfc\r\nclock_step\nreadw 0xe0800000\n"
    found = records(DISSECTOR, log)
    assert [told(one) for one in found] == [
        ("io", 0xCF8, 4, "w", 0x80001018), ("io", 0xCFC, 4, "w", 0xE0800000), ("io", 0xCFC, 4, "r", None),
        ("mem", 0xE0800000, 2, "r", None)]
    assert {(one.time_ns, one.clock) for one in found} == {(None, None)}
    (answered,) = records(DISSECTOR, b"inw 0x10\nOK 0x49d2\n")
    assert answered.values["val"] == 0x49D2


def test_the_log_of_a_script_does_not_write_again() -> None:
    script = b"outw 0x12 0x3\noutl 0x10 0xff\n"
    log = (b"[R +0.1] x\n[R +0.100000] outw 0x12 0x3\nOK\n[S +0.100001] OK\n[R +0.100002] outl 0x10 0xff\n"
           b"outl 0x10 0xff\n[S +0.100003] OK\n[R +0.100004] outw 0x10 0x3\n")
    found = records(DISSECTOR, script + log)
    assert [told(one)[1:] for one in found] == [(0x12, 2, "w", 3), (0x10, 4, "w", 0xFF), (0x10, 2, "w", 3)]
    assert [one.time_ns for one in found] == [None, None, 100_004_000]
    other = records(DISSECTOR, b"outw 0x12 0x2\n" + log)  # another run's
    assert [one.integer("val") for one in other] == [2, 3, 0xFF, 3]


def test_the_time_begins_anew_where_a_test_connects_again() -> None:
    found = records(DISSECTOR, NEGOTIATION + NEGOTIATION)
    assert [one.time_ns for one in found[:4]] == [one.time_ns for one in found[4:]]


def test_it_takes_part_where_such_a_log_or_a_script_is() -> None:
    assert sniff(NEGOTIATION) == 90
    assert sniff(b"[I 1594585516.671265] OPENED\n") == 90
    assert sniff(b"text\noutl 0xcf8 0x80001018\n") == 40
    assert sniff(b"cpu_out addr 0x10(w) value 3\nxen_platform_log xen platform: outl 0xcf8 0x1\n") == 0
    assert sniff(b"") == 0
    assert DISSECTOR.vantage == "host"
    assert [told(one) for one in records(DISSECTOR, DISSECTOR.example)] == [("io", 0x12, 2, "w", 3)]


def test_every_line_of_the_log_is_shown() -> None:
    """An answer has to be reached, wherever its request is."""
    for line in NEGOTIATION.splitlines()[1:-1]:
        assert any(needle.search(line) for needle in DISSECTOR.needles), line


def test_a_log_that_breaks_off_anywhere_says_no_more_than_the_whole() -> None:
    whole = [told(one) for one in records(DISSECTOR, NEGOTIATION)]
    for end in range(len(NEGOTIATION)):
        cut = NEGOTIATION[:end]
        found = feed(DISSECTOR, cut)
        assert inside(cut, found)
        complete = [told(one) for one in found if isinstance(one, Record)][:-1]
        assert complete == whole[: len(complete)]


@given(broken(NEGOTIATION + b"outw 0x10 0x1\nread 0x10 0x8\nOK 0x1122334455667788\n"))
def test_a_damaged_log_raises_nothing(log: bytes) -> None:
    assert inside(log, feed(DISSECTOR, log))


@given(st.lists(st.one_of(
    st.binary(max_size=80),
    st.tuples(st.sampled_from([b"[R +1.000001] ", b"[S +1.000001] ", b"[I 0.000000] ", b"", b"^C"]),
              st.sampled_from([b"inb ", b"outl ", b"read ", b"write ", b"OK ", b"ERR "]),
              st.text("0123456789abcdefx -", max_size=60).map(str.encode)).map(b"".join),
), max_size=12).map(b"\n".join))  # fmt: skip
def test_what_looks_like_a_log_raises_nothing(log: bytes) -> None:
    assert inside(log, feed(DISSECTOR, log))
    sniff(log)


@pytest.mark.parametrize(
    "line", [b"[R +1.000001] write 0x10 0x1 0x" + b"0" * 65_000, b" " * 65_000, b"[R +1.000001] in" + b" " * 65_000,
             b"[S +1.000001] ERR" + b" " * 65_000 + b"x", b"outl 0x" + b"1" * 65_000]
)
def test_a_long_line_takes_no_longer_than_its_length(line: bytes) -> None:
    before = process_time()
    feed(DISSECTOR, (b"[R +1.000001] inb 0x10\n" + line + b"\n") * 20)
    assert process_time() - before < 2
