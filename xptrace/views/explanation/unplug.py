"""The unplug mask explained: its bits, and what each takes away, by lineage and version.

Law: `dissectors.platform.registers` for the bits. What goes is nobody's prose here: the model's own walk
(`xptrace.model.unplug`) is taken with every profile, over one emulated device of each kind::

    qemu-2.9            IDE disks (given by -drive), SCSI controllers, NVMe controllers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Final

from dissectors.platform.registers import ALL_UNPLUG_BITS, REGISTERS, UNPLUG_BITS, Bit, Register
from xptrace.model.inventory import ROOT, parse
from xptrace.model.profile import Profile
from xptrace.model.profiles import Change, history, profiles
from xptrace.model.unplug import by_mask
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.wording import access, does, folded, number, place, ranges, the_register

_DEVICES: Final = {
    "IDE disks": "ide0,ide1,ide2,ide3", "SATA disks": "sata0,sata1", "SCSI controllers": "scsi",
    "NVMe controllers": "nvme", "NICs": "nic",
}  # fmt: skip
_ASIDE: Final = {
    "ISA NICs' back ends": "isa-nic", "CD drives": "cd2,cd3", "passed-through NICs": "pt:nic",
    "vfio-pci NICs": "vfio:nic",
}  # fmt: skip
"""Kinds of emulated devices, as inventories. Those aside are no part of what is said of a single mask."""
_SEATS: Final = {"ide0": "the primary master", "ide3": "the secondary slave", "sata0": "the first port's"}
_PEERS: Final = {"kept": "", "all": "with every NIC's back end", "pci": "with the back ends of PCI models"}
_DECIDES: Final = {
    "ide_disks": {"ide", "ide_by_drive", "ide_device_goes", "scsi", "sata", "nvme_bit", "spared"},
    "nics": {"nics", "peers", "spared"},
    "aux_ide_disks": {"auxiliary", "ide_by_drive", "ide_device_goes", "sata"},
    "nvme_disks": {"nvme_bit"},
}  # fmt: skip
"""The fields of a profile on which it depends what a bit does."""


@cache
def _how(of: Profile, kind: str, mask: int) -> str | None:
    """How far devices of this kind go with a mask: None where they stay, empty where there is nothing to add."""
    before = parse((_DEVICES | _ASIDE)[kind])
    after, _ = by_mask(of, before, mask, ROOT, 0)
    controllers = {one.controller for one in before}
    targets = [one for one in after if one.name not in controllers]
    left = [one.name for one in targets if one.present and one.connected]
    if len(left) == len(targets):
        return None
    notes = [
        "given by -drive" if kind == "IDE disks" and of.ide_by_drive else "",
        "with the disk devices" if kind in ("IDE disks", "SATA disks") and of.ide_device_goes else "",
        _PEERS[of.peers] if kind == "NICs" else "",
        f"except {' and '.join(_SEATS[name] for name in left)}" if left else "",
    ]  # fmt: skip
    return ", ".join(filter(None, notes))


def _noted(what: str, how: str) -> str:
    return f"{what} ({how})" if how else what


def takes(of: Profile, mask: int) -> str:
    """Everything that a mask takes away on this device."""
    found = {kind: _how(of, kind, mask) for kind in _DEVICES}
    return ", ".join(_noted(kind, how) for kind, how in found.items() if how is not None) or "nothing"


def _goes_with(kind: str, of: Profile) -> str:
    """The bits of which each takes away devices of this kind."""
    bits: dict[str, list[str]] = {}
    for at, bit in enumerate(UNPLUG_BITS):
        if (how := _how(of, kind, bit.value)) is not None:
            bits.setdefault(how, []).append(str(at))
    return "; ".join(_noted(f"bit {' or '.join(numbers)}", how) for how, numbers in bits.items()) or "stay"


@cache
def _all_changes() -> dict[str, tuple[Change, str]]:
    """Every change by its commit, with the lineage that it was made in: the first that has it."""
    found: dict[str, tuple[Change, str]] = {}
    for one in profiles().values():
        for change in history(one):
            found.setdefault(change.commit, (change, one.lineage))
    return found


def change_rows(changes: Iterable[Change]) -> list[Row]:
    """Changes by their versions, as rows: where, in which month, by which commit or patch, and what it did."""
    return [
        (f"{_all_changes()[one.commit][1]}-{'.'.join(map(str, one.version))}", one.date, one.commit, one.said)
        for one in sorted(changes, key=lambda change: change.version)
    ]  # fmt: skip


def _decided(bit: Bit) -> list[Change]:
    """The changes of any lineage that concern a bit."""
    return [change for change, _ in _all_changes().values() if change.sets.keys() & _DECIDES[bit.name]]


# -- bits


def _all_bits() -> dict[str, tuple[Bit, list[Register]]]:
    """Every flag of every register by its name, with the registers that have it."""
    found: dict[str, tuple[Bit, list[Register]]] = {}
    for register in REGISTERS:
        for bit in register.bits:
            found.setdefault(bit.name, (bit, []))[1].append(register)
    return found


def _bit(bit: Bit, having: Sequence[Register]) -> Page:
    where = ", ".join(dict.fromkeys(one.name for one in having))
    title = f"bit {bit.value.bit_length() - 1} (0x{bit.value:x}) of {where}: {bit.meaning}"
    if bit not in UNPLUG_BITS:
        rows: list[Row] = [(access(one.direction, one.size), place(one), does(one)[0]) for one in having]
        lineages = "; ".join(dict.fromkeys(one.lineage for one in having if one.lineage))
        return Page("bit", bit.name, title, {"lineages": lineages, "accesses": rows})
    return Page("bit", bit.name, title, {
        "decoded as": having[0].say(bit.value),
        "lineages": having[0].lineage,
        "alone takes": ranges(lambda of: takes(of, bit.value)),
        "history": change_rows(_decided(bit)),
    })  # fmt: skip


def _find_bit(word: str) -> list[Page]:
    found = _all_bits().get(word)
    return [_bit(*found)] if found else []


def _named_bit(word: str) -> list[Page]:
    at = number(word)
    return _find_bit(UNPLUG_BITS[at].name if at is not None and 0 <= at < len(UNPLUG_BITS) else word)


# -- masks


def _unplug() -> Page:
    register = the_register("unplug_mask", "write")
    bits: list[Row] = [(str(at), f"0x{bit.value:x}", bit.name, bit.meaning) for at, bit in enumerate(UNPLUG_BITS)]
    return Page("mask", "unplug", f"{register.name}, {access('write', register.size)} at {place(register)}", {
        "bits": bits,
        "lineages": register.lineage,
        "the device": "\n\n".join(does(register)),
        **{kind: folded(partial(_goes_with, kind)) for kind in _DEVICES | _ASIDE},
    })  # fmt: skip


def _mask(mask: int) -> Page:
    register = the_register("unplug_mask", "write")
    return Page("mask", f"0x{mask:x}", register.say(mask), {
        "bits": [(f"0x{bit.value:x}", bit.name, bit.meaning) for bit in UNPLUG_BITS if mask & bit.value],
        "ignored": f"0x{mask & ~ALL_UNPLUG_BITS:x}" if mask & ~ALL_UNPLUG_BITS else "",
        "takes": ranges(lambda of: takes(of, mask & ALL_UNPLUG_BITS)),
        "the device": "\n\n".join(does(register)),
    })  # fmt: skip


def _find_mask(word: str) -> list[Page]:
    if word == "unplug":
        return [_unplug()]
    mask = number(word)
    return [_mask(mask)] if mask is not None and 0 < mask <= ALL_UNPLUG_BITS else []


def _named_mask(word: str) -> list[Page]:
    mask = number(word)
    return [_mask(mask)] if mask is not None and 0 <= mask <= 0xFFFF else _find_mask(word)


BIT = Kind("bit", "bits", _all_bits, _find_bit, _named_bit)
MASK = Kind(
    "mask", "masks", lambda: ["unplug", *(f"0x{mask:x}" for mask in range(1, ALL_UNPLUG_BITS + 1))],
    _find_mask, _named_mask, shown=lambda: ["unplug", f"0x1 to 0x{ALL_UNPLUG_BITS:x}"], overview=_unplug,
)  # fmt: skip
