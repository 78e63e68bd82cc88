"""A case of more than memory: its tables lie in files, it says so, and what is asked of them is answered the same."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import xptrace
from xptrace.case import Case
from xptrace.errors import XptraceError
from xptrace.frames import memory
from xptrace.frames.arrow import schema_of

LOG = "real-xen/windows-like-excerpt.log.gz"
LARGE = ["accesses", "messages", "events", "rows"]
TINY = 1000
"""Bytes: less than any of the tables takes."""


@pytest.fixture(scope="module")
def kept(data: Path) -> Case:
    """The case in memory."""
    return xptrace.open(data / LOG)


@pytest.fixture(scope="module")
def lazy(data: Path) -> Case:
    """The same in files."""
    return xptrace.open(data / LOG, memory=TINY)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files lie."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", LARGE)
def test_batches_hold_the_same_rows(kept: Case, lazy: Case, name: str) -> None:
    batches = list(lazy.batches(name))
    assert all(batch.schema.equals(schema_of(name), check_metadata=True) for batch in batches)
    assert [row for batch in batches for row in batch.to_pylist()] == kept.arrow(name).to_pylist()
    assert [row for batch in kept.batches(name) for row in batch.to_pylist()] == kept.arrow(name).to_pylist()


@pytest.mark.parametrize("name", LARGE)
def test_datasets_hold_the_same_rows(kept: Case, lazy: Case, name: str) -> None:
    for case in (kept, lazy):
        assert case.dataset(name).to_table().to_pylist() == kept.arrow(name).to_pylist()
        assert case.dataset(name).schema.names == schema_of(name).names


def test_a_dataset_reads_what_is_asked_for(lazy: Case) -> None:
    from pyarrow import compute

    asked = lazy.dataset("accesses").to_table(["value"], filter=compute.field("register") == "unplug_mask")
    assert asked.column_names == ["value"]
    assert asked.num_rows


def test_duckdb_and_polars_query_a_dataset(kept: Case, lazy: Case) -> None:
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    found = lazy.dataset("accesses")
    assert duckdb.from_arrow(found).count("*").fetchall() == [(len(kept.accesses),)]
    assert polars.scan_pyarrow_dataset(found).select("value").collect().height == len(kept.accesses)


@pytest.mark.parametrize("text", ["register == unplug_mask", "value > 3", "direction == read && size == 1"])
def test_a_filter_finds_the_same_rows(data: Path, kept: Case, text: str) -> None:
    found = kept.filter(text)
    assert len(found)
    size = kept.dataset("accesses").to_table().nbytes - 1
    lazily = xptrace.open(data / LOG, memory=size).filter(text)
    pd.testing.assert_frame_equal(lazily, found, check_categorical=False)


def test_what_would_be_more_than_memory_is_no_table(lazy: Case) -> None:
    for wanted in (lambda: lazy.accesses, lambda: lazy.arrow("accesses"), lambda: lazy.filter("size >= 1")):
        with pytest.raises(XptraceError, match=r"^accesses: .* take .*, more than memory=1000: take \.batches or "):
            wanted()


def test_a_table_that_fits_by_itself_is_one_wherever_it_lies(data: Path, kept: Case) -> None:
    small = kept.arrow("messages").nbytes
    assert small < kept.arrow("accesses").nbytes
    case = xptrace.open(data / LOG, memory=small)
    pd.testing.assert_frame_equal(case.messages, kept.messages)
    with pytest.raises(XptraceError, match="accesses: "):
        _ = case.accesses


@pytest.mark.parametrize("name", ["negotiations", "sayings", "findings", "sources", "ledger"])
def test_what_is_small_is_the_same(kept: Case, lazy: Case, name: str) -> None:
    pd.testing.assert_frame_equal(getattr(lazy, name), getattr(kept, name))
    assert lazy.arrow(name).equals(kept.arrow(name))
    assert lazy.dataset(name).to_table().num_rows == len(getattr(kept, name))


def test_a_case_says_that_it_is_lazy_and_where_its_tables_lie(data: Path, temporary: Path) -> None:
    case = xptrace.open(data / LOG, memory=TINY)
    found = re.fullmatch(r"<xptrace case: 1 source, .*; lazy: tables of \d\S* kB lie in (.*)>", repr(case))
    assert found
    place = Path(found[1])
    assert place.parent == temporary
    assert {one.name for one in place.iterdir()} == {"accesses.parquet", "messages.parquet"}
    kept = case.dataset("accesses")
    del case
    gc.collect()
    assert kept.count_rows()  # a dataset outlives its case


def test_a_case_that_fits_writes_nothing(data: Path, temporary: Path) -> None:
    assert "lazy" not in repr(xptrace.open(data / LOG, memory="1GiB"))


def test_an_interrupted_reading_leaves_nothing(data: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: object, names: object) -> Iterator[tuple[str, pa.RecordBatch]]:
        yield "accesses", pa.RecordBatch.from_pylist([{"vm": "x" * TINY}] * 10, schema_of("accesses"))
        raise KeyboardInterrupt

    monkeypatch.setattr("xptrace.frames.arrow.batches", broken)
    with pytest.raises(KeyboardInterrupt):
        _ = xptrace.open(data / LOG, memory=TINY).accesses
    gc.collect()


def test_no_room_for_the_files_is_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(XptraceError, match=r"^/nowhere: tables of more than 1000 bytes cannot be kept there: No such"):
        _ = xptrace.open(data / LOG, memory=TINY).messages


def test_standard_input_is_read_once_for_all_of_it(data: Path, kept: Case) -> None:
    code = ("import xptrace; case = xptrace.open('-', memory='1GB');"
            "print(len(case.accesses), len(case.messages), len(case.events), len(case.negotiations),"
            "      case.replay('qemu-10.0').agrees.sum(), len(case.correlations), len(case.ledger))")
    with (data / LOG).open("rb") as recording:
        done = subprocess.run([sys.executable, "-c", code], stdin=recording, capture_output=True, check=True, text=True)
    tables = (kept.accesses, kept.messages, kept.events, kept.negotiations)
    assert [int(word) for word in done.stdout.split()] == [
        *map(len, tables), kept.replay("qemu-10.0")["agrees"].sum(), 0, 5]


class TestMemory:
    @pytest.mark.parametrize(("given", "size"), [
        (5, 5), ("5", 5), ("2GiB", 2 << 30), ("1.5 MB", 1_500_000), ("500k", 500_000), ("3TB", 3 * 10**12),
        ("7b", 7), ("0", 0),
    ])  # fmt: skip
    def test_is_a_number_of_bytes(self, given: int | str, size: int) -> None:
        assert memory.allowed(given) == size

    @pytest.mark.parametrize("given", ["lots", "-1", "", "1e9", "5 parsecs", -5, "1" * 40])
    def test_is_nothing_else(self, given: int | str, data: Path) -> None:
        with pytest.raises(XptraceError, match=r"^memory: expected bytes, as 500000000, 500MB or 2GiB, found "):
            xptrace.open(data / LOG, memory=given)

    def test_is_what_the_environment_says_unless_given(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XPTRACE_MEMORY", "64MiB")
        assert xptrace.open(data / LOG).memory == 64 << 20
        assert xptrace.open(data / LOG, memory=9).memory == 9
        monkeypatch.setenv("XPTRACE_MEMORY", "much")
        with pytest.raises(XptraceError, match=r"^XPTRACE_MEMORY: "):
            xptrace.open(data / LOG)

    def test_is_a_quarter_of_what_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XPTRACE_MEMORY", raising=False)
        files = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4000 kB\n", "/proc/self/cgroup": "0::/a/b\n",
                 "/sys/fs/cgroup/a/memory.max": "800000\n", "/sys/fs/cgroup/a/b/memory.max": "max\n"}
        monkeypatch.setattr(memory, "_lines", lambda path: files.get(path, "").splitlines())
        assert memory.allowed() == 200_000
        files["/proc/self/cgroup"] = "11:cpu,memory:/c\n"
        files["/sys/fs/cgroup/memory/c/memory.limit_in_bytes"] = "40000\n"
        assert memory.allowed() == 10_000
        files["/proc/self/cgroup"] = ""
        assert memory.allowed() == 1_024_000
