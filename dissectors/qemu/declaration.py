r"""What QEMU says of its own trace events: the reader of the `trace-events` syntax.

Law: QEMU's docs/devel/tracing.rst (declaring trace events) and scripts/tracetool/__init__.py, which reads them; the
conversions are those of C's printf. One declaration, in the syntax of QEMU 2.10 and later::

    cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"

and the record that a build with this declaration writes::

    cpu_in addr 0x10(w) value 18898

The text of an event changed with the years. Our own files say when, in a comment that holds for the events after it
up to the next such comment; the versions are inclusive, and either may be missing::

    # era: 2.5-2.9
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

STRING, POINTER, CHARACTER, INTEGER, REAL = "string", "pointer", "character", "integer", "real"
"""Kinds of arguments and columns."""

_LINE = re.compile(
    r"(?P<properties>(?:(?:disable|vcpu|tcg|tcg-trans|tcg-exec)\s+)*)"
    r"(?P<name>[A-Za-z_]\w*)\s*\((?P<arguments>[^)]*)\)\s*(?P<format>.*)"
)
_ERA = re.compile(r"#\s*era:\s*(\d+\.\d+-(?:\d+\.\d+)?|-\d+\.\d+)\s*")
_PIECE = re.compile(r'\s*(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<macro>[A-Za-z_]\w*)|(?P<comma>,))')
_MACRO = re.compile(r"PRI([diouxX])(?:(?:LEAST|FAST)?(8|16|32|64)|MAX|PTR)")
_MACROS_OF_QEMU = {
    "HWADDR_PRId": "ld", "HWADDR_PRIi": "li", "HWADDR_PRIo": "lo", "HWADDR_PRIu": "lu", "HWADDR_PRIx": "lx",
    "HWADDR_PRIX": "lX", "VADDR_PRId": "ld", "VADDR_PRIi": "li", "VADDR_PRIo": "lo", "VADDR_PRIu": "lu",
    "VADDR_PRIx": "lx", "VADDR_PRIX": "lX", "TARGET_PRIxPHYS": "lx", "TARGET_FMT_plx": "%016lx",
    "HWADDR_FMT_plx": "%016lx", "TARGET_FMT_lx": "%lx", "TARGET_FMT_ld": "%ld", "TARGET_FMT_lu": "%lu",
    "RAM_ADDR_FMT": "%lx",
}  # include/exec/{hwaddr,vaddr,cpu-defs,cpu-common}.h
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_CONVERSION = re.compile(
    r"%(?:(?P<percent>%)|(?P<flags>[-+ #0']*)(?P<width>\*|[0-9]*)(?:\.(?P<precision>\*|[0-9]*))?"
    r"(?P<length>hh|h|ll|l|q|L|z|j|t)?(?P<letter>[diouxXpscfFeEgGaA]))"
)
_WIDEST = 255
_WIDTHS = {
    "char": 8, "short": 16, "int": 32, "unsigned": 32, "signed": 32, "long": 64, "bool": 8, "_Bool": 8,
    "size_t": 64, "ssize_t": 64, "off_t": 64, "hwaddr": 64, "vaddr": 64, "ram_addr_t": 64,
    "uintptr_t": 64, "intptr_t": 64, "ptrdiff_t": 64, "uintmax_t": 64, "intmax_t": 64,
}
_UNSIGNED = frozenset(
    ("unsigned", "bool", "_Bool", "size_t", "hwaddr", "vaddr", "ram_addr_t", "uintptr_t", "uintmax_t")
)
_FIXED = re.compile(r"(u?)int(8|16|32|64)_t")
_QUALIFIERS = frozenset(("const", "volatile", "restrict"))


class DeclarationError(ValueError):
    """A declaration that cannot be read: says the file, the line and what was expected there."""


class Argument(NamedTuple):
    """One argument of an event: its C type as written, with single blanks, and its name."""

    ctype: str
    name: str

    @property
    def kind(self) -> str:
        """`string`, `pointer`, `character`, `real` or `integer`, as the C type says."""
        words = [word for word in self.ctype.replace("*", " * ").split() if word not in _QUALIFIERS]
        if words == ["char", "*"]:
            return STRING
        if "*" in words:
            return POINTER
        if words == ["char"]:
            return CHARACTER
        return REAL if words[-1:] in (["double"], ["float"]) else INTEGER

    @property
    def bits(self) -> int | None:
        """Width of the value on a 64-bit host; None where the C type does not say it."""
        if "*" in self.ctype:
            return 64
        words = self.ctype.split()
        if fixed := _FIXED.fullmatch(words[-1] if words else ""):
            return int(fixed[2])
        for word in ("char", "short", "long"):
            if word in words:
                return _WIDTHS[word]
        return next((_WIDTHS[word] for word in words if word in _WIDTHS), None)

    @property
    def signed(self) -> bool | None:
        """Whether the value may be negative; None where the C type does not say it."""
        words = self.ctype.split()
        if "*" in self.ctype:
            return False
        if fixed := _FIXED.fullmatch(words[-1] if words else ""):
            return not fixed[1]
        if any(word in _UNSIGNED for word in words):
            return False
        return True if any(word in _WIDTHS for word in words) else None


class Conversion(NamedTuple):
    """One conversion of a format: what it prints, how, and of which argument."""

    letter: str
    argument: Argument
    flags: str = ""
    width: int | None = None
    """The least number of characters; 0 where an argument says it."""
    precision: int | None = None
    """As in C; None also where an argument says it."""


class EventDeclaration(NamedTuple):
    """One event as declared: name, arguments in order, printf format with escapes and macros resolved.

    `era` is the range of QEMU versions, such as `2.10-`, empty in a user's file; `origin` is `file:line`. An event that
    is `disabled` is not built in, but some builds number it.
    """

    name: str
    arguments: tuple[Argument, ...]
    format: str
    era: str
    origin: str
    disabled: bool = False

    def elements(self) -> tuple[bytes | Conversion, ...]:
        """Split the format into literal bytes and conversions, each with its argument.

        Raises `DeclarationError` where the format has something that printf has not, or more than the arguments.
        """
        return tuple(_elements(self))


def _measure(event: EventDeclaration, text: str) -> int:
    """Read a width or a precision; 0 where an argument says it."""
    if text in ("", "*"):
        return 0
    if len(text) > 3 or int(text) > _WIDEST:
        raise DeclarationError(f"{event.origin}: expected at most {_WIDEST} characters from one conversion")
    return int(text)


def _conversion(event: EventDeclaration, found: re.Match[str], arguments: Iterator[Argument]) -> Conversion:
    """Take the conversion's arguments: one for each star, which is not printed, and the one that is."""
    width, precision = found["width"], found["precision"]
    taken = list(islice(arguments, (width == "*") + (precision == "*") + 1))
    if len(taken) < (width == "*") + (precision == "*") + 1:
        raise DeclarationError(
            f"{event.origin}: expected an argument for {found[0]} in the format of {event.name}, "
            f"found only {len(event.arguments)}"
        )
    return Conversion(
        found["letter"],
        taken[-1],
        found["flags"],
        _measure(event, width) if width else None,
        None if precision in (None, "*") else _measure(event, precision),
    )


def _elements(event: EventDeclaration) -> Iterator[bytes | Conversion]:
    arguments = iter(event.arguments)
    literal, position, form = b"", 0, event.format
    while (at := form.find("%", position)) >= 0:
        literal += form[position:at].encode("utf-8", "surrogateescape")
        if (found := _CONVERSION.match(form, at)) is None:
            raise DeclarationError(f"{event.origin}: expected a printf conversion, found {form[at : at + 8]!r}")
        position = found.end()
        if found["percent"]:
            literal += b"%"
            continue
        if literal:
            yield literal
            literal = b""
        yield _conversion(event, found, arguments)
    literal += form[position:].encode("utf-8", "surrogateescape")
    if literal:
        yield literal


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[3] is not None:
            return _ESCAPED.get(match[3], match[3])
        byte = int(match[1], 16) if match[1] is not None else int(match[2], 8) & 0xFF
        return bytes((byte,)).decode("utf-8", "surrogateescape")

    return _ESCAPE.sub(one, text)


def _formats(text: str, origin: str) -> list[str]:
    """Join what C would join; a comma begins the second format of a tcg event."""
    formats, position, text = [""], 0, text.rstrip()
    while position < len(text):
        if (piece := _PIECE.match(text, position)) is None:
            raise DeclarationError(f"{origin}: expected a string or a PRI macro, found {text[position:][:30]!r}")
        position = piece.end()
        if piece["comma"]:
            formats.append("")
        elif piece["text"] is not None:
            formats[-1] += _unescape(piece["text"])
        elif (known := _MACROS_OF_QEMU.get(piece["macro"])) is not None:
            formats[-1] += known
        elif macro := _MACRO.fullmatch(piece["macro"]):
            formats[-1] += (macro[1] if macro[2] in ("8", "16", "32") else "l" + macro[1])
        else:
            raise DeclarationError(f"{origin}: expected a PRI macro such as PRIx64, found {piece['macro']!r}")
    return formats


def _arguments(text: str, origin: str) -> tuple[Argument, ...]:
    text = " ".join(text.split())
    if text in ("", "void"):
        return ()
    arguments = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(.*?[\s*])\s*([A-Za-z_]\w*)(?:\[\d*\])?\s*", part)
        if found is None or not found[1].strip(" *"):
            raise DeclarationError(f"{origin}: expected a C type and a name, found {part.strip()!r}")
        ctype = " ".join(re.sub(r"\s*\*\s*", " *", found[1]).split())
        arguments.append(Argument(re.sub(r"\* (?=\*)", "*", ctype), found[2]))
    return tuple(arguments)


def _events(line: str, era: str, origin: str) -> Iterator[EventDeclaration]:
    """Read the event of one line; two for a tcg event, which is traced when translated and when executed."""
    if (found := _LINE.fullmatch(line)) is None:
        raise DeclarationError(f'{origin}: expected name(type argument, ...) "format", found {line[:60]!r}')
    properties = found["properties"].split()
    arguments = _arguments(found["arguments"], origin)
    formats = _formats(found["format"], origin)
    if len(formats) != 1 and not ("tcg" in properties and len(formats) == 2):
        raise DeclarationError(f"{origin}: expected one format, or two after tcg, found {len(formats)}")
    event = EventDeclaration(found["name"], arguments, formats[0], era, origin, "disable" in properties)
    events = [event]
    if len(formats) == 2:
        known = tuple(argument for argument in arguments if not argument.ctype.startswith("TCGv"))
        events = [
            event._replace(name=event.name + "_trans", arguments=known),
            event._replace(name=event.name + "_exec", format=formats[1]),
        ]
    if "vcpu" in properties:  # scripts/tracetool/vcpu.py of 2.6 to 7.2 puts the vCPU in front
        vcpu = Argument("CPUState *", "__cpu")
        events = [one._replace(arguments=(vcpu, *one.arguments), format="cpu=%p " + one.format) for one in events]
    for one in events:
        one.elements()
        yield one


class DeclarationLine(NamedTuple):
    """A line of a `trace-events` file that declares something, not read yet; `origin` is `file:line`."""

    text: str
    era: str
    origin: str

    @property
    def name(self) -> str:
        """The name that it declares; of a tcg event what the names of its two begin with."""
        return self.text.partition("(")[0].split()[-1]

    def events(self) -> Iterator[EventDeclaration]:
        """What it declares; raises `DeclarationError` where it is no declaration."""
        return _events(self.text, self.era, self.origin)


def declaration_lines(text: str, origin: str) -> Iterator[DeclarationLine]:
    """The lines of a `trace-events` file that are neither comments nor blank, each with the era that holds for it."""
    era = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line.startswith("#"):
            if comment := _ERA.fullmatch(line):
                era = comment[1]
        elif line:
            yield DeclarationLine(line, era, f"{origin}:{number}")


def read_declarations(text: str, origin: str) -> list[EventDeclaration]:
    """Read the declarations of one `trace-events` file; `origin` is its name, for errors.

    Raises `DeclarationError` at the first line that is neither a declaration nor a comment nor blank.
    """
    return [event for line in declaration_lines(text, origin) for event in line.events()]
