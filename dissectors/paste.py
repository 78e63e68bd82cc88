r"""Records that were pasted into mails and trackers: what happened to their lines on the way is undone, and said.

Law: RFC 3676 (quoting, lines of at most 78 characters), RFC 2045 section 6.7 (quoted-printable), the character
references of HTML, the tags of BBCode in square brackets. Mail programs break a line at a blank before column 72 or so,
so that a record is two or three lines; the first of these was one::

    > memory_region_ops_write cpu 0 mr 0x13eefbf60 addr 0x1cf value 0xb0c0
    > size 2 name 'vbe'

The dissectors of lines read what was restored. Where a record is whole as it stands, its line is left alone; a record
that had to be restored is marked as recovered, and its place and its bytes are those of the lines as they are. A text
that a guest wrote is whole wherever it ends, so nothing is ever put to it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dissectors import Dissector, Given
from dissectors.inner import LONGEST_LINE, Bytes, Inner
from dissectors.record import Damage, Loss, Record

HEAD_BYTES: Final = 1 << 16
"""What is looked at to learn what has happened to the lines."""
MOST_LINES: Final = 4
"""Lines that one record is looked for in."""
NARROWEST: Final = 60
WIDEST: Final = 80
"""Columns between which mail programs break lines."""
_SNIFFED_LINES: Final = 200
_SOFT_LINES: Final = 64
"""Lines of quoted-printable that one line may have become: 76 characters each of at most 4096."""

_QUOTE: Final = re.compile(rb"(?:>++ ?)++")
_ENTITY: Final = re.compile(rb"&(?:(lt|gt|amp|quot|apos|nbsp)|#(\d{1,7})|#[xX]([0-9A-Fa-f]{1,6}));")
_ENTITIES: Final = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'", b"nbsp": b" "}
_HTML_TAG: Final = re.compile(rb"</?(?:pre|code|tt|br|p|div|span|blockquote)(?: [^<>]{0,200})?/?>", re.IGNORECASE)
_BBCODE: Final = re.compile(
    rb"\[/?(?:code|quote|b|i|u|pre|icode|spoiler|color|font|size)(?:=[^\[\]]{0,64})?\]", re.IGNORECASE
)
_ESCAPE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_BLANKS: Final = b"\t \xa0"
_AROUND: Final = b"\xef\xbb\xbf\r\t "
"""What may stand around a record that any reader takes as it is: a byte order mark, a carriage return, blanks."""


class Damages(NamedTuple):
    """What happened to all lines of a text, as its head shows."""

    soft: bool = False
    """It is quoted-printable: `=` at the end of a line is no end, `=3D` is `=`."""
    html: bool = False
    bbcode: bool = False


@dataclass(slots=True)
class _Line:
    """A line of the text, or several that are one: what was restored of it, and where it stands."""

    text: bytes
    raw: bytes
    offset: int
    length: int
    number: int
    count: int


# -- undoing


def _character(found: re.Match[bytes]) -> bytes:
    if found[1]:
        return _ENTITIES[found[1]]
    code = int(found[2]) if found[2] else int(found[3], 16)
    if code == 0xA0:
        return b" "
    return chr(code).encode("utf-8") if code < 0xD800 or 0xDFFF < code < 0x110000 else found[0]


def _unquoted(text: bytes) -> bytes:
    found = _QUOTE.match(text)
    return text[found.end() :] if found else text


def _undone(text: bytes, damages: Damages) -> bytes:
    """A line without what was put into it on the way; its newline is gone already."""
    if damages.soft:
        text = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text)
    text = text.removesuffix(b"\r")
    if damages.html:
        text = _ENTITY.sub(_character, _HTML_TAG.sub(b"", text))
    if damages.bbcode:
        text = _BBCODE.sub(b"", text)
    return _unquoted(text)


def _lines(source: Iterable[tuple[bytes, int]], damages: Damages) -> Iterator[_Line]:
    """The lines as they were, from (line with its newline, length); soft breaks are gone."""
    offset, number = 0, 1
    soft: list[bytes] = []
    start, first, size = 0, 1, 0
    for line, length in source:
        if not soft:
            start, first, size = offset, number, 0
        offset += length
        number += 1
        size += length
        bare = line.rstrip(b"\r\n")
        soft.append(line)
        if damages.soft and bare.endswith(b"=") and len(soft) < _SOFT_LINES and size < LONGEST_LINE:
            continue
        yield _restored(soft, damages, start, size, first)
        soft = []
    if soft:
        yield _restored(soft, damages, start, size, first)


def _restored(parts: Sequence[bytes], damages: Damages, offset: int, length: int, number: int) -> _Line:
    raw = b"".join(parts)
    if len(parts) == 1:
        text = raw.removesuffix(b"\n")
    else:
        bare = [part.rstrip(b"\r\n") for part in parts]
        text = b"".join([*(part.removesuffix(b"=") for part in bare[:-1]), bare[-1]])
    if not offset:
        text = text.removeprefix(b"\xef\xbb\xbf")
    return _Line(_undone(text, damages), raw, offset, length, number, len(parts))


# -- the records


def _joined(lines: Sequence[_Line]) -> Iterator[bytes]:
    """What lines may have been as one: broken at a blank that is gone, at one that is there, or in the middle."""
    texts = [line.text.lstrip(_BLANKS) if at else line.text for at, line in enumerate(lines)]
    yield b" ".join([*(text.rstrip(_BLANKS) for text in texts[:-1]), texts[-1].rstrip(_BLANKS)])
    yield b"".join(texts).rstrip(_BLANKS)


def _broken(line: _Line, following: _Line) -> bool:
    """Whether a mail program may have broken a line here: the next word did not fit."""
    text = following.text.strip(_BLANKS)
    word = text.partition(b" ")[0]
    return bool(text) and len(line.text) <= WIDEST and len(line.text.rstrip(_BLANKS)) + 1 + len(word) > NARROWEST


class _Trial:
    """Says how much of a record a line is, without telling anybody."""

    def __init__(self, given: Given) -> None:
        self._inner = Inner(given, everything=True)

    def values(self, text: bytes) -> int:
        """How many values the records have that the line is; 0 where it is none, -1 where it only begins as one."""
        found = 0
        for read in self._inner.read(text, 0, 1, len(text) + 1):
            if isinstance(read, Record) and not read.recovered:
                return 1 + len(read.values)
            if not isinstance(read, Loss):
                found = -1
        return found

    def best(self, lines: Sequence[_Line]) -> tuple[int, bytes]:
        """How many lines are one record, and what they are as one; the text of the first where it stands alone."""
        first = lines[0]
        if not first.text:
            return 1, b""
        best, count, chosen = self.values(first.text), 1, first.text
        stripped = first.text.strip(_BLANKS)
        if best <= 0 and stripped != first.text and (values := self.values(stripped)) > 0:
            best, chosen = values, stripped
        if not (best > 0 or self.values(stripped) < 0):
            return count, chosen
        for more in range(2, len(lines) + 1):
            last, before = lines[more - 1], lines[more - 2]
            if not _broken(before, last) or self.values(last.text.strip(_BLANKS)):
                break
            for joined in _joined(lines[:more]):
                text = joined if self.values(first.text) else joined.lstrip(_BLANKS)
                if (values := self.values(text)) > best:
                    best, count, chosen = values, more, text
                    break
        return count, chosen


class Paste:
    """Reads a pasted text into the records that its lines were."""

    def __init__(self, given: Given) -> None:
        self.records = 0
        """How many lines there were so far."""
        self.restored = 0
        """How many records there were that are none as they stand."""
        self._given = given

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """What the restored lines say, in order; `line` is the number of the first line of a record."""
        source = Bytes(chunks)
        head: list[tuple[bytes, int]] = []
        while source.offset < HEAD_BYTES and (taken := source.line(LONGEST_LINE))[1]:
            head.append(taken)
        lines = _lines(_all(head, source), _damages(b"".join(line for line, _ in head)))
        trial, inner = _Trial(self._given), Inner(self._given, everything=True)
        held: deque[_Line] = deque()
        while True:
            while len(held) < MOST_LINES and (line := next(lines, None)) is not None:
                held.append(line)
            if not held:
                break
            count, text = trial.best(list(held))
            yield from self._say(inner, trial, [held.popleft() for _ in range(count)], text)
        yield from inner.finish()

    def _say(
        self, inner: Inner, trial: _Trial, lines: list[_Line], text: bytes
    ) -> Iterator[Record | Damage | Loss]:
        self.records += sum(line.count for line in lines)
        length = sum(line.length for line in lines)
        raw = b"".join(line.raw for line in lines).removesuffix(b"\n")
        restored = text != raw
        for read in inner.read(text, lines[0].offset, lines[0].number, length):
            if isinstance(read, Record) and restored:
                if not read.recovered and (b"\n" in raw or trial.values(raw.strip(_AROUND)) <= 0):
                    self.restored += 1
                read.recovered, read.raw = True, raw
            yield read


def _all(head: Iterable[tuple[bytes, int]], source: Bytes) -> Iterator[tuple[bytes, int]]:
    yield from head
    while (taken := source.line(LONGEST_LINE))[1]:
        yield taken


# -- what has happened


_SOFT_BREAK: Final = re.compile(rb"=\r?\n")
_NO_ESCAPE: Final = re.compile(rb"=(?![0-9A-F]{2}|\r?\n|\Z)")
"""What is nowhere in quoted-printable: an `=` that neither escapes a byte nor ends a line."""


def _damages(head: bytes) -> Damages:
    """What has happened to the lines of a text that begins so."""
    return Damages(
        soft=b"=" in head and (b"=3D" in head or _SOFT_BREAK.search(head) is not None) and not _NO_ESCAPE.search(head),
        html=_ENTITY.search(head) is not None,
        bbcode=_BBCODE.search(head) is not None,
    )


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a text: some of its first records are none as they stand, but are restored.

    A healthy log is never taken for one: its records are whole. Where lines are only broken, none is longer than mail
    programs make them.
    """
    from dissectors.qemu import catalogue

    text = b"".join(head[:HEAD_BYTES].splitlines(keepends=True)[:_SNIFFED_LINES])
    lines = [line for line in text.split(b"\n") if line.strip()]
    widest = max((len(line.rstrip()) for line in lines), default=0)
    if b"\0" in text or not (
        NARROWEST - 20 < widest <= WIDEST
        or 2 * sum(line.startswith(b">") for line in lines) > len(lines)
        or _damages(text) != Damages()
    ):
        return 0
    paste = Paste(Given("", catalogue.load()))
    damaged = sum(isinstance(read, Damage) for read in paste.read([text]))
    return 60 if paste.restored > max(damaged, 1) else 0


DISSECTOR = Dissector(
    "paste", "records that were quoted, wrapped or escaped in a mail or a tracker",
    b"> memory_region_ops_write cpu 0 mr 0x13eefbf60 addr 0x1cf value 0xb0c0 \n> size 2 name 'vbe'", sniff,
    stream=Paste,
)
