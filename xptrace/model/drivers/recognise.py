"""Which driver was it: the drivers, with their options, that could have made recorded accesses, best first.

Law: the sequences themselves: each driver is given the options that its recorded numbers suggest, and is run along the
recording. A Linux guest that was started with xen_emul_unplug=ide-disks::

    Recognised(driver=linux, options=LinuxOptions(xen_emul_unplug=('ide-disks',), ...), explained=6, when='boot', of=6)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from xptrace.model.drivers.catalogue import DRIVERS
from xptrace.model.drivers.driver import Driver, When
from xptrace.model.drivers.options import Options, spell
from xptrace.model.drivers.run import follow, willing
from xptrace.model.drivers.steps import Step, negotiates, negotiation, seen


class Recognised(NamedTuple):
    """One driver that explains the first `explained` of `of` recorded steps."""

    driver: Driver[Any]
    options: Options
    explained: int
    when: When
    of: int


def recognise(observed: Sequence[Step]) -> list[Recognised]:
    """Every driver that explains the first step, at its best: those first that explain most.

    Of two that explain as much, the one is first that does nothing beyond what is recorded; then the one that needs
    fewer options; then a boot before a resume; then the order of the catalogue.
    """
    steps = negotiation(observed)
    told = seen(steps)
    found: list[tuple[tuple[int, ...], Recognised]] = []
    for place, driver in enumerate(DRIVERS):
        options = driver.infer(told)
        ranked = []
        for later, when in enumerate(_occasions(driver)):
            followed = follow(driver, options, steps, willing, when)
            beyond = followed.play.steps[followed.parted :] if followed.parted is not None else ()
            rank = (
                -followed.explained, sum(negotiates(access) for access, _ in beyond), len(spell(options)), later, place,
            )  # fmt: skip
            ranked.append((rank, Recognised(driver, options, followed.explained, when, len(steps))))
        best = min(ranked, key=lambda entry: entry[0])
        if best[1].explained:
            found.append(best)
    return [recognised for _, recognised in sorted(found, key=lambda entry: entry[0])]


def _occasions(driver: Driver[Any]) -> tuple[When, ...]:
    """When a driver does something of its own: a resume that repeats the boot cannot be told from it."""
    return ("boot",) if driver.resume in (None, driver.boot) else ("boot", "resume")
