"""What an incident hands over, as sources: files, directories, archives and rotated logs.

Every regular file is handed on, whatever its name, except what certainly is no recording, what is there twice, and
what cannot be read; each of those has a note. Nothing is followed out of a directory, nothing is written under a name
of an archive's, and no archive unfolds to more than the limits allow::

    bug-report-20260301093000.tar.bz2!bug-report-20260301093000/var/log/daemon.log.2.gz      a source's name
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from xptrace.errors import XptraceError
from xptrace.intake import content
from xptrace.intake.compression import Codec, unfold
from xptrace.intake.content import Container
from xptrace.intake.evidence import Evidence, File, Region, Spool
from xptrace.intake.flow import Flow
from xptrace.intake.limits import LIMITS, Limits
from xptrace.intake.member import Fault, Told, escapes, inside, safe
from xptrace.intake.repeats import LOOK, Look, overlap, repeats
from xptrace.intake.rotation import oldest_first, rotations
from xptrace.intake.source import STDIN, Source, evidence_at

MOST_FAULTS: Final = 100
"""Notes of one archive; one that is broken all over does not fill the memory with them."""
_MOST_PIECES: Final = 64
"""Of a region that an archive is read from in place; one in more pieces is copied first."""
_HOST: Final = ("var", "log")
"""What the root of a collected host has: status reports, sos reports and copies of a file system alike."""


class SourceNote(NamedTuple):
    """Something about a file, a member or an archive."""

    name: str
    reason: str


class Intake(NamedTuple):
    """What is to be read, and what is not."""

    sources: tuple[Source, ...]
    """In the order they were named, directories sorted; the files of a rotated log together, oldest first."""
    skipped: tuple[SourceNote, ...]
    """Every file and member that is not handed on, and why."""
    notes: tuple[SourceNote, ...]
    """What else should be known: archives that are cut or broken, names that had to be changed, shared lines."""


def expand(paths: Sequence[str], limits: Limits = LIMITS) -> Intake:
    """The sources that the paths hold: files, directories, archives, `-` for standard input.

    Raises XptraceError where a path itself cannot be read. What lies in a directory or an archive never fails the
    whole. Compressed archives are unpacked, once, to a temporary file without a name in TMPDIR.
    """
    expansion = _Expansion(limits)
    for path in paths:
        expansion.add(path)
    return expansion.intake()


class _Place(NamedTuple):
    """Where something was found."""

    name: str
    path: str
    """With the archive as a directory."""
    original: str
    depth: int = 0
    """Archives around it."""
    named: bool = False
    """Whether the user named it itself."""

    def member(self, name: str) -> _Place:
        shown = inside(name)
        return _Place(f"{self.name}!{shown}", f"{self.path}/{shown}", self.original, self.depth + 1)


class _Expansion:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._spool = Spool(limits)
        self._sources: list[Source] = []
        self._looks: list[Look | None] = []
        self._skipped: list[SourceNote] = []
        self._notes: list[SourceNote] = []
        self._members = 0
        self._piped: set[str] = set()

    def add(self, path: str) -> None:
        """Add what a path holds."""
        begun = len(self._sources)
        root = str(PurePath(path))
        if path != "-" and _is_directory(path):
            self._directory(path)
        else:
            place = _Place(STDIN if path == "-" else safe(path), path, path, named=True)
            lies = evidence_at(path)
            if lies.once and path in self._piped:
                self._skip(place.name, "can be read once only, and was named before")
                return
            self._piped |= {path} if lies.once else set()
            if not self._item(lies, place):
                root = "-" if path == "-" else str(PurePath(path).parent)
        _set_sites(self._sources[begun:], root)

    # -- directories

    def _directory(self, path: str) -> None:
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                if folder == path:
                    raise XptraceError(f"{path}: cannot be read: {error.strerror or error}") from None
                self._skip(safe(folder), f"cannot be read: {error.strerror or error}")
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    continue
                if not self._counted(path):
                    return
                self._entry(entry)
            waiting += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]

    def _entry(self, entry: os.DirEntry[str]) -> None:
        name = safe(entry.path)
        try:
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(kind):
                self._skip(name, f"a link to {safe(str(Path(entry.path).readlink()))}, which is not followed")
            elif not stat.S_ISREG(kind):
                self._skip(name, "no regular file")
            else:
                self._item(File(entry.path), _Place(name, entry.path, entry.path))
        except OSError as error:
            self._skip(name, f"cannot be read: {error.strerror or error}")

    # -- archives and what is none

    def _item(self, lies: Evidence, place: _Place) -> bool:
        """Add a file or a member; returns whether it is an archive."""
        limits = self._limits.inside() if place.depth else self._limits
        flow, layers = unfold(lies.chunks(), limits)
        try:
            head = flow.peek(LOOK)
            archive = content.container(head)
            if archive is not None:
                self._archive(archive, lies, flow, layers, place)
                return True
            if not self._unwanted(head, flow.broken, place):
                self._hand_on(lies, flow, head, place, limits)
        finally:
            if not lies.once:
                flow.close()
        return False

    def _unwanted(self, head: bytes, broken: str | None, place: _Place) -> bool:
        why = content.foreign(head)
        if why is not None and place.named:
            raise XptraceError(f"{place.name}: {why}")
        if why is None and not place.named:
            why = f"cannot be read: {broken}" if broken and not head else content.no_recording(head)
        if why is None:
            return False
        self._skip(place.name, why)
        return True

    def _hand_on(self, lies: Evidence, flow: Flow, head: bytes, place: _Place, limits: Limits) -> None:
        self._sources.append(Source(
            place.path, name=place.name, lies=lies, flow=flow if lies.once else None, original=place.original,
            limits=limits,
        ))
        self._looks.append(Look.at(head))

    def _archive(self, archive: Container, lies: Evidence, flow: Flow, layers: Sequence[Codec], place: _Place) -> None:
        if place.depth >= self._limits.depth:
            self._skip(place.name, f"an archive inside {place.depth} others: unpack it first")
            return
        region = lies.region if not layers else None
        if region is None or len(region.pieces) > _MOST_PIECES:
            region, why = self._spool.put(flow)
            if why is not None:
                self._note(place.name, f"broken off: {why}; what came before is read")
            if region is None:
                return
        faults = 0
        try:
            for told in _members(archive, region, self._limits):
                if isinstance(told, Fault):
                    faults += 1
                    if faults <= MOST_FAULTS:
                        self._note(place.name, told.reason)
                    continue
                if not self._counted(place.name):
                    return
                inner = place.member(told.name)
                if escapes(told.name):
                    self._note(inner.name, f"is called {safe(told.name)!r} in the archive")
                if told.evidence is None:
                    self._skip(inner.name, told.why)
                else:
                    self._item(told.evidence, inner)
        except OSError as error:
            self._note(place.name, f"cannot be read: {error.strerror or error}")

    def _counted(self, name: str) -> bool:
        self._members += 1
        if self._members == self._limits.members + 1:
            self._skip(safe(name), f"holds more files than are read, {self._limits.members}; the rest of it is not")
        return self._members <= self._limits.members

    def _skip(self, name: str, why: str) -> None:
        self._skipped.append(SourceNote(name, why))

    def _note(self, name: str, reason: str) -> None:
        self._notes.append(SourceNote(name, reason))

    # -- all of them

    def intake(self) -> Intake:
        """What was found, each recording once, rotated logs in order."""
        twice = repeats(self._sources, self._looks)
        kept = [source for index, source in enumerate(self._sources) if index not in twice]
        _tell_apart(kept)
        for index, (other, why) in twice.items():
            self._skip(self._sources[index].name, f"{why} {self._sources[_last(twice, other)].name}")
        rotated = rotations([source.path for source in kept])
        order = oldest_first(rotated)
        for source, rotation in zip(kept, rotated, strict=True):
            source.rotation = rotation
        sources = tuple(kept[index] for index in order)
        for older, newer in itertools.pairwise(sources):
            if older.rotation and newer.rotation and older.rotation.log == newer.rotation.log:
                newer.overlap = overlap(older, newer)
                if newer.overlap:
                    self._note(newer.name, f"its first {newer.overlap} bytes are the last of {older.name} too")
        return Intake(sources, tuple(self._skipped), tuple(self._notes))


def _tell_apart(sources: Iterable[Source]) -> None:
    """An archive may hold several members of one name: the later ones are told by a number."""
    seen: dict[str, int] = {}
    for source in sources:
        count = seen[source.name] = seen.get(source.name, 0) + 1
        if count > 1:
            source.name = f"{source.name}#{count}"


def _last(twice: dict[int, tuple[int, str]], index: int) -> int:
    """The source that is read in the end for one that may itself be there twice."""
    while index in twice:
        index = twice[index][0]
    return index


def _is_directory(path: str) -> bool:
    try:
        return bool(path) and Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _members(archive: Container, region: Region, limits: Limits) -> Iterator[Told]:
    if archive == "tar":
        from xptrace.intake import tar

        return tar.walk(region, limits.inside())
    from xptrace.intake import zip as zip_archive

    return zip_archive.walk(region, limits)


def _set_sites(sources: Iterable[Source], root: str) -> None:
    """Tell which sources were collected together.

    All that one path holds were, unless it holds more than one host: several folders that have a `var/log`, or several
    archives.
    """
    sources = list(sources)
    found = (_host(source.path, root) or source.original for source in sources)
    hosts = {host for host, source in zip(found, sources, strict=True) if host not in (root, source.path)}
    for source in sources:
        source.site = root
        above = PurePath(source.path)
        while len(hosts) > 1 and str(above) not in (root, "/", "."):
            above = above.parent
            if str(above) in hosts:
                source.site = str(above)
                break


def _host(path: str, root: str) -> str | None:
    """The folder above the first `var/log` below the root."""
    parts = PurePath(path).parts
    start = len(PurePath(root).parts)
    for at in range(start, len(parts) - 2):
        if parts[at : at + 2] == _HOST:
            return str(PurePath(*parts[:at])) if at else root
    return None
