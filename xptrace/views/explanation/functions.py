"""Xen's PCI functions explained: identities, and the fields of config space.

Law: `dissectors.platform.config_space` for what is where and who has which identity; `xptrace.model.function` for what
each function holds when it starts, and what of it a guest can write::

    identity 5853:0002: xen-platform of XenServer
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from dissectors.platform import config_space
from dissectors.platform.config_space import COMMAND_BITS, FIELDS, Field
from dissectors.platform.registers import VENDOR
from xptrace.model import function as pci
from xptrace.model.drivers import DRIVERS
from xptrace.model.function import Function
from xptrace.model.machine import PLATFORM_SLOT
from xptrace.model.profile import Profile
from xptrace.model.profiles import profiles
from xptrace.views.explanation.numbers import constants
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.wording import folded, named, newest

_PLATFORM: Final = "xen-platform"
_PVDEVICE: Final = "xen-pvdevice"
_ONES: Final = 0xFFFFFFFF


def _platform(of: Profile, device: int | None = None) -> Function:
    return pci.start(PLATFORM_SLOT, _PLATFORM, pci.platform(of, device), command=of.command_at_start)


def _pvdevice(device: int = 0xC000) -> Function:
    return pci.start(PLATFORM_SLOT + 8, _PVDEVICE, pci.pvdevice(device))


# -- fields


def _holds(function: Function, field: Field) -> str:
    """What a field holds, as the decoder would say it."""
    value = pci.config_read(function, field.offset, field.size)
    said = config_space.meaning(field.offset, field.size, "read", value, "")
    return said.removeprefix(": reads ").removeprefix(f"{field.name.replace('_', ' ')} ")


def _sized(function: Function, field: Field) -> Row:
    """What a base address register answers to all ones, and the size that this says; empty for one that is none."""
    size = {"BAR0": function.identity.bar0_size, "BAR1": function.identity.bar1_size}.get(field.name, 0)
    answer = pci.config_read(pci.config_write(function, field.offset, field.size, _ONES), field.offset, field.size)
    said = f"{size >> 20} MiB of memory" if size >> 20 else f"{size} I/O ports"
    return (said, f"0x{answer:08x} when asked for its size") if size else ()


def _writable(function: Function, field: Field) -> int:
    return sum((~pci.fixed(function, field.offset + at) & 0xFF) << 8 * at for at in range(field.size))


def _bytes(size: int) -> str:
    return f"{size} byte{'s' if size > 1 else ''}"


def _field(field: Field) -> Page:
    functions = {_PLATFORM: _platform(newest()), _PVDEVICE: _pvdevice()}
    writable: list[Row] = [(name, f"0x{_writable(one, field):0{2 * field.size}x}") for name, one in functions.items()]
    sized: list[Row] = [(name, *_sized(one, field)) for name, one in functions.items() if _sized(one, field)]
    at_start = folded(lambda of: _holds(_platform(of), field))
    return Page("field", field.name, f"{_bytes(field.size)} at offset 0x{field.offset:02x} of config space", {
        "bits": [(f"0x{bit:03x}", said) for bit, said in COMMAND_BITS.items()] if field.name == "command" else "",
        "at start": [*at_start, (_holds(functions[_PVDEVICE], field), _PVDEVICE)],
        "writable": writable,
        "size": sized,
    })  # fmt: skip


def _find_field(word: str) -> list[Page]:
    if word == "config":
        return [FIELD.pages()]
    return [_field(field) for field in FIELDS if field.name.lower() == word]


# -- identities

_TELLING: Final = ("revision", "class_code", "BAR0", "BAR1", "interrupt_pin")
"""The fields that set one function apart from another."""


def _told(function_of: Callable[[Profile], Function], among: Sequence[Profile]) -> Iterator[Row]:
    """What a function holds in these fields, and where that depends on the profile, with which."""
    for field in FIELDS:
        if field.name in _TELLING:
            rows = folded(partial(_telling, function_of, field), among)
            for said, names in rows:
                yield field.name.replace("_", " "), said, names if len(rows) > 1 else ""


def _telling(function_of: Callable[[Profile], Function], field: Field, of: Profile) -> str:
    function = function_of(of)
    if field.name.startswith("BAR"):
        return ", ".join(_sized(function, field)) or "none"
    return _holds(function, field)


def _attached(vendor: int, device: int) -> list[Row]:
    return [
        (driver.name, driver.title, f"since {one.since}: {one.source}" if one.since else one.source)
        for driver in DRIVERS for one in driver.binds or () if (one.vendor, one.device) == (vendor, device)
    ]  # fmt: skip


def _identity(vendor: int, device: int, known: str) -> Page:
    everybody = list(profiles().values())
    by_default = [one for one in everybody if (vendor, device) == (VENDOR, pci.platform(one).device)]
    settable = [one for one in everybody if one.identity_settable and vendor == VENDOR and known.startswith(_PLATFORM)]
    told: list[Row] = []
    if known == _PVDEVICE:
        told = list(_told(lambda _: _pvdevice(device), [newest()]))
    elif by_default or settable:
        told = list(_told(lambda of: _platform(of, None if by_default else device), by_default or settable))
    return Page("identity", f"{vendor:04x}:{device:04x}", known, {
        "reads as": f"0x{device << 16 | vendor:08x} (4 bytes at config space offset 0)",
        "by default": named(by_default) if by_default else "",
        "as a property": named(settable) if settable else "",
        "function": told,
        "attached by": _attached(vendor, device),
    })  # fmt: skip


def _named_identity(word: str) -> list[Page]:
    found = re.fullmatch(r"(?:([0-9a-f]{4}):|0x)?([0-9a-f]{1,4})", word)
    if found is None:
        return []
    vendor, device = int(found[1] or f"{VENDOR:x}", 16), int(found[2], 16)
    known = config_space.identity(vendor, device)
    return [] if known is None else [_identity(vendor, device, known)]


def _find_identity(word: str) -> list[Page]:
    """A device id alone must have all its digits, be somebody's, and be no constant of the protocol."""
    if ":" in word:
        return _named_identity(word)
    digits = re.fullmatch(r"(?:0x)?([0-9a-f]{4})", word)
    device = int(digits[1], 16) if digits else 0xFFFF
    nobodys = config_space.identity(VENDOR, device) == config_space.identity(VENDOR, 0xFFFF)
    return [] if nobodys or device in constants() else _named_identity(word)


def _identities() -> Iterable[str]:
    """Those that a driver attaches to."""
    return sorted({f"{one.vendor:04x}:{one.device:04x}" for driver in DRIVERS for one in driver.binds or ()})


IDENTITY = Kind(
    "identity", "identities", _identities, _find_identity, _named_identity,
    shown=lambda: [*_identities(), f"{VENDOR:04x}:c100 or c100 and the like"],
)  # fmt: skip
FIELD = Kind("field", "fields", lambda: [field.name for field in FIELDS], _find_field, _find_field)
