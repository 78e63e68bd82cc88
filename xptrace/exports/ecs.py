"""ECS: newline-delimited JSON in the Elastic Common Schema, for log stores.

Law: the Elastic Common Schema's field reference (base, event, host, log, rule) and its allowed values of event.kind,
event.category and event.type; `log.offset` is Filebeat's. What the schema has no field for is under `xptrace`::

    {"@timestamp":"2026-11-23T02:37:51.823011000Z","ecs":{"version":"8.11.0"},"message":"write 2 bytes at ...",
     "event":{"kind":"event","category":["driver"],"type":["change"],"action":"write-unplug_mask", ...},
     "host":{"name":"win10"},"log":{"file":{"path":"trace.log"},"offset":2189367},"labels":{"vm":"win10","boot":"1"},
     "xptrace":{"size":2,"value":3,"time_ns":1795401471823011000,"clock":"wall", ...}}

A finding is an alert, its severity on the scale that Elastic's detection rules use by default. `event.created` is when
somebody first took note: syslog's stamp is that, and other recordings do not tell it. Which times are told, and of
what, is `xptrace.exports.happenings`; what has no UTC time is left out, and the last line (event.dataset
`xptrace.note`) says how much that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, Final

from dissectors.clock import SYSLOG
from xptrace.exports.export import Export
from xptrace.exports.happenings import Happening, Happenings, inert, iso, plain

if TYPE_CHECKING:
    from xptrace.case import Case

VERSION: Final = "8.11.0"
"""The version of the schema that the fields and values are of."""
SEVERITY: Final[Mapping[str, int]] = {"info": 0, "low": 21, "medium": 47, "high": 73}
"""event.severity of each severity."""
_TOPICS: Final[Mapping[str, tuple[str, str]]] = {
    "frontend": ("driver", "change"), "backend": ("driver", "change"), "function": ("driver", "change"),
    "mapping": ("driver", "change"), "driver": ("driver", "info"), "life": ("host", "change"),
    "identity": ("host", "info"), "store": ("configuration", "change"),
}
"""event.category and event.type of an event, by its topic."""
_ELSEWHERE: Final = ("kind", "vm", "source", "offset", "meaning", "rule", "sentence", "law", "severity")
"""Keys of a row that fields of the schema tell; all others are under `xptrace`."""


def write(case: Case, file: IO[bytes]) -> None:
    """Write the case as documents of the schema; raises XptraceError where nothing has a UTC time."""
    happenings = Happenings(case)
    for one in happenings.dated():
        file.write(f"{inert(document(one))}\n".encode())
    if happenings.missing and happenings.last_ns is not None:
        file.write(f"{inert(_left_out(happenings.missing, happenings.last_ns))}\n".encode())


def document(one: Happening) -> dict[str, Any]:
    """The fields of one document."""
    row, stamp = plain(one.row), iso(one.time_ns or 0)
    category, kind, action = _sort(one)
    event: dict[str, Any] = {
        "kind": "alert" if one.finding else "event", "category": [category], "type": [kind], "action": action,
        "module": "xptrace", "dataset": f"xptrace.{one.what}",
    }
    if one.clock == SYSLOG:
        event["created"] = stamp
    found: dict[str, Any] = {"@timestamp": stamp, "ecs": {"version": VERSION}, "message": one.said, "event": event,
                             "host": {"name": one.vm}, "labels": {"vm": one.vm, "boot": str(one.boot)}}
    log: dict[str, Any] = {"file": {"path": row["source"]}, "offset": row["offset"]} if "source" in row else {}
    if one.finding:
        event |= {"severity": SEVERITY[one.finding.severity], "reason": row["sentence"]}
        rule = one.finding.rule
        found["rule"] = {"id": rule.id, "name": rule.title, "ruleset": "xptrace", "description": row["law"]}
        log["level"] = one.finding.severity
    if log:
        found["log"] = log
    found["xptrace"] = {key: value for key, value in row.items() if key not in _ELSEWHERE}
    found["xptrace"]["time_certainty"] = one.certainty
    return found


def _sort(one: Happening) -> tuple[str, str, str]:
    """event.category, event.type and event.action."""
    row = one.row
    if one.what == "access":
        return "driver", "change" if row["direction"] == "write" else "info", f"{row['direction']}-{row['register']}"
    if one.what == "message":
        return "driver" if row["via"] == "log" else "host", "info", "said"
    if one.what == "event":
        return *_TOPICS[row["topic"]], str(row["topic"])
    return "driver", "info", "found"


def _left_out(missing: str, last_ns: int) -> dict[str, Any]:
    return {"@timestamp": iso(last_ns), "ecs": {"version": VERSION},
            "message": f"xptrace: not among these documents, for want of a UTC time: {missing}",
            "event": {"kind": "event", "module": "xptrace", "dataset": "xptrace.note"}}


EXPORT = Export("ecs", "documents in the Elastic Common Schema, as JSON lines", ".ndjson", write, binary=False)
