"""Records put together to accesses: the kernel and its twin do the same, whatever the records are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dissectors.kernel import ACCESS, BY_FIELD, RECORD, SHAPE, SLOTS, Kernel, dtype, twin
from dissectors.qemu import catalogue
from dissectors.qemu.programs import EVENTS, programs
from tests.dissectors.kernel.material import BASE, PORTS, REGION, printed, real

ALLOWED: Final = bytes(size in (1, 2, 4) for size in range(9)) * PORTS * 2
KINDS: Final = bytes((
    1, 2, 0, 0, 1, 0, 1, 0,  # handle_ioreq: all of it, in either direction, stale when it reads, a request
    1, 0, 5, 0, 0, 1, 1, 0,  # handle_ioreq_read: ends an access
    1, 2, 1, 1, 1, 0, 1, 0,  # cpu_ioreq_pio
    2, 0, 2, 0, 0, 0, 0, 0,  # a call that reads
    2, 1, 0, 2, 0, 0, 0, 0,  # a call that writes
    1, 0, 3, 0, 0, 0, 0, 0,  # cpu_in
    1, 1, 0, 3, 0, 0, 0, 0,  # cpu_out
    3, 0, 0, 0, 0, 0, 0, 0,  # a line that the device emitted
    0, 0, 0, 0, 0, 0, 0, 0,  # nothing
))
FULL: Final = (1 << 10) - 1

few = st.sampled_from


@st.composite
def records(draw: st.DrawFn) -> tuple[int, ...]:
    """One that mostly goes on with the one before."""
    return (
        draw(few([0, 7])), 1, draw(few([-1, 5])), draw(few([16] * 6 + [17, 18, 0, 15, 32, (1 << 64) - 1])),
        draw(few([1, 1, 1, 2, 0x1234, 0x34, 0x12, (1 << 64) - 1])), 1, draw(few([0, 0, 0, -1])), 0, 9,
        draw(few([3] * 20 + [-1])), draw(few([FULL] * 12 + [*range(0, FULL, 37)])),
        draw(few([*range(9), 0, 2, 3, 5, 9])),
        draw(few([2, 2, 2, 2, 1, 1, 4, 8, 3, 0])), draw(few([1, 1, 0, 2])), draw(few([0] * 9 + [1])),
        draw(few([0] * 9 + [1])), draw(few([1] * 30 + [0])), 0,
    )


@dataclass
class Side:
    """What one of the two fills."""

    kernel: Kernel
    most: int
    room: int
    shapes: Any = field(init=False)
    table: Any = field(init=False)
    known: int = 0

    def __post_init__(self) -> None:
        self.shapes = np.zeros(self.most, dtype(SHAPE))
        self.table = np.zeros(1 << self.most.bit_length(), "<u4")

    def gather(
        self, found: NDArray[Any], *, kinds: bytes = KINDS, allowed: bytes = ALLOWED, base: int = BASE
    ) -> tuple[list[tuple[int, ...]], int, list[tuple[int, ...]]]:
        out = np.zeros(self.room, dtype(ACCESS))
        done, taken, self.known = self.kernel.gather(
            found, kinds, allowed, base, self.shapes, self.known, self.table, out)
        assert taken <= len(found)
        return out[:done].tolist(), taken, self.shapes[: self.known].tolist()


def same(kernel: Kernel, batches: list[NDArray[Any]], most: int, room: int, kinds: bytes = KINDS) -> list[Any]:
    """What both make of batches of records, one after the other."""
    compiled, python = Side(kernel, most, room), Side(twin, most, room)
    outcomes = [compiled.gather(batch, kinds=kinds) for batch in batches]
    assert outcomes == [python.gather(batch, kinds=kinds) for batch in batches]
    return outcomes


@given(st.lists(st.lists(records(), max_size=12), max_size=4), few([8, 8, 1, 2, 0]), few([16, 16, 1, 2, 0]))
@settings(max_examples=400, deadline=None)
def test_any_records_are_put_together_alike(
    kernel: Kernel, batches: list[list[tuple[int, ...]]], most: int, room: int
) -> None:
    same(kernel, [np.array(batch, dtype(RECORD)) for batch in batches], most, room)


@given(
    st.lists(records(), max_size=8),
    st.lists(st.tuples(few([0, 1, 1, 2, 3, 4]), few([0, 1, 2, 3]), *[few([0, 1, 2, 255])] * 2, *[few([0, 1])] * 4),
             max_size=9),
    st.binary(max_size=40) | st.just(ALLOWED), few([0, 15, 16, (1 << 64) - 1]),
)
@settings(max_examples=300, deadline=None)
def test_so_they_are_by_any_rules(
    kernel: Kernel, some: list[tuple[int, ...]], kinds: list[tuple[int, ...]], allowed: bytes, base: int
) -> None:
    batch = np.array(some, dtype(RECORD))
    outcomes = []
    for one in (kernel, twin):
        try:
            outcomes.append(
                Side(one, 8, 16).gather(batch, kinds=b"".join(map(bytes, kinds)), allowed=allowed, base=base))
        except ValueError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def from_lines(lines: list[bytes]) -> NDArray[Any]:
    """Records of lines that are plain."""
    text = b"".join(line + b"\n" for line in lines)
    out = np.empty(len(lines) + 1, dtype(RECORD))
    program = programs(catalogue.load())
    parts, at = [], 0
    while at < len(text):
        count = twin.read_lines(text, at, len(text), program, BASE, PORTS, REGION, out)
        parts.append(out[:count].copy())
        at = int(out["start"][count - 1] + out["length"][count - 1]) if count else at
        at = text.find(b"\n", at) + 1 or len(text)
    return np.concatenate(parts) if parts else out[:0]


def of_events() -> bytes:
    kinds = dict(zip(("handle_ioreq", "handle_ioreq_read", "cpu_ioreq_pio", "memory_region_ops_read",
                      "memory_region_ops_write", "cpu_in", "cpu_out", "xen_platform_log"),
                     (KINDS[at : at + 8] for at in range(0, 64, 8)), strict=True))
    return b"".join(kinds.get(name, bytes(8)) for name in EVENTS)


def test_the_recordings_are_put_together_alike(kernel: Kernel) -> None:
    found = from_lines(list(real()))
    assert len(found) > 50
    count = 0
    for begin in range(len(found)):
        [(accesses, taken, _)] = same(kernel, [found[begin:]], 64, 64, kinds=of_events())
        count += len(accesses)
        assert all(first <= last < taken for _, first, last, _ in accesses)
    assert count > 50


@given(st.lists(few(real()) | printed(), max_size=20))
@settings(max_examples=100, deadline=None)
def test_lines_in_any_order_are_put_together_alike(kernel: Kernel, lines: list[bytes]) -> None:
    found = from_lines(lines)
    same(kernel, [found, found[1:]], 4, 4, kinds=of_events())


@pytest.mark.parametrize(("shapes", "places", "known"), [(4, 4, 0), (4, 6, 0), (4, 0, 0), (4, 8, 5), (0, 0, 0)])
def test_a_table_that_does_not_fit_is_refused(kernel: Kernel, shapes: int, places: int, known: int) -> None:
    for one in (kernel, twin):
        with pytest.raises(ValueError, match="does not fit"):
            one.gather(b"", b"", b"", 0, np.zeros(shapes, dtype(SHAPE)), known, np.zeros(places, "<u4"),
                       np.zeros(1, dtype(ACCESS)))


def test_an_event_of_no_direction_is_refused(kernel: Kernel) -> None:
    for tells, direction in ((1, BY_FIELD + 1), (2, BY_FIELD)):
        for one in (kernel, twin):
            with pytest.raises(ValueError, match="does not fit"):
                Side(one, 4, 4).gather(np.zeros(0, dtype(RECORD)), kinds=bytes((tells, direction, *bytes(6))))


def test_a_table_full_of_strangers_ends_the_search(kernel: Kernel) -> None:
    side = Side(kernel, 4, 4)
    side.table.fill((1 << 32) - 1)
    told = sum(1 << SLOTS[name] for name in ("address", "value", "size"))
    record = (0, 1, -1, 16, 1, 1, -1, 0, 0, 3, told, 5, 2, 0, 0, 0, 1, 0)
    batch = np.array([record] * 3, dtype(RECORD))
    assert side.gather(batch) == ([], 0, [])
