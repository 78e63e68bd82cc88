"""A simpletrace file of any version is read as construct declares it; damage is said, and nothing is lost silently."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors import Given, choose
from dissectors.qemu import catalogue
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import Argument, EventDeclaration, read_declarations
from dissectors.qemu.simpletrace import DISSECTOR, DROPPED, FIXED_ARGUMENTS, SimpleTrace, sniff
from dissectors.qemu.simpletrace_records import Order, arguments, records
from dissectors.record import Damage, Loss, Record, Value

ORDERS: tuple[Order, ...] = get_args(Order)
VERSIONS = (0, 2, 3, 4)

# A build's events: ours in several forms, others', one that is disabled, one with every kind of argument.
BUILD = """
breakpoint_insert(int number) "%d"
cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"
disable cpu_off(void) ""
cpu_out(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"
visit_type_str(void *v, const char *name, char **obj) "v=%p name=%s obj=%p"
xen_platform_log(char *s) "xen platform: %s"
memory_region_ops_read(int cpu_index, void *mr, uint64_t addr, uint64_t value, unsigned size) "%d %p %lu %lu %u"
disable xen_off(uint64_t addr) "0x%lx"
xen_bus_realize(void) ""
xen_kinds(int8_t small, uint16_t half, int64_t wide, bool flag, char letter, void *p, double real) "%d%d%ld%d%c%p%f"
xen_two_texts(const char *one, int between, char *other) "%s %d %s"
"""


@cache
def build() -> Catalogue:
    declared = read_declarations(BUILD, "build")
    return Catalogue(declared, ordered=declared)


@cache
def numbers(version: int) -> Mapping[int, EventDeclaration]:
    """The numbers of the build's events. QEMU up to 2.0 (versions 0 and 2) left disabled ones out."""
    declared = [one for one in build().ordered if version >= 3 or not one.disabled]
    return {number * 7 if version == 4 else number: one for number, one in enumerate(declared)}


def is_ours(number: int, version: int) -> bool:
    """Whether it is an event that is told of; in version 0, a line of the log without its text is none."""
    others = ("breakpoint_insert", "cpu_off", "visit_type_str", *(() if version else ("xen_platform_log",)))
    return numbers(version)[number].name not in others


@dataclass(frozen=True)
class Event:
    """An event as the build wrote it: the wire's numbers and texts."""

    number: int
    time_ns: int
    pid: int
    wire: tuple[int | bytes, ...]


@dataclass(frozen=True)
class Dropped:
    """A record that tells how many are missing."""

    count: int


@dataclass(frozen=True)
class Name:
    """A record that names a number, again or for the first time."""

    number: int


Item = Event | Dropped | Name


def written(item: Item, version: int, order: Order) -> bytes:
    """What QEMU's back end writes, by construct."""
    declared = records(order)
    if isinstance(item, Name):
        body = {"event": item.number, "name": numbers(4)[item.number].name.encode()}
        return bytes(declared.tagged.build({"type": 0, "body": body}))
    if isinstance(item, Dropped):
        number, time_ns, pid, wire = DROPPED, 5, 8, declared.dropped.build([item.count])
        fixed: Sequence[Any] = [item.count]
    else:
        number, time_ns, pid = item.number, item.time_ns, item.pid
        fixed = [0x7F00 if isinstance(one, bytes) else one & (1 << 64) - 1 for one in item.wire]
        wire = b"" if version == 0 else arguments(numbers(version)[number], order).build(item.wire)
    if version == 0:
        fixed = [*fixed, *[0] * (FIXED_ARGUMENTS - len(fixed))]
        return bytes(declared.fixed.build({"event": number, "time_ns": time_ns, "arguments": fixed}))
    event = {"event": number, "time_ns": time_ns, "pid": pid if version > 2 else 0, "arguments": wire}
    return bytes(declared.tagged.build({"type": 1, "body": event}) if version == 4 else declared.event.build(event))


def file_of(items: Iterable[Item], version: int, order: Order, *, named: bool = True) -> bytes:
    names = [Name(number) for number in numbers(4)] if version == 4 and named else []
    parts = [records(order).header.build({"version": version, "unused": [0] * 5})]
    return b"".join([*parts, *(written(item, version, order) for item in (*names, *items))])


def read(data: bytes, events: Catalogue | None = None, size: int = 1 << 22) -> list[Record | Damage | Loss]:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return list(SimpleTrace(Given("trace", events or build())).read(chunks))


def events_of(found: Iterable[object]) -> list[Record]:
    return [one for one in found if isinstance(one, Record)]


def value_of(argument: Argument, wire: int | bytes, version: int) -> Value:
    """What the text log's reader gives for an argument, and nothing where the format has not got it."""
    if argument.ctype in ("char *", "const char *"):
        return wire if version and isinstance(wire, bytes) else None
    assert isinstance(wire, int)
    if argument.ctype == "char":
        return bytes([wire & 0xFF])
    if argument.ctype == "double":
        return None
    return (wire or None) if "*" in argument.ctype else wire


def expected(item: Event, version: int) -> tuple[Any, ...]:
    declaration = numbers(version)[item.number]
    values = {
        one.name: value_of(one, wire, version) for one, wire in zip(declaration.arguments, item.wire, strict=True)
    }
    return declaration.name, values, item.time_ns, "monotonic", item.pid if version > 2 else None


def told(record: Record) -> tuple[Any, ...]:
    return record.event, dict(record.values), record.time_ns, record.clock, record.thread


RANGES = {
    "int": (-(1 << 31), (1 << 31) - 1), "unsigned int": (0, (1 << 32) - 1), "unsigned": (0, (1 << 32) - 1),
    "char": (-128, 127), "uint64_t": (0, (1 << 64) - 1), "int8_t": (-128, 127), "uint16_t": (0, 65535),
    "int64_t": (-(1 << 63), (1 << 63) - 1), "bool": (0, 1), "double": (0, (1 << 64) - 1),
}
TEXTS = st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"x"))


def wires(argument: Argument) -> st.SearchStrategy[int | bytes]:
    if argument.ctype in ("char *", "const char *"):
        return st.one_of(TEXTS, TEXTS.map(lambda text: (text or b"y") * 512).map(lambda text: text[:512]))
    least, most = RANGES.get(argument.ctype, (0, (1 << 64) - 1))
    return st.one_of(st.integers(least, most), st.sampled_from([least, most, 0]))


def items(version: int) -> st.SearchStrategy[Item]:
    known = {
        number: one for number, one in numbers(version).items()
        if not one.disabled and (version or len(one.arguments) <= FIXED_ARGUMENTS)
    }
    events = st.sampled_from(sorted(known)).flatmap(
        lambda number: st.builds(
            Event, st.just(number), st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 32) - 1),
            st.tuples(*(wires(one) for one in known[number].arguments)),
        )
    )
    others: list[st.SearchStrategy[Item]] = [st.builds(Dropped, st.integers(0, (1 << 64) - 1))]
    if version == 4:
        others.append(st.sampled_from(sorted(known)).map(Name))
    return st.one_of(events, events, *others)


@st.composite
def recordings(draw: st.DrawFn, version: int | None = None) -> tuple[int, Order, list[Item]]:
    chosen = draw(st.sampled_from(VERSIONS)) if version is None else version
    return chosen, draw(st.sampled_from(ORDERS)), draw(st.lists(items(chosen), max_size=12))


def accounted(found: Sequence[Record | Damage | Loss], total: int) -> None:
    """What was told of has its place in the file, in order, and nothing is told of twice."""
    end = 0
    for number, one in itertools.pairwise([*found, None]):
        assert number is not None
        assert number.offset >= end
        assert number.length > 0
        assert one is None or number.line < one.line
        end = number.offset + number.length
    assert end <= total


class TestFilesAsTheyAreWritten:
    @settings(max_examples=300, deadline=None)
    @given(recording=recordings(), size=st.sampled_from([1, 7, 64, 1000, 1 << 22]))
    def test_what_construct_builds_is_read(self, recording: tuple[int, Order, list[Item]], size: int) -> None:
        version, order, written_items = recording
        data = file_of(written_items, version, order)
        found = read(data, size=size)
        ours = [one for one in written_items if isinstance(one, Event) and is_ours(one.number, version)]
        assert [told(one) for one in events_of(found)] == [expected(one, version) for one in ours]
        assert [one.reason for one in found if isinstance(one, Loss)] == [
            f"{one.count} records are missing here" for one in written_items if isinstance(one, Dropped)
        ]
        assert not [one for one in found if isinstance(one, Damage)]
        assert all(data[one.offset : one.offset + one.length] == one.raw for one in events_of(found))

    @settings(max_examples=200, deadline=None)
    @given(recording=recordings())
    def test_construct_reads_the_same(self, recording: tuple[int, Order, list[Item]]) -> None:
        version, order, written_items = recording
        data = file_of(written_items, version, order)
        second = records(order).file.parse(data)
        assert second.header.version == version
        places = {}
        for one in second.records:
            event = one.body if version == 4 else one
            if "time_ns" in event:
                places[one.offset] = event
        for found in read(data):
            event = places.pop(found.offset)
            if isinstance(found, Record):
                declaration = numbers(version)[event.event]
                wire = event.arguments if version == 0 else arguments(declaration, order).parse(event.arguments)
                assert (found.event, found.time_ns) == (declaration.name, event.time_ns)
                if version:
                    assert list(found.values.values()) == [
                        value_of(one, raw, version) for one, raw in zip(declaration.arguments, wire, strict=True)
                    ]
            else:
                assert event.event == DROPPED
        assert not [one for one in places.values() if is_ours(one.event, version)]

    @pytest.mark.parametrize("order", ORDERS)
    def test_every_record_is_counted(self, order: Order) -> None:
        reader = SimpleTrace(Given("trace", build()))
        data = file_of([Event(0, 1, 2, (1,)), Event(7, 1, 2, (16, 98, 1)), Dropped(9)], 4, order)
        found = list(reader.read([data]))
        names = len(numbers(4))
        assert reader.records == 1 + names + 3  # the header too
        assert [one.line for one in found] == [names + 3, names + 4]

    def test_a_time_that_64_bits_cannot_hold_is_no_time(self) -> None:
        (found,) = read(file_of([Event(7, 1 << 63, 2, (16, 98, 1))], 4, "little"))
        assert isinstance(found, Record)
        assert (found.time_ns, found.clock) == (None, None)

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_file_is_known_by_its_first_bytes(self, order: Order) -> None:
        head = file_of([], 4, order)
        assert sniff(head) == 100
        assert [one.name for one, _ in choose(head)] == ["simpletrace"]
        assert sniff(head[:15]) == sniff(b"cpu_in addr 0x10(w) value 18898\n") == sniff(b"") == 0

    def test_the_example_is_the_record_of_a_log_line(self) -> None:
        names = b"".join(
            records("little").tagged.build({"type": 0, "body": {"event": 0xD58, "name": b"cpu_in"}}) for _ in range(1)
        )
        (found,) = read(records("little").header.build({"version": 4}) + names + DISSECTOR.example, catalogue.load())
        assert isinstance(found, Record)
        assert (found.event, dict(found.values)) == ("cpu_in", {"addr": 0x10, "size": b"w", "val": 18898})


class TestDeclarations:
    @pytest.mark.parametrize(("version", "number"), [(0, 2), (2, 2), (3, 3)])
    def test_disabled_events_have_numbers_since_qemu_2_1(self, version: int, number: int) -> None:
        assert numbers(version)[number].name == "cpu_out"
        (found,) = read(file_of([Event(number, 1, 2, (16, 98, 1))], version, "little"))
        assert isinstance(found, Record)
        assert found.event == "cpu_out"

    @pytest.mark.parametrize("version", [0, 2, 3])
    def test_without_declarations_a_version_that_has_only_numbers_is_one_damage(self, version: int) -> None:
        data = file_of([Event(1, 1, 2, (16, 98, 1))] * 5, version, "little")
        (found,) = read(data, catalogue.load())
        assert isinstance(found, Damage)
        assert (found.offset, found.length, found.line) == (0, len(data), 1)
        assert f"version {version}" in found.reason
        assert "--trace-events" in found.reason

    def test_the_form_is_the_one_that_has_the_record_s_length(self) -> None:
        """QEMU 2.8 to 6.0 write no name of a region; 6.1 and later do."""
        events = catalogue.load()
        forms = {one.era: one for one in events.declarations(b"memory_region_ops_read")}
        wires_of = {"2.10-6.0": (-1, 0x55, 0x10, 0x49D2, 2), "6.1-": (-1, 0x55, 0x10, 0x49D2, 2, b"xen-fixed")}
        for era, wire in wires_of.items():
            body = {"event": 1, "time_ns": 1, "pid": 2, "arguments": arguments(forms[era], "little").build(wire)}
            names = {"event": 1, "name": b"memory_region_ops_read"}
            data = records("little").header.build({"version": 4}) + b"".join(
                records("little").tagged.build({"type": kind, "body": one}) for kind, one in [(0, names), (1, body)]
            )
            (found,) = read(data, events)
            assert isinstance(found, Record)
            assert tuple(found.values.values()) == wire

    def test_a_user_s_declaration_wins(self, tmp_path: Path) -> None:
        """A private build's event has other arguments of the same length."""
        private = tmp_path / "trace-events"
        private.write_text('cpu_in(uint64_t where, uint64_t wide, int val) "%lu %lu %d"\n')
        data = file_of([Event(7, 1, 2, (16, 98, 1))], 4, "little")
        ours, theirs = (events_of(read(data, events)) for events in (catalogue.load(), catalogue.load([private])))
        assert dict(ours[0].values) == {"addr": 16, "size": b"b", "val": 1}
        assert dict(theirs[0].values) == {"where": 16, "wide": 98, "val": 1}

    def test_files_of_a_build_are_one_after_the_other(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        one.write_text('a(void) ""\ndisable b(void) ""\n')
        other.write_text('cpu_reset(int cpu_index) "%d"\n')
        events = catalogue.load([one, other])
        assert [(declared.name, declared.disabled) for declared in events.ordered] == [
            ("a", False), ("b", True), ("cpu_reset", False),
        ]  # fmt: skip
        assert catalogue.load().ordered == ()

    def test_a_number_that_its_type_cannot_hold_is_damage(self) -> None:
        good = file_of([Event(7, 1, 2, (16, 98, 1))], 4, "little")
        bad = good[:-4] + b"\1\0\0\0"  # an unsigned int of 33 bits
        (found,) = read(bad)
        assert isinstance(found, Damage)
        assert found.reason == "cpu_in does not have the form of its event"

    def test_a_number_without_a_name_is_damage(self) -> None:
        (found,) = read(file_of([Event(7, 1, 2, (16, 98, 1))], 4, "little", named=False))
        assert isinstance(found, Damage)
        assert found.reason == "no event has the number 7"


CUT_EVENTS: tuple[tuple[str, tuple[int | bytes, ...]], ...] = (
    ("cpu_out", (18, 119, 3)), ("breakpoint_insert", (-1,)), ("xen_platform_log", (b"hello \xff",)),
    ("visit_type_str", (1, b"id", 2)), ("cpu_in", (16, 119, 0x49D2)), ("xen_bus_realize", ()),
    ("visit_type_str", (3, b"driver", 4)), ("xen_platform_log", (b"odd",)),
    ("memory_region_ops_read", (-1, 5, 16, 0x49D2, 2)),
)  # fmt: skip
"""No event of others stands 1, 2, 4, 8... bytes before the end of a later one: a flipped bit of its length is seen."""


def numbered(name: str, version: int) -> int:
    return next(number for number, one in numbers(version).items() if one.name == name)


CUT: dict[int, list[Item]] = {
    version: [Event(numbered(name, version), 11, 12, wire) for name, wire in CUT_EVENTS] for version in VERSIONS
}


def ends_of_records(version: int, order: Order) -> Iterator[int]:
    """Where the file may be cut without harm: after the header, and after each name and each event."""
    end = len(file_of([], version, order, named=False))
    yield end
    for item in (*(Name(number) for number in numbers(4) if version == 4), *CUT[version]):
        end += len(written(item, version, order))
        yield end


class TestDamage:
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_file_cut_at_any_byte(self, version: int, order: Order) -> None:
        data = file_of(CUT[version], version, order)
        whole = [told(one) for one in events_of(read(data))]
        ends = {0, *ends_of_records(version, order)}
        for cut in range(len(data)):
            found = read(data[:cut])
            accounted(found, cut)
            kept = events_of(found)
            assert [told(one) for one in kept] == whole[: len(kept)]
            damage = [one for one in found if isinstance(one, Damage)]
            assert len(damage) == (cut not in ends)
            assert all(one.offset + one.length == cut for one in damage)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_flipped_bit_loses_nothing_silently(self, version: int, order: Order) -> None:
        """Every record of ours that was not hit is read, or lies in what is said to be damaged."""
        data = bytearray(file_of(CUT[version], version, order))
        whole = events_of(read(bytes(data)))
        for at in range(len(file_of([], version, order)), len(data)):
            for bit in range(8):
                data[at] ^= 1 << bit
                found = read(bytes(data))
                data[at] ^= 1 << bit
                accounted(found, len(data))
                offsets = {one.offset for one in events_of(found)}
                damage = [range(one.offset, one.offset + one.length) for one in found if isinstance(one, Damage)]
                for one in whole:
                    hit = one.offset <= at < one.offset + one.length
                    assert hit or one.offset in offsets or any(one.offset in stretch for stretch in damage)

    @settings(max_examples=300, deadline=None)
    @given(recording=recordings(), data=st.data())
    def test_flipped_bits_never_raise(self, recording: tuple[int, Order, list[Item]], data: st.DataObject) -> None:
        version, order, written_items = recording
        raw = bytearray(file_of(written_items, version, order))
        for at in data.draw(st.lists(st.integers(0, len(raw) * 8 - 1), min_size=1, max_size=8)):
            raw[at // 8] ^= 1 << at % 8
        accounted(read(bytes(raw), size=data.draw(st.sampled_from([33, 1 << 22]))), len(raw))

    @settings(max_examples=200, deadline=None)
    @given(raw=st.binary(max_size=400), order=st.sampled_from(ORDERS), version=st.sampled_from([*VERSIONS, 1, 5]))
    def test_anything_may_follow_a_header(self, raw: bytes, order: Order, version: int) -> None:
        data = records(order).header.build({"version": version, "unused": [0] * 5}) + raw
        accounted(read(data), len(data))

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(recording=recordings(version=4), garbage=st.binary(min_size=1, max_size=200), data=st.data())
    def test_after_garbage_reading_goes_on(
        self, recording: tuple[int, Order, list[Item]], garbage: bytes, data: st.DataObject
    ) -> None:
        _, order, written_items = recording
        place = data.draw(st.integers(0, len(written_items)))
        before = file_of(written_items[:place], 4, order)
        after = [written(one, 4, order) for one in written_items[place:]]
        found = read(before + garbage + b"".join(after))
        accounted(found, len(before) + len(garbage) + sum(map(len, after)))
        ours = [one for one in written_items if isinstance(one, Event) and is_ours(one.number, 4)]
        got = [told(one) for one in events_of(found)]
        for one in ours[sum(one in ours for one in written_items[:place]) + 1 :]:  # the first after it may be taken in
            assert expected(one, 4) in got
        assert any(isinstance(one, Damage) for one in found)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("version", [2, 3, 4])
    def test_a_length_of_4_gib_takes_no_memory(self, version: int, order: Order) -> None:
        endian = "<" if order == "little" else ">"
        head = written(CUT[version][0], version, order)
        at = 8 * (version == 4) + 16
        huge = head[:at] + struct.pack(f"{endian}I", 0xFFFFFFFF) + head[at + 4 :]
        found = read(file_of([], version, order) + huge + head)
        assert [type(one) for one in found] == [Damage, Record]
        assert found[0].length == len(huge)

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_string_of_4_gib_takes_no_memory(self, order: Order) -> None:
        endian = "<" if order == "little" else ">"
        text = written(CUT[4][2], 4, order)
        huge = text[:32] + struct.pack(f"{endian}I", 0xFFFFFFFF) + text[36:]
        found = read(file_of([], 4, order) + huge + text)
        assert [type(one) for one in found] == [Damage, Record]

    @pytest.mark.parametrize("length", [0, 1, 23, 262145])
    def test_a_length_that_no_record_has(self, length: int) -> None:
        text = written(CUT[4][2], 4, "little")
        found = read(file_of([], 4, "little") + text[:24] + struct.pack("<I", length) + text[28:] + text)
        assert [type(one) for one in found] == [Damage, Record]
        assert isinstance(found[0], Damage)
        assert found[0].reason == f"expected a record of 24 to 262144 bytes, found {length}"

    def test_a_wrong_length_of_an_event_of_others_hides_nothing(self) -> None:
        foreign = written(CUT[4][1], 4, "little")
        longer = foreign[:24] + struct.pack("<I", 100) + foreign[28:]
        ours = written(CUT[4][0], 4, "little")
        start = file_of([], 4, "little")
        found = read(start + longer + ours * 3)
        assert [(type(one), one.offset - len(start)) for one in found] == [
            (Damage, 0), (Record, len(longer)), (Record, len(longer + ours)), (Record, len(longer + ours * 2)),
        ]  # fmt: skip

    def test_a_version_that_nobody_knows(self) -> None:
        data = records("little").header.build({"version": 0x1AF400000000}) + bytes(100)
        (found,) = read(data)
        assert isinstance(found, Damage)
        assert (found.length, found.reason) == (
            len(data), f"simpletrace of version {0x1AF400000000}, expected 0, 2, 3 or 4",
        )  # fmt: skip

    def test_a_file_that_lost_its_header(self) -> None:
        data = file_of(CUT[4], 4, "little")[24:]
        (found,) = read(data)
        assert isinstance(found, Damage)
        assert (found.length, found.reason) == (len(data), "expected the header of a simpletrace file")

    def test_nothing_at_all(self) -> None:
        assert read(b"") == []
        assert read(file_of([], 4, "big")) == []


class TestSeveralFilesInOne:
    @pytest.mark.parametrize("versions", list(itertools.product(VERSIONS, VERSIONS)))
    def test_files_of_any_version_and_order_follow_each_other(self, versions: tuple[int, int]) -> None:
        one, other = versions
        data = file_of(CUT[one], one, "little") + file_of(CUT[other], other, "big")
        ours = [(version, item) for version in versions for item in CUT[version]]
        assert [told(found) for found in read(data)] == [  # type: ignore[arg-type] # nothing is damaged
            expected(item, version)
            for version, item in ours
            if isinstance(item, Event) and is_ours(item.number, version)
        ]

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("version", [2, 3, 4])
    def test_a_file_that_was_cut_does_not_hide_the_next(self, version: int, order: Order) -> None:
        first, second = file_of(CUT[version], version, order), file_of(CUT[version], version, order)
        whole = [told(one) for one in events_of(read(second))]
        for lost in range(1, len(written(CUT[version][-1], version, order))):
            found = read(first[:-lost] + second)
            assert [told(one) for one in events_of(found)][-len(whole) :] == whole
            assert len([one for one in found if isinstance(one, Damage)]) == 1

    @pytest.mark.parametrize("version", [2, 3, 4])
    def test_nor_does_one_that_was_cut_after_an_event_of_others(self, version: int) -> None:
        """What was passed over may have been too long, so it is looked at again."""
        first = file_of([CUT[version][1], CUT[version][-1]], version, "little")
        second = file_of(CUT[version], version, "little")
        for lost in range(1, len(written(CUT[version][-1], version, "little"))):
            found = read(first[:-lost] + second)
            assert [type(one) for one in found] == [Damage] + [Record] * len(events_of(read(second)))

    def test_an_old_file_without_declarations_does_not_hide_the_next(self) -> None:
        old, new = file_of(CUT[2], 2, "little"), file_of(CUT[4], 4, "little")
        found = read(old + new, catalogue.load())
        assert isinstance(found[0], Damage)
        assert (found[0].offset, found[0].length) == (0, len(old))
        assert len(events_of(found)) == 6

    def test_names_may_change_between_files(self) -> None:
        endian = records("little")
        body = {"event": 7, "time_ns": 1, "pid": 2, "arguments": struct.pack("<QQQ", 16, 98, 1)}
        parts = [
            endian.header.build({"version": 4})
            + endian.tagged.build({"type": 0, "body": {"event": 7, "name": name}})
            + endian.tagged.build({"type": 1, "body": body})
            for name in (b"cpu_in", b"cpu_out", b"something_else")
        ]
        assert [one.event for one in events_of(read(b"".join(parts)))] == ["cpu_in", "cpu_out"]
