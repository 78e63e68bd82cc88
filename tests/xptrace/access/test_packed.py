"""Of a simpletrace file, rows in blocks are the rows one by one, and so is the account of every byte."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors.qemu import simpletrace
from xptrace.access import entries, reads
from xptrace.access.decode import Decoder
from xptrace.access.rows import Row
from xptrace.access.stretch import Block
from xptrace.intake import source

HEADER: Final = struct.pack("<QQQ", 0xFFFF_FFFF_FFFF_FFFF, 0xF2B1_77CB_0AA4_29B4, 4)
DROPPED: Final = struct.pack("<QQQIIQ", 1, 0xFFFF_FFFF_FFFF_FFFE, 5, 32, 8, 9)
FOREIGN: Final = 60_000
BLOCK: Final = 12
"""How often the events of a recording are repeated: reading in bulk begins where there are many."""
DATA: Final = Path(__file__).parents[2] / "data" / "qemu-oracle"
RECORDINGS: Final = sorted(path for path in DATA.glob("*/*/trace.bin.gz"))


def name(number: int, text: bytes) -> bytes:
    return struct.pack("<QQI", 0, number, len(text)) + text


def parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """The header with the names of the events that occur, and the events."""
    names, found, at = {}, [], 24
    while at + 32 <= len(data):
        kind, number, _, length, _ = struct.unpack_from("<QQQII", data, at)
        if kind == 0:
            (size,) = struct.unpack_from("<I", data, at + 16)
            names[number] = data[at + 20 : at + 20 + size]
            at += 20 + size
        else:
            found.append(data[at : at + 8 + length])
            at += 8 + length
    used = {struct.unpack_from("<Q", one, 8)[0] for one in found}
    named = b"".join(name(number, text) for number, text in names.items() if number in used)
    return HEADER + named + name(FOREIGN, b"breakpoint_insert"), found


@cache
def recording(path: Path) -> tuple[bytes, list[bytes]]:
    return parts(gzip.decompress(path.read_bytes()))


def dense() -> tuple[bytes, list[bytes]]:
    head, events = recording(DATA / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz")
    return head, events * BLOCK


def alone(rows: Iterator[Row | Block]) -> Iterator[dict[str, Any]]:
    for one in rows:
        if isinstance(one, Block):
            yield from one.rows()
        else:
            yield one.row()


def accounts(decoder: Decoder) -> list[tuple[Any, ...]]:
    return [(list(one.rows()), one.told, one.notes, one.truncated) for one in decoder.ledgers]


def check(path: Path, trace_events: Sequence[str] = ()) -> int:
    """Every way says the same; returns how many rows came in blocks."""
    plain, singly, briefly, many = (Decoder([str(path)], trace_events, dissector="simpletrace") for _ in range(4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "chosen_kernel", lambda: None)
        everything = [one.row() for one in plain.entries()]
    assert [one.row() for one in singly.entries()] == everything
    assert [one.row() for one in briefly.entries(brief=True, specimens=3)] == everything
    blocks = list(many.blocks())
    assert list(alone(iter(blocks))) == [row for row in everything if row["kind"] != "event"]
    assert accounts(plain) == accounts(singly) == accounts(briefly) == accounts(many)
    return sum(len(one.which) for one in blocks if isinstance(one, Block))


@pytest.fixture(params=["compiled", "twin"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel in both forms."""
    if request.param == "compiled":
        request.getfixturevalue("built_kernel")
    found = import_module("dissectors.kernel." + ("twin" if request.param == "twin" else "_kernel"))
    monkeypatch.setattr(entries, "chosen_kernel", lambda: found)


def foreign(length: int) -> bytes:
    return struct.pack("<QQQII", 1, FOREIGN, 7, 24 + length, 9) + bytes(length)


@pytest.mark.usefixtures("kernel")
class TestWholeFiles:
    @pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
    def test_recordings(self, path: Path, tmp_path: Path) -> None:
        head, events = recording(path)
        file = tmp_path / "trace-1"
        file.write_bytes(head + b"".join(events) * BLOCK)
        check(file)

    @pytest.mark.parametrize("window", [997, 4096, 1 << 20])
    def test_most_of_a_dense_one_comes_in_blocks(
        self, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source, "CHUNK", window)
        head, events = dense()
        file = tmp_path / "trace-1"
        file.write_bytes(head + b"".join(events))
        assert check(file) > (100 if window > 5000 else -1)

    @pytest.mark.parametrize("again", [1, 60, 300, 5000])
    @pytest.mark.parametrize("packed", [False, True])
    def test_a_chunk_may_show_much_or_little_again(
        self, again: int, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (reads, simpletrace):
            monkeypatch.setattr(module, "AGAIN", again)
        head, events = dense()
        data = head + b"".join(events) + foreign(2000) + b"".join(events)
        file = tmp_path / "trace-1"
        file.write_bytes(gzip.compress(data) if packed else data)
        for window in (41, 997, 4096):
            monkeypatch.setattr(source, "CHUNK", window)
            check(file)

    def test_events_of_others_and_reports_of_loss_between_them(self, tmp_path: Path) -> None:
        head, events = dense()
        for between in (foreign(40), DROPPED, foreign(4) * 300, name(60_001, b"cpu_in"), HEADER, head):
            file = tmp_path / "trace-1"
            cut = len(events) // 2
            file.write_bytes(head + between.join([b"".join(events[:cut]), b"".join(events[cut:]), b"".join(events)]))
            check(file)

    def test_a_number_that_comes_to_mean_another_event(self, tmp_path: Path) -> None:
        head, events = dense()
        whole = b"".join(events)
        numbers = {struct.unpack_from("<Q", one, 8)[0] for one in events}
        file = tmp_path / "trace-1"
        for number in numbers:
            for other in (b"cpu_out", b"xen_platform_log", b"breakpoint_insert", b"memory_region_ops_write"):
                file.write_bytes(head + whole + name(number, other) + whole)
                check(file)

    @pytest.mark.parametrize("version", [2, 3])
    def test_older_versions(self, version: int, tmp_path: Path) -> None:
        declared = tmp_path / "trace-events"
        declared.write_text('cpu_out(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"\n'
                            'cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"\n')
        text = b"".join(
            struct.pack("<QQIIQQQ", 1, 10, 48, 7, 0x10, ord("w"), 0x49D2) + b"".join(
                struct.pack("<QQIIQQQ", 0, time_ns, 48, 7, 0x12, ord("b"), character)
                for time_ns, character in enumerate(b"hello\n")
            )
            for _ in range(100)
        )
        file = tmp_path / "trace-1"
        file.write_bytes(HEADER[:16] + struct.pack("<Q", version) + text)
        assert check(file, [str(declared)]) > 400


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("window", [997, 1 << 20])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_a_file_that_somebody_has_damaged(
    window: int, tmp_path: Path, choice: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CHUNK", window)
    head, events = dense()
    names = len(head)
    raw = bytearray(head + b"".join(events))
    places = st.integers(0, len(raw) - 1) | st.integers(names, len(raw) - 1)
    for kind in choice.draw(st.lists(st.sampled_from(["flip", "cut", "double", "put", "end"]), max_size=5)):
        at = choice.draw(places) % max(len(raw), 1)
        if kind == "flip" and raw:
            raw[at] ^= 1 << choice.draw(st.integers(0, 7))
        elif kind == "cut":
            del raw[at : at + choice.draw(st.integers(1, 200))]
        elif kind == "double":
            raw[at:at] = raw[at : at + choice.draw(st.integers(1, 3000))]
        elif kind == "put":
            known = [DROPPED, HEADER, head, HEADER[:16], foreign(3), bytes(7), b"\xff" * 9]
            raw[at:at] = choice.draw(st.sampled_from(known) | st.binary(max_size=40))
        else:
            del raw[-choice.draw(st.integers(1, 300)) :]
    file = tmp_path / "trace-1"
    file.write_bytes(bytes(raw))
    check(file)
