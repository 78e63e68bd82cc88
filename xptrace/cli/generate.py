"""``xptrace generate``: a recording that nobody made: a driver's model against a device's, in a form that QEMU writes.

It is the same every time, byte for byte; it decodes to the accesses that were made, and replays on its own device
without a divergence.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from dissectors.qemu.writing import FORMS
from xptrace.cli import common, device
from xptrace.errors import XptraceError
from xptrace.exports.history import EPOCHS, Accessed, History, history, parse_epochs
from xptrace.exports.recording import (
    DEFAULT_EVENTS,
    EVENTS,
    GAP_NS,
    START_NS,
    Recorder,
    form_for,
    release,
    releases_of,
    spelt,
)
from xptrace.model.drivers import DRIVERS, declared, find_driver, parse_options
from xptrace.model.effects import Aborted
from xptrace.model.profile import Profile
from xptrace.replay.device import named
from xptrace.views.escape import printable
from xptrace.views.moment import Limit

PROFILE: Final = "qemu-10.2"
"""The device unless told otherwise."""
_OF_DAY: Final = re.compile(r"\d\d?:")
_Given = TypeVar("_Given")
_Taken = TypeVar("_Taken")


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = "epochs:\n" + "\n".join(f"  {name:<8} {about}" for name, about in EPOCHS.items())
    driver = command.add_argument_group("the driver")
    driver.add_argument("--driver", metavar="NAME", help="which driver runs; --list names them")
    driver.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                        help="what is set of the driver (may be given again)")
    driver.add_argument("--epochs", default="boot", metavar="LIST",
                        help="what happens, e.g. boot,migrate,reboot; by default it boots once")
    device.add_device(command, otherwise=PROFILE)
    form = command.add_argument_group("how it is recorded")
    form.add_argument("--format", metavar="NAME",
                      help="the form of its lines; by default the newest of QEMU's own log that has a time, where this "
                           "release has one; qemu-log is that log as the release writes it unless told otherwise")
    form.add_argument("--events", default=",".join(name for name in EVENTS if name in DEFAULT_EVENTS), metavar="LIST",
                      help=f"classes of events, of {', '.join(EVENTS)}; by default %(default)s")
    form.add_argument("--start", metavar="TIME", help="when it begins: 2026-11-23T04:05:29Z or seconds since 1970; "
                                                      "the kernel tracer's clock knows no date")
    form.add_argument("--gap", type=int, default=GAP_NS // 1000, metavar="MICROSECONDS",
                      help="from one access to the next; by default %(default)s")
    command.add_argument("-o", "--output", metavar="FILE", help="write there; the file appears whole or not at all")
    command.add_argument("--list", action="store_true", help="name the drivers with their options, and the formats")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.list:
        common.write(_listed(), arguments.output)
        return 0
    if arguments.driver is None:
        raise XptraceError("generate needs --driver NAME; --list names them")
    driver = _taken(find_driver, arguments.driver)
    options = _taken(lambda given: parse_options(driver, given), arguments.option)
    profile = named(arguments.profile or PROFILE)
    recorder = _taken(lambda given: _recorder(profile, given), arguments)
    epochs = _taken(parse_epochs, arguments.epochs)
    found = history(driver, options, device.start(arguments, profile).machine(), epochs)
    lines = _taken(lambda moments: list(recorder.lines(moments)), found.moments)
    for note in _notes(profile, found):
        print(f"xptrace: {note}", file=sys.stderr)
    common.write((line.decode("utf-8").removesuffix("\n") for line in lines), arguments.output)
    return 0


def _recorder(profile: Profile, arguments: argparse.Namespace) -> Recorder:
    return Recorder(
        profile=profile, form=form_for(release(profile), arguments.format),
        events=frozenset(word.strip() for word in arguments.events.split(",")), start_ns=_start(arguments.start),
        gap_ns=arguments.gap * 1000,
    )


def _taken(take: Callable[[_Given], _Taken], given: _Given) -> _Taken:
    """What the models make of what the user gave; their complaint, which is one line, is the user's error."""
    try:
        return take(given)
    except ValueError as error:
        raise XptraceError(str(error)) from None


def _start(text: str | None) -> int:
    if text is None:
        return START_NS
    if _OF_DAY.match(text):
        raise XptraceError(f"--start: {printable(text)!r} is of no day: write 2026-11-23T04:05:29Z")
    return Limit(text).time_ns


def _notes(profile: Profile, found: History) -> Iterator[str]:
    """What the recording does not say of itself."""
    if profile.version != release(profile):
        why = "traces nothing" if not profile.version else "has trace events that are not known"
        yield f"{profile.name} {why}: the recording has the form of QEMU {spelt(release(profile))}"
    for moment in found.moments:
        if isinstance(moment, Accessed):
            yield from (f"{effect.say()}; of this process, nothing comes after" for effect in moment.effects
                        if isinstance(effect, Aborted))  # fmt: skip


def _listed() -> Iterator[str]:
    yield "drivers:"
    for driver in DRIVERS:
        yield f"  {driver.name:<18} {driver.title}"
        for option in declared(driver.options):
            yield f"    {option.name:<16} {option.about}: {option.form}"
    yield "formats:"
    for form in FORMS.values():
        yield f"  {form.name:<18} {releases_of(form)}: {form.when}"
