"""How long decoding takes and how long a replay of what was decoded: one log, both timed in one process.

Decoding is `Case.accesses`, which reads the log; the replay is `Case.replay`, which then answers every access.
"""

from __future__ import annotations

import json
import sys
import time

import xptrace

PROFILE = "qemu-10.2"


def main() -> None:
    """Print the seconds of both and the number of accesses, as JSON."""
    case = xptrace.open(sys.argv[1])
    begin = time.perf_counter()
    accesses = len(case.accesses)
    decoded = time.perf_counter()
    case.replay(PROFILE)
    replayed = time.perf_counter()
    print(json.dumps({"accesses": accesses, "decode": decoded - begin, "replay": replayed - decoded}))


if __name__ == "__main__":
    main()
