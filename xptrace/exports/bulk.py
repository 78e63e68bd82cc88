"""Rows as lines of text, many at once: what rows have in common is written once, and their numbers put into it.

A template is the line that the format's own writer makes of a row, cut where the row's time, offset and line stand.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from dissectors.kernel import Kernel, chosen_kernel
from xptrace.access.stretch import Block
from xptrace.intake.ahead import ahead

if TYPE_CHECKING:
    from xptrace.access.rows import Row

Writer = Callable[[Mapping[str, Any]], str]

_NUMBERS: Final = ("time_ns", "offset", "line")
"""What a row has of its own, in the order of `Block.numbers`."""
_AT_ONCE: Final = 1 << 8
_STAND_IN: Final = 10**18
_STAND_INS: Final = tuple(range(_STAND_IN, _STAND_IN + len(_NUMBERS)))
_STAND_IN_DIGITS: Final = len(str(_STAND_IN))


def written(rows: Iterable[Row | Block], write: Writer) -> Iterator[bytes]:
    """The lines of rows and blocks, each with its newline, in order."""
    many: _Many | None = None
    for part in ahead(parts(rows)):
        if not isinstance(part, Block):
            yield "".join(f"{write(row.row())}\n" for row in part).encode()
            continue
        if many is None or many.templates is not part.templates:
            many = _Many(part.templates, write)
        yield many.text(part)


def parts(rows: Iterable[Row | Block]) -> Iterator[Sequence[Row] | Block]:
    """Blocks, and between them the rows, several at a time."""
    single: list[Row] = []
    for row in rows:
        if isinstance(row, Block):
            if single:
                yield single
                single = []
            yield row
        else:
            single.append(row)
            if len(single) == _AT_ONCE:
                yield single
                single = []
    if single:
        yield single


class _Many:
    """Templates as text."""

    def __init__(self, templates: Sequence[Row], write: Writer) -> None:
        self.templates = templates
        self._write = write
        self._kernel: Kernel | None = chosen_kernel()
        self._columns: tuple[int, ...] | None = None
        """Which numbers stand in a line, in order."""
        self._text = bytearray()
        self._pieces = array("Q")
        self._known = 0

    def text(self, block: Block) -> bytes:
        """The lines of a block."""
        import numpy as np

        for row in islice(self.templates, self._known, None):
            self._learn(row)
            self._known += 1
        if self._kernel is None or not self._columns:
            return "".join(f"{self._write(row)}\n" for row in block.rows()).encode()
        numbers = np.ascontiguousarray(block.numbers[self._columns, :].T)
        return self._kernel.fill(bytes(self._text), self._pieces, block.which, numbers, len(self._columns))

    def _learn(self, template: Row) -> None:
        """Cut the line of a template, unless there is one whose numbers stand in another order."""
        row = template.row()
        line, places = self._line(row, _STAND_INS)
        if tuple(column for _, column in places) != self._columns:  # or the row itself holds one of these numbers
            bare = self._write({**row, **dict.fromkeys(_NUMBERS, 0)})
            line, places = self._line(row, islice((one for one in count(_STAND_IN) if str(one) not in bare), 3))
        columns = tuple(column for _, column in places)
        if self._columns is None:
            self._columns = columns
        elif self._columns != columns:
            self._columns = ()
        ends = [0, *(at + _STAND_IN_DIGITS for at, _ in places)]
        for start, end in zip(ends, (*(at for at, _ in places), len(line)), strict=True):
            self._pieces.append(len(self._text))
            self._text += line[start:end].encode()
        self._pieces.append(len(self._text))

    def _line(self, row: Mapping[str, Any], stand_ins: Iterable[int]) -> tuple[str, list[tuple[int, int]]]:
        """The line of a row with other numbers, and where each of them stands, with its column."""
        filled = dict(zip(_NUMBERS, stand_ins, strict=True))
        told = filled if row["time_ns"] is not None else {**filled, "time_ns": None}
        line = self._write({**row, **told}) + "\n"
        return line, sorted(
            (at, column) for column, number in enumerate(filled.values()) for at in _occurrences(line, str(number))
        )


def _occurrences(line: str, number: str) -> Iterator[int]:
    at = line.find(number)
    while at >= 0:
        yield at
        at = line.find(number, at + len(number))
