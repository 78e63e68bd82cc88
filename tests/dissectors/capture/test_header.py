"""The pseudo-header says what it documents, and what goes in comes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissectors.capture import header
from dissectors.capture.header import ACCESS, EVENT, MESSAGE, HeaderError, arguments, numbers, pack, unpack
from dissectors.record import Value

UNPLUG = {
    "kind": ACCESS, "clock": 1, "vm": b"win", "source": b"a.log", "source_offset": 0x78, "source_line": 3,
    "told_by": b"cpu_out", "space": 0, "access": 1, "size": 2, "offset": 0x10, "address": 0x10, "value": 2,
}  # fmt: skip


def test_the_packet_of_the_documentation_is_what_is_written() -> None:
    documented = re.search(r"to be unplugged::\n\n((?: {4}.*\n)+)", header.__doc__ or "")
    assert documented is not None
    assert pack(UNPLUG) == bytes.fromhex(documented[1])


def test_every_number_stands_where_the_documentation_says() -> None:
    widths = [int(count) * int(times or 1)
              for first in re.findall(r"(?m)^(\d[\d ×+]*?)  +\w", header.__doc__ or "")
              for times, count in [(first.split(" × ") if "×" in first else ("1", first))]
              if "+" not in first]  # fmt: skip
    assert sum(widths) + 8 + 8 == header.HEAD_BYTES


def test_what_is_not_told_is_missing() -> None:
    values = unpack(pack({"kind": ACCESS}))
    assert [values[name] for name in ("vcpu", "function", "address", "value", "size")] == [None] * 5
    assert (values["boot"], values["count"], values["clock"], values["vm"]) == (1, 1, 0, b"")


_TEXT = st.text(max_size=20).map(str.encode)
_NUMBER = st.integers(0, (1 << 64) - 1)
_WORD = st.integers(0, (1 << 32) - 1)
_HEAD = {
    "clock": st.integers(0, 255), "began": st.sampled_from(sorted(header.BEGINNINGS)), "boot": _WORD,
    "vcpu": st.none() | st.integers(-1 << 31, (1 << 31) - 1), "count": _WORD, "function": st.none() | _WORD,
    "base": _NUMBER, "source_offset": _NUMBER, "source_line": _NUMBER, "inferred": st.integers(0, 1),
    "derived": st.integers(0, 1), "complete": st.integers(0, 1), **dict.fromkeys(header.TEXTS, _TEXT),
}  # fmt: skip


@st.composite
def accesses(draw: st.DrawFn) -> dict[str, Value]:
    size = draw(st.none() | st.integers(1, 16))
    return draw(st.fixed_dictionaries(_HEAD)) | draw(st.fixed_dictionaries({
        "kind": st.just(ACCESS), "space": st.sampled_from(sorted(header.SPACES)), "access": st.integers(0, 1),
        "size": st.just(size), "offset": _WORD, "address": st.none() | _NUMBER,
        "value": st.none() | st.integers(0, (1 << 8 * header.width(size)) - 1),
    }))  # fmt: skip


MESSAGES = st.fixed_dictionaries(_HEAD | {
    "kind": st.just(MESSAGE), "via": st.sampled_from(sorted(header.WAYS)), "text": st.binary(max_size=300),
})  # fmt: skip
EVENTS = st.fixed_dictionaries(_HEAD | {
    "kind": st.just(EVENT), "topic": st.sampled_from(sorted(header.TOPICS)), "number": st.none() | _NUMBER,
    "arguments": st.binary(max_size=60),
})  # fmt: skip


@given(accesses() | MESSAGES | EVENTS)
def test_values_come_back_from_a_packet(values: dict[str, Value]) -> None:
    found = unpack(pack(values))
    assert {name: found.get(name) for name in values} == values
    assert pack(found) == pack(values)


@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda rest: pack(UNPLUG)[:60] + rest))
def test_whatever_is_no_packet_is_refused_in_one_line(raw: bytes) -> None:
    why = ""
    try:
        assert unpack(raw)["version"] == header.VERSION
    except HeaderError as error:
        why = str(error)
    assert "\n" not in why


@pytest.mark.parametrize(("change", "why"), [
    (slice(0, 1), "expected version 1 of the pseudo-header, found 255"),
    (slice(1, 2), "expected a packet of kind 0 to 2, found 255"),
    (slice(2, 4), "expected 65551 bytes at least, found 93"),
    (slice(48, 50), "expected texts up to byte 75, found that they end at 65607"),
    (slice(75, 76), "no space has the number 255"),
    (slice(76, 77), "no access has the number 255"),
])  # fmt: skip
def test_damage_is_named(change: slice, why: str) -> None:
    raw = bytearray(pack(UNPLUG))
    raw[change] = b"\xff" * (change.stop - change.start)
    with pytest.raises(HeaderError) as refused:
        unpack(bytes(raw))
    assert str(refused.value) == why


def test_a_value_that_is_not_whole_is_damage() -> None:
    with pytest.raises(HeaderError, match="expected a value of 2 bytes, found 1"):
        unpack(pack(UNPLUG)[:-1])


@pytest.mark.parametrize("wrong", [{"kind": 3}, {"value": 1 << 16}, {"boot": -1}, {"vm": bytes(1 << 16)}])
def test_what_no_packet_can_say_is_refused(wrong: dict[str, Value]) -> None:
    with pytest.raises(HeaderError):
        pack({**UNPLUG, **wrong})


@example({"p1": (1 << 64) - 1, "code": -5})
@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,12}", fullmatch=True), st.integers(-1 << 70, 1 << 70)))
def test_arguments_of_an_event_come_back(told: dict[str, Value]) -> None:
    assert numbers(arguments(told)) == told
