"""Numbers explained: the constants of the protocol, products, builds.

Law: `dissectors.platform.registers` for the constants, `dissectors.platform.products` for who sends which product and
build, `xptrace.model.device` for who is refused::

    constant 0xd249: magic 0xd249: driver blacklisted
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from dissectors.platform.products import PRODUCTS, describe_driver
from dissectors.platform.registers import MAGIC, MAGIC_BLACKLISTED, REGISTERS, Register
from xptrace.model import function as pci
from xptrace.model.device import KEYED_PRODUCTS, Call, Device, refuses
from xptrace.model.drivers import DRIVERS
from xptrace.model.profile import Profile
from xptrace.model.profiles import XENSERVER_TRADITIONAL, profiles
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.wording import access, does, named, number, place, the_register

_JUDGE: Final = Call(XENSERVER_TRADITIONAL, frozenset(), 0)
"""The device that looks at the PCI identity as well, with no key on its host."""


def _with_blacklist() -> list[Profile]:
    return [one for one in profiles().values() if one.blacklist != "none"]


# -- constants


def constants() -> dict[int, list[Register]]:
    """The numbers of more than a byte that the values of registers name."""
    found: dict[int, list[Register]] = {}
    for register in REGISTERS:
        for value in register.values:
            if value > 0xFF:
                found.setdefault(value, []).append(register)
    return found


def _constant(value: int, having: Sequence[Register]) -> Page:
    swapped = int.from_bytes(value.to_bytes(2, "little"), "big")
    twins = [one for one in having if swapped != value and swapped in one.values]
    answers = {MAGIC: named(profiles().values()), MAGIC_BLACKLISTED: named(_with_blacklist())}
    return Page("constant", f"0x{value:x}", "; ".join(one.say(value) for one in having), {
        "decimal": f"{value}, as cpu_in and cpu_out print it",
        "registers": [(one.name, f"{access(one.direction, one.size)} at {place(one)}") for one in having],
        "twin": "".join(f"{one.say(swapped)}. They are byte-swapped twins: read in the wrong byte order, each is taken "
                        "for the other" for one in twins),
        "answered by": answers.get(value, ""),
    })  # fmt: skip


def _find_constant(word: str) -> list[Page]:
    value = int(word, 16) if re.fullmatch(r"[0-9a-f]{4}", word) else number(word)
    having = constants().get(-1 if value is None else value)
    return [] if value is None or having is None else [_constant(value, having)]


# -- products


def _product_name(product: int) -> str:
    return str(product) if product <= 0xFF else f"0x{product:x}"


def _word(name: str) -> str:
    """A product's name without a remark behind it."""
    return name.partition(" ")[0]


def _refusals(product: int) -> Iterator[Row]:
    """How a build of this product may be refused, and by whom."""
    if product in KEYED_PRODUCTS:
        yield f"a key /mh/driver-blacklist/{PRODUCTS[product]}/BUILD", named(_with_blacklist())
    else:
        yield "no key: none can name this product", ""
    if refuses(_JUDGE, Device(product=product, device_id=0x0002, revision=0x02), 0x000101):
        yield "another PCI identity than its own", XENSERVER_TRADITIONAL.name


def _product(product: int) -> Page:
    register = the_register("product_number", "write")
    return Page("product", _product_name(product), PRODUCTS.get(product, "unregistered"), {
        "place": f"{access('write', register.size)} at {place(register)}",
        "decoded as": register.say(product),
        "driver": describe_driver(product, None),
        "sent by": [(one.name, one.title, f"builds: {one.builds}") for one in DRIVERS if one.product == product],
        "refused": list(_refusals(product)),
        "the device": "\n\n".join(does(register)),
    })  # fmt: skip


def _find_product(word: str) -> list[Page]:
    product = number(word)
    if product is not None:
        return [_product(product)] if product in PRODUCTS else []
    return [_product(known) for known, name in PRODUCTS.items() if word == _word(name)]


def _named_product(word: str) -> list[Page]:
    product = number(word)
    return [_product(product)] if product is not None and 0 <= product <= 0xFFFF else _find_product(word)


# -- builds


def _refused(build: int) -> Iterator[Row]:
    """Which products are refused with this build by what it says of the identity, on each that XenServer gives."""
    for identity in (pci.platform(XENSERVER_TRADITIONAL), pci.platform(XENSERVER_TRADITIONAL, 0x0002)):
        devices = [Device(product=one, device_id=identity.device, revision=identity.revision) for one in PRODUCTS]
        refused = [str(device.product) for device in devices if refuses(_JUDGE, device, build)]
        who = f"{XENSERVER_TRADITIONAL.name} as 5853:{identity.device:04x} revision {identity.revision}"
        yield f"product {', '.join(refused)}" if refused else "no product", who


def _named_build(word: str) -> list[Page]:
    build = number(word)
    if build is None or not 0 <= build < 1 << 32:
        return []
    register = the_register("build_number", "write")
    return [Page("build", str(build), register.say(build), {
        "sent with": [(f"product {_product_name(product)}", name, describe_driver(product, build))
                      for product, name in PRODUCTS.items()],
        "refused": list(_refused(build)),
        "lineages": register.lineage,
        "the device": "\n\n".join(does(register)),
    })]  # fmt: skip


def _builds() -> Page:
    naming = [(one.product, one) for one in DRIVERS if one.product is not None]
    rows: list[Row] = [(f"product {_product_name(product)}", one.name, one.builds) for product, one in naming]
    return Page("all", "builds", "`xptrace explain build NUMBER` tells who would send one", {"builds": rows})


CONSTANT = Kind(
    "constant", "constants", lambda: [f"0x{value:x}" for value in constants()], _find_constant, _find_constant
)
PRODUCT = Kind(
    "product", "products", lambda: map(_word, PRODUCTS.values()), _find_product, _named_product,
    shown=lambda: [f"{_product_name(product)} {name}" for product, name in PRODUCTS.items()],
)  # fmt: skip
BUILD = Kind("build", "builds", tuple, lambda _: [], _named_build, shown=lambda: ["any number"], overview=_builds)
