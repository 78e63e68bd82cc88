"""Arrays put together from buffers are those that pyarrow makes itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xptrace.frames import arrays
from xptrace.frames.arrays import array, dictionary, numbers, taken, told

KINDS = {
    "signed": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "unsigned": (pa.uint64(), st.integers(0, (1 << 64) - 1)),
    "truth": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(max_size=20)),
    "texts": (pa.list_(pa.string()), st.lists(st.text(max_size=5), max_size=3)),
}


@pytest.mark.parametrize("kind", list(KINDS))
@settings(deadline=None)
@given(st.data())
def test_python_s_values(kind: str, data: st.DataObject) -> None:
    wanted, values = KINDS[kind]
    drawn: list[Any] = data.draw(st.lists(st.none() | values, max_size=40))
    made = array(drawn, wanted)
    made.validate(full=True)
    assert made.equals(pa.array(drawn, wanted))
    first = data.draw(st.integers(0, len(drawn)))
    for part in (made, made[first:], pa.array(drawn, wanted)[first:]):
        assert told(part).tolist() == [value is not None for value in part.to_pylist()]


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from(["", "a", "ä", "pio"]), max_size=40))
def test_texts_that_repeat(values: list[str | None]) -> None:
    made = dictionary(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.string()).dictionary_encode())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.booleans()), max_size=40))
def test_numpy_s_numbers(pairs: list[tuple[int, bool]]) -> None:
    values, known = np.array([one for one, _ in pairs], "<i8"), np.array([known for _, known in pairs], bool)
    for wanted in (pa.int64(), pa.timestamp("ns", "UTC")):
        made = numbers(values, wanted, known)
        made.validate(full=True)
        assert made.equals(pa.array(values, pa.int64(), mask=~known).view(wanted))


@pytest.mark.parametrize("kernel", ["any", "none"])
@pytest.mark.parametrize("kind", ["signed", "unsigned", "truth", "text", "repeats"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_taken(kind: str, kernel: str, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    if kernel == "none":
        monkeypatch.setattr(arrays, "chosen_kernel", lambda: None)
    wanted, values = KINDS["text" if kind == "repeats" else kind]
    drawn: list[Any] = data.draw(st.lists(st.none() | values, min_size=1, max_size=20))
    column = dictionary(drawn) if kind == "repeats" else array(drawn, wanted)
    if data.draw(st.booleans()):
        column = pa.concat_arrays([column, column])[len(drawn) :]
    chosen = data.draw(st.lists(st.integers(0, len(drawn) - 1), max_size=40))
    places, which = np.unique(np.array(chosen, np.intp), return_inverse=True)
    made = taken(column, places, which)
    made.validate(full=True)
    assert made.to_pylist() == [drawn[at] for at in chosen]
    assert made.type == column.type
    if kind == "repeats":
        assert set(made.dictionary.to_pylist()) == {drawn[at] for at in chosen} - {None}


@pytest.mark.parametrize(("values", "wanted", "error"), [
    ([1 << 64], pa.uint64(), OverflowError), ([-1], pa.uint64(), OverflowError), ([1 << 63], pa.int64(), OverflowError),
    (["\udc80"], pa.string(), UnicodeEncodeError),
])  # fmt: skip
def test_what_has_no_place_in_an_array(values: list[Any], wanted: pa.DataType, error: type[Exception]) -> None:
    with pytest.raises(error):
        array(values, wanted)
