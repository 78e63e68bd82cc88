"""What a terminal can show: texts of a known width, lines or plain characters, colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xptrace.views.escape import paint, printable

NARROWEST: Final = 60
WIDEST: Final = 200
"""Columns: what is narrower or wider than these is drawn as if it were these."""
_MOST_WRAPPED: Final = 3


def cells_of(text: str) -> list[str]:
    """The text, one string a column: characters that need two are followed by an empty one, marks join theirs."""
    cells: list[str] = []
    for character in text:
        if unicodedata.category(character) not in ("Mn", "Me", "Cf"):
            cells.append(character)
            if unicodedata.east_asian_width(character) in "WF":
                cells.append("")
        elif cells:
            cells[-1 if cells[-1] else -2] += character
        else:  # a mark with nothing to join
            cells.append(f" {character}")
    return cells


def width_of(text: str) -> int:
    """How many columns a text takes."""
    return len(cells_of(text))


@dataclass(frozen=True, slots=True)
class Style:
    """What the terminal can show: how many columns, whether line drawing characters, whether colours."""

    columns: int = 100
    encoding: str = "utf-8"
    colour: bool = False

    @property
    def drawing(self) -> bool:
        """Whether the encoding has characters for lines and blocks."""
        try:
            "├─┤┄┊╰│●◆▲○·▁█…".encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    @property
    def width(self) -> int:
        """The columns that are drawn on."""
        return min(max(self.columns, NARROWEST), WIDEST)

    def text(self, text: str) -> str:
        """A text as this terminal can show it, with nothing in it that acts."""
        text = printable(text)
        if self.drawing:
            return text
        return text.replace("µ", "u").replace("×", "x").encode("ascii", "backslashreplace").decode("ascii")

    def fit(self, text: str, width: int) -> str:
        """The text in exactly so many columns, cut with a sign that it is, or filled up."""
        cells = cells_of(self.text(text))
        if len(cells) > width:
            sign = list("…" if self.drawing else "~")
            cells = cells[: max(width - 1, 0)]
            if cells and width_of(cells[-1]) == 2:  # half of a wide character is none
                cells[-1] = " "
            cells += sign[:width]
        return "".join(cells) + " " * (width - len(cells))

    def short(self, text: str, width: int) -> str:
        """The text in at most so many columns."""
        return self.fit(text, min(width, width_of(self.text(text))))

    def ends(self, text: str, width: int) -> str:
        """The text in exactly so many columns, cut in its middle: numbers at the end tell names apart."""
        cells = cells_of(self.text(text))
        if len(cells) <= width:
            return "".join(cells) + " " * (width - len(cells))
        tail = cells[len(cells) - (width - 1) * 2 // 3 :]
        if tail and not tail[0]:  # half of a wide character is none
            tail = tail[1:]
        return self.fit("".join(cells), width - len(tail)) + "".join(tail)

    def wrap(self, text: str | Sequence[str], width: int, most: int = _MOST_WRAPPED) -> list[str]:
        """The text, or these words, in at most so many lines of at most so many columns."""
        lines: list[str] = [""]
        words = self.text(text[: width * most * 2]).split() if isinstance(text, str) else map(self.text, text)
        for word in words:
            joined = f"{lines[-1]} {word}".lstrip()
            if width_of(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(word)
        lines = [line for line in lines if line] or [""]
        if len(lines) > most:
            lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
        return [self.fit(line, width).rstrip() for line in lines]

    def paint(self, code: str, text: str) -> str:
        """The text in a colour, where there are colours."""
        return paint(self.colour, code, text)


UNICODE: Final = {"begin": "├", "end": "┤", "both": "┼", "one": "│", "line": "─", "idle": "┄", "gap": "┊", "down": "│",
                  "right": "╰", "left": "╯", "tick": "┬", "axis": "─", "open": "─", "dot": "·", "mark": "●"}
ASCII: Final = {"begin": "[", "end": "]", "both": "|", "one": "|", "line": "-", "idle": ".", "gap": ":", "down": "|",
                "right": "`", "left": "'", "tick": "+", "axis": "-", "open": "-", "dot": ".", "mark": "o"}
SEVERITY_MARKS: Final = {"high": ("▲", "!"), "medium": ("◆", "#"), "low": ("●", "o"), "info": ("○", "i")}
SEVERITY_COLOURS: Final = {"high": "1;31", "medium": "1;33", "low": "36", "info": "2"}
LANE_COLOURS: Final = {"driver": "34", "device": "35", "disks": "32", "NICs": "36", "other PV": "36", "log": "2"}
