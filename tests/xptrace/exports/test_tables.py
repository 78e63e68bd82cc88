"""Exported tables hold what decode, summary and check tell, with the same types to every reader, and nothing acts."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import duckdb
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

import xptrace as library
from dissectors.clock import CLOCKS
from dissectors.platform.registers import Space
from dissectors.record import Record
from xptrace.access.rows import KEYS, Access, Entry, Event, Message, Row
from xptrace.cli import main
from xptrace.exports import parquet, sqlite, tables
from xptrace.frames import schema
from xptrace.frames.arrow import ROWS, TABLES, columns

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e</script>'); drop table accesses; -- =cmd|'/c calc'!A1 \"\x00 end"
HOSTILE = (
    b"cpu_in addr 0x10(w) value 18898\n"
    b"xen_platform_log xen platform: " + ESCAPES.encode() + b"\n"
    b"xen_platform_log xen platform: \xff=HYPERLINK(1)\n"
    b"memory_region_ops_write cpu 0 mr 0x1 addr 0x10 value 0xffffffffffffffff size 8 name 'xen-fixed'\n"
    b"memory_region_ops_write cpu 0 mr 0x1 addr 0x10 value 0x8000000000000000 size 8 name 'xen-fixed'\n"
    b"memory_region_ops_write cpu 0 mr 0x1 addr 0x10 value 0x7fffffffffffffff size 8 name 'xen-fixed'\n"
)
RECORDINGS = ["all-events-handshake.txt", "windows-like-excerpt.log.gz", "qemu-trace-no-timestamp.log.gz"]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "=evil' .log"
    path.write_bytes(HOSTILE)
    return path


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """What a command tells, row by row."""

    def run(command: str, source: Path) -> list[dict[str, Any]]:
        main([command, "-T", "jsonl", str(source)])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def as_parquet(*paths: Path, to: Path) -> Path:
    with to.open("wb") as file:
        parquet.write(library.open(*paths), file)
    return to


def as_sqlite(*paths: Path, to: Path) -> sqlite3.Connection:
    with to.open("wb") as file:
        sqlite.write(library.open(*paths), file)
    return sqlite3.connect(f"{to.as_uri()}?mode=ro", uri=True)


def rows_of(database: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    found = database.execute(f"select * from {table} order by row")  # noqa: S608 - the name of a table
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as `decode -T jsonl` has them: a key is there where it has a value."""
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


# -- Parquet


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_reader_of_parquet_reads_what_decode_tells(
    data: Path, tmp_path: Path, told: Callable[..., list[dict[str, Any]]], name: str
) -> None:
    source = data / "real-xen" / name
    expected = plain(told("decode", source))
    path = as_parquet(source, to=tmp_path / "rows.parquet")
    keys = list(KEYS)
    by_polars = pl.read_parquet(path).select(keys).to_dicts()
    by_duckdb = [dict(zip(keys, row, strict=True)) for row in _duckdb(path, keys)]
    frame = pd.read_parquet(path)[keys].astype(object)
    by_pandas = frame.where(frame.notna(), None).to_dict("records")
    assert plain(by_polars) == expected
    assert plain(by_duckdb) == expected
    assert plain(by_pandas) == expected


def _duckdb(path: Path, keys: list[str]) -> list[tuple[Any, ...]]:
    return duckdb.read_parquet(str(path)).select(*(duckdb.ColumnExpression(key) for key in keys)).fetchall()


SAME = {
    "Int64": (pl.Int64, "BIGINT"), "UInt64": (pl.UInt64, "UBIGINT"), "boolean": (pl.Boolean, "BOOLEAN"),
    "string": (pl.String, "VARCHAR"), "category": (pl.Categorical, "VARCHAR"),
    "datetime64[ns, UTC]": (pl.Datetime("ns", "UTC"), "TIMESTAMPTZ_NS"),
}  # fmt: skip
"""Of each dtype of pandas, the type that polars and DuckDB have for the same."""


def test_the_types_are_the_same_to_pandas_polars_and_duckdb(data: Path, tmp_path: Path) -> None:
    """And those of the DataFrames, although nothing of a column may tell: `vcpu` is missing in every row here."""
    path = as_parquet(data / "real-xen" / "all-events-handshake.txt", to=tmp_path / "rows.parquet")
    by_pandas = {name: str(dtype) for name, dtype in pd.read_parquet(path).dtypes.items()}
    assert by_pandas["value"] == "UInt64"
    assert by_pandas["vcpu"] == "Int64"
    relation = duckdb.read_parquet(str(path))
    by_duckdb = dict(zip(relation.columns, map(str, relation.types), strict=True))
    by_polars = dict(pl.read_parquet(path).schema)
    assert list(by_pandas) == list(by_polars) == list(by_duckdb) == [*KEYS, "time"]
    for name, dtype in by_pandas.items():
        for_polars, for_duckdb = SAME[dtype]
        assert by_polars[name] == for_polars, name
        assert by_duckdb[name] in {for_duckdb, "TIMESTAMP WITH TIME ZONE" if name == "time" else for_duckdb}, name


def test_the_greatest_integers_are_whole_to_every_reader(hostile: Path, tmp_path: Path) -> None:
    path = as_parquet(hostile, to=tmp_path / "rows.parquet")
    great = {(1 << 64) - 1, 1 << 63, (1 << 63) - 1}
    assert great <= set(pl.read_parquet(path)["value"].to_list())
    assert great <= {value for (value,) in _duckdb(path, ["value"])}
    assert great <= set(pd.read_parquet(path)["value"].dropna())


def test_a_guests_text_is_the_same_text_to_every_reader(hostile: Path, tmp_path: Path) -> None:
    path = as_parquet(hostile, to=tmp_path / "rows.parquet")
    texts = [ESCAPES, "\ufffd=HYPERLINK(1)"]
    assert [text for text in pl.read_parquet(path)["text"] if text is not None] == texts
    assert [text for (text,) in _duckdb(path, ["text"]) if text is not None] == texts
    assert list(pd.read_parquet(path)["text"].dropna()) == texts


def test_only_rows_of_a_clock_that_tells_utc_have_a_date(tmp_path: Path) -> None:
    (tmp_path / "wall.log").write_text("213@1795406729.212941:cpu_in addr 0x10(w) value 18898\n")
    (tmp_path / "kvm.txt").write_text(
        " qemu-system-x86-31213 [003] 4711.000001: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2 \n" * 2
    )
    path = as_parquet(tmp_path / "wall.log", tmp_path / "kvm.txt", to=tmp_path / "rows.parquet")
    told = dict(zip(*(pl.read_parquet(path)[name].to_list() for name in ("clock", "time")), strict=True))
    assert told["trace"] is None
    assert told["wall"].isoformat() == "2026-11-23T04:05:29.212941+00:00"


def test_parquet_says_what_its_columns_are(data: Path, tmp_path: Path) -> None:
    path = as_parquet(data / "real-xen" / "all-events-handshake.txt", to=tmp_path / "rows.parquet")
    about = dict(duckdb.sql("select key, value from parquet_kv_metadata($1)", params=[str(path)]).fetchall())
    assert about[b"xptrace.table"] == b"rows"
    assert about[b"xptrace.schema_version"] == b"1"
    assert json.loads(about[b"xptrace.clocks"]) == dict(CLOCKS)
    assert pq.read_schema(path).field("offset").metadata[b"unit"] == b"bytes"


def test_rows_are_written_in_groups_and_not_held(tmp_path: Path) -> None:
    def entries() -> Iterator[Entry]:
        for number in range(70_000):
            yield Access(number, "wall", "win10", 1, None, "pio", 16, 4, "write", number, 1, "build_number", "",
                         "observed", [record(number)])

    path = tmp_path / "rows.parquet"
    with path.open("wb") as file:
        parquet.write(Told(entries()), file)  # type: ignore[arg-type]
    assert [pq.ParquetFile(path).metadata.row_group(at).num_rows for at in range(2)] == [65536, 70_000 - 65536]
    assert pl.read_parquet(path)["value"].to_list() == list(range(70_000))


class Pipe(io.RawIOBase):
    """What is written to it comes out, and it is nowhere."""

    def __init__(self) -> None:
        self.out = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        self.out += bytes(data)
        return len(bytes(data))


@pytest.mark.parametrize("name", ["parquet", "tables", "sqlite"])
def test_a_pipe_takes_what_a_file_takes_and_the_same_recording_gives_the_same_bytes(data: Path, name: str) -> None:
    write = import_module(f"xptrace.exports.{name}").write
    source = data / "real-xen" / "all-events-handshake.txt"
    pipe, file = Pipe(), io.BytesIO()
    write(library.open(source), pipe)
    write(library.open(source), file)
    assert bytes(pipe.out) == file.getvalue()


def test_a_recording_without_anything_is_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_text("hello\n")
    made = as_parquet(tmp_path / "trace.log", to=tmp_path / "rows.parquet")
    assert (pl.read_parquet(made).height, pl.read_parquet(made).columns) == (0, [*KEYS, "time"])


# -- the archive of all tables


def test_the_archive_holds_every_table_as_the_commands_tell_it(
    data: Path, tmp_path: Path, told: Callable[..., list[dict[str, Any]]]
) -> None:
    source = data / "real-xen" / "windows-like-excerpt.log.gz"
    with (tmp_path / "case.zip").open("wb") as file:
        tables.write(library.open(source), file)
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{name}.parquet" for name in TABLES]
        read = {name: pl.read_parquet(archive.read(f"{name}.parquet")) for name in TABLES}
    for name, command in (("negotiations", "summary"), ("findings", "check")):
        rows = told(command, source)
        assert len(rows) > 0
        held = read[name].to_dicts()
        assert [{key: row[key] for key in one} for row, one in zip(held, rows, strict=True)] == rows
    decoded = told("decode", source)
    assert read["accesses"].height == sum(row["kind"] == "access" for row in decoded)
    assert read["messages"]["text"].to_list() == [row["text"] for row in decoded if row["kind"] == "message"]
    for finding in read["findings"].to_dicts():
        assert all({"source", "offset", "line"} == one.keys() for one in finding["evidence"])


# -- SQLite


@pytest.mark.parametrize("name", RECORDINGS[:2])
def test_sqlite_holds_what_decode_tells(
    data: Path, tmp_path: Path, told: Callable[..., list[dict[str, Any]]], name: str
) -> None:
    source = data / "real-xen" / name
    decoded = told("decode", source)
    database = as_sqlite(source, to=tmp_path / "case.sqlite")
    for table, kind in (("accesses", "access"), ("messages", "message")):
        names = [column for column, *_ in columns(table) if column != "time"]
        held = [{key: row[key] for key in names} for row in rows_of(database, table)]
        assert held == [{key: row[key] for key in names} for row in decoded if row["kind"] == kind]
    summary = [(row["vm"], row["boot"], row["verdict"]) for row in told("summary", source)]
    assert database.execute("select vm, boot, verdict from negotiations").fetchall() == summary
    rules = [row["rule"] for row in told("check", source)]
    assert [rule for (rule,) in database.execute("select rule from findings order by row")] == rules
    assert database.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_sqlite_never_takes_a_great_integer_for_another(hostile: Path, tmp_path: Path) -> None:
    database = as_sqlite(hostile, to=tmp_path / "case.sqlite")
    told = database.execute("select value, typeof(value) from accesses where size = 8 order by value desc").fetchall()
    assert told == [
        ("0xffffffffffffffff", "text"), ("0x8000000000000000", "text"), (9223372036854775807, "integer"),
    ]  # fmt: skip
    assert database.execute("select max(value) from accesses").fetchone() == ("0xffffffffffffffff",)
    assert database.execute("select count(*) from accesses where value > 9223372036854775806").fetchone() == (3,)


def test_sqlite_keeps_a_guests_text_inert_and_whole(hostile: Path, tmp_path: Path) -> None:
    database = as_sqlite(hostile, to=tmp_path / "case.sqlite")
    (first, ), (second, ) = database.execute("select text from messages order by row").fetchall()
    assert (first, second) == (ESCAPES.replace("\0", "\u2400"), "\ufffd=HYPERLINK(1)")
    assert database.execute("select length(text) from messages where row = 1").fetchone() == (len(ESCAPES),)
    assert database.execute("select * from exact_text").fetchall() == [("messages", 1, "text", ESCAPES.encode())]
    assert database.execute("select count(*) from accesses").fetchone() == (4,)


def test_sqlite_says_what_its_columns_are_and_finds_by_vm_time_and_register(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "case.sqlite"
    database = as_sqlite(data / "real-xen" / "all-events-handshake.txt", to=path)
    assert path.read_bytes()[68:72] == b"xptr"
    assert database.execute("pragma user_version").fetchone() == (1,)
    assert database.execute("select unit, type from columns where table_name = 'accesses' and column_name = 'time_ns'"
                            ).fetchall() == [("ns", "integer")]  # fmt: skip
    for name in TABLES:
        held = [row[1] for row in database.execute("select * from pragma_table_info(?)", (name,))]
        assert held == ["row", *(column for column, *_ in columns(name))]
    for where in ("vm = 'x' and boot = 1", "register = 'magic'", "clock = 'wall' and time_ns > 5",
                  "source = 'x' and \"offset\" = 1"):
        explain = f"explain query plan select * from accesses where {where}"  # noqa: S608 - as it stands above
        ((*_, plan),) = database.execute(explain).fetchall()
        assert "USING INDEX accesses_by_" in plan
    assert database.execute("select time from accesses limit 1").fetchone() == ("2026-11-23T04:05:29.113219000Z",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("delete from accesses")


# -- whatever a recording may hold


TEXTS = st.text(max_size=20) | st.just(ESCAPES)
NAMES = st.sampled_from(["win10", "=1+1", "a'b\"c", "\ud800", "nul\0"])
NUMBERS = st.none() | st.integers(0, (1 << 64) - 1) | st.sampled_from([(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
TIMES = st.none() | st.integers(0, (1 << 63) - 1)
CLOCK = st.sampled_from([*CLOCKS, None])


def record(offset: int) -> Record:
    return Record("trace.log", offset, 10, 1, "cpu_in", {}, b"")


ACCESSES = st.builds(
    Access, TIMES, CLOCK, NAMES, st.integers(1, 9), st.none() | st.integers(0, 255), st.sampled_from(get_args(Space)),
    NUMBERS, st.sampled_from([1, 2, 4, 8, None]), st.sampled_from(["read", "write"]), NUMBERS,
    st.integers(1, 1 << 32), TEXTS, TEXTS, st.sampled_from(["observed", "inferred"]),
    st.builds(record, st.integers(0, 1 << 62)).map(lambda one: [one]),
)  # fmt: skip
MESSAGES = st.builds(
    Message, TIMES, CLOCK, NAMES, st.integers(1, 9), TEXTS, st.booleans(), st.just("observed"),
    st.builds(record, st.integers(0, 1 << 62)).map(lambda one: [one]), st.sampled_from(["log", "debug", "kernel"]),
)  # fmt: skip
EVENTS = st.builds(
    Event, TIMES, CLOCK, NAMES, st.integers(1, 9), st.just("store"), TEXTS, TEXTS,
    st.none() | st.integers(-(1 << 63), (1 << 64) - 1),
    st.builds(record, st.integers(0, 1 << 62)).map(lambda one: [one]),
)  # fmt: skip


class Told:
    """A case of these entries and nothing else."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.decoder = SimpleNamespace(vms={}, ledgers=[], readings=[])
        self.assessment = SimpleNamespace(findings=[])

    def entries(self) -> Iterator[Entry]:
        yield from self._entries

    def blocks(self) -> Iterator[Row]:
        return (entry for entry in self._entries if not isinstance(entry, Event))


def shown(value: object) -> object:
    """A text as an encoding has it: a lone surrogate is an escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ACCESSES | MESSAGES | EVENTS, max_size=12))
@example(entries=[])
def test_whatever_is_told_is_read_again(tmp_path: Path, entries: list[Entry]) -> None:
    told: list[Any] = [entry for entry in entries if not isinstance(entry, Event)]
    expected = plain([{key: shown(value) for key, value in entry.row().items()} for entry in told])
    path = tmp_path / "rows.parquet"
    with path.open("wb") as file:
        parquet.write(Told(entries), file)  # type: ignore[arg-type]
    assert plain(pl.read_parquet(path).select(KEYS).to_dicts()) == expected
    assert plain([dict(zip(KEYS, row, strict=True)) for row in _duckdb(path, list(KEYS))]) == expected
    utc = [entry.time_ns if entry.clock in {"wall", "syslog"} else None for entry in told]
    assert pl.read_parquet(path)["time"].cast(pl.Int64).to_list() == utc


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ACCESSES | MESSAGES | EVENTS, max_size=12))
def test_whatever_is_told_is_in_sqlite(tmp_path: Path, entries: list[Entry]) -> None:
    path = tmp_path / "case.sqlite"
    with path.open("wb") as file:
        sqlite.write(Told(entries), file)  # type: ignore[arg-type]
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    stored = database.execute("select * from exact_text")
    exact = {(table, row, column): raw.decode() for table, row, column, raw in stored}

    def held(table: str) -> Iterator[dict[str, Any]]:
        for row in rows_of(database, table):
            at = row.pop("row")
            del row["time"]
            yield {
                name: int(value, 16) if name in {"value", "address"} and isinstance(value, str)
                else exact.get((table, at, name), value)
                for name, value in row.items()
            }  # fmt: skip

    signed = schema.EVENTS["value"][0] == "Int64"
    least, most = (-(1 << 63), (1 << 63) - 1) if signed else (0, (1 << 64) - 1)
    for kind, what in (("accesses", Access), ("messages", Message), ("events", Event)):
        expected = [{key: shown(value) for key, value in entry.row().items() if key != "kind"}
                    for entry in entries if isinstance(entry, what)]  # fmt: skip
        for row in expected:
            if kind == "events" and row["value"] is not None and not least <= row["value"] <= most:
                del row["value"]  # beyond what the column of events holds: missing, and told in words
        assert plain(list(held(kind))) == plain(expected)


def test_an_archive_can_be_read_by_what_knows_only_the_format(data: Path, tmp_path: Path) -> None:
    """A member lies stored in the archive: the bytes after its local header are a Parquet file."""
    with (tmp_path / "case.zip").open("wb") as file:
        tables.write(library.open(data / "real-xen" / "all-events-handshake.txt"), file)
    raw = (tmp_path / "case.zip").read_bytes()
    assert raw[:4] == b"PK\3\4"
    name, extra = struct.unpack("<2H", raw[26:30])
    assert raw[30 : 30 + name] == b"accesses.parquet"
    assert raw[30 + name + extra :][:4] == b"PAR1"


def test_the_corpus_is_the_same_in_columns(
    corpus: Path, tmp_path: Path, told: Callable[..., list[dict[str, Any]]]
) -> None:
    for source in sorted((corpus / "recorded/qemu-oracle/7.2.22").iterdir())[:6]:
        path = as_parquet(source, to=tmp_path / "rows.parquet")
        assert plain(pl.read_parquet(path).select(KEYS).to_dicts()) == plain(told("decode", source))
        assert pq.read_schema(path).metadata[b"xptrace.table"].decode() == ROWS
