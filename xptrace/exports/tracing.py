r"""What a device model traces of what happens at it: which records an access leaves, and in which order.

Law: system/ioport.c, system/memory.c, hw/pci/pci.c and hw/xen/xen-hvm-common.c of QEMU (ioport.c, memory.c, xen-hvm.c
before), observed on QEMU 7.2, 10.0 and 10.2, and on 7.2 under Xen. A read of the magic, with every event that there
is::

    handle_ioreq I/O=0x7ffd1c0a8b20 type=0 dir=1 df=0 ptr=0 port=0x10 data=0x0 count=1 size=2
    cpu_ioreq_pio I/O=0x7ffd1c0a8b20 pio dir=1 df=0 ptr=0 port=0x10 data=0x0 count=1 size=2
    memory_region_ops_read cpu -1 mr 0x55a1c0d637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'
    cpu_in addr 0x10(w) value 18898
    cpu_ioreq_pio_read_reg I/O=0x7ffd1c0a8b20 pio read reg data=0x49d2 port=0x10 size=2
    handle_ioreq_read I/O=0x7ffd1c0a8b20 read type=0 df=0 ptr=0 port=0x10 data=0x49d2 count=1 size=2

Whether a release has these events, and how it prints them, is another question (`xptrace.exports.recording`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from dissectors.platform.registers import LOG_REGISTERS, PORTS, REGION, Direction, pieces
from dissectors.qemu.inverse import Value
from dissectors.qemu.writing import Version
from xptrace.exports.history import Accessed, Moment, Started, WasReset
from xptrace.model.access import Access
from xptrace.model.effects import Logged
from xptrace.model.function import Function
from xptrace.model.machine import Machine


class Way(NamedTuple):
    """How an access gets to a device: as a request of Xen, or from the vCPU's own thread; and so for config space."""

    requested: bool
    """Whether it is an I/O request, which the main thread serves: by cpu_inX and cpu_outX, and for no vCPU."""
    config: Literal["request", "feigned", "ports"]
    """Config space: a request of its own; one that is turned into accesses of 0xcf8 and 0xcfc; or just these."""


class Traced(NamedTuple):
    """One record: the event, and its values under the names that any era has for them."""

    event: str
    values: Mapping[str, Value]


class _Call(NamedTuple):
    """One call of a device, which is a part of an access, and what the device traces on its way.

    `base` is where its region begins; the value is as the device got or gave it, which may be wider than the call.
    """

    region: str
    address: int
    base: int
    size: int
    value: int
    caused: tuple[Traced, ...] = ()


class _Port(NamedTuple):
    """One access of a port, and the calls that it becomes, low to high."""

    direction: Direction
    port: int
    size: int
    value: int
    calls: tuple[_Call, ...]


_LETTERS: Final = {1: b"b", 2: b"w", 4: b"l"}
_PIO, _CONFIG = 0, 2  # ioreq types: xen/include/public/hvm/ioreq.h
_ADDRESS_PORT, _DATA_PORT = 0xCF8, 0xCFC
_BELOW: Final = range(0x08, 0x10)
"""The ports of the DMA controller, where an access begins that reaches into the fixed ports."""
_NOBODYS: Final = "io"
_TAKES: Final[Mapping[str, Literal["bytes", "aligned", "whole"]]] = {
    REGION: "whole", "xen-pci": "bytes", "dma-cont": "bytes", _NOBODYS: "aligned",
}  # fmt: skip
"""How much a region takes at once: single bytes, only what is aligned, or all that there is (observed)."""

_REGIONS: Final = {
    REGION: 0x55A1C0D637E0, "xen-pci": 0x55A1C0D638F0, "pci-conf-idx": 0x55A1C053DDC0,
    "pci-conf-data": 0x55A1C053DED0, "dma-cont": 0x55A1C05AF6A0, _NOBODYS: 0x55A1C041F000,
}  # fmt: skip
_FUNCTION: Final = 0x55A1C0D63000
_REQUEST: Final = 0x7FFD1C0A8B20
_POINTERS: Final = ("mr", "d", "req")
_APART: Final = 0x14E210000
"""Where things lie in the first process, and how far from there they lie in each next one; all of it is made up."""


# -- ports: who gets which part


def _region(machine: Machine, port: int) -> tuple[str, int]:
    """(name, first port) of the region that a port is in."""
    if port in PORTS and machine.platform is not None:
        return REGION, PORTS.start
    for one in machine.functions:
        if one.bar0 is not None and one.bar0 <= port < one.bar0 + one.identity.bar0_size:
            return "xen-pci", one.bar0
    return ("dma-cont", _BELOW.start) if port in _BELOW else (_NOBODYS, 0)


def _cut(machine: Machine, port: int, size: int) -> Iterator[tuple[int, int]]:
    """(port, size) of each call: at each port its region says how much it takes, which is a power of two."""
    end = port + size
    while port < end:
        takes = _TAKES[_region(machine, port)[0]]
        step = 1 if takes == "bytes" else 1 << (end - port).bit_length() - 1
        if takes == "aligned":
            step = min(step, port & -port)
        yield port, step
        port += step


def _unmasked(region: str, offset: int, size: int, value: int) -> int:
    """What a handler returns, which is traced before it is cut to the size of the access.

    That is -1 for a dword of the fixed ports and for what is nobody's, and 32 ones for what BAR0 has not (observed on
    QEMU 7.2, 10.0 and 10.2).
    """
    if region == _NOBODYS or (region == REGION and size == 4):
        return (1 << 64) - 1
    return (1 << 32) - 1 if region == "xen-pci" and offset else value


def _first_port(machine: Machine, access: Access) -> int | None:
    """The port at which an access begins, which for BAR0 depends on where that is; None where it is nowhere."""
    if access.space == "pio":
        return access.offset
    bases = (one.bar0 for one in machine.functions if access.function in (None, one.number))
    base = next((base for base in bases if base is not None), None)
    return None if base is None else base + access.offset


def _calls(machine: Machine, access: Access, port: int, value: int, logged: tuple[Traced, ...]) -> Iterator[_Call]:
    """The calls that an access becomes; a line of the log goes out in the one that reaches the log, or the last."""
    shift = port - access.offset
    registers = pieces(access.space, access.offset, access.size, access.direction, None)
    logging = (one.offset for one in registers if one.register is not None and one.register.name in LOG_REGISTERS)
    cut = list(_cut(machine, port, access.size))
    logs_at = next(logging, cut[-1][0] - shift)
    for start, size in cut:
        region, base = _region(machine, start)
        part = value >> 8 * (start - port) & (1 << 8 * size) - 1
        if access.direction == "read":
            part = _unmasked(region, start - base, size, part)
        yield _Call(region, start, base, size, part, logged if start - shift == logs_at else ())


# -- functions


def _of_function(function: Function) -> dict[str, Value]:
    bus, slot, number = function.number >> 8, function.number >> 3 & 0x1F, function.number & 7
    return {"dev": function.kind.encode(), "bus": bus, "slot": slot, "func": number, "devid": slot, "fnid": number,
            "d": _FUNCTION + (function.number << 12)}  # fmt: skip


def _remapped(before: Sequence[Function], after: Sequence[Function]) -> Iterator[Traced]:
    """hw/pci/pci.c, pci_update_mappings: BAR by BAR, where it was and where it is now."""
    gone = {one.number: (one.bar0, one.bar1) for one in before}
    for one in after:
        sizes = (one.identity.bar0_size, one.identity.bar1_size)
        places = zip(gone.get(one.number, (None, None)), (one.bar0, one.bar1), sizes, strict=True)
        for bar, (old, new, size) in enumerate(places):
            if old == new:
                continue
            told = {**_of_function(one), "bar": bar, "size": size}
            if old is not None:
                yield Traced("pci_update_mappings_del", {**told, "addr": old})
            if new is not None:
                yield Traced("pci_update_mappings_add", {**told, "addr": new})


# -- requests


def _request(
    kind: int, direction: Direction, address: int, size: int, value: int, served: Iterable[Traced], *,
    left_at: int | None = None,
) -> Iterator[Traced]:
    """xen-hvm.c, handle_ioreq: before a request is served and, if it reads, after; `left_at` is where it ends up.

    The data of a request that reads is what the one before left there; here that is 0.
    """
    reads = direction == "read"
    told: dict[str, Value] = {
        "req": _REQUEST, "type": kind, "dir": int(reads), "df": 0, "data_is_ptr": 0, "addr": address,
        "data": 0 if reads else value, "count": 1, "size": size,
    }  # fmt: skip
    yield Traced("handle_ioreq", told)
    if not reads:
        yield Traced("handle_ioreq_write", told)
    yield from served
    if reads:
        yield Traced("handle_ioreq_read", {**told, "addr": address if left_at is None else left_at, "data": value})


@dataclass(frozen=True, slots=True)
class Tracer:
    """A device model of one release, and what it has to tell, in the order in which it tells it."""

    version: Version
    way: Way

    def records(self, moment: Moment) -> Iterator[Traced]:
        """The records of one moment, of every event that any release has."""
        for event, values in self._records(moment):
            moved = {name: value + moment.process * _APART for name in _POINTERS
                     if isinstance(value := values.get(name), int)}  # fmt: skip
            yield Traced(event, {**values, **moved})

    def _records(self, moment: Moment) -> Iterator[Traced]:
        if isinstance(moment, Started):
            yield from self._started(moment)
        elif isinstance(moment, WasReset):
            yield from _remapped(moment.before.functions, moment.machine.functions)
        elif isinstance(moment, Accessed):
            yield from self._config(moment) if moment.access.space == "pci-config" else self._space(moment)

    def _started(self, moment: Started) -> Iterator[Traced]:
        if self.way.requested:
            yield Traced("xen_ioreq_server_create", {"id": 0})
        if moment.migrated:
            yield from _remapped((), moment.machine.functions)
        number, name = (1, b"inmigrate") if moment.migrated else (6, b"prelaunch")
        yield Traced("runstate_set", {"current_state": number, "current_state_str": name, "new_state": 9,
                                      "new_state_str": b"running"})  # fmt: skip

    # -- ports

    def _space(self, moment: Accessed) -> Iterator[Traced]:
        access, port = moment.access, _first_port(moment.before, moment.access)
        if port is None:
            return
        logged = tuple(Traced("xen_platform_log", {"s": one.text}) for one in moment.effects
                       if isinstance(one, Logged))  # fmt: skip
        value = moment.value
        calls = tuple(_calls(moment.before, access, port, value, logged))
        if self.way.requested and self.way.config != "ports" and any(call.region == _NOBODYS for call in calls):
            return  # Xen hands over only what an ioreq server has claimed
        yield from self._whole(_Port(access.direction, port, access.size, value, calls))

    def _whole(self, access: _Port) -> Iterator[Traced]:
        """One access of a port, as a request where it is one."""
        if not self.way.requested:
            yield from self._devices(access)
            return
        served = self._by_port(access)
        yield from _request(_PIO, access.direction, access.port, access.size, access.value, served)

    def _by_port(self, access: _Port) -> Iterator[Traced]:
        """xen-hvm.c, cpu_ioreq_pio."""
        reads = access.direction == "read"
        yield Traced("cpu_ioreq_pio", {
            "req": _REQUEST, "dir": int(reads), "df": 0, "data_is_ptr": 0, "addr": access.port,
            "data": 0 if reads else access.value, "count": 1, "size": access.size,
        })  # fmt: skip
        told = Traced(f"cpu_ioreq_pio_{access.direction}_reg", {
            "req": _REQUEST, "data": access.value, "addr": access.port, "size": access.size,
        })  # fmt: skip
        if not reads:
            yield told
        yield from self._devices(access)
        if reads:
            yield told

    def _devices(self, access: _Port) -> Iterator[Traced]:
        """ioport.c and memory.c: cpu_outX tells before the devices, cpu_inX after them; on KVM nobody calls either."""
        whole: dict[str, Value] = {"addr": access.port, "size": _LETTERS[access.size], "val": access.value}
        reads = access.direction == "read"
        if self.way.requested and not reads:
            yield Traced("cpu_out", whole)
        for call in access.calls:
            told = self._call(call, access.direction)
            yield from (*call.caused, told) if reads else (told, *call.caused)
        if self.way.requested and reads:
            yield Traced("cpu_in", whole)

    def _call(self, call: _Call, direction: Direction) -> Traced:
        base = 0 if self.version >= (2, 6) else call.base  # before, the offset in the region is told
        return Traced(f"memory_region_ops_{direction}", {
            "cpu_index": -1 if self.way.requested else 0, "mr": _REGIONS[call.region], "addr": call.address - base,
            "value": call.value, "size": call.size, "name": call.region.encode(),
        })  # fmt: skip

    # -- config space

    def _config(self, moment: Accessed) -> Iterator[Traced]:
        """The address goes to 0xcf8 first; Xen takes note of it, and hands it on all the same."""
        access, value = moment.access, moment.value
        number = access.function or 0
        address = 1 << 31 | number << 8 | access.offset & 0xFC
        idx = _Call("pci-conf-idx", _ADDRESS_PORT, _ADDRESS_PORT, 4, address)
        latch = _Port("write", _ADDRESS_PORT, 4, address, (idx,))
        caused = _of_config(moment, number)
        port = _DATA_PORT + (access.offset & 3)
        data = _Port(access.direction, port, access.size, value,
                     (_Call("pci-conf-data", port, _DATA_PORT, access.size, value, caused),))  # fmt: skip
        yield from self._whole(latch)
        if self.way.config == "ports":
            yield from self._whole(data)
            return
        place = number << 32 | access.offset
        if self.way.config == "feigned":
            served = (*self._devices(latch), *self._by_port(data))
            yield from _request(_CONFIG, access.direction, place, access.size, value, served, left_at=port)
            return
        told = Traced(f"cpu_ioreq_config_{access.direction}", {
            "req": _REQUEST, "sbdf": number, "reg": access.offset, "size": access.size, "data": value,
        })  # fmt: skip
        served = (*caused, told) if access.direction == "read" else (told, *caused)
        yield from _request(_CONFIG, access.direction, place, access.size, value, served)


def _of_config(moment: Accessed, number: int) -> tuple[Traced, ...]:
    """hw/pci: the access as the function gets it, and what becomes of its BARs."""
    function = next((one for one in moment.before.functions if one.number == number), None)
    if function is None:
        return ()
    access = moment.access
    told = {**_of_function(function), "offs": access.offset, "val": moment.value}
    return (Traced(f"pci_cfg_{access.direction}", told),
            *_remapped(moment.before.functions, moment.machine.functions))  # fmt: skip
