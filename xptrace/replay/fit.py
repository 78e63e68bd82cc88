"""Which device made a recording: every profile is replayed, and the form of the records is asked as well.

Law: `xptrace.replay.judge` for what a device would have answered; the eras of the trace-event declarations and of the
line forms (`dissectors.qemu`) for which release writes such a record. What shuts a profile out is named with its place;
profiles that nothing in the recording tells apart stay together, which is an answer too::

    against qemu-6.0: memory_region_ops_read is written so by QEMU 6.1 and later
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dissectors.qemu import era
from dissectors.qemu.catalogue import Catalogue
from dissectors.record import Record
from xptrace.access.attribution import Vm
from xptrace.access.rows import Access, Row
from xptrace.model.profile import Profile
from xptrace.model.profiles import profiles
from xptrace.replay.replay import Replay, Start, observe, sentence

_ANSWERS: Final = (
    "tables", "unaligned", "protocol_choice", "blacklist", "rom_lock", "legacy_bar0", "log_filtered", "device_id",
    "revision", "class_code", "interrupt_pin", "identity_settable", "command_at_start",
)
"""The fields of a profile that a guest can see in what it reads, or a log in its lines."""
LOOKED_AT: Final = 500
"""Records of each event whose form is looked at: it does not change in the middle of a recording often."""
_ONLY_XEN: Final = ("handle_ioreq", "cpu_ioreq_")
_NO_KVM: Final = ("cpu_in", "cpu_out")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a profile is shut out, or what it alone explains, with its place in the recording."""

    source: str
    offset: int
    line: int
    said: str


@dataclass(slots=True)
class Candidate:
    """One profile and how it fares: answers and lines that agree and that do not, and what speaks against it."""

    profile: Profile
    agreed: int = 0
    diverged: int = 0
    against: list[Evidence] = field(default_factory=list)
    favour: list[Evidence] = field(default_factory=list)

    @property
    def explains(self) -> bool:
        """Whether nothing in the recording speaks against it."""
        return not self.against

    def row(self) -> dict[str, Any]:
        """The candidate for machines."""
        def told(evidence: list[Evidence]) -> list[dict[str, Any]]:
            return [asdict(one) for one in evidence]

        return {
            "profile": self.profile.name, "explains": self.explains, "agreed": self.agreed, "diverged": self.diverged,
            "against": told(self.against), "for": told(self.favour),
        }


def reasons(candidates: Iterable[Candidate]) -> list[tuple[Evidence, list[Candidate]]]:
    """Each profile that is shut out, under the evidence that shuts out most; evidence that adds nothing is left out."""
    shut: dict[Evidence, list[Candidate]] = {}
    for one in candidates:
        for evidence in one.against:
            shut.setdefault(evidence, []).append(one)
    told: set[str] = set()
    found = []
    for evidence in sorted(shut, key=lambda one: (-len(shut[one]), one.line)):
        fresh = [one for one in shut[evidence] if one.profile.name not in told]
        if fresh:
            found.append((evidence, fresh))
            told |= {one.profile.name for one in fresh}
    return found


def best(candidates: Sequence[Candidate]) -> Profile:
    """The newest of the profiles that fare best: upstream QEMU's before another lineage's."""
    fewest = (not candidates[0].explains, candidates[0].diverged, len(candidates[0].against))
    equals = [one.profile for one in candidates if (not one.explains, one.diverged, len(one.against)) == fewest]
    return max(equals, key=lambda one: (one.lineage == "qemu", one.lineage == "kvm-xen", one.version))


def _key(profile: Profile) -> tuple[object, ...]:
    return tuple(getattr(profile, name) for name in _ANSWERS)


def _place(record: Record, said: str) -> Evidence:
    return Evidence(record.source, record.offset, record.line, said)


class Fit:
    """Takes the rows of a recording, and then says which profiles explain it."""

    def __init__(self, vms: Mapping[str, Vm], catalogue: Catalogue) -> None:
        """`vms` tells how each boot began; it may grow while the rows come in."""
        self._catalogue = catalogue
        self._known = profiles()
        groups: dict[tuple[object, ...], list[Profile]] = {}
        for profile in self._known.values():
            groups.setdefault(_key(profile), []).append(profile)
        self._groups = list(groups.values())
        self._replays = [Replay(Start(group[0]), vms) for group in self._groups]
        self._agreed = [0] * len(self._groups)
        self._diverged = [0] * len(self._groups)
        self._against: list[list[Evidence]] = [[] for _ in self._groups]
        self._forms: dict[str, Evidence] = {}
        self._shut: dict[str, Evidence] = {}
        self._eras: dict[str, tuple[Evidence, frozenset[str]]] = {}
        self._looked: Counter[str] = Counter()

    def take(self, rows: Iterable[Row]) -> None:
        """Replay the rows on every device that differs from the others in what can be seen."""
        for row in rows:
            observed = observe(row) if isinstance(row, Access) else None
            for number, replay in enumerate(self._replays):
                judged = replay.row(row, observed)
                agrees = judged.judgement.agrees
                if agrees is None:
                    continue
                self._agreed[number] += agrees
                self._diverged[number] += not agrees
                if not agrees and len(self._against[number]) < 5:
                    said = sentence(replay.start.profile, judged).replace(replay.start.profile.name, "this device")
                    self._against[number].append(_place(row.cited, said))
            for record in row.records:
                if self._looked[record.event] < LOOKED_AT:
                    self._look(record)

    def _look(self, record: Record) -> None:
        self._looked[record.event] += 1
        for found in (era.of_event(self._catalogue, record), era.of_line(record)):
            if found is None or found.sign in self._eras:
                continue
            names = frozenset(one.name for one in self._known.values() if one.version and found.holds(one.version))
            self._eras[found.sign] = (_place(record, found.sign), names)
        event = record.event
        if event.startswith(_ONLY_XEN) or event in _NO_KVM:
            why = "an ioreq of the hypervisor, which a guest on KVM does not have" if event.startswith(_ONLY_XEN) else (
                "its accesses do not come this way on KVM (system/ioport.c)")
            self._shut.setdefault("kvm-xen", _place(record, f"{event}: {why}"))
        for lineage in ("qemu-xen-traditional", "xenserver-trad"):
            self._shut.setdefault(lineage, _place(record, f"{event}: this device model writes no trace events"))

    def candidates(self) -> list[Candidate]:
        """Every profile, those that explain the recording first, then by how much speaks against them."""
        found = []
        for number, group in enumerate(self._groups):
            for profile in group:
                one = Candidate(profile, self._agreed[number], self._diverged[number], list(self._against[number]))
                if (shut := self._shut.get(profile.lineage)) is not None:
                    one.against.append(shut)
                for evidence, names in self._eras.values():
                    (one.favour if profile.name in names else one.against).append(evidence)
                found.append(one)
        order = {name: at for at, name in enumerate(self._known)}
        return sorted(found, key=lambda one: (not one.explains, one.diverged, len(one.against),
                                              order[one.profile.name]))


def names_of(candidates: Iterable[Candidate]) -> Iterator[str]:
    """Names for people: releases of one lineage that follow each other are a range."""
    known = list(profiles())
    runs: list[list[str]] = []
    for name in sorted((one.profile.name for one in candidates), key=known.index):
        lineage = profiles()[name].lineage
        last = runs[-1] if runs else None
        if last and profiles()[last[-1]].lineage == lineage and known.index(name) == known.index(last[-1]) + 1:
            last.append(name)
        else:
            runs.append([name])
    for run in runs:
        yield run[0] if len(run) == 1 else f"{run[0]} to {run[-1].rpartition('-')[2]}"
