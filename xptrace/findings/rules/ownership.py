"""Anomalies of who owns disks and NICs: two ways to one image, or none, and disks that come back after a migration.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc for what a mask asks for; xen/include/public/io/xenbus.h for the states of
PV devices; tools/libs/light of Xen (libxl_device.c, libxl_dm.c) for which PV disks have an emulated twin: hda to hdd
and xvda to xvdd on IDE, sda and on as SCSI. A disk that a PV driver takes over::

    cpu_out addr 0x10(w) value 3
    xen_device_frontend_state type: xen-disk name: 768 -> XenbusStateConnected

Only back ends that the device model serves leave such lines; those of the kernel do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import MAGIC, UNPLUG_BITS, in_words
from xptrace.access.signs import CONNECTED, XENBUS_STATES
from xptrace.findings.rule import Certainty, Context, Hit, places, rule
from xptrace.findings.words import span, when
from xptrace.model.drivers import recognise
from xptrace.model.profile import Profile
from xptrace.negotiation.sayings import sayings
from xptrace.negotiation.story import Change, Moment, Step, Story, comes_after

_UNPLUG: Final = "xen/docs/misc/hvm-emulated-unplug.pandoc"
_XENBUS: Final = "xen/include/public/io/xenbus.h"
_DISKS, _NICS, _AUXILIARY, _NVME = (bit.value for bit in UNPLUG_BITS)
_INITIALISING, _INIT_WAIT = XENBUS_STATES.index("Initialising"), XENBUS_STATES.index("InitWait")
_MOST: Final = 8
"""Places that are named of one anomaly."""
_RESUMED: Final = re.compile(r"\bSUSPEND: (?:EARLY|LATE) \(", re.IGNORECASE)
"""What Windows' xenbus logs once it runs again; a suspend that was cancelled leaves no such line."""
_TOLD_OF_GUEST: Final = frozenset({"ports", "config", "bar1", "messages", "bytes"})
"""Evidence that only the guest's own doing leaves in a recording, however much of it is recorded."""


# -- PV disks, and the emulated ones that they take the place of


@dataclass(frozen=True, slots=True)
class Twin:
    """The emulated disk that shows the same image as a PV disk: its name, its bus, its place on it."""

    name: str
    bus: str
    index: int


_MAJORS: Final = (
    # first number, between two disks, disks, bus, first place on it, letters
    (768, 64, 2, "ide", 0, "hd"), (5632, 64, 2, "ide", 2, "hd"), (51712, 16, 4, "ide", 0, "xvd"),
    (2048, 16, 16, "scsi", 0, "sd"),
)
"""Numbers of PV disks that have an emulated twin: xen/docs/man/xen-vbd-interface.7.pandoc."""


def twin(device: str) -> Twin | None:
    """The emulated twin of a PV disk by its number; None for one that has none, or where its number tells nothing."""
    number = device.partition("/")[2]
    if not (number.isascii() and number.isdigit()):
        return None
    for base, step, disks, bus, first, letters in _MAJORS:
        at, rest = divmod(int(number) - base, step)
        if 0 <= at < disks and not rest:
            return Twin(f"{letters}{chr(ord('a') + first + at)}", bus, first + at)
    return None


def named(device: str) -> str:
    """A PV device, and the disk's name where its number tells one."""
    known = twin(device)
    return device if known is None else f"{device} ({known.name})"


def is_disk(story: Story, device: str) -> bool:
    """Whether a PV block device is a disk: xenstore's word for it, else anything but hdc, where toolstacks put CD-ROMs.

    A CD-ROM that no PV driver takes is normal for an HVM guest.
    """
    number = re.escape(device.partition("/")[2])
    node = re.compile(rf"(?:device/vbd|backend/\w+/\d+)/{number}/device-type$")
    types = [event.said for event in story.store if node.search(event.subject)]
    return types[-1] == "disk" if types else device != "vbd/5632"


def _goes(profile: Profile, mask: int, disk: Twin) -> bool:
    """Whether a mask takes an emulated disk away on this device."""
    if not mask & profile.disk_bits:
        return False
    auxiliary = bool(mask & _AUXILIARY) and not mask & _DISKS
    if disk.bus == "scsi":
        return profile.scsi and not auxiliary
    return not (auxiliary and disk.index == 0)


def taken(story: Story, case: Context, mask: int, disk: Twin) -> bool | None:
    """Whether a mask takes an emulated disk away; missing where that depends on a release that is not known.

    Bit 0 takes all IDE disks by the protocol, and no disk bit takes none. Bits 2 and 3 alone do not do the same
    everywhere, and neither does bit 0 to SCSI disks.
    """
    if not mask & (_DISKS | _AUXILIARY | _NVME):
        return False
    if mask & _DISKS and disk.bus == "ide":
        return True
    return case.device(story, lambda profile: _goes(profile, mask, disk))


def _twins(story: Story, case: Context) -> Certainty | None:
    """How well it is known that PV devices have emulated twins; None where QEMU emulates Xen, and they have none.

    There, PV devices are given beside emulated ones, each with an image and a network back end of its own.
    """
    emulates = case.device(story, lambda profile: profile.lineage == "kvm-xen")
    return None if emulates else "assumed" if emulates is None else "derived"


def _whole(story: Story) -> bool:
    """Whether nothing of the negotiation came before the recording: it shows the boot begin, or somebody probe."""
    steps = story.handshake
    return story.began is not None or bool(steps and steps[0].register == "magic")


def connected_disks(story: Story, after: Moment) -> list[Change]:
    """When each PV disk with an emulated twin first connected after a moment."""
    return [change for change in story.connected("vbd", after) if twin(change.device) and is_disk(story, change.device)]


def _open_at(story: Story, device: str, then: Moment) -> Change | None:
    """The connection of a PV device that was open at a moment."""
    before = [change for change in story.states(device) if comes_after(then, change.at)]
    return before[-1] if before and before[-1].state == CONNECTED else None


def _list(devices: list[str]) -> str:
    return ", ".join(devices[:_MOST]) + (f" and {len(devices) - _MOST} more" if len(devices) > _MOST else "")


@dataclass(frozen=True, slots=True)
class Lost:
    """Disks that were unplugged, and the PV disks that did not take their place in the time that was left."""

    mask: Step
    devices: list[str]
    waited_ns: int
    over: bool
    """Whether the recording shows this boot to its end."""


def lost_disks(story: Story, case: Context) -> Lost | None:
    """What a guest without any disk lost; None where one took over, or where there was not enough time for it."""
    mask, union = _first_of_disks(story), story.mask or 0
    waited = None if mask is None else story.remaining_ns(mask.at)
    if mask is None or waited is None or waited <= case.patience_ns:
        return None
    devices = story.pv_devices("vbd")
    if story.connected("vbd", mask.at) or any(_open_at(story, device, mask.at) for device in devices):
        return None
    lost = [
        device for device in devices
        if is_disk(story, device) and (known := twin(device)) is not None and taken(story, case, union, known)
    ]
    return Lost(mask, lost, waited, _is_over(story, case)) if lost else None


def _first_of_disks(story: Story) -> Step | None:
    """The first mask that asks for disks of any kind."""
    return next((step for step in story.masks if (step.mask or 0) & (_DISKS | _AUXILIARY | _NVME)), None)


def _is_over(story: Story, case: Context) -> bool:
    """Whether the recording shows a boot to its end."""
    ended = ("destroyed", "shutdown")
    return case.after(story) is not None or any(event.said in ended for event in story.life)


# -- two ways to one disk, or to one NIC


@rule(
    "A13", severity="high", title="a PV disk connected, and the emulated disks are still there",
    law=f"{_UNPLUG}, step 6; {_XENBUS}", needs={"ports", "vbd"},
    advice="Shut the VM down before anything writes to the disk. Then let the guest unplug: no "
           "xen_emul_unplug=unnecessary for Linux, the XEN\\Unplug request of Windows' PV drivers in place.",
)
def double_access(story: Story, case: Context) -> Iterator[Hit]:
    """The guest was accepted and asked for no unplug, yet its PV driver took a disk: it now has every such disk twice.

    Both ways lead to one image, with a cache each. Mounted or assembled twice (LVM, RAID, a second file system mount),
    the image is corrupted without any error.
    """
    certainty = _twins(story, case)
    answered = next((step for step in story.magics if step.value == MAGIC), None)
    if certainty is None or answered is None or story.blacklisted or story.mask is not None or story.devices:
        return
    found = connected_disks(story, answered.at)
    if found and _whole(story):
        disks = _list([named(change.device) for change in found])
        yield Hit(f"{story.id}: the driver was accepted {when(answered.at)} and unplugged nothing, and PV disk {disks} "
                  f"connected {when(found[0].at)}: emulated and PV disk lead to one image",
                  places(answered.at, story.magics[-1].at, *(change.at for change in found[:_MOST - 2])), certainty)


@rule(
    "A15", severity="high", title="a PV device connected whose emulated twin the mask left",
    law=f"{_UNPLUG}, step 6; {_XENBUS}", needs={"ports", "vbd"},
    advice="Let the guest unplug both kinds (mask 3): for Linux no xen_emul_unplug that names one of them alone, for "
           "Windows no VBD or VIF left out of the XEN\\Unplug request.",
)
def half_unplugged(story: Story, case: Context) -> Iterator[Hit]:
    """The guest unplugged some of its devices, and took a PV device whose emulated twin was not among them.

    A disk is then there twice, over one image, which a second mount corrupts. A NIC is there twice with one MAC
    address, and which of the two answers is chance.
    """
    certainty, mask = _twins(story, case), story.mask
    if certainty is None or mask is None or story.devices or not _whole(story):
        return
    first = story.masks[0]
    written = f"mask 0x{mask:04x} ({in_words(mask)}), written {when(first.at)}, leaves"
    proof = [step.at for step in story.masks[:2]]
    disks = [
        change for change in connected_disks(story, first.at)
        if (disk := twin(change.device)) is not None and taken(story, case, mask, disk) is False
    ]
    if disks:
        names = _list([named(change.device) for change in disks])
        yield Hit(f"{story.id}: {written} the emulated twin of PV disk {names}, which connected {when(disks[0].at)}: "
                  "emulated and PV disk lead to one image",
                  places(*proof, *(change.at for change in disks[: _MOST - 2])), certainty)
    nics = [] if mask & _NICS else story.connected("vif", first.at)
    if nics:
        names = _list([change.device for change in nics])
        yield Hit(f"{story.id}: {written} the emulated NICs, and PV NIC {names} connected {when(nics[0].at)}: two NICs "
                  "with one MAC address",
                  places(*proof, *(change.at for change in nics[: _MOST - 2])), certainty, "medium")


def _may_be_openbsd(story: Story) -> bool:
    return any(one.driver.name == "openbsd" and one.explained == one.of for one in recognise(story.played))


@rule(
    "A20", severity="high", title="disks were unplugged while a PV disk was connected already",
    law=f"{_UNPLUG}, step 6: before buses are enumerated; {_XENBUS}", needs={"ports", "vbd"},
    advice="Have the guest unplug before its PV drivers start: build the platform driver into the kernel or its "
           "initrd, ahead of the block frontend.",
)
def late(story: Story, case: Context) -> Iterator[Hit]:
    """The emulated disks went away when the PV disk was in use already, so for a while an image had two ways to it.

    What was written by the emulated disk and not yet finished is lost, and what the two wrote in turns may disagree.
    OpenBSD alone attaches its PV drivers first and unplugs afterwards by design.
    """
    certainty, mask = _twins(story, case), _first_of_disks(story)
    if certainty is None or mask is None or not _whole(story) or _may_be_openbsd(story):
        return
    open_then = [
        change for device in story.pv_devices("vbd")
        if twin(device) is not None and (change := _open_at(story, device, mask.at)) is not None
    ]
    if open_then:
        disks = _list([named(change.device) for change in open_then])
        gap = story.nanoseconds(open_then[0].at, mask.at)
        earlier = f"connected {when(open_then[0].at)}" + ("" if gap is None else f", {span(gap)} earlier,")
        yield Hit(f"{story.id}: the first mask that takes disks (0x{mask.mask or 0:04x}) came {when(mask.at)}, when PV "
                  f"disk {disks} had {earlier} and was still open", places(mask.at, *(one.at for one in open_then[:7])),
                  certainty)


# -- no way to a disk


@rule(
    "A14", severity="high", title="disks were unplugged, and no PV disk took their place",
    law=f"{_UNPLUG}, step 6; {_XENBUS}", needs={"ports", "vbd", "time"},
    advice="Boot without unplug (xen_emul_unplug=never for Linux, safe mode for Windows), then see whether the block "
           "frontend is installed and in the initrd, and whether the toolstack set up a PV back end.",
)
def diskless(story: Story, case: Context) -> Iterator[Hit]:
    """The guest gave its emulated disks away and never connected a PV disk, so it has none at all.

    Linux then waits for its root disk or drops to the initrd's shell; Windows stops with 0x7B,
    INACCESSIBLE_BOOT_DEVICE. Usual causes are an initrd without xen-blkfront, half-installed PV drivers, or a back end
    that the toolstack did not start.
    """
    lost = lost_disks(story, case)
    if lost is None:
        return
    states = [change for device in lost.devices for change in story.states(device)[-1:]]
    yield Hit(f"{story.id}: disks were unplugged {when(lost.mask.at)} (mask 0x{lost.mask.mask or 0:04x}), and no PV "
              f"disk connected in the {span(lost.waited_ns)} that follow; not taken by any driver: "
              f"{_list([named(one) for one in lost.devices])}",
              places(lost.mask.at, *(change.at for change in states[: _MOST - 2]), story.last),
              "observed" if lost.over else "assumed")


@rule(
    "A51", severity="high", title="a PV device waits for a driver that the guest does not have",
    law=f"{_XENBUS}; drivers/xen/xenbus/xenbus_probe_frontend.c of Linux",
    needs={("ports", "kernel"), ("vbd", "kernel"), ("time", "kernel")},
    advice="See whether the guest has the frontend (xen-blkfront, xen-netfront, XENVBD, XENVIF) and whether it is "
           "bound to the device; Linux' own log says `Timeout connecting to device`.",
)
def unbound(story: Story, case: Context) -> Iterator[Hit]:
    """After the unplug the host offers a PV device, and nobody in the guest takes it.

    The back end stays at InitWait and the frontend at Initialising. Linux waits up to five minutes for it during boot;
    whatever hangs from the device (a file system, an address) is missing.
    """
    for kind, bits in (("vbd", _DISKS), ("vif", _NICS)):
        first = next((step for step in story.masks if (step.mask or 0) & bits), None)
        waited = None if first is None else story.remaining_ns(first.at)
        if first is None or waited is None or waited <= case.patience_ns:
            continue
        for device in story.pv_devices(kind):
            front, back = story.states(device)[-1:], story.states(device, "backend")[-1:]
            waits = [one.state for one in front] == [_INITIALISING] and [one.state for one in back] == [_INIT_WAIT]
            if waits and (kind == "vif" or is_disk(story, device)):
                yield Hit(f"{story.id}: {named(device)} waits for the guest's driver (back end at InitWait, frontend "
                          f"at Initialising); mask 0x{first.mask or 0:04x} was written {when(first.at)}, and the boot "
                          f"is recorded for {span(waited)} after it",
                          places(first.at, front[0].at, back[0].at, story.last),
                          "observed" if _is_over(story, case) else "assumed")
    for said in [one for one in sayings(story) if one.kind == "frontend timeout"][:_MOST]:
        local, remote = (_state(said.integer(end)) for end in ("local", "remote"))
        yield Hit(f"{story.id}: the guest's kernel gave up waiting for {said.word('device')} {when(said.at)} (frontend "
                  f"at {local}, back end at {remote})", places(said.at))


def _state(number: int | None) -> str:
    """A state of XenBus in words, as far as it was told."""
    return "an untold state" if number is None or number >= len(XENBUS_STATES) else XENBUS_STATES[number]


# -- emulated devices that come back


def _resumed(story: Story) -> Moment | None:
    """Since when the guest runs again, where this boot is the end of a migration or of a suspend."""
    running = next((event for event in story.life if (event.subject, event.said) == ("runstate", "running")), None)
    if story.began == "migration":
        return story.first if running is None else Moment.of(running)
    line = next((line for line in story.log if _RESUMED.search(line.text)), None)
    return None if line is None else line.at


def _ran_ns(story: Story, since: Moment) -> int | None:
    """How long the guest ran after that, as far as it is recorded."""
    stops = (Moment.of(event) for event in story.life if event.subject == "runstate" and event.said != "running")
    end = next((at for at in stops if comes_after(at, since)), story.last)
    return None if end is None else story.nanoseconds(since, end)


def _ports_recorded(story: Story, before: Story) -> Certainty | None:
    """How well it is known that accesses would be recorded, had there been any; None where it is not.

    What recorded them in the boot before still does where the same recording goes on, and may be taken to where
    another one holds every other kind of evidence that the first one does.
    """
    if "ports" in story.evidence:
        return "observed"
    if story.first is not None and story.first.place.source == before.masks[0].at.place.source:
        return "derived"
    return "assumed" if before.evidence - _TOLD_OF_GUEST <= story.evidence else None


@rule(
    "A21", severity="high", title="the guest did not unplug again after a migration or a resume",
    law="xen 149b321279 (2018-06): unmodified_drivers unplug again at resume; qemu 6c808651e3 and image locking "
        "(QEMU 2.10)",
    advice="Update the guest's PV drivers to a release that unplugs at resume; until then shut the VM down and start "
           "it anew rather than migrating it.",
)
def back_again(story: Story, case: Context) -> Iterator[Hit]:
    """A device model that takes a guest over starts with all emulated devices; what was unplugged is not migrated.

    A guest that does not unplug again has its emulated devices back. From QEMU 2.10 on the emulated disk holds the lock
    of the image, the PV back end cannot open it, the frontend hangs, and the guest must be destroyed; before, there
    were two ways to one image.
    """
    before, since = case.before(story), _resumed(story)
    if since is None or story.masks or story.devices or before is None or not before.mask:
        return
    certainty, ran = _ports_recorded(story, before), _ran_ns(story, since)
    running = story.connected("vbd") + story.connected("vif")
    if certainty is None or not (running or (ran is not None and ran > case.patience_ns)):
        return
    how = "was migrated" if story.began == "migration" else "resumed"
    proof = f"PV device {running[0].device} connected" if running else f"{span(ran or 0)} of it are recorded"
    yield Hit(f"{story.id}: the guest {how}, runs again ({when(since)}), and asked for no unplug ({proof}); in "
              f"{before.id}, mask 0x{before.mask:04x} had taken away: {in_words(before.mask)}",
              places(since, before.masks[0].at, *(change.at for change in running[:_MOST - 3]), story.last),
              "assumed" if certainty == "assumed" or not running else certainty)
