r"""The way out: a declared event and its values as one line of text, in every form that `prefix` reads.

Law: the printf of C99 (7.19.6.1) as glibc has it; QEMU's util/log.c, scripts/tracetool/backend/{log,syslog}.py,
scripts/tracetool/format/log_stap.py and trace/ftrace.c for what each back end puts around the text, observed on 7.2.22,
10.0.13 and 10.2.2; rsyslog's three file formats; kernel/trace/trace_output.c and trace-cmd's report for the marker.
From declaration and values to the line, here in the form `qemu-log-tid`::

    cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"
    31213@1795401500.773285:cpu_in addr 0x10(w) value 18898

Texts of guests go out as they are, up to a NUL, because that is what QEMU does; only rsyslog escapes any of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from string import Formatter
from time import gmtime, strftime
from typing import Final, NamedTuple

from dissectors.clock import LOCAL_YEARLESS, SYSLOG, TRACE, WALL
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import Conversion, EventDeclaration
from dissectors.qemu.inverse import Value

Version = tuple[int, ...]
"""A version of QEMU, such as (7, 2) or (7, 2, 22)."""

_RADIX = {"d": "d", "i": "d", "u": "d", "o": "o", "x": "x", "X": "X"}
_REAL = "fFeEgGaA"
_INT, _WIDEST = 32, 64


def _in_type(number: int, bits: int, signed: bool | None) -> int:
    """What an integer type of C holds after a number was put into it."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def _converted(conversion: Conversion, value: int) -> int:
    """Follow a number through C: into the argument's type, promoted to int, read as the conversion reads it.

    So a `uint32_t` that is printed with `%d` may come out negative. A type of unknown width is taken for the widest.
    """
    bits = conversion.argument.bits or _WIDEST
    held = _in_type(value, bits, conversion.argument.signed)
    return _in_type(held, max(bits, _INT), conversion.letter in "di")


def _number(conversion: Conversion, value: int) -> str:
    letter, flags, precision = conversion.letter, conversion.flags, conversion.precision
    number = _converted(conversion, value)
    digits = format(abs(number), _RADIX[letter])
    if precision is not None:
        digits = digits.zfill(precision) if precision or number else ""
    if letter == "o" and "#" in flags and not digits.startswith("0"):
        digits = "0" + digits
    head = ""
    if letter in "di":
        head = "-" if number < 0 else "+" if "+" in flags else " " if " " in flags else ""
    elif letter in "xX" and "#" in flags and number:  # zero has no prefix
        head = "0" + letter
    if "0" in flags and "-" not in flags and precision is None:
        digits = digits.zfill((conversion.width or 0) - len(head))
    return head + digits


def _text(conversion: Conversion, value: bytes | None) -> bytes:
    """Take a string up to its NUL, and no longer than the precision."""
    if value is None:
        return b"(null)"
    return value.partition(b"\0")[0][: conversion.precision]


def _body(conversion: Conversion, value: Value) -> bytes | None:
    """Print a value without its padding; None where it is not of the conversion's kind."""
    letter = conversion.letter
    if letter in _RADIX and isinstance(value, int):
        return _number(conversion, value).encode()
    if letter == "p" and not isinstance(value, bytes):
        return b"%#x" % _in_type(value, _WIDEST, signed=False) if value else b"(nil)"
    if letter == "s" and not isinstance(value, int):
        return _text(conversion, value)
    if letter == "c" and isinstance(value, bytes) and len(value) == 1:
        return value
    if letter in _REAL and isinstance(value, bytes):
        return value  # as it was printed
    return None


def _printed(conversion: Conversion, value: Value, event: str) -> bytes:
    body = _body(conversion, value)
    if body is None:
        raise ValueError(f"{event}: expected for {conversion.argument.name} what %{conversion.letter} prints, "
                         f"found {value!r}")
    width = conversion.width or 0
    return body.ljust(width) if "-" in conversion.flags else body.rjust(width)


@lru_cache(maxsize=1024)
def _elements(declaration: EventDeclaration) -> tuple[bytes | Conversion, ...]:
    """Split the format; a newline at its end is dropped, because the line has one of its own (tracetool does so)."""
    elements = declaration.elements()
    if elements and isinstance(last := elements[-1], bytes):
        return (*elements[:-1], last.rstrip(b"\n"))
    return elements


def print_event(declaration: EventDeclaration, values: Mapping[str, Value]) -> bytes:
    """Print an event as glibc's printf does: its name, one blank even if nothing follows, its arguments.

    The values are those that `EventPattern.match` reads: None is a null pointer, a character is one byte, and an
    argument that only says a width or a precision is not among them. Raises `ValueError` where a value is missing or
    of another kind.
    """
    text = [declaration.name.encode(), b" "]
    for element in _elements(declaration):
        if isinstance(element, bytes):
            text.append(element)
            continue
        name = element.argument.name
        if name not in values:
            raise ValueError(f"{declaration.name}: expected a value for {name}, found {', '.join(values) or 'none'}")
        text.append(_printed(element, values[name], declaration.name))
    return b"".join(text)


class Range(NamedTuple):
    """Versions from the first to the last, both included; None where that end is open."""

    first: Version | None = None
    last: Version | None = None

    def holds(self, version: Version) -> bool:
        """Whether a version is one of them; a stable release such as 7.2.22 belongs to its 7.2."""
        release = (*version, 0)[:2]
        return (self.first is None or release >= self.first) and (self.last is None or release <= self.last)


@cache
def range_of(era: str) -> Range:
    """Read the era of a declaration, such as `2.5-2.9` or `2.10-`; none at all (a user's file) is every version."""
    first, last = (
        tuple(int(part) for part in end.split(".")) if end else None for end in (era.partition("-")[::2])
    )
    return Range(first, last)


def form_of(name: str, version: Version, catalogue: Catalogue) -> EventDeclaration | None:
    """Return how a version of QEMU declares an event, a user's declaration first; None where it has no such event."""
    declarations = catalogue.declarations(name.encode())
    return next((one for one in declarations if range_of(one.era).holds(version)), None)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ALLOWED = {
    "guest": re.compile(rb"[^\]\n\0]{1,255}"),
    "host": re.compile(rb"[^\s\[\]:]{1,255}"),
    "program": re.compile(rb"[\w.+-]{1,64}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What may stand beside an event on its line; None is what nobody knows.

    `thread` is what a form says of the writer: the process id in `qemu-log-pid`, `systemtap` and syslog, elsewhere the
    thread's.
    """

    time_ns: int | None = None
    thread: int | None = None
    guest: str | None = None
    host: str | None = None
    program: str | None = None

    def __post_init__(self) -> None:
        """Raise `ValueError` where no reader could tell a value from what stands around it."""
        if self.time_ns is not None and not 0 <= self.time_ns < 1 << 63:
            raise ValueError(f"time_ns: expected nanoseconds since 1970 in 63 bits, found {self.time_ns}")
        if self.thread is not None and not 0 <= self.thread < 1 << 32:
            raise ValueError(f"thread: expected a number of at most 32 bits, found {self.thread}")
        for name, allowed in _ALLOWED.items():
            text = getattr(self, name)
            if text is not None and allowed.fullmatch(text.encode()) is None:
                raise ValueError(f"{name}: expected a name that the line can hold, found {text!r}")


def _utc(time_ns: int, layout: str) -> str:
    return strftime(layout, gmtime(time_ns // 10**9))


def _microseconds(time_ns: int) -> str:
    return f"{time_ns // 1000 % 10**6:06}"


def _glib_fraction(time_ns: int) -> str:
    """Write what g_date_time_format_iso8601 puts after the second: nothing where there are no microseconds."""
    microseconds = _microseconds(time_ns)
    return "" if microseconds == "000000" else "." + microseconds


def _syslog_day(time_ns: int) -> str:
    utc = gmtime(time_ns // 10**9)
    return f"{_MONTHS[utc.tm_mon - 1]} {utc.tm_mday:2}"


def _traced(time_ns: int) -> str:
    """Write seconds and microseconds as the kernel and trace-cmd do: rounded to the nearest, at least 5 digits wide."""
    seconds, microseconds = divmod((time_ns + 500) // 1000, 10**6)
    return f"{seconds:5}.{microseconds:06}"


_OF_TIME: Final[Mapping[str, Callable[[int], object]]] = {
    "seconds": lambda time_ns: time_ns // 10**9,
    "microseconds": _microseconds,
    "nanoseconds": lambda time_ns: time_ns,
    "utc": lambda time_ns: _utc(time_ns, "%Y-%m-%dT%H:%M:%S"),
    "fraction": _glib_fraction,
    "day": _syslog_day,
    "clock": lambda time_ns: _utc(time_ns, "%H:%M:%S"),
    "traced": _traced,
}
"""What a template may say of the time, and how it is written; everything else in a template is a field of the stamp."""


@cache
def _names(template: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name)


def _fields(template: str) -> tuple[str, ...]:
    """Name what a template takes from the stamp, each field once."""
    return tuple(dict.fromkeys("time_ns" if name in _OF_TIME else name for name in _names(template)))


def _filled(template: str, stamp: Stamp) -> str | None:
    """Fill a template; None where the stamp has not all that it says."""
    said: dict[str, object] = {}
    for name in _names(template):
        of_time = _OF_TIME.get(name)
        value = stamp.time_ns if of_time else getattr(stamp, name)
        if value is None:
            return None
        said[name] = of_time(value) if of_time else value
    return template.format_map(said)


_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_MARKER_BYTES = 511
"""The buffer of trace/ftrace.c has 512 bytes, its last a NUL; the kernel ends a line that was cut there."""


def _raw(text: bytes) -> bytes:
    if b"\n" in text:
        raise ValueError(f"expected the text of one line, found a newline at byte {text.index(10)} of {text[:40]!r}")
    return text


def _marked(text: bytes) -> bytes:
    return _raw(text)[:_MARKER_BYTES]


def _escaped(text: bytes) -> bytes:
    """Write control characters as rsyslog does on receipt, `#` and three octal digits; other bytes stay."""
    return _CONTROL.sub(lambda found: b"#%03o" % found[0][0], text)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of line: its name, which versions of QEMU write it and when, what stands before the event's text.

    `prefix` is a template over the fields of a stamp and of `_OF_TIME`; each of `optional` stands before it where the
    stamp has what it says. `clock` is None where the line has no time. `text` makes of the event's text what arrives.
    """

    name: str
    versions: tuple[Range, ...]
    when: str
    clock: str | None
    prefix: str
    optional: tuple[str, ...] = ()
    text: Callable[[bytes], bytes] = _raw

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields that a stamp must have for this form."""
        return _fields(self.prefix)

    @property
    def takes(self) -> tuple[str, ...]:
        """The fields that are written too where a stamp has them."""
        return tuple(field for template in self.optional for field in _fields(template))


_UTC_OF_SYSLOG = "{utc}.{microseconds}+00:00"  # rsyslog writes its host's zone; ours is UTC
_TAG = "{program}[{thread}]: "
_PRIORITY = "<30>"  # LOG_DAEMON, LOG_INFO

FORMS: Final[Mapping[str, Form]] = {
    form.name: form
    for form in (
        Form("qemu-log", (Range(last=(2, 2)), Range((6, 0))), "unless -msg timestamp=on (6.0 and later)", None, ""),
        Form("qemu-log-pid", (Range((2, 3), (3, 1)),), "always", WALL, "{thread}@{seconds}.{microseconds}:"),
        Form("qemu-log-tid", (Range((4, 0), (10, 0)),), "always up to 5.2, later with -msg timestamp=on", WALL,
             "{thread}@{seconds}.{microseconds}:"),
        Form("qemu-log-iso", (Range((10, 1)),), "with -msg timestamp=on", WALL, "{utc}{fraction}Z "),
        Form("qemu-log-program", (Range((11, 0)),), "proposed in 2026, in no release", WALL,
             # device accesses come from the main thread, whose name is this
             "{program}: ({thread}:main): ", optional=("{utc}{fraction}Z ", "[{guest}] ")),
        # SystemTap would cut each string at 512 bytes, which the text as a whole no longer shows
        Form("systemtap", (Range((4, 0)),), "qemu-trace-stap run", WALL, "{thread}@{nanoseconds} "),
        Form("syslog-3164", (Range((2, 8)),), "syslog back end, rsyslog's traditional file format",
             LOCAL_YEARLESS,
             "{day} {clock} {host} " + _TAG, text=_escaped),
        Form("syslog-5424", (Range((2, 8)),), "syslog back end, rsyslog's file format of RFC 5424", SYSLOG,
             _PRIORITY + "1 " + _UTC_OF_SYSLOG + " {host} {program} {thread} - -  ", text=_escaped),
        Form("syslog-iso", (Range((2, 8)),), "syslog back end, rsyslog's file format with precise times", SYSLOG,
             _UTC_OF_SYSLOG + " {host} " + _TAG, text=_escaped),
        # no source says which processor wrote, so it is the first; the nop tracer knows no task by name
        Form("ftrace", (Range((1, 6)),), "ftrace back end, tracefs as the kernel shows it", TRACE,
             "           <...>-{thread:<7} [000] ...1. {traced}: tracing_mark_write: ", text=_marked),
        Form("trace-cmd", (Range((1, 6)),), "ftrace back end, trace-cmd report", TRACE,
             "{program:>16.15}-{thread:<5} [000] {traced}: print:                tracing_mark_write: ", text=_marked),
    )
}
"""Every form by its name, QEMU's own first, in the order in which they came."""


def forms_of(version: Version) -> tuple[Form, ...]:
    """Return the forms that a version of QEMU writes, one way or another."""
    return tuple(form for form in FORMS.values() if any(versions.holds(version) for versions in form.versions))


def write_line(form: Form, event_text: bytes, stamp: Stamp) -> bytes:
    """Write a printed event as one line, with its newline.

    Raises `ValueError` where the stamp has not what the form needs, or where the text would be more than one line.
    """
    prefix = _filled(form.prefix, stamp)
    if prefix is None:
        raise ValueError(f"{form.name}: expected a stamp with {', '.join(form.needs)}, found {stamp}")
    optional = "".join(_filled(template, stamp) or "" for template in form.optional)
    return (optional + prefix).encode() + form.text(event_text) + b"\n"
