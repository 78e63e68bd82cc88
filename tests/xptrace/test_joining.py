"""Several voices about one VM, joined: whose they are, and of which boot; what cannot be joined says so.

The recordings are of real guests on real Xen; what each folder shows is told by whoever recorded it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import xptrace
from xptrace.case import Case


@pytest.fixture
def opened(corpus: Path) -> Callable[..., Case]:
    def opened(folder: str, *patterns: str) -> Case:
        found = [path for pattern in patterns for path in sorted((corpus / "recorded/real-xen" / folder).glob(pattern))]
        assert len(found) >= len(patterns)
        return xptrace.open(*found)

    return opened


def boots(table: pd.DataFrame) -> set[tuple[str, int]]:
    return set(table[["vm", "boot"]].itertuples(index=False, name=None))


def test_a_domain_is_the_vm_that_the_toolstack_names(opened: Callable[..., Case]) -> None:
    """two-guests: twoA is domain 1, twoB domain 2 (xl-list.txt); xenstored's trace tells of both."""
    case = opened("two-guests", "qemu-trace-two?.log.gz", "xenstored-trace.log.xz")
    assert boots(case.events) == {("twoA", 1), ("twoB", 1)}
    told = case.events[case.events.source.astype(str).str.contains("xenstored")]
    names = told[told.subject.str.endswith("/name")]
    assert dict(zip(names.vm, names.said, strict=True)) == {"twoA": "twoA", "twoB": "twoB"}


def test_a_file_that_names_no_guest_takes_its_name_from_the_toolstack(
    opened: Callable[..., Case]
) -> None:
    """linux-default: the trace file is qemu-trace.log; its device model serves domain 1, which xl.log names."""
    assert boots(opened("linux-default", "qemu-trace.log.gz").accesses) == {("qemu-trace", 1)}
    assert boots(opened("linux-default", "qemu-trace.log.gz", "xl.log").accesses) == {("linux-default", 1)}


def test_the_domains_of_one_name_are_its_boots_in_their_order(opened: Callable[..., Case]) -> None:
    """reboot-twice: the log of the first device model (domain 1) was truncated by the second (domain 2)."""
    case = opened("reboot-twice", "qemu-trace-reboot-twice.log", "xenstored-access.log", "xl-reboot-twice.log")
    assert boots(case.events) == {("reboot-twice", 1), ("reboot-twice", 2)}
    by_qemu = case.events[case.events.source.astype(str).str.contains("qemu-trace")]
    assert boots(by_qemu) == {("reboot-twice", 2)}
    first = case.events[(case.events.boot == 1) & (case.events.topic == "life")]
    assert "shut down: reboot" in set(first.said)


def test_a_migrated_vm_is_one_vm_with_two_boots_in_every_voice(opened: Callable[..., Case]) -> None:
    """migrate-local: domains 1 and 2, device models 212 and 375; xl calls the second migrate-local--incoming first."""
    case = opened("migrate-local", "qemu-trace-*.log.gz", "xenstored-trace.log.gz", "xl-migrate-local.log",
                  "guest-migrate-local.log")
    assert boots(case.events) == {("migrate-local", 1), ("migrate-local", 2)}
    stored = case.events[case.events.source.astype(str).str.contains("xenstored")]
    assert boots(stored) == {("migrate-local", 1), ("migrate-local", 2)}
    assert boots(case.messages) == {("migrate-local", 1)}, "its kernel began once"
    assert list(case.negotiations.epoch) == ["process", "migration"]


def test_what_the_kernel_says_is_of_the_boot_in_which_it_says_it(opened: Callable[..., Case]) -> None:
    case = opened("two-guests", "qemu-trace-twoA.log.gz", "guest-twoA.log")
    assert set(case.messages.via) == {"kernel"}
    assert "Hypervisor detected: Xen HVM" in set(case.messages.text)
    assert boots(case.messages) == {("twoA", 1)}
    demanded = case.sayings[case.sayings.said == "unplug demanded"]
    assert sum(fields["mask"] for fields in demanded.fields) == 3


def test_a_console_with_more_starts_than_the_device_models_have_boots_is_kept_apart(tmp_path: Path) -> None:
    """Composed: one boot of the device model, two starts of the kernel; nobody knows which of them it saw."""
    (tmp_path / "qemu-dm-win10.log").write_text("cpu_in addr 0x10(w) value 18898\n")
    banner = (
        "[    0.000000] Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12)\n"
        "[    0.000000] Xen Platform PCI: I/O protocol version 1\n"
    )
    (tmp_path / "guest-win10.log").write_text(banner * 2)
    case = xptrace.open(tmp_path / "qemu-dm-win10.log", tmp_path / "guest-win10.log")
    assert boots(case.accesses) == {("win10", 1)}
    assert boots(case.messages) == {("win10 (console)", 1), ("win10 (console)", 2)}
    (tmp_path / "guest-win10.log").write_text(banner)
    assert boots(xptrace.open(tmp_path / "qemu-dm-win10.log", tmp_path / "guest-win10.log").messages) == {("win10", 1)}


def test_the_same_number_on_two_hosts_is_not_the_same_domain(tmp_path: Path) -> None:
    for host, name in (("one", "alpha"), ("two", "beta")):
        (tmp_path / host).mkdir()
        (tmp_path / host / "xenstored-access.log").write_text(
            f"[20261123T03:17:30.038Z]  A24.9        write     /local/domain/2/name {name}\n"
            "[20261123T03:17:31.038Z]  D2           write     device/vbd/768/state 4\n"
        )
    case = xptrace.open(tmp_path / "one/xenstored-access.log", tmp_path / "two/xenstored-access.log")
    connected = case.events[case.events.topic == "frontend"]
    assert set(connected.vm) == {"alpha", "beta"}


def test_a_domain_of_which_nobody_says_who_it_is_keeps_its_number(tmp_path: Path) -> None:
    log = tmp_path / "xenstored-access.log"
    log.write_text("[20261123T03:17:31.038Z]  D7           write     device/vbd/768/state 4\n")
    assert boots(xptrace.open(log).events) == {("dom7", 1)}


def test_what_the_device_model_tells_of_the_driver_is_told_as_its_word(
    corpus: Path, tmp_path: Path
) -> None:
    """XenServer's QEMU, as its library's own sample has the event: product 3, build 1. No access is recorded."""
    case = xptrace.open(corpus / "public/qmp-events-xenserver.txt")
    told = case.events[case.events.topic == "driver"]
    assert list(told.said) == ["product 3, build 1"] * 2, "the event, and the answer to the query"
    (driver,) = case.negotiations.driver
    assert driver == "Linux, by the device model's word"
    assert case.negotiations["product"].isna().all(), "no write of it is recorded"


def test_the_toolstacks_requests_are_events_of_the_boot_that_they_are_made_to(tmp_path: Path) -> None:
    """Composed: xl shutdown writes the node, and the guest empties it."""
    log = tmp_path / "xenstored-access.log"
    log.write_text(
        "[20261123T03:17:29.038Z]  A24.9        write     /local/domain/2/name win10\n"
        "[20261123T03:17:30.038Z]  A25          write     /local/domain/2/control/shutdown reboot\n"
        "[20261123T03:17:31.038Z]  D2           write     control/shutdown \n"
    )
    life = xptrace.open(log).events.query("topic == 'life'")
    assert list(zip(life.vm, life.subject, life.said, strict=True)) == [
        ("win10", "toolstack", "asks for reboot"), ("win10", "toolstack", "asks for nothing (more)")]


def test_who_holds_the_image_of_a_disk_is_an_event(tmp_path: Path) -> None:
    """Composed from QEMU's hw/block/trace-events."""
    log = tmp_path / "qemu-dm-win10.log"
    log.write_text("xen_block_connect xen-disk d0p0\nxen_block_disconnect xen-disk d0p0\n")
    events = xptrace.open(log).events
    assert list(zip(events.topic, events.subject, events.said, strict=True)) == [
        ("backend", "xen-disk d0p0", "holds its image"), ("backend", "xen-disk d0p0", "leaves its image")]


@pytest.mark.slow
def test_what_a_truncated_log_lost_the_hypervisor_saw(opened: Callable[..., Case]) -> None:
    """reboot-twice: the log of boot 1 was overwritten, and its handshake is in xentrace alone, of domain 1."""
    case = opened("reboot-twice", "qemu-trace-reboot-twice.log", "xl-reboot-twice.log", "xentrace.bin.xz")
    assert boots(case.accesses) == {("reboot-twice", 1)}
    first = case.negotiations.set_index("id").loc["reboot-twice#1"]
    assert (first["code"], first["product"], first["build"], first["unplug_mask"]) == ("complete", 3, 1, 3)


def test_two_witnesses_of_a_vm_without_a_device_models_log_stand_side_by_side(tmp_path: Path) -> None:
    """Composed: one access, as xenalyze and as KVM's tracer would show it, of one VM by their files' names."""
    by_kvm = "  CPU 0/KVM-1680    [001] ..... 12773.927701: kvm_pio: pio_read at 0x10 size 2 count 1 val 0x49d2\n"
    for folder, text in (("a", " 217.407080536 x d1v0 io read port 10 val 49d2\n"), ("b", by_kvm)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "qemu-dm-dom1.log").write_text(text)
    case = xptrace.open(tmp_path / "a/qemu-dm-dom1.log", tmp_path / "b/qemu-dm-dom1.log")
    assert boots(case.accesses) == {("dom1", 1), ("dom1 (kvm)", 1)}
    (relation,) = case.correlations.itertuples()
    assert (relation.matches, relation.one_clock, relation.other_clock) == (1, "xenalyze", "trace")


def test_a_process_that_serves_several_domains_in_turns_begins_no_boot_at_each_turn(tmp_path: Path) -> None:
    """Composed: Dom0's own QEMU is the back end of the disks of two guests, and logs both in turns."""
    log = tmp_path / "qemu-trace-dom0.log"
    node = "xs_node_vprintf /local/domain/0/backend/qdisk/{}/51712/online 1\n"
    log.write_text("".join(node.format(domain) for domain in (1, 2) * 50))
    assert len(boots(xptrace.open(log).events)) == 2
