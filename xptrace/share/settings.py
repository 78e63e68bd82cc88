"""How recordings are read and examined, the same for the recording as it is and for what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from xptrace.access.decode import Decoder
from xptrace.findings.assess import Assessment, all_rules, examine
from xptrace.findings.rule import Rule
from xptrace.model.inventory import Inventory
from xptrace.negotiation.verdict import PATIENCE_NS

Kind = TypeVar("Kind", bound=Decoder)


@dataclass(frozen=True, slots=True)
class Settings:
    """How recordings are read and examined: the arguments of `Decoder` and of `examine`."""

    trace_events: tuple[str, ...] = ()
    dissector: str | None = None
    tsc_hz: float | None = None
    clock_offsets: Mapping[str, int] = field(default_factory=dict)
    book: Mapping[str, Rule] | None = None
    patience_ns: int = PATIENCE_NS
    inventory: Inventory = ()

    def decoder(self, paths: Sequence[str], kind: type[Kind] = Decoder) -> Kind:  # type: ignore[assignment]
        """A decoder of these paths, of this kind."""
        return kind(paths, self.trace_events, dissector=self.dissector, tsc_hz=self.tsc_hz,
                    clock_offsets=self.clock_offsets)

    def examine(
        self, decoder: Decoder, only: str | None = None, progress: Callable[[int], None] | None = None
    ) -> Assessment:
        """What the rules find, or only one of them; `progress` is told the bytes read so far."""
        book = all_rules() if self.book is None else self.book
        if only is not None:
            book = {only: book[only]}
        return examine(decoder, book=book, patience_ns=self.patience_ns, inventory=self.inventory, progress=progress)
