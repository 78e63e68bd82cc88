r"""Whose node of xenstore a path names, and who that says the domain is.

Law: docs/misc/xenstore-paths.pandoc: a domain's home is `/local/domain/N`, and a path without `/` begins there; what a
backend keeps for the guest that it serves lies in the home of the backend's domain, one of the guest's numbers below::

    /local/domain/1/device/vbd/768/state
    /local/domain/0/backend/qdisk/1/768/state

Whoever is asked to write may refuse: that a request was logged does not say that it was granted. So a node is a guest's
only if the guest itself, Dom0, or somebody unknown names it. What a guest that serves others keeps below its own
`backend` nobody could tell from a forgery, unless Dom0 writes it.
"""

from __future__ import annotations

import re
from typing import Final

DOM0: Final = 0
LAST_DOMAIN: Final = 0x7FEF
"""DOMID_FIRST_RESERVED of xen/include/public/xen.h is one more."""

_PATH: Final = re.compile(rb"(?:/local/domain/(?P<domain>\d{1,5})/)?(?P<node>[^/].*)", re.DOTALL)
_BACKEND: Final = re.compile(rb"backend/[^/]+/(?P<guest>\d{1,5})/[^/]", re.DOTALL)
_UUID: Final = re.compile(rb"/vm/(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:-\d{1,10})?")


def owner(path: bytes, writer: int | None) -> int | None:
    """The number of the guest whose node it is, the one that is served where it is a backend's.

    `writer` is the domain whose connection named the path, missing where nobody knows. None where the node is nobody's,
    Dom0's own, not the writer's to write, or below a home that nobody knows.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    home = writer if found["domain"] is None else int(found["domain"])
    if home is None:
        return None
    if not found["node"].startswith(b"backend/"):
        return home if DOM0 < home <= LAST_DOMAIN and writer in (None, DOM0, home) else None
    served = _BACKEND.match(found["node"])
    guest = int(served["guest"]) if served is not None and writer in (None, DOM0) else DOM0
    return guest if DOM0 < guest <= LAST_DOMAIN else None


def identity(path: bytes, value: bytes, writer: int | None) -> dict[str, bytes] | None:
    """The name or the UUID that a node gives to its domain; None where it gives neither, or a guest names itself."""
    if writer not in (None, DOM0) or not path.startswith(b"/local/domain/"):
        return None
    node = path.split(b"/", 4)[4:]
    if node == [b"name"] and value:
        return {"name": value}
    if node == [b"vm"] and (found := _UUID.fullmatch(value)) is not None:
        return {"uuid": found["uuid"]}
    return None
