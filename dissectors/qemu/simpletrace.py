r"""Recordings of QEMU's simple trace back end, in bulk: every version of the format, in either byte order.

Law: QEMU's trace/simple.c, scripts/simpletrace.py and scripts/tracetool/backend/simple.py; `simpletrace_records`
declares the records. One of version 4, `cpu_in addr 0x10(w) value 18898`::

    0100000000000000 580d000000000000 a476ddb87f030000 30000000 130f0000 1000000000000000 7700000000000000 d249...
    type             event            time_ns          length   pid      addr             size             val

Up to version 3 an event has only a number, its place among the declarations of the build. QEMU 1.0 to 2.0 (versions 0
and 2) number those that are not disabled, QEMU 2.1 to 2.7 (version 3) all of them. Nobody but the build itself knows
these, so its `trace-events` file must be given; version 4 names its numbers. The types of the arguments are in no file.

Text of a guest is at most 512 bytes of its line here, and in version 0 not there at all. Time is CLOCK_MONOTONIC.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import Struct
from typing import Any, Final, TypeVar

from dissectors import AGAIN, Dissector, Given, Passed, Wanted
from dissectors.clock import MONOTONIC, WALL
from dissectors.kernel import RECORD, RECORD_BYTES, Batch, Kernel, dtype
from dissectors.platform.registers import PORTS, REGION
from dissectors.qemu import catalogue
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import CHARACTER, POINTER, REAL, STRING, Argument, EventDeclaration
from dissectors.qemu.layouts import KINDS, Table
from dissectors.qemu.programs import EVENTS
from dissectors.qemu.simpletrace_bytes import Held
from dissectors.record import Damage, Loss, Record, Value

HEADER_EVENT: Final = 0xFFFF_FFFF_FFFF_FFFF
DROPPED: Final = 0xFFFF_FFFF_FFFF_FFFE
MAGIC: Final = 0xF2B1_77CB_0AA4_29B4
TYPE_NAME, TYPE_EVENT = 0, 1
HEAD_BYTES: Final = 24
"""Event, time, length and process id, which the length counts with the arguments."""
FIXED_BYTES, FIXED_ARGUMENTS = 64, 6
"""Of a record of version 0."""

LONGEST_RECORD: Final = 4096 * 64
"""TRACE_BUF_LEN of trace/simple.c: the ring that a record has passed through."""
MOST_EVENTS: Final = 1 << 16
"""QEMU 10 has 4187; a larger number is no event's."""
LONGEST_NAME: Final = 255

_ORDERS: Final = {
    Struct(f"{order}QQ").pack(HEADER_EVENT, MAGIC): order for order in "<>"
}
_BEYOND: Final = 15
"""Bytes behind a record that are looked at: a file's 16 first bytes may begin in it, which is then broken off."""
_PLACE: Final = Struct("<II")
"""Where a plain record begins, and its length, as RECORD has it."""
_CLOCKS: Final = (None, WALL, MONOTONIC)
_FEW: Final = 7
"""Records that are read one by one before the kernel is asked; more where that was in vain. An access to the device has
some six of them, and the next one begins with the seventh."""
_MANY: Final = 1 << 8
_WORTH_WHILE: Final = 32
"""Plain records that are worth while a batch."""
_NEARLY: Final = 1 << 12
"""Bytes at the end of what is held, in which a record may stand that is not whole."""
_MOST_RECORDS: Final = 1 << 16
"""Records of a batch, which the processor's caches can still hold."""
_NAME: Final = re.compile(rb"[A-Za-z_]\w*")
_LAST_TIME: Final = 1 << 63

_Told = TypeVar("_Told")
Unpack = Callable[[bytes, int], tuple[int, int, int, int, int]]
"""Reads type, event, time, length and process id; of versions without a type or a length, what they would be."""


# -- the arguments


def _character(value: int) -> Value:
    return bytes((value & 0xFF,))


def _pointer(value: int) -> Value:
    return value or None


def _unknown(_: int) -> Value:
    """A real number was cast to an integer, and a string of version 0 to an address: neither is in the record."""
    return None


Convert = Callable[[int], Value]
_CONVERSIONS: Final[Mapping[str, Convert]] = {
    CHARACTER: _character, POINTER: _pointer, REAL: _unknown, STRING: _unknown,
}  # fmt: skip


def _bounds(argument: Argument) -> tuple[int, int] | None:
    """What the C type can hold; None where it may be anything."""
    bits = argument.bits
    if argument.kind == CHARACTER:
        return -0x80, 0xFF  # signed or not, as the host's compiler has it
    if bits is None or bits >= 64 or argument.kind == REAL:
        return None
    return (-1 << bits - 1, (1 << bits - 1) - 1) if argument.signed else (0, (1 << bits) - 1)


def _has_numbers(declaration: EventDeclaration) -> bool:
    return any(one.kind != STRING for one in declaration.arguments) or not declaration.arguments


class _Form:
    """The arguments of one declaration in a byte order, as `arguments` of `simpletrace_records` declares them."""

    def __init__(self, arguments: tuple[Argument, ...], order: str, *, fixed: bool) -> None:
        self._names = tuple(argument.name for argument in arguments)
        self._parts: list[tuple[Struct, bool]] = []
        """Numbers, and whether a string follows them."""
        self._string_bytes = Struct(f"{order}I")
        self._unused = FIXED_ARGUMENTS - len(arguments) if fixed else 0
        self._bounds: list[tuple[int, int, int]] = []
        self._conversions: list[tuple[int, Convert]] = []
        codes = order
        for at, argument in enumerate(arguments):
            if argument.kind == STRING and not fixed:
                self._parts.append((Struct(codes), True))
                codes = order
                continue
            codes += "q" if argument.signed else "Q"
            if bounds := _bounds(argument):
                self._bounds.append((at, *bounds))
            if convert := _CONVERSIONS.get(argument.kind):
                self._conversions.append((at, convert))
        self._parts.append((Struct(codes + "Q" * self._unused), False))

    def read(self, data: bytes, at: int, end: int) -> Mapping[str, Value] | None:
        """Read the values that fill the bytes from `at` to `end` exactly; None where this form does not fit."""
        found: list[Any] = []
        for numbers, string in self._parts:
            if at + numbers.size > end:
                return None
            found += numbers.unpack_from(data, at)
            at += numbers.size
            if string:
                if at + 4 > end:
                    return None
                (length,) = self._string_bytes.unpack_from(data, at)
                at += 4 + length
                if at > end:
                    return None
                found.append(data[at - length : at])
        if at != end or (self._unused and any(found[-self._unused :])):
            return None
        for place, least, most in self._bounds:
            if not least <= found[place] <= most:
                return None
        for place, convert in self._conversions:
            found[place] = convert(found[place])
        return dict(zip(self._names, found, strict=False))


class _Event:
    """An event that has a number in this recording; its forms are made when it is first met."""

    __slots__ = ("_declarations", "_fixed", "_forms", "_order", "name")

    def __init__(self, declarations: tuple[EventDeclaration, ...], order: str, *, fixed: bool) -> None:
        self.name = declarations[0].name
        self._declarations, self._order, self._fixed = declarations, order, fixed
        self._forms: tuple[_Form, ...] | None = None

    def read(self, data: bytes, at: int, end: int) -> Mapping[str, Value] | None:
        """Read the arguments by the first form that fits; None where none does."""
        if self._forms is None:
            layouts = dict.fromkeys(one.arguments for one in self._declarations)  # of other eras, other words only
            self._forms = tuple(
                _Form(arguments, self._order, fixed=self._fixed)
                for arguments in layouts if not self._fixed or len(arguments) <= FIXED_ARGUMENTS
            )
        for form in self._forms:
            if (values := form.read(data, at, end)) is not None:
                return values
        return None


# -- what a version of the format has

_SMALL = {"<": rb"..\0{6}", ">": rb"\0{6}.."}
_COUNT = {"<": rb"(?!\0{4})..[\0-\x04]\0", ">": rb"(?!\0{4})\0[\0-\x04].."}
_INITIAL = {"<": rb"[\x01-\xff]\0\0\0[A-Za-z_]", ">": rb"\0\0\0[\x01-\xff][A-Za-z_]"}


def _word(order: str, number: int) -> bytes:
    return re.escape(Struct(f"{order}Q").pack(number))


def _sign(version: int | None, order: str) -> re.Pattern[bytes]:
    """What the beginning of a record looks like at least, or that of a file."""
    signs = [re.escape(header) for header in _ORDERS]
    event = b"(?:" + _SMALL[order] + b"|" + _word(order, DROPPED) + b")"
    if version == 0:
        signs.append(event)
    elif version in (2, 3):
        signs.append(event + b".{8}" + _COUNT[order])
    elif version == 4:
        signs.append(_word(order, TYPE_EVENT) + event + b".{8}" + _COUNT[order])
        signs.append(_word(order, TYPE_NAME) + _SMALL[order] + _INITIAL[order])
    return re.compile(b"|".join(signs), re.DOTALL)


def _untyped(head: Struct) -> Unpack:
    """Versions 2 and 3 have events only."""
    return lambda data, at: (TYPE_EVENT, *head.unpack_from(data, at))


def _fixed(head: Struct) -> Unpack:
    """Version 0 has events of one length only."""
    return lambda data, at: (TYPE_EVENT, *head.unpack_from(data, at), FIXED_BYTES, 0)


class _Rules:
    """How to read what follows one file header, in the version and byte order that it tells."""

    def __init__(self, version: int | None, order: str, events: Catalogue) -> None:
        self.version, self._order, self._catalogue = version, order, events
        self._ours = catalogue.load().names
        self.header_bytes = FIXED_BYTES if version == 0 else HEAD_BYTES
        self.head_bytes, self.type_bytes = HEAD_BYTES, 0
        self.unpack = _untyped(Struct(f"{order}QQII"))
        if version == 0:
            self.head_bytes, self.unpack = 16, _fixed(Struct(f"{order}QQ"))
        elif version == 4:
            self.head_bytes, self.type_bytes = HEAD_BYTES + 8, 8
            self.unpack = Struct(f"{order}QQQII").unpack_from
        self.count = Struct(f"{order}Q")
        self._name = Struct(f"{order}QQI")
        self.wanted: dict[int, _Event] = {}
        """The events that can be ours, by their number."""
        self.passed: set[int] = set()
        """The numbers of all others."""
        self.ignored = bytearray(MOST_EVENTS >> 3)
        """The same, a bit each."""
        self.table = Table(typed=version == 4, process=version != 2) if version and order == "<" else None
        """By which the kernel reads what is plain."""
        self.refusal = self._refusal()
        self.sign = _sign(None if self.refusal else version, order)
        if self.refusal is None and version != 4:
            numbered = (one for one in events.ordered if version == 3 or not one.disabled)
            for number, declaration in enumerate(numbered):
                self._number(number, declaration.name.encode(), (declaration,))

    def _refusal(self) -> str | None:
        """Why nothing of this can be read."""
        if self.version is None:
            return "expected the header of a simpletrace file"
        if self.version not in (0, 2, 3, 4):
            return f"simpletrace of version {self.version}, expected 0, 2, 3 or 4"
        if self.version != 4 and not self._catalogue.ordered:
            return (f"simpletrace of version {self.version} knows events by number only: give the trace-events file "
                    "of the QEMU that wrote it (--trace-events)")
        return None

    def _number(self, number: int, name: bytes, declarations: tuple[EventDeclaration, ...]) -> None:
        """Learn what an event's number is; ours is what we declare, and, as in text, what has Xen in its name.

        In version 0, an event of nothing but texts tells nothing.
        """
        told = declarations and (self.version != 0 or _has_numbers(declarations[0]))
        if told and (b"xen" in name or name in self._ours):
            self.wanted[number] = _Event(declarations, self._order, fixed=self.version == 0)
            self.passed.discard(number)
        else:
            self.wanted.pop(number, None)
            self.passed.add(number)
        if number < MOST_EVENTS:
            bit = 1 << (number & 7)
            self.ignored[number >> 3] = self.ignored[number >> 3] & ~bit | (bit if number in self.passed else 0)
        if self.table is not None:
            self.table.number(number, name, declarations)

    def name_bytes(self, held: Held) -> int | None:
        """The length of the record here that names an event; None where it is not whole, or none."""
        if self.version != 4 or not held.reach(self._name.size):
            return None
        kind, number, length = self._name.unpack_from(held.data, held.at)
        if kind != TYPE_NAME or number >= MOST_EVENTS or length > LONGEST_NAME:
            return None
        if not held.reach(self._name.size + length):
            return None
        begin = held.at + self._name.size
        return self._name.size + length if _NAME.fullmatch(held.data, begin, begin + length) else None

    def learn(self, held: Held, length: int) -> None:
        """Take the name here."""
        _, number, _ = self._name.unpack_from(held.data, held.at)
        name = held.data[held.at + self._name.size : held.at + length]
        self._number(number, name, self._catalogue.declarations(name))

    def dropped_bytes(self, held: Held) -> int | None:
        """The length of the record here that tells how many are missing; None where it is not whole, or none."""
        if self.refusal or not held.reach(self.head_bytes + 8):
            return None
        kind, event, _, length, _ = self.unpack(held.data, held.at)
        if (kind, event) != (TYPE_EVENT, DROPPED) or length != (HEAD_BYTES + 8 if self.version else FIXED_BYTES):
            return None
        return self.type_bytes + length if held.reach(self.type_bytes + length) else None

    def event_bytes(self, held: Held) -> int | None:
        """The length of the event here; None where it is not whole, or none, or not as it is declared."""
        if self.refusal or not held.reach(self.head_bytes):
            return None
        kind, number, _, length, _ = self.unpack(held.data, held.at)
        size = self.type_bytes + length
        if kind != TYPE_EVENT or not HEAD_BYTES <= length <= LONGEST_RECORD or not held.reach(size):
            return None
        if (event := self.wanted.get(number)) is not None:
            fits = event.read(held.data, held.at + self.head_bytes, held.at + size) is not None
            return size if fits else None
        return size if number in self.passed else None

    def complaint(self, held: Held) -> str:
        """Why nothing can begin here."""
        if self.refusal:
            return self.refusal
        broken = "broken off in the middle of a record"
        if not held.reach(self.head_bytes) or _header(held):
            return broken
        kind, number, _, length, _ = self.unpack(held.data, held.at)
        if kind == TYPE_NAME:
            return "the name of an event is damaged or broken off"
        if kind != TYPE_EVENT:
            return "expected a record, found none"
        if not HEAD_BYTES <= length <= LONGEST_RECORD:
            return f"expected a record of {HEAD_BYTES} to {LONGEST_RECORD} bytes, found {length}"
        if not held.reach(self.type_bytes + length):
            return broken
        if (event := self.wanted.get(number)) is not None:
            return f"{event.name} does not have the form of its event"
        return f"no event has the number {number}"


def _header(held: Held) -> tuple[str, int] | None:
    """The byte order and the version, where a file begins here."""
    if not held.reach(HEAD_BYTES) or (order := _ORDERS.get(held.data[held.at : held.at + 16])) is None:
        return None
    return order, Struct(f"{order}Q").unpack_from(held.data, held.at + 16)[0]


# -- from first to last


class SimpleTrace:
    """Reads one source: a recording, or several one after the other."""

    def __init__(self, given: Given) -> None:
        self._source, self._catalogue = given.source, given.catalogue
        self.records = 0
        """How many records it has met, the file's header and the names of events among them."""
        self._room = mmap(-1, _MOST_RECORDS * RECORD_BYTES, MAP_PRIVATE | MAP_ANONYMOUS)
        """Where plain records lie; who finds but few does not wait for numpy."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the records say, in order; events that cannot be ours are passed over."""
        return self._read(Held(chunks), self._events)

    def batches(
        self, chunks: Iterable[bytes], kernel: Kernel, wanted: Callable[[], Wanted | None], *, many: bool
    ) -> Iterator[Record | Damage | Loss | Batch | Passed]:
        """The same, but without those records that nobody wants, and, if `many`, of plain ones many at once."""
        return self._read(Held(chunks, AGAIN), partial(self._mixed, kernel, wanted, many))

    def _read(
        self, held: Held, events: Callable[[Held, _Rules], Iterator[_Told]]
    ) -> Iterator[_Told | Damage | Loss]:
        rules = _Rules(None, "<", self._catalogue)
        while True:
            if not rules.refusal:
                yield from events(held, rules)
            if not held.reach(1):
                return
            if header := _header(held):
                order, version = header
                rules = _Rules(version, order, self._catalogue)
                if not rules.refusal and held.reach(rules.header_bytes):
                    self._pass(held, rules.header_bytes)
                    continue
            if length := rules.name_bytes(held):
                rules.learn(held, length)
                self._pass(held, length)
            elif length := rules.dropped_bytes(held):
                (count,) = rules.count.unpack_from(held.data, held.at + rules.head_bytes)
                offset = held.offset
                self._pass(held, length)
                yield Loss(self._source, offset, length, self.records, f"{count} records are missing here")
            else:
                yield self._damage(held, rules)

    def _pass(self, held: Held, length: int) -> None:
        self.records += 1
        held.at += length
        held.doubtful = None

    def _mixed(
        self, kernel: Kernel, wanted: Callable[[], Wanted | None], many: bool, held: Held, rules: _Rules
    ) -> Iterator[Record | Batch | Passed]:
        """What `_events` reads; but plain ones in batches, where there are many of them, and without the unwanted."""
        pace = _FEW
        while (yield from self._events(held, rules, pace)):
            count = (yield from self._batches(kernel, held, rules)) if many else 0
            if count < _WORTH_WHILE:
                count = max(count, (yield from self._over(kernel, held, rules, wanted())))
            pace = _FEW if count >= _WORTH_WHILE else min(max(2 * pace, count), _MANY)

    def _batches(self, kernel: Kernel, held: Held, rules: _Rules) -> Generator[Record | Batch, None, int]:
        """The plain events from here on; returns how many were found at last. Few are left where they are."""
        count = 0
        while rules.table is not None and rules.table.packed and held.reach(_BEYOND + 1):
            stop = len(held.data) - _BEYOND
            count = kernel.walk(
                held.data, held.at, stop, rules.table.packed, PORTS.start, len(PORTS), REGION.encode(), self._room
            )
            end = sum(_PLACE.unpack_from(self._room, (count - 1) * RECORD_BYTES)) if count else held.at
            if count >= _WORTH_WHILE:
                yield from self._handed(held, rules, count)
            if stop - end > _NEARLY and count < _MOST_RECORDS:
                break
            if count < _MOST_RECORDS and not held.reach(len(held.data) - held.at + 1):
                break
        return count

    def _over(
        self, kernel: Kernel, held: Held, rules: _Rules, wanted: Wanted | None
    ) -> Generator[Passed, None, int]:
        """Pass over the events from here on that nobody wants; returns how many."""
        ranges, thread = (b"", -1) if wanted is None else (wanted.ranges, wanted.thread)
        passed = 0
        while rules.table is not None and rules.table.packed and held.reach(_BEYOND + 1):
            stop = len(held.data) - _BEYOND
            count, told, place, reached = kernel.pass_over(
                held.data, held.at, stop, rules.table.packed, KINDS, rules.ignored, ranges, thread
            )
            if count:
                self.records += count
                held.at, held.doubtful = place, None
                if told:
                    yield Passed(told)
            passed += count
            if not count or stop - reached > _NEARLY or not held.reach(len(held.data) - held.at + 1):
                break
        return passed

    def _handed(self, held: Held, rules: _Rules, count: int) -> Iterator[Record | Batch]:
        """So many plain events as batches, until there are few."""
        import numpy as np

        records = np.frombuffer(self._room, dtype(RECORD), count)
        data, base = held.data, held.base
        while len(records) >= _WORTH_WHILE:
            batch = Batch(data, base, self.records + 1, records, EVENTS, _CLOCKS)
            yield batch
            done = batch.taken
            if done:
                self.records += done
                held.at = base + int(records[done - 1]["start"]) + int(records[done - 1]["length"]) - held.base
                held.doubtful = None
            else:
                done = min(batch.apart, len(records))
                yield from self._events(held, rules, done)
            records = records[done:]

    def _events(
        self, held: Held, rules: _Rules, most: int = sys.maxsize
    ) -> Generator[Record, None, bool]:
        """The events from here on, up to anything else, or so many; `held.at` is there then.

        Returns whether so many were read.
        """
        unpack, wanted, passed = rules.unpack, rules.wanted, rules.passed
        head, before, has_pid = rules.head_bytes, rules.type_bytes, rules.version in (3, 4)
        little, big = _ORDERS
        beyond = _BEYOND
        last = self.records + most
        while self.records < last and held.reach(head):
            data, at, base, records = held.data, held.at, held.base, self.records
            doubtful, size, last_head = held.doubtful, len(data), len(data) - head
            needed = head
            while at <= last_head and records < last:
                kind, number, time_ns, length, pid = unpack(data, at)
                end = at + before + length
                if kind != TYPE_EVENT or not HEAD_BYTES <= length <= LONGEST_RECORD:
                    needed = 0
                    break
                if end + beyond > size:
                    needed = before + length + beyond
                    break
                if number in passed:
                    records += 1
                    doubtful, at = base + at, end
                    continue
                event = wanted.get(number)
                values = None if event is None else event.read(data, at + head, end)
                if event is None or values is None or (
                    # broken off where another file begins, whose header is no argument
                    data.find(little, at, end + beyond) >= 0 or data.find(big, at, end + beyond) >= 0
                ):
                    needed = 0
                    break
                self.records = records = records + 1
                dated = time_ns < _LAST_TIME
                yield Record(self._source, base + at, end - at, records, event.name, values, data[at:end],
                             time_ns if dated else None, MONOTONIC if dated else None, pid if has_pid else None)
                doubtful, at = None, end
            held.at, held.doubtful, self.records = at, doubtful, records
            if records == last:
                break
            if not needed or (not held.reach(needed) and not beyond):
                return False
            if len(held.data) - held.at < needed:  # the source ends here
                beyond = 0
        return self.records == last

    def _damage(self, held: Held, rules: _Rules) -> Damage:
        """Go to where a record or a file begins again, or to the end.

        Where the record before was only passed over, it may be its length that is wrong: then it is damaged too.
        """
        reason = rules.complaint(held)
        begin, doubtful = held.offset, held.doubtful
        held.doubtful = None
        held.at = (begin if doubtful is None else doubtful) - held.base + 1
        while held.seek(rules.sign) and not self._begins(held, rules, begin):
            held.at += 1
        if doubtful is not None and held.offset < begin:
            begin = doubtful
            self.records -= 1
        self.records += 1
        return Damage(self._source, begin, held.offset - begin, self.records, reason)

    @staticmethod
    def _begins(held: Held, rules: _Rules, damaged: int) -> bool:
        """Whether a record or a file begins here: one that is as it is declared, or that has another after it."""
        if _header(held) or rules.name_bytes(held) or rules.dropped_bytes(held):
            return True
        if held.offset == damaged or (rules.version == 0 and (held.offset - damaged) % FIXED_BYTES):
            return False
        length = rules.event_bytes(held)
        if length is None:
            return False
        if rules.unpack(held.data, held.at)[1] in rules.wanted:
            return True
        held.doubtful = held.offset
        held.at += length
        follows = not held.reach(1) or any(
            found is not None
            for found in (_header(held), rules.name_bytes(held), rules.dropped_bytes(held), rules.event_bytes(held))
        )
        held.at = (held.doubtful or 0) - held.base
        held.doubtful = None
        return follows


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a recording: its first bytes say so, in either order."""
    return 100 if head[:16] in _ORDERS else 0


DISSECTOR = Dissector(
    "simpletrace", "QEMU's simple trace back end, every version of its format",
    bytes.fromhex("0100000000000000580d000000000000a476ddb87f03000030000000130f0000"
                  "10000000000000007700000000000000d249000000000000"),
    sniff, stream=SimpleTrace,
)
