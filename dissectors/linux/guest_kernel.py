r"""What a guest's own kernel says: its console, its serial port, its dmesg, its syslog; Linux and the BSDs.

Law: kernel/printk/printk.c of Linux for its stamp, the seconds since its boot; dmesg(1) of util-linux for others. The
same line in the forms that exist, with what `dissectors.envelope` reads in front of some::

    [    0.000000] Hypervisor detected: Xen HVM
    [    0.000000][    T0] Hypervisor detected: Xen HVM
    [2026-11-23 04:05:30] [    0.000000] Hypervisor detected: Xen HVM
    Dec 11 09:44:20 localhost kernel: [    0.000000] Hypervisor detected: Xen HVM
    2026-11-23T04:05:30.123456+00:00 vm kernel: Hypervisor detected: Xen HVM
    [Mon Nov 23 04:05:30 2026] Hypervisor detected: Xen HVM
    kern  :info  : [    0.000000] Hypervisor detected: Xen HVM

Only lines whose text `kernel_texts` knows are told, and a kernel's first line, by which a boot begins. What Linux says
on the lines below one, without a stamp of their own, says nothing more.

Of two times the outer is taken where it is a whole date: xenconsoled's, syslog's with its zone, and dmesg's (`-T`, the
guest's word). A date whose year is inferred gives way to the kernel's own stamp. A line that was said already in this
boot, with the same stamp, is one that somebody had printed again: it is left out. A guest that prints its whole buffer
again, first line and all, looks like a boot.

A kernel under Xen PV has no platform device, and Dom0's is such a one: its lines are left out until the next boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dissectors import Dissector, Given
from dissectors.clock import GUEST, LOCAL_YEARLESS, UPTIME
from dissectors.envelope import read_envelope
from dissectors.record import Damage, Loss, Record
from dissectors.vocabulary import GUEST_LINE, GUEST_START, VIA_KERNEL

NEEDLES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(needle)
    for needle in (
        rb"Linux version ",
        rb"Copyright \(c\) 199(?:2-\d{4} The FreeBSD|5-\d{4} OpenBSD)",
        rb"NetBSD \d",
        rb"Hypervisor detected: Xen",
        rb"Xen (?:version \d|Platform|detected: )",
        rb"XEN(?:BUS: |: [Dd]isabling |: Hypervisor)",
        rb"front(?: and the Xen|: |_probe: |\.ko|'|end: )",
        rb"dev_shutdown: device/",
        rb"kernel on Xen",
        rb"emul(?:_unplug|ated devices)",
        rb"ou might have to change the root",
        rb"Initialising Xen virtual",
        rb"HVM does not support vbd",
        rb"\[5853:",
        rb"platform-pci",
        rb"platform_pci_resume",
        rb"dev_unplug'",
        rb"Freezing user space",
        rb"Restarting tasks",
    )
)
"""Bytes that must occur in any line of ours."""

MOST_SAID: Final = 4096
"""Lines of one boot that are remembered; of one more it is not known whether it was said already."""
LONGEST_TEXT: Final = 8192
"""Longer than any line of a kernel (LOG_LINE_MAX is 1024, PRINTKRB_RECORD_MAX 1024, COMMAND_LINE_SIZE 2048)."""

_DMESG: Final = re.compile(
    rb"\[[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<date>[ \d]\d) (?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4})\] "
)
_DMESG_ISO: Final = re.compile(
    rb"(?P<day>\d{4}-\d\d-\d\d)T(?P<clock>\d\d:\d\d:\d\d),(?P<fraction>\d{6})(?P<zone>[+-]\d\d:?\d\d) "
)
_TAGS: Final = (b"kernel", b"/bsd", b"/netbsd")
_LEVEL: Final = re.compile(rb"<\d{1,3}>|kern {1,2}:[a-z]{3,6} {0,3}: ")
_UPTIME: Final = re.compile(rb"\[ *(?P<seconds>\d{1,9})\.(?P<fraction>\d{6,9})\](?:\[ *[TC]\d{1,10}\])? ")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_BANNER: Final = re.compile(rb"Linux version \d\S{0,200} \(.*", re.DOTALL)
_BANNER_BSD: Final = re.compile(
    rb"Copyright \(c\) (?:1992-\d{4} The FreeBSD Project\.|1995-\d{4} OpenBSD\. All rights reserved\..{0,80})"
)
"""A kernel's own: the line with the release stands in the message of the day too."""
_BANNER_STAMPED: Final = re.compile(rb"NetBSD \d\S{0,40} \([\w.-]{1,80}\).*", re.DOTALL)
"""The same of NetBSD, whose kernel stamps its lines."""

_PV: Final = re.compile(rb"Hypervisor detected: Xen PV\s*|Booting (?:paravirtualized )?kernel on Xen\s*")


@dataclass(frozen=True, slots=True)
class Said:
    """What a kernel said: its text, its own stamp, and when, by the best clock in front of it.

    `tagged` says that something in front says that it is a kernel's line.
    """

    text: bytes
    uptime_ns: int | None
    time_ns: int | None
    clock: str | None
    tagged: bool
    recovered: bool = False


class KernelLog:
    """Reads candidate lines of one source into starts of kernels and what they say."""

    def __init__(self, given: Given) -> None:
        from dissectors.platform.kernel_texts import read_kernel_text  # whose many forms nobody else pays for

        self._text = read_kernel_text
        self._source = given.source
        self._written_ns = given.written_ns
        self._stamped = False
        self._paravirtual = False
        self._said: set[tuple[int, bytes]] = set()

    def read(self, line: bytes, offset: int, number: int, length: int) -> Iterator[Record | Damage | Loss]:
        """What one line says, its newline left out; `length` counts it."""
        if len(line) > LONGEST_TEXT or not any(needle.search(line) for needle in NEEDLES):
            return
        said = _said(line, self._written_ns)
        if said is None:
            return
        self._stamped = self._stamped or said.uptime_ns is not None
        event = self._event(said)
        if event is None:
            return
        values = {"s": said.text} if event == GUEST_START else {"s": said.text, "via": VIA_KERNEL}
        yield Record(self._source, offset, length, number, event, values, line, said.time_ns, said.clock,
                     recovered=said.recovered)

    def _event(self, said: Said) -> str | None:
        if self._starts(said):
            self._said.clear()
            self._paravirtual = False
            return GUEST_START
        if _PV.fullmatch(said.text):
            self._paravirtual = True
        if self._paravirtual or self._text(said.text.decode("utf-8", "replace")) is None:
            return None
        if said.uptime_ns is not None:
            once = said.uptime_ns, said.text
            if once in self._said:
                return None
            if len(self._said) < MOST_SAID:
                self._said.add(once)
        return GUEST_LINE

    def _starts(self, said: Said) -> bool:
        if said.uptime_ns is not None:
            return bool(_BANNER.fullmatch(said.text) or _BANNER_STAMPED.fullmatch(said.text))
        if _BANNER_BSD.fullmatch(said.text):
            return True
        # /proc/version says the same, without a stamp
        return _BANNER.fullmatch(said.text) is not None and (said.tagged or not self._stamped)


def _said(line: bytes, written_ns: int | None) -> Said | None:
    """Take apart what stands in front of a kernel's text, and the text; None where it is another program's line."""
    envelope = read_envelope(line, written_ns)
    if envelope.tag and envelope.tag not in _TAGS:
        return None
    end, time_ns, clock, tagged = envelope.end, envelope.time_ns, envelope.clock, bool(envelope.tag)
    for form in (_DMESG, _DMESG_ISO, _LEVEL):
        if (found := form.match(line, end)) is not None:
            end, tagged = found.end(), True
            if form is not _LEVEL and time_ns is None and (time_ns := _date(found)) is not None:
                clock = GUEST
    stamp = _UPTIME.match(line, end)
    recovered = stamp is None and not tagged and (stamp := _UPTIME.search(line, end)) is not None
    uptime_ns = None
    if stamp is not None:
        end, tagged = stamp.end(), True
        uptime_ns = int(stamp["seconds"]) * 10**9 + int(stamp["fraction"].ljust(9, b"0"))
        if time_ns is None or clock == LOCAL_YEARLESS:
            time_ns, clock = uptime_ns, UPTIME
    return Said(line[end:].rstrip(b"\r "), uptime_ns, time_ns, clock, tagged, recovered)


def _date(found: re.Match[bytes]) -> int | None:
    """Nanoseconds since 1970 of one of dmesg's dates, as it stands where it has no zone; None where it is none."""
    parts = {name: part.decode("ascii") for name, part in found.groupdict().items()}
    try:
        if "year" in parts:
            month = _MONTHS.index(parts["month"]) + 1
            date = datetime.fromisoformat(f"{parts['year']}-{month:02}-{int(parts['date']):02}T{parts['clock']}+00:00")
        else:
            date = datetime.fromisoformat(f"{parts['day']}T{parts['clock']}.{parts['fraction']}{parts['zone']}")
    except ValueError:
        return None
    time_ns = (date - _EPOCH) // timedelta(microseconds=1) * 1000
    return time_ns if 0 <= time_ns < 1 << 63 else None


_BEGUN: Final = re.compile(
    rb"(?m)(?:\] |kernel: |^)(?:Linux version \d|NetBSD \d|Copyright \(c\) 199(?:2-\d{4} The F|5-\d{4} O))"
)
_HVM: Final = re.compile(
    rb"Hypervisor detected: Xen (?:HVM|PVH)|DMI: Xen HVM domU|Xen Platform(?: PCI)?: |front and the Xen platform PCI"
    rb"|XEN: (?:[Dd]isabling emulated|Hypervisor version)|able emulated devices"
)
_HOST: Final = re.compile(
    rb"Hypervisor detected: Xen PV\s|Booting (?:paravirtualized )?kernel on Xen\s*\n"
    rb"|\] Xen: \[mem 0x|\(preserve-AD\)|xen-blkback: backend/|\(XEN\) "
)
"""What only a kernel under Xen PV says, or one that serves others, or the hypervisor on the console of the host."""
_KERNEL: Final = re.compile(rb"(?m)^(?:\[[-\d]{10} [:\d]{8}\] )?\[ *\d+\.\d{6,9}\]| kernel: ")


def sniff(head: bytes) -> int:
    """How sure it is that a source holds the lines of a guest's kernel, which is not Dom0's."""
    if _HOST.search(head):
        return 0
    if _HVM.search(head):
        return 90
    if _BEGUN.search(head):
        return 30
    return 20 if _KERNEL.search(head) and any(needle.search(head) for needle in NEEDLES) else 0


DISSECTOR = Dissector(
    "guest-kernel", "a guest's kernel messages: boots, and what it says of the unplug and its drivers",
    b"[2026-11-23 03:20:06] [    0.000000] platform_pci_unplug: Xen Platform PCI: unrecognised magic value", sniff,
    lines=KernelLog, needles=NEEDLES, vantage="guest",
)
