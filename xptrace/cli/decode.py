"""``xptrace decode``: one line per access, with its meaning and its proof."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial

from dissectors.platform.registers import NAMES
from xptrace.access.rows import KEYS, Access, Message, Row
from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.views.escape import printable
from xptrace.views.moment import Limit
from xptrace.views.terminal import Text


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    show = command.add_argument_group("what to show")
    common.add_filter(show, """vm == "win10" && register == unplug_mask && value & 1""")
    show.add_argument("--vm", action="append", metavar="NAME", help="only this VM (may be given again)")
    show.add_argument("--register", action="append", metavar="NAME", help=f"only this register: {', '.join(NAMES)}")
    show.add_argument("--since", metavar="TIME", help="from this time on: 2026-11-23T04:05:29Z, 04:05:29 or seconds")
    show.add_argument("--until", metavar="TIME", help="only up to this time")
    show.add_argument("--messages", action="store_true", help="only what the guest wrote to the log port")
    form = command.add_argument_group("how to show it")
    form.add_argument("-T", dest="format", choices=("text", "jsonl", "csv", "fields", "parquet"), default="text")
    form.add_argument("-e", dest="fields", action="append", default=[], metavar="FIELD[,FIELD]",
                      help=f"fields for -T fields: {', '.join(KEYS)}")
    form.add_argument("-t", dest="times", choices=("utc", "epoch", "rel", "delta"), default="utc",
                      help="times in text: UTC, seconds since 1970, since the first row, since the row before")
    form.add_argument("--all", action="store_true", help="in text, every byte of a message too")
    form.add_argument("-V", dest="verbose", action="store_true", help="in text, each access with fields and records")
    form.add_argument("-x", dest="hexdump", action="store_true", help="in text, the records' bytes in hexadecimal")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    for name in arguments.register or ():
        if name not in NAMES:
            raise XptraceError(f"no register {printable(name)!r}; there are: {', '.join(NAMES)}")
    if arguments.format == "fields" and not arguments.fields:
        raise XptraceError("-T fields needs -e FIELD")
    if arguments.fields and arguments.format != "fields":
        raise XptraceError("-e goes with -T fields")
    decoder = common.decoder(arguments)
    rows = _chosen(decoder.rows(common.progress(streams=arguments.output is None)), arguments)
    if (wanted := common.wanted(arguments, "entries")) is not None:
        rows = wanted.choose(rows)
    if arguments.format == "parquet":
        from xptrace.exports.parquet import write_rows

        common.write_bytes(partial(write_rows, rows), arguments.output)
    else:
        common.write(_lines(rows, arguments), arguments.output)
    return common.close(decoder, full=arguments.ledger)


def _chosen(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[Row]:
    since = Limit(arguments.since) if arguments.since else None
    until = Limit(arguments.until) if arguments.until else None
    for row in rows:
        if arguments.vm and row.vm not in arguments.vm:
            continue
        if arguments.messages and not isinstance(row, Message):
            continue
        if arguments.register and not (isinstance(row, Access) and row.register in arguments.register):
            continue
        if since is not None and (row.time_ns is None or since.compare(row.time_ns) < 0):
            continue
        if until is not None and (row.time_ns is None or until.compare(row.time_ns) > 0):
            continue
        yield row


def _lines(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "text":
        every_byte = arguments.all or bool(arguments.register)
        text = Text(times=arguments.times, colour=common.colour(arguments.output is None), every_byte=every_byte,
                    verbose=arguments.verbose, hexdump=arguments.hexdump)
        for row in rows:
            yield from text.line(row)
        return
    yield from lines.header(arguments.format, KEYS)
    write: lines.Writer = lines.jsonl
    if arguments.format == "csv":
        write = lines.csv_writer(KEYS)[1]
    elif arguments.format == "fields":
        chosen = [name for part in arguments.fields for name in part.split(",")]
        write = lines.fields(chosen, KEYS)
    for row in rows:
        yield write(row.row())
