r"""perf's own file, which perf script makes readable.

Law: Linux' tools/perf/Documentation/perf.data-file-format.txt: the magic `PERFILE2` as a number in the byte order of
the host, then the size of the header::

    50 45 52 46 49 4c 45 32 68 00 00 00 00 00 00 00   |PERFILE2h.......|

The first form of the file had `PERFFILE`. The text that perf script writes has every event.
"""

from __future__ import annotations

from dissectors import Dissector

_MAGICS = (b"PERFILE2", b"2ELIFREP", b"PERFFILE")


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a file: its first bytes say so, in either order."""
    return 100 if head.startswith(_MAGICS) else 0


DISSECTOR = Dissector(
    "perf.data", "perf's recording of events, before it is made readable",
    bytes.fromhex("50455246494c45326800000000000000"), sniff, vantage="host",
    advice="perf script -i FILE > FILE.txt",
)
