"""What the commands that read recordings share: their arguments, the output, and the closing line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import IO, TYPE_CHECKING, Final, cast

from dissectors import broken
from dissectors.clock import CLOCKS
from dissectors.kernel import chosen_kernel
from xptrace.access.decode import Decoder
from xptrace.cli.progress import Progress, size_text
from xptrace.errors import XptraceError
from xptrace.exports.file import whole
from xptrace.intake import content
from xptrace.intake.ledger import Ledger
from xptrace.intake.source import Source
from xptrace.views.escape import printable

if TYPE_CHECKING:
    from xptrace.case import Case
    from xptrace.filter import Filter


PARTIAL: Final = ("decode", "summary", "check", "timeline", "info")
"""Commands whose result is worth having also of the beginning of what is to be read."""


def add_inputs(command: argparse.ArgumentParser) -> None:
    """FILE arguments, and those that say how to read them."""
    command.add_argument("files", nargs="+", metavar="FILE",
                         help="a recording, a directory or an archive of them; - is stdin")
    add_reading(command)


def add_reading(command: argparse.ArgumentParser, *, output: bool = True) -> None:
    """The arguments that say how to read, and where to write."""
    command.add_argument("--trace-events", action="append", default=[], metavar="FILE",
                         help="declarations of a private build, in QEMU's trace-events syntax")
    command.add_argument("--source", metavar="NAME", help="read every FILE as this format: xptrace dissectors")
    command.add_argument("--tsc-hz", type=_frequency, metavar="HZ", help="frequency of the host's time stamp counter")
    command.add_argument("--clock-offset", action="append", default=[], type=_offset, metavar="CLOCK=SECONDS",
                         help="what to add to times of CLOCK (xptrace info tells it) to make them UTC")
    if output:
        command.add_argument("-o", "--output", metavar="FILE", help="write there; the file appears whole or not at all")
    command.add_argument("--ledger", action="store_true", help="account for every byte read, on standard error")


def add_filter(group: argparse._ActionsContainer, example: str) -> None:
    """The argument that chooses rows by a filter."""
    group.add_argument("-Y", "--filter", metavar="FILTER",
                       help=f"only what it is true of, such as: {example} (xptrace fields lists what there is)")


def wanted(arguments: argparse.Namespace, table: str) -> Filter | None:
    """The filter that was given, over a table of rows; raises FilterError where it is none."""
    if arguments.filter is None:
        return None
    from xptrace.filter import compile_filter

    return compile_filter(arguments.filter, table)


def _frequency(text: str) -> float:
    number = float(text)
    if not 1e6 <= number <= 1e11:
        raise argparse.ArgumentTypeError(f"{text} is no frequency of a time stamp counter in Hz")
    return number


def _offset(text: str) -> tuple[str, int]:
    from decimal import Decimal

    clock, _, seconds = text.rpartition("=")
    try:
        nanoseconds = int(Decimal(seconds) * 10**9)
    except (ArithmeticError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not CLOCK=SECONDS") from None
    if clock not in CLOCKS:
        raise argparse.ArgumentTypeError(f"no clock {clock!r}; there are: {', '.join(CLOCKS)}")
    if abs(nanoseconds) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{seconds} seconds are more than 292 years")
    return clock, nanoseconds


def decoder(
    arguments: argparse.Namespace, files: Sequence[str] | None = None, sources: Sequence[Source] | None = None
) -> Decoder:
    """A decoder of the FILE arguments, or of some of them, with the settings that the arguments give."""
    if (kernel := chosen_kernel()) is not None:
        kernel.keep_memory()
    made = Decoder(arguments.files if files is None else files, arguments.trace_events, dissector=arguments.source,
                   tsc_hz=arguments.tsc_hz, clock_offsets=dict(arguments.clock_offset), sources=sources)
    if getattr(arguments, "command", None) in PARTIAL:
        _stop_when_interrupted(made, arguments)
    return made


def _stop_when_interrupted(decoder: Decoder, arguments: argparse.Namespace) -> None:
    """Let an interrupt end the reading, not the command: what was read until then is shown, and marked so."""

    def stop() -> None:
        decoder.stopped = True

    def stopped() -> None:
        output = arguments.output or getattr(arguments, "plot", None)
        if output:
            print(f"xptrace: interrupted: {printable(output)} is not written", file=sys.stderr)
            close(decoder, full=arguments.ledger)
        elif arguments.command != "decode":  # whose rows have been shown already
            size = sum(ledger.total.bytes for ledger in decoder.ledgers)
            print(f"xptrace: interrupted: what follows is of the first {size} bytes", file=sys.stderr)

    decoder.on_stop = stopped
    on_interrupt(stop, lambda: decoder.over)


def on_interrupt(stop: Callable[[], None], over: Callable[[], bool]) -> None:
    """Have an interrupt stop something that is not over; the next one ends the command at once.

    Where interrupts are ignored, as in the background of a script, they stay so.
    """

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if over():
            raise KeyboardInterrupt
        stop()

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


def case(arguments: argparse.Namespace) -> Case:
    """A case of the FILE arguments, with the same settings."""
    from xptrace.case import Case

    return Case(arguments.files, arguments.trace_events, dissector=arguments.source, tsc_hz=arguments.tsc_hz,
                clock_offsets=dict(arguments.clock_offset))


def colour(stream_is_output: bool) -> bool:
    """Whether to colour: only on a terminal, and never where NO_COLOR is set."""
    return stream_is_output and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def write(lines: Iterable[str], output: str | None) -> int:
    """Write lines to standard output or to a file that appears whole or not at all; returns how many."""
    count = 0
    if output is None:
        for line in lines:
            sys.stdout.write(f"{line}\n")
            count += 1
        return count
    with whole(output) as file:
        for line in lines:
            file.write(f"{line}\n".encode())
            count += 1
    return count


class _Texts:
    """Standard output that is given the bytes of whole lines and takes texts."""

    @staticmethod
    def write(data: bytes) -> None:
        sys.stdout.write(data.decode())


def write_bytes(write: Callable[[IO[bytes]], None], output: str | None, *, binary: bool = True) -> None:
    """Write to standard output, unless it is a terminal and they are no text, or to a file that appears whole."""
    if output is not None:
        with whole(output) as file:
            write(file)
    elif binary and sys.stdout.isatty():
        raise XptraceError("this is binary: name a file with -o, or write to a pipe")
    elif binary or hasattr(sys.stdout, "buffer"):
        write(sys.stdout.buffer)
    else:  # a notebook's, or another that takes only text
        write(cast("IO[bytes]", _Texts()))


def progress(*, streams: bool = False) -> Callable[[int], None] | None:
    """Tells how far reading has come, where standard error is a terminal.

    `streams` says that rows are shown while they are read: a terminal that shows them needs no other sign of life.
    """
    if not sys.stderr.isatty() or (streams and sys.stdout.isatty()):
        return None
    return Progress(sys.stderr)


def _account(ledger: Ledger) -> Iterator[str]:
    name = printable(ledger.source)
    for kind, size, lines in ledger.rows():
        yield f"{name}: {kind:<8} {size:>14} bytes {lines:>12} lines"
    for note in ledger.notes:
        yield f"{name}:{note.line} @{note.offset}: {note.reason}"


def close(decoder: Decoder, *, full: bool, also: Iterable[str] = ()) -> int:
    """Say on standard error what was read, and what else should be known of what was made of it; returns the exit code.

    Raises KeyboardInterrupt where reading was cut short.
    """
    found, silent = False, 0
    for reading, ledger in zip(decoder.readings, decoder.ledgers, strict=True):
        name = printable(ledger.source)
        found = found or ledger.decoded.lines > 0
        if full:
            for line in _account(ledger):
                print(line, file=sys.stderr)
        if ledger.truncated:
            why = printable(ledger.truncated)
            print(f"xptrace: {name}: broken off: {why}; what came before was read", file=sys.stderr)
        nothing = not ledger.decoded.lines and not ledger.damaged.lines
        if nothing and reading.source.path not in decoder.paths:  # one of many in a directory or an archive
            silent += 1
        elif not ledger.total.bytes:
            print(f"xptrace: {name}: empty", file=sys.stderr)
        elif nothing:
            print(f"xptrace: {name}: nothing of the Xen platform device in {ledger.total.lines} lines"
                  + _hint(reading.source), file=sys.stderr)
    if silent:
        print(f"xptrace: {silent} of {len(decoder.ledgers)} files hold nothing of the Xen platform device "
              "(xptrace info names them)", file=sys.stderr)
    for path, why in decoder.passed_over:
        print(f"xptrace: {printable(path)}: not read: {printable(why)}", file=sys.stderr)
    for path, what in decoder.notes:
        print(f"xptrace: {printable(path)}: {printable(what)}", file=sys.stderr)
    for what in also:
        print(f"xptrace: {printable(what)}", file=sys.stderr)
    for name, why in broken().items():
        print(f"xptrace: dissector {printable(name)} cannot be used: {printable(why)}", file=sys.stderr)
    total = dict.fromkeys(("decoded", "other", "damaged", "lost"), 0)
    size = everything = 0
    for ledger in decoder.ledgers:
        *kinds, (_, of_bytes, of_lines) = ledger.rows()
        for kind, _, lines in kinds:
            total[kind] = total.get(kind, 0) + lines
        size += of_bytes
        everything += of_lines
    parts = " + ".join(f"{lines} {kind}" for kind, lines in total.items())
    print(f"xptrace: {parts} = {everything} lines, {size_text(size)}", file=sys.stderr)
    if decoder.stopped:
        sys.stdout.flush()
        of = "" if decoder.size is None else f" of {decoder.size}"
        print(f"xptrace: interrupted: {size} bytes read{of}", file=sys.stderr)
        raise KeyboardInterrupt
    return 0 if found else 1


def _hint(source: Source) -> str:
    if source.evidence.once:
        return ""
    head = source.head(content.BLOCK * 8)
    what = content.no_recording(head) or ("binary data, not a text log" if b"\0" in head else None)
    return f" (this is {what})" if what else ""
