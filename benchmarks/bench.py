"""What every case needs: a folder, recordings in it, commands run in turns, rows."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.generate import Kind
from benchmarks.process import Command, FailedError, Run, run
from benchmarks.table import Row, Wanted, megabytes, ratio, seconds
from dissectors.qemu.textlog import NEEDLES

ROOT: Final = Path(__file__).parents[1]
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Peer:
    """What xptrace is compared with, and the ratio that is wanted; a command without words is not installed."""

    command: Command
    wanted: Wanted | None = None


def program(name: str, module: str, *arguments: str | Path) -> Command:
    """One of the programs of this folder, in a process of its own."""
    above = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    words = (sys.executable, "-P", "-m", f"benchmarks.{module}", *map(str, arguments))
    return Command(name, words, {"PYTHONPATH": above})


def tool(name: str, *arguments: str | Path) -> tuple[str, ...]:
    """The words that run a program of the system; none where it is not installed."""
    found = shutil.which(name)
    return (found, *map(str, arguments)) if found else ()


def needles() -> Iterator[str]:
    """The options that name the literals to grep or ripgrep."""
    for needle in NEEDLES:
        yield "-e"
        yield needle.pattern.decode().replace(r"\d", "[0-9]")  # of which grep knows no shorthand


def _program() -> tuple[str, ...]:
    """The words that run xptrace as users do: the script beside the interpreter, where it is installed."""
    script = Path(sys.executable).with_name("xptrace")
    return (str(script),) if script.exists() else (sys.executable, "-m", "xptrace")


XPTRACE: Final = _program()


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder for the recordings, and how long to measure."""

    folder: Path
    rounds: int
    patience_seconds: float
    """No further round of a case begins after so long."""

    def xptrace(self, *arguments: str | Path, to: str = "written", kernel: bool = True) -> Command:
        """One of the commands of xptrace, writing a file."""
        output = self.folder / to
        return Command("xptrace", (*XPTRACE, *map(str, arguments), "-o", str(output)),
                       {} if kernel else {"XPTRACE_KERNEL": "off"}, output)

    @staticmethod
    def search(path: Path) -> Command:
        """The bare search for the literals by which text is found."""
        return Command("rg -c", tool("rg", "-c", *needles(), path))

    # -- recordings

    def log(self, kind: Kind, size_megabytes: float) -> tuple[Path, int]:
        """A generated text log and how many lines it has; in the page cache, because it has just been written."""
        path = self.folder / f"{kind}.log"
        self._made("generate", path, "--kind", kind, "--megabytes", f"{size_megabytes:g}")
        said = (self.folder / "printed").read_text().split(", ")
        return path, int(said[1].split()[0])

    def simpletrace(self, kind: Kind, events: int) -> Path:
        """A generated recording of QEMU's simple trace back end."""
        path = self.folder / f"{kind}.trace"
        self._made("simpletrace", path, "--kind", kind, "--events", str(events))
        return path

    def _made(self, module: str, path: Path, *arguments: str) -> None:
        """Generate in a process of its own: a child's peak is never less than what the runner held when it began it."""
        run(program(module, module, path, *arguments), self.folder)

    def compressed(self, path: Path) -> Path:
        """The same recording as gzip writes it by default."""
        target = path.with_name(f"{path.name}.gz")
        with path.open("rb") as plain, gzip.open(target, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(plain, packed, _COPY_BYTES)
        return target

    def unpacked(self, path: Path) -> Path:
        """A recording from elsewhere, without its compression, in this folder."""
        target = self.folder / "unpacked"
        with (lzma.open(path) if path.suffix == ".xz" else path.open("rb")) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, _COPY_BYTES)
        return target

    # -- comparisons

    def measure(self, commands: Mapping[str, Command], rounds: int | None = None) -> dict[str, list[Run]]:
        """Run all in turn, round after round, so that what slows the machine for a while slows them all."""
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        begin = time.monotonic()
        for _ in range(rounds or self.rounds):
            for name, command in commands.items():
                runs[name].append(run(command, self.folder))
            if time.monotonic() - begin > self.patience_seconds:
                break
        return runs

    def _complaint(self, command: Command) -> str | None:
        """Why a command cannot be measured."""
        if not command.words:
            return f"{command.name} is not installed"
        try:
            run(command, self.folder)
        except FailedError as failed:
            return str(failed)
        return None

    def rows(self, case: str, ours: Command, peers: Sequence[Peer], rounds: int | None = None) -> Iterator[Row]:
        """One row a peer; a peer that is not installed or does not end well has a row that says so."""
        complaints = {peer.command.name: self._complaint(peer.command) for peer in peers}
        there = [peer.command for peer in peers if not complaints[peer.command.name]]
        try:
            runs = self.measure({one.name: one for one in (ours, *there)}, rounds)
        except FailedError as failed:
            for peer in peers:
                yield Row(case, str(failed), peer.command.name, wanted=peer.wanted)
            return
        mine = [one.seconds for one in runs[ours.name]]
        peak = megabytes(max(one.peak_bytes for one in runs[ours.name]))
        for peer in peers:
            if said := complaints[peer.command.name]:
                yield Row(case, seconds(mine), said, wanted=peer.wanted, peak=peak)
                continue
            theirs = runs[peer.command.name]
            taken = [one.seconds for one in theirs]
            yield Row(case, seconds(mine), f"{peer.command.name}: {seconds(taken)}", ratio(mine, taken, peer.wanted),
                      peer.wanted, f"{peak} ({megabytes(max(one.peak_bytes for one in theirs))})")
