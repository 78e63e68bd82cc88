"""Recordings against the model, as a user sees it: answers, divergences, the way on after them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xptrace
from tests.conftest import Run as Done
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access
from xptrace.model.profiles import profile
from xptrace.replay import automaton as replay_automaton
from xptrace.replay.automaton import Automaton
from xptrace.replay.columns import Interned, replay
from xptrace.replay.judge import Observed, Standing, judge
from xptrace.replay.replay import Replay, Start

Run = Callable[..., Any]
HANDSHAKE = (
    ("in", 0x10, "w", 0x49D2), ("in", 0x12, "b", 1), ("out", 0x12, "w", 2), ("out", 0x10, "l", 1),
    ("in", 0x10, "w", 0x49D2), ("out", 0x10, "w", 3),
)


def log_of(accesses: Iterable[tuple[str, int, str, int]], path: Path) -> Path:
    """A log in the form of `cpu_in` and `cpu_out`, written by hand from what the accesses are."""
    lines = [f"cpu_{way} addr 0x{port:x}({size}) value {value}" for way, port, size, value in accesses]
    path.write_text("\n".join(lines) + "\n")
    return path


def oracle_logs(corpus: Path, version: str) -> list[Path]:
    folder = corpus / "recorded" / "qemu-oracle" / version
    return sorted([*folder.glob("*/trace.log*"), *folder.glob("80-fuzz/*/trace.log*")])


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13", "10.2.2"])
def test_the_recordings_of_a_device_agree_with_its_profile(corpus: Path, version: str) -> None:
    compared = lines = 0
    for log in oracle_logs(corpus, version):
        decoder = Decoder([str(log)])
        for judged in Replay(Start(profile(f"qemu-{version}")), decoder.vms).rows(decoder.rows()):
            assert judged.judgement.agrees is not False, (log, judged.row.records[0].line)
            compared += judged.judgement.agrees is True and isinstance(judged.row, Access)
            lines += judged.judgement.agrees is True and not isinstance(judged.row, Access)
    least = {"7.2.22": (11_000, 2_000), "10.0.13": (11_000, 2_000), "10.2.2": (80, 20)}[version]
    assert compared >= least[0]
    assert lines >= least[1]


@pytest.mark.parametrize(
    "folder", ["linux-default", "all-events", "windows-like", "pvdevice-both", "unplug-steps", "unplug-never-probe",
               "two-guests", "migrate-local", "no-timestamp"],
)
def test_real_guests_on_real_xen_agree_with_their_device(corpus: Path, xptrace: Run, folder: str) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / folder).glob("qemu-trace*.log.gz"))
    done = xptrace("replay", "--profile", "qemu-7.2", "-T", "jsonl", *logs)
    assert done.code == 0
    assert not [row for row in done.rows if row["agrees"] is False]
    reads = [row for row in done.rows if row["direction"] == "read" and row["value"] is not None]
    assert sum(row["agrees"] is True for row in reads) >= 0.9 * len(reads)


def test_every_row_has_the_keys_of_decode_and_two_more(data: Path, xptrace: Run) -> None:
    log = data / "real-xen" / "all-events-handshake.txt"
    decoded = xptrace("decode", "-T", "jsonl", log)
    replayed = xptrace("replay", "--profile", "qemu-7.2", "-T", "jsonl", log)
    rows = replayed.rows
    said = [(row.pop("expected"), row.pop("agrees")) for row in rows]
    assert rows == decoded.accesses
    assert [one for one, row in zip(said, rows, strict=True) if row["space"] == "pio"] == [
        (0x49D2, True), (1, True), (None, None), (None, None), (0x49D2, True), (None, None)]


class TestDivergence:
    def test_a_blacklisted_magic_from_upstream_is_located_and_explained(self, tmp_path: Path, xptrace: Run) -> None:
        log = log_of([*HANDSHAKE[:4], ("in", 0x10, "w", 0xD249), *HANDSHAKE[5:]], tmp_path / "t.log")
        done = xptrace("replay", "--profile", "qemu-10.0", log)
        assert done.code == 1
        (line,) = [line for line in done.out.splitlines() if "observed" in line]
        offset = log.read_bytes().index(b"cpu_in addr 0x10(w) value 53833")
        assert f"t.log:5 @{offset}" in line
        assert "no upstream QEMU release answers 0xd249" in line
        assert xptrace("replay", "--profile", "qemu-xen-traditional", "--blacklist", "2:1", log).code == 0

    def test_one_divergence_does_not_hide_the_next(self, tmp_path: Path, xptrace: Run) -> None:
        odd = [("in", 0x10, "w", 0x1234), ("in", 0x12, "b", 7), ("in", 0x11, "b", 0), ("in", 0x10, "w", 0x49D2),
               ("in", 0x10, "b", 0x55), ("in", 0x10, "b", 1)]
        done = xptrace("replay", "--profile", "qemu-10.0", "-T", "jsonl", log_of(odd, tmp_path / "t.log"))
        assert [row["agrees"] for row in done.rows] == [False, False, False, True, False, True]
        assert [row["expected"] for row in done.rows] == [0x49D2, 1, 0xFF, 0x49D2, 0, 1]

    def test_the_flags_of_a_guest_that_runs_already_are_taken_as_they_are(self, tmp_path: Path, xptrace: Run) -> None:
        log = log_of([("in", 0x10, "b", 1), ("in", 0x10, "b", 1), ("in", 0x10, "b", 0)], tmp_path / "t.log")
        done = xptrace("replay", "--profile", "kvm-xen-10.0", "-T", "jsonl", log)
        assert [(row["expected"], row["agrees"]) for row in done.rows] == [(None, None), (1, True), (1, False)]

    def test_a_line_that_is_not_what_the_bytes_make_is_told(self, tmp_path: Path, xptrace: Run) -> None:
        wrote = [("out", 0x12, "b", byte) for byte in b"a\x1bb\n"]
        log = log_of(wrote, tmp_path / "t.log")
        log.write_bytes(log.read_bytes() + b"xen_platform_log xen platform: a\x1bb\n")
        assert xptrace("replay", "--profile", "qemu-10.0", log).code == 0
        told = xptrace("replay", "--profile", "xenserver-trad", log)  # it drops what is not printable
        assert told.code == 1
        assert "log line" in told.out
        assert "\x1b" not in told.out

    def test_a_device_that_cannot_be_is_one_line(self, data: Path, xptrace: Run) -> None:
        log = data / "real-xen" / "all-events-handshake.txt"
        for arguments, said in [
            (("--profile", "qemu-99"), "no profile 'qemu-99'"),
            (("--profile", "qemu-10.0", "--device-id", "2"), "no property"),
            (("--profile", "qemu-10.0", "--blacklist", "3"), "PRODUCT:BUILD"),
            (("--profile", "qemu-10.0", "--inventory", "ide9"), "0 to 3"),
            (("--profile", "qemu-10.0", "--inventory", "toaster"), "no emulated device"),
        ]:
            done = xptrace("replay", *arguments, log)
            assert (done.code, done.out) == (2, "")
            assert said in done.err
            assert len(done.err.splitlines()) == 1

    def test_what_the_blacklist_cannot_do_is_said(self, data: Path, xptrace: Run) -> None:
        log = data / "real-xen" / "all-events-handshake.txt"
        for name, said in (("qemu-10.0", "has no effect"), ("qemu-xen-traditional", "can name product 3")):
            assert said in xptrace("replay", "--profile", name, "--blacklist", "3:1", log).err


class TestFit:
    def explained(self, done: Done) -> set[str]:
        return {row["profile"] for row in done.rows if row["explains"]}

    def test_a_recording_of_7_2_is_explained_by_7_2_and_not_by_what_differs(self, corpus: Path, xptrace: Run) -> None:
        log = corpus / "recorded" / "qemu-oracle" / "7.2.22" / "43-bar0-writes" / "trace.log.gz"
        log = log if log.exists() else log.with_suffix("")
        done = xptrace("replay", "--fit", "-T", "jsonl", log)
        assert done.code == 0
        names = self.explained(done)
        assert {"qemu-7.2", "qemu-10.0"} <= names  # these two cannot be told apart by what a log holds
        assert not names & {"qemu-6.1", "qemu-2.7", "qemu-0.15", "xcp-ng-4.2", "qemu-xen-traditional", "kvm-xen-9.0"}
        against = {row["profile"]: row["against"] for row in done.rows}
        assert any("pci_cfg_write is written so by QEMU 7.0 and later" in one["said"] for one in against["qemu-6.1"])
        assert all({"source", "offset", "line", "said"} <= one.keys() for one in against["qemu-2.7"])

    def test_an_iso_prefix_is_10_1_and_later(self, data: Path, xptrace: Run) -> None:
        log = data / "qemu-oracle" / "10.2.2" / "70-format-b-D-msg-timestamp" / "trace.log"
        assert self.explained(xptrace("replay", "--fit", "-T", "jsonl", log)) == {"qemu-10.1", "qemu-10.2"}

    def test_a_guest_on_kvm_is_not_taken_for_one_on_xen_alone(self, tmp_path: Path, xptrace: Run) -> None:
        log = tmp_path / "t.log"
        log.write_text("2026-11-23T03:25:00.040406Z memory_region_ops_read cpu 0 mr 0x1 addr 0x10 value 0x49d2 size 2 "
                       "name 'xen-fixed'\n")
        names = self.explained(xptrace("replay", "--fit", "-T", "jsonl", log))
        assert names == {"qemu-10.1", "qemu-10.2", "kvm-xen-10.1", "kvm-xen-10.2"}

    def test_a_refused_driver_points_to_the_lineages_that_refuse(self, tmp_path: Path, xptrace: Run) -> None:
        log = log_of([*HANDSHAKE[:4], ("in", 0x10, "w", 0xD249)], tmp_path / "t.log")
        done = xptrace("replay", "--fit", "-T", "jsonl", log)
        diverged = {row["profile"]: row["diverged"] for row in done.rows}
        assert diverged["qemu-7.2"] == 1
        assert done.code == 1  # the traditional device models write no such log, so nothing explains it all

    def test_nothing_is_told_by_an_empty_recording(self, tmp_path: Path, xptrace: Run) -> None:
        (tmp_path / "t.log").write_text("nothing of ours\n")
        done = xptrace("replay", "--fit", tmp_path / "t.log")
        assert done.code == 1
        assert "nothing in the recording tells" in done.out


class TestState:
    def test_the_state_between_product_and_mask(self, data: Path, xptrace: Run) -> None:
        log = data / "qemu-oracle" / "10.0.13" / "60-reset-mid" / "trace.log"
        line = next(n for n, text in enumerate(log.read_text().splitlines(), 1) if "addr 0x12 value 0x3 size 2" in text)
        done = xptrace("state", "--profile", "qemu-10.0", "--at", f"line:{line}", "-T", "jsonl", log)
        held = {row["register"]: row for row in done.rows}
        assert (held["product"]["value"], held["unplugged"]["value"]) == (3, 0)
        assert held["product"]["line"] in (line, line - 1)
        assert held["unplugged"]["certainty"] == "assumed"  # this recording does not show the start

    def test_the_state_at_a_time(self, data: Path, xptrace: Run) -> None:
        log = data / "real-xen" / "all-events-handshake.txt"
        before = xptrace("state", "--profile", "qemu-7.2", "--at", "04:05:29.218", "-T", "jsonl", log)
        after = xptrace("state", "--profile", "qemu-7.2", "--at", "04:05:29.231", "-T", "jsonl", log)
        assert [r["value"] for r in before.rows if r["register"] in ("product", "unplugged")] == [0, 0]
        assert [r["value"] for r in after.rows if r["register"] in ("product", "unplugged")] == [3, 3]

    def test_intervals_follow_each_other(self, data: Path) -> None:
        case = xptrace.open(data / "qemu-oracle" / "10.0.13" / "70-format-b-D-msg-timestamp" / "trace.log")
        states = case.states("qemu-10.0")
        for _, one in states.groupby("register", observed=True):
            ordered = one.sort_values("offset", kind="stable")
            assert list(ordered["to_offset"].dropna()) == list(ordered["offset"][1:])
            assert ordered["to_offset"].isna().sum() == 1
        flags = states[states["register"] == "flags"]["value"].tolist()
        golden = (data / "qemu-oracle/10.0.13/70-format-b-D-msg-timestamp/golden.jsonl").read_text().splitlines()
        assert flags[-1] == [json.loads(line) for line in golden if '"end"' in line][-1]["flags"]

    def test_several_vms_need_a_name(self, corpus: Path, xptrace: Run) -> None:
        logs = sorted((corpus / "recorded" / "real-xen" / "two-guests").glob("qemu-trace*.gz"))
        done = xptrace("state", "--profile", "qemu-7.2", *logs)
        assert done.code == 2
        assert "--vm (twoA, twoB)" in done.err


class TestWhatIf:
    """The question of 2013: older identity, newer, both, or the older driver refused."""

    def of(self, done: Done) -> dict[str, dict[str, Any]]:
        def short(name: str) -> str:
            return re.split(r"[,(]", name)[0].strip() + (" refused" if "blacklisted" in name else "")

        return {short(row["device"]): row for row in done.rows}

    def test_an_older_windows_driver(self, tmp_path: Path, xptrace: Run) -> None:
        product_1 = [*HANDSHAKE[:2], ("out", 0x12, "w", 1), *HANDSHAKE[3:]]
        log = log_of(product_1, tmp_path / "t.log")
        rows = self.of(xptrace("whatif", "--profile", "xcp-ng-4.2", "-T", "jsonl", log))
        assert {row["driver"] for row in rows.values()} == {"citrix-legacy"}
        assert {row["certainty"] for row in rows.values()} == {"predicted"}
        older, newer, both = rows["the older identity"], rows["the newer identity"], rows["both"]
        assert (older["binds"], newer["binds"], both["binds"]) == (True, False, True)
        assert "0x7B" in newer["next_boot"]
        assert "0x7B" not in older["next_boot"] + both["next_boot"]
        refused = rows["the older identity refused"]
        assert (refused["verdict"], refused["mask"], refused["removes"]) == ("blacklisted", None, [])
        assert refused["line"] == 5  # the second read of the magic is where it would have gone otherwise
        assert "emulated" in refused["next_boot"]

    def test_linux_unplugs_by_the_ports_alone(self, corpus: Path, xptrace: Run) -> None:
        log = corpus / "recorded" / "real-xen" / "linux-default" / "qemu-trace.log.gz"
        rows = self.of(xptrace("whatif", "--profile", "qemu-7.2", "-T", "jsonl", log))
        assert {row["mask"] for row in rows.values()} == {3}
        assert rows["the newer identity"]["binds"] is None  # since Linux 6.15 only
        assert rows["the older identity"]["parts_at"] is None
        assert any("can name product 3" in note for note in rows["the older identity refused"]["notes"])

    def test_a_windows_guest_whose_identity_changes_stops(self, corpus: Path, xptrace: Run) -> None:
        log = corpus / "recorded" / "real-xen" / "windows-like" / "qemu-trace-windows-like.log.gz"
        rows = self.of(xptrace("whatif", "--profile", "xcp-ng-4.2", "-T", "jsonl", log))
        assert rows["the newer identity"]["binds"] is True  # its INF has both
        assert "0x7B" in rows["the newer identity"]["next_boot"]  # but the disk hangs from the older
        refused = rows["the older identity refused"]
        assert (refused["verdict"], refused["mask"]) == ("blacklisted", 3)  # it takes note, and unplugs all the same

    def test_a_device_of_ones_own(self, corpus: Path, xptrace: Run) -> None:
        log = corpus / "recorded" / "real-xen" / "linux-default" / "qemu-trace.log.gz"
        done = xptrace("whatif", "--profile", "xcp-ng-4.2", "--device-id", "2", "--inventory", "nvme,ide0,e1000",
                       "-T", "jsonl", log)
        (row,) = done.rows
        assert sorted(row["removes"]) == ["e1000", "e1000-link", "ide0", "nvme"]  # XCP-ng takes NVMe with bit 0
        upstream = xptrace("whatif", "--profile", "qemu-4.2", "--pvdevice", "0xc000", "--inventory", "nvme,ide0,e1000",
                           "-T", "jsonl", log)
        assert "nvme" not in upstream.rows[0]["removes"]


class TestColumns:
    """The replay of many is the scalar step, remembered: it must say the same."""

    def test_a_case_says_what_the_scalar_step_says(self, data: Path) -> None:
        log = data / "qemu-oracle" / "10.0.13" / "42-bar0-reads" / "trace.log"
        judged = xptrace.open(log).replay("qemu-10.0")
        decoder = Decoder([str(log)])
        one_by_one = [one for one in Replay(Start(profile("qemu-10.0")), decoder.vms).rows(decoder.rows())
                      if isinstance(one.row, Access)]
        assert [None if value is None else int(value) for value in judged["expected"].astype(object).where(
            judged["expected"].notna(), None)] == [one.judgement.expected for one in one_by_one]
        assert judged["agrees"].sum() == sum(one.judgement.agrees is True for one in one_by_one) > 600

    @settings(max_examples=150, deadline=None)
    @given(
        accesses=st.lists(
            st.builds(
                Observed,
                space=st.sampled_from(["pio", "bar0", "bar1", "pci-config"]),
                offset=st.one_of(st.integers(0x0E, 0x14), st.integers(0, 0x20), st.none()),
                size=st.sampled_from([1, 2, 4, None]), direction=st.sampled_from(["read", "write"]),
                value=st.none() | st.sampled_from([0, 1, 2, 3, 0x49D2, 0xD249, 0xFFFFFFFF]) | st.integers(0, 255),
                function=st.sampled_from([None, 16, 24]),
                device=st.sampled_from([None, "xen-platform", "xen-pvdevice"]),
            ),
            max_size=40,
        ),
        name=st.sampled_from(["qemu-1.0", "qemu-7.2", "kvm-xen-10.0", "qemu-xen-traditional", "xenserver-trad"]),
        few=st.sampled_from([1, 2, 100]),
    )
    def test_automaton_and_scalar_step_are_one(self, accesses: list[Observed], name: str, few: int) -> None:
        standing = Start(profile(name), blacklist=frozenset({(2, 1)})).standing(None)
        automaton = Automaton()
        alphabet = list(dict.fromkeys(accesses))
        symbols = np.array([alphabet.index(one) for one in accesses], np.int64)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay_automaton, "_FEW", few)
            _, taken = automaton.run(automaton.enter(standing), symbols, alphabet)
        for observed, number in zip(accesses, taken, strict=True):
            standing, judgement, effects = judge(standing, observed)
            transition = automaton.transitions[number]
            assert (transition.judgement, transition.effects) == (judgement, effects)
            assert automaton.standings[transition.after] == standing
            assert isinstance(standing, Standing)
            if observed.value is not None and observed.size and judgement.agrees is not None:
                assert judgement.agrees == (judgement.expected == observed.value & (1 << 8 * observed.size) - 1)

    def test_vms_and_boots_are_kept_apart(self, corpus: Path) -> None:
        logs = sorted((corpus / "recorded" / "real-xen" / "migrate-local").glob("qemu-trace*.log.gz"))
        decoder, interned = Decoder(list(map(str, logs))), Interned()
        for row in decoder.rows():
            if isinstance(row, Access):
                interned.add(row)
        judged = replay(Start(profile("qemu-7.2")), interned, decoder.vms)
        assert decoder.vms["qemu-trace"].began[2] == "migration"
        assert not (judged.agrees == 0).any()
        assert not judged.adopted.any()  # what the destination has is what the source had: nothing needed to be adopted


def test_coverage_counts_what_was_exercised(data: Path, xptrace: Run) -> None:
    done = xptrace("replay", "--profile", "qemu-7.2", "--coverage", data / "real-xen" / "all-events-handshake.txt")
    assert re.search(r"states +3 of 64\b", done.out)  # nothing, product named, unplugged: of 2 × 2 × 16
    assert re.search(r"2 ×  magic read", done.out)
    assert re.search(r"1 ×  unplug_mask write, 0x3", done.out)
    assert re.search(r"never   flags write, 1", done.out)
