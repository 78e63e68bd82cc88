"""The records of a simpletrace file as parts that may be left out, beside those that may not.

Law: QEMU's trace/simple.c, as `dissectors.qemu.simpletrace_records` declares it: a header; then records of 64 bytes
(version 0), records with a length (2 and 3), or names of event numbers and records with a length (4). Nothing in a
record depends on where it stands, so that a file without some of its records is one that QEMU could have written.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, Literal

from dissectors.qemu.simpletrace import FIXED_BYTES, HEADER_EVENT, LONGEST_RECORD, MAGIC, TYPE_NAME

_HEAD: Final = {Struct(f"{order}QQ").pack(HEADER_EVENT, MAGIC): order for order in "<>"}
_HEAD_BYTES: Final = 24


Kind = Literal["header", "name", "record"]


def walk(data: bytes) -> Iterator[tuple[int, int, Kind]]:
    """(offset, length, kind) of every part; what is no record any more is one part at the end."""
    order = _HEAD.get(data[:16])
    if order is None or len(data) < _HEAD_BYTES:
        return
    number, length_of = Struct(f"{order}Q"), Struct(f"{order}I")
    version = number.unpack_from(data, 16)[0]
    at = FIXED_BYTES if version == 0 else _HEAD_BYTES
    yield 0, at, "header"
    while at < len(data):
        name = False
        size = FIXED_BYTES
        if version:
            tag = 8 if version > 3 else 0
            name = bool(tag) and data[at : at + 8] == number.pack(TYPE_NAME)
            place = at + 16 if name or not tag else at + 24
            if place + 4 > len(data):
                break
            size = length_of.unpack_from(data, place)[0] + (20 if name else tag)
            if not 20 <= size <= LONGEST_RECORD:
                break
        if at + size > len(data):
            break
        yield at, size, "name" if name else "record"
        at += size
    if at < len(data):
        yield at, len(data) - at, "record"
