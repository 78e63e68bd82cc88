"""Rows and summaries as aligned text, one access a line: time, VM, access, meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dissectors.platform.registers import LOG_BUFFER, pieces
from xptrace.access.rows import Access, Message, Row
from xptrace.views import moment
from xptrace.views.escape import printable, printable_bytes

_COLOURS: Final = {
    "magic": "36", "protocol_version": "36", "product_number": "34", "build_number": "34", "unplug_mask": "1;31",
    "unplug_type": "1;31", "unplug_index": "1;31", "bar0_unplug_all": "1;31", "log": "32", "bar0_log": "32",
    "flags": "35", "bar0_flags": "35", "undefined": "33", "bar1": "2", "config": "2",
}
_SAYS: Final = f"{'says':<22}"


class Text:
    """Formats rows; remembers what relative times refer to."""

    def __init__(
        self, *, times: str = "utc", colour: bool = False, every_byte: bool = False, verbose: bool = False,
        hexdump: bool = False,
    ) -> None:
        self._times, self._colour, self._every_byte = times, colour, every_byte
        self._verbose, self._hexdump = verbose, hexdump
        self._first: dict[str | None, int] = {}
        self._before: dict[str | None, int] = {}

    def line(self, row: Row) -> Iterator[str]:
        """The lines that show a row; none for a byte of a message that is shown as a whole."""
        if not self._every_byte and isinstance(row, Access) and _is_log_byte(row):
            return
        time = self._time(row)
        where = f"{printable(row.vm)}#{row.boot}"
        if isinstance(row, Message):
            note = "" if row.complete else "  (not finished)"
            if len(row.text) >= LOG_BUFFER:
                note += f"  ({LOG_BUFFER} characters: the device's buffer was full, the next one is lost)"
            yield f"{time}  {where:<16} {self._paint('log', _SAYS)} {printable(row.text)}{note}"
        else:
            address = "?" if row.address is None else f"0x{row.address:x}"
            size = "?" if row.size is None else str(row.size)
            act = f"{row.direction:<5} {_SPACES[row.space]}{address:<6} {size}"
            if row.count > 1:
                act += f" ×{row.count}"
            doubt = "" if row.certainty == "observed" else "  (inferred)"
            yield f"{time}  {where:<16} {act:<22} {self._paint(row.register, printable(row.meaning))}{doubt}"
        if self._verbose:
            yield from self._fields(row)
        if self._verbose or self._hexdump:
            for record in row.records:
                yield f"    {printable(record.source)}:{record.line} @{record.offset}  {printable_bytes(record.raw)}"
                if self._hexdump:
                    yield from _hexdump(record.raw, record.offset)

    def _time(self, row: Row) -> str:
        if row.time_ns is None:
            return "-"
        if self._times == "utc":
            return moment.utc(row.time_ns, row.clock)
        if self._times == "epoch":
            return moment.plain(row.time_ns)
        known = self._first if self._times == "rel" else self._before
        start = known.setdefault(row.clock, row.time_ns)
        if self._times == "delta":
            known[row.clock] = row.time_ns
        return f"{moment.plain(row.time_ns - start):>12}"

    def _paint(self, register: str, text: str) -> str:
        code = _COLOURS.get(register)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    @staticmethod
    def _fields(row: Row) -> Iterator[str]:
        """The access as a packet; of one that arrives in pieces, those too that reach a register."""
        if not isinstance(row, Access) or row.address is None or row.size is None:
            return
        from dissectors.platform import layers

        offset = row.address - row.base
        packets = [layers.packet(row.space, row.address, row.size, row.direction, row.value, offset=offset)]
        parts = pieces(row.space, offset, row.size, row.direction, row.value)
        if len(parts) > 1 or any((part.offset, part.size) != (offset, row.size) for part in parts):
            for part in parts:
                if part.register is not None:
                    at = row.base + part.offset
                    packets.append(
                        layers.packet(row.space, at, part.size, row.direction, part.value, offset=part.offset)
                    )
        for packet in packets:
            for line in packet.show(dump=True).splitlines():
                yield f"    {printable(line)}"


_SPACES: Final = {"pio": "", "bar0": "bar0:", "bar1": "bar1:", "pci-config": "cfg:"}


def _is_log_byte(row: Access) -> bool:
    if row.size != 1 or row.value is None:
        return False
    return row.register == "log" or (row.register == "bar0_log" and row.value not in (1, 2))


def _hexdump(raw: bytes, offset: int) -> Iterator[str]:
    for start in range(0, len(raw), 16):
        part = raw[start : start + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"      {offset + start:08x}  {part.hex(' '):<47}  {shown}"


def summary_lines(rows: list[dict[str, Any]], *, colour: bool = False) -> Iterator[str]:
    """A table of negotiations."""
    table = [("VM", "BOOT", "DRIVER", "VERSION", "MASK", "TOOK", "VERDICT")]
    for row in rows:
        driver = row["driver"] or "-"
        if row["product"] is not None:
            driver += f" (product {row['product']}, build {'-' if row['build'] is None else row['build']})"
        mask = "-" if row["unplug_mask"] is None else f"0x{row['unplug_mask']:x}"
        version = "-" if row["protocol_version"] is None else str(row["protocol_version"])
        table.append((printable(row["vm"]), str(row["boot"]), driver, version, mask,
                      moment.duration(row["duration_ns"]), row["verdict"]))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]) - 1)]
    for number, line in enumerate(table):
        text = "  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[-1]])
        yield f"\x1b[1m{text}\x1b[0m" if colour and number == 0 else text
