"""l2tcsv: the 17 columns of log2timeline, which most tools for timelines read.

Law: plaso/output/l2t_csv.py and shared_dsv.py of plaso for the columns, their forms and what stands where nothing is
known: `00/00/0000` and `--:--:--`, `-`; a comma in a field becomes a space, since not every reader knows quotes::

    date,time,timezone,MACB,source,sourcetype,type,user,host,short,desc,version,filename,inode,notes,format,extra
    11/23/2026,02:37:51,UTC,....,LOG,Xen platform device: access,Time recorded,-,win10,write 2 bytes at pio ...

Times have no fraction in this format: `extra` holds them in nanoseconds with their clock, and where the proof stands.
Which times are told, and of what, is `xptrace.exports.happenings`. Text is made safe for a spreadsheet.
"""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, Final

from xptrace.exports.export import Export
from xptrace.exports.happenings import CERTAINTIES, Happening, Happenings, iso, plain
from xptrace.views.escape import cell

if TYPE_CHECKING:
    from xptrace.case import Case

COLUMNS: Final = (
    "date", "time", "timezone", "MACB", "source", "sourcetype", "type", "user", "host", "short", "desc", "version",
    "filename", "inode", "notes", "format", "extra",
)
"""The columns, in order."""
SHORT: Final = 80
"""Characters of `short`."""
NOTHING: Final = "-"
"""What stands where nothing is known."""
_ELSEWHERE: Final = ("kind", "source", "vm", "meaning", "text", "sentence", "evidence")
"""Keys of a row that other columns tell; all others are in `extra`."""


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as a timeline in 17 columns."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for one in Happenings(case).told():
            table.writerow(fields(one))
    finally:
        text.detach()


def fields(one: Happening) -> list[str]:
    """The fields of one line."""
    stamp = None if one.time_ns is None else iso(one.time_ns)
    date, time = "00/00/0000", "--:--:--"
    if stamp is not None:
        date, time = f"{stamp[5:7]}/{stamp[8:10]}/{stamp[:4]}", stamp[11:19]
    short = one.said if len(one.said) <= SHORT else f"{one.said[: SHORT - 3]}..."
    row = plain(one.row)
    extra = "; ".join(f"{key}: {value}" for key, value in row.items() if key not in _ELSEWHERE)
    notes = NOTHING if one.certainty == "recorded" else CERTAINTIES[one.certainty]
    return [
        date, time, "UTC", "....", "LOG", f"Xen platform device: {one.what}", CERTAINTIES[one.certainty], NOTHING,
        *map(_field, (one.vm, short, one.said)), "2", _field(str(row.get("source", NOTHING))), NOTHING, notes,
        f"xptrace/{one.what}", _field(extra),
    ]


def _field(text: str) -> str:
    return NOTHING if text == NOTHING else cell(text.replace(",", " "))


EXPORT = Export("l2tcsv", "a timeline in the 17 columns of log2timeline, as CSV", ".csv", write, binary=False)
