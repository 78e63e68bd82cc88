"""Timelines in a terminal: never too wide, labels apart, every step in the list, nothing of a guest that acts."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xptrace.access.decode import Decoder
from xptrace.cli import COMMANDS, main
from xptrace.findings.assess import Finding
from xptrace.findings.rule import SEVERITIES, Rule, Severity
from xptrace.negotiation.course import PHASES
from xptrace.negotiation.story import Place, Stories, Story
from xptrace.negotiation.timeline import KEYS, strips, timeline
from xptrace.views.fleet import fleet_lines, quantile
from xptrace.views.lanes import stack
from xptrace.views.style import Style
from xptrace.views.tables import FLEET, LATENCIES, TIMELINE, fleet_frame, latencies, timeline_frame
from xptrace.views.timeline import timeline_lines

WIDTHS = [60, 80, 120, 200]
HOSTILE = "BUGCHECK: \x1b[31m\x1b]0;pwn\x07 <script>alert(1)</script> \u202eevil 日本語 z\u0301\u0302 " + "a" * 300
REAL = "qemu-trace-linux-default.log.gz"
HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip


def width(text: str) -> int:
    """Columns that a terminal needs: two for wide characters, none for those that join the one before."""
    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def stories(*paths: Path) -> list[Story]:
    decoder = Decoder([str(path) for path in paths])
    found = Stories(decoder.vms)
    for _ in found.watch(decoder.entries()):
        pass
    return found.found


def stamped(lines: Sequence[str], step_us: int = 1000) -> str:
    return "".join(f"2026-11-23T04:05:29.{at * step_us:06d}Z {line}\n" for at, line in enumerate(lines))


def finding(story: Story, severity: Severity = "high", number: str = "A99") -> Finding:
    rule = Rule(number, severity, "title", "law", "advice", frozenset(), lambda _story, _case: iter(()))
    place = Place(story.lines[0].at.place.source, story.lines[0].at.place.offset, 1) if story.lines else None
    proof = (place,) if place else ()
    return Finding(rule, story.vm, story.boot, severity, f"{story.id}: {HOSTILE}", "observed", proof)


def drawn(story: Story, style: Style) -> list[str]:
    return list(timeline_lines(timeline(story, [finding(story)]), style))


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """Twelve VMs; the third one was refused, the fifth one has no times."""
    paths = []
    for number in range(12):
        path = tmp_path / f"qemu-dm-vm{number:02d}.log"
        lines = ["cpu_in addr 0x10(w) value 53833"] if number == 3 else HANDSHAKE
        path.write_text("".join(f"{line}\n" for line in lines) if number == 5 else stamped(lines, 1000 * (number + 1)))
        paths.append(path)
    return paths


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "qemu-dm-guest.log"
    path.write_text(stamped([
        *HANDSHAKE, f"xen_platform_log xen platform: {HOSTILE}", "xen_platform_log xen platform: xen|BUGCHECK: ====>",
        "xen_device_frontend_state type: xen-disk name: \x1b[2J<b>768</b> -> XenbusStateConnected",
    ]))  # fmt: skip
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command as `xptrace timeline` does: (exit code, standard output, standard error)."""
    monkeypatch.setitem(COMMANDS, "timeline", "the negotiation, step by step")

    def run(*arguments: str | Path, columns: int = 100) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        code = main(["timeline", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


class TestWidth:
    @pytest.mark.parametrize("columns", WIDTHS)
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
    @pytest.mark.parametrize("name", [REAL, "qemu-trace-no-timestamp.log.gz"])
    def test_no_line_of_a_real_boot_is_wider(self, data: Path, name: str, encoding: str, columns: int) -> None:
        (story,) = stories(data / "real-xen" / name)
        lines = drawn(story, Style(columns, encoding))
        assert max(map(width, lines)) <= columns
        assert len(lines) > 40

    @pytest.mark.parametrize("columns", WIDTHS)
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_no_line_of_a_hostile_boot_is_wider(self, hostile: Path, encoding: str, columns: int) -> None:
        (story,) = stories(hostile)
        assert max(map(width, drawn(story, Style(columns, encoding)))) <= columns

    @pytest.mark.parametrize("columns", WIDTHS)
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_no_line_of_many_boots_is_wider(self, many: list[Path], encoding: str, columns: int) -> None:
        rows = strips(stories(*many), [], SEVERITIES)
        assert max(map(width, fleet_lines(rows, Style(columns, encoding)))) <= columns

    @given(st.text(max_size=60), st.integers(1, 40))
    def test_a_fitted_text_takes_exactly_its_columns(self, text: str, columns: int) -> None:
        for encoding in ("utf-8", "ascii"):
            style = Style(100, encoding)
            assert width(style.fit(text, columns)) == columns
            assert width(style.ends(text, columns)) == columns
            assert all(width(line) <= columns for line in style.wrap(text, columns))

    def test_a_long_name_keeps_the_number_at_its_end(self) -> None:
        assert Style().ends("qemu-dm-database-primary-0042#1", 16) == "qemu-…ary-0042#1"


class TestStack:
    positions = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), max_size=25, unique_by=lambda one: one[0])

    @given(positions, st.integers(1, 12))
    @settings(deadline=None)
    def test_labels_lie_apart_and_no_line_crosses_one(self, marks: list[tuple[int, int]], rows: int) -> None:
        marks.sort()
        placed = []
        for (at, length), where in zip(marks, stack(marks, 100, rows), strict=True):
            if where is not None:
                row, leftwards = where
                begin = at - length + 1 if leftwards else at
                placed.append((row, begin, begin + length, at))
        for row, begin, end, _ in placed:
            assert begin >= 0
            assert end <= 100
            assert 0 <= row < rows
        for one, other in combinations(placed, 2):
            assert one[0] != other[0] or one[2] < other[1] or other[2] < one[1]
            for (row, begin, end, _), (deeper, *_, line) in ((one, other), (other, one)):
                assert deeper <= row or not begin <= line < end

    def test_labels_with_room_are_all_in_the_first_row(self) -> None:
        assert stack([(0, 8), (20, 8), (40, 8)], 100, 5) == [(0, False)] * 3

    def test_labels_of_neighbours_are_steps(self) -> None:
        assert stack([(0, 8), (2, 8), (4, 8)], 100, 5) == [(2, False), (1, False), (0, False)]

    def test_at_the_edge_labels_run_leftwards(self) -> None:
        assert stack([(95, 8)], 100, 5) == [(0, True)]

    def test_what_has_no_room_is_said_to_have_none(self) -> None:
        assert stack([(0, 8), (2, 8), (4, 8)], 100, 2) == [None, (1, False), (0, False)]


class TestPicture:
    def test_the_steps_are_drawn_in_order_with_their_names(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        text = "\n".join(timeline_lines(timeline(story), Style(100)))
        at = [re.search(rf"^.*[╰│]{name}", text, re.MULTILINE).group().rindex(name)  # type: ignore[union-attr]
              for name in ("version 1", "product 3", "build 1", "mask 0x3")]
        assert at == sorted(at)

    def test_the_head_says_whose_by_whom_how_it_ended_and_when(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        lines = list(timeline_lines(timeline(story), Style(120)))
        assert [line.strip() for line in lines[:5]] == [
            "linux-default#1", "Linux", "complete: unplugged IDE and SCSI disks, NICs",
            "2026-11-23T02:37:51.811423Z to 2026-11-23T02:43:37.726252Z",
            "probe 2.18 ms, naming 4.27 ms, verdict 1.48 ms, decision 1.79 ms, unplug at once, handover 90.8 s",
        ]  # fmt: skip

    def test_breaks_are_seen_and_said(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        text = "\n".join(timeline_lines(timeline(story), Style(100)))
        assert re.search(r"346 s by the host's clock; ┊ \d breaks leave out 3\d\d s of waiting", text)
        assert re.search(r"^waiting .* 178 s", text, re.MULTILINE)  # from the first config read to the first probe

    def test_without_times_the_axis_says_order(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-no-timestamp.log.gz")
        lines = list(timeline_lines(timeline(story), Style(100)))
        assert "order, no time recorded: qemu-trace-no-timestamp.log.gz, #1 to #27" in lines
        assert any(line.startswith("#12  driver   magic 0x49d2") for line in lines)
        assert not any("┊" in line for line in lines)

    @pytest.mark.parametrize("columns", WIDTHS)
    def test_every_step_is_in_the_list_with_its_place(self, data: Path, columns: int) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        text = "\n".join(timeline_lines(timeline(story), Style(columns)))
        for since, line in (
            ("226.496233", 19043), ("226.498412", 19047), ("226.500082", 19051), ("226.502681", 19055),
            ("226.504161", 19059), ("226.505954", 19063),
        ):  # fmt: skip
            assert re.search(rf"^{since}  driver   .*:{line}$", text, re.MULTILINE)
        assert re.search(r"^317\.305039  disks    vbd/768 frontend .*:24529$", text, re.MULTILINE)

    def test_a_guest_that_writes_without_end_gets_a_short_list(self, tmp_path: Path) -> None:
        path = tmp_path / "qemu-dm-guest.log"
        path.write_text(stamped([*HANDSHAKE, *(f"xen_platform_log xen platform: {at}" for at in range(900))]))
        (story,) = stories(path)
        lines = list(timeline_lines(timeline(story), Style(100)))
        assert len(lines) < 300
        assert lines[-1] == "and 706 more: -T jsonl has all of them"

    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_nothing_of_a_guest_acts_on_the_terminal(self, hostile: Path, encoding: str) -> None:
        (story,) = stories(hostile)
        text = "\n".join(drawn(story, Style(100, encoding)))
        assert not [one for one in text if unicodedata.category(one) in ("Cc", "Cf") and one != "\n"]
        assert "\\x1b[31m" in text
        assert "\\u202e" in text

    def test_where_the_encoding_has_no_lines_ascii_draws(self, data: Path, hostile: Path) -> None:
        for path in (data / "real-xen" / REAL, hostile):
            for story in stories(path):
                assert "\n".join(drawn(story, Style(100, "ascii"))).isascii()
                assert "\n".join(drawn(story, Style(100, "latin-1"))).isascii()

    def test_colours_change_nothing_but_colours(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        plain, painted = (drawn(story, Style(100, colour=colour)) for colour in (False, True))
        assert "\x1b[" not in "".join(plain)
        assert [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in painted] == [line.rstrip() for line in plain]
        assert painted != plain


class TestManyBoots:
    def test_one_line_each_grouped_by_verdict(self, many: list[Path]) -> None:
        found = stories(*many)
        lines = list(fleet_lines(strips(found, [finding(found[0])], SEVERITIES), Style(100)))
        text = "\n".join(lines)
        assert text.index("blacklisted: 1") < text.index("vm03#1") < text.index("complete: 11") < text.index("vm00#1")
        assert sum(bool(re.match(r"  vm\d\d#1 ", line)) for line in lines) == 12
        assert re.search(r"vm00#1 +▲ A99", text)
        assert re.search(r"vm05#1 +order, no time recorded +-$", text, re.MULTILINE)
        assert re.search(r"vm11#1 .*60 ms$", text, re.MULTILINE)  # five steps of 12 ms

    def test_bars_show_the_phase_at_each_time_of_one_scale(self, many: list[Path]) -> None:
        lines = list(fleet_lines(strips(stories(*many[:3]), [], SEVERITIES), Style(100)))
        bars = [line[20:-7].rstrip() for line in lines if re.match(r"  vm0", line)]
        assert [re.sub(r"(.)\1+", r"\1", bar.strip()) for bar in bars] == ["▁▂▃▄"] * 3
        assert len(bars[0]) < len(bars[1]) < len(bars[2])

    def test_latencies_are_measured_values(self) -> None:
        values = [*range(1, 101)]
        assert [quantile(values, percent) for percent in (0, 50, 90, 99, 100)] == [1, 50, 90, 99, 100]
        assert [quantile([7], percent) for percent in (0, 50, 99)] == [7, 7, 7]
        assert quantile([1, 1000], 50) == 1


class TestCommand:
    def test_more_than_ten_are_one_line_each_and_vm_shows_one_in_full(
        self, command: Callable[..., tuple[int, str, str]], many: list[Path]
    ) -> None:
        code, out, _ = command(*many)
        assert code == 0
        assert "12 negotiations of 12 VMs" in out.replace("\n", " ")
        code, out, _ = command("--vm", "vm03", *many)
        assert code == 0
        assert out.startswith("vm03#1\n")
        assert "negotiations" not in out

    @pytest.mark.parametrize("columns", WIDTHS)
    def test_it_is_as_wide_as_the_terminal(
        self, command: Callable[..., tuple[int, str, str]], data: Path, columns: int
    ) -> None:
        _, out, _ = command(data / "real-xen" / REAL, columns=columns)
        widest = max(map(width, out.splitlines()))
        assert columns * 0.8 < widest <= columns
        assert "\x1b" not in out  # no terminal, no colours

    def test_an_unknown_vm_is_one_line(self, command: Callable[..., tuple[int, str, str]], many: list[Path]) -> None:
        code, out, err = command("--vm", "web", *many[:2])
        assert (code, out, err) == (2, "", "xptrace: no VM 'web'; there are: vm00, vm01\n")

    def test_an_unknown_boot_is_one_line(self, command: Callable[..., tuple[int, str, str]], many: list[Path]) -> None:
        code, out, err = command("--boot", "7", many[0])
        assert (code, out, err) == (2, "", "xptrace: no boot 7; the last one is 1\n")

    def test_items_as_json(self, command: Callable[..., tuple[int, str, str]], many: list[Path]) -> None:
        code, out, _ = command("-T", "jsonl", *many)
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert {tuple(row) for row in rows} == {KEYS}
        assert sum(row["lane"] == "driver" and row["kind"] == "mark" for row in rows) == 11 * 6 + 1

    def test_a_file_gets_unicode_and_no_colours(
        self, command: Callable[..., tuple[int, str, str]], many: list[Path], tmp_path: Path
    ) -> None:
        target = tmp_path / "out.txt"
        assert command("-o", target, many[0])[:2] == (0, "")
        text = target.read_text("utf-8")
        assert "├probe" in text
        assert "\x1b" not in text

    def test_nothing_of_this_traffic(self, command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
        path = tmp_path / "other.log"
        path.write_text("nothing\n")
        code, out, _ = command(path)
        assert (code, out) == (1, "")


class TestTables:
    def test_the_items_of_a_timeline(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / REAL)
        told = timeline(story)
        frame = timeline_frame(told)
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            name: dtype for name, (dtype, _) in TIMELINE.items()
        }
        assert len(frame) == len(told.items)
        connected = frame[(frame["name"] == "Connected") & frame["label"].str.contains("frontend")].iloc[0]
        assert (connected["begin_ns"], connected["end_ns"]) == (1795401789116462000, 1795401816296575000)

    def test_one_row_a_negotiation(self, many: list[Path]) -> None:
        found = stories(*many)
        frame = fleet_frame(found, [finding(found[0]), finding(found[0], "low", "A22"), finding(found[1], "medium")])
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            name: dtype for name, (dtype, _) in FLEET.items()
        }
        rows = frame.set_index("id")
        assert rows.index[0] == "vm03#1"
        assert rows.loc["vm00#1", ["worst", "findings", "code"]].tolist() == ["high", 2, "complete"]
        assert rows.loc["vm01#1", "worst"] == "medium"
        assert rows["worst"].isna().sum() == 10
        assert rows.loc["vm01#1", [f"{phase}_ns" for phase in list(PHASES)[:5]]].tolist() == [
            2_000_000, 4_000_000, 2_000_000, 2_000_000, 0
        ]
        assert rows.loc["vm05#1", ["probe_ns", "probed_ns"]].isna().all()

    def test_latencies_over_all_boots(self, many: list[Path]) -> None:
        frame = latencies(fleet_frame(stories(*many)))
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
            name: dtype for name, (dtype, _) in LATENCIES.items()
        }
        rows = frame.set_index("phase")
        # probes of 1 to 12 ms, without the 4th (refused) and the 6th (no times)
        assert rows.loc["probe"].tolist() == [10, *(1_000_000 * ms for ms in (1, 7, 11, 12, 12))]
        assert rows.loc["handover", "count"] == 0
        assert rows.loc["handover"].isna().sum() == 5
