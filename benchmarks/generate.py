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

`sparse`: about one line in a hundred belongs to the Xen platform device, the others to a disk, PCI config space,
a serial port and their like. `dense`: every line is the device's: negotiations, log bytes, reads.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, get_args

Kind = Literal["sparse", "dense"]
Timestamps = Literal["none", "pid", "iso"]

MEGABYTE: Final = 10**6

_SPARSE_SHARE: Final = 100  # one line in so many is the device's
_BATCH_BYTES: Final = 1 << 18
_PROCESS: Final = 213
_START: Final = datetime(2026, 11, 23, 4, 5, 29, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

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


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` wrote: bytes, lines, and how many of the lines are the Xen platform device's."""

    size_bytes: int
    lines: int
    ours: int


def _write(name: str, region: str, port: int, size: int, value: int) -> list[str]:
    request = f"df=0 ptr=0 port={port:#x} data={value:#x} count=1 size={size}"
    return [
        f"handle_ioreq {_REQUEST} type=0 dir=0 {request}",
        f"handle_ioreq_write {_REQUEST} write type=0 {request}",
        f"cpu_ioreq_pio {_REQUEST} pio dir=0 {request}",
        f"cpu_ioreq_pio_write_reg {_REQUEST} pio write reg data={value:#x} port={port:#x} size={size}",
        f"cpu_out addr {port:#x}({_WIDTHS[size]}) value {value}",
        f"memory_region_ops_write cpu -1 mr {region} addr {port:#x} value {value:#x} size {size} name '{name}'",
    ]


def _read(name: str, region: str, port: int, size: int, value: int, *, stale: int = 0) -> list[str]:
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


def _sector(chance: random.Random) -> list[str]:
    """A disk sector read with one string instruction: 256 words, one request."""
    request = f"df=0 ptr=1 port=0x1f0 data={chance.getrandbits(28):#x} count=256 size=2"
    lines = [f"handle_ioreq {_REQUEST} type=0 dir=1 {request}", f"cpu_ioreq_pio {_REQUEST} pio dir=1 {request}"]
    for _ in range(256):
        value = chance.getrandbits(16)
        lines.append(f"memory_region_ops_read cpu -1 mr 0x564a5d6f6cd0 addr 0x1f0 value {value:#x} size 2 name 'ide'")
        lines.append(f"cpu_in addr 0x1f0(w) value {value}")
    lines.append(f"handle_ioreq_read {_REQUEST} read type=0 {request}")
    return lines


def _config(chance: random.Random) -> list[str]:
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


def _others(chance: random.Random) -> Iterator[list[str]]:
    """Accesses to other devices, without end."""
    weights = [weight for *_, weight in _OTHERS]
    while True:
        draw = chance.random()
        if draw < 0.05:
            yield _sector(chance)
        elif draw < 0.25:
            yield _config(chance)
        else:
            name, region, port, size, _ = chance.choices(_OTHERS, weights)[0]
            access = _read if chance.random() < 0.8 else _write
            yield access(name, region, port, size, chance.getrandbits(8 * size))


def _ours(chance: random.Random) -> Iterator[list[str]]:
    """Accesses to the Xen platform device, without end: negotiation, text to the log port, reads; and again."""
    for step in range(sys.maxsize):
        yield _read(*_FIXED, 0x10, 2, 0x49D2, stale=chance.getrandbits(8))
        yield _read(*_FIXED, 0x12, 1, 1)
        yield _write(*_FIXED, 0x12, 2, 3)
        yield _write(*_FIXED, 0x10, 4, chance.randrange(1, 0x100))
        yield _read(*_FIXED, 0x10, 2, 0x49D2)
        yield _write(*_FIXED, 0x10, 2, chance.choice((1, 2, 3, 7)))
        for _ in range(chance.randrange(2, 6)):
            text = f"xenbus|step {step}: {' '.join(chance.choices(_WORDS, k=chance.randrange(2, 6)))}"
            for character in text:
                yield _write(*_FIXED, 0x12, 1, ord(character))
            yield [*_write(*_FIXED, 0x12, 1, ord("\n")), f"xen_platform_log xen platform: {text}"]
        for _ in range(chance.randrange(4, 16)):
            yield _read(*_FIXED, 0x10, 1, 0, stale=chance.getrandbits(8))


class _Clock:
    """What stands before the event's name: a time that only goes on, by some hundred microseconds a line."""

    def __init__(self, style: Timestamps, chance: random.Random) -> None:
        self._style = style
        self._chance = chance
        self._now_us = (_START - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
        self._second = -1
        self._second_text = ""

    def prefix(self) -> str:
        """The next line's prefix."""
        if self._style == "none":
            return ""
        self._now_us += 100 + self._chance.getrandbits(8)
        second, micro = divmod(self._now_us, 10**6)
        if self._style == "pid":
            return f"{_PROCESS}@{second}.{micro:06d}:"
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{micro:06d}Z " if micro else f"{self._second_text}Z "  # as GLib prints it


def batches(
    *, size_bytes: int, kind: Kind = "sparse", seed: int = 0, timestamps: Timestamps = "pid"
) -> Iterator[tuple[bytes, int, int]]:
    """Pieces of whole accesses (bytes, lines, lines of ours) until `size_bytes` are reached or just passed."""
    chance = random.Random(seed)
    clock = _Clock(timestamps, random.Random(seed + 1))  # its own chance: the same accesses with any prefix
    ours, others = _ours(chance), _others(chance)
    total = total_ours = lines = ours_lines = done = held = 0
    parts: list[str] = []
    while done + held < size_bytes:
        is_ours = kind == "dense" or total_ours * _SPARSE_SHARE < total
        access = next(ours if is_ours else others)
        text = "".join(f"{clock.prefix()}{line}\n" for line in access)
        parts.append(text)
        held += len(text)  # ASCII: a character is a byte
        lines += len(access)
        total += len(access)
        if is_ours:
            ours_lines += len(access)
            total_ours += len(access)
        if held >= _BATCH_BYTES:
            yield "".join(parts).encode("ascii"), lines, ours_lines
            done += held
            parts, held, lines, ours_lines = [], 0, 0, 0
    if parts:
        yield "".join(parts).encode("ascii"), lines, ours_lines


def write(
    path: Path, *, megabytes: float, kind: Kind = "sparse", seed: int = 0, timestamps: Timestamps = "pid"
) -> Written:
    """Write a log of `megabytes` (millions of bytes; it ends with the access that reaches them) to `path`."""
    size = lines = ours = 0
    size_bytes = round(megabytes * MEGABYTE)
    with path.open("wb") as file:
        for text, count, count_ours in batches(size_bytes=size_bytes, kind=kind, seed=seed, timestamps=timestamps):
            file.write(text)
            size += len(text)
            lines += count
            ours += count_ours
    return Written(size, lines, ours)


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
