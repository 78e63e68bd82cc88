"""xentrace's binary is read as construct declares it: every access to a port of interest, whose it is, and in order."""

from __future__ import annotations

import lzma
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from construct import ConstructError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.kernel import chosen_kernel
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen import xentrace, xentrace_block
from dissectors.xen.xentrace import DISSECTOR, XenTrace, sniff
from dissectors.xen.xentrace_records import CPU_CHANGE, RECORD, WINDOW

READ, WRITE = 1, 0
IO_READ, IO_WRITE, OLD_READ, OLD_WRITE = 0x82016, 0x82216, 0x82006, 0x82007
EXIT, LOST, CONTINUES = 0x81102, 0x1F001, 0x21002
STARTS, STOPS, WAITS = 0x21101, 0x21011, 0x21121
"""A vCPU that was ready runs; one that ran waits; one that does not run goes to sleep."""


@pytest.fixture(scope="module", params=["numpy", "kernel"], autouse=True)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything is read by numpy, block by block, and by the kernel (its twin where it is not built), step by step."""
    kernel = None
    if request.param == "kernel":
        kernel = chosen_kernel() or import_module("dissectors.kernel.twin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xentrace, "chosen_kernel", lambda: kernel)
        yield


def given_as(tsc_hz: float | None = None) -> Given:
    return Given("xentrace.bin", catalogue.load(), tsc_hz=tsc_hz)


def read(data: bytes, size: int = 1 << 22, tsc_hz: float | None = None) -> list[Record | Damage | Loss]:
    return list(XenTrace(given_as(tsc_hz)).read(data[at : at + size] for at in range(0, len(data), size)))


def accesses(found: Iterable[object]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def record(event: int, *words: int, tsc: int | None = None) -> bytes:
    header = {"timed": tsc is not None, "extra": len(words), "event": event}
    return bytes(RECORD.build({"header": header, "tsc": tsc, "words": words}))


def window(cpu: int, *records: bytes, size: int | None = None) -> bytes:
    body = b"".join(records)
    return bytes(CPU_CHANGE.build({"cpu": cpu, "size": len(body) if size is None else size})) + body


def vcpu(domain: int, number: int) -> int:
    return domain << 16 | number


def told(one: Record) -> tuple[Any, ...]:
    """Direction, port, value, domain and vCPU."""
    return one.values["dir"], one.values["addr"], one.values["val"], one.domain, one.values["cpu_index"]


# -- recordings


HANDSHAKE = [
    (READ, 0x10, 0x49D2), (READ, 0x12, 1), (WRITE, 0x12, 3), (WRITE, 0x10, 1), (READ, 0x10, 0x49D2), (WRITE, 0x10, 3)
]  # fmt: skip


def test_the_six_accesses_of_linux_are_told_without_a_domain_where_the_scheduler_was_not_recorded(data: Path) -> None:
    found = accesses(read((data / "xentrace" / "linux-default.bin").read_bytes(), tsc_hz=1e9))
    assert [told(one) for one in found] == [(*what, None, None) for what in HANDSHAKE]
    times = [786407764960, 786414087150, 786417740771, 786423469741, 786428034617, 786431835237]
    assert [one.time_ns for one in found] == times
    begin = 33298324  # where this window begins in the recording
    assert [one.offset + begin for one in found] == [
        0x01FC191C, 0x01FC1AA4, 0x01FC1B80, 0x01FC1DB4, 0x01FC1FE8, 0x01FC20C4
    ]  # fmt: skip
    assert found[0].raw == bytes.fromhex("1620082010000000d2490000")
    assert {(one.length, one.clock, one.values["size"], one.values["count"]) for one in found} == {(12, "tsc", None, 1)}


def test_two_guests_are_told_apart_by_what_the_scheduler_set_running(data: Path) -> None:
    found = read((data / "xentrace" / "two-guests.bin").read_bytes())
    assert [told(one) for one in accesses(found)] == [(*what, guest, 0) for guest in (1, 2) for what in HANDSHAKE]
    assert len(found) == 12


def test_a_string_access_that_memory_serves_has_neither_value_nor_count(data: Path) -> None:
    found = accesses(read((data / "xentrace" / "windows-like.bin").read_bytes()))
    assert [told(one)[:3] for one in found] == [
        (READ, 0x10, 0x49D2), (READ, 0x12, 1), (WRITE, 0x12, 0xFFFF), (WRITE, 0x10, 0x90000), (READ, 0x10, 0x49D2),
        (WRITE, 0x12, None), (WRITE, 0x12, None), (WRITE, 0x10, 1),
    ]  # fmt: skip
    assert [one.values["count"] for one in found] == [1, 1, 1, 1, 1, None, None, 1]
    assert found[5].raw == bytes.fromhex("1622081012000000")
    assert {(one.domain, one.values["cpu_index"]) for one in found} == {(1, 0)}


def test_the_answer_of_nobody_is_a_value_as_recorded(data: Path) -> None:
    (one,) = accesses(read((data / "xentrace" / "no-platform-pci.bin").read_bytes()))
    assert told(one) == (READ, 0x10, 0xFFFFFFFF, 1, 0)


def test_zeroes_behind_the_last_window_are_damage(data: Path) -> None:
    path = data / "xentrace" / "no-platform-pci-tail.bin"
    (damage,) = read(path.read_bytes())
    assert isinstance(damage, Damage)
    assert (damage.offset, damage.length) == (3324, 738 * 4)  # 738 words, by the recording's statistics


def test_a_public_recording_of_eight_processors(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xentrace_block, "PORTS", (range(0x10000),))
    path = corpus / "public" / "bin" / "xentrace-8pcpu-hvm.bin"
    reader = XenTrace(given_as())
    found = list(reader.read([path.read_bytes()]))
    assert reader.records == 180_680
    assert len(accesses(found)) == 105
    assert {(one.domain, one.values["cpu_index"]) for one in accesses(found)} == {(14, 1), (14, 2), (14, 3)}
    times = [one.time_ns or 0 for one in accesses(found)]
    assert times == sorted(times)
    assert not any(isinstance(one, Damage) for one in found)


def test_the_first_windows_of_that_recording(corpus: Path) -> None:
    data = (corpus / "public" / "bin" / "xentrace-8pcpu-first5windows.bin").read_bytes()
    found = accesses(read(data))
    assert found[0].offset == 19460
    assert [(one.values["dir"], one.domain, one.values["cpu_index"]) for one in found] == [(READ, 14, 2)] * 6


RAW = re.compile(
    r"off=0x(?P<offset>\w+) raw=(?P<raw>\w+) .* (?P<dir>READ|WRITE) +port=0x(?P<port>\w+) data=(?:0x)?(?P<data>\S+) "
    r"cpu=0 last_tsc=(?P<tsc>\d+)"
)


def expected_of(folder: Path) -> list[tuple[Any, ...]]:
    """The accesses that another program found in the recording."""
    rows = (RAW.match(line) for line in (folder / "xentrace.ports10-1f.raw.txt").read_text().splitlines())
    return [
        (int(row["offset"], 16), row["raw"], int(row["dir"] == "READ"), int(row["port"], 16),
         None if row["data"] == "-" else int(row["data"], 16), int(row["tsc"]))
        for row in rows if row
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "records", "lost", "domains"),
    [
        ("all-events", 892_584, 326_211, {1}),
        pytest.param("two-guests", 3_202_287, 343_402, {1, 2}, marks=pytest.mark.slow),
        pytest.param("migrate-local", 1_034_864, 326_037, {1, 2}, marks=pytest.mark.slow),
        pytest.param("linux-default", 2_206_521, 365_765, {None}, marks=pytest.mark.slow),
    ],
)
def test_a_whole_recording_tells_what_another_program_found_in_it(
    corpus: Path, folder: str, records: int, lost: int, domains: set[int | None]
) -> None:
    path = corpus / "recorded" / "real-xen" / folder
    reader = XenTrace(given_as(1e9))
    with lzma.open(path / "xentrace.bin.xz") as file:
        found = list(reader.read(iter(lambda: file.read(1 << 20), b"")))
    ours = [one for one in accesses(found) if one.integer("addr") in range(0x10, 0x20)]
    assert [
        (one.offset, one.raw.hex(), one.values["dir"], one.values["addr"], one.values["val"], one.time_ns)
        for one in ours
    ] == expected_of(path)
    assert {one.domain for one in ours} == domains
    assert reader.records == records
    assert [one.reason for one in found if isinstance(one, Loss)] == [f"{lost} records are missing here"]


# -- whose an access is, and when


def one_access(*records: bytes) -> Record:
    found = read(window(0, *records))
    return accesses(found)[-1]


ACCESS = record(IO_WRITE, 0x10, 3)


@pytest.mark.parametrize(
    ("records", "whose"),
    [
        ([record(STARTS, vcpu(5, 2), tsc=9)], (5, 2)),
        ([record(CONTINUES, vcpu(5, 2), tsc=9)], (5, 2)),
        ([record(STARTS, vcpu(5, 2), tsc=9), record(WAITS, vcpu(6, 0), tsc=10)], (5, 2)),
        ([record(STARTS, vcpu(5, 2), tsc=9), record(STOPS, vcpu(5, 2), tsc=10)], (None, None)),
        ([record(STARTS, vcpu(5, 2), tsc=9), record(STOPS, vcpu(5, 2), tsc=10), record(0x21301, vcpu(6, 1), tsc=11)],
         (6, 1)),
        ([record(STARTS, vcpu(0x7FFF, 3), tsc=9)], (None, None)),  # the idle domain
        ([record(STARTS, vcpu(0x7FF0, 0), tsc=9)], (None, None)),  # the first that is reserved
        ([record(STARTS, vcpu(0x7FEF, 0), tsc=9)], (0x7FEF, 0)),
        ([record(LOST, 7, 0, 1, 0, tsc=9)], (None, None)),  # what ran then need not run now
        ([record(STARTS, vcpu(5, 2), tsc=9), record(LOST, 7, 0x10004, 1, 0, tsc=10)], (4, 1)),
        ([record(LOST, 7, 0x10004, 1, 0, tsc=9), record(STARTS, vcpu(5, 2), tsc=10)], (5, 2)),
        ([], (None, None)),
    ],
)
def test_whose_an_access_is_follows_from_the_last_scheduling_record(
    records: list[bytes], whose: tuple[int | None, int | None]
) -> None:
    found = one_access(*records, ACCESS)
    assert (found.domain, found.values["cpu_index"]) == whose


def test_the_time_is_that_of_the_last_record_of_the_processor_that_has_one() -> None:
    exit_, entry = record(EXIT, 0x7B, 1, 0, tsc=2400), record(0x81001, tsc=4800)
    data = window(0, exit_, record(0x82013, 7), ACCESS) + window(1, entry, ACCESS) + window(0, ACCESS)
    assert [(one.time_ns, one.line) for one in accesses(read(data))] == [(1000, 4), (1000, 9), (2000, 7)]
    assert [one.time_ns for one in accesses(read(data, tsc_hz=1.2e9))] == [2000, 2000, 4000]


@pytest.mark.parametrize("tsc_hz", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_frequency_that_cannot_be_is_not_believed(tsc_hz: float | None) -> None:
    assert one_access_at(2400, tsc_hz) == 1000


def one_access_at(tsc: int, tsc_hz: float | None) -> int | None:
    (found,) = accesses(read(window(0, record(EXIT, 1, 1, 1, tsc=tsc), ACCESS), tsc_hz=tsc_hz))
    return found.time_ns


def test_a_trace_without_any_time_keeps_the_order_of_the_file() -> None:
    found = accesses(read(window(3, record(IO_WRITE, 0x10, 1)) + window(1, record(IO_WRITE, 0x10, 2))))
    assert [(one.values["val"], one.time_ns, one.clock) for one in found] == [(1, None, None), (2, None, None)]


def test_what_runs_and_the_time_go_on_from_window_to_window_but_not_into_another_recording() -> None:
    first = window(0, record(STARTS, vcpu(5, 2), tsc=5000)) + window(0, ACCESS)
    again = window(0, record(EXIT, 0x7B, 1, 0, tsc=100), ACCESS)
    assert [(one.time_ns, one.domain) for one in accesses(read(first + again, tsc_hz=1e9))] == [(5000, 5), (100, None)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (record(IO_READ, 0xCF8), (READ, 0xCF8, None, None, None)),
        (record(IO_WRITE, 0xCFF, 1), (WRITE, 0xCFF, 1, None, None)),
        (record(IO_WRITE, 0xC104, 1), (WRITE, 0xC104, 1, None, None)),
        (record(IO_WRITE, 0x0D, 1), (WRITE, 0x0D, 1, None, None)),
        (record(IO_WRITE, 0xFFFF, 1), (WRITE, 0xFFFF, 1, None, None)),
        (record(OLD_READ, 0x10, 2), (READ, 0x10, None, None, None)),
        (record(OLD_READ, 0x10004, 0x10, 2), (READ, 0x10, None, 4, 1)),
        (record(OLD_WRITE, 0x10004, 0x10, 2, 3), (WRITE, 0x10, 3, 4, 1)),
    ],
)
def test_every_form_of_an_access(raw: bytes, expected: tuple[Any, ...]) -> None:
    (found,) = accesses(read(window(0, raw)))
    assert told(found) == expected
    assert (found.raw, found.offset, found.length, found.line) == (raw, 12, len(raw), 2)
    assert found.values["size"] == (2 if found.raw[0] in (6, 7) else None)


@pytest.mark.parametrize("port", [0x0C, 0x20, 0x70, 0xCF7, 0xD00, 0xBFFF])
def test_other_ports_are_not_told_of(port: int) -> None:
    for event in (IO_READ, IO_WRITE):
        assert read(window(0, record(event, port, 1), record(event, port))) == []
    assert read(window(0, record(OLD_READ, port, 2), record(OLD_WRITE, 0x10, port, 2))) == []


@pytest.mark.parametrize(
    "raw", [record(IO_READ), record(IO_READ, 0x10, 1, 2), record(IO_WRITE, 0x10010, 1), record(OLD_READ, 0x10)[:8]]
)
def test_an_access_that_cannot_be_is_damage_and_the_next_is_read(raw: bytes) -> None:
    found = read(window(0, raw, ACCESS))
    if raw[0] == 6:
        assert told(accesses(found)[0])[:3] == (READ, 0x10, None)
    else:
        assert [(type(one), one.offset) for one in found] == [(Damage, 12), (Record, 12 + len(raw))]


def test_lost_records_are_a_loss_in_their_place() -> None:
    found = read(window(0, record(EXIT, 1, 1, 1, tsc=1), ACCESS, record(LOST, 77, 0, 5, 0, tsc=2), ACCESS))
    assert [type(one) for one in found] == [Record, Loss, Record]
    assert isinstance(found[1], Loss)
    assert (found[1].reason, found[1].offset, found[1].length) == ("77 records are missing here", 48, 28)


# -- order


@st.composite
def runs_of_the_tool(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A recording as the tool makes it: round by round, what each processor wrote since it was last asked."""
    random_ = random.Random(draw(st.integers(0, 1 << 30)))  # noqa: S311 - no secret
    processors, rounds = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    busy = [random_.random() ** 2 for _ in range(processors)]
    tsc, written = 1000, []
    parts: list[bytes] = []
    waiting: list[list[bytes]] = [[] for _ in range(processors)]
    for _ in range(rounds):
        asked = sorted(random_.sample(range(200), processors))
        for moment in range(200):
            for cpu in range(processors):
                tsc += 1
                if random_.random() < busy[cpu] / 20:
                    waiting[cpu].append(record(EXIT, 0x7B, 1, 0, tsc=tsc) + record(IO_WRITE, 0x10, tsc))
                    written.append(tsc)
                if asked[cpu] == moment and waiting[cpu]:
                    parts.append(window(cpu, *waiting[cpu]))
                    waiting[cpu] = []
    unread = sum(len(one) for one in waiting)
    data = b"".join(parts)
    times = sorted(one for one in written if record(IO_WRITE, 0x10, one) in data)
    assert len(times) == len(written) - unread
    return data, times


@given(runs_of_the_tool(), st.sampled_from([64, 256, 1 << 20]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_accesses_of_all_processors_come_out_in_the_order_of_time(
    made: tuple[bytes, list[int]], block: int
) -> None:
    data, times = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xentrace, "BLOCK", block)
        assert [one.values["val"] for one in accesses(read(data))] == times


def test_a_processor_that_has_fallen_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xentrace, "BLOCK", 256)
    parts = [window(1, record(EXIT, 1, 1, 1, tsc=1), ACCESS)]
    parts += [window(0, record(EXIT, 1, 1, 1, tsc=tsc), ACCESS) for tsc in range(2, 1000)]
    given_out = 0

    def chunks() -> Iterator[bytes]:
        nonlocal given_out
        for part in parts:
            given_out += 1
            yield part

    most = 0
    for number, _ in enumerate(XenTrace(given_as()).read(chunks()), 1):
        most = max(most, given_out - number)
    assert most < 20


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xentrace, "MOST_HELD", 50)
    monkeypatch.setattr(xentrace, "BLOCK", 256)
    exits = [record(EXIT, 1, 1, 1, tsc=tsc) + ACCESS for tsc in range(1, 1000)]
    reader = XenTrace(given_as())
    found = reader.read([window(0, *exits[:900]), window(0, *exits[900:])])
    for _ in range(100):
        next(found)
    assert reader.records < 600  # of 2000, and all of them in one round
    assert len(list(found)) == 899


# -- the second opinion


def at_head(data: bytes, at: int) -> Any | None:  # noqa: ANN401
    """The record here by construct, if one of a known class can begin here; perhaps without its end."""
    try:
        header = RECORD.subcons[1].parse(data[at : at + 4])
    except ConstructError:
        return None
    known = (header.event >> 16) in {1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x800} and header.event >> 12 & 0xF
    return header if known else None


def at_change(data: bytes, at: int) -> Any | None:  # noqa: ANN401
    try:
        change = CPU_CHANGE.parse(data[at : at + 12])
    except ConstructError:
        return None
    return change if change.cpu < 1 << 14 and change.size < 1 << 28 and change.size % 4 == 0 else None


def size_of(header: Any) -> int:  # noqa: ANN401
    return int(4 + 8 * header.timed + 4 * header.extra)


def resumes(data: bytes, at: int, end: int) -> bool:
    for _ in range(8):
        if at == end or at + 4 > len(data):
            return True
        header = at_head(data, at)
        if header is None:
            return False
        if header.event == 0x1F003:
            return at_change(data, at) is not None
        at += size_of(header)
        if at > end:
            return False
    return True


def walk(data: bytes) -> list[tuple[str, int, int, int, tuple[Any, ...]]]:
    """What a reader step by step finds: kind, offset, length, number, and what an access tells."""
    found: list[tuple[str, int, int, int, tuple[Any, ...]]] = []
    at, number, begin, end, cpu = 0, 0, 0, -1, 0
    tsc: dict[int, int] = {}
    running: dict[int, int | None] = {}
    scheduled: set[int] = set()
    opened: set[int] = set()

    def damage(place: int, length: int) -> None:
        found.append(("damage", place, length, number, ()))

    while at < len(data):
        if at >= end:
            if change := at_change(data, at):
                number += 1
                begin, end, cpu = at, at + 12 + change.size, change.cpu
                opened.add(cpu)
                at += 12
                continue
            further = next((to for to in range(at + 1, len(data)) if at_change(data, to)), len(data))
            number += 1
            damage(at, further - at)
            at = further
            continue
        header = at_head(data, at)
        whole = header is not None and at + size_of(header) <= len(data)
        if header and whole and header.event != 0x1F003 and at + size_of(header) <= end:
            one = RECORD.parse(data[at : at + size_of(header)])
            number += 1
            if one.tsc is not None:
                if cpu in opened and one.tsc < tsc.get(cpu, 0):
                    tsc.clear()
                    running.clear()
                    scheduled.clear()
                    opened.clear()
                tsc[cpu] = one.tsc
                opened.discard(cpu)
            found += access(one, at, number, tsc.get(cpu), running.get(cpu))
            learn(one, cpu, running, scheduled)
            at += size_of(header)
        elif at_change(data, at):
            damage(begin, 12)
            end = -1
        else:
            to = at + 4
            if at + 4 > len(data) or (header and not whole):
                to = len(data)
            while to < min(end, len(data)) and not (to + 4 <= len(data) and resumes(data, to, end)):
                to = min(to + 4, len(data))
            number += 1
            damage(at, to - at)
            end = -1 if to >= min(end, len(data)) or at_change(data, to) else end
            at = to
    if at < end:
        damage(begin, 12)
    return found


def learn(one: Any, cpu: int, running: dict[int, int | None], scheduled: set[int]) -> None:  # noqa: ANN401
    event, words = one.header.event, list(one.words)
    first = words[0] if words else None
    if event == 0x21002:
        scheduled.add(cpu)
        running[cpu] = first
    elif event >> 12 == 0x21 and event & 0xF == 1:
        old, new = event >> 8 & 0xF, event >> 4 & 0xF
        if new == 0 or old == 0:
            scheduled.add(cpu)
            running[cpu] = first if new == 0 else None
    elif event == LOST:
        running[cpu] = (words[1] & 0xFFFF) << 16 | words[1] >> 16 if cpu in scheduled and len(words) > 1 else None


def access(
    one: Any, at: int, number: int, tsc: int | None, runs: int | None  # noqa: ANN401
) -> list[tuple[str, int, int, int, tuple[Any, ...]]]:
    event, words = one.header.event, list(one.words)
    length = size_of(one.header)
    if event == LOST:
        return [("loss", at, length, number, ())]
    if event not in (IO_READ, IO_WRITE, OLD_READ, OLD_WRITE):
        return []
    size = None
    if event in (OLD_READ, OLD_WRITE):
        if len(words) > 2:
            who = words.pop(0)
            runs = (who & 0xFFFF) << 16 | who >> 16
        if len(words) in (2, 3):
            size = words.pop(1)
    ports = [*range(0x0D, 0x20), *range(0xCF8, 0xD00)]
    if words and words[0] <= 0xFFFF and words[0] not in ports and words[0] < 0xC000:
        return []
    if len(words) not in (1, 2) or words[0] > 0xFFFF:
        return [("damage", at, length, number, ())]
    guest = runs is not None and runs >> 16 < 0x7FF0
    return [("record", at, length, number, (
        int(event in (IO_READ, OLD_READ)), words[0], size, words[1] if len(words) == 2 else None,
        runs >> 16 if guest and runs is not None else None, runs & 0xFFFF if guest and runs is not None else None,
        tsc if tsc is not None and tsc < 1 << 63 else None,
    ))]  # fmt: skip


def as_walked(found: Iterable[Record | Damage | Loss]) -> list[tuple[str, int, int, int, tuple[Any, ...]]]:
    return [
        (type(one).__name__.lower(), one.offset, one.length, one.line, () if not isinstance(one, Record) else (
            one.values["dir"], one.values["addr"], one.values["size"], one.values["val"], one.domain,
            one.values["cpu_index"], one.time_ns,
        )) for one in found
    ]  # fmt: skip


WORD = st.integers(0, (1 << 32) - 1) | st.sampled_from([0x10, 0x12, 0x2001F003, 0x20082016, 0xCF8, 0xFFFFFFFF, 1, 0])
PORT = st.sampled_from([0x10, 0x12, 0x0F, 0x70, 0xCFC, 0xC100, 0x10010])
WHO = st.builds(vcpu, st.sampled_from([1, 2, 0x7FFF]), st.integers(0, 3))
STAMP = st.none() | st.integers(0, 1 << 62)
RECORDS = st.one_of(
    st.builds(record, st.sampled_from([IO_READ, IO_WRITE]), PORT, WORD),
    st.builds(record, st.sampled_from([IO_READ, IO_WRITE, OLD_READ]), PORT),
    st.builds(record, st.sampled_from([OLD_READ, OLD_WRITE]), PORT, st.just(2)),
    st.builds(record, st.sampled_from([OLD_READ, OLD_WRITE]), WHO, PORT, st.just(1)),
    st.builds(record, st.just(OLD_WRITE), WHO, PORT, st.just(1), WORD),
    st.builds(record, st.sampled_from([STARTS, STOPS, WAITS, CONTINUES, 0x21001]), WHO, tsc=st.integers(0, 1 << 62)),
    st.builds(record, st.just(LOST), WORD, WORD, WORD, WORD, tsc=STAMP),
    st.builds(record, st.just(EXIT), WORD, WORD, WORD, tsc=STAMP),
    st.builds(record, st.sampled_from([IO_READ, IO_WRITE, 0x1F002, 0x82013, 0x2220C, 0x800F000, STARTS]), tsc=STAMP),
    st.builds(lambda event, words, tsc: record(event, *words, tsc=tsc),
              st.sampled_from([IO_READ, 0x2220C, 0x28004, 0x10F001, LOST, STARTS]), st.lists(WORD, max_size=7), STAMP),
)  # fmt: skip
WINDOWS = st.builds(lambda cpu, records: window(cpu, *records), st.integers(0, 3), st.lists(RECORDS, max_size=30))
FILES = st.lists(WINDOWS, max_size=8).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(FILES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.integers(0, 5))
        if what == 0:
            del data[at : at + draw(st.integers(1, 80))]
        elif what == 1:
            data[at:at] = draw(st.binary(max_size=60))
        elif what == 2:
            data[at : at + 40] = bytes(len(data[at : at + 40]))
        elif what == 3 and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == 4:
            del data[at:]
        else:
            data += draw(FILES) if draw(st.booleans()) else window(1, ACCESS * 20, size=4 * at)
    return bytes(data)


QUICK = settings(max_examples=120, deadline=None)


def compare(data: bytes, block: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xentrace, "BLOCK", block)
        patch.setattr(xentrace, "LEAST_BLOCK", min(block, xentrace.LEAST_BLOCK))
        reader = XenTrace(given_as(1e9))
        found = list(reader.read(data[at : at + size] for at in range(0, len(data), size)))
    assert sorted(as_walked(found), key=repr) == sorted(walk(data), key=repr)
    for one in found:
        assert 0 <= one.offset < one.offset + one.length <= len(data)
        if isinstance(one, Record):
            assert one.raw == data[one.offset : one.offset + one.length]
    assert all(one.line <= reader.records for one in found)


@given(FILES, st.sampled_from([64, 128, 1000, 1 << 20]), st.sampled_from([1, 7, 100, 1 << 20]))
@QUICK
def test_a_whole_recording_is_read_as_step_by_step(data: bytes, block: int, size: int) -> None:
    compare(data, block, size)


@given(damaged(), st.sampled_from([64, 128, 1000, 1 << 20]), st.sampled_from([1, 7, 100, 1 << 20]))
@QUICK
def test_a_damaged_recording_is_read_as_step_by_step(data: bytes, block: int, size: int) -> None:
    compare(data, block, size)


@given(st.binary(max_size=400) | st.lists(WORD, max_size=100).map(
    lambda words: b"".join(word.to_bytes(4, "little") for word in words)))
@QUICK
def test_random_bytes_are_read_as_step_by_step(data: bytes) -> None:
    compare(data, 1 << 20, 1 << 20)
    compare(window(0) + data, 64, 50)


def test_construct_finds_the_windows_of_a_recording_whole(data: Path) -> None:
    raw = (data / "xentrace" / "two-guests.bin").read_bytes()
    windows, at = [], 0
    while at < len(raw):
        windows.append(WINDOW.parse(raw[at:]))
        at += 12 + windows[-1].change.size
    reader = XenTrace(given_as())
    list(reader.read([raw]))
    assert len(windows) == 3
    assert at == len(raw)
    assert reader.records == sum(1 + len(one.records) for one in windows)


# -- damage


def test_records_behind_damage_in_a_window_are_read_again() -> None:
    data = window(0, ACCESS * 9, bytes(8), record(IO_WRITE, 0x10, 1), ACCESS * 9)
    found = read(data)
    assert [one.values["val"] for one in accesses(found)] == [*[3] * 9, 1, *[3] * 9]
    (damage,) = (one for one in found if isinstance(one, Damage))
    assert (damage.offset, damage.length) == (12 + 9 * 12, 8)


def test_a_record_does_not_reach_into_the_next_window() -> None:
    broken = record(0x2220C, *[1] * 7)[:4]
    found = read(window(0, ACCESS, broken) + window(1, ACCESS * 3))
    assert len(accesses(found)) == 4
    assert [(one.offset, one.length) for one in found if isinstance(one, Damage)] == [(24, 4)]


@pytest.mark.parametrize(
    ("run", "damaged_bytes"), [(7, [4 + 7 * 4 + 4 + 7 * 4 + 4]), (8, [4, 4 + 7 * 4 + 4])]
)
def test_eight_records_in_a_row_are_enough_to_go_on_behind_damage(run: int, damaged_bytes: list[int]) -> None:
    short = record(0x81001)
    found = read(window(0, ACCESS, bytes(4), short * run, bytes(4), short * 7, bytes(4), ACCESS * 8))
    assert [one.length for one in found if isinstance(one, Damage)] == damaged_bytes
    assert len(accesses(found)) == 9


def test_a_window_that_is_shorter_than_it_says_loses_nothing() -> None:
    data = window(0, ACCESS * 3, size=400) + window(1, ACCESS * 2) + window(0, ACCESS)
    found = read(data)
    assert len(accesses(found)) == 6
    (damage,) = (one for one in found if isinstance(one, Damage))
    assert (damage.offset, damage.length) == (0, 12)
    assert "expected a window of 400 bytes, found 36" in damage.reason


def test_what_a_guest_puts_into_a_record_opens_no_window() -> None:
    """A hypercall lets a guest write words of its own."""
    forged = [0x2001F003, 7, 12, 0x20082216, 0x10, 1]
    data = window(0, record(STARTS, vcpu(5, 0), tsc=1), record(0x800F000, *forged), ACCESS)
    assert [told(one) for one in accesses(read(data))] == [(WRITE, 0x10, 3, 5, 0)]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_recording_that_is_cut_is_read_up_to_there(data: Path, cut: int) -> None:
    raw = (data / "xentrace" / "linux-default.bin").read_bytes()
    found = read(raw[:-cut])
    assert len(accesses(found)) == 6
    (damage,) = (one for one in found if isinstance(one, Damage))
    assert "broken off" in damage.reason or "the recording is cut" in damage.reason


def test_a_recording_cut_at_any_byte_is_no_failure(data: Path) -> None:
    raw = (data / "xentrace" / "linux-default.bin").read_bytes()
    before = 0
    for cut in range(0, len(raw), 3):
        count = len(accesses(read(raw[:cut])))
        assert before <= count <= 6
        before = count


def test_a_recording_after_itself_tells_everything_twice(data: Path) -> None:
    raw = (data / "xentrace" / "windows-like.bin").read_bytes()
    once, twice = accesses(read(raw)), accesses(read(raw + raw))
    assert [told(one)[:3] for one in twice] == [told(one)[:3] for one in once] * 2
    assert [one.time_ns for one in twice] == [one.time_ns for one in once] * 2


def test_another_format_behind_a_recording_is_damage(data: Path) -> None:
    raw = (data / "xentrace" / "windows-like.bin").read_bytes()
    text = b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n" * 50
    found = read(raw + text + raw)
    assert len(accesses(found)) == 16
    assert [(one.offset, one.length) for one in found if isinstance(one, Damage)] == [(len(raw), len(text))]


# -- which format it is


def test_the_example_is_sniffed_and_read() -> None:
    assert sniff(DISSECTOR.example) > 50
    (found,) = accesses(read(DISSECTOR.example))
    assert told(found) == (WRITE, 0x12, 3, None, None)
    assert found.time_ns == 786417740771 * 10 // 24


def test_a_recording_that_has_lost_its_beginning_is_known_by_its_windows(data: Path) -> None:
    raw = (data / "xentrace" / "windows-like.bin").read_bytes()
    assert 0 < sniff(raw[100:]) < sniff(raw)
    assert len(accesses(read(raw[100:]))) == 4  # those of the last two windows


@pytest.mark.parametrize("size", [12, 15, 16, 100])
def test_a_short_head_is_sniffed(data: Path, size: int) -> None:
    assert sniff((data / "xentrace" / "two-guests.bin").read_bytes()[:size]) > 50


@pytest.mark.parametrize(
    "head",
    [b"", b"\x03\xf0\x01\x20", b"\x03\xf0\x01\x20" * 10, b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n",
     b"text " + window(0, ACCESS) + b"text", window(0) [:11], window(1 << 20, ACCESS), window(0, b"text")],
)  # fmt: skip
def test_others_are_not_taken_for_one(head: bytes) -> None:
    assert sniff(head) == 0


@given(st.binary(max_size=200), FILES)
def test_sniffing_never_fails(before: bytes, data: bytes) -> None:
    assert 0 <= sniff(before + data) <= 100


def ordered(found: Sequence[Record]) -> bool:
    return all((one.time_ns or 0) <= (then.time_ns or 0) for one, then in pairwise(found))


def test_the_recordings_come_out_in_order(data: Path) -> None:
    for path in sorted((data / "xentrace").glob("*.bin")):
        assert ordered(accesses(read(path.read_bytes())))
