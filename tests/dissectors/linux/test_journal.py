"""Given what journalctl exported, in whichever form, its messages are read as the lines that they are."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Dissector, Given, inner
from dissectors.linux import guest_kernel
from dissectors.linux.journal import DISSECTOR, MOST_BYTES, Journal, sniff
from dissectors.qemu import catalogue, textlog
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import Yield, broken
from tests.dissectors.qemu.test_textlog import LOG, OUT

FORMS = ("json", "json-pretty", "json-seq", "export")
TIME = "1795557229985211"


def chunked(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(data: bytes, size: int = 1 << 16) -> list[Yield]:
    return list(Journal(Given("j", catalogue.load())).read(chunked(data, size)))


def records(data: bytes) -> list[Record]:
    """What it says, where that is nothing but records."""
    found = read(data)
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


def entry(message: object, **fields: object) -> bytes:
    """An entry of JSON as `journalctl -o json` writes it."""
    return json.dumps({"__REALTIME_TIMESTAMP": TIME, **fields, "MESSAGE": message}).encode() + b"\n"


def field(name: str, value: bytes) -> bytes:
    """A field of the export format; the binary form is always allowed."""
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


@pytest.fixture
def recorded(data: Path) -> dict[str, bytes]:
    """18 entries of a real journald, in four forms of one journal."""
    return {form: (data / "journal" / f"{form}.txt").read_bytes() for form in FORMS}


class TestRecording:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_says_what_was_sent_to_journald(self, recorded: dict[str, bytes], form: str) -> None:
        found = read(recorded[form])
        said = [one for one in found if isinstance(one, Record)]
        assert " ".join(one.event for one in said[:6]) == (
            "memory_region_ops_read cpu_in memory_region_ops_read cpu_in cpu_out memory_region_ops_write"
        )
        assert said[1].values == {"addr": 0x10, "size": b"w", "val": 18898}
        texts = [one.text("s") for one in said if one.event == "xen_platform_log"]
        assert texts[:3] == [b"hello from guest", b"caf\xc3\xa9 \xff \x01", b"ctl \x01\t\x1b[0m\r"]
        assert texts[3] == b"L" * 1500
        assert texts[4:6] == [b"a" * 2000, b"after"]
        assert not any(one.recovered for one in said)

    @pytest.mark.parametrize("form", FORMS)
    def test_who_said_it_and_when_is_the_entry_s(self, recorded: dict[str, bytes], form: str) -> None:
        found = read(recorded[form])
        first = found[0]
        assert isinstance(first, Record)
        assert (first.time_ns, first.clock) == (1795557229985211000, "syslog")
        assert (first.thread, first.domain, first.guest) == (7944, 7, "win10")
        after = next(one for one in found if isinstance(one, Record) and one.text("s") == b"after")
        assert (after.time_ns, after.clock) == (1531234331123457000, "wall")  # QEMU's own stamp
        assert (after.thread, after.domain, after.guest) == (12345, 5, None)
        assert after.line == 16

    @pytest.mark.parametrize("form", FORMS)
    def test_a_record_lies_where_its_entry_is(self, recorded: dict[str, bytes], form: str) -> None:
        content = recorded[form]
        for one in read(content):
            part = content[one.offset : one.offset + one.length]
            assert b"MESSAGE" in part
            if isinstance(one, Record):
                assert part.startswith(one.raw + b"\n")
            assert part.count(b"__CURSOR") == (3 if isinstance(one, Record) and one.text("s") == b"a" * 2000 else 1)
        assert read(content)[-1].line == 18

    @pytest.mark.parametrize("form", FORMS)
    def test_a_message_of_more_than_4096_bytes_is_not_in_json(self, recorded: dict[str, bytes], form: str) -> None:
        found = {one.line: one for one in read(recorded[form])}[17]
        if form == "export":
            assert isinstance(found, Record)
            assert found.text("s") == b"M" * 4095
        else:
            assert isinstance(found, Loss)
            assert "qemu-system-i386" in found.reason

    @pytest.mark.parametrize("form", FORMS)
    def test_it_is_sniffed_also_where_the_first_line_is_cut(self, recorded: dict[str, bytes], form: str) -> None:
        assert sniff(recorded[form]) > 50
        if form != "json-pretty":
            assert sniff(recorded[form][100:]) > 50

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_how_the_bytes_come_is_all_the_same(self, recorded: dict[str, bytes], form: str, size: int) -> None:
        assert read(recorded[form], size) == read(recorded[form])

    def test_all_forms_one_after_the_other(self, recorded: dict[str, bytes]) -> None:
        each = [read(recorded[form]) for form in FORMS]
        assert len(read(b"".join(recorded.values()))) == sum(map(len, each))


def test_other_logs_are_not_taken_for_a_journal(corpus: Path) -> None:
    paths = [path for form in ("public/*", "recorded/**/*.log", "recorded/**/*.jsonl") for path in corpus.glob(form)]
    assert len(paths) > 300
    assert [path for path in paths if path.is_file() and sniff(path.read_bytes())] == []
    assert sniff(b"") == sniff(b"{") == sniff(b"MESSAGE=x\n") == 0


def test_the_example_is_sniffed_and_read() -> None:
    assert sniff(DISSECTOR.example) > 50
    (record,) = records(DISSECTOR.example)
    assert (record.event, record.thread, record.time_ns) == ("cpu_in", 7944, 1795557232844091000)


class TestEntries:
    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ((LOG + b"a").decode(), [b"a"]),
            (list(LOG + b"\xff\x01"), [b"\xff\x01"]),
            ([(LOG + b"a").decode(), list(LOG + b"\xfe")], [b"a", b"\xfe"]),  # a repeated field
            ((LOG + b"a\n" + LOG + b"b\n").decode(), [b"a", b"b"]),  # a message of two lines
            ([], []), ({}, []), (1, []), (True, []), ([300], []), ([[1.5]], []), ([["x"]], []),
            ("\ud800" + LOG.decode(), []),
        ],
    )
    def test_a_message(self, message: object, expected: list[bytes]) -> None:
        assert [one.text("s") for one in records(entry(message)) if not one.recovered] == expected

    def test_a_message_that_is_left_out_is_a_loss_also_among_others(self) -> None:
        first, second = read(entry([None, OUT.decode()], SYSLOG_IDENTIFIER="x"))
        assert isinstance(first, Loss)
        assert isinstance(second, Record)

    @pytest.mark.parametrize(
        ("fields", "thread", "domain", "guest"),
        [
            ({"_PID": "77", "SYSLOG_PID": "88"}, 88, None, None),
            ({"_PID": "77"}, 77, None, None),
            ({"_PID": "99999999999"}, None, None, None),
            ({"_PID": None}, None, None, None),
            ({"SYSLOG_IDENTIFIER": "qemu-dm-5"}, None, 5, None),
            ({"SYSLOG_IDENTIFIER": "xqemu-dm-5"}, None, None, None),
            ({"_CMDLINE": "/usr/lib/xen/bin/qemu-system-i386 -xen-domid 12 -name d,debug-threads=on"}, None, 12, "d"),
            ({"_CMDLINE": "qemu-dm-7 -xen-domid 7 -name win10"}, None, 7, "win10"),
            ({"_CMDLINE": "/usr/bin/qemu-system-x86_64 -name guest=a,,b c=,debug-threads=on"}, None, None, "a,b"),
            ({"_CMDLINE": '/usr/bin/qemu-system-x86_64 -name "guest=my vm,debug-threads=on"'}, None, None, "my vm"),
            ({"_CMDLINE": "qemu-system-x86_64 -name debug-threads=on,guest=z"}, None, None, "z"),
            ({"_CMDLINE": "qemu-system-x86_64 -name process=q"}, None, None, None),
            ({"_CMDLINE": "/usr/bin/find / -name guest=a -xen-domid 3"}, None, None, None),
            ({"_CMDLINE": "qemu-system-i386 -xen-domid 1234567"}, None, None, None),
        ],
    )
    def test_who_said_it(
        self, fields: dict[str, str], thread: int | None, domain: int | None, guest: str | None
    ) -> None:
        (record,) = records(entry(OUT.decode(), **fields))
        assert (record.thread, record.domain, record.guest) == (thread, domain, guest)

    @pytest.mark.parametrize("time", ["", "x", "-1", "9" * 30, str(1 << 63), None, ["1", "2"]])
    def test_a_time_that_is_none_is_no_time(self, time: object) -> None:
        (record,) = records(entry(OUT.decode(), __REALTIME_TIMESTAMP=time))
        assert (record.time_ns, record.clock) in ((None, None), (1000, "syslog"))

    def test_a_blank_that_journald_took_off_the_end_comes_back(self) -> None:
        raw = "<30>Nov 23 03:12:18 q[1]: " + LOG.decode()
        (record,) = records(entry("xen_platform_log xen platform:", SYSLOG_RAW=raw))
        assert (record.text("s"), record.event) == (b"", "xen_platform_log")

    def test_what_logger_cut_has_the_time_of_its_first_entry(self) -> None:
        """QEMU has no stamp of its own, and it is known when the journal was written."""
        text = LOG + b"x" * 2000
        pieces = [text[:1024], text[1024:]]
        content = b"".join(
            entry(piece.decode(), SYSLOG_IDENTIFIER="qemu-dm-5", SYSLOG_PID="9", __REALTIME_TIMESTAMP=str(at))
            for at, piece in enumerate(pieces, 7)
        )
        journal = Journal(Given("j", catalogue.load(), 1795557229 * 10**9))
        (record,) = journal.read([content])
        assert isinstance(record, Record)
        assert (record.text("s"), record.length, record.line) == (text[len(LOG) :], len(content), 1)
        assert (record.time_ns, record.clock, record.thread, record.domain) == (7000, "syslog", 9, 5)

    def test_an_event_of_a_server_is_an_entry(self) -> None:
        """`journalctl -o json-sse`"""
        first, second = records(b"data: " + entry(OUT.decode()) + b"\ndata: " + entry(OUT.decode()) + b"\n")
        assert (first.offset, second.offset, second.line) == (0, first.length + 1, 2)

    def test_suppressed_messages_are_a_loss(self) -> None:
        (loss,) = read(entry("Suppressed 43 messages from machine.slice", SYSLOG_IDENTIFIER="systemd-journald"))
        assert isinstance(loss, Loss)

    def test_a_time_of_another_dissector_stays(self) -> None:
        (record,) = records(entry("12345@1531234331.123456:" + OUT.decode(), _PID="1"))
        assert (record.time_ns, record.clock, record.thread) == (1531234331123456000, "wall", 12345)


class TestKernel:
    """What the kernel of a host says is no guest's; a journal may be a guest's own."""

    @pytest.fixture(autouse=True)
    def _readers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = {one.name: one for one in (guest_kernel.DISSECTOR, textlog.DISSECTOR)}
        monkeypatch.setattr(inner, "dissectors", lambda: known)
        monkeypatch.setattr(inner, "is_ours", known.__contains__)

    START = "Linux version 6.1.0 (a@b) (gcc) #1 SMP"
    GUEST = "Xen Platform PCI: I/O protocol version 1"

    def kernel(self, *messages: str, boot: str = "b") -> bytes:
        return b"".join(entry(one, _TRANSPORT="kernel", _BOOT_ID=boot) for one in messages)

    def test_a_host_s_kernel_is_not_the_start_of_a_guest(self) -> None:
        other = entry(OUT.decode(), _PID="1")
        assert [one.event for one in records(self.kernel(self.START, "xen: x") + other)] == ["cpu_out"]

    def test_a_guest_s_kernel_is(self) -> None:
        found = records(self.kernel(self.START, "DMI: Xen HVM domU, BIOS 4.17", self.GUEST))
        assert [(one.event, one.line) for one in found] == [("guest_start", 1), ("guest_line", 3)]
        assert {one.thread for one in found} == {None}
        assert found[0].clock == "syslog"

    def test_another_boot_must_say_so_again(self) -> None:
        found = records(self.kernel(self.START, self.GUEST) + self.kernel(self.START, boot="c"))
        assert [one.event for one in found] == ["guest_start", "guest_line"]


class TestDamage:
    @pytest.mark.parametrize(
        "data",
        [
            b"{\n", b"{\n}", b"{]}\n", b'{"MESSAGE":"x"\n', b"[1]\n", b"x\n", b"{" + b"[" * 100_000 + b"}\n",
            b'{"a":' + b"9" * 5000 + b"}\n", b"MESSAGE=x", b"MESSAGE\n", b"MESSAGE\n\1\0\0\0\0\0\0\0", b"message=x\n\n",
            b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7fxxx\n\n", b"MESSAGE\n\1\0\0\0\0\0\0\0xx\n\n", b"A=1\nb=2\n\n",
        ],
    )
    def test_what_cannot_be_read_is_damage_once_and_what_follows_is_read(self, data: bytes) -> None:
        found = read(data)
        assert [type(one) for one in found] == ([] if data == b"{\n}" else [Damage])
        if data != b"MESSAGE\n":  # whose length is then what follows
            assert isinstance(read(data.rstrip(b"\n") + b"\n\n" + entry(OUT.decode()))[-1], Record)

    def test_an_entry_that_is_too_large_is_passed_over(self) -> None:
        large = b"x" * MOST_BYTES
        for data in (entry(large.decode()), field("MESSAGE", large) + b"\n", b"MESSAGE=" + large + b"\n\n",
                     b'{\n\t"MESSAGE" : "' + large + b'"\n}\n'):
            damage, record = read(data + entry(OUT.decode()))
            assert isinstance(damage, Damage)
            assert (damage.offset, damage.length) == (0, len(data))
            assert (record.line, record.offset) == (2, len(data))

    def test_an_object_that_is_cut_does_not_take_the_next_with_it(self) -> None:
        found = read(b'{\n\t"MESSAGE" : "x",\n' + b'{\n\t"MESSAGE" : "' + OUT + b'"\n}\n')
        assert [(type(one), one.line) for one in found] == [(Damage, 1), (Record, 2)]


SMALL = (
    entry(OUT.decode(), _PID="1", SYSLOG_IDENTIFIER="qemu-dm-5")
    + b"__REALTIME_TIMESTAMP=1795557229985211\n" + field("MESSAGE", LOG + b"\n\xff") + b"\n"
    + json.dumps({"MESSAGE": list(LOG)}, indent="\t").encode() + b"\n"
    + entry("x" * 1024, SYSLOG_IDENTIFIER="qemu-dm-5")
)


def sound(data: bytes, found: list[Yield]) -> bool:
    offsets = [one.offset for one in found]
    return offsets == sorted(offsets) and all(
        one.offset >= 0 and one.length > 0 and one.offset + one.length <= len(data) and one.line > 0 for one in found
    )


def test_it_may_end_anywhere() -> None:
    assert [type(one) for one in read(SMALL)] == [Record, Record, Record]
    for end in range(len(SMALL)):
        assert sound(SMALL[:end], read(SMALL[:end]))


@settings(deadline=None)
@given(broken(SMALL))
def test_whatever_becomes_of_a_journal_nothing_fails(data: bytes) -> None:
    assert sound(data, read(data))


PIECES = st.sampled_from([b"{", b"}", b"\n", b'"', b"MESSAGE", b"=", b"\0" * 8, b":", b"1"])


@given(st.binary(max_size=400) | st.lists(PIECES).map(b"".join))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    assert sound(data, read(data))
    assert sniff(data) in (0, 95)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["MESSAGE", "SYSLOG_RAW", "_PID", "_CMDLINE", "_TRANSPORT", "SYSLOG_IDENTIFIER",
                                        "__REALTIME_TIMESTAMP", "X"]), JSON))
def test_no_object_makes_it_fail(fields: dict[str, object]) -> None:
    data = json.dumps(fields).encode()
    assert sound(data, read(data))


@given(st.binary(max_size=200))
def test_any_text_of_a_guest_comes_out_of_any_form(text: bytes) -> None:
    text = re.sub(rb"[\n\0]", b"", text)
    values = [entry(list(LOG + text)), b"__REALTIME_TIMESTAMP=1\n" + field("MESSAGE", LOG + text) + b"\n",
              json.dumps({"MESSAGE": list(LOG + text)}, indent="\t").encode() + b"\n"]
    with contextlib.suppress(UnicodeDecodeError):
        values.append(entry((LOG + text).decode()))
    for data in values:
        (record,) = records(data)
        assert record.text("s") == text


def test_a_dissector_of_somebody_else_that_fails_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, given: Given) -> None:
            self._source = given.source

        def read(self, *place: object) -> Iterator[Record]:
            raise RuntimeError(self._source, place)

    theirs = Dissector("theirs", "t", b"", len, lines=Failing, needles=textlog.NEEDLES)
    monkeypatch.setattr(inner, "dissectors", lambda: {"theirs": theirs})
    (damage,) = read(entry(LOG.decode()))
    assert isinstance(damage, Damage)
    assert "theirs failed: RuntimeError" in damage.reason


@pytest.mark.parametrize("data", [b"{" * 200_000, b"{\n" * 100_000, b"A\n" * 50_000, b"A=\n" * 200_000, b"\n" * 500_000,
                                  entry("\n" * 300_000), entry([[0]] * 100_000)])
def test_no_journal_takes_long(data: bytes) -> None:
    began = datetime.now(UTC)
    read(data)
    assert datetime.now(UTC) - began < timedelta(seconds=5)
