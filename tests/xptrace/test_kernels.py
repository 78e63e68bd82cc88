"""Whichever kernel runs, or none: the same rows, byte for byte, and the same account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = (
    "qemu-oracle/10.0.13/03-linux-negotiation/trace.log", "qemu-oracle/10.0.13/34-log-nul/trace.log",
    "qemu-oracle/10.0.13/37-log-injection/trace.log", "qemu-oracle/10.0.13/40-misaligned-straddle/trace.log",
    "real-xen/all-events-handshake.txt", "real-xen/qemu-trace-no-timestamp.log.gz",
    "real-xen/windows-like-excerpt.log.gz",
)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("recording", RECORDINGS)
def test_the_kernel_changes_nothing_but_the_pace(
    recording: str, form: str, data: Path, xptrace: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {}
    for wanted in ("off", "twin", "plain", ""):
        monkeypatch.setenv("XPTRACE_KERNEL", wanted)
        done[wanted] = xptrace("decode", "-T", form, data / recording)
        assert done[wanted].code == 0
    assert done["off"].raw.count(b"\n") > 5
    assert {(one.raw, one.err) for one in done.values()} == {(done["off"].raw, done["off"].err)}
