r"""Zip archives: the members of the central directory, or, where that is missing, of the local headers.

Law: PKWARE's APPNOTE.TXT, sections 4.3 (records), 4.4.5 (methods), 4.5.3 (zip64), and Info-ZIP's extra field ``UT``.
A local header stands before each member, a central directory at the end, and the place of that behind it::

    50 4b 03 04 14 00 00 00 08 00 ... var/log/daemon.log ...   50 4b 01 02 ...   50 4b 05 06 ...

The standard library's zipfile reads the directory. Members are read as regions of the archive, by our own
decompression, which bounds what comes out; an archive that is cut has no directory, but still its members.
"""

from __future__ import annotations

import datetime as dt
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from xptrace.intake.compression import BZIP2, DEFLATE, XZ, ZSTD, Codec, unpack
from xptrace.intake.evidence import Packed, Reader, Region
from xptrace.intake.flow import BrokenOff, Flow
from xptrace.intake.limits import Limits
from xptrace.intake.member import LINK, Fault, Member, Told, safe

METHODS: Final[dict[int, Codec | None]] = {0: None, 8: DEFLATE, 12: BZIP2, 93: ZSTD, 95: XZ}
ENCRYPTED: Final = 1
SIZES_FOLLOW: Final = 8
"""The bits of the general purpose flags (4.4.4)."""

_LOCAL: Final = Struct("<4sHHHHHIIIHH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _SIZES_MAGIC, _END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07",
)
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 1 << 16
_IN_ZIP64: Final = 0xFFFF_FFFF
_ENTRY_BYTES: Final = 256
"""Of an entry of the directory; longer ones count as several members."""
_SCAN: Final = 1 << 16
_UNIX_TIME, _ZIP64 = 0x5455, 0x0001


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a header tells of a member; sizes are None where they follow it."""

    name: str
    flags: int
    method: int
    mode: int
    header: int
    packed: int | None
    length: int | None
    checksum: int | None
    written_ns: int | None


def walk(archive: Region, limits: Limits) -> Iterator[Told]:
    """Every member, in the directory's order, and what is wrong with the archive."""
    with archive.reader() as reader:
        entries: list[_Entry] | None = None
        why = None
        try:
            size = _directory_bytes(reader)
            if size > limits.members * _ENTRY_BYTES:
                why = f"its directory has {size} bytes"
            else:
                with zipfile.ZipFile(reader) as whole:
                    entries = [_entry(info) for info in whole.infolist()]
        except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, ValueError, OverflowError,
                LookupError, EOFError, OSError) as error:
            why = f"its directory cannot be read: {safe(str(error))}"
        if entries is None:
            yield Fault(f"{why}; its members are taken from the headers before them")
            yield from _without_directory(reader, archive, limits.inside())
            return
        yield from _listed(reader, archive, entries, limits)


def _directory_bytes(reader: Reader) -> int:
    """The length of the central directory, which zipfile reads into memory."""
    start = max(0, reader.size - _END_BYTES - _LONGEST_COMMENT)
    tail = reader.at(start, _END_BYTES + _LONGEST_COMMENT)
    end = tail.rfind(_END_MAGIC)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise zipfile.BadZipFile("the archive is cut")
    (size,) = struct.unpack_from("<I", tail, end + 12)
    locator = reader.at(start + end - 20, 20) if start + end >= 20 else b""
    if locator.startswith(_LOCATOR_MAGIC):
        record = reader.at(struct.unpack_from("<Q", locator, 8)[0], 56)
        if record.startswith(_END64_MAGIC) and len(record) == 56:
            size = max(size if size != _IN_ZIP64 else 0, struct.unpack_from("<Q", record, 40)[0])
    return int(size)


def _entry(info: zipfile.ZipInfo) -> _Entry:
    mode = info.external_attr >> 16
    if info.is_dir():
        mode = stat.S_IFDIR
    return _Entry(
        info.filename, info.flag_bits, info.compress_type, mode, info.header_offset, info.compress_size,
        info.file_size, info.CRC, _written_ns(info.extra, info.date_time),
    )


def _written_ns(extra: bytes, local: tuple[int, int, int, int, int, int]) -> int | None:
    """Universal time where the archive has it; otherwise the local time of a zone unknown, read as universal."""
    unix = _field(extra, _UNIX_TIME)
    if len(unix) >= 5 and unix[0] & 1:
        seconds = int.from_bytes(unix[1:5], "little", signed=True)
    else:
        try:
            seconds = int(dt.datetime(*local, tzinfo=dt.UTC).timestamp())
        except ValueError:
            return None
        if local == (1980, 1, 1, 0, 0, 0):  # where the writer knew none
            return None
    return seconds * 10**9 if seconds > 0 else None


def _field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


# -- by the directory


def _listed(reader: Reader, archive: Region, entries: list[_Entry], limits: Limits) -> Iterator[Told]:
    overlapping = _overlapping(entries)
    left = limits.allowed(reader.size)
    for index, entry in enumerate(entries):
        if stat.S_ISDIR(entry.mode):
            continue
        if index in overlapping:
            yield Member(entry.name, None, "lies, in part, where another member lies")
            continue
        left -= entry.length or 0
        if left < 0:
            yield Member(entry.name, None, f"would unfold to {entry.length} bytes: too many for so small an archive")
            left += entry.length or 0
            continue
        yield _member(reader, archive, entry, limits)


def _overlapping(entries: list[_Entry]) -> set[int]:
    """Members whose bytes are another one's too: nobody but an author of bombs writes them."""
    found = set()
    end = 0
    for index in sorted(range(len(entries)), key=lambda index: entries[index].header):
        entry = entries[index]
        if entry.header < end:
            found.add(index)
        else:
            end = entry.header + _LOCAL.size + (entry.packed or 0)
    return found


def _member(reader: Reader, archive: Region, entry: _Entry, limits: Limits) -> Member:
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & ENCRYPTED:
        return Member(entry.name, None, "encrypted: unpack it first, with its password")
    if kind == stat.S_IFLNK:
        return Member(entry.name, None, LINK.format("what it holds"))
    if kind not in (0, stat.S_IFREG):
        return Member(entry.name, None, "no regular file")
    if entry.method not in METHODS:
        return Member(entry.name, None, f"compressed by zip's method {entry.method}: unpack it first")
    header = reader.at(entry.header, _LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MAGIC):
        return Member(entry.name, None, "is not where the archive says")
    *_, name, extra = _LOCAL.unpack(header)
    return Member(entry.name, _evidence(archive, entry, entry.header + _LOCAL.size + name + extra, limits))


def _evidence(archive: Region, entry: _Entry, start: int, limits: Limits) -> Packed:
    packed = entry.packed or 0
    pieces = archive.part(start, packed)
    there = sum(length for _, length in pieces)
    cut = None if there == packed else f"the archive ends in it: {there} of {packed} stored bytes are there"
    region = Region(archive.home, pieces, entry.written_ns, cut)
    return Packed(region, METHODS[entry.method], limits, entry.length, entry.checksum)


# -- without a directory


def _without_directory(reader: Reader, archive: Region, limits: Limits) -> Iterator[Told]:
    at = 0
    while (header := reader.at(at, _LOCAL.size)) and len(header) == _LOCAL.size:
        if not header.startswith(_LOCAL_MAGIC):
            if header.startswith((_CENTRAL_MAGIC, _END_MAGIC, _END64_MAGIC)):
                return
            at = _next_header(reader, at + 1)
            continue
        entry, start = _local(reader, header, at)
        if entry.packed is None and entry.method in METHODS:
            entry = _measured(archive, entry, start, limits)
        if entry.packed is None:
            yield Member(entry.name, None, "its length stood at the end of the archive, which is missing")
            at = _next_header(reader, start)
            continue
        if not entry.name.endswith("/"):
            yield _member(reader, archive, entry, limits)
        at = start + entry.packed
        if entry.flags & SIZES_FOLLOW:
            at = _next_header(reader, at)


def _local(reader: Reader, header: bytes, at: int) -> tuple[_Entry, int]:
    """The member of a local header, and where its data begin."""
    _, _, flags, method, clock, day, checksum, packed, length, name_bytes, extra_bytes = _LOCAL.unpack(header)
    text = reader.at(at + _LOCAL.size, name_bytes + extra_bytes)
    name, extra = text[:name_bytes], text[name_bytes:]
    large = _field(extra, _ZIP64)
    if _IN_ZIP64 in (packed, length) and len(large) >= 16:
        length, packed = struct.unpack_from("<QQ", large)
    local = (1980 + (day >> 9), day >> 5 & 0xF, day & 0x1F, clock >> 11, clock >> 5 & 0x3F, (clock & 0x1F) * 2)
    unknown = bool(flags & SIZES_FOLLOW) and not packed
    entry = _Entry(
        name.decode("utf-8", "surrogateescape"), flags, method, 0, at,
        None if unknown else packed, None if unknown else length, None if unknown else checksum,
        _written_ns(extra, local),
    )
    return entry, at + _LOCAL.size + name_bytes + extra_bytes


def _measured(archive: Region, entry: _Entry, start: int, limits: Limits) -> _Entry:
    """The entry with the length that its compressed data tell; without one where they do not."""
    if METHODS[entry.method] is not DEFLATE or entry.flags & ENCRYPTED:
        return entry
    size = archive.size - start
    flow = Flow(Region(archive.home, archive.part(start, size)).chunks())
    counted = _Counted(flow)
    length = 0
    try:
        for chunk in unpack(counted, DEFLATE, limits):
            length += len(chunk)
    except BrokenOff:
        return _Entry(entry.name, entry.flags, entry.method, entry.mode, entry.header, size, None, None,
                      entry.written_ns)
    return _Entry(entry.name, entry.flags, entry.method, entry.mode, entry.header, counted.taken, length, None,
                  entry.written_ns)


class _Counted(Flow):
    """A flow that knows how much of it was taken."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.chunks())
        self.taken = 0

    def read(self, size: int) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data

    def give_back(self, data: bytes) -> None:
        self.taken -= len(data)
        super().give_back(data)


def _next_header(reader: Reader, at: int) -> int:
    """Where the next header begins; the end of the archive if there is none."""
    while len(data := reader.at(at, _SCAN)) >= len(_LOCAL_MAGIC):
        places = [place for magic in (_LOCAL_MAGIC, _CENTRAL_MAGIC) if (place := data.find(magic)) >= 0]
        if places:
            return at + min(places)
        at += len(data) - len(_LOCAL_MAGIC) + 1
    return reader.size
