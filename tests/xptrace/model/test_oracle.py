"""Every access of the devices under test is predicted, and so is everything that an unplug took away.

`golden.jsonl` says what was done to the running devices of QEMU and what they answered, `effects.json` what was gone
afterwards. The machine is built from the command line that started the device under test; nothing else is told to it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CORPUS, DATA
from xptrace.model.access import Access
from xptrace.model.effects import Aborted, Logged
from xptrace.model.function import PropertyError
from xptrace.model.launch import launch
from xptrace.model.machine import Machine, locate, migrate, reset, step
from xptrace.model.profile import Profile
from xptrace.model.profiles import profile

ORACLE = CORPUS / "recorded" / "qemu-oracle"
SHIPPED = sorted(path.parent for path in (DATA / "qemu-oracle").glob("*/*/golden.jsonl"))
WHOLE = sorted(path.parent for path in ORACLE.rglob("golden.jsonl*"))

AT_REST = (*range(0x10), 0x20, 0x21)
"""Neighbours of the fixed ports that read as 0 while nobody has programmed them: DMA and interrupt controller."""


def read(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def steps(scenario: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(next(scenario.glob("golden.jsonl*"))).splitlines()]


def version_of(scenario: Path) -> str:
    return next(part for part in reversed(scenario.parts) if re.fullmatch(r"\d+\.\d+\.\d+", part))


def command_line(scenario: Path) -> tuple[str, str]:
    """(how Xen's presence was brought about, the command line)."""
    text = (scenario / "cmdline.txt").read_text()
    found = re.search(r"ORACLE_XEN=(\w+)", text)
    return found[1] if found else "", text[text.index("./qemu") :]


def profile_of(scenario: Path) -> Profile:
    """`emulate` makes 10.x behave as on KVM; 7.2 knows no such thing."""
    version, way = version_of(scenario), command_line(scenario)[0]
    return profile(f"{'kvm-xen' if way == 'emulate' and version[0] != '7' else 'qemu'}-{version}")


def start(scenario: Path) -> Machine:
    way, text = command_line(scenario)
    fails = "ORACLE_SET_MEM_TYPE_RC=-1" in (scenario / "cmdline.txt").read_text()
    return launch(profile_of(scenario), text, xen=bool(way), rom_lock_works=not fails)


@dataclass
class Played:
    """What became of a scenario in the model."""

    checked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    machine: Machine | None = None
    lines: list[bytes] = field(default_factory=list)

    def compare(self, what: str, step_number: int, got: object, want: object) -> None:
        self.checked[what] += 1
        if got != want:
            self.wrong.append(f"step {step_number}, {what}: predicted {got!r}, observed {want!r}")


def access_of(machine: Machine, said: dict[str, Any]) -> Access | None:
    """The access by the model's terms; None where it goes to nobody of Xen's."""
    direction = "read" if said["dir"] == "r" else "write"
    value = said["value"] if direction == "write" else None
    if said.get("tag") == "cfg":
        place = said["cfg"]
        number = place["bus"] << 8 | place["slot"] << 3 | place["fn"]
        return Access("pci-config", place["off"], said["size"], direction, value, number)
    found = locate(machine, said["addr"], said["size"], memory=said["space"] == "mem")
    return found and Access(found[0], found[1], said["size"], direction, value, found[2])


def unclaimed(said: dict[str, Any]) -> int:
    """What a read gets where nobody of Xen's answers: QEMU's own rules for ports and memory, and the neighbours."""
    if said["space"] == "mem":
        return 0
    ports = range(said["addr"], said["addr"] + said["size"])
    if (ports.start, len(ports)) == (0x20, 4):  # goes to the interrupt controller whole
        return 0
    return int.from_bytes(bytes(0 if port in AT_REST else 0xFF for port in ports), "little")


def entity_changes(before: Machine, after: Machine) -> dict[str, set[str]]:
    old = {one.name: one for one in before.inventory}
    new = {one.name: one for one in after.inventory}
    gone = {name for name in old if old[name].present and not new[name].present}
    cut = {one.backend for name, one in old.items() if one.connected and not new[name].connected and one.backend}
    nics = {name for name, one in old.items() if one.is_nic}
    links = {old[name].backend for name in nics if old[name].backend}
    return {
        "pci": {name for name in gone if old[name].pci_class is not None},
        "peripheral": {name for name in gone if not old[name].by_drive},
        "block": cut - links,
        "netdev_alive": cut & links,
        # the monitor lists a link below its NIC for as long as the NIC is there, deleted or not
        "network": {one for nic in gone & nics for one in (nic, old[nic].backend) if one},
    }


def observed_changes(effect: dict[str, Any], visible: set[str]) -> dict[str, set[str]]:
    def gone(kind: str) -> list[Any]:
        return list(effect.get(kind, {}).get("gone", []))

    return {
        "pci": {one["qdev"] for one in gone("pci")},
        "peripheral": set(gone("peripheral")),
        "block": {one["device"] for one in gone("block")},
        "netdev_alive": set(gone("netdev_alive")),
        "network": {re.match(r"[ \\]*(\S+?):", line)[1] for line in gone("network")},  # type: ignore[index]
    }


def play(scenario: Path) -> Played:
    done = Played()
    machine = start(scenario)
    if "-dst-" in scenario.name:
        source = play(scenario.parent / (scenario.name.split("-dst-")[0] + "-src")).machine
        assert source is not None
        machine = migrate(source, machine.inventory)
    effects_file = next(iter(scenario.glob("effects.json*")), None)
    effects = json.loads(read(effects_file))["effects"] if effects_file else []
    seen, late, later = machine, set[str](), set[str]()
    for said in steps(scenario):
        number = said["n"]
        if said["op"] == "action" and said["action"] == "system_reset":
            machine = reset(machine)
        elif said["op"] == "state" and "flags" in said:
            # of two platform devices each is asked for its own state, which its note names
            at = {"plat": 0, "plat2": 1}.get(said["note"], machine.platform) if len(machine.functions) > 1 else None
            function = machine.functions[machine.platform if at is None else at]  # type: ignore[index]
            if len(machine.functions) > 1 and said["note"] == "":
                continue
            assert function.device is not None
            assert function.log is not None
            done.compare("flags", number, function.device.flags, said["flags"])
            done.compare("product", number, function.device.product, said["product"])
            done.compare("log offset", number, len(function.log.held), said["logoff"])
        elif said["op"] == "effect":
            effect = effects[said["ref"]]
            if "initial" in effect:
                on_pci = {one["qdev"] for one in effect["initial"]["pci"]}
                continue
            got = entity_changes(seen, machine)
            want = observed_changes(effect, on_pci)
            got["pci"] &= on_pci  # what lies behind a bridge without a number is not listed
            # the back end of a whole device may vanish a little later than the device (RCU): at the next look then
            late |= got["block"] - want["block"]
            late -= want["block"]
            devices_gone = {one.backend for one in machine.inventory if not one.present}
            got["block"] = want["block"] & got["block"] | want["block"] & later | late - devices_gone
            later = set(late)
            for kind in want:
                done.compare(f"effect {kind}", number, sorted(got[kind]), sorted(want[kind]))
            seen = machine
        elif said.get("space"):
            if said.get("tag") == "cfgaddr":
                continue
            access = access_of(machine, said)
            value: int | None = None
            caused: tuple[Any, ...] = ()
            if access is not None:
                machine, answer, caused = step(machine, access)
                if answer is not None:
                    outside = ~answer.known & (1 << 8 * said["size"]) - 1
                    value = answer.value | outside & unclaimed(said)
            done.lines += [effect.text for effect in caused if isinstance(effect, Logged)]
            aborted = any(isinstance(effect, Aborted) for effect in caused)
            done.compare("abort", number, aborted, bool(said.get("crash")))
            if said["dir"] == "r":
                done.compare("answer", number, unclaimed(said) if access is None else value, said["value"])
            else:
                done.checked["write"] += 1
    done.machine = machine
    return done


def lines_of(scenario: Path) -> list[bytes] | None:
    """The lines that the device emitted, as its own event tells them at the start of a line of the log."""
    logs = [path for pattern in ("trace.log*", "stderr.txt") for path in sorted(scenario.glob(pattern))]
    if not logs or scenario.name == "71-toggle-hmp":
        return None
    form = rb"(?m)^(?:\d+@\d+\.\d{6}:|[\dT:.-]+Z )?xen_platform_log xen platform: (.*)$"
    return re.findall(form, read(logs[0]))


def check(scenario: Path) -> Counter[str]:
    done = play(scenario)
    want = lines_of(scenario)
    if want is not None and (want or "-k-" not in scenario.name):
        done.compare("lines", -1, done.lines, want)
    assert done.wrong == []
    return done.checked


def refused(scenario: Path) -> bool:
    said = steps(scenario)
    return len(said) == 1 and said[0]["op"] == "exit" and said[0]["rc"] != "running"


def name(scenario: Path) -> str:
    return "/".join(scenario.parts[scenario.parts.index("qemu-oracle") + 1 :])


@pytest.mark.parametrize("scenario", SHIPPED, ids=name)
def test_every_access_of_a_shipped_recording_is_predicted(scenario: Path) -> None:
    checked = check(scenario)
    assert checked["answer"] or checked["write"]


def test_every_access_and_effect_of_every_recording_is_predicted(corpus: Path) -> None:
    total: Counter[str] = Counter()
    wrong = {}
    for scenario in WHOLE:
        if refused(scenario):
            continue
        try:
            total += check(scenario)
        except AssertionError as error:
            wrong[name(scenario)] = str(error)[:500]
    assert wrong == {}
    assert total["answer"] >= 18_000
    assert total["answer"] + total["write"] >= 210_000
    assert total["effect block"] >= 70


def test_a_device_model_that_refuses_to_start_is_refused_with_its_reason(corpus: Path) -> None:
    scenarios = [scenario for scenario in WHOLE if refused(scenario)]
    assert len(scenarios) >= 10
    for scenario in scenarios:
        with pytest.raises(PropertyError):
            start(scenario)
