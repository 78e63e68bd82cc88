"""The masks' anomalies: told where a recording shows them, and silent about what only looks like one.

Recordings are lines written by hand (`making`) from the protocol and from what the drivers' sources do, unless they
come from the collection.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.xptrace.findings.making import (
    PLATFORM,
    PROCESS,
    RESET,
    contexts,
    examined,
    found,
    frontend,
    magic,
    mask,
    preamble,
    recording,
    said,
    timed,
    version,
    write,
)
from xptrace.findings.assess import all_rules, assess
from xptrace.findings.rule import Context
from xptrace.model.profiles import profile

RULES = ("A17", "A18", "A19", "A22")
LINUX = [*preamble(), mask(3)]
XENBUS = preamble(0xFFFF, 0x090000)
OLD_FLAGS = [
    "4711@1500000000.000001:memory_region_ops_read cpu -1 mr 0x55e5a222d240 addr 0x10 value 0 size 1",
    "4711@1500000000.000002:cpu_in addr 0x10(b) value 0",
]
"""The flags as QEMU 2.6 to 2.9 told of them, which left a zero without its 0x."""
OLD_PROBE = "4711@1500000000.000003:cpu_in addr 0x10(w) value 18898"


def on(name: str, rule: str, folder: Path, lines: list[str]) -> list[tuple[str, str]]:
    """What a rule finds where the device is known: its severity and sentence."""
    boots = examined(recording(folder, lines), rules=("none",)).stories
    case = Context(boots, {story.vm: [profile(name)] for story in boots})
    return [(one.severity, one.sentence) for one in assess(case, {rule: all_rules()[rule]}).findings]


@pytest.mark.parametrize(
    "lines",
    [
        LINUX,
        [*preamble(), mask(1)],
        [*preamble(), mask(2)],
        [magic(), mask(3)],
        [magic(), version(0), mask(1)],
        [*XENBUS, said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)")],
        [*XENBUS, mask(9), said("UNPLUG: DISKS"), mask(2), said("UNPLUG: NICS")],  # split, NVMe too
        [*XENBUS, mask(4), said("UNPLUG: AUX DISKS"), mask(2)],
        [frontend(768, "Connected"), magic(), mask(2)],
        [],
    ],
)
def test_nothing_is_said_of_what_drivers_may_do(tmp_path: Path, lines: list[str]) -> None:
    assert examined(recording(tmp_path, [PROCESS, PLATFORM, *lines]), rules=RULES).findings == []


@pytest.mark.parametrize(
    "folder", ["linux-default", "all-events", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks",
               "unplug-unnecessary", "pvdevice-both", "no-platform-pci"],
)
def test_nothing_is_said_of_guests_that_booted_on_real_xen(corpus: Path, folder: str) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / folder).glob("qemu-trace*.log*"))
    assert examined(*logs, rules=RULES).findings == []


def test_a_guest_that_tried_every_mask_is_told_so(corpus: Path) -> None:
    """`how` it was made: masks 0, 2, 2, 1, 4, 8, 0x10, 0x100, 0x8000, 1, 0xffff, seconds apart."""
    log = corpus / "recorded" / "real-xen" / "unplug-steps" / "qemu-trace-unplug-steps.log.gz"
    done = examined(log, rules=RULES)
    told = [(one.rule.id, one.sentence.removeprefix("unplug-steps#1: ")[:11]) for one in done.findings]
    assert told == [("A19", "mask 0x0000"), ("A19", "mask 0x0010"), ("A18", "mask 0xffff")]


@settings(max_examples=200, deadline=None)
@given(contexts())
def test_no_rule_fails_on_any_story(case: Context) -> None:
    for finding in assess(case, {number: all_rules()[number] for number in RULES}).findings:
        assert finding.sentence.startswith(f"{finding.vm}#{finding.boot}: ")
        assert 1 <= len(finding.evidence) <= 8


@pytest.mark.parametrize("number", RULES)
def test_a_recording_without_ports_is_not_assessed(tmp_path: Path, number: str) -> None:
    done = examined(recording(tmp_path, [PROCESS, frontend(768, "Connected")]), rules=(number,))
    assert [(one.rule.id, one.missing) for one in done.unassessed] == [(number, ("ports",))]
    assert done.findings == []


class TestA17:
    def test_a_recording_of_an_old_qemu_shows_that_the_bit_is_unknown(self, tmp_path: Path) -> None:
        lines = [*OLD_FLAGS, OLD_PROBE, "4711@1500000000.000004:cpu_out addr 0x10(w) value 9"]
        (finding,) = found(tmp_path, lines, "A17")
        assert (finding.severity, finding.certainty) == ("low", "derived")
        assert finding.sentence.startswith("win10#1: mask 0x0009, written at 02:40:00.0 UTC, has bit 3 (NVMe disks)")
        assert [place.line for place in finding.evidence] == [4]

    @pytest.mark.parametrize("name", ["qemu-2.8", "qemu-2.9", "xcp-ng-4.2", "qemu-xen-traditional", "xenserver-trad"])
    def test_devices_that_do_not_know_it(self, tmp_path: Path, name: str) -> None:
        assert [severity for severity, _ in on(name, "A17", tmp_path, [magic(), mask(8)])] == ["low"]

    @pytest.mark.parametrize("name", ["qemu-2.10", "qemu-10.2", "kvm-xen-8.0"])
    def test_devices_that_do(self, tmp_path: Path, name: str) -> None:
        assert on(name, "A17", tmp_path, [magic(), mask(8)]) == []

    def test_silent_where_the_release_is_not_known_or_the_bit_not_sent(self, tmp_path: Path) -> None:
        assert found(tmp_path, [f"4711@1500000000.00000{at}:{line}" for at, line in enumerate((magic(), mask(8)))],
                     "A17") == []
        assert on("qemu-2.8", "A17", tmp_path, [magic(), mask(7)]) == []


class TestA18:
    @pytest.mark.parametrize("value", [5, 7])
    def test_bit_0_wins(self, tmp_path: Path, value: int) -> None:
        (finding,) = found(tmp_path, timed([*preamble(), mask(value)]), "A18")
        assert (finding.severity, finding.certainty) == ("low", "observed")
        assert finding.sentence == (f"win10#1: mask 0x000{value}, written at 04:05:29.1 UTC, asks for all disks (bit "
                                    "0) and for all but the primary master (bit 2): bit 0 wins")

    def test_the_same_bits_in_two_masks_are_two_demands(self, tmp_path: Path) -> None:
        assert found(tmp_path, [magic(), mask(4), mask(1), mask(0xA)], "A18") == []


class TestA19:
    def test_a_mask_that_asks_for_nothing(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*preamble(0xFFFF, 0x02061200), mask(0)], "A19")
        assert (finding.severity, finding.certainty) == ("medium", "observed")
        assert finding.sentence == "win10#1: mask 0x0000 was written in line 6, which unplugs nothing"

    def test_bits_that_nobody_defined(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(), mask(0x13), mask(0x8000)], "A19")
        assert "has bits that nobody defined (0x0010); what is defined of it asks for IDE and SCSI disks, NICs" in (
            finding.sentence
        )
        assert [place.line for place in finding.evidence] == [2, 3]

    @pytest.mark.parametrize("lines", [[magic(), mask(0xF)], [magic(), write(0x10, 1, 0), write(0x10, 4, 0)]])
    def test_defined_bits_and_other_widths_are_none(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A19") == []


class TestA22:
    def test_the_same_mask_twice_in_one_handshake(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, timed([*LINUX, mask(3)]), "A22")
        assert (finding.severity, finding.certainty) == ("low", "observed")
        assert "0x0003 was written 1 ms later, when IDE and SCSI disks, NICs had been asked for" in finding.sentence
        assert [place.line for place in finding.evidence] == [6, 7]

    def test_without_a_clock_nothing_else_may_lie_between(self, tmp_path: Path) -> None:
        assert found(tmp_path, [*LINUX, mask(1), frontend(768, "Connected")], "A22")
        assert found(tmp_path, [*LINUX, frontend(768, "Connected"), mask(1)], "A22") == []
        assert found(tmp_path, [*LINUX, mask(1)], "A22") == []

    def test_before_qemu_2_4_it_was_dangerous(self, tmp_path: Path) -> None:
        lines = timed([*LINUX, mask(3)])
        assert [severity for severity, _ in on("qemu-2.3", "A22", tmp_path, lines)] == ["medium"]
        assert [severity for severity, _ in on("qemu-2.4", "A22", tmp_path, lines)] == ["low"]

    @pytest.mark.parametrize(
        "lines",
        [
            [*LINUX, *LINUX],  # everything again, as at a resume
            [*LINUX, 30.0, mask(3)],  # xenlinux and GPLPV at a resume
            [*LINUX, RESET, *LINUX],
            [*XENBUS, mask(1), mask(2)],  # split
            [*XENBUS, mask(1), mask(9)],  # more than before
            [magic(), mask(0), mask(0)],  # A19
        ],
    )
    def test_silent_where_the_guest_may_have_been_resumed_or_asks_for_more(
        self, tmp_path: Path, lines: list[str | float]
    ) -> None:
        assert found(tmp_path, timed(lines), "A22") == []
