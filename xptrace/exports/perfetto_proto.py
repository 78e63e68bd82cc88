"""The few messages of Perfetto's trace format that an export needs, as a table of fields, and their encoding.

Law: protos/perfetto/trace/trace_packet.proto, clock_snapshot.proto, track_event/track_descriptor.proto,
process_descriptor.proto, counter_descriptor.proto, track_event.proto and debug_annotation.proto of Perfetto for names
and numbers; Protocol Buffers' own encoding (protobuf.dev, "Encoding") for the bytes: a field is a varint of its number
and wire type, then a varint, or a length and so many bytes. A packet of an instant, 8 to 58 being field numbers::

    40 05                                timestamp (8): 5
    50 01                                trusted_packet_sequence_id (10): 1
    5a 09 48 03 58 07 ba 01 02 68 69     track_event (11): type (9) 3, track_uuid (11) 7, name (23) "hi"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NUMBER, TEXT = "number", "text"
"""A field is a number (any integer, an enumeration, a boolean), a text, or the message that is named."""

MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Trace": {"packet": (1, "TracePacket")},
    "TracePacket": {
        "clock_snapshot": (6, "ClockSnapshot"), "timestamp": (8, NUMBER), "trusted_packet_sequence_id": (10, NUMBER),
        "track_event": (11, "TrackEvent"), "sequence_flags": (13, NUMBER), "timestamp_clock_id": (58, NUMBER),
        "track_descriptor": (60, "TrackDescriptor"),
    },
    "ClockSnapshot": {"clocks": (1, "Clock"), "primary_trace_clock": (2, NUMBER)},
    "Clock": {"clock_id": (1, NUMBER), "timestamp": (2, NUMBER), "unit_multiplier_ns": (4, NUMBER)},
    "TrackDescriptor": {
        "uuid": (1, NUMBER), "name": (2, TEXT), "process": (3, "ProcessDescriptor"), "parent_uuid": (5, NUMBER),
        "counter": (8, "CounterDescriptor"), "child_ordering": (11, NUMBER), "sibling_order_rank": (12, NUMBER),
        "description": (14, TEXT),
    },
    "ProcessDescriptor": {"pid": (1, NUMBER), "process_name": (6, TEXT), "process_labels": (8, TEXT)},
    "CounterDescriptor": {"unit_name": (6, TEXT)},
    "TrackEvent": {
        "debug_annotations": (4, "DebugAnnotation"), "type": (9, NUMBER), "track_uuid": (11, NUMBER),
        "categories": (22, TEXT), "name": (23, TEXT), "counter_value": (30, NUMBER),
    },
    "DebugAnnotation": {"int_value": (4, NUMBER), "string_value": (6, TEXT), "name": (10, TEXT)},
}
"""Every message, its fields by name, their numbers and kinds; a list stands for a field that is repeated."""

SLICE_BEGIN, SLICE_END, INSTANT, COUNTER = 1, 2, 3, 4
"""TrackEvent.Type."""
REALTIME: Final = 1
"""BUILTIN_CLOCK_REALTIME: nanoseconds since 1970, UTC."""
BOOTTIME: Final = 6
"""BUILTIN_CLOCK_BOOTTIME, the clock that traces have by default."""
OWN_CLOCK: Final = 64
"""The first of the clock numbers that mean something within one sequence of packets only."""
ORDER_EXPLICIT: Final = 3
"""TrackDescriptor.ChildTracksOrdering: by rank."""
STATE_CLEARED: Final = 1
"""TracePacket.SequenceFlags: nothing before this packet is referred to after it."""

_VARINT, _LENGTH = 0, 2
_WORD: Final = (1 << 64) - 1


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number is its two's complement in 64 bits."""
    number &= _WORD
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(message: str, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a message, its fields in the order of their numbers; a value of None is left out.

    Raises KeyError for a field that the table does not have, UnicodeEncodeError for a text that is no Unicode.
    """
    out, table = bytearray(), MESSAGES[message]
    for name in sorted(fields, key=lambda field: table[field][0]):
        (number, kind), given = table[name], fields[name]
        for value in given if isinstance(given, list) else (given,):
            if value is None:
                continue
            if kind == NUMBER:
                out += _varint(number << 3 | _VARINT) + _varint(value)
                continue
            body = value.encode() if kind == TEXT else encode(kind, value)
            out += _varint(number << 3 | _LENGTH) + _varint(len(body)) + body
    return bytes(out)
