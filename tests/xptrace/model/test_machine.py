"""The model under any access at all, and the rules that no source of access may break."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dissectors.platform.registers import LOG_BUFFER, MAGIC, MAGIC_BLACKLISTED, Direction, Space
from xptrace.model import function as pci
from xptrace.model.access import Access, read, write
from xptrace.model.device import Blacklist, Device
from xptrace.model.effects import Ignored, Logged, Printed, Removed, Throttled
from xptrace.model.function import Identity
from xptrace.model.inventory import Inventory, parse
from xptrace.model.log import BUCKET, LogBuffer, take
from xptrace.model.machine import Machine, migrate, power_on, reset, step
from xptrace.model.profile import Profile
from xptrace.model.profiles import history, profile, profiles

PROFILES = sorted(profiles())
EVERYTHING = "ide0,ide1,cd2,ide3,sata0,scsi,nvme,virtio-blk,e1000,rtl8139,isa-nic,pt:e1000,vfio:nvme,e1000@br0"


class Guest(RuleBasedStateMachine):
    """Any guest on any device: no access raises, and the device keeps its own rules."""

    @initialize(name=st.sampled_from(PROFILES), keys=st.frozensets(st.tuples(st.integers(0, 5), st.integers(0, 3))))
    def start(self, name: str, keys: frozenset[tuple[int, int]]) -> None:
        self.machine = power_on(profile(name), inventory=parse(EVERYTHING), blacklist=keys,
                                identities=[pci.platform(profile(name)), pci.pvdevice(0xC000)])
        self.asked = 0
        self.gone: set[str] = set()

    def _device(self) -> Device:
        place = self.machine.platform
        assert place is not None
        device = self.machine.functions[place].device
        assert device is not None
        return device

    def _step(self, access: Access) -> None:
        before = self.machine
        self.machine, answer, effects = step(self.machine, access)
        assert (answer is None) or access.direction == "read"
        if answer is not None:
            assert 0 <= answer.value < 1 << 8 * access.size
            assert answer.value & ~answer.known == 0
        for effect in effects:
            assert effect.say()
            if isinstance(effect, Logged):
                assert len(effect.text) <= LOG_BUFFER
                assert b"\n" not in effect.text
            if isinstance(effect, Removed):
                self.gone |= set(effect.devices)
        assert step(before, access) == (self.machine, answer, effects)  # pure: the same again

    @rule(
        space=st.sampled_from(["pio", "bar0", "bar1", "pci-config"]), offset=st.integers(0, 0x120),
        size=st.sampled_from([1, 2, 4, 8]), direction=st.sampled_from(["read", "write"]),
        value=st.integers(0, 2**64 - 1), function=st.sampled_from([None, 16, 24, 99]),
    )
    def any_access(
        self, space: Space, offset: int, size: int, direction: Direction, value: int, function: int | None
    ) -> None:
        value &= (1 << 8 * size) - 1
        self._step(Access(space, offset, size, direction, value if direction == "write" else None, function))

    @rule(port=st.integers(0x0D, 0x20), size=st.sampled_from([1, 2, 4]), value=st.integers(0, 0xFFFF))
    def port_write(self, port: int, size: int, value: int) -> None:
        self._step(write(port, size, value & (1 << 8 * size) - 1))

    @rule(text=st.binary(max_size=200))
    def log(self, text: bytes) -> None:
        for byte in text:
            self._step(write(0x12, 1, byte))

    @rule()
    def reset(self) -> None:
        before = self._device()
        held = self.machine.functions[0].log
        self.machine = reset(self.machine)
        after = self._device()
        assert after.flags == 0
        assert (after.product, after.build, after.asked) == (before.product, before.build, before.asked)
        assert self.machine.functions[0].log == held
        assert self.machine.functions[0].command == 0

    @rule()
    def migrate(self) -> None:
        before = self.machine
        self.machine = migrate(self.machine)
        place = self.machine.platform
        assert place is not None
        assert self._device().product == 0
        assert self._device().flags == before.functions[place].device.flags  # type: ignore[union-attr]
        assert self.machine.functions[place].config == before.functions[place].config
        assert all(one.present and one.connected for one in self.machine.inventory)
        self.asked, self.gone = 0, set()

    @invariant()
    def the_mask_only_grows(self) -> None:
        if hasattr(self, "machine"):
            assert self.asked & ~self._device().asked == 0
            self.asked = self._device().asked

    @invariant()
    def the_buffer_never_exceeds_its_size(self) -> None:
        for function in getattr(self, "machine", Machine(profile("qemu-10.0"))).functions:
            assert function.log is None or len(function.log.held) <= LOG_BUFFER

    @invariant()
    def what_went_stays_away_and_what_is_spared_stays(self) -> None:
        if hasattr(self, "machine"):
            names = {one.name: one for one in self.machine.inventory}
            assert not any(names[name].present for name in self.gone)
            assert all(one.present for one in self.machine.inventory if one.type == "xen-pci-passthrough" and
                       self.machine.profile.version not in ((1, 0), (1, 1), (1, 2)))
            assert all(one.connected for one in self.machine.inventory if one.media == "cdrom")

    @invariant()
    def config_space_keeps_what_nobody_can_write(self) -> None:
        for function in getattr(self, "machine", Machine(profile("qemu-10.0"))).functions:
            assert len(function.config) == 256
            assert pci.config_read(function, 0, 4) == function.identity.device << 16 | function.identity.vendor
            assert function.command & ~0x0507 == 0


TestAnyGuest = Guest.TestCase
TestAnyGuest.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def run(machine: Machine, *accesses: Access) -> tuple[Machine, list[int | None], list[Any]]:
    answers, effects = [], []
    for access in accesses:
        machine, answer, caused = step(machine, access)
        if access.direction == "read":
            answers.append(None if answer is None else answer.value)
        effects += caused
    return machine, answers, effects


def on(
    name: str, *, blacklist: Blacklist = frozenset(), inventory: Inventory = (),
    identities: list[Identity] | None = None,
) -> Machine:
    return power_on(profile(name), blacklist=blacklist, inventory=inventory, identities=identities)


def gone_by(name: str, mask: int, inventory: str) -> set[str]:
    _, _, effects = run(on(name, inventory=parse(inventory)), write(0x10, 2, mask))
    removed = [effect for effect in effects if isinstance(effect, Removed)]
    return {name for effect in removed for name in (*effect.devices, *effect.backends)}


class TestProtocol:
    """xen/docs/misc/hvm-emulated-unplug.pandoc, and the lineages that go beyond it."""

    NAME = (write(0x12, 2, 2), write(0x10, 4, 1))

    @pytest.mark.parametrize("name", ["qemu-0.15", "qemu-6.0", "qemu-10.2", "kvm-xen-8.0", "xcp-ng-4.2"])
    def test_no_qemu_ever_refuses(self, name: str) -> None:
        machine = on(name, blacklist=frozenset({(2, 1)}))
        assert run(machine, read(0x10, 2), *self.NAME, read(0x10, 2))[1] == [MAGIC, MAGIC]

    def test_traditional_refuses_a_key_for_good(self) -> None:
        machine = on("qemu-xen-traditional", blacklist=frozenset({(2, 1)}))
        other = (write(0x12, 2, 2), write(0x10, 4, 7))
        _, answers, effects = run(machine, read(0x10, 2), *self.NAME, read(0x10, 2), *other, read(0x10, 2))
        assert answers == [MAGIC, MAGIC_BLACKLISTED, MAGIC_BLACKLISTED]
        said = [effect.text for effect in effects if isinstance(effect, Printed)]
        assert said[:3] == ["Unknown PV product 2 loaded in guest", "PV driver build 1", "Drivers are blacklisted!"]

    def test_traditional_unplugs_even_what_it_refused_and_xenserver_does_not(self) -> None:
        for name, goes in (("qemu-xen-traditional", True), ("xenserver-trad", False)):
            machine = on(name, blacklist=frozenset({(2, 1)}), inventory=parse("ide0"))
            _, answers, effects = run(machine, read(0x12, 1), *self.NAME, read(0x10, 2), write(0x10, 2, 1))
            assert answers == [1, MAGIC_BLACKLISTED]
            assert any(isinstance(effect, Removed) for effect in effects) == goes

    def test_traditional_knows_no_key_for_linux(self) -> None:
        machine = on("qemu-xen-traditional", blacklist=frozenset({(3, 1)}))
        assert run(machine, write(0x12, 2, 3), write(0x10, 4, 1), read(0x10, 2))[1] == [MAGIC]

    def test_a_build_before_the_product_is_said_to_be_one(self) -> None:
        said = run(on("qemu-xen-traditional"), write(0x10, 4, 0xFFFFFFFF))[2]
        assert said == [Printed("Drivers tried to set their version number (-1) before setting the product number?")]

    def test_protocol_2_is_refused_until_a_build_is_accepted(self) -> None:
        machine = on("xenserver-trad", identities=[pci.platform(profile("xenserver-trad"), 0x0002, 2)])
        handshake = (read(0x10, 2), write(0x11, 1, 0), write(0x13, 1, 2), read(0x12, 1), read(0x10, 2),
                     write(0x12, 2, 3), write(0x10, 4, 0x000202), read(0x10, 2))
        assert run(machine, *handshake)[1] == [MAGIC, 2, MAGIC_BLACKLISTED, MAGIC]

    def test_protocol_2_unplugs_by_device_and_ignores_the_mask(self) -> None:
        machine = on("xenserver-trad", identities=[pci.platform(profile("xenserver-trad"), 0x0002, 2)],
                     inventory=parse("ide0,ide1,rtl8139,e1000"))
        machine, _, _ = run(machine, write(0x13, 1, 2), write(0x12, 2, 3), write(0x10, 4, 0x000202))
        machine, _, effects = run(machine, write(0x10, 2, 3))
        assert [type(effect) for effect in effects] == [Ignored]
        machine, _, effects = run(machine, write(0x11, 1, 1), write(0x13, 1, 1), write(0x11, 1, 2), write(0x13, 1, 0))
        assert [effect.backends for effect in effects if isinstance(effect, Removed)] == [("ide1",), ("rtl8139-link",)]

    def test_a_read_of_the_version_pins_protocol_1(self) -> None:
        answers = run(on("xenserver-trad"), read(0x12, 1), write(0x13, 1, 2), read(0x12, 1))[1]
        assert answers == [1, 1]

    def test_the_second_choice_of_a_version_is_an_index_and_harmless_after_type_0(self) -> None:
        machine = on("xenserver-trad", identities=[pci.platform(profile("xenserver-trad"), 0x0002, 2)])
        machine, _, _ = run(machine, write(0x11, 1, 0), write(0x13, 1, 2), write(0x12, 2, 3), write(0x10, 4, 0x202))
        assert run(machine, write(0x11, 1, 0), write(0x13, 1, 2))[2] == [Printed("UNPLUG: unrecognized type 00")]

    @pytest.mark.parametrize(
        ("device_id", "product", "build", "answer"),
        [
            (0x0001, 1, 5, MAGIC), (0x0002, 1, 5, MAGIC_BLACKLISTED),  # product 1 is for 0001 alone
            (0x0002, 3, 0x0202, MAGIC), (0x0002, 3, 0x0201, MAGIC_BLACKLISTED),  # an older revision is refused
            (0x0001, 3, 0x0202, MAGIC_BLACKLISTED), (0x0002, 3, 1, MAGIC),  # below 0x100 it is Linux
            (0x0002, 4, 0x0203, MAGIC), (0x0002, 4, 1, MAGIC_BLACKLISTED),
        ],
    )
    def test_xenserver_judges_by_identity(self, device_id: int, product: int, build: int, answer: int) -> None:
        of = profile("xenserver-trad")
        machine = on("xenserver-trad", identities=[pci.platform(of, device_id, 2 if device_id == 2 else 1)])
        accesses = (read(0x12, 1), write(0x12, 2, product), write(0x10, 4, build), read(0x10, 2))
        assert run(machine, *accesses)[1] == [1, answer]

    def test_xcp_ng_keeps_the_build_and_tells_of_it(self) -> None:
        machine, _, effects = run(on("xcp-ng-4.2"), write(0x12, 2, 3), write(0x10, 4, 1))
        device = machine.functions[0].device
        assert device is not None
        assert device.build == 1
        assert "XEN_PLATFORM_PV_DRIVER_INFO" in effects[0].say()


class TestUnplugByRelease:
    """What went with which release: the history of xen_platform.c."""

    @pytest.mark.parametrize(
        ("name", "mask", "inventory", "goes"),
        [
            ("qemu-0.15", 3, "ide0,rtl8139", set()),
            ("qemu-1.0", 1, "ide0,ide1,ide2,ide3", {"ide0", "ide1", "ide2"}),
            ("qemu-2.1", 1, "ide3", set()), ("qemu-2.2", 1, "ide3", {"ide3"}),
            ("qemu-1.0", 2, "rtl8139", set()), ("qemu-1.1", 2, "rtl8139", {"rtl8139"}),
            ("qemu-2.9", 2, "rtl8139", {"rtl8139"}), ("qemu-2.10", 2, "rtl8139", {"rtl8139", "rtl8139-link"}),
            ("qemu-1.2", 2, "pt:e1000", {"pt-e1000"}), ("qemu-1.3", 2, "pt:e1000", set()),
            ("qemu-2.7", 1, "scsi", set()), ("qemu-2.8", 1, "scsi,virtio-blk", {"scsi", "virtio-blk"}),
            ("qemu-2.8", 4, "ide0,ide1", set()), ("qemu-2.9", 4, "ide0,ide1", {"ide1"}),
            ("qemu-2.9", 5, "ide0,ide1", {"ide0", "ide1"}),
            ("qemu-2.8", 1, "nvme", set()), ("qemu-2.9", 1, "nvme", {"nvme"}), ("qemu-2.10", 1, "nvme", set()),
            ("qemu-2.9", 8, "nvme", set()), ("qemu-2.10", 8, "ide0,nvme", {"ide0", "nvme"}),
            ("qemu-2.10", 12, "ide0,ide1,scsi,nvme", {"ide1", "nvme"}),
            ("xcp-ng-4.2", 1, "ide0,nvme", {"ide0", "nvme"}), ("xcp-ng-4.2", 8, "nvme", set()),
            ("qemu-8.1", 1, "sata0", set()), ("qemu-8.2", 1, "sata0", {"sata0"}),
            ("qemu-10.0", 8, "vfio:nvme", {"vfio-nvme"}), ("kvm-xen-10.0", 8, "vfio:nvme", set()),
            ("qemu-8.1", 2, "isa-nic", {"isa-nic-link"}), ("qemu-8.2", 2, "isa-nic", set()),
            ("qemu-10.0", 1, "cd3", set()), ("qemu-10.0", 0xFFF0, "ide0,rtl8139", set()),
            ("qemu-xen-traditional", 7, "ide0,ide3,scsi,nvme", {"ide0", "ide3"}),
        ],
    )
    def test_what_goes(self, name: str, mask: int, inventory: str, goes: set[str]) -> None:
        assert gone_by(name, mask, inventory) == goes

    def test_a_nic_behind_a_bridge_keeps_its_device_and_loses_its_link(self) -> None:
        assert gone_by("qemu-10.0", 2, "e1000@br0") == {"e1000-br0-link"}

    def test_the_legacy_registers_unplug_since_2_8_and_were_log_bytes_before(self) -> None:
        for name, goes in (("qemu-2.7", set()), ("qemu-2.8", {"ide0", "rtl8139"})):
            machine = on(name, inventory=parse("ide0,rtl8139"))
            effects = run(machine, write(4, 4, 1, "bar0"))[2]
            assert {d for e in effects if isinstance(e, Removed) for d in (*e.devices, *e.backends)} == goes
        machine = run(on("qemu-2.7"), write(8, 1, 1, "bar0"))[0]
        assert machine.functions[0].log == LogBuffer(b"\1")


class TestIdentity:
    """Properties that a device model takes, and those with which it refuses to start."""

    @pytest.mark.parametrize("size", [0, 3, 6, -1])
    def test_a_size_that_is_no_power_of_two_is_refused(self, size: int) -> None:
        with pytest.raises(pci.PropertyError, match="power of two"):
            pci.pvdevice(0xC000, size=size)

    @pytest.mark.parametrize("device", [None, 0xFFFF])
    def test_a_pvdevice_must_be_given_its_id(self, device: int | None) -> None:
        with pytest.raises(pci.PropertyError, match="must always be supplied"):
            pci.pvdevice(device)

    def test_upstream_has_no_property_for_the_platform_device(self) -> None:
        with pytest.raises(pci.PropertyError, match="no property"):
            pci.platform(profile("qemu-10.2"), 0x0002)
        assert pci.platform(profile("xcp-ng-4.2"), 0x0002).revision == 2

    @pytest.mark.parametrize("size", [0x10, 0x1000, 0x400000, 0x40000000])
    def test_sizing_a_bar_tells_its_size(self, size: int) -> None:
        machine = on("qemu-10.0", identities=[pci.pvdevice(0xC000, size=size)])
        ask = Access("pci-config", 0x14, 4, "write", 0xFFFFFFFF, 16)
        assert run(machine, ask, Access("pci-config", 0x14, 4, "read", None, 16))[1] == [-size & 0xFFFFFFFF | 8]


class TestLog:
    """xen_platform.c, log_writeb; what is lost, and who has to wait."""

    def feed(self, of: Profile, text: bytes) -> list[Any]:
        buffer, said = LogBuffer(), []
        for byte in text:
            buffer, caused = take(of, buffer, byte)
            said += caused
        return said

    def test_the_character_that_finds_the_buffer_full_is_lost(self) -> None:
        said = self.feed(profile("qemu-10.0"), b"a" * 4096 + b"bc\n")
        assert said == [Logged(b"a" * 4095, lost=ord("a")), Logged(b"bc")]

    def test_4095_characters_and_a_newline_are_one_line(self) -> None:
        assert self.feed(profile("qemu-10.0"), b"a" * 4095 + b"\n") == [Logged(b"a" * 4095)]

    def test_xenserver_drops_what_is_not_printable(self) -> None:
        assert self.feed(profile("xenserver-trad"), b"a\x1b[2J\tb\r\xff\n") == [Logged(b"a[2J b ")]
        assert self.feed(profile("qemu-10.0"), b"a\x1b\n") == [Logged(b"a\x1b")]

    def test_a_flood_makes_the_guest_wait_on_traditional_only(self) -> None:
        for name, waits in (("qemu-xen-traditional", True), ("qemu-10.2", False)):
            buffer, caused = LogBuffer(tokens=0, refilled_ns=0), ()
            buffer, caused = take(profile(name), buffer, 0x41, time_ns=0)
            assert any(isinstance(effect, Throttled) for effect in caused) == waits
        assert BUCKET == 131072


class TestProfiles:
    def test_every_release_that_was_measured_says_so(self) -> None:
        assert {name for name, one in profiles().items() if one.basis == "observed" and one.lineage == "qemu"} == {
            "qemu-7.2", "qemu-10.0", "qemu-10.2"}

    def test_a_point_release_is_its_minor(self) -> None:
        assert profile("qemu-7.2.22") is profile("qemu-7.2")

    def test_an_unknown_name_is_met_with_near_ones(self) -> None:
        with pytest.raises(KeyError, match=r"did you mean.*qemu-9\.2"):
            profile("qemu-9.9")

    def test_the_history_names_the_commits(self) -> None:
        assert "25511f3e8c" in {change.commit for change in history(profile("qemu-8.2"))}
        assert "25511f3e8c" not in {change.commit for change in history(profile("qemu-8.1"))}
