"""Recorded traffic: every access, message and event as a packet of a pcapng file, findings as comments on their proof.

Law: `dissectors.capture.pcapng` for the file, `dissectors.capture.header` for what is in a packet. The comment of a
finding is one line, on each packet that proves it, and all of them are on the section as well, worst first::

    finding A19 medium observed: trace#1: mask 0x0000 was written in line 99, which unplugs nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import xptrace
from dissectors.capture.header import HeaderError, pack
from dissectors.capture.pcapng import Interface, Writer
from dissectors.clock import CLOCKS
from xptrace.access.captured import values_of
from xptrace.access.rows import Entry
from xptrace.errors import XptraceError
from xptrace.exports.export import Export
from xptrace.views.escape import printable

if TYPE_CHECKING:
    from xptrace.case import Case
    from xptrace.findings.assess import Finding

MOST_COMMENTS: Final = 1000
"""Comments on one block: those beyond are counted in the last one."""

Proofs = Mapping[tuple[str, int], list[str]]


class Packet(NamedTuple):
    """An entry and its packet."""

    entry: Entry
    data: bytes


def packets(case: Case) -> Iterator[Packet]:
    """Every entry of the case as a packet, in order; raises XptraceError for one that no packet can hold."""
    for entry in case.entries():
        vm = case.decoder.vms.get(entry.vm)
        try:
            yield Packet(entry, pack(values_of(entry, None if vm is None else vm.began.get(entry.boot))))
        except HeaderError as error:
            place = entry.records[0]
            raise XptraceError(f"{place.source}:{place.line} @{place.offset}: {error}") from None


def comment(finding: Finding) -> str:
    """A finding as a comment; what it quotes of a guest is inert."""
    return printable(f"finding {finding.rule.id} {finding.severity} {finding.certainty}: {finding.sentence}")


def interface(entry: Entry) -> Interface:
    """What the entry's packet was captured on."""
    clock = entry.clock if entry.time_ns is not None else None
    times = "without times" if clock is None else f"times by {CLOCKS.get(clock, clock)} ({clock})"
    return Interface(f"{printable(entry.vm)}#{entry.boot}", printable(f"{entry.vm}, boot {entry.boot}, {times}"))


def _proofs(findings: list[Finding]) -> Proofs:
    """The comments of each place that proves a finding."""
    found: dict[tuple[str, int], list[str]] = {}
    for finding in findings:
        said = comment(finding)
        for place in dict.fromkeys((one.source, one.offset) for one in finding.evidence):
            found.setdefault(place, []).append(said)
    return found


def _comments(entry: Entry, proofs: Proofs) -> list[str]:
    """What its records prove, each finding once."""
    places = dict.fromkeys((record.source, record.offset) for record in entry.records)
    return _some([*dict.fromkeys(said for place in places for said in proofs.get(place, ()))])


def _some(comments: list[str]) -> list[str]:
    if len(comments) <= MOST_COMMENTS:
        return comments
    return [*comments[: MOST_COMMENTS - 1], f"{len(comments) - MOST_COMMENTS + 1} more"]


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as one section."""
    findings = case.assessment.findings
    proofs = _proofs(findings)
    writer = Writer(file, f"xptrace {xptrace.__version__}", _some([comment(finding) for finding in findings]))
    for entry, data in packets(case):
        writer.write(interface(entry), entry.time_ns, data, _comments(entry, proofs))


EXPORT = Export("pcapng", "recorded traffic for Wireshark and scapy", ".pcapng", write)
