"""Which VM, and which boot of it, the domains of one host are.

Law: xen/common/domain.c gives each new domain the next number, so a VM that starts again is another domain, and of two
domains of one name the higher is the later boot. Who is who is told by xenstore (`/local/domain/N/name`), by xl's log
(`Waiting for domain NAME (domid N) to die`), and by the paths that a device model of that domain uses::

    /local/domain/0/backend/qdisk/1/768    of a device model whose file is qemu-trace-win10.log: win10 is domain 1
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
class Domains:
    """The domains of one host, as far as its recordings tell who they are."""

    names: dict[int, str] = field(default_factory=dict)
    _runs: dict[int, list[Run]] = field(default_factory=dict)
    _taken: dict[tuple[str, int], int] = field(default_factory=dict)
    """The domain of each boot."""

    def named(self, domain: int, name: str) -> None:
        """A domain has this name; the first that is told stays."""
        self.names.setdefault(domain, vm_name(name))

    def ordinal(self, domain: int, name: str) -> int:
        """Which boot this domain is among those of the same name, from 1, in the order of their numbers."""
        return 1 + sum(1 for other, called in self.names.items() if called == name and other < domain)

    def runs(self, domain: int, run: Run) -> None:
        """A boot of a VM was seen to be this domain."""
        known = self._runs.setdefault(domain, [])
        if not any((one.vm, one.boot) == (run.vm, run.boot) for one in known):
            known.append(run)
            self._taken.setdefault((run.vm, run.boot), domain)

    def taken(self, vm: str, boot: int) -> int | None:
        """The domain that a boot of a VM was seen to be."""
        return self._taken.get((vm, boot))

    def whose(self, domain: int, time_ns: int | None, clock: str | None) -> tuple[str, int]:
        """(VM, boot) of a domain at that time: by its device model if that was recorded, else by its name."""
        known = self._runs.get(domain)
        if known:
            run = known[0]
            for one in known[1:]:
                if None not in (time_ns, one.time_ns) and one.clock == clock and (one.time_ns or 0) <= (time_ns or 0):
                    run = one
            return run.vm, run.boot
        name = self.names.get(domain)
        if name is None:
            return f"dom{domain}", 1
        boot = self.ordinal(domain, name)
        while self._taken.setdefault((name, boot), domain) != domain:
            boot += 1
        return name, boot
