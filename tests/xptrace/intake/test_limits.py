"""No container fills the disk, the memory or the evening; where one is given up, that is said."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xptrace.errors import XptraceError
from xptrace.intake.expand import MOST_FAULTS, expand
from xptrace.intake.limits import Limits
from xptrace.intake.source import WINDOW, Source

LINE = b"1234@1795401500.000001:cpu_in addr 0x10(w) value 18898\n"


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def size(source: Source) -> int:
    return sum(window.size for window in source.windows())


def test_a_gigabyte_of_zeros_is_the_most_that_a_bomb_gives(tmp_path: Path) -> None:
    """Ten of them in ten megabytes: one line without end."""
    block = gzip.compress(bytes(64 << 20))
    path = write(tmp_path / "bomb.gz", block * 160)
    begun = time.monotonic()
    (source,) = expand([path], Limits(free=256 << 20)).sources
    assert 256 << 20 <= size(source) < 300 << 20
    assert time.monotonic() - begun < 30
    assert source.truncated is not None


def test_a_bomb_of_an_archive_is_not_unpacked_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.tar.xz", lzma.compress(tar_of(("log", LINE), ("zeros", bytes(40 << 20)))))
    found = expand([path], Limits(free=1 << 20))
    log, zeros = found.sources
    assert b"".join(log.chunks()) == LINE
    assert size(zeros) < 20 << 20
    assert zeros.truncated is not None
    (note,) = found.notes
    assert (note.name, "for each stored one are read" in note.reason) == (path, True)


def test_an_archive_is_unpacked_as_far_as_the_limit_allows(tmp_path: Path) -> None:
    noise = os.urandom(400_000)
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(("one", noise), ("two", noise[::-1])), 0))
    found = expand([path], Limits(spooled=500_000))
    one, two = found.sources
    assert (size(one), one.truncated) == (400_000, None)
    assert size(two) < 100_000
    assert two.truncated is not None
    assert "unfold to more than 500000 bytes" in found.notes[0].reason


def test_the_disk_keeps_its_reserve(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(("one", LINE))))
    found = expand([path], Limits(reserve=1 << 60))
    assert found.sources == ()
    assert "of them stay free" in found.notes[0].reason


def test_no_room_for_temporary_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(("one", LINE))))
    found = expand([path])
    assert found.sources == ()
    assert "the temporary directory takes no more" in found.notes[0].reason


def test_temporary_files_have_no_name_and_go_with_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(*((f"{at}", LINE + b"%d\n" % at) for at in range(50)))))
    found = expand([path])
    assert [size(source) for source in found.sources] == [len(LINE) + len(f"{at}\n") for at in range(50)]
    assert list(scratch.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    del found
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_no_more_members_than_the_limit(tmp_path: Path) -> None:
    members = [(f"log{at}", b"%d\n" % at) for at in range(10)]
    path = write(tmp_path / "a.tar", tar_of(*members))
    found = expand([path], Limits(members=4))
    assert len(found.sources) == 4
    assert [(note.name, note.reason) for note in found.skipped] == [
        (path, "holds more files than are read, 4; the rest of it is not")
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in members:
        write(folder / name, data)
    assert len(expand([str(folder)], Limits(members=4)).sources) == 4


def test_a_zip_bomb_of_one_member(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", zip_of(("log", LINE), ("bomb", bytes(50 << 20))))
    found = expand([path], Limits(free=1 << 20))
    assert [source.name for source in found.sources] == [f"{path}!log"]
    assert [note.name for note in found.skipped] == [f"{path}!bomb"]
    assert "too many for so small an archive" in found.skipped[0].reason


def test_a_member_that_is_longer_than_the_archive_tells(tmp_path: Path) -> None:
    data = bytearray(zip_of(("bomb", bytes(5 << 20))))
    for place in (22, data.index(b"PK\x01\x02") + 24):
        data[place : place + 4] = (1000).to_bytes(4, "little")
    (source,) = expand([write(tmp_path / "a.zip", bytes(data))]).sources
    assert size(source) == 1000
    assert source.truncated == "it is longer than the 1000 bytes that the archive tells"


def test_members_that_overlap_are_read_once(tmp_path: Path) -> None:
    """How 42 kB become 5 GB: a directory that names the same bytes again and again."""
    data = zip_of(("log", LINE * 100))
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    count = 1000
    tail = bytearray(data[end:])
    tail[8:12] = count.to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) * count).to_bytes(4, "little")
    path = write(tmp_path / "a.zip", data[:start] + entry * count + bytes(tail))
    found = expand([path])
    assert len(found.sources) == 1
    assert len(found.skipped) == count - 1
    assert found.skipped[0].reason == "lies, in part, where another member lies"


def test_a_sparse_member_without_end(tmp_path: Path) -> None:
    """Old GNU format: four petabytes of hole behind one line."""
    header = tarfile.TarInfo("log")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, len(LINE)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, len(LINE))
    block[483:495] = b"\x80" + (4 << 50).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = write(tmp_path / "a.tar", bytes(block) + LINE.ljust(512, b"\0") + bytes(1024))
    (source,) = expand([path], Limits(free=1 << 20)).sources
    assert source.head(100).startswith(LINE)
    assert size(source) == 1 << 20
    assert source.truncated is not None
    assert "unfold to more" in source.truncated


def test_an_archive_that_is_broken_all_over_says_so_a_few_times(tmp_path: Path) -> None:
    header = tarfile.TarInfo("log")
    block = bytearray(header.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = (-1).to_bytes(12, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    found = expand([write(tmp_path / "a.tar", bytes(block) * 5000)])
    assert len(found.notes) == MOST_FAULTS


def test_a_directory_of_a_zip_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    data = bytearray(zip_of(("log", LINE)))
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = (0xF000_0000).to_bytes(4, "little")
    path = write(tmp_path / "a.zip", bytes(data))
    found = expand([path])
    assert [size(source) for source in found.sources] == [len(LINE)]
    assert "its directory has 4026531840 bytes" in found.notes[0].reason


def test_memory_does_not_grow_with_an_archive(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(("one", LINE * 1_200_000), ("two", b"end\n")), 1))
    expand([write(tmp_path / "b.tar.gz", gzip.compress(tar_of(("one", LINE))))])
    tracemalloc.start()
    try:
        one, _ = expand([path]).sources
        assert size(one) == len(LINE) * 1_200_000
        assert tracemalloc.get_traced_memory()[1] < 7 * WINDOW
    finally:
        tracemalloc.stop()


GOOD = {
    "tar": tar_of(("a/log", LINE * 3), ("b", b"b\n"), ("c.gz", gzip.compress(LINE * 2))),
    "tar.gz": gzip.compress(tar_of(("a/log", LINE * 3), ("b", b"b\n"))),
    "zip": zip_of(("a/log", LINE * 3), ("b", b"b\n"), ("in.tar", tar_of(("x", b"x\n")))),
}


def harmless(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = expand([str(path)])
        for source in found.sources:
            source.head()
            total = size(source)
            assert sum(map(len, source.chunks())) == total
            assert source.name.isprintable()
    except XptraceError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.integers(0, 11_000), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 11_000) | st.none(), twice=st.booleans(),
)
@example(damage=[], cut=None, twice=True)
def test_no_bytes_do_any_harm(
    tmp_path: Path, name: str, damage: list[tuple[int, bytes]], cut: int | None, twice: bool
) -> None:
    data = GOOD[name]
    for at, noise in damage:
        at %= len(data)  # noqa: PLW2901
        data = data[:at] + noise + data[at + len(noise) :]
    harmless(tmp_path / "archive", (data * (1 + twice))[:cut])


def pax(**fields: str) -> bytes:
    """Records of a pax header; `__` in a name stands for a point."""
    out = b""
    for name, value in fields.items():
        text = f" {name.replace('__', '.')}={value}\n".encode()
        length = len(text) + len(str(len(text) + 2))
        out += str(length).encode() + text
    return out


TYPES = [b"0", b"\0", b"S", b"x", b"g", b"L", b"K", b"1", b"2", b"5", b"7", b"V"]
BODIES = [
    b"", LINE, bytes(600), b"2\n0\n3\n9\n4\n" + LINE, b"99 path=x\n", pax(path="../y", mtime="1.5"),
    pax(size="99999999999999999999"), pax(GNU__sparse__map="0,1,5,2", GNU__sparse__size="9"),
    pax(GNU__sparse__major="1", GNU__sparse__realsize="100"), pax(GNU__sparse__major="1"),
    pax(GNU__sparse__size="900", GNU__sparse__offset="7", GNU__sparse__numbytes="1"),
]


def test_the_sparse_headers_below_are_understood(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type = b"x"
    body = pax(GNU__sparse__map="2,3,7,1", GNU__sparse__size="10", GNU__sparse__name="log")
    info.size = len(body)
    before = info.tobuf(tarfile.USTAR_FORMAT) + body.ljust(512, b"\0")
    (source,) = expand([write(tmp_path / "a.tar", before + tar_of(("GNUSparseFile.0/log", b"abcd")))]).sources
    assert (source.name, b"".join(source.chunks())) == (f"{tmp_path}/a.tar!log", b"\0\0abc\0\0d\0\0")


def fixed(block: bytearray) -> bytes:
    """A tar header whose sum is right, whatever it holds."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_headers_of_any_content_do_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    """With a right checksum, so that the fields are read: sizes, types, maps of sparse members, pax records."""
    blocks = []
    for _ in range(data.draw(st.integers(1, 5))):
        info = tarfile.TarInfo(data.draw(st.sampled_from(["log", "../x", "/abs"])))
        info.type = data.draw(st.sampled_from(TYPES))
        body = data.draw(st.sampled_from(BODIES))
        info.size = len(body)
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        for at, noise in data.draw(st.lists(st.tuples(
            st.sampled_from([0, 100, 124, 136, 156, 257, 345, 386, 398, 410, 482, 483]),
            st.binary(max_size=12) | st.sampled_from([b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"-1"]),
        ), max_size=3)):
            block[at : at + len(noise)] = noise
        blocks.append(fixed(block[:512]) + body + bytes(-len(body) % 512))
    harmless(tmp_path / "archive", b"".join(blocks) + bytes(data.draw(st.sampled_from([0, 1, 1024]))))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), magic=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\0"]))
def test_random_bytes_do_no_harm(tmp_path: Path, data: bytes, magic: bytes) -> None:
    harmless(tmp_path / "archive", magic + data)
