"""The course of a negotiation, who drove it, and how it ended: on real recordings, and on every legal variation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.negotiation.course import PHASES, course
from xptrace.negotiation.fingerprint import fingerprint
from xptrace.negotiation.story import Stories, Story
from xptrace.negotiation.summary import KEYS, summary_row, worst_first
from xptrace.negotiation.verdict import CODES, verdict

MAGIC, REFUSED = "in 10 w 18898", "in 10 w 53833"
NAMED = ["out 12 w 3", "out 10 l 1"]
WHOLE = [MAGIC, "in 12 b 1", *NAMED, MAGIC, "out 10 w 3"]
CONNECTS = "xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateConnected"
INITIALISES = "xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateInitialising"


def stories(path: Path | str) -> list[Story]:
    decoder = Decoder([str(path)])
    found = Stories(decoder.vms)
    for entry in decoder.entries():
        found.take(entry)
    return found.found


def told(tmp_path: Path, accesses: Iterable[str], gap_s: int = 1) -> Story:
    """A log written by hand in the form of QEMU 10.1 and later, one second between its lines."""
    lines = []
    for at, said in enumerate(accesses):
        words = said.split()
        text = said
        if words[0] in ("in", "out"):
            text = f"cpu_{words[0]} addr 0x{words[1]}({words[2]}) value {words[3]}"
        second = at * gap_s
        lines.append(f"2026-11-23T04:{second // 60:02d}:{second % 60:02d}.000000Z {text}\n")
    log = tmp_path / "win10.log"
    log.write_text("".join(lines))
    (story,) = stories(log)
    return story


@pytest.mark.parametrize(
    ("accesses", "state", "code"),
    [
        (WHOLE, "unplugged", "complete"),
        ([MAGIC, "out 10 w 3"], "unplugged", "complete"),  # the BSDs
        ([MAGIC, "in 12 b 0", "out 10 w 7"], "unplugged", "complete"),  # version 0 skips the naming
        ([*WHOLE[:-1], "out 10 w 1", "out 10 w 2"], "unplugged", "complete"),  # Windows: disks, then NICs
        (WHOLE[:-1], "accepted", "emulated"),  # a first boot of Windows, or xen_emul_unplug=unnecessary
        ([*WHOLE, "out 10 w 3"], "unplugged", "complete"),  # a mask alone after a resume
        ([*WHOLE, *WHOLE], "unplugged", "complete"),  # everything again after a resume
        (["out 10 w 3"], "reset", "unprobed"),
        ([REFUSED], "blacklisted", "blacklisted"),
        ([*WHOLE[:4], REFUSED], "blacklisted", "blacklisted"),
        ([*WHOLE[:4], REFUSED, "out 10 w 3"], "unplugged", "blacklisted-unplugged"),
        (["in 10 w 65535"], "no-device", "refused"),
        (WHOLE[:3], "named", "abandoned"),
        ([MAGIC], "probed", "unknown"),
        (["out 10 b 0", "out 10 b 1"], "reset", "untouched"),  # the firmware's flags
        ([*WHOLE[:-1], CONNECTS], "accepted", "double-access"),
        ([*WHOLE[:-1], "out 10 w 2", CONNECTS], "unplugged", "double-access"),
        ([*WHOLE, CONNECTS], "unplugged", "complete"),
        ([CONNECTS, INITIALISES, *WHOLE], "unplugged", "complete"),  # a cycle of the firmware's before
    ],
)
def test_states_and_verdicts(tmp_path: Path, accesses: list[str], state: str, code: str) -> None:
    story = told(tmp_path, accesses)
    assert (course(story).state, verdict(story).code) == (state, code)


def test_a_disk_that_never_connects_is_missed_only_when_there_was_time(tmp_path: Path) -> None:
    waits = [INITIALISES, *WHOLE, INITIALISES.replace("Initialising", "Initialised")]
    assert verdict(told(tmp_path, waits, gap_s=5)).code == "complete"  # 5 s: the recording ends too early to tell
    assert verdict(told(tmp_path, waits, gap_s=61)).code == "unplugged-without-frontend"
    assert verdict(told(tmp_path, WHOLE, gap_s=61)).code == "complete"  # no PV disk is recorded at all


def test_protocol_2_unplugs_device_by_device(tmp_path: Path) -> None:
    story = told(tmp_path, [MAGIC, "out 11 b 0", "out 13 b 2", "in 12 b 2", "out 12 w 3", "out 10 l 514", MAGIC,
                            "out 11 b 1", "out 13 b 0", "out 11 b 2", "out 13 b 0"])  # fmt: skip
    assert len(story.devices) == 2
    assert verdict(story).sentence == "complete: unplugged 2 devices one by one (protocol 2)"
    assert fingerprint(story).name == "xenserver-6.1"


def test_phases_have_the_times_of_their_steps(tmp_path: Path) -> None:
    phases = {phase.name: phase for phase in course(told(tmp_path, [*WHOLE, "out 10 w 2", CONNECTS])).phases}
    assert list(phases) == list(PHASES)
    assert [phase.duration_ns for phase in phases.values()] == [
        1 * 10**9, 2 * 10**9, 1 * 10**9, 1 * 10**9, 1 * 10**9, 1 * 10**9]
    assert phases["unplug"].begin.place.line == 6


def test_a_mask_alone_is_complete_after_a_migration_and_unprobed_at_a_start(tmp_path: Path) -> None:
    states = "runstate_set current_run_state {} new_state 9 (running)"
    assert verdict(told(tmp_path, [states.format("6 (prelaunch)"), "out 10 w 3"])).code == "unprobed"
    again = verdict(told(tmp_path, [states.format("1 (inmigrate)"), "out 10 w 3"]))
    assert (again.code, "by the mask alone" in again.sentence) == ("complete", True)


def test_what_fits_no_state_is_kept_apart(tmp_path: Path) -> None:
    walked = course(told(tmp_path, ["out 10 l 1", MAGIC, "out 12 w 3"]))
    assert [(state, step.register) for state, step in walked.irregular] == [
        ("reset", "build_number"), ("probed", "product_number")]


def test_a_real_linux_boot(corpus: Path) -> None:
    (story,) = stories(corpus / "recorded" / "real-xen" / "linux-default" / "qemu-trace.log.gz")
    walked = course(story)
    assert [visit.state for visit in walked.visits] == [
        "probed", "versioned", "named", "built", "accepted", "unplugged"]
    # the lines of the six accesses, and of the frontend's state, as they stand in the recording
    assert [visit.step.at.place.line for visit in walked.visits] == [19043, 19047, 19051, 19055, 19059, 19063]
    handover = walked.phase("handover")
    assert handover is not None
    assert handover.end.place.line == 24529
    assert handover.duration_ns == 90_799_085_000  # 1795401789.116462 less 1795401698.317377
    driver = fingerprint(story)
    assert (driver.name, driver.confidence, driver.explained, driver.of) == ("linux", "certain", 6, 6)
    assert story.began == "process"


def test_one_vm_and_two_boots_through_a_migration(corpus: Path) -> None:
    folder = corpus / "recorded" / "real-xen" / "migrate-local"
    decoder = Decoder([str(path) for path in sorted(folder.glob("qemu-trace*.log.gz"))])
    found = Stories(decoder.vms)
    for entry in decoder.entries():
        found.take(entry)
    assert [(story.id, story.began, story.mask) for story in found.found] == [
        ("qemu-trace#1", "process", 3), ("qemu-trace#2", "migration", 3)]
    assert [change.state for change in found.found[1].states("vbd/768")] == [1, 3, 4]


def test_the_summary_has_its_keys_and_tells_the_worst_first(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    told(tmp_path, WHOLE)
    good = tmp_path / "good.log"
    (tmp_path / "win10.log").rename(good)
    told(tmp_path, [*WHOLE[:4], REFUSED])
    done = xptrace("summary", "-T", "jsonl", good, tmp_path / "win10.log")
    assert [row["code"] for row in done.rows] == ["blacklisted", "complete"]
    assert all(tuple(row) == KEYS for row in done.rows)


steps = st.sampled_from(
    [MAGIC, REFUSED, "in 10 w 0", "in 12 b 1", "in 12 b 0", *NAMED, "out 10 w 0", "out 10 w 1", "out 10 w 65535",
     "out 11 b 1", "out 13 b 2", "out 10 b 1", "in 10 b 0", "out 12 b 65", CONNECTS, INITIALISES]
)


@given(st.lists(steps, min_size=1, max_size=25))
def test_any_guest_has_a_course_and_a_verdict(tmp_path_factory: pytest.TempPathFactory, accesses: list[str]) -> None:
    story = told(tmp_path_factory.mktemp("any"), accesses)
    walked, ended = course(story), verdict(story)
    assert ended.code in CODES
    assert ended.sentence
    assert all((phase.duration_ns or 0) >= 0 for phase in walked.phases)
    assert set(summary_row(story)) == set(KEYS)
    # every step of the handshake is a visit, a repetition that changes nothing, or irregular
    assert len(walked.visits) + len(walked.irregular) <= len(story.handshake)
    assert list(worst_first([story, story])) == [story, story]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*WHOLE, "out 10 w 1", "out 10 l 2", "in 12 b 0", CONNECTS]), max_size=12))
def test_the_phases_of_a_handshake_follow_one_another(accesses: list[str]) -> None:
    with TemporaryDirectory() as folder:
        phases = course(told(Path(folder), [*accesses, MAGIC])).phases
    assert [phase.name for phase in phases] == [name for name in PHASES if name in {phase.name for phase in phases}]
    for one, other in pairwise(phases):
        assert one.end.place.offset <= other.begin.place.offset


def test_a_decision_begins_with_the_last_that_was_learnt_before_the_mask(tmp_path: Path) -> None:
    found = course(told(tmp_path, [MAGIC, "in 12 b 1", *NAMED, "out 10 w 3"])).phases  # nobody reads the verdict
    lines = {phase.name: (phase.begin.place.line, phase.end.place.line) for phase in found}
    assert lines == {"probe": (1, 2), "naming": (2, 4), "decision": (4, 5), "unplug": (5, 5)}
