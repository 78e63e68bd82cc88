"""A device in a user's words, for both faces: its profile, its identity, what it refuses, what it may take away."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict, Unpack

from xptrace.errors import XptraceError
from xptrace.model import function as pci
from xptrace.model.function import Identity, PropertyError
from xptrace.model.inventory import Bridge, Inventory, command_line, parse
from xptrace.model.profile import Profile
from xptrace.model.profiles import profile
from xptrace.replay.replay import Start


def named(name: str) -> Profile:
    """The profile of that name; raises XptraceError with near ones."""
    try:
        return profile(name)
    except KeyError as error:
        raise XptraceError(str(error.args[0])) from None


class Properties(TypedDict, total=False):
    """What may be said of a device beside its profile."""

    blacklist: Iterable[tuple[int, int]]
    """(product, build) of each build that the host refuses."""
    device_id: int | None
    revision: int | None
    pvdevice: int | None
    """The device id of a xen-pvdevice beside the platform device."""
    inventory: str | None
    """The emulated devices, such as "ide0,cd3,e1000", or a file with a device model's command line."""


def described(name: str, **properties: Unpack[Properties]) -> Start:
    """The device of this profile with these properties; raises XptraceError for one that cannot be."""
    of = named(name)
    devices, bridges = devices_of(properties.get("inventory"))
    functions = identities(of, properties.get("device_id"), properties.get("revision"), properties.get("pvdevice"))
    return Start(of, functions, devices, bridges, frozenset(properties.get("blacklist", ())))


def identities(of: Profile, device_id: int | None, revision: int | None, pvdevice: int | None) -> tuple[Identity, ...]:
    """The functions that a user named; none where the profile's own will do. Raises XptraceError."""
    if device_id is None and revision is None and pvdevice is None:
        return ()
    try:
        platform = pci.platform(of, device_id, revision)
        return (platform,) if pvdevice is None else (platform, pci.pvdevice(pvdevice))
    except PropertyError as error:
        raise XptraceError(str(error)) from None


def devices_of(inventory: str | None) -> tuple[Inventory, tuple[Bridge, ...]]:
    """The emulated devices: from a list, or from a file with a device model's command line. Raises XptraceError."""
    if inventory is None:
        return (), ()
    try:
        if Path(inventory).is_file():
            text = Path(inventory).read_text(encoding="utf-8", errors="replace")
            devices, bridges, _ = command_line(text)
            return devices, bridges
        return parse(inventory), ()
    except (ValueError, OSError) as error:
        raise XptraceError(f"inventory: {error}") from None
