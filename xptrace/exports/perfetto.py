"""Perfetto: every VM's negotiation on the tracks of ui.perfetto.dev and of its trace processor.

Law: perfetto.dev, "Writing TrackEvent Protos Synthetically" for tracks, slices, instants and counters, and
"Synchronization of multiple clock domains" for clocks. What is shown is the timeline of each boot
(`xptrace.negotiation.timeline`) and the values at its registers::

    win10                     a process for each VM and each clock that tells of it
      boot                    a slice for each boot, from the first to the last thing that is recorded of it
      phases                  probe, naming, verdict, decision, unplug, handover
      driver                  an instant for each step: magic, version 1, product 3, mask 0x3
      state                   the state of the negotiation; `device`: what became of the device model, resets
      vbd/768 frontend        the states of each end of each PV device; `disks`, `NICs`: demands, functions that went
      log                     an instant for each line of the guest, its text as the name
      findings                an instant for each finding: high A13: ...
      unplug mask             a counter for each register, of every value that was read or written

Messages are instants, and no `android_log`: a packet of that always has UTC times, and most recordings have none.

**Clocks that do not compare are kept apart.** UTC (wall, syslog) is the trace's own time. Every other clock is a domain
of its own, with its times as they were recorded; Perfetto shows nothing that it cannot place, so one clock snapshot
says where the domain is laid: its first moment at the first moment of the trace. That is a place, and no claim that
both happened together: such a process is named after its clock, and labelled. A clock that the guest or a test keeps
is a domain for each boot. Where there is no time at all, order is the domain: one step a millisecond. The time by its
clock, and where the proof stands, are arguments of every slice and instant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappush, heapreplace
from typing import IO, TYPE_CHECKING, Any, Final

from dissectors.clock import CLOCKS, GUEST, SYSLOG, TEST, UPTIME, WALL
from xptrace.exports import perfetto_proto as proto
from xptrace.exports.export import Export
from xptrace.negotiation.story import Moment, Step, Story
from xptrace.negotiation.timeline import LANES, Axis, Item, timeline
from xptrace.negotiation.verdict import verdict
from xptrace.views.escape import printable

if TYPE_CHECKING:
    from xptrace.case import Case

ORDER_NS: Final = 10**6
"""How far one step is from the next where there is order and no time."""
LONGEST_NAME: Final = 200
"""Characters of a name; the whole text is an argument."""
COUNTED: Final[Mapping[str, str]] = {
    "flags": "flags", "bar0_flags": "flags", "product_number": "product", "build_number": "build",
    "protocol_version": "protocol", "unplug_mask": "unplug mask",
}
"""The registers that are counters, and the names of those."""
_UTC: Final = (WALL, SYSLOG)
_OF_A_BOOT: Final = (UPTIME, GUEST, TEST)
_BARS_FIRST: Final = ("phases", "state")


# -- what is drawn


@dataclass(slots=True)
class Mark:
    """A slice (where it has an end), an instant, or a value of a counter, on the track of that name."""

    track: str
    rank: int
    name: str
    at: int
    end: int | None = None
    value: int | None = None
    categories: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Domain:
    """Times that compare, all of one clock: `key` tells it from others, `begin` is the first of them.

    `unit_ns` is how much a time of it is. Numbers of a trace are not negative: `origin` is taken off all of them.
    """

    key: str
    clock: str | None
    begin: int
    unit_ns: int = 1
    sequence: int = 0

    @property
    def utc(self) -> bool:
        """Whether its times are the trace's own."""
        return self.clock in _UTC and self.begin >= 0

    @property
    def origin(self) -> int:
        """What a time is counted from: zero, unless there are times before it."""
        return min(self.begin, 0)


@dataclass(slots=True)
class Group:
    """A process of the trace: what one clock tells of one VM."""

    vm: str
    domain: Domain
    marks: list[Mark] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The VM, and the clock unless that is the host's."""
        clock = self.domain.clock
        return printable(self.vm) if clock == WALL else f"{printable(self.vm)} ({self.domain.key})"


def groups(case: Case) -> list[Group]:
    """Everything that is drawn, VM by VM, clock by clock."""
    done = case.assessment
    boots = Counter(story.vm for story in done.stories)
    domains: dict[str, Domain] = {}
    found: dict[tuple[str, str], Group] = {}
    for story in done.stories:
        for axis in timeline(story, done.findings).axes:
            domain = domains.setdefault(key := _key(axis, story), Domain(key, axis.clock, axis.begin))
            domain.begin = min(domain.begin, axis.begin)
            domain.unit_ns = ORDER_NS if axis.clock is None else 1
            group = found.setdefault((story.vm, key), Group(story.vm, domain))
            group.marks.append(_boot(story, axis))
            group.marks += [_mark(item, axis) for item in axis.items]
            group.marks += _counters(story, axis, several=boots[story.vm] > 1)
    for number, domain in enumerate(sorted(domains.values(), key=lambda one: not one.utc), 1):
        domain.sequence = number
    return list(found.values())


def _key(axis: Axis, story: Story) -> str:
    """What sets the moments of an axis apart from those that do not compare with them, in words."""
    if axis.clock is None:
        return f"order alone, no time: {story.id}, {printable(axis.source or '')}"
    words = CLOCKS.get(axis.clock, axis.clock)
    return f"{words}, {story.id}" if axis.clock in _OF_A_BOOT else words


def _boot(story: Story, axis: Axis) -> Mark:
    ended = verdict(story)
    told = {"id": story.id, "began": story.began, "verdict": ended.code, "sentence": ended.sentence,
            "clock": axis.clock}
    return Mark("boot", 0, f"boot {story.boot}: {ended.sentence}", axis.begin, axis.end, categories=["boot"], told=told)


def _mark(item: Item, axis: Axis) -> Mark:
    lane = list(LANES).index(item.lane)
    begin, end = axis.span(item)
    name, categories = item.name, [item.lane]
    if item.lane == "log":
        name = item.label
    elif item.severity is not None:
        name, categories = f"{item.severity} {item.name}: {item.label}", [item.lane, item.severity]
    told = {"said": item.label, **_evidence(item.begin)}
    if item.severity is not None:
        told |= {"rule": item.name, "severity": item.severity}
    if item.kind == "mark":
        return Mark(item.lane, 100 * lane + 50, name, begin, categories=categories, told=told)
    rank = 100 * lane + 10 * (item.track not in _BARS_FIRST)
    return Mark(item.track, rank, name, begin, end, categories=categories, told=told)


def _evidence(at: Moment) -> dict[str, Any]:
    return {"time_ns": at.time_ns, "clock": at.clock, "source": at.place.source, "offset": at.place.offset,
            "line": at.place.line}


def _counters(story: Story, axis: Axis, *, several: bool) -> Iterator[Mark]:
    """Every value at the registers that are counted; those of a boot apart, since nothing of them outlives it."""
    ranks = list(dict.fromkeys(COUNTED.values()))
    for step in story.steps:
        name = COUNTED.get(step.register)
        if name is None or step.value is None or not _on(axis, step):
            continue
        track = f"{name} (boot {story.boot})" if several else name
        yield Mark(track, 100 * len(LANES) + ranks.index(name), name, axis.at(step.at), value=step.value)


def _on(axis: Axis, step: Step) -> bool:
    if axis.clock is None:
        return step.at.time_ns is None and step.at.place.source == axis.source
    return step.at.time_ns is not None and step.at.clock == axis.clock


# -- the packets


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as a trace of Perfetto."""
    for packet in packets(groups(case)):
        file.write(proto.encode("Trace", {"packet": packet}))


def packets(found: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """The packets of a trace: where the clocks are laid, the tracks, and what happens on them."""
    domains = sorted({id(one.domain): one.domain for one in found}.values(), key=lambda one: one.sequence)
    utc = [domain.begin for domain in domains if domain.utc]
    base = min(utc) if utc else max(domains[0].begin - domains[0].origin, 0) * domains[0].unit_ns if domains else 0
    for domain in domains:
        snapshot = _snapshot(domain, base, proto.REALTIME if utc else proto.BOOTTIME)
        yield {"trusted_packet_sequence_id": domain.sequence, "sequence_flags": proto.STATE_CLEARED,
               "clock_snapshot": snapshot}
    for number, group in enumerate(found, 1):
        yield from _process(group, number)


def _snapshot(domain: Domain, base: int, trace_clock: int) -> dict[str, Any]:
    clocks: list[dict[str, int | None]] = [{"clock_id": trace_clock, "timestamp": base}]
    if not domain.utc:
        unit = domain.unit_ns if domain.unit_ns > 1 else None
        clocks.append({"clock_id": proto.OWN_CLOCK, "timestamp": domain.begin - domain.origin,
                       "unit_multiplier_ns": unit})
    return {"clocks": clocks, "primary_trace_clock": trace_clock}


def _process(group: Group, number: int) -> Iterator[dict[str, Any]]:
    domain, process = group.domain, _uuid(group.vm, group.domain.key)
    labels = [f"clock: {CLOCKS.get(domain.clock or '', domain.clock or 'none')}"]
    if not domain.utc:
        labels.append("laid at the beginning of the trace: its times do not compare with those of others")
    if domain.origin:
        labels.append(f"0 is {domain.origin} ns")
    common = {"trusted_packet_sequence_id": domain.sequence}
    yield {**common, "track_descriptor": {
        "uuid": process, "process": {"pid": number, "process_name": group.name, "process_labels": labels},
        "child_ordering": proto.ORDER_EXPLICIT}}
    stamped = common | {"timestamp_clock_id": proto.REALTIME if domain.utc else proto.OWN_CLOCK}
    for name, marks in sorted(_tracks(group.marks).items(), key=lambda one: (one[1][0].rank, one[0])):
        for row, layer in enumerate(_layers(marks)):
            track = _uuid(group.vm, domain.key, name, str(row))
            counter: dict[str, Any] | None = None if layer[0].value is None else {}
            yield {**common, "track_descriptor": {
                "uuid": track, "parent_uuid": process, "name": _short(name), "counter": counter,
                "sibling_order_rank": layer[0].rank}}
            for mark in layer:
                for at, event in _events(mark, track):
                    yield {**stamped, "timestamp": at - domain.origin, "track_event": event}


def _tracks(marks: Sequence[Mark]) -> dict[str, list[Mark]]:
    found: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda one: one.at):
        found.setdefault(mark.track, []).append(mark)
    return found


def _layers(marks: Sequence[Mark]) -> list[list[Mark]]:
    """The marks of a track in rows, so that no slice lies over another; Perfetto draws rows of one name as one track.

    Slices overlap where time went backwards, or where boots follow each other in one moment.
    """
    rows: list[list[Mark]] = []
    free: list[tuple[int, int]] = []
    for mark in marks:
        end = mark.at if mark.end is None else mark.end
        if free and free[0][0] <= mark.at:
            row = heapreplace(free, (end, free[0][1]))[1]
            rows[row].append(mark)
        else:
            heappush(free, (end, len(rows)))
            rows.append([mark])
    return rows


def _events(mark: Mark, track: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """When, and what: a slice is its beginning and its end."""
    if mark.value is not None:
        yield mark.at, {"type": proto.COUNTER, "track_uuid": track, "counter_value": mark.value}
        return
    told = [_annotation(name, value) for name, value in mark.told.items() if value is not None]
    kind = proto.INSTANT if mark.end is None else proto.SLICE_BEGIN
    yield mark.at, {"type": kind, "track_uuid": track, "categories": mark.categories, "name": _short(mark.name),
                    "debug_annotations": told}
    if mark.end is not None:
        yield mark.end, {"type": proto.SLICE_END, "track_uuid": track}


def _annotation(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, int):
        return {"name": name, "int_value": value}
    return {"name": name, "string_value": printable(str(value))}


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def _uuid(*parts: str) -> int:
    """A number for a track, the same whenever the same recordings are read."""
    name = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big") >> 1 or 1


EXPORT = Export("perfetto", "a trace for ui.perfetto.dev and its trace processor", ".pftrace", write)
