"""A simpletrace recording decodes to what the text log of the same run decodes to, and to what QEMU's reader says.

What the format cannot hold is written down here: the base of its time, and what QEMU had not written out.
"""

from __future__ import annotations

import ast
import gzip
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.simpletrace import SimpleTrace
from dissectors.qemu.simpletrace_records import Records, records
from dissectors.qemu.textlog import TextLog
from dissectors.record import Loss, Record
from tests.conftest import CORPUS, DATA
from tests.xptrace.test_golden import read_text
from xptrace.access.decode import Decoder
from xptrace.intake import source

ORACLE = CORPUS / "recorded" / "qemu-oracle"
SHIPPED = [path.parent for path in sorted((DATA / "qemu-oracle").glob("*/*/trace.bin.gz"))]

NOT_WRITTEN_OUT = {
    "10.0.13/11-unplug-repeat", "10.0.13/11c-unplug-repeat-bridge-nic", "10.0.13/18-legacy-bar0-split",
    "7.2.22/11-unplug-repeat", "7.2.22/11c-unplug-repeat-bridge-nic", "7.2.22/11d-unplug-repeat-isa-nic",
    "7.2.22/18-legacy-bar0-split",
}  # fmt: skip
"""QEMU aborted with all of its records still in the ring: the file has the names alone."""

MISSING_LINES = {"72-simple-dropped": (slice(0, 15), slice(4209, 5236))}
"""Lines of the text log that have no record: those from before `trace-file on`, which empties the file, and 1027 that
came while the ring was full, told of by the first record."""
DROPPED_RECORDS = {"72-simple-dropped": 1027}

SPLIT_ELSEWHERE = {"71-toggle-hmp"}
"""The text went on in a second file (`logfile`) before the records did (`trace-file set`); of both, all is there."""

APART = ("time_ns", "clock", "source", "offset", "line", "vm")
"""What differs by the kind of recording alone."""


def rows(path: Path, trace_events: Sequence[str] = ()) -> list[dict[str, Any]]:
    found = [row.row() for row in Decoder([str(path)], trace_events).rows()]
    return [{key: value for key, value in row.items() if key not in APART} for row in found]


def log_beside(recording: Path) -> Path:
    stem = recording.name.partition(".")[0]
    patterns = (f"{stem}.log*", "trace-[0-9]*.log", "trace-tid-*.log", "stderr.txt")
    return next(path for pattern in patterns for path in sorted(recording.parent.glob(pattern)))


def scenario_of(recording: Path) -> str:
    return "/".join(recording.relative_to(ORACLE).parts[:-1])


def text_records(log: bytes) -> list[tuple[str, dict[str, Any]]]:
    reader = TextLog(Given("log", catalogue.load()))
    lines = log.splitlines()
    return [
        (read.event, dict(read.values))
        for number, line in enumerate(lines) for read in reader.read(line, 0, number, len(line))
        if isinstance(read, Record)
    ]  # fmt: skip


def binary_records(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    found = SimpleTrace(Given("bin", catalogue.load())).read([data])
    return [(read.event, dict(read.values)) for read in found if isinstance(read, Record)]


@pytest.fixture(scope="session")
def recordings(corpus: Path) -> list[Path]:
    found = sorted((corpus / "recorded" / "qemu-oracle").glob("*/**/trace*.bin.gz"))
    assert len(found) == 207
    return found


class TestBesideTheTextLog:
    @pytest.mark.parametrize("scenario", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_shipped_recordings_decode_to_the_same(self, scenario: Path) -> None:
        decoded = rows(scenario / "trace.bin.gz")
        assert decoded == rows(scenario / "trace.log")
        assert len(decoded) > 30

    def test_two_recordings_are_shipped(self) -> None:
        assert {scenario.parent.name for scenario in SHIPPED} == {"7.2.22", "10.0.13"}

    def test_every_recording_decodes_to_the_same(self, recordings: list[Path]) -> None:
        different = {
            scenario_of(recording) for recording in recordings if rows(recording) != rows(log_beside(recording))
        }
        assert {name for name in different if name.split("/")[1] not in MISSING_LINES.keys() | SPLIT_ELSEWHERE} == (
            NOT_WRITTEN_OUT
        )

    def test_nothing_of_a_ring_that_was_not_written_out(self, recordings: list[Path]) -> None:
        for recording in recordings:
            if scenario_of(recording) in NOT_WRITTEN_OUT:
                assert rows(recording) == []

    @pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
    @pytest.mark.parametrize("name", MISSING_LINES)
    def test_dropped_records_are_the_only_ones_missing(self, corpus: Path, version: str, name: str) -> None:
        scenario = corpus / "recorded" / "qemu-oracle" / version / name
        lines = text_records(read_text(scenario / "trace.log.gz"))
        for missing in reversed(MISSING_LINES[name]):
            del lines[missing]
        data = read_text(scenario / "trace.bin.gz")
        assert binary_records(data) == lines
        (loss,) = (read for read in SimpleTrace(Given("bin", catalogue.load())).read([data]) if isinstance(read, Loss))
        assert loss.reason == f"{DROPPED_RECORDS[name]} records are missing here"

    @pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
    @pytest.mark.parametrize("name", sorted(SPLIT_ELSEWHERE))
    def test_two_files_one_after_the_other_hold_all(
        self, corpus: Path, tmp_path: Path, version: str, name: str
    ) -> None:
        scenario = corpus / "recorded" / "qemu-oracle" / version / name
        binary, text = tmp_path / "trace-1", tmp_path / "trace.log"
        binary.write_bytes(b"".join(read_text(scenario / one) for one in ("trace.bin.gz", "trace2.bin.gz")))
        text.write_bytes(b"".join(read_text(scenario / one) for one in ("trace.log", "trace2.log")))
        assert rows(binary) == rows(text)

    @pytest.mark.parametrize("version", ["7.2.22", "10.0.13", "10.2.2"])
    def test_a_build_s_own_declarations_change_nothing(self, corpus: Path, tmp_path: Path, version: str) -> None:
        folder = corpus / "recorded" / "qemu-oracle" / version
        declared = tmp_path / "trace-events-all"
        declared.write_bytes(read_text(folder / "trace-events-all.gz"))
        for scenario in ("03-linux-negotiation", "70-format-j-trace-all"):
            recording = folder / scenario / "trace.bin.gz"
            assert rows(recording, trace_events=[str(declared)]) == rows(recording) != []

    def test_memory_and_rows_do_not_depend_on_chunks(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = data / "qemu-oracle" / "10.0.13" / "44-bar0-decode" / "trace.bin.gz"
        whole = rows(path)
        for size in (50, 1500, 10007):
            monkeypatch.setattr(source, "WINDOW", size)
            assert rows(path) == whole


VALUE = r"(?:0x[0-9a-f]+|b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")"
LINE = re.compile(rf"(\w+) (-?\d+\.\d{{3}}) pid=(\d+)((?: \w+={VALUE})*) ?")
PAIR = re.compile(rf" (\w+)=({VALUE})")


def qemu_s_reader(path: Path) -> Iterator[tuple[str, str, int, dict[str, int | bytes]]]:
    """(event, microseconds since the record before, process id, arguments) as scripts/simpletrace.py prints them."""
    for line in read_text(path).decode("ascii").splitlines():
        found = LINE.fullmatch(line)
        assert found is not None, line
        values = {key: ast.literal_eval(value) for key, value in PAIR.findall(found[4])}
        yield found[1], found[2], int(found[3]), values


def on_the_wire(value: int | bytes | None) -> int | bytes:
    if isinstance(value, int):
        return value & (1 << 64) - 1
    return value if isinstance(value, bytes) else 0


def check_with_qemu_s_reader(scenario: Path) -> None:
    told = next(scenario.glob("simpletrace.txt*"))
    ours = {name.decode() for name in catalogue.load().names}
    printed = list(qemu_s_reader(told))
    expected = [(name, pid, values) for name, _, pid, values in printed if name in ours]
    found = [
        read for read in SimpleTrace(Given("bin", catalogue.load())).read([read_text(scenario / "trace.bin.gz")])
        if isinstance(read, Record)
    ]  # fmt: skip
    assert len(found) == len(expected)
    declarations = catalogue.load().declarations
    for read, (name, pid, values) in zip(found, expected, strict=True):
        characters = {
            one.name for form in declarations(name.encode()) for one in form.arguments
            if one.ctype == "char"
        }  # fmt: skip
        wire = {
            key: value[0] if key in characters and isinstance(value, bytes) else on_the_wire(value)
            for key, value in read.values.items()
        }
        assert (read.event, read.thread, wire) == (name, pid, values)
    if len(expected) == len(printed):
        times = [read.time_ns for read in found]
        assert [
            f"{((after or 0) - (before or 0)) / 1000:.3f}" for before, after in pairwise(times)
        ] == [delta for _, delta, _, _ in printed[1:]]


class TestBesideQemuSReader:
    @pytest.mark.parametrize("scenario", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_shipped_recordings_are_read_as_qemu_reads_them(self, scenario: Path) -> None:
        check_with_qemu_s_reader(scenario)

    def test_every_recording_is_read_as_qemu_reads_it(self, recordings: list[Path]) -> None:
        first = [one.parent for one in recordings if one.name == "trace.bin.gz"]
        told = [scenario for scenario in first if list(scenario.glob("simpletrace.txt*"))]
        assert len(told) == len(recordings) - 2 - len(NOT_WRITTEN_OUT)  # two are second files, that QEMU did not read
        for scenario in told:
            check_with_qemu_s_reader(scenario)


# -- older versions: a recording of today, written as QEMU of another time would have


def older(data: bytes, version: int, build: Catalogue, declared: Records) -> bytes:
    """The events of a file of version 4 in an older version, numbered by the build's declarations."""
    numbered = [one for one in build.ordered if version == 3 or not one.disabled]
    numbers = {one.name: number for number, one in enumerate(numbered)}
    parts, names = [declared.header.build({"version": version, "unused": [0] * 5})], {}
    for one in declared.file.parse(data).records:
        if one.type == 0:
            names[one.body.event] = one.body.name.decode()
            continue
        number, event = numbers[names[one.body.event]], one.body
        if version:
            parts.append(declared.event.build({
                "event": number, "time_ns": event.time_ns, "pid": event.pid if version == 3 else 0,
                "arguments": event.arguments,
            }))  # fmt: skip
            continue
        wire = list(struct.unpack(f"<{len(event.arguments) // 8}Q", event.arguments))
        fixed = {"event": number, "time_ns": event.time_ns, "arguments": wire + [0] * (6 - len(wire))}
        parts.append(declared.fixed.build(fixed))
    return b"".join(parts)


class TestOlderVersions:
    @pytest.mark.parametrize("version", [2, 3])
    def test_with_the_build_s_declarations_an_old_recording_decodes(
        self, corpus: Path, tmp_path: Path, version: int
    ) -> None:
        folder = corpus / "recorded" / "qemu-oracle" / "10.0.13"
        declared, old = tmp_path / "trace-events-all", tmp_path / "trace-1"
        declared.write_bytes(read_text(folder / "trace-events-all.gz"))
        for scenario in ("03-linux-negotiation", "70-format-j-trace-all"):
            data = read_text(folder / scenario / "trace.bin.gz")
            old.write_bytes(older(data, version, catalogue.load([declared]), records("little")))
            assert rows(old, trace_events=[str(declared)]) == rows(folder / scenario / "trace.bin.gz")

    def test_without_them_it_says_what_to_give(self, xptrace: Callable[..., Any], tmp_path: Path) -> None:
        old = tmp_path / "trace-1"
        old.write_bytes(records("big").header.build({"version": 2}) + bytes(100))
        done = xptrace("decode", "--ledger", old)
        assert (done.code, done.out) == (1, "")
        assert f"{old}:1 @0: simpletrace of version 2 knows events by number only: give the trace-events" in done.err
        assert "0 decoded + 0 other + 1 damaged + 0 lost = 1 lines, 124 B" in done.err

    def test_version_0_holds_the_accesses_and_no_texts(self, tmp_path: Path) -> None:
        """QEMU 1.0 did not trace the size of an access either."""
        declared, old, log = tmp_path / "trace-events", tmp_path / "trace-1", tmp_path / "trace.log"
        declared.write_text(
            'disable off(void) ""\n'
            'cpu_out(unsigned int addr, unsigned int val) "addr %#x value %u"\n'
            'xen_platform_log(char *s) "xen platform: %s"\n'
        )
        written = records("little")
        parts, lines = [written.header.build({"version": 0, "unused": [0] * 5})], []
        for time_ns, character in enumerate(b"ok\n"):
            event = {"event": 0, "time_ns": time_ns, "arguments": [0x12, character, 0, 0, 0, 0]}
            parts.append(written.fixed.build(event))
            lines.append(f"cpu_out addr 0x12 value {character}\n")
        parts.append(written.fixed.build({"event": 1, "time_ns": 4, "arguments": [0x7F00, 0, 0, 0, 0, 0]}))
        old.write_bytes(b"".join(parts))
        log.write_text("".join(lines))
        assert rows(old, trace_events=[str(declared)]) == rows(log)
        assert len(rows(log)) == 3


class TestTheLedger:
    def test_every_record_is_accounted_for(self, xptrace: Callable[..., Any], data: Path) -> None:
        done = xptrace("decode", "--ledger", data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz")
        assert done.code == 0
        # 65 lines of the text log; 3517 names and a header
        assert "65 decoded + 3518 other + 0 damaged + 0 lost = 3583 lines" in done.err

    def test_a_record_that_was_broken_off(self, xptrace: Callable[..., Any], data: Path, tmp_path: Path) -> None:
        path = tmp_path / "trace-1"
        whole = read_text(data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz")
        path.write_bytes(whole[:-10])
        done = xptrace("decode", "--ledger", path)
        assert "64 decoded + 3518 other + 1 damaged + 0 lost = 3583 lines" in done.err
        assert "broken off in the middle of a record" in done.err

    def test_a_truncated_container_gives_what_it_holds(
        self, xptrace: Callable[..., Any], data: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "trace-1.gz"
        recording = data / "qemu-oracle" / "10.0.13" / "44-bar0-decode" / "trace.bin.gz"
        packed = gzip.compress(read_text(recording) * 4)
        path.write_bytes(packed[: len(packed) // 2])
        done = xptrace("decode", "-T", "jsonl", path)
        assert done.code == 0
        assert len(done.rows) >= len(rows(recording))
        assert "broken off" in done.err

    def test_standard_input(self, xptrace: Callable[..., Any], data: Path) -> None:
        recording = data / "qemu-oracle" / "10.0.13" / "44-bar0-decode" / "trace.bin.gz"
        piped = xptrace("decode", "-T", "jsonl", "-", stdin=read_text(recording))
        assert len(piped.rows) == len(rows(recording))

    def test_the_clock_is_no_date(self, xptrace: Callable[..., Any], data: Path) -> None:
        recording = data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz"
        assert re.match(r"\d+\.\d{6}  ", xptrace("decode", recording).out)
        assert {row["clock"] for row in xptrace("decode", "-T", "jsonl", recording).rows} == {"monotonic"}

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(choice=st.data())
    def test_flipped_bits_never_raise_and_the_account_adds_up(
        self, data: Path, tmp_path: Path, choice: st.DataObject
    ) -> None:
        whole = read_text(data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz")
        raw = bytearray(whole[choice.draw(st.sampled_from([0, 0, 0, 24])):])
        events = len(raw) - 6000
        places = st.one_of(st.integers(0, len(raw) * 8 - 1), st.integers(events * 8, len(raw) * 8 - 1))
        for place in choice.draw(st.lists(places, min_size=1, max_size=12)):
            raw[place // 8] ^= 1 << place % 8
        path = tmp_path / "trace-1"
        path.write_bytes(bytes(raw[: choice.draw(st.one_of(st.just(len(raw)), st.integers(1, len(raw))))]))
        decoder = Decoder([str(path)], dissector="simpletrace")
        list(decoder.entries())
        (ledger,) = decoder.ledgers
        accounts = {kind: (size, lines) for kind, size, lines in ledger.rows()}
        assert accounts["read"][0] == path.stat().st_size
        for position in (0, 1):
            assert all(account[position] >= 0 for account in accounts.values())
            assert sum(accounts[kind][position] for kind in ("decoded", "other", "damaged", "lost")) == (
                accounts["read"][position]
            )

    def test_memory_does_not_grow_with_the_file(self, data: Path, tmp_path: Path) -> None:
        recording = data / "qemu-oracle" / "7.2.22" / "03-linux-negotiation" / "trace.bin.gz"
        whole = read_text(recording)
        at = whole.index(b"breakpoint_insert") - 4 - 8
        foreign = struct.pack("<QQQII", 1, int.from_bytes(whole[at : at + 8], "little"), 7, 24 + 40, 9) + bytes(40)
        path = tmp_path / "trace-1"
        with path.open("wb") as file:
            file.write(whole)
            for _ in range(100):
                file.write(foreign * (1_000_000 // len(foreign)))
            file.write(whole)
            file.write(bytes(20_000_000))
        program = (
            "import re, sys\n"
            "from xptrace.cli import main\n"
            "main(['decode', '-T', 'jsonl', sys.argv[1]])\n"
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
        )
        command = [sys.executable, "-c", program, str(path)]
        *found, peak_mib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(found) == 2 * len(rows(recording))
        assert int(peak_mib) < 90
