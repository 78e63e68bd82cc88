"""One observed access against the model: what it should have been, whether it agrees, and how to go on if not.

Law: the model's own step (`xptrace.model.machine`). A recording seldom begins where the machine does, and may lack
kinds of accesses: what the model assumes of the start gives way once, without blame, to what is first observed of it,
if the device can be in such a state at all. Whatever else differs is a divergence; the model then takes over what was
observed as far as it can, so that one cause is not reported for ever and does not hide the next::

    read 0x10 2: observed 0xd249, expected 0x49d2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from dissectors.platform import registers
from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, Direction, Space, pieces
from xptrace.model import function as pci
from xptrace.model.access import Access, Answer
from xptrace.model.effects import Effect
from xptrace.model.function import Function
from xptrace.model.machine import Machine, Outcome, reach

_FLAGS, _VERDICT, _PROTOCOL, _PLACE, _GRANTED = "flags", "blacklisted", "protocol", "place", "rom lock"
_NO_RESET: Final = "no reset"
"""Assumed since the BARs were set up anew: so does a firmware after a reset, which leaves no record of its own."""
_VARIABLE: Final = {
    "flags": _FLAGS, "bar0_flags": _FLAGS, "magic": _VERDICT, "protocol_version": _PROTOCOL,
    "unplug_index": _PROTOCOL, "build_number": _VERDICT,
}
"""The variable of the device's state that an access of a register shows or sets."""
ASSUMED: Final = frozenset({_FLAGS, _VERDICT, _PROTOCOL})
"""What is assumed of a device whose start the recording does not show."""

_IDENTITY: Final = frozenset((*range(4), *range(8, 12), *range(0x2C, 0x30), 0x3D))
"""Offsets in config space of vendor, device, revision, class, subsystem and interrupt pin."""
_SIZE: Final = -1
"""Stands for the size of BAR1 among the bytes of a function."""

Variable = str | tuple[int, int]
"""A variable of the device, or (function, offset) of a byte of config space."""


class Observed(NamedTuple):
    """An access as a recording tells it; a size or value that it does not tell is missing.

    `function` is the PCI function's number where the recording tells it, `device` its type, if known.
    """

    space: Space
    offset: int | None
    size: int | None
    direction: Direction
    value: int | None
    function: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay stands: the machine, what of it was seen to be so, and what was only assumed.

    `seen` holds the bytes of config space that an access has touched since the machine started. `given` says that the
    user named the identity, so that another one is a divergence.
    """

    machine: Machine
    assumed: frozenset[Variable] = frozenset({*ASSUMED, _PLACE, _GRANTED})
    seen: frozenset[Variable] = frozenset()
    given: bool = False


class Judgement(NamedTuple):
    """What the model says of one access. Bits of `expected` that only another device knows are as observed.

    `agrees` is missing where there is nothing to compare: a write, a value that is not recorded or not known to the
    model, or one that replaced an assumption (`adopted`).
    """

    expected: int | None = None
    agrees: bool | None = None
    adopted: bool = False


NOTHING: Final = Judgement()


def judge(standing: Standing, observed: Observed) -> tuple[Standing, Judgement, tuple[Effect, ...]]:
    """The step of a replay: pure, and so the same for one access as for a million (see `xptrace.replay.automaton`)."""
    if observed.offset is None:
        return standing, NOTHING, ()
    size = observed.size
    if size is None:
        found = registers.find(observed.space, observed.offset, None, observed.direction)
        if found is None:
            return standing, NOTHING, ()
        size = found.size
    standing = _located(standing, observed)
    access = Access(observed.space, observed.offset, size, observed.direction,
                    observed.value if observed.direction == "write" else None, observed.function)
    if observed.direction == "write":
        return _write(standing, access, observed)
    outcome = reach(standing.machine, access)
    standing = replace(standing, machine=outcome.machine) if outcome.machine is not standing.machine else standing
    if outcome.answer is None:
        return standing, NOTHING, outcome.effects
    after, judgement = _read(standing, access, outcome.answer, observed.value)
    return after, judgement, outcome.effects


def _located(standing: Standing, observed: Observed) -> Standing:
    """The standing in which the accessed function is known: as an assumption of where it is, or as a new one."""
    number, machine = observed.function, standing.machine
    if number is None or any(one.number == number for one in machine.functions):
        return standing
    if observed.device == "xen-platform":
        platform = machine.platform
        if platform is not None and _PLACE in standing.assumed:
            moved = replace(machine.functions[platform], number=number)
            functions = (*machine.functions[:platform], moved, *machine.functions[platform + 1 :])
            return replace(standing, machine=replace(machine, functions=functions),
                           assumed=standing.assumed - {_PLACE})
        # which of two was created last is not recorded: the one that was there before goes on answering the ports
        other = pci.start(number, "xen-platform", pci.platform(machine.profile))
        return replace(standing, machine=replace(machine, functions=(other, *machine.functions)))
    if observed.device == "xen-pvdevice":
        added = pci.start(number, "xen-pvdevice", pci.pvdevice(0xC000))
        return replace(standing, machine=replace(machine, functions=(*machine.functions, added)))
    return standing


# -- writes


def _write(
    standing: Standing, access: Access, observed: Observed
) -> tuple[Standing, Judgement, tuple[Effect, ...]]:
    variables = frozenset(_variables(access))
    if observed.value is None:  # whatever was written, the model cannot know it any more
        assumed = standing.assumed | {one for one in variables if isinstance(one, str)}
        return replace(standing, assumed=assumed, seen=standing.seen - variables), NOTHING, ()
    outcome: Outcome = reach(standing.machine, access)
    after = _knowing(replace(standing, machine=outcome.machine), variables)
    if access.space == "pci-config" and access.offset in (pci.BAR0, pci.BAR1):
        after = replace(after, assumed=after.assumed | {_NO_RESET})
    return after, NOTHING, outcome.effects


def _variables(access: Access) -> Iterator[Variable]:
    """What of the state an access shows or sets."""
    if access.space == "pci-config":
        for offset in range(access.offset, access.offset + access.size):
            yield access.function or 0, offset
        return
    for piece in pieces(access.space, access.offset, access.size, access.direction, None):
        if piece.register is not None and piece.register.name in _VARIABLE:
            yield _VARIABLE[piece.register.name]


def _knowing(standing: Standing, variables: frozenset[Variable]) -> Standing:
    assumed = standing.assumed - (variables | {_NO_RESET} if _FLAGS in variables else variables)
    seen = standing.seen | {one for one in variables if not isinstance(one, str)}
    if assumed == standing.assumed and seen == standing.seen:
        return standing
    return replace(standing, assumed=assumed, seen=seen)


# -- reads


def _read(standing: Standing, access: Access, answer: Answer, observed: int | None) -> tuple[Standing, Judgement]:
    whole = (1 << 8 * access.size) - 1
    if observed is None:
        return standing, Judgement(answer.value if answer.known == whole else None)
    observed &= whole
    expected = answer.value | observed & ~answer.known
    variables = frozenset(_variables(access))
    if (sized := _sized(standing, access, observed)) is not None:
        return _knowing(sized, variables), Judgement(None, None, adopted=True)
    agrees = answer.agrees(observed)
    if agrees:
        granted = {_GRANTED} if _FLAGS in variables and observed & 1 else ()
        return _knowing(standing, variables.union(granted)), Judgement(expected, True)
    if agrees is None:
        return _adopt(standing, access, observed), NOTHING
    after = _knowing(_adopt(standing, access, observed), variables | {_GRANTED} if _FLAGS in variables else variables)
    if _assumption(standing, access, answer, observed):
        return after, Judgement(None, None, adopted=True)
    return after, Judgement(expected, False)


def _assumption(
    standing: Standing, access: Access, answer: Answer, observed: int
) -> bool:
    """Whether what differs was only assumed, and the device can be in the state that was observed."""
    profile = standing.machine.profile
    if access.space == "pci-config":
        differs = (observed ^ answer.value) & answer.known
        touched = {(access.function or 0, access.offset + at) for at in range(access.size) if differs >> 8 * at & 0xFF}
        return not touched & standing.seen and not differs & _fixed_bits(standing, access)
    for piece in pieces(access.space, access.offset, access.size, access.direction, observed):
        shift, bits = 8 * (piece.offset - access.offset), (1 << 8 * piece.size) - 1
        if not ((observed ^ answer.value) & answer.known) >> shift & bits:
            continue
        name = piece.register.name if piece.register else ""
        possible = {
            _FLAGS: piece.value in (0, 1),
            _VERDICT: profile.blacklist != "none" and piece.value in (MAGIC, MAGIC_BLACKLISTED),
            _PROTOCOL: profile.protocol_choice and piece.value in (1, 2),
        }
        variable = _VARIABLE.get(name)
        if variable == _FLAGS and piece.value == 0 and standing.assumed & {_GRANTED, _NO_RESET}:
            continue  # that the hypervisor grants the protection, and that there was no reset, was only assumed, too
        if variable is None or variable not in standing.assumed or not possible[variable]:
            return False
    return True


def _fixed_bits(standing: Standing, access: Access) -> int:
    """The bits of a config read in which the model is sure: those that nobody can write, and that no property sets."""
    function = next(one for one in standing.machine.functions if one.number == access.function)
    settable = function.kind == "xen-pvdevice" or standing.machine.profile.identity_settable
    bits = 0
    for at in range(access.size):
        offset = access.offset + at
        if not (settable and not standing.given and offset in _IDENTITY):
            bits |= pci.fixed(function, offset) << 8 * at
    return bits


def _sized(standing: Standing, access: Access, observed: int) -> Standing | None:
    """The standing in which a xen-pvdevice has the size that it told, which is a property of the machine; once."""
    function = next((one for one in standing.machine.functions if one.number == access.function), None)
    if access.space != "pci-config" or function is None or function.kind != "xen-pvdevice":
        return None
    size = pci.told_size(function, access.offset, access.size, observed)
    told: Variable = (function.number, _SIZE)
    if size is None or told in standing.seen:
        return None
    sized = replace(function, identity=replace(function.identity, bar1_size=size))
    told_to = pci.adopt(sized, access.offset, access.size, observed)
    after = _with(standing, access, lambda _: told_to)
    return replace(after, seen=after.seen | {told})


def _adopt(standing: Standing, access: Access, observed: int) -> Standing:
    """The standing after an answer that the model did not expect: what can be taken over is."""
    machine = standing.machine
    if access.space == "pci-config":
        return _with(standing, access, lambda one: pci.adopt(one, access.offset, access.size, observed))
    place = machine.platform
    if access.space not in ("pio", "bar0") or place is None:
        return standing
    device = machine.functions[place].device
    if device is None:
        return standing
    for piece in pieces(access.space, access.offset, access.size, access.direction, observed):
        name, value = piece.register.name if piece.register else "", piece.value or 0
        if name in ("flags", "bar0_flags"):
            assumed = standing.assumed & {_FLAGS, _NO_RESET}
            refused = machine.profile.rom_lock == "hypervisor" and not assumed and not value
            device = replace(device, flags=value & 1, rom_lock_works=device.rom_lock_works and not refused)
        elif name == "magic" and machine.profile.blacklist != "none":
            device = replace(device, blacklisted=value == MAGIC_BLACKLISTED)
        elif name == "protocol_version" and machine.profile.protocol_choice and value in (1, 2):
            device = replace(device, protocol=value)
    functions = (*machine.functions[:place], replace(machine.functions[place], device=device),
                 *machine.functions[place + 1 :])
    return replace(standing, machine=replace(machine, functions=functions))


def _with(standing: Standing, access: Access, change: Callable[[Function], Function]) -> Standing:
    functions = tuple(
        change(one) if one.number == access.function else one for one in standing.machine.functions
    )
    return replace(standing, machine=replace(standing.machine, functions=functions))
