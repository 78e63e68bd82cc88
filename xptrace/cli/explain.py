"""``xptrace explain``: the protocol in words: registers, masks, numbers, drivers, devices and their history.

WHAT is a name (magic, nvme_disks, qemu-8.2, 5853:0002, linux), a number (0x10, 0xd249, c100), or a kind and a name
(port 0x12, mask 0x3, product 3, build 589824); the plural of a kind (profiles, drivers) is all of it. Without any, what
can be explained is listed.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Iterator

from xptrace.cli import common
from xptrace.exports import lines
from xptrace.views.explanation import Page, explain, page_lines

NARROWEST, WIDEST = 40, 100
"""Lines that are longer are hard to read, and so are shorter ones, however wide the terminal is."""


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("what", nargs="*", metavar="WHAT", help="what to explain, one after the other")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")
    command.add_argument("-o", "--output", metavar="FILE", help="write there; the file appears whole or not at all")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    common.write(_lines(explain(arguments.what), arguments), arguments.output)
    return 0


def _lines(pages: Iterable[Page], arguments: argparse.Namespace) -> Iterator[str]:
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns))
    for number, page in enumerate(pages):
        if arguments.format == "jsonl":
            yield lines.jsonl(page.row())
            continue
        if number:
            yield ""
        yield from page_lines(page, width, colour=common.colour(arguments.output is None))
