"""Whose recording it is, and which boot: VMs by file name, guest name and domain; epochs by the signs of a new start.

Law: what names a device model's log (libxl: ``qemu-dm-NAME.log[.N]``, libvirt: ``NAME.log``, stub domains:
``guest-NAME-dm.log``), QEMU's ``-D`` template (``%d`` is its process id), and the events of its life cycle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final, Literal, NamedTuple, get_args

from dissectors import Dissector, Given, Vantage, choose
from dissectors.platform.registers import REGION
from dissectors.qemu.catalogue import Catalogue
from dissectors.record import Record
from dissectors.vocabulary import DOMAIN
from xptrace.access.domains import OWN_PATH, domain_of, vm_name
from xptrace.access.messages import Assembler
from xptrace.access.spaces import Spaces
from xptrace.intake.scan import LONGEST_LINE, candidates, hits, numbered
from xptrace.intake.source import Source, Window

_NOISE = re.compile(r"(\.(gz|bz2|xz|zst|bin|log|txt|out|trace|pcapng|pcap|\d{1,3}))+$|-\d{8}$")
_NAMED = re.compile(r"^(?:qemu-dm|qemu-trace|guest)-(?P<name>.+?)(?:-dm)?$")
_WITH_PID = re.compile(r"^(?P<stem>.*?)[-._]?(?P<pid>\d+)$")
_THREAD = re.compile(rb"(?m)^(\d{1,10})@(\d{1,11})\.(\d{6}):")
_CREATES = b":xen_ioreq_server_create "
_SERVER = re.compile(rb"(?m)^(\d{1,10})@[\d.]+" + _CREATES)
_OURS = re.compile(
    rb"(?m)^(\d{1,10})@[\d.]+:(?:\w+ .*?(?:port=0x1[0-9a-f] |%b')|cpu_(?:in|out) addr 0x1[0-9a-f][ (])"
    % REGION.encode()
)
_DISK = re.compile(rb"xs_node_(?:vscanf|read) \S*backend/\w+/\d+/(\d+)/params (\S+)")
_ISO = re.compile(rb"(?m)^(\d{4}-\d\d-\d\dT[\d:.]+Z) ")
_TAGGED = re.compile(rb" qemu-dm-\d{1,5}\[")
"""A syslog daemon's file, in which several device models write."""


Beginning = Literal["process", "reset", "migration"]
"""How an epoch began: with a new device model, a reset of the machine in place, or as a migration's destination."""


@dataclass(slots=True)
class Vm:
    """One virtual machine, through all its boots and device models."""

    name: str
    boot: int = 1
    used: bool = False
    """Whether this boot has an access or a message already."""
    accessed: bool = False
    """Whether any boot has an access by its device model's own word."""
    created: bool = False
    thread: int | None = None
    proven: bool = False
    """Whether something other than the port number has shown that the Xen platform device answers."""
    spaces: Spaces = field(default_factory=Spaces)
    assembler: Assembler = field(default_factory=Assembler)
    entering: bool = False
    """Whether a further source of this VM has begun and told nothing yet."""

    witness: str | None = None
    """The dissector by which somebody other than its device model tells of its accesses."""
    of: str | None = None
    """The VM whose accesses these are too, where its device model tells of them as well."""
    began: dict[int, Beginning] = field(default_factory=dict)
    """How each boot began, where the recording shows it."""

    def next_boot(self, began: Beginning | None) -> None:
        """A new epoch begins; how is missing where only its accesses show it."""
        self.boot += 1
        if began is not None:
            self.began[self.boot] = began
        self.used = self.created = False


_SURE: Final = 50
"""From here on a dissector is sure that the source is of its format, in percent."""
VANTAGES: Final[tuple[Vantage, ...]] = get_args(Vantage)
"""In the order in which sources are read: the device's own word first, for the others are joined to it."""


class Reading(NamedTuple):
    """One source that is to be read: by which dissectors, from whose view, and whose it is as far as its name tells.

    `named` says that the file's name is a guest's, `apart` that several device models write to it in turns, told apart
    by thread. `domain` is the domain that its head says it is of, `names` are the domains that its head names.
    """

    source: Source
    dissectors: tuple[Dissector, ...]
    vm: str
    named: bool
    apart: bool
    domain: int | None
    names: Mapping[int, str]
    vantage: Vantage
    """Whose view it is."""
    sure: Mapping[str, int]
    """How sure each dissector is of the source's head, in percent."""


class Origin(NamedTuple):
    """What the head of a source tells of whose it is."""

    dissectors: tuple[Dissector, ...]
    sure: Mapping[str, int]
    vantage: Vantage
    domain: int | None
    names: Mapping[int, str]
    label: str
    named: bool
    interleaved: bool
    disks: frozenset[tuple[bytes, bytes]]
    inmigrate: bool
    first: bytes
    pid: str | None = None


def _label(path: str) -> tuple[str, bool, str | None]:
    """(label, whether it names a guest, the number at its end)."""
    if path == "-":
        return "stdin", False, None
    stem = _NOISE.sub("", PurePath(path).name) or PurePath(path).name
    if found := _NAMED.match(stem):
        name = vm_name(found["name"])
        if not name.isdigit():
            return name, True, None
        return stem[: -len(name) - 1], False, name
    if "libvirt" in PurePath(path).parts:
        return stem, True, None
    if (found := _WITH_PID.match(stem)) and found["stem"]:
        return stem, False, found["pid"]
    return stem, False, None


def _is_thread(number: int, head: bytes) -> bool:
    return any(int(found[1]) == number for found in _THREAD.finditer(head))


def _interleaved(head: bytes) -> bool:
    """Whether two device models write to this file in turns."""
    servers = {int(m[1]) for m in _SERVER.finditer(head)} if _CREATES in head else set()
    if len(servers) < 2:
        return False
    order: list[int] = []
    for match in _OURS.finditer(head):
        thread = int(match[1])
        if not order or order[-1] != thread:
            order.append(thread)
    ours = [thread for thread in order if thread in servers]
    return len(ours) > len(set(ours))


def look(source: Source, catalogue: Catalogue, forced: str | None = None) -> Origin:
    """Look at the head of a source; `forced` names the dissector that is to read it."""
    head = source.head()
    given = Given(source.name, catalogue)
    chosen = choose(head, forced)
    label, named, pid = _label(source.path)
    text = b"" if chosen[0][0].stream is not None and b"\0" in head else head  # a binary format has no lines
    if pid is not None and chosen[0][0].stream is None and not _is_thread(int(pid), text):
        pid = None
    vantage = _vantage(chosen)
    of_one = vantage == "device" and not _TAGGED.search(head)
    own = OWN_PATH.search(head) if of_one else None
    if pid is not None:
        label = label.removesuffix(pid).rstrip("-._") or label
    stamp = _THREAD.search(text)
    iso = None if stamp else _ISO.search(text)
    first = stamp[2].rjust(11, b"0") + stamp[3] if stamp else iso[1] if iso else b""
    return Origin(
        tuple(one for one, _ in chosen), {one.name: percent for one, percent in chosen}, vantage,
        None if own is None else domain_of(own[0]), _names(chosen, given, head), label, named,
        _interleaved(text),
        frozenset((m[1], m[2]) for m in _DISK.finditer(head)), b"(inmigrate) new_state" in head, first, pid,
    )


def _vantage(chosen: Sequence[tuple[Dissector, int]]) -> Vantage:
    """Whose view a source is: where several voices are mixed, the first in order of those that are sure of it."""
    sure = [one.vantage for one, percent in chosen if percent >= _SURE]
    return min(sure, key=VANTAGES.index, default=chosen[0][0].vantage)


def _names(chosen: Sequence[tuple[Dissector, int]], given: Given, head: bytes) -> dict[int, str]:
    """Who the domains are that a source of xenstore or of the toolstack names in its head."""
    found: dict[int, str] = {}
    for one, _ in chosen:
        if one.vantage in ("store", "toolstack"):
            for record in _records(one, given, head):
                if record.event == DOMAIN and record.domain is not None and record.text("name"):
                    found.setdefault(record.domain, vm_name(record.text("name").decode("utf-8", "replace")))
    return found


def _records(one: Dissector, given: Given, head: bytes) -> Iterator[Record]:
    """The records in the head of a source."""
    if one.stream is not None:
        yield from (read for read in one.stream(given).read([head]) if isinstance(read, Record))
    elif one.lines is not None:
        window, reader = Window(0, head), one.lines(given)
        for start, end, number in candidates(window, numbered(window, hits(window, one.needles)), 1):
            line = head[start : min(end, start + LONGEST_LINE)].removesuffix(b"\n")
            yield from (read for read in reader.read(line, start, number, end - start) if isinstance(read, Record))


def site(source: Source) -> str:
    """What its host's recordings were collected with: sources of one site are of one host."""
    root, found, _ = f"/{source.site}/".partition("/var/log/")
    return root if found else source.site


def arrange(sources: Sequence[Source], catalogue: Catalogue, forced: str | None = None) -> list[Reading]:
    """The sources in the order to read them, and how: first the device models', VM by VM, then those of others.

    Sources of one VM are read by their first time stamp, where both have one. Two sources are one VM if their file
    names say so; or if both were written by a template with the process id, share a disk, and one of the two device
    models was the target of a migration.
    """
    origins = [look(source, catalogue, forced) for source in sources]
    told: dict[tuple[str, int], str] = {}
    for source, origin in zip(sources, origins, strict=True):
        for domain, name in origin.names.items():
            told.setdefault((site(source), domain), name)
    names: list[str] = []
    for index, source in enumerate(sources):
        known = told.get((site(source), origins[index].domain or 0))
        free = known is None or origins[index].named
        names.append(_name(index, source, sources, origins, names) if free or known is None else known)
    order = _order(sources, origins, names)
    return [
        Reading(sources[i], one.dissectors, names[i], one.named, one.interleaved, one.domain, one.names,
                one.vantage, one.sure)
        for i, one in ((i, origins[i]) for i in order)
    ]


def _order(sources: Sequence[Source], origins: Sequence[Origin], names: Sequence[str]) -> list[int]:
    """By view, VM and first time stamp; the files of one rotated log stay together, at the place of the oldest."""
    dated = {name: all(o.first for o, other in zip(origins, names, strict=True) if other == name) for name in names}
    blocks: dict[tuple[str, str], int] = {}

    def place(index: int) -> tuple[int, int, bytes, int, int]:
        rotation, name = sources[index].rotation, names[index]
        first = index if rotation is None else blocks.setdefault((name, rotation.log), index)
        return (
            VANTAGES.index(origins[index].vantage), names.index(name),
            origins[first].first if dated[name] else b"", first, 0 if rotation is None else rotation.position,
        )

    return sorted(range(len(sources)), key=place)


def _name(
    index: int, source: Source, sources: Sequence[Source], origins: Sequence[Origin], names: Sequence[str]
) -> str:
    origin = origins[index]
    if origin.named:
        return origin.label
    for other in range(index):
        same = origins[other].label == origin.label and not origins[other].named
        if same and _linked(origin, origins[other], source, sources[other]):
            return names[other]
    rivals = [i for i, o in enumerate(origins) if i != index and o.label == origin.label and not o.named]
    apart = [i for i in rivals if not _linked(origin, origins[i], source, sources[i])]
    if not apart:
        return origin.label
    if origin.pid is not None and any(
        PurePath(sources[i].path).parent == PurePath(source.path).parent for i in apart
    ):
        return f"{origin.label}-{origin.pid}"
    return f"{PurePath(source.path).parent.name}/{origin.label}".lstrip("/")


def _linked(one: Origin, other: Origin, source: Source, other_source: Source) -> bool:
    if one.inmigrate != other.inmigrate and one.disks & other.disks:
        return True
    return PurePath(source.path).parent == PurePath(other_source.path).parent and not one.pid
