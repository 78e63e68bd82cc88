r"""Text logs of QEMU's trace events, in every form of `prefix`, mixed in one file.

Law: scripts/tracetool/backend/log.py writes `NAME arguments`, one event a line, whatever the prefix; the guest
writes everything after `xen platform: `::

    213@1795406729.213774:memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'

A line is looked at only if a needle is in it, so that a log of other devices' traffic costs a few searches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dissectors import Dissector, Given
from dissectors.clock import WALL
from dissectors.qemu import prefix as line_prefix
from dissectors.record import Damage, Loss, Record

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
    )
)
"""Bytes that must occur in any record of ours; each starts with a literal, which makes the search fast."""

_LOSS = re.compile(
    rb"CPU:\d+ \[(?:LOST )?\d+ EVENTS(?: DROPPED)?\]"
    rb"|rsyslogd.{0,80}begin to drop messages due to rate-limiting"
    rb"|imuxsock lost \d+ messages"
)


class TextLog:
    """Reads candidate lines of one source into records, damage or loss."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._catalogue = given.catalogue
        names = b"|".join(sorted(given.catalogue.names, reverse=True))  # of two that begin alike, the longer first
        self._anywhere = re.compile(
            rb"(?:(\d{1,10})@(\d{1,11})\.(\d{6}):|(?<![\w./-]))(" + names + rb") "
        )

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says: usually one record; nothing where it is not ours; several where lines were glued.

        `line` is without its newline, `length` with it.
        """
        found = line_prefix.read(line)
        if found is not None and found.name in self._catalogue.names:
            start = found.end + len(found.name) + 1
            body = line if len(line) >= start else line + b" "
            for pattern in self._catalogue.patterns(found.name):
                values = pattern.match(body, start)
                if values is None and body.endswith(b"\r"):
                    values = pattern.match(body[:-1], start)
                if values is not None:
                    yield Record(self._source, offset, length, number, found.name.decode(), values, line,
                                 found.time_ns, found.clock, found.thread, found.guest, found.domain)
                    return
            yield from self._recover(line, offset, number, length, begun=found.name)
        elif _LOSS.search(line):
            yield Loss(self._source, offset, length, number, "the recording says that records are missing here")
        else:
            yield from self._recover(line, offset, number, length, begun=None)

    def _recover(
        self, line: bytes, offset: int, number: int, length: int, begun: bytes | None
    ) -> Iterator[Record | Damage]:
        """Find records that begin in mid-line, because somebody else wrote to the same stream."""
        position = 0
        records = []
        while (match := self._anywhere.search(line, position)) is not None:
            position = match.end()
            for pattern in self._catalogue.patterns(match[4]):
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
            yield Damage(self._source, offset, length, number, f"{begun.decode()} does not have the form of its event")


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: its needles decide line by line, so anything may be."""
    return 50 if any(needle.search(head) for needle in NEEDLES) else 1


DISSECTOR = Dissector(
    "qemu-log", "QEMU's trace events as text, in every form of prefix",
    b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898", sniff, lines=TextLog, needles=NEEDLES,
)
