r"""Captures as plain pcap, written with nanoseconds and read with either resolution.

Law: draft-ietf-opsawg-pcap; `dissectors.capture.header` for what is in a packet, which is complete in itself. A file
begins, in little endian order and with nanoseconds, with link type 147::

    4d3cb2a1 0200 0400 00000000 00000000 00000400 93000000

What this format cannot hold: the interfaces, which only say once more what is in each packet; the comments, and so the
findings; and times of 2**32 seconds or more, by whatever clock (dates after 2106-02-07T06:28:15Z).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import IO, Final

from dissectors import Dissector, Given
from dissectors.capture import packets
from dissectors.capture.header import LINKTYPE, HeaderError
from dissectors.held import Held
from dissectors.record import Damage, Loss, Record

MAGIC_NS, MAGIC_US = 0xA1B23C4D, 0xA1B2C3D4
LONGEST_PACKET: Final = 262_144
"""What readers take at most, Wireshark among them."""
_FILE, _PACKET = "IHHiIII", "IIII"
FILE_BYTES, PACKET_BYTES = Struct("<" + _FILE).size, Struct("<" + _PACKET).size
_LINK_BITS: Final = 0x0FFFFFFF
"""The bits above tell of frame check sequences."""
_ORDERS: Final = {
    magic.to_bytes(4, "little" if order == "<" else "big"): (order, unit_ns)
    for magic, unit_ns in ((MAGIC_NS, 1), (MAGIC_US, 1000)) for order in "<>"
}  # fmt: skip
_SIGN: Final = re.compile(rb"(?s).{8}(.{4})\1\x01[\0-\2]")
"""What the head of one of our packets looks like: both lengths are the same, and a pseudo-header follows."""
_SIGN_BYTES: Final = 18


class Writer:
    """Writes one file of packets, in the order in which they are given."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.write(Struct("<" + _FILE).pack(MAGIC_NS, 2, 4, 0, 0, LONGEST_PACKET, LINKTYPE))

    def write(self, time_ns: int | None, packet: bytes) -> None:
        """One packet; raises HeaderError where the format cannot hold its time."""
        seconds, rest = divmod(time_ns or 0, 10**9)
        if seconds >> 32:
            raise HeaderError(f"plain pcap holds no time of {seconds} seconds: pcapng does")
        self._file.write(Struct("<" + _PACKET).pack(seconds, rest, len(packet), len(packet)) + packet)


class Pcap:
    """Reads one source. `Record.line` is the packet's number."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self.records = 0
        """How many packets it has met."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the packets say, in the order of the file."""
        held = Held(chunks)
        if not held.reach(FILE_BYTES) or (found := _ORDERS.get(held.data[:4])) is None:
            held.reach(FILE_BYTES)
            yield Damage(self._source, 0, held.left, 1, "expected the header of a pcap file")
            return
        order, unit_ns = found
        held.at = FILE_BYTES
        head = Struct(order + _PACKET)
        while held.reach(1):
            size = _size(held, head)
            self.records += 1
            if size is None:
                yield self._damage(held, head)
                continue
            offset, raw = held.offset, held.data[held.at : held.at + PACKET_BYTES + size]
            held.at += len(raw)
            seconds, rest, _, _ = head.unpack_from(raw)
            time_ns = seconds * 10**9 + rest * unit_ns
            yield packets.read(self._source, offset, len(raw), self.records, raw, raw[PACKET_BYTES:], time_ns)

    def _damage(self, held: Held, head: Struct) -> Damage:
        """Go to where one of our packets begins again, or to the end."""
        begin = held.offset
        broken = not held.reach(PACKET_BYTES) or head.unpack_from(held.data, held.at)[2] <= LONGEST_PACKET
        reason = "broken off in the middle of a packet" if broken else "expected a packet of a length that there can be"
        held.at += 1
        while held.reach(_SIGN_BYTES):
            sign = _SIGN.search(held.data, held.at)
            held.at = sign.start() if sign else len(held.data) - _SIGN_BYTES + 1
            if sign and _size(held, head) is not None:
                break
            held.at += bool(sign)
        else:
            held.at = len(held.data)
        return Damage(self._source, begin, held.offset - begin, self.records, reason)


def _size(held: Held, head: Struct) -> int | None:
    """The size of the packet here, None where there is no whole one."""
    if not held.reach(PACKET_BYTES):
        return None
    size = int(head.unpack_from(held.data, held.at)[2])
    return size if size <= LONGEST_PACKET and held.reach(PACKET_BYTES + size) else None


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a capture: it is pcap of our link type."""
    if len(head) < FILE_BYTES or (found := _ORDERS.get(head[:4])) is None:
        return 0
    link = Struct(found[0] + _FILE).unpack_from(head)[6] & _LINK_BITS
    return 100 if link == LINKTYPE else 0


DISSECTOR = Dissector(
    "pcap", "recorded traffic in plain pcap, as xptrace export --to pcap writes it",
    Struct("<" + _FILE).pack(MAGIC_NS, 2, 4, 0, 0, LONGEST_PACKET, LINKTYPE), sniff, stream=Pcap,
)
