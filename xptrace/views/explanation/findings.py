"""Findings explained: each rule as it declares itself, and what a verdict's code stands for.

Law: the rules of `xptrace.findings.rules`, `xptrace.negotiation.verdict` for the codes, `xptrace.negotiation.course`
for the phases::

    rule A13: accepted, nothing unplugged, and PV disks connected
"""

from __future__ import annotations

from xptrace.findings.assess import all_rules
from xptrace.findings.rule import Rule
from xptrace.negotiation.course import PHASES
from xptrace.negotiation.verdict import CODES
from xptrace.views.explanation.page import Kind, Page


def _rule(one: Rule) -> Page:
    return Page("rule", one.id, one.title, {
        "severity": one.severity,
        "why": one.why,
        "advice": one.advice,
        "law": one.law,
        "needs": one.lacks(()),
    })  # fmt: skip


def _rules(word: str) -> list[Page]:
    return [_rule(one) for number, one in all_rules().items() if number.lower() == word]


def _codes(word: str) -> list[Page]:
    if word not in CODES:
        return []
    rank = list(CODES).index(word) + 1
    facts = {"rank": f"{rank} of {len(CODES)}, the worst first"}
    return [Page("verdict", word, CODES[word], facts)]


def _phases(word: str) -> list[Page]:
    return [Page("phase", word, PHASES[word], {})] if word in PHASES else []


def _numbers() -> list[str]:
    return list(all_rules())


RULE = Kind("rule", "rules", _numbers, _rules, _rules)
VERDICT = Kind("verdict", "verdicts", lambda: CODES, _codes, _codes)
PHASE = Kind("phase", "phases", lambda: PHASES, lambda word: [] if word == "unplug" else _phases(word), _phases)
