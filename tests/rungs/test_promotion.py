"""Promotion: trials pause at their rung, and the top 1/eta of it continue."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from search.rungs import Kind, Rungs

BEST_FIRST = [float(value) for value in range(27, 0, -1)]
WORST_FIRST = BEST_FIRST[::-1]


def named(values: Sequence[float]) -> dict[str, float]:
    return {f"trial-{number}": value for number, value in enumerate(values)}


def promotions(rungs: Rungs, *, is_last_call: bool = False) -> Iterator[str]:
    """Every promotion that is due."""
    while (trial_id := rungs.choose_paused(is_last_call=is_last_call)) is not None:
        yield trial_id


def play_one_by_one(rungs: Rungs, values: Sequence[float]) -> None:
    """One worker: a promotion where one is due, a new trial otherwise."""
    value_of, rung_of = named(values), dict.fromkeys(named(values), 0)
    new = iter(value_of)
    while (trial_id := rungs.choose_paused() or next(new, None)) is not None:
        while rungs.on_result(trial_id, rung_of[trial_id], value_of[trial_id]) == "continue":
            rung_of[trial_id] += 1
        rung_of[trial_id] += 1


def play_in_waves(rungs: Rungs, values: Sequence[float]) -> None:
    """A worker for each trial: all end their rung before anyone is promoted."""
    value_of, running, rung = named(values), list(named(values)), 0
    while running:
        for trial_id in sorted(running, key=list(value_of).index):
            rungs.on_result(trial_id, rung, value_of[trial_id])
        running, rung = list(promotions(rungs)), rung + 1


def promoting(*values: float | None, num_rungs: int = 3, eta: float = 3) -> Rungs:
    """Rungs where trials named a, b, c, ... have ended rung 0 with `values`."""
    rungs = Rungs(num_rungs, eta=eta, mode="max", kind="asha")
    for trial_id, value in zip("abcdefghi", values, strict=False):
        rungs.on_result(trial_id, 0, value)
    return rungs


@pytest.mark.parametrize("values", [BEST_FIRST, WORST_FIRST])
def test_in_waves_27_trials_become_9_and_3_and_1_in_any_order(values: list[float]) -> None:
    rungs = Rungs(4, eta=3, mode="max", kind="asha")
    play_in_waves(rungs, values)
    assert rungs.counts() == [27, 9, 3, 1]
    assert set(rungs.values(1).values()) == set(range(19, 28))
    assert set(rungs.values(3).values()) == {27}


@pytest.mark.parametrize(
    ("kind", "values", "counts"),
    [
        ("asha", BEST_FIRST, [27, 9, 3, 1]),
        # Each is the best so far, and floor(n / 3) is 1 from the third result of a rung on.
        ("asha", WORST_FIRST, [27, 25, 23, 21]),
        ("asha_stopping", BEST_FIRST, [27, 1, 1, 1]),
        ("asha_stopping", WORST_FIRST, [27, 27, 27, 27]),
        ("pasha", BEST_FIRST, [27, 9, 0, 0]),
        ("pasha", WORST_FIRST, [27, 25, 0, 0]),
        ("none", BEST_FIRST, [27, 27, 27, 27]),
    ],
)
def test_how_27_trials_one_by_one_fall_to_each_kind(
    kind: Kind, values: list[float], counts: list[int]
) -> None:
    rungs = Rungs(4, eta=3, mode="max", kind=kind)
    play_one_by_one(rungs, values)
    assert rungs.counts() == counts


def test_every_trial_pauses_and_none_is_promoted_among_fewer_than_eta() -> None:
    rungs = Rungs(3, eta=3, mode="max", kind="asha")
    assert [rungs.on_result("a", 0, 0.1), rungs.on_result("b", 0, 0.2)] == ["pause", "pause"]
    assert rungs.choose_paused() is None


def test_the_third_result_promotes_the_best_of_three_once() -> None:
    rungs = promoting(0.2, 0.3, 0.1)
    assert [rungs.choose_paused(), rungs.choose_paused()] == ["b", None]


def test_of_equal_values_the_older_one_is_promoted() -> None:
    assert promoting(0.2, 0.2, 0.2).choose_paused() == "a"


def test_the_smallest_is_promoted_when_minimizing() -> None:
    rungs = Rungs(2, eta=2, mode="min", kind="asha")
    rungs.on_result("a", 0, 0.4)
    rungs.on_result("b", 0, 0.3)
    assert rungs.choose_paused() == "b"


def test_the_highest_rung_comes_first_then_the_best() -> None:
    rungs = promoting(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, eta=2)
    assert list(promotions(rungs)) == ["f", "e", "d"]
    rungs.on_result("d", 1, 0.4)
    rungs.on_result("e", 1, 0.5)
    rungs.on_result("g", 0, 0.7)
    rungs.on_result("h", 0, 0.8)
    assert list(promotions(rungs)) == ["e", "h", "g"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_stops_and_is_not_counted(value: float | None) -> None:
    rungs = promoting(0.2, 0.1)
    assert rungs.on_result("c", 0, value) == "stop"
    assert (rungs.counts(), rungs.choose_paused()) == ([2, 0, 0], None)


def test_a_withdrawn_trial_keeps_its_place_and_is_never_promoted() -> None:
    rungs = promoting(0.3, 0.2, 0.1)
    rungs.withdraw("a")
    assert rungs.choose_paused() is None
    assert rungs.choose_paused(is_last_call=True) == "b"
    assert rungs.values(0) == {"a": 0.3, "b": 0.2, "c": 0.1}


def test_a_trial_withdrawn_while_it_runs_stops_at_its_next_rung() -> None:
    rungs = promoting(0.3, 0.2, 0.1)
    assert rungs.choose_paused() == "a"
    rungs.withdraw("a")
    assert rungs.on_result("a", 1, 0.9) == "stop"


def test_the_last_call_takes_the_best_trial_to_the_top() -> None:
    rungs = promoting(0.1, 0.2)
    for rung, decision in [(1, "pause"), (2, "stop")]:
        assert rungs.choose_paused(is_last_call=True) == "b"
        assert rungs.on_result("b", rung, 0.2) == decision
    assert rungs.choose_paused(is_last_call=True) is None


def test_when_the_last_hope_diverges_the_last_call_takes_the_next_best() -> None:
    rungs = promoting(0.1, 0.2)
    assert rungs.choose_paused(is_last_call=True) == "b"
    assert rungs.on_result("b", 1, math.nan) == "stop"
    assert rungs.choose_paused(is_last_call=True) == "a"


def test_the_last_call_first_makes_the_promotions_that_are_due() -> None:
    rungs = promoting(0.1, 0.2, 0.3, 0.4, eta=2)
    rungs.on_continued("a")
    rungs.on_result("a", 1, 0.1)
    assert list(promotions(rungs, is_last_call=True)) == ["d", "c", "a", "b"]


def test_without_results_the_last_call_is_empty() -> None:
    assert promoting(None).choose_paused(is_last_call=True) is None


def test_a_replayed_promotion_is_not_made_again() -> None:
    rungs = promoting(0.3, 0.2, 0.1)
    rungs.on_continued("a")
    assert rungs.choose_paused() is None
    with pytest.raises(ValueError, match="a is not paused, so it cannot continue"):
        rungs.on_continued("a")


def test_a_paused_trial_that_reports_a_higher_rung_waits_no_longer() -> None:
    # A journal that was written before the space had mode asha looks like this.
    rungs = promoting(0.3, 0.2, 0.1)
    assert rungs.on_result("a", 1, math.nan) == "stop"
    assert rungs.choose_paused() is None


def test_a_checkpoint_can_go_when_not_enough_trials_may_come() -> None:
    # Third of 3 with eta 3: it is in the top third of nine results, not of eight.
    rungs = promoting(0.3, 0.2, 0.1)
    assert not rungs.can_continue("c", num_open=5)
    assert rungs.can_continue("c", num_open=6)


def test_trials_that_wait_below_may_yet_make_room_above() -> None:
    # Rung 1 has a 0.3 and b 0.2. With c and d below and two more, rung 0 has 6 results, of which 2 pass:
    # rung 1 may come to 2 + 2 open + 2 from below, and b, second, is in the top third of 6.
    rungs = promoting(0.3, 0.2, 0.1, 0.0)
    for trial_id in "ab":
        rungs.on_continued(trial_id)
        rungs.on_result(trial_id, 1, rungs.values(0)[trial_id])
    assert rungs.can_continue("b", num_open=2)
    assert not rungs.can_continue("b", num_open=1)


def test_the_best_of_each_rung_is_kept_until_a_trial_has_ended_the_ladder() -> None:
    rungs = promoting(0.1, 0.2)
    assert [rungs.can_continue("a", num_open=0), rungs.can_continue("b", num_open=0)] == [False, True]
    rungs.on_result("c", 2, 0.5)
    assert not rungs.can_continue("b", num_open=0)


def test_only_a_paused_trial_has_a_pause_to_end() -> None:
    rungs = promoting(0.3, 0.2, 0.1)
    assert rungs.choose_paused() == "a"
    rungs.withdraw("b")
    assert [rungs.can_continue(trial_id, num_open=99) for trial_id in "abx"] == [False, False, False]


def test_a_rung_that_is_ended_twice_is_refused() -> None:
    rungs = promoting(0.3)
    with pytest.raises(ValueError, match="a has already completed rung 0, got a result of rung 0"):
        rungs.on_result("a", 0, 0.4)
    assert rungs.values(0) == {"a": 0.3}


@pytest.mark.parametrize("rung", [-1, 3])
def test_a_rung_that_is_not_there_is_refused(rung: int) -> None:
    with pytest.raises(ValueError, match=f"rung must be from 0 to 2, got {rung}"):
        promoting().on_result("a", rung, 0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_rungs": 0}, "a ladder needs at least one rung, got 0"),
        ({"kind": "sync"}, "kind must be one of asha, asha_stopping, pasha, freeze_thaw, none, got 'sync'"),
        ({"mode": "maximize"}, r"mode must be min or max, once per objective, got \['maximize'\]"),
        ({"kind": "pasha", "mode": ("max", "min")}, "pasha compares values of one objective, got 2"),
        ({"num_brackets": 4}, "num_brackets must be from 1 to 3, got 4"),
        ({"num_brackets": 3, "kind": "pasha"}, "num_brackets must be from 1 to 2, got 3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rungs(**{"num_rungs": 3, "eta": 3, "mode": "max"} | arguments)
