"""The table that is printed: one row a comparison."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

HEAD: Final = ("case", "xptrace", "peer", "ratio", "wanted", "peak memory (peer's)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The ratio that is wanted: at most so many times as long (or as much), or at least so many times as fast."""

    limit: float
    unit: str = "as long"

    @property
    def at_least(self) -> bool:
        """Whether more is better."""
        return self.unit == "as fast"

    def held(self, ratio: float) -> bool:
        """Whether a ratio is within the reach."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        """As the table has it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} × {self.unit}"


def ratio(ours: Sequence[float], peers: Sequence[float], wanted: Wanted | None) -> float:
    """The median of the ratios within each round; where speed is what is wanted, how many times as fast we were."""
    pairs = zip(ours, peers, strict=True)
    if wanted is not None and wanted.at_least:
        return statistics.median(theirs / own for own, theirs in pairs)
    return statistics.median(own / theirs for own, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; without a ratio where there is nothing to compare with, and `peer` says why."""

    case: str
    ours: str
    peer: str
    ratio: float | None = None
    wanted: Wanted | None = None
    peak: str = ""
    also: bool = True
    """Whether what is wanted beside the ratio is there."""

    def cells(self) -> tuple[str, ...]:
        """The row, as it is printed."""
        unit = self.wanted.unit if self.wanted else "as long"
        compared = "" if self.ratio is None else f"{self.ratio:.3g} × {unit}"
        reach = "for information"
        if self.wanted is not None:
            reach = str(self.wanted)
            if self.ratio is not None:
                reach += ": held" if self.wanted.held(self.ratio) and self.also else ": missed"
        return self.case, self.ours, self.peer, compared, reach, self.peak


def markdown(rows: Iterable[Row]) -> str:
    """The rows as one Markdown table."""
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def seconds(values: Sequence[float]) -> str:
    """The median of some times, in the unit that suits it."""
    median = statistics.median(values)
    return f"{median:.2f} s" if median >= 1 else f"{1000 * median:.0f} ms"


def megabytes(size_bytes: float) -> str:
    """A size in millions of bytes."""
    return f"{size_bytes / 10**6:.0f} MB"
