"""What trainables of torch have in common, and the weights that they start from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from tests.support.processes import ROOT, ran
from trainables import classification, forward_forward
from trainables.core.contract import WeightFile
from trainables.core.deferred import deferred
from trainables.engine.hparams import NO_EFFECT_ANYTIME
from trainables.engine.torch_trainable import PretrainedWeights, TorchTrainable


def files_of(model: str, weights: str) -> Sequence[WeightFile]:
    """As a family's own function gives them."""
    if model == "unknown":
        raise ValueError("there is no model unknown")
    return (WeightFile(source="file", location=f"{weights}/{model}"),)


def test_a_trainable_of_torch_checks_gpus_and_precision_without_saying_so() -> None:
    trainable = classification.TRAINABLE
    assert isinstance(trainable, TorchTrainable)
    assert trainable.check_device == deferred("trainables.engine.device_check:check_gpus")
    with pytest.raises(RuntimeError, match="is not a device for training"):
        trainable.check_device("tpu")
    assert trainable.choose_precision == deferred("trainables.engine.cpu_precision:choose_precision")
    assert trainable.no_effect_anytime == NO_EFFECT_ANYTIME


def test_a_family_may_differ_in_any_of_it() -> None:
    assert forward_forward.TRAINABLE.no_effect_anytime == ("schedule",)
    assert forward_forward.TRAINABLE.check_device == classification.TRAINABLE.check_device


def test_what_a_trainable_must_be_is_checked_of_it_too() -> None:
    with pytest.raises(ValueError, match='mode must be "min" or "max", got \'up\''):
        TorchTrainable(hparams=classification.Hparams, metric="val_accuracy", mode="up", start=files_of)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hparams", "location"),
    [
        ({"model": "mine", "weights": "hub"}, "hub/mine"),
        ({"model": "mine", "weights": "none"}, "none/mine"),
        ({"model": "mine"}, "none/mine"),  # a family without the hyperparameter
        ({"model": "resnet20", "weights": "hub"}, "hub/resnet20"),  # refused by who knows why
    ],
)
def test_a_familys_function_says_which_files_a_model_reads(hparams: dict[str, str], location: str) -> None:
    (file,) = PretrainedWeights(files_of)(SimpleNamespace(**hparams))
    assert file.location == location


def test_the_model_may_be_a_part_of_what_the_hparams_name() -> None:
    weights = PretrainedWeights(files_of, model=lambda hparams: hparams.model.removeprefix("pcb/"))
    (file,) = weights(SimpleNamespace(model="pcb/resnet18", weights="hub"))
    assert file.location == "hub/resnet18"


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no model unknown"):
        PretrainedWeights(files_of)(SimpleNamespace(model="unknown", weights="none"))


def test_a_model_of_our_own_with_random_weights_is_known_to_need_none_without_torch() -> None:
    code = (
        "import sys; from trainables.classification import TRAINABLE, Hparams; "
        "sys.exit(TRAINABLE.weights(Hparams(model='resnet20')) != () or 'torch' in sys.modules)"
    )
    done = ran(sys.executable, "-c", code, folder=ROOT)
    assert done.returncode == 0, done.stderr
