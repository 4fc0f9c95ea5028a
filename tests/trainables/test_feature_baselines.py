"""A linear layer and a vote of neighbours on a frozen network's features: what fine-tuning must beat."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

import jouletune
from tests.support.trained_models import photo_folder, trained_model
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable
from trainables.engine.classifiers import features
from trainables.engine.classifiers.features import NeighbourHead, build_features
from trainables.engine.classifiers.models import Classifier

SMALL = {"model": "test_resnet", "weights": "none"}
FULL = Budget(epochs=5)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=1, cache_dir=tmp_path, resolution=32)


def started(name: str, context: TrainingContext, **hparams: object):
    family = load_trainable(name)
    return family.start(family.hparams(**{**SMALL, **hparams}), FULL, context)


def features_and_labels(training, part: str):
    images = getattr(training.data, part)
    everything = torch.arange(len(images))
    return training.features(images, everything), images.labels


def test_a_probe_is_scikit_learns_regression_on_scaled_features(context: TrainingContext) -> None:
    training = started("linear_probe", context)
    values = training.run_epoch(FULL)
    train, labels = features_and_labels(training, "train")
    val, val_labels = features_and_labels(training, "val")
    scaler = StandardScaler().fit(train.double().numpy())
    expected = LogisticRegression(max_iter=1000).fit(scaler.transform(train.double().numpy()), labels.numpy())
    shares = training.logits(val).softmax(1)
    found = torch.from_numpy(expected.predict_proba(scaler.transform(val.double().numpy()))).float()
    assert torch.allclose(shares, found, atol=1e-4)
    assert values["val_accuracy"] == pytest.approx(float((shares.argmax(1) == val_labels).double().mean()))
    assert values["val_accuracy"] > 0.5  # by chance 0.1: even random features tell digits apart
    assert values["num_examples"] == 1257


def test_neighbours_of_equal_votes_are_scikit_learns(context: TrainingContext) -> None:
    training = started("knn", context, neighbours=1)
    values = training.run_epoch(FULL)
    train, labels = features_and_labels(training, "train")
    val, val_labels = features_and_labels(training, "val")
    nearest = KNeighborsClassifier(1).fit(functional.normalize(train, dim=1).numpy(), labels.numpy())
    expected = nearest.score(functional.normalize(val, dim=1).numpy(), val_labels.numpy())
    assert values["val_accuracy"] == pytest.approx(expected)
    assert values["val_accuracy"] > 0.8


def test_votes_are_weighted_by_likeness() -> None:
    bank = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 1.0], [0.0, 1.0, 1.0]])  # the last column is the class
    head = NeighbourHead(bank, num_classes=2, neighbours=2, temperature=0.5)
    shares = head(torch.tensor([[2.0, 0.0]])).exp()[0]
    weight = torch.tensor((0.6 - 1.0) / 0.5).exp()
    assert torch.allclose(shares, torch.stack([1 / (1 + weight), weight / (1 + weight)]))
    all_of_them = NeighbourHead(bank, num_classes=2, neighbours=20, temperature=1e-3)
    assert torch.allclose(all_of_them(torch.tensor([[2.0, 0.0]])).exp()[0], torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("name", ["linear_probe", "knn"])
def test_it_is_done_after_one_epoch_and_resumes(name: str, context: TrainingContext) -> None:
    training = started(name, context)
    assert training.done_reason == ""
    training.run_epoch(FULL)
    assert training.done_reason.endswith("is fitted in one epoch")
    again = started(name, context)
    again.load_state_dict(training.state_dict())
    assert again.test() == training.test()
    assert again.done_reason == training.done_reason


@pytest.mark.parametrize("name", ["linear_probe", "knn"])
def test_random_weights_are_said_to_be_random(name: str, context: TrainingContext) -> None:
    assert started(name, context).notes()["features"] == "from random weights: this network is not trained"


@pytest.mark.parametrize("name", ["linear_probe", "knn"])
@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "torchvision/squeezenet1_1", "resnet20"])
def test_its_model_repeats_its_test(name: str, model: str, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos")
    hparams = {"model": model, "weights": "none"}
    done = trained_model(tmp_path, name, hparams, {"imagefolder": photos}, resolution=32)
    tested = done.table("predictions")
    said = jouletune.predict(done.model, [photos / row["image"] for row in tested])
    assert [row["predicted"] for row in said.rows] == [row["predicted"] for row in tested]
    assert [row["score"] for row in said.rows] == pytest.approx([row["score"] for row in tested], abs=1e-6)


def test_features_are_what_the_last_layer_is_given() -> None:
    torch.manual_seed(0)
    network, built = build_features("resnet20", num_classes=3, in_channels=3, weights="none", resolution=16)
    images = torch.randn(2, 3, 16, 16)
    seen = network(images)
    assert seen.shape == (2, 64)
    assert torch.allclose(built.head(seen), built.model(images), atol=1e-6)


def test_a_network_of_several_last_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    two = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)])
    monkeypatch.setattr(features, "build_classifier", lambda *_, **__: Classifier(nn.Sequential(two), two))
    with pytest.raises(ValueError, match=r"resnet20 has 2 last layers: name a model with one"):
        build_features("resnet20", num_classes=3, in_channels=3, weights="none", resolution=96)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("linear_probe", {"c": 0.0}, "c must be above 0"),
        ("linear_probe", {"weights": "file:here.pt", "max_iter": 0}, "weights must be .*max_iter must be"),
        ("knn", {"neighbours": 0, "temperature": -1.0}, "neighbours must be .*temperature must be"),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_trainable(name).hparams(**values)


def test_a_fit_that_does_not_converge_says_so(context: TrainingContext) -> None:
    training = started("linear_probe", context, max_iter=1)
    training.run_epoch(FULL)
    assert training.notes()["fit"] == "not converged in 1 iterations"
