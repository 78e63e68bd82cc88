"""JSON lines (RFC 8259, ASCII only), CSV (RFC 4180) and chosen fields separated by tabs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xptrace.errors import XptraceError
from xptrace.views.escape import cell, printable

Writer = Callable[[Mapping[str, Any]], str]


def jsonl(row: Mapping[str, Any]) -> str:
    """One JSON object; everything beyond ASCII is escaped."""
    return json.dumps(row, separators=(",", ":"))


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def csv_writer(keys: Sequence[str]) -> tuple[str, Writer]:
    """(the header line, a function from a row to its line). Text is made safe for a spreadsheet."""

    def line(values: Sequence[str]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(values)
        return out.getvalue()

    def write(row: Mapping[str, Any]) -> str:
        return line([cell(v) if isinstance(v := row.get(key), str) else _plain(v) for key in keys])

    return line(list(keys)), write


def fields(chosen: Sequence[str], keys: Sequence[str]) -> Writer:
    """A function from a row to the chosen fields; raises XptraceError for a field that there is not."""
    for name in chosen:
        if name not in keys:
            import difflib

            near = difflib.get_close_matches(name, keys, 1)
            hint = f"did you mean {near[0]}?" if near else "there are: " + ", ".join(keys)
            raise XptraceError(f"no field {printable(name)!r}; {hint}")
    return lambda row: "\t".join(printable(_plain(row.get(name))) for name in chosen)


def header(format_name: str, keys: Sequence[str]) -> Iterator[str]:
    """What stands above the rows."""
    if format_name == "csv":
        yield csv_writer(keys)[0]
