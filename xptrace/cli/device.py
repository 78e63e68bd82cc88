"""The arguments that name a device: its profile, its identity, what it refuses, what it may take away."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from xptrace.errors import XptraceError
from xptrace.model.device import KEYED_PRODUCTS, Blacklist
from xptrace.model.profile import Profile
from xptrace.model.profiles import NAMES
from xptrace.replay.device import described
from xptrace.replay.replay import Start
from xptrace.views.escape import printable


def add_device(command: argparse.ArgumentParser, *, otherwise: str = "the newest that explains the recording") -> None:
    """--profile and the properties of its machine."""
    device = command.add_argument_group("the device")
    device.add_argument("--profile", metavar="NAME", help=f"{NAMES}; by default {otherwise}")
    device.add_argument("--blacklist", action="append", default=[], metavar="PRODUCT:BUILD",
                        help="a build that the host refuses (may be given again)")
    device.add_argument("--device-id", metavar="ID", help="the platform device's, e.g. 0x0002")
    device.add_argument("--revision", metavar="N", help="the platform device's PCI revision")
    device.add_argument("--pvdevice", metavar="ID", help="a xen-pvdevice beside it, e.g. 0xc000")
    device.add_argument("--inventory", metavar="LIST",
                        help="emulated devices, e.g. ide0,cd3,nvme,e1000; or a file with QEMU's command line")


def _number(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        raise XptraceError(f"{what}: {printable(text)!r} is no number") from None


def blacklist(items: Sequence[str]) -> Blacklist:
    """The keys of a blacklist, `PRODUCT:BUILD` each; raises XptraceError."""
    found = set()
    for item in items:
        product, colon, build = item.partition(":")
        if not colon:
            raise XptraceError(f"--blacklist: {printable(item)!r} is not PRODUCT:BUILD, e.g. 0xffff:589824")
        found.add((_number(product, "--blacklist") or 0, _number(build, "--blacklist") or 0))
    return frozenset(found)


def start(arguments: argparse.Namespace, of: Profile) -> Start:
    """The device that the arguments name, on this profile; says on standard error what of them has no effect."""
    refused = blacklist(arguments.blacklist)
    for product, build in sorted(refused):
        if of.blacklist == "none":
            print(f"xptrace: {of.name} has no blacklist: --blacklist {product}:{build} has no effect", file=sys.stderr)
        elif product not in KEYED_PRODUCTS:
            print(f"xptrace: no blacklist key can name product {product}: --blacklist {product}:{build} has no effect",
                  file=sys.stderr)
    return described(
        of.name, blacklist=refused, device_id=_number(arguments.device_id, "--device-id"),
        revision=_number(arguments.revision, "--revision"), pvdevice=_number(arguments.pvdevice, "--pvdevice"),
        inventory=arguments.inventory,
    )
