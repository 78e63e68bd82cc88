r"""The way back from a printed event to its arguments: the inverse of printf for one declaration.

Law: the printf of C99 (7.19.6.1) as glibc has it, under QEMU's docs/devel/tracing.rst, which makes the format a part
of the declaration. Declared and printed::

    cpu_ioreq_pio_read_reg(...) "I/O=%p pio read reg data=0x%"PRIx64" port=0x%"PRIx64" size=%d"
    cpu_ioreq_pio_read_reg I/O=0x7f11e53c0000 pio read reg data=0x49d2 port=0x10 size=2

The guest writes part of such text, so a match takes time linear in the text: digits are bounded and possessive, and a
string that something follows ends where that first occurs, once and for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from dissectors.qemu.declaration import CHARACTER, INTEGER, POINTER, REAL, STRING, Conversion, EventDeclaration

Value = int | bytes | None
"""An argument: a number, the bytes of a string, a character or a real number, or None for a null pointer."""

_DIGITS = {
    "d": "0-9", "i": "0-9", "u": "0-9", "o": "0-7", "x": "0-9a-f", "X": "0-9A-F",
    "f": "-+.0-9a-z", "F": "-+.0-9A-Z", "e": "-+.0-9a-z", "E": "-+.0-9A-Z",
    "g": "-+.0-9a-z", "G": "-+.0-9A-Z", "a": "-+.0-9a-z", "A": "-+.0-9A-Z",
}  # a real number may be `inf` or `nan`
_LONGEST = {"d": 20, "i": 20, "u": 20, "o": 22, "x": 16, "X": 16}  # what 64 bits can have
_LONGEST_REAL = 64
_KINDS = {"s": STRING, "c": CHARACTER, "p": POINTER} | dict.fromkeys("diuoxX", INTEGER)
_POINTER = r"((?:0x)?[0-9A-Fa-f]{1,16}+|\(nil\))"  # glibc prints 0x; other libraries only the digits


class Column(NamedTuple):
    """One value that a line of the event holds: the argument's name and what kind of value was printed."""

    name: str
    kind: str


def _hexadecimal(raw: bytes) -> int:
    return int(raw, 16)


def _octal(raw: bytes) -> int:
    return int(raw, 8)


def _pointer(raw: bytes) -> int | None:
    return None if raw == b"(nil)" else int(raw, 16)


def _as_printed(raw: bytes) -> bytes:
    return raw


def _unpadded(width: int, left: bool) -> Callable[[bytes], bytes]:
    """Make the way back from `%20s` or `%-20s`: padding is there only up to the width."""

    def strip(raw: bytes) -> bytes:
        if len(raw) > width:
            return raw
        return raw.rstrip(b" ") if left else raw.lstrip(b" ")

    return strip


def _converter(conversion: Conversion) -> Callable[[bytes], Value]:
    if conversion.letter in "diu":
        return int
    if conversion.letter in "xX":
        return _hexadecimal
    if conversion.letter == "o":
        return _octal
    if conversion.letter == "p":
        return _pointer
    if conversion.letter == "s" and conversion.width:
        return _unpadded(conversion.width, "-" in conversion.flags)
    return _as_printed


def _is_number(element: bytes | Conversion | None) -> bool:
    return isinstance(element, Conversion) and element.letter in _DIGITS


def _least_digits(conversion: Conversion, overhead: int) -> int:
    """Say how many digits printf writes at least, `overhead` being the sign or `0x` that the width includes."""
    if conversion.precision is not None:
        return max(1, conversion.precision)
    if "0" in conversion.flags and "-" not in conversion.flags and conversion.width:
        return max(1, conversion.width - overhead)
    return 1


def _number(conversion: Conversion, *, exact: bool, possessive: bool) -> str:
    letter, flags = conversion.letter, conversion.flags
    digits, longest = _DIGITS[letter], _LONGEST.get(letter, _LONGEST_REAL)
    sign = ""
    if letter in "di":
        sign = "[-+]?" if "+" in flags else "[- ]?" if " " in flags else "-?"
    alternate = "#" in flags and letter in "xX"
    least = 1 if letter not in _LONGEST else _least_digits(conversion, 2 if alternate else 1 if sign else 0)
    hold = "+" if possessive else ""
    if exact and sign == "-?" and "0" in flags and conversion.precision is None and (conversion.width or 0) > 1:
        least = (conversion.width or 0) - 1
        return f"(-[{digits}]{{{least}}}|[{digits}]{{{least + 1}}})"
    body = f"[{digits}]{{{least}}}" if exact else f"[{digits}]{{{least},{max(least, longest)}}}{hold}"
    if alternate:  # zero has no prefix, and its padding is counted without one
        zero = f"0{{{least},{max(least + 2, longest)}}}+" if least > 1 else "0"
        unpadded = "(?!0)" if least == 1 else ""
        body = f"0{letter}{unpadded}{body}|{zero}"
    body = f"({body})" if alternate else f"({sign}{body})"
    if conversion.width is None or ("0" in flags and "-" not in flags and conversion.precision is None):
        return body
    pad = f" {{0,{max(0, (conversion.width or _LONGEST_REAL) - 1)}}}"  # a number has one digit or more
    return body + pad if "-" in flags else pad + "+" + body


def _exact_numbers(elements: Sequence[bytes | Conversion]) -> set[int]:
    """Find the numbers that must have exactly their least digits, because another number stands next to them.

    Of numbers without anything between them one at most can be of any length.
    """
    exact: set[int] = set()
    free = False
    for at, element in enumerate(elements):
        before = _is_number(elements[at - 1]) if at else False
        after = _is_number(elements[at + 1]) if at + 1 < len(elements) else False
        if not _is_number(element) or not (before or after):
            free = False
            continue
        free = free and before
        if free or (isinstance(element, Conversion) and _least_digits(element, 0) > 1):
            exact.add(at)
        else:
            free = True
    return exact


def _piece(elements: Sequence[bytes | Conversion], exact: set[int], first: int, end: int) -> str:
    """Write the expression of literals, numbers, pointers and characters; strings are the caller's."""
    parts: list[str] = []
    at = first
    while at < end:
        element = elements[at]
        if isinstance(element, bytes):
            parts.append(re.escape(element.decode("latin-1")))
        elif element.letter == "p":
            parts.append(_POINTER)
        elif element.letter == "c":
            parts.append(r"([^\n])")
        else:
            after = elements[at + 1] if at + 1 < len(elements) else None
            shared = isinstance(after, bytes) and re.match(f"[{_DIGITS[element.letter]}]", after.decode("latin-1"))
            padded = element.width is not None and "-" in element.flags
            free = isinstance(after, Conversion) and (_is_number(after) or after.letter in "cp")
            body = _number(element, exact=at in exact, possessive=not (shared or padded or free))
            if isinstance(after, bytes) and (shared or padded) and at + 1 < end:
                body = f"(?>{body}{re.escape(after.decode('latin-1'))})"
                at += 1
            parts.append(body)
        at += 1
    return "".join(parts)


def _expression(elements: Sequence[bytes | Conversion]) -> str:
    exact = _exact_numbers(elements)
    strings = [at for at, element in enumerate(elements) if isinstance(element, Conversion) and element.letter == "s"]
    if not strings:
        return _piece(elements, exact, 0, len(elements))
    parts = [_piece(elements, exact, 0, strings[0])]
    for at, following in pairwise(strings):
        parts.append(rf"(?>([^\n]*?){_piece(elements, exact, at + 1, following)})")
    rest = _piece(elements, exact, strings[-1] + 1, len(elements))
    parts.append(rf"([^\n]*?){rest}" if rest else r"([^\n]*)")
    return "".join(parts)


class EventPattern:
    """Reads the arguments of one declared event from its text."""

    __slots__ = ("_converters", "_names", "columns", "declaration", "regex")

    declaration: EventDeclaration
    """What was declared."""
    regex: re.Pattern[bytes]
    """The text after the event's name and one blank; one group a column."""
    columns: tuple[Column, ...]
    """What the groups hold, in order."""

    def __init__(self, declaration: EventDeclaration) -> None:
        """Compile the inverse of a declaration's format; raises `DeclarationError` where it is not of printf."""
        elements = list(declaration.elements())
        tail = ""
        if elements and isinstance(last := elements[-1], bytes):
            kept = last.rstrip(b" \n")
            if kept != last:  # back ends differ in what they keep of a blank or a newline at the end
                elements[-1:] = [kept] if kept else []
                blanks = last[len(kept) :].count(b" ")
                tail = rf" {{0,{blanks}}}(?![^\n])" if blanks else ""
        if tail and elements and isinstance(string := elements[-1], Conversion) and string.letter == "s":
            expression = _expression(elements).removesuffix(r"([^\n]*)") + r"([^\n]*?)" + tail
        else:
            expression = _expression(elements) + tail.removesuffix(r"(?![^\n])")
        conversions = [element for element in elements if isinstance(element, Conversion)]
        self.declaration = declaration
        self.regex = re.compile(expression.encode("latin-1"))
        self.columns = tuple(Column(one.argument.name, _KINDS.get(one.letter, REAL)) for one in conversions)
        self._names = tuple(column.name for column in self.columns)
        self._converters = tuple(_converter(one) for one in conversions)

    def _values(self, match: re.Match[bytes]) -> dict[str, Value]:
        return {
            name: convert(raw)
            for name, convert, raw in zip(self._names, self._converters, match.groups(), strict=True)
        }

    def match(self, text: bytes, start: int = 0) -> Mapping[str, Value] | None:
        """Read the arguments from the text between `start` and its end; None where it is not of this form."""
        found = self.regex.fullmatch(text, start)
        return None if found is None else self._values(found)

    def match_prefix(self, text: bytes, start: int = 0) -> tuple[Mapping[str, Value], int] | None:
        """Read the arguments from the text at `start`, whatever follows them; also says where they end."""
        found = self.regex.match(text, start)
        return None if found is None else (self._values(found), found.end())
