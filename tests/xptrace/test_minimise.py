"""The smallest recording that still gives a finding: what stays, that nothing of it can go, what the user is told."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.xptrace.findings.making import examined, mask, preamble, product, recording, said, timed, write
from xptrace.cli import main
from xptrace.errors import XptraceError
from xptrace.findings.assess import Finding
from xptrace.share.minimise import Limits, Named, Settings, minimise
from xptrace.share.reduction import OutOfTrials, reduce

UNREGISTERED = [*preamble(4369), mask(3)]
"""A whole negotiation of a driver that nobody registered: A10."""
NOISE = (
    "qemu-system-i386: warning: netdev hub0port0 has no peer", "", "\x1b[31m=cmd|' /C calc'!A0",
    "vbe_ioport_write 0x1 0x2",
    "cpu_out addr 0x3f8(b) value 65", "pci_cfg_read rtl8139 00:03.0 @0x0 -> 0x813910ec", "cpu_out addr 0x12(w) val",
)
"""Lines that are no part of any finding: another device's, somebody else's, a broken one."""


def found(path: Path, rule: str) -> list[Finding]:
    return [one for one in examined(path, rules=(rule,)).findings if one.rule.id == rule]


def smallest(path: Path, finding: str, out: Path) -> list[bytes]:
    minimise([str(path)], Named.of(finding), str(out))
    return out.read_bytes().splitlines()


class TestReduction:
    @given(st.sets(st.integers(0, 60), max_size=6))
    def test_exactly_what_is_needed_stays(self, needed: set[int]) -> None:
        left: list[int] = [*range(61)]

        def take(smaller: Sequence[int]) -> None:
            left[:] = smaller

        reduce([*left], lambda some: needed <= set(some), take)
        assert left == sorted(needed)

    @given(st.sets(st.frozensets(st.integers(0, 20), min_size=1, max_size=4), min_size=1, max_size=4))
    def test_nothing_of_what_stays_can_go_whatever_the_question(self, ways: set[frozenset[int]]) -> None:
        left: list[int] = [*range(21)]

        def holds(some: Iterable[int]) -> bool:  # not monotonic: too much of the first way spoils it
            have = set(some)
            return any(way <= have for way in ways) and len(have) % 7 != 3

        def take(smaller: Sequence[int]) -> None:
            left[:] = smaller

        if holds(left):
            reduce([*left], holds, take)
            assert holds(left)
            assert not any(holds([one for one in left if one != gone]) for gone in left)

    def test_the_end_of_the_trials_ends_the_search(self) -> None:
        def holds(_: object) -> bool:
            raise OutOfTrials

        with pytest.raises(OutOfTrials):
            reduce([1, 2, 3], holds, lambda _: None)


class TestLines:
    def test_an_unregistered_product_is_one_write(self, tmp_path: Path) -> None:
        path = recording(tmp_path, timed([*NOISE, *UNREGISTERED, *NOISE]))
        assert [line.split(b"Z ")[1] for line in smallest(path, "A10", tmp_path / "out.log")] == [
            b"cpu_out addr 0x12(w) value 4369"]

    def test_of_two_boots_it_is_the_one_that_is_named(self, tmp_path: Path) -> None:
        path = recording(tmp_path, timed([
            "xen_ioreq_server_create id: 0", *UNREGISTERED, "xen_ioreq_server_create id: 0", *preamble(8738), mask(3)]))
        with pytest.raises(XptraceError, match=r"A10 was found in 2 boots; name one: A10@win10#1, A10@win10#2"):
            smallest(path, "A10", tmp_path / "out.log")
        assert b"".join(smallest(path, "A10@win10#2", tmp_path / "two.log")).endswith(b"value 8738")
        assert b"".join(smallest(path, "A10@win10#1", tmp_path / "one.log")).endswith(b"value 4369")

    def test_the_boot_of_another_number_is_the_same_boot(self, tmp_path: Path) -> None:
        """A rule about two boots needs lines of both, also where more were before them."""
        idle = said("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)")
        boot = ["xen_ioreq_server_create id: 0", *preamble(), idle, write(0x10, 1, 0)]
        path = recording(tmp_path, timed(["xen_ioreq_server_create id: 0", *preamble(), mask(3), *boot, *boot]))
        assert [one.boot for one in found(path, "A29")] == [3]
        left = smallest(path, "A29@win10#3", tmp_path / "qemu-dm-win10.log.out")
        assert sum(b"PRE-AMBLE" in line for line in left) == 2
        assert not any(b"value 3" in line and b"0x10(w)" in line for line in left)

    @settings(max_examples=8, deadline=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.sampled_from(NOISE), max_size=30), st.randoms(use_true_random=False))
    def test_no_line_can_be_left_out(self, tmp_path: Path, noise: list[str], random: Random) -> None:
        lines = [*preamble(), said("XEN|BUGCHECK: ====>"), product(0xFFFF), product(4369), mask(3), mask(0x30)]
        for one in noise:
            lines.insert(random.randint(0, len(lines)), one)
        path = recording(tmp_path, timed(lines))
        (tmp_path / "all").mkdir(exist_ok=True)
        for rule in ("A10", "A12", "A19"):
            out = tmp_path / "all" / "qemu-dm-win10.log"
            done = minimise([str(path)], Named.of(rule), str(out))
            whole = out.read_bytes().splitlines(keepends=True)
            original = path.read_bytes().splitlines(keepends=True)
            assert [line for line in original if line in whole] == whole
            assert (done.minimal, done.after, done.before) == (True, len(whole), len(original))
            assert found(out, rule)
            for at in range(len(whole)):
                out.write_bytes(b"".join(whole[:at] + whole[at + 1 :]))
                assert not found(out, rule)

    def test_the_same_every_time(self, tmp_path: Path, data: Path) -> None:
        source = data / "real-xen" / "windows-like-excerpt.log.gz"
        made = [smallest(source, "A34", tmp_path / name) for name in ("one.log", "two.log")]
        assert made[0] == made[1]
        original = gzip.decompress(source.read_bytes()).splitlines()
        assert all(line in original for line in made[0])
        assert any(b"BUGCHECK: " in line for line in made[0])

    def test_lines_that_say_nothing_by_themselves_stay_where_others_rest_on_them(self, tmp_path: Path) -> None:
        """The name of the guest stands in the line after `-name`, of which no dissector says anything."""
        toolstack = tmp_path / "xl-win10.log"
        toolstack.write_text("libxl: debug: libxl_dm.c:1:spawn: Domain 7:  -name\n"
                             "libxl: debug: libxl_dm.c:1:spawn: Domain 7:  win10\n")
        log = recording(tmp_path, timed(UNREGISTERED))
        done = minimise([str(log), str(toolstack)], Named.of("A10"), str(tmp_path / "out"))
        assert done.written == ("qemu-dm-win10.log",)


class TestSources:
    def test_each_source_has_its_output_and_those_without_a_line_have_none(self, tmp_path: Path) -> None:
        """A driver that told another story in the boot before: two files, of which a third is no part."""
        (tmp_path / "in").mkdir()
        for name in ("b", "c"):
            recording(tmp_path / "in", timed([*preamble(), mask(3)]), name)
        recording(tmp_path / "in", timed([*NOISE, *UNREGISTERED]), "a")
        done = minimise([str(tmp_path / "in")], Named.of("A10"), str(tmp_path / "out"))
        assert done.written == ("qemu-dm-a.log",)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["qemu-dm-a.log"]
        assert (done.finding.vm, done.finding.boot) == ("a", 1)

    def test_a_date_without_a_year_stays_in_its_year(self, tmp_path: Path) -> None:
        path = tmp_path / "qemu-dm-win10.log"
        path.write_text("".join(f"Nov 23 03:12:2{at} vm qemu-dm-5[8003]: {line}\n"
                                for at, line in enumerate(UNREGISTERED)))
        os.utime(path, (1_500_000_000, 1_500_000_000))
        smallest(path, "A10", tmp_path / "out.log")
        assert (tmp_path / "out.log").stat().st_mtime == 1_500_000_000

    def test_simpletrace_is_reduced_record_by_record(self, tmp_path: Path, corpus: Path) -> None:
        source = corpus / "recorded/qemu-oracle/10.2.2/70-format-d-stderr-d-trace-timestamp/trace.bin.gz"
        out = tmp_path / "trace.bin"
        done = minimise([str(source)], Named.of("A35"), str(out))
        whole = out.read_bytes()
        assert len(whole) < 1000 < len(gzip.decompress(source.read_bytes()))
        assert [one.rule.id for one in found(out, "A35")] == ["A35"]
        assert done.after < 10 < done.before

    def test_a_format_of_records_that_rest_on_one_another_is_kept_or_left_out_as_a_whole(
        self, tmp_path: Path, data: Path
    ) -> None:
        log = recording(tmp_path, timed(UNREGISTERED))
        done = minimise([str(data / "xentrace" / "linux-default.bin"), str(log)], Named.of("A10"),
                        str(tmp_path / "out"))
        assert done.written == ("qemu-dm-win10.log",)


class TestLimits:
    def test_a_limit_of_trials_gives_what_was_found_so_far_and_says_so(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = recording(tmp_path, timed([*preamble(), product(0xFFFF), *NOISE, product(4369), mask(3)]))
        done = minimise([str(path)], Named.of("A12"), str(tmp_path / "out.log"), limits=Limits(trials=0))
        assert (done.minimal, done.trials) == (False, 0)
        assert found(tmp_path / "out.log", "A12")
        out = tmp_path / "b.log"
        assert main(["minimise", str(path), "--finding", "A12", "-o", str(out), "--most-trials", "1"]) == 0
        assert "a limit was reached: fewer may do" in capsys.readouterr().out

    def test_time_is_a_limit_too(self, tmp_path: Path) -> None:
        path = recording(tmp_path, timed(UNREGISTERED))
        done = minimise([str(path)], Named.of("A10"), str(tmp_path / "out.log"), limits=Limits(seconds=-1))
        assert not done.minimal

    def test_a_recording_that_is_too_large_is_refused_in_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = recording(tmp_path, timed(UNREGISTERED))
        monkeypatch.setattr("xptrace.share.minimise.MOST_RECORDS", 3)
        assert main(["minimise", str(path), "--finding", "A10", "-o", str(tmp_path / "out.log")]) == 2
        assert capsys.readouterr().err == (
            f"xptrace: {path}: more than 3 decoded records: cut the recording first, e.g. to the hours that matter\n")
        assert not (tmp_path / "out.log").exists()


class TestTold:
    def test_lines_before_and_after_and_the_finding_read_again(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = recording(tmp_path, timed([*NOISE, *UNREGISTERED]))
        out = tmp_path / "small.log"
        assert main(["minimise", str(path), "--finding", "A10@win10#1", "-o", str(out)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("13 lines became 1 in ")
        assert lines[0].endswith("none of them can be left out")
        assert lines[1].startswith("read again, they give A10 (low): small#1: the driver named itself product 4369")
        assert lines[2] == "small.log"

    @pytest.mark.parametrize(("finding", "why"), [
        ("A01", "there is no such finding; there are: A10@win10#1"), ("Z99", "no rule 'Z99'"),
        ("A10@other", "there is no such finding"), ("A10@win10#7", "there is no such finding"), ("@", "is not RULE"),
    ])
    def test_a_finding_that_there_is_not_is_one_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], finding: str, why: str
    ) -> None:
        path = recording(tmp_path, timed(UNREGISTERED))
        out = tmp_path / "out.log"
        assert main(["minimise", str(path), "--finding", finding, "-o", str(out)]) == 2
        err = capsys.readouterr().err
        assert why in err
        assert err.count("\n") == 1
        assert not out.exists()

    def test_what_is_there_already_is_not_replaced_by_a_directory(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = recording(tmp_path, timed(UNREGISTERED))
        assert main(["minimise", str(path), "--finding", "A10", "-o", str(tmp_path)]) == 2
        assert "is there already" in capsys.readouterr().err
        assert [one.name for one in tmp_path.iterdir()] == [path.name]

    def test_what_can_be_read_only_once_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (str(tmp_path / "pipe"), "-"):
            with pytest.raises(XptraceError, match="can be read only once"):
                minimise([path], Named.of("A10"), str(tmp_path / "out"), Settings())

    def test_a_pipe_is_not_replaced_by_a_file(self, tmp_path: Path) -> None:
        path = recording(tmp_path, timed(UNREGISTERED))
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(XptraceError, match="is no regular file"):
            minimise([str(path)], Named.of("A10"), str(tmp_path / "pipe"))
        assert (tmp_path / "pipe").is_fifo()
