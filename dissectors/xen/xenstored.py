r"""The trace of C xenstored (`-T`), as far as it tells of nodes of guests that are written or removed.

Law: tools/xenstored/core.c (up to Xen 4.17 tools/xenstore/xenstored_core.c), `trace_io`, `trace_create` and
`trace_destroy`: each message of a connection, with each NUL as a space; the time is the host's own, in whole seconds::

    IN 0x55fc145addc0 20261123 02:37:18 WRITE (control/feature-poweroff 1)
    IN 0x55eaef441fe0 20261123 03:39:58 RM (/local/domain/1 )
    io: IN 0x55eaef446a20 (d1) 20261123 03:43:50 WRITE (device/vbd/768/state 3)

The last is the form since Xen 4.19, which names the domain of the connection (0 for a local socket). Before it, what is
told only by a path below the connection's home needs to know whose connection it is. The one that is created in the
line after `INTRODUCE (1 1044476 1 )` is that domain's; the one before `Checking store ...` is Dom0's, and so is every
later one that nobody introduced: a local socket. Of one from before the log began such a path says nothing here.

Only `IN` is read: `OUT` has the answers, and each change again for everybody who watches it. So a record is what was
asked, whether or not it was allowed. A transaction cannot be told apart: its number is in no line but the answer to its
start, and the kernel's connection carries writes outside of it between its start and its end. Therefore what is asked
in a transaction is told when it is asked, also if the transaction is given up later, or played again.

A value may hold anything, so a newline too: then the end of the request is not in its line, which is damage, and what
follows is the guest's word in the form of a line.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import LOCAL
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import DOMAIN, STORE_REMOVE, STORE_WRITE
from dissectors.xen.nodes import DOM0, LAST_DOMAIN, identity, owner

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (rb" WRITE \(", rb" RM \(", rb" INTRODUCE \(", rb"CREATE conn", rb"DESTROY conn")
)
"""Bytes that must occur in any line that is read; the answer to a write holds them too."""

MOST_CONNECTIONS: Final = 65_536
"""So many at a time: of one more nothing is known."""

_LINE: Final = re.compile(
    rb"(?:io: )?IN (?P<connection>0x[0-9a-f]{1,16}) (?:\(d(?P<domain>\d{1,5})\) )?"
    rb"(?P<day>\d{8}) (?P<clock>\d\d:\d\d:\d\d) (?P<operation>WRITE|RM|INTRODUCE) \((?P<said>.*)", re.DOTALL
)
_CONNECTION: Final = re.compile(rb"(?:obj: )?(?P<what>CREATE|DESTROY) connection (?P<connection>0x[0-9a-f]{1,16})")
_STARTED: Final = b"Checking store ..."
"""What the daemon does next, after it has made Dom0's connection."""
_OPENED: Final = b"***"
"""The daemon opens its log: it begins, or was asked to, or carries on for another daemon with connections of its."""
_SURE: Final = re.compile(rb"(?m)^(?:io: )?(?:IN|OUT) 0x[0-9a-f]+ (?:\(d\d+\) )?\d{8} \d\d:\d\d:\d\d [A-Z]")
_PATH: Final = re.compile(rb"[-/\w@]+")


class Trace:
    """Reads candidate lines of one source into writes and removals of guests' nodes."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._domains: dict[bytes, int] = {}
        self._connected: set[int] = set()
        self._from_start = False
        self._introduced: tuple[int, int] | None = None
        """The domain that was introduced last, and in which line."""
        self._created: tuple[bytes, int] | None = None

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        if (found := _LINE.match(line)) is not None:
            yield from self._request(found, offset, number, length)
        elif (other := _CONNECTION.fullmatch(line)) is not None:
            self._connection(other["connection"], number, created=other["what"] == b"CREATE")
        elif line == _STARTED and self._created is not None and self._created[1] == number - 1:
            self._from_start = True
            self._domains[self._created[0]] = DOM0
        elif line == _OPENED:
            self._from_start = False

    def _connection(self, connection: bytes, number: int, *, created: bool) -> None:
        self._connected.discard(self._domains.pop(connection, DOM0))
        self._created = (connection, number) if created else None
        if not created:
            return
        if self._introduced is not None and self._introduced[1] == number - 1:
            domain = self._introduced[0]
            if domain not in self._connected:  # who is introduced again has a connection already
                self._domains[connection] = domain
                self._connected.add(domain)
        elif self._from_start and len(self._domains) < MOST_CONNECTIONS:
            self._domains[connection] = DOM0

    def _request(
        self, found: re.Match[bytes], offset: int, number: int, length: int
    ) -> Iterator[Record | Damage | Loss]:
        said: bytes = found["said"]
        if found["operation"] == b"INTRODUCE":
            domain = said.split(b" ", 1)[0]
            if domain.isdigit() and len(domain) <= 5 and DOM0 < int(domain) <= LAST_DOMAIN:
                self._introduced = int(domain), number
            return
        told = found["domain"]
        writer = self._domains.get(found["connection"]) if told is None else int(told)
        path = _PATH.match(said)
        guest = None if path is None else owner(path[0], writer)
        if path is None or guest is None:
            return
        if said[path.end() : path.end() + 1] not in (b" ", b""):
            return  # no path of xenstore's
        written = found["operation"] == b"WRITE"
        if not said.endswith(b")") or not (written or said.endswith(b" )")):
            yield Damage(self._source, offset, length, number, "the end of this request is not in its line")
            return
        try:
            second = _second(found["day"], found["clock"])
        except ValueError:
            yield Damage(self._source, offset, length, number, "the time of this line is no date")
            return
        time_ns = second * 10**9
        dated = 0 <= time_ns < 1 << 63
        value = said[path.end() + 1 : -1] if written else b""
        for event, values in (
            (STORE_WRITE if written else STORE_REMOVE, {"path": path[0], "value": value}),
            (DOMAIN, identity(path[0], value, writer) if written else None),
        ):
            if values is not None:
                yield Record(self._source, offset, length, number, event, values, found.string,
                             time_ns if dated else None, LOCAL if dated else None, domain=guest)


def _second(day: bytes, clock: bytes) -> int:
    return timegm(datetime.fromisoformat(f"{day.decode()}T{clock.decode()}").timetuple())


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a trace."""
    return 90 if _SURE.search(head) else 0


DISSECTOR = Dissector(
    "xenstored", "C xenstored's trace (-T): nodes of guests that are written and removed",
    b"IN 0x55eaef441fe0 20261123 03:39:59 WRITE (/local/domain/1/store/port 1)", sniff,
    lines=Trace, needles=NEEDLES, vantage="store",
)
