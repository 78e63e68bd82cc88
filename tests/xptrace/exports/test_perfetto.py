"""A trace of Perfetto is what its own package reads, shows all that the tables hold, and keeps clocks apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xptrace as library
from xptrace.cli import main
from xptrace.exports import perfetto_proto as proto
from xptrace.exports.export import FORMATS
from xptrace.exports.perfetto import Domain, Group, Mark, packets, write

Protobuf = Any  # the classes are made at run time
official = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

HOSTILE = 'BUGCHECK: \x1b[31m\x1b]0;pwn\x07 <script>alert(1)</script> =cmd|x \u202eevil "\'`; %%{init}%% ' + "a" * 400
HANDSHAKE = [
    "cpu_in addr 0x10(w) value 18898", "cpu_in addr 0x12(b) value 1", "cpu_out addr 0x12(w) value 3",
    "cpu_out addr 0x10(l) value 1", "cpu_in addr 0x10(w) value 18898", "cpu_out addr 0x10(w) value 3",
]  # fmt: skip
FIRST_NS = 1_795_406_729_000_000_000
"""2026-11-23T04:05:29Z."""


def stamped(lines: Sequence[str]) -> str:
    """Lines a millisecond apart, by the wall clock."""
    return "".join(f"2026-11-23T04:05:29.{at:03d}000Z {line}\n" for at, line in enumerate(lines))


class Trace:
    """A trace as Perfetto's own package reads it."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.trace = raw, official.Trace()
        self.trace.ParseFromString(raw)
        self.packets = list(self.trace.packet)
        self.tracks = {one.track_descriptor.uuid: one.track_descriptor for one in self.packets
                       if one.HasField("track_descriptor")}
        self.processes = {uuid: one.process for uuid, one in self.tracks.items() if one.HasField("process")}
        self.snapshots = [one for one in self.packets if one.HasField("clock_snapshot")]

    def events(self, kind: str, track: str | None = None) -> list[Any]:
        """The packets of a type of TrackEvent, of the tracks of that name."""
        wanted = official.TrackEvent.Type.Value(kind)
        return [one for one in self.packets if one.HasField("track_event") and one.track_event.type == wanted
                and track in (None, self.tracks[one.track_event.track_uuid].name)]

    def placed(self, packet: Protobuf) -> int:
        """Where the trace processor puts a packet: its time, taken to the trace's clock by the snapshot."""
        (own,) = [one.clock_snapshot for one in self.snapshots
                  if one.trusted_packet_sequence_id == packet.trusted_packet_sequence_id]
        clocks = {one.clock_id: one for one in own.clocks}
        clock = clocks[packet.timestamp_clock_id]
        since = (packet.timestamp - clock.timestamp) * (clock.unit_multiplier_ns or 1)
        return int(clocks[own.primary_trace_clock].timestamp + since)


def told(packet: Protobuf) -> dict[str, Any]:
    """The arguments of a packet."""
    return {one.name: one.string_value if one.HasField("string_value") else one.int_value
            for one in packet.track_event.debug_annotations}


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trace]:
    """What `xptrace export --to perfetto` writes."""
    monkeypatch.setitem(FORMATS, "perfetto", "xptrace.exports.perfetto")

    def run(*paths: Path) -> Trace:
        target = tmp_path / "out.pftrace"
        main(["export", "--to", "perfetto", "-o", str(target), *map(str, paths)])
        return Trace(target.read_bytes())

    return run


@pytest.fixture(scope="module")
def real(data: Path) -> Callable[[str], Trace]:
    """What is written of a recording of the repository."""

    @cache
    def run(name: str) -> Trace:
        out = BytesIO()
        write(library.open(data / name), out)
        return Trace(out.getvalue())

    return run


# -- the encoding


def test_every_field_has_the_name_number_and_kind_that_perfetto_declares() -> None:
    for message, fields in proto.MESSAGES.items():
        known = official.ClockSnapshot.Clock if message == "Clock" else getattr(official, message)
        for name, (number, kind) in fields.items():
            field = known.DESCRIPTOR.fields_by_name[name]
            assert field.number == number, (message, name)
            if kind == proto.TEXT:
                assert field.type == field.TYPE_STRING
            elif kind == proto.NUMBER:
                assert field.type in (field.TYPE_INT32, field.TYPE_INT64, field.TYPE_UINT32, field.TYPE_UINT64,
                                      field.TYPE_ENUM)
            else:
                assert field.message_type.name == kind


def test_enumerations_are_perfettos() -> None:
    kinds = ("TYPE_SLICE_BEGIN", "TYPE_SLICE_END", "TYPE_INSTANT", "TYPE_COUNTER")
    assert [official.TrackEvent.Type.Value(one) for one in kinds] == [
        proto.SLICE_BEGIN, proto.SLICE_END, proto.INSTANT, proto.COUNTER]
    assert official.BuiltinClock.Value("BUILTIN_CLOCK_REALTIME") == proto.REALTIME
    assert official.BuiltinClock.Value("BUILTIN_CLOCK_BOOTTIME") == proto.BOOTTIME
    assert official.TrackDescriptor.ChildTracksOrdering.Value("EXPLICIT") == proto.ORDER_EXPLICIT
    assert official.TracePacket.SequenceFlags.Value("SEQ_INCREMENTAL_STATE_CLEARED") == proto.STATE_CLEARED


def test_a_packet_is_the_bytes_that_the_encoding_prescribes() -> None:
    event = {"type": 3, "track_uuid": 7, "name": "hi"}
    packet = {"track_event": event, "timestamp": 5, "trusted_packet_sequence_id": 1}
    # 8<<3, 10<<3, 11<<3|2 are 0x40, 0x50, 0x5a; 23<<3|2 is 186, as a varint ba 01
    assert proto.encode("TracePacket", packet) == bytes.fromhex("4005 5001 5a09 4803 5807 ba01 02 6869")


def fields(message: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any fields of a message, the numbers of the trace's own signed and unsigned widths."""
    known = official.ClockSnapshot.Clock if message == "Clock" else getattr(official, message)

    def value(name: str, kind: str) -> st.SearchStrategy[Any]:
        field = known.DESCRIPTOR.fields_by_name[name]
        limits = {field.TYPE_INT32: (-(1 << 31), (1 << 31) - 1), field.TYPE_UINT32: (0, (1 << 32) - 1),
                  field.TYPE_INT64: (-(1 << 63), (1 << 63) - 1), field.TYPE_UINT64: (0, (1 << 64) - 1)}
        if kind == proto.TEXT:
            one: st.SearchStrategy[Any] = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
        elif kind != proto.NUMBER:
            one = st.deferred(lambda: fields(kind))
        elif field.type == field.TYPE_ENUM:
            one = st.sampled_from(sorted(field.enum_type.values_by_number))
        else:
            one = st.integers(*limits[field.type])
        return st.lists(one, max_size=3) if field.is_repeated else one

    parts = {name: value(name, kind) for name, (_, kind) in proto.MESSAGES[message].items()}
    alone = {"clock_snapshot", "track_event", "track_descriptor", "int_value", "string_value"}  # of a oneof, one
    keep = st.sampled_from(sorted(alone & parts.keys()) or [""])
    return keep.flatmap(lambda kept: st.fixed_dictionaries(
        {}, optional={name: part for name, part in parts.items() if name not in alone or name == kept}))


@given(fields("TracePacket"))
@settings(max_examples=150, deadline=None)
def test_perfetto_reads_back_what_was_encoded(packet: dict[str, Any]) -> None:
    raw = proto.encode("TracePacket", packet)
    read = official.TracePacket()
    read.ParseFromString(raw)
    assert _as_given(read, packet)
    assert read.SerializeToString(deterministic=True) == raw


def _as_given(read: Protobuf, given_: dict[str, Any]) -> bool:
    for name, value in given_.items():
        found = getattr(read, name)
        several = isinstance(value, list)
        for one, other in zip(found, value, strict=True) if several else ((found, value),):
            assert _as_given(one, other) if isinstance(other, dict) else one == other
    return True


# -- what is shown


def counted(case: library.Case) -> dict[str, int]:
    """How many of each there must be, by the tables of the case."""
    accesses = case.accesses
    steps = accesses[accesses["space"].isin(["pio", "bar0"]) & ~accesses["register"].isin(["log", "bar0_log"])]
    events = case.events
    states = events[events["topic"].isin(["frontend", "backend"]) & events["value"].notna()]
    before = states.groupby(["vm", "boot", "topic", "subject"], observed=True)["value"].shift()
    changes = int((before.isna() | (before != states["value"])).sum())
    return {
        "boots": case.accesses.groupby(["vm", "boot"], observed=True).ngroups, "steps": len(steps),
        "product": int((steps["register"] == "product_number").sum()),
        "build": int((steps["register"] == "build_number").sum()),
        "unplug mask": int((steps["register"] == "unplug_mask").sum()),
        "log": len(case.messages), "findings": len(case.findings), "changes": changes,
    }


NAMES = ["real-xen/qemu-trace-linux-default.log.gz", "real-xen/qemu-trace-no-timestamp.log.gz",
         "qemu-oracle/7.2.22/03-linux-negotiation/trace.bin.gz", "qemu-oracle/10.0.13/37-log-injection/trace.log",
         "qemu-oracle/10.0.13/60-reset-mid/trace.log", "xentrace/two-guests.bin"]


@pytest.mark.parametrize("name", NAMES)
def test_as_many_slices_instants_and_counters_as_the_tables_hold(
    data: Path, real: Callable[[str], Trace], name: str
) -> None:
    trace, expected = real(name), counted(library.open(data / name))
    assert len(trace.events("TYPE_SLICE_BEGIN", "boot")) == expected["boots"]
    assert len(trace.events("TYPE_INSTANT", "driver")) == expected["steps"]
    assert len(trace.events("TYPE_INSTANT", "log")) == expected["log"]
    assert len(trace.events("TYPE_INSTANT", "findings")) == expected["findings"]
    ends = [one for one in trace.events("TYPE_SLICE_BEGIN")
            if trace.tracks[one.track_event.track_uuid].name.endswith((" frontend", " backend"))]
    assert len(ends) == expected["changes"]
    counters = Counter(trace.tracks[one.track_event.track_uuid].name.partition(" (boot")[0]
                       for one in trace.events("TYPE_COUNTER"))
    for counter in ("product", "build", "unplug mask"):
        assert counters[counter] == expected[counter], counter
    for one in trace.packets:
        if one.HasField("track_event"):
            counter_track = trace.tracks[one.track_event.track_uuid].HasField("counter")
            assert counter_track == (one.track_event.type == proto.COUNTER)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_perfetto_would_write(real: Callable[[str], Trace], name: str) -> None:
    trace = real(name)
    assert trace.trace.SerializeToString(deterministic=True) == trace.raw


def test_the_negotiation_of_a_driver_is_seen_phase_by_phase(data: Path, export: Callable[..., Trace]) -> None:
    path = data / NAMES[0]
    trace = export(path)
    (row,) = library.open(path).negotiations.to_dict("records")
    begins = trace.events("TYPE_SLICE_BEGIN", "phases")
    assert [one.track_event.name for one in begins] == ["probe", "naming", "verdict", "decision", "unplug", "handover"]
    ends = trace.events("TYPE_SLICE_END", "phases")
    took = {begin.track_event.name: end.timestamp - begin.timestamp for begin, end in zip(begins, ends, strict=True)}
    assert took == {name: row[f"{name}_ns"] for name in took}
    steps = [one.track_event.name for one in trace.events("TYPE_INSTANT", "driver")]
    assert steps == ["magic", "version 1", "product 3", "build 1", "magic", "mask 0x3"]
    assert begins[0].timestamp == row["started_ns"]
    assert [one.process_name for one in trace.processes.values()] == ["linux-default"]


def nested(trace: Trace) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """The slices of each track; fails where one that was begun last does not end first."""
    by_track: dict[int, list[Any]] = defaultdict(list)
    for one in trace.packets:
        if one.HasField("track_event"):
            by_track[one.track_event.track_uuid].append(one)
    for uuid, events in by_track.items():
        open_, done = [], []
        for one in sorted(events, key=lambda one: one.timestamp):  # stable, as the trace processor sorts
            if one.track_event.type == proto.SLICE_BEGIN:
                assert not open_, "a slice lies over another"
                open_.append(one.timestamp)
            elif one.track_event.type == proto.SLICE_END:
                done.append((open_.pop(), one.timestamp))
        assert not open_, "a slice does not end"
        yield trace.tracks[uuid].name, done


@pytest.mark.parametrize("name", NAMES)
def test_every_slice_ends_and_none_lies_over_another(real: Callable[[str], Trace], name: str) -> None:
    assert sum(len(slices) for _, slices in nested(real(name))) > 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), min_size=1, max_size=30))
@settings(deadline=None)
def test_slices_that_overlap_lie_in_rows_of_one_name(spans: list[tuple[int, int]]) -> None:
    marks = [Mark("t", 0, "x", begin, begin + length) for begin, length in spans]
    group = Group("vm", Domain("the host's clock", "wall", 0, sequence=1), marks)
    trace = Trace(b"".join(proto.encode("Trace", {"packet": one}) for one in packets([group])))
    rows = list(nested(trace))
    assert {name for name, _ in rows} == {"t"}
    assert sorted(span for _, slices in rows for span in slices) == sorted((b, b + n) for b, n in spans)


@pytest.mark.parametrize("name", NAMES)
def test_every_slice_and_instant_holds_its_time_and_place(real: Callable[[str], Trace], name: str) -> None:
    trace = real(name)
    marks = [one for kind in ("TYPE_SLICE_BEGIN", "TYPE_INSTANT") for one in trace.events(kind)
             if trace.tracks[one.track_event.track_uuid].name != "boot"]
    assert marks
    for one in marks:
        arguments = told(one)
        assert {"source", "offset", "line"} <= arguments.keys()
        if "time_ns" in arguments:
            assert one.timestamp == arguments["time_ns"]
        else:
            assert "clock" not in arguments


def test_findings_are_seen_by_their_severity(data: Path, export: Callable[..., Trace]) -> None:
    path = data / "qemu-oracle/10.0.13/60-reset-mid/trace.log"
    found = {(one.track_event.name.split(":")[0], tuple(one.track_event.categories))
             for one in export(path).events("TYPE_INSTANT", "findings")}
    rows = library.open(path).findings
    assert len(rows)
    assert found == {(f"{one.severity} {one.rule}", ("findings", one.severity)) for one in rows.itertuples()}


# -- clocks


def test_utc_is_the_time_of_the_trace(tmp_path: Path, export: Callable[..., Trace]) -> None:
    (tmp_path / "qemu-dm-win10.log").write_text(stamped(HANDSHAKE))
    trace = export(tmp_path / "qemu-dm-win10.log")
    (snapshot,) = trace.snapshots
    assert snapshot.clock_snapshot.primary_trace_clock == proto.REALTIME
    mask = trace.events("TYPE_INSTANT", "driver")[-1]
    assert (mask.timestamp_clock_id, mask.timestamp) == (proto.REALTIME, FIRST_NS + 5_000_000)
    assert trace.placed(mask) == mask.timestamp


def test_several_vms_are_processes_of_one_time(tmp_path: Path, export: Callable[..., Trace]) -> None:
    for name in ("one", "two"):
        (tmp_path / f"qemu-dm-{name}.log").write_text(stamped([*HANDSHAKE, f"{name} says nothing"]))
    trace = export(tmp_path / "qemu-dm-one.log", tmp_path / "qemu-dm-two.log")
    assert [(one.pid, one.process_name) for one in trace.processes.values()] == [(1, "one"), (2, "two")]
    assert len(trace.events("TYPE_INSTANT", "driver")) == 12
    assert len({one.trusted_packet_sequence_id for one in trace.packets}) == 1


def test_clocks_that_do_not_compare_are_domains_of_their_own(data: Path, export: Callable[..., Trace]) -> None:
    wall, local = data / NAMES[0], data / "xenstore/two-guests.trace"
    trace = export(wall, local, data / "xentrace/two-guests.bin")
    by_sequence: dict[int, set[int]] = defaultdict(set)
    clocks: dict[int, set[str]] = defaultdict(set)
    first: dict[int, int] = {}
    for one in trace.packets:
        if one.HasField("track_event"):
            sequence = one.trusted_packet_sequence_id
            by_sequence[sequence].add(one.timestamp_clock_id)
            first[sequence] = min(first.get(sequence, trace.placed(one)), trace.placed(one))
            clocks[sequence] |= {text for name, text in told(one).items() if name == "clock"}
    assert sorted(clocks.values(), key=str) == [{"local"}, {"tsc"}, {"wall"}]
    for sequence, names in clocks.items():
        assert by_sequence[sequence] == ({proto.REALTIME} if names == {"wall"} else {proto.OWN_CLOCK})
    assert set(first.values()) == {1_795_401_471_811_423_000}  # where the wall clock's recording begins
    labels = {one.process_name: list(one.process_labels) for one in trace.processes.values()}
    assert labels["linux-default"] == ["clock: the host's clock"]
    assert labels["twoA (the host's local time)"][0] == "clock: the host's local time"
    assert "do not compare" in labels["twoA (the host's local time)"][1]


def test_times_since_boot_are_those_of_the_trace_where_there_are_no_others(
    data: Path, export: Callable[..., Trace]
) -> None:
    trace = export(data / "qemu-oracle/7.2.22/03-linux-negotiation/trace.bin.gz")
    events = trace.events("TYPE_INSTANT")
    assert events
    assert all(trace.placed(one) == one.timestamp == told(one)["time_ns"] for one in events)


def test_order_without_time_is_steps_of_a_millisecond(tmp_path: Path, export: Callable[..., Trace]) -> None:
    path = tmp_path / "qemu-dm-plain.log"
    path.write_text("".join(f"{line}\n" for line in HANDSHAKE))
    trace = export(path)
    steps = trace.events("TYPE_INSTANT", "driver")
    assert [trace.placed(one) for one in steps] == [at * 1_000_000 for at in range(6)]
    assert [one.timestamp for one in steps] == list(range(6))
    (process,) = trace.processes.values()
    assert "order alone, no time" in process.process_name


@pytest.mark.parametrize("clock", ["wall", "tsc"])
def test_times_before_zero_are_counted_from_the_first(clock: str) -> None:
    group = Group("vm", Domain("some clock", clock, -5_000, sequence=1),
                  [Mark("driver", 1, "early", -5_000), Mark("driver", 1, "late", 7_000)])
    trace = Trace(b"".join(proto.encode("Trace", {"packet": one}) for one in packets([group])))
    early, late = trace.events("TYPE_INSTANT")
    assert (early.timestamp, late.timestamp) == (0, 12_000)
    assert early.timestamp_clock_id == proto.OWN_CLOCK
    (process,) = trace.processes.values()
    assert "0 is -5000 ns" in process.process_labels


# -- strangers


def test_nothing_of_a_guest_acts(tmp_path: Path, export: Callable[..., Trace]) -> None:
    path = tmp_path / "qemu-dm-\x1b[2J\u202eguest.log"
    path.write_text(stamped([*HANDSHAKE, f"xen_platform_log xen platform: {HOSTILE}"]))
    trace = export(path)
    (line,) = trace.events("TYPE_INSTANT", "log")
    name = line.track_event.name
    assert name.startswith("BUGCHECK: \\x1b[31m\\x1b]0;pwn\\x07 <script>")
    assert len(name) == 200
    assert told(line)["said"].endswith("a" * 400)
    for text in texts(trace.trace):
        assert not set(text) & {*map(chr, range(0x20)), "\x7f", "\u202e"}


def texts(message: Protobuf) -> Iterator[str]:
    """Every text of a message."""
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if field.type == field.TYPE_STRING:
                yield one
            elif field.type == field.TYPE_MESSAGE:
                yield from texts(one)


def test_a_case_without_traffic_is_an_empty_trace(tmp_path: Path, export: Callable[..., Trace]) -> None:
    (tmp_path / "other.log").write_text("nothing of it\n")
    assert export(tmp_path / "other.log").packets == []


@pytest.mark.slow
def test_the_corpus_is_shown_whole(corpus: Path, export: Callable[..., Trace]) -> None:
    paths = sorted(corpus.glob("recorded/qemu-oracle/10.0.13/[0-7]*/trace.log"))[:12]
    assert paths
    for path in paths:
        trace, case = export(path), library.open(path)
        expected = counted(case)
        assert len(trace.events("TYPE_INSTANT", "findings")) == expected["findings"], path
        assert len(trace.events("TYPE_INSTANT", "log")) == expected["log"], path
        assert all(pd.notna(one.timestamp) for one in trace.packets)
        for _ in nested(trace):
            pass
