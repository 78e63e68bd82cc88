"""The machine around the device, and the one step that an access is: state in, state, answer and effects out.

Law: hw/i386/xen/xen_platform.c and system/memory.c of QEMU (how an access is cut and who gets the pieces), ioport.c of
qemu-xen-traditional; what reset and migration keep, as observed on QEMU 7.2, 10.0 and 10.2. The step is pure::

    >>> machine = power_on(profile("qemu-10.0"))
    >>> machine, answer, effects = step(machine, read(0x10, 2))
    >>> hex(answer.value)
    '0x49d2'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from dissectors.platform import registers
from dissectors.platform.registers import BAR0_SIZE, PORTS, Register, Space
from xptrace.model import function as pci
from xptrace.model import unplug
from xptrace.model.access import Access, Answer
from xptrace.model.device import HANDLERS, Blacklist, Call
from xptrace.model.effects import Aborted, Character, Effect, Removed, Unplug
from xptrace.model.function import Function, Identity
from xptrace.model.inventory import Bridge, Inventory, whole_again
from xptrace.model.log import LogBuffer, take
from xptrace.model.profile import Profile

PLATFORM_SLOT: Final = 2 << 3
_SECONDARY_BUS: Final = 0x19
_BRIDGE_HEADER: Final = 0x40


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything that a guest can meet of Xen's devices, and what they may take away.

    `functions` are Xen's, in the order in which they were created; of several platform devices the last one answers
    the fixed ports (observed). `aborted` is the assertion by which the device model ended, if it did.
    """

    profile: Profile
    functions: tuple[Function, ...] = ()
    inventory: Inventory = ()
    bridges: tuple[Bridge, ...] = ()
    blacklist: Blacklist = frozenset()
    aborted: str | None = None

    @property
    def platform(self) -> int | None:
        """The place of the platform device that answers the fixed ports; missing where there is none."""
        return next((at for at in reversed(range(len(self.functions))) if self.functions[at].device is not None), None)

    def bus_number(self, bus: str) -> int:
        """The number of a bus: 0 for the root, and for a bridge's until the guest gives it one."""
        return next((bridge.secondary for bridge in self.bridges if bridge.name == bus), 0)


class Outcome(NamedTuple):
    """What a step gives: the machine after it, the answer of a read (or None), and what it brought about."""

    machine: Machine
    answer: Answer | None
    effects: tuple[Effect, ...]


def power_on(
    profile: Profile, *, identities: Sequence[Identity] | None = None, inventory: Inventory = (),
    bridges: tuple[Bridge, ...] = (), blacklist: Blacklist = frozenset(), rom_lock_works: bool = True,
) -> Machine:
    """A machine that has just started.

    `identities` are the functions, from slot 2 on: by default the platform device alone. One whose BAR0 has no size is
    a xen-pvdevice.
    """
    functions = []
    for at, identity in enumerate(identities or (pci.platform(profile),)):
        kind: pci.Kind = "xen-platform" if identity.bar0_size else "xen-pvdevice"
        functions.append(pci.start(PLATFORM_SLOT + (at << 3), kind, identity, command=profile.command_at_start))
    machine = Machine(profile, tuple(functions), whole_again(inventory), bridges, blacklist)
    return machine if rom_lock_works else _without_rom_lock(machine)


def _without_rom_lock(machine: Machine) -> Machine:
    functions = tuple(
        replace(one, device=replace(one.device, rom_lock_works=False)) if one.device else one
        for one in machine.functions
    )
    return replace(machine, functions=functions)


# -- who gets which part of an access


class _Part(NamedTuple):
    """One piece of an access as the device gets it: where, how long, its bits in the access, what it reaches."""

    shift: int
    size: int
    register: Register | None
    ours: bool
    """Whether the platform device takes it; else nobody knows what another one does."""


def _register(machine: Machine, space: Space, offset: int, size: int, access: Access) -> Register | None:
    if machine.profile.protocol_choice and (space, size, access.direction) == ("pio", 4, "write"):
        offset = 0x10  # its handler does not look at the port: unplug-version-2.patch
    found = registers.find(space, offset, size, access.direction)
    return found if found is not None and (found.name, access.direction) in HANDLERS else None


def _lengths(profile: Profile, space: Space, offset: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """(offset, size, whether somebody has a handler for it) of each call that an access becomes."""
    if not profile.tables:
        yield from ((start, length, True) for start, length in registers.lengths(space, offset, size))
    elif size == 1 or (space == "pio" and offset % size == 0):
        yield offset, size, True
    elif size == 2:  # a word without a handler becomes two bytes
        yield offset, 1, True
        yield offset + 1, 1, True
    else:  # a dword without one becomes nothing
        yield offset, size, False


def _parts(machine: Machine, access: Access) -> Iterator[_Part]:
    space, profile = access.space, machine.profile
    for start, length, taken in _lengths(profile, space, access.offset, access.size):
        shift = 8 * (start - access.offset)
        if space == "pio":
            ours = start in PORTS and (profile.unaligned or start % length == 0)
        else:
            ours = 0 <= start < BAR0_SIZE
        register = _register(machine, space, start, length, access) if ours and taken else None
        yield _Part(shift, length, register, ours)


def _ones(size: int) -> int:
    return (1 << 8 * size) - 1


# -- the step


def step(machine: Machine, access: Access, time_ns: int | None = None) -> Outcome:
    """One access of the guest; `time_ns` matters only to a device that makes a guest wait.

    Nothing is out of range here: what a device does not have reads as it would there. A machine that has aborted
    answers nothing any more.
    """
    machine, answer, effects = reach(machine, access)
    done: list[Effect] = []
    for effect in effects:
        if not isinstance(effect, Character):
            done.append(effect)
            continue
        function = machine.functions[effect.place]
        buffer, said = take(machine.profile, function.log or LogBuffer(), effect.value, time_ns)
        machine = _with(machine, effect.place, replace(function, log=buffer))
        done += said
    return Outcome(machine, answer, tuple(done))


def reach(machine: Machine, access: Access) -> Outcome:
    """The step but for the log buffer: characters for it are effects. Whatever the guest logs, the machine stays."""
    if machine.aborted is not None:
        return Outcome(machine, None, ())
    if access.space == "pci-config":
        return _config(machine, access)
    if access.space == "bar1":
        return _memory(machine, access)
    place = _place(machine, access)
    if place is None:
        return Outcome(machine, _nobody(access), ())
    return _registers(machine, access, place)


def _nobody(access: Access) -> Answer | None:
    """What an access gets where no function of Xen's is: all ones from ports that nobody decodes."""
    return Answer(_ones(access.size), _ones(access.size)) if access.direction == "read" else None


def _place(machine: Machine, access: Access) -> int | None:
    if access.function is None:
        return machine.platform
    found = (at for at, one in enumerate(machine.functions) if one.number == access.function and one.device)
    return next(found, None)


def _with(machine: Machine, place: int, function: Function) -> Machine:
    if machine.functions[place] is function:
        return machine
    functions = (*machine.functions[:place], function, *machine.functions[place + 1 :])
    return replace(machine, functions=functions)


def _registers(machine: Machine, access: Access, place: int) -> Outcome:
    """Ports and BAR0: each piece to its register, low to high; what reaches none reads as ones and is ignored."""
    value, known = 0, 0
    effects: list[Effect] = []
    for part in _parts(machine, access):
        bits = _ones(part.size)
        if not part.ours:
            continue
        if part.register is None:
            value, known = value | bits << part.shift, known | bits << part.shift
            continue
        function = machine.functions[place]
        call = Call(machine.profile, machine.blacklist, place, (access.value or 0) >> part.shift & bits)
        handler = HANDLERS[part.register.name, access.direction]
        assert function.device is not None  # noqa: S101  (places are of platform devices)
        device, answer, caused = handler(call, function.device)
        if device is not function.device:
            machine = _with(machine, place, replace(function, device=device))
        if answer is not None:
            value, known = value | (answer & bits) << part.shift, known | bits << part.shift
        for effect in caused:
            effects.append(effect)
            if isinstance(effect, Unplug):
                machine, done = _take_away(machine, effect)
                effects += done
    return Outcome(machine, Answer(value, known) if access.direction == "read" else None, tuple(effects))


def _take_away(machine: Machine, demand: Unplug) -> tuple[Machine, tuple[Effect, ...]]:
    bus = machine.functions[demand.place].bus
    if demand.index is not None:
        inventory, effects = unplug.by_index(machine.profile, machine.inventory, demand.mask, demand.index)
    else:
        number = machine.bus_number(bus)
        inventory, effects = unplug.by_mask(machine.profile, machine.inventory, demand.mask, bus, number)
    aborted = next((effect.assertion for effect in effects if isinstance(effect, Aborted)), None)
    if inventory == machine.inventory and aborted is None:
        return machine, effects
    return replace(machine, inventory=inventory, aborted=aborted), effects


def _memory(machine: Machine, access: Access) -> Outcome:
    """BAR1: address space for the driver. Reads 0 from the platform device, ones from a xen-pvdevice; writes vanish."""
    if access.direction == "write":
        return Outcome(machine, None, ())
    owners = [one for one in machine.functions if access.function in (None, one.number)]
    if len({one.kind for one in owners}) != 1:
        return Outcome(machine, None, ())
    bits = _ones(max(0, min(access.size, owners[0].identity.bar1_size - access.offset)))
    return Outcome(machine, Answer(bits if owners[0].kind == "xen-pvdevice" else 0, bits), ())


def _config(machine: Machine, access: Access) -> Outcome:
    """Config space of one function; of a bridge only the number that it gives the bus behind it."""
    place = next((at for at, one in enumerate(machine.functions) if one.number == access.function), None)
    if place is None:
        return Outcome(_bridge(machine, access), None, ())
    function = machine.functions[place]
    if access.direction == "write":
        after = pci.config_write(function, access.offset, access.size, access.value or 0)
        return Outcome(_with(machine, place, after), None, ())
    bits = _ones(access.size)
    inside = _ones(max(0, min(access.size, pci.CONFIG_SIZE - access.offset)))
    return Outcome(machine, Answer(pci.config_read(function, access.offset, access.size) & inside, bits & inside), ())


def _bridge(machine: Machine, access: Access) -> Machine:
    covers = access.offset <= _SECONDARY_BUS < access.offset + access.size
    if access.direction == "read" or not covers or access.offset >= _BRIDGE_HEADER:
        return machine
    secondary = (access.value or 0) >> 8 * (_SECONDARY_BUS - access.offset) & 0xFF
    bridges = tuple(
        replace(one, secondary=secondary) if one.number == access.function else one for one in machine.bridges
    )
    return machine if bridges == machine.bridges else replace(machine, bridges=bridges)


# -- what a machine outlives


def reset(machine: Machine) -> Machine:
    """The machine after a reset in place: what was unplugged stays unplugged, so the firmware may find no disk."""
    bridges = tuple(replace(bridge, secondary=0) for bridge in machine.bridges)
    return replace(machine, functions=tuple(map(pci.reset, machine.functions)), bridges=bridges)


def migrate(machine: Machine, inventory: Inventory | None = None) -> Machine:
    """The machine at its migration's destination: only flags and config space travel.

    Product, build, blacklist, log buffer and what was unplugged do not: the destination starts with all its emulated
    devices, or with those of `inventory`, and the guest must unplug again (observed on QEMU 7.2 and 10.0).
    """
    functions = tuple(
        replace(
            pci.start(one.number, one.kind, one.identity, bus=one.bus), config=one.config,
            device=one.device and replace(
                one.device, product=0, build=None, protocol=0, blacklisted=False, unplug_type=0, asked=0
            ),
        )
        for one in machine.functions
    )
    there = whole_again(machine.inventory if inventory is None else inventory)
    return replace(machine, functions=functions, inventory=there, aborted=None)


# -- the machine's addresses


def locate(machine: Machine, address: int, size: int, *, memory: bool = False) -> tuple[Space, int, int | None] | None:
    """(space, offset, function) of an access by its address in the machine, or None where nobody of Xen's answers.

    `address` is a port, or a guest-physical address. An access that starts below the fixed ports or a BAR and
    reaches into it is the space's, at an offset that lies before it.
    """
    end = address + size
    if memory:
        for one in machine.functions:
            if one.bar1 is not None and one.bar1 <= address < one.bar1 + one.identity.bar1_size:
                return "bar1", address - one.bar1, one.number
        return None
    if machine.platform is not None and address < PORTS.stop and end > PORTS.start:
        return "pio", address, None
    for one in machine.functions:
        if one.bar0 is not None and address < one.bar0 + BAR0_SIZE and end > one.bar0:
            return "bar0", address - one.bar0, one.number
    return None


def taken_away(effects: Sequence[Effect]) -> Removed | None:
    """What one access took away in all, or None."""
    removed = [effect for effect in effects if isinstance(effect, Removed)]
    if not removed:
        return None
    return Removed(
        removed[-1].mask, tuple(name for one in removed for name in one.devices),
        tuple(name for one in removed for name in one.backends),
    )
