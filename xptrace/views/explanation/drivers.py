"""Drivers explained: what each does to the ports, what it is bound to, what its guest loses.

Law: `xptrace.model.drivers`, where each is declared with its source. What it does at boot is played against the model
of a device that it gets on with::

    inw 0x10 -> 0x49d2  magic 0x49d2: Xen platform device, not blacklisted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import groupby
from typing import Any

from dissectors.platform.products import PRODUCTS, describe_driver
from dissectors.platform.registers import find, meaning
from xptrace.model import function as pci
from xptrace.model.access import Access
from xptrace.model.drivers import DRIVERS, Claim, Driver, Play, Step, declared, play
from xptrace.model.machine import Machine, power_on, step
from xptrace.model.profiles import XENSERVER_TRADITIONAL
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.wording import LETTERS, newest, paragraphs


def _claim(claim: Claim) -> str:
    return f"{claim.sentence} ({claim.certainty})"


def _short(access: Access, answer: int | None) -> str:
    at = f"0x{access.offset:x}" if access.space == "pio" else f"{access.space.upper()}+{access.offset}"
    if access.direction == "read":
        return f"in{LETTERS[access.size]} {at} -> {'?' if answer is None else f'0x{answer:x}'}"
    return f"out{LETTERS[access.size]} {at} 0x{access.value or 0:x}"


def _logs(one: Step) -> bool:
    found = find(one[0].space, one[0].offset, one[0].size, one[0].direction)
    return found is not None and found.name == "log"


def _sequence(steps: Iterable[Step]) -> Iterator[Row]:
    """The accesses in short, and what they mean; those that log, as the text that they make."""
    for logs, group in groupby(steps, _logs):
        if logs:
            yield "says", bytes(access.value or 0 for access, _ in group).decode("ascii", "replace").strip()
            continue
        for access, answer in group:
            value = answer if access.direction == "read" else access.value
            yield _short(access, answer), meaning(access.space, access.offset, access.size, access.direction, value)


def _answering(machine: Machine) -> Callable[[Access], int | None]:
    def answer(access: Access) -> int | None:
        nonlocal machine
        machine, answered, _ = step(machine, access)
        return None if answered is None else answered.value

    return answer


def _boot(driver: Driver[Any]) -> tuple[str, Play]:
    """A device that does not refuse it, the newest QEMU where that is one, and what it does there."""
    protocol_2 = power_on(XENSERVER_TRADITIONAL, identities=(pci.platform(XENSERVER_TRADITIONAL, 0x0002),))
    for machine in (power_on(newest()), protocol_2):
        played = play(driver, _answering(machine), driver.options())
        if played.outcome.verdict != "refused":
            break
    return machine.profile.name, played


def _bound(driver: Driver[Any]) -> list[Row]:
    return [
        (f"{one.vendor:04x}:{one.device:04x}", "" if one.revision is None else f"revision {one.revision}",
         f"since {one.since}: {one.source}" if one.since else one.source)
        for one in driver.binds or ()
    ]  # fmt: skip


def _driver(driver: Driver[Any]) -> Page:
    on, played = _boot(driver)
    lost: list[Row] = [(one.name.replace("_", " "), _claim(getattr(driver.next_boot, one.name)))
                       for one in fields(driver.next_boot)]
    product = f"{driver.product} ({PRODUCTS.get(driver.product or 0, 'unregistered')})"
    return Page("driver", driver.name, driver.title, {
        "product": describe_driver(None, None) if driver.product is None else product,
        "builds": driver.builds,
        "at boot": paragraphs(driver.boot)[0],
        f"on {on}": [*_sequence(played.steps), ("outcome", f"{played.outcome.verdict}: {played.outcome.sentence}")],
        "at resume": _claim(driver.resumes),
        "attaches to": _bound(driver),
        "binding": _claim(driver.binding.claim),
        "next boot": lost,
        "options": [(one.name, f"{one.about} ({one.form})") for one in declared(driver.options)],
        "known by": f"{driver.law} ({driver.certainty})",
    })  # fmt: skip


def _find(word: str) -> list[Page]:
    return [_driver(one) for one in DRIVERS if one.name == word]


DRIVER = Kind("driver", "drivers", lambda: [one.name for one in DRIVERS], _find, _find)
