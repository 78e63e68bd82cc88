"""The recordings, and the command line, as tests use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

import dissectors.kernel

DATA = Path(__file__).parent / "data"
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def data() -> Path:
    """The recordings in the repository."""
    return DATA


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The whole collection of recordings, which lies beside the project."""
    if not CORPUS.is_dir():
        pytest.skip("the collection of recordings (../shared/corpus) is not here")
    return CORPUS


@pytest.fixture(scope="session")
def built_kernel() -> Path:
    """Where the compiled kernel lies. It must be there where tests are run for everybody; a user may lack it."""
    found = PathFinder.find_spec("dissectors.kernel._kernel", list(dissectors.kernel.__path__))
    if found is not None and found.origin is not None:
        return Path(found.origin)
    missing = "the kernel is not built: install a C compiler and Python's headers, and xptrace again"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


class Run:
    """What a command printed, and its exit code."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.raw = done.stdout
        self.out = done.stdout.decode("utf-8")
        self.err = done.stderr.decode("utf-8")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `-T jsonl`."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def accesses(self) -> list[dict[str, Any]]:
        """The rows that are accesses."""
        return [row for row in self.rows if row["kind"] == "access"]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The rows that are messages."""
        return [row for row in self.rows if row["kind"] == "message"]


@pytest.fixture(scope="session")
def xptrace() -> Callable[..., Run]:
    """Run the command line as a user does."""

    def run(*arguments: str | Path, stdin: bytes | None = None) -> Run:
        command = [sys.executable, "-m", "xptrace", *map(str, arguments)]
        return Run(subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=300))

    return run
