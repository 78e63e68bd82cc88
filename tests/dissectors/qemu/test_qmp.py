"""QMP events are found wherever they were logged, and tell what became of a VM, its devices and its driver."""

from __future__ import annotations

import json
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.qemu.qmp import DISSECTOR, LONGEST, sniff
from dissectors.record import Damage
from tests.dissectors.feeding import broken, feed, inside, records

AT = b'"timestamp": {"seconds": 1795404302, "microseconds": 62187}'
AT_NS = 1795404302_062_187_000
SHUTDOWN = b"{" + AT + b', "event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}}\n'
PRETTY = b"""{
    "timestamp": {
        "seconds": 1795404302,
        "microseconds": 62187
    },
    "event": "DEVICE_DELETED",
    "data": {
        "path": "/machine/peripheral/nic0",
        "device": "nic0"
    }
}
"""


def event(name: bytes, data: bytes | None = None) -> bytes:
    return b"{" + AT + b', "event": "' + name + b'"' + (b"" if data is None else b', "data": {' + data + b"}") + b"}\n"


def test_an_event_is_its_name_its_reason_and_the_hosts_time() -> None:
    (record,) = records(DISSECTOR, b"other\n" + SHUTDOWN)
    assert (record.event, record.values) == ("qmp_event", {"name": b"SHUTDOWN", "reason": b"host-qmp-quit"})
    assert (record.time_ns, record.clock) == (AT_NS, "wall")
    assert (record.offset, record.length, record.line, record.raw) == (6, len(SHUTDOWN), 2, SHUTDOWN[:-1])
    assert (record.thread, record.guest, record.domain) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [  # by qapi/run-state.json, qdev.json, block-core.json
        (b"SHUTDOWN", b'"guest": true, "reason": "guest-shutdown"', b"guest-shutdown"),
        (b"SHUTDOWN", b'"guest": true', b"guest"),  # 2.10 to 3.1
        (b"RESET", b'"guest": false', b"host"),
        (b"RESET", None, None),  # up to 2.9
        (b"STOP", None, None), (b"RESUME", None, None), (b"POWERDOWN", None, None), (b"SUSPEND", None, None),
        (b"SUSPEND_DISK", None, None), (b"WAKEUP", None, None),
        (b"DEVICE_DELETED", b'"device": "nic0", "path": "/machine/peripheral/nic0"', b"nic0"),
        (b"DEVICE_DELETED", b'"path": "/machine/unattached/device[5]"', b"/machine/unattached/device[5]"),
        (b"GUEST_PANICKED", b'"action": "pause", "info": {"type": "hyper-v", "arg1": 59}', b"pause"),
        (b"BLOCK_IO_ERROR", b'"device": "hda", "operation": "write", "action": "report", "reason": "No space"',
         b"No space"),
        (b"BLOCK_IO_ERROR", b'"device": "hda", "operation": "write", "action": "report"', b"report"),
        (b"SHUTDOWN", b'"reason": ["x"]', None), (b"SHUTDOWN", b'"guest": 1', None),
        (b"DEVICE_DELETED", b'"device": "a\\u00e9\\ud800\xff"', b"a\xc3\xa9??"),
    ],
)
def test_each_event_says_why_in_its_own_member(name: bytes, data: bytes | None, reason: bytes | None) -> None:
    (record,) = records(DISSECTOR, event(name, data))
    assert record.values == {"name": name, "reason": reason}


def test_raw_bytes_of_a_name_stay_as_they_are() -> None:
    (record,) = records(DISSECTOR, event(b"DEVICE_DELETED", b'"device": "a\xff\x1b[0m"'.replace(b"\x1b", b"\\u001b")))
    assert record.values["reason"] == b"a\xff\x1b[0m"


def test_xenservers_events_are_what_the_driver_said_of_itself(corpus: Path) -> None:
    """ocaml-qmp's test data: an event over three lines, one of no interest, a greeting, an answer without a time."""
    told, answered = records(DISSECTOR, (corpus / "public" / "qmp-events-xenserver.txt").read_bytes())
    assert (told.event, told.values) == ("driver_info", {"product": 3, "build": 1})
    assert (told.time_ns, told.clock) == (1267020223_435_656_000, "wall")
    assert (told.line, told.raw.count(b"\n"), told.raw[:10]) == (2, 2, b'{ "event":')
    assert (answered.event, answered.values) == ("driver_info", {"product": 3, "build": 1})
    assert (answered.time_ns, answered.clock) == (None, None)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b'"product-num": 65535, "build-num": 589824', {"product": 65535, "build": 589824}),
        (b'"product-num": -1, "build-num": 4294967296', {"product": None, "build": None}),
        (b'"product-num": true, "build-num": "1"', {"product": None, "build": None}),
        (b'"product-num": 3.0', {"product": None, "build": None}),
        (b'"product-num": ' + b"9" * 4000 + b', "build-num": 1e999', {"product": None, "build": None}),
    ],
)
def test_a_number_that_no_register_holds_is_none(data: bytes, values: dict[str, int | None]) -> None:
    (record,) = records(DISSECTOR, event(b"XEN_PLATFORM_PV_DRIVER_INFO", data))
    assert record.values == values


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (b'{"microseconds": 5, "seconds": 1}', 1_000_005_000), (b'{"seconds": -1, "microseconds": -1}', None),
        (b'{"seconds": 1}', None), (b'{"seconds": "1", "microseconds": 1}', None), (b"[]", None), (b"7", None),
        (b'{"seconds": 9223372036, "microseconds": 854776}', None), (b'{"seconds": 1, "microseconds": 1000000}', None),
    ],
)
def test_a_time_that_is_none_is_none(stamp: bytes, time: int | None) -> None:
    (record,) = records(DISSECTOR, b'{"event": "STOP", "timestamp": ' + stamp + b"}\n")
    assert (record.time_ns, record.clock) == (time, None if time is None else "wall")


@pytest.mark.parametrize(
    "front",
    [b"[2025-07-19 13:06:31] ", b"2025-07-19T13:06:31.000001+00:00 h qemu-dm-5[7]: ", b"qmp: ", b"\t",
     b'{"return": {}} ',
     b"xen_platform_log xen platform: { ", b'{"execute": "cont"} '],
)
def test_anything_may_stand_in_front(front: bytes) -> None:
    (record,) = records(DISSECTOR, front + SHUTDOWN)
    assert (record.event, record.time_ns) == ("qmp_event", AT_NS)


def test_several_events_on_a_line_are_all_told() -> None:
    found = records(DISSECTOR, SHUTDOWN[:-1] + event(b"STOP")[:-1] + b" " + event(b"RESUME"))
    assert [one.values["name"] for one in found] == [b"SHUTDOWN", b"STOP", b"RESUME"]


@pytest.mark.parametrize("stamp", [b"", b"[2025-07-19 13:06:31] "])
def test_a_pretty_event_is_told_once_at_its_first_line(stamp: bytes) -> None:
    pretty = b"".join(stamp + line for line in PRETTY.splitlines(keepends=True))
    log = b"before\n" + pretty + SHUTDOWN + pretty
    first, second, third = records(DISSECTOR, log)
    assert first.values == {"name": b"DEVICE_DELETED", "reason": b"nic0"}
    assert (first.time_ns, first.line, first.offset, first.length) == (AT_NS, 2, 7, len(pretty))
    assert json.loads(first.raw)["event"] == "DEVICE_DELETED"
    assert (second.values["name"], second.line) == (b"SHUTDOWN", 13)
    assert (third.line, third.values) == (14, first.values)


def test_a_pretty_event_that_breaks_off_is_damage_and_the_next_is_read() -> None:
    for end in range(8, 12):
        cut = b"".join(PRETTY.splitlines(keepends=True)[: end - 1])
        log = cut + SHUTDOWN
        damage, whole = feed(DISSECTOR, log)
        assert isinstance(damage, Damage)
        assert (damage.offset, damage.line, damage.length, damage.reason) == (
            0, 1, len(cut), "a QMP event that does not end")
        assert whole.offset == len(cut)


def test_an_object_of_another_that_never_ends_is_nothing() -> None:
    other = b"{\n" + b'    "member": 1,\n' * 9000
    assert len(other) > LONGEST
    assert [one.offset for one in records(DISSECTOR, other + SHUTDOWN)] == [len(other)]
    few = b"{\n" + b'    "member": 1,\n' * 9
    assert [one.offset for one in records(DISSECTOR, few + b"qmp: " + SHUTDOWN)] == [len(few)]


@pytest.mark.parametrize(
    "line",
    [
        event(b"RTC_CHANGE", b'"offset": 78'), event(b"shutdown"), b'{"event": {"event": "STOP"}}\n',
        b'{"return": {"event": "STOP"}}\n', b'{"return": {"product-num": 3}}\n', b'{"return": [{"product-num": 3}]}\n',
        b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 1, "major": 1}}, "capabilities": []}}\n',
        b'["event", "STOP"]\n', b'"event": "STOP"\n', b"STOP\n",
    ],
)
def test_what_is_no_event_of_interest_is_nothing(line: bytes) -> None:
    assert feed(DISSECTOR, line) == []


@pytest.mark.parametrize(
    "line",
    [
        SHUTDOWN[:-3], SHUTDOWN[:-20], SHUTDOWN.replace(b"false", b"falso"), SHUTDOWN.replace(b": false", b""),
        event(b"STOP", b'"a": ' + b"[" * 100_0 + b"]" * 100_0), event(b"STOP", b'"a": ' + b"9" * 5000),
    ],
)
def test_an_event_that_is_no_json_is_damage(line: bytes) -> None:
    (found,) = feed(DISSECTOR, line + b"\n")
    assert isinstance(found, Damage)
    assert found.reason in {"a QMP event that does not end", "a QMP event that is no JSON"}


def qmp_events(corpus: Path) -> list[dict[str, Any]]:
    """What real device models said, as the harness of the recordings kept it."""
    events: list[dict[str, Any]] = []
    for path in sorted((corpus / "recorded" / "qemu-oracle").glob("*/*/effects.json")):
        events += json.loads(path.read_bytes())["qmp_events"]
    return [{key: value for key, value in one.items() if key != "after_n"} for one in events]


def test_every_event_that_real_device_models_said_is_read(corpus: Path) -> None:
    said = qmp_events(corpus)
    assert len(said) > 900
    for indent in (None, 4):
        found = records(DISSECTOR, b"".join(json.dumps(one, indent=indent).encode() + b"\n" for one in said))
        assert [(one.text("name").decode(), one.time_ns) for one in found] == [
            (one["event"], one["timestamp"]["seconds"] * 10**9 + one["timestamp"]["microseconds"] * 1000)
            for one in said]
        data = [one.get("data", {}) for one in said]
        assert [one.text("reason").decode() for one in found] == [
            one.get("reason") or one.get("device") or one.get("path", "") for one in data]


def test_events_inside_other_json_are_not_a_monitors(corpus: Path) -> None:
    """A harness' file, over lines and indented by one: its objects are no lines of QMP."""
    for path in sorted((corpus / "recorded" / "qemu-oracle" / "10.0.13").glob("*/effects.json")):
        assert feed(DISSECTOR, path.read_bytes()) == []


def test_it_takes_part_where_such_events_are() -> None:
    assert sniff(SHUTDOWN) == 70
    assert sniff(PRETTY) == 70
    assert sniff(b'{"QMP": {"version": {}}}') == 70
    assert sniff(b'{"return": {"product-num": 3, "build-num": 1}}') == 70
    assert sniff(b'{"event": "USER_LOGIN"}') == 20
    assert sniff(b'{"event": "login"}') == 0
    assert sniff(b"cpu_in addr 0x10(w) value 18898\n") == 0
    (example,) = records(DISSECTOR, DISSECTOR.example)
    assert example.values["reason"] == b"host-qmp-quit"


def test_a_log_that_breaks_off_anywhere_raises_nothing() -> None:
    log = PRETTY + SHUTDOWN + b'{"return": {"product-num": 3, "build-num": 1}}\n' + PRETTY
    for end in range(len(log)):
        found = feed(DISSECTOR, log[:end])
        assert inside(log[:end], found)
        assert len(found) <= 4


@given(broken(PRETTY + SHUTDOWN + b"noise {\n" + PRETTY + event(b"STOP") * 2))
def test_a_damaged_log_raises_nothing(log: bytes) -> None:
    assert inside(log, feed(DISSECTOR, log))


@given(st.text('{}[]":, \n\\eventSTOP1u\ud83f', max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
       st.binary(max_size=30))
def test_what_looks_like_json_raises_nothing(text: bytes, more: bytes) -> None:
    log = b'{"event": "STOP", "data": ' + text + more + b"}\n" + text + SHUTDOWN
    assert inside(log, feed(DISSECTOR, log))
    sniff(log)


@pytest.mark.parametrize(
    "line",
    [b'{"event"' * 8_000, b'{"event": "STOP", "data": "' + b'\\"' * 32_000, b"{" * 65_000, b'{"data":' * 8_000,
     b'{"event":"STOP","a":"' * 3_000, b'    "' * 10_000, b" " * 65_000 + b'{"event"', b'{"event":1}' * 6_000],
)
def test_a_long_line_takes_no_longer_than_its_length(line: bytes) -> None:
    before = process_time()
    feed(DISSECTOR, (line + b'"event"\n') * 20)
    sniff(line * 10)
    assert process_time() - before < 3


def test_many_lines_of_one_object_take_no_longer_than_their_length() -> None:
    before = process_time()
    feed(DISSECTOR, (b"{\n" + b'    "' * 2 + b"\n" + b'    "a":1,\n' * 20_000) * 3)
    assert process_time() - before < 3
