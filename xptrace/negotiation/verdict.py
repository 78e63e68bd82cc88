"""How a negotiation ended: one code, one sentence.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc. Only what the recording shows is told; that something did not happen is
told only where the recording could have shown it, and went on long enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import ALL_UNPLUG_BITS, MAGIC, MAGIC_BLACKLISTED, UNPLUG_BITS, in_words
from xptrace.negotiation.sayings import sayings
from xptrace.negotiation.story import Story

CODES: Final = {
    "double-access": "emulated disks stayed although a PV disk connected: two ways to one image",
    "unplugged-without-frontend": "disks were unplugged, and no PV disk took their place",
    "blacklisted-unplugged": "the host refused the driver, which unplugged all the same",
    "blacklisted": "the host refused the driver; nothing was unplugged",
    "refused": "the driver did not find the device or protocol that it works with",
    "abandoned": "the handshake was begun and not finished",
    "unprobed": "devices were unplugged by a driver that never read the magic",
    "emulated": "the driver was accepted and unplugged nothing",
    "unknown": "the recording does not tell",
    "messages-only": "only lines of the guest's log are recorded",
    "untouched": "nobody probed the device, or no access to it is recorded",
    "complete-legacy": "the devices were unplugged by the legacy registers of BAR0",
    "complete": "the driver was accepted and unplugged what it asked for",
}
"""Every code with what it stands for, the worst first."""
_DISKS: Final = UNPLUG_BITS[0].value
PATIENCE_NS: Final = 60 * 10**9
"""How long a frontend may take to connect before it is said to be missing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended: a code of `CODES`, and a sentence about this very case."""

    code: str
    sentence: str

    @property
    def rank(self) -> int:
        """Where it stands among the codes: 0 is the worst."""
        return list(CODES).index(self.code)


def verdict(story: Story, patience_ns: int = PATIENCE_NS) -> Verdict:
    """How the negotiation of a boot ended."""
    if not story.begun:
        return _untouched(story)
    asked = in_words(story.mask) if story.mask and story.mask & ALL_UNPLUG_BITS else ""
    if story.blacklisted:
        if asked:
            return Verdict("blacklisted-unplugged", f"blacklisted, yet the driver unplugged: {asked}")
        return Verdict("blacklisted", "blacklisted: nothing unplugged")
    answers = [step.value for step in story.magics if step.value is not None]
    if answers and not any(answer in (MAGIC, MAGIC_BLACKLISTED) for answer in answers):
        return Verdict("refused", f"refused: the probe read 0x{answers[-1]:04x}, not the magic")
    if asked:
        return _unplugged(story, asked, patience_ns)
    if story.devices:
        return Verdict("complete", f"complete: unplugged {len(story.devices)} devices one by one (protocol 2)")
    return _nothing_unplugged(story)


def _untouched(story: Story) -> Verdict:
    if story.steps or story.bar1:
        return Verdict("untouched", "no negotiation: the device was accessed, but nobody probed it")
    if story.lines:
        return _spoken(story)
    return Verdict("untouched", "no access to the device recorded")


def _spoken(story: Story) -> Verdict:
    """How it ended by the guest's word alone."""
    said = sayings(story)
    kinds = {one.kind for one in said}
    if any(one.kind == "blacklisted" or one.flag("blacklisted") for one in said):
        return Verdict("blacklisted", "blacklisted by the host, by what was said")
    if "magic unrecognised" in kinds or "version unknown" in kinds:
        return Verdict("refused", "the guest says that it did not find the device or protocol that it works with")
    mask = 0
    for one in said:
        mask |= _SPOKEN.get(one.kind, 0) | (one.integer("mask") or 0)
    if mask:
        return Verdict("messages-only", f"only the guest's word is recorded: it unplugs {in_words(mask)}")
    return Verdict("messages-only", "only log lines recorded")


_SPOKEN: Final = {"unplug disks": 1, "unplug nics": 2}
"""Mask bits by what the Windows drivers say of them."""


def _unplugged(story: Story, asked: str, patience_ns: int) -> Verdict:
    mask, last = story.mask or 0, story.masks[-1]
    disks = bool(mask & _DISKS)
    if not disks and (connected := story.connected("vbd", story.masks[0].at)):
        names = ", ".join(change.device for change in connected)
        return Verdict("double-access", f"double access: the mask left the disks, and {names} connected")
    waited = story.remaining_ns(last.at)
    if disks and "vbd" in story.evidence and not story.connected("vbd") and waited is not None and waited > patience_ns:
        return Verdict("unplugged-without-frontend",
                       f"unplugged {asked}, and no PV disk connected in the {waited // 10**9} s that follow")
    if not story.magics:
        legacy = all(step.register != "unplug_mask" for step in story.masks)
        if not legacy and story.began == "migration":  # GPLPV and xenlinux write the mask alone once they run again
            return Verdict("complete", f"complete: unplugged again, by the mask alone: {asked}")
        if all(step.derived for step in story.masks):  # of a log, which tells of no reads
            return Verdict("complete", f"complete, as far as the log tells: unplugged {asked}")
        how = "by the legacy registers" if legacy else "without a probe"
        return Verdict("complete-legacy" if legacy else "unprobed", f"unplug asked for {how}: {asked}")
    return Verdict("complete", f"complete: unplugged {asked}")


def _nothing_unplugged(story: Story) -> Verdict:
    if story.mask is not None:
        return Verdict("emulated", "complete: the mask asked for nothing to be unplugged")
    accepted = bool(story.builds) and len(story.magics) > 1
    if accepted and (connected := story.connected("vbd", story.magics[-1].at)):
        names = ", ".join(change.device for change in connected)
        return Verdict("double-access", f"accepted, but nothing unplugged, and {names} connected: two ways to one disk")
    if accepted:
        return Verdict("emulated", "accepted, but nothing unplugged: the emulated devices stay")
    if story.magics and len(story.handshake) == len(story.magics):
        return Verdict("unknown", "probed, and nothing more recorded")
    return Verdict("abandoned", "begun, but not finished: nothing unplugged")
