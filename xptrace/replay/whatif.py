"""What if: the same guest, with the same driver, on another device. Everything here is a prediction, and says so.

Law: the driver's sequence (`xptrace.model.drivers`) against the device's (`xptrace.model.machine`); which identities a
driver attaches to, and what its guest loses, are the driver's own claims, each with how well it is known. The question
is as old as 2013, when a second identity for the platform device was proposed: who binds to the older identity, to the
newer, to one of both; what becomes of a driver that is blacklisted instead; and what does the guest lose next time::

    with only the newer identity: Citrix legacy Windows does not bind; nothing is unplugged
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dissectors.platform.registers import UNPLUG_BITS
from dissectors.record import Record
from xptrace.access.rows import Access, Row
from xptrace.model import access as model
from xptrace.model import function as pci
from xptrace.model.device import KEYED_PRODUCTS
from xptrace.model.drivers import Claim, Driver, Outcome, Recognised, Step, negotiates, play, recognise, spell
from xptrace.model.drivers.steps import same, seen, sets_flags
from xptrace.model.effects import Removed
from xptrace.model.inventory import typical
from xptrace.model.machine import Machine, step
from xptrace.model.profiles import profile
from xptrace.replay.replay import Start

KEYS: Final = (
    "vm", "boot", "driver", "options", "device", "profile", "binds", "binds_because", "verdict", "sentence", "mask",
    "unplugs", "removes", "pv", "parts_at", "next_boot", "next_boot_certainty", "notes", "certainty", "source",
    "offset", "line",
)
"""The keys of a prediction, in order; source, offset and line are those of the access where it goes otherwise."""

_DEVICE_ID, _REVISION = 2, 8
MOST_STEPS: Final = 1000
"""Steps of a negotiation that are kept; a guest that makes more is no driver."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One device to try: its name in words, how it starts, and what must be said about it."""

    name: str
    start: Start
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Recorded:
    """What one boot of one VM did to the ports: the steps of its negotiation, and the record of each.

    `device_id` and `revision` are the platform device's, where its config space was read.
    """

    vm: str
    boot: int
    steps: list[Step] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    device_id: int | None = None
    revision: int | None = None

    def config(self, offset: int, size: int, value: int) -> None:
        """Learn from one read of the platform device's config space."""
        covered = range(offset, offset + size)
        if _DEVICE_ID in covered and _DEVICE_ID + 1 in covered:
            self.device_id = value >> 8 * (_DEVICE_ID - offset) & 0xFFFF
        if _REVISION in covered:
            self.revision = value >> 8 * (_REVISION - offset) & 0xFF


class Negotiations:
    """Collects the negotiation of every boot while its rows pass by."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Recorded] = {}

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand the rows on, having taken what they tell."""
        for row in rows:
            if isinstance(row, Access) and row.offset is not None and row.size is not None and row.count == 1:
                self._take(row, row.offset, row.size)
            yield row

    def _take(self, row: Access, offset: int, size: int) -> None:
        platform = row.function is not None and row.function.device == "xen-platform"
        if row.space == "pci-config" and row.direction == "read" and platform and row.value is not None:
            self._of(row).config(offset, size, row.value)
        if row.space not in ("pio", "bar0"):
            return
        value = row.value if row.direction == "write" else None
        access = model.Access(row.space, offset, size, row.direction, value)
        if not (negotiates(access) or sets_flags(access)):
            return
        one = self._of(row)
        if len(one.steps) < MOST_STEPS:
            one.steps.append((access, row.value if row.direction == "read" else None))
            one.records.append(row.cited)

    def _of(self, row: Access) -> Recorded:
        return self._found.setdefault((row.vm, row.boot), Recorded(row.vm, row.boot))

    @property
    def found(self) -> list[Recorded]:
        """The boots that have a negotiation, in order."""
        return [one for one in self._found.values() if any(negotiates(access) for access, _ in one.steps)]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One driver on one device: whether it binds, what it then does, what goes, and what the guest meets next."""

    recorded: Recorded
    recognised: Recognised
    variant: Variant
    binds: bool | None
    binds_because: str
    outcome: Outcome
    removed: tuple[str, ...]
    parts_at: int | None
    """Which step of the recorded negotiation is the first that goes otherwise; missing where none does."""
    next_boot: str
    next_boot_certainty: str

    @property
    def unplugs(self) -> list[str]:
        """Names of the mask bits that are asked for."""
        return [bit.name for bit in UNPLUG_BITS if (self.outcome.mask or 0) & bit.value]

    def row(self) -> dict[str, Any]:
        """The keys of a prediction, in order."""
        parted = self.parts_at
        record = None if parted is None or parted >= len(self.recorded.records) else self.recorded.records[parted]
        outcome, driver = self.outcome, self.recognised.driver
        return {
            "vm": self.recorded.vm, "boot": self.recorded.boot, "driver": driver.name,
            "options": list(spell(self.recognised.options)), "device": self.variant.name,
            "profile": self.variant.start.profile.name, "binds": self.binds, "binds_because": self.binds_because,
            "verdict": outcome.verdict, "sentence": outcome.sentence, "mask": outcome.mask, "unplugs": self.unplugs,
            "removes": list(self.removed), "pv": outcome.pv, "parts_at": parted, "next_boot": self.next_boot,
            "next_boot_certainty": self.next_boot_certainty, "notes": list(self.variant.notes),
            "certainty": "predicted", "source": record and record.source, "offset": record and record.offset,
            "line": record and record.line,
        }


def predict(one: Recorded, variant: Variant, known: Recognised | None = None) -> Prediction | None:
    """What the driver of a recorded negotiation would do on this device; None where no driver is recognised."""
    found = known or next(iter(recognise(one.steps)), None)
    if found is None:
        return None
    driver, machine = found.driver, variant.start.machine()
    binds, because = _binds(driver, machine)
    removed: tuple[str, ...] = ()
    parts: int | None = 0
    if binds is False and driver.binding.needed:
        outcome = Outcome("unasked", "it is bound to no device, and does nothing without", pv=False)
    else:
        played = play(driver, device := _Device(machine), found.options, found.when)
        outcome, machine, removed = played.outcome, device.machine, tuple(dict.fromkeys(device.removed))
        parts = _parting(one.steps, found.explained, played.steps)
    claim = _next_boot(found, one, binds, outcome, machine)
    return Prediction(one, found, variant, binds, because, outcome, removed, parts, claim.sentence, claim.certainty)


class _Device:
    """The modelled device as a driver meets it; remembers what its unplugs took away."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.removed: list[str] = []

    def __call__(self, access: model.Access) -> int | None:
        self.machine, answer, effects = step(self.machine, access)
        for effect in effects:
            if isinstance(effect, Removed):
                self.removed += [*effect.devices, *effect.backends]
        return None if answer is None or not answer.known else answer.value


def _binds(driver: Driver[Any], machine: Machine) -> tuple[bool | None, str]:
    """Whether the driver attaches to one of the machine's functions, and to which, by which source."""
    if driver.binds is None:
        return None, "no source says what it attaches to"
    since: list[str] = []
    for one in machine.functions:
        name = f"{one.identity.vendor:04x}:{one.identity.device:04x}"
        for known in driver.binds:
            if (known.vendor, known.device) != (one.identity.vendor, one.identity.device):
                continue
            if known.revision not in (None, one.identity.revision):
                continue
            if not known.since:
                return True, f"to {name} ({known.source})"
            since.append(f"to {name} only since {known.since} ({known.source})")
    if since:
        return None, since[0]
    there = ", ".join(f"5853:{known.device:04x}" for known in driver.binds)
    return False, f"it attaches to {there}" if there else "it attaches to no PCI function"


def _parting(recorded_steps: list[Step], explained: int, played: Iterable[Step]) -> int | None:
    """The first of the driver's recorded steps that the play does not make, or that is answered otherwise."""
    theirs = [(at, one) for at, one in enumerate(recorded_steps) if negotiates(one[0])] or list(
        enumerate(recorded_steps)
    )
    theirs = theirs[:explained]
    steps = [one for one in played if negotiates(one[0]) or sets_flags(one[0])]
    for (at, (access, answer)), (made, given) in zip(theirs, steps, strict=False):
        if not same(access, made) or (answer is not None and answer != given):
            return at
    return theirs[len(steps)][0] if len(theirs) > len(steps) else None


def _identity_gone(driver: Driver[Any], one: Recorded, machine: Machine) -> bool:
    """Whether the identity that the guest was recorded with, and that its driver attaches to, is not there.

    Where config space was not read it is the older identity, which every device but XenServer's has.
    """
    device = 0x0001 if one.device_id is None else one.device_id
    there = {(known.identity.device, known.identity.revision) for known in machine.functions}
    revisions = {revision for known, revision in there if known == device}
    if driver.attaches_to(device, 1 if one.revision is None else one.revision) is not True:
        return False
    return not revisions or (one.revision is not None and one.revision not in revisions)


def _next_boot(
    found: Recognised, one: Recorded, binds: bool | None, outcome: Outcome, machine: Machine
) -> Claim:
    """What the guest meets when it starts again on this device, and how well that is known."""
    driver, claims = found.driver, found.driver.next_boot
    if (binds is False and driver.binds) or _identity_gone(driver, one, machine):
        return claims.identity_gone
    if outcome.verdict == "blacklisted":
        return claims.blacklisted
    if outcome.mask and outcome.pv is False:
        return claims.without_frontends
    if outcome.verdict == "refused":
        return Claim("It is refused again, and keeps its emulated devices.", "inferred")
    if driver.binds is None:
        return Claim("No source says what this driver attaches to.", "assumed")
    kept = [device.name for device in machine.inventory if device.media == "disk" and device.connected]
    if kept and outcome.pv:
        return Claim(f"The same again: {', '.join(kept)} stays emulated beside its PV twin.", "inferred")
    return Claim("Nothing is lost: the same negotiation again.", "inferred")


# -- the devices to try


def the_four(start: Start, build: tuple[int, int] | None) -> list[Variant]:
    """The devices of the question of 2013: older identity, newer, both, and the older one with the driver refused.

    `build` is (product, build) of the driver, missing where it names none, and so cannot be refused.
    """
    of = start.profile
    both_notes = ("drivers of either identity may be installed, and would use the same PV connections",)
    newer_notes: tuple[str, ...] = ()
    if not of.identity_settable:
        newer_notes = (f"{of.name} offers no such identity: the platform device is 0002 here by way of trial",)
    older, newer = pci.platform(of), replace(pci.platform(of), device=0x0002, revision=2, subsystem=0x0002)
    pvdevice = pci.pvdevice(0xC000)
    with_devices = _with_devices(start)
    variants = [
        Variant("the older identity (5853:0001)", replace(with_devices, identities=(older,))),
        Variant("the newer identity (5853:0002)", replace(with_devices, identities=(newer,)), newer_notes),
        Variant("both (5853:0001, and xen-pvdevice 5853:c000)", replace(with_devices, identities=(older, pvdevice)),
                both_notes),
    ]
    if build is None:
        return variants
    refuser = of if of.blacklist != "none" else profile("qemu-xen-traditional")
    notes = () if refuser is of else (f"{of.name} has no blacklist; this is {refuser.name}, which has",)
    if build[0] not in KEYED_PRODUCTS:
        notes = (*notes, f"no blacklist key can name product {build[0]}: the host cannot refuse this driver")
    refusing = replace(with_devices, profile=refuser, identities=(pci.platform(refuser),),
                       blacklist=with_devices.blacklist | {build})
    return [*variants, Variant(f"the older identity, {build[0]}:{build[1]} blacklisted", refusing, notes)]


def _with_devices(start: Start) -> Start:
    """The start with the emulated devices of most guests, where it has none."""
    return replace(start, inventory=start.inventory or typical())


def variants_of(start: Start, one: Recorded) -> list[Variant]:
    """The device that the user described; or, where only its profile is given, the four of 2013."""
    if not start.identities and not start.blacklist:
        return the_four(start, named_build(one))
    functions = ", ".join(
        f"5853:{known.identity.device:04x} revision {known.identity.revision}" for known in start.machine().functions
    )
    refused = "".join(f", {product}:{build} blacklisted" for product, build in sorted(start.blacklist))
    return [Variant(functions + refused, _with_devices(start))]


def named_build(one: Recorded) -> tuple[int, int] | None:
    """(product, build) as the guest first named them; None where it named none."""
    told = seen(one.steps)
    return None if told.product is None or told.build is None else (told.product, told.build)
