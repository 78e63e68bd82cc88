"""Blocks of rows as Arrow: the columns of their templates, made once, and taken for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xptrace.access.rows import Message
from xptrace.access.stretch import Block
from xptrace.frames.arrays import numbers, taken, told

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from xptrace.access.rows import Row

Arrays = Callable[[Sequence["Row"]], "pa.RecordBatch"]
"""Makes a batch of rows, in the columns of a table."""

_OWN: Final = {"time_ns": 0, "time": 0, "offset": 1, "line": 2}
"""The columns that every row has its own numbers in, and which of `Block.numbers`."""


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
                which.append(block.which.astype(np.intp))
            else:
                which.append(block.which.astype(np.intp) + (self._known + len(others)))
                others += block.templates
        made = _joined(self._made, self._arrays(others)) if others or self._made is None else self._made
        return _taken(made, np.concatenate(which), np.concatenate([block.numbers for block in blocks], axis=1))

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


def _taken(templates: pa.RecordBatch, which: NDArray[np.intp], own: NDArray[Any]) -> pa.RecordBatch:
    """The templates that each row has, with the numbers that are its own."""
    import numpy as np
    import pyarrow as pa

    used = np.zeros(templates.num_rows, dtype=bool)
    used[which] = True
    places = np.flatnonzero(used)
    which = (np.cumsum(used) - 1).take(which)
    columns = []
    for field, column in zip(templates.schema, templates.columns, strict=True):
        if field.name in _OWN:  # a date, where the template has one
            there = told(column)[places]
            columns.append(numbers(own[_OWN[field.name]], field.type, None if there.all() else there.take(which)))
        else:
            columns.append(taken(column, places, which))
    return pa.record_batch(columns, schema=templates.schema)
