"""Many records at once give what they give one by one: rows, account, notes; with and without needles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.parquet import read_table

from dissectors.kernel import Kernel
from dissectors.record import Record
from xptrace.access import bulk as access_bulk
from xptrace.access import entries, reads
from xptrace.access.attribution import Reading
from xptrace.access.decode import Decoder
from xptrace.access.reads import Reads
from xptrace.access.rows import KEYS, Row
from xptrace.access.stretch import Block
from xptrace.exports import bulk, lines
from xptrace.exports.parquet import write_rows
from xptrace.intake import needles, scan, source
from xptrace.intake.source import Window

DATA = Path(__file__).parents[1] / "data"
TEXTS = sorted(path for path in DATA.rglob("*") if path.suffix in (".txt", ".log") and path.is_file())


@pytest.fixture(params=["compiled", "twin"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Whatever reads many lines at once; the compiled one may be missing on a user's machine."""
    if request.param == "compiled":
        request.getfixturevalue("built_kernel")
    found: Kernel = import_module("dissectors.kernel." + ("twin" if request.param == "twin" else "_kernel"))
    return found


@contextmanager
def everything_large(kernel: Kernel, *, window: int = source.WINDOW, approach: int = 4) -> Iterator[None]:
    """Read even small recordings as large ones are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads, "LARGE", 0)
        patch.setattr(reads, "_WORTH_WHILE", 8)
        patch.setattr(reads, "_FEW", 64)
        patch.setattr(entries, "_APPROACH", approach)
        patch.setattr(entries, "chosen_kernel", lambda: kernel)
        patch.setattr(bulk, "chosen_kernel", lambda: kernel)
        patch.setattr(source, "WINDOW", window)
        yield


def told(decoder: Decoder, rows: Iterator[Any]) -> tuple[list[dict[str, Any]], list[Any], int]:
    """The rows, the accounts, and how many rows came in blocks."""
    found: list[dict[str, Any]] = []
    many = 0
    for row in rows:
        if isinstance(row, Block):
            found += row.rows()
            many += len(row.which)
        else:
            found.append(row.row())
    account = [(list(one.rows()), one.told, one.notes) for one in decoder.ledgers]
    return found, account, many


def placed(row: Row) -> tuple[Any, ...]:
    """Where a row stands, and what is known of the record that says so."""
    one = row.cited
    return one.source, one.offset, one.length, one.line, one.event, one.time_ns, one.clock, one.thread


SPECIMENS = 3


def briefly(path: Path, kernel: Kernel, rows: list[Row], **how: int) -> None:
    """Hold rows with few records against those that have them all."""
    with everything_large(kernel, **how):
        brief = list(Decoder([str(path)]).rows(brief=True, specimens=SPECIMENS))
    assert [row.row() for row in brief] == [row.row() for row in rows]
    assert [placed(row) for row in brief] == [placed(row) for row in rows]
    shown: dict[str, dict[int, Record]] = {}
    for full, few in zip(rows, brief, strict=True):
        assert all(one in full.records for one in few.records if one.raw)
        for one in few.records:
            if one.raw:
                shown.setdefault(one.event, {})[one.offset] = one
    there: dict[str, dict[int, Record]] = {}
    for row in rows:
        for one in row.records:
            there.setdefault(one.event, {})[one.offset] = one
    for event, records in there.items():
        for offset in sorted(records)[:SPECIMENS]:
            assert shown[event][offset] == records[offset]


def both(path: Path, kernel: Kernel, **how: int) -> int:
    """Hold all ways of reading a recording together; returns how many rows came in blocks."""
    one_by_one = Decoder([str(path)])
    full = list(one_by_one.rows())
    rows, account, none = told(one_by_one, iter(full))
    with everything_large(kernel, **how):
        at_once = Decoder([str(path)])
        same_rows, same_account, many = told(at_once, at_once.blocks())
    assert same_rows == rows
    assert same_account == account
    assert none == 0
    briefly(path, kernel, full, **how)
    return many


class TestRecordings:
    @pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(DATA)))
    def test_a_recording_gives_the_same_in_blocks(self, path: Path, kernel: Kernel) -> None:
        both(path, kernel)

    def test_a_guests_talk_comes_in_blocks(self, kernel: Kernel, tmp_path: Path) -> None:
        path = tmp_path / "talk.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say("all is well") for _ in range(40)))
        assert both(path, kernel) > 400

    def test_windows_may_end_anywhere(self, kernel: Kernel, tmp_path: Path) -> None:
        path = tmp_path / "talk.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say("well") for _ in range(30)))
        for window in range(3000, 3100, 7):
            assert both(path, kernel, window=window) > 50

    @pytest.mark.parametrize("begin", [(1 << 32) - 4000, 5 << 30])
    def test_a_row_stands_where_it_is_beyond_4_gib_too(self, begin: int, kernel: Kernel, tmp_path: Path) -> None:
        path, far = tmp_path / "talk.log", tmp_path / "far.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say("well") for _ in range(60)))
        with far.open("wb") as file:
            file.seek(begin)  # a hole
            file.write(path.read_bytes())

        def pass_over(reading: Reading) -> None:
            reading.source.begin = begin

        with everything_large(kernel):
            decoders = [Decoder([str(one)]) for one in (path, far)]
            decoders[1].on_source = pass_over
            (rows, _, many), (there, _, as_many) = (told(one, one.blocks()) for one in decoders)
        assert [row["offset"] for row in there] == [row["offset"] + begin for row in rows]
        assert many == as_many > 300

    def test_what_was_read_when_it_is_stopped_is_accounted_for(self, kernel: Kernel, tmp_path: Path) -> None:
        path = tmp_path / "talk.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say("well") for _ in range(30)))
        stops = 0
        for window in range(3000, 3100, 7):
            with everything_large(kernel, window=window):
                decoder = Decoder([str(path)])
                for row in decoder.blocks():
                    decoder.stopped = decoder.stopped or isinstance(row, Block)
            *parts, (_, size, lines) = decoder.ledgers[0].rows()
            assert sum(part[1] for part in parts) == size <= path.stat().st_size
            assert sum(part[2] for part in parts) == lines
            assert all(part[1] >= 0 and part[2] >= 0 for part in parts)
            assert path.read_bytes()[:size].count(b"\n") == lines
            stops += size < path.stat().st_size
        assert stops

    def test_a_line_longer_than_the_devices_buffer_is_emitted_in_parts(self, kernel: Kernel, tmp_path: Path) -> None:
        path = tmp_path / "long.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say("x" * 5000, emitted=False) for _ in range(2)))
        assert both(path, kernel) > 9000


    def test_what_is_kept_in_mind_does_not_grow_with_the_file(
        self, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a guest that never says the same twice, and of one whose lines end early."""
        path = tmp_path / "talk.log"
        path.write_bytes(b"".join(HANDSHAKE) + b"".join(say(f"step {step}") + say("\0", emitted=False)
                                                        for step in range(150)))
        monkeypatch.setattr(access_bulk, "_MOST_TEMPLATES", 40)
        assert both(path, kernel, window=3000) > 1000
        with everything_large(kernel, window=3000):
            blocks = [row for row in Decoder([str(path)]).blocks() if isinstance(row, Block)]
        kept = {id(block.templates): len(block.templates) for block in blocks}
        assert len(kept) > 3
        assert max(kept.values()) < 100


# -- what a thread of the device model may write


def access(direction: str, port: int, size: int, value: int, events: Sequence[int], *, stale: int = 0) -> list[str]:
    """The lines of one access, of which only some events are switched on."""
    request = f"df=0 ptr=0 port={port:#x} data={{:#x}} count=1 size={size}"
    letter = {1: "b", 2: "w", 4: "l"}[size]
    call = f"cpu -1 mr 0x564a5d8637e0 addr {port:#x} value {value:#x} size {size} name 'xen-fixed'"
    if direction == "write":
        every = [
            "handle_ioreq I/O=0x7ffe type=0 dir=0 " + request.format(value),
            "handle_ioreq_write I/O=0x7ffe write type=0 " + request.format(value),
            "cpu_ioreq_pio I/O=0x7ffe pio dir=0 " + request.format(value),
            f"cpu_ioreq_pio_write_reg I/O=0x7ffe pio write reg data={value:#x} port={port:#x} size={size}",
            f"cpu_out addr {port:#x}({letter}) value {value}", f"memory_region_ops_write {call}",
        ]
    else:
        every = [
            "handle_ioreq I/O=0x7ffe type=0 dir=1 " + request.format(stale),
            "cpu_ioreq_pio I/O=0x7ffe pio dir=1 " + request.format(stale),
            f"memory_region_ops_read {call}", f"cpu_in addr {port:#x}({letter}) value {value}",
            f"cpu_ioreq_pio_read_reg I/O=0x7ffe pio read reg data={value:#x} port={port:#x} size={size}",
            "handle_ioreq_read I/O=0x7ffe read type=0 " + request.format(value),
        ]
    return [every[event] for event in events]


def stamped(text: Sequence[str], thread: int = 213, second: int = 1795406729) -> bytes:
    return "".join(f"{thread}@{second}.{at:06d}:{line}\n" for at, line in enumerate(text)).encode()


ALL = range(6)
HANDSHAKE = [stamped(access("read", 0x10, 2, 0x49D2, ALL, stale=0xD8)), stamped(access("read", 0x12, 1, 1, ALL)),
             stamped(access("write", 0x12, 2, 3, ALL)), stamped(access("write", 0x10, 2, 3, ALL))]


def say(text: str, *, emitted: bool = True) -> bytes:
    """A guest writes a line to the log, byte by byte."""
    line = [part for byte in f"{text}\n".encode() for part in access("write", 0x12, 1, byte, ALL)]
    return stamped([*line, f"xen_platform_log xen platform: {text}"] if emitted else line)


EVENTS = st.one_of(st.just(tuple(ALL)), st.sets(st.sampled_from(ALL), min_size=1).map(lambda some: tuple(sorted(some))))
ACCESSES = st.builds(
    access, st.sampled_from(["read", "write"]), st.sampled_from([0x10, 0x11, 0x12, 0x13, 0xF, 0x1F7]),
    st.sampled_from([1, 2, 4]), st.integers(0, 255), EVENTS, stale=st.integers(0, 255),
)
TALK = st.text("ab\x00\x7fä", max_size=6)
NOISE = st.sampled_from([
    b"\n", b"cpu_out addr 0x10(w) value\n", b"213@1795406729.000001:cpu_in addr 0x12(b) value 1\r\n",
    b"213@1795406729.000001:runstate_set current_run_state 9 (running) new_state 5 (paused)\n",
    b"214@1795406729.000001:cpu_out addr 0x10(w) value 3\n", b"cpu_in addr 0x10(w) value 18898\n",
    b"213@1795406729.000001:cpu_out addr 0x12(b) value 99999999999999999999\n",
    b"213@1795406729.000001:xen_platform_log xen platform: alone\n", b"disk: nothing to do with it\n",
    b"213@1795406729.000001:system_reset reset\n", b"213@1795406729.000001:cpu_out addr 0x10(w) value 3 and more\n",
    b"213@1795406729.000001:handle_ioreq I/O=0x7ffe type=2 dir=1 df=0 ptr=0 port=0x10 data=0x0 count=1 size=4\n",
    b"213@1795406729.000001:handle_ioreq I/O=0x7ffe type=0 dir=0 df=0 ptr=1 port=0x12 data=0x9 count=4 size=1\n",
])
PIECES = st.one_of(
    ACCESSES.map(stamped), ACCESSES.map(stamped), ACCESSES.map(stamped),
    st.builds(say, TALK, emitted=st.booleans()), NOISE, st.sampled_from(HANDSHAKE),
)


class TestAnything:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(PIECES, max_size=60), st.sampled_from([1500, 4000, 1 << 20]), st.booleans())
    def test_whatever_is_written_is_the_same_in_blocks(
        self, kernel: Kernel, pieces: list[bytes], window: int, handshake: bool
    ) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "any.log")
            path.write_bytes(b"".join(HANDSHAKE * 2 if handshake else []) + b"".join(pieces))
            both(path, kernel, window=window)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(PIECES, max_size=40))
    def test_needles_leave_no_row_out(self, pieces: list[bytes]) -> None:
        def every(source_read: Reading, *others: object, **named: object) -> Reads:
            made = Reads(source_read, *others, **named)  # type: ignore[arg-type]
            made._needles = (re.compile(rb"(?m)^"),)
            return made

        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            path = Path(folder, "any.log")
            path.write_bytes(b"".join(HANDSHAKE) + b"".join(pieces))
            rows = [row.row() for row in Decoder([str(path)]).rows()]
            patch.setattr(entries, "Reads", every)
            assert [row.row() for row in Decoder([str(path)]).rows()] == rows


# -- the search


NEEDLES = [re.compile(one) for one in (
    rb"xen", rb"addr 0x1[0-9a-f][ (]", rb"PV (?:driver|product)", rb" EVENTS\]| EVENTS DROPPED\]", rb"Suppressed \d",
    rb"xen[a-z0-9_]{0,61}\|", rb"128\d{11}: ", rb"    \}", b"ad[^b-y\n]+z", rb"read[bwlq]? (?:0x)?[0-9a-f]",
)]
WORDS = st.sampled_from([
    b"xen", b"xe", b"addr 0x1f(", b"addr 0x1f7", b"PV driver", b"PV", b" EVENTS]", b" EVENTS DROPPED]", b"Suppressed 7",
    b"\n", b"\n", b" ", b"x" * 31, b"12812345678901: ", b"    }", b"adzz", b"ad", b"readw 0x7", b"\xff\x00", b"y" * 100,
])


class TestSearch:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(WORDS, max_size=60).map(b"".join), st.sets(st.sampled_from(range(len(NEEDLES))), min_size=1))
    def test_every_search_finds_the_same_lines(self, kernel: Kernel, data: bytes, some: set[int]) -> None:
        wanted = [NEEDLES[at] for at in sorted(some)]
        window = Window(0, data)
        expected = list(scan.numbered(window, scan.hits(window, wanted)))
        for search in (needles.Kernelwise(kernel, wanted, data), needles.Linewise(wanted)):
            if data:
                found = search.lines(window)
                assert list(found.found) == expected
                assert found.newlines == data.count(b"\n")

    def test_every_needle_of_every_dissector_can_be_looked_for_by_the_kernel(self) -> None:
        from dissectors import dissectors

        known = [needle for one in dissectors().values() for needle in one.needles]
        assert len(known) > 100
        assert [needle.pattern for needle in known if needles.ways(needle) is None] == []

    @pytest.mark.parametrize("expression", [b"a.c", b"^abc", b"(abc)", b"abc$", b"ab", b"a*", b"\\babc", b"[abc"])
    def test_what_is_not_understood_is_left_to_re(self, expression: bytes) -> None:
        try:
            needle = re.compile(expression)
        except re.error:
            needle = re.compile(b"(?i)" + b"abc")
        assert needles.ways(needle) is None


# -- the writers


def writer(form: str) -> lines.Writer:
    if form == "csv":
        return lines.csv_writer(KEYS)[1]
    return lines.jsonl if form == "jsonl" else lines.fields(["line", "text", "time_ns", "line", "value"], KEYS)


class TestWriters:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(PIECES, max_size=40), st.sampled_from(["jsonl", "csv", "fields"]),
           st.sampled_from(["any.log", "1000000000000000000.log"]))
    def test_blocks_are_written_as_their_rows_are(
        self, kernel: Kernel, pieces: list[bytes], form: str, name: str
    ) -> None:
        write = writer(form)
        with TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(b"".join(HANDSHAKE) + b"".join(pieces))
            one_by_one = "".join(f"{write(row.row())}\n" for row in Decoder([str(path)]).rows())
            with everything_large(kernel):
                assert b"".join(bulk.written(Decoder([str(path)]).blocks(), write)).decode() == one_by_one

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(PIECES, max_size=40))
    def test_parquet_holds_the_same(self, kernel: Kernel, pieces: list[bytes]) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "any.log")
            path.write_bytes(b"".join(HANDSHAKE) + b"".join(pieces))
            files = BytesIO(), BytesIO()
            write_rows(Decoder([str(path)]).rows(), files[0])
            with everything_large(kernel):
                write_rows(Decoder([str(path)]).blocks(), files[1])
            one_by_one, at_once = (read_table(file) for file in files)
            assert at_once.schema.equals(one_by_one.schema, check_metadata=True)
            assert at_once.to_pylist() == one_by_one.to_pylist()
