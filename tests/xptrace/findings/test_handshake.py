"""The handshake's anomalies: told where a recording shows them, and silent about what only looks like one.

Recordings are lines written by hand (`making`) from the protocol and from what the drivers' sources do, unless they
come from the collection.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.xptrace.findings.making import (
    MIGRATED,
    PLATFORM,
    PROCESS,
    RESET,
    RUNNING,
    build,
    contexts,
    examined,
    found,
    frontend,
    magic,
    mask,
    preamble,
    product,
    read,
    recording,
    said,
    timed,
    version,
    write,
)
from xptrace.findings.assess import all_rules, assess
from xptrace.findings.rule import Context
from xptrace.model.profile import Profile
from xptrace.model.profiles import profile
from xptrace.negotiation.story import Story

RULES = ("A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A09", "A10", "A11", "A12", "A50")
REFUSED, NOBODY = 0xD249, 0xFFFF
LINUX = [*preamble(), mask(3)]
XENBUS = preamble(0xFFFF, 0x090000)
FLAGS = [write(0x10, 1, 0), write(0x10, 1, 1)]
"""What rombios does at each boot."""


def stories(folder: Path, lines: list[str]) -> list[Story]:
    return examined(recording(folder, lines), rules=("none",)).stories


def on(device: Profile, rule: str, folder: Path, lines: list[str]) -> list[tuple[str, str, str]]:
    """What a rule finds where the recording was made by that device, which writes no trace of its own."""
    boots = stories(folder, lines)
    case = Context(boots, {story.vm: [device] for story in boots})
    return [(one.severity, one.certainty, one.sentence) for one in assess(case, {rule: all_rules()[rule]}).findings]


@pytest.mark.parametrize(
    "lines",
    [
        LINUX,
        [PROCESS, RUNNING, PLATFORM, *LINUX, frontend(768, "Connected")],
        [magic(), mask(3)],  # FreeBSD, NetBSD
        [frontend(768, "Connected"), magic(), mask(5)],  # OpenBSD, after its PV devices
        [magic(), version(0), mask(7)],  # xenlinux, no product where the version is 0
        [*XENBUS, said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)")],  # Windows' first boot
        [*XENBUS, mask(1), said("UNPLUG: DISKS"), mask(2), said("UNPLUG: NICS")],
        [*preamble(2, 1), mask(3), said("13048960291482: disabled qemu devices 03")],  # GPLPV
        [*LINUX, *LINUX],  # a resume
        [PROCESS, MIGRATED, said("SUSPEND: EARLY (0)"), *XENBUS, mask(1)],
        [PROCESS, *(frontend(768, state) for state in ("Initialised", "Connected", "Closing", "Closed")), *LINUX],
        [*FLAGS, RESET, *FLAGS],
        [product(3), build(1), magic(), mask(3)],  # recorded from the middle on
        [build(1), magic(), mask(3)],
        [magic(), mask(3), frontend(768, "Connected")],
    ],
)
def test_nothing_is_said_of_what_drivers_may_do(tmp_path: Path, lines: list[str]) -> None:
    assert examined(recording(tmp_path, lines), rules=RULES).findings == []


@pytest.mark.parametrize(
    "folder", ["linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks", "unplug-unnecessary",
               "pvdevice-both", "no-platform-pci", "reboot-twice", "trixie-partial-nofinish", "failed-two-nics"],
)
def test_nothing_is_said_of_guests_that_booted_on_real_xen(corpus: Path, folder: str) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / folder).glob("qemu-trace*.log*"))
    assert examined(*logs, rules=RULES).findings == []


def test_what_a_program_in_the_guest_did_after_linux_is_another_product(corpus: Path) -> None:
    log = corpus / "recorded" / "real-xen" / "all-events" / "qemu-trace-all-events.log.gz"
    (finding,) = examined(log, rules=RULES).findings
    assert (finding.rule.id, finding.certainty) == ("A12", "observed")
    assert "product 3 (linux) then 65535 (experimental) to one device model" in finding.sentence


@settings(max_examples=200, deadline=None)
@given(contexts())
def test_no_rule_fails_on_any_story(case: Context) -> None:
    for finding in assess(case, {number: all_rules()[number] for number in RULES}).findings:
        assert finding.sentence.startswith(f"{finding.vm}#{finding.boot}: ")
        assert 1 <= len(finding.evidence) <= 8


@pytest.mark.parametrize("number", RULES)
def test_a_recording_without_ports_is_not_assessed(tmp_path: Path, number: str) -> None:
    done = examined(recording(tmp_path, [PROCESS, frontend(768, "Connected")]), rules=(number,))
    others = {"A03": {"kernel"}, "A04": {"kernel", "messages"}}  # what is said will do as well
    ((rule, missing),) = [(one.rule.id, one.missing) for one in done.unassessed]
    assert (rule, {*missing[0].split(" or ")}) == (number, {"ports"} | others.get(number, set()))
    assert done.findings == []


class TestA01:
    def test_a_mask_before_any_magic_after_firmware_was_at_work(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*FLAGS, mask(3), *LINUX], "A01")
        assert finding.sentence == ("win10#1: mask 0x0003 (IDE and SCSI disks, NICs) was written in line 3, and nobody "
                                    "had read the magic in this boot")
        assert (finding.severity, finding.certainty) == ("medium", "derived")
        assert [place.line for place in finding.evidence] == [3]

    def test_a_probe_of_the_boot_before_the_reset_does_not_count(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*LINUX, RESET, mask(1)], "A01")
        assert (finding.boot, finding.evidence[0].line) == (2, len(LINUX) + 2)

    def test_a_machine_that_was_seen_to_start_is_recorded_from_its_start(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, timed([PROCESS, RUNNING, mask(2), magic()]), "A01")
        assert "was written at 04:05:29.1 UTC" in finding.sentence

    def test_a_mask_although_the_probe_failed_is_told_wherever_the_recording_begins(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(NOBODY), mask(1)], "A01")
        assert "the probe read 0xffff and not the magic 0x49d2" in finding.sentence
        assert finding.certainty == "observed"

    @pytest.mark.parametrize(
        "lines",
        [
            [mask(3), magic()],  # begun in the middle
            [PROCESS, mask(7), magic()],  # maybe the destination of a migration
            [PROCESS, MIGRATED, mask(7), magic()],  # GPLPV, xenlinux
            [*FLAGS, mask(3)],  # no read is recorded at all
            [*FLAGS, write(0x10, 4, 1), magic(), mask(3)],
            [magic(REFUSED), mask(3)],  # A05
        ],
    )
    def test_silent_where_the_probe_may_be_elsewhere(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A01") == []

    def test_the_legacy_registers_are_another_protocol(self, tmp_path: Path) -> None:
        bar0 = ["pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc000", "pci_cfg_write xen-platform 00:02.0 @0x4 <- 0x3"]
        assert found(tmp_path, [PLATFORM, *bar0, write(0xC004, 4, 1), magic()], "A01") == []


class TestA02AndA03:
    def test_the_device_is_on_the_bus_and_its_ports_are_deaf(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, timed([PLATFORM, magic(NOBODY)]), "A02")
        assert (finding.severity, finding.certainty) == ("high", "observed")
        assert finding.sentence == ("win10#1: the probe at 04:05:29.1 UTC read 0xffff from port 0x10 and not the magic "
                                    "0x49d2, although the VM has a Xen platform device: its PCI config space was "
                                    "accessed")
        assert [place.line for place in finding.evidence] == [2, 1]

    def test_a_later_answer_shows_the_device_and_makes_it_milder(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(0xFF00), *LINUX], "A02")
        assert (finding.severity, finding.evidence[1].line) == ("medium", 2)

    def test_without_any_sign_of_the_device_it_is_absent(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(NOBODY)], "A03")
        assert (finding.severity, finding.certainty) == ("low", "assumed")
        assert found(tmp_path, [magic(NOBODY)], "A02") == []

    def test_frontends_that_connect_without_the_device_are_named(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(NOBODY), frontend(51712, "Connected")], "A03")
        assert finding.sentence.endswith("shows a Xen platform device; vbd/51712 connected all the same")

    @pytest.mark.parametrize("rule", ["A02", "A03"])
    def test_the_pvdevice_has_no_ports_and_is_no_proof(self, tmp_path: Path, rule: str) -> None:
        lines = ["pci_cfg_read xen-pvdevice 00:08.0 @0x0 -> 0xc0005853", magic(NOBODY)]
        assert len(found(tmp_path, lines, rule)) == (rule == "A03")

    @pytest.mark.parametrize("rule", ["A02", "A03"])
    @pytest.mark.parametrize("answer", [0x49D2, REFUSED])
    def test_an_answer_of_the_device_is_neither(self, tmp_path: Path, rule: str, answer: int) -> None:
        assert found(tmp_path, [PLATFORM, magic(answer)], rule) == []

    @pytest.mark.parametrize("rule", ["A02", "A03"])
    def test_a_probe_that_fails_after_one_that_did_not_is_neither(self, tmp_path: Path, rule: str) -> None:
        assert found(tmp_path, [*LINUX, magic(NOBODY)], rule) == []


GPLPV_REFUSED = [*preamble(2, 1, REFUSED), frontend(768, "Initialising")]


class TestA04AndA05:
    def test_upstream_qemu_cannot_have_refused(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, GPLPV_REFUSED, "A04")
        assert (finding.severity, finding.certainty) == ("medium", "derived")
        assert "no release of QEMU that writes such a recording answers so" in finding.sentence
        assert "private build" in finding.sentence
        assert [place.line for place in finding.evidence] == [5]

    def test_a_lineage_with_a_blacklist_refused_and_the_guest_stays_emulated(self, tmp_path: Path) -> None:
        ((severity, certainty, sentence),) = on(profile("qemu-xen-traditional"), "A04", tmp_path, GPLPV_REFUSED)
        assert (severity, certainty) == ("high", "observed")
        assert sentence.startswith("win10#1: the host refused the driver (GPLPV) in line 5")
        assert on(profile("qemu-10.2"), "A04", tmp_path, GPLPV_REFUSED)[0][0] == "medium"

    def test_a_device_of_which_nothing_is_known_is_assumed_to_refuse(self, tmp_path: Path) -> None:
        case = Context(stories(tmp_path, GPLPV_REFUSED))
        (finding,) = assess(case, {"A04": all_rules()["A04"]}).findings
        assert (finding.severity, finding.certainty) == ("high", "assumed")

    def test_a_driver_that_is_accepted_in_the_end_was_not_refused(self, tmp_path: Path) -> None:
        lines = [magic(REFUSED), *LINUX]
        assert on(profile("xenserver-trad"), "A04", tmp_path, lines) == []

    def test_refused_and_unplugged_is_the_other_rules(self, tmp_path: Path) -> None:
        lines = timed([*preamble(0xFFFF, 0x090000, REFUSED), 1.5, mask(1), mask(2)])
        assert found(tmp_path, lines, "A04") == []
        (finding,) = found(tmp_path, lines, "A05")
        assert finding.severity == "medium"
        assert "and 1.5 s later the driver asked to unplug IDE and SCSI disks, NICs" in finding.sentence
        assert [place.line for place in finding.evidence] == [5, 6, 7]

    def test_what_the_device_makes_of_it_depends_on_its_lineage(self, tmp_path: Path) -> None:
        lines = [magic(REFUSED), mask(1)]
        ((_, _, traditional),) = on(profile("qemu-xen-traditional"), "A05", tmp_path, lines)
        ((_, _, xenserver),) = on(profile("xenserver-trad"), "A05", tmp_path, lines)
        assert traditional.endswith("asked to unplug IDE and SCSI disks, which this device does")
        assert xenserver.endswith("asked to unplug IDE and SCSI disks, which this device ignores")

    @pytest.mark.parametrize(
        "lines", [GPLPV_REFUSED, [magic(REFUSED), mask(0)], [magic(REFUSED), magic(), mask(3)], LINUX]
    )
    def test_not_unplugged_or_not_refused_any_more_is_silent(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A05") == []


class TestA06:
    def test_a_driver_that_knows_version_1_stops_at_2(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(), version(2), frontend(768, "Initialising")], "A06")
        assert (finding.severity, finding.certainty) == ("high", "derived")
        assert finding.sentence == ("win10#1: the device answered protocol version 2 in line 2, newer than the driver "
                                    "knows: it went no further, and unplugged nothing")

    def test_linux_stops_at_version_0(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(), version(0), frontend(768, "Initialising")], "A06")
        assert finding.certainty == "assumed"
        assert finding.sentence.endswith("Linux works with version 1 alone")

    def test_xenserver_6_1_is_answered_1(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [magic(), write(0x11, 1, 0), write(0x13, 1, 2), version(1)], "A06")
        assert finding.certainty == "observed"
        assert "to a driver that had chosen protocol 2" in finding.sentence

    @pytest.mark.parametrize(
        "lines",
        [
            [magic(), version(2)],  # the recording ends here
            [magic(), version(0)],
            [magic(), version(0), mask(7), frontend(768, "Connected")],  # xenlinux, GPLPV, VMDP
            [magic(), version(0), said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)")],  # Windows, nothing requested
            [magic(), version(2), product(0xFFFF), build(0x090000), magic(), mask(1)],  # Windows takes any but 0
            [magic(), write(0x11, 1, 0), write(0x13, 1, 2), version(2), product(3), build(0x202), magic()],
            [magic(NOBODY), version(0xFF), frontend(768, "Initialising")],  # nothing answers: A03
            [version(2), frontend(768, "Initialising")],  # begun in the middle
        ],
    )
    def test_silent_where_driver_and_device_agree_or_nobody_can_tell(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A06") == []


class TestA07AndA08:
    @pytest.mark.parametrize(
        "after",
        [[RESET, *LINUX], [magic(), mask(3)], [frontend(768, "Initialising")], [version(), product(3), build(1)]],
    )
    def test_a_product_and_no_build(self, tmp_path: Path, after: list[str]) -> None:
        (finding,) = found(tmp_path, [magic(), version(), product(3), *after], "A07")
        assert (finding.severity, finding.certainty, finding.evidence[0].line) == ("medium", "derived", 3)
        assert "product 3 (linux) in line 3 and gave no build number with it" in finding.sentence

    @pytest.mark.parametrize(
        "lines", [[magic(), version(), product(3)], LINUX, [magic(), build(1), product(3), magic()]]
    )
    def test_a_recording_that_ends_or_another_order_is_not_that(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A07") == []

    def test_two_processors_that_write_at_once_gave_both(self, tmp_path: Path) -> None:
        assert found(tmp_path, [magic(), product(0x1111), product(0x2222), build(1), build(2), magic()], "A07") == []

    @pytest.mark.parametrize("probe", [[magic(), version()], [*FLAGS]])
    def test_a_build_before_its_product(self, tmp_path: Path, probe: list[str]) -> None:
        (finding,) = found(tmp_path, [*probe, build(7), product(2), magic()], "A08")
        assert (finding.severity, finding.evidence[0].line) == ("medium", 3)
        assert finding.sentence == "win10#1: build 7 was written in line 3, and no product number before it"

    @pytest.mark.parametrize("lines", [LINUX, [*LINUX, magic(), build(1)], [build(1), magic(), mask(3)]])
    def test_a_product_that_stands_before_the_recording_or_earlier_in_it_is_one(
        self, tmp_path: Path, lines: list[str]
    ) -> None:
        assert found(tmp_path, lines, "A08") == []


class TestProducts:
    def test_product_0_is_nobodys(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, timed(preamble(0, 1)), "A09")
        assert (finding.severity, finding.certainty) == ("medium", "observed")
        assert finding.sentence.endswith("named itself product 0 at 04:05:29.1 UTC, which is nobody's number")
        assert found(tmp_path, preamble(0, 1), "A10") == []

    def test_vmdp_is_legitimate_though_it_is_not_registered(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*preamble(205, 20505), mask(7)], "A10")
        assert finding.severity == "low"
        assert "SUSE's VMDP, a legitimate driver" in finding.sentence

    def test_each_unknown_product_is_told_once(self, tmp_path: Path) -> None:
        told = found(tmp_path, [*preamble(6, 1), *preamble(6, 1), *preamble(7, 1)], "A10")
        assert [finding.evidence[0].line for finding in told] == [3, 13]

    @pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 0xFFFF])
    @pytest.mark.parametrize("rule", ["A09", "A10"])
    def test_registered_products_are_silent(self, tmp_path: Path, number: int, rule: str) -> None:
        assert found(tmp_path, preamble(number, 1), rule) == []

    def test_a_build_with_a_device_id_is_xenservers(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, preamble(3, 0x000202), "A11")
        assert finding.severity == "low"
        assert "it is device id 0x0002, revision 2" in finding.sentence

    @pytest.mark.parametrize("lines", [preamble(3, 1), preamble(3, 0xFF), preamble(0xFFFF, 0x090000), [build(0x202)]])
    def test_builds_of_linux_and_of_other_products_are_not(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, [*lines, mask(3)], "A11") == []

    def test_a_loader_and_the_system_after_it_are_two(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*preamble(205, 20505), *XENBUS, mask(1)], "A12")
        assert finding.severity == "medium"
        assert [place.line for place in finding.evidence] == [3, 8]
        assert "over a reset" not in finding.sentence

    def test_a_reset_in_place_keeps_the_device_model(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*LINUX, RESET, *XENBUS, mask(1)], "A12")
        assert (finding.boot, [place.line for place in finding.evidence]) == (2, [3, 10])
        assert "over a reset of the machine" in finding.sentence

    @pytest.mark.parametrize("lines", [[*LINUX, PROCESS, *XENBUS], [*LINUX, *LINUX], [*LINUX, RESET, *LINUX]])
    def test_another_device_model_or_the_same_product_is_silent(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A12") == []


class TestA50:
    def test_port_and_value_in_each_others_place(self, tmp_path: Path) -> None:
        """outw(0x10, 0x0f): value 0x10 for port 0x0f, whose upper byte falls on port 0x10."""
        lines = [magic(), version(), write(0xBEEF, 2, 0x12), write(0xDEAD, 4, 0x10), magic(), write(0x0F, 2, 0x10)]
        (finding,) = found(tmp_path, lines, "A50")
        assert (finding.severity, finding.certainty) == ("low", "derived")
        assert "xenlinux' module of 2009-07" in finding.sentence
        assert [place.line for place in finding.evidence] == [1, 2, 5, 6]

    def test_the_mask_that_does_not_listen(self, tmp_path: Path) -> None:
        (finding,) = found(tmp_path, [*preamble(0xFFFF, 0x02061200), mask(0x0F)], "A50")
        assert "2010-01" in finding.sentence
        assert finding.evidence[0].line == 6

    @pytest.mark.parametrize(
        "lines",
        [
            [*preamble(0xFFFF, 0x02061200), mask(7)],
            [*XENBUS, mask(0x0F)],
            [*FLAGS, *LINUX],  # firmware's flags
            [*LINUX, write(0x10, 1, 0)],  # A35
            [magic(), version(), magic(), read(0x10, 1, 0)],
            [magic(), version(), magic(), write(0x10, 1, 0), magic(), mask(3)],
        ],
    )
    def test_other_masks_drivers_and_flags_are_not_theirs(self, tmp_path: Path, lines: list[str]) -> None:
        assert found(tmp_path, lines, "A50") == []
