"""Incidents, told end to end: what a responder types, and what must be read on the screen.

Those that are written by hand (`making`) follow the accounts of those who had them; what was posted by its user is read
where it lies, and what was recorded by us says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import xptrace as package
from tests.xptrace.findings.making import MIGRATED, PROCESS, RUNNING, frontend, mask, preamble, recording, said, timed

Run = Callable[..., Any]
Lines = list[str | float]
WAITS, CONNECTS = frontend(768, "Initialising"), frontend(768, "Connected")


def test_after_a_migration_the_disks_hang(tmp_path: Path, xptrace: Run) -> None:
    """From QEMU 2.10 the emulated disk holds the image's lock, and a guest must unplug again where it arrives.

    The commit that made Linux do so tells of a PV disk that waits for its back end, and of nothing on the ports.
    """
    lines: Lines = [PROCESS, RUNNING, *preamble(), mask(3), CONNECTS, 600, PROCESS, WAITS, MIGRATED, 90,
                    "runstate_set current_run_state 9 (running) new_state 4 (paused)"]
    log = recording(tmp_path, timed(lines))

    first, second = sorted(xptrace("summary", "-T", "jsonl", log).rows, key=lambda row: row["boot"])
    assert (first["code"], first["unplug_mask"]) == ("complete", 3)
    assert (second["epoch"], second["unplug_mask"]) == ("migration", None)

    done = xptrace("check", log)
    assert done.code == 13  # high
    worst = done.out.split("\n\n")[0]
    assert "HIGH" in worst
    assert "A21" in worst
    assert "win10#2" in worst
    assert f"{log}:12" in done.out  # the line by which the guest ran again


def test_windows_crashes_and_its_log_is_the_only_witness(corpus: Path, xptrace: Run) -> None:
    """Nothing is recorded but what the crash handler wrote: xen-devel, 2021-02-01, with the same crash by hypervisor.

    There it reads `VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0`.
    """
    log = corpus / "public" / "qemu-xen-log-winpv-bugcheck.log"

    (finding,) = xptrace("check", "-T", "jsonl", log).rows
    assert (finding["rule"], finding["severity"], finding["certainty"]) == ("A34", "high", "observed")
    assert "SYSTEM_SERVICE_EXCEPTION (0x3b), parameters 0xc0000096" in finding["sentence"]
    assert finding["evidence"][0]["line"] == 1

    (crash,) = package.open(str(log)).sayings.itertuples()
    assert (crash.said, crash.speaker) == ("bugcheck", "guest")
    assert crash.fields["code"] == 0x3B
    assert crash.fields["closed"]

    (boot,) = xptrace("summary", "-T", "jsonl", log).rows
    assert boot["code"] == "messages-only"  # of the ports nothing is recorded, and nothing is made up
    unassessed = xptrace("check", "--unassessed", log).out
    assert "A14" in unassessed.partition("not assessable")[2]


def reads_id(device: int, revision: int) -> list[str]:
    """A guest reads vendor, device and revision of the platform device."""
    answers = ((0, device << 16 | 0x5853), (8, 0xFF800000 | revision))
    return [
        line
        for offset, value in answers
        for line in (
            f"cpu_out addr 0xcf8(l) value {1 << 31 | 2 << 11 | offset}",
            f"pci_cfg_read xen-platform 00:02.0 @0x{offset:x} -> 0x{value:x}",
            f"cpu_in addr 0xcfc(l) value {value}",
        )
    ]


def test_a_new_device_id_and_windows_stops_at_0x7b(tmp_path: Path, xptrace: Run) -> None:
    """A VM that moved between hosts comes up with device id 0002: its boot disk's driver is bound to 0001.

    Windows unplugs the emulated disk by the word of the driver that is still there, and finds none to boot from.
    """
    windows = [*preamble(0xFFFF, 0x090000), mask(1), mask(2)]
    crash = [said("xen|BUGCHECK: ====>"), said("xen|BUGCHECK: INACCESSIBLE_BOOT_DEVICE: FFFFF80000000001 "
             "FFFFFFFFC0000034 0000000000000000 0000000000000001"), said("xen|BUGCHECK: <====")]  # fmt: skip
    lines: Lines = [PROCESS, RUNNING, *reads_id(1, 1), *windows, CONNECTS, 3600,
                    PROCESS, RUNNING, *reads_id(2, 2), *windows, WAITS, 70, *crash]
    log = recording(tmp_path, timed(lines))

    done = xptrace("check", "-T", "jsonl", log)
    assert done.code == 13
    found = {row["rule"]: row for row in done.rows if row["boot"] == 2 and row["severity"] == "high"}
    assert "device id 0x0001, now 0x0002" in found["A24"]["sentence"]
    assert "INACCESSIBLE_BOOT_DEVICE (0x7b)" in found["A34"]["sentence"]
    assert "A14" in found  # the disks went, and none took their place
    assert [row["boot"] for row in done.rows if row["severity"] == "high"] == [2] * len(found)

    shown = xptrace("timeline", log).out
    before, after = shown.split("\nwin10#2\n")
    assert "A24" not in before
    assert {"A24", "A34", "A14"} <= {word for word in after.split() if word.startswith("A")}


def test_gplpv_on_the_traditional_device_model_is_healthy_in_spite_of_its_words(corpus: Path, xptrace: Run) -> None:
    """A forum's log of 2014: no time but the guest's, "Unknown PV product 2", and yet nothing is wrong.

    By hand: version 1 is read, product 2 and build 1 are named, mask 3 is written 15 ms after the version.
    """
    log = corpus / "public" / "qemu-trad-gplpv-win7.log"

    (boot,) = xptrace("summary", "-T", "jsonl", log).rows
    assert (boot["code"], boot["protocol_version"], boot["product"], boot["build"], boot["unplug_mask"]) == (
        "complete", 1, 2, 1, 3)
    assert boot["duration_ns"] == 15 * 10**6
    assert boot["driver"].startswith("GPLPV")

    decoded = xptrace("decode", "-T", "jsonl", log).rows
    accesses = [row for row in decoded if row["kind"] == "access"]
    assert {row["certainty"] for row in accesses} == {"inferred"}, "the log tells what was done, not the access"
    (mask,) = [row for row in accesses if row["register"] == "unplug_mask"]
    assert (mask["clock"], mask["time_ns"]) == ("guest", 1404486691482 * 10**6)  # 2014-07-04T15:11:31.482, its own word
    assert xptrace("check", log).code == 0
    assert "A09" not in xptrace("check", log).out


def test_an_unrecognised_magic_is_fatal_where_the_frontends_are_refused(corpus: Path, xptrace: Run) -> None:
    """Recorded: a guest that was started without the platform device; its kernel then refuses its PV drivers.

    The same words as xen-devel, 2026-02-24, where a kernel without CONFIG_XEN_PVH took PVH for HVM.
    """
    folder = corpus / "recorded/real-xen/no-platform-pci"
    (finding,) = xptrace("check", "-T", "jsonl", folder / "guest-no-platform-pci.log",
                         folder / "qemu-trace-no-platform-pci.log.gz").rows
    assert (finding["rule"], finding["severity"], finding["certainty"]) == ("A03", "high", "derived")
    assert "xen_blkfront" in finding["sentence"]
    assert [place["line"] for place in finding["evidence"]] == [17, 393, 394]
    lines = (folder / "guest-no-platform-pci.log").read_bytes().split(b"\n")
    assert b"unrecognised magic value" in lines[17 - 1]
    assert b"xen-blkfront.ko': No such device" in lines[393 - 1]


def test_an_unrecognised_magic_is_cosmetic_where_pv_disks_connect(tmp_path: Path, xptrace: Run) -> None:
    """Composed from xen-devel, 2020-06-05: a PVH guest, which has no such ports, and all its disks."""
    log = tmp_path / "guest-pvh.log"
    log.write_text(
        "[    0.000000] Linux version 5.7.0 (user@host) (gcc) #1 SMP\n"
        "[    0.000000] Xen Platform PCI: unrecognised magic value\n"
        "[    1.504281] blkfront: xvda: flush diskcache: enabled; persistent grants: enabled\n"
    )
    done = xptrace("check", "-T", "jsonl", log)
    assert [(row["rule"], row["severity"]) for row in done.rows] == [("A03", "info")]
    assert done.code == 0


def test_a_guest_tells_of_its_unplug_and_nobody_else(corpus: Path, xptrace: Run) -> None:
    """A guest's messages on EC2, as posted: the mask that it says it asks for, as its word."""
    (boot,) = xptrace("summary", "-T", "jsonl", corpus / "public/linux-guest-dmesg-ec2-unplug.log").rows
    assert boot["code"] == "messages-only"
    assert boot["verdict"] == "only the guest's word is recorded: it unplugs IDE and SCSI disks, NICs"
    assert boot["unplug_mask"] is None, "no access is recorded"


def test_the_hypervisors_console_is_the_only_witness_of_a_crash(corpus: Path, xptrace: Run) -> None:
    """Qubes and XCP-ng: the drivers write their report to port 0xe9 too, and `xl dmesg` has it, by domain."""
    log = corpus / "public" / "xl-dmesg-d1-bugcheck.log"
    (finding,) = xptrace("check", "-T", "jsonl", log).rows
    assert (finding["rule"], finding["vm"], finding["severity"]) == ("A34", "dom1", "high")
    assert "SYSTEM_SERVICE_EXCEPTION (0x3b), parameters 0xc0000096, 0xfffff80418a21e27" in finding["sentence"]
    assert [place["line"] for place in finding["evidence"]] == [1, 2, 14]


def test_the_hypervisor_saw_a_crash_of_which_the_guest_said_nothing(tmp_path: Path, xptrace: Run) -> None:
    """The line of xen-devel, 2021-02-01, alone."""
    log = tmp_path / "xl-dmesg.txt"
    log.write_text("(XEN) [ 4711.000001] d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0\n")
    (finding,) = xptrace("check", "-T", "jsonl", log).rows
    assert (finding["rule"], finding["vm"], finding["severity"]) == ("A34", "dom11", "high")
    assert "SYSTEM_SERVICE_EXCEPTION (0x3b), parameters 0xc0000096, 0x75b12c5, 0x9e7f1580, 0x0" in finding["sentence"]
