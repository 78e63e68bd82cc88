r"""The records of xentrace, declared once with construct.

Law: xen/include/public/trace.h for the record, tools/xentrace/xentrace.c for the windows: what was read of one physical
processor's buffer at a time, behind a record of the tool that names the processor and the bytes that follow. Everything
is little endian on x86. A window of two records, a VM exit and the write of port 0x12 that it was for::

    03f00120 00000000 24000000                                cpu change: processor 0, 36 bytes
    021108b0 e36b261a b7000000 7b000000 4efa0181 ffffffff     64-bit VM exit, with the time: 0x7b at 0xffffffff8101fa4e
    16220820 12000000 03000000                                port write: 0x12, 3

This is the specification, the builder of the tests and the second opinion; `xentrace` reads in bulk.
"""

from __future__ import annotations

from typing import Any, Final

from construct import (
    Array,
    BitsInteger,
    BitStruct,
    ByteSwapped,
    Const,
    FixedSized,
    Flag,
    GreedyRange,
    If,
    Int32ul,
    Int64ul,
    Struct,
    Tell,
    this,
)  # fmt: skip

HEADER: Final[Any] = ByteSwapped(BitStruct("timed" / Flag, "extra" / BitsInteger(3), "event" / BitsInteger(28)))
"""The first word of any record: whether a time follows, and how many words after that."""
RECORD: Final[Any] = Struct(
    "offset" / Tell,
    "header" / HEADER,
    "tsc" / If(this.header.timed, Int64ul),
    "words" / Array(this.header.extra, Int32ul),
)
CPU_CHANGE: Final[Any] = Struct("header" / Const(0x2001F003, Int32ul), "cpu" / Int32ul, "size" / Int32ul)
WINDOW: Final[Any] = Struct(
    "offset" / Tell,
    "change" / CPU_CHANGE,
    "records" / FixedSized(this.change.size, GreedyRange(RECORD)),
)
FILE: Final[Any] = GreedyRange(WINDOW)
