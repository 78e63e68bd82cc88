"""A recording made of models decodes to what was played, replays without a divergence, and reads like a real one."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dissectors.platform.registers import pieces
from dissectors.qemu.catalogue import load
from dissectors.qemu.writing import FORMS, Form, form_of, forms_of, print_event
from tests.xptrace.model.test_oracle import WHOLE, access_of, refused, start, steps, version_of
from tests.xptrace.model.test_oracle import read as raw
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access as Row
from xptrace.access.rows import Message
from xptrace.exports.history import EPOCHS, Accessed, Epoch, History, Started, WasReset, history
from xptrace.exports.recording import DEFAULT_EVENTS, EVENTS, GAP_NS, START_NS, Recorder, form_for, generate, release
from xptrace.exports.tracing import Tracer, Way
from xptrace.model import function as pci
from xptrace.model.access import Access, read, write
from xptrace.model.device import Blacklist
from xptrace.model.drivers import DRIVERS, Outcome, declared, find_driver, parse_options
from xptrace.model.effects import Aborted, Logged
from xptrace.model.inventory import parse
from xptrace.model.machine import reset, step
from xptrace.model.profiles import profile, profiles
from xptrace.replay.replay import Replay, Start

EVERY = frozenset(EVENTS)
CATALOGUE = load()

# -- what a form, a release and its events can hold

MICROSECONDS = {"qemu-log-pid", "qemu-log-tid", "qemu-log-iso", "qemu-log-program", "syslog-5424", "syslog-iso"}
NANOSECONDS = {"systemtap"}
ROUNDED = {"ftrace", "trace-cmd"}
"""Forms by what they tell of a time; the others tell none: `qemu-log` has none, `syslog-3164` neither year nor zone."""
YEARLESS = "local, year inferred"
TELLING = MICROSECONDS | NANOSECONDS | ROUNDED
TRACER_AHEAD = 3600 * 10**9
"""The kernel tracer's clock counts from the host's start, an hour before the recording's."""

SIZES_TOLD = (1, 6)
"""memory_region_ops_* tell the size of a port's access; before, there is cpu_in and cpu_out alone, without one."""
OFFSETS_TOLD = (1, 6), (2, 5)
"""In these releases they tell offsets in regions that nobody names."""
SERVERS_TOLD = (2, 3)
"""xen_ioreq_server_create: a new process."""
STATES_NAMED = (4, 0)
"""runstate_set tells what was before, so that a migration's destination is told from another new process."""
CONFIG_TOLD = (1, 7)
"""pci_cfg_*: function, offset and value, but no size."""
MAPPINGS_TOLD = (2, 5)
"""pci_update_mappings_*: where BARs are, and that they go at a reset; those of 2.3 and 2.4 have slot and function
in the wrong order. Up to 6.2 they tell a pointer instead of the type, so that something else must have named the
function in that process."""
MAPPINGS_NAMED = (7, 0)
REGIONS_NAMED = (6, 1)
"""memory_region_ops_* tell the name of the region, and so which port is BAR0's."""
REQUESTS_OF_CONFIG = (3, 0)
"""Under Xen, config space is no longer accessed by ports; only the ioreq events tell the size then."""


def told_time(form: Form, position: int, start_ns: int = START_NS, gap_ns: int = GAP_NS) -> int | None:
    time_ns = start_ns + position * gap_ns
    if form.name in ROUNDED:
        return (TRACER_AHEAD + position * gap_ns + 500) // 1000 * 1000
    if form.name in MICROSECONDS:
        return time_ns // 1000 * 1000
    return time_ns if form.name in NANOSECONDS else None


Told = tuple[Any, ...]


@dataclass
class Reader:
    """What whoever reads the recording can know, moment by moment, by the releases above."""

    recorder: Recorder
    boot: int = 1
    used: bool = False
    created: bool = False
    named: bool = False
    """Whether something has told in this process which function is the platform device."""
    placed: bool = False
    """Whether BAR0's place is known."""
    began: dict[int, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    @property
    def version(self) -> tuple[int, ...]:
        return release(self.recorder.profile)

    @property
    def xen(self) -> bool:
        return self.recorder.profile.lineage != "kvm-xen"

    def begin(self, how: str, *, fresh: bool) -> None:
        if self.used or fresh:
            self.boot += 1
            self.used = False
        self.began[self.boot] = how

    def started(self, moment: Started) -> None:
        how = "migration" if moment.migrated and self.version >= STATES_NAMED else "process"
        if not self.xen:
            self.begin(how, fresh=False)
        elif self.version >= SERVERS_TOLD:
            self.begin(how, fresh=self.created)
            self.created, self.named, self.placed = True, False, False
        elif "thread" in self.recorder.form.needs and self.used:
            self.boot += 1  # another thread serves the accesses; how that came to be, nothing tells
            self.used = False
        if moment.migrated and self.version >= MAPPINGS_NAMED:
            self.named = self.placed = True

    def was_reset(self) -> None:
        if self.version >= MAPPINGS_TOLD and self.named and self.used:
            self.begin("reset", fresh=False)

    def accessed(self, moment: Accessed, time_ns: int | None) -> None:
        access = moment.access
        value = moment.answer if access.direction == "read" else access.value
        rows: list[tuple[str, int, int | None, int | None]] = []
        if access.space == "pci-config":
            if self.version < CONFIG_TOLD:
                return
            self.named = True
            self.placed |= access.offset == pci.COMMAND and self.version >= MAPPINGS_TOLD
            self.placed |= access.offset == pci.BAR0 and access.direction == "write"
            rows = [("pci-config", access.offset, access.size if self.size_of_config() else None, value)]
        elif self.xen and self.reaches(access):
            by_call = self.version < (2, 5) and access.space == "bar0"  # a call of BAR0 is one byte of an access
            size = access.size if self.version >= SIZES_TOLD and not by_call else None
            rows = [(access.space, access.offset + self.base(access), size, value)]
        elif not self.xen:  # each call of the device is a row
            rows = [
                (access.space, piece.offset + self.base(access), piece.size, piece.value)
                for piece in pieces(access.space, access.offset, access.size, access.direction, value)
                if access.space == "bar0" or piece.offset < 0x20
            ]
        for space, address, size, part in rows:
            self.used |= space != "pci-config"
            self.told.append(("access", time_ns, self.boot, space, address, size, access.direction, part))
        for effect in moment.effects:
            if isinstance(effect, Logged):
                self.used = True
                self.told.append(("message", time_ns, self.boot, effect.text.decode(), True))

    @staticmethod
    def base(access: Access) -> int:
        return 0xC000 if access.space == "bar0" else 0

    def reaches(self, access: Access) -> bool:
        """Whether an access is seen to be the platform device's."""
        if access.space == "bar0":
            return self.placed or self.version >= REGIONS_NAMED
        if access.offset < 0x10 and self.version <= OFFSETS_TOLD[1] and self.version != (2, 5):
            return False  # it reaches in from below, but nothing tells how far
        return access.offset < 0x20 and access.offset + access.size > 0x10

    def size_of_config(self) -> bool:
        if not self.xen:
            return True
        if self.version >= REQUESTS_OF_CONFIG:
            return "ioreq" in self.recorder.events
        return self.version >= SIZES_TOLD


def expected(recorder: Recorder, found: History) -> Reader:
    reader = Reader(recorder)
    for position, moment in enumerate(found.moments):
        if isinstance(moment, Started):
            reader.started(moment)
        elif isinstance(moment, WasReset):
            reader.was_reset()
        elif isinstance(moment, Accessed):
            reader.accessed(moment, told_time(recorder.form, position, recorder.start_ns, recorder.gap_ns))
    return reader


def shown(row: Row | Message) -> Told:
    """A row as it is compared; of a time whose year was inferred from the file's own, nothing is known here."""
    time_ns = None if row.clock == YEARLESS else row.time_ns
    if isinstance(row, Message):
        return "message", time_ns, row.boot, row.text, row.complete
    return "access", time_ns, row.boot, row.space, row.address, row.size, row.direction, row.value


FOREIGN = b"qemu-system-i386: warning: nothing of ours\n" * 64


def decoded(lines: Iterator[bytes], after: bytes = b"") -> tuple[Decoder, list[Row | Message]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "guest.log"
        path.write_bytes(b"".join(lines) + after)
        decoder = Decoder([str(path)])
        return decoder, list(decoder.rows())


# -- what is played


CHOICES = {
    ("linux", "xen_emul_unplug"): ("all", "ide-disks", "aux-ide-disks,nics", "unnecessary", "never", ""),
    ("xenlinux", "dev_unplug"): ("all", "ide-disks,nics", "never"),
    ("xenlinux", "kernel"): ("2.6.32", "3.0.101"),
    ("xenlinux", "era"): ("2009-07", "2010-01", "2010-02", "2013-09", "2018-06"),
    ("gplpv", "mask"): ("0", "1", "0xffff"),
    ("gplpv", "clock_ms"): ("1",),
    ("citrix-legacy", "build"): ("41700", "0xffffffff"),
    ("citrix-legacy", "mask"): ("2",),
    ("xenserver-6.1", "device_id"): ("1",),
    ("xenserver-6.1", "revision"): ("0", "3"),
    ("xenserver-6.1", "devices"): ("", "nic1,ide2", "ide0,nic0,nic1"),
    ("vmdp", "control"): ("all", "disk", "net", "none"),
    ("vmdp", "product"): ("20505",),
    ("vmdp", "build"): ("7",),
    ("windows-xenbus", "version"): ("8.2.1", "65535.0.0"),
    ("windows-xenbus", "product"): ("1", "3"),
    ("windows-xenbus", "veto"): ("vbd", "vif", "vbd,vif"),
    ("windows-xenbus", "cpus"): ("0", "3"),
}
"""Values of the options that are no flags."""


BLACKLIST: Blacklist = frozenset({(0xFFFF, 0x090000), (1, 1), (2, 1)})
INVENTORIES = ("", "ide0,cd3,rtl8139", "ide0,ide1,scsi,nvme,e1000,virtio-net", "ide0,isa-nic,e1000")
UNWRITTEN = "qemu-log-program"
"""The form that no release writes yet."""


@dataclass(frozen=True)
class Case:
    """One recording, in the words of a user."""

    driver: str = "linux"
    options: tuple[str, ...] = ()
    profile: str = "qemu-10.2"
    form: str = "qemu-log"
    epochs: tuple[Epoch, ...] = ("boot",)
    events: frozenset[str] = DEFAULT_EVENTS
    inventory: str = ""
    blacklisted: bool = False
    device_id: int | None = None

    @property
    def device(self) -> Start:
        of = profile(self.profile)
        identities = () if self.device_id is None else (pci.platform(of, self.device_id),)
        return Start(of, identities, parse(self.inventory), (), BLACKLIST if self.blacklisted else frozenset())

    @property
    def recorder(self) -> Recorder:
        return Recorder(profile=profile(self.profile), form=FORMS[self.form], events=self.events)

    @property
    def history(self) -> History:
        driver = find_driver(self.driver)
        return history(driver, parse_options(driver, self.options), self.device.machine(), self.epochs)


def forms_for(name: str) -> tuple[str, ...]:
    return (*(form.name for form in forms_of(release(profile(name)))), UNWRITTEN)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    driver = draw(st.sampled_from(DRIVERS))
    given_options = []
    for option in declared(driver.options):
        values = CHOICES.get((driver.name, option.name), ("yes", "no"))
        value = draw(st.sampled_from((None, *values)))
        if value is not None:
            given_options.append(f"{option.name}={value}")
    of = draw(st.sampled_from(list(profiles().values())))
    return Case(
        driver.name, tuple(given_options), of.name, draw(st.sampled_from(forms_for(of.name))),
        ("boot", *draw(st.lists(st.sampled_from(list(EPOCHS)), max_size=4))),
        draw(st.sampled_from((DEFAULT_EVENTS, EVERY))), draw(st.sampled_from(INVENTORIES)), draw(st.booleans()),
        draw(st.sampled_from((None, 0x0002))) if of.identity_settable else None,
    )


# -- the round trip


def check(case: Case, after: bytes = b"") -> None:
    recorder, found = case.recorder, case.history
    reader = expected(recorder, found)
    decoder, rows = decoded(recorder.lines(found.moments), after)
    assert [shown(row) for row in rows] == reader.told
    assert {row.vm for row in rows} <= {"guest"}
    assert {row.clock for row in rows} <= {recorder.form.clock if case.form in TELLING else None, YEARLESS}
    (vm,) = decoder.vms.values() or [None]
    assert (vm.began if vm else {}) == reader.began
    (ledger,) = decoder.ledgers
    assert ledger.damaged.lines == 0 == ledger.lost.lines
    for judged in Replay(case.device, decoder.vms).rows(rows):
        assert judged.judgement.agrees is not False
        row = judged.row
        if isinstance(row, Row) and row.direction == "read" and None not in (row.size, row.value):
            assert judged.judgement.agrees is True


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases())
@example(Case("freebsd", ("disable_pv_disks=yes", "disable_pv_nics=yes"), "qemu-0.15", UNWRITTEN, ("boot",) * 3, EVERY))
def test_what_was_played_is_what_is_decoded_and_replays_without_a_divergence(case: Case) -> None:
    check(case, FOREIGN)


EVERYTHING: tuple[Epoch, ...] = ("boot", "resume", "migrate", "reset", "reboot", "boot")


@pytest.mark.parametrize("name", profiles())
def test_every_release_writes_every_form_that_it_has(name: str) -> None:
    for form in forms_for(name):
        for driver in ("gplpv", "suse-legacy"):
            case = Case(driver, profile=name, form=form, epochs=EVERYTHING)
            check(case, FOREIGN)


@pytest.mark.parametrize("name", ["qemu-2.5", "qemu-2.6", "qemu-2.8", "qemu-2.12"])
def test_a_request_for_config_space_that_is_served_by_ports_is_one_access(name: str) -> None:
    check(Case(profile=name, form="qemu-log-pid", events=EVERY), FOREIGN)


def test_a_device_model_that_aborts_takes_part_in_nothing_more() -> None:
    """QEMU 7.2 with an ISA NIC aborts at the second unplug of NICs (observed); its last record is the write."""
    case = Case(profile="qemu-7.2", inventory="ide0,isa-nic,e1000", epochs=("boot", "resume", "migrate", "reboot"))
    lines = [line.decode() for line in case.recorder.lines(case.history.moments)]
    fatal = "memory_region_ops_write cpu -1 mr 0x55a1c0d637e0 addr 0x10 value 0x3 size 2 name 'xen-fixed'\n"
    assert [place for place, line in enumerate(lines) if line == fatal][1:] == [
        lines.index("xen_ioreq_server_create id: 0\n", 1) - 1
    ]
    assert sum("xen_ioreq_server_create" in line for line in lines) == 2
    assert sum("inmigrate" in line for line in lines) == 0
    effects = [one for moment in case.history.moments if isinstance(moment, Accessed) for one in moment.effects]
    assert sum(isinstance(effect, Aborted) for effect in effects) == 1


# -- as real recordings have it

POINTER = re.compile(r"\b(mr |I/O=)0x[0-9a-f]+")
PREFIX = re.compile(r"^\d+@\d{10}\.\d{6}:")


def without_pointers(lines: Sequence[str]) -> list[str]:
    return [POINTER.sub(r"\1POINTER", line) for line in lines]


def made(case: Case) -> list[str]:
    return [line.decode().removesuffix("\n") for line in case.recorder.lines(case.history.moments)]


class TestUnderXen:
    """QEMU 7.2.22 on Xen 4.17 with a Linux guest, every event switched on."""

    LINUX = Case(profile="qemu-7.2", form="qemu-log-tid", events=EVERY)

    @staticmethod
    def shape(lines: Sequence[str]) -> list[str]:
        assert all(PREFIX.match(line) for line in lines)
        return without_pointers([PREFIX.sub("", line) for line in lines])

    def test_the_handshake_has_the_same_lines(self, data: Path) -> None:
        real = self.shape((data / "real-xen" / "all-events-handshake.txt").read_text().splitlines())
        ports = re.compile(r"port=0x1[0-3] |addr 0x1[0-3][ (]")
        generated = [line for line in self.shape(made(self.LINUX)) if ports.search(line)]
        assert generated == [line for line in real if ports.search(line)]
        assert len(generated) == 36

    def test_a_read_of_config_space_has_the_same_lines(self, data: Path) -> None:
        real = self.shape((data / "real-xen" / "all-events-handshake.txt").read_text().splitlines())
        last = real.index("handle_ioreq_read I/O=POINTER read type=2 df=0 ptr=0 port=0x1000000000 data=0x15853 count=1 "
                          "size=4")  # fmt: skip
        generated = self.shape(made(self.LINUX))
        assert generated[:2] == [
            "xen_ioreq_server_create id: 0", "runstate_set current_run_state 6 (prelaunch) new_state 9 (running)",
        ]  # fmt: skip
        assert generated[2:12] == real[last - 9 : last + 1]

    @pytest.mark.parametrize("written", ["@0x14 <- 0xf0000008", "@0x10 <- 0xc001", "@0x4 <- 0x7"])
    def test_firmware_s_writes_have_the_same_lines(self, corpus: Path, written: str) -> None:
        path = corpus / "recorded" / "real-xen" / "all-events" / "qemu-trace-all-events.log.gz"
        real = self.shape(gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()[:7700])
        real = [line for line in real if not line.startswith("xen_map_")]  # an event that is not recorded here
        generated = self.shape(made(self.LINUX))
        write_of = f"pci_cfg_write xen-platform 00:02.0 {written}"
        there, here = real.index(write_of), generated.index(write_of)
        mapped = 2 if written.startswith("@0x4") else 0
        assert generated[here - 9 : here + 1 + mapped] == real[there - 9 : there + 1 + mapped]

    def test_a_destination_begins_with_the_same_lines(self, corpus: Path) -> None:
        path = corpus / "recorded" / "real-xen" / "migrate-local" / "qemu-trace-375.log.gz"
        real = self.shape(gzip.decompress(path.read_bytes()).decode().splitlines())
        generated = self.shape(made(replace(self.LINUX, epochs=("boot", "migrate"))))
        there = generated.index("xen_ioreq_server_create id: 0", 1)
        first = generated[there : there + 40]
        told = [line for line in real if line in first]
        assert told[:40] == first


@dataclass
class Script:
    """A driver that does what it is told, and takes note of the answers."""

    accesses: Sequence[Access]

    def __call__(self, _options: object) -> Generator[Access, int | None, Outcome]:
        for access in self.accesses:  # noqa: UP028 - a tuple cannot be sent an answer
            yield access
        return Outcome("unasked", "it did what it was told")

    def on(self, name: str, form: str) -> list[str]:
        driver = replace(find_driver("none"), boot=self)
        lines = generate(driver, parse_options(driver, ()), profile(name), form=form)
        return [line.decode().removesuffix("\n") for line in lines]


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13", "10.2.2"])
def test_a_negotiation_has_the_text_that_the_devices_under_test_wrote(data: Path, version: str) -> None:
    """golden.jsonl says what was done to the running device, trace.log what it traced."""
    scenario = data / "qemu-oracle" / version / "03-linux-negotiation"
    golden = [json.loads(line) for line in (scenario / "golden.jsonl").read_text().splitlines()]
    script = Script([
        read(one["addr"], one["size"]) if one["dir"] == "r" else write(one["addr"], one["size"], one["value"])
        for one in golden if one.get("space") == "io"
    ])  # fmt: skip
    real = without_pointers((scenario / "trace.log").read_text().splitlines())
    name = f"qemu-{version.rpartition('.')[0]}"
    assert without_pointers(script.on(name, "qemu-log"))[-len(real) :] == real

    linux = without_pointers(made(Case(profile=name)))[-12:]
    build = {7: "cpu_out addr 0x10(l) value 1", 8: "memory_region_ops_write cpu -1 mr POINTER addr 0x10 value 0x1 "
                                                   "size 4 name 'xen-fixed'"}  # fmt: skip
    assert linux == [build.get(number, line) for number, line in enumerate(real[:12], 1)]


QUIRKS = """\
memory_region_ops_read cpu -1 mr POINTER addr 0x10 value 0xffffffffffffffff size 4 name 'xen-fixed'
cpu_in addr 0x10(l) value 4294967295
memory_region_ops_read cpu -1 mr POINTER addr 0x13 value 0xff size 1 name 'xen-fixed'
cpu_in addr 0x13(b) value 255
cpu_out addr 0xf(l) value 1145258561
memory_region_ops_write cpu -1 mr POINTER addr 0xf value 0x41 size 1 name 'dma-cont'
memory_region_ops_write cpu -1 mr POINTER addr 0x10 value 0x4342 size 2 name 'xen-fixed'
memory_region_ops_write cpu -1 mr POINTER addr 0x12 value 0x44 size 1 name 'xen-fixed'
memory_region_ops_read cpu -1 mr POINTER addr 0xc000 value 0x0 size 1 name 'xen-pci'
memory_region_ops_read cpu -1 mr POINTER addr 0xc001 value 0xffffffff size 1 name 'xen-pci'
cpu_in addr 0xc000(w) value 65280
cpu_out addr 0xc008(w) value 10
memory_region_ops_write cpu -1 mr POINTER addr 0xc008 value 0xa size 1 name 'xen-pci'
xen_platform_log xen platform: D
memory_region_ops_write cpu -1 mr POINTER addr 0xc009 value 0x0 size 1 name 'xen-pci'
"""


def test_what_is_odd_about_the_real_device_is_so_here(data: Path) -> None:
    """Values before they are cut to size, accesses that are cut, a line inside the call that ends it (observed)."""
    accesses = (read(0x10, 4), read(0x13, 1), write(0x0F, 4, 0x44434241), read(0, 2, "bar0"), write(8, 2, 10, "bar0"))
    assert without_pointers(Script(accesses).on("qemu-10.0", "qemu-log"))[-15:] == QUIRKS.splitlines()


@pytest.mark.slow
def test_every_access_leaves_the_records_that_it_left_on_the_devices_under_test(corpus: Path) -> None:
    """All of golden.jsonl but what goes to BAR1 and to other devices, which no driver accesses."""
    counted = 0
    for scenario in WHOLE:
        if not refused(scenario) and "-dst-" not in scenario.name and not scenario.name.startswith(("70", "71")):
            counted += compare(scenario)
    assert counted >= 200_000


def compare(scenario: Path) -> int:
    """Trace what was done to a running device in the model, and compare each access with its part of the log."""
    logs = [path for pattern in ("trace.log*", "stderr.txt") for path in sorted(scenario.glob(pattern))]
    if not logs:
        return 0
    log, counted = raw(logs[0]), 0
    absent = {event for events in EVENTS.values() for event in events if event.encode() not in log}
    version = tuple(int(part) for part in version_of(scenario).split("."))
    tracer = Tracer(version, Way(requested=True, config="ports"))  # qtest comes by cpu_inX and cpu_outX, too
    machine = start(scenario)
    for said in steps(scenario):
        if said["op"] == "action" and said["action"] == "system_reset":
            machine = reset(machine)
        if not said.get("space") or "log" not in said or said.get("tag") == "cfgaddr":
            continue
        access, before = access_of(machine, said), machine
        if access is None or access.space == "bar1":
            continue
        machine, _, effects = step(before, access)
        if access.space == "pci-config" and machine.bridges:
            continue
        moment = Accessed(process=0, epoch=0, machine=machine, before=before, access=access,
                          answer=said["value"] if said["dir"] == "r" else None, effects=effects)  # fmt: skip
        traced = [one for one in tracer.records(moment) if one.event not in EVENTS["ioreq"]]
        traced = traced[2:] if access.space == "pci-config" else traced  # 0xcf8 is an access of its own there
        printed = [
            print_event(declaration, one.values) for one in traced
            if one.event not in absent and (declaration := form_of(one.event, version, CATALOGUE))
        ]  # fmt: skip
        real = [line for line in log[slice(*said["log"])].split(b"\n") if line]
        assert [blank(line) for line in printed] == [blank(line) for line in real], (scenario, said)
        counted += 1
    return counted


def blank(line: bytes) -> bytes:
    """A line without its prefix and without the place of its region, which differs from run to run."""
    return re.sub(rb"^(?:\d+@[\d.]+:|[\dT:.-]+Z )|(?<=mr )0x[0-9a-f]+", b"", line)


# -- on another device, and as a user types it


def generated(xptrace: Callable[..., Any], path: Path, *arguments: str) -> Path:
    done = xptrace("generate", *arguments, "-o", path)
    assert (done.code, done.out) == (0, "")
    return path


BLACKLISTED = ("--blacklist", "0xffff:589824", "--blacklist", "2:1", "--blacklist", "1:1")


@pytest.mark.parametrize("profile_name", ["qemu-xen-traditional", "xenserver-trad"])
@pytest.mark.parametrize("driver", ["windows-xenbus", "gplpv", "citrix-legacy"])
def test_a_blacklisted_driver_diverges_at_the_magic_on_a_device_without_a_blacklist(
    tmp_path: Path, xptrace: Callable[..., Any], driver: str, profile_name: str
) -> None:
    device = ("--profile", profile_name, *BLACKLISTED)
    path = generated(xptrace, tmp_path / "guest.log", "--driver", driver, *device)
    assert xptrace("replay", *device, path).code == 0
    other = xptrace("replay", "--profile", "qemu-10.0", "-T", "jsonl", path)
    assert other.code == 1
    first, *_ = [row for row in other.rows if row["agrees"] is False]
    assert (first["register"], first["value"], first["expected"]) == ("magic", 0xD249, 0x49D2)
    assert len([row for row in other.rows if row["agrees"] is False]) == 1


def test_protocol_2_diverges_where_there_is_none(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    device = ("--profile", "xenserver-trad", "--device-id", "0x0002")
    path = generated(xptrace, tmp_path / "guest.log", "--driver", "xenserver-6.1", *device)
    assert xptrace("replay", *device, path).code == 0
    rows = xptrace("replay", "--profile", "qemu-10.0", "-T", "jsonl", path).rows
    wrong = [row for row in rows if row["agrees"] is False]
    assert {(row["register"], row["value"], row["expected"]) for row in wrong} >= {("protocol_version", 2, 1)}


class TestCommand:
    def test_it_writes_the_same_bytes_every_time_to_standard_output_and_to_a_file(
        self, tmp_path: Path, xptrace: Callable[..., Any]
    ) -> None:
        arguments = ("--driver", "windows-xenbus", "--option", "boot_emulated=yes", "--profile", "kvm-xen-10.2",
                     "--format", "qemu-log-iso", "--epochs", "boot,migrate,reboot")  # fmt: skip
        path = generated(xptrace, tmp_path / "win.log", *arguments)
        assert xptrace("generate", *arguments).raw == path.read_bytes()
        driver = find_driver("windows-xenbus")
        lines = generate(driver, parse_options(driver, ["boot_emulated=yes"]), profile("kvm-xen-10.2"),
                         form="qemu-log-iso", epochs=("boot", "migrate", "reboot"))  # fmt: skip
        assert b"".join(lines) == path.read_bytes()
        assert b"UNPLUG: AUX DISKS" in path.read_bytes()

    def test_start_and_gap_set_the_times(self, xptrace: Callable[..., Any]) -> None:
        done = xptrace("generate", "--driver", "netbsd", "--profile", "qemu-7.2", "--start", "2026-11-23T04:05:29Z",
                       "--gap", "2500")  # fmt: skip
        first, *_, last = done.out.splitlines()
        assert first.startswith("2113@1795406729.000000:xen_ioreq_server_create")
        assert last.startswith("2113@1795406729.015000:memory_region_ops_write")

    def test_classes_of_events_may_be_left_out(self, xptrace: Callable[..., Any]) -> None:
        done = xptrace("generate", "--driver", "netbsd", "--events", "cpu", "--format", "qemu-log")
        assert [line.split()[0] for line in done.out.splitlines() if "0xcf8" not in line] == [
            "xen_ioreq_server_create", "runstate_set", "cpu_in", "cpu_out",
        ]  # fmt: skip

    def test_an_inventory_may_be_a_command_line(self, tmp_path: Path, xptrace: Callable[..., Any]) -> None:
        """Two NICs without a link behind an ISA one: the second unplug aborts QEMU 7.2, and it is said."""
        line = tmp_path / "cmdline.txt"
        line.write_text("qemu-system-i386 -M xenfv -drive if=ide,index=0 -device ne2k_isa,netdev=n0 -device e1000\n")
        done = xptrace("generate", "--driver", "linux", "--profile", "qemu-7.2", "--epochs", "boot,resume,reset",
                       "--inventory", line)  # fmt: skip
        assert done.code == 0
        assert re.fullmatch(r"xptrace: the device model aborts: .*; of this process, nothing comes after\n", done.err)

    def test_a_device_that_traces_nothing_is_recorded_as_the_newest_release_would(
        self, xptrace: Callable[..., Any]
    ) -> None:
        done = xptrace("generate", "--driver", "linux", "--profile", "xenserver-trad")
        assert done.err == "xptrace: xenserver-trad traces nothing: the recording has the form of QEMU 10.2\n"
        assert done.out.startswith("2026-01-01T00:00:00Z xen_ioreq_server_create id: 0\n")

    def test_list_names_every_driver_option_and_format(self, xptrace: Callable[..., Any]) -> None:
        done = xptrace("generate", "--list")
        words = set(done.out.split())
        assert {driver.name for driver in DRIVERS} <= words
        assert {option.name for driver in DRIVERS for option in declared(driver.options)} <= words
        assert set(FORMS) <= words
        assert "  qemu-log-pid       QEMU 2.3 to 3.1: always\n" in done.out

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "generate needs --driver NAME; --list names them"),
            (["--driver", "minix"], "no driver 'minix': there are linux, "),
            (["--driver", "linux", "--option", "speed=9"], "linux: no option 'speed': there are xen_emul_unplug, "),
            (["--driver", "linux", "--option", "blkfront=maybe"], "linux: blkfront=maybe: expected yes or no"),
            (["--driver", "linux", "--profile", "qemu-10.9"], "no profile 'qemu-10.9'; did you mean qemu-10."),
            (["--driver", "linux", "--format", "pcap"], "no format 'pcap': there are qemu-log, "),
            (["--driver", "linux", "--format", "qemu-log-pid"],
             "QEMU 10.2 does not write qemu-log-pid, but QEMU 2.3 to 3.1 does"),
            (["--driver", "linux", "--profile", "qemu-2.4", "--format", "syslog-iso"],
             "QEMU 2.4 does not write syslog-iso, but QEMU 2.8 and later does"),
            (["--driver", "linux", "--format", "qemu-log-program"],
             "QEMU 10.2 does not write qemu-log-program, but QEMU 11.0 and later does"),
            (["--driver", "linux", "--epochs", "boot,sleep"], "no epoch 'sleep': there are boot, resume, "),
            (["--driver", "linux", "--epochs", "resume"], "the first epoch is resume, but before anything else"),
            (["--driver", "linux", "--events", "cpu,disk"], "no class of events 'disk': there are ioreq, "),
            (["--driver", "linux", "--start", "tomorrow"], "'tomorrow' is not a time"),
            (["--driver", "linux", "--start", "04:05:29"], "--start: '04:05:29' is of no day"),
            (["--driver", "linux", "--start", "99999999999"], "time_ns: expected nanoseconds since 1970 in 63 bits"),
            (["--driver", "linux", "--gap", "-1"], "the gap between two accesses: expected at least 0, found -1000 ns"),
            (["--driver", "linux", "--device-id", "2"], "the platform device of qemu-10.2 is 5853:0001 revision 1"),
            (["--driver", "linux", "--inventory", "disk9"], "inventory: 'disk9' is no emulated device"),
            (["--driver", "linux", "-o", "/nowhere/at/all.log"], "/nowhere/at/all.log: cannot be written"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_said_in_one_line(
        self, xptrace: Callable[..., Any], arguments: list[str], said: str
    ) -> None:
        done = xptrace("generate", *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"xptrace: {said}")
        assert done.err.count("\n") == 1

    def test_it_imports_neither_numpy_nor_pandas(self) -> None:
        program = (
            "import sys; from xptrace.cli import main\n"
            "main(['generate', '--driver', 'linux'])\n"
            "print(sorted({'numpy', 'pandas', 'scapy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
        assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("version", "name", "written"),
    [
        ((1, 0), None, "qemu-log"), ((2, 2), None, "qemu-log"), ((2, 3), None, "qemu-log-pid"),
        ((3, 1), None, "qemu-log-pid"), ((4, 0), None, "qemu-log-tid"), ((10, 0), None, "qemu-log-tid"),
        ((10, 1), None, "qemu-log-iso"), ((2, 2), "qemu-log", "qemu-log"), ((2, 3), "qemu-log", "qemu-log-pid"),
        ((4, 0), "qemu-log", "qemu-log-tid"), ((5, 2), "qemu-log", "qemu-log-tid"), ((6, 0), "qemu-log", "qemu-log"),
        ((10, 2), "qemu-log", "qemu-log"), ((1, 6), "ftrace", "ftrace"),
    ],
)  # fmt: skip
def test_a_release_s_own_log(version: tuple[int, int], name: str | None, written: str) -> None:
    """Always with a prefix from 2.3 to 5.2, since 6.0 only with -msg timestamp=on, since 10.1 with an ISO time."""
    assert form_for(version, name).name == written
