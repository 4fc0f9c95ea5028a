"""The model of learning curves: its gradients, its updates, and what it makes of crossing curves."""

from __future__ import annotations

import numpy as np
import pytest

from search.budget import grid_of
from search.freeze_thaw.curve_model import CurveModel, log_expected_improvement
from search.freeze_thaw.curves import Curves
from search.freeze_thaw.kernel import Kernel, Numbers, Rows
from search.freeze_thaw.likelihood import Likelihood


def some_rows(num_trials: int = 12, num_dimensions: int = 3) -> tuple[Rows, Numbers]:
    chance = np.random.default_rng(0)
    trials = np.repeat(np.arange(num_trials), 3)
    grid = np.tile(np.arange(3), num_trials)
    order = chance.permutation(len(trials))
    rows = Rows(
        chance.uniform(size=(num_trials, num_dimensions)),
        trials[order],
        np.array([0.2, 0.5, 1.0]),
        grid[order],
    )
    values = np.sin(3 * rows.points[rows.trials, 0]) + rows.times[rows.grid]
    return rows, (values - values.mean()) / values.std()


def test_the_gradient_is_that_of_the_loss() -> None:
    rows, values = some_rows()
    likelihood, theta = Likelihood(rows, values), np.linspace(-1.0, 0.5, 3 + 8)
    _, gradient = likelihood.loss(Kernel(theta))
    for place in range(len(theta)):
        step = np.zeros(len(theta))
        step[place] = 1e-5
        above, below = (likelihood.loss(Kernel(theta + sign * step))[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)


def test_rows_taken_in_one_by_one_give_what_all_at_once_give() -> None:
    rows, values = some_rows()
    first = Rows(rows.points, rows.trials[:20], rows.times, rows.grid[:20])
    model = CurveModel(3)
    model.fit(first, values[:20])
    model.extend(rows)
    points, trials = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.5]]), np.array([-1, -1])
    means, deviations = model.beliefs(rows, values, points, trials, 1.0)
    kernel = model.kernel
    covariance = kernel.matrix(rows) + 2e-6 * np.eye(len(rows)) * 0.5
    across = kernel.between(rows, points, trials, 1.0)
    assert means == pytest.approx(across.T @ np.linalg.solve(covariance, values), abs=1e-6)
    variances = kernel.variance() - (across * np.linalg.solve(covariance, across)).sum(axis=0)
    assert deviations**2 == pytest.approx(variances, abs=1e-6)


def test_a_running_trial_changes_what_is_unsure_and_not_what_is_expected() -> None:
    rows, values = some_rows()
    model = CurveModel(3)
    model.fit(rows, values)
    with_running = Rows(rows.points, np.append(rows.trials, 0), rows.times, np.append(rows.grid, 2))
    points, trials = rows.points[:2] + 0.01, np.array([-1, -1])
    alone, together = (model.beliefs(each, values, points, trials, 1.0) for each in (rows, with_running))
    assert together[0] == pytest.approx(alone[0])
    assert together[1][0] <= alone[1][0]


def test_curves_that_cross_by_their_configuration_are_foreseen() -> None:
    """Slow starters, at x = 1, end best: the early order of the last trials is the reverse of their end."""
    grid = grid_of([1, 3, 9, 27])
    curves = Curves(grid)
    chance = np.random.default_rng(1)
    for number, x in enumerate(np.linspace(0, 1, 24)):
        name = f"t{number}"
        curves.start(name, np.array([x, chance.uniform()]))
        last = 27 if number % 4 else 3
        for epoch in grid:
            progress = np.log1p(epoch) / np.log1p(27)
            if epoch <= last:
                curves.add(name, epoch, float((1 - x) * (1 - progress) + x * progress + 0.5 * progress))
    model = CurveModel(2)
    everything = range(len(curves))
    rows, values = curves.rows(everything), curves.scaled(everything)
    model.fit(rows, values)
    short = [0, 12, 20]
    points = np.array([curves.point(f"t{number}") for number in short])
    means, _ = model.beliefs(rows, values, points, np.array(short), 1.0)
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_values_that_are_all_equal_are_modelled(value: float) -> None:
    curves = Curves([1, 3])
    for number in range(10):
        curves.start(f"t{number}", np.array([number / 10]))
        curves.add(f"t{number}", 1, value)
    assert curves.scaled(range(10)).tolist() == [0.0] * 10
    model = CurveModel(1)
    model.fit(curves.rows(range(10)), curves.scaled(range(10)))
    means, deviations = model.beliefs(
        curves.rows(range(10)), curves.scaled(range(10)), np.array([[0.5]]), np.array([-1]), 1.0
    )
    assert means == pytest.approx([0.0])
    assert np.isfinite(deviations).all()


def test_a_value_that_is_not_finite_counts_as_the_lowest_of_its_trial_and_epoch() -> None:
    curves = Curves([1, 2, 3])
    for name in ("a", "b"):
        curves.start(name, np.zeros(1))
    curves.add("a", 1, float("nan"))  # nothing to compare with
    assert len(curves) == 0
    curves.add("b", 1, 0.7)
    curves.add("a", 1, float("inf"))
    curves.add("b", 2, 0.9)
    curves.add("b", 3, float("nan"))
    assert (curves.values_of("a"), curves.values_of("b")) == ([0.7], [0.7, 0.9, 0.7])


def test_one_epoch_that_lies_far_below_does_not_make_the_others_equal() -> None:
    curves = Curves([1])
    for number, value in enumerate([0.5, 0.6, 0.7, 0.8, -1e6]):
        curves.start(f"t{number}", np.zeros(1))
        curves.add(f"t{number}", 1, value)
    scaled = curves.scaled(range(5))
    # 0.2 instead of -1e6: two spans of 0.2 below the median, 0.6
    assert scaled[3] - scaled[0] == pytest.approx(0.3 / np.std([0.5, 0.6, 0.7, 0.8, 0.2]))
    assert curves.unscaled(float(scaled[3]), range(5)) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("ends", "grid"),
    [
        ([1], [1]),
        ([1, 3, 9, 27, 51], [1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 27, 40, 51]),
        ([5, 15], [1, 2, 3, 4, 5, 7, 9, 12, 15]),
    ],
)
def test_a_grid_holds_the_ends_of_rungs_and_nothing_close_to_them(ends: list[int], grid: list[int]) -> None:
    assert grid_of(ends) == grid


def test_log_expected_improvement_is_exact_near_and_far() -> None:
    means = np.array([0.0, 1.0, -40.0, -1e7])
    found = log_expected_improvement(means, np.ones(4), 0.0)
    assert found[0] == pytest.approx(np.log(1 / np.sqrt(2 * np.pi)))
    assert found[1] == pytest.approx(np.log(1.083315471))
    assert found[2] == pytest.approx(-800 - 0.5 * np.log(2 * np.pi) - 2 * np.log(40), abs=2e-3)
    assert found[3] < found[2]


def curves_of(*values: list[float]) -> Curves:
    """A curve for each list, all taken in trial by trial."""
    curves = Curves([1, 2, 3, 4, 5])
    for number, of_trial in enumerate(values):
        curves.start(f"t{number}", np.zeros(1))
        for epoch, value in enumerate(of_trial, start=1):
            curves.add(f"t{number}", epoch, value)
    return curves


def test_where_rows_are_too_many_the_worst_curves_keep_their_last_point_alone() -> None:
    curves = curves_of([0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    assert curves.kept(12, 12) == list(range(12))
    assert curves.kept(12, 11) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert curves.kept(12, 9) == [0, 1, 2, 3, 7, 8, 9, 10, 11]
    assert curves.kept(12, 6) == [0, 1, 2, 3, 7, 11]
    assert curves.kept(12, 3) == [3, 7, 11]
    assert curves.kept(8, 7) == [0, 1, 2, 3, 5, 6, 7]  # of the first rows alone: what came later is unknown


def test_of_more_curves_than_rows_the_best_stay_and_the_others_are_thinned_evenly() -> None:
    curves = curves_of(*([float(number)] for number in range(12)))
    assert curves.kept(12, 9) == [1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert curves.kept(12, 6) == [3, 5, 7, 9, 10, 11]
    assert curves.kept(12, 4) == [3, 7, 10, 11]
    assert curves.without_rows([3, 5, 7, 9, 10, 11]) == {f"t{number}" for number in (0, 1, 2, 4, 6, 8)}


@pytest.mark.parametrize("num_equal", [1, 7, 100])
def test_of_equal_curves_the_older_ones_stay(num_equal: int) -> None:
    curves = curves_of(*([0.5, 0.5, 0.5] for _ in range(num_equal)))
    kept = curves.kept(3 * num_equal, 3 * num_equal - 1)
    assert kept == [row for row in range(3 * num_equal) if row != 3 * num_equal - 3]
