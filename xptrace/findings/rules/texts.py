"""Anomalies of the log port: what the guest's drivers say there, and how they write it.

Law: src/xen/unplug.c, src/xen/bug_check.c and src/xenfilt/driver.c of the Windows PV drivers (win-xenbus) for what they
say; xenpci/xenpci.c of GPLPV for its clock; hvm-emulated-unplug.pandoc, step 7, and hw/xen_platform.c of QEMU and of
qemu-xen-traditional for how it is written. All of it is the guest's word::

    xen_platform_log xen platform: UNPLUG: PRE-AMBLE (DRIVERS NOT BLACKLISTED)
    xen_platform_log xen platform: XEN|BUGCHECK: ====>
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from dissectors.platform.registers import LOG_BUFFER, MAGIC, MAGIC_BLACKLISTED
from dissectors.platform.texts import BUGCHECKS, read_text
from dissectors.vocabulary import GUEST_CRASH
from xptrace.access.rows import Event
from xptrace.findings.rule import Context, Hit, Severity, places, rule
from xptrace.findings.words import span, when
from xptrace.model.log import BUCKET, REFILL
from xptrace.negotiation.sayings import Saying, sayings, texts
from xptrace.negotiation.story import Line, Moment, Step, Story, comes_after

_UNPLUG_C: Final = "src/xen/unplug.c of the Windows PV drivers"
_LOG_WRITE: Final = "log_writeb in hw/i386/xen/xen_platform.c of QEMU"
_MOST: Final = 8
"""Places that are named of one anomaly, crashes that are told of one boot, and boots that are looked back upon."""

_LAG_NS: Final = 60 * 10**9
"""How far the guest's clock may fall behind the host's between two lines and be merely late."""
_PVDEVICE_ID: Final = 0xC000
_PLATFORM_IDS: Final = (0x0001, 0x0002)
_NO_UTF8: Final = "\N{REPLACEMENT CHARACTER}"
_NO_TEXT: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of what leaves no mark on paper, blanks excepted."""


def _of(said: Sequence[Saying], *kinds: str) -> list[Saying]:
    return [one for one in said if one.kind in kinds]


def _moments(found: Sequence[Saying]) -> list[Moment]:
    return [one.at for one in found[:_MOST]]


def _unplugged(story: Story, said: Sequence[Saying]) -> bool:
    """Whether the boot shows that anything was unplugged, by what was said or by what was done."""
    return bool(_of(said, "unplug disks", "unplug nics") or story.mask or story.devices)


# -- the driver's decision


@rule(
    "A26", severity="high", title="the drivers' active device is not the one that they unplug through",
    law=f"src/xenfilt/driver.c of the Windows PV drivers; {_UNPLUG_C}", needs={"messages"},
    advice="Run the clean-up tools of the drivers' vendor in the guest (XenBootFix, then XenClean), or give it back "
           "the device that they were installed on (XenServer: has-vendor-device, platform:device_id).",
)
def active_elsewhere(story: Story, case: Context) -> Iterator[Hit]:
    """The Windows drivers remember one PCI device as the active one, and unplug only where they find it.

    Where that is the vendor's device C000, and it is gone, or what was set up to be unplugged belongs to 0001 or 0002,
    nothing is unplugged. The guest stays on emulated devices, or stops with INACCESSIBLE_BOOT_DEVICE.
    """
    said = sayings(story)
    present, preambles = _of(said, "active device"), _of(said, "unplug preamble")
    if not (present or preambles) or _unplugged(story, said):
        return
    chosen = _chosen_before(story, case)
    if not chosen or chosen[-1].integer("device_id") != _PVDEVICE_ID:
        return
    others = [one for one in chosen if one.integer("device_id") in _PLATFORM_IDS]
    if present and not present[-1].flag("present"):
        yield Hit(f"{story.id}: the drivers said {when(present[-1].at)} that their active device is not present: it "
                  "was 5853:c000 in an earlier boot. Nothing was unplugged",
                  places(present[-1].at, chosen[-1].at), "derived")
    elif others and preambles and case.goes_on(story, preambles[-1].at):
        was = others[-1].integer("device_id") or 0
        yield Hit(f"{story.id}: the drivers' active device is 5853:c000, which was 5853:{was:04x} before, and after "
                  f"their preamble {when(preambles[-1].at)} they unplugged nothing",
                  places(preambles[-1].at, chosen[-1].at, others[-1].at), "assumed")


def _chosen_before(story: Story, case: Context) -> list[Saying]:
    """The active devices that the drivers named in the boots before this one."""
    boots = [one for one in case.boots(story) if one.boot < story.boot]
    return [one for boot in boots[-_MOST:] for one in _of(sayings(boot), "active device id")]


_CLASSES: Final = {"vbd": ("disks", "PV disk", "unplug disks"), "vif": ("NICs", "PV NIC", "unplug nics")}
"""What a veto is about: what is emulated, what would take its place, and the saying that it was unplugged after all."""


@rule(
    "A27", severity="medium", title="the Windows drivers refrained from unplugging", law=f"{_UNPLUG_C} (e3c0bdc)",
    needs={"messages"},
    advice="Look in the guest's device manager for the PV disk or NIC under the XENBUS device, repair its driver's "
           "installation, and restart the guest twice.",
)
def vetoed(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """Before they unplug, the drivers look in the registry for a PV disk (VBD) or NIC (VIF) that takes over.

    Where there is none they keep the emulated one, so that the guest can still boot. It runs slowly on emulated
    devices, and finds the same disk a second time if the PV driver comes up after all.
    """
    said = sayings(story)
    for device, (emulated, twin, done) in _CLASSES.items():
        found = [one for one in _of(said, "unplug veto") if one.word("device") == device]
        if found and not any(comes_after(one.at, found[0].at) for one in _of(said, done)):
            yield Hit(f"{story.id}: the Windows drivers said {when(found[0].at)} that they do not unplug the emulated "
                      f"{emulated} (VETO Unplug {device.upper()}): the guest's registry knows no {twin}",
                      places(*_moments(found)))


@rule(
    "A28", severity="low", title="the boot disk stays emulated on purpose", law=_UNPLUG_C, needs={"messages"},
    advice="Nothing, if it is meant. Otherwise remove XEN:BOOT_EMULATED=TRUE from the guest's boot options (older "
           "drivers: BootEmulated from the parameters of XENFILT).",
)
def auxiliary(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """With BOOT_EMULATED the Windows drivers unplug every IDE disk but the primary master, and run on from that one.

    An emulated boot disk is slow. It is meant for guests whose PV disk driver cannot be trusted with booting.
    """
    found = [one for one in _of(sayings(story), "unplug disks") if one.flag("auxiliary")]
    if found:
        yield Hit(f"{story.id}: the Windows drivers said {when(found[0].at)} that they unplugged the auxiliary disks "
                  "alone (UNPLUG: AUX DISKS): the primary master stays emulated", places(*_moments(found)))


@rule(
    "A29", severity="medium", title="the Windows drivers unplugged nothing in two boots, one after the other",
    law=f"{_UNPLUG_C} (963765d)", needs={"messages"},
    advice="Finish the installation of the PV drivers in the guest (in the device manager none may ask for a restart), "
           "then restart it from within, not by destroying it.",
)
def never_finished(story: Story, case: Context) -> Iterator[Hit]:
    """To unplug is asked for by a note in the registry, which the PV disk and NIC drivers leave for the next boot.

    The first boot after the installation finds none, and that is as it should be. A second without one says that these
    drivers did not come up, or that their note was lost: the guest goes on with emulated devices.
    """
    before = case.before(story)
    if before is None or before.boot != story.boot - 1:
        return
    now, then = _idle(story, case), _idle(before, case)
    if now is not None and then is not None:
        yield Hit(f"{story.id}: the Windows drivers finished their preamble {when(now.at)} and unplugged neither disks "
                  f"nor NICs, as in the boot before ({before.id})", places(now.at, then.at))


def _idle(story: Story, case: Context) -> Saying | None:
    """The preamble of a boot in which nothing was unplugged; none where the recording ends with it, or in a resume."""
    said = sayings(story)
    preambles = _of(said, "unplug preamble")
    if not preambles or story.began == "migration" or _of(said, "suspend") or _unplugged(story, said):
        return None
    return preambles[-1] if case.goes_on(story, preambles[-1].at) else None


# -- how it is written


@rule(
    "A30", severity="low", title="the guest wrote to the log port before it had read the magic",
    law="xen/docs/misc/hvm-emulated-unplug.pandoc, step 7; src/xenfilt/driver.c of the Windows PV drivers",
    needs={"ports"},
    advice="Have the driver read 0x49d2 (or 0xd249) from port 0x10 before it writes a byte to port 0x12.",
)
def unasked(story: Story, case: Context) -> Iterator[Hit]:
    """The log port may be written once the magic was seen, blacklisted or not.

    On a machine without the platform device the bytes reach whatever else stands at port 0x12. A crash handler may have
    no choice, and the Windows PV drivers tell of their active device before they ask for the magic. A guest that
    resumes read the magic when it booted, and does nothing wrong.
    """
    first = _first_written(story)
    if first is None or story.began not in ("process", "reset") or not case.reads_recorded(story):
        return
    magic = next((step.at for step in story.magics if step.value in (None, MAGIC, MAGIC_BLACKLISTED)), None)
    resumes = [one.at for one in _of(sayings(story), "suspend")]
    if magic is not None and (not comes_after(magic, first) or any(comes_after(magic, one) for one in resumes)):
        return
    if magic is None and resumes:
        return
    ran = story.began == "reset" or any((one.subject, one.said) == ("runstate", "running") for one in story.life)
    read = "which nobody read in this boot" if magic is None else f"which was read {when(magic)}"
    windows = _by_windows(story)
    yield Hit(f"{story.id}: the log port was written {when(first)}, before the magic, {read}"
              f"{', as the Windows PV drivers do' if windows else ''}",
              places(first, magic), "observed" if ran else "assumed", "info" if windows else None)


def _by_windows(story: Story) -> bool:
    """Whether the first line of the log is one of the Windows PV drivers, with the module and function in front."""
    first = read_text(story.log[0].text) if story.log else None
    return first is not None and first.module is not None and not first.kind.startswith("bugcheck")


def _first_written(story: Story) -> Moment | None:
    """The first sign of a write to the log port: a character, or a line that the device emitted."""
    character = story.first_log.at if story.first_log else None
    line = story.log[0].at if story.log else None
    if character is None or line is None:
        return character or line
    return line if comes_after(character, line) else character


@rule(
    "A31", severity="low", title="a line as long as the log buffer", law=_LOG_WRITE, needs={"messages"},
    advice="Read the line together with the one that follows it, and expect a character between them to be missing.",
)
def overlong(story: Story, case: Context) -> Iterator[Hit]:  # noqa: ARG001
    """The device holds 4095 characters of a line.

    At one more it emits what it has, drops that character, and goes on with a new line: what looks like two lines is
    one, and a character between them is lost.
    """
    found = [line.at for line in story.log if line.complete and _characters(line) == LOG_BUFFER]
    if found:
        more = f"; {len(found) - 1} more are as long" if len(found) > 1 else ""
        yield Hit(f"{story.id}: the line that was emitted {when(found[0])} has exactly {LOG_BUFFER} characters, as "
                  "many as the device holds: unless it ended there, it goes on in the next line, and a character "
                  f"between is lost{more}",
                  places(*found[:_MOST]), "derived")


def _characters(line: Line) -> int:
    """Bytes of a line as the guest wrote them, where each that is no text counts as one."""
    return len(line.text.encode("utf-8", "replace")) - 2 * line.text.count(_NO_UTF8)


@rule(
    "A32", severity="medium", title="the guest floods the log port", needs={"messages"},
    law="hw/xen_platform.c of qemu-xen-traditional (e17ca57c, 11d3914d)",
    advice="Find out what makes the driver write so much (its log level, an error that repeats), and lower it; do not "
           "trust durations in this part of the recording.",
)
def flooded(story: Story, case: Context) -> Iterator[Hit]:
    """The traditional device model lets 128 KiB of log pass at once, and 256 bytes in every second after that.

    Beyond, it puts the guest's processor to sleep within the port write: nothing is lost, but the guest stands still,
    and durations in the recording are those of the throttle. QEMU has no such limit: there, the host's disk fills.
    """
    throttles = case.device(story, lambda profile: profile.throttled)
    told = [line.at for text, line in texts(story) if text.kind == "throttled"]
    if told and throttles is not False:
        yield Hit(f"{story.id}: a line says {when(told[0])} that the guest's writing to the log port is throttled, so "
                  "that the guest stands still while it writes", places(*told[:_MOST]), "assumed")
    flood = _flood(story)
    if flood is None:
        return
    emptied, timed = flood
    how = f"too fast for the throttle {when(emptied)}" if timed else "too many for the throttle, had they come at once"
    then = {True: "this device made the guest wait", False: "this device does not throttle",
            None: "a device that throttles makes the guest wait"}[throttles]
    severity: Severity | None = "low" if throttles is False else None
    yield Hit(f"{story.id}: the guest wrote {_written(story)} characters to the log port, {how} (128 KiB, then 256 "
              f"bytes a second); {then}",
              places(story.log[0].at, emptied), "derived" if timed and throttles is not None else "assumed", severity)


def _written(story: Story) -> int:
    """Characters written to the log port: those seen one by one, or those of the lines with their ends."""
    return max(story.counts["log characters"], sum(len(line.text) + 1 for line in story.log))


def _flood(story: Story) -> tuple[Moment, bool] | None:
    """The moment at which the throttle's bucket is empty, and True; the last line's and False where no clock tells."""
    if _written(story) <= BUCKET or not story.log:
        return None
    first, last = story.log[0].at, story.log[-1].at
    left, before = float(BUCKET), first
    for line in story.log:
        passed_ns = story.nanoseconds(before, line.at)
        if passed_ns is None:
            return last, False
        left = min(BUCKET, left + max(0, passed_ns) / 10**9 * REFILL) - len(line.text) - 1
        if left < 0:
            return line.at, True
        before = line.at
    whole_ns = story.nanoseconds(first, story.last or last)
    if whole_ns is None:
        return last, False
    return (last, True) if _written(story) > BUCKET + max(0, whole_ns) / 10**9 * REFILL else None


@rule(
    "A33", severity="medium", title="the log holds what is no text", needs={"messages"},
    law=f"{_LOG_WRITE}, and its platform_ioport_write (35132016dc)",
    advice="Show the log with a tool that escapes control characters, as this one does, never with cat. Have a guest "
           "that logs through BAR0+8 write text alone, or use port 0x12.",
)
def no_text(story: Story, case: Context) -> Iterator[Hit]:
    """Most devices pass on every byte as the guest wrote it.

    Control characters move the cursor and change the screen of whoever reads the log, which a hostile guest may use. At
    BAR0+8 the bytes 01 and 02 are no characters at all for QEMU 2.8 and later: they unplug disks and NICs.
    """
    found = [(strange, line.at) for line in story.log if (strange := _strange(line.text))]
    if found:
        what, first = found[0]
        lines = f"{len(found)} lines of the log hold" if len(found) > 1 else "a line of the log holds"
        yield Hit(f"{story.id}: {lines} what is no text, the first of it {when(first)}: {what}",
                  places(*(at for _, at in found[:_MOST])))
    yield from _amid_text(story, case)


def _strange(text: str) -> str | None:
    """The first thing in a line that is no text, in words; tabs and a carriage return at the end pass for text."""
    text = text.removesuffix("\r").replace("\t", " ")
    if text.isprintable() and _NO_UTF8 not in text:
        return None
    for character in text:
        if character == _NO_UTF8:
            return "bytes that are not UTF-8"
        if unicodedata.category(character) in _NO_TEXT:
            return f"character 0x{ord(character):02x}"
    return None


def _amid_text(story: Story, case: Context) -> Iterator[Hit]:
    """Bytes 01 and 02 at BAR0+8 of a guest that writes its log there; without any text they are a legacy driver's."""
    demands = [step for step in story.masks if step.register == "bar0_log"]
    if not demands or story.first_log is None or story.first_log.register != "bar0_log":
        return
    unplugs = case.device(story, lambda profile: profile.legacy_bar0)
    then = {True: "which unplugs", False: "which unplugs nothing on this device",
            None: "which unplugs if this is QEMU 2.8 or later"}[unplugs]
    yield Hit(f"{story.id}: amid text for the log, {_bytes(demands)} was written to BAR0+8 {when(demands[0].at)}, "
              f"{then}",
              places(*(step.at for step in demands[: _MOST - 1]), story.first_log.at),
              "assumed" if unplugs is None else "derived")


def _bytes(demands: Sequence[Step]) -> str:
    return " and ".join(f"0x{value:02x}" for value in sorted({step.value or 0 for step in demands}))


# -- crashes and clocks


@rule(
    "A34", severity="high", title="Windows crashed", law="src/xen/bug_check.c of the Windows PV drivers",
    needs={("messages", "debug", "crash")},
    advice="Look up the stop code, and what came just before it (an unplug, a resume); the hypervisor's log may have a "
           "VIRIDIAN CRASH line with the same code. A report without an end points to a hang, or a reset.",
)
def crashed(story: Story, case: Context) -> Iterator[Hit]:
    """The drivers' crash handler writes the stop code, its parameters and the stack to the log.

    A report without its end says that the guest hung, or was reset, while it wrote. A crash just after an unplug or a
    resume is most often of a disk that went and did not come back.
    """
    said = sayings(story)
    crashes = [one for one in _of(said, "bugcheck") if one.flag("begun") or one.word("name") or one.integer("code")]
    seen = [event for event in story.life if event.records[0].event == GUEST_CRASH]
    for number, crash in enumerate(crashes[:_MOST]):
        many = f" ({len(crashes)} crashes are told in this boot)" if number == 0 and len(crashes) > _MOST else ""
        before = _last_before(story, said, crash)
        after = "" if before is None else f", {_since(story, before[1], crash.at)} {before[0]}"
        yield Hit(f"{story.id}: Windows crashed {when(crash.at)}{after}: {_stop(crash)}; "
                  f"{_end(story, case, crash)}{many}",
                  places(*crash.moments, None if before is None else before[1],
                         *(Moment.of(event) for event in seen[:_MOST])))
    if seen and not crashes:
        yield Hit(f"{story.id}: the hypervisor saw Windows crash {when(Moment.of(seen[0]))}: {_viridian(seen[0])}; its "
                  "own report is not recorded", places(*(Moment.of(event) for event in seen[:_MOST])))


def _viridian(event: Event) -> str:
    """The stop code that the guest gave to the hypervisor, with its parameters."""
    code = event.value or 0
    parameters = ", ".join(f"0x{event.records[0].integer(name) or 0:x}" for name in ("p1", "p2", "p3", "p4"))
    return f"{BUGCHECKS.get(code, 'stop code')} (0x{code:02x}), parameters {parameters}"


def _stop(crash: Saying) -> str:
    """The stop code in words, with its parameters, as far as they were said."""
    name, code = crash.word("name"), crash.integer("code")
    number = None if code is None else f"0x{code:02x}"
    said = f"{name} ({number})" if name and number else name or number or "the stop code is missing"
    parameters = ", ".join(f"0x{value:x}" for value in crash.numbers("parameters"))
    return f"{said}, parameters {parameters}" if parameters else said


def _end(story: Story, case: Context, crash: Saying) -> str:
    """How the report of a crash ended."""
    lines = crash.integer("lines") or 0
    if crash.flag("closed"):
        return f"its report is whole ({lines} lines)" if crash.flag("begun") else "its report lacks the beginning"
    if case.goes_on(story, crash.until):
        return f"its report breaks off after {lines} lines, by a hang or a reset"
    return f"the recording ends within its report, after {lines} lines"


def _last_before(story: Story, said: Sequence[Saying], crash: Saying) -> tuple[str, Moment] | None:
    """The last unplug or resume before a crash, in words, with its moment."""
    found = [(f"mask 0x{step.mask or 0:04x} was written", step.at) for step in story.masks]
    found += [("the guest resumed", one.until) for one in _of(said, "suspend") if "return" in one.words("phases")]
    last: tuple[str, Moment] | None = None
    for one in found:
        if comes_after(crash.at, one[1]) and (last is None or comes_after(one[1], last[1])):
            last = one
    return last


def _since(story: Story, one: Moment, other: Moment) -> str:
    passed_ns = story.nanoseconds(one, other)
    return "after" if passed_ns is None else f"{span(passed_ns)} after"


@rule(
    "A52", severity="low", title="the guest's clock ran backwards", needs={"messages"},
    law="xenpci/xenpci.c of GPLPV; src/xenbus/suspend.c of the Windows PV drivers",
    advice="Order the guest's lines by their place, not by their own time; set the guest's clock (the time zone of its "
           "RTC, time synchronisation after a restore).",
)
def clock_back(story: Story, case: Context) -> Iterator[Hit]:
    """Lines of GPLPV carry the guest's own time, and so do those of a suspend.

    Where it runs backwards, or falls behind the host's clock, the guest was restored with an old time, or its clock was
    set. Lines that are ordered by it then tell the story in the wrong order.
    """
    earlier = case.before(story)
    stamps = [*(_stamps(earlier)[-1:] if earlier else ()), *_stamps(story)]
    back = [(one, other) for one, other in pairwise(stamps) if other[0] < one[0]]
    for (before, first), (after, second) in back[:1]:
        more = f", and {len(back) - 1} more times after that" if len(back) > 1 else ""
        yield Hit(f"{story.id}: the guest's clock went back by {span(before - after)} between two lines, of which the "
                  f"later was written {when(second)}{more}", places(second, first))
    late = [(lag, one, other) for one, other in pairwise(stamps) if (lag := _lag(story, one, other)) > _LAG_NS]
    if late and not back:
        lag_ns, (_, first), (_, second) = late[0]
        yield Hit(f"{story.id}: the guest's clock fell {span(lag_ns)} behind the host's between two lines, of which "
                  f"the later was written {when(second)}", places(second, first))


def _stamps(story: Story) -> list[tuple[int, Moment]]:
    """The guest's own times, with the moments at which they were told."""
    return [(text.guest_time_ns, line.at) for text, line in texts(story) if text.guest_time_ns is not None]


def _lag(story: Story, one: tuple[int, Moment], other: tuple[int, Moment]) -> int:
    """How much less time passed for the guest than for the host between two lines; 0 where no clock tells."""
    host_ns = story.nanoseconds(one[1], other[1])
    return 0 if host_ns is None else host_ns - (other[0] - one[0])
