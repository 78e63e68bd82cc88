"""``xptrace diff``: where two negotiations part, aligned by what they mean and not by their timing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from xptrace.access.decode import Decoder
from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.negotiation.diff import Difference, Side, choose, compare
from xptrace.views.difference import difference_lines

_EXIT_CODES = "exit codes: 0, both are the same; 1, they differ; 2, a side cannot be read or has no negotiation"


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.epilog = _EXIT_CODES
    command.add_argument("a", metavar="A", help="a recording, plain or compressed; - is stdin")
    command.add_argument("b", metavar="B", nargs="?", help="the other one; missing, another VM or boot of A")
    common.add_reading(command)
    which = command.add_argument_group("what to compare", "by default, the first VM and boot with a negotiation")
    which.add_argument("--vm", metavar="NAME", help="this VM of A")
    which.add_argument("--boot", type=int, metavar="NUMBER", help="this boot of A, counted from 1")
    which.add_argument("--vm-b", metavar="NAME", help="this VM of B; within one recording, by default the VM of A")
    which.add_argument("--boot-b", type=int, metavar="NUMBER", help="this boot of B")
    which.add_argument("--all", action="store_true", help="accesses to config space and BAR1 as well")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    first, second = arguments.a, arguments.b
    if second is None:
        if arguments.vm_b is None and arguments.boot_b is None:
            raise XptraceError("nothing to compare with: give a second recording, --vm-b or --boot-b")
        second = first
    alone = first == second
    if alone and first == "-":
        raise XptraceError("standard input can be read only once: write it to a file, and compare that")
    tell = common.progress()
    decoders = [common.decoder(arguments, [path]) for path in (first, second)]
    a = _side(decoders[0], first, arguments.vm, arguments.boot, arguments.all, tell)
    vm_b = a.vm if alone and arguments.vm_b is None else arguments.vm_b
    b = _side(decoders[1], second, vm_b, arguments.boot_b, arguments.all, tell)
    difference = compare(a.steps, b.steps)
    common.write(_lines(difference, a, b, arguments), arguments.output)
    if not alone:  # one account of all that was read, and of each source once
        decoders[0].readings.extend(decoders[1].readings)
        decoders[0].ledgers.extend(decoders[1].ledgers)
    common.close(decoders[0], full=arguments.ledger)
    return 0 if difference.same else 1


def _side(
    decoder: Decoder, path: str, vm: str | None, boot: int | None, every: bool, tell: Callable[[int], None] | None
) -> Side:
    side = choose(decoder.rows(tell, brief=True), vm=vm, boot=boot, every=every)
    if side is None:
        whose = "" if vm is None else f" of VM {vm!r}"
        when = "" if boot is None else f" in boot {boot}"
        raise XptraceError(f"{path}: no negotiation{whose}{when}; `xptrace summary` tells what it holds")
    return side


def _lines(difference: Difference, a: Side, b: Side, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "text":
        yield from difference_lines(difference, a, b, colour=common.colour(arguments.output is None))
        return
    for number, pair in enumerate(difference.pairs, 1):
        yield lines.jsonl(pair.row(number))
