"""The register map against what the real devices were seen to do (QEMU 7.2, 10.0 and 10.2 under test)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.platform import registers
from dissectors.platform.products import describe_driver

MAP = {
    (0x10, 1, "read"): "flags", (0x10, 1, "write"): "flags", (0x10, 2, "read"): "magic",
    (0x10, 2, "write"): "unplug_mask", (0x10, 4, "write"): "build_number", (0x11, 1, "write"): "unplug_type",
    (0x12, 1, "read"): "protocol_version", (0x12, 1, "write"): "log", (0x12, 2, "write"): "product_number",
    (0x13, 1, "write"): "unplug_index",
}  # fmt: skip


def test_the_whole_of_the_fixed_ports() -> None:
    directions: tuple[registers.Direction, ...] = ("read", "write")
    for port in registers.PORTS:
        for size in (1, 2, 4):
            for direction in directions:
                name = registers.register_name("pio", port, size, direction)
                assert name == MAP.get((port, size, direction), "undefined")


@pytest.mark.parametrize(
    ("address", "size", "parts"),
    [
        (0x0F, 2, [(0x10, 1)]),
        (0x0D, 4, [(0x10, 1)]),
        (0x0E, 4, [(0x10, 2)]),
        (0x0F, 4, [(0x10, 2), (0x12, 1)]),
        (0x1F, 2, [(0x1F, 2)]),
        (0x1D, 4, [(0x1D, 4)]),
        (0x11, 2, [(0x11, 2)]),
    ],
)
def test_how_an_access_arrives_at_the_fixed_ports(address: int, size: int, parts: list[tuple[int, int]]) -> None:
    found = registers.pieces("pio", address, size, "write", 0)
    assert [(piece.offset, piece.size) for piece in found] == parts


def test_values_of_pieces() -> None:
    """`outl 0x0f, 0x44434241` is the unplug word 0x4342, then the log character 0x44."""
    found = registers.pieces("pio", 0x0F, 4, "write", 0x44434241)
    assert [(piece.register.name if piece.register else None, piece.value) for piece in found] == [
        ("unplug_mask", 0x4342), ("log", 0x44),
    ]  # fmt: skip


def test_bar0_takes_single_bytes() -> None:
    """`outw BAR0+3, 0x0100` unplugs: the 1 lands on +4. `outl BAR0+8, 1`: the zeros fall on +9 to +11."""
    assert registers.register_name("bar0", 3, 2, "write") == "bar0_unplug_all"
    assert "unplug" in registers.meaning("bar0", 3, 2, "write", 0x0100)
    found = registers.pieces("bar0", 8, 4, "write", 1)
    assert [(piece.offset, piece.value) for piece in found] == [(8, 1), (9, 0), (10, 0), (11, 0)]
    assert registers.meaning("bar0", 8, 1, "write", 2) == "unplug NICs (Novell legacy)"
    assert registers.meaning("bar0", 8, 1, "write", 65) == "log character 'A'"


@pytest.mark.parametrize(
    ("offset", "size", "parts"),
    [(0, 8, [(0, 4), (4, 4)]), (1, 8, [(1, 1), (2, 2), (4, 4), (8, 1)]), (2, 4, [(2, 2), (4, 2)]), (0, 4, [(0, 4)])],
)
def test_how_an_access_arrives_at_bar1(offset: int, size: int, parts: list[tuple[int, int]]) -> None:
    assert list(registers.lengths("bar1", offset, size)) == parts


@given(
    space=st.sampled_from(["pio", "bar0", "bar1"]), offset=st.integers(0, 300), size=st.sampled_from([1, 2, 4, 8])
)
def test_pieces_tile_the_access(space: registers.Space, offset: int, size: int) -> None:
    at = offset
    for start, length in registers.lengths(space, offset, size):
        assert start == at
        assert length in (1, 2, 4, 8)
        at += length
    assert at == offset + size


def test_a_missing_value_is_said_to_be_missing() -> None:
    assert registers.meaning("pio", 0x12, 1, "write", None) == "log, value not recorded"
    assert "size not recorded" in registers.meaning("pio", 0x10, None, "write", 3)


@pytest.mark.parametrize(
    ("product", "build", "driver"),
    [
        (3, 1, "Linux"),
        (3, 514, "XenServer 6.1/6.2 Windows (device id 0x0002, revision 2)"),
        (0xFFFF, 0x090000, "Windows PV (xenbus) 9.0.0"),
        (0xFFFF, 524802, "Windows PV (xenbus) 8.2.2"),
        (0xFFFF, 33952256, "xenlinux 2.6.18"),
        (2, 1, "GPLPV"),
        (205, 20505, "SUSE VMDP"),
        (77, 1, "unregistered product 77"),
    ],
)
def test_drivers_by_product_and_build(product: int, build: int, driver: str) -> None:
    assert describe_driver(product, build) == driver


def test_what_the_nvme_bit_takes_depends_on_its_neighbours() -> None:
    """Observed: 8 takes IDE and SCSI disks as well, 0xc spares the primary master, 9 is the sum of its bits."""
    assert "too" in registers.meaning("pio", 0x10, 2, "write", 8)
    assert "too" in registers.meaning("pio", 0x10, 2, "write", 0xA)
    assert registers.meaning("pio", 0x10, 2, "write", 9).endswith("IDE and SCSI disks, NVMe disks")
    assert registers.meaning("pio", 0x10, 2, "write", 0xC).endswith("except the primary master, NVMe disks")


def test_a_value_wider_than_the_access_is_cut_to_it() -> None:
    """`memory_region_ops_read` shows 0xffffffffffffffff for a four-byte read."""
    assert registers.meaning("pio", 0x13, 4, "read", 2**64 - 1) == "no register here: all ones"


def test_an_access_that_leaves_bar0_has_no_pieces_beyond_it() -> None:
    assert [piece.offset for piece in registers.pieces("bar0", 0xFE, 4, "read", None)] == [0xFE, 0xFF]
    assert [piece.offset for piece in registers.pieces("bar0", -1, 2, "read", None)] == [0]
