"""``xptrace timeline``: each negotiation step by step, lane by lane, in the terminal or as a picture.

More than a few boots are shown as one line each, and a picture of several VMs has one row a boot; --vm and --boot
choose those to be shown in full.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports import lines
from xptrace.findings.assess import Assessment, examine
from xptrace.findings.rule import SEVERITIES
from xptrace.negotiation.story import Story
from xptrace.negotiation.timeline import strips, timeline
from xptrace.views.escape import printable
from xptrace.views.fleet import MANY, fleet_lines
from xptrace.views.style import Style
from xptrace.views.timeline import timeline_lines

_TOLD: Final = 10
"""How many names an error tells."""


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    common.add_inputs(command)
    command.add_argument("--vm", action="append", metavar="NAME", help="only this VM, in full (may be given again)")
    command.add_argument("--boot", type=int, metavar="N", help="only this boot, in full")
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")
    picture = command.add_argument_group("as a picture")
    picture.add_argument("--plot", metavar="FILE", help="write a picture instead: .svg, .png or .pdf")
    picture.add_argument("--align", choices=("probe", "clock"), default="probe",
                         help="several boots: from the first probe of each, or by the clock (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.plot:
        from xptrace.views.sheet import ready

        ready(arguments.plot)
    decoder = common.decoder(arguments)
    done = examine(decoder, progress=common.progress())
    stories = _chosen(done, arguments)
    if arguments.plot:
        _plot(stories, done, arguments)
    else:
        common.write(_lines(stories, done, arguments), arguments.output)
    return common.close(decoder, full=arguments.ledger, also=done.limits)


def _chosen(done: Assessment, arguments: argparse.Namespace) -> list[Story]:
    """The stories that were asked for; raises XptraceError for a VM or boot that there is not."""
    vms = list(dict.fromkeys(story.vm for story in done.stories))
    for vm in arguments.vm or ():
        if vm not in vms:
            there = ", ".join(map(printable, vms[:_TOLD])) or "none"
            raise XptraceError(f"no VM {printable(vm)!r}; there are: {there}{', …' * (len(vms) > _TOLD)}")
    found = [
        story for story in done.stories
        if (not arguments.vm or story.vm in arguments.vm) and arguments.boot in (None, story.boot)
    ]
    if done.stories and not found:
        raise XptraceError(f"no boot {arguments.boot}; the last one is {max(story.boot for story in done.stories)}")
    return found


def _lines(stories: Sequence[Story], done: Assessment, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.format == "jsonl":
        for story in stories:
            yield from map(lines.jsonl, timeline(story, done.findings).rows())
        return
    style = _style(arguments)
    if len(stories) > MANY and not arguments.vm and arguments.boot is None:
        yield from fleet_lines(strips(stories, done.findings, SEVERITIES), style)
        return
    for number, story in enumerate(stories):
        if number:
            yield ""
        yield from timeline_lines(timeline(story, done.findings), style)


def _style(arguments: argparse.Namespace) -> Style:
    """What the output can show; a file is UTF-8, without colours."""
    encoding = "utf-8" if arguments.output else sys.stdout.encoding or "ascii"
    return Style(shutil.get_terminal_size((100, 24)).columns, encoding, common.colour(arguments.output is None))


def _plot(stories: Sequence[Story], done: Assessment, arguments: argparse.Namespace) -> None:
    from xptrace.views.plot import timeline_figure
    from xptrace.views.plot_fleet import fleet_figure
    from xptrace.views.sheet import save

    if len(stories) <= MANY and len({story.vm for story in stories}) <= 1:
        figure = timeline_figure(*(timeline(story, done.findings) for story in stories))
    else:
        figure = fleet_figure(strips(stories, done.findings, SEVERITIES), align=arguments.align)
    save(figure, arguments.plot)
