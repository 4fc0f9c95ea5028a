"""Images that grow on the way through one training: rungs of a ladder, and the flag --resize."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search import cli
from search.budget import Ladder
from search.cli.train import parser
from search.trial import run_trial
from tests.support.toy_runs import SteadyMeter
from trainables.classification import TRAINABLE, Hparams
from trainables.core.contract import Budget, TrainingContext

LADDER = Ladder((Budget(epochs=2, subset=0.02, resolution=8), Budget(epochs=6, subset=0.05, resolution=12)))


def test_epochs_are_counted_from_1_and_the_last_side_is_the_tops() -> None:
    rungs = LADDER.resized([(1, 14), (3, 20), (5, 28)]).rungs
    assert [(rung.epochs, rung.resolution) for rung in rungs] == [(2, 14), (4, 20), (6, 28)]
    assert [rung.subset for rung in rungs] == [0.05] * 3


@pytest.mark.parametrize("schedule", [[(2, 14)], [(1, 14), (7, 28)], [(1, 14), (1, 28)], []])
def test_a_schedule_outside_the_training_is_refused(schedule: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="must begin with 1 and rise up to 6 at most"):
        LADDER.resized(schedule)


def test_images_that_shrink_are_refused() -> None:
    with pytest.raises(ValueError, match=r"resolution must not fall from rung to rung, got \[20, 14\]"):
        LADDER.resized([(1, 20), (3, 14)])


def test_every_epoch_trains_at_its_size_and_is_scored_at_the_last(tmp_path: Path) -> None:
    sizes: list[tuple[bool, int]] = []

    def start(hparams: Hparams, budget: Budget, context: TrainingContext):
        training = TRAINABLE.start(hparams, budget, context)
        training.model.register_forward_pre_hook(
            lambda model, inputs: sizes.append((model.training, inputs[0].shape[-1]))
        )
        return training

    context = TrainingContext(
        data="digits",
        data_seed=0,
        seed=0,
        cache_dir=tmp_path,
        resolution=28,
        validation_subset=20,
        num_workers=2,
    )
    ladder = LADDER.resized([(1, 14), (3, 20), (5, 28)])
    seen = []
    for _ in run_trial(replace(TRAINABLE, start=start), Hparams(), ladder, context, SteadyMeter()):
        seen.append([{side for is_training, side in sizes if is_training is mode} for mode in (True, False)])
        sizes.clear()
    assert seen == [[{side}, {28}] for side in (14, 14, 20, 20, 28, 28)]


def test_the_flag_is_read_as_epochs_and_pixels() -> None:
    options = parser().parse_args(["--space", "lr_bs", "--resize", "1:14,3:20,5:28"])
    assert options.resize == [(1, 14), (3, 20), (5, 28)]


def test_the_flag_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["--space", "lr_bs", "--resize", "14,20"])
    assert "write EPOCH:PX,..., such as 1:14,3:20,5:28, got '14,20'" in capsys.readouterr().err


def test_a_schedule_that_the_space_has_no_epochs_for_is_unusable_input(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run("train", ["--space", "lr_bs", "--resize", "1:14,3:20,5:28"]) == 2
    assert "--resize: epochs must begin with 1 and rise up to 3" in capsys.readouterr().err
