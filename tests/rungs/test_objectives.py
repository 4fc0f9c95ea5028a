"""Several objectives, and several brackets."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.rungs import Rungs
from search.rungs.results import best_first, crowding_distances, dominates, front_of_each

FRONT = {"a": (1.0, 5.0), "b": (2.0, 4.0), "c": (3.0, 3.0), "d": (5.0, 1.0)}
SCORES = st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 2), max_size=25)


def test_crowding_is_the_room_between_the_neighbours() -> None:
    assert crowding_distances(FRONT.values()) == {
        (1.0, 5.0): math.inf,
        (2.0, 4.0): 2 / 4 + 2 / 4,
        (3.0, 3.0): 3 / 4 + 3 / 4,
        (5.0, 1.0): math.inf,
    }


def test_several_objectives_rank_by_front_then_by_room_then_by_age() -> None:
    assert best_first({"worse": (0.0, 0.0), "bad": (1.0, 1.0)} | FRONT) == [
        "a",
        "d",
        "c",
        "b",
        "bad",
        "worse",
    ]


def test_of_equal_pairs_the_older_one_ranks_first() -> None:
    assert best_first({"a": (1.0, 2.0), "b": (2.0, 1.0), "c": (2.0, 1.0), "d": (1.0, 2.0)}) == list("abcd")


@given(SCORES)
def test_taking_the_undominated_away_again_and_again_gives_the_fronts(
    points: list[tuple[float, float]],
) -> None:
    left = {str(number): point for number, point in enumerate(points)}
    fronts, number = front_of_each(left), 0
    while left:
        front = {name for name, point in left.items() if not any(dominates(o, point) for o in left.values())}
        assert front == {name for name in fronts if fronts[name] == number}
        left = {name: point for name, point in left.items() if name not in front}
        number += 1


@given(SCORES)
def test_no_trial_ranks_before_one_that_dominates_it(points: list[tuple[float, float]]) -> None:
    scores = {str(number): point for number, point in enumerate(points)}
    ranking = best_first(scores)
    assert sorted(ranking) == sorted(scores)
    for place, trial_id in enumerate(ranking):
        assert not any(dominates(scores[later], scores[trial_id]) for later in ranking[place:])


def test_accuracy_and_joules_stop_a_trial_that_is_worse_in_both() -> None:
    rungs = Rungs(2, eta=2, mode=("max", "min"))
    assert rungs.on_result("a", 0, (0.9, 50.0)) == "continue"
    assert rungs.on_result("b", 0, (0.8, 60.0)) == "stop"
    assert rungs.on_result("c", 0, (0.7, 70.0)) == "stop"
    assert rungs.on_result("d", 0, (0.5, 10.0)) == "continue"
    assert rungs.values(0) == {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.5}


@pytest.mark.parametrize("value", [None, (0.5, None), (math.nan, 1.0), (0.5, math.inf)])
def test_one_missing_objective_stops_a_trial(value: tuple[float | None, ...] | None) -> None:
    rungs = Rungs(2, eta=2, mode=("max", "min"))
    assert rungs.on_result("a", 0, value) == "stop"
    assert rungs.counts() == [0, 0]


@pytest.mark.parametrize("value", [0.5, (0.5,), (0.5, 1.0, 2.0)])
def test_another_number_of_objectives_is_refused(value: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a result needs 2 values, one per objective, got"):
        Rungs(2, eta=2, mode=("max", "min")).on_result("a", 0, value)


def test_brackets_have_hyperbands_proportions_in_any_stretch() -> None:
    # Hyperband for 3 rungs and eta 3 has 9, 4.5 and 3 trials: 6 to 3 to 2.
    rungs = Rungs(3, eta=3, mode="max", num_brackets=3)
    brackets = [rungs.bracket_of(number) for number in range(1100)]
    assert brackets[0] == 0
    assert Counter(brackets) == {0: 600, 1: 300, 2: 200}
    assert Counter(brackets[500:522]) == {0: 12, 1: 6, 2: 4}


@pytest.mark.parametrize("arguments", [{"eta": 3}, {"eta": None, "num_brackets": 3}])
def test_there_is_one_bracket_unless_several_can_differ(arguments: dict) -> None:
    rungs = Rungs(3, mode="max", **arguments)
    assert {rungs.bracket_of(number) for number in range(100)} == {0}


def test_below_its_bracket_a_trial_continues_uncounted_unless_it_is_not_a_number() -> None:
    rungs = Rungs(3, eta=3, mode="max", kind="asha", num_brackets=2)
    assert rungs.on_result("a", 0, 0.1, bracket=1) == "continue"
    assert rungs.on_result("b", 0, math.nan, bracket=1) == "stop"
    assert rungs.counts() == [0, 0, 0]
    assert rungs.on_result("a", 1, 0.1, bracket=1) == "pause"


def test_brackets_compare_at_the_rungs_they_share() -> None:
    rungs = Rungs(3, eta=2, mode="max", num_brackets=2)
    rungs.on_result("a", 0, 0.9)
    assert rungs.on_result("a", 1, 0.9) == "continue"
    assert rungs.on_result("b", 1, 0.8, bracket=1) == "stop"


MEASURED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 2)), max_size=20)


@given(MEASURED)
def test_with_uncertainty_each_stands_one_front_behind_the_last_that_dominates_it(
    points: list[tuple[int, int, int]],
) -> None:
    scores = {str(number): (float(metric), -float(cost)) for number, (metric, cost, _) in enumerate(points)}
    uncerts = {str(number): float(uncert) for number, (*_, uncert) in enumerate(points)}
    fronts = front_of_each(scores, uncerts)
    for name, front in fronts.items():
        behind = [
            fronts[other]
            for other in scores
            if dominates(scores[other], scores[name], uncerts[other] + uncerts[name])
        ]
        assert front == max(behind, default=-1) + 1


def test_a_difference_within_the_uncertainty_of_both_is_a_tie() -> None:
    assert dominates((0.5, -10.0), (0.5, -10.5))
    assert not dominates((0.5, -10.0), (0.5, -10.5), 0.5)
    assert dominates((0.5, -10.0), (0.5, -10.6), 0.5)
    assert dominates((0.6, -10.4), (0.5, -10.0), 0.5)


def test_trials_that_tie_in_joules_rank_by_metric_and_age() -> None:
    scores = {"a": (0.5, -10.0), "b": (0.6, -10.4), "c": (0.5, -9.8), "d": (0.5, -10.2)}
    assert best_first(scores, dict.fromkeys(scores, 0.4)) == ["b", "a", "c", "d"]


def test_of_joules_that_tie_the_more_accurate_trial_continues() -> None:
    rungs = Rungs(2, eta=1.5, mode=("max", "min"))
    assert rungs.on_result("a", 0, (0.9, 50.0), uncertainty=3.0) == "continue"
    assert rungs.on_result("b", 0, (0.8, 45.0), uncertainty=3.0) == "stop"
    assert rungs.on_result("c", 0, (0.8, 43.0), uncertainty=3.0) == "continue"
