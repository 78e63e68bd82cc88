r"""Write a synthetic QEMU text log of any size: the same bytes for the same arguments, in constant memory.

Law: the formats and the order of the events of hw/xen/xen-hvm-common.c, system/ioport.c and system/memory.c as QEMU 10
wrote them on Xen with all events switched on. One guest access is six lines there, or five hundred for a string
instruction::

  213@1795406729.218785:handle_ioreq I/O=0x7ffe99f05c20 type=0 dir=0 df=0 ptr=0 port=0x12 data=0x3 count=1 size=2
  213@1795406729.219011:handle_ioreq_write I/O=0x7ffe99f05c20 write type=0 df=0 ptr=0 port=0x12 data=0x3 count=1 size=2
  213@1795406729.219145:cpu_ioreq_pio I/O=0x7ffe99f05c20 pio dir=0 df=0 ptr=0 port=0x12 data=0x3 count=1 size=2
  213@1795406729.219361:cpu_ioreq_pio_write_reg I/O=0x7ffe99f05c20 pio write reg data=0x3 port=0x12 size=2
  213@1795406729.220146:cpu_out addr 0x12(w) value 3
  213@1795406729.220501:memory_region_ops_write cpu -1 mr 0x564a5d8637e0 addr 0x12 value 0x3 size 2 name 'xen-fixed'

`sparse`: one line in a thousand is the Xen platform device's, the others a disk's, a serial port's and their like.
`mixed`: the same with reads of other functions' PCI config space, as at boot; these look like the device's at first.
`dense`: every line is the device's: negotiations, log bytes, reads.

A block of some MB is made line by line; after that it comes again and again, with times that go on.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Final, Literal, get_args

Kind = Literal["sparse", "mixed", "dense"]
Timestamps = Literal["none", "pid", "iso"]

MEGABYTE: Final = 10**6

_SHARE: Final = 1000  # one line in so many is the device's
_BLOCK_BYTES: Final = 8 * MEGABYTE
_PROCESS: Final = 213
_START: Final = int(datetime(2026, 11, 23, 4, 5, 29, tzinfo=UTC).timestamp())
_SECOND_US: Final = 10**6
_LONGEST_GAP_US: Final = 100 + 255

_REQUEST: Final = "I/O=0x7ffe99f05c20"
_WIDTHS: Final = {1: "b", 2: "w", 4: "l"}

_OTHERS: Final = (
    # name, memory region, port, size, weight
    ("ide", "0x564a5d6f6cd0", 0x1F7, 1, 12),
    ("ide", "0x564a5d717df0", 0x3F6, 1, 4),
    ("port92", "0x564a5cf934b0", 0x92, 1, 8),
    ("serial", "0x564a5cff3e40", 0x3F9, 1, 4),
    ("i8042-cmd", "0x564a5d0b2a10", 0x64, 1, 2),
    ("rtc", "0x564a5d10c560", 0x71, 1, 1),
    ("acpi-pci-hotplug", "0x564a5d2294f0", 0xAE08, 4, 1),
)
_FIXED: Final = ("xen-fixed", "0x564a5d8637e0")
_WORDS: Final = ("disk", "ring", "event", "store", "attach", "channel", "resume", "queue", "closing", "ready")

Lines = list[str]
"""The lines of one access, without what stands before each event."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` wrote: bytes, lines, and how many of the lines are the Xen platform device's."""

    size_bytes: int
    lines: int
    ours: int


# -- one access


def _write(name: str, region: str, port: int, size: int, value: int) -> Lines:
    request = f"df=0 ptr=0 port={port:#x} data={value:#x} count=1 size={size}"
    return [
        f"handle_ioreq {_REQUEST} type=0 dir=0 {request}",
        f"handle_ioreq_write {_REQUEST} write type=0 {request}",
        f"cpu_ioreq_pio {_REQUEST} pio dir=0 {request}",
        f"cpu_ioreq_pio_write_reg {_REQUEST} pio write reg data={value:#x} port={port:#x} size={size}",
        f"cpu_out addr {port:#x}({_WIDTHS[size]}) value {value}",
        f"memory_region_ops_write cpu -1 mr {region} addr {port:#x} value {value:#x} size {size} name '{name}'",
    ]


def _read(name: str, region: str, port: int, size: int, value: int, *, stale: int = 0) -> Lines:
    """One read; `stale` is what the request page still held, as the first two lines show it."""
    request = f"df=0 ptr=0 port={port:#x} data={stale:#x} count=1 size={size}"
    return [
        f"handle_ioreq {_REQUEST} type=0 dir=1 {request}",
        f"cpu_ioreq_pio {_REQUEST} pio dir=1 {request}",
        f"memory_region_ops_read cpu -1 mr {region} addr {port:#x} value {value:#x} size {size} name '{name}'",
        f"cpu_in addr {port:#x}({_WIDTHS[size]}) value {value}",
        f"cpu_ioreq_pio_read_reg {_REQUEST} pio read reg data={value:#x} port={port:#x} size={size}",
        f"handle_ioreq_read {_REQUEST} read type=0 df=0 ptr=0 port={port:#x} data={value:#x} count=1 size={size}",
    ]


def _sector(chance: random.Random) -> Lines:
    """A disk sector read with one string instruction: 256 words, one request."""
    request = f"df=0 ptr=1 port=0x1f0 data={chance.getrandbits(28):#x} count=256 size=2"
    lines = [f"handle_ioreq {_REQUEST} type=0 dir=1 {request}", f"cpu_ioreq_pio {_REQUEST} pio dir=1 {request}"]
    for _ in range(256):
        value = chance.getrandbits(16)
        lines.append(f"memory_region_ops_read cpu -1 mr 0x564a5d6f6cd0 addr 0x1f0 value {value:#x} size 2 name 'ide'")
        lines.append(f"cpu_in addr 0x1f0(w) value {value}")
    lines.append(f"handle_ioreq_read {_REQUEST} read type=0 {request}")
    return lines


def _config(chance: random.Random) -> Lines:
    """A read of another function's PCI config space: the address register, then a request of its own type."""
    slot, offset = chance.choice((1, 2, 4)), 4 * chance.randrange(16)
    value = chance.getrandbits(32)
    where = f"port={slot << 35 | offset:#x}"
    return [
        *_write("pci-conf-idx", "0x564a5d03ddc0", 0xCF8, 4, 1 << 31 | slot << 11 | offset),
        f"handle_ioreq {_REQUEST} type=2 dir=1 df=0 ptr=0 {where} data=0x0 count=1 size=4",
        f"cpu_ioreq_config_read {_REQUEST} sbdf={slot << 3:#x} reg={offset} size=4 data={value:#x}",
        f"handle_ioreq_read {_REQUEST} read type=2 df=0 ptr=0 {where} data={value:#x} count=1 size=4",
    ]


# -- what a guest does


def _others(chance: random.Random, kind: Kind) -> Iterator[Lines]:
    """Accesses to other devices, without end."""
    weights = [weight for *_, weight in _OTHERS]
    while True:
        draw = chance.random()
        if draw < 0.05:
            yield _sector(chance)
        elif draw < 0.25 and kind == "mixed":
            yield _config(chance)
        else:
            name, region, port, size, _ = chance.choices(_OTHERS, weights)[0]
            access = _read if chance.random() < 0.8 else _write
            yield access(name, region, port, size, chance.getrandbits(8 * size))


def _boot(chance: random.Random, number: int) -> Iterator[Lines]:
    """Accesses to the Xen platform device: a negotiation, text to the log port, reads."""
    yield _read(*_FIXED, 0x10, 2, 0x49D2, stale=chance.getrandbits(8))
    yield _read(*_FIXED, 0x12, 1, 1)
    yield _write(*_FIXED, 0x12, 2, 3)
    yield _write(*_FIXED, 0x10, 4, chance.randrange(1, 0x100))
    yield _read(*_FIXED, 0x10, 2, 0x49D2)
    yield _write(*_FIXED, 0x10, 2, chance.choice((1, 2, 3, 7)))
    for _ in range(chance.randrange(2, 6)):
        text = f"xenbus|step {number}: {' '.join(chance.choices(_WORDS, k=chance.randrange(2, 6)))}"
        for character in text:
            yield _write(*_FIXED, 0x12, 1, ord(character))
        yield [*_write(*_FIXED, 0x12, 1, ord("\n")), f"xen_platform_log xen platform: {text}"]
    for _ in range(chance.randrange(4, 16)):
        yield _read(*_FIXED, 0x10, 1, 0, stale=chance.getrandbits(8))


def _ours(chance: random.Random) -> Iterator[Lines]:
    """Accesses to the Xen platform device, boot after boot, without end."""
    for number in count():
        yield from _boot(chance, number)


def accesses(kind: Kind, seed: int = 0) -> Iterator[Lines]:
    """What a guest does, access by access, without end."""
    ours = _ours(random.Random(seed))
    if kind == "dense":
        yield from ours
    lines = mine = 0
    for access in _others(random.Random(seed), kind):
        yield access
        lines += len(access)
        if mine * _SHARE <= lines:
            yield (own := next(ours))
            mine += len(own)
            lines += len(own)


def _whole_boots(chance: random.Random, least_bytes: int) -> Iterator[Lines]:
    """Boots of the device until so many bytes are reached: when they come again, none is broken off."""
    size = 0
    for number in count():
        for access in _boot(chance, number):
            size += sum(map(len, access))
            yield access
        if size >= least_bytes:
            return


# -- lines with their times


def _prefix(second: int, micro: int, style: Timestamps) -> str:
    """What stands before the event's name."""
    if style == "none":
        return ""
    if style == "pid":
        return f"{_PROCESS}@{second}.{micro:06d}:"
    return f"{_iso(second)}.{micro:06d}Z " if micro else f"{_iso(second)}Z "  # as GLib prints it


@lru_cache(maxsize=2)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Whole accesses of one second, and when the last of them was."""

    second: int
    micro: int
    text: bytes
    lines: int

    def later(self, seconds: int, style: Timestamps) -> _Piece:
        """The same lines some seconds later."""
        second = self.second + seconds
        before, after = (f"@{one}." if style == "pid" else _iso(one) for one in (self.second, second))
        text = self.text if style == "none" else self.text.replace(before.encode(), after.encode())
        return _Piece(second, self.micro, text, self.lines)


def _pieces(accesses: Iterable[Lines], chance: random.Random, style: Timestamps, most_bytes: int) -> Iterator[_Piece]:
    """Accesses by the second, some hundred microseconds a line, until the bytes are reached or the accesses end."""
    second, micro, size, lines = _START, 0, 0, 0
    texts: list[str] = []
    for access in accesses:
        if texts and micro + len(access) * _LONGEST_GAP_US >= _SECOND_US:  # an access is not cut at a second's end
            yield _Piece(second, micro, "".join(texts).encode(), lines)
            second, micro, lines, texts = second + 1, 0, 0, []
        for line in access:
            micro += 100 + chance.getrandbits(8)
            texts.append(f"{_prefix(second, micro, style)}{line}\n")
            size += len(texts[-1])
        lines += len(access)
        if size >= most_bytes:
            break
    yield _Piece(second, micro, "".join(texts).encode(), lines)


def _again_and_again(block: Iterable[_Piece], style: Timestamps) -> Iterator[_Piece]:
    """A block's pieces, and the same with times that go on, without end."""
    pieces = []
    for piece in block:
        pieces.append(piece)
        yield piece
    duration = pieces[-1].second + 1 - pieces[0].second
    for times in count(1):
        for piece in pieces:
            yield piece.later(times * duration, style)


def batches(
    *, size_bytes: int, kind: Kind = "sparse", seed: int = 0, timestamps: Timestamps = "pid"
) -> Iterator[tuple[bytes, int, int]]:
    """Stretches of the log (bytes, lines, lines of ours) until `size_bytes` are reached or just passed."""
    times = random.Random(seed + 1)  # its own chance: the same accesses with any prefix
    if kind == "dense":
        block, most = _whole_boots(random.Random(seed), _BLOCK_BYTES), size_bytes
    else:
        block, most = _others(random.Random(seed), kind), min(size_bytes, _BLOCK_BYTES)
    device = _ours(random.Random(seed))
    done = lines = mine = 0
    for piece in _again_and_again(_pieces(block, times, timestamps, most), timestamps):
        yield piece.text, piece.lines, piece.lines if kind == "dense" else 0
        done += len(piece.text)
        lines += piece.lines
        micro = piece.micro
        while kind != "dense" and mine * _SHARE <= lines:  # what is due of the device, before the others go on
            access = next(device)
            text = "".join(f"{_prefix(piece.second, micro := micro + 1, timestamps)}{line}\n" for line in access)
            yield text.encode(), len(access), len(access)
            done += len(text)
            lines += len(access)
            mine += len(access)
        if done >= size_bytes:
            return


def write(
    path: Path, *, megabytes: float, kind: Kind = "sparse", seed: int = 0, timestamps: Timestamps = "pid"
) -> Written:
    """Write a log of `megabytes` (millions of bytes; it ends with the access or second that reaches them)."""
    size = lines = mine = 0
    with path.open("wb") as file:
        for text, held, held_ours in batches(size_bytes=round(megabytes * MEGABYTE), kind=kind, seed=seed,
                                             timestamps=timestamps):
            file.write(text)
            size += len(text)
            lines += held
            mine += held_ours
    return Written(size, lines, mine)


def main() -> int:
    """Write one log, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="FILE")
    parser.add_argument("--megabytes", type=float, default=10, metavar="N", help="millions of bytes (10)")
    parser.add_argument("--kind", choices=get_args(Kind), default="sparse")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bytes (0)")
    parser.add_argument("--timestamps", choices=get_args(Timestamps), default="pid",
                        help="what stands before the event: nothing, PID@SECONDS (pid), or an ISO date and time")
    options = parser.parse_args()
    written = write(options.path, megabytes=options.megabytes, kind=options.kind, seed=options.seed,
                    timestamps=options.timestamps)
    print(f"{options.path}: {written.size_bytes} bytes, {written.lines} lines, {written.ours} of the device")
    return 0


if __name__ == "__main__":
    sys.exit(main())
