"""DataFrames from rows: built once, column by column, with the dtypes of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


class Columns:
    """The columns of one table while its rows come in."""

    def __init__(self, schema: Mapping[str, tuple[str, str]]) -> None:
        self._schema = schema
        self._columns: dict[str, list[Any]] = {name: [] for name in schema}

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; keys that the table does not have are left out."""
        for name, column in self._columns.items():
            column.append(row.get(name))

    def frame(self) -> pd.DataFrame:
        """The table."""
        return pd.DataFrame(
            {name: pd.Series(column, dtype=self._schema[name][0]) for name, column in self._columns.items()}
        )
