"""One process from start to end: how long it took, and the most memory that it and its children held.

Linux tells two things, and the larger counts: `wait4`, the peak of the one process (exact, but never less than what the
runner itself held when it started it); and `/proc`, looked at twenty times a second, the resident memory of the
process and all that it started, added up (pages that they share are counted in each of them). Elsewhere only the
first is there. Pages of a file that is mapped into memory are resident memory too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MAXRSS_BYTES: Final = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
_EVERY_SECONDS: Final = 0.05
"""To look takes a processor some tenths of a millisecond, which what is measured may want itself."""
_SAID_BYTES: Final = 300


class FailedError(RuntimeError):
    """A command did not end well, or said nothing where it should."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is measured: the words of the command line, and what the table calls it."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None
    """The file that it writes itself; None where it prints."""
    well: Collection[int] = (0,)
    """The exit codes with which it ends well."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end."""

    seconds: float
    peak_bytes: int


def run(command: Command, folder: Path) -> Run:
    """Run a command to its end; raises FailedError where it does not end well."""
    printed, errors = folder / "printed", folder / "errors"
    if command.output is not None:
        command.output.unlink(missing_ok=True)
    # a file and not the null device, before which GNU grep stops at the first match
    with printed.open("wb") as out, errors.open("wb") as err:
        start = time.perf_counter()
        with subprocess.Popen(command.words, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                              env={**os.environ, **command.environment}) as process:
            watch = _Watch(process.pid)
            watch.start()
            _, status, usage = os.wait4(process.pid, 0)  # the usage of this one child, not of all so far
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            watch.stop()
    if process.returncode not in command.well:
        said = " ".join(errors.read_text(errors="replace").split())[-_SAID_BYTES:]
        raise FailedError(f"{command.name} ended with {process.returncode}: {said}")
    if command.output is not None and not command.output.exists():
        raise FailedError(f"{command.name} ended well, but wrote no file")
    return Run(seconds, max(usage.ru_maxrss * _MAXRSS_BYTES, watch.peak_bytes))


class _Watch(threading.Thread):
    """Looks at a process and its children until it is told to stop."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._process = process
        self._done = threading.Event()

    def run(self) -> None:
        """Look, twenty times a second."""
        while not self._done.wait(_EVERY_SECONDS):
            self.peak_bytes = max(self.peak_bytes, _resident_bytes(self._process))

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self.join()


def _resident_bytes(process: int) -> int:
    """What a process and its descendants hold now; 0 where nobody tells."""
    folder = Path("/proc", str(process))
    try:
        pages = int((folder / "statm").read_text().split()[1])
        children = [int(one) for task in (folder / "task").iterdir() for one in (task / "children").read_text().split()]
    except (OSError, IndexError, ValueError):  # it has ended, or there is no such folder
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(_resident_bytes, children))
