r"""Accesses in the text that two tools make of xentrace's records: `xenalyze --dump-all`, and `xentrace_format`.

Law: tools/xentrace/xenalyze.c, tools/xentrace/xentrace_format and its file `formats`. One access in each of the ways::

     217.407080536 x d1v0 io write port 12 val 3
    !217.369469257 x d1v0 io_assist [ 10 49d2 ]
    !... hvm_handler 534 [ 12 3 ]
    CPU0  0 (+       0)  IOPORT_WRITE [ port = 0x0012, data = 0x00000003 ]

xenalyze puts the processors in order, and names each by a column of its own, which may hold spaces; numbers are
hexadecimal. Its time counts from the first time stamp of the file, the first lost record's included: another origin
than the stamps' own. It goes by 2457/1024 GHz unless told otherwise. Where nothing was recorded of the scheduler, it
takes Domain-0 to run all the time, so Domain-0 is nobody here. Where a record has no value, it prints what lies behind
it in memory, the first word of the next record: a value that can be such a word is missing.

xentrace_format keeps the order of the file and the time stamp itself, which an access has not got: it has that of the
last line before it on its processor that was shown. Where a record has no value, it prints 0: so 0 is missing. Its
files up to 2015 print the port as the value. It tells what runs on a processor by the records of the scheduler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import TSC, XENALYZE
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import PORT_ACCESS, READ, WRITE
from dissectors.xen.xentrace import MOST_PROCESSORS, RESERVED_DOMAIN, hertz
from dissectors.xen.xentrace_block import PORTS, is_head

NEEDLES: tuple[re.Pattern[bytes], ...] = (
    re.compile(rb"io (?:read|write) port "), re.compile(rb"io_assist \["), re.compile(rb"hvm_handler (?:22|534) \["),
    re.compile(rb"lost_records"), re.compile(rb"IOPORT_(?:READ|WRITE)"), re.compile(rb"VMEXIT  "),
    re.compile(rb"unknown \(0x0000000000021"), re.compile(rb"runn(?:ing|able)_to_"), re.compile(rb"continue_running"),
    re.compile(rb"blocked_to_runn"), re.compile(rb"offline_to_runn"),
)  # fmt: skip

_DUMPED: Final = re.compile(
    rb"(?P<number>\d{1,12}:)?[\] !] *(?P<second>\d{1,10})\.(?P<nano>\d{9}) [-x|.l ]+ d(?P<domain>\d{1,5}|\?)"
    rb"v(?P<vcpu>\d{1,5}|\?) (?P<what>io read port|io write port|io_assist \[|hvm_handler (?:22|534) \[|lost_records) ?"
    rb"(?P<rest>.*)$", re.DOTALL,
)  # fmt: skip
"""A line of xenalyze, perhaps with the number that grep puts before it."""
_VALUE: Final = re.compile(rb"(?P<port>[0-9a-f]{1,8}) val (?P<value>[0-9a-f]{1,8})\r?$")
_WORDS: Final = re.compile(rb"(?P<port>[0-9a-f]{1,8})(?: (?P<value>[0-9a-f]{1,8}))? \]\r?$")
_COUNT: Final = re.compile(rb"count (\d{1,20}) ")
_DIRECTIONS: Final = {
    b"io read port": READ, b"io write port": WRITE, b"io_assist [": READ, b"hvm_handler 22 [": READ,
    b"hvm_handler 534 [": WRITE,
}  # fmt: skip
"""The number is that of the event among the handlers of HVM: 0x16 and 0x216."""

_FORMATTED: Final = re.compile(
    rb"(?P<number>\d{1,12}:)?CPU(?P<cpu>\d{1,5}) +(?P<tsc>\d{1,20}) \(\+ *\d{1,20}\) +(?P<what>\S+)(?P<rest>.*)$",
    re.DOTALL,
)
"""A line of xentrace_format, likewise."""
_ACCESS: Final = re.compile(rb" *\[ port = 0x(?P<port>[0-9a-f]{4,8}), data = 0x(?P<value>[0-9a-f]{1,8}) \]\r?$")
_PORT_ALONE: Final = re.compile(rb" *\[ data = 0x(?P<port>[0-9a-f]{4,8}) \]\r?$")
_FIRST_WORD: Final = re.compile(rb" *\[ (?:dom:vcpu = )?0x([0-9a-f]{8})")
_UNKNOWN: Final = re.compile(rb" \(0x0{1,12}(?P<event>[0-9a-f]{4,8})\) +(?P<rest>\[.*)$", re.DOTALL)
_LOST: Final = re.compile(rb" +0x([0-9a-f]{1,8})\b")
_STATE: Final = re.compile(rb"(running|runnable|blocked|offline)_to_(running|runnable|blocked|offline)$")
_NUMBERED_STATE: Final = re.compile(rb"21([0-3])([0-3])1$")


class Text:
    """Reads candidate lines of one source."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._hz = hertz(given)
        self._tsc: dict[int, int] = {}
        """The last time stamp of each processor."""
        self._running: dict[int, int] = {}
        """The domain, and in the lower 16 bits the vCPU, that runs on each, where that is known."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        if found := _DUMPED.match(line):
            said = self._dumped(found, (offset, length, number))
        elif (found := _FORMATTED.match(line)) and int(found["cpu"]) < MOST_PROCESSORS:
            said = self._formatted(found, (offset, length, number))
        else:
            return
        if said is not None:
            yield said

    def _dumped(self, found: re.Match[bytes], place: tuple[int, int, int]) -> Record | Damage | Loss | None:
        """What a line of xenalyze says."""
        what, rest = found["what"], found["rest"]
        if what == b"lost_records":
            lost = _COUNT.match(rest)
            return self._loss(place, int(lost[1])) if lost else None
        access = (_VALUE if what.startswith(b"io ") else _WORDS).match(rest)
        if access is None or int(access["port"], 16) > 0xFFFF:
            return self._damage(place)
        value = None if access["value"] is None else int(access["value"], 16)
        if value is not None and access.re is _VALUE and _may_be_head(value):
            value = None  # io_assist and hvm_handler print only the words that a record has
        time_ns = int(found["second"]) * 10**9 + int(found["nano"])
        runs = None
        if b"?" not in (found["domain"], found["vcpu"]) and int(found["domain"]):
            runs = int(found["domain"]) << 16 | int(found["vcpu"]) & 0xFFFF
        return self._access(found, place, _DIRECTIONS[what], int(access["port"], 16), value, time_ns, runs, XENALYZE)

    def _formatted(self, found: re.Match[bytes], place: tuple[int, int, int]) -> Record | Damage | Loss | None:
        """What a line of xentrace_format says, and what is to be known of the lines behind it."""
        cpu, tsc, what, rest = int(found["cpu"]), int(found["tsc"]), found["what"], found["rest"]
        if tsc:
            self._tsc[cpu] = tsc
        if what in (b"IOPORT_READ", b"IOPORT_WRITE"):
            access = _ACCESS.match(rest) or _PORT_ALONE.match(rest)
            if access is None or int(access["port"], 16) > 0xFFFF:
                return self._damage(place)
            value = int(access["value"], 16) if "value" in access.re.groupindex else 0
            direction = READ if what == b"IOPORT_READ" else WRITE
            time_ns = self._tsc[cpu] * 10**9 // self._hz if cpu in self._tsc else None
            return self._access(found, place, direction, int(access["port"], 16), value or None, time_ns,
                                self._running.get(cpu), TSC)
        if what == b"lost_records":
            self._running.pop(cpu, None)
            lost = _LOST.match(rest)
            return self._loss(place, int(lost[1], 16)) if lost else None
        self._schedule(cpu, what, rest)
        return None

    def _schedule(self, cpu: int, what: bytes, rest: bytes) -> None:
        """Learn what runs on a processor, if the line tells it; an event that `formats` lacks is told by its number."""
        before = after = b""
        if what == b"unknown" and (unknown := _UNKNOWN.match(rest)):
            what, rest = unknown["event"], unknown["rest"]
        if state := _STATE.match(what):
            before, after = state.groups()
        elif state := _NUMBERED_STATE.match(what):
            before, after = (b"running" if one == b"0" else b"" for one in state.groups())
        elif what in (b"continue_running", b"21002"):
            after = b"running"
        if after == b"running" and (word := _FIRST_WORD.match(rest)):
            self._running[cpu] = int(word[1], 16)
        elif b"running" in (before, after):
            self._running.pop(cpu, None)

    def _access(
        self, found: re.Match[bytes], place: tuple[int, int, int], direction: int, port: int, value: int | None,
        time_ns: int | None, runs: int | None, clock: str,
    ) -> Record | None:  # fmt: skip
        """One access, if its port is of interest."""
        if not any(port in ports for ports in PORTS):
            return None
        offset, length, number = place
        domain, cpu_index = (None, None) if runs is None or runs >> 16 >= RESERVED_DOMAIN else divmod(runs, 1 << 16)
        values = {"dir": direction, "addr": port, "size": None, "val": value, "count": None if value is None else 1,
                  "cpu_index": cpu_index}
        dated = time_ns is not None and time_ns < 1 << 63
        return Record(self._source, offset, length, number, PORT_ACCESS, values, found.string,
                      time_ns if dated else None, clock if dated else None, domain=domain,
                      recovered=found["number"] is not None)

    def _loss(self, place: tuple[int, int, int], count: int) -> Loss:
        return Loss(self._source, *place, f"{count} records are missing here")

    def _damage(self, place: tuple[int, int, int]) -> Damage:
        return Damage(self._source, *place, "expected a port and its value, found something else")


def _may_be_head(value: int) -> bool:
    """Whether a value can be the first word of the next record: one with a time or words, or one of HVM's handlers."""
    return is_head(value) and (value >> 28 != 0 or value >> 12 & 0xFF == 0x82)


_HEADS: Final = (
    (b" d", re.compile(rb"(?m)^(?:\d{1,12}:)?[\] !] *\d{1,10}\.\d{9} [-x|.l ]+ d(?:\d{1,5}|\?)v")),
    (b"CPU", re.compile(rb"(?m)^(?:\d{1,12}:)?CPU\d{1,5} +\d{1,20} \(\+ *\d{1,20}\) +\S")),
)
"""How lines begin, each behind a text that is found quickly, and that every such line holds."""


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a text: any line of one of the tools begins so."""
    return 80 if any(sign in head and one.search(head) for sign, one in _HEADS) else 0


DISSECTOR = Dissector(
    "xenalyze", "the text of xenalyze --dump-all and of xentrace_format: accesses to ports",
    b"!217.369469257 x d1v0 io_assist [ 10 49d2 ]", sniff, lines=Text, needles=NEEDLES, vantage="host",
)
