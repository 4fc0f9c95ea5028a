"""Which trials continue at a rung."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.rungs import Rungs

NAN = math.nan


def decisions(
    values: list[float], *, eta: float | None = 3, mode: str = "max", num_rungs: int = 3
) -> list[str]:
    rungs = Rungs(num_rungs, eta=eta, mode=mode)
    return [rungs.on_result(f"trial-{number}", 0, value) for number, value in enumerate(values)]


def test_the_first_trial_continues_and_a_worse_second_one_stops() -> None:
    assert decisions([0.5, 0.4]) == ["continue", "stop"]


def test_one_in_eta_continues_when_trials_come_best_first() -> None:
    assert decisions([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], eta=3) == [
        "continue",
        "stop",
        "stop",
        "stop",
        "stop",
        "stop",
    ]


def test_with_six_results_the_second_best_continues() -> None:
    assert decisions([0.9, 0.1, 0.1, 0.1, 0.1, 0.8], eta=3)[-1] == "continue"


def test_of_equal_values_the_older_one_ranks_first() -> None:
    assert decisions([0.5, 0.5, 0.5]) == ["continue", "stop", "stop"]


def test_the_smallest_value_is_best_when_minimizing() -> None:
    assert decisions([0.5, 0.4, 0.6], mode="min") == ["continue", "continue", "stop"]


def test_nan_never_passes_and_never_counts() -> None:
    rungs = Rungs(2, eta=2, mode="max")
    assert [rungs.on_result("a", 0, NAN), rungs.on_result("b", 0, 0.1)] == ["stop", "continue"]
    assert rungs.counts() == [1, 0]


def test_the_top_rung_ends_a_trial() -> None:
    rungs = Rungs(2, eta=2, mode="max")
    assert rungs.on_result("a", 1, 0.9) == "stop"


def test_without_eta_every_trial_runs_the_whole_ladder() -> None:
    assert decisions([0.9, 0.1, 0.5], eta=None) == ["continue", "continue", "continue"]


def test_values_are_given_back_as_they_came() -> None:
    rungs = Rungs(2, eta=2, mode="min")
    rungs.on_result("a", 0, 0.25)
    assert rungs.values(0) == {"a": 0.25}


def test_an_eta_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="eta must be above 1, got 1"):
        Rungs(2, eta=1, mode="max")


@given(st.lists(st.floats(allow_infinity=False), max_size=60), st.sampled_from([2, 3, 4, 2.5]))
def test_the_best_so_far_always_continues_and_replays_decide_alike(values: list[float], eta: float) -> None:
    made = decisions(values, eta=eta)
    assert made == decisions(values, eta=eta)
    best = -math.inf
    for value, decision in zip(values, made, strict=True):
        if math.isnan(value):
            assert decision == "stop"
        elif value > best:
            best = value
            assert decision == "continue"
