"""Defaults are the published recipes, and a docstring names no number that they do not belong to."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from search.space import Space, load_space
from tests.support.recipes import FIGURES, RECIPES, Recipe
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable, trainable_names
from trainables.engine.supervised import SupervisedTraining

SPACES = Path(__file__).parents[2] / "spaces"
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?: ?%)?(?!\w|\.\d)|(?<![\w.])\d+ ?%")
_OF_A_SECTION = re.compile(r"section \d+(\.\d+)*")


def hparams_of(subject: str) -> dict[str, Any]:
    """The defaults of a trainable, or a space's default configuration with its first initial point."""
    if not subject.endswith(".yaml"):
        return vars(load_trainable(subject).hparams())
    space = read_space(subject)
    defaults = space.default_hparams(space.trainable.load())
    return {**defaults, **(space.initial_points[0] if space.initial_points else {})}


def read_space(name: str) -> Space:
    return load_space(name, spaces_dir=SPACES)


def numbers_in(text: str) -> set[str]:
    """Every decimal number and percentage of a docstring, as it is written there."""
    return set(_NUMBER.findall(_OF_A_SECTION.sub("", " ".join(text.split()))))


def docstring_of(trainable: str) -> str:
    return importlib.import_module(f"trainables.{trainable}").__doc__ or ""


@pytest.mark.parametrize("subject", RECIPES)
def test_the_defaults_are_what_is_published(subject: str) -> None:
    found = hparams_of(subject)
    published = dict(RECIPES[subject].hparams)
    assert {name: found[name] for name in published} == published


@pytest.mark.parametrize("subject", [name for name in RECIPES if name.endswith(".yaml")])
def test_a_spaces_top_rung_is_the_published_training(subject: str) -> None:
    recipe, top = RECIPES[subject], read_space(subject).ladder.rungs[-1]
    assert recipe.epochs in (None, top.epochs)
    assert recipe.resolution in (None, top.resolution)


@pytest.mark.parametrize("trainable", trainable_names())
def test_a_docstring_has_no_number_that_the_table_has_not(trainable: str) -> None:
    assert numbers_in(docstring_of(trainable)) == set(FIGURES.get(trainable, {}))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("8.75 % error, section 4.2", {"8.75 %"}),
        ("F1 of 0.569 and 57 %", {"0.569", "57 %"}),
        ("27 layers, 64,000 steps, in 2016", set()),
        ("mAP 74.0 and\n76.7 %", {"74.0", "76.7 %"}),
        ("version 1.2.3 of x1.5", set()),
    ],
)
def test_numbers_are_found_in_text(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) == numbers


@pytest.mark.parametrize("trainable", FIGURES)
def test_a_number_that_is_a_default_is_the_default(trainable: str) -> None:
    defaults = hparams_of(trainable)
    settings = {
        figure.of: float(text)
        for text, figure in FIGURES[trainable].items()
        if figure.kind == "setting" and figure.of in defaults
    }
    assert settings == {name: defaults[name] for name in settings}


def published() -> list[tuple[str, str, Recipe]]:
    return [
        (trainable, text, RECIPES[figure.recipe])
        for trainable, figures in FIGURES.items()
        for text, figure in figures.items()
        if figure.kind == "published"
    ]


@pytest.mark.parametrize(("trainable", "text", "recipe"), published())
def test_a_published_number_stands_beside_what_differs(trainable: str, text: str, recipe: Recipe) -> None:
    docstring = " ".join(docstring_of(trainable).split())
    assert [phrase for phrase in recipe.differs if phrase not in docstring] == []


SHIPPED = [
    pytest.param(trainable, recipe, id=f"{trainable}: {recipe.source}")
    for trainable in trainable_names()
    for recipe in load_trainable(trainable).recipes
]


@pytest.mark.parametrize(("trainable", "recipe"), SHIPPED)
def test_a_recipe_that_ships_is_of_hparams_alone_and_its_trainable_takes_it(
    trainable: str, recipe: Any
) -> None:
    hparams = load_trainable(trainable).hparams
    given = {**recipe.hparams, **{name: values[0] for name, values in recipe.only_with.items()}}
    if given.get("weights") == "hub":  # which the default network has not
        given["model"] = "resnet18"
    assert vars(hparams(**given)).items() >= given.items()
    for name, values in recipe.only_with.items():
        assert [hparams(**{**given, name: value}) for value in values]
    assert not set(given) & {"epochs", "resolution", "subset", "seed", "data"}
    assert given.items() - vars(hparams()).items(), "what the defaults are is trial 0"


def test_a_recipe_that_ships_has_the_numbers_of_the_table() -> None:
    shipped = {recipe.source: recipe.hparams for trainable, recipe in map(_values, SHIPPED)}
    pairs = {
        "He et al. 2016, ResNet on CIFAR-10": "resnet20_cifar.yaml",
        "PyTorch's example mnist": "mnist_cnn.yaml",
        "Peng et al. 2024, D-FINE-L": "d_fine.yaml",
        "Person_reID_baseline_pytorch, PCB": "person_reid_pcb.yaml",
    }
    for source, subject in pairs.items():
        table = RECIPES[subject].hparams
        both = shipped[source].keys() & table.keys()
        assert len(both) >= 3
        assert {name: shipped[source][name] for name in both} == {name: table[name] for name in both}


def _values(parameter: Any) -> Any:
    return parameter.values


def rates_of(training: SupervisedTraining[Any], epochs: int) -> list[tuple[float, float]]:
    """The rates of the head and of the backbone in the middle of each epoch."""
    found = []
    for epoch in range(epochs):
        training.schedule.set_position(epoch + 0.5)
        groups = training.optimizer.param_groups
        found.append((groups[0]["lr"], groups[-1]["lr"]))
    return found


def started(subject: str, tmp_path: Path, *, epochs: int, **context: Any) -> SupervisedTraining[Any]:
    """A training by a recipe, on the data that its trainable is tried out with."""
    is_space = subject.endswith(".yaml")
    trainable = read_space(subject).trainable.load() if is_space else load_trainable(subject)
    hparams = {**hparams_of(subject), **context.pop("changes", {})}
    given = TrainingContext(data_seed=0, seed=0, cache_dir=tmp_path, **context)
    training = trainable.start(trainable.hparams(**hparams), Budget(epochs=epochs), given)
    assert isinstance(training, SupervisedTraining)
    return training


def test_resnet_20_learns_at_a_tenth_after_82_epochs_and_at_a_hundredth_after_123_of_164(tmp_path) -> None:
    training = started("resnet20_cifar.yaml", tmp_path, epochs=164, data="digits")
    heads = [head for head, _ in rates_of(training, 164)]
    assert heads == pytest.approx([0.1] * 82 + [0.01] * 41 + [0.001] * 41)
    assert {group["nesterov"] for group in training.optimizer.param_groups} == {False}
    assert {group["weight_decay"] for group in training.optimizer.param_groups} == {1e-4}


def test_the_mnist_network_learns_at_seven_tenths_of_the_rate_after_each_of_14_epochs(tmp_path) -> None:
    training = started("mnist_cnn.yaml", tmp_path, epochs=14, data="digits")
    heads = [round(head, 4) for head, _ in rates_of(training, 14)]
    assert heads == [
        *[1.0, 0.7, 0.49, 0.343, 0.2401, 0.1681, 0.1176],
        *[0.0824, 0.0576, 0.0404, 0.0282, 0.0198, 0.0138, 0.0097],
    ]


def test_hyper_iqa_learns_at_its_two_rates_for_16_epochs(tmp_path) -> None:
    small = {"model": "test_resnet", "width": 56, "score_grid": 2}
    training = started("image_quality", tmp_path, epochs=16, data="photographs", resolution=48, changes=small)
    assert [(float(f"{head:.3g}"), float(f"{rest:.3g}")) for head, rest in rates_of(training, 16)] == [
        *[(2e-4, 2e-5)] * 7,
        *[(2e-5, 2e-6)] * 3,
        *[(2e-6, 2e-6)] * 3,
        *[(2e-7, 2e-7)] * 3,
    ]


@pytest.mark.parametrize("epochs", [8, 10, 20, 32, 100])
def test_no_rate_of_hyper_iqa_ever_rises_however_many_epochs_there_are(tmp_path, epochs: int) -> None:
    small = {"model": "test_resnet", "width": 56, "score_grid": 2}
    training = started(
        "image_quality", tmp_path, epochs=epochs, data="photographs", resolution=48, changes=small
    )
    for rates in zip(*rates_of(training, epochs), strict=True):
        assert all(after <= before for before, after in itertools.pairwise(rates))


@pytest.mark.parametrize(("is_overfit", "last"), [(True, 1.0), (False, 0.7**99)])
def test_a_training_that_shall_overfit_keeps_the_rate_of_an_exponential_schedule(
    tmp_path, is_overfit: bool, last: float
) -> None:
    training = started("mnist_cnn.yaml", tmp_path, epochs=100, data="digits", is_overfit=is_overfit)
    assert rates_of(training, 100)[-1][0] == pytest.approx(last)
