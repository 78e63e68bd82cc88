"""Recordings for the tests of rules, written by hand in the forms of QEMU's log, and stories of any content.

The events are those of QEMU 10 (`cpu_in`, `pci_cfg_read`, `runstate_set`, `xen_device_frontend_state`); a time in
front is that of QEMU 10.1 and later with -msg timestamp=on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dissectors.record import Record
from xptrace.access.attribution import Beginning, Vm
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Entry, Event, Message
from xptrace.access.spaces import Function
from xptrace.findings.assess import Assessment, Finding, all_rules, examine
from xptrace.findings.rule import Context
from xptrace.model.profiles import profiles
from xptrace.negotiation.story import Stories

BEGUN = datetime(2026, 11, 23, 4, 5, 29, 113219, tzinfo=UTC)
_SIZES = {1: "b", 2: "w", 4: "l"}

PROCESS = "xen_ioreq_server_create id: 0"
RUNNING = "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)"
MIGRATED = "runstate_set current_run_state 1 (inmigrate) new_state 9 (running)"
RESET = "kvm_xen_soft_reset "
PLATFORM = "pci_cfg_read xen-platform 00:02.0 @0x0 -> 0x15853"


def read(port: int, size: int, value: int) -> str:
    """A read of a port."""
    return f"cpu_in addr 0x{port:x}({_SIZES[size]}) value {value}"


def write(port: int, size: int, value: int) -> str:
    """A write to a port."""
    return f"cpu_out addr 0x{port:x}({_SIZES[size]}) value {value}"


def magic(value: int = 0x49D2) -> str:
    """A read of the magic."""
    return read(0x10, 2, value)


def version(value: int = 1) -> str:
    """A read of the protocol version."""
    return read(0x12, 1, value)


def product(value: int) -> str:
    """A write of the product number."""
    return write(0x12, 2, value)


def build(value: int) -> str:
    """A write of the build number."""
    return write(0x10, 4, value)


def mask(value: int) -> str:
    """A write of the unplug mask."""
    return write(0x10, 2, value)


def preamble(number: int = 3, built: int = 1, verdict: int = 0x49D2) -> list[str]:
    """Steps 1 to 5 of the protocol."""
    return [magic(), version(), product(number), build(built), magic(verdict)]


def said(text: str) -> str:
    """A line of the guest's log, as the device model tells it."""
    return f"xen_platform_log xen platform: {text}"


def frontend(name: int | str, state: str, kind: str = "xen-disk") -> str:
    """A state of the frontend of a PV disk (or of another kind)."""
    return f"xen_device_frontend_state type: {kind} name: {name} -> XenbusState{state}"


def timed(lines: Iterable[str | float], step_s: float = 0.001) -> list[str]:
    """The lines with a time in front, one step from each to the next; a number among them is seconds that pass."""
    now, found = BEGUN, []
    for line in lines:
        if isinstance(line, str):
            found.append(f"{now:%Y-%m-%dT%H:%M:%S.%f}Z {line}")
            now += timedelta(seconds=step_s)
        else:
            now += timedelta(seconds=line)
    return found


def recording(folder: Path, lines: Iterable[str], vm: str = "win10") -> Path:
    """A log of the device model of that VM."""
    path = folder / f"qemu-dm-{vm}.log"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def examined(*paths: Path, rules: Iterable[str] = ()) -> Assessment:
    """What these rules, or all, find in recordings of one case."""
    book = {number: one for number, one in all_rules().items() if not rules or number in rules}
    return examine(Decoder([str(path) for path in paths]), book=book)


def found(folder: Path, lines: Iterable[str], rule: str, vm: str = "win10") -> list[Finding]:
    """What one rule finds in a recording of these lines."""
    return examined(recording(folder, lines, vm), rules=(rule,)).findings


# -- stories of any content

_VALUES = st.none() | st.sampled_from((0, 1, 2, 3, 7, 8, 15, 205, 0x49D2, 0xD249, 0xFFFF, 0x090000, 0x02061200)) | (
    st.integers(0, (1 << 32) - 1)
)
_STATES = st.none() | st.integers(0, 9)
_TIMES = st.none() | st.integers(-1, 1 << 70)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Rows and events of up to two VMs with up to three boots each, in any order and with any content."""
    made: list[Entry] = []
    for at in range(draw(st.integers(0, 25))):
        time_ns, clock = draw(_TIMES), draw(st.sampled_from((None, "wall", "syslog", "trace")))
        source = draw(st.sampled_from(("a.log", "b.log")))
        record = Record(source, at * 50, 49, at + 1, "cpu_in", {}, b"", time_ns, clock)
        whose = (time_ns, clock, draw(st.sampled_from(("a", "b"))), draw(st.integers(1, 3)))
        made.append(draw(st.one_of(
            _steps(whose, record), _steps(whose, record), _accesses(whose, record), _messages(whose, record),
            _events(whose, record),
        )))
    return made


_STEPS = (
    (0x10, 2, "read"), (0x12, 1, "read"), (0x12, 2, "write"), (0x10, 4, "write"), (0x10, 2, "write"),
    (0x11, 1, "write"), (0x13, 1, "write"), (0x10, 1, "write"),
)
"""Port, size and direction of the steps that a handshake is made of."""


def _steps(whose: tuple[Any, ...], record: Record) -> st.SearchStrategy[Entry]:
    return st.builds(
        lambda step, value: Access(*whose, 0, "pio", *step, value, 1, "", "", "observed", [record]),
        st.sampled_from(_STEPS), _VALUES,
    )


def _accesses(whose: tuple[Any, ...], record: Record) -> st.SearchStrategy[Entry]:
    ports = st.integers(0x0D, 0x14)
    directions = st.sampled_from(("read", "write"))
    kinds = st.none() | st.sampled_from(("xen-platform", "xen-pvdevice"))
    return st.one_of(
        st.builds(
            lambda address, size, direction, value: Access(
                *whose, 0, "pio", address, size, direction, value, 1, "", "", "observed", [record]),
            st.none() | ports, st.none() | st.sampled_from((1, 2, 4)), directions, _VALUES,
        ),
        st.builds(
            lambda space, address, size, direction, value, kind, ours: Access(
                *whose, None, space, address, size, direction, value, 1, "", "", "observed", [record], 0,
                Function(0x10, ours, kind)),
            st.sampled_from(("bar0", "bar1", "pci-config")), st.integers(0, 0x30), st.sampled_from((1, 2, 4)),
            directions, _VALUES, kinds, st.none() | st.booleans(),
        ),
    )


def _messages(whose: tuple[Any, ...], record: Record) -> st.SearchStrategy[Entry]:
    texts = st.text(max_size=200) | st.sampled_from(("UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", "UNPLUG: DISKS"))
    return st.builds(lambda text, whole: Message(*whose, text, whole, "observed", [record]), texts, st.booleans())


def _events(whose: tuple[Any, ...], record: Record) -> st.SearchStrategy[Entry]:
    topics = st.sampled_from(("frontend", "backend", "function", "life", "store"))
    subjects = st.sampled_from(("vbd/768", "vif/0", "vbd/x", "", "00:07.0", "runstate", "a/b")) | st.text(max_size=9)
    words = st.sampled_from(("running", "Connected", "mapped", "unmapped", "reset")) | st.text(max_size=9)
    return st.builds(
        lambda topic, subject, word, state: Event(*whose, topic, subject, word, state, [record]),
        topics, subjects, words, _STATES,
    )


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """What may come out of any recording, and any set of devices that may have made it."""
    kinds: st.SearchStrategy[Beginning] = st.sampled_from(("process", "reset", "migration"))
    began = st.dictionaries(st.integers(1, 3), kinds, max_size=3)
    vms = {name: Vm(name, began=draw(began)) for name in ("a", "b")}
    stories = Stories(vms)
    for entry in draw(entries()):
        stories.take(entry)
    fitted = st.lists(st.sampled_from([*profiles().values()]), max_size=3)
    return Context(stories.found, draw(st.dictionaries(st.sampled_from(("a", "b")), fitted)))
