"""All tables of a case as Parquet, in one archive: `xptrace sql` reads it as it is, and what unpacks zip unpacks it.

Law: APPNOTE.TXT of the zip format. The members are stored, not compressed, since Parquet is; so each is a Parquet file
that lies in the archive as it would on its own. They carry no date: the same recordings give the same bytes::

    accesses.parquet  messages.parquet  events.parquet  sayings.parquet  negotiations.parquet  findings.parquet
    sources.parquet   ledger.parquet
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from xptrace.exports.export import Export
from xptrace.exports.parquet import EXPORT as PARQUET
from xptrace.exports.parquet import write_tables
from xptrace.frames.arrow import TABLES

if TYPE_CHECKING:
    from xptrace.case import Case

_MODE: Final = 0o100644 << 16
"""A plain file that everybody may read, as Unix writes it."""


def write(case: Case, file: IO[bytes]) -> None:
    """Write the tables of a case. They grow side by side in a directory for the time being, and go in one by one."""
    with tempfile.TemporaryDirectory(prefix="xptrace-") as place:
        paths = {name: Path(place, f"{name}{PARQUET.suffix}") for name in TABLES}
        with ExitStack() as stack:
            write_tables(case, TABLES, {name: stack.enter_context(path.open("wb")) for name, path in paths.items()})
        made = Path(place, f"tables{EXPORT.suffix}")
        with ZipFile(made, "w", ZIP_STORED) as archive:
            for path in paths.values():
                member = ZipInfo(path.name)
                member.external_attr = _MODE
                member.file_size = path.stat().st_size
                with path.open("rb") as table, archive.open(member, "w") as into:
                    shutil.copyfileobj(table, into)
                path.unlink()
        with made.open("rb") as whole:
            shutil.copyfileobj(whole, file)


EXPORT = Export("tables", "every table as Parquet in one zip, which xptrace sql reads", ".zip", write)
