"""Two recordings side by side: what both saw, what only one did, and how their clocks stand to each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dissectors.clock import TSC
from dissectors.xen.xentrace import ASSUMED_HZ
from xptrace.access.correlation import Correlation, Line, Sighting, Told, View
from xptrace.views import moment
from xptrace.views.escape import paint, printable


def correlation_lines(
    one: Correlation, *, matches: bool = True, colour: bool = False, tsc_hz: float = ASSUMED_HZ
) -> Iterator[str]:
    """The lines that tell of a correlation: the relation first, then each sighting in order.

    `tsc_hz` is the frequency by which counts of the time stamp counter were made times. Characters of the log that only
    one of the recordings holds are counted, not shown.
    """
    sources = f"{printable(one.one.source)} and {printable(one.other.source)}"
    yield paint(colour, "1", f"{printable(one.one.vm)}#{one.one.boot}: {sources}")
    yield (f"  the same: {len(one.matches)} of {len(one.one.sightings)} in the first, "
           f"of {len(one.other.sightings)} in the second")
    for view in (one.one, one.other):
        if view.beyond:
            yield f"  not compared: {view.beyond} more in {printable(view.source)}"
    yield f"  clocks: {_relation(one)}"
    if one.other.clock == TSC and one.line is not None and one.line.drift is not None:
        yield f"  so the counter runs at {tsc_hz / (1 + one.line.drift):.0f} Hz (--tsc-hz), not at {tsc_hz:.0f}"
    if not matches:
        return
    kinds, characters = one.kinds, 0
    for mine, theirs in one.merged():
        told = mine or theirs
        if told is None or told.key[0] not in kinds:
            continue
        if (mine is None or theirs is None) and told.character:
            characters += 1
        else:
            yield f"  {_time(one, mine, theirs)}  {_apart(one, mine, theirs):<24}  {_said(told.told)}"
    if characters:
        yield f"  not shown: {characters} log characters that only one of them holds"


def _said(told: Told) -> str:
    if len(told) == 3:
        topic, subject, state = told
        return f"{topic} {printable(subject)}: {printable(state)}"
    direction, address, size, meaning, certainty = told
    doubt = "" if certainty == "observed" else "  (inferred)"
    return f"{direction:<5} 0x{address or 0:<5x} {'?' if size is None else size}  {printable(meaning)}{doubt}"


def _relation(one: Correlation) -> str:
    line = one.line
    if line is None:
        return "no match has a time in both; order only"
    drift = "no drift solved (it takes three matches over a second, and a clock that may drift)"
    if line.drift is not None:
        drift = f"drift {line.drift * 1e6:+.3f} ppm"
    return (
        f"{one.other.clock} + {moment.plain(line.offset_ns)} s = {one.one.clock} at the first match, {drift}; "
        f"residual median {moment.duration(line.median_ns)}, worst {moment.duration(line.worst_ns)}"
    )


def _time(one: Correlation, mine: Sighting | None, theirs: Sighting | None) -> str:
    time_ns = _on_one_clock(one, mine, theirs)
    if time_ns is None:
        return f"{'-':<27}"
    about = " " if mine is not None and mine.time_ns is not None else "~"
    return f"{about}{moment.utc(time_ns, one.one.clock):<26}"


def _on_one_clock(one: Correlation, mine: Sighting | None, theirs: Sighting | None) -> int | None:
    """The time by the first's clock: as it shows it, or as it would have."""
    if mine is not None and mine.time_ns is not None:
        return mine.time_ns
    if theirs is None or theirs.time_ns is None or one.line is None:
        return None
    return one.line.translate(theirs.time_ns)


def _apart(one: Correlation, mine: Sighting | None, theirs: Sighting | None) -> str:
    if mine is None:
        return "only in the second"
    if theirs is None:
        return "only in the first"
    residual = _residual(one.line, mine, theirs)
    return "both" if residual is None else f"both, {moment.duration(residual)} off"


def _residual(line: Line | None, mine: Sighting, theirs: Sighting) -> int | None:
    if line is None or mine.time_ns is None or theirs.time_ns is None:
        return None
    return mine.time_ns - line.translate(theirs.time_ns)


def rows(one: Correlation, *, matches: bool = True) -> Iterator[dict[str, Any]]:
    """The relation as one object, then one a sighting."""
    yield {"kind": "correlation", **relation_row(one)}
    for row in sighting_rows(one) if matches else ():
        yield {"kind": "sighting", **row}


def relation_row(one: Correlation) -> dict[str, Any]:
    """The keys of a relation, in order: how many matches, how the clocks stand."""
    line = one.line
    return {
        "vm": one.one.vm, "boot": one.one.boot, "one": one.one.source, "other": one.other.source,
        "one_clock": one.one.clock, "other_clock": one.other.clock, "matches": len(one.matches),
        "one_sightings": len(one.one.sightings) + one.one.beyond,
        "other_sightings": len(one.other.sightings) + one.other.beyond,
        "origin_ns": line.origin_ns if line else None, "offset_ns": line.offset_ns if line else None,
        "drift": line.drift if line else None, "residual_median_ns": line.median_ns if line else None,
        "residual_worst_ns": line.worst_ns if line else None,
    }


def sighting_rows(one: Correlation) -> Iterator[dict[str, Any]]:
    """The keys of each sighting, in order: the time on the first's clock, the residual, the places in both."""
    for mine, theirs in one.merged():
        told = mine or theirs
        if told is None:
            continue
        yield {
            "vm": one.one.vm, "boot": one.one.boot, "time_ns": _on_one_clock(one, mine, theirs),
            "clock": one.one.clock, "residual_ns": _residual(one.line, mine, theirs) if mine and theirs else None,
            "said": _said(told.told), "one": _place(one.one, mine), "other": _place(one.other, theirs),
        }


def _place(view: View, sighting: Sighting | None) -> dict[str, Any] | None:
    if sighting is None:
        return None
    return {"source": view.source, "offset": sighting.offset, "line": sighting.line, "time_ns": sighting.time_ns,
            "clock": sighting.clock}
