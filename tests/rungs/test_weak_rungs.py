"""A rung whose ranking says nothing of the top's is skipped, and followed again when it does."""

from __future__ import annotations

import pytest

from search.rungs import Rungs
from search.rungs.controls import chance_of_weakness


def test_before_anything_is_seen_a_weak_ranking_is_one_in_four() -> None:
    assert chance_of_weakness([], []) == pytest.approx(0.27)
    assert chance_of_weakness([0.9], [1.0]) == pytest.approx(0.27)


def test_equal_scores_and_equal_ranks_say_nothing() -> None:
    assert chance_of_weakness([0.9, 0.1], [1.0, 1.0]) == pytest.approx(0.27)
    assert chance_of_weakness([0.5, 0.5], [1.0, 2.0]) == pytest.approx(0.27)


@pytest.mark.parametrize(("worst", "best"), [(0.1, 0.9), (0.3, 0.95), (0.5, 0.9)])
def test_a_trial_that_was_ranked_low_and_wins_makes_weakness_likely(worst: float, best: float) -> None:
    assert chance_of_weakness([best, worst], [0.5, 0.7]) > 0.5
    assert chance_of_weakness([best, worst], [0.7, 0.5]) < 0.27


def test_what_three_say_two_said_less_surely() -> None:
    two, three = chance_of_weakness([0.9, 0.3], [0, 1]), chance_of_weakness([0.9, 0.95, 0.3], [0, 0.1, 1])
    assert 0.5 < two < three


def test_only_order_matters_and_not_the_unit() -> None:
    percentiles = [0.9, 0.4, 0.7, 0.2]
    scores = [3.0, 1.0, 2.0, 4.0]
    assert chance_of_weakness(percentiles, scores) == chance_of_weakness(
        percentiles, [100 * score**3 for score in scores]
    )


def searched(**options: bool) -> Rungs:
    rungs = Rungs(3, eta=3, mode="max", kind="asha", can_skip_rungs=True, **options)
    for number in range(9):
        rungs.on_asked(f"trial-{number}", number)
        rungs.on_result(f"trial-{number}", 0, float(number))
    return rungs


def climb(rungs: Rungs, trial_id: str, value: float) -> None:
    rungs.on_result(trial_id, 1, value)
    rungs.on_result(trial_id, 2, value)


def test_a_low_ranked_trial_that_wins_at_the_top_lets_new_ones_start_higher_until_one_loses() -> None:
    rungs = searched()
    assert (rungs.start_rung, rungs.choose_paused(), rungs.choose_paused()) == (0, "trial-8", "trial-7")
    climb(rungs, "trial-8", 0.5)
    climb(rungs, "trial-7", 0.4)
    assert rungs.start_rung == 0
    climb(rungs, "trial-1", 0.9)  # a control trial, or one that was never judged
    assert rungs.start_rung == 1
    assert rungs.choose_paused() is None  # not by a ranking that misleads
    for number in range(9, 13):
        name = f"trial-{number}"
        assert rungs.on_asked(name, number) == (1 if number < 10 else 0)
        rungs.on_result(name, 0, number - 9.5)
        climb(rungs, name, (number - 9) / 10 - 1)
    assert rungs.start_rung == 0
    assert rungs.choose_paused() == "trial-6"


def test_what_a_trial_was_started_at_before_a_restart_stands() -> None:
    rungs = searched()
    assert rungs.on_asked("trial-9", 9, start_rung=1) == 1
    assert rungs.on_result("trial-9", 0, 100.0) == "continue"
    assert "trial-9" not in rungs.values(0)
    assert rungs.on_result("trial-9", 1, 100.0) == "pause"


@pytest.mark.parametrize("kind", ["asha", "asha_stopping", "pasha"])
def test_several_objectives_and_a_search_without_rungs_skip_none(kind: str) -> None:
    modes = "max" if kind == "pasha" else ("max", "min")
    rungs = Rungs(3, eta=3, mode=modes, kind=kind, can_skip_rungs=kind != "pasha")  # type: ignore[arg-type]
    for number in range(6):
        value = float(number) if kind == "pasha" else (float(number), 1.0)
        top = -float(number) if kind == "pasha" else (-float(number), 1.0)
        rungs.on_result(f"trial-{number}", 0, value)
        rungs.on_result(f"trial-{number}", 2, top)
    assert rungs.start_rung == 0
