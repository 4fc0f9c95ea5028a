"""Pairs of images, and the network that decides whether they are of one class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables.core.contract import Budget, DataError, TrainingContext
from trainables.engine.classifiers.models import Classifier, build_classifier
from trainables.siamese import TRAINABLE, Hparams
from trainables.siamese.pairs import PairBatch, PairBatches, partners
from trainables.siamese.training import start
from trainables.siamese.twin import ConcatenationTwin, DistanceTwin, PairMetrics, without_last_layer

SMALL = Hparams(**TRAINABLE.example.hparams)
LABELS = torch.tensor([0, 1, 0, 1, 2, 0])  # class 2 has one example


def drawn(same: float, which: float) -> torch.Tensor:
    return torch.tensor([[same, which]] * len(LABELS), dtype=torch.float64)


def test_a_partner_of_the_same_class_is_another_example() -> None:
    assert partners(LABELS, drawn(0.0, 0.0)).tolist()[:4] == [2, 3, 5, 1]
    assert partners(LABELS, drawn(0.0, 0.99)).tolist()[:4] == [5, 3, 0, 1]


def test_the_only_example_of_a_class_gets_one_of_another() -> None:
    assert partners(LABELS, drawn(0.0, 0.0))[4] == 0
    assert partners(LABELS, drawn(0.0, 0.99))[4] == 3


def test_every_example_of_another_class_may_be_the_partner() -> None:
    found = {int(partners(LABELS, drawn(0.5, step / 4))[1]) for step in range(4)}
    assert found == {0, 2, 4, 5}


def test_one_class_alone_has_no_pairs() -> None:
    with pytest.raises(DataError, match="pairs need images of two classes, got 3 of one"):
        partners(torch.zeros(3, dtype=torch.long), drawn(0.0, 0.0)[:3])


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=1, cache_dir=tmp_path)


def batches_of(context: TrainingContext) -> PairBatches:
    return start(SMALL, Budget(epochs=2), context).batches


def whole(batches: PairBatches, budget: Budget, epoch: int) -> PairBatch:
    pairs = batches.epoch(budget, epoch)
    (indices,) = pairs.steps(10_000, drop_single=False)
    return pairs.batch(indices.sort().values)


def test_half_of_the_pairs_are_of_one_class(context: TrainingContext) -> None:
    share = whole(batches_of(context), Budget(epochs=2), 0).is_same.mean()
    assert share == pytest.approx(0.5, abs=0.03)  # of 1,257


def test_partners_are_drawn_anew_each_epoch_and_the_same_for_one_seed(context: TrainingContext) -> None:
    first, again = (whole(batches_of(context), Budget(epochs=2), 0) for _ in range(2))
    later = whole(batches_of(context), Budget(epochs=2), 1)
    assert torch.equal(first.second, again.second)
    assert torch.equal(first.first, later.first)
    assert not torch.equal(first.second, later.second)


def test_a_subset_has_its_partners_inside(context: TrainingContext) -> None:
    pairs = whole(batches_of(context), Budget(epochs=2, subset=20), 0)
    own = {image.numpy().tobytes() for image in pairs.first}
    assert len(own) == 20
    assert {image.numpy().tobytes() for image in pairs.second} <= own


def test_held_out_pairs_are_the_same_for_every_trial_and_epoch(context: TrainingContext) -> None:
    one, other = batches_of(context), batches_of(replace(context, seed=2))
    pairs = [list(batches.validation(Budget(epochs=2))) for batches in (one, other)]
    assert [len(part) for part in pairs[0]] == [256, 14]
    assert all(torch.equal(a.second, b.second) for a, b in zip(*pairs, strict=True))


def test_the_order_of_a_pair_does_not_matter_to_distances() -> None:
    torch.manual_seed(0)
    twin = DistanceTwin(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3)
    first, second = torch.randn(2, 5, 1, 2, 2)
    assert torch.equal(twin(first, second), twin(second, first))


def test_concatenated_features_pass_two_layers_of_256_numbers() -> None:
    twin = ConcatenationTwin(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3)
    assert [tuple(layer.weight.shape) for layer in (twin.head[0], twin.head[2])] == [(256, 6), (1, 256)]
    assert twin.head[0].bias.tolist() == pytest.approx([0.01] * 256)
    first, second = torch.randn(2, 5, 1, 2, 2)
    assert twin(first, second).shape == (5,)
    assert not torch.equal(twin(first, second), twin(second, first))


@pytest.mark.parametrize(
    ("model", "num_features"),
    [("torchvision/resnet18", 512), ("resnet18", 512), ("mnist_cnn", 128), ("resnet20", 64)],
)
def test_an_encoder_of_concatenation_has_no_last_layer(model: str, num_features: int) -> None:
    encoder, found = without_last_layer(build_classifier(model, num_classes=10, in_channels=1, resolution=28))
    assert found == num_features
    assert encoder.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, num_features)


def test_an_encoder_without_one_last_linear_layer_is_refused() -> None:
    classifier = Classifier(nn.Sequential(head := nn.Conv2d(1, 1, 1)), head)
    with pytest.raises(ValueError, match="ends in one linear layer"):
        without_last_layer(classifier)


def test_the_defaults_are_the_examples_network(context: TrainingContext) -> None:
    training = start(Hparams(), Budget(epochs=14), context)
    assert training.model.encoder.conv1.weight.shape == (64, 1, 7, 7)
    assert training.model.head[0].in_features == 1024
    assert type(training.optimizer).__name__ == "Adadelta"


def test_an_embedding_that_is_not_read_is_noted(context: TrainingContext) -> None:
    notes = start(
        replace(SMALL, comparison="concatenation", embedding_dim=8), Budget(epochs=1), context
    ).notes()
    assert "features before the last layer" in notes["no effect of embedding_dim"]


def test_logits_between_0_and_1_are_still_logits() -> None:
    """A logit of 0.2 says the same class; taken for a share it would say another."""
    metrics = PairMetrics(torch.device("cpu"))
    images = torch.zeros(2, 1, 2, 2)
    metrics.update(torch.tensor([0.2, 0.1]), PairBatch(images, images, torch.tensor([1.0, 0.0])))
    scores = metrics.compute()
    assert (scores["accuracy"], scores["auc"]) == (0.5, 1.0)


def test_it_trains_in_bf16(context: TrainingContext) -> None:
    budget = Budget(epochs=1, subset=64)
    values = start(SMALL, budget, replace(context, precision="bf16")).run_epoch(budget)
    assert 0 < values["train_loss"] < 5


def test_an_unknown_encoder_is_found_without_starting_it() -> None:
    assert TRAINABLE.weights(Hparams()) == ()
    with pytest.raises(ValueError, match="no model is named 'resnet_18'"):
        TRAINABLE.weights(Hparams(model="resnet_18"))
