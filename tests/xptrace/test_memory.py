"""Memory stays where it is, however large the recording and whatever it is made of."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from benchmarks import generate

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="the peak of a process is not told here")

OURS = b"cpu_in addr 0x10(w) value 18898\n"
SLACK: Final = 40 << 20
"""Windows, batches and what an allocator keeps are not full in a small recording."""
LIBRARIES: Final = 128 << 20
"""Beside that, numpy, pyarrow and pandas are loaded for recordings of more than a megabyte alone."""


def peak(*arguments: str | Path) -> int:
    """The most memory that this Python process ever had."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in {0, 1, *range(10, 14)}  # 1: there is nothing of ours
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def assert_level(arguments: list[str], small: Path, large: Path, slack: int = SLACK) -> None:
    """A recording of eight times the size takes hardly more."""
    one, other = peak(*arguments, small), peak(*arguments, large)
    assert other <= 1.1 * one + slack, (one >> 20, other >> 20)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two logs in which every line is ours."""
    place = tmp_path_factory.mktemp("dense")
    for megabytes in (1.5, 12):
        generate.write(place / f"{megabytes}.log", megabytes=megabytes, kind="dense")
    return place / "1.5.log", place / "12.log"


@pytest.fixture
def two(tmp_path: Path) -> Callable[[Callable[[int], Iterable[bytes]], str], tuple[Path, Path]]:
    """Two recordings made of so many parts."""
    def write(parts: Callable[[int], Iterable[bytes]], suffix: str = ".log") -> tuple[Path, Path]:
        paths = tmp_path / f"small{suffix}", tmp_path / f"large{suffix}"
        for path, count in zip(paths, (1, 8), strict=True):
            with (gzip.open if suffix.endswith(".gz") else open)(path, "wb") as file:
                file.writelines(parts(count))
        return paths

    return write


Two = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize("form", ["text", "jsonl", "csv", "parquet"])
def test_decoding_a_dense_log(dense: tuple[Path, Path], form: str) -> None:
    assert_level(["-m", "xptrace", "decode", "-T", form], *dense)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["timeline"])
def test_telling_of_a_dense_log(dense: tuple[Path, Path], command: str) -> None:
    assert_level(["-m", "xptrace", command], *dense)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sqlite", "timesketch"])
def test_exporting_a_dense_log(dense: tuple[Path, Path], tmp_path: Path, form: str) -> None:
    assert_level(["-m", "xptrace", "export", "--to", form, "-o", str(tmp_path / "out")], *dense)


def test_opening_a_case_of_more_than_memory(dense: tuple[Path, Path]) -> None:
    code = "import sys, xptrace; c = xptrace.open(sys.argv[1], memory=1 << 20); print(c, c.filter('register == magic'))"
    assert_level(["-c", code], *dense, slack=LIBRARIES)  # the batches of a larger one are full


def test_a_flood_of_bytes_to_the_log_port_is_no_fact_each(two: Two) -> None:
    line = b"213@1795406729.218785:cpu_out addr 0x12(b) value 97\n"
    assert_level(["-m", "xptrace", "summary"], *two(lambda count: [line * 5000] * count), slack=LIBRARIES)


def test_the_facts_of_all_boots_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from xptrace.access.rows import Message
    from xptrace.negotiation import story

    monkeypatch.setattr(story, "ROOM", 1 << 16)
    monkeypatch.setattr(story, "MOST_BOOTS", 50)
    stories = story.Stories({})
    for boot in range(1, 101):
        for _ in range(2 * story.FEW):
            stories.take(_message(Message, boot))
    kept = stories.found
    assert len(kept) == 50
    assert kept[0].counts["lines"] == 2 * story.FEW  # what is not kept is counted
    assert {len(one.lines) for one in kept[1:]} == {story.FEW}
    assert stories.beyond == 50 * 2 * story.FEW


def _message(kind: type, boot: int) -> object:
    from dissectors.record import Record

    record = Record("trace.log", 0, 1, 1, "xen_platform_log", {}, b"")
    return kind(None, None, "win10", boot, "text", complete=True, certainty="observed", records=[record])


class TestHostileShapes:
    """Inputs that are nothing but large."""

    def decoded(self, small: Path, large: Path) -> None:
        assert_level(["-m", "xptrace", "decode", "-T", "jsonl"], small, large, slack=LIBRARIES)

    def test_one_line_without_end(self, two: Two) -> None:
        self.decoded(*two(lambda count: [OURS, *[b"abcdefgh" * (1 << 20)] * count]))

    def test_one_line_full_of_what_looks_like_ours(self, two: Two) -> None:
        self.decoded(*two(lambda count: [OURS.replace(b"\n", b" ") * (1 << 18)] * count))

    def test_nothing_but_newlines(self, two: Two) -> None:
        self.decoded(*two(lambda count: [OURS, *[b"\n" * (1 << 20)] * count]))

    def test_a_bomb(self, two: Two) -> None:
        self.decoded(*two(lambda count: [OURS, *[bytes([97]) * (8 << 20)] * count], ".log.gz"))

    @pytest.mark.slow
    def test_a_thread_for_each_line(self, two: Two) -> None:
        self.decoded(*two(lambda count: (
            b"%d@1795406729.218785:cpu_out addr 0x12(b) value 97\n" % (1000 + thread)
            for thread in range(2000 * count))))

    def test_a_number_that_is_never_the_same(self, two: Two) -> None:
        self.decoded(*two(lambda count: (b"cpu_out addr 0x10(l) value %d\n" % (number * 7919)
                                         for number in range(2000 * count))))

    def test_a_disk_for_each_line(self, two: Two) -> None:
        assert_level(["-m", "xptrace", "summary"], *two(lambda count: (
            b"xen_device_frontend_state type: xen-disk name: %d -> XenbusStateConnected\n" % number
            for number in range(2000 * count))), slack=LIBRARIES)

    def test_a_boot_for_each_line(self, two: Two) -> None:
        both = two(lambda count: [OURS, b"system_reset\n"] * (500 * count))
        assert_level(["-m", "xptrace", "summary"], *both, slack=LIBRARIES)

    def test_a_guest_for_each_line(self, two: Two) -> None:
        self.decoded(*two(lambda count: (json.dumps({
            "SYSLOG_IDENTIFIER": "qemu-system-i386", "__REALTIME_TIMESTAMP": str(1795557229985211 + number),
            "_CMDLINE": f"qemu-system-i386 -name guest=vm{number}", "MESSAGE": OURS.decode().strip(), "_PID": "2762",
        }).encode() + b"\n" for number in range(50 * count)), ".json"))
