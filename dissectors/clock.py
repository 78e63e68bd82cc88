"""The clocks that recordings tell the time by: a time means something only beside others of the same clock.

Law: for each clock, whoever writes it, by name. All times are nanoseconds in 64 bits; those of `WALL`, `SYSLOG` and
`LOCAL` count from 1970, those of the others from an origin of their own.
"""

from __future__ import annotations

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
UPTIME: Final = "uptime"
"""The guest kernel's time since its own boot: the guest's word."""
GUEST: Final = "guest"
"""The guest's wall clock: GPLPV's milliseconds since 1601. The guest's word."""
TEST: Final = "test"
"""A test's own clock: seconds since its start (qtest)."""

DATES: Final = frozenset({WALL, SYSLOG, LOCAL, LOCAL_YEARLESS, GUEST})
"""Clocks whose times are dates."""
