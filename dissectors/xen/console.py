r"""The hypervisor's console: what the drivers of guests write to port 0xe9, and what Xen says became of a domain.

Law: xen/drivers/char/console.c (guest_printk, printk_start_of_line), xen/arch/x86/hvm/hvm.c (hvm_print_line,
hvm_triple_fault, hvm_vcpu_down), xen/arch/x86/hvm/viridian/viridian.c, and __domain_crash in xen/common/domain.c. Each
line begins with `(XEN) `, or with `(dN) ` for what domain N wrote; then comes the stamp that `console_timestamps` asks
for. `xl dmesg` prints the lines bare, a serial line ends each in CR LF, xenconsoled puts the local time in front::

    (d1) [  132.028963] xen|BUGCHECK: ====>
    (d1) [2026-11-23 03:17:30] xen|BUGCHECK: ====>
    [2026-11-23 03:17:30] (d1) xen|BUGCHECK: ====>
    (XEN) HVM1: xen|BUGCHECK: ====>
    (XEN) d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0
    (XEN) Domain 1 (vcpu#0) crashed on cpu#3:

The dates are Xen's wall clock, UTC: wallclock_time, by gmtime. Xen puts its prefix in front of every line of a guest,
so a guest cannot write a line of Xen's; but where Xen stamps no lines, it can write a stamp.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import WALL, XEN
from dissectors.envelope import read_envelope
from dissectors.platform.texts import read_text
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import DOMAIN_LIFE, GUEST_CRASH, GUEST_LINE, VIA_DEBUG

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"\(d[1-9]",
        rb"HVM[1-9]\d{0,4}: ",
        rb"VIRIDIAN CRASH:",
        rb"Domain [1-9]\d{0,4} (?:\(vcpu#|reported crashed)",
        rb"Triple fault ",
        rb"CPUs offline -- ",
    )
)
"""Bytes that must occur in any record of ours."""

_DATE: Final = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?"
_LINE: Final = re.compile(
    rb"\((?:XEN|d(?P<domain>[1-9]\d{0,4}))\) "
    rb"(?:\[(?:(?P<boot> *\d{1,10}\.\d{6})|(?P<date>" + _DATE + rb")|[0-9a-f]{16})\] )?"
)
_OF_HVM: Final = re.compile(rb"HVM(?P<domain>[1-9]\d{0,4}): ")
"""How older versions of Xen begin what a guest wrote to the port, after their own `(XEN) `."""
_MODULE: Final = re.compile(rb"xen[a-z0-9_]{0,61}\|", re.IGNORECASE)
"""How a line of a Windows PV driver begins, with or without a function."""

_OF_VCPU: Final = rb"(?:\S{1,128}:\d{1,6}:)?d(?P<domain>\d{1,5})v(?P<cpu>\d{1,5}) "
"""A message about the vCPU that runs; that of a debug build says first where in the source it is."""
_CRASH: Final = re.compile(_OF_VCPU + rb"VIRIDIAN CRASH: (?P<numbers>[0-9a-f]{1,16}(?: [0-9a-f]{1,16}){4})")
_CRASH_BEGUN: Final = re.compile(_OF_VCPU + rb"VIRIDIAN CRASH:")
_CRASHED: Final = re.compile(
    rb"Domain (?P<domain>\d{1,5}) (?:\(vcpu#(?P<cpu>\d{1,5})\) crashed|reported crashed by domain \d{1,5}) on cpu#\d+:"
)
_TRIPLE_FAULT: Final = re.compile(
    _OF_VCPU + rb"Triple fault (?:on VCPU\d{1,5} )?- invoking HVM shutdown action (?P<reason>\d{1,3})\.?"
)
_ALL_OFFLINE: Final = re.compile(_OF_VCPU + rb"(?:DOM\d{1,5}: )?[Aa]ll CPUs offline -- powering off\.")

_POWEROFF: Final = 0
"""The reason of a shutdown by which a domain is switched off: SHUTDOWN_poweroff in xen/include/public/sched.h."""
MOST_DOMAIN: Final = 0x7FEF
"""The last number that a domain can have: DOMID_FIRST_RESERVED in xen/include/public/xen.h is the next."""

_Told = tuple[str, int, dict[str, Value]]
"""An event, the domain that it is about, and its values."""


class Console:
    """Reads candidate lines of one source into drivers' lines, crashes and ends of domains."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._written_ns = given.written_ns

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        before = read_envelope(line, self._written_ns)
        found = _LINE.match(line, before.end)
        if found is None:
            return
        text = line[found.end():].removesuffix(b"\r")
        told = _of_guest(found, text) or (None if found["domain"] else _of_xen(text))
        if isinstance(told, str):
            yield Damage(self._source, offset, length, number, told)
        elif told is not None:
            event, domain, values = told
            time_ns, clock = _stamp(found)
            if time_ns is None:
                time_ns, clock = before.time_ns, before.clock
            yield Record(self._source, offset, length, number, event, values, line, time_ns, clock, domain=domain)


def _stamp(found: re.Match[bytes]) -> tuple[int | None, str | None]:
    """Xen's own stamp and its clock, if the line has one."""
    if found["boot"]:
        seconds, _, micro = found["boot"].partition(b".")
        time_ns = int(seconds) * 10**9 + int(micro) * 1000
        return (time_ns, XEN) if time_ns < 1 << 63 else (None, None)
    if found["date"]:
        try:
            date = datetime.fromisoformat(found["date"].decode())
        except ValueError:
            return None, None
        time_ns = timegm(date.timetuple()) * 10**9 + date.microsecond * 1000
        return (time_ns, WALL) if 0 <= time_ns < 1 << 63 else (None, None)
    return None, None


def _of_guest(found: re.Match[bytes], text: bytes) -> _Told | None:
    """A driver's line; firmware, kernels and everybody else who writes to the port say nothing of ours."""
    domain = found["domain"]
    if domain is None:
        old = _OF_HVM.match(text)
        if old is None:
            return None
        domain, text = old["domain"], text[old.end():]
    said = read_text(text.decode("latin-1"))
    drivers = said is not None and said.speaker == "guest"
    if int(domain) > MOST_DOMAIN or not (drivers or _MODULE.match(text)):
        return None
    return GUEST_LINE, int(domain), {"s": text, "via": VIA_DEBUG}


def _of_xen(text: bytes) -> _Told | str | None:
    """What Xen says of a guest that came to an end, or what is wrong with it. Dom0's end is the host's."""
    values: dict[str, Value]
    if found := _CRASH.fullmatch(text):
        numbers = (int(part, 16) for part in found["numbers"].split())
        event, values = GUEST_CRASH, dict(zip(("code", "p1", "p2", "p3", "p4"), numbers, strict=True))
    elif _CRASH_BEGUN.match(text):
        return "the five numbers of the crash are not whole"
    elif found := _CRASHED.fullmatch(text):
        event, values = DOMAIN_LIFE, {"what": b"crashed"}
    elif found := _TRIPLE_FAULT.fullmatch(text):
        event, values = DOMAIN_LIFE, {"what": b"triple fault", "reason": int(found["reason"])}
    elif found := _ALL_OFFLINE.fullmatch(text):
        event, values = DOMAIN_LIFE, {"what": b"all CPUs offline", "reason": _POWEROFF}
    else:
        return None
    if found["cpu"] is not None:
        values["cpu_index"] = int(found["cpu"])
    domain = int(found["domain"])
    return (event, domain, values) if 0 < domain <= MOST_DOMAIN else None


_BY_XEN: Final = re.compile(rb"\(XEN\) ")
_BY_GUEST: Final = re.compile(rb"\(d\d{1,5}\) ")
_SURE, _MAY_BE = 80, 60
_LONGEST: Final = 512
"""What stands in front of a line is shorter."""


def begins_line(what: re.Pattern[bytes], head: bytes) -> bool:
    """Whether a line of the head of a source begins so, or does after what a daemon put in front of it."""
    for match in what.finditer(head):
        at = match.start()
        start = head.rfind(b"\n", max(0, at - _LONGEST), at) + 1
        if (start or at < _LONGEST) and start + read_envelope(head[start:at]).end == at:
            return True
    return False


def sniff(head: bytes) -> int:
    """How sure it is that a source is a hypervisor's console, or holds one."""
    if begins_line(_BY_XEN, head):
        return _SURE
    return _MAY_BE if begins_line(_BY_GUEST, head) else 0


DISSECTOR = Dissector(
    "xen-console", "the hypervisor's console: lines of drivers, crashes, ends of domains (xl dmesg, hypervisor.log)",
    b"(d1) [  132.028963] xen|BUGCHECK: ====>", sniff, lines=Console, needles=NEEDLES, vantage="host",
)
