"""Every rule over every boot: what was found, worst first, and what could not be assessed.

Law: `xptrace.findings.rule`. A rule that needs evidence which the recording of a boot does not hold is not run on it,
and is reported as not assessable; a rule that fails is a defect of ours, and is not hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final

from xptrace.access.decode import Decoder
from xptrace.access.rows import Entry, Event
from xptrace.findings import rules
from xptrace.findings.rule import RULES, SEVERITIES, Certainty, Context, Hit, Rule, Severity
from xptrace.model.inventory import Inventory
from xptrace.model.profile import Profile
from xptrace.negotiation.story import Place, Stories, Story
from xptrace.negotiation.verdict import PATIENCE_NS
from xptrace.replay.fit import LOOKED_AT, Fit

KEYS: Final = ("rule", "severity", "vm", "boot", "sentence", "advice", "law", "certainty", "evidence")
"""The keys of a finding, in order."""


MOST_FITS: Final = 2000
"""VMs of which it is found out which device model they have, 32 kB each; of others, rules that ask are not sure."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One anomaly in one boot, with everything that a report needs to say of it."""

    rule: Rule
    vm: str
    boot: int
    severity: Severity
    sentence: str
    certainty: Certainty
    evidence: tuple[Place, ...]

    def row(self) -> dict[str, Any]:
        """The keys of a finding, in order."""
        return {
            "rule": self.rule.id, "severity": self.severity, "vm": self.vm, "boot": self.boot,
            "sentence": self.sentence, "advice": self.rule.advice, "law": self.rule.law, "certainty": self.certainty,
            "evidence": [
                {"source": place.source, "offset": place.offset, "line": place.line} for place in self.evidence
            ],
        }


@dataclass(frozen=True, slots=True)
class Unassessed:
    """A rule that could not be assessed for a boot, and the evidence that was missing."""

    rule: Rule
    vm: str
    boot: int
    missing: tuple[str, ...]


@dataclass(slots=True)
class Assessment:
    """What came out of a case: stories, findings (worst first), and what could not be assessed."""

    stories: list[Story]
    context: Context
    findings: list[Finding] = field(default_factory=list)
    unassessed: list[Unassessed] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """What is not told for want of room."""

    @property
    def worst(self) -> Severity | None:
        """The worst severity that was found."""
        return self.findings[0].severity if self.findings else None


def all_rules() -> Mapping[str, Rule]:
    """Every rule of our own; the modules that declare them are read now."""
    for module in iter_modules(rules.__path__):
        import_module(f"{rules.__name__}.{module.name}")
    return dict(sorted(RULES.items()))


def examine(
    decoder: Decoder, *, book: Mapping[str, Rule] | None = None, patience_ns: int = PATIENCE_NS,
    progress: Callable[[int], None] | None = None, vms: Iterable[str] = (), inventory: Inventory = (),
) -> Assessment:
    """Read everything, and run every rule over every boot. `vms` chooses; by default all are examined.

    `inventory` are the emulated devices that every VM has; some rules cannot be assessed without.
    """
    watched, wanted = Watched(decoder), set(vms)
    for entry in _chosen(decoder.entries(progress, brief=True, specimens=LOOKED_AT), wanted):
        watched.take(entry)
    return watched.assess(all_rules() if book is None else book, patience_ns=patience_ns, inventory=inventory)


class Watched:
    """What is kept of the entries of a case until they are assessed: the facts of each boot, and each VM's device."""

    def __init__(self, decoder: Decoder) -> None:
        """Nothing has been seen yet."""
        self._vms, self._catalogue = decoder.vms, decoder.catalogue
        self._stories, self._fits = Stories(decoder.vms), dict[str, Fit]()
        self._more = False
        """Whether there are VMs whose devices are not asked for."""

    def take(self, entry: Entry) -> None:
        """Take what one entry tells."""
        self._stories.take(entry)
        if isinstance(entry, Event):
            return
        fit = self._fits.get(entry.vm)
        if fit is None:
            if len(self._fits) >= MOST_FITS:
                self._more = True
                return
            fit = self._fits[entry.vm] = Fit(self._vms, self._catalogue)
        fit.take((entry,))

    def assess(
        self, book: Mapping[str, Rule], *, patience_ns: int = PATIENCE_NS, inventory: Inventory = ()
    ) -> Assessment:
        """Run these rules over every boot that has been seen until now."""
        devices: dict[str, list[Profile]] = {
            name: [one.profile for one in fit.candidates() if one.explains] for name, fit in self._fits.items()
        }
        done = assess(Context(self._stories.found, devices, patience_ns, inventory), book)
        done.limits += self.limits
        return done

    @property
    def limits(self) -> list[str]:
        """What is not told for want of room."""
        more = f"of VMs after the first {MOST_FITS}, it is not found out which device model they have"
        return [*self._stories.limits, more] if self._more else self._stories.limits


def _chosen(entries: Iterable[Entry], vms: set[str]) -> Iterator[Entry]:
    return (entry for entry in entries if not vms or entry.vm in vms)


def assess(context: Context, book: Mapping[str, Rule]) -> Assessment:
    """Run these rules over the boots of a context."""
    done = Assessment(list(context.stories), context)
    for story in context.stories:
        for one in book.values():
            missing = one.lacks(story.evidence | ({"inventory"} if context.inventory else set()))
            if missing:
                done.unassessed.append(Unassessed(one, story.vm, story.boot, missing))
                continue
            done.findings += [_finding(one, story, hit) for hit in one.check(story, context)]
    done.findings.sort(key=lambda found: (SEVERITIES.index(found.severity), found.vm, found.boot, found.rule.id))
    return done


def _finding(one: Rule, story: Story, hit: Hit) -> Finding:
    return Finding(one, story.vm, story.boot, hit.severity or one.severity, hit.sentence, hit.certainty, hit.evidence)
