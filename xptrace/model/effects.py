"""What an access brings about, beside its answer: each kind is one small value with its own sentence.

Law: hw/i386/xen/xen_platform.c of QEMU, hw/xen_platform.c of qemu-xen-traditional. An unplug leaves no trace of its own
in any upstream QEMU, so that a recording shows only what caused it; here it is told::

    Removed(mask=3, devices=('disk0', 'nic0'), backends=('net0',))
"""

from __future__ import annotations

from dataclasses import dataclass

from dissectors.platform.products import PRODUCTS
from dissectors.platform.registers import in_words


@dataclass(frozen=True, slots=True)
class Character:
    """A byte for the log buffer of the platform device at `place` (its index among the functions)."""

    place: int
    value: int

    def say(self) -> str:
        """The effect in words."""
        return f"log character 0x{self.value:02x}"


@dataclass(frozen=True, slots=True)
class Logged:
    """A line that the device emits; `lost` is the character that found the buffer full, which nobody gets to see."""

    text: bytes
    lost: int | None = None

    def say(self) -> str:
        """The effect in words; the text is the guest's, and not in it."""
        lost = "" if self.lost is None else f"; the buffer was full, and character 0x{self.lost:02x} is lost"
        return f"emits a log line of {len(self.text)} bytes{lost}"


@dataclass(frozen=True, slots=True)
class Printed:
    """A line that the device itself writes into its log."""

    text: str

    def say(self) -> str:
        """The effect in words."""
        return f"prints {self.text!r}"


@dataclass(frozen=True, slots=True)
class Throttled:
    """The guest waits inside its write, because it has logged too much."""

    nanoseconds: int

    def say(self) -> str:
        """The effect in words."""
        return f"makes the guest wait for {self.nanoseconds / 10**9:.3f} s"


@dataclass(frozen=True, slots=True)
class RomLock:
    """The pages at 0xc0000-0xfffff become read-only, or writable."""

    locked: bool

    def say(self) -> str:
        """The effect in words."""
        return f"makes the ROM area {'read-only' if self.locked else 'writable'}"


@dataclass(frozen=True, slots=True)
class DriverNamed:
    """A driver has named its product and build; `refused` says what the device makes of it, where it judges."""

    product: int
    build: int
    refused: bool | None
    event: bool = False
    """Whether the QMP event XEN_PLATFORM_PV_DRIVER_INFO is sent."""

    def say(self) -> str:
        """The effect in words."""
        verdict = {None: "", True: ": blacklisted", False: ": accepted"}[self.refused]
        event = "; sends XEN_PLATFORM_PV_DRIVER_INFO" if self.event else ""
        name = PRODUCTS.get(self.product, "unregistered")
        return f"the driver is product {self.product} ({name}), build {self.build}{verdict}{event}"


@dataclass(frozen=True, slots=True)
class Unplug:
    """A demand to unplug, by mask; or by device, where `index` is given."""

    place: int
    mask: int
    index: int | None = None

    def say(self) -> str:
        """The effect in words."""
        return f"is told to unplug {in_words(self.mask)}" + ("" if self.index is None else f", number {self.index}")


@dataclass(frozen=True, slots=True)
class Removed:
    """What an unplug took away: devices by name, and the back ends (disk images, network links) behind them."""

    mask: int
    devices: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    def say(self) -> str:
        """The effect in words."""
        if not self.devices and not self.backends:
            return f"mask 0x{self.mask:x} takes nothing away"
        return f"mask 0x{self.mask:x} takes away: {', '.join(dict.fromkeys((*self.devices, *self.backends)))}"


@dataclass(frozen=True, slots=True)
class Ignored:
    """An access without effect where one might be expected, and why."""

    why: str

    def say(self) -> str:
        """The effect in words."""
        return f"no effect: {self.why}"


@dataclass(frozen=True, slots=True)
class Aborted:
    """The device model ends here, by its own assertion."""

    assertion: str

    def say(self) -> str:
        """The effect in words."""
        return f"the device model aborts: {self.assertion}"


Effect = (
    Character | Logged | Printed | Throttled | RomLock | DriverNamed | Unplug | Removed | Ignored | Aborted
)
