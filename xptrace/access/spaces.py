"""Where the device is: Xen's PCI functions, their BARs, and which of the machine's addresses are theirs.

Law: PCI Local Bus Specification 3.0, 6.2.5.1 (BARs and their sizing); QEMU's hw/i386/xen/xen_platform.c (BAR0: 256
I/O ports, BAR1: 16 MiB of memory) and xen_pvdevice.c (BAR1 alone). What is not told is learnt: from config
accesses, from `pci_update_mappings_*`, from the names of memory regions::

    pci_update_mappings_add xen-platform 00:02.0 0,0xc000+0x100
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dissectors.platform.registers import BAR0_SIZE, PORTS, REGION, VENDOR, Direction, Space

_VENDOR_ID, _DEVICE_ID, _COMMAND, _BAR0, _BAR1 = 0x00, 0x02, 0x04, 0x10, 0x14
_DEVICES: Final = {0x0001: "xen-platform", 0x0002: "xen-platform", 0xC000: "xen-pvdevice"}
_BAR1_SIZE: Final = {"xen-platform": 16 << 20, "xen-pvdevice": 4 << 20}
_FORGOTTEN: Final = (False, None, True)
"""Functions by what is known of their being Xen's: which are forgotten first."""
_DEFAULT_BAR1_SIZE: Final = 16 << 20
_CONFIG_PORTS: Final = range(0xCF8, 0xD00)
_WIDEST: Final = 8
"""Bytes of the widest access, which may begin so far below what it reaches."""
MOST_BASES: Final = 32
MOST_FUNCTIONS: Final = 256
"""Functions of one machine that are remembered, all that a bus has: each port access asks for the BARs of all."""


def place(number: int) -> str:
    """Where a PCI function is, by its number: bus, slot and function, e.g. `00:02.0`."""
    return f"{number >> 8:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"


@dataclass(slots=True)
class Function:
    """One PCI function; `ours` is None as long as nothing tells whether it is one of Xen's."""

    number: int
    ours: bool | None = None
    device: str | None = None
    bar0: int | None = None
    bar1: int | None = None
    bar1_size: int | None = None
    command: int | None = None

    @property
    def name(self) -> str:
        """Its device type and its place on the bus, e.g. `xen-platform 00:02.0`."""
        return f"{self.device or 'function'} {place(self.number)}"


class Spaces:
    """The PCI functions of one machine, as far as its recording has told."""

    def __init__(self) -> None:
        self._functions: dict[int, Function] = {}
        self._bar0_bases: set[int] = set()
        self._needles: list[re.Pattern[bytes]] | None = None
        """What `needles` said, as long as nothing has changed since."""
        self.settled = False
        """Set whenever a function turned out to be Xen's or not; reset it after having looked."""

    def function(self, number: int, device: str | None = None) -> Function:
        """The function of that number, made known if it is new."""
        function = self._functions.get(number)
        if function is None:
            if len(self._functions) >= MOST_FUNCTIONS:
                self._forget_one()
            function = self._functions[number] = Function(number)
        if device:
            self._settle(function, device.startswith(("xen-platform", "xen-pvdevice")))
            if function.ours:
                function.device = device
        return function

    def _forget_one(self) -> None:
        """Forget the oldest that is not Xen's, or else of which nothing tells: nobody waits for it any longer."""
        forgotten = min(self._functions.values(), key=lambda one: _FORGOTTEN.index(one.ours))
        self._settle(forgotten, False)
        del self._functions[forgotten.number]
        self._needles = None

    def _settle(self, function: Function, ours: bool) -> None:
        if function.ours is not True and function.ours is not ours:
            function.ours = ours
            self.settled = True
            self._needles = None

    def config(
        self, function: Function, offset: int, size: int | None, direction: Direction, value: int | None
    ) -> None:
        """Learn from one config access."""
        if size is None and offset in (_BAR0, _BAR1):  # up to QEMU 2.2 no size is told; a BAR is written whole
            size = 4
        if value is None or size is None:
            return
        if direction == "read":
            if offset == _VENDOR_ID and size >= 2 and function.device is None:
                vendor = value & 0xFFFF
                if vendor == VENDOR:
                    self._settle(function, True)
                elif function.ours is None:
                    self._settle(function, False)
                if size == 4 and function.ours:
                    function.device = _DEVICES.get(value >> 16)
            elif offset == _DEVICE_ID and size == 2 and function.ours and function.device is None:
                function.device = _DEVICES.get(value)
            elif offset == _BAR1 and size == 4 and function.ours and value & 0xF == 8 and value > 0xF0000000 and (
                -value & 0xFFFFFFF0
            ) & ((-value & 0xFFFFFFF0) - 1) == 0 and function.bar1 is None:
                function.bar1_size = -(value & 0xFFFFFFF0) & 0xFFFFFFFF
        elif offset == _COMMAND:
            function.command = value
        elif offset == _BAR0 and size == 4:
            self._needles = None
            function.bar0 = value & 0xFF00 if 0x100 <= value <= 0xFFFF else None
        elif offset == _BAR1 and size == 4:
            self._needles = None
            function.bar1 = None if value >= 0xFF000000 or value < 0x100000 else value & 0xFFFFFFF0

    def mapping(self, function: Function, bar: int, base: int, size: int) -> None:
        """Learn from `pci_update_mappings_add`."""
        self._needles = None
        if bar == 0:
            function.bar0 = base
        elif bar == 1:
            function.bar1, function.bar1_size = base, size

    def region(self, address: int, name: str) -> None:
        """Learn from the name of the memory region that took an access."""
        if name != "xen-pci":
            return
        base = address & ~(BAR0_SIZE - 1)
        if base not in self._bar0_bases and len(self._bar0_bases) < MOST_BASES:
            self._bar0_bases.add(base)
            self._needles = None
        for function in self._functions.values():
            if function.bar0 == base:
                self.prove(function)

    def prove(self, function: Function) -> None:
        """The function has shown itself to be the platform device."""
        self._settle(function, True)
        function.device = function.device or "xen-platform"

    def port(
        self, address: int, size: int, regions: list[tuple[int, str]]
    ) -> tuple[Space, int, Function | None] | None:
        """(space, base, function) of a port access, or None where it is another device's.

        Names of regions decide; without them the fixed ports, and BAR0 where a function has it and decodes I/O.
        """
        end = address + size
        if address < PORTS.stop and end > PORTS.start:
            if regions and not any(name == REGION for at, name in regions if at >= PORTS.start):
                return None
            return "pio", 0, None
        if regions:
            for at, name in regions:
                if name == "xen-pci":
                    return "bar0", at & ~(BAR0_SIZE - 1), None
            return None
        for function in self._functions.values():
            base = function.bar0
            if (
                function.ours is not False
                and base is not None
                and function.device != "xen-pvdevice"
                and address < base + BAR0_SIZE
                and end > base
                and (function.command is None or function.command & 1)
            ):
                return "bar0", base, function
        return None

    def memory(self, address: int, regions: list[tuple[int, str]]) -> tuple[int, Function | None] | None:
        """(base, function) of BAR1 where a memory access is to it, or None. The base may be unknown: then it is 0."""
        for function in self._functions.values():
            if function.ours and function.bar1 is not None:
                size = function.bar1_size or _BAR1_SIZE.get(function.device or "", _DEFAULT_BAR1_SIZE)
                if function.bar1 <= address < function.bar1 + size:
                    return function.bar1, function
        if any(name == "xen-mmio" for _, name in regions):
            return 0, None
        return None

    def pvdevice(self) -> Function | None:
        """The only xen-pvdevice there is, if there is just one."""
        found = [f for f in self._functions.values() if f.device == "xen-pvdevice"]
        return found[0] if len(found) == 1 else None

    def ranges(self) -> list[range] | None:
        """Where each access begins that `port` or `memory` finds, or that is of config space, by address alone.

        None where they are too many, or no addresses.
        """
        ports = [base for f in self._functions.values() if f.ours is not False and (base := f.bar0) is not None]
        memory = [
            range(max(base - _WIDEST, 0), base + (f.bar1_size or _BAR1_SIZE.get(f.device or "", _DEFAULT_BAR1_SIZE)))
            for f in self._functions.values() if f.ours and (base := f.bar1) is not None
        ]
        found = [range(PORTS.stop), range(_CONFIG_PORTS.start - _WIDEST, _CONFIG_PORTS.stop)]
        found += [range(max(base - _WIDEST, 0), base + BAR0_SIZE) for base in ports] + memory
        return found if len(found) <= MOST_BASES and all(0 < one.stop < 1 << 64 for one in found) else None

    def needles(self) -> list[re.Pattern[bytes]]:
        """What a record of an access to a BAR that is known must hold."""
        if self._needles is None:
            self._needles = self._wanted()
        return self._needles

    def _wanted(self) -> list[re.Pattern[bytes]]:
        wanted: list[re.Pattern[bytes]] = []
        bases = self._bar0_bases | {f.bar0 for f in self._functions.values() if f.bar0 and f.ours is not False}
        for base in sorted(bases)[:MOST_BASES]:
            wanted += port_needles(base)
        for function in self._functions.values():
            if function.ours and function.bar1 is not None:
                wanted.append(memory_needle(function.bar1))
        return wanted


def port_needles(base: int) -> list[re.Pattern[bytes]]:
    """Needles for the 256 ports from `base` on, in port accesses of either layer."""
    high = f"{base >> 8:x}".encode()
    return [re.compile(b"addr 0x" + high + rb"[0-9a-f]{2}[ (]"), re.compile(b"port=0x" + high + rb"[0-9a-f]{2} ")]


def memory_needle(base: int) -> re.Pattern[bytes]:
    """A needle for the 16 MiB of memory around `base`, in ioreqs."""
    return re.compile(b"port=0x" + f"{base >> 24:x}".encode() + rb"[0-9a-f]{6} ")


_BASES = re.compile(
    rb"addr 0x([0-9a-f]{3,4}) value \S+ size \d name 'xen-pci'"
    rb"|xen-platform [0-9a-f:.]+ @0x10 <- 0x([0-9a-f]{3,4})\b"
    rb"|xen-platform [0-9a-f:.]+ 0,0x([0-9a-f]{3,4})\+"
    rb"|cpu_ioreq_config_write .{0,60} reg=16 size=4 data=0x([0-9a-f]{3,4})\b"
    rb"|handle_ioreq(?:_write)? .{0,60}type=2 .{0,40}port=0x[0-9a-f]{1,10}10 data=0x([0-9a-f]{3,4}) "
)
_DATA_PORT = re.compile(rb"addr 0xcfc\(l\) value (\d{3,5})\b|addr 0xcfc value 0x([0-9a-f]{3,4}) size 4")


_MEMORY = re.compile(
    rb"xen-[a-z]+ [0-9a-f:.]+ @0x14 <- 0x([0-9a-f]{8})\b"
    rb"|xen-[a-z]+ [0-9a-f:.]+ 1,0x([0-9a-f]{7,8})\+"
    rb"|reg=20 size=4 data=0x([0-9a-f]{7,7}8)\b"
)


def foresee(text: bytes) -> list[re.Pattern[bytes]]:
    """Needles for the BARs that these lines may set up, so that the accesses around them are found as well.

    It may name more than there is, never less: whose an access is, is decided later.
    """
    bases = {int(next(group for group in match.groups() if group), 16) & 0xFF00 for match in _BASES.finditer(text)}
    for match in _DATA_PORT.finditer(text):
        bases.add((int(match[1]) if match[1] else int(match[2], 16)) & 0xFF00)
    wanted = [needle for base in sorted(bases)[:MOST_BASES] if base for needle in port_needles(base)]
    memory = {int(next(group for group in match.groups() if group), 16) >> 24 for match in _MEMORY.finditer(text)}
    wanted += [memory_needle(high << 24) for high in sorted(memory)[:MOST_BASES] if 0 < high < 0xFF]
    return wanted
