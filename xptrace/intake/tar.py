r"""Tar archives: a walk over the headers, which yields each member as a region of the archive.

Law: POSIX.1-2001 pax and GNU tar's manual, "Basic Tar Format" and "Storing Sparse Files". A header is a block of 512
bytes, followed by the member's, padded to blocks::

    var/log/daemon.log\0 ... 0000640\0 0000000\0 0000000\0 00000001733\0 15172352125\0 013526\0 0 ... ustar\0 00 ...

The standard library's tarfile reads the headers. The walk is our own: tarfile's reads extended headers of any length
into memory, follows chains of them by recursion, and stops at the first one that is broken.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Final

from xptrace.intake.content import BLOCK, is_tar_header
from xptrace.intake.evidence import Pieces, Reader, Region
from xptrace.intake.limits import Limits
from xptrace.intake.member import LINK, Fault, Member, Told, safe

LONGEST_EXTENSION: Final = 1 << 20
"""Bytes of an extended header: a path has 4096, the map of a sparse file up to 43 for each of its pieces."""
_SCAN: Final = 1 << 16
_LAST_NS: Final = 1 << 63

_PAX_FILE, _PAX_SUN, _PAX_GLOBAL = b"x", b"X", b"g"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_OTHERS: Final = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a fifo",
}
_REGULAR: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, _SPARSE)

_NUMBER: Final = re.compile(rb"\d{1,20}")
_TIME: Final = re.compile(rb"(\d{1,12})(?:\.(\d{1,9})\d*)?")
_MAP_LINES: Final = re.compile(rb"(?:\d{1,20}\n)*")

_FIELDS: Final = frozenset((
    b"path", b"linkpath", b"size", b"mtime", b"GNU.sparse.major", b"GNU.sparse.name", b"GNU.sparse.realsize",
    b"GNU.sparse.size", b"GNU.sparse.map", b"GNU.sparse.offset",
))
"""Of pax and of GNU's sparse formats, as far as they tell what a member is and where."""

Spans = list[tuple[int, int]]
"""Of a sparse member: where its stored parts belong, and how long they are."""


class _BrokenError(Exception):
    """A header cannot be understood."""


@dataclass(slots=True)
class _Extended:
    """What extended headers tell of the member that follows them."""

    name: str | None = None
    fields: dict[bytes, bytes] = field(default_factory=dict)
    spans: Spans = field(default_factory=list)
    """Of GNU's format 0.0, which repeats its fields."""

    def number(self, name: bytes) -> int | None:
        told = self.fields.get(name, b"")
        return int(told) if _NUMBER.fullmatch(told) else None

    def text(self, name: bytes) -> str | None:
        told = self.fields.get(name)
        return None if told is None else told.decode("utf-8", "surrogateescape")


def walk(archive: Region, limits: Limits) -> Iterator[Told]:
    """Every member, in order, and what is wrong with the archive."""
    everywhere = _Extended()
    with archive.reader() as reader:
        at = 0
        while at < reader.size:
            block = reader.at(at, BLOCK)
            if block and not any(block):
                return
            try:
                at = yield from _member(reader, archive, at, everywhere, limits)
            except (_BrokenError, tarfile.TarError, ValueError) as error:
                yield Fault(f"the header at byte {at} is broken: {error}")
                at = _next_header(reader, at + BLOCK)
        if at == reader.size:
            yield Fault("ends without the zeros that end an archive: it may be cut")


def _next_header(reader: Reader, at: int) -> int:
    """The next block that can be a header; beyond the end if there is none."""
    while data := reader.at(at, _SCAN):
        for start in range(0, len(data), BLOCK):
            if is_tar_header(data[start : start + BLOCK]):
                return at + start
        at += len(data)
    return reader.size + 1


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _member(
    reader: Reader, archive: Region, at: int, everywhere: _Extended, limits: Limits
) -> Generator[Told, None, int]:
    """Yield the member whose headers begin here; returns where the next one's do."""
    extended = _Extended(fields=dict(everywhere.fields))
    while True:
        block = reader.at(at, BLOCK)
        if len(block) < BLOCK:
            raise _BrokenError("the archive ends in it")
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        at += BLOCK
        if header.size < 0:
            raise _BrokenError("a size below zero")
        kind = header.type
        if kind in (_PAX_FILE, _PAX_SUN, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
            if header.size > LONGEST_EXTENSION:
                raise _BrokenError(f"an extended header of {header.size} bytes")
            data = reader.at(at, header.size)
            if kind == _LONG_NAME:
                extended.name = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif kind == _PAX_GLOBAL:
                _pax(data, everywhere)
            elif kind != _LONG_LINK:
                _pax(data, extended)
            at += _padded(header.size)
            if kind == _PAX_GLOBAL:  # it is no member's own: git's archives of nothing hold nothing else
                return at
            continue
        yield from _told(reader, archive, header, block, at, extended, limits)
        return at + _length(header, block, reader, at, extended)


def _pax(data: bytes, extended: _Extended) -> None:
    """Records, each `LENGTH NAME=VALUE` and a newline, as far as they are whole; the length counts itself."""
    at = 0
    while (space := data.find(b" ", at, at + 21)) > 0:
        if not _NUMBER.fullmatch(data, at, space):
            return
        end = at + int(data[at:space])
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            return
        if name == b"GNU.sparse.numbytes" and (offset := extended.number(b"GNU.sparse.offset")) is not None:
            extended.spans.append((offset, int(value) if _NUMBER.fullmatch(value) else -1))
        elif name in _FIELDS:
            extended.fields[name] = value
        at = end


def _length(header: tarfile.TarInfo, block: bytes, reader: Reader, at: int, extended: _Extended) -> int:
    """Bytes that a member takes after its header."""
    if header.type not in _REGULAR and header.type in tarfile.SUPPORTED_TYPES:
        return 0  # a link's size is that of what it leads to
    more = _old_map(reader, block, at)[1] if header.type == _SPARSE else 0
    return more + _padded(_stored(header, extended))


def _stored(header: tarfile.TarInfo, extended: _Extended) -> int:
    told = extended.number(b"size")
    return header.size if told is None else told


def _told(
    reader: Reader, archive: Region, header: tarfile.TarInfo, block: bytes, at: int, extended: _Extended,
    limits: Limits,
) -> Iterator[Told]:
    path = extended.text(b"GNU.sparse.name") or extended.text(b"path") or extended.name or header.name
    if header.type == tarfile.DIRTYPE:
        return
    if header.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        target = extended.text(b"linkpath") or header.linkname
        yield Member(path, None, LINK.format(safe(target)))
        return
    if header.type not in _REGULAR:
        yield Member(path, None, _OTHERS.get(header.type) or f"of the unknown type {header.type!r}")
        return
    stored = _stored(header, extended)
    written = _written_ns(header, extended)
    sparse = _sparse(reader, header, block, at, extended)
    if sparse is None:
        pieces = archive.part(at, stored)
        yield Member(path, _region(archive, pieces, stored, written))
        return
    spans, start, whole = sparse
    yield Member(path, _with_holes(archive, spans, start, whole, written, limits))


def _region(archive: Region, pieces: Pieces, wanted: int, written: int | None) -> Region:
    there = sum(length for _, length in pieces)
    cut = None if there == wanted else f"the archive ends in it: {there} of {wanted} bytes are there"
    return Region(archive.home, pieces, written, cut)


def _written_ns(header: tarfile.TarInfo, extended: _Extended) -> int | None:
    told = _TIME.fullmatch(extended.fields.get(b"mtime", b""))
    seconds, fraction = (told[1], told[2] or b"") if told else (header.mtime, b"")
    time = int(seconds) * 10**9 + int(fraction.ljust(9, b"0"))
    return time if 0 < time < _LAST_NS else None


# -- sparse members


def _sparse(
    reader: Reader, header: tarfile.TarInfo, block: bytes, at: int, extended: _Extended
) -> tuple[Spans, int, int] | None:
    """The map of a sparse member, where its data begin, and its length with the holes; None for any other member."""
    if header.type == _SPARSE:
        spans, more = _old_map(reader, block, at)
        return spans, at + more, _octal(block[483:495])
    whole = extended.number(b"GNU.sparse.realsize")
    if whole is None:
        whole = extended.number(b"GNU.sparse.size")
    if extended.number(b"GNU.sparse.major") == 1:
        spans, more = _map_in_data(reader, at, min(_stored(header, extended), LONGEST_EXTENSION))
        return spans, at + more, _needed(whole)
    if b"GNU.sparse.map" in extended.fields:
        numbers = extended.fields[b"GNU.sparse.map"].split(b",")
        return _pairs(numbers), at, _needed(whole)
    return (extended.spans, at, _needed(whole)) if extended.spans else None


def _needed(whole: int | None) -> int:
    if whole is None:
        raise _BrokenError("a sparse member without its length")
    return whole


def _pairs(numbers: list[bytes]) -> Spans:
    if len(numbers) % 2 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise _BrokenError("a sparse member with a broken map")
    values = list(map(int, numbers))
    return list(zip(values[::2], values[1::2], strict=True))


def _octal(digits: bytes) -> int:
    """A number of a header: octal digits, or binary where the first bit is set."""
    if digits[0] & 0x80:
        return int.from_bytes(digits, "big") & (1 << 8 * len(digits) - 1) - 1
    return int(digits.split(b"\0", 1)[0].strip() or b"0", 8)


def _old_map(reader: Reader, block: bytes, at: int) -> tuple[Spans, int]:
    """The map of GNU's old format, four places in the header and 21 in each block after it; and the bytes of these."""
    spans: Spans = []
    first, places, flag, more = 386, 4, 482, 0
    while True:
        for place in range(first, first + 24 * places, 24):
            if block[place] == 0:
                break
            spans.append((_octal(block[place : place + 12]), _octal(block[place + 12 : place + 24])))
        if not block[flag] or more >= LONGEST_EXTENSION:
            return spans, more
        block = reader.at(at + more, BLOCK)
        if len(block) < BLOCK:
            raise _BrokenError("the archive ends in the map of a sparse member")
        first, places, flag, more = 0, 21, 504, more + BLOCK


def _map_in_data(reader: Reader, at: int, size: int) -> tuple[Spans, int]:
    """The map of format 1.0, lines of decimals before the data: how many pairs, and these."""
    data = reader.at(at, size)
    lines = data[: _MAP_LINES.match(data).end()].split(b"\n")  # type: ignore[union-attr] # it matches nothing, too
    count = int(lines[0] or b"0")
    if not lines[0] or len(lines) - 2 < 2 * count:
        raise _BrokenError("a sparse member with a broken map")
    numbers = lines[1 : 1 + 2 * count]
    return _pairs(numbers), _padded(sum(len(number) + 1 for number in (lines[0], *numbers)))


def _with_holes(
    archive: Region, spans: Spans, start: int, whole: int, written: int | None, limits: Limits
) -> Region:
    pieces: list[tuple[int | None, int]] = []
    end = stored = 0
    cut = None
    for offset, length in spans:
        if offset < end or length < 0 or offset + length > whole:
            raise _BrokenError("a sparse member with a broken map")
        if offset > end:
            pieces.append((None, offset - end))
        there = archive.part(start + stored, length)
        pieces += there
        stored += length
        end = offset + length
        if (missing := length - sum(size for _, size in there)):
            cut = f"the archive ends in it: {end - missing} of {whole} bytes are there"
            break
    if cut is None and whole > end:
        pieces.append((None, whole - end))
    return _bounded(Region(archive.home, tuple(pieces), written, cut), limits)


def _bounded(region: Region, limits: Limits) -> Region:
    """Holes cost nothing, so they may be of any length: the limits of what is compressed hold for them too."""
    most = limits.allowed(region.stored)
    if region.size <= most:
        return region
    return Region(region.home, region.part(0, most), region.written_ns, limits.exceeded(region.stored, most + 1))
