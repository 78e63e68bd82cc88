"""The inner loops of reading in bulk, compiled where there was a compiler, and the layout of what they exchange.

A kernel is optional: what it declines, or all where it is missing, is read record by record. `XPTRACE_KERNEL=off` is
as if it were missing, `twin` takes the same functions in Python, `plain` does without the processor's AVX2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SWITCH: Final = "XPTRACE_KERNEL"
"""The environment variable that chooses it."""

RECORD: Final = (
    ("start", "<u4"), ("length", "<u4"), ("time_ns", "<i8"), ("address", "<u8"), ("value", "<u8"), ("count", "<u4"),
    ("vcpu", "<i4"), ("text", "<u4"), ("text_length", "<u4"), ("thread", "<i4"), ("has", "<u2"), ("event", "u1"),
    ("size", "u1"), ("direction", "u1"), ("type", "u1"), ("pointer", "u1"), ("clock", "u1"), ("unused", "<u4"),
)
"""One record: where it lies in its window, when, what it tells; -1 is no time, no thread, no vCPU."""
RECORD_BYTES: Final = 64
HAS: Final = ("address", "value", "size", "direction", "type", "pointer", "count", "vcpu", "text")
"""What the bits of `has` say to be told, from the lowest."""
SLOTS: Final = {name: place for place, name in enumerate(HAS)} | {"": 255}
"""Where an operation puts what it reads; the empty name is nowhere."""
HAS_REGION: Final = 1 << len(HAS)
"""The bit of `has` above them: the text is the name of the region of memory that was asked for."""
CLOCK_NONE, CLOCK_WALL, CLOCK_MONOTONIC = range(3)

SHAPE: Final = (
    ("address", "<u8"), ("value", "<u8"), ("vcpu", "<i4"), ("direction", "u1"), ("size", "u1"), ("has_value", "u1"),
    ("unused", "u1"),
)
"""What several accesses have in common, 24 bytes."""
ACCESS: Final = (("shape", "<u4"), ("first", "<u4"), ("last", "<u4"), ("said", "<u4"))
"""One access: the number of its shape, its first and last record, the record of the line that the device emitted."""
PROCESSOR: Final = "<QIBBBB"
"""What is known of a physical processor: time stamp, what runs; whether the two are known, and whether there are
scheduling records; a byte for nothing. As `struct` has it."""
TOLD: Final = "<IIQIBBBB"
"""One record that is told: where, in words, its number from 0, and its processor then."""
NOTHING: Final = (1 << 32) - 1
READ, WRITE, BY_FIELD = range(3)

OP_END, OP_LITERAL, OP_DECIMAL, OP_HEXADECIMAL, OP_PREFIXED, OP_POINTER, OP_WIDTH, OP_TEXT = range(8)
"""Operations on the text of one record: its end, a literal (length, bytes), a number (slot) in each notation, the
letter of an access size (slot), text up to what ends the line (slot, length, bytes)."""
TABLE_TYPED, TABLE_PROCESS = 1, 2
"""What every record of simpletrace has: a type in front, a process id that means something."""
ARGUMENT_TEXT, ARGUMENT_WIDTH, ARGUMENT_UNSIGNED, ARGUMENT_SIGNED = range(4)
"""Arguments of simpletrace: text, the letter of an access size, numbers of so many bits."""
MOST_FORMS: Final = 64
"""Forms that a table of simpletrace has at most."""
MEANS_NOTHING, MEANS_ACCESS, MEANS_CALL, MEANS_REQUEST = range(4)
"""What an event of simpletrace is, where it is to be passed over: none of these, one that tells of an access, of a call
of the device, or a request, with which nothing goes on that was before it."""
TELLS_NOTHING, TELLS_ALL, TELLS_CALL, TELLS_LINE = range(4)
"""What an event tells: nothing of an access, all of it, one call of the device, a line that the device emitted."""
PLACES, BUCKETS, MOST_PATTERNS = 3, 8, 256


class Kernel(Protocol):
    """The functions that there are twice: compiled, and in `dissectors.kernel.twin`. Offsets are in `data`."""

    AVX2: int
    """Whether it looks at 32 bytes at once."""

    def read_lines(
        self, data: bytes, start: int, stop: int, programs: bytes, base: int, ports: int, region: bytes,
        out: Any,  # noqa: ANN401
    ) -> int:
        """Read whole lines as records into `out`, up to the first that is not plain; returns how many.

        One is plain if it has the form of a program, and is of an access that begins at one of so many ports from
        `base` on, or of text; `region` is the name of the region of memory that these ports lie in.

        Raises ValueError where the window or the programs are none.
        """

    def walk(
        self, data: bytes, start: int, stop: int, table: bytes, base: int, ports: int, region: bytes,
        out: Any,  # noqa: ANN401
    ) -> int:
        """Read records of simpletrace that end before `stop` into `out`, up to the first that is not plain; how many.

        One is plain if it has the form of an event of the table, no file begins in it, and it is of an access that
        begins at one of so many ports from `base` on, or of text; `region` is as for lines.

        Raises ValueError where the window or the table are none.
        """

    def pass_over(
        self, data: bytes, start: int, stop: int, table: bytes, kinds: bytes, ignored: bytes | bytearray,
        near: bytes, process: int,
    ) -> tuple[int, int, int, int]:
        """Go over records of simpletrace of which nobody wants to know: (records, told among them, place, reached).

        Such are those with a number whose bit is set in `ignored`, and, told, plain ones of accesses: of this process,
        of an event that `kinds` (a byte an event) says to mean one, outside of the ranges `near` (pairs of 64-bit
        numbers, from and up to), and of no region of memory whose name begins as ours do. They end at a place where
        an access begins for certain, whosever it is, so that nothing goes on there that was before it; where none was
        told, before the last. What was `reached` is no such record, or goes beyond `stop`.

        Raises ValueError where the window, the table or the ranges are none.
        """

    def span(
        self, data: bytes, start: int, stop: int, classes: bytes, ports: bytes, processor: Any, out: Any,  # noqa: ANN401
    ) -> tuple[int, int, int, int]:
        """Read the records of xentrace between two places, all of one processor, and put into `out` what is told.

        `classes` has a bit for each value of bits 12 to 27 of the first word of a record; `ports` are pairs of 32-bit
        numbers, from and up to. `processor` (`PROCESSOR`) is what is known of it before, and then after them. Returns
        how many are told (`TOLD`) and how many were read, where in words no further one could be read, and where the
        first with a time is (where they end, if none is). Raises ValueError where there is no such place.
        """

    def gather(
        self, records: Any, events: bytes, allowed: bytes, base: int, shapes: Any, known: int, table: Any,  # noqa: ANN401
        out: Any,  # noqa: ANN401
    ) -> tuple[int, int, int]:
        """Put records together to accesses in `out`: (accesses, records that they took, shapes known now).

        Raises ValueError where the table of shapes does not fit.
        """

    def keep_memory(self) -> None:
        """Say that memory that is let go of will be wanted again: for a program that reads window after window."""

    def fill(self, text: bytes, pieces: Any, which: Any, numbers: Any, columns: int) -> bytes:  # noqa: ANN401
        """Each row as text: the pieces of its template, and its numbers between them. Raises ValueError."""

    def search(self, data: bytes, at: int, patterns: bytes, out: Any, line: int) -> tuple[int, int, int]:  # noqa: ANN401
        """Lines that hold a pattern, into `out`: (how many, how far it came, the number of the line there).

        Raises ValueError where there is no such place, or no such patterns.
        """


@dataclass(slots=True)
class Batch:
    """Plain records of a source of bytes, the first of them its record `number`; `records` (`RECORD`) lie in `data`.

    Whoever is handed one says how many of them have been `taken`; if none, how many (`apart`) must be read one by one
    before the others are handed on again. What it holds is gone when the next one is asked for.
    """

    data: bytes
    offset: int
    """Where `data` begins in the source."""
    number: int
    records: NDArray[Any]
    events: Sequence[str]
    """The names of the events that records number."""
    clocks: Sequence[str | None]
    taken: int = 0
    apart: int = 1


@cache
def chosen_kernel() -> Kernel | None:
    """The functions that the environment asks for; None where they were not built, or are switched off."""
    wanted = os.environ.get(SWITCH)
    if wanted == "off":
        return None
    try:
        return cast("Kernel", import_module(f"dissectors.kernel.{'twin' if wanted == 'twin' else '_kernel'}"))
    except ImportError:
        return None


def dtype(layout: tuple[tuple[str, str], ...]) -> np.dtype[Any]:
    """A layout as numpy has it."""
    import numpy as np

    return np.dtype(list(layout))
