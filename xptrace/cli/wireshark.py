"""``xptrace wireshark``: the plug-in by which Wireshark and tshark read recorded traffic, printed or installed."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from xptrace.cli import common
from xptrace.errors import XptraceError
from xptrace.exports.file import whole
from xptrace.exports.wireshark import NAME, plugin
from xptrace.views.escape import printable

_FOLDER = "Personal Lua Plugins:"


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    where = command.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="FILE", help="write there; the file appears whole or not at all")
    where.add_argument("--install", action="store_true", help="put it where your Wireshark looks for Lua plug-ins")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if not arguments.install:
        common.write(plugin().splitlines(), arguments.output)
        return 0
    folder = plugins_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XptraceError(f"{folder}: cannot be made: {error.strerror}") from None
    path = folder / NAME
    with whole(path) as file:
        file.write(plugin().encode())
    print(f"xptrace: {printable(str(path))}: in place; Wireshark reads it when it starts next", file=sys.stderr)
    return 0


def plugins_folder() -> Path:
    """The user's own folder of Lua plug-ins: as tshark tells it, or else where Wireshark's User's Guide says it is."""
    told = _told()
    if told is not None:
        return told
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", "~")).expanduser() / "Wireshark" / "plugins"
    return Path.home() / ".local" / "lib" / "wireshark" / "plugins"


def _told() -> Path | None:
    """What tshark says, if there is one that says something."""
    program = shutil.which("tshark")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  (the user's own tshark, without anything of a recording)
            [program, "-G", "folders"], capture_output=True, text=True, errors="replace", check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    found = [line.partition("\t")[2].strip() for line in done.stdout.splitlines() if line.startswith(_FOLDER)]
    return Path(found[0]) if found and found[0] else None
