r"""What may stand in front of an event's name on a line of a text log.

Law: QEMU's util/log.c, scripts/tracetool/backend/{log,syslog,dtrace}.py, trace/ftrace.c; RFC 3164 and RFC 5424 for
syslog's own header; Documentation/trace/ftrace.rst for the trace marker. The same event in the forms that exist::

    cpu_in addr 0x10(w) value 18898
    31213@1795401500.773285:cpu_in addr 0x10(w) value 18898
    2026-11-23T03:25:00.040406Z cpu_in addr 0x10(w) value 18898
    [win10] qemu-system-i386: (31213:main): cpu_in addr 0x10(w) value 18898
    31213@1795401500773285000 cpu_in addr 0x10(w) value 18898
    Nov 23 03:12:23 vm qemu-system-i386[8003]: cpu_in addr 0x10(w) value 18898
    <30>1 2026-11-23T03:12:23.985985+00:00 vm qemu-system-i386 8003 - -  cpu_in addr 0x10(w) value 18898
               <...>-8050    [001] ...1.  4132.412908: tracing_mark_write: cpu_in addr 0x10(w) value 18898
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from functools import lru_cache

from dissectors.clock import SYSLOG, TRACE, WALL

_ISO = rb"(?P<day>\d{4}-\d\d-\d\d)T(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)"
_TAG = rb"(?P<tag>[^\s\[\]:]{1,64})(?:\[(?P<pid>\d{1,10})\])?: ?"

_PID_AT_TIME = re.compile(rb"(?P<thread>\d{1,10})@(?P<seconds>\d{1,11})\.(?P<micro>\d{6}):")
_SYSTEMTAP = re.compile(rb"(?P<thread>\d{1,10})@(?P<nano>\d{16,19}) ")
_ISO_STAMP = re.compile(_ISO + rb" ")
_CONSOLE = re.compile(rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ")
_OWN_ISO = re.compile(_ISO + rb" (?:[a-z][a-z0-9]*_[a-z0-9_]*(?: (?!\S+\[\d+\]: )|$)|\[|[\w.+-]{1,64}: \()")
"""QEMU's own stamp: after it comes an event, a guest's name, or a program and its thread; never a host's name."""
_SYSLOG_ISO = re.compile(_ISO + rb" \S{1,255} " + _TAG)
_SYSLOG_3164 = re.compile(rb"(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:[^\s\[\]:]{1,255} )?" + _TAG)
_SYSLOG_5424 = re.compile(
    rb"<\d{1,3}>1 " + _ISO + rb" \S{1,255} (?P<tag>\S{1,64}) (?P<pid>\S{1,128}) \S{1,32} (?:-|(?:\[[^\]]*\])+) +"
)
_FTRACE = re.compile(
    rb" *.{1,64}?-(?P<thread>\d{1,10}) +(?:\( *[\d-]+\) +)?\[\d{1,4}\] +(?:[^\s\d]\S{3,4} +|[.\w]{4,5} +)?"
    rb"(?P<seconds>\d{1,11})\.(?P<fraction>\d{6,9}): (?:print: +)?(?:tracing_mark_write|0x[0-9a-f]+|\w+): ?"
)
_PROGRAM = re.compile(
    rb"(?:\[(?P<guest>[^\]]{1,255})\] )?(?P<program>[\w.+-]{1,64}): "
    rb"(?:\((?P<thread>\d{1,10}):[^)]{0,64}\): )?"
)
_GUEST = re.compile(rb"\[(?P<guest>[^\]]{1,255})\] ")
_NAME = re.compile(rb"[a-z][a-z0-9_]{2,60}(?= |$)")

_DOMAIN_TAG = re.compile(rb"qemu-dm-(\d{1,5})$")


@dataclass(slots=True)
class Prefix:
    """What stood before the event's name; `end` is where the name begins."""

    end: int = 0
    time_ns: int | None = None
    clock: str | None = None
    thread: int | None = None
    guest: str | None = None
    domain: int | None = None
    name: bytes = b""


@lru_cache(maxsize=256)
def _utc_second(day: bytes, clock: bytes, zone: bytes) -> int | None:
    try:
        year, month, date = (int(part) for part in day.split(b"-"))
        hour, minute, second = (int(part) for part in clock.split(b":"))
        if not (1 <= month <= 12 and 1 <= date <= 31 and hour < 24 and minute < 60 and second < 61):
            return None
        shift = 0
        if zone != b"Z":
            shift = (int(zone[1:3]) * 60 + int(zone[4:6])) * (-60 if zone[:1] == b"-" else 60)
        return timegm((year, month, date, hour, minute, second)) - shift
    except ValueError:
        return None


def _nanoseconds(match: re.Match[bytes]) -> int | None:
    second = _utc_second(match["day"], match["clock"], match["zone"])
    return None if second is None else second * 10**9 + int((match["fraction"] or b"0").ljust(9, b"0"))


def _domain_of_tag(tag: bytes) -> int | None:
    domain = _DOMAIN_TAG.match(tag)
    return int(domain[1]) if domain else None


def _printable(name: bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if name else None


def _envelope(line: bytes, prefix: Prefix) -> None:
    """Take what a syslog daemon, a console daemon or the kernel tracer wrote in front of QEMU's own text."""
    first = line[:1]
    if first.isdigit():
        if not _OWN_ISO.match(line) and (match := _SYSLOG_ISO.match(line)):
            prefix.time_ns, prefix.clock = _nanoseconds(match), SYSLOG
        else:
            return
    elif first == b"[":
        if match := _CONSOLE.match(line):  # local time of an unknown zone: no time
            prefix.end = match.end()
        return
    elif first == b"<" and (match := _SYSLOG_5424.match(line)):
        prefix.time_ns, prefix.clock = _nanoseconds(match), SYSLOG
    elif (first == b"<" or first.isupper()) and (match := _SYSLOG_3164.match(line)):
        pass  # no year and no zone: no time
    elif match := _FTRACE.match(line):
        prefix.thread, prefix.end = int(match["thread"]), match.end()
        prefix.time_ns = int(match["seconds"]) * 10**9 + int(match["fraction"].ljust(9, b"0"))
        prefix.clock = TRACE
        return
    else:
        return
    prefix.end = match.end()
    pid = match["pid"]
    prefix.thread = int(pid) if pid and pid.isdigit() and len(pid) <= 10 else None
    prefix.domain = _domain_of_tag(match["tag"])


def read(line: bytes) -> Prefix | None:
    """Read what stands before the event name of a line, and the name; None where no name can be found in its place.

    The name is not checked against any list: the caller knows which events there are. A time that 64 bits cannot
    hold is no time.
    """
    prefix = _read(line)
    if prefix is not None and prefix.time_ns is not None and not 0 <= prefix.time_ns < 1 << 63:
        prefix.time_ns = prefix.clock = None
    return prefix


def _read(line: bytes) -> Prefix | None:
    if name := _NAME.match(line):
        return Prefix(name=name[0])
    prefix = Prefix()
    if match := _PID_AT_TIME.match(line):
        pass
    else:
        _envelope(line, prefix)
        if name := _NAME.match(line, prefix.end):
            prefix.name = name[0]
            return prefix if prefix.end else None
        match = _PID_AT_TIME.match(line, prefix.end)
    if match:
        prefix.thread = int(match["thread"])
        prefix.time_ns = int(match["seconds"]) * 10**9 + int(match["micro"]) * 1000
        prefix.clock, prefix.end = WALL, match.end()
    elif match := _SYSTEMTAP.match(line, prefix.end):
        prefix.thread, prefix.time_ns = int(match["thread"]), int(match["nano"])
        prefix.clock, prefix.end = WALL, match.end()
    elif match := _ISO_STAMP.match(line, prefix.end):
        prefix.time_ns, prefix.clock, prefix.end = _nanoseconds(match), WALL, match.end()
    if name := _NAME.match(line, prefix.end):
        prefix.name = name[0]
        return prefix
    for form in (_PROGRAM, _GUEST):
        if match := form.match(line, prefix.end):
            found = match.groupdict()
            if name := _NAME.match(line, match.end()):
                prefix.guest = _printable(found["guest"]) or prefix.guest
                if thread := found.get("thread"):
                    prefix.thread = int(thread)
                prefix.end, prefix.name = match.end(), name[0]
                return prefix
    return None
