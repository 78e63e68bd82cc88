"""Words that pages of several kinds share: places, accesses, ranges of profiles, what a docstring says.

Law: none of its own; every word is a declaration's. A range is written as `xptrace replay --fit` writes it::

    qemu-2.2 to 2.7
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final

from dissectors.platform.registers import REGISTERS, Direction, Register
from xptrace.model.device import HANDLERS
from xptrace.model.profile import Profile
from xptrace.model.profiles import profiles
from xptrace.replay.fit import Candidate, names_of
from xptrace.views.explanation.page import Row

DIRECTIONS: Final[tuple[Direction, Direction]] = ("read", "write")
LETTERS: Final = {1: "b", 2: "w", 4: "l"}
"""Size in bytes to the letter of the processor's instructions, and of cpu_in and cpu_out."""


def number(word: str) -> int | None:
    """The number that a word is, in any base that Python reads; None where it is none."""
    try:
        return int(word, 0)
    except ValueError:
        return None


def access(direction: Direction, size: int) -> str:
    """Direction and width of an access."""
    return f"{direction} {size} byte{'s' if size > 1 else ''}"


def place(register: Register) -> str:
    """Where a register is."""
    return f"port 0x{register.offset:x}" if register.space == "pio" else f"{register.space.upper()}+{register.offset}"


def the_register(name: str, direction: Direction) -> Register:
    """The register of that name and direction."""
    return next(one for one in REGISTERS if (one.name, one.direction) == (name, direction))


def paragraphs(thing: object) -> list[str]:
    """The paragraphs of a docstring, a line each."""
    return [" ".join(text.split()) for text in (inspect.getdoc(thing) or "").split("\n\n")]


def does(register: Register) -> list[str]:
    """What a device does with an access to it, in the words of the model's handler."""
    return paragraphs(HANDLERS[register.name, register.direction])


def newest() -> Profile:
    """The newest upstream QEMU on real Xen."""
    return max((one for one in profiles().values() if one.lineage == "qemu"), key=lambda one: one.version)


def spans(found: Iterable[Profile]) -> list[str]:
    """Profiles by name, those that follow each other as a range."""
    return list(names_of(Candidate(one) for one in found))


def named(found: Iterable[Profile]) -> str:
    """Profiles by name in one text, which is short where they are all."""
    listed = list(found)
    return "every profile" if len(listed) == len(profiles()) else ", ".join(spans(listed))


def ranges(says: Callable[[Profile], str]) -> list[Row]:
    """What can be said of each profile, those that follow each other and are alike in one row, in their order."""
    return [(named(group), said) for said, group in groupby(profiles().values(), says)]


def folded(says: Callable[[Profile], str], among: Iterable[Profile] | None = None) -> list[Row]:
    """What can be said of profiles (of all, if none are given), each once, with those of which it can be said."""
    found: dict[str, list[Profile]] = {}
    for one in profiles().values() if among is None else among:
        found.setdefault(says(one), []).append(one)
    return [(said, named(group)) for said, group in found.items()]
