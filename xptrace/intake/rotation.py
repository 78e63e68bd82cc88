"""Rotated logs: which files are one log, and in what order.

Law: logrotate(8) (``start``, ``dateext``, ``dateformat``, ``compressext``), libxl's libxl_utils.c
(``qemu-dm-NAME.log.N`` is the log of the Nth boot before), libvirt's virtlogd (``NAME.log.0`` is the newest old one)::

    daemon.log-20260301.gz  daemon.log.2.gz  daemon.log.1  daemon.log      oldest first

Not every number at an end is one of a rotation: xen-bugtool's ``tmp/qemu.5`` is of domain 5. So numbers count only
where the file without one is there too, or is called a log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_COMPRESSED: Final = re.compile(r"\.(?:gz|bz2|xz|zst|zstd|lz4|Z)$")
_NUMBERED: Final = re.compile(r"(?P<stem>.+?)\.(?P<number>\d{1,3})")
_DATED: Final = re.compile(
    r"(?P<stem>.+?)[-.](?P<date>(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))(?P<more>(?:[-_.]?\d{1,10})?)"
)
_OLD: Final = re.compile(r"(?P<stem>.+)\.old")
_LOG: Final = re.compile(r"(?:log|messages|secure|out|err|txt)$", re.IGNORECASE)


class Rotation(NamedTuple):
    """The place of a file in a rotated log."""

    log: str
    """The path of the newest file, whether it is there or not: the same for all files of the log."""
    position: int
    """0 for the oldest file that is there."""


class _Age(NamedTuple):
    stem: str
    order: tuple[int, str, int]
    """Sorts the files of one log, oldest first."""


def plain_name(path: str) -> str:
    """The path without the ending of a compression."""
    return _COMPRESSED.sub("", path)


def _age(path: str) -> _Age:
    folder, slash, name = plain_name(path).rpartition("/")
    before = folder + slash
    if dated := _DATED.fullmatch(name):
        more = dated["more"]
        if more.startswith("."):  # a second one of that day, or number: the higher, the older
            return _Age(before + dated["stem"], (1, dated["date"].replace("-", ""), -int(more[1:])))
        return _Age(before + dated["stem"], (1, dated["date"].replace("-", "") + more.strip("-_").zfill(10), 0))
    if numbered := _NUMBERED.fullmatch(name):
        return _Age(before + numbered["stem"], (0, "", -int(numbered["number"])))
    if old := _OLD.fullmatch(name):
        return _Age(before + old["stem"], (2, "", 0))
    return _Age(before + name, (3, "", 0))


def rotations(paths: Sequence[str]) -> list[Rotation | None]:
    """The place of each path in its log; None where it stands alone.

    Numbers are taken to be older than dates: a host that turned to dates leaves its numbered files behind.
    """
    ages = [_age(path) for path in paths]
    logs: dict[str, list[int]] = {}
    for index, age in enumerate(ages):
        logs.setdefault(age.stem, []).append(index)
    found: list[Rotation | None] = [None] * len(paths)
    for stem, members in logs.items():
        if len(members) < 2 or not _is_log(stem, [ages[index] for index in members]):
            continue
        for position, index in enumerate(sorted(members, key=lambda index: ages[index].order)):
            found[index] = Rotation(stem, position)
    return found


def _is_log(stem: str, ages: Sequence[_Age]) -> bool:
    kinds = {age.order[0] for age in ages}
    return bool(kinds - {0} or _LOG.search(stem)) and len({age.order for age in ages}) > 1


def oldest_first(rotated: Sequence[Rotation | None]) -> list[int]:
    """The order to read in: as they come, but each log's files together, at the place of the first, oldest first."""
    first: dict[str, int] = {}
    for index, rotation in enumerate(rotated):
        if rotation is not None:
            first.setdefault(rotation.log, index)

    def place(index: int) -> tuple[int, int]:
        rotation = rotated[index]
        return (index, 0) if rotation is None else (first[rotation.log], rotation.position)

    return sorted(range(len(rotated)), key=place)
