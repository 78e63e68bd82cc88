r"""Needles for the kernel: what a needle's expression must find, as sequences of sets of bytes.

A needle is a regular expression that begins with a literal (`dissectors.Dissector.needles`). The kernel looks for all
of them at once, as patterns of known length; one expression may become several. Where an expression goes on without
end, or longer than is of use, its beginning is the pattern, and the expression itself decides about the lines found::

    addr 0x1[0-9a-f][ (]     one pattern of ten sets
    PV (?:driver|product)    two patterns
    xen[a-z0-9_]{0,61}\|     xen, and then the expression
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, Protocol

from dissectors.kernel import BUCKETS, MOST_PATTERNS, PLACES, Kernel
from xptrace.intake.source import Window

_LONGEST: Final = 40
_MOST_WAYS: Final = 32
"""Sets of a pattern, and patterns of an expression, at most."""
_SAMPLE: Final = 1 << 14
"""Bytes that tell how frequent each byte is."""
_AT_ONCE: Final = 1 << 12
_NEWLINE: Final = 0x0A
_ALL: Final = (1 << 256) - 1
_DIGITS: Final = sum(1 << byte for byte in b"0123456789")
_WORD: Final = _DIGITS | 1 << ord("_") | sum(1 << upper | 1 << upper + 32 for upper in range(ord("A"), ord("Z") + 1))
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "S": _ALL & ~sum(1 << byte for byte in b" \t\n\r\f\v")}

Way = tuple[tuple[int, ...], bool]
"""Sets of bytes, each the bits of a number; and whether that is all that the expression asks for."""


class _Reader:
    """Reads the part of the syntax of `re` that needles are written in; raises ValueError at anything else."""

    def __init__(self, expression: str) -> None:
        self._text, self._at = expression, 0

    def all(self) -> list[Way]:
        ways = self._branches()
        if self._at < len(self._text):
            raise ValueError(f"no end of {self._text}")
        return ways

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _branches(self) -> list[Way]:
        ways = self._sequence()
        while self._peek() == "|":
            self._take()
            ways += self._sequence()
        return ways

    def _sequence(self) -> list[Way]:
        ways: list[Way] = [((), True)]
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            least, most = self._times()
            for _ in range(least):
                ways = _both(ways, atom)
            if most == least + 1:
                ways = ways + _both(ways, atom)
            elif most != least:
                ways = [(sets, False) for sets, _ in ways]
        return ways

    def _times(self) -> tuple[int, int | None]:
        sign = self._peek()
        if sign in ("?", "*", "+"):
            self._take()
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[sign]
        elif sign == "{":
            end = self._text.index("}", self._at)
            first, comma, last = self._text[self._at + 1 : end].partition(",")
            least, most = int(first), (int(last) if last else None) if comma else int(first)
            self._at = end + 1
        else:
            return 1, 1
        if self._peek() in ("?", "+"):  # how eagerly makes no difference to whether
            self._take()
        return least, most

    def _atom(self) -> list[Way]:
        sign = self._take()
        if sign == "(":
            if self._text[self._at : self._at + 2] != "?:":
                raise ValueError(f"no plain group in {self._text}")
            self._at += 2
            ways = self._branches()
            if self._take() != ")":
                raise ValueError(f"no end of a group in {self._text}")
            return ways
        if sign == "[":
            return [((self._class(),), True)]
        if sign == "\\":
            return [((self._escape(),), True)]
        if sign in ".^$)*+?{":
            raise ValueError(f"{sign} in {self._text}")
        return [((1 << ord(sign),), True)]

    def _escape(self) -> int:
        sign = self._take()
        if sign.isalnum() and sign not in _CLASSES:
            raise ValueError(f"\\{sign} in {self._text}")
        return _CLASSES.get(sign, 1 << ord(sign))

    def _class(self) -> int:
        others = self._peek() == "^"
        if others:
            self._take()
        found = 0
        while (sign := self._take()) != "]":
            if sign == "\\":
                found |= self._escape()
            elif self._peek() == "-" and self._text[self._at + 1] != "]":
                self._take()
                found |= sum(1 << byte for byte in range(ord(sign), ord(self._take()) + 1))
            else:
                found |= 1 << ord(sign)
        return _ALL & ~found if others else found


def _both(ways: Sequence[Way], more: Sequence[Way]) -> list[Way]:
    """One after the other; no further behind what is not all."""
    done: list[Way] = []
    for sets, whole in ways:
        if not whole or len(sets) >= _LONGEST:
            done.append((sets, False))
        else:
            done += [(sets + others, also) for others, also in more]
    if len(done) > _MOST_WAYS:
        return [(sets, False) for sets, _ in ways]
    return done


def ways(needle: re.Pattern[bytes]) -> list[Way] | None:
    """The patterns of one needle; None where it has a part that is not understood, or is too short."""
    if needle.flags & (re.IGNORECASE | re.VERBOSE):
        return None
    try:
        found = _Reader(needle.pattern.decode("latin-1")).all()
    except (ValueError, IndexError):
        return None
    return found if all(len(sets) >= PLACES for sets, _ in found) else None


class Lines(NamedTuple):
    """Lines of a window that hold one of some needles: start, end and number (from 0) of each.

    `newlines` are all that the window has, without those ahead.
    """

    found: Sequence[tuple[int, int, int]]
    newlines: int
    needles: Sequence[re.Pattern[bytes]]

    def since(self, at: int, number: int) -> Lines:
        """Those from the line on that begins at a place and has a number, counted from there."""
        first = bisect_left(self.found, at, key=itemgetter(0))
        found = [(start - at, end - at, line - number) for start, end, line in self.found[first:]]
        return Lines(found, self.newlines - number, self.needles)


class Search(Protocol):
    """Looks for the lines of a window that hold any of some needles, also beside another thread that works."""

    @property
    def needles(self) -> Sequence[re.Pattern[bytes]]:
        """What it looks for."""
        ...

    def lines(self, window: Window) -> Lines:
        """The lines of the window that hold a needle, and those ahead that do."""
        ...


def search(kernel: Kernel | None, needles: Sequence[re.Pattern[bytes]], sample: bytes) -> Search | None:
    """What looks for these needles quickest in what is like the sample; None where nothing quicker is at hand."""
    try:
        return Linewise(needles) if kernel is None else Kernelwise(kernel, needles, sample)
    except ValueError:
        return None


class Linewise:
    """Looks for needles by RE2, in Arrow, line by line."""

    def __init__(self, needles: Sequence[re.Pattern[bytes]]) -> None:
        """Raises ValueError where RE2 does not know the syntax of one."""
        self.needles = tuple(needles)
        self._expression = "|".join(f"(?:{needle.pattern.decode('latin-1')})" for needle in needles)
        if not needles or any(needle.flags & (re.IGNORECASE | re.VERBOSE) for needle in needles):
            raise ValueError("none, or not as they are written")
        self.lines(Window(0, b"\n"))

    def lines(self, window: Window) -> Lines:
        """The lines of the window that hold a needle, and those ahead that do."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        data = window.data
        ends = np.flatnonzero(np.frombuffer(data, dtype="u1") == _NEWLINE) + 1
        newlines = int(np.searchsorted(ends, window.size, side="right"))
        if not data.endswith(b"\n"):
            ends = np.append(ends, len(data))
        bounds = np.concatenate((np.zeros(1, dtype="<i4"), ends.astype("<i4")))
        lines = pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(bounds), pa.py_buffer(data)])
        held = pc.match_substring_regex(lines, pattern=self._expression).to_numpy(zero_copy_only=False)
        numbers = np.flatnonzero(held)
        found = zip(bounds[numbers].tolist(), bounds[numbers + 1].tolist(), numbers.tolist(), strict=True)
        return Lines(list(found), newlines, self.needles)


class Kernelwise:
    """Looks for needles by the kernel."""

    def __init__(self, kernel: Kernel, needles: Sequence[re.Pattern[bytes]], sample: bytes) -> None:
        """Raises ValueError where the kernel cannot look for one."""
        self.needles = tuple(needles)
        self._kernel = kernel
        patterns: dict[tuple[int, ...], bool] = {}
        for needle in needles:
            found = ways(needle)
            if found is None:
                raise ValueError(f"{needle.pattern!r} is no sequence of sets")
            for sets, whole in found:
                patterns[sets] = whole and patterns.get(sets, True)
        self._sure = all(patterns.values())
        self._patterns = _laid_out(list(patterns), sample[:_SAMPLE])

    def lines(self, window: Window) -> Lines:
        """The lines of the window that hold a needle, and those ahead that do."""
        data, out = window.data, array("Q", bytes(8 * 3 * _AT_ONCE))
        found: list[tuple[int, int, int]] = []
        at = number = 0
        while at < len(data):
            count, at, number = self._kernel.search(data, at, self._patterns, out, number)
            found += zip(out[0 : 3 * count : 3], out[1 : 3 * count : 3], out[2 : 3 * count : 3], strict=True)
        if not self._sure:
            found = [(start, end, line) for start, end, line in found if self._holds(data, start, end)]
        return Lines(found, number - data.count(b"\n", window.size), self.needles)

    def _holds(self, data: bytes, start: int, end: int) -> bool:
        return any(needle.search(data, start, end) for needle in self.needles)


def _rarest(patterns: Sequence[tuple[int, ...]], sample: bytes) -> Iterator[int]:
    """Of each pattern, where the three places in a row begin that the sample has least often, and then the others."""
    import numpy as np

    text = np.frombuffer(sample, dtype="u1")
    members = np.array([list(bits.to_bytes(32, "little")) for bits in {bits for sets in patterns for bits in sets}])
    found = np.unpackbits(members.astype("u1"), axis=1, bitorder="little").astype(bool)
    places = {int.from_bytes(bytes(row), "little"): one[text] for row, one in zip(members.tolist(), found, strict=True)}
    for sets in patterns:
        here = [places[bits] for bits in sets]
        threes = zip(here, here[1:], here[2:], strict=False)
        counts = [np.count_nonzero(first[:-2] & second[1:-1] & third[2:]) for first, second, third in threes]
        yield counts.index(min(counts))


def _laid_out(patterns: Sequence[tuple[int, ...]], sample: bytes) -> bytes:
    """The patterns as the kernel takes them: length, the first of the three rarest places, bucket, and the sets."""
    if not patterns or len(patterns) > MOST_PATTERNS:
        raise ValueError(f"{len(patterns)} patterns")
    keyed = [(key, sets) for key, sets in zip(_rarest(patterns, sample), patterns, strict=True)]
    keyed.sort(key=lambda one: one[1][one[0] : one[0] + PLACES])  # like beside like, so that a bucket has few
    laid = bytearray()
    for index, (key, sets) in enumerate(keyed):
        laid += bytes((len(sets), key, index * BUCKETS // len(keyed)))
        laid += b"".join(bits.to_bytes(32, "little") for bits in sets)
    return bytes(laid)


def unknown(needles: Iterable[re.Pattern[bytes]], known: Iterable[re.Pattern[bytes]]) -> list[re.Pattern[bytes]]:
    """The needles that are not among those that are known."""
    expressions = {needle.pattern for needle in known}
    return [needle for needle in needles if needle.pattern not in expressions]
