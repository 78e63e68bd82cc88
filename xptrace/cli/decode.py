"""``xptrace decode``: one line per access, with its meaning and its proof."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar

from dissectors.platform.registers import NAMES
from xptrace.access.rows import KEYS, Access, Message, Row
from xptrace.access.stretch import Block
from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.exports.bulk import written
from xptrace.views.escape import printable
from xptrace.views.moment import Limit
from xptrace.views.terminal import Text

if TYPE_CHECKING:
    from xptrace.access.attribution import Reading
    from xptrace.access.decode import Decoder


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    show = command.add_argument_group("what to show")
    common.add_filter(show, """vm == "win10" && register == unplug_mask && value & 1""")
    show.add_argument("--vm", action="append", metavar="NAME", help="only this VM (may be given again)")
    show.add_argument("--register", action="append", metavar="NAME", help=f"only this register: {', '.join(NAMES)}")
    show.add_argument("--since", metavar="TIME", help="from this time on: 2026-11-23T04:05:29Z, 04:05:29 or seconds")
    show.add_argument("--seek", action="store_true",
                      help="do not decode what is long before --since: faster; boots are counted from there")
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
    if arguments.seek and not arguments.since:
        raise XptraceError("--seek goes with --since TIME")
    decoder = common.decoder(arguments)
    if arguments.seek:
        decoder.on_source = partial(_seek, decoder, arguments)
    progress = common.progress(streams=arguments.output is None)
    wanted = common.wanted(arguments, "entries")
    if arguments.format == "text" or wanted is not None or arguments.since or arguments.until:
        rows = decoder.rows(progress, brief=not (arguments.verbose or arguments.hexdump))
        rows = _within(_chosen(rows, arguments), arguments)
        if wanted is not None:
            rows = wanted.choose(rows)
        if arguments.format == "text":
            common.write(_text(rows, arguments), arguments.output)
        else:
            _write(rows, arguments)
    else:
        _write(_chosen(decoder.blocks(progress), arguments), arguments)
    return common.close(decoder, full=arguments.ledger)


def _seek(decoder: Decoder, arguments: argparse.Namespace, reading: Reading) -> None:
    """Pass over what is before --since, and say so at the end."""
    from xptrace.access.since import pass_over

    said = pass_over(reading, Limit(arguments.since).between, dict(arguments.clock_offset))
    if said is not None:
        decoder.notes.append((reading.source.name, said))


Some = TypeVar("Some", Row, Row | Block)


def _chosen(rows: Iterable[Some], arguments: argparse.Namespace) -> Iterator[Some]:
    """What is of the VMs, the registers and the kind that are asked for."""
    if not (arguments.vm or arguments.messages or arguments.register):
        yield from rows
        return

    def wanted(row: Row) -> bool:
        return (
            (not arguments.vm or row.vm in arguments.vm)
            and (not arguments.messages or isinstance(row, Message))
            and (not arguments.register or (isinstance(row, Access) and row.register in arguments.register))
        )

    for row in rows:
        if isinstance(row, Block):
            yield row.chosen(wanted)
        elif wanted(row):
            yield row


def _within(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[Row]:
    """What is of the time that is asked for."""
    since = Limit(arguments.since) if arguments.since else None
    until = Limit(arguments.until) if arguments.until else None
    for row in rows:
        if since is not None and (row.time_ns is None or since.compare(row.time_ns) < 0):
            continue
        if until is not None and (row.time_ns is None or until.compare(row.time_ns) > 0):
            continue
        yield row


def _text(rows: Iterable[Row], arguments: argparse.Namespace) -> Iterator[str]:
    every_byte = arguments.all or bool(arguments.register)
    text = Text(times=arguments.times, colour=common.colour(arguments.output is None), every_byte=every_byte,
                verbose=arguments.verbose, hexdump=arguments.hexdump)
    for row in rows:
        yield from text.line(row)


def _write(rows: Iterable[Row | Block], arguments: argparse.Namespace) -> None:
    """Write rows and blocks in a format that programs read."""
    if arguments.format == "parquet":
        from xptrace.exports.parquet import write_rows

        common.write_bytes(partial(write_rows, rows), arguments.output)
        return
    write: lines.Writer = lines.jsonl
    if arguments.format == "csv":
        write = lines.csv_writer(KEYS)[1]
    elif arguments.format == "fields":
        chosen = [name for part in arguments.fields for name in part.split(",")]
        write = lines.fields(chosen, KEYS)

    def to(file: IO[bytes]) -> None:
        for line in lines.header(arguments.format, KEYS):
            file.write(f"{line}\n".encode())
        for part in written(rows, write):
            file.write(part)

    common.write_bytes(to, arguments.output, binary=False)
