"""Progress on a terminal, and what an interrupt leaves: the result of what was read until then, marked so.

The recordings are longer than the 4 MiB that are read at a time, and come through a pipe, so that what has been read
when the interrupt comes is known to lie between two places.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xptrace.access.decode import Decoder
from xptrace.cli.progress import INTERVAL, PATIENCE, Progress

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]
NOISE = b"213@1795406729.000000:memory_region_ops_read cpu 0 mr 0x55 addr 0x3f6 value 0x50 size 1 name 'ide'\n" * 10_000
SOME = "".join(f"213@1795406729.{at:06}:{event}\n" for at, event in enumerate(HANDSHAKE * 20)).encode()
PART = SOME + NOISE * 6  # more than is read at a time; its rows are less than a pipe holds
WHOLE = PART * 3
COMMANDS = [(name, "-T", "jsonl") for name in ("decode", "summary", "check", "timeline")]


def start(*arguments: str | Path, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start the command line as a terminal would: interrupts are not ignored, whoever runs the tests."""
    return subprocess.Popen(
        [sys.executable, "-m", "xptrace", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
    )


@contextlib.contextmanager
def running(*arguments: str | Path, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    process = start(*arguments, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def interrupted(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """Interrupt it when it has begun to read its standard input, which then goes on; returns what it printed."""
    assert process.stdin is not None
    process.stdin.write(PART)  # has been taken, but for what a pipe holds
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(WHOLE[len(PART) :], timeout=60)
    except BrokenPipeError:
        out, err = process.communicate(timeout=60)
    return out, err.decode()


# -- interrupts


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[0]))
def test_an_interrupt_gives_the_result_of_what_was_read(xptrace: Callable[..., Any], command: tuple[str, ...]) -> None:
    with running(*command, "-") as process:
        out, err = interrupted(process)
    assert process.returncode == 130
    told = re.search(r"^xptrace: interrupted: (\d+) bytes read$", err, re.MULTILINE)
    assert told is not None
    size = int(told[1])
    assert 0 < size < len(WHOLE)
    assert out == xptrace(*command, "-", stdin=WHOLE[:size]).raw
    follows = f"xptrace: interrupted: what follows is of the first {size} bytes\n"
    assert (follows in err) is (command[0] != "decode")
    assert "Traceback" not in err


def test_info_says_how_much_of_the_source_it_speaks_of() -> None:
    with running("info", "-") as process:
        out, err = interrupted(process)
    assert process.returncode == 130
    assert "interrupted: what follows is of the first" in err
    assert b"stdin" in out


def test_of_a_file_its_size_is_told_too_and_later_files_are_not_begun(tmp_path: Path) -> None:
    """Rows that nobody takes hold the command up within the first window."""
    paths = [tmp_path / "a.log", tmp_path / "b.log"]
    content = SOME * 20 + WHOLE
    paths[0].write_bytes(content)
    paths[1].write_bytes(NOISE + content)
    with running("decode", "-T", "jsonl", *paths) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    told = re.search(rb"xptrace: interrupted: (\d+) bytes read of (\d+)\n", err)
    assert told is not None
    assert int(told[1]) < len(content)
    assert int(told[2]) == 2 * len(content) + len(NOISE)
    assert b"b.log" not in first + out + err


def test_a_file_that_was_to_be_written_does_not_appear(tmp_path: Path) -> None:
    with running("summary", "-o", tmp_path / "out.txt", "-") as process:
        out, err = interrupted(process)
    assert process.returncode == 130
    assert out == b""
    assert "out.txt is not written" in err
    assert "bytes read" in err
    assert list(tmp_path.iterdir()) == []


def test_a_second_interrupt_ends_it_at_once() -> None:
    with running("summary", "-") as process:
        assert process.stdin is not None
        process.stdin.write(PART)
        process.stdin.flush()
        for _ in range(2):  # it waits for more of its input, which does not come
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)  # two at once would be one
        assert process.wait(timeout=60) == 130


# -- progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(path: Path, *steps: tuple[float, int]) -> list[str]:
    """What is shown of a file when so many bytes have been read at these times."""
    terminal, clock = io.StringIO(), Clock()
    progress = Progress(terminal, clock)
    progress.begins(Decoder([str(path)]))
    for at, size in steps:
        clock.now = at
        progress(size)
    progress.ends()
    return terminal.getvalue().split("\r\x1b[K")


def test_nothing_is_said_of_what_is_soon_read(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(bytes(1000))
    assert shown(tmp_path / "a.log", (PATIENCE - 0.1, 900)) == [""]


def test_a_line_tells_bytes_part_rate_time_left_and_vms_and_is_erased(tmp_path: Path) -> None:
    """A quarter of 4000 bytes in two seconds is 500 bytes a second; the rest takes six."""
    (tmp_path / "a.log").write_bytes(b"x" * 4000)
    lines = shown(tmp_path / "a.log", (2.0, 1000), (2.0 + INTERVAL / 2, 1), (4.0, 1999))
    assert lines == [
        "",
        "xptrace: 1.0 kB of 4.0 kB (25 %), 500 B/s, 6 s left, 0 VMs, 0 lines decoded",
        "xptrace: 3.0 kB of 4.0 kB (75 %), 750 B/s, 1 s left, 0 VMs, 0 lines decoded",
        "",
    ]


def test_of_a_compressed_file_no_part_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b"x" * 4000))
    assert shown(tmp_path / "a.log.gz", (2.0, 1000))[1] == "xptrace: 1.0 kB, 500 B/s, 0 VMs, 0 lines decoded"


def test_a_terminal_sees_it_and_no_trace_of_it_remains() -> None:
    """The pipe brings the rest when two seconds are over."""
    ours, theirs = pty.openpty()
    with running("summary", "-", stderr=theirs) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(PART)
        process.stdin.flush()
        time.sleep(PATIENCE + 0.1)
        process.communicate(PART, timeout=60)
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends whose other side is closed
        while part := os.read(ours, 1 << 16):
            said += part
    os.close(ours)
    lines = said.split(b"\r\x1b[K")
    assert process.returncode == 0
    assert re.fullmatch(rb"xptrace: [\d.]+ MB, [\d.]+ .?B/s, 1 VM, \d+ lines decoded", lines[1])
    assert lines[-1].startswith(b"xptrace: 240 decoded")
    assert all(b"\n" not in line for line in lines[:-1])


def test_what_is_no_terminal_sees_nothing_of_it() -> None:
    with running("summary", "-") as process:
        assert process.stdin is not None
        process.stdin.write(PART)
        process.stdin.flush()
        time.sleep(PATIENCE + 0.1)
        err = process.communicate(PART, timeout=60)[1]
    assert b"\r" not in err
    assert err.count(b"\n") == 1
