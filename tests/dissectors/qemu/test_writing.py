"""Given an event and its values, the line that QEMU would have written; given real lines, the very same lines again."""

from __future__ import annotations

import ctypes
import gzip
import platform
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu.catalogue import Catalogue, load
from dissectors.qemu.declaration import Argument, Conversion, EventDeclaration, read_declarations
from dissectors.qemu.inverse import EventPattern, Value
from dissectors.qemu.textlog import TextLog
from dissectors.qemu.writing import FORMS, Form, Range, Stamp, form_of, forms_of, print_event, range_of, write_line
from dissectors.record import Record

CATALOGUE = load()
DECLARATIONS = tuple(one for name in sorted(CATALOGUE.names) for one in CATALOGUE.declarations(name))
SECOND = 1795401500
TIME_NS = SECOND * 10**9 + 773285123


def one(conversion: str, ctype: str = "int") -> EventDeclaration:
    (declaration,) = read_declarations(f'e({ctype} a) "{conversion}"', "t")
    return declaration


def conversions(declaration: EventDeclaration) -> list[Conversion]:
    return [element for element in declaration.elements() if isinstance(element, Conversion)]


class TestPrinting:
    @pytest.mark.parametrize(
        ("conversion", "ctype", "value", "text"),
        [
            ("%d", "int", -1, b"-1"),
            ("%i", "int", 17, b"17"),
            ("%+d", "int", 17, b"+17"),
            ("% d", "int", 17, b" 17"),
            ("%5d|", "int", -17, b"  -17|"),
            ("%-5d|", "int", -17, b"-17  |"),
            ("%05d", "int", -17, b"-0017"),
            ("%05.3d", "int", -17, b" -017"),
            ("%.0d", "int", 0, b""),
            ("%u", "uint32_t", 4294967295, b"4294967295"),
            ("%x", "uint32_t", 255, b"ff"),
            ("%X", "uint32_t", 255, b"FF"),
            ("%o", "uint32_t", 8, b"10"),
            ("%#o", "uint32_t", 8, b"010"),
            ("%#o", "uint32_t", 0, b"0"),
            ("%#x", "uint32_t", 0, b"0"),
            ("%#x", "uint32_t", 16, b"0x10"),
            ("%#X", "uint32_t", 31, b"0X1F"),
            ("%#010x", "uint32_t", 255, b"0x000000ff"),
            ("%#010x", "uint32_t", 0, b"0000000000"),
            ("%02x", "uint8_t", 15, b"0f"),
            ("%02x", "uint16_t", 256, b"100"),
            ("%.8x", "uint32_t", 31, b"0000001f"),
            ("%016lx", "uint64_t", 31, b"000000000000001f"),
            ("%p", "void *", None, b"(nil)"),
            ("%p", "void *", 0, b"(nil)"),
            ("%p", "void *", 0x7F11E53C0000, b"0x7f11e53c0000"),
            ("%c", "char", b"w", b"w"),
            ("%3c", "char", b"\xff", b"  \xff"),
            ("%s", "char *", b"caf\xc3\xa9 \xff \x01\r", b"caf\xc3\xa9 \xff \x01\r"),
            ("%s", "char *", b"abc\0def", b"abc"),
            ("%s", "char *", None, b"(null)"),
            ("%8s|", "char *", b"abc", b"     abc|"),
            ("%-8s|", "char *", b"abc", b"abc     |"),
            ("%.2s|", "char *", b"abc", b"ab|"),
            ("%d%%", "int", 50, b"50%"),
            ("%.2f MB/s", "double", b"12.50", b"12.50 MB/s"),
        ],
    )
    def test_one_conversion(self, conversion: str, ctype: str, value: Value, text: bytes) -> None:
        assert print_event(one(conversion, ctype), {"a": value}) == b"e " + text

    @pytest.mark.parametrize(
        ("conversion", "ctype", "value", "text"),
        [
            ("%d", "uint32_t", 2**32 - 1, b"-1"),
            ("%u", "int", -1, b"4294967295"),
            ("%x", "int8_t", -1, b"ffffffff"),
            ("%d", "uint8_t", 255, b"255"),
            ("%lx", "int64_t", -1, b"ffffffffffffffff"),
            ("%x", "uint8_t", 256 + 7, b"7"),
        ],
    )
    def test_a_number_goes_through_the_argument_s_type_as_in_c(
        self, conversion: str, ctype: str, value: int, text: bytes
    ) -> None:
        assert print_event(one(conversion, ctype), {"a": value}) == b"e " + text

    def test_a_name_has_a_blank_behind_it_even_alone(self) -> None:
        (soft_reset,) = CATALOGUE.declarations(b"kvm_xen_soft_reset")
        assert print_event(soft_reset, {}) == b"kvm_xen_soft_reset "

    def test_a_newline_at_the_end_of_a_format_is_the_line_s_own(self) -> None:
        assert print_event(one("cpu %d \\n"), {"a": 7}) == b"e cpu 7 "

    def test_a_precision_that_is_an_argument_need_not_be_known(self) -> None:
        (counted,) = read_declarations('e(int len, const char *s, int n) "%.*s is %d"', "t")
        assert print_event(counted, {"s": b"abc", "n": 3}) == b"e abc is 3"

    @pytest.mark.parametrize(
        ("conversion", "ctype", "values", "expected"),
        [
            ("%d", "int", {"b": 1}, "e: expected a value for a, found b"),
            ("%d", "int", {}, "e: expected a value for a, found none"),
            ("%d", "int", {"a": b"1"}, "e: expected for a what %d prints, found b'1'"),
            ("%d", "int", {"a": None}, "what %d prints, found None"),
            ("%s", "char *", {"a": 1}, "what %s prints, found 1"),
            ("%p", "void *", {"a": b"0x1"}, "what %p prints"),
            ("%c", "char", {"a": b"ab"}, "what %c prints, found b'ab'"),
            ("%c", "char", {"a": 98}, "what %c prints, found 98"),
            ("%f", "double", {"a": 1}, "what %f prints, found 1"),
        ],
    )
    def test_a_value_that_cannot_be_printed_is_named(
        self, conversion: str, ctype: str, values: dict[str, Value], expected: str
    ) -> None:
        with pytest.raises(ValueError, match=re.escape(expected)):
            print_event(one(conversion, ctype), values)


def integers(argument: Argument, *, shared_with: str = "") -> st.SearchStrategy[int]:
    """Every number of the argument's type, or of those only what a conversion of the other sign shows unchanged."""
    bits = argument.bits or 64
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if argument.signed else (0, 2**bits - 1)
    if shared_with in {"d", "i"} and bits >= 32:  # a narrower one is promoted to int, which holds it
        high = 2 ** (bits - 1) - 1
    if shared_with in {"u", "x", "X", "o"}:
        low = 0
    return st.integers(low, high) | st.sampled_from([max(low, 0), high, low])


def in_type(conversion: Conversion) -> st.SearchStrategy[Value]:
    """Anything that C can put into the argument."""
    if conversion.letter == "s":
        return st.binary(max_size=40)
    if conversion.letter == "c":
        return st.binary(min_size=1, max_size=1)
    return st.none() | st.integers(0, 2**64 - 1) if conversion.letter == "p" else integers(conversion.argument)


@st.composite
def any_event(draw: st.DrawFn) -> tuple[EventDeclaration, dict[str, Value]]:
    """A declaration and anything in the range of its arguments' types."""
    declaration = draw(st.sampled_from(DECLARATIONS))
    return declaration, {one.argument.name: draw(in_type(one)) for one in conversions(declaration)}


@st.composite
def readable_event(
    draw: st.DrawFn, declarations: tuple[EventDeclaration, ...] = DECLARATIONS, *, characters: bytes | None = None
) -> tuple[EventDeclaration, dict[str, Value]]:
    """A declaration and values that its text holds without loss; what is left out, and why, stands beside each kind."""
    declaration = draw(st.sampled_from(declarations))
    elements = declaration.elements()
    values: dict[str, Value] = {}
    for at, conversion in enumerate(elements):
        if isinstance(conversion, bytes):
            continue
        name = conversion.argument.name
        if conversion.letter == "s":
            # a NUL ends a string, a newline the line; and a string that something follows ends where that begins
            after = elements[at + 1] if at + 1 < len(elements) else b""
            assert isinstance(after, bytes)
            excluded = b"\0\n" + after[:1]
            string = draw(st.binary(max_size=40) | st.sampled_from([b"", b"it's 'here'", b"768", b"\xff\r\x1b"]))
            values[name] = bytes(byte for byte in string if byte not in excluded)
        elif conversion.letter == "c":  # a newline ends the line
            letters = [bytes((byte,)) for byte in (characters or range(256)) if byte != 10]
            values[name] = draw(st.sampled_from(letters))
        elif conversion.letter == "p":  # null is printed as (nil), which is None
            values[name] = draw(st.none() | st.integers(1, 2**64 - 1))
        else:  # a number that the conversion shows with another sign comes back with that sign
            values[name] = draw(integers(conversion.argument, shared_with=conversion.letter))
    return declaration, values


def as_c(conversion: Conversion, value: Value) -> object:
    if isinstance(value, int):
        if conversion.letter == "p":
            return ctypes.c_void_p(value)
        wide, signed = (conversion.argument.bits or 64) > 32, conversion.argument.signed
        kinds = (ctypes.c_int32, ctypes.c_uint32) if not wide else (ctypes.c_int64, ctypes.c_uint64)
        return kinds[not signed](value)
    if conversion.letter == "c" and value is not None:
        return ctypes.c_int(value[0])
    return ctypes.c_char_p(value) if conversion.letter == "s" else ctypes.c_void_p(value)  # type: ignore[arg-type]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or platform.machine() != "x86_64", reason="asks glibc's printf")
@settings(max_examples=1000)
@given(any_event())
def test_glibc_prints_the_same(event: tuple[EventDeclaration, dict[str, Value]]) -> None:
    declaration, values = event
    arguments = [as_c(conversion, values[conversion.argument.name]) for conversion in conversions(declaration)]
    buffer = ctypes.create_string_buffer(4096)
    length = ctypes.CDLL(None).snprintf(buffer, ctypes.c_size_t(4096), declaration.format.encode(), *arguments)
    assert print_event(declaration, values) == declaration.name.encode() + b" " + buffer.raw[:length]


@settings(max_examples=1000)
@given(readable_event())
def test_what_is_printed_is_read_back(event: tuple[EventDeclaration, dict[str, Value]]) -> None:
    declaration, values = event
    text = print_event(declaration, values)
    assert EventPattern(declaration).match(text, len(declaration.name) + 1) == values


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda one: f"{one.name} {one.era}")
def test_every_declared_event_is_printed_and_read_back(declaration: EventDeclaration) -> None:
    plain: Mapping[str, Value] = {"s": b"text", "c": b"w", "p": 0x7F11}
    values = {one.argument.name: plain.get(one.letter, 1) for one in conversions(declaration)}
    text = print_event(declaration, values)
    assert EventPattern(declaration).match(text, len(declaration.name) + 1) == values


class TestEras:
    @pytest.mark.parametrize(
        ("era", "expected"),
        [("2.5-2.9", Range((2, 5), (2, 9))), ("2.10-", Range((2, 10), None)), ("-2.4", Range(None, (2, 4))),
         ("", Range(None, None))],
    )
    def test_an_era_is_a_range(self, era: str, expected: Range) -> None:
        assert range_of(era) == expected

    def test_both_ends_belong_to_it_with_their_stable_releases(self) -> None:
        versions = [(2, 4, 1), (2, 5), (2, 9, 1), (2, 10), (3, 0)]
        assert [version for version in versions if range_of("2.5-2.9").holds(version)] == [(2, 5), (2, 9, 1)]
        assert range_of("10.0-").holds((10,))

    @pytest.mark.parametrize(
        ("name", "version", "form"),
        [
            ("cpu_in", (1, 0), "addr %#x value %u"),
            ("cpu_in", (2, 4, 1), "addr %#x value %u"),
            ("cpu_in", (2, 5), "addr %#x(%c) value %u"),
            ("cpu_in", (2, 9), "addr %#x(%c) value %u"),
            ("cpu_in", (2, 10), "addr 0x%x(%c) value %u"),
            ("cpu_in", (10, 2, 2), "addr 0x%x(%c) value %u"),
            ("memory_region_ops_read", (6, 0), "cpu %d mr %p addr 0x%lx value 0x%lx size %u"),
            ("memory_region_ops_read", (7, 2, 22), "cpu %d mr %p addr 0x%lx value 0x%lx size %u name '%s'"),
            ("pci_cfg_read", (6, 2), "%s %02u:%u @0x%x -> 0x%x"),
            ("pci_cfg_read", (1, 6), None),
            ("xen_9pfs_alloc", (7, 1), None),
            ("xs_node_vscanf", (10, 0, 13), None),
            ("no_such_event", (10, 0), None),
        ],
    )
    def test_a_version_has_its_own_form_of_an_event_or_none(
        self, name: str, version: tuple[int, ...], form: str | None
    ) -> None:
        found = form_of(name, version, CATALOGUE)
        assert (found and found.format) == form

    def test_a_version_has_no_two_forms_of_one_event(self) -> None:
        ends = {end for declaration in DECLARATIONS for end in range_of(declaration.era) if end is not None}
        for version in ends:
            held = Counter(one.name for one in DECLARATIONS if range_of(one.era).holds(version))
            assert set(held.values()) == {1}

    def test_a_user_s_declaration_holds_in_every_version(self, tmp_path: Path) -> None:
        mine = tmp_path / "trace-events"
        mine.write_text('cpu_in(unsigned int addr) "port=0x%x"\n')
        found = form_of("cpu_in", (2, 0), load([mine]))
        assert found is not None
        assert found.format == "port=0x%x"


BODY = b"cpu_in addr 0x10(w) value 18898"
STAMP = Stamp(time_ns=TIME_NS, thread=31213, guest="win10", host="vm", program="qemu-system-i386")
LINES = {
    "qemu-log": BODY,
    "qemu-log-pid": b"31213@1795401500.773285:" + BODY,
    "qemu-log-tid": b"31213@1795401500.773285:" + BODY,
    "qemu-log-iso": b"2026-11-23T02:38:20.773285Z " + BODY,
    "qemu-log-program": b"2026-11-23T02:38:20.773285Z [win10] qemu-system-i386: (31213:main): " + BODY,
    "systemtap": b"31213@1795401500773285123 " + BODY,
    "syslog-3164": b"Nov 23 02:38:20 vm qemu-system-i386[31213]: " + BODY,
    "syslog-5424": b"<30>1 2026-11-23T02:38:20.773285+00:00 vm qemu-system-i386 31213 - -  " + BODY,
    "syslog-iso": b"2026-11-23T02:38:20.773285+00:00 vm qemu-system-i386[31213]: " + BODY,
    "ftrace": b"           <...>-31213   [000] ...1. 1795401500.773285: tracing_mark_write: " + BODY,
    "trace-cmd": b" qemu-system-i38-31213 [000] 1795401500.773285: print:                tracing_mark_write: " + BODY,
}


SYSLOG = "syslog-3164 syslog-5424 syslog-iso"


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_a_line(self, form: str) -> None:
        assert write_line(FORMS[form], BODY, STAMP) == LINES[form] + b"\n"

    @pytest.mark.parametrize(
        ("version", "expected"),
        [
            ((1, 5), "qemu-log"),
            ((2, 2), "qemu-log ftrace trace-cmd"),
            ((2, 5), "qemu-log-pid ftrace trace-cmd"),
            ((3, 1, 1), "qemu-log-pid syslog ftrace trace-cmd"),
            ((5, 2), "qemu-log-tid systemtap syslog ftrace trace-cmd"),
            ((7, 2, 22), "qemu-log qemu-log-tid systemtap syslog ftrace trace-cmd"),
            ((10, 0, 13), "qemu-log qemu-log-tid systemtap syslog ftrace trace-cmd"),
            ((10, 2, 2), "qemu-log qemu-log-iso systemtap syslog ftrace trace-cmd"),
            ((11, 0), "qemu-log qemu-log-iso qemu-log-program systemtap syslog ftrace trace-cmd"),
        ],
    )
    def test_a_version_writes_these(self, version: tuple[int, ...], expected: str) -> None:
        assert [form.name for form in forms_of(version)] == expected.replace("syslog", SYSLOG).split()

    def test_a_form_says_what_it_needs(self) -> None:
        assert {form.name: set(form.needs) for form in FORMS.values()} == {
            "qemu-log": set(),
            "qemu-log-pid": {"thread", "time_ns"},
            "qemu-log-tid": {"thread", "time_ns"},
            "qemu-log-iso": {"time_ns"},
            "qemu-log-program": {"program", "thread"},
            "systemtap": {"thread", "time_ns"},
            "syslog-3164": {"time_ns", "host", "program", "thread"},
            "syslog-5424": {"time_ns", "host", "program", "thread"},
            "syslog-iso": {"time_ns", "host", "program", "thread"},
            "ftrace": {"time_ns", "thread"},
            "trace-cmd": {"time_ns", "thread", "program"},
        }
        assert {form.name: form.takes for form in FORMS.values() if form.takes} == {
            "qemu-log-program": ("time_ns", "guest")
        }

    @pytest.mark.parametrize("form", [form for form in FORMS.values() if form.needs], ids=lambda form: form.name)
    def test_a_stamp_that_lacks_what_the_form_needs_is_an_error(self, form: Form) -> None:
        with pytest.raises(ValueError, match=f"^{form.name}: expected a stamp with {form.needs[0]}"):
            write_line(form, BODY, Stamp())

    def test_the_proposed_form_leaves_out_what_is_not_known(self) -> None:
        form, program = FORMS["qemu-log-program"], "qemu-system-x86_64"
        assert write_line(form, BODY, Stamp(thread=772366, program=program)) == (
            b"qemu-system-x86_64: (772366:main): " + BODY + b"\n"
        )
        assert write_line(form, BODY, Stamp(thread=1144713, program=program, guest="fish food")) == (
            b"[fish food] qemu-system-x86_64: (1144713:main): " + BODY + b"\n"
        )

    @pytest.mark.parametrize(
        ("time_ns", "expected"),
        [(0, b"1970-01-01T00:00:00Z e \n"), (SECOND * 10**9 + 999, b"2026-11-23T02:38:20Z e \n"),
         (SECOND * 10**9 + 1000, b"2026-11-23T02:38:20.000001Z e \n")],
    )
    def test_glib_leaves_out_a_fraction_of_no_microseconds(self, time_ns: int, expected: bytes) -> None:
        assert write_line(FORMS["qemu-log-iso"], b"e ", Stamp(time_ns=time_ns)) == expected

    def test_rsyslog_does_not(self) -> None:
        line = write_line(FORMS["syslog-iso"], b"e ", Stamp(time_ns=0, thread=1, host="vm", program="q"))
        assert line == b"1970-01-01T00:00:00.000000+00:00 vm q[1]: e \n"

    def test_a_day_of_one_digit_has_a_blank_before_it(self) -> None:
        line = write_line(FORMS["syslog-3164"], b"e ", Stamp(time_ns=0, thread=1, host="vm", program="q"))
        assert line == b"Jan  1 00:00:00 vm q[1]: e \n"

    def test_the_tracer_rounds_its_time(self) -> None:
        line = write_line(FORMS["ftrace"], b"e ", Stamp(time_ns=4132_999_999_500, thread=8050))
        assert line == b"           <...>-8050    [000] ...1.  4133.000000: tracing_mark_write: e \n"

    def test_a_marker_of_more_than_511_bytes_is_cut(self) -> None:
        for form in ("ftrace", "trace-cmd"):
            whole, cut = (
                write_line(FORMS[form], b"x" * length, STAMP).partition(b"write: ")[2] for length in (511, 512)
            )
            assert whole == cut == b"x" * 511 + b"\n"

    @pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
    def test_only_rsyslog_escapes_what_a_guest_wrote(self, form: Form) -> None:
        text = b"xen_platform_log xen platform: ctl \x01\t\x1b[0m\r \x7f caf\xc3\xa9 \xff #1"
        line = write_line(form, text, STAMP)
        if form.name.startswith("syslog"):
            text = b"xen_platform_log xen platform: ctl #001#011#033[0m#015 #177 caf\xc3\xa9 \xff #1"
        assert line.endswith(text + b"\n")

    @pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
    def test_an_event_is_one_line_or_an_error(self, form: Form) -> None:
        forged = b"xs_node_create a\ncpu_in addr 0x10(w) value 0"
        if form.name.startswith("syslog"):
            assert write_line(form, forged, STAMP).endswith(b"xs_node_create a#012cpu_in addr 0x10(w) value 0\n")
        else:
            with pytest.raises(ValueError, match="expected the text of one line, found a newline at byte 16"):
                write_line(form, forged, STAMP)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("guest", "a]b"), ("guest", "a\nb"), ("guest", ""), ("guest", "é" * 128), ("host", "a b"), ("host", "a:b"),
         ("program", "a b"), ("program", "a\n"), ("program", "a[1]"), ("program", "a" * 65),
         ("time_ns", -1), ("time_ns", 2**63), ("thread", -1), ("thread", 2**32)],
    )
    def test_a_stamp_that_no_line_can_hold_is_refused(self, field: str, value: str | int) -> None:
        with pytest.raises(ValueError, match=f"^{field}: expected"):
            Stamp(**{field: value})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Held:
    """What comes back of a stamp: every `step_ns` of the time (rounded or cut), the thread, the guest's name."""

    step_ns: int | None = None
    rounded: bool = False
    thread: bool = True
    guest: bool = False
    escaped: bool = False
    """Control characters come back as rsyslog's escapes, because nobody can tell these from a text that has `#`."""

    def time(self, time_ns: int | None) -> int | None:
        if time_ns is None or self.step_ns is None:
            return None
        return (time_ns + self.step_ns // 2 * self.rounded) // self.step_ns * self.step_ns

    def value(self, value: Value) -> Value:
        if not self.escaped or not isinstance(value, bytes):
            return value
        return b"".join(b"#%03o" % byte if byte < 32 or byte == 127 else bytes((byte,)) for byte in value)


HELD = {
    "qemu-log": Held(thread=False),
    "qemu-log-pid": Held(1000),
    "qemu-log-tid": Held(1000),
    "qemu-log-iso": Held(1000, thread=False),
    "qemu-log-program": Held(1000, guest=True),
    "systemtap": Held(1),
    "syslog-3164": Held(escaped=True),  # neither year nor zone, so no time
    "syslog-5424": Held(1000, escaped=True),
    "syslog-iso": Held(1000, escaped=True),
    "ftrace": Held(1000, rounded=True),
    "trace-cmd": Held(1000, rounded=True),
}

CURRENT = tuple(found for name in CATALOGUE.names if (found := form_of(name.decode(), (10, 2), CATALOGUE)))
"""An older declaration may have the text of a newer one under other names: `pci_update_mappings_*` of 2.3 and 2.4."""

@st.composite
def stamps(draw: st.DrawFn) -> Stamp:
    # systemtap's nanoseconds are read from 16 digits on; the last microsecond may be rounded out of 63 bits
    time_ns = draw(st.none() | st.integers(10**15, 2**63 - 1000) | st.sampled_from([SECOND * 10**9, TIME_NS]))
    host = st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True)
    program = st.from_regex(r"[a-z0-9_.+-]{1,60}", fullmatch=True)
    guest = st.text(st.characters(exclude_characters="]\n\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
    return Stamp(
        time_ns=time_ns,
        thread=draw(st.integers(0, 2**32 - 1)),
        guest=draw(st.none() | st.sampled_from(["win10", "win 10", "fish food"]) | guest),
        host=draw(st.sampled_from(["vm", "xen-7", "h.example.org"]) | host),
        program=draw(st.sampled_from(["qemu-system-i386", "qemu-system-x86_64", "qemu-dm-5"]) | program),
    )


def read(line: bytes, catalogue: Catalogue = CATALOGUE) -> Record:
    assert line.endswith(b"\n")
    (record,) = TextLog(Given("t", catalogue)).read(line[:-1], 0, 1, len(line))
    assert isinstance(record, Record)
    return record


@pytest.mark.parametrize("name", FORMS)
@given(event=readable_event(CURRENT, characters=b"bwl"), stamp=stamps())
def test_a_written_line_is_read_back(name: str, event: tuple[EventDeclaration, dict[str, Value]], stamp: Stamp) -> None:
    form, held, (declaration, values) = FORMS[name], HELD[name], event
    assume(stamp.time_ns is not None or "time_ns" not in form.needs)
    line = write_line(form, print_event(declaration, values), stamp)
    record = read(line)
    assert (record.event, record.recovered) == (declaration.name, False)
    assert record.values == {argument: held.value(value) for argument, value in values.items()}
    assert record.time_ns == held.time(stamp.time_ns)
    assert record.clock == (None if record.time_ns is None else form.clock)
    assert record.thread == (stamp.thread if held.thread else None)
    domain = re.search(r"(?<=^qemu-dm-)\d{1,5}$", stamp.program or "") if name.startswith("syslog") else None
    assert record.domain == (int(domain[0]) if domain else None)
    assert record.guest == (stamp.guest if held.guest and not domain else None)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("qemu-log-iso", b"xen_ioreq_server_create id: 0"),
        ("qemu-log-iso", b"xen_device_realize type: xen-disk name: 768"),
        ("qemu-log-program", BODY),
    ],
)
def test_a_line_that_looks_like_syslog_is_read_back(form: str, text: bytes) -> None:
    record = read(write_line(FORMS[form], text, STAMP))
    assert (record.time_ns, record.clock, record.recovered) == (TIME_NS // 1000 * 1000, "wall", False)


def lines_of(path: Path) -> list[bytes]:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return re.findall(rb"[^\n]*\n", content)


def written_again(record: Record, version: tuple[int, ...], form: Form, stamp: Stamp) -> bytes:
    declaration = form_of(record.event, version, CATALOGUE)
    assert declaration is not None, record
    return write_line(form, print_event(declaration, record.values), stamp)


def records(path: Path) -> Iterator[tuple[bytes, Record]]:
    """The lines that hold a record of a known event, with that record."""
    log = TextLog(Given(path.name, CATALOGUE))
    for number, line in enumerate(lines_of(path), 1):
        for found in log.read(line.removesuffix(b"\n"), 0, number, len(line)):
            assert isinstance(found, Record)
            yield line, found


def assert_comes_back(path: Path, version: tuple[int, ...], form: Form) -> int:
    """Read a recording and write it again; how many lines came back, each of them the same."""
    count = 0
    for line, record in records(path):
        assert not record.recovered
        assert written_again(record, version, form, Stamp(time_ns=record.time_ns, thread=record.thread)) == line
        count += 1
    return count


def form_of_recording(folder: Path, version: tuple[int, ...]) -> Form:
    if "timestamp=on" not in (folder / "cmdline.txt").read_text():
        return FORMS["qemu-log"]
    return FORMS["qemu-log-iso" if version >= (10, 1) else "qemu-log-tid"]


def version_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split("."))


class TestRealLines:
    def test_every_line_of_the_driven_devices_comes_back(self, data: Path) -> None:
        """All events that were switched on are declared, so that every line but QEMU's own messages comes back."""
        folders = sorted((data / "qemu-oracle").glob("*/*"))
        assert len(folders) == 16
        for folder in folders:
            version = version_of(folder)
            (path,) = [*folder.glob("trace.log"), *folder.glob("stderr.txt")]
            count = assert_comes_back(path, version, form_of_recording(folder, version))
            assert count == len([line for line in lines_of(path) if b"kvmvapic" not in line]) > 0

    @pytest.mark.parametrize(
        ("name", "form"),
        [("all-events-handshake.txt", "qemu-log-tid"), ("qemu-trace-linux-default.log.gz", "qemu-log-tid"),
         ("qemu-trace-no-timestamp.log.gz", "qemu-log")],
    )
    def test_every_line_of_a_guest_on_xen_comes_back(self, data: Path, name: str, form: str) -> None:
        path = data / "real-xen" / name
        count = assert_comes_back(path, (7, 2, 22), FORMS[form])
        assert count == len(lines_of(path))

    @pytest.mark.slow
    def test_so_does_every_line_of_all_recordings(self, corpus: Path) -> None:
        recorded = corpus / "recorded"
        paths = [(path, version_of(path.parent)) for path in sorted((recorded / "qemu-oracle").glob("*/*/trace*.log*"))
                 if "80-fuzz" not in path.parts]
        paths.append((recorded / "real-xen" / "all-events" / "qemu-trace-all-events.log.gz", (7, 2, 22)))
        total = 0
        for path, version in paths:
            timed = any(record.time_ns is not None for _, record in records(path))
            form = "qemu-log" if not timed else "qemu-log-iso" if version >= (10, 1) else "qemu-log-tid"
            total += assert_comes_back(path, version, FORMS[form])
        assert total > 300_000

    @pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
    @pytest.mark.parametrize(
        ("form", "plain", "other"),
        [
            ("syslog-3164", "74b-rsyslog/trace.log", "74b-rsyslog/traditional.log"),
            ("syslog-iso", "74b-rsyslog/trace.log", "74b-rsyslog/isofile.log.gz"),
            ("syslog-5424", "74b-rsyslog/trace.log", "74b-rsyslog/syslog5424.log.gz"),
            ("ftrace", "75-ftrace/trace.log.gz", "75-ftrace/ftrace-trace.txt.gz"),
        ],
    )
    def test_from_the_plain_log_of_a_run_comes_what_another_back_end_wrote(
        self, corpus: Path, version: str, form: str, plain: str, other: str
    ) -> None:
        """The values are the plain log's, with its raw control characters and whole texts; only the stamp is not."""
        folder = corpus / "recorded" / "qemu-oracle" / version
        stamped = "74b-rsyslog/isofile.log.gz" if form == "syslog-3164" else other  # RFC 3164 has no year
        runs = [list(records(folder / name)) for name in (plain, stamped, other)]
        assert len(runs[0]) == len(runs[1]) == len(runs[2]) > 1000
        for (_, record), (_, timed), (line, _) in zip(*runs, strict=True):
            stamp = Stamp(time_ns=timed.time_ns, thread=timed.thread, host="vm", program="qemu-system-i386")
            written = written_again(record, tuple(map(int, version.split("."))), FORMS[form], stamp)
            expected = re.sub(rb"\[\d{3}\]", b"[000]", line, count=1) if form == "ftrace" else line  # the processor
            assert written == expected
