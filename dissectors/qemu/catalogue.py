r"""Which events are known, and in which forms their text occurs.

Law: the `trace-events` files of QEMU 1.0 to 10.2 (docs/devel/tracing.rst), of which `events/` holds what this traffic
needs, era by era; a build's own `trace-events-all` can be added. Two eras of one event::

    pci_cfg_read xen-platform 02:0 @0x10 -> 0xc001
    pci_cfg_read xen-platform 00:02.0 @0x10 -> 0xc001
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dissectors.qemu.declaration import (
    Conversion,
    DeclarationLine,
    EventDeclaration,
    declaration_lines,
    read_declarations,
)
from dissectors.qemu.inverse import EventPattern

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def _age(declaration: EventDeclaration) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sort the newest era first: by its last version, then by its first."""
    first, _, last = declaration.era.partition("-")
    return (
        tuple(-int(part) for part in last.split(".")) if last else (-math.inf,),
        tuple(-int(part) for part in first.split(".")) if first else (0.0,),
    )


def _is_swallowed(declaration: EventDeclaration, by: EventDeclaration) -> bool:
    """Say whether a string of the other form would take what this one prints where the two begin to differ."""
    ours, others = declaration.elements(), by.elements()
    for mine, other in zip(ours, others, strict=False):
        if isinstance(mine, Conversion) and isinstance(other, Conversion):
            if mine.letter == other.letter:
                continue
            return other.letter == "s"
        if isinstance(mine, Conversion) or isinstance(other, Conversion):
            return isinstance(other, Conversion) and other.letter == "s"
        if mine != other:
            return False
    end = others[-1] if others else None
    return len(ours) > len(others) and isinstance(end, Conversion) and end.letter == "s"


def _in_order(declarations: Iterable[EventDeclaration]) -> tuple[EventDeclaration, ...]:
    """Put the newest era first, each form once; but a form that another one would swallow is before that."""
    ordered: list[EventDeclaration] = []
    for declaration in sorted(declarations, key=_age):
        if any((one.format, one.arguments) == (declaration.format, declaration.arguments) for one in ordered):
            continue
        swallowed_at = next((at for at, one in enumerate(ordered) if _is_swallowed(declaration, by=one)), len(ordered))
        ordered.insert(swallowed_at, declaration)
    return tuple(ordered)


class Catalogue:
    """The declarations by event name; ours are read, and patterns are compiled, when an event is first met."""

    def __init__(
        self, *sources: Iterable[EventDeclaration], ordered: Iterable[EventDeclaration] = (),
        last: Mapping[bytes, Sequence[DeclarationLine]] | None = None,
    ) -> None:
        """Take declarations, those of an earlier source before those of a later one, `last` by their names.

        `ordered` are a build's own.
        """
        self.ordered = tuple(ordered)
        """The declarations of one build as its files have them: the place of an event among them is its number."""
        self._sources: list[dict[bytes, list[EventDeclaration]]] = []
        self._last = last or {}
        self._declarations: dict[bytes, tuple[EventDeclaration, ...]] = {}
        self._patterns: dict[bytes, tuple[EventPattern, ...]] = {}
        for source in sources:
            by_name: dict[bytes, list[EventDeclaration]] = {}
            for declaration in source:
                by_name.setdefault(declaration.name.encode(), []).append(declaration)
            self._sources.append(by_name)
        self._names = frozenset(self._last).union(*self._sources)

    @property
    def names(self) -> frozenset[bytes]:
        """The names of all events that can be read."""
        return self._names

    def declarations(self, name: bytes) -> tuple[EventDeclaration, ...]:
        """Return the forms of an event, a user's first, then the newest era first; empty where the event is unknown."""
        if (declarations := self._declarations.get(name)) is None:
            if name not in self._names:  # a name comes out of the input: not one to remember
                return ()
            declarations = self._declarations[name] = self._collected(name)
        return declarations

    def _collected(self, name: bytes) -> tuple[EventDeclaration, ...]:
        found: list[EventDeclaration] = []
        last = [event for line in self._last.get(name, ()) for event in line.events()]
        for declarations in (*(source.get(name, []) for source in self._sources), last):
            known = {(one.format, one.arguments) for one in found}
            found += [one for one in _in_order(declarations) if (one.format, one.arguments) not in known]
        return tuple(found)

    def patterns(self, name: bytes) -> tuple[EventPattern, ...]:
        """Return the patterns of an event in the order in which to try them; empty where the event is unknown."""
        if (patterns := self._patterns.get(name)) is None:
            patterns = tuple(EventPattern(one) for one in self.declarations(name))
            if patterns:
                self._patterns[name] = patterns
        return patterns


def _events() -> Path | Traversable:
    """The directory of our own declarations."""
    folder = Path(__file__).with_name("events")
    if folder.is_dir():
        return folder
    from importlib.resources import files  # where the package lies in an archive

    return files(__package__).joinpath("events")


@cache
def _ours() -> Mapping[bytes, Sequence[DeclarationLine]]:
    """Our own declarations by name: few of them are needed for one recording."""
    found: dict[bytes, list[DeclarationLine]] = {}
    for entry in sorted(_events().iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".trace-events"):
            for line in declaration_lines(entry.read_text(encoding="utf-8"), f"events/{entry.name}"):
                found.setdefault(line.name.encode(), []).append(line)
    return found


@cache
def _default() -> Catalogue:
    return Catalogue(last=_ours())


def load(extra: Iterable[Path] = ()) -> Catalogue:
    """Return the catalogue of our events, and before them those of the user's files, the first file's first.

    A user's form of an event is tried before ours. Raises `DeclarationError` for a bad line, `OSError` for a file
    that cannot be read.
    """
    theirs = [
        read_declarations(path.read_text(encoding="utf-8", errors="surrogateescape"), str(path)) for path in extra
    ]
    return Catalogue(*theirs, ordered=chain.from_iterable(theirs), last=_ours()) if theirs else _default()
