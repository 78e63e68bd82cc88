"""Several recordings of the same accesses: which are the same, and how their clocks stand to each other.

Law: a guest does one thing after the other, so two recordings of it tell the same things in the same order, each with
what it missed left out; what is the same is the longest sequence that both have. A clock is a straight line over
another (offset and drift) as long as nobody sets it; how far the matches lie off that line is the residual::

    linux-default: qemu-trace.log (wall) and xentrace.bin (tsc): 8 of 8 and 6 of 6, offset 1795401471.8 s, drift -20 ppm

Nothing is merged by it: both recordings stay as they are, and the relation is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final

from dissectors.clock import DATES
from dissectors.platform.registers import LOG_REGISTERS
from xptrace.access.attribution import Vm
from xptrace.access.rows import Access, Entry, Event, Message

MOST: Final = 20_000
"""Sightings of one boot in one recording that are compared; a longer one is compared by its first so many."""
ROOM: Final = 128 << 20
"""Bytes that the sightings of all boots and recordings may take together."""
_SIGHTING: Final = 200
"""Bytes that a sighting takes, about."""
_WORDS: Final = 500
"""Bytes that it takes besides where it is like no other, without what is told, whose texts may be there twice."""
_SHORTEST_SPAN_NS: Final = 10**9
"""Matches closer together than this do not tell a drift."""

Key = tuple[object, ...]
Told = tuple[str, str, str] | tuple[str, int | None, int | None, str, str]
"""Of an event: topic, subject, what is said; of an access: direction, address, size, meaning, certainty."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing that a recording saw: what it is, so that another's sighting of it can be known again, when and where.

    `told` is what it means, some of which may be a stranger's.
    """

    key: Key
    time_ns: int | None
    clock: str | None
    told: Told
    offset: int
    line: int
    character: bool = False
    """Whether it is a character for the log, or several."""


@dataclass(slots=True)
class View:
    """One recording's sightings of one boot of a VM, in its order; `beyond` counts those that are not kept."""

    vm: str
    boot: int
    source: str
    sightings: list[Sighting] = field(default_factory=list)
    beyond: int = 0

    @property
    def clock(self) -> str | None:
        """The clock of its times, missing where it has none."""
        return next((one.clock for one in self.sightings if one.clock is not None), None)


@dataclass(frozen=True, slots=True)
class Line:
    """One clock over another: what the one shows is `origin_ns + offset_ns + (1 + drift) * (other - origin_ns)`.

    `residuals_ns` are how far each match lies off, in order. `drift` is missing where the matches do not tell it, and
    is then taken for none.
    """

    origin_ns: int
    offset_ns: int
    drift: float | None
    residuals_ns: tuple[int, ...]

    def translate(self, other_ns: int) -> int:
        """The time of the other clock as the one would have shown it."""
        passed = other_ns - self.origin_ns
        return self.origin_ns + self.offset_ns + passed + round(passed * (self.drift or 0))

    @property
    def worst_ns(self) -> int:
        """The largest residual, without its sign."""
        return max(map(abs, self.residuals_ns), default=0)

    @property
    def median_ns(self) -> int:
        """The median of the residuals without their signs."""
        ordered = sorted(map(abs, self.residuals_ns))
        return ordered[len(ordered) // 2] if ordered else 0


@dataclass(frozen=True, slots=True)
class Correlation:
    """Two views of one VM, what is the same in them, and how the other's clock stands to the one's.

    `line` is missing where no match has a time in both.
    """

    one: View
    other: View
    matches: tuple[tuple[int, int], ...]
    line: Line | None

    @property
    def kinds(self) -> set[object]:
        """The kinds of sightings that both recordings hold: what only one of them can see is no difference."""
        one, other = ({sighting.key[0] for sighting in view.sightings} for view in (self.one, self.other))
        return one & other

    def merged(self) -> Iterator[tuple[Sighting | None, Sighting | None]]:
        """The sightings of both in one order, those that are the same side by side."""
        at = behind = 0
        for left, right in (*self.matches, (len(self.one.sightings), len(self.other.sightings))):
            yield from self._between(self.one.sightings[at:left], self.other.sightings[behind:right])
            if left < len(self.one.sightings) and right < len(self.other.sightings):
                yield self.one.sightings[left], self.other.sightings[right]
            at, behind = left + 1, right + 1

    def _between(
        self, one: Sequence[Sighting], other: Sequence[Sighting]
    ) -> Iterator[tuple[Sighting | None, Sighting | None]]:
        """What stands between two matches: by time where the clocks are known, else the one's before the other's."""
        waiting = list(other)
        for sighting in one:
            while waiting and self.line is not None and self._before(waiting[0], sighting):
                yield None, waiting.pop(0)
            yield sighting, None
        for sighting in waiting:
            yield None, sighting

    def _before(self, other: Sighting, one: Sighting) -> bool:
        if self.line is None or other.time_ns is None or one.time_ns is None:
            return False
        return self.line.translate(other.time_ns) < one.time_ns


class Views:
    """Collects what each recording saw of each VM while the entries of a case pass by."""

    def __init__(self, vms: dict[str, Vm]) -> None:
        """`vms` tells which VM another recording's is; it may grow while the entries come in."""
        self._vms = vms
        self._views: dict[tuple[str, int, str], View] = {}
        self._size = 0
        self._keys: dict[Key, Key] = {}
        self._words: dict[Told, Told] = {}
        """Keys, and what is told: of each there is one, however often it is seen."""
        self.beyond = 0
        """Sightings that were not kept because there were so many of all recordings."""

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Hand the entries on, having taken what they tell."""
        for entry in entries:
            self.take(entry)
            yield entry

    def take(self, entry: Entry) -> None:
        """Take what one entry tells."""
        key = None if isinstance(entry, Message) else _key(entry)
        if key is None or isinstance(entry, Message):
            return
        vm = self._vms.get(entry.vm)
        name = entry.vm if vm is None else vm.of or vm.name
        source = entry.records[0].source
        view = self._views.get((name, entry.boot, source))
        if self._size >= ROOM:
            self.beyond += 1
            if view is not None:
                view.beyond += 1
            return
        if view is None:
            view = self._views[name, entry.boot, source] = View(name, entry.boot, source)
        if len(view.sightings) < MOST:
            view.sightings.append(self._sighting(key, entry))
        else:
            view.beyond += 1

    def _sighting(self, key: Key, entry: Access | Event) -> Sighting:
        """What is kept of an entry."""
        record, told = entry.records[0], _told(entry)
        self._size += _SIGHTING
        if key not in self._keys or told not in self._words:
            self._size += _WORDS + 2 * sum(len(part) for part in told if isinstance(part, str))
        key, told = self._keys.setdefault(key, key), self._words.setdefault(told, told)
        character = isinstance(entry, Access) and entry.register in LOG_REGISTERS
        return Sighting(key, entry.time_ns, entry.clock, told, record.offset, record.line, character)

    @property
    def limits(self) -> list[str]:
        """What is not compared for want of room."""
        if not self.beyond:
            return []
        return [f"{self.beyond} sightings are not compared: those before them take {ROOM >> 20} MiB"]

    def correlations(self) -> list[Correlation]:
        """Of each boot of each VM, the first recording beside each other one that saw any of the same.

        Two recordings that name no boot in common are taken for two of one if there are no others.
        """
        by_boot: dict[tuple[str, int], list[View]] = {}
        for view in self._views.values():
            by_boot.setdefault((view.vm, view.boot), []).append(view)
        found = [correlate(views[0], other) for views in by_boot.values() for other in views[1:]]
        if not any(len(views) > 1 for views in by_boot.values()) and len(self._views) == 2:
            found = [correlate(*self._views.values())]
        return [one for one in found if one.matches]


def _key(entry: Access | Event) -> Key | None:
    """What makes a sighting known again: place, direction and value; sizes and BAR bases are not told by all."""
    if isinstance(entry, Access):
        if entry.value is None or entry.offset is None or entry.space == "bar1":
            return None
        return entry.space, entry.offset, entry.direction, entry.value
    if entry.topic in ("store", "frontend", "backend"):
        record = entry.records[0]
        return ("node", record.text("path"), record.text("value")) if record.text("path") else None
    return None


def _told(entry: Access | Event) -> Told:
    if isinstance(entry, Event):
        return entry.topic, entry.subject, entry.said
    return entry.direction, entry.address, entry.size, entry.meaning, entry.certainty


def correlate(one: View, other: View) -> Correlation:
    """What is the same in two views, and how their clocks stand to each other."""
    left, right = [[sighting.key for sighting in view.sightings] for view in (one, other)]
    common = set(left) & set(right)
    at = [index for index, key in enumerate(left) if key in common]
    behind = [index for index, key in enumerate(right) if key in common]
    matcher = SequenceMatcher(None, [left[i] for i in at], [right[i] for i in behind], autojunk=False)
    matches = tuple(
        (at[block.a + step], behind[block.b + step])
        for block in matcher.get_matching_blocks() for step in range(block.size)
    )
    return Correlation(one, other, matches, _line([
        (mine, theirs)
        for left_at, right_at in matches
        if (mine := one.sightings[left_at].time_ns) is not None
        and (theirs := other.sightings[right_at].time_ns) is not None
    ], drifts=not {one.clock, other.clock} <= DATES))


def _line(times: list[tuple[int, int]], *, drifts: bool) -> Line | None:
    """The straight line of least squares through (one, other) times; computed about the first match, for precision.

    `drifts` says that the two may run at different rates: clocks of dates are kept by the same host, and often show
    whole seconds only.
    """
    if not times:
        return None
    origin = times[0][1]
    passed = [float(theirs - origin) for _, theirs in times]
    apart = [float(mine - theirs - (times[0][0] - origin)) for mine, theirs in times]
    middle, height = sum(passed) / len(times), sum(apart) / len(times)
    spread = sum((x - middle) ** 2 for x in passed)
    drift = None
    if drifts and len(times) > 2 and max(passed) - min(passed) >= _SHORTEST_SPAN_NS:
        drift = sum((x - middle) * (y - height) for x, y in zip(passed, apart, strict=True)) / spread
    slope = drift or 0.0
    lift = height - slope * middle
    residuals = tuple(round(y - lift - slope * x) for x, y in zip(passed, apart, strict=True))
    return Line(origin, times[0][0] - origin + round(lift), drift, residuals)
