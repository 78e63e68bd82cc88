"""What a file is by its first bytes: an archive, something that no recording can be, or neither.

Law: POSIX.1 pax (``ustar`` at byte 257, and a header's own checksum), PKWARE's APPNOTE.TXT (``PK 03 04``), and the
specification of each format named here. A name tells nothing: logs are renamed, and what is called a log may be
anything. Only what is certain is told: a file that may be a recording is one until its dissector has seen it.
"""

from __future__ import annotations

import re
from typing import Final, Literal

BLOCK: Final = 512
"""Of a tar archive; its first one tells what it is."""

Container = Literal["tar", "zip"]

_ZIP: Final = re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)")
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]{1,7})[ \0]")

_FOREIGN: Final = {
    b"\x04\x22\x4d\x18": "lz4-compressed: decompress it first (lz4 -d)",
    b"\x89LZO\x00\r\n": "lzop-compressed: decompress it first (lzop -d)",
    b"LZIP\x01": "lzip-compressed: decompress it first (lzip -d)",
    b"\x1f\x9d": "compressed by compress: decompress it first (gzip -dc)",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it first (7z x)",
    b"Rar!\x1a\x07": "a RAR archive: unpack it first (unrar x)",
    b"MSCF\0\0\0\0": "a cabinet file: unpack it first (cabextract)",
    b"!<arch>\n": "an ar archive: unpack it first (ar x)",
    b"\xed\xab\xee\xdb": "an RPM package: unpack it first (rpm2cpio)",
    b"LPKSHHRH": "a systemd journal: export it first (journalctl --file=FILE -o export)",
}
"""What may hold a recording, but must be unpacked by others first."""

_CERTAIN: Final = {
    b"\x7fELF": "a program or a core dump",
    b"\x89PNG\r\n\x1a\n": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF87a": "a picture",
    b"GIF89a": "a picture",
    b"%PDF-": "a PDF document",
    b"SQLite format 3\0": "a database",
    b"KDUMP   ": "a crash dump",
    b"DISKDUMP": "a crash dump",
    b"PAGEDUMP": "a crash dump",
    b"PAGEDU64": "a crash dump",
    b"QFI\xfb": "a disk image",
    b"conectix": "a disk image",
    b"vhdxfile": "a disk image",
    b"KDMV\x01": "a disk image",
}


def container(head: bytes) -> Container | None:
    """The archive that decompressed bytes begin."""
    if _ZIP.match(head):
        return "zip"
    return "tar" if is_tar_header(head[:BLOCK]) else None


def is_tar_header(block: bytes) -> bool:
    """Whether a block is a tar header: it holds the sum of its own bytes, its field for that taken for spaces."""
    told = _OCTAL.match(block, 148, 156) if len(block) == BLOCK else None
    return told is not None and int(told[1], 8) == sum(block) - sum(block[148:156]) + 8 * 0x20 and block[0] != 0


def foreign(head: bytes) -> str | None:
    """What must be unpacked by others first, and by what command."""
    return next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)


def no_recording(head: bytes) -> str | None:
    """What a file certainly is that is no recording; `head` is empty for a file of no bytes."""
    if not head:
        return "empty"
    if head.startswith(b"MZ") and head[0x40:0x140].find(b"This program cannot be run in DOS mode") >= 0:
        return "a program"
    return next((what for magic, what in _CERTAIN.items() if head.startswith(magic)), None)
