"""The spaces that choose among classifiers by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from search.sampling.designs import designed
from search.space import Choice, Space, load_space
from tests.support.toy_runs import defaults_of
from trainables.engine.classifiers.models import build_classifier

SPACES = Path(__file__).parents[2] / "spaces"
NAMED = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "hrnet_w18"]


def loaded(name: str) -> Space:
    return load_space(name, spaces_dir=SPACES)


@pytest.mark.parametrize("name", [*NAMED, "resnet20", "mnist_cnn"])
def test_every_named_classifier_takes_the_presets_images(name: str) -> None:
    with torch.device("meta"):  # shapes without numbers: resnet152 in no time
        built = build_classifier(name, num_classes=10, in_channels=1, resolution=32)
        assert built.model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("name", "model"), [("quick", "resnet20"), ("accurate", "resnet18")])
def test_a_preset_begins_with_the_published_recipe(name: str, model: str) -> None:
    space = loaded(name)
    first = defaults_of(space)
    assert (first["model"], first["optimizer"], first["lr"]) == (model, "sgd", 0.1)
    assert (first["weight_decay"], first["batch_size"]) == (1e-4, 128)
    assert space.notices == ()


def test_the_accurate_preset_has_the_networks_of_the_guide() -> None:
    models = loaded("accurate").parameters["model"]
    assert isinstance(models, Choice)
    assert sorted(models.values) == sorted(NAMED)


def test_each_optimiser_is_ablated_at_its_own_rates() -> None:
    space = load_space("ablations", overrides=["search.chosen_ablations=optimizer"], spaces_dir=SPACES)
    points = [proposal.hparams for proposal in designed(space, defaults_of(space))]
    rates = {
        name: [point["lr"] for point in points if point["optimizer"] == name]
        for name in ("sgd", "momentum", "adam", "adamw", "adadelta")
    }
    assert rates == {
        "sgd": [0.1, 0.01, 0.03, 0.3],
        "momentum": [0.01, 0.03, 0.1],
        "adam": [3e-4, 1e-3, 3e-3],
        "adamw": [3e-4, 1e-3, 3e-3],
        "adadelta": [0.3, 1.0],
    }
    assert {point["model"] for point in points} == {"resnet18"}


def test_ablations_name_every_architecture() -> None:
    space = load_space("ablations", overrides=["search.chosen_ablations=architecture"], spaces_dir=SPACES)
    points = [proposal.hparams["model"] for proposal in designed(space, defaults_of(space))]
    assert sorted(points) == sorted([*NAMED, "resnet20", "mnist_cnn"])
