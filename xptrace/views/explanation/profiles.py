"""Profiles explained: every field with its meaning, since when it is so, and the history that led there.

Law: `xptrace.model.profile`, where the meaning of a field is the text below it, and `xptrace.model.profiles` with its
changes::

    profile qemu-8.2: upstream QEMU 8.2 on real Xen
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from functools import cache
from itertools import groupby, pairwise
from typing import Final

from dissectors.platform.registers import UNPLUG_BITS
from xptrace.model.profile import Profile
from xptrace.model.profiles import OBSERVED, QEMU, history, profile, profiles
from xptrace.views.explanation.page import Kind, Page, Row
from xptrace.views.explanation.unplug import change_rows, takes
from xptrace.views.explanation.wording import named, spans

_LINEAGES: Final = {
    "qemu": "upstream QEMU {version} on real Xen", "kvm-xen": "upstream QEMU {version}, emulating Xen on KVM",
    "xcp-ng": "QEMU {version} with XenServer's and XCP-ng's patches",
    "qemu-xen-traditional": "Xen's own device model before upstream QEMU",
    "xenserver-trad": "qemu-xen-traditional with XenServer's queue",
}  # fmt: skip
_NAMING: Final = ("name", "lineage", "version", "basis")
"""Fields that say which profile it is, and not what it does."""
_GROUPS: Final = {"tables": "accesses", "protocol_choice": "registers", "ide": "unplug", "device_id": "identity"}
"""The first field of each group, by the order of the declaration, and what the group is about."""
_DIGITS: Final = {"nvme_bit": 1, "device_id": 4, "class_code": 6, "command_at_start": 4}
"""Numbers that are written in hexadecimal."""


@cache
def _meanings() -> dict[str, str]:
    """Each field's meaning, which stands below it in the declaration and nowhere else."""
    declaration = ast.parse(inspect.getsource(Profile)).body[0]
    assert isinstance(declaration, ast.ClassDef)  # noqa: S101
    found = {}
    for entry, below in pairwise(declaration.body):
        if isinstance(entry, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(entry.target)] = " ".join(str(below.value.value).split())
    return found


def _version(parts: tuple[int, ...]) -> str:
    return ".".join(map(str, parts))


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "none"
    return f"0x{value:0{_DIGITS[name]}x}" if name in _DIGITS else str(value)


def _since(of: Profile, name: str) -> str:
    setting = [change for change in history(of) if name in change.sets]
    return f"since {_version(setting[-1].version)}" if setting else ""


def _groups(of: Profile) -> dict[str, list[Row]]:
    """Every field: its name, its value, since when it has that, what it means."""
    found: dict[str, list[Row]] = {}
    for one in fields(of):
        if one.name in _NAMING:
            continue
        if one.name in _GROUPS:
            rows = found.setdefault(_GROUPS[one.name], [])
        value = _value(one.name, getattr(of, one.name))
        rows.append((one.name.replace("_", " "), value, _since(of, one.name), _meanings().get(one.name, "")))
    return found


def _behaviour(of: Profile) -> tuple[object, ...]:
    return (of.lineage, *(getattr(of, one.name) for one in fields(of) if one.name not in _NAMING))


def _profile(of: Profile) -> Page:
    alike = [one for one in profiles().values() if _behaviour(one) == _behaviour(of)]
    observed = "on the running device" if of.basis == "observed" else f"(observed were QEMU {', '.join(OBSERVED)})"
    return Page("profile", of.name, _LINEAGES[of.lineage].format(version=_version(of.version)), {
        "basis": f"{of.basis} {observed}",
        "the same": named(alike) if len(alike) > 1 else "",
        "takes": [(f"mask 0x{bit.value:x}", takes(of, bit.value)) for bit in UNPLUG_BITS],
        **_groups(of),
        "history": change_rows(history(of)),
    })  # fmt: skip


def _overview(lineage: str | None = None) -> Page:
    """Profiles that behave alike together, with what is new in them."""
    rows: list[Row] = []
    known: set[str] = set()
    last = ""
    for _, group in groupby((one for one in profiles().values() if lineage in (None, one.lineage)), _behaviour):
        alike = list(group)
        if alike[0].lineage != last:
            last = alike[0].lineage
            known = {change.commit for change in QEMU if last != "qemu" and change.version <= alike[0].version}
        new = [change for change in history(alike[-1]) if change.commit not in known]
        known |= {change.commit for change in new}
        new.sort(key=lambda change: change.version)
        said = [f"{_version(change.version)}: {change.said}" for change in new] or [_LINEAGES[last].format(version="")]
        rows += [(named(alike), text) for text in said]
    title = "profiles in one row behave alike; `xptrace explain NAME` tells more of one"
    return Page("all", lineage or "profiles", title, {"profiles": rows})


def _find(word: str) -> list[Page]:
    try:
        return [_profile(profile(word))]
    except KeyError:
        return [_overview(word)] if word in _LINEAGES else []


PROFILE = Kind(
    "profile", "profiles", profiles, _find, _find, shown=lambda: spans(profiles().values()),
    overview=_overview,
)  # fmt: skip
