"""Every recording of the devices under test decodes to exactly what was done to them.

What was done comes from `golden.jsonl`, which the driver of the device wrote; whose it was is computed here from
PCI's rules alone, without the decoder.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS, DATA

ORACLE = CORPUS / "recorded" / "qemu-oracle"
DRIVEN_BY_HAND = {"71-toggle-hmp"}
"""Scenarios that were driven through the monitor as well, which golden.jsonl cannot tell as accesses."""
MESSAGES_ONLY = {"38-log-burst", "70-format-i-only-platform-log"}
"""Scenarios that were recorded with `xen_platform_log` alone switched on."""

Expected = tuple[str, int, int, str, int | None]


def read_text(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def scenarios(root: Path) -> list[Path]:
    return [path for path in sorted(root.glob("*/*")) if path.is_dir() and path.name not in DRIVEN_BY_HAND]


def log_of(scenario: Path) -> Path | None:
    found = [
        path
        for pattern in ("trace.log*", "trace-[0-9]*.log", "trace-tid-*.log", "stderr.txt")
        for path in sorted(scenario.glob(pattern))
    ]
    return found[0] if found else None


class Machine:
    """PCI as the guest sets it up: which function has which BAR, and whether it decodes."""

    def __init__(self, command_line: str) -> None:
        self.devices = {
            (0 if "bus=" not in options else None, int(slot, 16)): kind
            for kind, options, slot in re.findall(r"(xen-platform|xen-pvdevice),(\S*?)addr=([0-9a-f]+)", command_line)
        }
        self.bars: dict[tuple[Any, ...], int] = {}
        self.command: dict[tuple[Any, ...], int] = {}

    def kind(self, cfg: dict[str, int]) -> str | None:
        return self.devices.get((cfg["bus"], cfg["slot"])) or (
            self.devices.get((None, cfg["slot"])) if cfg["bus"] else None
        )

    def config_write(self, cfg: dict[str, int], value: int, size: int) -> None:
        place = (cfg["bus"], cfg["slot"])
        if cfg["off"] == 4:
            self.command[place] = value
        elif cfg["off"] in (0x10, 0x14) and size == 4:
            self.bars[*place, cfg["off"]] = value

    def bar0(self, address: int, size: int) -> bool:
        for (bus, slot, offset), value in self.bars.items():
            if offset == 0x10 and self.kind({"bus": bus, "slot": slot}) == "xen-platform":
                base = value & 0xFFFFFF00
                decodes = self.command.get((bus, slot), 0) & 1 and 0 < base < 0x10000
                if decodes and address < base + 0x100 and address + size > base:
                    return True
        return False

    def reset(self) -> None:
        self.bars.clear()
        self.command.clear()


def steps(scenario: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_text(next(scenario.glob("golden.jsonl*"))).splitlines()]


def machine_at_start(scenario: Path) -> Machine:
    """A machine that takes in a migration starts as its source was left; any other starts reset."""
    machine = Machine((scenario / "cmdline.txt").read_text().replace("\\\n", ""))
    if "-dst-" in scenario.name:
        source = scenario.parent / (scenario.name.split("-dst-")[0] + "-src")
        for step in steps(source):
            if step.get("tag") == "cfg" and step["dir"] == "w":
                machine.config_write(step["cfg"], step["value"], step["size"])
    return machine


def expected(scenario: Path) -> list[Expected]:
    """The accesses to the device that left something in the log, but for those to memory."""
    machine = machine_at_start(scenario)
    ranged = any((scenario / name).exists() for name in ("trace.log", "trace.log.gz"))
    found: list[Expected] = []
    for step in steps(scenario):
        if step.get("action") == "system_reset":
            machine.reset()
        if step.get("space") != "io":
            continue
        address, size, value = step["addr"], step["size"], step.get("value")
        direction = {"r": "read", "w": "write"}[step["dir"]]
        told = step["log"][0] != step["log"][1] if ranged else True
        if step.get("tag") == "cfg":
            if machine.kind(step["cfg"]) and told:
                found.append(("pci-config", step["cfg"]["off"], size, direction, value))
            if direction == "write":
                machine.config_write(step["cfg"], value, size)
        elif address < 0x20 and address + size > 0x10 and told:
            found.append(("pio", address, size, direction, value))
        elif machine.bar0(address, size) and told:
            found.append(("bar0", address, size, direction, value))
    return found


def memory_calls(log: Path) -> list[tuple[int, int, str, int]]:
    """The calls that BAR1's memory regions took: of an access to memory over qtest nothing else is traced."""
    form = rb"memory_region_ops_(read|write) \S+ \S+ \S+ \S+ addr (\S+) value (\S+) size (\d) name '(?:xen-)?mmio'"
    return [
        (int(address, 16), int(size), way.decode(), int(value, 16) & (1 << 8 * int(size)) - 1)
        for way, address, value, size in re.findall(form, read_text(log))
    ]


def messages(scenario: Path, log: Path) -> list[str]:
    """What the device logged: the text of its own events, as they stand at the start of a line."""
    form = rb"(?m)^(?:\d+@\d+\.\d{6}:|[\dT:.-]+Z )?xen_platform_log xen platform: (.*)$"
    return [text.decode("utf-8", "replace") for text in re.findall(form, read_text(log))]


def check(scenario: Path, xptrace: Callable[..., Any]) -> None:
    log = log_of(scenario)
    assert log is not None
    done = xptrace("decode", "-T", "jsonl", log)
    got = [
        (row["space"], row["address"], row["size"], row["direction"], row["value"])
        for row in done.accesses
        if row["space"] != "bar1"
    ]
    assert got == (expected(scenario) if scenario.name not in MESSAGES_ONLY else [])
    assert [
        (row["address"], row["size"], row["direction"], row["value"])
        for row in done.accesses
        if row["space"] == "bar1"
    ] == memory_calls(log)
    assert [row["text"] for row in done.messages if row["complete"]] == messages(scenario, log)


def test_events_switched_on_and_off_in_between(corpus: Path, xptrace: Callable[..., Any]) -> None:
    """golden.jsonl tells of the accesses over qtest; after them six were made through the monitor (its actions)."""
    by_monitor = [
        ("pio", 0x10, 4, "read", 0xFFFFFFFF), ("pio", 0x12, 1, "read", 1), ("pio", 0x12, 4, "read", 0xFFFFFFFF),
        ("pio", 0x12, 4, "write", 7), ("pio", 0x12, 1, "write", 0x48), ("pio", 0x12, 1, "write", 10),
    ]  # fmt: skip
    for version in ("7.2.22", "10.0.13"):
        scenario = corpus / "recorded" / "qemu-oracle" / version / "71-toggle-hmp"
        want = [
            ("pio", step["addr"], step["size"], {"r": "read", "w": "write"}[step["dir"]], step["value"])
            for step in steps(scenario)
            if step.get("space") == "io"
        ]
        done = [xptrace("decode", "-T", "jsonl", scenario / log) for log in ("trace.log", "trace2.log")]
        got = [
            (row["space"], row["address"], row["size"], row["direction"], row["value"])
            for part in done
            for row in part.accesses
        ]
        assert got == want + by_monitor
        texts = [row["text"] for part in done for row in part.messages]
        assert texts == ["x", "x", "x", "x", "y", "y", "y", "in second file", "in second bin", "after log none",
                         "after log trace", "H"]  # fmt: skip


def name(scenario: Path) -> str:
    return f"{scenario.parent.name}/{scenario.name}"


SHIPPED = scenarios(DATA / "qemu-oracle")
WHOLE = [scenario for scenario in scenarios(ORACLE) if log_of(scenario) is not None] if ORACLE.is_dir() else []


@pytest.mark.parametrize("scenario", SHIPPED, ids=name)
def test_shipped_recordings_decode_to_what_was_done(scenario: Path, xptrace: Callable[..., Any]) -> None:
    check(scenario, xptrace)


def test_there_are_shipped_recordings_of_three_versions() -> None:
    assert {scenario.parent.name for scenario in SHIPPED} == {"7.2.22", "10.0.13", "10.2.2"}


def test_every_recording_decodes_to_what_was_done(corpus: Path, xptrace: Callable[..., Any]) -> None:
    assert len(WHOLE) >= 195
    wrong = {}
    for scenario in WHOLE:
        try:
            check(scenario, xptrace)
        except AssertionError as error:
            wrong[name(scenario)] = str(error)[:300]
    assert wrong == {}
