"""A plain loop over the records of a simpletrace recording of version 4 with `struct`; it unpacks, and counts.

The arguments are those of QEMU 10: numbers of 64 bits, and a text with its length.
"""

from __future__ import annotations

import sys
from pathlib import Path
from struct import Struct
from typing import Final

NUMBERS: Final = {
    "handle_ioreq": 9, "handle_ioreq_read": 8, "handle_ioreq_write": 8,
    "cpu_ioreq_pio": 8, "cpu_ioreq_pio_read_reg": 4, "cpu_ioreq_pio_write_reg": 4,
    "cpu_in": 3, "cpu_out": 3,
    "memory_region_ops_read": 5, "memory_region_ops_write": 5,
}  # fmt: skip
"""How many numbers an event has before its text, if it has one."""
TEXTS: Final = {"memory_region_ops_read", "memory_region_ops_write", "xen_platform_log"}


def main() -> None:
    """Count the events, all of their arguments unpacked."""
    data = Path(sys.argv[1]).read_bytes()
    kind_of = Struct("<Q").unpack_from
    head = Struct("<QQII").unpack_from
    named = Struct("<QI").unpack_from
    length_of = Struct("<I").unpack_from
    layouts = {}
    count = 0
    at, size = 24, len(data)
    while at < size:
        (kind,) = kind_of(data, at)
        if kind == 0:
            number, length = named(data, at + 8)
            name = data[at + 20 : at + 20 + length].decode()
            numbers = Struct(f"<{NUMBERS.get(name, 0)}Q")
            layouts[number] = numbers.unpack_from, numbers.size, name in TEXTS
            at += 20 + length
            continue
        number, _, length, _ = head(data, at + 8)
        unpack, fixed, has_text = layouts[number]
        values: tuple[int | bytes, ...] = unpack(data, at + 32)
        if has_text:
            begin = at + 36 + fixed
            values += (data[begin : begin + length_of(data, begin - 4)[0]],)
        count += 1 if values else 0
        at += 8 + length
    print(count)


if __name__ == "__main__":
    main()
