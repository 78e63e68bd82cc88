"""``python -m xptrace``."""

import sys

from xptrace.cli import main

sys.exit(main())
