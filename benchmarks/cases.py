"""The cases: which recording, which command of xptrace, which peers, which ratio is wanted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as renamed
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.bench import ROOT, XPTRACE, Bench, Peer, needles, program, tool
from benchmarks.generate import Kind
from benchmarks.growth import Point, grow
from benchmarks.process import Command, FailedError, run
from benchmarks.replay import PROFILE
from benchmarks.table import Row, Wanted, megabytes, ratio, seconds

RECORDING: Final = ROOT.parent / "shared/corpus/recorded/real-xen/linux-default/xentrace.bin.xz"
"""Of the collection of recordings, where that lies beside the project: 40 MB, 2.2 million records."""

_MOST_PEAK_BYTES: Final = 300 * 10**6
_START_ROUNDS: Final = 3
"""What takes some ten milliseconds is run so many times as often."""
_SMALL_LOG_MEGABYTES: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the recordings are, and what the user named."""

    sparse: float = 1000
    dense: float = 514
    events: int = 2_000_000
    replay: float = 640
    growth: Sequence[float] = (10, 100, 500, 1000, 2000, 4000)
    gzip: float = 1000
    packets: float = 20
    xentrace: Path = RECORDING
    simpletrace_script: tuple[str, ...] = ()


FULL: Final = Sizes()
QUICK: Final = Sizes(sparse=40, dense=3, events=50_000, replay=2, growth=(5, 10, 20, 40), gzip=20, packets=2)


def sparse(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """Text with little of ours: how near to a bare search."""
    path, lines = bench.log("sparse", sizes.sparse)
    case = f"sparse text, {megabytes(path.stat().st_size)}, {lines / 1e6:.3g} M lines, 0.1 % ours, to JSONL"
    grep = Peer(Command("grep -c", tool("grep", "-cE", *needles(), path), {"LC_ALL": "C"}))
    decode = ("decode", "-T", "jsonl", path)
    yield from bench.rows(case, bench.xptrace(*decode), [Peer(bench.search(path), Wanted(2)), grep])
    yield from bench.rows(f"{case}, without the kernel", bench.xptrace(*decode, kernel=False),
                          [Peer(bench.search(path), Wanted(4))])
    path.unlink()
    path, _ = bench.log("mixed", sizes.sparse / 4)
    yield from bench.rows(f"mixed text, {megabytes(path.stat().st_size)}, 0.1 % ours, 3 % looks like it, to JSONL",
                          bench.xptrace("decode", "-T", "jsonl", path), [Peer(bench.search(path))])
    path.unlink()


def dense(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """Text that is all ours: how much faster than a loop that only matches."""
    path, lines = bench.log("dense", sizes.dense)
    case = f"dense text, {lines / 1e6:.3g} M lines, all ours"
    loop = program("re loop", "peers.re_loop", path)
    polars = program("polars", "peers.polars_regex", path)
    parquet, jsonl = (bench.xptrace("decode", "-T", form, path) for form in ("parquet", "jsonl"))
    yield from bench.rows(f"{case}, to Parquet", parquet, [Peer(loop, Wanted(6, "as fast")), Peer(polars)])
    yield from bench.rows(f"{case}, to JSONL", jsonl, [Peer(loop, Wanted(3, "as fast"))])
    for question in ("summary", "check"):
        asked = renamed(bench.xptrace(question, path), well=(0, 10, 11, 12, 13))  # by the worst finding
        yield from bench.rows(f"{case}, `{question}`", asked, [Peer(loop)])
    path.unlink()


def simpletrace(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """QEMU's binary records: how much faster than a loop that unpacks them; then the commands, with their start."""
    wanted = Wanted(8, "as fast")
    kinds: Mapping[Kind, tuple[str, str]] = {"dense": ("all ours", "parquet"), "sparse": ("0.1 % ours", "jsonl")}
    for kind, (share, form) in kinds.items():
        path = bench.simpletrace(kind, sizes.events)
        case = f"simpletrace, {sizes.events / 1e6:.3g} M events, {share}"
        peak = run(program("loaded", "loaded", path, str(bench.rounds)), bench.folder).peak_bytes
        taken = json.loads((bench.folder / "printed").read_text())
        ours, theirs = ([one[what] for one in taken] for what in ("decode", "unpack"))
        yield Row(f"{case}, in one process", seconds(ours), f"struct loop: {seconds(theirs)}",
                  ratio(ours, theirs, wanted), wanted, megabytes(peak))
        peers = [Peer(program("struct loop", "peers.struct_loop", path))]
        if sizes.simpletrace_script:
            peers.append(Peer(Command("QEMU's script", (*sizes.simpletrace_script, str(path)))))
        yield from bench.rows(f"{case}, `decode -T {form}`", bench.xptrace("decode", "-T", form, path), peers)
        path.unlink()


def xentrace(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """A real recording of Xen's own trace."""
    wanted = Wanted(2, "as fast")
    if not sizes.xentrace.exists():
        yield Row("xentrace, to JSONL", "", "no recording: name one with --xentrace", wanted=wanted)
        return
    path = bench.unpacked(sizes.xentrace)
    case = f"xentrace, {megabytes(path.stat().st_size)}, to JSONL"
    peer = Command("xenalyze --dump-all", tool("xenalyze", "--dump-all", path))
    if peer.words:
        try:
            run(peer, bench.folder)
        except FailedError:  # at the exit codes of an AMD host, which it must be told of
            peer = Command("xenalyze --dump-all --svm-mode", tool("xenalyze", "--dump-all", "--svm-mode", path))
    yield from bench.rows(case, bench.xptrace("decode", "-T", "jsonl", path), [Peer(peer, wanted)])
    path.unlink()


def replay(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """The model's answer to every access."""
    path, _ = bench.log("dense", sizes.replay)
    command = program("replay", "replay", path)
    taken = []
    for _ in range(bench.rounds):
        peak = run(command, bench.folder).peak_bytes
        taken.append(json.loads((bench.folder / "printed").read_text()))
        if sum(one["decode"] for one in taken) > bench.patience_seconds:
            break
    ours, theirs = ([one[what] for one in taken] for what in ("replay", "decode"))
    case = f"replay of {taken[0]['accesses'] / 1e6:.3g} M accesses"
    wanted = Wanted(1)
    yield Row(case, seconds(ours), f"decoding them: {seconds(theirs)}", ratio(ours, theirs, wanted), wanted,
              megabytes(peak))
    alone = renamed(bench.xptrace("decode", "-T", "jsonl", path, to="decoded"), name="xptrace decode")
    yield from bench.rows(f"{case}, from text to JSONL",
                          bench.xptrace("replay", "--profile", PROFILE, "-T", "jsonl", path), [Peer(alone)])
    path.unlink()


def growth(bench: Bench, sizes: Sizes) -> Iterator[Row | Point]:
    """Peak memory over the size of a sparse log: a point each, and a row of the largest beside an eighth of it."""
    points = list(grow(bench, sizes.growth))
    yield from points
    largest = points[-1]
    small = min(points, key=lambda one: abs(one.megabytes - largest.megabytes / 8))
    wanted = Wanted(1.1, "as much")
    yield Row(f"peak memory, sparse text, {largest.megabytes:g} MB against {small.megabytes:g} MB, and ≤ 300 MB",
              megabytes(largest.peak_bytes), f"xptrace: {megabytes(small.peak_bytes)}",
              ratio([largest.peak_bytes], [small.peak_bytes], wanted), wanted, megabytes(largest.peak_bytes),
              also=largest.peak_bytes <= _MOST_PEAK_BYTES)


def compressed(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """A sparse log as gzip leaves it."""
    plain, _ = bench.log("sparse", sizes.gzip)
    path = bench.compressed(plain)
    by = "ISA-L" if find_spec("isal") else "zlib"
    packed, unpacked = (megabytes(one.stat().st_size) for one in (path, plain))
    case = f"gzip, {packed} of {unpacked}, sparse text, unpacked by {by}, to JSONL"
    plain.unlink()
    yield from bench.rows(case, bench.xptrace("decode", "-T", "jsonl", path), [
        Peer(program("zlib loop", "peers.gunzip", path), Wanted(1.2)),
        Peer(Command("gzip -dc", tool("gzip", "-dc", path))),
    ])
    path.unlink()


def start(bench: Bench, _sizes: Sizes) -> Iterator[Row]:
    """What a user waits for before anything happens."""
    path, _ = bench.log("dense", _SMALL_LOG_MEGABYTES)
    rounds = _START_ROUNDS * bench.rounds
    nothing = Command("python -c pass", (sys.executable, "-c", "pass"))
    pandas = Command("python -c 'import pandas'", (sys.executable, "-c", "import pandas"))
    yield from bench.rows("xptrace --help", Command("xptrace", (*XPTRACE, "--help")), [Peer(nothing, Wanted(4))],
                          rounds)
    yield from bench.rows("xptrace decode, 200 KB", Command("xptrace", (*XPTRACE, "decode", str(path))),
                          [Peer(pandas, Wanted(1))], rounds)


def packets(bench: Bench, sizes: Sizes) -> Iterator[Row]:
    """A capture, as text."""
    path, _ = bench.log("dense", sizes.packets)
    capture = bench.folder / "exported.pcapng"
    run(bench.xptrace("export", "--to", "pcapng", path, to=capture.name), bench.folder)
    yield from bench.rows(f"pcapng, {megabytes(capture.stat().st_size)}, to text",
                          bench.xptrace("decode", capture), [Peer(Command("tshark -r", tool("tshark", "-r", capture)))])


CASES: Final[Mapping[str, Callable[[Bench, Sizes], Iterator[Row | Point]]]] = {
    "sparse": sparse, "dense": dense, "simpletrace": simpletrace, "xentrace": xentrace, "replay": replay,
    "growth": growth, "gzip": compressed, "start": start, "packets": packets,
}  # fmt: skip
"""By the name that the command line has for it."""
