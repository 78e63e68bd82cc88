"""``xptrace summary``: one line per VM and boot, with what was settled, worst first."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from typing import Any

from xptrace.cli import common
from xptrace.exports import lines
from xptrace.negotiation.story import Stories
from xptrace.negotiation.summary import KEYS, complete, summary_row, worst_first
from xptrace.views.terminal import summary_lines


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    common.add_filter(command, """code != complete || duration_ns > 5s""")
    command.add_argument("-T", dest="format", choices=("text", "jsonl", "csv"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    decoder = common.decoder(arguments)
    stories = Stories(decoder.vms)
    deque(stories.watch(decoder.entries(common.progress(), brief=True)), maxlen=0)
    rows = [summary_row(story) for story in worst_first(complete(stories, decoder.vms.values()))]
    if (wanted := common.wanted(arguments, "negotiations")) is not None:
        rows = [*wanted.choose(rows)]
    common.write(_lines(rows, arguments), arguments.output)
    return common.close(decoder, full=arguments.ledger, also=stories.limits)


def _lines(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "text":
        if rows:
            yield from summary_lines(rows, colour=common.colour(arguments.output is None))
        return
    yield from lines.header(arguments.format, KEYS)
    write = lines.jsonl if arguments.format == "jsonl" else lines.csv_writer(KEYS)[1]
    for row in rows:
        yield write(row)
