"""Runs: neighbouring device calls of which no other record says which access they are parts of.

Law: QEMU's system/memory.c cuts an access into calls that the device takes (`dissectors.platform.registers.lengths`).
`cpu_in` comes after its calls and gathers them; without it, calls that may be parts of one wider access stay apart
and say that they are inferred::

    memory_region_ops_write cpu 1 mr 0x7f addr 0xc004 value 0x1 size 1 name 'xen-pci'
    memory_region_ops_write cpu 1 mr 0x7f addr 0xc005 value 0x0 size 1 name 'xen-pci'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dissectors.platform.registers import REGION, Space, lengths
from xptrace.access.assembled import Assembled

LONGEST_RUN: Final = 64
"""Calls that are kept together; a longer run is one of many accesses, and all of it is in doubt."""


def gather(run: Assembled, address: int, size: int, value: int) -> Assembled | None:
    """The last calls of a run as the one access that they are parts of; None if they are not. Takes them out."""
    taken = len(run.calls)
    composed = 0
    end = address + size
    while taken and end > address:
        call = run.calls[taken - 1]
        if call.address + call.size != end or call.address < address:
            return None
        composed |= call.value << 8 * (call.address - address)
        end = call.address
        taken -= 1
    if end != address or composed != value:
        return None
    parts = run.calls[taken:]
    del run.calls[taken:]
    return Assembled(
        run.direction, "pio", address, size, value, run.stage, [r for call in parts for r in call.records],
        regions=[(call.address, call.region) for call in parts if call.region], vcpu=run.vcpu, covered=size,
    )


_SPACE_OF_REGION: Final[dict[str, Space]] = {REGION: "pio", "xen-pci": "bar0", "xen-mmio": "bar1", "mmio": "bar1"}


def separate(run: Assembled) -> Iterator[Assembled]:
    """Each call of a run as an access of its own, inferred where it may be part of a wider one."""
    calls = run.calls
    doubtful = [len(calls) >= LONGEST_RUN] * len(calls)
    for start, first in enumerate(calls):
        for total in (2, 4, 8):
            space: Space = _SPACE_OF_REGION.get(calls[-1].region or "", "pio" if first.address < 0x20 else "bar1")
            if space == "pio" and total == 8:
                continue
            cut = list(lengths(space, first.address, total))
            if len(cut) > 1 and [(c.address, c.size) for c in calls[start : start + len(cut)]] == cut:
                doubtful[start : start + len(cut)] = [True] * len(cut)
    for call, doubt in zip(calls, doubtful, strict=True):
        yield Assembled(
            run.direction, run.kind, call.address, call.size, call.value, run.stage, call.records,
            regions=[(call.address, call.region)] if call.region else [], logs=call.logs, vcpu=run.vcpu, inferred=doubt,
        )
