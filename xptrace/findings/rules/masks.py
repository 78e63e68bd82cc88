"""Anomalies of the unplug mask itself: bits that the device does not know, that exclude each other, that say nothing.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc, step 6; hw/i386/xen/xen_platform.c of QEMU for which release knows which
bit. Linux with xen_emul_unplug=all asks for all disks and for those beside the primary master as well::

    cpu_out addr 0x10(w) value 7
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from dissectors.platform.registers import ALL_UNPLUG_BITS, UNPLUG_BITS, in_words
from xptrace.findings.rule import Context, Hit, places, rule
from xptrace.findings.words import span, when
from xptrace.negotiation.story import Moment, Step, Story

_UNPLUG: Final = "xen/docs/misc/hvm-emulated-unplug.pandoc"
_DISKS, _NICS, _AUXILIARY, _NVME = (bit.value for bit in UNPLUG_BITS)
_AT_ONCE_NS: Final = 10**9
"""A mask that comes again within this time is no resume's: a guest that was suspended takes longer."""
_MOST: Final = 8
"""Places that are named of one anomaly."""


def _written(story: Story) -> list[tuple[int, Step]]:
    """The masks, and the writes of them; the legacy registers are no masks."""
    return [(step.value, step) for step in story.of("unplug_mask", "write") if step.value is not None]


@rule(
    "A17", severity="low", title="the device does not know mask bit 3 (NVMe)",
    law=f"{_UNPLUG}, step 6; hw/i386/xen/xen_platform.c, 04d6da4ff6 (QEMU 2.10)", needs={"ports"},
    advice="Nothing where the VM has no emulated NVMe disk; otherwise move it to QEMU 2.10 or later.",
)
def unknown_nvme_bit(story: Story, case: Context) -> Iterator[Hit]:
    """Bit 3 asks for the unplug of NVMe disks, and only QEMU since 2.10 listens to it.

    Older releases, qemu-xen-traditional and XenServer's and XCP-ng's QEMU ignore the bit: an emulated NVMe disk then
    stays beside its PV twin, unless bit 0 takes it away.
    """
    found = [step for mask, step in _written(story) if mask & _NVME]
    if found and case.device(story, lambda profile: profile.nvme_bit == _NVME) is False:
        yield Hit(f"{story.id}: mask 0x{found[0].value:04x}, written {when(found[0].at)}, has bit 3 (NVMe disks), and "
                  "no device that can have made this recording knows it", places(*(step.at for step in found[:_MOST])),
                  "derived")


@rule(
    "A18", severity="low", title="a mask with bit 0 and bit 2 together",
    law=f"{_UNPLUG}, step 6; hw/i386/xen/xen_platform.c", needs={"ports"},
    advice="Nothing; to keep the primary master emulated, leave bit 0 out (xen_emul_unplug=aux-ide-disks for Linux).",
)
def disks_twice(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Bit 0 asks for all disks, bit 2 for all but the primary master: together, bit 0 wins.

    Linux with xen_emul_unplug=all, xenlinux, SUSE's VMDP and OpenBSD write both, and mean all disks. Who meant to keep
    the boot disk emulated loses it.
    """
    found = [step for mask, step in _written(story) if mask & _DISKS and mask & _AUXILIARY]
    if found:
        yield Hit(f"{story.id}: mask 0x{found[0].value:04x}, written {when(found[0].at)}, asks for all disks (bit 0) "
                  "and for all but the primary master (bit 2): bit 0 wins",
                  places(*(step.at for step in found[:_MOST])))


@rule(
    "A19", severity="medium", title="a mask that asks for nothing, or for what is not defined",
    law=f"{_UNPLUG}, step 6; hw/i386/xen/xen_platform.c", needs={"ports"},
    advice="For mask 0, see the guest's dev_unplug and whether its kernel has the PV frontends; for undefined bits, "
           "correct the driver.",
)
def meaningless(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """A mask of 0 unplugs nothing, and bits from 4 up mean nothing to any device.

    After a mask of 0 the emulated devices stay beside PV ones: xenlinux writes it for dev_unplug=never, Linux where it
    has neither frontend. Undefined bits are ignored today; they are a mistake in the driver, or another byte order.
    """
    empty = [step for mask, step in _written(story) if mask == 0]
    if empty:
        yield Hit(f"{story.id}: mask 0x0000 was written {when(empty[0].at)}, which unplugs nothing",
                  places(*(step.at for step in empty[:_MOST])))
    beyond = [(mask, step) for mask, step in _written(story) if mask & ~ALL_UNPLUG_BITS]
    if beyond:
        mask, first = beyond[0]
        yield Hit(f"{story.id}: mask 0x{mask:04x}, written {when(first.at)}, has bits that nobody defined "
                  f"(0x{mask & ~ALL_UNPLUG_BITS:04x}); what is defined of it asks for {in_words(mask)}",
                  places(*(step.at for _, step in beyond[:_MOST])))


@rule(
    "A22", severity="low", title="a mask is written again", law=f"{_UNPLUG}, step 6; 6cd387833d (QEMU 2.4, XSA-139)",
    needs={"ports"},
    advice="Nothing on QEMU 2.4 and later; older ones must be updated for XSA-139 (CVE-2015-5166).",
)
def again(story: Story, case: Context) -> Iterator[Hit]:
    """A driver asked twice in one handshake for the unplug of the same devices.

    What is gone already cannot go again, so nothing comes of it. Before QEMU 2.4 an unplugged drive was used after it
    had been freed (XSA-139), and every further unplug was another chance for it.
    """
    repeats = list(_repeats(story))
    if not repeats:
        return
    first, second = repeats[0]
    old = case.device(story, lambda profile: profile.lineage == "qemu" and profile.version < (2, 4))
    gap = story.nanoseconds(first.at, second.at)
    later = when(second.at) if gap is None else f"{span(gap)} later"
    yield Hit(f"{story.id}: mask 0x{second.value:04x} was written {later}, when {in_words(second.value or 0)} had been "
              f"asked for {when(first.at)} already",
              places(first.at, *(step.at for _, step in repeats[: _MOST - 1])), severity="medium" if old else None)


def _repeats(story: Story) -> Iterator[tuple[Step, Step]]:
    """Masks of one handshake whose every bit the one before them had as well, and that one.

    A read of the magic begins another handshake, as after a resume. xenlinux and GPLPV resume without one, which shows
    only in what comes between, or in the time that it takes.
    """
    steps = [step for step in story.steps if step.register in ("magic", "unplug_mask")]
    told = sorted([*(_place(change.at) for change in story.changes), *(_place(line.at) for line in story.log)])
    for one, other in pairwise(steps):
        if one.mask is None or not other.mask or other.mask & ~one.mask:
            continue
        if _at_once(story, one, other, told):
            yield one, other


def _place(at: Moment) -> tuple[str, int]:
    return at.place.source, at.place.offset


def _at_once(story: Story, one: Step, other: Step, told: Sequence[tuple[str, int]]) -> bool:
    """Whether so little lies between two steps that the guest was not suspended in between.

    Where no clock tells, nothing at all may: neither a PV device's state nor a line of the log. `told` are the places
    of those; where no PV device is recorded, that there is none says nothing.
    """
    gap = story.nanoseconds(one.at, other.at)
    if gap is not None:
        return gap < _AT_ONCE_NS
    if one.at.place.source != other.at.place.source or not story.evidence & {"vbd", "vif"}:
        return False
    return bisect(told, _place(one.at)) == bisect(told, _place(other.at))
