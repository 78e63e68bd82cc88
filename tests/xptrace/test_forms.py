"""The same events in every form of line decode to the same accesses, with the time that the form tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BODY = [
    "cpu_in addr 0x10(w) value 18898",
    "cpu_out addr 0x12(w) value 3",
    "xen_platform_log xen platform: it's 'here'",
]

SECOND = 1795401500
YEARLESS = "local, year inferred"
WRITTEN = 1_798_243_200
"""2026-12-26: the files are taken to be written then, which tells the year of a date that has none."""
FORMS = {
    "none": ("{}", None, None),
    "pid and time": ("31213@1795401500.773285:{}", SECOND * 10**9 + 773285000, "wall"),
    "ISO": ("2026-11-23T02:38:20.773285Z {}", SECOND * 10**9 + 773285000, "wall"),
    "ISO at a whole second": ("2026-11-23T02:38:20Z {}", SECOND * 10**9, "wall"),
    "SystemTap": ("31213@1795401500773285123 {}", SECOND * 10**9 + 773285123, "wall"),
    "proposed: program": ("qemu-system-x86_64: {}", None, None),
    "proposed: program and thread": ("qemu-system-x86_64: (772366:main): {}", None, None),
    "proposed: time, guest, program, thread": (
        "2026-11-23T02:38:20.773285Z [win 10] qemu-system-x86_64: (1144713:CPU 0/KVM): {}",
        SECOND * 10**9 + 773285000,
        "wall",
    ),
    "syslog RFC 3164": ("Nov 23 02:38:20 vm qemu-system-i386[31213]: {}", SECOND * 10**9, YEARLESS),
    "syslog datagram": ("<30>Nov 23 02:38:20 qemu-system-i386[31213]: {}", SECOND * 10**9, YEARLESS),
    "syslog ISO": (
        "2026-11-23T03:38:20.773285+01:00 vm qemu-system-i386[31213]: {}", SECOND * 10**9 + 773285000, "syslog",
    ),
    "syslog RFC 5424": (
        "<30>1 2026-11-23T02:38:20.773285+00:00 vm qemu-system-i386 31213 - -  {}",
        SECOND * 10**9 + 773285000,
        "syslog",
    ),
    "syslog around QEMU's own time": (
        "Jul 10 17:52:11 host qemu-dm-5[12345]: 12345@1795401500.773285:{}", SECOND * 10**9 + 773285000, "wall",
    ),
    "ftrace": (
        "           <...>-8050    [001] ...1.  4132.412865: tracing_mark_write: {}", 4132412865000, "trace",
    ),
    "trace-cmd report": (
        " qemu-system-x86-1234  [001]  4132.412865: print:                tracing_mark_write: {}",
        4132412865000,
        "trace",
    ),
    "ftrace of 3.x with a name of spaces": (
        " CPU 36/KVM-8050  (8041) [001] d..1 4132.412865: tracing_mark_write: {}", 4132412865000, "trace",
    ),
}


def write(path: Path, *forms: str) -> Path:
    path.write_text("".join(form.format(line) + "\n" for form in forms for line in BODY))
    os.utime(path, (WRITTEN, WRITTEN))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_form(form: str, tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    pattern, time_ns, clock = FORMS[form]
    done = xptrace("decode", "-T", "jsonl", write(tmp_path / "trace.log", pattern))
    assert [(row.get("register"), row.get("value")) for row in done.accesses] == [
        ("magic", 0x49D2), ("product_number", 3),
    ]  # fmt: skip
    assert [row["text"] for row in done.messages] == ["it's 'here'"]
    assert {row["time_ns"] for row in done.rows} == {time_ns}
    assert {row["certainty"] for row in done.rows} == {"observed"}
    if time_ns is not None:
        assert {row["clock"] for row in done.rows} == {clock}
    assert "3 decoded + 0 other + 0 damaged" in done.err


def test_all_forms_in_one_file(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    done = xptrace("decode", "-T", "jsonl", write(tmp_path / "trace.log", *(form for form, _, _ in FORMS.values())))
    assert [row["value"] for row in done.accesses] == [0x49D2, 3] * len(FORMS)
    assert len(done.messages) == len(FORMS)


def test_a_guest_name_and_a_domain_tag_name_the_vm(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    path = tmp_path / "daemon.log"
    path.write_text(
        "Jul 10 17:52:11 host qemu-dm-5[123]: 123@1795401500.773285:cpu_in addr 0x10(w) value 18898\n"
        "Jul 10 17:52:11 host qemu-dm-7[321]: 321@1795401500.773290:cpu_in addr 0x10(w) value 18898\n"
        "[win10] qemu-system-x86_64: (1144713:main): cpu_in addr 0x10(w) value 18898\n"
    )
    assert [row["vm"] for row in xptrace("decode", "-T", "jsonl", path).rows] == ["dom5", "dom7", "win10"]


def test_file_names_name_vms(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    names = {
        "qemu-dm-win10.log": "win10",
        "qemu-dm-win10.log.1": "win10",
        "guest-work-dm.log": "work",
        "qemu-trace-twoA.log": "twoA",
        "mine.log": "mine",
    }
    for name, vm in names.items():
        (row, *_) = xptrace("decode", "-T", "jsonl", write(tmp_path / name, "{}")).rows
        assert row["vm"] == vm


def test_rotated_logs_of_one_vm_are_read_oldest_first(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    new, old = tmp_path / "qemu-dm-win10.log", tmp_path / "qemu-dm-win10.log.1"
    new.write_text("cpu_out addr 0x10(w) value 2\n")
    old.write_text("cpu_out addr 0x10(w) value 1\n")
    rows = xptrace("decode", "-T", "jsonl", new, old).rows
    assert [(row["value"], row["boot"]) for row in rows] == [(1, 1), (2, 2)]


def test_a_reset_opens_a_new_boot(tmp_path: Path, data: Path, xptrace: Callable[..., Any]) -> None:
    """golden.jsonl: system_reset after n=23; the BARs go at once, without a config write."""
    done = xptrace("decode", "-T", "jsonl", data / "qemu-oracle" / "10.0.13" / "60-reset-mid" / "trace.log")
    before = [row["boot"] for row in done.rows if row["offset"] < 2732]
    after = [row["boot"] for row in done.rows if row["offset"] >= 2860]
    assert set(before) == {1}
    assert set(after) == {2}


def test_declarations_of_the_user_win(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    log = tmp_path / "trace.log"
    log.write_text("cpu_in port=0x10 width=w got=18898\n")
    assert xptrace("decode", log).code == 1
    declarations = tmp_path / "trace-events"
    declarations.write_text('cpu_in(unsigned int addr, char size, unsigned int val) "port=0x%x width=%c got=%u"\n')
    (row,) = xptrace("decode", "-T", "jsonl", "--trace-events", declarations, log).rows
    assert (row["register"], row["value"]) == ("magic", 0x49D2)


@pytest.mark.parametrize(
    ("scenario", "plain", "wrapped"),
    [
        ("74b-rsyslog", "trace.log", "traditional.log"),
        ("74b-rsyslog", "trace.log", "isofile.log.gz"),
        ("74b-rsyslog", "trace.log", "syslog5424.log.gz"),
        ("74-syslog", "trace.log.gz", "syslog-datagrams.raw.gz"),
        ("75-ftrace", "trace.log.gz", "ftrace-trace.txt.gz"),
    ],
)
def test_other_back_ends_of_one_run_say_the_same(
    corpus: Path, xptrace: Callable[..., Any], scenario: str, plain: str, wrapped: str
) -> None:
    keys = ("kind", "space", "address", "size", "direction", "value", "register", "text", "complete")
    for version in ("7.2.22", "10.0.13"):
        folder = corpus / "recorded" / "qemu-oracle" / version / scenario
        first, second = (
            [tuple(row.get(key) for key in keys) for row in xptrace("decode", "-T", "jsonl", folder / name).rows]
            for name in (plain, wrapped)
        )
        assert first == second
        assert len(first) > 500



def test_wide_bar1_accesses_stay_in_pieces_and_say_so(data: Path, xptrace: Callable[..., Any]) -> None:
    """golden.jsonl of 45-mmio: n=6-8 read 1, 2 and 4 bytes, n=9 eight bytes, n=10 one byte at 1, n=11 two at 1."""
    path = data / "qemu-oracle" / "10.0.13" / "45-mmio" / "trace.log"
    rows = [row for row in xptrace("decode", "-T", "jsonl", path).accesses if row["space"] == "bar1"]
    got = [(row["address"] - 0xF0000000, row["size"], row["certainty"]) for row in rows[:6]]
    assert got == [(0, 1, "observed"), (0, 2, "observed"), (0, 4, "observed"), (0, 4, "inferred"), (4, 4, "inferred"),
                   (1, 1, "observed")]  # fmt: skip


def test_eras_before_2_6_tell_offsets_and_no_vcpu(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    path = tmp_path / "trace.log"
    path.write_text(
        "memory_region_ops_read mr 0x7f10 addr 0 value 0x49d2 size 2\n"
        "cpu_in addr 0x10 value 18898\n"
        "cpu_out addr 0x10 value 3\n"
        "memory_region_ops_write mr 0x7f10 addr 0 value 0x3 size 2\n"
        "cpu_out addr 0x12(b) value 65\n"
        "memory_region_ops_write mr 0x7f10 addr 0x2 value 0x41 size 1\n"
        "cpu_out addr 0x10 value 1\n"
    )
    rows = xptrace("decode", "-T", "jsonl", path).accesses
    assert [(row["register"], row["size"], row["value"]) for row in rows] == [
        ("magic", 2, 0x49D2),
        ("unplug_mask", 2, 3),
        ("log", 1, 65),
        ("undefined", None, 1),  # flags, mask or build: nothing tells the size
    ]


def test_a_repeated_access_that_is_not_recorded_one_by_one_is_one_row(
    tmp_path: Path, xptrace: Callable[..., Any]
) -> None:
    path = tmp_path / "trace.log"
    path.write_text(
        "handle_ioreq I/O=0x7f type=0 dir=0 df=0 ptr=1 port=0x12 data=0x1234 count=5 size=1\n"
        "handle_ioreq_write I/O=0x7f write type=0 df=0 ptr=1 port=0x12 data=0x1234 count=5 size=1\n"
        "cpu_ioreq_pio I/O=0x7f pio dir=0 df=0 ptr=1 port=0x12 data=0x1234 count=5 size=1\n"
        "xen_platform_log xen platform: abcd\n"
    )
    done = xptrace("decode", "-T", "jsonl", path)
    (access,) = done.accesses
    assert (access["register"], access["count"], access["value"]) == ("log", 5, None)
    assert [row["text"] for row in done.messages] == ["abcd"]


def test_config_offset_0x10_is_not_port_0x10(tmp_path: Path, xptrace: Callable[..., Any]) -> None:
    path = tmp_path / "trace.log"
    path.write_text("handle_ioreq I/O=0x7f type=2 dir=0 df=0 ptr=0 port=0x10 data=0x3 count=1 size=2\n")
    assert xptrace("decode", "-T", "jsonl", path).rows == []


def test_an_access_that_reaches_in_from_below_is_one_row_and_names_its_piece(
    tmp_path: Path, xptrace: Callable[..., Any]
) -> None:
    path = tmp_path / "trace.log"
    path.write_text("handle_ioreq I/O=0x7f type=0 dir=0 df=0 ptr=0 port=0xe data=0x30000 count=1 size=4\n")
    (row,) = xptrace("decode", "-T", "jsonl", path).rows
    assert (row["address"], row["size"], row["value"], row["register"]) == (0x0E, 4, 0x30000, "unplug_mask")
    assert row["meaning"] == "[0x10, 2 bytes] unplug mask 0x0003: IDE and SCSI disks, NICs"


def test_bytes_of_bar0_that_nothing_joins_are_rows_marked_inferred(
    tmp_path: Path, xptrace: Callable[..., Any]
) -> None:
    path = tmp_path / "trace.log"
    form = "memory_region_ops_write cpu 1 mr 0x7f addr 0xc00{} value 0x{} size 1 name 'xen-pci'\n"
    path.write_text("".join(form.format(4 + n, int(n == 0)) for n in range(4)))
    rows = xptrace("decode", "-T", "jsonl", path).rows
    assert [(row["address"], row["size"], row["value"]) for row in rows] == [
        (0xC004, 1, 1), (0xC005, 1, 0), (0xC006, 1, 0), (0xC007, 1, 0),
    ]  # fmt: skip
    assert {(row["certainty"], row["vcpu"]) for row in rows} == {("inferred", 1)}
