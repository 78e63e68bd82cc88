"""Nodes of xenstore as they may be shown: the nodes that everybody has keep their names, and so do short values.

Law: docs/misc/xenstore-paths.pandoc. The number of a domain becomes another; that of a PV device is the protocol's,
and stays::

    /local/domain/5/device/vbd/51712/state 4    -> /local/domain/2871/device/vbd/51712/state 4
    .../backend/qdisk/5/51712/params aio:/images/payroll.img -> .../2871/51712/params aio:/qwmeks/vbnamqx.lpt
"""

from __future__ import annotations

import re
from typing import Final

from xptrace.share.pseudonyms import Pseudonyms
from xptrace.share.texts import called, sweep
from xptrace.share.words import WORDS

_DOMAIN_AFTER: Final = frozenset(("domain", "device-model", "libxl"))
_KINDS: Final = frozenset((
    "vbd", "vbd3", "vif", "qdisk", "qnic", "tap", "console", "vkbd", "vfb", "vusb", "qusb", "pci", "vtpm", "9pfs",
    "tap2", "suspend", "nic", "disk",
))  # fmt: skip
_OF_DOMAIN: Final = frozenset(("frontend-id", "backend-id", "domid", "target-id"))
_PATH: Final = re.compile(r"/?(?:local/domain|device|backend|control|data|attr|drivers|vm|libxl)/[-/\w@.]*")


class StoreTexts:
    """Shows paths and values of xenstore."""

    def __init__(self, names: Pseudonyms) -> None:
        self._names = names

    def path(self, path: str) -> str:
        """A path, its domains under other numbers."""
        shown: list[str] = []
        parts = path.split("/")
        for at, part in enumerate(parts):
            before = parts[at - 1] if at else ""
            of_backend = at > 1 and parts[at - 2] == "backend" and before in _KINDS
            if part.isdigit() and len(part) <= 5 and (before in _DOMAIN_AFTER or of_backend):
                shown.append(str(self._names.domain(int(part))))
            elif part in WORDS or (part.isdigit() and len(part) <= 6 and (
                before in _KINDS or (at > 2 and parts[at - 3] == "backend" and parts[at - 2] in _KINDS)
            )):
                shown.append(part)
            else:
                shown.append(sweep(self._names, part, WORDS, "value"))
        return "/".join(shown)

    def value(self, path: str, value: str) -> str:
        """The value of a node."""
        node = path.rpartition("/")[2]
        if node in _OF_DOMAIN and value.isdigit() and len(value) <= 5:
            return str(self._names.domain(int(value)))
        if node in ("name", "hostname", "domain"):  # a name is one, whatever it is
            return called(self._names, value)
        return self.text(value)

    def text(self, text: str) -> str:
        """Any text that may hold paths."""
        parts: list[str] = []
        at = 0
        for found in _PATH.finditer(text):
            parts += [sweep(self._names, text[at : found.start()], WORDS, "value"), self.path(found[0])]
            at = found.end()
        return "".join([*parts, sweep(self._names, text[at:], WORDS, "value")])
