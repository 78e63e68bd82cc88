"""Captures in plain pcap: what was written is read back, as others write it too; damage is said, and passed."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapReader, rdpcap, wrpcap

from dissectors import Given, choose
from dissectors.capture.header import LINKTYPE, MESSAGE, HeaderError, pack
from dissectors.capture.pcap import DISSECTOR, Pcap, Writer, sniff
from dissectors.platform.layers import XenPlatform
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import broken

NS = 1_767_225_600_123_456_789


def line(text: bytes) -> bytes:
    return pack({"kind": MESSAGE, "clock": 1, "vm": b"win", "text": text})


def written(packets: Iterable[tuple[int | None, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for time_ns, packet in packets:
        writer.write(time_ns, packet)
    return file.getvalue()


def read(raw: bytes, chunk: int = 1 << 20) -> list[Record | Damage | Loss]:
    reader = Pcap(Given("a.pcap", catalogue.load()))
    return list(reader.read(raw[at : at + chunk] for at in range(0, len(raw), chunk)))


def told(found: Iterable[Any]) -> list[tuple[int | None, bytes]]:
    return [(one.time_ns, one.text("text")) for one in found if isinstance(one, Record)]


@given(st.lists(st.tuples(st.integers(0, (1 << 32) * 10**9 - 1), st.binary(max_size=40)), max_size=8),
       st.integers(1, 300))  # fmt: skip
def test_packets_come_back_in_their_order_with_their_times(packets: list[tuple[int, bytes]], chunk: int) -> None:
    found = read(written((time_ns, line(text)) for time_ns, text in packets), chunk)
    assert told(found) == packets
    assert [one.line for one in found] == list(range(1, len(packets) + 1))


def test_a_time_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(HeaderError, match="holds no time of 4294967296 seconds"):
        written([((1 << 32) * 10**9, line(b"a"))])


def test_scapy_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(written([(NS, line(b"a"))]))
    with RawPcapReader(str(path)) as reader:
        assert (reader.linktype, reader.nano) == (LINKTYPE, True)
        ((raw, about),) = list(reader)
    assert (raw, about.sec * 10**9 + about.usec) == (line(b"a"), NS)


@pytest.mark.parametrize("nano", [True, False])
def test_what_scapy_writes_is_read(tmp_path: Path, nano: bool) -> None:
    path = tmp_path / "scapy.pcap"
    packet = XenPlatform(line(b"a"))
    packet.time = 1.5
    wrpcap(str(path), [packet], nano=nano)
    assert told(read(path.read_bytes())) == [(1_500_000_000, b"a")]


def test_what_editcap_writes_is_read(data: Path) -> None:
    """Wireshark 4.0's editcap made plain pcap of the handshake."""
    path = data / "capture" / "handshake-editcap.pcap"
    found = read(path.read_bytes())
    assert all(isinstance(one, Record) for one in found)
    assert len(found) == len(rdpcap(str(path))) == 10


def test_the_other_byte_order_in_microseconds() -> None:
    raw = struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE)
    raw += struct.pack(">IIII", 7, 9, len(line(b"a")), len(line(b"a"))) + line(b"a")
    assert told(read(raw)) == [(7_000_009_000, b"a")]
    assert sniff(raw) == 100


def test_reading_goes_on_behind_damage() -> None:
    first, second, third = (written([(n, line(text)) for n, text in enumerate(texts)]) for texts in
                            ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]))  # fmt: skip
    damaged = bytearray(third)
    damaged[len(first) + 11] = 0xFF
    found = read(bytes(damaged), 50)
    assert [text for _, text in told(found)] == [b"a", b"c"]
    (damage,) = [one for one in found if isinstance(one, Damage)]
    assert (damage.offset, damage.length, damage.line) == (len(first), len(second) - len(first), 2)
    assert damage.reason == "expected a packet of a length that there can be"


def test_an_end_in_the_middle_of_a_packet_is_damage() -> None:
    found = read(written([(1, line(b"a")), (2, line(b"b"))])[:-3])
    assert told(found) == [(1, b"a")]
    assert [one.reason for one in found if isinstance(one, Damage)] == ["broken off in the middle of a packet"]


SAMPLE = written([(n, line(b"text %d" % n)) for n in range(6)])


@settings(max_examples=150, deadline=None)
@given(broken(SAMPLE))
def test_damage_of_any_kind_is_no_error_and_everything_lies_in_the_source(raw: bytes) -> None:
    end = 0
    for one in read(raw, 61):
        assert end in {one.offset, 0}
        end = one.offset + one.length
        assert end <= len(raw)


def test_a_capture_is_recognised() -> None:
    assert choose(SAMPLE)[0] == (DISSECTOR, 100)
    assert sniff(DISSECTOR.example) == 100
    assert sniff(SAMPLE[:20] + struct.pack("<I", 1) + SAMPLE[24:]) == sniff(b"") == 0
