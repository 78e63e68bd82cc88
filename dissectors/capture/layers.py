r"""The pseudo-header as a scapy layer, and what it may carry beside an access: a guest's line, an event.

Law: `dissectors.capture.header`, from whose fields these layers are made; scapy's packet model. An access under it is a
`PortAccess` (`dissectors.platform.layers`, which binds them all)::

    >>> XenPlatform(vm="win10") / GuestLine(text="XEN|BUGCHECK: ====>")
    <XenPlatform  kind=message vm=b'win10' |<GuestLine  text=b'XEN|BUGCHECK: ====>' |>>

Lengths, and the flags that say what is told, are filled in when a packet is built, unless they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from scapy.config import conf
from scapy.fields import (
    ByteEnumField,
    ByteField,
    Field,
    FlagsField,
    LEIntField,
    LELongField,
    LEShortField,
    LESignedIntField,
    StrField,
    StrLenField,
    XLEIntField,
    XLELongField,
)
from scapy.packet import Packet, bind_layers

from dissectors.capture import header
from dissectors.capture.header import ACCESS, BODIES, EVENT, FLAGS, HEAD, HEAD_BYTES, LINKTYPE, MESSAGE, TEXTS, VERSION

__all__ = ["GuestLine", "Happening", "XenPlatform"]

_PLAIN: Final = {"B": ByteField, "H": LEShortField, "I": LEIntField, "i": LESignedIntField, "Q": LELongField}
_IN_HEXADECIMAL: Final = {"base": XLELongField, "offset": XLEIntField, "address": XLELongField, "number": XLELongField}
_DEFAULTS: Final = {"version": VERSION, "boot": 1, "vcpu": -1, "count": 1, "clock": 0, "began": 0,
                    "base": 0, "source_offset": 0, "source_line": 0}  # fmt: skip


def field(one: header.Field, default: int | None) -> Field[Any, Any]:
    """A field of the pseudo-header as scapy's."""
    if one.name == "flags":
        return FlagsField(one.name, default, -16, list(FLAGS) + [f"bit{bit}" for bit in range(len(FLAGS), 16)])
    if one.names:
        return ByteEnumField(one.name, default, dict(one.names))
    return _IN_HEXADECIMAL.get(one.name, _PLAIN[one.code])(one.name, default)


def inert(text: bytes) -> str:
    """Text for reading, in which nothing acts on a terminal."""
    shown = text.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)


def _texts() -> list[Field[Any, Any]]:
    def length_of(name: str) -> Callable[[Packet], int]:
        return lambda packet: packet.getfieldval(f"{name}_bytes") or 0

    return [StrLenField(name, b"", length_from=length_of(name)) for name in TEXTS]


def _rest(packet: Packet) -> int:
    """Bytes between the texts and the body, which its length makes room for."""
    told = sum(packet.getfieldval(f"{name}_bytes") or 0 for name in TEXTS)
    return max((packet.length or 0) - HEAD_BYTES - told, 0)


class XenPlatform(Packet):
    """The pseudo-header: when, whose and how sure; its payload is an access, a guest's line or an event."""

    name = "XenPlatform"
    fields_desc = [  # noqa: RUF012  (scapy's way of declaring a layer)
        *(field(one, _DEFAULTS.get(one.name)) for one in HEAD), *_texts(),
        StrLenField("rest", b"", length_from=_rest),
    ]  # fmt: skip

    def _told(self) -> int:
        """The flags by what has been given."""
        told = {"vcpu": self.vcpu != -1, "function": self.function is not None, "address": self.kind == ACCESS,
                "number": self.kind == EVENT and self.payload.getfieldval("number") is not None}  # fmt: skip
        return sum(1 << bit for bit, name in enumerate(FLAGS) if told.get(name))

    def self_build(self) -> bytes:
        """The head and its texts, what is missing in it filled in."""
        filled = self.copy()
        filled.remove_payload()
        filled.kind = self.kind  # a payload gives it, as long as it is there
        filled.flags = self._told() if self.flags is None else self.flags
        for name in TEXTS:
            if filled.getfieldval(f"{name}_bytes") is None:
                filled.setfieldval(f"{name}_bytes", len(filled.getfieldval(name)))
        if self.length is None:
            filled.length = HEAD_BYTES + sum(len(filled.getfieldval(name)) for name in (*TEXTS, "rest"))
        return b"".join(one.addfield(filled, b"", filled.getfieldval(one.name) or 0)
                        if not isinstance(one, StrField) else filled.getfieldval(one.name)
                        for one in self.fields_desc)  # fmt: skip

    def mysummary(self) -> str:
        """The VM and its boot."""
        return f"{inert(self.vm)}#{self.boot}"


class GuestLine(Packet):
    """One line that a guest wrote; the text is the guest's, and untrusted."""

    name = "GuestLine"
    fields_desc = [*(field(one, 0) for one in BODIES[MESSAGE]), StrField("text", b"")]  # noqa: RUF012

    def mysummary(self) -> tuple[str, list[type[Packet]]]:
        """The way and the text, after the header's own words."""
        way = header.WAYS.get(self.via, "?")
        return f'{way} "{inert(self.text)}"', [XenPlatform]


class Happening(Packet):
    """Something that happened to a VM beside its accesses; what it happened to stands in the header."""

    name = "Happening"
    fields_desc = [  # noqa: RUF012
        field(BODIES[EVENT][0], 0), field(BODIES[EVENT][1], None), StrField("arguments", b"")]  # fmt: skip

    def mysummary(self) -> tuple[str, list[type[Packet]]]:
        """The topic, and the header's subject and words, after the header's own."""
        whole = self.underlayer
        said = f" {inert(whole.subject)}: {inert(whole.said)}" if isinstance(whole, XenPlatform) else ""
        return f"{header.TOPICS.get(self.topic, '?')}{said}", [XenPlatform]


bind_layers(XenPlatform, GuestLine, kind=MESSAGE)
bind_layers(XenPlatform, Happening, kind=EVENT)
conf.l2types.register(LINKTYPE, XenPlatform)
