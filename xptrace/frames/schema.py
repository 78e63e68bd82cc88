"""The columns of every table, with their dtypes, units and meanings; nothing is left to inference.

Integers are nullable (`<NA>` is what a recording does not tell), times are nanoseconds since 1970 by the clock that
`clock` names, text is `string`, names that repeat are `category`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVIDENCE: Final = {
    "source": ("category", "the recording"),
    "offset": ("Int64", "byte offset of the record in it, after decompression"),
    "line": ("Int64", "line number, from 1"),
}
_WHEN_AND_WHOSE: Final = {
    "time_ns": ("Int64", "nanoseconds by `clock`; for wall and syslog since 1970-01-01T00:00:00Z"),
    "clock": ("category", "wall (QEMU's), syslog, trace (the kernel tracer's)"),
    "vm": ("category", "the VM's name, by file name, guest name or domain"),
    "boot": ("Int64", "epoch of the VM, from 1"),
}

ACCESSES: Final[Mapping[str, tuple[str, str]]] = {
    **_WHEN_AND_WHOSE,
    "vcpu": ("Int64", "virtual CPU, where the recording tells"),
    "space": ("category", "pio, bar0, bar1 or pci-config"),
    "address": ("UInt64", "port, guest-physical address, or offset in config space"),
    "size": ("Int64", "bytes"),
    "direction": ("category", "read or write, as the guest sees it"),
    "value": ("UInt64", "what the guest wrote or got"),
    "count": ("Int64", "1, or the elements of a string access that are not recorded one by one"),
    "register": ("category", "the register's name"),
    "meaning": ("string", "the access in words"),
    "certainty": ("category", "observed or inferred"),
    **EVIDENCE,
}

MESSAGES: Final[Mapping[str, tuple[str, str]]] = {
    **_WHEN_AND_WHOSE,
    "text": ("string", "what the guest wrote; untrusted, not escaped"),
    "complete": ("boolean", "false where the device never emitted the line, or the recording lacks some of it"),
    "certainty": ("category", "observed or inferred"),
    **EVIDENCE,
}

SUMMARY: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("string", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "driver": ("string", "the driver in words, inferred from product and build"),
    "product": ("Int64", "product number"),
    "build": ("Int64", "build number"),
    "protocol_version": ("Int64", "what the device answered"),
    "blacklisted": ("boolean", "whether the last magic read said so"),
    "unplug_mask": ("Int64", "union of all masks, legacy unplugs included"),
    "unplugged": ("object", "names of its bits, a list"),
    "started_ns": ("Int64", "time of the first probe"),
    "duration_ns": ("Int64", "from there to the last unplug, or to the last step where there was none"),
    "verdict": ("string", "how it ended, in words"),
}

LEDGER: Final[Mapping[str, tuple[str, str]]] = {
    "source": ("string", "the recording"),
    "kind": ("category", "decoded, other, damaged, lost; read is their sum"),
    "bytes": ("Int64", "bytes, after decompression"),
    "lines": ("Int64", "lines"),
}
