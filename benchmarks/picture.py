"""The picture of growth: peak memory and time over the size of the log, beside the limit and a bare search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.growth import Point

_LINE: Final = "#0072b2"
_GREY: Final = "#767676"
_LIMIT_MEGABYTES: Final = 300
_STYLE: Final[Any] = {
    "svg.fonttype": "none", "font.size": 10, "axes.titlesize": 11,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e5e5e5", "axes.axisbelow": True,
}  # fmt: skip


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:g} GB" if megabytes >= 1000 else f"{megabytes:g} MB"


def _over_size(axes: Axes, sizes: Sequence[float]) -> None:
    """Name every size that was measured, and no other."""
    axes.set_xscale("log")
    axes.set_xticks(sizes, [_size(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("size of the log")


def _line(axes: Axes, sizes: Sequence[float], values: Sequence[float], name: str, colour: str) -> None:
    """A line with its name behind its last point."""
    axes.plot(sizes, values, "o-", color=colour, clip_on=False)
    axes.annotate(name, (sizes[-1], values[-1]), xytext=(8, 0), textcoords="offset points", va="center", color=colour,
                  fontsize=9, annotation_clip=False)


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the picture; the ending of the name chooses its format."""
    sizes = [one.megabytes for one in points]
    peaks = [one.peak_bytes / 10**6 for one in points]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        memory, time = figure.subplots(1, 2)
        _line(memory, sizes, peaks, "xptrace", _LINE)
        memory.axhline(_LIMIT_MEGABYTES, color=_GREY, linestyle="--", linewidth=1)
        memory.annotate(f"wanted: at most {_LIMIT_MEGABYTES} MB", (sizes[0], _LIMIT_MEGABYTES), xytext=(0, 4),
                        textcoords="offset points", color=_GREY, fontsize=9)
        memory.set_title("peak memory, MB")
        memory.set_ylim(0, 1.2 * max(_LIMIT_MEGABYTES, *peaks))
        _over_size(memory, sizes)
        searched = [one.search_seconds for one in points if one.search_seconds is not None]
        _line(time, sizes, [one.seconds for one in points], "xptrace", _LINE)
        if len(searched) == len(points):
            _line(time, sizes, searched, "rg -c", _GREY)
        time.set_title("time, s")
        time.set_yscale("log")
        time.margins(y=0.12)
        _over_size(time, sizes)
        time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        time.yaxis.set_major_formatter("{x:g}")
        figure.suptitle("xptrace decode -T jsonl of a sparse log, 0.1 % ours", x=0.01, ha="left")
        figure.savefig(path, dpi=120)
