"""What the kernel walks over as a record of simpletrace is what its reader reads; and its twin walks the same."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.kernel import HAS, HAS_REGION, RECORD, RECORD_BYTES, SLOTS, Kernel, dtype, twin_walk
from dissectors.qemu import catalogue
from dissectors.qemu.declaration import EventDeclaration, read_declarations
from dissectors.qemu.layouts import NUMBERS, Table
from dissectors.qemu.programs import EVENTS
from dissectors.qemu.simpletrace import DISSECTOR, SimpleTrace
from dissectors.qemu.simpletrace_records import arguments, records
from dissectors.record import Record
from tests.dissectors.kernel.material import BASE, DATA, PORTS, REGION

ARGUMENTS: Final = {
    "addr": "address", "data": "value", "val": "value", "value": "value", "size": "size", "dir": "direction",
    "type": "type", "data_is_ptr": "pointer", "count": "count", "cpu_index": "vcpu", "name": "text", "s": "text",
}
"""Which field of a record an argument of QEMU's declarations is."""
LETTERS: Final = {b"b": 1, b"w": 2, b"l": 4}
CLOCKS: Final = (None, "wall", "monotonic")
FIELDS: Final = tuple(name for name, _ in RECORD)
EVERYWHERE: Final = {"base": 0, "ports": (1 << 64) - 1}
HEADERS: Final = (records("little").header.build({"version": 4})[:16], records("big").header.build({"version": 4})[:16])


@cache
def forms() -> tuple[tuple[int, EventDeclaration], ...]:
    """Every form of the events of bulk with a number; the forms of one event have one number."""
    return tuple(
        (3000 + 7 * number, one) for name, number in NUMBERS.items() for one in catalogue.load().declarations(name)
    )


def table(version: int = 4) -> bytes:
    made = Table(typed=version == 4, process=version > 2)
    for name, number in NUMBERS.items():
        made.number(3000 + 7 * number, name, catalogue.load().declarations(name))
    return made.packed


def event(number: int, wire: bytes, *, version: int = 4, time_ns: int = 5, pid: int = 7, kind: int = 1) -> bytes:
    head = struct.pack("<QQII", number, time_ns, 24 + len(wire), pid)
    return (struct.pack("<Q", kind) if version == 4 else b"") + head + wire


NUMBERS_64: Final = st.one_of(
    st.integers(0, 40), st.sampled_from([b"b"[0], b"w"[0], b"l"[0]]), st.sampled_from([-1, -2, -(1 << 31), -(1 << 63)]),
    st.sampled_from([254, 255, 256, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1]),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
TEXTS: Final = st.one_of(st.just(b"xen-fixed"), st.binary(max_size=20), st.sampled_from([b"\xff" * 9, *HEADERS]))
LIKELY: Final = {"addr": st.integers(0, 40), "size": st.sampled_from([1, 2, 4]), "cpu_index": st.just(-1)}


@st.composite
def events(draw: st.DrawFn, version: int) -> bytes:
    """An event with numbers and texts that are likely or may be anything, and sometimes a head that is wrong."""
    number, declaration = draw(st.sampled_from(forms()))
    usual = draw(st.booleans())
    values: list[Any] = []
    for one in declaration.arguments:
        if one.kind == "string":
            values.append(draw(TEXTS))
        else:
            likely = LIKELY.get(one.name, st.integers(0, 3)) if usual else NUMBERS_64
            value = draw(st.sampled_from(b"bwl") if usual and one.ctype == "char" else likely)
            values.append(value if one.signed else value & (1 << 64) - 1)
    wire = bytes(arguments(declaration, "little").build(values))
    if draw(st.integers(0, 9)):
        return event(number, wire, version=version, pid=draw(st.integers(0, 9)))
    return event(draw(st.sampled_from([number, number + 256, 1, 1 << 40])), draw(st.just(wire) | st.just(wire[:-1])),
                 version=version, time_ns=draw(st.sampled_from([0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])),
                 pid=draw(st.sampled_from([0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])), kind=draw(st.integers(0, 2)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, bytes]:
    """Records one after the other, some of them damaged."""
    version = draw(st.sampled_from([2, 3, 4]))
    data = bytearray(b"".join(draw(st.lists(events(version), max_size=6))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        if data:
            at = draw(st.integers(0, len(data) - 1))
            data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=2) | st.sampled_from(HEADERS))
    return version, bytes(data)


def walked(
    kernel: Kernel | ModuleType, data: bytes, layouts: bytes, start: int = 0, stop: int | None = None, *,
    base: int = BASE, ports: int = PORTS, room: int = 16,
) -> list[dict[str, int]]:
    out = np.full(64 * room, 0x5A, "u1").view(dtype(RECORD))
    count = kernel.walk(data, start, len(data) if stop is None else stop, layouts, base, ports, REGION, out)
    assert 0 <= count <= room
    assert (out[count + 1 :].view("u1") == 0x5A).all()
    return [dict(zip(FIELDS, row, strict=True)) for row in out[:count].tolist()]


def same(kernel: Kernel, data: bytes, layouts: bytes, *window: int, **limits: int) -> list[dict[str, int]]:
    """What both walk over, which is the same."""
    found = walked(kernel, data, layouts, *window, **limits)
    assert found == walked(twin_walk, data, layouts, *window, **limits)
    return found


def read(data: bytes, version: int) -> list[Record]:
    """What the reader says of the records, up to the first that is none."""
    header = records("little").header.build({"version": version})
    if version == 4:
        named = {number: declaration.name for number, declaration in forms()}
        header += b"".join(
            records("little").tagged.build({"type": 0, "body": {"event": number, "name": name.encode()}})
            for number, name in named.items()
        )
        events = catalogue.load()
    else:
        wanted = dict(reversed(forms()))
        filler = read_declarations('nothing(void) ""\n', "build")[0]
        ordered = [wanted.get(number, filler) for number in range(max(wanted) + 1)]
        events = catalogue.Catalogue(ordered=ordered, last=catalogue._ours())
    found = []
    for one in SimpleTrace(Given("x", events)).read([header + data]):
        if not isinstance(one, Record):
            break
        one.offset -= len(header)
        found.append(one)
    return found


def agrees(record: dict[str, int], data: bytes, one: Record) -> None:
    assert (one.offset, one.length) == (record["start"], record["length"])
    assert one.event == EVENTS[record["event"]]
    assert (one.time_ns, one.clock) == (record["time_ns"], CLOCKS[record["clock"]])
    assert one.thread == (None if record["thread"] == -1 else record["thread"])
    has = 0
    for name, value in one.values.items():
        place = ARGUMENTS.get(name)
        if place is None:
            continue
        has |= 1 << SLOTS[place]
        if place == "text":
            assert data[record["text"] : record["text"] + record["text_length"]] == value
            has |= HAS_REGION * (value == REGION)
        else:
            assert record[place] == (LETTERS[value] if isinstance(value, bytes) else value)
    assert record["has"] == has
    for place in HAS:
        if not has >> SLOTS[place] & 1 and place != "text":
            assert record[place] == (-1 if place == "vcpu" else 0)


@given(windows(), st.binary(max_size=20))
@example((4, event(3049, struct.pack("<QQQ", 16, 119, 18898))), b"")
@settings(max_examples=500, deadline=None)
def test_the_kernel_its_twin_and_the_reader_read_the_same(
    kernel: Kernel, window: tuple[int, bytes], rest: bytes
) -> None:
    version, data = window
    found = same(kernel, data + rest, table(version), **EVERYWHERE)
    said = read(data + rest, version) if version == 4 else []
    assert len(said) >= len(found) or version != 4
    for record, one in zip(found, said, strict=False):
        agrees(record, data + rest, one)
    near = same(kernel, data + rest, table(version))
    assert near == found[: len(near)]
    assert len(near) == len(found) or found[len(near)]["address"] - BASE not in range(PORTS)


@pytest.mark.parametrize("version", [2, 3])
def test_older_versions_are_walked_as_they_are_read(kernel: Kernel, version: int) -> None:
    wire = struct.pack("<QQQ", 16, 119, 18898)
    data = event(3049, wire, version=version) * 2 + event(3077, struct.pack("<I", 2) + b"hi", version=version)
    found = same(kernel, data, table(version))
    said = read(data, version)
    assert [one.event for one in said] == ["cpu_in", "cpu_in", "xen_platform_log"]
    assert len(found) == 3
    for record, one in zip(found, said, strict=True):
        agrees(record, data, one)


def test_the_example_of_the_format_is_walked(kernel: Kernel) -> None:
    made = Table(typed=True, process=True)
    made.number(0xD58, b"cpu_in", catalogue.load().declarations(b"cpu_in"))
    (found,) = same(kernel, DISSECTOR.example, made.packed)
    told = {name: found[name] for name in ("address", "size", "value", "thread", "time_ns")}
    assert told == {"address": 0x10, "size": 2, "value": 18898, "thread": 0xF13, "time_ns": 0x37FB8DD76A4}


def test_a_real_recording_is_walked_to_its_end(kernel: Kernel) -> None:
    whole = gzip.decompress(next((DATA / "qemu-oracle" / "7.2.22").glob("03-*/trace.bin.gz")).read_bytes())
    names, at, made = [], 24, Table(typed=True, process=True)
    while whole[at : at + 8] == bytes(8):
        number, length = struct.unpack_from("<QI", whole, at + 8)
        names.append((number, whole[at + 20 : at + 20 + length]))
        at += 20 + length
    for number, name in names:
        made.number(number, name, catalogue.load().declarations(name))
    said = list(SimpleTrace(Given("x", catalogue.load())).read([whole]))
    places = {one.offset: one for one in said if isinstance(one, Record)}
    plain = 0
    for offset, one in places.items():
        found = same(kernel, whole, made.packed, offset, room=1)
        near = one.integer("addr") in range(BASE, BASE + PORTS) or one.event == "xen_platform_log"
        assert bool(found) == (one.event in EVENTS and near)
        for record in found:
            agrees(record, whole, one)
        plain += len(found)
    assert plain > 30


class TestWhatEndsAWalk:
    LINE = struct.pack("<I", 2) + b"hi"

    AFTER: Final = {
        "a name": event(3077, LINE, kind=0),
        "no type": event(3077, LINE, kind=2),
        "what is missing": event(0xFFFF_FFFF_FFFF_FFFE, bytes(8)),
        "another event": event(9, LINE),
        "too long": event(3077, LINE + b"x"),
        "too short": event(3077, LINE[:-1]),
        "a time that is none": event(3077, LINE, time_ns=1 << 63),
        "a process that is none": event(3077, LINE, pid=1 << 31),
        "a file begins": event(3077, struct.pack("<I", 16) + HEADERS[0]),
        "another file begins": event(3077, struct.pack("<I", 16) + HEADERS[1]),
        "a file begins at its end": event(3077, struct.pack("<I", 5) + HEADERS[0][:5]) + HEADERS[0][5:],
        "a port below": event(3049, struct.pack("<QQQ", 15, 119, 1)),
        "a port above": event(3049, struct.pack("<QQQ", 32, 119, 1)),
        "no size": event(3049, struct.pack("<QQQ", 16, 120, 1)),
        "no port": event(3049, struct.pack("<QQQ", 1 << 32, 119, 1)),
        "no 32 bits": event(3049, struct.pack("<QQQ", 16, 119, 1 << 32)),
        "one byte": b"\1",
    }

    @pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
    def test_what_is_not_plain(self, kernel: Kernel, after: bytes) -> None:
        assert len(same(kernel, event(3077, self.LINE) + after + event(3077, self.LINE), table())) == 1

    def test_the_length_of_a_record_that_is_none(self, kernel: Kernel) -> None:
        for length in (0, 8, 23, (1 << 18) + 1, 1 << 31, (1 << 32) - 1):
            data = bytearray(event(3077, self.LINE) * 2)
            struct.pack_into("<I", data, len(data) // 2 + 24, length)
            assert len(same(kernel, bytes(data) + bytes(1 << 19), table())) == 1

    def test_the_window_s_end_and_the_room(self, kernel: Kernel) -> None:
        one = event(3077, self.LINE)
        data = one * 5
        assert len(same(kernel, data, table(), len(one), 3 * len(one))) == 2
        assert len(same(kernel, data, table(), 0, 3 * len(one) - 1)) == 2
        assert len(same(kernel, data[:-1], table())) == 4
        assert len(same(kernel, data, table(), room=3)) == 3
        assert same(kernel, data, table(), room=0) == same(kernel, data, table(), 7, 7) == []


SHAPES: Final = st.tuples(
    st.integers(0, 4), st.sampled_from([0, 1, 7, 8, 31, 32, 63, 64, 200]), st.sampled_from([*SLOTS.values(), 9, 254])
)
"""An argument of a table: its kind, its bits, its place."""


@st.composite
def shaped(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A table of one form, whatever it may be, and a record that has it; in which another file may begin."""
    form = draw(st.lists(SHAPES, min_size=1, max_size=7))
    texts = st.binary(max_size=9).map(lambda text: struct.pack("<I", len(text)) + text)
    numbers = NUMBERS_64.map(lambda value: struct.pack("<Q", value & (1 << 64) - 1))
    letters = st.sampled_from(b"bwl").map(lambda letter: struct.pack("<Q", letter))
    of_kind = (texts, letters, numbers, numbers, numbers)
    data = event(1, b"".join(draw(of_kind[one[0]]) for one in form)) + draw(st.binary(max_size=16))
    if draw(st.booleans()):
        at = draw(st.integers(32, len(data)))
        data = data[:at] + draw(st.sampled_from(HEADERS)) + data[at + 16 :]
    layouts = b"".join(bytes(one) for one in form)
    return b"\1" + struct.pack("<IBB", 1, 1, len(form)) + layouts, data


class TestAnyForm:
    ADDRESS, NUMBER, TEXT = bytes((2, 64, 0)), bytes((2, 64, 255)), bytes((0, 0, 8))

    @given(shaped())
    @example((b"\1" + struct.pack("<IBB", 1, 1, 2) + bytes((2, 64, 0)) * 2, event(1, bytes(16))))
    @example((b"\1" + struct.pack("<IBB", 1, 1, 2) + bytes((2, 64, 0, 2, 64, 7)), event(1, bytes(8) + b"\xff" * 8)))
    @example((b"\1" + struct.pack("<IBB", 1, 1, 2) + bytes((0, 0, 8, 1, 0, 2)), event(1, bytes(4) + b"x" + bytes(7))))
    @settings(max_examples=1000, deadline=None)
    def test_it_is_read_as_the_twin_reads_it(self, kernel: Kernel, material: tuple[bytes, bytes]) -> None:
        layouts, data = material
        same(kernel, data, layouts, **EVERYWHERE)

    @pytest.mark.parametrize("header", HEADERS)
    def test_another_file_may_begin_at_any_byte_of_its_arguments(self, kernel: Kernel, header: bytes) -> None:
        number, address, text = bytes(8), struct.pack("<Q", BASE), b"\2\0\0\0hi"
        for forms, wire in (
            ((self.ADDRESS, self.NUMBER, self.NUMBER), address + number + number),
            ((self.TEXT, self.NUMBER, self.NUMBER), text + number + number),
            ((self.ADDRESS, self.TEXT), address + text),
        ):
            layouts = b"\1" + struct.pack("<IBB", 1, 1, len(forms)) + b"".join(forms)
            record = event(1, wire)
            for at in range(len(record) - 16, len(record)):
                assert same(kernel, record[:at] + header, layouts, 0, len(record)) == []
            assert len(same(kernel, record + header, layouts, 0, len(record))) == 1


class TestWhatIsNoWindowAndNoTable:
    @pytest.mark.parametrize("bounds", [(-1, 4), (3, 2), (0, 11), (0, -1)])
    def test_a_window_must_lie_in_the_data(self, kernel: Kernel, bounds: tuple[int, int]) -> None:
        for one in (kernel, twin_walk):
            with pytest.raises(ValueError, match="window"):
                walked(one, bytes(10), table(), *bounds)

    @given(st.binary(max_size=60) | st.integers(0, 200).map(lambda size: table()[:size]))
    @settings(max_examples=300, deadline=None)
    def test_any_table_is_taken_or_refused_by_both(self, kernel: Kernel, layouts: bytes) -> None:
        data = event(3077, b"\2\0\0\0hi") + event(3049, struct.pack("<QQQ", 16, 119, 18898))
        results: list[Sequence[dict[str, int]] | None] = []
        for one in (kernel, twin_walk):
            try:
                results.append(walked(one, data, layouts, **EVERYWHERE))
            except ValueError:
                results.append(None)
        assert results[0] == results[1]

    def test_a_table_has_at_most_so_many_forms(self, kernel: Kernel) -> None:
        form = struct.pack("<IBB", 1, 1, 0)
        for one in (kernel, twin_walk):
            assert walked(one, b"", b"\1" + form * 64) == []
            with pytest.raises(ValueError, match="table"):
                walked(one, b"", b"\1" + form * 65)


def test_a_record_has_as_many_bytes_as_its_layout() -> None:
    assert dtype(RECORD).itemsize == RECORD_BYTES


class TestLayouts:
    def test_a_number_that_is_given_anew_means_the_new_event(self) -> None:
        made = Table(typed=True, process=True)
        assert made.packed == b""
        made.number(4, b"cpu_in", catalogue.load().declarations(b"cpu_in"))
        first = made.packed
        made.number(4, b"breakpoint_insert", ())
        assert made.packed == b""
        made.number(4, b"cpu_in", catalogue.load().declarations(b"cpu_in"))
        assert made.packed == first

    def test_a_file_that_names_an_event_without_end_has_a_table_that_ends(self, kernel: Kernel) -> None:
        made = Table(typed=True, process=True)
        for number in range(1 << 10):
            made.number(number, b"memory_region_ops_read", catalogue.load().declarations(b"memory_region_ops_read"))
        assert walked(kernel, b"", made.packed) == []

    def test_a_private_form_of_an_event_is_left_to_the_reader(self) -> None:
        private = read_declarations('cpu_in(uint64_t where, uint64_t wide, int val) "%lu %lu %d"\n', "private")
        events = catalogue.Catalogue(private, last=catalogue._ours())
        made = Table(typed=True, process=True)
        made.number(3049, b"cpu_in", events.declarations(b"cpu_in"))
        assert made.packed == b""
