"""What a guest says, with the words left out that are its own: what is understood of it stays understood.

Law: `dissectors.platform.texts` and `dissectors.platform.kernel_texts` say which texts there are. One of these keeps
its words; its numbers stay where they are the protocol's, and are others where they are addresses. Of any other text
every run of letters and digits becomes another of its length, so that lines stay as long as the device's buffer had
them; what is no text stays no text::

    XEN|BUGCHECK: 000000D1: 0000000000000010 ... -> XEN|BUGCHECK: 000000D1: 0ABB32C3969B4298 ...
    Booting payroll on host 12                                  -> Qwizpmc nvyftcw lu gbka 80
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final

from dissectors.platform.kernel_texts import BSD, LINUX, XENLINUX
from dissectors.platform.texts import BUGCHECK, BUGCHECKS, DEVICE, GPLPV, WINDOWS, WINDOWS_BY_FUNCTION, Form
from xptrace.share.pseudonyms import Kind, Pseudonyms
from xptrace.share.words import WORDS

Group = Callable[[Pseudonyms, str], str]
"""Makes of the text of a group what may be shown."""

_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_MAC: Final = r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{2}-){5}[0-9a-fA-F]{2}"
_TOKEN: Final = re.compile(
    rf"(?<![0-9A-Za-z])(?:(?P<uuid>{_UUID})|(?P<mac>{_MAC})"
    r"|(?P<ip>(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3})"
    r"|(?P<pointer>0[xX][0-9a-fA-F]+))(?![0-9A-Za-z])"
    r"|(?P<octal>#[0-3][0-7]{2})|(?P<run>[A-Za-z0-9]+)|(?P<other>[^\x20-\x7e])"
)
_SHORT: Final = 2
"""Digits of a number that tells nobody apart."""


def sweep(names: Pseudonyms, text: str, keep: Iterable[str] = (), kind: Kind = "word", *, short: bool = True) -> str:
    """Every run of letters and digits as another one, but for words to keep (in small letters) and short numbers."""
    kept = keep if isinstance(keep, (set, frozenset)) else frozenset(keep)

    def one(found: re.Match[str]) -> str:
        group, token = found.lastgroup, found[0]
        if group == "uuid":
            return names.uuid(token)
        if group == "mac":
            return names.mac(token)
        if group == "ip":
            return names.name(token, kind) if kind == "text" else names.ip(token)  # a text stays as long as it is
        if group == "pointer":
            return token if short and len(token) <= _SHORT + 2 else names.pointer(token)
        if group == "octal":
            return _octal(token)
        if group == "other":
            return _like(token)
        if token.lower() in kept or (short and token.isdigit() and len(token) <= _SHORT):
            return token
        return names.run(token, kind)

    return _TOKEN.sub(one, text)


_MIGRATING: Final = re.compile(r"(?P<name>.*?)(?P<end>(?:--(?:incoming|migratedaway))?)", re.DOTALL)


def called(names: Pseudonyms, name: str) -> str:
    """The name of a VM or a host under another, whatever it is; what xl puts behind it while it moves stays."""
    found = _MIGRATING.fullmatch(name)
    bare, end = (name, "") if found is None else found.group("name", "end")
    return (names.uuid(bare) if re.fullmatch(_UUID, bare) else names.name(bare)) + end


def _octal(token: str) -> str:
    """A byte as rsyslog escapes it: a control character stays, any other is another."""
    code = int(token[1:], 8)
    return token if code < 0x20 or code == 0x7F else "#170" if code < 0x80 else "#377"


_LIKE: Final[Mapping[tuple[int, bool], str]] = {
    (2, True): "\xad", (3, True): "\u200b", (4, True): "\U000e0001",
    (2, False): "\xe9", (3, False): "\u2026", (4, False): "\U0001f5a5",
}
"""By its bytes in UTF-8, and whether it leaves no mark on paper: what stands for any other character."""
_NO_MARK: Final = ("Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _like(character: str) -> str:
    """A character as long as this one, and as visible; a control character stays, and what is no UTF-8 is none."""
    code = ord(character)
    if code < 0x80:
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return "\udcff"
    if code < 0xA0:
        return "\x80"
    size = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    return _LIKE[size, unicodedata.category(character) in _NO_MARK]


# -- by the form of a text


def _as_it_is(_names: Pseudonyms, text: str) -> str:
    return text


def _address(names: Pseudonyms, text: str) -> str:
    upper = not any(one.islower() for one in text)
    return re.sub(r"[0-9a-fA-F]+", lambda found: names.digits(found[0], "pointer", upper=upper), text)


def _own(names: Pseudonyms, text: str) -> str:
    return sweep(names, text, kind="text", short=False)


def _stop_code(names: Pseudonyms, text: str) -> str:
    return text if int(text, 16) in BUGCHECKS else _address(names, text)


_STOP_NAMES: Final = frozenset(BUGCHECKS.values())


def _stop_name(names: Pseudonyms, text: str) -> str:
    return text if text in _STOP_NAMES else _own(names, text)


def _register(names: Pseudonyms, text: str) -> str:
    return text if re.fullmatch(r"R?[ABCD]X|R?[SD]I|R?[SB]P|[RE]?IP|R\d{1,2}|(?:Seg)?[CDEFGS]S|E\w{2}|EFlags", text,
                                re.IGNORECASE) else _own(names, text)


def _path(names: Pseudonyms, text: str) -> str:
    """`device/vbd/768`: which PV device, by the kinds that there are."""
    return re.sub(r"[^/\d][^/]*", lambda found: sweep(names, found[0], WORDS), text)


def _disk(names: Pseudonyms, text: str) -> str:
    return text if re.fullmatch(r"(?:xvd|sd|hd|vd)[a-z]{1,2}\d{0,3}", text) else _own(names, text)


_OPTIONS: Final = frozenset((
    "all", "ide", "disks", "ide-disks", "aux-ide-disks", "aux", "nics", "unnecessary", "never", "ide", "scsi", "nvme",
))  # fmt: skip


def _options(names: Pseudonyms, text: str) -> str:
    return sweep(names, text, _OPTIONS, "text")


_GROUPS: Final[Mapping[str, Group]] = {
    # numbers and words of the protocol
    **dict.fromkeys((
        "version", "product", "build", "mask", "state", "side", "clock", "forced", "type", "status", "cpu", "rate",
        "drive", "device_id", "revision", "mode", "major", "minor", "error", "class_code", "vbd", "local", "remote",
        "slot", "driver", "value", "device",
    ), _as_it_is),
    "parameters": _address, "address": _address, "stack": _address, "start": _address, "end": _address,
    "offset": _address, "options": _options, "option": _options, "disk": _disk, "code": _stop_code,
}  # fmt: skip
"""What becomes of a group of a form, by its name; any other is the guest's own word."""
_OF_KIND: Final[Mapping[tuple[str, str], Group]] = {
    ("bugcheck code", "name"): _stop_name, ("bugcheck value", "name"): _register, ("bugcheck value", "value"): _address,
    ("frontend timeout", "device"): _path, ("device without driver", "device"): _path,
    ("frontend not connected", "device"): _path,
    ("frontend not connected", "state"): lambda names, text: sweep(names, text, WORDS, "text"),
}
"""The same where the kind of the text matters."""

_EXTRA: Final = frozenset((
    "platform", "fixed", "ioport", "changed", "ro", "rw", "state", "of", "rom", "memory", "area", "unable", "to",
    "change", "now", "is",
))  # fmt: skip
"""Words of lines whose forms leave their beginning open: XenServer's and the traditional device model's."""


@cache
def _literals(pattern: str) -> frozenset[str]:
    """The words of a form, out of its pattern; names of groups and sets of characters are none."""
    bare = re.sub(r"\(\?P<\w+>|\\.", " ", pattern)
    bare = re.sub(r"\[[^\]]*\]|\{[\d,]+\}", " ", bare)
    return frozenset(word.lower() for word in re.findall(r"[A-Za-z0-9]+", bare)) | _EXTRA


def by_form(names: Pseudonyms, form: Form, text: str) -> str | None:
    """A text of that form with its groups as they may be shown; None where it has another form."""
    found = form.pattern.fullmatch(text)
    if found is None:
        return None
    keep = _literals(form.pattern.pattern)
    parts: list[str] = []
    at = 0
    spans = sorted((*found.span(name), name) for name in form.pattern.groupindex if found[name] is not None)
    for start, end, name in spans:
        if start < at:  # a group in a group
            continue
        show = _OF_KIND.get((form.kind, name)) or _GROUPS.get(name, _own)
        parts += [sweep(names, text[at:start], keep, "text"), show(names, found[name])]
        at = end
    parts.append(sweep(names, text[at:], keep, "text"))
    return "".join(parts)


# -- texts of drivers and kernels

_MODULE: Final = re.compile(r"(?P<module>xen[a-z0-9_]{0,61})\|(?P<function>[a-z0-9_]{1,64}): (?P<said>.*)",
                            re.IGNORECASE | re.DOTALL)
_BARE_MODULE: Final = re.compile(r"(?P<module>xen[a-z0-9_]{0,61})\|(?P<said>.*)", re.IGNORECASE | re.DOTALL)
_MODULES: Final = frozenset((
    "xen", "xenbus", "xenvbd", "xenvif", "xennet", "xenfilt", "xencrsh", "xendisk", "xeniface", "xenvkbd", "xenhid",
    "xencons", "xenvusb", "xenpci",
))  # fmt: skip
_FUNCTIONS: Final = re.compile(
    r"BUGCHECK|ModuleAdd|DriverSetFilterState|(?:Driver|Config)(?:Set|Update)Active(?:DeviceInstance)?", re.IGNORECASE
)
_CRASH: Final = re.compile(r"BUGCHECK: (?P<said>.*)", re.DOTALL)
_CLOCKED: Final = re.compile(r"(?P<ms>\d{13,14}): (?P<said>.*)", re.DOTALL)
_TELLING: Final = re.compile(r"\A(?:UNPLUG|BUGCHECK|(?:PRE-|POST-)?SUSPEND):|\bSUSPEND: (?:EARLY|LATE) \(|\Athrottling "
                             r"guest access to syslog", re.IGNORECASE)
"""Words that rules look for in a text that has no form."""
_OF_GPLPV: Final = re.compile(r"(?:qemu|disabled|XenPCI) ")
_GUEST_EPOCH: Final = range(12_000_000_000_000, 15_000_000_000_000)
"""GPLPV's clock, in milliseconds since 1601, from 1981 to 2076."""


class GuestTexts:
    """What guests say, as it may be shown; `shift_s` is by how many seconds all dates are moved."""

    def __init__(self, names: Pseudonyms, shift_s: int = 0, keep: Iterable[str] = ()) -> None:
        self._names, self._shift_s = names, shift_s
        self._keep = frozenset(word.lower() for word in keep)

    def log(self, text: bytes) -> bytes:
        """A line of the log port, or of port 0xe9; as long as it was."""
        return self._each(text, self._driver)

    def kernel(self, text: bytes) -> bytes:
        """A line of a guest's kernel."""
        return self._each(text, lambda one: self._first((*LINUX, *XENLINUX, *BSD), one) or self._free(one))

    def _each(self, text: bytes, show: Callable[[str], str]) -> bytes:
        """Up to a NUL, and after it; a carriage return at the end is none of the text."""
        parts = []
        for part in text.split(b"\0"):
            bare = part.rstrip(b"\r")
            shown = show(bare.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            parts.append(shown + part[len(bare) :])
        return b"\0".join(parts)

    def _driver(self, text: str) -> str:
        if (found := _MODULE.fullmatch(text)) is not None:
            module, function = found["module"], found["function"]
            here = [form for functions, form in WINDOWS_BY_FUNCTION if functions.fullmatch(function)]
            forms = BUGCHECK if function.upper() == "BUGCHECK" else (*here, *WINDOWS)
            shown = function if _FUNCTIONS.fullmatch(function) else self._own(function)
            return f"{self._module(module)}|{shown}: {self._first(forms, found['said']) or self._free(found['said'])}"
        if (found := _CLOCKED.fullmatch(text)) is not None and int(found["ms"]) in _GUEST_EPOCH:
            begun = _OF_GPLPV.match(found["said"])  # by which the line is told from anybody's
            rest = found["said"] if begun is None else found["said"][begun.end() :]
            said = self._first(GPLPV, found["said"]) or f"{begun[0] if begun else ''}{self._free(rest)}"
            return f"{int(found['ms']) + self._shift_s * 1000}: {said}"
        if (found := _CRASH.fullmatch(text)) is not None:
            return f"BUGCHECK: {self._first(BUGCHECK, found['said']) or self._free(found['said'])}"
        if (found := _BARE_MODULE.fullmatch(text)) is not None:
            return f"{self._module(found['module'])}|{self._free(found['said'])}"
        return self._first((*WINDOWS, *DEVICE), text) or self._free(text)

    def _module(self, module: str) -> str:
        return module if module.lower() in _MODULES else module[:3] + self._own(module[3:])

    def _own(self, text: str) -> str:
        return sweep(self._names, text, self._keep, "text", short=False)

    def _free(self, text: str) -> str:
        """A text that has no form: none of its words stays, but those that rules look for."""
        parts: list[str] = []
        at = 0
        for found in _TELLING.finditer(text):
            parts += [self._own(text[at : found.start()]), found[0]]
            at = found.end()
        return "".join([*parts, self._own(text[at:])])

    def _first(self, forms: Iterable[Form], text: str) -> str | None:
        for form in forms:
            if (shown := by_form(self._names, form, text)) is not None:
                return self._moved(form, text, shown) if self._shift_s else shown
        return None

    def _moved(self, form: Form, text: str, shown: str) -> str:
        """The guest's date in the lines of a suspend: 100 ns since 1601, as two halves."""
        found = form.pattern.fullmatch(text)
        if form.kind != "suspend timer" or found is None or found["clock"] != "SystemTime":
            return shown
        moved = int(found["value"].replace(".", ""), 16) + self._shift_s * 10**7
        digits = f"{moved & 0xFFFFFFFFFFFFFFFF:016x}"
        return shown.replace(found["value"], f"{digits[:8]}.{digits[8:]}", 1)
