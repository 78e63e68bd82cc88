"""One hostile recording through every output there is: what the guest wrote is shown, and acts on nothing."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xptrace.exports.export import FORMATS, exporter

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07", "=cmd|' /C calc'!A0", "@SUM(1+9)", "</script><img src=x onerror=alert(1)>",
    "'; drop table accesses; --", "]] .. os.execute('id') .. [[", "end\u202e\u2066gnp.exe",
    "%%{init: {}}%%; rect rgb(0,0,0)", "{{7*7}}", 'a\tb\\n"c"',
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A guest called after an attack, that says each of them, beside a whole handshake with time stamps."""
    path = tmp_path / "qemu-dm-=cmd.log"
    stamp = "213@1795406729.{:06d}:"
    lines = [
        "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
        "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
        *(f"xen_platform_log xen platform: {text}" for text in HOSTILE),
        *(f"xs_node_vprintf /local/domain/1/data/os_name {text}" for text in HOSTILE),
        *(f"xen_device_frontend_state type: xen-disk name: {text} -> XenbusStateConnected" for text in HOSTILE),
    ]
    path.write_text("".join(stamp.format(at) + line + "\n" for at, line in enumerate(lines)), encoding="utf-8")
    return path


def inert(text: str) -> None:
    assert not {character for character in text if ord(character) < 0x20 and character not in "\t\n\r"}
    assert "\u202e" not in text
    assert "\x7f" not in text


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_export(name: str, recording: Path, tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    out = tmp_path / f"out{exporter(name).suffix}"
    done = xptrace("export", "--to", name, "-o", out, recording)
    assert done.code == 0, done.err
    inert(done.err)
    raw = out.read_bytes()
    assert raw
    if not exporter(name).binary:
        inert(raw.decode("utf-8"))
        assert b"<img" not in raw or name in ("timesketch", "ecs", "l2tcsv"), "markup only where nothing renders it"
    if name in ("timesketch", "ecs"):
        assert all(isinstance(json.loads(line), dict) for line in raw.splitlines())
    if name == "l2tcsv":
        cells = [cell for row in csv.reader(io.StringIO(raw.decode())) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "@", "+", "\t", "\r")]
    if name == "tables":
        assert zipfile.ZipFile(out).testzip() is None


@pytest.mark.parametrize("words", [
    ("decode",), ("decode", "-V", "-x"), ("decode", "-T", "csv"), ("decode", "-T", "jsonl"),
    ("decode", "-T", "fields", "-e", "vm,text,meaning"), ("summary",), ("summary", "-T", "csv"), ("check",),
    ("timeline",), ("info",), ("replay", "--profile", "qemu-7.2"), ("state", "--profile", "qemu-7.2"), ("correlate",),
    ("sql", "select * from messages"), ("sql", "-T", "csv", "select text from messages"),
])  # fmt: skip
def test_every_command(words: tuple[str, ...], recording: Path, xptrace: Callable[..., Any]) -> None:
    done = xptrace(*words, recording)
    assert done.code in (0, 1, 10, 11, 12, 13), done.err
    inert(done.out)
    inert(done.err)
    if "csv" in words:
        cells = [cell for row in csv.reader(io.StringIO(done.out)) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "@", "+", "\t", "\r")]
