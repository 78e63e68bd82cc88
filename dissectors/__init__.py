r"""The contract: how a dissector is declared, and found. A new one fits on a page.

A dissector says what one record of a format says, as a `Record`, and knows nothing of VMs or accesses. There are two
kinds. One of lines names its needles (bytes that must occur in any line of it), and is shown one candidate line at a
time; several may read one source, because logs are mixed. One of bytes is shown the whole source, chunk by chunk::

    DISSECTOR = Dissector("counter", "lines of a counter", b"count 3", sniff, lines=Counter, needles=NEEDLES)

Those of a third party are found by the entry point group `xptrace.dissectors`, whose objects are `Dissector`s.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dissectors.kernel import Batch, Kernel
    from dissectors.qemu.catalogue import Catalogue
    from dissectors.record import Damage, Loss, Record

GROUP: Final = "xptrace.dissectors"
"""The entry point group of third parties' dissectors."""
AGAIN: Final = 1 << 16
"""Bytes that the next chunk of a source shows again, to who reads it many records at once."""


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


@runtime_checkable
class Plain(Lines, Protocol):
    """What a reader of lines may have besides: programs, by which the kernel reads those of its lines that are plain.

    What they read is what `read` would say, of events with these names and clocks by number.
    """

    programs: bytes
    events: Sequence[str]
    clocks: Sequence[str | None]

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a later line."""
        ...

    def passed(self, number: int) -> None:
        """The lines up to this number were read by the kernel, and each was a record."""
        ...


class Stream(Protocol):
    """Reads the bytes of one source from first to last."""

    records: int
    """How many records it has met so far, of whatever kind."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the records say, in order; `Record.line` is the record's number, from 1."""
        ...


class Wanted(NamedTuple):
    """The accesses that somebody wants to know of at present, if they are of this thread; of another he wants all.

    `ranges` are pairs of 64-bit numbers in little-endian order: addresses of ports or of memory, from and up to. Those
    that may reach into such a range begin in it.
    """

    ranges: bytes
    thread: int


class Passed(NamedTuple):
    """So many records that would have been told are passed over here: accesses that nobody wants to know of.

    What was open before them is over, and the next record begins an access.
    """

    told: int


@runtime_checkable
class Packed(Stream, Protocol):
    """What a reader of bytes may have besides: a way to read, with the kernel, many records at once."""

    def batches(
        self, chunks: Iterable[bytes], kernel: Kernel, wanted: Callable[[], Wanted | None], *, many: bool
    ) -> Iterator[Record | Damage | Loss | Batch | Passed]:
        """What `read` says; but records that nobody wants are passed over, and plain ones, if `many`, are batches.

        Each chunk begins with the last bytes of what was before it, `AGAIN` of them or all: what goes on in it need not
        be put together. `wanted` says of what accesses, or None where every record must be told.
        """
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


class _Module(NamedTuple):
    """A module of this project that declares a `DISSECTOR`, and what there is in every head that its `sniff` knows.

    Such a head begins with one of `first`, or has one of `signs` in it, wherever, when its digits are left out; any
    head may be one where there are neither. So a module is imported where its format may be, and not for every log.
    """

    name: str
    first: tuple[bytes, ...] = ()
    signs: tuple[bytes, ...] = ()
    lines: bool = True
    """Whether it is one of lines."""

    def may_know(self, head: bytes, shapes: bytes) -> bool:
        """Whether its `sniff` has to be asked; `shapes` are those of the head."""
        if not (self.first or self.signs) or head.startswith(self.first):
            return True
        # a byte is found, or missed, at once
        return any(all(map(shapes.__contains__, one)) and one in shapes for one in self.signs)

    def dissector(self) -> Dissector:
        """What it declares."""
        found: Dissector = import_module(f"dissectors.{self.name}").DISSECTOR
        return found


_OURS: Final[Mapping[str, _Module]] = MappingProxyType({
    "qemu-log": _Module("qemu.textlog"),
    "simpletrace": _Module("qemu.simpletrace", first=(b"\xff" * 8,), lines=False),
    "lttng": _Module("qemu.lttng", signs=(b" qemu:", b" cpu_id = ")),
    "ctf": _Module("qemu.ctf", first=(
        b"/* CTF 1.", b"\xc1\x1f\xfc\xc1", b"\xc1\xfc\x1f\xc1", b"\x75\xd1\x1d\x57", b"\x57\x1d\xd1\x75",
        b"\xc1\xf1\xdc\xc1", b"\xc1\xdc\xf1\xc1",
    ), lines=False),
    "qemu-xen-traditional": _Module("qemu.traditional", signs=(
        b"domid: ", b"Register xen platform.", b"Done register platform.", b"platform_fixed_ioport: ",
        b"ROM memory area now R", b"PV driver", b"PV product ", b"UNPLUG: ", b"region type ", b"squash iomem [",
        b"ide_unplug_harddisk: ", b"pci_dev_unplug: ", b"throttling", b"xen platform: device_id=", b": qemu ",
        b": XenPCI ", b": disabled ", b"Issued domain ",
    )),
    "qtest": _Module("qemu.qtest", signs=(b"[R +", b"[I ", b"b x", b"w x", b"l x", b"q x", b"ad x", b"te x")),
    "qmp": _Module("qemu.qmp", signs=(b'"event"', b'"QMP"', b'"return"', b'"microseconds"')),
    "kvm": _Module("linux.kvm", first=(b"version = ", b"cpus=", b"# tracer: "), signs=(
        b".: ", b" : ", b" us", b":kvm_pio: ", b" kvm_pio: ",
    )),
    "strace": _Module("linux.strace", signs=(b"VCPU", b"KVM_", b" = ")),
    "trace.dat": _Module("linux.tracedat", first=(b"\x17\x08\x44tracing",), lines=False),
    "perf.data": _Module("linux.perfdata", first=(b"PERFILE2", b"2ELIFREP", b"PERFFILE"), lines=False),
    "xentrace": _Module("xen.xentrace", signs=(b"\x03\xf0\x01\x20",), lines=False),
    "xenalyze": _Module("xen.xenalyze", signs=(
        b"CPU", *(b"%c d%sv" % (one, other) for one in b"-x|.l " for other in (b"", b"?")),
    )),
    "xen-console": _Module("xen.console", signs=(b"(XEN) ", b"(d")),
    "oxenstored": _Module("xen.oxenstored", signs=(b"Z]  ",)),
    "xenstored": _Module("xen.xenstored", signs=(b"IN x", b"OUT x")),
    "xenstore-ls": _Module("xen.xenstore_ls", signs=(b' = "',), lines=False),
    "libxl": _Module("xen.libxl", signs=(b"Waiting for domain ", b"libxl: ", b"Domain ")),
    "xensource": _Module("xen.xapi", signs=(
        b"xenopsd: [", b"xenopsd-xc: [", b"debug|", b"info|", b"warn|", b"error|", b"critical|", b"app|",
    )),
    "guest-kernel": _Module("linux.guest_kernel", first=(b"[",), signs=(
        b"\n[", b" kernel: ", b"Linux version ", b"NetBSD ", b"Copyright (c) ", b"Hypervisor detected: Xen ",
        b"DMI: Xen HVM domU", b"Xen Platform", b"the Xen platform PCI", b"XEN: ", b"able emulated devices",
    )),
    "journal": _Module("linux.journal", signs=(b"__REALTIME_TIMESTAMP",), lines=False),
    "paste": _Module("paste", lines=False),
    "pcapng": _Module("capture.pcapng", first=(b"\n\r\r\n",), lines=False),
    "pcap": _Module("capture.pcap", first=(
        b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1",
    ), lines=False),
})  # fmt: skip
"""This project's own, by the name of the dissector."""


@cache
def dissectors() -> Mapping[str, Dissector]:
    """Every dissector by its name: ours, and those that are installed beside them and can be loaded."""
    found = {name: module.dissector() for name, module in _OURS.items()}
    return MappingProxyType(found | {one.name: one for one in _theirs()})


def broken() -> Mapping[str, str]:
    """Why a third party's dissector is not used, by the name of its entry point."""
    why = {name: one for name, one in _others().items() if isinstance(one, str)}
    why |= {name: "there is one of this name already" for name in _others() if is_ours(name)}
    return MappingProxyType(why)


def is_ours(name: str) -> bool:
    """Whether the dissector of that name is this project's own."""
    return name in _OURS


def _theirs() -> Iterator[Dissector]:
    return (one for name, one in _others().items() if isinstance(one, Dissector) and not is_ours(name))


@cache
def _others() -> Mapping[str, Dissector | str]:
    """Third parties' dissectors by name, or why one cannot be loaded: it must not keep ours from their work."""
    if not _may_be_announced():
        return {}
    from importlib.metadata import entry_points  # which costs as much as to decode a small log

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


def _may_be_announced() -> bool:
    """Whether anything installed may announce a dissector, as importlib.metadata would see it.

    Where packages lie in anything but directories, or are found by anything but Python's own path, there may be some.
    """
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    return any(_announces(Path(place)) for place in sys.path)


def _announces(place: Path) -> bool:
    """Whether the metadata of a package there names the group of dissectors, or cannot be read."""
    egg = place.suffix.lower() == ".egg"
    try:
        for folder in place.iterdir():
            name = folder.name.lower()
            if not (name.endswith((".dist-info", ".egg-info")) or (egg and name == "egg-info")):
                continue
            try:
                if GROUP.encode() in (folder / "entry_points.txt").read_bytes():
                    return True
            except (FileNotFoundError, NotADirectoryError):
                continue
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


_CERTAIN: Final = 100


def _shapes_of(head: bytes) -> bytes:
    """The lines of a head without their digits, each once, behind a newline: of most logs that is little to look at."""
    return b"\n" + b"\n".join(set(head.translate(None, b"0123456789").split(b"\n")))


def choose(head: bytes, source: str | None = None) -> list[tuple[Dissector, int]]:
    """The dissectors for a source with this head, each with how sure it is, the surest first.

    It is one of bytes, or all those of lines that take part.

    `source` forces one by its name; raises KeyError where there is none.
    """
    if source is not None:
        one = dissectors()[source]
        return [(one, one.sniff(head))]
    for module in _OURS.values():
        if not module.lines and module.first and head.startswith(module.first):
            one = module.dissector()
            if one.sniff(head) == _CERTAIN:
                return [(one, _CERTAIN)]  # nobody can be surer, and only one reads bytes
    shapes = _shapes_of(head)
    return _able(head, shapes, lines=False)[:1] or _able(head, shapes, lines=True)


def _able(head: bytes, shapes: bytes, *, lines: bool) -> list[tuple[Dissector, int]]:
    """Those of one kind that know the head, each with how sure it is, the surest first."""
    ours = (module.dissector() for module in _OURS.values() if module.lines == lines and module.may_know(head, shapes))
    others = (one for one in _theirs() if (one.lines is not None) == lines)
    sure = sorted(((one, one.sniff(head)) for one in (*ours, *others)), key=lambda entry: -entry[1])
    return [(one, percent) for one, percent in sure if percent > 0]
