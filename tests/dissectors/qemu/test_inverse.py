"""Given the text that a declared event printed, its arguments come back; given a hostile text, nothing breaks."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.qemu.catalogue import load
from dissectors.qemu.declaration import Argument, DeclarationError, EventDeclaration, read_declarations
from dissectors.qemu.inverse import Column, EventPattern, Value


def pattern(declared: str) -> EventPattern:
    (declaration,) = read_declarations(declared, "t")
    return EventPattern(declaration)


def one(conversion: str, ctype: str = "int") -> EventPattern:
    return pattern(f'e({ctype} a) "{conversion}"')


def test_a_port_access_is_read() -> None:
    cpu_in = pattern('cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"')
    assert cpu_in.columns == (Column("addr", "integer"), Column("size", "character"), Column("val", "integer"))
    assert cpu_in.match(b"addr 0x10(w) value 18898") == {"addr": 16, "size": b"w", "val": 18898}
    assert cpu_in.match(b"213@1.000001:cpu_in addr 0x10(w) value 18898", 20) == {"addr": 16, "size": b"w", "val": 18898}
    assert cpu_in.match(b"addr 0x10(w) value 18898 and more") is None
    assert cpu_in.match_prefix(b"addr 0x10(w) value 7junk", 0) == ({"addr": 16, "size": b"w", "val": 7}, 20)


@pytest.mark.parametrize(
    ("conversion", "text", "value"),
    [
        ("%d", b"-1", -1),
        ("%i", b"17", 17),
        ("%+d", b"+17", 17),
        ("% d", b" 17", 17),
        ("%u", b"4294967295", 4294967295),
        ("%hhu", b"255", 255),
        ("%zd", b"-5", -5),
        ("%jx", b"ff", 255),
        ("%x", b"ff", 255),
        ("%x", b"FF", None),
        ("%X", b"FF", 255),
        ("%o", b"17", 15),
        ("%#o", b"017", 15),
        ("%#x", b"0", 0),
        ("%#x", b"0x10", 16),
        ("%#x", b"0x0", None),
        ("%#x", b"10", None),
        ("%#X", b"0X1F", 31),
        ("%#lx", b"0xffffffffffffffff", 2**64 - 1),
        ("%#010x", b"0x000000ff", 255),
        ("%#010x", b"0000000000", 0),
        ("%02x", b"0f", 15),
        ("%02x", b"f", None),
        ("%02x", b"100", 256),
        ("%.8x", b"0000001f", 31),
        ("%8.8x", b"0000001f", 31),
        ("%5d", b"   17", 17),
        ("%5d", b"  -17", -17),
        ("%-5d", b"17   ", 17),
        ("%05d", b"-0017", -17),
        ("%d%%", b"50%", 50),
        ("%x be", b"be be", 0xBE),
        ("%xbe", b"bebe", 0xBE),
    ],
)
def test_an_integer_is_read(conversion: str, text: bytes, value: int | None) -> None:
    assert one(conversion).match(text) == (None if value is None else {"a": value})


@pytest.mark.parametrize(
    ("text", "value"), [(b"0x7f11e53c0000", 0x7F11E53C0000), (b"(nil)", None), (b"0x0", 0), (b"7f11", 0x7F11)]
)
def test_a_pointer_is_read_and_null_is_none(text: bytes, value: int | None) -> None:
    assert one("%p", "void *").match(text) == {"a": value}


def test_a_character_is_one_byte() -> None:
    assert one("(%c)", "char").match(b"(\xff)") == {"a": b"\xff"}
    assert one("(%c)", "char").match(b"(ab)") is None


def test_a_string_at_the_end_is_everything_else_the_shortest() -> None:
    node = pattern('xs_node_vprintf(char *path, char *value) "%s %s"')
    assert node.match(b"/local/domain/0 a b c") == {"path": b"/local/domain/0", "value": b"a b c"}
    state = pattern('e(const char *type, char *name, const char *state) "type: %s name: %s -> %s"')
    assert state.match(b"type: xen-disk name: 768 -> XenbusStateConnected") == {
        "type": b"xen-disk", "name": b"768", "state": b"XenbusStateConnected"
    }


def test_a_quoted_string_may_hold_the_quote_but_glued_text_ends_it() -> None:
    named = pattern("e(unsigned size, const char *name) \"size %u name '%s'\"")
    assert named.match(b"size 1 name 'it's'") == {"size": 1, "name": b"it's"}
    assert named.match_prefix(b"size 1 name 'mmio'213@17.5:cpu_in", 0) == ({"size": 1, "name": b"mmio"}, 18)


def test_any_byte_but_a_newline_is_text() -> None:
    log = pattern('xen_platform_log(char *s) "xen platform: %s"')
    everything = bytes(set(range(256)) - {10})
    assert log.match(b"xen platform: " + everything) == {"s": everything}
    assert log.match(b"xen platform: a\nb") is None
    assert log.match_prefix(b"xen platform: a\nb") == ({"s": b"a"}, 15)


@pytest.mark.parametrize(
    ("conversion", "text", "value"),
    [("[%8s]", b"[     abc]", b"abc"), ("[%-8s]", b"[abc     ]", b"abc"), ("[%2s]", b"[ abc ]", b" abc ")],
)
def test_padding_of_a_string_is_no_part_of_it(conversion: str, text: bytes, value: bytes) -> None:
    assert one(conversion, "char *").match(text) == {"a": value}


def test_a_precision_that_is_an_argument_is_not_in_the_text() -> None:
    counted = pattern('e(int len, const char *s, int n) "%.*s is %d"')
    assert counted.columns == (Column("s", "string"), Column("n", "integer"))
    assert counted.match(b"abc is 3") == {"s": b"abc", "n": 3}


def test_numbers_that_touch_are_told_apart_by_their_widths() -> None:
    address = pattern('e(uint8_t a, uint8_t b, uint8_t c) "%02x%02x%02x"')
    assert address.match(b"00163e") == {"a": 0, "b": 0x16, "c": 0x3E}
    counter = pattern('e(uint32_t high, uint32_t low) "%x%08x"')
    assert counter.match(b"1200000003") == {"high": 0x12, "low": 3}
    clock = pattern('e(int a, int b) "%02d%02d"')
    assert clock.match(b"1234") == {"a": 12, "b": 34}


@pytest.mark.parametrize("ending", [" ", "\\n", " \\n"])
def test_a_blank_or_a_newline_at_the_end_may_be_missing(ending: str) -> None:
    number = one("cpu %d" + ending)
    assert number.match(b"cpu 7") == {"a": 7}
    text = one("cpu %s" + ending, "char *")
    assert text.match(b"cpu x y") == {"a": b"x y"}
    if " " in ending:
        assert number.match(b"cpu 7 ") == {"a": 7}
        assert text.match(b"cpu x y ") == {"a": b"x y"}


def test_an_empty_format_is_an_empty_text() -> None:
    empty = pattern('xen_bus_realize(void) ""')
    assert empty.match(b"xen_bus_realize ", 16) == {}
    assert empty.match(b"x") is None


def test_a_real_number_stays_as_printed() -> None:
    speed = one("%.2f MB/s", "double")
    assert speed.columns == (Column("a", "real"),)
    assert speed.match(b"-12.50 MB/s") == {"a": b"-12.50"}


def test_too_few_arguments_are_an_error_that_says_where() -> None:
    with pytest.raises(DeclarationError, match=r"^mine:7: "):
        EventPattern(EventDeclaration("e", (), "%d", "", "mine:7"))


@pytest.mark.parametrize(("conversion", "most"), [("%d", 20), ("%u", 20), ("0x%x", 16), ("%p", 16), ("%o", 22)])
def test_no_more_digits_than_a_number_can_have(conversion: str, most: int) -> None:
    literal = conversion.startswith("0x")
    number = one(conversion)
    assert number.match(b"0x" * literal + b"1" * most) is not None
    assert number.match(b"0x" * literal + b"1" * (most + 1)) is None
    assert number.match(b"0x" * literal + b"1" * 1_000_000) is None


HOSTILE = [
    ('e(char *a, char *b, char *c, char *d) "type: %s name: %s node: %s key: %s"', b"type: " + b" name: " * 40_000),
    ('e(char *a, char *b, char *c, char *d) "%s %s %s %s!"', b" " * 300_000),
    ('e(int a, char *b, int c, char *d) "%d (%s) new %d (%s)"', b"1 (" + b") new 1 (" * 30_000),
    ('e(int a, int b, int c, int d, int e, int f) "%x%x%x%x%x%x!"', b"1" * 300_000),
    ('e(int a, int b, int c, int d, int e, int f) "%xa%xa%xa%xa%xa%x!"', b"a" * 300_000),
    ('e(int a, int b, int c, int d) "%-200d%-200d%-200d%-200d!"', b"1" + b" " * 300_000),
    ('e(char *a, int b, char *c, int d) "%s%d%s%d!"', b"1" * 300_000),
    ('e(char *a) "%s   "', b" " * 300_000),
]


@pytest.mark.parametrize(("declared", "text"), HOSTILE)
def test_a_hostile_text_takes_no_longer_than_its_length(declared: str, text: bytes) -> None:
    hostile = pattern(declared)
    begin = time.process_time()
    hostile.match(text)
    hostile.match_prefix(text)
    assert time.process_time() - begin < 2


INTEGERS = ["%d", "%u", "%x", "%#x", "0x%x", "%X", "%02x", "%08x", "%5d", "%-6d", "%i", "%o", "%lu", "0x%lx", "%04d"]
SEPARATORS = [" ", ", ", " addr ", ":", " -> ", ") (", "=", "+g"]


@st.composite
def printed_events(draw: st.DrawFn) -> tuple[EventDeclaration, bytes, dict[str, Value]]:
    """A declaration, the text that printf makes of random values, and the values."""
    form, text, values = "", b"", dict[str, Value]()
    arguments: list[Argument] = []
    count = draw(st.integers(1, 6))
    for at in range(count):
        name = f"a{at}"
        separator = draw(st.sampled_from(SEPARATORS))
        form += separator
        text += separator.encode()
        kind = draw(st.sampled_from(["integer", "string", "pointer", "character"]))
        if kind == "integer":
            conversion = draw(st.sampled_from(INTEGERS))
            signed = conversion[-1] in "di"
            number = draw(st.integers(-(2**63), 2**63 - 1) if signed else st.integers(0, 2**64 - 1))
            number = draw(st.sampled_from([number, 0, 1, number % 256]))
            arguments.append(Argument("int64_t" if signed else "uint64_t", name))
            text += b"0" if number == 0 and "#" in conversion else (conversion % number).encode()  # as C does
            values[name] = number
        elif kind == "string":
            conversion = "%s"
            string = draw(st.binary(max_size=12))
            string = bytes(byte for byte in string if byte not in b"\n :,-+=()agdr>")
            if at == count - 1:
                string += draw(st.sampled_from([b"", b"one and : more", b"\xff\r\x00"]))
            arguments.append(Argument("char *", name))
            text += string
            values[name] = string
        elif kind == "pointer":
            conversion = "%p"
            address = draw(st.none() | st.integers(1, 2**64 - 1))
            arguments.append(Argument("void *", name))
            text += b"(nil)" if address is None else b"%#x" % address
            values[name] = address
        else:
            conversion = "%c"
            character = draw(st.sampled_from([b"b", b"w", b"l", b"\xff", b"%"]))
            arguments.append(Argument("char", name))
            text += character
            values[name] = character
        form += conversion
    return EventDeclaration("e", tuple(arguments), form, "", "t:1"), text, values


@given(printed_events(), st.binary(max_size=8))
def test_what_was_printed_is_read_back(event: tuple[EventDeclaration, bytes, dict[str, Value]], before: bytes) -> None:
    declaration, text, values = event
    inverse = EventPattern(declaration)
    assert inverse.match(before + text, len(before)) == values
    assert inverse.match_prefix(before + text, len(before)) == (values, len(before) + len(text))


@given(st.sampled_from(sorted(load().names)), st.binary(max_size=200))
def test_no_text_crashes_a_pattern(name: bytes, text: bytes) -> None:
    for known in load().patterns(name):
        known.match(text)
        found = known.match_prefix(text)
        assert found is None or 0 <= found[1] <= len(text)


def test_a_regex_has_one_group_a_column() -> None:
    for name in load().names:
        for known in load().patterns(name):
            assert known.regex.groups == len(known.columns)
            assert not re.match(rb"\^|\\A|.*\$$", known.regex.pattern)
