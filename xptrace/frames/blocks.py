"""Blocks of rows as Arrow: the columns of their templates, made once, and taken for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from xptrace.access.rows import Message
from xptrace.access.stretch import Block
from xptrace.frames.arrays import numbers, told

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xptrace.access.rows import Row

Arrays = Callable[[Sequence["Row"]], "pa.RecordBatch"]
"""Makes a batch of rows, in the columns of a table."""

_NUMBERS = ("time_ns", "offset", "line")
"""The columns of `Block.numbers`."""


class Templates:
    """The templates of blocks in the columns of a table, and batches of their rows."""

    def __init__(self, rows: Sequence[Row], arrays: Arrays) -> None:
        """`rows` may grow; `arrays` makes columns of them."""
        self.rows = rows
        self._arrays = arrays
        self._made: pa.RecordBatch | None = None
        self._characters: list[int] = []

    def characters(self, block: Block) -> int:
        """The characters of free text that the rows of a block of these templates have."""
        import numpy as np

        self._characters += map(characters, islice(self.rows, len(self._characters), None))
        return int(np.array(self._characters, dtype="<i8")[block.which].sum())

    def batch(self, blocks: Sequence[Block]) -> pa.RecordBatch:
        """The rows of these blocks, in order; those of other templates are few."""
        import numpy as np

        self._learn()
        others: list[Row] = []
        which = []
        for block in blocks:
            if block.templates is self.rows:
                which.append(block.which.astype("<i8"))
            else:
                which.append(block.which.astype("<i8") + (self._known + len(others)))
                others += block.templates
        made = _joined(self._made, self._arrays(others)) if others or self._made is None else self._made
        return _taken(made, np.concatenate(which), np.concatenate([block.numbers for block in blocks]))

    @property
    def _known(self) -> int:
        return 0 if self._made is None else self._made.num_rows

    def _learn(self) -> None:
        """Make columns of the templates that are new."""
        if new := list(islice(self.rows, self._known, None)):
            self._made = _joined(self._made, self._arrays(new))


def characters(row: Row) -> int:
    """The characters of free text that a row has."""
    return len(row.text) if isinstance(row, Message) else 0


def _joined(one: pa.RecordBatch | None, other: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    if one is None:
        return other
    (both,) = pa.Table.from_batches([one, other]).unify_dictionaries().combine_chunks().to_batches()
    return both


def _taken(templates: pa.RecordBatch, which: NDArray[Any], own: NDArray[Any]) -> pa.RecordBatch:
    """The templates that each row has, with the numbers that are its own."""
    import numpy as np
    import pyarrow as pa

    used = np.zeros(templates.num_rows, dtype=bool)
    used[which] = True
    if not used.all():
        templates = _compact(templates.take(numbers(np.flatnonzero(used), pa.int64())))
        which = (np.cumsum(used) - 1)[which]
    taken = numbers(which, pa.int64())
    columns = []
    for field, column in zip(templates.schema, templates.columns, strict=True):
        if field.name in _NUMBERS:
            columns.append(numbers(own[:, _NUMBERS.index(field.name)], field.type, told(column)[which]))
        elif field.name == "time":  # a date, where the template has one
            columns.append(numbers(own[:, 0], field.type, told(column)[which]))
        else:
            columns.append(column.take(taken))
    return pa.record_batch(columns, schema=templates.schema)


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same without the texts of dictionaries that no row has."""
    import pyarrow as pa

    columns = [
        column.cast(field.type.value_type).dictionary_encode() if pa.types.is_dictionary(field.type) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, schema=batch.schema)
