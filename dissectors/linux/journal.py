r"""systemd's journal as journalctl writes it for programs: JSON in any of its forms, and the export format.

Law: systemd's docs/JOURNAL_EXPORT_FORMATS.md, src/shared/logs-show.c and src/journal/journald-syslog.c. An entry is an
object, on a line of its own or one field a line; or `FIELD=value` a line, where a value that is not text has its length
(64 bits, little-endian) before it, and an empty line at the end::

    {"__REALTIME_TIMESTAMP":"1795557232844091","SYSLOG_IDENTIFIER":"qemu-system-i386","SYSLOG_PID":"7944",
     "_CMDLINE":"qemu-system-i386 ... -name guest=win10", "MESSAGE":"cpu_in addr 0x10(w) value 18898", ...}

The message is read as a line by the dissectors that know such lines. In JSON it is an array of bytes where it is not
text of UTF-8, and null where it has more than 4096 bytes, unless it was written with `--all`. journald takes blanks off
the end of what syslog(3) sends; `SYSLOG_RAW` then holds what came. The time is when journald had it.

What the kernel of the host says is nobody's but the host's. The journal may be a guest's own, though: then its kernel
says at some point that it runs on Xen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import SYSLOG
from dissectors.envelope import LOGGER_PIECES, domain_of_tag, read_envelope
from dissectors.inner import Bytes, Inner
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import GUEST_START

MOST_BYTES: Final = 16 << 20
"""Of an entry; a larger one is passed over."""
LARGEST_FIELD: Final = 768 << 20
"""DATA_SIZE_MAX of systemd's src/shared/journal-importer.h: a longer field is in no journal."""

_LATEST: Final = 64
"""Entries of which it is still known who said them."""

_FIELD: Final = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_FIELD_LINE: Final = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}(?:=|$)", re.MULTILINE)
_OBJECT_TIME: Final = re.compile(rb"\"__REALTIME_TIMESTAMP\" ?: ?\"\d")
_EXPORT_TIME: Final = re.compile(rb"(?m)^__REALTIME_TIMESTAMP=\d{1,20}$")
_WANTED: Final = frozenset({
    b"MESSAGE", b"SYSLOG_RAW", b"SYSLOG_IDENTIFIER", b"SYSLOG_PID", b"_PID", b"_CMDLINE", b"_TRANSPORT", b"_BOOT_ID",
    b"__REALTIME_TIMESTAMP",
})  # fmt: skip
_BEFORE: Final = b"\xef\xbb\xbf\x1e \t\r\n"
"""What may stand before an object: a byte order mark, the separator of `json-seq`, blanks."""
_EVENT: Final = b"data: "
"""What stands before an object of `json-sse`."""

_QEMU: Final = re.compile(rb"\S*qemu\S*(?: |$)")
_DOMAIN: Final = re.compile(rb" -xen-domid (\d{1,5})(?!\S)")
_NAME: Final = re.compile(rb" -name (?:\"((?:[^\"\\]|\\.){1,1024}+)\"|'([^']{1,1024})'|(\S{1,1024}))")
_SUPPRESSED: Final = re.compile(rb"Suppressed (\d{1,9}) messages from ([!-~]{1,255})")
"""What journald says itself where somebody said too much (src/journal/journald-server.c)."""
_ON_XEN: Final = re.compile(
    rb"Xen Platform PCI: |Hypervisor detected: Xen HVM|Booting paravirtualized kernel on Xen HVM|DMI: Xen HVM domU"
)
"""What only the kernel of a guest says."""

Fields = Mapping[bytes, list[bytes | None]]
"""The fields of an entry that are wanted, each as often as it occurs; None is a value that was left out."""


# -- the fields


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # an escape of half a pair, which journald does not write
        return text.encode("utf-8", "replace")


def _values(value: object) -> list[bytes | None]:
    """What a value of JSON says: text, bytes as numbers, nothing; or several of them, where a field is repeated."""
    if isinstance(value, str):
        return [_bytes(value)]
    if value is None:
        return [None]
    if not isinstance(value, list):
        return []
    if value and all(type(one) is int and 0 <= one <= 0xFF for one in value):
        return [bytes(value)]
    return [told for one in value if not isinstance(one, list) or one for told in _flat(one)]


def _flat(value: object) -> list[bytes | None]:
    """The same of one of several: an array within an array is bytes."""
    if isinstance(value, list):
        return [bytes(value)] if all(type(one) is int and 0 <= one <= 0xFF for one in value) else []
    return _values(value)


def _object(text: bytes) -> Fields | None:
    """The fields of an entry in JSON; None where it is no object."""
    try:
        found = json.loads(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {name: _values(found[key]) for name in _WANTED if (key := name.decode()) in found}


def _guest(command: bytes) -> str | None:
    """The guest's name on a command line of QEMU: `-name NAME`, or `-name guest=NAME,...`; two commas are one."""
    found = _NAME.search(command)
    if found is None:
        return None
    options = (found[1] or found[2] or found[3]).replace(b",,", b"\0").split(b",")
    for at, option in enumerate(options):
        key, equals, value = option.partition(b"=")
        name = value if equals and key == b"guest" else b"" if equals or at else option
        if name:
            return name.replace(b"\0", b",")[:255].decode("utf-8", "replace")
    return None


@dataclass(slots=True)
class _Entry:
    """Who said something, and when."""

    time_ns: int | None
    thread: int | None
    domain: int | None
    guest: str | None
    sender: bytes
    kernel: bool
    boot: bytes
    header: bytes
    """The header of a syslog daemon for what `logger` sends of a device model of XenServer, else empty."""
    raw: bytes


def _first(fields: Fields, name: bytes) -> bytes:
    values = fields.get(name)
    return (values[0] if values else None) or b""


def _entry(fields: Fields, raw: bytes) -> _Entry:
    stamp = _first(fields, b"__REALTIME_TIMESTAMP")
    time_ns = int(stamp) * 1000 if stamp.isdigit() and len(stamp) <= 20 else None
    pid = _first(fields, b"SYSLOG_PID") or _first(fields, b"_PID")
    tag, command = _first(fields, b"SYSLOG_IDENTIFIER"), _first(fields, b"_CMDLINE")
    domain, guest = domain_of_tag(tag), None
    header = b"" if domain is None else b"Jan  1 00:00:00 %s[%s]: " % (tag, pid)
    if _QEMU.match(command):
        told = _DOMAIN.search(command)
        domain = int(told[1]) if domain is None and told else domain
        guest = _guest(command)
    return _Entry(
        time_ns if time_ns is not None and time_ns < 1 << 63 else None,
        int(pid) if pid.isdigit() and len(pid) <= 10 else None,
        domain, guest, tag, _first(fields, b"_TRANSPORT") == b"kernel", _first(fields, b"_BOOT_ID"), header, raw,
    )


def _messages(fields: Fields) -> list[bytes | None]:
    """What was said; whole, where journald kept what it had taken from the end."""
    messages = fields.get(b"MESSAGE", [])
    raw = _first(fields, b"SYSLOG_RAW")
    if len(messages) == 1 and messages[0] and raw:
        whole = raw[read_envelope(raw).end :]
        if whole.startswith(messages[0]):
            return [whole]
    return messages


# -- the entries


class Journal:
    """Reads the entries of one source into what the dissectors of lines say of their messages."""

    def __init__(self, given: Given) -> None:
        self.records = 0
        """How many entries there were so far."""
        self._given = given
        self._boot: bytes | None = None
        """The boot that the last message of a kernel was of."""
        self._on_xen = False
        """Whether the kernel of that boot is a guest's."""
        self._start: list[Record] = []
        """Where that kernel began, until it has said so."""
        self._entries: dict[int, _Entry] = {}
        """The last entries by number: a dissector may tell of a line later."""
        self._piece = 0
        """The number of the last entry that `logger` may have cut."""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the messages say, in order; `line` is the number of the entry."""
        inner = Inner(replace(self._given, written_ns=None))  # an entry has its own time, with its year
        source = Bytes(chunks)
        junk = False
        line, length = source.line(MOST_BYTES)
        while length:
            start = source.offset - length
            text = line.strip(_BEFORE).removeprefix(_EVENT)
            following = None
            if not text:
                pass
            elif text.startswith(b"{") or _FIELD_LINE.match(text):
                self.records += 1
                source.note(line)
                whole = _json(source, text, length) if text.startswith(b"{") else _export(source, line, length)
                fields, following = whole
                length = source.offset - start - following[1]
                yield from self._say(inner, fields, source.noted(length).removesuffix(b"\n"), start, length)
            elif not junk:
                self.records += 1
                yield Damage(self._given.source, start, length, self.records, "this is no entry of a journal")
            junk = bool(text) and following is None
            line, length = following if following is not None and following[1] else source.line(MOST_BYTES)
        for read in inner.finish():
            yield self._told(read)

    def _say(
        self, inner: Inner, fields: Fields | str, raw: bytes, offset: int, length: int
    ) -> Iterator[Record | Damage | Loss]:
        """What an entry says; `fields` may be why it cannot be read."""
        if isinstance(fields, str):
            yield Damage(self._given.source, offset, length, self.records, fields)
            return
        entry = self._entries[self.records] = _entry(fields, raw)
        self._entries.pop(self.records - _LATEST, None)
        for message in _messages(fields):
            if message is None:
                sender = entry.sender[:64].decode("ascii", "backslashreplace") or "someone"
                yield Loss(self._given.source, offset, length, self.records,
                           f"a message of {sender} is left out, it has more than 4096 bytes (journalctl --all)")
                continue
            for line in message.split(b"\n"):
                if line:
                    yield from self._line(inner, line, entry, offset, length)

    def _line(
        self, inner: Inner, line: bytes, entry: _Entry, offset: int, length: int
    ) -> Iterator[Record | Damage | Loss]:
        if entry.sender == b"systemd-journald" and (found := _SUPPRESSED.fullmatch(line)):
            yield Loss(self._given.source, offset, length, self.records,
                       f"journald left out {int(found[1])} messages of {found[2].decode('ascii')}")
            return
        shown, cut = line, len(line) in LOGGER_PIECES
        if entry.header and (cut or self._piece == self.records - 1):
            self._piece = self.records if cut else 0
            shown = entry.header + line
        but = "guest" if entry.kernel else None
        for read in inner.read(shown, offset, self.records, length, but=but, goes_on=cut):
            self._start.clear()
            yield self._told(read)
        if not entry.kernel:
            return
        if entry.boot != self._boot:
            self._boot, self._on_xen = entry.boot, False
            self._start.clear()
        self._on_xen = self._on_xen or _ON_XEN.search(line) is not None
        said = [self._told(read) for read in inner.read(line, offset, self.records, length, only="guest")]
        if self._on_xen:
            yield from self._start
            self._start.clear()
            yield from said
        else:
            begun = [one for one in said if isinstance(one, Record) and one.event == GUEST_START]
            self._start = begun or self._start

    def _told(self, read: Record | Damage | Loss) -> Record | Damage | Loss:
        """A record with what its entry knows and the record does not."""
        entry = self._entries.get(read.line)
        if not isinstance(read, Record) or entry is None:
            return read
        read.raw = entry.raw
        if read.time_ns is None and entry.time_ns is not None:
            read.time_ns, read.clock = entry.time_ns, SYSLOG
        if not entry.kernel:
            read.thread = entry.thread if read.thread is None else read.thread
            read.domain = entry.domain if read.domain is None else read.domain
            read.guest = entry.guest if read.guest is None else read.guest
        return read


_Line = tuple[bytes, int]
_NO_LINE: Final[_Line] = (b"", 0)
_TOO_LARGE: Final = f"an entry of more than {MOST_BYTES} bytes"
_CUT: Final = "an entry that ends in the middle"


def _json(source: Bytes, text: bytes, length: int) -> tuple[Fields | str, _Line]:
    """An object that begins with `text`, or why it is none; and a line that was read, but belongs to what follows."""
    following = _NO_LINE
    if length > MOST_BYTES:
        return _TOO_LARGE, following
    if text == b"{":  # one field a line, until a brace alone
        parts, size = [text], length
        while True:
            line, length = source.line(MOST_BYTES)
            bare = line.strip()
            size += length
            if line.startswith(b"{") or not length:
                return _CUT, (line, length)
            if size <= MOST_BYTES:
                parts.append(line)
            if bare == b"}":
                break
        if size > MOST_BYTES:
            return _TOO_LARGE, following
        text = b"".join(parts)
    fields = _object(text)
    return ("an entry that is no object of JSON" if fields is None else fields), following


def _export(source: Bytes, line: bytes, length: int) -> tuple[Fields | str, _Line]:
    """An entry of the export format that begins with `line`; and a line that belongs to what follows."""
    fields: dict[bytes, list[bytes | None]] = {}
    broken = ""
    size = 0
    while length and line != b"\n":
        size += length
        name, equals, value = line.removesuffix(b"\n").partition(b"=")
        if line.startswith(b"{"):
            return _CUT, (line, length)
        if size > MOST_BYTES:
            broken = broken or _TOO_LARGE
        elif not line.endswith(b"\n"):
            broken = broken or _CUT
        elif not _FIELD.fullmatch(name):
            broken = broken or "an entry with a field that has no name"
        elif not equals:
            before = source.offset
            found = _binary(source, MOST_BYTES - size)
            size += source.offset - before
            if isinstance(found, str):
                broken = broken or found
            value = b"" if isinstance(found, str) else found
        if name in _WANTED and not broken:
            fields.setdefault(name, []).append(value)
        line, length = source.line(MOST_BYTES)
    return broken or fields, _NO_LINE


def _binary(source: Bytes, most: int) -> bytes | str:
    """The value of a field with its length before it, or why it cannot be had."""
    head = source.take(8)
    size = int.from_bytes(head, "little")
    if len(head) < 8:
        return _CUT
    if size > LARGEST_FIELD:
        return "an entry with a field that is longer than any"
    value = source.take(size, keep=size <= most)
    end = source.take(1)
    if size > most:
        return _TOO_LARGE
    if len(value) < size or not end:
        return _CUT
    return value if end == b"\n" else "an entry with a field that does not end where it must"


def sniff(head: bytes) -> int:
    """How sure it is that a source is such an export: its first entry, or the one after it, has journald's time."""
    for text in (head, head.partition(b"\n")[2]):
        begun = text.lstrip(_BEFORE).removeprefix(_EVENT)
        if begun.startswith(b"{") and _OBJECT_TIME.search(begun):
            return 95
        if _FIELD_LINE.match(begun) and _EXPORT_TIME.search(begun):
            return 95
    return 0


DISSECTOR = Dissector(
    "journal", "systemd's journal in JSON or in the export format, and what its messages hold",
    b'{"__REALTIME_TIMESTAMP":"1795557232844091","SYSLOG_IDENTIFIER":"qemu-system-i386","SYSLOG_PID":"7944",'
    b'"MESSAGE":"cpu_in addr 0x10(w) value 18898"}', sniff, stream=Journal,
)
