"""Given a trace-events file, its events, their arguments and their formats; given a bad one, where and why."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.qemu.declaration import Argument, DeclarationError, read_declarations


def test_a_declaration_has_name_arguments_format_and_origin() -> None:
    text = '# ioport.c\n\ncpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"\n'
    (event,) = read_declarations(text, "trace-events")
    assert event.name == "cpu_in"
    assert event.arguments == (
        Argument("unsigned int", "addr"), Argument("char", "size"), Argument("unsigned int", "val")
    )
    assert (event.format, event.era, event.origin) == ("addr 0x%x(%c) value %u", "", "trace-events:3")


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ('"at 0x%"PRIx64" size %"PRIu32', "at 0x%lx size %u"),
        ('"at 0x%" PRIx64 " and " "%"  PRId8', "at 0x%lx and %d"),
        (r'"say \"%d\"\t\\ \x41\101 %d"', 'say "%d"\t\\ AA %d'),
        ('"%"HWADDR_PRIx" %d"', "%lx %d"),
        ("", ""),
    ],
)
def test_a_format_is_joined_as_c_joins_it(formats: str, expected: str) -> None:
    (event,) = read_declarations(f"some_event(uint64_t a, int b) {formats}", "t")
    assert event.format == expected


def test_an_era_holds_until_the_next() -> None:
    text = "e(void)\n# era: 1.6-2.5\ne(void)\n# a remark\ne(void)\n# era: 2.10-\ne(void)\n# era: -2.9\ne(void)\n"
    assert [event.era for event in read_declarations(text, "t")] == ["", "1.6-2.5", "1.6-2.5", "2.10-", "-2.9"]


def test_properties_are_accepted_and_a_vcpu_is_printed_first() -> None:
    quiet, vcpu = read_declarations('disable quiet(int a) "%d"\nvcpu guest_cpu_reset(void)\n', "t")
    assert quiet.name == "quiet"
    assert (vcpu.format, vcpu.arguments[0].kind) == ("cpu=%p ", "pointer")


def test_a_tcg_event_is_two_events() -> None:
    line = 'disable vcpu tcg guest_mem_before(TCGv vaddr, uint8_t info) "info=%d", "vaddr=0x%016"PRIx64" info=%d"'
    trans, execution = read_declarations(line, "t")
    assert (trans.name, trans.format) == ("guest_mem_before_trans", "cpu=%p info=%d")
    assert [argument.name for argument in trans.arguments] == ["__cpu", "info"]
    assert (execution.name, execution.format) == ("guest_mem_before_exec", "cpu=%p vaddr=0x%016lx info=%d")


@pytest.mark.parametrize(
    ("ctype", "kind", "bits", "signed"),
    [
        ("const char *", "string", 64, False),
        ("char *", "string", 64, False),
        ("void *", "pointer", 64, False),
        ("uint8_t *", "pointer", 64, False),
        ("const char **", "pointer", 64, False),
        ("char", "character", 8, True),
        ("unsigned char", "integer", 8, False),
        ("unsigned", "integer", 32, False),
        ("int", "integer", 32, True),
        ("long unsigned int", "integer", 64, False),
        ("unsigned long long", "integer", 64, False),
        ("uint16_t", "integer", 16, False),
        ("int64_t", "integer", 64, True),
        ("size_t", "integer", 64, False),
        ("bool", "integer", 8, False),
        ("QCryptoThing", "integer", None, None),
        ("double", "real", None, None),
    ],
)
def test_the_c_type_says_the_kind(ctype: str, kind: str, bits: int | None, signed: bool | None) -> None:
    (event,) = read_declarations(f"e({ctype} a)", "t")
    (argument,) = event.arguments
    assert (argument.ctype, argument.name) == (ctype, "a")
    assert (argument.kind, argument.bits, argument.signed) == (kind, bits, signed)


@pytest.mark.parametrize("written", ["void* p", "void *p", "void * p", "void   *p"])
def test_a_star_may_stand_anywhere(written: str) -> None:
    (event,) = read_declarations(f'e({written}) "%p"', "t")
    assert event.arguments == (Argument("void *", "p"),)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("this is prose", "expected name("),
        ("verbose e(void)", "expected name("),
        ('e(int) "%d"', "expected a C type and a name, found 'int'"),
        ('e(int a, ) "%d"', "expected a C type and a name"),
        ('e(int a) "%d', "expected a string or a PRI macro"),
        ('e(int a) "%" PRIfoo', "expected a PRI macro such as PRIx64, found 'PRIfoo'"),
        ('e(int a) "%d", "%d"', "expected one format"),
        ('e(int a) "%d %d"', "expected an argument for %d"),
        ('e(int a) "%m"', "expected a printf conversion, found '%m'"),
        ('e(int a) "100%"', "expected a printf conversion"),
        ('e(int a) "%99999999999d"', "expected at most 255 characters"),
    ],
)
def test_a_bad_line_is_named(line: str, expected: str) -> None:
    with pytest.raises(DeclarationError, match=r"^private/trace-events:3: expected") as error:
        read_declarations(f"# one\nfine(void)\n{line}\n", "private/trace-events")
    assert expected in str(error.value)


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with suppress(DeclarationError):
        read_declarations(text, "t")


@given(st.text(alphabet='%"\\dxsucpl0123456789.*#- +hz,PRIx64\n'))
def test_no_format_crashes_the_reader(form: str) -> None:
    with suppress(DeclarationError):
        read_declarations(f'e(int a, char *b, void *c) "{form}"', "t")
