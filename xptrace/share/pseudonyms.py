"""Other names for what is nobody's business: the same for the same, of the same length and kind, by a key.

Law: a Feistel network over the strings of one shape, with HMAC-SHA-256 as its round (Luby and Rackoff, 1988), walked
until the result has that shape again. So no two names of a shape become one, nothing needs to be remembered to name
alike in every file, and without the key nobody can go back. A step along the cycle of the permuted strings makes sure
that no string stays what it is::

    win10 -> kqf83    qemu-trace-win10.log -> qemu-trace-kqf83.log    [win10] cpu_in ... -> [kqf83] cpu_in ...
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from xptrace.share.words import WORDS

Kind = Literal["name", "word", "text", "number", "value", "pointer", "uuid", "mac", "ip", "process", "domain"]
"""What a string is: a name (of a VM, host, file), a word of another line, of a guest's text, and so on."""

KEY_BYTES: Final = 32
LAST_DOMAIN: Final = 0x7FEF
"""DOMID_FIRST_RESERVED of xen/include/public/xen.h is one more."""

_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
_HEX = "0123456789abcdef"
_LONGEST: Final = 24
"""Characters that are permuted at once: longer strings are cut."""
_ROUNDS: Final = 6
_NOBODY: Final = "deadbeef-dead-beef-dead-beef0000"
_RUN: Final = re.compile(r"[A-Za-z0-9\u0080-\U0010ffff]+")
"""What a name is made of; what stands between its runs stays."""


class Pseudonyms:
    """The other names of one run, or of all runs with the same key."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret: who has it can go back."""
        self._key = key
        self._known: dict[tuple[str, bool], str] = {}
        self._shift: int | None = None
        self.mapping: dict[tuple[Kind, str], str] = {}
        """What was called how, by its kind."""
        self.counts: Counter[Kind] = Counter()
        """How many times something of a kind was given another name."""

    # -- by kind

    def name(self, text: str, kind: Kind = "name") -> str:
        """Another name of the same form: its runs of letters and digits are other ones."""
        return _RUN.sub(lambda found: self.run(found[0], kind), text)

    def run(self, text: str, kind: Kind) -> str:
        """Another run of letters and digits."""
        return self._told(kind, text, self._other(text, hexadecimal=False))

    def digits(self, text: str, kind: Kind, *, upper: bool = False) -> str:
        """Another hexadecimal number of as many digits, in capital letters if need be; zero stays."""
        if not text.strip("0"):
            return text
        other = self._other(text.lower(), hexadecimal=True)
        return self._told(kind, text, other.upper() if upper or text.isupper() else other)

    def pointer(self, text: str) -> str:
        """Another address, `0x` in front or not."""
        head = text[:2] if text[:2] in ("0x", "0X") else ""
        return head + self.digits(text[len(head) :], "pointer")

    def uuid(self, text: str) -> str:
        """Another UUID; the one of domains that are nobody's any more (xenopsd) stays."""
        if text.lower().startswith(_NOBODY):
            return f"{_NOBODY}0000"
        bare = "0" + text.replace("-", "").lower()  # a number that begins with 0 may become one that does
        other = self._other(bare, hexadecimal=True)[1:]
        parts, at = [], 0
        for part in text.split("-"):
            parts.append(other[at : at + len(part)])
            at += len(part)
        return self._told("uuid", text, "-".join(parts).upper() if text.isupper() else "-".join(parts))

    def mac(self, text: str) -> str:
        """Another MAC address: one that is administered locally."""
        separator = text[2]
        other = "02" + self._other("0" + text.replace(separator, "").lower(), hexadecimal=True)[3:]
        return self._told("mac", text, separator.join(other[at : at + 2] for at in range(0, 12, 2)))

    def ip(self, text: str) -> str:
        """Another IPv4 address, of those that are nobody's own (RFC 1918)."""
        digest = self._digest(b"ip", text.encode())
        return self._told("ip", text, f"10.{digest[0]}.{digest[1]}.{digest[2]}")

    def process(self, text: str) -> str:
        """Another number of a process or thread."""
        return self._told("process", text, self._other(text, hexadecimal=False))

    def domain(self, number: int) -> int:
        """Another number of a domain; the order of all of them, by which boots are told apart, stays. Dom0 is Dom0."""
        if not 0 < number <= LAST_DOMAIN or self._shift is None:
            return number
        other = (number - 1 + self._shift) % LAST_DOMAIN + 1
        self._told("domain", str(number), str(other))
        return other

    def domains_up_to(self, highest: int) -> None:
        """Say how high the numbers of domains are: by how much they are moved is chosen so that their order stays."""
        free = LAST_DOMAIN - min(highest, LAST_DOMAIN - 2)
        self._shift = 1 + int.from_bytes(self._digest(b"domains", b"")[:8], "big") % (free - 1)

    # -- the permutation

    def _told(self, kind: Kind, text: str, other: str) -> str:
        self.counts[kind] += 1
        self.mapping.setdefault((kind, text), other)
        return other

    def _digest(self, what: bytes, data: bytes) -> bytes:
        return hmac.new(self._key, what + b"\0" + data, hashlib.sha256).digest()

    def _other(self, text: str, *, hexadecimal: bool) -> str:
        known = self._known.get((text, hexadecimal))
        if known is None:
            parts = (text[at : at + _LONGEST] for at in range(0, len(text), _LONGEST))
            known = "".join(self._permuted(part, _shape(part, hexadecimal=hexadecimal)) for part in parts)
            self._known[text, hexadecimal] = known
        return known

    def _permuted(self, text: str, shape: Sequence[str]) -> str:
        size = 1
        for alphabet in shape:
            size *= len(alphabet)
        if size == 1:
            return text
        name = repr(shape).encode()
        if any(character not in alphabet for character, alphabet in zip(text, shape, strict=True)):
            number = int.from_bytes(self._digest(b"beyond", text.encode("utf-8", "surrogatepass")), "big") % size
        else:
            number = _number(text, shape)
        while True:
            number = self._walk(number, size, name, back=False)
            number = self._walk((number + 1) % size, size, name, back=True)
            other = _string(number, shape)
            if other.lower() not in WORDS:
                return other

    def _walk(self, number: int, size: int, name: bytes, *, back: bool) -> int:
        """Permute a number below `size`."""
        half = max(1, -(-(size - 1).bit_length() // 2))
        while True:
            number = self._feistel(number, half, name, back=back)
            if number < size:
                return number

    def _feistel(self, number: int, half: int, name: bytes, *, back: bool) -> int:
        mask = (1 << half) - 1
        left, right = number >> half, number & mask
        length = -(-half // 8)
        for turn in range(_ROUNDS):
            key = b"%d" % (_ROUNDS - 1 - turn if back else turn)
            if back:
                left, right = right ^ self._round(key, name, left, length) & mask, left
            else:
                left, right = right, left ^ self._round(key, name, right, length) & mask
        return left << half | right

    def _round(self, turn: bytes, name: bytes, half: int, length: int) -> int:
        digest = self._digest(turn + name, half.to_bytes(length, "big"))
        return int.from_bytes(digest[:length], "big")


def _shape(text: str, *, hexadecimal: bool) -> tuple[str, ...]:
    """The alphabet of each character: what is no ASCII becomes a letter; a number begins with 0 only where it did."""
    if hexadecimal:
        shape = [_HEX] * len(text)
    else:
        shape = [_DIGITS if one in _DIGITS else _UPPER if one in _UPPER else _LOWER for one in text]
        if any(alphabet is not _DIGITS for alphabet in shape):
            return tuple(shape)
    shape[0] = "0" if text[0] == "0" else shape[0][1:]
    return tuple(shape)


def _number(text: str, shape: Sequence[str]) -> int:
    number = 0
    for character, alphabet in zip(text, shape, strict=True):
        number = number * len(alphabet) + alphabet.index(character)
    return number


def _string(number: int, shape: Sequence[str]) -> str:
    parts = []
    for alphabet in reversed(shape):
        number, digit = divmod(number, len(alphabet))
        parts.append(alphabet[digit])
    return "".join(reversed(parts))
