r"""What may stand in front of an event's name on a line of a text log.

Law: QEMU's util/log.c, scripts/tracetool/backend/{log,syslog,dtrace}.py, trace/ftrace.c; Documentation/trace/ftrace.rst
for the trace marker; `dissectors.envelope` for what daemons write before that. The same event in the forms that exist::

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
from dataclasses import dataclass

from dissectors.clock import TRACE, WALL
from dissectors.envelope import ISO, nanoseconds, read_envelope
from dissectors.linux import columns

_PID_AT_TIME = re.compile(rb"(?P<thread>\d{1,10})@(?P<seconds>\d{1,11})\.(?P<micro>\d{6}):")
_SYSTEMTAP = re.compile(rb"(?P<thread>\d{1,10})@(?P<nano>\d{16,19}) ")
_ISO_STAMP = re.compile(ISO + rb" ")
_MARKER = re.compile(rb"(?:tracing_mark_write|0x[0-9a-f]+|\w+): ?")
"""What trace-cmd and the kernel call a line that a program wrote to the trace."""
_PROGRAM = re.compile(
    rb"(?:\[(?P<guest>[^\]]{1,255})\] )?(?P<program>[\w.+-]{1,64}): "
    rb"(?:\((?P<thread>\d{1,10}):[^)]{0,64}\): )?"
)
_GUEST = re.compile(rb"\[(?P<guest>[^\]]{1,255})\] ")
_NAME = re.compile(rb"[a-z][a-z0-9_]{2,60}(?= |$)")


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


def _printable(name: bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if name else None


def _carried(line: bytes, written_ns: int | None) -> Prefix:
    """Take what a syslog daemon, a console daemon or the kernel tracer wrote in front of QEMU's own text."""
    around = read_envelope(line, written_ns)
    if around.end:
        return Prefix(around.end, around.time_ns, around.clock, around.thread, None, around.domain)
    first = line[:1]
    before = None if first.isdigit() or first == b"[" else columns.read(line)
    if before is None:
        return Prefix()
    end = before.end
    if before.event == b"print" and (marker := _MARKER.match(line, end)) is not None:
        end = marker.end()
    return Prefix(end, before.time_ns, None if before.time_ns is None else TRACE, before.thread)


def is_stamped(line: bytes, start: int) -> bool:
    """Whether QEMU's own time stamp stands at `start`."""
    return any(form.match(line, start) is not None for form in (_PID_AT_TIME, _SYSTEMTAP, _ISO_STAMP))


def read(line: bytes, written_ns: int | None = None) -> Prefix | None:
    """Read what stands before the event name of a line, and the name; None where no name can be found in its place.

    The name is not checked against any list: the caller knows which events there are. `written_ns` is when the source
    was last written. A time that 64 bits cannot hold is no time.
    """
    prefix = _read(line, written_ns)
    if prefix is not None and prefix.time_ns is not None and not 0 <= prefix.time_ns < 1 << 63:
        prefix.time_ns = prefix.clock = None
    return prefix


def _read(line: bytes, written_ns: int | None) -> Prefix | None:
    if name := _NAME.match(line):
        return Prefix(name=name[0])
    if match := _PID_AT_TIME.match(line):
        prefix = Prefix()
    else:
        prefix = _carried(line, written_ns)
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
        prefix.time_ns, prefix.end = nanoseconds(match), match.end()
        prefix.clock = None if prefix.time_ns is None else WALL
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
