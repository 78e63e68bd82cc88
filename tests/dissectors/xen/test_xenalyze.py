"""What xenalyze and xentrace_format print of xentrace's records is read for the accesses in it."""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.xenalyze import DISSECTOR, NEEDLES, Text, sniff

READ, WRITE = 1, 0


def candidates(lines: Iterable[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Number, offset and bytes of the lines that hold a needle, and of those beside them, as the scan shows them."""
    all_lines = list(lines)
    hit = [any(needle.search(line) for needle in NEEDLES) for line in all_lines]
    offset = 0
    for at, line in enumerate(all_lines):
        if any(hit[max(0, at - 1) : at + 2]):
            yield at + 1, offset, line
        offset += len(line) + 1


def read(text: bytes, tsc_hz: float | None = None) -> list[Record | Damage | Loss]:
    reader = Text(Given("trace.txt", catalogue.load(), tsc_hz=tsc_hz))
    return [
        found for number, offset, line in candidates(text.split(b"\n"))
        for found in reader.read(line, offset, number, len(line) + 1)
    ]


def told(found: object) -> tuple[Any, ...]:
    """Direction, port, value, domain and vCPU."""
    assert isinstance(found, Record)
    return found.values["dir"], found.values["addr"], found.values["val"], found.domain, found.values["cpu_index"]


def one(text: bytes, tsc_hz: float | None = None) -> Record:
    (record,) = read(text, tsc_hz)
    assert isinstance(record, Record)
    return record


# -- xenalyze


@pytest.mark.parametrize(
    ("line", "expected", "time_ns"),
    [  # of the recordings two-guests, all-events and linux-default, but for what is said
        (b" 217.407080536 x d1v0 io write port 12 val 3", (WRITE, 0x12, 3, 1, 0), 217_407080536),
        (b"!220.659289093 x d2v0 io_assist [ 10 49d2 ]", (READ, 0x10, 0x49D2, 2, 0), 220_659289093),
        (b" 307.447033902 x d0v0 io read port 10 val 49d2", (READ, 0x10, 0x49D2, None, None), 307_447033902),
        (b"!169.733386035 x d1v0 io_assist [ 12 ffffffff ]", (READ, 0x12, 0xFFFFFFFF, 1, 0), 169_733386035),
        (b" 169.912485117 x d1v0 io write port 12 val 12345678", (WRITE, 0x12, 0x12345678, 1, 0), 169_912485117),
        # by the collection's description of windows-like
        (b"!307.451191505 x d1v0 hvm_handler 534 [ 12 3 ]", (WRITE, 0x12, 3, 1, 0), 307_451191505),
        (b"!307.451191505 x d1v0 hvm_handler 534 [ 12 ]", (WRITE, 0x12, None, 1, 0), 307_451191505),
        # several processors, idle ones and such that lost records among them; made by hand
        (b"]  0.000000001 -  x|.l d14v3 io read port cfc val 5853", (READ, 0xCFC, 0x5853, 14, 3), 1),
        (b" 217.407080536 x- d?v? io write port 12 val 3", (WRITE, 0x12, 3, None, None), 217_407080536),
        (b" 217.407080536 x d32767v1 io write port 12 val 3", (WRITE, 0x12, 3, None, None), 217_407080536),
        (b" 217.407080536 x d1v0 io write port 12 val 3\r", (WRITE, 0x12, 3, 1, 0), 217_407080536),
    ],
)
def test_a_line_of_xenalyze_is_an_access(line: bytes, expected: tuple[Any, ...], time_ns: int) -> None:
    found = one(line)
    assert told(found) == expected
    assert (found.time_ns, found.clock, found.raw, found.line) == (time_ns, "xenalyze", line, 1)
    assert (found.offset, found.length, found.recovered) == (0, len(line) + 1, False)
    assert found.values["size"] is None
    assert found.values["count"] == (None if expected[2] is None else 1)
    assert sniff(line) > 50


@pytest.mark.parametrize("value", [b"a0022215", b"80081001", b"8200f", b"10082216", b"2001f003"])
def test_a_value_that_can_be_the_next_records_first_word_is_missing(value: bytes) -> None:
    found = one(b" 201.652957171 x d1v0 io write port 12 val " + value)
    assert (found.values["val"], found.values["count"]) == (None, None)


@pytest.mark.parametrize("value", [0x49D2, 0x90000, 0x80202, 0x02061200, 0x202, 0xFFFF, 0, 0xA])
def test_the_values_of_the_protocol_are_not_taken_for_one(value: int) -> None:
    assert one(b" 201.652957171 x d1v0 io write port 10 val %x" % value).values["val"] == value


def test_a_line_with_the_number_that_grep_gave_it_is_recovered() -> None:
    found = one(b"2423194: 217.407080536 x d1v0 io write port 12 val 3")
    assert told(found) == (WRITE, 0x12, 3, 1, 0)
    assert found.recovered
    found = one(b"682437:CPU0  0 (+       0)  IOPORT_READ [ port = 0x0010, data = 0x000049d2 ]")
    assert told(found) == (READ, 0x10, 0x49D2, None, None)
    assert found.recovered


def test_lost_records_are_a_loss() -> None:
    text = (b"  59.711015090 x d32768v0 lost_records count 365765 d0v0 (cur d32768v0) first_tsc 48715028341\n"
            b"               x lost_records end ---\n               x lost_records end d0v0---")
    (loss,) = read(text)
    assert isinstance(loss, Loss)
    assert (loss.reason, loss.line) == ("365765 records are missing here", 1)


@pytest.mark.parametrize(
    "line",
    [
        b"]122.912254359 x d0v0 mmio_assist w gpa fec00000 data 1", b"!122.740217367 x d0v0 vmentry",
        b" 122.757533254 x d0v0 io write port e9 val 48", b" 122.757533254 x d0v0 io write port 20 val 48",
        b"Unknown hvm event: 84011", b"io write port 12 val 3", b"x 1.000000000 x d1v0 io write port 12 val 3",
        b"", b"CPU0  0 (+       0)  IOPORT_READ [ port = 0x0071, data = 0x00000026 ]",
        b"CPU0  0 (+       0)  INTR_WINDOW [ value = 0x00000000 ]",
    ],
)  # fmt: skip
def test_other_lines_say_nothing(line: bytes) -> None:
    assert list(Text(Given("trace.txt", catalogue.load())).read(line, 0, 1, len(line) + 1)) == []


@pytest.mark.parametrize(
    "line",
    [
        b" 217.407080536 x d1v0 io write port 12 val", b"!220.659289093 x d2v0 io_assist [ 10 49",
        b"!220.659289093 x d2v0 io_assist [ ]", b" 217.407080536 x d1v0 io write port 10010 val 3",
        b"CPU0  0 (+       0)  IOPORT_WRITE [ port = 0x0012, data = 0x00",
        b"CPU0  0 (+       0)  IOPORT_WRITE [ port = 0x10012, data = 0x00000003 ]",
    ],
)  # fmt: skip
def test_an_access_that_is_not_whole_is_damage(line: bytes) -> None:
    (damage,) = read(line)
    assert isinstance(damage, Damage)
    assert (damage.offset, damage.length) == (0, len(line) + 1)


# -- xentrace_format

EXIT = b"CPU0  351349288437 (+  310367)  VMEXIT      [ exitcode = 0x0000007b, rIP  = 0xffffffff8101fa4e ]\n"
WRITTEN = b"CPU0  0 (+       0)  IOPORT_WRITE [ port = 0x0012, data = 0x00000003 ]"
RUNS = b"CPU%d  351333126263 (+    2425)  unknown (0x0000000000021101)  [ 0x00010000 0x00000000 0x00000000 ]\n"
STOPS = b"CPU0  351333126264 (+    2425)  unknown (0x0000000000021031)  [ 0x00010000 0x00000000 0x00000000 ]\n"


def test_an_access_has_the_time_of_the_line_before_on_its_processor() -> None:
    assert one(EXIT + WRITTEN, tsc_hz=1e9).time_ns == 351349288437
    assert one(EXIT + WRITTEN).time_ns == 351349288437 * 10 // 24
    assert one(EXIT.replace(b"CPU0", b"CPU1") + WRITTEN).time_ns is None
    between = b"CPU0  0 (+       0)  INTR_WINDOW [ value = 0x00000000 ]\n"
    assert one(EXIT + between * 3 + WRITTEN, tsc_hz=1e9).time_ns == 351349288437


@pytest.mark.parametrize(
    ("before", "whose"),
    [
        (RUNS % 0, (1, 0)), (RUNS % 1, (None, None)), (RUNS % 0 + STOPS, (None, None)), (STOPS + RUNS % 0, (1, 0)),
        (b"CPU0  1 (+ 1)  runnable_to_running [ dom:vcpu = 0x00050002 ]\n", (5, 2)),
        (b"CPU0  1 (+ 1)  continue_running [ dom:vcpu = 0x00050002 ]\n", (5, 2)),
        (RUNS % 0 + b"CPU0  1 (+ 1)  blocked_to_runnable [ dom:vcpu = 0x00050002 ]\n", (1, 0)),
        (RUNS % 0 + b"CPU0  1 (+ 1)  running_to_blocked [ dom:vcpu = 0x00010000 ]\n", (None, None)),
        (b"CPU0  1 (+ 1)  blocked_to_running [ dom:vcpu = 0x7fff0002 ]\n", (None, None)),
        (RUNS % 0 + b"CPU0  1 (+ 1)  unknown (0x0000000000021002)  [ 0x00050002 0x00000000 ]\n", (5, 2)),
    ],
)
def test_whose_it_is_follows_from_what_the_scheduler_set_running(
    before: bytes, whose: tuple[int | None, int | None]
) -> None:
    assert told(one(before + EXIT * 3 + WRITTEN)) == (WRITE, 0x12, 3, *whose)


def test_after_lost_records_nobody_is_known_to_run() -> None:
    found = read(RUNS % 0 + b"CPU0  1 (+ 1)  lost_records 0x00000042\n" + WRITTEN)
    assert isinstance(found[0], Loss)
    assert found[0].reason == "66 records are missing here"
    assert told(found[1]) == (WRITE, 0x12, 3, None, None)


def test_zero_is_missing_since_it_is_printed_where_there_is_no_value() -> None:
    found = one(WRITTEN.replace(b"03 ]", b"00 ]"))
    assert (found.values["val"], found.values["count"]) == (None, None)


def test_the_format_file_of_old_prints_the_port_alone() -> None:
    assert told(one(b"CPU0  0 (+       0)  IOPORT_READ [ data = 0x0010 ]")) == (READ, 0x10, None, None, None)


# -- recordings


def opened(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if path.suffix == ".gz" else raw


RAW = re.compile(r"(?P<dir>READ|WRITE) +port=0x(?P<port>\w+) data=(?:0x)?(?P<data>\S+) cpu=0 last_tsc=(?P<tsc>\d+)")


def expected_of(folder: Path) -> list[tuple[int, int, int | None, int]]:
    """The accesses that another program found in the binary: direction, port, value, time stamp."""
    (path,) = folder.glob("xentrace.ports10-1f.raw.txt*")
    return [
        (int(row["dir"] == "READ"), int(row["port"], 16), None if row["data"] == "-" else int(row["data"], 16),
         int(row["tsc"]))
        for row in RAW.finditer(opened(path).decode())
    ]  # fmt: skip


FOLDERS = ["all-events", "pvdevice-both", "migrate-local", "windows-like", "unplug-never-probe", "two-guests"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_xenalyzes_lines_of_a_recording_tell_the_accesses_of_the_binary(corpus: Path, folder: str) -> None:
    path = corpus / "recorded" / "real-xen" / folder
    (text,) = path.glob("xentrace.xenalyze.ports10-1f.txt*")
    found = read(opened(text))
    expected = expected_of(path)
    if folder == "windows-like":  # the recording's statistics: 20 of 0x82216 have one word
        assert sum(value is None for direction, _, value, _ in expected if direction == WRITE) == 20
    assert [told(record)[:3] for record in found] == [row[:3] for row in expected]
    assert {record.domain for record in found if isinstance(record, Record)} <= {1, 2}


@pytest.mark.parametrize("folder", ["all-events", "migrate-local", "windows-like"])
def test_xentrace_formats_lines_of_a_recording_tell_the_accesses_of_the_binary(corpus: Path, folder: str) -> None:
    path = corpus / "recorded" / "real-xen" / folder
    (text,) = path.glob("xentrace.format.ports10-1f.txt*")
    expected = [(direction, port, value or None) for direction, port, value, _ in expected_of(path)]
    assert [told(record)[:3] for record in read(opened(text))] == expected


@pytest.mark.parametrize(("folder", "domain"), [("all-events", 1), ("linux-default", None), ("migrate-local", 1)])
def test_an_excerpt_of_either_tool_tells_the_handshake(corpus: Path, folder: str, domain: int | None) -> None:
    path = corpus / "recorded" / "real-xen" / folder
    expected = expected_of(path)[:6]
    for name in ("xenalyze", "format"):
        text = opened(path / f"xentrace.{name}.excerpt.txt")
        assert sniff(text) > 50
        found = [one for one in read(text, tsc_hz=1e9) if isinstance(one, Record)][:6]
        assert [told(one)[:3] for one in found] == [row[:3] for row in expected[: len(found)]]
        assert len(found) >= 1
        assert {one.domain for one in found} == {domain}
        if name == "format":  # which shows other records than exits only beside lines of interest
            late = [row[3] - (one.time_ns or 0) for one, row in zip(found, expected, strict=False)]
            assert all(0 <= ticks < 100_000 for ticks in late)
            assert domain is None or not any(late)


@pytest.mark.slow
def test_the_whole_text_of_a_recording(corpus: Path) -> None:
    path = corpus / "recorded" / "real-xen" / "linux-default"
    with lzma.open(path / "xentrace.xenalyze.txt.xz") as file:
        found = read(file.read())
    ours = [one for one in found if isinstance(one, Record) and one.integer("addr") in range(0x10, 0x20)]
    assert [told(one)[:3] for one in ours] == [row[:3] for row in expected_of(path)]
    assert [one.line for one in ours] == [1856780, 1856801, 1856813, 1856843, 1856873, 1856885]
    assert sum(isinstance(one, Loss) for one in found) == 1
    assert not any(isinstance(one, Damage) for one in found)


# -- which format it is, and hostile lines


def test_the_example_is_sniffed_and_read() -> None:
    assert sniff(DISSECTOR.example) > 50
    assert told(one(DISSECTOR.example)) == (READ, 0x10, 0x49D2, 1, 0)
    assert sniff(b"x\n" + EXIT) > 50


@pytest.mark.parametrize(
    "head", [b"", b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n", b"[   12.345678] CPU0  1", b"\0" * 100]
)
def test_others_are_not_taken_for_one(head: bytes) -> None:
    assert sniff(head) == 0


LINES = st.binary(max_size=120) | st.builds(
    lambda head, body: head + body,
    st.sampled_from([b" 217.407080536 x d1v0 ", b"CPU0  12 (+       0)  ", b"!1.000000000  x d?v? "]),
    st.sampled_from([b"io write port ", b"io_assist [ ", b"hvm_handler 534 [ ", b"IOPORT_READ [ port = 0x",
                     b"lost_records", b"lost_records count 99999999999999999999 ",
                     b"unknown (0x0000000000021101) [ 0x"]).flatmap(
        lambda start: st.from_regex(rb"\A[0-9a-fx \],=dtval]{0,40}\Z").map(lambda rest: start + rest)),
) | st.builds(
    lambda at, bit, line: line[:at] + bytes((line[at] ^ 1 << bit,)) + line[at + 1 :],
    st.integers(0, 30), st.integers(0, 7), st.sampled_from([WRITTEN, DISSECTOR.example, RUNS % 0]),
)  # fmt: skip


@given(st.lists(LINES, max_size=6), st.integers(0, 200))
def test_no_line_makes_it_fail(lines: list[bytes], cut: int) -> None:
    reader = Text(Given("trace.txt", catalogue.load()))
    for number, line in enumerate([*lines, b"".join(lines)[:cut]], 1):
        for found in reader.read(line, 10 * number, number, len(line) + 1):
            assert (found.offset, found.line, found.length) == (10 * number, number, len(line) + 1)
            if isinstance(found, Record):
                assert found.time_ns is None or 0 <= found.time_ns < 1 << 63
                assert (found.time_ns is None) == (found.clock is None)
