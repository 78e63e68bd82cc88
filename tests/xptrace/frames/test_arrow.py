"""The tables as Arrow are the tables as DataFrames: same columns, same rows, and each column says what it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import xptrace
from xptrace.access.rows import KEYS
from xptrace.errors import XptraceError
from xptrace.frames import schema
from xptrace.frames.arrow import ROWS, TABLES, VERSION, batches, columns, schema_of, table, unit

DECLARED = {
    "accesses": schema.ACCESSES, "messages": schema.MESSAGES, "events": schema.EVENTS, "sayings": schema.SAYINGS,
    "negotiations": schema.SUMMARY, "findings": schema.FINDINGS, "sources": schema.SOURCES,
    "ledger": schema.LEDGER,
}  # fmt: skip
GOOD = "cpu_in addr 0x10(w) value 18898\n"


def test_every_column_is_the_declared_one_with_its_meaning() -> None:
    assert list(TABLES) == list(DECLARED)
    for name, declared in DECLARED.items():
        made = schema_of(name)
        assert [column for column in made.names if column != "time"] == list(declared)
        for column, (_, meaning) in declared.items():
            assert made.field(column).metadata[b"meaning"].decode() == meaning
        assert made.metadata[b"xptrace.table"].decode() == name
        assert made.metadata[b"xptrace.schema_version"].decode() == str(VERSION)


def test_rows_have_the_keys_of_decode() -> None:
    assert schema_of(ROWS).names == [*KEYS, "time"]


def test_units_stand_beside_the_columns() -> None:
    made = schema_of("accesses")
    assert {name: made.field(name).metadata.get(b"unit") for name in ("time_ns", "size", "offset", "vm", "value")} == {
        "time_ns": b"ns", "size": b"bytes", "offset": b"bytes", "vm": None, "value": None,
    }  # fmt: skip
    assert unit("decision_ns") == "ns"


def test_every_clock_is_explained_in_the_table() -> None:
    told = json.loads(schema_of("accesses").metadata[b"xptrace.clocks"])
    assert told["tsc"] == "the host's time stamp counter"
    assert b"only with times of the same clock" in schema_of("accesses").metadata[b"xptrace.times"]


def test_what_is_a_time_is_an_integer_and_only_utc_is_a_timestamp() -> None:
    made = schema_of("accesses")
    assert (made.field("time_ns").type, made.field("value").type) == (pa.int64(), pa.uint64())
    assert made.field("time").type == pa.timestamp("ns", "UTC")
    assert "time" not in schema_of("negotiations").names  # started_ns names no clock


def test_a_table_that_there_is_not(data: Path) -> None:
    case = xptrace.open(data / "real-xen" / "all-events-handshake.txt")
    with pytest.raises(XptraceError, match="no table 'acceses'; there are: accesses, "):
        table(case, "acceses")


@pytest.mark.parametrize("name", ["all-events-handshake.txt", "windows-like-excerpt.log.gz"])
def test_arrow_and_pandas_tell_the_same(data: Path, name: str) -> None:
    path = data / "real-xen" / name
    for kind in DECLARED:
        case = xptrace.open(path)
        frame = getattr(case, kind)
        read = table(xptrace.open(path), kind).to_pandas()
        held = [column for column in read.columns if column != "time"]
        assert list(frame.columns) == held
        for column in held:
            if frame[column].dtype == object:
                plain = [None if value is None else value for value in frame[column]]
                given = [json.loads(value) if column == "fields" else _plain(value) for value in read[column]]
                assert given == json.loads(json.dumps(plain)), (kind, column)
            elif str(frame[column].dtype) == "category":
                assert read[column].astype(object).equals(frame[column].astype(object)), (kind, column)
            else:
                pd.testing.assert_series_equal(read[column], frame[column])


def _plain(value: object) -> object:
    return [dict(one) if isinstance(one, dict) else one for one in value] if hasattr(value, "__iter__") else value


def test_batches_are_bounded_by_rows_and_by_text(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text((GOOD + f"xen_platform_log xen platform: {'x' * 100}\n") * 50)
    case = xptrace.open(path)
    sizes = [(name, len(batch)) for name, batch in batches(case, ["accesses", "messages"], most_rows=20)]
    assert [size for name, size in sizes if name == "accesses"] == [20, 20, 10]
    assert [size for name, size in sizes if name == "messages"] == [20, 20, 10]
    texts = [len(batch) for _, batch in batches(case, ["messages"], most_characters=1000)]
    assert texts == [10] * 5


def test_rows_in_several_batches_are_in_order_and_one_table(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text("".join(f"cpu_out addr 0x10(l) value {number}\n" for number in range(100)))
    parts = [batch for _, batch in batches(xptrace.open(path), ["accesses"], most_rows=7)]
    whole = pa.Table.from_batches(parts, schema_of("accesses")).unify_dictionaries()
    assert whole["value"].to_pylist() == list(range(100))
    assert set(whole["register"].to_pylist()) == {"build_number"}


def test_a_table_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text(GOOD)
    ((name, batch),) = batches(xptrace.open(path), ["messages"])
    assert (name, len(batch), batch.schema) == ("messages", 0, schema_of("messages"))


def test_only_wall_and_syslog_tell_utc(tmp_path: Path) -> None:
    (tmp_path / "wall.log").write_text(f"213@1795406729.212941:{GOOD}")
    (tmp_path / "kvm.txt").write_text(
        " qemu-system-x86-31213 [003] 4711.000001: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2 \n" * 2
    )
    made = table(xptrace.open(tmp_path / "wall.log", tmp_path / "kvm.txt"), "accesses")
    dates = dict(zip(made["clock"].to_pylist(), made["time"].cast(pa.int64()).to_pylist(), strict=True))
    assert dates == {"wall": 1795406729212941000, "trace": None}
    assert made["time_ns"].to_pylist() == [1795406729212941000, 4711000001000, 4711000001000]


def test_a_name_that_is_no_utf_8_is_a_text_all_the_same(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.log"
    Path(os.fsdecode(path)).write_text(GOOD)
    made = table(xptrace.open(os.fsdecode(path)), "accesses")
    assert made["source"].to_pylist() == [f"{tmp_path}/\\xff.log"]


def test_a_guests_number_is_never_another_one(tmp_path: Path) -> None:
    path = tmp_path / "hypervisor.log"
    path.write_text("(XEN) [ 4711.000001] d11v0 VIRIDIAN CRASH: ffffffffffffffff c0000096 75b12c5 9e7f1580 0\n")
    (row,) = table(xptrace.open(path), "events").to_pylist()
    assert row["value"] in {None, (1 << 64) - 1}
    assert row["said"] == "reports a crash: ffffffffffffffff c0000096 75b12c5 9e7f1580 0"


def test_columns_are_told_in_words() -> None:
    told = {column: (kind, measured) for column, kind, measured, _ in columns("sayings")}
    assert told["time_ns"] == ("integer", "ns")
    assert told["fields"] == ("JSON", "")
    assert told["time"] == ("timestamp in UTC", "")
