"""The scapy layers: made from the map, symmetric, and at one with the decoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.sendrecv import sniff
from scapy.utils import rdpcap, wrpcap, wrpcapng

from dissectors.capture.header import ACCESS, EVENT, MESSAGE, pack, unpack
from dissectors.platform import layers, registers
from dissectors.platform.layers import (
    GuestLine,
    Happening,
    Log,
    Magic,
    PortAccess,
    Undefined,
    UnplugMask,
    XenPlatform,
    packet,
)


def test_a_packet_is_written_by_what_it_means() -> None:
    built = PortAccess(bytes(PortAccess() / UnplugMask(mask="ide_disks+nics")))
    assert (built.offset, built.size, built.access) == (0x10, 2, 1)
    assert int(built[UnplugMask].mask) == 3
    assert built.summary() == "write 0x10 2 bytes / unplug_mask ide_disks+nics"


def test_enumerations_come_from_the_map() -> None:
    shown = packet("pio", 0x10, 2, "read", 0xD249).show(dump=True)
    assert "magic     = driver blacklisted" in shown
    assert "'A'" in packet("pio", 0x12, 1, "write", 65).show(dump=True)


def test_every_register_of_the_map_has_a_layer() -> None:
    names = set(layers.__all__) - {"GuestLine", "Happening", "PortAccess", "XenPlatform", "packet"}
    assert {name.title().replace("_", "") for name in registers.NAMES} == names


def rebuilt(raw: bytes) -> bytes:
    """Dissected and built anew: without clearing them, scapy returns the bytes that it was given."""
    again = PortAccess(raw)
    again.clear_cache()
    return bytes(again)


def value_of(access: PortAccess) -> tuple[Any, int]:
    """The register layer of an access, and its value."""
    layer = access.layers()[1]
    return layer, int(access[layer].getfieldval(layer.fields_desc[0].name))


@pytest.mark.parametrize("register", registers.REGISTERS, ids=lambda r: f"{r.name}-{r.direction}")
@given(data=st.data())
def test_build_and_dissect_are_symmetric(register: registers.Register, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << 8 * register.size) - 1))
    access = packet(register.space, register.offset, register.size, register.direction, value)
    assert rebuilt(bytes(access)) == bytes(access)
    assert bytes(access)[16:] == value.to_bytes(register.size, "little")
    layer, found = value_of(access)
    assert (layer.register, found) == (register.name, value)


@pytest.mark.parametrize("register", registers.REGISTERS, ids=lambda r: f"{r.name}-{r.direction}")
def test_a_header_is_filled_from_its_payload(register: registers.Register) -> None:
    layer, _ = value_of(packet(register.space, register.offset, register.size, register.direction, 0))
    built = PortAccess(bytes(PortAccess(access=register.direction) / layer()))
    place = (layers.SPACES[built.space], built.offset, built.address, built.size, layers.DIRECTIONS[built.access])
    assert place == (register.space, register.offset, register.offset, register.size, register.direction)
    if sum(other.name == register.name for other in registers.REGISTERS) == 1:
        assert bytes(PortAccess() / layer()) == bytes(built)


def test_a_place_that_is_given_stays() -> None:
    built = PortAccess(bytes(PortAccess(offset=0x14, size=4, access="write") / Undefined(value=0xDEADBEEF)))
    assert (built.address, built.offset, built[Undefined].value) == (0x14, 0x14, 0xDEADBEEF)


def test_a_value_without_a_size_is_kept() -> None:
    access = packet("pio", 0x10, None, "read", 0x49D2)
    assert access[Undefined].value == 0x49D2
    assert access.summary() == "read 0x10 size not recorded / undefined 0x49d2"
    assert rebuilt(bytes(access)) == bytes(access)


def test_ones_traced_as_64_bits_are_the_access_s_own() -> None:
    """`memory_region_ops_read ... addr 0x10 value 0xffffffffffffffff size 4`."""
    assert packet("pio", 0x10, 4, "read", (1 << 64) - 1)[Undefined].value == 0xFFFFFFFF


@given(
    space=st.sampled_from(["pio", "bar0", "bar1", "pci-config"]),
    offset=st.integers(0, 0xFF),
    size=st.sampled_from([1, 2, 4]),
    direction=st.sampled_from(["read", "write"]),
    data=st.data(),
)
def test_any_access_goes_there_and_back(
    space: registers.Space, offset: int, size: int, direction: registers.Direction, data: st.DataObject
) -> None:
    value = data.draw(st.integers(0, (1 << 8 * size) - 1))
    access = packet(space, offset, size, direction, value)
    assert bytes(PortAccess(bytes(access))) == bytes(access)
    layer = access.layers()[1]
    assert int(access[layer].getfieldval(layer.fields_desc[0].name)) == value


@given(st.binary(min_size=16, max_size=40))
def test_a_header_and_arbitrary_bytes_are_dissected_without_an_error(raw: bytes) -> None:
    PortAccess(raw).summary()


def test_a_missing_value_has_no_payload() -> None:
    access = packet("pio", 0x12, 1, "write", None)
    assert access.recorded == 0
    assert Log not in access
    assert access.summary() == "write 0x12 1 byte value not recorded"


def test_layers_and_decoder_agree_on_a_recording(data: Path, xptrace: Callable[..., Any]) -> None:
    path = data / "qemu-oracle" / "10.0.13" / "44-bar0-decode" / "trace.log"
    rows = xptrace("decode", "-T", "jsonl", path).accesses
    assert {row["space"] for row in rows} == {"pio", "pci-config", "bar0", "bar1"}
    rows += xptrace("decode", "-T", "jsonl", data / "real-xen" / "all-events-handshake.txt").accesses
    for row in rows:
        base = row["address"] & ~0xFF if row["space"] == "bar0" else 0
        offset = row["address"] - base
        access = packet(row["space"], row["address"], row["size"], row["direction"], row["value"], offset=offset)
        layer = access.layers()[1]
        assert int(access[layer].getfieldval(layer.fields_desc[0].name)) == row["value"]
        parts = registers.pieces(row["space"], offset, row["size"], row["direction"], row["value"])
        if len(parts) == 1:
            assert layer.register == row["register"]


# -- under a capture's header


def test_packets_of_a_capture_read_well() -> None:
    access = XenPlatform(vm="win10", boot=2) / PortAccess() / UnplugMask(mask="ide_disks+nics")
    assert access.summary() == "win10#2 / write 0x10 2 bytes / unplug_mask ide_disks+nics"
    said = XenPlatform(vm="win10") / GuestLine(text="XEN|BUGCHECK: ====>")
    assert said.summary() == 'win10#1 / log "XEN|BUGCHECK: ====>"'
    event = XenPlatform(vm="win10", subject="vbd/768", said="Connected") / Happening(topic="frontend", number=4)
    assert event.summary() == "win10#1 / frontend vbd/768: Connected"
    assert (XenPlatform(vm="win10") / packet("pio", 0x10, 2, "read", None)).summary() == (
        "win10#1 / read 0x10 2 bytes value not recorded")


def test_what_is_told_by_a_packet_written_by_hand_is_what_was_given() -> None:
    values = unpack(bytes(XenPlatform(vm="win10", vcpu=3) / PortAccess() / Magic(magic=0x49D2)))
    assert {name: values[name] for name in ("kind", "vm", "vcpu", "address", "size", "value", "function")} == {
        "kind": ACCESS, "vm": b"win10", "vcpu": 3, "address": 0x10, "size": 2, "value": 0x49D2, "function": None}
    assert unpack(bytes(XenPlatform(function=0x10) / packet("pci-config", 0, 4, "read", 0x00015853)))["function"] == 16
    event = unpack(bytes(XenPlatform() / Happening(topic="life")))
    assert (event["kind"], event["number"], event["topic"]) == (EVENT, None, 4)
    assert unpack(bytes(XenPlatform() / Happening(number=0)))["number"] == 0
    assert unpack(bytes(XenPlatform() / GuestLine(text="a", via="debug")))["via"] == 1


def again(raw: bytes) -> bytes:
    """Dissected and built anew, layer by layer."""
    whole = XenPlatform(raw)
    whole.clear_cache()
    return bytes(whole)


_WORD = st.integers(0, (1 << 32) - 1)
_HEAD = {
    "clock": st.integers(0, 255), "boot": _WORD, "vcpu": st.none() | st.integers(-1 << 31, (1 << 31) - 1),
    "count": _WORD, "function": st.none() | _WORD, "base": st.integers(0, (1 << 64) - 1), "complete": st.booleans(),
    "vm": st.binary(max_size=9), "source": st.binary(max_size=9), "said": st.binary(max_size=9),
}  # fmt: skip


@given(st.fixed_dictionaries(_HEAD), st.data())
def test_packets_are_dissected_and_built_symmetrically(head: dict[str, Any], data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from((ACCESS, MESSAGE, EVENT)))
    size = data.draw(st.none() | st.integers(1, 8))
    raw = pack(head | {
        "kind": kind, "space": data.draw(st.integers(0, 3)), "access": data.draw(st.integers(0, 1)), "size": size,
        "offset": data.draw(_WORD), "address": data.draw(_WORD), "via": data.draw(st.integers(0, 2)),
        "value": data.draw(st.none() | st.integers(0, (1 << 8 * (size or 8)) - 1)),
        "text": data.draw(st.binary(max_size=99)), "topic": data.draw(st.integers(0, 7)),
        "number": data.draw(st.none() | _WORD), "arguments": b"bar=0",
    })  # fmt: skip
    assert again(raw) == raw
    assert XenPlatform(raw).summary().isprintable()


@given(st.binary(min_size=60, max_size=120))
def test_a_capture_s_header_and_arbitrary_bytes_are_dissected_without_an_error(raw: bytes) -> None:
    XenPlatform(raw).summary()
    assert bytes(XenPlatform(raw)) == raw


def test_guest_text_is_inert_where_packets_are_shown() -> None:
    hostile = "\x1b]0;owned\x07\u202etxt.exe\x00\r\n"
    whole = XenPlatform(bytes(XenPlatform(vm=hostile) / GuestLine(text=hostile)))
    assert whole.summary() == (
        "\\x1b]0;owned\\x07\\u202etxt.exe\\x00\\r\\n#1 / "
        'log "\\x1b]0;owned\\x07\\u202etxt.exe\\x00\\r\\n"')  # fmt: skip
    assert all(one.isprintable() for one in whole.show(dump=True).splitlines())
    assert repr(whole).isprintable()


@pytest.mark.parametrize("write", [wrpcap, wrpcapng], ids=["pcap", "pcapng"])
def test_scapy_s_own_functions_write_and_read_captures(tmp_path: Path, write: Callable[..., None]) -> None:
    path = str(tmp_path / "a.capture")
    sent = [XenPlatform(vm="win10") / PortAccess() / UnplugMask(mask=3), XenPlatform() / GuestLine(text="hello")]
    for at, one in enumerate(sent):
        one.time = at + 0.25
    write(path, sent)
    for read in (rdpcap(path), sniff(offline=path, quiet=True)):
        assert [bytes(one) for one in read] == [bytes(one) for one in sent]
        assert [float(one.time) for one in read] == [0.25, 1.25]
        assert UnplugMask in read[0]
    assert len(sniff(offline=path, quiet=True, lfilter=lambda one: GuestLine in one)) == 1
