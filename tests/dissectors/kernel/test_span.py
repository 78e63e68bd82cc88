"""The kernel reads a processor's records as its twin does."""

from __future__ import annotations

from struct import Struct, pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors.kernel import PROCESSOR, TOLD, Kernel, twin
from dissectors.xen.xentrace_block import classes

PORTS = pack("<4I", 0x0D, 0x20, 0xC000, 0x10000)
EVENTS = st.sampled_from([
    0x1F001, 0x1F003, 0x21001, 0x21011, 0x21101, 0x21121, 0x21002, 0x82016, 0x82216, 0x82006, 0x82007, 0x81102, 0x20000,
])


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """One record, most often whole."""
    event, extra, timed = draw(EVENTS), draw(st.integers(0, 7)), draw(st.booleans())
    words = draw(st.lists(st.sampled_from([0, 0x10, 0x12, 0x1F7, 0xC004, 0x10000, 0x20001, 0xFFFFFFFF]),
                          min_size=extra + 2 * timed, max_size=extra + 2 * timed))
    return pack(f"<{1 + len(words)}I", event | extra << 28 | timed << 31, *words)


def both(kernel: Kernel, data: bytes, start: int, stop: int, known: bytes, room: int) -> None:
    told = [bytearray(room * Struct(TOLD).size) for _ in range(2)]
    processors = [bytearray(known) for _ in range(2)]
    ours, theirs = (
        one.span(data, start, stop, classes(), PORTS, processor, out)
        for one, processor, out in zip((kernel, twin), processors, told, strict=True)
    )
    assert ours == theirs
    assert processors[0] == processors[1]
    assert told[0] == told[1]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(records(), records(), records(), st.binary(max_size=9)), max_size=30).map(b"".join),
       st.integers(0, 6), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0, 1, 3, 100]))
def test_it_reads_as_its_twin_does(
    kernel: Kernel, data: bytes, start: int, timed: bool, runs: bool, scheduled: bool, room: int
) -> None:
    known = Struct(PROCESSOR).pack((1 << 64) - 1, 0x10002, timed, runs, scheduled, 0)
    both(kernel, data, min(start, len(data)), len(data), known, room)


@pytest.mark.parametrize(("start", "stop", "known"), [(-1, 0, 16), (1, 0, 16), (0, 9, 16), (0, 8, 15)])
def test_a_place_that_there_is_not_is_an_error(kernel: Kernel, start: int, stop: int, known: int) -> None:
    for one in (kernel, twin):
        with pytest.raises(ValueError, match="no such span"):
            one.span(bytes(8), start, stop, classes(), PORTS, bytearray(known), bytearray(24))
