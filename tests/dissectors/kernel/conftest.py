"""The kernel in each of its forms."""

from __future__ import annotations

import os
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import pytest

import dissectors.kernel
from dissectors.kernel import Kernel


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """The compiled functions; as a parameter, `plain` asks for those without AVX2, and `avx2` for those with.

    Where tests are run for everybody they must be there; on a user's machine they may be missing.
    """
    wanted = getattr(request, "param", "")
    found = PathFinder.find_spec("dissectors.kernel._kernel", list(dissectors.kernel.__path__))
    if found is None or found.origin is None:
        missing = "the kernel is not built: install a C compiler and Python's headers, and xptrace again"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPTRACE_KERNEL", wanted)
        spec = spec_from_loader("_kernel", ExtensionFileLoader("_kernel", found.origin))
        assert spec is not None
        module: Any = module_from_spec(spec)
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    made: Kernel = module
    if wanted == "plain":
        assert not made.AVX2
    elif wanted == "avx2" and not made.AVX2:
        pytest.skip("the processor has no AVX2")
    return made
