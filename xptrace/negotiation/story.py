"""What one boot of one VM shows: every fact that its phases, its verdict and the findings are made of, with its place.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for the steps; xen/include/public/io/xenbus.h for the states of PV
devices. An epoch (boot) is from one start, reset or take-over of the device to the next. Facts are kept as they came,
at most so many of a kind, and once those of all boots take a certain memory the first few of each kind alone: a guest
that writes, or starts again, without end costs no more memory than one that does not::

    Step(register="unplug_mask", direction="write", value=3, place=Place("trace.log", 2189367, 19063))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from dissectors.platform.registers import (
    LEGACY_UNPLUGS,
    LOG_REGISTERS,
    MAGIC,
    MAGIC_BLACKLISTED,
    UNDEFINED,
    Direction,
    Space,
    pieces,
)
from dissectors.record import Record
from dissectors.vocabulary import GUEST_CRASH, STORE_REMOVE, STORE_WRITE
from xptrace.access.attribution import Beginning, Vm
from xptrace.access.rows import Access, Certainty, Entry, Event, Message, Way
from xptrace.access.signs import CONNECTED
from xptrace.model.access import Access as Asked
from xptrace.model.drivers import Step as Played
from xptrace.model.drivers.steps import STEPS

Fact = TypeVar("Fact")
MOST: Final = 10_000
"""Facts of one kind that are kept of one boot; those beyond are counted."""
FEW: Final = 100
"""The same once the facts of all boots are `ROOM`: more than the handshakes of any driver."""
ROOM: Final = 256 << 20
"""Bytes that the facts of all boots may take before only a few more of each boot are kept."""
MOST_BOOTS: Final = 100_000
"""Boots of which facts are kept at all; those beyond are counted."""
MOST_FUNCTIONS: Final = 64
"""PCI functions of a boot that are kept: Xen's, of which there are two at most."""
_FACT: Final = 400
"""Bytes that a fact takes, without its text and records."""

Evidence = Literal[
    "ports", "config", "bar1", "messages", "debug", "kernel", "crash", "bytes", "vbd", "vif", "life", "hotplug",
    "store", "xenstored", "mapping", "time", "inventory",
]
"""What is known of a boot, so that a rule can say whether it can be assessed at all.

No recording holds the inventory, the emulated devices of the VM: the user may give it.
"""

@dataclass(frozen=True, slots=True)
class Place:
    """Where the proof stands: the recording, the byte offset in it after decompression, the line."""

    source: str
    offset: int
    line: int

    @classmethod
    def of(cls, record: Record) -> Place:
        """The place of a record."""
        return cls(record.source, record.offset, record.line)


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where: the time by its clock, missing where the recording has none, and the place."""

    time_ns: int | None
    clock: str | None
    place: Place

    @classmethod
    def of(cls, entry: Entry) -> Moment:
        """When and where an entry is."""
        return cls(entry.time_ns, entry.clock, Place.of(entry.cited))


@dataclass(frozen=True, slots=True)
class Step:
    """One access by its meaning: the register that it reaches (`undefined` where there is none) and the value.

    `offset` and `size` are those of the piece that reaches the register.
    """

    register: str
    space: Space
    offset: int
    size: int
    direction: Direction
    value: int | None
    at: Moment
    certainty: Certainty = "observed"
    derived: bool = False
    """Whether no record tells of it, but follows from what a log line says."""

    @property
    def mask(self) -> int | None:
        """The mask bits that this step asks to unplug, the legacy registers' too; missing where it is no such step."""
        if self.direction == "read" or self.value is None:
            return None
        if self.register == "unplug_mask":
            return self.value
        return LEGACY_UNPLUGS.get((self.register, self.value))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the guest's log; `text` is the guest's, and untrusted."""

    text: str
    complete: bool
    at: Moment
    via: Way = "log"


@dataclass(frozen=True, slots=True)
class Change:
    """One state of one end of a PV device: `device` is `vbd/768` or the like, `state` a number of xenbus.h."""

    end: Literal["frontend", "backend"]
    device: str
    state: int
    at: Moment

    @property
    def kind(self) -> str:
        """What it is: `vbd`, `vif`, `console`."""
        return self.device.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Mapping:
    """An I/O BAR of any PCI function: where the device model put it, or from where it took it away."""

    function: str
    bar: int
    base: int
    size: int
    mapped: bool
    at: Moment

    def overlaps(self, other: Mapping) -> bool:
        """Whether they have ports in common."""
        return self.base < other.base + other.size and other.base < self.base + self.size


@dataclass(slots=True)
class Seen:
    """One of Xen's PCI functions as its config space was read: what was not read is missing."""

    number: int
    kind: str
    at: Moment
    config: dict[int, int] = field(default_factory=dict)
    """Bytes of config space by offset, as last read."""

    def field(self, offset: int, size: int) -> int | None:
        """A little-endian field of config space, missing unless all of it was read."""
        parts = [self.config.get(offset + at) for at in range(size)]
        if any(part is None for part in parts):
            return None
        return sum(part << 8 * at for at, part in enumerate(parts) if part is not None)

    @property
    def device_id(self) -> int | None:
        """The PCI device id."""
        return self.field(2, 2)

    @property
    def revision(self) -> int | None:
        """The PCI revision."""
        return self.field(8, 1)

    @property
    def subsystem(self) -> int | None:
        """The subsystem id."""
        return self.field(0x2E, 2)


@dataclass(slots=True)
class Story:
    """The facts of one boot, in order.

    `steps` are the accesses of fixed ports and BAR0, log characters left out; `began` is how the boot began, where
    the recording shows it. `counts` holds how many facts of each kind there were, also beyond those kept.
    """

    vm: str
    boot: int
    began: Beginning | None = None
    steps: list[Step] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    ends: dict[tuple[str, str], list[Change]] = field(default_factory=dict)
    """The changes by (device, end), each in order."""
    hotplug: list[Event] = field(default_factory=list)
    life: list[Event] = field(default_factory=list)
    store: list[Event] = field(default_factory=list)
    bar1: list[Step] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    functions: dict[int, Seen] = field(default_factory=dict)
    named: tuple[int | None, int | None] | None = None
    """Product and build as the device model told of them (XEN_PLATFORM_PV_DRIVER_INFO)."""
    first_log: Step | None = None
    """The first character for the log port."""
    evidence: set[Evidence] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    most: int = MOST
    """How many facts of a kind are kept."""
    size: int = 0
    """Bytes that they take, about."""
    first: Moment | None = None
    last: Moment | None = None
    """The first and the last thing that the recording shows of this boot."""

    @property
    def id(self) -> str:
        """The name of this negotiation, the same whenever the same recordings are read."""
        return f"{self.vm}#{self.boot}"

    # -- the handshake, by its parts

    def of(self, register: str, direction: Direction) -> list[Step]:
        """The steps of one register and direction."""
        return [step for step in self.steps if step.register == register and step.direction == direction]

    @property
    def magics(self) -> list[Step]:
        """Reads of the magic."""
        return self.of("magic", "read")

    @property
    def versions(self) -> list[Step]:
        """Reads of the protocol version."""
        return self.of("protocol_version", "read")

    @property
    def products(self) -> list[Step]:
        """Writes of a product number."""
        return self.of("product_number", "write")

    @property
    def builds(self) -> list[Step]:
        """Writes of a build number."""
        return self.of("build_number", "write")

    @property
    def masks(self) -> list[Step]:
        """Demands to unplug by mask, the legacy registers' among them."""
        return [step for step in self.steps if step.mask is not None]

    @property
    def devices(self) -> list[Step]:
        """Demands to unplug by device (protocol 2): writes of an index after the version was chosen."""
        return self.of("unplug_index", "write")[1:]

    @property
    def mask(self) -> int | None:
        """The union of all masks; missing where there is none."""
        union = 0
        for step in self.masks:
            union |= step.mask or 0
        return union if self.masks else None

    @property
    def blacklisted(self) -> bool | None:
        """Whether the last magic says that the driver is refused; missing where no magic was read."""
        answers = [step.value for step in self.magics if step.value in (MAGIC, MAGIC_BLACKLISTED)]
        return answers[-1] == MAGIC_BLACKLISTED if answers else None

    @property
    def handshake(self) -> list[Step]:
        """The steps by which somebody probes the device, names itself, or asks it for anything."""
        return [step for step in self.steps if step.register in STEPS or step.mask is not None]

    @property
    def reads(self) -> bool:
        """Whether reads of the ports are recorded: a trace of writes alone, or a log, shows no probe."""
        return any(step.direction == "read" and not step.derived for step in self.steps)

    @property
    def log(self) -> list[Line]:
        """The lines of the log port, without what the guest said elsewhere."""
        return [line for line in self.lines if line.via == "log"]

    @property
    def begun(self) -> bool:
        """Whether anybody probed the device or asked it for anything."""
        return any(step.register in STEPS or step.mask is not None for step in self.steps)

    @property
    def played(self) -> list[Played]:
        """The steps as the driver models see them."""
        return [
            (Asked(one.space, one.offset, one.size, one.direction, one.value if one.direction == "write" else None),
             one.value if one.direction == "read" else None)
            for one in self.steps
        ]

    # -- PV devices

    def states(self, device: str, end: str = "frontend") -> list[Change]:
        """The states of one end of one PV device, in order."""
        return list(self.ends.get((device, end), ()))

    def pv_devices(self, kind: str) -> list[str]:
        """The PV devices of a kind (`vbd`, `vif`) of which a state is recorded."""
        return sorted({change.device for change in self.changes if change.kind == kind})

    def connected(self, kind: str, after: Moment | None = None) -> list[Change]:
        """The first time each frontend of a kind was connected, counting only what comes after a moment, if given."""
        found: dict[str, Change] = {}
        for change in self.changes:
            if change.end == "frontend" and change.kind == kind and change.state == CONNECTED and (
                after is None or comes_after(change.at, after)
            ):
                found.setdefault(change.device, change)
        return list(found.values())

    # -- time

    def nanoseconds(self, one: Moment, other: Moment) -> int | None:
        """The time from one moment to another, missing unless one clock tells both."""
        if one.time_ns is None or other.time_ns is None or one.clock != other.clock:
            return None
        return other.time_ns - one.time_ns

    def remaining_ns(self, one: Moment) -> int | None:
        """How long the recording of this boot goes on after a moment, missing where no clock tells."""
        return None if self.last is None else self.nanoseconds(one, self.last)


def comes_after(one: Moment, other: Moment) -> bool:
    """Whether a moment comes after another: by its place in one recording, else by the clock that tells both."""
    if one.place.source == other.place.source:
        return one.place.offset > other.place.offset
    return (
        one.time_ns is not None and other.time_ns is not None and one.clock == other.clock
        and one.time_ns > other.time_ns
    )


class Stories:
    """Collects the facts of every boot while the entries of a case pass by."""

    def __init__(self, vms: dict[str, Vm]) -> None:
        """`vms` tells how each boot began; it may grow while the entries come in."""
        self._vms = vms
        self._found: dict[tuple[str, int], Story] = {}
        self._size = 0
        self.beyond = 0
        """Entries of boots of which nothing is kept: those after so many others."""

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Hand the entries on, having taken what they tell."""
        for entry in entries:
            self.take(entry)
            yield entry

    @property
    def limits(self) -> list[str]:
        """What is not told for want of room."""
        if not self.beyond:
            return []
        return [f"{self.beyond} entries are of boots after the first {MOST_BOOTS}, of which nothing is told"]

    @property
    def found(self) -> list[Story]:
        """Every boot that shows anything at all, VM by VM, in order."""
        for story in self._found.values():
            vm = self._vms.get(story.vm)
            story.began = None if vm is None else vm.began.get(story.boot)
        order = {name: at for at, name in enumerate(dict.fromkeys(vm for vm, _ in self._found))}
        return [self._found[key] for key in sorted(self._found, key=lambda key: (order[key[0]], key[1]))]

    def take(self, entry: Entry) -> None:
        """Take what one entry tells."""
        story = self._found.get((entry.vm, entry.boot))
        if story is None:
            if len(self._found) >= MOST_BOOTS:
                self.beyond += 1
                return
            story = self._found[entry.vm, entry.boot] = Story(entry.vm, entry.boot)
            self._size += _FACT
        if self._size > ROOM:
            story.most = FEW
        before = story.size
        tell(story, entry)
        self._size += story.size - before


def tell(story: Story, entry: Entry) -> None:
    """Add to a story what one entry of its boot tells."""
    at = Moment.of(entry)
    story.first = story.first or at
    story.last = at
    if at.time_ns is not None:
        story.evidence.add("time")
    if isinstance(entry, Access):
        _access(story, entry, at)
    elif isinstance(entry, Message):
        story.evidence.add("messages" if entry.via == "log" else entry.via)
        _keep(story, "lines", story.lines, Line(entry.text, entry.complete, at, entry.via),
              size=len(entry.text))
    else:
        _event(story, entry, at)


def _keep(story: Story, kind: str, kept: list[Fact], fact: Fact, *, size: int = 0) -> None:
    """Keep a fact, which takes `size` bytes beside those that each takes."""
    story.counts[kind] += 1
    if len(kept) < story.most:
        kept.append(fact)
        story.size += _FACT + size


def _access(story: Story, access: Access, at: Moment) -> None:
    if access.space == "pci-config":
        _config(story, access, at)
        return
    offset = access.offset
    if offset is None or access.size is None:
        return
    if access.space == "bar1":
        story.evidence.add("bar1")
        step = Step("bar1", "bar1", offset, access.size, access.direction, access.value, at, access.certainty)
        _keep(story, "bar1", story.bar1, step)
        return
    story.evidence.add("ports")
    reached = pieces(access.space, offset, access.size, access.direction, access.value)
    for piece in reached:
        register = piece.register
        name = UNDEFINED if register is None else register.name
        step = Step(name, access.space, piece.offset, piece.size, access.direction, piece.value, at, access.certainty,
                    access.records[0].derived)
        if name in LOG_REGISTERS and step.mask is None and access.direction == "write":
            story.first_log = story.first_log or step
            story.counts["log characters"] += 1
            story.evidence.add("bytes")
        elif register is not None or len(reached) == 1:
            _keep(story, "steps", story.steps, step)


def _config(story: Story, access: Access, at: Moment) -> None:
    function = access.function
    if function is None or not function.ours:
        return
    story.evidence.add("config")
    seen = story.functions.get(function.number)
    if seen is None:
        if len(story.functions) >= MOST_FUNCTIONS:
            return
        seen = story.functions[function.number] = Seen(function.number, function.device or "", at)
    seen.kind = function.device or seen.kind
    if access.direction == "read" and access.value is not None and access.size and access.offset is not None:
        for byte in range(access.size):
            seen.config[access.offset + byte] = access.value >> 8 * byte & 0xFF


def _event(story: Story, event: Event, at: Moment) -> None:
    if event.records[0].event == GUEST_CRASH:
        story.evidence.add("crash")
    if event.records[0].event in (STORE_WRITE, STORE_REMOVE):
        story.evidence.add("xenstored")
    if event.topic in ("frontend", "backend"):
        if event.value is None:
            return
        end: Literal["frontend", "backend"] = "frontend" if event.topic == "frontend" else "backend"
        change = Change(end, event.subject, event.value, at)
        if change.kind in ("vbd", "vif"):
            story.evidence.add("vbd" if change.kind == "vbd" else "vif")
        known = story.ends.get((change.device, end), [])
        if not known or known[-1].state != change.state:
            _keep(story, "changes", story.changes, change)
            if story.changes[-1] is change:  # not beyond those that are kept
                story.ends.setdefault((change.device, end), known).append(change)
    elif event.topic == "driver":
        record = event.records[0]
        story.named = record.integer("product"), record.integer("build")
    elif event.topic == "function":
        story.evidence.add("hotplug")
        _keep(story, "hotplug", story.hotplug, event, size=_size(event))
    elif event.topic == "mapping":
        story.evidence.add("mapping")
        record = event.records[0]
        bar, base, size = (record.integer(name) or 0 for name in ("bar", "addr", "size"))
        mapping = Mapping(event.subject.partition(" ")[0], bar, base, size, record.event.endswith("add"), at)
        _keep(story, "mappings", story.mappings, mapping)
    elif event.topic == "store":
        story.evidence.add("store")
        _keep(story, "store", story.store, event, size=_size(event))
    else:
        story.evidence.add("life")
        _keep(story, "life", story.life, event, size=_size(event))


def _size(event: Event) -> int:
    """Bytes that an event takes with the records that prove it."""
    return _FACT + sum(len(record.raw) for record in event.records) + len(event.subject) + len(event.said)


def by_vm(stories: Sequence[Story]) -> dict[str, list[Story]]:
    """The stories of each VM, in order."""
    found: dict[str, list[Story]] = {}
    for story in stories:
        found.setdefault(story.vm, []).append(story)
    return found
