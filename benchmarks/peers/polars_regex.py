"""polars reading a text log line by line and extracting the groups of the same regular expression; it counts."""

from __future__ import annotations

import sys

import polars as pl

from benchmarks.peers.re_loop import PATTERN


def main() -> None:
    """Count the lines from which something was extracted."""
    lines = pl.scan_csv(sys.argv[1], has_header=False, separator="\x1f", quote_char=None, new_columns=["line"],
                        schema={"line": pl.String})
    groups = lines.select(pl.col("line").str.extract_groups(PATTERN).alias("found")).unnest("found")
    print(groups.select(pl.col("1").count()).collect(engine="streaming").item())


if __name__ == "__main__":
    main()
