"""A recording of LTTng is recognised, and who reads it is named."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from dissectors.qemu.ctf import DISSECTOR, sniff


def test_every_file_of_a_recording_is_recognised(corpus: Path) -> None:
    for archive in sorted((corpus / "recorded" / "qemu-oracle").glob("*/76-ust/ctf.tar.gz")):
        heads = {}
        with tarfile.open(archive) as tar:
            for member in tar:
                if (opened := tar.extractfile(member)) is not None:
                    heads[Path(member.name).name] = opened.read(4096)
        assert sorted(heads) == ["channel0_0", "channel0_0.idx", "channel0_1", "channel0_1.idx", "metadata"]
        assert {name: sniff(head) for name, head in heads.items()} == dict.fromkeys(heads, 95)
        if "10.0.13" in archive.parts:
            assert heads["channel0_0"].startswith(DISSECTOR.example)


@pytest.mark.parametrize("head", [b"\xc1\x1f\xfc\xc1", b"\xc1\xfc\x1f\xc1", b"\x57\x1d\xd1\x75", b"\x75\xd1\x1d\x57",
                                  b"/* CTF 1.8 */\n\ntypealias integer"])
def test_either_byte_order_and_both_forms_of_metadata_are_known(head: bytes) -> None:
    assert sniff(head) == 95


@pytest.mark.parametrize("head", [b"", b"\xc1\x1f\xfc", b"x\xc1\x1f\xfc\xc1", b"/* CTF */", b" /* CTF 1.8 */"])
def test_nothing_else_is(head: bytes) -> None:
    assert sniff(head) == 0


def test_it_is_read_by_babeltrace_first() -> None:
    assert (DISSECTOR.lines, DISSECTOR.stream) == (None, None)
    assert DISSECTOR.advice == "babeltrace2 --clock-seconds DIRECTORY > FILE.txt"
    assert sniff(DISSECTOR.example) == 95
