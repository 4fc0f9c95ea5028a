"""What a further trial is expected to gain, and the noise that it is measured by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from search.freeze_thaw.expected_gain import Curve, Steps, gain_of, noise_between_epochs
from search.freeze_thaw.points import Points
from tests.support.toy_runs import made_space

GRID = [1, 2, 3, 4, 5, 7, 9]
STEPS = Steps(grid=GRID, rungs=[1, 3], eta=3)
ONE = """
parameters: {lr: {min: 0.001, max: 1.0}}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3, 9]}}
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Points:
    space = made_space(tmp_path_factory.mktemp("gain"), ONE)
    return Points(space, {"lr": 0.5, "batch_size": 64, "noise": 0.0})


def of_epochs(*values: float) -> Curve:
    return Curve(hparams={}, values=dict(enumerate(values, start=1)), epochs=values)


def test_a_bend_has_no_noise_and_a_saw_has_that_of_its_teeth() -> None:
    bend, saw = [0.1 * epoch - 0.01 * epoch**2 for epoch in range(8)], [0.5, 0.6] * 4
    assert noise_between_epochs([of_epochs(*bend), of_epochs(*bend)], 8) == pytest.approx(0.0, abs=1e-12)
    assert noise_between_epochs([of_epochs(*saw)], 8) == pytest.approx(0.4 * 1.4826 / math.sqrt(20))


def test_noise_is_that_of_the_better_half_at_the_top_late_in_training() -> None:
    calm, wild = [0.1, 0.9, 0.1, 0.8, 0.8, 0.8, 0.8, 0.8], [0.5, 0.5, 0.5, 0.1, 0.5, 0.1, 0.5, 0.1]
    short = of_epochs(0.1, 0.9, 0.1)
    assert noise_between_epochs([of_epochs(*calm), of_epochs(*calm), of_epochs(*wild), short], 8) == 0.0


@pytest.mark.parametrize(
    ("values", "top"),
    [
        ((0.5, 0.6, 0.5, 0.6, 0.5, 0.6), 6),
        ([0.5, 0.6] * 4, 9),
        ((0.1, 0.2, 0.3, 0.4, 0.4, math.nan, 0.5, 0.5), 8),
        ((), 1),
    ],
    ids=["three epochs in the second half", "none at the top", "not finite", "no epoch"],
)
def test_of_too_few_epochs_in_a_row_no_noise_is_known(values: Sequence[float], top: int) -> None:
    assert noise_between_epochs([of_epochs(*values)], top) is None


def curves_by(
    value: Callable[[float, int], float], last: Mapping[float, int], noise: float = 0.0
) -> list[Curve]:
    """A trial at each lr, trained for some epochs."""
    chance = np.random.default_rng(3)
    found = []
    for lr, epochs in last.items():
        shown = [value(lr, epoch) + noise * chance.normal() for epoch in range(1, epochs + 1)]
        hparams = {"lr": lr, "batch_size": 64, "noise": 0.0}
        found.append(Curve(hparams=hparams, values=dict(enumerate(shown, start=1)), epochs=shown))
    return found


def hill(lr: float, epoch: int) -> float:
    """Best at 0.6, where it ends at 0.9."""
    return (0.9 - 2 * (lr - 0.6) ** 2) * (1 - 0.6 ** (epoch + 1))


def test_around_a_well_known_hill_nothing_is_left_to_gain_and_beside_it_much_is(points: Points) -> None:
    known = {lr / 20: 9 if 10 <= lr <= 14 else 3 if 6 <= lr <= 16 else 1 for lr in range(1, 21)}
    gain = gain_of(points, STEPS, curves_by(hill, known, noise=0.003), seed=[0])
    assert gain is not None
    assert gain.expected < gain.least
    foot = gain_of(points, STEPS, curves_by(hill, {lr / 40: 9 for lr in range(1, 12)}, noise=0.003), seed=[0])
    assert foot is not None
    assert foot.expected > 3 * foot.least


def test_what_starts_too_low_to_pass_a_rung_is_no_gain(points: Points) -> None:
    """Below 0.5 the first epoch is poor, and no trial there was trained further."""

    def cliff(lr: float, epoch: int) -> float:
        return hill(lr, epoch) if lr >= 0.5 else 0.05 + 0.01 * epoch

    known = {lr / 20: 9 if 10 <= lr <= 14 else 1 for lr in range(1, 21)}
    curves = curves_by(cliff, known, noise=0.003)
    judged = gain_of(points, STEPS, curves, seed=[0])
    unjudged = gain_of(points, Steps(grid=GRID, rungs=[], eta=3), curves, seed=[0])
    assert judged is not None
    assert unjudged is not None
    assert 2 * judged.expected < unjudged.expected


def test_without_noise_two_percent_of_the_distance_from_the_middle_trial_counts(points: Points) -> None:
    """A curve of nine epochs with a bend that differences see: its late epochs are equal here."""

    def settled(lr: float, epoch: int) -> float:
        return hill(lr, min(epoch, 4))

    gain = gain_of(points, STEPS, curves_by(settled, {lr / 10: 9 for lr in range(1, 10)}), seed=[0])
    assert gain is not None
    best, middle = settled(0.6, 9), settled(0.4, 9)  # of nine, as far from 0.6 as 0.8
    assert gain.least == pytest.approx(0.02 * (best - middle))
    assert gain.least_is == "2 % of the distance from the median trial to the best"


@pytest.mark.parametrize("worst", [math.nan, math.inf, -1e9])
def test_a_diverged_trial_changes_no_scale(points: Points, worst: float) -> None:
    known = {lr / 20: 9 if 10 <= lr <= 14 else 3 for lr in range(1, 21)}
    diverged = Curve(
        hparams={"lr": 0.97, "batch_size": 64, "noise": 0.0},
        values={1: worst},
        epochs=[worst],
        has_result=False,
    )
    curves = curves_by(hill, known, noise=0.003)
    without, gain = (gain_of(points, STEPS, each, seed=[0]) for each in (curves, [*curves, diverged]))
    assert without is not None
    assert gain is not None
    assert gain.least == pytest.approx(without.least, rel=0.1)
    assert 0 <= gain.expected < 0.01


def test_where_no_trial_has_come_to_the_top_nothing_is_said(points: Points) -> None:
    assert gain_of(points, STEPS, curves_by(hill, {0.1: 3, 0.5: 1}), seed=[0]) is None


def test_values_that_are_all_equal_leave_a_number(points: Points) -> None:
    gain = gain_of(
        points, STEPS, curves_by(lambda lr, epoch: 0.5, {lr / 10: 9 for lr in range(1, 8)}), seed=[0]
    )
    assert gain is not None
    assert math.isfinite(gain.expected)
    assert gain.least == 0.0
