"""Anomalies of the handshake: the probe, the version, product and build, and what the host answers.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc, steps 1 to 6; xen/include/public/hvm/pvdrivers.h for products; the
drivers' own sources for what each of them takes for an answer. A guest that finds no platform device, and one whose
build the host refuses::

    cpu_in addr 0x10(w) value 65535
    cpu_in addr 0x10(w) value 53833
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dissectors.platform.products import LINUX, LINUX_BUILDS, PRODUCTS, describe_driver
from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, in_words
from xptrace.findings.rule import Certainty, Context, Hit, places, rule
from xptrace.findings.words import span, when
from xptrace.negotiation.sayings import sayings
from xptrace.negotiation.story import Moment, Step, Story, comes_after

_UNPLUG: Final = "xen/docs/misc/hvm-emulated-unplug.pandoc"
_REGISTRY: Final = "xen/include/public/hvm/pvdrivers.h"
_VMDP: Final = 205
"""SUSE VMDP's product number, which is sent without being registered."""
_PLATFORM_IDS: Final = (0x0001, 0x0002)
"""PCI device ids of the platform device: Xen's own, and XenServer's."""
_MOST: Final = 8
"""Places that are named of one anomaly."""


# -- what a handshake is made of


def _known(value: int | None) -> bool:
    """Whether a magic is one that the device may answer, or is not recorded."""
    return value in (None, MAGIC, MAGIC_BLACKLISTED)


def _handshakes(story: Story, *questions: str) -> list[list[Step]]:
    """The steps, parted at every one of these questions; the first part has none where the recording begins later."""
    found: list[list[Step]] = [[]]
    for step in story.handshake:
        if step.register in questions:
            found.append([])
        found[-1].append(step)
    return [part for part in found if part]


def _from_start(story: Story, step: Step) -> bool:
    """Whether the recording of the boot is known to begin before its driver does.

    It does where the machine was reset, where it was seen to start and to run, and where firmware was at work before.
    """
    if story.began == "migration":
        return False
    ran = any((event.subject, event.said) == ("runstate", "running") for event in story.life)
    flags = [one.at for one in story.steps if one.register == "flags" and one.direction == "write"]
    scanned = [seen.at for seen in story.functions.values() if seen.field(0, 2) is not None]
    return story.began == "reset" or (story.began == "process" and ran) or any(
        comes_after(step.at, one) for one in (*flags, *scanned)
    )


def _product_before(story: Story, case: Context) -> Step | None:
    """The last product that was named to the same device model in an earlier boot, which a reset in place ended."""
    boot: Story | None = story
    while boot is not None and boot.began == "reset":
        boot = case.before(boot)
        if boot is not None and boot.products:
            return boot.products[-1]
    return None


def _named(product: Step) -> str:
    """A product number with the name that is known for it."""
    return f"{product.value} ({PRODUCTS.get(product.value or 0, 'unregistered')})"


def _digits(step: Step) -> str:
    """The value of a step in hexadecimal, at the width of its register."""
    return f"0x{step.value or 0:0{2 * step.size}x}"


# -- the probe


@rule(
    "A01", severity="medium", title="devices were unplugged by somebody who never saw the magic",
    law=f"{_UNPLUG}, step 1", needs={"ports"},
    advice="Find out who wrote the mask (a boot loader, a DOS tool, a driver of one's own), and have it find 0x49d2 at "
           "port 0x10 first.",
)
def unprobed(story: Story, case: Context) -> Iterator[Hit]:
    """Step 1 of the protocol asks whether port 0x10 is the Xen platform device's at all.

    Who writes the unplug mask without having read 0x49d2 switches off something else on another machine, and takes
    away disks that the guest may have no PV driver for. Drivers that write the mask again after a resume were answered
    at their boot, and do nothing wrong.
    """
    mask = next(iter(story.of("unplug_mask", "write")), None)
    if mask is None:
        return
    magics = [step for step in story.steps[: story.steps.index(mask)] if step.register == "magic"]
    if any(_known(step.value) for step in magics):
        return
    written = f"mask {_digits(mask)} ({in_words(mask.value or 0)}) was written {when(mask.at)}"
    if magics:
        said = f"the probe read {_digits(magics[-1])} and not the magic 0x49d2, and {written} all the same"
        yield Hit(f"{story.id}: {said}", places(magics[-1].at, mask.at))
    elif _from_start(story, mask) and case.reads_recorded(story):
        yield Hit(f"{story.id}: {written}, and nobody had read the magic in this boot", places(mask.at), "derived")


def _answered(magic: Step) -> bool:
    return magic.value in (MAGIC, MAGIC_BLACKLISTED)


def _strange(story: Story) -> Step | None:
    """The first read of the magic, where its answer is none of the device's."""
    first = next(iter(story.magics), None)
    return None if first is None or _known(first.value) else first


def _platform(story: Story) -> tuple[str, Moment] | None:
    """What shows that the VM has a platform device, and where."""
    for seen in story.functions.values():
        if seen.kind == "xen-platform" or seen.device_id in _PLATFORM_IDS:
            return "its PCI config space was accessed", seen.at
    answer = next((step for step in story.magics if _answered(step)), None)
    if answer is not None:
        return f"a later read gave {_digits(answer)}", answer.at
    bar0 = next((step for step in story.steps if step.space == "bar0"), None)
    return None if bar0 is None else ("its BAR0 was accessed", bar0.at)


@rule(
    "A02", severity="high", title="the platform device is there, and its ports do not answer",
    law=f"{_UNPLUG}, step 1; hw/i386/xen/xen_platform.c, ports 0x10 to 0x1f", needs={"ports"},
    advice="Look which device has ports 0x10 to 0x1f (`info mtree -f` in QEMU's monitor), and compare machine type and "
           "command line with those of a VM that works.",
)
def deaf_ports(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Drivers ask port 0x10 before anything else, and stop where the answer is not the magic.

    The guest then stays on emulated devices, or finds no disk where PV devices are all that it has. As the device is
    on the bus, its ports are not decoded, or another device took them.
    """
    strange, there = _strange(story), _platform(story)
    if strange is not None and there is not None:
        how, where = there
        late = any(_answered(step) for step in story.magics)
        yield Hit(f"{story.id}: {_probe(strange)}, although the VM has a Xen platform device: {how}",
                  places(strange.at, where), severity="medium" if late else None)


def _probe(strange: Step) -> str:
    return f"the probe {when(strange.at)} read {_digits(strange)} from port 0x10 and not the magic 0x49d2"


@rule(
    "A03", severity="low", title="the probe found no platform device",
    law=f"{_UNPLUG}, step 1; arch/x86/xen/platform-pci-unplug.c", needs={("ports", "kernel")},
    advice="Nothing for a PVH guest, or for one without PV drivers; start others with xen_platform_pci=1 (xl), and see "
           "that their PV devices connect.",
)
def no_device(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Nothing at port 0x10 answered as the platform device does, and nothing else shows that the VM has one.

    A PVH guest has no such ports, and Linux' "unrecognised magic value" is then cosmetic. A kernel that takes PVH for
    HVM, or an HVM guest that was started without the device, refuses to load its PV frontends.
    """
    strange = _strange(story)
    if strange is None:
        yield from _unrecognised(story)
    if strange is None or _platform(story) is not None:
        return
    connected = [change.device for kind in ("vbd", "vif") for change in story.connected(kind)]
    so = f"; {', '.join(connected[:4])} connected all the same" if connected else ""
    yield Hit(f"{story.id}: {_probe(strange)}, and nothing recorded shows a Xen platform device{so}",
              places(strange.at), "assumed")


def _unrecognised(story: Story) -> Iterator[Hit]:
    """The same by the guest's word alone, where no access is recorded: what came of it tells whether it matters."""
    said = [] if story.magics else sayings(story)
    line = next((one for one in said if one.kind == "magic unrecognised"), None)
    if line is None:
        return
    refused = [one for one in said if one.kind in ("frontend refused", "frontend timeout")]
    what = f"{story.id}: the guest's kernel says {when(line.at)} that it did not find the magic"
    if refused:
        driver = refused[0].word("driver") or refused[0].word("device") or "a frontend"
        yield Hit(f"{what}, and then has no PV device ({driver}: {refused[0].kind}): a kernel that takes PVH for HVM, "
                  "or a guest that was started without the platform device",
                  places(line.at, *(one.at for one in refused)), "derived", "high")
    elif connected := [one for one in said if one.kind == "disk connected"]:
        yield Hit(f"{what}; a PV disk connected all the same", places(line.at, connected[0].at), "derived", "info")
    else:
        yield Hit(f"{what}; what came of it is not recorded", places(line.at), "assumed")


# -- the host's verdict


def _refuses(story: Story, case: Context) -> bool | None:
    """Whether the device is one that can refuse a driver; missing where nothing was fitted, or lineages are mixed.

    Upstream QEMU explains no recording in which the magic is 0xd249: where no device is left that does, none of those
    that could have written the recording refuses anybody.
    """
    never = case.device(story, lambda profile: profile.blacklist == "none")
    if never is None and story.vm in case.devices and not case.devices[story.vm]:
        return False
    return None if never is None else not never


_IMPOSSIBLE: Final = (
    "no release of QEMU that writes such a recording answers so: the device model is a private build, or the two bytes "
    "of 0x49d2 were swapped by whoever recorded it"
)


def _last(steps: list[Step]) -> Step | None:
    return steps[-1] if steps else None


@rule(
    "A04", severity="high", title="the host refused the driver",
    law=f"{_UNPLUG}, step 5; hw/xen_platform.c of qemu-xen-traditional", needs={("ports", "messages", "kernel")},
    advice="Look in xenstore for /mh/driver-blacklist (on XenServer also at the PCI device id and revision that the "
           "driver was built for), and update the driver; where the device model is upstream QEMU, look at how it was "
           "built and recorded first.",
)
def refused(story: Story, case: Context) -> Iterator[Hit]:
    """0xd249 in place of the magic says that the host does not want this build of the driver.

    A driver that obeys unplugs nothing, and the guest goes on with slow emulated disks and NICs. Only
    qemu-xen-traditional, and XenServer's queue on it, keep such a list; 0xd249 is 0x49d2 with its bytes swapped, so
    that a wrong byte order looks the same.
    """
    refusal = next((step for step in story.magics if step.value == MAGIC_BLACKLISTED), None)
    if refusal is None and not story.magics:
        word = next((one for one in sayings(story) if one.kind == "blacklisted" or one.flag("blacklisted")), None)
        if word is not None:
            who = "the device model's log" if word.speaker == "unproven" else "the guest"
            yield Hit(f"{story.id}: {who} says {when(word.at)} that the driver is blacklisted by the host",
                      places(word.at), "derived")
    if refusal is None or any(_although_refused(story)):
        return
    refuses = _refuses(story, case)
    if refuses is False:
        yield Hit(f"{story.id}: the magic read 0xd249 (blacklisted) {when(refusal.at)}, and {_IMPOSSIBLE}",
                  places(refusal.at), "derived", "medium")
    elif story.blacklisted:
        product, build = _last(story.products), _last(story.builds)
        who = describe_driver(product.value if product else None, build.value if build else None)
        yield Hit(f"{story.id}: the host refused the driver ({who}) {when(refusal.at)}: the magic read 0xd249, and "
                  "nothing was unplugged, so that the guest stays on emulated devices",
                  places(refusal.at, *(step.at for step in (product, build) if step)),
                  "assumed" if refuses is None else "observed")


def _although_refused(story: Story) -> Iterator[tuple[Step, Step]]:
    """Each demand to unplug something before which the magic last was a refusal, with the read of that."""
    refusal: Step | None = None
    for step in story.handshake:
        if step.register == "magic":
            refusal = step if step.value == MAGIC_BLACKLISTED else None
        elif step.mask and refusal is not None:
            yield refusal, step


@rule(
    "A05", severity="medium", title="a refused driver unplugged all the same",
    law=f"{_UNPLUG}, step 5; src/xen/unplug.c of win-xenbus", needs={"ports"},
    advice="Take the build off the host's blacklist or replace the driver, and do not count on the blacklist to keep "
           "the emulated devices.",
)
def refused_yet_unplugged(story: Story, case: Context) -> Iterator[Hit]:
    """The host refused the driver so that the guest keeps its emulated devices, and the driver has them unplugged.

    Windows' xenbus only takes note of the verdict. qemu-xen-traditional acts on the mask, so that the disks are in the
    hands of a driver that the host does not trust; XenServer's queue on it ignores the mask.
    """
    demands = list(_although_refused(story))
    if not demands:
        return
    refusal, first = demands[0]
    mask = 0
    for _, step in demands:
        mask |= step.mask or 0
    gap = story.nanoseconds(refusal.at, first.at)
    later = when(first.at) if gap is None else f"{span(gap)} later"
    yield Hit(f"{story.id}: the magic read 0xd249 (blacklisted) {when(refusal.at)}, and {later} the driver asked to "
              f"unplug {in_words(mask)}{_effect(story, case)}",
              places(refusal.at, *(step.at for _, step in demands[: _MOST - 1])))


def _effect(story: Story, case: Context) -> str:
    """What the device makes of a refused driver's mask."""
    if _refuses(story, case) is False:
        return f"; {_IMPOSSIBLE}"
    acts = case.device(story, lambda profile: profile.blacklist == "keys")
    return "" if acts is None else ", which this device does" if acts else ", which this device ignores"


# -- the protocol version


_ON: Final = ("product_number", "build_number", "unplug_mask", "unplug_type", "unplug_index", "protocol_version")
"""What a driver that likes the version goes on with, or a question that it asks again."""
_CHOICE: Final = (("unplug_type", 0), ("unplug_index", 2))
"""How XenServer 6.1's drivers choose protocol 2 before they ask for the version."""


@rule(
    "A06", severity="high", title="driver and device do not speak the same protocol version",
    law=f"{_UNPLUG}, step 2; arch/x86/xen/platform-pci-unplug.c; unplug-version-2.patch of XenServer", needs={"ports"},
    advice="Use a driver that is made for this host: XenServer 6.1's and 6.2's Windows drivers need protocol 2, Linux "
           "needs version 1, others take 0 or 1; see also what else used the device before in the same start.",
)
def version_mismatch(story: Story, case: Context) -> Iterator[Hit]:
    """The version decides how devices are unplugged, and a driver that is answered another one than its own stops.

    Linux works with version 1 alone, other drivers of version 1 with 0 as well, and XenServer 6.1's Windows drivers
    with 2 and later. Whoever stops unplugs nothing, and the guest stays on emulated devices.
    """
    for magic, *steps in _handshakes(story, "magic"):
        if magic.register != "magic" or magic.value != MAGIC:
            continue
        for at, answer in enumerate(steps):
            told = _mismatch(story, case, steps[:at], answer, steps[at + 1 :])
            if told is not None:
                said, certainty = told
                yield Hit(f"{story.id}: the device answered protocol version {answer.value} {when(answer.at)}, {said}",
                          places(magic.at, answer.at), certainty)
                return


def _mismatch(
    story: Story, case: Context, before: list[Step], answer: Step, after: list[Step]
) -> tuple[str, Certainty] | None:
    """What a version means to the driver that asked for it, where it is not the one that it needs."""
    version = answer.value
    if answer.register != "protocol_version" or version is None:
        return None
    chose = tuple((step.register, step.value) for step in before[-2:]) == _CHOICE
    if chose and version < 2:
        return "to a driver that had chosen protocol 2, as XenServer 6.1's do: it cannot unplug anything", "observed"
    if chose or version == 1 or any(step.register in _ON for step in after) or not case.goes_on(story, answer.at):
        return None
    if version > 1:
        odd = " (all ones, as where nothing answers)" if version == 0xFF else ""
        return f"newer than the driver knows{odd}: it went no further, and unplugged nothing", "derived"
    driver, windows = case.driver(story), any(line.text.startswith("UNPLUG:") for line in story.log)
    if driver is None or driver.driver.name != "linux" or windows:
        return None
    return "and the driver, which does as Linux does, went no further: Linux works with version 1 alone", "assumed"


# -- product and build


@rule(
    "A07", severity="medium", title="a driver named its product and no build",
    law=f"{_UNPLUG}, steps 3 and 4", needs={"ports"},
    advice="See what the guest did at that moment: a reset or a crash in the middle of the handshake, or a driver that "
           "leaves out step 4.",
)
def no_build(story: Story, case: Context) -> Iterator[Hit]:
    """Product and build are written one right after the other, so a product alone is a handshake that broke off.

    The driver died, the guest was reset, or it is a driver that does not keep to the protocol. A host with a blacklist
    has not judged it, as only the build is judged.
    """
    for part in _handshakes(story, "magic", "protocol_version"):
        products = [step for step in part if step.register == "product_number" and step.value is not None]
        built = any(step.register == "build_number" for step in part)
        if products and not built and case.goes_on(story, part[-1].at):
            yield Hit(f"{story.id}: a driver named itself product {_named(products[-1])} "
                      f"{when(products[-1].at)} and gave no build number with it", places(products[-1].at), "derived")
            return


@rule(
    "A08", severity="medium", title="a driver named its build before its product",
    law=f"{_UNPLUG}, steps 3 and 4; hw/xen_platform.c of qemu-xen-traditional", needs={"ports"},
    advice="Correct the driver's order: the product to port 0x12 first, as a word, then the build to port 0x10, as a "
           "dword.",
)
def build_first(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """A build number says nothing without the product that it is a build of.

    qemu-xen-traditional complains of it in its log and does not judge the driver, so that a build which the host has
    on its blacklist goes through; upstream QEMU ignores the number.
    """
    build = next(iter(story.builds), None)
    if build is None:
        return
    before = story.steps[: story.steps.index(build)]
    probed = any(step.register in ("magic", "protocol_version") for step in before)
    if any(step.register == "product_number" for step in before) or not (probed or _from_start(story, build)):
        return
    yield Hit(f"{story.id}: build {build.value} was written {when(build.at)}, and no product number before it",
              places(build.at))


@rule(
    "A09", severity="medium", title="a driver named itself product 0",
    law=f"{_REGISTRY}; hw/xen_platform.c of qemu-xen-traditional", needs={"ports"},
    advice="Find the driver by its lines in the log or by its build number, and give it a product number that is "
           "registered.",
)
def product_zero(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Product 0 is nobody's: it is what a driver sends that never filled in its number.

    The host cannot tell whose build it judges. qemu-xen-traditional notes the claim in its log, and takes the build
    that follows for one that came without a product.
    """
    found = [step.at for step in story.products if step.value == 0]
    if found:
        yield Hit(f"{story.id}: a driver named itself product 0 {when(found[0])}, which is nobody's number",
                  places(*found[:_MOST]))


@rule(
    "A10", severity="low", title="a product number that is not registered",
    law=_REGISTRY, needs={"ports"},
    advice="Nothing where you know the driver (205 is SUSE's VMDP); otherwise find out whose it is, and have its "
           "vendor register a number.",
)
def unregistered(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """The number names no vendor that the registry knows, so a host's blacklist cannot name the driver either.

    SUSE's VMDP sends 205 without being registered, and is a legitimate driver. Any other number is a vendor's own
    driver, an experiment, or damage.
    """
    first: dict[int, Step] = {}
    for step in story.products:
        if step.value is not None and step.value != 0 and (step.value not in PRODUCTS or step.value == _VMDP):
            first.setdefault(step.value, step)
    for product, step in list(first.items())[:_MOST]:
        who = "SUSE's VMDP, a legitimate driver that" if product == _VMDP else "a number that"
        yield Hit(f"{story.id}: the driver named itself product {product} {when(step.at)}, {who} pvdrivers.h does not "
                  "list", places(step.at))


@rule(
    "A11", severity="low", title="product 3 with a build that is not Linux'",
    law=f"{_REGISTRY}; src/xen/unplug.c of win-xenbus at 6d1066c", needs={"ports"},
    advice="Treat the guest as Windows with XenServer 6.1's or 6.2's drivers, not as Linux.",
)
def not_linux(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Product 3 is registered for Linux, whose build is always 1, and is sent by XenServer 6.1's Windows drivers too.

    Those write the PCI device id and revision that they were made for as their build. Who looks at the product alone
    takes a Windows guest for Linux.
    """
    product: int | None = None
    for step in story.handshake:
        if step.register == "product_number":
            product = step.value
        elif step.register == "build_number" and product == LINUX and (step.value or 0) not in LINUX_BUILDS:
            build = step.value or 0
            yield Hit(f"{story.id}: build {build} of product 3 {when(step.at)} is none of Linux', which sends 1: as "
                      f"XenServer 6.1 writes it, it is device id 0x{build >> 8:04x}, revision {build & 0xFF}",
                      places(step.at))
            return


@rule(
    "A12", severity="medium", title="two products under one device model",
    law=f"{_UNPLUG}, step 3; {_REGISTRY}", needs={"ports"},
    advice="See whether two driver stacks are installed side by side and remove one; nothing where the guest started "
           "another system by a reset in place.",
)
def another_product(story: Story, case: Context) -> Iterator[Hit]:
    """One guest has one set of PV drivers; two that name themselves in turns are two that may want the same devices.

    Each unplugs what it replaces and binds the same frontends, so that a disk may be lost or used twice. Another
    system that was started by a reset in place, or a loader with drivers of its own, looks the same and is harmless.
    """
    if not story.products:
        return
    changes: list[Step] = []
    before = earlier = _product_before(story, case)
    for step in story.products:
        if before is not None and None not in (before.value, step.value) and before.value != step.value:
            changes += [step] if changes else [before, step]
        before = step
    if changes:
        names = " then ".join(_named(step) for step in changes[:4])
        over = ", over a reset of the machine" if changes[0] is earlier else ""
        yield Hit(f"{story.id}: drivers named themselves product {names}{_and_more(changes[4:])} to one device model"
                  f"{over}, the second {when(changes[1].at)}", places(*(step.at for step in changes[:_MOST])))


def _and_more(left: Iterable[Step]) -> str:
    count = len(list(left))
    return f" and {count} more" if count else ""


# -- xenlinux' two historic modules


@rule(
    "A50", severity="low", title="a historic xenlinux module",
    law="unmodified_drivers/linux-2.6/platform-pci/platform-pci.c of Xen, 1ed13664e3 (2009-07-20), 6b8e764c0f "
        "(2010-01-29) and 414391cea6 (2010-02-22)",
    needs={"ports"},
    advice="Update the guest's xen-platform-pci module to one from after 2010-02.",
)
def historic_xenlinux(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Two early versions of xenlinux' module do not do what they were told.

    That of 2009-07 has port and value of every write in each other's place, so that nothing is unplugged and emulated
    and PV devices run side by side; that of 2010-01 always writes mask 0x000f, whatever its dev_unplug says.
    """
    swapped = _swapped(story)
    if swapped is not None:
        yield Hit(f"{story.id}: the handshake has no product, build or mask, and ends with a byte 0 to port 0x10 "
                  f"{when(swapped[-1].at)}: the upper half of a word 0x0010 for port 0x0f, which is the unplug of "
                  "xenlinux' module of 2009-07, port and value in each other's place; nothing was unplugged",
                  places(*(step.at for step in swapped)), "derived")
    mask = next((step for step in story.of("unplug_mask", "write") if step.value == 0x0F), None)
    if mask is not None and _of_xenlinux(story):
        yield Hit(f"{story.id}: mask 0x000f was written {when(mask.at)}, which xenlinux' module of 2010-01 to 2010-02 "
                  "does whatever it was told", places(mask.at), "derived")


_SWAPPED: Final = (
    (("magic", MAGIC), ("protocol_version", 1), ("magic", MAGIC), ("flags", 0)),
    (("magic", MAGIC), ("protocol_version", 0), ("flags", 0)),
)
"""What reaches the device of the module of 2009-07: port 0xbeef, 0xdead and 0x0f are not its own."""


def _swapped(story: Story) -> tuple[Step, ...] | None:
    """The steps of the module of 2009-07, where they are there and no mask is."""
    if story.masks:
        return None
    for way in _SWAPPED:
        for steps in zip(*(story.steps[at:] for at in range(len(way))), strict=False):
            if tuple((step.register, step.value) for step in steps) == way and steps[-1].direction == "write":
                return steps
    return None


def _of_xenlinux(story: Story) -> bool:
    """Whether product and build are xenlinux', or the version was 0 and none were to be written."""
    product, build = _last(story.products), _last(story.builds)
    if product is None or build is None:
        return product is build and any(step.value == 0 for step in story.versions)
    return product.value == 0xFFFF and (build.value or 0) >> 24 in (2, 3) and (build.value or 0) & 0xFF == 0
