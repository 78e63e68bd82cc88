"""``xptrace doctor``: what this installation is made of, what it lacks, and what that would be good for.

The exit code is 2 where something is broken that is needed; what is merely missing makes nothing impossible but what
stands beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from itertools import groupby
from typing import Final, Literal

from dissectors import broken
from dissectors.kernel import SWITCH, chosen_kernel
from xptrace.cli import common
from xptrace.cli.progress import size_text
from xptrace.exports import lines
from xptrace.views.escape import printable

_PACKAGE: Final = "xptrace"
_LITTLE: Final = 10**9
"""Bytes of free space below which tables of a large recording may not fit."""
_REQUIREMENT: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[.*?\])?\s*(?:>=\s*(?P<least>[\d.]+))?[^;]*(?:;(?P<when>.*))?")
"""As wheels have it: a name, extras, versions, and when it is wanted."""
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"](?P<name>[\w.-]+)['\"]")
_PROGRAMS: Final = {
    "tshark": "reads what `xptrace export --to pcapng` writes, and tells `xptrace wireshark --install` where",
    "trace-cmd": "makes a trace.dat readable",
    "perf": "makes a perf.data readable",
    "babeltrace2": "makes recordings of LTTng readable",
}
"""Programs of others that some commands ask for or name."""

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked at; `advice` says what to do about it."""

    name: str
    state: State
    told: str
    advice: str | None = None


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("-T", dest="format", choices=("text", "jsonl"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    found = list(parts())
    if arguments.format == "jsonl":
        common.write((lines.jsonl(asdict(part)) for part in found), None)
    else:
        common.write(map(_line, found), None)
    return 2 if any(part.state == "broken" for part in found) else 0


def _line(part: Part) -> str:
    advice = f": {printable(part.advice)}" if part.advice else ""
    return f"{printable(part.name):<22} {part.state:<8} {printable(part.told)}{advice}"


def parts() -> Iterator[Part]:
    """Everything that is looked at."""
    yield Part("python", "ok", f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}")
    yield kernel()
    yield from _libraries()
    for name, why in broken().items():
        yield Part(f"dissector {name}", "missing", f"cannot be loaded: {why}", "its author may know more")
    yield _temporary()
    for name, use in _PROGRAMS.items():
        path = shutil.which(name)
        yield Part(name, "missing" if path is None else "ok", path or f"not on the path; it {use}")


def kernel() -> Part:
    """Which kernel reads in bulk."""
    name, wanted = "kernel", os.environ.get(SWITCH, "")
    chosen = chosen_kernel()
    if chosen is not None:
        kind = "the twin in Python" if wanted == "twin" else "compiled, " + ("AVX2" if chosen.AVX2 else "without AVX2")
        because = f" ({SWITCH}={wanted})" if wanted in ("twin", "plain") else ""
        return Part(name, "ok", f"{kind}{because}, {getattr(chosen, '__file__', None)}")
    if wanted == "off":
        return Part(name, "ok", f"off ({SWITCH}={wanted}): every record is read by itself")
    slower = "every record is read by itself, which takes longer"
    try:
        import_module("dissectors.kernel._kernel")
    except ModuleNotFoundError:
        return Part(name, "missing", f"not built; {slower}",
                    f"install a C compiler and Python's headers, and then {_PACKAGE} again")
    except ImportError as error:
        return Part(name, "missing", f"cannot be loaded ({error}); {slower}", f"install {_PACKAGE} again")
    return Part(name, "missing", f"cannot be used; {slower}", f"install {_PACKAGE} again")


def _libraries() -> Iterator[Part]:
    """What the package needs, and what it can do with."""
    try:
        version, requirements = metadata.version(_PACKAGE), metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        yield Part(_PACKAGE, "missing", "runs from a folder; nothing says what it needs", "pip install it")
        return
    yield Part(_PACKAGE, "ok", version)
    parsed = [found for one in requirements if (found := _REQUIREMENT.match(one)) and found["name"] != _PACKAGE]
    for one in parsed:
        if not _EXTRA.search(one["when"] or ""):
            yield _library(one["name"], one["least"])
    for extra, wanted in groupby(parsed, key=_extra):
        if extra:
            yield _of_extra(extra, [(one["name"], one["least"]) for one in wanted])


def _extra(requirement: re.Match[str]) -> str:
    found = _EXTRA.search(requirement["when"] or "")
    return found["name"] if found else ""


def _library(name: str, least: str | None) -> Part:
    """One that is needed."""
    why = _lacks(name, least)
    if why is None:
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001  (whatever a damaged installation raises)
            why = f"cannot be loaded: {type(error).__name__}: {error}".partition("\n")[0]
    if why is None:
        return Part(name, "ok", metadata.version(name))
    return Part(name, "broken", why, f"pip install --upgrade {name}")


def _of_extra(extra: str, wanted: list[tuple[str, str | None]]) -> Part:
    """Those that are wanted together, for some commands only."""
    lacking = [f"{name} {why}" for name, least in wanted if (why := _lacks(name, least)) is not None]
    name = f"{_PACKAGE}[{extra}]"
    if lacking:
        return Part(name, "missing", ", ".join(lacking), f"pip install '{name}'")
    return Part(name, "ok", ", ".join(f"{one} {metadata.version(one)}" for one, _ in wanted))


def _lacks(name: str, least: str | None) -> str | None:
    """Why a library is of no use; None where it is there."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"
    if least is not None and _release(version) < _release(least):
        return f"{version} is older than {least}"
    return None


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, as far as they go; zeros at their end say nothing."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _temporary() -> Part:
    """Where tables go that are too large for memory."""
    name = "temporary files"
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Part(name, "broken", f"no place for them: {error.strerror or error}", "name one by TMPDIR")
    told = f"{folder}, {size_text(free)} free"
    if free < _LITTLE:
        return Part(name, "missing", f"{told}: little for a large recording", "name another place by TMPDIR")
    return Part(name, "ok", told)
