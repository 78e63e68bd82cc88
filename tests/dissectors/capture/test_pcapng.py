"""Captures in pcapng: what was written is read back, as others write it too; damage is said, and reading goes on."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.utils import PcapNgWriter, RawPcapNgReader

from dissectors import Given, choose
from dissectors.capture.header import ACCESS, LINKTYPE, MESSAGE, pack
from dissectors.capture.pcapng import DISSECTOR, Interface, PcapNg, Writer, block, option, sniff
from dissectors.platform.layers import XenPlatform
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import broken

Read = list[Record | Damage | Loss]
WIN = Interface("win#1", "win, boot 1, times by the host's clock (wall)")
NS = 1_767_225_600_123_456_789


def line(text: bytes, clock: int = 1) -> bytes:
    return pack({"kind": MESSAGE, "clock": clock, "vm": b"win", "text": text})


def written(packets: Iterable[tuple[int | None, bytes]], comments: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, "xptrace of a test", comments)
    for time_ns, packet in packets:
        writer.write(WIN, time_ns, packet)
    return file.getvalue()


def read(raw: bytes, chunk: int = 1 << 20) -> Read:
    reader = PcapNg(Given("a.pcapng", catalogue.load()))
    return list(reader.read(raw[at : at + chunk] for at in range(0, len(raw), chunk)))


def texts(found: Read) -> list[bytes]:
    return [one.text("text") for one in found if isinstance(one, Record)]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, (1 << 63) - 1), st.binary(max_size=40)), max_size=8), st.integers(1, 300))
def test_packets_come_back_in_their_order_with_their_times(told: list[tuple[int, bytes]], chunk: int) -> None:
    raw = written((time_ns, line(text)) for time_ns, text in told)
    found = read(raw, chunk)
    assert [(one.time_ns, one.text("text"), one.line, one.guest) for one in found if isinstance(one, Record)] == [
        (time_ns, text, number, "win") for number, (time_ns, text) in enumerate(told, 1)]
    assert len(found) == len(told)
    assert all(raw[one.offset : one.offset + one.length] == one.raw for one in found if isinstance(one, Record))


def test_an_entry_without_a_time_has_none_and_keeps_its_place() -> None:
    found = read(written([(NS, line(b"a")), (None, line(b"b", clock=0)), (5, line(b"c", clock=5))]))
    assert [(one.time_ns, one.clock) for one in found if isinstance(one, Record)] == [
        (NS, "wall"), (None, None), (5, "trace")]


def test_scapy_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, "xptrace", ["of the whole"])
        writer.write(WIN, NS, line(b"a"), ["first", "second"])
        writer.write(Interface("win#2", "later"), NS + 1, line(b"bcd"))
    with RawPcapNgReader(str(path)) as reader:
        packets: list[tuple[bytes, Any]] = list(reader)
    assert [raw for raw, _ in packets] == [line(b"a"), line(b"bcd")]
    assert [(one.tshigh << 32 | one.tslow, one.tsresol, one.linktype, one.ifname) for _, one in packets] == [
        (NS, 10**9, LINKTYPE, b"win#1"), (NS + 1, 10**9, LINKTYPE, b"win#2")]
    comments = [one for one in packets[0][1] if one in (b"first", [b"first", b"second"])]  # older scapy keeps one
    assert len(comments) == 1


def test_what_scapy_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scapy.pcapng"
    with PcapNgWriter(str(path)) as writer:
        packet = XenPlatform(line(b"a"))
        packet.time = 1.5
        writer.write(packet)
    (one,) = read(path.read_bytes())
    assert isinstance(one, Record)
    assert (one.text("text"), one.time_ns) == (b"a", 1_500_000_000)


def test_what_editcap_writes_is_read(data: Path) -> None:
    """Wireshark 4.0's editcap wrote the handshake anew."""
    found = read((data / "capture" / "handshake-editcap.pcapng").read_bytes())
    assert all(isinstance(one, Record) for one in found)
    registers = [one.integer("address") for one in found if isinstance(one, Record) and one.event == "captured_access"]
    assert registers == [0, 0x10, 0x12, 0x12, 0x10, 0x10, 0x10, 0]


# -- blocks as others may write them


def big(kind: int, body: bytes) -> bytes:
    length = struct.pack(">I", len(body) + 12)
    return struct.pack(">I", kind) + length + body + length


def test_the_other_byte_order_other_resolutions_and_older_blocks() -> None:
    packet = line(b"abc")
    filled = packet + bytes(-len(packet) % 4)
    raw = big(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    raw += big(1, struct.pack(">HHI", LINKTYPE, 0, 0))  # microseconds, as nothing is said
    raw += big(1, struct.pack(">HHI", LINKTYPE, 0, 0) + struct.pack(">HHB3xHHqHH", 9, 1, 0x80 | 10, 14, 8, -100, 0, 0))
    for interface, ticks in ((0, 2_000_001), (1, 1024 * 200 + 512)):
        raw += big(6, struct.pack(">IIIII", interface, ticks >> 32, ticks, len(packet), len(packet)) + filled)
    raw += big(2, struct.pack(">HHIIII", 0, 0xFFFF, 0, 7, len(packet), len(packet)) + filled)
    raw += big(3, struct.pack(">I", len(packet)) + filled)
    found = read(raw)
    assert [(one.time_ns, one.text("text")) for one in found if isinstance(one, Record)] == [
        (2_000_001_000, b"abc"), (100_500_000_000, b"abc"), (7000, b"abc"), (None, b"abc")]
    assert sniff(raw) == 100


def test_packets_of_another_link_type_are_passed_over_and_counted() -> None:
    raw = written([(1, line(b"a"))])
    ethernet = block(1, struct.pack("<HHI", 1, 0, 0)) + block(6, struct.pack("<IIIII", 1, 0, 0, 4, 4) + b"abcd")
    ours = block(6, struct.pack("<IIIII", 0, 0, 9, len(line(b"b")), 99) + line(b"b") + bytes(3))
    found = read(raw + ethernet + ours)
    assert [(one.line, one.event) for one in found if isinstance(one, Record)] == [
        (1, "captured_message"), (3, "captured_message")]


def test_packets_that_are_missing_are_a_loss() -> None:
    packet = line(b"abc")
    body = struct.pack("<IIIII", 0, 0, 9, len(packet), len(packet)) + packet + bytes(-len(packet) % 4)
    drops = option(4, struct.pack("<Q", 12)) + option(0, b"")
    statistics = block(5, struct.pack("<III", 0, 0, 0) + option(5, struct.pack("<Q", 3)) + option(0, b""))
    found = read(written([(1, line(b"a"))]) + block(6, body + drops) + statistics)
    assert [one.reason for one in found if isinstance(one, Loss)] == [
        "12 packets are missing before this one", "3 packets are missing"]
    assert texts(found) == [b"a", b"abc"]


@pytest.mark.parametrize(("change", "why"), [
    (lambda raw: raw[: len(written([(1, line(b"a"))])) + 9], "broken off in the middle of a block"),
    (lambda raw: raw[:-4] + b"\1\0\0\0", "expected a block"),
])  # fmt: skip
def test_a_block_that_is_not_whole_is_damage(change: Callable[[bytes], bytes], why: str) -> None:
    first, whole = written([(1, line(b"a"))]), written([(1, line(b"a")), (2, line(b"b"))])
    found = read(change(whole))
    assert texts(found) == [b"a"]
    damage = found[-1]
    assert isinstance(damage, Damage)
    assert (damage.offset, damage.line) == (len(first), 2)
    assert damage.reason.startswith(why)


def test_reading_goes_on_behind_damage() -> None:
    first, second, third = (written([(n, line(text)) for n, text in enumerate(told)]) for told in
                            ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]))  # fmt: skip
    damaged = bytearray(third)
    damaged[len(first) + 4] ^= 0x40
    found = read(bytes(damaged))
    assert texts(found) == [b"a", b"c"]
    (damage,) = [one for one in found if isinstance(one, Damage)]
    assert (damage.offset, damage.length) == (len(first), len(second) - len(first))


def test_a_packet_that_is_none_of_ours_is_damage_with_its_reason() -> None:
    (damage,) = read(written([(1, b"\2" + line(b"a")[1:])]))
    assert isinstance(damage, Damage)
    assert damage.reason == "no packet of xptrace: expected version 1 of the pseudo-header, found 2"


def test_a_packet_of_an_interface_that_nobody_described_is_damage() -> None:
    raw = written([]) + block(6, struct.pack("<IIIII", 7, 0, 0, 0, 0))
    assert [one.reason for one in read(raw) if isinstance(one, Damage)] == [
        "a packet of interface 7, of which nothing was said"]


SAMPLE = written([(n, pack({"kind": ACCESS, "clock": 1, "size": 2, "value": n})) for n in range(6)], ("a", "b"))


@settings(max_examples=150, deadline=None)
@given(broken(SAMPLE))
def test_damage_of_any_kind_is_no_error_and_everything_lies_in_the_source(raw: bytes) -> None:
    found = read(raw, 61)
    end = 0
    for one in found:
        assert one.offset >= end or isinstance(one, Loss | Record)
        assert 0 < one.length <= len(raw) - one.offset
        end = one.offset
    lines = [one.line for one in found]
    assert lines == sorted(lines)


def test_a_capture_is_recognised() -> None:
    assert choose(SAMPLE)[0] == (DISSECTOR, 100)
    assert sniff(DISSECTOR.example) == 100
    assert sniff(SAMPLE.replace(struct.pack("<HHI", LINKTYPE, 0, 0), struct.pack("<HHI", 1, 0, 0))) == 0
    assert sniff(b"") == sniff(b"\x0a\x0d\x0d\x0a") == 0


def test_a_long_comment_before_the_interfaces_leaves_it_open() -> None:
    raw = written([(1, line(b"a"))], ("x" * 60_000,))
    assert (sniff(raw), sniff(raw[:5000])) == (100, 50)
