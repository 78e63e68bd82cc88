"""A case: recordings, opened together, as DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from xptrace.access.decode import Decoder
from xptrace.access.rows import Access
from xptrace.frames import schema
from xptrace.frames.build import Columns
from xptrace.negotiation.summary import Summary


class _Tables(NamedTuple):
    accesses: pd.DataFrame
    messages: pd.DataFrame
    summary: pd.DataFrame
    ledger: pd.DataFrame


class Case:
    """Recordings that belong together. They are read when a table is first asked for, and once.

    Columns, dtypes and units of every table are those of `xptrace.frames.schema`.
    """

    def __init__(self, paths: Sequence[str], trace_events: Sequence[str] = ()) -> None:
        """Open the recordings; raises XptraceError where one cannot be read."""
        self.paths = tuple(map(str, paths))
        self._decoder = Decoder(self.paths, trace_events)

    @cached_property
    def _tables(self) -> _Tables:
        accesses, messages = Columns(schema.ACCESSES), Columns(schema.MESSAGES)
        negotiations, accounts = Columns(schema.SUMMARY), Columns(schema.LEDGER)
        summary = Summary()
        for row in summary.watch(self._decoder.rows()):
            (accesses if isinstance(row, Access) else messages).append(row.row())
        for found in summary.rows(self._decoder.vms.values()):
            negotiations.append(found)
        for ledger in self._decoder.ledgers:
            for kind, size, lines in ledger.rows():
                accounts.append({"source": ledger.source, "kind": kind, "bytes": size, "lines": lines})
        return _Tables(accesses.frame(), messages.frame(), negotiations.frame(), accounts.frame())

    @property
    def accesses(self) -> pd.DataFrame:
        """One row an access of the guest, in the order of the recording."""
        return self._tables.accesses

    @property
    def messages(self) -> pd.DataFrame:
        """One row a line that the guest wrote to the log port."""
        return self._tables.messages

    @property
    def summary(self) -> pd.DataFrame:
        """One row a VM and boot."""
        return self._tables.summary

    @property
    def ledger(self) -> pd.DataFrame:
        """The account of every byte and line read."""
        return self._tables.ledger

    def __repr__(self) -> str:
        """What was opened, and what is in it."""
        vms = self.summary["vm"].nunique()
        return (
            f"<xptrace case: {len(self.paths)} source{'s' * (len(self.paths) != 1)}, {vms} VM{'s' * (vms != 1)}, "
            f"{len(self.accesses)} accesses, {len(self.messages)} messages>"
        )
