"""The kernel in Python: what each of its functions does, byte for byte the same, and a hundred times slower.

`dissectors.kernel.Kernel` says what the functions are for; this is how they do it. `XPTRACE_KERNEL=twin` runs on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dissectors.kernel import (
    ACCESS,
    BUCKETS,
    BY_FIELD,
    CLOCK_WALL,
    HAS_REGION,
    MOST_PATTERNS,
    NOTHING,
    OP_DECIMAL,
    OP_END,
    OP_HEXADECIMAL,
    OP_LITERAL,
    OP_POINTER,
    OP_PREFIXED,
    OP_TEXT,
    OP_WIDTH,
    PLACES,
    READ,
    RECORD,
    SHAPE,
    SLOTS,
    TELLS_ALL,
    TELLS_CALL,
    TELLS_LINE,
    TELLS_NOTHING,
    WRITE,
    dtype,
)
from dissectors.kernel.twin_span import span
from dissectors.kernel.twin_walk import has_region, pass_over, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("AVX2", "fill", "gather", "keep_memory", "pass_over", "read_lines", "search", "span", "walk")

AVX2: Final = 0
_MOST_LINE: Final = 65_535
_MOST_WINDOW: Final = (1 << 31) - 1
_MOST_FORMS: Final = 64
_LONGEST_NAME: Final = 63
_MOST_COLUMNS: Final = 64
_BILLION: Final = 10**9
_EPOCH: Final = date(1970, 1, 1).toordinal()

_ISO: Final = re.compile(
    rb"(?P<day>(?:19|20|21)\d\d-\d\d-\d\d)T(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    rb"(?:\.(?P<fraction>\d{1,9}))?Z "
)
_PID_AT_TIME: Final = re.compile(rb"(?P<thread>\d{1,10})@(?P<seconds>\d{1,11})\.(?P<micro>\d{6}):")
_NAME: Final = re.compile(rb"([^ ]{0,%d}) " % _LONGEST_NAME, re.DOTALL)
_SENDER: Final = re.compile(rb"[^ :]*:")
"""A daemon's tag, where an event's first argument would stand."""
_NUMBERS: Final = {
    OP_DECIMAL: (re.compile(rb"(-?)([0-9]{1,18})(?![0-9])"), 10),
    OP_HEXADECIMAL: (re.compile(rb"()([0-9a-f]{1,16})(?![0-9a-f])"), 16),
    OP_PREFIXED: (re.compile(rb"()(?:0x(?!0)([0-9a-f]{1,16})(?![0-9a-f])|0(?!x.))", re.DOTALL), 16),
    OP_POINTER: (re.compile(rb"()0x([0-9a-f]{1,16})(?![0-9A-Fa-f])"), 16),
}
_WIDTHS: Final = {b"b": 1, b"w": 2, b"l": 4}
_MOST: Final = {"address": (1 << 64) - 1, "value": (1 << 64) - 1, "count": (1 << 32) - 1, "vcpu": (1 << 31) - 1}
"""The greatest number that fits in; of the others, it is 255."""
_SLOT_NAMES: Final = {place: name for name, place in SLOTS.items()}
_NONE: Final = SLOTS[""]

Fields = dict[str, int]
_PLAIN: Final[Mapping[str, int]] = {name: 0 for name, _ in RECORD} | {"time_ns": -1, "thread": -1, "vcpu": -1}


class _UnlikeError(Exception):
    """A literal differs: another form may be the one."""


class _UnsureError(Exception):
    """Unusual: only the grammar can tell."""


def _rows(buffer: object, layout: tuple[tuple[str, str], ...]) -> NDArray[Any]:
    """A buffer as whole rows of a layout."""
    kind = dtype(layout)
    size = memoryview(buffer).nbytes  # type: ignore[arg-type]
    return np.frombuffer(buffer, kind, size // kind.itemsize) if size >= kind.itemsize else np.empty(0, kind)  # type: ignore[call-overload]


def keep_memory() -> None:
    """Nothing can be said of memory in Python."""


# -- records of text


def read_lines(
    data: bytes, start: int, stop: int, programs: bytes, base: int, ports: int, region: bytes, out: Any,  # noqa: ANN401
) -> int:
    """Read whole lines as records, up to the first that is not plain."""
    if not 0 <= start <= stop <= len(data) <= _MOST_WINDOW:
        raise ValueError("no such window")
    forms, rows, count = _forms(programs), _rows(out, RECORD), 0
    while count < len(rows) and start < stop:
        end = data.find(b"\n", start, stop)
        if end < 0 or end - start > _MOST_LINE:
            break
        record = dict(_PLAIN, start=start, length=end + 1 - start)
        if not _line(forms, data, start, end, record):
            break
        if _has(record, "address"):
            if (record["address"] - base) % (1 << 64) >= ports:
                break
        elif not _has(record, "text"):
            break
        if has_region(data, record, region):
            record["has"] |= HAS_REGION
        rows[count] = tuple(record.values())
        count, start = count + 1, end + 1
    return count


def _has(record: Mapping[str, int], *names: str) -> bool:
    return all(record["has"] >> SLOTS[name] & 1 for name in names)


def _forms(programs: bytes) -> dict[bytes, list[tuple[int, bytes]]]:
    """By name of the event, (its number, operations) of each form."""
    found: dict[bytes, list[tuple[int, bytes]]] = {}
    at = count = 0
    while at < len(programs):
        event, length, *_ = *programs[at : at + 2], -1, -1
        name, size = programs[at + 2 : at + 2 + length], programs[at + 2 + length : at + 4 + length]
        at += 4 + length
        operations = programs[at : at + int.from_bytes(size, "little")]
        at += int.from_bytes(size, "little")
        count += 1
        if not 0 <= length <= _LONGEST_NAME or at > len(programs) or len(size) < 2 or count > _MOST_FORMS:
            raise ValueError("no programs")
        found.setdefault(name, []).append((event, operations))
    return found


def _line(
    forms: Mapping[bytes, Sequence[tuple[int, bytes]]], data: bytes, at: int, end: int, record: Fields
) -> bool:
    """Read one line without its newline."""
    dated = None
    if data[at : at + 1].isdigit():
        dated = _ISO.match(data, at, end)
        stamp = dated or _PID_AT_TIME.match(data, at, end)
        if stamp is None or not (_date(stamp, record) if dated else _time(stamp, record)):
            return False
        at = stamp.end()
    name = _NAME.match(data, at, end)
    if name is None or (dated and _SENDER.match(data, name.end(), end)):
        return False
    for event, operations in forms.get(name[1], ()):
        told = dict(record, event=event)
        try:
            _arguments(operations, data, name.end(), end, told)
        except _UnlikeError:
            continue
        except _UnsureError:
            return False
        record.update(told)
        return True
    return False


def _date(stamp: re.Match[bytes], record: Fields) -> bool:
    """2026-11-23T03:25:00.040406Z, as GLib prints it."""
    hour, minute, second = (int(stamp[part]) for part in ("hour", "minute", "second"))
    try:
        days = date(*map(int, stamp["day"].split(b"-"))).toordinal() - _EPOCH
    except ValueError:
        return False
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    record["time_ns"] = seconds * _BILLION + int((stamp["fraction"] or b"").ljust(9, b"0"))
    record["clock"] = CLOCK_WALL
    return days >= 0 and hour < 24 and minute < 60 and second < 61


def _time(stamp: re.Match[bytes], record: Fields) -> bool:
    """213@1795406729.213774: as QEMU's log back end prints it."""
    thread, seconds = int(stamp["thread"]), int(stamp["seconds"])
    record["thread"], record["clock"] = thread, CLOCK_WALL
    record["time_ns"] = seconds * _BILLION + int(stamp["micro"]) * 1000
    return thread < 1 << 31 and seconds < (1 << 63) // _BILLION


def _arguments(operations: bytes, data: bytes, at: int, end: int, record: Fields) -> None:
    """Read the text from `at` to `end`."""
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        if len(operations) - place < count:
            raise _UnsureError
        place += count
        return operations[place - count : place]

    while True:
        code = take(1)[0]
        if code == OP_END:
            if at != end:
                raise _UnsureError
            return
        operand = take(1)[0]
        if code == OP_LITERAL:
            literal = take(operand)
            if not data.startswith(literal, at, end):
                raise _UnlikeError
            at += operand
        elif code == OP_TEXT:
            tail = take(take(1)[0])
            if end - at < len(tail) or not data.endswith(tail, at, end):
                raise _UnsureError
            if operand == SLOTS["text"]:
                record["text"], record["text_length"] = at, end - len(tail) - at
                record["has"] |= 1 << operand
            at = end
        elif code == OP_WIDTH:
            _store(record, operand, _WIDTHS.get(data[at : min(at + 1, end)], 0), least=1)
            at += 1
        elif code in _NUMBERS:
            pattern, radix = _NUMBERS[code]
            found = pattern.match(data, at, end)
            if found is None:
                raise _UnsureError
            number = int(found[2] or b"0", radix)
            _store(record, operand, -number if found[1] else number, least=-1 if found[1] else 0)
            at = found.end()
        else:
            raise _UnsureError


def _store(record: Fields, slot: int, value: int, least: int) -> None:
    """Put an argument into its place; raises _UnsureError where it does not fit. Only a vCPU may be -1, for none."""
    name = _SLOT_NAMES.get(slot, "text")
    if value < least or (least < 0 and (name, value) != ("vcpu", -1)):
        raise _UnsureError
    if slot == _NONE:
        return
    if name == "text" or value > _MOST.get(name, 255):
        raise _UnsureError
    record[name] = value
    record["has"] |= 1 << slot


# -- accesses out of records


@dataclass(slots=True)
class _Event:
    tells: int
    direction: int
    of_read: int
    of_write: int
    stale: int
    answers: int
    request: int
    unused: int

    def stage(self, direction: int) -> int:
        return self.of_write if direction else self.of_read


@dataclass(slots=True)
class _Open:
    """The access that is being put together, and its records."""

    direction: int
    address: int
    size: int
    value: int | None
    stage: int
    first: int
    last: int
    vcpu: int = -1
    covered: int = 0
    said: int = NOTHING

    def shape(self) -> tuple[int, ...]:
        """What it has in common with others, in the order of SHAPE."""
        return (self.address, self.value or 0, self.vcpu, self.direction, self.size, self.value is not None, 0)

    def merges(self, other: _Open) -> bool:
        """Whether a record that tells of a whole access is one more of this one; it is then put to it."""
        if (self.direction, self.address, self.size) != (other.direction, other.address, other.size):
            return False
        if other.stage <= self.stage or (None not in (self.value, other.value) and self.value != other.value):
            return False
        self.stage, self.last = other.stage, other.last
        self.value = other.value if self.value is None else self.value
        return True

    def calls(self, record: Fields, event: _Event, value: int, at: int) -> bool:
        """Whether the device is called for a part of this access; that is then put to it."""
        size, stage = record["size"], event.stage(event.direction)
        if self.direction != event.direction or self.stage > stage or self.covered + size > self.size:
            return False
        if record["address"] != (self.address + self.covered) % (1 << 64):
            return False
        if self.direction == WRITE and self.value is not None:
            if _masked(self.value >> 8 * self.covered, size) != value:
                return False
        elif self.direction == READ:
            self.value = (self.value or 0) | value << 8 * self.covered
        self.stage, self.vcpu, self.last = stage, record["vcpu"], at
        self.covered += size
        return True


def _masked(value: int, size: int) -> int:
    return value & (1 << 8 * size) - 1


def gather(
    records: Any, events: bytes, allowed: bytes, base: int, shapes: Any, known: int, table: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
) -> tuple[int, int, int]:
    """Put records together to accesses; what is open at the end is not taken.

    The table finds a shape's number for the compiled kernel; here only its size matters.
    """
    kinds = [_Event(*events[at : at + 8]) for at in range(0, len(events) - 7, 8)]
    places = memoryview(table).nbytes // 4
    shape_rows, rows = _rows(shapes, SHAPE), _rows(out, ACCESS)
    if any(kind.direction > (BY_FIELD if kind.tells == TELLS_ALL else WRITE) for kind in kinds):
        raise ValueError("an event does not fit")
    if places & (places - 1) or places <= len(shape_rows) or known > len(shape_rows):
        raise ValueError("the table of shapes does not fit")
    numbers = {row.item(): number for number, row in enumerate(shape_rows[:known])}
    names = [name for name, _ in RECORD]
    found = [dict(zip(names, row, strict=True)) for row in _rows(records, RECORD).tolist()]
    taken = done = 0
    current: _Open | None = None
    for at, record in enumerate(found):
        if record["event"] >= len(kinds) or any(record[key] != found[0][key] for key in ("thread", "clock")):
            break
        event = kinds[record["event"]]
        if event.tells == TELLS_LINE:
            if current is None or current.direction != WRITE or current.said != NOTHING or not _has(record, "text"):
                break
            current.said = at
            continue
        whole = event.tells != TELLS_NOTHING and _has(record, "address", "value", "size")
        if not whole or record["size"] not in (1, 2, 4, 8):
            break
        value = _masked(record["value"], record["size"])
        if event.tells == TELLS_CALL:
            if not _is_ours(record) or current is None or not current.calls(record, event, value, at):
                break
            continue
        new = _begun(record, event, value, at)
        if new is None or not _is_allowed(new, allowed, base):
            break
        merged = current is not None and current.merges(new)
        if merged and not event.answers:
            continue
        if current is not None:
            number = numbers.get(current.shape(), len(numbers))
            if done == len(rows) or number == len(shape_rows):
                break
            if number == len(numbers):
                numbers[current.shape()] = number
                shape_rows[number] = current.shape()
            rows[done] = (number, current.first, current.last, current.said)
            done += 1
        current, taken = (None, at + 1) if merged else (new, at)
    return done, taken, len(numbers)


def _begun(record: Fields, event: _Event, value: int, at: int) -> _Open | None:
    """What a record that tells of a whole access says; None for one that is not plain."""
    if event.request and (record["pointer"] or record["type"]):
        return None
    direction = event.direction
    if direction == BY_FIELD:
        if not _has(record, "direction"):
            return None
        direction = READ if record["direction"] == 1 else WRITE
    known = None if event.stale and direction == READ else value
    return _Open(direction, record["address"], record["size"], known, event.stage(direction), at, at)


def _is_allowed(access: _Open, allowed: bytes, base: int) -> bool:
    ports, port = len(allowed) // 18, (access.address - base) % (1 << 64)
    return port < ports and allowed[(access.direction * ports + port) * 9 + access.size] != 0


def _is_ours(record: Fields) -> bool:
    """Whether a call is of the region, and of a vCPU that is known, or of none."""
    return bool(record["has"] & HAS_REGION) and _has(record, "vcpu") and not (record["vcpu"] >= 0 > record["thread"])


# -- rows as text


def fill(text: bytes, pieces: Any, which: Any, numbers: Any, columns: int) -> bytes:  # noqa: ANN401
    """Each row as text: the pieces of its template, and its numbers between them."""
    if not 0 <= columns < _MOST_COLUMNS:
        raise ValueError("no such number of columns")
    wide = columns + 2
    places = _rows(pieces, (("place", "<u8"),))["place"].tolist()
    chosen = _rows(which, (("number", "<u4"),))["number"].tolist()
    values = _rows(numbers, (("number", "<i8"),))["number"].tolist()
    templates = [places[at : at + wide] for at in range(0, len(places) - wide + 1, wide)]
    if any(own != sorted(own) or own[-1] > len(text) for own in templates):
        raise ValueError("a template is no part of the text")
    if len(values) != len(chosen) * columns or any(number >= len(templates) for number in chosen):
        raise ValueError("rows without templates")
    done = bytearray()
    for row, number in enumerate(chosen):
        own = templates[number]
        for column, (begin, end) in enumerate(pairwise(own)):
            if column:
                done += b"%d" % values[row * columns + column - 1]
            done += text[begin:end]
    return bytes(done)


# -- lines that hold needles


def search(data: bytes, at: int, patterns: bytes, out: Any, line: int) -> tuple[int, int, int]:  # noqa: ANN401
    """Lines that hold a pattern: start, end and number of each."""
    if not 0 <= at <= len(data) or line < 0:
        raise ValueError("no such place")
    needles = list(_expressions(patterns))
    any_of = re.compile(b"|".join(needles), re.DOTALL) if needles else None
    rows, count = _rows(out, (("start", "<u8"), ("end", "<u8"), ("line", "<u8"))), 0
    while count < len(rows) and at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        if any_of is not None and any_of.search(data, at, end):
            rows[count] = at, end, line
            count += 1
        line += data.count(b"\n", at, end)
        at = end
    return count, at, line


def _expressions(patterns: bytes) -> Iterator[bytes]:
    """Each pattern as a regular expression; its first places and its bucket only make the search fast."""
    at = count = 0
    while at < len(patterns):
        length, key, bucket, *_ = *patterns[at : at + 3], BUCKETS, BUCKETS, BUCKETS
        sets = [patterns[place : place + 32] for place in range(at + 3, at + 3 + 32 * length, 32)]
        at, count = at + 3 + 32 * length, count + 1
        if at > len(patterns) or key + PLACES > length or bucket >= BUCKETS or count > MOST_PATTERNS:
            raise ValueError("no patterns")
        yield b"".join(map(_class, sets))


def _class(members: bytes) -> bytes:
    """The bytes whose bits are set, as a class of a regular expression."""
    bits = int.from_bytes(members, "little")
    found = b"".join(b"\\x%02x" % byte for byte in range(256) if bits >> byte & 1)
    return b"[%s]" % found if found else b"(?!)"
