"""Write a synthetic recording of QEMU's simple trace back end, version 4: a text log's events, as binary records.

Law: QEMU's trace/simple.c, as `dissectors.qemu.simpletrace_records` declares it. A block of records is built with that
declaration; after that it comes again and again, with times that go on.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Final, get_args

from benchmarks.generate import Kind, accesses
from dissectors.qemu import catalogue
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import EventDeclaration
from dissectors.qemu.inverse import Value
from dissectors.qemu.simpletrace import TYPE_EVENT, TYPE_NAME
from dissectors.qemu.simpletrace_records import arguments, records
from dissectors.qemu.writing import form_of

VERSION: Final = (10, 0)
_BLOCK_EVENTS: Final = 50_000
_PROCESS: Final = 3859
_START_NS: Final = 15_000_000_000
_TIME: Final = struct.Struct("<Q")
_TIME_AT: Final = 16  # after the type and the event


def _argument(value: Value) -> Value:
    """What the record has for what the text has: a character is its number, no pointer is zero."""
    if value is None:
        return 0
    return value[0] if isinstance(value, bytes) and len(value) == 1 else value


class _Events:
    """The numbers of the events of a recording, and their records."""

    def __init__(self) -> None:
        self._catalogue: Catalogue = catalogue.load()
        self._declarations: dict[str, tuple[int, EventDeclaration]] = {}

    def names(self) -> Iterator[bytes]:
        """A record for each event that has been met: its number and its name."""
        for name, (number, _) in self._declarations.items():
            body = {"event": number, "name": name.encode()}
            yield records("little").tagged.build({"type": TYPE_NAME, "body": body})

    def record(self, line: str, time_ns: int) -> bytes:
        """The record of an event that is given as its line in a text log."""
        name, _, rest = line.partition(" ")
        if name not in self._declarations:
            declaration = form_of(name, VERSION, self._catalogue)
            if declaration is None:
                raise ValueError(f"{name} is no event of QEMU {VERSION[0]}.{VERSION[1]}")
            self._declarations[name] = len(self._declarations), declaration
        number, declaration = self._declarations[name]
        values = next(found for one in self._catalogue.patterns(name.encode())
                      if (found := one.match(rest.encode(), 0)) is not None)
        said = [_argument(values[one.name]) for one in declaration.arguments]
        body = {"event": number, "time_ns": time_ns, "pid": _PROCESS,
                "arguments": arguments(declaration, "little").build(said)}
        built: bytes = records("little").tagged.build({"type": TYPE_EVENT, "body": body})
        return built


def batches(events: int, kind: Kind, seed: int = 0) -> Iterator[bytes]:
    """Stretches of a recording of so many events."""
    named, times = _Events(), random.Random(seed + 1)
    time_ns = _START_NS
    block: list[bytes] = []
    places: list[tuple[int, int]] = []
    size = 0
    for line in chain.from_iterable(accesses(kind, seed)):
        if len(block) == min(events, _BLOCK_EVENTS):
            break
        time_ns += 100_000 + times.getrandbits(18)
        places.append((size + _TIME_AT, time_ns))
        block.append(named.record(line, time_ns))
        size += len(block[-1])
    yield records("little").header.build({"version": 4, "unused": None})
    yield from named.names()
    text = bytearray(b"".join(block))
    for times_before in count():
        left = events - times_before * len(block)
        if left <= 0:
            return
        for at, first_ns in places:
            _TIME.pack_into(text, at, first_ns + times_before * (time_ns - _START_NS))
        yield bytes(text if left >= len(block) else text[: places[left][0] - _TIME_AT])


def write(path: Path, *, events: int, kind: Kind = "dense", seed: int = 0) -> int:
    """Write a recording of so many events; returns its bytes."""
    with path.open("wb") as file:
        for batch in batches(events, kind, seed):
            file.write(batch)
        return file.tell()


def main() -> int:
    """Write one recording, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simpletrace", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="FILE")
    parser.add_argument("--events", type=int, default=100_000, metavar="N", help="how many events (100000)")
    parser.add_argument("--kind", choices=get_args(Kind), default="dense")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bytes (0)")
    options = parser.parse_args()
    size = write(options.path, events=options.events, kind=options.kind, seed=options.seed)
    print(f"{options.path}: {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
