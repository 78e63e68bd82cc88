"""The timeline of a boot says what the raw lines say, when they say it; clocks and order are never mixed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.story import Moment, Place, Step, Stories, Story
from xptrace.negotiation.timeline import KEYS, LANES, Axis, Item, Timeline, lay_out, strips, timeline

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip


@dataclass(frozen=True)
class Numbered:
    id: str


@dataclass(frozen=True)
class Remark:
    rule: Numbered
    vm: str
    boot: int
    severity: str
    sentence: str
    evidence: tuple[Place, ...]


def stories(*paths: Path) -> list[Story]:
    decoder = Decoder([str(path) for path in paths])
    found = Stories(decoder.vms)
    for _ in found.watch(decoder.entries()):
        pass
    return found.found


def stamped(lines: Sequence[str], step_us: int = 1000) -> list[str]:
    return [f"2026-11-23T04:05:29.{at * step_us:06d}Z {line}" for at, line in enumerate(lines)]


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write(lines: Sequence[str], name: str = "qemu-dm-guest.log") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture(scope="module")
def raw(data: Path) -> list[str]:
    """The lines of a real recording: Debian's Linux 6.1 on Xen 4.17, QEMU 7.2."""
    with gzip.open(data / "real-xen" / "qemu-trace-linux-default.log.gz", "rt") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def told(data: Path) -> Timeline:
    (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
    return timeline(story)


def nanoseconds(line: str) -> int:
    seconds, micros = re.match(r"\d+@(\d+)\.(\d{6}):", line).groups()  # type: ignore[union-attr]
    return int(seconds) * 10**9 + int(micros) * 1000


def when(item: Item) -> tuple[int | None, int]:
    return item.begin.time_ns, item.begin.place.line


def marks(told: Timeline, lane: str) -> list[Item]:
    return [item for item in told.items if item.lane == lane and item.kind == "mark"]


def bars(told: Timeline, track: str) -> list[Item]:
    return [item for item in told.items if item.track == track]


class TestRealRecording:
    def test_every_item_has_the_time_of_the_line_that_it_points_at(self, told: Timeline, raw: list[str]) -> None:
        assert len(told.items) > 30
        for item in told.items:
            assert item.begin.time_ns == nanoseconds(raw[item.begin.place.line - 1])

    def test_the_steps_are_the_port_accesses_of_the_raw_lines(self, told: Timeline, raw: list[str]) -> None:
        first = [(nanoseconds(line), number) for number, line in enumerate(raw, 1)
                 if re.search(r":handle_ioreq I/O=\S+ type=0 .* port=0x1[0-3] ", line)]
        steps = marks(told, "driver")
        assert [when(item) for item in steps] == first
        assert [item.name for item in steps] == ["magic", "version 1", "product 3", "build 1", "magic", "mask 0x3"]

    def test_the_frontend_is_in_the_state_of_the_raw_line_until_the_next(self, told: Timeline, raw: list[str]) -> None:
        lines = [(nanoseconds(line), line.rpartition("XenbusState")[2]) for line in raw if "frontend_state" in line]
        states = bars(told, "vbd/768 frontend")
        assert [(item.begin.time_ns, item.name) for item in states] == lines
        assert [item.end.time_ns for item in states[:-1] if item.end] == [time for time, _ in lines[1:]]
        assert states[-1].end is None
        assert {item.lane for item in states} == {"disks"}

    def test_phases_begin_and_end_where_the_steps_do(self, told: Timeline, raw: list[str]) -> None:
        step = [item.begin.time_ns for item in marks(told, "driver")]
        connected = next(nanoseconds(line) for line in raw
                         if "frontend_state" in line and line.endswith("StateConnected"))
        assert [(item.name, item.begin.time_ns, item.end and item.end.time_ns) for item in bars(told, "phases")] == [
            ("probe", step[0], step[1]), ("naming", step[1], step[3]), ("verdict", step[3], step[4]),
            ("decision", step[4], step[5]), ("unplug", step[5], step[5]), ("handover", step[5], connected),
        ]  # fmt: skip

    def test_one_mask_for_both_stands_in_the_lanes_of_both(self, told: Timeline) -> None:
        assert [item.name for item in marks(told, "disks")] == ["mask 0x1"]
        assert [item.name for item in marks(told, "NICs")] == ["mask 0x2"]
        assert marks(told, "disks")[0].begin == marks(told, "NICs")[0].begin

    def test_functions_that_go_after_a_mask_for_both_are_counted_to_neither(
        self, told: Timeline, raw: list[str]
    ) -> None:
        gone = [item for item in marks(told, "device") if item.name.endswith(" gone")]
        assert [when(item) for item in gone] == [
            (nanoseconds(line), number) for number, line in enumerate(raw, 1) if "xen_unmap_pcidev" in line
        ]
        assert [item.name for item in gone] == ["00:07.0 gone", "00:03.0 gone"]
        assert all("after the mask 0x3" in item.label for item in gone)

    def test_the_states_of_the_device_follow_each_other_without_a_hole(self, told: Timeline) -> None:
        states = bars(told, "state")
        assert [item.name for item in states] == [
            "reset", "probed", "versioned", "named", "built", "accepted", "unplugged"
        ]
        assert [one.end for one in states[:-1]] == [other.begin for other in states[1:]]

    def test_a_row_has_the_keys_in_their_order(self, told: Timeline) -> None:
        rows = list(told.rows())
        assert {tuple(row) for row in rows} == {KEYS}
        assert {row["lane"] for row in rows} <= set(LANES)
        mask = next(row for row in rows if row["lane"] == "driver" and row["name"] == "mask 0x3")
        assert (mask["begin_ns"], mask["end_ns"], mask["clock"], mask["line"]) == (
            1795401698317377000, None, "wall", 19063
        )

    def test_ten_milliseconds_of_handshake_are_seen_in_six_minutes(self, told: Timeline) -> None:
        (axis,) = told.axes
        assert axis.end - axis.begin > 345 * 10**9
        scale = lay_out(axis, 45)
        columns = [round(scale.column(axis.at(item.begin))) for item in marks(told, "driver")]
        assert len(set(columns)) == 6
        assert scale.breaks
        assert scale.hidden > 200 * 10**9


def test_windows_splits_its_masks_and_each_function_goes_after_its_own(corpus: Path) -> None:
    folder = corpus / "recorded" / "real-xen" / "windows-like"
    (story,) = stories(folder / "qemu-trace-windows-like.log.gz")
    told = timeline(story)
    assert [item.name for item in marks(told, "disks")] == ["mask 0x1", "00:07.0 gone", "mask 0x1"]
    assert [item.name for item in marks(told, "NICs")] == ["mask 0x2", "00:03.0 gone", "mask 0x2"]
    names = [item.name for item in marks(told, "log")]
    assert names[:9] == ["line", "unplug preamble", "unplug disks", "unplug nics", *["bugcheck"] * 5]
    assert set(names[9:]) == {"line"}
    assert {item.track for item in told.items if item.lane == "other PV"} == {"console/0 backend", "vkbd/0 backend"}
    running = next(item for item in marks(told, "device") if item.name == "running")
    assert running.label == "runstate: running"


def test_a_boot_that_came_by_migration_says_so_first(corpus: Path) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / "migrate-local").glob("qemu-trace-*.log.gz"))
    before, after = (timeline(story) for story in stories(*logs))
    assert "migration" not in [item.name for item in before.items]
    assert marks(after, "device")[0].name == "migration"
    assert marks(after, "device")[0].begin == after.story.first
    assert [item.name for item in bars(after, "vbd/768 frontend")] == ["Initialising", "Initialised", "Connected"]


def test_without_times_order_counts(data: Path) -> None:
    (story,) = stories(data / "real-xen" / "qemu-trace-no-timestamp.log.gz")
    told = timeline(story)
    (axis,) = told.axes
    assert axis.clock is None
    lines = [item.begin.place.line for item in axis.items]
    assert lines == sorted(lines)
    ranks = [axis.at(item.begin) for item in axis.items]
    assert (axis.begin, axis.end) == (0, len(set(lines)) - 1)
    assert sorted(set(ranks)) == list(range(len(set(lines))))
    assert all(row["begin_ns"] is None and row["clock"] is None for row in told.rows())
    assert not lay_out(axis, 60).breaks


def test_two_recordings_without_times_are_not_put_in_one_order() -> None:
    story = Story("guest", 1)
    for source in ("one.log", "other.log"):
        for at in range(3):
            place = Place(source, at * 40, at + 1)
            story.steps.append(Step("magic", "pio", 0x10, 2, "read", 0x49D2, Moment(None, None, place)))
    axes = timeline(story).axes
    assert [(axis.source, axis.begin, axis.end) for axis in axes] == [("one.log", 0, 2), ("other.log", 0, 2)]
    for axis in axes:
        assert {item.begin.place.source for item in axis.items} == {axis.source}


def test_two_clocks_have_an_axis_each(log: Callable[..., Path]) -> None:
    """The mask is told by syslog (RFC 5424), what came before it by QEMU itself."""
    told = timeline(*stories(log([
        *stamped(HANDSHAKE[:5]),
        "<30>1 2026-11-23T04:05:31.000000+00:00 host qemu-system-i386 13840 - -  cpu_out addr 0x10(w) value 3",
    ])))  # fmt: skip
    assert {axis.clock for axis in told.axes} == {"wall", "syslog"}
    for axis in told.axes:
        assert {item.begin.clock for item in axis.items} == {axis.clock}
    decision = next(item for item in bars(told, "phases") if item.name == "decision")
    assert (decision.begin.clock, decision.end) == ("wall", None)
    assert [clock for clock, _, _ in told.spans] == ["wall", "syslog"]


def test_a_refused_driver_makes_the_device_blacklisted(log: Callable[..., Path]) -> None:
    told = timeline(*stories(log(stamped(["cpu_in addr 0x10(w) value 53833"]))))  # 0xd249
    assert [item.name for item in bars(told, "state")] == ["blacklisted"]
    assert [item.name for item in marks(told, "driver")] == ["blacklisted"]


def test_nothing_is_said_of_a_device_that_nobody_touched(log: Callable[..., Path]) -> None:
    told = timeline(*stories(log(stamped(["xen_platform_log xen platform: hello"]))))
    assert [(item.lane, item.name, item.label) for item in told.items] == [("log", "line", "hello")]


def test_phases_are_drawn_in_one_row_whatever_the_driver_left_out(log: Callable[..., Path]) -> None:
    """Without a second read of the magic the decision begins at the build number, where the naming ends."""
    told = timeline(*stories(log(stamped([*HANDSHAKE[:4], HANDSHAKE[5]]))))
    (axis,) = told.axes
    assert [[bar.name for bar in row] for row in axis.layers("phases")] == [["probe", "naming", "decision", "unplug"]]


def test_a_driver_of_which_no_step_fits_has_no_state(log: Callable[..., Path]) -> None:
    told = timeline(*stories(log(stamped([HANDSHAKE[2], HANDSHAKE[3]]))))
    assert bars(told, "state") == []
    assert [item.name for item in marks(told, "driver")] == ["product 3", "build 1"]


class TestFindings:
    @pytest.fixture
    def story(self, log: Callable[..., Path]) -> Story:
        (story,) = stories(log(stamped([*HANDSHAKE, "xen_platform_log xen platform: hello"])))
        return story

    def remark(self, story: Story, *places: Place) -> Remark:
        return Remark(Numbered("A01"), story.vm, story.boot, "high", "it went wrong", places)

    def test_a_finding_stands_at_its_first_proof(self, story: Story) -> None:
        one = self.remark(story, story.masks[0].at.place, story.magics[0].at.place)
        (item,) = [item for item in timeline(story, [one]).items if item.lane == "findings"]
        assert (item.begin, item.name, item.severity) == (story.masks[0].at, "A01", "high")

    def test_a_proof_without_a_moment_of_its_own_is_put_at_the_record_before_it(self, story: Story) -> None:
        place = replace(story.builds[0].at.place, offset=story.builds[0].at.place.offset + 1)
        (item,) = [item for item in timeline(story, [self.remark(story, place)]).items if item.lane == "findings"]
        assert item.begin == story.builds[0].at

    def test_a_finding_without_proof_stands_at_the_start(self, story: Story) -> None:
        (item,) = [item for item in timeline(story, [self.remark(story)]).items if item.lane == "findings"]
        assert item.begin == story.first

    def test_findings_about_other_boots_are_left_out(self, story: Story) -> None:
        others = [replace(self.remark(story), boot=2), replace(self.remark(story), vm="other")]
        assert not timeline(story, others).remarks
        assert not [item for item in timeline(story, others).items if item.lane == "findings"]

    def test_a_story_of_nothing_has_no_items_but_its_findings(self) -> None:
        empty = Story("guest", 1)
        told = timeline(empty, [self.remark(empty)])
        assert (told.items, len(told.remarks)) == ((), 1)


class TestScale:
    def axis(self, instants: list[int], clock: str | None = "wall") -> Axis:
        begin, end = min(instants), max(instants)
        return Axis(clock, None, begin, end, tuple(_mark(instant) for instant in instants), {})

    @given(st.lists(st.integers(0, 10**15), min_size=1, max_size=80), st.sampled_from([45, 60, 105, 190]))
    @settings(deadline=None, max_examples=60)
    def test_what_comes_later_is_never_drawn_before(self, instants: list[int], columns: int) -> None:
        scale = lay_out(self.axis(instants), columns - 1, pause=4, least=1)
        drawn = [scale.column(instant) for instant in sorted(instants)]
        assert drawn == sorted(drawn)
        assert drawn[0] >= 0
        assert drawn[-1] <= columns - 1 + 1e-6

    @given(st.lists(st.integers(0, 10**15), min_size=1, max_size=80))
    @settings(deadline=None, max_examples=60)
    def test_nothing_happens_in_a_break(self, instants: list[int]) -> None:
        scale = lay_out(self.axis(instants), 100)
        for before, after in scale.breaks:
            assert not [one for one in instants if before.end < one < after.begin]
            assert after.left > before.right

    def test_even_steps_need_no_break(self) -> None:
        assert not lay_out(self.axis([at * 10**9 for at in range(20)]), 100).breaks

    def test_ten_thousand_instants_are_laid_out_at_once(self) -> None:
        scale = lay_out(self.axis([at * at for at in range(10_000)]), 100)
        assert scale.column(0) == 0
        assert scale.column(9_999**2) == pytest.approx(100)


def _mark(time_ns: int) -> Item:
    return Item("driver", "mark", "magic", "", Moment(time_ns, "wall", Place("trace.log", time_ns, 1)))


class TestManyBoots:
    def test_those_that_ended_worst_come_first_with_their_worst_finding(self, log: Callable[..., Path]) -> None:
        good = log(stamped(HANDSHAKE), "qemu-dm-a.log")
        refused = log(stamped(["cpu_in addr 0x10(w) value 53833"]), "qemu-dm-b.log")
        found = stories(good, refused)
        remarks = [Remark(Numbered(number), "a", 1, severity, "", ())
                   for number, severity in (("A22", "low"), ("A01", "medium"))]
        rows = strips(found, remarks, SEVERITIES)
        assert [(row.story.vm, row.verdict.code) for row in rows] == [("b", "blacklisted"), ("a", "complete")]
        assert [row.worst and row.worst.rule.id for row in rows] == [None, "A01"]

    def test_spans_count_from_the_first_probe(self, log: Callable[..., Path]) -> None:
        (row,) = strips(stories(log(stamped(HANDSHAKE, 2000))), [], SEVERITIES)
        ms = 10**6
        assert row.spans == [
            ("probe", 0, 2 * ms), ("naming", 2 * ms, 6 * ms), ("verdict", 6 * ms, 8 * ms),
            ("decision", 8 * ms, 10 * ms), ("unplug", 10 * ms, 10 * ms),
        ]  # fmt: skip

    def test_without_times_there_are_no_spans(self, log: Callable[..., Path]) -> None:
        (row,) = strips(stories(log(HANDSHAKE)), [], SEVERITIES)
        assert (row.spans, len(row.phases)) == ([], 5)
