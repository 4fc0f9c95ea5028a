"""Trials that train identically although their hparams differ: F8's hyperparameters without effect."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from search.duplicate_curves import trials_with_one_curve
from search.ledger.history import TrialRecord
from search.report.summary import print_summary, print_winner
from search.tables import Tables
from search.trial import EpochRow
from tests.support.recorded_console import console, shown
from tests.support.slow_searches import SLOW
from tests.support.toy_runs import executed, listed, made_space

LOSSES = [0.9, 0.7, 0.6]


def trial(number: int, losses: Sequence[float], hparams: Mapping[str, Any], **metrics: float) -> TrialRecord:
    """A trial whose val_loss and metric follow from its losses; `metrics` stand in every epoch."""
    return TrialRecord(
        trial_id=f"trial-{number:04d}",
        number=number,
        proposed_by="sampler",
        hparams=hparams,
        seed=0,
        asked_at=0.0,
        rows=[
            EpochRow(
                epoch=epoch,
                rung=0,
                metrics={"val_loss": loss, "val_accuracy": 1 - loss, **metrics},
                seconds=float(epoch),
            )
            for epoch, loss in enumerate(losses, start=1)
        ],
    )


def test_the_trials_and_the_hyperparameters_that_differ_are_named() -> None:
    trials = [
        trial(0, LOSSES, {"lr": 0.1, "weight_decay": 1e-9, "batch_size": 16}),
        trial(1, [0.9, 0.8, 0.7], {"lr": 0.2, "weight_decay": 1e-9, "batch_size": 16}),
        trial(2, LOSSES, {"lr": 0.1, "weight_decay": 1e-8, "batch_size": 16}),
    ]
    (group,) = trials_with_one_curve(trials, "val_accuracy")
    assert group.trials == ("trial-0000", "trial-0002")
    assert group.hparams == {"weight_decay": [1e-9, 1e-8]}
    assert group.num_epochs == 3
    assert group.warning == (
        "trial-0000, trial-0002 have identical curves for 3 epochs although they differ in weight_decay "
        "(1e-09, 1e-08): it had no effect there; fix the value or change the range"
    )


def test_what_tells_time_or_repeats_a_hyperparameter_is_not_compared() -> None:
    one = trial(0, LOSSES, {"lr": 0.1}, lr=0.1, train_s=1.0)
    other = trial(1, LOSSES, {"lr": 0.2}, lr=0.2, train_s=2.0)
    assert trials_with_one_curve([one, other], "val_accuracy")[0].hparams == {"lr": [0.1, 0.2]}


def test_a_stopped_trial_is_held_against_the_epochs_it_had() -> None:
    trials = [trial(0, LOSSES[:2], {"lr": 0.1}), trial(1, LOSSES, {"lr": 0.2})]
    (group,) = trials_with_one_curve(trials, "val_accuracy")
    assert (group.trials, group.num_epochs) == (("trial-0001", "trial-0000"), 2)


def test_two_that_part_later_are_never_one_group() -> None:
    trials = [
        trial(0, [0.9, 0.8, 0.7], {"lr": 0.1}),
        trial(1, [0.9, 0.8, 0.6], {"lr": 0.2}),
        trial(2, [0.9, 0.8], {"lr": 0.3}),
    ]
    assert [group.trials for group in trials_with_one_curve(trials, "val_accuracy")] == [
        ("trial-0000", "trial-0002")
    ]


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        ([trial(0, LOSSES, {"lr": 0.1}), trial(1, LOSSES, {"lr": 0.1})], "the same point twice"),
        ([trial(0, LOSSES, {"k": (1, 2)}), trial(1, LOSSES, {"k": [1, 2]})], "the same, written otherwise"),
        ([trial(0, [0.9] * 9, {"lr": 0.1}), trial(1, [0.9] * 9, {"lr": 0.2})], "two that learn nothing"),
        ([trial(0, [], {"lr": 0.1}), trial(1, [], {"lr": 0.2})], "two that trained no epoch"),
        ([trial(0, LOSSES, {"lr": 0.1}), trial(1, [0.9, 0.7, 0.6001], {"lr": 0.2})], "nearly equal"),
    ],
)  # fmt: skip
def test_nothing_is_reported_about(trials: list[TrialRecord], why: str) -> None:
    assert trials_with_one_curve(trials, "val_accuracy") == [], why


SPACE = """
parameters: {score: {min: 0.0, max: 0.9}, pause_s: {min: 0.0, max: 0.01}}
search: {trainable: ./slow.py, data: none, ladder: {epochs: [3]}, scheduler: {mode: none}}
"""


def test_the_last_screen_and_a_table_say_what_had_no_effect(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)  # its scores know nothing of its pauses
    space = made_space(tmp_path, SPACE)
    points = [
        {"score": 0.1, "pause_s": 0.001},
        {"score": 0.2, "pause_s": 0.001},
        {"score": 0.1, "pause_s": 0.007},
    ]
    run, reason = executed(space, tmp_path, listed(*points))
    output = console(width=300)
    print_summary(run, output)
    print_winner(run, reason, output)
    warning = (
        "trial-0000, trial-0002 have identical curves for 3 epochs although they differ in pause_s "
        "(0.001, 0.007): it had no effect there; fix the value or change the range"
    )
    assert f"warning: {warning}\n" in shown(output)
    Tables(run.ledger, space, run.history).on_event({"event": "run_ended"})
    with (run.ledger.folder / "duplicate_curves.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {
                "trials": "trial-0000 trial-0002",
                "hparams": '{"pause_s": [0.001, 0.007]}',
                "num_epochs": "3",
                "warning": warning,
            }
        ]
