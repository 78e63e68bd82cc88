"""The timeline of one boot: what happened when, lane by lane, and the axes that it is drawn on.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for the steps; xen/include/public/io/xenbus.h for the states of PV
devices; `dissectors.platform.texts` for the lines of the log that have a name. Times of two clocks are never laid on
one axis, and where there is no time there is order, which is a fact of its own::

    Item(lane="driver", kind="mark", name="mask 0x3", label="unplug mask 0x0003: IDE and SCSI disks, NICs", ...)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, Protocol

from dissectors.platform.registers import UNPLUG_BITS, in_words, meaning
from dissectors.platform.texts import read_text
from xptrace.access.signs import XENBUS_STATES
from xptrace.access.spaces import place
from xptrace.negotiation.course import RESET, Phase, course, symbol
from xptrace.negotiation.fingerprint import fingerprint
from xptrace.negotiation.story import Change, Moment, Place, Step, Story, comes_after
from xptrace.negotiation.verdict import Verdict, verdict

LANES: Final = {
    "driver": "what the driver did: the phases, and every step at the device's registers",
    "device": "the state of the negotiation, and what became of the device model and its PCI functions",
    "disks": "demands to unplug disks, PCI functions removed after them, and both ends of PV disks",
    "NICs": "demands to unplug NICs, PCI functions removed after them, and both ends of PV NICs",
    "other PV": "both ends of the other PV devices",
    "log": "what the guest wrote to the log port",
    "findings": "anomalies, where their first proof stands",
}
"""Every lane, in order, and what is in it."""
KEYS: Final = ("vm", "boot", "lane", "kind", "name", "begin_ns", "end_ns", "clock", "label", "severity", "source",
               "offset", "line")
"""The keys of an item, in order."""

LINE: Final = "line"
"""The name of a line of the log that no source of a driver or device explains, or that says nothing by itself."""
_PLAIN: Final = ("driver line", "gplpv line", "module", "suspend timer")
"""Kinds of `dissectors.platform.texts` that are one among many."""
_BLOCKS: Final = ("bugcheck", "suspend")
"""Kinds that come as blocks of lines, each kind of line beginning with this word."""
_DISKS: Final = sum(bit.value for bit in UNPLUG_BITS if "disk" in bit.name)
_NICS: Final = sum(bit.value for bit in UNPLUG_BITS if bit.name == "nics")
_PV_LANES: Final = {"vbd": "disks", "vif": "NICs"}
_BEGAN: Final = {"reset": "the machine was reset in place", "migration": "it came here by migration"}


class _Numbered(Protocol):
    @property
    def id(self) -> str: ...


class Remark(Protocol):
    """A finding, as far as a timeline looks at it."""

    @property
    def rule(self) -> _Numbered:
        """The rule, by its number."""

    @property
    def vm(self) -> str:
        """The VM."""

    @property
    def boot(self) -> int:
        """Its boot."""

    @property
    def severity(self) -> str:
        """How bad it is."""

    @property
    def sentence(self) -> str:
        """What it says of this case."""

    @property
    def evidence(self) -> tuple[Place, ...]:
        """The proof, first things first."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the timeline: a mark at one moment, or a bar from one to another.

    A bar whose `end` is missing lasts as long as the recording does, or until a moment that another clock tells.
    `track` keeps bars apart that would lie over each other: `phases`, `state`, `vbd/768 frontend`. `label` may hold
    text of the guest.
    """

    lane: str
    kind: Literal["bar", "mark"]
    name: str
    label: str
    begin: Moment
    end: Moment | None = None
    track: str = ""
    severity: str | None = None

    def row(self, story: Story) -> dict[str, Any]:
        """The keys of an item, in order."""
        return {
            "vm": story.vm, "boot": story.boot, "lane": self.lane, "kind": self.kind, "name": self.name,
            "begin_ns": self.begin.time_ns, "end_ns": self.end.time_ns if self.end else None,
            "clock": self.begin.clock, "label": self.label, "severity": self.severity,
            "source": self.begin.place.source, "offset": self.begin.place.offset, "line": self.begin.place.line,
        }


# -- axes


@dataclass(frozen=True, slots=True)
class Axis:
    """Moments that can be compared: those that one clock tells, or those without a time in one recording, by order.

    `clock` is missing where order counts; positions are then ranks, otherwise nanoseconds.
    """

    clock: str | None
    source: str | None
    begin: int
    end: int
    items: tuple[Item, ...]
    _ranks: Mapping[int, int]

    def at(self, moment: Moment) -> int:
        """The position of a moment of this axis."""
        return self._ranks[moment.place.offset] if moment.time_ns is None else moment.time_ns

    def span(self, item: Item) -> tuple[int, int]:
        """From where to where an item reaches; a mark, and a bar on which time went backwards, has no length."""
        begin = self.at(item.begin)
        if item.kind == "mark":
            return begin, begin
        return begin, self.end if item.end is None else max(begin, self.at(item.end))

    def tracks(self) -> dict[str, list[str]]:
        """The tracks of each lane that has items here, in the order of the lanes."""
        return {
            lane: list(dict.fromkeys(item.track for item in self.items if item.lane == lane and item.kind == "bar"))
            for lane in LANES if any(item.lane == lane for item in self.items)
        }

    def layers(self, track: str) -> list[list[Item]]:
        """The bars of a track in rows, so that none lies over another; as many rows as a picture has room for.

        Phases and states overlap where time went backwards.
        """
        rows: list[list[Item]] = []
        for bar in (item for item in self.items if item.kind == "bar" and item.track == track):
            begin = self.span(bar)[0]
            row = next((row for row in rows if self.span(row[-1])[1] <= begin), None)
            if row is not None:
                row.append(bar)
            elif len(rows) < _MOST_LAYERS:
                rows.append([bar])
        return rows

    def instants(self) -> dict[int, int]:
        """Every position at which anything begins or ends, and how much it matters that it is told from the next."""
        found: dict[int, int] = {self.begin: 1, self.end: 1}
        for item in self.items:
            weight = 3 if item.lane == "driver" else 0 if item.lane == "log" and item.name == LINE else 1
            for position in self.span(item):
                found[position] = max(found.get(position, 0), weight)
        return found


_MOST_LAYERS: Final = 4


def _key(moment: Moment) -> tuple[str | None, str | None]:
    """Moments with the same key can be compared."""
    return (None, moment.place.source) if moment.time_ns is None else (moment.clock or "", None)


def _axes(items: Sequence[Item], more: Iterable[Moment]) -> Iterator[Axis]:
    moments: dict[tuple[str | None, str | None], list[Moment]] = {}
    for moment in (*more, *(one for item in items for one in (item.begin, item.end) if one)):
        moments.setdefault(_key(moment), []).append(moment)
    for (clock, source), found in moments.items():
        here = tuple(item for item in items if _key(item.begin) == (clock, source))
        if not here:
            continue
        offsets = sorted({one.place.offset for one in found}) if clock is None else []
        ranks = {offset: rank for rank, offset in enumerate(offsets)}
        axis = Axis(clock, source, 0, 0, here, ranks)
        positions = [axis.at(one) for one in found]
        ordered = tuple(sorted(here, key=lambda item: axis.at(item.begin)))
        yield Axis(clock, source, min(positions), max(positions), ordered, ranks)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that a picture of one boot shows."""

    story: Story
    driver: str | None
    verdict: Verdict
    phases: tuple[Phase, ...]
    axes: tuple[Axis, ...]
    remarks: tuple[Remark, ...]
    """Findings about this boot, the worst first."""

    @property
    def items(self) -> tuple[Item, ...]:
        """Every item, axis by axis, in order."""
        return tuple(item for axis in self.axes for item in axis.items)

    @property
    def spans(self) -> list[tuple[str, int, int]]:
        """(clock, first, last) of each clock that tells of this boot."""
        return [(axis.clock, axis.begin, axis.end) for axis in self.axes if axis.clock is not None]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every item as a row."""
        return (item.row(self.story) for item in self.items)


def timeline(story: Story, remarks: Iterable[Remark] = ()) -> Timeline:
    """The timeline of a boot; of the findings, those that are about it."""
    walked = course(story)
    own = tuple(one for one in remarks if (one.vm, one.boot) == (story.vm, story.boot))
    items = [*_driver(story, walked.phases), *_device(story), *_functions(story), *_demands(story), *_pv(story),
             *_log(story)]
    items += _found(story, own, items)
    ends = [one for one in (story.first, story.last) if one is not None]
    items = [_comparable(item) for item in items]
    return Timeline(story, fingerprint(story).claim, verdict(story), walked.phases, tuple(_axes(items, ends)), own)


def _comparable(item: Item) -> Item:
    """The item, its end left out where another clock tells it than the one that tells its beginning."""
    if item.end is None or _key(item.begin) == _key(item.end):
        return item
    return Item(item.lane, item.kind, item.name, item.label, item.begin, None, item.track, item.severity)


# -- lanes

_SHORT: Final = {"protocol_version": "version", "product_number": "product", "build_number": "build"}


def short(step: Step) -> str:
    """A step in two words: `magic`, `version 1`, `mask 0x3`."""
    if step.mask is not None:
        return f"mask 0x{step.mask:x}" if step.register == "unplug_mask" else f"BAR0 mask 0x{step.mask:x}"
    if step.register == "magic":
        return {"magic": "magic", "blacklisted": "blacklisted"}.get(symbol(step) or "", "no magic")
    if step.register in _SHORT:
        value = "?" if step.value is None else hex(step.value) if step.value > 0xFFFF else str(step.value)
        return f"{_SHORT[step.register]} {value}"
    return step.register.replace("_", " ")


def _said(step: Step) -> str:
    what = f"{step.direction} {step.size} byte{'s' * (step.size > 1)}: " if step.register == "undefined" else ""
    doubt = "" if step.certainty == "observed" else " (inferred)"
    return f"{what}{meaning(step.space, step.offset, step.size, step.direction, step.value)}{doubt}"


def _driver(story: Story, phases: Iterable[Phase]) -> Iterator[Item]:
    for phase in phases:
        yield Item("driver", "bar", phase.name, f"phase {phase.name}", phase.begin, phase.end, "phases")
    for step in (*story.steps, *story.bar1):
        yield Item("driver", "mark", short(step), _said(step), step.at)


def _device(story: Story) -> Iterator[Item]:
    """The states of the course, one bar each; the first one only where the recording shows how the boot began."""
    states: list[tuple[str, Moment]] = [(RESET, story.first)] if story.began and story.first else []
    for visit in course(story).visits:
        if not states or states[-1][0] != visit.state:
            states.append((visit.state, visit.step.at))
    if len(states) > 1 or story.begun:
        for (state, begin), after in zip(states, [*states[1:], None], strict=False):
            yield Item("device", "bar", state, f"state {state}", begin, after[1] if after else None, "state")
    if story.began in _BEGAN and story.first:
        yield Item("device", "mark", story.began, _BEGAN[story.began], story.first)
    for event in story.life:
        at = Moment.of(event)
        yield Item("device", "mark", event.said, f"{event.subject}: {event.said}", at)
    for seen in story.functions.values():
        known = "" if seen.device_id is None else f", PCI device id 0x{seen.device_id:04x}"
        said = f"config space of {place(seen.number)} first read ({seen.kind}{known})"
        yield Item("device", "mark", "config", said, seen.at)


def _functions(story: Story) -> Iterator[Item]:
    """PCI functions that came and went.

    One that goes is counted to the disks or NICs if the last mask asked for them alone: that is order, not cause, and
    said as such.
    """
    masks = story.masks[::-1]
    for event in story.hotplug:
        at = Moment.of(event)
        if event.said != "unmapped":
            yield Item("device", "mark", f"function {event.said}", f"PCI function {event.subject} {event.said}", at)
            continue
        mask = next((step.mask or 0 for step in masks if comes_after(at, step.at)), 0)
        lane = "disks" if mask and not mask & _NICS else "NICs" if mask == _NICS else "device"
        after = f", after the mask 0x{mask:x}" if mask else ""
        yield Item(lane, "mark", f"{event.subject} gone", f"PCI function {event.subject} unmapped{after}", at)


def _demands(story: Story) -> Iterator[Item]:
    for step in story.masks:
        for lane, bits in (("disks", _DISKS), ("NICs", _NICS)):
            mask = (step.mask or 0) & bits
            if mask:
                yield Item(lane, "mark", f"mask 0x{mask:x}", f"unplug asked for: {in_words(mask)}", step.at)


def _pv(story: Story) -> Iterator[Item]:
    ends: dict[tuple[str, str], list[Change]] = {}
    for change in story.changes:
        ends.setdefault((change.device, change.end), []).append(change)
    for (device, end), changes in sorted(ends.items()):
        lane = _PV_LANES.get(changes[0].kind, "other PV")
        for change, after in zip(changes, [*changes[1:], None], strict=True):
            word = XENBUS_STATES[change.state] if 0 <= change.state < len(XENBUS_STATES) else str(change.state)
            yield Item(lane, "bar", word, f"{device} {end} {word}", change.at, after.at if after else None,
                       f"{device} {end}")


def _log(story: Story) -> Iterator[Item]:
    for line in story.lines:
        text = read_text(line.text)
        kind = LINE if text is None or text.kind in _PLAIN else text.kind
        name = next((block for block in _BLOCKS if kind.startswith(block)), kind)
        yield Item("log", "mark", name, line.text, line.at)


def _found(story: Story, remarks: Iterable[Remark], items: Iterable[Item]) -> Iterator[Item]:
    """Findings, at the moment of their first proof; at the record before it where that one has no moment of its own."""
    known: dict[str, dict[int, Moment]] = {}
    for moment in (story.first, story.last, *(item.begin for item in items)):
        if moment is not None:
            known.setdefault(moment.place.source, {})[moment.place.offset] = moment
    for remark in remarks:
        at = _moment_of(remark.evidence[0], known) if remark.evidence else story.first
        if at is not None or (at := story.first) is not None:
            yield Item("findings", "mark", remark.rule.id, remark.sentence, at, severity=remark.severity)


def _moment_of(place: Place, known: Mapping[str, Mapping[int, Moment]]) -> Moment | None:
    moments = known.get(place.source, {})
    offsets = sorted(moments)
    before = bisect_right(offsets, place.offset)
    return moments[offsets[before - 1]] if before else None


# -- where on an axis


@dataclass(frozen=True, slots=True)
class Stretch:
    """One part of an axis that is drawn to one scale: from where to where, and the columns that it takes."""

    begin: int
    end: int
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis laid out on columns: stretches, each to its own scale, with breaks between them that hide idle time."""

    stretches: tuple[Stretch, ...]

    def column(self, position: int) -> float:
        """Where a position is drawn; one in a break lies between its two stretches."""
        at = bisect_right([one.begin for one in self.stretches], position) - 1
        one = self.stretches[max(at, 0)]
        if position <= one.end or at + 1 >= len(self.stretches):
            return _between(position, one.begin, one.end, one.left, one.right)
        return _between(position, one.end, self.stretches[at + 1].begin, one.right, self.stretches[at + 1].left)

    @property
    def breaks(self) -> list[tuple[Stretch, Stretch]]:
        """The stretches before and after each break."""
        return list(pairwise(self.stretches))

    @property
    def hidden(self) -> int:
        """How much of the axis is left out by the breaks."""
        return sum(after.begin - before.end for before, after in self.breaks)


def _between(position: int, begin: int, end: int, left: float, right: float) -> float:
    if end == begin:
        return left
    return left + (right - left) * min(max((position - begin) / (end - begin), 0.0), 1.0)


_MOST_INSTANTS: Final = 240
_WORTH: Final = 2.0
"""What a break must save: decades by which gaps are too narrow to see, weighted, over all gaps."""


def lay_out(axis: Axis, columns: float, *, pause: float = 3, least: float = 2) -> Scale:
    """Lay an axis out on so many columns.

    Where short steps and long waits lie side by side, the longest waits are cut out, each for `pause` columns, as long
    as that makes more of the steps distinguishable; a stretch is given room by how much happens in it.
    """
    weights = _thinned(axis.instants())
    instants = sorted(weights)
    cuts: set[int] = set()
    if axis.clock is not None:
        most = int(columns // 14)
        cost = _cost(_parts(instants, cuts), weights, columns, pause, least)
        while len(cuts) < most:
            tried = [(_cost(_parts(instants, cuts | {cut}), weights, columns, pause, least), cut)
                     for cut in _candidates(instants, cuts)]
            best = min(tried, default=(cost, 0))
            if cost - best[0] < _WORTH:
                break
            cost = best[0]
            cuts.add(best[1])
    parts = _parts(instants, cuts)
    stretches, left = [], 0.0
    for part, width in zip(parts, _widths(parts, weights, columns, pause, least), strict=True):
        stretches.append(Stretch(part[0], part[-1], left, left + width))
        left += width + pause
    return Scale(tuple(stretches))


def _thinned(instants: Mapping[int, int]) -> Mapping[int, int]:
    """The instants that matter, and of too many a fair choice; the first and the last always."""
    order = sorted(instants)
    chosen = [one for one in order[1:-1] if instants[one]]
    step = max(1, math.ceil(len(chosen) / _MOST_INSTANTS))
    return {one: max(instants[one], 1) for one in (order[0], *chosen[::step], order[-1])}


def _parts(instants: Sequence[int], cuts: Iterable[int]) -> list[Sequence[int]]:
    """The instants, cut before each of these indexes."""
    edges = [0, *sorted(cuts), len(instants)]
    return [instants[begin:end] for begin, end in pairwise(edges)]


def _candidates(instants: Sequence[int], cuts: Iterable[int]) -> Iterator[int]:
    """The two longest waits of each part, as indexes of the instants after them."""
    edges = [0, *sorted(cuts), len(instants)]
    for begin, end in pairwise(edges):
        yield from sorted(range(begin + 1, end), key=lambda at: instants[at - 1] - instants[at])[:2]


def _widths(
    parts: Sequence[Sequence[int]], weights: Mapping[int, int], columns: float, pause: float, least: float
) -> list[float]:
    room = columns - pause * (len(parts) - 1) - least * len(parts)
    shares = [sum(weights[one] for one in part[1:]) for part in parts]
    total = sum(shares) or 1
    return [least + room * share / total for share in shares] if len(parts) > 1 else [columns]


def _cost(
    parts: Sequence[Sequence[int]], weights: Mapping[int, int], columns: float, pause: float, least: float
) -> float:
    cost = 0.0
    for part, width in zip(parts, _widths(parts, weights, columns, pause, least), strict=True):
        if len(part) > 1:
            scale = width / (part[-1] - part[0]) / 2  # two columns tell one instant from the next
            cost -= sum(weights[after] * min(0.0, math.log10((after - one) * scale)) for one, after in pairwise(part))
    return cost


# -- many boots


@dataclass(frozen=True, slots=True)
class Strip:
    """One boot as a line among many: its phases, how it ended, and the worst finding."""

    story: Story
    driver: str | None
    verdict: Verdict
    phases: tuple[Phase, ...]
    worst: Remark | None

    @property
    def spans(self) -> list[tuple[str, int, int]]:
        """(phase, from, to) in nanoseconds since the first step of the handshake; none where no clock tells."""
        found = []
        for phase in self.phases:
            begin = self.story.nanoseconds(self.phases[0].begin, phase.begin)
            end = self.story.nanoseconds(self.phases[0].begin, phase.end)
            if begin is not None and end is not None:
                found.append((phase.name, max(begin, 0), max(begin, end, 0)))
        return found

    @property
    def probed(self) -> Moment | None:
        """When the handshake began; where there is none, what the recording shows first."""
        steps = self.story.handshake
        return steps[0].at if steps else self.story.first


def strips(stories: Iterable[Story], remarks: Sequence[Remark], severities: Sequence[str]) -> list[Strip]:
    """Every boot as a strip, those that ended worst first, then by VM and boot. `severities` are the worst first."""
    worst: dict[tuple[str, int], Remark] = {}
    for remark in sorted(remarks, key=lambda one: severities.index(one.severity)):
        worst.setdefault((remark.vm, remark.boot), remark)
    found = [
        Strip(story, fingerprint(story).claim, verdict(story), course(story).phases, worst.get((story.vm, story.boot)))
        for story in stories
    ]
    return sorted(found, key=lambda one: one.verdict.rank)
