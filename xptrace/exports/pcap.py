"""Recorded traffic as plain pcap: the packets of the pcapng export, for tools that read nothing else.

Law: `dissectors.capture.pcap`, which says what this format cannot hold; findings are in no place of it.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from dissectors.capture.header import HeaderError
from dissectors.capture.pcap import Writer
from xptrace.errors import XptraceError
from xptrace.exports.export import Export
from xptrace.exports.pcapng import packets

if TYPE_CHECKING:
    from xptrace.case import Case


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as one file."""
    writer = Writer(file)
    for entry, data in packets(case):
        try:
            writer.write(entry.time_ns, data)
        except HeaderError as error:
            place = entry.records[0]
            raise XptraceError(f"{place.source}:{place.line} @{place.offset}: {error}") from None


EXPORT = Export("pcap", "recorded traffic for tools that read no pcapng", ".pcap", write)
