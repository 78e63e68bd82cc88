r"""A plain loop over a text log with one regular expression for the device's events; it matches, and counts.

A line of it::

    213@1795406729.218785:cpu_ioreq_pio_write_reg I/O=0x7ffe99f05c20 pio write reg data=0x3 port=0x12 size=2
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

PATTERN: Final = (
    r"(\d+)@(\d+)\.(\d{6}):(?:"
    r"(handle_ioreq(?:_read|_write)?|cpu_ioreq_pio) I/O=(0x[0-9a-f]+) (?:read |write |pio )?(?:type=(\d+) )?"
    r"(?:dir=(\d) )?df=(\d) ptr=(\d) port=(0x[0-9a-f]+) data=(0x[0-9a-f]+) count=(\d+) size=(\d+)"
    r"|cpu_ioreq_pio_(read|write)_reg I/O=(0x[0-9a-f]+) pio \w+ reg data=(0x[0-9a-f]+) port=(0x[0-9a-f]+) size=(\d+)"
    r"|cpu_(in|out) addr (0x[0-9a-f]+)\(([bwl])\) value (\d+)"
    r"|memory_region_ops_(read|write) cpu (-?\d+) mr (0x[0-9a-f]+) addr (0x[0-9a-f]+) value (0x[0-9a-f]+) size (\d+)"
    r" name '([^']*)'"
    r"|xen_platform_log xen platform: (.*))"
)


def main() -> None:
    """Count the lines that match."""
    match = re.compile(PATTERN.encode()).match
    count = 0
    with Path(sys.argv[1]).open("rb") as file:
        for line in file:
            if match(line):
                count += 1
    print(count)


if __name__ == "__main__":
    main()
