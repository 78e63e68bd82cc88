"""``xptrace replay``: each observed answer beside the model's; which device it was; what it exercised."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xptrace.access.decode import Decoder
from xptrace.access.rows import KEYS, Access
from xptrace.cli import common, device
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.model.profile import Profile
from xptrace.replay.device import named

if TYPE_CHECKING:
    from xptrace.replay.fit import Candidate

REPLAY_KEYS = (*KEYS, "expected", "agrees")
"""The keys of a replayed row, in order."""


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    device.add_device(command)
    command.add_argument("--vm", action="append", metavar="NAME", help="only this VM (may be given again)")
    command.add_argument("--fit", action="store_true", help="which profiles explain the recording, and why")
    command.add_argument("--coverage", action="store_true", help="which states and transitions it exercised")
    command.add_argument("--effects", action="store_true", help="in text, also what each access brought about")
    command.add_argument("-T", dest="format", choices=("text", "jsonl", "csv", "fields"), default="text")
    command.add_argument("-e", dest="fields", action="append", default=[], metavar="FIELD[,FIELD]",
                         help=f"fields for -T fields: {', '.join(REPLAY_KEYS)}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where something disagrees."""
    if arguments.format == "fields" and not arguments.fields:
        raise XptraceError("-T fields needs -e FIELD")
    if arguments.fit:
        return _fit(arguments)
    replaying = _Replaying(arguments, chosen_profile(arguments, arguments.vm))
    common.write(replaying.lines(), arguments.output)
    code = common.close(replaying.decoder, full=arguments.ledger)
    return 1 if replaying.diverged else code


def chosen_profile(arguments: argparse.Namespace, vms: Sequence[str] | None) -> Profile:
    """The profile that was named, or the newest of those that explain these VMs best (or all), which is said."""
    if arguments.profile:
        return named(arguments.profile)
    from xptrace.replay.fit import best, names_of

    if "-" in arguments.files:
        raise XptraceError("standard input can be read only once: name a --profile")
    _, candidates = _candidates(arguments, vms)
    found = best(candidates)
    fits = [one for one in candidates if one.explains]
    others = f" (explained by {', '.join(names_of(fits))})" if fits else " (no profile explains everything)"
    print(f"xptrace: profile {found.name}{others}", file=sys.stderr)
    return found


def _candidates(arguments: argparse.Namespace, vms: Sequence[str] | None) -> tuple[Decoder, list[Candidate]]:
    from xptrace.replay.fit import LOOKED_AT, Fit

    decoder = common.decoder(arguments)
    fit = Fit(decoder.vms, decoder.catalogue)
    rows = decoder.rows(common.progress(), brief=True, specimens=LOOKED_AT)
    fit.take(row for row in rows if not vms or row.vm in vms)
    return decoder, fit.candidates()


def _fit(arguments: argparse.Namespace) -> int:
    from xptrace.views.conformance import fit_lines

    decoder, candidates = _candidates(arguments, arguments.vm)
    if arguments.format == "text":
        common.write(fit_lines(candidates, colour=common.colour(arguments.output is None)), arguments.output)
    elif arguments.format == "jsonl":
        common.write((lines.jsonl(one.row()) for one in candidates), arguments.output)
    else:
        raise XptraceError("--fit writes text or jsonl")
    code = common.close(decoder, full=arguments.ledger)
    return code or (0 if any(one.explains for one in candidates) else 1)


class _Replaying:
    """One replay while its lines are written."""

    def __init__(self, arguments: argparse.Namespace, profile: Profile) -> None:
        from xptrace.replay.coverage import Coverage
        from xptrace.replay.replay import Replay
        from xptrace.replay.whatif import Negotiations

        self._arguments = arguments
        self._profile = profile
        self.decoder = common.decoder(arguments)
        self._start = device.start(arguments, profile)
        self._replay = Replay(self._start, self.decoder.vms)
        self._negotiations = Negotiations()
        self._coverage = Coverage(profile) if arguments.coverage else None
        self.diverged = 0

    def _judged(self) -> Iterator[Any]:
        wanted = self._arguments.vm
        rows = (row for row in self.decoder.rows(common.progress(streams=True), brief=True)
                if not wanted or row.vm in wanted)
        for judged in self._replay.rows(self._negotiations.watch(rows)):
            self.diverged += judged.judgement.agrees is False
            if self._coverage is not None:
                self._coverage.take(self._replay, judged)
            yield judged

    def lines(self) -> Iterator[str]:
        """The lines to write, in the format that was asked for."""
        form = self._arguments.format
        if form == "text":
            yield from self._text()
            return
        yield from lines.header(form, REPLAY_KEYS)
        write: lines.Writer = lines.jsonl
        if form == "csv":
            write = lines.csv_writer(REPLAY_KEYS)[1]
        elif form == "fields":
            write = lines.fields([name for part in self._arguments.fields for name in part.split(",")], REPLAY_KEYS)
        for judged in self._judged():
            if isinstance(judged.row, Access):
                yield write(judged.keys())

    def _text(self) -> Iterator[str]:
        from xptrace.replay.replay import Tally
        from xptrace.views import conformance

        colour = common.colour(self._arguments.output is None)
        tallies: dict[tuple[str, int], Tally] = {}
        for judged in self._judged():
            tallies.setdefault((judged.row.vm, judged.row.boot), Tally()).add(judged)
            if judged.judgement.agrees is False:
                yield conformance.divergence_line(self._profile, judged, colour=colour)
            if self._arguments.effects:
                yield from conformance.effect_lines(judged, colour=colour)
        yield from conformance.tally_lines(self._profile, tallies, colour=colour)
        if self._coverage is not None:
            yield from conformance.coverage_lines(self._coverage)
        if self._start.identities or self._start.blacklist:  # a device that the guest did not have: and then?
            yield from self._predictions(colour)

    def _predictions(self, colour: bool) -> Iterator[str]:
        from xptrace.replay.whatif import predict, variants_of
        from xptrace.views.prediction import prediction_lines

        tried = [(one, variant) for one in self._negotiations.found for variant in variants_of(self._start, one)]
        found = [prediction for one, variant in tried if (prediction := predict(one, variant)) is not None]
        yield from prediction_lines(found, assumed_inventory=not self._start.inventory, colour=colour)
