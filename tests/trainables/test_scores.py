"""Which epoch a script's line belongs to, by the lines alone."""

from __future__ import annotations

import pytest

from trainables.command.scores import Scores

ARGUMENTS = '{"epoch": 9, "lr": 0.1}'  # of a script whose number of epochs is called epoch


def taken(*lines: str, needs_count: bool = False) -> Scores:
    scores = Scores("val_acc", needs_count=needs_count)
    for line in lines:
        scores.take(line)
    return scores


def epochs_of(scores: Scores) -> dict[int, float | None]:
    return {row["epoch"]: row["values"].get("val_acc") for row in scores.rows()}


def scored(*epochs: int) -> list[str]:
    return [f'{{"epoch": {epoch}, "val_acc": 0.{epoch}}}' for epoch in epochs]


def test_arguments_that_a_script_prints_are_no_epoch() -> None:
    assert not taken(ARGUMENTS).has(1)
    assert epochs_of(taken(ARGUMENTS, *scored(1, 2))) == {1: 0.1, 2: 0.2}


def test_arguments_that_a_resumed_script_prints_cost_no_new_beginning() -> None:
    scores = taken(*scored(1, 2))
    for epoch in (1, 2):
        scores.hand_on(epoch)
    scores.begin(is_resumed=True, has_ended_itself=False)
    for line in (ARGUMENTS, *scored(3)):
        scores.take(line)
    assert epochs_of(scores) == {3: 0.3}


@pytest.mark.parametrize("count", ['"epoch": 5, ', ""])
def test_training_values_of_every_fifth_epoch_are_its_own(count: str) -> None:
    scores = taken('{"epoch": 5, "loss": 2}', f'{{{count}"val_acc": 0.5}}', '{"epoch": 10, "loss": 1}')
    assert epochs_of(scores) == {5: 0.5, 10: None}


@pytest.mark.parametrize("needs_count", [False, True])
def test_a_score_that_sums_up_is_no_further_epoch(needs_count: bool) -> None:
    scores = taken(*scored(1, 2), '{"val_acc": 0.9, "best_epoch": 1}', needs_count=needs_count)
    assert epochs_of(scores) == {1: 0.1, 2: 0.2}
    assert scores.notes == {
        "uncounted": "1 lines with val_acc and no epoch are left out: epoch 2, before them, has a score "
        "already"
    }
