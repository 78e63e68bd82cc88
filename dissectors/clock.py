"""The clocks that recordings tell the time by: a time means something only beside others of the same clock.

Law: for each clock, whoever writes it, by name. All times are nanoseconds in 64 bits; those of `WALL`, `SYSLOG` and
`LOCAL` count from 1970, those of the others from an origin of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WALL: Final = "wall"
"""The host's wall clock as QEMU, oxenstored and QMP print it: UTC (gettimeofday)."""
SYSLOG: Final = "syslog"
"""The stamp of a syslog daemon with its zone (RFC 5424, rsyslog's ISO form, journald), later than the event itself."""
LOCAL: Final = "local"
"""A date of the host without its zone, taken as it stands: C xenstored, xenconsoled, libvirt's console, xl."""
LOCAL_YEARLESS: Final = "local, year inferred"
"""A date of the host with neither zone nor year (RFC 3164): the year is inferred from when the file was written."""
TRACE: Final = "trace"
"""The kernel tracer's (Documentation/trace/ftrace.rst), by default since the host's boot."""
MONOTONIC: Final = "monotonic"
"""The host's CLOCK_MONOTONIC: simpletrace."""
XEN: Final = "xen"
"""The hypervisor's time since its own boot: xl dmesg."""
TSC: Final = "tsc"
"""The time stamp counter of the host's processors, in nanoseconds at the frequency that was given or assumed."""
XENALYZE: Final = "xenalyze"
"""The same since the first count of the file, as xenalyze prints it at the frequency that it assumes."""
UPTIME: Final = "uptime"
"""The guest kernel's time since its own boot: the guest's word."""
GUEST: Final = "guest"
"""The guest's wall clock: GPLPV's milliseconds since 1601. The guest's word."""
TEST: Final = "test"
"""A test's own clock: seconds since its start (qtest)."""

CLOCKS: Final[Mapping[str, str]] = {
    WALL: "the host's clock",
    SYSLOG: "syslog's clock",
    LOCAL: "the host's local time",
    LOCAL_YEARLESS: "the host's local time, its year inferred",
    TRACE: "the kernel tracer's clock",
    MONOTONIC: "the host's clock since its boot",
    XEN: "the hypervisor's clock since its boot",
    TSC: "the host's time stamp counter",
    XENALYZE: "the host's time stamp counter since the trace began",
    UPTIME: "the guest kernel's clock since its boot",
    GUEST: "the guest's clock",
    TEST: "the test's clock",
}
"""All of them, in words."""
DATES: Final = frozenset({WALL, SYSLOG, LOCAL, LOCAL_YEARLESS, GUEST})
"""Clocks whose times are dates."""
