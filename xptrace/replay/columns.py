"""A whole case replayed at once: accesses as numbers in an alphabet, judgements as columns.

The rows of a case are interned while they are read: each distinct access once. A replay then runs over the numbers
through `xptrace.replay.automaton`, and looks the judgements up with numpy; a test holds it against the scalar step.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xptrace.access.attribution import Vm
from xptrace.access.rows import Access, Row
from xptrace.access.stretch import Block
from xptrace.replay.automaton import Automaton
from xptrace.replay.judge import Observed
from xptrace.replay.replay import Start, next_standing, observe

_NO_ACCESS: Final = (-1, -1, -1)


@dataclass(slots=True)
class Interned:
    """The accesses of a case in order: which distinct access, of which VM, in which boot."""

    alphabet: list[Observed] = field(default_factory=list)
    symbols: array[int] = field(default_factory=lambda: array("q"))
    vms: array[int] = field(default_factory=lambda: array("q"))
    boots: array[int] = field(default_factory=lambda: array("q"))
    names: list[str] = field(default_factory=list)
    _numbers: dict[Observed, int] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    _templates: Sequence[Row] = ()
    _told: list[tuple[int, int, int]] = field(default_factory=list)
    """What each of the templates of the last block is, in the order of the columns."""

    def add(self, access: Access) -> None:
        """Take one more access."""
        number, place = self._known(access)
        self.symbols.append(number)
        self.vms.append(place)
        self.boots.append(access.boot)

    def add_block(self, block: Block) -> None:
        """Take the accesses of a block."""
        if self._templates is not block.templates:
            self._templates, self._told = block.templates, []
        for row in islice(block.templates, len(self._told), None):
            self._told.append((*self._known(row), row.boot) if isinstance(row, Access) else _NO_ACCESS)
        symbols, vms, boots = np.array(self._told, np.int64).T
        which = block.which[symbols[block.which] >= 0]
        for part, of_templates in ((self.symbols, symbols), (self.vms, vms), (self.boots, boots)):
            part.frombytes(of_templates.take(which).tobytes())

    def _known(self, access: Access) -> tuple[int, int]:
        """The numbers of what is distinct about an access, and of its VM."""
        observed = observe(access)
        number = self._numbers.get(observed)
        if number is None:
            number = self._numbers[observed] = len(self.alphabet)
            self.alphabet.append(observed)
        place = self._places.get(access.vm)
        if place is None:
            place = self._places[access.vm] = len(self.names)
            self.names.append(access.vm)
        return number, place


class Replayed(NamedTuple):
    """The judgement of every access, in the order of the case: arrays of one length.

    `expected` (uint64) counts only where `has_expected`; `agrees` is 1, 0, or -1 where there was nothing to compare;
    `before` and `after` number the states of `automaton`.
    """

    automaton: Automaton
    expected: NDArray[np.uint64]
    has_expected: NDArray[np.bool_]
    agrees: NDArray[np.int8]
    adopted: NDArray[np.bool_]
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def replay(start: Start, interned: Interned, vms: Mapping[str, Vm]) -> Replayed:
    """Judge every access of a case on one device."""
    automaton = Automaton()
    symbols, owners, boots = (np.frombuffer(part, np.int64) if part else np.empty(0, np.int64)
                              for part in (interned.symbols, interned.vms, interned.boots))
    taken = np.empty(len(symbols), np.int64)
    for place, name in enumerate(interned.names):
        rows = np.flatnonzero(owners == place)
        ends = [*(np.flatnonzero(np.diff(boots[rows])) + 1).tolist(), len(rows)]
        began = vms[name].began if name in vms else {}
        state, first = -1, 0
        for end in ends:
            part = rows[first:end]
            how = began.get(int(boots[part[0]]))
            standing = start.standing(how) if first == 0 else next_standing(start, automaton.standings[state], how)
            state, taken[part] = automaton.run(automaton.enter(standing), symbols[part], interned.alphabet)
            first = end
    return _columns(automaton, taken)


def _columns(automaton: Automaton, taken: NDArray[np.int64]) -> Replayed:
    judged = [one.judgement for one in automaton.transitions]
    expected = np.fromiter((one.expected or 0 for one in judged), np.uint64, len(judged))
    has_expected = np.fromiter((one.expected is not None for one in judged), np.bool_, len(judged))
    agrees = np.fromiter((-1 if one.agrees is None else one.agrees for one in judged), np.int8, len(judged))
    adopted = np.fromiter((one.adopted for one in judged), np.bool_, len(judged))
    before = np.fromiter((one.before for one in automaton.transitions), np.int64, len(judged))
    after = np.fromiter((one.after for one in automaton.transitions), np.int64, len(judged))
    return Replayed(automaton, expected[taken], has_expected[taken], agrees[taken], adopted[taken], before[taken],
                    after[taken])
