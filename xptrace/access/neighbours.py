"""Neighbours: where the I/O BARs of a VM's functions were put last, as long as nothing shows Xen's device in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dissectors.record import Record

MOST_NEIGHBOURS: Final = 1000
"""I/O BARs of a VM of which it is remembered where they were put last, 1 kB each: more than a machine has."""
MOST_WAITING: Final = 100
"""VMs of which that is remembered."""


class Neighbours:
    """The record of each I/O BAR of which nobody has been told yet."""

    def __init__(self) -> None:
        """Nothing is remembered."""
        self._known: dict[str, dict[tuple[int, int], Record]] = {}

    def __contains__(self, vm: str) -> bool:
        """Whether any BAR of a VM is remembered."""
        return vm in self._known

    def put(self, vm: str, function: int, bar: int, record: Record) -> None:
        """A BAR of a function was put somewhere, or taken away."""
        known = self._known.setdefault(vm, {})
        known[function, bar] = record
        if len(known) > MOST_NEIGHBOURS:
            del known[next(iter(known))]
        if len(self._known) > MOST_WAITING:
            del self._known[next(iter(self._known))]

    def take(self, vm: str) -> Iterable[Record]:
        """The records of a VM's BARs, which are then forgotten."""
        return self._known.pop(vm, {}).values()
