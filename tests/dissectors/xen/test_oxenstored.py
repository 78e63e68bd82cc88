"""oxenstored's access log is read into what is written and removed of guests' nodes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Given, choose
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.oxenstored import DISSECTOR, NEEDLES, AccessLog, sniff

STAMP = b"[20261123T03:17:30.038Z]  "
AT = 1795403850_038_000_000
"""The time of that stamp, by `date -u -d 2026-11-23T03:17:30.038Z`."""


def read(line: bytes) -> list[Record | Damage | Loss]:
    return list(AccessLog(Given("xenstored-access.log", catalogue.load())).read(line, 100, 7, len(line) + 1))


def one(line: bytes) -> Record:
    (record,) = read(line)
    assert isinstance(record, Record)
    return record


@pytest.mark.parametrize(
    ("line", "event", "guest", "path", "value"),
    [  # of the recordings reboot-twice and unplug-steps
        (b"D1           write     control/feature-suspend 1", "write", "dom1", b"control/feature-suspend", b"1"),
        (b"D1.3         write     device/vkbd/0/page-ref 25098", "write", "dom1", b"device/vkbd/0/page-ref", b"25098"),
        (b"A8.2         write     /local/domain/1/platform/acpi_s4 1", "write", "dom1",
         b"/local/domain/1/platform/acpi_s4", b"1"),
        (b"A24.9        write     /local/domain/2/vcpu reboot-twice", "write", "dom2", b"/local/domain/2/vcpu",
         b"reboot-twice"),
        (b"A8.1         write     /local/domain/1/control ", "write", "dom1", b"/local/domain/1/control", b""),
        (b"A8.3         write     /local/domain/0/backend/qdisk/1/768/state 1", "write", "dom1",
         b"/local/domain/0/backend/qdisk/1/768/state", b"1"),  # of the guest that it serves
        (b"A24.2        rm        /local/domain/1/console ", "rm", "dom1", b"/local/domain/1/console", b""),
        # of no recording: the value is the guest's
        (rb"D5           write     data/os_name \027[2J \\ \255 x", "write", "dom5", b"data/os_name",
         rb"\027[2J \\ \255 x"),
        (b"D5           write     data/os_name \xff\x1b", "write", "dom5", b"data/os_name", b"\xff\x1b"),
    ],
)
def test_a_write_or_a_removal_of_a_guests_node_is_a_record(
    line: bytes, event: str, guest: str, path: bytes, value: bytes
) -> None:
    record = one(STAMP + line)
    assert (record.event, f"dom{record.domain}") == (f"xenstored_{event}", guest)
    assert record.values == {"path": path, "value": value}
    assert (record.time_ns, record.clock, record.thread) == (AT, "wall", None)
    assert (record.source, record.offset, record.length, record.line) == (
        "xenstored-access.log", 100, len(STAMP + line) + 1, 7)
    assert any(needle.search(record.raw) for needle in NEEDLES)


def test_who_a_domain_is_is_told_beside_the_node_that_says_so() -> None:
    name, node = read(STAMP + b"A24.9        write     /local/domain/2/name reboot-twice")
    assert isinstance(name, Record)
    assert isinstance(node, Record)
    assert (name.event, name.domain, name.values) == ("domain", 2, {"name": b"reboot-twice"})
    assert (node.event, node.domain) == ("xenstored_write", 2)
    (own,) = read(STAMP + b"D2           write     /local/domain/2/name Domain-0")
    assert isinstance(own, Record)
    assert own.event == "xenstored_write", "a guest does not say who it is"


@pytest.mark.parametrize(
    "line",
    [
        b"D0           write     control/feature-poweroff 1",  # Dom0's own
        b"A2           write     /local/domain/0/name Domain-0",
        b"A2           write     /local/pool/0/name Pool-0",
        b"A8.1         rm        /libxl/1 ",
        b"A8.1         write     /local/domain/1 ",  # the guest's home, no node in it
        b"A8.1         write     /vm/84fb3808-5339-46ba-a73e-dae9891817a8/name reboot-twice",
        b"D3           write     backend/vbd/5/768/state 4",  # a driver domain's, and of another guest
        b"D3           write     /local/domain/5/data/updated 1",  # which no guest may write
        b"A3           write     data/updated 1",  # a socket is Dom0's
        b"A8.1         setperms  /local/domain/1/control n0 r1 ",
        b"D1.5         coalesce  write /local/domain/1/device/vkbd/0/state",
        b"D1           w event   control/shutdown FFFFFFFF82BB0540 ",
        b"r(1):A24.2   rm        /local/domain/1/console ",  # played again
        b"D1           newconn   ",
        b"D1           write     ",
        b"Dx           write     data/updated 1",
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert read(STAMP + line) == []


def test_a_stamp_that_is_no_date_is_damage() -> None:
    (damage,) = read(b"[20261323T03:17:30.038Z]  D1           write     control/feature-suspend 1")
    assert isinstance(damage, Damage)


def test_a_time_before_1970_is_no_time() -> None:
    record = one(b"[19691231T23:59:59.999Z]  D1           write     control/feature-suspend 1")
    assert (record.time_ns, record.clock) == (None, None)


def test_the_example_is_sniffed_and_read_beside_the_other_logs_of_text() -> None:
    assert sniff(DISSECTOR.example) > 0
    assert DISSECTOR.name in [one.name for one, _ in choose(DISSECTOR.example)]
    assert one(DISSECTOR.example).domain == 1


def test_a_log_of_something_else_is_not_taken_for_one() -> None:
    assert sniff(b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n") == 0


@pytest.mark.parametrize(
    ("folder", "feature_lines"), [("reboot-twice", [594, 595, 596]), ("unplug-steps", [1013, 1014, 1015])]
)
def test_the_lines_of_a_recording_by_which_linux_says_what_it_can(
    corpus: Path, folder: str, feature_lines: list[int]
) -> None:
    lines = (corpus / "recorded" / "real-xen" / folder / "xenstored-access.log").read_bytes().splitlines()
    said = {number: found for number, line in enumerate(lines, 1) for found in read(line)}
    assert all(isinstance(found, Record) for found in said.values())
    written = [
        number for number, found in said.items()
        if isinstance(found, Record) and found.text("path").startswith(b"control/feature-")
    ]
    assert written[: len(feature_lines)] == feature_lines


@given(st.binary(max_size=300) | st.builds(
    lambda time, who, what: b"[" + time + b"Z]  " + who + b" write     " + what,
    st.from_regex(rb"\A\d{8}T\d\d:\d\d:\d\d\.\d{3}\Z"), st.from_regex(rb"\A[AD]\d{1,6} *\Z"), st.binary(max_size=60),
))
def test_no_line_makes_it_fail(line: bytes) -> None:
    for found in read(line):
        assert found.offset == 100
        if isinstance(found, Record):
            assert found.time_ns is None or 0 <= found.time_ns < 1 << 63
