"""Tables that are held for as long as a case is: in memory, or past a limit as Parquet in files.

Law: the columnar format of Apache Arrow, and of Apache Parquet for what is more than memory. Nothing is held twice:
batches come in as they are full (`xptrace.frames.arrow`), and from the first one that is too much on all of them lie in
files, one a table, in a directory of their own that goes when the tables go::

    /tmp/xptrace-x1k2_3ab/accesses.parquet  messages.parquet  events.parquet

What lies there is read by memory-mapping: it takes no memory that the machine could not take back.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xptrace.errors import XptraceError
from xptrace.frames.arrow import BATCH_ROWS, declaration, schema_of
from xptrace.frames.build import frame
from xptrace.frames.memory import in_words

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from numpy.typing import NDArray

PREFIX: Final = "xptrace-"
"""What the names of such directories begin with."""


class Held:
    """The tables of these names, as far as their batches have come in; `memory` is what they may take together."""

    def __init__(self, names: Collection[str], memory: int) -> None:
        """Nothing is written as long as nothing has to be."""
        self.memory = memory
        self.place: Path | None = None
        """The directory in which the tables lie; None where they are in memory."""
        self.rows = dict.fromkeys(names, 0)
        """How many rows each table has."""
        self.sizes = dict.fromkeys(names, 0)
        """How many bytes each takes, or would take, in memory."""
        self._batches: dict[str, list[pa.RecordBatch]] = {name: [] for name in names}
        self._writers: dict[str, Any] = {}
        self._paths: dict[str, Path] = {}
        self._mapped: dict[str, pa.Buffer] = {}

    @classmethod
    def of(cls, names: Collection[str], batches: Iterable[tuple[str, pa.RecordBatch]], memory: int) -> Held:
        """All that these batches hold. Raises XptraceError where there is no room for what is more than memory."""
        held = cls(names, memory)
        try:
            for name, batch in batches:
                held._take(name, batch)
            held._finish()
        except OSError as error:
            where = held.place or tempfile.gettempdir()
            raise XptraceError(f"{where}: tables of more than {memory} bytes cannot be kept there: "
                               f"{error.strerror or error}; TMPDIR names another place") from None
        return held

    @property
    def size(self) -> int:
        """Bytes of all tables together, as they are or would be in memory."""
        return sum(self.sizes.values())

    def fits(self, name: str) -> bool:
        """Whether a table is small enough to be in memory, wherever it lies."""
        return self.sizes[name] <= self.memory

    def dataset(self, name: str) -> ds.Dataset:
        """A table as a dataset, of which only that is read which is asked for; it outlives these tables."""
        import pyarrow.dataset as ds

        if self.place is None:
            return ds.dataset(self.table(name))
        form = ds.ParquetFileFormat()
        return ds.FileSystemDataset([form.make_fragment(self._mapped[name])], schema_of(name), form)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """A table part by part, in order."""
        if self.place is None:
            yield from self._batches[name]
            return
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(self._mapped[name])
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_batches(max_chunksize=BATCH_ROWS)

    def table(self, name: str) -> pa.Table:
        """A whole table, in memory; raises XptraceError where that is not enough."""
        import pyarrow as pa

        if not self.fits(name):
            raise self._too_large(f"{name}: {self.rows[name]} rows", self.sizes[name])
        return pa.Table.from_batches(self.batches(name), schema_of(name)).unify_dictionaries()

    def chosen(self, name: str, mask: Callable[[pd.DataFrame], NDArray[np.bool_]]) -> pd.DataFrame:
        """The rows of a table that a mask says are meant, numbered as they are in the whole of it.

        Raises XptraceError where they are more than memory.
        """
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        parts: list[pa.RecordBatch] = []
        numbers = [np.empty(0, np.int64)]
        begin = size = 0
        for batch in self.batches(name):
            meant = mask(frame(declaration(name), pa.Table.from_batches([batch])))
            parts.append(batch.filter(pa.array(meant)))
            numbers.append(begin + np.flatnonzero(meant))
            begin, size = begin + len(batch), size + parts[-1].nbytes
            if size > self.memory:
                raise self._too_large(f"{name}: rows that are meant", size)
        found = pa.Table.from_batches(parts, schema_of(name)).unify_dictionaries()
        return frame(declaration(name), found).set_axis(pd.Index(np.concatenate(numbers)))

    def _too_large(self, what: str, size: int) -> XptraceError:
        return XptraceError(
            f"{what} take {in_words(size)}, more than memory={self.memory}: "
            "take .batches or .dataset of the case, ask for less (.filter), or open it with more memory"
        )

    # -- while they come in

    def _take(self, name: str, batch: pa.RecordBatch) -> None:
        self.rows[name] += len(batch)
        self.sizes[name] += batch.nbytes
        self._batches[name].append(batch)
        if self.place is None and self.size > self.memory:
            self._spill()
        if self.place is not None:
            self._write(name)

    def _spill(self) -> None:
        """From now on the tables lie in files."""
        from pyarrow.parquet import ParquetWriter

        self.place = Path(tempfile.mkdtemp(prefix=PREFIX))
        weakref.finalize(self, shutil.rmtree, self.place, ignore_errors=True)
        for name in self._batches:
            self._paths[name] = self.place / f"{name}.parquet"
            self._writers[name] = ParquetWriter(self._paths[name], schema_of(name), compression="zstd")
            self._write(name)

    def _write(self, name: str) -> None:
        for batch in self._batches[name]:
            self._writers[name].write_batch(batch)
        self._batches[name].clear()

    def _finish(self) -> None:
        import pyarrow as pa

        for name, writer in self._writers.items():
            writer.close()
            self._mapped[name] = pa.memory_map(str(self._paths[name])).read_buffer()
