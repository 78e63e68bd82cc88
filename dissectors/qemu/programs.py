"""Op-programs: what the kernel does to read an event's text, compiled from the event's declaration.

Law: the format of a declaration, as `dissectors.qemu.inverse` reads it. Declared, and compiled::

    cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"
    LITERAL "addr 0x", HEXADECIMAL address, LITERAL "(", WIDTH size, LITERAL ") value ", DECIMAL value, END

A program takes less than the regular expression of its event, and of that the same values. An event that has a form
which cannot be compiled has no program at all: else a later form could be taken for an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dissectors.kernel import (
    OP_DECIMAL,
    OP_END,
    OP_HEXADECIMAL,
    OP_LITERAL,
    OP_POINTER,
    OP_PREFIXED,
    OP_TEXT,
    OP_WIDTH,
    SLOTS,
)
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import Conversion, EventDeclaration

EVENTS: Final = (
    "", "handle_ioreq", "handle_ioreq_read", "handle_ioreq_write", "cpu_ioreq_pio", "cpu_ioreq_pio_read_reg",
    "cpu_ioreq_pio_write_reg", "cpu_in", "cpu_out", "memory_region_ops_read", "memory_region_ops_write",
    "xen_platform_log",
)
"""The events of bulk, by the number that a record of the kernel has."""

PLACES: Final = {
    "addr": "address", "data": "value", "val": "value", "value": "value", "size": "size", "dir": "direction",
    "type": "type", "data_is_ptr": "pointer", "count": "count", "cpu_index": "vcpu", "name": "text", "s": "text",
}
"""Where an argument goes, by its name; the others are read over."""
_MOST_NAME: Final = 63
_MOST_LITERAL: Final = 255


def programs(catalogue: Catalogue) -> bytes:
    """The programs of all forms of these events, in the order in which they are tried."""
    compiled = bytearray()
    for number, name in enumerate(EVENTS):
        forms = [_program(one) for one in catalogue.declarations(name.encode())] if name else []
        for form in forms:
            if None not in forms and form is not None and len(name) <= _MOST_NAME:
                compiled += bytes((number, len(name))) + name.encode() + len(form).to_bytes(2, "little") + form
    return bytes(compiled)


def _program(declaration: EventDeclaration) -> bytes | None:
    operations = list(_operations(declaration.elements()))
    if None in operations:
        return None
    return b"".join(one for one in operations if one is not None) + bytes((OP_END,))


def _operations(elements: Sequence[bytes | Conversion]) -> Iterator[bytes | None]:
    """Each operation; None for what has none."""
    for at, element in enumerate(elements):
        after = elements[at + 1] if at + 1 < len(elements) else b""
        if isinstance(element, bytes):
            before = elements[at - 1] if at else b""
            if not (isinstance(before, Conversion) and before.letter == "s"):
                last = at + 1 == len(elements) and element.rstrip(b" \n") != element
                yield None if last or len(element) > _MOST_LITERAL else bytes((OP_LITERAL, len(element))) + element
        elif isinstance(after, Conversion) or element.width is not None or element.precision is not None:
            yield None
        elif element.letter == "s":
            ends = at + (2 if after else 1) == len(elements) and after.rstrip(b" \n") == after
            plain = ends and not element.flags and len(after) <= _MOST_LITERAL
            yield bytes((OP_TEXT, _slot(element), len(after))) + after if plain else None
        else:
            yield _number(element, after)


def _number(conversion: Conversion, after: bytes) -> bytes | None:
    """A number, or the letter of a size; None where what follows could be part of it."""
    letter, flags, slot = conversion.letter, conversion.flags, _slot(conversion)
    if letter == "u" and slot == SLOTS["vcpu"]:  # which may be -1 in a program, and here must not
        return None
    if letter == "c":
        return bytes((OP_WIDTH, slot)) if slot == SLOTS["size"] and not flags else None
    code = {("d", ""): OP_DECIMAL, ("i", ""): OP_DECIMAL, ("u", ""): OP_DECIMAL, ("x", ""): OP_HEXADECIMAL,
            ("x", "#"): OP_PREFIXED, ("p", ""): OP_POINTER}.get((letter, flags))
    if code is None or after[:1] in b"0123456789abcdef" or (code == OP_PREFIXED and after[:1] == b"x"):
        return None if code is None or after else bytes((code, slot))
    return bytes((code, slot))


def _slot(conversion: Conversion) -> int:
    place = PLACES.get(conversion.argument.name, "")
    if (place == "text") != (conversion.letter == "s"):
        place = ""
    return SLOTS[place]
