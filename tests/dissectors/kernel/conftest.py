"""The kernel in each of its forms."""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from dissectors.kernel import Kernel


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest, built_kernel: Path) -> Kernel:
    """The compiled functions; as a parameter, `plain` asks for those without AVX2, and `avx2` for those with."""
    wanted = getattr(request, "param", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPTRACE_KERNEL", wanted)
        spec = spec_from_loader("_kernel", ExtensionFileLoader("_kernel", str(built_kernel)))
        assert spec is not None
        module: Any = module_from_spec(spec)
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    made: Kernel = module
    if wanted == "plain":
        assert not made.AVX2
    elif wanted == "avx2" and not made.AVX2:
        pytest.skip("the processor has no AVX2")
    return made
