"""The tables as Arrow: the same columns as the DataFrames, with unit and meaning beside each, batch by batch.

Law: the columnar format of Apache Arrow; `xptrace.frames.schema` is the one declaration of the columns, from which the
types and what stands in the metadata of every field are made. A field, as its file tells of it::

    time_ns: int64
      -- field metadata --
      meaning: 'nanoseconds by `clock`; for wall and syslog since 1970-01-01T00:00:00Z'
      unit: 'ns'

Times stay integers, since clocks differ and most are no date. Beside them, as the last column, stands `time`: a
timestamp in UTC, in those rows alone whose clock tells UTC. Whole numbers are 64 bits wide and may be missing; names
that repeat are dictionary-encoded; what is open in its kind (`fields` of a saying) is a text of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import xptrace
from dissectors.clock import CLOCKS, SYSLOG, WALL
from xptrace.access.rows import KEYS, Access, Event, Message
from xptrace.access.stretch import Block
from xptrace.errors import XptraceError
from xptrace.frames.arrays import array, dictionary
from xptrace.frames.blocks import Templates, characters
from xptrace.frames.schema import ACCESSES, EVENTS, FINDINGS, LEDGER, MESSAGES, SAYINGS, SOURCES, SUMMARY
from xptrace.views.escape import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from xptrace.access.rows import Entry, Row
    from xptrace.case import Case

Declaration = Mapping[str, tuple[str, str]]

VERSION: Final = 1
"""Of the schema: the first number that a reader of the tables must know; it grows when a column changes its meaning."""

TABLES: Final[Mapping[str, tuple[str, Declaration]]] = {
    "accesses": ("one row an access of the guest", ACCESSES),
    "messages": ("one row a line that the guest wrote", MESSAGES),
    "events": ("one row an event of a VM beside its accesses", EVENTS),
    "sayings": ("one row a thing that is understood of what the guest said", SAYINGS),
    "negotiations": ("one row a VM and boot: driver, phases, verdict", SUMMARY),
    "findings": ("one row an anomaly, worst first", FINDINGS),
    "sources": ("one row a recording: its digest, whose view it is, its clock", SOURCES),
    "ledger": ("one row a recording and kind of what was read", LEDGER),
}
"""What one row is, and the columns, of every table that a case is made of."""

ROWS: Final = "rows"
"""The accesses and messages in one table and in order, as `xptrace decode` has them."""
_BOTH: Final = {"kind": ("category", "access or message"), **MESSAGES, **ACCESSES}
_ROWS: Final[Declaration] = {key: _BOTH[key] for key in KEYS}

TIME: Final = "time"
_TIME: Final = "`time_ns` as a date, where the clock tells UTC (wall, syslog); missing elsewhere"
_UTC: Final = frozenset({WALL, SYSLOG})
_NOTE: Final = (
    "times are nanoseconds by the clock that the column `clock` names, and compare only with times of the same clock"
)

_UNITS: Final = {"size": "bytes", "offset": "bytes", "to_offset": "bytes", "bytes": "bytes", "lines": "lines"}
"""Units of columns whose name does not end in one."""

BATCH_ROWS: Final = 1 << 16
BATCH_CHARACTERS: Final = 1 << 25
"""What a batch holds at most, whichever comes first: rows, and characters of free text."""
_IN_BULK: Final = frozenset({ROWS, "accesses", "messages", "ledger"})
"""Tables that need no more of a row than its columns."""
_LOOSE_ROWS: Final = 1 << 12
"""Rows that are held as Python's objects, which take several times as much as Arrow's."""


def title(name: str) -> str:
    """What one row of a table is."""
    return "one row an access or a message, in order" if name == ROWS else TABLES[name][0]


def declaration(name: str) -> Declaration:
    """The columns of a table as `xptrace.frames.schema` declares them; raises XptraceError where there is no such."""
    if name == ROWS:
        return _ROWS
    if name not in TABLES:
        raise XptraceError(f"no table {printable(name)!r}; there are: {', '.join((*TABLES, ROWS))}")
    return TABLES[name][1]


def unit(column: str) -> str:
    """The unit of a column, empty where it has none."""
    return "ns" if column.endswith("_ns") else _UNITS.get(column, "")


def columns(name: str) -> Iterator[tuple[str, str, str, str]]:
    """(column, type in words, unit, meaning) of a table, in order."""
    for column, (dtype, meaning) in declaration(name).items():
        yield column, _WORDS.get(column, _WORDS.get(dtype, "text")), unit(column), meaning
    if _has_time(name):
        yield TIME, "timestamp in UTC", "", _TIME


_WORDS: Final = {
    "Int64": "integer", "UInt64": "unsigned integer", "boolean": "truth value", "object": "list of texts",
    "evidence": "list of source, offset, line", "fields": "JSON",
}


def _has_time(name: str) -> bool:
    return {"time_ns", "clock"} <= declaration(name).keys()


# -- the schema


def schema_of(name: str) -> pa.Schema:
    """The Arrow schema of a table: what a column means and its unit, in its metadata; about the table, in the table's.

    With what pandas keeps there of its own types, so that it reads the dtypes of `xptrace.frames.schema` again.
    """
    import pyarrow as pa

    declared = declaration(name)
    fields = [
        pa.field(column, _type(column, dtype), metadata=_told(unit(column), meaning))
        for column, (dtype, meaning) in declared.items()
    ]
    if _has_time(name):
        fields.append(pa.field(TIME, pa.timestamp("ns", "UTC"), metadata=_told("", _TIME)))
    about = {
        "xptrace.table": name, "xptrace.row": title(name), "xptrace.schema_version": str(VERSION),
        "xptrace.version": xptrace.__version__, "xptrace.clocks": json.dumps(CLOCKS), "xptrace.times": _NOTE,
        "pandas": json.dumps(_for_pandas(declared)),
    }
    return pa.schema(fields, metadata=about)


def _told(unit_of_it: str, meaning: str) -> dict[str, str]:
    return {"meaning": meaning, **({"unit": unit_of_it} if unit_of_it else {})}


def _type(column: str, dtype: str) -> pa.DataType:
    import pyarrow as pa

    if column == "evidence":
        return pa.list_(pa.struct([("source", pa.string()), ("offset", pa.int64()), ("line", pa.int64())]))
    if column == "fields":
        return pa.string()
    types = {
        "Int64": pa.int64(), "UInt64": pa.uint64(), "boolean": pa.bool_(), "string": pa.string(),
        "category": pa.dictionary(pa.int32(), pa.string()), "object": pa.list_(pa.string()),
    }
    return types[dtype]


_PANDAS: Final = {"Int64": "int64", "UInt64": "uint64", "boolean": "bool", "string": "unicode"}
"""The dtypes that pandas does not know by the type alone, by its names for the types."""


def _for_pandas(declared: Declaration) -> dict[str, Any]:
    """The metadata that pandas documents (developer guide, "Storing pandas DataFrame objects in Apache Parquet")."""
    told = [
        {"name": column, "field_name": column, "pandas_type": _PANDAS[dtype], "numpy_type": dtype, "metadata": None}
        for column, (dtype, _) in declared.items() if dtype in _PANDAS
    ]
    return {"index_columns": [], "column_indexes": [], "columns": told, "pandas_version": "3.0.0",
            "creator": {"library": "xptrace", "version": xptrace.__version__}}


# -- the rows


def batches(
    case: Case, names: Collection[str], *, most_rows: int = BATCH_ROWS, most_characters: int = BATCH_CHARACTERS
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(table, batch) of every table that is named, each at least once; nothing is computed for the others.

    The recordings are read once, and once more for the findings. Batches of different tables alternate as they are
    full; of one table they are in order. Raises XptraceError where there is no such table.
    """
    buffers = {name: Buffer(name, most_rows, most_characters) for name in names}
    if buffers.keys() - {"findings"}:
        yield from _read(case, buffers)
    if (findings := buffers.get("findings")) is not None:
        for found in case.assessment.findings:
            yield from findings.take(found.row())
    for buffer in buffers.values():
        yield from buffer.rest()


def _read(case: Case, buffers: Mapping[str, Buffer]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """What one reading of the recordings gives."""
    told = buffers.keys() & {"negotiations", "sayings"}
    one_by_one = iter(()) if buffers.keys() <= _IN_BULK else case.entries()
    if told:
        from xptrace.negotiation.story import Stories

        stories = Stories(case.decoder.vms)
        one_by_one = stories.watch(one_by_one)
    if (sources := buffers.get("sources")) is not None:
        from xptrace.access.survey import Survey

        survey = Survey(case.decoder)
        one_by_one = survey.watch(one_by_one)
    entries: Iterable[Entry | Block] = case.blocks() if buffers.keys() <= _IN_BULK else one_by_one
    rows, accesses, messages, events = (buffers.get(name) for name in (ROWS, "accesses", "messages", "events"))
    for entry in entries:
        if isinstance(entry, Block):
            for taker, wanted in ((rows, _any), (accesses, _is_access), (messages, _is_message)):
                if taker is not None:
                    yield from taker.take_block(entry, wanted)
            continue
        if isinstance(entry, Access):
            takers = rows, accesses
        elif isinstance(entry, Message):
            takers = rows, messages
        else:
            takers = None, events
        for taker in takers:
            if taker is not None:
                yield from taker.take(entry.row()) if isinstance(entry, Event) else taker.take_row(entry)
    if told:
        from xptrace.negotiation.sayings import sayings
        from xptrace.negotiation.summary import complete, summary_row

        for story in complete(stories, case.decoder.vms.values()):
            if (negotiations := buffers.get("negotiations")) is not None:
                yield from negotiations.take(summary_row(story))
            if (said := buffers.get("sayings")) is not None:
                for saying in sayings(story):
                    yield from said.take(saying.row(story))
    if sources is not None:
        for surveyed in survey.sources:
            yield from sources.take(surveyed.summary())
    if (account := buffers.get("ledger")) is not None:
        for ledger in case.decoder.ledgers:
            for kind, size, lines in ledger.rows():
                yield from account.take({"source": ledger.source, "kind": kind, "bytes": size, "lines": lines})


def _any(_row: Row) -> bool:
    return True


def _is_access(row: Row) -> bool:
    return isinstance(row, Access)


def _is_message(row: Row) -> bool:
    return isinstance(row, Message)


def table(case: Case, name: str) -> pa.Table:
    """A whole table of a case, in memory."""
    import pyarrow as pa

    return pa.Table.from_batches([batch for _, batch in batches(case, [name])], schema_of(name)).unify_dictionaries()


def made(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """These rows as that table, in memory."""
    import pyarrow as pa

    buffer = Buffer(name)
    parts = [batch for row in rows for _, batch in buffer.take(row)] + [batch for _, batch in buffer.rest()]
    return pa.Table.from_batches(parts, buffer.schema).unify_dictionaries()


class Buffer:
    """The rows of one table until they are a batch."""

    def __init__(self, name: str, most_rows: int = BATCH_ROWS, most_characters: int = BATCH_CHARACTERS) -> None:
        """A batch is full at so many rows, or at so many characters of free text."""
        self.name, self.schema = name, schema_of(name)
        self._most_rows, self._most_characters = most_rows, most_characters
        self._columns = tuple(declaration(name))
        self._texts = tuple(at for at, (dtype, _) in enumerate(declaration(name).values()) if dtype == "string")
        self._rows: list[tuple[Any, ...]] = []
        self._blocks: list[Block] = []
        self._templates: Templates | None = None
        self._parts: list[pa.RecordBatch] = []
        self._held = self._characters = 0
        self._begun = False

    def take_row(self, row: Row) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Add a row between blocks; what is full comes out."""
        if not self._blocks:
            yield from self.take(row.row())
            return
        self._characters += characters(row)
        yield from self._add(Block.of(row))

    def take(self, row: Mapping[str, Any]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Add a row; what is full comes out."""
        values = tuple(map(row.get, self._columns))
        self._rows.append(values)
        self._held += 1
        for at in self._texts:
            self._characters += len(values[at] or "")
        if self._held >= self._most_rows or self._characters >= self._most_characters:
            yield self._batch()
        elif len(self._rows) >= _LOOSE_ROWS:
            self._parts.append(self._part())

    def take_block(self, block: Block, wanted: Callable[[Row], bool]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Add those rows of a block that are wanted; what is full comes out."""
        if self._rows:
            self._parts.append(self._part())
        if self._templates is None or self._templates.rows is not block.templates:
            if self._blocks:
                self._parts.append(self._whole())
            self._templates = Templates(block.templates, self._of_rows)
        chosen = block if wanted is _any else block.chosen(wanted)
        self._characters += self._templates.characters(chosen)
        yield from self._add(chosen)

    def _add(self, block: Block) -> Iterator[tuple[str, pa.RecordBatch]]:
        self._blocks.append(block)
        self._held += len(block.which)
        if self._held >= self._most_rows or self._characters >= self._most_characters:
            yield self._batch()

    def rest(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What has not come out yet; a batch without rows where there was none at all."""
        if self._held or not self._begun:
            yield self._batch()

    def _batch(self) -> tuple[str, pa.RecordBatch]:
        import pyarrow as pa

        batch = self._whole() if self._blocks else self._part()
        if self._parts:
            whole = pa.Table.from_batches([*self._parts, batch], self.schema).unify_dictionaries().combine_chunks()
            (batch,) = whole.to_batches()
        self._parts, self._held, self._characters, self._begun = [], 0, 0, True
        return self.name, batch

    def _whole(self) -> pa.RecordBatch:
        """The blocks as Arrow, one batch of all."""
        blocks, self._blocks = self._blocks, []
        templates = self._templates or Templates((), self._of_rows)
        return templates.batch(blocks)

    def _of_rows(self, rows: Sequence[Row]) -> pa.RecordBatch:
        return self._arrays([tuple(map(row.row().get, self._columns)) for row in rows])

    def _part(self) -> pa.RecordBatch:
        """The rows that are Python's objects as Arrow."""
        rows, self._rows = self._rows, []
        return self._arrays(rows)

    def _arrays(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        import pyarrow as pa

        held: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(self._columns)
        arrays = [_array(values, field) for values, field in zip(held, self.schema, strict=False)]
        if _has_time(self.name):
            at = dict(zip(self._columns, held, strict=True))
            dates = [time if clock in _UTC else None for time, clock in zip(at["time_ns"], at["clock"], strict=True)]
            arrays.append(array(dates, pa.int64()).view(self.schema.field(TIME).type))
        return pa.record_batch(arrays, schema=self.schema)


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_dictionary(field.type):
        try:
            return dictionary(values)
        except UnicodeEncodeError:  # a file's name in bytes that are no UTF-8
            return dictionary([value if value is None else str(_in_text(value)) for value in values])
    if field.name == "fields":
        values = [None if value is None else json.dumps(value) for value in values]
    return _encoded(values, field.type)


def _encoded(values: Sequence[Any], wanted: pa.DataType) -> pa.Array:
    """The values as an array; those that have no place in it are told in another way, or are missing."""
    try:
        return array(values, wanted)
    except UnicodeEncodeError:
        return array([_in_text(value) for value in values], wanted)
    except OverflowError:  # an event's number beyond 64 bits with sign: `said` has it in words
        fits = _fits(wanted)
        return array([value if value is not None and fits(value) else None for value in values], wanted)


def _in_text(value: object) -> object:
    """The value with each surrogate, which no encoding has, written as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {key: _in_text(part) for key, part in value.items()}
    return [_in_text(part) for part in value] if isinstance(value, list) else value


def _fits(wanted: pa.DataType) -> Callable[[int], bool]:
    import pyarrow as pa

    low, high = (0, 1 << 64) if pa.types.is_uint64(wanted) else (-(1 << 63), 1 << 63)
    return lambda value: low <= value < high
