"""Where a window ends is no fact of the recording: rows do not depend on it, nor does memory on the size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xptrace.access.decode import Decoder
from xptrace.intake import source

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
