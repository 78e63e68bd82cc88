"""What stands in front of a record on its line: dates stay or are moved, hosts, guests and processes have other names.

Law: `dissectors.qemu.prefix` and `dissectors.envelope` say what may stand there. Clocks that count from a start of
their own (a host's, a guest's, a tracer's) tell no date, and are not moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from dissectors.envelope import read_envelope
from xptrace.share.pseudonyms import Pseudonyms
from xptrace.share.texts import called, sweep
from xptrace.share.words import WORDS

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LEAP_YEAR: Final = 2024
"""What a date without a year is moved in where nobody knows the year."""

_STAMP: Final = re.compile(
    r"(?P<thread>\d{1,10})@(?:(?P<second>\d{1,11})(?P<micro>\.\d{6}:)|(?P<nano>\d{16,19})(?= ))"
    r"|(?P<day>\d{4}-\d\d-\d\d)(?P<between>[T ])(?P<clock>\d\d:\d\d:\d\d)(?P<fraction>(?:[.,]\d{1,9})?)"
    r"(?P<zone>(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<date>(?P<year8>\d{4})(?P<month8>\d\d)(?P<day8>\d\d))(?P<gap>[T ])(?P<time8>\d\d:\d\d:\d\d)"
    r"(?P<rest>(?:\.\d+)?)"
    rf"|(?P<weekday>(?:{'|'.join(_DAYS)}) )?(?P<name>{'|'.join(_MONTHS)}) (?P<dom>[ \d]\d) (?P<hms>\d\d:\d\d:\d\d)"
    r"(?P<year> \d{4}(?=\]))?"
    r"|(?P<uptime>\[ *\d{1,10}\.\d{6,9}\](?:\[ *[TC]\d{1,10}\])?)"
    r"|(?P<traced>(?<= )\d{1,11}\.(?:\d{9}|\d{6})(?=:))|(?P<since>(?<= )\d{1,20}us(?=.?:))"
)
_PROCESS: Final = re.compile(
    r"(?<=[\w)/-]\[)(?P<tag>\d{1,10})(?=\])|(?<=-)(?P<comm>\d{1,10})(?= )|(?<=\()\s*(?P<group>\d{1,10})(?=[:)])"
    r"|(?<= )(?P<perf>\d{1,10})(?=/\d{1,10} )|(?<=/)(?P<perf2>\d{1,10})(?= )"
    r"|(?P<model>qemu-dm-(?P<domain>\d{1,5}))(?![\w-])"
    r"|(?:(?<=/local/domain/)|(?<=[Dd]omain )|(?<=domain-)|(?<=domid )|(?<=domid: )|(?<=domid = )|(?<=\(d))"
    r"(?P<of>\d{1,5})(?!\d)|(?P<backend>backend/(?:qdisk|vbd3?|vif|console)/(?P<served>\d{1,5}))(?!\d)"
    r"|(?P<cpu>\[\d{3}\])|(?P<priority><\d{1,3}>)|(?<= )(?P<rfc>\d{1,10})(?= - )"
)
_ALONE: Final = re.compile(r"qemu-system-(?:i386|x86_64)(?=[\[: ])")


class Stamps:
    """Shows what stands in front of records."""

    def __init__(self, names: Pseudonyms, shift_s: int = 0) -> None:
        self._names, self._shift = names, timedelta(seconds=shift_s)
        self._shift_s = shift_s

    def prefix(self, raw: bytes, time_ns: int | None = None, guest: str | None = None) -> str:
        """What stands in front of a record; `time_ns` is when it was, which tells the year where the line does not.

        A host and a guest have another name whatever they are called.
        """
        text = raw.decode("utf-8", "surrogateescape")
        host = read_envelope(raw).host.decode("utf-8", "surrogateescape")
        own = re.search(rf"(?<=\[){re.escape(guest)}(?=\] )", text) if guest else None
        if own is None and host not in ("", "-"):
            stamp = _STAMP.search(text)
            own = re.compile(rf"(?<= ){re.escape(host)}(?= )").search(text, stamp.end() if stamp else 0)
        if own is None:
            return self._dated(text, time_ns)
        return (self._dated(text[: own.start()], time_ns) + called(self._names, own[0])
                + self._dated(text[own.end() :], time_ns))

    def dates(self, text: str, time_ns: int | None = None) -> str:
        """A stamp alone."""
        return _STAMP.sub(lambda found: self._moved(found, time_ns), text)

    def _dated(self, text: str, time_ns: int | None) -> str:
        return _apart(text, _STAMP, lambda found: self._moved(found, time_ns), self._between)

    def _between(self, text: str) -> str:
        """What is no date, by what stands around it."""
        return _apart(text, _ALONE, lambda found: found[0], lambda rest: _apart(
            rest, _PROCESS, self._numbered, lambda last: sweep(self._names, last, WORDS, "name")))

    def _numbered(self, found: re.Match[str]) -> str:
        if found["model"]:
            return f"qemu-dm-{self._names.domain(int(found['domain']))}"
        if found["of"]:
            return str(self._names.domain(int(found["of"])))
        if found["backend"]:
            return f"{found['backend'].rpartition('/')[0]}/{self._names.domain(int(found['served']))}"
        if found["cpu"] or found["priority"]:
            return found[0]
        number = found[0].strip()
        return found[0].replace(number, self._names.process(number))

    def _moved(self, found: re.Match[str], time_ns: int | None) -> str:
        if found["thread"]:
            thread = self._names.process(found["thread"])
            if found["nano"]:
                return f"{thread}@{int(found['nano']) + self._shift_s * 10**9}"
            return f"{thread}@{int(found['second']) + self._shift_s}{found['micro']}"
        if found["uptime"]:
            return re.sub(r"(?<=[TC])\d+", lambda number: self._names.process(number[0]), found[0])
        if found["traced"] or found["since"] or not self._shift_s:
            return found[0]
        try:
            return self._date(found, time_ns)
        except (ValueError, OverflowError):  # no date: it is nobody's
            return re.sub(r"\d", "0", found[0])

    def _date(self, found: re.Match[str], time_ns: int | None) -> str:
        if found["day"]:
            moved = datetime.fromisoformat(f"{found['day']} {found['clock']}") + self._shift
            return f"{moved:%Y-%m-%d}{found['between']}{moved:%H:%M:%S}{found['fraction']}{found['zone']}"
        if found["date"]:
            moved = datetime.fromisoformat(f"{found['year8']}-{found['month8']}-{found['day8']} {found['time8']}")
            moved += self._shift
            return f"{moved:%Y%m%d}{found['gap']}{moved:%H:%M:%S}{found['rest']}"
        year = _LEAP_YEAR if time_ns is None else datetime.fromtimestamp(time_ns // 10**9, UTC).year
        month = _MONTHS.index(found["name"]) + 1
        year = int(found["year"] or year)
        moved = datetime.fromisoformat(f"{year:04}-{month:02}-{int(found['dom']):02} {found['hms']}") + self._shift
        weekday = f"{_DAYS[moved.weekday()]} " if found["weekday"] else ""
        after = f" {moved.year}" if found["year"] else ""
        return f"{weekday}{_MONTHS[moved.month - 1]} {moved.day:2} {moved:%H:%M:%S}{after}"


def _apart(
    text: str, pattern: re.Pattern[str], show: Callable[[re.Match[str]], str], rest: Callable[[str], str]
) -> str:
    """What a pattern finds shown one way, and what stands between another way."""
    parts: list[str] = []
    at = 0
    for found in pattern.finditer(text):
        parts += [rest(text[at : found.start()]), show(found)]
        at = found.end()
    return "".join([*parts, rest(text[at:])])


