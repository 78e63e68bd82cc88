r"""The words of a filter: fields and enumeration words, numbers with their units, times, texts, operators.

Every way to write a literal stands here::

    7  0x49d2  0b11  4KiB  -1         numbers, of at most 64 bits
    12.5s  300ms                      durations
    04:05:29.5  2026-11-23T04:05Z     times
    "win10"  'a\tb'  r"\d+"             text, with the escapes of the output, or raw
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from xptrace.filter.fault import FilterError, quoted
from xptrace.filter.moments import UNITS_NS, Moment, count, moment

MOST_CHARACTERS: Final = 4096
SIZES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
"""Units of a size, in bytes."""

Kind = Literal["word", "integer", "duration", "time", "text", "boolean", "operator", "end"]
Value = int | str | bool | Moment | None

_OPERATOR: Final = re.compile(r"&&|\|\||==|!=|<=|>=|\.\.|[<>!&|^~(){},]")
_WORD: Final = re.compile(r"[A-Za-z_]\w*(?:[.-]\w+)*", re.ASCII)
_TIME: Final = re.compile(r"(?:\d{4}-\d\d-\d\d(?:T[\d:]+(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)?"
                          r"|\d+:[\d:]+(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)\w*", re.ASCII)
_NUMBER: Final = re.compile(r"(?P<sign>-?)(?:0x(?P<hex>[0-9A-Fa-f]+)|0b(?P<binary>[01]+)"
                            r"|(?P<decimal>\d+(?:\.\d+)?))(?P<unit>[\wµ]*)", re.ASCII)
_TEXT: Final = re.compile(r"""(?P<raw>r?)(?P<quote>["'])(?P<inside>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)""",
                          re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_QUOTES: Final = """quotes are " or '"""
_MEANT: Final = {
    "=": "write == to compare", **dict.fromkeys("\u201c\u201d\u2018\u2019", _QUOTES),
    "+": "there is no arithmetic but of bits", "-": "there is no arithmetic but of bits",
    "/": 'write: text matches r"…"', "[": "a set is written {1, 2..5}", "$": "a field's name stands alone",
}


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a filter: its kind, how it is spelled, where it stands, and the value of a literal."""

    kind: Kind
    spelled: str
    start: int
    end: int
    value: Value = None


def tokens(source: str) -> Iterator[Token]:
    """The words of a filter, and its end; raises FilterError for what is none."""
    if len(source) > MOST_CHARACTERS:
        raise FilterError(source, MOST_CHARACTERS, len(source), f"a filter has at most {MOST_CHARACTERS} characters")
    at = 0
    while at < len(source):
        if source[at].isspace():
            at += 1
            continue
        token = _token(source, at)
        yield token
        at = token.end
    yield Token("end", "", at, at)


def _token(source: str, at: int) -> Token:
    if found := _TEXT.match(source, at):
        value = found["inside"] if found["raw"] else _unescaped(source, found)
        return Token("text", found[0], at, found.end(), value)
    if found := _TIME.match(source, at):
        time = moment(found[0])
        if time is None:
            raise FilterError(source, at, found.end(), f"{quoted(found[0])} is not a time",
                              "write 2026-11-23T04:05:29Z, 04:05:29 or 12.5s")
        return Token("time", found[0], at, found.end(), time)
    if found := _NUMBER.match(source, at):
        return _number(source, found)
    if found := _OPERATOR.match(source, at):
        return Token("operator", found[0], at, found.end())
    if found := _WORD.match(source, at):
        if found[0] in ("true", "false"):
            return Token("boolean", found[0], at, found.end(), found[0] == "true")
        return Token("word", found[0], at, found.end())
    if source[at] in "\"'":
        raise FilterError(source, at, len(source), "the text is not closed", f"it needs another {source[at]}")
    raise FilterError(source, at, at + 1, f"{quoted(source[at])} means nothing here", _MEANT.get(source[at], ""))


def _number(source: str, found: re.Match[str]) -> Token:
    start, end, unit, decimal = found.start(), found.end(), found["unit"], found["decimal"]
    if unit in UNITS_NS and decimal and not found["sign"]:
        time_ns = count(decimal, unit)
        if time_ns is None:
            raise FilterError(source, start, end, f"{quoted(found[0])} is no whole number of nanoseconds in 64 bits")
        return Token("duration", found[0], start, end, time_ns)
    if unit and (unit not in SIZES or not decimal):
        units = ", ".join([*UNITS_NS, *SIZES])
        raise FilterError(source, start, end, f"{quoted(found[0])} is no number", f"units are: {units}")
    if decimal and len(decimal) > 1 and decimal[0] == "0" and decimal[1] != ".":
        raise FilterError(source, start, end, "a number does not begin with 0", "write 0x for hexadecimal")
    if decimal:
        exact = Fraction(decimal) * SIZES.get(unit, 1)
        if exact.denominator != 1:
            what = f"{quoted(found[0])} is no whole number"
            raise FilterError(source, start, end, what, "durations have a unit: 1.5s")
        value = int(exact)
    else:
        value = int(found["hex"] or found["binary"], 16 if found["hex"] else 2)
    value = -value if found["sign"] else value
    if not -1 << 63 <= value < 1 << 64:
        raise FilterError(source, start, end, "a number has at most 64 bits")
    return Token("integer", found[0], start, end, value)


def _unescaped(source: str, found: re.Match[str]) -> str:
    def replace(escape: re.Match[str]) -> str:
        code = escape[1] or escape[2] or escape[3]
        if code and int(code, 16) <= 0x10FFFF:
            return chr(int(code, 16))
        if not code and escape[4] in _SIMPLE:
            return _SIMPLE[escape[4]]
        start = found.start("inside") + escape.start()
        raise FilterError(source, start, start + len(escape[0]), f"{quoted(escape[0])} is no escape",
                          'write \\\\ for a backslash, or r"…" for text without escapes')

    return _ESCAPE.sub(replace, found["inside"])
