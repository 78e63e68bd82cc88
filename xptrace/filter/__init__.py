"""Filters: which rows are meant, said once, the same on the command line, in Python and in users' rules.

A filter is read (`lexer`, `grammar`, `tree`), understood (`fields`, `understand`) as a plan (`plan`), and that plan is
run over rows as they come (`rows`) or over the columns of a table (`columns`)::

    vm == "win10" && register == unplug_mask && value & 1 && time > 12:03
"""

from __future__ import annotations

from xptrace.filter.compile import Filter, compile_filter
from xptrace.filter.fault import FilterError

__all__ = ["Filter", "FilterError", "compile_filter"]
