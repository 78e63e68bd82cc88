"""The walk over records of simpletrace in Python: what walk.c does, byte for byte the same.

`dissectors.kernel.Kernel` says what it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np

from dissectors.kernel import (
    ARGUMENT_SIGNED,
    ARGUMENT_TEXT,
    ARGUMENT_UNSIGNED,
    ARGUMENT_WIDTH,
    CLOCK_MONOTONIC,
    HAS,
    HAS_REGION,
    MEANS_CALL,
    MEANS_NOTHING,
    MEANS_REQUEST,
    MOST_FORMS,
    RECORD,
    SLOTS,
    TABLE_PROCESS,
    TABLE_TYPED,
    dtype,
)

_MOST_WINDOW: Final = (1 << 31) - 1
_HEAD: Final = Struct("<QQII")
"""Event, time, length and process id; the length counts these, and the arguments."""
_FORM: Final = Struct("<IBB")
_TYPE_BYTES, _TYPE_EVENT = 8, b"\1\0\0\0\0\0\0\0"
_LONGEST_RECORD: Final = 4096 * 64
_MOST_ARGUMENTS, _WIDEST = 16, 64
_RANGE: Final = Struct("<QQ")
_SIZES: Final = (1, 2, 4, 8)
_ONES, _MAGIC = b"\xff" * 8, 0xF2B1_77CB_0AA4_29B4
_HEADERS: Final = tuple(_ONES + _MAGIC.to_bytes(8, order) for order in ("little", "big"))
_WIDTHS: Final = {ord("b"): 1, ord("w"): 2, ord("l"): 4}
_MOST: Final = {"address": (1 << 64) - 1, "value": (1 << 64) - 1, "count": (1 << 32) - 1, "vcpu": (1 << 31) - 1}
"""The greatest number that fits in; of the others, it is 255."""
_NAMES: Final = {place: name for name, place in SLOTS.items()}
_PLAIN: Final[Mapping[str, int]] = {name: 0 for name, _ in RECORD} | {"vcpu": -1, "clock": CLOCK_MONOTONIC}

Argument = tuple[int, int, int]
"""Kind, bits and slot."""
Form = tuple[int, Sequence[Argument]]
"""The event, and its arguments."""


class _UnlikeError(Exception):
    """Too many or too few bytes: another form may be the one."""


class _UnsureError(Exception):
    """Unusual: only the whole reader can tell."""


def walk(
    data: bytes, start: int, stop: int, table: bytes, base: int, ports: int, region: bytes, out: Any,  # noqa: ANN401
) -> int:
    """Read records of simpletrace, up to the first that is not plain."""
    _check(data, start, stop)
    forms = _forms(table)
    kind = dtype(RECORD)
    rows = np.frombuffer(out, kind, memoryview(out).nbytes // kind.itemsize)
    count = 0
    while count < len(rows) and (head := _read_head(data, start, stop, table)) is not None:
        record = _read_record(forms, data, start, head, table)
        if record is None:
            break
        if record["has"] >> SLOTS["address"] & 1:
            if (record["address"] - base) % (1 << 64) >= ports:
                break
        elif not record["has"] >> SLOTS["text"] & 1:
            break
        if has_region(data, record, region):
            record["has"] |= HAS_REGION
        rows[count] = tuple(record.values())
        count, start = count + 1, head.end
    return count


def has_region(data: bytes, record: Mapping[str, int], region: bytes) -> bool:
    """Whether the text of a record is this name."""
    text = record["text"]
    return bool(record["has"] >> SLOTS["text"] & 1) and data[text : text + record["text_length"]] == region


def pass_over(
    data: bytes, start: int, stop: int, table: bytes, kinds: bytes, ignored: bytes | bytearray, near: bytes,
    process: int,
) -> tuple[int, int, int, int]:
    """Go over records of simpletrace of which nobody wants to know, up to where an access begins for certain."""
    _check(data, start, stop)
    forms = _forms(table)
    if len(near) % _RANGE.size:
        raise ValueError("no ranges")
    ranges = [range(first, until) for first, until in _RANGE.iter_unpack(near)]
    records = told = 0
    passed = (0, 0, start)
    before: tuple[dict[str, int], int] | None = None
    repeats = True
    while (head := _read_head(data, start, stop, table)) is not None:
        if head.number >> 3 < len(ignored) and ignored[head.number >> 3] >> (head.number & 7) & 1:
            if not told:
                passed = records, told, start
        else:
            record = _read_record(forms, data, start, head, table) if head.process == process else None
            if record is None:
                break
            kind = kinds[record["event"]] if record["event"] < len(kinds) else MEANS_NOTHING
            if not _is_access(record, kind):
                break
            if kind == MEANS_REQUEST or (before is not None and _begins(record, kind, *before, repeats=repeats)):
                passed, repeats = (records, told, start), False
            if not _is_elsewhere(data, record) or any(record["address"] in one for one in ranges):
                break
            repeats = repeats or bool(record["pointer"])
            before = record, kind
            told += 1
        records, start = records + 1, head.end
    return *passed, start


def _is_access(record: Mapping[str, int], kind: int) -> bool:
    """Whether a record is of an access that there can be."""
    told = {name for name, slot in SLOTS.items() if name and record["has"] >> slot & 1}
    needed = {"address", "value", "size", "vcpu"} if kind == MEANS_CALL else {"address", "value"}
    return kind != MEANS_NOTHING and needed <= told and ("size" not in told or record["size"] in _SIZES)


def _is_elsewhere(data: bytes, record: Mapping[str, int]) -> bool:
    """Whether it is one to memory or a port, and of no region of memory with a name of ours."""
    return record["type"] <= 1 and not data[record["text"] : record["text"] + record["text_length"]].startswith(b"xen")


def _begins(
    record: Mapping[str, int], kind: int, before: Mapping[str, int], kind_before: int, *, repeats: bool
) -> bool:
    """Whether nothing goes on with a record that is no request: what was open is over, and an access begins."""
    address, last = record["address"], before["address"]
    if kind == kind_before == MEANS_CALL:
        return address != (last + before["size"]) % (1 << 64) and (address != last or not repeats)
    if kind != MEANS_CALL and kind_before == MEANS_CALL:
        return address > last
    if kind == MEANS_CALL:
        return address != last
    return address != last or (record["event"] == before["event"] and not repeats)


def _check(data: bytes, start: int, stop: int) -> None:
    if not 0 <= start <= stop <= len(data) <= _MOST_WINDOW:
        raise ValueError("no such window")


class _Head(NamedTuple):
    """What every record has, where its arguments begin, and where it ends."""

    number: int
    time_ns: int
    process: int
    begun: int
    end: int


def _read_head(data: bytes, start: int, stop: int, table: bytes) -> _Head | None:
    """The head of the record there, if it ends before `stop`."""
    typed = table[0] & TABLE_TYPED
    begin = start + (_TYPE_BYTES if typed else 0)
    if stop - begin < _HEAD.size or (typed and not data.startswith(_TYPE_EVENT, start)):
        return None
    number, time_ns, length, process = _HEAD.unpack_from(data, begin)
    if not _HEAD.size <= length <= _LONGEST_RECORD or begin + length > stop:
        return None
    return _Head(number, time_ns, process, begin + _HEAD.size, begin + length)


def _read_record(
    forms: Mapping[int, list[Form]], data: bytes, start: int, head: _Head, table: bytes
) -> dict[str, int] | None:
    """The record of that head; None where it is not plain."""
    if head.time_ns >> 63 or head.process >> 31:
        return None
    thread = head.process if table[0] & TABLE_PROCESS else -1
    record = dict(_PLAIN, start=start, length=head.end - start, time_ns=head.time_ns, thread=thread)
    if not _read(forms.get(head.number, ()), data, head.begun, head.end, record):
        return None
    if any(data.find(header, head.begun, head.end + len(header) - 1) >= 0 for header in _HEADERS):
        return None
    return record


def _forms(table: bytes) -> dict[int, list[Form]]:
    """The forms of each event, by its number."""
    found: dict[int, list[Form]] = {}
    at, count = 1, 0
    if not table:
        raise ValueError("no table")
    while at < len(table):
        if at + _FORM.size > len(table) or count == MOST_FORMS:
            raise ValueError("no table")
        number, event, arguments = _FORM.unpack_from(table, at)
        at += _FORM.size
        if arguments > _MOST_ARGUMENTS or at + 3 * arguments > len(table):
            raise ValueError("no table")
        parts = [table[place : place + 3] for place in range(at, at + 3 * arguments, 3)]
        found.setdefault(number, []).append((event, [(one[0], one[1], one[2]) for one in parts]))
        at, count = at + 3 * arguments, count + 1
    return found


def _read(forms: Sequence[Form], data: bytes, at: int, end: int, record: dict[str, int]) -> bool:
    """Read the arguments, which fill the bytes from `at` to `end`."""
    for event, arguments in forms:
        told = dict(record, event=event)
        try:
            _arguments(arguments, data, at, end, told)
        except _UnlikeError:
            continue
        except _UnsureError:
            return False
        record.update(told)
        return True
    return False


def _arguments(arguments: Sequence[Argument], data: bytes, at: int, end: int, record: dict[str, int]) -> None:
    numbers: list[tuple[int, Argument]] = []
    for argument in arguments:
        kind, _, slot = argument
        size = 4 if kind == ARGUMENT_TEXT else 8
        if at + size > end:
            raise _UnlikeError
        value = int.from_bytes(data[at : at + size], "little", signed=kind == ARGUMENT_SIGNED)
        at += size
        if kind != ARGUMENT_TEXT:
            numbers.append((value, argument))
            continue
        if at + value > end:
            raise _UnlikeError
        if slot == SLOTS["text"]:
            record["text"], record["text_length"] = at, value
            record["has"] |= 1 << slot
        at += value
    if at != end:
        raise _UnlikeError
    for value, (kind, bits, slot) in numbers:
        if kind == ARGUMENT_WIDTH and value in _WIDTHS:
            _store(record, slot, _WIDTHS[value])
        elif (kind == ARGUMENT_UNSIGNED and (bits >= _WIDEST or not value >> bits)) or (
            kind == ARGUMENT_SIGNED and (not 1 <= bits < _WIDEST or not abs(value) >> bits - 1)
        ):
            _store(record, slot, value)
        else:
            raise _UnsureError


def _store(record: dict[str, int], slot: int, value: int) -> None:
    """Put an argument into its place, which takes one; raises _UnsureError where it does not fit.

    Only a vCPU may be -1, for none.
    """
    name = _NAMES.get(slot, "text")
    if value < 0 and (name, value) != ("vcpu", -1):
        raise _UnsureError
    if not name:
        return
    if name == "text" or value > _MOST.get(name, 255) or record["has"] >> slot & 1:
        raise _UnsureError
    record[name] = value
    record["has"] |= 1 << HAS.index(name)
