"""What the kernel reads as a record is what the grammar reads; and its twin reads the same."""

from __future__ import annotations

import gzip
from functools import cache
from random import Random
from typing import Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.kernel import HAS, HAS_REGION, RECORD, SLOTS, Kernel, dtype, twin
from dissectors.qemu import catalogue
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import DeclarationError, read_declarations
from dissectors.qemu.programs import EVENTS, programs
from dissectors.qemu.textlog import TextLog
from dissectors.record import Record
from tests.dissectors.kernel.material import BASE, DATA, PORTS, REGION, lines, printed, read, real

ARGUMENTS: Final = {
    "addr": "address", "data": "value", "val": "value", "value": "value", "size": "size", "dir": "direction",
    "type": "type", "data_is_ptr": "pointer", "count": "count", "cpu_index": "vcpu", "name": "text", "s": "text",
}
"""Which field of a record an argument of QEMU's declarations is."""
LETTERS: Final = {b"b": 1, b"w": 2, b"l": 4}
EVERYWHERE: Final = {"base": 0, "ports": (1 << 64) - 1}


@cache
def ours() -> bytes:
    return programs(catalogue.load())


def same(kernel: Kernel, data: bytes, program: bytes, *window: int, **limits: int) -> list[dict[str, int]]:
    """What both read, which is the same."""
    found = read(kernel, data, program, *window, **limits)
    assert found == read(twin, data, program, *window, **limits)
    return found


def agrees(record: dict[str, int], data: bytes, told: Catalogue) -> None:
    """The grammar says of a record's line what the record says."""
    line = data[record["start"] : record["start"] + record["length"] - 1]
    reader = TextLog(Given("x", told))
    found = list(reader.read(line, record["start"], 1, record["length"]))
    assert [type(one) for one in found] == [Record], line
    [one] = found
    assert isinstance(one, Record)
    assert reader.idle
    assert not one.recovered
    assert one.event == EVENTS[record["event"]]
    assert one.time_ns == (None if record["time_ns"] == -1 else record["time_ns"])
    assert one.clock == TextLog.clocks[record["clock"]]
    assert one.thread == (None if record["thread"] == -1 else record["thread"])
    assert (one.guest, one.domain, one.process) == (None, None, None)
    has = 0
    for name, value in one.values.items():
        place = ARGUMENTS.get(name)
        if place is None or ((place == "text") != isinstance(value, bytes) and name != "size"):
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


@given(st.lists(lines(), max_size=8), st.sampled_from([b"", b"\n", b"cpu_in addr 0x10(w) value 1"]), st.data())
@settings(max_examples=300, deadline=None)
def test_the_kernel_its_twin_and_the_grammar_read_the_same(
    kernel: Kernel, some: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    text = b"".join(line + b"\n" for line in some) + rest
    start = data.draw(st.sampled_from([0, 0, 0, *range(len(text) + 1)]))
    stop = data.draw(st.sampled_from([len(text)] * 3 + [*range(start, len(text) + 1)]))
    limits = data.draw(st.sampled_from([{}, {}, EVERYWHERE, {"room": 1}, {"room": 0}, {"ports": 0}, {"base": 1 << 63}]))
    for record in same(kernel, text, ours(), start, stop, **limits):
        agrees(record, text, catalogue.load())


@given(printed())
@settings(max_examples=300, deadline=None)
def test_a_printed_line_that_is_read_is_read_as_the_grammar_does(kernel: Kernel, line: bytes) -> None:
    for record in same(kernel, line + b"\n", ours(), **EVERYWHERE):
        agrees(record, line + b"\n", catalogue.load())


CONVERSIONS: Final = st.sampled_from([
    ("int cpu_index", "%d"), ("unsigned cpu_index", "%u"), ("unsigned addr", "%x"), ("unsigned addr", "%#x"),
    ("void *mr", "%p"), ("char size", "%c"), ("unsigned size", "%u"), ("int size", "%d"), ("const char *name", "%s"),
    ("const char *s", "%s"), ("unsigned data", "%u"), ("unsigned val", "%X"), ("unsigned addr", "%04x"),
    ("int count", "%i"),     ("char other", "%c"), ("uint64_t value", "0x%x"), ("unsigned dir", "%-2u"),
])
LITERALS: Final = st.sampled_from(["", " ", "a", "x", "0", " addr ", ": ", "(", ")", "'", " size=", "A", "0x", "-"])


@st.composite
def declarations(draw: st.DrawFn) -> str:
    """Forms of a private build, for one event."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        arguments, text = [], draw(LITERALS)
        for _ in range(draw(st.integers(1, 4))):
            argument, conversion = draw(CONVERSIONS)
            if argument.split()[-1] not in [one.split()[-1] for one in arguments]:
                arguments.append(argument)
                text += conversion + draw(LITERALS)
        made.append(f'cpu_in({", ".join(arguments)}) "{text}"')
    return "\n".join(made)


WORDS: Final = st.sampled_from([
    b"10", b"0x10", b"0", b"0x0", b"-1", b"w", b"1f", b"1F", b"0x1F", b"x", b" ", b"addr ", b"a", b"A", b"'", b"(",
    b")", b"007", b"9" * 19, b": ", b" size=", b"\r", b"(nil)", b"7",
])


@given(declarations(), st.lists(st.lists(WORDS, max_size=9).map(b"".join), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
@example('cpu_in(unsigned cpu_index, unsigned addr) "%u addr %x"', [b"-1 addr 10"])
@example('cpu_in(void *mr, unsigned addr) "%p %x"\ncpu_in(const char *s) "%s"', [b"0x1F 10"])
def test_so_it_is_with_the_forms_of_any_build(kernel: Kernel, declared: str, texts: list[bytes]) -> None:
    try:
        told = Catalogue(read_declarations(declared, "private"))
        program = programs(told)
        told.patterns(b"cpu_in")
    except DeclarationError:
        return
    for text in texts:
        data = b"cpu_in " + text.replace(b"\n", b"") + b"\n"
        for record in same(kernel, data, program, **EVERYWHERE):
            agrees(record, data, told)


@given(st.binary(max_size=300), st.binary(max_size=200), st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_bytes_of_no_sense_are_read_or_refused_alike(
    kernel: Kernel, data: bytes, program: bytes, start: int, stop: int
) -> None:
    outcomes = []
    for one in (kernel, twin):
        try:
            outcomes.append(read(one, data, program, start, stop, **EVERYWHERE))
        except ValueError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


NAMES: Final = st.sampled_from([b"a", b"cpu_in", b""])
OPERATIONS: Final = st.lists(st.one_of(
    st.tuples(st.just(1), st.binary(max_size=3)).map(lambda one: bytes((1, len(one[1]))) + one[1]),
    st.tuples(st.integers(2, 6), st.sampled_from([*range(10), 255])).map(bytes),
    st.tuples(st.sampled_from([8, 0, 255]), st.binary(max_size=3)).map(
        lambda one: bytes((7, one[0], len(one[1]))) + one[1]),
    st.just(b"\0"), st.binary(max_size=3),
), max_size=5).map(b"".join)


@given(st.lists(st.tuples(st.integers(0, 255), NAMES, OPERATIONS), max_size=4),
       st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=5).map(b"".join)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_programs_do_the_same(
    kernel: Kernel, forms: list[tuple[int, bytes, bytes]], texts: list[tuple[bytes, bytes]]
) -> None:
    program = b"".join(
        bytes((event, len(name))) + name + len(operations).to_bytes(2, "little") + operations
        for event, name, operations in forms
    )
    for name, text in texts:
        same(kernel, name + b" " + text + b"\n", program, **EVERYWHERE)


@pytest.mark.parametrize("length", [65_533, 65_534, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("ends", [b"\n", b""])
def test_a_line_of_any_length_is_read_alike(kernel: Kernel, length: int, ends: bytes) -> None:
    line = b"xen_platform_log xen platform: ".ljust(length, b"x")
    found = same(kernel, line + ends, ours())
    assert len(found) == (length <= 65_535 and ends == b"\n")


def test_text_that_fills_the_window_ends_where_the_window_ends(kernel: Kernel) -> None:
    data = b"xen_platform_log xen platform: abc\n"
    [record] = same(kernel, data, ours())
    assert data[record["text"] : record["text"] + record["text_length"]] == b"abc"
    [record] = same(kernel, b"xen_platform_log xen platform: \n", ours())
    assert record["text_length"] == 0


def test_a_window_may_end_anywhere(kernel: Kernel) -> None:
    data = b"".join(line + b"\n" for line in real()[:40])
    for stop in range(len(data[:2000])):
        for start in (0, stop // 2, stop):
            same(kernel, data, ours(), start, stop)


def test_what_comes_again_at_another_time_is_read_again(kernel: Kernel) -> None:
    """More lines that differ than are kept in mind, each several times, and times that are no part of them."""
    lines = [b"cpu_out addr 0x12(b) value %d" % value for value in range(3000)]
    lines += [b"xen_platform_log xen platform: step %d" % step for step in range(3000)]
    random = Random(7)  # noqa: S311 - no secret
    data = b"".join(
        b"%d@%d.%06d:%s\n" % (random.choice((1, 213)), random.choice((5, 1795406729)), at % 10**6, random.choice(lines))
        for at in range(20_000)
    )
    assert len(same(kernel, data, ours(), room=20_000)) == 20_000


@pytest.mark.parametrize("again", [
    b"213@1795406729.0002134:cpu_in", b"213@1795406729.00021:cpu_in", b"213@1795406729.00021x:cpu_in",
    b"213@1795406729:cpu_in", b"213@1795406729.:cpu_in", b"213@179540672.000213:cpu_in", b"213@1795406729.000213:",
    b"213@1795406729.000213:c", b"13@1795406729.000213:cpu_in", b"213@1795406729.000213 cpu_in",
    b"2026-11-25T03:00:00Z cpu_in",
])
def test_a_time_that_is_like_the_one_before(kernel: Kernel, again: bytes) -> None:
    first = b"213@1795406729.000213:cpu_in addr 0x10(w) value 18898\n"
    for more in (b" addr 0x10(w) value 18898\n", b"\n"):
        assert same(kernel, first + again + more + first, ours())[0]["time_ns"] == 1795406729_000213_000


@pytest.mark.parametrize("other", [
    b"cpu_in addr 0x12(b) value 11", b"cpu_in addr 0x12(b) value ", b"cpu_in addr 0x12(b) value 1 ", b"",
    b"cpu_in addr 0x12(b) value 2", b"cpu_in addr 0x12(b) value 1\r", b"cpu_in addr 0x12(b)\n value 1",
])
def test_a_line_that_is_nearly_what_came_next_before(kernel: Kernel, other: bytes) -> None:
    first, second = b"cpu_in addr 0x10(w) value 18898", b"cpu_in addr 0x12(b) value 1"
    for order in ((first, second, first, other, first, second), (first, other, first, second), (first, second) * 2):
        text = b"".join(b"213@1795406729.%06d:%s\n" % numbered for numbered in enumerate(order))
        assert same(kernel, text, ours())
    for end in range(len(text)):
        same(kernel, text, ours(), 0, end)


@given(st.lists(printed(stamps=()) | st.just(b""), min_size=1, max_size=4), st.lists(st.tuples(
    st.integers(0, 1 << 10), st.sampled_from([b"", b"\n", b" ", b"0", b"1", b":", b"@", b"x"]), st.integers(0, 2),
), max_size=2))
@settings(max_examples=300, deadline=None)
def test_lines_that_come_again_in_that_order(
    kernel: Kernel, some: list[bytes], changes: list[tuple[int, bytes, int]]
) -> None:
    text = bytearray(b"".join(b"213@1795406729.%06d:%s\n" % (at, line) for at, line in enumerate(some * 4)))
    for at, instead, count in changes:
        place = len(text) - min(at, len(text))
        text[place : place + count] = instead
    for start in (0, text.find(b"\n") + 1):
        same(kernel, bytes(text), ours(), start, room=32)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 6), (4, 3), (0, -1), (6, 6)])
def test_a_window_that_there_is_not_is_refused(kernel: Kernel, start: int, stop: int) -> None:
    for one in (kernel, twin):
        with pytest.raises(ValueError, match="window"):
            one.read_lines(b"a b\n\n", start, stop, b"", 0, 16, b"", np.empty(1, dtype(RECORD)))


def test_programs_that_are_cut_are_refused(kernel: Kernel) -> None:
    for one in (kernel, twin):
        for end in range(len(ours())):
            try:
                one.read_lines(b"", 0, 0, ours()[:end], 0, 16, b"", np.empty(1, dtype(RECORD)))
            except ValueError:
                continue
            assert programs_end(end)


def programs_end(end: int) -> bool:
    """Whether a program ends there."""
    at = 0
    while at < end:
        length = ours()[at + 1]
        at += 4 + length + int.from_bytes(ours()[at + 2 + length : at + 4 + length], "little")
    return at == end


def test_a_place_for_records_that_cannot_be_written_is_refused(kernel: Kernel) -> None:
    with pytest.raises((BufferError, TypeError, ValueError)):
        kernel.read_lines(b"", 0, 0, b"", 0, 16, b"", bytes(64))


def test_most_of_a_log_of_the_device_is_plain(kernel: Kernel) -> None:
    text = gzip.decompress((DATA / "real-xen" / "windows-like-excerpt.log.gz").read_bytes())
    at = plain = 0
    while at < len(text):
        found = read(kernel, text, ours(), at, room=4096)
        plain += len(found)
        at = found[-1]["start"] + found[-1]["length"] if found else text.find(b"\n", at) + 1 or len(text)
    accesses = sum(b" addr 0x1" in line or b"port=0x1" in line for line in text.split(b"\n"))
    assert plain >= 0.9 * accesses > 100


def test_every_line_of_the_recordings_that_is_read_is_read_as_the_grammar_does(kernel: Kernel) -> None:
    told, count = catalogue.load(), 0
    for line in real():
        for record in same(kernel, line + b"\n", ours(), base=BASE, ports=PORTS):
            agrees(record, line + b"\n", told)
            count += 1
    assert count > 50
