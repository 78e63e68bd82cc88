"""Who owns disks and NICs: two ways to one image, none at all, and devices that come back after a migration."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.xptrace.findings.making import (
    MIGRATED,
    PROCESS,
    RESET,
    RUNNING,
    contexts,
    examined,
    found,
    frontend,
    magic,
    mask,
    preamble,
    recording,
    said,
    timed,
    version,
    write,
)
from xptrace.access.signs import XENBUS_STATES
from xptrace.findings.assess import all_rules, assess
from xptrace.findings.rule import Context
from xptrace.findings.rules.ownership import twin
from xptrace.model.profiles import profile

Lines = list[str | float]
RULES = ("A13", "A14", "A15", "A20", "A21", "A51")
HEALTHY = ("linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks", "all-events",
           "no-platform-pci", "unplug-unnecessary", "reboot-twice", "pvdevice-both")
START = [PROCESS, RUNNING]
CONNECTS = frontend(768, "Connected")
CYCLE = [frontend(768, state) for state in ("Initialising", "Initialised", "Connected", "Closing", "Closed")]
"""What OVMF and iPXE do with a disk that they boot from, before anything touches the ports."""


def store(path: str, value: str) -> str:
    """A node of xenstore that the device model writes."""
    return f"xs_node_vprintf {path} {value}"


def of_device(folder: Path, lines: list[str], rule: str, *names: str) -> list[str]:
    """The sentences of a rule where the device is one of these profiles."""
    stories = examined(recording(folder, lines), rules=()).stories
    context = Context(stories, {"win10": [profile(name) for name in names]})
    return [one.sentence for one in assess(context, {rule: all_rules()[rule]}).findings]


def traces(corpus: Path, folder: str) -> list[Path]:
    return sorted((corpus / "recorded" / "real-xen" / folder).glob("**/qemu-trace*.log*"))


@given(contexts())
@settings(max_examples=100, deadline=None)
def test_no_recording_makes_a_rule_fail(context: Context) -> None:
    book = {number: all_rules()[number] for number in RULES}
    for finding in assess(context, book).findings:
        assert finding.evidence
        assert finding.sentence.startswith(f"{finding.vm}#{finding.boot}: ")


def backend(name: int, state: str) -> str:
    """A state of the back end of a PV disk."""
    return f"xen_device_backend_state type: xen-disk name: {name} -> XenbusState{state}"


_LINES = st.one_of(
    st.builds(frontend, st.sampled_from((768, 832, 5632, 5696, 51712, 2048, "x")), st.sampled_from(XENBUS_STATES)),
    st.builds(backend, st.sampled_from((768, 832)), st.sampled_from(XENBUS_STATES)),
    st.builds(mask, st.integers(0, 15)), st.builds(magic, st.sampled_from((0x49D2, 0xD249))),
    st.sampled_from((PROCESS, RUNNING, MIGRATED, RESET, version(), "xen_unmap_pcidev id: 0 bdf: 00.07.00",
                     frontend(0, "Connected", "xen-net-device"), said("SUSPEND: EARLY (0)"))),
    st.floats(0, 100),
)


@given(st.lists(_LINES, max_size=30), st.booleans())
@settings(max_examples=100, deadline=None)
def test_no_order_of_what_happens_makes_a_rule_fail(lines: Lines, clock: bool) -> None:
    with TemporaryDirectory() as folder:
        log = timed(lines) if clock else [line for line in lines if isinstance(line, str)]
        findings = examined(recording(Path(folder), log)).findings
    assert all(1 <= len(one.evidence) <= 8 for one in findings if one.rule.id in {*RULES, "A37", "A40", "A46"})


@pytest.mark.parametrize("folder", HEALTHY)
def test_healthy_guests_on_real_xen_give_nothing(corpus: Path, folder: str) -> None:
    assert examined(*traces(corpus, folder), rules=RULES).findings == []


def test_a_program_that_unplugs_disks_of_a_guest_without_pv_drivers_leaves_it_diskless(corpus: Path) -> None:
    """unplug-steps: a kernel with xen_emul_unplug=never, and a user program that writes masks."""
    findings = examined(*traces(corpus, "unplug-steps"), rules=RULES).findings
    assert [(one.rule.id, one.severity, one.certainty) for one in findings] == [
        ("A14", "high", "observed"), ("A51", "high", "observed"),
    ]
    assert "vbd/768 (hda)" in findings[0].sentence
    assert "in the 60.2 s that follow" in findings[0].sentence


@pytest.mark.parametrize(
    ("device", "name", "bus", "index"),
    [("vbd/768", "hda", "ide", 0), ("vbd/832", "hdb", "ide", 1), ("vbd/5632", "hdc", "ide", 2),
     ("vbd/5696", "hdd", "ide", 3), ("vbd/51712", "xvda", "ide", 0), ("vbd/51760", "xvdd", "ide", 3),
     ("vbd/2048", "sda", "scsi", 0)],
)
def test_the_number_of_a_pv_disk_tells_its_twin(device: str, name: str, bus: str, index: int) -> None:
    known = twin(device)
    assert known is not None
    assert (known.name, known.bus, known.index) == (name, bus, index)


@pytest.mark.parametrize("device", ["vbd/51776", "vbd/769", "vbd/x", "vbd/", "", "vbd/٣", "vbd/268439552"])
def test_a_fifth_disk_a_partition_and_nonsense_have_no_twin(device: str) -> None:
    assert twin(device) is None


# -- A13


def test_a_driver_that_is_accepted_and_connects_a_disk_without_unplug_has_it_twice(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*START, *preamble(), CONNECTS]), "A13")
    assert (finding.severity, finding.certainty) == ("high", "derived")
    assert [place.line for place in finding.evidence] == [3, 7, 8]
    assert "vbd/768 (hda) connected at 04:05:29.1 UTC" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*preamble(), mask(3), CONNECTS],
        preamble(0xFFFF, 0x090000),  # the first boot of Windows after its drivers were installed
        [*CYCLE, *preamble()],  # firmware's own PV disk
        [CONNECTS, *preamble()],  # whatever comes first, OpenBSD's unplug may be still to come
        [*preamble(), frontend(5632, "Connected")],  # a CD-ROM, as far as its number tells
        [*preamble(), frontend(51776, "Connected")],  # xvde, which is not emulated
        [*preamble(verdict=0xD249), CONNECTS],  # refused: another rule's
        [version(), magic(), CONNECTS],  # begins in the middle of a handshake
        [CONNECTS],
        # XenServer's protocol 2
        [magic(), write(0x11, 1, 0), write(0x13, 1, 2), write(0x11, 1, 1), write(0x13, 1, 0), CONNECTS],
    ],
)
def test_look_alikes_of_double_access(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A13") == []


def test_a_disk_that_is_named_as_such_counts_whatever_its_number(tmp_path: Path) -> None:
    named = store("/local/domain/1/device/vbd/5632/device-type", "disk")
    assert found(tmp_path, timed([named, *preamble(), frontend(5632, "Connected")]), "A13")
    named = store("/local/domain/1/device/vbd/768/device-type", "cdrom")
    assert found(tmp_path, timed([named, *preamble(), CONNECTS]), "A13") == []


def test_where_qemu_emulates_xen_pv_disks_have_no_emulated_twin(tmp_path: Path) -> None:
    lines = [*preamble(), CONNECTS]
    assert of_device(tmp_path, lines, "A13", "kvm-xen-9.0") == []
    assert of_device(tmp_path, lines, "A13", "kvm-xen-9.0", "qemu-9.0")
    assert of_device(tmp_path, lines, "A13", "qemu-9.0")


# -- A15


def test_a_disk_connects_although_only_nics_were_unplugged(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*START, *preamble(), mask(2), CONNECTS]), "A15")
    assert (finding.severity, finding.certainty) == ("high", "derived")
    assert "mask 0x0002 (NICs)" in finding.sentence


def test_a_nic_connects_although_only_disks_were_unplugged(tmp_path: Path) -> None:
    lines = [*START, *preamble(), mask(1), CONNECTS, frontend(0, "Connected", "xen-net-device")]
    (finding,) = found(tmp_path, timed(lines), "A15")
    assert finding.severity == "medium"
    assert "vif/0" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*preamble(), mask(2)],  # NICs alone, as asked for
        [*preamble(), mask(1), CONNECTS],  # disks alone
        [*preamble(), mask(2), mask(1), CONNECTS],  # a mask in two parts
        [*preamble(), mask(4), frontend(832, "Connected")],  # every disk but the first
        [*preamble(), mask(8), CONNECTS],  # bit 3 alone takes all disks on QEMU 10
        [*CYCLE, *preamble(), mask(2)],
        [*preamble(), mask(2), frontend(51776, "Connected")],
    ],
)
def test_look_alikes_of_half_an_unplug(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed([*START, *lines]), "A15") == []


def test_a_recording_that_begins_after_the_first_mask_says_nothing_of_what_was_left(tmp_path: Path) -> None:
    assert found(tmp_path, timed([mask(2), CONNECTS]), "A15") == []


def test_the_first_disk_stays_with_mask_bit_2(tmp_path: Path) -> None:
    lines = [*START, *preamble(), mask(4), CONNECTS, frontend(832, "Connected")]
    (finding,) = found(tmp_path, timed(lines), "A15")
    assert "vbd/768 (hda), which connected" in finding.sentence


@pytest.mark.parametrize(
    ("device", "value", "names", "stays"),
    [
        (768, 8, ("qemu-2.8",), True),  # no NVMe bit yet
        (768, 8, ("qemu-2.10",), False),
        (768, 8, ("qemu-2.8", "qemu-2.10"), False),  # which of them is not known
        (832, 4, ("qemu-2.8",), True),  # bit 2 does not work yet
        (832, 4, ("qemu-2.9",), False),
        (2048, 1, ("qemu-2.7",), True),  # SCSI controllers do not go yet
        (2048, 1, ("qemu-2.8",), False),
        (2048, 4, ("qemu-10.2",), True),
    ],
)
def test_what_a_mask_leaves_depends_on_the_release(
    tmp_path: Path, device: int, value: int, names: tuple[str, ...], stays: bool
) -> None:
    lines = [*preamble(), mask(value), frontend(device, "Connected")]
    assert bool(of_device(tmp_path, lines, "A15", *names)) is stays


# -- A20


def test_disks_that_are_unplugged_while_a_pv_disk_is_open(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*START, frontend(768, "Initialised"), CONNECTS, *preamble(), mask(3)]), "A20")
    assert finding.severity == "high"
    assert [place.line for place in finding.evidence] == [10, 4]
    assert "6 ms earlier" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [CONNECTS, magic(), mask(7)],  # OpenBSD
        [*CYCLE, *preamble(), mask(3), CONNECTS],
        [*preamble(), mask(3), CONNECTS],
        [*preamble(), mask(3), CONNECTS, *preamble(), mask(3)],  # again, after a resume
        [CONNECTS, *preamble(), mask(2)],  # no disks
        [frontend(51776, "Connected"), *preamble(), mask(3)],
    ],
)
def test_look_alikes_of_a_late_unplug(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed([*START, *lines]), "A20") == []


# -- A14


WAITS = frontend(768, "Initialising")


def test_disks_are_gone_and_the_frontend_never_connects(tmp_path: Path) -> None:
    lines: Lines = [*START, WAITS, *preamble(), mask(3), 61, said("still here")]
    (finding,) = found(tmp_path, timed(lines), "A14")
    assert (finding.severity, finding.certainty) == ("high", "assumed")
    assert finding.sentence.startswith("win10#1: disks were unplugged at 04:05:29.1 UTC (mask 0x0003), and no PV disk")


def test_a_boot_that_is_seen_to_end_shows_it_for_certain(tmp_path: Path) -> None:
    lines: Lines = [*START, WAITS, *preamble(), mask(3), 61, "xen_ioreq_server_destroy id: 0"]
    (finding,) = found(tmp_path, timed(lines), "A14")
    assert finding.certainty == "observed"


def test_firmware_that_had_the_disk_and_closed_it_does_not_count(tmp_path: Path) -> None:
    assert found(tmp_path, timed([*START, *CYCLE, *preamble(), mask(3), 61, said("")]), "A14")


@pytest.mark.parametrize(
    "lines",
    [
        [WAITS, *preamble(), mask(3), 100, CONNECTS, 100, said("")],  # a slow machine
        [WAITS, *preamble(), mask(3), 50, said("")],  # the recording ends too early to tell
        [WAITS, *preamble(), mask(3)],
        [WAITS, *preamble(), mask(2), 100, said("")],  # NICs alone
        [WAITS, *preamble(), mask(8), mask(2), 100],
        [frontend(5632, "Initialising"), *preamble(), mask(3), 100, said("")],  # a CD-ROM; disks are the kernel's
        [CONNECTS, magic(), mask(7), 100, said("")],  # OpenBSD
        [frontend(832, "Initialising"), CONNECTS, magic(), mask(7), 100, said("")],
        [WAITS, *preamble(), 100, said("")],
        [WAITS, *preamble(), mask(4), 100, said("")],  # the first disk stays
    ],
)
def test_look_alikes_of_a_diskless_guest(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed([*START, *lines]), "A14") == []


def test_without_a_clock_it_cannot_be_assessed(tmp_path: Path) -> None:
    done = examined(recording(tmp_path, [*START, WAITS, *preamble(), mask(3), said("")]), rules=("A14",))
    assert done.findings == []
    assert [one.missing for one in done.unassessed] == [("time",)]


def test_patience_is_the_users_to_give(tmp_path: Path) -> None:
    log = recording(tmp_path, timed([WAITS, *preamble(), mask(3), 61, said("")]))
    stories = examined(log, rules=()).stories
    patient = Context(stories, {}, 120 * 10**9)
    assert assess(patient, {"A14": all_rules()["A14"]}).findings == []


# -- A51


def test_one_of_two_disks_finds_no_driver(tmp_path: Path) -> None:
    lines: Lines = [*START, backend(832, "InitWait"), frontend(832, "Initialising"), *preamble(), mask(3), CONNECTS, 61,
                    said("")]
    (finding,) = found(tmp_path, timed(lines), "A51")
    assert "vbd/832 (hdb) waits for the guest's driver" in finding.sentence
    assert finding.certainty == "assumed"


@pytest.mark.parametrize(
    "lines",
    [
        [backend(5632, "InitWait"), frontend(5632, "Initialising"), *preamble(), mask(3), 61, said("")],
        [backend(832, "InitWait"), frontend(832, "Initialising"), *preamble(), mask(3), 59, said("")],
        [backend(832, "InitWait"), frontend(832, "Initialising"), *preamble(), mask(2), 61, said("")],
        [backend(832, "Initialising"), frontend(832, "Initialising"), *preamble(), mask(3), 61, said("")],
        [backend(832, "InitWait"), frontend(832, "Initialising"), *preamble(), mask(3), 70,
         frontend(832, "Initialised"), backend(832, "Connected"), frontend(832, "Connected")],
    ],
)
def test_look_alikes_of_a_device_without_a_driver(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed([*START, *lines]), "A51") == []


# -- A21

FIRST: Lines = [*START, *preamble(), mask(3), CONNECTS, 300]
"""A boot that unplugs, up to the migration of its guest."""
TARGET = [PROCESS, WAITS, MIGRATED]


def test_a_guest_that_does_not_unplug_again_at_the_destination(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*FIRST, *TARGET, 61, said("hello")]), "A21")
    assert (finding.severity, finding.boot) == ("high", 2)
    assert "in win10#1, mask 0x0003 had taken away" in finding.sentence


def test_the_real_migration_without_the_accesses_of_its_target(corpus: Path, tmp_path: Path) -> None:
    """migrate-local, the lines about the fixed ports left out of the second device model's log."""
    for log in traces(corpus, "migrate-local"):
        lines = gzip.decompress(log.read_bytes()).splitlines(keepends=True)
        if "375" in log.name:
            lines = [line for line in lines if b" addr 0x1" not in line and b"port=0x1" not in line]
        (tmp_path / log.name.removesuffix(".gz")).write_bytes(b"".join(lines))
    (finding,) = examined(*sorted(tmp_path.glob("*.log")), rules=("A21",)).findings
    assert (finding.boot, finding.certainty) == (2, "assumed")
    assert "PV device vbd/768 connected" in finding.sentence


def test_windows_that_resumes_in_a_new_device_model(tmp_path: Path) -> None:
    lines: Lines = [*FIRST, *START, said("SUSPEND: EARLY (0)"), said("SUSPEND: LATE (0)"), 61, said("later")]
    (finding,) = found(tmp_path, timed(lines), "A21")
    assert "the guest resumed" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*FIRST, *TARGET, 1, *preamble(), mask(3), 100, said("")],
        [*FIRST, *TARGET, 1, mask(3), 100, said("")],  # GPLPV: the mask alone
        [*FIRST, *TARGET, 30, said("")],  # too early to tell
        [*FIRST, PROCESS, WAITS, 300, MIGRATED, said("")],  # the target waited for its guest
        [*START, *preamble(), 300, *TARGET, 61, said("")],  # it had not unplugged before
        [*FIRST, *START, *preamble(), 61, said("")],  # a reboot
        [*FIRST, said("SUSPEND: EARLY (0)"), 61, said("")],  # in the same device model nothing came back
        [*TARGET, 61, said("")],  # what was before is not recorded
        [*FIRST, *TARGET, "runstate_set current_run_state 9 (running) new_state 4 (paused)", 61, said("")],
    ],
)
def test_look_alikes_of_devices_that_come_back(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed(lines), "A21") == []


@pytest.mark.parametrize(("told", "finds"), [(["xen_map_pcidev id: 0 bdf: 00.02.00"], 1), ([], 0)])
def test_a_target_whose_recording_holds_less_than_the_first_one_tells_nothing(
    tmp_path: Path, told: list[str], finds: int
) -> None:
    (tmp_path / "first").mkdir()
    first = recording(tmp_path / "first", timed([PROCESS, "xen_map_pcidev id: 0 bdf: 00.02.00", *FIRST[1:]]))
    second = recording(tmp_path, timed([400, PROCESS, *told, *TARGET[1:], 61, CONNECTS]))
    done = examined(first, second, rules=("A21",))
    assert [story.began for story in done.stories] == ["process", "migration"]
    assert len(done.findings) == finds
