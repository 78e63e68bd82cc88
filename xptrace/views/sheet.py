"""Sheets to draw on, and files of them: SVG, PNG and PDF by matplotlib, without pyplot.

Law: colours after Okabe and Ito, "Color Universal Design" (2008), each with a second sign beside it.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Final, Literal, TypeAlias

from xptrace.errors import XptraceError
from xptrace.exports.file import whole
from xptrace.views.escape import printable

Figure: TypeAlias = Any
"""A `matplotlib.figure.Figure`; matplotlib is an extra, and only looked for when a picture is asked for."""

NEEDS: Final = "--plot needs matplotlib: pip install 'xptrace[plot]'"
FORMATS: Final = ("svg", "png", "pdf")
WIDTH: Final = 1300
MARGIN: Final = 24
_DPI: Final = 100
_FONTS: Final = ("DejaVu Sans", "sans-serif")
"""The first comes with matplotlib, so that widths are the same everywhere; the second is for browsers without it."""

_LOOSE: Final = 1.03
"""Text is this much wider where glyphs are not fitted to pixels, as in SVG and PDF."""

INK, GREY, FAINT, BAND = "#1a1a1a", "#5c5c5c", "#bdbdbd", "#f4f4f4"
TITLE, BODY, LABEL, SMALL = 13.0, 9.5, 8.0, 7.0

PHASE_FILLS: Final = {
    "probe": ("#a6d8f5", ""), "naming": ("#7fb4d6", "///"), "verdict": ("#e6c0d6", "..."),
    "decision": ("#f5d08a", ""), "unplug": ("#ea9a6b", "xxx"), "handover": ("#86d0b5", "\\\\\\"),
}
"""(fill, hatching) of each phase."""
SEVERITY_SIGNS: Final = {
    "high": ("^", "#d55e00"), "medium": ("D", "#e69f00"), "low": ("o", "#56b4e9"), "info": ("o", "#ffffff"),
}
"""(shape, fill) of each severity."""
_NOT_XML: Final = re.compile("[\ufffe\uffff]")


def shown(text: str) -> str:
    """A text with nothing in it that acts, and nothing that XML cannot hold."""
    return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", printable(text))


def _library(name: str) -> Any:  # noqa: ANN401 - what is not installed has no types
    try:
        return import_module(name)
    except ImportError:
        raise XptraceError(NEEDS) from None


def ready(path: str) -> None:
    """Raises XptraceError, before anything is read, where no picture can be drawn or its format is not known."""
    if PurePath(path).suffix.lower().removeprefix(".") not in FORMATS:
        raise XptraceError(f"{path}: a picture is written as {', '.join(f'.{name}' for name in FORMATS)}")
    _library("matplotlib")


_Shape = Literal["left", "center", "right"]


@dataclass(slots=True)
class Sheet:
    """One figure that grows downwards; positions are pixels from its top left."""

    figure: Figure = field(init=False)
    axes: Any = field(init=False)
    _renderer: Any = field(init=False)
    _widths: dict[tuple[str, float, bool], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is drawn yet."""
        self.figure = _library("matplotlib.figure").Figure(figsize=(WIDTH / _DPI, 1), dpi=_DPI, facecolor="white")
        self._renderer = _library("matplotlib.backends.backend_agg").FigureCanvasAgg(self.figure).get_renderer()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()

    def finish(self, height: float) -> Figure:
        """The figure, of this height."""
        self.figure.set_size_inches(WIDTH / _DPI, math.ceil(height) / _DPI)
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(math.ceil(height), 0)
        return self.figure

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """How wide a text is."""
        key = text, size, bold
        if key not in self._widths:
            manager = _library("matplotlib.font_manager")
            face = manager.FontProperties(family=list(_FONTS), size=size, weight="bold" if bold else "normal")
            with _quietly():
                wide = float(self._renderer.get_text_width_height_descent(text, face, False)[0])
            self._widths[key] = wide * _LOOSE
        return self._widths[key]

    def cut(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """The text, as much of it as has room, with a sign where it is cut."""
        if self.width(text, size, bold=bold) <= room:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(f"{text[:middle]}…", size, bold=bold) <= room:
                low = middle
            else:
                high = middle - 1
        return f"{text[:low]}…" if low else ""

    def wrap(self, text: str, size: float, room: float, most: int) -> list[str]:
        """The text in at most so many lines."""
        lines = [""]
        words = text[:2000].split(" ")
        for at, word in enumerate(words):
            joined = f"{lines[-1]} {word}".lstrip()
            if self.width(joined, size) <= room or not lines[-1]:
                lines[-1] = joined
            elif len(lines) == most:
                lines[-1] = f"{lines[-1]} {' '.join(words[at:])}"
                break
            else:
                lines.append(word)
        return [self.cut(line, size, room) for line in lines]

    def text(
        self, x: float, y: float, text: str, size: float = BODY, *, colour: str = INK, bold: bool = False,
        side: _Shape = "left", fill: str | None = None,
    ) -> None:
        """A text, its middle at this height; `fill` is laid under it."""
        if text:
            box = {"facecolor": fill, "edgecolor": "none", "pad": 0.6} if fill else None
            self.axes.text(x, y, text, fontsize=size, fontfamily=list(_FONTS), color=colour, ha=side,
                           va="center_baseline", fontweight="bold" if bold else "normal", parse_math=False, bbox=box,
                           zorder=9)

    def box(self, left: float, top: float, right: float, bottom: float, fill: str, *, hatch: str = "",
            edge: str = "none", layer: float = 3, opacity: float = 1) -> None:
        """A rectangle."""
        with _quietly():
            patch = _library("matplotlib.patches").Rectangle(
                (left, top), right - left, bottom - top, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=0.6,
                alpha=None if opacity == 1 else opacity, zorder=layer, clip_on=False)
        self.axes.add_patch(patch)

    def line(self, points: Sequence[tuple[float, float]], colour: str = FAINT, width: float = 0.6, *,
             style: str | tuple[float, tuple[float, float]] = "-", layer: float = 2) -> None:
        """A line through these points."""
        xs, ys = zip(*points, strict=True)
        line = _library("matplotlib.lines").Line2D(xs, ys, color=colour, linewidth=width, linestyle=style,
                                                   zorder=layer, clip_on=False, solid_capstyle="butt")
        self.axes.add_line(line)

    def sign(self, x: float, y: float, shape: str, fill: str, size: float = 6) -> None:
        """A small shape."""
        line = _library("matplotlib.lines").Line2D((x,), (y,), marker=shape, markersize=size, markerfacecolor=fill,
                                                   markeredgecolor=INK, markeredgewidth=0.6, linestyle="none",
                                                   zorder=8, clip_on=False)
        self.axes.add_line(line)


_SETTINGS: Final = {
    "svg.hashsalt": "xptrace", "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.4, "text.usetex": False,
    "savefig.bbox": None, "savefig.facecolor": "auto", "figure.autolayout": False,
    "figure.constrained_layout.use": False, "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}
"""What is drawn is the same whatever the user's own settings are: text stays text, names are not random."""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """With our settings, and without the warnings that the font lacks a sign: a stranger's text may hold any."""
    with warnings.catch_warnings(), _library("matplotlib").rc_context(_SETTINGS):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


# -- files and notebooks


def encode(figure: Figure, form: str) -> bytes:
    """The bytes of a picture, the same for the same picture: no date, no version, no random name in it."""
    nothing: Mapping[str, dict[str, None]] = {
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
        "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
        "png": dict.fromkeys(("Software",)),
    }
    buffer = io.BytesIO()
    with _quietly():
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=nothing[form])
    raw = buffer.getvalue()
    return re.sub(rb"<!DOCTYPE[^>]*>\s*", b"", raw, count=1) if form == "svg" else raw


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the name ends in; the file appears whole or not at all."""
    target = Path(path)
    ready(str(target))
    raw = encode(figure, target.suffix.lower().removeprefix("."))
    with whole(target) as file:
        file.write(raw)
