"""One line per VM and boot: who drove the device, and what was settled.

Law: xen/docs/misc/hvm-emulated-unplug.pandoc. Only what the recording shows is told; the driver's name is inferred
from the product and build that it claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from dissectors.platform.products import describe_driver
from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, UNPLUG_BITS, pieces
from xptrace.access.attribution import Vm
from xptrace.access.rows import Access, Row

KEYS: Final = (
    "vm", "boot", "driver", "product", "build", "protocol_version", "blacklisted", "unplug_mask", "unplugged",
    "started_ns", "duration_ns", "verdict",
)

_DISKS, _NICS = UNPLUG_BITS[0].value, UNPLUG_BITS[1].value
_LEGACY: Final = {("bar0_unplug_all", 1): _DISKS | _NICS, ("bar0_log", 1): _DISKS, ("bar0_log", 2): _NICS}
_STEPS: Final = ("magic", "protocol_version", "product_number", "build_number", "unplug_mask", "unplug_type",
                 "unplug_index")


@dataclass(slots=True)
class Negotiation:
    """What one boot of one VM settled, as far as the accesses so far tell."""

    vm: str
    boot: int
    accesses: int = 0
    messages: int = 0
    magics: list[int] = field(default_factory=list)
    version: int | None = None
    product: int | None = None
    build: int | None = None
    mask: int | None = None
    legacy: bool = False
    started_ns: int | None = None
    ended_ns: int | None = None
    begun: bool = False

    def access(self, access: Access) -> None:
        """Take one access of the boot."""
        self.accesses += access.space != "pci-config"
        if access.space not in ("pio", "bar0") or access.address is None:
            return
        offset = access.address - access.base
        for piece in pieces(access.space, offset, access.size, access.direction, access.value):
            register = piece.register
            if register is None or piece.value is None:
                continue
            unplugged = _LEGACY.get((register.name, piece.value))
            if register.name in _STEPS or unplugged is not None:
                self._step(register.name, piece.value, access.time_ns, unplugged)

    def _step(self, name: str, value: int, time_ns: int | None, unplugged: int | None) -> None:
        if not self.begun:
            self.begun, self.started_ns = True, time_ns
        if name == "magic":
            self.magics.append(value)
        elif name == "protocol_version" and self.version is None:
            self.version = value
        elif name == "product_number" and self.product is None:
            self.product = value
        elif name == "build_number" and self.build is None:
            self.build = value
        elif name == "unplug_mask":
            unplugged = value
        elif unplugged is not None:
            self.legacy = True
        if unplugged is not None:
            self.mask = (self.mask or 0) | unplugged
            self.ended_ns = time_ns
        elif self.mask is None:
            self.ended_ns = time_ns

    @property
    def blacklisted(self) -> bool | None:
        """Whether the device refused the driver: missing where no magic was read."""
        answers = [magic for magic in self.magics if magic in (MAGIC, MAGIC_BLACKLISTED)]
        return answers[-1] == MAGIC_BLACKLISTED if answers else None

    @property
    def driver(self) -> str | None:
        """The driver in words, missing where nothing tells."""
        if self.product is None and not self.magics and self.mask is None:
            return None
        if self.product is None and self.mask is not None and self.magics and self.version is None:
            return "names no product (as FreeBSD, NetBSD and OpenBSD do)"
        return describe_driver(self.product, self.build)

    @property
    def unplugged(self) -> list[str]:
        """Names of the mask's bits that were asked for."""
        return [bit.name for bit in UNPLUG_BITS if (self.mask or 0) & bit.value]

    @property
    def verdict(self) -> str:
        """How it ended, in words."""
        asked = ", ".join(bit.meaning for bit in UNPLUG_BITS if (self.mask or 0) & bit.value)
        if not self.begun:
            if self.accesses:
                return "no negotiation: the device was accessed, but nobody probed it"
            return "only log lines recorded" if self.messages else "no access to the device recorded"
        if self.blacklisted:
            return f"blacklisted, yet the driver unplugged: {asked}" if asked else "blacklisted: nothing unplugged"
        if self.magics and self.blacklisted is None:
            return f"refused: the probe read 0x{self.magics[-1]:04x}, not the magic"
        if asked:
            how = "by the legacy registers" if self.legacy and not self.magics else "without a probe"
            return f"unplug asked for {how}: {asked}" if not self.magics else f"complete: unplugged {asked}"
        if self.mask is not None:
            return "complete: the mask asked for nothing to be unplugged"
        if self.build is not None and len(self.magics) > 1:
            return "accepted, but nothing unplugged: the emulated devices stay"
        return "begun, but not finished: nothing unplugged"

    def row(self) -> dict[str, Any]:
        """The keys of a summary row, in order."""
        timed = self.started_ns is not None and self.ended_ns is not None
        return {
            "vm": self.vm, "boot": self.boot, "driver": self.driver, "product": self.product, "build": self.build,
            "protocol_version": self.version, "blacklisted": self.blacklisted, "unplug_mask": self.mask,
            "unplugged": self.unplugged, "started_ns": self.started_ns,
            "duration_ns": (self.ended_ns or 0) - (self.started_ns or 0) if timed else None, "verdict": self.verdict,
        }


class Summary:
    """Collects the negotiations of a case while its rows pass by."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Negotiation] = {}

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand the rows on, having taken what they tell."""
        for row in rows:
            found = self._negotiation(row.vm, row.boot)
            if isinstance(row, Access):
                found.access(row)
            else:
                found.messages += 1
            yield row

    def _negotiation(self, vm: str, boot: int) -> Negotiation:
        return self._found.setdefault((vm, boot), Negotiation(vm, boot))

    def rows(self, vms: Iterable[Vm]) -> list[dict[str, Any]]:
        """A row for every boot that was seen, in order, also of VMs that never touched the device."""
        for vm in vms:
            for boot in range(1, vm.boot + 1):
                self._negotiation(vm.name, boot)
        order = {name: index for index, name in enumerate(dict.fromkeys(vm for vm, _ in self._found))}
        return [self._found[key].row() for key in sorted(self._found, key=lambda key: (order[key[0]], key[1]))]
