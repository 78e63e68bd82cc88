"""The steps of a negotiation: which accesses are some, and what a recorded one tells of the driver that made it.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc, steps 1 to 6. Log bytes (step 7) and the PCI side are no part of it, and
neither are the flags, which firmware sets at every boot: they stand alone only where no driver came after it. The
steps of a Linux guest, and what they tell::

    inw 0x10 -> 0x49d2, inb 0x12 -> 1, outw 0x12 3, outl 0x10 1, inw 0x10 -> 0x49d2, outw 0x10 3
    Seen(magics=(0x49d2, 0x49d2), version=1, product=3, build=1, masks=(3,), devices=(), legacy=(), misdirected=False)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import MAGIC_BLACKLISTED, find
from xptrace.model.access import Access, write

Step = tuple[Access, int | None]
"""An access and its answer, which is missing for a write, and for a read whose answer is not known."""

MISDIRECTED: Final = write(0x0F, 2, 0x10)
"""The unplug of xenlinux of 2009-07, its arguments swapped: the mask is the port, and the port is the value."""

STEPS: Final = frozenset(
    ("magic", "protocol_version", "product_number", "build_number", "unplug_mask", "unplug_type", "unplug_index")
)
"""The registers that a negotiation is made at."""
_LEGACY: Final = ((4, 1), (8, 1), (8, 2))
"""Offset in BAR0 and value of the unplugs of old SUSE and Novell drivers; any other value there is something else."""


def same(one: Access, other: Access) -> bool:
    """Whether two accesses are the same one, whichever function the space belongs to."""
    return (one.space, one.offset, one.size, one.direction, one.value) == (
        other.space, other.offset, other.size, other.direction, other.value,
    )  # fmt: skip


def negotiates(access: Access) -> bool:
    """Whether an access is a step of a negotiation."""
    if access.space == "bar0":
        return access.direction == "write" and (access.offset, access.value) in _LEGACY
    register = find(access.space, access.offset, access.size, access.direction)
    return (register is not None and register.name in STEPS) or same(access, MISDIRECTED)


def sets_flags(access: Access) -> bool:
    """Whether an access is firmware's: a write of the flags."""
    register = find(access.space, access.offset, access.size, access.direction)
    return register is not None and register.name == "flags" and access.direction == "write"


def negotiation(observed: Iterable[Step]) -> tuple[Step, ...]:
    """The steps among recorded accesses; where there are none, the writes of the flags."""
    kept = tuple(step for step in observed if negotiates(step[0]) or sets_flags(step[0]))
    return tuple(step for step in kept if negotiates(step[0])) or kept


@dataclass(frozen=True, slots=True)
class Seen:
    """What recorded steps tell of their driver: the first product and build, and everything it asked for, in order."""

    magics: tuple[int | None, ...]
    version: int | None
    product: int | None
    build: int | None
    masks: tuple[int, ...]
    devices: tuple[tuple[int, int], ...]
    """Type and index of each device that protocol 2 unplugged; the choice of the version is not one."""
    legacy: tuple[tuple[int, int], ...]
    """Offset in BAR0 and value of each legacy unplug."""
    misdirected: bool

    @property
    def mask(self) -> int | None:
        """The first mask, missing where there is none."""
        return self.masks[0] if self.masks else None

    @property
    def over(self) -> bool:
        """Whether the handshake was carried to its verdict, so that a mask that is not there was not wanted."""
        return len(self.magics) > 1 or self.version == 0 or self.magics[:1] == (MAGIC_BLACKLISTED,)


def _first(values: Sequence[int | None]) -> int | None:
    return values[0] if values else None


def seen(steps: Iterable[Step]) -> Seen:
    """What these steps tell."""
    by_register: dict[str, list[int | None]] = {name: [] for name in STEPS}
    legacy, pairs, misdirected, kind = [], [], False, None
    for access, answer in steps:
        value = answer if access.direction == "read" else access.value
        value = None if value is None else value & (1 << 8 * access.size) - 1  # a damaged record may claim more
        register = find(access.space, access.offset, access.size, access.direction)
        if access.space == "bar0" and value is not None:
            legacy.append((access.offset, value))
        elif same(access, MISDIRECTED):
            misdirected = True
        elif register is not None and register.name in STEPS:
            by_register[register.name].append(value)
            kind = value if register.name == "unplug_type" else kind
            if register.name == "unplug_index" and kind and value is not None:
                pairs.append((kind, value))
    masks = tuple(value for value in by_register["unplug_mask"] if value is not None)
    return Seen(
        tuple(by_register["magic"]), _first(by_register["protocol_version"]), _first(by_register["product_number"]),
        _first(by_register["build_number"]), masks, tuple(pairs), tuple(legacy), misdirected,
    )  # fmt: skip
