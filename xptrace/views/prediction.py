"""Predictions for people: one paragraph a device, under the guest that it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xptrace.model.drivers import spell
from xptrace.model.inventory import typical
from xptrace.replay.whatif import Prediction
from xptrace.views.escape import paint, printable


def _head(one: Prediction) -> str:
    found = one.recognised
    options = f" ({' '.join(spell(found.options))})" if spell(found.options) else ""
    explained = f"explains {found.explained} of {found.of} recorded steps"
    return f"{printable(one.recorded.vm)}#{one.recorded.boot}  {found.driver.title}{options}: {explained}"


def _parting(one: Prediction) -> str:
    at = one.parts_at
    if at is None:
        return "as recorded, step by step"
    record = one.recorded.records[at]
    return f"parts from the recording at step {at + 1}, {printable(record.source)}:{record.line} @{record.offset}"


def prediction_lines(
    predictions: Sequence[Prediction], *, assumed_inventory: bool, colour: bool = False
) -> Iterator[str]:
    """Who binds, what the handshake gives, what goes, and what the guest meets at its next boot."""
    last = None
    for one in predictions:
        if one.recorded is not last:
            if last is not None:
                yield ""
            yield paint(colour, "1", _head(one))
            last = one.recorded
        binds = {True: "yes", False: "no", None: "not known"}[one.binds]
        yield f"  {paint(colour, '36', f'on {one.variant.name}')}  [{one.variant.start.profile.name}]"
        yield f"    binds      {binds}: {one.binds_because}"
        yield f"    handshake  {one.outcome.verdict}: {one.outcome.sentence}"
        gone = ", ".join(one.removed) or "nothing"
        yield f"    unplugs    {', '.join(one.unplugs) or 'nothing'}; goes: {gone}"
        yield f"    next boot  {one.next_boot}  ({one.next_boot_certainty})"
        yield f"    compared   {_parting(one)}"
        for note in one.variant.notes:
            yield f"    note       {note}"
    if predictions:
        names = ", ".join(device.name for device in typical() if device.media or device.is_nic)
        assumed = f"; the emulated devices are assumed: {names} (--inventory)" if assumed_inventory else ""
        yield f"predicted by models of the driver and the device, not recorded{assumed}"
