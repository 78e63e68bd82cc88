"""Replay and best fit for people: divergences with their place and reason, the account of each boot, the profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final

from xptrace.access.rows import Message
from xptrace.model.effects import Aborted, DriverNamed, Ignored, Removed, Throttled
from xptrace.model.machine import Machine
from xptrace.model.profile import Profile
from xptrace.replay.coverage import Coverage
from xptrace.replay.fit import Candidate, names_of, reasons
from xptrace.replay.replay import Judged, Tally, sentence
from xptrace.replay.states import Interval, meaning
from xptrace.views import moment
from xptrace.views.escape import paint, printable

_RED, _GREEN, _BOLD = "31", "32", "1"
_TOLD: Final = (Removed, DriverNamed, Throttled, Aborted)
"""Effects that are worth a line; what was ignored is told where it was a demand to unplug."""


def _where(judged: Judged) -> str:
    record = judged.row.cited
    return f"{printable(record.source)}:{record.line} @{record.offset}"


def divergence_line(profile: Profile, judged: Judged, *, colour: bool = False) -> str:
    """One divergence: where, whose, and what the model says."""
    row = judged.row
    said = printable(sentence(profile, judged))
    if isinstance(row, Message):
        act = "log line"
    else:
        address = "?" if row.address is None else f"0x{row.address:x}"
        act = f"{row.direction} {address} {'?' if row.size is None else row.size}"
    head = f"{_where(judged)}  {printable(row.vm)}#{row.boot}  {act}:"
    return f"{paint(colour, _RED, head)} {said}"


def effect_lines(judged: Judged, *, colour: bool = False) -> Iterator[str]:
    """What an access brought about on the modelled device, where that is worth telling."""
    for effect in judged.effects:
        ignored = isinstance(effect, Ignored) and getattr(judged.row, "register", "") in ("unplug_mask", "unplug_index")
        if isinstance(effect, _TOLD) or ignored:
            row = judged.row
            head = f"{_where(judged)}  {printable(row.vm)}#{row.boot}  model:"
            yield f"{paint(colour, '2', head)} {printable(effect.say())}"


def tally_lines(profile: Profile, tallies: Mapping[tuple[str, int], Tally], *, colour: bool = False) -> Iterator[str]:
    """The account of every boot."""
    for (vm, boot), tally in tallies.items():
        verdict = f"{tally.diverged + tally.lines_diverged} diverge"
        good = not tally.diverged and not tally.lines_diverged
        said = paint(colour, _GREEN if good else _RED, "agrees" if good else verdict)
        lines = f"; {tally.lines_agreed} log lines agree" if tally.lines_agreed else ""
        adopted = f"; {tally.adopted} answers told what was assumed of the start" if tally.adopted else ""
        answers = f"{tally.agreed} of {tally.agreed + tally.diverged} answers agree"
        rest = f"{tally.uncompared} accesses with nothing to compare"
        yield f"{printable(vm)}#{boot}  {profile.name}: {said}: {answers}, {rest}{lines}{adopted}"


def fit_lines(candidates: Sequence[Candidate], *, colour: bool = False) -> Iterator[str]:
    """Which profiles explain a recording, and what shuts the others out."""
    fits = [one for one in candidates if one.explains]
    if not any(one.against or one.favour or one.agreed for one in candidates):
        yield "nothing in the recording tells one device from another"
        return
    if fits:
        one_alone = len(fits) == 1
        head = "explained by" if one_alone else "explained by, and not to be told apart:"
        yield f"{paint(colour, _BOLD, head)} {', '.join(names_of(fits))}"
        yield f"  {fits[0].agreed} answers and lines agree"
    else:
        yield paint(colour, _RED, "no profile explains everything; the best:")
        fewest = candidates[0].diverged, len(candidates[0].against)
        best = [one for one in candidates if (one.diverged, len(one.against)) == fewest]
        yield f"  {', '.join(names_of(best))}"
    yield from _shut_out(candidates)


def _shut_out(candidates: Iterable[Candidate]) -> Iterator[str]:
    for evidence, shut in reasons(candidates):
        place = f"{printable(evidence.source)}:{evidence.line} @{evidence.offset}"
        yield f"not {', '.join(names_of(shut))}"
        yield f"  {place}  {printable(evidence.said)}"


def coverage_lines(coverage: Coverage) -> Iterator[str]:
    """How much of a device a recording exercised."""
    yield f"coverage of {coverage.profile.name}"
    for name, (done, there) in coverage.counts().items():
        yield f"  {name:<15} {done} of {there}"
    yield f"  {'full buffers':<15} {coverage.full_buffer}"
    for case, times in sorted(coverage.cases.items()):
        yield f"  {times:>8} ×  {case.register} {case.direction}{f', {case.which}' if case.which else ''}"
    for case in coverage.missing():
        yield f"     never   {case.register} {case.direction}{f', {case.which}' if case.which else ''}"


def _value(one: Interval) -> str:
    return "-" if one.value is None else f"0x{one.value:x}"


def _since(one: Interval) -> str:
    time = "" if one.since_ns is None else f"{moment.utc(one.since_ns, one.clock)}  "
    return f"{time}{PurePath(printable(one.since.source)).name}:{one.since.line} @{one.since.offset}"


def instant_lines(held: Sequence[Interval], machine: Machine | None, *, colour: bool = False) -> Iterator[str]:
    """The state of one device at one instant: each register with its value and since when it holds; what it lost."""
    first = held[0]
    yield paint(colour, _BOLD, f"{printable(first.vm)}#{first.boot}  {first.profile}")
    for one in held:
        said = meaning(one.register, one.value) + ("  (assumed)" if one.certainty == "assumed" else "")
        yield f"  {one.register:<12} {_value(one):<11} {said:<44} since {_since(one)}"
    place = machine.platform if machine is not None else None
    if machine is None or place is None:
        return
    log = machine.functions[place].log
    pending = log.held if log else b""
    text = f"  {printable(pending[-60:].decode('utf-8', 'replace'))}" if pending else ""
    yield f"  {'log buffer':<12} {len(pending):<11} characters pending{text}"
    gone = [one.name for one in machine.inventory if not one.present or not one.connected]
    if machine.inventory:
        there = [one.name for one in machine.inventory if one.present and one.connected]
        yield f"  {'devices':<12} {len(there):<11} there: {', '.join(there) or 'none'}"
        yield f"  {'':<12} {len(gone):<11} gone: {', '.join(gone) or 'none'}"


def interval_lines(intervals: Iterable[Interval], *, colour: bool = False) -> Iterator[str]:
    """Every interval on a line, in the order in which they end."""
    for one in intervals:
        until = "the end" if one.until is None else f"{PurePath(printable(one.until.source)).name}:{one.until.line}"
        doubt = "  (assumed)" if one.certainty == "assumed" else ""
        name = paint(colour, _BOLD, f"{one.register:<12}")
        yield (
            f"{printable(one.vm)}#{one.boot}  {name} {_value(one):<11} {meaning(one.register, one.value)}{doubt}  "
            f"from {_since(one)} to {until}"
        )
