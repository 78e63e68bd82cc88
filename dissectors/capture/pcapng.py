r"""Captures as pcapng, written and read: an interface for each VM, boot and clock, comments for findings.

Law: draft-ietf-opsawg-pcapng (section header, interface description, enhanced, simple and obsolete packet block,
interface statistics, options); `dissectors.capture.header` for what is in a packet. Every block tells its length
twice. A section begins, in little endian order, by which it is told that it is one::

    0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000

Times are nanoseconds as the clock told them, whatever it is: those of a clock that has no dates are none here either,
and the pseudo-header, like the interface's description, names the clock. An entry without a time has time 0, and says
so in its head. Packets stand in the order of the recording, which need not be that of time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import IO, Final, NamedTuple

from dissectors import Dissector, Given
from dissectors.capture import packets
from dissectors.capture.header import LINKTYPE
from dissectors.held import Held
from dissectors.record import Damage, Loss, Record

SECTION, INTERFACE, OLD_PACKET, SIMPLE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
"""Types of blocks; that of a section reads the same in both orders."""
END, COMMENT = 0, 1
HARDWARE, SYSTEM, APPLICATION = 2, 3, 4
"""Options: of every block, of a section."""
NAME, DESCRIPTION, RESOLUTION, TIME_OFFSET = 2, 3, 9, 14
"""Options of an interface."""
INTERFACE_DROPS, DROPS = (5, 7), 4
"""Options that tell of packets that are missing: of statistics (by the interface, by the system), of a packet."""
NANOSECONDS, MICROSECONDS = 9, 6
"""Resolutions, as powers of ten."""
LONGEST_BLOCK: Final = 1 << 24
_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_MARK: Final = SECTION.to_bytes(4, "little")
_OUTSIDE: Final = 12
"""Bytes of a block that are not its body."""
_LONGEST_OPTION: Final = 0xFFFF
_DOUBTFUL: Final = 50
"""Percent, where the head of a source ends before it has told of an interface."""


# -- writing


class Interface(NamedTuple):
    """What packets were captured on: here a VM in one boot, as one clock tells of it."""

    name: str
    description: str


def option(code: int, value: bytes) -> bytes:
    """One option, filled up to four bytes."""
    value = value[:_LONGEST_OPTION]
    return Struct("<HH").pack(code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes) -> bytes:
    """One block around a body whose length is a multiple of four."""
    length = Struct("<I").pack(len(body) + _OUTSIDE)
    return Struct("<I").pack(kind) + length + body + length


class Writer:
    """Writes one section: packets of the same link type, in the order in which they are given."""

    def __init__(self, file: IO[bytes], application: str, comments: Sequence[str] = ()) -> None:
        """Begin the section; `comments` are those on the whole of it."""
        self._file = file
        self._interfaces: dict[Interface, int] = {}
        options = b"".join(option(COMMENT, _text(one)) for one in comments)
        options += option(APPLICATION, _text(application)) + option(END, b"")
        file.write(block(SECTION, Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1) + options))

    def write(self, interface: Interface, time_ns: int | None, packet: bytes, comments: Sequence[str] = ()) -> None:
        """One packet; the interface is described before its first one."""
        number = self._interfaces.get(interface)
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            options = option(NAME, _text(interface.name)) + option(DESCRIPTION, _text(interface.description))
            options += option(RESOLUTION, bytes((NANOSECONDS,))) + option(END, b"")
            self._file.write(block(INTERFACE, Struct("<HHI").pack(LINKTYPE, 0, 0) + options))
        time_ns = time_ns or 0
        body = Struct("<IIIII").pack(number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(packet), len(packet))
        body += packet + bytes(-len(packet) % 4)
        if comments:
            body += b"".join(option(COMMENT, _text(one)) for one in comments) + option(END, b"")
        self._file.write(block(PACKET, body))


def _text(text: str) -> bytes:
    """UTF-8 of at most as many bytes as an option holds, cut between characters."""
    return text.encode("utf-8", "backslashreplace")[:_LONGEST_OPTION].decode("utf-8", "ignore").encode()


# -- reading


@dataclass(frozen=True, slots=True)
class _Described:
    """What a section has told of an interface."""

    link: int
    units: int
    """Of time, in a second."""
    offset: int
    """Seconds to add to every time."""


def _options(order: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, value) of every option, up to the end or to one that is not whole."""
    at, head = 0, Struct(f"{order}HH")
    while at + head.size <= len(data):
        code, length = head.unpack_from(data, at)
        at += head.size
        if code == END or at + length > len(data):
            return
        yield code, data[at : at + length]
        at += length + -length % 4


def _units(resolution: int) -> int:
    return 1 << (resolution & 0x7F) if resolution & 0x80 else 10 ** (resolution & 0x7F)


class PcapNg:
    """Reads one source: a section, or several one after the other. `Record.line` is the packet's number."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._order = "<"
        self._interfaces: list[_Described] = []
        self.records = 0
        """How many packets it has met, those of other link types among them."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the packets say, in the order of the file."""
        held = Held(chunks)
        while held.reach(1):
            length = self._length(held)
            if length is None:
                yield self._damage(held)
                continue
            kind, offset = self._kind(held), held.offset
            raw = held.data[held.at : held.at + length]
            held.at += length
            yield from self._block(kind, offset, raw)

    def _kind(self, held: Held) -> int:
        return int(Struct(f"{self._order}I").unpack_from(held.data, held.at)[0])

    def _length(self, held: Held) -> int | None:
        """The length of the block here, None where there is no whole one; the order is that of the last section."""
        if not held.reach(_OUTSIDE):
            return None
        order = self._order
        if held.data[held.at : held.at + 4] == _MARK:
            found = _ORDERS.get(held.data[held.at + 8 : held.at + 12])
            if found is None:
                return None
            order = found
        word = Struct(f"{order}I")
        length = int(word.unpack_from(held.data, held.at + 4)[0])
        if length % 4 or not _OUTSIDE <= length <= LONGEST_BLOCK or not held.reach(length):
            return None
        if word.unpack_from(held.data, held.at + length - 4)[0] != length:
            return None
        self._order = order
        return length

    def _damage(self, held: Held) -> Damage:
        """Go to where a block begins again, or to the end."""
        begin = held.offset
        self.records += 1
        reason = "expected a block, whose length is told before and behind it" if held.reach(_OUTSIDE) else (
            "broken off in the middle of a block")
        held.at += 1
        while held.reach(_OUTSIDE):
            sign = _sign(self._order).search(held.data, held.at)
            held.at = sign.start() if sign else len(held.data) - _OUTSIDE + 1
            if sign and self._length(held) is not None:
                break
            held.at += bool(sign)
        else:
            held.at = len(held.data)
        return Damage(self._source, begin, held.offset - begin, self.records, reason)

    def _block(self, kind: int, offset: int, raw: bytes) -> Iterator[Record | Damage | Loss]:
        body = raw[8:-4]
        if kind == SECTION:
            self._interfaces = []
        elif kind == INTERFACE and len(body) >= 8:
            self._interfaces.append(self._described(body))
        elif kind == STATISTICS and len(body) >= 12:
            counts = {code: value for code, value in _options(self._order, body[12:]) if len(value) == 8}
            missing = max((self._number(counts[code]) for code in INTERFACE_DROPS if code in counts), default=0)
            if missing and self._ours(self._word(body)):
                yield Loss(self._source, offset, len(raw), self.records, f"{missing} packets are missing")
        elif kind in (PACKET, OLD_PACKET, SIMPLE):
            self.records += 1
            yield from self._packet(kind, offset, raw, body)

    def _word(self, body: bytes, at: int = 0) -> int:
        return int(Struct(f"{self._order}I").unpack_from(body, at)[0])

    def _number(self, value: bytes) -> int:
        return int.from_bytes(value, "little" if self._order == "<" else "big")

    def _described(self, body: bytes) -> _Described:
        told = dict(_options(self._order, body[8:]))
        resolution = told.get(RESOLUTION, b"")[:1] or bytes((MICROSECONDS,))
        seconds = told.get(TIME_OFFSET, b"")
        shift = int.from_bytes(seconds, "little" if self._order == "<" else "big", signed=True)
        link = int(Struct(f"{self._order}H").unpack_from(body)[0])
        return _Described(link, _units(resolution[0]), shift if len(seconds) == 8 else 0)

    def _ours(self, interface: int) -> bool:
        return interface < len(self._interfaces) and self._interfaces[interface].link == LINKTYPE

    def _packet(self, kind: int, offset: int, raw: bytes, body: bytes) -> Iterator[Record | Damage | Loss]:
        head = Struct(f"{self._order}{'I' if kind == SIMPLE else 'IIIII' if kind == PACKET else 'HHIIII'}")
        if len(body) < head.size:
            yield Damage(self._source, offset, len(raw), self.records, "a packet's block is too short for its head")
            return
        values = head.unpack_from(body)
        interface, drops, time_ns = 0, 0, None
        size = min(values[0], len(body) - head.size) if kind == SIMPLE else values[-2]
        if kind == PACKET:
            interface = values[0]
        elif kind == OLD_PACKET:
            interface, drops = values[0], values[1] % 0xFFFF  # all ones: nobody knows
        if interface >= len(self._interfaces):
            reason = f"a packet of interface {interface}, of which nothing was said"
            yield Damage(self._source, offset, len(raw), self.records, reason)
            return
        described = self._interfaces[interface]
        if described.link != LINKTYPE:
            return
        if head.size + size > len(body):
            reason = f"a packet of {size} bytes in a block of {len(raw)}"
            yield Damage(self._source, offset, len(raw), self.records, reason)
            return
        if kind != SIMPLE:
            ticks = values[-4] << 32 | values[-3]
            time_ns = ticks * 10**9 // described.units + described.offset * 10**9
        for code, value in _options(self._order, body[head.size + size + -size % 4 :]) if kind == PACKET else ():
            if code == DROPS and len(value) == 8:
                drops = self._number(value)
        if drops:
            yield Loss(self._source, offset, len(raw), self.records, f"{drops} packets are missing before this one")
        packet = body[head.size : head.size + size]
        yield packets.read(self._source, offset, len(raw), self.records, raw, packet, time_ns)


def _sign(order: str) -> re.Pattern[bytes]:
    """What the beginning of a block of interest looks like."""
    word = Struct(f"{order}I")
    kinds = (SECTION, INTERFACE, OLD_PACKET, SIMPLE, STATISTICS, PACKET)
    return re.compile(b"|".join(re.escape(word.pack(kind)) for kind in kinds))


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a capture: it is pcapng, and has an interface of our link type."""
    order = _ORDERS.get(head[8:12])
    if head[:4] != _MARK or order is None:
        return 0
    at, word, others = 0, Struct(f"{order}II"), False
    while at + _OUTSIDE <= len(head):
        kind, length = word.unpack_from(head, at)
        if length < _OUTSIDE or length % 4:
            return 0
        if kind == INTERFACE:
            if Struct(f"{order}H").unpack_from(head, at + 8)[0] == LINKTYPE:
                return 100
            others = True
        at += length
    return 0 if others else _DOUBTFUL


DISSECTOR = Dissector(
    "pcapng", "recorded traffic in pcapng, as xptrace export --to pcapng writes it",
    block(SECTION, Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1)) + block(INTERFACE, Struct("<HHI").pack(LINKTYPE, 0, 0)),
    sniff, stream=PcapNg,
)
