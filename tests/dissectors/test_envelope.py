"""What a daemon wrote around a record comes off, whichever daemon it was, and says who spoke and when."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissectors import Given
from dissectors.envelope import Envelope, read_envelope
from dissectors.qemu import catalogue
from dissectors.qemu.textlog import DISSECTOR, TextLog
from dissectors.record import Record
from tests.dissectors.feeding import records


def date(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None)


BODY = b"cpu_in addr 0x10(w) value 18898"
AT = 1795403543 * 10**9
"""`date -u -d 2026-11-23T03:12:23Z +%s`"""
WRITTEN = 1795403600 * 10**9
"""A minute later."""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # of recordings: rsyslog's three file formats, QEMU's datagrams, journalctl -o short-iso, xenconsoled
        (b"Nov 23 03:12:23 vm qemu-system-i386[8003]: ",
         Envelope(0, AT, "local, year inferred", 8003, b"qemu-system-i386", b"vm")),
        (b"2026-11-23T03:12:23.985651+00:00 vm qemu-system-i386[8003]: ",
         Envelope(0, AT + 985651000, "syslog", 8003, b"qemu-system-i386", b"vm")),
        (b"<30>1 2026-11-23T03:12:23.985651+00:00 vm qemu-system-i386 8003 - -  ",
         Envelope(0, AT + 985651000, "syslog", 8003, b"qemu-system-i386", b"vm")),
        (b"<30>Nov 23 03:12:23 qemu-system-i386[8003]: ",
         Envelope(0, AT, "local, year inferred", 8003, b"qemu-system-i386")),
        (b"2026-11-24T21:53:49.987274+0000 vm qemu-system-i386[2762]: ",
         Envelope(0, 1795557229_987274000, "syslog", 2762, b"qemu-system-i386", b"vm")),
        (b"[2024-03-04 17:50:25] ", Envelope(0, 1709574625_000000000, "local")),
        (b" [2024-03-04 17:50:25] ", Envelope(0, 1709574625_000000000, "local")),
        # of the daemons' own formats
        (b"Nov 23 03:12:23 xen-7 qemu-dm-5[12345]: ",
         Envelope(0, AT, "local, year inferred", 12345, b"qemu-dm-5", b"xen-7", 5)),
        (b"Nov 23 03:12:23 vm kernel: ", Envelope(0, AT, "local, year inferred", None, b"kernel", b"vm")),
        (b"<30>2026-11-23T04:12:23+01:00 vm qemu-dm-5: ", Envelope(0, AT, "syslog", None, b"qemu-dm-5", b"vm", 5)),
        (b"<30>1 2026-11-22T19:12:23.5-08:00 vm.example.org q - ID47 - ",
         Envelope(0, AT + 500000000, "syslog", None, b"q", b"vm.example.org")),
        (b'<30>1 2026-11-23T03:12:23Z vm q 1 - [a@32473 iut="3" b="x\\]\\"\\\\ ]"][c@32473 d="\xc3\xa9 \\" ["] ',
         Envelope(0, AT, "syslog", 1, b"q", b"vm")),
        (b"<30>1 2026-11-23T03:12:23Z vm q 1 - - \xef\xbb\xbf", Envelope(0, AT, "syslog", 1, b"q", b"vm")),
        (b"<30>1 - - q 1 - - ", Envelope(0, None, None, 1, b"q", b"-")),
        (b"2026-11-23 03:12:23.985+0000: ", Envelope(0, AT + 985000000, "wall")),
        # no dates
        (b"Feb 30 03:12:23 vm q[1]: ", Envelope(0, None, None, 1, b"q", b"vm")),
        (b"Foo 23 03:12:23 vm q[1]: ", Envelope(0, None, None, 1, b"q", b"vm")),
        (b"[2024-13-04 17:50:25] ", Envelope()),
        (b"1900-01-01T00:00:00Z vm q[1]: ", Envelope(0, None, None, 1, b"q", b"vm")),
        (b"9999-01-01T00:00:00Z vm q[1]: ", Envelope(0, None, None, 1, b"q", b"vm")),
    ],
)
def test_an_envelope(before: bytes, expected: Envelope) -> None:
    expected.end = len(before)
    assert read_envelope(before + BODY, WRITTEN) == expected


@pytest.mark.parametrize(
    "line",
    [
        BODY,
        b"",
        b"213@1795406729.213774:" + BODY,
        b"2026-11-23T03:25:00.040406Z " + BODY,  # QEMU's own stamps are not a daemon's
        b"2026-11-23T03:25:00Z [win10] qemu-system-i386: (31213:main): " + BODY,
        b"2026-11-23T03:25:00Z xen_device_realize type: xen-disk name: 768",
        b"[win10] qemu-system-i386: (31213:main): " + BODY,
        b"           <...>-8050    [001] ...1.  4132.412908: tracing_mark_write: " + BODY,
        b"[20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1",
        b"<30>" + BODY,
        b'<30>1 2026-11-23T03:12:23Z vm q 1 - [a@32473 b="x] ' + BODY,  # no end of the structured data
        b"Nov 23 2026 03:12:23 vm q[1]: " + BODY,
    ],
)
def test_what_no_daemon_wrote_is_no_envelope(line: bytes) -> None:
    assert read_envelope(line, WRITTEN) == Envelope()


class TestYears:
    """RFC 3164 has no year: it is the latest in which the date is not after the last write."""

    def test_nothing_is_inferred_where_nobody_knows_when_the_file_was_written(self) -> None:
        envelope = read_envelope(b"Nov 23 03:12:23 vm q[1]: x")
        assert (envelope.time_ns, envelope.clock, envelope.thread) == (None, None, 1)

    @pytest.mark.parametrize(
        ("stamp", "written", "expected"),
        [
            ("Nov 23 03:12:23", 1795403543, 1795403543),  # at the very moment
            ("Nov 23 03:12:23", 1795403543 - 86400, 1795403543),  # a zone may be a day ahead
            ("Nov 23 03:12:23", 1795403543 - 86401, 1763867543),
            ("Dec 31 23:59:59", 1767225600, 1767225599),  # the file was written on 1 January 2026
            ("Jan  1 00:00:00", 1767225600, 1767225600),
            ("Feb 29 12:00:00", 1780272000, 1709208000),  # written in June 2026: the last leap year is 2024
            ("Feb 29 12:00:00", 4210099200, 3981355200),  # written in June 2103: it is 2096
            ("Feb 29 12:00:00", 0, None),  # there was none since 1970
            ("Feb 28 12:00:00", -10**40, None),
            ("Feb 28 12:00:00", 10**40, None),
        ],
    )
    def test_a_year(self, stamp: str, written: int, expected: int | None) -> None:
        found = read_envelope(stamp.encode() + b" vm q[1]: x", written * 10**9)
        assert found.time_ns == (None if expected is None else expected * 10**9)
        assert found.clock == (None if expected is None else "local, year inferred")

    @given(
        st.datetimes(date(1971), date(2200), timezones=st.just(UTC)),
        st.integers(-86400, 363 * 86400),
    )
    def test_a_line_of_the_year_before_the_last_write_gets_its_own_year(self, at: datetime, later_s: int) -> None:
        at = at.replace(microsecond=0)
        written = at + timedelta(seconds=later_s)
        found = read_envelope(f"{at:%b} {at.day:2} {at:%H:%M:%S} vm q[1]: x".encode(), int(written.timestamp()) * 10**9)
        assert found.time_ns == int(at.timestamp()) * 10**9


ENVELOPES = {
    "traditional": b"Nov 23 03:12:23 vm qemu-dm-5[8003]: %s",
    "datagram": b"<30>Nov 23 03:12:23 qemu-dm-5[8003]: %s",
    "precise": b"2026-11-23T03:12:23.985651+00:00 vm qemu-dm-5[8003]: %s",
    "forwarded": b"<30>2026-11-23T03:12:23.985651Z vm qemu-dm-5[8003]: %s",
    "journalctl": b"2026-11-23T03:12:23+0100 vm qemu-dm-5[8003]: %s",
    "protocol": b'<30>1 2026-11-23T03:12:23Z vm qemu-dm-5 8003 - [a@1 b="\\]"] %s',
    "console": b"[2024-03-04 17:50:25] %s",
    "console after a blank": b" [2024-03-04 17:50:25] %s",
    "libvirt": b"2026-11-23 03:12:23.985+0000: %s",
}


def read(line: bytes) -> list[object]:
    log = TextLog(Given("t", catalogue.load(), WRITTEN))
    return [*log.read(line, 0, 1, len(line) + 1), *log.finish()]


@pytest.mark.parametrize("name", ENVELOPES)
@given(st.binary(max_size=1100).map(lambda text: text.replace(b"\n", b"").replace(b"\0", b"")))
@example(b"")
@example(b"] 2026-11-23T03:12:23Z vm q[1]: cpu_in addr 0x10(w) value 1")
def test_any_text_of_a_guest_comes_out_of_any_envelope(name: str, text: bytes) -> None:
    body = b"xen_platform_log xen platform: " + text
    (bare,), (record,) = read(body), read(ENVELOPES[name] % body)
    assert isinstance(bare, Record)
    assert isinstance(record, Record)
    assert (record.event, record.values, record.recovered) == (bare.event, bare.values, False)
    assert bare.text("s") == text
    assert record.time_ns is not None
    assert record.domain == (5 if b"qemu-dm" in ENVELOPES[name] else None)


@given(st.integers(0, 1 << 40), st.sampled_from(list(ENVELOPES.values())))
def test_qemu_s_own_stamp_is_better_than_a_daemon_s(micros: int, envelope: bytes) -> None:
    (record,) = read(envelope % b"%d@%d.%06d:%s" % (12346, micros // 10**6, micros % 10**6, BODY))
    assert isinstance(record, Record)
    assert (record.time_ns, record.clock, record.thread) == (micros * 1000, "wall", 12346)


def told(path: Path, *, packed: bool = False) -> list[Record]:
    data = path.read_bytes()
    return records(DISSECTOR, gzip.decompress(data) if packed else data, WRITTEN)


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
def test_rsyslog_s_three_files_hold_the_records_of_the_log_itself(corpus: Path, version: str) -> None:
    folder = corpus / "recorded" / "qemu-oracle" / version / "74b-rsyslog"
    itself = told(folder / "trace.log")
    traditional = told(folder / "traditional.log")
    precise, protocol = (told(folder / name, packed=True) for name in ("isofile.log.gz", "syslog5424.log.gz"))
    assert len(itself) > 1300
    assert len(traditional) == len(precise) == len(protocol) == len(itself)
    for one, *others in zip(itself, traditional, precise, protocol, strict=True):
        assert {other.event for other in others} == {one.event}
        if b"#0" not in others[0].text("s"):  # rsyslog's escapes stay
            assert all(other.values == one.values for other in others)
        seconds, nanoseconds, again = (other.time_ns for other in others)
        assert seconds is not None
        assert nanoseconds == again
        assert nanoseconds is not None
        assert nanoseconds - nanoseconds % 10**9 == seconds


PIECE = st.sampled_from([
    b"<30>", b"1 ", b"Nov 23 03:12:23 ", b"2026-11-23T03:12:23Z ", b"[2024-03-04 17:50:25] ", b"vm ", b"qemu-dm-5[1]: ",
    b"q 1 - ", b'[a b="', b"\\", b'"]', b" ", b"]", b"- ", BODY,
])


@given(st.lists(PIECE | st.binary(max_size=5), max_size=12).map(b"".join), st.none() | st.integers(-(2**70), 2**70))
def test_no_line_makes_it_fail(line: bytes, written_ns: int | None) -> None:
    found = read_envelope(line, written_ns)
    assert 0 <= found.end <= len(line)
    assert (found.time_ns is None) == (found.clock is None)
    assert found.time_ns is None or 0 <= found.time_ns < 1 << 63


@pytest.mark.parametrize(
    "tail", [b"[" * 50_000, b'[a b="' + b"\\]" * 30_000, b"[]" * 30_000, b'"' * 50_000, b" " * 50_000]
)
def test_no_line_takes_long(tail: bytes) -> None:
    before = b"<30>1 2026-11-23T03:12:23Z vm q 1 - "
    began = datetime.now(UTC)
    read_envelope(before + tail)
    assert datetime.now(UTC) - began < timedelta(seconds=1)
