"""``xptrace whatif``: the same guest on another device: who binds, who unplugs, what is lost at the next boot.

Without properties of a device, four are tried: the older identity, the newer, both, and the older with this driver
blacklisted. Every line is a prediction, from models of the driver and of the device.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator

from xptrace.cli import common, device
from xptrace.cli.replay import chosen_profile
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.replay.whatif import KEYS, Negotiations, Prediction, predict, variants_of


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    device.add_device(command)
    command.add_argument("--vm", action="append", metavar="NAME", help="only this VM (may be given again)")
    command.add_argument("--boot", type=int, metavar="N", help="only this boot")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where no negotiation of a known driver was found."""
    profile = chosen_profile(arguments, arguments.vm)
    decoder = common.decoder(arguments)
    rows = (row for row in decoder.rows(common.progress(), brief=True) if not arguments.vm or row.vm in arguments.vm)
    negotiations = Negotiations()
    deque(negotiations.watch(rows), maxlen=0)
    found = [one for one in negotiations.found if arguments.boot in (None, one.boot)]
    start = device.start(arguments, profile)
    predictions = [
        prediction for one in found for variant in variants_of(start, one)
        if (prediction := predict(one, variant)) is not None
    ]
    common.write(_lines(predictions, arguments), arguments.output)
    code = common.close(decoder, full=arguments.ledger)
    if found and not predictions:
        raise XptraceError("no driver that is known makes these accesses")
    return code if predictions else 1


def _lines(predictions: list[Prediction], arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "jsonl":
        for prediction in predictions:
            row = prediction.row()
            yield lines.jsonl({key: row[key] for key in KEYS})
        return
    from xptrace.views.prediction import prediction_lines

    yield from prediction_lines(predictions, assumed_inventory=arguments.inventory is None,
                                colour=common.colour(arguments.output is None))
