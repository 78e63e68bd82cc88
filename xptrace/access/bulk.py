"""Accesses in bulk: plain records of one thread put together by the kernel, as `coalesce` and `entries` do one by one.

The kernel gathers the records of an access and finds out in what they are alike. What that means is asked once for all
accesses that are alike; only what the guest writes to the log port is followed byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dissectors.kernel import (
    ACCESS,
    BY_FIELD,
    NOTHING,
    READ,
    SHAPE,
    TELLS_ALL,
    TELLS_CALL,
    TELLS_LINE,
    TELLS_NOTHING,
    WRITE,
    Kernel,
    dtype,
)
from dissectors.platform.registers import PORTS, Direction
from xptrace.access.assembled import Assembled
from xptrace.access.coalesce import STAGES, Stream
from xptrace.access.messages import Assembler, Line
from xptrace.access.rows import Access, Message, Row
from xptrace.access.stretch import Block, Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SHAPES: Final = 1 << 13
"""Kinds of accesses that are kept in mind."""
_MOST_TEMPLATES: Final = 2 * MOST_SHAPES
_MOST_CHARACTERS: Final = 1 << 22
"""Kinds of rows, and the guest's characters in them, at which it begins anew: a guest may never say the same twice."""
_SIZES: Final = (1, 2, 4)
_NEWLINE: Final = 0x0A
_DIRECTIONS: Final[dict[int, Direction]] = {READ: "read", WRITE: "write"}
_BY_FIELD: Final = ("handle_ioreq", "cpu_ioreq_pio")
_CALLS: Final = ("memory_region_ops_read", "memory_region_ops_write")


def told(names: Sequence[str]) -> bytes:
    """What each event tells, as the kernel wants to know it, 8 bytes an event: from the order of `coalesce`."""
    return b"".join(_event(name) for name in names)


def _event(name: str) -> bytes:
    if name == "xen_platform_log":
        return bytes((TELLS_LINE, 0, 0, 0, 0, 0, 0, 0))
    stages = [STAGES[direction].get(name) for direction in ("read", "write")]
    if stages == [None, None]:
        return bytes((TELLS_NOTHING, 0, 0, 0, 0, 0, 0, 0))
    direction = BY_FIELD if None not in stages else READ if stages[0] is not None else WRITE
    request = name.startswith("handle_ioreq") or name == "cpu_ioreq_pio"
    return bytes((
        TELLS_CALL if name in _CALLS else TELLS_ALL, direction, stages[0] or 0, stages[1] or 0, name in _BY_FIELD,
        name == "handle_ioreq_read", request, 0,
    ))


def _allowed() -> bytes:
    """The plain accesses: whole, to the fixed ports. By direction, port and size."""
    sizes = bytes(size in _SIZES for size in range(9))
    return sizes * len(PORTS) * 2


class Making(NamedTuple):
    """How rows are made of what is alike: a template of an access, and what it says to the log; a message of a line."""

    access: Callable[[Assembled], Access]
    said: Callable[[Access], Sequence[int | None]]
    message: Callable[[Line], Message]


class Bulk:
    """The accesses of one VM in one boot, in bulk."""

    def __init__(self, kernel: Kernel, making: Making) -> None:
        """Nothing is alike yet."""
        import numpy as np

        self._kernel, self._making = kernel, making
        self._shapes = np.zeros(MOST_SHAPES, dtype(SHAPE))
        self._table = np.zeros(2 * MOST_SHAPES, dtype="<u4")
        self._template = np.zeros(MOST_SHAPES, dtype="<u4")
        self._said = np.full(MOST_SHAPES, -1, dtype="<i2")
        self._events: dict[Sequence[str], bytes] = {}
        self._forget()

    def _forget(self) -> None:
        self._known = self._learnt = 0
        """Shapes, and those of which the template is made."""
        self._templates: list[Row] = []
        self._messages: dict[bytes, int] = {}
        """The templates of whole lines, by their text."""
        self._characters = 0
        self._table.fill(0)

    def blocks(self, stretch: Stretch, assembler: Assembler) -> Iterator[Block]:
        """What becomes of the stretch, whose first record begins an access; `taken` is then as many as it took."""
        import numpy as np

        events = self._events.get(stretch.events) or self._events.setdefault(stretch.events, told(stretch.events))
        out = np.empty(len(stretch.records), dtype(ACCESS))
        while stretch.taken < len(stretch.records):
            if len(self._templates) > _MOST_TEMPLATES or self._characters > _MOST_CHARACTERS:
                self._forget()
            records = stretch.records[stretch.taken :]
            count, taken, self._known = self._kernel.gather(
                records, events, _ALLOWED, PORTS.start, self._shapes, self._known, self._table, out
            )
            self._learn(stretch)
            block = self._block(stretch, out[:count], assembler) if count else None
            stretch.taken += taken
            if block is not None:
                yield block
            if self._known < MOST_SHAPES:  # else there was no room for more kinds of accesses
                return
            self._forget()

    def _learn(self, stretch: Stretch) -> None:
        """Make the templates of the shapes that are new."""
        first = stretch.record(stretch.taken)
        for number in range(self._learnt, self._known):
            address, value, vcpu, direction, size, has_value, _ = self._shapes[number].item()
            access = self._making.access(Assembled(
                _DIRECTIONS[direction], "pio", address, size, value if has_value else None, 0, [first],
                vcpu=None if vcpu < 0 else vcpu,
            ))
            self._template[number] = self._new(access)
            said = self._making.said(access)
            self._said[number] = said[0] if said else -1  # a plain access is one call, which takes one character
        self._learnt = self._known

    def _new(self, template: Row) -> int:
        self._templates.append(template)
        return len(self._templates) - 1

    def _block(self, stretch: Stretch, accesses: NDArray[Any], assembler: Assembler) -> Block:
        import numpy as np

        after, templates, said = _columns(self._lines(stretch, accesses, assembler))
        is_access = np.ones(len(accesses) + len(after), dtype=bool)
        is_access[after + np.arange(1, len(after) + 1)] = False
        which = np.empty(len(is_access), dtype="<u4")
        which[is_access] = self._template.take(accesses["shape"])
        which[~is_access] = templates
        records = np.empty(len(is_access), dtype=np.intp)
        records[is_access] = accesses["first"]
        records[is_access] += stretch.taken
        records[~is_access] = said
        return Block(self._templates, which, _numbers(stretch, records))

    def _lines(
        self, stretch: Stretch, accesses: NDArray[Any], assembler: Assembler
    ) -> Iterator[tuple[int, int, int]]:
        """Every line that the guest wrote to the log: the access after which it is complete, its template, its record.

        Most lines the device tells just as the guest wrote them: these are taken many at once, half as many where it is
        not so of all of them, and twice as many after those of which it was.
        """
        import numpy as np

        base, said, logs = stretch.taken, self._said[accesses["shape"]], accesses["said"]
        places = np.flatnonzero(said >= 0)
        characters = said[places].astype("u1").tobytes()
        ends = np.flatnonzero((said == _NEWLINE) | (logs != NOTHING))
        usual = (said[ends] == _NEWLINE) & (logs[ends] != NOTHING)
        records = (base + logs[ends].astype("<i8")).tolist()  # of those that are not usual it may be none
        texts = stretch.texts(base + logs[ends[usual]].astype("<i8"))
        told = [next(texts) if one else b"" for one in usual.tolist()]
        until, turns = np.searchsorted(places, ends).tolist(), ends.tolist()
        done, first, step = 0, 0, len(turns)
        while first < len(turns):
            last = min(first + step, len(turns))
            end = until[last - 1] + 1
            if usual[first:last].all() and assembler.completes(characters[done:end], told[first:last]):
                for turn, record, text in zip(turns[first:last], records[first:last], told[first:last], strict=True):
                    yield turn, self._whole(stretch, record, text), record
                done, first, step = end, last, 2 * step
                continue
            if last - first > 1:
                step = (last - first) // 2
                continue
            turn, end = turns[first], until[first]
            yield from self._held(stretch, accesses, assembler, places[done:end], characters[done:end])
            done, first = end, last
            if said[turn] >= 0:
                assembler.character(int(said[turn]), stretch.record(base + int(accesses["last"][turn])))
                done += 1
            log = int(logs[turn])
            for line in assembler.take([] if log == NOTHING else [stretch.record(base + log)]):
                yield turn, *self._line(stretch, line)
        yield from self._held(stretch, accesses, assembler, places[done:], characters[done:])

    def _whole(self, stretch: Stretch, record: int, text: bytes) -> int:
        """The template of a line just as the device tells it."""
        number = self._messages.get(text)
        if number is None:
            line = Line(text, complete=True, records=[stretch.record(record)])
            number = self._messages[text] = self._new(self._making.message(line))
            self._characters += len(text)
        return number

    def _line(self, stretch: Stretch, line: Line) -> tuple[int, int]:
        """The template of any other line, and its last record."""
        self._characters += len(line.text)
        return self._new(self._making.message(line)), line.records[-1].line - stretch.line

    def _held(
        self, stretch: Stretch, accesses: NDArray[Any], assembler: Assembler, places: NDArray[Any], text: bytes
    ) -> Iterator[tuple[int, int, int]]:
        """Characters that end no line, unless the device's buffer is full."""
        base = stretch.taken
        if not text:
            return
        if assembler.room(len(text)):
            assembler.characters(text, stretch.record(base + int(accesses["last"][places[-1]])))
            return
        for place, character in zip(places.tolist(), text, strict=True):
            assembler.character(character, stretch.record(base + int(accesses["last"][place])))
            for line in assembler.take([]):
                yield place, *self._line(stretch, line)


def _columns(lines: Iterable[tuple[int, int, int]]) -> NDArray[Any]:
    """Lines as an array of three rows."""
    import numpy as np

    return np.array(list(lines), dtype="<i8").reshape(-1, 3).T


def _numbers(stretch: Stretch, records: NDArray[Any]) -> NDArray[Any]:
    """What each row has of its own, as `Block.numbers`, of the records that tell it."""
    import numpy as np

    numbers = np.empty((3, len(records)), dtype="<i8")
    numbers[0] = stretch.records["time_ns"][records]
    numbers[1] = stretch.records["start"][records]
    numbers[1] += stretch.offset  # which may be more than the 32 bits of a place in a window
    np.add(records, stretch.line, out=numbers[2])
    return numbers


def begins(stretch: Stretch, stream: Stream) -> bool:
    """Whether the first record begins an access for certain, whatever the thread is at."""
    name = stretch.events[int(stretch.records["event"][0])]
    if name == "handle_ioreq":
        return True
    current = stream.current
    if stream.waits or (current is not None and (current.repeated or current.calls or current.kind != "pio")):
        return False
    if name in _CALLS or name == "xen_platform_log":
        return False
    if current is None:
        return True
    direction = next((way for way in STAGES if name in STAGES[way]), None)
    if name in _BY_FIELD:
        direction = "read" if stretch.records["direction"][0] == 1 else "write"
    return direction is not None and (direction != current.direction or STAGES[direction][name] <= current.stage)


_ALLOWED: Final = _allowed()
