"""Grow: the top rung is raised while the ranking of the top two rungs is unstable."""

from __future__ import annotations

import math

import pytest

from search.rungs import Rungs
from search.rungs.growth import Growth, criss_cross_gap


def growing(
    lower: list[float], upper: list[float], *, epsilon: float | None = 0.0, num_rungs: int = 4
) -> Rungs:
    """Rungs where a, b, c, ... have ended the lowest two rungs with these values."""
    rungs = Rungs(num_rungs, eta=2, mode="max", kind="pasha", epsilon=epsilon)
    for rung, values in enumerate((lower, upper)):
        for trial_id, value in zip("abcd", values, strict=False):
            rungs.on_result(trial_id, rung, value)
    return rungs


def test_the_second_rung_is_the_top_as_long_as_both_rank_alike() -> None:
    rungs = growing([0.3, 0.2, 0.1], [0.6, 0.5, 0.4])
    assert rungs.top_rung == 1
    assert rungs.choose_paused() is None


def test_a_swap_raises_the_top_rung_by_one() -> None:
    rungs = growing([0.3, 0.2], [0.5, 0.6])
    assert rungs.top_rung == 2
    assert rungs.choose_paused() == "b"


@pytest.mark.parametrize(("epsilon", "top_rung"), [(0.125, 1), (0.12, 2)])
def test_a_swap_within_the_noise_does_not(epsilon: float, top_rung: int) -> None:
    assert growing([0.375, 0.25], [0.5, 0.6], epsilon=epsilon).top_rung == top_rung


def test_trials_that_only_the_lower_rung_has_do_not_matter() -> None:
    assert growing([0.3, 0.9, 0.1], [0.6]).top_rung == 1


def test_a_trial_pauses_at_the_top_rung_because_it_may_be_raised() -> None:
    rungs = growing([0.3, 0.2], [0.6])
    assert rungs.on_result("b", 1, 0.5) == "pause"
    assert rungs.can_continue("b", num_open=2)


def test_the_last_rung_of_the_ladder_is_never_passed() -> None:
    rungs = growing([0.3, 0.2], [0.5, 0.6], num_rungs=2)
    assert rungs.top_rung == 1
    assert rungs.on_result("c", 1, 0.1) == "stop"


def test_a_ladder_of_one_rung_has_nothing_to_grow() -> None:
    rungs = Rungs(1, eta=2, mode="max", kind="pasha")
    assert (rungs.top_rung, rungs.on_result("a", 0, 0.1)) == (0, "stop")


def test_the_last_call_passes_the_top_rung_and_does_not_raise_it() -> None:
    rungs = growing([0.3, 0.2], [0.6, 0.5])
    for rung, decision in [(2, "pause"), (3, "stop")]:
        assert rungs.choose_paused(is_last_call=True) == "a"
        assert rungs.on_result("a", rung, 0.7) == decision
    assert rungs.choose_paused(is_last_call=True) is None
    assert rungs.top_rung == 1


def test_curves_that_cross_back_and_forth_make_a_swap_of_that_size_noise() -> None:
    # a leads, trails, leads: 0.0625 apart at the end. The swap of rung 0 is 0.0625 wide as well.
    def rungs_with(curves: dict[str, list[float]]) -> Rungs:
        rungs = Rungs(3, eta=2, mode="max", kind="pasha")
        for trial_id, curve in curves.items():
            for value in curve:
                rungs.on_epoch(trial_id, value)
        for rung in (0, 1):
            for trial_id, curve in curves.items():
                rungs.on_result(trial_id, rung, curve[rung + 1])
        return rungs

    assert rungs_with({"a": [0.125, 0.25, 0.5625], "b": [0.0, 0.3125, 0.5]}).top_rung == 1
    assert rungs_with({"a": [0.125, 0.25, 0.5625], "b": [0.25, 0.3125, 0.5]}).top_rung == 2


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        ([1.0, 2.0, 3.0], [0.0, 2.5, 2.75], 0.25),
        ([1.0, 2.0, 3.0, 9.0], [0.0, 2.5, 2.75], 0.25),
        ([1.0, 2.0, 3.0], [0.0, 2.5, 3.5], None),
        ([1.0, 2.0, 3.0], [0.0, 2.0, 2.75], None),
        ([1.0, math.nan, 2.0, 3.0], [0.0, 7.0, 2.5, 2.75], 0.25),
        ([], [1.0], None),
    ],
)
def test_the_gap_of_a_pair_counts_only_if_it_criss_crosses(
    one: list[float], other: list[float], gap: float | None
) -> None:
    assert criss_cross_gap(one, other) == gap


def test_epsilon_is_the_ninetieth_percentile_of_the_gaps() -> None:
    # Against c, a ends 1 apart and b 2; a and b do not cross: 1 + 0.9 * (2 - 1).
    growth = Growth(None)
    curves = {"a": [1.0, -1.0, 1.0], "b": [2.0, -0.5, 2.0], "c": [0.0, 0.0, 0.0]}
    for trial_id, curve in curves.items():
        for value in curve:
            growth.on_epoch(trial_id, value)
    scores = {trial_id: (curve[-1],) for trial_id, curve in curves.items()}
    assert not growth.is_unstable(lower=scores, upper=scores)
    assert growth.epsilon == 1.9


def test_an_epsilon_once_estimated_stays_where_no_pair_criss_crosses() -> None:
    growth = Growth(None)
    for value_a, value_b in [(1.0, 0.0), (0.0, 1.0), (1.5, 1.0)]:
        growth.on_epoch("a", value_a)
        growth.on_epoch("b", value_b)
    both = {"a": (1.5,), "b": (1.0,)}
    growth.is_unstable(lower=both, upper=both)
    growth.is_unstable(lower={"c": (1.0,)}, upper={"c": (1.0,)})
    assert growth.epsilon == 0.5
