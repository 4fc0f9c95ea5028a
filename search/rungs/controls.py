"""Control trials: who continues although its value does not let it, and what that may cost. Pure.

Bounded by what they train, not by how many they are: one result in twenty let on, whatever its rung, took 10
to 33 % of a search's epochs, because a single one near the top costs as much as fifty at the bottom. So each
rung that may have any shares equally in a fraction of what the search has spent.
"""

from __future__ import annotations

from collections.abc import Sequence


class Controls:
    """What control trials have cost so far, and whether one more may be afforded.

    Args:
        fraction: Of what all trials have trained, the most that control trials may.
        costs: What it takes to complete each rung from the one below it, in any unit.
    """

    def __init__(self, fraction: float, costs: Sequence[float]) -> None:
        self._fraction, self._costs = fraction, costs
        self._spent = 0.0
        self._taken = [0.0] * len(costs)
        self._trials: set[str] = set()

    def on_result(self, rung: int) -> None:
        """Take in that a trial has completed `rung`."""
        self._spent += self._costs[rung]

    def take(self, trial_id: str, rung: int, *, top: int, has_finished: bool) -> bool:
        """Whether this trial, which pauses or stops at `rung`, goes on to the next one; then it is paid for.

        It goes one rung further and no more, and to the two highest rungs only once a trial has ended the
        ladder: before that, what they take is better spent on having a trained model at all.

        Args:
            top: The highest rung that trials go to now.
            has_finished: A trial has ended the ladder.
        """
        last = top - 1 if has_finished else len(self._costs) - 4
        num_rungs, cost = min(last, top - 1) + 1, self._costs[min(rung + 1, len(self._costs) - 1)]
        if not self._fraction or rung >= num_rungs or trial_id in self._trials:
            return False
        allowed = self._fraction * self._spent
        if self._taken[rung] + cost > allowed / num_rungs or sum(self._taken) + cost > allowed:
            return False
        self._taken[rung] += cost
        self._trials.add(trial_id)
        return True
