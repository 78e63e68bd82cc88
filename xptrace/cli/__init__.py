"""The command line: one file a command; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import xptrace
from xptrace.errors import XptraceError

EXIT_CODES = """exit codes:
  0  done, and there was something to show
  1  nothing of this traffic was found; replay: something disagrees; diff: something differs
  10 to 13  check: the worst finding is info, low, medium, high
  2  a wrong argument, or an input that cannot be read
  130  interrupted
"""


COMMANDS: Final = {
    "decode": "one line per access: time, VM, access, meaning",
    "summary": "one line per VM and boot: driver, what was unplugged, verdict",
    "timeline": "the negotiations as lanes on a time axis, in the terminal or as a picture",
    "check": "what went wrong, worst first, with the bytes that prove it",
    "replay": "each observed answer beside the model's; --fit: which device it was",
    "state": "what the device held at one instant, or interval by interval",
    "whatif": "the same guest on another device: who binds, who unplugs",
    "correlate": "several recordings of the same accesses: what is the same, how their clocks stand",
    "fields": "what a filter (-Y) can ask for: each field with type, unit, meaning, example",
    "sql": "a question to the tables, of recordings or exported before, in SQL",
    "minimise": "the smallest recording that still gives a named finding",
    "redact": "a recording without names, addresses and texts, and the proof that its findings stay",
    "export": "the recording in the format of somebody else's tool",
    "wireshark": "the Wireshark plug-in for recorded traffic, made from the register map",
    "shell": "scapy's shell with the recording's packets",
    "info": "what each file is, which VMs and clocks it holds, from when to when",
    "dissectors": "every format that can be read, each with a real line of it",
    "new-dissector": "the skeleton of a dissector of your own",
    "diff": "where two negotiations part, whatever their timing",
    "generate": "a recording of a modelled driver on a modelled device",
    "follow": "a recording that is still being written: rows and findings as they come",
    "doctor": "what this installation is made of, what it lacks, and what that would be good for",
    "explain": "registers, products, profiles, drivers and mask bits in words",
}
"""Every command with what it is for; a module of its name in this room declares its arguments and runs it."""


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The command line; only the arguments of the chosen command are declared, or of all where none is."""
    top = argparse.ArgumentParser(
        prog="xptrace",
        description="Decode what a Xen guest and its device model settled over the platform PCI device.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xptrace {xptrace.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if chosen in (None, name):
            module = import_module(f"xptrace.cli.{name.replace('-', '_')}")
            command.description = module.__doc__
            module.add(command)
            command.set_defaults(run=module.run)
    return top


_SWITCH_S: Final = 0.0005
"""How long a thread waits for the interpreter's lock: those that read and unpack need it often, and for a moment."""
_NO_THREADS: Final = "OPENBLAS_NUM_THREADS", "1"
"""numpy begins threads for linear algebra, of which there is none here: they take as long as to load the rest of it."""
_ONE_HEAP: Final = "ARROW_DEFAULT_MEMORY_POOL", "system"
"""Arrow's own heap gives back what it does not need for a moment; what it then gets again has to be cleared anew."""
_YOUNG: Final = 50_000
"""Objects at which cycles are looked for: modules that load make many, and none of them is to be collected."""


def program() -> int:
    """Run the command of the command line, in a process that is there for nothing else; returns the exit code."""
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    sys.setswitchinterval(_SWITCH_S)
    for setting in (_NO_THREADS, _ONE_HEAP):
        os.environ.setdefault(*setting)
    try:
        return main()
    finally:
        gc.freeze()  # what goes with the process need not be looked through for cycles


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        words = sys.argv[1:] if argv is None else argv
        chosen = next((word for word in words if not word.startswith("-")), "")
        arguments = parser(chosen).parse_args(argv)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is escaped, not refused
                stream.reconfigure(errors="backslashreplace")
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except XptraceError as error:
        from xptrace.views.escape import printable

        print(f"xptrace: {printable(str(error))}", file=sys.stderr)
        if error.place is not None:
            from xptrace.views.fault import picture

            for line in picture(*error.place):
                print(line, file=sys.stderr)
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
