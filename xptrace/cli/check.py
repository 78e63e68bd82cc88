"""``xptrace check``: what went wrong, worst first, each finding with the bytes that prove it."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from typing import Final

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.findings.assess import KEYS, Assessment, all_rules, examine
from xptrace.findings.door import book_with
from xptrace.findings.rule import SEVERITIES
from xptrace.replay.device import devices_of

EXIT_CODES: Final = {"high": 13, "medium": 12, "low": 11, "info": 10}
"""The exit code by the worst severity that was found, where that is at or above --fail-on."""
_NEVER: Final = "never"


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.epilog = (
        "exit codes: 0, no finding at or above --fail-on; 1, nothing of this traffic was found; "
        + ", ".join(f"{code}, the worst is {severity}" for severity, code in EXIT_CODES.items())
    )
    common.add_inputs(command)
    command.add_argument("--vm", action="append", default=[], metavar="NAME", help="only this VM (may be given again)")
    common.add_filter(command, """rule in {A13, A14} && severity == high""")
    command.add_argument("--fail-on", choices=(*SEVERITIES, _NEVER), default="medium",
                         help="the mildest severity that makes the exit code say so (default: medium)")
    command.add_argument("--severity", choices=SEVERITIES, default="info", help="show nothing milder than this")
    command.add_argument("--rules", action="append", default=[], metavar="FILE",
                         help="rules of your own, a Python or a TOML file (may be given again)")
    command.add_argument("--patience", type=float, default=60, metavar="SECONDS",
                         help="how long a frontend may take to connect (default: 60)")
    command.add_argument("--inventory", metavar="LIST",
                         help="the emulated devices, e.g. ide0,cd3,nvme,e1000; or a file with QEMU's command line")
    command.add_argument("--unassessed", action="store_true", help="list the rules that lacked evidence")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: the worst severity at or above --fail-on."""
    if not 0 <= arguments.patience <= 10**9:
        raise XptraceError("--patience is a number of seconds")
    book = book_with(all_rules(), arguments.rules)
    decoder = common.decoder(arguments)
    done = examine(decoder, book=book, patience_ns=int(arguments.patience * 10**9), progress=common.progress(),
                   vms=arguments.vm, inventory=devices_of(arguments.inventory)[0])
    if (wanted := common.wanted(arguments, "findings")) is not None:
        done.findings = [found for found in done.findings if wanted.matches(found.row())]
    shown = SEVERITIES[: SEVERITIES.index(arguments.severity) + 1]
    worst = done.worst
    done.findings = [found for found in done.findings if found.severity in shown]
    common.write(_lines(done, arguments), arguments.output)
    code = common.close(decoder, full=arguments.ledger, also=done.limits)
    if worst is None or arguments.fail_on == _NEVER:
        return code
    return EXIT_CODES[worst] if SEVERITIES.index(worst) <= SEVERITIES.index(arguments.fail_on) else code


def _lines(done: Assessment, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "jsonl":
        for found in done.findings:
            row = found.row()
            yield lines.jsonl({key: row[key] for key in KEYS})
        return
    from xptrace.views.findings import assessment_lines

    width = shutil.get_terminal_size((100, 24)).columns
    yield from assessment_lines(done, width=min(width, 120), colour=common.colour(arguments.output is None),
                                unassessed=arguments.unassessed)
