"""`xptrace follow`: files that grow while they are read, as a device model, logrotate and copytruncate write them."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]
REGISTERS = ["magic", "protocol_version", "product_number", "build_number", "magic", "unplug_mask"]


def says(events: Sequence[str], second: int = 0, thread: int = 213) -> bytes:
    return "".join(f"{thread}@{1795406729 + second + at}.000000:{event}\n" for at, event in enumerate(events)).encode()


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Follow:
    """A running `xptrace follow -T jsonl`."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xptrace", "follow", "-T", "jsonl", "--interval", "0.02", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,  # else `communicate` misses what was read ahead
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
        )
        self._guard = threading.Timer(60, self.process.kill)
        self._guard.start()

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The next rows, as soon as they are there."""
        assert self.process.stdout is not None
        return [json.loads(self.process.stdout.readline()) for _ in range(count)]

    def interrupt(self) -> tuple[list[dict[str, Any]], str]:
        """Ctrl-C; returns the rows and what was said that were still to be taken."""
        self.process.send_signal(signal.SIGINT)
        return self.ends(130)

    def ends(self, code: int) -> tuple[list[dict[str, Any]], str]:
        """Wait for the end."""
        out, err = self.process.communicate()
        assert self.process.returncode == code
        return [json.loads(line) for line in out.splitlines()], err.decode()

    def close(self) -> None:
        self._guard.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def follow() -> Iterator[Callable[..., Follow]]:
    running: list[Follow] = []

    def start(*arguments: str | Path) -> Follow:
        running.append(Follow(*arguments))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "trace.log"


def of(key: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    return [row[key] for row in rows]


def accesses(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == "access"]


# -- growing


def test_a_log_that_grows_is_decoded_as_when_it_is_complete(
    log: Path, data: Path, follow: Callable[..., Follow], xptrace: Callable[..., Any]
) -> None:
    """A real one, in pieces that end anywhere; up to six records tell of one access, and one piece ends among them."""
    whole = (data / "real-xen" / "all-events-handshake.txt").read_bytes()
    log.write_bytes(whole[:5000])
    running = follow("--idle", "1", log)
    rows = running.rows(1)
    for start in range(5000, len(whole), 3001):
        add(log, whole[start : start + 3001])
    rest, err = running.ends(0)
    found = [row for row in rows + rest if row["kind"] != "finding"]
    assert found == xptrace("decode", "-T", "jsonl", log).rows
    assert err == xptrace("decode", log).err


def test_what_is_last_in_the_log_is_shown_although_nothing_follows_it(log: Path, follow: Callable[..., Follow]) -> None:
    log.write_bytes(says(HANDSHAKE))
    running = follow(log)
    assert of("register", running.rows(6)) == REGISTERS
    add(log, says(["cpu_out addr 0x10(w) value 1"], 10))
    assert of("value", running.rows(1)) == [1]


def test_a_line_is_read_when_it_is_complete(log: Path, follow: Callable[..., Follow]) -> None:
    """Up to the newline, the value could be 1, or the beginning of 18898."""
    first, second = says(HANDSHAKE[1:2]), says(HANDSHAKE[:1], 1)
    log.write_bytes(first + second[: -len(b"8898\n")])
    running = follow(log)
    assert of("value", running.rows(1)) == [1]
    add(log, b"8898\n")
    assert of("value", running.rows(1)) == [18898]


def test_a_log_that_is_empty_at_first_is_followed_too(log: Path, follow: Callable[..., Follow]) -> None:
    log.touch()
    running = follow(log)
    add(log, says(HANDSHAKE))
    assert of("register", running.rows(6)) == REGISTERS


def test_from_now_passes_over_what_is_there(log: Path, xptrace: Callable[..., Any]) -> None:
    """All but the line that is being written; its offset is that in the file."""
    there = says(HANDSHAKE)
    log.write_bytes(there + b"213@1795406800.000000:cpu_out addr 0x10(w) value 5")
    rows = accesses(xptrace("follow", "--from-now", "--idle", "0", "-T", "jsonl", log).rows)
    assert of("value", rows) == [5]
    assert of("offset", rows) == [len(there)]


def test_nothing_of_ours_is_exit_code_1(log: Path, follow: Callable[..., Follow]) -> None:
    log.write_bytes(b"something else\n")
    rows, err = follow("--idle", "0.1", log).ends(1)
    assert rows == []
    assert "nothing of the Xen platform device in 1 lines" in err


# -- rotation and truncation


def test_a_rotated_log_is_read_to_its_end_and_then_the_new_one(log: Path, follow: Callable[..., Follow]) -> None:
    """The last line of the old one comes when it has been moved away already."""
    log.write_bytes(says(HANDSHAKE[:2]))
    running = follow(log)
    assert of("register", running.rows(2)) == REGISTERS[:2]
    old = log.rename(log.with_suffix(".log.1"))
    add(old, says(HANDSHAKE[2:3], 2))
    log.write_bytes(says(HANDSHAKE[3:], 3))
    assert of("register", running.rows(4)) == REGISTERS[2:]
    rows, err = running.interrupt()
    assert rows == []
    assert f"xptrace: {log}: has been rotated; the new file is read\n" in err
    assert "6 decoded + 0 other" in err


def test_a_truncated_log_is_read_from_its_start(log: Path, follow: Callable[..., Follow]) -> None:
    log.write_bytes(says(HANDSHAKE[:3]))
    running = follow(log)
    running.rows(3)
    os.truncate(log, 0)
    add(log, says(HANDSHAKE[3:4], 3))
    assert of("register", running.rows(1)) == REGISTERS[3:4]
    _, err = running.interrupt()
    assert f"xptrace: {log}: has been truncated to " in err
    assert "4 decoded + 0 other + 0 damaged + 0 lost = 4 lines" in err


# -- findings


def test_a_finding_is_shown_once_when_its_boot_gives_it(log: Path, follow: Callable[..., Follow]) -> None:
    """A22: the same mask twice in one handshake."""
    log.write_bytes(says(HANDSHAKE))
    running = follow(log)
    running.rows(6)
    add(log, says(HANDSHAKE[-1:], 5))
    row, finding = running.rows(2)
    assert (row["kind"], row["register"]) == ("access", "unplug_mask")
    assert {key: finding[key] for key in ("kind", "rule", "holds", "vm", "boot")} == {
        "kind": "finding", "rule": "A22", "holds": True, "vm": "trace", "boot": 1,
    }
    assert of("line", finding["evidence"]) == [6, 7]
    add(log, says(HANDSHAKE[:1], 20))
    assert of("kind", running.rows(1)) == ["access"]
    rows, _ = running.interrupt()
    assert [row for row in rows if row.get("rule") == "A22"] == []


def test_a_finding_that_is_refuted_is_said_to_hold_no_longer(log: Path, follow: Callable[..., Follow]) -> None:
    """A07: a product and no build, though the guest went on; then the build comes after all."""
    log.write_bytes(says([*HANDSHAKE[1:3], "cpu_out addr 0x12(b) value 65"]))
    running = follow(log)
    rows = running.rows(4)
    assert (rows[3]["rule"], rows[3]["holds"]) == ("A07", True)
    add(log, says(HANDSHAKE[3:4], 3))
    assert of("register", running.rows(1)) == ["build_number"]
    rows, _ = running.interrupt()
    assert [row["holds"] for row in rows if row.get("rule") == "A07"] == [False]


def test_text_shows_rows_as_decode_does_and_findings_as_check_does(log: Path, xptrace: Callable[..., Any]) -> None:
    log.write_bytes(says(HANDSHAKE) + says(HANDSHAKE[-1:], 5))
    done = xptrace("follow", "--idle", "0", log)
    decoded = xptrace("decode", log).out
    assert done.out.startswith(decoded)
    assert done.out.removeprefix(decoded) in xptrace("check", log).out
    assert "A22" in done.out.removeprefix(decoded)
    assert done.code == 0


# -- what is shown


def test_filter_and_vm_choose_rows(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    paths = [tmp_path / f"qemu-dm-{name}.log" for name in ("one", "two")]
    for path in paths:
        path.write_bytes(says(HANDSHAKE))
    paths[1].write_bytes(says(HANDSHAKE, 30))
    chosen = xptrace("follow", "--idle", "0", "-T", "jsonl", "--vm", "two", "-Y", "register == magic", *paths)
    assert [(row["vm"], row["register"]) for row in accesses(chosen.rows)] == [("two", "magic")] * 2


def test_several_logs_are_followed_as_their_lines_come(tmp_path: Path, follow: Callable[..., Follow]) -> None:
    one, two = paths = [tmp_path / f"qemu-dm-{name}.log" for name in ("one", "two")]
    for path in paths:
        path.touch()
    running = follow(*paths)
    for path, events in ((two, HANDSHAKE[:1]), (one, HANDSHAKE[:2]), (two, HANDSHAKE[1:3])):
        add(path, says(events))
        assert of("vm", running.rows(len(events))) == [path.stem.removeprefix("qemu-dm-")] * len(events)


def test_a_binary_recording_is_followed_as_its_records_come(
    tmp_path: Path, data: Path, follow: Callable[..., Follow], xptrace: Callable[..., Any]
) -> None:
    """Of simpletrace, cut in the middle of one."""
    content = gzip.decompress((data / "qemu-oracle" / "10.0.13" / "44-bar0-decode" / "trace.bin.gz").read_bytes())
    path = tmp_path / "trace.bin"
    path.write_bytes(content[:-1001])
    running = follow("--idle", "1", path)
    rows = running.rows(1)
    add(path, content[-1001:])
    rest, err = running.ends(0)
    assert " + 0 damaged + 0 lost = " in err
    assert accesses(rows + rest) == accesses(xptrace("decode", "-T", "jsonl", path).rows)


# -- the end


def test_ctrl_c_gives_the_account_and_exit_code_130(log: Path, follow: Callable[..., Follow]) -> None:
    log.write_bytes(says(HANDSHAKE) + b"213@1795406900.000000:cpu_out addr 0x10(w) value 1")
    running = follow(log)
    running.rows(6)
    rows, err = running.interrupt()
    assert of("value", accesses(rows)) == [1]  # the line that was not complete is all there will be of it
    assert err.splitlines()[0] == f"xptrace: 7 decoded + 0 other + 0 damaged + 0 lost = 7 lines, {log.stat().st_size} B"
    assert re.fullmatch(rf"xptrace: interrupted: {log.stat().st_size} bytes read", err.splitlines()[1])


def test_what_cannot_grow_is_refused(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    packed = tmp_path / "trace.log.gz"
    packed.write_bytes(gzip.compress(says(HANDSHAKE)))
    for path, why in ((packed, "is compressed"), ("-", "is no regular file"), (tmp_path / "none", "no such file")):
        done = xptrace("follow", path)
        assert done.code == 2
        assert why in done.err
