"""Builds the kernel into wheels and editable installs, where there is a compiler; without one, all is as good, slower.

Law: hatchling's build hooks. A wheel with the kernel serves every CPython from 3.11 on (the limited API); one without
it serves every Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from sysconfig import get_platform
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

FOLDER = "dissectors/kernel"
BUILT = "_kernel.abi3.so"


class Kernel(BuildHookInterface[Any]):
    """The hook; the compiled file is put into the wheel, or beside its source where that is what is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is put together."""
        source = Path(self.root, FOLDER)
        self._folder = TemporaryDirectory()
        built = _compile(source, self._folder.name)
        if isinstance(built, str):
            self.app.display_warning(f"the kernel is not built: {built}")
            if version == "editable":
                (source / BUILT).unlink(missing_ok=True)  # it may be of other sources than these
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{re.sub(r'[-.]', '_', get_platform())}"
        if version == "editable":
            new = source / f"{BUILT}.new"
            new.write_bytes(built.read_bytes())
            new.replace(source / BUILT)  # somebody may be running the old one
        else:
            build_data["force_include"][str(built)] = f"{FOLDER}/{BUILT}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Clear away."""
        self._folder.cleanup()


def _compile(source: Path, folder: str) -> Path | str:
    """The compiled kernel, or why there is none."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has not the limited API of CPython"
    command = build_ext(Distribution({"ext_modules": [Extension(
        "_kernel", sorted(map(str, source.glob("*.c"))), define_macros=[("Py_LIMITED_API", "0x030B0000")],
        extra_compile_args=["-O3"], py_limited_api=True, optional=False,
    )]}))
    command.build_lib = command.build_temp = folder
    try:
        command.ensure_finalized()
        command.run()
    except (BaseError, CCompilerError, OSError) as error:
        return str(error)
    return Path(command.get_outputs()[0])

