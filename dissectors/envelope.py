r"""What stands around a record when a daemon has carried it: who sent it, from where, and when it arrived.

Law: RFC 3164 and RFC 5424; rsyslog's templates RSYSLOG_TraditionalFileFormat, RSYSLOG_FileFormat, RSYSLOG_ForwardFormat
and RSYSLOG_SyslogProtocol23Format; systemd's journalctl (`-o short`, `short-iso`); Xen's tools/console/daemon/io.c;
libvirt's src/util/virtime.c. One record as each of them hands it on::

    Nov 23 03:12:23 vm qemu-dm-5[8003]: cpu_in addr 0x10(w) value 18898
    <30>Nov 23 03:12:18 qemu-system-i386[7944]: cpu_in addr 0x10(w) value 18898
    2026-11-23T03:12:23.985651+00:00 vm qemu-system-i386[8003]: cpu_in addr 0x10(w) value 18898
    2026-11-24T21:53:49.987274+0000 vm qemu-system-i386[2762]: cpu_in addr 0x10(w) value 18898
    <30>1 2026-11-23T03:12:23.985651+00:00 vm qemu-system-i386 8003 - -  cpu_in addr 0x10(w) value 18898
    [2024-03-04 17:50:25] cpu_in addr 0x10(w) value 18898
    2026-11-23 03:12:23.985+0000: starting up libvirt version: 9.0.0

xenconsoled puts its stamp before the first byte after a newline, so that one may follow a blank. Its date is the
host's, without a zone. RFC 3164 has no year either: it is the latest in which the date is not after the last write to
the file. Nothing is known of the order of lines; a file that spans more than a year has its first ones a year late.

rsyslog writes control characters of a message as `#` and three octal digits. A guest can write such text itself, and
nobody can tell one from the other: a message stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from time import gmtime
from typing import Final

from dissectors.clock import LOCAL, LOCAL_YEARLESS, SYSLOG, WALL

ISO: Final = (
    rb"(?P<day>\d{4}-\d\d-\d\d)T(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)"
)
"""A date of ISO 8601 with its zone, as the expression that `nanoseconds` reads."""

_TAG = rb"(?P<tag>[^\s\[\]:]{1,64})(?:\[(?P<pid>\d{1,10})\])?: ?"
_PRIORITY = re.compile(rb"<\d{1,3}>")
_TRADITIONAL = re.compile(
    rb"(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:(?P<host>[^\s\[\]:]{1,255}) )?" + _TAG
)
_PRECISE = re.compile(ISO + rb" (?P<host>\S{1,255}) " + _TAG)
_STRUCTURED = rb"(?:-|(?:\[(?:[^\]\"]|\"(?:[^\"\\]|\\.)*+\")*+\])++)"
r"""Structured data: in quotes a `]`, a `"` and a `\` are escaped."""
_PROTOCOL = re.compile(
    rb"1 (?:-|" + ISO + rb") (?P<host>\S{1,255}) (?P<tag>\S{1,64}) (?P<pid>\S{1,128}) \S{1,32} " + _STRUCTURED
    + rb" +(?:\xef\xbb\xbf)?", re.DOTALL
)
_CONSOLE = re.compile(rb" ?\[(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d)\] ")
_LIBVIRT = re.compile(
    rb"(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d)\.(?P<fraction>\d{3})(?P<zone>[+-]\d{4}): "
)
_OWN = re.compile(ISO + rb" (?:[a-z][a-z0-9]*_[a-z0-9_]*(?: (?!\S+\[\d+\]: )|$)|\[|[\w.+-]{1,64}: \()")
"""QEMU's own stamp: after it comes an event, a guest's name, or a program and its thread; never a host's name."""

LOGGER_PIECES: Final = (1023, 1024)
"""Bytes of a message of util-linux' `logger` (misc-utils/logger.c), after which it begins another: in old ones, in
those of 2.26 and later."""

_DEVICE_MODEL = re.compile(rb"qemu-dm-(\d{1,5})$")
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_S: Final = 86_400
_LEAP_YEARS: Final = 8
"""Years between two leap years at most: 1896 to 1904, 2096 to 2104."""


@dataclass(slots=True)
class Envelope:
    """What a daemon wrote around a message; `end` is where the message begins, 0 where nothing stands before it.

    `thread` is the process that the tag names, `domain` what XenServer's tag `qemu-dm-N` says.
    """

    end: int = 0
    time_ns: int | None = None
    clock: str | None = None
    thread: int | None = None
    tag: bytes = b""
    host: bytes = b""
    domain: int | None = None


@lru_cache(maxsize=256)
def _second(day: bytes, clock: bytes, zone: bytes) -> int | None:
    """Seconds since 1970 of a date; None where there is no such date."""
    hour, minute, second = (int(part) for part in clock.split(b":"))
    if not (hour < 24 and minute < 60 and second < 61):
        return None
    try:
        days = date(*(int(part) for part in day.split(b"-"))).toordinal() - _EPOCH
    except ValueError:
        return None
    shift = 0
    if zone != b"Z":
        shift = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[:1] == b"-" else 60)
    return ((days * 24 + hour) * 60 + minute) * 60 + second - shift


def _in_range(second: int | None, fraction: bytes = b"") -> int | None:
    """Nanoseconds since 1970, if 63 bits hold them."""
    if second is None:
        return None
    time_ns = second * 10**9 + int(fraction.ljust(9, b"0"))
    return time_ns if 0 <= time_ns < 1 << 63 else None


def nanoseconds(found: re.Match[bytes]) -> int | None:
    """The time of what `ISO` matched; None where there is no such date, or where 63 bits do not hold it."""
    return _in_range(_second(found["day"], found["clock"], found["zone"]), found["fraction"] or b"")


@lru_cache(maxsize=256)
def _inferred(stamp: bytes, written_ns: int) -> int | None:
    """The time of a date without a year and a zone in a file that was last written at `written_ns`.

    A day is allowed for the zone: the date is the host's, what is known of the file is UTC.
    """
    if stamp[:3] not in _MONTHS:
        return None
    month, clock = _MONTHS.index(stamp[:3]) + 1, stamp[7:]
    latest = written_ns // 10**9 + _DAY_S
    try:
        year = gmtime(latest).tm_year
    except (OverflowError, OSError, ValueError):
        return None
    for candidate in range(year, year - _LEAP_YEARS - 1, -1):
        if not 1970 <= candidate < 10_000:
            return None
        second = _second(b"%04d-%02d-%02d" % (candidate, month, int(stamp[4:6])), clock, b"Z")
        if second is not None and second <= latest:
            return _in_range(second)
    return None


def read_envelope(line: bytes, written_ns: int | None = None) -> Envelope:
    """What a daemon wrote before the message of a line; `written_ns` is when the source was last written.

    Of a date without a year nothing becomes of the time where nobody knows when the source was written.
    """
    first = line[:1]
    if first == b"<":
        priority = _PRIORITY.match(line)
        if priority is None:
            return Envelope()
        start = priority.end()
        if found := _PROTOCOL.match(line, start):
            time_ns = nanoseconds(found) if found["day"] else None
            return _carried(found, time_ns, SYSLOG)
        first = line[start : start + 1]
    else:
        start = 0
    if first.isdigit():
        if found := _PRECISE.match(line, start):
            if not start and _OWN.match(line):
                return Envelope()
            return _carried(found, nanoseconds(found), SYSLOG)
        if not start and (found := _LIBVIRT.match(line)):
            return _stamped(found, nanoseconds(found), WALL)
    elif first.isupper():
        if found := _TRADITIONAL.match(line, start):
            time_ns = None if written_ns is None else _inferred(found["stamp"], written_ns)
            return _carried(found, time_ns, LOCAL_YEARLESS)
    elif first in (b"[", b" ") and not start and (found := _CONSOLE.match(line)):
        return _stamped(found, _in_range(_second(found["day"], found["clock"], b"Z")), LOCAL)
    return Envelope()


def _stamped(found: re.Match[bytes], time_ns: int | None, clock: str) -> Envelope:
    return Envelope(found.end(), time_ns, None if time_ns is None else clock)


def _carried(found: re.Match[bytes], time_ns: int | None, clock: str) -> Envelope:
    tag, pid, host = found.group("tag", "pid", "host")
    thread = int(pid) if pid and pid.isdigit() and len(pid) <= 10 else None
    return Envelope(
        found.end(), time_ns, None if time_ns is None else clock, thread, tag, host or b"", domain_of_tag(tag)
    )


def domain_of_tag(tag: bytes) -> int | None:
    """The number of the domain whose device model has this name on XenServer, as in `qemu-dm-5`."""
    found = _DEVICE_MODEL.match(tag)
    return int(found[1]) if found else None
