"""Layouts: where the kernel finds the arguments of an event in a record of simpletrace, from the event's declaration.

Law: the arguments of a declaration as scripts/tracetool/backend/simple.py writes them, in 64 bits each, a text behind
its length. Declared, and laid out::

    cpu_in(unsigned int addr, char size, unsigned int val) "addr 0x%x(%c) value %u"
    UNSIGNED 32 address, WIDTH size, UNSIGNED 32 value

An event has the layouts of its forms in the order in which they are tried, up to the first that is not one of ours: a
private build's may mean something else by the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from typing import Final

from dissectors.kernel import (
    ARGUMENT_SIGNED,
    ARGUMENT_TEXT,
    ARGUMENT_UNSIGNED,
    ARGUMENT_WIDTH,
    MEANS_ACCESS,
    MEANS_CALL,
    MEANS_NOTHING,
    MEANS_REQUEST,
    MOST_FORMS,
    SLOTS,
    TABLE_PROCESS,
    TABLE_TYPED,
)
from dissectors.qemu import catalogue
from dissectors.qemu.declaration import CHARACTER, STRING, Argument, EventDeclaration
from dissectors.qemu.programs import EVENTS, PLACES

NUMBERS: Final = {name.encode(): number for number, name in enumerate(EVENTS) if name}
"""The events of bulk, by name."""
_CALLS: Final = ("memory_region_ops_read", "memory_region_ops_write")
_MEANINGS: Final = dict.fromkeys(("", "xen_platform_log"), MEANS_NOTHING) | dict.fromkeys(_CALLS, MEANS_CALL)
_MEANINGS["handle_ioreq"] = MEANS_REQUEST
KINDS: Final = bytes(_MEANINGS.get(name, MEANS_ACCESS) for name in EVENTS)
"""What each event of bulk is where it is to be passed over."""
_MOST_LAYOUTS: Final = 4
"""Of one event; QEMU's own have up to three."""
_WIDEST: Final = 64


class Table:
    """The layouts of the events of one recording, by the numbers that it has given to them."""

    def __init__(self, *, typed: bool, process: bool) -> None:
        """No event has a number yet."""
        self._head = bytes((TABLE_TYPED * typed | TABLE_PROCESS * process,))
        self._events: dict[int, bytes] = {}
        self._whole: bytes | None = None

    def number(self, number: int, name: bytes, declarations: Sequence[EventDeclaration]) -> None:
        """Learn what an event's number is."""
        known = self._events.pop(number, None)
        layouts = _layouts(tuple(declarations)) if name in NUMBERS else ()
        if layouts and len(self._events) < MOST_FORMS // _MOST_LAYOUTS:
            head = number.to_bytes(4, "little") + bytes((NUMBERS[name],))
            self._events[number] = b"".join(head + layout for layout in layouts)
        if known != self._events.get(number):
            self._whole = None

    @property
    def packed(self) -> bytes:
        """As the kernel takes it; empty where there are no events."""
        if self._whole is None:
            self._whole = self._head + b"".join(self._events.values()) if self._events else b""
        return self._whole


@cache
def _layouts(declarations: tuple[EventDeclaration, ...]) -> tuple[bytes, ...]:
    """Each form that is one of ours: how many arguments it has, and of each its kind, its bits and its place."""
    ours = {_signature(one) for one in catalogue.load().declarations(declarations[0].name.encode())}
    plain = takewhile(lambda one: _signature(one) in ours, declarations)
    layouts = dict.fromkeys(bytes((len(one.arguments),)) + b"".join(map(_argument, one.arguments)) for one in plain)
    return tuple(layouts)[:_MOST_LAYOUTS]


def _signature(declaration: EventDeclaration) -> tuple[tuple[object, ...], ...]:
    return tuple((one.name, one.kind, one.bits, one.signed) for one in declaration.arguments)


def _argument(argument: Argument) -> bytes:
    place = PLACES.get(argument.name, "")
    if argument.kind == STRING:
        return bytes((ARGUMENT_TEXT, 0, SLOTS[place if place == "text" else ""]))
    if argument.kind == CHARACTER:
        return bytes((ARGUMENT_WIDTH, 0, SLOTS[place]))
    kind = ARGUMENT_SIGNED if argument.signed else ARGUMENT_UNSIGNED
    return bytes((kind, argument.bits or _WIDEST, SLOTS["" if place == "text" else place]))
