r"""The contract: how a dissector is declared, and found. A new one fits on a page.

A dissector says what one record of a format says, as a `Record`, and knows nothing of VMs or accesses. There are two
kinds. One of lines names its needles (bytes that must occur in any line of it), and is shown one candidate line at a
time; several may read one source, because logs are mixed. One of bytes is shown the whole source, chunk by chunk::

    DISSECTOR = Dissector("counter", "lines of a counter", b"count 3", sniff, lines=Counter, needles=NEEDLES)

Those of a third party are found by the entry point group `xptrace.dissectors`, whose objects are `Dissector`s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dissectors.qemu.catalogue import Catalogue
    from dissectors.record import Damage, Loss, Record

GROUP: Final = "xptrace.dissectors"
"""The entry point group of third parties' dissectors."""


Vantage = Literal["device", "host", "store", "toolstack", "guest"]
"""Whose view of a VM a format is: its device model's; the hypervisor's or the host kernel's, which see the same
accesses; the daemon's that keeps xenstore; the toolstack's; the guest's own."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a dissector is told of the source that it is to read.

    `written_ns` is when the source was last written (nanoseconds since 1970), `tsc_hz` the frequency of the host's time
    stamp counter; both missing where nobody knows.
    """

    source: str
    catalogue: Catalogue
    written_ns: int | None = None
    tsc_hz: float | None = None


class Lines(Protocol):
    """Reads candidate lines of one source."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. Nothing where the line is not ours."""
        ...


@runtime_checkable
class Held(Protocol):
    """What a reader of lines may have besides: something to say when the source has ended."""

    def finish(self) -> Iterator[Record | Damage | Loss]:
        """What was still waiting for a later line."""
        ...


class Stream(Protocol):
    """Reads the bytes of one source from first to last."""

    records: int
    """How many records it has met so far, of whatever kind."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the records say, in order; `Record.line` is the record's number, from 1."""
        ...


@dataclass(frozen=True, slots=True)
class Dissector:
    """One format: its name, what it is, one real line or record of it, and how it is read.

    `sniff` is given the head of a source, and says from 0 to 100 how sure it is that the source is of this format;
    0 is certainly not. A dissector of lines takes part in reading a source unless it says 0. One that has neither
    `lines` nor `stream` recognises a format that is read by another program first: `advice` is that command.
    """

    name: str
    title: str
    example: bytes
    sniff: Callable[[bytes], int]
    lines: Callable[[Given], Lines] | None = None
    needles: tuple[re.Pattern[bytes], ...] = ()
    stream: Callable[[Given], Stream] | None = None
    vantage: Vantage = "device"
    advice: str = ""


_OURS: Final = (
    "dissectors.qemu.textlog", "dissectors.qemu.simpletrace", "dissectors.qemu.lttng", "dissectors.qemu.ctf",
    "dissectors.qemu.traditional", "dissectors.qemu.qtest", "dissectors.qemu.qmp",
    "dissectors.linux.kvm", "dissectors.linux.strace", "dissectors.linux.tracedat", "dissectors.linux.perfdata",
    "dissectors.xen.xentrace", "dissectors.xen.xenalyze",
    "dissectors.xen.console", "dissectors.xen.oxenstored", "dissectors.xen.xenstored", "dissectors.xen.xenstore_ls",
    "dissectors.xen.libxl", "dissectors.xen.xapi", "dissectors.linux.guest_kernel",
    "dissectors.linux.journal", "dissectors.paste", "dissectors.capture.pcapng", "dissectors.capture.pcap",
)
"""Modules of this project that declare a `DISSECTOR`."""


@cache
def dissectors() -> Mapping[str, Dissector]:
    """Every dissector by its name: ours, and those that are installed beside them and can be loaded."""
    found = dict(_ours())
    for name, one in _others().items():
        if isinstance(one, Dissector):
            found.setdefault(name, one)
    return MappingProxyType(found)


def broken() -> Mapping[str, str]:
    """Why a third party's dissector is not used, by the name of its entry point."""
    why = {name: one for name, one in _others().items() if isinstance(one, str)}
    why |= {name: "there is one of this name already" for name in _others() if is_ours(name)}
    return MappingProxyType(why)


def is_ours(name: str) -> bool:
    """Whether the dissector of that name is this project's own."""
    return name in _ours()


@cache
def _ours() -> Mapping[str, Dissector]:
    found: list[Dissector] = [import_module(module).DISSECTOR for module in _OURS]
    return {one.name: one for one in found}


@cache
def _others() -> Mapping[str, Dissector | str]:
    """Third parties' dissectors by name, or why one cannot be loaded: it must not keep ours from their work."""
    found: dict[str, Dissector | str] = {}
    for point in entry_points(group=GROUP):
        try:
            one = point.load()
        except Exception as error:  # noqa: BLE001  whatever somebody else's module raises when it is imported
            found[point.name] = f"{type(error).__name__}: {error}".partition("\n")[0]
        else:
            found[one.name if isinstance(one, Dissector) else point.name] = (
                one if isinstance(one, Dissector) else f"{point.value} is no Dissector"
            )
    return found


def choose(head: bytes, source: str | None = None) -> list[tuple[Dissector, int]]:
    """The dissectors for a source with this head, each with how sure it is, the surest first.

    It is one of bytes, or all those of lines that take part.

    `source` forces one by its name; raises KeyError where there is none.
    """
    known = dissectors()
    if source is not None:
        return [(known[source], known[source].sniff(head))]
    sure = sorted(((one, one.sniff(head)) for one in known.values()), key=lambda entry: -entry[1])
    able = [(one, percent) for one, percent in sure if percent > 0]
    whole = [(one, percent) for one, percent in able if one.lines is None]
    return whole[:1] or able
