"""The contract of a rule: what it declares of itself, what it is given, what it gives back.

A rule is declared once, as a decorated function: its docstring says why the anomaly matters, its parameters what it
rests on and which evidence it needs. It looks at one boot, and yields a `Hit` for each time that it finds what it is
for. A recording that does not hold what a rule needs makes it not assessable, which is not the same as fine::

    @rule("A22", severity="low", title="a mask is written again", law="hvm-emulated-unplug.pandoc, step 6",
          needs={"ports"}, advice="nothing: unplugging twice does nothing more")
    def repeated(story: Story, case: Context) -> Iterator[Hit]: ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from xptrace.model.drivers import Recognised, recognise
from xptrace.model.inventory import Inventory
from xptrace.model.profile import Profile
from xptrace.negotiation.story import Evidence, Moment, Place, Story, by_vm, comes_after
from xptrace.negotiation.verdict import PATIENCE_NS

Severity = Literal["high", "medium", "low", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("high", "medium", "low", "info")
"""The worst first."""
Certainty = Literal["observed", "derived", "assumed"]
"""`observed`: the recording shows it. `derived`: it follows from what it shows. `assumed`: on more than that."""


Need = Evidence | tuple[Evidence, ...]
"""Evidence that a rule cannot do without, or several of which it needs one."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One time that a rule found what it is for: the sentence for this very case, and the proof, first things first.

    `severity` is given where this case is worse or milder than the rule's own.
    """

    sentence: str
    evidence: tuple[Place, ...]
    certainty: Certainty = "observed"
    severity: Severity | None = None


@dataclass(slots=True)
class Context:
    """What a rule may know beside the boot that it looks at.

    `devices` are the profiles that explain the recording of the VM (one that nothing speaks against); it is empty where
    none was fitted. `patience_ns` is how long a frontend may take. `inventory` are the emulated devices that every VM
    has, where the user gave them.
    """

    stories: Sequence[Story]
    devices: Mapping[str, Collection[Profile]] = field(default_factory=dict)
    patience_ns: int = PATIENCE_NS
    inventory: Inventory = ()
    _drivers: dict[str, Recognised | None] = field(default_factory=dict)
    _boots: dict[str, list[Story]] = field(default_factory=dict)

    def boots(self, story: Story) -> Sequence[Story]:
        """Every boot of the same VM, in order."""
        if not self._boots:
            self._boots.update(by_vm(self.stories))
        return self._boots.get(story.vm, ())

    def before(self, story: Story) -> Story | None:
        """The boot of the same VM before this one, where the recordings hold it."""
        return next((one for one in reversed(self.boots(story)) if one.boot < story.boot), None)

    def after(self, story: Story) -> Story | None:
        """The boot of the same VM after this one, where the recordings hold it."""
        return next((one for one in self.boots(story) if one.boot > story.boot), None)

    def goes_on(self, story: Story, after: Moment) -> bool:
        """Whether the recording shows anything of the VM after a moment; else, what is missing may be unrecorded."""
        return self.after(story) is not None or (story.last is not None and comes_after(story.last, after))

    def reads_recorded(self, story: Story) -> bool:
        """Whether reads of the ports are recorded of this VM at all: a trace of writes alone shows no probe."""
        return any(boot.reads for boot in self.boots(story))

    def driver(self, story: Story) -> Recognised | None:
        """The driver model that explains most of this boot's steps, or None where no model explains any."""
        if story.id not in self._drivers:
            self._drivers[story.id] = next(iter(recognise(story.played)), None)
        return self._drivers[story.id]

    def device(self, story: Story, holds: Callable[[Profile], bool]) -> bool | None:
        """Whether the device of this VM has a property: True or False where all that it may be agree, else None."""
        answers = {holds(profile) for profile in self.devices.get(story.vm, ())}
        return answers.pop() if len(answers) == 1 else None


Check = Callable[[Story, Context], Iterator[Hit]]


@dataclass(frozen=True)
class Rule:
    """One rule: its number (A01 to A52, or a user's own), what it is for, what it rests on, and the check itself.

    `needs` is the evidence without which it cannot be assessed; of several in a tuple, any will do.
    """

    id: str
    severity: Severity
    title: str
    law: str
    advice: str
    needs: frozenset[Need]
    check: Check

    def lacks(self, evidence: Collection[Evidence]) -> tuple[str, ...]:
        """What this rule needs and has not, in words."""
        alternatives = (need if isinstance(need, tuple) else (need,) for need in self.needs)
        return tuple(sorted(" or ".join(any_of) for any_of in alternatives if not set(any_of) & set(evidence)))

    @cached_property
    def why(self) -> str:
        """Why it matters: the docstring of the check, as one paragraph."""
        return " ".join((self.check.__doc__ or "").split())


RULES: Final[dict[str, Rule]] = {}
"""Every rule of our own by its number; users' rules come in by the same door (`xptrace.findings.door`)."""


def rule(
    number: str, *, severity: Severity, title: str, law: str, advice: str, needs: Collection[Need] = (),
    into: dict[str, Rule] | None = None,
) -> Callable[[Check], Check]:
    """Declare a rule; raises ValueError where its number is taken, or its check has no docstring."""
    book = RULES if into is None else into

    def enter(check: Check) -> Check:
        if number in book:
            raise ValueError(f"there is a rule {number} already: {book[number].title}")
        if not check.__doc__:
            raise ValueError(f"{number}: a check must say in its docstring why the anomaly matters")
        book[number] = Rule(number, severity, title, law, advice, frozenset(needs), check)
        return check

    return enter


def places(*moments: Moment | None) -> tuple[Place, ...]:
    """The places of these moments, each once, in the order given; missing ones are left out."""
    return tuple(dict.fromkeys(moment.place for moment in moments if moment is not None))
