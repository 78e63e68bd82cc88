"""Findings for people: worst first, each with its sentence, why it matters, what to do, and the bytes that prove it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from xptrace.findings.assess import Assessment, Finding, Unassessed
from xptrace.findings.rule import SEVERITIES
from xptrace.views.escape import paint, printable

_COLOURS: Final = {"high": "1;31", "medium": "1;33", "low": "36", "info": "2"}


def finding_lines(found: Finding, *, width: int = 100, colour: bool = False) -> Iterator[str]:
    """One finding: the sentence first, then the reason, the advice, the law and the proof."""
    rule = found.rule
    head = f"{found.severity.upper():<7}{rule.id:<4} "
    body = textwrap.wrap(printable(found.sentence), max(40, width - len(head))) or [""]
    yield paint(colour, _COLOURS[found.severity], head) + body[0]
    for line in body[1:]:
        yield " " * len(head) + line
    sure = "" if found.certainty == "observed" else f" [{found.certainty}]"
    for name, text in (("why", rule.why), ("do", rule.advice), ("law", rule.law + sure)):
        for at, line in enumerate(textwrap.wrap(printable(text), max(40, width - 18))):
            yield f"{'':<12}{name if at == 0 else '':<5} {line}"
    for at, place in enumerate(found.evidence):
        name = "proof" if at == 0 else ""
        yield f"{'':<12}{name:<5} {printable(place.source)}:{place.line} @{place.offset}"


def assessment_lines(
    done: Assessment, *, width: int = 100, colour: bool = False, unassessed: bool = False
) -> Iterator[str]:
    """Every finding, then the account: how many of each severity, and what could not be assessed."""
    for found in done.findings:
        yield from finding_lines(found, width=width, colour=colour)
    counted = Counter(found.severity for found in done.findings)
    said = ", ".join(f"{counted[severity]} {severity}" for severity in SEVERITIES if counted[severity])
    boots, vms = len(done.stories), len({story.vm for story in done.stories})
    yield f"{said or 'no findings'} in {boots} boot{'s' * (boots != 1)} of {vms} VM{'s' * (vms != 1)}"
    yield from _unassessed(done.unassessed, full=unassessed)


def _unassessed(left: Sequence[Unassessed], *, full: bool) -> Iterator[str]:
    if not left:
        return
    rules = sorted({one.rule.id for one in left})
    if not full:
        yield f"{len(rules)} rules were not assessable for some boot, for want of evidence (--unassessed tells which)"
        return
    for number in rules:
        ones = [one for one in left if one.rule.id == number]
        boots = sorted({f"{one.vm}#{one.boot}" for one in ones})
        wanted = ", ".join(sorted({need for one in ones for need in one.missing}))
        shown = ", ".join(map(printable, boots[:6])) + (f" and {len(boots) - 6} more" if len(boots) > 6 else "")
        yield f"not assessable  {number:<4} {ones[0].rule.title}: needs {wanted} ({shown})"
