"""What XenServer was told, by oxenstored's access log beside the log of the device models (A49)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.xptrace.findings.making import BEGUN, PROCESS, RUNNING, examined, preamble
from xptrace.findings.assess import Assessment

IDENTITY = (-1.0, "A7", "/local/domain/5/platform/device_id 0001")
LATER = (70.0, "D5", "attr/os/name Linux")
Node = tuple[float, str, str]


def daemon_log(folder: Path, lines: Iterable[str], domain: int = 5) -> Path:
    """XenServer's log of all its device models, in which a line tells its domain by its tag."""
    path = folder / "daemon.log"
    at = f"{int(BEGUN.timestamp())}.{BEGUN.microsecond:06}"
    path.write_text("".join(f"Nov 23 04:05:29 xs qemu-dm-{domain}[4321]: 4321@{at}:{line}\n" for line in lines))
    return path


def access_log(folder: Path, nodes: Iterable[Node]) -> Path:
    """The writes of these nodes, so many seconds after the driver named itself."""
    path = folder / "xenstored-access.log"
    lines = []
    for seconds, connection, node in nodes:
        now = BEGUN + timedelta(seconds=seconds)
        lines.append(f"[{now:%Y%m%dT%H:%M:%S}.{now.microsecond // 1000:03}Z]  {connection:12} write     {node}\n")
    path.write_text("".join(lines))
    return path


def told(folder: Path, nodes: Iterable[Node], *, number: int = 3, built: int = 1, verdict: int = 0x49D2) -> Assessment:
    log = daemon_log(folder, [PROCESS, RUNNING, *preamble(number, built, verdict)])
    return examined(log, access_log(folder, nodes), rules=("A49",))


@pytest.mark.parametrize("built", [0, 1, 0xFF])
def test_a_linux_driver_of_which_nobody_told_xenserver(tmp_path: Path, built: int) -> None:
    done = told(tmp_path, [IDENTITY, LATER], built=built)
    (finding,) = done.findings
    assert (finding.vm, finding.certainty) == ("dom5", "derived")
    assert [(Path(place.source).name, place.line) for place in finding.evidence] == [
        ("daemon.log", 5), ("daemon.log", 6), ("xenstored-access.log", 2)]


def test_it_is_found_in_whatever_order_the_logs_are_given(tmp_path: Path) -> None:
    nodes, log = access_log(tmp_path, [IDENTITY, LATER]), daemon_log(tmp_path, [PROCESS, RUNNING, *preamble()])
    assert examined(nodes, log, rules=("A49",)).findings


@pytest.mark.parametrize("mark", [
    "vm-data/disable_pf 0", "platform/revision 2", "platform/subsystem_id 1", "control/has-vendor-device 0",
    "xenserver/attr 1",
])
def test_each_mark_of_the_toolstack_shows_that_it_is_xenserver(tmp_path: Path, mark: str) -> None:
    assert told(tmp_path, [(-1.0, "A7", f"/local/domain/5/{mark}"), LATER]).findings


@pytest.mark.parametrize("seconds", [0.0, 0.5, 65.0])
@pytest.mark.parametrize("by", [("A9", "/local/domain/5/"), ("D5", "")])
def test_it_is_fine_when_somebody_told_it(tmp_path: Path, seconds: float, by: tuple[str, str]) -> None:
    connection, home = by
    done = told(tmp_path, [IDENTITY, (seconds, connection, f"{home}data/updated 1"), LATER])
    assert (done.findings, done.unassessed) == ([], [])


def test_what_was_told_before_is_of_another_driver(tmp_path: Path) -> None:
    assert told(tmp_path, [IDENTITY, (-0.5, "A9", "/local/domain/5/data/updated 1"), LATER]).findings


def test_what_another_guest_writes_tells_nothing_of_this_one(tmp_path: Path) -> None:
    hostile = [(0.5, "D6", "/local/domain/5/data/updated 1"), (0.6, "D6", "data/updated 1")]
    assert told(tmp_path, [IDENTITY, *hostile, LATER]).findings[0].vm == "dom5"


@pytest.mark.parametrize(("number", "built", "verdict"), [(1, 1, 0x49D2), (3, 0x100, 0x49D2), (3, 1, 0xD249)])
def test_other_drivers_and_one_that_is_blacklisted_are_not_told_of(
    tmp_path: Path, number: int, built: int, verdict: int
) -> None:
    assert told(tmp_path, [IDENTITY, LATER], number=number, built=built, verdict=verdict).findings == []


@pytest.mark.parametrize("nodes", [
    [(-1.0, "A7", "/local/domain/5/platform/acpi 1"), LATER],  # libxl's
    [(-1.0, "D5", "vm-data/disable_pf 0"), LATER],  # by the guest itself
    [IDENTITY, (59.0, "D5", "attr/os/name Linux")],
    [IDENTITY],
    [(1.0, *IDENTITY[1:]), LATER],  # the log begins too late
], ids=["libxl", "guest", "short", "shorter", "late"])
def test_nothing_is_said_where_the_logs_do_not_show_it(tmp_path: Path, nodes: list[Node]) -> None:
    assert told(tmp_path, nodes).findings == []


def test_without_the_log_of_xenstored_it_cannot_be_assessed(tmp_path: Path) -> None:
    done = examined(daemon_log(tmp_path, [PROCESS, RUNNING, *preamble()]), rules=("A49",))
    assert [one.missing for one in done.unassessed] == [("xenstored",)]


@pytest.mark.parametrize("folder", ["reboot-twice", "unplug-steps"])
def test_xl_leaves_no_marks_of_xenserver(corpus: Path, folder: str) -> None:
    logs = (corpus / "recorded" / "real-xen" / folder).glob("*.log*")
    assert examined(*sorted(logs), rules=("A49",)).findings == []
