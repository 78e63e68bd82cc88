"""How wide an access of the fixed ports was, where the source does not record it: inferred from the order.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for the order of the steps; arch/x86/xen/platform-pci-unplug.c of Linux,
win-xenbus's src/xen/unplug.c, GPLPV's xenpci.c, the BSDs and rombios for what they do of it. xentrace shows the unplug
of Linux so, in which port 0x10 is read as a word, port 0x12 as a byte, and then written word, long and word::

    IOPORT_READ 0x10 49d2, IOPORT_READ 0x12 1, IOPORT_WRITE 0x12 3, IOPORT_WRITE 0x10 1, ... IOPORT_WRITE 0x10 3

What is said is inferred, and whoever uses it says so. What neither the order nor the value decides is not said.
"""

from __future__ import annotations

from typing import Final, Literal

from dissectors.platform.registers import ALL_UNPLUG_BITS, MAGIC, MAGIC_BLACKLISTED, Direction

_ALL_ONES: Final = {0xFF: 1, 0xFFFF: 2}
"""What a read gives that no register answers, by its width. All 32 ones may be of any width: so nobody's port reads."""
_TEXT: Final = frozenset({*range(0x20, 0x7F), 0x09, 0x0A, 0x0D})
"""Characters of a guest's log. No product has such a number."""

State = Literal["none", "rom", "magic", "version", "product", "build", "verdict", "unplugged"]
"""The last step of the protocol that was seen; `rom`: firmware has made the ROM area writable."""


class Widths:
    """One VM's accesses of ports 0x10 to 0x13 as one source shows them, in order."""

    def __init__(self) -> None:
        self._state: State = "none"
        self._accepted = False
        """Whether a mask has been written: then one may be written again without a question, after resume."""
        self._logging = False
        """Whether the last write to port 0x12 was a character."""

    def infer(self, direction: Direction, address: int, value: int | None) -> int | None:
        """The size of this access in bytes, the next one of the VM; None where it is not decided."""
        if value is None:
            return None  # a string access: its elements may be of any size
        if direction == "read":
            return self._read(address, value)
        if address == 0x10:
            return self._write_10(value)
        if address == 0x12:
            return self._write_12(value)
        if address in (0x11, 0x13):  # bytes of XenServer's protocol 2
            return 1 if value <= 0xFF and self._state != "none" else None
        return None

    def _read(self, address: int, value: int) -> int | None:
        if address == 0x10:
            if value in (MAGIC, MAGIC_BLACKLISTED):
                self._state = "verdict" if self._state == "build" else "magic"
                return 2
            if value == 1:
                return 1  # the flags
        elif address == 0x12 and value < 0xFF:
            if self._state == "magic":
                self._state = "version"
            return 1
        return _ALL_ONES.get(value) if address in range(0x10, 0x14) else None

    def _write_10(self, value: int) -> int | None:
        state = self._state
        if state == "product":
            self._state = "build"
            return 4
        if value > 0xFFFF:
            return 4
        if state == "rom" and value == 1:  # the second half of what firmware does
            self._state = "none"
            return 1
        asked = state in ("magic", "version", "verdict")
        if asked or (0 < value <= ALL_UNPLUG_BITS and self._accepted):
            if value > ALL_UNPLUG_BITS:
                return None
            self._state, self._accepted = "unplugged", True
            return 2
        if value == 0:
            self._state = "rom"
            return 1
        return None

    def _write_12(self, value: int) -> int | None:
        if value > 0xFFFF:
            return 4
        if self._state == "version" and value not in _TEXT:
            self._state = "product"
            return 2
        if value in _TEXT or (self._logging and value <= 0xFF):
            self._logging = True
            return 1
        self._logging = False
        return None
