"""The recordings of trace-cmd and perf are recognised before they are text, and it is said what makes them text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors import Dissector
from dissectors.linux import perfdata, tracedat

FORMATS = {"trace.dat": tracedat.DISSECTOR, "perf.data": perfdata.DISSECTOR}

# What trace-cmd's trace-cmd.dat.v6 says a file begins with: magic, version, byte order, size of a long, page size.
TRACE_DAT = b"\x17\x08\x44tracing" + b"6\0" + b"\0" + b"\x08" + (4096).to_bytes(4, "little")
# The first bytes of a file that perf 6.1 recorded.
PERF_DATA = bytes.fromhex("50455246494c453268000000000000009000000000000000880000000000000020010000000000")


@pytest.mark.parametrize(
    ("head", "name", "sure"),
    [
        (TRACE_DAT, "trace.dat", 100),
        (TRACE_DAT.replace(b"6\0", b"7\0"), "trace.dat", 100),
        (TRACE_DAT.replace(b"6\0", b"8\0"), "trace.dat", 90),
        (TRACE_DAT[:9], "trace.dat", 0),
        (b"x" + TRACE_DAT, "trace.dat", 0),
        (PERF_DATA, "trace.dat", 0),
        (PERF_DATA, "perf.data", 100),
        (b"2ELIFREP" + (104).to_bytes(8, "big"), "perf.data", 100),  # of a host of the other byte order
        (b"PERFFILE" + (96).to_bytes(8, "little"), "perf.data", 100),
        (PERF_DATA[:7], "perf.data", 0),
        (b"x" + PERF_DATA, "perf.data", 0),
        (TRACE_DAT, "perf.data", 0),
        (b"", "trace.dat", 0),
        (b"", "perf.data", 0),
    ],
)
def test_the_first_bytes_say_what_it_is(head: bytes, name: str, sure: int) -> None:
    assert FORMATS[name].sniff(head) == sure


@pytest.mark.parametrize(
    ("name", "advice"),
    [("trace.dat", "trace-cmd report -t FILE > FILE.txt"), ("perf.data", "perf script -i FILE > FILE.txt")],
)
def test_the_advice_is_one_command_and_nothing_else_reads_it(name: str, advice: str) -> None:
    one = FORMATS[name]
    assert (one.name, one.advice, one.vantage) == (name, advice, "host")
    assert (one.lines, one.stream, one.needles) == (None, None, ())


@pytest.mark.parametrize("one", FORMATS.values(), ids=FORMATS)
def test_the_example_is_recognised(one: Dissector) -> None:
    assert one.sniff(one.example) == 100


@given(st.binary(max_size=64))
def test_other_bytes_are_neither(head: bytes) -> None:
    if not head.startswith((b"\x17\x08\x44", b"PERF", b"2ELI")):
        assert [one.sniff(head) for one in FORMATS.values()] == [0, 0]
