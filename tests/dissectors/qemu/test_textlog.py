"""Given what daemons make of QEMU's lines on their way, the records are the same, and what is missing is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.qemu.textlog import DISSECTOR
from dissectors.record import Damage, Loss, Record
from tests.dissectors.feeding import Yield, broken, feed, inside, records

HEADER = b"Jul 10 17:52:11 host qemu-dm-5[12345]: "
STAMP = b"12345@1531234331.123456:"
LOG = b"xen_platform_log xen platform: "
OUT = b"cpu_out addr 0x12(b) value 108"


def losses(found: list[Yield]) -> list[str]:
    return [one.reason for one in found if isinstance(one, Loss)]


def texts(data: bytes) -> list[bytes]:
    return [one.text("s") for one in records(DISSECTOR, data) if one.event == "xen_platform_log"]


class TestCopies:
    @pytest.mark.parametrize("header", [HEADER, b"2024-07-10T17:52:11.5+02:00 host qemu-system-i386[12345]: "])
    @pytest.mark.parametrize("blank", [b" ", b""])
    def test_one_line_for_several_copies_is_one_record_and_says_how_many_are_missing(
        self, header: bytes, blank: bytes
    ) -> None:
        line = header + b"message repeated 3 times: [" + blank + OUT + b"]\n"
        record, loss = feed(DISSECTOR, line, 1720630331 * 10**9)
        assert isinstance(record, Record)
        assert (record.event, record.integer("addr"), record.integer("val")) == ("cpu_out", 0x12, 108)
        assert (record.recovered, record.thread, record.raw) == (False, 12345, line[:-1])
        assert record.time_ns is not None
        assert isinstance(loss, Loss)
        assert "3 copies: 2 are missing" in loss.reason
        assert (loss.offset, loss.length, loss.line) == (0, len(line), 1)

    def test_a_guest_s_text_in_brackets_keeps_its_own(self) -> None:
        found = feed(DISSECTOR, HEADER + b"message repeated 2 times: [ " + LOG + b"a] b]]\n")
        assert isinstance(found[0], Record)
        assert found[0].text("s") == b"a] b]"

    def test_copies_of_what_has_not_the_form_of_its_event_are_damage(self) -> None:
        (found,) = feed(DISSECTOR, HEADER + b"message repeated 2 times: [ cpu_out addr 0x10 wrong]\n")
        assert isinstance(found, Damage)

    @pytest.mark.parametrize(
        "line",
        [HEADER + b"message repeated 3 times: [ xenopsd is well]", HEADER + b"message repeated xen",
         HEADER + b"message repeated 99999999999 times: [ xen]"],
    )
    def test_copies_of_others_messages_say_nothing(self, line: bytes) -> None:
        assert feed(DISSECTOR, line) == []

    @pytest.mark.parametrize("said", [b"message repeated 3 times: [ login: %s]", b"message of %s"])
    def test_a_record_inside_of_another_s_message_is_recovered(self, said: bytes) -> None:
        (record,) = records(DISSECTOR, HEADER + said % (STAMP + OUT))
        assert (record.event, record.recovered, record.time_ns) == ("cpu_out", True, 1531234331123456000)

    @pytest.mark.parametrize(
        "last",
        [HEADER + b"last message repeated 4 times", b"Jul 10 17:52:11 host last message repeated 4 times",
         b"<30>Jul 10 17:52:11 last message repeated 4 times",
         b"2024-07-10T17:52:11Z host q: last message repeated 4 times",
         b"Jul 10 17:52:11 host --- last message repeated 4 times ---"],
    )
    def test_copies_that_are_only_counted_are_a_loss_after_a_record_of_ours(self, last: bytes) -> None:
        (loss,) = losses(feed(DISSECTOR, HEADER + OUT + b"\n" + last + b"\n"))
        assert "4 more copies" in loss
        others = HEADER + b"xen: something else\n"
        assert losses(feed(DISSECTOR, HEADER + OUT + b"\n" + others + last + b"\n")) == []

    def test_a_line_without_a_date_does_not_count_copies(self) -> None:
        assert losses(feed(DISSECTOR, OUT + b"\nxen: last message repeated 4 times\n")) == []

    def test_a_guest_cannot_say_that_copies_are_missing(self) -> None:
        forged = HEADER + b"last message repeated 4 times"
        assert losses(feed(DISSECTOR, HEADER + LOG + b"\n" + HEADER + LOG + forged + b"\n")) == []


@pytest.mark.parametrize(
    "line",
    [
        b"Jul 10 17:52:11 host rsyslogd-2177: imuxsock begins to drop messages from pid 77 due to rate-limiting",
        b"Jul 10 17:52:11 host rsyslogd: imuxsock[pid: 7] from <a:b>: begin to drop messages due to rate-limiting",
        b"Jul 10 17:52:11 host rsyslogd: imuxsock[pid: 7]: 123 messages lost due to rate-limiting (200 allowed)",
        b"Jul 10 17:52:11 host rsyslogd-2177: imuxsock lost 43 messages from pid 77 due to rate-limiting",
        b"Jul 10 17:52:11 host systemd-journald[123]: Suppressed 43 messages from machine-qemu.scope",
        b"CPU:1 [LOST 43 EVENTS]",
    ],
)
def test_a_daemon_that_says_that_it_drops_messages_is_a_loss(line: bytes) -> None:
    assert len(losses(feed(DISSECTOR, line))) == 1
    assert losses(feed(DISSECTOR, HEADER + LOG + line)) == []  # a guest said it


def logged(text: bytes, *, piece: int, header: bytes = HEADER) -> bytes:
    """The lines of a file to which rsyslog wrote what `logger` made of one line of QEMU.

    Up to util-linux 2.25 its fgets(3) took the newline by itself where a piece was full; later ones do not.
    """
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)] or [b""]
    if piece == 1023 and len(pieces[-1]) == piece:
        pieces.append(b"")
    return b"".join(header + one + b"\n" for one in pieces)


class TestLogger:
    def test_what_a_real_logger_cut_is_one_record(self, data: Path) -> None:
        """`logger` of util-linux 2.38, read back from the journal with `journalctl -o short`."""
        content = (data / "journal" / "short.txt").read_bytes()
        pieces = [one for one in content.splitlines(keepends=True) if b" qemu-dm-5[" in one]
        assert [len(one.partition(b"]: ")[2]) - 1 for one in pieces[:3]] == [1024, 1024, 7]
        whole = next(one for one in feed(DISSECTOR, b"".join(pieces[:2])) if isinstance(one, Record))
        assert whole.text("s") == b"a" * (2048 - len(STAMP + LOG))
        assert (whole.line, whole.length, whole.domain, whole.recovered) == (1, len(b"".join(pieces[:2])), 5, False)
        assert (whole.time_ns, whole.clock, whole.raw) == (1531234331123456000, "wall", pieces[0][:-1])

    @given(st.integers(0, 2900).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
           st.sampled_from((1023, 1024)), st.sampled_from((STAMP, b"")))
    def test_any_two_pieces_are_the_text_that_the_guest_wrote(self, text: bytes, piece: int, stamp: bytes) -> None:
        text = re.sub(rb"[\n\0]", b"", text)[: 2 * piece - len(stamp + LOG) - 1]
        content = logged(stamp + LOG + text, piece=piece)
        after = HEADER + stamp + LOG + b"after\n"
        assert texts(content + after) == [text, b"after"]
        assert texts(content) == [text]

    def test_pieces_with_rsyslog_s_escapes_are_found(self) -> None:
        text = LOG + b"\x1b" * 1200
        content = re.sub(rb"\x1b", b"#033", logged(text, piece=1023))
        assert texts(content) == [b"#033" * 1200]

    def test_a_guest_cannot_begin_a_record_where_its_text_is_cut(self) -> None:
        text = b"x" * (1024 - len(STAMP + LOG)) + OUT
        (record,) = records(DISSECTOR, logged(STAMP + LOG + text, piece=1024))
        assert record.text("s") == text

    @pytest.mark.parametrize(
        "between",
        [b"Jul 10 17:52:11 host xenopsd: xen\n", HEADER.replace(b"12345", b"999") + b"xx\n",
         HEADER.replace(b"dm-5", b"dm-6") + b"xx\n", HEADER + STAMP + OUT + b"\n"],
    )
    def test_what_is_not_certain_stays_apart(self, between: bytes) -> None:
        first, second = logged(STAMP + LOG + b"y" * 1500, piece=1023).splitlines(keepends=True)
        found = records(DISSECTOR, first + between + second)
        assert found[0].text("s") == b"y" * (1023 - len(STAMP + LOG))
        assert found[0].length == len(first)

    @pytest.mark.parametrize("header", [b"", b"Jul 10 17:52:11 host qemu-system-i386[12345]: "])
    def test_only_what_logger_carried_is_put_together(self, header: bytes) -> None:
        first = header + STAMP + LOG + b"y" * (1024 - len(STAMP + LOG)) + b"\n"
        assert texts(first + header + b"zzz xen\n") == [b"y" * (1024 - len(STAMP + LOG))]

    def test_a_line_is_not_longer_than_the_buffer_of_the_device(self) -> None:
        content = logged(LOG + b"y" * 100_000, piece=1024).replace(b": yyy", b": yxen")
        assert len(texts(content)[0]) < 4095 + 1024


def test_the_stamp_of_xenconsoled_is_a_date_of_the_host() -> None:
    (record,) = records(DISSECTOR, b" [2024-03-04 17:50:25] " + OUT + b"\n")
    assert (record.time_ns, record.clock) == (1709574625 * 10**9, "local")


SOURCE = b"".join((
    HEADER, STAMP, LOG, b"hello\n", HEADER, b"message repeated 3 times: [ ", OUT, b"]\n",
    logged(LOG + b"x" * 1500, piece=1023),
    HEADER, b"last message repeated 2 times\n", b"[2024-03-04 17:50:25] ", OUT, b"\n",
    b'<30>1 2026-11-23T03:12:23Z vm qemu-dm-5 8003 - [a@1 b="\\]"] ', OUT, b"\n",
))


def test_it_is_whole_at_first() -> None:
    assert [type(one) for one in feed(DISSECTOR, SOURCE)] == [Record, Record, Loss, Record, Loss, Record, Record]


@given(broken(SOURCE), st.none() | st.integers(0, 1 << 62))
def test_whatever_becomes_of_a_source_nothing_fails(data: bytes, written_ns: int | None) -> None:
    assert inside(data, feed(DISSECTOR, data, written_ns))


def test_it_may_end_anywhere() -> None:
    for end in range(len(SOURCE)):
        assert inside(SOURCE[:end], feed(DISSECTOR, SOURCE[:end]))


@pytest.mark.parametrize(
    "line",
    [HEADER + b"message repeated 2 times: [ " * 2000 + OUT, HEADER + b"message repeated 2 times: [" + b"]" * 60_000,
     b"Jul 10 17:52:11 " + b"a " * 30_000 + b"last message repeated 2 times", HEADER + LOG + b"#033" * 16_000,
     (HEADER + b"message repeated 2 times: [") * 800],
)
def test_no_line_takes_long(line: bytes) -> None:
    began = datetime.now(UTC)
    feed(DISSECTOR, HEADER + OUT + b"\n" + line + b" xen\n")
    assert datetime.now(UTC) - began < timedelta(seconds=2)
