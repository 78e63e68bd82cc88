"""Sizes that a source does not record follow from the order of the steps, and are left open where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform.registers import Direction
from xptrace.access import rows
from xptrace.access.decode import Decoder
from xptrace.access.widths import Widths
from xptrace.model.access import Access
from xptrace.model.drivers import DRIVERS, When, find_driver, parse_options, play

MAGIC, BLACKLISTED = 0x49D2, 0xD249
Step = tuple[Direction, int, int, int | None]
"""Direction, port, size, value."""


def inferred(steps: Iterable[Step], widths: Widths | None = None) -> list[int | None]:
    found = widths or Widths()
    return [found.infer(direction, port, value) for direction, port, _, value in steps]


def sizes(steps: Iterable[Step]) -> list[int | None]:
    return [size for _, _, size, _ in steps]


def steps_of(text: str) -> list[Step]:
    """Steps as the documents write them: `r16 10 49d2; w8 12 41`."""
    found = []
    for one in filter(None, text.split("; ")):
        what, port, value = one.split()
        direction: Direction = "read" if what[0] == "r" else "write"
        found.append((direction, int(port, 16), int(what[1:]) // 8, int(value, 16)))
    return found


def asked(product: str, build: str) -> str:
    return f"r16 10 49d2; r8 12 1; w16 12 {product}; w32 10 {build}; r16 10 49d2"


LINUX = asked("3", "1") + "; w16 10 3"


@pytest.mark.parametrize(
    "text",
    [
        LINUX, LINUX + "; " + LINUX,  # a boot, and resume
        asked("3", "1"),  # xen_emul_unplug=unnecessary
        asked("ffff", "2061200") + "; w16 10 7; w16 10 7",  # xenlinux, and resume by the mask alone
        asked("ffff", "2061200") + "; w16 10 0",  # dev_unplug=never
        asked("ffff", "2061200") + "; w16 10 f",  # of 2010-01
        asked("ffff", "90000") + "; w16 10 1; w16 10 2",  # Windows
        asked("ffff", "90000") + "; w8 12 55; w8 12 a; w16 10 9; w8 12 4e; w16 10 2",  # with its log
        "r16 10 d249; w16 10 1; w16 10 2",  # Windows, blacklisted before
        "r16 10 49d2; r8 12 0; w16 10 3", "r16 10 49d2; r8 12 0; w16 10 0",  # protocol 0
        "r16 10 49d2; r8 12 1; w8 12 71; w8 12 65; w8 12 a; w16 12 2; w32 10 1; r16 10 49d2; w16 10 3",  # GPLPV's log
        asked("cd", "5019") + "; w16 10 7",  # VMDP
        "r16 10 49d2; w16 10 3",  # the BSDs
        "w8 10 0; w8 10 1; " + LINUX + "; w8 10 0; w8 10 1; " + LINUX,  # firmware, at each boot
        "w8 10 0; w8 10 0; w8 10 1",  # and the device model's own start
        "r16 10 49d2; w8 11 0; w8 13 2; r8 12 2; w16 12 3; w32 10 202; r16 10 49d2; w8 11 1; w8 13 0; w8 11 2; w8 13 1",
        "r16 10 49d2; r8 12 1; w16 12 3; w32 10 1; r16 10 d249",  # refused
        "w8 12 58; w8 12 45; w8 12 c3; w8 12 a9; w8 12 a; " + LINUX,  # a log that goes on from before a migration
        asked("ffff", "90000") + "; r16 10 d249; w16 10 1",
    ],
)  # fmt: skip
def test_the_steps_of_a_driver_have_their_sizes(text: str) -> None:
    steps = steps_of(text)
    assert inferred(steps) == sizes(steps)


@pytest.mark.parametrize(
    "text",
    [
        "w16 10 3", "w32 10 1", "w8 10 1",  # alone, a write may be of the mask, the build or the flags
        "w16 12 3", "w8 12 3", "w16 12 ffff",  # the product, or a character
        "w8 12 fe", "r32 10 ffffffff", "r16 10 ffffffff", "r32 12 ffffffff",
        "r8 10 0",  # the flags, or any read before Xen 4.2
        "w8 11 1", "w8 13 2", "w32 11 100", "r8 11 0",
    ],
)  # fmt: skip
def test_what_nothing_decides_is_left_open(text: str) -> None:
    assert inferred(steps_of(text)) == [None]


def test_a_string_access_is_left_open_and_does_not_disturb_the_order() -> None:
    steps = steps_of(LINUX)
    widths = Widths()
    for step in steps:
        assert widths.infer("write", 0x12, None) is None
        assert inferred([step], widths) == [step[2]]


@pytest.mark.parametrize(
    ("text", "size"),
    [("r16 10 ffff", 2), ("r8 12 ff", 1), ("r16 12 ffff", 2), ("r8 13 ff", 1), ("w32 10 10000", 4),
     ("w32 12 12345678", 4), ("r8 10 1", 1), ("w8 12 41", 1), ("w8 12 a", 1)],
)  # fmt: skip
def test_some_values_have_one_size_only(text: str, size: int) -> None:
    assert inferred(steps_of(text)) == [size]


def test_other_ports_are_not_asked_about_and_do_not_disturb_the_order() -> None:
    steps = steps_of(LINUX)
    widths = Widths()
    for step in steps:
        assert inferred(steps_of("w8 f 3; r32 cfc 15853; w16 14 3"), widths) == [None] * 3
        assert inferred([step], widths) == [step[2]]


def test_after_something_that_no_driver_does_the_order_says_nothing_until_the_magic_is_read() -> None:
    (before, strange, mask, again) = steps_of("r16 10 49d2; r8 10 1; w16 10 3; r16 10 49d2")
    assert inferred([before, strange, mask, again, mask]) == [2, 1, None, 2, 2]


# -- the models


SETTINGS: dict[str, list[list[str]]] = {
    "linux": [[], ["xen_emul_unplug=unnecessary"], ["xen_emul_unplug=all"], ["netfront=no"]],
    "xenlinux": [[], ["era=2010-01"], ["era=2010-02"], ["dev_unplug=never"], ["kernel=255.255.255"]],
    "gplpv": [[], ["mask=1"]], "citrix-legacy": [["build=41700", "mask=2"]],
    "vmdp": [[], ["control=net"], ["control=disk"]],
    "windows-xenbus": [[], ["version=8.2.2"], ["nvme=yes"], ["boot_emulated=yes"], ["disks=no", "nics=no"], ["cpus=3"]],
    "xenserver-6.1": [[], ["devices=ide0,ide2,nic1"]], "freebsd": [[], ["disable_pv_disks=yes"]],
}  # fmt: skip


@pytest.mark.parametrize("when", ["boot", "resume"])
@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("answers", [(MAGIC, MAGIC), (BLACKLISTED, BLACKLISTED), (MAGIC, BLACKLISTED)])
@pytest.mark.parametrize(
    ("name", "settings"), [(one.name, settings) for one in DRIVERS for settings in SETTINGS.get(one.name, [[]])]
)
def test_no_driver_of_the_models_is_misread(
    name: str, settings: list[str], answers: tuple[int, int], version: int, when: When
) -> None:
    driver = find_driver(name)
    named = False

    def device(access: Access) -> int | None:
        nonlocal named
        if access.direction == "write":
            named |= (access.offset, access.size) == (0x10, 4)
            return None
        if (access.offset, access.size) == (0x10, 2):
            return answers[named]
        return version

    done = play(driver, device, parse_options(driver, settings), when)
    steps: list[Step] = [
        (access.direction, access.offset, access.size, answer if access.direction == "read" else access.value)
        for access, answer in done.steps if access.space == "pio" and access.offset in range(0x10, 0x14)
    ]  # fmt: skip
    found = inferred(steps)
    if steps and when == "resume" and name in ("gplpv", "xenlinux"):  # nothing in this source goes before the mask
        assert found.pop(0) == (1 if steps[0][3] == 0 else None)  # no mask at all looks like what firmware does
        steps = steps[1:]
    assert found == sizes(steps)


# -- the recordings


def observed(path: Path) -> list[Step]:
    """The accesses of the fixed ports that QEMU logged, with their sizes."""
    return [
        (row.direction, row.address, row.size, row.value) for row in Decoder([str(path)]).rows()
        if isinstance(row, rows.Access) and row.space == "pio" and row.size is not None
        and row.address is not None and row.address in range(0x10, 0x14)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recording", "count"),
    [
        ("linux-default/qemu-trace.log.gz", 6), ("unplug-ide-disks/qemu-trace-unplug-ide-disks.log.gz", 6),
        ("unplug-unnecessary/qemu-trace-unplug-unnecessary.log.gz", 5), ("two-guests/qemu-trace-twoA.log.gz", 6),
        ("two-guests/qemu-trace-twoB.log.gz", 6), ("migrate-local/qemu-trace-212.log.gz", 6),
        ("migrate-local/qemu-trace-375.log.gz", 6), ("no-timestamp/qemu-trace-no-timestamp.log.gz", 6),
        ("pvdevice-both/qemu-trace-pvdevice-both.log.gz", 16),
    ],
)  # fmt: skip
def test_the_sizes_that_qemu_logged_of_a_driver_are_inferred(corpus: Path, recording: str, count: int) -> None:
    steps = observed(corpus / "recorded" / "real-xen" / recording)
    assert len(steps) == count
    assert inferred(steps) == sizes(steps)


@pytest.mark.parametrize(
    ("recording", "decided", "wrong"),
    [  # programs that are no drivers: they access each port in each size
        ("all-events/qemu-trace-all-events.log.gz", 16, 0),
        ("windows-like/qemu-trace-windows-like.log.gz", 5600, 0),
        ("unplug-steps/qemu-trace-unplug-steps.log.gz", 4, 0),
        # the flags written behind a read of the magic, as the BSDs write the mask
        ("unplug-never-probe/qemu-trace-unplug-never-probe.log.gz", 4300, 1),
    ],
)
def test_programs_that_are_no_drivers_leave_much_open_but_hardly_mislead(
    corpus: Path, recording: str, decided: int, wrong: int
) -> None:
    steps = observed(corpus / "recorded" / "real-xen" / recording)
    pairs = list(zip(inferred(steps), sizes(steps), strict=True))
    assert sum(found is not None for found, _ in pairs) >= decided
    assert sum(found not in (None, true) for found, true in pairs) == wrong


RAW = re.compile(r"(?P<dir>READ|WRITE) +port=0x00(?P<port>1[0-3]) data=(?:0x)?(?P<data>\S+) ")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("linux-default", [2, 1, 2, 4, 2, 2]), ("two-guests", [2, 1, 2, 4, 2, 2] * 2),
        ("windows-like", [2, 1, 2, 4, 2, None, None, 2, None, 2, *[None] * 6, *[1] * 42]),
        ("no-platform-pci", [None]),
    ],
)
def test_what_xentrace_recorded_has_the_sizes_that_the_guest_used(
    corpus: Path, folder: str, expected: list[int | None]
) -> None:
    text = (corpus / "recorded" / "real-xen" / folder / "xentrace.ports10-1f.raw.txt").read_text()
    steps: list[Step] = [
        ("read" if row["dir"] == "READ" else "write", int(row["port"], 16), 0,
         None if row["data"] == "-" else int(row["data"], 16)) for row in RAW.finditer(text)
    ]  # fmt: skip
    assert inferred(steps)[: len(expected)] == expected


@given(st.lists(st.tuples(
    st.sampled_from(["read", "write"]), st.integers(0x0E, 0x15),
    st.none() | st.integers(0, (1 << 32) - 1) | st.sampled_from([MAGIC, BLACKLISTED, 0, 1, 3, 0xFF, 0xFFFF, 0x41]),
)))
def test_a_size_always_holds_the_value(accesses: list[tuple[Direction, int, int | None]]) -> None:
    widths = Widths()
    for direction, port, value in accesses:
        size = widths.infer(direction, port, value)
        assert size in (None, 1, 2, 4)
        if size is not None:
            assert value is not None
            assert value < 1 << 8 * size
