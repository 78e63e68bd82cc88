"""The course of a negotiation: the states that it goes through, and the phases that it is made of.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc, with the variations that real drivers make of it: the BSDs go from the
probe to the mask at once; version 0 skips the naming; masks come split, repeated, or alone after a resume; Windows runs
the preamble without a mask on the first boot after its drivers were installed; SUSE's old drivers ask BAR0 alone. What
is not in the table changes no state, and is kept as irregular::

    reset -> probed -> versioned -> named -> built -> accepted -> unplugged -> running
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED
from xptrace.negotiation.story import Change, Moment, Step, Story

RESET, PROBED, REFUSED, NO_DEVICE = "reset", "probed", "blacklisted", "no-device"
VERSIONED, NAMED, BUILT, ACCEPTED = "versioned", "named", "built", "accepted"
UNPLUGGED, RUNNING = "unplugged", "running"

_TABLE: Final[dict[str, dict[str, str]]] = {
    RESET: {"magic": PROBED, "blacklisted": REFUSED, "other magic": NO_DEVICE, "legacy": UNPLUGGED},
    PROBED: {"version 0": ACCEPTED, "version": VERSIONED, "mask": UNPLUGGED, "index": PROBED, "magic": PROBED,
             "blacklisted": REFUSED, "other magic": NO_DEVICE, "legacy": UNPLUGGED},
    VERSIONED: {"product": NAMED, "magic": PROBED, "mask": UNPLUGGED, "blacklisted": REFUSED, "version": VERSIONED},
    NAMED: {"build": BUILT, "product": NAMED, "magic": PROBED},
    BUILT: {"magic": ACCEPTED, "blacklisted": REFUSED, "other magic": NO_DEVICE, "product": NAMED},
    ACCEPTED: {"mask": UNPLUGGED, "index": UNPLUGGED, "magic": PROBED, "blacklisted": REFUSED, "legacy": UNPLUGGED},
    UNPLUGGED: {"mask": UNPLUGGED, "index": UNPLUGGED, "magic": PROBED, "blacklisted": REFUSED, "legacy": UNPLUGGED},
    REFUSED: {"mask": UNPLUGGED, "blacklisted": REFUSED, "magic": PROBED, "version": REFUSED, "product": REFUSED,
              "build": BUILT},
    NO_DEVICE: {"magic": PROBED, "blacklisted": REFUSED, "other magic": NO_DEVICE, "legacy": UNPLUGGED},
}
"""State, what the guest does or is answered, and the state that this leads to."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One state of the negotiation, since the step that led to it."""

    state: str
    step: Step


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a negotiation, from one milestone to the next; a duration needs a clock that tells both."""

    name: str
    begin: Moment
    end: Moment

    @property
    def duration_ns(self) -> int | None:
        """How long it took, missing where no clock tells."""
        if self.begin.time_ns is None or self.end.time_ns is None or self.begin.clock != self.end.clock:
            return None
        return self.end.time_ns - self.begin.time_ns


PHASES: Final = {
    "probe": "from the first read of the magic to the protocol version",
    "naming": "from the version to the build number: the driver says who it is",
    "verdict": "from the build number to the second read of the magic: the host judges",
    "decision": "from the verdict, or the last step before it that there was, to the first mask",
    "unplug": "from the first mask to the last",
    "handover": "from the last mask to the first connected PV disk or NIC of every kind that is seen",
}
"""Every phase, in order, and what it reaches from and to."""


def symbol(step: Step) -> str | None:
    """What a step is to the table; None for one that is no part of a negotiation."""
    if step.register == "magic":
        return {MAGIC: "magic", MAGIC_BLACKLISTED: "blacklisted"}.get(step.value or 0, "other magic")
    if step.register == "protocol_version":
        return "version 0" if step.value == 0 else "version"
    if step.register == "unplug_mask":
        return "mask"
    if step.mask is not None:
        return "legacy"
    names = {"product_number": "product", "build_number": "build", "unplug_index": "index"}
    return names.get(step.register)


@dataclass(frozen=True, slots=True)
class Course:
    """The states in order, the steps that fitted none, and the phases."""

    visits: tuple[Visit, ...]
    irregular: tuple[tuple[str, Step], ...]
    """(state, step) of each step that its state has no place for."""
    phases: tuple[Phase, ...]

    @property
    def state(self) -> str:
        """The state at the end."""
        return self.visits[-1].state if self.visits else RESET

    def phase(self, name: str) -> Phase | None:
        """The phase of that name, missing where the negotiation has none."""
        return next((phase for phase in self.phases if phase.name == name), None)


def course(story: Story) -> Course:
    """The course of a boot's negotiation."""
    visits: list[Visit] = []
    irregular: list[tuple[str, Step]] = []
    state = RESET
    for step in story.steps:
        what = symbol(step)
        if what is None:
            continue
        after = _TABLE[state].get(what)
        if after is None:
            irregular.append((state, step))
            continue
        if after != state or what in ("mask", "index"):
            visits.append(Visit(after, step))
        state = after
    return Course(tuple(visits), tuple(irregular), tuple(_phases(story)))


def first_handshake(story: Story) -> list[Step]:
    """The steps of the first handshake: those up to its last mask, and before a probe that begins the next."""
    steps: list[Step] = []
    masked = False
    for step in story.handshake:
        if masked and step.register in ("magic", "protocol_version", "product_number", "build_number"):
            break
        masked = masked or step.mask is not None
        steps.append(step)
    return steps


def _phases(story: Story) -> Iterator[Phase]:
    steps = first_handshake(story)

    def first(register: str, after: Step | None = None) -> Step | None:
        past = steps[steps.index(after) + 1 :] if after else steps
        return next((step for step in past if step.register == register), None)

    probe = first("magic")
    version = first("protocol_version", probe)
    build = first("build_number", version or probe)
    verdict = first("magic", build) if build else None
    masks = [step for step in steps if step.mask is not None]
    yield from _phase("probe", probe, version)
    yield from _phase("naming", version, build)
    yield from _phase("verdict", build, verdict)
    if masks:
        before = steps[: steps.index(masks[0])]
        known = next((step for step in (verdict, build, version, probe) if step in before), None)
        yield from _phase("decision", known, masks[0])
        yield from _phase("unplug", masks[0], masks[-1])
        last = _last_connected(story, masks[-1])
        if last is not None:
            yield Phase("handover", masks[-1].at, last.at)


def _phase(name: str, begin: Step | None, end: Step | None) -> Iterator[Phase]:
    if begin is not None and end is not None:
        yield Phase(name, begin.at, end.at)


def _last_connected(story: Story, mask: Step) -> Change | None:
    """The first connection of the kind that connected last after a mask."""
    firsts = [found[0] for kind in ("vbd", "vif") if (found := story.connected(kind, mask.at))]
    return firsts[-1] if firsts else None
