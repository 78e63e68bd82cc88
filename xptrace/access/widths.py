"""How wide an access of the fixed ports was, where the source does not record it: inferred from the order.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for the order of the steps; arch/x86/xen/platform-pci-unplug.c of Linux,
win-xenbus's src/xen/unplug.c, GPLPV's xenpci.c, the BSDs and rombios for what they make of it. What Linux does is a
read of a word and of a byte, writes of a word (the product) and a long (the build), a read and a write of a word (the
mask). xentrace_format shows of these writes, two of which are the same but for their order::

    IOPORT_WRITE [ port = 0x0012, data = 0x00000003 ]
    IOPORT_WRITE [ port = 0x0010, data = 0x00000001 ]
    IOPORT_WRITE [ port = 0x0010, data = 0x00000003 ]

What is said is inferred, and whoever uses it says so. What neither the order nor the value decides is not said.
"""

from __future__ import annotations

from typing import Final, Literal

from dissectors.platform.registers import ALL_UNPLUG_BITS, MAGIC, MAGIC_BLACKLISTED, Direction

_REGISTERS: Final = range(0x10, 0x14)
_ALL_ONES: Final = {0xFF: 1, 0xFFFF: 2}
"""What a read gives that no register answers, by its width. All 32 ones may be of any width: so nobody's port reads."""
_TEXT: Final = frozenset({*range(0x20, 0x7F), 0x09, 0x0A, 0x0D})
"""Characters of a guest's log. No product has such a number."""

State = Literal["none", "rom", "magic", "version", "product", "build", "verdict", "unplugged", "strange"]
"""The last step of the protocol that was seen; `rom`: firmware has made the ROM area writable; `strange`: something has
been done that no driver does, and so the order says nothing until the magic is read again."""


class Widths:
    """One VM's accesses of ports 0x10 to 0x13 as one source shows them, in order."""

    def __init__(self) -> None:
        self._state: State = "none"
        self._logging = False
        """Whether the last write to port 0x12 was a character."""

    def infer(self, direction: Direction, address: int, value: int | None) -> int | None:
        """The size of this access in bytes, the next one of the VM; None where it is not decided."""
        if value is None or address not in _REGISTERS:
            return None  # the elements of a string access may be of any size
        if direction == "read":
            size, self._state = self._read(address, value)
        elif address == 0x10:
            size, self._state = self._write_10(value)
        elif address == 0x12:
            size, self._state = self._write_12(value)
        elif value <= 0xFF and self._state not in ("none", "strange"):
            size = 1  # XenServer's protocol 2
        else:
            size, self._state = None, "strange"
        return size

    def _read(self, address: int, value: int) -> tuple[int | None, State]:
        """The size of a read, and the state after it."""
        if address == 0x10 and value in (MAGIC, MAGIC_BLACKLISTED):
            return 2, "verdict" if self._state == "build" else "magic"
        if address == 0x12 and value < 0xFF:
            after: State = "version" if value else "verdict"  # version 0 of the protocol has nothing between
            return 1, after if self._state == "magic" else self._state
        if address == 0x10 and value == 1:
            return 1, "strange"  # the flags, which no driver reads
        return _ALL_ONES.get(value), "strange"

    def _write_10(self, value: int) -> tuple[int | None, State]:
        """The size of a write of build, mask or flags, and the state after it."""
        state = self._state
        if state == "product":
            return 4, "build"
        if value > 0xFFFF:
            return 4, "strange"
        if (state in ("magic", "version", "verdict", "unplugged") and 0 < value <= ALL_UNPLUG_BITS) or (
            state == "verdict" and value == 0
        ):
            return 2, "unplugged"  # also where it is repeated without a question, after resume
        if value == 0 and state in ("none", "rom", "unplugged"):
            return 1, "rom"
        if value == 1 and state == "rom":
            return 1, "none"
        return None, "strange"

    def _write_12(self, value: int) -> tuple[int | None, State]:
        """The size of a write of the product or of a character, and the state after it."""
        if value > 0xFFFF:
            return 4, "strange"
        if self._state == "version" and value not in _TEXT:
            return 2, "product"
        self._logging = value in _TEXT or (self._logging and 0x80 <= value <= 0xFF)
        return (1, self._state) if self._logging else (None, "strange")
