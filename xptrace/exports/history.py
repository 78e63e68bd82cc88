"""What happens at a device model while a driver runs on it: processes that start, accesses with their answers, resets.

Law: what the driver does is its own sequence's (`xptrace.model.drivers`), what it is answered and what a reset or a
migration keeps is the device's (`xptrace.model.machine`). Before a driver that boots comes firmware, which gives the
BARs their places as hvmloader of Xen does it (tools/firmware/hvmloader/pci.c), recorded on QEMU 7.2::

    pci_cfg_write xen-platform 00:02.0 @0x14 <- 0xf0000008
    pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc001
    pci_cfg_write xen-platform 00:02.0 @0x4 <- 0x7
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from dissectors.platform.registers import BAR0_SIZE
from xptrace.model import function as pci
from xptrace.model.access import Access
from xptrace.model.drivers import Driver, Options, Play, When, play
from xptrace.model.effects import Effect
from xptrace.model.machine import Machine, migrate, reset, step

Epoch = Literal["boot", "resume", "reset", "migrate", "reboot"]

EPOCHS: Final[Mapping[Epoch, str]] = {
    "boot": "a new process starts, and the driver boots",
    "resume": "the driver resumes in the process that runs",
    "reset": "the machine is reset in place, and the driver boots",
    "migrate": "a new process takes over, and the driver resumes",
    "reboot": "the driver boots again: in a new process on Xen, after a reset in place on KVM",
}
"""What a recording may be made of, in any order; the first is a boot."""

FIRST_PORT: Final = 0xC000
FIRST_ADDRESS: Final = 0xF0000000
_DECODES: Final = 0x7
"""I/O, memory and bus mastering, as hvmloader leaves the command register."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happens: in which device model, in which epoch (both count from 0), and the machine after it."""

    process: int
    epoch: int
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Moment):
    """A device model begins to run: with a machine that was switched on, or as the destination of a migration."""

    migrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WasReset(Moment):
    """The machine was reset in place."""

    before: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Accessed(Moment):
    """One access of firmware or driver: the answer of a read, and what it brought about."""

    before: Machine
    access: Access
    answer: int | None
    effects: tuple[Effect, ...]

    @property
    def value(self) -> int:
        """What was written, or read; 0 for what nobody answered."""
        value = self.access.value if self.access.direction == "write" else self.answer
        return value or 0


@dataclass(frozen=True, slots=True)
class History:
    """Everything that happened, in order, and what the driver did in each epoch that it lived to see."""

    moments: tuple[Moment, ...]
    plays: tuple[Play, ...]


def parse_epochs(text: str) -> tuple[Epoch, ...]:
    """Epochs from a list such as `boot,migrate,reboot`; raises ValueError, one line that says what there is."""
    found: list[Epoch] = []
    for word in text.split(","):
        epoch: Epoch | None = next((one for one in get_args(Epoch) if one == word.strip()), None)
        if epoch is None:
            raise ValueError(f"no epoch {word.strip()!r}: there are {', '.join(EPOCHS)}")
        found.append(epoch)
    if found[0] != "boot":
        raise ValueError(f"the first epoch is {found[0]}, but before anything else there is a boot")
    return tuple(found)


def history(driver: Driver[Any], options: Options, start: Machine, epochs: Sequence[Epoch] = ("boot",)) -> History:
    """What happens while a driver runs on a machine, epoch by epoch.

    `start` is the machine as each new process starts it; its profile tells whether it runs on Xen. A device model that
    aborts takes part in nothing more: what follows waits for one that is switched on.
    """
    if not epochs or epochs[0] != "boot":
        raise ValueError("expected a boot as the first epoch")
    course = _Course(driver, options, start, start)
    for number, epoch in enumerate(epochs):
        course.epoch = number
        course.enter(epoch)
    return History(tuple(course.moments), tuple(course.plays))


@dataclass(slots=True)
class _Course:
    """A history while it happens."""

    driver: Driver[Any]
    options: Options
    start: Machine
    machine: Machine
    process: int = -1
    epoch: int = 0
    moments: list[Moment] = field(default_factory=list)
    plays: list[Play] = field(default_factory=list)

    def enter(self, epoch: Epoch) -> None:
        """Let one epoch happen."""
        in_place = epoch == "reset" or (epoch == "reboot" and self.start.profile.lineage == "kvm-xen")
        if epoch in ("boot", "reboot") and not in_place:
            self._process(self.start, migrated=False)
        elif self.machine.aborted is not None:
            return
        elif in_place:
            before, self.machine = self.machine, reset(self.machine)
            self.moments.append(
                WasReset(process=self.process, epoch=self.epoch, machine=self.machine, before=before)
            )
        elif epoch == "migrate":
            self._process(migrate(self.machine, self.start.inventory), migrated=True)
        when: When = "resume" if epoch in ("resume", "migrate") else "boot"
        if when == "boot":
            for access in firmware(self.machine):
                self._access(access)
        self.plays.append(play(self.driver, self._access, self.options, when))

    def _process(self, machine: Machine, *, migrated: bool) -> None:
        self.process += 1
        self.machine = machine
        self.moments.append(Started(process=self.process, epoch=self.epoch, machine=machine, migrated=migrated))

    def _access(self, access: Access) -> int | None:
        before = self.machine
        if before.aborted is not None:
            return None
        self.machine, answered, effects = step(before, access)
        answer = None if answered is None else answered.value
        self.moments.append(
            Accessed(process=self.process, epoch=self.epoch, machine=self.machine, before=before, access=access,
                     answer=answer, effects=effects)
        )
        return answer


def firmware(machine: Machine) -> Iterator[Access]:
    """What firmware does to Xen's functions at every boot: it looks who they are, and places their BARs."""
    port, address = FIRST_PORT, FIRST_ADDRESS
    for one in machine.functions:
        yield Access("pci-config", 0, 4, "read", None, one.number)
        if size := one.identity.bar1_size:
            address = (address + size - 1) // size * size
            yield Access("pci-config", pci.BAR1, 4, "write", address | 8, one.number)
            address += size
        if one.identity.bar0_size:
            yield Access("pci-config", pci.BAR0, 4, "write", port | 1, one.number)
            port += BAR0_SIZE
        yield Access("pci-config", pci.COMMAND, 2, "write", _DECODES, one.number)
