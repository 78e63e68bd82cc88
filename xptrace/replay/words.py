"""Why an answer differs, in words: what was observed, what was expected, and the rule that the two part at.

Law: `dissectors.platform.registers` for what a value means, `xptrace.model.profiles` for what a device can do::

    observed magic 0xd249: driver blacklisted; qemu-10.0 answers magic 0x49d2: Xen platform device, not blacklisted
"""

from __future__ import annotations

from dissectors.platform import config_space, registers
from xptrace.model.profile import Profile
from xptrace.replay.judge import Observed


def _said(observed: Observed, value: int) -> str:
    if observed.space == "pci-config":
        return config_space.meaning(observed.offset or 0, observed.size, "read", value, "config space")
    return registers.meaning(observed.space, observed.offset, observed.size, "read", value)


def because(profile: Profile, observed: Observed) -> str:
    """The rule that an answer of this profile rests on; empty where the meaning of the two values says it all."""
    name = registers.register_name(observed.space, observed.offset, observed.size, observed.direction)
    if name == "magic" and observed.value == registers.MAGIC_BLACKLISTED:
        if profile.blacklist == "none":
            return "this device has no blacklist, and no upstream QEMU release answers 0xd249"
        return "nothing that was observed, and no key that was given, blacklists this driver"
    if name == "magic" and observed.value == registers.MAGIC:
        return "it refuses the build that was named, and has said so since" if profile.blacklist != "none" else ""
    if name == "magic":
        return "the platform device always answers one of its two magics: something else has this port"
    if name == "protocol_version":
        return "a read pins 1 unless 2 was chosen" if profile.protocol_choice else "this device speaks protocol 1"
    if name in ("flags", "bar0_flags"):
        return "the flag is bit 0 of what was last written; a reset clears it, and real Xen may refuse to set it"
    if name == "undefined":
        return "the device has no register here, and reads as all ones"
    if name == "bar1":
        return "BAR1 is address space alone: the platform device reads 0, xen-pvdevice all ones"
    return "config space holds what was written to it, in its writable bits"


def divergence(profile: Profile, observed: Observed, expected: int) -> str:
    """The whole sentence on one divergence."""
    if observed.value is None:
        return "nothing was observed"
    why = because(profile, observed)
    text = f"observed {_said(observed, observed.value)}; {profile.name} answers {_said(observed, expected)}"
    return f"{text}: {why}" if why else text
