r"""Events of QEMU's monitor protocol, QMP, wherever somebody logged them.

Law: QEMU's docs/interop/qmp-spec.rst (2.5: an event is an object with `event`, `data` and `timestamp`, in any order),
qapi/run-state.json, qapi/qdev.json, qapi/block-core.json; for XenServer's own, xapi-project/ocaml-qmp. One a line, by
default, and over several where QMP is told to be pretty; a console's or a syslog daemon's stamp may stand in front::

    {"timestamp": {"seconds": 1795404302, "microseconds": 62187}, "event": "SHUTDOWN", "data": {"guest": false,
        "reason": "host-qmp-quit"}}
    {"return": {"product-num": 3, "build-num": 1}}

The second is the answer to `query-xen-platform-pv-driver-info`, which has no time. Time is the host's wall clock.
The reason of a shutdown or a reset is told since QEMU 4.0, and since 2.10 whether it was the guest's doing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dissectors import Dissector, Given
from dissectors.clock import WALL
from dissectors.envelope import read_envelope
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import DRIVER_INFO, QMP_EVENT

NEEDLES: tuple[re.Pattern[bytes], ...] = (
    re.compile(rb'"event"'), re.compile(rb'"product-num"'), re.compile(rb'    "'), re.compile(rb"    \}"),
)
"""Bytes that must occur in any line of ours: a whole event's or answer's, or a member's or an end's of a pretty one."""

LONGEST: Final = 1 << 16
"""Bytes of an object that is spread over lines; a longer one is no event."""
DEEPEST: Final = 32
"""Objects in objects; an event of QEMU has four."""
MOST_STARTS: Final = 8
"""Objects that are looked for in one line."""


Data = Mapping[str, Any]
Reason = Callable[[Data], object]


def _whose(data: Data) -> object:
    guest = data.get("guest")
    return data.get("reason", ("guest" if guest else "host") if isinstance(guest, bool) else None)


def _word(*names: str) -> Reason:
    return lambda data: next((data[name] for name in names if isinstance(data.get(name), str)), None)


EVENTS: Final[Mapping[str, Reason]] = {
    "SHUTDOWN": _whose, "RESET": _whose,
    "STOP": _word(), "RESUME": _word(), "POWERDOWN": _word(), "SUSPEND": _word(), "SUSPEND_DISK": _word(),
    "WAKEUP": _word(),
    "DEVICE_DELETED": _word("device", "path"),
    "GUEST_PANICKED": _word("action"),
    "BLOCK_IO_ERROR": _word("reason", "action"),
}  # fmt: skip
"""The events that tell of a VM's life or of its devices, and where each tells its reason."""
PV_DRIVER_INFO: Final = "XEN_PLATFORM_PV_DRIVER_INFO"
"""XenServer's: the driver wrote its build number."""

_START = re.compile(rb'\{\s*"(?:timestamp|event|data|return)"')
_ALONE = re.compile(rb"\s*+\{\s*$")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+("?)|[{}\[\]]', re.DOTALL)
_OURS = re.compile(
    rb'"event"\s*:\s*"(?:' + "|".join((*EVENTS, PV_DRIVER_INFO)).encode() + rb')"|"product-num"'
)


def _end(text: bytes, at: int, depth: int) -> tuple[int | None, int]:
    """Where the object ends that is open to this depth, or how deep it still is; 0 where it can be no object."""
    for found in _TOKEN.finditer(text, at):
        token = text[found.start()]
        if token == ord('"'):
            if not found[1]:  # a string never goes on in the next line
                return None, 0
        elif token in b"{[":
            depth += 1
            if depth > DEEPEST:
                return None, 0
        else:
            depth -= 1
            if depth <= 0:
                return found.end(), 0
    return None, depth


def _is_fresh(line: bytes, begin: int, start: re.Match[bytes] | None) -> bool:
    """Whether an object begins here that is no part of another: in the first column, or a whole event."""
    if line[begin : begin + 1] == b"{":
        return start is not None or line[begin + 1 :].strip() == b""
    if start is None:
        return False
    end, _ = _end(line, start.start(), 0)
    return end is not None and _OURS.search(line, start.start(), end) is not None


def _object(text: bytes) -> Data | None:
    try:
        found = json.loads(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):  # also of a number with more digits than Python converts
        return None
    return found if isinstance(found, dict) else None


def _data(of: Data, name: str) -> Data:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _bytes(text: object) -> bytes | None:
    """A word of QEMU's as it was logged; an escaped surrogate is in no UTF-8."""
    if not isinstance(text, str):
        return None
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32 else None


def _time(stamp: Data) -> int | None:
    second, micro = stamp.get("seconds"), stamp.get("microseconds")
    if not isinstance(second, int) or not isinstance(micro, int) or not 0 <= micro < 10**6:
        return None
    time_ns = second * 10**9 + micro * 1000
    return time_ns if 0 <= time_ns < 1 << 63 else None


def _driver(data: Data) -> Mapping[str, Value]:
    return {"product": _number(data.get("product-num")), "build": _number(data.get("build-num"))}


class QmpEvents:
    """Reads candidate lines of one source into events."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._held: list[bytes] = []
        """The lines of an object that has not ended yet, and where it began."""
        self._offset = self._first = self._last = self._bytes = self._depth = 0

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. A pretty event is told at its last line."""
        begin = read_envelope(line).end
        start = _START.search(line, begin)
        if self._held:
            if not _is_fresh(line, begin, start) and number == self._last + 1 and self._bytes + length <= LONGEST:
                yield from self._hold(line, begin, length, number)
                return
            yield from self.finish()
        for _ in range(MOST_STARTS):
            if start is None:
                break
            end, depth = _end(line, start.start(), 0)
            if end is None:
                yield from self._begin(line, start.start(), offset, number, length, depth)
                return
            whole = line[start.start() : end]
            yield from self._tell(whole, line, offset, number, length)
            start = _START.search(line, end)
        else:
            return
        if _ALONE.match(line, begin):
            yield from self._begin(line, begin, offset, number, length, 1)

    def finish(self) -> Iterator[Record | Damage | Loss]:
        """What is still to be told where nothing more comes: an event that has not ended."""
        held, self._held = self._held, []
        if held and _OURS.search(b"\n".join(held)):
            yield Damage(self._source, self._offset, self._bytes, self._first, "a QMP event that does not end")

    def _begin(self, line: bytes, start: int, offset: int, number: int, length: int, depth: int) -> Iterator[Damage]:
        """Hold an object that goes on in the next line."""
        if depth > 0:
            self._held, self._depth = [line[start:]], depth
            self._offset, self._bytes, self._first, self._last = offset, length, number, number
        elif _OURS.search(line, start):
            yield Damage(self._source, offset, length, number, "a QMP event that does not end")

    def _hold(self, line: bytes, begin: int, length: int, number: int) -> Iterator[Record | Damage | Loss]:
        end, self._depth = _end(line, begin, self._depth)
        self._held.append(line[begin : len(line) if end is None else end])
        self._bytes += length
        self._last = number
        if end is not None:
            whole, self._held = b"\n".join(self._held), []
            yield from self._tell(whole, whole, self._offset, self._first, self._bytes)
        elif not self._depth:
            yield from self.finish()

    def _tell(self, whole: bytes, raw: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage]:
        """What one object says."""
        if _OURS.search(whole) is None:
            return
        if (found := _object(whole)) is None:
            yield Damage(self._source, offset, length, number, "a QMP event that is no JSON")
            return
        name, data = found.get("event"), _data(found, "data")
        time_ns = _time(_data(found, "timestamp"))
        clock = None if time_ns is None else WALL
        answer = _data(found, "return")
        if name == PV_DRIVER_INFO:
            yield Record(self._source, offset, length, number, DRIVER_INFO, _driver(data), raw, time_ns, clock)
        elif isinstance(name, str) and name in EVENTS:
            values = {"name": name.encode(), "reason": _bytes(EVENTS[name](data))}
            yield Record(self._source, offset, length, number, QMP_EVENT, values, raw, time_ns, clock)
        elif name is None and "product-num" in answer and "build-num" in answer:
            yield Record(self._source, offset, length, number, DRIVER_INFO, _driver(answer), raw)


def sniff(head: bytes) -> int:
    """How sure it is that a source has such events: their names and their time say so."""
    if re.search(rb'"event"\s*:\s*"[A-Z][A-Z0-9_]{2,63}"|"QMP"\s*:\s*\{|"return"\s*:\s*\{\s*"product-num"', head):
        return 70 if b'"microseconds"' in head or b'"QMP"' in head or b'"product-num"' in head else 20
    return 10 if b'"microseconds"' in head else 0


DISSECTOR = Dissector(
    "qmp", "QMP events: what becomes of a VM and its devices",
    b'{"timestamp": {"seconds": 1795404302, "microseconds": 62187}, "event": "SHUTDOWN", '
    b'"data": {"guest": false, "reason": "host-qmp-quit"}}',
    sniff, lines=QmpEvents, needles=NEEDLES,
)
