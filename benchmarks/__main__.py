"""How fast xptrace is and how much memory it takes, each case beside its peer in the same run, as one Markdown table.

Progress goes to standard error. Recordings are made in a temporary folder, which is removed at the end; a full run
needs 5 GB there.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench
from benchmarks.cases import CASES, FULL, QUICK, RECORDING, Sizes
from benchmarks.growth import Point
from benchmarks.process import FailedError
from benchmarks.table import Row, markdown

_SIZES: Final = ("sparse", "dense", "events", "replay", "growth", "gzip", "packets")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything small, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE",
                        help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each case is measured (5; quick: 2)")
    parser.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                        help="begin no further round of a case after so long (60)")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the temporary folder is made")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the picture of growth: .svg, .png or .pdf")
    sizes = parser.add_argument_group("sizes (text in millions of bytes)")
    sizes.add_argument("--sparse", type=float, metavar="MB", help=f"the sparse text ({FULL.sparse:g})")
    sizes.add_argument("--dense", type=float, metavar="MB", help=f"the dense text ({FULL.dense:g})")
    sizes.add_argument("--events", type=int, metavar="N", help=f"the events of simpletrace ({FULL.events})")
    sizes.add_argument("--replay", type=float, metavar="MB", help=f"the text that is replayed ({FULL.replay:g})")
    sizes.add_argument("--growth", type=float, nargs="+", metavar="MB",
                       help=f"the sparse texts over which growth is told ({' '.join(map(str, FULL.growth))})")
    sizes.add_argument("--gzip", type=float, metavar="MB", help=f"the text that is compressed ({FULL.gzip:g})")
    sizes.add_argument("--packets", type=float, metavar="MB", help=f"the text that becomes pcapng ({FULL.packets:g})")
    named = parser.add_argument_group("what is not generated")
    named.add_argument("--xentrace", type=Path, default=RECORDING, metavar="FILE",
                       help="a recording of xentrace, plain or .xz")
    named.add_argument("--simpletrace-script", type=shlex.split, default=(), metavar="COMMAND",
                       help="QEMU's reader, e.g. 'python3 scripts/simpletrace.py trace-events-all'; the file follows")
    return parser


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = replace(QUICK if options.quick else FULL, xentrace=options.xentrace,
                    simpletrace_script=tuple(options.simpletrace_script))
    given: dict[str, Any] = {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}
    return replace(sizes, **given)


def _measured(bench: Bench, sizes: Sizes, names: Sequence[str]) -> Iterator[Row | Point]:
    """Every case in order; one that fails has a row that says so, and the others go on."""
    for name in names:
        begin = time.monotonic()
        try:
            for found in CASES[name](bench, sizes):
                if isinstance(found, Row):
                    print(" · ".join(filter(None, found.cells())), file=sys.stderr)
                yield found
        except FailedError as failed:
            yield Row(name, str(failed), "")
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, as the command line says, and print the table."""
    parser = _parser()
    options = parser.parse_args(words)
    rounds = options.rounds if options.rounds is not None else 2 if options.quick else 5
    sizes = _sizes(options)
    if min(rounds, sizes.sparse, sizes.dense, sizes.events, sizes.replay, *sizes.growth, sizes.gzip,
           sizes.packets) <= 0:
        parser.error("rounds and sizes must be greater than zero")
    with tempfile.TemporaryDirectory(prefix="xptrace-benchmark-", dir=options.folder) as folder:
        bench = Bench(Path(folder), rounds, options.patience)
        found = list(_measured(bench, sizes, options.only))
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs\n")
    print(markdown(one for one in found if isinstance(one, Row)))
    points = [one for one in found if isinstance(one, Point)]
    if options.plot and points:
        from benchmarks.picture import draw

        draw(points, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
