"""The tables in DuckDB, for one query that may read them and nothing else.

Law: DuckDB's documentation, "Securing DuckDB": no access to files or network, no extensions, no settings that the query
could change, bounded memory. A query is one statement that reads; whoever wrote it, it reaches only these tables::

    select vm, count(*) from accesses where register = 'unplug_mask' and value & 1 = 1 group by vm

Of recordings only those tables are computed that the query names. Tables that were exported before are read where they
lie, and of them only the columns and row groups that the query needs.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import struct
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xptrace.errors import XptraceError
from xptrace.exports.export import missing
from xptrace.frames.arrow import ROWS, TABLES, VERSION, batches, columns, schema_of
from xptrace.views.escape import printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from xptrace.case import Case

MEMORY: Final = "1GB"
"""What DuckDB may use by default; beyond that it goes to files in a directory that lives as long as the query."""
SUFFIX: Final = ".parquet"

_LOCKS: Final = (
    "SET TimeZone = 'UTC'",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""In this order: the last two let nothing of it be undone."""


# -- what a query reads


@dataclass(frozen=True, slots=True)
class Exported:
    """Tables that were exported before: of each, the Parquet files (or parts of an archive) that hold it."""

    files: Mapping[str, Sequence[Any]]
    rows: Mapping[str, int]
    passed_over: Sequence[str]
    """Files beside them in a directory."""


def named(query: str, among: Sequence[str] = tuple(TABLES)) -> list[str]:
    """The tables whose names occur in a query; it cannot read one whose name does not."""
    words = {word.lower() for word in re.findall(r"\w+", query)}
    return [name for name in among if name in words]


def exported(paths: Sequence[str]) -> Exported | None:
    """The tables that these paths hold; None where they are recordings. Raises XptraceError where they are both."""
    found = [(path, tables) for path in paths if (tables := _tables_in(path))]
    if not found:
        return None
    if len(found) < len(paths):
        raise XptraceError("these are exported tables and recordings: query the ones or the others")
    files: dict[str, list[Any]] = {}
    rows: dict[str, int] = {}
    beside: list[str] = []
    for path, tables in found:
        for where, held in tables:
            name, count = _known(where, held)
            files.setdefault(name, []).append(held)
            rows[name] = rows.get(name, 0) + count
        if Path(path).is_dir():
            beside += [str(one) for one in sorted(Path(path).iterdir()) if one.suffix != SUFFIX]
    return Exported(files, rows, beside)


def _tables_in(path: str) -> list[tuple[str, Any]]:
    """(name for messages, path or buffer) of each Parquet file that a path is, or holds."""
    place = Path(path)
    if place.is_dir():
        return [(str(one), str(one)) for one in sorted(place.iterdir()) if one.suffix == SUFFIX and one.is_file()]
    if not place.is_file():
        return []
    try:
        with place.open("rb") as file:
            magic = file.read(4)
            if magic == b"PAR1":
                return [(path, path)]
            return list(_members(path)) if magic == b"PK\x03\x04" else []
    except OSError as error:
        raise XptraceError(f"{path}: cannot be read: {error.strerror or error}") from None


def _members(path: str) -> Iterator[tuple[str, Any]]:
    """The members of an archive of tables, as the stretches of the file that they are."""
    import pyarrow as pa

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return
    if not members or not all(member.filename.endswith(SUFFIX) for member in members):
        return
    with pa.memory_map(path) as mapped:
        for member in members:
            where = f"{path}:{member.filename}"
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise XptraceError(f"{where}: is compressed or encrypted, expected stored; unpack it")
            try:
                mapped.seek(member.header_offset)
                header = _LOCAL_HEADER.unpack(mapped.read(_LOCAL_HEADER.size))
                mapped.seek(member.header_offset + _LOCAL_HEADER.size + sum(header))
                yield where, mapped.read_buffer(member.file_size)
            except (pa.ArrowException, OSError, ValueError, struct.error):
                raise XptraceError(f"{where}: does not lie in the archive where that says") from None


_LOCAL_HEADER: Final = struct.Struct("<26x2H")
"""Of a member: the lengths of its name and of what follows that (APPNOTE.TXT, 4.3.7)."""


def _known(where: str, held: Any) -> tuple[str, int]:  # noqa: ANN401 - a path or a buffer
    """(table, rows) of a Parquet file; raises XptraceError where it is not one of ours."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(held) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise XptraceError(f"{where}: cannot be read as Parquet: {_first_line(error)}") from None
    about = schema.metadata or {}
    name = about.get(b"xptrace.table", b"").decode("utf-8", "replace")
    if name not in TABLES and name != ROWS:
        raise XptraceError(f"{where}: is Parquet, but not a table that `xptrace export` wrote")
    version = about.get(b"xptrace.schema_version", b"").decode("utf-8", "replace")
    if version != str(VERSION) or not schema.equals(schema_of(name)):
        raise XptraceError(f"{where}: has schema version {version or 'unknown'}, expected {VERSION} with its columns; "
                           "export it again from the recordings")
    return name, count


# -- the database


@contextlib.contextmanager
def database(memory: str = MEMORY) -> Iterator[DuckDBPyConnection]:
    """An empty database in memory, locked down, and gone afterwards; raises XptraceError where there is no DuckDB."""
    try:
        import duckdb
    except ImportError:
        raise missing("duckdb", "sql") from None
    with tempfile.TemporaryDirectory(prefix="xptrace-") as spill:
        try:
            connection = duckdb.connect(":memory:", config={"memory_limit": memory, "temp_directory": spill})
        except duckdb.Error as error:
            raise _fault(_first_line(error)) from None
        with connection:
            for lock in _LOCKS:
                connection.execute(lock)
            yield connection


def plan(connection: DuckDBPyConnection, query: str) -> list[str]:
    """Look whether the query can be answered, before anything is read; returns the tables that it names.

    Those are there now, but empty. Raises XptraceError where it cannot be answered.
    """
    import duckdb

    for name in TABLES:
        connection.register("empty", schema_of(name).empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM empty")
        connection.unregister("empty")
    with _told():
        if _kind(connection, query) is duckdb.StatementType.SELECT:
            connection.execute(f"{_EXPLAIN}{query}")
    wanted = named(query)
    for name in TABLES:
        if name not in wanted:
            connection.execute(f"DROP TABLE {name}")
    return wanted


_EXPLAIN: Final = "EXPLAIN\n"
"""In a line of its own, so that the lines of the query stay as they are."""


def fill(connection: DuckDBPyConnection, case: Case, names: Sequence[str]) -> None:
    """Compute these tables of a case, which are there and empty."""
    import pyarrow as pa

    for name, batch in batches(case, names):
        with _told():
            connection.register("batch", pa.Table.from_batches([batch]))
            connection.execute(f"INSERT INTO {name} FROM batch")
            connection.unregister("batch")


def attach(connection: DuckDBPyConnection, tables: Exported) -> None:
    """Make exported tables known; accesses and messages that lie in one file are told apart."""
    from pyarrow import dataset
    from pyarrow.fs import LocalFileSystem

    checked = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    form, local = dataset.ParquetFileFormat(default_fragment_scan_options=checked), LocalFileSystem()
    for name, files in tables.files.items():
        parts = [form.make_fragment(file, local if isinstance(file, str) else None) for file in files]
        connection.register(name, dataset.FileSystemDataset(parts, schema=schema_of(name), format=form))
    if ROWS in tables.files:
        for name, kind in (("accesses", "access"), ("messages", "message")):
            if name not in tables.files:
                chosen = ", ".join(f'"{column}"' for column, *_ in columns(name))
                connection.execute(f"CREATE VIEW {name} AS SELECT {chosen} FROM {ROWS} WHERE kind = '{kind}'")  # noqa: S608 - no data


# -- the query


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gives: the names of the columns, and of each whether it holds numbers and whether it is JSON."""

    names: Sequence[str]
    numeric: Sequence[bool]
    structured: Sequence[bool]
    plan: bool
    """Whether it is no table, but the plan of a query (EXPLAIN)."""
    rows: Iterator[Sequence[Any]]


_NUMBERS: Final = frozenset({
    "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "float", "double",
})  # fmt: skip
_AS_THEY_ARE: Final = _NUMBERS | {"boolean", "varchar"}
_WIDE: Final = frozenset({"hugeint", "uhugeint"})
_STRUCTURED: Final = frozenset({"list", "struct", "map", "array", "union"})
_BATCH: Final = 1000


def ask(connection: DuckDBPyConnection, query: str) -> Answer:
    """Put the query; raises XptraceError where it cannot be answered, and the rows do so as they are taken.

    What neither Python nor JSON has a type for comes as DuckDB writes it.
    """
    import duckdb

    with _told():
        kind = _kind(connection, query)
        try:
            relation = connection.sql(query)
        except duckdb.Error:  # which here does not tell its place, but does so where the query is planned
            if kind is duckdb.StatementType.SELECT:
                connection.execute(f"{_EXPLAIN}{query}")
            raise
        kinds = [column.id for column in relation.types]
        chosen = relation.project(", ".join(_projected(at, kind) for at, kind in enumerate(kinds, 1)))
        return Answer(
            _distinct(relation.columns), [kind in _NUMBERS or kind in _WIDE for kind in kinds],
            [kind in _STRUCTURED for kind in kinds], kind is duckdb.StatementType.EXPLAIN,
            _rows(chosen, [kind in _WIDE for kind in kinds]),
        )


def _kind(connection: DuckDBPyConnection, query: str) -> Any:  # noqa: ANN401 - DuckDB's own
    """The type of the statement; raises XptraceError where it is not one that reads."""
    import duckdb

    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise _fault(f"expected one statement, found {len(statements)}")
    kind = statements[0].type
    if kind not in {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}:
        raise _fault(f"expected a statement that reads (SELECT, PIVOT, DESCRIBE, EXPLAIN), found {kind.name}")
    return kind


def _projected(at: int, kind: str) -> str:
    if kind in _AS_THEY_ARE:
        return f"#{at}"
    return f"to_json(#{at})::VARCHAR" if kind in _STRUCTURED else f"#{at}::VARCHAR"


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, those that were there before with a number behind."""
    found: list[str] = []
    for name in names:
        one, number = name, 1
        while one in found:
            number += 1
            one = f"{name}_{number}"
        found.append(one)
    return found


def _rows(relation: Any, wide: Sequence[bool]) -> Iterator[Sequence[Any]]:  # noqa: ANN401 - a relation of DuckDB
    with _told():
        for batch in relation.to_arrow_reader(_BATCH):
            held = [
                [None if value is None else int(value) for value in column.to_pylist()] if big else column.to_pylist()
                for column, big in zip(batch.columns, wide, strict=True)
            ]
            yield from zip(*held, strict=True)


# -- what goes wrong


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell an error of DuckDB or Arrow in one line."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise _fault(f"{_first_line(error)}; it may be given more (--memory)") from None
    except duckdb.Error as error:
        raise _said(str(error)) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # a damaged file
        raise _fault(_first_line(error)) from None


_PLACE: Final = re.compile(r"\n\n(LINE \d+: )([^\n]*)\n( *)(\^+)\s*\Z")
_NO_TABLE: Final = re.compile(r"Table with name (.+?) does not exist!")


def _said(message: str) -> XptraceError:
    place = None
    if excerpt := _PLACE.search(message):
        begin = max(len(excerpt[3]) - len(excerpt[1]), 0)
        if excerpt[2] != _EXPLAIN.strip():  # a place in what a function of the query looked up
            place = excerpt[2], _characters(excerpt[2], begin), _characters(excerpt[2], begin + len(excerpt[4]))
        message = message[: excerpt.start()]
    if absent := _NO_TABLE.search(message):
        near = difflib.get_close_matches(absent[1].lower(), TABLES, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; tables are: {', '.join(TABLES)}"
        return _fault(f"there is no table {absent[1]} here{'' if absent[1] in TABLES else hint}", place)
    told = [line for line in message.split("\n") if line.strip() and not line.startswith("\t")]
    return _fault("; ".join(told), place)


def _fault(message: str, place: tuple[str, int, int] | None = None) -> XptraceError:
    error = XptraceError(f"query: {message}")
    error.place = place
    return error


def _characters(text: str, cells: int) -> int:
    """How many characters of a text take so many cells of a terminal, which is what DuckDB counts."""
    for at, character in enumerate(text):
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
            continue
        if cells <= 0:
            return at
        cells -= 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
    return len(text)


def _first_line(error: BaseException) -> str:
    return printable(str(error).partition("\n")[0]) or type(error).__name__
