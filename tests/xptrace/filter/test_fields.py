"""Every column of the tables is a field, and every field has an example that is a filter."""

from __future__ import annotations

from typing import get_args

import pytest

from dissectors.platform.registers import NAMES, UNPLUG_BITS
from xptrace.access.rows import KEYS, Topic
from xptrace.errors import XptraceError
from xptrace.filter import compile_filter
from xptrace.filter.fields import ENTRIES, TABLES, Table, table
from xptrace.filter.grammar import KEYWORDS
from xptrace.frames import schema


@pytest.fixture(params=TABLES)
def one(request: pytest.FixtureRequest) -> Table:
    return table(request.param)


def test_every_key_of_a_row_is_a_field() -> None:
    assert set(KEYS) | set(schema.EVENTS) <= set(table(ENTRIES).fields)


def test_the_words_are_those_of_the_protocol() -> None:
    fields = table(ENTRIES).fields
    assert fields["register"].words == NAMES
    assert fields["topic"].words == get_args(Topic)
    assert [name for name in fields if name.startswith("mask.")] == [f"mask.{bit.name}" for bit in UNPLUG_BITS]


def test_every_example_is_a_filter_with_that_field(one: Table) -> None:
    for field in one.fields.values():
        assert field.name in str(compile_filter(field.example, one.name).tree)
        assert field.meaning


def test_no_field_of_an_entry_has_the_name_of_a_word() -> None:
    fields = table(ENTRIES).fields
    assert not KEYWORDS & set(fields)
    assert not {word for field in fields.values() for word in field.words} & set(fields)


def test_where_a_word_is_a_field_too_it_is_a_word_of_what_it_is_compared_with() -> None:
    assert compile_filter("code == blacklisted", "negotiations").matches({"code": "blacklisted", "blacklisted": None})
    assert compile_filter("blacklisted", "negotiations").matches({"code": "unknown", "blacklisted": True})


def test_there_is_no_other_table() -> None:
    with pytest.raises(XptraceError, match="entries, findings, negotiations"):
        compile_filter("value", "toasters")
