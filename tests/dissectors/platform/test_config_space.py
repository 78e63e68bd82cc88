"""PCI config space: the declaration against the headers that real guests read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform import config_space

# What the guest of `pvdevice-both` read of 00:08.0, dword by dword (its console, PLAY 1-14).
PVDEVICE = {0x00: 0xC0005853, 0x04: 0x00000006, 0x08: 0x08800002, 0x14: 0xF1000008, 0x2C: 0xC0005853, 0x3C: 0x00000105}


def test_a_header_that_a_guest_read() -> None:
    raw = b"".join(PVDEVICE.get(offset, 0).to_bytes(4, "little") for offset in range(0, 64, 4))
    header = config_space.parse(raw)
    assert (header.vendor_id, header.device_id, header.command, header.revision) == (0x5853, 0xC000, 6, 2)
    assert (header.class_code, header.bar[1], header.interrupt_line, header.interrupt_pin) == (
        0x088000, 0xF1000008, 5, 1,
    )  # fmt: skip
    assert config_space.HEADER.build(header) == raw


def test_fields_have_the_offsets_of_the_specification() -> None:
    places = {field.name: (field.offset, field.size) for field in config_space.FIELDS}
    assert places["command"] == (4, 2)
    assert places["class_code"] == (9, 3)
    assert (places["BAR0"], places["BAR1"]) == ((0x10, 4), (0x14, 4))
    assert places["subsystem_vendor_id"] == (0x2C, 2)
    assert places["interrupt_pin"] == (0x3D, 1)
    assert config_space.HEADER.sizeof() == 64


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
        ((0xA0, 4, "read", 0), "X: reads offset 0xa0 0x00000000"),
        ((0x10, 4, "read", None), "X: reads BAR0, value not recorded"),
    ],
)
def test_meanings(access: tuple[int, int, config_space.Direction, int | None], said: str) -> None:
    assert config_space.meaning(*access, "X") == said


def test_identities() -> None:
    assert config_space.identity(0x5853, 0xC000) == "xen-pvdevice"
    assert config_space.identity(0x5853, 0xC2FF) == "a device of XCP-ng"
    assert config_space.identity(0x8086, 0x1237) is None
