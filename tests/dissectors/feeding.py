"""How lines reach a dissector: those that hold a needle, and their neighbours; and what holds of whatever it yields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from dissectors import Dissector, Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record

Yield = Record | Damage | Loss


def shown(dissector: Dissector, data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """(line, offset, number, length) of every line that holds a needle, the one before it and the one after it."""
    lines = data.split(b"\n")
    ends = [1] * (len(lines) - 1) + [0]
    hit = [any(needle.search(line) for needle in dissector.needles) for line in lines]
    offset = 0
    for at, (line, end) in enumerate(zip(lines, ends, strict=True)):
        if any(hit[max(at - 1, 0) : at + 2]) and len(line) + end:
            yield line, offset, at + 1, len(line) + end
        offset += len(line) + end


def feed(dissector: Dissector, data: bytes, written_ns: int | None = None) -> list[Yield]:
    """Everything that a source says, as a reader of all of it is told."""
    assert dissector.lines is not None
    reader: Any = dissector.lines(Given("source.log", catalogue.load(), written_ns))
    found = [one for line in shown(dissector, data) for one in reader.read(*line)]
    if hasattr(reader, "finish"):
        found += reader.finish()
    return found


def records(dissector: Dissector, data: bytes, written_ns: int | None = None) -> list[Record]:
    """The same, where there is nothing but records."""
    found = feed(dissector, data, written_ns)
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


def inside(data: bytes, found: list[Yield]) -> bool:
    """Whether all that was yielded lies in the source, at the beginning of its line, in the order of the source."""
    offsets = [one.offset for one in found]
    return offsets == sorted(offsets) and all(
        one.source == "source.log" and one.length > 0 and one.offset >= 0 and one.offset + one.length <= len(data)
        and data.count(b"\n", 0, one.offset) == one.line - 1 and data[one.offset - 1 : one.offset] in (b"", b"\n")
        and (not isinstance(one, Record) or (one.time_ns is None) == (one.clock is None))
        and (not isinstance(one, Record) or one.time_ns is None or 0 <= one.time_ns < 1 << 63)
        for one in found
    )


def broken(data: bytes) -> st.SearchStrategy[bytes]:
    """The source with bits turned, pieces taken out, doubled, and put in from elsewhere."""

    def breaks(parts: list[tuple[str, int, int, bytes]]) -> bytes:
        out = data
        for kind, first, second, piece in parts:
            begin = first % (len(out) + 1)
            end = min(begin + second % 400, len(out))
            if kind == "flip" and begin < len(out):
                out = out[:begin] + bytes((out[begin] ^ (1 << second % 8),)) + out[begin + 1 :]
            elif kind == "cut":
                out = out[:begin] + out[end:]
            elif kind == "double":
                out = out[:end] + out[begin:end] + out[end:]
            else:
                out = out[:begin] + piece + out[begin:]
        return out

    place = st.integers(0, 1 << 20)
    part = st.tuples(st.sampled_from(("flip", "cut", "double", "put")), place, place, st.binary(max_size=40))
    return st.lists(part, min_size=1, max_size=8).map(breaks)
