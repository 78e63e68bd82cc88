"""Who drove the device: the driver that made a boot's steps, and what the evidence leaves open.

Law: the sequences of `xptrace.model.drivers`; pvdrivers.h for products, the drivers' own sources for what their builds
mean. The numbers are the guest's word: a driver that claims to be another cannot be told from it by them alone, but its
order, widths and masks may. The version is read out of the build where the build holds one::

    product 0xffff, build 0x00090000: Windows PV (xenbus) 9.0.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dissectors.platform.products import describe_driver
from xptrace.model.drivers import Recognised, recognise, spell
from xptrace.negotiation.story import Story

_NO_PRODUCT: Final = "names no product (as FreeBSD, NetBSD and OpenBSD do)"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The driver, as far as the evidence goes.

    `name` is a driver model's, missing where none explains the first step; `claim` is what product and build say in
    words; `explained` of `of` steps are that model's; `alternatives` are other models that explain as many.
    """

    name: str | None
    title: str | None
    claim: str | None
    options: tuple[str, ...] = ()
    explained: int = 0
    of: int = 0
    alternatives: tuple[str, ...] = ()

    @property
    def confidence(self) -> str:
        """`certain` where one model explains every step, `open` where several do, `partial` where none does."""
        if self.name is None or not self.of:
            return "none"
        if self.explained < self.of:
            return "partial"
        return "open" if self.alternatives else "certain"


def claimed(story: Story) -> str | None:
    """What the driver says it is, in words; missing where nobody probed or asked for anything."""
    product = story.products[0].value if story.products else None
    build = story.builds[0].value if story.builds else None
    if product is None and not story.magics and story.mask is None:
        told = story.named
        return None if told is None or told[0] is None else f"{describe_driver(*told)}, by the device model's word"
    if product is None and story.mask is not None and story.magics and not story.versions:
        return _NO_PRODUCT
    return describe_driver(product, build)


def fingerprint(story: Story) -> Fingerprint:
    """The driver of a boot."""
    found = recognise(story.played)
    if not found:
        return Fingerprint(None, None, claimed(story), of=len(story.handshake))
    best = found[0]
    return Fingerprint(best.driver.name, best.driver.title, claimed(story), spell(best.options), best.explained,
                       best.of, tuple(dict.fromkeys(one.driver.name for one in found[1:] if _as_good(one, best))))


def _as_good(one: Recognised, best: Recognised) -> bool:
    return one.explained == best.explained and one.driver.name != best.driver.name
