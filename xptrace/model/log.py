"""The log buffer: what the guest's bytes become, and when they are seen.

Law: hw/i386/xen/xen_platform.c, log_writeb, observed on QEMU 7.2, 10.0 and 10.2: one buffer for port 0x12 and BAR0+8;
a line goes out at a newline, or when 4095 characters are held and one more comes, which is dropped; a NUL ends the
text early. hw/xen_platform.c of qemu-xen-traditional: a token bucket of 131072 bytes, refilled at 256 a second, makes
a guest that floods the log wait. XenServer's syslog_support.patch: blanks become spaces, what is not printable goes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dissectors.platform.registers import LOG_BUFFER
from xptrace.model.effects import Effect, Logged, Throttled
from xptrace.model.profile import Profile

BUCKET: Final = 131072
"""Characters that may be logged at once before the guest has to wait."""
REFILL: Final = 256
"""Characters a second that it may log from then on."""
_BLANKS: Final = frozenset(b"\t\v\f\r ")


class LogBuffer(NamedTuple):
    """What is held but not yet emitted, and how much may be logged before the guest has to wait."""

    held: bytes = b""
    tokens: int = BUCKET
    refilled_ns: int | None = None


def _spend(buffer: LogBuffer, time_ns: int | None) -> tuple[LogBuffer, tuple[Effect, ...]]:
    """Take a token for one character; without a time the bucket only empties."""
    tokens, refilled = buffer.tokens, buffer.refilled_ns
    if time_ns is not None:
        gained = 0 if refilled is None else max(0, time_ns - refilled) * REFILL // 10**9
        if gained or refilled is None:
            tokens, refilled = min(BUCKET, tokens + gained), time_ns
    if tokens:
        return LogBuffer(buffer.held, tokens - 1, refilled), ()
    wait = 10**9 // REFILL
    return LogBuffer(buffer.held, tokens, refilled), (Throttled(wait),) if time_ns is not None else ()


def take(
    profile: Profile, buffer: LogBuffer, character: int, time_ns: int | None = None
) -> tuple[LogBuffer, tuple[Effect, ...]]:
    """Take one character (0 to 255); returns the buffer as it is then, and the line that goes out, if one does."""
    waited: tuple[Effect, ...] = ()
    if profile.throttled:
        buffer, waited = _spend(buffer, time_ns)
    if character == 0x0A:
        return buffer._replace(held=b""), (*waited, Logged(buffer.held.split(b"\0")[0]))
    if len(buffer.held) >= LOG_BUFFER:
        return buffer._replace(held=b""), (*waited, Logged(buffer.held.split(b"\0")[0], lost=character))
    if profile.log_filtered:
        if character in _BLANKS:
            character = 0x20
        elif not 0x21 <= character <= 0x7E:
            return buffer, waited
    return LogBuffer(buffer.held + bytes((character,)), buffer.tokens, buffer.refilled_ns), waited
