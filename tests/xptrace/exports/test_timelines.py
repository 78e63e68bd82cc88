"""Timesketch, log2timeline and log stores take the timeline as it is, and are told no time that was not recorded."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xptrace as library
from dissectors.record import Record
from xptrace.access.rows import Event, Message, Topic
from xptrace.cli import main
from xptrace.exports import ecs, l2tcsv, timesketch
from xptrace.exports.export import FORMATS
from xptrace.exports.happenings import Happenings, iso

HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip
HOSTILE = [
    "=cmd|' /C calc'!A0", "\x1b[31m\x1b]0;pwn\x07 </script><script>alert(1)</script>", "@SUM(1+1)\t\x00", '-2+3,"x"',
    "\u202eevil\u2066 \ufffd\ud800", '{"message": "forged"}',
]  # fmt: skip
COLUMNS = [
    "date", "time", "timezone", "MACB", "source", "sourcetype", "type", "user", "host", "short", "desc", "version",
    "filename", "inode", "notes", "format", "extra",
]  # fmt: skip
KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}
CATEGORIES = {
    "api", "authentication", "configuration", "database", "driver", "email", "file", "host", "iam",
    "intrusion_detection", "library", "malware", "network", "package", "process", "registry", "session", "threat",
    "vulnerability", "web",
}  # fmt: skip
TYPES = {"driver": {"change", "end", "info", "start"}, "host": {"access", "change", "end", "info", "start"},
         "configuration": {"access", "change", "creation", "deletion", "info"}}
"""Elastic's allowed values: https://www.elastic.co/docs/reference/ecs/ecs-category-field-values-reference."""


def stamped(lines: Sequence[str]) -> str:
    """Lines a millisecond apart, by the wall clock."""
    return "".join(f"2026-11-23T04:05:29.{at:03d}000Z {line}\n" for at, line in enumerate(lines))


class Done:
    """What an export wrote, and how it ended."""

    def __init__(self, code: int, raw: bytes, err: str) -> None:
        self.code, self.raw, self.err = code, raw, err

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The objects of JSON lines."""
        return [json.loads(line) for line in self.raw.decode("ascii").splitlines()]

    @property
    def table(self) -> list[dict[str, str]]:
        """The rows of CSV."""
        return list(csv.DictReader(io.StringIO(self.raw.decode("utf-8"), newline="")))


@pytest.fixture
def export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """What `xptrace export --to FORMAT` writes."""
    for name in ("timesketch", "l2tcsv", "ecs"):
        monkeypatch.setitem(FORMATS, name, f"xptrace.exports.{name}")

    def run(name: str, *arguments: Path | str) -> Done:
        target = tmp_path / f"out.{name}"
        code = main(["export", "--to", name, "-o", str(target), *map(str, arguments)])
        return Done(code, target.read_bytes() if target.exists() else b"", capsys.readouterr().err)

    return run


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "qemu-dm-win10.log") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def handshake(log: Callable[..., Path]) -> Path:
    return log(stamped([*HANDSHAKE, "xen_platform_log xen platform: it says, a comma"]))


# -- each format


def test_timesketch_has_its_three_fields_and_microseconds(handshake: Path, export: Callable[..., Done]) -> None:
    rows = export("timesketch", handshake).rows
    mask = next(row for row in rows if row.get("register") == "unplug_mask")
    assert mask["message"] == "write 2 bytes at pio 0x10: unplug mask 0x0003: IDE and SCSI disks, NICs"
    assert mask["datetime"] == "2026-11-23T04:05:29.005000+00:00"
    assert mask["timestamp"] == 1_795_406_729_005_000
    assert mask["timestamp_desc"] == "Time recorded"
    assert (mask["vm"], mask["boot"], mask["source"], mask["line"]) == ("win10", 1, str(handshake), 6)
    for row in rows:
        assert all(isinstance(row[key], str) for key in ("message", "datetime", "timestamp_desc"))
        since = datetime.fromisoformat(row["datetime"]) - datetime(1970, 1, 1, tzinfo=UTC)
        assert since // timedelta(microseconds=1) == row["timestamp"]


def test_l2tcsv_has_the_columns_of_log2timeline(handshake: Path, export: Callable[..., Done]) -> None:
    done = export("l2tcsv", handshake)
    assert done.raw.decode().splitlines()[0].split(",") == COLUMNS
    mask = next(row for row in done.table if "unplug mask" in row["desc"])
    assert (mask["date"], mask["time"], mask["timezone"], mask["MACB"]) == ("11/23/2026", "04:05:29", "UTC", "....")
    assert mask["desc"] == "write 2 bytes at pio 0x10: unplug mask 0x0003: IDE and SCSI disks  NICs"
    assert (mask["host"], mask["filename"], mask["version"], mask["user"]) == ("win10", str(handshake), "2", "-")
    assert "time_ns: 1795406729005000000; clock: wall" in mask["extra"]
    assert "offset: " in mask["extra"]
    assert "line: 6" in mask["extra"]


def test_l2tcsv_can_be_cut_at_the_commas(handshake: Path, export: Callable[..., Done]) -> None:
    for line in export("l2tcsv", handshake).raw.decode().splitlines():
        assert len(line.split(",")) == 17


def test_pandas_reads_l2tcsv(data: Path, export: Callable[..., Done]) -> None:
    frame = pd.read_csv(io.BytesIO(export("l2tcsv", data / "real-xen/qemu-trace-linux-default.log.gz").raw))
    assert list(frame.columns) == COLUMNS
    assert not frame["desc"].isna().any()
    when = pd.to_datetime(frame["date"] + " " + frame["time"], format="%m/%d/%Y %H:%M:%S")
    assert str(when.min()) == "2026-11-23 02:37:51"


def test_ecs_says_what_it_is_in_the_words_of_the_schema(handshake: Path, export: Callable[..., Done]) -> None:
    rows = export("ecs", handshake).rows
    mask = next(row for row in rows if row["event"]["action"] == "write-unplug_mask")
    assert mask["@timestamp"] == "2026-11-23T04:05:29.005000000Z"
    assert mask["ecs"] == {"version": "8.11.0"}
    assert mask["event"] == {"kind": "event", "category": ["driver"], "type": ["change"], "module": "xptrace",
                             "action": "write-unplug_mask", "dataset": "xptrace.access"}
    assert mask["host"] == {"name": "win10"}
    assert mask["log"]["file"] == {"path": str(handshake)}
    assert handshake.read_bytes()[mask["log"]["offset"]:].startswith(b"2026-11-23T04:05:29.005000Z cpu_out")
    assert mask["labels"] == {"vm": "win10", "boot": "1"}
    assert (mask["xptrace"]["value"], mask["xptrace"]["size"], mask["xptrace"]["line"]) == (3, 2, 6)


@pytest.mark.parametrize("name", ["qemu-trace-linux-default.log.gz", "all-events-handshake.txt"])
def test_ecs_uses_allowed_values_only(data: Path, export: Callable[..., Done], name: str) -> None:
    rows = export("ecs", data / "real-xen" / name).rows
    assert rows
    for row in rows:
        event = row["event"]
        assert event["kind"] in KINDS
        for category in event.get("category", []):
            assert category in CATEGORIES
            assert set(event["type"]) <= TYPES[category]


def test_every_topic_has_a_category() -> None:
    for topic in get_args(Topic):
        event = Event(0, "wall", "vm", 1, topic, "s", "x", None, [Record("a.log", 0, 1, 1, "e", {}, b"")])
        (one,) = told_of([event])
        assert ecs.document(one)["event"]["category"][0] in CATEGORIES


def test_a_finding_is_an_alert_where_its_first_proof_stands(
    log: Callable[..., Path], export: Callable[..., Done]
) -> None:
    path = log(stamped([line.replace("(l) value 1", "(l) value 4660") for line in HANDSHAKE]))
    findings = library.open(path).findings.to_dict("records")
    assert "A11" in {one["rule"] for one in findings}
    alerts = [row for row in export("ecs", path).rows if row["event"]["kind"] == "alert"]
    for row, found in zip(alerts, findings, strict=True):
        assert row["rule"]["id"] == found["rule"]
        assert (row["event"]["severity"], row["log"]["level"]) == (
            {"high": 73, "medium": 47, "low": 21, "info": 0}[found["severity"]], found["severity"])
        assert row["event"]["reason"] == found["sentence"]
        proof = path.read_bytes()[found["evidence"][0]["offset"]:].decode()
        assert row["@timestamp"] == proof.split("Z ")[0] + "000Z"
        assert row["log"]["offset"] == found["evidence"][0]["offset"]
        assert row["xptrace"]["evidence"] == found["evidence"]


def test_syslogs_stamp_is_when_an_event_was_noted(log: Callable[..., Path], export: Callable[..., Done]) -> None:
    path = log("".join(f"2026-11-23T04:05:29.00000{at}+01:00 host qemu-dm-win10[7]: {line}\n"
                       for at, line in enumerate(HANDSHAKE)), "daemon.log")
    rows = export("ecs", path).rows
    assert rows
    for row in (row for row in rows if row["event"]["dataset"] == "xptrace.access"):
        assert row["xptrace"]["clock"] == "syslog"
        assert row["event"]["created"] == row["@timestamp"]
        assert row["@timestamp"].startswith("2026-11-23T03:05:29")


# -- how much is told


@pytest.mark.parametrize("name", ["real-xen/qemu-trace-linux-default.log.gz",
                                  "qemu-oracle/10.0.13/70-format-b-D-msg-timestamp/trace.log"])
def test_one_line_for_each_access_message_event_and_finding(data: Path, export: Callable[..., Done], name: str) -> None:
    case, path = library.open(data / name), data / name
    written = (case.accesses["register"] == "log") | (
        (case.accesses["register"] == "bar0_log") & ~case.accesses["value"].isin([1, 2]))
    expected = {"access": len(case.accesses) - int(written.sum()), "message": len(case.messages),
                "event": len(case.events), "finding": len(case.findings)}
    expected = {what: count for what, count in expected.items() if count}
    assert Counter(row["data_type"].partition(":")[2] for row in export("timesketch", path).rows) == expected
    assert Counter(row["event"]["dataset"].partition(".")[2] for row in export("ecs", path).rows) == expected
    assert Counter(row["format"].partition("/")[2] for row in export("l2tcsv", path).table) == expected


def test_a_legacy_unplug_is_no_byte_of_the_log(log: Callable[..., Path], export: Callable[..., Done]) -> None:
    bar = [f"memory_region_ops_write cpu 0 mr 0x55ab652d8a50 addr 0xf0000008 value 0x{value:x} size 1 name 'xen-mmio'"
           for value in (0x41, 1)]
    ports = [f"cpu_out addr 0x12(b) value {value}" for value in (0x41, 1, 10)]
    rows = export("timesketch", log(stamped([*HANDSHAKE, *bar, *ports]))).rows
    registers = [row["register"] for row in rows if row["data_type"] == "xptrace:access"]
    assert "log" not in registers
    assert registers.count("bar0_log") <= 1


# -- times


def test_what_has_no_time_stands_behind_what_came_before_it(
    log: Callable[..., Path], export: Callable[..., Done]
) -> None:
    stamps = ["", "2026-11-23T04:05:29.001000Z ", "", "2026-11-23T04:05:30.000000Z ", ""]
    path = log("".join(f"{stamp}{line}\n" for stamp, line in zip(stamps, HANDSHAKE, strict=False)))
    rows = export("timesketch", path).rows
    accesses = [row for row in rows if row["data_type"] == "xptrace:access"]
    assert [(row["line"], row["datetime"][11:26], row["time_certainty"], "time_ns" in row) for row in accesses] == [
        (2, "04:05:29.001000", "recorded", True), (3, "04:05:29.001000", "order only", False),
        (4, "04:05:30.000000", "recorded", True), (5, "04:05:30.000000", "order only", False),
    ]
    assert accesses[1]["timestamp_desc"] == "By order alone: recorded after what has this time"
    assert rows[-1]["data_type"] == "xptrace:note"
    assert "for want of a UTC time: 1 without a time" in rows[-1]["message"]
    assert rows[-1]["datetime"] == "2026-11-23T04:05:30.000000+00:00"


def test_order_in_another_recording_is_no_order(log: Callable[..., Path], export: Callable[..., Done]) -> None:
    dated = log(stamped(HANDSHAKE))
    bare = log("".join(f"{line}\n" for line in HANDSHAKE), "qemu-dm-bare.log")
    rows = export("timesketch", dated, bare).rows
    assert {row["source"] for row in rows if "source" in row} == {str(dated)}
    assert "6 without a time" in rows[-1]["message"]
    undated = [row for row in export("l2tcsv", dated, bare).table if row["filename"] == str(bare)]
    assert {(row["date"], row["time"], row["notes"]) for row in undated} == {
        ("00/00/0000", "--:--:--", "No UTC time recorded")}


@pytest.mark.parametrize("name", ["xenstore/two-guests.trace", "xentrace/two-guests.bin",
                                  "qemu-oracle/7.2.22/03-linux-negotiation/trace.bin.gz"])
@pytest.mark.parametrize("to", ["timesketch", "ecs"])
def test_a_clock_that_is_not_utc_is_not_passed_off_as_it(
    data: Path, export: Callable[..., Done], name: str, to: str
) -> None:
    done = export(to, data / name)
    assert done.code == 2
    assert done.raw == b""
    assert "no UTC time is recorded" in done.err
    assert "--clock-offset" in done.err
    dates = {row["date"] for row in export("l2tcsv", data / name).table}
    assert dates == {"00/00/0000"}


def test_an_offset_makes_it_utc(data: Path, export: Callable[..., Done]) -> None:
    path = data / "xenstore/two-guests.trace"
    rows = export("timesketch", "--clock-offset", "local=-3600", path).rows
    times = library.open(path).events["time_ns"]
    assert [row["timestamp"] for row in rows if row["data_type"] == "xptrace:event"] == [
        int(time) // 1000 - 3_600_000_000 for time in times]


def test_the_note_counts_clock_by_clock(data: Path, export: Callable[..., Done]) -> None:
    paths = [data / "real-xen/qemu-trace-linux-default.log.gz", data / "xenstore/two-guests.trace"]
    missing = len(library.open(*paths[1:]).events)
    last = export("ecs", *paths).rows[-1]
    assert last["event"]["dataset"] == "xptrace.note"
    assert f"{missing} by the host's local time" in last["message"]


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9 + 999_999_999))
def test_iso_is_exact_to_the_nanosecond(time_ns: int) -> None:
    text = iso(time_ns)
    assert text is not None
    seconds = datetime.fromisoformat(f"{text[:19]}+00:00") - datetime(1970, 1, 1, tzinfo=UTC)
    assert (seconds.days * 86400 + seconds.seconds) * 10**9 + int(text[20:29]) == time_ns


@given(st.one_of(st.integers(max_value=-62_135_596_801 * 10**9), st.integers(253_402_300_800 * 10**9)))
def test_what_is_no_date_has_none(time_ns: int) -> None:
    assert iso(time_ns) is None


# -- strangers


class Told:
    """A case of these entries, as far as a timeline looks at it."""

    class assessment:  # noqa: N801  (the name that a case has)
        findings: tuple[()] = ()

    def __init__(self, entries: Sequence[Any]) -> None:
        self._entries = entries

    def entries(self) -> Iterator[Any]:
        return iter(self._entries)


def told_of(entries: Sequence[Any]) -> list[Any]:
    return list(Happenings(Told(entries)).told())  # type: ignore[arg-type]


def message(text: str, vm: str = "vm") -> Message:
    record = Record("a.log", 0, 1, 1, "xen_platform_log", {}, b"")
    return Message(1_795_406_729_000_000_000, "wall", vm, 1, text, complete=True, certainty="observed",
                   records=[record])


def harmless(text: str) -> bool:
    """Whether nothing of it acts on a terminal, turns text around, or is no Unicode."""
    return not any(one < " " or "\x7f" <= one <= "\x9f" or "\ud800" <= one <= "\udfff" or
                   one in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
                   for one in text)


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)), st.one_of(st.sampled_from(HOSTILE), st.text()))
@settings(max_examples=200, deadline=None)
def test_no_text_of_a_guest_acts_or_forges_a_line(text: str, vm: str) -> None:
    (one,) = told_of([message(text, vm)])
    for made in (timesketch.line(one), ecs.document(one)):
        assert all(map(harmless, _texts(made)))
        assert made["message"].startswith("guest (log): ")
    fields = l2tcsv.fields(one)
    assert len(fields) == 17
    for field in fields:
        assert harmless(field)
        assert "," not in field
        assert field in ("-", "--:--:--") or not field.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("to", ["timesketch", "l2tcsv", "ecs"])
def test_a_hostile_recording_is_inert(log: Callable[..., Path], export: Callable[..., Done], to: str) -> None:
    lines = [f"xen_platform_log xen platform: {text}".encode("utf-8", "surrogatepass") for text in HOSTILE]
    path = log("", "qemu-dm-=cmd|calc.log")
    path.write_bytes(stamped(HANDSHAKE).encode() + b"".join(
        b"2026-11-23T04:05:30.000000Z " + line + b"\n" for line in lines))
    done = export(to, path)
    assert len(library.open(path).messages) == len(HOSTILE)
    text = done.raw.decode("utf-8")
    assert all(map(harmless, text.splitlines()))
    if to == "l2tcsv":
        assert len([row for row in done.table if row["format"] == "xptrace/message"]) == len(HOSTILE)
        for row in done.table:
            assert None not in row
            assert not any(value.startswith(("=", "+", "@")) for value in row.values())
        assert {row["host"] for row in done.table} == {"'=cmd|calc"}
    else:
        assert "<" not in text
        assert len(done.rows) == len(text.splitlines())
        said = [row["message"] for row in done.rows if "guest (log)" in row["message"]]
        assert said[0] == "guest (log): =cmd|' /C calc'!A0"
        assert said[1] == "guest (log): \\x1b[31m\\x1b]0;pwn\\x07 </script><script>alert(1)</script>"
        assert said[5] == 'guest (log): {"message": "forged"}'


def test_a_number_that_no_store_takes_is_a_text() -> None:
    event = Event(0, "wall", "vm", 1, "life", "s", "x", 1 << 63, [Record("a.log", 0, 1, 1, "e", {}, b"")])
    (one,) = told_of([event])
    for made in (timesketch.line(one), ecs.document(one)["xptrace"]):
        assert "value" not in made
        assert made["value_hex"] == "0x8000000000000000"
