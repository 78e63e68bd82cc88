"""The settings that a driver's behaviour depends on: one frozen dataclass a driver, each field declared with `option`.

Law: the drivers' own settings, under the names that they have there: the kernel parameter xen_emul_unplug, the module
parameter dev_unplug, FreeBSD's tunables, the registry of Windows. What a driver takes from elsewhere (its version, the
frontends that it was built with) is an option too. They are written as users write them::

    xen_emul_unplug=ide-disks,nics
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
Chosen = TypeVar("Chosen", bound="Options")
_KEY: Final = "option"


@dataclass(frozen=True, slots=True)
class Options:
    """What can be set of a driver: nothing, where a driver does not derive its own."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value: how it looks in words, and the way from text and back."""

    form: str
    read: Callable[[str], T]
    write: Callable[[T], str]


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was declared: its name, its default, what it says, and how its values look."""

    name: str
    default: Any
    about: str
    form: str


def _read_flag(text: str) -> bool:
    return {"yes": True, "no": False}[text]


FLAG: Final = Kind("yes or no", _read_flag, lambda value: "yes" if value else "no")


def number(most: int) -> Kind[int]:
    """A number from 0 to `most`, in any base that Python reads (3, 0x0f)."""

    def reader(text: str) -> int:
        value = int(text, 0)
        if not 0 <= value <= most:
            raise ValueError
        return value

    return Kind(f"a number from 0 to 0x{most:x}", reader, lambda value: f"{value:#x}" if value > 9 else str(value))


def version(most: int) -> Kind[tuple[int, int, int]]:
    """Three numbers with dots between, the first at most `most`, the others one byte each."""

    def reader(text: str) -> tuple[int, int, int]:
        first, second, third = (int(part) for part in text.split("."))
        if not (0 <= first <= most and 0 <= second <= 0xFF and 0 <= third <= 0xFF):
            raise ValueError
        return first, second, third

    return Kind(f"three numbers such as 9.0.0, at most {most}.255.255", reader, lambda parts: ".".join(map(str, parts)))


def choice(*names: str) -> Kind[str]:
    """One of these names."""

    def reader(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return Kind(f"one of {', '.join(names)}", reader, str)


def words(take: Callable[[str], bool], names: Iterable[str]) -> Kind[tuple[str, ...] | None]:
    """Words with commas between, of which each must be taken; None is an option that was not given at all."""

    def reader(text: str) -> tuple[str, ...]:
        given = tuple(text.split(","))
        if not all(map(take, given)):
            raise ValueError
        return given

    return Kind(f"words of {', '.join(names)}, with commas between", reader, lambda given: ",".join(given or ()))


def option(kind: Kind[T], default: T, about: str) -> T:
    """Declare a field of an options class."""
    return field(default=default, metadata={_KEY: (kind, about)})


def declared(options: type[Options]) -> tuple[Option, ...]:
    """Every option of a class, in the order of its declaration."""
    return tuple(
        Option(entry.name, entry.default, entry.metadata[_KEY][1], entry.metadata[_KEY][0].form)
        for entry in fields(options)
    )


def parse(options: type[Chosen], settings: Iterable[str], owner: str) -> Chosen:
    """The options that `name=value` settings give; raises ValueError, one line that says what there is."""
    kinds: dict[str, Kind[Any]] = {entry.name: entry.metadata[_KEY][0] for entry in fields(options)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name not in kinds:
            there = f"there are {', '.join(kinds)}" if kinds else "it has none"
            raise ValueError(f"{owner}: no option {name!r}: {there}")
        if not equals:
            raise ValueError(f"{owner}: {setting!r}: expected {name}=VALUE, where VALUE is {kinds[name].form}")
        try:
            values[name] = kinds[name].read(text)
        except (ValueError, KeyError):
            raise ValueError(f"{owner}: {name}={text}: expected {kinds[name].form}") from None
    return options(**values)


def spell(options: Options) -> tuple[str, ...]:
    """The settings that give these options again: `name=value` of every one that is not at its default."""
    return tuple(
        f"{entry.name}={entry.metadata[_KEY][0].write(getattr(options, entry.name))}"
        for entry in fields(options)
        if getattr(options, entry.name) != entry.default
    )
