"""A filter over columns chooses the rows that it chooses one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xptrace
from tests.xptrace.filter import making
from tests.xptrace.filter.making import access, frame_of
from xptrace.access.rows import Entry
from xptrace.errors import XptraceError
from xptrace.filter import compile_filter
from xptrace.filter.tree import Node
from xptrace.frames import schema


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(making.TABLES), st.lists(making.ASKED, min_size=1, max_size=8))
def test_both_executions_choose_the_same_rows(
    data: st.DataObject, table: tuple[st.SearchStrategy[Entry], Mapping[str, tuple[str, str]]], trees: list[Node]
) -> None:
    rows, columns = table
    entries = data.draw(st.lists(rows, max_size=12))
    frame = frame_of(entries, columns)
    for tree in trees:
        wanted = compile_filter(str(tree))
        assert wanted.mask(frame).tolist() == [wanted.matches(entry) for entry in entries], str(tree)


@settings(max_examples=60, deadline=None)
@given(st.lists(making.ACCESSES | making.MESSAGES, max_size=12), making.ASKED)
def test_a_table_of_several_kinds_is_filtered_by_its_column_kind(entries: list[Entry], tree: Node) -> None:
    columns = {"kind": ("category", ""), **schema.ACCESSES, **schema.MESSAGES}
    frame, wanted = frame_of(entries, columns), compile_filter(str(tree))
    assert wanted.mask(frame).tolist() == [wanted.matches(entry) for entry in entries], str(tree)


def test_a_real_recording(data: Path) -> None:
    case = xptrace.open(data / "real-xen" / "windows-like-excerpt.log.gz")
    masks = compile_filter("register == unplug_mask && value & 1").frame(case.accesses)
    assert masks["value"].tolist() == [1]
    assert compile_filter("mask").frame(case.accesses)["value"].tolist() == [1, 2]
    for text in ("kind == access", "size == 1 || !(value > 3)", "time > 04:10:39.4 && time < 04:10:39.6",
                 'meaning matches r"(?i)unplug"', 'text contains "UNPLUG" || topic == life', "line in {100..300}"):
        wanted = compile_filter(text)
        chosen = [entry.row() for entry in case.entries() if wanted.matches(entry)]
        frames = [wanted.frame(one) for one in (case.accesses, case.messages, case.events)]
        assert sum(map(len, frames)) == len(chosen)
        assert sorted(line for one in frames for line in one["line"]) == sorted(row["line"] for row in chosen)


def test_findings_and_negotiations_are_filtered_too(data: Path) -> None:
    case = xptrace.open(data / "real-xen" / "windows-like-excerpt.log.gz")
    assert compile_filter("severity == high", "findings").frame(case.findings)["rule"].tolist() == ["A34"]
    assert len(compile_filter("duration_ns > 100ms && product == 0xffff", "negotiations").frame(case.negotiations)) == 1
    assert compile_filter("duration_ns > 1h", "negotiations").frame(case.negotiations).empty


def test_numbers_are_compared_as_numbers_whatever_their_sign() -> None:
    frame = pd.DataFrame({"value": pd.Series([-1, 0, 1, None], dtype="Int64"),
                          "address": pd.Series([(1 << 64) - 1, 0, 2, 1], dtype="UInt64")})
    assert compile_filter("value == address").mask(frame).tolist() == [False, True, False, False]
    assert compile_filter("value < address").mask(frame).tolist() == [True, False, True, False]
    assert compile_filter("address > value").mask(frame).tolist() == [True, False, True, False]
    assert compile_filter("address >= value && value != address").mask(frame).tolist() == [True, False, True, False]
    assert compile_filter("value & 0xffffffffffffffff == address").mask(frame).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("column", "text"),
    [(pd.Series([1.5], name="value"), "value == 1"), (pd.Series([1], name="vm"), 'vm == "a"'),
     (pd.Series(["x"], name="complete"), "complete"), (pd.Series(["1"], name="value"), "value == 1"),
     (pd.Series([1], name="vm").astype("category"), 'vm == "a"'), (pd.Series([True], name="value"), "value == 1")],
)  # fmt: skip
def test_a_column_of_another_type_is_refused_in_one_line(column: pd.Series[Any], text: str) -> None:
    with pytest.raises(XptraceError) as raised:
        compile_filter(text).mask(column.to_frame())
    assert repr(column.name) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["value == 1", "!value", 'vm matches "a"', "vm == source", "mask.nics", "time > 4:05"])
def test_a_table_without_rows(text: str) -> None:
    for _, columns in making.TABLES:
        mask = compile_filter(text).mask(frame_of([], columns))
        assert (mask.dtype, len(mask)) == (np.bool_, 0)


def test_the_index_of_a_table_is_kept() -> None:
    frame = frame_of([access(value=value) for value in (1, 2, 3)], schema.ACCESSES)
    frame.index = pd.Index(["a", "b", "c"])
    assert compile_filter("value & 2").frame(frame).index.tolist() == ["b", "c"]


def test_a_million_rows_take_columns_less_time_than_a_tenth_of_them_one_by_one() -> None:
    entries = [access(value=value, vm=f"vm{value}") for value in range(100)]
    many = frame_of(entries, schema.ACCESSES).iloc[np.arange(1_000_000) % 100].reset_index(drop=True)
    wanted = compile_filter('value & 1 && register == unplug_mask && vm contains "7" && time > 04:05')
    started = time.process_time()
    assert wanted.mask(many).sum() == 1_000_000 * 14 // 100  # 7, 17, … 97 are ten, 71, 73, 75 and 79 four more
    by_columns, started = time.process_time() - started, time.process_time()
    assert sum(map(wanted.matches, entries * 1000)) == 14_000
    assert by_columns < time.process_time() - started
