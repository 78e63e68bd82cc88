"""Running a driver: against a device, or along a recording for as long as it does what was recorded.

Law: none of its own; what a driver does is its sequence's, what it is answered is the device's. A device is a function
from an access to the answer of a read, None where there is none. A handshake whose recording ends with the build, and
what Linux would have done had the host refused it::

    followed = follow(linux, options, recorded, blacklisting_device)
    followed.parted  # 4: from the second read of the magic on it is a prediction
    followed.play.outcome.verdict  # blacklisted
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dissectors.platform.registers import MAGIC
from xptrace.model.access import Access
from xptrace.model.drivers.driver import Driver, Negotiation, Outcome, When
from xptrace.model.drivers.options import Chosen, Options
from xptrace.model.drivers.steps import Step, negotiates, negotiation, same, sets_flags

Device = Callable[[Access], int | None]


@dataclass(frozen=True, slots=True)
class Play:
    """What a driver did: every access with its answer, log bytes included, and how it ended."""

    driver: Driver[Any]
    options: Options
    when: When
    steps: tuple[Step, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Followed:
    """A play along a recording.

    `explained` is how many recorded steps are the driver's. `parted` is the index in `play.steps` of the first step
    that is not recorded, and missing where there is none: from there on the play is a prediction. `left` are the
    recorded steps that the driver did not make.
    """

    play: Play
    explained: int
    parted: int | None
    left: tuple[Step, ...]


def _start(driver: Driver[Chosen], options: Chosen, when: When) -> Negotiation | None:
    sequence = driver.boot if when == "boot" else driver.resume
    return None if sequence is None else sequence(options)


def _run(negotiation: Negotiation | None, answer: Callable[[Access], int | None], steps: list[Step]) -> Outcome:
    if negotiation is None:
        return Outcome("unasked", "at resume it leaves the ports alone")
    try:
        access = next(negotiation)
        while True:
            answered = answer(access)
            steps.append((access, answered if access.direction == "read" else None))
            access = negotiation.send(steps[-1][1])
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def play(driver: Driver[Chosen], device: Device, options: Chosen, when: When = "boot") -> Play:
    """What the driver does against a device."""
    steps: list[Step] = []
    outcome = _run(_start(driver, options, when), device, steps)
    return Play(driver, options, when, tuple(steps), outcome)


def follow(
    driver: Driver[Chosen], options: Chosen, observed: Sequence[Step], device: Device, when: When = "boot"
) -> Followed:
    """What the driver does when it is answered as recorded, and by the device from where it parts from the recording.

    What is no step of a negotiation (log bytes, the PCI side) is passed over in the recording and in the play. The
    device is shown every access, so that it knows what went before; as long as the recording holds, its answers serve
    only where the recording has none.
    """
    recorded = negotiation(observed)
    of_driver = any(negotiates(access) for access, _ in recorded)
    steps: list[Step] = []
    explained = 0
    parted: int | None = None

    def answer(access: Access) -> int | None:
        nonlocal explained, parted
        answered = device(access)
        if parted is not None or not (negotiates(access) or (sets_flags(access) and not of_driver)):
            return answered
        if explained < len(recorded) and same(access, recorded[explained][0]):
            explained += 1
            known = recorded[explained - 1][1]
            return answered if known is None else known
        parted = len(steps)
        return answered

    outcome = _run(_start(driver, options, when), answer, steps)
    return Followed(Play(driver, options, when, tuple(steps), outcome), explained, parted, recorded[explained:])


def willing(access: Access) -> int | None:
    """A device that accepts everybody: the magic, and the version that the driver asks for."""
    return {(0x10, 2): MAGIC, (0x12, 1): 1}.get((access.offset, access.size))


def matches(driver: Driver[Chosen], options: Chosen, observed: Sequence[Step], when: When = "boot") -> int:
    """How many steps of the recorded negotiation, from its first on, the driver makes with these options."""
    return follow(driver, options, observed, willing, when).explained
