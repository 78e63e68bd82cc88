r"""What `xenstore-ls` lists, as a tree or (`-f`) by whole paths, with or without (`-p`) permissions: nodes of guests.

Law: tools/xenstore/xenstore_client.c (Xen 4.18 and later: tools/xs-clients), `do_ls` and `sanitise_value`::

    local = ""
     domain = ""
      1 = ""
       name = "linux-default"
       vm = "/vm/e0c1fcbf-70a5-4541-aa58-\..."
    /local/domain/1/device/vbd/768/state = "1"   (n1,r0)

The tree stands one column deeper for each level, and only one that begins at the root tells what its paths are. A value
is written as the command writes it: what is not printable as `\t`, `\n`, `\r`, `\\`, octal or hexadecimal, a quotation
mark as it is. In the tree a value that does not fit into the terminal, or into 80 columns where there is none, is cut
and ends in `\...`, which no whole value has: it stays here as it is shown. A node that may not be read ends in a colon.

There is no time in it: whoever saved the listing may know when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from dissectors import Dissector, Given
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import DOMAIN, STORE_NODE
from dissectors.xen.nodes import identity, owner

LONGEST_LINE: Final = 1 << 16
"""A path has at most 3072 bytes (XENSTORE_ABS_PATH_MAX), a value 4096 (XENSTORE_PAYLOAD_MAX), four for each of them."""
LONGEST_PATH: Final = 3072
CUT: Final = b"\\..."

_NODE: Final = re.compile(
    rb'(?P<indent> *)(?P<path>[-/\w@]+)(?: = "(?P<value>.*)"(?: [ .]*)?|:)(?:  \([nrwb\d,]*\))?', re.DOTALL
)
_TREE: Final = re.compile(rb'(?m)^local = "[^\n]*\n domain = "')
_WHOLE: Final = re.compile(rb'(?m)^/(?:local/domain/\d{1,5}|vm|libxl|tool)(?:/[-/\w@]+)? = "[^\n]*"(?: |\r?$)')


class Listing:
    """Reads the bytes of one source into the nodes that it lists."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._above: list[bytes | None] = []
        """The paths from the root to the last node of the tree; missing where one is not known."""
        self.records = 0

    def read(self, chunks: Iterable[bytes]) -> Iterator[Record | Damage | Loss]:
        """The nodes of guests, in order; `Record.line` is the line's number."""
        for line, offset, length in _lines(chunks):
            self.records += 1
            if line is None:
                self._above.clear()
                yield self._damage(offset, length, "a line longer than any of a listing")
            else:
                yield from self._line(line, offset, length)

    def _damage(self, offset: int, length: int, reason: str) -> Damage:
        return Damage(self._source, offset, length, self.records, reason)

    def _line(self, line: bytes, offset: int, length: int) -> Iterator[Record | Damage]:
        text = line.rstrip(b"\r")
        found = _NODE.fullmatch(text)
        depth = len(text) - len(text.lstrip(b" "))
        if found is None:
            if text.strip():
                self._place(depth, None)
                yield self._damage(offset, length, "this line is none of a listing")
            return
        path: bytes | None = found["path"]
        if not found["path"].startswith(b"/"):
            if depth > len(self._above):
                yield self._damage(offset, length, "the node above this one is not there")
            path = self._place(depth, found["path"])
        value = found["value"]
        guest = None if path is None or value is None else owner(path, None)
        if path is None or value is None or guest is None:
            return
        yield Record(self._source, offset, length, self.records, STORE_NODE, {"path": path, "value": value}, line,
                     domain=guest)
        told = None if value.endswith(CUT) else identity(path, value, None)
        if told is not None:
            yield Record(self._source, offset, length, self.records, DOMAIN, told, line, domain=guest)

    def _place(self, depth: int, name: bytes | None) -> bytes | None:
        """The path of a node of the tree, which now is the last one; None where it is not known."""
        del self._above[depth:]
        while len(self._above) < depth < LONGEST_PATH:
            self._above.append(None)
        if depth >= LONGEST_PATH:
            return None
        parent = self._above[-1] if self._above else b""
        path = None if name is None or parent is None else b"%s/%s" % (parent, name)
        if path is not None and len(path) > LONGEST_PATH:
            path = None
        self._above.append(path)
        return path


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[bytes | None, int, int]]:
    """Each line without its newline, and its place, offset and length with the newline; only that of one too long."""
    pending = bytearray()
    skipped = offset = 0
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pending += chunk[start:end]
            length = skipped + len(pending) + 1
            yield None if length > LONGEST_LINE else bytes(pending), offset, length
            offset, start, skipped = offset + length, end + 1, 0
            pending.clear()
        pending += chunk[start:]
        if len(pending) > LONGEST_LINE:
            skipped += len(pending)
            pending.clear()
    if length := skipped + len(pending):
        yield None if length > LONGEST_LINE else bytes(pending), offset, length


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a listing, and nothing else: most of its first lines must be of it."""
    if not (_WHOLE.search(head) or _TREE.search(head)):
        return 0
    lines = head.splitlines()[:40]
    if len(lines) > 1 and not head.endswith(b"\n"):
        lines = lines[:-1]  # the head ends in mid-line
    ours = sum(_NODE.fullmatch(line) is not None for line in lines)
    return 90 if ours * 10 >= len(lines) * 9 else 0


DISSECTOR = Dissector(
    "xenstore-ls", "a listing of xenstore, as a tree or by whole paths: nodes of guests",
    b'/local/domain/1/control/feature-suspend = "1"   (n1)', sniff, stream=Listing, vantage="store",
)
