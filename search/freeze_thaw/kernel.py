"""The covariance of learning curves, between any two epochs of any two trials. Pure.

The kernel of Swersky, Snoek and Adams 2014, "Freeze-Thaw Bayesian Optimization" (arXiv 1406.3896), has one
process for where curves end and one for their shape. Here, with m the Matern kernel of smoothness 5/2, x a
configuration in the unit cube, u the training done on a log scale and i the trial:

    k((x,u,i), (x',u',i')) = 1 + c1 m(u-u'; lt)                             what all curves have in common
                           + m(x, x'; l) (a0 + a1 m(u-u'; lt))              what x says about level and shape
                           + [i = i'] (b0 + b1 m(u-u'; lb))                 what only this trial shows
                           + [same row] s2                                  noise

A mere product of kernels in x and u, as in plain multi-fidelity models, forces each curve to follow its
neighbours; the trial's own term lets it deviate. If early epochs say nothing about the end, the fit takes a0
to 0 and lt down, and the model then learns from long curves alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]

_ROOT5 = np.sqrt(5.0)
NUM_OWN = 8  # parameters beside the length scales of x


@dataclass(frozen=True)
class Rows:
    """The epochs that the model has been given.

    Attributes:
        points: Configuration of each trial, (trials, dimensions).
        trials: Trial of each row, (rows,).
        times: u of each time of the grid, (times,).
        grid: Time of each row, as an index into `times`, (rows,).
    """

    points: Numbers
    trials: Places
    times: Numbers
    grid: Places

    def __len__(self) -> int:
        return len(self.trials)


class Kernel:
    """The covariance for one vector of parameters, whose exponentials it has by name.

    Args:
        theta: Logarithms of the length scales of x, (dimensions,), and of lt, lb, c1, a0, a1, b0, b1, s2.
    """

    def __init__(self, theta: Numbers) -> None:
        self.theta = theta
        self.lengths = np.exp(theta[:-NUM_OWN])
        time, own_time, common, level, shape, *own = map(float, np.exp(theta[-NUM_OWN:]))
        self.time, self.own_time = time, own_time
        self.common, self.level, self.shape = common, level, shape
        self.own_level, self.own_shape, self.noise = own

    def variance(self) -> float:
        """Return the variance of any epoch of a trial, without noise."""
        return 1 + self.common + self.level + self.shape + self.own_level + self.own_shape

    def between(self, rows: Rows, points: Numbers, trials: Places, time: Numbers | float) -> Numbers:
        """Return the covariance of each row with other epochs, (rows, others).

        Args:
            points: Configurations of the others, (others, dimensions).
            trials: Trials of the others, -1 for a new one, (others,).
            time: u of each of the others, or one number for all.
        """
        times = np.broadcast_to(np.asarray(time, float), len(points))
        gaps = np.abs(rows.times[rows.grid][:, None] - times[None])
        in_time = matern(gaps / self.time)
        in_x = matern(self.distances(rows.points, points))[rows.trials]
        found = 1 + self.common * in_time + in_x * (self.level + self.shape * in_time)
        own = rows.trials[:, None] == trials[None]
        return np.asarray(
            found + own * (self.own_level + self.own_shape * matern(gaps / self.own_time)), float
        )

    def matrix(self, rows: Rows) -> Numbers:
        """Return the covariance of the rows with each other, noise included, (rows, rows)."""
        times = rows.times[rows.grid]
        found = self.between(rows, rows.points[rows.trials], rows.trials, times)
        found[np.diag_indices(len(rows))] += self.noise
        return found

    def distances(self, one: Numbers, other: Numbers) -> Numbers:
        """Return distances in units of the length scales, (one, other)."""
        first, second = one / self.lengths, other / self.lengths
        squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)), float)


def matern(distances: Numbers) -> Numbers:
    """Return the Matern kernel of smoothness 5/2: 1 at a distance of 0."""
    scaled = _ROOT5 * distances
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled), float)


def matern_slope(distances: Numbers) -> Numbers:
    """Return the derivative of the Matern kernel by log l, divided by (dx / l)²."""
    scaled = _ROOT5 * distances
    return np.asarray(5 / 3 * (1 + scaled) * np.exp(-scaled), float)
