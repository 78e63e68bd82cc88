r"""The log of XenServer's and XCP-ng's toolstack, /var/log/xensource.log: what xenopsd says of a domain.

Law: xapi-project/xen-api: ocaml/libs/log/debug.ml writes `[LEVEL|HOST|THREAD NAME|TASK|BRAND] TEXT` (the host is empty
nowadays) and escapes the whole as OCaml escapes a string; the texts are those of ocaml/xenopsd/xc/device.ml and
domain.ml. A syslog daemon puts its own in front::

    Dec  5 13:17:39 r620-q4 xenopsd-xc: [debug||8 ||xenops] EPOLL error on domain-202, close QMP socket
    ... xenopsd-xc: [debug||8 ||xenops] Got QMP event, domain-202: XEN_PLATFORM_PV_DRIVER_INFO
    ... xenopsd-xc: [ info||31 |VM.start R:8802b8bf4768|xenops] VM = 4ab3dfd9-f571-8900-a35a-6cced68267e3; domid = 202

The product and the build of a driver are in the event, and not in this log. A domain that is being destroyed has a uuid
that begins with `deadbeef`, which is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from dissectors import Dissector, Given
from dissectors.envelope import read_envelope
from dissectors.qemu.qmp import EVENTS, PV_DRIVER_INFO
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import DOMAIN, DOMAIN_LIFE, DRIVER_INFO, QMP_EVENT

NEEDLES: tuple[re.Pattern[bytes], ...] = (
    re.compile(rb"Got QMP event, domain-"), re.compile(rb"; domid = \d"), re.compile(rb"close (?:QMP|qmp) socket"),
)
"""Bytes that must occur in any record of ours: each is of one text of xenopsd's."""

SAYINGS: Final[tuple[tuple[re.Pattern[bytes], bytes], ...]] = tuple(
    (re.compile(text), what)
    for text, what in (
        (rb"", b"created"),
        (rb"Requesting domain (?P<reason>[a-z0-9]{1,16}|\(unknown -?\d{1,20}\))", b"asked to shut down"),
        (rb"Domain acknowledged shutdown request", b"acknowledged the request to shut down"),
        (rb"HVM guest without PV drivers: not expecting any acknowledgement",
         b"shut down without asking: no PV drivers"),
        (rb"Domain disappeared", b"disappeared"),
        (rb"suspend live = (?:true|false)", b"suspend begins"),
        (rb"suspend complete", b"suspended"),
        (rb"soft_reset", b"soft reset"),
        (rb"Domain\.destroy calling Xenctrl\.domain_destroy", b"destroyed"),
    )
)
"""What xenopsd says of a domain after its uuid and its number, and what became of the domain by that."""
LOST: Final[tuple[tuple[re.Pattern[bytes], bytes], ...]] = (
    (re.compile(rb"domain-(?P<domain>\d{1,5}): end of file, close (?:QMP|qmp) socket$"),
     b"its device model closed QMP"),
    (re.compile(rb"EPOLL error on domain-(?P<domain>\d{1,5}), close (?:QMP|qmp) socket$"),
     b"its device model's QMP broke off"),
)

_HEAD = re.compile(
    rb"\[ *(?:debug|info|warn|error|critical|app)\|[^|\]]{0,255}\|\d{1,10} [^|]{0,255}\|[^|]{0,1024}\|[^|\]]{1,64}\] "
)
_EVENT = re.compile(rb"Got QMP event, domain-(?P<domain>\d{1,5}): (?P<name>[A-Z][A-Z0-9_]{0,63})$")
_OF_A_DOMAIN = re.compile(
    rb"VM = (?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}); domid = (?P<domain>\d{1,5})(?:; (?P<text>.*))?$",
    re.DOTALL,
)
_NOBODY: Final = b"deadbeef-dead-beef-dead-beef0000"
_MOST_DOMAINS: Final = 0x7FF0
"""DOMID_FIRST_RESERVED of xen/include/public/xen.h."""


class ToolstackLog:
    """Reads candidate lines of one source into what becomes of domains."""

    def __init__(self, given: Given) -> None:
        self._source, self._written_ns = given.source, given.written_ns
        self._uuids: dict[int, bytes] = {}
        """The uuid that each domain had last."""

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        around = read_envelope(line, self._written_ns)
        head = _HEAD.match(line, around.end)
        if head is None:
            return
        for domain, event, values in self._say(line[head.end() :].rstrip(b"\r")):
            if 0 < domain < _MOST_DOMAINS:
                yield Record(self._source, offset, length, number, event, values, line, around.time_ns, around.clock,
                             around.thread, domain=domain)

    def _say(self, text: bytes) -> Iterator[tuple[int, str, Mapping[str, Value]]]:
        """The domain, the event and its values."""
        if found := _EVENT.match(text):
            name = found["name"]
            if name.decode() == PV_DRIVER_INFO:
                yield int(found["domain"]), DRIVER_INFO, {"product": None, "build": None}
            elif name.decode() in EVENTS:
                yield int(found["domain"]), QMP_EVENT, {"name": name, "reason": None}
        elif found := _OF_A_DOMAIN.match(text):
            yield from self._life(int(found["domain"]), found["uuid"], found["text"] or b"")
        else:
            for pattern, what in LOST:
                if found := pattern.match(text):
                    yield int(found["domain"]), DOMAIN_LIFE, {"what": what, "reason": None}

    def _life(self, domain: int, uuid: bytes, text: bytes) -> Iterator[tuple[int, str, Mapping[str, Value]]]:
        """Who the domain is, where that is new, and what became of it."""
        if domain < _MOST_DOMAINS and not uuid.startswith(_NOBODY) and self._uuids.get(domain) != uuid:
            self._uuids[domain] = uuid
            yield domain, DOMAIN, {"name": None, "uuid": uuid}
        for pattern, what in SAYINGS:
            if found := pattern.fullmatch(text):
                yield domain, DOMAIN_LIFE, {"what": what, "reason": found.groupdict().get("reason")}


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: xenopsd's own lines, or any of the toolstack's."""
    if re.search(rb"xenopsd(?:-xc)?: \[ *[a-z]{3,8}\|", head):
        return 80
    return 40 if _HEAD.search(head) else 0


DISSECTOR = Dissector(
    "xensource", "XenServer's and XCP-ng's toolstack log: what becomes of domains",
    b"Dec  5 13:17:39 r620-q4 xenopsd-xc: [debug||8 ||xenops] EPOLL error on domain-202, close QMP socket", sniff,
    lines=ToolstackLog, needles=NEEDLES, vantage="toolstack",
)
