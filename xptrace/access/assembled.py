"""An access while its records are put together: in the machine's addresses, before anybody knows whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dissectors.platform.registers import Direction
from dissectors.record import Record


class Config(NamedTuple):
    """Where in PCI config space: function (bus << 8 | slot << 3 | function), offset, and the device type if told."""

    function: int
    offset: int
    device: str | None = None


@dataclass(slots=True)
class Call:
    """One call of a device: what one `memory_region_ops_*` says."""

    address: int
    size: int
    value: int
    region: str | None
    records: list[Record]
    logs: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Assembled:
    """One access in the making, then made: in the machine's addresses, before anybody knows whose they are."""

    direction: Direction
    kind: str  # "pio", "mmio", "config"
    address: int | None
    size: int | None
    value: int | None
    stage: int
    records: list[Record]
    count: int = 1
    config: Config | None = None
    regions: list[tuple[int, str]] = field(default_factory=list)
    """(address, name) of the memory regions that took it, as far as told."""
    logs: list[Record] = field(default_factory=list)
    """Lines that the device emitted while it served this access."""
    vcpu: int | None = None
    inferred: bool = False
    calls: list[Call] = field(default_factory=list)
    """Calls of a run: neighbouring device calls that no record has gathered into an access yet."""
    repeated: bool = False
    """Whether this is a string access: `count` elements, of which `elements` have been told one by one so far."""
    elements: int = 0
    element: Assembled | None = None
    covered: int = 0
    device_offset: int | None = None
    grows: bool = False
    """Whether its size is only what its calls have told so far: up to QEMU 2.4 `cpu_out` tells none."""
    head: bool = False
    """Whether an ioreq told of the whole access before its parts."""

    def is_elsewhere(self, ranges: Sequence[range]) -> bool:
        """Whether it is another device's than that of these ports and addresses, whatever may still be told of it."""
        if self.address is None or self.config is not None or self.kind not in ("pio", "mmio"):
            return False
        parts = (self, self.element) if self.element is not None else (self,)
        regions = [name for part in parts for _, name in part.regions] + [call.region or "" for call in self.calls]
        addresses = [call.address for call in self.calls] or [self.address]
        return not any(name.startswith("xen") for name in regions) and not any(
            address in one for address in addresses for one in ranges
        )
