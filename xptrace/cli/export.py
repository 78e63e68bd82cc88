"""``xptrace export``: the recording in the format of somebody else's tool."""

from __future__ import annotations

import argparse
from functools import partial

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports.export import FORMATS, exporter


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("--to", required=True, metavar="FORMAT", choices=FORMATS,
                         help=f"what to write: {', '.join(FORMATS)}")
    command.add_argument("--vm", metavar="NAME", help="of a format that shows one negotiation: this VM's")
    command.add_argument("--boot", type=int, metavar="NUMBER", help="this boot of it")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    chosen = exporter(arguments.to)
    chosen_one = {"vm": arguments.vm, "boot": arguments.boot}
    if not chosen.chooses and any(value is not None for value in chosen_one.values()):
        raise XptraceError(f"{chosen.name} holds the whole case: --vm and --boot choose of one negotiation")
    case = common.case(arguments)
    write = partial(chosen.write, case, **(chosen_one if chosen.chooses else {}))
    common.write_bytes(write, arguments.output, binary=chosen.binary)
    return common.close(case.decoder, full=arguments.ledger)
