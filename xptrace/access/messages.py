"""What the guest said: bytes of the log port put together to the lines that the device emits.

Law: hw/i386/xen/xen_platform.c, log_writeb, observed on QEMU 7.2, 10.0 and 10.2: one buffer for port 0x12 and
BAR0+8; a line is emitted at a newline, or when 4095 characters are held and one more comes, which is dropped; a
NUL ends the text early. The same line seen as bytes and as `xen_platform_log` is one message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dissectors.clock import MONOTONIC
from dissectors.platform.registers import LOG_BUFFER
from dissectors.record import Record

_OCTAL = re.compile(rb"#([0-3][0-7]{2})")
_MOST_IN_SIMPLETRACE = 512
"""Bytes of a text that trace/simple.c keeps: of a text as long nobody knows whether it went on."""
_SHORTEST_CUT = 400
"""Back ends cut long text (ftrace at 480 bytes, syslog at about 1000); a shorter text was not cut."""


def decode_text(text: bytes) -> str:
    """Guest bytes as text: UTF-8, every byte that is not shown as U+FFFD. Nothing is escaped here."""
    return text.decode("utf-8", "replace")


@dataclass(slots=True)
class Line:
    """One line of the log port; `complete` unless the device never emitted it, or the recording lacks some of it."""

    text: bytes
    complete: bool
    records: list[Record]


@dataclass(slots=True)
class Assembler:
    """The log buffer of one device."""

    _held: bytearray = field(default_factory=bytearray)
    _last: Record | None = None
    _gap: bool = False
    _emitted: Line | None = None

    def character(self, value: int, record: Record) -> None:
        """One byte written to the log register. A line that it completes waits for `emitted`."""
        self._last = record
        if value == 0x0A or len(self._held) >= LOG_BUFFER:
            text = bytes(self._held).split(b"\0")[0]
            self._emitted = Line(text, not self._gap, [record])
            self._held.clear()
            self._gap = False
        else:
            self._held.append(value)

    def room(self, count: int) -> bool:
        """Whether the buffer takes so many more characters."""
        return len(self._held) + count <= LOG_BUFFER

    def characters(self, text: bytes, last: Record) -> None:
        """Bytes written to the log register, none of which ends a line; the last of them by that record."""
        self._held += text
        self._last = last

    def completes(self, written: bytes, told: Sequence[bytes]) -> bool:
        """Whether these bytes make, with what is held, just the lines that the device tells, each with a newline.

        They are then over. That is so of most lines. Where it is not, nothing has been done.
        """
        lines = b"\n".join((*told, b""))
        if self._gap or self._held + written != lines or b"\0" in lines or lines.count(b"\n") != len(told):
            return False
        if any(len(one) >= LOG_BUFFER for one in told):
            return False
        self._held.clear()
        return True

    def unrecorded(self, record: Record) -> None:
        """Bytes were written that the recording does not hold."""
        self._gap = True
        self._last = record

    def take(self, logs: list[Record]) -> list[Line]:
        """The lines that the last access completed, made one with the records of them."""
        lines = []
        for log in logs:
            told = log.text("s")
            line, self._emitted = self._emitted, None
            if line is None:
                self._held.clear()
                self._gap = False
                lines.append(Line(told, log.clock != MONOTONIC or len(told) < _MOST_IN_SIMPLETRACE, [log]))
                continue
            cut = len(told) >= _SHORTEST_CUT and len(told) < len(line.text) and line.text.startswith(told)
            if cut or _OCTAL.sub(lambda m: bytes([int(m[1], 8)]), told) == line.text:
                told = line.text
            lines.append(Line(told, True, [*line.records, log]))
        if self._emitted is not None:
            lines.append(self._emitted)
            self._emitted = None
        return lines

    def unfinished(self) -> Line | None:
        """What was written but never emitted, when the device ends."""
        held, last = bytes(self._held), self._last
        self._held.clear()
        self._gap = False
        if held and last is not None:
            return Line(held, False, [last])
        return None
