"""SQLite: every table of a case in one file that any program with SQLite opens.

Law: datatype3.html, nulinstr.html and fileformat2.html of SQLite's documentation; the columns are those of
`xptrace.frames.arrow`, and the table `columns` in the file tells their units and meanings. What SQLite has no type for
is written so that it cannot be taken for something else::

    sqlite> select value, typeof(value), "line" from accesses where register = 'magic';
    18898|integer|2

- An integer is signed and has 64 bits there. One from 2^63 on is the text ``0x`` with 16 digits: texts sort after all
  integers, and these among each other as the numbers do. ``typeof(value) = 'integer'`` chooses what one may calculate
  with.
- A text with a NUL has U+2400 (the symbol for NUL) in its place, since SQLite's functions end a text at a NUL; the
  table `exact_text` holds such a text as it was, in UTF-8.
- Lists are JSON, truth values 0 and 1, `time` is ISO 8601 with nine digits. `row` is the order in the recordings.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import xptrace
from dissectors.clock import CLOCKS
from xptrace.exports.export import Export
from xptrace.frames.arrow import TABLES, TIME, VERSION, batches, columns, schema_of, title

if TYPE_CHECKING:
    import pyarrow as pa

    from xptrace.case import Case

APPLICATION_ID: Final = int.from_bytes(b"xptr")
"""What `file` and others may know these files by, at offset 68 of the header."""
_SIGNED: Final = 1 << 63
_NUL: Final = "\u2400"
_INDICES: Final = (("vm", "boot"), ("clock", "time_ns"), ("register",), ("rule",), ("source", "offset"))
"""Columns that are looked up; an index is made in each table that has them."""


def write(case: Case, file: IO[bytes]) -> None:
    """Write the tables of a case. SQLite needs a file of its own for the time being, which is then copied."""
    with tempfile.TemporaryDirectory(prefix="xptrace-") as place:
        path = Path(place, "case.sqlite")
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            _fill(database, case)
        with path.open("rb") as made:
            shutil.copyfileobj(made, file)


def _fill(database: sqlite3.Connection, case: Case) -> None:
    """All in one transaction without a journal: the file is nobody's until it is whole."""
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("BEGIN")
    for statement in _declarations():
        database.execute(statement)
    database.executemany("INSERT INTO about VALUES (?, ?)", _about())
    database.executemany("INSERT INTO columns VALUES (?, ?, ?, ?, ?)", (
        (name, column, kind, measured, meaning)
        for name in TABLES for column, kind, measured, meaning in columns(name)
    ))  # fmt: skip
    filled = dict.fromkeys(TABLES, 0)
    for name, batch in batches(case, TABLES):
        begin = filled[name] + 1
        filled[name] += len(batch)
        database.executemany(_INSERTS[name], zip(range(begin, begin + len(batch)), *_values(batch), strict=True))
        database.executemany("INSERT INTO exact_text VALUES (?, ?, ?, ?)", _exact(name, begin, batch))
    for statement in _indices():
        database.execute(statement)
    database.execute("COMMIT")


# -- statements: made of the schema's names alone


def _names(name: str) -> list[str]:
    return [column for column, *_ in columns(name)]


def _places(name: str) -> str:
    return ", ".join("?" * (1 + len(_names(name))))


_INSERTS: Final = {name: f"INSERT INTO {name} VALUES ({_places(name)})" for name in TABLES}  # noqa: S608 - no data


def _declarations() -> Iterator[str]:
    yield "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
    yield ("CREATE TABLE columns (table_name TEXT, column_name TEXT, type TEXT, unit TEXT, meaning TEXT, "
           "PRIMARY KEY (table_name, column_name))")
    for name in TABLES:
        held = ", ".join(f'"{field.name}" {_affinity(field)}' for field in schema_of(name))
        yield f"CREATE TABLE {name} (row INTEGER PRIMARY KEY, {held})"
    yield ("CREATE TABLE exact_text (table_name TEXT, row INTEGER, column_name TEXT, utf8 BLOB, "
           "PRIMARY KEY (table_name, row, column_name))")


def _affinity(field: pa.Field) -> str:
    """The type to declare; one with INTEGER affinity leaves the text of a great number a text."""
    import pyarrow as pa

    return "INTEGER" if pa.types.is_integer(field.type) or pa.types.is_boolean(field.type) else "TEXT"


def _indices() -> Iterator[str]:
    for name in TABLES:
        for chosen in _INDICES:
            if set(chosen) <= set(_names(name)):
                on = ", ".join(f'"{column}"' for column in chosen)
                yield f"CREATE INDEX {name}_by_{'_'.join(chosen)} ON {name} ({on})"


def _about() -> Iterator[tuple[str, str]]:
    yield "schema_version", str(VERSION)
    yield "version", xptrace.__version__
    yield "great integers", "from 2^63 on: text, 0x and 16 digits; typeof() tells; they cannot be calculated with"
    yield "NUL", "U+2400 stands for it; exact_text holds the text as it was"
    for name in TABLES:
        yield f"table {name}", title(name)
    for clock, meaning in CLOCKS.items():
        yield f"clock {clock}", meaning


# -- values


def _values(batch: pa.RecordBatch) -> Iterator[Sequence[Any]]:
    import pyarrow as pa

    for column, field in zip(batch.columns, batch.schema, strict=True):
        kind = field.type
        if field.name == TIME:
            yield [None if time is None else _iso(time) for time in column.cast(pa.int64()).to_pylist()]
        elif pa.types.is_uint64(kind):
            yield [value if value is None or value < _SIGNED else f"0x{value:016x}" for value in column.to_pylist()]
        elif pa.types.is_list(kind):
            yield [None if value is None else json.dumps(value) for value in column.to_pylist()]
        elif _has_nul(column):
            yield [value and value.replace("\0", _NUL) for value in column.to_pylist()]
        else:
            yield column.to_pylist()


def _iso(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _has_nul(column: pa.Array) -> bool:
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_dictionary(column.type):
        column = column.dictionary
    return pa.types.is_string(column.type) and bool(compute.any(compute.match_substring(column, "\0")).as_py())


def _exact(name: str, begin: int, batch: pa.RecordBatch) -> Iterator[tuple[str, int, str, bytes]]:
    for column, field in zip(batch.columns, batch.schema, strict=True):
        if _has_nul(column):
            for row, value in enumerate(column.to_pylist(), begin):
                if value is not None and "\0" in value:
                    yield name, row, field.name, value.encode()


EXPORT = Export("sqlite", "every table in a database of one file", ".sqlite", write)
