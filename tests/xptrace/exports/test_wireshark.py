"""The Wireshark plug-in: the real tshark says of every packet what xptrace says of the recording."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.capture.header import ACCESS, MESSAGE, pack
from dissectors.capture.pcapng import Interface, Writer
from dissectors.platform import registers
from dissectors.platform.registers import Direction, Space
from xptrace.access.rows import KEYS
from xptrace.cli import main
from xptrace.cli.wireshark import plugins_folder
from xptrace.exports.wireshark import FIELDS, plugin, quoted

Shark = Callable[..., str]


@pytest.fixture(scope="session")
def tshark(tmp_path_factory: pytest.TempPathFactory) -> Shark:
    """Run tshark with the plug-in, and with nothing of the user's; complaints about the plug-in are failures."""
    program = shutil.which("tshark")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tshark is not installed, and in CI it must be: apt-get install tshark")
        pytest.skip("tshark is not installed (apt-get install tshark)")
    home = tmp_path_factory.mktemp("wireshark")
    script = home / "xptrace.lua"
    script.write_text(plugin())
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "WIRESHARK_CONFIG_DIR": str(home),
                   "LC_ALL": "C.UTF-8", "TZ": "UTC"}  # fmt: skip

    def run(*arguments: str | Path) -> str:
        command = [program, "-X", f"lua_script:{script}", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, check=True, env=environment, timeout=120)
        said = done.stderr.decode().replace('Running as user "root" and group "root". This could be dangerous.', "")
        assert said.strip() == ""
        return done.stdout.decode()

    return run


def fields(tshark: Shark, path: Path, *names: str, only: str = 'xenplat.kind != "event"', more: tuple[str, ...] = ()
           ) -> list[list[str]]:  # fmt: skip
    told = [argument for name in names for argument in ("-e", f"xenplat.{name}")]
    out = tshark("-r", path, *more, "-Y", only, "-T", "fields", *told)
    return [line.split("\t") for line in out.splitlines()]


def xptrace(*arguments: str | Path) -> str:
    """Run the command line in this process, which has loaded everything already; returns what it printed."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        main(list(map(str, arguments)))
    return out.getvalue()


def same(tshark: Shark, recording: Path, capture: Path) -> int:
    """Whether tshark prints of the capture, row by row, what xptrace prints of the recording; returns the rows."""
    xptrace("export", "--to", "pcapng", "-o", capture, recording)
    expected = xptrace("decode", "-T", "fields", "-e", ",".join(KEYS), recording)
    rows = [line.split("\t") for line in expected.splitlines()]
    assert fields(tshark, capture, *KEYS) == rows
    return len(rows)


SHIPPED = [
    "real-xen/all-events-handshake.txt", "real-xen/windows-like-excerpt.log.gz",
    "qemu-oracle/10.0.13/37-log-injection/trace.log", "qemu-oracle/10.0.13/40-misaligned-straddle/trace.log",
    "qemu-oracle/10.0.13/45-mmio/trace.log", "qemu-oracle/10.0.13/44-bar0-decode/trace.bin.gz",
    "lttng/babeltrace2.txt.gz", "xentrace/two-guests.bin", "kvm/tracefs.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_tshark_prints_what_xptrace_prints(
    data: Path, tmp_path: Path, tshark: Shark, name: str
) -> None:
    assert same(tshark, data / name, tmp_path / "a.pcapng") > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "qemu-oracle/7.2.22/02-magic-version/trace.log", "qemu-oracle/10.2.2/03-linux-negotiation/trace.log",
    "real-xen/pvdevice-both/qemu-trace-pvdevice-both.log.gz",
])  # fmt: skip
def test_tshark_prints_what_xptrace_prints_of_the_collection(
    corpus: Path, tmp_path: Path, tshark: Shark, name: str
) -> None:
    path = corpus / "recorded" / name
    if not path.exists():
        pytest.skip(f"{name} is not in the collection")
    assert same(tshark, path, tmp_path / "a.pcapng") > 0


def test_hostile_text_is_shown_as_xptrace_shows_it(tmp_path: Path, tshark: Shark) -> None:
    log = tmp_path / "qemu-dm-]]\"'\x1b[2J.log"
    log.write_bytes(
        b"xen_platform_log xen platform: \x1b[2J\x1b]0;owned\x07=cmd|' /C calc'!A0</script>]] \"';-- %s \\n \\x41\n"
        b"xen_platform_log xen platform: \xe2\x80\xaetxt\xe2\x80\x8b \xff\xfe \xed\xa0\x80 \xf3\xa0\x81\x81 "
        b"\xc2\x9b1m \xf0\x9f\x90\xbc\n"
        b"cpu_in addr 0x10(w) value 18898\ncpu_out addr 0x10(w) value 0\n"
    )
    assert same(tshark, log, tmp_path / "a.pcapng") == 4
    shown = tshark("-2", "-r", tmp_path / "a.pcapng", "-V") + tshark("-r", tmp_path / "a.pcapng")
    assert all(line.isprintable() for line in shown.splitlines())


# -- every register, every width


def test_the_map_in_the_plug_in_is_the_map(tmp_path: Path, tshark: Shark) -> None:
    """Each place, width and direction, and one beyond at each end, with values that have names and that have none."""
    told: list[tuple[Space, int, int | None, Direction, int | None]] = [
        (space, offset, size, direction, value)
        for space, offsets in (("pio", range(0x0D, 0x20)), ("bar0", (*range(-2, 10), 0xFE, 0xFF)))
        for offset in offsets for size in (1, 2, 3, 4, 8, None) for direction in ("read", "write")
        for value in (None, 0, 1, 2, 0x49D2, 0xD249, 0xFFFF, (1 << 64) - 1)
    ]  # type: ignore[misc,unused-ignore]  # the literals are a Space and a Direction
    path, base = tmp_path / "a.pcapng", 0xC000
    with path.open("wb") as file:
        writer = Writer(file, "a test")
        for space, offset, size, direction, value in told:
            begin = base if space == "bar0" else 0
            writer.write(Interface("a#1", "a"), None, pack({
                "kind": ACCESS, "space": int(space == "bar0"), "access": int(direction == "write"), "size": size,
                "offset": offset & 0xFFFFFFFF, "address": begin + offset, "base": begin,
                "value": None if value is None else value & (1 << 8 * (size or 8)) - 1,
            }))  # fmt: skip
    found = fields(tshark, path, "register", "meaning")
    assert len(found) == len(told)
    for (space, offset, size, direction, value), shown in zip(told, found, strict=True):
        cut = value if value is None or size is None else value & (1 << 8 * size) - 1
        assert shown == [registers.register_name(space, offset, size, direction),
                         registers.meaning(space, offset, size, direction, cut)]  # fmt: skip


def test_fields_have_the_names_of_the_columns() -> None:
    assert {name for name, _, _ in FIELDS} >= set(KEYS)


@pytest.fixture(scope="module")
def handshake(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("capture") / "a.pcapng"
    xptrace("export", "--to", "pcapng", "-o", path, data / "real-xen" / "all-events-handshake.txt")
    return path


@pytest.mark.parametrize(("only", "numbers"), [
    ('xenplat.register == "unplug_mask"', ["7"]),
    ('xenplat.value & 1 && xenplat.direction == "write"', ["4", "5", "7"]),
    ("xenplat.unplug_mask.nics == 1", ["7"]), ("xenplat.value == 0x49d2", ["2", "6"]),
    ('xenplat.function == "00:02.0"', ["1", "10"]),
    ('xenplat.topic == "function"', ["8", "9"]), ('xenplat.meaning contains "not blacklisted"', ["2", "6"]),
    ('xenplat.vm == "all-events-handshake" && xenplat.boot == 1 && xenplat.size == 4', ["5", "10"]),
])  # fmt: skip
def test_packets_are_found_by_what_they_mean(handshake: Path, tshark: Shark, only: str, numbers: list[str]) -> None:
    assert tshark("-r", handshake, "-Y", only, "-T", "fields", "-e", "frame.number").split() == numbers


def test_a_question_and_its_answer_are_paired(handshake: Path, tshark: Shark) -> None:
    """The magic is followed by the version, the build by the magic: frames 2 and 3, 5 and 6."""
    names = ("answer_in", "answer_to", "answer_time", "previous", "next")
    found = fields(tshark, handshake, *names, only="xenplat.next || xenplat.previous", more=("-2",))
    assert [row[:2] for row in found] == [["3", ""], ["", "2"], ["", ""], ["6", ""], ["", "5"], ["", ""]]
    assert [float(row[2]) for row in found if row[2]] == [0.003061, 0.004009]
    assert [row[3:] for row in found] == [["", "3"], ["2", "4"], ["3", "5"], ["4", "6"], ["5", "7"], ["6", ""]]


def test_the_packet_list_shows_who_to_whom_and_the_meaning(handshake: Path, tshark: Shark) -> None:
    lines = tshark("-r", handshake).splitlines()
    assert re.search(r"device → all-events-handshake +XENPLAT \d+ magic 0x49d2: Xen platform dev", lines[1])
    assert re.search(r"all-events-handshake → device +XENPLAT \d+ unplug mask 0x0003: IDE and SCSI", lines[6])


def test_findings_are_expert_information_and_can_be_filtered(
    data: Path, tmp_path: Path, tshark: Shark
) -> None:
    recording, path = data / "lttng" / "trace.log.gz", tmp_path / "a.pcapng"
    xptrace("export", "--to", "pcapng", "-o", path, recording)
    told = [json.loads(row) for row in xptrace("check", "-T", "jsonl", recording).splitlines()]
    proven = {(row["rule"], str(place["line"])) for row in told for place in row.get("evidence", ())}
    assert {rule for rule, _ in proven} >= {"A19", "A33", "A35"}
    found = fields(tshark, path, "finding", "line", only="xenplat.finding")
    assert {(rule, line) for rules, line in found for rule in rules.split(",")} <= proven
    assert {rule for rules, _ in found for rule in rules.split(",")} >= {"A19", "A33", "A35"}
    said = tshark("-r", path, "-Y", 'xenplat.finding == "A19"', "-T", "fields", "-e", "_ws.expert.message")
    assert "A19: trace#1: mask 0x0000 was written in line 99, which unplugs nothing" in said
    severity = tshark("-r", path, "-Y", '_ws.expert.severity == "Warning" && xenplat.finding == "A19"', "-T", "fields",
                      "-e", "xenplat.severity")  # fmt: skip
    assert severity.split() == ["medium"]


def test_an_access_where_no_register_is_is_expert_information(data: Path, tmp_path: Path, tshark: Shark) -> None:
    path = tmp_path / "a.pcapng"
    xptrace("export", "--to", "pcapng", "-o", path, data / "qemu-oracle/10.0.13/40-misaligned-straddle/trace.log")
    undefined = tshark("-r", path, "-Y", "xenplat.undefined", "-T", "fields", "-e", "xenplat.register").split()
    assert undefined
    assert set(undefined) == {"undefined"}
    assert undefined == tshark("-r", path, "-Y", 'xenplat.register == "undefined"', "-T", "fields", "-e",
                               "xenplat.register").split()  # fmt: skip


def test_plain_pcap_and_damaged_packets_are_shown_too(tmp_path: Path, tshark: Shark) -> None:
    path, whole = tmp_path / "a.pcapng", pack({"kind": MESSAGE, "clock": 5, "vm": b"win", "text": b"hello"})
    with path.open("wb") as file:
        writer = Writer(file, "a test")
        for packet in (whole, whole[:20], b"\2" + whole[1:], b"\1\7" + whole[2:], whole[:62], b"",
                       whole[:48] + b"\xff\xff" + whole[50:]):  # fmt: skip
            writer.write(Interface("a#1", "a"), 5, packet)
    assert fields(tshark, path, "text", "clock", "time_ns", only="xenplat.text") == [["hello", "trace", "5"]]
    numbers = tshark("-r", path, "-Y", "xenplat.damaged", "-T", "fields", "-e", "frame.number").split()
    assert numbers in (["2", "3", "4", "5", "7"], ["2", "3", "4", "5", "6", "7"])  # whether an empty frame is dissected


# -- the text of the plug-in, and where it goes


@given(st.text(max_size=30))
def test_text_in_lua_is_text_and_nothing_else(text: str) -> None:
    shown = quoted(text)
    assert re.fullmatch(r'"(?:[ !#-\[\]-~]|\\\d{3})*"', shown)
    raw = re.sub(rb"\\(\d{3})", lambda found: bytes((int(found[1]),)), shown[1:-1].encode())
    assert raw == text.encode("utf-8", "backslashreplace")


def test_the_plug_in_is_printed_or_written(tmp_path: Path) -> None:
    assert xptrace("wireshark") == plugin()
    assert plugin().isascii()
    assert xptrace("wireshark", "-o", tmp_path / "a.lua") == ""
    assert (tmp_path / "a.lua").read_text() == plugin()


def test_the_plug_in_is_installed_where_tshark_looks(
    tmp_path: Path, handshake: Path, tshark: Shark, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tshark("-v")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("WIRESHARK_CONFIG_DIR", raising=False)
    monkeypatch.delenv("WIRESHARK_PLUGIN_DIR", raising=False)
    assert main(["wireshark", "--install"]) == 0
    (installed,) = tmp_path.rglob("xptrace.lua")
    assert main(["wireshark", "--install"]) == 0  # a second time it is replaced
    assert [path.name for path in installed.parent.iterdir()] == ["xptrace.lua"]
    program = shutil.which("tshark") or ""
    shown = subprocess.run([program, "-r", handshake, "-Y", "xenplat.value == 3"], capture_output=True, check=True)
    assert b"unplug mask 0x0003" in shown.stdout


def test_without_tshark_the_documented_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plugins_folder() == tmp_path / ".local/lib/wireshark/plugins"
