"""``xptrace redact``: a recording that may leave the house: without names, addresses and texts, and with its findings.

Every line is put together anew from what was understood of it; lines that nobody understands are left out. Names,
addresses, pointers and numbers of processes and domains become others, the same in every file of one run, by a key that
is random and kept nowhere unless you say so.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from xptrace.access.survey import PLURALS
from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.findings.assess import all_rules
from xptrace.findings.door import book_with
from xptrace.share.redact import Redacted, Secrecy, key_of, redact, write_mapping
from xptrace.share.settings import Settings
from xptrace.views.escape import printable

_MOST_SECONDS = 10**9
_MOST_SAID = 20


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.epilog = "exit codes: 0, the findings are the same; 1, they are not"
    common.add_inputs(command)
    command.add_argument("--shift-times", type=int, default=0, metavar="SECONDS",
                         help="move all dates by so much; clocks that count from a start of their own stay")
    command.add_argument("--keep-other", action="store_true",
                         help="keep lines that are not decoded, redacted by patterns alone (they may hold anything)")
    command.add_argument("--keep", action="append", default=[], metavar="WORD",
                         help="a word that stays in guests' texts (may be given again)")
    command.add_argument("--key-file", metavar="FILE",
                         help="the key, to call everything alike in another run; made where there is none")
    command.add_argument("--map", metavar="FILE", help="write what was called how, for your eyes only")
    command.add_argument("--rules", action="append", default=[], metavar="FILE",
                         help="rules of your own, a Python or a TOML file (may be given again)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where the findings have changed."""
    if arguments.output is None:
        raise XptraceError("redact needs -o: a file for one recording, or a directory")
    if abs(arguments.shift_times) > _MOST_SECONDS:
        raise XptraceError(f"--shift-times: at most {_MOST_SECONDS} seconds")
    settings = Settings(tuple(arguments.trace_events), arguments.source, arguments.tsc_hz,
                        dict(arguments.clock_offset), book_with(all_rules(), arguments.rules))
    given = {} if arguments.key_file is None else {"key": key_of(arguments.key_file)}
    secrecy = Secrecy(shift_s=arguments.shift_times, keep_other=arguments.keep_other, keep=tuple(arguments.keep),
                      **given)
    done = redact(arguments.files, arguments.output, settings, secrecy, common.progress())
    if arguments.map is not None:
        write_mapping(arguments.map, done.names)
    _say(done)
    return 0 if done.same else 1


def _say(done: Redacted) -> None:
    print(f"{done.read} lines became {done.written}")
    different: Counter[str] = Counter(kind for kind, _ in done.names.mapping)
    for kind, count in sorted(done.names.counts.items()):
        print(f"redacted: {kind}: {different[kind]}, in {count} places")
    for dissector, count in sorted(done.unshown.items()):
        print(f"left out: {count} lines of {dissector} that cannot be put together anew")
    for name, what in done.left_out:
        print(f"left out: {printable(name)}: a recording of the format {what} cannot be redacted")
    for name in done.files:
        print(f"written: {printable(name)}")
    print("kept: " + ", ".join(f"{done.kept[kind]} of {done.entries[kind]} {PLURALS[kind]}"
                               for kind in PLURALS if done.entries[kind]))
    if done.same:
        print(f"proof: {done.findings} findings, the same")
        return
    print(f"proof: {len(done.lost)} of {done.findings} findings are lost, {len(done.new)} are new", file=sys.stderr)
    for what, found in (("lost", done.lost), ("new", done.new)):
        for one in found[:_MOST_SAID]:
            print(f"{what}: {printable(one)}", file=sys.stderr)
    if done.single:
        print("a file's name tells whose it is: a directory (-o DIR/) keeps what it tells", file=sys.stderr)
