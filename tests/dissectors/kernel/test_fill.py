"""Rows as text: the kernel and its twin write the same."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors.kernel import Kernel, twin

POWERS: Final = [sign * 10**power - less for sign in (1, -1) for power in range(19) for less in (0, 1)]
NUMBERS: Final = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([0, -(1 << 63), (1 << 63) - 1, *POWERS])


def write(
    kernel: Kernel, text: bytes, pieces: list[int], which: list[int], numbers: list[int], columns: int
) -> bytes:
    arrays = np.array(pieces, "<u8"), np.array(which, "<u4"), np.array(numbers, "<i8")
    return kernel.fill(text, *arrays, columns)


@given(st.data(), st.binary(max_size=40), st.integers(0, 4))
@settings(max_examples=400, deadline=None)
def test_any_pieces_and_numbers_are_written_alike(
    kernel: Kernel, data: st.DataObject, text: bytes, columns: int
) -> None:
    templates, expected = data.draw(st.integers(1, 4)), b""
    places = st.lists(st.integers(0, len(text)), min_size=columns + 2, max_size=columns + 2).map(sorted)
    pieces = [data.draw(places) for _ in range(templates)]
    which = data.draw(st.lists(st.integers(0, templates - 1), max_size=8))
    numbers = [data.draw(NUMBERS) for _ in range(len(which) * columns)]
    for row, number in enumerate(which):
        begin, end, *others = pieces[number]
        expected += text[begin:end]
        for column, after in enumerate(others):
            expected += b"%d" % numbers[row * columns + column] + text[end:after]
            end = after
    for one in (kernel, twin):
        assert write(one, text, [place for own in pieces for place in own], which, numbers, columns) == expected


@given(
    st.binary(max_size=10), st.lists(st.sampled_from([*range(11), (1 << 64) - 1, 1 << 63]), max_size=12),
    st.lists(st.sampled_from([0, 1, 2, (1 << 32) - 1]), max_size=4), st.lists(NUMBERS, max_size=8), st.integers(-1, 65),
)
@settings(max_examples=300, deadline=None)
def test_what_makes_no_sense_is_refused_alike(
    kernel: Kernel, text: bytes, pieces: list[int], which: list[int], numbers: list[int], columns: int
) -> None:
    outcomes = []
    for one in (kernel, twin):
        try:
            outcomes.append(write(one, text, pieces, which, numbers, columns))
        except ValueError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("number", [0, 7, 10, -10, 10**18, -(1 << 63), (1 << 63) - 1])
def test_every_number_is_written_whole(kernel: Kernel, number: int) -> None:
    assert write(kernel, b"<>", [0, 1, 2], [0, 0], [number, number], 1) == b"<%d><%d>" % (number, number)


def test_many_rows_are_written(kernel: Kernel) -> None:
    rows = 100_000
    numbers = list(range(rows))
    assert write(kernel, b"a\n", [0, 1, 2], [0] * rows, numbers, 1) == b"".join(b"a%d\n" % one for one in numbers)
