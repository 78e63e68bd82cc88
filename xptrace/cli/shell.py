"""``xptrace shell``: scapy's own shell, with a recording's entries as packets, and the case that they came from."""

from __future__ import annotations

import argparse
from typing import Any

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports.pcapng import packets

_BANNER = "xptrace: `packets` are the recording's entries as scapy packets, `case` is the case (xptrace.open)"


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("-c", dest="code", metavar="CODE", help="run this and leave, instead of asking for commands")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.output is not None:
        raise XptraceError("shell writes no file: wrpcap and wrpcapng of scapy do")
    case = common.case(arguments)
    names = {**layers(), "case": case, "packets": packet_list(case)}
    code = common.close(case.decoder, full=arguments.ledger)
    if arguments.code is not None:
        exec(compile(arguments.code, "-c", "exec"), names)  # noqa: S102  (the user's own words, which is what -c is for)
    else:
        from scapy.main import interact

        interact(mydict=names, argv=[], mybanner=_BANNER)
    return code


def layers() -> dict[str, Any]:
    """What `from dissectors.platform.layers import *` brings."""
    from dissectors.platform import layers as declared

    return {name: getattr(declared, name) for name in declared.__all__}


def packet_list(case: Any) -> Any:
    """The entries of a case as a scapy PacketList; a packet without a time has time 0, and says so."""
    from scapy.plist import PacketList
    from scapy.utils import EDecimal

    from dissectors.platform.layers import XenPlatform

    found = []
    for entry, data in packets(case):
        packet = XenPlatform(data)
        packet.time = EDecimal(entry.time_ns or 0) / 10**9
        found.append(packet)
    return PacketList(found, name="packets")
