"""Budgets, ladders and limits."""

from __future__ import annotations

import pytest

from search.budget import Ladder, Limits, Spent, limit_reached
from trainables.core.contract import Budget, Horizon

LADDER = Ladder(
    (
        Budget(epochs=1, subset=0.25, resolution=14),
        Budget(epochs=3, subset=0.5, resolution=20),
        Budget(epochs=9, subset=1.0, resolution=28),
    )
)


def test_each_epoch_runs_at_the_budget_of_its_rung() -> None:
    assert [LADDER.rung_for(done) for done in range(9)] == [0, 1, 1, 2, 2, 2, 2, 2, 2]


def test_a_smaller_top_keeps_the_proportions_of_the_lower_rungs() -> None:
    small = LADDER.with_top(epochs=6, subset=0.5, resolution=14)
    assert [rung.epochs for rung in small.rungs] == [1, 2, 6]
    assert [rung.subset for rung in small.rungs] == [0.125, 0.25, 0.5]
    assert [rung.resolution for rung in small.rungs] == [7, 10, 14]


def test_a_count_at_the_top_makes_counts_of_the_shares_below() -> None:
    assert [rung.subset for rung in LADDER.with_top(subset=1000).rungs] == [250, 500, 1000]


def test_rungs_that_fall_together_are_merged_into_the_larger_one() -> None:
    assert LADDER.with_top(epochs=1).rungs == (Budget(epochs=1, subset=1.0, resolution=28),)


def test_a_resolution_for_a_ladder_without_one_is_the_same_at_every_rung() -> None:
    ladder = Ladder((Budget(epochs=1), Budget(epochs=2))).with_top(resolution=64)
    assert [rung.resolution for rung in ladder.rungs] == [64, 64]


@pytest.mark.parametrize(
    ("rungs", "message"),
    [
        ([], "at least one rung"),
        ([Budget(epochs=3), Budget(epochs=1)], r"epochs must rise from rung to rung, got \[3, 1\]"),
        ([Budget(epochs=1, subset=0.5), Budget(epochs=2, subset=0.25)], "subset must not fall"),
        ([Budget(epochs=1, subset=0.5), Budget(epochs=2, subset=500)], "all fractions or all counts"),
        ([Budget(epochs=1, resolution=32), Budget(epochs=2)], "for every rung or for none"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(rungs: list[Budget], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ladder(tuple(rungs))


def test_a_budget_names_all_its_problems_at_once() -> None:
    with pytest.raises(ValueError, match=r"epochs must be at least 1, got 0; a subset fraction .* got 1.5"):
        Budget(epochs=0, subset=1.5)


def test_limits_are_named_with_what_was_used() -> None:
    limits = Limits(hours=1, kwh=0.5)
    assert limit_reached(limits, Spent(hours=0.99, energy_j=1_799_999)) is None
    assert limit_reached(limits, Spent(hours=1.0)) == "1 h limit reached (1.00)"
    assert limit_reached(limits, Spent(energy_j=1_810_800)) == "0.50 kWh limit reached (0.503)"


def test_unknown_energy_reaches_no_limit() -> None:
    assert limit_reached(Limits(kwh=0.1), Spent(energy_j=None)) is None


JOULES = Ladder(
    (Budget(epochs=40, subset=0.25), Budget(epochs=40, subset=0.5), Budget(epochs=40, subset=1.0)),
    joules=(0.5, 1.5, 4.5),
)


def test_a_rung_of_joules_ends_with_the_epoch_that_reaches_them() -> None:
    assert JOULES.rung_completed_at(3, 499, at_rung=0) is None
    assert JOULES.rung_completed_at(3, 500, at_rung=0) == 0
    assert JOULES.rung_completed_at(4, 1499, at_rung=1) is None
    assert JOULES.rung_completed_at(9, 4500, at_rung=2) == 2


def test_an_epoch_that_jumps_rungs_ends_the_highest_alone() -> None:
    assert JOULES.rung_completed_at(1, 1600, at_rung=0) == 1
    assert JOULES.rung_completed_at(1, 9000, at_rung=0) == 2


def test_the_cap_of_a_training_ends_the_top_rung_whatever_it_has_used() -> None:
    assert JOULES.rung_completed_at(39, 20, at_rung=0) is None
    assert JOULES.rung_completed_at(40, 20, at_rung=0) == 2


def test_another_cap_leaves_the_joules_and_promotion_the_cap() -> None:
    assert JOULES.with_top(epochs=20).joules == JOULES.joules
    assert [rung.epochs for rung in JOULES.with_top(epochs=20).rungs] == [20, 20, 20]
    assert JOULES.only_top() == Ladder((Budget(epochs=40, subset=1.0),))


def test_the_share_of_an_epoch_in_full_training_is_that_of_its_rung() -> None:
    assert JOULES.work_share_at([0, 0, 1, 2]) == (0.25 + 0.25 + 0.5 + 1.0) / 40


@pytest.mark.parametrize(
    ("epochs", "joules", "horizon", "message"),
    [
        ([9, 9], (5.0, 5.0), "full", r"joules must rise from rung to rung, from above 0, got \[5.0, 5.0\]"),
        ([9, 9], (0.0, 5.0), "full", "joules must rise from rung to rung, from above 0"),
        ([3, 9], (1.0, 5.0), "full", r"epochs must be one number beside joules.* got epochs \[3, 9\]"),
        ([9, 9, 9], (1.0, 5.0), "full", "joules one per rung"),
        ([9, 9], (1.0, 5.0), "rung", "horizon must be full or anytime where rungs are measured in joules"),
    ],
)
def test_a_ladder_of_joules_that_makes_no_sense_is_refused(
    epochs: list[int], joules: tuple[float, ...], horizon: Horizon, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Ladder(tuple(Budget(epochs=count) for count in epochs), horizon, joules)
