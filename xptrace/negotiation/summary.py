"""One line per VM and boot: who drove the device, and what was settled.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc. Only what the recording shows is told; the driver's name is inferred
from the steps that it made and from the product and build that it claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from dissectors.platform.registers import UNPLUG_BITS
from xptrace.access.attribution import Vm
from xptrace.negotiation.course import PHASES, course, first_handshake
from xptrace.negotiation.fingerprint import fingerprint
from xptrace.negotiation.story import MOST_BOOTS, Stories, Story
from xptrace.negotiation.verdict import verdict

KEYS: Final = (
    "vm", "boot", "driver", "product", "build", "protocol_version", "blacklisted", "unplug_mask", "unplugged",
    "started_ns", "duration_ns", "verdict", "id", "code", "epoch", "model", "confidence", "alternatives", "state",
    *(f"{phase}_ns" for phase in PHASES),
)
"""The keys of a summary row, in order; `PHASE_ns` is how long a phase took."""


def summary_row(story: Story) -> dict[str, Any]:
    """The keys of a summary row."""
    driver, walked, ended = fingerprint(story), course(story), verdict(story)
    steps = first_handshake(story)
    last = next((step for step in reversed(steps) if step.mask is not None), steps[-1] if steps else None)
    took = story.nanoseconds(steps[0].at, last.at) if steps and last else None
    row = {
        "vm": story.vm, "boot": story.boot, "driver": driver.claim,
        "product": _first(story.products), "build": _first(story.builds), "protocol_version": _first(story.versions),
        "blacklisted": story.blacklisted, "unplug_mask": story.mask,
        "unplugged": [bit.name for bit in UNPLUG_BITS if (story.mask or 0) & bit.value],
        "started_ns": steps[0].at.time_ns if steps else None, "duration_ns": took, "verdict": ended.sentence,
        "id": story.id, "code": ended.code, "epoch": story.began, "model": driver.name,
        "confidence": driver.confidence, "alternatives": list(driver.alternatives), "state": walked.state,
    }
    for name in PHASES:
        phase = walked.phase(name)
        row[f"{name}_ns"] = None if phase is None else phase.duration_ns
    return row


def _first(steps: Sequence[Any]) -> int | None:
    return next((step.value for step in steps if step.value is not None), None)


def complete(stories: Stories, vms: Iterable[Vm]) -> list[Story]:
    """The stories of every boot that a VM had, also of those of which nothing else is recorded."""
    found = {(story.vm, story.boot): story for story in stories.found}
    for vm in vms:
        for boot in range(1, min(vm.boot, MOST_BOOTS - len(found)) + 1):
            found.setdefault((vm.name, boot), Story(vm.name, boot, vm.began.get(boot)))
    order = {name: at for at, name in enumerate(dict.fromkeys(vm for vm, _ in found))}
    return [found[key] for key in sorted(found, key=lambda key: (order[key[0]], key[1]))]


def worst_first(stories: Iterable[Story]) -> Iterator[Story]:
    """The stories whose negotiation ended worst come first; equals stay in order."""
    yield from sorted(stories, key=lambda story: verdict(story).rank)
