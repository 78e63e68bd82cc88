"""``python -m xptrace``."""

import sys

from xptrace.cli import program

sys.exit(program())
