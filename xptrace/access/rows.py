"""The rows that decoding gives: one access of the guest, or one message of its log; their keys are a contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dissectors.platform.registers import Direction, Space
from dissectors.record import Record
from xptrace.access.spaces import Function

Certainty = Literal["observed", "inferred"]

KEYS: Final = (
    "kind", "time_ns", "clock", "vm", "boot", "vcpu", "space", "address", "size", "direction", "value", "count",
    "register", "meaning", "certainty", "text", "complete", "via", "source", "offset", "line",
)
"""The keys of a row, the same in every format; those that a kind of row does not have are missing in it."""


@dataclass(slots=True)
class Access:
    """What the guest did: one read or write, with the address and size that it used.

    `value` is missing where the recording does not hold it, `count` then says how many elements of a string access
    it stands for. `base` is where the space of the access begins (0 for the fixed ports). `function` is the PCI
    function that was accessed, where known.
    """

    time_ns: int | None
    clock: str | None
    vm: str
    boot: int
    vcpu: int | None
    space: Space
    address: int | None
    size: int | None
    direction: Direction
    value: int | None
    count: int
    register: str
    meaning: str
    certainty: Certainty
    records: list[Record]
    base: int = 0
    function: Function | None = None
    kind: Literal["access"] = "access"

    @property
    def offset(self) -> int | None:
        """Where in its space the access begins: the port, or the offset in the BAR or in config space."""
        return None if self.address is None else self.address - self.base

    @property
    def cited(self) -> Record:
        """The record that says where it stands: the first that tells of it."""
        return self.records[0]

    def at(self, record: Record) -> Access:
        """The same access once more, at the place and the time of a record."""
        return Access(
            record.time_ns, self.clock, self.vm, self.boot, self.vcpu, self.space, self.address, self.size,
            self.direction, self.value, self.count, self.register, self.meaning, self.certainty, [record], self.base,
            self.function,
        )

    def row(self) -> dict[str, Any]:
        """The keys of an access, in order."""
        first = self.cited
        return {
            "kind": "access", "time_ns": self.time_ns, "clock": self.clock, "vm": self.vm, "boot": self.boot,
            "vcpu": self.vcpu, "space": self.space, "address": self.address, "size": self.size,
            "direction": self.direction, "value": self.value, "count": self.count, "register": self.register,
            "meaning": self.meaning, "certainty": self.certainty, "source": first.source, "offset": first.offset,
            "line": first.line,
        }


Way = Literal["log", "debug", "kernel"]
"""Where a guest's line was written to: the log port, port 0xe9 (the hypervisor's console), the guest's own console."""


@dataclass(slots=True)
class Message:
    """One line that the guest said; `text` is the guest's and must be escaped wherever it goes."""

    time_ns: int | None
    clock: str | None
    vm: str
    boot: int
    text: str
    complete: bool
    certainty: Certainty
    records: list[Record] = field(default_factory=list)
    via: Way = "log"
    kind: Literal["message"] = "message"

    @property
    def cited(self) -> Record:
        """The record that says where it stands: the last, with which the device emitted it."""
        return self.records[-1]

    def at(self, record: Record) -> Message:
        """The same message once more, at the place and the time of a record."""
        return Message(record.time_ns, self.clock, self.vm, self.boot, self.text, self.complete, self.certainty,
                       [record], self.via)

    def row(self) -> dict[str, Any]:
        """The keys of a message, in order."""
        last = self.cited
        return {
            "kind": "message", "time_ns": self.time_ns, "clock": self.clock, "vm": self.vm, "boot": self.boot,
            "certainty": self.certainty, "text": self.text, "complete": self.complete, "via": self.via,
            "source": last.source, "offset": last.offset, "line": last.line,
        }


Topic = Literal["frontend", "backend", "function", "mapping", "life", "store", "identity", "driver"]
"""What an event is about: a PV device's end, a PCI function or one of its BARs, the device model, the domain or the
guest's kernel as a whole, a xenstore node, who a domain is, what a driver said of itself as the device model tells."""


@dataclass(slots=True)
class Event:
    """Something that happened to a VM beside its accesses.

    `subject` is what it happened to (`vbd/768`, `00:07.0`, `runstate`, a xenstore path), `said` the state or value in
    the recording's own words (a stranger's: to be escaped), `value` its number where it has one.
    """

    time_ns: int | None
    clock: str | None
    vm: str
    boot: int
    topic: Topic
    subject: str
    said: str
    value: int | None
    records: list[Record]
    kind: Literal["event"] = "event"

    @property
    def cited(self) -> Record:
        """The record that says where it stands."""
        return self.records[0]

    def row(self) -> dict[str, Any]:
        """The keys of an event, in order."""
        first = self.cited
        return {
            "kind": "event", "time_ns": self.time_ns, "clock": self.clock, "vm": self.vm, "boot": self.boot,
            "topic": self.topic, "subject": self.subject, "said": self.said, "value": self.value,
            "source": first.source, "offset": first.offset, "line": first.line,
        }


Row = Access | Message
Entry = Access | Message | Event
"""A row, or an event between the rows."""
