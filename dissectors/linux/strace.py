r"""What strace shows of a device model's vCPUs: `strace -f -e trace=ioctl -e kvm=vcpu+`, strace 6.18 and newer.

Law: strace's src/kvm.c and doc/strace.1.in. After each KVM_RUN the shared structure of the vCPU follows on lines of
their own, before (`<`) and after (`>`) the run; numbers as `%#04x` and `%#x`, at most -s bytes of `data` (32)::

    1899  1795557148.579412 ioctl(5, KVM_RUN, 0) = 0 (KVM_EXIT_IO)
     VCPU:0< {request_interrupt_window=0, immediate_exit=0, exit_reason=0 /* KVM_EXIT_UNKNOWN */, ...}
     VCPU:0> {request_interrupt_window=0, immediate_exit=0, exit_reason=2 /* KVM_EXIT_IO */,
       ready_for_interrupt_injection=0, if_flag=0, flags=0, cr8=0000000000000000, apic_base=0x000000fee00900,
       {io={direction=KVM_EXIT_IO_OUT, size=2, port=0x10, count=1, data_offset=0x00000000001000, data=[0x3, 0]}}}

the last one in one line. Elements of a write have their values, also those of string instructions. A read's value is
not there yet when the vCPU leaves, and the `data` of the `<` that follows is fetched only after the next access has
overwritten it: reads are told without a value. The time is the call's, thus when the vCPU began to run, or, where
the call was `<unfinished ...>`, when it came back; only -ttt has a date, -t, -tt and -r have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dissectors import Dissector, Given
from dissectors.clock import WALL
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import PORT_ACCESS, READ, WRITE

_PORT = re.compile(rb", port=0x0{0,3}(?:[d-f]|1[0-9a-f]|cf[89a-f]|[c-f][0-9a-f]{3}), ")
_EXIT = re.compile(rb"KVM_EXIT_IO\)")
NEEDLES: tuple[re.Pattern[bytes], ...] = (_PORT, _EXIT)
"""Bytes that must occur in any record of ours, and in the call before it, which has the thread and the time."""

_THREAD = re.compile(rb"\[pid {1,8}(?P<pid>\d{1,10})(?:<[^>]{0,64}>)?\] |(?P<plain>\d{1,7})(?:<[^>]{0,64}>)? {1,8}")
_TIME = re.compile(rb"(?P<second>\d{9,10})(?:\.(?P<fraction>\d{1,9}))? ")
"""In front of a call: its thread, as on the terminal or as in a file (-Y adds its name), and its time (-ttt)."""
_STATE = re.compile(rb"VCPU(?::(?P<vcpu>\d{1,5}))?(?P<when>[<>]) \{")
_IO = re.compile(
    rb"\{io=\{direction=(?:0(?:x1)? /\* )?(?P<direction>KVM_EXIT_IO_OUT|KVM_EXIT_IO_IN|0x1|0)(?: \*/)?, "
    rb"(?:size=(?P<size>[124]), )?port=0x(?P<port>[0-9a-f]{1,4}), count=(?P<count>[1-9]\d{0,9}), "
    rb"data_offset=(?:0x)?[0-9a-f]{1,16}(?:, data=(?:\[(?P<data>[^\]]*)\]|[^\]{}]{1,64}))?\}"
)
_DIRECTIONS = {b"KVM_EXIT_IO_OUT": WRITE, b"KVM_EXIT_IO_IN": READ, b"0x1": WRITE, b"0": READ}
"""As `struct kvm_run` counts them, in names or (-X raw) numbers."""
_OCTET = re.compile(rb"0(?:x[0-9a-f]{1,2})?\Z")


@dataclass(frozen=True, slots=True)
class _Call:
    """Whose call it was, and when."""

    thread: int | None = None
    time_ns: int | None = None


class Strace:
    """Reads candidate lines of one source into accesses."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._call = _Call()
        self._next = -1
        """Where the line begins that can still belong to the call."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. A string access is a record for each value."""
        state = _STATE.search(line)
        if _EXIT.search(line, 0, state.start() if state else len(line)):
            self._call = _read_call(line)
        elif state is None or self._next != offset:
            self._call = _Call()
        self._next = offset + length
        if state is None or state["when"] == b"<" or not _PORT.search(line, state.end()):
            return
        io = _IO.search(line, state.end())
        if io is None:
            yield Damage(self._source, offset, length, number, "the state of the vCPU is not whole")
            return
        access: dict[str, Value] = {"dir": _DIRECTIONS[io["direction"]], "addr": int(io["port"], 16),
                                    "size": int(io["size"]) if io["size"] else None}
        if state["vcpu"]:
            access["cpu_index"] = int(state["vcpu"])
        count = int(io["count"])
        elements = [] if access["dir"] == READ or not io["size"] else _elements(io["data"] or b"", int(io["size"]))
        parts: list[dict[str, Value]] = [{"val": element, "count": 1} for element in elements[:count]]
        if len(parts) < count:
            parts.append({"count": count - len(parts)})
        call = self._call
        for part in parts:
            yield Record(self._source, offset, length, number, PORT_ACCESS, access | part, line, call.time_ns,
                         None if call.time_ns is None else WALL, call.thread)


def _read_call(line: bytes) -> _Call:
    """Read what stands in front of a call."""
    thread = _THREAD.match(line)
    time = _TIME.match(line, thread.end() if thread else 0)
    time_ns = None
    if time is not None:
        time_ns = int(time["second"]) * 10**9 + int((time["fraction"] or b"").ljust(9, b"0"))
    return _Call(int(thread["pid"] or thread["plain"]) if thread else None,
                 time_ns if time_ns is not None and time_ns < 1 << 63 else None)


def _elements(data: bytes, size: int) -> list[int]:
    """The elements of which every byte is there, from the first on: strace writes `...` for what it leaves out."""
    octets = bytearray()
    for item in data.split(b", "):
        if not _OCTET.match(item):
            break
        octets.append(int(item, 16))
    return [int.from_bytes(octets[at : at + size], "little") for at in range(0, len(octets) - size + 1, size)]


_SURE = re.compile(rb"VCPU(?::\d{1,5})?[<>] \{request_interrupt_window=")
_KVM = re.compile(rb"(?m)^.{0,100}\bioctl\(\d{1,5}.{0,64}KVM_")
_OTHER = re.compile(rb"(?m)^.{0,60}\b(?:execve|openat|ioctl|mmap|futex|ppoll|read|write)\(.{0,200}\) {1,32}= [-?\d]")
_ENOUGH = 1 << 16
"""Every line is a call: the first ones are enough to see what it is."""


def sniff(head: bytes) -> int:
    """How sure it is that a source is strace's; one that has shown no vCPU yet may show them further on."""
    if _SURE.search(head):
        return 80
    if _EXIT.search(head) or _KVM.search(head[:_ENOUGH]):
        return 40
    return 10 if _OTHER.search(head[:_ENOUGH]) else 0


DISSECTOR = Dissector(
    "strace", "strace of a device model's vCPUs: -e kvm=vcpu+",
    b" VCPU:0> {request_interrupt_window=0, immediate_exit=0, exit_reason=2 /* KVM_EXIT_IO */, "
    b"ready_for_interrupt_injection=0, if_flag=0, flags=0, cr8=0000000000000000, apic_base=0x000000fee00900, "
    b"{io={direction=KVM_EXIT_IO_OUT, size=2, port=0x10, count=1, data_offset=0x00000000001000, data=[0x3, 0]}}}",
    sniff, lines=Strace, needles=NEEDLES, vantage="host",
)
