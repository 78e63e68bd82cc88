"""A listing of xenstore is read into guests' nodes, as a tree as by whole paths."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissectors import Given
from dissectors.qemu import catalogue
from dissectors.record import Damage, Loss, Record
from dissectors.xen.xenstore_ls import CUT, DISSECTOR, LONGEST_LINE, Listing, sniff
from tests.dissectors.feeding import broken

TREE = rb"""tool = ""
 xenstored = ""
local = ""
 domain = ""
  0 = ""
   name = "Domain-0"
   backend = ""
    vbd = ""
     1 = ""
      51712 = ""
       state = "4"
  1 = ""
   vm = "/vm/e0c1fcbf-70a5-4541-aa58-b5fb8ba7d8bf"
   name = "linux-default"
   data:
   device = ""
    vif = ""
     0 = ""
      state = "4"
vm = ""
"""


def read(text: bytes, size: int = 1 << 20) -> list[Record | Damage | Loss]:
    chunks: Iterable[bytes] = (text[at : at + size] for at in range(0, len(text), size))
    return list(Listing(Given("xenstore-ls.txt", catalogue.load())).read(chunks))


def nodes(text: bytes) -> dict[bytes, tuple[int | None, bytes]]:
    """The domain and the value of each node by its path."""
    found = read(text)
    assert all(isinstance(one, Record) for one in found), found
    return {
        one.text("path"): (one.domain, one.text("value"))
        for one in found if isinstance(one, Record) and one.event == "xenstore_node"
    }


def domains(text: bytes) -> list[tuple[int | None, dict[str, object]]]:
    return [(one.domain, dict(one.values)) for one in read(text) if isinstance(one, Record) and one.event == "domain"]


def as_tree(whole: bytes, columns: int) -> bytes:
    """The tree that do_ls of xenstore_client.c prints of the same nodes, with permissions."""
    lines = []
    for path, value, permissions in re.findall(rb'(?m)^(\S+) = "(.*)"   (\(\S+\))$', whole):
        parts = path.split(b"/")[1:]
        text = b" " * (len(parts) - 1) + parts[-1]
        if columns < len(text) + len(value) + 8:
            text += b' = "%s\\..."' % value[: columns - 8 - len(text)]
        else:
            text += b' = "%s" ' % value
            text += b"".join(b"." if at & 1 else b" " for at in range(len(text), 60))
        lines.append(text + b"  " + permissions + b"\n")
    return b"".join(lines)


def test_the_nodes_of_a_recorded_listing(data: Path) -> None:
    text = (data / "xenstore" / "linux-default.ls-fp").read_bytes()
    found = nodes(text)
    # every node below the guest's home, and below what serves it, and none else
    assert len(found) == sum(
        re.match(rb"/local/domain/1/|/local/domain/0/backend/\w+/1/", line) is not None for line in text.splitlines()
    )
    assert found[b"/local/domain/0/backend/qdisk/1/768/state"] == (1, b"2")
    assert found[b"/local/domain/1/device/vif/0/state"] == (1, b"1")
    assert found[b"/local/domain/1/control/feature-suspend"] == (1, b"")
    assert b"/local/domain/0/control/feature-suspend" not in found
    assert domains(text) == [
        (1, {"uuid": b"e0c1fcbf-70a5-4541-aa58-b5fb8ba7d8bf"}), (1, {"name": b"linux-default"})]


def test_a_record_has_its_place_and_no_time(data: Path) -> None:
    text = (data / "xenstore" / "linux-default.ls-fp").read_bytes()
    lines = text.splitlines(keepends=True)
    for one in read(text):
        assert isinstance(one, Record)
        assert text[one.offset : one.offset + one.length] == lines[one.line - 1] == one.raw + b"\n"
        assert (one.time_ns, one.clock) == (None, None)


def test_the_tree_says_the_same_as_the_whole_paths(data: Path) -> None:
    whole = (data / "xenstore" / "linux-default.ls-fp").read_bytes()
    tree = as_tree(whole, columns=1000)
    assert tree != whole
    assert nodes(tree) == nodes(whole)
    assert domains(tree) == domains(whole)
    assert sniff(tree) > 50


def test_what_the_terminal_cut_is_shown_as_it_stands_and_names_nobody(data: Path) -> None:
    whole = (data / "xenstore" / "linux-default.ls-fp").read_bytes()
    cut = nodes(as_tree(whole, columns=40))
    vm = cut[b"/local/domain/1/vm"][1]
    assert vm == rb"/vm/e0c1fcbf-70a5-4541-aa58\..."[: 40 - 8 - 5] + CUT
    assert domains(as_tree(whole, columns=40)) == [(1, {"name": b"linux-default"})]
    for path, (_, value) in nodes(whole).items():
        assert cut[path][1] == value or value.startswith(cut[path][1].removesuffix(CUT))


def test_a_tree_by_hand() -> None:
    assert nodes(TREE) == {
        b"/local/domain/0/backend/vbd/1/51712": (1, b""),
        b"/local/domain/0/backend/vbd/1/51712/state": (1, b"4"),
        b"/local/domain/1/vm": (1, b"/vm/e0c1fcbf-70a5-4541-aa58-b5fb8ba7d8bf"),
        b"/local/domain/1/name": (1, b"linux-default"),
        b"/local/domain/1/device": (1, b""),
        b"/local/domain/1/device/vif": (1, b""),
        b"/local/domain/1/device/vif/0": (1, b""),
        b"/local/domain/1/device/vif/0/state": (1, b"4"),
    }
    assert sniff(TREE) > 50


def test_a_value_may_look_like_the_end_of_a_line() -> None:
    line = rb'/local/domain/1/data/x = "a"   (n1)" = ""   (n0,r1)' + b"\r\n"
    assert nodes(line) == {b"/local/domain/1/data/x": (1, rb'a"   (n1)" = "')}


def test_below_a_node_that_cannot_be_read_nothing_is_told() -> None:
    lines = TREE.replace(b'  1 = ""\n   vm', b'  1# = ""\n   vm')
    found = read(lines)
    assert [type(one) for one in found].count(Damage) == 1
    assert {one.text("path")[:22] for one in found if isinstance(one, Record)} == {b"/local/domain/0/backen"}


def test_a_tree_whose_begin_is_missing_is_damage_once() -> None:
    found = read(TREE[TREE.index(b"   vm") :])
    assert [type(one) for one in found] == [Damage]


def test_a_line_that_is_too_long_is_damage_and_the_rest_is_read() -> None:
    long = b'/local/domain/1/data/x = "' + b"x" * LONGEST_LINE + b'"\n'
    for size in (1000, 1 << 20):
        first, second = read(long + b'/local/domain/1/data/y = "1"\n', size)
        assert isinstance(first, Damage)
        assert (first.offset, first.length, first.line) == (0, len(long), 1)
        assert isinstance(second, Record)
        assert (second.offset, second.line) == (len(long), 2)


def test_a_tree_deeper_than_any_path_ends_without_harm() -> None:
    tree = b"".join(b" " * depth + b'n = ""\n' for depth in range(3500)) + b" " * 60_000 + b'n = ""\n'
    assert [one for one in read(tree) if isinstance(one, Record)] == []


@pytest.mark.parametrize(
    "head",
    [
        b'name = "guest"\nmemory = 512\nbuilder = "hvm"\n',  # a configuration of xl
        b'vm = "/vm/x"\nname = "x"\ncpu = ""\n',  # a tree that does not begin at the root
        b"213@1795406729.213774:cpu_in addr 0x10(w) value 18898\n" * 9 + b'/local/domain/1/x = "1"\n',
        b"", b"\n" * 100,
    ],
)
def test_what_is_no_listing_is_not_taken_for_one(head: bytes) -> None:
    assert sniff(head) == 0


def test_the_example_is_sniffed_and_read(data: Path) -> None:
    assert sniff(DISSECTOR.example) > 50
    assert len(read(DISSECTOR.example)) == 1
    assert sniff((data / "xenstore" / "linux-default.ls-fp").read_bytes()[:1000]) > 50


def test_every_recorded_listing_is_read_without_damage(corpus: Path) -> None:
    listings = sorted((corpus / "recorded" / "real-xen").glob("*/xenstore-ls-*.txt"))
    assert len(listings) > 10
    for listing in listings:
        text = listing.read_bytes()
        assert sniff(text) > 50
        assert nodes(text)


@given(st.integers(0, len(TREE)), st.integers(1, 50))
def test_a_listing_that_is_cut_anywhere_is_read_as_far_as_it_goes(cut: int, size: int) -> None:
    whole, part = read(TREE), read(TREE[:cut], size)
    records = [one for one in part if isinstance(one, Record)]
    assert [one.values for one in records] == [one.values for one in whole[: len(records)] if isinstance(one, Record)]
    assert all(one.offset + one.length <= cut for one in part)


@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_listing_with_bits_turned_and_pieces_moved_makes_it_not_fail(data: Path, draw: st.DataObject) -> None:
    for whole in (TREE, (data / "xenstore" / "linux-default.ls-fp").read_bytes()):
        text = draw.draw(broken(whole + whole))
        found = read(text)
        assert all(text[one.offset :].startswith(one.raw) for one in found if isinstance(one, Record))
        assert all(one.offset + one.length <= len(text) for one in found)


@given(st.binary(max_size=300) | st.lists(st.sampled_from([
    TREE[:40], b" ", b"\n", b'a = "', b'"', b":", b"  (n0)", b"/local/domain/1/x", b"\\...", b"\r", b"\xff", b"=",
]), max_size=30).map(b"".join), st.integers(1, 64))
def test_no_bytes_make_it_fail(text: bytes, size: int) -> None:
    places = [0]
    found = read(text, size)
    assert found == read(text)
    for one in found:
        assert places[-1] <= one.offset
        assert one.offset + one.length <= len(text)
        places.append(one.offset)
