"""The replay of many accesses: the scalar step, compiled as it goes into a table of transitions.

A device has few states, and a guest makes few different accesses; so each pair of both is judged once, by
`xptrace.replay.judge`, and looked up from then on. What the guest logs does not change such a state, so that a flood of
log bytes is one row of the table. The scalar step is the law; this only remembers what it said.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xptrace.model.effects import Effect
from xptrace.replay.judge import Judgement, Observed, Standing, judge

MOST_STATES: Final = 50_000
"""States that are remembered; a guest that makes more of them (by writing config space at random) starts them anew."""


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

    def run(self, state: int, symbols: Iterable[int], alphabet: list[Observed]) -> tuple[int, array[int]]:
        """The state after many accesses, each given by its place in the alphabet, and the number of each transition."""
        taken = array("q")
        tables: dict[int, dict[int, int]] = {}
        row = tables.setdefault(state, {})
        transitions, take = self.transitions, taken.append
        for symbol in symbols:
            number = row.get(symbol)
            if number is None:
                number = row[symbol] = self.step(state, alphabet[symbol])
            take(number)
            after = transitions[number].after
            if after != state:
                state = after
                row = tables.setdefault(state, {})
        return state, taken
