"""Where a new trial could be, and what it would be worth: candidates and expected improvement. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import erfcx, log_ndtr

from search.freeze_thaw.kernel import Numbers

_UNIFORM, _STEPS, _REDRAWN = 150, 20, 15
_STEP = 0.1
_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)


def candidates(chance: np.random.Generator, num_parameters: int, best: Sequence[Numbers]) -> Numbers:
    """Shares to choose from, (candidates, parameters): by chance, and around each of the best.

    Around one, 20 are small steps in every parameter, and 15 have some two parameters drawn anew: a step of
    0.1 changes no name, and never crosses from one good region to another.
    """
    found = [chance.uniform(size=(_UNIFORM, num_parameters))]
    for centre in best:
        steps = np.clip(centre + chance.normal(0, _STEP, (_STEPS, num_parameters)), 0.0, 1.0)
        is_redrawn = chance.uniform(size=(_REDRAWN, num_parameters)) < min(1.0, 2 / num_parameters)
        redrawn = np.where(is_redrawn, chance.uniform(size=(_REDRAWN, num_parameters)), centre)
        found += [steps, redrawn]
    return np.concatenate(found)


def log_expected_improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    """The logarithm of the expected improvement over `best`, which is not lost where improvement is unlikely.

    With z = (mean - best) / deviation it is log(deviation) + log(phi(z) + z Phi(z)). Below z = -1 the sum
    cancels; there it is written by erfcx (Ament et al. 2023, "Unexpected Improvements to Expected
    Improvement", arXiv 2310.20708).
    """
    z = (means - best) / deviations
    near, far = np.maximum(z, -1.0), np.minimum(z, -1.0)
    density = np.exp(-0.5 * near**2 - _LOG_ROOT_2PI)
    log_near = np.log(density + near * np.exp(log_ndtr(near)))
    ratio = 1 - np.sqrt(np.pi / 2) * -far * erfcx(-far / np.sqrt(2))  # positive, about 1 / z² for large -z
    log_ratio = np.where(far < -1e5, -2 * np.log(-far), np.log(np.maximum(ratio, 1e-300)))
    return np.asarray(
        np.log(deviations) + np.where(z > -1.0, log_near, -0.5 * far**2 - _LOG_ROOT_2PI + log_ratio)
    )


def probability_of_improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    return np.asarray(np.exp(log_ndtr((means - best) / deviations)), float)
