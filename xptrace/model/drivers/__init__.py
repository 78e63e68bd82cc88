"""The drivers, modelled: what each does to the ports, given the answers that it gets.

`DRIVERS` declares them, `play` runs one against a device, `follow` along a recording for as long as it does what was
recorded, `recognise` names those that could have made one.
"""

from __future__ import annotations

from xptrace.model.drivers.catalogue import DRIVERS, find_driver
from xptrace.model.drivers.driver import (
    Binding,
    Certainty,
    Claim,
    Driver,
    Identity,
    NextBoot,
    Outcome,
    Verdict,
    When,
    parse_options,
)
from xptrace.model.drivers.options import Option, Options, declared, spell
from xptrace.model.drivers.recognise import Recognised, recognise
from xptrace.model.drivers.run import Device, Followed, Play, follow, matches, play
from xptrace.model.drivers.steps import Step, negotiates, negotiation

__all__ = [
    "DRIVERS",
    "Binding",
    "Certainty",
    "Claim",
    "Device",
    "Driver",
    "Followed",
    "Identity",
    "NextBoot",
    "Option",
    "Options",
    "Outcome",
    "Play",
    "Recognised",
    "Step",
    "Verdict",
    "When",
    "declared",
    "find_driver",
    "follow",
    "matches",
    "negotiates",
    "negotiation",
    "parse_options",
    "play",
    "recognise",
    "spell",
]
