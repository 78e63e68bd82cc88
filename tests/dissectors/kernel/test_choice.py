"""Which kernel there is, as the environment asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dissectors.kernel import SWITCH, Kernel, chosen_kernel, twin

Choose = Callable[[str], Kernel | None]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Choose]:
    """What is chosen where the environment says so."""

    def chosen(wanted: str) -> Kernel | None:
        monkeypatch.setenv(SWITCH, wanted)
        chosen_kernel.cache_clear()
        return chosen_kernel()

    yield chosen
    chosen_kernel.cache_clear()


def test_none_and_the_twin_can_be_asked_for(choose: Choose) -> None:
    assert choose("off") is None
    assert choose("twin") is twin


def test_else_it_is_the_compiled_one(kernel: Kernel, choose: Choose) -> None:
    chosen = choose("")
    assert chosen is not None
    assert chosen is not twin
    assert chosen.__file__ == kernel.__file__  # type: ignore[attr-defined]


def test_both_have_the_same_functions(kernel: Kernel) -> None:
    public = {name for name in dir(kernel) if not name.startswith("_")}
    assert public == set(twin.__all__)
