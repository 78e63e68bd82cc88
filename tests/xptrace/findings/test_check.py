"""`xptrace check` as its users run it: worst first, exit codes, users' own rules, and silence where all is well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xptrace
from xptrace.findings.assess import KEYS, all_rules
from xptrace.findings.rule import SEVERITIES

Run = Callable[..., Any]


@pytest.fixture
def crashed(data: Path) -> Path:
    """A guest that plays the order of the Windows drivers, and their crash report: one finding, high."""
    return data / "real-xen" / "windows-like-excerpt.log.gz"


def test_there_is_a_rule_for_every_anomaly() -> None:
    book = all_rules()
    assert list(book) == [f"A{number:02d}" for number in range(1, 53)]
    for one in book.values():
        assert one.severity in SEVERITIES
        assert one.why
        assert one.law
        assert one.advice
        assert "protocol.md" not in one.law


def test_the_exit_code_says_the_worst_severity(crashed: Path, data: Path, xptrace: Run) -> None:
    assert xptrace("check", crashed).code == 13
    assert xptrace("check", "--fail-on", "never", crashed).code == 0
    healthy = data / "real-xen" / "qemu-trace-linux-default.log.gz"
    assert xptrace("check", healthy).code == 0
    assert xptrace("check", "--fail-on", "info", healthy).code == 0


def test_a_finding_has_its_keys_and_its_proof(crashed: Path, xptrace: Run) -> None:
    (row,) = xptrace("check", "-T", "jsonl", crashed).rows
    assert tuple(row) == KEYS
    assert (row["rule"], row["severity"], row["vm"], row["boot"]) == ("A34", "high", "windows-like-excerpt", 1)
    assert all(set(place) == {"source", "offset", "line"} for place in row["evidence"])


def test_what_lacks_its_evidence_is_not_called_fine(crashed: Path, xptrace: Run) -> None:
    done = xptrace("check", "--unassessed", crashed)
    assert "not assessable  A14" in done.out
    assert "needs vbd" in done.out


@pytest.mark.parametrize(
    "folder", ["linux-default", "two-guests", "no-timestamp", "migrate-local", "unplug-ide-disks", "reboot-twice",
               "no-platform-pci", "trixie-partial-nofinish", "failed-two-nics"],
)
def test_healthy_guests_on_real_xen_give_no_finding(corpus: Path, xptrace: Run, folder: str) -> None:
    logs = sorted((corpus / "recorded" / "real-xen" / folder).glob("qemu-trace*.log*"))
    assert logs
    assert xptrace("check", "-T", "jsonl", *logs).rows == []


def test_findings_come_worst_first(corpus: Path, xptrace: Run) -> None:
    logs = sorted((corpus / "recorded" / "real-xen").glob("*/qemu-trace*.log.gz"))
    ranks = [SEVERITIES.index(row["severity"]) for row in xptrace("check", "-T", "jsonl", *logs).rows]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0


def test_a_case_has_its_findings_as_a_table(crashed: Path) -> None:
    case = xptrace.open(crashed)
    assert case.findings["rule"].tolist() == ["A34"]
    assert case.findings.dtypes["boot"].name == "Int64"


class TestOwnRules:
    """Users' rules come in by the same door as ours."""

    TOML = """
[[rule]]
id = "U01"
severity = "low"
title = "a product that is not on our list"
register = "product_number"
not_value = [1, 2, 3]
sentence = "{id} names product {value}"

[[rule]]
id = "U02"
severity = "info"
title = "Windows unplugs its disks"
text = "^UNPLUG: DISKS$"
"""
    PYTHON = '''
from xptrace.findings.rule import Hit, places, rule

@rule("U03", severity="medium", title="a mask of both", law="our book", advice="ask", needs={"ports"})
def both(story, case):
    """We allow one at a time."""
    if story.mask == 3:
        yield Hit(f"{story.id} asked for both", places(story.masks[0].at))
'''

    def test_a_toml_file_and_a_python_file(self, crashed: Path, tmp_path: Path, xptrace: Run) -> None:
        toml, python = tmp_path / "own.toml", tmp_path / "own.py"
        toml.write_text(self.TOML)
        python.write_text(self.PYTHON)
        done = xptrace("check", "-T", "jsonl", "--rules", toml, "--rules", python, crashed)
        said = {row["rule"]: row["sentence"] for row in done.rows}
        assert said["U01"] == "windows-like-excerpt#1 names product 65535"
        assert "U02" in said
        assert said["U03"] == "windows-like-excerpt#1 asked for both"

    FILTERS = """
[[rule]]
id = "U10"
severity = "low"
title = "a mask of disks alone"
filter = "mask.ide_disks && !mask.nics"
sentence = "{id}: mask {value}"

[[rule]]
id = "U11"
severity = "info"
title = "a line in capitals"
filter = 'kind == message && text matches r"^[A-Z: ]+$"'
sentence = "{id} says {text}, and {count} in all"

[[rule]]
id = "U13"
severity = "medium"
title = "masks in number"
filter = '''
    register == unplug_mask
    and value in {1..3} and time > 04:10
'''
at_least = 3
"""

    def test_a_filter_says_what_a_rule_looks_for(self, crashed: Path, tmp_path: Path, xptrace: Run) -> None:
        rules = tmp_path / "own.toml"
        rules.write_text(self.FILTERS)
        found = {row["rule"]: row for row in xptrace("check", "-T", "jsonl", "--rules", rules, crashed).rows}
        assert found["U10"]["sentence"] == "windows-like-excerpt#1: mask 1"
        decoded = xptrace("decode", "-T", "jsonl", "-Y", "mask.ide_disks && !mask.nics", crashed).rows
        assert [place["line"] for place in found["U10"]["evidence"]] == [row["line"] for row in decoded]
        assert found["U11"]["sentence"].startswith("windows-like-excerpt#1 says UNPLUG: DISKS, and ")
        assert "U13" not in found  # there are two

    def test_a_filter_that_lacks_its_kind_of_row_is_not_assessable(self, tmp_path: Path, xptrace: Run) -> None:
        rules, log = tmp_path / "own.toml", tmp_path / "trace.log"
        rules.write_text(self.FILTERS)
        log.write_text("cpu_in addr 0x10(w) value 18898\n")
        shown = xptrace("check", "--unassessed", "--rules", rules, log).out
        assert "not assessable  U11" in shown
        assert "not assessable  U10" not in shown

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("a.toml", "[[rule]]\nid='U'\nseverity='low'\ntitle='t'\nfilter='registr == magic'\n",
             "U: filter, character 1: there is no field 'registr'"),
            ("a.toml", "[[rule]]\nid='U'\nseverity='low'\ntitle='t'\nfilter='value'\ntext='x'\n", "by a filter"),
            ("a.toml", "rule = 3", "[[rule]]"), ("a.toml", "[[rule]]\nid='U'\n", "severity"),
            ("a.toml", "][", "a.toml"),
            ("a.toml", "[[rule]]\nid='U'\nseverity='low'\ntitle='t'\nregister='toaster'\n", "no register 'toaster'"),
            ("a.toml", "[[rule]]\nid='U'\nseverity='worst'\ntitle='t'\nregister='magic'\n", "worst"),
            ("a.toml", "[[rule]]\nid='A13'\nseverity='low'\ntitle='t'\nregister='magic'\n", "a rule A13 already"),
            ("a.toml", "[[rule]]\nid='U'\nseverity='low'\ntitle='t'\ntext='('\n", "'text' is no regular expression"),
            ("a.toml", "[[rule]]\nid='U'\nseverity='low'\ntitle='t'\nregister='magic'\nat_least='x'\n",
             "'at_least' is a number"),
            ("a.py", "raise SystemExit", "a.py"), ("a.py", "1/0", "ZeroDivisionError"), ("gone.py", None, "gone.py"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_one_line(
        self, crashed: Path, tmp_path: Path, xptrace: Run, name: str, text: str | None, said: str
    ) -> None:
        if text is not None:
            (tmp_path / name).write_text(text)
        done = xptrace("check", "--rules", tmp_path / name, crashed)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert len(done.err.splitlines()) == 1


def test_guest_text_in_a_finding_acts_on_nothing(tmp_path: Path, xptrace: Run) -> None:
    log = tmp_path / "evil.log"
    lines = ["XEN|BUGCHECK: ====>", "XEN|BUGCHECK: \x1b[2J\x1b]0;x\x07 \u202eEVIL: 000000D1", "XEN|BUGCHECK: <===="]
    log.write_text("".join(f"xen_platform_log xen platform: {line}\n" for line in lines), encoding="utf-8")
    done = xptrace("check", log)
    assert done.code == 13
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out + done.err)
