"""Parquet: the accesses and messages in one file, as `xptrace decode` has them, for pandas, polars and DuckDB.

Law: the file format of Apache Parquet, written by pyarrow; columns, types and metadata are those of
`xptrace.frames.arrow`. A row group is written as soon as it is full, so that memory is bounded::

    kind: dictionary<values=string>   time_ns: int64   clock: dictionary<values=string>   ...   value: uint64   ...
    time: timestamp[ns, tz=UTC]

A program that knows only Parquet's own types reads the same: 64-bit integers, UTF-8 texts, lists. Every page has its
checksum, so that a damaged file does not tell something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, cast

from xptrace.access.stretch import Block
from xptrace.exports.bulk import parts
from xptrace.exports.export import Export
from xptrace.frames.arrow import ROWS, batches, schema_of
from xptrace.intake.ahead import Ahead

if TYPE_CHECKING:
    from xptrace.access.rows import Row
    from xptrace.case import Case


_MOST_PARTS: Final = 16
"""Blocks, each of a window's rows, that may lie ready."""
_RISING: Final = frozenset({"time_ns", "time", "offset", "line"})
"""Columns in which no value comes twice, and most are little more than the one before."""
_ASKED_FOR: Final = _RISING | {"vm", "boot", "address", "value"}
"""Columns whose least and greatest value tell a reader which rows it need not look at; no text of a guest is one."""
_AT_ONCE: Final = 1 << 14


class _Forward:
    """A file that is only written, also a pipe: pyarrow asks it where it stands."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """It is not ours to close."""


def write_tables(case: Case, names: Collection[str], files: Mapping[str, IO[bytes]]) -> None:
    """Write each of these tables to its file, in one reading of the recordings where that can be."""
    with ExitStack() as stack:
        ready = stack.enter_context(Ahead(batches(case, names), 2))
        from pyarrow.parquet import ParquetWriter

        writers: dict[str, Any] = {
            name: stack.enter_context(ParquetWriter(
                _Forward(files[name]), schema_of(name), compression="snappy", write_page_checksum=True,
                **_encoded(name),
            )) for name in names
        }  # fmt: skip
        for name, batch in ready:
            writers[name].write_batch(batch)


def _encoded(name: str) -> dict[str, Any]:
    """How the columns of a table are encoded: what goes up row by row as differences, all else by a dictionary."""
    import pyarrow as pa

    schema = schema_of(name)
    rising = {field.name for field in schema if field.name in _RISING and not pa.types.is_nested(field.type)}
    return {
        "use_dictionary": [field.name for field in schema if field.name not in rising],
        "column_encoding": dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        "write_statistics": [field.name for field in schema if field.name in _ASKED_FOR],
        "write_batch_size": _AT_ONCE,
    }


def write(case: Case, file: IO[bytes]) -> None:
    """Write the accesses and messages of a case."""
    write_tables(case, [ROWS], {ROWS: file})


def write_rows(rows: Iterable[Row | Block], file: IO[bytes]) -> None:
    """Write accesses and messages that were chosen already: all that their table asks of a case is its blocks."""
    with Ahead(parts(rows), _MOST_PARTS) as ready:
        rest = iter(ready)
        first = list(islice(rest, 1))  # what writes is loaded while the rest is read
        write(cast("Case", _Chosen(chain(first, rest))), file)


class _Chosen(NamedTuple):
    parts: Iterable[Sequence[Row] | Block]

    def blocks(self) -> Iterator[Row | Block]:
        for part in self.parts:
            if isinstance(part, Block):
                yield part
            else:
                yield from part


EXPORT = Export("parquet", "every access and message, in columns, for pandas, polars and DuckDB", ".parquet", write)
