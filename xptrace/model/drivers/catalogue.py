"""Every driver that is modelled, those first that one meets most.

Law: the sources that each declaration names. A new driver is a declaration beside its sequence, and one line here.
"""

from __future__ import annotations

from typing import Any, Final

from xptrace.model.drivers.bsd import FREEBSD, FREEBSD_9, NETBSD, OPENBSD
from xptrace.model.drivers.driver import Driver
from xptrace.model.drivers.firmware import NONE, ROMBIOS
from xptrace.model.drivers.linux import LINUX, SUSE_LEGACY, XENLINUX
from xptrace.model.drivers.windows import CITRIX_LEGACY, GPLPV, VMDP
from xptrace.model.drivers.xenbus import WINDOWS_XENBUS, XENSERVER_6_1

DRIVERS: Final[tuple[Driver[Any], ...]] = (
    LINUX, WINDOWS_XENBUS, FREEBSD, NETBSD, OPENBSD, XENLINUX, SUSE_LEGACY, GPLPV, CITRIX_LEGACY, XENSERVER_6_1, VMDP,
    FREEBSD_9, ROMBIOS, NONE,
)  # fmt: skip
"""In the order in which they are named where recorded steps could be of several."""

_BY_NAME: Final = {driver.name: driver for driver in DRIVERS}


def find_driver(name: str) -> Driver[Any]:
    """The driver of that name; raises ValueError, one line that says which there are."""
    if name not in _BY_NAME:
        raise ValueError(f"no driver {name!r}: there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
