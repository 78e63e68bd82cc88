"""`xptrace decode -Y`, `xptrace fields` and filters in users' rules, as a person uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def log(data: Path) -> Path:
    return data / "real-xen" / "windows-like-excerpt.log.gz"


def test_only_what_is_meant_is_shown(xptrace: Run, log: Path) -> None:
    text = 'vm == "windows-like-excerpt" && register == unplug_mask && value & 1 && time > 4:10'
    done = xptrace("decode", "-Y", text, log)
    assert done.out == ("2026-11-23T04:10:39.484901Z  windows-like-excerpt#1 write 0x10   2         "
                        "unplug mask 0x0001: IDE and SCSI disks\n")
    assert done.code == 0


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("kind == message", lambda row: row["kind"] == "message"),
        ("value > 0x100 && size in {2, 4}",
         lambda row: (row.get("value") or 0) > 0x100 and row.get("size") in (2, 4)),
        ('text matches r"^UNPLUG: (DISKS|NICS)$"', lambda row: row.get("text") in ("UNPLUG: DISKS", "UNPLUG: NICS")),
        ("direction == read and not (register == config or register == log)",
         lambda row: row.get("direction") == "read" and row["register"] not in ("config", "log")),
        ("line < 300 && offset >= 4KiB", lambda row: row["line"] < 300 and row["offset"] >= 4096),
    ],
)
def test_the_rows_are_those_of_decode_that_are_meant(
    xptrace: Run, log: Path, text: str, meant: Callable[[dict[str, Any]], bool]
) -> None:
    everything = xptrace("decode", "-T", "jsonl", log).rows
    expected = [row for row in everything if meant(row)]
    assert 0 < len(expected) < len(everything)
    assert xptrace("decode", "-T", "jsonl", "--filter", text, log).rows == expected


def test_it_goes_with_the_other_options(xptrace: Run, log: Path) -> None:
    options = ("-T", "jsonl", "--register", "magic", "--since", "04:10:39.25")
    assert [row["value"] for row in xptrace("decode", *options, "-Y", "value == 0x49d2", log).rows] == [0x49D2]
    assert xptrace("decode", *options, "-Y", "value != 0x49d2", log).rows == []
    assert xptrace("decode", "-Y", "boot == 7", "-T", "fields", "-e", "vm", log).out == ""


def test_a_fault_is_one_line_and_its_picture(xptrace: Run, log: Path) -> None:
    done = xptrace("decode", "-Y", "boot == 1 && registr == unplug_mask", log)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        ("xptrace: filter, character 14: there is no field 'registr' among accesses, messages and events; "
         "did you mean register?"),
        "    boot == 1 && registr == unplug_mask",
        "                 ^^^^^^^",
    ]


def test_a_hostile_filter_acts_on_nothing(xptrace: Run, log: Path) -> None:
    done = xptrace("decode", "-Y", "vm == \x1b[2J\u202e\udcff", log)
    assert done.code == 2
    assert not {"\x1b", "\u202e", "\udcff"} & set(done.err)


def test_text_of_the_guest_stays_inert_where_it_is_meant(xptrace: Run, tmp_path: Path) -> None:
    log = tmp_path / "evil.log"
    said = ["\x1b[2J\x1b]0;x\x07", "=cmd|'/c calc'!A0", "</script>", "\u202eEVIL", "a" * 3000 + "!"]
    log.write_text("".join(f"xen_platform_log xen platform: {line}\n" for line in said), encoding="utf-8")
    done = xptrace("decode", "-Y", r'text matches r"^\x1b|^=|(a*)*b|<|EVIL"', log)
    assert len(done.out.splitlines()) == 4
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err)


def test_a_filter_needs_nothing_heavy() -> None:
    code = ("import sys; from xptrace.cli import main; main(['decode', '-Y', 'value & 1', '/dev/null']); "
            "print([name for name in ('numpy', 'pandas', 'pyarrow', 'scapy') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestFields:
    """What there is to filter by."""

    def test_every_key_of_decode_is_listed(self, xptrace: Run, log: Path) -> None:
        rows = [json.loads(line) for line in xptrace("fields", "-T", "jsonl").out.splitlines()]
        assert all(tuple(row) == ("name", "type", "unit", "meaning", "example", "words", "kinds") for row in rows)
        keys = {key for row in xptrace("decode", "-T", "jsonl", log).rows for key in row}
        assert keys <= {row["name"] for row in rows}
        assert next(row for row in rows if row["name"] == "time_ns")["unit"] == "ns"

    def test_text_names_each_field_with_its_example_and_its_words(self, xptrace: Run) -> None:
        text = xptrace("fields").out
        assert "register             enumeration" in text
        assert "register == unplug_mask" in text
        assert '"local, year inferred"' in text
        assert max(map(len, text.splitlines())) <= 140

    def test_the_other_tables(self, xptrace: Run) -> None:
        assert "severity in {high, medium}" in xptrace("fields", "--table", "findings").out
        assert "duration_ns > 100ms" in xptrace("fields", "--table", "negotiations").out
