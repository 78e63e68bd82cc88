r"""What xl and libxl say of domains: `xl-NAME.log`, the output of `xl -vvv`, libvirt's log of its libxl driver.

Law: tools/xl/xl_vmcontrol.c for the lines of xl; `devstate_callback` of tools/libs/light/libxl_event.c,
libxl_dom_suspend.c, libxl_create.c and libxl_dm.c (up to Xen 4.14 in tools/libxl) for those of libxl::

    Waiting for domain reboot-twice (domid 1) to die [pid 355]
    Domain 1 has shut down, reason code 1 0x1
    Action for shutdown reason code 1 is restart
    Domain 1 needs to be cleaned up: destroying the domain
    libxl: debug: libxl_event.c:1051:devstate_callback: backend /local/domain/0/backend/vif/1/0/state wanted state 6 ok

An action is of the domain of the line before. `Domain has suspended.` is of the domain that the process of xl
waits for: it follows from the first line, and is of nobody where a log holds more than one process.

xl writes no time. libxl's lines have the host's date where xl was called with `-T`, with the zone's name, of which only
UTC says which zone it is; what libvirt and syslog put in front of them, `dissectors.envelope` reads.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import LOCAL, WALL
from dissectors.envelope import read_envelope
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import DOMAIN, DOMAIN_LIFE, STORE_NODE
from dissectors.xen.nodes import LAST_DOMAIN, owner

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"Waiting for domain ",
        rb"Domain (?:has suspended|\d{1,5}(?: has | needs |:(?:  -name|issuing |guest |r|ao 0x\w+: create)))",
        rb"Action for (?:unknown )?shutdown",
        rb"Saving domain \d",
        rb" wanted state ",
    )
)
"""Bytes that must occur in any line of ours, but for the name that stands below `-name`."""

MOST_WAITERS: Final = 2
"""Processes of xl whose lines are in one log, as far as it matters: one, or more than one."""

_STAMP: Final = re.compile(
    rb"(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d) (?P<zone>[A-Za-z]\w{0,5}|[+-]\d{2,4}) (?:\[\d{1,10}\] )?"
)
"""xentoollog's, with the name that the host gives to its zone."""
_SOURCE: Final = re.compile(rb"libxl: (?:\w{3,8}: )?libxl\w{0,60}\.c:\d{1,6}:\w{1,80}: ")
_NUMBER: Final = rb"(?P<domain>\d{1,5})"

Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Form:
    """One line: its event, the pattern of its whole text, and what it says by the pattern's groups."""

    event: str
    pattern: re.Pattern[bytes]
    says: Callable[[re.Match[bytes]], Values]


def _life(what: bytes, pattern: bytes) -> Form:
    """A line of the life of a domain, with the reason where it tells one."""

    def says(found: re.Match[bytes]) -> Values:
        reason = found.groupdict().get("reason")
        return {"what": what} if reason is None else {"what": what, "reason": int(reason)}

    return Form(DOMAIN_LIFE, re.compile(pattern), says)


XL: Final[tuple[Form, ...]] = (
    Form(DOMAIN,
         re.compile(rb"Waiting for domain (?P<name>.{1,1024}) \(domid %s\) to die \[pid (?P<pid>\d{1,10})\]" % _NUMBER),
         lambda found: {"name": found["name"]}),
    _life(b"shut down", rb"Domain %s has shut down, reason code (?P<reason>-?\d{1,10}) 0x[0-9a-f]{1,8}" % _NUMBER),
    _life(b"being destroyed", rb"Domain %s needs to be cleaned up: destroying the domain" % _NUMBER),
    _life(b"destroyed", rb"Domain %s has been destroyed\." % _NUMBER),
    _life(b"being saved", rb"xc: info: Saving domain %s, type .{1,40}" % _NUMBER),
)
"""Lines of xl, and of the helper that saves a domain."""

LIBXL: Final[tuple[Form, ...]] = (
    Form(STORE_NODE, re.compile(rb"backend (?P<path>/\S{1,3072}) wanted state (?P<value>\d{1,3}) ok"),
         lambda found: {"path": found["path"], "value": found["value"]}),
    Form(STORE_NODE,
         re.compile(rb"backend (?P<path>/\S{1,3072}) wanted state \d{1,3} +still waiting state (?P<value>\d{1,3})"),
         lambda found: {"path": found["path"], "value": found["value"]}),
    _life(b"being started", rb"Domain %s:running bootloader" % _NUMBER),
    _life(b"being restored", rb"Domain %s:restoring, not running bootloader" % _NUMBER),
    _life(b"asked to suspend", rb"Domain %s:issuing .{1,20} suspend request via XenBus control node" % _NUMBER),
    _life(b"acknowledged the suspend", rb"Domain %s:guest acknowledged suspend request" % _NUMBER),
    _life(b"did not acknowledge the suspend",
          rb"Domain %s:guest didn't acknowledge suspend, cancelling request" % _NUMBER),
    _life(b"did not suspend", rb"Domain %s:guest did not suspend, timed out" % _NUMBER),
    _life(b"suspended", rb"Domain %s:guest has suspended" % _NUMBER),
)
"""What stands after the function of libxl that says it."""

CALLS: Final[Mapping[bytes, bytes]] = {
    b"libxl_domain_unpause": b"unpause begun", b"libxl_domain_destroy": b"destroy begun",
}  # fmt: skip
"""Functions of libxl whose begin is a line: `ao 0x...: create`."""

_CALL: Final = re.compile(rb"Domain %s:ao 0x[0-9a-f]{1,16}: create: .*" % _NUMBER)
_ACTION: Final = re.compile(
    rb"Action for (?:unknown )?shutdown reason code (?P<reason>-?\d{1,10}) is (?P<what>[a-z][a-z-]{2,30})"
)
_SUSPENDED: Final = b"Domain has suspended."
_ARGUMENT: Final = re.compile(rb"Domain %s:  (?P<argument>.*)" % _NUMBER, re.DOTALL)


class ToolstackLog:
    """Reads candidate lines of one source into what is told of domains."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._written_ns = given.written_ns
        self._waits_for: dict[bytes, int] = {}
        """The domain that each process of xl waits for."""
        self._shut_down: tuple[int, int] | None = None
        """The domain that shut down last, and in which line."""
        self._named: tuple[int, int] | None = None
        """The domain whose device model gets a name by the next argument, and the line before that."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        envelope = read_envelope(line, self._written_ns)
        stamp = _STAMP.match(line, envelope.end)
        start = envelope.end if stamp is None else stamp.end()
        source = _SOURCE.match(line, start)
        said = line[start if source is None else source.end() :].removesuffix(b"\r")
        found = self._xl(said, number) if source is None else self._libxl(source[0], said, number)
        if found is None:
            return
        domain, event, values, derived = found
        if not 0 < domain <= LAST_DOMAIN:
            return
        time_ns, clock = envelope.time_ns, envelope.clock
        if stamp is not None and time_ns is None:
            time_ns = _nanoseconds(stamp)
            if time_ns is not None:
                clock = WALL if stamp["zone"] in (b"UTC", b"GMT") else LOCAL
        yield Record(self._source, offset, length, number, event, values, line, time_ns, clock, domain=domain,
                     derived=derived)

    def _xl(self, said: bytes, number: int) -> tuple[int, str, Values, bool] | None:
        if said == _SUSPENDED:
            if len(self._waits_for) != 1:
                return None
            return next(iter(self._waits_for.values())), DOMAIN_LIFE, {"what": b"suspended"}, True
        if (found := _ACTION.fullmatch(said)) is not None:
            if self._shut_down is None or self._shut_down[1] != number - 1:
                return None
            return self._shut_down[0], DOMAIN_LIFE, {"what": found["what"], "reason": int(found["reason"])}, True
        for form in XL:
            if (found := form.pattern.fullmatch(said)) is not None:
                domain, values = int(found["domain"]), form.says(found)
                if form.event == DOMAIN and (found["pid"] in self._waits_for or len(self._waits_for) < MOST_WAITERS):
                    self._waits_for[found["pid"]] = domain
                if values.get("what") == b"shut down":
                    self._shut_down = domain, number
                return domain, form.event, values, False
        return None

    def _libxl(self, source: bytes, said: bytes, number: int) -> tuple[int, str, Values, bool] | None:
        if (found := _ARGUMENT.fullmatch(said)) is not None:
            domain, argument, named = int(found["domain"]), found["argument"], self._named
            self._named = (domain, number) if argument == b"-name" else None
            told = named == (domain, number - 1) and 0 < len(argument) <= 1024
            return (domain, DOMAIN, {"name": argument}, False) if told else None
        if (found := _CALL.fullmatch(said)) is not None:
            what = CALLS.get(source.removesuffix(b": ").rpartition(b":")[2])
            return None if what is None else (int(found["domain"]), DOMAIN_LIFE, {"what": what}, False)
        for form in LIBXL:
            if (found := form.pattern.fullmatch(said)) is not None:
                values = form.says(found)
                if form.event != STORE_NODE:
                    return int(found["domain"]), form.event, values, False
                guest = owner(found["path"], None)
                return None if guest is None else (guest, form.event, values, False)
        return None


def _nanoseconds(stamp: re.Match[bytes]) -> int | None:
    """The date as it stands; None where there is no such date, or none that 63 bits hold."""
    try:
        date = datetime.fromisoformat(f"{stamp['day'].decode()}T{stamp['clock'].decode()}")
    except ValueError:
        return None
    time_ns = timegm(date.timetuple()) * 10**9
    return time_ns if 0 <= time_ns < 1 << 63 else None


_SURE: Final = re.compile(
    rb"Waiting for domain .{1,200} \(domid \d+\) to die \[pid|libxl: (?:\w{3,8}: )?libxl\w{0,60}\.c:\d+:"
    rb"|Domain \d+ has (?:shut down, reason code|been destroyed\.)"
)


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log."""
    return 80 if _SURE.search(head) else 0


DISSECTOR = Dissector(
    "libxl", "what xl and libxl say of domains: names, shutdowns, states of backends",
    b"Waiting for domain win10 (domid 314) to die [pid 23429]", sniff, lines=ToolstackLog, needles=NEEDLES,
    vantage="toolstack",
)
