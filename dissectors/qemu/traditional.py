r"""The log of qemu-xen-traditional, Xen's device model before upstream QEMU; Qubes and XenServer had it longest.

Law: hw/xen_platform.c, hw/pci.c, hw/ide.c, vl.c and i386-dm/helper2.c of qemu-xen-traditional, and XenServer's queue on
it (unplug-version-2.patch, constant_devfn_for_nic.patch, product-nr-3-blacklist.patch, syslog_support.patch);
xenpci/xenpci.c of GPLPV. Lines without prefix and without time: the device says what it was made to do, and what the
guest writes to the log port stands between, bare. Of a Windows guest with GPLPV::

    domid: 7
    Register xen platform.
    platform_fixed_ioport: changed ro/rw state of ROM memory area. now is rw state.
    13048960291467: qemu version = 1
    Unknown PV product 2 loaded in guest
    PV driver build 1
    region type 1 at [c100,c200).
    13048960291482: disabled qemu devices 03

No access is logged, but some lines are written for one access only: then the access follows from the line. A guest may
write any of these lines itself, and nothing tells them apart. In a file of Qubes xenconsoled's stamp stands in front,
in XenServer's daemon.log that of the syslog daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dissectors import Dissector, Given
from dissectors.clock import GUEST
from dissectors.envelope import Envelope, read_envelope
from dissectors.platform.registers import PORTS
from dissectors.platform.texts import Text, read_text
from dissectors.record import Damage, Loss, Record, Value
from dissectors.vocabulary import (
    DEVICE_LINE,
    DEVICE_START,
    DOMAIN,
    DOMAIN_LIFE,
    GUEST_LINE,
    PORT_ACCESS,
    READ,
    VIA_LOG,
    WRITE,
)
from dissectors.xen.console import MOST_DOMAIN, begins_line

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"domid: \d",
        rb"Guest uuid = ",
        rb"Watching /local/domain/\d",
        rb"/log-throttling",
        rb"ister (?:xen )?platform\.",  # Register xen platform., Done register platform.
        rb"ROM memory area",
        rb"xen platform(?:: device_id| mmio)",
        rb"PV (?:driver|product)",
        rb"Drivers (?:are|tried)",
        rb"UNPLUG: ",
        rb"region type \d",
        rb"squash iomem",
        rb"ide_unplug_",
        rb"pci_(?:dev_unplug|unplug_nic)",
        rb"net_tap_shutdown",
        rb"skipping hotplug",
        rb"throttling (?:guest|disabled|enabled)",
        rb"Issued domain \d",
        rb"128\d{11}: ",  # GPLPV's clock, 2006 to 2044
        rb"129\d{11}: ",
        rb"13\d{12}: ",
        rb"xen[a-z0-9_]{0,61}\|",  # the Windows PV drivers
        rb"XEN[A-Z0-9_]{0,61}\|",
        rb"BUGCHECK: ",
        rb"SUSPEND: ",
        rb"VETO Unplug",
        rb"ACTIVE DEVICE ",
    )
)
"""Bytes that must occur in any record of ours."""

_BEGINNING: Final = re.compile(
    rb"domid: \d|Guest uuid = |Watching /local/domain/\d|xs_watch\(/|xs_read_watch\(\) -> /|Issued domain \d"
    rb"|(?:Register xen|Done register) platform|platform_fixed_ioport: .{0,40}ROM memory area|ROM memory area"
    rb"|unable to change state of ROM memory area|xen platform: device_id|Warning: attempted |Citrix Windows PV driver"
    rb"|Unknown PV product|Guest claimed to be running PV product|PV driver|Drivers (?:are|tried)|UNPLUG: "
    rb"|region type \d|squash iomem|ide_unplug_|pci_dev_unplug|pci_unplug_nic|net_tap_shutdown|skipping hotplug"
    rb"|throttling guest|log_throttling (?:disabled|enabled)|(?:12[89]|13\d)\d{11}: |BUGCHECK: "
    rb"|xen[a-z0-9_]{0,61}\||XEN[A-Z0-9_]{0,61}\||(?:PRE-|POST-)?SUSPEND: |VETO Unplug|ACTIVE DEVICE "
)
"""How any line of ours begins: of the others nothing more is looked at."""

_DOMID: Final = re.compile(rb"domid: (?P<domain>\d{1,10})\r?")
_UUID: Final = re.compile(rb"Guest uuid = (?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\r?")
_HOME: Final = re.compile(
    rb"(?:Watching /local/domain/(?P<watched>[1-9]\d{0,4})/"
    rb"|(?:xs_watch\(|xs_read_watch\(\) -> )/local/domain/(?P<throttled>[1-9]\d{0,4})/log-throttling)"
)
"""The device model watches nodes of its own domain's home, and of Dom0's; it names no other domain."""
_ISSUED: Final = re.compile(rb"Issued domain (?P<domain>\d{1,5}) (?P<what>poweroff|reboot)\r?")
_GLUED: Final = b"throttling guest access to syslog"
"""Written without a newline, just before the line of the guest that had to wait."""
_ALSO: Final = re.compile(
    rb"(?:unable to change state of ROM memory area!"
    rb"|Warning: attempted (?:read from|write of 0x[0-9a-f]{1,8} to) physical address 0x[0-9a-f]{1,16}"
    rb" in xen platform mmio space)\r?"
)
"""Lines of the device that are no text of `texts`: flags that XenServer's could not set, and accesses to BAR1."""

_TAG: Final = b"qemu"
"""What is in the tag of a device model, where a syslog daemon wrote its lines."""
_MOST_MODELS: Final = 256
"""Device models of one source whose state is held at the same time."""


@dataclass(frozen=True, slots=True)
class _Access:
    """The access that one kind of line is written for; `field` is its value, as the text tells it."""

    direction: int
    port: int
    size: int
    field: str


_PORT: Final = PORTS.start

_FOLLOWS: Final[Mapping[str, _Access]] = {
    "product": _Access(WRITE, _PORT + 2, 2, "product"),
    "build": _Access(WRITE, _PORT, 4, "build"),
    "build before product": _Access(WRITE, _PORT, 4, "build"),  # XenServer's does not tell the build
    "product and build": _Access(WRITE, _PORT, 4, "build"),
    "version active": _Access(READ, _PORT + 2, 1, "version"),
    # version 1 is chosen by a write of it, or by a read of the version: the line does not say which
    "version chosen": _Access(WRITE, _PORT + 3, 1, "version"),
    "version read": _Access(READ, _PORT + 2, 1, "version"),  # GPLPV's own word, after the read
    # GPLPV's own word, after the write: XenPci_HideQemuDevices prints what it has written
    "mask written": _Access(WRITE, _PORT, 2, "mask"),
}
"""By the kind of a text, what access it follows from. A line about an unplug by protocol 2 does not tell the index."""
_AMBIGUOUS_VERSION: Final = 1
_SIGNED: Final = re.compile(rb"-?\d+")
_PRINTED_SIGNED: Final = frozenset({"build", "build before product", "product and build"})


@dataclass(slots=True)
class _Model:
    """What the lines of one device model have told so far.

    `numbered` is whether it told its domain, as then each that follows does; `begun`, that it has done so and has not
    registered its platform device yet. `flags` is who set the flags of which the next line tells: the device itself
    when it begins, as it does once more where its state is restored, or the guest.
    """

    domain: int | None = None
    numbered: bool = False
    begun: bool = False
    flags: Literal["begins", "restored", "guest"] = "guest"
    product: int | None = None


class TraditionalLog:
    """Reads candidate lines of one source into what the device says, what the guest says, and what follows from it."""

    def __init__(self, given: Given) -> None:
        self._source = given.source
        self._written_ns = given.written_ns
        self._models: dict[tuple[bytes, int | None], _Model] = {}

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it. Several records where several things follow."""
        before = read_envelope(line, self._written_ns)
        if _BEGINNING.match(line, before.end) is None or (before.tag and _TAG not in before.tag):
            return
        model = self._model(before)
        for one in _says(line[before.end:], model):
            if isinstance(one, str):
                yield Damage(self._source, offset, length, number, one)
                continue
            time_ns, clock = before.time_ns, before.clock
            if time_ns is None and one.guest_time_ns is not None and 0 <= one.guest_time_ns < 1 << 63:
                time_ns, clock = one.guest_time_ns, GUEST
            # the tag is the host's word, and nothing that a guest can write
            domain = next((name for name in (before.domain, one.domain, model.domain) if name is not None), None)
            yield Record(self._source, offset, length, number, one.event, one.values, line, time_ns, clock,
                         before.thread, domain=domain, derived=one.derived)

    def _model(self, before: Envelope) -> _Model:
        """The device model that wrote a line: a syslog daemon mixes those of several."""
        key = (before.tag, before.thread)
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= _MOST_MODELS:
                del self._models[next(iter(self._models))]
            model = self._models[key] = _Model()
        return model


@dataclass(frozen=True, slots=True)
class _Told:
    """One thing that a line says, before it is known where the line stands."""

    event: str
    values: Mapping[str, Value]
    domain: int | None = None
    derived: bool = False
    guest_time_ns: int | None = None


def _says(said: bytes, model: _Model) -> Iterator[_Told | str]:
    """What a line says, as records or as what is wrong with it."""
    if found := _DOMID.fullmatch(said):
        yield from _begins(int(found["domain"]), model)
    elif said.startswith(b"Guest uuid = "):
        named = _UUID.fullmatch(said)
        yield "this is no uuid" if named is None else _Told(DOMAIN, {"uuid": named["uuid"]})
    elif found := _HOME.match(said):
        domain = int(found["watched"] or found["throttled"])
        if model.domain is None and domain <= MOST_DOMAIN:
            model.domain = domain
            yield _Told(DOMAIN, {}, model.domain)
    elif found := _ISSUED.fullmatch(said):
        if 0 < int(found["domain"]) <= MOST_DOMAIN:
            yield _Told(DOMAIN_LIFE, {"what": found["what"]}, int(found["domain"]))
    elif _ALSO.fullmatch(said):
        if b"state of ROM memory area" in said:
            _set_flags(model, locked=False)
        yield _device(said)
    elif said.startswith(_GLUED):
        yield _device(_GLUED)
        yield from _waited(said[len(_GLUED):])
    elif (text := read_text(said.decode("latin-1"))) is not None:
        yield from _guest(said, text) if text.speaker == "guest" else _of_device(said, text, model)


def _device(said: bytes) -> _Told:
    return _Told(DEVICE_LINE, {"s": said})


def _begins(domain: int, model: _Model) -> Iterator[_Told | str]:
    """The first line of a device model about its domain."""
    if domain > MOST_DOMAIN:
        yield "no domain has a number that great"
    elif domain:
        model.domain, model.product = domain, None
        model.numbered = model.begun = True
        yield _Told(DEVICE_START, {}, domain)
        yield _Told(DOMAIN, {}, domain)


def _waited(rest: bytes) -> Iterator[_Told | str]:
    """The line that was glued to the throttle's: the guest's, so that a line of the device in it is an imitation."""
    text = read_text(rest.decode("latin-1"))
    if text is not None:
        yield from _guest(rest, text) if text.speaker == "guest" else [_device(rest)]


def _guest(said: bytes, text: Text) -> Iterator[_Told | str]:
    """A driver's line, and before it the access that the driver says it has made."""
    if text.kind in _FOLLOWS:
        for access in _accesses(said, text, None):
            yield access if isinstance(access, str) else _Told(
                access.event, access.values, derived=True, guest_time_ns=text.guest_time_ns)
    yield _Told(GUEST_LINE, {"s": said, "via": VIA_LOG}, guest_time_ns=text.guest_time_ns)


def _of_device(said: bytes, text: Text, model: _Model) -> Iterator[_Told | str]:
    """A line as the device writes it: the access that it was written for, or else the line itself."""
    if text.kind == "device begun" and (model.begun or not model.numbered):
        if not model.begun:  # its first line, where it runs in a stub domain
            model.domain = model.product = None
            yield _Told(DEVICE_START, {})
        model.begun, model.flags = False, "begins"
    if text.kind == "flags":
        locked = text.word("state") == "ro"
        if _set_flags(model, locked=locked):
            yield _access(_Access(WRITE, _PORT, 1, "flags"), int(locked))
        else:
            yield _device(said)
        return
    if text.kind == "flags failed":
        _set_flags(model, locked=False)
    yield from _accesses(said, text, model) or [_device(said)]


def _set_flags(model: _Model, *, locked: bool) -> bool:
    """Whether it is the guest who set the flags of which a line tells.

    A device clears them when it begins, and sets them as they were saved where its state is restored: a guest whose
    firmware is rombios clears them before it sets them.
    """
    who = model.flags
    model.flags = "restored" if who == "begins" and not locked else "guest"
    return who == "guest" or (who == "restored" and not locked)


def _accesses(said: bytes, text: Text, model: _Model | None) -> list[_Told | str]:
    """The accesses that a line follows from, in order; none where it follows from none, or does not tell the value."""
    access = _FOLLOWS.get(text.kind)
    value = None if access is None else text.integer(access.field)
    if access is None or value is None or (text.kind == "version chosen" and value == _AMBIGUOUS_VERSION):
        return []
    product = text.integer("product") if text.kind == "product and build" else None
    if value >> 8 * access.size or (product or 0) >> 16 or not _can_be_printed(said, text.kind):
        return ["the number does not fit its register"]
    before = []
    if product is not None and model is not None and product != model.product:
        # it was written in silence, at some time before the build
        before = [_access(_FOLLOWS["product"], product)]
        model.product = product
    return [*before, _access(access, value)]


def _can_be_printed(said: bytes, kind: str) -> bool:
    """Whether a build is printed as the device prints it, with the sign of 32 bits."""
    numbers: Iterable[bytes] = _SIGNED.findall(said)
    return kind not in _PRINTED_SIGNED or all(-(1 << 31) <= int(number) < 1 << 31 for number in numbers)


def _access(access: _Access, value: int) -> _Told:
    values = {"dir": access.direction, "addr": access.port, "size": access.size, "val": value, "count": 1}
    return _Told(PORT_ACCESS, values, derived=True)


_SIGNS: Final = tuple(
    tuple(re.compile(form, re.MULTILINE) for form in sign)
    for sign in (
        (rb"domid: \d{1,5}\r?$",),
        (rb"Register xen platform\.", rb"Done register platform\."),
        (rb"platform_fixed_ioport: ", rb"ROM memory area now R[OW]"),
        (rb"PV driver build -?\d", rb"Unknown PV product \d", rb"Citrix Windows PV drivers loaded",
         rb"Guest claimed to be running PV product 0"),
        (rb"UNPLUG: (?:protocol |product_id|drivers |IDE\r?$|NIC\r?$|unrecognized type )",),
        (rb"region type \d at \[", rb"squash iomem \[", rb"ide_unplug_harddisk: ", rb"pci_dev_unplug: "),
        (rb"throttling guest access to syslog", rb"log_throttling (?:dis|en)abled",
         rb"xs_watch\(/local/domain/\d{1,5}/log-throttling"),
        (rb"xen platform: device_id=",),
        (rb"128\d{11}: (?:qemu|XenPCI) ", rb"129\d{11}: (?:qemu|XenPCI) ", rb"13\d{12}: (?:qemu|disabled|XenPCI) "),
    )
)
"""Lines that this device model writes, and no other, by what they are about; the last are GPLPV's."""
_SURE, _MAY_BE, _COMMON = 80, 30, 10


def sniff(head: bytes) -> int:
    """How sure it is that a source is such a log: by how many kinds of its lines there are."""
    signs = 0
    for sign in _SIGNS:
        signs += any(begins_line(form, head) for form in sign)
        if signs > 1:
            return _SURE
    if signs:
        return _MAY_BE
    return _COMMON if begins_line(_ISSUED, head) else 0


DISSECTOR = Dissector(
    "qemu-xen-traditional", "the log of qemu-xen-traditional: what the device says, and the guest's own lines, bare",
    b"Unknown PV product 2 loaded in guest", sniff, lines=TraditionalLog, needles=NEEDLES,
)
