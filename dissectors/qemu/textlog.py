r"""Text logs of QEMU's trace events, in every form of `prefix`, mixed in one file.

Law: scripts/tracetool/backend/log.py writes `NAME arguments`, one event a line, whatever the prefix; the guest
writes everything after `xen platform: `::

    213@1795406729.213774:memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'

A line is looked at only if a needle is in it, so that a log of other devices' traffic costs a few searches.

Daemons on the way shorten what they carry. rsyslog's runtime/ratelimit.c writes one line for the copies that follow a
message, with the time of the last; the first 800 bytes of it stand in brackets::

    Nov 23 03:12:24 vm qemu-dm-5[8003]: message repeated 3 times: [ cpu_out addr 0x12(b) value 108]

On XenServer the lines go through util-linux's misc-utils/logger.c, which sends 1024 bytes as a message (1023 before
2.26) and what follows as another. Such pieces are one record again where they stand line by line; beyond the line that
follows one with a needle they are not seen. What ftrace cuts (at 511 bytes) is nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dissectors import Dissector, Given
from dissectors.clock import WALL
from dissectors.envelope import LOGGER_PIECES, Envelope, read_envelope
from dissectors.platform.registers import LOG_BUFFER
from dissectors.qemu import prefix as line_prefix
from dissectors.qemu.prefix import Prefix
from dissectors.qemu.programs import EVENTS, programs
from dissectors.record import Damage, Loss, Record, Value

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"xen",  # every event, region and device of Xen has it in its name
        rb"addr 0x1[0-9a-f][ (]",  # cpu_in, cpu_out, memory_region_ops_* at the fixed ports
        rb"addr 0x[d-f][ (]",  # and those that reach into them from below
        rb"addr 0xcf[89a-f][ (]",  # PCI configuration mechanism 1
        rb"port=0x1[0-9a-f] ",  # handle_ioreq*, cpu_ioreq_pio*
        rb"port=0x[d-f] ",
        rb"type=2 ",  # configuration space through Xen
        rb"sbdf=",
        rb"name 'mmio'",  # BAR1 of xen-pvdevice
        rb"runstate_set ",
        rb"vm_state_notify ",
        rb"pci_update_mappings_",  # up to QEMU 6.2 without the name of the device
        rb"xs_node_",
        rb"system_re[sb]",
        rb"destroy_hvm_domain_action",
        rb" EVENTS\]| EVENTS DROPPED\]",
        rb"rate-limiting",
        rb"imuxsock lost ",
        rb"Suppressed \d",
    )
)
"""Bytes that must occur in any record of ours; each starts with a literal, which makes the search fast."""

_LOSS = re.compile(
    rb"CPU:\d+ \[(?:LOST )?\d+ EVENTS(?: DROPPED)?\]"
    rb"|rsyslogd.{0,80}begins? to drop messages (?:from pid \d+ )?due to rate-limiting"
    rb"|imuxsock lost \d+ messages|rsyslogd.{0,80}\d messages lost due to rate-limiting"
    rb"|systemd-journald\[\d+\]: Suppressed \d+ messages from "
)
_COPIES = re.compile(rb"message repeated (\d{1,9}) times: \[ ?(.*?)\]?\Z", re.DOTALL)
_LAST_COPIES = re.compile(
    rb"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S{8,32}) (?:\S{1,255} ){0,2}"
    rb"(?:--- )?last message repeated (\d{1,9}) times?(?: ---)?\Z"
)

_OCTAL = re.compile(rb"#[0-3][0-7]{2}")


@dataclass(slots=True)
class _Piece:
    """A guest's line as far as it has been put together, while the next line may go on with it."""

    record: Record
    around: Envelope
    stamped: bool
    """Whether QEMU's own stamp stands before the event: then no line without one begins another."""
    last: int
    """The number of the last line that belongs to it."""
    whole: bool = False
    """Whether nothing more can belong to it."""


def _is_cut(message: bytes) -> bool:
    """Whether a message is as long as `logger` makes them, with rsyslog's escapes written out or not."""
    return len(message) in LOGGER_PIECES or (
        len(message) > LOGGER_PIECES[0] and len(message) - 3 * len(_OCTAL.findall(message)) in LOGGER_PIECES
    )


def _form(name: bytes) -> str:
    return f"{name.decode()} does not have the form of its event"


class TextLog:
    """Reads candidate lines of one source into records, damage or loss."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._catalogue = given.catalogue
        self._patterns = given.catalogue.patterns
        self._names = given.catalogue.names
        self._written_ns = given.written_ns
        names = b"|".join(sorted(self._names, reverse=True))  # of two that begin alike, the longer first
        self._anywhere = re.compile(
            rb"(?:(\d{1,10})@(\d{1,11})\.(\d{6}):|(?<![\w./-]))(" + names + rb") "
        )
        self._piece: _Piece | None = None
        self._last = 0
        """The number of the last line that was a record of ours."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says: usually one record; nothing where it is not ours; several where lines were glued.

        `line` is without its newline, `length` with it. A record that `logger` may have cut waits for the next line,
        or for `finish`.
        """
        if self._piece is not None:
            if self._goes_on(self._piece, line, number, length):
                if self._piece.whole:
                    yield from self.finish()
                return
            yield from self.finish()
        found = line_prefix.read(line, self._written_ns)
        if found is not None and found.name in self._names:
            values = self._values(found, line)
            if values is None:
                yield from self._recover(line, offset, number, length, begun=found.name)
                return
            record = Record(self._source, offset, length, number, found.name.decode(), values, line,
                            found.time_ns, found.clock, found.thread, found.guest, found.domain)
            self._last = number
            if found.domain is not None and found.name == b"xen_platform_log" and self._hold(record, line):
                return
            yield record
        elif found is not None and found.end and found.name == b"message":
            yield from self._copies(found, line, offset, number, length)
        elif number == self._last + 1 and (last := _LAST_COPIES.match(line)):
            yield Loss(self._source, offset, length, number,
                       f"a daemon left out {int(last[1])} more copies of the message before, with their times")
        elif _LOSS.search(line):
            yield Loss(self._source, offset, length, number, "the recording says that records are missing here")
        else:
            yield from self._recover(line, offset, number, length, begun=None)

    events = EVENTS
    clocks = (None, WALL)

    @cached_property
    def programs(self) -> bytes:
        """What the kernel reads plain lines by."""
        return programs(self._catalogue)

    @property
    def idle(self) -> bool:
        """Whether no line waits for the next."""
        return self._piece is None

    def passed(self, number: int) -> None:
        """The lines up to this one were records."""
        self._last = number

    def finish(self) -> Iterator[Record]:
        """What still waits for a line that goes on with it, when there is none."""
        piece, self._piece = self._piece, None
        if piece is not None:
            yield piece.record

    def _values(self, found: Prefix, line: bytes) -> Mapping[str, Value] | None:
        """The arguments of the event whose name has been found; None where the text is not of any of its forms."""
        start = found.end + len(found.name) + 1
        body = line if len(line) >= start else line + b" "
        for pattern in self._patterns(found.name):
            values = pattern.match(body, start)
            if values is None and body.endswith(b"\r"):
                values = pattern.match(body[:-1], start)
            if values is not None:
                return values
        return None

    # -- what daemons make of a line

    def _copies(
        self, found: Prefix, line: bytes, offset: int, number: int, length: int
    ) -> Iterator[Record | Damage | Loss]:
        """The one record that stands for several, and how many of them are missing."""
        copies = _COPIES.match(line, found.end)
        text = b"" if copies is None else copies[2]
        told = line_prefix.read(text)
        if copies is None or told is None or told.name not in self._names:
            yield from self._recover(line, offset, number, length, begun=None)
            return
        values = self._values(told, text)
        if values is None:
            yield Damage(self._source, offset, length, number, _form(told.name))
            return
        if told.time_ns is None:
            told.time_ns, told.clock = found.time_ns, found.clock
        if told.thread is None:
            told.thread = found.thread
        self._last = number
        yield Record(self._source, offset, length, number, told.name.decode(), values, line,
                     told.time_ns, told.clock, told.thread, told.guest, found.domain)
        if (missing := int(copies[1]) - 1) > 0:
            yield Loss(self._source, offset, length, number,
                       f"a daemon wrote one line for {missing + 1} copies: {missing} are missing, with their times")

    def _hold(self, record: Record, line: bytes) -> bool:
        """Keep a record whose message `logger` may have cut; says whether it is kept."""
        around = read_envelope(line)
        if around.domain is None or not _is_cut(line[around.end :]):
            return False
        self._piece = _Piece(record, around, line_prefix.is_stamped(line, around.end), record.line)
        return True

    def _goes_on(self, piece: _Piece, line: bytes, number: int, length: int) -> bool:
        """Whether a line is the next piece of what is kept: then it has been put to it."""
        around = read_envelope(line)
        if number != piece.last + 1 or (around.tag, around.thread) != (piece.around.tag, piece.around.thread):
            return False
        found = line_prefix.read(line)
        if line_prefix.is_stamped(line, around.end) if piece.stamped else (
            found is not None and found.name in self._names
        ):
            return False
        message = line[around.end :]
        record = piece.record
        record.values = {**record.values, "s": record.text("s") + message}
        record.length += length
        self._last = piece.last = number
        piece.whole = not _is_cut(message) or len(record.text("s")) > LOG_BUFFER
        return True

    def _recover(
        self, line: bytes, offset: int, number: int, length: int, begun: bytes | None
    ) -> Iterator[Record | Damage]:
        """Find records that begin in mid-line, because somebody else wrote to the same stream."""
        position = 0
        records = []
        while (match := self._anywhere.search(line, position)) is not None:
            position = match.end()
            for pattern in self._patterns(match[4]):
                part = pattern.match_prefix(line, match.end())
                if part is None or line[part[1] : part[1] + 1].isalnum():
                    continue
                values, position = part
                record = Record(self._source, offset, length, number, match[4].decode(), values, line, recovered=True)
                if match[1] and int(match[2]) < 1 << 33:
                    record.thread, record.clock = int(match[1]), WALL
                    record.time_ns = int(match[2]) * 10**9 + int(match[3]) * 1000
                records.append(record)
                break
        yield from records
        if not records and begun is not None:
            yield Damage(self._source, offset, length, number, _form(begun))


_EVENT = re.compile(
    rb"(?m)(?:^|(?<=[ :]))(?:cpu_(?:in|out|ioreq_\w+)|handle_ioreq\w*|memory_region_\w+|xen_[a-z]+_[a-z_]+|xs_node_\w+"
    rb"|pci_(?:cfg|update)_\w+|kvm_xen_\w+|runstate_set|vm_state_notify|qemu_system_\w+|system_reset) ", re.ASCII
)
"""An event of QEMU's where it may stand."""


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: its needles decide line by line, so anything may be."""
    return 50 if _EVENT.search(head) else 1


DISSECTOR = Dissector(
    "qemu-log", "QEMU's trace events as text, in every form of prefix",
    b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898", sniff, lines=TextLog, needles=NEEDLES,
)
