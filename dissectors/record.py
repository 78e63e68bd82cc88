"""What every dissector hands on: one record of a source, with the place it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = int | bytes | None


@dataclass(slots=True)
class Record:
    """One record of a recording, e.g. one trace line.

    `offset` and `length` are bytes in the (decompressed) source, `line` counts from 1. `time_ns` is missing where the
    source has no time; `clock` (`dissectors.clock`) then is None too. `thread` is the number in front of an `@` (a
    process id up to QEMU 3.1, a thread id since 4.0) or a syslog tag's; `process` is the device model's process, where
    the record tells both. `guest` is a guest's name, `domain` a domain's number, that the record itself carries.
    `recovered` says that the record did not begin where a record must, and was found inside a line; `derived`, that it
    follows from what the line says, but is not told by it.
    """

    source: str
    offset: int
    length: int
    line: int
    event: str
    values: Mapping[str, Value]
    raw: bytes
    time_ns: int | None = None
    clock: str | None = None
    thread: int | None = None
    guest: str | None = None
    domain: int | None = None
    process: int | None = None
    recovered: bool = False
    derived: bool = False

    def integer(self, name: str) -> int | None:
        """The argument of that name if it is there and a number."""
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: str) -> bytes:
        """The argument of that name if it is there and text, else empty."""
        value = self.values.get(name)
        return value if isinstance(value, bytes) else b""


@dataclass(slots=True)
class Damage:
    """A line that holds one of our records, but not whole."""

    source: str
    offset: int
    length: int
    line: int
    reason: str


@dataclass(slots=True)
class Loss:
    """A line by which the recording itself says that records are missing here."""

    source: str
    offset: int
    length: int
    line: int
    reason: str
