"""Given a small question, no more is loaded than it takes to answer it; given any head, no dissector is missed."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import dissectors as contract
from benchmarks.generate import write
from dissectors import choose, dissectors

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
LOG = DATA / "qemu-oracle" / "10.0.13" / "03-linux-negotiation" / "trace.log"

HEAVY = frozenset({
    "numpy", "pandas", "pyarrow", "construct", "scapy", "zstandard", "matplotlib", "duckdb", "polars",
    "asyncio", "ssl", "email", "http", "socket", "zipfile", "tarfile", "multiprocessing", "concurrent", "sqlite3",
    "xml", "unittest", "pydoc", "importlib.metadata", "importlib.resources", "subprocess", "logging",
})  # fmt: skip
"""What nothing small needs, by the first words of its name."""

PROGRAM = """
import sys
from xptrace.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


def loaded(*words: str | Path, program: str = PROGRAM) -> frozenset[str]:
    """The modules that there are when a command has run."""
    done = subprocess.run([sys.executable, "-c", program, *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    return frozenset(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def bare() -> frozenset[str]:
    """What the interpreter has loaded before it does anything."""
    return loaded(program="import sys; print(*sys.modules, file=sys.stderr)")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 200 kB, all of it the device's."""
    path = tmp_path_factory.mktemp("start") / "trace.log"
    write(path, megabytes=0.2, kind="dense")
    return path


@pytest.fixture(scope="module")
def simpletrace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of one access in QEMU's binary format."""
    path = tmp_path_factory.mktemp("start") / "trace.bin"
    order = "little"
    head = (1 << 64) - 1, 0xF2B1_77CB_0AA4_29B4, 4
    name = b"cpu_in"
    path.write_bytes(
        b"".join(word.to_bytes(8, order) for word in head)
        + (0).to_bytes(8, order) + (0xD58).to_bytes(8, order) + len(name).to_bytes(4, order) + name
        + dissectors()["simpletrace"].example
    )
    return path


def beyond(words: Iterable[str | Path], bare: frozenset[str]) -> tuple[set[str], set[str]]:
    """What a command has loaded beyond the bare interpreter: what is heavy of it, and all of it."""
    more = set(loaded(*words) - bare)
    return {one for one in more if any(one == heavy or one.startswith(f"{heavy}.") for heavy in HEAVY)}, more


class TestABudgetOfModules:
    """The bounds are what there is today and a few more: whoever meets one finds out what came, and whether it must."""

    def test_help(self, bare: frozenset[str]) -> None:
        heavy, more = beyond(["--help"], bare)
        assert not heavy
        assert len(more) <= 55, sorted(more)
        assert {one for one in more if one.startswith(("xptrace", "dissectors"))} == {
            "xptrace", "xptrace.cli", "xptrace.errors",
        }  # fmt: skip

    def test_explain(self, bare: frozenset[str]) -> None:
        heavy, more = beyond(["explain", "A13"], bare)
        assert not heavy
        assert len(more) <= 235, sorted(more)

    @pytest.mark.parametrize("form", ["text", "jsonl", "csv"])
    def test_decoding_a_small_log(self, bare: frozenset[str], log: Path, form: str) -> None:
        heavy, more = beyond(["decode", "-T", form, log], bare)
        assert not heavy
        assert len(more) <= 180, sorted(more)

    def test_what_is_written_as_parquet_never_loads_pandas(self, log: Path, tmp_path: Path) -> None:
        large = tmp_path / "large.log"
        write(large, megabytes=2, kind="dense")
        for one in (log, large):  # row by row, and in blocks
            more = loaded("decode", "-T", "parquet", one, "-o", tmp_path / "written")
            assert "pyarrow.parquet" in more
            assert "pandas" not in more

    def test_decoding_a_small_simpletrace(self, bare: frozenset[str], simpletrace: Path) -> None:
        heavy, more = beyond(["decode", "-T", "jsonl", simpletrace], bare)
        assert not heavy
        assert "dissectors.qemu.simpletrace" in more
        assert len(more) <= 180, sorted(more)

    def test_a_log_loads_no_reader_of_what_it_cannot_be(self, bare: frozenset[str]) -> None:
        _, more = beyond(["decode", LOG], bare)
        assert not more & {
            "dissectors.qemu.simpletrace", "dissectors.xen.xentrace", "dissectors.linux.journal",
            "dissectors.capture.pcapng", "dissectors.capture.pcap", "dissectors.xen.libxl",
        }  # fmt: skip


class TestNoDissectorIsMissed:
    """A module is asked what it knows of a head only where there is what must be in such a head."""

    def test_each_is_listed_under_its_own_name(self) -> None:
        assert [module.dissector().name for module in contract._OURS.values()] == list(contract._OURS)
        assert set(contract._OURS) <= set(dissectors())
        for name, module in contract._OURS.items():
            assert module.lines == (dissectors()[name].lines is not None), name

    @pytest.mark.parametrize("name", list(contract._OURS))
    def test_its_own_example_is_known(self, name: str) -> None:
        self.agree(dissectors()[name].example)

    def test_any_recording_is_read_as_if_all_had_been_asked(self) -> None:
        heads = [path.read_bytes()[: 1 << 20] for path in sorted(DATA.rglob("*")) if path.is_file()]
        assert len(heads) > 50
        for head in heads:
            self.agree(head)

    def test_and_of_the_whole_collection(self, corpus: Path) -> None:
        for path in sorted(corpus.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    self.agree(file.read(1 << 16))

    @staticmethod
    def agree(head: bytes) -> None:
        for name, module in contract._OURS.items():
            assert module.may_know(head, contract._shapes_of(head)) or not dissectors()[name].sniff(head), name


def patterns(module: str, *names: str) -> list[re.Pattern[bytes]]:
    """What a sniff looks for."""
    found: list[re.Pattern[bytes]] = []
    for name in names:
        value = getattr(import_module(f"dissectors.{module}"), name)
        found += [value] if isinstance(value, re.Pattern) else flattened(value)
    return found


def flattened(value: Iterable[object]) -> list[re.Pattern[bytes]]:
    found: list[re.Pattern[bytes]] = []
    for one in value:
        if isinstance(one, re.Pattern):
            found.append(one)
        elif isinstance(one, tuple):
            found += flattened(one)
    return found


LOOKS_FOR = [
    (name, pattern)
    for name, module, names in (
        ("lttng", "qemu.lttng", ("_HEAD",)),
        ("qemu-xen-traditional", "qemu.traditional", ("_SIGNS", "_ISSUED")),
        ("kvm", "linux.kvm", ("_SURE", "_HEADERS")),
        ("strace", "linux.strace", ("_SURE", "_EXIT", "_KVM", "_OTHER")),
        ("xenalyze", "xen.xenalyze", ("_HEADS",)),
        ("xen-console", "xen.console", ("_BY_XEN", "_BY_GUEST")),
        ("xenstored", "xen.xenstored", ("_SURE",)),
        ("xenstore-ls", "xen.xenstore_ls", ("_TREE", "_WHOLE")),
        ("libxl", "xen.libxl", ("_SURE",)),
        ("xensource", "xen.xapi", ("_HEAD",)),
        ("guest-kernel", "linux.guest_kernel", ("_HVM", "_BEGUN", "_KERNEL")),
    )
    for pattern in patterns(module, *names)
]
"""Each expression that a sniff of a log searches for."""


@pytest.mark.parametrize(("name", "looked_for"), LOOKS_FOR)
@given(drawn=st.data())
def test_whatever_a_sniff_looks_for_has_a_sign(name: str, looked_for: re.Pattern[bytes], drawn: st.DataObject) -> None:
    found = drawn.draw(st.from_regex(looked_for))
    assert contract._OURS[name].may_know(found, contract._shapes_of(found))


@given(st.lists(st.sampled_from([
    b"[", b"\n", b"] ", b"R +0.147681", b"I 1.000000", b"OPENED", b"inb 0x", b"outw 0x", b"readq 0x", b"write 0x",
    b'"event": "SHUTDOWN"', b'"QMP": {', b'"return": {"product-num"', b'"microseconds"', b"__REALTIME_TIMESTAMP=1",
    b"[20261123T03:17:30.038Z]  D1", b"kvm-1 [000] 1.000000: kvm_pio: ", b"xenopsd-xc: [debug|x", b" kernel: ",
    b"Linux version 6", b"] (+0.000036439) ", b" cpu_id = ", b"timestamp = 1", b"1", b" ", b"x",
]), max_size=12).map(b"".join))
@example(b"")
def test_a_dissector_that_knows_a_head_is_asked(head: bytes) -> None:
    TestNoDissectorIsMissed.agree(head)


class TestWhatIsInstalled:
    """Third parties' dissectors are looked for only where a file of theirs names the group."""

    def test_it_is_seen_wherever_importlib_sees_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "Other-1.0.DIST-INFO"
        package.mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path), sysconfig.get_path("stdlib")])
        assert not contract._may_be_announced()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: Other\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(f"[{contract.GROUP}]\nother = nowhere:DISSECTOR\n")
        assert [one.name for one in entry_points(group=contract.GROUP)] == ["other"]
        assert contract._may_be_announced()

    def test_it_may_be_in_an_archive_on_the_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = tmp_path / "packages.zip"
        archive.write_bytes(b"PK\x05\x06".ljust(22, b"\0"))
        monkeypatch.setattr(sys, "path", [str(archive)])
        assert contract._may_be_announced()

    def test_or_known_to_a_finder_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Finder:
            @staticmethod
            def find_spec(*_: object) -> None:
                return None

            @staticmethod
            def find_distributions(*_: object) -> list[object]:
                return []

        monkeypatch.setattr(sys, "path", [])
        assert not contract._may_be_announced()
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
        assert contract._may_be_announced()


def test_choosing_is_in_the_order_of_the_list_and_the_surest_first() -> None:
    head = LOG.read_bytes()
    sure = [(name, one.sniff(head)) for name, one in dissectors().items()]
    able = sorted(((name, percent) for name, percent in sure if percent), key=lambda entry: -entry[1])
    assert [(one.name, percent) for one, percent in choose(head)] == able
