"""What goes into the model and what comes out: an access of the guest, its answer, and what the access brought about.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc. An access is named by the space that it reaches, the offset there, its
size and direction; the width decides what it means (`dissectors.platform.registers`).
"""

from __future__ import annotations

from dataclasses import dataclass

from dissectors.platform.registers import Direction, Space


@dataclass(frozen=True, slots=True)
class Access:
    """One read or write: `offset` is the port (pio), the offset in the BAR, or the offset in config space.

    `value` is what a write carries, and missing for a read. `function` (bus << 8 | slot << 3 | function) is the PCI
    function that the space belongs to; missing, it is the platform device that answers the fixed ports.
    """

    space: Space
    offset: int
    size: int
    direction: Direction
    value: int | None = None
    function: int | None = None


def read(offset: int, size: int, space: Space = "pio") -> Access:
    """A read of a port, or of an offset in another space."""
    return Access(space, offset, size, "read")


def write(offset: int, size: int, value: int, space: Space = "pio") -> Access:
    """A write of a port, or of an offset in another space."""
    return Access(space, offset, size, "write", value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read returns. Bits outside `known` are another device's, or what no source tells; they are 0 here."""

    value: int
    known: int

    def agrees(self, observed: int) -> bool | None:
        """Whether an observed value is this one, as far as it is known; missing where nothing of it is."""
        return None if not self.known else (observed ^ self.value) & self.known == 0
