"""``xptrace sql``: a question to the tables, of recordings or exported before, in SQL (DuckDB's).

A column whose name SQL keeps for itself is quoted: "offset". Times of different clocks do not compare.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from xptrace.cli import common
from xptrace.exports import lines
from xptrace.frames.arrow import TABLES, columns, title
from xptrace.frames.database import MEMORY, ask, attach, database, exported, fill, plan
from xptrace.views.escape import cell, printable

if TYPE_CHECKING:
    from xptrace.frames.database import Answer, Exported

_SAMPLE: Final = 1000
_WIDEST: Final = 60
"""How many rows say how wide a column of text is, and how wide it is at most; what is longer is shown whole."""


class _Tables(argparse.Action):
    """Show what there is to ask for, and do nothing else."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print("\n".join(_catalogue()))
        parser.exit()


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("--tables", action=_Tables, nargs=0, help="show the tables and their columns, with units")
    command.add_argument("query", metavar="QUERY", help="one SELECT; tables: " + ", ".join(TABLES))
    common.add_inputs(command)
    command.add_argument("-T", dest="format", choices=("text", "jsonl", "csv"), default="text")
    command.add_argument("--memory", type=_size, default=MEMORY, metavar="SIZE",
                         help=f"what the database may use before it writes temporary files, by default {MEMORY}")


def _size(text: str) -> str:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?\s*[KMGT]i?B", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512MB or 4GB")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    tables, names = exported(arguments.files), list[str]()
    case = common.case(arguments) if tables is None else None
    with database(arguments.memory) as connection:
        if tables is not None:
            attach(connection, tables)
        elif case is not None:
            names = plan(connection, arguments.query)
            fill(connection, case, names)
        answer = ask(connection, arguments.query)
        common.write(_written(answer, arguments.format), arguments.output)
    if tables is not None:
        return _account(tables)
    return common.close(case.decoder, full=arguments.ledger) if case is not None and names else 0


def _account(tables: Exported) -> int:
    """Say on standard error what there was to read; returns the exit code."""
    if beside := len(tables.passed_over):
        print(f"xptrace: {beside} file{'s' * (beside != 1)} beside the tables not read", file=sys.stderr)
    told = ", ".join(f"{name} {count}" for name, count in tables.rows.items())
    print(f"xptrace: rows in the tables: {told}", file=sys.stderr)
    return 0 if any(tables.rows.values()) else 1


def _catalogue() -> Iterator[str]:
    for name in TABLES:
        yield f"{name}: {title(name)}"
        for column, kind, unit, meaning in columns(name):
            yield f"  {column:<17} {kind:<30} {unit:<6} {meaning}"


# -- what comes out


def _written(answer: Answer, form: str) -> Iterator[str]:
    if form == "text":
        yield from _plan(answer) if answer.plan else _aligned(answer)
    elif form == "csv":
        head, write = lines.csv_writer([cell(name) for name in answer.names])
        yield head
        for row in answer.rows:
            yield write({cell(name): value for name, value in zip(answer.names, row, strict=True)})
    else:
        for row in answer.rows:
            yield lines.jsonl({
                name: _json(json.loads(value) if structured and value is not None else value)
                for name, value, structured in zip(answer.names, row, answer.structured, strict=True)
            })


def _json(value: Any) -> Any:
    """The value without what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_json(one) for one in value]
    return {name: _json(one) for name, one in value.items()} if isinstance(value, dict) else value


def _plan(answer: Answer) -> Iterator[str]:
    for row in answer.rows:
        for value in row:
            yield from map(printable, str(value).splitlines())


def _aligned(answer: Answer) -> Iterator[str]:
    """Columns below each other, numbers to the right; - is what is missing."""
    rows = (list(map(_shown, row)) for row in answer.rows)
    names = list(map(printable, answer.names))
    sample = list(islice(rows, _SAMPLE))
    widths = [
        min(max(len(name), *(len(row[at]) for row in sample), 0), max(_WIDEST, len(name)))
        for at, name in enumerate(names)
    ]
    yield _line(names, widths, answer.numeric)
    yield "  ".join("-" * width for width in widths)
    for row in chain(sample, rows):
        yield _line(row, widths, answer.numeric)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    return "  ".join(
        one.rjust(width) if number else one.ljust(width)
        for one, width, number in zip(cells, widths, numeric, strict=True)
    ).rstrip()


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(str(value))
