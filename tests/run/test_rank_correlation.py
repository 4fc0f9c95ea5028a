"""Rank correlation between rungs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.ledger.history import TrialRecord
from search.rank_correlation import rung_correlations, spearman
from search.trial import EpochRow


def trial(number: int, *values: float) -> TrialRecord:
    rows = [
        EpochRow(epoch=rung + 1, rung=rung, completes_rung=True, metrics={"val_accuracy": value}, seconds=1.0)
        for rung, value in enumerate(values)
    ]
    return TrialRecord(f"trial-{number:04d}", number, "sampler", {}, 0, 0.0, rows=rows)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_spearman_is_scipys_with_ties_and_0_for_a_constant(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert spearman(first, second) == 0.0
    else:
        assert math.isclose(spearman(first, second), stats.spearmanr(first, second).statistic, abs_tol=1e-9)


def test_rungs_that_agree_are_trusted() -> None:
    trials = [trial(number, 0.1 * number, 0.1 * number + 0.5) for number in range(10)]
    (trust,) = rung_correlations(trials, "val_accuracy", "max", num_rungs=2)
    assert (trust.num_trials, trust.overall and trust.overall.value) == (10, pytest.approx(1.0))
    assert trust.better_half
    assert (trust.better_half.value, trust.better_half.high) == (pytest.approx(1.0), 1.0)
    assert trust.better_half.low == pytest.approx(0.160805, abs=1e-6)  # five trials prove little
    assert trust.overall
    assert trust.overall.low == pytest.approx(0.963499, abs=1e-6)
    assert trust.warning is None


def test_a_better_half_that_is_turned_over_is_warned_of_though_the_whole_looks_well() -> None:
    upper = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.8, 0.7, 0.65, 0.6]
    trials = [trial(number, 0.1 * number, value) for number, value in enumerate(upper)]
    (trust,) = rung_correlations(trials, "val_accuracy", "max", num_rungs=2)
    assert trust.overall
    assert trust.overall.value > 0.7
    assert trust.better_half
    assert trust.better_half.value == pytest.approx(-1.0)
    assert trust.warning
    assert "rung 0 ranks the better half of 10 trials unlike rung 1 (Spearman -1.00" in trust.warning


def test_the_better_half_of_a_loss_is_its_lower_half() -> None:
    upper = [0.6, 0.65, 0.7, 0.8, 0.9, 5, 4, 3, 2, 1]
    trials = [trial(number, 0.1 * number, value) for number, value in enumerate(upper)]
    (trust,) = rung_correlations(trials, "val_accuracy", "min", num_rungs=2)
    assert trust.better_half
    assert trust.better_half.value == pytest.approx(1.0)


def test_too_few_trials_say_nothing() -> None:
    trials = [trial(0, 0.1, 0.2), trial(1, 0.2, 0.1), trial(2, 0.3), trial(3, 0.4, math.nan)]
    (trust,) = rung_correlations(trials, "val_accuracy", "max", num_rungs=2)
    assert (trust.num_trials, trust.overall, trust.warning) == (2, None, None)


def test_the_interval_of_one_run_is_always_the_same() -> None:
    trials = [trial(number, (number * 7) % 10, (number * 3) % 10) for number in range(10)]
    assert rung_correlations(trials, "val_accuracy", "max", num_rungs=2) == rung_correlations(
        trials, "val_accuracy", "max", num_rungs=2
    )


def test_control_trials_of_a_rung_are_counted_there() -> None:
    trials = [trial(number, 0.1 * number, 0.1 * number, 0.1 * number) for number in range(4)]
    trials[0].control_rungs.append(1)
    assert [
        trust.num_control_trials for trust in rung_correlations(trials, "val_accuracy", "max", num_rungs=3)
    ] == [
        0,
        1,
    ]


def test_an_interval_that_leaves_everything_open_is_reported_to_prove_nothing() -> None:
    values = [(0.1, 0.3), (0.2, 0.1), (0.3, 0.2), (0.4, 0.4)]
    trials = [trial(number, low, high) for number, (low, high) in enumerate(values)]
    (trust,) = rung_correlations(trials, "val_accuracy", "max", num_rungs=2)
    assert trust.overall
    assert (trust.overall.low, trust.overall.high) == (
        pytest.approx(-0.923632, abs=1e-6),
        pytest.approx(0.985522, abs=1e-6),
    )
    assert trust.warning
    assert trust.warning.startswith(
        "too few to tell whether rung 0 ranks 4 trials like rung 1 (Spearman 0.40, -0.92 to 0.99)"
    )
