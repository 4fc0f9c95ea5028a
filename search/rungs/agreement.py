"""Whether a rung's ranking says anything of the ranking far above it, from the few trials that have both.
Pure.

What is asked is a rank correlation, and the trials that could show it are few and chosen: of ten full
trainings' epochs four trials reach the top, and all were sent there by the ranking in question. Neither
matters to a regression of the upper score on the lower one, which is what this is: with s the normal score of
a trial's rank at the lower rung, among all that completed it, one trial ends above another with probability

    Phi(rho (s - s') / sqrt(2 (1 - rho²)))        at a rank correlation of rho,

and the chances of several rho, before and after, are compared. Pairs of n trials overlap: n (n - 1) / 2 of
them are worth n - 1. Three trials decide nothing unless one that was ranked low wins: that is why the default
configuration, which no ranking has chosen, is trained to the end early. In the spirit of Hyper-Tune (Li et
al. 2022, arXiv 2201.06834), which weighs the brackets of Hyperband by how far their ranks agree with the
top's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

_NORMAL = NormalDist()
FEWEST = 2  # trials that have completed both rungs
WEAK = 0.4  # a rank correlation below which a ranking is not worth following
# Rank correlations, and how likely each is before anything is seen: of ten tables of recorded curves, that of
# the first epoch with the last is 0.05 to 0.85, of a third of the epochs 0.64 to 0.99.
_BEFORE = {-0.6: 0.04, -0.3: 0.05, 0.0: 0.08, 0.3: 0.10, 0.5: 0.15, 0.7: 0.25, 0.85: 0.23, 0.95: 0.10}


def chance_of_weakness(percentiles: Sequence[float], upper: Sequence[float]) -> float:
    """How likely it is that the rank correlation of two rungs is weak, given the trials that completed both.

    Args:
        percentiles: Of each trial the share of all trials at the lower rung that are worse, in (0, 1).
        upper: Its score at the upper rung, larger is better.
    """
    scores = [_NORMAL.inv_cdf(share) for share in percentiles]
    pairs = [
        scores[one] - scores[other] if upper[one] > upper[other] else scores[other] - scores[one]
        for one, other in itertools.combinations(range(len(scores)), 2)
        if upper[one] != upper[other]
    ]
    worth = 2 / max(len(scores), 1)
    logs = {rho: math.log(share) + worth * _log_chance(rho, pairs) for rho, share in _BEFORE.items()}
    most = max(logs.values())
    after = {rho: math.exp(each - most) for rho, each in logs.items()}
    return sum(share for rho, share in after.items() if rho < WEAK) / sum(after.values())


def _log_chance(rho: float, gaps: Sequence[float]) -> float:
    """Of every pair, given how much higher its winner was ranked below."""
    scale = rho / math.sqrt(2 * (1 - rho * rho))
    return sum(math.log(max(_NORMAL.cdf(scale * gap), 1e-12)) for gap in gaps)
