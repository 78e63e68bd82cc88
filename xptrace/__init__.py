"""xptrace: the protocol analyzer for the Xen platform PCI device and the unplug protocol of its drivers."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xptrace.case import Case

__all__ = ["open"]
__version__ = "0.1.0"


def open(*paths: str | PathLike[str], memory: int | str | None = None) -> Case:  # noqa: A001  (as gzip.open)
    """Decode recordings into a case with `.accesses`, `.messages`, `.negotiations` and others (pandas DataFrames).

    `memory` is what the tables may take, in bytes or as `2GiB`: by default what the environment variable
    XPTRACE_MEMORY says, else a quarter of what is available. Past it they lie in files that go with the case, and the
    case says so: `case.dataset`, `case.batches` and `case.filter` work as before, and a DataFrame of more than that
    raises XptraceError. Raises XptraceError where a path cannot be read, too.
    """
    from xptrace.case import Case

    return Case([fspath(path) for path in paths], memory=memory)
