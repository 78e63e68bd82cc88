"""One source's accesses and messages: its records put together, each with the VM, the boot and the device it is of.

Nothing is kept but what is still open: the access that is being put together, the device's log buffer, and the
accesses to PCI functions of which nothing has told yet whether they are Xen's.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from dissectors import Given, Passed, Wanted
from dissectors.capture.header import CAPTURED
from dissectors.clock import WALL
from dissectors.kernel import chosen_kernel
from dissectors.platform import registers
from dissectors.platform.registers import Direction, Space
from dissectors.record import Damage, Record
from dissectors.vocabulary import (
    DEVICE_START,
    DOMAIN,
    GUEST_LINE,
    GUEST_START,
    PORT_ACCESS,
    READ,
    VIA_DEBUG,
    VIA_KERNEL,
    VIA_LOG,
)
from xptrace.access import spaces as machine
from xptrace.access.assembled import Assembled, Config
from xptrace.access.attribution import Beginning, Reading, Vm
from xptrace.access.bulk import Bulk, Making, begins
from xptrace.access.captured import restored
from xptrace.access.coalesce import CONFIG_ADDRESS, CONFIG_DATA, STAGES, Stream
from xptrace.access.domains import Domains
from xptrace.access.making import access_of, characters, memory_meaning, message_of, port_meaning, unfinished
from xptrace.access.messages import decode_text
from xptrace.access.neighbours import Neighbours
from xptrace.access.owners import ACCESSES, Owners
from xptrace.access.reads import Reads
from xptrace.access.rows import Access, Certainty, Entry, Event, Message, Row, Way
from xptrace.access.signs import SIGNS
from xptrace.access.spaces import Function
from xptrace.access.stretch import Block, Stretch
from xptrace.access.waiting import ForFunction, ForTurn
from xptrace.access.widths import Widths
from xptrace.intake.ledger import Ledger

LONGEST_PAUSE: Final = 64
"""Lines of other threads that may stand between two records of one access."""

Form = Literal["full", "brief", "blocks"]
"""Rows with all of their records; the same, but of those that the kernel put together with no record but the one that
says where the row stands (of an access the first, of a message the last), which is quicker; or blocks of these."""

_PAUSES: Final = 2
"""Pauses after which what is open is over: the records of one access are written at once, if not in one piece."""

_APPROACH: Final = 64
"""Records that are read one by one before it is asked again whether they can be read many at once."""

_SIZES: Final = (1, 2, 4, 8)
_PORT_SPACE: Final = 1 << 16
_WAYS: Final[dict[bytes, Way]] = {VIA_LOG: "log", VIA_DEBUG: "debug", VIA_KERNEL: "kernel"}
_PARTS: Final = frozenset(STAGES["read"]) | frozenset(STAGES["write"])
"""Events that tell of an access, or of a part of one."""
_LIFE: Final = ("runstate_set", "vm_state_notify", "destroy_hvm_domain_action")
_OWN: Final = (
    "xen_", "xs_node_", "xenstore_", "xenstored_", "kvm_xen_", "qemu_system_", "system_reset", "device_", "domain",
    "qmp_", "driver_", "guest_",
)


def _shift(record: Record, offset_ns: int) -> None:
    """Make a time of another clock one of the wall clock, as the user says; one that it cannot show is missing."""
    time_ns = -1 if record.time_ns is None else record.time_ns + offset_ns
    record.time_ns, record.clock = (time_ns, WALL) if 0 <= time_ns < 1 << 63 else (None, None)


def _plausible(record: Record) -> bool:
    """Whether the numbers of an access can be true: a corrupt size is not worth 2 to the power of it."""
    for name, value in record.values.items():
        if not isinstance(value, int):
            continue
        if not -1 <= value < 1 << 64:
            return False
        if (
            (name == "size" and value not in _SIZES)
            or (name == "count" and not 0 <= value < 1 << 32)
            or (name == "cpu_index" and value >= 1 << 31)
        ):
            return False
    return True


class SourceDecoder:
    """The entries of one source, and what is still open of it."""

    def __init__(
        self, reading: Reading, given: Given, vms: dict[str, Vm], domains: Domains, ledger: Ledger,
        offsets: Mapping[str, int], kernels: Sequence[int] = (1,), *, stopped: Callable[[], bool],
        noted: Callable[[str], None], form: Form = "full", specimens: int = 0,
    ) -> None:
        """Nothing is read yet. `noted` is told what else should be known of the source.

        `form` is that of the rows; of each event so many records are there whole also where rows are brief.
        """
        self._reading, self._offsets = reading, offsets
        alone = reading.vantage == "device" and not reading.apart
        many = form != "full" and alone and not offsets
        self._form, self._specimens = form, specimens
        self._shown: Counter[str] = Counter()
        """How many specimens of each event there were."""
        kernel = chosen_kernel()
        self._reads = Reads(reading, given, ledger, self._needles, stopped, kernel, many=many,
                            wanted=self._wanted if alone else None)
        self._kernel = kernel if many else None
        self._bulk: tuple[tuple[str, int, str | None], Bulk] | None = None
        self._vms, self._domains, self._ledger = vms, domains, ledger
        self._owners = Owners(reading, vms, domains, kernels, noted)
        self._streams: dict[tuple[str, int | str | None], Stream] = {}
        self._last: tuple[str, int | str | None] | None = None
        self._known, self._turn = ForFunction(ledger), ForTurn()
        self._events: list[Event] = []
        self._neighbours = Neighbours()
        self._latch: dict[str, int] = {}
        self._widths: dict[tuple[str, int], Widths] = {}
        """Of each boot, the sizes that the order of the accesses tells where the records do not."""
        if reading.vantage == "device":
            for vm in vms.values():
                if vm.name == reading.vm or vm.name.startswith(f"{reading.vm}-"):
                    vm.entering = True

    def rows(self, progress: Callable[[int], None] | None) -> Iterator[Entry | Block | None]:
        """Everything of this source; None at every pause of one that grows."""
        pauses = 0
        for read in self._reads.records(progress):
            if isinstance(read, Record):
                if (offset_ns := self._offsets.get(read.clock or "")) is not None:
                    _shift(read, offset_ns)
                yield from self._in_order(read)
                pauses = 0
            elif isinstance(read, Stretch):
                yield from self._stretch(read)
            elif isinstance(read, Passed):
                yield from self._flush(self._vms[self._reading.vm])
            elif read is None:
                pauses += 1
                if pauses == _PAUSES:
                    for row in self._end():
                        self._turn.put(row)
                    yield from self._turn.take()
                yield None
            else:
                self._ledger.note(read)
        for row in itertools.chain(self._end(), self._known.finish()):
            self._turn.put(row)
        yield from self._turn.take()

    def kernels(self) -> int:
        """How many times the guest's kernel begins in the source."""
        return sum(1 for read in self._reads.records() if isinstance(read, Record) and read.event == GUEST_START)

    def _needles(self, told: bytes) -> Iterable[re.Pattern[bytes]]:
        """What the records of BARs must hold: of those that are known, and of those that these lines may set up."""
        known = (needle for vm in self._vms.values() for needle in vm.spaces.needles())
        return {needle.pattern: needle for needle in (*known, *machine.foresee(told))}.values()

    def _in_order(self, record: Record) -> Iterator[Entry]:
        """The rows that a record completes, after all that began before them, whatever thread they are of."""
        if len(self._streams) < 2:
            yield from self._record(record)
            return
        for row in self._record(record):
            self._turn.put(row)
        for key, stream in list(self._streams.items()):
            if record.line - stream.line > LONGEST_PAUSE:
                del self._streams[key]
                for done in stream.flush():
                    for row in self._assembled(self._vms[key[0]], done):
                        self._turn.put(row)
        begun = [s.current.records[0].offset for s in self._streams.values() if s.current and s.current.records]
        yield from self._turn.take(min(begun, default=record.offset + 1))

    # -- plain records, many at once

    def _stretch(self, stretch: Stretch) -> Iterator[Entry | Block]:
        """Blocks of rows, where nothing is open or unknown on which these records could depend."""
        stretch.apart = _APPROACH
        vm = self._vms.get(self._reading.vm)
        first = stretch.record(0)
        if vm is None or self._kernel is None or not self._is_plain(vm, first):
            return
        stream = self._streams[vm.name, first.thread]
        stretch.apart = 1
        if not begins(stretch, stream):
            return
        yield from self._flush(vm)
        alike = vm.name, vm.boot, first.clock
        if self._bulk is None or self._bulk[0] != alike:
            self._bulk = alike, Bulk(self._kernel, Making(
                lambda done: access_of(vm, done, "pio", done.address, port_meaning(done), 0, None), characters,
                lambda line: message_of(vm, line, "observed"),
            ))
        blocks = self._bulk[1].blocks(stretch, vm.assembler)
        yield from blocks if self._form == "blocks" else self._brief(stretch, blocks)
        if stretch.taken:
            offset, line, length = stretch.place(stretch.taken - 1)
            start = stretch.place(0)[0]
            self._ledger.plain(start, offset + length, stretch.taken)
            stream.line = line

    def _brief(self, stretch: Stretch, blocks: Iterator[Block]) -> Iterator[Row]:
        """The rows of the blocks that a stretch becomes."""
        done = 0
        for block in blocks:
            specimens = stretch.specimens(done, lambda name: self._specimens - self._shown[name])
            self._shown.update(one.event for one in specimens.values())
            yield from stretch.rows(block, specimens)
            done = stretch.taken

    def _is_plain(self, vm: Vm, record: Record) -> bool:
        """Whether all that is known of the VM stays as it is while plain records of this thread come."""
        settled = vm.proven and vm.used and vm.accessed and not vm.entering and self._owners.is_learnt(vm)
        alone = self._streams.keys() == {(vm.name, record.thread)} and record.thread in (None, vm.thread)
        waiting = self._events or self._known or self._turn or vm.name in self._neighbours
        return settled and alone and not waiting

    # -- accesses of other devices, many at once

    def _wanted(self) -> Wanted | None:
        """The accesses that can become rows; None while records of others matter to what is open, or waits for them."""
        vm = self._vms.get(self._reading.vm)
        if vm is None or self._events or len(self._streams) != 1 or not self._owners.is_learnt(vm):
            return None
        ((name, thread), stream), = self._streams.items()
        if name != vm.name or not isinstance(thread, int) or stream.waits:
            return None
        ranges, current = vm.spaces.ranges(), stream.current
        if ranges is None or not (current is None or current.is_elsewhere(ranges)):
            return None
        return Wanted(b"".join(struct.pack("<QQ", one.start, one.stop) for one in ranges), thread)

    # -- whose record

    def _learn(self, vm: Vm, record: Record) -> Iterator[Entry]:
        """Which domain the device model serves, as soon as it says so; another domain is another boot."""
        domain = self._owners.news(vm, record)
        if domain is None:
            return
        if self._owners.is_another(vm, domain):
            yield from self._renew(vm, None)
        self._owners.learn(vm, domain, record)

    def _renew(self, vm: Vm, began: Beginning | None) -> Iterator[Entry]:
        """Another device model serves this VM from now on."""
        yield from self._flush(vm)
        yield from unfinished(vm)
        vm.next_boot(began)
        vm.spaces, vm.proven, vm.entering = machine.Spaces(), False, False

    def _stream(self, vm: Vm, record: Record) -> Stream:
        key: int | str | None = record.thread
        cpu = record.integer("cpu_index")
        if key is None and cpu is not None and cpu >= 0:
            key = f"cpu{cpu}"
        whole = (vm.name, key)
        last = self._last if self._last is not None and self._last[0] == vm.name else None
        if record.thread is None and last is not None and self._follows(record, last):
            whole = last
        self._last = whole
        return self._streams.setdefault(whole, Stream())

    def _follows(self, record: Record, last: tuple[str, int | str | None]) -> bool:
        """Whether a record without a thread goes on with what the last one told of, whatever the vCPU.

        Some events tell no vCPU: the device's own, and those of config space; of a read the vCPU is told after them.
        """
        if record.event.startswith(("xen_platform_log", "pci_cfg_", "xen_pv_mmio")):
            return True
        stream = self._streams.get(last)
        current = None if stream is None else stream.current
        return (
            record.event == "memory_region_ops_read" and current is not None and current.kind == "config"
            and current.address is None and current.direction == "read"
        )

    def _record(self, record: Record) -> Iterator[Entry]:
        vm = self._owners.vm(record)
        event = record.event
        if event in CAPTURED:  # put together before it was captured
            self._ledger.decode(record)
            yield from self._known.emit(restored(record, vm), None)
            return
        if self._reading.vantage == "device":
            yield from self._learn(vm, record)
        many = len(self._events) > LONGEST_PAUSE  # no access has so many effects: what is open is over
        if many:
            yield from self._flush(vm)
        if many or (self._events and not any(stream.current for stream in self._streams.values())):
            yield from self._release()
        if event in _PARTS:
            yield from self._part(vm, record)
        elif event == "xen_platform_log":
            vm.proven = True
            if not self._stream(vm, record).log(record):
                yield from self._flush(vm)
                yield from self._say(vm, [record], None)
        elif event in ACCESSES:
            yield from self._told(vm, record)
        elif event == GUEST_LINE:
            yield from self._heard(vm, record)
        elif event.startswith("pci_update_mappings_"):
            yield from self._mapping(vm, record)
        elif (event.startswith(_OWN) and not event.startswith("xen_pv_mmio")) or event in _LIFE:
            self._ledger.decode(record)
            if event == DOMAIN and record.domain is not None and record.text("name"):
                self._domains.named(record.domain, record.text("name").decode("utf-8", "replace"))
            if event == GUEST_START:
                self._owners.started += 1
            yield from self._life(vm, record)
            self._note(vm, record)
        else:
            yield from self._part(vm, record)

    def _part(self, vm: Vm, record: Record) -> Iterator[Entry]:
        """A part of an access, of which several records tell."""
        if not _plausible(record):
            self._impossible(record)
            return
        for done in self._stream(vm, record).feed(record):
            yield from self._assembled(vm, done)

    def _impossible(self, record: Record) -> None:
        reason = f"{record.event} tells of an access that no processor makes"
        self._ledger.note(Damage(record.source, record.offset, record.length, record.line, reason))

    def _told(self, vm: Vm, record: Record) -> Iterator[Entry]:
        """An access that one record tells whole."""
        address, size, value = (record.integer(name) for name in ("addr", "size", "val"))
        direction: Direction = "read" if record.integer("dir") == READ else "write"
        if not _plausible(record) or address is None:
            self._impossible(record)
            return
        yield from self._flush(vm)
        inferred = record.derived
        if size is None and record.event == PORT_ACCESS:
            size = self._widths.setdefault((vm.name, vm.boot), Widths()).infer(direction, address, value)
            inferred = inferred or size is not None
        kind = "pio" if record.event == PORT_ACCESS else "mmio"
        yield from self._assembled(vm, Assembled(
            direction, kind, address, size, value, 0, [record], count=record.integer("count") or 1,
            vcpu=record.integer("cpu_index"), inferred=inferred,
        ))

    def _heard(self, vm: Vm, record: Record) -> Iterator[Entry]:
        """A line that the guest said."""
        yield from self._flush(vm)
        via = _WAYS[record.text("via")]
        if self._reading.vantage == "device":
            vm.used = True
        certainty: Certainty = "inferred" if record.recovered or record.derived else "observed"
        text = decode_text(record.text("s"))
        yield from self._known.emit(
            Message(record.time_ns, record.clock, vm.name, self._owners.boot(vm, record), text, complete=True,
                    certainty=certainty, records=[record], via=via), None)

    # -- epochs

    def _note(self, vm: Vm, record: Record) -> None:
        """Keep an event until the access that it may be an effect of has been handed on."""
        read = SIGNS.get(record.event)
        sign = read(record) if read else None
        if sign is not None:
            topic, subject, said, value = sign
            if value is not None and not 0 <= value < 1 << 64:  # a number of a stranger's
                value = None
            self._events.append(
                Event(record.time_ns, record.clock, vm.name, self._owners.boot(vm, record), topic, subject, said, value,
                      [record])
            )

    def _release(self) -> Iterator[Entry]:
        events, self._events = self._events, []
        for event in events:
            yield from self._known.emit(event, None)

    def _life(self, vm: Vm, record: Record) -> Iterator[Entry]:
        event = record.event
        if event == "xen_map_portio_range" and record.integer("start_addr") == registers.PORTS.start:
            vm.proven = True
        fresh = event in ("xen_ioreq_server_create", DEVICE_START)
        before = record.text("current_state_str") if event == "runstate_set" else b""
        begins = before in (b"prelaunch", b"inmigrate") and record.text("new_state_str") == b"running"
        began: Beginning = "reset"
        if fresh:
            began = "process"
        elif begins:
            began = "migration" if before == b"inmigrate" else "process"
        elif event not in ("kvm_xen_soft_reset", "qemu_system_reset_request", "system_reset"):
            return
        yield from self._flush(vm)
        if fresh:
            if vm.created or vm.used:
                yield from self._renew(vm, began)
            vm.created, vm.entering, vm.thread = True, False, record.thread
        elif vm.used:
            vm.next_boot(began)
        vm.began[vm.boot] = began

    def _mapping(self, vm: Vm, record: Record) -> Iterator[Entry]:
        device = record.text("dev").decode("utf-8", "replace")  # up to QEMU 6.2 only a pointer
        bar, base, size = record.integer("bar"), record.integer("addr"), record.integer("size")
        slot = record.integer("slot")
        if bar is None or base is None or size is None or slot is None:
            return
        number = (record.integer("bus") or 0) << 8 | slot << 3 | (record.integer("func") or 0)
        function = vm.spaces.function(number, device or None)
        if 0 < base < base + size <= _PORT_SPACE:  # a neighbour's BAR may come to lie where another's is
            self._neighbours.put(vm.name, number, bar, record)
        if vm.used or vm.proven or function.ours:
            self._tell_neighbours(vm)
        if not function.ours:
            return
        self._ledger.decode(record)
        if record.event.endswith("add"):
            vm.spaces.mapping(function, bar, base, size)
            return
        current = self._stream(vm, record).current
        if current is not None and current.direction == "write" and (
            current.config is not None or current.address in CONFIG_DATA
        ):
            return
        yield from self._flush(vm)
        if vm.used:  # BARs that go without a config write go by a reset
            vm.next_boot("reset")

    def _tell_neighbours(self, vm: Vm) -> None:
        """Tell where the I/O BARs are, which is nobody's business as long as nothing shows Xen's device."""
        for record in self._neighbours.take(vm.name):
            self._ledger.decode(record)
            self._note(vm, record)

    def _enter(self, vm: Vm, record: Record) -> Iterator[Entry]:
        """The first access of a source, or of another device model in the same one, may open a new boot."""
        if self._reading.vantage != "device":
            return
        changed = record.thread is not None and record.thread != vm.thread
        by_xen = "cpu_index" not in record.values or record.integer("cpu_index") == -1
        if vm.used and ((vm.entering and (changed or record.thread is None)) or (changed and by_xen and vm.thread)):
            for stream in self._opened(vm):
                if stream.begun < record.offset:  # what the old device model did last is of the old boot
                    for done in stream.flush():
                        yield from self._assembled(vm, done)
            yield from unfinished(vm)
            vm.next_boot(None)
        vm.entering = False
        if record.thread is not None:
            vm.thread = record.thread

    # -- from assembled accesses to rows

    def _opened(self, vm: Vm) -> list[Stream]:
        """What is open of a VM, in the order in which it was begun."""
        return sorted((one for (name, _), one in self._streams.items() if name == vm.name), key=lambda one: one.begun)

    def _flush(self, vm: Vm) -> Iterator[Entry]:
        """Nothing goes on of what is open of this VM."""
        for stream in self._opened(vm):
            for done in stream.flush():
                yield from self._assembled(vm, done)

    def _end(self) -> Iterator[Entry]:
        """Nothing goes on of what is open."""
        for name in dict.fromkeys(name for name, _ in self._streams):
            yield from self._flush(self._vms[name])
        yield from self._release()

    def _assembled(self, vm: Vm, done: Assembled) -> Iterator[Entry]:
        if done.address == CONFIG_ADDRESS and done.kind == "pio":
            if done.direction == "write" and done.size == 4 and done.value is not None:
                self._latch[vm.name] = done.value
            return
        if done.kind == "pio" and done.address in CONFIG_DATA and done.config is None:
            latch = self._latch.get(vm.name)
            if latch is None or not latch >> 31:
                return
            done.kind = "config"
            done.config = Config(latch >> 8 & 0xFFFF, latch & 0xFC | (done.address or 0) & 3)
        if done.kind == "config" and done.config is not None:
            yield from self._config(vm, done, done.config)
        elif done.kind == "pio" and done.address is not None:
            yield from self._port(vm, done, done.address)
        elif done.kind == "mmio":
            yield from self._memory(vm, done)

    def _config(self, vm: Vm, done: Assembled, config: Config) -> Iterator[Entry]:
        from dissectors.platform import config_space

        function = vm.spaces.function(config.function, config.device)
        vm.spaces.config(function, config.offset, done.size, done.direction, done.value)
        if function.ours is False:
            yield from self._known.drain()
            return
        said = config_space.meaning(config.offset, done.size, done.direction, done.value, function.name)
        yield from self._access(vm, done, "pci-config", config.offset, said, 0, function)

    def _port(self, vm: Vm, done: Assembled, address: int) -> Iterator[Entry]:
        size = done.size or 1
        for at, region in done.regions:
            vm.spaces.region(at, region)
        place = vm.spaces.port(address, size, done.regions)
        if place is None:
            yield from self._other(vm, done)
            return
        space, base, function = place
        if function is not None and function.ours is None and done.logs:
            vm.spaces.prove(function)  # only the platform device emits a line while it serves a port write
        if space == "pio" and (done.regions or (done.direction, done.size, done.value) == ("read", 2, registers.MAGIC)):
            vm.proven = True
        if space == "bar0" and done.grows:
            done.size = None  # BAR0 takes single bytes: the first of them does not tell how wide the access was
        yield from self._access(vm, done, space, address, port_meaning(done, space, base), base, function)

    def _memory(self, vm: Vm, done: Assembled) -> Iterator[Entry]:
        function = None
        if done.address is None:
            function = vm.spaces.pvdevice()
            base = function.bar1 if function is not None and function.bar1 is not None else None
            done.address = None if base is None or done.device_offset is None else base + done.device_offset
            said = memory_meaning(done, base or 0, function)
            yield from self._access(vm, done, "bar1", done.address, said, base or 0, function)
            return
        place = vm.spaces.memory(done.address, done.regions)
        if place is None:
            if not any(r.event.startswith("xen_pv_mmio") for r in done.records):
                yield from self._other(vm, done)
                return
            place = (0, vm.spaces.pvdevice())
        base, function = place
        yield from self._access(vm, done, "bar1", done.address, memory_meaning(done, base, function), base, function)

    def _other(self, vm: Vm, done: Assembled) -> Iterator[Entry]:
        if done.logs:
            yield from self._say(vm, done.logs, None)

    def _access(
        self, vm: Vm, done: Assembled, space: Space, address: int | None, said: str, base: int,
        function: Function | None,
    ) -> Iterator[Entry]:
        first = done.records[0]
        if function is None or function.ours is not None:
            yield from self._enter(vm, first)
            vm.used = vm.used or space != "pci-config"
            vm.accessed = vm.accessed or self._reading.vantage == "device"
            self._tell_neighbours(vm)
        access = access_of(vm, done, space, address, said, base, function)
        yield from self._known.emit(access, function)
        yield from self._say(vm, done.logs, access)
        yield from self._release()

    def _say(self, vm: Vm, logs: list[Record], access: Access | None) -> Iterator[Entry]:
        certainty: Certainty = "observed"
        if access is not None:
            certainty = access.certainty
            for character in characters(access):
                if character is None:
                    vm.assembler.unrecorded(access.records[-1])
                else:
                    vm.assembler.character(character, access.records[-1])
        for line in vm.assembler.take(logs):
            vm.used = True
            yield from self._known.emit(message_of(vm, line, certainty), None)
