"""A filter, ready to be asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from xptrace.access.rows import Access, Event, Message
from xptrace.filter.fields import ENTRIES, Table, table
from xptrace.filter.grammar import parse
from xptrace.filter.kinds import can_hold
from xptrace.filter.plan import Condition
from xptrace.filter.rows import test_of
from xptrace.filter.tree import Node
from xptrace.filter.understand import understand

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Asked = TypeVar("Asked", bound=Access | Message | Event | Mapping[str, Any])


class Filter:
    """What is asked of each row of a table; `str` writes it in its plainest form."""

    __slots__ = ("_condition", "_test", "source", "table", "tree")

    def __init__(self, source: str, tree: Node, condition: Condition, asked: Table) -> None:
        self.source, self.tree, self.table = source, tree, asked
        self._condition, self._test = condition, test_of(condition)

    def matches(self, entry: Access | Message | Event | Mapping[str, Any]) -> bool:
        """Whether an entry, or a row by its keys, is meant: what is unknown of it does not make it so."""
        row = entry.row() if isinstance(entry, (Access, Message, Event)) else entry
        return self._test(row) is True

    def choose(self, entries: Iterable[Asked]) -> Iterator[Asked]:
        """Those of the entries that are meant, as they come."""
        return (entry for entry in entries if self.matches(entry))

    def mask(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a table are meant; raises XptraceError for a column of another dtype than the schema's."""
        from xptrace.filter.columns import chosen, kind_of

        kind = kind_of(frame.columns) if self.table.kinds else None
        return chosen(self._condition, frame, kind)

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Those rows of a table that are meant."""
        return frame[self.mask(frame)]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of row that the filter can be true of."""
        return frozenset(kind for kind in self.table.kinds if can_hold(self._condition, kind))

    def __str__(self) -> str:
        """The filter, with the parentheses that it needs and no other."""
        return str(self.tree)

    def __repr__(self) -> str:
        """The filter as it would be made again."""
        return f"compile_filter({str(self)!r})"


def compile_filter(source: str, table_name: str = ENTRIES) -> Filter:
    """Read a filter over the rows of a table (`xptrace.filter.fields.TABLES`).

    Raises FilterError, an XptraceError that knows the place, for what is no filter.
    """
    asked, tree = table(table_name), parse(source)
    return Filter(source, tree, understand(tree, asked, source), asked)
