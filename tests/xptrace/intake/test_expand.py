"""What an incident hands over is read whole, each recording once, oldest first, and what is not read is said."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from xptrace.errors import XptraceError
from xptrace.intake.expand import Intake, SourceNote, expand
from xptrace.intake.source import Source

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "zstd": zstandard.compress,
}


@pytest.fixture(scope="module")
def trace(data: Path) -> list[bytes]:
    """The lines of a guest's handshake, as XenServer's qemu-wrapper hands them to syslog."""
    lines = (data / "real-xen" / "all-events-handshake.txt").read_bytes().splitlines(keepends=True)
    return [b"Jul 10 17:52:11 host qemu-dm-5[12345]: " + line for line in lines]


def content(source: Source) -> bytes:
    return b"".join(source.chunks())


def names(intake: Intake) -> list[str]:
    return [source.name for source in intake.sources]


def reasons(notes: Iterable[SourceNote]) -> dict[str, str]:
    return {note.name: note.reason for note in notes}


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mtime = len(member[1]), 1_772_357_400
            archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def write(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


class TestFiles:
    def test_a_file_is_handed_on_as_it_is(self, tmp_path: Path, trace: list[bytes]) -> None:
        path = write(tmp_path / "daemon.log", b"".join(trace))
        os.utime(path, ns=(0, 1_772_357_400_123_456_789))
        (source,) = expand([path]).sources
        assert (source.path, source.name, source.original, source.site) == (path, path, path, str(tmp_path))
        assert source.written_ns == 1_772_357_400_123_456_789
        assert source.rotation is None
        assert content(source) == b"".join(trace)

    def test_what_a_user_names_is_handed_on_even_if_it_is_no_recording(self, tmp_path: Path) -> None:
        empty, program = write(tmp_path / "empty", b""), write(tmp_path / "program", b"\x7fELF\x02\x01\x01\0")
        assert names(expand([empty, program])) == [empty, program]

    def test_a_missing_file_fails(self, tmp_path: Path) -> None:
        with pytest.raises(XptraceError, match="nowhere: no such file"):
            expand([str(tmp_path / "nowhere")])
        for odd in ("", "a\0b", "x" * 5000):
            with pytest.raises(XptraceError):
                expand([odd])

    @pytest.mark.parametrize(
        ("magic", "command"),
        [(b"\x04\x22\x4d\x18", "lz4 -d"), (b"7z\xbc\xaf\x27\x1c", "7z x"), (b"Rar!\x1a\x07\0", "unrar x"),
         (b"LPKSHHRH", "journalctl"), (b"\x1f\x9d\x90", "gzip -dc"), (b"\x89LZO\0\r\n\x1a\n", "lzop -d")],
    )
    def test_what_others_must_unpack_names_the_command(self, tmp_path: Path, magic: bytes, command: str) -> None:
        path = write(tmp_path / "log", magic + bytes(100))
        with pytest.raises(XptraceError, match=command) as raised:
            expand([path])
        assert "\n" not in str(raised.value)
        (note,) = expand([str(tmp_path)]).skipped
        assert (note.name, command in note.reason) == (path, True)

    def test_a_pipe_is_read(self, tmp_path: Path, trace: list[bytes]) -> None:
        fifo = tmp_path / "pipe"
        os.mkfifo(fifo)
        packed = gzip.compress(b"".join(trace))
        with subprocess.Popen([sys.executable, "-c", f"open({str(fifo)!r}, 'wb').write({packed!r})"]):
            (source,) = expand([str(fifo)]).sources
            assert source.head(10) == trace[0][:10]
            assert content(source) == b"".join(trace)
        assert source.sha256() is None

    def test_a_digest_is_that_of_the_file_itself(self, tmp_path: Path, trace: list[bytes]) -> None:
        packed = gzip.compress(b"".join(trace))
        (source,) = expand([write(tmp_path / "daemon.log.gz", packed)]).sources
        assert source.sha256() == hashlib.sha256(packed).hexdigest()
        (member,) = expand([write(tmp_path / "a.tar.xz", lzma.compress(tar_of(("x.gz", packed))))]).sources
        assert member.sha256() == hashlib.sha256(packed).hexdigest()


class TestDirectories:
    def test_every_regular_file_below_it_in_order(self, tmp_path: Path, trace: list[bytes]) -> None:
        for place, line in zip(("b/late", "b/.hidden", "a/x", "top"), trace, strict=False):
            write(tmp_path / place, line)
        found = expand([str(tmp_path)])
        assert names(found) == [f"{tmp_path}/{place}" for place in ("top", "a/x", "b/.hidden", "b/late")]
        assert {source.site for source in found.sources} == {str(tmp_path)}

    def test_nothing_but_regular_files(self, tmp_path: Path) -> None:
        outside = write(tmp_path / "outside", b"secret\n")
        case = tmp_path / "case"
        write(case / "log", b"a line\n")
        (case / "out").symlink_to(outside)
        (case / "loop").symlink_to(case)
        (case / "dead").symlink_to("nowhere\x1b[2J")
        os.mkfifo(case / "fifo")
        found = expand([str(case)])
        assert names(found) == [f"{case}/log"]
        assert reasons(found.skipped) == {
            f"{case}/out": f"a link to {outside}, which is not followed",
            f"{case}/loop": f"a link to {case}, which is not followed",
            f"{case}/dead": "a link to nowhere\\x1b[2J, which is not followed",
            f"{case}/fifo": "no regular file",
        }

    def test_a_link_that_the_user_names_is_followed(self, tmp_path: Path) -> None:
        write(tmp_path / "case" / "log", b"a line\n")
        (tmp_path / "link").symlink_to(tmp_path / "case")
        assert names(expand([str(tmp_path / "link")])) == [f"{tmp_path}/link/log"]

    def test_what_certainly_is_no_recording_is_skipped_by_content(self, tmp_path: Path) -> None:
        foreign = {
            "daemon.log": b"\x7fELF\x02\x01\x01", "a.log": b"\x89PNG\r\n\x1a\n\0\0", "b.log": b"\xff\xd8\xff\xe0",
            "c.log": b"%PDF-1.7\n", "d.log": b"SQLite format 3\0", "e.log": b"", "f.gz": gzip.compress(b"\x7fELF"),
            "g.gz": gzip.compress(b""), "h.log": b"GIF89a",
        }
        for name, head in foreign.items():
            write(tmp_path / name, head)
        write(tmp_path / "picture.png", b"cpu_in addr 0x10(w) value 18898\n")
        found = expand([str(tmp_path)])
        assert names(found) == [f"{tmp_path}/picture.png"]
        said = reasons(found.skipped)
        assert said.keys() == {f"{tmp_path}/{name}" for name in foreign}
        assert (said[f"{tmp_path}/daemon.log"], said[f"{tmp_path}/e.log"]) == ("a program or a core dump", "empty")

    def test_names_that_are_no_text_are_shown_as_escapes_and_opened(self, tmp_path: Path) -> None:
        raw = os.fsencode(tmp_path) + b"/a\xff\x1b[2Jb"
        with open(raw, "wb") as file:  # noqa: PTH123 - a Path has no bytes
            file.write(b"a line\n")
        (source,) = expand([str(tmp_path)]).sources
        assert source.name == f"{tmp_path}/a\\xff\\x1b[2Jb"
        assert content(source) == b"a line\n"

    def test_what_may_not_be_read_is_said(self) -> None:
        me = os.geteuid()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            Path(write(Path(folder) / "secret", b"a line\n")).chmod(0)
            try:
                os.seteuid(me or 65534)  # root may read everything, and nobody may not
                found = expand([folder])
            finally:
                os.seteuid(me)
        assert reasons(found.skipped) == {f"{folder}/secret": "cannot be read: Permission denied"}

    def test_a_deep_folder_is_walked(self, tmp_path: Path) -> None:
        here = Path.cwd()
        os.chdir(tmp_path)
        try:
            for _ in range(600):
                os.mkdir("d")  # noqa: PTH102 - the path is longer than a path may be
                os.chdir("d")
            Path("log").write_bytes(b"a line\n")
        finally:
            os.chdir(here)
        (source,) = expand([str(tmp_path)]).sources
        assert content(source) == b"a line\n"


class TestTar:
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    @pytest.mark.parametrize("compression", COMPRESS)
    def test_members_are_sources(
        self, tmp_path: Path, trace: list[bytes], compression: str, form: int
    ) -> None:
        packed = gzip.compress(trace[0])
        path = write(tmp_path / "report", COMPRESS[compression](
            tar_of(("r/var/log/daemon.log", trace[1]), ("r/var/log/daemon.log.1.gz", packed), form=form)
        ))
        found = expand([path])
        older, newer = found.sources
        assert (older.name, newer.name) == (f"{path}!r/var/log/daemon.log.1.gz", f"{path}!r/var/log/daemon.log")
        assert (content(older), content(newer)) == (trace[0], trace[1])
        assert newer.path == f"{path}/r/var/log/daemon.log"
        assert (newer.original, newer.site, newer.written_ns) == (path, path, 1_772_357_400 * 10**9)
        assert (found.skipped, found.notes) == ((), ())

    def test_members_can_be_read_again_and_side_by_side(self, tmp_path: Path, trace: list[bytes]) -> None:
        whole = b"".join(trace)
        path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of(("a", whole), ("b", whole[::-1]))))
        one, other = expand([path]).sources
        assert one.head() == one.head() == whole
        assert b"".join(w.data[: w.size] for w in one.windows()) == whole
        assert list(zip(one.chunks(), other.chunks(), strict=True)) == [(whole, whole[::-1])]

    def test_names_that_lead_out_are_harmless_and_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        work = tmp_path / "a" / "b"
        work.mkdir(parents=True)
        monkeypatch.chdir(work)
        told = [
            "../../etc/passwd", "/etc/shadow", "x/../../y", "..", "C:\\windows\\z", "./fine", "bad\x1b]0;\x07\udcff",
        ]
        path = write(tmp_path / "a.tar", tar_of(*((name, b"%d\n" % at) for at, name in enumerate(told))))
        found = expand([path])
        assert [source.name.partition("!")[2] for source in found.sources] == [
            "etc/passwd", "etc/shadow", "x/y", "unnamed", "windows/z", "fine", "bad\\x1b]0;\\x07\\xff"
        ]
        assert reasons(found.notes)[f"{path}!etc/passwd"] == "is called '../../etc/passwd' in the archive"
        assert len(found.notes) == 6
        assert sorted(one.name for one in tmp_path.rglob("*")) == ["a", "a.tar", "b"]

    def test_links_and_devices_are_not_followed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tar", tar_of(
            special("soft", tarfile.SYMTYPE, "/etc/passwd"), special("hard", tarfile.LNKTYPE, "log"),
            special("null", tarfile.CHRTYPE), special("disk", tarfile.BLKTYPE), special("pipe", tarfile.FIFOTYPE),
            special("folder", tarfile.DIRTYPE), special("odd", b"Z"), ("log", b"a line\n"),
        ))
        found = expand([path])
        assert names(found) == [f"{path}!log"]
        assert reasons(found.skipped) == {
            f"{path}!soft": "a link to /etc/passwd, which is not followed",
            f"{path}!hard": "a link to log, which is not followed",
            f"{path}!null": "a character device",
            f"{path}!disk": "a block device",
            f"{path}!pipe": "a fifo",
            f"{path}!odd": "of the unknown type b'Z'",
        }

    def test_members_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tar", tar_of(("log", b"one\n"), ("log", b"two\n"), ("log", b"three\n")))
        found = expand([path]).sources
        assert [(source.name, content(source)) for source in found] == [
            (f"{path}!log", b"one\n"), (f"{path}!log#2", b"two\n"), (f"{path}!log#3", b"three\n")
        ]

    def test_an_empty_member_is_skipped(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tar", tar_of(("empty", b""), ("log", b"a line\n")))
        assert reasons(expand([path]).skipped) == {f"{path}!empty": "empty"}

    def test_long_and_odd_names(self, tmp_path: Path) -> None:
        told = ["d/" * 200 + "log", "ü" * 120, "\udcff\udcfe" * 80]
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            path = write(tmp_path / "a.tar", tar_of(*((name, name[:1].encode(errors="replace") + b"\n")
                                                      for name in told), form=form))
            shown = [source.name.partition("!")[2] for source in expand([path]).sources]
            assert shown == [told[0], told[1], "\\xff\\xfe" * 80]

    def test_pax_headers_in_another_character_set(self, tmp_path: Path) -> None:
        """Latin-1 in a header that says so by hdrcharset=BINARY, as bsdtar writes it: bytes, and no text."""
        header = bytearray(tar_of(("name", b"a line\n")))
        record = b"120 path=" + b"\xe4" * 110 + b"\n21 hdrcharset=BINARY\n"
        extended = special("pax", b"x")
        extended.size = len(record)
        before = extended.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
        path = write(tmp_path / "a.tar", before + bytes(header))
        (source,) = expand([path]).sources
        assert source.name == f"{path}!" + "\\xe4" * 110
        assert content(source) == b"a line\n"

    @pytest.mark.parametrize("record", [
        b"", b"0 path=x\n", b"99999999999999999999999 path=x\n", b"10 path=xx", b"8 pathx\n", b"-5 path=x\n",
        b"11 size=-1\n", b"13 mtime=nan\n", b"1" * 5000, b"9 path=x\n"[:-1] + b"y",
    ])
    def test_broken_pax_records_tell_nothing(self, tmp_path: Path, record: bytes) -> None:
        extended = special("pax", b"x")
        extended.size = len(record)
        before = extended.tobuf(tarfile.USTAR_FORMAT) + record + bytes(-len(record) % 512)
        path = write(tmp_path / "a.tar", before + tar_of(("name", b"a line\n")))
        (source,) = expand([path]).sources
        assert (content(source), source.written_ns) == (b"a line\n", 1_772_357_400 * 10**9)

    def test_extended_headers_without_end_are_no_recursion(self, tmp_path: Path) -> None:
        extended = special("pax", b"x").tobuf(tarfile.USTAR_FORMAT)
        path = write(tmp_path / "a.tar", extended * 20_000 + tar_of(("name", b"a line\n")))
        assert names(expand([path])) == [f"{path}!name"]

    def test_an_extended_header_that_would_fill_the_memory_is_not_read(self, tmp_path: Path) -> None:
        extended = special("pax", b"L")
        extended.size = 8 << 30
        path = write(tmp_path / "a.tar", extended.tobuf(tarfile.GNU_FORMAT) + tar_of(("name", b"a line\n")))
        found = expand([path])
        assert names(found) == [f"{path}!name"]
        assert "an extended header of 8589934592 bytes" in found.notes[0].reason

    @pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
    @pytest.mark.parametrize("form", [
        ["--format=gnu"], ["--format=posix", "--sparse-version=0.0"], ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ])
    @pytest.mark.parametrize("islands", [1, 9])
    def test_a_sparse_member_is_read_with_its_holes(self, tmp_path: Path, form: list[str], islands: int) -> None:
        """A log that is truncated in place while its writer keeps its offset begins with a hole."""
        log = tmp_path / "case" / "qemu.log"
        log.parent.mkdir()
        with log.open("wb") as file:
            for island in range(islands):
                file.seek((island + 1) * 300_000)
                file.write(b"island %d\n" % island * 5000)
            file.truncate((islands + 2) * 300_000)
        archive = tmp_path / "a.tar"
        command = [shutil.which("tar") or "tar", "-S", *form, "-C", str(log.parent), "-cf", str(archive), "qemu.log"]
        subprocess.run(command, check=True)
        assert archive.stat().st_size < log.stat().st_size // 2
        (source,) = expand([str(archive)]).sources
        assert source.name == f"{archive}!qemu.log"
        assert content(source) == log.read_bytes()

    def test_cut_in_mid_member(self, tmp_path: Path, trace: list[bytes]) -> None:
        whole = b"".join(trace)
        data = tar_of(("first", trace[0]), ("second", whole))
        cut = data.index(whole) + 1000
        path = write(tmp_path / "a.tar", data[:cut])
        first, second = expand([path]).sources
        assert (content(first), first.truncated) == (trace[0], None)
        assert content(second) == whole[:1000]
        assert second.truncated == f"the archive ends in it: 1000 of {len(whole)} bytes are there"

    def test_cut_in_a_header(self, tmp_path: Path, trace: list[bytes]) -> None:
        data = tar_of(("first", trace[0]), ("second", trace[1]))
        path = write(tmp_path / "a.tar", data[:1024 + 100])
        found = expand([path])
        assert names(found) == [f"{path}!first"]
        assert reasons(found.notes) == {path: "the header at byte 1024 is broken: the archive ends in it"}

    def test_cut_between_members(self, tmp_path: Path, trace: list[bytes]) -> None:
        path = write(tmp_path / "a.tar", tar_of(("first", trace[0]), ("second", trace[1]))[:1024])
        assert reasons(expand([path]).notes) == {path: "ends without the zeros that end an archive: it may be cut"}

    @pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
    def test_a_compressed_archive_that_is_cut_yields_what_it_holds(self, tmp_path: Path, compression: str) -> None:
        noise = [hashlib.sha256(b"%d" % at).hexdigest().encode() + b"\n" for at in range(40_000)]
        packed = COMPRESS[compression](tar_of(("first", b"a line\n"), ("second", b"".join(noise))))
        path = write(tmp_path / "a.tar.x", packed[: len(packed) * 3 // 4])
        found = expand([path])
        first, second = found.sources
        assert content(first) == b"a line\n"
        assert b"".join(noise).startswith(content(second))
        assert len(content(second)) > len(b"".join(noise)) // 4
        assert second.truncated is not None
        assert f"the {compression} data end before their end" in reasons(found.notes)[path]

    def test_after_a_broken_header_the_next_one_is_found(self, tmp_path: Path) -> None:
        data = bytearray(tar_of(("first", b"one\n"), ("second", b"two\n"), ("third", b"three\n")))
        data[1024 + 20] ^= 0x55
        path = write(tmp_path / "a.tar", bytes(data))
        found = expand([path])
        assert names(found) == [f"{path}!first", f"{path}!third"]
        assert reasons(found.notes) == {path: "the header at byte 1024 is broken: bad checksum"}

    def test_a_size_below_zero_does_not_go_back(self, tmp_path: Path) -> None:
        data = bytearray(tar_of(("first", b"one\n"), ("second", b"two\n")))
        data[124:136] = (-1024).to_bytes(12, "big", signed=True)
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
        path = write(tmp_path / "a.tar", bytes(data))
        found = expand([path])
        assert names(found) == [f"{path}!second"]
        assert "a size below zero" in reasons(found.notes)[path]


class TestZip:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    def test_members_are_sources(self, tmp_path: Path, trace: list[bytes], method: int) -> None:
        info = zipfile.ZipInfo("r/var/log/daemon.log", (2026, 3, 1, 9, 30, 0))
        info.compress_type = method
        path = write(tmp_path / "report", zip_of((info, b"".join(trace)), ("r/b.gz", gzip.compress(trace[0])),
                                                ("r/empty/", b""), method=method))
        found = expand([path])
        one, other = found.sources
        assert (one.name, other.name) == (f"{path}!r/var/log/daemon.log", f"{path}!r/b.gz")
        assert (content(one), content(other)) == (b"".join(trace), trace[0])
        assert one.written_ns == 1_772_357_400 * 10**9  # 2026-03-01 09:30:00
        assert (found.skipped, found.notes) == ((), ())

    def test_names_that_lead_out_are_harmless_and_said(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zip", zip_of(("../../etc/passwd", b"one\n"), ("/abs", b"two\n")))
        found = expand([path])
        assert names(found) == [f"{path}!etc/passwd", f"{path}!abs"]
        assert len(found.notes) == 2

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        device = zipfile.ZipInfo("device")
        device.external_attr = 0o020666 << 16
        path = write(tmp_path / "a.zip", zip_of((link, b"/etc/passwd"), (device, b"x"), ("log", b"a line\n")))
        found = expand([path])
        assert names(found) == [f"{path}!log"]
        assert reasons(found.skipped) == {
            f"{path}!link": "a link to what it holds, which is not followed", f"{path}!device": "no regular file"
        }

    def test_an_encrypted_member_is_said_and_the_others_are_read(self, tmp_path: Path) -> None:
        data = bytearray(zip_of(("secret", b"x\n"), ("log", b"a line\n")))
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path = write(tmp_path / "a.zip", bytes(data))
        found = expand([path])
        assert names(found) == [f"{path}!log"]
        assert reasons(found.skipped) == {f"{path}!secret": "encrypted: unpack it first, with its password"}

    def test_a_corrupt_member_is_said_when_it_is_read(self, tmp_path: Path, trace: list[bytes]) -> None:
        data = bytearray(zip_of(("log", b"".join(trace)), ("other", b"a line\n"), method=zipfile.ZIP_STORED))
        data[100] ^= 1
        one, other = expand([write(tmp_path / "a.zip", bytes(data))]).sources
        assert len(content(one)) == len(b"".join(trace))
        assert one.truncated == "its checksum is not the one that the archive tells"
        assert (content(other), other.truncated) == (b"a line\n", None)

    @pytest.mark.parametrize("streamed", [False, True])
    def test_an_archive_that_is_cut_yields_what_it_holds(
        self, tmp_path: Path, trace: list[bytes], streamed: bool
    ) -> None:
        class Unseekable(io.RawIOBase):
            """Sizes that are not known beforehand stand behind each member."""

            def __init__(self) -> None:
                super().__init__()
                self.data = bytearray()

            def writable(self) -> bool:
                return True

            def write(self, data: bytes) -> int:  # type: ignore[override]
                self.data += data
                return len(data)

        out = Unseekable() if streamed else io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("first", trace[0])
            archive.writestr("second", b"".join(trace))
        data = bytes(out.data) if isinstance(out, Unseekable) else out.getvalue()
        cut = data.index(b"PK\x01\x02") - 300
        path = write(tmp_path / "a.zip", data[:cut])
        found = expand([path])
        first, second = found.sources
        assert (content(first), first.truncated) == (trace[0], None)
        assert b"".join(trace).startswith(content(second))
        assert len(content(second)) > len(trace[0])
        assert second.truncated is not None
        assert "the archive is cut" in reasons(found.notes)[path]
        whole = expand([write(tmp_path / "b.zip", data[: data.index(b"PK\x01\x02")])]).sources
        assert [content(source) for source in whole] == [trace[0], b"".join(trace)]


class TestNested:
    def test_archives_inside_archives(self, tmp_path: Path, trace: list[bytes]) -> None:
        inner = tar_of(("daemon.log", trace[0]))
        zipped = zip_of(("in.tar.bz2", bz2.compress(inner)), ("in.tar", inner[:-10240] + tar_of(("x", trace[1]))))
        path = write(tmp_path / "out.tar.gz", gzip.compress(tar_of(("a/in.zip", zipped), ("a/in.tar", inner))))
        found = expand([path])
        assert f"{path}!a/in.zip!in.tar.bz2!daemon.log" in names(found)
        assert found.sources[0].path == f"{path}/a/in.zip/in.tar.bz2/daemon.log"
        assert {source.site for source in found.sources} == {path}
        assert all(source.original == path for source in found.sources)

    def test_the_fourth_archive_is_not_opened(self, tmp_path: Path) -> None:
        fourth = tar_of(("deep", b"too deep\n"))
        third = zip_of(("fourth.tar", fourth), ("log", b"three\n"))
        second = gzip.compress(tar_of(("third.zip", third)))
        path = write(tmp_path / "first.tar", tar_of(("second.tgz", second)))
        found = expand([path])
        assert names(found) == [f"{path}!second.tgz!third.zip!log"]
        assert reasons(found.skipped) == {
            f"{path}!second.tgz!third.zip!fourth.tar": "an archive inside 3 others: unpack it first"
        }

    def test_a_compression_of_a_compression(self, tmp_path: Path) -> None:
        path = write(tmp_path / "log.gz.xz", lzma.compress(gzip.compress(b"a line\n")))
        (source,) = expand([path]).sources
        assert content(source) == b"a line\n"

    def test_a_status_report(self, tmp_path: Path, trace: list[bytes]) -> None:
        """As xen-bugtool writes it, and an sos report beside it: two hosts."""
        top = "bug-report-20260301093000"
        report = tar_of(
            (f"{top}/inventory.xml", b"<inventory/>\n"),
            (f"{top}/var/log/daemon.log", b"".join(trace[40:])),
            (f"{top}/var/log/daemon.log.1", b"".join(trace[20:40])),
            (f"{top}/var/log/daemon.log.2.gz", gzip.compress(b"".join(trace[:20]))),
            (f"{top}/xl-dmesg.out", b"(XEN) Xen version 4.13.5\n"),
            (f"{top}/run/qemu.5", b"five\n"), (f"{top}/run/qemu.6", b"six\n"),
            (f"{top}/xenserver/logs.tar", tar_of(("xensource.log", b"[debug|host]\n"))),
            special(f"{top}/var/log/current", tarfile.SYMTYPE, "daemon.log"),
        )
        write(tmp_path / f"{top}.tar.bz2", bz2.compress(report))
        sos = tar_of(("sosreport-h/var/log/libvirt/qemu/vm.log", b"2026-03-01 09:30:00.000+0000: starting up\n"))
        write(tmp_path / "sosreport-h.tar.xz", lzma.compress(sos))
        found = expand([str(tmp_path)])
        place = f"{tmp_path}/{top}.tar.bz2!{top}"
        assert names(found) == [
            f"{place}/inventory.xml", f"{place}/var/log/daemon.log.2.gz", f"{place}/var/log/daemon.log.1",
            f"{place}/var/log/daemon.log", f"{place}/xl-dmesg.out", f"{place}/run/qemu.5", f"{place}/run/qemu.6",
            f"{place}/xenserver/logs.tar!xensource.log",
            f"{tmp_path}/sosreport-h.tar.xz!sosreport-h/var/log/libvirt/qemu/vm.log",
        ]
        assert b"".join(map(content, found.sources[1:4])) == b"".join(trace)
        assert [source.rotation.position for source in found.sources[1:4] if source.rotation] == [0, 1, 2]
        assert all(source.rotation is None for source in found.sources[4:])
        assert [source.site for source in found.sources] == (
            [f"{tmp_path}/{top}.tar.bz2/{top}"] * 8 + [f"{tmp_path}/sosreport-h.tar.xz/sosreport-h"]
        )


class TestTwice:
    def test_the_same_recording_under_two_names_is_read_once(self, tmp_path: Path, trace: list[bytes]) -> None:
        whole = b"".join(trace)
        log = write(tmp_path / "daemon.log", whole)
        write(tmp_path / "copy.of.it", whole)
        write(tmp_path / "daemon.log.1.gz", gzip.compress(whole))
        archive = write(tmp_path / "z.tar", tar_of(("var/log/daemon.log", whole)))
        found = expand([log, str(tmp_path)])
        assert names(found) == [log]
        assert reasons(found.skipped) == {
            f"{tmp_path}/copy.of.it": f"the same as {log}",
            log: f"the same as {log}",
            f"{tmp_path}/daemon.log.1.gz": f"the same as {log}",
            f"{archive}!var/log/daemon.log": f"the same as {log}",
        }

    def test_equal_lines_without_times_may_be_of_two_boots(self, tmp_path: Path) -> None:
        for name in ("qemu-dm-a.log", "qemu-dm-b.log", "qemu-dm-b.log.1", "qemu-dm-b.log.1.gz"):
            data = b"cpu_in addr 0x10(w) value 18898\n" * 10
            write(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
        found = expand([str(tmp_path)])
        assert [Path(name).name for name in names(found)] == ["qemu-dm-a.log", "qemu-dm-b.log.1", "qemu-dm-b.log"]
        assert reasons(found.skipped) == {
            f"{tmp_path}/qemu-dm-b.log.1.gz": f"the same as {tmp_path}/qemu-dm-b.log.1"
        }

    @pytest.mark.parametrize(("line", "told"), [
        (b"Jul 10 17:52:11 host qemu-dm-5[1]: x\n", True), (b"2026-03-01T09:30:00.123456Z x\n", True),
        (b"213@1795406729.113219:cpu_in addr 0x10(w) value 18898\n", True),
        (b'{"__REALTIME_TIMESTAMP":"1795406729113219"}\n', True), (b"binary \0 data\n", True),
        (b"-device e1000,mac=52:54:00:12:34:56\n", False), (b"value 18446744073709551615\n", False),
        (b"memory_region_ops_read cpu 0 mr 0x55ab652d8a50 addr 0x10 value 0x49d2 size 2\n", False),
        (b"[    1.234567] Linux version 6.1\n", False),
    ])
    def test_what_tells_a_time(self, tmp_path: Path, line: bytes, told: bool) -> None:
        write(tmp_path / "a.log", line * 3)
        write(tmp_path / "b.log", line * 3)
        assert len(expand([str(tmp_path)]).sources) == (1 if told else 2)

    def test_a_difference_beyond_the_beginning_is_seen(self, tmp_path: Path, trace: list[bytes]) -> None:
        whole = b"".join(trace) * 100
        write(tmp_path / "a", whole + b"one\n")
        write(tmp_path / "b", whole + b"two\n")
        assert len(expand([str(tmp_path)]).sources) == 2

    def test_a_copy_of_a_log_that_grew_on(self, tmp_path: Path, trace: list[bytes]) -> None:
        whole = b"".join(trace)
        assert len(whole) > 5000
        for order in (("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")):
            folder = tmp_path / "".join(order)
            for name, size in zip(order, (4500, 5000, len(whole)), strict=True):
                write(folder / name, whole[:size])
            found = expand([str(folder)])
            assert names(found) == [f"{folder}/{order[2]}"]
            assert {note.reason for note in found.skipped} == {f"the beginning of {folder}/{order[2]}"}

    def test_lines_at_the_border_of_two_files(self, tmp_path: Path) -> None:
        lines = [b"%d@1795401500.%06d:cpu_in addr 0x10(w) value 18898\n" % (7, at) for at in range(100)]
        write(tmp_path / "q.log.1", b"".join(lines[:60]))
        write(tmp_path / "q.log", b"".join(lines[50:]))
        found = expand([str(tmp_path)])
        older, newer = found.sources
        assert (older.overlap, newer.overlap) == (0, len(b"".join(lines[50:60])))
        assert reasons(found.notes) == {
            newer.name: f"its first {newer.overlap} bytes are the last of {older.name} too"
        }

    def test_equal_lines_without_times_are_no_overlap(self, tmp_path: Path) -> None:
        write(tmp_path / "q.log.1", b"start\n" + b"cpu_in addr 0x10(w) value 18898\n" * 3)
        write(tmp_path / "q.log", b"cpu_in addr 0x10(w) value 18898\n" * 3 + b"end\n")
        assert [source.overlap for source in expand([str(tmp_path)]).sources] == [0, 0]

    def test_standard_input_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a line\n")))
        found = expand(["-", "-"])
        assert names(found) == ["<stdin>"]
        assert reasons(found.skipped) == {"<stdin>": "can be read once only, and was named before"}


class TestStandardInput:
    def give(self, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    @pytest.mark.parametrize("compression", COMPRESS)
    def test_a_log(self, monkeypatch: pytest.MonkeyPatch, trace: list[bytes], compression: str) -> None:
        self.give(monkeypatch, COMPRESS[compression](b"".join(trace)))
        (source,) = expand(["-"]).sources
        assert (source.path, source.name, source.site, source.written_ns) == ("-", "<stdin>", "-", None)
        assert source.head(100) == b"".join(trace)[:100]
        assert b"".join(w.data[: w.size] for w in source.windows()) == b"".join(trace)

    @pytest.mark.parametrize("archive", ["tar", "tar.gz", "zip"])
    def test_an_archive(self, monkeypatch: pytest.MonkeyPatch, trace: list[bytes], archive: str) -> None:
        tar = tar_of(("r/daemon.log", trace[0]))
        packed = {"tar": tar, "tar.gz": gzip.compress(tar), "zip": zip_of(("r/daemon.log", trace[0]))}
        self.give(monkeypatch, packed[archive])
        (source,) = expand(["-"]).sources
        assert (source.name, source.path, source.site) == ("<stdin>!r/daemon.log", "-/r/daemon.log", "-")
        assert content(source) == content(source) == trace[0]
