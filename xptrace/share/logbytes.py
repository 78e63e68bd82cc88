"""What a guest writes to the log byte by byte: each byte as it may be shown, so that they make the line that may be.

Law: hw/i386/xen/xen_platform.c: port 0x12 and BAR0+8 fill one buffer, which a newline or 4095 characters end
(`xptrace.access.messages`). A byte is one access, of which up to six records tell::

    cpu_out addr 0x12(b) value 112 -> cpu_out addr 0x12(b) value 107

A read's first records hold what was left of the access before: there it is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dissectors.platform.registers import LOG_BUFFER, LOG_REGISTERS, pieces
from dissectors.record import Record
from xptrace.access.rows import Access, Entry, Message
from xptrace.share.texts import GuestTexts

_VALUES: Final = ("val", "value", "data")
_ADDRESSES: Final = ("addr",)
_LETTERS: Final = {b"b": 1, b"w": 2, b"l": 4}
_STALE: Final = ("handle_ioreq", "cpu_ioreq_pio")
"""Events whose data is that of the access before, where they tell of a read."""
_NEWLINE: Final = 0x0A


@dataclass(slots=True)
class _Held:
    """A line as far as it has been written: its bytes, and of each the access and the address."""

    text: bytearray = field(default_factory=bytearray)
    places: list[tuple[Access, int]] = field(default_factory=list)


class LogBytes:
    """Learns the lines while the entries of a case pass by, and then tells what to write in place of each byte."""

    def __init__(self, guest: GuestTexts) -> None:
        self._guest = guest
        self._held: dict[str, _Held] = {}
        self._instead: dict[tuple[str, int], dict[int, int]] = {}
        """By source and offset of a record, the bytes to show by their address."""

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Hand the entries on, having taken what is written to the log."""
        for entry in entries:
            if isinstance(entry, Access):
                self._take(entry)
            elif isinstance(entry, Message) and entry.via == "log":
                self._end(entry.vm)
            yield entry
        for vm in list(self._held):
            self._end(vm)

    def _take(self, access: Access) -> None:
        if access.direction != "write" or access.space not in ("pio", "bar0") or access.address is None:
            return
        for piece in pieces(access.space, access.address - access.base, access.size, "write", access.value):
            register = piece.register
            if register is None or register.name not in LOG_REGISTERS or piece.value is None:
                continue
            if register.name != "log" and piece.value in (1, 2):
                continue
            held = self._held.setdefault(access.vm, _Held())  # a reset leaves the buffer as it is
            if piece.value == _NEWLINE or len(held.text) >= LOG_BUFFER:
                if piece.value != _NEWLINE:  # it is dropped by the device, and is the guest's own all the same
                    self._note(access, access.base + piece.offset, self._guest.log(bytes((piece.value,)))[0])
                self._end(access.vm)
                continue
            held.text.append(piece.value)
            held.places.append((access, access.base + piece.offset))

    def _end(self, vm: str) -> None:
        held = self._held.pop(vm, None)
        if held is None:
            return
        shown = self._guest.log(bytes(held.text))
        for (access, address), was, now in zip(held.places, held.text, shown, strict=False):
            if was != now:
                self._note(access, address, now)

    def _note(self, access: Access, address: int, shown: int) -> None:
        for record in access.records:
            self._instead.setdefault((record.source, record.offset), {})[address] = shown

    def instead(self, record: Record, name: str) -> int | None:
        """What to show in place of a number of a record; None where it may stay."""
        if name not in _VALUES:
            return None
        value = record.integer(name)
        if value is None or record.integer("data_is_ptr") == 1:
            return None
        if record.event in _STALE and record.integer("dir") == 1:
            return 0 if value else None
        bytes_ = self._instead.get((record.source, record.offset))
        address = record.integer("addr")
        if bytes_ is None or address is None:
            return None
        size = record.integer("size") or _LETTERS.get(record.text("size"), 4)
        shown = value
        for at in range(size):
            if (byte := bytes_.get(address + at)) is not None:
                shown = shown & ~(0xFF << 8 * at) | byte << 8 * at
        return shown
