"""Where to begin to read a source of which only what is from some time on is asked for.

Law: the time of a row is that of its record, and that of a record in a log of lines what `dissectors.qemu.prefix` reads
there: QEMU's own stamp, or that of the daemon that carried it, which is later. A host's local time may be 14 hours from
UTC, by which other records of the file may be dated: so much more is read where the clock is a local one.

What is passed over is not known: boots are counted from where reading begins, BARs that were put before are nowhere, a
domain that was named before has no name, and of a line that the guest had begun to write the beginning is missing. The
rows from the time on are otherwise the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dissectors.clock import LOCAL, LOCAL_YEARLESS
from dissectors.envelope import read_envelope
from dissectors.qemu import prefix
from xptrace.access.attribution import Reading
from xptrace.intake.compression import MAGIC_BYTES, codec_of
from xptrace.intake.seek import Moment, Sought, seek

ZONES_NS: Final = 15 * 3600 * 10**9
"""Local time and UTC are not farther apart."""
_LOCAL: Final = (LOCAL, LOCAL_YEARLESS)


def pass_over(reading: Reading, limit: Callable[[int, int], int | None], offsets_ns: Mapping[str, int]) -> str | None:
    """Have a source begin shortly before a time; returns what was passed over, or why nothing was.

    `limit` says which time that is, of a recording from a first to a last time; `offsets_ns` is what times of a clock
    lack to be UTC. None is returned where the source begins later than that.
    """
    sought = _seek(reading, limit, offsets_ns)
    if sought.why is not None:
        return f"read from its beginning: {sought.why}"
    if not sought.offset:
        return None
    reading.source.begin, reading.source.begin_lines = sought.offset, sought.lines
    return (f"{sought.offset} bytes, {sought.lines} lines, from before that time were not decoded: boots are counted "
            "from there, and BARs, names and beginnings of lines from before are not known")


def _seek(reading: Reading, limit: Callable[[int, int], int | None], offsets_ns: Mapping[str, int]) -> Sought:
    source = reading.source
    region = source.evidence.region
    if reading.vantage not in ("device", "host"):
        return Sought(why="what it tells is needed to read the others")
    if any(one.lines is None for one in reading.dissectors):
        return Sought(why="it is no log of lines")
    if region is None:
        return Sought(why="it cannot be read but in order")

    def stamp(line: bytes) -> Moment | None:
        found = prefix.read(line, source.written_ns)
        told = (found.time_ns, found.clock) if found is not None else (None, None)
        if told[0] is None:
            around = read_envelope(line, source.written_ns)
            told = around.time_ns, around.clock
        time_ns, clock = told
        return None if time_ns is None or clock is None else (time_ns + offsets_ns.get(clock, 0), clock)

    def since(first: Moment, last: Moment) -> int | str:
        time_ns = limit(first[0], last[0])
        if time_ns is None:
            return "the time is one of a day, and it holds more than one"
        return time_ns - ZONES_NS if first[1] in _LOCAL else time_ns

    with region.reader() as reader:
        if codec_of(reader.at(0, MAGIC_BYTES)):
            return Sought(why="it is compressed")
        return seek(reader, stamp, since)
