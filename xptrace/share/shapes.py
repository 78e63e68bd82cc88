"""A record's line as it may be shown, by the dissector that read it: what the format says stays, values are others.

Law: the dissectors, each for its format. A line is put together anew from what was understood of it; what none of this
understands is not shown at all. That holds also for a hostile guest: it can fill the values, and not the shapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dissectors.envelope import read_envelope
from dissectors.platform.texts import BUGCHECKS
from dissectors.qemu import prefix as line_prefix
from dissectors.qemu.catalogue import Catalogue
from dissectors.qemu.declaration import INTEGER, POINTER, STRING
from dissectors.qemu.inverse import EventPattern
from dissectors.qemu.qmp import EVENTS
from dissectors.qemu.writing import print_event
from dissectors.record import Record, Value
from dissectors.vocabulary import DRIVER_INFO, GUEST_START, STORE_NODE
from dissectors.xen.libxl import CALLS, LIBXL, XL
from dissectors.xen.libxl import Form as ToolstackForm
from xptrace.share.logbytes import LogBytes
from xptrace.share.pseudonyms import Pseudonyms
from xptrace.share.stamps import Stamps
from xptrace.share.store import StoreTexts
from xptrace.share.texts import GuestTexts, called, sweep
from xptrace.share.words import WORDS


def _str(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shows lines of every format that can be shown."""

    names: Pseudonyms
    stamps: Stamps
    guest: GuestTexts
    store: StoreTexts
    catalogue: Catalogue
    log: LogBytes
    shift_s: int = 0

    def line(self, dissector: str, record: Record) -> bytes | None:
        """The line of a record without its newline; None where it cannot be shown."""
        show = _SHAPES.get(dissector)
        shown = None if show is None else show(self, record)
        if shown is None:
            return None
        line = shown if isinstance(shown, bytes) else shown.encode("utf-8", "surrogateescape")
        return line.replace(b"\n", b" ")

    def untold(self, dissectors: Iterable[str], raw: bytes) -> bytes | None:
        """A line that no dissector says anything of, but by which others are read; None where it is none of them."""
        text = _str(raw)
        for name in dissectors:
            for pattern in _SIDE_LINES.get(name, ()):
                if (found := pattern.fullmatch(text)) is not None:
                    return self._side_line(found).encode("utf-8", "surrogateescape")
        return None

    def other(self, raw: bytes) -> bytes:
        """Any line, by patterns alone."""
        return self._around(_str(raw), None).encode("utf-8", "surrogateescape")

    def _around(self, text: str, record: Record | None) -> str:
        time_ns, guest = (None, None) if record is None else (record.time_ns, record.guest)
        return self.stamps.prefix(text.encode("utf-8", "surrogateescape"), time_ns, guest)

    def _side_line(self, found: re.Match[str]) -> str:
        parts: list[str] = []
        at = 0
        for name in found.re.groupindex:
            start, end = found.span(name)
            if start < 0:
                continue
            parts.append(found.string[at:start])
            parts.append(self._piece(name, found[name]))
            at = end
        return "".join([*parts, found.string[at:]])

    def _piece(self, name: str, text: str) -> str:
        if name == "before":
            return self._around(text, None)
        if name == "pointer":
            return self.names.pointer(text)
        if name == "domain":
            return str(self.names.domain(int(text)))
        return re.sub(r"[1-9]", "1", text)


Shown = str | bytes | None
Shape = Callable[[Shapes, Record], Shown]


# -- QEMU's trace events

_COPIES: Final = re.compile(rb"message repeated (?P<count>\d{1,9}) times: \[ ?(?P<text>.*?)(?P<end>\]?)\Z", re.DOTALL)
_TOLD_NUMBERS: Final = (
    "handle_ioreq", "cpu_", "memory_region_", "pci_", "xen_map_p", "xen_unmap_p", "xen_map_m", "xen_unmap_m", "xen_pv_",
    "xen_ioreq_server", "xen_netdev_", "xen_block_", "xen_device_", "runstate_set", "vm_state_", "qemu_system_",
    "system_", "xen_console_",
)
"""Events whose numbers are the protocol's; of others they may be addresses, sizes or handles."""
_TEXT_NODES: Final = ("path", "node", "key", "token", "value", "str", "chrdev", "info", "peer")


def _textlog(shapes: Shapes, record: Record) -> Shown:
    raw = record.raw
    found = line_prefix.read(raw)
    if found is not None and found.name == b"message" and (copies := _COPIES.match(raw, found.end)) is not None:
        inner = _textlog(shapes, Record(record.source, record.offset, record.length, record.line, record.event,
                                        record.values, copies["text"], record.time_ns, record.clock, record.thread,
                                        record.guest))
        if not isinstance(inner, bytes):
            return None
        carrier = shapes.stamps.prefix(raw[: found.end], record.time_ns).encode("utf-8", "surrogateescape")
        return carrier + b"message repeated %s times: [ %s%s" % (copies["count"], inner, copies["end"])
    if record.recovered or found is None or found.name.decode() != record.event:
        return _recovered(shapes, record)
    before = shapes.stamps.prefix(raw[: found.end], record.time_ns, found.guest)
    body = _event(shapes, record, raw, found.end + len(found.name) + 1)
    if body is None:
        return None
    return before.encode("utf-8", "surrogateescape") + found.name + b" " + body


def _event(shapes: Shapes, record: Record, raw: bytes, start: int) -> bytes | None:
    """The arguments of an event, in the form in which they were printed."""
    line = (raw if len(raw) >= start else raw + b" ").removesuffix(b"\r")
    for pattern in shapes.catalogue.patterns(record.event.encode()):
        if (found := pattern.regex.fullmatch(line, start)) is None:
            continue
        parts: list[bytes] = []
        at = start
        for group, column in enumerate(pattern.columns, 1):
            begin, end = found.span(group)
            parts += [line[at:begin], _argument(shapes, record, pattern, column.name, column.kind, line[begin:end])]
            at = end
        return b"".join([*parts, line[at:]])
    return None


def _argument(shapes: Shapes, record: Record, pattern: EventPattern, name: str, kind: str, text: bytes) -> bytes:
    event = record.event
    if kind == POINTER:
        return shapes.names.pointer(_str(text)).encode() if text != b"(nil)" else text
    if kind == INTEGER:
        return _integer(shapes, record, pattern, name, text)
    if kind != STRING:
        return text
    if event == "xen_platform_log":
        return shapes.guest.log(record.text("s"))  # of pieces all, not the first alone
    said = _str(text)
    if event.startswith(("xs_node_", "xenstore_")) or name in _TEXT_NODES:
        path = _str(record.text("path") or record.text("node"))
        shown = shapes.store.path(said) if name in ("path", "node", "key") else shapes.store.value(path, said)
    else:
        shown = said if said.isdigit() and len(said) <= 6 and name in ("name", "dev") else sweep(
            shapes.names, said, WORDS)
    return shown.encode("utf-8", "surrogateescape")


def _integer(shapes: Shapes, record: Record, pattern: EventPattern, name: str, text: bytes) -> bytes:
    if name == "xen_domid":
        return b"%d" % shapes.names.domain(int(text))
    if not record.event.startswith(_TOLD_NUMBERS):
        return re.sub(rb"[1-9a-f](?=[0-9a-f]*\Z)", b"1", text) if text[:2] != b"0x" else b"0x" + re.sub(
            rb"[1-9a-f]", b"1", text[2:])
    value = shapes.log.instead(record, name)
    if value is None:
        return text
    letter = next(one.letter for one in pattern.declaration.elements()
                  if not isinstance(one, bytes) and one.argument.name == name)
    return (b"0x%x" if text[:2] == b"0x" else b"%x" if letter == "x" else b"%d") % value


def _recovered(shapes: Shapes, record: Record) -> Shown:
    """A record that was found inside of a line: it alone, with what says that it did not stand at the beginning."""
    for declaration in shapes.catalogue.declarations(record.event.encode()):
        kinds = {one.name: one.kind for one in declaration.arguments}
        values = {name: _value(shapes, record, name, value, kinds.get(name)) for name, value in record.values.items()}
        try:
            was, now = print_event(declaration, record.values), print_event(declaration, values)
        except ValueError:
            continue
        at = record.raw.find(was)
        if at < 0:
            continue
        stamp = re.search(rb"\d{1,10}@\d{1,11}\.\d{6}:\Z", record.raw[:at])
        before = shapes.stamps.dates(_str(stamp[0])).encode() if stamp and record.time_ns is not None else b""
        return b"~ " + before + now
    return None


def _value(shapes: Shapes, record: Record, name: str, value: Value, kind: str | None) -> Value:
    if isinstance(value, int):
        if (instead := shapes.log.instead(record, name)) is not None:
            return instead
        if kind == POINTER:
            return int(shapes.names.pointer(f"{value:x}"), 16)
        return value if record.event.startswith(_TOLD_NUMBERS) else 0
    if record.event == "xen_platform_log" and value is not None:
        return shapes.guest.log(value)
    if value is None or kind != STRING:
        return value
    return shapes.store.text(_str(value)).encode("utf-8", "surrogateescape")


# -- lines of the traditional device model, the hypervisor, the guest's kernel

_OF_MODEL: Final = tuple(re.compile(form) for form in (
    r"domid: (?P<domain>\d{1,10})", r"Guest uuid = (?P<uuid>\S{36})",
    r"Watching (?P<path>/local/domain/\d{1,5}/.*)",
    r"xs_watch\((?P<path>/local/domain/\d{1,5}/log-throttling)(?P<rest>.*)",
    r"xs_read_watch\(\) -> (?P<path>/local/domain/\d{1,5}/log-throttling)(?P<rest>.*)",
    r"Issued domain (?P<domain>\d{1,5}) (?:poweroff|reboot)", r"unable to change state of ROM memory area!",
    (r"Warning: attempted (?:read from|write of 0x[0-9a-f]{1,8} to) physical address 0x[0-9a-f]{1,16}"
     r" in xen platform mmio space"),
))  # fmt: skip
_GLUED: Final = "throttling guest access to syslog"


def _traditional(shapes: Shapes, record: Record) -> Shown:
    before = read_envelope(record.raw)
    head = shapes.stamps.prefix(record.raw[: before.end], record.time_ns)
    said = _str(record.raw[before.end :]).removesuffix("\r")
    for form in _OF_MODEL:
        if (found := form.fullmatch(said)) is not None:
            return head + _groups(shapes, found)
    if said.startswith(_GLUED):
        said = said.removeprefix(_GLUED)
        head += _GLUED
    return head.encode("utf-8", "surrogateescape") + shapes.guest.log(said.encode("utf-8", "surrogateescape"))


def _groups(shapes: Shapes, found: re.Match[str], keep: Iterable[str] = ()) -> str:
    """What a pattern found: its own words, and its groups by their names."""
    parts: list[str] = []
    at = 0
    spans = sorted((*found.span(name), name) for name in found.re.groupindex if found[name] is not None)
    for start, end, name in spans:
        parts += [found.string[at:start], _group(shapes, name, found[name], keep)]
        at = end
    return "".join([*parts, found.string[at:]])


def _group(shapes: Shapes, name: str, text: str, keep: Iterable[str] = ()) -> str:
    if name.startswith("domain"):
        return str(shapes.names.domain(int(text)))
    if name == "uuid":
        return shapes.names.uuid(text)
    if name == "path":
        return shapes.store.path(text)
    if name == "pid":
        return shapes.names.process(text)
    if name == "pointer":
        return shapes.names.pointer(text)
    if name in ("name", "argument"):
        return called(shapes.names, text)
    if name in ("reason", "value", "what", "code"):
        return text
    return sweep(shapes.names, text, keep or WORDS)


_CONSOLE: Final = re.compile(
    r"\((?:XEN|d(?P<domain>[1-9]\d{0,4}))\) "
    r"(?P<stamp>(?:\[(?: *\d{1,10}\.\d{6}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?|[0-9a-f]{16})\] )?)"
)
_OF_HVM: Final = re.compile(r"HVM(?P<domain>[1-9]\d{0,4}): ")
_OF_VCPU: Final = r"(?P<place>(?:\S{1,128}:\d{1,6}:)?)d(?P<domain>\d{1,5})v\d{1,5} "
_OF_XEN: Final = tuple(re.compile(form) for form in (
    _OF_VCPU + r"VIRIDIAN CRASH: (?P<numbers>[0-9a-f]{1,16}(?: [0-9a-f]{1,16}){4})",
    r"Domain (?P<domain>\d{1,5}) \(vcpu#\d{1,5}\) crashed on cpu#\d+:",
    r"Domain (?P<domain>\d{1,5}) reported crashed by domain (?P<domain2>\d{1,5}) on cpu#\d+:",
    _OF_VCPU + r"Triple fault (?:on VCPU\d{1,5} )?- invoking HVM shutdown action \d{1,3}\.?",
    _OF_VCPU + r"(?:DOM(?P<domain2>\d{1,5}): )?[Aa]ll CPUs offline -- powering off\.",
))  # fmt: skip


def _console(shapes: Shapes, record: Record) -> Shown:
    before = read_envelope(record.raw)
    text = _str(record.raw[before.end :]).removesuffix("\r")
    begun = _CONSOLE.match(text)
    if begun is None:
        return None
    head = shapes.stamps.prefix(record.raw[: before.end], record.time_ns)
    who = "XEN" if begun["domain"] is None else f"d{shapes.names.domain(int(begun['domain']))}"
    head += f"({who}) {shapes.stamps.dates(begun['stamp'])}"
    said = text[begun.end() :]
    if begun["domain"] is None and (old := _OF_HVM.match(said)) is not None:
        head += f"HVM{shapes.names.domain(int(old['domain']))}: "
        said = said[old.end() :]
    elif begun["domain"] is None:
        for form in _OF_XEN:
            if (found := form.fullmatch(said)) is not None:
                return head + _crash(shapes, found)
        return None
    return head.encode("utf-8", "surrogateescape") + shapes.guest.log(said.encode("utf-8", "surrogateescape"))


def _crash(shapes: Shapes, found: re.Match[str]) -> str:
    text = _groups(shapes, found)
    numbers = found.groupdict().get("numbers")
    if numbers is None:
        return text
    code, *parameters = numbers.split()
    code = code if int(code, 16) in BUGCHECKS else shapes.names.digits(code, "pointer")
    told = " ".join([code, *(shapes.names.digits(one, "pointer") for one in parameters)])
    return text[: text.index("VIRIDIAN CRASH: ")] + f"VIRIDIAN CRASH: {told}"


_BANNER: Final = re.compile(rb"(?P<kernel>Linux version \d+\.\d+|Copyright \(c\) (?:1992-\d{4} The FreeBSD Project\."
                            rb"|1995-\d{4} OpenBSD\. All rights reserved\.)|NetBSD \d+(?:\.\d+)?)")


def _guest_kernel(shapes: Shapes, record: Record) -> Shown:
    said = record.text("s")
    at = record.raw.rfind(said)
    if at < 0:
        return None
    head = shapes.stamps.prefix(record.raw[:at], record.time_ns)
    if record.recovered:  # somebody else's line begins here
        head = "~ " + head[head.rfind("[") :]
    if record.event != GUEST_START:
        return head.encode("utf-8", "surrogateescape") + shapes.guest.kernel(said)
    found = _BANNER.match(said)
    if found is None:
        return None
    end = b" (-)" if found["kernel"].startswith((b"Linux", b"NetBSD")) else b""
    return head.encode("utf-8", "surrogateescape") + found["kernel"] + end


# -- xenstore

_OXENSTORED: Final = re.compile(
    r"(?P<stamp>\[\d{8}T\d\d:\d\d:\d\d\.\d{3}Z\] +)(?:A(?P<socket>\d{1,10})|D(?P<domain>\d{1,5}))"
    r"(?P<transaction>(?:\.\d{1,10})?)(?P<operation> +(?:write|rm) +)(?P<path>[-/\w@]+)(?: (?P<value>.*))?", re.DOTALL
)
_XENSTORED: Final = re.compile(
    r"(?P<head>(?:io: )?IN )(?P<connection>0x[0-9a-f]{1,16}) (?:\(d(?P<domain>\d{1,5})\) )?"
    r"(?P<stamp>\d{8} \d\d:\d\d:\d\d) (?P<operation>WRITE|RM) \((?P<path>[-/\w@]+) (?P<value>.*)\)", re.DOTALL
)


def _oxenstored(shapes: Shapes, record: Record) -> Shown:
    found = _OXENSTORED.fullmatch(_str(record.raw))
    if found is None:
        return None
    who = f"A{found['socket']}" if found["domain"] is None else f"D{shapes.names.domain(int(found['domain']))}"
    value = "" if found["value"] is None else " " + shapes.store.value(found["path"], found["value"])
    return (shapes.stamps.dates(found["stamp"]) + who + found["transaction"] + found["operation"]
            + shapes.store.path(found["path"]) + value)


def _xenstored(shapes: Shapes, record: Record) -> Shown:
    found = _XENSTORED.fullmatch(_str(record.raw))
    if found is None:
        return None
    who = "" if found["domain"] is None else f"(d{shapes.names.domain(int(found['domain']))}) "
    return (f"{found['head']}{shapes.names.pointer(found['connection'])} {who}{shapes.stamps.dates(found['stamp'])} "
            f"{found['operation']} ({shapes.store.path(found['path'])} "
            f"{shapes.store.value(found['path'], found['value'])})")


_CUT: Final = "\\..."


def _listing(shapes: Shapes, record: Record) -> Shown:
    """A node by its whole path, also out of a tree."""
    if record.event != STORE_NODE:
        return None
    path, value = _str(record.text("path")), _str(record.text("value"))
    end = _CUT if value.endswith(_CUT) else ""
    return f'{shapes.store.path(path)} = "{shapes.store.value(path, value.removesuffix(_CUT))}{end}"'


# -- the toolstack

_LIBXL_SOURCE: Final = re.compile(r"libxl: (?:\w{3,8}: )?libxl\w{0,60}\.c:\d{1,6}:(?P<function>\w{1,80}): ")
_LIBXL_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:[A-Za-z]\w{0,5}|[+-]\d{2,4}) (?:\[\d{1,10}\] )?")
_SUSPENDED: Final = "Domain has suspended."
_ACTION: Final = re.compile(r"Action for (?:unknown )?shutdown reason code (?P<reason>-?\d{1,10}) is "
                            r"(?P<what>destroy|restart|rename-restart|preserve|coredump-destroy|coredump-restart"
                            r"|soft-reset)")
_CALL: Final = re.compile(r"Domain (?P<domain>\d{1,5}):ao (?P<pointer>0x[0-9a-f]{1,16}): create: .*", re.DOTALL)
_ARGUMENT: Final = re.compile(r"Domain (?P<domain>\d{1,5}):  (?P<argument>.*)", re.DOTALL)
_TYPE: Final = re.compile(r"(xc: info: Saving domain \d{1,5}, type ).*")


def _libxl(shapes: Shapes, record: Record) -> Shown:
    text = _str(record.raw).removesuffix("\r")
    end = read_envelope(record.raw).end
    head = shapes.stamps.prefix(record.raw[:end], record.time_ns)
    text = text[len(_str(record.raw[:end])) :]
    if (stamp := _LIBXL_STAMP.match(text)) is not None:
        zone = " UTC " if " UTC " in stamp[0] else " LOC "
        head += shapes.stamps.dates(stamp[0][:19]) + zone
        text = text[stamp.end() :]
    if (source := _LIBXL_SOURCE.match(text)) is not None:
        function = source["function"]
        if function.encode() not in CALLS:
            function = "callback"
        head += f"libxl: debug: libxl.c:1:{function}: "
        text = text[source.end() :]
    return None if (shown := _toolstack(shapes, text)) is None else head + shown


def _toolstack(shapes: Shapes, text: str) -> str | None:
    if text == _SUSPENDED:
        return text
    if (found := _CALL.fullmatch(text)) is not None:
        return (f"Domain {shapes.names.domain(int(found['domain']))}:ao {shapes.names.pointer(found['pointer'])}: "
                "create: -")
    for form in (*XL, *LIBXL):
        if (shown := _by_bytes(shapes, form, text)) is not None:
            return shown
    for pattern in (_ACTION, _ARGUMENT):
        if (found := pattern.fullmatch(text)) is not None:
            return _groups(shapes, found)
    return None


_FREE_PARTS: Final = re.compile(r"(?<=, type ).*|(?<=:issuing ).*?(?= suspend request)")


def _by_bytes(shapes: Shapes, form: ToolstackForm, text: str) -> str | None:
    """A line by a form of the dissector's; what its pattern leaves open, and is in no group, is left out."""
    raw = text.encode("utf-8", "surrogateescape")
    found = form.pattern.fullmatch(raw)
    if found is None:
        return None
    parts: list[str] = []
    at = 0
    spans = sorted((*found.span(name), name) for name in form.pattern.groupindex if found[name] is not None)
    for start, end, name in spans:
        parts += [_str(raw[at:start]), _group(shapes, name, _str(raw[start:end]))]
        at = end
    line = "".join([*parts, _str(raw[at:])])
    return _FREE_PARTS.sub("x86 HVM" if ", type " in line else "PVHVM", line)


_XAPI_HEAD: Final = re.compile(
    r"\[(?P<level> *(?:debug|info|warn|error|critical|app))\|[^|\]]{0,255}\|(?P<thread>\d{1,10}) [^|]{0,255}"
    r"\|[^|]{0,1024}\|[^|\]]{1,64}\] "
)
_XAPI: Final = tuple(re.compile(form) for form in (
    r"Got QMP event, domain-(?P<domain>\d{1,5}): [A-Z][A-Z0-9_]{0,63}",
    r"domain-(?P<domain>\d{1,5}): end of file, close (?:QMP|qmp) socket",
    r"EPOLL error on domain-(?P<domain>\d{1,5}), close (?:QMP|qmp) socket",
    r"VM = (?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}); domid = (?P<domain>\d{1,5})(?:; (?P<text>.*))?",
))  # fmt: skip
_XAPI_TEXTS: Final = frozenset((
    "requesting", "domain", "hard", "shutdown", "clean", "reboot", "suspend", "poweroff", "halt", "s3", "crash",
    "unknown", "acknowledged", "request", "hvm", "guest", "without", "pv", "drivers", "not", "expecting", "any",
    "acknowledgement", "disappeared", "live", "true", "false", "complete", "soft_reset", "soft", "reset", "destroy",
    "calling", "xenctrl", "domain_destroy",
))  # fmt: skip


def _xapi(shapes: Shapes, record: Record) -> Shown:
    end = read_envelope(record.raw).end
    text = _str(record.raw[end:]).removesuffix("\r")
    begun = _XAPI_HEAD.match(text)
    if begun is None:
        return None
    head = shapes.stamps.prefix(record.raw[:end], record.time_ns) + f"[{begun['level']}||{begun['thread']} ||xenops] "
    for form in _XAPI:
        if (found := form.fullmatch(text[begun.end() :])) is not None:
            if "QMP event" in form.pattern and record.event not in (DRIVER_INFO, "qmp_event"):
                return None
            return head + _groups(shapes, found, _XAPI_TEXTS)
    return None


# -- QMP

_QMP_WORDS: Final = WORDS | frozenset((
    "guest", "host", "error", "qmp", "signal", "ui", "shutdown", "reset", "panic", "subsystem", "snapshot", "load",
    "pause", "poweroff", "run",
))  # fmt: skip


def _qmp(shapes: Shapes, record: Record) -> Shown:
    """The event anew, with what is understood of it alone."""
    end = read_envelope(record.raw).end
    raw = record.raw[end:]
    head = shapes.stamps.prefix(record.raw[:end], record.time_ns)
    if record.event == DRIVER_INFO:
        data = {"product-num": record.integer("product"), "build-num": record.integer("build")}
        if b'"return"' in raw:
            return head + json.dumps({"return": data})
        return head + json.dumps({**_stamp(shapes, record), "event": "XEN_PLATFORM_PV_DRIVER_INFO", "data": data})
    name = _str(record.text("name"))
    if name not in EVENTS:
        return None
    data_: dict[str, Any] = {}
    reason = _str(record.text("reason"))
    if reason:
        shown = sweep(shapes.names, reason, _QMP_WORDS)
        data_ = {"guest": reason == "guest"} if reason in ("guest", "host") else {_REASON.get(name, "reason"): shown}
    return head + json.dumps({**_stamp(shapes, record), "event": name, "data": data_})


_REASON: Final[Mapping[str, str]] = {"DEVICE_DELETED": "device", "GUEST_PANICKED": "action"}
"""Where an event tells its reason, unless it is called so."""


def _stamp(shapes: Shapes, record: Record) -> dict[str, Any]:
    if record.time_ns is None:
        return {}
    second, rest = divmod(record.time_ns, 10**9)
    return {"timestamp": {"seconds": second + shapes.shift_s, "microseconds": rest // 1000}}


# -- the kernel's trace

_KVM: Final = re.compile(rb"(?P<text>(?:kvm:)?kvm_pio: *pio_(?:read|write) at 0x[0-9a-f]{1,4} size [124]"
                         rb" count \d{1,10})"
                         rb"(?: val 0x(?P<val>[0-9a-f]{1,8})(?P<more>(?: \(\.\.\.\))?))?(?P<end>[ \r]*)\Z")


def _kvm(shapes: Shapes, record: Record) -> Shown:
    found = _KVM.search(record.raw)
    if found is None:
        return None
    head = shapes.stamps.prefix(record.raw[: found.start()], record.time_ns).encode("utf-8", "surrogateescape")
    if found["val"] is None:
        return head + found["text"]
    value = shapes.log.instead(record, "val")
    told = int(found["val"], 16) if value is None else value
    return head + found["text"] + b" val 0x%x" % told + found["more"] + found["end"]


_SHAPES: Final[Mapping[str, Shape]] = {
    "qemu-log": _textlog, "qemu-xen-traditional": _traditional, "xen-console": _console, "guest-kernel": _guest_kernel,
    "oxenstored": _oxenstored, "xenstored": _xenstored, "xenstore-ls": _listing, "libxl": _libxl, "xensource": _xapi,
    "qmp": _qmp, "kvm": _kvm,
}
SHOWN: Final = frozenset(_SHAPES)
"""The dissectors whose lines can be shown."""
_SIDE_LINES: Final[Mapping[str, tuple[re.Pattern[str], ...]]] = {
    "xenstored": tuple(re.compile(form) for form in (
        r"(?:obj: )?(?:CREATE|DESTROY) connection (?P<pointer>0x[0-9a-f]{1,16})", r"Checking store \.\.\.", r"\*\*\*",
        (r"(?:io: )?IN (?P<pointer>0x[0-9a-f]{1,16}) (?:\(d\d{1,5}\) )?(?P<before>\d{8} \d\d:\d\d:\d\d) INTRODUCE "
         r"\((?P<domain>\d{1,5}) (?P<number>\d{1,20} \d{1,10}) \)"),
    )),
    "libxl": (re.compile(r"(?P<before>.{0,200}libxl: (?:\w{3,8}: )?libxl\w{0,60}\.c:\d{1,6}:\w{1,80}: )"
                         r"Domain (?P<domain>\d{1,5}):  -name"),),
}  # fmt: skip
"""Lines that say nothing by themselves: whose a connection is, and that the next argument is a name."""
