"""xptrace: the protocol analyzer for the Xen platform PCI device and the unplug protocol of its drivers."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xptrace.case import Case

__all__ = ["open"]
__version__ = "0.1.0"


def open(*paths: str | PathLike[str]) -> Case:  # noqa: A001  (the one verb of the library, as in gzip.open)
    """Decode recordings into a case with `.accesses`, `.messages` and `.summary` (pandas DataFrames).

    Raises XptraceError where a path cannot be read.
    """
    from xptrace.case import Case

    return Case([fspath(path) for path in paths])
