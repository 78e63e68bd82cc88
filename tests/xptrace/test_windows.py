"""Where a window ends is no fact of the recording: rows do not depend on it, nor does memory on the size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.intake import source
from xptrace.intake.source import Source

SCENARIOS = ["10.0.13/44-bar0-decode", "10.0.13/40-misaligned-straddle", "10.0.13/42-bar0-reads", "10.0.13/45-mmio"]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("size", [1500, 4096, 10007])
def test_rows_do_not_depend_on_windows(
    data: Path, scenario: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(data / "qemu-oracle" / scenario / "trace.log")
    whole = Decoder([path])
    rows = [row.row() for row in whole.rows()]
    monkeypatch.setattr(source, "WINDOW", size)
    parts = Decoder([path])
    assert [row.row() for row in parts.rows()] == rows
    assert list(parts.ledgers[0].rows()) == list(whole.ledgers[0].rows())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.just(b"\n"), st.binary(min_size=1, max_size=40), st.just(b"x" * 300)), max_size=60)
    .map(b"".join),
    st.integers(20, 400), st.integers(1, 64),
)
def test_a_file_read_in_place_has_the_windows_of_one_that_is_streamed(content: bytes, window: int, tail: int) -> None:
    """Bytes from the first window to the last, each whole lines wherever there are any, and the lines ahead of each."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "any.log")
        path.write_bytes(b"line\n" + content)  # else it may look compressed
        patch.setattr(source, "WINDOW", window)
        patch.setattr(source, "_TAIL", tail)
        placed = list(Source(str(path)).windows())
        patch.setattr(Source, "_place", lambda _: None)
        streamed = list(Source(str(path)).windows())
        whole = path.read_bytes()
    for windows in (placed, streamed):
        assert b"".join(one.data[: one.size] for one in windows) == whole
        assert all(whole[one.offset : one.offset + len(one.data)] == one.data for one in windows)
        assert all(one.partial == (not one.data.endswith(b"\n")) for one in windows[:-1])
        assert all(one.ahead < len(one.data) for one in windows)


def test_a_line_longer_than_a_window_is_one_line_in_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "WINDOW", 1500)
    path = tmp_path / "long.log"
    glued = b"cpu_in addr 0x10(w) value 18898 " * 300
    path.write_bytes(b"cpu_in addr 0x12(b) value 1\n" + glued + b"\nnothing of ours\n")
    decoder = Decoder([str(path)])
    assert len(list(decoder.rows())) > 6  # several parts of it have some
    account = {kind: lines for kind, _, lines in decoder.ledgers[0].rows()}
    assert account == {"decoded": 2, "other": 1, "damaged": 0, "lost": 0, "read": 3}


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WINDOW", 40)
    path = tmp_path / "growing.log"
    path.write_bytes(b"0123456\n" * 20)
    windows = Source(str(path)).windows()
    found = [next(windows)]
    with path.open("ab") as file:
        file.write(b"added\n" * 3)
    found += windows
    assert b"".join(one.data[: one.size] for one in found) == path.read_bytes()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = b"memory_region_ops_read cpu -1 mr 0x564a5d6f6cd0 addr 0x1f0 value 0xc031 size 2 name 'ide'\n"
    path = tmp_path / "foreign.log"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(line * (1_000_000 // len(line)))
        file.write(b"cpu_in addr 0x10(w) value 18898\n")
    program = (
        "import re, sys\n"
        "from xptrace.cli import main\n"
        "main(['decode', '-T', 'jsonl', sys.argv[1]])\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    command = [sys.executable, "-c", program, str(path)]
    row, peak_mib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert '"register":"magic"' in row
    assert path.stat().st_size > 99_000_000
    assert int(peak_mib) < 90
