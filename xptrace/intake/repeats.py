"""What is there twice: the same recording under two names, or lines that two files of a rotated log share.

Equal bytes alone prove nothing: two boots of one guest may leave the same few lines. They are the same recording if
they tell times, or are no text, or if their names say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from xptrace.intake.compression import MAGIC_BYTES, codec_of
from xptrace.intake.evidence import File
from xptrace.intake.rotation import plain_name
from xptrace.intake.source import Source

LOOK: Final = 1 << 16
"""Bytes that tell whether two files may be the same."""
LONGEST_OVERLAP: Final = 1 << 20
_MOST_LINES: Final = 20_000
_BEGINNING: Final = 1 << 12
"""Bytes that two files must share to be taken for one that was still growing."""
_CHEAP: Final = 8 << 20
"""Stored bytes that are decompressed for the sake of their end."""
_MOST_COMPARED: Final = 8
"""Files with the same beginning that each further one is compared with."""

_TIME: Final = re.compile(
    rb"(?<![\d:])(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?![\d:])"  # of day, and no MAC address
    rb"|(?<!\d)[12]\d{9}\.\d{3,9}"  # seconds since 1970
    rb"|(?<!\d)1\d{15}(?!\d)"  # microseconds, as journald has them
)


class Look(NamedTuple):
    """What the beginning of a source tells of whether it is there twice."""

    key: int
    """The same for sources that may be."""
    dated: bool
    """Whether it tells times: what is no text does, in every format that is read here."""

    @classmethod
    def at(cls, head: bytes) -> Look | None:
        """Look at the first LOOK bytes; nothing can be said where there are none."""
        if not head:
            return None
        dated = b"\0" in head or _TIME.search(head) is not None
        return cls(hash(head[:_BEGINNING] if dated else head), dated)


@dataclass(slots=True)
class _Known:
    index: int
    length: int
    digest: bytes


def repeats(sources: Sequence[Source], looks: Sequence[Look | None]) -> dict[int, tuple[int, str]]:
    """Of each source that is there twice: which other one is read for it, and why."""
    alike: dict[int, list[int]] = {}
    for index, (source, look) in enumerate(zip(sources, looks, strict=True)):
        if look is not None and not source.evidence.once:
            alike.setdefault(look.key, []).append(index)
    found: dict[int, tuple[int, str]] = {}
    for group in alike.values():
        if len(group) > 1:
            first = looks[group[0]]
            _compare(sources, group, found, dated=first is not None and first.dated)
    return found


def _compare(sources: Sequence[Source], group: list[int], found: dict[int, tuple[int, str]], *, dated: bool) -> None:
    """Compare sources that begin alike; one digest each, and of a longer one that of its beginning."""
    whole: dict[tuple[int, bytes], list[int]] = {}
    known: list[_Known] = []
    for index in group:
        length, digest, beginnings = _digests(sources[index], [one.length for one in known])
        same = whole.setdefault((length, digest), [])
        for other in same[:_MOST_COMPARED]:
            if dated or _one_name(sources[index], sources[other]):
                found[index] = other, "the same as"
                break
        else:
            same.append(index)
            if dated and length >= _BEGINNING:
                _beginning(sources, _Known(index, length, digest), known, beginnings, found)


def _beginning(
    sources: Sequence[Source], new: _Known, known: list[_Known], beginnings: dict[int, bytes],
    found: dict[int, tuple[int, str]],
) -> None:
    """A file that was copied while it still grew is the beginning of a later copy."""
    for one in known.copy():
        if one.length < new.length and beginnings.get(one.length) == one.digest:
            found[one.index] = new.index, "the beginning of"
            known.remove(one)
        elif one.length > new.length and _digests(sources[one.index], [new.length])[2].get(new.length) == new.digest:
            found[new.index] = one.index, "the beginning of"
            return
    if len(known) < _MOST_COMPARED:
        known.append(new)


def _one_name(one: Source, other: Source) -> bool:
    one_file = isinstance(one.evidence, File) and isinstance(other.evidence, File) and (
        one.evidence.identity == other.evidence.identity
    )
    return one_file or plain_name(one.path) == plain_name(other.path)


def _digests(source: Source, lengths: Iterable[int]) -> tuple[int, bytes, dict[int, bytes]]:
    """The length and the digest of what a source holds, and the digests of its beginnings of some lengths."""
    import hashlib

    wanted = sorted(set(lengths), reverse=True)
    digest = hashlib.sha256()
    length = 0
    found: dict[int, bytes] = {}
    for chunk in source.chunks():
        at = 0
        while wanted and wanted[-1] <= length + len(chunk):
            last = wanted.pop() - length
            digest.update(chunk[at:last])
            found[length + last] = digest.digest()
            at = last
        digest.update(chunk[at:])
        length += len(chunk)
    return length, digest.digest(), found


# -- lines that the end of one file and the beginning of the next share


def overlap(older: Source, newer: Source) -> int:
    """Bytes at the start of `newer` that are the end of `older` too; 0 where that is not certain, or not cheap."""
    if newer.evidence.once or older.evidence.once:
        return 0
    head = newer.head(LONGEST_OVERLAP)
    first = head[: head.find(b"\n") + 1]
    if not first or (end := _end(older)) is None or first not in end or not end.endswith(b"\n"):
        return 0
    lines = head[: head.rfind(b"\n") + 1].splitlines(keepends=True)[:_MOST_LINES]
    before = end[end.find(b"\n") + 1 :] if len(end) == LONGEST_OVERLAP else end
    shared = lines[: _shared(lines, before.splitlines(keepends=True)[-_MOST_LINES:])]
    told = {line for line in shared if _TIME.search(line)}
    return sum(map(len, shared)) if len(told) > 1 else 0


def _shared(lines: list[bytes], before: list[bytes]) -> int:
    """How many of the lines are the last ones before them: Knuth, Morris and Pratt's search, to the end of the text."""
    fallback = [0] * len(lines)
    matched = 0
    for at in range(1, len(lines)):
        while matched and lines[at] != lines[matched]:
            matched = fallback[matched - 1]
        matched += lines[at] == lines[matched]
        fallback[at] = matched
    matched = 0
    for line in before:
        while matched and (matched == len(lines) or line != lines[matched]):
            matched = fallback[matched - 1]
        matched += line == lines[matched]
    return matched


def _end(source: Source) -> bytes | None:
    """The last bytes of a source; None where all of it would have to be decompressed for them."""
    region = source.evidence.region
    if region is not None:
        with region.reader() as reader:
            if codec_of(reader.at(0, MAGIC_BYTES)) is None:
                return reader.at(max(0, reader.size - LONGEST_OVERLAP), LONGEST_OVERLAP)
    if (source.evidence.stored or 0) > _CHEAP:
        return None
    end = b""
    for chunk in source.chunks():
        end = (end + chunk)[-LONGEST_OVERLAP:]
    return end if source.truncated is None else None
