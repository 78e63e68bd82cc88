r"""The access log of oxenstored, as far as it tells of nodes of guests that are written or removed.

Law: tools/ocaml/xenstored/logging.ml writes the time (UTC), the connection padded to 12, the operation padded to 9, and
the request with each NUL as a space, escaped as OCaml escapes a string; a line is cut at 180 characters. The connection
is `D` and the number of a domain, or `A` and the number of a local socket, with `.` and a transaction in one::

    [20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1
    [20261123T03:11:07.385Z]  A8.2         write     /local/domain/1/platform/acpi_s4 1
    [20261123T03:18:36.529Z]  r(1):A24.2   rm        /local/domain/1/console \n

The last is a transaction that is played again after a conflict: it says nothing that was not logged before. What was
asked is logged whether or not it was allowed, and what a guest writes is its own: the value stays as it is logged.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from dissectors import Dissector, Given
from dissectors.clock import WALL
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import DOMAIN, STORE_REMOVE, STORE_WRITE
from dissectors.xen.nodes import DOM0, identity, owner

NEEDLES: tuple[re.Pattern[bytes], ...] = (re.compile(rb" write     "), re.compile(rb" rm        "))
"""Bytes that must occur in any record of ours: the operation, padded, and the space on either side of it."""

_LINE = re.compile(
    rb"\[(?P<second>\d{8}T\d\d:\d\d:\d\d)\.(?P<milli>\d{3})Z\] +(?:A\d{1,10}|D(?P<domain>\d{1,5}))"
    rb"(?:\.\d{1,10})? +(?P<operation>write|rm) +(?P<path>[-/\w@]+)(?: (?P<value>.*))?$", re.DOTALL
)


class AccessLog:
    """Reads candidate lines of one source into writes and removals of guests' nodes."""

    def __init__(self, given: Given) -> None:
        self._source = given.source

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        found = _LINE.match(line)
        writer = DOM0 if found is None or not found["domain"] else int(found["domain"])
        domain = None if found is None else owner(found["path"], writer)
        if found is None or domain is None:
            return
        try:
            second = timegm(datetime.fromisoformat(found["second"].decode()).timetuple())
        except ValueError:
            yield Damage(self._source, offset, length, number, "the time of this line is no date")
            return
        time_ns = second * 10**9 + int(found["milli"]) * 10**6
        dated = 0 <= time_ns < 1 << 63
        written = found["operation"] == b"write"
        values = {"path": found["path"], "value": (found["value"] or b"") if written else b""}
        event = STORE_WRITE if written else STORE_REMOVE
        node = Record(self._source, offset, length, number, event, values, line, time_ns if dated else None,
                      WALL if dated else None, domain=domain)
        if written and (told := identity(found["path"], found["value"] or b"", writer)) is not None:
            yield replace(node, event=DOMAIN, values=told)
        yield node


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: its needles decide line by line."""
    return 90 if re.search(rb"(?m)^\[\d{8}T\d\d:\d\d:\d\d\.\d{3}Z\]  ", head) else 0


DISSECTOR = Dissector(
    "oxenstored", "oxenstored's access log: nodes of guests that are written and removed",
    b"[20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1", sniff,
    lines=AccessLog, needles=NEEDLES, vantage="store",
)
