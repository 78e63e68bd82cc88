"""``xptrace minimise``: the smallest recording that still gives a named finding.

It may be a ticket's attachment, or a test: its lines are those of the recording, and none of them can be left out.
"""

from __future__ import annotations

import argparse
import sys

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.findings.assess import all_rules
from xptrace.findings.door import book_with
from xptrace.replay.device import devices_of
from xptrace.share.minimise import MOST_SECONDS, MOST_TRIALS, Limits, Minimised, Named, Progress, minimise
from xptrace.share.settings import Settings
from xptrace.views.escape import printable


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("--finding", required=True, metavar="RULE[@VM[#BOOT]]",
                         help="which finding, as xptrace check names it, e.g. A14@win10#2")
    command.add_argument("--most-trials", type=int, default=MOST_TRIALS, metavar="N",
                         help="how many smaller recordings to try (default: %(default)s)")
    command.add_argument("--most-seconds", type=float, default=MOST_SECONDS, metavar="SECONDS",
                         help="how long to try (default: %(default)s)")
    command.add_argument("--rules", action="append", default=[], metavar="FILE",
                         help="rules of your own, a Python or a TOML file (may be given again)")
    command.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                         help="how long a frontend may take to connect (default: 60)")
    command.add_argument("--inventory", metavar="LIST",
                         help="the emulated devices, e.g. ide0,cd3,nvme,e1000; or a file with QEMU's command line")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.output is None:
        raise XptraceError("minimise needs -o: a file for one recording, or a directory")
    if not 0 <= arguments.patience <= 10**9:
        raise XptraceError("--patience is a number of seconds")
    settings = Settings(
        tuple(arguments.trace_events), arguments.source, arguments.tsc_hz, dict(arguments.clock_offset),
        book_with(all_rules(), arguments.rules), int(arguments.patience * 10**9), devices_of(arguments.inventory)[0],
    )
    limits = Limits(arguments.most_trials, arguments.most_seconds)
    done = minimise(arguments.files, Named.of(arguments.finding), arguments.output, settings, limits, _progress())
    for line in _said(done):
        print(line)
    return 0


def _progress() -> Progress | None:
    """Tells how far it has come, where standard error is a terminal."""
    if not sys.stderr.isatty():
        return None

    def tell(trials: int, left: int) -> None:
        print(f"\rxptrace: {left} lines, {trials} trials\x1b[K\r", end="", file=sys.stderr, flush=True)

    return tell


def _said(done: Minimised) -> list[str]:
    found = done.finding
    end = "none of them can be left out" if done.minimal else "a limit was reached: fewer may do"
    return [
        f"{done.before} lines became {done.after} in {done.trials} trials; {end}",
        f"read again, they give {found.rule.id} ({found.severity}): {printable(found.sentence)}",
        *(f"{printable(name)}" for name in done.written),
    ]
