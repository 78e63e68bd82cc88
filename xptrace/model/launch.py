"""A machine as its device model's command line starts it, or the reason why it does not start.

Law: the properties of hw/i386/xen/xen_platform.c and xen_pvdevice.c; libxl (xen_platform_pci, vendor_device) and
xenopsd, which write such command lines::

    -device xen-platform,addr=3,device-id=0x0002,revision=0x2,class-id=0x0100 -device xen-pvdevice,device-id=0xc000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dissectors.platform.registers import VENDOR
from xptrace.model import function as pci
from xptrace.model.device import Blacklist
from xptrace.model.function import Function, Identity, PropertyError
from xptrace.model.inventory import ROOT, command_line, place_of
from xptrace.model.machine import PLATFORM_SLOT, Machine, power_on
from xptrace.model.profile import Profile


def _number(given: Mapping[str, str], name: str, otherwise: int | None) -> int | None:
    if name not in given:
        return otherwise
    try:
        return int(given[name], 0)
    except ValueError:
        message = f"{name}={given[name]!r} is no number"
        raise PropertyError(message) from None


def _identity(profile: Profile, kind: str, given: Mapping[str, str]) -> Identity:
    device, revision = _number(given, "device-id", None), _number(given, "revision", None)
    if kind == "xen-pvdevice":
        return pci.pvdevice(
            device, vendor=_number(given, "vendor-id", VENDOR) or 0, revision=1 if revision is None else revision,
            size=pci.PVDEVICE_BAR1 if (size := _number(given, "size", None)) is None else size,
        )
    identity = pci.platform(profile, device, revision)
    class_id = _number(given, "class-id", None)
    subsystem = _number(given, "subsystem_id", identity.subsystem) or 0
    vendor = _number(given, "subvendor_id", identity.subsystem_vendor) or 0
    if not profile.identity_settable and given.keys() & {"class-id", "subsystem_id", "subvendor_id"}:
        message = f"the platform device of {profile.name} has no property class-id, subsystem_id or subvendor_id"
        raise PropertyError(message)
    code = identity.class_code if class_id is None else class_id << 8
    return replace(identity, class_code=code, subsystem=subsystem, subsystem_vendor=vendor)


def launch(
    profile: Profile, text: str, *, blacklist: Blacklist = frozenset(), xen: bool = True, rom_lock_works: bool = True
) -> Machine:
    """The machine that a command line starts; `xen` tells whether the accelerator is Xen, or emulates it.

    Raises PropertyError where the device model would refuse to start or abort, with its reason, and ValueError where
    the text is no command line.
    """
    inventory, bridges, given = command_line(text)
    if any(kind == "xen-platform" for kind, _ in given) and not xen and profile.version >= (2, 5):
        wanted = "a Xen guest" if profile.version >= (8, 0) else "the Xen accelerator"
        message = f"xen-platform device requires {wanted}"
        raise PropertyError(message)
    functions: list[Function] = []
    for at, (kind, properties) in enumerate(given):
        identity = _identity(profile, kind, properties)
        place = place_of(properties.get("addr"))
        made = pci.start(
            PLATFORM_SLOT + (at << 3) if place is None else place,
            "xen-platform" if kind == "xen-platform" else "xen-pvdevice",
            identity, command=profile.command_at_start, bus=properties.get("bus", ROOT),
        )
        if made.device is not None and not rom_lock_works:
            made = replace(made, device=replace(made.device, rom_lock_works=False))
        functions.append(made)
    machine = power_on(profile, inventory=inventory, bridges=bridges, blacklist=blacklist)
    return replace(machine, functions=tuple(functions))
