r"""Recordings of LTTng themselves, the Common Trace Format: recognised, and read by babeltrace first.

Law: the Common Trace Format, version 1.8: 5 (a packet of events begins with a magic number), 7.1 (the metadata is text
that begins with a comment of its version, or packets with a magic number of their own), each in either byte order::

    c11ffcc1 27668583...    a channel: 0xC1FC1FC1, and the trace's UUID
    571dd175 27668583...    the metadata in packets: 0x75D11D57
    2f2a2043 54462031...    the metadata as text: "/* CTF 1.8 */"
    c1f1dcc1 00000001...    LTTng's index of a channel: 0xC1F1DCC1 (lttng-tools' src/common/index/ctf-index.h)

Nothing is read here: the metadata is a program for the bytes, and babeltrace is what runs it. Seconds since 1970 are
asked for, because by default babeltrace prints a time of day without its date.
"""

from __future__ import annotations

from typing import Final

from dissectors import Dissector

PACKET, METADATA, INDEX = 0xC1FC1FC1, 0x75D11D57, 0xC1F1DCC1
"""Magic numbers."""
TEXT: Final = b"/* CTF 1."

_SIGNS: Final = tuple(
    sign for magic in (PACKET, METADATA, INDEX) for sign in (magic.to_bytes(4, "little"), magic.to_bytes(4, "big"))
)


def sniff(head: bytes) -> int:
    """How sure it is that a source is a file of such a recording: its first bytes say so."""
    return 95 if head.startswith((TEXT, *_SIGNS)) else 0


DISSECTOR = Dissector(
    "ctf", "a recording of LTTng (Common Trace Format)",
    bytes.fromhex("c11ffcc127668583bc5b4b029e6a4084c69361f4000000000000000000000000"), sniff,
    advice="babeltrace2 --clock-seconds DIRECTORY > FILE.txt",
)
