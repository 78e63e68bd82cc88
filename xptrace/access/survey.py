"""What each source of a case is and holds: format, VMs, clocks, first and last time, rate, losses.

A source is surveyed by decoding it, so that what is told of it is what the other commands will find in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from xptrace.access.attribution import Reading
from xptrace.access.decode import Decoder
from xptrace.access.rows import Entry
from xptrace.intake.ledger import Ledger

PLURALS: Final = {"access": "accesses", "event": "events", "message": "messages"}


@dataclass(slots=True)
class Span:
    """The first and the last time by one clock, and how many entries have one."""

    first_ns: int
    last_ns: int
    entries: int = 1

    def take(self, time_ns: int) -> None:
        """One more time."""
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)
        self.entries += 1


@dataclass(slots=True)
class Holding:
    """What one source holds: entries by (VM, boot) and kind, and the span of each clock."""

    boots: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """One more entry."""
        self.boots.setdefault((entry.vm, entry.boot), Counter())[entry.kind] += 1
        if entry.time_ns is None or entry.clock is None:
            return
        span = self.spans.get(entry.clock)
        if span is None:
            self.spans[entry.clock] = Span(entry.time_ns, entry.time_ns)
        else:
            span.take(entry.time_ns)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One source: how it was read, what it holds, the account of it."""

    reading: Reading
    holding: Holding
    ledger: Ledger

    @property
    def formats(self) -> list[tuple[str, int, int]]:
        """(dissector, how sure it is of the source's head in percent, records that it told), the surest first."""
        sure = self.reading.sure
        return [(one.name, sure[one.name], self.ledger.told[one.name]) for one in self.reading.dissectors]

    def summary(self) -> dict[str, Any]:
        """The keys of a source as a table has them: one clock, that of most of its times."""
        clock, span = max(self.holding.spans.items(), key=lambda entry: entry[1].entries, default=(None, None))
        return {
            "source": self.ledger.source, "sha256": self.reading.source.sha256(), "vantage": self.reading.vantage,
            "formats": [name for name, _, told in self.formats if told],
            "vms": [f"{vm}#{boot}" for vm, boot in self.holding.boots], "clock": clock,
            "first_ns": span.first_ns if span else None, "last_ns": span.last_ns if span else None,
            "entries": span.entries if span else 0,
        }

    def row(self) -> dict[str, Any]:
        """The keys of a source, in order."""
        return {
            "source": self.ledger.source, "sha256": self.reading.source.sha256(), "vantage": self.reading.vantage,
            "formats": [{"name": name, "sure": sure, "records": told} for name, sure, told in self.formats],
            "boots": [{"vm": vm, "boot": boot, **{PLURALS[kind]: count for kind, count in sorted(counts.items())}}
                      for (vm, boot), counts in self.holding.boots.items()],
            "clocks": [{"clock": clock, "first_ns": span.first_ns, "last_ns": span.last_ns, "entries": span.entries}
                       for clock, span in self.holding.spans.items()],
            "ledger": {kind: {"bytes": size, "lines": lines} for kind, size, lines in self.ledger.rows()},
            "losses": [{"line": note.line, "offset": note.offset, "reason": note.reason} for note in self.ledger.notes],
            "truncated": self.ledger.truncated,
        }


class Survey:
    """Collects what each source holds while the entries of a case pass by."""

    def __init__(self, decoder: Decoder) -> None:
        """`decoder` hands the entries out, and knows the sources."""
        self._decoder = decoder
        self._holdings: dict[str, Holding] = {}

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Hand the entries on, having taken what they tell."""
        for entry in entries:
            self._holdings.setdefault(entry.records[0].source, Holding()).take(entry)
            yield entry

    @property
    def sources(self) -> list[Surveyed]:
        """Every source, in the order in which they were read."""
        return [
            Surveyed(reading, self._holdings.get(ledger.source, Holding()), ledger)
            for reading, ledger in zip(self._decoder.readings, self._decoder.ledgers, strict=True)
        ]
