"""The records of one processor's window of an xentrace recording, in Python: what span.c does, bit for bit the same.

`dissectors.kernel.Kernel` says what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack_into, unpack, unpack_from
from typing import Any, Final

from dissectors.kernel import PROCESSOR, TOLD
from dissectors.xen.xentrace_block import (
    CONTINUES,
    CPU_CHANGE,
    LOST,
    OLD_READ,
    OLD_WRITE,
    PORT_READ,
    PORT_WRITE,
    RUNSTATE,
    RUNSTATE_BITS,
)

_ACCESSES, _OLD = (PORT_READ, PORT_WRITE), (OLD_READ, OLD_WRITE)
_TOLD: Final = Struct(TOLD)
_CLASSES: Final = 1 << 13


def span(
    data: bytes, start: int, stop: int, classes: bytes, ports: bytes, processor: Any, out: Any,  # noqa: ANN401
) -> tuple[int, int, int, int]:
    """See `dissectors.kernel.Kernel`."""
    if not 0 <= start <= stop <= len(data) or len(classes) != _CLASSES or len(processor) != Struct(PROCESSOR).size:
        raise ValueError("no such span, no classes or no processor")
    words = unpack(f"<{(stop - start) // 4}I", data[start : start + (stop - start) // 4 * 4])
    bounds = unpack(f"<{len(ports) // 8 * 2}I", ports[: len(ports) // 8 * 8])
    ranges = [range(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)]
    tsc, running, has_tsc, has_running, scheduled, _ = unpack_from(PROCESSOR, processor)
    at = count = records = 0
    timed = len(words)
    while at < len(words):
        kind, event, extra, time = words[at] >> 12 & 0xFFFF, words[at] & 0xFFFFFFF, words[at] >> 28 & 7, words[at] >> 31
        length = 1 + 2 * time + extra
        if not classes[kind >> 3] >> (kind & 7) & 1 or at + length > len(words) or event == CPU_CHANGE:
            break
        payload = words[at + 1 + 2 * time : at + length]
        told = _is_told(event, payload, ranges)
        if told and (count + 1) * _TOLD.size > len(out):
            break
        if time:
            tsc, has_tsc, timed = words[at + 1] | words[at + 2] << 32, 1, min(timed, at)
        if event == LOST:
            has_running = int(scheduled and len(payload) > 1)
            running = (payload[1] & 0xFFFF) << 16 | payload[1] >> 16 if has_running else running
        elif _is_switch(event):
            scheduled, has_running = 1, int(bool(payload) and (event == CONTINUES or event & 0xF0 == 0))
            running = payload[0] if has_running else running
        if told:
            _TOLD.pack_into(out, count * _TOLD.size, at, records, tsc, running, has_tsc, has_running, scheduled, 0)
            count += 1
        at += length
        records += 1
    pack_into(PROCESSOR, processor, 0, tsc, running, has_tsc, has_running, scheduled, 0)
    return count, records, at, timed


def _is_switch(event: int) -> bool:
    return event == CONTINUES or (
        event & RUNSTATE_BITS == RUNSTATE and (event & 0xF00 == 0 or event & 0x0F0 == 0)
    )


def _is_told(event: int, payload: Sequence[int], ports: Sequence[range]) -> bool:
    """Whether it is a loss, or an access to one of the ports or to what can be none."""
    if event not in _ACCESSES and event not in _OLD:
        return event == LOST
    if not payload:
        return True
    port = payload[event in _OLD and len(payload) > 2]
    return port > 0xFFFF or any(port in one for one in ports)
