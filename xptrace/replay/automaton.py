"""The replay of many accesses: the scalar step, compiled as it goes into a table of transitions.

A device has few states, and a guest makes few different accesses; so each pair of both is judged once, by
`xptrace.replay.judge`, and looked up from then on. What the guest logs does not change such a state, so that a flood of
log bytes costs nothing at all. The scalar step is the law; this only remembers what it said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xptrace.model.effects import Effect
from xptrace.replay.judge import Judgement, Observed, Standing, judge

MOST_STATES: Final = 50_000
"""States that are remembered; a guest that makes more of them (by writing config space at random) starts them anew."""


class Transition(NamedTuple):
    """What one access does in one state."""

    after: int
    judgement: Judgement
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Automaton:
    """States by number, and what was judged in them so far."""

    standings: list[Standing] = field(default_factory=list)
    _numbers: dict[Standing, int] = field(default_factory=dict)
    _judged: list[dict[Observed, Transition]] = field(default_factory=list)

    def enter(self, standing: Standing) -> int:
        """The number of a state."""
        number = self._numbers.get(standing)
        if number is None:
            number = self._numbers[standing] = len(self.standings)
            self.standings.append(standing)
            self._judged.append({})
        return number

    def step(self, state: int, observed: Observed) -> Transition:
        """What an access does in a state."""
        known = self._judged[state]
        found = known.get(observed)
        if found is None:
            standing, judgement, effects = judge(self.standings[state], observed)
            found = known[observed] = Transition(self.enter(standing), judgement, effects)
        return found

    @property
    def full(self) -> bool:
        """Whether it is time to begin with an empty table."""
        return len(self.standings) > MOST_STATES

    def begin_anew(self, state: int) -> int:
        """Forget everything but one state; returns its new number."""
        standing = self.standings[state]
        self.standings.clear()
        self._numbers.clear()
        self._judged.clear()
        return self.enter(standing)

    def run(self, state: int, symbols: Sequence[int], alphabet: Sequence[Observed]) -> tuple[int, list[Transition]]:
        """The transitions of many accesses, each given by its place in the alphabet, and the state after the last."""
        taken: list[Transition] = []
        tables: dict[int, dict[int, Transition]] = {}
        row = tables.setdefault(state, {})
        for symbol in symbols:
            found = row.get(symbol)
            if found is None:
                found = row[symbol] = self.step(state, alphabet[symbol])
            taken.append(found)
            if found.after != state:
                state = found.after
                row = tables.setdefault(state, {})
        return state, taken
