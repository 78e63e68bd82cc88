"""babeltrace's text says what QEMU's own log says, but for what QEMU does not hand over to LTTng."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissectors.qemu import textlog
from dissectors.qemu.lttng import DISSECTOR, sniff
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import broken, feed, inside, records

CONTEXT = b'{ cpu_id = 1 }, { vpid = 8179, vtid = 8180, procname = "qemu-system-i38" }, '
SAID = b"[03:12:34.133971760] (+0.000036439) vm qemu:xen_platform_log: " + CONTEXT + b'{ s = "hello from guest" }\n'
FULL = (b"timestamp = 1795403554.126851111, delta = +0.000029035, trace = vm/ust/uid/0/64-bit, , trace:hostname = vm, "
        b"trace:domain = ust, loglevel = TRACE_DEBUG_LINE (13), name = qemu:cpu_in, stream.packet.context = { "
        b'cpu_id = 1 }, stream.event.context = { vpid = 8179, vtid = 8179, procname = "qemu-system-i38" }, '
        b"event.fields = { addr = 0x10, val = 18898 }\n")
SMALL = SAID + FULL + (
    b"[03:12:34.126822076] (+?.?????????) vm qemu:memory_region_ops_read: " + CONTEXT + b"{ cpu_index = -1, "
    b'mr = 0x55F7D0724D10, addr = 0x10, value = 0xFFFFFFFFFFFFFFFF, size = 4, name = "xen-fixed" }\n'
)
UNTOLD = {"cpu_in": ["size"], "cpu_out": ["size"], "pci_update_mappings_add": ["size"]}
"""A `char`; and the last of a format whose two PRIx64 ust_events_h.py takes for one."""


def one(line: bytes) -> Record:
    (record,) = records(DISSECTOR, line)
    return record


def test_an_event_is_told_with_its_arguments_its_thread_and_no_time_of_day() -> None:
    record = one(SAID)
    assert (record.event, record.values) == ("xen_platform_log", {"s": b"hello from guest"})
    assert (record.time_ns, record.clock) == (None, None)
    assert (record.thread, record.guest, record.domain, record.line, record.offset) == (8180, None, None, 1, 0)
    assert (record.length, record.raw) == (len(SAID), SAID[:-1])


def test_the_full_form_has_the_date() -> None:
    record = one(FULL)
    assert (record.event, record.values) == ("cpu_in", {"addr": 0x10, "size": None, "val": 18898})
    assert (record.time_ns, record.clock, record.thread) == (1795403554_126_851_111, "wall", 8179)


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (b"1795403554.126851111", (1795403554_126_851_111, "wall")),  # --clock-seconds
        (b"2026-11-23 03:12:34.126851111", (1795403554_126_851_111, "local")),  # --clock-date
        (b"03:12:34.126851111", (None, None)),
        (b"00004132412908123", (None, None)),  # --clock-cycles
        (b"2026-02-30 03:12:34.126851111", (None, None)),
        (b"99999999999.126851111", (None, None)),
    ],
)
def test_only_a_date_is_a_time(stamp: bytes, time: tuple[int | None, str | None]) -> None:
    line = b"[" + stamp + b"] (+0.000036439) vm qemu:kvm_xen_soft_reset: { cpu_id = 1 }, { }\n"
    assert (one(line).time_ns, one(line).clock) == time


@pytest.mark.parametrize(
    ("front", "thread"),
    [
        (b"[03:12:34.133971760] vm qemu:xen_platform_log: ", None),  # --no-delta
        (b"[03:12:34.133971760] (+0.000036439) qemu:xen_platform_log: ", None),
        (b"[03:12:34.133971760] (+0.000036439) vm:qemu-system-i38:8179 qemu:xen_platform_log: { cpu_id = 0 }, ", None),
        (b"[03:12:34.133971760] (+0.000036439) vm TRACE_DEBUG_LINE (13) qemu:xen_platform_log: { vpid = 7 }, ", 7),
    ],
)
def test_other_options_put_less_or_more_in_front(front: bytes, thread: int | None) -> None:
    record = one(front + b'{ s = "a" }\r\n')
    assert (record.values, record.thread) == ({"s": b"a"}, thread)


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (rb"ctl \x01\t\e[0m\r", b"ctl \x01\t\x1b[0m\r"),  # of the recording
        (rb"%s %n", b"%s %n"),
        (rb"\\x41 \"quoted\" \'a\' \? \x7fff \a\b\f\n\v", b"\\x41 \"quoted\" 'a' ? \x7fff \a\b\f\n\v"),
        (b"\xff\xfe } , { s = 1", b"\xff\xfe } , { s = 1"),
        (rb"\" }, { s = \"forged", b'" }, { s = "forged'),
        (b"", b""),
    ],
)
def test_text_is_the_guests_bytes(printed: bytes, text: bytes) -> None:
    assert one(SAID.replace(b"hello from guest", printed)).values == {"s": text}


@pytest.mark.parametrize(
    ("event", "fields", "values"),
    [
        (b"pci_cfg_write", b'dev = "xen-platform", bus = 0x0, slot = 0x2, func = 0x0, offs = 0x10, val = 0xC000',
         {"dev": b"xen-platform", "bus": 0, "slot": 2, "func": 0, "offs": 0x10, "val": 0xC000}),
        (b"pci_cfg_write", b'dev = "xen-platform", devid = 2, fnid = 0, offs = 0x10, val = 0xC000',  # up to 6.2
         {"dev": b"xen-platform", "devid": 2, "fnid": 0, "offs": 0x10, "val": 0xC000}),
        (b"memory_region_ops_read", b"mr = 0x0, addr = 0x10, value = 0x1, size = 1",  # up to 2.5
         {"mr": None, "addr": 0x10, "value": 1, "size": 1}),
        (b"memory_region_ops_write", b"cpu_index = 3, mr = 0x55F7, addr = 0x10, value = 0x1, size = 1",  # up to 6.0
         {"cpu_index": 3, "mr": 0x55F7, "addr": 0x10, "value": 1, "size": 1}),
    ],
)
def test_the_fields_say_of_which_era_an_event_is(event: bytes, fields: bytes, values: dict[str, object]) -> None:
    assert one(b"[1.000000000] (+0.0) vm qemu:" + event + b": { " + fields + b" }\n").values == values


@pytest.mark.parametrize(
    "fields",
    [b"{ addr = 0x10, val = ", b"{ addr = 0x10, val = 1", b"{ addr = 0x10 val = 1 }", b"{ addr = 0x10, value = 1 }",
     b'{ addr = "x", val = 1 }', b"{ val = 1, addr = 0x10 }", b"", b"{ 0x10, 18898 }", b"{ addr = 0x10, val = 1 } more",
     b"{ addr = 0x10, val = 12345678901234567890123 }", b'{ s = "unended }'],
)
def test_an_event_of_ours_that_is_not_whole_is_damage(fields: bytes) -> None:
    (found,) = feed(DISSECTOR, b"\n[1.000000000] (+0.0) vm qemu:cpu_in: { cpu_id = 1 }, " + fields + b"\n")
    assert isinstance(found, Damage)
    assert (found.offset, found.line) == (1, 2)
    assert found.reason.startswith("cpu_in ")


@pytest.mark.parametrize(
    "line",
    [
        b"[1.000000000] (+0.0) vm qemu:ide_reset: { cpu_id = 1 }, { s = 0x1 }",
        b"[1.000000000] (+0.0) vm other:cpu_in: { cpu_id = 1 }, { addr = 0x10, val = 1 }",
        b"9@1.000000:xen_platform_log xen platform: [1.0] (+0.0) vm qemu:cpu_in: { addr = 0x10, val = 1 }",
        b"name = qemu:cpu_in, event.fields = { addr = 0x10, val = 1 }",
    ],
)
def test_what_is_no_event_of_ours_is_nothing(line: bytes) -> None:
    assert feed(DISSECTOR, line + b"\n") == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'WARNING: Tracer discarded 2349 events between [20:26:35.656284527] and [20:26:35.669416457] in trace "t"',
         "2349 of its records"),
        (b"\x1b[33m\x1b[1mWARNING\x1b[0m\x1b[33m: Tracer discarded 1 packet between [..", "1 of its records"),
        (b"[warning] Tracer discarded 3 events at end of stream between [20:26:35.656284527] and", "3 of its records"),
    ],
)
def test_what_the_tracer_discarded_is_a_loss(line: bytes, reason: str) -> None:
    (found,) = feed(DISSECTOR, line + b"\n")
    assert isinstance(found, Loss)
    assert found.reason == f"the tracer says that {reason} are missing here"


def compare(text: bytes, log: bytes) -> Counter[str]:
    """Hold the rows of babeltrace's text against those of QEMU's log; how many rows of each event there are."""
    theirs = records(textlog.DISSECTOR, log)
    ours = records(DISSECTOR, text)
    assert [one.event for one in ours] == [one.event for one in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine.values) == list(other.values)
        untold = UNTOLD.get(mine.event, [])
        assert mine.values == {**other.values, **dict.fromkeys(untold)}
        assert all(other.values[name] is not None for name in untold)
    return Counter(one.event for one in ours)


COUNTS = {"cpu_out": 667, "memory_region_ops_write": 667, "memory_region_ops_read": 9, "xen_platform_log": 7,
          "cpu_in": 5, "pci_cfg_write": 3, "pci_update_mappings_add": 2}
"""By grep -c on trace.log."""


@pytest.mark.parametrize("name", ["babeltrace2.txt.gz", "babeltrace2-full.txt.gz"])
def test_both_forms_say_what_the_log_of_the_same_run_says(data: Path, name: str) -> None:
    """But for the size of a port access and of a BAR; the log has no time, and the full form has."""
    text = gzip.decompress((data / "lttng" / name).read_bytes())
    assert compare(text, gzip.decompress((data / "lttng" / "trace.log.gz").read_bytes())) == COUNTS
    assert sniff(text[: 1 << 20]) == 90
    found = records(DISSECTOR, text)
    assert {one.thread for one in found} == {8179}
    times = [one.time_ns for one in found]
    if "full" in name:
        assert times == sorted(one for one in times if one is not None)
        assert (times[0], {one.clock for one in found}) == (1795403554_126_822_076, {"wall"})
    else:
        assert set(times) == {None}


def test_all_recordings_say_what_the_log_says(corpus: Path) -> None:
    folders = sorted((corpus / "recorded" / "qemu-oracle").glob("*/76-ust"))
    assert len(folders) == 2
    for folder in folders:
        for name in ("babeltrace2.txt.gz", "babeltrace2-full.txt.gz"):
            text = gzip.decompress((folder / name).read_bytes())
            assert compare(text, (folder / "trace.log").read_bytes()) == COUNTS


def test_it_takes_part_where_qemus_events_are() -> None:
    assert sniff(SAID) == 90
    assert sniff(b"x\n" + FULL) == 90
    assert sniff(b"[20:26:34.826017850] (+0.000000914) andromeda cray:point: { cpu_id = 2 }, { i = 1 }\n") == 20
    assert sniff(b"cpu_in addr 0x10(w) value 18898\n") == 0
    assert one(DISSECTOR.example).event == "xen_platform_log"


def test_a_text_that_breaks_off_anywhere_says_no_more_than_the_whole() -> None:
    whole = [(one.event, one.values) for one in records(DISSECTOR, SMALL)]
    assert len(whole) == 3
    for end in range(len(SMALL)):
        found = feed(DISSECTOR, SMALL[:end])
        assert inside(SMALL[:end], found)
        told = [(one.event, one.values) for one in found if isinstance(one, Record)]
        assert told == whole[: len(told)]


@given(broken(SMALL + SMALL))
def test_a_damaged_text_raises_nothing(text: bytes) -> None:
    assert inside(text, feed(DISSECTOR, text))


@given(st.text('{}"\\=, x019as', max_size=60).map(str.encode), st.sampled_from([b"cpu_in", b"xen_platform_log", b"x"]))
@example(b"{ }", b"cpu_in")
def test_what_looks_like_an_event_raises_nothing(fields: bytes, event: bytes) -> None:
    for line in (b"[1.000000000] (+0.0) vm qemu:" + event + b": " + fields,
                 b"timestamp = 1.000000000, name = qemu:" + event + b", event.fields = " + fields):
        assert inside(line, feed(DISSECTOR, line))
    assert sniff(fields) == 0


@pytest.mark.parametrize(
    "rest", [b"{" * 65_000, b"{ " * 32_000, b'{ s = "' + b'\\"' * 32_000, b"{ }, " * 13_000, b"{ a = 1, " * 7_000,
             b'{ s = "a"' * 7_000, b"{ " + b"a = 1, " * 9_000 + b"}", b'"' * 65_000]
)
def test_a_long_line_takes_no_longer_than_its_length(rest: bytes) -> None:
    before = process_time()
    feed(DISSECTOR, b"".join(front + rest + b"\n" for front in (
        b"[1.000000000] (+0.0) vm qemu:cpu_in: ", b"[1.000000000] ", b"timestamp = 1.0, ") for _ in range(8)))
    assert process_time() - before < 2
