"""Given records that were pasted into a mail or a tracker, they are what they were, and say that they were restored."""

from __future__ import annotations

import gzip
import html
import quopri
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.paste import DISSECTOR, Paste, sniff
from dissectors.qemu import catalogue, textlog
from dissectors.record import Damage, Loss, Record
from tests.dissectors import feeding
from tests.dissectors.feeding import Yield, broken

RECORDS = (
    b"memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2 size 2 name 'xen-fixed'",
    b"cpu_in addr 0x10(w) value 18898",
    b"213@1795406729.213774:memory_region_ops_write cpu -1 mr 0x564a5d8637e0 addr 0x12 value 0x3 size 2 name 'xen-pci'",
    b"pci_cfg_read xen-platform 00:02.0 @0x10 -> 0xc001",
    b"2026-11-23T02:38:20.773285Z xen_ioreq_server_create id: 0",
    b"xen_platform_log xen platform: XEN|BUGCHECK: ====>",
)
LOG = b"".join(record + b"\n" for record in RECORDS)


def read(data: bytes, size: int = 1 << 16) -> list[Yield]:
    paste = Paste(Given("source.log", catalogue.load()))
    found = list(paste.read([data[at : at + size] for at in range(0, len(data), size)]))
    assert paste.records == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return found


def said(found: list[Yield]) -> list[tuple[str, dict[str, object], int | None]]:
    assert all(isinstance(one, Record) for one in found), found
    return [(one.event, dict(one.values), one.time_ns) for one in found if isinstance(one, Record)]


PLAIN = said(list(feeding.feed(textlog.DISSECTOR, LOG)))


def wrapped(data: bytes, *, keep: bool = False, width: int = 72) -> bytes:
    """Broken before the column at blanks, as mail programs do, which keep the blank (RFC 3676) or not."""
    lines = []
    for line in data.decode().splitlines():
        parts = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        lines += [part + " " * keep for part in parts[:-1]] + parts[-1:]
    return "".join(line + "\n" for line in lines).encode()


def quoted(data: bytes, mark: bytes = b"> ") -> bytes:
    return b"".join(mark + line for line in data.splitlines(keepends=True))


def printable(data: bytes) -> bytes:
    return quopri.encodestring(data)


def escaped(data: bytes) -> bytes:
    return b"<pre>" + html.escape(data.decode()).encode() + b"</pre>\n"


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "wrapped": wrapped,
    "wrapped, blanks kept": lambda data: wrapped(data, keep=True),
    "wrapped at 65": lambda data: wrapped(data, width=65),
    "wrapped at 80": lambda data: wrapped(data, width=80),
    "quoted": quoted,
    "quoted twice": lambda data: quoted(quoted(data)),
    "quoted tightly": lambda data: quoted(quoted(data, b">"), b">"),
    "wrapped, then quoted": lambda data: quoted(wrapped(data)),
    "quoted-printable": printable,
    "quoted, quoted-printable": lambda data: printable(quoted(data)),
    "quoted-printable with CRLF": lambda data: printable(data).replace(b"\n", b"\r\n"),
    "HTML": escaped,
    "quoted in HTML": lambda data: escaped(quoted(data)),
    "BBCode": lambda data: b"[CODE]" + data + b"[/CODE]\n",
    "BBCode around each line": lambda data: b"".join(b"[b]" + line + b"[/b]\n" for line in data.splitlines()),
    "tabs": lambda data: quoted(data, b"\t\t"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "wrapped, CRLF, BOM": lambda data: b"\xef\xbb\xbf" + wrapped(data).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_pasted_is_what_it_was(way: str) -> None:
    pasted = WAYS[way](LOG)
    assert said(read(pasted)) == PLAIN
    assert said(read(pasted, 7)) == PLAIN


@pytest.mark.parametrize("way", WAYS)
def test_a_record_that_was_restored_says_so_and_where_it_stands(way: str) -> None:
    pasted = WAYS[way](LOG)
    for one in read(pasted):
        assert isinstance(one, Record)
        part = pasted[one.offset : one.offset + one.length]
        assert one.raw == part.removesuffix(b"\n")
        assert part.count(b"\n") >= 1
        assert pasted.count(b"\n", 0, one.offset) == one.line - 1
        assert one.recovered == (one.raw not in RECORDS)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"tabs", "CRLF", "BOM", "BBCode"}])
def test_a_text_with_records_that_are_none_as_they_stand_is_sniffed(way: str) -> None:
    assert sniff(WAYS[way](b"Hello,\n\nthis is what I see:\n\n" + LOG)) > 50


def test_the_mail_of_the_collection(corpus: Path) -> None:
    """Of qemu-devel in 2022: eight lines, four records, each broken at a blank that is still there."""
    content = (corpus / "public" / "qemu-mrops-noprefix-mailwrapped-7.x.log").read_bytes()
    assert sniff(content) > 50
    found = read(content)
    same = {"cpu_index": 0, "mr": 0x13EEFBF60, "size": 2, "name": b"vbe"}
    assert said(found) == [
        ("memory_region_ops_write", same | {"addr": 0x1CE, "value": 0}, None),
        ("memory_region_ops_write", same | {"addr": 0x1CF, "value": 0xB0C0}, None),
        ("memory_region_ops_write", same | {"addr": 0x1CE, "value": 0}, None),
        ("memory_region_ops_read", same | {"addr": 0x1CF, "value": 0xFFFF}, None),
    ]
    assert [(one.line, one.recovered) for one in found if isinstance(one, Record)] == [
        (1, True), (3, True), (5, True), (7, True)
    ]


def test_no_healthy_log_is_taken_for_a_paste(corpus: Path) -> None:
    forms = "public/*.log", "recorded/**/*.log", "recorded/**/*.log.gz", "recorded/**/*.txt"
    paths = [path for form in forms for path in corpus.glob(form) if "mailwrapped" not in path.name]
    assert len(paths) > 500
    taken = []
    for path in paths:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        taken += [path] if sniff(content[: 1 << 20]) else []
    assert taken == []


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0" * 1000, b"> so\n> it\n> goes\n", LOG, LOG * 20, b"\t" + LOG, LOG.replace(b"\n", b"\r\n"),
        RECORDS[1] + b"\n" + b"\n".join(b"xen_platform_log xen platform: &lt;%d&gt;" % at for at in range(9)),
        b"xen_platform_log xen platform: " + b"> " * 20 + b"\n",
        b"handle_ioreq I/O=0x7f dir=1 port=0x10\n" * 5,
        (RECORDS[0][:60] + b"\nlogin: \n") * 20,  # a serial console broke in
    ],
)
def test_what_needs_no_restoring_is_no_paste(text: bytes) -> None:
    assert sniff(text) == 0


class TestCertainty:
    def test_a_record_that_is_whole_is_left_alone(self) -> None:
        text = RECORDS[5] + b" " * 12 + b"and more\nand then prose follows it in the mail\n"
        (record,) = read(text)
        assert isinstance(record, Record)
        assert (record.recovered, record.length, record.raw) == (False, text.find(b"\n") + 1, text.partition(b"\n")[0])

    def test_a_line_that_is_short_was_not_broken_there(self) -> None:
        found = read(b"memory_region_ops_read cpu -1 mr 0x5\naddr 0x10 value 0x49d2 size 2\n")
        assert not [one for one in found if isinstance(one, Record)]

    def test_a_record_that_begins_does_not_swallow_another(self) -> None:
        begun = b"memory_region_ops_read cpu -1 mr 0x564a5d8637e0 addr 0x10 value 0x49d2"
        found = read(begun + b"\n" + RECORDS[1] + b"\n")
        assert [type(one) for one in found] == [Damage, Record]
        assert isinstance(found[1], Record)
        assert found[1].recovered is False

    def test_it_is_joined_to_no_more_than_is_needed(self) -> None:
        first, second = read(wrapped(RECORDS[0], width=72) + RECORDS[1] + b"\n")
        assert isinstance(first, Record)
        assert isinstance(second, Record)
        assert (first.line, second.line, second.recovered) == (1, 3, False)

    def test_a_text_of_a_guest_is_never_lengthened(self) -> None:
        long = b"xen_platform_log xen platform: " + b"word " * 9
        (record,) = read(long.rstrip() + b"\nand this may be its end or not\n")
        assert isinstance(record, Record)
        assert record.text("s") == b"word " * 8 + b"word"


def sound(data: bytes, found: list[Yield]) -> bool:
    offsets = [one.offset for one in found]
    return offsets == sorted(offsets) and all(
        one.offset >= 0 and one.length > 0 and one.offset + one.length <= len(data)
        and data.count(b"\n", 0, one.offset) == one.line - 1 for one in found
    )


PASTE = b"\xef\xbb\xbfHi\r\n[CODE]" + quoted(wrapped(LOG)) + WAYS["quoted-printable with CRLF"](LOG) + escaped(LOG)


@settings(deadline=None, max_examples=60)
@given(broken(PASTE), st.integers(1, 3000))
def test_whatever_becomes_of_a_paste_nothing_fails(data: bytes, size: int) -> None:
    found = read(data, size)
    assert sound(data, found)
    assert found == read(data)
    assert sniff(data) in (0, 60)


def test_it_may_end_anywhere() -> None:
    short = b"\xef\xbb\xbf" + quoted(wrapped(RECORDS[0] + b"\n")) + printable(RECORDS[2] + b"\n")
    for end in range(len(short)):
        assert sound(short[:end], read(short[:end]))


@settings(deadline=None)
@given(st.lists(st.sampled_from([b">", b" ", b"=", b"\n", b"=3D", b"&lt;", b"&#x110000;", b"[b]", b"<br>", b"\r",
                                 b"cpu_in addr 0x10(w) ", b"value 1"]) | st.binary(max_size=3)).map(b"".join))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    assert sound(data, read(data))
    assert sniff(data) in (0, 60)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60).map(str.encode), st.sampled_from(
    ["quoted", "quoted-printable", "quoted, quoted-printable", "quoted in HTML", "HTML", "CRLF"]))
def test_any_text_of_a_guest_comes_out(text: bytes, way: str) -> None:
    line = b"xen_platform_log xen platform: " + text + b"\n"
    found = [one for one in read(WAYS[way](LOG + line)) if isinstance(one, Record)]
    assert found[-1].text("s") == text


@pytest.mark.parametrize("data", [b">" * 200_000, b"=\n" * 20_000, b"&lt;" * 50_000, b"[b]" * 50_000, b"<pre " * 30_000,
                                  b"> " * 100_000, (RECORDS[0][:70] + b"\n") * 1000, b"\n" * 30_000])
def test_no_paste_takes_long(data: bytes) -> None:
    began = datetime.now(UTC)
    read(data)
    sniff(data)
    assert datetime.now(UTC) - began < timedelta(seconds=8)


def test_what_a_daemon_says_is_missing_is_told() -> None:
    lost = b"Jul 10 17:52:11 host rsyslogd-2177: imuxsock lost 43 messages from pid 7 due to rate-limiting\n"
    found = read(quoted(lost))
    assert [type(one) for one in found] == [Loss]


def test_the_example_is_sniffed_and_read() -> None:
    (record,) = read(DISSECTOR.example)
    assert isinstance(record, Record)
    assert (record.event, record.text("name"), record.recovered) == ("memory_region_ops_write", b"vbe", True)
