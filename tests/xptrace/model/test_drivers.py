"""What each driver does to the ports: the table and the failures of the protocol's documents, and real recordings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xptrace.access import rows
from xptrace.access.decode import Decoder
from xptrace.model.access import Access, read, write
from xptrace.model.drivers import (
    DRIVERS,
    Device,
    Driver,
    Options,
    Play,
    Step,
    When,
    declared,
    find_driver,
    follow,
    matches,
    negotiates,
    negotiation,
    parse_options,
    play,
    recognise,
    spell,
)

MAGIC, BLACKLISTED = 0x49D2, 0xD249


@dataclass
class Good:
    """A device that accepts, or answers as told: the first magic, the magic after a build, the version."""

    first: int | None = MAGIC
    second: int | None = MAGIC
    version: int | None = 1
    chosen: int | None = None
    """What the version reads once one was chosen through port 0x13; missing for a device without that choice."""
    named: bool = False

    def __call__(self, access: Access) -> int | None:
        if access.direction == "write":
            self.named |= (access.offset, access.size) == (0x10, 4)
            if (access.offset, access.size) == (0x13, 1) and self.chosen is not None:
                self.version = self.chosen
            return None
        if (access.offset, access.size) == (0x10, 2):
            return self.second if self.named else self.first
        return self.version if (access.offset, access.size) == (0x12, 1) else (1 << 8 * access.size) - 1


def shown(access: Access) -> str:
    """An access as the table has it: r16 10, w16 10 3."""
    place = f"{access.offset:x}" if access.space == "pio" else f"{access.space}+{access.offset}"
    value = "" if access.value is None else f" {access.value:x}"
    return f"{'r' if access.direction == 'read' else 'w'}{8 * access.size} {place}{value}"


def is_log(access: Access) -> bool:
    return (access.space, access.offset, access.size, access.direction) == ("pio", 0x12, 1, "write")


def run(name: str, *settings: str, device: Device | None = None, when: When = "boot") -> Play:
    driver = find_driver(name)
    return play(driver, Good() if device is None else device, parse_options(driver, settings), when)


def sequence(done: Play) -> str:
    return "; ".join(shown(access) for access, _ in done.steps if not is_log(access))


def log(done: Play) -> list[str]:
    return bytes(access.value or 0 for access, _ in done.steps if is_log(access)).decode().splitlines()


PREAMBLE = "r16 10; r8 12; w16 12 {}; w32 10 {}; r16 10"
LINUX = PREAMBLE.format("3", "1")
XENBUS = PREAMBLE.format("ffff", "90000")
XENLINUX = PREAMBLE.format("ffff", "2061200")
PROTOCOL_2 = "r16 10; w8 11 0; w8 13 2; r8 12; w16 12 3; w32 10 202; r16 10"


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("linux", [], f"{LINUX}; w16 10 3"),
        ("linux", ["netfront=no"], f"{LINUX}; w16 10 1"),
        ("linux", ["blkfront=no"], f"{LINUX}; w16 10 2"),
        ("linux", ["xen_emul_unplug=all"], f"{LINUX}; w16 10 7"),
        ("linux", ["xen_emul_unplug=ide-disks"], f"{LINUX}; w16 10 1"),
        ("linux", ["xen_emul_unplug=aux-ide-disks,nics"], f"{LINUX}; w16 10 6"),
        ("linux", ["xen_emul_unplug="], f"{LINUX}; w16 10 7"),
        ("linux", ["xen_emul_unplug=n"], f"{LINUX}; w16 10 2"),
        ("linux", ["xen_emul_unplug=unnecessary"], LINUX),
        ("linux", ["xen_emul_unplug=never"], ""),
        ("xenlinux", [], f"{XENLINUX}; w16 10 7"),
        ("xenlinux", ["kernel=2.6.32"], f"{PREAMBLE.format('ffff', '2062000')}; w16 10 7"),
        ("xenlinux", ["dev_unplug=ide-disks,nics"], f"{XENLINUX}; w16 10 3"),
        ("xenlinux", ["dev_unplug=never"], f"{XENLINUX}; w16 10 0"),
        ("xenlinux", ["era=2010-02"], f"{XENLINUX}; w16 10 0"),
        ("xenlinux", ["era=2010-02", "dev_unplug=all"], f"{XENLINUX}; w16 10 7"),
        ("xenlinux", ["era=2010-01", "dev_unplug=nics"], f"{XENLINUX}; w16 10 f"),
        ("xenlinux", ["era=2009-07"], "r16 10; r8 12; w16 beef 12; w32 dead 10; r16 10; w16 f 10"),
        ("suse-legacy", [], "w32 bar0+4 1"),
        ("gplpv", [], f"{PREAMBLE.format('2', '1')}; w16 10 3"),
        ("gplpv", ["mask=1"], f"{PREAMBLE.format('2', '1')}; w16 10 1"),
        ("gplpv", ["filter_hide=yes"], ""),
        ("citrix-legacy", ["build=41700", "mask=2"], f"{PREAMBLE.format('1', 'a2e4')}; w16 10 2"),
        ("windows-xenbus", [], f"{XENBUS}; w16 10 1; w16 10 2"),
        ("windows-xenbus", ["version=8.2.2"], f"{PREAMBLE.format('ffff', '80202')}; w16 10 1; w16 10 2"),
        ("windows-xenbus", ["nvme=yes"], f"{XENBUS}; w16 10 9; w16 10 2"),
        ("windows-xenbus", ["boot_emulated=yes", "nics=no"], f"{XENBUS}; w16 10 4"),
        ("windows-xenbus", ["disks=no", "nics=no"], XENBUS),
        ("windows-xenbus", ["veto=vbd"], f"{XENBUS}; w16 10 2"),
        ("vmdp", [], f"{PREAMBLE.format('cd', '5019')}; w16 10 7"),
        ("vmdp", ["control=disk"], f"{PREAMBLE.format('cd', '5019')}; w16 10 5"),
        ("vmdp", ["control=net"], f"{PREAMBLE.format('cd', '5019')}; w16 10 2"),
        ("vmdp", ["control=none"], ""),
        ("vmdp", ["asks=no", "control=net"], "w32 bar0+8 2"),
        ("freebsd", [], "r16 10; w16 10 3"),
        ("freebsd", ["disable_pv_disks=yes"], "r16 10; w16 10 2"),
        ("freebsd", ["disable_pv_nics=yes"], "r16 10; w16 10 1"),
        ("freebsd", ["disable_pv_disks=yes", "disable_pv_nics=yes"], "r16 10"),
        ("freebsd-9", [], "r16 10; w16 10 3"),
        ("netbsd", [], "r16 10; w16 10 3"),
        ("openbsd", [], "r16 10; w16 10 7"),
        ("openbsd", ["xbf=no"], "r16 10; w16 10 2"),
        ("openbsd", ["xbf=no", "xnf=no"], "r16 10"),
        ("rombios", [], "w8 10 0; w8 10 1"),
        ("none", [], ""),
    ],
)
def test_a_driver_does_what_the_table_of_sequences_says(name: str, settings: list[str], expected: str) -> None:
    done = run(name, *settings)
    assert sequence(done) == expected
    masks = [access.value or 0 for access, _ in done.steps if shown(access).startswith("w16 10")]
    if masks:
        assert done.outcome.mask == sum(masks)


def test_xenserver_6_1_unplugs_device_by_device_where_there_is_protocol_2() -> None:
    done = run("xenserver-6.1", "devices=nic1,ide0,ide2", device=Good(chosen=2))
    assert sequence(done) == f"{PROTOCOL_2}; w8 11 2; w8 13 1; w8 11 1; w8 13 0; w8 11 1; w8 13 2"
    assert (done.outcome.verdict, done.outcome.devices) == ("accepted", ((2, 1), (1, 0), (1, 2)))
    assert done.outcome.mask is None


def test_xenserver_6_1_refuses_a_device_that_knows_protocol_1_alone() -> None:
    done = run("xenserver-6.1")
    assert sequence(done) == "r16 10; w8 11 0; w8 13 2; r8 12"
    assert (done.outcome.verdict, done.outcome.pv, done.outcome.devices) == ("refused", False, ())


@pytest.mark.parametrize(
    ("device", "expected", "verdict"),
    [
        (Good(first=0xFFFF), "r16 10", "refused"),
        (Good(first=None), "r16 10", "refused"),
        (Good(version=0), "r16 10; r8 12", "refused"),
        (Good(version=2), "r16 10; r8 12", "refused"),
        (Good(version=None), "r16 10; r8 12", "refused"),
        (Good(second=BLACKLISTED), LINUX, "blacklisted"),
        (Good(second=0xFFFF), LINUX, "blacklisted"),
    ],
)
def test_linux_neither_unplugs_nor_starts_pv_drivers_after_any_failure(
    device: Good, expected: str, verdict: str
) -> None:
    done = run("linux", device=device)
    assert sequence(done) == expected
    assert (done.outcome.verdict, done.outcome.mask, done.outcome.pv) == (verdict, None, False)


def test_linux_with_unnecessary_starts_pv_drivers_without_magic_but_not_with_an_unknown_version() -> None:
    unnecessary = "xen_emul_unplug=unnecessary"
    assert run("linux", unnecessary, device=Good(first=0xFFFF)).outcome.pv is True
    assert run("linux", unnecessary, device=Good(version=2)).outcome.pv is False
    assert run("linux", unnecessary).outcome.pv is True


BLACKLISTED_AFTER_BUILD: list[tuple[str, list[str], str, bool | None]] = [
    ("linux", [], LINUX, False),
    ("xenlinux", [], XENLINUX, False),
    ("gplpv", [], PREAMBLE.format("2", "1"), None),
    ("citrix-legacy", [], PREAMBLE.format("1", "1"), False),
    ("vmdp", [], PREAMBLE.format("cd", "5019"), False),
]


@pytest.mark.parametrize(("name", "settings", "expected", "pv"), BLACKLISTED_AFTER_BUILD)
def test_who_heeds_the_blacklist_unplugs_nothing(
    name: str, settings: list[str], expected: str, pv: bool | None
) -> None:
    done = run(name, *settings, device=Good(second=BLACKLISTED))
    assert sequence(done) == expected
    assert (done.outcome.verdict, done.outcome.mask, done.outcome.pv) == ("blacklisted", None, pv)


def test_xenserver_6_1_heeds_the_blacklist_too() -> None:
    done = run("xenserver-6.1", device=Good(chosen=2, second=BLACKLISTED))
    assert sequence(done) == PROTOCOL_2
    assert done.outcome.verdict == "blacklisted"


def test_windows_xenbus_unplugs_although_it_was_blacklisted() -> None:
    done = run("windows-xenbus", device=Good(second=BLACKLISTED))
    assert sequence(done) == f"{XENBUS}; w16 10 1; w16 10 2"
    assert (done.outcome.verdict, done.outcome.mask) == ("blacklisted", 3)
    assert log(done) == ["UNPLUG: PRE-AMBLE (DRIVERS BLACKLISTED)", "UNPLUG: DISKS", "UNPLUG: NICS"]


def test_windows_xenbus_names_nothing_when_it_is_blacklisted_from_the_start() -> None:
    done = run("windows-xenbus", "boot_emulated=yes", device=Good(first=BLACKLISTED))
    assert sequence(done) == "r16 10; w16 10 4; w16 10 2"
    assert done.outcome.verdict == "blacklisted"
    assert log(done) == ["UNPLUG: PRE-AMBLE (DRIVERS BLACKLISTED)", "UNPLUG: AUX DISKS", "UNPLUG: NICS"]


def test_windows_xenbus_without_the_magic_tells_no_preamble_and_only_a_checked_build_stops() -> None:
    done = run("windows-xenbus", device=Good(first=0xFFFF))
    assert sequence(done) == "r16 10; w16 10 1; w16 10 2"
    assert done.outcome.verdict == "refused"
    assert log(done) == ["UNPLUG: DISKS", "UNPLUG: NICS"]
    assert sequence(run("windows-xenbus", "checked=yes", device=Good(first=0xFFFF))) == "r16 10"


def test_windows_xenbus_tells_its_steps_to_the_log_in_their_order() -> None:
    done = run("windows-xenbus")
    told = "".join(
        chr(access.value or 0) if is_log(access) else f"[{shown(access)}]" for access, _ in done.steps
    )
    assert told == (
        f"[{XENBUS.replace('; ', '][')}]UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)\n[w16 10 1]UNPLUG: DISKS\n"
        "[w16 10 2]UNPLUG: NICS\n"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xenlinux", "r16 10; r8 12; w16 10 7"),
        ("gplpv", "r16 10; r8 12; w16 10 3"),
        ("citrix-legacy", "r16 10; r8 12; w16 10 3"),
        ("windows-xenbus", "r16 10; r8 12; w16 10 1; w16 10 2"),
        ("vmdp", "r16 10; r8 12; w16 10 7"),
    ],
)
def test_version_0_skips_product_and_build(name: str, expected: str) -> None:
    done = run(name, device=Good(version=0))
    assert sequence(done) == expected
    assert done.outcome.verdict == "accepted"


@pytest.mark.parametrize("name", ["xenlinux", "gplpv", "vmdp"])
def test_who_knows_versions_0_and_1_refuses_any_other(name: str) -> None:
    done = run(name, device=Good(version=2))
    assert sequence(done) == "r16 10; r8 12"
    assert done.outcome.verdict == "refused"


@pytest.mark.parametrize("answer", [BLACKLISTED, 0xFFFF])
@pytest.mark.parametrize("name", ["freebsd", "freebsd-9", "netbsd", "openbsd", "linux", "xenlinux", "gplpv"])
def test_who_does_not_find_the_magic_does_nothing_more(name: str, answer: int) -> None:
    done = run(name, device=Good(first=answer))
    assert sequence(done) == "r16 10"
    assert done.outcome.verdict == ("blacklisted" if answer == BLACKLISTED else "refused")
    assert f"0x{answer:04x}" in done.outcome.sentence


@pytest.mark.parametrize(
    ("control", "expected", "mask"),
    [("all", "w32 bar0+4 1", 3), ("disk", "w32 bar0+8 1", 1), ("net", "w32 bar0+8 2", 2)],
)
def test_vmdp_falls_back_to_bar0_where_the_magic_is_not_there(control: str, expected: str, mask: int) -> None:
    done = run("vmdp", f"control={control}", device=Good(first=BLACKLISTED))
    assert sequence(done) == f"r16 10; {expected}"
    assert (done.outcome.verdict, done.outcome.mask) == ("unasked", mask)


def test_xenlinux_goes_on_without_handshake_if_it_was_told_to_unplug_nothing() -> None:
    for device in (Good(first=0xFFFF), Good(version=3)):
        assert run("xenlinux", "dev_unplug=never", device=device).outcome.pv is True
        assert run("xenlinux", device=device).outcome.pv is False
    assert run("xenlinux", "dev_unplug=never", device=Good(second=BLACKLISTED)).outcome.pv is False


def test_gplpv_stamps_its_lines_with_milliseconds_since_1601() -> None:
    assert log(run("gplpv")) == ["13048960291467: qemu version = 1", "13048960291467: disabled qemu devices 03"]
    assert log(run("gplpv", "clock_ms=13000000000000", device=Good(second=BLACKLISTED)))[-1] == (
        "13000000000000: qemu we are blacklisted"
    )
    assert log(run("gplpv", device=Good(version=7)))[-1] == "13048960291467: unknown qemu version 7"


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("linux", [], f"{LINUX}; w16 10 3"),
        ("xenlinux", [], "w16 10 7"),
        ("xenlinux", ["era=2013-09"], ""),
        ("suse-legacy", [], ""),
        ("gplpv", [], "w16 10 3"),
        ("gplpv", ["mask=0"], ""),
        ("windows-xenbus", [], f"{XENBUS}; w16 10 1; w16 10 2"),
        ("vmdp", [], f"{PREAMBLE.format('cd', '5019')}; w16 10 7"),
        ("freebsd", [], "r16 10; w16 10 3"),
        ("freebsd-9", [], ""),
        ("netbsd", [], ""),
        ("rombios", [], ""),
        ("none", [], ""),
    ],
)
def test_what_is_repeated_at_resume(name: str, settings: list[str], expected: str) -> None:
    assert sequence(run(name, *settings, when="resume")) == expected


def test_xenserver_6_1_replays_its_devices_by_type_and_index() -> None:
    done = run("xenserver-6.1", "devices=nic1,ide2,ide0", device=Good(chosen=2), when="resume")
    assert sequence(done) == f"{PROTOCOL_2}; w8 11 1; w8 13 0; w8 11 1; w8 13 2; w8 11 2; w8 13 1"


def test_xenserver_6_1_replays_even_after_a_failed_handshake_unless_an_assertion_stops_it() -> None:
    handshake = "r16 10; w8 11 0; w8 13 2; r8 12"
    assert sequence(run("xenserver-6.1", "devices=nic0", when="resume")) == f"{handshake}; w8 11 2; w8 13 0"
    assert sequence(run("xenserver-6.1", "devices=nic0", "checked=yes", when="resume")) == handshake


def test_windows_xenbus_speaks_before_it_reads_the_magic_at_resume() -> None:
    done = run("windows-xenbus", "cpus=2", when="resume")
    assert log(done) == [
        "SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== (00000000)", "SUSPEND: EARLY (0)", "SUSPEND: EARLY (1)",
        "UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)", "UNPLUG: DISKS", "UNPLUG: NICS",
        "SUSPEND: LATE (0)", "SUSPEND: LATE (1)", "SUSPEND: <====",
    ]  # fmt: skip
    assert is_log(done.steps[0][0])


class TestOptions:
    def test_every_option_says_what_it_is_and_round_trips_through_its_text(self) -> None:
        for driver in DRIVERS:
            for option in declared(driver.options):
                assert option.about
                assert option.form
            assert parse_options(driver, []) == driver.options()
            assert spell(driver.options()) == ()

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("linux", ("xen_emul_unplug=ide-disks,nics", "blkfront=no")),
            ("xenlinux", ("dev_unplug=aux-ide-disks", "kernel=3.0.101", "era=2013-09")),
            ("xenserver-6.1", ("device_id=1", "devices=ide1,nic0")),
            ("windows-xenbus", ("version=8.2.2", "product=2", "nics=no", "veto=vbd,vif")),
        ],
    )
    def test_settings_are_spelled_as_they_are_read(self, name: str, settings: tuple[str, ...]) -> None:
        driver = find_driver(name)
        assert spell(parse_options(driver, settings)) == settings

    @pytest.mark.parametrize(
        ("name", "setting", "says"),
        [
            ("linux", "mask=3", "linux: no option 'mask': there are xen_emul_unplug, blkfront, netfront"),
            ("netbsd", "mask=3", "netbsd: no option 'mask': it has none"),
            ("linux", "blkfront", "linux: 'blkfront': expected blkfront=VALUE, where VALUE is yes or no"),
            ("linux", "blkfront=1", "linux: blkfront=1: expected yes or no"),
            ("gplpv", "mask=65536", "gplpv: mask=65536: expected a number from 0 to 0xffff"),
            ("gplpv", "mask=three", "gplpv: mask=three: expected a number from 0 to 0xffff"),
            (
                "linux", "xen_emul_unplug=disks",
                ("linux: xen_emul_unplug=disks: expected words of all, ide-disks, aux-ide-disks, nics, unnecessary, "
                 "never, with commas between"),
            ),
            ("vmdp", "control=ide", "vmdp: control=ide: expected one of all, disk, net, none"),
            (
                "windows-xenbus", "version=9.0",
                "windows-xenbus: version=9.0: expected three numbers such as 9.0.0, at most 65535.255.255",
            ),
            (
                "xenserver-6.1", "devices=usb0",
                "xenserver-6.1: devices=usb0: expected devices such as ide0,nic0, with an index up to 255, or nothing",
            ),
        ],
    )  # fmt: skip
    def test_a_setting_that_cannot_be_is_refused_in_one_line(self, name: str, setting: str, says: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
            parse_options(find_driver(name), [setting])

    def test_an_unknown_driver_is_refused_with_the_names_that_there_are(self) -> None:
        with pytest.raises(ValueError, match="no driver 'bsd': there are linux, windows-xenbus, freebsd"):
            find_driver("bsd")


class TestIdentities:
    @pytest.mark.parametrize(
        ("name", "device", "revision", "attaches"),
        [
            ("linux", 0x0001, 1, True),
            ("linux", 0xC000, 1, False),
            ("windows-xenbus", 0x0001, 2, True),
            ("windows-xenbus", 0x0002, 1, True),
            ("windows-xenbus", 0xC000, 1, True),
            ("windows-xenbus", 0xC000, 2, False),
            ("xenserver-6.1", 0x0002, 2, True),
            ("xenserver-6.1", 0x0001, 1, False),
            ("citrix-legacy", 0x0001, 1, True),
            ("citrix-legacy", 0x0002, 2, False),
            ("freebsd", 0x0001, 1, True),
            ("freebsd", 0x0002, 1, False),
            ("suse-legacy", 0x0001, 1, None),
        ],
    )
    def test_which_identities_a_driver_attaches_to(
        self, name: str, device: int, revision: int, attaches: bool | None
    ) -> None:
        assert find_driver(name).attaches_to(device, revision) is attaches

    def test_linux_attaches_to_0002_only_since_2025(self) -> None:
        (identity,) = [known for known in find_driver("linux").binds or () if known.device == 0x0002]
        assert "2025-02-27" in identity.source
        assert identity.since

    def test_unplugging_needs_only_the_ports_with_linux_and_an_active_device_with_windows(self) -> None:
        assert find_driver("linux").binding.needed is False
        assert find_driver("windows-xenbus").binding.needed is True
        assert "active device" in find_driver("windows-xenbus").binding.claim.sentence

    @pytest.mark.parametrize("name", ["windows-xenbus", "xenserver-6.1", "citrix-legacy"])
    def test_windows_stops_with_7b_when_the_identity_is_gone(self, name: str) -> None:
        gone = find_driver(name).next_boot.identity_gone
        assert "0x7B" in gone.sentence
        assert gone.certainty == "documented"

    def test_what_is_closed_source_is_labelled_as_assumed(self) -> None:
        assert find_driver("citrix-legacy").certainty == "assumed"
        assert find_driver("linux").certainty == "observed"


class TestFollowing:
    RECORDED: Sequence[Step] = [
        (read(0x10, 2), MAGIC), (read(0x12, 1), 1), (write(0x12, 2, 3), None), (write(0x10, 4, 1), None),
        (read(0x10, 2), MAGIC), (write(0x10, 2, 3), None),
    ]  # fmt: skip

    def test_a_driver_that_does_what_was_recorded_never_parts_from_it(self) -> None:
        linux = find_driver("linux")
        followed = follow(linux, linux.options(), self.RECORDED, Good(first=0xFFFF))
        assert followed.play.steps == tuple(self.RECORDED)
        assert (followed.explained, followed.parted, followed.left) == (6, None, ())

    def test_where_the_recording_ends_the_device_goes_on_and_the_rest_is_a_prediction(self) -> None:
        linux = find_driver("linux")
        followed = follow(linux, linux.options(), self.RECORDED[:4], Good(second=BLACKLISTED))
        assert (followed.explained, followed.parted) == (4, 4)
        assert followed.play.steps[4] == (read(0x10, 2), BLACKLISTED)
        assert followed.play.outcome.verdict == "blacklisted"

    def test_another_driver_parts_where_it_does_something_else(self) -> None:
        freebsd = find_driver("freebsd")
        followed = follow(freebsd, freebsd.options(), self.RECORDED, Good())
        assert (followed.explained, followed.parted) == (1, 1)
        assert followed.play.steps[1][0] == write(0x10, 2, 3)
        assert followed.left == tuple(self.RECORDED[1:])

    def test_what_if_an_answer_had_been_different(self) -> None:
        changed = [*self.RECORDED[:4], (read(0x10, 2), BLACKLISTED), *self.RECORDED[5:]]
        linux, windows = find_driver("linux"), find_driver("windows-xenbus")
        followed = follow(linux, linux.options(), changed, Good())
        assert (followed.explained, followed.left) == (5, tuple(changed[5:]))
        assert followed.play.outcome.verdict == "blacklisted"
        options = parse_options(windows, ["product=3", "version=0.0.1"])
        followed = follow(windows, options, changed[:5], Good())
        assert (followed.explained, followed.play.outcome.verdict, followed.play.outcome.mask) == (5, "blacklisted", 3)

    def test_log_bytes_and_the_pci_side_are_passed_over(self) -> None:
        noise: list[Step] = [
            (read(0x0A, 2, "pci-config"), 0xFF80), (write(0x12, 1, 0x41), None), (read(0, 4, "bar1"), 0),
            (write(8, 1, 0x41, "bar0"), None), (write(0x10, 1, 1), None), (read(0x10, 4), 0xFFFFFFFF),
        ]  # fmt: skip
        mixed = [step for recorded in self.RECORDED for step in (*noise, recorded)]
        assert negotiation(mixed) == tuple(self.RECORDED)
        linux = find_driver("linux")
        assert matches(linux, linux.options(), mixed) == 6

    def test_the_device_is_shown_everything_so_that_its_state_is_right_when_the_recording_ends(self) -> None:
        linux = find_driver("linux")
        shown: list[Access] = []

        def device(access: Access) -> int | None:
            shown.append(access)
            return 0

        follow(linux, linux.options(), self.RECORDED[:3], device)
        assert shown == [access for access, _ in self.RECORDED[:5]]

    def test_an_answer_that_was_not_recorded_is_the_devices(self) -> None:
        linux = find_driver("linux")
        without = [(access, None) for access, _ in self.RECORDED]
        assert follow(linux, linux.options(), without, Good()).explained == 6
        assert matches(linux, linux.options(), without) == 6


def observed(*paths: Path) -> list[Step]:
    """The accesses of recordings, as the model has them."""
    found: list[Step] = []
    for row in Decoder([str(path) for path in paths]).rows():
        if isinstance(row, rows.Access) and row.space == "pio" and row.address is not None and row.size is not None:
            value = None if row.direction == "read" else row.value
            access = Access(row.space, row.address - row.base, row.size, row.direction, value)
            found.append((access, row.value if row.direction == "read" else None))
    return found


def as_recorded(steps: Sequence[Step]) -> Device:
    """A device that gives the recorded answers, in their order."""
    answers = iter([answer for access, answer in steps if access.direction == "read"])
    return lambda access: next(answers) if access.direction == "read" else None


def without_log(done: Play) -> list[Step]:
    return [(access, answer) for access, answer in done.steps if not is_log(access)]


def test_the_handshake_of_a_linux_guest_is_linuxs(data: Path) -> None:
    for name in ("all-events-handshake.txt", "qemu-trace-linux-default.log.gz"):
        steps = observed(data / "real-xen" / name)
        best = recognise(steps)[0]
        assert (best.driver.name, best.options, best.explained, best.of) == ("linux", best.driver.options(), 6, 6)
        done = play(best.driver, as_recorded(negotiation(steps)), best.options)
        assert without_log(done) == list(negotiation(steps))
        assert done.outcome.verdict == "accepted"


@pytest.mark.parametrize(
    ("recording", "name", "settings", "count"),
    [
        ("real-xen/linux-default/qemu-trace.log.gz", "linux", (), 6),
        ("real-xen/unplug-ide-disks/qemu-trace-unplug-ide-disks.log.gz", "linux", ("xen_emul_unplug=ide-disks",), 6),
        ("real-xen/unplug-unnecessary/qemu-trace-unplug-unnecessary.log.gz", "linux",
         ("xen_emul_unplug=unnecessary",), 5),
        ("real-xen/migrate-local/qemu-trace-212.log.gz", "linux", (), 6),
        ("real-xen/migrate-local/qemu-trace-375.log.gz", "linux", (), 6),
        ("real-xen/windows-like/qemu-trace-windows-like.log.gz", "windows-xenbus", (), 7),
        # the test program that was recorded there went through xenbus's steps under numbers of its own
        ("qemu-oracle/10.0.13/05-windows-pv-negotiation/trace.log", "windows-xenbus",
         ("version=2307.0.0", "product=2"), 7),
    ],
)  # fmt: skip
def test_a_recorded_driver_is_named_and_played_again_exactly(
    corpus: Path, recording: str, name: str, settings: tuple[str, ...], count: int
) -> None:
    steps = observed(corpus / "recorded" / recording)
    best = recognise(steps)[0]
    assert (best.driver.name, spell(best.options), best.explained, best.when) == (name, settings, count, "boot")
    recorded = list(negotiation(steps))[:count]
    done = play(best.driver, as_recorded(recorded), best.options)
    assert without_log(done) == recorded


def test_windows_like_lines_of_xenbus_are_among_those_recorded(corpus: Path) -> None:
    path = corpus / "recorded" / "real-xen" / "windows-like" / "qemu-trace-windows-like.log.gz"
    texts = [row.text for row in Decoder([str(path)]).rows() if isinstance(row, rows.Message)]
    assert log(run("windows-xenbus")) == texts[1:4]


@pytest.mark.parametrize(
    ("name", "settings", "device"),
    [
        ("linux", ["xen_emul_unplug=nics"], Good()),
        ("linux", ["blkfront=no", "netfront=no"], Good()),
        ("xenlinux", ["kernel=2.6.32", "dev_unplug=ide-disks,nics"], Good()),
        ("xenlinux", ["era=2010-01"], Good()),
        ("xenlinux", ["era=2010-02"], Good()),
        ("xenlinux", ["era=2009-07"], Good()),
        ("suse-legacy", [], Good()),
        ("gplpv", ["mask=1"], Good()),
        ("citrix-legacy", ["build=41700", "mask=1"], Good()),
        ("xenserver-6.1", ["device_id=1", "revision=1", "devices=ide0,ide1,nic0"], Good(chosen=2)),
        ("xenserver-6.1", [], Good()),
        ("windows-xenbus", ["version=8.2.2", "disks=no", "nics=no"], Good()),
        ("windows-xenbus", ["version=9.1.5", "nvme=yes", "nics=no"], Good()),
        ("windows-xenbus", ["boot_emulated=yes"], Good(first=BLACKLISTED)),
        ("vmdp", ["control=disk"], Good()),
        ("vmdp", ["control=disk"], Good(first=0xFFFF)),
        ("vmdp", ["product=204", "build=20417"], Good()),
        ("freebsd", ["disable_pv_nics=yes"], Good()),
        ("openbsd", ["xnf=no"], Good()),
        ("rombios", [], Good()),
    ],
)
def test_a_play_is_recognised_as_its_drivers(name: str, settings: list[str], device: Good) -> None:
    done = run(name, *settings, device=device)
    best = recognise(done.steps)[0]
    assert best.driver.name == name
    assert best.explained == best.of > 0
    again = follow(best.driver, best.options, done.steps, as_recorded(done.steps))
    assert (again.left, again.parted) == ((), None)


def test_a_blacklisted_linux_needs_no_option_to_be_explained() -> None:
    best = recognise(run("linux", device=Good(second=BLACKLISTED)).steps)[0]
    assert (best.driver.name, spell(best.options), best.explained, best.of) == ("linux", (), 5, 5)


def test_a_mask_alone_is_the_resume_of_who_asks_nobody() -> None:
    names = [(found.driver.name, found.when) for found in recognise([(write(0x10, 2, 3), None)])]
    assert names == [("gplpv", "resume"), ("xenlinux", "resume")]


def test_two_steps_could_be_of_several_drivers() -> None:
    steps: list[Step] = [(read(0x10, 2), MAGIC), (write(0x10, 2, 3), None)]
    names = [found.driver.name for found in recognise(steps) if found.explained == 2]
    assert names == ["freebsd", "netbsd", "freebsd-9"]


def test_nothing_is_recognised_in_a_recording_without_negotiation() -> None:
    assert recognise([]) == []
    assert recognise([(write(0x12, 1, 0x41), None), (read(0x0A, 2, "pci-config"), 0xFF80)]) == []


ANSWERS = st.one_of(
    st.none(), st.sampled_from([MAGIC, BLACKLISTED, 0, 1, 2, 0xFF, 0xFFFF]), st.integers(-1, 1 << 33)
)
ELSEWHERE = {(0x0F, 2, 0x10), (0xBEEF, 2, 0x12), (0xDEAD, 4, 0x10)}
"""Where xenlinux of 2009-07 writes by mistake: offset, size, value."""
SETTINGS: dict[str, list[list[str]]] = {
    "linux": [[], ["xen_emul_unplug=unnecessary"], ["xen_emul_unplug=never"], ["xen_emul_unplug=all"]],
    "xenlinux": [[], ["era=2009-07"], ["era=2010-01"], ["dev_unplug=never"], ["kernel=255.255.255"]],
    "gplpv": [[], ["mask=0xffff"], ["clock_ms=0"]],
    "vmdp": [[], ["control=net"], ["asks=no"]],
    "windows-xenbus": [[], ["version=65535.255.255"], ["boot_emulated=yes"], ["checked=yes"], ["cpus=3"]],
    "xenserver-6.1": [[], ["devices=ide255,nic255"], ["checked=yes"], ["device_id=0xffffff"]],
}


@st.composite
def drivers(draw: Callable[..., Any]) -> tuple[Driver[Any], Options]:
    driver = draw(st.sampled_from(DRIVERS))
    return driver, parse_options(driver, draw(st.sampled_from(SETTINGS.get(driver.name, [[]]))))


@given(drivers(), st.sampled_from(["boot", "resume"]), st.lists(ANSWERS, max_size=6))
def test_any_driver_ends_whatever_it_is_answered_and_accesses_only_what_there_is(
    chosen: tuple[Driver[Any], Options], when: When, answers: list[int | None]
) -> None:
    driver, options = chosen
    waiting = iter(answers)
    done = play(driver, lambda _: next(waiting, None), options, when)
    assert done.outcome.sentence
    for access, answer in done.steps:
        assert access.size in (1, 2, 4)
        assert (access.direction == "write") == (access.value is not None)
        if access.value is not None:
            assert answer is None
            assert 0 <= access.value < 1 << 8 * access.size
        if (access.offset, access.size, access.value) not in ELSEWHERE:
            assert access.space in ("pio", "bar0")
            assert access.offset in (range(0x10, 0x14) if access.space == "pio" else range(0x100))


@given(drivers(), st.lists(ANSWERS, min_size=6, max_size=6))
def test_any_play_is_explained_whole_by_its_own_driver_and_named(
    chosen: tuple[Driver[Any], Options], answers: list[int | None]
) -> None:
    driver, options = chosen
    waiting = iter(answers)
    done = play(driver, lambda _: next(waiting, None), options)
    followed = follow(driver, options, done.steps, as_recorded(done.steps))
    assert (followed.left, followed.parted) == ((), None)
    assert followed.play.outcome == done.outcome
    steps = negotiation(done.steps)
    found = recognise(done.steps)
    assert bool(found) == bool(steps)
    assert all(negotiates(access) for access, _ in steps) or driver.name == "rombios"
    assert all(1 <= entry.explained <= entry.of == len(steps) for entry in found)


STEPS = st.one_of(
    st.tuples(st.builds(read, st.integers(0x0E, 0x14), st.sampled_from([1, 2, 4])), ANSWERS),
    st.tuples(
        st.builds(write, st.integers(0x0E, 0x14), st.sampled_from([1, 2, 4]), st.integers(0, (1 << 32) - 1)), st.none()
    ),
    st.tuples(st.builds(write, st.just(0x10), st.just(2), st.integers(0, 16)), st.none()),
    st.tuples(st.builds(write, st.sampled_from([0x11, 0x13]), st.just(1), st.integers(0, 255)), st.none()),
    st.tuples(
        st.builds(write, st.sampled_from([4, 8]), st.sampled_from([1, 4]), st.integers(0, 2), st.just("bar0")),
        st.none(),
    ),
    st.sampled_from(TestFollowing.RECORDED),
)


@given(st.lists(STEPS, max_size=12))
def test_whatever_a_guest_did_it_is_recognised_or_not_but_never_fails(steps: list[Step]) -> None:
    for found in recognise(steps):
        assert parse_options(found.driver, spell(found.options)) == found.options
        assert matches(found.driver, found.options, steps, found.when) == found.explained >= 1


def test_every_driver_declares_law_claims_and_identities_with_their_sources() -> None:
    for driver in DRIVERS:
        assert driver.law
        claims = [getattr(driver.next_boot, field.name) for field in fields(driver.next_boot)]
        for claim in [*claims, driver.binding.claim, driver.resumes]:
            assert claim.sentence.endswith(".")
            assert claim.certainty in ("observed", "documented", "inferred", "assumed")
        assert all(identity.source for identity in driver.binds or ())
