"""Several recordings of the same accesses: matched in order, their clocks solved, nothing merged silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xptrace.access.correlation import Sighting, View, correlate
from xptrace.cli import main

ORIGIN = 1_795_401_471_000_000_000


def view(source: str, clock: str | None, *sightings: tuple[str, int | None]) -> View:
    told = View("win10", 1, source)
    for number, (name, time_ns) in enumerate(sightings):
        known = clock if time_ns is not None else None
        told.sightings.append(Sighting((name,), time_ns, known, ("store", name, name), number, number + 1))
    return told


def test_what_one_recording_missed_is_left_out_and_the_rest_is_matched_in_order() -> None:
    found = correlate(view("a", "wall", ("m", 10), ("v", 20), ("m", 30), ("u", 40)),
                      view("b", "tsc", ("x", 5), ("m", 6), ("m", 26), ("u", 36)))
    assert found.matches == ((0, 1), (2, 2), (3, 3))


def test_a_clock_that_only_stands_apart_is_solved_without_residual() -> None:
    found = correlate(view("a", "wall", ("m", ORIGIN + 7), ("v", ORIGIN + 17), ("u", ORIGIN + 2_000_000_017)),
                      view("b", "tsc", ("m", 0), ("v", 10), ("u", 2_000_000_010)))
    assert found.line is not None
    assert (found.line.offset_ns, found.line.worst_ns) == (ORIGIN + 7, 0)
    assert found.line.translate(1_000_000_000) == ORIGIN + 1_000_000_007


def test_a_drift_needs_three_matches_that_are_a_second_apart() -> None:
    close = correlate(view("a", "wall", ("m", 0), ("v", 500), ("u", 1000)),
                      view("b", "tsc", ("m", 0), ("v", 1), ("u", 2)))
    few = correlate(view("a", "wall", ("m", 0), ("u", 2 * 10**10)), view("b", "tsc", ("m", 0), ("u", 10**10)))
    assert close.line is not None
    assert few.line is not None
    assert (close.line.drift, few.line.drift) == (None, None)
    assert few.line.worst_ns == 5 * 10**9, "half of what the two matches disagree by lies on either side"


@given(
    st.integers(0, 1 << 61), st.floats(-1e-4, 1e-4),
    st.lists(st.integers(0, 10**12), min_size=3, max_size=40, unique=True).filter(lambda t: max(t) - min(t) > 10**9),
)
def test_offset_and_drift_are_solved_to_within_rounding(offset: int, drift: float, times: list[int]) -> None:
    times.sort()
    one = view("a", "wall", *((str(t), offset + t + round(t * drift)) for t in times))
    found = correlate(one, view("b", "tsc", *((str(t), t) for t in times)))
    assert found.line is not None
    assert found.line.drift == pytest.approx(drift, abs=1e-8)
    assert found.line.worst_ns <= 3
    for sighting, time_ns in zip(one.sightings, times, strict=True):
        assert sighting.time_ns is not None
        assert abs(found.line.translate(time_ns) - sighting.time_ns) <= 3


def test_without_times_there_is_order_and_no_line() -> None:
    found = correlate(view("a", None, ("m", None), ("u", None)), view("b", "tsc", ("m", 1), ("u", 2)))
    assert (found.matches, found.line) == (((0, 0), (1, 1)), None)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_every_sighting_of_both_is_told_once(left: list[str], right: list[str]) -> None:
    one = view("a", "wall", *((name, at) for at, name in enumerate(left)))
    other = view("b", "tsc", *((name, at) for at, name in enumerate(right)))
    merged = list(correlate(one, other).merged())
    assert [mine for mine, _ in merged if mine is not None] == one.sightings
    assert [theirs for _, theirs in merged if theirs is not None] == other.sightings
    assert all(mine.key == theirs.key for mine, theirs in merged if mine is not None and theirs is not None)


def test_a_text_log_and_the_simpletrace_of_one_run_are_matched_access_by_access(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The golden file beside them tells of 32 accesses, 26 of which write one character each."""
    run = corpus / "recorded/qemu-oracle/10.0.13/03-linux-negotiation"
    assert main(["correlate", "-T", "jsonl", str(run / "trace.log"), str(run / "trace.bin.gz")]) == 0
    relation, *sightings = map(json.loads, capsys.readouterr().out.splitlines())
    assert (relation["matches"], relation["one_sightings"], relation["other_sightings"]) == (32, 32, 32)
    assert len(sightings) == 32
    assert all(one["one"] and one["other"] for one in sightings)


def test_recordings_with_nothing_in_common_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.log").write_text("cpu_in addr 0x10(w) value 18898\n")
    (tmp_path / "b.log").write_text("cpu_out addr 0x10(w) value 3\n")
    assert main(["correlate", str(tmp_path / "a.log"), str(tmp_path / "b.log")]) == 1
    assert "no two of these recordings saw the same access" in capsys.readouterr().out


def correlated(capsys: pytest.CaptureFixture[str], *paths: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each relation with its sightings."""
    assert main(["correlate", "-T", "jsonl", *map(str, paths)]) == 0
    found: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for told in map(json.loads, capsys.readouterr().out.splitlines()):
        if told["kind"] == "correlation":
            found.append((told, []))
        else:
            found[-1][1].append(told)
    return found


UNPLUG = [
    "read  0x10    2  magic 0x49d2: Xen platform device, not blacklisted",
    "read  0x12    1  protocol version 1 (unplug by mask)",
    "write 0x12    2  driver product 3 (linux)",
    "write 0x10    4  driver build 1 (0x00000001)",
    "read  0x10    2  magic 0x49d2: Xen platform device, not blacklisted",
    "write 0x10    2  unplug mask 0x0003: IDE and SCSI disks, NICs",
]
"""What the guest is known to have done, by who recorded it."""


@pytest.mark.slow
def test_the_six_accesses_of_a_boot_come_out_of_two_million_records_of_xentrace(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """linux-default: QEMU and xentrace recorded one boot at once; the trace has no scheduling records, so no domain.

    xentrace.stats.txt counts 2,206,521 records; the clocks were one emulated machine's, so a residual of less than a
    millisecond is what can be expected.
    """
    folder = corpus / "recorded/real-xen/linux-default"
    ((relation, sightings),) = correlated(capsys, folder / "qemu-trace.log.gz", folder / "xentrace.bin.xz")
    assert (relation["matches"], relation["other_sightings"], relation["other_clock"]) == (6, 6, "tsc")
    both = [one for one in sightings if one["one"] and one["other"]]
    assert [one["said"] for one in both] == UNPLUG
    assert relation["residual_worst_ns"] < 10**6
    assert all(abs(one["residual_ns"]) <= relation["residual_worst_ns"] for one in both)


@pytest.mark.slow
def test_one_xentrace_holds_two_guests_and_each_is_matched_with_its_own_device_model(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """two-guests: domains 1 and 2, with scheduling records; each guest unplugged about three seconds apart."""
    folder = corpus / "recorded/real-xen/two-guests"
    found = correlated(capsys, folder / "qemu-trace-twoA.log.gz", folder / "qemu-trace-twoB.log.gz",
                       folder / "xentrace.bin.xz")
    assert [(relation["vm"], relation["matches"]) for relation, _ in found] == [("twoA", 6), ("twoB", 6)]
    for _, sightings in found:
        assert [one["said"] for one in sightings if one["one"] and one["other"]] == UNPLUG
    first, second = (sightings[[bool(s["other"]) for s in sightings].index(True)]["time_ns"] for _, sightings in found)
    assert 2 * 10**9 < second - first < 5 * 10**9


def test_xenstores_own_trace_and_the_device_models_are_matched_by_what_was_written(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """migrate-local: C xenstored's clock shows local time in whole seconds; the host's zone was UTC."""
    folder = corpus / "recorded/real-xen/migrate-local"
    found = correlated(capsys, folder / "qemu-trace-212.log.gz", folder / "qemu-trace-375.log.gz",
                       folder / "xenstored-trace.log.gz")
    assert [(relation["boot"], relation["other_clock"]) for relation, _ in found] == [(1, "local"), (2, "local")]
    for relation, _ in found:
        assert relation["matches"] > 10
        assert relation["drift"] is None
        assert abs(relation["offset_ns"]) < 10 * 10**9
