r"""One access, up to six records: the records of one access, put together again.

Law: the order in which QEMU's Xen device model traces one access (hw/xen/xen-hvm-common.c, system/ioport.c,
system/memory.c), as recorded on real Xen. A write goes down, a read comes up::

    write  handle_ioreq, handle_ioreq_write, cpu_ioreq_pio, cpu_ioreq_pio_write_reg, cpu_out, memory_region_ops_write
    read   handle_ioreq, cpu_ioreq_pio, memory_region_ops_read, cpu_in, cpu_ioreq_pio_read_reg, handle_ioreq_read

Any of them may be switched off. The data of a read's `handle_ioreq` and `cpu_ioreq_pio` is what was left in the
request page: it is never believed. `memory_region_ops_*` tells of each call of a device, so one access may have
several; alone, they cannot always be rejoined, and then say so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from dissectors.platform.registers import Direction
from dissectors.record import Record
from xptrace.access.assembled import Assembled, Call, Config
from xptrace.access.runs import LONGEST_RUN, gather, separate

SIZES: Final = {b"b": 1, b"w": 2, b"l": 4}
CONFIG_DATA: Final = range(0xCFC, 0xD00)
CONFIG_ADDRESS: Final = 0xCF8

_WIDEST_PORT: Final = 4

_PIO, _COPY, _CONFIG = 0, 1, 2  # ioreq types: xen/include/public/hvm/ioreq.h

STAGES: Final[dict[Direction, dict[str, int]]] = {
    "write": {"handle_ioreq": 0, "handle_ioreq_write": 1, "cpu_ioreq_pio": 2, "cpu_ioreq_move": 2,
              "cpu_ioreq_pio_write_reg": 3, "cpu_ioreq_config_write": 3, "cpu_out": 4, "memory_region_ops_write": 5,
              "pci_cfg_write": 6},
    "read": {"handle_ioreq": 0, "cpu_ioreq_pio": 1, "cpu_ioreq_move": 1, "pci_cfg_read": 2,
             "memory_region_ops_read": 3, "cpu_in": 4, "cpu_ioreq_pio_read_reg": 5, "cpu_ioreq_config_read": 5,
             "handle_ioreq_read": 6},
}
"""How far along its way an access is when the event is traced; an access only moves on."""


def _mask(value: int, size: int | None) -> int:
    return value if size is None else value & (1 << 8 * size) - 1


def _is_relayed(opened: Assembled, record: Record) -> bool:
    """Whether a record is of a port access by which the device model serves an open request for config space."""
    if opened.kind != "config" or not opened.head or not all(one.event.startswith("handle_") for one in opened.records):
        return False
    served = record.event in ("cpu_in", "cpu_out") or record.event.startswith(("cpu_ioreq_pio", "memory_region_ops_"))
    return served and record.integer("addr") in range(CONFIG_ADDRESS, CONFIG_DATA.stop)


class Stream:
    """The records of one thread, which serves one access after the other."""

    def __init__(self) -> None:
        self.line = 0
        """The line of the last record that it was fed."""
        self._open: Assembled | None = None
        self._relay: Assembled | None = None
        """A request for config space that the device model serves by port accesses of its own (QEMU 2.5 to 2.12)."""
        self._warned: Record | None = None
        self._unplaced: Record | None = None
        """A device's answer, up to QEMU 2.5 told with an offset in a region that nobody names; `cpu_in` places it."""

    @property
    def waits(self) -> bool:
        """Whether what comes next is needed to tell what something before it was, besides what is open."""
        return self._relay is not None or self._warned is not None or self._unplaced is not None

    @property
    def current(self) -> Assembled | None:
        """The access that is being put together."""
        return self._open

    @property
    def begun(self) -> int:
        """Where in the source the first record of what is open stands; beyond all places where nothing is."""
        parts = (self._relay, self._open, self._open and self._open.element)
        records = [record for part in parts if part is not None for record in part.records]
        return min((record.offset for record in (*records, self._warned) if record is not None), default=sys.maxsize)

    def flush(self) -> Iterator[Assembled]:
        """No further record belongs to what is open: hand it over."""
        yield from self._relayed(self._flush())
        relay, self._relay = self._relay, None
        if relay is not None:
            yield relay

    def _flush(self) -> Iterator[Assembled]:
        if self._warned is not None:
            record, self._warned = self._warned, None
            yield _pv_mmio(record, "read")
        done, self._open = self._open, None
        if done is None:
            return
        if done.calls:
            yield from separate(done)
        elif done.repeated:
            if done.element is not None:
                done.element.records += done.records
                yield done.element
            if done.elements < done.count:
                done.count -= done.elements
                done.inferred = done.elements > 0
                done.records = done.records or (done.element.records[:1] if done.element else [])
                yield done
        else:
            yield done

    def feed(self, record: Record) -> Iterator[Assembled]:
        """Take one record; hand over every access that it shows to be complete."""
        opened = self._open
        if self._relay is None and opened is not None and _is_relayed(opened, record):
            self._relay, self._open = opened, None
        if self._relay is None:
            yield from self._feed(record)
        elif record.event == "handle_ioreq":
            yield from self.flush()
            yield from self._feed(record)
        elif record.event == "handle_ioreq_read":
            for done in self.flush():
                done.records.append(record)
                yield done
        else:
            yield from self._relayed(self._feed(record))

    def _relayed(self, parts: Iterator[Assembled]) -> Iterator[Assembled]:
        """A request for config space, made one with the port accesses by which the device model serves it."""
        for part in parts:
            relay = self._relay
            if relay is None:
                yield part
            elif part.kind == "pio" and part.address == CONFIG_ADDRESS:
                relay.records += part.records
            elif part.config is not None or part.address in CONFIG_DATA:
                relay.records += part.records
                relay.config = part.config or relay.config
                if relay.value is None and part.value is not None:
                    relay.value = _mask(part.value, relay.size)
            else:
                self._relay = None
                yield relay
                yield part

    def _feed(self, record: Record) -> Iterator[Assembled]:
        self.line = record.line
        event = record.event
        unplaced, self._unplaced = self._unplaced, None
        if event in ("handle_ioreq", "handle_ioreq_read", "handle_ioreq_write", "cpu_ioreq_pio", "cpu_ioreq_move"):
            yield from self._ioreq(record)
        elif event in ("cpu_ioreq_pio_read_reg", "cpu_ioreq_pio_write_reg"):
            direction: Direction = "read" if "read" in event else "write"
            yield from self._whole(record, direction, "pio", record.integer("addr"), record.integer("size"),
                                   record.integer("data"))
        elif event in ("cpu_ioreq_config_read", "cpu_ioreq_config_write"):
            yield from self._ioreq_config(record, "read" if event.endswith("read") else "write")
        elif event in ("cpu_in", "cpu_out"):
            yield from self._port(record, "read" if event == "cpu_in" else "write", unplaced)
        elif event in ("memory_region_ops_read", "memory_region_ops_write"):
            yield from self._call(record, "read" if event.endswith("read") else "write")
        elif event in ("pci_cfg_read", "pci_cfg_write"):
            yield from self._config(record, "read" if event.endswith("read") else "write")
        elif event == "xen_pv_mmio_read":
            yield from self._drop_warning()
            self._warned = record
        elif event == "xen_pv_mmio_write":
            opened = self._open
            if opened is not None and opened.kind == "mmio" and opened.direction == "write":
                (opened.calls[-1].records if opened.calls else opened.records).append(record)
            else:
                yield from self._flush()
                yield _pv_mmio(record, "write")

    def log(self, record: Record) -> bool:
        """A line that the device emitted; False if no open write can have caused it."""
        opened = self._open
        if opened is None or opened.direction != "write":
            return False
        teller = opened.calls[-1] if opened.calls else opened.element or opened
        teller.logs.append(record)
        return True

    def _drop_warning(self) -> Iterator[Assembled]:
        if self._warned is not None:
            record, self._warned = self._warned, None
            yield _pv_mmio(record, "read")

    def _start(self, opened: Assembled) -> Iterator[Assembled]:
        yield from self._flush()
        self._open = opened

    def _whole(
        self, record: Record, direction: Direction, kind: str, address: int | None, size: int | None,
        value: int | None, *, config: Config | None = None, head: bool = False,
    ) -> Iterator[Assembled]:
        """A record that tells of the whole access: one more of the open one, or the first of the next."""
        stage = STAGES[direction][record.event]
        if value is not None:
            value = _mask(value, size)
        opened = self._open
        if (
            opened is not None
            and not opened.calls
            and not opened.repeated
            and opened.direction == direction
            and opened.kind == kind
            and stage > opened.stage
            and opened.address in (None, address)
            and (opened.size is None or size is None or opened.size == size)
            and (opened.value is None or value is None or opened.value == value)
            and (config is None or opened.config is None
                 or (opened.config.function, opened.config.offset) == (config.function, config.offset))
        ):
            opened.stage = stage
            opened.address = address
            opened.size = size if opened.size is None else opened.size
            opened.value = value if opened.value is None else opened.value
            opened.config = opened.config or config
            opened.records.append(record)
            if record.event == "handle_ioreq_read":
                yield from self._flush()
            return
        yield from self._start(
            Assembled(direction, kind, address, size, value, stage, [record], config=config, head=head)
        )

    def _ioreq(self, record: Record) -> Iterator[Assembled]:
        event = record.event
        kind = {_PIO: "pio", _COPY: "mmio", _CONFIG: "config"}.get(
            record.integer("type") or 0 if event.startswith("handle") else (_COPY if event.endswith("move") else _PIO)
        )
        if event.startswith("handle_ioreq_"):
            direction: Direction = "read" if event.endswith("read") else "write"
        else:
            direction = "read" if record.integer("dir") == 1 else "write"
        address, size, data = record.integer("addr"), record.integer("size"), record.integer("data")
        if kind is None or address is None:
            yield from self._flush()
            return
        config = None
        if kind == "config":
            config = Config(address >> 32 & 0xFFFF, address & 0xFFF)
            address = address & 0xFFF
        opened = self._open
        if record.integer("data_is_ptr"):
            if (
                opened is not None
                and opened.repeated
                and (opened.address, opened.size, opened.direction) == (address, size, direction)
                and STAGES[direction][event] > opened.stage
            ):
                opened.stage = STAGES[direction][event]
                opened.records.append(record)
                if event == "handle_ioreq_read":
                    yield from self._flush()
                return
            yield from self._start(
                Assembled(direction, kind, address, size, None, STAGES[direction][event], [record],
                          count=record.integer("count") or 1, repeated=True, head=True)
            )
            return
        stale = direction == "read" and event != "handle_ioreq_read"
        value = None if stale else data
        yield from self._whole(record, direction, kind, address, size, value, config=config, head=True)

    def _ioreq_config(self, record: Record, direction: Direction) -> Iterator[Assembled]:
        function, offset = record.integer("sbdf"), record.integer("reg")
        if function is None or offset is None:
            return
        yield from self._whole(record, direction, "config", offset, record.integer("size"), record.integer("data"),
                               config=Config(function & 0xFFFF, offset), head=True)

    def _port(self, record: Record, direction: Direction, unplaced: Record | None) -> Iterator[Assembled]:
        address, value = record.integer("addr"), record.integer("val")
        size = SIZES.get(record.text("size"))
        if address is None or value is None:
            return
        if unplaced is not None and direction == "read":
            told, width, answer = (unplaced.integer(name) for name in ("addr", "size", "value"))
            fits = told in (address - 0x10, address & 0xFF) and width is not None and size in (None, width)
            if fits and answer is not None and _mask(answer, width) == value:
                stage = STAGES[direction][record.event]
                yield from self._start(Assembled(direction, "pio", address, width, value, stage, [unplaced, record]))
                return
        opened = self._open
        stage = STAGES[direction][record.event]
        if opened is not None and opened.repeated and (opened.address, opened.direction) == (address, direction):
            yield from self._element(opened, direction, size, _mask(value, size), record, port=True)
            return
        if opened is not None and opened.direction == direction == "read":
            if opened.calls:
                last = opened.calls[-1]
                width = last.address + last.size - address if size is None else size  # up to 2.4, and of LTTng, untold
                gathered = gather(opened, address, width, _mask(value, width)) if width > 0 else None
                if gathered is not None:
                    if opened.calls:
                        yield from separate(opened)
                    gathered.records.append(record)
                    gathered.stage = stage
                    self._open = gathered
                    return
            elif (
                opened.kind == "config"
                and not opened.head
                and address in CONFIG_DATA
                and opened.address in (None, address)
            ):
                opened.address, opened.stage = address, stage
                opened.size = opened.size if size is None else size
                opened.records.append(record)
                return
        yield from self._whole(record, direction, "pio", address, size, value)

    def _call(self, record: Record, direction: Direction) -> Iterator[Assembled]:
        told, size, value = record.integer("addr"), record.integer("size"), record.integer("value")
        if told is None or not size or value is None:
            return
        value = _mask(value, size)
        region = record.text("name").decode("utf-8", "replace") or None
        cpu = record.integer("cpu_index")
        absolute = cpu is not None  # before QEMU 2.6 neither the vCPU nor the absolute address was told
        vcpu = cpu if cpu is not None and cpu >= 0 else None
        records = [record]
        if self._warned is not None:
            records, self._warned = [self._warned, record], None
        opened = self._open
        if opened is not None and opened.direction == direction and not opened.calls:
            config = told in (CONFIG_DATA if absolute else range(4)) or (region or "").startswith("pcie-mmcfg")
            if config and opened.kind == "config" and opened.address is None and direction == "read":
                opened.address, opened.size, opened.stage = told if absolute else CONFIG_DATA.start + told, size, 3
                opened.records += records
                opened.vcpu = vcpu
                return
            if opened.repeated and (not absolute or told == opened.address):
                yield from self._element(opened, direction, size, value, record, port=False, region=region)
                return
            if self._belongs(opened, direction, told, size, value, absolute):
                at = (opened.address or 0) + opened.covered
                if opened.size is None or opened.grows:
                    opened.size = opened.covered + size
                    opened.grows = True
                if direction == "read" and opened.stage < 4:
                    opened.value = (opened.value or 0) | value << 8 * opened.covered
                opened.stage = STAGES[direction][record.event]
                opened.covered += size
                opened.records += records
                opened.vcpu = vcpu
                if region:
                    opened.regions.append((at, region))
                return
        if not absolute:
            yield from self._flush()
            self._unplaced = record if direction == "read" else None
            return
        call = Call(told, size, value, region, records)
        if opened is not None and opened.calls and opened.direction == direction and opened.vcpu == vcpu:
            last = opened.calls[-1]
            apart = told == CONFIG_DATA.start  # the data port follows the address port, but no access reaches into both
            if last.address + last.size == told and not apart and len(opened.calls) < LONGEST_RUN:
                opened.calls.append(call)
                return
        kind = "pio" if told < 0x10000 else "mmio"
        yield from self._start(
            Assembled(direction, kind, told, size, value, STAGES[direction][record.event], records, calls=[call],
                      vcpu=vcpu)
        )

    @staticmethod
    def _belongs(
        opened: Assembled, direction: Direction, told: int, size: int, value: int, absolute: bool
    ) -> bool:
        """Whether a device call is the next part of the open access."""
        if opened.address is None or opened.kind == "config" or opened.stage > STAGES[direction][
            f"memory_region_ops_{direction}"
        ]:
            return False
        at = opened.address + opened.covered
        if absolute:
            if told != at:
                return False
        elif told not in ((at & 3,) if at in range(CONFIG_ADDRESS, CONFIG_DATA.stop) else (at - 0x10, at & 0xFF)):
            return False
        if opened.size is None:
            return True
        if opened.covered + size > opened.size and not (opened.grows and opened.covered + size <= _WIDEST_PORT):
            return False
        return direction == "read" or opened.value is None or _mask(opened.value >> 8 * opened.covered, size) == value

    def _element(
        self, whole: Assembled, direction: Direction, size: int | None, value: int, record: Record, *, port: bool,
        region: str | None = None,
    ) -> Iterator[Assembled]:
        """One element of a repeated (string) access: its own row, at the address of the whole."""
        current = whole.element
        if current is None:
            goes_on = False
        elif port:
            goes_on = direction == "read" and current.stage < STAGES[direction]["cpu_in"]
        else:
            goes_on = current.covered < (whole.size or 1)
        if current is None or not goes_on:
            if current is not None:
                yield current
            head, whole.records = whole.records, []
            current = Assembled(direction, whole.kind, whole.address, whole.size, None, 0, head, logs=whole.logs)
            whole.logs = []
            whole.elements += 1
            whole.element = current
        current.records.append(record)
        if port:
            current.stage, current.value = STAGES[direction][record.event], value
            return
        if current.stage < STAGES["write"]["cpu_out"]:
            current.value = (current.value or 0) | value << 8 * current.covered
        if region:
            current.regions.append(((whole.address or 0) + current.covered, region))
        current.covered += size or 1

    def _config(self, record: Record, direction: Direction) -> Iterator[Assembled]:
        slot = record.integer("slot" if "slot" in record.values else "devid")  # devid and fnid up to QEMU 6.2
        function = record.integer("func" if "func" in record.values else "fnid") or 0
        offset, value = record.integer("offs"), record.integer("val")
        if slot is None or offset is None:
            return
        bus = record.integer("bus") or 0
        config = Config(bus << 8 | slot << 3 | function, offset, record.text("dev").decode("utf-8", "replace"))
        opened = self._open
        if opened is not None and opened.direction == direction:
            stage = STAGES[direction][record.event]
            if (
                opened.config is not None
                and opened.head
                and (opened.config.function, opened.config.offset) == (config.function, config.offset)
                and stage > opened.stage
            ):
                opened.config, opened.stage = config, stage
                opened.records.append(record)
                return
            port = opened.calls[-1].address if opened.calls else opened.address
            if direction == "write" and opened.config is None and opened.kind == "pio" and port in CONFIG_DATA:
                if opened.calls:
                    opened.calls.clear()
                opened.kind, opened.config, opened.stage = "config", config, stage
                opened.records.append(record)
                return
        yield from self._start(
            Assembled(direction, "config", None, None, value, STAGES[direction][record.event], [record], config=config)
        )


def _pv_mmio(record: Record, direction: Direction) -> Assembled:
    """An access to BAR1 of which only QEMU's warning tells: its offset, neither size nor value."""
    return Assembled(direction, "mmio", None, None, None, 0, [record], device_offset=record.integer("addr"))
