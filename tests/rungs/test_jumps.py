"""Trials that end a rung without having ended those below, as on a ladder of joules."""

from __future__ import annotations

import pytest

from search.rungs import Rungs


def promoting() -> Rungs:
    return Rungs(4, eta=3, mode="max", kind="asha", can_jump=True)


def test_a_trial_that_jumps_is_compared_where_it_ended_and_nowhere_below() -> None:
    rungs = Rungs(3, eta=2, mode="max", kind="asha_stopping", can_jump=True)
    assert rungs.on_result("cheap", 0, 0.5) == "continue"
    assert rungs.on_result("jumper", 1, 0.9) == "continue"
    assert rungs.on_result("late", 0, 0.6) == "continue"  # better than all at its rung
    assert rungs.on_result("cheap", 1, 0.7) == "stop"
    assert [dict(rungs.values(rung)) for rung in range(3)] == [
        {"cheap": 0.5, "late": 0.6},
        {"jumper": 0.9, "cheap": 0.7},
        {},
    ]


def test_a_rung_that_was_jumped_cannot_be_ended_later() -> None:
    rungs = promoting()
    rungs.on_result("jumper", 2, 0.9)
    with pytest.raises(ValueError, match=r"^jumper has already completed rung 2, got a result of rung 1$"):
        rungs.on_result("jumper", 1, 0.9)


def test_a_paused_trial_is_kept_for_those_who_may_jump_to_its_rung() -> None:
    rungs = promoting()
    for name, value in (("first", 0.9), ("second", 0.8)):
        assert rungs.on_result(name, 2, value) == "pause"
    below = [f"low-{number}" for number in range(12)]
    for number, name in enumerate(below):
        rungs.on_result(name, 0, 0.5 - 0.01 * number)
    assert rungs.can_continue("second", num_open=0)
    promoted = []
    while name := rungs.choose_paused():
        promoted.append(name)
        if name in below:
            rungs.on_result(name, 2, 0.1)
    # 4 of 12 are promoted, and with "first" and "second" make 6 results, of which 2 continue.
    assert sorted(promoted) == ["first", *below[:4], "second"]
