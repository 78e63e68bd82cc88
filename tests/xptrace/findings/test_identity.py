"""What the platform device says it is: in one boot, and from one boot to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.xptrace.findings.making import (
    PROCESS,
    RUNNING,
    build,
    contexts,
    examined,
    found,
    magic,
    mask,
    preamble,
    product,
    recording,
    said,
    timed,
    version,
)
from xptrace.findings.assess import all_rules, assess
from xptrace.findings.rule import Context

RULES = ("A23", "A24", "A25")
START = [PROCESS, RUNNING]
HEALTHY = ("linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks", "unplug-unnecessary",
           "pvdevice-both", "reboot-twice", "no-platform-pci", "trixie-partial-nofinish")
WINDOWS = [*preamble(0xFFFF, 0x090000), mask(1), mask(2)]
LINUX = [*preamble(), mask(3)]


def reads(kind: str, place: str, offset: int, value: int) -> list[str]:
    """A guest reads four bytes of config space through 0xcf8 and 0xcfc, as QEMU 10 records it."""
    bus, slot = (int(part, 16) for part in place.removesuffix(".0").split(":"))
    return [
        f"cpu_out addr 0xcf8(l) value {1 << 31 | bus << 16 | slot << 11 | offset}",
        f"pci_cfg_read {kind} {place} @0x{offset:x} -> 0x{value:x}",
        f"cpu_in addr 0xcfc(l) value {value}",
    ]


def config(
    device: int = 0x0001, revision: int = 1, subsystem: int = 0x0001, place: str = "00:02.0", kind: str = "xen-platform"
) -> list[str]:
    """A guest reads the ids of a function."""
    return [
        *reads(kind, place, 0, device << 16 | 0x5853), *reads(kind, place, 8, 0xFF800000 | revision),
        *reads(kind, place, 0x2C, subsystem << 16 | 0x5853),
    ]


def pv(device: int = 0xC000, place: str = "00:08.0") -> list[str]:
    """A guest reads the ids of a xen-pvdevice."""
    return config(device, 2, device, place, "xen-pvdevice")


@given(contexts())
@settings(max_examples=100, deadline=None)
def test_no_recording_makes_a_rule_fail(context: Context) -> None:
    book = {number: all_rules()[number] for number in RULES}
    for finding in assess(context, book).findings:
        assert finding.evidence
        assert finding.sentence.startswith(f"{finding.vm}#{finding.boot}: ")


@pytest.mark.parametrize("folder", HEALTHY)
def test_real_guests_keep_their_identity(corpus: Path, folder: str) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / folder).glob("**/qemu-trace*.log*"))
    assert examined(*logs, rules=RULES).findings == []


# -- A23


def test_both_platform_devices_in_one_vm(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*config(), *config(0x0002, 2, place="00:03.0"), *LINUX]), "A23")
    assert finding.severity == "high"
    assert "xen-platform 5853:0001 at 00:02.0 and xen-platform 5853:0002 at 00:03.0" in finding.sentence
    assert [place.line for place in finding.evidence] == [2, 11]


def test_two_drivers_of_different_products_in_one_boot(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*preamble(2, 1), mask(3), *WINDOWS]), "A23")
    assert "product 2 (gplpv-windows)" in finding.sentence
    assert "product 65535 (experimental)" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*config(), *config(place="02:02.0"), *LINUX],  # one device, whose bus was given another number
        [*config(), *pv(), *LINUX],  # the PV device beside it
        [*config(), *reads("xen-platform", "00:03.0", 0, 0xFFFFFFFF), *LINUX],  # nothing answers there
        [*LINUX, *LINUX],  # everything again, after a resume
        [magic(), version(), product(2), *LINUX],  # begun by one, and not finished
    ],
)
def test_look_alikes_of_a_double_binding(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A23") == []


def test_products_of_two_boots_are_two_boots(tmp_path: Path) -> None:
    assert found(tmp_path, timed([*START, *preamble(2, 1), mask(3), *START, *WINDOWS]), "A23") == []


def test_a_program_that_plays_two_drivers_is_told_as_two(corpus: Path) -> None:
    """unplug-never-probe: a program names product 3, build 1, then 65535, and reads the magic after each."""
    log = corpus / "recorded" / "real-xen" / "unplug-never-probe" / "qemu-trace-unplug-never-probe.log.gz"
    (finding,) = examined(log, rules=RULES).findings
    assert "product 3 (linux)" in finding.sentence
    assert [place.line for place in finding.evidence] == [28716, 28720, 28736, 28740]


# -- A24


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (config(0x0002), "device id 0x0001, now 0x0002"),
        (config(revision=2), "revision 0x01, now 0x02"),
        (config(subsystem=0x0002), "subsystem 0x0001, now 0x0002"),
        (config(place="00:05.0"), "place 00:02.0, now 00:05.0"),
    ],
)
def test_windows_meets_another_platform_device(tmp_path: Path, now: list[str], says: str) -> None:
    (finding,) = found(tmp_path, timed([*START, *config(), *WINDOWS, *START, *now, *WINDOWS]), "A24")
    assert (finding.severity, finding.boot) == ("high", 2)
    assert says in finding.sentence
    assert [place.line for place in finding.evidence] == [22, 4]


def test_a_boot_in_between_that_does_not_show_it_hides_nothing(tmp_path: Path) -> None:
    lines = [*START, *config(), *WINDOWS, *START, *WINDOWS, *START, *config(0x0002), *WINDOWS]
    (finding,) = found(tmp_path, timed(lines), "A24")
    assert finding.boot == 3
    assert "in win10#1" in finding.sentence


def test_the_pv_device_has_an_identity_as_well(tmp_path: Path) -> None:
    lines = [*START, *config(), *pv(), *WINDOWS, *START, *config(), *pv(0xC200), *WINDOWS]
    (finding,) = found(tmp_path, timed(lines), "A24")
    assert "device id 0xc000, now 0xc200" in finding.sentence


def test_linux_does_not_mind(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*START, *config(), *LINUX, *START, *config(0x0002), *LINUX]), "A24")
    assert finding.severity == "low"
    assert "Linux (pvops), 2.6.36 and later does not need the function" in finding.sentence


@pytest.mark.parametrize(
    "now",
    [
        config(),
        config(place="01:02.0"),
        config()[:3],
        ["pci_cfg_write xen-platform 00:02.0 @0x10 <- 0xc100"],
        reads("xen-platform", "00:05.0", 0, 0xFFFFFFFF),
    ],
)
def test_what_is_the_same_or_was_not_read_is_no_change(tmp_path: Path, now: list[str]) -> None:
    assert found(tmp_path, timed([*START, *config(), *WINDOWS, *START, *now, *WINDOWS]), "A24") == []


def test_another_vms_device_is_another_device(tmp_path: Path) -> None:
    one = recording(tmp_path, timed([*config(), *WINDOWS]), "one")
    two = recording(tmp_path, timed([*config(0x0002), *WINDOWS]), "two")
    assert examined(one, two, rules=("A24",)).findings == []


# -- A25


def test_a_real_pv_device_without_a_platform_device(corpus: Path) -> None:
    """QEMU with xen-pvdevice (5853:c000) alone, as its command line says."""
    log = corpus / "recorded" / "qemu-oracle" / "10.0.13" / "52-pvdevice-default-c000" / "trace.log"
    (finding,) = examined(log, rules=RULES).findings
    assert (finding.rule.id, finding.severity, finding.certainty) == ("A25", "high", "assumed")
    assert "xen-pvdevice 5853:c000 at 00:03.0" in finding.sentence
    log = log.parent.parent / "52-pvdevice-vendor-fffd" / "trace.log"
    (finding,) = examined(log, rules=("A25",)).findings
    assert "xen-pvdevice fffd:0101 at 00:03.0" in finding.sentence


def test_a_probe_that_finds_nothing_makes_it_certain(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, timed([*pv(), magic(0xFFFF)]), "A25")
    assert finding.certainty == "derived"
    assert "port 0x10 reads 0xffff" in finding.sentence


@pytest.mark.parametrize(
    "lines",
    [
        [*pv(), *config()],
        [*pv(), *LINUX],
        [*pv(), said("a line of its log")],
        [*pv()[3:], build(1)],  # which of Xen's functions it is, was not read
        [*config(), *LINUX],
        [*START, *config(), *pv(), *LINUX, *START, *pv()],  # another boot shows it
    ],
)
def test_look_alikes_of_a_lonely_pv_device(tmp_path: Path, lines: list[str]) -> None:
    assert found(tmp_path, timed(lines), "A25") == []
