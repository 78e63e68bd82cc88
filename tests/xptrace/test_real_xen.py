"""Real Linux guests on real Xen: what is known to be true of each recording, from its guest's own console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HANDSHAKE = [
    (0x10, 2, "read", 0x49D2, "magic"),
    (0x12, 1, "read", 1, "protocol_version"),
    (0x12, 2, "write", 3, "product_number"),
    (0x10, 4, "write", 1, "build_number"),
    (0x10, 2, "read", 0x49D2, "magic"),
    (0x10, 2, "write", 3, "unplug_mask"),
]


def ports(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (row["address"], row["size"], row["direction"], row["value"], row["register"])
        for row in rows
        if row["space"] == "pio"
    ]


@pytest.mark.parametrize(
    "name", ["qemu-trace-linux-default.log.gz", "qemu-trace-no-timestamp.log.gz", "all-events-handshake.txt"]
)
def test_a_linux_guest_negotiates_once_however_often_it_was_logged(
    data: Path, xptrace: Callable[..., Any], name: str
) -> None:
    done = xptrace("decode", "-T", "jsonl", data / "real-xen" / name)
    assert ports(done.accesses) == HANDSHAKE
    assert {row["certainty"] for row in done.accesses} == {"observed"}
    assert (done.accesses[0]["time_ns"] is None) == ("no-timestamp" in name)


def test_config_accesses_are_those_of_the_platform_device(data: Path, xptrace: Callable[..., Any]) -> None:
    """`cpu_ioreq_config_*` with sbdf 0x10 stands 200 times in this log; each was forwarded for function 00:02.0."""
    done = xptrace("decode", "-T", "jsonl", data / "real-xen" / "qemu-trace-linux-default.log.gz")
    config = [row for row in done.accesses if row["space"] == "pci-config"]
    assert len(config) == 200
    assert (config[0]["address"], config[0]["size"], config[0]["value"]) == (0x0A, 2, 0xFF80)
    assert all(row["register"] == "config" and "00:02.0" in row["meaning"] for row in config)


def test_every_row_points_at_its_bytes(data: Path, xptrace: Callable[..., Any]) -> None:
    path = data / "real-xen" / "all-events-handshake.txt"
    raw = path.read_bytes()
    for row in xptrace("decode", "-T", "jsonl", path).rows:
        line = raw[row["offset"] :].split(b"\n")[0]
        assert row["source"] == str(path)
        assert raw[: row["offset"]].count(b"\n") + 1 == row["line"]
        if row["space"] == "pio":
            assert f"port=0x{row['address']:x} ".encode() in line


def test_the_summary_names_driver_and_verdict(data: Path, xptrace: Callable[..., Any]) -> None:
    (row,) = xptrace("summary", "-T", "jsonl", data / "real-xen" / "qemu-trace-linux-default.log.gz").rows
    assert row["vm"] == "linux-default"
    assert (row["driver"], row["product"], row["build"], row["protocol_version"]) == ("Linux", 3, 1, 1)
    assert row["blacklisted"] is False
    assert (row["unplug_mask"], row["unplugged"]) == (3, ["ide_disks", "nics"])
    assert row["started_ns"] == 1795401698307656000
    assert row["verdict"].startswith("complete")


def test_string_output_is_its_elements_and_their_messages(corpus: Path, xptrace: Callable[..., Any]) -> None:
    path = corpus / "recorded" / "real-xen" / "windows-like"
    done = xptrace("decode", "-T", "jsonl", path / "qemu-trace-windows-like.log.gz")
    steps = [step for step in ports(done.accesses) if step[4] != "log"]
    assert steps[:7] == [
        (0x10, 2, "read", 0x49D2, "magic"),
        (0x12, 1, "read", 1, "protocol_version"),
        (0x12, 2, "write", 0xFFFF, "product_number"),
        (0x10, 4, "write", 0x90000, "build_number"),
        (0x10, 2, "read", 0x49D2, "magic"),
        (0x10, 2, "write", 1, "unplug_mask"),
        (0x10, 2, "write", 2, "unplug_mask"),
    ]
    # PLAY 23-28 of the guest's console: rep insw/insb/insl, outsw/outsl, element by element
    assert steps[7:] == [
        *[(0x10, 2, "read", 0x49D2, "magic")] * 4,
        *[(0x12, 1, "read", 1, "protocol_version")] * 3,
        *[(0x10, 4, "read", 0xFFFFFFFF, "undefined")] * 2,
        (0x12, 2, "write", 0x1111, "product_number"),
        (0x12, 2, "write", 0x2222, "product_number"),
        (0x10, 4, "write", 0x01020304, "build_number"),
        (0x10, 4, "write", 0x05060708, "build_number"),
        (0x10, 2, "write", 1, "unplug_mask"),
        (0x10, 2, "write", 2, "unplug_mask"),
        (0x10, 2, "read", 0x49D2, "magic"),
        (0x12, 1, "read", 1, "protocol_version"),
    ]
    assert all(row["count"] == 1 for row in done.accesses)
    texts = [row["text"] for row in done.messages]
    assert texts[0] == "xen|UnplugPreamble: PRE-AMBLE (PRODUCT 0xffff BUILD 0x00090000)"
    assert "XEN|BUGCHECK: CONTEXT (FFFFC00012345000):\r" in texts
    long = [text for text in texts if text.startswith(("LONG>", "LLL"))]
    assert [len(text) for text in long] == [4095, 903]  # 4999 bytes, one lost at the forced flush
    assert texts[-4:] == ["unfinished finished by OUTs", "Z", "Y", "backwards"]


def test_both_identities_are_told_apart(corpus: Path, xptrace: Callable[..., Any]) -> None:
    path = corpus / "recorded" / "real-xen" / "pvdevice-both" / "qemu-trace-pvdevice-both.log.gz"
    done = xptrace("decode", "-T", "jsonl", path)
    assert ports(done.accesses)[:6] == HANDSHAKE
    memory = [row for row in done.accesses if row["space"] == "bar1"]
    # the guest's console: two passes over BAR1, ten accesses each, of which the widest are eight bytes
    assert [row["size"] for row in memory] == [1, 2, 4, 1, 2, 4, 4, 4, 8, 8] * 2
    assert memory[8]["value"] == 0x1122334455667788
    assert memory[9]["value"] == 0xFFFFFFFFFFFFFFFF
    assert any("00:08.0" in row["meaning"] and row["value"] == 0xC0005853 for row in done.accesses)


def test_wide_and_straddling_accesses_are_one_row_each(corpus: Path, xptrace: Callable[..., Any]) -> None:
    path = corpus / "recorded" / "real-xen" / "all-events" / "qemu-trace-all-events.log.gz"
    done = xptrace("decode", "-T", "jsonl", path)
    bar0 = [(r["address"], r["size"], r["direction"], r["value"]) for r in done.accesses if r["space"] == "bar0"]
    assert bar0 == [
        (0xC000, 1, "read", 0), (0xC000, 2, "read", 0xFF00), (0xC000, 4, "read", 0xFFFFFF00), (0xC004, 1, "read", 0xFF),
        (0xC008, 1, "write", 0x43), (0xC008, 1, "write", 0x0A), (0xC008, 4, "write", 0x44), (0xC008, 4, "write", 0x0A),
        (0xC008, 2, "write", 0x0A), (0xC004, 4, "write", 0),
    ]  # fmt: skip
    last = done.accesses[-1]
    assert (last["address"], last["size"], last["value"], last["register"]) == (0x0F, 2, 1, "flags")
    assert [row["text"] for row in done.messages] == ["AB", "C", "D", ""]


def test_a_migrated_vm_is_one_vm_with_two_boots(corpus: Path, xptrace: Callable[..., Any]) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / "migrate-local").glob("qemu-trace-*.log.gz"))
    rows = xptrace("summary", "-T", "jsonl", *logs).rows
    assert len({row["vm"] for row in rows}) == 1
    assert [row["boot"] for row in rows] == [1, 2]
    assert [row["unplug_mask"] for row in rows] == [3, 3]
    backwards = xptrace("summary", "-T", "jsonl", *reversed(logs)).rows
    assert [row["started_ns"] for row in backwards] == [row["started_ns"] for row in rows]


def test_guests_without_unplug_say_so(corpus: Path, xptrace: Callable[..., Any]) -> None:
    root = corpus / "recorded" / "real-xen"
    path = root / "unplug-unnecessary" / "qemu-trace-unplug-unnecessary.log.gz"
    (row,) = xptrace("summary", "-T", "jsonl", path).rows
    assert row["unplug_mask"] is None
    assert row["verdict"].startswith("accepted, but nothing unplugged")
    (row,) = xptrace("summary", "-T", "jsonl", root / "no-platform-pci" / "qemu-trace-no-platform-pci.log.gz").rows
    assert row["verdict"] == "no access to the device recorded"


def test_user_posted_messages(corpus: Path, xptrace: Callable[..., Any]) -> None:
    path = corpus / "public" / "qemu-xen-log-winpv-bugcheck.log"
    done = xptrace("decode", "-T", "jsonl", path)
    told = [line.split("xen platform: ", 1)[1] for line in path.read_text().splitlines()]
    assert [row["text"] for row in done.messages] == told
    assert len(told) == 58
    assert done.accesses == []
    assert done.messages[0]["time_ns"] == 1612191983279616000
