"""The likelihood of values under a kernel's parameters, and its gradient. Pure.

Done directly, a gradient of 15 parameters takes 15 matrices of (rows, rows). Most of it is sums that need
none: rows are sorted by trial, so a term of two configurations is constant over a block, and weights are
summed over blocks first; a trial's own terms concern only the pairs within it, 1 % of all at 100 trials. An
evaluation at 600 rows then takes little more than the Cholesky factor and the inverse that it needs anyway.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky, lapack

from search.freeze_thaw.kernel import Kernel, Numbers, Places, Rows, matern, matern_slope

JITTER = 1e-6


class Likelihood:
    """The rows, in the order of their trials, and their values."""

    def __init__(self, rows: Rows, values: Numbers) -> None:
        order = np.argsort(rows.trials, kind="stable")
        present, self._block = np.unique(rows.trials[order], return_inverse=True)
        self._points = rows.points[present]
        self._starts = np.searchsorted(self._block, np.arange(len(present)))
        self._times, self._grid = rows.times, rows.grid[order]
        self._values = values[order]
        self._one, self._other = _pairs_within(self._block)

    def loss(self, kernel: Kernel) -> tuple[float, Numbers]:
        """Return the negative log likelihood without its constant, and its gradient by the log parameters.

        It is infinite if the covariance has no Cholesky factor.
        """
        gaps = np.abs(self._times[:, None] - self._times[None])
        in_time = self._by_row(matern(gaps / kernel.time), self._grid)
        distances = kernel.distances(self._points, self._points)
        in_x = matern(distances)
        own_gaps = gaps[self._grid[self._one], self._grid[self._other]] / kernel.own_time
        own = matern(own_gaps)
        covariance = self._by_row(in_x, self._block) * (kernel.level + kernel.shape * in_time)
        covariance += 1 + kernel.common * in_time
        covariance[self._one, self._other] += kernel.own_level + kernel.own_shape * own
        covariance[np.diag_indices(len(covariance))] += kernel.noise + JITTER
        try:
            factor = cholesky(covariance, lower=True, check_finite=False, overwrite_a=True)
        except np.linalg.LinAlgError:
            return float("inf"), np.zeros_like(kernel.theta)
        solved = cho_solve((factor, True), self._values, check_finite=False)
        loss = 0.5 * float(self._values @ solved) + float(np.log(np.diag(factor)).sum())
        weights = _half_gradient(factor, solved)

        timed = weights * in_time
        sums, timed_sums = self._by_trial(weights), self._by_trial(timed)
        slopes = matern_slope(distances) * (kernel.level * sums + kernel.shape * timed_sums)
        bent = matern_slope(gaps / kernel.time) * (gaps / kernel.time) ** 2
        bent_weights = weights * self._by_row(bent, self._grid)
        within = weights[self._one, self._other]
        terms = [
            kernel.common * bent_weights.sum() + kernel.shape * (in_x * self._by_trial(bent_weights)).sum(),
            kernel.own_shape * (within * matern_slope(own_gaps) * own_gaps**2).sum(),
            kernel.common * timed.sum(),
            kernel.level * (in_x * sums).sum(),
            kernel.shape * (in_x * timed_sums).sum(),
            kernel.own_level * within.sum(),
            kernel.own_shape * (within * own).sum(),
            kernel.noise * np.trace(weights),
        ]
        return loss, np.array([*self._by_length(slopes, kernel.lengths), *terms], float)

    def _by_length(self, slopes: Numbers, lengths: Numbers) -> list[float]:
        """Return, for each length scale, the sum of `slopes` times (dx / l)².

        No (trials, trials) matrix of dx is needed.
        """
        off = [column - column.mean() for column in self._points.T]  # so that no digits are lost
        rows = slopes.sum(axis=1)
        return [
            2 * float(rows @ column**2 - column @ slopes @ column) / length**2
            for column, length in zip(off, lengths, strict=True)
        ]

    def _by_row(self, values: Numbers, places: Places) -> Numbers:
        return values[places][:, places]

    def _by_trial(self, values: Numbers) -> Numbers:
        """Return the sums of (rows, rows) over the rows of each pair of trials, (trials, trials)."""
        return np.add.reduceat(np.add.reduceat(values, self._starts, axis=0), self._starts, axis=1)


def _pairs_within(block: Places) -> tuple[Places, Places]:
    """Return the indices of all pairs of rows of the same trial."""
    one, other = np.nonzero(block[:, None] == block[None])
    return one, other


def _half_gradient(factor: Numbers, solved: Numbers) -> Numbers:
    """Return half of (inverse covariance - solved solved'), the derivative of the loss by each covariance."""
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse += np.tril(inverse, -1).T
    inverse -= np.outer(solved, solved)
    return np.asarray(0.5 * inverse, float)
