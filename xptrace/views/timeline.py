"""One boot for a terminal: lanes drawn with characters, scaled to its width, and the steps below.

Law: the lanes, axes and breaks of `xptrace.negotiation.timeline`. Nothing is wider than the width that is asked for,
and labels never lie over each other; what has no room on the picture stands in the list below it::

    driver        ├probe┼naming─┼ver┼dec┼handover─┄┄┄───────┤
                  ●     ●  ●    ●   ●   ●
                  │     │  │    │   │   ╰mask 0x3
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import PurePath
from typing import Final

from dissectors.clock import CLOCKS
from xptrace.negotiation.timeline import Axis, Item, Timeline, lay_out
from xptrace.views import moment
from xptrace.views.lanes import Canvas, draw_axis, draw_bars, draw_marks, no_room
from xptrace.views.style import ASCII, LANE_COLOURS, SEVERITY_COLOURS, SEVERITY_MARKS, UNICODE, Style, width_of

ORDER: Final = "order, no time recorded"
_MOST_STEPS: Final = 200
_MOST_TRACKS: Final = 8


def timeline_lines(told: Timeline, style: Style) -> Iterator[str]:
    """A boot in full: its head, its lanes on each axis, and its steps."""
    yield from _head(told, style)
    for axis in told.axes:
        yield ""
        yield from style.wrap(_about(axis, style), style.width)
        yield from _picture(axis, style)
    for axis in told.axes:
        yield ""
        yield from _steps(axis, style)


def _head(told: Timeline, style: Style) -> Iterator[str]:
    yield style.paint("1", style.short(told.story.id, style.width))
    lines: list[str | list[str]] = [told.driver or "no driver named itself", told.verdict.sentence]
    if told.spans:
        lines.append(recorded(told.spans))
    if told.phases:
        lines.append([f"{phase.name}{took(phase.duration_ns)}{',' * (phase is not told.phases[-1])}"
                      for phase in told.phases])
    for line in lines:
        yield from (f"  {part}" for part in style.wrap(line, style.width - 2))
    for remark in told.remarks[:_MOST_REMARKS]:
        mark, colour = SEVERITY_MARKS[remark.severity][not style.drawing], SEVERITY_COLOURS[remark.severity]
        text = style.wrap(f"{mark} {remark.rule.id} {remark.severity}: {remark.sentence}", style.width - 2)
        yield from (f"  {style.paint(colour, part)}" for part in text)
    if len(told.remarks) > _MOST_REMARKS:
        yield f"  and {len(told.remarks) - _MOST_REMARKS} more findings, in the list below"


_MOST_REMARKS: Final = 5


def recorded(spans: Iterable[tuple[str, int, int]]) -> str:
    """The first and the last time by each clock; that there is only order where no clock tells."""
    said = [f"{moment.utc(first, clock)} to {moment.utc(last, clock)}" for clock, first, last in spans]
    return "; ".join(said) or ORDER


def took(time_ns: int | None) -> str:
    """How long a phase took, with a blank before it; nothing where no clock tells."""
    return "" if time_ns is None else f" {moment.duration(time_ns) if time_ns else 'at once'}"


def _about(axis: Axis, style: Style) -> str:
    """What the axis tells, in a sentence."""
    if axis.clock is None:
        return f"{ORDER}: {PurePath(axis.source or '').name}, #1 to #{axis.end + 1}"
    scale = lay_out(axis, _columns(axis, style) - 1, pause=4, least=1)
    said = f"{moment.duration(axis.end - axis.begin)} by {CLOCKS.get(axis.clock, axis.clock or 'an unnamed clock')}"
    if not scale.breaks:
        return said
    count = len(scale.breaks)
    gap = (UNICODE if style.drawing else ASCII)["gap"]
    return (f"{said}; {gap} {count} break{'s' * (count > 1)} leave{'s' * (count == 1)} out "
            f"{moment.duration(scale.hidden)} of waiting; each stretch has its own scale, + is since its begin")


def _track(track: str) -> str:
    """The name of a track in the margin; those of the driver and the device need none."""
    return "" if track in ("phases", "state") else f" {track.replace('frontend', 'front').replace('backend', 'back')}"


def _margin(axis: Axis, style: Style) -> int:
    names = [name for lane, tracks in axis.tracks().items() for name in (lane, *map(_track, tracks))]
    return min(max(width_of(style.text(name)) for name in names), style.width // 5, 20)


def _columns(axis: Axis, style: Style) -> int:
    return style.width - _margin(axis, style) - 1


def _picture(axis: Axis, style: Style) -> Iterator[str]:
    scale = lay_out(axis, _columns(axis, style) - 1, pause=4, least=1)
    canvas = Canvas(style, _margin(axis, style), scale)
    draw_axis(canvas, axis)
    hidden = 0
    for lane, tracks in axis.tracks().items():
        here = [item for item in axis.items if item.lane == lane]
        marks = [item for item in here if item.kind == "mark"]
        own = [track for track in tracks if not _track(track)]
        for number, row in enumerate(row for track in own for row in axis.layers(track)):
            draw_bars(canvas, axis, "" if number else lane, row)
        if marks:
            hidden += draw_marks(canvas, axis, "" if own else lane, marks, 8 if lane == "driver" else 5)
        elif not own:
            canvas.row(lane)
        others = [track for track in tracks if _track(track)]
        for track in others[:_MOST_TRACKS]:
            for number, row in enumerate(axis.layers(track)):
                draw_bars(canvas, axis, "" if number else _track(track), row)
        if len(others) > _MOST_TRACKS:
            canvas.row(f" and {len(others) - _MOST_TRACKS} more")
    yield from canvas.lines()
    if hidden:
        yield from style.wrap(f"{no_room(hidden)}: what they mark is in the list below", style.width)


# -- the list of steps


def _steps(axis: Axis, style: Style) -> Iterator[str]:
    """What happened, one after the other: time since the start, lane, what, and where it stands."""
    became = {item.begin.place: item.name for item in axis.items if item.track == "state"}
    driven = {item.begin.place for item in axis.items if item.lane == "driver" and item.kind == "mark"}
    shown = [
        item for item in axis.items
        if item.track not in ("phases", "state")
        and not (item.lane in ("disks", "NICs") and item.kind == "mark" and item.begin.place in driven)
    ]
    runs = [list(run) for _, run in groupby(shown, key=_sameness)]
    rows = []
    for run in runs[:_MOST_STEPS]:
        item = run[0]
        since = f"#{axis.at(item.begin) + 1}" if axis.clock is None else moment.plain(axis.at(item.begin) - axis.begin)
        what = item.label if len(run) == 1 or _sameness(item)[-1] else item.name
        if len(run) > 1:
            what += f" ×{len(run)}"
        if item.severity:
            what = f"{item.name} {item.severity}: {what}"
        if item.lane == "driver" and (state := became.get(item.begin.place)):
            what += f" {'→' if style.drawing else '->'} {state}"
        place = item.begin.place
        rows.append((since, item, what, f"{PurePath(place.source).name}:{place.line}"))
    if not rows:
        return
    first = max(len(since) for since, *_ in rows)
    last = min(max(width_of(style.text(where)) for *_, where in rows), style.width // 4)
    middle = style.width - first - last - 13
    for since, item, what, where in rows:
        colour = SEVERITY_COLOURS.get(item.severity or "", LANE_COLOURS.get(item.lane, ""))
        parts = style.wrap(what, middle)
        for number, part in enumerate(parts):
            head = f"{since:>{first}}  {item.lane:<8}" if not number else " " * (first + 10)
            text = style.paint(colour, style.fit(part, middle))
            yield f"{head} {text}  {_tail(style, where, last)}" if not number else f"{head} {text}".rstrip()
    if len(runs) > _MOST_STEPS:
        yield f"and {len(runs) - _MOST_STEPS} more: -T jsonl has all of them"


def _sameness(item: Item) -> tuple[str, str, str]:
    """What the list shows as one line when it comes several times in a row."""
    many = item.lane == "device" and item.name == "function mapped"
    return item.lane, item.name, "" if many else item.label


def _tail(style: Style, where: str, width: int) -> str:
    """A place in so many columns: of the name of the recording the middle is cut."""
    return style.ends(where, width).rstrip()
