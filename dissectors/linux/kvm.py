r"""KVM's tracepoint of a guest's port accesses, in every form that `columns` tells apart.

Law: Linux' arch/x86/kvm/trace.h: `kvm_pio` prints `pio_%s at 0x%x size %d count %d`, and since 3.16
` val 0x%x ` and `(...)` where there are more elements than the one whose value is printed. Since then a read is traced
when it is answered, and before, when it is asked: without a value. The file, trace-cmd and perf say what is missing::

    # entries-in-buffer/entries-written: 506/1481   #P:2
    ##### CPU 0 buffer started ####
    CPU:0 [LOST 417 EVENTS]
    CPU:7 [204600 EVENTS DROPPED]
                   t  2214 [001] 12802.261194: PERF_RECORD_LOST lost 159

In the brackets before the time is the host's processor; a vCPU is known only by the name that QEMU gives its thread
(-name debug-threads=on). Only ports that can be the platform device's are told of: the fixed ones and those that reach
into them from below, those of PCI configuration, and those where firmware puts a BAR. `perf kvm stat` tells sums.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dissectors import Dissector, Given
from dissectors.clock import TRACE
from dissectors.linux import columns
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import PORT_ACCESS, READ, WRITE

_ACCESS = re.compile(rb"pio_(?:read|write) at 0x(?:[d-f]|1[0-9a-f]|cf[89a-f]|[c-f][0-9a-f]{3}) ")
NEEDLES: tuple[re.Pattern[bytes], ...] = (
    _ACCESS,
    re.compile(rb"CPU:\d{1,5} \["),
    re.compile(rb"##### CPU "),
    re.compile(rb"# entries-in-buffer/entries-written: "),
    re.compile(rb"PERF_RECORD_LOST"),
)
"""Bytes that must occur in any record of ours; each starts with a literal, which makes the search fast."""

_TEXT = re.compile(
    rb"pio_(?P<dir>read|write) at 0x(?P<addr>[0-9a-f]{1,4}) size (?P<size>[124]) count (?P<count>[1-9]\d{0,9})"
    rb"(?: val 0x(?P<val>[0-9a-f]{1,8})(?: \(\.\.\.\))?)?[ \r]*\Z"
)
_BEGUN = re.compile(rb"\d: {1,64}(?:kvm:)?kvm_pio: *" + _ACCESS.pattern)
"""An access after what can be the end of the columns."""
_GUEST_TEXT = b"xen platform: "
"""What follows this in QEMU's own trace events, a guest wrote: an access in it is none."""
_VCPU = re.compile(rb"CPU (\d{1,5})/KV?M?\Z")
"""The name may be cut (latency-format)."""

_LOST = re.compile(rb"CPU:\d{1,5} \[(?:LOST )?(?:\d{1,20} )?EVENTS(?: DROPPED)?\]")
_STARTED = re.compile(rb"##### CPU \d{1,5} buffer started ####")
_ENTRIES = re.compile(rb"# entries-in-buffer/entries-written: (\d{1,20})/(\d{1,20})(?!\d)")
_PERF_LOST = re.compile(rb"(?:\A|: )PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,20})\s*\Z")


class KvmTrace:
    """Reads candidate lines of one source into accesses, damage or loss."""

    def __init__(self, given: Given) -> None:
        self._source = given.source

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. A string access may be two records."""
        if _ACCESS.search(line) is None:
            if missing := _missing(line):
                yield Loss(self._source, offset, length, number, missing)
            return
        before = columns.read(line)
        if before is None:
            if _BEGUN.search(line) and _GUEST_TEXT not in line:
                yield Damage(self._source, offset, length, number, "kvm_pio without the columns of a trace")
            return
        if before.event != b"kvm_pio" or not _ACCESS.match(line, before.end):
            return
        text = _TEXT.match(line, before.end)
        size = 0 if text is None else int(text["size"])
        val = None if text is None or not text["val"] else int(text["val"], 16)
        if text is None or (val is not None and val >> 8 * size):
            yield Damage(self._source, offset, length, number, "kvm_pio does not have the form of its event")
            return
        access: dict[str, Value] = {"dir": READ if text["dir"] == b"read" else WRITE, "addr": int(text["addr"], 16),
                                    "size": size}
        if vcpu := _VCPU.search(before.comm):
            access["cpu_index"] = int(vcpu[1])
        count = int(text["count"])
        clock = None if before.time_ns is None else TRACE
        if val is not None:
            yield Record(self._source, offset, length, number, PORT_ACCESS, access | {"val": val, "count": 1}, line,
                         before.time_ns, clock, before.thread, process=before.process)
            count -= 1
        if count:
            yield Record(self._source, offset, length, number, PORT_ACCESS, access | {"count": count}, line,
                         before.time_ns, clock, before.thread, process=before.process)


def _missing(line: bytes) -> str | None:
    """Which records a line says are missing; None where it says nothing of it."""
    if _LOST.match(line):
        return "the recording says that records are missing here"
    if _STARTED.match(line):
        return "the records of one processor begin here: those before were overwritten"
    if (entries := _ENTRIES.match(line)) and (overwritten := int(entries[2]) - int(entries[1])) > 0:
        return f"{overwritten} records were overwritten before the trace was read"
    if lost := _PERF_LOST.search(line):
        return f"{int(lost[1])} records are missing here"
    return None


_SURE = re.compile(rb": {1,64}(?:kvm:)?kvm_pio: {1,24}pio_(?:read|write) at 0x")
_HEADERS = re.compile(rb"\A(?:# tracer: |version = [67]\n|cpus=\d)")
_ENOUGH = 1 << 16
"""Every line of a trace has its columns: the first ones are enough to see them."""


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a trace; one of other events may hold KVM's further on."""
    if _SURE.search(head):
        return 80
    lines = head[:_ENOUGH].splitlines()
    return 40 if _HEADERS.search(head) or any(columns.read(line) for line in lines) else 0


DISSECTOR = Dissector(
    "kvm", "KVM's port accesses in a kernel trace: tracefs, trace-cmd report, perf script",
    b"       CPU 0/KVM-1680    [001] ..... 12773.927701: kvm_pio: pio_write at 0x10 size 2 count 1 val 0x3 ", sniff,
    lines=KvmTrace, needles=NEEDLES, vantage="host",
)
