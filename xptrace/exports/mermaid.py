"""Mermaid: one negotiation as a sequence diagram, for a ticket.

Law: mermaid.js.org, "Sequence diagrams" for the statements and the entity codes (`#59;`), and Mermaid's grammar of them
(diagrams/sequence/parser/sequenceDiagram.jison) for where a text ends. Reads are questions and answers, writes are
told; the phases are blocks, findings are notes where their first proof stands::

    sequenceDiagram
        participant driver
        participant device
        rect rgb(235, 244, 255)
        Note over driver,device: probe, 42 µs
        driver->>device: read magic
        device-->>driver: magic 0x49d2: Xen platform device, not blacklisted
        end

One file is one diagram, since that is what every reader takes: of several negotiations the one that ended worst, unless
`vm` and `boot` choose. It stays below the 50,000 characters that Mermaid reads: what is left out is counted. Order is
that of the clock that tells, or of the recording where none does; where another clock goes on, a note says so.

Every text is a stranger's. All that is no letter, digit or one of a few harmless signs is an entity code: nothing of it
ends a line, begins a comment, a directive or a fence, or is a tag where the diagram is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from textwrap import wrap
from typing import IO, TYPE_CHECKING, Final

from dissectors.clock import CLOCKS
from dissectors.platform.registers import UNDEFINED, meaning
from xptrace.access.signs import XENBUS_STATES
from xptrace.errors import XptraceError
from xptrace.exports.export import Export
from xptrace.negotiation.course import Phase, course
from xptrace.negotiation.fingerprint import fingerprint
from xptrace.negotiation.story import Change, Line, Moment, Place, Step, Story
from xptrace.negotiation.summary import worst_first
from xptrace.negotiation.verdict import verdict
from xptrace.views.escape import printable
from xptrace.views.moment import duration

if TYPE_CHECKING:
    from xptrace.case import Case
    from xptrace.findings.assess import Finding

LONGEST: Final = 160
"""Characters of one text."""
WIDEST: Final = 60
"""Characters of a line of a note."""
MOST: Final = 45_000
"""Characters of a diagram, without its last lines; Mermaid reads 50,000 (maxTextSize)."""
MOST_TOGETHER: Final = 40
"""Accesses, states and lines that are shown of one phase, or between two."""
MOST_SPOKEN, MOST_FOUND = 12, 20
"""Lines of the guest's log, and findings, that are shown."""
COLOURS: Final = ("rgb(235, 244, 255)", "rgb(240, 250, 238)")
"""Of the phases, by turns."""
_BOTH: Final = "over driver,device"
_CODED: Final = re.compile(r"[^A-Za-z0-9 _.,/()=+':-]|:(?! )")
"""What is written as an entity code; a colon before anything but a space would be taken for a style."""


def code(text: str) -> str:
    """The text as Mermaid shows it and nobody runs it, cut where it is too long."""
    text = printable(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return _coded(text)


def note(where: str, text: str) -> str:
    """A note, broken into lines that leave the diagram its width."""
    text = printable(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f"Note {where}: {'<br/>'.join(map(_coded, wrap(text, WIDEST) or ['-']))}"


def _coded(text: str) -> str:
    return _CODED.sub(lambda match: f"#{ord(match[0])};", text)


# -- what is told


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened, and the lines that show it; equal neighbours are shown once."""

    at: Moment
    lines: tuple[str, ...]
    spoken: bool = False


def _steps(steps: Iterable[Step]) -> Iterator[Told]:
    for step in steps:
        said = meaning(step.space, step.offset, step.size, step.direction, step.value)
        doubt = "" if step.certainty == "observed" else " (inferred)"
        if step.direction == "write":
            yield Told(step.at, (f"driver->>device: {code(said + doubt)}",))
            continue
        asked = step.register.replace("_", " ")
        if step.register == UNDEFINED:
            asked = f"{step.size} byte{'s' * (step.size > 1)} at {step.space} 0x{step.offset:x}"
        answer = "answer not recorded" if step.value is None else said
        yield Told(step.at, (f"driver->>device: read {code(asked)}", f"device-->>driver: {code(answer + doubt)}"))


def _changes(changes: Iterable[Change]) -> Iterator[Told]:
    for change in changes:
        word = XENBUS_STATES[change.state] if 0 <= change.state < len(XENBUS_STATES) else str(change.state)
        way = "driver->>backend" if change.end == "frontend" else "backend-->>driver"
        yield Told(change.at, (f"{way}: {code(f'{change.device} {change.end} {word}')}",))


def _lines(lines: Iterable[Line]) -> Iterator[Told]:
    for line in lines:
        way = {"log": "log", "debug": "debug port", "kernel": "kernel"}[line.via]
        yield Told(line.at, (note("left of driver", f"{way}: {line.text}"),), spoken=True)


def _life(story: Story) -> Iterator[Told]:
    for event in (*story.life, *story.hotplug):
        if event.topic == "function" and event.said == "mapped":
            continue  # every function is, when the machine starts
        yield Told(Moment.of(event), (note("over device", f"{event.subject}: {event.said}"),))


def told(story: Story) -> list[list[Told]]:
    """Everything in order: a list for each clock, or for each recording where there is no time."""
    found = [*_steps(story.steps), *_changes(story.changes), *_lines(story.lines), *_life(story)]
    order = {source: number for number, source in enumerate(dict.fromkeys(one.at.place.source for one in found))}

    def place(one: Told) -> tuple[int, int, int]:
        return one.at.time_ns or 0, order[one.at.place.source], one.at.place.offset

    axes: dict[tuple[str | None, str | None], list[Told]] = {}
    for one in sorted(found, key=lambda one: (order[one.at.place.source], one.at.place.offset)):
        axes.setdefault(_axis(one.at), []).append(one)
    return [sorted(axis, key=place) for axis in axes.values()]


def _axis(at: Moment) -> tuple[str | None, str | None]:
    return (None, at.place.source) if at.time_ns is None else (at.clock, None)


# -- the diagram


def diagram(story: Story, findings: Sequence[Finding] = ()) -> Iterator[str]:
    """The lines of the diagram of one negotiation."""
    ended, driver = verdict(story), fingerprint(story)
    claim = driver.claim or "(not known)"
    yield "sequenceDiagram"
    yield f"    title {code(f'{story.id}: {ended.sentence}')}"
    yield f"    participant driver as {code(f'driver {claim}')}"
    yield "    participant device as platform device"
    if story.changes:
        yield "    participant backend as back ends"
    room = MOST
    body = list(_body(story, findings))
    for number, block in enumerate(body):
        size = sum(len(line) + 5 for line in block)
        if size > room:
            yield f"    {note(_BOTH, f'and {len(body) - number} more, not shown')}"
            return
        room -= size
        yield from (f"    {line}" for line in block)


def _body(story: Story, findings: Sequence[Finding]) -> Iterator[list[str]]:
    """The statements, in blocks that stay together: the beginning of a phase is never cut from its end."""
    notes, more = _notes(story, findings)
    spoken = 0
    for number, axis in enumerate(told(story)):
        if number:
            yield [note(_BOTH, _words(axis[0].at))]
        phases = _phases_of(axis, course(story).phases)
        for phase, group in groupby(zip(axis, phases, strict=True), key=itemgetter(1)):
            block: list[str] = []
            units = [list(same) for _, same in groupby((one for one, _ in group), key=lambda one: one.lines)]
            for at, same in enumerate(units):
                spoken += same[0].spoken
                shown = not same[0].spoken or spoken <= MOST_SPOKEN
                if shown and (at < MOST_TOGETHER // 2 or at >= len(units) - MOST_TOGETHER // 2):
                    block += _times(same[0].lines, len(same))
                elif at == MOST_TOGETHER // 2:
                    block.append(note(_BOTH, f"and {len(units) - MOST_TOGETHER} more, not shown"))
                for place in {one.at.place for one in same} & notes.keys():
                    block += notes.pop(place)
            yield from _framed(block, phase)
    if spoken > MOST_SPOKEN:
        yield [note("left of driver", f"and {spoken - MOST_SPOKEN} more lines of the log")]
    for rest in notes.values():
        yield from ([line] for line in rest)
    if more:
        yield [note(_BOTH, f"and {more} more findings")]


def _notes(story: Story, findings: Sequence[Finding]) -> tuple[dict[Place | None, list[str]], int]:
    """The worst findings as notes, by the place of their first proof; and how many more there are."""
    own = [one for one in findings if (one.vm, one.boot) == (story.vm, story.boot)]
    found: dict[Place | None, list[str]] = {}
    for one in own[:MOST_FOUND]:
        place = one.evidence[0] if one.evidence else None
        found.setdefault(place, []).append(
            note("right of device", f"{one.severity} {one.rule.id}: {one.sentence.removeprefix(f'{story.id}: ')}"))
    return found, max(len(own) - MOST_FOUND, 0)


def _words(at: Moment) -> str:
    if at.clock is None:
        return f"without a time, in order: {at.place.source}"
    return f"by {CLOCKS.get(at.clock, at.clock)}, which does not compare with the one before"


def _times(lines: tuple[str, ...], times: int) -> list[str]:
    return [*lines[:-1], f"{lines[-1]} ({times} times)"] if times > 1 else list(lines)


def _phases_of(axis: Sequence[Told], phases: Sequence[Phase]) -> list[tuple[int, Phase] | None]:
    """The phase that each belongs to: a step that ends one and begins the next to the one that it ends."""
    index = {one.at.place: number for number, one in reversed(list(enumerate(axis)))}
    found: list[tuple[int, Phase] | None] = [None] * len(axis)
    for number, phase in reversed(list(enumerate(phases))):
        begin, end = index.get(phase.begin.place), index.get(phase.end.place)
        if begin is not None and end is not None:
            found[begin : end + 1] = [(number, phase)] * max(end + 1 - begin, 0)
    return found


def _framed(block: list[str], phase: tuple[int, Phase] | None) -> Iterator[list[str]]:
    if phase is None:
        yield from ([line] for line in block)
        return
    number, what = phase
    took = "" if what.duration_ns is None else f", {duration(what.duration_ns)}"
    yield [f"rect {COLOURS[number % len(COLOURS)]}", note(_BOTH, what.name + took), *block, "end"]


# -- the export


def chosen(stories: Sequence[Story], vm: str | None = None, boot: int | None = None) -> Story:
    """Of the negotiations that `vm` and `boot` leave, the one that ended worst; XptraceError where there is none."""
    fits = [one for one in stories if one.begun and vm in (None, one.vm) and boot in (None, one.boot)]
    for story in worst_first(fits):
        return story
    there = ", ".join(printable(one.id) for one in stories if one.begun)
    raise XptraceError(f"there is no such negotiation; there are: {there}" if there else "no negotiation is recorded")


def write(case: Case, file: IO[bytes], *, vm: str | None = None, boot: int | None = None) -> None:
    """Write one negotiation as a diagram."""
    done = case.assessment
    story = chosen(done.stories, vm, boot)
    others = sum(1 for one in done.stories if one.begun) - 1
    lines = list(diagram(story, done.findings))
    if others and vm is None and boot is None:
        lines.insert(1, f"    %% the one of {others + 1} negotiations that ended worst")
    file.write("".join(f"{line}\n" for line in lines).encode())


EXPORT = Export("mermaid", "one negotiation as a sequence diagram, for a ticket", ".mmd", write, binary=False,
                chooses=True)
