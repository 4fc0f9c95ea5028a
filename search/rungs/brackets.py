"""Which rung is the first to judge a trial. Pure."""

from __future__ import annotations

import itertools
import math
from bisect import bisect

_GOLDEN = (math.sqrt(5) - 1) / 2


def bracket_of(trial_number: int, *, num_brackets: int, num_rungs: int, eta: float) -> int:
    """The bracket of a trial: b skips the rungs below rung b. The default, trial 0, is in bracket 0.

    Brackets have Hyperband's proportions (Li et al. 2018): of K rungs, bracket b gets
    K / (K - b) trials for every eta^b of bracket 0, so that each uses about the same budget. Multiples of
    the golden ratio spread the numbers: any stretch of trials has the proportions, without chance.
    """
    weights = [num_rungs / (num_rungs - bracket) / eta**bracket for bracket in range(num_brackets)]
    *bounds, total = itertools.accumulate(weights)
    return bisect(bounds, trial_number * _GOLDEN % 1 * total)
