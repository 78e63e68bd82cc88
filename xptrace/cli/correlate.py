"""``xptrace correlate``: several recordings of the same accesses: what is the same, and how their clocks stand."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator

from dissectors.xen.xentrace import ASSUMED_HZ
from xptrace.access.correlation import Correlation, Views
from xptrace.cli import common
from xptrace.exports import lines


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")
    command.add_argument("--summary", action="store_true", help="only the relation of the clocks, not each access")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where no two recordings have anything in common."""
    decoder = common.decoder(arguments)
    views = Views(decoder.vms)
    deque(views.watch(decoder.entries(common.progress())), maxlen=0)
    found = views.correlations()
    common.write(_lines(found, arguments), arguments.output)
    code = common.close(decoder, full=arguments.ledger, also=views.limits)
    return code if found else 1


def _lines(found: list[Correlation], arguments: argparse.Namespace) -> Iterator[str]:
    from xptrace.views.correlation import correlation_lines, rows

    if arguments.format == "jsonl":
        for one in found:
            yield from map(lines.jsonl, rows(one, matches=not arguments.summary))
        return
    colour = common.colour(arguments.output is None)
    for one in found:
        yield from correlation_lines(one, matches=not arguments.summary, colour=colour,
                                     tsc_hz=arguments.tsc_hz or ASSUMED_HZ)
    if not found:
        yield "no two of these recordings saw the same access of the same VM"
