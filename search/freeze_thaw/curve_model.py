"""A Gaussian process over learning curves, fitted now and then and extended epoch by epoch.

It needs only NumPy and SciPy. Hyperparameters are the most probable ones given the rows (MAP), found by
L-BFGS-B with exact gradients. Each fit starts from the prior's mode, not from the last fit, so the result
depends on the rows alone and a resumed search finds the same without a file. Rows that come after a fit
extend the Cholesky factor one by one, O(rows²) each, where a fit costs thirty times O(rows³).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr
from threadpoolctl import ThreadpoolController

from search.freeze_thaw.kernel import Kernel, Numbers, Places, Rows
from search.freeze_thaw.likelihood import JITTER, Likelihood

_ITERATIONS = 15
# Log mean and standard deviation of lt, lb, c1, a0, a1, b0, b1, s2. A metric's noise is small compared with
# the differences between trials, but its size is unknown within a factor of 20 (two deviations of 1.5).
_PRIORS = ((np.log(0.5), 0.5), (np.log(0.5), 0.5), (np.log(0.3), 1.0), (np.log(0.5), 1.0), (np.log(0.3), 1.0))
_OWN_PRIORS = ((np.log(0.05), 1.5), (np.log(0.05), 1.5), (np.log(0.002), 1.5))
# Two threads on matrices of 100 rows wait for each other: 60 trials took 5.7 s on 2 busy cores, and 0.14 s
# with one thread. One thread also gives the same sums on every machine.
_BLAS = ThreadpoolController()
_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)
_RANGE = 4.0  # how many deviations a fit may move from the prior's mode


class CurveModel:
    """The posterior of all curves, given rows and their values.

    Args:
        num_dimensions: Number of dimensions of a point.
    """

    def __init__(self, num_dimensions: int) -> None:
        # Distances grow as the root of the dimensions (Hvarfner et al. 2024, arXiv 2402.02229).
        lengths = [(0.5 * np.log(num_dimensions) - 0.3, 1.0)] * num_dimensions
        self._means, self._deviations = np.array([*lengths, *_PRIORS, *_OWN_PRIORS]).T
        self.kernel = Kernel(self._means)
        self._factor = np.zeros((0, 0))

    def fit(self, rows: Rows, values: Numbers) -> None:
        """Find the most probable hyperparameters, or use the prior's mode if the optimisation fails.

        The previous fit is no fallback: a resumed search has not made every fit of an undisturbed one.

        Args:
            values: Value of each row, scaled to mean 0 and deviation 1, (rows,).
        """
        room = _RANGE * self._deviations
        likelihood = Likelihood(rows, values)
        with _BLAS.limit(limits=1, user_api="blas"):
            found = minimize(
                lambda theta: self._loss(theta, likelihood),
                self._means,
                jac=True,
                method="L-BFGS-B",
                bounds=list(zip(self._means - room, self._means + room, strict=True)),
                options={"maxiter": _ITERATIONS},
            )
            self.kernel = Kernel(found.x if np.isfinite(found.fun) else self._means)
            self._factor = _factored(self.kernel.matrix(rows))

    def extend(self, rows: Rows) -> None:
        """Extend the factor by the rows that it lacks, one after the other."""
        with _BLAS.limit(limits=1, user_api="blas"):
            for place in range(len(self._factor), len(rows)):
                self._factor = _extended(self._factor, *self._row(rows, place))

    def beliefs(
        self, rows: Rows, values: Numbers, points: Numbers, trials: Places, time: Numbers | float
    ) -> tuple[Numbers, Numbers]:
        """Return mean and standard deviation of the values at these epochs, (others,) each.

        Args:
            rows: The factor's rows, then further ones without a value, such as those of running trials. These
                count as observed at their expected value (a "kriging believer", Ginsbourger et al. 2010),
                which leaves means unchanged and reduces deviations.
            values: Values of the rows that have one, (at most rows,).
            points, trials, time: As in `Kernel.between`.
        """
        factor, known = self._factor, len(values)
        with _BLAS.limit(limits=1, user_api="blas"):
            for place in range(len(factor), len(rows)):
                factor = _extended(factor, *self._row(rows, place))
            covariance = self.kernel.between(rows, points, trials, time)
            weights = cho_solve((factor[:known, :known], True), values, check_finite=False)
            explained = solve_triangular(factor, covariance, lower=True, check_finite=False)
            variance = self.kernel.variance() - (explained**2).sum(axis=0)
            return covariance[:known].T @ weights, np.sqrt(np.maximum(variance, 1e-10))

    def _loss(self, theta: Numbers, likelihood: Likelihood) -> tuple[float, Numbers]:
        """Return the negative log posterior of hyperparameters, and its gradient."""
        off = (theta - self._means) / self._deviations
        loss, slope = likelihood.loss(Kernel(theta))
        return loss + 0.5 * float(off @ off), slope + off / self._deviations

    def _row(self, rows: Rows, place: int) -> tuple[Numbers, float]:
        """Return the covariance of a row with the rows before it, and its variance."""
        trial, time = rows.trials[place], float(rows.times[rows.grid[place]])
        points = rows.points[: rows.trials[: place + 1].max() + 1]  # as in `Curves.rows`
        before = Rows(points, rows.trials[:place], rows.times, rows.grid[:place])
        covariance = self.kernel.between(before, rows.points[trial][None], np.array([trial]), time)
        return covariance[:, 0], self.kernel.variance() + self.kernel.noise + JITTER


def log_expected_improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    """Return the log of the expected improvement over `best`, accurate even where improvement is unlikely.

    With z = (mean - best) / deviation it is log(deviation) + log(phi(z) + z Phi(z)). Below z = -1 the terms
    cancel, so it is computed by erfcx (Ament et al. 2023, "Unexpected Improvements to Expected
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
    """Return the probability of each to exceed `best`."""
    return np.asarray(np.exp(log_ndtr((means - best) / deviations)), float)


def _factored(covariance: Numbers) -> Numbers:
    covariance[np.diag_indices(len(covariance))] += JITTER
    return np.asarray(cholesky(covariance, lower=True, check_finite=False, overwrite_a=True), float)


def _extended(factor: Numbers, covariance: Numbers, variance: float) -> Numbers:
    """Return the factor with one more row."""
    num = len(factor)
    found = np.zeros((num + 1, num + 1))
    found[:num, :num] = factor
    if num:
        found[num, :num] = solve_triangular(factor, covariance, lower=True, check_finite=False)
    rest = variance - float(found[num, :num] @ found[num, :num])
    found[num, num] = np.sqrt(max(rest, JITTER))
    return found
