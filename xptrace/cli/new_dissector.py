"""``xptrace new-dissector``: the skeleton of a dissector of your own, ready to be installed beside xptrace."""

from __future__ import annotations

import argparse
from pathlib import Path

from xptrace.cli import common
from xptrace.exports.skeleton import write_skeleton
from xptrace.views.escape import printable


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("name", metavar="NAME", help="what the format is called, e.g. my-hypervisor")
    command.add_argument("-o", "--output", metavar="DIRECTORY", default=".", help="below which to write it")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    files = write_skeleton(arguments.name, Path(arguments.output))
    said = [f"wrote {printable(str(file))}" for file in files]
    common.write([*said, f"now: pip install --editable {printable(str(files[0].parent))}; xptrace dissectors lists it"],
                 None)
    return 0
