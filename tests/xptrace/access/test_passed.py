"""Of a simpletrace file, what is passed over of other devices makes no difference to any row, nor to the account."""

from __future__ import annotations

import struct
from collections.abc import Generator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import simpletrace as generated
from dissectors import Given, Passed
from dissectors.kernel import twin_walk
from dissectors.qemu import catalogue, simpletrace
from dissectors.qemu.layouts import KINDS, NUMBERS, Table
from dissectors.qemu.simpletrace import SimpleTrace
from dissectors.qemu.simpletrace_records import arguments
from dissectors.record import Record
from tests.xptrace.access.test_packed import DATA, DROPPED, FOREIGN, check, kernel, name, recording
from xptrace.access.attribution import arrange
from xptrace.access.coalesce import Stream
from xptrace.access.decode import Decoder
from xptrace.access.domains import Domains
from xptrace.access.entries import SourceDecoder
from xptrace.intake import source
from xptrace.intake.ledger import Ledger

__all__ = ("kernel",)
EVENTS: Final = {one.decode(): 50_000 + number for one, number in NUMBERS.items()}
TOLD: Final = {one: 50_100 + number for number, one in enumerate((
    "pci_update_mappings_add", "pci_update_mappings_del", "pci_cfg_read", "pci_cfg_write", "xen_pv_mmio_read",
    "xen_pv_mmio_write", "xen_ioreq_server_create", "runstate_set", "xs_node_create", "xs_node_vprintf",
))}
PID: Final = 6214
ADDRESSES: Final = (
    0x8, 0xC, 0xE, 0xF, 0x10, 0x12, 0x1C, 0x1F, 0x20, 0x22, 0x60, 0x61, 0x62, 0x64, 0xCF0, 0xCF4, 0xCF7, 0xCF8, 0xCFC,
    0xCFF, 0xD00, 0xD02, 0xBFF8, 0xBFFE, 0xBFFF, 0xC000, 0xC004, 0xC008, 0xC0FE, 0xC100, 0xC110, 0xFEE0_0000,
    0xEFFF_FFFE, 0xF000_0000, 0xF0FF_FFFF, 0xF100_0000,
)
REGIONS: Final = ("", "serial", "pcie-mmcfg-mmio", "xen-fixed", "xen-pci", "xen-mmio")
FEW: Final = {"_FEW": 1, "_MANY": 4, "_WORTH_WHILE": 2}


def record(number: int, wire: bytes, pid: int = PID) -> bytes:
    return struct.pack("<QQQII", 1, number, 7, 24 + len(wire), pid) + wire


def event(event_name: str, *, form: int = 0, pid: int = PID, **values: Any) -> bytes:  # noqa: ANN401
    """A record of an event of bulk; what it says besides is nothing."""
    found = catalogue.load().declarations(event_name.encode())
    declaration = found[form % len(found)]
    values = {"cpu_index": -1, "data_is_ptr": 0, "count": 1, "name": b""} | values
    if declaration.arguments[0].name == "addr":
        values["size"] = {1: b"b", 2: b"w", 4: b"l"}.get(values["size"], b"b")[0]
    values |= {"data": values["value"], "val": values["value"]}
    said = [values.get(one.name, 0) for one in declaration.arguments]
    return record(EVENTS[event_name], bytes(arguments(declaration, "little").build(said)), pid)


def told(event_name: str, **values: Any) -> bytes:  # noqa: ANN401
    """A record of another event that is ours."""
    declaration = catalogue.load().declarations(event_name.encode())[0]
    said = [values.get(one.name, b"" if one.kind == "string" else 0) for one in declaration.arguments]
    return record(TOLD[event_name], bytes(arguments(declaration, "little").build(said)))


def mapping(bar: int, base: int, size: int, event_name: str = "pci_update_mappings_add") -> bytes:
    return told(event_name, dev=b"xen-platform", slot=2, bar=bar, addr=base, size=size)


@cache
def head() -> bytes:
    """The names of what occurs, and real records, which map both BARs."""
    names, _ = real()
    return names + b"".join(name(number, one.encode()) for one, number in (EVENTS | TOLD).items())


@cache
def real() -> tuple[bytes, list[bytes]]:
    return recording(DATA / "10.0.13" / "44-bar0-decode" / "trace.bin.gz")


def whole(direction: str, address: int, size: int, value: int, region: str, *, form: int = 0) -> list[bytes]:
    """The records of one access under Xen."""
    values = {"addr": address, "size": size, "value": value, "dir": int(direction == "read"), "name": region.encode()}
    order = {
        "read": ("handle_ioreq", "cpu_ioreq_pio", "memory_region_ops_read", "cpu_in", "cpu_ioreq_pio_read_reg",
                 "handle_ioreq_read"),
        "write": ("handle_ioreq", "handle_ioreq_write", "cpu_ioreq_pio", "cpu_ioreq_pio_write_reg", "cpu_out",
                  "memory_region_ops_write"),
    }[direction]
    return [event(one, form=form, **values) for one in order]


def string(address: int, size: int, count: int, region: str) -> list[bytes]:
    """Those of a string access, with so many elements."""
    values = {"addr": address, "size": size, "value": 5, "dir": 1, "name": region.encode(), "data_is_ptr": 1}
    values["count"] = 9
    begins = [event("handle_ioreq", **values), event("cpu_ioreq_pio", **values)]
    elements = [event("memory_region_ops_read", **values), event("cpu_in", **values)] * count
    return [*begins, *elements, event("handle_ioreq_read", **values)]


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """A few records: an access, or parts of one, again and again; or what is none."""
    far = st.sampled_from([0x20, 0x60, 0x61, 0x62, 0x64, 0xD02])
    address, size = draw(far | st.sampled_from(ADDRESSES)), draw(st.sampled_from([1, 2, 4]))
    direction, region = draw(st.sampled_from(["read", "write"])), draw(st.just("") | st.sampled_from(REGIONS))
    records = whole(direction, address, size, draw(st.sampled_from([0, 5, 0x0A, 0x49D2])), region)
    kind = draw(st.sampled_from([
        "whole", "some", "calls", "climbing", "cpu", "string", "noise", "real", "ignored", "mapped", "told", "other",
    ]))
    if kind == "some":
        records = [one for one in records if draw(st.booleans())]
    elif kind == "calls":
        calls = struct.pack("<Q", EVENTS[f"memory_region_ops_{direction}"])
        records = [one for one in records if one[8:16] == calls]
    elif kind == "climbing":
        start = draw(st.sampled_from([0, 0x60, 0xCD0, 0xBFE0, 0xF0]))
        records = [event(f"memory_region_ops_{direction}", addr=start + size * step, size=size, value=step & 1)
                   for step in range(draw(st.integers(1, 90)))]
    elif kind == "cpu":
        form = draw(st.integers(0, 2))
        records = [event("cpu_in" if direction == "read" else "cpu_out", form=form, addr=address, size=size, value=3)]
    elif kind == "string":
        records = string(address, min(size, 4), draw(st.integers(0, 4)), region)
    elif kind == "noise":
        records = [
            event(draw(st.sampled_from([one for one in EVENTS if one != "xen_platform_log"])), addr=address,
                  form=draw(st.integers(0, 4)), size=draw(st.sampled_from([0, 1, 2, 3, 4, 8])), value=5,
                  dir=draw(st.integers(0, 1)), type=draw(st.sampled_from([0, 0, 1, 2, 3])),
                  data_is_ptr=draw(st.integers(0, 1)), cpu_index=draw(st.integers(-1, 1)),
                  pid=draw(st.sampled_from([PID] * 9 + [1])))
            for _ in range(draw(st.integers(1, 4)))
        ]
    elif kind == "real":
        _, events = real()
        first = draw(st.integers(0, len(events) - 1))
        return b"".join(events[first : first + draw(st.integers(1, 40))])
    elif kind == "ignored":
        records = [record(FOREIGN, bytes(draw(st.integers(0, 9))))]
    elif kind == "mapped":
        bar = draw(st.sampled_from([
            (0, 0xC000, 0x100), (0, 0x60, 0x100), (1, 0xF000_0000, 1 << 24), (1, (1 << 64) - 16, 1 << 24),
        ]))
        records = [mapping(*bar, draw(st.sampled_from(["pci_update_mappings_add", "pci_update_mappings_del"])))]
    elif kind == "told":
        records = [told(
            draw(st.sampled_from(list(TOLD))), dev=draw(st.sampled_from([b"xen-platform", b"e1000"])), slot=2,
            offs=draw(st.sampled_from([0, 4, 0x10, 0x14])),
            val=draw(st.sampled_from([0x5853, 0x0060, 0xC001, 0xE000_0008])),
            path=b"/local/domain/5/x", node=b"/local/domain/6/x", new_state_str=b"running", addr=address,
            current_state_str=draw(st.sampled_from([b"prelaunch", b"inmigrate"])), value=b"4",
        )]
    elif kind == "other":
        log = record(EVENTS["xen_platform_log"], struct.pack("<I", 2) + b"hi")
        return draw(st.sampled_from([DROPPED, log, name(EVENTS["cpu_in"], b"cpu_in"), name(FOREIGN, b"cpu_out"),
                                     name(EVENTS["cpu_out"], b"breakpoint_insert"), b"\xff" * 9]))
    return b"".join(records) * draw(st.sampled_from([1, 1, 3, 40]))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records are passed over, each time."""
    counts: list[int] = []
    over = SimpleTrace._over

    def counted(self: SimpleTrace, *given: Any) -> Generator[Passed, None, int]:  # noqa: ANN401
        count = yield from over(self, *given)
        counts.append(count)
        return count

    monkeypatch.setattr(SimpleTrace, "_over", counted)
    return counts


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked again and again."""
    for constant, value in FEW.items():
        monkeypatch.setattr(simpletrace, constant, value)


@pytest.mark.usefixtures("kernel", "hasty")
@pytest.mark.parametrize("window", [997, 1 << 20])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(pieces(), max_size=12), flip=st.none() | st.integers(0, 1 << 30))
def test_whatever_other_devices_do(
    window: int, tmp_path: Path, some: list[bytes], flip: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CHUNK", window)
    data = bytearray(b"".join(some))
    if flip is not None and data:
        data[(flip >> 3) % len(data)] ^= 1 << (flip & 7)
    file = tmp_path / "trace-1"
    file.write_bytes(head() + data)
    check(file)


@st.composite
def elsewhere(draw: st.DrawFn) -> bytes:
    """A record of an access to one of a few ports that are nobody's."""
    return event(
        draw(st.sampled_from([one for one in EVENTS if one != "xen_platform_log"])), form=draw(st.integers(0, 1)),
        addr=draw(st.sampled_from([0x60, 0x61, 0x62, 0x64])), size=draw(st.sampled_from([1, 2, 4])),
        value=draw(st.sampled_from([0, 1])), dir=draw(st.integers(0, 1)), type=draw(st.sampled_from([0, 0, 0, 1])),
        data_is_ptr=draw(st.sampled_from([0, 0, 1])), cpu_index=draw(st.integers(-1, 0)),
    )


@settings(max_examples=300, deadline=None)
@given(some=st.lists(st.lists(elsewhere(), min_size=1, max_size=5).flatmap(
    lambda few: st.sampled_from([few, few * 2, few * 3])), min_size=1, max_size=5))
def test_nothing_goes_on_where_passing_over_ends(some: list[list[bytes]]) -> None:
    table = Table(typed=True, process=True)
    for one, number in EVENTS.items():
        table.number(number, one.encode(), catalogue.load().declarations(one.encode()))
    data = b"".join(chain.from_iterable(some))
    _, count, place, _ = twin_walk.pass_over(data, 0, len(data), table.packed, KINDS, b"", b"", PID)
    records = [one for one in SimpleTrace(Given("", catalogue.load())).read([head() + data]) if isinstance(one, Record)]
    at_once, first, second = Stream(), Stream(), Stream()
    whole = [*chain.from_iterable(map(at_once.feed, records)), *at_once.flush()]
    before = [*chain.from_iterable(map(first.feed, records[:count])), *first.flush()]
    after = [*chain.from_iterable(map(second.feed, records[count:])), *second.flush()]
    assert place == (len(data) if count == len(records) else records[count].offset - len(head()))
    assert whole[len(before) :] == after
    assert [one.address for one in whole] == [one.address for one in before + after]


@pytest.mark.usefixtures("kernel")
class TestRuns:
    RUNS: Final = {
        "six events": [b"".join(whole("read", 0x60, 1, 5, "serial") + whole("write", 0x64, 1, 5, ""))],
        "calls": [event("memory_region_ops_read", addr=port, size=1, value=5, name=b"vga") for port in (0x60, 0x64)],
        "instructions": [event("cpu_in", addr=port, size=1, value=5) for port in (0x3F8, 0x60, 0x60, 0x60)],
        "strings": string(0x1F0, 2, 30, "ide"),
        "memory": [event("memory_region_ops_write", addr=at, size=4, value=5) for at in (0xFEE0_00B0, 0xFEE0_0080)],
        "what nobody declares": [record(FOREIGN, bytes(9))],
    }

    @pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
    def test_most_of_a_long_run_is_passed_over(self, run: list[bytes], tmp_path: Path, passes: list[int]) -> None:
        _, events = real()
        ours = b"".join(events)
        file = tmp_path / "trace-1"
        times = 3000 // len(run)
        file.write_bytes(head() + (ours + b"".join(run) * times) * 3)
        check(file)
        assert sum(passes) > 3 * times * len(run) * 0.9

    @pytest.mark.parametrize("base", [0x10, 0xCF8, 0xC000, 0xC0FC, 0xF000_0000])
    def test_nothing_of_ours_is(self, base: int, tmp_path: Path, passes: list[int]) -> None:
        _, events = real()
        file = tmp_path / "trace-1"
        ours = [event(one, addr=base, size=4, value=5) for one in ("cpu_out", "memory_region_ops_read")]
        bars = mapping(0, 0xC000, 0x100) + mapping(1, 0xF000_0000, 1 << 24)
        file.write_bytes(head() + b"".join(events) + bars + b"".join(ours) * 400)
        check(file)
        assert sum(passes) <= len(events)


@pytest.mark.usefixtures("kernel", "hasty")
def test_an_access_that_only_the_name_of_its_region_shows_to_be_ours_goes_on(tmp_path: Path) -> None:
    ours = [event("memory_region_ops_read", addr=0xD200, size=1, value=5, name=b"xen-pci"),
            event("cpu_in", addr=0xD200, size=1, value=5)]
    others = [event("cpu_in", addr=port, size=1, value=5) for port in range(0x60, 0x70)]
    file = tmp_path / "trace-1"
    for odd in range(2):
        file.write_bytes(head() + b"".join(others[odd:] + ours + others) * 5)
        check(file)


@pytest.mark.usefixtures("kernel")
def test_a_recording_of_which_one_in_a_thousand_is_ours(tmp_path: Path, passes: list[int]) -> None:
    file = tmp_path / "trace-1"
    generated.write(file, events=25_000, kind="sparse")
    check(file)
    assert sum(passes) > 24_000


@pytest.mark.usefixtures("kernel")
def test_a_source_in_which_device_models_take_turns_is_told_whole(tmp_path: Path, passes: list[int]) -> None:
    """Nobody knows of which of them a record is that goes on with what was before it."""
    file = tmp_path / "trace-1"
    generated.write(file, events=2000, kind="sparse")
    told_of = catalogue.load()
    (reading,) = arrange(Decoder([str(file)])._sources, told_of)
    for apart in (True, False):
        passes.clear()
        decoder = SourceDecoder(reading._replace(apart=apart), Given("trace", told_of), {}, Domains(), Ledger("trace"),
                                {}, stopped=lambda: False, noted=lambda _: None)
        assert list(decoder.rows(None))
        assert any(passes) != apart


def test_every_event_has_a_kind() -> None:
    assert len(KINDS) == len(NUMBERS) + 1
