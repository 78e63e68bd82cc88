"""The generated recordings are what QEMU could have written: every line is an event, time goes on, decoding finds all.

A block that comes again is the same but for its times, so all is tried over more than one block.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from benchmarks import generate, simpletrace
from benchmarks.generate import Kind, Timestamps
from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.qemu.simpletrace import SimpleTrace
from dissectors.qemu.textlog import NEEDLES, TextLog
from dissectors.record import Record

TIMES = {
    "pid": re.compile(rb"213@(\d{10}\.\d{6}):\w+ "),
    "iso": re.compile(rb"(2026-11-23T\d\d:\d\d:\d\d(?:\.\d{6})?)Z \w+ "),
    "none": re.compile(rb"()\w+ "),
}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "_BLOCK_BYTES", 1 << 19)
    monkeypatch.setattr(simpletrace, "_BLOCK_EVENTS", 700)


def lines_of(path: Path, kind: Kind, timestamps: Timestamps = "pid", megabytes: float = 1.5) -> list[bytes]:
    told = generate.write(path, megabytes=megabytes, kind=kind, timestamps=timestamps)
    text = path.read_bytes()
    lines = text.splitlines()
    assert (told.size_bytes, told.lines) == (len(text), len(lines))
    assert text.endswith(b"\n")
    return lines


def records_of(events: int) -> list[Record]:
    read = SimpleTrace(Given("trace", catalogue.load())).read(simpletrace.batches(events, "dense"))
    return [one for one in read if isinstance(one, Record)]


@pytest.mark.usefixtures("small_blocks")
class TestText:
    @pytest.mark.parametrize("timestamps", get_args(Timestamps))
    @pytest.mark.parametrize("kind", get_args(Kind))
    def test_every_line_has_a_time_that_is_not_before_the_last(
        self, tmp_path: Path, kind: Kind, timestamps: Timestamps
    ) -> None:
        found = [TIMES[timestamps].match(line) for line in lines_of(tmp_path / "log", kind, timestamps)]
        assert all(found)
        times = [one[1] for one in found if one]
        assert all(before <= after for before, after in pairwise(times))

    def test_every_line_of_a_dense_log_is_a_record(self, tmp_path: Path) -> None:
        reader = TextLog(Given("log", catalogue.load()))
        for number, line in enumerate(lines_of(tmp_path / "log", "dense")):
            assert [type(one) for one in reader.read(line, 0, number, len(line))] == [Record]

    def test_one_line_in_a_thousand_of_a_sparse_log_has_a_literal_of_ours(self, tmp_path: Path) -> None:
        lines = lines_of(tmp_path / "log", "sparse")
        ours = sum(any(needle.search(line) for needle in NEEDLES) for line in lines)
        assert 0.0009 < ours / len(lines) < 0.0015

    def test_some_lines_of_a_mixed_log_only_look_like_ours(self, tmp_path: Path) -> None:
        lines = lines_of(tmp_path / "log", "mixed")
        ours = sum(any(needle.search(line) for needle in NEEDLES) for line in lines)
        assert 0.01 < ours / len(lines) < 0.06

    @pytest.mark.parametrize("kind", get_args(Kind))
    def test_a_longer_log_begins_with_the_shorter_one(self, tmp_path: Path, kind: Kind) -> None:
        shorter = lines_of(tmp_path / "shorter", kind, megabytes=1)
        assert lines_of(tmp_path / "longer", kind)[: len(shorter)] == shorter

    def test_another_seed_gives_another_log(self, tmp_path: Path) -> None:
        for seed in (0, 1):
            generate.write(tmp_path / str(seed), megabytes=0.1, kind="dense", seed=seed)
        assert (tmp_path / "0").read_bytes() != (tmp_path / "1").read_bytes()


@pytest.mark.usefixtures("small_blocks")
class TestSimpletrace:
    @pytest.mark.parametrize("events", [1, 699, 700, 2000])
    def test_it_holds_so_many_events_in_order(self, events: int) -> None:
        records = records_of(events)
        assert len(records) == events
        times = [one.time_ns or 0 for one in records]
        assert all(before < after for before, after in pairwise(times))

    def test_it_says_what_the_text_log_says(self, tmp_path: Path) -> None:
        reader = TextLog(Given("log", catalogue.load()))
        text = [one for line in lines_of(tmp_path / "log", "dense", megabytes=0.07)
                for one in reader.read(line, 0, 0, len(line)) if isinstance(one, Record)]
        assert [(one.event, dict(one.values)) for one in records_of(600)] == [
            (one.event, dict(one.values)) for one in text[:600]
        ]
