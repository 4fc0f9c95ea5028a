"""The classical baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.hog_svm import TRAINABLE, Hparams, check_device
from trainables.hog_svm.training import start

FULL = Budget(epochs=5)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=1, cache_dir=tmp_path, resolution=16)


def test_it_recognises_digits(context: TrainingContext) -> None:
    training = start(Hparams(), FULL, context)
    values = training.run_epoch(FULL)
    assert values["val_accuracy"] > 0.95
    assert training.test()["test_accuracy"] > 0.95
    assert values["num_examples"] == 1257  # 70 % of 1,797


def test_it_is_done_after_one_epoch(context: TrainingContext) -> None:
    training = start(Hparams(), FULL, context)
    assert training.done_reason == ""
    training.run_epoch(Budget(epochs=5, subset=0.1))
    assert training.done_reason == "a linear SVM is fitted in one epoch"


def test_its_tables_are_of_the_test_images(context: TrainingContext) -> None:
    training = start(Hparams(), FULL, context)
    training.run_epoch(Budget(epochs=5, subset=0.1))
    accuracy = training.test()["test_accuracy"]
    counts = [row[1:] for row in training.test_tables()["confusion"].rows]
    assert sum(row[number] for number, row in enumerate(counts)) == pytest.approx(accuracy * 270)


def test_a_fit_that_does_not_converge_says_so(context: TrainingContext) -> None:
    training = start(Hparams(c=100.0, max_iter=1), FULL, context)
    training.run_epoch(FULL)
    assert training.notes()["fit"] == "not converged in 1 iterations"


def test_images_of_two_classes_have_one_plane_and_two_margins(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = start(Hparams(), FULL, context)
    data = training.data
    two = data.train.labels < 2
    train = replace(data.train, rows=data.train.rows[two])
    val = replace(data.val, rows=data.val.rows[data.val.labels < 2])
    monkeypatch.setattr(training, "data", replace(data, train=train, val=val, class_names=("0", "1")))
    assert training.run_epoch(FULL)["val_accuracy"] == 1.0
    planes = training.state_dict()["fitted"]
    assert torch.equal(planes[0], -planes[1])


def test_values_that_make_no_sense_are_refused_together() -> None:
    with pytest.raises(ValueError, match=r"c must be above 0\.0, got 0; cells must be at least 2, got 1"):
        TRAINABLE.hparams(c=0, cells=1)


def test_a_reserved_gpu_is_reported_to_stay_idle() -> None:
    assert check_device("cpu") == ()
    assert check_device("cuda") == ("hog_svm works on the CPU: set search.resources.gpus_per_trial to 0",)
