"""Given a log and a time, nothing from that time on is passed over, and little of what is before it is read."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xptrace.intake.seek import Moment, Sought, seek

STAMP = re.compile(rb"(\d+) ")


class Bytes:
    """Bytes in memory, and how many of them were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.read = data, len(data), 0

    def at(self, place: int, size: int) -> bytes:
        found = self.data[place : place + size]
        self.read += len(found)
        return found


def stamp(line: bytes) -> Moment | None:
    found = STAMP.match(line)
    return (int(found[1]), "wall") if found else None


def sought(data: bytes, time: int, **sizes: int) -> Sought:
    return seek(Bytes(data), stamp, lambda _first, _last: time, **sizes)


def log(entries: list[tuple[int | None, int]]) -> tuple[bytes, list[tuple[int, int]]]:
    """Lines with a time or without, of some length; and (offset, time) of those with one."""
    data, dated = bytearray(), []
    for time, length in entries:
        if time is not None:
            dated.append((len(data), time))
        data += (b"" if time is None else b"%d " % time) + b"x" * length + b"\n"
    return bytes(data), dated


TIMES = st.one_of(st.none(), st.integers(0, 40))
LINES = st.lists(st.tuples(TIMES, st.one_of(st.integers(0, 40), st.just(5000))), max_size=30)
SHORT = st.lists(st.tuples(TIMES, st.integers(0, 9)), max_size=20)


def in_order(entries: list[tuple[int | None, int]]) -> list[tuple[int | None, int]]:
    times = iter(sorted(time for time, _ in entries if time is not None))
    return [(None if time is None else next(times), length) for time, length in entries]


@given(LINES.map(in_order), st.integers(-1, 42), st.sampled_from([1, 8, 64]), st.sampled_from([0, 1, 50, 4096]))
def test_nothing_from_the_time_on_is_before_it(
    entries: list[tuple[int | None, int]], time: int, grain: int, margin: int
) -> None:
    data, dated = log(entries)
    found = sought(data, time, grain=grain, margin=margin, block=1000)
    assert found.offset == 0 or data[found.offset - 1 : found.offset] == b"\n"
    assert found.lines == data.count(b"\n", 0, found.offset)
    assert not [offset for offset, when in dated if when >= time and offset < found.offset]
    if dated:
        assert found.why is None


@given(LINES.map(in_order), st.integers(-1, 42), st.sampled_from([1, 8, 64]), st.sampled_from([0, 50, 4096]))
def test_what_is_read_in_vain_is_no_more_than_margin_and_grain_and_lines_without_a_time(
    entries: list[tuple[int | None, int]], time: int, grain: int, margin: int
) -> None:
    data, dated = log(entries)
    found = sought(data, time, grain=grain, margin=margin, block=1000)
    early = [offset for offset, when in dated if when < time]
    if early:
        longest = max(map(len, data.split(b"\n"))) + 1
        assert found.offset >= early[-1] - margin - grain - longest


@given(SHORT, st.integers(-1, 42))
def test_what_is_passed_over_of_any_log_was_in_order_wherever_it_was_probed(
    entries: list[tuple[int | None, int]], time: int
) -> None:
    data, dated = log(entries)
    found = sought(data, time, grain=1, margin=0, block=1)
    assert not [when for offset, when in dated if offset < found.offset and when >= time]


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([3, 1], "its times go back before byte 4"),
        ([1, 5, 2, 9], "its times go back"),
        ([1, 9, 2, 2, 2, 5], "its times go back"),
        ([None, None], "its lines have no time that is understood"),
        ([], "its lines have no time that is understood"),
    ],
)
def test_where_times_are_no_order_nothing_is_passed_over(times: list[int | None], why: str) -> None:
    data, _ = log([(time, 1) for time in times])
    found = sought(data, 4, grain=1, margin=0, block=1)
    assert (found.offset, found.lines) == (0, 0)
    assert found.why is not None
    assert found.why.startswith(why)


def test_nor_where_there_are_two_clocks() -> None:
    def either(line: bytes) -> Moment | None:
        found = stamp(line)
        return found and (found[0], "wall" if found[0] < 3 else "syslog")

    data, _ = log([(time, 1) for time in range(6)])
    found = seek(Bytes(data), either, lambda _first, _last: 4, grain=1, margin=0)
    assert found == Sought(why="its times are of two clocks, wall and syslog")


def test_nor_where_nobody_knows_which_time_is_meant() -> None:
    data, _ = log([(time, 1) for time in range(6)])
    assert seek(Bytes(data), stamp, lambda first, last: f"{first} {last}") == Sought(
        why="(0, 'wall') (5, 'wall')"
    )  # fmt: skip


def test_a_file_of_later_times_is_read_from_its_beginning_without_a_reason() -> None:
    data, _ = log([(time, 1) for time in range(6, 9)])
    assert sought(data, 4) == Sought()


def test_of_a_large_file_few_bytes_are_looked_at_beside_those_whose_lines_are_counted() -> None:
    data, dated = log([(second, 60) for second in range(100_000)])
    source = Bytes(data)
    found = seek(source, stamp, lambda _first, _last: 90_000)
    best = next(offset for offset, when in dated if when == 90_000)
    assert best - (1 << 19) < found.offset < best
    assert source.read < found.offset + (1 << 19)


class TestDecodingWithIt:
    LINES = 12_000

    @pytest.fixture
    def recording(self, tmp_path: Path) -> Path:
        """A log of 1.2 MB: an access every tenth of a second."""
        path = tmp_path / "trace.log"
        path.write_text("".join(
            f"213@{1795406729 + tenth // 10}.{tenth % 10}00000:memory_region_ops_read cpu -1 mr 0x564a5d8637e0 "
            f"addr 0x10 value 0x49d2 size 2 name 'xen-fixed'\n" for tenth in range(self.LINES)
        ))
        return path

    SINCE = "2026-11-23T04:23:30Z"

    def test_the_rows_are_the_same(self, xptrace: Callable[..., Any], recording: Path) -> None:
        whole = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, recording)
        part = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, "--seek", recording)
        assert part.rows == whole.rows
        assert whole.rows
        assert whole.rows[0]["line"] == self.LINES - len(whole.rows) + 1

    def test_what_was_passed_over_is_said_and_in_the_account(
        self, xptrace: Callable[..., Any], recording: Path
    ) -> None:
        done = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, "--seek", "--ledger", recording)
        said = re.search(r"(\d+) bytes, (\d+) lines, from before that time were not decoded: boots", done.err)
        assert said
        size, lines = int(said[1]), int(said[2])
        assert size > recording.stat().st_size // 2
        assert recording.read_bytes()[:size].count(b"\n") == lines
        left = self.LINES - lines
        assert f"{left} decoded + 0 other + 0 damaged + 0 lost + {lines} skipped = {self.LINES} lines" in done.err
        assert re.search(rf"skipped +{size} bytes +{lines} lines", done.err)

    def test_what_cannot_be_sought_is_read_and_it_is_said(
        self, xptrace: Callable[..., Any], recording: Path
    ) -> None:
        whole = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, recording)
        piped = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, "--seek", "-", stdin=recording.read_bytes())
        assert len(piped.rows) == len(whole.rows)
        assert "<stdin>: read from its beginning: it cannot be read but in order" in piped.err

    def test_a_clock_that_was_set_back_is_said(self, xptrace: Callable[..., Any], recording: Path) -> None:
        recording.write_bytes(recording.read_bytes() * 2)
        done = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, "--seek", recording)
        assert re.search(r"trace\.log: read from its beginning: its times go back", done.err)
        assert len(done.rows) == 2 * len(xptrace("decode", "-T", "jsonl", "--since", self.SINCE, recording).rows) // 2

    def test_a_time_of_day_is_a_time_where_the_day_is_known(
        self, xptrace: Callable[..., Any], recording: Path
    ) -> None:
        done = xptrace("decode", "-T", "jsonl", "--since", "04:23:30", "--seek", recording)
        assert "from before that time were not decoded" in done.err
        assert done.rows == xptrace("decode", "-T", "jsonl", "--since", self.SINCE, recording).rows

    def test_of_local_time_more_is_read_than_zones_can_differ_by(
        self, xptrace: Callable[..., Any], tmp_path: Path
    ) -> None:
        """QEMU's own stamps in a file of local time: the last one is five hours ahead of the daemon's."""
        path = tmp_path / "daemon.log"
        path.write_text("".join(
            f"Nov {1 + hour // 24:2} {hour % 24:02}:{minute:02}:00 host other[77]: says nothing {'x' * 60}\n"
            for hour in range(30 * 24) for minute in range(0, 60, 4)
        ) + "Nov 30 23:59:00 host qemu[213]: 213@1796101140.000000:cpu_in addr 0x10(w) value 18898\n"
            "Nov 30 23:59:30 host qemu[213]: cpu_out addr 0x10(w) value 3\n")
        os.utime(path, (1796101200, 1796101200))  # 2026-12-01T05:00:00Z
        for since in ("2026-12-01T04:58:00Z", "2026-11-30T23:59:10"):
            words = "decode", "-T", "jsonl", "--since", since
            done = xptrace(*words, "--seek", path)
            assert "from before that time were not decoded" in done.err
            assert done.rows == xptrace(*words, path).rows
            assert len(done.rows) == 1 + (since < "2026-12")

    @pytest.mark.parametrize(("name", "why"), [
        ("trace.log.gz", "it is compressed"),
        ("packets.pcapng", "it is no log of lines"),
    ])  # fmt: skip
    def test_other_files_are_read_from_their_beginning(
        self, xptrace: Callable[..., Any], recording: Path, tmp_path: Path, name: str, why: str
    ) -> None:
        path = tmp_path / name
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(recording.read_bytes()))
        else:
            assert xptrace("export", "--to", "pcapng", "-o", path, recording).code == 0
        done = xptrace("decode", "-T", "jsonl", "--since", self.SINCE, "--seek", path)
        assert done.rows
        assert f"{name}: read from its beginning: {why}" in done.err

    def test_without_a_time_there_is_nothing_to_seek(self, xptrace: Callable[..., Any], recording: Path) -> None:
        done = xptrace("decode", "--seek", recording)
        assert done.code == 2
        assert "--seek goes with --since TIME" in done.err
