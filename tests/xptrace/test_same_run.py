"""One run, recorded at once by several back ends: each decodes to the same accesses, up to what its format can hold.

The runs are of a QEMU device under test, with the log and simple back ends on, and one more: syslog, ftrace or LTTng;
its qtest server logged what was asked of it. What a format cannot hold:

- qtest tells ports and values, and nothing of PCI functions: as long as nobody reads a vendor id (in these runs the
  harness sets BARs up, and never does), config space and BARs are of no device that is known.
- LTTng has no field for a `char`, so `cpu_in` and `cpu_out` tell no size; the device calls of the same access do,
  except at BAR0, which takes single bytes of an access of any width.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from xptrace.access.decode import Decoder
from xptrace.access.rows import Access, Message

Told = tuple[object, ...]

RUNS = {
    "74-syslog": ("trace.bin.gz", "qtest.log", "syslog-datagrams.raw.gz"),
    "74b-rsyslog": ("trace.bin.gz", "qtest.log", "traditional.log", "isofile.log.gz", "syslog5424.log.gz"),
    "75-ftrace": ("trace.bin.gz", "qtest.log", "ftrace-trace.txt.gz"),
    "76-ust": ("trace.bin.gz", "qtest.log", "babeltrace2.txt.gz", "babeltrace2-full.txt.gz"),
}


def decoded(path: Path) -> tuple[list[Told], list[Told]]:
    accesses: list[Told] = []
    messages: list[Told] = []
    for row in Decoder([str(path)]).rows():
        if isinstance(row, Access):
            accesses.append((row.space, row.address, row.size, row.direction, row.value, row.register, row.certainty))
        elif isinstance(row, Message):
            messages.append((row.text, row.complete))
    return accesses, messages


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
@pytest.mark.parametrize(("run", "file"), [(run, file) for run, files in RUNS.items() for file in files])
def test_every_back_end_tells_the_same(corpus: Path, version: str, run: str, file: str) -> None:
    folder = corpus / "recorded/qemu-oracle" / version / run
    (log,) = folder.glob("trace.log*")
    accesses, messages = decoded(log)
    assert len(accesses) > 600
    found, said = decoded(folder / file)
    if file == "qtest.log":
        accesses = [told for told in accesses if told[0] == "pio"]
    if file.startswith("babeltrace2"):
        accesses = [("bar0", told[1], None, *told[3:]) if told[:1] == ("bar0",) and told[3] == "write" else told
                    for told in accesses]
    assert found == accesses
    assert said == messages
