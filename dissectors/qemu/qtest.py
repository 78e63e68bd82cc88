r"""The log of QEMU's qtest protocol: a test drives the device, access by access.

Law: QEMU's system/qtest.c (qtest.c up to 5.0, softmmu/qtest.c up to 8.1). What the test asks is an `[R` line, what
QEMU answers an `[S` line; all numbers are hexadecimal or as strtoul reads them::

    [I 0.000000] OPENED
    [R +0.144178] inw 0x10
    [S +0.144389] OK 0x49d2
    [R +0.147681] outw 0x12 0x3
    [S +0.147745] OK
    [I +0.152235] CLOSED

Time is seconds since the test connected; that of OPENED itself is a date up to QEMU 7.0 and nothing since, and is not
used. A second OPENED begins the time anew. What is answered is looked for among the `[S` lines only: where the
protocol runs on stdio, its own `OK` is in the same text. `IRQ raise 5` answers nobody.

Commands without a prefix are a script that somebody fed to `-qtest stdio`. Where the log of its run follows, that tells
the same writes once more, and later ones are its echo.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import TEST
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import MEMORY_ACCESS, PORT_ACCESS, READ, WRITE

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"\[R \+", rb"\[S \+", rb"\] OPENED",
        rb"out[bwl] (?:0x)?[0-9a-f]", rb"inb (?:0x)?[0-9a-f]", rb"inw (?:0x)?[0-9a-f]", rb"inl (?:0x)?[0-9a-f]",
        rb"write[bwlq]? (?:0x)?[0-9a-f]", rb"read[bwlq]? (?:0x)?[0-9a-f]",
    )
)
"""Bytes that must occur in any line of ours: what stands in front, or a command and its address."""


SIZE_OF: Final = {b"b": 1, b"w": 2, b"l": 4, b"q": 8}
"""What the last letter of a command says; `read` and `write` have none, and tell the size themselves."""
PORTS: Final = (range(0x0D, 0x20), range(0xCF8, 0xD00), range(0xC000, 0x10000))
"""Where the device can be, with those that reach into it from below: fixed, PCI configuration, what a BAR may be."""
LONGEST_SCRIPT: Final = 4096
"""So many writes of a script are remembered."""

_NUMBER = rb"(?:0x[0-9a-fA-F]{1,16}+|[0-9]{1,19}+)"
_PREFIX = re.compile(rb"[ \t]*+(?:\^C)?\[(?P<who>[RSI]) \+?(?P<seconds>\d{1,9})\.(?P<micro>\d{6})\] ?")
"""Only a terminal's echo may stand in front: a guest can write the rest of a line."""
_COMMAND = re.compile(
    rb"(?:(?P<get>in[bwl]|read[bwlq]) (?P<get_at>" + _NUMBER + rb")"
    rb"|(?P<put>out[bwl]|write[bwlq]) (?P<put_at>" + _NUMBER + rb") (?P<put_value>" + _NUMBER + rb")"
    rb"|read (?P<span_at>" + _NUMBER + rb") (?P<span>" + _NUMBER + rb")"
    rb"|write (?P<fill_at>" + _NUMBER + rb") (?P<fill>" + _NUMBER + rb") 0x(?P<data>[0-9a-fA-F]++))[ \t\r]*+$"
)
_OURS = re.compile(rb"(?:in[bwl]|out[bwl]|read[bwlq]?|write[bwlq]?)(?: |\r?$)")
_ANSWER = re.compile(rb"(?:OK(?: (?P<value>0x[0-9a-fA-F]{1,16}+))?|ERR\b.*|FAIL\b.*)[ \t\r]*$", re.DOTALL)
_BLANK: Final = b" \t"


def _number(text: bytes) -> int:
    """As strtoul has it with base 0, but for octal numbers, which nobody writes."""
    return int(text, 16) if text[:2] == b"0x" else int(text)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A read that has not been answered yet.

    `is_bytes` says that its answer is bytes in the order of memory, and no number; `bare`, that it has no prefix.
    """

    record: Record
    is_bytes: bool
    bare: bool

    def answered(self, value: bytes) -> Record:
        """The record with the value that an `OK` tells."""
        size = self.record.integer("size") or 0
        told = int(value, 16) & ((1 << 8 * size) - 1)
        if self.is_bytes:
            told = int.from_bytes(told.to_bytes(size, "big"), "little")
        return replace(self.record, values={**self.record.values, "val": told})


class QTestLog:
    """Reads candidate lines of one source into accesses."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._asked: _Asked | None = None
        self._logged = False
        """Whether a line with a prefix has been met."""
        self._script: deque[Mapping[str, Value]] = deque(maxlen=LONGEST_SCRIPT)
        """The writes of a script, which the log of its run tells once more."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. A read is told when it has been answered."""
        found = _PREFIX.match(line)
        if found is None:
            if not self._logged:
                yield from self._bare(line, offset, number, length)
            return
        self._logged = True
        who, start = found["who"], found.end()
        if who == b"S":
            if self._asked is not None and (answer := _ANSWER.match(line, start)):
                yield from self._answer(answer["value"])
            return
        yield from self.finish()
        if who == b"R" and _OURS.match(line, start):
            command = _COMMAND.match(line, start)
            if command is None:
                yield Damage(self._source, offset, length, number, "a qtest command without its address or value")
            elif (record := self._access(command, line, offset, number, length)) is not None:
                record.time_ns, record.clock = int(found["seconds"]) * 10**9 + int(found["micro"]) * 1000, TEST
                yield from self._tell(record, command)

    def finish(self) -> Iterator[Record | Damage | Loss]:
        """What is still to be told where nothing more comes: the read that nobody answered."""
        asked, self._asked = self._asked, None
        if asked is not None:
            yield asked.record

    def _bare(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """A line without a prefix: a script's command, or its answer."""
        start = len(line) - len(line.lstrip(_BLANK))
        if self._asked is not None and (answer := _ANSWER.match(line, start)):
            yield from self._answer(answer["value"])
        elif (command := _COMMAND.match(line, start)) is not None:
            yield from self.finish()
            if (record := self._access(command, line, offset, number, length)) is not None:
                if record.values["dir"] == WRITE:
                    self._script.append(record.values)
                yield from self._tell(record, command, bare=True)

    def _tell(self, record: Record, command: re.Match[bytes], *, bare: bool = False) -> Iterator[Record]:
        """Tell a write at once, unless the script told it, and a read when it is answered."""
        if record.values["dir"] == READ:
            self._asked = _Asked(record, command["span"] is not None, bare)
        elif bare or not self._script or self._script.popleft() != record.values:
            if not bare:
                self._script.clear()
            yield record

    def _answer(self, value: bytes | None) -> Iterator[Record | Damage | Loss]:
        if self._asked is not None and value is not None and self._asked.bare != self._logged:
            asked, self._asked = self._asked, None
            yield asked.answered(value)
        yield from self.finish()

    def _access(
        self, command: re.Match[bytes], line: bytes, offset: int, number: int, length: int
    ) -> Record | None:
        """The access that a command asks for; None where it cannot be the device's."""
        value = None
        if (name := command["get"] or command["put"]) is not None:
            address, size = _number(command["get_at"] or command["put_at"]), SIZE_OF[name[-1:]]
            if command["put"]:
                value = _number(command["put_value"]) & ((1 << 8 * size) - 1)
        else:
            address = _number(command["span_at"] or command["fill_at"])
            size = _number(command["span"] or command["fill"])
            if size not in SIZE_OF.values():
                return None
            if command["data"]:  # two digits a byte; what is not told is zero
                digits = command["data"][: 2 * size]
                value = int.from_bytes(bytes.fromhex(digits[: len(digits) & ~1].decode()), "little")
        port = name is not None and name[:1] in (b"i", b"o")
        if (port and not any(address in ports for ports in PORTS)) or address >= 1 << 64:
            return None
        direction = READ if command["get"] or command["span"] else WRITE
        return Record(self._source, offset, length, number, PORT_ACCESS if port else MEMORY_ACCESS,
                      {"dir": direction, "addr": address, "size": size, "val": value, "count": 1}, line)


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: what stands in front of a command says so; or it may be a script."""
    if re.search(rb"\[R \+\d+\.\d{6}\] |\[I \d+\.\d{6}\] OPENED", head):
        return 90
    return 40 if re.search(rb"(?m)^[ \t]*(?:in[bwl]|out[bwl]|read[bwlq]?|write[bwlq]?) 0x[0-9a-fA-F]", head) else 0


DISSECTOR = Dissector(
    "qtest", "QEMU's qtest log: a test's accesses, and scripts for -qtest stdio",
    b"[R +0.147681] outw 0x12 0x3", sniff, lines=QTestLog, needles=NEEDLES, vantage="host",
)
