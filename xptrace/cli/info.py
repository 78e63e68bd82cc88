"""``xptrace info``: what each file is, how sure that is, which VMs and clocks it holds, from when to when."""

from __future__ import annotations

import argparse
from collections import deque

from xptrace.access.survey import Survey
from xptrace.cli import common
from xptrace.exports import lines


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from xptrace.views.survey import survey_lines

    decoder = common.decoder(arguments)
    survey = Survey(decoder)
    deque(survey.watch(decoder.entries(common.progress(), brief=True)), maxlen=0)
    if arguments.format == "jsonl":
        common.write((lines.jsonl(one.row()) for one in survey.sources), arguments.output)
    else:
        common.write(survey_lines(survey.sources, colour=common.colour(arguments.output is None)), arguments.output)
    return common.close(decoder, full=arguments.ledger)
