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
    "clock": ("category", "whose time: a clock of dissectors.clock; only times of one clock compare"),
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
    "via": ("category", "where it was written: log (port), debug (port 0xe9, the hypervisor's console), kernel"),
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
    "id": ("string", "the negotiation's name, VM#boot"),
    "code": ("category", "how it ended: a code of xptrace.negotiation.verdict.CODES"),
    "epoch": ("category", "how the boot began: process, reset or migration; missing where it is not shown"),
    "model": ("category", "the driver model that explains most of its steps"),
    "confidence": ("category", "certain, open (several models explain all), partial, none"),
    "alternatives": ("object", "other driver models that explain as much, a list"),
    "state": ("category", "the state that the negotiation ended in"),
    "probe_ns": ("Int64", "from the first read of the magic to the protocol version"),
    "naming_ns": ("Int64", "from there to the build number"),
    "verdict_ns": ("Int64", "from there to the second read of the magic"),
    "decision_ns": ("Int64", "from there, or from the last step before it that there was, to the first mask"),
    "unplug_ns": ("Int64", "from the first mask to the last"),
    "handover_ns": ("Int64", "from the last mask until PV disks and NICs were connected"),
}

FINDINGS: Final[Mapping[str, tuple[str, str]]] = {
    "rule": ("category", "A01 to A52, or a user's own"),
    "severity": ("category", "high, medium, low or info"),
    "vm": ("category", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "sentence": ("string", "what was found, in words; may quote the guest"),
    "advice": ("string", "what to do"),
    "law": ("string", "the document or source that the rule rests on"),
    "certainty": ("category", "observed, derived or assumed"),
    "evidence": ("object", "the proof: a list of source, offset and line"),
}

EVENTS: Final[Mapping[str, tuple[str, str]]] = {
    **_WHEN_AND_WHOSE,
    "topic": ("category", "frontend, backend, function, mapping, life, store, identity or driver"),
    "subject": ("string", "what it happened to: vbd/768, 00:07.0, runstate, a path of xenstore"),
    "said": ("string", "the state or value in the recording's words; untrusted"),
    "value": ("UInt64", "its number, where it has one"),
    **EVIDENCE,
}

SAYINGS: Final[Mapping[str, tuple[str, str]]] = {
    **_WHEN_AND_WHOSE,
    "until_ns": ("Int64", "time of the last line of it"),
    "said": ("category", "what kind of thing: bugcheck, suspend, or a kind of dissectors.platform.texts"),
    "speaker": ("category", "whose word it is: guest, or unproven: the device's, or a guest's that imitates it"),
    "fields": ("object", "what it holds, by name; untrusted, not escaped"),
    **EVIDENCE,
}

REPLAY: Final[Mapping[str, tuple[str, str]]] = {
    **ACCESSES,
    "expected": ("UInt64", "what the device of the profile answers; bits that only another device knows as observed"),
    "agrees": ("boolean", "whether that was observed; missing where there is nothing to compare"),
}

FIT: Final[Mapping[str, tuple[str, str]]] = {
    "profile": ("string", "the device's lineage and version"),
    "explains": ("boolean", "whether nothing speaks against it"),
    "agreed": ("Int64", "answers and lines that are as this device gives them"),
    "diverged": ("Int64", "answers and lines that are not"),
    "against": ("object", "what shuts it out, a list of sentences with their place"),
}

STATES: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("category", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "profile": ("category", "the device that it was replayed on"),
    "register": ("category", "what is remembered: flags, product, build, protocol, blacklisted, unplugged, BARs"),
    "value": ("Int64", "its value"),
    "meaning": ("string", "the value in words"),
    "certainty": ("category", "derived from accesses, or assumed of a start that is not recorded"),
    "clock": ("category", "of from_ns and to_ns"),
    "from_ns": ("Int64", "time of the access that brought it about"),
    "to_ns": ("Int64", "time of the access that ended it; missing at the end"),
    **EVIDENCE,
    "to_source": ("category", "the recording of the access that ended it"),
    "to_offset": ("Int64", "byte offset of it"),
    "to_line": ("Int64", "its line"),
}

PREDICTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("string", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "driver": ("string", "the driver, as recognised by what it did"),
    "options": ("object", "the settings with which it does so, a list"),
    "device": ("string", "the device that was tried, in words"),
    "profile": ("string", "its lineage and version"),
    "binds": ("boolean", "whether the driver attaches to it; missing where no source tells"),
    "binds_because": ("string", "to what, and by which source"),
    "verdict": ("string", "accepted, blacklisted, refused or unasked"),
    "sentence": ("string", "the outcome of the handshake in words"),
    "mask": ("Int64", "union of the mask bits asked for"),
    "unplugs": ("object", "names of its bits, a list"),
    "removes": ("object", "devices and back ends that go, a list"),
    "pv": ("boolean", "whether PV drivers start afterwards; missing where no source tells"),
    "parts_at": ("Int64", "index of the recorded step that goes otherwise; missing where none does"),
    "next_boot": ("string", "what the guest meets when it starts again"),
    "next_boot_certainty": ("string", "observed, documented, inferred or assumed"),
    "notes": ("object", "what must be said about the device, a list"),
    "certainty": ("category", "predicted"),
    **EVIDENCE,
}

SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "source": ("string", "the recording"),
    "sha256": ("string", "digest of its bytes as they lie there; missing of what can be read once only"),
    "vantage": ("category", "whose view it is: device, host, store, toolstack or guest"),
    "formats": ("object", "dissectors that told anything of it, a list"),
    "vms": ("object", "VM#boot of all that is told in it, a list"),
    "clock": ("category", "the clock of most of its times"),
    "first_ns": ("Int64", "the first time by that clock"),
    "last_ns": ("Int64", "the last"),
    "entries": ("Int64", "accesses, messages and events that have a time by it"),
}

CORRELATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("category", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "one": ("category", "the first recording"),
    "other": ("category", "the other recording"),
    "one_clock": ("category", "the clock of the first"),
    "other_clock": ("category", "the clock of the other"),
    "matches": ("Int64", "sightings that both hold"),
    "one_sightings": ("Int64", "sightings of the first"),
    "other_sightings": ("Int64", "sightings of the other"),
    "origin_ns": ("Int64", "time of the first match by the other's clock"),
    "offset_ns": ("Int64", "what to add there to have the time by the first's clock; missing where no match has both"),
    "drift": ("Float64", "by how much of itself the first's clock runs faster; missing where it was not solved"),
    "residual_median_ns": ("Int64", "median distance of a match from that line, without its sign"),
    "residual_worst_ns": ("Int64", "largest distance"),
}

SIGHTINGS: Final[Mapping[str, tuple[str, str]]] = {
    "vm": ("category", "the VM's name"),
    "boot": ("Int64", "epoch of the VM, from 1"),
    "time_ns": ("Int64", "nanoseconds by `clock`, which is the first recording's; solved where only the other saw it"),
    "clock": ("category", "the clock of the first recording"),
    "residual_ns": ("Int64", "what the two times differ by, the solved relation of the clocks taken into account"),
    "said": ("string", "the access or event in words"),
    "one": ("object", "its place and time in the first recording; missing where that did not see it"),
    "other": ("object", "its place and time in the other"),
}

LEDGER: Final[Mapping[str, tuple[str, str]]] = {
    "source": ("string", "the recording"),
    "kind": ("category", "decoded, other, damaged, lost; read is their sum"),
    "bytes": ("Int64", "bytes, after decompression"),
    "lines": ("Int64", "lines"),
}
