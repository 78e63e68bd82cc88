"""PCI config space: the declaration against the headers that real guests read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform import config_space
from dissectors.platform.registers import Direction

# What the guest of `pvdevice-both` read of 00:08.0, dword by dword (its console, PLAY 1-14).
PVDEVICE = {0x00: 0xC0005853, 0x04: 0x00000006, 0x08: 0x08800002, 0x14: 0xF1000008, 0x2C: 0xC0005853, 0x3C: 0x00000105}


def test_a_header_that_a_guest_read() -> None:
    raw = b"".join(PVDEVICE.get(offset, 0).to_bytes(4, "little") for offset in range(0, 64, 4))
    header = config_space.parse(raw)
    assert (header.vendor_id, header.device_id, header.command, header.revision) == (0x5853, 0xC000, 6, 2)
    assert (header.class_code, header.bar[1], header.interrupt_line, header.interrupt_pin) == (
        0x088000, 0xF1000008, 5, 1,
    )  # fmt: skip
    assert config_space.header().build(header) == raw


def test_fields_have_the_offsets_of_the_specification() -> None:
    places = {field.name: (field.offset, field.size) for field in config_space.FIELDS}
    assert places["command"] == (4, 2)
    assert places["class_code"] == (9, 3)
    assert (places["BAR0"], places["BAR1"]) == ((0x10, 4), (0x14, 4))
    assert places["subsystem_vendor_id"] == (0x2C, 2)
    assert places["interrupt_pin"] == (0x3D, 1)
    assert config_space.header().sizeof() == 64


@given(offset=st.integers(0, 0xFF), size=st.sampled_from([1, 2, 4]))
def test_fields_at_are_those_whose_bytes_are_touched(offset: int, size: int) -> None:
    touched = set(range(offset, offset + size))
    for field in config_space.FIELDS:
        own = set(range(field.offset, field.offset + field.size))
        assert (field in config_space.fields_at(offset, size)) == bool(own & touched)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ((0, 2, "read", 0x5853), "X: reads vendor id 0x5853 (XenSource)"),
        ((0, 4, "read", 0x15853), "X: reads vendor id 0x5853 (XenSource), device id 0x0001: xen-platform"),
        ((4, 2, "write", 7), "X: sets command 0x0007 (I/O, memory, bus master)"),
        ((0x10, 4, "write", 0xFFFFFFFF), "X: asks for the size of BAR0"),
        ((0x10, 4, "write", 0xC001), "X: sets BAR0 0x0000c001 (I/O ports at 0xc000)"),
        ((0x14, 4, "write", 0xF0000008), "X: sets BAR1 0xf0000008 (prefetchable memory at 0xf0000000)"),
        ((0x14, 4, "read", 0xFE0000F0), "X: reads BAR1 0xfe0000f0 (memory at 0xfe0000f0)"),
        ((0x14, 4, "write", 0xFFFFF000), "X: sets BAR1 0xfffff000 (memory at 0xfffff000)"),
        ((0x10, 4, "read", 0xFFFFFF01), "X: reads BAR0 0xffffff01 (size of 256 I/O ports)"),
        ((0x30, 4, "write", 0xFFFFF800), "X: asks for the size of expansion rom"),
        ((0x08, 4, "read", 0xFF800001),
         "X: reads revision 0x01, class code 0xff8000 (unassigned, as Xen's platform device)"),
        ((0x0A, 2, "read", 0xFF80), "X: reads bytes 1-2 of class code 0xff80"),
        ((0x04, 1, "write", 3), "X: sets byte 0 of command 0x03 (I/O, memory)"),
        ((0x05, 1, "write", 4), "X: sets byte 1 of command 0x04 (INTx off)"),
        ((0x04, 2, "write", 0x0507), "X: sets command 0x0507 (I/O, memory, bus master, SERR, INTx off)"),
        ((0x00, 4, "read", 0xFFFFFFFF), "X: reads vendor id 0xffff (no function here), device id 0xffff"),
        ((0x10, None, "read", 1), "X: reads BAR0 0x1 (size not recorded)"),
        ((0xA0, 4, "read", 0), "X: reads offset 0xa0 0x00000000"),
        ((0x10, 4, "read", None), "X: reads BAR0, value not recorded"),
    ],
)
def test_meanings(access: tuple[int, int, Direction, int | None], said: str) -> None:
    assert config_space.meaning(*access, "X") == said


@pytest.mark.parametrize(
    ("vendor", "device", "name"),
    [
        (0x5853, 0x0001, "xen-platform"),
        (0x5853, 0x0002, "xen-platform of XenServer"),
        (0x5853, 0x0003, "an unregistered Xen device"),
        (0x5853, 0xC000, "xen-pvdevice"),
        (0x5853, 0xC001, "a device of Citrix XenServer"),
        (0x5853, 0xC0FF, "a device of Citrix XenServer"),
        (0x5853, 0xC100, "a device of Citrix XenClient"),
        (0x5853, 0xC1FF, "a device of Citrix XenClient"),
        (0x5853, 0xC200, "a device of XCP-ng"),
        (0x5853, 0xC2FF, "a device of XCP-ng"),
        (0x5853, 0xC300, "a device of a vendor of the pool c000-fffe"),
        (0x5853, 0xFFFE, "a device of a vendor of the pool c000-fffe"),
        (0x5853, 0xFFFF, "an unregistered Xen device"),
        (0x8086, 0x1237, None),
    ],
)
def test_identities(vendor: int, device: int, name: str | None) -> None:
    assert config_space.identity(vendor, device) == name


@given(offset=st.integers(0, 0x140), size=st.sampled_from([1, 2, 4, 8]), value=st.integers(0, (1 << 64) - 1))
def test_what_is_wider_than_the_access_says_nothing(offset: int, size: int, value: int) -> None:
    said = config_space.meaning(offset, size, "read", value, "X")
    assert said == config_space.meaning(offset, size, "read", value & (1 << 8 * size) - 1, "X")
