"""Pictures of timelines: no text over another at any number of boots; the same bytes; nothing of a guest acts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from xptrace.access.decode import Decoder
from xptrace.cli import COMMANDS, main
from xptrace.errors import XptraceError
from xptrace.findings.assess import Finding
from xptrace.findings.rule import SEVERITIES, Rule, Severity
from xptrace.negotiation.story import Moment, Place, Step, Stories, Story
from xptrace.negotiation.timeline import strips, timeline
from xptrace.views import notebook, plot, plot_fleet, sheet

if TYPE_CHECKING:
    from xptrace.negotiation.timeline import Strip

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip
HOSTILE = "</text><script>alert(1)</script> <a href='http://evil/'> $\\frac{x$ \x1b[31m \u202e \ufffe\uffff 日本語"


pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from")
"""Measuring a text as a test does, one that no font of ours can write."""


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


def stories(*paths: Path) -> list[Story]:
    decoder = Decoder([str(path) for path in paths])
    found = Stories(decoder.vms)
    for _ in found.watch(decoder.entries()):
        pass
    return found.found


def stamped(lines: Sequence[str], step_us: int = 1000) -> str:
    return "".join(f"2026-11-23T04:05:29.{at * step_us:06d}Z {line}\n" for at, line in enumerate(lines))


def finding(vm: str, severity: Severity = "high", sentence: str = "it went wrong") -> Finding:
    rule = Rule("A99", severity, "title", "law", "advice", frozenset(), lambda _story, _case: iter(()))
    return Finding(rule, vm, 1, severity, sentence, "observed", ())


def step(register: str, offset: int, size: int, direction: str, value: int, time_ns: int | None) -> Step:
    at = Moment(time_ns, None if time_ns is None else "wall", Place("trace.log", (time_ns or 0) % 10**9, 1))
    return Step(register, "pio", offset, size, "read" if direction == "read" else "write", value, at)


def fleet(count: int) -> list[Strip]:
    """So many boots: of seven one is refused, one unplugs nothing, one has no times; each is slower than the last."""
    found = []
    for number in range(count):
        story = Story(f"{'database-primary' if number % 3 else 'web'}-{number:03d}", 1)
        kind, pace = number % 7, 1_000_000 + 37_000 * number
        start = 1_795_400_000 * 10**9 + number * 3 * 10**9
        times = [None if kind == 2 else start + at * pace for at in range(6)]
        story.steps = [
            step("magic", 0x10, 2, "read", 0x49D2, times[0]), step("protocol_version", 0x12, 1, "read", 1, times[1]),
            step("product_number", 0x12, 2, "write", 3, times[2]), step("build_number", 0x10, 4, "write", 1, times[3]),
            step("magic", 0x10, 2, "read", 0x49D2, times[4]), step("unplug_mask", 0x10, 2, "write", 3, times[5]),
        ]  # fmt: skip
        if kind == 0:
            story.steps = [step("magic", 0x10, 2, "read", 0xD249, times[0])]
        elif kind == 1:
            story.steps.pop()
        story.first, story.last = story.steps[0].at, story.steps[-1].at
        found.append(story)
    remarks = [finding(story.vm, "high" if at % 5 else "low") for at, story in enumerate(found) if not at % 2]
    return strips(found, remarks, SEVERITIES)


class Box(NamedTuple):
    """Where a text stands: pixels from the bottom left."""

    left: float
    bottom: float
    right: float
    top: float
    text: str


def boxes(figure: sheet.Figure) -> list[Box]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    found = []
    for axes in figure.axes:
        for text in axes.texts:
            extent = text.get_window_extent(renderer)
            found.append(Box(extent.x0, extent.y0, extent.x1, extent.y1, text.get_text()))
    return found


def overlaps(figure: sheet.Figure) -> list[tuple[str, str]]:
    """Texts that lie over each other by more than a pixel."""
    found = sorted(boxes(figure), key=lambda box: -box.top)
    over = []
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            if other.top <= one.bottom + 1:
                break
            if one.left + 1 < other.right and other.left + 1 < one.right:
                over.append((one.text, other.text))
    return over


def outside(figure: sheet.Figure) -> list[str]:
    width, height = (inches * 100 for inches in figure.get_size_inches())
    return [
        box.text for box in boxes(figure)
        if box.left < -0.5 or box.bottom < -0.5 or box.right > width + 0.5 or box.top > height + 0.5
    ]


@pytest.mark.usefixtures("matplotlib")
class TestNoTextLiesOverAnother:
    @pytest.mark.parametrize("name", ["qemu-trace-linux-default.log.gz", "qemu-trace-no-timestamp.log.gz"])
    def test_in_a_real_boot(self, data: Path, name: str) -> None:
        (story,) = stories(data / "real-xen" / name)
        figure = plot.timeline_figure(timeline(story, [finding(story.vm)]))
        assert (overlaps(figure), outside(figure)) == ([], [])

    @pytest.mark.parametrize("folder", ["windows-like", "migrate-local", "two-guests", "unplug-steps", "pvdevice-both"])
    def test_in_the_boots_of_the_collection(self, corpus: Path, folder: str) -> None:
        found = stories(*sorted((corpus / "recorded" / "real-xen" / folder).glob("qemu-trace*.log.gz")))
        figure = plot.timeline_figure(*map(timeline, found))
        assert (overlaps(figure), outside(figure)) == ([], [])

    def test_in_a_hostile_boot(self, tmp_path: Path) -> None:
        (story,) = hostile(tmp_path)
        figure = plot.timeline_figure(timeline(story, [finding(story.vm, "low", HOSTILE * 40)] * 15))
        assert (overlaps(figure), outside(figure)) == ([], [])

    @pytest.mark.parametrize("align", ["probe", "clock"])
    @pytest.mark.parametrize("count", [1, 5, 60, 61, 200])
    def test_in_many_boots(self, count: int, align: plot_fleet.Align) -> None:
        figure = plot_fleet.fleet_figure(fleet(count), align=align)
        assert (overlaps(figure), outside(figure)) == ([], [])

    def test_of_nothing(self) -> None:
        assert not overlaps(plot.timeline_figure())
        assert not overlaps(plot_fleet.fleet_figure([]))


def hostile(tmp_path: Path) -> list[Story]:
    path = tmp_path / "qemu-dm-g&<b>$x$.log"
    path.write_text(stamped([
        *HANDSHAKE, f"xen_platform_log xen platform: {HOSTILE}",
        "xen_device_frontend_state type: xen-disk name: <b>$768$</b> -> XenbusStateConnected",
    ]))  # fmt: skip
    return stories(path)


def nodes(svg: bytes) -> Iterator[ET.Element]:
    return ET.fromstring(svg).iter()  # noqa: S314 - our own picture


def texts(svg: bytes) -> list[str]:
    return ["".join(node.itertext()) for node in nodes(svg) if node.tag == "{http://www.w3.org/2000/svg}text"]


@pytest.mark.usefixtures("matplotlib")
class TestWhatIsDrawn:
    def test_the_head_can_go_into_a_report_as_it_is(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
        shown = [box.text for box in boxes(plot.timeline_figure(timeline(story)))]
        when = "2026-11-23T02:37:51.811423Z to 2026-11-23T02:43:37.726252Z"
        assert shown[:4] == [
            "linux-default#1: Linux",
            "Verdict: complete: unplugged IDE and SCSI disks, NICs",
            f"Recording: qemu-trace-linux-default.log.gz; {when}",
            "Phases: probe 2.18 ms, naming 4.27 ms, verdict 1.48 ms, decision 1.79 ms, unplug at once, handover 90.8 s",
        ]
        assert {
            "driver", "device", "disks", "NICs", "vbd/768 frontend", "vbd/768 backend", "version 1", "product 3",
            "build 1", "mask 0x3", "mask 0x1", "mask 0x2", "probe", "naming", "handover", "InitWait",
        } <= set(shown)

    def test_no_label_of_a_real_boot_is_left_out(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
        shown = [box.text for box in boxes(plot.timeline_figure(timeline(story)))]
        assert "created" in shown
        assert not [text for text in shown if "no room" in text]

    def test_steps_stand_in_their_order_from_left_to_right(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
        found = {box.text: box.left for box in boxes(plot.timeline_figure(timeline(story)))}
        at = [found[name] for name in ("version 1", "product 3", "build 1", "mask 0x3")]
        assert at == sorted(at)

    def test_of_many_boots_the_worst_have_names_and_groups_have_heads(self) -> None:
        rows = fleet(200)
        shown = [box.text for box in boxes(plot_fleet.fleet_figure(rows))]
        assert any(text.startswith("blacklisted: 29 — ") for text in shown)
        assert any(text.startswith("emulated: 29 — ") for text in shown)
        assert any(text.startswith("complete: 142 — ") for text in shown)
        named = [text for text in shown if re.fullmatch(r"(web|database-primary)-\d{3}#1", text)]
        assert 60 < len(named) < 120
        assert len(set(named)) == len(named)

    def test_a_picture_grows_with_its_rows(self) -> None:
        heights = [plot_fleet.fleet_figure(fleet(count)).get_size_inches()[1] for count in (1, 5, 60, 200)]
        assert all(one < other for one, other in pairwise(heights))

    def test_a_figure_needs_no_pyplot(self) -> None:
        before = "matplotlib.pyplot" in sys.modules
        sheet.encode(plot_fleet.fleet_figure(fleet(2)), "png")
        assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.usefixtures("matplotlib")
class TestBytes:
    @pytest.mark.parametrize("form", sheet.FORMATS)
    def test_are_the_same_for_the_same_boots(self, data: Path, form: str) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
        one, other = (sheet.encode(plot.timeline_figure(timeline(story)), form) for _ in range(2))
        assert one == other
        assert not re.search(rb"CreationDate|dc:date|Software|dc:creator", one)

    def test_svg_text_stays_text(self, data: Path) -> None:
        (story,) = stories(data / "real-xen" / "qemu-trace-linux-default.log.gz")
        shown = texts(sheet.encode(plot.timeline_figure(timeline(story)), "svg"))
        assert "linux-default#1: Linux" in shown
        assert "mask 0x3" in shown

    def test_nothing_of_a_guest_acts_in_svg(self, tmp_path: Path) -> None:
        found = hostile(tmp_path)
        remarks = [finding(found[0].vm, "high", HOSTILE)]
        for figure in (plot.timeline_figure(timeline(found[0], remarks)),
                       plot_fleet.fleet_figure(strips(found, remarks, SEVERITIES))):
            svg = sheet.encode(figure, "svg")
            assert b"<!DOCTYPE" not in svg
            for node in nodes(svg):
                assert node.tag.rpartition("}")[2] not in ("script", "foreignObject", "a", "image", "iframe")
                for name, value in node.attrib.items():
                    plain = name.rpartition("}")[2].lower()
                    assert not plain.startswith("on")
                    assert plain != "href" or value.startswith("#")
            shown = " ".join(texts(svg))
            assert "g&<b>$x$#1" in shown
            assert "\x1b" not in shown
            assert "\u202e" not in shown
        assert "</text><script>alert(1)</script>" in " ".join(texts(sheet.encode(
            plot.timeline_figure(timeline(found[0], remarks)), "svg")))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command as `xptrace timeline` does: (exit code, standard output, standard error)."""
    monkeypatch.setitem(COMMANDS, "timeline", "the negotiation, step by step")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(["timeline", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "qemu-dm-guest.log"
    path.write_text(stamped(HANDSHAKE))
    return path


class TestFiles:
    @pytest.mark.usefixtures("matplotlib")
    @pytest.mark.parametrize(("suffix", "magic"), [(".svg", b"<?xml"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF")])
    def test_the_suffix_says_the_format(
        self, command: Callable[..., tuple[int, str, str]], log: Path, suffix: str, magic: bytes
    ) -> None:
        target = log.with_suffix(suffix)
        code, out, _ = command(log, "--plot", target)
        assert (code, out) == (0, "")
        assert target.read_bytes().startswith(magic)
        assert sorted(path.name for path in log.parent.iterdir()) == sorted((log.name, target.name))

    def test_without_matplotlib_one_line_says_how_to_get_it(
        self, command: Callable[..., tuple[int, str, str]], log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        target = log.with_suffix(".svg")
        code, out, err = command(log, "--plot", target)
        assert (code, out) == (2, "")
        assert err == "xptrace: --plot needs matplotlib: pip install 'xptrace[plot]'\n"
        assert not target.exists()

    def test_text_needs_no_matplotlib(
        self, command: Callable[..., tuple[int, str, str]], log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert command(log)[0] == 0

    def test_an_unknown_format_is_one_line(self, command: Callable[..., tuple[int, str, str]], log: Path) -> None:
        code, out, err = command(log, "--plot", "out.gif")
        assert (code, out, err) == (2, "", "xptrace: out.gif: a picture is written as .svg, .png, .pdf\n")

    @pytest.mark.usefixtures("matplotlib")
    def test_a_picture_that_fails_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        target = tmp_path / "out.svg"
        target.write_text("before")
        figure = plot_fleet.fleet_figure(fleet(2))

        def full(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(XptraceError, match="No space left"):
            sheet.save(figure, target)
        assert target.read_text() == "before"
        assert [path.name for path in tmp_path.iterdir()] == ["out.svg"]

    @pytest.mark.usefixtures("matplotlib")
    def test_a_folder_that_is_not_there_is_one_line(
        self, command: Callable[..., tuple[int, str, str]], log: Path
    ) -> None:
        code, out, err = command(log, "--plot", log.parent / "nowhere" / "out.png")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "No such file or directory" in err


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def views(tmp_path: Path) -> Iterator[notebook.TimelineView | notebook.FleetView]:
    found = hostile(tmp_path)
    remarks = (finding(found[0].vm, "high", HOSTILE),)
    yield notebook.TimelineView.of(tuple(timeline(story, remarks) for story in found))
    yield notebook.FleetView.of(tuple(found), remarks)


class TestNotebook:
    @pytest.mark.usefixtures("matplotlib")
    def test_a_display_is_a_picture_and_a_table_and_nothing_acts(self, tmp_path: Path) -> None:
        for view in views(tmp_path):
            page = Page(view._repr_html_())
            tags = {tag for tag, _ in page.tags}
            assert {"svg", "table", "td"} <= tags
            assert not tags & {"script", "a", "img", "iframe", "object", "link", "foreignobject", "metadata", "b"}
            for _, attributes in page.tags:
                for name, value in attributes.items():
                    assert not name.startswith("on")
                    assert name.rpartition(":")[2] not in ("href", "src") or (value or "").startswith("#")
            assert "g&<b>$x$#1" in page.text
            assert "\x1b" not in page.text
            assert "\u202e" not in page.text

    def test_without_matplotlib_there_is_the_table(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for view in views(tmp_path):
            page = Page(view._repr_html_())
            assert "svg" not in {tag for tag, _ in page.tags}
            assert "pip install 'xptrace[plot]'" in page.text
            assert "complete" in page.text

    @pytest.mark.usefixtures("matplotlib")
    def test_plot_gives_the_figure_and_writes_it_where_asked(self, tmp_path: Path) -> None:
        for view in views(tmp_path):
            assert view.plot().get_size_inches()[0] == 13
            view.plot(tmp_path / "out.png")
            assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
            assert len(view) > 0
