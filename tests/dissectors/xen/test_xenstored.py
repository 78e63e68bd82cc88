"""C xenstored's trace is read into what is asked of guests' nodes; whose connection it is, is never guessed."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.nodes import identity, owner
from dissectors.xen.xenstored import DISSECTOR, NEEDLES, Trace, sniff
from tests.dissectors.feeding import broken, feed, inside

DAY = b"20261123 03:44:27"
AT = 1795405467_000_000_000
"""The time of that stamp as if it were UTC, by `date -u -d '2026-11-23 03:44:27'`."""


def read(text: bytes) -> list[Record | Damage | Loss]:
    """What a whole log says, each of its lines shown."""
    trace, offset, found = Trace(Given("xenstored-trace.log", catalogue.load())), 0, list[Record | Damage | Loss]()
    for number, line in enumerate(text.split(b"\n"), 1):
        found += trace.read(line, offset, number, len(line) + 1)
        offset += len(line) + 1
    return found


def told(text: bytes) -> list[tuple[int, str, int | None, bytes, bytes]]:
    """Line, event, domain, path (or name) and value of each record."""
    records = []
    for one in read(text):
        assert isinstance(one, Record), one
        if one.event == "domain":
            (name, value), = one.values.items()
            assert isinstance(value, bytes)
            records.append((one.line, one.event, one.domain, name.encode(), value))
        else:
            records.append((one.line, one.event, one.domain, one.text("path"), one.text("value")))
    return records


def test_the_lines_of_two_guests_on_their_own_connections(data: Path) -> None:
    feature = [b"control/feature-poweroff", b"control/feature-reboot", b"control/feature-suspend"]
    write, name, uuid = "xenstored_write", b"/local/domain/1/name", b"9fe85d6c-309a-40e2-b1cd-4305e5a560d8"
    assert told((data / "xenstore" / "two-guests.trace").read_bytes()) == [
        (36, write, 1, b"/local/domain/1/vm", b"/vm/" + uuid),
        (36, "domain", 1, b"uuid", uuid),
        (48, write, 1, name, b"twoA"),
        (48, "domain", 1, b"name", b"twoA"),
        *((line, write, 1, path, b"1") for line, path in zip((62, 68, 72), feature, strict=True)),
        *((line, write, 2, path, b"1") for line, path in zip((74, 80, 84), feature, strict=True)),
        (88, write, 1, b"device/vbd/768/state", b"3"),
        (107, write, 2, b"device/vbd/768/state", b"3"),
        (116, write, 1, b"device/vbd/768/state", b"4"),
        (146, write, 2, b"device/vbd/768/state", b"4"),
    ]


def test_a_record_says_when_by_the_hosts_own_clock_and_where(data: Path) -> None:
    text = (data / "xenstore" / "two-guests.trace").read_bytes()
    (one,) = [found for found in read(text) if isinstance(found, Record) and found.line == 88]
    assert (one.time_ns, one.clock, one.source) == (AT, "local", "xenstored-trace.log")
    assert text[one.offset : one.offset + one.length] == one.raw + b"\n"
    assert one.raw == b"IN 0x55eaef446a20 20261123 03:44:27 WRITE (device/vbd/768/state 3)"


def test_without_the_introduction_nothing_is_guessed(data: Path) -> None:
    lines = (data / "xenstore" / "two-guests.trace").read_bytes().split(b"\n")
    assert told(b"\n".join(lines[60:])) == []


def test_a_connection_that_is_made_anew_at_the_same_place_is_another() -> None:
    introduced = b"IN 0xa 20261123 03:44:27 INTRODUCE (%d 7 1 )\nCREATE connection 0xb\n"
    log = introduced % 1 + b"%sIN 0xb " + DAY + b" WRITE (data/x 1)\n"
    assert [one[2] for one in told(log % b"")] == [1]
    assert told(log % b"DESTROY connection 0xb\n") == []
    assert told(log % b"CREATE connection 0xb\n") == []
    assert [one[2] for one in told(log % (introduced % 2))] == [2]


def test_who_is_introduced_again_has_its_connection_already() -> None:
    again = b"IN 0xa 20261123 03:44:27 INTRODUCE (1 7 1 )\nCREATE connection 0x%x\n"
    assert told(again % 0xB + again % 0xC + b"IN 0xc " + DAY + b" WRITE (data/x 1)\n") == []
    assert len(told(again % 0xB + again % 0xC + b"IN 0xb " + DAY + b" WRITE (data/x 1)\n")) == 1
    gone = b"DESTROY connection 0xb\n"
    assert len(told(again % 0xB + gone + again % 0xC + b"IN 0xc " + DAY + b" WRITE (data/x 1)\n")) == 1


def test_a_socket_of_a_log_from_the_start_is_dom0s() -> None:
    socket = b"CREATE connection 0xb\nIN 0xb " + DAY + b" WRITE (backend/vkbd/1/0/state 2)\n"
    start = b"\n***\nCREATE connection 0xa\nChecking store ...\nChecking store complete.\n"
    assert told(socket) == []
    assert told(start + socket) == [(7, "xenstored_write", 1, b"backend/vkbd/1/0/state", b"2")]
    assert told(start + b"***\n" + socket) == []  # another daemon carries on, or the log was opened anew


def test_the_form_that_names_the_domain() -> None:
    line = b"io: IN 0x55eaef446a20 (d%d) " + DAY + b" WRITE (device/vbd/768/state 3)\n"
    assert told(line % 7) == [(1, "xenstored_write", 7, b"device/vbd/768/state", b"3")]
    assert told(line % 0) == []  # Dom0's own node
    assert told(b"io: OUT 0x55eaef446a20 (d7) " + DAY + b" WRITE (OK )\n") == []


@pytest.mark.parametrize(
    ("said", "event", "path", "value"),
    [
        (b"RM (/local/domain/1/console )", "xenstored_rm", b"/local/domain/1/console", b""),
        (b"WRITE (/local/domain/1/control/sysrq )", "xenstored_write", b"/local/domain/1/control/sysrq", b""),
        (b"WRITE (/local/domain/0/backend/qdisk/1/768/params aio:/a b)", "xenstored_write",
         b"/local/domain/0/backend/qdisk/1/768/params", b"aio:/a b"),
        (b"WRITE (/local/domain/1/data/x \x1b[2J\xff) ))", "xenstored_write", b"/local/domain/1/data/x",
         b"\x1b[2J\xff) )"),
        (b"RM (/local/domain/3/backend/vif/1/0 )", "xenstored_rm", b"/local/domain/3/backend/vif/1/0", b""),
    ],
)
def test_an_absolute_path_names_the_guest_itself(said: bytes, event: str, path: bytes, value: bytes) -> None:
    assert told(b"IN 0xa " + DAY + b" " + said) == [(1, event, 1, path, value)]


@pytest.mark.parametrize(
    "line",
    [
        b"OUT 0x55eaef446a20 20261123 03:44:27 WATCH_EVENT (/local/domain/1/device/vbd/768/state 6ccf0d9f )",
        b"IN 0xa 20261123 03:44:27 WRITE (/libxl/1/device/vbd/768/state 1)",
        b"IN 0xa 20261123 03:44:27 WRITE (/local/domain/0/name Domain-0)",
        b"IN 0xa 20261123 03:44:27 RM (/local/domain/1 )",  # the home, no node in it
        b"IN 0xa 20261123 03:44:27 MKDIR (/local/domain/1/device/vbd/768 )",
        b"IN 0xa 20261123 03:44:27 SET_PERMS (/local/domain/1/control n0 r1 )",
        b"IN 0xa 20261123 03:44:27 WRITE (/local/domain/32752/data/x 1)",  # DOMID_FIRST_RESERVED
        b"io: IN 0xa (d3) 20261123 03:44:27 WRITE (/local/domain/5/data/updated 1)",  # which no guest may write
        b"io: IN 0xa (d3) 20261123 03:44:27 WRITE (backend/vbd/5/768/state 4)",
        b"wrl: dom    0    230  msec      10000 credit       46000 reserve          0 discard",
        b"CONN 0x55eaef441d10 ignored, reason 2",
        b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898",
        b"x WRITE (", b" WRITE (", b"CREATE conn", b"",
    ],
)
def test_other_lines_say_nothing(line: bytes) -> None:
    assert read(line) == []


@pytest.mark.parametrize(
    "line",
    [
        b"IN 0xa 20261123 03:44:27 WRITE (/local/domain/1/data/x first line",
        b"IN 0xa 20261123 03:44:27 WRITE (/local/domain/1/data/x",
        b"IN 0xa 20261123 03:44:27 RM (/local/domain/1/data/x",
        b"IN 0xa 20261323 03:44:27 WRITE (/local/domain/1/data/x 1)",
        b"IN 0xa 20261123 24:44:27 WRITE (/local/domain/1/data/x 1)",
    ],
)
def test_a_request_without_its_end_or_its_date_is_damage(line: bytes) -> None:
    (damage,) = read(line)
    assert isinstance(damage, Damage)


def test_a_time_before_1970_is_no_time() -> None:
    (one,) = read(b"IN 0xa 19691231 23:59:59 WRITE (/local/domain/1/data/x 1)")
    assert isinstance(one, Record)
    assert (one.time_ns, one.clock) == (None, None)


@pytest.mark.parametrize(
    ("path", "writer", "guest"),
    [
        (b"/local/domain/3/data/x", None, 3), (b"/local/domain/3/data/x", 0, 3), (b"/local/domain/3/data/x", 3, 3),
        (b"/local/domain/3/data/x", 4, None), (b"data/x", 3, 3), (b"data/x", 0, None), (b"data/x", None, None),
        (b"/local/domain/0/backend/vbd/3/768/state", 0, 3), (b"/local/domain/9/backend/vif/3/0", None, 3),
        (b"backend/vbd/3/768/state", 0, 3), (b"backend/vbd/3/768/state", 9, None),
        (b"/local/domain/9/backend/vif/3/0/state", 9, None), (b"/local/domain/0/backend/vbd/3", 0, None),
        (b"/local/domain/0/backend/vbd/0/768/state", 0, None), (b"/vm/uuid/name", 0, None), (b"", 3, None),
        (b"/local/domain/99999/data/x", 0, None), (b"/local/domain//x", 3, None),
    ],
)
def test_whose_node_a_path_names(path: bytes, writer: int | None, guest: int | None) -> None:
    assert owner(path, writer) == guest


def test_only_dom0_says_who_a_domain_is() -> None:
    vm = b"/vm/9fe85d6c-309a-40e2-b1cd-4305e5a560d8"
    assert identity(b"/local/domain/1/name", b"a", 0) == {"name": b"a"}
    assert identity(b"/local/domain/1/vm", vm + b"-1", None) == {"uuid": vm[4:]}  # of XenServer, after a reboot
    assert identity(b"/local/domain/1/name", b"a", 1) is None
    assert identity(b"/local/domain/1/name", b"", 0) is None
    assert identity(b"/local/domain/1/vm", b"/vm/x", 0) is None
    assert identity(b"/local/domain/1/device/name", b"a", 0) is None


def test_the_example_is_sniffed_and_read_and_another_log_is_not() -> None:
    assert sniff(DISSECTOR.example) > 50
    assert len(read(DISSECTOR.example)) == 1
    assert any(needle.search(DISSECTOR.example) for needle in NEEDLES)
    assert sniff(b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n") == 0
    assert sniff(b"[20261123T03:17:30.038Z]  D1           write     control/feature-suspend 1\n") == 0


def test_every_line_that_matters_holds_a_needle(data: Path) -> None:
    lines = (data / "xenstore" / "two-guests.trace").read_bytes().split(b"\n")
    ours = [any(needle.search(line) for needle in NEEDLES) for line in lines]
    # as a scan shows them: with a neighbour on either side
    near = [line if any(ours[max(0, at - 1) : at + 2]) else b"" for at, line in enumerate(lines)]
    assert told(b"\n".join(near)) == told(b"\n".join(lines))


def test_a_whole_recording_is_read_without_damage(corpus: Path) -> None:
    text = lzma.decompress((corpus / "recorded/real-xen/unplug-ide-disks/xenstored-trace.log.xz").read_bytes())
    found = told(text)
    # the guest of that recording: domain 2 after a domain 1 that another recording began with
    assert {one[2] for one in found} == {1, 2}
    assert [one[4] for one in found if one[1:4] == ("domain", 2, b"name")] == [b"unplug-ide-disks"]
    assert [one[3:] for one in found if one[2] == 2 and one[3].startswith(b"control/feature-")] == [
        (b"control/feature-poweroff", b"1"), (b"control/feature-reboot", b"1"), (b"control/feature-suspend", b"1")]


def test_a_log_that_is_cut_anywhere_or_is_two_logs_is_read_as_far_as_it_goes(data: Path) -> None:
    text = (data / "xenstore/two-guests.trace").read_bytes()
    for cut in range(0, len(text), 7):
        assert inside(text[:cut], feed(DISSECTOR, text[:cut]))
    other = b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n" + text
    assert inside(text + other, feed(DISSECTOR, text + other))


@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_log_with_bits_turned_and_pieces_moved_makes_it_not_fail(data: Path, draw: st.DataObject) -> None:
    text = draw.draw(broken((data / "xenstore/two-guests.trace").read_bytes()))
    assert inside(text, feed(DISSECTOR, text))


@given(st.binary(max_size=200) | st.lists(st.sampled_from([
    b"IN 0xa 20261123 03:44:27 INTRODUCE (", b"1 7 1 )", b"\n", b"CREATE connection 0x", b"b", b"(d3) ", b"\xff",
    b"IN 0xb 20261123 03:44:27 WRITE (", b"data/x", b" ", b"1)", b"Checking store ...", b"***", b"99999",
    b"DESTROY connection 0xb",
]), max_size=20).map(b"".join))
def test_no_log_makes_it_fail(text: bytes) -> None:
    places = [0]
    for found in read(text):
        assert places[-1] <= found.offset
        assert found.offset + found.length <= len(text) + 1
        places.append(found.offset)
