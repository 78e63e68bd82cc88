"""DataFrames, built once and column by column, with the dtypes of the schema: from rows, or from Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa


_DTYPES: Final[Mapping[str, Any]] = {  # their stubs do not know that they read Arrow
    "Int64": pd.Int64Dtype(), "UInt64": pd.UInt64Dtype(), "boolean": pd.BooleanDtype(), "string": pd.StringDtype(),
}


class Columns:
    """The columns of one table while its rows come in: for tables that are small, as rows take several times as much.

    Those that grow with the recording are `xptrace.frames.held`'s.
    """

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


def frame(schema: Mapping[str, tuple[str, str]], held: pa.Table) -> pd.DataFrame:
    """A table of numbers, texts and names that repeat; columns beside those of the schema are left out."""
    return pd.DataFrame({name: _column(held.column(name), dtype) for name, (dtype, _) in schema.items()}, copy=False)


def _column(column: pa.ChunkedArray, dtype: str) -> Any:  # noqa: ANN401 - any array of pandas
    if dtype != "category":
        return _DTYPES[dtype].__from_arrow__(column)
    coded = column.unify_dictionaries().combine_chunks()
    words = coded.dictionary.to_pylist()
    ranks = np.empty(len(words) + 1, np.int32)
    ranks[np.argsort(np.array(words, object))] = np.arange(len(words), dtype=np.int32)
    ranks[-1] = -1  # what is missing
    codes = ranks[coded.indices.fill_null(-1).to_numpy()]
    return pd.Categorical.from_codes(codes, pd.Index(sorted(words), dtype="str"))
