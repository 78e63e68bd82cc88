"""The skeleton of a dissector of one's own: a package that `pip install` makes known to xptrace by its entry point."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template
from typing import Final

from xptrace.errors import XptraceError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*$")

_PROJECT: Final = Template("""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "xptrace-$name"
version = "0.1.0"
description = "Reads $name for xptrace."
requires-python = ">=3.11"
dependencies = ["xptrace"]

[project.entry-points."xptrace.dissectors"]
$name = "$module:DISSECTOR"

[tool.hatch.build.targets.wheel]
include = ["$module.py"]
""")

_MODULE: Final = Template('''\
"""Lines of $name: one access of a guest to an I/O port each.

Law: whatever writes them; a real line of it::

    12.345678 win10 read 0x10 2 0x49d2
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dissectors import Dissector, Given
from dissectors.clock import MONOTONIC
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import PORT_ACCESS, READ, WRITE

NEEDLES = (re.compile(rb" read 0x"), re.compile(rb" write 0x"))
_LINE = re.compile(
    rb"(?P<second>\\d{1,9})\\.(?P<micro>\\d{6}) (?P<guest>\\S{1,64}) (?P<direction>read|write) "
    rb"0x(?P<port>[0-9a-f]{1,4}) (?P<size>[124]) 0x(?P<value>[0-9a-f]{1,8})"
)


class Accesses:
    """Reads candidate lines of one source."""

    def __init__(self, given: Given) -> None:
        self._source = given.source

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        found = _LINE.fullmatch(line)
        if found is None:
            return
        values = {
            "dir": READ if found["direction"] == b"read" else WRITE, "addr": int(found["port"], 16),
            "size": int(found["size"]), "val": int(found["value"], 16), "count": 1,
        }
        time_ns = int(found["second"]) * 10**9 + int(found["micro"]) * 1000
        guest = found["guest"].decode("utf-8", "replace")
        yield Record(self._source, offset, length, number, PORT_ACCESS, values, line, time_ns, MONOTONIC, guest=guest)


def sniff(head: bytes) -> int:
    """How sure it is, in percent, that a source with this head is of this format; 0 is certainly not."""
    return 80 if _LINE.match(head) else 0


DISSECTOR = Dissector(
    "$name", "lines of $name", b"12.345678 win10 read 0x10 2 0x49d2", sniff,
    lines=Accesses, needles=NEEDLES, vantage="host",
)
''')

_TEST: Final = Template('''\
"""The example of the dissector, read by it."""

from __future__ import annotations

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.vocabulary import PORT_ACCESS, READ
from $module import DISSECTOR, Accesses


def test_the_example_is_read() -> None:
    line = DISSECTOR.example
    (record,) = Accesses(Given("example", catalogue.load())).read(line, 0, 1, len(line))
    assert (record.event, record.guest, record.time_ns) == (PORT_ACCESS, "win10", 12_345_678_000)
    assert record.values == {"dir": READ, "addr": 0x10, "size": 2, "val": 0x49D2, "count": 1}
    assert DISSECTOR.sniff(line) == 80


def test_a_line_of_another_is_left_alone() -> None:
    assert list(Accesses(Given("example", catalogue.load())).read(b"nothing of ours", 0, 1, 16)) == []
''')


def write_skeleton(name: str, where: Path) -> list[Path]:
    """Write the package of a dissector of that name below a directory; returns its files.

    Raises XptraceError where the name is none, or where something of that name is there already.
    """
    module = "xptrace_" + name.replace("-", "_")
    if not _NAME.match(name) or keyword.iskeyword(name) or len(name) > 40:
        raise XptraceError(f"{name!r} is no name of a dissector: lower-case letters, digits and single hyphens")
    folder = where / f"xptrace-{name}"
    if folder.exists():
        raise XptraceError(f"{folder}: is there already")
    said = {"name": name, "module": module}
    files = {"pyproject.toml": _PROJECT, f"{module}.py": _MODULE, f"test_{module}.py": _TEST}
    folder.mkdir(parents=True)
    for file, template in files.items():
        (folder / file).write_text(template.substitute(said), encoding="utf-8")
    return [folder / file for file in files]
