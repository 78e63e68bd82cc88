"""How fast and in how much memory `xptrace decode -T jsonl` reads, beside a bare search and a bare Python loop.

All tools read the same generated file, in turns, in one run: what slows the machine for a while slows them all. Each
is a whole process, start-up included, and writes to a file: GNU grep stops at the first match where it sees that its
output is the null device.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from benchmarks.generate import MEGABYTE, Kind, Timestamps, write

XPTRACE: Final = "xptrace decode"
EMPTY: Final = (sys.executable, "-S", "-c", "print()")

_PYTHON_LOOP: Final = r"""
import re, sys
match = re.compile(rb"(?:\d+@\d+\.\d{6}:|\S+Z )?(\w+) (.*)").match
count = 0
with open(sys.argv[1], "rb") as file:
    for line in file:
        if match(line):
            count += 1
print(count)
"""

# ru_maxrss is in KiB, but in bytes on macOS
_RSS_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end."""

    seconds: float
    peak_bytes: int


def tools(path: Path) -> dict[str, list[str]]:
    """The commands that are compared, by the names that the table shows; xptrace comes first."""
    if ripgrep := shutil.which("rg"):
        search = {"rg -c xen": [ripgrep, "-c", "xen", str(path)]}
    else:
        search = {"grep -c xen": ["grep", "-c", "xen", str(path)]}
    return {
        XPTRACE: [sys.executable, "-m", "xptrace", "decode", "-T", "jsonl", str(path)],
        **search,
        "python loop": [sys.executable, "-c", _PYTHON_LOOP, str(path)],
    }


def run(command: Sequence[str], folder: Path) -> Run:
    """Run a command to its end; raises RuntimeError where it does not end well or says nothing."""
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        start = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err) as process:
            _, status, usage = os.wait4(process.pid, 0)  # the usage of this one child, not of all so far
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = errors.read_text(errors="replace").strip()
        raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}: {said}")
    if not output.stat().st_size:
        raise RuntimeError(f"{' '.join(command[:4])} ended well, but its output is empty")
    return Run(seconds, usage.ru_maxrss * _RSS_UNIT_BYTES)


def measure(commands: Mapping[str, Sequence[str]], folder: Path, *, rounds: int) -> dict[str, list[Run]]:
    """Run every command once to warm the page cache, then all in turn, `rounds` times."""
    for command in commands.values():
        run(command, folder)
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command, folder))
    return runs


def table(runs: Mapping[str, Sequence[Run]], *, size_bytes: int) -> list[str]:
    """The lines of the table for one file; the columns are told in benchmarks/README.md."""
    lines = [f"{'tool':<20}{'MB/s':>9}{'slowest':>9}{'fastest':>9}{'xptrace is':>12}{'peak MB':>9}"]
    ours = [one.seconds for one in runs[XPTRACE]]
    for name, mine in runs.items():
        seconds = [one.seconds for one in mine]
        speeds = [size_bytes / MEGABYTE / second for second in seconds]
        ratio = statistics.median(theirs / own for theirs, own in zip(seconds, ours, strict=True))  # of the same round
        beside = "" if name == XPTRACE else f"{ratio:.3g} x"
        lines.append(f"{name:<20}{statistics.median(speeds):>9.1f}{min(speeds):>9.1f}{max(speeds):>9.1f}{beside:>12}"
                     f"{_peak(mine):>9.1f}")
    return lines


def _peak(runs: Sequence[Run]) -> float:
    return max(one.peak_bytes for one in runs) / MEGABYTE


def main() -> int:
    """Measure, as the command line says, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[10, 100], metavar="N",
                        help="sizes of the logs, in millions of bytes (10 100)")
    parser.add_argument("--kind", choices=get_args(Kind), nargs="+", default=list(get_args(Kind)))
    parser.add_argument("--timestamps", choices=get_args(Timestamps), default="pid")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measured runs of each tool (3)")
    options = parser.parse_args()
    if options.rounds < 1 or min(options.megabytes) <= 0:
        parser.error("--rounds and --megabytes must be greater than zero")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, {options.rounds} rounds")
    for kind in options.kind:
        growth: list[str] = []
        for megabytes in options.megabytes:
            with tempfile.TemporaryDirectory(prefix="xptrace-benchmark-") as folder:
                path = Path(folder, "trace.log")
                log = write(path, megabytes=megabytes, kind=kind, seed=options.seed, timestamps=options.timestamps)
                print(f"\n{kind}, {log.size_bytes / MEGABYTE:.1f} MB, {log.lines} lines, "
                      f"{log.ours} of the device ({log.ours / log.lines:.1%})")
                runs = measure(tools(path), path.parent, rounds=options.rounds)
                floor = run(EMPTY, path.parent)
            print("\n".join(table(runs, size_bytes=log.size_bytes)))
            print(f"least peak that can be told: {floor.peak_bytes / MEGABYTE:.1f} MB", flush=True)
            growth.append(f"{_peak(runs[XPTRACE]):.1f} MB for a log of {megabytes:g} MB")
        print(f"\n{XPTRACE}, {kind}, peak memory: {', '.join(growth)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
