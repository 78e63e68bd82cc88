"""What holds of every format, whatever becomes of a file of it: cut, corrupt, joined with another, or mixed with it.

Each sample is a recording of this repository, or composed from a format's own example line where there is none of it;
each dissector has one. A decoder is given the damaged file as a user gives it: what it says must add up to the bytes
that were read, point into the file, and never be a traceback.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dissectors import dissectors
from xptrace.access.decode import Decoder
from xptrace.errors import XptraceError

DATA = Path(__file__).parents[1] / "data"
MOST = 6000
"""Bytes of a sample: more lines of the same add nothing but time."""


def head(path: str, start: int = 0) -> bytes:
    raw = (DATA / path).read_bytes()
    data = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    return data[start : start + MOST]


def lines(name: str, *others: bytes) -> bytes:
    return b"".join(line + b"\n" for line in (dissectors()[name].example, *others))


def simpletrace(*events: tuple[str | int, ...]) -> bytes:
    """Version 4 by its layout (scripts/simpletrace.py): header, each name once, then the events; numbers of 8 bytes."""
    numbers = {event[0]: number for number, event in enumerate(events)}
    names = [struct.pack("<QQI", 0, number, len(str(name))) + str(name).encode() for name, number in numbers.items()]
    told = [
        struct.pack("<QQQII", 1, numbers[event[0]], 1000 * at, 24 + 8 * (len(event) - 1), 31213)
        + struct.pack(f"<{len(event) - 1}Q", *event[1:])
        for at, event in enumerate(events)
    ]
    return struct.pack("<QQQ", (1 << 64) - 1, 0xF2B177CB0AA429B4, 4) + b"".join(names + told)


SAMPLES: dict[str, bytes] = {
    "qemu-log": head("real-xen/all-events-handshake.txt"),
    "simpletrace": simpletrace(("cpu_in", 0x10, ord("w"), 0x49D2), ("cpu_out", 0x10, ord("w"), 3)),
    "lttng": head("lttng/babeltrace2-full.txt.gz"),
    "qemu-xen-traditional": lines(
        "qemu-xen-traditional", b"domid: 7", b"Register xen platform.", b"PV driver build 1",
        b"13048960291482: disabled qemu devices 03", b"throttling guest access to syslogxen|x: y",
    ),
    "qtest": head("qtest/05-windows-pv-negotiation.log"),
    "qmp": lines("qmp", b'{"event": "RESET", "data": {"guest": true},',
                 b' "timestamp": {"seconds": 1, "microseconds": 2}}'),
    "kvm": head("kvm/tracefs.txt"),
    "strace": lines("strace"),
    "xentrace": head("xentrace/linux-default.bin"),
    "xenalyze": lines("xenalyze", b" 217.407080536 x d1v0 io write port 12 val 3"),
    "xen-console": lines("xen-console", b"(XEN) [ 4711.000001] d11v0 VIRIDIAN CRASH: 3b c0000096 75b12c5 9e7f1580 0"),
    "oxenstored": lines("oxenstored", b"[20261123T03:17:31.038Z]  A24.9        write     /local/domain/1/name win10"),
    "xenstored": head("xenstore/two-guests.trace"),
    "xenstore-ls": head("xenstore/linux-default.ls-fp"),
    "libxl": head("xl/reboot-twice.log"),
    "xensource": lines("xensource"),
    "guest-kernel": head("guest-kernel/no-platform-pci.log"),
    "journal": head("journal/json.txt"),
    "pcap": head("capture/handshake-editcap.pcap"),
    "pcapng": head("capture/handshake-editcap.pcapng"),
    "paste": b"> memory_region_ops_write cpu 0 mr 0x13eefbf60 addr 0x10 value 0x3 \n> size 2 name 'xen-fixed'\n" * 4,
}
READ = [name for name, one in dissectors().items() if not one.advice]


def accounted(path: Path) -> int:
    """Decode a file; returns how many records it holds. Whatever it holds, the account of it is whole."""
    decoder = Decoder([str(path)])
    size, told = path.stat().st_size, 0
    try:
        for entry in decoder.entries():
            told += 1
            for record in entry.records:
                assert 0 <= record.offset <= record.offset + record.length <= size
                assert record.line >= 1
            assert entry.time_ns is None or 0 <= entry.time_ns < 1 << 63
            assert (entry.time_ns is None) == (entry.clock is None)
    except XptraceError:  # a file that another program must convert first
        return told
    (ledger,) = decoder.ledgers
    *parts, (_, read, read_lines) = ledger.rows()
    assert read == size
    assert sum(part[1] for part in parts) == read
    assert sum(part[2] for part in parts) == read_lines
    assert all(count >= 0 for part in parts for count in part[1:])
    for note in ledger.notes:
        assert 0 <= note.offset <= note.offset + note.length <= size
    return told


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def test_every_format_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(READ)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_whole_sample_tells_something(name: str, file: Path) -> None:
    file.write_bytes(SAMPLES[name])
    decoder = Decoder([str(file)])
    assert any(decoder.entries()) or decoder.ledgers[0].decoded.lines
    assert decoder.ledgers[0].told[name] > 0


@pytest.mark.parametrize("name", SAMPLES)
def test_an_empty_file_is_no_error(name: str, file: Path) -> None:
    file.write_bytes(b"")
    decoder = Decoder([str(file)], dissector=name)
    assert not list(decoder.entries())
    assert decoder.ledgers[0].total.bytes == 0


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_becomes_of_a_file_is_accounted_for(name: str, file: Path, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    other = SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)), label="other")]
    cut = data.draw(st.integers(0, len(sample)), label="cut")
    match data.draw(st.sampled_from(["cut", "tail", "flip", "joined", "twice", "inserted", "mixed"]), label="fate"):
        case "cut":
            found = sample[:cut]
        case "tail":
            found = sample[cut:]
        case "flip":
            flipped = bytearray(sample)
            for at in data.draw(st.lists(st.integers(0, len(sample) - 1), max_size=8), label="flipped"):
                flipped[at] ^= 1 << data.draw(st.integers(0, 7))
            found = bytes(flipped)
        case "joined":
            found = sample + other
        case "twice":
            found = sample + sample
        case "inserted":
            found = sample[:cut] + other[: data.draw(st.integers(0, 400), label="of the other")] + sample[cut:]
        case _:
            mine, theirs = sample.split(b"\n"), other.split(b"\n")
            found = b"\n".join(line for pair in zip(mine, theirs, strict=False) for line in pair)
    file.write_bytes(found)
    accounted(file)
