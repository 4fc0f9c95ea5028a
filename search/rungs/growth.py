"""Whether the ranking of the top two rungs is stable, so that the ladder need not grow. Pure.

Bohdal et al. 2023, "PASHA: Efficient HPO and NAS with Progressive Resource Allocation".
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from search.rungs.results import Score, best_first


class Growth:
    """The soft ranking of two rungs, and the noise it tolerates.

    Args:
        epsilon: Difference of the metric that counts as noise. None estimates it from learning
            curves that criss-cross; until some do, it is 0 and every swap counts.
    """

    def __init__(self, epsilon: float | None) -> None:
        self.epsilon = epsilon or 0.0
        self._is_estimated = epsilon is None
        self._curves: dict[str, list[float]] = {}
        self._compared: list[str] = []  # trials that completed the upper rung; each pair is compared once
        self._gaps: list[float] = []

    def on_epoch(self, trial_id: str, value: float) -> None:
        """Record the next point of a learning curve; NaN leaves a gap in it."""
        if self._is_estimated:
            self._curves.setdefault(trial_id, []).append(value)

    def is_unstable(self, *, lower: Mapping[str, Score], upper: Mapping[str, Score]) -> bool:
        """Whether the two rungs' rankings of the trials that completed both differ by more than noise.

        They agree if at each place the trials of the two rankings have lower-rung values within epsilon
        of each other.
        """
        above = [trial_id for trial_id in best_first(upper) if trial_id in lower]
        below = [trial_id for trial_id in best_first(lower) if trial_id in upper]
        for trial_id in below:
            self._compare(trial_id)
        self._estimate()
        places = zip(above, below, strict=True)
        is_unstable = any(abs(lower[one][0] - lower[other][0]) > self.epsilon for one, other in places)
        if is_unstable:  # the next rung's noise is estimated from the trials that complete it
            self._compared, self._gaps = [], []
        return is_unstable

    def _compare(self, trial_id: str) -> None:
        if trial_id in self._compared or trial_id not in self._curves:
            return
        curves = [self._curves[other] for other in self._compared]
        gaps = [criss_cross_gap(self._curves[trial_id], curve) for curve in curves]
        self._gaps = sorted([*self._gaps, *(gap for gap in gaps if gap is not None)])
        self._compared.append(trial_id)

    def _estimate(self) -> None:
        """Set epsilon to the 90th percentile of the gaps of criss-crossing pairs, if there are any."""
        if self._gaps:
            two = self._gaps * 2 if len(self._gaps) == 1 else self._gaps  # Python 3.11 refuses a single value
            self.epsilon = statistics.quantiles(two, n=10, method="inclusive")[-1]


def criss_cross_gap(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the gap between two curves at the last epoch both have; None unless they criss-cross.

    They criss-cross if one is ahead, then behind, then ahead again: their order is noise, and so is a gap
    of this size.
    """
    gaps = [a - b for a, b in zip(one, other, strict=False) if math.isfinite(a - b)]
    leads = [gap > 0 for gap in gaps if gap != 0]
    num_swaps = sum(before != after for before, after in itertools.pairwise(leads))
    return abs(gaps[-1]) if num_swaps >= 2 else None
