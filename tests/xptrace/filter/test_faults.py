"""What is wrong with a filter is told in one line, with a caret under the place and what was probably meant."""

from __future__ import annotations

import pytest

from xptrace.filter import FilterError, compile_filter
from xptrace.views.fault import picture


@pytest.mark.parametrize(
    ("text", "at", "said", "hint"),
    [
        ("registr == magic", "registr", "no field 'registr'", "did you mean register?"),
        ("register == unplug_msk", "unplug_msk", "register has no word 'unplug_msk'", "did you mean unplug_mask?"),
        ('register == "toaster"', '"toaster"', "no word 'toaster'", "there are: flags, magic"),
        ("register in {magic, wall}", "wall", "no word 'wall'", ""),
        ("direction == reed", "reed", "no word 'reed'", "did you mean read?"),
        ("boot == 1 && magic", "magic", "no field 'magic'", "write register == magic"),
        ("vm == win10", "win10", "no field 'win10'", 'text stands in quotes: "win10"'),
        ("vm == 10", "10", "vm is text and '10' is a number", 'write "10"'),
        ('value == "3"', '"3"', "is text, not a number", "without quotes"),
        ("value == vm", "vm", "vm is text, not a number", "numbers are: time_ns, boot"),
        ("value == 04:05", "04:05", "is a time, not a number", ""),
        ("value > 5s", "5s", "'5s' is a duration, and value is not in nanoseconds", ""),
        ("value & vm", "vm", "vm is text", ""),
        ("value & (boot == 1)", "boot == 1", "true or false, not a number", ""),
        ('vm < "b"', 'vm < "b"', "which has no order", "contains"),
        ("register >= magic", "register >= magic", "which has no order", ""),
        ("register == space", "space", "have no words in common", ""),
        ("complete == 1", "1", "complete is true or false", "write complete or !complete"),
        ("complete in {true}", "complete", "complete is true or false", "write complete or !complete"),
        ("time > 12", "12", "'12' has no unit", "write 12s"),
        ("time > noon", "noon", "not a time", "04:05:29"),
        ("time > 25:00", "25:00", "'25:00' is not a time", "04:05:29"),
        ("time > 2026-02-30", "2026-02-30", "is not a time", ""),
        ("time in {05:00..04:00}", "05:00..04:00", "nothing is in this range", "04:00..05:00"),
        ("value in {5..2}", "5..2", "nothing is in this range", "did you mean 2..5?"),
        ('vm in {"a".."b"}', '"a".."b"', "no order", "list the words"),
        ("value in {1..vm}", "vm", "a range ends with a value", ""),
        ("value in {}", "}", "'}' stands where there should be a value of the set", ""),
        ("value in 1", "1", "'1' stands where there should be {", "{1, 2..5}"),
        ("1 == 1", "1 == 1", "no field in it", ""),
        ("1 & 1", "1 & 1", "no field in it", ""),
        ("boot == 1 && 7", "7", "a value alone says nothing", "value == 3"),
        ("value == 1 == 1", "==", "comparisons do not chain", "a < b && b < c"),
        ("value = 3", "=", "'=' means nothing here", "write =="),
        ("vm == “win10”", "“", "means nothing here", "quotes are"),
        ('text ~ "x"', "~", "'~' stands where there should be an operator", ""),
        ("text == /x/", "/", "'/' means nothing here", "text matches"),
        ("value + 1 == 2", "+", "means nothing here", "no arithmetic but of bits"),
        ("value &! boot", "!", "'!' stands where there should be parentheses", ""),
        ("boot == 1 register == magic", "register", "should be an operator", ""),
        ("(boot == 1", "", "the filter ends where there should be )", ""),
        ("boot ==", "", "the filter ends where there should be a field or a value", ""),
        ('vm == "win10', '"win10', "the text is not closed", ""),
        (r'vm == "a\d"', r"\d", "is no escape", 'r"…"'),
        ("value == 12abc", "12abc", "'12abc' is no number", "units are: ns"),
        ("value == 010", "010", "does not begin with 0", "0x"),
        ("value == 1.5", "1.5", "no whole number", "1.5s"),
        ("value == 18446744073709551616", "18446744073709551616", "at most 64 bits", ""),
        ("time > 9999999999s", "9999999999s", "64 bits", ""),
        ('value contains "1"', "value", "value is a number, not text", "texts are:"),
        ("vm contains win", "win", "contains needs a text in quotes", 'write "win"'),
        ('text matches "("', '"("', "no pattern: 'missing )", "RE2"),
        (r'text matches r"(a)\1"', r'r"(a)\1"', "no pattern: 'invalid escape sequence", "RE2"),
        ("", "", "the filter is empty", "write for instance"),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_to_try(text: str, at: str, said: str, hint: str) -> None:
    with pytest.raises(FilterError) as raised:
        compile_filter(text)
    error = raised.value
    assert text[error.start : error.end] == at
    assert said in str(error)
    assert hint in str(error)
    assert str(error).startswith(f"filter, character {error.start + 1}: ")


def test_the_picture_has_the_carets_under_the_place() -> None:
    with pytest.raises(FilterError) as raised:
        compile_filter('vm == "ウ\x1b" && registr == magic')
    source, carets = picture(*raised.value.place)
    assert source == r'    vm == "ウ\x1b" && registr == magic'
    # ウ takes two cells of a terminal, and the escape that is written out takes four
    assert carets == "    " + " " * len(r'vm == "xx\x1b" && ') + "^" * len("registr")


def test_the_picture_of_a_long_filter_is_cut_around_the_place() -> None:
    with pytest.raises(FilterError) as raised:
        compile_filter("boot == 1 && " * 100 + "registr == magic" + " && boot == 1" * 100)
    source, carets = picture(*raised.value.place)
    assert len(source) < 160
    assert source[carets.index("^") : carets.rindex("^") + 1] == "registr"
    assert source.startswith("    …")
    assert source.endswith("…")


def test_what_is_not_closed_is_pointed_at_where_the_filter_ends() -> None:
    with pytest.raises(FilterError) as raised:
        compile_filter("(boot == 1")
    assert list(picture(*raised.value.place)) == ["    (boot == 1", "              ^"]
