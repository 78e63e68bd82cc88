"""The field that no recording tells: what a write asks to unplug, by the mask or by a legacy register of BAR0.

Law: hw/i386/xen/xen_platform.c. An access may be wider than the register that it reaches, which is then a piece of
its value: a dword written to port 0x0f has the mask in its second and third byte. I/O BARs are as large as their
alignment (PCI Local Bus Specification 3.0, 6.2.5.1), so an address in BAR0 ends in the offset::

    register=unplug_mask     address=0x10    size=2 value=3   asks for 3
    register=bar0_unplug_all address=0xc004  size=1 value=1   asks for 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dissectors.platform.registers import BAR0_SIZE, LEGACY_UNPLUGS, REGISTERS

MASK: Final = "mask"
"""The name of the field."""
_LEGACY: Final = {
    name: {value: mask for (one, value), mask in LEGACY_UNPLUGS.items() if one == name} for name, _ in LEGACY_UNPLUGS
}
"""The mask that each value stands for, by the register's name."""


@dataclass(frozen=True, slots=True)
class Asks:
    """A register by which a guest can ask to unplug: its place, and the mask of each value where it is no mask itself.

    `within` is what an address is cut by to give the offset in the register's space.
    """

    name: str
    offset: int
    size: int
    within: int
    masks: Mapping[int, int] | None

    def shift(self, address: int) -> int:
        """By how many bits the register lies above the beginning of an access; negative where it lies before it."""
        return 8 * (self.offset - address % self.within)


ASKING: Final = tuple(
    Asks(one.name, one.offset, one.size, BAR0_SIZE if one.space == "bar0" else 1 << 64, _LEGACY.get(one.name))
    for one in REGISTERS if one.direction == "write" and (one.name == "unplug_mask" or one.name in _LEGACY)
)
_BY_NAME: Final = {one.name: one for one in ASKING}


def mask_of(row: Mapping[str, Any]) -> int | None:
    """The mask that a row asks for; missing where it asks for none, or does not tell."""
    asks, value = _BY_NAME.get(row.get("register") or ""), row.get("value")
    if asks is None or value is None or row.get("direction") != "write":
        return None
    address = row.get("address")
    shift = 0 if address is None else asks.shift(address)
    if not 0 <= shift < 64:
        return None
    part = value >> shift & (1 << 8 * asks.size) - 1
    return part if asks.masks is None else asks.masks.get(part)
