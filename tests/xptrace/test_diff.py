"""Where two negotiations part: by what was done and answered, whatever the timing and the events recorded."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.cli import diff as command
from xptrace.errors import XptraceError
from xptrace.negotiation.diff import Difference, Pair, Side, Step, choose, compare, steps
from xptrace.views.difference import difference_lines

MAGIC = "cpu_in addr 0x10(w) value 18898"
REFUSED = "cpu_in addr 0x10(w) value 53833"  # 0xd249
VERSION = "cpu_in addr 0x12(b) value 1"
PRODUCT = "cpu_out addr 0x12(w) value 3"
BUILD = "cpu_out addr 0x10(l) value 1"
MASK = "cpu_out addr 0x10(w) value 3"
LINUX = [MAGIC, VERSION, PRODUCT, BUILD, MAGIC, MASK]


def says(text: str) -> list[str]:
    return [f"cpu_out addr 0x12(b) value {byte}" for byte in f"{text}\n".encode()]


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, *parts: str | Sequence[str]) -> Path:
        path = tmp_path / name
        events = [event for part in parts for event in ([part] if isinstance(part, str) else part)]
        path.write_text("".join(f"{event}\n" for event in events))
        return path

    return write


class Run:
    """What the command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def marks(self) -> str:
        """The first character of each line of the table."""
        return "".join(line[0] for line in self.out.split("\n\n")[1].splitlines()[1:])

    @property
    def closing(self) -> list[str]:
        return self.out.split("\n\n")[2].splitlines()


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run the command by itself, in this process."""
    parser = argparse.ArgumentParser()
    command.add(parser)

    def run(*arguments: str | Path) -> Run:
        capsys.readouterr()
        code = command.run(parser.parse_args([*map(str, arguments)]))
        shown = capsys.readouterr()
        return Run(code, shown.out, shown.err)

    return run


# -- real recordings


def test_one_handshake_recorded_six_fold_and_another_four_fold_are_the_same(
    data: Path, diff: Callable[..., Run]
) -> None:
    """Both hold six accesses to the fixed ports and none to BAR0; each side's line is that of its first record."""
    six, four = (data / "real-xen" / name for name in ("all-events-handshake.txt", "qemu-trace-linux-default.log.gz"))
    done = diff("-T", "jsonl", six, four)
    assert done.code == 0
    assert [row["status"] for row in done.rows] == ["same"] * 6
    registers = ["magic", "protocol_version", "product_number", "build_number", "magic", "unplug_mask"]
    assert [row["register"] for row in done.rows] == registers
    first = re.compile(r":handle_ioreq I/O=\S+ type=0 .* port=0x1[02] ")  # an access begins with this event
    for side, text in (("a", six.read_text()), ("b", gzip.decompress(four.read_bytes()).decode())):
        raw = text.splitlines()
        expected = [number for number, line in enumerate(raw, 1) if first.search(line)]
        assert [row[side]["line"] for row in done.rows] == expected
        for row in done.rows:
            line = raw[row[side]["line"] - 1]
            assert text.encode()[row[side]["offset"] :].startswith(line.encode())
            assert str(row[side]["time_ns"])[:16] == line.split(":")[0].split("@")[1].replace(".", "")


def test_text_shows_time_and_line_of_both_sides(data: Path, diff: Callable[..., Run]) -> None:
    """Stamps 29.212941 and 29.230751 in lines 6 and 36; 38.307656 and 38.317377 in lines 19043 and 19063."""
    paths = [data / "real-xen" / name for name in ("all-events-handshake.txt", "qemu-trace-linux-default.log.gz")]
    done = diff(*paths)
    head, table, closing = done.out.split("\n\n")
    assert head.splitlines() == [f"A  all-events-handshake#1  {paths[0]}", f"B  linux-default#1         {paths[1]}"]
    first, last = table.splitlines()[1], table.splitlines()[-1]
    assert first.split()[:4] == ["0.000000", "0.000000", "6", "19043"]
    assert last.split()[:4] == ["0.017810", "0.009721", "36", "19063"]
    assert last.endswith("unplug mask 0x0003: IDE and SCSI disks, NICs")
    assert closing == "both do the same: 6 steps\n"
    assert done.err.count("\n") == 1
    assert done.err.startswith("xptrace: 964 decoded")  # 54 and 910


def test_config_accesses_count_only_where_all_are_asked_for(data: Path, diff: Callable[..., Run]) -> None:
    """The excerpt holds one config read of the platform device, the whole log 200 config accesses."""
    paths = [data / "real-xen" / name for name in ("all-events-handshake.txt", "qemu-trace-linux-default.log.gz")]
    rows = diff("--all", "-T", "jsonl", *paths).rows
    ports = [row for row in rows if row["register"] != "config"]
    assert [row["status"] for row in ports] == ["same"] * 6
    config = [row["b"]["count"] for row in rows if row["register"] == "config" and row["b"]]
    assert sum(config) == 200


def test_ide_disks_only_differs_exactly_in_the_mask(corpus: Path, diff: Callable[..., Run]) -> None:
    root = corpus / "recorded" / "real-xen"
    done = diff(
        root / "linux-default" / "qemu-trace.log.gz", root / "unplug-ide-disks" / "qemu-trace-unplug-ide-disks.log.gz"
    )
    assert done.code == 1
    assert done.marks == "     !!"
    assert done.closing == [
        "both agree for 5 steps; then A unplugs IDE and SCSI disks, NICs, and B unplugs IDE and SCSI disks",
        "A: complete: unplugged IDE and SCSI disks, NICs",
        "B: complete: unplugged IDE and SCSI disks",
    ]


def test_a_guest_that_unplugs_nothing_lacks_the_mask(corpus: Path, diff: Callable[..., Run]) -> None:
    root = corpus / "recorded" / "real-xen"
    paths = [
        root / "linux-default" / "qemu-trace.log.gz",
        root / "unplug-unnecessary" / "qemu-trace-unplug-unnecessary.log.gz",
    ]
    done = diff("-T", "jsonl", *paths)
    assert done.code == 1
    assert [row["status"] for row in done.rows] == [*["same"] * 5, "only-a"]
    last = done.rows[-1]
    assert (last["step"], last["register"], last["direction"], last["b"]) == (6, "unplug_mask", "write", None)
    assert (last["a"]["value"], last["a"]["meaning"]) == (3, "unplug mask 0x0003: IDE and SCSI disks, NICs")
    sentence = "both agree for 5 steps; then {} unplugs IDE and SCSI disks, NICs, and {} never does"
    assert diff(*paths).closing[0] == sentence.format("A", "B")
    assert diff(*reversed(paths)).closing[0] == sentence.format("B", "A")


def test_the_same_accesses_on_two_versions_of_the_device_are_the_same(data: Path, diff: Callable[..., Run]) -> None:
    root = data / "qemu-oracle"
    done = diff(*(root / version / "03-linux-negotiation" / "trace.log" for version in ("7.2.22", "10.2.2")))
    assert done.code == 0
    assert done.marks == " " * 7  # golden.jsonl: six accesses, and one line of the log
    assert "says            Linux 6.1 xen platform up\n" in done.out


def test_linux_and_windows_part_after_the_version(corpus: Path, diff: Callable[..., Run]) -> None:
    """golden.jsonl of 05: product 2, build 0x09030000, two log lines, mask 1, mask 2."""
    root = corpus / "recorded" / "qemu-oracle" / "7.2.22"
    names = ("03-linux-negotiation", "05-windows-pv-negotiation")
    done = diff("-T", "jsonl", *(root / name / "trace.log" for name in names))
    assert done.code == 1
    told = [(row["status"], row["register"], *(row[s] and row[s]["value"] for s in "ab")) for row in done.rows]
    assert told == [
        ("same", "magic", 0x49D2, 0x49D2),
        ("same", "protocol_version", 1, 1),
        ("changed", "product_number", 3, 2),
        ("changed", "build_number", 0xFFFFFFFF, 0x09030000),
        ("same", "magic", 0x49D2, 0x49D2),
        ("only-b", "log", None, "XENFILT: UnplugRequest: DISKS"),
        ("changed", "unplug_mask", 3, 1),
        ("changed", "log", "Linux 6.1 xen platform up", "XENFILT: UnplugRequest: NICS"),
        ("only-b", "unplug_mask", None, 2),
    ]
    assert diff(*(root / name / "trace.log" for name in names)).closing[0] == (
        "both agree for 2 steps; then A names product 3 (linux), and B names product 2 (gplpv-windows); "
        "after that, 5 more steps differ"
    )


def test_the_kernel_that_a_migration_resumed_negotiates_alike(corpus: Path, diff: Callable[..., Run]) -> None:
    root = corpus / "recorded" / "real-xen" / "migrate-local"
    done = diff(root / "qemu-trace-212.log.gz", root / "qemu-trace-375.log.gz")
    assert (done.code, done.marks) == (0, " " * 6)


def test_a_file_is_the_same_as_itself(data: Path, diff: Callable[..., Run]) -> None:
    for path in (
        data / "real-xen" / "qemu-trace-linux-default.log.gz",
        data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.log",
        data / "qemu-oracle" / "10.0.13" / "60-reset-mid" / "trace.log",
    ):
        done = diff("-T", "jsonl", "--all", path, path)
        assert done.code == 0
        assert {row["status"] for row in done.rows} == {"same"}


def test_two_boots_of_one_recording(data: Path, diff: Callable[..., Run]) -> None:
    """60-reset-mid: before the reset, flags, product, build and mask 4; after it, reads, mask 2, half a line."""
    path = data / "qemu-oracle" / "10.0.13" / "60-reset-mid" / "trace.log"
    done = diff("--boot", "1", "--boot-b", "2", path)
    assert done.code == 1
    assert done.out.startswith(f"A  trace#1  {path}\nB  trace#2  {path}\n")
    assert done.marks == "---+++!!+"
    assert done.err.count(" decoded + ") == 1
    assert "= 70 lines" in done.err  # the file is accounted for once
    assert "unplug mask 0x0004: IDE disks except the primary master" in done.out
    assert "says            half a line\n" in done.out


def test_timing_never_matters(data: Path, tmp_path: Path, diff: Callable[..., Run]) -> None:
    path = data / "real-xen" / "all-events-handshake.txt"
    slow = tmp_path / "slow.log"
    slow.write_text(re.sub(
        r"@(\d+)\.(\d+):", lambda m: f"@{int(m[1]) + 7 * (int(m[2]) - 113219) // 1000}.000001:", path.read_text()
    ))  # fmt: skip
    done = diff(path, slow)
    assert (done.code, done.marks) == (0, " " * 6)
    assert "124.000000" in done.out  # 699 * 0.178 ms later, rounded down to whole seconds on either side


# -- recordings made by hand


def test_a_driver_that_is_refused_is_one_changed_step(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    good, bad = log("good.log", LINUX), log("bad.log", LINUX[:4], REFUSED)
    done = diff(good, bad)
    assert done.code == 1
    assert done.marks == "    !!-"
    assert done.closing[0] == (
        "both agree for 4 steps; then A reads magic 0x49d2 (Xen platform device, not blacklisted), "
        "and B reads magic 0xd249 (driver blacklisted); after that, 1 more step differs"
    )
    assert done.closing[1:] == [
        "A: complete: unplugged IDE and SCSI disks, NICs", "B: blacklisted: nothing unplugged",
    ]  # fmt: skip


def test_reads_that_repeat_one_another_are_one_step(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("once.log", LINUX), log("often.log", [MAGIC] * 4, LINUX[1:]))
    assert done.code == 0
    assert "not blacklisted  (×1 in A, ×4 in B)" in done.out
    rows = diff("-T", "jsonl", log("once.log", LINUX), log("often.log", [MAGIC] * 4, LINUX[1:])).rows
    assert [row["b"]["count"] for row in rows] == [4, 1, 1, 1, 1, 1]
    assert [row["b"]["line"] for row in rows] == [1, 5, 6, 7, 8, 9]


def test_writes_that_repeat_one_another_are_steps_of_their_own(
    log: Callable[..., Path], diff: Callable[..., Run]
) -> None:
    done = diff(log("once.log", LINUX), log("twice.log", LINUX, MASK))
    assert (done.code, done.marks) == (1, "      +")
    assert done.closing == [
        "both agree for 6 steps; then B unplugs IDE and SCSI disks, NICs again, and A does not"
    ]


def test_a_driver_that_skips_steps_meets_the_other_again(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    """The BSDs read the magic and write the mask, nothing else."""
    done = diff(log("linux.log", LINUX), log("bsd.log", MAGIC, MASK))
    assert done.marks == " ---- "
    assert done.closing[0] == (
        "both agree for 1 step; then A reads protocol version 1 (unplug by mask), and B never does; "
        "after that, 3 more steps differ"
    )


def test_the_same_done_later_is_said_so(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, MASK, says("done"), VERSION), log("b.log", MAGIC, says("done"), VERSION, MASK))
    assert done.marks == " -  +"
    assert done.closing[0].startswith(
        "both agree for 1 step; then A unplugs IDE and SCSI disks, NICs, and B does so only later"
    )


def test_other_steps_in_the_same_place_are_told_of_both(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, MASK, VERSION), log("b.log", MAGIC, says("no"), VERSION))
    assert done.marks == " -+ "
    assert done.closing[0] == (
        'both agree for 1 step; then A unplugs IDE and SCSI disks, NICs, and B says "no" instead; '
        "after that, 1 more step differs"
    )


def test_places_without_a_register_are_not_paired_with_each_other(
    log: Callable[..., Path], diff: Callable[..., Run]
) -> None:
    done = diff(
        log("a.log", MAGIC, "cpu_in addr 0x14(w) value 65535"), log("b.log", MAGIC, "cpu_in addr 0x18(w) value 65535")
    )
    assert done.marks == " -+"
    assert done.closing[0].startswith(
        "both agree for 1 step; then A reads port 0x14: no register here: all ones, "
        "and B reads port 0x18: no register here: all ones instead"
    )


def test_a_mask_of_nothing_is_not_said_to_unplug(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, MASK), log("b.log", MAGIC, "cpu_out addr 0x10(w) value 16"))
    assert done.closing[0] == (
        "both agree for 1 step; then A unplugs IDE and SCSI disks, NICs, "
        "and B writes unplug mask 0x0010: nothing to unplug"
    )


def test_a_base_of_bar0_is_no_difference(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    form = "memory_region_ops_write cpu 1 mr 0x7f addr 0x{}04 value 0x1 size 1 name 'xen-pci'"
    done = diff(log("a.log", form.format("c0")), log("b.log", form.format("c2")))
    assert done.code == 0
    assert "write bar0+0x4" in done.out


def test_a_string_of_log_bytes_is_its_line(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    whole = [
        "handle_ioreq I/O=0x7f type=0 dir=0 df=0 ptr=1 port=0x12 data=0x1234 count=5 size=1",
        "xen_platform_log xen platform: abcd",
    ]
    done = diff(log("bytes.log", MAGIC, says("abcd"), MASK), log("string.log", MAGIC, whole, MASK))
    assert (done.code, done.marks) == (0, "   ")


def test_a_line_that_was_not_finished_is_another_line(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, says("abc")), log("b.log", MAGIC, says("abc")[:-1]))
    assert (done.code, done.marks) == (1, " !!")
    assert "abc  (not finished)\n" in done.out


def test_long_runs_of_the_same_are_folded(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    lines = [event for number in range(20) for event in says(f"line {number}")]
    done = diff(log("a.log", MAGIC, lines, MASK), log("b.log", MAGIC, lines, "cpu_out addr 0x10(w) value 1", MASK))
    table = done.out.split("\n\n")[1].splitlines()[1:]
    assert [line for line in table if "…" in line] == ["  … 15 steps that are the same …"]
    assert [line.split()[-1] for line in table[1:3] + table[4:7]] == ["0", "1", "17", "18", "19"]
    assert done.marks[7:] == "+ "
    rows = diff("-T", "jsonl", log("a.log", MAGIC, lines, MASK), log("b.log", MAGIC, lines, MASK)).rows
    assert len(rows) == 22


def test_accesses_before_the_first_probe_count_too(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    """A BIOS writes the flags; time is counted from the probe."""
    events = ["cpu_out addr 0x10(b) value 0", MAGIC, MASK]
    path = log("a.log", [f"7@100.{step}00000:{event}" for step, event in enumerate(events)])
    done = diff(path, log("b.log", [f"7@200.{step}00000:{event}" for step, event in enumerate(events[1:])]))
    assert done.marks == "-  "
    assert [line.split()[1] for line in done.out.split("\n\n")[1].splitlines()[1:2]] == ["-0.100000"]
    assert done.closing[0].startswith("they part at the first step: A sets flags 0x00 (ROM area writable)")


def two_machines(log: Callable[..., Path]) -> Path:
    """Two device models that write in turns: 100 negotiates in its second boot only, 200 in its first."""
    start = "xen_ioreq_server_create id: 0"
    return log("both.log", [
        f"{thread}@1795406729.{step:06d}:{event}"
        for step, (thread, event) in enumerate([
            (100, start), (200, start), (100, "cpu_out addr 0x10(b) value 0"), (200, MAGIC), (100, start),
            (200, MASK), (100, MAGIC), (200, "cpu_in addr 0x10(b) value 0"), (100, "cpu_out addr 0x10(w) value 1"),
        ])
    ])  # fmt: skip


def test_the_first_vm_and_boot_with_a_negotiation_are_compared(
    log: Callable[..., Path], diff: Callable[..., Run]
) -> None:
    path = two_machines(log)
    assert diff(path, path).out.startswith("A  both-200#1")
    done = diff("--vm-b", "both-100", path)
    assert done.out.splitlines()[:2] == [f"A  both-200#1  {path}", f"B  both-100#2  {path}"]
    assert done.marks == " !!-"
    done = diff("--boot", "2", path, path)
    assert [line.split()[1] for line in done.out.splitlines()[:2]] == ["both-100#2"] * 2


def test_a_side_without_a_negotiation_is_named_in_one_line(
    data: Path, log: Callable[..., Path], diff: Callable[..., Run]
) -> None:
    good = data / "real-xen" / "all-events-handshake.txt"
    silent = log("silent.log", "cpu_out addr 0x10(b) value 1", says("hello"))
    both = two_machines(log)
    for arguments, told in (
        ([silent, good], f"{silent}: no negotiation;"),
        ([good, silent], f"{silent}: no negotiation;"),
        (["--vm-b", "win10", good, good], f"{good}: no negotiation of VM 'win10';"),
        (["--vm", "both-100", "--boot", "1", both, good], f"{both}: no negotiation of VM 'both-100' in boot 1;"),
        (["--boot-b", "3", good], f"{good}: no negotiation of VM 'all-events-handshake' in boot 3;"),
    ):
        with pytest.raises(XptraceError) as error:
            diff(*arguments)
        assert str(error.value).startswith(told)
        assert "\n" not in str(error.value)


def test_one_recording_needs_a_second_negotiation(data: Path, diff: Callable[..., Run]) -> None:
    with pytest.raises(XptraceError, match="give a second recording, --vm-b or --boot-b"):
        diff(data / "real-xen" / "all-events-handshake.txt")
    with pytest.raises(XptraceError, match="standard input can be read only once"):
        diff("-", "-")


def test_guest_text_acts_on_nothing(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, says("\x1b[2Jevil\u202e")), log("b.log", MAGIC, says("fine")))
    assert "\x1b" not in done.out
    assert done.closing[0] == 'both agree for 1 step; then A says "\\x1b[2Jevil\\u202e", and B says "fine"'
    assert done.out.count("\\x1b[2Jevil\\u202e") == 2
    rows = diff("-T", "jsonl", log("a.log", MAGIC, says("\x1b[2J")), log("b.log", MAGIC)).rows
    assert rows[1]["a"]["value"] == "\x1b[2J"


def test_a_long_message_is_quoted_in_part(log: Callable[..., Path], diff: Callable[..., Run]) -> None:
    done = diff(log("a.log", MAGIC, says("x" * 3000)), log("b.log", MAGIC))
    assert done.closing[0] == f'both agree for 1 step; then A says "{"x" * 60}…", and B never does'


def test_output_goes_to_a_file_that_appears_whole(
    data: Path, tmp_path: Path, log: Callable[..., Path], diff: Callable[..., Run]
) -> None:
    good = data / "real-xen" / "all-events-handshake.txt"
    done = diff("-o", tmp_path / "out.jsonl", "-T", "jsonl", good, good)
    assert (done.code, done.out) == (0, "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6
    silent = log("silent.log", "noise")
    with pytest.raises(XptraceError):
        diff("-o", tmp_path / "other", good, silent)
    assert not (tmp_path / "other").exists()


def test_a_private_build_is_compared_by_its_declarations(
    log: Callable[..., Path], tmp_path: Path, diff: Callable[..., Run]
) -> None:
    private = tmp_path / "trace-events"
    private.write_text('cpu_in(unsigned int addr, char size, unsigned int val) "port=0x%x width=%c got=%u"\n')
    told = log("private.log", "cpu_in port=0x10 width=w got=18898")
    done = diff("--trace-events", private, told, told)
    assert (done.code, done.marks) == (0, " ")


# -- through the command line


def test_the_command_says_by_its_exit_code_whether_they_differ(
    xptrace: Callable[..., Any], data: Path, log: Callable[..., Path]
) -> None:
    good = data / "real-xen" / "all-events-handshake.txt"
    same = xptrace("diff", good, data / "real-xen" / "qemu-trace-linux-default.log.gz")
    assert (same.code, same.out.splitlines()[-1]) == (0, "both do the same: 6 steps")
    other = log("other.log", LINUX[:4], REFUSED)
    differ = xptrace("diff", "-T", "jsonl", good, other)
    assert differ.code == 1
    assert [row["status"] for row in differ.rows] == [*["same"] * 4, "changed", "only-a"]
    assert "\x1b" not in xptrace("diff", good, other).out


def test_the_command_tells_what_it_cannot_compare_in_one_line(
    xptrace: Callable[..., Any], data: Path, log: Callable[..., Path], tmp_path: Path
) -> None:
    good, silent = data / "real-xen" / "all-events-handshake.txt", log("silent.log", "noise")
    done = xptrace("diff", good, silent)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"xptrace: {silent}: no negotiation; `xptrace summary` tells what it holds\n"
    done = xptrace("diff", good, tmp_path / "nowhere.log")
    assert (done.code, done.err) == (2, f"xptrace: {tmp_path}/nowhere.log: no such file\n")


def test_the_command_reads_standard_input(xptrace: Callable[..., Any], data: Path) -> None:
    good = data / "real-xen" / "all-events-handshake.txt"
    done = xptrace("diff", "-", good, stdin=good.read_bytes())
    assert done.code == 0
    assert done.out.startswith("A  stdin#1                 <stdin>\n")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_the_command_colours_on_a_terminal_only(log: Callable[..., Path], no_color: str, coloured: bool) -> None:
    arguments = [sys.executable, "-m", "xptrace", "diff", log("a.log", LINUX), log("b.log", LINUX[:4], REFUSED)]
    master, slave = pty.openpty()
    with subprocess.Popen(
        list(map(str, arguments)), stdout=slave, stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"},
    ) as process:  # fmt: skip
        process.wait(60)
    os.close(slave)
    shown = os.read(master, 65536)
    os.close(master)
    assert process.returncode == 1
    assert (b"\x1b[33m!" in shown, b"\x1b[31m-" in shown) == (coloured, coloured)


# -- the Python face


def test_a_program_compares_as_the_command_does(data: Path) -> None:
    sides = [
        choose(Decoder([str(data / "real-xen" / name)]).rows())
        for name in ("all-events-handshake.txt", "qemu-trace-no-timestamp.log.gz")
    ]
    a, b = (side for side in sides if side is not None)
    assert compare(a.steps, b.steps).same
    assert [a.since(step) for step in a.steps][:2] == [0, 3061000]
    assert {b.since(step) for step in b.steps} == {None}
    assert list(a.steps) == steps(Decoder([str(data / "real-xen" / "all-events-handshake.txt")]).rows())
    assert choose([]) is None
    assert steps([]) == []
    assert compare([], []).same


def test_long_logs_are_aligned_by_the_lines_that_occur_once() -> None:
    """A driver that says one thing over and over, with a line of its own now and then."""

    def said(other: str, count: int) -> list[Step]:
        texts = [f"line {n}" if n % 100 == 0 else f"{other} {n % 7}" for n in range(count)]
        return [Step("log", "write", text, f"says {text}", "trace.log", 0, n) for n, text in enumerate(texts)]

    a, b = said("busy", 3000), said("idle", 2500)
    difference = compare(a, b)
    assert [pair.a for pair in difference.pairs if pair.a] == a
    assert [pair.b for pair in difference.pairs if pair.b] == b
    same = [pair.a.value for pair in difference.pairs if pair.a and pair.status == "same"]
    assert same == [f"line {n}" for n in range(0, 2500, 100)]


VALUES = st.integers(0, 2)
PLACES = [
    ("magic", "read", "pio", 0x10, 2), ("unplug_mask", "write", "pio", 0x10, 2), ("flags", "write", "pio", 0x10, 1),
    ("undefined", "read", "pio", 0x14, 1), ("undefined", "read", "pio", 0x18, 1),
    ("bar0_unplug_all", "write", "bar0", 4, 1), ("protocol_version", "read", "pio", 0x12, None),
]  # fmt: skip


@st.composite
def accesses(draw: st.DrawFn) -> Step:
    register, direction, space, place, size = draw(st.sampled_from(PLACES))
    value = draw(st.none() | VALUES)
    return Step(register, direction, value, f"{register} {value}", "trace.log", 0, draw(st.integers(1, 9)),
                space=space, place=place, size=size, time_ns=draw(st.none() | VALUES))  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> Step:
    text = draw(st.sampled_from(["up", "down"]))
    return Step("log", "write", text, f"says {text}", "trace.log", 0, 1, complete=draw(st.booleans()))


NEGOTIATIONS = st.lists(accesses() | messages(), max_size=12)


def apart(pair: Pair) -> bool:
    return pair.a is None or pair.b is None


def ordered(difference: Difference) -> list[Pair]:
    """The pairs; of steps that stand alone beside each other, A's first, as nothing orders them."""
    found: list[Pair] = []
    for pair in difference.pairs:
        at = len(found)
        while apart(pair) and pair.a is not None and at and found[at - 1].a is None:
            at -= 1
        found.insert(at, pair)
    return found


@settings(max_examples=200, deadline=None)
@given(x=NEGOTIATIONS)
def test_whatever_was_recorded_is_the_same_as_itself(x: list[Step]) -> None:
    difference = compare(x, x)
    assert difference.same
    assert [pair.status for pair in difference.pairs] == ["same"] * len(x)


@settings(max_examples=400, deadline=None)
@given(a=NEGOTIATIONS, b=NEGOTIATIONS)
def test_a_with_b_mirrors_b_with_a(a: list[Step], b: list[Step]) -> None:
    turned = Difference(tuple(Pair(pair.b, pair.a) for pair in compare(b, a).pairs))
    assert ordered(turned) == ordered(compare(a, b))


@settings(max_examples=400, deadline=None)
@given(a=NEGOTIATIONS, b=NEGOTIATIONS)
def test_both_negotiations_can_be_rebuilt_from_their_difference(a: list[Step], b: list[Step]) -> None:
    difference = compare(a, b)
    assert [pair.a for pair in difference.pairs if pair.a is not None] == a
    assert [pair.b for pair in difference.pairs if pair.b is not None] == b
    for pair in difference.pairs:
        assert pair.a is not None or pair.b is not None
        if pair.a is not None and pair.b is not None:
            assert (pair.a.register, pair.a.direction) == (pair.b.register, pair.b.direction)
            told = [(s.place, s.value, s.complete) for s in (pair.a, pair.b)]
            assert (told[0] == told[1]) == (pair.status == "same")


@settings(max_examples=200, deadline=None)
@given(a=NEGOTIATIONS, b=NEGOTIATIONS, before=NEGOTIATIONS)
def test_what_both_begin_with_is_agreed(a: list[Step], b: list[Step], before: list[Step]) -> None:
    difference = compare(before + a, before + b)
    assert difference.agreed >= len(before)
    assert difference.same == (difference.agreed == len(difference.pairs))


@settings(max_examples=200, deadline=None)
@given(a=NEGOTIATIONS, b=NEGOTIATIONS)
def test_text_shows_a_mark_for_every_difference(a: list[Step], b: list[Step]) -> None:
    sides = [Side("vm", 1, "trace.log", tuple(found), 0, None, "") for found in (a, b)]
    difference = compare(a, b)
    table = "\n".join(difference_lines(difference, *sides)).split("\n\n")[1].splitlines()[1:]
    shown = [line[0] for line in table if line[0] != " "]
    marks = {"same": "", "changed": "!!", "only-a": "-", "only-b": "+"}
    assert "".join(shown) == "".join(marks[pair.status] for pair in difference.pairs)
    assert difference.sentence
