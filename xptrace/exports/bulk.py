"""Rows as lines of text, many at once: what rows have in common is written once, and their numbers put into it.

A template is the line that the format's own writer makes of a row, cut where the row's time, offset and line stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dissectors.kernel import Kernel, chosen_kernel
from xptrace.access.stretch import Block
from xptrace.intake.ahead import ahead

if TYPE_CHECKING:
    from xptrace.access.rows import Access, Row

Writer = Callable[[Mapping[str, Any]], str]

_NUMBERS: Final = ("time_ns", "offset", "line")
"""What a row has of its own, in the order of `Block.numbers`."""
_WHOLE: Final = (1 << 64) - 1
"""Stands behind the end of a template that has no numbers."""
_AT_ONCE: Final = 1 << 8
_STAND_IN: Final = 10**18


def written(rows: Iterable[Row | Block], write: Writer) -> Iterator[bytes]:
    """The lines of rows and blocks, each with its newline, in order."""
    many: _Many | None = None
    for part in ahead(_parts(rows)):
        if not isinstance(part, Block):
            yield "".join(f"{write(row.row())}\n" for row in part).encode()
            continue
        if many is None or many.accesses is not part.accesses:
            many = _Many(part, write)
        yield many.text(part)


def _parts(rows: Iterable[Row | Block]) -> Iterator[Sequence[Row] | Block]:
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
    """The templates of blocks that have the same kinds of accesses."""

    def __init__(self, block: Block, write: Writer) -> None:
        self.accesses = block.accesses
        self._write = write
        self._kernel: Kernel | None = chosen_kernel()
        self._columns: tuple[int, ...] | None = None
        """Which numbers stand in a line, in order."""
        self._text = bytearray()
        self._pieces: list[int] = []
        self._known = 0

    def text(self, block: Block) -> bytes:
        """The lines of a block."""
        import numpy as np

        for access in block.accesses[self._known : block.base]:
            self._learn(access)
        self._known = block.base
        if self._kernel is None or not self._columns:
            return "".join(f"{self._write(row)}\n" for row in block.rows()).encode()
        text, pieces = bytearray(self._text), list(self._pieces)
        rest = [_WHOLE] * len(self._columns)
        for other in block.others:
            begin = len(text)
            text += f"{self._write(other.row())}\n".encode()
            pieces += (begin, len(text), *rest)
        numbers = np.ascontiguousarray(block.numbers[:, self._columns])
        return self._kernel.fill(bytes(text), np.array(pieces, dtype="<u8"), block.which, numbers, len(self._columns))

    def _learn(self, access: Access) -> None:
        """Make the template of an access, unless there is one whose numbers stand in another order."""
        row = access.row()
        line = self._write({**row, **dict.fromkeys(_NUMBERS, 0)})
        stand_ins: list[str] = []
        candidate = _STAND_IN
        while len(stand_ins) < len(_NUMBERS):
            if str(candidate) not in line:
                stand_ins.append(str(candidate))
            candidate += 1
        filled = {name: int(number) for name, number in zip(_NUMBERS, stand_ins, strict=True)}
        if row["time_ns"] is None:
            del filled["time_ns"]
        line = self._write({**row, **filled}) + "\n"
        places = sorted(
            (at, column) for column, number in enumerate(stand_ins) for at in _occurrences(line, number)
        )
        columns = tuple(column for _, column in places)
        if self._columns is None:
            self._columns = columns
        elif self._columns != columns:
            self._columns = ()
        end = 0
        self._pieces.append(len(self._text))
        for at, column in places:
            self._text += line[end:at].encode()
            self._pieces.append(len(self._text))
            end = at + len(stand_ins[column])
        self._text += line[end:].encode()
        self._pieces.append(len(self._text))


def _occurrences(line: str, number: str) -> Iterator[int]:
    at = line.find(number)
    while at >= 0:
        yield at
        at = line.find(number, at + len(number))
