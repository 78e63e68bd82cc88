"""scapy's shell over a recording: packets, case and layers are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

HANDSHAKE = "real-xen/all-events-handshake.txt"


def test_code_finds_packets_case_and_layers(data: Path, xptrace: Callable[..., Any]) -> None:
    code = "masks = [p for p in packets if UnplugMask in p]; print(masks[0].summary()); print(len(case.accesses))"
    done = xptrace("shell", "-c", code, data / HANDSHAKE)
    assert done.code == 0
    assert done.out.splitlines() == ["all-events-handshake#1 / write 0x10 2 bytes / unplug_mask ide_disks+nics", "8"]


def test_packets_have_the_times_of_the_recording(data: Path, xptrace: Callable[..., Any]) -> None:
    done = xptrace("shell", "-c", "print(*(int(p.time * 10**9) for p in packets[:2]))", data / HANDSHAKE)
    assert done.out == "1795406729113219000 1795406729212941000\n"


def test_a_session_answers_and_ends(data: Path, xptrace: Callable[..., Any]) -> None:
    done = xptrace("shell", data / HANDSHAKE, stdin=b"packets[1].summary()\nexit()\n")
    assert done.code == 0
    assert "magic Xen platform device, not blacklisted" in done.out


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    done = xptrace("shell", "-c", "1", tmp_path / "no.log")
    assert (done.code, done.err) == (2, f"xptrace: {tmp_path}/no.log: no such file\n")
