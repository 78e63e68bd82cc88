"""The command line: one file a command; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import xptrace
from xptrace.errors import XptraceError

EXIT_CODES = """exit codes:
  0  done, and there was something to show
  1  nothing of this traffic was found; replay: something disagrees; diff: something differs
  2  a wrong argument, or an input that cannot be read
  130  interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line, as shell completion and the help page see it."""
    from xptrace.cli import decode, diff, replay, state, summary, whatif

    top = argparse.ArgumentParser(
        prog="xptrace",
        description="Decode what a Xen guest and its device model settled over the platform PCI device.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xptrace {xptrace.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (decode, summary, replay, state, whatif, diff):
        command.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is escaped, not refused
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except XptraceError as error:
        from xptrace.views.escape import printable

        print(f"xptrace: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, e.g. head, has seen enough
        _abandon_output()
        return 0
    except OSError as error:
        print(f"xptrace: output: {error.strerror or error}", file=sys.stderr)
        _abandon_output()
        return 2
    return code


def _abandon_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's own last flush does not fail as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
