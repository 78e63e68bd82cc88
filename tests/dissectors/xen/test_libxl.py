"""What xl and libxl say of domains: names, what became of them, states of backends; each of the right domain."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.libxl import DISSECTOR, NEEDLES, ToolstackLog, sniff
from tests.dissectors.feeding import broken, feed, inside

DEVSTATE = b"libxl: debug: libxl_event.c:1051:devstate_callback: backend "
SPAWN = b"libxl: debug: libxl_dm.c:3007:libxl__spawn_local_dm: "
Told = tuple[int, str, int | None, dict[str, object]]


def read(text: bytes) -> list[Record | Damage | Loss]:
    """What a whole log says, each of its lines shown."""
    log, offset, found = ToolstackLog(Given("xl.log", catalogue.load())), 0, list[Record | Damage | Loss]()
    for number, line in enumerate(text.split(b"\n"), 1):
        found += log.read(line, offset, number, len(line) + 1)
        offset += len(line) + 1
    return found


def told(text: bytes) -> list[Told]:
    """Line, event, domain and values of each record."""
    found = read(text)
    assert all(isinstance(one, Record) for one in found), found
    return [(one.line, one.event, one.domain, dict(one.values)) for one in found if isinstance(one, Record)]


def test_a_guest_that_reboots(data: Path) -> None:
    text = (data / "xl" / "reboot-twice.log").read_bytes()
    assert told(text) == [
        (1, "domain", 1, {"name": b"reboot-twice"}),
        (16, "domain_life", 1, {"what": b"shut down", "reason": 1}),
        (17, "domain_life", 1, {"what": b"restart", "reason": 1}),
        (32, "domain_life", 1, {"what": b"being destroyed"}),
        (33, "domain_life", 1, {"what": b"destroy begun"}),
        (39, "xenstore_node", 1, {"path": b"/local/domain/0/backend/vif/1/0/state", "value": b"6"}),
    ]


def test_a_guest_that_migrates_away(data: Path) -> None:
    text = (data / "xl" / "migrate-local.log").read_bytes()
    assert told(text) == [
        (1, "domain", 1, {"name": b"migrate-local"}),
        (16, "domain_life", 1, {"what": b"shut down", "reason": 2}),
        (17, "domain_life", 1, {"what": b"suspended"}),
    ]
    assert [one.derived for one in read(text) if isinstance(one, Record)] == [False, False, True]


def test_both_ends_of_a_migration_in_one_output(data: Path) -> None:
    assert told((data / "xl" / "migrate.txt").read_bytes()) == [
        (8, "domain_life", 1, {"what": b"being saved"}),
        (15, "domain_life", 2, {"what": b"being restored"}),
        (23, "domain_life", 1, {"what": b"asked to suspend"}),
        (27, "domain_life", 1, {"what": b"acknowledged the suspend"}),
        (32, "domain_life", 1, {"what": b"suspended"}),
        (58, "domain", 2, {"name": b"migrate-local--incoming"}),
    ]


def test_a_log_that_a_user_posted(corpus: Path) -> None:
    assert told((corpus / "public" / "libxl-xl-win10.log").read_bytes()) == [
        (1, "domain", 314, {"name": b"win10"}), (2, "domain_life", 314, {"what": b"destroyed"})]


def test_a_record_has_its_place_and_xl_no_time(data: Path) -> None:
    text = (data / "xl" / "reboot-twice.log").read_bytes()
    for one in read(text):
        assert isinstance(one, Record)
        assert text[one.offset : one.offset + one.length] == one.raw + b"\n"
        assert (one.time_ns, one.clock, one.guest) == (None, None, None)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b"Waiting for domain a (domid 3) b (domid 7) to die [pid 1]", {"name": b"a (domid 3) b"}),
        (b"Domain 7 has shut down, reason code 4 0x4", {"what": b"shut down", "reason": 4}),
        (b"Domain 7 has shut down, reason code -1 0xffffffff", {"what": b"shut down", "reason": -1}),
        (b"Domain 7 has been destroyed.\r", {"what": b"destroyed"}),
        (DEVSTATE + b"/local/domain/3/backend/vif/7/0/state wanted state 2 still waiting state 1",
         {"path": b"/local/domain/3/backend/vif/7/0/state", "value": b"1"}),
        (b"libxl: error: libxl_dom_suspend.c:1:f: Domain 7:guest didn't acknowledge suspend, cancelling request",
         {"what": b"did not acknowledge the suspend"}),
        (b"libxl: debug: libxl_domain.c:704:libxl_domain_unpause: Domain 7:ao 0x55d3: create: how=(nil)",
         {"what": b"unpause begun"}),
    ],
)
def test_lines_one_by_one(line: bytes, values: dict[str, object]) -> None:
    ((_, _, domain, said),) = told(line)
    assert (domain, said) == (7, values)
    assert any(needle.search(line) for needle in NEEDLES)


@pytest.mark.parametrize(
    "text",
    [
        b"Action for shutdown reason code 1 is restart",  # of whom?
        b"Domain 7 has shut down, reason code 1 0x1 and more",
        b"Domain 0 has been destroyed.", b"Domain 99999 has been destroyed.",
        b"Domain has suspended.",
        DEVSTATE + b"/local/domain/0/backend/vif/1/0/state wanted state 6 but it was removed",
        DEVSTATE + b"/libxl/1/x wanted state 6 ok",
        b"libxl: debug: libxl_domain.c:512:libxl_domain_suspend: Domain 1:ao 0x55: create: how=(nil)",
        SPAWN + b"Domain 2:  -name\n" + SPAWN + b"Domain 3:  x",
        SPAWN + b"Domain 2:  -name\n\n" + SPAWN + b"Domain 2:  x",
        b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898", b"",
    ],
)
def test_what_is_not_said_for_certain_is_not_told(text: bytes) -> None:
    assert read(text) == []


def test_an_action_is_of_the_domain_of_the_line_before_only() -> None:
    death = b"Domain 7 has shut down, reason code 3 0x3\n"
    action = b"Action for shutdown reason code 3 is coredump-restart"
    assert told(death + action)[1] == (2, "domain_life", 7, {"what": b"coredump-restart", "reason": 3})
    assert len(told(death + b"libxl: debug: x\n" + action)) == 1


def test_who_suspended_is_not_told_where_two_processes_write() -> None:
    waits = b"Waiting for domain x (domid %d) to die [pid %d]\n"
    assert len(told(waits % (1, 10) + waits % (2, 10) + b"Domain has suspended.")) == 3
    assert told(waits % (1, 10) + waits % (2, 10) + b"Domain has suspended.")[2][2] == 2  # after a reboot
    assert len(told(waits % (1, 10) + waits % (2, 11) + b"Domain has suspended.")) == 2


@pytest.mark.parametrize(
    ("stamp", "clock", "time_ns"),
    [  # by `date -u -d '2026-11-23 03:44:27' +%s`
        (b"2026-11-23 03:44:27 CET ", "local", 1795405467_000_000_000),
        (b"2026-11-23 03:44:27 +03 [4711] ", "local", 1795405467_000_000_000),
        (b"2026-11-23 03:44:27 UTC [4711] ", "wall", 1795405467_000_000_000),
        (b"2026-11-23 03:44:27.123+0000: ", "wall", 1795405467_123_000_000),
        (b"1969-11-23 03:44:27 CET ", None, None),
        (b"2026-13-23 03:44:27 CET ", None, None),  # there is no such date
        (b"2026-11-23T03:44:27.5+00:00 host xl[12]: ", "syslog", 1795405467_500_000_000),
    ],
)
def test_the_stamps_that_may_stand_in_front(stamp: bytes, clock: str | None, time_ns: int | None) -> None:
    for said in (b"libxl: debug: libxl_dom_suspend.c:358:check: Domain 1:guest has suspended",
                 b"libxl: libxl_dom_suspend.c:358:check: Domain 1:guest has suspended",
                 b"xc: info: Saving domain 1, type x86 HVM"):
        (one,) = read(stamp + said)
        assert isinstance(one, Record)
        assert (one.clock, one.time_ns, one.domain) == (clock, time_ns, 1)


def test_logs_are_known_by_their_lines(data: Path) -> None:
    assert sniff(DISSECTOR.example) > 50
    assert len(read(DISSECTOR.example)) == 1
    for name in ("reboot-twice.log", "migrate-local.log", "migrate.txt"):
        assert sniff((data / "xl" / name).read_bytes()) > 50
    assert sniff(b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n") == 0
    assert sniff(b"(XEN) Domain 1 has crashed\n") == 0


def test_every_line_that_matters_holds_a_needle_or_stands_beside_one(data: Path) -> None:
    for name in ("reboot-twice.log", "migrate-local.log", "migrate.txt"):
        lines = (data / "xl" / name).read_bytes().split(b"\n")
        ours = [any(needle.search(line) for needle in NEEDLES) for line in lines]
        near = [line if any(ours[max(0, at - 1) : at + 2]) else b"" for at, line in enumerate(lines)]
        assert told(b"\n".join(near)) == told(b"\n".join(lines))


def test_a_log_that_is_cut_anywhere_or_is_two_logs_is_read_as_far_as_it_goes(data: Path) -> None:
    text = (data / "xl/reboot-twice.log").read_bytes()
    for cut in range(0, len(text), 7):
        assert inside(text[:cut], feed(DISSECTOR, text[:cut]))
    other = b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n" + text
    assert inside(text + other, feed(DISSECTOR, text + other))


@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_log_with_bits_turned_and_pieces_moved_makes_it_not_fail(data: Path, draw: st.DataObject) -> None:
    text = draw.draw(broken((data / "xl/reboot-twice.log").read_bytes()))
    assert inside(text, feed(DISSECTOR, text))


@given(st.binary(max_size=200) | st.lists(st.sampled_from([
    b"Waiting for domain ", b"x (domid 3) to die [pid 1]", b"\n", b"Domain 3 has shut down, reason code ", b"3 0x3",
    b"Action for shutdown reason code 3 is destroy", b"Domain has suspended.", b"libxl: debug: libxl_dm.c:1:f: ",
    b"Domain 3:  -name", b"Domain 3:  \xff", b"2026-11-23 03:44:27 CET ", DEVSTATE, b"wanted state 6 ok", b"99999",
    b"/local/domain/0/backend/vif/3/0/state ", b" ",
]), max_size=20).map(b"".join))
def test_no_log_makes_it_fail(text: bytes) -> None:
    places = [0]
    for found in read(text):
        assert places[-1] <= found.offset
        assert found.offset + found.length <= len(text) + 1
        places.append(found.offset)
