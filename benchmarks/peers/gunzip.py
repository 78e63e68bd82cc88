"""Decompressing a gzip file with Python's zlib, and nothing else; it counts the bytes."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Final

_GZIP: Final = 31
_CHUNK: Final = 1 << 18


def main() -> None:
    """Count the bytes."""
    count = 0
    inflate = zlib.decompressobj(_GZIP)
    with Path(sys.argv[1]).open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += len(inflate.decompress(chunk))
    print(count)


if __name__ == "__main__":
    main()
