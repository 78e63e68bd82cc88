"""Who is no PV driver: the firmware that locks the ROM area, and everybody who leaves the ports alone.

Law: tools/firmware/rombios of Xen, and what is not in the sources of illumos xpv, iPXE, OVMF, SeaBIOS and hvmloader.
rombios at every reset, as qemu-xen-traditional tells it::

    platform_fixed_ioport: changed ro/rw state of ROM memory area. now is rw state.
    platform_fixed_ioport: changed ro/rw state of ROM memory area. now is ro state.
"""

from __future__ import annotations

from typing import Final

from xptrace.model.access import write
from xptrace.model.drivers.driver import Binding, Claim, Driver, Negotiation, NextBoot, Outcome
from xptrace.model.drivers.options import Options
from xptrace.model.drivers.steps import Seen

_NOTHING_BOUND = Claim("It attaches to nothing, and nothing of it depends on the identity.", "documented")
_NOTHING_LOST = Claim("It loses nothing.", "inferred")
_NOT_ASKED = Claim("It never asks, so the host cannot refuse it.", "documented")
_NOT_UNPLUGGED = Claim("It unplugs nothing, so the emulated devices stay.", "documented")


def rombios_boot(chosen: Options) -> Negotiation:  # noqa: ARG001 - it has none
    """The ROM area is writable while option ROMs are set up, and read-only from then on."""
    yield write(0x10, 1, 0)
    yield write(0x10, 1, 1)
    return Outcome("unasked", "the ROM area was writable while option ROMs were set up, and is read-only now")


def infer(seen: Seen) -> Options:  # noqa: ARG001
    """There is nothing to choose."""
    return Options()


ROMBIOS: Final = Driver(
    name="rombios", title="rombios, the firmware of qemu-xen-traditional guests", product=None, builds="none",
    options=Options, boot=rombios_boot, resume=None,
    resumes=Claim("Firmware does not run at resume; the flags come with the device's saved state.", "documented"),
    infer=infer,
    binding=Binding((), needed=False, claim=_NOTHING_BOUND),
    next_boot=NextBoot(_NOTHING_LOST, _NOT_ASKED, _NOT_UNPLUGGED),
    law="tools/firmware/rombios", certainty="documented",
)  # fmt: skip


def none_boot(chosen: Options) -> Negotiation:  # noqa: ARG001
    """No access at all."""
    yield from ()
    return Outcome("unasked", "it leaves the ports alone: no probe, no unplug, and no verdict")


NONE: Final = Driver(
    name="none", title="nobody: illumos, iPXE, OVMF, PVH guests, Linux with xen_emul_unplug=never", product=None,
    builds="none", options=Options, boot=none_boot, resume=None,
    resumes=Claim("No access at all.", "documented"),
    infer=infer,
    binding=Binding(
        None, needed=None,
        claim=Claim("iPXE and OVMF attach to 5853:0001 and bring PV frontends up without any unplug.", "documented"),
    ),
    next_boot=NextBoot(
        identity_gone=Claim("iPXE and OVMF find no PV devices any more, and use the emulated ones.", "inferred"),
        blacklisted=_NOT_ASKED, without_frontends=_NOT_UNPLUGGED,
    ),
    law="what their sources do not contain", certainty="documented",
)  # fmt: skip
