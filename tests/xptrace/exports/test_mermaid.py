"""A diagram is what Mermaid's grammar takes, reads like the negotiation, and runs nothing that a guest wrote."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import xptrace as library
from xptrace.cli import main
from xptrace.errors import XptraceError
from xptrace.exports.export import FORMATS
from xptrace.exports.mermaid import LONGEST, code, diagram, note, write
from xptrace.negotiation.story import Line, Moment, Place, Step, Story
from xptrace.views.escape import printable

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip
HOSTILE = [
    "</pre><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "end", "x; end; sequenceDiagram",
    "%%{init: {'securityLevel': 'loose'}}%%", "%% gone", "``` fence", "#35;#quot;&lt;&#60;", "$$\\href{javascript:x}$$",
    "\x1b[2J\u202eevil\u2028driver->>device: forged", "style x:#fff;", "classDef a:#b;", "ﬂ°°60¶ß", "<br/>wrap:", ":",
]  # fmt: skip

# What Mermaid's lexer takes for a text (sequenceDiagram.jison): no ';' or '#' but of an entity code, no line end.
_TEXT = r"(?:[^#;\n<>%`{}$&\\\"]|#\d+;|<br/>)+"
STATEMENTS = [
    re.compile(pattern) for pattern in (
        r"sequenceDiagram", rf"title {_TEXT}", r"participant (driver|device|backend) as " + _TEXT, r"%% [A-Za-z0-9 ]+",
        rf"(driver|device|backend)(->>|-->>)(driver|device|backend): {_TEXT}",
        rf"Note (over driver,device|over device|left of driver|right of device): {_TEXT}",
        r"rect rgb\(\d+, \d+, \d+\)", r"end",
    )
]  # fmt: skip
FIRST_NS = 1_795_406_729_000_000_000


def stamped(lines: Sequence[str]) -> str:
    """Lines a millisecond apart, by the wall clock."""
    return "".join(f"2026-11-23T04:05:29.{at:03d}000Z {line}\n" for at, line in enumerate(lines))


def checked(text: str) -> list[str]:
    """The statements of a diagram; fails where Mermaid's grammar has none like it, or blocks do not end."""
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "sequenceDiagram"
    assert len(text) < 50_000
    depth = 0
    for line in lines:
        assert any(statement.fullmatch(line) for statement in STATEMENTS), line
        depth += line.startswith("rect ") - (line == "end")
        assert 0 <= depth <= 1
    assert depth == 0
    return lines


def shown(text: str) -> str:
    """The text as Mermaid shows it: entity codes are characters, breaks are ends of lines."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", text.replace("<br/>", "\n")))


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What `xptrace export --to mermaid` writes."""
    monkeypatch.setitem(FORMATS, "mermaid", "xptrace.exports.mermaid")

    def run(*paths: Path) -> list[str]:
        target = tmp_path / "out.mmd"
        assert main(["export", "--to", "mermaid", "-o", str(target), *map(str, paths)]) == 0
        return checked(target.read_text())

    return run


def test_a_handshake_reads_as_questions_answers_and_demands(tmp_path: Path, export: Callable[..., list[str]]) -> None:
    path = tmp_path / "qemu-dm-win10.log"
    path.write_text(stamped(HANDSHAKE))
    assert [shown(line) for line in export(path)] == [
        "sequenceDiagram",
        "title win10#1: complete: unplugged IDE and SCSI disks, NICs",
        "participant driver as driver Linux",
        "participant device as platform device",
        "rect rgb(235, 244, 255)",
        "Note over driver,device: probe, 1 ms",
        "driver->>device: read magic",
        "device-->>driver: magic 0x49d2: Xen platform device, not blacklisted",
        "driver->>device: read protocol version",
        "device-->>driver: protocol version 1 (unplug by mask)",
        "end",
        "rect rgb(240, 250, 238)",
        "Note over driver,device: naming, 2 ms",
        "driver->>device: driver product 3 (linux)",
        "driver->>device: driver build 1 (0x00000001)",
        "end",
        "rect rgb(235, 244, 255)",
        "Note over driver,device: verdict, 1 ms",
        "driver->>device: read magic",
        "device-->>driver: magic 0x49d2: Xen platform device, not blacklisted",
        "end",
        "rect rgb(240, 250, 238)",
        "Note over driver,device: decision, 1 ms",
        "driver->>device: unplug mask 0x0003: IDE and SCSI disks, NICs",
        "end",
    ]


def test_both_ends_of_a_pv_device_speak(data: Path, export: Callable[..., list[str]]) -> None:
    lines = export(data / "real-xen/qemu-trace-linux-default.log.gz")
    assert "participant backend as back ends" in lines
    mask = next(at for at, line in enumerate(lines) if "unplug mask 0x0003" in line)
    connected = lines.index("driver->>backend: vbd/768 frontend Connected")
    assert lines.index("backend-->>driver: vbd/768 backend Connected") < connected
    assert mask < connected


def test_a_finding_is_a_note_behind_its_proof(tmp_path: Path, export: Callable[..., list[str]]) -> None:
    path = tmp_path / "qemu-dm-win10.log"
    path.write_text(stamped([line.replace("(l) value 1", "(l) value 4660") for line in HANDSHAKE]))
    lines = [shown(line) for line in export(path)]
    build = next(at for at, line in enumerate(lines) if "driver build 4660" in line)
    assert lines[build + 1].startswith("Note right of device: low A11: ")


def test_of_several_negotiations_the_worst_is_drawn(tmp_path: Path, export: Callable[..., list[str]]) -> None:
    good, bad = tmp_path / "qemu-dm-good.log", tmp_path / "qemu-dm-bad.log"
    good.write_text(stamped(HANDSHAKE))
    bad.write_text(stamped(["cpu_in addr 0x10(w) value 53833", "cpu_out addr 0x10(w) value 3"]))
    lines = [shown(line) for line in export(good, bad)]
    assert lines[1] == "%% the one of 2 negotiations that ended worst"
    assert lines[2] == "title bad#1: blacklisted, yet the driver unplugged: IDE and SCSI disks, NICs"
    out = BytesIO()
    write(library.open(good, bad), out, vm="good")
    assert shown(out.getvalue().decode()).splitlines()[1].strip().startswith("title good#1: complete")
    with pytest.raises(XptraceError, match="there are: good#1, bad#1"):
        write(library.open(good, bad), BytesIO(), vm="none")


def test_without_a_negotiation_there_is_no_diagram(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("xen_platform_log xen platform: a line\n")
    with pytest.raises(XptraceError, match="no negotiation is recorded"):
        write(library.open(path), BytesIO())


def test_what_another_clock_tells_comes_apart(data: Path) -> None:
    def at(time_ns: int, clock: str, offset: int) -> Moment:
        return Moment(time_ns, clock, Place("a.log", offset, 1))

    story = Story("vm", 1)
    story.steps = [Step("magic", "pio", 0x10, 2, "read", 0x49D2, at(50, "wall", 0))]
    story.lines = [Line("early", complete=True, at=at(1, "uptime", 7))]
    lines = checked("".join(f"{line}\n" for line in diagram(story)))
    apart = next(at for at, line in enumerate(lines) if "does not compare" in shown(line).replace("\n", " "))
    assert "guest kernel" in shown(lines[apart])
    assert lines.index("driver->>device: read magic") < apart < lines.index("Note left of driver: log: early")


@pytest.mark.parametrize("many", [100, 10_000])
def test_a_flood_is_counted_and_not_drawn(many: int) -> None:
    story = Story("vm", 1)
    for at in range(many):
        moment = Moment(FIRST_NS + at, "wall", Place("a.log", at, at + 1))
        story.steps.append(Step("unplug_mask", "pio", 0x10, 2, "write", at & 0xFFFF, moment))
        story.lines.append(Line("<&>" * 100, complete=True, at=moment))
    text = "".join(f"{line}\n" for line in diagram(story))
    lines = checked(text)
    assert len(lines) < 200
    assert sum("unplug mask" in line for line in lines) >= 10
    assert any(re.search(r"and \d+ more, not shown", line) for line in lines)
    assert any(f"and {many - 12} more lines of the log" in line for line in lines)


def test_the_same_again_is_said_once(tmp_path: Path, export: Callable[..., list[str]]) -> None:
    path = tmp_path / "qemu-dm-win10.log"
    path.write_text(stamped([*HANDSHAKE, *["cpu_in addr 0x14(b) value 255"] * 30]))
    lines = [shown(line) for line in export(path)]
    assert [line for line in lines if "0x14" in line or "(30 times)" in line] == [
        "driver->>device: read 1 byte at pio 0x14", "device-->>driver: no register here: all ones (30 times)"]


# -- strangers


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=300)))
@example("wrap: x")
@example("a" * 1000)
@settings(max_examples=300)
def test_a_text_is_shown_and_does_nothing(text: str) -> None:
    for made in (f"driver->>device: {code(f'log: {text}')}", note("over device", f"log: {text}")):
        assert any(statement.fullmatch(made) for statement in STATEMENTS), made
        assert made.isascii()
    assert "<" not in code(text)
    assert note("over device", text).replace("<br/>", "").count("<") == 0
    if len(text) < LONGEST and printable(text) == text:
        assert shown(code(text)) == text


@given(st.text(alphabet="style:#;classDef fff", max_size=40))
def test_mermaids_mending_of_styles_takes_nothing_away(text: str) -> None:
    line = f"driver->>device: {code(f'log: {text}')}"
    for word in ("style", "classDef"):  # Mermaid drops the last ';' of what this finds, before it reads anything
        assert not re.search(rf"{word}.*:\S*#.*;", line)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_recording_is_one_inert_diagram(tmp_path: Path, export: Callable[..., list[str]], text: str) -> None:
    path = tmp_path / "qemu-dm-<b>%%{x}; end.log"
    path.write_bytes(stamped([*HANDSHAKE, f"xen_platform_log xen platform: {text}"]).encode())
    lines = export(path)
    assert sum(line.startswith("participant") for line in lines) == 2
    assert sum(line == "sequenceDiagram" for line in lines) == 1
    (said,) = [line for line in lines if line.startswith("Note left of driver: log")]
    assert "alert(1)<" not in said


def test_every_recording_of_the_repository_is_drawn(data: Path) -> None:
    drawn = 0
    for path in sorted(data.glob("qemu-oracle/10.0.13/*/trace.log")):
        case = library.open(path)
        for story in case.assessment.stories:
            checked("".join(f"{line}\n" for line in diagram(story, case.assessment.findings)))
            drawn += 1
    assert drawn >= 6
