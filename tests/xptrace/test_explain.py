"""The protocol explained at the terminal: what is declared is told, and it is what was observed."""

from __future__ import annotations

import dataclasses
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dissectors.platform.config_space import FIELDS
from dissectors.platform.products import PRODUCTS
from dissectors.platform.registers import PORTS, REGISTERS
from xptrace.cli import main
from xptrace.errors import XptraceError
from xptrace.model.drivers import DRIVERS
from xptrace.model.profile import Profile
from xptrace.model.profiles import history, profiles
from xptrace.views.explanation import KINDS, Page, explain, page_lines
from xptrace.views.explanation.page import Fact, Kind


def page(*words: str) -> Page:
    """The only page on these words."""
    (found,) = explain(words)
    return found


def table(fact: Fact) -> dict[str, str]:
    """A table of two columns, of which the first tells its rows apart."""
    found = {row[0]: row[1] for row in fact}
    assert len(found) == len(fact)
    return found


def _version(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def covers(names: str, name: str) -> bool:
    """Whether names such as `xenserver-trad, qemu-2.2 to 2.7` cover a profile's name."""
    lineage, _, version = name.rpartition("-")
    for part in names.split(", "):
        first, _, last = part.partition(" to ")
        if part in ("every profile", name):
            return True
        if last and first.rpartition("-")[0] == lineage and (
            _version(first.rpartition("-")[2]) <= _version(version) <= _version(last)
        ):
            return True
    return False


def takes(name: str, mask: str) -> str:
    """What a mask takes away on the profile of this name, by the page on the mask."""
    rows = table(page("mask", mask).facts["takes"])
    (said,) = [said for names, said in rows.items() if covers(names, name)]
    return said


def shown(pages: Iterable[Page], width: int = 100) -> str:
    return "\n".join(line for one in pages for line in page_lines(one, width))


# -- everything that is declared can be explained


def _declared() -> Iterator[tuple[list[str], str]]:
    """Words, and how a page on them begins."""
    yield from (([one.name], f"register {one.name}: ") for one in REGISTERS)
    yield from (([hex(port)], f"port {port:#x}: ") for port in PORTS)
    yield from (([name], f"port {name}: ") for name in ("bar0", "bar0+4", "bar1"))
    yield from (([bit.name], f"bit {bit.name}: ") for one in REGISTERS for bit in one.bits)
    yield from ((["mask", hex(mask)], f"mask {mask:#x}: ") for mask in range(16))
    yield from (([word], f"constant {word}: ") for word in ("0x49d2", "0xd249"))
    yield from ((["product", str(number)], f": {name}\n") for number, name in PRODUCTS.items())
    yield from ((["product", hex(number)], f": {name}\n") for number, name in PRODUCTS.items())
    yield from ((["build", str(build)], f"build {build}: ") for build in (0, 1, 514, 589824, 0xFFFF_FFFF))
    yield from (([one.name], f"driver {one.name}: {one.title}") for one in DRIVERS)
    yield from (([name], f"profile {name}: ") for name in profiles())
    yield from (([one.name], f"field {one.name}: ") for one in FIELDS)
    yield from (
        ([name], f"identity {name}: ") for name in ("5853:0001", "5853:0002", "5853:c000", "fffd:0101", "5853:c1ff")
    )


@pytest.mark.parametrize(("words", "heading"), dict.fromkeys((" ".join(w), h) for w, h in _declared()))
def test_everything_that_is_declared_is_explained(
    words: str, heading: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *words.split()]) == 0
    said = " ".join(capsys.readouterr().out.split())  # a long heading is wrapped at the width of the terminal
    assert " ".join(heading.split()) in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_the_index_lists_can_be_explained(kind: Kind) -> None:
    listed = page().facts[kind.plural]
    assert listed
    for name in kind.names():
        assert explain([name])
        assert explain([kind.name, name])
        assert explain([name.upper()])
    assert kind.plural in shown(explain([kind.plural])) or kind.name in shown(explain([kind.plural]))


def test_several_words_are_explained_one_after_the_other() -> None:
    pages = explain(["port", "0x12", "magic", "product", "2"])
    assert [(one.kind, one.name) for one in pages] == [("port", "0x12"), ("register", "magic"), ("product", "2")]


def test_a_word_with_several_meanings_is_explained_as_each() -> None:
    assert [(one.kind, one.name) for one in explain(["linux"])] == [("product", "3"), ("driver", "linux")]
    assert [(one.kind, one.name) for one in explain(["bar0"])] == [("port", "bar0"), ("field", "BAR0")]
    assert {one.kind for one in explain(["0xffff"])} == {"constant", "product"}


# -- registers and ports


def test_a_register_says_where_it_is_and_what_it_means() -> None:
    magic = page("magic")
    assert magic.title == "read 2 bytes at port 0x10"
    values = table(magic.facts["values"])
    assert values["0x49d2"] == "Xen platform device, not blacklisted"
    assert values["0xd249"] == "driver blacklisted"
    assert "no upstream QEMU" in str(magic.facts["lineages"])
    assert "0xd249 for a driver that is blacklisted" in str(magic.facts["the device"])


def test_a_register_names_those_that_another_width_or_direction_reaches() -> None:
    assert page("unplug_mask").facts["also there"] == [
        ("read 1 byte", "flags"), ("write 1 byte", "flags"), ("read 2 bytes", "magic"),
        ("write 4 bytes", "build_number"),
    ]  # fmt: skip


def test_characters_of_the_log_are_one_row() -> None:
    values = table(page("bar0_log").facts["values"])
    assert list(values) == ["0x1", "0x2", "0xa", "any other"]
    assert "unplug IDE and SCSI disks" in values["0x1"]


@pytest.mark.parametrize(
    ("port", "reached"),
    [
        ("0x10", {"read 1 byte": "flags", "write 1 byte": "flags", "read 2 bytes": "magic",
                  "write 2 bytes": "unplug_mask", "read 4 bytes": "", "write 4 bytes": "build_number"}),
        ("0x11", {"read 1 byte": "", "write 1 byte": "unplug_type", "read 2 bytes": "", "write 2 bytes": "",
                  "read 4 bytes": "", "write 4 bytes": ""}),
        ("0x12", {"read 1 byte": "protocol_version", "write 1 byte": "log", "read 2 bytes": "",
                  "write 2 bytes": "product_number", "read 4 bytes": "", "write 4 bytes": ""}),
        ("0x13", {"read 1 byte": "", "write 1 byte": "unplug_index", "read 2 bytes": "", "write 2 bytes": "",
                  "read 4 bytes": "", "write 4 bytes": ""}),
    ],
)  # fmt: skip
def test_a_port_is_told_by_width_and_direction(port: str, reached: dict[str, str]) -> None:
    """The tables of qemu-observed.md 1 and protocol.md 1.3."""
    rows: Any = page("port", port).facts["accesses"]
    assert {row[0]: row[1] for row in rows} == reached
    assert {row[2] for row in rows if not row[1]} == {
        *("no register here: all ones" for row in rows if not row[1] and row[0].startswith("read")),
        *("no register here: ignored" for row in rows if not row[1] and row[0].startswith("write")),
    }


def test_bar1_reads_as_was_observed() -> None:
    """qemu-observed.md 3.3 and 3.4."""
    assert page("port", "bar1").facts["functions"] == [
        ("xen-platform", "16 MiB", "reads 0x00000000", "ignores what is written"),
        ("xen-pvdevice", "4 MiB", "reads 0xffffffff", "ignores what is written"),
    ]


# -- the mask


def test_nvme_disks_go_with_bit_3_since_2_10_alone_and_before_that_with_bit_0() -> None:
    for name, mask in (("qemu-2.9", "1"), ("xcp-ng-2.10", "1"), ("xcp-ng-4.2", "1"), ("qemu-2.10", "8"),
                       ("qemu-10.2", "8"), ("kvm-xen-8.0", "8")):  # fmt: skip
        other = "8" if mask == "1" else "1"
        assert "NVMe controllers" in takes(name, mask)
        assert "NVMe controllers" not in takes(name, other)
    for name in ("qemu-2.8", "qemu-xen-traditional", "xenserver-trad"):
        assert "NVMe" not in takes(name, "0xf")


def test_bit_2_works_since_2_9_and_leaves_the_primary_master() -> None:
    assert takes("qemu-2.8", "4") == "nothing"
    assert takes("qemu-2.9", "4") == "IDE disks (given by -drive, except the primary master)"
    assert takes("qemu-xen-traditional", "4") == "IDE disks (given by -drive, except the primary master)"
    assert takes("qemu-7.2", "4") == "IDE disks (except the primary master)"


@pytest.mark.parametrize("name", ["qemu-7.2", "qemu-10.0", "qemu-10.2"])
def test_masks_take_away_what_was_observed(name: str) -> None:
    """qemu-observed.md 4: bit 3 alone takes all that bit 0 does, bits 2 and 3 spare primary master and SCSI."""
    alone, both, all_but_nvme = takes(name, "8"), takes(name, "0xc"), takes(name, "3")
    assert all(kind in alone for kind in ("IDE disks", "SCSI controllers", "NVMe controllers"))
    assert "except" not in alone
    assert "except the primary master" in both
    assert "NVMe controllers" in both
    assert "SCSI" not in both
    assert "NVMe" not in all_but_nvme
    assert takes(name, "5") == takes(name, "1")
    assert takes(name, "0") == takes(name, "0x10") == "nothing"
    assert ("SATA disks" in alone) == (name != "qemu-7.2")


def test_early_releases_take_away_less() -> None:
    """protocol.md 1.8."""
    assert takes("qemu-0.15", "0xf") == "nothing"
    assert takes("qemu-1.0", "2") == "nothing"
    assert takes("qemu-1.1", "2") == "NICs"
    assert takes("qemu-2.1", "1") == "IDE disks (given by -drive, except the secondary slave)"
    assert takes("qemu-2.2", "1") == "IDE disks (given by -drive)"
    assert takes("qemu-2.8", "1") == "IDE disks (given by -drive), SCSI controllers"
    assert takes("qemu-5.2", "1") == "IDE disks, SCSI controllers"


def test_network_back_ends_go_with_their_nics_since_2_10() -> None:
    goes = page("unplug").facts
    nics: Any = goes["NICs"]
    isa: Any = goes["ISA NICs' back ends"]
    assert covers(dict(isa)["bit 1"], "qemu-7.2")
    assert covers(dict(isa)["stay"], "qemu-8.2")
    assert covers(dict(isa)["stay"], "qemu-2.9")
    assert covers(dict(nics)["bit 1 (with the back ends of PCI models)"], "qemu-8.2")
    assert covers(dict(nics)["bit 1"], "qemu-2.9")


def test_what_no_mask_takes_away() -> None:
    """protocol.md 1.8, qemu-observed.md 4: CD drives never go, passed-through devices since 1.3, vfio-pci on KVM."""
    goes = page("unplug").facts
    assert goes["CD drives"] == [("stay", "every profile")]
    assert covers(table(goes["passed-through NICs"])["bit 1"], "qemu-1.2")
    assert covers(table(goes["passed-through NICs"])["stay"], "qemu-1.3")
    assert covers(table(goes["vfio-pci NICs"])["bit 1"], "qemu-7.2")
    assert covers(table(goes["vfio-pci NICs"])["stay"], "kvm-xen-10.0")


def test_a_bit_names_the_changes_that_made_it() -> None:
    rows: Any = page("nvme_disks").facts["history"]
    assert [(row[0], row[2]) for row in rows] == [
        ("qemu-2.9", "3d89e3f7e8"), ("qemu-2.10", "04d6da4ff6"), ("xcp-ng-2.10", "nvme-with-ide"),
    ]  # fmt: skip
    assert page("bit", "3").name == "nvme_disks"
    assert page("nvme_disks").title.startswith("bit 3 (0x8) of unplug_mask")


def test_the_word_for_the_masks_is_the_whole_table() -> None:
    assert page("masks") == page("mask") == page("unplug")


def test_bits_that_are_none_are_said_to_be_ignored() -> None:
    found = page("mask", "0x13")
    assert found.facts["ignored"] == "0x10"
    assert [row[1] for row in found.facts["bits"]] == ["ide_disks", "nics"]


# -- numbers


def test_the_two_magics_are_twins() -> None:
    for word, other in (("0x49d2", "0xd249"), ("0xd249", "0x49d2"), ("d249", "0x49d2"), ("18898", "0xd249")):
        (found,) = explain([word])
        twin = str(found.facts["twin"])
        assert "byte-swapped twins" in twin
        assert other in twin
    assert page("0xd249").facts["answered by"] == "qemu-xen-traditional, xenserver-trad"


def test_a_product_says_who_sends_it_and_whether_it_can_be_refused() -> None:
    """protocol.md 1.11: only 1, 2 and 0xffff have a name in a key; 1.6: the identity rules are for 1, 3 and 4."""
    senders = {name: [row[0] for row in page("product", name).facts["sent by"]] for name in ("2", "3", "0xffff")}
    assert senders == {"2": ["gplpv"], "3": ["linux", "xenserver-6.1"], "0xffff": ["windows-xenbus", "xenlinux"]}
    refused = {number: str(page("product", str(number)).facts["refused"]) for number in PRODUCTS}
    assert [number for number, said in refused.items() if "/mh/driver-blacklist/" in said] == [1, 2, 0xFFFF]
    assert [number for number, said in refused.items() if "identity" in said] == [1, 3, 4]
    assert "unregistered" in page("product", "77").title


@pytest.mark.parametrize(
    ("build", "product", "said"),
    [
        ("589824", "product 0xffff", "Windows PV (xenbus) 9.0.0"),
        ("0x02061200", "product 0xffff", "xenlinux 2.6.18"),
        ("514", "product 3", "XenServer 6.1/6.2 Windows (device id 0x0002, revision 2)"),
        ("1", "product 3", "Linux"),
        ("1", "product 2", "GPLPV"),
    ],
)
def test_a_build_is_told_under_each_product(build: str, product: str, said: str) -> None:
    rows: Any = page("build", build).facts["sent with"]
    assert {row[0]: row[2] for row in rows}[product] == said


def test_a_build_is_refused_on_an_identity_that_it_was_not_made_for() -> None:
    """protocol.md 1.6, blacklist rules: 514 was made for 5853:0002 revision 2; Linux's 1 for any."""
    assert page("build", "514").facts["refused"] == [
        ("product 3, 4", "xenserver-trad as 5853:0001 revision 1"),
        ("product 1", "xenserver-trad as 5853:0002 revision 2"),
    ]
    refused = table(page("build", "1").facts["refused"])
    assert not any(re.search(r"\b3\b", said) for said in refused)


# -- drivers


def test_a_driver_shows_its_sequence_with_its_meaning() -> None:
    """protocol.md 2.1."""
    found = page("driver", "linux")
    rows: Any = next(fact for name, fact in found.facts.items() if name.startswith("on "))
    assert [row[0] for row in rows] == [
        "inw 0x10 -> 0x49d2", "inb 0x12 -> 0x1", "outw 0x12 0x3", "outl 0x10 0x1", "inw 0x10 -> 0x49d2",
        "outw 0x10 0x3", "outcome",
    ]  # fmt: skip
    assert rows[5][1] == "unplug mask 0x0003: IDE and SCSI disks, NICs"
    assert [row[0] for row in found.facts["attaches to"]] == ["5853:0001", "5853:0002"]


def test_a_driver_that_upstream_refuses_is_shown_where_it_is_accepted() -> None:
    """protocol.md 2.6: protocol 2 is XenServer's."""
    rows: Any = page("driver", "xenserver-6.1").facts["on xenserver-trad"]
    assert [row[0] for row in rows][:7] == [
        "inw 0x10 -> 0x49d2", "outb 0x11 0x0", "outb 0x13 0x2", "inb 0x12 -> 0x2", "outw 0x12 0x3", "outl 0x10 0x202",
        "inw 0x10 -> 0x49d2",
    ]  # fmt: skip


def test_what_a_driver_logs_is_shown_as_text() -> None:
    said = [row[1] for row in page("windows-xenbus").facts["on qemu-10.2"] if row[0] == "says"]
    assert said == ["UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", "UNPLUG: DISKS", "UNPLUG: NICS"]


# -- profiles


def test_a_profile_tells_its_history_up_to_its_release() -> None:
    assert "25511f3e8c" in shown([page("qemu-8.2")])
    assert "25511f3e8c" not in shown([page("qemu-8.1")])
    rows: Any = page("qemu-8.2").facts["history"]
    assert len(rows) == len(history(profiles()["qemu-8.2"]))
    assert ("qemu-8.2", "2023-11", "25511f3e8c") in [row[:3] for row in rows]
    assert [row[0] for row in page("kvm-xen-8.0").facts["history"]][-2:] == ["kvm-xen-8.0"] * 2


@pytest.mark.parametrize("name", ["qemu-8.2", "xenserver-trad", "xcp-ng-4.2"])
def test_a_profile_tells_every_field(name: str) -> None:
    groups = {"accesses", "registers", "unplug", "identity"}
    told = {row[0] for group in groups for row in page(name).facts[group]}
    naming = {"name", "lineage", "version", "basis"}
    assert told == {one.name.replace("_", " ") for one in dataclasses.fields(Profile)} - naming


def test_a_field_tells_its_value_since_when_and_what_it_means() -> None:
    rows: Any = page("qemu-8.2").facts["unplug"]
    assert ("auxiliary", "yes", "since 2.9", "Whether mask bit 2 works.") in rows
    assert ("peers", "pci", "since 8.2") in [row[:3] for row in rows]
    assert ("nvme bit", "0x1", "since 2.10") in [row[:3] for row in page("xcp-ng-4.2").facts["unplug"]]


def test_a_point_release_is_its_minor_release() -> None:
    assert page("qemu-7.2.22") == page("qemu-7.2")
    assert page("qemu-7.2").facts["basis"] == "observed on the running device"
    assert str(page("qemu-8.2").facts["basis"]).startswith("documented")


def test_profiles_that_behave_alike_are_one_range() -> None:
    """protocol.md 1.8: nothing that can be modelled changed between 2.10 and 5.2, and since 8.2."""
    rows: Any = page("profiles").facts["profiles"]
    names = list(dict.fromkeys(row[0] for row in rows))
    assert "qemu-2.10 to 5.1" in names
    assert "qemu-8.2 to 10.2" in names
    assert sum(covers(known, name) for known in names for name in profiles()) == len(profiles())
    assert page("qemu-9.1").facts["the same"] == "qemu-8.2 to 10.2"
    assert {row[0] for row in page("kvm-xen").facts["profiles"]} == {"kvm-xen-8.0 to 8.1", "kvm-xen-8.2 to 10.2"}


# -- PCI


@pytest.mark.parametrize(
    ("word", "name", "title"),
    [
        ("5853:0002", "5853:0002", "xen-platform of XenServer"),
        ("0002", "5853:0002", "xen-platform of XenServer"),
        ("5853:c000", "5853:c000", "xen-pvdevice"),
        ("C100", "5853:c100", "a device of Citrix XenClient"),
        ("0xc2ff", "5853:c2ff", "a device of XCP-ng"),
        ("5853:1234", "5853:1234", "an unregistered Xen device"),
        ("fffd:0101", "fffd:0101", "xen-platform before 2006-09"),
    ],
)
def test_an_identity_says_whose_it_is(word: str, name: str, title: str) -> None:
    found = page(word)
    assert (found.kind, found.name, found.title) == ("identity", name, title)


def test_an_identity_tells_who_attaches_to_it_and_what_it_holds() -> None:
    """protocol.md 1.1, 1.6 and 1.10; sizes by qemu-observed.md 3.1 and 3.4."""
    newer = page("5853:0002")
    assert {row[0] for row in newer.facts["attached by"]} == {"linux", "windows-xenbus", "xenserver-6.1"}
    assert newer.facts["as a property"] == "xenserver-trad, xcp-ng-2.10 to 4.2"
    assert ("revision", "0x02", "") in newer.facts["function"]
    older = {(row[0], row[1]) for row in page("5853:0001").facts["function"]}
    assert ("class code", "0xff8000 (unassigned, as Xen's platform device)") in older
    assert ("BAR0", "256 I/O ports, 0xffffff01 when asked for its size") in older
    assert ("BAR1", "16 MiB of memory, 0xff000008 when asked for its size") in older
    beside = {(row[0], row[1]) for row in page("5853:c000").facts["function"]}
    assert ("BAR0", "none") in beside
    assert ("class code", "0x088000 (system peripheral)") in beside


def test_a_field_of_config_space_says_what_can_be_written() -> None:
    """qemu-observed.md 3.1: of the command 0x0507; 1.2: 0 at power-on, and 3 for qemu-xen-traditional's lineage."""
    command = page("command")
    assert command.title == "2 bytes at offset 0x04 of config space"
    assert ("xen-platform", "0x0507") in command.facts["writable"]
    assert ("0x004", "bus master") in command.facts["bits"]
    at_start: Any = command.facts["at start"]
    assert covers(dict(at_start[:2])["0x0003 (I/O, memory)"], "xenserver-trad")
    assert covers(dict(at_start[:2])["0x0000 (nothing decoded)"], "qemu-10.0")


# -- at the terminal


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("unplug_maks", "unplug_mask"),
        ("qemu-8.3", "qemu-8.2"),
        ("profile qemu-11.0", "qemu-10.0"),
        ("product linus", "linux"),
        ("nvme_disk", "nvme_disks"),
        ("port 0x20", "0x10"),
        ("magic windows-xenbos", "windows-xenbus"),
    ],
)
def test_an_unknown_word_is_told_with_near_ones(words: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words.split()]) == 2
    done = capsys.readouterr()
    assert done.err.count("\n") == 1
    assert near in done.err
    assert not done.out


def test_a_word_that_nothing_is_near_to_says_where_to_look() -> None:
    for words in (["zzz"], ["mask", "0x10000"], ["bar0+0x100"], ["8086:1237"], ["build", "-1"], ["0x14d2"]):
        with pytest.raises(XptraceError, match=r"xptrace explain|did you mean"):
            explain(words)


def test_an_unknown_word_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "\x1b[31mmagic\n"]) == 2
    done = capsys.readouterr()
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("width", [40, 63, 80, 100])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    for kind in KINDS:
        for name in kind.names():
            for one in explain([kind.name, name]):
                assert max(map(len, page_lines(one, width))) <= width
    for word in (kind.plural for kind in KINDS):
        assert max(map(len, shown(explain([word]), width).splitlines())) <= width


def test_narrow_and_wide_lines_say_the_same() -> None:
    for one in explain(["unplug", "qemu-8.2", "windows-xenbus", "5853:0001", "nvme_disks"]):
        narrow, wide = (Counter("".join(page_lines(one, width)).replace(" ", "")) for width in (100, 200))
        assert narrow == wide


def test_the_width_is_the_terminal_s_but_at_most_100() -> None:
    for columns, most in (("60", 60), ("200", 100)):
        done = subprocess.run(
            [sys.executable, "-m", "xptrace", "explain", "unplug"], capture_output=True, text=True, check=True,
            env={**os.environ, "COLUMNS": columns, "PYTHONUTF8": "1"},
        )  # fmt: skip
        assert most - 20 < max(map(len, done.stdout.splitlines())) <= most


def test_the_command_as_a_person_uses_it(xptrace: Callable[..., Any]) -> None:
    done = xptrace("explain", "magic", "unplug")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("register magic: read 2 bytes at port 0x10\n")
    assert "\n\nmask unplug: " in done.out
    assert "\x1b" not in done.out
    listed = xptrace("explain")
    assert listed.code == 0
    for kind in KINDS:
        assert f"\n  {kind.plural} " in listed.out


def test_one_object_for_each_thing(xptrace: Callable[..., Any]) -> None:
    rows = xptrace("explain", "-T", "jsonl", "linux", "profiles", "0x10").rows
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("product", "3"), ("driver", "linux"), ("all", "profiles"), ("port", "0x10"),
    ]  # fmt: skip
    for row in rows:
        assert list(row) == ["kind", "name", "title", "facts"]
        assert all(isinstance(fact, str | list) and fact for fact in row["facts"].values())
        assert all(row["facts"])


def test_a_page_is_written_to_a_file_whole(xptrace: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "page.txt"
    assert xptrace("explain", "-o", target, "magic").out == ""
    assert target.read_text().startswith("register magic: ")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_only_on_a_terminal(no_color: str, coloured: bool) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "xptrace", "explain", "rom_lock"], stdout=slave, stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"},
    ) as process:  # fmt: skip
        process.wait(60)
    os.close(slave)
    said = os.read(master, 65536)
    os.close(master)
    assert (b"\x1b[1mbit rom_lock" in said) == coloured


def test_nothing_heavy_is_imported() -> None:
    heavy = "numpy", "pandas", "pyarrow", "scapy", "matplotlib", "rich"
    code = (
        "import sys; from xptrace.cli import main; main(['explain', 'unplug', 'qemu-8.2', 'linux', '5853:0001']);"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
