"""Synthetic tables with misleading cheap ranks: what a search loses when early results mislead it.

Each has one smooth function of five hyperparameters for the end of training and another for its beginning;
curves go from one to the other. The halves, shown and held back, are drawn from different seeds. Nothing in
them is recorded: they answer only whether a search ends behind random full trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.search_quality.table import Table
from trainables.curves import Numbers

_ROWS, _DIMENSIONS, _EPOCHS = 1000, 5, 30
_BUMPS = 6
_NOISE = 0.01  # standard deviation of an epoch's score; that between configurations is 0.2


def made_tables(seed: int) -> dict[str, Table]:
    """One table of each kind, all drawn from `seed`."""
    return {f"{kind}-{seed}": make_table(kind, seed) for kind in _KINDS}


def make_table(kind: str, seed: int) -> Table:
    """The table of this kind and seed, the same every time."""
    chance = np.random.default_rng([seed, sorted(_KINDS).index(kind)])
    points = chance.uniform(size=(_ROWS, _DIMENSIONS))
    final, early = (_smooth(points, chance) for _ in range(2))
    # Made uncorrelated, which sums of six bumps are not.
    early = _standardised(early - final * (early @ final) / (final @ final))
    progress = np.arange(1, _EPOCHS + 1) / _EPOCHS
    curves = _KINDS[kind](early, final, progress) + chance.normal(0, _NOISE, (_ROWS, _EPOCHS))
    return Table(name=f"{kind}-{seed}", points=points, val_accuracy=curves, seconds=np.ones((_ROWS, _EPOCHS)))


def _smooth(points: Numbers, chance: np.random.Generator) -> Numbers:
    """A sum of bumps over the unit cube, one value per row, with mean 0 and standard deviation 0.2."""
    centres = chance.uniform(size=(_BUMPS, points.shape[1]))
    heights = chance.normal(size=_BUMPS)
    distances = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)
    values = (heights * np.exp(-distances / 0.5)).sum(axis=1)
    return _standardised(values)


def _standardised(values: Numbers) -> Numbers:
    return np.asarray(0.2 * (values - values.mean()) / values.std())


def _mixed(early: Numbers, final: Numbers, share: Numbers, progress: Numbers) -> Numbers:
    # Ten standard deviations, so that no early epoch of one trial beats the end of another, as in real
    # tables.
    rise = 2.0 * progress**0.5
    return rise[None] + early[:, None] * (1 - share[None]) + final[:, None] * share[None]


def _crossing(early: Numbers, final: Numbers, progress: Numbers) -> Numbers:
    """The first third of training says nothing about the end."""
    return _mixed(early, final, np.clip((progress - 0.35) / 0.5, 0.0, 1.0), progress)


def _reversed(early: Numbers, final: Numbers, progress: Numbers) -> Numbers:
    """Fast starters end low: the rank correlation of the first third with the end is about -0.5."""
    return _crossing(0.9 * early - 0.55 * final, final, progress)


def _late_step(early: Numbers, final: Numbers, progress: Numbers) -> Numbers:
    """A plateau that says little (rank correlation 0.3) and a step at two thirds, as when a rate drops."""
    return _mixed(0.95 * early + 0.3 * final, final, (progress > 2 / 3).astype(float), progress)


_KINDS: Mapping[str, Callable[[Numbers, Numbers, Numbers], Numbers]] = {
    "crossing": _crossing,
    "reversed": _reversed,
    "late-step": _late_step,
}
