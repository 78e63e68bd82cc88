r"""What xentrace recorded, in bulk, as far as it tells of accesses to ports of the platform device and of PCI.

Law: xen/include/public/trace.h for the records, xen/arch/x86/hvm/emulate.c for those of I/O, tools/xentrace/xentrace.c
for the windows; `xentrace_records` declares them. Product 3 is written to port 0x12, after a VM exit at a time::

    021108b0 e36b261ab7000000 7b000000 4efa0181ffffffff 16220820 12000000 03000000
    VM exit  time stamp       reason   rIP              write    port     value

An access has neither time nor size nor domain of its own, and in a trace of one class of events nothing tells them. Its
time is that of the last record before it on its processor that has one; its domain and vCPU are those which the last
scheduling record there set running. A string access that is served from memory has no value, and its elements are not
counted. A write is recorded when it is issued, again when it is retried; a read when it completes. Before Xen 4.2 the
value of every read is 0, and the trace does not tell the version.

The windows of the processors overlap in time: records come out in the order of time, so `Record.offset` need not grow.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from struct import Struct, pack, unpack_from
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import TSC
from dissectors.held import Held
from dissectors.kernel import PROCESSOR, TOLD, Kernel, chosen_kernel
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import PORT_ACCESS, READ, WRITE
from dissectors.xen import xentrace_block
from dissectors.xen.xentrace_block import (
    CONTINUES,
    CPU_CHANGE,
    LOST,
    OLD_READ,
    OLD_WRITE,
    PORT_READ,
    Block,
    bytes_of,
    chain,
    classes,
    find,
    is_head,
)  # fmt: skip

ASSUMED_HZ: Final = 2_400_000_000
"""The frequency of the time stamp counter where nobody gives it, as xenalyze assumes."""

FASTEST_HZ: Final = 10**12
RESERVED_DOMAIN: Final = 0x7FF0
"""DOMID_FIRST_RESERVED: this domain and all above (the idle one, Xen itself) are no guests."""

CHANGE_BYTES: Final = 12
LONGEST_RECORD: Final = 40
MOST_PROCESSORS: Final = 1 << 14
MOST_WINDOW: Final = 1 << 28
"""Bytes of a window: Xen counts the pages of a processor's buffer in 16 bits."""
MOST_HELD: Final = 1 << 16
"""Records that wait for those of other processors; more come out before their time is sure."""
BLOCK, LEAST_BLOCK = 1 << 20, 1 << 12
"""Bytes that are looked at in one go; few after damage, so that little is done twice."""
SURE: Final = 8
"""So many records must follow one another for a place behind damage to be where one begins."""

_CHANGE: Final = Struct("<III")
_MARK: Final = _CHANGE.pack(2 << 28 | CPU_CHANGE, 0, 0)[:4]
_WORD: Final = Struct("<I")
_PROCESSOR: Final = Struct(PROCESSOR)
_TOLD: Final = Struct(TOLD)
_MOST_TOLD: Final = 1 << 10
"""Records that the kernel tells in one go."""
_SIGN: Final = re.compile(
    rb"(?s).[\x10-\xff](?:[\x01\x02\x04\x08\x10\x20\x40\x80][%s]|\0[%s])" % tuple(
        re.escape(bytes(range(low, 0x100, 0x10))) for low in (0x00, 0x08)
    )
)  # fmt: skip
"""What the first word of a record looks like: one of the classes, and not its subclass 0."""


class _Held(Held):
    """The bytes of a source that are still held, as words."""

    __slots__ = ()

    def word(self, beyond: int = 0) -> int:
        """The word so many bytes beyond `at`, which must be there."""
        word: int = _WORD.unpack_from(self.data, self.at + beyond)[0]
        return word

    def change(self, beyond: int = 0) -> tuple[int, int] | None:
        """The processor and the size of the window that begins so many bytes beyond `at`, if one does."""
        return _change(self.data, self.at + beyond)


def _change(data: bytes, at: int) -> tuple[int, int] | None:
    """The processor and the size that a window's first record tells, if that is what is here."""
    if at + CHANGE_BYTES > len(data) or data[at : at + 4] != _MARK:
        return None
    _, cpu, size = _CHANGE.unpack_from(data, at)
    return (cpu, size) if cpu < MOST_PROCESSORS and size < MOST_WINDOW and size % 4 == 0 else None


@dataclass(slots=True)
class _Processor:
    """What the records of a physical processor have told so far."""

    tsc: int | None = None
    """The last time stamp."""
    running: int | None = None
    """The domain in the upper, the vCPU in the lower 16 bits."""
    scheduled: bool = False
    """Whether there are scheduling records at all."""
    opened: bool = False
    """Whether a window of it has begun, and no time has been seen in it yet."""

    def packed(self) -> bytearray:
        """What is known, as the kernel has it."""
        known = self.tsc is not None, self.running is not None, self.scheduled, False
        return bytearray(_PROCESSOR.pack(self.tsc or 0, self.running or 0, *known))


def _unpacked(
    tsc: int, running: int, has_tsc: int, has_running: int, scheduled: int, _unused: int
) -> tuple[int | None, int | None, bool]:
    """Time stamp, what runs, and whether there are scheduling records."""
    return tsc if has_tsc else None, running if has_running else None, bool(scheduled)


@dataclass(frozen=True, slots=True)
class _Window:
    """Records of one processor, as they stand in the file one after the other."""

    offset: int
    """Of its first record, that of the tool."""
    cpu: int
    end: int
    """Where the next window begins, in the source, by what this one says."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a window that lies in a block, in words of it."""

    window: _Window
    begin: int
    """Where its records begin."""
    end: int
    opens: bool
    """Whether the record that opens the window is in the block, before `begin`."""


def hertz(given: Given) -> int:
    """The frequency of the time stamp counter: the given one if there can be such, else the assumed one."""
    return round(given.tsc_hz) if given.tsc_hz is not None and 1 <= given.tsc_hz < FASTEST_HZ else ASSUMED_HZ


# -- from first to last


class XenTrace:
    """Reads one source: a recording, or several one after the other."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._hz = hertz(given)
        self._window: _Window | None = None
        self._block_bytes = BLOCK
        self._ports = b"".join(pack("<II", ports.start, ports.stop) for ports in xentrace_block.PORTS)
        self._processors: dict[int, _Processor] = {}
        self._order = _Order()
        self.records = 0
        """How many records it has met, those that open a window among them."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the records say, in the order of time."""
        held, kernel = _Held(chunks), chosen_kernel()
        while held.reach(1):
            window = self._window
            if window is None or held.offset >= window.end:
                if not held.reach(CHANGE_BYTES) or held.change() is None:
                    yield self._between(held)
                    continue
            elif not _begins(held, window):
                yield self._damage(held, window)
                self._block_bytes = LEAST_BLOCK
                continue
            yield from self._read_block(held) if kernel is None else self._read_walking(held, kernel)
            yield from self._order.release()
        window = self._window
        if window is not None and held.offset < window.end:
            found, size = (at - window.offset - CHANGE_BYTES for at in (held.offset, window.end))
            yield Damage(self._source, window.offset, CHANGE_BYTES, self.records,
                         f"expected a window of {size} bytes, found {found}: the recording is cut")
        yield from self._order.all()

    # -- records

    def _spans(self, held: _Held) -> list[_Span]:
        """The windows that are wholly or partly in the next block, up to where none follows the one before."""
        held.reach(self._block_bytes + CHANGE_BYTES)
        count = min(self._block_bytes, held.left) // 4
        spans: list[_Span] = []
        window, at = self._window, 0
        if window is not None and held.offset < window.end:
            at = min(count, (window.end - held.offset) // 4)
            spans.append(_Span(window, 0, at, opens=False))
        while at < count and (change := held.change(4 * at)):
            cpu, size = change
            begin, offset = at + 3, held.offset + 4 * at
            at = max(begin, min(count, begin + size // 4))
            spans.append(_Span(_Window(offset, cpu, offset + CHANGE_BYTES + size), begin, at, opens=True))
        return spans

    def _read_walking(self, held: _Held, kernel: Kernel) -> Iterator[Record | Damage | Loss]:
        """The same as `_read_block`, by the kernel, which walks from record to record."""
        spans = self._spans(held)
        base = held.at
        for span in spans:
            if span.opens:
                self._processors.setdefault(span.window.cpu, _Processor()).opened = True
                self._order.opens(span.window.cpu)
                self.records += 1
            self._window, end = span.window, base + 4 * span.end
            held.at = yield from self._read_span(kernel, held, base + 4 * span.begin, end)
            if held.at < end:
                break
        self._block_bytes = min(BLOCK, 2 * self._block_bytes)

    def _read_span(
        self, kernel: Kernel, held: _Held, at: int, end: int
    ) -> Generator[Record | Damage | Loss, None, int]:
        """What the records of the window's processor tell from one place up to another; returns how far they go."""
        cpu, told, count = self._window.cpu if self._window else 0, bytearray(_MOST_TOLD * _TOLD.size), _MOST_TOLD
        while count == _MOST_TOLD and at < end:
            processor = self._processors.setdefault(cpu, _Processor())
            known = processor.packed()
            count, records, words, timed = kernel.span(held.data, at, end, classes(), self._ports, known, told)
            stamp = at + 4 * timed
            if processor.opened and timed < words:
                processor.opened = False
                if int.from_bytes(held.data[stamp + 4 : stamp + 12], "little") < (processor.tsc or 0):
                    yield from self._read_span(kernel, held, at, stamp)
                    yield from self._order.all()
                    self._processors, at, count = {}, stamp, _MOST_TOLD  # another recording begins
                    continue
            for start, number, *then in _TOLD.iter_unpack(told[: count * _TOLD.size]):
                tsc, runs, _ = _unpacked(*then)
                found = self._tell(held, at + 4 * start, self.records + number + 1, tsc, runs)
                if isinstance(found, Damage):
                    yield found
                else:
                    self._order.hold(found, tsc)
            processor.tsc, processor.running, processor.scheduled = _unpacked(*_PROCESSOR.unpack(known))
            self._order.latest = max(self._order.latest, -1 if processor.tsc is None else processor.tsc)
            self.records += records
            at += 4 * words
        return at

    def _read_block(self, held: _Held) -> Iterator[Record | Damage | Loss]:
        """Read as many records as follow one another; `held.at` is behind them then."""
        import numpy as np

        spans = self._spans(held)
        opened = {span.begin - 3 for span in spans if span.opens}
        ends = np.array([span.end for span in spans], dtype=np.int32)
        words = np.frombuffer(held.data, "<u4", ends.item(-1), held.at)
        starts, stop = chain(words, np.repeat(ends, np.diff(ends, prepend=0)))
        changes = starts[words[starts] & 0xFFFFFFF == CPU_CHANGE]
        if early := set(changes.tolist()) - opened:
            stop = min(early)
            starts = starts[starts < stop]
        spans = [span for span in spans if span.begin - 3 * span.opens < stop]
        block = find(words, starts)
        yield from self._read_spans(block, spans, held)
        self._window = spans[-1].window
        self._block_bytes = min(BLOCK, 2 * self._block_bytes)
        self.records += len(starts)
        held.at += 4 * stop

    def _read_spans(self, block: Block, spans: list[_Span], held: _Held) -> Iterator[Record | Damage | Loss]:
        """Read what is told in each window."""
        bounds = block.starts.searchsorted([at for span in spans for at in (span.begin, span.end)]).tolist()
        for span, first, last in zip(spans, bounds[::2], bounds[1::2], strict=True):
            processor = self._processors.setdefault(span.window.cpu, _Processor())
            if span.opens:
                processor.opened = True
                self._order.opens(span.window.cpu)
            begin, stamp = first, block.first(block.timed, first, last)
            if stamp is not None and processor.opened:
                processor.opened = False
                if block.tsc(stamp) < (processor.tsc or 0):  # another recording begins
                    yield from self._read_records(block, first, stamp, processor, held)
                    yield from self._order.all()
                    self._processors = {span.window.cpu: (processor := _Processor())}
                    begin = stamp
            yield from self._read_records(block, begin, last, processor, held)

    def _read_records(
        self, block: Block, first: int, last: int, processor: _Processor, held: _Held
    ) -> Iterator[Damage]:
        """Read what is told by the records of a processor from one index up to another, and what is known behind."""
        begin, end = block.told.searchsorted((first, last))
        for index in block.told[begin:end].tolist():
            tsc, runs = _known(block, first, index, processor)
            found = self._tell(held, held.at + 4 * block.starts.item(index), self.records + index + 1, tsc, runs)
            if isinstance(found, Damage):
                yield found
            else:
                self._order.hold(found, tsc)
        processor.tsc, processor.running = _known(block, first, last - 1, processor)
        processor.scheduled = processor.scheduled or block.last(block.switches, first, last - 1) is not None
        self._order.latest = max(self._order.latest, -1 if processor.tsc is None else processor.tsc)

    def _tell(
        self, held: _Held, begin: int, number: int, tsc: int | None, runs: int | None
    ) -> Record | Damage | Loss:
        """What one record says; `begin` is where it lies in what is held."""
        (head,) = _WORD.unpack_from(held.data, begin)
        event, length = head & 0xFFFFFFF, bytes_of(head)
        payload = list(unpack_from(f"<{head >> 28 & 7}I", held.data, begin + 4 + 8 * (head >> 31)))
        offset = held.base + begin
        if event == LOST:
            count = str(payload[0]) if payload else "an unknown number of"
            return Loss(self._source, offset, length, number, f"{count} records are missing here")
        direction = READ if event in (PORT_READ, OLD_READ) else WRITE
        size = None
        if event in (OLD_READ, OLD_WRITE):
            if len(payload) > 2:  # the domain in the lower, the vCPU in the upper 16 bits
                runs, payload = (payload[0] & 0xFFFF) << 16 | payload[0] >> 16, payload[1:]
            if 2 <= len(payload) <= 3:
                size = payload.pop(1)
        if not 1 <= len(payload) <= 2 or payload[0] > 0xFFFF:
            return Damage(self._source, offset, length, number, "expected a port and its value, found something else")
        told = len(payload) == 2
        domain, cpu_index = (None, None) if runs is None or runs >> 16 >= RESERVED_DOMAIN else divmod(runs, 1 << 16)
        values = {"dir": direction, "addr": payload[0], "size": size, "val": payload[1] if told else None,
                  "count": 1 if told else None, "cpu_index": cpu_index}
        time_ns = None if tsc is None else tsc * 10**9 // self._hz
        dated = time_ns is not None and time_ns < 1 << 63
        return Record(self._source, offset, length, number, PORT_ACCESS, values, held.data[begin : begin + length],
                      time_ns if dated else None, TSC if dated else None, domain=domain)

    # -- damage

    def _between(self, held: _Held) -> Damage:
        """Go to where a window begins, or to the end."""
        begin = held.offset
        held.at += 1
        while True:
            held.reach(CHANGE_BYTES)
            if (at := held.data.find(_MARK, held.at)) >= 0:
                held.at = at
                if held.reach(CHANGE_BYTES) and held.change():
                    break
                held.at += 1
            else:
                held.at = max(held.at, len(held.data) - len(_MARK) + 1)
                if not held.reach(len(_MARK)):
                    held.at = len(held.data)
                    break
        self._window = None
        self.records += 1
        return Damage(self._source, begin, held.offset - begin, self.records,
                      "expected the record that opens a processor's window, found none")

    def _damage(self, held: _Held, window: _Window) -> Damage:
        """Go to where records of the window begin again, to its end, or to where another window begins in it."""
        begin = held.offset
        if held.reach(CHANGE_BYTES) and held.change():
            self._window = None
            found, size = (at - window.offset - CHANGE_BYTES for at in (begin, window.end))
            return Damage(self._source, window.offset, CHANGE_BYTES, self.records,
                          f"expected a window of {size} bytes, found {found}: another begins there")
        reason = "expected a record, found none"
        if not held.reach(4) or (is_head(word := held.word()) and not held.reach(bytes_of(word))):
            reason = "broken off in the middle of a record"
            held.at = len(held.data)
        else:
            held.at += 4
            while held.offset < window.end and not _resumes(held, window):
                pass
        if held.offset >= window.end or not held.reach(1) or held.change():
            self._window = None
        self.records += 1
        return Damage(self._source, begin, held.offset - begin, self.records, reason)


def _known(block: Block, first: int, index: int, processor: _Processor) -> tuple[int | None, int | None]:
    """The time, and what runs, at a record: by the records from `first` up to it, else by those before."""
    stamp, state = block.last(block.timed, first, index), block.last(block.running, first, index)
    tsc = processor.tsc if stamp is None else block.tsc(stamp)
    if state is None:
        return tsc, processor.running
    scheduled = processor.scheduled or block.last(block.switches, first, state) is not None
    return tsc, _running(block, state, scheduled=scheduled)


def _running(block: Block, index: int, *, scheduled: bool) -> int | None:
    """What runs on the processor after this record: the domain, and in the lower 16 bits the vCPU.

    A record of lost ones names what runs when it is written; without scheduling records, that soon is no longer so.
    """
    event, payload = block.heads.item(index) & 0xFFFFFFF, block.payload(index)
    if event == LOST:
        if not scheduled or len(payload) < 2:
            return None
        return (payload[1] & 0xFFFF) << 16 | payload[1] >> 16
    return payload[0] if payload and (event == CONTINUES or event & 0xF0 == 0) else None


def _begins(held: _Held, window: _Window) -> bool:
    """Whether a whole record of the window begins here."""
    if not held.reach(4) or not is_head(word := held.word()) or word & 0xFFFFFFF == CPU_CHANGE:
        return False
    length = bytes_of(word)
    return held.offset + length <= window.end and held.reach(length)


def _follow(held: _Held, end: int) -> bool:
    """Whether records follow one another from here on, for a while or to the end, that of the bytes or the window's."""
    data, at = held.data, held.at
    for _ in range(SURE):
        if at == end or at + 4 > len(data):
            return True
        (word,) = _WORD.unpack_from(data, at)
        if not is_head(word):
            return False
        if word & 0xFFFFFFF == CPU_CHANGE:
            return _change(data, at) is not None
        at += bytes_of(word)
        if at > end:
            return False
    return True


def _resumes(held: _Held, window: _Window) -> bool:
    """Whether records begin again here; goes on to the next place where one may if not, or to the window's end."""
    held.reach(SURE * LONGEST_RECORD)
    end = window.end - held.base
    if held.left >= 4 and _follow(held, end):
        return True
    at = held.at + 4
    while (found := _SIGN.search(held.data, at)) and (found.start() - held.at) % 4:
        at = held.at + (found.start() - held.at + 3) // 4 * 4
    beyond = found.start() if found else held.at + max(4, (held.left - 3) // 4 * 4)
    held.at = min(beyond, end, len(held.data))
    return not held.reach(1)


class _Order:
    """Holds records until nothing earlier can come any more, and hands them on in the order of time.

    The tool asks the processors one after the other, round by round. What it reads in a round was written after the
    round before it began, and so after all that was read in the last round but one: when a round begins, everything up
    to there is in order. A processor that says nothing was asked none the less, and holds nobody up.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Record | Loss]] = []
        self._serial = 0
        self._cpu, self._sure, self._before = -1, -1, -1
        self.latest = -1
        """The latest time stamp of all processors."""

    def opens(self, cpu: int) -> None:
        """A window of this processor begins, and with it a round, unless its number is higher than the last one's."""
        if cpu <= self._cpu:
            self._sure, self._before = self._before, self.latest
        self._cpu = cpu

    def hold(self, record: Record | Loss, tsc: int | None) -> None:
        """Take one record; one without a time waits for nobody."""
        self._serial += 1
        heappush(self._waiting, (-1 if tsc is None else tsc, self._serial, record))

    def release(self) -> Iterator[Record | Loss]:
        """Hand on what is in order, and what is too much to be held."""
        waiting = self._waiting
        while waiting and (waiting[0][0] <= self._sure or len(waiting) > MOST_HELD):
            yield heappop(waiting)[2]

    def all(self) -> Iterator[Record | Loss]:
        """Hand on everything: a recording is at its end."""
        while self._waiting:
            yield heappop(self._waiting)[2]
        self._cpu, self._sure, self._before, self.latest = -1, -1, -1, -1


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a recording: windows that follow one another, from the first byte on.

    A recording that has lost its beginning has some further on.
    """
    if (first := _change(head, 0)) is not None:
        word = _WORD.unpack_from(head, CHANGE_BYTES)[0] if len(head) >= CHANGE_BYTES + 4 else _WORD.unpack(_MARK)[0]
        return 95 if first[1] == 0 or is_head(word) else 0
    at = head.find(_MARK)
    while at >= 0:
        follows, windows = at, 0
        while windows < 2 and (change := _change(head, follows)):
            follows, windows = follows + CHANGE_BYTES + change[1], windows + 1
        if windows == 2:
            return 60
        at = head.find(_MARK, at + 1)
    return 0


DISSECTOR = Dissector(
    "xentrace", "Xen's own trace, as xentrace writes it: accesses to ports",
    bytes.fromhex("03f001200000000024000000021108b0e36b261ab70000007b0000004efa0181ffffffff162208201200000003000000"),
    sniff, stream=XenTrace, vantage="host",
)
