"""What the kernel passes over is nobody's business, and its twin passes over the same."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors.kernel import Kernel, twin_walk
from dissectors.qemu.layouts import KINDS
from tests.dissectors.kernel.test_walk import HEADERS, event, table, windows

NEAR: Final = struct.pack("<4Q", 0, 0x20, 0xCF0, 0xD00)
IGNORED: Final = 9
BITS: Final = bytes(one == IGNORED >> 3 for one in range(8)).replace(b"\1", bytes((1 << (IGNORED & 7),)))
CPU_IN, CPU_OUT, REQUEST, READ_CALL, LINE = 3049, 3056, 3007, 3063, 3077
PID: Final = 7
WORD: Final = ord("w")
Passed = tuple[int, int, int, int]


def passed(
    kernel: Kernel | ModuleType, data: bytes, layouts: bytes, start: int = 0, stop: int | None = None, *,
    kinds: bytes = KINDS, ignored: bytes = BITS, near: bytes = NEAR, process: int = PID,
) -> Passed:
    end = len(data) if stop is None else stop
    found: Passed = kernel.pass_over(data, start, end, layouts, kinds, ignored, near, process)
    return found


def same(kernel: Kernel, data: bytes, *window: int, version: int = 4, **limits: Any) -> Passed:  # noqa: ANN401
    """What both pass over, which is the same."""
    found = passed(kernel, data, table(version), *window, **limits)
    assert found == passed(twin_walk, data, table(version), *window, **limits)
    return found


def cpu(number: int, address: int, size: int = WORD, **head: int) -> bytes:
    return event(number, struct.pack("<QQQ", address, size, 1), **head)


def request(address: int, *, kind: int = 0, pointer: int = 0, size: int = 2) -> bytes:
    return event(REQUEST, struct.pack("<9Q", 0, kind, 1, 0, pointer, address, 5, 1, size))


def call(address: int, name: bytes = b"vga", size: int = 2) -> bytes:
    return event(READ_CALL, struct.pack("<qQQQQI", -1, 0, address, 1, size, len(name)) + name)


OTHER: Final = event(IGNORED, bytes(3), pid=99)


@given(
    windows(), st.integers(0, 30), st.sampled_from([PID, 0, -1]) | st.integers(0, 9), st.binary(max_size=2000),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)) | st.just((0, (1 << 64) - 1)), max_size=2),
    st.just(KINDS) | st.binary(max_size=12).map(lambda some: bytes(one & 3 for one in some)),
)
@settings(max_examples=500, deadline=None)
def test_the_kernel_and_its_twin_pass_over_the_same(
    kernel: Kernel, window: tuple[int, bytes], start: int, process: int, ignored: bytes,
    ranges: list[tuple[int, int]], kinds: bytes,
) -> None:
    version, data = window
    near = b"".join(struct.pack("<QQ", *one) for one in ranges)
    records, told, place, reached = same(
        kernel, data, min(start, len(data)), version=version, kinds=kinds, ignored=ignored, near=near, process=process
    )
    assert 0 <= told <= records
    assert min(start, len(data)) <= place <= reached <= len(data)


class TestWhereItEnds:
    def test_before_the_access_that_begins_last(self, kernel: Kernel) -> None:
        one = request(0x60) + call(0x60) + cpu(CPU_IN, 0x60)
        assert same(kernel, one * 3) == (6, 6, 2 * len(one), 3 * len(one))

    def test_before_an_access_to_what_is_near(self, kernel: Kernel) -> None:
        one = request(0x60) + call(0x60) + cpu(CPU_IN, 0x60)
        for near in (request(0x10), request(0xCF8), request(0x70, kind=2), request(0x70, kind=7), cpu(CPU_IN, 0x10)):
            assert same(kernel, one * 3 + near + one) == (9, 9, 3 * len(one), 3 * len(one))

    def test_others_events_are_passed_over_but_for_the_last(self, kernel: Kernel) -> None:
        assert same(kernel, OTHER * 5) == (4, 0, 4 * len(OTHER), 5 * len(OTHER))
        assert same(kernel, OTHER * 5 + cpu(CPU_IN, 0x60))[:3] == (4, 0, 4 * len(OTHER))
        assert same(kernel, OTHER * 5 + request(0x60))[:3] == (5, 0, 5 * len(OTHER))
        assert same(kernel, OTHER * 5, process=-1)[:3] == (4, 0, 4 * len(OTHER))

    @pytest.mark.parametrize(("rest", "count"), [
        ([request(0x60), cpu(CPU_IN, 0x60)], 1),
        ([request(0x60), cpu(CPU_IN, 0x62)], 2),
        ([request(0x60), call(0x60), call(0x62)], 1),
        ([request(0x60), call(0x60), call(0x63)], 3),
        ([request(0x60), call(0x60), call(0x60)], 3),
        ([request(0x60), call(0x60), cpu(CPU_IN, 0x60)], 1),
        ([request(0x60), call(0x60), cpu(CPU_IN, 0x5E)], 1),
        ([request(0x60), call(0x60), cpu(CPU_IN, 0x61)], 3),
        ([request(0x60, pointer=1), cpu(CPU_IN, 0x60), cpu(CPU_IN, 0x60), call(0x60), call(0x60)], 1),
    ])
    def test_never_before_a_record_with_which_something_may_go_on(
        self, kernel: Kernel, rest: list[bytes], count: int
    ) -> None:
        records = [request(0x70), *rest]
        assert same(kernel, b"".join(records))[:3] == (count, count, sum(map(len, records[:count])))

    def test_a_port_that_is_asked_again_and_again(self, kernel: Kernel) -> None:
        one = cpu(CPU_IN, 0x60)
        assert same(kernel, one * 5)[0] == 0
        assert same(kernel, cpu(CPU_OUT, 0x61) + one * 5)[:2] == (5, 5)
        assert same(kernel, request(0x60, pointer=1) + one * 5)[0] == 0
        assert same(kernel, one + request(0x60) + one * 5)[:2] == (6, 6)

    AFTER: Final = {
        "an access of another process": cpu(CPU_IN, 0x60, pid=8),
        "a line of the device": event(LINE, b"\2\0\0\0hi"),
        "a region that is ours": call(0x60, b"xen-pci"),
        "a number that means nothing": event(1, b""),
        "what is missing": event(0xFFFF_FFFF_FFFF_FFFE, bytes(8)),
        "a time that is none": cpu(CPU_IN, 0x60, time_ns=1 << 63),
        "a size that is none": request(0x60, size=3),
        "a letter that is no size": cpu(CPU_IN, 0x60, ord("x")),
        "a file begins": call(0x60, HEADERS[0]),
        "no type": cpu(CPU_IN, 0x60, kind=2),
        "a name": cpu(CPU_IN, 0x60, kind=0),
    }

    @pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
    def test_before_what_must_be_read(self, kernel: Kernel, after: bytes) -> None:
        one = request(0x60)
        assert same(kernel, one * 3 + after + one * 3) == (2, 2, 2 * len(one), 3 * len(one))

    def test_a_call_without_a_processor_tells_no_address(self, kernel: Kernel) -> None:
        old = event(READ_CALL, struct.pack("<4Q", 0, 0x60, 1, 2))
        assert same(kernel, request(0x60) * 2 + old)[3] == 2 * len(request(0x60))


class TestWhatCannotBe:
    @pytest.mark.parametrize("bounds", [(-1, 4), (3, 2), (0, 11), (0, -1)])
    def test_a_window_must_lie_in_the_data(self, kernel: Kernel, bounds: tuple[int, int]) -> None:
        for one in (kernel, twin_walk):
            with pytest.raises(ValueError, match="window"):
                passed(one, bytes(10), table(), *bounds)

    def test_ranges_are_pairs_of_numbers(self, kernel: Kernel) -> None:
        for one in (kernel, twin_walk):
            with pytest.raises(ValueError, match="ranges"):
                passed(one, bytes(10), table(), near=bytes(15))

    def test_there_must_be_a_table(self, kernel: Kernel) -> None:
        for one in (kernel, twin_walk):
            with pytest.raises(ValueError, match="table"):
                passed(one, bytes(10), b"")
