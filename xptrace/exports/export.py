"""The contract of an export: a case, written in the format of somebody else's tool.

An export is declared once, in a module of its own that this room's table names, and writes bytes to a file that
appears whole or not at all. What it is given is the case: `case.entries()` in order, `case.findings`, the tables::

    EXPORT = Export("pcapng", "recorded traffic for Wireshark and scapy", ".pcapng", write)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from xptrace.errors import XptraceError


@dataclass(frozen=True, slots=True)
class Export:
    """One format: its name, what it is for, the suffix of its files, and how a case is written in it.

    `write` is given the case and the open file, and raises XptraceError where an optional package is missing. `binary`
    says that it is not for a terminal; `chooses`, that it is of one negotiation, and `write` takes `vm` and `boot`.
    """

    name: str
    title: str
    suffix: str
    write: Callable[..., None]
    binary: bool = True
    chooses: bool = False


FORMATS: Final[dict[str, str]] = {
    "pcapng": "xptrace.exports.pcapng",
    "pcap": "xptrace.exports.pcap",
    "parquet": "xptrace.exports.parquet", "tables": "xptrace.exports.tables", "sqlite": "xptrace.exports.sqlite",
    "perfetto": "xptrace.exports.perfetto", "timesketch": "xptrace.exports.timesketch",
    "l2tcsv": "xptrace.exports.l2tcsv", "ecs": "xptrace.exports.ecs", "mermaid": "xptrace.exports.mermaid",
}
"""The module that declares each format, by its name."""


def exporter(name: str) -> Export:
    """The export of that name; raises XptraceError where there is none."""
    module = FORMATS.get(name)
    if module is None:
        raise XptraceError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    found: Export = import_module(module).EXPORT
    return found


def missing(package: str, extra: str) -> XptraceError:
    """The error that says what to install."""
    return XptraceError(f"this needs {package}: pip install 'xptrace[{extra}]'")
