r"""The records of QEMU's simple trace back end, declared once with construct: every version, in either byte order.

Law: QEMU's trace/simple.c, which writes them in the host's byte order and without padding, and
scripts/tracetool/backend/simple.py for the arguments. After a header, versions of the format have::

    0      0.13-1.1   64 bytes each: event, time, six arguments; the header has that size too
    2      1.2-2.0    event, time, length, zero, arguments
    3      2.1-2.7    event, time, length, process id, arguments
    4      2.8-       type 0 and the name of an event number, or type 1 and then as version 3

A record of version 4, `cpu_in addr 0x10(w) value 18898`::

    0100000000000000 580d000000000000 a476ddb87f030000 30000000 130f0000 1000000000000000 7700000000000000 d249...

This is the specification, the builder of the tests and the second opinion; `simpletrace` reads in bulk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from construct import (
    Array,
    Bytes,
    Const,
    GreedyBytes,
    GreedyRange,
    If,
    Int32ub,
    Int32ul,
    Int64sb,
    Int64sl,
    Int64ub,
    Int64ul,
    Prefixed,
    Rebuild,
    Sequence,
    Struct,
    Switch,
    Tell,
    len_,
    this,
)  # fmt: skip

from dissectors.qemu.declaration import STRING, EventDeclaration
from dissectors.qemu.simpletrace import FIXED_ARGUMENTS, HEAD_BYTES, HEADER_EVENT, MAGIC, TYPE_EVENT, TYPE_NAME

Order = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Records:
    """The constructs of one byte order; each `record` has its `offset`."""

    header: Any
    """The file header."""
    fixed: Any
    """A record of version 0."""
    event: Any
    """A record of versions 2 and 3, whose `pid` is zero in version 2; `arguments` are bytes."""
    tagged: Any
    """A record of version 4: `type`, and in `body` a name or an event."""
    dropped: Any
    """The argument of a record that says how many are missing."""
    file: Any
    """A header and the records of its version."""


@cache
def records(order: Order) -> Records:
    """Declare the records of a byte order."""
    u32, u64 = (Int32ul, Int64ul) if order == "little" else (Int32ub, Int64ub)
    header = Struct(
        "event" / Const(HEADER_EVENT, u64),
        "magic" / Const(MAGIC, u64),
        "version" / u64,
        "unused" / If(this.version == 0, Array(5, Const(0, u64))),
    )
    fixed = Struct("offset" / Tell, "event" / u64, "time_ns" / u64, "arguments" / Array(FIXED_ARGUMENTS, u64))
    event = Struct(
        "offset" / Tell,
        "event" / u64,
        "time_ns" / u64,
        "length" / Rebuild(u32, len_(this.arguments) + HEAD_BYTES),
        "pid" / u32,
        "arguments" / Bytes(this.length - HEAD_BYTES),
    )
    name = Struct("event" / u64, "name" / Prefixed(u32, GreedyBytes))
    tagged = Struct("offset" / Tell, "type" / u64, "body" / Switch(this.type, {TYPE_NAME: name, TYPE_EVENT: event}))
    body = Switch(this.header.version, {0: fixed, 2: event, 3: event, 4: tagged})
    file = Struct("header" / header, "records" / GreedyRange(body))
    return Records(header, fixed, event, tagged, Sequence(u64), file)


@cache
def arguments(declaration: EventDeclaration, order: Order) -> Any:  # noqa: ANN401
    """Declare the arguments of an event since version 2: strings with their length, all else in 64 bits."""
    u32, u64, s64 = (Int32ul, Int64ul, Int64sl) if order == "little" else (Int32ub, Int64ub, Int64sb)
    return Sequence(*(
        Prefixed(u32, GreedyBytes) if one.kind == STRING else s64 if one.signed else u64
        for one in declaration.arguments
    ))  # fmt: skip
