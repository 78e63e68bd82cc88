r"""A recording that nobody made: what happened at a device model, as QEMU of its release writes it down.

Law: the declarations of the events (`dissectors.qemu.catalogue`) for what a release tells, and the forms of lines
(`dissectors.qemu.writing`) for how. A driver on a device, in order, becomes::

    2113@1767225600.000700:cpu_out addr 0x12(w) value 3
    2113@1767225600.000700:memory_region_ops_write cpu -1 mr 0x55a1c0d637e0 addr 0x12 value 0x3 size 2 name 'xen-fixed'

What a release does not trace is not written. Times, process ids and pointers are made up, the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from dissectors.clock import TRACE
from dissectors.qemu.catalogue import load
from dissectors.qemu.declaration import EventDeclaration
from dissectors.qemu.writing import FORMS, Form, Range, Stamp, Version, form_of, forms_of, print_event, write_line
from xptrace.exports.history import Accessed, Epoch, Moment, history
from xptrace.exports.tracing import Tracer, Way
from xptrace.model.drivers import Driver, Options
from xptrace.model.machine import Machine, power_on
from xptrace.model.profile import Profile
from xptrace.model.profiles import profiles

START_NS: Final = 1_767_225_600 * 10**9
"""When a recording begins unless told otherwise: midnight UTC of 2026-01-01, the same every time."""
GAP_NS: Final = 100_000
_UPTIME_NS: Final = 3600 * 10**9
"""The kernel tracer's clock counts from the host's start, which is taken to be an hour before the recording's."""

EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "ioreq": ("handle_ioreq", "handle_ioreq_read", "handle_ioreq_write", "cpu_ioreq_pio", "cpu_ioreq_pio_read_reg",
              "cpu_ioreq_pio_write_reg", "cpu_ioreq_config_read", "cpu_ioreq_config_write"),
    "cpu": ("cpu_in", "cpu_out"),
    "memory": ("memory_region_ops_read", "memory_region_ops_write"),
    "config": ("pci_cfg_read", "pci_cfg_write", "pci_update_mappings_add", "pci_update_mappings_del"),
}  # fmt: skip
"""Classes of events that may be left out; what tells of the guest's log and the device model's life never is."""
DEFAULT_EVENTS: Final = frozenset(("cpu", "memory", "config"))
_CLASS: Final = {event: name for name, events in EVENTS.items() for event in events}


# -- which release writes, and how its lines look

_FIRST_RELEASE: Final = (1, 0)
_OWN_LOG: Final = ("qemu-log-iso", "qemu-log-tid", "qemu-log-pid", "qemu-log")
"""The forms of QEMU's own log, the newest first; the last one alone has no time."""


def release(profile: Profile) -> Version:
    """The release of QEMU in whose form the records of this device are written.

    qemu-xen-traditional and XenServer's queue on it trace nothing, so theirs have the form of the newest release; the
    trace events of QEMU before 1.0 are not known, so those have the form of 1.0.
    """
    if profile.version:
        return max(profile.version, _FIRST_RELEASE)
    return max(one.version for one in profiles().values() if one.lineage == "qemu")


def form_for(version: Version, name: str | None = None) -> Form:
    """The form of that name; without one, the newest form of QEMU's own log that this release writes with a time.

    `qemu-log` is that log as the release writes it unless told otherwise. Raises ValueError, one line, where there is
    no such form, or where this release does not write it.
    """
    written = {form.name: form for form in forms_of(version)}
    if name is None or name == "qemu-log":
        own = _OWN_LOG if name is None else reversed(_OWN_LOG)
        return next(written[one] for one in own if one in written)
    if name not in FORMS:
        raise ValueError(f"no format {name!r}: there are {', '.join(FORMS)}")
    if name not in written:
        raise ValueError(f"QEMU {spelt(version)} does not write {name}, but {releases_of(FORMS[name])} does")
    return written[name]


def spelt(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def releases_of(form: Form) -> str:
    """Which releases write a form, in words."""

    def said(one: Range) -> str:
        if one.last is None:
            return f"{spelt(one.first or _FIRST_RELEASE)} and later"
        return f"{spelt(one.first)} to {spelt(one.last)}" if one.first else f"up to {spelt(one.last)}"

    return f"QEMU {' or '.join(map(said, form.versions))}"


# -- how accesses get to the device


def way_of(profile: Profile) -> Way:
    """How an access gets to a device of this profile.

    xen-hvm.c: there are requests for config space since 2.3, which asks Xen for an ioreq server; until 2.12 they are
    turned into accesses of ports. accel/kvm/kvm-all.c: no request, ever.
    """
    if profile.lineage == "kvm-xen":
        return Way(requested=False, config="ports")
    version = release(profile)
    return Way(requested=True, config="ports" if version < (2, 3) else "feigned" if version < (3, 0) else "request")


# -- from records to lines

_FIRST_PROCESS: Final = 2113
_NEXT_PROCESS: Final = 1021
_VCPU_THREAD: Final = 4
"""How far the thread of the vCPU is from the main one, whose id is the process's own."""
_TELLS_PROCESS: Final = ("qemu-log-pid", "systemtap", "syslog-3164", "syslog-5424", "syslog-iso")
"""Forms that tell the process where others tell the thread."""
_HOST: Final = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """How a history is recorded: by which device, in which form, which classes of events, when, and how fast."""

    profile: Profile
    form: Form
    events: frozenset[str] = DEFAULT_EVENTS
    start_ns: int = START_NS
    gap_ns: int = GAP_NS

    def __post_init__(self) -> None:
        """Raise ValueError, one line, for a class of events that there is not, or for times that go backwards."""
        for name in self.events - EVENTS.keys():
            raise ValueError(f"no class of events {name!r}: there are {', '.join(EVENTS)}")
        if self.gap_ns < 0:
            raise ValueError(f"the gap between two accesses: expected at least 0, found {self.gap_ns} ns")

    def time_ns(self, position: int) -> int:
        """When the moment at that position is, by the clock of the form."""
        elapsed = position * self.gap_ns
        return (_UPTIME_NS if self.form.clock == TRACE else self.start_ns) + elapsed

    def lines(self, moments: Iterable[Moment]) -> Iterator[bytes]:
        """The lines of what happened, each with its newline."""
        version = release(self.profile)
        tracer = Tracer(version, way_of(self.profile))
        for position, moment in enumerate(moments):
            stamp = self._stamp(moment, self.time_ns(position))
            for traced in tracer.records(moment):
                declaration = _declared(traced.event, version)
                if declaration is not None and _CLASS.get(traced.event) in (None, *self.events):
                    yield write_line(self.form, print_event(declaration, traced.values), stamp)

    def _stamp(self, moment: Moment, time_ns: int) -> Stamp:
        process = _FIRST_PROCESS + moment.process * _NEXT_PROCESS
        by_vcpu = isinstance(moment, Accessed) and self.profile.lineage == "kvm-xen"
        thread = process + (_VCPU_THREAD if by_vcpu and self.form.name not in _TELLS_PROCESS else 0)
        program = "qemu-system-x86_64" if self.profile.lineage == "kvm-xen" else "qemu-system-i386"
        return Stamp(time_ns=time_ns, thread=thread, host=_HOST, program=program)


@cache
def _declared(event: str, version: Version) -> EventDeclaration | None:
    return form_of(event, version, load())


def generate(
    driver: Driver[Any], options: Options, start: Machine | Profile, *, epochs: Sequence[Epoch] = ("boot",),
    form: str | None = None, events: Iterable[str] = DEFAULT_EVENTS, start_ns: int = START_NS, gap_ns: int = GAP_NS,
) -> Iterator[bytes]:
    """The lines of a recording of this driver on this device, through these epochs.

    `start` is the device, as each of its processes starts it; `events` are classes of `EVENTS`. Raises ValueError, one
    line, for what there is not, and for a form that this release does not write.
    """
    machine = power_on(start) if isinstance(start, Profile) else start
    recorder = Recorder(
        profile=machine.profile, form=form_for(release(machine.profile), form), events=frozenset(events),
        start_ns=start_ns, gap_ns=gap_ns,
    )
    return recorder.lines(history(driver, options, machine, epochs).moments)
