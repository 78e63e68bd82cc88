"""How long the records of simpletrace take once everything is loaded: to decode, and to unpack by the plain loop.

Decoding is `Case.blocks`: accesses and messages, with what they mean. Both are timed in one process, in turns.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from contextlib import redirect_stdout
from io import StringIO

import xptrace
from benchmarks.peers.struct_loop import main as unpack
from dissectors.kernel import chosen_kernel


def main() -> None:
    """Print the seconds of both, as JSON; the first time, in which modules are loaded, does not count."""
    path, rounds = sys.argv[1], int(sys.argv[2])
    if (kernel := chosen_kernel()) is not None:
        kernel.keep_memory()
    taken = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        deque(xptrace.open(path).blocks(), maxlen=0)
        decoded = time.perf_counter()
        with redirect_stdout(StringIO()):
            unpack()
        taken.append({"decode": decoded - begin, "unpack": time.perf_counter() - decoded})
    print(json.dumps(taken[1:]))


if __name__ == "__main__":
    main()
