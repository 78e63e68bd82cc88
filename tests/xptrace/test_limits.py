"""What a recording may make xptrace remember is bounded: beyond that it is told that something is missing, and what.

The limits are far beyond what machines do, so they are lowered here.
"""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xptrace.access import correlation, domains, neighbours, owners, reads, spaces, waiting
from xptrace.access.attribution import Reading
from xptrace.access.decode import Decoder
from xptrace.access.domains import Domains, Run
from xptrace.access.rows import Access, Entry, Event
from xptrace.access.stretch import Block
from xptrace.cli import main
from xptrace.cli.progress import PATIENCE, Progress
from xptrace.findings import assess
from xptrace.intake.source import Source
from xptrace.negotiation import story

MAGIC: Final = "cpu_in addr 0x10(w) value 18898"
RESET: Final = "kvm_xen_soft_reset "
Log = Callable[..., Path]
Told = tuple[list[dict[str, Any]], str]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    def write(*lines: str, name: str = "trace.log") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Told]]:
    """Run the command line in this process: the rows that it prints, and what it says."""
    handler = signal.getsignal(signal.SIGINT)

    def told(*arguments: str | Path) -> Told:
        main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()], err

    yield told
    signal.signal(signal.SIGINT, handler)


def entries_of(path: Path) -> list[Entry]:
    return list(Decoder([str(path)]).entries())


def guests(count: int) -> list[str]:
    """A journal of a host, in which each guest reads the magic."""
    return [
        json.dumps({
            "SYSLOG_IDENTIFIER": "qemu-system-i386", "__REALTIME_TIMESTAMP": str(1795557229985211 + number),
            "_CMDLINE": f"qemu-system-i386 -name guest=vm{number}", "MESSAGE": MAGIC, "_PID": "2762",
        })
        for number in range(count)
    ]


# -- VMs


def test_vms_beyond_the_limit_are_told_as_one_and_that_is_said(
    log: Log, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "MOST_VMS", 3)
    rows, said = run("decode", "-T", "jsonl", log(*guests(5), *guests(1)))
    assert [row["vm"] for row in rows] == ["vm0", "vm1", "vm2", "(others)", "(others)", "vm0"]
    assert said.count("names more than 3 VMs") == 1
    assert "6 decoded + 0 other" in said


def test_as_many_vms_as_the_limit_are_told_apart(
    log: Log, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "MOST_VMS", 3)
    rows, said = run("decode", "-T", "jsonl", log(*guests(3)))
    assert [row["vm"] for row in rows] == ["vm0", "vm1", "vm2"]
    assert "VMs" not in said


@pytest.mark.parametrize("command", ["check", "timeline"])
def test_of_vms_beyond_the_limit_the_device_model_is_not_found_out(
    log: Log, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(assess, "MOST_FITS", 2)
    path = log(*guests(3))
    rows, said = run(command, "-T", "jsonl", path)
    assert "of VMs after the first 2, it is not found out which device model" in said
    assert {row["vm"] for row in rows} == {"vm0", "vm1", "vm2"} or command == "check"
    monkeypatch.setattr(assess, "MOST_FITS", 3)
    assert "device model" not in run(command, "-T", "jsonl", path)[1]


@pytest.mark.parametrize("command", ["summary", "check", "timeline"])
def test_what_is_of_boots_beyond_the_limit_is_counted(
    log: Log, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    path = log(MAGIC, RESET, MAGIC, MAGIC, RESET, MAGIC)
    assert "boots" not in run(command, "-T", "jsonl", path)[1]
    monkeypatch.setattr(story, "MOST_BOOTS", 1)
    beyond = [one for one in entries_of(path) if one.boot > 1]
    assert f"{len(beyond)} entries are of boots after the first 1" in run(command, "-T", "jsonl", path)[1]


# -- domains


class Plain:
    """Domains as the documentation of `Domains` says it, by looking through everything."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.runs: dict[int, list[Run]] = {}
        self.taken: dict[tuple[str, int], int] = {}

    def whose(self, domain: int, time_ns: int, clock: str) -> tuple[str, int]:
        if runs := self.runs.get(domain):
            begun = [one for one in runs if one.clock == clock and one.time_ns is not None and one.time_ns <= time_ns]
            return (begun or runs)[-1 if begun else 0][:2]
        name = self.names.get(domain)
        if name is None:
            return f"dom{domain}", 1
        boot = 1 + sum(one == name and other < domain for other, one in self.names.items())
        while self.taken.setdefault((name, boot), domain) != domain:
            boot += 1
        return name, boot


STEPS = st.lists(
    st.tuples(st.sampled_from(["named", "runs", "whose", "whose"]), st.integers(1, 6), st.sampled_from("ab"),
              st.integers(1, 4), st.integers(0, 5), st.sampled_from(["wall", "tsc"])), max_size=40)


@given(STEPS)
def test_whose_a_domain_is_does_not_depend_on_how_it_is_looked_up(
    steps: list[tuple[str, int, str, int, int, str]]
) -> None:
    known, plain = Domains(), Plain()
    for what, domain, name, boot, time_ns, clock in steps:
        if what == "named":
            known.named(domain, name)
            plain.names.setdefault(domain, name)
        elif what == "runs":
            run = Run(name, boot, time_ns, clock)
            known.runs(domain, run)
            runs = plain.runs.setdefault(domain, [])
            if not any(one[:2] == run[:2] for one in runs):
                runs.append(run)
                plain.taken.setdefault((name, boot), domain)
        else:
            assert known.whose(domain, time_ns, clock) == plain.whose(domain, time_ns, clock)
        assert known.taken(name, boot) == plain.taken.get((name, boot))


def test_names_of_domains_beyond_the_limit_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "MOST_NAMES", 1)
    known = Domains()
    known.named(1, "win10")
    known.named(2, "debian")
    assert [known.whose(number, None, None)[0] for number in (1, 2)] == ["win10", "dom2"]


# -- PCI functions


def config(slot: int, offset: int, access: str) -> list[str]:
    """A guest's access to config space, of which QEMU tells no device."""
    return [f"cpu_out addr 0xcf8(l) value {1 << 31 | slot << 11 | offset}", access]


def vendor(slot: int, number: int) -> list[str]:
    return config(slot, 0, f"cpu_in addr 0xcfc(l) value {number}")


def command(slot: int, number: int) -> list[str]:
    return config(slot, 4, f"cpu_out addr 0xcfc(w) value {number}")


XEN: Final = 0x0001_5853
OTHER: Final = 0x7000_8086


def told(path: Path) -> list[tuple[int | None, int | None]]:
    """Slot and value of each access to config space that is one to Xen's functions."""
    return [
        (one.function.number >> 3 if one.function else None, one.value)
        for one in entries_of(path) if isinstance(one, Access)
    ]


def test_of_accesses_that_wait_for_their_function_the_oldest_go(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    path = log(*command(2, 1), *command(2, 2), *command(2, 3), *vendor(2, XEN))
    assert told(path) == [(2, 1), (2, 2), (2, 3), (2, XEN)]
    monkeypatch.setattr(waiting, "MOST_HELD", 2)
    assert told(path) == [(2, 2), (2, 3), (2, XEN)]


def test_functions_that_are_not_xens_are_forgotten_first(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "MOST_FUNCTIONS", 3)
    others = [line for slot in range(8, 20) for line in vendor(slot, OTHER)]
    path = log(*vendor(2, XEN), *command(3, 1), *others, *vendor(3, XEN), *command(2, 7))
    assert told(path) == [(2, XEN), (3, 1), (3, XEN), (2, 7)]


def test_nobody_waits_for_a_function_that_was_forgotten(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "MOST_FUNCTIONS", 2)
    path = log(*command(3, 1), *command(4, 1), *command(5, 1), *vendor(4, OTHER), *vendor(5, OTHER), *[MAGIC] * 20)
    decoder = Decoder([str(path)])
    first = next(decoder.rows())
    assert isinstance(first, Access)
    assert (first.value, decoder.ledgers[0].total.bytes) == (18898, 0)  # it did not wait for the end


def bars(count: int) -> list[str]:
    return [f"pci_update_mappings_add piix3-usb-uhci 00:01.2 {bar},0x{0xC000 + 0x100 * bar:x}+0x20"
            for bar in range(count)]


def test_of_the_bars_of_others_the_oldest_are_forgotten(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_NEIGHBOURS", 2)
    found = [one.said for one in entries_of(log(*bars(4), MAGIC)) if isinstance(one, Event)]
    assert [any(base in said for said in found) for base in ("c000", "c100", "c200", "c300")] == [
        False, False, True, True]


# -- several recordings


def test_sightings_beyond_the_room_for_all_are_counted(
    log: Log, run: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = log(*[MAGIC] * 6, name="a.log"), log(*[MAGIC] * 6, name="b.log")
    rows, said = run("correlate", "-T", "jsonl", *both)
    assert (rows[0]["matches"], "not compared" in said) == (6, False)
    monkeypatch.setattr(correlation, "ROOM", correlation._WORDS + 9 * correlation._SIGHTING)
    rows, said = run("correlate", "-T", "jsonl", *both)
    assert rows[0]["matches"] < 6
    assert rows[0]["other_sightings"] == 6  # those that are not compared are counted
    assert "sightings are not compared" in said


# -- interrupts


def stop_within(path: Path, *, after: int, bulk: bool) -> tuple[Decoder, list[dict[str, Any]]]:
    """Decode until so many rows have come, and then as far as it goes on."""
    decoder, found = Decoder([str(path)]), list[dict[str, Any]]()
    for row in decoder.blocks() if bulk else decoder.rows():
        found += list(row.rows()) if isinstance(row, Block) else [row.row()]
        decoder.stopped = len(found) >= after
    return decoder, found


@pytest.mark.parametrize("bulk", [False, True], ids=["rows", "blocks"])
@pytest.mark.parametrize("lines", [
    [MAGIC], ["noise", MAGIC], [MAGIC, "noise", "noise"], ["cpu_in addr 0xcfc(l) value 1", MAGIC, "noise"],
], ids=["dense", "between", "apart", "mixed"])
def test_a_window_is_not_read_to_its_end_and_the_account_is_of_what_was_read(
    log: Log, monkeypatch: pytest.MonkeyPatch, lines: list[str], bulk: bool
) -> None:
    """It ends as if the recording did there."""
    monkeypatch.setattr(reads, "_OFTEN", 8)
    monkeypatch.setattr(reads, "LARGE", 1 if bulk else reads.LARGE)  # small ones are not read in bulk
    monkeypatch.setattr(reads, "_FEW", 256)
    path = log(*lines * 400)
    decoder, found = stop_within(path, after=5, bulk=bulk)
    (ledger,) = decoder.ledgers
    content = path.read_bytes()
    assert 0 < ledger.total.bytes < len(content) // 4
    part = log(name="part.log")
    part.write_bytes(content[: ledger.total.bytes])
    whole = Decoder([str(part)])
    assert [{**row.row(), "source": str(path), "vm": "trace"} for row in whole.rows()] == found
    assert list(whole.ledgers[0].rows()) == list(ledger.rows())
    assert ledger.total.lines == content[: ledger.total.bytes].count(b"\n")


def test_what_is_passed_over_is_not_still_to_be_read(log: Log) -> None:
    decoder = Decoder([str(log(*[MAGIC] * 10))])
    assert decoder.size == 10 * (len(MAGIC) + 1)

    def begin_late(reading: Reading) -> None:
        reading.source.begin, reading.source.begin_lines = 4 * (len(MAGIC) + 1), 4

    decoder.on_source = begin_late
    assert len(list(decoder.rows())) == 6
    assert decoder.size == decoder.ledgers[0].total.bytes == 6 * (len(MAGIC) + 1)


def test_progress_tells_the_part_of_what_is_to_be_read(log: Log) -> None:
    """A source is passed over in part when its turn has come, which is after progress has begun."""
    (source,) = sources = (Source(str(log(*[MAGIC] * 10))),)
    terminal, times = io.StringIO(), iter([0.0, 2 * PATIENCE])
    progress = Progress(terminal, lambda: next(times))
    progress.begins(Decoder([], sources=sources))
    source.begin = 5 * (len(MAGIC) + 1)
    progress(4 * (len(MAGIC) + 1))
    assert " of 160 B (80 %)" in terminal.getvalue()
