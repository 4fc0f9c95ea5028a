"""Values are tried with the other values of their space, and trial 0 is a configuration of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.space import SPACES, Space, SpaceError, load_space
from tests.support.toy_runs import made_space

HUB = ["parameters.model={values: [resnet18, resnet50]}", "parameters.weights={value: hub}"]


def quick(*overrides: str) -> Space:
    return load_space("quick", overrides=overrides, spaces_dir=SPACES)


def trial_0(space: Space) -> dict[str, object]:
    return space.default_hparams(space.trainable.load())


def problems(*overrides: str, space: str = "quick") -> list[str]:
    with pytest.raises(SpaceError) as raised:
        load_space(space, overrides=overrides, spaces_dir=SPACES)
    return str(raised.value).split("parameters.", 1)[1].splitlines()


def test_weights_of_the_hub_are_taken_where_every_model_of_the_space_has_them() -> None:
    space = quick(*HUB)
    assert space.fixed["weights"] == "hub"
    assert trial_0(space)["model"] == "resnet18"
    (notice,) = [notice for notice in space.notices if notice.startswith("search.defaults")]
    assert notice == "search.defaults: trial 0 has model resnet18; the trainable's own defaults do not fit"


def test_weights_of_the_hub_and_random_ones_may_be_compared() -> None:
    space = quick(HUB[0], "parameters.weights={values: [none, hub]}")
    assert space.parameters["weights"].contains("hub")


def test_trials_are_tried_as_wholes() -> None:
    space = quick(
        "parameters={weights: {value: hub}}", "search.trials=[{model: resnet18}, {model: resnet50}]"
    )
    assert [point["model"] for point in space.trials] == ["resnet18", "resnet50"]
    assert trial_0(space)["model"] == "resnet18"


def test_layer_decay_is_taken_where_every_model_of_the_space_has_layers() -> None:
    assert (
        quick("parameters.layer_decay={values: [0.7, 1.0]}", HUB[0]).parameters["layer_decay"].contains(0.7)
    )
    assert quick("parameters.layer_decay={min: 0.65, max: 1.0}", HUB[0])


def test_accurate_does_what_its_own_comment_says() -> None:
    space = load_space(
        "accurate", overrides=["parameters.weights.value=hub", "parameters.lr.min=1e-3"], spaces_dir=SPACES
    )
    assert trial_0(space)["weights"] == "hub"
    assert trial_0(space)["model"] == "resnet18"


def test_setting_one_kind_of_a_parameter_replaces_the_others() -> None:
    space = quick("parameters.model.value=resnet18", "parameters.weights.value=hub")
    assert (space.fixed["model"], space.fixed["weights"]) == ("resnet18", "hub")
    assert "model" not in space.parameters


def test_a_value_that_goes_with_nothing_is_named() -> None:
    assert problems("parameters.model={values: [resnet20, resnet18]}", "parameters.weights={value: hub}") == [
        "model: resnet20 has no weights on a hub; set weights to none or name another model"
    ]


def test_a_value_that_goes_with_some_comes_with_its_condition_which_works() -> None:
    wanted = [
        "parameters.model={values: [resnet20, resnet18, resnet50]}",
        "parameters.weights={values: [none, hub]}",
    ]
    (line,) = problems(*wanted)
    assert line == (
        "weights: 'hub' does not go with model resnet20: resnet20 has no weights on a hub; set weights to "
        "none or name another model; or write search.when: {weights: {model: ['resnet18', 'resnet50']}}"
    )
    condition = line.partition("search.when: ")[2]
    assert quick(*wanted, f"search.when={condition}").when["weights"] == {"model": ("resnet18", "resnet50")}


def test_a_number_that_goes_with_some_comes_with_its_condition_which_works() -> None:
    decay = "parameters.layer_decay={min: 0.65, max: 1.0}"
    (line,) = problems(decay)
    assert line.startswith(
        "layer_decay: 0.65 does not go with model resnet20, mnist_cnn: layer_decay below 1 needs"
    )
    condition = line.partition("search.when: ")[2]
    assert quick(decay, f"search.when={condition}").is_active("layer_decay", {"model": "resnet18"})


def test_wrong_fixed_values_are_blamed_and_nothing_else() -> None:
    assert problems(HUB[0], "parameters.momentum={value: 1.5}") == [
        "momentum: momentum must be in [0, 1), got 1.5"
    ]


def test_where_nothing_goes_together_the_reason_is_said_once() -> None:
    (line,) = problems("parameters.model={values: [resnet20, mnist_cnn]}", "parameters.weights={value: hub}")
    assert line == "weights: resnet20 has no weights on a hub; set weights to none or name another model"


RULES = """
from dataclasses import dataclass
from trainables.core.contract import Trainable
@dataclass(frozen=True, kw_only=True)
class Hparams:
    a: str = "x"
    b: str = "x"
    n: float = 0.0
    def __post_init__(self):
        if self.a == "y" and self.b == "y":
            raise ValueError("a and b are both y")
        if self.n > 0.5 and self.b == "y":
            raise ValueError("n is too much for y")
        if self.n < 0:
            raise ValueError("n is below 0")
TRAINABLE = Trainable(hparams=Hparams, metric="m", mode="max", start=print)
"""


def with_rules(folder: Path, parameters: str, *overrides: str) -> Space:
    (folder / "rules.py").write_text(RULES)
    text = f"parameters: {parameters}\nsearch: {{trainable: ./rules.py, data: none}}\n"
    return made_space(folder, text, overrides)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            "{a: {values: [x, y]}, b: {values: [x, y]}}",
            "parameters.b: 'y' does not go with a y: a and b are both y",
        ),
        ("{a: {value: y}, b: {values: [x, y]}}", "parameters.b: a and b are both y"),
        (
            "{b: {values: [x, y]}, n: {min: 0.0, max: 1.0}}",
            "parameters.n: 1.0 does not go with b y: n is too much",
        ),
        ("{b: {value: y}, n: {min: 0.0, max: 1.0}}", "parameters.n: n is too much for y"),
        ("{b: {values: [x, y]}, n: {min: -1.0, max: 0.0}}", "parameters.n: n is below 0"),
    ],
)
def test_rules_between_values_of_any_trainable_are_kept(
    tmp_path: Path, parameters: str, message: str
) -> None:
    with pytest.raises(SpaceError) as raised:
        with_rules(tmp_path, parameters)
    assert message in str(raised.value)


def test_a_condition_lets_values_stand_that_go_with_some_only(tmp_path: Path) -> None:
    parameters = "{a: {values: [x, y]}, b: {values: [x, y]}, n: {min: 0.0, max: 1.0}}"
    space = with_rules(tmp_path, parameters, "search.when={b: {a: [x]}, n: {b: [x]}}")
    assert space.when["n"] == {"b": ("x",)}


def test_trial_0_is_what_the_space_says(tmp_path: Path) -> None:
    parameters = "{a: {values: [x, y]}, b: {values: [x, y]}, n: {min: 0.0, max: 1.0}}"
    conditions = "search.when={b: {a: [x]}, n: {b: [x]}}"
    space = with_rules(tmp_path, parameters, conditions, "search.defaults={a: y, n: 0.25}")
    assert trial_0(space) == {"a": "y", "b": "x", "n": 0.25}
    again = load_space(str(written(tmp_path, space)), spaces_dir=tmp_path)
    assert again.defaults == {"a": "y", "n": 0.25}


def written(folder: Path, space: Space) -> Path:
    from search.space import dump_space

    path = folder / "again.yaml"
    dump_space(space, path)
    return path


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ("{a: y, b: y}", "search.defaults: a and b are both y"),
        ("{c: 1}", "search.defaults.c: rules has no such hyperparameter"),
        ("{n: a lot}", "search.defaults.n: must be a number, got the text 'a lot'"),
    ],
)
def test_wrong_defaults_are_named(tmp_path: Path, defaults: str, message: str) -> None:
    with pytest.raises(SpaceError) as raised:
        with_rules(tmp_path, "{n: {min: 0.0, max: 0.4}}", f"search.defaults={defaults}")
    assert message in str(raised.value)


def test_a_fixed_value_takes_a_default_away_where_it_was_typed_and_contradicts_it_in_a_file(
    tmp_path: Path,
) -> None:
    parameters = "{a: {values: [x, y]}, n: {min: 0.0, max: 1.0}}"
    space = with_rules(tmp_path, parameters, "search.defaults={a: y}", "parameters.a.value=x")
    assert trial_0(space)["a"] == "x"
    with pytest.raises(SpaceError, match=r"search\.defaults\.a: is fixed at 'x', got 'y'"):
        with_rules(tmp_path, "{a: {value: x}, n: {min: 0.0, max: 1.0}}", "search.defaults={a: y}")
