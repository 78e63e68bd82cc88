"""What a device model of a certain release does: what goes with an unplug, what stays, what never comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.xptrace.findings.making import (
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
from xptrace.findings.assess import Finding, all_rules, assess
from xptrace.findings.rule import Context
from xptrace.model.profiles import profile

RULES = tuple(f"A{number}" for number in range(35, 50) if number not in (38, 43, 44, 45))
HEALTHY = ("linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks", "unplug-unnecessary",
           "reboot-twice", "no-platform-pci", "trixie-partial-nofinish", "failed-two-nics")
Lines = list[str | float]
START = [PROCESS, RUNNING]
WAITS = frontend(768, "Initialising")
CONNECTS = frontend(768, "Connected")


def of_device(folder: Path, lines: Lines, rule: str, *names: str) -> list[Finding]:
    """What a rule finds where the device is one of these profiles."""
    stories = examined(recording(folder, timed(lines)), rules=()).stories
    context = Context(stories, {"win10": [profile(name) for name in names]})
    return assess(context, {rule: all_rules()[rule]}).findings


def traces(corpus: Path, folder: str) -> list[Path]:
    return sorted((corpus / "recorded" / "real-xen" / folder).glob("**/qemu-trace*.log*"))


@given(contexts())
@settings(max_examples=100, deadline=None)
def test_no_recording_makes_a_rule_fail(context: Context) -> None:
    book = {number: all_rules()[number] for number in RULES}
    for finding in assess(context, book).findings:
        assert finding.evidence
        assert finding.sentence.startswith(f"{finding.vm}#{finding.boot}: ")


@pytest.mark.parametrize("folder", HEALTHY)
def test_healthy_guests_on_real_xen_give_nothing(corpus: Path, folder: str) -> None:
    assert examined(*traces(corpus, folder), rules=RULES).findings == []


# -- A35


def test_a_program_that_writes_the_flags_after_the_kernel_has_probed(corpus: Path) -> None:
    """all-events: a user program writes every size to port 0x10 and to BAR0."""
    findings = examined(*traces(corpus, "all-events"), rules=RULES).findings
    assert [(one.rule.id, one.severity) for one in findings] == [("A35", "medium")]
    assert "flags 0x01 (ROM area read-only) written at 04:06:02.7 UTC, the first of 3 writes" in findings[0].sentence


def test_where_the_lock_is_only_remembered_it_is_mild(tmp_path: Path) -> None:
    (finding,) = of_device(tmp_path, [magic(), write(0x10, 1, 0)], "A35", "kvm-xen-8.0")
    assert finding.severity == "low"
    assert "only remembers the bit" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [write(0x10, 1, 0), write(0x10, 1, 1), *preamble(), mask(3)],  # rombios
        [*START, *preamble(), mask(3), *START, write(0x10, 1, 0), write(0x10, 1, 1)],  # and at the next boot
        [write(0x10, 1, 0)],
    ],
)
def test_firmware_may_write_the_flags(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A35") == []


# -- A36


def test_accesses_to_bar1_are_told_once(corpus: Path) -> None:
    """pvdevice-both: a program reads and writes BAR1 of xen-pvdevice."""
    (finding,) = examined(*traces(corpus, "pvdevice-both"), rules=RULES).findings
    assert (finding.rule.id, finding.severity, len(finding.evidence)) == ("A36", "medium", 8)


def test_a_recording_without_bar1_does_not_tell(tmp_path: Path) -> None:
    done = examined(recording(tmp_path, timed([*preamble(), mask(3)])), rules=("A36",))
    assert [one.missing for one in done.unassessed] == [("bar1",)]


# -- A37


def test_a_virtio_disk_goes_with_the_ide_disks_and_no_pv_disk_takes_over(corpus: Path) -> None:
    """unplug-steps: mask 1 takes 00:07.0, a virtio-blk controller, from a guest without PV drivers."""
    (finding,) = examined(*traces(corpus, "unplug-steps"), rules=RULES).findings
    assert (finding.rule.id, finding.severity, finding.certainty) == ("A37", "high", "derived")
    assert "took away PCI function 00:07.0" in finding.sentence


GONE = "xen_unmap_pcidev id: 0 bdf: 00.07.00"


@pytest.mark.parametrize(
    "lines",
    [
        [*START, WAITS, *preamble(), mask(1), GONE, 100, CONNECTS, said("")],  # a PV disk takes over
        [*START, WAITS, *preamble(), mask(3), GONE, 100, said("")],  # it may be a NIC
        [*START, WAITS, *preamble(), mask(2), GONE, 100, said("")],  # it is a NIC
        [*START, WAITS, *preamble(), mask(9), GONE, 100, said("")],  # it may be an NVMe disk, as asked for
        [*START, WAITS, *preamble(), mask(1), mask(2), GONE, 100, said("")],
        [*START, WAITS, *preamble(), mask(1), GONE, 30, said("")],
        [*START, WAITS, *preamble(), mask(1), 100, "xen_ioreq_server_destroy id: 0", GONE],  # the machine ends
    ],
)
def test_look_alikes_of_a_lost_controller(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed(lines), "A37") == []


# -- A39, A40, A41: by release


@pytest.mark.parametrize(("names", "stays"), [
    (("qemu-1.0", "qemu-2.1"), True), (("qemu-2.2",), False), (("qemu-2.1", "qemu-2.2"), False), ((), False),
])
@pytest.mark.parametrize("disk", [5696, 51760])
def test_the_fourth_disk_stays_until_qemu_2_2(tmp_path: Path, names: tuple[str, ...], stays: bool, disk: int) -> None:
    lines: Lines = [*preamble(), mask(3), frontend(768, "Connected"), frontend(disk, "Connected")]
    findings = of_device(tmp_path, lines, "A39", *names)
    assert [(one.severity, one.certainty) for one in findings] == [("high", "derived")] * stays


@pytest.mark.parametrize(
    "lines",
    [
        [*preamble(), mask(3), frontend(832, "Connected")],  # the second disk
        [*preamble(), mask(3), frontend(5696, "Initialising")],
        [*preamble(), mask(2), frontend(5696, "Connected")],
    ],
)
def test_look_alikes_of_the_fourth_disk(tmp_path: Path, lines: Lines) -> None:
    assert of_device(tmp_path, lines, "A39", "qemu-1.7") == []


def test_qemu_1_0_leaves_the_emulated_nic(tmp_path: Path) -> None:
    lines: Lines = [*preamble(), mask(2)]
    assert [one.certainty for one in of_device(tmp_path, lines, "A40", "qemu-1.0")] == ["assumed"]
    pv = frontend(0, "Connected", "xen-net-device")
    assert [one.certainty for one in of_device(tmp_path, [*lines, pv], "A40", "qemu-1.0")] == ["derived"]
    assert of_device(tmp_path, lines, "A40", "qemu-1.1") == []
    assert of_device(tmp_path, lines, "A40", "qemu-1.0", "qemu-1.1") == []
    assert of_device(tmp_path, [*preamble(), mask(1)], "A40", "qemu-1.0") == []


@pytest.mark.parametrize(("name", "dies"), [("qemu-2.9", False), ("qemu-2.10", True), ("kvm-xen-8.1", True),
                                            ("qemu-8.2", False)])
def test_a_pv_nic_of_qemus_own_loses_its_back_end_until_qemu_8_2(tmp_path: Path, name: str, dies: bool) -> None:
    nic = "xs_node_vprintf /local/domain/0/backend/qnic/1/0/state 4"
    lines: Lines = [nic, *preamble(), mask(3)]
    assert [one.severity for one in of_device(tmp_path, lines, "A41", name)] == ["high"] * dies


def test_without_a_pv_nic_or_with_the_nics_left_alone_none_dies(tmp_path: Path) -> None:
    nic = "xs_node_vprintf /local/domain/0/backend/qnic/1/0/state 4"
    assert of_device(tmp_path, [nic, *preamble(), mask(1)], "A41", "qemu-7.2") == []
    assert of_device(tmp_path, [*preamble(), mask(3)], "A41", "qemu-7.2") == []


# -- A42: QEMU 8.0 puts the bus master BAR from 0xc120 to 0xc100, where the USB controller's is (856ca10f9c)


def mapped(function: str, bar: int, base: int, size: int, how: str = "add") -> str:
    """A BAR that the device model maps or unmaps."""
    return f"pci_update_mappings_{how} d=0x5610 {function} {bar},0x{base:x}+0x{size:x}"


USB, IDE = mapped("00:01.2", 4, 0xC100, 0x20), mapped("00:01.1", 4, 0xC120, 0x10)
CUT = [mapped("00:01.1", 4, 0xC120, 0x10, "del"), mapped("00:01.1", 4, 0xC100, 0x10)]


def test_the_bus_master_bar_comes_to_lie_on_the_usb_controllers(tmp_path: Path) -> None:
    lines: Lines = [USB, IDE, *preamble(), mask(1), *CUT]
    (finding,) = found(tmp_path, timed(lines), "A42")
    assert (finding.severity, finding.certainty) == ("high", "observed")
    assert "BAR4 of 00:01.1 (ports 0xc100 to 0xc10f)" in finding.sentence
    assert "onto BAR4 of 00:01.2 (ports 0xc100 to 0xc11f)" in finding.sentence
    assert [place.line for place in finding.evidence] == [8, 10, 1]


@pytest.mark.parametrize(
    "lines",
    [
        [USB, IDE, *preamble(), mask(1), CUT[0], mapped("00:01.1", 4, 0xC120, 0x10)],  # as since 8.1
        [USB, IDE, *preamble(), mask(1), CUT[0]],  # it goes, and does not come back
        [USB, IDE, *CUT, *preamble(), mask(1)],  # whatever moved it, the unplug did not
        [USB, IDE, *preamble(), mask(2), *CUT],  # no disks were unplugged
        [USB, IDE, *preamble(), mask(1), mapped("00:01.2", 4, 0xC100, 0x20, "del"), *CUT],  # nothing is there any more
        [USB, IDE, *preamble(), mask(1), CUT[0], mapped("00:01.1", 4, 0xF0000000, 0x10)],  # memory, not a port
    ],
)
def test_look_alikes_of_overlapping_bars(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed(lines), "A42") == []


def test_without_the_mappings_nothing_is_said_of_overlaps(tmp_path: Path) -> None:
    done = examined(recording(tmp_path, timed([*preamble(), mask(1)])), rules=("A42",))
    assert [one.missing for one in done.unassessed] == [("mapping",)]


# -- A46


def by_kvm(direction: str, port: int, size: int, value: int) -> str:
    """An access as QEMU records it where KVM runs the guest."""
    said = f"cpu 0 mr 0x5610 addr 0x{port:x} value 0x{value:x} size {size} name 'xen-fixed'"
    return f"memory_region_ops_{direction} {said}"


UNPLUGS: Lines = [by_kvm("read", 0x10, 2, 0x49D2), by_kvm("write", 0x10, 2, 3)]


def test_a_reset_in_place_brings_nothing_back(tmp_path: Path) -> None:
    lines: Lines = [*UNPLUGS, 100, RESET, by_kvm("write", 0x10, 1, 1)]
    (finding,) = found(tmp_path, timed(lines), "A46")
    assert (finding.severity, finding.certainty, finding.boot) == ("medium", "assumed", 2)
    (finding,) = of_device(tmp_path, lines, "A46", "kvm-xen-9.0")
    assert finding.certainty == "derived"
    assert "what win10#1 had unplugged with mask 0x0003" in finding.sentence


def test_a_guest_that_boots_again_all_the_same_makes_it_mild(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*UNPLUGS, RESET, *UNPLUGS]), "A46")
    assert finding.severity == "low"
    assert "it booted all the same" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*START, *preamble(), mask(3), *START, *preamble(), mask(3)],  # a reboot on real Xen
        [*START, *preamble(), mask(3), "qemu_system_reset_request ", magic()],
        [*preamble(), mask(3), RESET, magic()],  # an access by cpu_in does not come from KVM
        [by_kvm("read", 0x10, 2, 0x49D2), RESET, *UNPLUGS],  # nothing was unplugged before
        [*UNPLUGS, RESET],  # nothing came after
    ],
)
def test_look_alikes_of_a_reset_in_place(tmp_path: Path, lines: Lines) -> None:
    assert found(tmp_path, timed(lines), "A46") == []


# -- A47, A48: XenServer's protocol 2

CHOOSES = [write(0x11, 1, 0), write(0x13, 1, 2)]
NAMES = [version(2), write(0x12, 2, 3), write(0x10, 4, 0x0202), magic()]
TAKES = [write(0x11, 1, 1), write(0x13, 1, 0)]
"""What XenServer 6.1's driver does: it chooses protocol 2, names itself, unplugs IDE disk 0."""


def test_a_reader_of_the_version_pins_it_before_the_driver_chooses(tmp_path: Path) -> None:
    lines: Lines = [magic(), version(1), magic(), *CHOOSES, version(1)]
    (finding,) = of_device(tmp_path, lines, "A47", "xenserver-trad")
    assert (finding.severity, finding.certainty) == ("high", "derived")
    assert [place.line for place in finding.evidence] == [2, 5]
    assert [one.certainty for one in of_device(tmp_path, lines, "A47")] == ["assumed"]
    assert of_device(tmp_path, lines, "A47", "qemu-10.0") == []  # it has no protocol 2 to be pinned out of
    assert of_device(tmp_path, lines, "A48", "xenserver-trad") == []


def test_a_mask_in_protocol_2_is_not_heard(tmp_path: Path) -> None:
    lines: Lines = [magic(), *CHOOSES, *NAMES, mask(3)]
    (finding,) = of_device(tmp_path, lines, "A48", "xenserver-trad")
    assert "mask 0x0003" in finding.sentence
    assert "means nothing in protocol 2" in finding.sentence
    assert of_device(tmp_path, lines, "A48", "qemu-10.0") == []


def test_an_index_in_protocol_1_is_not_heard(tmp_path: Path) -> None:
    (finding,) = of_device(tmp_path, [magic(), version(1), *TAKES], "A48", "xenserver-trad")
    assert "unplug of index 0" in finding.sentence
    assert "protocol 1" in finding.sentence


@pytest.mark.parametrize("rule", ["A47", "A48"])
@pytest.mark.parametrize(
    "lines",
    [
        [magic(), *CHOOSES, *NAMES, *TAKES],  # the driver of XenServer 6.1
        [magic(), *CHOOSES, *NAMES, *TAKES, magic(), *CHOOSES, *NAMES, *TAKES],  # and again at its resume
        [*preamble(), mask(3)],
    ],
)
def test_look_alikes_of_a_mixed_up_protocol(tmp_path: Path, rule: str, lines: Lines) -> None:
    assert of_device(tmp_path, lines, rule, "xenserver-trad") == []
