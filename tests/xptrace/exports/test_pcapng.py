"""Recorded traffic: what goes into a capture comes back from it, with its findings on their proof."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.utils import PcapNgReader

import xptrace as library
from dissectors.capture.header import pack
from dissectors.capture.pcapng import Writer
from dissectors.clock import CLOCKS
from dissectors.platform import registers
from dissectors.platform.layers import XenPlatform
from dissectors.record import Record
from tests.dissectors.feeding import broken
from xptrace.access.captured import values_of
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Entry, Event, Message, Topic, Way
from xptrace.access.spaces import Function
from xptrace.exports import pcap, pcapng
from xptrace.exports.pcapng import interface

EVIDENCE = ("source", "offset", "line")
HOSTILE = (
    b"xen_platform_log xen platform: \x1b[2J\x1b]0;owned\x07=cmd|' /C calc'!A0</script><img src=x>\"';--\n"
    b"xen_platform_log xen platform: \xe2\x80\xaetxt.exe\xe2\x80\x8b \xff\xfe \xed\xa0\x80 \0 \xf3\xa0\x81\x81 \x9b1m\n"
    b"cpu_in addr 0x10(w) value 18898\n"
    b"cpu_out addr 0x10(w) value 0\n"
)


def without_evidence(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.row().items() if key not in EVIDENCE} for entry in entries]


def captured(paths: Sequence[Path], to: Path, write: Callable[..., None] = pcapng.write) -> list[dict[str, Any]]:
    """Write the recordings as a capture; returns their entries."""
    case = library.open(*map(str, paths))
    with to.open("wb") as file:
        write(case, file)
    return without_evidence(case.entries())


def decoded(path: Path) -> list[dict[str, Any]]:
    """The entries of a capture, nothing of which may be damaged."""
    decoder = Decoder([str(path)])
    found = without_evidence(decoder.entries())
    assert (decoder.ledgers[0].damaged.lines, decoder.ledgers[0].lost.lines) == (0, 0)
    assert decoder.ledgers[0].decoded.lines == decoder.ledgers[0].total.lines
    return found


def comments_of(packet: XenPlatform) -> list[str]:
    """The comments on a packet, as far as scapy keeps them: before 2.7 it is one."""
    told = getattr(packet, "comments", None) or ([packet.comment] if packet.comment else [])
    return [one.decode() for one in told]


SHIPPED = [
    "real-xen/all-events-handshake.txt", "real-xen/qemu-trace-no-timestamp.log.gz",
    "real-xen/windows-like-excerpt.log.gz",
    "qemu-oracle/10.0.13/34-log-nul/trace.log", "qemu-oracle/10.0.13/37-log-injection/trace.log",
    "qemu-oracle/10.0.13/40-misaligned-straddle/trace.log", "qemu-oracle/10.0.13/45-mmio/trace.log",
    "qemu-oracle/10.0.13/44-bar0-decode/trace.bin.gz", "qemu-oracle/10.0.13/60-reset-mid/trace.log",
    "kvm/tracefs-overrun.txt.gz", "lttng/babeltrace2.txt.gz", "xentrace/two-guests.bin", "xenstore/two-guests.trace",
    "guest-kernel/no-platform-pci.log", "xl/reboot-twice.log", "qtest/05-windows-pv-negotiation.log",
]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recording_comes_back_from_a_capture(data: Path, tmp_path: Path, name: str) -> None:
    entries = captured([data / name], tmp_path / "a.pcapng")
    assert entries
    assert decoded(tmp_path / "a.pcapng") == entries


def test_a_recording_comes_back_from_plain_pcap(data: Path, tmp_path: Path) -> None:
    entries = captured([data / SHIPPED[2]], tmp_path / "a.pcap", pcap.write)
    assert decoded(tmp_path / "a.pcap") == entries


def test_recordings_of_several_clocks_come_back_in_their_order(data: Path, tmp_path: Path) -> None:
    paths = [data / name for name in ("kvm/tracefs.txt", "real-xen/all-events-handshake.txt", "journal/export.txt",
                                      "real-xen/qemu-trace-no-timestamp.log.gz")]  # fmt: skip
    entries = captured(paths, tmp_path / "a.pcapng")
    assert {row["clock"] for row in entries} >= {"trace", "wall", None}
    assert decoded(tmp_path / "a.pcapng") == entries


@pytest.mark.slow
def test_a_sample_of_the_collection_comes_back(corpus: Path, tmp_path: Path) -> None:
    kinds = (".log", ".txt", ".gz", ".bin")
    files = sorted(path for path in (corpus / "recorded").rglob("*")
                   if path.suffix in kinds and path.is_file() and path.stat().st_size < 200_000)
    met = 0
    for number, path in enumerate(files[7::149]):
        entries = captured([path], tmp_path / f"{number}.pcapng")
        met += bool(entries)
        assert not entries or decoded(tmp_path / f"{number}.pcapng") == entries, path
    assert met >= 4


def test_the_findings_of_a_capture_are_those_of_the_recording(data: Path, tmp_path: Path) -> None:
    def told(path: Path) -> list[tuple[object, ...]]:
        found = library.open(str(path)).assessment.findings
        return [(one.rule.id, one.severity, re.sub(r"line \d+", "line", one.sentence)) for one in found]

    for name in ("real-xen/windows-like-excerpt.log.gz", "lttng/trace.log.gz", "guest-kernel/no-platform-pci.log"):
        captured([data / name], tmp_path / Path(name).with_suffix("").with_suffix(".pcapng").name)
        findings = told(data / name)
        assert findings
        assert told(tmp_path / Path(name).with_suffix("").with_suffix(".pcapng").name) == findings


# -- what is in the file


def test_findings_are_comments_on_the_packets_that_prove_them(data: Path, tmp_path: Path) -> None:
    path, recording = tmp_path / "a.pcapng", data / "lttng" / "trace.log.gz"
    captured([recording], path)
    comments: dict[tuple[bytes, int], list[str]] = {}
    with PcapNgReader(str(path)) as reader:
        for packet in reader:
            comments[packet.source, packet.source_offset] = comments_of(packet)
    proven = 0
    for row in library.open(str(recording)).findings.to_dict("records"):
        said = f"finding {row['rule']} {row['severity']} {row['certainty']}: {row['sentence']}"
        for place in row["evidence"]:
            on_it = comments.get((place["source"].encode(), place["offset"]))
            if on_it is not None:
                proven += 1
                assert said in on_it or len(on_it) == 1  # scapy before 2.7 keeps one comment
    assert proven >= 3


def test_the_evidence_of_the_recording_is_kept(data: Path, tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    path, recording = tmp_path / "a.pcapng", data / "real-xen" / "all-events-handshake.txt"
    assert xptrace("export", "--to", "pcapng", "-o", path, recording).code == 0
    rows = xptrace("decode", "-T", "jsonl", recording).rows
    with PcapNgReader(str(path)) as reader:
        kept = [(one.source.decode(), one.source_offset, one.source_line) for one in reader if one.kind < 2]
    assert kept == [(row["source"], row["offset"], row["line"]) for row in rows]
    again = xptrace("decode", "-T", "jsonl", path).rows
    assert {row["source"] for row in again} == {str(path)}
    assert [row["line"] for row in again] == [1, 2, 3, 4, 5, 6, 7, 10]  # packets 8 and 9 are events


def test_an_interface_is_a_vm_and_boot_by_one_clock(data: Path, tmp_path: Path) -> None:
    captured([data / "qemu-oracle" / "10.0.13" / "60-reset-mid" / "trace.log", data / "kvm" / "tracefs.txt"],
             tmp_path / "a.pcapng")  # fmt: skip
    with PcapNgReader(str(tmp_path / "a.pcapng")) as reader:
        names = list(dict.fromkeys(str(one.sniffed_on) for one in reader))
        assert names == ["trace#1", "trace#2", "tracefs#1"]
    raw = (tmp_path / "a.pcapng").read_bytes()
    assert b"trace, boot 1, without times" in raw
    assert b"tracefs, boot 1, times by the kernel tracer's clock (trace)" in raw


def test_a_capture_is_not_written_to_a_terminal_and_no_half_file_is_left(
    tmp_path: Path, xptrace: Callable[..., Any]
) -> None:
    done = xptrace("export", "--to", "pcapng", "-o", tmp_path / "nowhere" / "a.pcapng", __file__)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])


def test_what_plain_pcap_cannot_hold_is_said(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    log = tmp_path / "t.log"
    log.write_bytes(b"1@4294967296.000001:cpu_in addr 0x10(w) value 18898\n")
    done = xptrace("export", "--to", "pcap", "-o", tmp_path / "a.pcap", log)
    assert done.code == 2
    assert done.err == f"xptrace: {log}:1 @0: plain pcap holds no time of 4294967296 seconds: pcapng does\n"
    assert xptrace("export", "--to", "pcapng", "-o", tmp_path / "a.pcapng", log).code == 0


def test_hostile_text_comes_back_as_it_was_and_is_inert_in_comments(tmp_path: Path) -> None:
    log = tmp_path / "qemu-dm-\x1b[2J'\"]].log"
    log.write_bytes(HOSTILE)
    entries = captured([log], tmp_path / "a.pcapng")
    assert decoded(tmp_path / "a.pcapng") == entries
    first = next(row["text"] for row in entries if row["kind"] == "message")
    assert first.startswith("\x1b[2J\x1b]0;owned\x07=cmd|")
    with PcapNgReader(str(tmp_path / "a.pcapng")) as reader:
        packets = list(reader)
    assert all(str(one.sniffed_on).isprintable() and one.summary().isprintable() for one in packets)
    comments = [one for packet in packets for one in comments_of(packet)]
    assert any(one.startswith("finding A19 medium observed: \\x1b[2J'") for one in comments)
    assert all(one.isprintable() for one in comments)


def test_a_packet_written_in_scapy_is_decoded(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    from scapy.utils import wrpcap

    from dissectors.platform.layers import Bar1, GuestLine, PortAccess, UnplugMask, packet

    path = tmp_path / "a.pcap"
    wrpcap(str(path), [
        XenPlatform(vm="win10", boot=2) / PortAccess() / UnplugMask(mask="nics"), XenPlatform() / GuestLine(text="hi"),
        XenPlatform(vm="win10") / packet("bar1", 0xF0000000, 4, "read", 0), XenPlatform() / PortAccess(size=1) / Bar1(),
        XenPlatform(function=0x10, subject="xen-platform") / packet("pci-config", 0, 2, "read", 0x5853),
    ])  # fmt: skip
    rows = xptrace("decode", "-T", "jsonl", path).rows
    assert [(row["vm"].partition(".")[0], row["boot"], row.get("meaning", row.get("text"))) for row in rows] == [
        ("win10", 2, "unplug mask 0x0002: NICs"), ("a", 1, "hi"), ("win10", 1, "BAR1: address space for the driver"),
        ("a", 1, "BAR1: address space for the driver"),
        ("a", 1, "xen-platform 00:02.0: reads vendor id 0x5853 (XenSource)")]


# -- whatever an entry may be

_TIME = st.none() | st.integers(0, (1 << 63) - 1)
_NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_NUMBER = st.integers(0, (1 << 64) - 1)


def record(draw: st.DrawFn, event: str = "cpu_out") -> Record:
    return Record("a.log", draw(_NUMBER), 5, draw(_NUMBER), event, {}, b"", derived=draw(st.booleans()))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    time_ns = draw(_TIME)
    clock = None if time_ns is None else draw(st.sampled_from(sorted(CLOCKS)) | _NAME.filter(str.isalpha))
    vm, boot, certainty = draw(_NAME), draw(st.integers(1, 9)), draw(st.sampled_from(("observed", "inferred")))
    kind = draw(st.sampled_from(("access", "message", "event")))
    if kind == "message":
        return Message(time_ns, clock, vm, boot, draw(_NAME), draw(st.booleans()), certainty, [record(draw)],
                       draw(st.sampled_from(get_args(Way))))  # fmt: skip
    if kind == "event":
        return Event(time_ns, clock, vm, boot, draw(st.sampled_from(get_args(Topic))), draw(_NAME), draw(_NAME),
                     draw(st.none() | _NUMBER), [record(draw)])  # fmt: skip
    space: registers.Space = draw(st.sampled_from(("pio", "bar0", "bar1", "pci-config")))
    direction: registers.Direction = draw(st.sampled_from(("read", "write")))
    size = draw(st.none() | st.sampled_from((1, 2, 3, 4, 8)))
    base = 0 if space in ("pio", "pci-config") else draw(st.integers(0, 1 << 48))
    address = base + draw(st.integers(0x0D, 0x20) if space == "pio" else st.integers(0, 0x110))
    value = draw(st.none() | st.integers(0, (1 << 8 * (size or 8)) - 1))
    said = registers.meaning(space, address - base, size, direction, value)
    if space not in ("pio", "bar0") or draw(st.booleans()):
        said = draw(_NAME)
    device = draw(st.sampled_from((None, "xen-platform", "xen-pvdevice")))
    function = Function(draw(st.integers(0, 0xFFFF)), ours=True, device=device)
    vcpu = draw(st.none() | st.integers(-1, (1 << 31) - 1))
    return Access(
        time_ns, clock, vm, boot, vcpu, space, address, size, direction, value,
        draw(st.integers(0, (1 << 32) - 1)), registers.register_name(space, address - base, size, direction), said,
        certainty, [record(draw)], base, function if space == "pci-config" else None,
    )


_FILES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)


@_FILES
@given(st.lists(entries(), min_size=1, max_size=5))
def test_any_entries_come_back_from_a_capture(tmp_path: Path, told: list[Entry]) -> None:
    path = tmp_path / "a.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, "a test")
        for entry in told:
            writer.write(interface(entry), entry.time_ns, pack(values_of(entry)))
    found = list(Decoder([str(path)]).entries())
    assert without_evidence(found) == without_evidence(told)
    for entry, one in zip(told, found, strict=True):
        assert one.records[0].derived == entry.records[0].derived
        if isinstance(entry, Access) and isinstance(one, Access):
            assert (one.base, one.offset, one.function and one.function.number) == (
                entry.base, entry.offset, entry.function and entry.function.number)


HANDSHAKE = Path(__file__).parents[2] / "data" / "capture" / "handshake-editcap.pcapng"


@_FILES
@given(broken(HANDSHAKE.read_bytes()))
def test_a_damaged_capture_is_read_as_far_as_it_goes(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(raw)
    decoder = Decoder([str(path)])
    rows = [entry.row() for entry in decoder.entries()]
    assert len(json.dumps(rows)) > 0
    for ledger in decoder.ledgers:
        account = {kind: size for kind, size, _ in ledger.rows()}
        assert account["read"] == len(raw)
        assert account["other"] >= 0
