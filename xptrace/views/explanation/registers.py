"""Registers and ports explained: what an access means by its place, direction and width, and what a device does then.

Law: `dissectors.platform.registers` for place, width and values, the handlers of `xptrace.model.device` for the rest::

    register magic: read, 2 bytes at port 0x10
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dissectors.platform import registers
from dissectors.platform.registers import PORTS, REGISTERS, UNDEFINED, UNPLUG_BITS, Register, Space
from xptrace.model import function as pci
from xptrace.model.access import read
from xptrace.model.machine import power_on, step
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.wording import DIRECTIONS, LETTERS, access, does, newest, number, place


def _values(register: Register) -> list[Row]:
    """What its values mean. Meanings that differ only in the value itself, as characters do, are one row."""
    rows: list[Row] = [(f"0x{bit.value:x}", f"{bit.name}: {bit.meaning}") for bit in register.bits]
    by_meaning: dict[str, list[int]] = {}
    for value, meaning in register.values.items():
        text = meaning
        if register.size == 1:
            text = text.replace(repr(chr(value)), "the byte itself").replace(f"0x{value:02x}", "the byte itself")
        by_meaning.setdefault(text, []).append(value)
    exactly = "exactly " if register.bits else ""
    rows += [(f"{exactly}0x{values[0]:x}", text) for text, values in by_meaning.items() if len(values) == 1]
    rows += [("any other", text) for text, values in by_meaning.items() if len(values) > 1]
    if register.otherwise:
        rows.append(("no bit" if register.bits else "any other", register.otherwise))
    return rows


def _register(register: Register) -> Page:
    here = [one for one in REGISTERS if (one.space, one.offset) == (register.space, register.offset)]
    title = f"{access(register.direction, register.size)} at {place(register)}"
    decoded = register.sentence.format(value="N", hex=f"0x{'N' * 2 * register.size}", said="…")
    return Page("register", register.name, title, {
        "decoded as": decoded if decoded != "…" else "",
        "values": _values(register),
        "lineages": register.lineage,
        "the device": "\n\n".join(does(register)),
        "what goes": "`xptrace explain unplug` tells what each bit takes away" if register.bits == UNPLUG_BITS else "",
        "also there": [(access(one.direction, one.size), one.name) for one in here if one is not register],
    })  # fmt: skip


def _nothing_at(space: Space, offset: int, sizes: Iterable[int]) -> list[Row]:
    """The accesses at a place that reach no register, and what they get."""
    return [
        (access(direction, size), "", registers.meaning(space, offset, size, direction, (1 << 8 * size) - 1))
        for direction in DIRECTIONS for size in sizes
        if registers.find(space, offset, size, direction) is None
    ]  # fmt: skip


def _undefined() -> Page:
    title = "a place, width or direction for which the device has no register"
    return Page("register", UNDEFINED, title, {"e.g. port 0x1f": _nothing_at("pio", PORTS[-1], (1,))})


def _find_register(word: str) -> list[Page]:
    if word == UNDEFINED:
        return [_undefined()]
    return [_register(one) for one in REGISTERS if one.name == word]


def _reached(found: Iterable[Register]) -> list[Row]:
    return [(access(one.direction, one.size), one.name, does(one)[0]) for one in found]


def _port(port: int) -> Page:
    there = [one for one in REGISTERS if (one.space, one.offset) == ("pio", port)]
    names = ", ".join(dict.fromkeys(one.name for one in there))
    title = f"a fixed port of {names}" if there else "a fixed port without a register"
    return Page("port", f"0x{port:x}", title, {"accesses": [*_reached(there), *_nothing_at("pio", port, LETTERS)]})


def _bar0(offset: int | None) -> Page:
    there = [one for one in REGISTERS if one.space == "bar0" and offset in (None, one.offset)]
    rows: list[Row] = [(f"+{one.offset}", *row) for one, row in zip(there, _reached(there), strict=True)]
    if offset is None:
        rows += [("elsewhere", *row) for row in _nothing_at("bar0", 1, (1,))]
    else:
        rows += [(f"+{offset}", *row) for row in _nothing_at("bar0", offset, (1,))]
    title = f"{registers.BAR0_SIZE} I/O ports, with registers of one byte"
    return Page("port", "bar0" if offset is None else f"bar0+{offset}", title, {"accesses": rows})


def _bar1() -> Page:
    rows: list[Row] = []
    for name, identity in (("xen-platform", pci.platform(newest())), ("xen-pvdevice", pci.pvdevice(0xC000))):
        _, answer, _ = step(power_on(newest(), identities=(identity,)), read(0, 4, "bar1"))
        shown = "" if answer is None else f"reads 0x{answer.value:08x}"
        rows.append((name, f"{identity.bar1_size >> 20} MiB", shown, "ignores what is written"))
    return Page("port", "bar1", "memory without a register: address space for the driver", {"functions": rows})


def _find_port(word: str) -> list[Page]:
    if word == "bar1":
        return [_bar1()]
    in_bar0 = re.fullmatch(r"bar0(?:\+(\w+))?", word)
    if in_bar0 is None:
        port = number(word)
        return [_port(port)] if port is not None and port in PORTS else []
    offset = number(in_bar0[1]) if in_bar0[1] else None
    wrong = in_bar0[1] and (offset is None or not 0 <= offset < registers.BAR0_SIZE)
    return [] if wrong else [_bar0(offset)]


def _names() -> Iterable[str]:
    return dict.fromkeys([*(one.name for one in REGISTERS), UNDEFINED])


REGISTER = Kind("register", "registers", _names, _find_register, _find_register)
PORT = Kind(
    "port", "ports", lambda: [*(f"0x{port:x}" for port in PORTS), "bar0", "bar1"], _find_port, _find_port,
    shown=lambda: [f"0x{PORTS[0]:x} to 0x{PORTS[-1]:x}", "bar0", "bar0+4", "bar1"],
)  # fmt: skip
