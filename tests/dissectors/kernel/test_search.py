"""Lines that hold needles: the kernel, its twin and Python's own expressions find the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors.kernel import BUCKETS, MOST_PATTERNS, PLACES, Kernel, twin
from tests.dissectors.kernel.material import real

pytestmark = pytest.mark.parametrize("kernel", ["avx2", "plain"], indirect=True)

Sets = Sequence[bytes]
"""Of each place, the bytes that may stand there."""
XEN: Final = (b"x", b"e", b"n")
PORT: Final = (*(bytes((one,)) for one in b"addr 0x1"), b"0123456789abcdef", b" (")


def laid(*patterns: tuple[Sets, int, int]) -> bytes:
    """Patterns with their keys and buckets as the kernel takes them."""
    return b"".join(
        bytes((len(sets), key, bucket)) + b"".join(
            sum(1 << byte for byte in set(members)).to_bytes(32, "little") for members in sets)
        for sets, key, bucket in patterns
    )


def expression(sets: Sets) -> re.Pattern[bytes]:
    return re.compile(b"".join(b"[%s]" % re.escape(one) if one else b"(?!)" for one in sets), re.DOTALL)


def expected(data: bytes, at: int, patterns: Sequence[Sets], line: int = 0) -> list[tuple[int, int, int]]:
    """Start, end and number of each line in which Python finds one."""
    expressions = [expression(sets) for sets in patterns]
    found = []
    for number, text in enumerate(data[at:].splitlines(keepends=True) if b"\r" not in data else lines_of(data[at:])):
        if any(one.search(text) for one in expressions):
            found.append((at, at + len(text), line + number))
        at += len(text)
    return found


def lines_of(data: bytes) -> list[bytes]:
    return [part + b"\n" for part in data.split(b"\n")[:-1]] + ([last] if (last := data.split(b"\n")[-1]) else [])


def find(
    kernel: Kernel, data: bytes, patterns: bytes, room: int = 64, at: int = 0, line: int = 0
) -> list[tuple[int, ...]]:
    """All lines, in turns of so many."""
    found: list[tuple[int, ...]] = []
    turns = 0
    out = np.zeros((room, 3), "<u8")
    while True:
        count, now, line = kernel.search(data, at, patterns, out, line)
        found += map(tuple, out[:count].tolist())
        assert now >= at
        assert line >= 0
        turns += 1
        if count < room or now == len(data):
            assert now == len(data)
            return found
        assert now > at
        assert data[now - 1 : now] == b"\n"
        at = now


BYTES: Final = st.sampled_from([b"x", b"e", b"n", b"a", b" ", b"\n", b"\0", b"\xff", b"1", b"0", b"\r"])
TEXTS: Final = st.lists(
    BYTES | st.sampled_from([b"xen", b"addr 0x1f(", b"addr 0x10 ", b"\n\n"])
    | st.integers(0, 70).map(lambda count: b"." * count),
    max_size=40,
).map(b"".join)
PATTERNS: Final = st.lists(
    st.lists(st.lists(BYTES, max_size=4).map(b"".join), min_size=3, max_size=9).flatmap(
        lambda sets: st.tuples(st.just(sets), st.integers(0, len(sets) - PLACES), st.integers(0, BUCKETS - 1)))
    | st.sampled_from([(XEN, 0, 0), (PORT, 3, 1), (PORT, 7, 0), (PORT, 0, 7)]),
    min_size=0, max_size=12,
)


@given(TEXTS, PATTERNS, st.sampled_from([64, 1, 2]), st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_the_same_lines_are_found_as_by_expressions(
    kernel: Kernel, data: bytes, patterns: list[tuple[Sets, int, int]], room: int, line: int
) -> None:
    begins = [0] + [match.end() for match in re.finditer(rb"\n", data)]
    for at in (0, begins[len(begins) // 2]):
        told = expected(data, at, [sets for sets, _, _ in patterns], line)
        assert find(kernel, data, laid(*patterns), room, at, line) == told
        assert find(twin, data, laid(*patterns), room, at, line) == told


@given(TEXTS, st.integers(0, 500), st.sampled_from([1, 64]))
@settings(max_examples=200, deadline=None)
def test_from_the_middle_of_a_line_on_the_rest_of_it_is_a_line(kernel: Kernel, data: bytes, at: int, room: int) -> None:
    at = min(at, len(data))
    assert find(kernel, data, laid((XEN, 0, 0)), room, at) == expected(data, at, [XEN])
    assert find(twin, data, laid((XEN, 0, 0)), room, at) == expected(data, at, [XEN])


@pytest.mark.parametrize("key", range(len(PORT) - PLACES + 1))
def test_a_hit_is_found_wherever_it_stands(kernel: Kernel, key: int) -> None:
    needle = b"addr 0x1f("
    for size in (*range(10, 45), 63, 64, 65, 95, 96, 97, 128, 130):
        for at in range(size - len(needle) + 1):
            for filler in (b".", b"\n", b"a"):
                data = needle.join((filler * at, filler * (size - len(needle) - at)))
                assert len(data) == size
                assert find(kernel, data, laid((PORT, key, 0))) == expected(data, 0, [PORT])


def test_a_needle_that_the_end_cuts_is_not_found(kernel: Kernel) -> None:
    for size in range(130):
        for cut in range(1, len(PORT)):
            data = (b"." * size + b"addr 0x1f(")[:-cut]
            assert find(kernel, data, laid((PORT, 0, 0))) == []


def test_a_needle_does_not_go_on_in_the_next_line(kernel: Kernel) -> None:
    sets = (b"x", b"e", bytes(range(256)), b"n")
    assert find(kernel, b"xe\nn xe", laid((sets, 0, 0))) == []
    assert find(kernel, b"xexn\n", laid((sets, 1, 0))) == [(0, 5, 0)]
    assert find(kernel, b"a\nxen\n", laid(((*XEN, bytes(range(256))), 1, 0))) == [(2, 6, 1)]


def test_lines_side_by_side_and_lines_of_any_length(kernel: Kernel) -> None:
    long = b"y" * 1_000_000
    data = b"xen\nxen\nxen\n" + long + b"xen" + long + b"\n" + long + b"\nxen\n\n\nxen xen\nx"
    assert find(kernel, data, laid((XEN, 0, 0))) == expected(data, 0, [XEN])
    assert find(kernel, data, laid((XEN, 0, 0)), room=1) == expected(data, 0, [XEN])


def test_the_recordings_lines_are_found(kernel: Kernel) -> None:
    data = b"\n".join(real())
    told = expected(data, 0, [XEN, PORT])
    assert len(told) > 50
    assert find(kernel, data, laid((XEN, 0, 3), (PORT, 6, 4))) == told


def test_as_many_patterns_as_there_can_be(kernel: Kernel) -> None:
    made = [tuple(b"%c" % one for one in b"%03d" % number) for number in range(MOST_PATTERNS)]
    patterns = laid(*((sets, 0, number % BUCKETS) for number, sets in enumerate(made)))
    data = b"".join(b"~%d~%03d\n" % (number, number) for number in range(400))
    assert find(kernel, data, patterns, room=500) == expected(data, 0, made)
    for one in (kernel, twin):
        with pytest.raises(ValueError, match="no patterns"):
            one.search(b"", 0, patterns + laid((XEN, 0, 0)), np.zeros((1, 3), "<u8"), 0)


@given(st.binary(max_size=200), st.binary(max_size=150), st.integers(-1, 220), st.integers(-1, 3), st.integers(0, 2))
@settings(max_examples=400, deadline=None)
def test_patterns_of_no_sense_are_refused_alike(
    kernel: Kernel, data: bytes, patterns: bytes, at: int, line: int, room: int
) -> None:
    outcomes: list[Any] = []
    for one in (kernel, twin):
        out = np.zeros((room, 3), "<u8")
        try:
            outcomes.append((one.search(data, at, patterns, out, line), out.tolist()))
        except ValueError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
