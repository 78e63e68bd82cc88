"""Two negotiations as aligned text: what is compared, step beside step, and where they part.

One line a step, and two where the value differs: the mark of `diff` (`- ` only in A, `+ ` only in B, `! ` changed), the
time since each side's first probe, the line of each side's first record, the access, what it means.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from xptrace.negotiation.diff import Difference, Pair, Side, Status, Step
from xptrace.views import moment
from xptrace.views.escape import paint, printable

CONTEXT: Final = 3
"""Steps that are the same and still shown, at either end of a run of such steps."""

_MARKS: Final[dict[Status, str]] = {"same": " ", "changed": "!", "only-a": "-", "only-b": "+"}
_COLOURS: Final = {"!": "33", "-": "31", "+": "32"}
_SPACES: Final = {"pio": "", "bar0": "bar0+", "bar1": "bar1+", "pci-config": "cfg:"}
_HEADS: Final = ("", "TIME A", "TIME B", "LINE A", "LINE B", "ACCESS", "MEANING")
_NUMBERS: Final = range(1, 5)

Cells = tuple[str, str, str, str, str, str, str]


def difference_lines(difference: Difference, a: Side, b: Side, *, colour: bool = False) -> Iterator[str]:
    """The lines of a comparison: its head, its steps, its closing sentence."""
    names = [f"{printable(side.vm)}#{side.boot}" for side in (a, b)]
    for letter, name, side in zip("AB", names, (a, b), strict=True):
        yield f"{letter}  {name:<{max(map(len, names))}}  {printable(side.source)}"
    yield ""
    table = [_HEADS, *_table(difference, a, b)]
    widths = [max((len(line[column]) for line in table if len(line) > 1), default=0) for column in range(6)]
    for number, line in enumerate(table):
        shown = _line(line, widths)
        code = "1" if number == 0 else _COLOURS.get(line[0])
        yield paint(colour, code or "", shown)
    yield ""
    yield printable(difference.sentence)
    if a.verdict != b.verdict:
        yield f"A: {a.verdict}"
        yield f"B: {b.verdict}"


def _table(difference: Difference, a: Side, b: Side) -> Iterator[Cells | tuple[str]]:
    """The cells of each line; one cell alone stands for steps that are left out."""
    for same, group in groupby(difference.pairs, lambda pair: pair.status == "same"):
        pairs = list(group)
        folded = len(pairs) - 2 * CONTEXT if same else 0
        if folded > 1:
            for pair in pairs[:CONTEXT]:
                yield from _cells(pair, a, b)
            yield (f"  … {folded} steps that are the same …",)
            pairs = pairs[-CONTEXT:]
        for pair in pairs:
            yield from _cells(pair, a, b)


def _cells(pair: Pair, a: Side, b: Side) -> Iterator[Cells]:
    mark = _MARKS[pair.status]
    if pair.status == "changed":
        yield from _cells_of(mark, pair.a, None, a, b)
        yield from _cells_of(mark, None, pair.b, a, b)
    else:
        yield from _cells_of(mark, pair.a, pair.b, a, b)


def _cells_of(mark: str, one: Step | None, other: Step | None, a: Side, b: Side) -> Iterator[Cells]:
    step = one or other
    if step is not None:
        times = [_time(side, known) for side, known in ((a, one), (b, other))]
        lines = ["" if known is None else str(known.line) for known in (one, other)]
        yield mark, times[0], times[1], lines[0], lines[1], _access(step), _meaning(step, one, other)


def _time(side: Side, step: Step | None) -> str:
    if step is None:
        return ""
    since = side.since(step)
    return "-" if since is None else moment.plain(since)


def _access(step: Step) -> str:
    if step.space is None:
        return "says"
    place = "?" if step.place is None else f"0x{step.place:x}"
    return f"{step.direction:<5} {_SPACES[step.space]}{place:<6} {'?' if step.size is None else step.size}"


def _meaning(step: Step, one: Step | None, other: Step | None) -> str:
    said = printable(step.value if isinstance(step.value, str) else step.meaning)
    if not step.complete:
        said += "  (not finished)"
    if any(known is not None and known.certainty == "inferred" for known in (one, other)):
        said += "  (inferred)"
    counts = [known.count for known in (one, other) if known is not None]
    if max(counts) > 1:
        said += f"  ×{counts[0]}" if len(set(counts)) == 1 else f"  (×{counts[0]} in A, ×{counts[1]} in B)"
    return said


def _line(cells: Cells | tuple[str], widths: list[int]) -> str:
    if len(cells) == 1:
        return cells[0]
    aligned = [
        f"{cell:>{width}}" if column in _NUMBERS else f"{cell:<{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return f"{aligned[0]} {'  '.join([*aligned[1:], cells[-1]])}".rstrip()
