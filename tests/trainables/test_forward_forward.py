"""Layers that learn without backpropagation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.contract import Budget, Diverged, TrainingContext
from trainables.engine.optimizer import check_groups
from trainables.forward_forward import Hparams
from trainables.forward_forward.goodness import GoodnessNet, goodness, goodness_loss
from trainables.forward_forward.training import start

TINY = Budget(epochs=2, subset=64)


@pytest.fixture
def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=1, cache_dir=tmp_path)


def network(**changes) -> GoodnessNet:
    torch.manual_seed(0)
    settings = {"num_classes": 3, "in_channels": 1, "resolution": 4, "width": 5, "layers": 2, "mark": 7.0}
    return GoodnessNet(**{**settings, **changes})


def test_it_learns_digits(context: TrainingContext) -> None:
    training = start(Hparams(), budget := Budget(epochs=15), context)
    scores = [training.run_epoch(budget)["val_accuracy"] for _ in range(15)]
    assert scores[-1] > 0.9
    assert training.test()["test_accuracy"] > 0.9


def test_a_label_is_written_into_the_first_pixels() -> None:
    marked = network().marked(torch.ones(2, 1, 4, 4), torch.tensor([0, 2]))
    assert marked.tolist() == [[7, 0, 0, *[1] * 13], [0, 0, 7, *[1] * 13]]


def test_more_labels_than_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="17 labels do not fit into the 16 pixels of an image"):
        network(num_classes=17)


def test_images_of_any_resolution_are_resized() -> None:
    assert network().marked(torch.ones(2, 1, 9, 9), torch.zeros(2, dtype=torch.long)).shape == (2, 16)


def test_a_layer_sees_the_direction_of_what_is_below_alone() -> None:
    layer, features = network().layers[0], torch.randn(2, 16)
    assert torch.allclose(layer(features), layer(3 * features), atol=1e-5)


def test_all_layers_but_the_first_say_how_good_a_label_is() -> None:
    net, images = network(layers=3), torch.randn(2, 1, 4, 4)
    features = net.marked(images, torch.tensor([1, 1]))
    found = []
    for layer in net.layers:
        features = layer(features)
        found.append(goodness(features))
    assert torch.allclose(net(images)[:, 1], found[1] + found[2])


def test_a_single_layer_says_it_itself() -> None:
    net, images = network(layers=1), torch.randn(2, 1, 4, 4)
    expected = goodness(net.layers[0](net.marked(images, torch.tensor([1, 1]))))
    assert torch.allclose(net(images)[:, 1], expected)


def test_the_loss_is_ln_2_at_the_threshold_and_falls_with_goodness_of_right_labels() -> None:
    signs = torch.tensor([1.0])
    losses = [float(goodness_loss(torch.full((1, 4), size), signs, 4.0)) for size in (2.0, 3.0)]
    assert losses == pytest.approx([0.693147, 0.006715], abs=1e-6)
    assert float(goodness_loss(torch.full((1, 4), 3.0), -signs, 4.0)) == pytest.approx(5.006715)


def test_no_gradient_passes_from_a_layer_to_the_one_below(context: TrainingContext) -> None:
    """The first layer learns the same whatever stands on top of it."""
    firsts = []
    for layers in (1, 3):
        training = start(Hparams(layers=layers), TINY, context)
        start_state = start(Hparams(layers=1), TINY, context).net.layers[0].state_dict()
        training.net.layers[0].load_state_dict(start_state)
        training.run_epoch(TINY)
        firsts.append(training.net.layers[0].linear.weight)
    assert torch.equal(*firsts)


def test_each_layer_has_an_optimiser_of_its_own(context: TrainingContext) -> None:
    training = start(Hparams(layers=3), TINY, context)
    assert len(training.optimizers) == 3
    for layer, optimizer in zip(training.net.layers, training.optimizers, strict=True):
        check_groups(layer, optimizer)


def test_wrong_labels_are_wrong_and_depend_on_seed_epoch_and_image(context: TrainingContext) -> None:
    training, other = start(Hparams(), TINY, context), start(Hparams(), TINY, replace(context, seed=2))
    right = training.batches.data.train.labels
    wrong = training.wrong_labels(0)
    assert not (wrong == right).any()
    assert set(((wrong - right) % 10).tolist()) == set(range(1, 10))
    assert torch.equal(wrong, start(Hparams(batch_size=16), TINY, context).wrong_labels(0))
    assert not torch.equal(wrong, training.wrong_labels(1))
    assert not torch.equal(wrong, other.wrong_labels(0))


@pytest.mark.parametrize("horizon", ["full", "anytime"])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_the_state_is_complete(context: TrainingContext, tmp_path: Path, horizon: str, schedule: str) -> None:
    context = replace(context, horizon=horizon)
    whole, resumed = (start(Hparams(schedule=schedule), TINY, context) for _ in range(2))
    whole.run_epoch(TINY)
    save_checkpoint(tmp_path / "state.pt", whole.state_dict())
    expected = whole.run_epoch(TINY)
    resumed.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    found = resumed.run_epoch(TINY)
    times = {"train_s", "eval_s"}
    assert {name: found[name] for name in found.keys() - times} == {
        name: expected[name] for name in expected.keys() - times
    }


def test_all_rates_follow_the_schedule(context: TrainingContext) -> None:
    training = start(Hparams(), TINY, context)
    rates = []
    for _ in range(2):
        training.run_epoch(TINY)
        rates.append([group["lr"] for optimizer in training.optimizers for group in optimizer.param_groups])
    assert all(later < earlier for earlier, later in zip(*rates, strict=True))
    assert len(set(rates[0])) == 1


def test_a_loss_that_is_no_number_ends_it(context: TrainingContext) -> None:
    training = start(Hparams(), TINY, context)
    training.net.layers[0].linear.weight.data.fill_(float("nan"))
    with pytest.raises(Diverged, match="loss became nan in epoch 1"):
        training.run_epoch(TINY)


def test_every_problem_is_listed_at_once() -> None:
    with pytest.raises(ValueError, match="layers must be 1 or more") as caught:
        Hparams(layers=0, threshold=0.0, schedule="cos", lr=0.0)
    assert str(caught.value).split("; ") == [
        "layers must be 1 or more, got 0",
        "threshold must be above 0, got 0.0",
        "lr must be above 0, got 0.0",
        "schedule must be one of cosine, linear, step, exponential, plateau, one_cycle, none, got 'cos'",
    ]
