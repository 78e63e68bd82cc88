"""Anomalies of PCI identity: what the platform device says it is, in one boot and from one boot to the next.

Law: xen/docs/man/xen-pci-device-reservations.7.pod for the ids (0001 and 0002 exclude each other, C000 only
accompanies one of them); hw/i386/xen/xen_pvdevice.c of QEMU; xenopsd's choice of device id and revision
(ocaml/xenopsd/xc/xenops_server_xen.ml). The identity of a platform device, as a guest reads it::

    pci_cfg_read xen-platform 00:02.0 @0x0 -> 0x15853
    pci_cfg_read xen-platform 00:02.0 @0x8 -> 0xff800001
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dissectors.platform.products import PRODUCTS
from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED
from xptrace.access.spaces import place
from xptrace.findings.rule import Context, Hit, places, rule
from xptrace.findings.words import when
from xptrace.negotiation.story import Seen, Step, Story

_IDS: Final = "xen/docs/man/xen-pci-device-reservations.7.pod"
_PLATFORM, _PVDEVICE = "xen-platform", "xen-pvdevice"
_ABSENT: Final = 0xFFFF
"""What the ids of a function read as that does not answer."""
_MOST: Final = 8
"""Places that are named of one anomaly."""


def _of_kind(story: Story, kind: str) -> list[Seen]:
    """The functions of a kind that the boot shows, by their place; one that did not answer is left out."""
    found = [one for one in story.functions.values() if one.kind == kind and one.device_id != _ABSENT]
    return sorted(found, key=lambda one: one.number)


def _whose(function: Seen) -> str:
    """A function with its vendor and device id, as far as they were read, and its place."""
    vendor, device = function.field(0, 2), function.device_id
    ids = "" if device is None else f" {'' if vendor is None else f'{vendor:04x}:'}{device:04x}"
    return f"{function.kind}{ids} at {place(function.number)}"


def _preambles(story: Story) -> list[tuple[Step, Step]]:
    """Every product with its build, where a driver named itself and asked at once for the host's answer (steps 3-5)."""
    steps = story.handshake
    return [
        (product, build) for product, build, answer in zip(steps, steps[1:], steps[2:], strict=False)
        if (product.register, build.register, answer.register) == ("product_number", "build_number", "magic")
    ]


@rule(
    "A23", severity="high", title="two platform devices, or two drivers, in one VM", needs={"ports"},
    law=f"{_IDS}; xen/include/public/hvm/pvdrivers.h",
    advice="Leave one platform device (0001 or 0002) in the VM's configuration, and one set of PV drivers in the "
           "guest.",
)
def two_of_a_kind(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """There must be one platform device and one driver that talks to it.

    Two functions both claim the ports 0x10 to 0x1f, and each may be bound by drivers of its own. Two drivers both
    believe that they own xenstore, the grant tables and the disks; what one connects, the other one takes away.
    """
    functions = _of_kind(story, _PLATFORM)
    if len({one.number & 0xFF for one in functions}) > 1:  # the number of a bus may change, the place on it does not
        names = " and ".join(_whose(one) for one in functions[:_MOST])
        yield Hit(f"{story.id}: more than one platform device: {names}",
                  places(*(one.at for one in functions[:_MOST])))
    firsts: dict[int, tuple[Step, Step]] = {}
    for product, build in _preambles(story):
        if product.value is not None:
            firsts.setdefault(product.value, (product, build))
    if len(firsts) > 1:
        said = ", then ".join(
            f"product {number} ({PRODUCTS.get(number, 'unregistered')}) {when(product.at)}"
            for number, (product, _) in list(firsts.items())[:4]
        )
        yield Hit(f"{story.id}: drivers of {len(firsts)} products named themselves in one boot: {said}",
                  places(*(step.at for pair in list(firsts.values())[:4] for step in pair)))


def _changes(one: Seen, other: Seen) -> list[str]:
    """What differs between two sights of a function, of all that both show."""
    facts = (
        ("device id", one.device_id, other.device_id, "04x"), ("revision", one.revision, other.revision, "02x"),
        ("subsystem", one.subsystem, other.subsystem, "04x"),
    )
    found = [
        f"{name} 0x{before:{form}}, now 0x{now:{form}}"
        for name, before, now, form in facts if before is not None and now is not None and before != now
    ]
    if (one.number ^ other.number) & 0xFF:
        found.append(f"place {place(one.number)}, now {place(other.number)}")
    return found


def _before(story: Story, case: Context, kind: str) -> tuple[Story, Seen] | None:
    """The only function of a kind in the last boot before this one that shows it, and that boot."""
    earlier = case.before(story)
    while earlier is not None:
        functions = _of_kind(earlier, kind)
        if functions:
            return (earlier, functions[0]) if len(functions) == 1 else None
        earlier = case.before(earlier)
    return None


@rule(
    "A24", severity="high", title="the platform device changed its identity between two boots", needs={"config"},
    law=f"{_IDS}; xenopsd CA-309144, CA-313709, CA-320361; Citrix CTX215064",
    advice="Give the VM its old identity back: platform:device_id on XenServer and XCP-ng, the same slot and QEMU "
           "options elsewhere. Only then change drivers.",
)
def changed(story: Story, case: Context) -> Iterator[Hit]:
    """Windows ties its boot disk to the platform device by id, revision and place on the bus.

    With another identity the old device is gone for Windows, the disk that hung from it is not found, and the guest
    stops with 0x7B, INACCESSIBLE_BOOT_DEVICE. Linux and the BSDs find their disks without the PCI function, and mostly
    do not mind.
    """
    for kind in (_PLATFORM, _PVDEVICE):
        now, known = _of_kind(story, kind), _before(story, case, kind)
        if len(now) != 1 or known is None:
            continue
        earlier, before = known
        differences = _changes(before, now[0])
        if differences:
            driver = case.driver(story) or case.driver(earlier)
            free = driver is not None and driver.driver.binding.needed is False
            mind = f"; {driver.driver.title} does not need the function to unplug" if driver and free else ""
            yield Hit(f"{story.id}: {kind} is not what it was in {earlier.id}: {'; '.join(differences)}{mind}",
                      places(now[0].at, before.at), severity="low" if free else None)


def _platform_shown(story: Story) -> bool:
    """Whether anything shows a platform device: its function, its magic, its log, its BAR0."""
    return (
        bool(_of_kind(story, _PLATFORM) or story.log)
        or any(step.value in (MAGIC, MAGIC_BLACKLISTED) for step in story.magics)
        or any(step.space == "bar0" for step in story.steps)
    )


@rule(
    "A25", severity="high", title="a PV device without a platform device", needs={"config"},
    law=f"{_IDS}: C000 accompanies 0001 or 0002; hw/i386/xen/xen_pvdevice.c",
    advice="Turn the platform device on beside it (xen_platform_pci=1 for xl, or drop control/has-vendor-device).",
)
def portless(story: Story, case: Context) -> Iterator[Hit]:
    """xen-pvdevice (5853:C000 and the like) exists so that Windows Update finds drivers; it has no unplug ports.

    Without a platform device beside it, the driver that it brings reads no magic, cannot unplug anything, and leaves
    the guest on emulated devices or with two of each.
    """
    pv = [one for one in _of_kind(story, _PVDEVICE) if one.device_id is not None]
    if not pv or any(_platform_shown(one) for one in case.boots(story)):
        return
    refused = next((step for step in story.magics if step.value is not None), None)
    answer = "" if refused is None else f", and port 0x10 reads 0x{refused.value:04x}, not the magic"
    yield Hit(f"{story.id}: {' and '.join(_whose(one) for one in pv[:_MOST])}, and no platform device is recorded"
              f"{answer}", places(*(one.at for one in pv[: _MOST - 1]), None if refused is None else refused.at),
              "assumed" if refused is None else "derived")
