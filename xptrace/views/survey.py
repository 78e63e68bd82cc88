"""Sources in words: what each is and holds, one paragraph a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dissectors import dissectors
from dissectors.clock import CLOCKS
from xptrace.access.survey import PLURALS, Span, Surveyed
from xptrace.views import moment
from xptrace.views.escape import paint, printable

_MOST: Final = 20
"""Boots, losses and damaged places that are named one by one."""
_VIEWS: Final = {
    "device": "the device model's word", "host": "the hypervisor's or host kernel's view", "store": "xenstore's",
    "toolstack": "the toolstack's", "guest": "the guest's own word",
}


def survey_lines(sources: Sequence[Surveyed], *, colour: bool = False) -> Iterator[str]:
    """The lines that tell of every source."""
    for number, one in enumerate(sources):
        if number:
            yield ""
        name = printable(one.ledger.source)
        yield paint(colour, "1", name)
        for label, text in _told(one):
            yield f"  {label:<8} {text}"


def _told(one: Surveyed) -> Iterator[tuple[str, str]]:
    known = dissectors()
    formats = [entry for entry in one.formats if entry[2]] or one.formats[:1]
    for name, sure, told in formats:
        yield "what", f"{known[name].title} ({name}, {sure} % sure by its head): {told} records"
    yield "sha256", one.reading.source.sha256() or "of what can be read once only: not known"
    yield "view", _VIEWS[one.reading.vantage]
    boots = list(one.holding.boots.items())
    for (vm, boot), counts in boots[:_MOST]:
        yield "vm", f"{printable(vm)}#{boot}: " + ", ".join(
            f"{count} {PLURALS[kind]}" for kind, count in sorted(counts.items())
        )
    if len(boots) > _MOST:
        yield "vm", f"and {len(boots) - _MOST} more boots"
    for clock, span in one.holding.spans.items():
        yield "clock", _span(clock, span)
    if one.holding.boots and not one.holding.spans:
        yield "clock", "none: order only"
    yield "account", " + ".join(f"{lines} {kind}" for kind, _, lines in one.ledger.rows() if kind != "read") + (
        f" = {one.ledger.total.lines} lines or records, {one.ledger.total.bytes} bytes"
    )
    for note in one.ledger.notes[:_MOST]:
        yield "note", f"line {note.line} @{note.offset}: {printable(note.reason)}"
    if len(one.ledger.notes) > _MOST:
        yield "note", f"and {len(one.ledger.notes) - _MOST} more (--ledger)"


def _span(clock: str, span: Span) -> str:
    took = span.last_ns - span.first_ns
    rate = f", {span.entries * 10**9 / took:.3g} a second" if took else ""
    return (
        f"{clock} ({CLOCKS[clock]}): {moment.utc(span.first_ns, clock)} to {moment.utc(span.last_ns, clock)}, "
        f"{moment.duration(took)}{rate}"
    )
