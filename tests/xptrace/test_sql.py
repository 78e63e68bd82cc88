"""`xptrace sql` answers from recordings and from exported tables, reaches nothing else, and shows nothing that acts."""

from __future__ import annotations

import csv
import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

import xptrace as library
from xptrace.case import Case
from xptrace.cli import main
from xptrace.errors import XptraceError
from xptrace.exports import parquet, tables
from xptrace.frames import database
from xptrace.frames.arrow import TABLES, schema_of

GOOD = "cpu_in addr 0x10(w) value 18898\n"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202eevil'); drop table accesses; --"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Sql = Callable[..., Done]


@pytest.fixture
def sql(capsys: pytest.CaptureFixture[str]) -> Sql:
    def run(query: str, *arguments: str | Path) -> Done:
        try:
            code = main(["sql", query, *map(str, arguments)])
        except SystemExit as error:
            code = int(error.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def handshake(data: Path) -> Path:
    return data / "real-xen" / "all-events-handshake.txt"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "trace.log"
    path.write_text(GOOD)
    return path


@pytest.fixture
def archive(handshake: Path, tmp_path: Path) -> Path:
    path = tmp_path / "case.zip"
    with path.open("wb") as file:
        tables.write(library.open(handshake), file)
    return path


# -- answers


def test_a_query_reads_like_the_recording(sql: Sql, handshake: Path) -> None:
    done = sql("select vm, register, value, time from accesses where register in ('product_number', 'unplug_mask')",
               handshake)  # fmt: skip
    assert done.code == 0
    assert done.out.splitlines() == [
        "vm                    register        value  time",
        "--------------------  --------------  -----  -----------------------------",
        "all-events-handshake  product_number      3  2026-11-23 04:05:29.218785+00",
        "all-events-handshake  unplug_mask         3  2026-11-23 04:05:29.230751+00",
    ]
    assert done.err == "xptrace: 54 decoded + 72 other + 0 damaged + 0 lost = 126 lines, 13.2 kB\n"


def test_the_tables_join(sql: Sql, handshake: Path) -> None:
    done = sql("select n.verdict, count(*) as accesses from negotiations n join accesses a using (vm, boot) group by 1",
               "-T", "jsonl", handshake)  # fmt: skip
    assert done.rows == [{"verdict": "complete: unplugged IDE and SCSI disks, NICs", "accesses": 8}]


def test_every_table_is_there(sql: Sql, data: Path) -> None:
    source = data / "real-xen" / "windows-like-excerpt.log.gz"
    union = " union all ".join(f"select '{name}' as name, count(*) as rows from {name}" for name in TABLES)  # noqa: S608
    case = library.open(source)
    assert {row["name"]: row["rows"] for row in sql(union, "-T", "jsonl", source).rows} == {
        name: len(getattr(case, name)) for name in TABLES
    }


def test_findings_come_with_their_evidence(sql: Sql, data: Path) -> None:
    source = data / "real-xen" / "windows-like-excerpt.log.gz"
    done = sql("select rule, unnest(evidence, recursive := true) from findings", "-T", "jsonl", source)
    assert done.code == 0
    assert "0 decoded" not in done.err
    assert {"rule", "source", "offset", "line"} == done.rows[0].keys()
    assert {row["source"] for row in done.rows} == {str(source)}


def test_only_what_is_named_is_computed(sql: Sql, handshake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def watched(at: duckdb.DuckDBPyConnection, case: Case, names: list[str]) -> None:
        asked.append(names)
        database.fill(at, case, names)

    monkeypatch.setattr("xptrace.cli.sql.fill", watched)
    sql("select count(*) from Accesses", handshake)
    sql('with one as (from messages) from one, "ledger"', handshake)
    done = sql("select 1 as one", "-T", "jsonl", handshake)
    assert asked == [["accesses"], ["messages", "ledger"], []]
    assert (done.code, done.rows, done.err) == (0, [{"one": 1}], "")


def test_a_fault_is_told_before_anything_is_read(sql: Sql, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.open(log).__class__, "entries", lambda _: pytest.fail("it was read"))
    assert sql("select vmm from accesses", log).code == 2


def test_a_recording_of_something_else(sql: Sql, tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_text("hello\n")
    done = sql("select * from accesses", tmp_path / "trace.log")
    assert (done.code, len(done.out.splitlines())) == (1, 2)


def test_numbers_are_whole_and_names_are_kept_apart(sql: Sql, tmp_path: Path) -> None:
    path = tmp_path / "trace.log"
    path.write_text(
        "memory_region_ops_write cpu 0 mr 0x1 addr 0x10 value 0xffffffffffffffff size 8 name 'xen-fixed'\n" * 2
    )
    done = sql("select value, value + 1::hugeint as value, sum(value) as s, 340282366920938463463374607431768211455"
               "::uhugeint as u, 'nan'::double as n, [1, null] as l, {'a': 'inf'::float} as d, null as m, true as t "
               "from accesses group by value", "-T", "jsonl", path)  # fmt: skip
    assert done.rows == [{
        "value": (1 << 64) - 1, "value_2": 1 << 64, "s": 2 * ((1 << 64) - 1), "u": (1 << 128) - 1, "n": "nan",
        "l": [1, None], "d": {"a": "inf"}, "m": None, "t": True,
    }]  # fmt: skip


def test_the_plan_of_a_query_is_shown(sql: Sql, log: Path) -> None:
    done = sql("explain select vm from accesses where boot = 1", log)
    assert done.code == 0
    assert "accesses" in done.out
    assert "\\x0a" not in done.out


def test_what_there_is_to_ask_for(sql: Sql) -> None:
    done = sql("--tables")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(TABLES)
    assert any(line.split()[:3] == ["time_ns", "integer", "ns"] for line in lines)
    assert any(line.split()[:3] == ["value", "unsigned", "integer"] for line in lines)


def test_a_file_appears_whole_or_not_at_all(sql: Sql, log: Path, tmp_path: Path) -> None:
    query = "select register from accesses"
    assert sql(query, "-T", "csv", "-o", tmp_path / "out.csv", log).out == ""
    assert (tmp_path / "out.csv").read_text() == "register\nmagic\n"
    assert sql("select meaning::int from accesses", "-o", tmp_path / "other", log).code == 2
    assert not (tmp_path / "other").exists()


# -- exported tables


QUERY = "select vm, register, value, time_ns, time from accesses where time > '2026-11-23' and vm like 'all%'"


def test_exported_tables_answer_as_the_recording_does(sql: Sql, handshake: Path, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "case")
    with (tmp_path / "rows.parquet").open("wb") as file:
        parquet.write(library.open(handshake), file)
    expected = sql(QUERY, "-T", "jsonl", handshake).rows
    assert len(expected) == 8
    for source in (archive, tmp_path / "case", tmp_path / "case/accesses.parquet", tmp_path / "rows.parquet"):
        done = sql(QUERY, "-T", "jsonl", source)
        assert (done.code, done.rows) == (0, expected)
    assert "rows in the tables: accesses 8, messages 0, events 2, " in sql(QUERY, archive).err


def test_the_same_table_of_several_hosts_is_one(sql: Sql, log: Path, archive: Path, tmp_path: Path) -> None:
    with (tmp_path / "second.zip").open("wb") as file:
        tables.write(library.open(log), file)
    done = sql("select vm, count(*) as n from accesses group by vm order by vm", "-T", "jsonl", archive,
               tmp_path / "second.zip")  # fmt: skip
    assert done.rows == [{"vm": "all-events-handshake", "n": 8}, {"vm": "trace", "n": 1}]


def test_a_table_that_was_not_exported_is_told(sql: Sql, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extract("accesses.parquet", tmp_path / "case")
    done = sql("select * from findings", tmp_path / "case")
    assert (done.code, done.err.splitlines()[0]) == (2, "xptrace: query: there is no table findings here")


def test_recordings_and_tables_are_not_mixed(sql: Sql, archive: Path, log: Path) -> None:
    done = sql("select 1", archive, log)
    assert (done.code, done.err) == (
        2, "xptrace: these are exported tables and recordings: query the ones or the others\n",
    )  # fmt: skip


def test_what_lies_beside_the_tables_is_said(sql: Sql, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "case")
    (tmp_path / "case/index.html").write_text("")
    assert "1 file beside the tables not read" in sql("select 1", tmp_path / "case").err


def test_parquet_of_somebody_else_is_refused(sql: Sql, tmp_path: Path) -> None:
    pq.write_table(pa.table({"vm": ["win10"]}), tmp_path / "accesses.parquet")
    done = sql("select * from accesses", tmp_path / "accesses.parquet")
    assert (done.code, done.err) == (
        2, f"xptrace: {tmp_path}/accesses.parquet: is Parquet, but not a table that `xptrace export` wrote\n",
    )  # fmt: skip


def test_tables_of_another_version_are_refused(sql: Sql, tmp_path: Path) -> None:
    own = schema_of("accesses")
    newer = own.with_metadata({**own.metadata, b"xptrace.schema_version": b"2"})
    pq.write_table(newer.empty_table(), tmp_path / "accesses.parquet")
    assert "has schema version 2, expected 1" in sql("select 1", tmp_path).err
    changed = own.remove(own.get_field_index("value"))
    pq.write_table(changed.empty_table(), tmp_path / "accesses.parquet")
    assert "expected 1 with its columns" in sql("select 1", tmp_path).err


def test_an_archive_of_recordings_is_recordings(sql: Sql, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bug.zip", "w") as file:
        file.writestr("trace.log", GOOD)
    assert sql("select register from accesses", "-T", "jsonl", tmp_path / "bug.zip").rows == [{"register": "magic"}]


def test_a_packed_archive_of_tables_is_told(sql: Sql, archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as packed, zipfile.ZipFile(tmp_path / "re.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("accesses.parquet", packed.read("accesses.parquet"))
    done = sql("select 1", tmp_path / "re.zip")
    assert (done.code, "is compressed or encrypted, expected stored; unpack it" in done.err) == (2, True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_damaged_tables_are_one_line(archive: Path, tmp_path: Path, sql: Sql, choice: st.DataObject) -> None:
    with zipfile.ZipFile(archive) as packed:
        whole = bytearray(packed.read("accesses.parquet"))
    for at, byte in choice.draw(st.lists(st.tuples(st.integers(4, len(whole) - 1), st.integers(0, 255)), max_size=3)):
        whole[at] = byte
    cut = choice.draw(st.integers(4, len(whole)) | st.just(len(whole)))
    (tmp_path / "accesses.parquet").write_bytes(whole[:cut])
    done = sql("select * from accesses", tmp_path / "accesses.parquet")
    assert done.code in {0, 2}
    if done.code == 2:
        assert done.err.startswith("xptrace: ")
        assert "Traceback" not in done.err


def test_a_table_with_other_bytes_in_it_tells_nothing(sql: Sql, archive: Path, tmp_path: Path) -> None:
    """18898 stands in the dictionary of `value`; compressed or not, its page has a checksum."""
    with zipfile.ZipFile(archive) as packed:
        whole = bytearray(packed.read("accesses.parquet"))
    column = pq.ParquetFile(pa.py_buffer(bytes(whole))).metadata.row_group(0).column(9)
    assert column.path_in_schema == "value"
    end = column.dictionary_page_offset + column.total_compressed_size
    whole[end - 1] ^= 1
    (tmp_path / "accesses.parquet").write_bytes(whole)
    done = sql("select value from accesses", tmp_path / "accesses.parquet")
    assert (done.code, done.err.count("\n"), "CRC" in done.err) == (2, 1, True)


@pytest.mark.parametrize("damage", ["short", "offset", "size"])
def test_a_damaged_archive_is_one_line(sql: Sql, archive: Path, damage: str) -> None:
    raw = bytearray(archive.read_bytes())
    entry = raw.index(b"PK\1\2")
    if damage == "short":
        del raw[100:entry]
    else:  # of the first member: where its local header is, or its size, in the central directory
        struct.pack_into("<I", raw, entry + (42 if damage == "offset" else 24), 0xFFFFFFF0)
    archive.write_bytes(raw)
    done = sql("select * from accesses", archive)
    assert (done.code, done.err.count("\n")) == (2, 1)


# -- what it may not do


FORBIDDEN = [
    "copy accesses to '{place}/out.csv'", "copy (select 1) to '{place}/out.parquet'", "attach '{place}/out.db'",
    "export database '{place}/out'", "install httpfs", "load httpfs", "set memory_limit = '100GB'",
    "set enable_external_access = true", "reset lock_configuration", "pragma enable_external_access", "begin",
    "insert into accesses select * from accesses", "delete from accesses", "drop table accesses",
    "create table x (y int)", "call pragma_version()", "import database '{place}'",
    "explain copy accesses to '{place}/out.csv'",
    "explain analyze copy accesses to '{place}/out.csv'", "select * from read_text('{place}/secret.txt')",
    "select * from read_csv('{place}/secret.txt')", "from '{place}/secret.txt'", "select * from glob('{place}/*')",
    "from read_parquet('{place}/x.parquet')", "select * from query('from read_text(''{place}/secret.txt'')')",
    "select * from read_blob('http://127.0.0.1:1/x')", "from sniff_csv('{place}/secret.txt')", "select getenv('HOME')",
    "select * from case", "from FORBIDDEN", "from duckdb_secrets()", "select 1; select 2", "", "-- nothing",
    "prepare p as select 1", "select * from query_table('acc' || 'esses')", "use memory", "vacuum", "checkpoint",
]  # fmt: skip


@pytest.mark.parametrize("query", FORBIDDEN)
def test_a_query_reaches_nothing_but_the_tables(sql: Sql, log: Path, tmp_path: Path, query: str) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    done = sql(query.format(place=tmp_path), log)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "trace.log"]


def test_nor_does_it_from_exported_tables(sql: Sql, archive: Path, tmp_path: Path) -> None:
    for query in ("copy accesses to '{}/out.csv'", "from read_text('{}/case.zip')", "drop view accesses"):
        assert sql(query.format(tmp_path), archive).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["case.zip"]


def test_a_reader_that_has_seen_enough_is_no_fault(sql: Sql, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("xptrace.cli.common.write", broken)
    monkeypatch.setattr("xptrace.cli._abandon_output", lambda: None)
    assert sql("select * from accesses", log) == (0, "", "")


def test_memory_is_bounded(sql: Sql, log: Path) -> None:
    done = sql("select list(i) from range(100000000) t(i)", "--memory", "50MB", log)
    assert (done.code, done.err.count("\n"), "it may be given more (--memory)" in done.err) == (2, 1, True)
    done = sql("select current_setting('memory_limit') as m", "--memory", "64MiB", "-T", "jsonl", log)
    assert done.rows == [{"m": "64.0 MiB"}]
    assert "is no size" in sql("select 1", "--memory", "much", log).err


# -- faults


@pytest.mark.parametrize(
    ("query", "message", "excerpt"),
    [
        ("select vmm from accesses", 'Referenced column "vmm" not found', ["select vmm from accesses", "       ^^^"]),
        ("select vm\nfrm accesses x", 'syntax error at or near "accesses"', ["frm accesses x", "    ^^^^^^^^"]),
        ("select * from acceses", "there is no table acceses here; did you mean accesses?",
         ["select * from acceses", "              ^^^^^^^"]),
        ("select 'é\u202e', vmm from accesses", 'Referenced column "vmm" not found',
         ["select 'é\\u202e', vmm from accesses", "                  ^^^"]),
        ("select '中e\u0301', vmm from accesses", 'Referenced column "vmm" not found',
         ["select '中e\u0301', vmm from accesses", "              ^^^"]),
        ("select meaning::int from accesses", "Could not convert string 'magic 0x49d2",
         ["select meaning::int from accesses", "              ^^^^^"]),
    ],
)  # fmt: skip
def test_a_fault_has_a_caret_under_it(sql: Sql, log: Path, query: str, message: str, excerpt: list[str]) -> None:
    done = sql(query, "-T", "jsonl", log)
    first, *rest = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert first.startswith("xptrace: query: ")
    assert message in first
    assert rest == [f"    {line}" for line in excerpt]


def test_without_duckdb_it_says_what_to_install(sql: Sql, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = sql("select 1", log)
    assert (done.code, done.err) == (2, "xptrace: this needs duckdb: pip install 'xptrace[sql]'\n")


def test_help_is_light() -> None:
    program = (
        "import sys, contextlib, io\n"
        "from xptrace.cli import main\n"
        "for words in (['sql', '--help'], ['sql', '--tables']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(words)\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'duckdb', 'scapy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- a guest


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "=evil.log"
    path.write_bytes(
        GOOD.encode() + b"xen_platform_log xen platform: " + ESCAPES.encode() + b"\0\n"
        b"xen_platform_log xen platform: =HYPERLINK(1)\nxen_platform_log xen platform: 7\xff\n"
    )
    return path


@pytest.mark.parametrize("form", ["text", "jsonl", "csv"])
@pytest.mark.parametrize("query", [
    "select text, [text] as l, {'t': text} as s, text::blob as b from messages",
    "pivot (select text from messages) on text using count(*)",
    "select text::int from messages", "explain select 1 from messages where text = '\x1b[2J\u202e'",
])  # fmt: skip
def test_nothing_of_a_guest_acts_on_a_terminal(sql: Sql, hostile: Path, form: str, query: str) -> None:
    done = sql(query, "-T", form, hostile)
    for character in "\x1b\x07\u202e\0":
        assert character not in done.out + done.err
    assert "evil" in done.out + done.err or query.startswith("explain")


def test_a_formula_is_a_text_in_a_spreadsheet(sql: Sql, hostile: Path) -> None:
    done = sql("select text, vm from messages where text like '=%'", "-T", "csv", hostile)
    assert list(csv.DictReader(io.StringIO(done.out))) == [{"text": "'=HYPERLINK(1)", "vm": "'=evil"}]
    done = sql("pivot (select text from messages where text like '=%') on text using count(*)", "-T", "csv", hostile)
    assert done.out == "'=HYPERLINK(1)\n1\n"


def test_a_guests_text_is_whole_in_jsonl(sql: Sql, hostile: Path) -> None:
    done = sql('select text from messages order by "offset"', "-T", "jsonl", hostile)
    assert [row["text"] for row in done.rows] == [ESCAPES + "\0", "=HYPERLINK(1)", "7\ufffd"]
    assert done.out.isascii()


# -- the Python face


def test_a_database_leaves_nothing_behind(log: Path) -> None:
    with database.database() as connection:
        names = database.plan(connection, "select register from accesses")
        database.fill(connection, library.open(log), names)
        answer = database.ask(connection, "select register from accesses")
        assert list(answer.rows) == [("magic",)]
        spill = Path(str(connection.sql("select current_setting('temp_directory')").fetchall()[0][0]))
        with pytest.raises(duckdb.Error):
            connection.execute("set enable_external_access = true")
    assert not spill.exists()


def test_what_is_no_path_is_no_table(tmp_path: Path) -> None:
    assert database.exported([str(tmp_path / "nowhere")]) is None
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(XptraceError, match="cannot be read as Parquet"):
        database.exported([str(tmp_path / "x.parquet")])
