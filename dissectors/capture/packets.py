"""From a packet of a capture to a record, whichever file it stood in."""

from __future__ import annotations

from dissectors.capture.header import CAPTURED, CLOCK_NAMES, NO_CLOCK, OTHER_CLOCK, HeaderError, unpack
from dissectors.record import Damage, Record

_LAST_TIME = 1 << 63


def read(
    source: str, offset: int, length: int, number: int, raw: bytes, packet: bytes, time_ns: int | None
) -> Record | Damage:
    """What a packet says; `offset` and `length` are the place of what it stood in, `raw` are the bytes there.

    The packet's time is none where its head says that there is none, or where no clock shows it.
    """
    try:
        values = unpack(packet)
    except HeaderError as error:
        return Damage(source, offset, length, number, f"no packet of xptrace: {error}")
    record = Record(source, offset, length, number, "", values, raw, derived=bool(values["derived"]))
    record.event = CAPTURED[record.integer("kind") or 0]
    record.guest = record.text("vm").decode("utf-8", "surrogateescape") or None
    told = record.integer("clock") or NO_CLOCK
    if told != NO_CLOCK and time_ns is not None and 0 <= time_ns < _LAST_TIME:
        record.time_ns, record.clock = time_ns, CLOCK_NAMES.get(told, CLOCK_NAMES[OTHER_CLOCK])
        if told == OTHER_CLOCK and record.text("clock_name"):
            record.clock = record.text("clock_name").decode("utf-8", "replace")
    return record
