"""Formats of QEMU's surroundings in one file: each dissector reads its own lines, and none of another's."""

from __future__ import annotations

import pytest

from dissectors import Dissector
from dissectors.qemu import lttng, qmp, qtest
from dissectors.record import Value
from dissectors.xen import xapi
from tests.dissectors.feeding import feed, inside, records
from tests.dissectors.qemu.test_lttng import SMALL
from tests.dissectors.qemu.test_qmp import PRETTY, SHUTDOWN
from tests.dissectors.qemu.test_qtest import NEGOTIATION
from tests.dissectors.xen.test_xapi import LOG

TRACE = (b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n"
         b"213@1795406729.213790:xen_platform_log xen platform: XEN|BUGCHECK: ====>\n")
OWN = {qtest.DISSECTOR: NEGOTIATION, lttng.DISSECTOR: SMALL, qmp.DISSECTOR: PRETTY + SHUTDOWN, xapi.DISSECTOR: LOG}
BY_NAME = {dissector.name: dissector for dissector in OWN}


def said(dissector: Dissector, log: bytes) -> list[tuple[str, dict[str, Value]]]:
    return [(one.event, dict(one.values)) for one in records(dissector, log)]


@pytest.mark.parametrize("name", BY_NAME)
def test_every_format_is_read_among_the_others(name: str) -> None:
    dissector = BY_NAME[name]
    own = OWN[dissector]
    others = TRACE + b"".join(log for one, log in OWN.items() if one is not dissector)
    assert feed(dissector, others) == []
    log = own + others + own
    assert inside(log, feed(dissector, log))
    again = said(dissector, own + own)
    assert said(dissector, log) == again
    assert len(again) > len(said(dissector, own))
