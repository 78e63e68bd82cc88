r"""The Wireshark plug-in for recorded traffic: `xptrace.lua`, made from the register map and the pseudo-header.

Law: `dissectors.capture.header` for where everything is in a packet, `dissectors.platform.registers` for what it means;
Wireshark Developer's Guide, Lua support. What is declared there becomes a table in front of the code that reads it,
which is the same whatever the map says (wireshark.lua). Every text is quoted so that Lua takes nothing in it as code::

    {name="unplug_mask", space="pio", offset=16, size=2, direction="write", sentence={"unplug mask ",2,": ",3}, ...}

Fields have the names of the columns of `xptrace decode`, behind `xenplat.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Final

import xptrace
from dissectors.capture import header
from dissectors.platform import registers
from dissectors.platform.registers import Register
from xptrace.views.escape import printable

NAME: Final = "xptrace.lua"
_CODE: Final = Path(__file__).with_name("wireshark.lua")
_PLACEHOLDERS: Final = {"value": 1, "hex": 2, "said": 3}

ANSWERS: Final[Mapping[str, str]] = {"magic": "protocol_version", "build_number": "magic"}
"""Which register answers a step: a driver that has seen the magic asks for the version, and reads the magic again after
it has said its build, which is when it may have been blacklisted."""

FIELDS: Final = (
    ("kind", "string", "Kind"), ("vm", "string", "VM"), ("boot", "uint", "Boot"), ("began", "string", "Boot began by"),
    ("clock", "string", "Clock"), ("time_ns", "uint", "Time in nanoseconds, by the clock"),
    ("certainty", "string", "Certainty"), ("space", "string", "Space"), ("direction", "string", "Direction"),
    ("address", "hex", "Address"), ("base", "hex", "Base of the space"), ("size", "uint", "Size"),
    ("value", "hex", "Value"), ("count", "uint", "Count"), ("vcpu", "int64", "vCPU"),
    ("function", "string", "PCI function"), ("device", "string", "Device"), ("register", "string", "Register"),
    ("meaning", "string", "Meaning"), ("via", "string", "Written to"), ("complete", "string", "Complete"),
    ("text", "string", "Text"), ("topic", "string", "Topic"), ("subject", "string", "Subject"),
    ("said", "string", "State or value"), ("number", "hex", "Number"), ("source", "string", "Source"),
    ("offset", "uint", "Offset in the source"), ("line", "uint", "Line in the source"),
    ("told_by", "string", "Told by"), ("finding", "string", "Finding"), ("severity", "string", "Severity"),
    ("previous", "frame", "Step before"), ("next", "frame", "Step after"), ("answer_in", "answer", "Answered in"),
    ("answer_to", "request", "Answer to"), ("answer_time", "interval", "Time from the question"),
)  # fmt: skip
"""Name behind `xenplat.`, kind and title of every field but those of a register's bits."""

LuaValue = str | int | Mapping[str, "LuaValue"] | Mapping[int, "LuaValue"] | Sequence["LuaValue"]


def quoted(text: str) -> str:
    """A text as a literal of Lua: ASCII, and whatever could end it or act in it as its bytes in decimal."""
    shown = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03d}"
             for byte in text.encode("utf-8", "backslashreplace"))  # fmt: skip
    return f'"{"".join(shown)}"'


def literal(value: LuaValue) -> str:
    """Numbers, texts and tables of them as Lua."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{literal(key)}]={literal(one)}" for key, one in value.items()) + "}"
    return "{" + ", ".join(map(literal, value)) + "}"


def _sentence(register: Register) -> tuple[LuaValue, ...]:
    """The parts of its sentence: texts, and 1, 2, 3 for the value in decimal, in hexadecimal and in words."""
    parts: list[LuaValue] = []
    for text, name, _, _ in Formatter().parse(register.sentence):
        parts += [text] if text else []
        parts += [_PLACEHOLDERS[name]] if name else []
    return tuple(parts)


def _register(register: Register) -> LuaValue:
    bits: list[LuaValue] = [{"value": bit.value, "name": bit.name, "meaning": bit.meaning} for bit in register.bits]
    told: dict[str, LuaValue] = {
        "name": register.name, "space": register.space, "offset": register.offset, "size": register.size,
        "direction": register.direction, "sentence": _sentence(register), "values": dict(register.values),
        "bits": bits, "otherwise": register.otherwise,
    }  # fmt: skip
    return told


def _active() -> tuple[LuaValue, ...]:
    """Ranges of the characters that `printable` escapes; beyond the first plane they are all in the fifteenth."""
    ranges: list[tuple[int, int]] = []
    for code in (*range(0x10000), *range(0xE0000, 0xE1000)):
        if printable(chr(code)) == chr(code):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return tuple(ranges)


def _layout(fields: tuple[header.Field, ...]) -> tuple[LuaValue, ...]:
    return tuple((one.name, one.size) for one in fields)


def _bits() -> Iterator[tuple[str, str, str]]:
    """A field for every bit of every register."""
    for register in registers.REGISTERS:
        for bit in register.bits:
            yield f"{register.name}.{bit.name}", "bool", bit.meaning


def declared() -> dict[str, LuaValue]:
    """Everything that the code is to know, by its name."""
    enumerated = [*header.HEAD, *(one for fields in header.BODIES.values() for one in fields)]
    kinds = header.KINDS
    return {
        "version": header.VERSION, "head": _layout(header.HEAD), "head_bytes": header.HEAD_BYTES,
        "texts": header.TEXTS, "flags": header.FLAGS,
        "bodies": {kinds[kind]: _layout(fields) for kind, fields in header.BODIES.items()},
        "body_bytes": {kinds[kind]: header.structure(fields).size for kind, fields in header.BODIES.items()},
        "names": {one.name: dict(one.names) for one in enumerated if one.names},
        "unknown_width": header.UNKNOWN_WIDTH,
        "registers": tuple(_register(one) for one in registers.REGISTERS),
        "whole_space": {str(space): name for space, name in registers.WHOLE_SPACE.items()},
        "undefined": registers.UNDEFINED, "first_port": registers.PORTS.start, "bar0_size": registers.BAR0_SIZE,
        "steps": {one.name: 1 for one in registers.REGISTERS if one.name not in registers.LOG_REGISTERS},
        "answers": dict(ANSWERS), "fields": (*FIELDS, *dict.fromkeys(_bits())), "active": _active(),
    }  # fmt: skip


def plugin() -> str:
    """The whole plug-in."""
    head = [
        f"-- Wireshark plug-in of xptrace {xptrace.__version__}: what `xptrace export --to pcapng` writes.",
        f"-- Link type {header.LINKTYPE} (LINKTYPE_USER0), by private agreement.",
        "-- Made by `xptrace wireshark`: make it anew rather than edit it.",
        "",
        "local DECLARED = {",
        *(f"  {name} = {literal(value)}," for name, value in declared().items()),
        "}",
        "",
    ]  # fmt: skip
    return "\n".join(head) + "\n" + _CODE.read_text("utf-8")
