"""The table: ratios are taken within a round, and say whether what is wanted was held; nothing is timed here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.bench import Bench, Peer
from benchmarks.process import Command, FailedError, run
from benchmarks.table import Row, Wanted, markdown, ratio

LONG, FAST = Wanted(2), Wanted(6, "as fast")


def python(name: str, code: str) -> Command:
    return Command(name, (sys.executable, "-c", code))


class TestRatio:
    def test_is_the_median_of_the_rounds_and_not_of_the_times(self) -> None:
        assert ratio([1, 8, 3], [1, 2, 6], LONG) == 1

    def test_of_speed_is_how_many_times_as_fast(self) -> None:
        assert ratio([1, 1, 2], [6, 7, 8], FAST) == 6

    @pytest.mark.parametrize(("wanted", "value", "held"), [
        (LONG, 2, True), (LONG, 2.01, False), (FAST, 6, True), (FAST, 5.9, False),
    ])  # fmt: skip
    def test_is_held_up_to_its_limit(self, wanted: Wanted, value: float, held: bool) -> None:
        cells = Row("a", "1 s", "b", value, wanted).cells()
        assert cells[4].endswith(": held" if held else ": missed")

    def test_is_missed_where_the_other_condition_is(self) -> None:
        assert Row("a", "", "", 1, LONG, also=False).cells()[4] == "≤ 2 × as long: missed"


class TestTable:
    def test_is_markdown_with_as_many_cells_in_every_line(self) -> None:
        lines = markdown([Row("a|b", "1 s", "rg: 2 s", 0.5, LONG, "9 MB"), Row("c", "", "gone")]).splitlines()
        assert {line.replace("\\|", "").count("|") for line in lines} == {7}
        assert lines[2] == r"| a\|b | 1 s | rg: 2 s | 0.5 × as long | ≤ 2 × as long: held | 9 MB |"

    def test_says_of_a_peer_that_it_is_not_installed(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, 1, 60)
        peers = [Peer(Command("xenalyze", ()), FAST), Peer(python("broken", "raise SystemExit('no')"))]
        missing, broken = bench.rows("case", python("xptrace", "print()"), peers)
        assert missing.cells()[2:5] == ("xenalyze is not installed", "", "≥ 6 × as fast")
        assert missing.ours
        assert broken.peer == "broken ended with 1: no"

    def test_says_what_xptrace_said_where_it_failed(self, tmp_path: Path) -> None:
        ours = python("xptrace", "raise SystemExit('no')")
        (row,) = Bench(tmp_path, 1, 60).rows("case", ours, [Peer(python("one", "print()"), LONG)])
        assert row.cells()[1:5] == ("xptrace ended with 1: no", "one", "", "≤ 2 × as long")

    def test_has_a_row_for_each_peer(self, tmp_path: Path) -> None:
        peers = [Peer(python(name, "print()")) for name in ("one", "two")]
        rows = list(Bench(tmp_path, 2, 60).rows("case", python("xptrace", "print()"), peers))
        assert [row.peer.partition(":")[0] for row in rows] == ["one", "two"]
        assert all(row.ratio for row in rows)


class TestProcess:
    def test_the_peak_counts_children(self, tmp_path: Path) -> None:
        if not Path("/proc/self/statm").exists():
            pytest.skip("only Linux tells of children")
        hold = "import time; held = b'x' * 60_000_000; time.sleep(0.5)"
        start = f"subprocess.Popen([sys.executable, '-c', {hold!r}])"
        code = f"import subprocess, sys\n[one.wait() for one in [{start} for _ in range(2)]]"
        assert run(python("parent", code), tmp_path).peak_bytes > 120_000_000

    def test_what_ends_badly_is_an_error_with_what_it_said(self, tmp_path: Path) -> None:
        with pytest.raises(FailedError, match="it ended with 3: why"):
            run(python("it", "import sys; print('why', file=sys.stderr); sys.exit(3)"), tmp_path)


class TestCommand:
    def test_prints_the_table_of_a_tiny_run_and_draws_its_picture(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        picture = tmp_path / "growth.svg"
        words = ["--rounds", "1", "--only", "growth", "gzip", "--growth", "0.5", "1", "--gzip", "0.5",
                 "--folder", str(tmp_path), "--plot", str(picture)]
        assert main(words) == 0
        table = capsys.readouterr().out
        assert "| peak memory, sparse text, 1 MB against 0.5 MB" in table
        assert "| gzip, " in table
        assert "peak memory, MB" in picture.read_text()
        assert list(tmp_path.iterdir()) == [picture]

    def test_refuses_sizes_of_nothing(self) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["--sparse", "0"])
