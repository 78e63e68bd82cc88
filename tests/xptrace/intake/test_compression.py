"""Compressed recordings yield all they hold, and say why that is not all there was."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xptrace.errors import XptraceError
from xptrace.intake import compression, source
from xptrace.intake.limits import Limits
from xptrace.intake.source import Source

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress,
}
each = pytest.mark.parametrize("name", COMPRESS)
NOISE = b"".join(hashlib.sha256(b"%d" % at).hexdigest().encode() + b"\n" for at in range(20_000))


def read(path: Path, data: bytes, limits: Limits | None = None) -> tuple[bytes, str | None]:
    path.write_bytes(data)
    source = Source(str(path), limits=limits) if limits else Source(str(path))
    whole = b"".join(window.data[: window.size] for window in source.windows())
    why = source.truncated
    assert b"".join(source.chunks()) == whole
    assert whole.startswith(source.head())
    return whole, why


@each
def test_members_read_on(tmp_path: Path, name: str) -> None:
    pack = COMPRESS[name]
    assert read(tmp_path / "log", pack(b"one\n") + pack(b"") + pack(b"two\n") + pack(NOISE)) == (
        b"one\ntwo\n" + NOISE, None
    )


def test_many_small_members_are_not_slow(tmp_path: Path) -> None:
    assert read(tmp_path / "log", gzip.compress(b"x\n") * 20_000) == (b"x\n" * 20_000, None)


@each
def test_padding_of_zeros_is_no_damage(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / "log", COMPRESS[name](b"one\n") + bytes(100_000)) == (b"one\n", None)
    assert read(tmp_path / "log", COMPRESS[name](b"one\n") + bytes(512) + COMPRESS[name](b"two\n")) == (
        b"one\ntwo\n", None
    )


@each
def test_what_follows_the_end_is_said(tmp_path: Path, name: str) -> None:
    for rest in (b"garbage\n", b"\0\0garbage\n", b"\x1f", NOISE):
        assert read(tmp_path / "log", COMPRESS[name](b"one\n") + rest) == (
            b"one\n", f"the {name} data have ended, and what follows them is no {name}"
        )


@each
def test_cut_anywhere(tmp_path: Path, name: str) -> None:
    packed = COMPRESS[name](NOISE[:600])
    for size in range(compression.MAGIC_BYTES, len(packed)):
        whole, why = read(tmp_path / "log", packed[:size])
        assert NOISE[:600].startswith(whole)
        assert why == f"the {name} data end before their end"


@each
def test_cut_late_yields_nearly_all(tmp_path: Path, name: str) -> None:
    packed = COMPRESS[name](NOISE)
    whole, why = read(tmp_path / "log", packed[: len(packed) - 10])
    assert NOISE.startswith(whole)
    assert len(whole) >= len(NOISE) - (900_000 if name == "bzip2" else 1 << 17)
    assert why is not None


def test_a_cut_gzip_of_few_bytes_that_unfold_to_many(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(50_000_000))
    whole, why = read(tmp_path / "log", packed[:-20])
    assert len(whole) > 49_000_000
    assert why == "the gzip data end before their end"


def test_a_corrupt_gzip_yields_every_byte_before_the_damage(tmp_path: Path) -> None:
    packed = bytearray(zlib.compress(NOISE, 0, wbits=31))  # stored: bytes keep their places
    packed[-8] ^= 1  # the checksum
    whole, why = read(tmp_path / "log", bytes(packed))
    assert whole == NOISE
    assert why is not None
    assert "incorrect data check" in why


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd"])  # a block of bzip2 is longer than this
def test_corrupt_in_the_middle(tmp_path: Path, name: str) -> None:
    packed = bytearray(COMPRESS[name](NOISE))
    middle = len(packed) // 2
    packed[middle : middle + 200] = bytes(200)
    whole, why = read(tmp_path / "log", bytes(packed))
    assert whole[: len(NOISE) // 3] == NOISE[: len(NOISE) // 3]
    assert why is not None
    assert "\n" not in why


def test_skippable_frames_of_zstd(tmp_path: Path) -> None:
    skip = b"\x5a\x2a\x4d\x18\x04\0\0\0abcd"
    one, two = zstandard.compress(b"one\n"), zstandard.compress(b"two\n")
    assert read(tmp_path / "log", skip + one + skip + two + skip) == (b"one\ntwo\n", None)


def test_zstd_of_one_stream_without_its_length(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    assert read(tmp_path / "log", packer.compress(NOISE) + packer.flush()) == (NOISE, None)


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]
    packed = bytearray(lzma.compress(b"one\n", filters=filters))
    assert packed[0x10] == 0  # dictionary size, the .xz file format 5.3.1; the header's CRC32 stands behind it
    packed[0x10] = 40
    packed[0x14:0x18] = zlib.crc32(packed[0x0C:0x14]).to_bytes(4, "little")
    assert read(tmp_path / "log", bytes(packed)) == (b"", "the xz data are corrupt: Memory usage limit exceeded")


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_ends_at_the_limits(tmp_path: Path, name: str) -> None:
    packed = COMPRESS[name](bytes(60_000_000))
    assert len(packed) < 60_000_000 // 1000
    whole, why = read(tmp_path / "log", packed, Limits(free=4 << 20, ratio=100))
    assert 4 << 20 <= len(whole) < 45 << 20
    assert set(whole) == {0}
    assert why is not None
    assert "no more than 100 for each stored one are read" in why


def test_few_bytes_may_unfold_to_many_as_long_as_these_are_not_too_many(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(3_000_000))
    assert read(tmp_path / "log", packed, Limits(free=4 << 20, ratio=100)) == (bytes(3_000_000), None)


def test_a_log_that_compresses_well_is_no_bomb(tmp_path: Path) -> None:
    line = b"memory_region_ops_read cpu -1 mr 0x564a5d6f6cd0 addr 0x1f0 value 0x%x size 2 name 'ide'\n"
    log = b"".join(line % at for at in range(100_000))
    assert read(tmp_path / "log", lzma.compress(log), Limits(free=0)) == (log, None)


def test_no_stream_is_longer_than_the_limit(tmp_path: Path) -> None:
    whole, why = read(tmp_path / "log", gzip.compress(NOISE), Limits(unfolded=100_000))
    assert 100_000 <= len(whole) < 300_000
    assert why == "unfolds to more than 100000 bytes, the most that is read of one stream"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(COMPRESS)), data=st.binary(max_size=3000),
    damage=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4)), max_size=3),
)
def test_no_bytes_do_any_harm(tmp_path: Path, name: str, data: bytes, damage: list[tuple[int, bytes]]) -> None:
    data = b"-" + data  # so that it is not compressed once more
    packed = COMPRESS[name](data)
    for at, noise in damage:
        packed = packed[:at] + noise + packed[at + len(noise) :]
    try:
        whole, why = read(tmp_path / "log", packed)
    except XptraceError as error:
        assert damage  # whose bytes may be the first ones of another format
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert damage or (whole, why) == (data, None)


DAMAGE = st.lists(st.tuples(st.integers(0, 1 << 21), st.binary(min_size=1, max_size=300)), max_size=3)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.tuples(st.sampled_from([b"", b"one\n", NOISE, bytes(7_000_000), NOISE[:70_000] * 60]),
                             st.sampled_from([0, 1, 6, 9])), min_size=1, max_size=3),
    damage=DAMAGE, cut=st.integers(0, 3_000_000), limit=st.sampled_from([1 << 40, 100_000, 5_000_000]),
)
def test_the_quick_engine_gives_what_the_careful_one_gives(
    tmp_path: Path, parts: list[tuple[bytes, int]], damage: list[tuple[int, bytes]], cut: int, limit: int
) -> None:
    assert compression.GZIP.quick is not None
    packed = bytearray(b"".join(gzip.compress(data, level) for data, level in parts))
    for place, noise in damage:
        at = place % (len(packed) + 300)
        packed[at : at + len(noise)] = noise
    if cut < len(packed):
        del packed[cut or len(packed) :]
    outcomes = []
    for careful in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if careful:
                patch.setattr(compression, "CODECS", (compression.GZIP._replace(quick=None), *compression.CODECS[1:]))
            try:
                outcomes.append(read(tmp_path / "log", bytes(packed), Limits(unfolded=limit)))
            except XptraceError as error:
                outcomes.append((b"", str(error)))
    assert outcomes[0] == outcomes[1]


@each
@pytest.mark.parametrize("packed_in_gzip", [False, True])
def test_only_what_a_quick_engine_read_is_read_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, packed_in_gzip: bool
) -> None:
    packed = COMPRESS[name](NOISE)[:-10]
    if packed_in_gzip:
        packed = gzip.compress(packed)
    begun: list[bool] = []
    unfold = compression.unfold

    def counted(*taken: Any, quick: bool = False) -> Any:  # noqa: ANN401
        begun.append(quick)
        return unfold(*taken, quick=quick)

    monkeypatch.setattr(source, "unfold", counted)
    (tmp_path / "log").write_bytes(packed)
    assert NOISE.startswith(b"".join(Source(str(tmp_path / "log")).chunks()))
    assert begun == ([True, False] if name == "gzip" or packed_in_gzip else [True])


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.binary(max_size=300))
def test_any_bytes_after_a_magic(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    read(tmp_path / "log", magic + rest)
