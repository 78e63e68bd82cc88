"""Rules about what the masks leave, with the inventory that the user gives; the logs are written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.xptrace.findings.making import (
    PROCESS,
    RUNNING,
    examined,
    frontend,
    mask,
    preamble,
    recording,
    timed,
)
from xptrace.findings.assess import Finding, all_rules, assess
from xptrace.findings.rule import Context
from xptrace.model.inventory import parse
from xptrace.model.profiles import profile

Lines = list[str | float]


def found(folder: Path, xptrace: Callable[..., Any], value: int, inventory: str | Path) -> dict[str, str]:
    log = recording(folder, timed([PROCESS, RUNNING, *preamble(), mask(value)]))
    done = xptrace("check", "-T", "jsonl", "--inventory", inventory, log)
    return {row["rule"]: row["sentence"] for row in done.rows if row["rule"] in ("A16", "A38", "A44", "A45")}


@pytest.mark.parametrize(
    ("value", "inventory", "rules"),
    [
        (3, "ide0,nvme,e1000", {"A16"}), (0xB, "ide0,nvme,e1000", set()), (2, "nvme,e1000", set()),
        (3, "ide0,cd3,rtl8139", set()), (3, "pt:nvme", set()),  # passed through: no twin
        (3, "ide0,e1000@br0", {"A44"}), (1, "ide0,e1000@br0", set()), (1, "scsi@br0", {"A44"}),
        (3, "ide0,pt:e1000", {"A45"}), (1, "ide0,pt:e1000", set()), (9, "vfio:nvme", set()),
    ],
)  # fmt: skip
def test_what_a_mask_leaves(
    tmp_path: Path, xptrace: Callable[..., Any], value: int, inventory: str, rules: set[str]
) -> None:
    """The logs are in the form of QEMU 10.1 and later, which takes SATA disks too, and spares no vfio on real Xen."""
    assert set(found(tmp_path, xptrace, value, inventory)) == rules


def stuck(folder: Path, lines: Lines, inventory: str, *names: str) -> list[Finding]:
    """What A43 finds where the device is one of these profiles."""
    stories = examined(recording(folder, timed(lines)), rules=()).stories
    context = Context(stories, {"win10": [profile(name) for name in names]}, inventory=parse(inventory))
    return assess(context, {"A43": all_rules()["A43"]}).findings


WAITING: Lines = [frontend(51712, "Initialising"), *preamble(), mask(1), 61, frontend(51712, "Initialised")]


def test_an_nvme_disk_goes_and_no_pv_disk_gets_its_image(tmp_path: Path) -> None:
    (finding,) = stuck(tmp_path, WAITING, "nvme", "xcp-ng-4.2")
    assert (finding.severity, finding.certainty) == ("medium", "assumed")
    assert "mask 0x0001" in finding.sentence
    assert "no PV disk connected in the 61" in finding.sentence
    (finding,) = stuck(tmp_path, WAITING, "nvme", "xcp-ng-4.2", "qemu-4.2")
    assert "if the device is XCP-ng's or XenServer's" in finding.sentence


@pytest.mark.parametrize(
    ("lines", "inventory", "name"),
    [
        (WAITING, "nvme", "qemu-4.2"),  # not XCP-ng's
        (WAITING, "ide0", "xcp-ng-4.2"),  # no NVMe disk
        (WAITING, "pt:nvme", "xcp-ng-4.2"),  # passed through: never taken away
        ([*WAITING[:-2], 20, frontend(51712, "Initialised")], "nvme", "xcp-ng-4.2"),  # it is not late yet
        ([*WAITING[:-2], frontend(51712, "Connected"), 61, PROCESS], "nvme", "xcp-ng-4.2"),  # the PV disk took over
    ],
)
def test_look_alikes_of_an_image_still_held(tmp_path: Path, lines: Lines, inventory: str, name: str) -> None:
    assert stuck(tmp_path, lines, inventory, name) == []


def test_ahci_stays_before_8_2(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    lines = ["cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3"]
    old = tmp_path / "old.log"  # thread ids are written up to 10.0; the region's name since 6.1: 4.0 to 6.0
    old.write_text("".join(f"7@1606000000.00000{n}:{line}\n" for n, line in enumerate(lines)) +
                   "7@1606000000.000009:memory_region_ops_read cpu -1 mr 0x1 addr 0x10 value 0x49d2 size 2\n")
    done = xptrace("check", "-T", "jsonl", "--inventory", "sata0", old)
    assert [row["rule"] for row in done.rows if row["rule"] == "A38"] == ["A38"]
    assert not found(tmp_path, xptrace, 3, "sata0")


def test_the_command_line_of_the_device_model_will_do(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    told = tmp_path / "cmdline.txt"
    told.write_text("qemu-system-i386 -M pc -drive if=ide,index=0,file=a.img -device nvme,id=boot,serial=1,addr=08.0\n")
    said = found(tmp_path, xptrace, 3, told)
    assert "leaves boot (nvme)" in said["A16"]


def test_without_an_inventory_they_are_not_assessable(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    log = recording(tmp_path, timed([PROCESS, RUNNING, *preamble(), mask(3)]))
    assert "not assessable  A16" in xptrace("check", "--unassessed", log).out
