"""How long a replay takes beside the decoding that it follows: one dense log, both timed in one process.

The log is that of `benchmarks.generate --kind dense`. Three times are taken in each round: decoding alone, decoding
with a replay of each row as it comes (`xptrace replay`), and the replay of all accesses as columns (`Case.replay`),
which comes after the case was read.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from benchmarks.generate import write
from xptrace.access.decode import Decoder
from xptrace.access.rows import Access
from xptrace.model.profiles import profile
from xptrace.replay.columns import Interned, replay
from xptrace.replay.replay import Replay, Start


def seconds(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(path: Path, of: str) -> tuple[int, dict[str, float]]:
    """(accesses, seconds by what was done) of one round."""
    start = Start(profile(of))
    interned = Interned()

    def decode() -> None:
        for row in Decoder([str(path)]).rows():
            if isinstance(row, Access):
                interned.add(row)

    def stream() -> None:
        decoder = Decoder([str(path)])
        deque(Replay(start, decoder.vms).rows(decoder.rows()), maxlen=0)

    taken = {"decode": seconds(decode), "decode and replay": seconds(stream)}
    taken["replay of columns"] = seconds(lambda: replay(start, interned, {}))
    return len(interned.symbols), taken


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", default="qemu-10.2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.log"
        write(path, megabytes=arguments.megabytes, kind="dense")
        rounds = [measure(path, arguments.profile) for _ in range(arguments.rounds)]
    accesses = rounds[0][0]
    decoding = statistics.median(taken["decode"] for _, taken in rounds)
    print(f"{accesses} accesses, {arguments.megabytes} MB, {arguments.profile}")
    for name in rounds[0][1]:
        median = statistics.median(taken[name] for _, taken in rounds)
        each = f"{1e6 * median / accesses:7.2f} s per million"
        print(f"{name:<20} {median:8.3f} s  {each}  {median / decoding:6.3f} x decode")


if __name__ == "__main__":
    main()
