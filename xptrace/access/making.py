"""Rows: what is told of an access that has been put together, and of a line that the guest wrote."""

from __future__ import annotations

from collections.abc import Iterator

from dissectors.platform import registers
from dissectors.platform.registers import Space
from xptrace.access.assembled import Assembled
from xptrace.access.attribution import Vm
from xptrace.access.messages import Line, decode_text
from xptrace.access.rows import Access, Certainty, Message
from xptrace.access.spaces import Function


def access_of(
    vm: Vm, done: Assembled, space: Space, address: int | None, said: str, base: int, function: Function | None,
) -> Access:
    """The row of an access that is in a space, which begins at `base`, and means what is `said`."""
    first = done.records[0]
    doubtful = done.inferred or any(r.recovered for r in done.records) or (space == "pio" and not vm.proven)
    offset = None if address is None else address - base
    if done.value is not None and done.size is not None:
        done.value &= (1 << 8 * done.size) - 1
    return Access(
        first.time_ns, first.clock, vm.name, vm.boot, done.vcpu, space, address, done.size, done.direction, done.value,
        done.count, registers.register_name(space, offset, done.size, done.direction), said,
        "inferred" if doubtful else "observed", done.records, base, function,
    )


def port_meaning(done: Assembled, space: Space = "pio", base: int = 0) -> str:
    """What an access to ports means."""
    return registers.meaning(space, (done.address or 0) - base, done.size, done.direction, done.value)


def memory_meaning(done: Assembled, base: int, function: Function | None) -> str:
    """What an access to BAR1 means, which begins at `base` where that is known."""
    if done.address is None or done.device_offset is not None:
        return f"BAR1 of the PV device, offset 0x{done.device_offset or 0:x}; size and value not recorded"
    whose = function.name if function is not None else "the platform device"
    answer = "reads as all ones" if function is not None and function.device == "xen-pvdevice" else "reads as zero"
    where = f"BAR1 of {whose}" + (f", offset 0x{done.address - base:x}" if base else "")
    return f"{where}: {answer if done.direction == 'read' else 'ignored'}; address space for the driver"


def message_of(vm: Vm, line: Line, certainty: Certainty) -> Message:
    """The row of a line that the guest wrote to its device's log."""
    record = line.records[-1]
    if any(r.recovered for r in line.records):
        certainty = "inferred"
    return Message(record.time_ns, record.clock, vm.name, vm.boot, decode_text(line.text), line.complete, certainty,
                   line.records)


def unfinished(vm: Vm) -> Iterator[Message]:
    """What a VM's guest wrote and its device never emitted, when there is no more."""
    line = vm.assembler.unfinished()
    if line is not None:
        yield message_of(vm, line, "observed")


def characters(access: Access) -> list[int | None]:
    """What an access writes to the log; None for what the recording does not hold."""
    if access.direction != "write" or access.space not in ("pio", "bar0") or access.offset is None:
        return []
    return [
        piece.value for piece in registers.pieces(access.space, access.offset, access.size, "write", access.value)
        if (register := piece.register) is not None and register.name in registers.LOG_REGISTERS
        and (register.name == "log" or piece.value not in (1, 2))
    ]
