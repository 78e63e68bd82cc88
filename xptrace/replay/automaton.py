"""The replay of many accesses: the scalar step, compiled as it goes into a table of transitions.

A device has few states, and a guest makes few different accesses; so each pair of both is judged once, by
`xptrace.replay.judge`, and looked up from then on. What the guest logs does not change such a state, so that a flood of
log bytes is one row of the table. The scalar step is the law; this only remembers what it said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from xptrace.model.effects import Effect
from xptrace.replay.judge import Judgement, Observed, Standing, judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_STATES: Final = 50_000
"""States that are remembered; a guest that makes more of them (by writing config space at random) starts them anew."""
_FEW: Final = 1 << 8
"""Accesses that are looked up one by one, before it is tried whether the state stays as it is."""
_MANY: Final = 1 << 16


class Transition(NamedTuple):
    """What one access does in one state; both states by their numbers."""

    before: int
    after: int
    observed: Observed
    judgement: Judgement
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Automaton:
    """States and transitions by number, as far as they have been judged."""

    standings: list[Standing] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    _numbers: dict[Standing, int] = field(default_factory=dict)
    _judged: list[dict[Observed, int]] = field(default_factory=list)

    def enter(self, standing: Standing) -> int:
        """The number of a state."""
        number = self._numbers.get(standing)
        if number is None:
            number = self._numbers[standing] = len(self.standings)
            self.standings.append(standing)
            self._judged.append({})
        return number

    def step(self, state: int, observed: Observed) -> int:
        """The number of the transition that an access makes in a state."""
        known = self._judged[state]
        found = known.get(observed)
        if found is None:
            standing, judgement, effects = judge(self.standings[state], observed)
            found = known[observed] = len(self.transitions)
            self.transitions.append(Transition(state, self.enter(standing), observed, judgement, effects))
        return found

    @property
    def full(self) -> bool:
        """Whether it is time to begin with an empty table."""
        return len(self.standings) > MOST_STATES or len(self.transitions) > 10 * MOST_STATES

    def run(
        self, state: int, symbols: NDArray[np.int64], alphabet: list[Observed]
    ) -> tuple[int, NDArray[np.int64]]:
        """The state after many accesses, each given by its place in the alphabet, and the number of each transition."""
        import numpy as np

        taken = np.empty(len(symbols), np.int64)
        tables: dict[int, dict[int, int]] = {}
        at = 0
        while at < len(symbols):
            entered, some = state, []
            row = tables.setdefault(state, {})
            for symbol in symbols[at : at + _FEW].tolist():
                number = row.get(symbol)
                if number is None:
                    number = row[symbol] = self.step(state, alphabet[symbol])
                some.append(number)
                after = self.transitions[number].after
                if after != state:
                    state = after
                    row = tables.setdefault(state, {})
            taken[at : at + len(some)] = some
            at += len(some)
            if state == entered:  # most accesses change nothing
                at = self._stay(state, row, symbols, at, alphabet, taken)
        return state, taken

    def _stay(
        self, state: int, row: dict[int, int], symbols: NDArray[np.int64], at: int, alphabet: list[Observed],
        taken: NDArray[np.int64],
    ) -> int:
        """Take accesses, many at once, up to the first that leaves the state; returns its place."""
        import numpy as np

        numbers = np.zeros(len(alphabet), np.int64)
        stays = np.zeros(len(alphabet), np.bool_)
        for symbol, number in row.items():
            numbers[symbol], stays[symbol] = number, self.transitions[number].after == state
        stride = _FEW
        while at < len(symbols):
            part = symbols[at : at + stride]
            alike = stays[part]
            count = len(part) if alike.all() else int(alike.argmin())
            taken[at : at + count] = numbers[part[:count]]
            at += count
            stride = min(2 * stride, _MANY)
            if count < len(part):
                symbol, stride = int(part[count]), _FEW
                if symbol in row:
                    break
                number = numbers[symbol] = row[symbol] = self.step(state, alphabet[symbol])
                stays[symbol] = self.transitions[number].after == state
        return at
