"""The files of one log are told by their names, oldest first; a number that is no rotation's is left alone."""

from __future__ import annotations

import random

import pytest

from xptrace.intake.rotation import oldest_first, rotations


def order(*names: str) -> list[str]:
    return [names[index] for index in oldest_first(rotations(names))]


def logs(*names: str) -> list[str | None]:
    return [rotation.log if rotation else None for rotation in rotations(names)]


OLDEST_FIRST = {
    "numbers": ["daemon.log.10.gz", "daemon.log.9.gz", "daemon.log.2.gz", "daemon.log.1", "daemon.log"],
    "dates": ["daemon.log-20251231.gz", "daemon.log-20260101.gz", "daemon.log-20260301", "daemon.log"],
    "dates with dashes": ["messages-2026-02-28.xz", "messages-2026-03-01", "messages"],
    "dates with hours": ["x.log-2026030109.gz", "x.log-2026030110.gz", "x.log-2026030111", "x.log"],
    "dates with seconds": ["x.log-20260301-1772357400.gz", "x.log-20260301-1772361000", "x.log"],
    "two of a day": ["x.log-20260301.2.gz", "x.log-20260301.1.gz", "x.log-20260302", "x.log"],
    "numbers, and dates since": ["x.log.2.gz", "x.log.1", "x.log-20260301", "x.log"],
    "zstd": ["daemon.log.3.zst", "daemon.log.2.zst", "daemon.log.1.zst", "daemon.log"],
    "libvirt": ["vm.log.2", "vm.log.1", "vm.log.0", "vm.log"],
    "libxl": ["qemu-dm-web.log.2", "qemu-dm-web.log.1", "qemu-dm-web.log"],
    "no newest one": ["xensource.log.2.gz", "xensource.log.1"],
    "old": ["xend.log.old", "xend.log"],
    "of any name": ["trace.2", "trace.1", "trace"],
}


@pytest.mark.parametrize("names", OLDEST_FIRST.values(), ids=OLDEST_FIRST)
def test_oldest_first_whatever_the_order_they_are_named_in(names: list[str]) -> None:
    for seed in range(5):
        given = random.Random(seed).sample(names, len(names))  # noqa: S311
        assert order(*given) == names
        assert len(set(logs(*given))) == 1


@pytest.mark.parametrize("names", [
    ("tmp/qemu.5", "tmp/qemu.6"),  # xen-bugtool: domains
    ("qemu-dm-web.1.log", "qemu-dm-web.2.log", "qemu-dm-web.log"),  # guests may be called so
    ("trace-14429.log", "trace-14430.log"),  # processes
    ("a/daemon.log", "b/daemon.log.1"),  # folders
    ("daemon.log",), ("daemon.log.1",),
    ("x.log-20261301", "x.log"),  # no month
])
def test_what_is_no_rotation(names: tuple[str, ...]) -> None:
    assert set(logs(*names)) == {None}
    assert order(*names) == list(names)


def test_a_log_stands_where_its_first_file_was_named() -> None:
    assert order("b.log", "z", "a.log", "b.log.1", "y", "a.log.1") == [
        "b.log.1", "b.log", "z", "a.log.1", "a.log", "y"
    ]


def test_a_log_is_called_by_its_newest_file() -> None:
    assert logs("h/var/log/daemon.log.2.gz", "h/var/log/daemon.log.1") == ["h/var/log/daemon.log"] * 2
