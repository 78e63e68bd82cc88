"""What a file is: `info`, `dissectors`, `--source`, and a dissector of one's own beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissectors import dissectors
from xptrace.cli import main

ROOT = Path(__file__).parents[2]
HANDSHAKE = ROOT / "tests/data/real-xen/all-events-handshake.txt"


def info(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert main(["info", "-T", "jsonl", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_info_tells_format_vm_clock_and_account(capsys: pytest.CaptureFixture[str]) -> None:
    """Two reads of config space, six accesses, two functions taken away: 54 of its 126 lines, all of QEMU's clock."""
    (told,) = info(capsys, str(HANDSHAKE))
    lines = HANDSHAKE.read_bytes().count(b"\n")
    assert told["vantage"] == "device"
    assert told["formats"] == [{"name": "qemu-log", "sure": 50, "records": 105}]
    assert told["boots"] == [{"vm": "all-events-handshake", "boot": 1, "accesses": 8, "events": 2}]
    (clock,) = told["clocks"]  # type: ignore[misc]
    assert clock["clock"] == "wall"
    assert (clock["first_ns"], clock["last_ns"]) == (1795406729113219000, 1795406729567399000)
    account = told["ledger"]
    assert account["decoded"]["lines"] == 54  # type: ignore[index]
    assert account["read"] == {"bytes": HANDSHAKE.stat().st_size, "lines": lines}  # type: ignore[index]


def test_a_source_that_holds_nothing_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours\n")
    assert main(["info", str(tmp_path / "notes.txt"), str(HANDSHAKE)]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/notes.txt" in out
    assert "0 decoded + 1 other" in out


def test_a_name_or_a_reason_from_outside_cannot_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a\x1b[2Jb.log"
    path.write_text("[w\x1b[31min] qemu: (1:m): cpu_in addr 0x10(w) value 18898\n")
    main(["info", str(path)])
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


def test_the_list_of_dissectors_has_every_one_with_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dissectors", "-T", "jsonl"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["name"] for one in listed] == list(dissectors())
    assert all(one["example"] for one in listed)


LINES = [name for name, one in dissectors().items() if one.lines is not None]


@pytest.mark.parametrize("name", LINES)
def test_a_dissector_of_lines_finds_a_needle_in_its_example_and_takes_part_in_reading_it(name: str) -> None:
    one = dissectors()[name]
    assert any(needle.search(one.example) for needle in one.needles)
    assert one.sniff(one.example + b"\n") > 0


def test_the_source_can_be_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "--source", "oxenstored", str(HANDSHAKE)]) == 1
    assert "nothing of the Xen platform device" in capsys.readouterr().err
    assert main(["decode", "--source", "nonesuch", str(HANDSHAKE)]) == 2
    assert "no dissector 'nonesuch'; there are: qemu-log" in capsys.readouterr().err


def test_an_offset_makes_times_of_another_clock_utc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "trace.txt"
    log.write_text("  qemu-system-x86-1234  [001] ....  100.500000: "
                   "tracing_mark_write: cpu_in addr 0x10(w) value 18898\n")
    fields = ["decode", "-T", "fields", "-e", "time_ns,clock", str(log)]
    assert main(fields) == 0
    assert capsys.readouterr().out == "100500000000\ttrace\n"
    assert main([*fields, "--clock-offset", "trace=1795400000.25"]) == 0
    assert capsys.readouterr().out == "1795400100750000000\twall\n"
    assert main([*fields, "--clock-offset", "trace=-200"]) == 0
    assert capsys.readouterr().out == "\t\n", "a time before 1970 is none"


@pytest.mark.parametrize("words", ["sundial=1", "trace", "trace=soon", "trace=1e30"])
def test_an_offset_of_no_clock_or_no_number_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["decode", str(HANDSHAKE), "--clock-offset", words])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


class TestADissectorOfOnesOwn:
    @pytest.fixture
    def installed(self, tmp_path: Path) -> Path:
        """A skeleton, made known as pip makes it known: by the metadata beside its module."""
        assert main(["new-dissector", "my-hypervisor", "-o", str(tmp_path)]) == 0
        package = tmp_path / "xptrace-my-hypervisor"
        told = package / "xptrace_my_hypervisor-0.1.0.dist-info"
        told.mkdir()
        (told / "METADATA").write_text("Metadata-Version: 2.1\nName: xptrace-my-hypervisor\nVersion: 0.1.0\n")
        (told / "entry_points.txt").write_text(
            "[xptrace.dissectors]\nmy-hypervisor = xptrace_my_hypervisor:DISSECTOR\n"
        )
        return package

    @staticmethod
    def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
        return subprocess.run([sys.executable, "-m", "xptrace", *words], env=environment, capture_output=True,
                              text=True, check=False)

    def test_it_is_listed_and_reads_its_lines(self, installed: Path, tmp_path: Path) -> None:
        assert "lines of my-hypervisor" in self.run(installed, "dissectors").stdout
        log = tmp_path / "accesses.txt"
        log.write_text("12.345678 win10 read 0x10 2 0x49d2\n12.345679 win10 write 0x10 2 0x3\n")
        done = self.run(installed, "decode", "-T", "fields", "-e", "vm,direction,register,value", str(log))
        assert done.stdout == "win10\tread\tmagic\t18898\nwin10\twrite\tunplug_mask\t3\n", done.stderr

    def test_its_own_test_passes(self, installed: Path) -> None:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(installed)],
                              env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}, cwd=installed,
                              capture_output=True, text=True, check=False)
        assert "2 passed" in done.stdout, done.stdout + done.stderr

    def test_one_that_cannot_be_loaded_is_named_and_keeps_nobody_from_work(self, installed: Path) -> None:
        (installed / "xptrace_my_hypervisor.py").write_text("raise RuntimeError('\x1b[2Jno')\n")
        listed = self.run(installed, "dissectors").stdout
        assert "my-hypervisor" in listed
        assert "cannot be used: RuntimeError" in listed
        assert "\x1b" not in listed
        assert self.run(installed, "decode", str(HANDSHAKE)).returncode == 0

    def test_one_that_fails_while_it_reads_is_damage_and_not_a_traceback(self, installed: Path, tmp_path: Path) -> None:
        module = installed / "xptrace_my_hypervisor.py"
        module.write_text(module.read_text().replace("        if found is None:", "        if found is not None:\n"
                                                     "            raise KeyError(line)\n        if found is None:"))
        log = tmp_path / "accesses.txt"
        log.write_text("12.345678 win10 read 0x10 2 0x49d2\ncpu_in addr 0x10(w) value 18898\n")
        done = self.run(installed, "decode", str(log), "--ledger")
        assert "Traceback" not in done.stderr
        assert "my-hypervisor failed: KeyError" in done.stderr
        assert "magic 0x49d2" in done.stdout

    @pytest.mark.parametrize("name", ["", "../x", "Name", "class", "-a", "a" * 41, "a--b", "a\x1b"])
    def test_a_name_that_is_none_is_refused(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["new-dissector", "-o", str(tmp_path), "--", name]) == 2
        assert "is no name of a dissector" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_what_is_there_already_is_not_overwritten(self, tmp_path: Path) -> None:
        assert main(["new-dissector", "mine", "-o", str(tmp_path)]) == 0
        assert main(["new-dissector", "mine", "-o", str(tmp_path)]) == 2
