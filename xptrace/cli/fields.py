"""``xptrace fields``: what a filter (-Y) can ask for, each field with its type, unit, meaning and an example.

A filter compares fields with values: == != < <= > >=, in {1, 2..5}, contains "text", matches r"pattern" (RE2).
Conditions are joined by && (and), || (or), ! (not) and parentheses; & | ^ ~ are of bits and bind more strongly than
comparisons. A field alone asks whether it is there (a boolean one, whether it is true), bits alone whether any is set.

Values: 7, 0x49d2, 0b11, 4KiB; "text", r"text without escapes"; words of an enumeration, in quotes only where they hold
blanks. Times: 2026-11-23T04:05:29Z (of clocks of UTC); 2026-11-23T04:05:29, 04:05:29 (of clocks that tell dates); 12.5s
(of any clock's own count: since 1970, since the host's boot).

What a recording does not tell is unknown, and so is a comparison with it, and the opposite of that; what is meant are
the rows for which the whole is true. All writes but those of 3, those without a value too, are
direction == write && (value != 3 || !value). Decode shows no events; rules and cases have them.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

from xptrace.cli import common
from xptrace.exports import lines
from xptrace.filter.fields import ENTRIES, TABLES, Field, Table, table

_WIDTH = 118


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("--table", choices=TABLES, default=ENTRIES,
                         help="the fields of accesses, messages and events (entries), or of another table")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")
    command.add_argument("-o", "--output", metavar="FILE", help="write there; the file appears whole or not at all")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    asked = table(arguments.table)
    common.write(_rows(asked) if arguments.format == "jsonl" else _text(asked), arguments.output)
    return 0


def _rows(asked: Table) -> Iterator[str]:
    for field in asked.fields.values():
        yield lines.jsonl({"name": field.name, "type": field.type, "unit": field.unit or None, "meaning": field.meaning,
                           "example": field.example, "words": list(field.words), "kinds": list(field.kinds)})


def _text(asked: Table) -> Iterator[str]:
    for field in asked.fields.values():
        unit = f" in {field.unit}" if field.unit else ""
        yield f"{field.name:<20} {field.type + unit:<17} {field.meaning}{_whose(field, asked)}"
        yield f"{'':<20} {'':<17} {field.example}"
        if field.words:
            yield from textwrap.wrap(", ".join(map(_word, field.words)), _WIDTH, initial_indent=f"{'':<38} words: ",
                                     subsequent_indent=f"{'':<46}", break_on_hyphens=False)


def _word(word: str) -> str:
    return word if re.fullmatch(r"[\w.-]+", word) else f'"{word}"'


def _whose(field: Field, asked: Table) -> str:
    if field.kinds == asked.kinds:
        return ""
    return f" ({' and '.join(f'{kind}s' if kind != 'access' else 'accesses' for kind in field.kinds)} only)"
