"""Bad input gives one clear line or a record of the damage; a guest's bytes never act on anything."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import xptrace as library
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access

GOOD = (
    "memory_region_ops_read cpu -1 mr 0x55ab652d8a50 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'\n"
    "cpu_in addr 0x10(w) value 18898\n"
)


@pytest.fixture
def log(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "trace.log"
        path.write_bytes(content)
        return path

    return write


def test_missing_file(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    done = xptrace("decode", tmp_path / "nowhere.log")
    assert done.code == 2
    assert done.err == f"xptrace: {tmp_path}/nowhere.log: no such file\n"


def test_an_empty_directory_holds_nothing(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    done = xptrace("decode", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "= 0 lines, 0 B" in done.err


def test_a_directory_is_all_that_lies_in_it(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "xen").mkdir()
    (tmp_path / "xen/qemu-dm-win10.log").write_text("cpu_in addr 0x10(w) value 18898\n")
    (tmp_path / "notes.txt").write_text("nothing\n")
    done = xptrace("decode", "-T", "jsonl", tmp_path)
    assert [(row["vm"], row["register"], row["source"]) for row in done.rows] == [
        ("win10", "magic", str(tmp_path / "xen/qemu-dm-win10.log"))]
    assert "1 of 2 files hold nothing" in done.err


def test_empty_file(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", log(b""))
    assert (done.code, done.out) == (1, "")
    assert "empty" in done.err


def test_binary(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", log(bytes(range(256)) * 400))
    assert done.code == 1
    assert "binary data" in done.err


def test_no_such_traffic(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", log(b"hello\nworld\n"))
    assert done.code == 1
    assert "nothing of the Xen platform device in 2 lines" in done.err


def test_cut_in_mid_record(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", "--ledger", "-T", "jsonl", log((GOOD + "cpu_out addr 0x12(w) val").encode()))
    assert [row["value"] for row in done.rows] == [0x49D2]
    assert ":3 @127: cpu_out does not have the form of its event" in done.err
    assert "2 decoded + 0 other + 1 damaged + 0 lost = 3 lines" in done.err


def test_truncated_gzip_gives_what_it_holds(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    packed = gzip.compress((GOOD * 4000).encode())
    done = xptrace("decode", "-T", "jsonl", log(packed[: len(packed) // 2]))
    assert done.code == 0
    assert len(done.rows) > 100
    assert "broken off" in done.err


ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\r=cmd()"


@pytest.mark.parametrize("form", [["-T", "text"], ["-V"], ["-x"], ["-T", "csv"], ["-T", "fields", "-e", "text"],
                                  ["-T", "jsonl"]])
def test_nothing_of_a_guest_acts_on_a_terminal(
    xptrace: Callable[..., Any], log: Callable[[bytes], Path], form: list[str]
) -> None:
    done = xptrace("decode", *form, log(GOOD.encode() + b"xen_platform_log xen platform: " + ESCAPES.encode() + b"\n"))
    assert done.code == 0
    for character in "\x1b\x07\x9b\u202e\r":
        assert character not in done.out
    assert "evil" in done.out


def test_a_formula_is_a_text_in_a_spreadsheet(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", "-T", "csv", log(b"xen_platform_log xen platform: =HYPERLINK(1)\n"))
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["text"] == "'=HYPERLINK(1)"


def test_a_guest_cannot_forge_a_record_in_its_text(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    text = "cpu_out addr 0x10(w) value 3 1234@1700000000.000001:cpu_out addr 0x10(w) value 3"
    done = xptrace("decode", "-T", "jsonl", log(f"xen_platform_log xen platform: {text}\n".encode()))
    assert done.accesses == []
    assert [row["text"] for row in done.messages] == [text]


def test_a_record_in_mid_line_is_found_and_marked(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    line = b"[    0.000000] Linux ver213@1795406729.213959:cpu_out addr 0x10(w) value 3\n"
    (row,) = xptrace("decode", "-T", "jsonl", log(line)).rows
    assert (row["value"], row["certainty"], row["time_ns"]) == (3, "inferred", 1795406729213959000)


def test_a_line_without_end_is_bounded(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", "-T", "jsonl", log(b"A" * (20 << 20) + b"\n" + GOOD.encode()))
    assert [row["value"] for row in done.rows] == [0x49D2]
    assert done.rows[0]["line"] == 2


def test_absurd_numbers_are_damage(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    done = xptrace("decode", "-T", "jsonl", log(b"cpu_out addr 0x10(w) value " + b"9" * 5000 + b"\n"))
    assert (done.rows, done.code) == ([], 1)
    assert "1 damaged" in done.err


@pytest.mark.parametrize(
    "line",
    [
        "memory_region_ops_write cpu -1 mr 0x1 addr 0x10 value 0x1 size 4000000000 name 'xen-fixed'",
        "memory_region_ops_write cpu 99999999999999999999 mr 0x1 addr 0x10 value 0x1 size 2 name 'xen-fixed'",
        "handle_ioreq I/O=0x1 type=0 dir=0 df=0 ptr=1 port=0x12 data=0x1 count=99999999999999999999 size=1",
        "handle_ioreq I/O=0x1 type=0 dir=0 df=0 ptr=0 port=0x12 data=0x1 count=1 size=3",
    ],
)
def test_an_access_that_no_processor_makes_is_damage(
    xptrace: Callable[..., Any], log: Callable[[bytes], Path], line: str
) -> None:
    path = log(f"{line}\n{GOOD}".encode())
    done = xptrace("decode", "-T", "jsonl", path)
    assert [row["value"] for row in done.rows] == [0x49D2]
    assert "1 damaged" in done.err
    assert len(library.open(path).accesses) == 1


def test_a_time_beyond_64_bits_is_no_time(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    path = log(
        b"1@99999999999.000000:cpu_in addr 0x10(w) value 18898\n"
        b"1@9999999999999999999 cpu_in addr 0x12(b) value 1\n"
    )
    assert [row["time_ns"] for row in xptrace("decode", "-T", "jsonl", path).rows] == [None, None]
    assert library.open(path).accesses["time_ns"].isna().all()


def test_a_word_before_a_record_names_no_vm(xptrace: Callable[..., Any], log: Callable[[bytes], Path]) -> None:
    (row,) = xptrace("decode", "-T", "jsonl", log(b"owned cpu_in addr 0x10(w) value 18898\n")).rows
    assert (row["vm"], row["certainty"]) == ("trace", "inferred")


def test_many_threads_do_not_pile_up(log: Callable[[bytes], Path]) -> None:
    lines = (f"{n}@1795401500.{n:06d}:cpu_in addr 0x10(w) value 18898\n" for n in range(1, 20_001))
    decoder = Decoder([str(log("".join(lines).encode()))])
    assert [row.records[0].thread for row in decoder.rows()] == list(range(1, 20_001))


def test_events_without_end_do_not_wait_for_an_access_that_is_open(log: Callable[[bytes], Path]) -> None:
    """Of one thread, and more than a ledger remembers; a guest may write as many nodes as it likes."""
    path = log(b"cpu_out addr 0x10(w) value 3\n" + b"".join(
        b"xs_node_vprintf /local/domain/1/device/vbd/%d/state 1\n" % number for number in range(70_000)
    ))
    decoder = Decoder([str(path)])
    entries = decoder.entries()
    assert [next(entries).kind for _ in range(3)] == ["access", "event", "event"]
    assert decoder.ledgers[0].decoded.lines < 100  # nothing waits for the end
    assert sum(1 for _ in entries) == 69_998
    (ledger,) = decoder.ledgers
    assert (ledger.decoded.lines, ledger.other.lines, ledger.total.lines) == (70_001, 0, 70_001)


def test_bars_of_other_devices_are_no_traffic_of_ours(
    xptrace: Callable[..., Any], log: Callable[[bytes], Path]
) -> None:
    line = b"pci_update_mappings_add piix3-usb-uhci 00:01.2 4,0xc100+0x20\n"
    done = xptrace("summary", log(2 * line))
    assert (done.code, "nothing of the Xen platform device in 2 lines" in done.err) == (1, True)
    done = xptrace("summary", log(line + GOOD.encode()))
    assert done.code == 0
    assert "3 decoded + 0 other" in done.err


def test_help_is_light() -> None:
    program = (
        "import sys, contextlib, io\n"
        "from xptrace.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        "print(sorted({'numpy', 'pandas', 'scapy', 'construct', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_output_appears_whole_or_not_at_all(
    xptrace: Callable[..., Any], log: Callable[[bytes], Path], tmp_path: Path
) -> None:
    done = xptrace("decode", "-T", "jsonl", "-o", tmp_path / "rows.jsonl", log(GOOD.encode()))
    assert (done.code, done.out) == (0, "")
    assert json.loads((tmp_path / "rows.jsonl").read_text())["register"] == "magic"
    done = xptrace("decode", "-T", "fields", "-e", "vmm", "-o", tmp_path / "other", log(GOOD.encode()))
    assert done.code == 2
    assert "did you mean vm?" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "trace.log"]


def account(content: bytes, path: Path) -> tuple[list[Access], dict[str, int]]:
    path.write_bytes(content)
    decoder = Decoder([str(path)])
    rows = [row for row in decoder.rows() if isinstance(row, Access)]
    kinds = {kind: size for kind, size, _ in decoder.ledgers[0].rows()}
    return rows, kinds


LINES = st.sampled_from(
    [
        *GOOD.encode().splitlines(keepends=True),
        b"cpu_out addr 0x12(b) value 65\n",
        b"213@1795406729.212941:handle_ioreq I/O=0x7f type=0 dir=1 df=0 ptr=0 port=0x10 data=0x0 count=1 size=2\n",
        b"xen_platform_log xen platform: \xff\x00\n",
        b"\n",
        b"noise\n",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=30), cuts=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6))))
@example(lines=[], cuts=[])
def test_everything_read_is_accounted_for(
    tmp_path: Path, lines: list[bytes], cuts: list[tuple[int, bytes]]
) -> None:
    content = b"".join(lines)
    for at, noise in cuts:
        content = content[:at] + noise + content[at:]
    content = b"-\n" + content  # so that no noise at the start can be the magic of a compressed file
    rows, kinds = account(content, tmp_path / "trace.log")
    assert kinds["read"] == len(content)
    assert min(kinds.values()) >= 0
    assert kinds["decoded"] + kinds["other"] + kinds["damaged"] + kinds["lost"] == len(content)
    for row in rows:
        for record in row.records:
            assert content[record.offset : record.offset + record.length].removesuffix(b"\n") == record.raw


def test_a_number_of_the_guests_that_fills_64_bits_is_a_number(log: Callable[[bytes], Path]) -> None:
    import xptrace as package

    crash = b"(XEN) [ 4711.000001] d11v0 VIRIDIAN CRASH: ffffffffffffffff c0000096 75b12c5 9e7f1580 0\n"
    (event,) = package.open(log(crash)).events.itertuples()
    assert (event.value, event.said) == (2**64 - 1, "reports a crash: ffffffffffffffff c0000096 75b12c5 9e7f1580 0")


def test_an_output_that_is_a_pipe_stays_a_pipe(tmp_path: Path, xptrace: Callable[..., Any], data: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        done = xptrace("decode", "-T", "jsonl", "-o", pipe, data / "real-xen/all-events-handshake.txt")
        assert done.code == 0, done.err
        assert read.result(30).count(b"\n") == 8
    assert pipe.is_fifo()
