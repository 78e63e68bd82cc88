"""One block of xentrace's records: where each begins, and which of them are of interest, without a step per record.

Law: xen/include/public/trace.h. The first word of a record says what it is and how long, and so where the next begins.
A read and a write of port 0x10; 0x82016 and 0x82216, of three words each, without a time::

    16200820 10000000 d2490000  16220820 10000000 03000000

Here a block is an array of words, and a record an index. `xentrace` reads a source block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[Any]

LOST: Final = 0x1F001
CPU_CHANGE: Final = 0x1F003
RUNSTATE, RUNSTATE_BITS, CONTINUES = 0x21001, 0xFFFF00F, 0x21002
"""A change of a vCPU's state (the bits hold the old and the new one, 0 is running), and that it goes on running."""
PORT_READ, PORT_WRITE = 0x82016, 0x82216
OLD_READ, OLD_WRITE = 0x82006, 0x82007
"""Of Xen 3.1 and 3.2: the domain and vCPU where told, the port, the size, and the value that some of them tell."""

PORTS: Final = (range(0x0D, 0x20), range(0xCF8, 0xD00), range(0xC000, 0x10000))
"""What is told of: accesses that can touch the fixed ports, PCI configuration, and where firmware puts I/O BARs."""
_CLASSES: Final = (0x001, 0x002, 0x004, 0x008, 0x010, 0x020, 0x040, 0x080, 0x800)
"""General, scheduler, Dom0's operations, HVM, memory, PV, shadow, hardware, guest: bits 16 to 27 of an event."""
_LEVELS: Final = 6
"""Steps of doubling: 64 records are one hop."""


def is_head(word: int) -> bool:
    """Whether a record of a known class can begin with this word."""
    return (word >> 16 & 0xFFF) in _CLASSES and word >> 12 & 0xF != 0


def bytes_of(word: int) -> int:
    """How long the record is that begins with this word."""
    return 4 + 4 * (word >> 28 & 7) + 8 * (word >> 31)


@cache
def classes() -> bytes:
    """A bit for each value of bits 12 to 27 of a word: whether it can begin a record."""
    found = bytearray(1 << 13)
    for one in _CLASSES:  # bits 16 to 27, of which the lower four must not all be zero
        found[2 * one : 2 * one + 2] = b"\xfe\xff"
    return bytes(found)


@cache
def _tables() -> tuple[Words, Words]:
    """Which bits 12 to 27 of a word can begin a record, and how many words it has by the bits 28 to 31."""
    import numpy as np

    known = np.unpackbits(np.frombuffer(classes(), "u1"), bitorder="little").astype(bool)
    return known, np.array([bytes_of(top << 28) // 4 for top in range(1 << 4)], dtype=np.int32)


def chain(words: Words, limits: Words) -> tuple[Words, int]:
    """Where records begin, each behind the one before, and where no further one can: the number of words at the end.

    One may not reach beyond `limits`. A chain is a walk, so it is doubled: where 64 records from anywhere lead to is
    known after six steps over the whole block; then every 64th is walked to, and those between are filled in.
    """
    import numpy as np

    known, sizes = _tables()
    here = np.arange(len(words) + 1, dtype=np.int32)
    after = here[:-1] + sizes[words >> 28]
    jump = here.copy()
    np.copyto(jump[:-1], after, where=known[words >> 12 & 0xFFFF] & (after <= limits))
    jumps = [jump]
    for _ in range(_LEVELS):
        jumps.append(jumps[-1][jumps[-1]])
    far, at, anchors = jumps.pop(), 0, [0]
    while (then := far.item(at)) != at:
        anchors.append(then)
        at = then
    starts = np.array(anchors, dtype=np.int32)
    for jump in reversed(jumps):
        starts = np.stack((starts, jump[starts]), axis=1).ravel()
    starts = starts[np.flatnonzero(np.diff(starts, prepend=-1))]
    return starts[:-1], int(starts[-1])


@dataclass(slots=True)
class Block:
    """The records of a block, by the index of each."""

    words: Words
    starts: Words
    heads: Words
    timed: Words
    """Indices of those that have a time."""
    running: Words
    """Indices of those that tell what runs on the processor, or that nobody knows."""
    switches: Words
    """Those among them that the scheduler wrote."""
    told: Words
    """Indices of those that are handed on: accesses to the ports of interest, and losses."""

    @staticmethod
    def first(indices: Words, begin: int, end: int) -> int | None:
        """The first of some indices from `begin` on and before `end`, if any."""
        at = int(indices.searchsorted(begin))
        return indices.item(at) if at < len(indices) and indices.item(at) < end else None

    @staticmethod
    def last(indices: Words, begin: int, index: int) -> int | None:
        """The last of some indices from `begin` on and up to `index`, if any."""
        at = int(indices.searchsorted(index, "right")) - 1
        return indices.item(at) if at >= 0 and indices.item(at) >= begin else None

    def tsc(self, index: int) -> int:
        """The time stamp of a record that has one."""
        start = self.starts.item(index)
        return int(self.words.item(start + 1) | self.words.item(start + 2) << 32)

    def payload(self, index: int) -> list[int]:
        """The words of a record behind its header and time."""
        start, head = self.starts.item(index), self.heads.item(index)
        begin = start + 1 + 2 * (head >> 31)
        payload: list[int] = self.words[begin : begin + (head >> 28 & 7)].tolist()
        return payload


def find(words: Words, starts: Words) -> Block:
    """Find what is of interest among the records that begin at `starts`."""
    import numpy as np

    heads = words[starts]
    events = heads & 0xFFFFFFF
    states = np.flatnonzero(events & RUNSTATE_BITS == RUNSTATE)
    codes = events[states]
    states = states[(codes & 0xF00 == 0) | (codes & 0x0F0 == 0)]  # that of a vCPU which waits elsewhere says nothing
    switches = np.sort(np.concatenate((states, np.flatnonzero(events == CONTINUES))))
    lost = np.flatnonzero(events == LOST)
    old = (events == OLD_READ) | (events == OLD_WRITE)
    accesses = np.flatnonzero(old | (events & ~np.uint32(PORT_READ ^ PORT_WRITE) == PORT_READ))
    extra = heads[accesses] >> 28 & 7
    place = starts[accesses] + 1 + 2 * (heads[accesses] >> 31) + (old[accesses] & (extra > 2))
    port = np.append(words, 0)[place] if len(accesses) else extra
    ours = extra == 0
    for ports in PORTS:
        ours |= (port >= ports.start) & (port < ports.stop)
    return Block(
        words, starts, heads, np.flatnonzero(heads >> 31), np.sort(np.concatenate((switches, lost))), switches,
        np.sort(np.concatenate((accesses[ours | (port > 0xFFFF)], lost))),
    )  # fmt: skip
