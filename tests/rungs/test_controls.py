"""Control trials are bounded by what they train, and go where they can be afforded."""

from __future__ import annotations

import math

import pytest

from search.budget import Ladder
from search.rungs import Rungs
from trainables.core.contract import Budget

EPOCHS = [1, 2, 6, 18, 54]  # to complete each rung of a ladder that ends after 1, 3, 9, 27 and 81


def falling(rungs: Rungs, num: int, rung: int = 0, first: int = 0) -> list[str]:
    """Results of `num` trials, each worse than the one before."""
    return [rungs.on_result(f"trial-{number}", rung, -float(number)) for number in range(first, first + num)]


def test_a_control_trial_comes_when_its_rungs_share_of_the_fraction_pays_for_it() -> None:
    rungs = Rungs(5, eta=3, mode="max", kind="asha", control_fraction=0.03, costs=EPOCHS)
    decisions = falling(rungs, 300)
    # Rungs 0 and 1 may have some: 0.015 of the epochs each. A control of rung 0 trains 2: every 133 1/3
    # results.
    assert [number for number, each in enumerate(decisions, start=1) if each == "control"] == [134, 267]


def test_control_trials_never_train_more_than_their_fraction_of_all_epochs() -> None:
    rungs = Rungs(5, eta=3, mode="max", kind="asha", control_fraction=0.03, costs=EPOCHS)
    spent = in_controls = 0
    for number in range(2000):
        trial_id, rung = f"trial-{number}", 0
        while True:
            spent += EPOCHS[rung]
            decision = rungs.on_result(trial_id, rung, math.sin(number) - rung)
            if decision == "control":
                in_controls += EPOCHS[rung + 1]
                assert in_controls <= 0.03 * spent
            if decision == "pause":
                promoted = rungs.choose_paused()
                if promoted is None:
                    break
                trial_id, rung = promoted, sum(promoted in rungs.values(each) for each in range(5))
            elif decision == "stop":
                break
            else:
                rung += 1
    assert 0.02 * spent < in_controls


def test_no_control_trial_goes_to_the_two_highest_rungs_before_one_has_ended_the_ladder() -> None:
    rungs = Rungs(4, eta=3, mode="max", kind="asha", control_fraction=1.0)
    assert falling(rungs, 4, rung=1) == ["pause"] * 4
    rungs.on_result("whole", 3, 1.0)
    assert falling(rungs, 1, rung=1, first=4) == ["control"]


def test_a_control_trial_goes_one_rung_further_and_no_more() -> None:
    rungs = Rungs(5, eta=2, mode="max", kind="asha", control_fraction=1.0)
    rungs.on_result("whole", 4, 1.0)
    decisions = falling(rungs, 3)
    assert decisions[0] == "pause"
    last = decisions.index("control")
    assert rungs.on_result(f"trial-{last}", 1, 0.2) == "pause"


def test_a_trial_that_passes_by_its_value_is_no_control_trial() -> None:
    rungs = Rungs(2, eta=3, mode="max", control_fraction=1.0)
    rungs.on_result("whole", 1, 1.0)
    values = [("a", 1.0), ("b", 2.0), ("c", 0.0)]
    assert [rungs.on_result(name, 0, value) for name, value in values] == ["continue", "continue", "control"]


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_missing_result_makes_no_control_trial_and_pays_for_none(value: float | None) -> None:
    rungs = Rungs(2, eta=3, mode="max", control_fraction=1.0)
    assert [rungs.on_result(f"broken-{number}", 0, value) for number in range(9)] == ["stop"] * 9
    rungs.on_result("whole", 1, 1.0)
    assert falling(rungs, 2) == ["continue", "control"]


def test_the_costs_of_a_ladder_are_epochs_at_the_tops_budget_or_joules() -> None:
    plain = Ladder(tuple(Budget(epochs=epochs) for epochs in (1, 3, 9)))
    assert plain.costs == [1, 2, 6]
    own = Ladder(tuple(Budget(epochs=epochs) for epochs in (1, 3, 9)), horizon="rung")
    assert own.costs == [1, 3, 9]
    growing = Ladder(
        (Budget(epochs=2, subset=0.25, resolution=32), Budget(epochs=4, subset=1.0, resolution=64))
    )
    assert growing.costs == [2 * 0.25 * 0.25, 2]
    joules = Ladder((Budget(epochs=9),) * 3, joules=(100.0, 300.0, 1000.0))
    assert joules.costs == [100, 200, 700]
