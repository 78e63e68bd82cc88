"""Whose a record is: its VM, its boot, and which domain a device model serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dissectors.record import Record
from dissectors.vocabulary import MEMORY_ACCESS, PORT_ACCESS
from xptrace.access.attribution import Reading, Vm
from xptrace.access.domains import Domains, Run, domain_of

MOST_VMS: Final = 10_000
"""VMs that one source may name: more than a host runs, in some 50 MB. Those beyond are told as one."""
OTHERS: Final = "(others)"
"""The name of that one."""
ACCESSES: Final = (PORT_ACCESS, MEMORY_ACCESS)
"""Events that tell an access whole."""
_PATHS: Final = ("xs_node_", "xen_device_", "xen_bus_")
"""Events of QEMU that tell paths of xenstore."""


class Owners:
    """The VMs that one source tells of."""

    def __init__(
        self, reading: Reading, vms: dict[str, Vm], domains: Domains, kernels: Sequence[int],
        noted: Callable[[str], None],
    ) -> None:
        """`kernels` are the boots that the starts of the guest's kernel are, in order.

        Those beyond have the numbers that follow. `noted` is told what should be known of the source.
        """
        self._reading, self._vms, self._domains, self._kernels = reading, vms, domains, kernels
        self._noted, self._named = noted, 0
        """How to say what should be known of the source, and the VMs that it named."""
        self._domain = reading.domain
        """The domain that the device model, whose own word this is, serves at present."""
        self._process: int | None = None
        """The first process of a device model."""
        self._learnt: set[tuple[int, str, int]] = set()
        """Domains, VMs and boots of which it was learnt that they are one."""
        self._served: set[tuple[int, str]] = set()
        """Domains and VMs of which it was learnt in any boot."""
        self.started = 0
        """How many times the guest's kernel has begun in this source."""

    def vm(self, record: Record) -> Vm:
        """The VM of a record, by the guest or the domain that it names, or by its source."""
        reading, name = self._reading, record.guest
        if name is None:
            device = reading.vantage == "device" and (reading.named or record.domain == self._domain)
            name = reading.vm if device or record.domain is None else self._place(record)[0]
        if reading.apart and record.thread is not None:
            name = f"{name}-{record.thread}"
        if self._process is None:
            self._process = record.process
        if record.process != self._process and record.process is not None:
            name = f"{name}-{record.process}"  # the process of another VM than the first
        witness = reading.dissectors[0].name if reading.vantage == "host" and record.event in ACCESSES else None
        known, of = self._vms.get(name), None
        if witness is not None and known is not None and (known.accessed or known.witness not in (None, witness)):
            name, of = f"{name} ({witness})", name  # somebody else tells of the same accesses
        vm = self._vms.get(name)
        if vm is None:
            vm = self._new(name, of, record)
        vm.witness = vm.witness or witness
        if witness is not None and record.domain is not None:
            vm.boot = self._place(record)[1]
        return vm

    def _new(self, name: str, of: str | None, record: Record) -> Vm:
        """A VM that was not named before, if there is room for one more; else the one that all others are."""
        self._named += 1
        if self._named > MOST_VMS:
            if self._named == MOST_VMS + 1:
                self._noted(f"it names more than {MOST_VMS} VMs; those beyond are told as one, {OTHERS}, so that what "
                            "is found in it is of no one VM")
            name, of = OTHERS, None
        vm = self._vms.get(name)
        if vm is None:
            vm = self._vms[name] = Vm(name, thread=record.thread, of=of)
        return vm

    def _place(self, record: Record) -> tuple[str, int]:
        return self._domains.whose(record.domain or 0, record.time_ns, record.clock)

    def boot(self, vm: Vm, record: Record) -> int:
        """The boot of that VM that a record is of."""
        if self._reading.vantage == "device" or record.event in ACCESSES:
            return vm.boot
        if record.domain is not None:
            return self._place(record)[1]
        beyond = max(self.started, 1) - len(self._kernels)
        return self._kernels[-1] + beyond if beyond > 0 else self._kernels[beyond - 1]

    def is_learnt(self, vm: Vm) -> bool:
        """Whether it is known which domain the VM is in this boot, if the device model has told of one."""
        return self._domain is None or (self._domain, vm.name, vm.boot) in self._learnt

    def news(self, vm: Vm, record: Record) -> int | None:
        """The domain that the device model says to serve, of which it has not been learnt yet that it is this boot."""
        if record.event.startswith(_PATHS):
            self._domain = domain_of(record.raw) or self._domain
        domain = self._domain if record.domain is None else record.domain
        if domain is None or (domain, vm.name, vm.boot) in self._learnt:
            return None
        if self.is_another(vm, domain) and (domain, vm.name) in self._served:
            return None  # of a process that serves several domains in turns, as Dom0's does
        return domain

    def is_another(self, vm: Vm, domain: int) -> bool:
        """Whether the VM is another domain in this boot."""
        return self._domains.taken(vm.name, vm.boot) not in (None, domain)

    def learn(self, vm: Vm, domain: int, record: Record) -> None:
        """The VM is that domain in this boot."""
        if not vm.used:
            vm.boot = max(vm.boot, self._domains.ordinal(domain, vm.name))
        self._learnt.add((domain, vm.name, vm.boot))
        self._served.add((domain, vm.name))
        self._domains.runs(domain, Run(vm.name, vm.boot, record.time_ns, record.clock))
