"""Text from a recording is a stranger's: nothing of it may act on a terminal or in a spreadsheet."""

from __future__ import annotations

import re
from typing import Final

_ACTIVE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA: Final = re.compile(r"^[\s]*[=+\-@\t\r]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str) -> str:
    """The text with every control, bidirectional and invisible character written as an escape."""
    return _ACTIVE.sub(_escape, text)


def printable_bytes(raw: bytes) -> str:
    """A record's bytes for reading: printable, bytes that are no UTF-8 as escapes too."""
    return printable(raw.decode("utf-8", "backslashreplace"))


def cell(text: str) -> str:
    """A text for a spreadsheet: printable, and with a quote in front where it would be taken for a formula."""
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) else text


def paint(colour: bool, code: str, text: str) -> str:
    """The text in a colour, given by its SGR parameters (ECMA-48), where there are colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text
