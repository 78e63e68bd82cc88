r"""The columns that stand in front of an event of the kernel's tracer, as tracefs, trace-cmd and perf print them.

Law: Linux' kernel/trace/trace_output.c (trace_print_context, trace_print_lat_context, trace_print_lat_fmt),
tools/perf/builtin-script.c, and trace-cmd report. One event in the forms that exist::

             kvm-5664  [000] 11906.220188: kvm_pio: pio_read at 0xc13e size 2 count 1
       CPU 0/KVM-1680    [001] ..... 12773.927666: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2
       CPU 0/KVM-1693    (   1691) [001] ..... 12773.958291: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2
       CPU 0/KVM-1724    [000] .....            3: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2
CPU 0/KV-1719      0..... 12379us : kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2
 qemu-system-x86-6660  [007]   398.691441: kvm_pio:              pio_read at 0x5658 size 4 count 1 val 0x4
       CPU 0/KVM  1860/1862  [000] 12774.824143344: kvm:kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2

That is: no flags before Linux 3.2 and without irq-info; the thread group in brackets (record-tgid); a count instead of
a time (trace_clock); microseconds since the trace's first event and a shortened name (latency-format); trace-cmd's
padded name of the event; perf's process and thread, and its nanoseconds. A thread's name may hold blanks and slashes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TIME = rb"(?P<seconds>\d{1,11})\.(?P<fraction>\d{9}|\d{6})"
_TRACER = re.compile(
    rb"(?P<comm>.{1,64}?)-(?P<thread>\d{1,10}) {1,24}(?:\( {0,10}(?:(?P<process>\d{1,10})|-{1,10})\) {1,24})?"
    rb"(?:\[\d{1,5}\] {1,24}|\d{1,5}(?=[^\s\d]))(?:[^\s\d]\S{2,9} {1,24})?"
    rb"(?:" + _TIME + rb"|\d{1,20}(?:us.)?): {1,24}(?P<event>\w{1,64}): *"
)
_PERF = re.compile(
    rb" {0,24}(?P<comm>\S.{0,63}?) {1,24}(?:(?P<process>\d{1,10})/)?(?P<thread>\d{1,10}) {1,24}(?:\[\d{1,5}\] {1,24})?"
    + _TIME + rb": {1,64}(?:\w{1,64}:)?(?P<event>\w{1,64}): *"
)


class Columns(NamedTuple):
    """What stands in front of an event, and its name; `end` is where its text begins.

    `process` is the thread group. The time is missing where the clock counts something else, or from the trace's own
    first event.
    """

    comm: bytes
    thread: int
    process: int | None
    time_ns: int | None
    event: bytes
    end: int


def read(line: bytes) -> Columns | None:
    """Read the columns of a line; None where it has none."""
    found = _TRACER.match(line) or _PERF.match(line)
    if found is None:
        return None
    time_ns = None
    if found["seconds"]:
        time_ns = int(found["seconds"]) * 10**9 + int(found["fraction"].ljust(9, b"0"))
        if time_ns >= 1 << 63:
            time_ns = None
    process = int(found["process"]) if found["process"] else None
    return Columns(found["comm"].strip(), int(found["thread"]), process, time_ns, found["event"], found.end())
