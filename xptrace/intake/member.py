"""Members of archives, as the archive tells of them, and names that are safe to show."""

from __future__ import annotations

from typing import Final, NamedTuple

from xptrace.intake.evidence import Evidence

LONGEST_NAME: Final = 1000
"""Of a name that is shown; Linux knows paths of up to 4096 bytes, and an archive names of any length."""


class Member(NamedTuple):
    """A member of an archive: its evidence, or why there is none."""

    name: str
    evidence: Evidence | None
    why: str = ""


class Fault(NamedTuple):
    """Something is wrong with an archive itself."""

    reason: str


Told = Member | Fault

LINK: Final = "a link to {}, which is not followed"


def safe(name: str) -> str:
    """The name with everything that could act on a terminal, and all that is no text, written as an escape."""
    shown = "".join(one if one.isprintable() else _escape(one) for one in name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"


def _escape(one: str) -> str:
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as `surrogateescape` keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escapes(name: str) -> bool:
    """Whether a name would lead out of the folder that an archive is unpacked to, or could not be shown as it is."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or parts[0][1:] == ":" or ".." in parts or safe(name) != name


def inside(name: str) -> str:
    """The name as one below the archive: without root, drive or `..`; and safe."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    return safe("/".join(parts)) or "unnamed"

