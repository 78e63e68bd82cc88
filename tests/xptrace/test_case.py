"""The Python face: tables with fixed dtypes, missing values that stay missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import xptrace
from xptrace.errors import XptraceError
from xptrace.frames import schema


@pytest.mark.parametrize("name", ["all-events-handshake.txt", "qemu-trace-no-timestamp.log.gz"])
def test_tables_have_the_documented_dtypes(data: Path, name: str) -> None:
    case = xptrace.open(data / "real-xen" / name)
    for table, columns in (
        (case.accesses, schema.ACCESSES),
        (case.messages, schema.MESSAGES),
        (case.summary, schema.SUMMARY),
        (case.ledger, schema.LEDGER),
    ):
        assert {column: str(dtype) for column, dtype in table.dtypes.items()} == {
            column: dtype for column, (dtype, _) in columns.items()
        }


def test_tables_say_what_the_command_line_says(data: Path, xptrace: Callable[..., Any]) -> None:
    import xptrace as library

    path = data / "real-xen" / "all-events-handshake.txt"
    frame = library.open(path).accesses
    rows = xptrace("decode", "-T", "jsonl", path).accesses
    assert len(frame) == len(rows)
    for column in frame.columns:
        assert [None if pd.isna(value) else value for value in frame[column]] == [row[column] for row in rows]


def test_what_is_not_told_is_missing(data: Path) -> None:
    case = xptrace.open(data / "real-xen" / "qemu-trace-no-timestamp.log.gz")
    assert case.accesses["time_ns"].isna().all()
    assert case.accesses["line"].is_monotonic_increasing


def test_a_case_says_what_it_is(data: Path) -> None:
    case = xptrace.open(data / "real-xen" / "all-events-handshake.txt")
    assert repr(case) == "<xptrace case: 1 source, 1 VM, 8 accesses, 0 messages>"


def test_a_missing_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(XptraceError, match="no such file"):
        xptrace.open(tmp_path / "nothing.log")
