"""The command line as a person uses it."""

from __future__ import annotations

import argparse
import csv
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xptrace import cli
from xptrace.access.rows import KEYS


@pytest.fixture
def log(data: Path) -> Path:
    return data / "real-xen" / "all-events-handshake.txt"


def test_text_is_one_access_a_line(xptrace: Callable[..., Any], log: Path) -> None:
    done = xptrace("decode", "--register", "unplug_mask", log)
    assert done.out == (
        "2026-11-23T04:05:29.230751Z  all-events-handshake#1 write 0x10   2         "
        "unplug mask 0x0003: IDE and SCSI disks, NICs\n"
    )
    assert done.err.count("\n") == 1
    assert done.err.endswith("= 126 lines, 13.2 kB\n")


@pytest.mark.parametrize(
    ("times", "first", "last"),
    [
        ("utc", "2026-11-23T04:05:29.212941Z", "2026-11-23T04:05:29.230751Z"),
        ("epoch", "1795406729.212941", "1795406729.230751"),
        ("rel", "0.000000", "0.017810"),
        ("delta", "0.000000", "0.003549"),
    ],
)
def test_times(xptrace: Callable[..., Any], log: Path, times: str, first: str, last: str) -> None:
    """The stamps of the first handle_ioreq of each access: 29.212941 … 29.227202, 29.230751."""
    names = ("magic", "protocol_version", "product_number", "build_number", "unplug_mask")
    chosen = [part for name in names for part in ("--register", name)]
    lines = xptrace("decode", "-t", times, *chosen, log).out.splitlines()
    assert [line.split()[0] for line in (lines[0], lines[-1])] == [first, last]


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        (["--since", "04:05:29.2272"], [0x49D2, 3]),
        (["--since", "4:05:29.2272"], [0x49D2, 3]),
        (["--since", "2026-11-23T05:05:29.2272+01:00"], [0x49D2, 3]),
        (["--until", "1795406729.2159"], [0x49D2]),
        (["--since", "2026-11-23T04:05:29.2159Z", "--until", "2026-11-23T04:05:29.22Z"], [1, 3]),
    ],
)
def test_since_and_until(xptrace: Callable[..., Any], log: Path, bounds: list[str], values: list[int]) -> None:
    rows = xptrace("decode", "-T", "jsonl", *bounds, log).accesses
    assert [row["value"] for row in rows if row["space"] == "pio"] == values


def test_a_bound_that_is_no_time(xptrace: Callable[..., Any], log: Path) -> None:
    done = xptrace("decode", "--since", "yesterday", log)
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_every_format_has_the_same_keys(xptrace: Callable[..., Any], data: Path) -> None:
    path = data / "qemu-oracle" / "10.0.13" / "03-linux-negotiation" / "trace.log"
    rows = xptrace("decode", "-T", "jsonl", path).rows
    table = list(csv.DictReader(io.StringIO(xptrace("decode", "-T", "csv", path).out)))
    assert tuple(table[0]) == KEYS
    assert {key for row in rows for key in row} == set(KEYS)
    shown = xptrace("decode", "-T", "fields", "-e", "register,value", "-e", "text", path).out.splitlines()
    assert len(table) == len(rows) == len(shown)
    for row, cells, line in zip(rows, table, shown, strict=True):
        assert cells["offset"] == str(row["offset"])
        value = "" if row.get("value") is None else str(row["value"])
        assert line.split("\t") == [row.get("register", ""), value, row.get("text", "")]


def test_a_message_stands_for_its_bytes_unless_all_are_asked_for(xptrace: Callable[..., Any], data: Path) -> None:
    path = data / "qemu-oracle" / "10.0.13" / "03-linux-negotiation" / "trace.log"
    short = xptrace("decode", path).out
    assert "says                   Linux 6.1 xen platform up" in short
    assert "log character" not in short
    full = xptrace("decode", "--all", path).out
    assert full.count("log character") == len("Linux 6.1 xen platform up\n")


def test_verbose_shows_fields_and_records(xptrace: Callable[..., Any], log: Path) -> None:
    shown = xptrace("decode", "-V", "--register", "unplug_mask", log).out
    assert "mask      = ide_disks+nics" in shown
    raw = log.read_text().splitlines()
    first = next(number for number, line in enumerate(raw) if "29.230751" in line)
    records = raw[first : first + 6]
    for record in records:
        assert f":{raw.index(record) + 1} @" in shown
        assert record in shown


def test_verbose_shows_the_pieces_of_an_access(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text("cpu_out addr 0xf(l) value 1145258561\n")  # 0x44434241: the word 0x4342, then the byte 0x44
    shown = xptrace("decode", "-V", path).out
    assert "mask      = nics+" in shown
    assert "character = 'D'" in shown


def test_standard_input(xptrace: Callable[..., Any], log: Path) -> None:
    done = xptrace("decode", "-T", "jsonl", "-", stdin=log.read_bytes())
    assert len(done.rows) == 8
    assert {row["source"] for row in done.rows} == {"<stdin>"}


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_only_on_a_terminal(log: Path, no_color: str, coloured: bool) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "xptrace", "decode", "--register", "magic", str(log)],
        stdout=slave, stderr=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"},
    ) as process:  # fmt: skip
        process.wait(60)
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert (b"\x1b[36m" in shown) == coloured


def test_a_full_disk_is_told_in_one_line(log: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "xptrace", "decode", str(log)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_while_a_command_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(chosen: str) -> argparse.ArgumentParser:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parser", interrupted)
    assert cli.main(["decode", "any.log"]) == 130


def test_what_a_terminal_cannot_show_is_escaped(data: Path) -> None:
    command = [sys.executable, "-m", "xptrace", "summary", str(data / "real-xen" / "all-events-handshake.txt")]
    text = data / "qemu-oracle" / "10.0.13" / "70-format-c-stderr-d-trace" / "stderr.txt"
    for arguments in (command, [*command[:3], "decode", str(text)]):
        done = subprocess.run(
            arguments, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"}
        )
        assert done.returncode == 0
        assert done.stdout.isascii()
    assert b"caf\\xe9" in done.stdout


def test_no_colour_in_a_pipe(xptrace: Callable[..., Any], log: Path) -> None:
    assert "\x1b" not in xptrace("decode", log).out


def test_two_device_models_that_write_in_turns_are_two_vms(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "both.log"
    events = ["xen_ioreq_server_create id: 0", *["cpu_in addr 0x10(w) value 18898"] * 3]
    path.write_text("".join(
        f"{thread}@1795406729.{step:06d}:{event}\n" for step, event in enumerate(events) for thread in (100, 200)
    ))  # fmt: skip
    rows = xptrace("decode", "-T", "jsonl", path).rows
    assert [row["vm"] for row in rows] == ["both-100", "both-200"] * 3
    assert {row["boot"] for row in rows} == {1}


def test_two_device_models_after_each_other_are_two_boots(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "qemu-dm-win10.log"
    path.write_text("".join(
        f"{thread}@17954067{thread}.000000:{event}\n"
        for thread in (10, 20)
        for event in ("xen_ioreq_server_create id: 0", "cpu_in addr 0x10(w) value 18898")
    ))  # fmt: skip
    rows = xptrace("decode", "-T", "jsonl", path).rows
    assert [(row["vm"], row["boot"]) for row in rows] == [("win10", 1), ("win10", 2)]


def test_the_summary_reads_well(xptrace: Callable[..., Any], log: Path) -> None:
    head, line = xptrace("summary", log).out.splitlines()
    assert head.split() == ["VM", "BOOT", "DRIVER", "VERSION", "MASK", "TOOK", "VERDICT"]
    assert "Linux (product 3, build 1)" in line
    assert line.endswith("17.8 ms  complete: unplugged IDE and SCSI disks, NICs")
