"""Which VM, and which boot of it, the domains of one host are.

Law: xen/common/domain.c gives each new domain the next number, so a VM that starts again is another domain, and of two
domains of one name the higher is the later boot. Who is who is told by xenstore (`/local/domain/N/name`), by xl's log
(`Waiting for domain NAME (domid N) to die`), and by the paths that a device model of that domain uses::

    /local/domain/0/backend/qdisk/1/768    of a device model whose file is qemu-trace-win10.log: win10 is domain 1
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MOST_NAMES: Final = 1 << 16
"""Domains whose names are remembered: Xen numbers fewer (DOMID_FIRST_RESERVED in xen/include/public/xen.h)."""
OWN_PATH: Final = re.compile(rb"(?:/device-model|/backend/\w{1,32})/(?P<served>[1-9]\d{0,4})/"
                             rb"|/local/domain/(?P<own>[1-9]\d{0,4})/device/")
"""A path that only the device model of that domain uses, in what it logs itself."""


def domain_of(path: bytes) -> int | None:
    """The domain whose device model uses this path; missing where the path does not tell."""
    found = OWN_PATH.search(path)
    return None if found is None else int(found["served"] or found["own"])


_MIGRATING: Final = re.compile(r"--(?:incoming|migratedaway)$")
"""What xl puts behind a name while its VM moves: tools/xl/xl_migrate.c."""


def vm_name(name: str) -> str:
    """The name of a VM by that of a domain of it."""
    return _MIGRATING.sub("", name)


class Run(NamedTuple):
    """One boot of a VM as one domain, and when it began, where that is known."""

    vm: str
    boot: int
    time_ns: int | None
    clock: str | None


@dataclass(slots=True)
class _Runs:
    """What one domain was seen to be: the first run, and by clock those that a later one does not hide."""

    first: Run
    known: set[tuple[str, int]] = field(default_factory=set)
    timed: dict[str | None, tuple[list[int], list[Run]]] = field(default_factory=dict)
    """When they began, ascending, and they: at any time the last that has begun by then is the one that was told last.
    """

    def add(self, run: Run) -> None:
        self.known.add((run.vm, run.boot))
        if run.time_ns is None:
            return
        times, runs = self.timed.setdefault(run.clock, ([], []))
        while times and times[-1] >= run.time_ns:
            times.pop()
            runs.pop()
        times.append(run.time_ns)
        runs.append(run)

    def at(self, time_ns: int | None, clock: str | None) -> Run:
        times, runs = self.timed.get(clock, ((), ()))
        begun = 0 if time_ns is None else bisect_right(times, time_ns)
        return runs[begun - 1] if begun else self.first


@dataclass(slots=True)
class Domains:
    """The domains of one host, as far as its recordings tell who they are."""

    _names: dict[int, str] = field(default_factory=dict)
    _called: dict[str, list[int]] = field(default_factory=dict)
    """The domains of each name, ascending."""
    _runs: dict[int, _Runs] = field(default_factory=dict)
    _taken: dict[tuple[str, int], int] = field(default_factory=dict)
    """The domain of each boot."""
    _own: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """The boots of each VM and domain, ascending."""
    _free: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of boots that are taken, one that comes later, up to which all are taken."""

    def named(self, domain: int, name: str) -> None:
        """A domain has this name; the first that is told stays."""
        if domain not in self._names and len(self._names) < MOST_NAMES:
            name = self._names[domain] = vm_name(name)
            insort(self._called.setdefault(name, []), domain)

    def ordinal(self, domain: int, name: str) -> int:
        """Which boot this domain is among those of the same name, from 1, in the order of their numbers."""
        return 1 + bisect_left(self._called.get(name, ()), domain)

    def runs(self, domain: int, run: Run) -> None:
        """A boot of a VM was seen to be this domain."""
        known = self._runs.get(domain)
        if known is None:
            known = self._runs[domain] = _Runs(run)
        if (run.vm, run.boot) not in known.known:
            known.add(run)
            self._take(run.vm, run.boot, domain)

    def taken(self, vm: str, boot: int) -> int | None:
        """The domain that a boot of a VM was seen to be."""
        return self._taken.get((vm, boot))

    def whose(self, domain: int, time_ns: int | None, clock: str | None) -> tuple[str, int]:
        """(VM, boot) of a domain at that time: by its device model if that was recorded, else by its name."""
        known = self._runs.get(domain)
        if known is not None:
            run = known.at(time_ns, clock)
            return run.vm, run.boot
        name = self._names.get(domain)
        if name is None:
            return f"dom{domain}", 1
        boot = self.ordinal(domain, name)
        free, own = self._next_free(name, boot), self._own.get((name, domain), [])
        at = bisect_left(own, boot)
        if at < len(own) and own[at] < free:
            return name, own[at]
        self._take(name, free, domain)
        return name, free

    def _take(self, vm: str, boot: int, domain: int) -> None:
        if self._taken.setdefault((vm, boot), domain) == domain:
            own = self._own.setdefault((vm, domain), [])
            at = bisect_left(own, boot)
            if own[at : at + 1] != [boot]:
                own.insert(at, boot)

    def _next_free(self, vm: str, boot: int) -> int:
        """The first boot of a VM from this one on that no domain has taken."""
        passed = []
        while (vm, boot) in self._taken:
            passed.append((vm, boot))
            boot = self._free.get((vm, boot), boot + 1)
        for one in passed:
            self._free[one] = boot
        return boot
