"""What an installation is made of: told line by line, with what to do about what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def parts(xptrace: Callable[..., Any]) -> Callable[[], dict[str, dict[str, Any]]]:
    """Every part by its name, and under the empty name the exit code."""

    def ask() -> dict[str, dict[str, Any]]:
        done = xptrace("doctor", "-T", "jsonl")
        assert done.err == ""
        return {row["name"]: row for row in done.rows} | {"": {"code": done.code}}

    return ask


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks into before all others."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def announce(folder: Path, name: str, version: str, points: str = "") -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)


def test_it_names_python_the_libraries_and_what_they_are_for(parts: Callable[[], Any]) -> None:
    told = parts()
    assert told[""]["code"] == 0
    assert told["python"]["told"].endswith(f"{sys.version.split()[0]}, {sys.executable}")
    assert (told["numpy"]["state"], told["numpy"]["told"]) == ("ok", metadata.version("numpy"))
    assert told["xptrace[plot]"]["told"].startswith("matplotlib ")
    assert {"kernel", "xptrace", "pandas", "pyarrow", "scapy", "construct", "tshark", "temporary files"} <= set(told)
    assert {row["state"] for name, row in told.items() if name} <= {"ok", "missing"}


def test_people_read_one_line_a_part(xptrace: Callable[..., Any]) -> None:
    done = xptrace("doctor")
    assert done.code == 0
    assert done.out.splitlines()[0].split()[:2] == ["python", "ok"]
    assert all(line[23:31].strip() in ("ok", "missing") for line in done.out.splitlines())


@pytest.mark.parametrize(("wanted", "kind"), [("off", "off (XPTRACE_KERNEL=off)"), ("twin", "the twin in Python")])
def test_it_says_which_kernel_runs(
    wanted: str, kind: str, parts: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPTRACE_KERNEL", wanted)
    told = parts()
    assert told["kernel"]["told"].startswith(kind)
    assert (told["kernel"]["state"], told[""]["code"]) == ("ok", 0)


def test_it_says_where_the_compiled_kernel_lies(
    parts: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("XPTRACE_KERNEL", "plain")
    told = parts()["kernel"]
    if told["state"] == "missing":
        assert "compiler" in told["advice"]
    request.getfixturevalue("built_kernel")
    kind, path = told["told"].split(", /")
    assert kind == "compiled, without AVX2 (XPTRACE_KERNEL=plain)"
    assert Path("/", path).is_file()


def test_a_dissector_that_cannot_be_loaded_is_named(beside: Path, parts: Callable[[], Any]) -> None:
    announce(beside, "theirs", "1.0", "[xptrace.dissectors]\ntheirs = nowhere_at_all:DISSECTOR\n")
    told = parts()
    assert told["dissector theirs"]["state"] == "missing"
    assert "nowhere_at_all" in told["dissector theirs"]["told"]
    assert told[""]["code"] == 0


def test_an_extra_that_is_missing_is_answered_with_what_to_install(beside: Path, parts: Callable[[], Any]) -> None:
    announce(beside, "matplotlib", "0.1")
    told = parts()
    assert told["xptrace[plot]"]["state"] == "missing"
    assert told["xptrace[plot]"]["told"].startswith("matplotlib 0.1 is older than ")
    assert told["xptrace[plot]"]["advice"] == "pip install 'xptrace[plot]'"
    assert told[""]["code"] == 0


def test_a_library_that_is_needed_and_damaged_is_the_exit_code(beside: Path, parts: Callable[[], Any]) -> None:
    (beside / "construct.py").write_text("raise ValueError('a bad sector')\n")
    told = parts()
    assert told["construct"]["state"] == "broken"
    assert "a bad sector" in told["construct"]["told"]
    assert told["construct"]["advice"] == "pip install --upgrade construct"
    assert told[""]["code"] == 2


def test_programs_of_others_are_looked_for(
    tmp_path: Path, parts: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert parts()["tshark"]["state"] == "missing"
    own = tmp_path / "tshark"
    own.write_text("")
    own.chmod(0o755)
    assert (parts()["tshark"]["state"], parts()["tshark"]["told"]) == ("ok", str(own))
