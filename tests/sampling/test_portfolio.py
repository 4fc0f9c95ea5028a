"""Which points of earlier runs are tried first: regrets on each run's own scale, and the greedy choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from search.sampling.portfolio import EarlierRun, most_points, portfolio_of, within
from search.sampling.proposal import EarlierTrial
from search.space import Space
from tests.support.toy_runs import defaults_of, made_space
from trainables.core.contract import Mode

CONDITIONAL = """
parameters:
  optimizer: {values: [sgd, adamw]}
  lr: {min: 0.01, max: 1.01}
  momentum: {min: 0.0, max: 0.9}
search:
  trainable: classification
  data: digits
  when: {momentum: {optimizer: sgd}}
"""


def line(folder: Path) -> Space:
    """A space of one number from 0.1 to 1.1."""
    text = "parameters: {lr: {min: 0.1, max: 1.1}}\nsearch: {trainable: toy, data: none}"
    return made_space(folder, text)


def trial(
    hparams: Mapping[str, Any], *values: float, status: str = "paused", cause: str = ""
) -> EarlierTrial:
    """A trial with these values at the ends of rungs of 1, 3 and 9 epochs."""
    known = dict(zip((1, 3, 9), values, strict=False))
    return EarlierTrial(hparams=hparams, values=known, status=status, cause=cause)  # type: ignore[arg-type]


def run_of(*values: Sequence[float] | float, name: str = "a", mode: Mode = "max") -> EarlierRun:
    """A run whose trials have these values, at points that do not matter."""
    rows = [value if isinstance(value, Sequence) else [value] for value in values]
    trials = {f"trial-{n:04d}": trial({"lr": 0.1 + 0.01 * n}, *row) for n, row in enumerate(rows)}
    return EarlierRun(name=name, mode=mode, trials=trials)


def placed(name: str, scores: Mapping[float, float]) -> EarlierRun:
    """A run with this score at each learning rate, all at the lowest rung."""
    trials = {f"trial-{n:04d}": trial({"lr": lr}, score) for n, (lr, score) in enumerate(scores.items())}
    return EarlierRun(name=name, mode="max", trials=trials)


def sources(space: Space, runs: Sequence[EarlierRun], count: int = 8) -> list[str]:
    return [point.source for point in portfolio_of(runs, space, defaults_of(space), count=count)]


def regrets(run: EarlierRun) -> list[float]:
    return [round(regret, 6) for regret in run.regrets.values()]


def test_regret_is_0_for_the_best_and_1_for_the_median() -> None:
    assert regrets(run_of(0.9, 0.7, 0.8, 0.75, 0.5)) == [0.0, 1.333333, 0.666667, 1.0, 2.666667]


def test_of_a_loss_smaller_is_better() -> None:
    assert regrets(run_of(1.0, 2.0, 3.0, 4.0, 5.0, mode="min")) == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_what_is_far_below_the_median_has_3() -> None:
    assert regrets(run_of(0.9, 0.89, 0.88, 0.87, 0.1)) == [0.0, 0.5, 1.0, 1.5, 3.0]


def test_values_are_compared_at_the_highest_rung_that_five_trials_ended_and_others_pay_a_quarter_a_rung() -> (
    None
):
    top = [[0.1, 0.2 + 0.1 * n] for n in range(5)]  # five at the second rung, alike at the first
    low = [[0.1], [0.05]]
    # At the first rung best and median are 0.1: what lies below is lost.
    assert regrets(run_of(*top, *low)) == [2.0, 1.5, 1.0, 0.5, 0.0, 0.25, 3.0]


def test_a_rung_that_four_trials_ended_is_not_used() -> None:
    run = run_of([1.0, 0.1], [2.0, 0.2], [3.0, 0.3], [4.0, 0.4], [5.0])
    assert regrets(run) == [2.0, 1.5, 1.0, 0.5, 0.0]


def test_a_run_without_five_results_at_a_rung_has_no_regrets() -> None:
    assert run_of(1.0, 2.0, 3.0, 4.0).regrets == {}


def test_where_all_values_are_equal_all_are_best() -> None:
    assert regrets(run_of(*[0.5] * 6)) == [0.0] * 6


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        (trial({"lr": 0.5}, 0.99, status="diverged"), 3.0),
        (trial({"lr": 0.5}, status="diverged", cause="diverged"), 3.0),
        (trial({"lr": 0.5}, 0.99, status="failed", cause="out_of_memory"), 3.0),
        (trial({"lr": 0.5}, 0.99, status="infeasible", cause="constraint"), 3.0),
        (trial({"lr": 0.5}, status="failed", cause="crash"), None),
        (trial({"lr": 0.5}, 0.99, status="failed", cause="crash"), None),  # after its first rung
        (trial({"lr": 0.5}), None),
    ],
)
def test_diverged_trials_have_3_and_what_failed_otherwise_says_nothing(
    lost: EarlierTrial, found: float | None
) -> None:
    run = run_of(0.1, 0.2, 0.3, 0.4, 0.5)
    with_it = EarlierRun(name="a", mode="max", trials={**run.trials, "trial-0005": lost})
    assert with_it.regrets.get("trial-0005") == found
    assert {name: with_it.regrets[name] for name in run.trials} == run.regrets


def test_with_one_run_the_portfolio_is_its_best_quarter_without_near_duplicates(tmp_path: Path) -> None:
    scores = {0.2: 0.90, 0.25: 0.89, 0.6: 0.88, 0.9: 0.87, 1.0: 0.1, 1.02: 0.1, 1.04: 0.1, 1.06: 0.1}
    more = {0.3 + 0.01 * n: 0.05 for n in range(8)}
    # Of 16 trials four are candidates, and 0.25 is 0.05 from 0.2 in a range of 1.
    run = placed("a", {**scores, **more})
    assert sources(line(tmp_path), [run]) == ["a/trial-0000", "a/trial-0002", "a/trial-0003"]


def test_the_greedy_choice_covers_each_run_before_it_repeats_one(tmp_path: Path) -> None:
    low = {0.2: 1.0, 0.35: 0.95, 0.5: 0.5, 0.65: 0.4, 0.8: 0.3, 0.95: 0.2, 1.1: 0.1}
    high = {0.2: 0.1, 0.35: 0.2, 0.5: 0.3, 0.65: 0.4, 0.8: 0.5, 0.95: 0.95, 1.1: 1.0}
    runs = [placed("low", low), placed("high", high)]
    # Candidates: 0.2 and 0.35 of low, 1.1 and 0.95 of high. All were tried by both, so nothing is guessed.
    # low: best 1.0, median 0.4, so 0.2 has 0, 0.35 0.083, 0.95 1.333, 1.1 1.5; high is its mirror image.
    # First 0.35 and 0.95 are equal at (0.083 + 1.333) / 2 = 0.708, below 0.75: the older comes first. Then
    # 1.1 takes high's regret to 0, where 0.95 would leave 0.083; then 0.2 takes low's to 0.
    assert sources(line(tmp_path), runs, 3) == ["low/trial-0001", "high/trial-0006", "low/trial-0000"]


def test_a_point_that_a_run_did_not_try_has_the_mean_regret_of_its_five_nearest_and_three_tenths(
    tmp_path: Path,
) -> None:
    # Of `far` 0.2 is unknown: its five nearest have 0, 0.5, 1, 1.5 and 2, so 1 + 0.3. Its own best, 0.7, is
    # unknown to `near`, whose five nearest have 2, 1.5, 1, 0.5, and 0: 1.3 as well.
    near = placed("near", {0.2: 1.0, 0.22: 0.9, 0.24: 0.8, 0.26: 0.7, 0.28: 0.6})
    far = placed("far", {0.7: 1.0, 0.72: 0.9, 0.74: 0.8, 0.76: 0.7, 0.78: 0.6})
    # Alone each leaves (0 + 1.3) / 2; equal, so the older. 0.22 and 0.72 are near-duplicates.
    assert sources(line(tmp_path), [near, far]) == ["near/trial-0000", "far/trial-0000"]
    assert sources(line(tmp_path), [far, near]) == ["far/trial-0000", "near/trial-0000"]


def test_repeats_of_a_point_count_with_their_mean(tmp_path: Path) -> None:
    trials = [trial({"lr": lr}, score) for lr, score in [(0.2, 1.0), (0.2, 0.0), (0.5, 0.9), (0.5, 0.9)]]
    trials += [trial({"lr": 0.8}, 0.5) for _ in range(4)]
    run = EarlierRun(name="a", mode="max", trials={f"t{n}": each for n, each in enumerate(trials)})
    # 0.2 was best by luck and then last: (0 + 2) / 2, where 0.5 has 0.2.
    assert sources(line(tmp_path), [run]) == ["a/t2", "a/t0"]


def test_points_outside_of_the_space_are_left_out_and_a_wider_space_takes_them_as_they_are(
    tmp_path: Path,
) -> None:
    scores = {0.05: 1.0, 1.5: 0.9, 0.3: 0.8, **{0.9 + 0.01 * n: 0.1 for n in range(9)}}
    assert sources(line(tmp_path), [placed("a", scores)]) == ["a/trial-0002"]
    wide = made_space(
        tmp_path, "parameters: {lr: {min: 0.01, max: 2.0}}\nsearch: {trainable: toy, data: none}"
    )
    assert sources(wide, [placed("a", scores)]) == ["a/trial-0000", "a/trial-0001", "a/trial-0002"]


def test_a_parameter_that_was_not_there_takes_its_default_and_what_a_condition_switches_off_is_left_out(
    tmp_path: Path,
) -> None:
    space = made_space(tmp_path, CONDITIONAL)
    defaults = defaults_of(space)
    assert within(space, defaults, {"lr": 0.5}) == {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9}
    assert within(space, defaults, {"optimizer": "adamw", "lr": 0.5, "momentum": 0.3}) == {
        "optimizer": "adamw",
        "lr": 0.5,
    }
    assert within(space, defaults, {"optimizer": "adam", "lr": 0.5}) is None
    assert within(space, defaults, {"optimizer": "sgd", "lr": 0.5, "momentum": 0.99}) is None


def test_conditional_points_are_chosen_by_name_and_value(tmp_path: Path) -> None:
    space = made_space(tmp_path, CONDITIONAL)
    rows = [("adamw", 0.5, 0.2), ("sgd", 0.5, 0.2), ("adamw", 0.55, 0.1), ("sgd", 0.5, 0.25)]
    rows += [("sgd", 0.9, 0.8)] * 12
    trials = {
        f"t{n}": trial({"optimizer": optimizer, "lr": lr, "momentum": momentum}, 1.0 - 0.01 * n)
        for n, (optimizer, lr, momentum) in enumerate(rows)
    }
    # t2 is adamw too and 0.05 away: a momentum that is switched off sets no two points apart.
    assert sources(space, [EarlierRun(name="a", mode="max", trials=trials)]) == ["a/t0", "a/t1"]


def test_the_same_point_of_two_runs_is_there_once_from_the_older(tmp_path: Path) -> None:
    scores = {0.3: 1.0, 0.5: 0.5, 0.6: 0.4, 0.7: 0.3, 0.8: 0.2}
    assert sources(line(tmp_path), [placed("old", scores), placed("new", scores)])[:1] == ["old/trial-0000"]


def test_a_run_whose_trials_all_diverged_gives_no_point(tmp_path: Path) -> None:
    trials = {f"t{n}": trial({"lr": 0.2 + 0.1 * n}, 0.5, status="diverged") for n in range(6)}
    assert sources(line(tmp_path), [EarlierRun(name="a", mode="max", trials=trials)]) == []


@pytest.mark.parametrize(("trials", "most"), [(None, 8), (100, 8), (32, 8), (31, 7), (12, 3), (4, 1), (3, 0)])
def test_a_portfolio_has_at_most_eight_points_and_a_quarter_of_the_trials(
    trials: int | None, most: int
) -> None:
    assert most_points(trials) == most
