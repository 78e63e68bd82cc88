"""What the guest said in one boot: the lines of its log as typed events, in order.

Law: `dissectors.platform.texts` for the texts; src/xen/bug_check.c of the Windows PV drivers for a crash, which writes
a block of lines, and src/xenbus/suspend.c for a suspend, which writes its last lines to the next device model. A block
is one event. All of it is the guest's word, or of somebody who may be the guest::

    Saying(kind="bugcheck", speaker="guest", fields={"name": "SYSTEM_SERVICE_EXCEPTION", "code": 0x3b, "closed": True})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dissectors.platform.kernel_texts import read_kernel_text
from dissectors.platform.texts import Speaker, Text, Value, read_text
from xptrace.negotiation.story import Line, Moment, Story, by_vm

Said = Value | tuple[str, ...]

MOST_MODULES: Final = 8
"""Modules of a crash's stack that are named, the innermost first."""
_PHASES: Final = {
    "suspend begin": "begin", "suspend shutdown": "shutdown", "suspend return": "return", "suspend early": "early",
    "suspend late": "late", "suspend end": "end",
}
PHASES: Final = tuple(_PHASES.values())
"""The phases of a suspend, in order; those from `return` on are written to the device model that takes over."""
_TICK_NS: Final = 100
_SIDES: Final = {"pre": "before", "post": "after"}


@dataclass(frozen=True, slots=True)
class Saying:
    """One thing that the guest said: its kind, who said it, what it holds, and the moments that prove it.

    The kinds are those of `dissectors.platform.texts`, except that a crash is one `bugcheck` and a suspend one
    `suspend`. Of a bugcheck: `code`, `name`, `parameters`, `lines`, `modules` of the stack, whether it was `begun` and
    `closed`. Of a suspend: `phases`, `status`, `cancelled`, `cpus` and the guest's clocks `before` and `after` it:
    `_time_ns` since 1970, `_ticks_ns` and `_counter_ns` since an origin of their own. What was not said is not there.
    """

    kind: str
    speaker: Speaker
    fields: Mapping[str, Said]
    moments: tuple[Moment, ...]

    @property
    def at(self) -> Moment:
        """When it was begun to be said."""
        return self.moments[0]

    @property
    def until(self) -> Moment:
        """When the last of it was said."""
        return self.moments[-1]

    def row(self, story: Story) -> dict[str, Any]:
        """The keys of a saying of that boot, in order."""
        return {
            "time_ns": self.at.time_ns, "clock": self.at.clock, "vm": story.vm, "boot": story.boot,
            "until_ns": self.until.time_ns, "said": self.kind, "speaker": self.speaker, "fields": dict(self.fields),
            "source": self.at.place.source, "offset": self.at.place.offset, "line": self.at.place.line,
        }

    def integer(self, name: str) -> int | None:
        """The number of that name, missing where it was not said."""
        value = self.fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool | None:
        """Whether what the name says is so, missing where it was not said."""
        value = self.fields.get(name)
        return value if isinstance(value, bool) else None

    def word(self, name: str) -> str | None:
        """The word of that name, missing where it was not said."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else None

    def words(self, name: str) -> tuple[str, ...]:
        """The words of that name, none where it was not said."""
        value = self.fields.get(name)
        return tuple(one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers of that name, none where it was not said."""
        value = self.fields.get(name)
        return tuple(one for one in value if isinstance(one, int)) if isinstance(value, tuple) else ()


@dataclass(slots=True)
class _Crash:
    """A crash block that is being read."""

    first: Moment
    begun: bool
    last: Moment
    fields: dict[str, Said] = field(default_factory=dict)
    stopped: Moment | None = None
    """Where the stop code stands."""
    lines: int = 0
    modules: dict[str, None] = field(default_factory=dict)
    closed: bool = False

    def take(self, text: Text, at: Moment) -> None:
        self.last = at
        self.lines += 1
        if text.kind == "bugcheck code" and self.stopped is None:
            self.stopped = at
            self.fields.update(text.fields)
        elif text.kind == "bugcheck end":
            self.closed = True
        module = text.word("module") if text.kind == "bugcheck frame" else None
        if module is not None and len(self.modules) < MOST_MODULES:
            self.modules.setdefault(module)

    def saying(self) -> Saying:
        fields: dict[str, Said] = {**self.fields, "lines": self.lines, "begun": self.begun, "closed": self.closed}
        if self.modules:
            fields["modules"] = tuple(self.modules)
        return Saying("bugcheck", "guest", fields, _each(self.first, self.stopped, self.last))


@dataclass(slots=True)
class _Suspend:
    """A suspend that is being read."""

    moments: dict[str, Moment] = field(default_factory=dict)
    """The first moment of each phase, and of the clocks before and after."""
    fields: dict[str, Said] = field(default_factory=dict)
    cpus: int = 0

    def take(self, text: Text, at: Moment) -> None:
        phase = _PHASES.get(text.kind)
        if phase is None:
            self._clock(text, at)
            return
        self.moments.setdefault(phase, at)
        status = text.integer("status")
        if status is not None and "status" not in self.fields:
            self.fields |= {"status": status, "cancelled": status != 0}
        self.cpus += phase == "early"

    def _clock(self, text: Text, at: Moment) -> None:
        side = _SIDES[text.word("side") or "pre"]
        self.moments.setdefault(side, at)
        value, rate = text.integer("value"), text.integer("rate")
        told: int | None = text.guest_time_ns
        name = f"{side}_time_ns"
        if text.word("clock") == "TickCount":
            told, name = (value * rate * _TICK_NS if value is not None and rate else None), f"{side}_ticks_ns"
        elif text.word("clock") == "PerformanceCounter":
            told, name = (value * 10**9 // rate if value is not None and rate else None), f"{side}_counter_ns"
        if told is not None:
            self.fields.setdefault(name, told)

    def saying(self) -> Saying:
        phases = tuple(phase for phase in self.moments if phase in PHASES)
        fields: dict[str, Said] = {"phases": phases, **self.fields}
        if self.cpus:
            fields["cpus"] = self.cpus
        return Saying("suspend", "guest", fields, _each(*self.moments.values()))


def _each(*moments: Moment | None) -> tuple[Moment, ...]:
    return tuple(dict.fromkeys(moment for moment in moments if moment is not None))


def texts(story: Story) -> Iterator[tuple[Text, Line]]:
    """Every line of a boot's log that is understood, with the line; of two that are glued, each."""
    for line in story.lines:
        text = read_kernel_text(line.text) if line.via == "kernel" else read_text(line.text)
        if text is not None:
            yield text, line
            glued = read_text(text.word("glued") or "") if text.kind == "throttled" else None
            if glued is not None:
                yield glued, line


def sayings(story: Story) -> list[Saying]:
    """What the guest said in one boot, in order; a block stands where it began."""
    found: list[Saying | _Crash | _Suspend] = []
    crash: _Crash | None = None
    suspend: _Suspend | None = None
    for text, line in texts(story):
        if text.kind.startswith("bugcheck "):
            if crash is None or text.kind == "bugcheck begin":
                crash = _Crash(line.at, text.kind == "bugcheck begin", line.at)
                found.append(crash)
            crash.take(text, line.at)
            crash = None if crash.closed else crash
        elif text.kind.startswith("suspend "):
            if suspend is None or text.kind == "suspend begin":
                suspend = _Suspend()
                found.append(suspend)
            suspend.take(text, line.at)
            suspend = None if text.kind == "suspend end" else suspend
        else:
            found.append(Saying(text.kind, text.speaker, _of(text), (line.at,)))
        if text.kind in ("unplug preamble", "suspend begin"):  # a guest that goes on did not write this in its crash
            crash = None
    return [one if isinstance(one, Saying) else one.saying() for one in found]


def _of(text: Text) -> dict[str, Said]:
    around = {"module": text.module, "function": text.function, "guest_time_ns": text.guest_time_ns}
    return {**text.fields, **{name: value for name, value in around.items() if value is not None}}


def suspends(stories: Sequence[Story]) -> list[Saying]:
    """Every suspend of these boots, as one event also where it ends in the device model that took the guest over."""
    found: list[Saying] = []
    for boots in by_vm(stories).values():
        left: tuple[int, Saying] | None = None
        for story in boots:
            parts = [one for one in sayings(story) if one.kind == "suspend"]
            for part in parts:
                if left is not None and left[0] == story.boot - 1 and part is parts[0] and _goes_on(left[1], part):
                    found[-1] = _joined(left[1], part)
                else:
                    found.append(part)
            left = (story.boot, parts[-1]) if parts else None
    return found


def _goes_on(one: Saying, other: Saying) -> bool:
    """Whether a suspend that broke off is the one of which the next boot tells the rest."""
    return "shutdown" in one.words("phases") and not {"return", "end"} & set(one.words("phases")) and not (
        {"begin", "shutdown"} & set(other.words("phases"))
    )


def _joined(one: Saying, other: Saying) -> Saying:
    fields = {**one.fields, **other.fields, "phases": (*one.words("phases"), *other.words("phases"))}
    return Saying(one.kind, one.speaker, fields, (*one.moments, *other.moments))
