"""``xptrace state``: what the modelled device held at one instant, and since which access."""

from __future__ import annotations

import argparse
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xptrace.access.rows import Row
from xptrace.cli import common, device
from xptrace.cli.replay import chosen_profile
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.replay.states import KEYS, Interval, States
from xptrace.views.escape import printable
from xptrace.views.moment import Limit

_LINE = re.compile(r"line:(\d{1,18})$")


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.epilog = (
        "--at takes 2026-11-23T04:05:29Z, 04:05:29, seconds since 1970, or line:N of the recording; without it, "
        "the state at the end is shown."
    )
    common.add_inputs(command)
    device.add_device(command)
    command.add_argument("--at", metavar="TIME", help="the instant; an access at that time has happened")
    command.add_argument("--vm", metavar="NAME", help="this VM; needed where there are several")
    command.add_argument("--all", action="store_true", help="every interval of every register instead")
    command.add_argument("-T", dest="format", choices=("text", "jsonl", "csv"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where the device was not accessed before that instant."""
    from xptrace.replay.replay import Replay

    profile = chosen_profile(arguments, [arguments.vm] if arguments.vm else None)
    decoder = common.decoder(arguments)
    replay = Replay(device.start(arguments, profile), decoder.vms)
    states = States(replay)
    rows = _until(decoder.rows(common.progress(streams=True), brief=True), arguments)
    found: Iterable[Interval] = states.watch(replay.rows(rows))
    if not arguments.all:
        deque(found, maxlen=0)
        found = _of_one_vm(states.now, arguments.vm)
    common.write(_lines(found, arguments, replay), arguments.output)
    code = common.close(decoder, full=arguments.ledger)
    return code if arguments.all or found else 1


def _until(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows up to the instant; those after it are read, for the account, but not replayed."""
    at_line = _LINE.match(arguments.at) if arguments.at else None
    limit = Limit(arguments.at) if arguments.at and not at_line else None
    for row in rows:
        if arguments.vm and row.vm != arguments.vm:
            continue
        if limit is not None and (row.time_ns is None or limit.compare(row.time_ns) > 0):
            continue
        if at_line and row.cited.line > int(at_line[1]):
            continue
        yield row


def _of_one_vm(held: Mapping[str, Mapping[str, Interval]], vm: str | None) -> list[Interval]:
    if vm is None and len(held) > 1:
        raise XptraceError(f"there are several VMs: name one with --vm ({', '.join(map(printable, held))})")
    return [interval for registers in held.values() for interval in registers.values()]


def _lines(found: Iterable[Interval], arguments: argparse.Namespace, replay: Any) -> Iterator[str]:
    if arguments.format == "text":
        from xptrace.views.conformance import instant_lines, interval_lines

        colour = common.colour(arguments.output is None)
        if arguments.all:
            yield from interval_lines(found, colour=colour)
            return
        held = list(found)
        if held:
            yield from instant_lines(held, replay.machine(held[0].vm), colour=colour)
        return
    yield from lines.header(arguments.format, KEYS)
    write = lines.jsonl if arguments.format == "jsonl" else lines.csv_writer(KEYS)[1]
    for one in found:
        yield write(one.row())
