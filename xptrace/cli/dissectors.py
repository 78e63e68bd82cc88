"""``xptrace dissectors``: every format that can be read, each with a real line or record of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from dissectors import Dissector, broken, dissectors
from xptrace.cli import common
from xptrace.exports import lines
from xptrace.views.escape import printable, printable_bytes


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    common.write(_lines(arguments.format), None)
    return 0


def _lines(form: str) -> Iterator[str]:
    for one in dissectors().values():
        if form == "jsonl":
            yield lines.jsonl({"name": one.name, "title": one.title, "kind": _kind(one), "vantage": one.vantage,
                               "example": printable_bytes(one.example), "advice": one.advice or None})
            continue
        yield f"{printable(one.name):<22} {printable(one.title)} ({_kind(one)}, {one.vantage})"
        yield f"{'':<22} {printable_bytes(one.example)}" if not one.advice else f"{'':<22} {printable(one.advice)}"
    if form == "text":
        for name, why in broken().items():
            yield f"{printable(name):<22} cannot be used: {printable(why)}"


def _kind(one: Dissector) -> str:
    return "lines" if one.lines is not None else "bytes" if one.stream is not None else "converted first"
