"""What the guest said, as events: a crash is one, a suspend is one, on recordings and on lines of any content."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.negotiation.sayings import PHASES, sayings, suspends
from xptrace.negotiation.story import Line, Moment, Place, Stories, Story

SUSPEND = [
    "SUSPEND: ====>",
    "PRE-SUSPEND: SystemTime = 01dc5c33.00000000",
    "PRE-SUSPEND: TickCount = 00000000.00000040 (TimeIncrement = 0002625a)",
    "PRE-SUSPEND: PerformanceCounter = 00000000.00989680 (Frequency = 00000000.00989680)",
    "SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend ====>",
]
RESUME = [
    "SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (00000000)",
    "POST-SUSPEND: SystemTime = 01dc5c33.00989680",
    "POST-SUSPEND: TickCount = 00000000.00000080 (TimeIncrement = 0002625a)",
    "POST-SUSPEND: PerformanceCounter = 00000000.01312d00 (Frequency = 00000000.00989680)",
    "SUSPEND: EARLY (0)",
    "SUSPEND: EARLY (1)",
    "UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)",
    "UNPLUG: DISKS",
    "UNPLUG: NICS",
    "SUSPEND: LATE (0)",
    "SUSPEND: <====",
]
"""What src/xenbus/suspend.c prints before and after the hypercall."""
FOUR = "0000000000000000 0000000000000001 0000000000000002 0000000000000003"
CRASH = [
    "XEN|BUGCHECK: ====>",
    "XEN|BUGCHECK: 0000007B: FFFFF80000000001 FFFFFFFFC0000034 0000000000000000 0000000000000001",
    "XEN|BUGCHECK: STACK:",
    f"XEN|BUGCHECK: 000000004343E810: ({FOUR}) xenvbd.sys + 0000000000001234",
    f"XEN|BUGCHECK: 000000004343E8E0: ({FOUR}) ntoskrnl.exe + 0000000000485507",
    "XEN|BUGCHECK: <====",
]


def heard(lines: Iterable[str], vm: str = "win10", boot: int = 1) -> Story:
    """A boot of which only lines of the log are recorded, one second between them."""
    story = Story(vm, boot)
    for at, text in enumerate(lines):
        story.lines.append(Line(text, True, Moment(at * 10**9, "wall", Place("a.log", 100 * at, at + 1))))
    return story


def recorded(path: Path) -> list[Story]:
    decoder = Decoder([str(path)])
    found = Stories(decoder.vms)
    for entry in decoder.entries():
        found.take(entry)
    return found.found


def test_the_posted_crash_is_one_event(corpus: Path) -> None:
    """xen-devel, 2021-02-01, beside `VIRIDIAN CRASH: 3b c0000096 …`: the same code, and the same first parameter."""
    (story,) = recorded(corpus / "public" / "qemu-xen-log-winpv-bugcheck.log")
    (crash,) = sayings(story)
    assert (crash.kind, crash.speaker) == ("bugcheck", "guest")
    assert (crash.word("name"), crash.integer("code")) == ("SYSTEM_SERVICE_EXCEPTION", 0x3B)
    assert crash.numbers("parameters") == (0xC0000096, 0xFFFFF800A43C72C5, 0xFFFFD0014343D580, 0)
    assert (crash.integer("lines"), crash.flag("begun"), crash.flag("closed")) == (58, True, True)
    assert crash.words("modules") == ("ntoskrnl.exe",)
    assert crash.at.time_ns == 1612191983_279616000
    assert crash.until.time_ns == 1612191983_287898000
    assert [moment.place.line for moment in crash.moments] == [1, 2, 58]


def test_what_a_guest_like_windows_said_on_real_xen(corpus: Path) -> None:
    """The guest's console tells what it wrote: a preamble, disks, NICs, a crash of five lines, and other lines."""
    (story,) = recorded(corpus / "recorded/real-xen/windows-like/qemu-trace-windows-like.log.gz")
    found = sayings(story)
    assert [one.kind for one in found] == [
        "driver line", "unplug preamble", "unplug disks", "unplug nics", "bugcheck", "driver line",
    ]  # fmt: skip
    assert found[1].flag("blacklisted") is False
    crash = found[4]
    assert (crash.integer("code"), crash.word("name")) == (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL")
    assert crash.numbers("parameters") == (0x10, 2, 0, 0xFFFFF80612345678)
    assert (crash.integer("lines"), crash.flag("closed")) == (5, True)
    assert found[5].word("said") == "this line by single OUTs"


def test_gplpv_and_its_device_model_share_one_file(corpus: Path) -> None:
    """Only the guest's lines are proven; those about product, build and the NIC may be the device's, or its forgery."""
    lines = (corpus / "public" / "qemu-trad-gplpv-win7.log").read_text(encoding="utf-8").splitlines()
    found = sayings(heard(lines))
    assert [one.kind for one in found if one.speaker == "guest"] == ["version read", "mask written"]
    assert {one.kind for one in found if one.speaker == "unproven"} == {
        "device begun", "device created", "flags", "product", "build", "region removed", "memory removed",
    }  # fmt: skip
    asked = next(one for one in found if one.kind == "mask written")
    assert (asked.integer("mask"), asked.integer("guest_time_ns")) == (3, 1404486691_482000000)


def test_a_suspend_is_one_event_with_the_clocks_of_both_sides() -> None:
    found = sayings(heard([*SUSPEND, *RESUME]))
    assert [one.kind for one in found] == ["suspend", "unplug preamble", "unplug disks", "unplug nics"]
    suspend = found[0]
    assert suspend.words("phases") == PHASES
    assert (suspend.integer("status"), suspend.flag("cancelled"), suspend.integer("cpus")) == (0, False, 2)
    for clock in ("time", "counter"):
        before, after = suspend.integer(f"before_{clock}_ns"), suspend.integer(f"after_{clock}_ns")
        assert before is not None
        assert after is not None
        assert after - before == 10**9
    assert suspend.integer("before_ticks_ns") == 0x40 * 156250 * 100
    assert suspend.integer("after_ticks_ns") == 0x80 * 156250 * 100


def test_a_cancelled_suspend_says_so() -> None:
    (suspend,) = sayings(heard([*SUSPEND, "SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (c0000120)",
                                "SUSPEND: <===="]))  # fmt: skip
    assert (suspend.flag("cancelled"), suspend.integer("status")) == (True, 0xC0000120)
    assert suspend.words("phases") == ("begin", "shutdown", "return", "end")


def test_a_suspend_that_ends_in_the_next_device_model_is_still_one() -> None:
    before, after = heard(["UNPLUG: DISKS", *SUSPEND]), heard(RESUME, boot=2)
    (part,) = (one for one in sayings(after) if one.kind == "suspend")
    assert part.words("phases") == ("return", "early", "late", "end")
    (whole,) = suspends([before, after])
    assert whole.words("phases") == PHASES
    assert whole.integer("before_time_ns") is not None
    assert whole.integer("after_time_ns") is not None
    assert (whole.at.place.line, whole.until.place.line) == (2, 11)


@pytest.mark.parametrize(
    "stories",
    [
        [heard(SUSPEND), heard(RESUME, boot=3)],  # another boot lies between
        [heard(SUSPEND), heard(RESUME, vm="other", boot=2)],
        [heard([*SUSPEND, RESUME[0]]), heard(RESUME, boot=2)],  # this one had returned
        [heard(SUSPEND[:1]), heard(RESUME, boot=2)],  # this one never left
        [heard(SUSPEND), heard([*SUSPEND, *RESUME], boot=2)],
    ],
)
def test_two_suspends_are_not_joined(stories: list[Story]) -> None:
    assert len(suspends(stories)) == 2


def test_a_crash_without_its_end_is_open() -> None:
    (crash,) = sayings(heard(CRASH[:-1]))
    assert (crash.flag("closed"), crash.integer("lines")) == (False, 5)
    assert crash.words("modules") == ("xenvbd.sys", "ntoskrnl.exe")
    assert crash.word("name") == "INACCESSIBLE_BOOT_DEVICE"


def test_a_crash_without_its_beginning_says_so() -> None:
    (crash,) = sayings(heard(CRASH[2:]))
    assert (crash.flag("begun"), crash.flag("closed"), crash.integer("code")) == (False, True, None)


def test_lines_of_others_within_a_crash_do_not_end_it() -> None:
    mixed = [*CRASH[:3], "xenvif|Dump: queue 0", *CRASH[3:]]
    found = sayings(heard(mixed))
    assert [(one.kind, one.flag("closed")) for one in found] == [("bugcheck", True), ("driver line", None)]


def test_a_second_crash_is_a_second_event() -> None:
    found = sayings(heard([*CRASH[:-1], *CRASH]))
    assert [one.flag("closed") for one in found] == [False, True]


def test_a_boot_after_a_broken_crash_does_not_go_on_with_it() -> None:
    found = sayings(heard([*CRASH[:2], "UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", "XEN|BUGCHECK: <===="]))
    assert [(one.kind, one.integer("lines")) for one in found] == [
        ("bugcheck", 2), ("unplug preamble", None), ("bugcheck", 1),
    ]  # fmt: skip


def test_a_module_table_as_a_stub_domains_console_has_it(tmp_path: Path) -> None:
    """Composed as QubesOS issue 10069 shows it: local time in front, letter case of the newer builds."""
    log = tmp_path / "guest-win10-dm.log"
    log.write_text("[2025-07-19 13:06:31] xen_platform_log xen platform: xen|ModuleAdd: FFFFF80000400000 - "
                   "FFFFF80000C45FFF [ntoskrnl.exe]\n")  # fmt: skip
    (story,) = recorded(log)
    (module,) = sayings(story)
    assert (module.kind, module.word("name")) == ("module", "ntoskrnl.exe")
    assert module.integer("end") == 0xFFFFF80000C45FFF
    assert (module.at.time_ns, module.at.clock) == (1752930391 * 10**9, "local")  # of a zone that is not told


def test_a_line_that_is_glued_to_the_throttles_is_heard_too() -> None:
    found = sayings(heard(["throttling guest access to syslog13048960291467: qemu version = 1"]))
    assert [one.kind for one in found] == ["throttled", "version read"]


def test_a_flood_of_crashes_is_heard_in_no_time() -> None:
    """Ten thousand lines are what a story keeps of a boot; each is looked at once."""
    story = heard([CRASH[0], CRASH[1]] * 5000)
    begun = time.perf_counter()
    assert len(sayings(story)) == 5000
    assert time.perf_counter() - begun < 5


ANY = st.sampled_from((*SUSPEND, *RESUME, *CRASH, "throttling guest access to syslogUNPLUG: DISKS", "", "\x1b[2J"))


@given(st.lists(ANY | st.text(max_size=40), max_size=60))
def test_any_lines_make_sayings_in_order_and_none_is_heard_twice(lines: list[str]) -> None:
    found = sayings(heard(lines))
    places = [one.at.place.line for one in found]
    assert places == sorted(places)
    heard_of_crashes = sum(one.integer("lines") or 0 for one in found if one.kind == "bugcheck")
    assert heard_of_crashes == sum(line in CRASH for line in lines)
    for one in found:
        assert one.moments
        assert len(one.moments) <= 8
        assert set(one.words("phases")) <= set(PHASES)
