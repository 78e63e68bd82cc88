r"""What is written to the log port, line by line: the drivers' texts, and the device's own among them, as typed texts.

Law: src/xen/unplug.c, src/xen/bug_check.c, src/xen/module.c, src/xenbus/suspend.c and src/xenfilt/driver.c of the
Windows PV drivers (win-xenbus); xenpci/xenpci.c of GPLPV; hw/xen_platform.c, hw/pci.c and hw/ide.c of
qemu-xen-traditional, and XenServer's queue on it. A line of each, without what the recording puts in front of it::

    UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)
    xen|BUGCHECK: ====>
    13048960291467: qemu version = 1
    platform_fixed_ioport: changed ro/rw state of ROM memory area. now is ro state.

Whoever writes to the log port may write any of them: a text is the guest's word. The traditional device model writes
its own lines bare into the same file, and nothing tells them from a guest's forgery: their speaker is unproven.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Value = int | str | bool | tuple[int, ...]
Author = Literal[
    "windows", "gplpv", "qemu-xen-traditional", "xenserver-trad", "linux", "xenlinux", "freebsd", "netbsd", "openbsd",
]
"""Whose source has the text: the Windows PV drivers, GPLPV, a lineage of the traditional device model, or a kernel."""
Speaker = Literal["guest", "unproven"]
"""Who said it, as far as anything proves: the guest, or somebody who may be the device or a guest that imitates it."""

BUGCHECKS: Final[Mapping[int, str]] = {
    0x0A: "IRQL_NOT_LESS_OR_EQUAL",
    0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
    0x24: "NTFS_FILE_SYSTEM",
    0x3B: "SYSTEM_SERVICE_EXCEPTION",
    0x50: "PAGE_FAULT_IN_NONPAGED_AREA",
    0x77: "KERNEL_STACK_INPAGE_ERROR",
    0x7A: "KERNEL_DATA_INPAGE_ERROR",
    0x7B: "INACCESSIBLE_BOOT_DEVICE",
    0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
    0x8E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
    0x9F: "DRIVER_POWER_STATE_FAILURE",
    0xC2: "BAD_POOL_CALLER",
    0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    0xEF: "CRITICAL_PROCESS_DIED",
    0xF4: "CRITICAL_OBJECT_TERMINATION",
    0x101: "CLOCK_WATCHDOG_TIMEOUT",
    0x133: "DPC_WATCHDOG_VIOLATION",
    0x139: "KERNEL_SECURITY_CHECK_FAILURE",
    0x1000007E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M",
    0x1000008E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED_M",
}
"""Windows' stop codes with their names, as bugcodes.h has them; the drivers write either the one or the other."""
_CODES: Final = {name: code for code, name in BUGCHECKS.items()}


@dataclass(frozen=True, slots=True)
class Text:
    """One line, understood: its kind, whose source has it, its numbers and words.

    `module` and `function` are those that a Windows driver puts in front; `guest_time_ns` is the guest's own clock, in
    nanoseconds since 1970, where the line carries it.
    """

    kind: str
    author: Author
    fields: Mapping[str, Value] = field(default_factory=dict)
    module: str | None = None
    function: str | None = None
    guest_time_ns: int | None = None

    @property
    def speaker(self) -> Speaker:
        """Who said it, as far as anything proves."""
        return "unproven" if self.author in ("qemu-xen-traditional", "xenserver-trad") else "guest"

    def integer(self, name: str) -> int | None:
        """The number of that name, missing where the text has none."""
        value = self.fields.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool | None:
        """Whether what the name says is so, missing where the text does not tell."""
        value = self.fields.get(name)
        return value if isinstance(value, bool) else None

    def word(self, name: str) -> str | None:
        """The word of that name, missing where the text has none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else None

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers of that name, none where the text has none."""
        value = self.fields.get(name)
        return value if isinstance(value, tuple) else ()


def _hex(text: str) -> int:
    return int(text, 16)


def _hexes(text: str) -> tuple[int, ...]:
    return tuple(int(part, 16) for part in text.split())


def _is(_text: str) -> bool:
    return True


def _unsigned(text: str) -> int:
    """A 32-bit number that was printed with a sign."""
    return int(text) & 0xFFFFFFFF


def _halves(text: str) -> int:
    """A 64-bit number that was printed as two halves with a dot between."""
    return int(text.replace(".", ""), 16)


@dataclass(frozen=True, slots=True)
class Form:
    """One text as its source prints it: the kind, the author, the pattern of the whole line, what its groups are.

    `reads` makes a value of each named group that is there; `always` are values that the words alone stand for.
    """

    kind: str
    author: Author
    pattern: re.Pattern[str]
    reads: Mapping[str, Callable[[str], Value]] = field(default_factory=dict)
    always: Mapping[str, Value] = field(default_factory=dict)

    def read(self, line: str) -> dict[str, Value] | None:
        """The values of a line, or None where it has another form."""
        found = self.pattern.fullmatch(line)
        if found is None:
            return None
        return {**self.always, **{
            name: read(found[name]) for name, read in self.reads.items() if found[name] is not None
        }}


def _windows(kind: str, pattern: str, /, **reads: Callable[[str], Value]) -> Form:
    return Form(kind, "windows", re.compile(pattern), reads)


_ADDRESS: Final = "[0-9A-F]{8,16}"

WINDOWS: Final[tuple[Form, ...]] = (
    Form("unplug preamble", "windows", re.compile(r"UNPLUG: PRE-AMBLE \(DRIVERS NOT BLACKLISTED\)"),
         always={"blacklisted": False}),
    Form("unplug preamble", "windows", re.compile(r"UNPLUG: PRE-AMBLE \(DRIVERS BLACKLISTED\)"),
         always={"blacklisted": True}),
    Form("unplug disks", "windows", re.compile(r"UNPLUG: DISKS"), always={"auxiliary": False}),
    Form("unplug disks", "windows", re.compile(r"UNPLUG: AUX DISKS"), always={"auxiliary": True}),
    _windows("unplug nics", r"UNPLUG: NICS"),
    _windows("boot emulated", r"UNPLUG: BOOT_EMULATED (?P<value>-?\d{1,10})", value=int),
    _windows("unplug veto", r"VETO Unplug (?P<device>VBD|VIF)", device=str.lower),
    Form("active device", "windows",
         re.compile(r"ACTIVE DEVICE PRESENT(?P<forced> \(FORCED\))?(?: (?P<state>PENDING|DISABLED))?"),
         {"forced": _is, "state": str.lower}, {"present": True, "forced": False}),
    Form("active device", "windows",
         re.compile(r"ACTIVE DEVICE NOT PRESENT(?P<forced> \(FORCED\))?(?: (?P<state>PENDING|DISABLED))?"),
         {"forced": _is, "state": str.lower}, {"present": False, "forced": False}),
    _windows("suspend begin", r"SUSPEND: ====>"),
    _windows("suspend shutdown", r"SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend ====>"),
    _windows("suspend return", r"SUSPEND: SCHEDOP_shutdown:SHUTDOWN_suspend <==== \((?P<status>[0-9a-fA-F]{8})\)",
             status=_hex),
    _windows("suspend early", r"SUSPEND: EARLY \((?P<cpu>\d{1,5})\)", cpu=int),
    _windows("suspend late", r"SUSPEND: LATE \((?P<cpu>\d{1,5})\)", cpu=int),
    _windows("suspend end", r"SUSPEND: <===="),
    _windows("suspend timer",
             r"(?P<side>PRE|POST)-SUSPEND: (?P<clock>SystemTime|TickCount|PerformanceCounter)"
             r" = (?P<value>[0-9a-fA-F]{8}\.[0-9a-fA-F]{8})"
             r"(?: \((?:TimeIncrement|Frequency) = (?P<rate>[0-9a-fA-F]{8}(?:\.[0-9a-fA-F]{8})?)\))?",
             side=str.lower, clock=str, value=_halves, rate=_halves),
)
"""Lines of the Windows PV drivers, with or without a module in front."""

BUGCHECK: Final[tuple[Form, ...]] = (
    _windows("bugcheck begin", r"====>"),
    _windows("bugcheck end", r"<===="),
    _windows("bugcheck code", rf"(?P<code>[0-9A-F]{{8}}): (?P<parameters>{_ADDRESS}(?: {_ADDRESS}){{3}})",
             code=_hex, parameters=_hexes),
    _windows("bugcheck code", rf"(?P<name>[A-Z][A-Z0-9_]{{2,63}}): (?P<parameters>{_ADDRESS}(?: {_ADDRESS}){{3}})",
             name=str, parameters=_hexes),
    _windows("bugcheck exception", rf"EXCEPTION \((?P<address>{_ADDRESS})\):", address=_hex),
    _windows("bugcheck context", rf"CONTEXT \((?P<address>{_ADDRESS})\):", address=_hex),
    _windows("bugcheck stack", r"STACK:"),
    _windows("bugcheck value", r"- (?P<name>[A-Za-z0-9]{1,16}(?:\[\d{1,2}\])?) = (?P<value>[0-9A-F]{4,16})",
             name=str, value=_hex),
    _windows("bugcheck frame",
             rf"(?P<stack>{_ADDRESS}): \((?P<parameters>{_ADDRESS}(?: {_ADDRESS}){{2,3}})\)"
             rf" (?P<module>\S{{1,64}}) \+ (?P<offset>{_ADDRESS})",
             stack=_hex, parameters=_hexes, module=str, offset=_hex),
    _windows("bugcheck frame",
             rf"(?P<stack>{_ADDRESS}): \((?P<parameters>{_ADDRESS}(?: {_ADDRESS}){{2,3}})\) (?P<address>{_ADDRESS})",
             stack=_hex, parameters=_hexes, address=_hex),
)
"""What stands after `BUGCHECK: ` in a crash block; any other words there are a `bugcheck line`."""

WINDOWS_BY_FUNCTION: Final[tuple[tuple[re.Pattern[str], Form], ...]] = (
    (re.compile(r"ModuleAdd"),
     _windows("module", rf"(?P<start>{_ADDRESS}) - (?P<end>{_ADDRESS}) \[(?P<name>[^\]]{{0,260}})\]",
              start=_hex, end=_hex, name=str)),
    (re.compile(r"DriverSetFilterState"), _windows("filter state", r"(?P<state>PENDING|DISABLED)", state=str.lower)),
    (re.compile(r"(?:Driver|Config)(?:Set|Update)Active(?:DeviceInstance)?"),
     _windows("active device id",
              r"PCI\\VEN_5853&DEV_(?P<device_id>[0-9A-Fa-f]{4})\S{0,32}?(?:&REV_(?P<revision>[0-9A-Fa-f]{2}))?[\\/].{0,500}",
              device_id=_hex, revision=_hex)),
)
"""Words that mean something only where this function of a driver says them."""

GPLPV: Final[tuple[Form, ...]] = tuple(
    Form(kind, "gplpv", re.compile(pattern), reads)
    for kind, pattern, reads in (
        ("version read", r"qemu version = (?P<version>\d{1,3})", {"version": int}),
        ("blacklisted", r"qemu we are blacklisted", {}),
        ("version unknown", r"unknown qemu version (?P<version>\d{1,3})", {"version": int}),
        ("mask written", r"disabled qemu devices (?P<mask>[0-9a-f]{2,4})", {"mask": _hex}),
    )
)
"""What stands after GPLPV's clock; any other words there are a `gplpv line`."""


def _device(
    author: Author, kind: str, pattern: str, /, always: Mapping[str, Value] | None = None,
    **reads: Callable[[str], Value],
) -> Form:
    return Form(kind, author, re.compile(pattern), reads, always or {})


_TRAD: Final[Author] = "qemu-xen-traditional"
_XS: Final[Author] = "xenserver-trad"

DEVICE: Final[tuple[Form, ...]] = (
    _device(_TRAD, "device begun", r"Register xen platform\."),
    _device(_TRAD, "device created", r"Done register platform\."),
    _device(_TRAD, "flags", r".{0,80}now is (?P<state>rw|ro) state\.", state=str),
    _device(_TRAD, "flags failed", r".{0,80}unable to change ro/rw state of ROM memory area!"),
    _device(_TRAD, "product", r"Citrix Windows PV drivers loaded in guest", {"product": 1}),
    _device(_TRAD, "product", r"Unknown PV product (?P<product>\d{1,10}) loaded in guest", product=int),
    _device(_TRAD, "product", r"Guest claimed to be running PV product 0\?", {"product": 0}),
    _device(_TRAD, "build", r"PV driver build (?P<build>-?\d{1,10})", build=_unsigned),
    _device(_TRAD, "verdict", r"Drivers are blacklisted!", {"blacklisted": True}),
    _device(_TRAD, "build before product",
            r"Drivers tried to set their version number \((?P<build>-?\d{1,10})\) before setting the product number\?",
            build=_unsigned),
    _device(_TRAD, "region removed",
            r"region type (?P<type>\d) at \[(?P<start>[0-9a-f]{1,16}),(?P<end>[0-9a-f]{1,16})\)\.",
            type=int, start=_hex, end=_hex),
    _device(_TRAD, "memory removed", r"squash iomem \[(?P<start>[0-9a-f]{1,16}), (?P<end>[0-9a-f]{1,16})\)\.",
            start=_hex, end=_hex),
    _device(_TRAD, "throttle", r"log_throttling disabled", {"enabled": False}),
    _device(_TRAD, "throttle", r"log_throttling enabled", {"enabled": True}),
    # printed without a newline: whatever is written next is glued to it
    _device(_TRAD, "throttled", r"throttling guest access to syslog(?P<glued>.*)", glued=str),
    _device(_XS, "version chosen", r"UNPLUG: protocol version set to (?P<version>\d{1,3}) \(drivers blacklisted\)",
            {"blacklisted": True}, version=int),
    _device(_XS, "version chosen", r"UNPLUG: protocol version set to (?P<version>\d{1,3}) \(drivers not blacklisted\)",
            {"blacklisted": False}, version=int),
    _device(_XS, "version active", r"UNPLUG: protocol (?P<version>\d{1,3}) active", version=int),
    _device(_XS, "product and build",
            r"UNPLUG: product_id: (?P<product>\d{1,10}) build_number: (?P<build>-?\d{1,10})",
            product=int, build=_unsigned),
    _device(_XS, "build before product", r"UNPLUG: product_id has not been set"),
    _device(_XS, "verdict", r"UNPLUG: drivers blacklisted", {"blacklisted": True}),
    _device(_XS, "verdict", r"UNPLUG: drivers not blacklisted", {"blacklisted": False}),
    _device(_XS, "unplug of a type", r"UNPLUG: (?P<type>IDE|NIC)", type=str),
    _device(_XS, "unplug of an unknown type", r"UNPLUG: unrecognized type (?P<type>[0-9a-f]{2})", type=_hex),
    _device(_XS, "disk removed", r"ide_unplug_harddisk: drive (?P<drive>\d)", drive=int),
    _device(_XS, "function removed", r"(?:pci_dev_unplug|pci_unplug_nic): (?P<said>.{0,200})", said=str),
    _device(_XS, "tap removed", r"net_tap_shutdown: model=(?P<said>.{0,200})", said=str),
    _device(_XS, "passthrough kept", r"skipping hotplug device"),
    _device(_XS, "flags", r"ROM memory area now (?P<state>RO|RW)", state=str.lower),
    _device(_XS, "identity", r"xen platform: device_id=(?P<device_id>[0-9A-F]{4}) revision=(?P<revision>[0-9A-F]{2})",
            device_id=_hex, revision=_hex),
)
"""Lines that the traditional device models write about themselves, bare, where a guest may write the same."""

# the letter case of the module depends on the build of the drivers; free builds let only lines of `xen...` pass
_MODULE: Final = re.compile(
    r"(?P<module>xen[a-z0-9_]{0,61})\|(?P<function>[a-z0-9_]{1,64}): (?P<said>.*)",
    re.IGNORECASE | re.DOTALL,
)
_CRASH: Final = "BUGCHECK"
_CLOCKED: Final = re.compile(r"(?P<ms>\d{13,14}): (?P<said>.*)", re.DOTALL)

_EPOCH_MS: Final = 11_644_473_600_000
"""Milliseconds from 1601-01-01 to 1970-01-01, both UTC."""
_TICK_NS: Final = 100
"""What Windows counts time in."""


def since_1970(hundred_ns: int) -> int:
    """Nanoseconds since 1970 of a Windows time, which counts 100 ns since 1601."""
    return hundred_ns * _TICK_NS - _EPOCH_MS * 10**6


def read_text(line: str) -> Text | None:
    """What one line of the log says, or None where no known source prints such a line. `line` has no newline."""
    line = line.removesuffix("\r")
    if (found := _MODULE.fullmatch(line)) is not None:
        return _of_module(found["module"], found["function"], found["said"])
    if (found := _CLOCKED.fullmatch(line)) is not None:
        return _of_gplpv(int(found["ms"]), found["said"])
    if line.startswith(f"{_CRASH}: "):
        return _of_crash(None, line.removeprefix(f"{_CRASH}: "))
    return _first(WINDOWS, line) or _first(DEVICE, line)


def _first(forms: Iterable[Form], line: str, module: str | None = None, function: str | None = None) -> Text | None:
    for form in forms:
        values = form.read(line)
        if values is not None:
            return Text(form.kind, form.author, values, module, function, _told_time(form.kind, values))
    return None


def _told_time(kind: str, values: Mapping[str, Value]) -> int | None:
    value = values.get("value")
    told = kind == "suspend timer" and values.get("clock") == "SystemTime"
    return since_1970(value) if told and isinstance(value, int) else None


def _of_module(module: str, function: str, said: str) -> Text:
    if function.upper() == _CRASH:
        return _of_crash(module, said)
    here = [form for functions, form in WINDOWS_BY_FUNCTION if functions.fullmatch(function)]
    return _first((*here, *WINDOWS), said, module, function) or Text(
        "driver line", "windows", {"said": said}, module, function
    )


def _of_crash(module: str | None, said: str) -> Text:
    found = _first(BUGCHECK, said, module, _CRASH)
    if found is None:
        return Text("bugcheck line", "windows", {"said": said}, module, _CRASH)
    if found.kind == "bugcheck code":
        return Text(found.kind, found.author, _named(found.fields), module, _CRASH)
    return found


def _named(values: Mapping[str, Value]) -> dict[str, Value]:
    """The stop code with its name, or the name with its code, where bugcodes.h has the other."""
    whole = dict(values)
    code, name = whole.get("code"), whole.get("name")
    if isinstance(code, int) and code in BUGCHECKS:
        whole["name"] = BUGCHECKS[code]
    elif isinstance(name, str) and name in _CODES:
        whole["code"] = _CODES[name]
    return whole


def _of_gplpv(ms: int, said: str) -> Text:
    time_ns = (ms - _EPOCH_MS) * 10**6
    for form in GPLPV:
        values = form.read(said)
        if values is not None:
            return Text(form.kind, "gplpv", values, guest_time_ns=time_ns)
    return Text("gplpv line", "gplpv", {"said": said}, guest_time_ns=time_ns)
