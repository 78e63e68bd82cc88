"""Blocks of rows as Arrow: the columns of their templates, taken once for every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xptrace.access.stretch import Block
from xptrace.frames.arrays import numbers

if TYPE_CHECKING:
    import pyarrow as pa

    from xptrace.access.rows import Row

Arrays = Callable[[Sequence[Mapping[str, Any]]], "pa.RecordBatch"]
"""Makes a batch of rows, in the columns of a table."""

_NUMBERS = ("time_ns", "offset", "line")
"""The columns of `Block.numbers`."""


def joined(blocks: Sequence[Block]) -> Block:
    """Several blocks with the same kinds of accesses as one."""
    import numpy as np

    last = blocks[-1]
    others: list[Row] = []
    which = []
    for block in blocks:
        moved = block.which.astype("<i8")
        moved[block.which >= block.base] += last.base - block.base + len(others)
        which.append(moved)
        others += block.others
    numbers = np.concatenate([block.numbers for block in blocks])
    return Block(last.accesses, others, last.base, np.concatenate(which), numbers)


def batch_of(block: Block, arrays: Arrays) -> pa.RecordBatch:
    """The rows of a block, in the columns that `arrays` makes of its templates."""
    import numpy as np
    import pyarrow as pa

    used = np.zeros(block.base + len(block.others), dtype=bool)
    used[block.which] = True
    rows = [block.row(number).row() for number in np.flatnonzero(used).tolist()]
    which = (np.cumsum(used) - 1)[block.which]
    templates = arrays(rows)
    taken = templates.take(numbers(which.astype("<i8"), pa.int64()))
    timed = np.array([row["time_ns"] is not None for row in rows], dtype=bool)[which]
    columns = []
    for field, column in zip(taken.schema, taken.columns, strict=True):
        if field.name in _NUMBERS:
            told = timed if field.name == "time_ns" else None
            columns.append(numbers(block.numbers[:, _NUMBERS.index(field.name)], field.type, told))
        elif field.name == "time":  # a date, where the template has one
            dated = np.array(templates.column("time").is_valid().to_pylist(), dtype=bool)[which]
            columns.append(numbers(block.numbers[:, 0], field.type, dated))
        else:
            columns.append(column)
    return pa.record_batch(columns, schema=templates.schema)
