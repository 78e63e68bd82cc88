"""``xptrace follow``: what a recording shows while it is being written, and what goes wrong, as it does.

What is there is shown first, then what is added, through rotation and truncation; an access is shown when the next one
begins, or when nothing has been added for two looks. Several text logs are followed together, in the order in which
their lines come; a binary recording is followed alone. A finding is shown once, when its boot first gives it; where
what comes later refutes it, that is said.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

from xptrace.access.decode import Decoder
from xptrace.access.rows import Entry, Event
from xptrace.cli import common
from xptrace.exports import lines
from xptrace.findings.assess import Finding, Watched, all_rules
from xptrace.intake.follow import Growing, Patience
from xptrace.negotiation.story import Place
from xptrace.views.escape import printable
from xptrace.views.findings import finding_lines
from xptrace.views.terminal import Text

_ASSESS_S: Final = 1.0
"""Seconds from one assessment to the next, at least."""
_SHARE: Final = 10
"""An assessment that took long is not repeated before so many times that time: decoding comes first."""

Key = tuple[str, str, int, tuple[Place, ...]]
"""What makes a finding the same: rule, VM, boot, and the first thing that proves it."""


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("files", nargs="+", metavar="FILE", help="a recording that is being written")
    common.add_reading(command, output=False)
    command.add_argument("--from-now", action="store_true", help="pass over what is there already")
    command.add_argument("--interval", type=_seconds, default=0.2, metavar="SECONDS",
                         help="how often to look for more (default: %(default)s)")
    command.add_argument("--idle", type=_seconds, metavar="SECONDS", help="end when nothing has been added for so long")
    show = command.add_argument_group("what to show")
    common.add_filter(show, """vm == "win10" && register == unplug_mask && value & 1""")
    show.add_argument("--vm", action="append", default=[], metavar="NAME", help="only this VM (may be given again)")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text",
                         help="jsonl: the rows of decode, and findings as rows of kind `finding`, with `holds`")


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 86400 * 365:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    patience = Patience(arguments.interval, arguments.idle)
    sources = [Growing(path, patience, _told, from_now=arguments.from_now) for path in dict.fromkeys(arguments.files)]
    decoder = common.decoder(arguments, sources=sources)
    interrupted = False

    def stop() -> None:
        nonlocal interrupted
        interrupted = patience.over = True

    show, watch = _shower(arguments), _Watch(decoder, arguments)
    patience.before_waiting = watch.pause
    common.on_interrupt(stop, lambda: decoder.over)
    for entry in decoder.live():
        if entry is None:
            patience.wait()
            continue
        if arguments.vm and entry.vm not in arguments.vm:
            continue
        watch.take(entry)
        show(entry)
    watch.assess()
    sys.stdout.flush()
    decoder.stopped = interrupted
    return common.close(decoder, full=arguments.ledger, also=watch.watched.limits)


def _told(name: str, what: str) -> None:
    print(f"xptrace: {printable(name)}: {what}", file=sys.stderr, flush=True)


def _shower(arguments: argparse.Namespace) -> Callable[[Entry], None]:
    """Prints an entry as `decode` does, if it is a row that was asked for."""
    wanted = common.wanted(arguments, "entries")
    text = Text(colour=common.colour(stream_is_output=True))

    def show(entry: Entry) -> None:
        if isinstance(entry, Event):
            return
        for row in (entry,) if wanted is None else wanted.choose([entry]):
            if arguments.format == "jsonl":
                print(lines.jsonl(row.row()))
            else:
                for line in text.line(row):
                    print(line)

    return show


class _Watch:
    """Assesses the boots while their entries come in."""

    def __init__(self, decoder: Decoder, arguments: argparse.Namespace) -> None:
        self._jsonl = arguments.format == "jsonl"
        self.watched = Watched(decoder)
        self._rules = all_rules()
        self._told: dict[Key, Finding] = {}
        self._news, self._next = False, 0.0

    def take(self, entry: Entry) -> None:
        """Take what one entry tells."""
        self._news = True
        self.watched.take(entry)

    def pause(self) -> None:
        """Nothing more has come: assess what has, if that is due, and let everything be seen."""
        if time.monotonic() >= self._next:
            self.assess()
        sys.stdout.flush()

    def assess(self) -> None:
        """Show the findings that are new, and those that no longer hold."""
        if not self._news:
            return
        began, self._news = time.monotonic(), False
        done = self.watched.assess(self._rules)
        found = {_key(one): one for one in done.findings}
        for key, one in found.items():
            if key not in self._told:
                self._show(one, holds=True)
        for key, one in self._told.items():
            if key not in found:
                self._show(one, holds=False)
        self._told = found
        now = time.monotonic()
        self._next = now + max(_ASSESS_S, _SHARE * (now - began))

    def _show(self, found: Finding, *, holds: bool) -> None:
        if self._jsonl:
            print(lines.jsonl({"kind": "finding", "holds": holds, **found.row()}))
        elif holds:
            width = min(shutil.get_terminal_size((100, 24)).columns, 120)
            for line in finding_lines(found, width=width, colour=common.colour(stream_is_output=True)):
                print(line)
        else:
            where = f"{printable(found.vm)}#{found.boot}"
            print(f"no longer: {found.rule.id} of {where}: {printable(found.sentence)}")


def _key(found: Finding) -> Key:
    return found.rule.id, found.vm, found.boot, found.evidence[:1]
