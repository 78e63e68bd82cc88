"""Time and peak memory over the size of a sparse log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.bench import Bench
from benchmarks.generate import MEGABYTE
from benchmarks.process import run

_LONGEST_LINE: Final = 1024
_ROUNDS: Final = 3
"""As many times as often as others: how many windows are under way at most differs from run to run."""


@dataclass(frozen=True, slots=True)
class Point:
    """One size, what xptrace took for it, and how long a bare search took; None where ripgrep is not installed."""

    megabytes: float
    seconds: float
    peak_bytes: int
    search_seconds: float | None


def grow(bench: Bench, sizes: Iterable[float]) -> Iterator[Point]:
    """A point for each size, the smallest first; one file, which is cut shorter, holds all of them."""
    falling = sorted(sizes, reverse=True)
    path, _ = bench.log("sparse", falling[0])
    points = []
    for size in falling:
        _cut(path, round(size * MEGABYTE))
        search = bench.search(path)
        searched = run(search, bench.folder).seconds if search.words else None
        command = bench.xptrace("decode", "-T", "jsonl", path)
        taken = bench.measure({"xptrace": command}, _ROUNDS * bench.rounds)["xptrace"]
        peak = max(one.peak_bytes for one in taken)
        points.append(Point(size, median(one.seconds for one in taken), peak, searched))
    path.unlink()
    return reversed(points)


def _cut(path: Path, size_bytes: int) -> None:
    """Let a log end with the last line that ends before so many bytes."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end > size_bytes:
            file.seek(size_bytes - _LONGEST_LINE)
            before = file.read(_LONGEST_LINE).rpartition(b"\n")[0]
            file.truncate(size_bytes - _LONGEST_LINE + len(before) + 1)
