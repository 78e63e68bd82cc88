r"""trace-cmd's own file, which trace-cmd report makes readable.

Law: trace-cmd's trace-cmd.dat.v6.5 and trace-cmd.dat.v7.5: the bytes 17 08 44, `tracing`, and the version as text up
to a NUL::

    17 08 44 74 72 61 63 69 6e 67 36 00 00 08 00 10 00 00   |...tracing6.......|

The layout of each event is declared inside the file, and its records are pages of the kernel's ring buffer, in version
7 also compressed: libtracecmd is what reads them. On PyPI no package reads them by itself: trappy 6.0.1 runs trace-cmd,
and libtracecmd's own binding for Python is not published there. The text that trace-cmd report writes has every event.
"""

from __future__ import annotations

from dissectors import Dissector

_MAGIC = b"\x17\x08\x44tracing"
_VERSIONS = (b"6\0", b"7\0")


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a file: its first bytes say so, and the version that is known."""
    if not head.startswith(_MAGIC):
        return 0
    return 100 if head.startswith(_VERSIONS, len(_MAGIC)) else 90


DISSECTOR = Dissector(
    "trace.dat", "trace-cmd's recording of a kernel trace, before it is made readable",
    bytes.fromhex("17084474726163696e673600000800100000"), sniff, vantage="host",
    advice="trace-cmd report -t FILE > FILE.txt",
)
