"""``xptrace export``: the recording in the format of somebody else's tool."""

from __future__ import annotations

import argparse
import sys

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports.export import FORMATS, exporter
from xptrace.exports.file import whole


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("--to", required=True, metavar="FORMAT", choices=FORMATS,
                         help=f"what to write: {', '.join(FORMATS)}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    chosen = exporter(arguments.to)
    case = common.case(arguments)
    if arguments.output is not None:
        with whole(arguments.output) as file:
            chosen.write(case, file)
    elif chosen.binary and sys.stdout.isatty():
        raise XptraceError(f"{chosen.name} is binary: name a file with -o, or write to a pipe")
    else:
        chosen.write(case, sys.stdout.buffer)
    return common.close(case.decoder, full=arguments.ledger)
