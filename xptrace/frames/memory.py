"""How much memory the tables of a case may take: what the user says, else a quarter of what there is.

Law: proc_meminfo(5) for `MemAvailable`; Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux for
the limit of a control group, which in a container is far below the machine's memory::

    MemAvailable:   24083684 kB
    0::/user.slice/user-1000.slice/session-2.scope
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from xptrace.errors import XptraceError
from xptrace.views.escape import printable

VARIABLE: Final = "XPTRACE_MEMORY"
"""The environment variable that says it where nobody names it: bytes, or a number and a unit."""
SHARE: Final = 4
"""One part in so many of what is available is the tables': a DataFrame is as large again, and others want theirs."""
_UNKNOWN: Final = 1 << 30
"""What is taken where the machine does not tell what it has."""

_SIZE: Final = re.compile(r"(?P<number>\d{1,15}(\.\d{1,6})?) ?((?P<prefix>[kmgt])(?P<binary>i)?)?b?", re.IGNORECASE)
_PREFIXES: Final = ("", "k", "m", "g", "t")
_LIMITS: Final = {"": ("/sys/fs/cgroup", "memory.max"), "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")}
"""By controller as /proc/self/cgroup names it (none in version 2): where its groups are, and the file of the limit."""


def allowed(given: int | str | None = None) -> int:
    """Bytes that tables may take: those that are given, those of the environment, or a share of what there is.

    Raises XptraceError for what is no size.
    """
    if given is None and (said := os.environ.get(VARIABLE)):
        return _bytes(said, VARIABLE)
    return available() // SHARE if given is None else _bytes(given, "memory")


def available() -> int:
    """Bytes that a program may still take on this machine, or in the control group that it runs in."""
    return min(filter(None, (_of_the_machine(), *_of_the_groups())), default=_UNKNOWN)


def in_words(size: int) -> str:
    """A number of bytes for people, in the decimal units of disks."""
    for at in range(len(_PREFIXES) - 1, 0, -1):
        if size >= 1000**at:
            return f"{size / 1000**at:.1f} {'kMGT'[at - 1]}B"
    return f"{size} bytes"


def _bytes(given: int | str, name: str) -> int:
    """A number of bytes; units are those of DuckDB: 1 MB is 10^6 bytes, 1 MiB is 2^20."""
    found = _SIZE.fullmatch(str(given).strip())
    if found is None:
        raise XptraceError(f"{name}: expected bytes, as 500000000, 500MB or 2GiB, found {printable(str(given))!r}")
    step = 1024 if found["binary"] else 1000
    return int(float(found["number"]) * step ** _PREFIXES.index((found["prefix"] or "").lower()))


def _of_the_machine() -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # a system that has no such names
        return None


def _of_the_groups() -> Iterator[int]:
    """The limits of this process's control group and of those that it lies in."""
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = f"{line}::".split(":", 3)[:3]
        for controller in set(controllers.split(",")) & _LIMITS.keys():
            root, file = _LIMITS[controller]
            group = PurePosixPath(path)
            for one in (group, *group.parents):
                yield from (int(limit) for limit in _lines(f"{root}{one}/{file}") if limit.isdigit())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
