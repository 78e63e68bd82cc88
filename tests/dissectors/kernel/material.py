"""Lines for the kernel: real ones, real ones that somebody has damaged, and those that a declaration makes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from hypothesis import strategies as st

from dissectors.kernel import RECORD, Kernel, dtype
from dissectors.qemu import catalogue
from dissectors.qemu.programs import EVENTS

DATA: Final = Path(__file__).parents[2] / "data"
BASE, PORTS, REGION = 0x10, 16, b"xen-fixed"

HOSTILE: Final = (
    b"0", b"00", b"007", b"-0", b"-1", b"-2", b"+1", b"9" * 18, b"9" * 19, b"1" + b"0" * 18, b"18446744073709551615",
    b"18446744073709551616", b"9223372036854775808", b"2147483647", b"2147483648", b"4294967295", b"4294967296",
    b"255", b"256", b"0x0", b"0x", b"x", b"0x00", b"0x10", b"0x010", b"0X10", b"0xffffffffffffffff",
    b"0x1ffffffffffffffff", b"0xfffffffffffffff0", b"0xABC", b"0xabC", b"10", b"1f", b"20", b"(nil)", b"", b" ", b"\r",
    b"\0", b"b", b"w", b"l", b"q", b"(b)", b"'xen-fixed'", b"'", b"\xff",
)
STAMPS: Final = (
    b"", b"213@1795406729.213774:", b"2147483647@1.000000:", b"2147483648@1.000000:", b"9999999999@1.000000:",
    b"1@9223372035.999999:", b"1@9223372036.000000:", b"1@1.00000:", b"1@1.0000000:", b"12345678901@1.000000:",
    b"1@123456789012.000000:", b"31213@1795401500773285000 ", b"2026-11-23T03:25:00.040406Z ", b"2026-11-23T03:25:00Z ",
    b"2026-11-23T03:25:00.123456789Z ", b"2026-11-23T03:25:00.1234567890Z ", b"2026-11-23T03:25:00.Z ",
    b"2024-02-29T00:00:00.5Z ", b"2023-02-29T00:00:00Z ", b"1900-02-29T00:00:00Z ", b"2000-02-29T23:59:60.9Z ",
    b"1969-12-31T23:59:59Z ", b"1970-01-01T00:00:00Z ", b"2026-13-01T00:00:00Z ", b"2026-11-23T24:00:00Z ",
    b"2026-11-23T03:25:61Z ", b"2026-11-23T03:25:00+00:00 ", b"2026-11-23T03:25:00.040406Z vm ",
    b"2199-12-31T23:59:59Z ", b"2200-01-01T00:00:00Z ", b"0000-00-00T00:00:00Z ", b"2026-11-23T03:25:00.040406Z",
    b"Nov 23 03:12:23 vm qemu[8003]: ",
    b"[win10] ", b"2026-11-23T03:25:00.040406Z cpu_in tag[1]: ",
)


@cache
def real() -> tuple[bytes, ...]:
    """Lines of the recordings in the repository, a few of every kind."""
    texts = [path.read_bytes() for path in sorted((DATA / "qemu-oracle").glob("*/*/*.log"))]
    texts += [path.read_bytes() for path in sorted((DATA / "real-xen").glob("*.txt"))]
    texts += [gzip.decompress(path.read_bytes()) for path in sorted((DATA / "real-xen").glob("*.gz"))]
    wanted = re.compile(b"|".join(name.encode() for name in EVENTS if name))
    found: dict[bytes, list[bytes]] = {}
    for text in texts:
        for line in text.split(b"\n"):
            kind = re.sub(rb"0x[0-9a-f]+|\d", b"0", line)
            if len(kept := found.setdefault(kind, [])) < 3 and (wanted.search(line) or len(found) < 200):
                kept.append(line)
    return tuple(line for lines in found.values() for line in lines)


@cache
def formats() -> tuple[tuple[bytes, str], ...]:
    """(name, format) of every declaration of the events of bulk."""
    return tuple(
        (name.encode(), one.format) for name in EVENTS if name
        for one in catalogue.load().declarations(name.encode())
    )


_CONVERSION: Final = re.compile(r"%#?\d*l*[diuxXpsc]")


@st.composite
def printed(draw: st.DrawFn, stamps: Sequence[bytes] = STAMPS) -> bytes:
    """A line as a declaration makes it, with numbers and texts that may be anything."""
    name, form = draw(st.sampled_from(formats()))
    text = _CONVERSION.sub(lambda found: f"\0{found[0][-1]}", form).encode()
    parts = text.split(b"\0")
    line = parts[0]
    for part in parts[1:]:
        line += draw(_argument(chr(part[0]), b"0x" if line.endswith(b"0x") else b"")) + part[1:]
    return draw(st.sampled_from([*stamps, b""])) + name + b" " + line


def _argument(letter: str, before: bytes) -> st.SearchStrategy[bytes]:
    number = st.integers(0, 40) | st.integers(0, 1 << 64)
    usual: st.SearchStrategy[bytes] = {
        "s": st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")) | st.just(b"xen-fixed"),
        "c": st.sampled_from([b"b", b"w", b"l"]),
        "p": number.map(lambda value: b"%#x" % value),
        "x": number.map(lambda value: b"%x" % value) if before else number.map(lambda value: b"%#x" % value),
    }.get(letter, number.map(lambda value: b"%d" % value))
    return usual | usual | st.sampled_from(HOSTILE)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real line of which somebody has changed a word or some bytes."""
    line = draw(st.sampled_from(real()) | printed())
    if draw(st.booleans()):
        words = re.split(rb"([ =(),:@.']+)", line)
        words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(HOSTILE))
        return b"".join(words).replace(b"\n", b"")
    at, count = draw(st.integers(0, len(line))), draw(st.integers(0, 3))
    return line[:at] + draw(st.binary(max_size=3)).replace(b"\n", b"") + line[at + count :]


def lines() -> st.SearchStrategy[bytes]:
    """Any line, mostly such as are looked at."""
    return st.one_of(printed(), printed(), st.sampled_from(real()), damaged(), st.binary(max_size=60).map(
        lambda raw: raw.replace(b"\n", b"")))


def read(kernel: Kernel, data: bytes, programs: bytes, start: int = 0, stop: int | None = None, *, base: int = BASE,
         ports: int = PORTS, room: int = 64) -> list[dict[str, int]]:
    """The records that a kernel reads, each by its fields."""
    out = np.full(room, 0x5A, dtype(RECORD))
    count = kernel.read_lines(data, start, len(data) if stop is None else stop, programs, base, ports, REGION, out)
    assert 0 <= count <= room
    names = [name for name, _ in RECORD]
    return [dict(zip(names, row, strict=True)) for row in out[:count].tolist()]
