"""Stretches and blocks: many plain records at once, and many rows at once, as columns.

A stretch is what the kernel read of one window: lines that are all plain records, one after the other. A block is what
has become of a stretch. Rows that differ in nothing but time and place have one template, which was made as every row
is made; a block says which row is of which template, and where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dissectors.kernel import RECORD, dtype
from dissectors.platform.registers import PORTS
from dissectors.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dissectors.kernel import Kernel
    from xptrace.access.rows import Access, Row
    from xptrace.intake.source import Window

    Numbers = NDArray[Any]

_SHORTEST: Final = 24
"""Bytes of a plain line at least: `cpu_in addr 0x10(w) value 0` has more."""
_MOST_RECORDS: Final = 1 << 18


def plain_lines(kernel: Kernel, window: Window, start: int, programs: bytes) -> Numbers:
    """The plain records from a place in a window on, up to the first line that is none, or to the window's end.

    They are of the fixed ports, or of text: each of their lines holds a needle.
    """
    import numpy as np

    most = min(window.size - start, _MOST_RECORDS * _SHORTEST)
    out = np.empty(most // _SHORTEST + 1, dtype(RECORD))
    return out[: kernel.read_lines(window.data, start, window.size, programs, PORTS.start, len(PORTS), out)]


@dataclass(slots=True)
class Stretch:
    """Plain records from line `line` of a source on; `records` (`dissectors.kernel.RECORD`) lie in `data`.

    Whoever looks at it says how many of them have been `taken`, and how many must be read one by one before it is worth
    while to look at the others.
    """

    source: str
    data: bytes
    offset: int
    """Where `data` begins in the source."""
    line: int
    records: Numbers
    events: Sequence[str]
    """The names of the events that records number."""
    clocks: Sequence[str | None]
    taken: int = 0
    apart: int = 1

    def place(self, index: int) -> tuple[int, int, int]:
        """(offset in the source, line, length) of a record."""
        record = self.records[index]
        return self.offset + int(record["start"]), self.line + index, int(record["length"])

    def record(self, index: int) -> Record:
        """One of them with its place, its time and its text, and without its numbers."""
        (record,) = self.several([index])
        return record

    def several(self, indices: Sequence[int] | Numbers) -> Iterator[Record]:
        """Some of them."""
        for index, told in zip(indices, self.records[indices].tolist(), strict=True):
            start, length, time_ns, _, _, _, _, text, text_length, thread, _, event, *_, clock, _ = told
            values = {"s": self.data[text : text + text_length]} if text_length else {}
            yield Record(
                self.source, self.offset + start, length, self.line + int(index), self.events[event], values, b"",
                None if time_ns < 0 else time_ns, self.clocks[clock], None if thread < 0 else thread,
            )


@dataclass(slots=True)
class Block:
    """Rows in order: `which` numbers the templates of accesses, and from `base` on the rows that have none.

    `numbers` has a line for each row: its time (nanoseconds; meaningless where the template has none), offset and line.
    """

    accesses: Sequence[Access]
    """The templates; the list goes on from block to block for as long as it is the same one."""
    others: Sequence[Row]
    """What is like no other row, as messages are."""
    base: int
    which: Numbers
    numbers: Numbers

    def row(self, number: int) -> Row:
        """The template, or the row that has none, of that number."""
        return self.accesses[number] if number < self.base else self.others[number - self.base]

    def followed_by(self, row: Row) -> Block:
        """A block of one more row that goes on from this one."""
        import numpy as np

        told = row.row()
        numbers = np.array([[told["time_ns"] or 0, told["offset"], told["line"]]], dtype="<i8")
        return Block(self.accesses, [row], self.base, np.array([self.base], dtype="<u4"), numbers)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The keys of each row, in order."""
        for number, (time_ns, offset, line) in zip(self.which.tolist(), self.numbers.tolist(), strict=True):
            row = self.row(number).row()
            if row["time_ns"] is not None:
                row["time_ns"] = time_ns
            row["offset"], row["line"] = offset, line
            yield row

    def chosen(self, wanted: Callable[[Row], bool]) -> Block:
        """The rows whose templates are wanted."""
        import numpy as np

        used = np.zeros(self.base + len(self.others), dtype=bool)
        used[self.which] = True
        for number in np.flatnonzero(used).tolist():
            used[number] = wanted(self.row(number))
        kept = used[self.which]
        if kept.all():
            return self
        return replace(self, which=self.which[kept], numbers=self.numbers[kept])
