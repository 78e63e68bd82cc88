"""XenServer's toolstack log tells which domain is whose, and what became of it.

One line is real (xapi-project/xen-api issue 4862). No log with the others was found posted: they are composed from
xapi-project/xen-api's source, ocaml/libs/log/debug.ml (`[%5s||%d %s|%s|%s] %s`), ocaml/xenopsd/xc/device.ml and
ocaml/xenopsd/xc/domain.ml, whose format strings stand beside them.
"""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissectors.record import Record
from dissectors.xen.xapi import DISSECTOR, sniff
from tests.dissectors.feeding import broken, feed, inside, records

REAL = b"Dec  5 13:17:39 r620-q4 xenopsd-xc: [debug||8 ||xenops] EPOLL error on domain-202, close QMP socket\n"
UUID = b"4ab3dfd9-f571-8900-a35a-6cced68267e3"
ISO = b"2026-11-23T03:12:23.985985+00:00 r620-q4 xenopsd-xc: "
ISO_NS = 1795403543_985_985_000
LIFE = b"[debug||31 |Async.VM.clean_reboot R:82f033257476|xenops] VM = " + UUID + b"; domid = 202; "
LOG = (
    ISO + b"[ info||31 |VM.start R:8802b8bf4768|xenops] VM = " + UUID + b"; domid = 202\n"
    + ISO + b"[debug||8 ||xenops] Got QMP event, domain-202: XEN_PLATFORM_PV_DRIVER_INFO\n"
    + ISO + LIFE + b"Requesting domain reboot\n" + REAL
)


def one(line: bytes) -> Record:
    (record,) = records(DISSECTOR, line)
    return record


def lives(text: bytes) -> list[tuple[object, object]]:
    found = [one.values for one in records(DISSECTOR, text) if one.event == "domain_life"]
    return [(one["what"], one["reason"]) for one in found]


def test_a_real_line_says_that_the_device_model_broke_off() -> None:
    record = one(REAL)
    assert (record.event, record.domain) == ("domain_life", 202)
    assert record.values == {"what": b"its device model's QMP broke off", "reason": None}
    assert (record.time_ns, record.clock, record.thread, record.guest) == (None, None, None, None)
    assert (record.offset, record.length, record.line, record.raw) == (0, len(REAL), 1, REAL[:-1])


def test_a_date_without_a_year_is_inferred_from_when_the_log_was_written() -> None:
    """`date -u -d 2022-12-05T13:17:39Z +%s`: 1670246259; the log written on 2022-12-06."""
    (record,) = records(DISSECTOR, REAL, 1670284800 * 10**9)
    assert (record.time_ns, record.clock) == (1670246259 * 10**9, "local, year inferred")


@pytest.mark.parametrize(
    "head",
    [b"[debug||8 ||xenops] ", b"[debug|hs-0227|8 ||xenops] ", b"[ info||31 |VM.start R:8802b8bf4768|xenops] ",
     b"[debug||14 |Parallel:task=5.atoms=1.(VBD.plug RW vm=6f25b64e-9887-7017-02cc-34e79bfae93d)|xenops] ",
     b"[ warn||4 org.xen.xapi.xenops.classic|events D:6f4adf04fe49|xenops] "],
)
@pytest.mark.parametrize("stamp", [ISO, b""])
def test_the_host_the_thread_and_the_task_may_be_any(head: bytes, stamp: bytes) -> None:
    record = one(stamp + head + b"Got QMP event, domain-7: SHUTDOWN\n")
    assert (record.event, record.domain) == ("qmp_event", 7)
    assert record.values == {"name": b"SHUTDOWN", "reason": None}
    assert (record.time_ns, record.clock) == ((ISO_NS, "syslog") if stamp else (None, None))


def test_the_drivers_event_has_no_numbers_here() -> None:
    """device.ml: "Got QMP event, domain-%d: %s"."""
    record = one(ISO + b"[debug||8 ||xenops] Got QMP event, domain-202: XEN_PLATFORM_PV_DRIVER_INFO\r\n")
    assert (record.event, record.domain) == ("driver_info", 202)
    assert record.values == {"product": None, "build": None}


@pytest.mark.parametrize(
    ("text", "what", "reason"),
    [
        (b"Requesting domain reboot", b"asked to shut down", b"reboot"),  # "Requesting domain %s"
        (b"Requesting domain s3", b"asked to shut down", b"s3"),
        (b"Requesting domain (unknown 7)", b"asked to shut down", b"(unknown 7)"),
        (b"Domain acknowledged shutdown request", b"acknowledged the request to shut down", None),
        (b"HVM guest without PV drivers: not expecting any acknowledgement",
         b"shut down without asking: no PV drivers", None),
        (b"Domain disappeared", b"disappeared", None),
        (b"suspend live = true", b"suspend begins", None),  # "suspend live = %b"
        (b"suspend complete", b"suspended", None),
        (b"soft_reset", b"soft reset", None),
        (b"Domain.destroy calling Xenctrl.domain_destroy", b"destroyed", None),
    ],
)
def test_what_xenopsd_says_of_a_domain_is_its_life(text: bytes, what: bytes, reason: bytes | None) -> None:
    """domain.ml: "VM = %s; domid = %d; ..."."""
    identity, life = records(DISSECTOR, ISO + LIFE + text + b"\n")
    assert (identity.event, identity.domain, identity.values) == ("domain", 202, {"name": None, "uuid": UUID})
    assert (life.event, life.domain, life.values) == ("domain_life", 202, {"what": what, "reason": reason})
    assert {(found.time_ns, found.clock) for found in (identity, life)} == {(ISO_NS, "syslog")}


@pytest.mark.parametrize("name", [b"QMP", b"qmp"])
def test_the_end_of_a_device_model_is_told(name: bytes) -> None:
    """device.ml: "domain-%d: end of file, close QMP socket"; in small letters when it was new (2017)."""
    line = b"[debug||8 ||xenops] domain-9: end of file, close " + name + b" socket\n"
    assert lives(line) == [(b"its device model closed QMP", None)]


def test_a_domain_is_told_once_for_each_uuid_and_each_number() -> None:
    created = b"[ info||31 |t|xenops] VM = " + UUID + b"; domid = 1\n"
    other = created.replace(b"4ab3", b"5ab3")
    found = records(DISSECTOR, created + LIFE + b"soft_reset\n" + LIFE + b"soft_reset\n" + other + created + created)
    assert [(one.event, one.domain) for one in found if one.event == "domain"] == [
        ("domain", 1), ("domain", 202), ("domain", 1), ("domain", 1)]
    assert lives(created) == [(b"created", None)]


def test_a_domain_that_is_being_destroyed_is_nobodys() -> None:
    line = b"[debug||31 |t|xenops] VM = deadbeef-dead-beef-dead-beef000000ca; domid = 202; soft_reset\n"
    assert one(line).event == "domain_life"


@pytest.mark.parametrize(
    "line",
    [
        b"[debug||8 ||xenops] Got QMP event, domain-7: RTC_CHANGE",
        b"[debug||8 ||xenops] Got QMP event, domain-7: SHUTDOWN and more",
        b"[debug||8 ||xenops] Got QMP event, domain-0: SHUTDOWN",
        b"[debug||8 ||xenops] Got QMP event, domain-40000: SHUTDOWN",
        b"[debug||8 ||xenops] said: Got QMP event, domain-7: SHUTDOWN",
        b"Got QMP event, domain-7: SHUTDOWN",
        b"[debug||8 ||xenops] VM = " + UUID.upper() + b"; domid = 7; soft_reset",
        b"[debug||8 ||xenops] VM = x; domid = 7; soft_reset",
        b"[debug||8 ||xenops] Not VM = " + UUID + b"; domid = 7; soft_reset",
        b"qemu-dm-7[1]: [debug||8 ||xenops Got QMP event, domain-7: SHUTDOWN",
        b"1@2.000003:xen_platform_log xen platform: [debug||8 ||xenops] Got QMP event, domain-7: SHUTDOWN",
    ],
)
def test_what_xenopsd_does_not_say_is_nothing(line: bytes) -> None:
    assert feed(DISSECTOR, line + b"\n") == []


def test_other_sayings_of_a_domain_tell_only_whose_it_is() -> None:
    (record,) = records(DISSECTOR, LIFE + b"store evtchn = 1; console evtchn = 2\n" + LIFE + b"Requesting domain x y\n")
    assert record.event == "domain"


def test_it_takes_part_where_the_toolstack_speaks() -> None:
    assert sniff(b"x\n" + REAL) == 80
    assert sniff(b"Jul 29 16:36:43 ng02 xcp-rrdd: [ info||9 ||rrdd_main] memfree has changed to 165064\n") == 40
    assert sniff(b"1@2.000003:cpu_in addr 0x10(w) value 18898\n") == 0
    assert DISSECTOR.vantage == "toolstack"
    assert one(DISSECTOR.example).domain == 202


def test_a_log_that_breaks_off_anywhere_raises_nothing() -> None:
    assert len(records(DISSECTOR, LOG)) == 5
    for end in range(len(LOG)):
        assert inside(LOG[:end], feed(DISSECTOR, LOG[:end]))


@given(broken(LOG + LOG))
def test_a_damaged_log_raises_nothing(log: bytes) -> None:
    assert inside(log, feed(DISSECTOR, log))


@given(st.binary(max_size=60), st.sampled_from([b"Got QMP event, domain-", b"VM = " + UUID + b"; domid = 1", b""]))
def test_what_looks_like_a_line_raises_nothing(more: bytes, text: bytes) -> None:
    log = more + b"[debug||8 |" + more + b"|xenops] " + text + more
    assert inside(log, feed(DISSECTOR, log))
    sniff(log)


@pytest.mark.parametrize("line", [b"[debug|" + b"|" * 65_000, b"[debug||1 " * 6_000, b"[" + b" " * 65_000,
                                  b"[debug||1 |" + b"a" * 65_000, LIFE + b"Requesting domain " + b"a" * 65_000])
def test_a_long_line_takes_no_longer_than_its_length(line: bytes) -> None:
    before = process_time()
    feed(DISSECTOR, (line + b"; domid = 1\n") * 20)
    sniff(line * 10)
    assert process_time() - before < 3
