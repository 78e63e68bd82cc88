"""Anomalies of the log port: told where a recording shows them, and silent about what only looks like one.

Recordings are lines written by hand (`making`) from what the drivers' sources print, unless they come from the
collection.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.xptrace.findings.making import (
    MIGRATED,
    PLATFORM,
    PROCESS,
    RESET,
    RUNNING,
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
    write,
)
from xptrace.findings.assess import Finding, all_rules, assess
from xptrace.findings.rule import Context
from xptrace.model.profile import Profile
from xptrace.model.profiles import profile
from xptrace.negotiation.story import Line, Moment, Place

RULES = ("A26", "A27", "A28", "A29", "A30", "A31", "A32", "A33", "A34", "A52")
XENBUS = preamble(0xFFFF, 0x090000)
PREAMBLE = said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)")
DISKS, AUX_DISKS, NICS = said("UNPLUG: DISKS"), said("UNPLUG: AUX DISKS"), said("UNPLUG: NICS")
VETO_DISKS = said("xen|UnplugSetRequest: VETO Unplug VBD")
VETO_NICS = said("xen|UnplugSetRequest: VETO Unplug VIF")
UNPLUGS = [*XENBUS, PREAMBLE, mask(1), DISKS, mask(2), NICS]
IDLES = [*XENBUS, PREAMBLE, said("xenfilt|DriverSetFilterState: PENDING")]
CHOSEN = r"xenbus|DriverSetActive: PCI\VEN_5853&DEV_{0}&SUBSYS_{0}5853&REV_01\3&267A616A&0&10: PCI bus 0"
PVDEVICE, PLATFORM_DEVICE = said(CHOSEN.format("C000")), said(CHOSEN.format("0001"))
ABSENT = said("xenfilt|DriverIsActivePresent: ACTIVE DEVICE NOT PRESENT")
FORCED = said("xenfilt|DriverIsActivePresent: ACTIVE DEVICE PRESENT (FORCED)")
PRESENT = said("xenfilt|DriverIsActivePresent: ACTIVE DEVICE PRESENT")
CODE = "xen|BUGCHECK: INACCESSIBLE_BOOT_DEVICE: FFFFF80000000001 FFFFFFFFC0000034 0000000000000000 0000000000000001"
CRASH = [said("xen|BUGCHECK: ====>"), said(CODE), said("xen|BUGCHECK: STACK:"), said("xen|BUGCHECK: <====")]
RESUME = [PROCESS, said("SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (00000000)"), said("SUSPEND: EARLY (0)"),
          *UNPLUGS, said("SUSPEND: LATE (0)"), said("SUSPEND: <====")]  # fmt: skip


def characters(text: str | bytes, port: int = 0x12) -> list[str]:
    return [write(port, 1, byte) for byte in (text.encode() if isinstance(text, str) else text)]


def on(device: Profile, rule: str, folder: Path, lines: list[str]) -> list[Finding]:
    """What a rule finds where the recording was made by that device, which writes no trace of its own."""
    boots = examined(recording(folder, lines), rules=("none",)).stories
    return assess(Context(boots, {boot.vm: [device] for boot in boots}), {rule: all_rules()[rule]}).findings


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.rule.id, one.severity, one.certainty) for one in findings]


@pytest.mark.parametrize(
    "lines",
    [
        [PROCESS, RUNNING, *preamble(), mask(3), frontend(768, "Connected")],  # Linux
        [PROCESS, RUNNING, *UNPLUGS],
        [PROCESS, RUNNING, *IDLES],  # a first boot of Windows
        [PROCESS, RUNNING, *IDLES, PROCESS, RUNNING, *UNPLUGS],  # and the second
        [PROCESS, RUNNING, *UNPLUGS, *RESUME],  # the log is written before the magic is read
        [PROCESS, MIGRATED, said("anything"), *UNPLUGS],
        [PROCESS, RUNNING, *preamble(2, 1), said("13048960291467: qemu version = 1"), mask(3),
         said("13048960291482: disabled qemu devices 03")],  # GPLPV
        [said("UNPLUG: DISKS"), magic()],  # recorded from the middle on
        [PROCESS, RUNNING, magic(), said("tab\there, and a carriage return\r"), said("grüße, 世界")],
        [PROCESS, RUNNING, magic(), said("xenbus|BUGCHECKING: nothing"), said("SUSPEND: <====")],
        [PROCESS, RUNNING, *UNPLUGS, RESET, *UNPLUGS],
    ],
)  # fmt: skip
def test_what_is_legal_is_not_told(tmp_path: Path, lines: list[str]) -> None:
    assert examined(recording(tmp_path, timed(lines)), rules=RULES).findings == []


def test_healthy_boots_of_real_guests_are_silent(corpus: Path) -> None:
    real = corpus / "recorded" / "real-xen"
    for folder in ("linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks"):
        logs = sorted(path for path in (real / folder).glob("qemu-trace*.log*") if "excerpt" not in path.name)
        assert logs
        assert examined(*logs, rules=RULES).findings == [], folder


# -- A26


def test_a_vendor_device_that_is_gone_leaves_nothing_to_unplug_through(tmp_path: Path) -> None:
    lines = [PROCESS, RUNNING, *IDLES, PVDEVICE, PROCESS, RUNNING, ABSENT, said("xen|x: y")]
    (one,) = found(tmp_path, timed(lines), "A26")
    assert told([one]) == [("A26", "high", "derived")]
    assert "win10#2" in one.sentence
    assert "5853:c000" in one.sentence


def test_a_vendor_device_that_took_over_from_the_platform_device(tmp_path: Path) -> None:
    lines = [PROCESS, *UNPLUGS, PLATFORM_DEVICE, PROCESS, *UNPLUGS, PVDEVICE, PROCESS, *IDLES]
    (one,) = found(tmp_path, timed(lines), "A26")
    assert told([one]) == [("A26", "high", "assumed")]
    assert "was 5853:0001 before" in one.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [PROCESS, *IDLES, PVDEVICE, PROCESS, PRESENT, *UNPLUGS],
        [PROCESS, *IDLES, PVDEVICE, PROCESS, PRESENT, *IDLES],  # always C000
        [PROCESS, *IDLES, PLATFORM_DEVICE, PROCESS, ABSENT, *IDLES],  # an identity that changed: another anomaly
        [PROCESS, RUNNING, ABSENT, *IDLES, PVDEVICE],  # a first boot: no device was chosen before
        [PROCESS, *IDLES, PVDEVICE, PROCESS, ABSENT, FORCED, *UNPLUGS],
        [PROCESS, *UNPLUGS, PLATFORM_DEVICE, PROCESS, *IDLES, PVDEVICE],  # chosen in this boot: the next one unplugs
    ],
)  # fmt: skip
def test_an_active_device_that_unplugs_is_fine(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A26") == []


# -- A27, A28


def test_a_veto_is_told_for_disks_and_for_nics(tmp_path: Path) -> None:
    disks, nics = found(tmp_path, timed([VETO_DISKS, VETO_NICS, *IDLES]), "A27")
    assert told([disks, nics]) == [("A27", "medium", "observed")] * 2
    assert "emulated disks (VETO Unplug VBD): the guest's registry knows no PV disk" in disks.sentence
    assert "emulated NICs (VETO Unplug VIF)" in nics.sentence
    assert [place.line for place in nics.evidence] == [2]


def test_a_veto_of_an_old_build_without_a_module(tmp_path: Path) -> None:
    assert len(found(tmp_path, [said("VETO Unplug VIF")], "A27")) == 1


def test_a_veto_that_was_overridden_is_not_told(tmp_path: Path) -> None:
    """ForceUnplug unplugs what the veto had spared."""
    assert found(tmp_path, timed([VETO_DISKS, *UNPLUGS]), "A27") == []


def test_a_boot_disk_that_stays_emulated(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([*XENBUS, PREAMBLE, mask(4), AUX_DISKS, mask(2), NICS]), "A28")
    assert told([one]) == [("A28", "low", "observed")]
    assert found(tmp_path, timed(UNPLUGS), "A28") == []


# -- A29


def test_two_boots_without_an_unplug(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, *IDLES, PROCESS, *IDLES]), "A29")
    assert told([one]) == [("A29", "medium", "observed")]
    assert "win10#2" in one.sentence
    assert "(win10#1)" in one.sentence


def test_two_boots_without_an_unplug_of_which_only_the_log_is_recorded(tmp_path: Path) -> None:
    assert len(found(tmp_path, [PROCESS, PREAMBLE, PROCESS, PREAMBLE, said("xen|x: y")], "A29")) == 1


@pytest.mark.parametrize(
    "lines",
    [
        [PROCESS, *IDLES],
        [PROCESS, *IDLES, PROCESS, *UNPLUGS, PROCESS, *IDLES],  # two, but not one after the other
        [PROCESS, *IDLES, PROCESS, *XENBUS, PREAMBLE],  # the recording ends
        [PROCESS, *IDLES, PROCESS, *preamble(), said("xen|x: y"), PROCESS, *IDLES],  # one boot of Linux between
        [PROCESS, *IDLES, PROCESS, MIGRATED, *IDLES],
        [PROCESS, *IDLES, PROCESS, said("SUSPEND: EARLY (0)"), *IDLES],
        [PROCESS, *IDLES, PROCESS, *XENBUS, PREAMBLE, mask(1)],  # its line is missing, its deed is not
    ],
)
def test_one_boot_without_an_unplug_is_how_windows_begins(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A29") == []


# -- A30


def test_a_log_that_is_written_before_the_magic_is_read(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, RUNNING, *characters("hi\n"), magic()]), "A30")
    assert told([one]) == [("A30", "low", "observed")]
    assert one.sentence == ("win10#1: the log port was written at 04:05:29.1 UTC, before the magic, which was read at "
                            "04:05:29.1 UTC")
    assert [place.line for place in one.evidence] == [3, 6]


def test_a_log_of_a_boot_that_reads_no_magic(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, PLATFORM, magic(), RESET, *characters("hi\n")]), "A30")
    assert "win10#2" in one.sentence
    assert "nobody read" in one.sentence


def test_windows_tells_of_its_active_device_before_it_asks_for_the_magic(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, RUNNING, PRESENT, *UNPLUGS]), "A30")
    assert told([one]) == [("A30", "info", "observed")]
    assert one.sentence.endswith("as the Windows PV drivers do")
    (one,) = found(tmp_path, timed([PROCESS, RUNNING, *CRASH, *UNPLUGS]), "A30")
    assert one.severity == "low"


def test_a_process_that_may_have_begun_with_a_migration_is_only_assumed_to_boot(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, said("hi"), magic()]), "A30")
    assert one.certainty == "assumed"


@pytest.mark.parametrize(
    "lines",
    [
        [PROCESS, RUNNING, magic(), *characters("hi\n")],
        [PROCESS, RUNNING, magic(0xD249), *characters("hi\n")],  # a refused driver may write as well
        [*characters("hi\n"), magic()],  # recorded from the middle on
        [PROCESS, MIGRATED, *characters("hi\n"), magic()],
        RESUME,
        [PROCESS, RUNNING, *characters("hi\n"), mask(3)],  # writes alone are recorded
    ],
)
def test_a_log_that_may_be_written(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A30") == []


# -- A31


def test_a_line_of_5000_bytes_on_real_xen(corpus: Path) -> None:
    """4095 characters, one lost, and 903 in the next line."""
    log = corpus / "recorded/real-xen/windows-like/qemu-trace-windows-like.log.gz"
    (one,) = examined(log, rules=("A31",)).findings
    assert told([one]) == [("A31", "low", "derived")]
    assert "exactly 4095 characters" in one.sentence


@pytest.mark.parametrize(("length", "findings"), [(4094, 0), (4095, 1), (4096, 0)])
def test_only_as_many_characters_as_the_buffer_holds(tmp_path: Path, length: int, findings: int) -> None:
    assert len(found(tmp_path, [magic(), said("x" * length)], "A31")) == findings


def test_characters_are_counted_as_bytes(tmp_path: Path) -> None:
    assert len(found(tmp_path, [magic(), said("é" * 2047 + "x")], "A31")) == 1
    assert found(tmp_path, [magic(), said("é" * 4095)], "A31") == []


# -- A32


def flood(pause_s: float, lines: int = 140) -> list[str]:
    """1000 characters with their ends in every line."""
    return timed([magic(), *(said("x" * 999) for _ in range(lines))], step_s=pause_s)


def test_a_flood_of_lines(tmp_path: Path) -> None:
    """132 lines of 1000 characters empty a bucket of 131072."""
    (one,) = on(profile("qemu-xen-traditional"), "A32", tmp_path, flood(0.001))
    assert told([one]) == [("A32", "medium", "derived")]
    assert "140000 characters" in one.sentence
    assert "this device made the guest wait" in one.sentence
    assert [place.line for place in one.evidence] == [2, 133]


def test_a_flood_on_a_device_without_a_throttle_is_only_a_flood(tmp_path: Path) -> None:
    (one,) = on(profile("qemu-8.2"), "A32", tmp_path, flood(0.001))
    assert told([one]) == [("A32", "low", "derived")]
    assert "this device does not throttle" in one.sentence


def test_as_much_in_the_time_that_the_throttle_allows(tmp_path: Path) -> None:
    assert on(profile("qemu-xen-traditional"), "A32", tmp_path, flood(4.0)) == []
    assert on(profile("qemu-xen-traditional"), "A32", tmp_path, flood(0.001, lines=131)) == []


def test_without_times_a_flood_is_assumed(tmp_path: Path) -> None:
    lines = [magic(), *(said("x" * 999) for _ in range(140))]
    (one,) = on(profile("qemu-xen-traditional"), "A32", tmp_path, lines)
    assert told([one]) == [("A32", "medium", "assumed")]
    assert "had they come at once" in one.sentence


def test_the_throttles_own_line(tmp_path: Path) -> None:
    """Upstream devices have no such line: there it is the guest who says so, and nothing was throttled."""
    lines = timed([magic(), said("throttling guest access to syslogUNPLUG: DISKS")])
    (one,) = on(profile("qemu-xen-traditional"), "A32", tmp_path, lines)
    assert told([one]) == [("A32", "medium", "assumed")]
    assert on(profile("qemu-10.0"), "A32", tmp_path, lines) == []


# -- A33


@pytest.mark.parametrize(
    ("text", "what"),
    [("\x1b[2Jall is well", "character 0x1b"), ("a\rb", "character 0x0d"), ("\x07", "character 0x07"),
     ("left \u202e right", "character 0x202e")],
)
def test_what_is_no_text(tmp_path: Path, text: str, what: str) -> None:
    (one,) = found(tmp_path, timed([magic(), said(text), said("plain")]), "A33")
    assert told([one]) == [("A33", "medium", "observed")]
    assert one.sentence.endswith(what)
    assert len(one.evidence) == 1


def test_the_bytes_that_a_program_wrote_on_real_xen(corpus: Path) -> None:
    """`unplug-never-probe` wrote bytes to the log port unfiltered, a bell among them."""
    log = corpus / "recorded/real-xen/unplug-never-probe/qemu-trace-unplug-never-probe.log.gz"
    (one,) = examined(log, rules=("A33",)).findings
    assert "character 0x07" in one.sentence


BAR0 = ["pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc000", "pci_cfg_write xen-platform 00:02.0 @0x4 <- 0x3"]


@pytest.mark.parametrize(
    ("name", "certainty", "then"),
    [("qemu-8.2", "derived", "which unplugs"), ("qemu-2.7", "derived", "unplugs nothing on this device")],
)
def test_a_byte_amid_text_that_unplugs(tmp_path: Path, name: str, certainty: str, then: str) -> None:
    lines = timed([*BAR0, magic(), *characters(b"ab\x02c\n", 0xC008)])
    (one,) = (one for one in on(profile(name), "A33", tmp_path, lines) if "BAR0+8" in one.sentence)
    assert told([one]) == [("A33", "medium", certainty)]
    assert then in one.sentence
    assert "0x02" in one.sentence


def test_a_legacy_driver_that_unplugs_there_writes_no_text(tmp_path: Path) -> None:
    assert found(tmp_path, timed([*BAR0, write(0xC008, 4, 1), write(0xC008, 4, 2), said("x")]), "A33") == []
    lines = timed([*BAR0, write(0xC008, 4, 1), *characters("ab\n")])  # its text goes to the port
    assert found(tmp_path, lines, "A33") == []


# -- A34


def test_the_crash_of_xen_devel_2021_02_01(corpus: Path) -> None:
    """The list's `VIRIDIAN CRASH: 3b c0000096 …` is the same one: same code, same first parameter."""
    (one,) = examined(corpus / "public" / "qemu-xen-log-winpv-bugcheck.log", rules=RULES).findings
    assert told([one]) == [("A34", "high", "observed")]
    assert "SYSTEM_SERVICE_EXCEPTION (0x3b), parameters 0xc0000096, " in one.sentence
    assert one.sentence.endswith("its report is whole (58 lines)")
    assert [place.line for place in one.evidence] == [1, 2, 58]


def test_the_crash_that_a_guest_played_on_real_xen(corpus: Path) -> None:
    log = corpus / "recorded/real-xen/windows-like/qemu-trace-windows-like.log.gz"
    (one,) = examined(log, rules=("A34",)).findings
    assert "DRIVER_IRQL_NOT_LESS_OR_EQUAL (0xd1)" in one.sentence
    assert "ms after mask 0x0002 was written" in one.sentence


def test_a_crash_just_after_the_unplug(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([*UNPLUGS, 2.0, *CRASH]), "A34")
    assert "2.0 s after mask 0x0002 was written: INACCESSIBLE_BOOT_DEVICE (0x7b)" in one.sentence


def test_a_crash_after_a_resume(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([*RESUME, 3.0, *CRASH]), "A34")
    assert "3.0 s after the guest resumed" in one.sentence


def test_a_crash_whose_report_breaks_off(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([*CRASH[:-1], PROCESS, magic()]), "A34")
    assert one.sentence.endswith("its report breaks off after 3 lines, by a hang or a reset")
    (one,) = found(tmp_path, timed(CRASH[:-1]), "A34")
    assert one.sentence.endswith("the recording ends within its report, after 3 lines")


def test_a_crash_without_a_code_and_one_without_a_beginning(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed(CRASH[:1]), "A34")
    assert "the stop code is missing" in one.sentence
    (one,) = found(tmp_path, timed(CRASH[1:]), "A34")
    assert one.sentence.endswith("its report lacks the beginning")
    assert found(tmp_path, timed(CRASH[2:3]), "A34") == []


def test_a_guest_that_forges_crashes_gets_eight_findings(tmp_path: Path) -> None:
    several = found(tmp_path, timed(CRASH * 50), "A34")
    assert len(several) == 8
    assert "(50 crashes are told in this boot)" in several[0].sentence


# -- A52


def gplpv(ms: int) -> str:
    return said(f"{13048960291467 + ms}: something")


def test_a_clock_that_goes_back(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([magic(), gplpv(0), gplpv(-7_200_000), gplpv(1)]), "A52")
    assert told([one]) == [("A52", "low", "observed")]
    assert "went back by 7200.0 s" in one.sentence
    assert [place.line for place in one.evidence] == [3, 2]


def test_a_clock_that_goes_back_from_one_boot_to_the_next(tmp_path: Path) -> None:
    (one,) = found(tmp_path, timed([PROCESS, magic(), gplpv(0), PROCESS, magic(), gplpv(-1)]), "A52")
    assert "win10#2" in one.sentence


def test_a_clock_that_falls_behind_the_hosts(tmp_path: Path) -> None:
    """A guest that was saved for an hour and knows nothing of it."""
    (one,) = found(tmp_path, timed([magic(), gplpv(0), 3600.0, gplpv(5)]), "A52")
    assert "fell 3600.0 s behind the host's" in one.sentence


def test_the_clocks_of_a_suspend(tmp_path: Path) -> None:
    lines = [magic(), said("PRE-SUSPEND: SystemTime = 01dc5c33.00989680"),
             said("POST-SUSPEND: SystemTime = 01dc5c33.00000000")]  # fmt: skip
    (one,) = found(tmp_path, timed(lines), "A52")
    assert "went back by 1.0 s" in one.sentence


def test_a_clock_that_is_slow_or_fast_but_goes_on(tmp_path: Path) -> None:
    assert found(tmp_path, timed([magic(), gplpv(0), 10.0, gplpv(1), gplpv(7_200_000)]), "A52") == []
    assert found(tmp_path, [magic(), gplpv(0), gplpv(0), gplpv(3_600_000)], "A52") == []


# -- all of them


def test_a_recording_without_a_log_is_not_fine_but_not_assessable(tmp_path: Path) -> None:
    done = examined(recording(tmp_path, timed([PROCESS, RUNNING, magic(), mask(3)])), rules=RULES)
    assert {one.rule.id for one in done.unassessed} == set(RULES) - {"A30"}


LINES = st.sampled_from([
    line.removeprefix("xen_platform_log xen platform: ")
    for line in (*RESUME, *CRASH, *IDLES, PVDEVICE, PLATFORM_DEVICE, ABSENT, PRESENT, VETO_DISKS, AUX_DISKS, gplpv(0),
                 gplpv(-9), said("\x1b"), said("x" * 4095), said("POST-SUSPEND: SystemTime = ffffffff.ffffffff"),
                 said("throttling guest access to syslog"))
])  # fmt: skip
MOMENTS = st.builds(
    lambda time_ns, clock, source, line: Moment(time_ns, clock, Place(source, line * 40, line)),
    st.none() | st.integers(-1, 1 << 70), st.sampled_from((None, "wall", "trace")), st.sampled_from("ab"),
    st.integers(1, 99),
)


@settings(max_examples=200)
@given(case=contexts(), data=st.data())
def test_no_rule_fails_on_any_recording(case: Context, data: st.DataObject) -> None:
    for story in case.stories:
        heard: list[Any] = data.draw(st.lists(st.builds(Line, LINES | st.text(max_size=30), st.booleans(), MOMENTS)))
        story.lines += heard
        story.evidence.add("messages")
        story.counts["log characters"] += data.draw(st.sampled_from((0, 1, 200_000)))
    for one in assess(case, {number: all_rules()[number] for number in RULES}).findings:
        assert one.evidence
        assert len(one.evidence) <= 8
        assert one.sentence.startswith(f"{one.vm}#{one.boot}: ")
