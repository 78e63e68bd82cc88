"""Where the outputs for several sources go: one file for one source, or a directory that holds one for each.

What a file is called tells whose it is (`xptrace.access.attribution`), so each keeps its name, without the ending of a
compression. Where the folders around files tell something too, or where names are there twice, they keep their folders
below what all have in common; a member of an archive lies in a directory called as the archive.
An output appears whole or not at all, a directory too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from xptrace.errors import XptraceError
from xptrace.intake.member import inside
from xptrace.intake.rotation import plain_name
from xptrace.intake.source import Source

_TELLING: Final = frozenset(("libvirt", "var"))
"""Folders that tell whose a file is, or which host it is from."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of outputs below a root; `single` says that the one output is the root itself."""

    names: tuple[str, ...]
    single: bool

    def path(self, root: Path, index: int) -> Path:
        """The output for a source."""
        return root / self.names[index]


def layout(
    sources: Sequence[Source], output: str, rename: Callable[[str], str] = str, *, several: bool = False
) -> Layout:
    """Where the outputs for sources go; `rename` makes a name of each part of a path.

    One is a directory also where there are `several` of which only one is left.

    Raises XptraceError where the output is something that is there and may not be replaced.
    """
    target = Path(output)
    if len(sources) == 1 and not several and not target.is_dir() and not output.endswith(os.sep):
        replaceable(output)
        return Layout((target.name,), single=True)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise XptraceError(f"{output}: is there already: name a directory that is not, or that is empty")
    paths = [PurePath(os.path.normpath(plain_name(source.path))).parts for source in sources]
    if len({parts[-1] for parts in paths}) == len(paths) and not any(_TELLING.intersection(parts) for parts in paths):
        paths = [parts[-1:] for parts in paths]
    common = 0
    shortest = min((len(parts) for parts in paths), default=1) - 1
    while common < shortest and len({parts[common] for parts in paths}) == 1:
        common += 1
    names: list[str] = []
    for parts in paths:
        name = "/".join(rename(part) for part in PurePath(inside("/".join(parts[common:]))).parts)
        while name in names:
            name += "~"
        names.append(name)
    return Layout(tuple(names), single=False)


def replaceable(output: str) -> None:
    """Raise XptraceError where something is there that a file must not be put in the place of, e.g. a device."""
    target = Path(output)
    if target.exists() and not target.is_file():
        raise XptraceError(f"{output}: is no regular file, and is not replaced")


@contextlib.contextmanager
def outputs(output: str, where: Layout) -> Iterator[Path]:
    """A root to write the outputs below; they are put into their place at the end, all of them or none."""
    target = Path(output)
    try:
        root = Path(tempfile.mkdtemp(dir=target.absolute().parent, prefix=f".{target.name}."))
        try:
            yield root
            mask = os.umask(0)
            os.umask(mask)
            for path in root.rglob("*"):
                path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
            if where.single:
                where.path(root, 0).replace(target)
            else:
                root.chmod(0o777 & ~mask)
                with contextlib.suppress(FileNotFoundError):
                    target.rmdir()
                root.rename(target)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    except OSError as error:
        raise XptraceError(f"{output}: cannot be written: {error.strerror or error}") from None
