"""Stretches and blocks: many plain records at once, and many rows at once, as columns.

A stretch is what the kernel read of one window: lines that are all plain records, one after the other. A block is what
has become of a stretch. Rows that differ in nothing but time and place have one template, which was made as every row
is made; a block says which row is of which template, and where it stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dissectors.kernel import RECORD, dtype
from dissectors.platform.registers import PORTS, REGION
from dissectors.record import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dissectors.kernel import Kernel
    from xptrace.access.rows import Row
    from xptrace.intake.source import Window

    Numbers = NDArray[Any]

_MOST_BYTES: Final = 1 << 24
"""For more records than a window has, unless lines have less than 24 bytes each."""


class PlainRecords(NamedTuple):
    """Plain records, and the memory that they lie in: who reads them does not wait for numpy."""

    many: int
    memory: mmap

    def numbers(self) -> Numbers:
        """The records, as long as the memory is theirs."""
        import numpy as np

        return np.frombuffer(self.memory, dtype(RECORD), self.many)


class PlainLines:
    """Reads plain lines: those of a window to where those of an earlier one lay, which nobody looks at any more.

    Fresh memory is cleared by the system, which takes as long as to read the lines.
    """

    def __init__(self, kernel: Kernel) -> None:
        """Nothing is read yet."""
        self._kernel = kernel
        self._spare: deque[mmap] = deque()

    def read(self, window: Window, start: int, programs: bytes) -> PlainRecords:
        """The plain records from a place in a window on, up to the first line that is none, or to the end of its data.

        They are of the fixed ports, or of text: each of their lines holds a needle.
        """
        try:
            memory = self._spare.popleft()
        except IndexError:  # not asked beforehand: another thread may take the last one
            memory = mmap(-1, _MOST_BYTES, MAP_PRIVATE | MAP_ANONYMOUS)
        count = self._kernel.read_lines(
            window.data, start, len(window.data), programs, PORTS.start, len(PORTS), REGION.encode(), memory
        )
        return PlainRecords(count, memory)

    def over(self, records: PlainRecords) -> None:
        """These records are not looked at any more."""
        self._spare.append(records.memory)


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
    read: Callable[[bytes, int, int, int], Iterator[object]] | None = None
    """How the dissector of lines reads one."""

    def place(self, index: int) -> tuple[int, int, int]:
        """(offset in the source, line, length) of a record."""
        record = self.records[index]
        return self.offset + int(record["start"]), self.line + index, int(record["length"])

    def record(self, index: int) -> Record:
        """One of them with its place, its time and its text, and without its numbers."""
        start, length, time_ns, _, _, _, _, _, text_length, thread, _, event, *_, clock, _ = self.records[index].item()
        return Record(
            self.source, self.offset + start, length, self.line + int(index), self.events[event],
            {"s": self.text(index)} if text_length else {}, b"", None if time_ns < 0 else time_ns, self.clocks[clock],
            None if thread < 0 else thread,
        )

    def whole(self, index: int) -> Record:
        """The same with all that its dissector tells of it, where that is to be had."""
        offset, line, length = self.place(index)
        start = offset - self.offset
        read = iter(()) if self.read is None else self.read(self.data[start : start + length - 1], offset, line, length)
        return next((one for one in read if isinstance(one, Record)), None) or self.record(index)

    def text(self, index: int) -> bytes:
        """The text of one of them."""
        return next(self.texts([index]))

    def texts(self, indices: NDArray[Any] | Sequence[int]) -> Iterator[bytes]:
        """The text of each of these."""
        records, data = self.records[indices], self.data
        for start, length in zip(records["text"].tolist(), records["text_length"].tolist(), strict=True):
            yield data[start : start + length]

    def specimens(self, place: int, room: Callable[[str], int]) -> dict[int, Record]:
        """Of each event the first records from a place on, whole: as many as there is room for, of those taken."""
        import numpy as np

        found: dict[int, Record] = {}
        events = self.records["event"][place : self.taken]
        for number in np.flatnonzero(np.bincount(events)).tolist():
            if (most := room(self.events[number])) > 0:
                places = np.flatnonzero(events == number)[:most] + place
                found |= {one: self.whole(one) for one in places.tolist()}
        return found

    def rows(self, block: Block, specimens: Mapping[int, Record]) -> Iterator[Row]:
        """The rows of the block that it became last, each with no record but the one that says where it stands.

        Those of its records that are specimens, by their number, are with it.
        """
        first, lines, templates = self.record(0), block.numbers[2], block.templates
        places = lines - self.line
        numbers = places.tolist()
        records = self.records[places]
        told = zip(*(records[name].tolist() for name in ("start", "length", "time_ns", "event")), strict=True)
        for template, line, number, until, (start, length, time_ns, event) in zip(
            map(templates.__getitem__, block.which.tolist()), lines.tolist(), numbers, [*numbers[1:], self.taken], told,
            strict=True,
        ):
            row = template.at(specimens.get(number) or Record(
                self.source, self.offset + start, length, line, self.events[event], {}, b"",
                None if time_ns < 0 else time_ns, first.clock, first.thread,
            ))
            if specimens:
                more = [specimens[one] for one in range(number + 1, until) if one in specimens]
                row.records = [*row.records, *more] if row.kind == "access" else [*more, *row.records]
            yield row


@dataclass(slots=True)
class Block:
    """Rows in order, each of them one of `templates` but for its time and its place; `which` numbers them.

    `numbers` has a column for each row: its time (nanoseconds; meaningless where the template has none), offset, line.
    """

    templates: Sequence[Row]
    """The list goes on from block to block for as long as it is the same one; it may have grown since."""
    which: Numbers
    numbers: Numbers

    @staticmethod
    def of(row: Row) -> Block:
        """A block of one row, which is its own template."""
        import numpy as np

        told = row.row()
        numbers = np.array([[told["time_ns"] or 0], [told["offset"]], [told["line"]]], dtype="<i8")
        return Block([row], np.zeros(1, dtype="<u4"), numbers)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The keys of each row, in order."""
        for number, (time_ns, offset, line) in zip(self.which.tolist(), self.numbers.T.tolist(), strict=True):
            row = self.templates[number].row()
            if row["time_ns"] is not None:
                row["time_ns"] = time_ns
            row["offset"], row["line"] = offset, line
            yield row

    def used(self) -> Numbers:
        """The numbers of the templates that its rows have, each once, from the lowest."""
        import numpy as np

        used = np.zeros(len(self.templates), dtype=bool)
        used[self.which] = True
        return np.flatnonzero(used)

    def chosen(self, wanted: Callable[[Row], bool]) -> Block:
        """The rows whose templates are wanted."""
        import numpy as np

        chosen = np.zeros(len(self.templates), dtype=bool)
        for number in self.used().tolist():
            chosen[number] = wanted(self.templates[number])
        kept = chosen[self.which]
        return self if kept.all() else replace(self, which=self.which[kept], numbers=self.numbers[:, kept])
