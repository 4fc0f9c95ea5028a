"""An override takes the place of what it contradicts, wherever its parameter lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.space import SPACES, Choice, Integer, Normal, Real, SpaceError, load_space
from search.space.parameters import middle
from tests.support.space_files import load

SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32], probabilities: [0.25, 0.75]}
  momentum: {distribution: q_normal, mu: 0.5, sigma: 0.1, q: 0.1}
  weight_decay: {value: 0.1}
search:
  trainable: ./model.py
  data: mnist5k
  initial_points: [{lr: 0.5, batch_size: 32}, {batch_size: 16}]
  when: {momentum: {batch_size: [16, 32]}}
"""


@pytest.mark.parametrize("overrides", [
    ("parameters.lr.value=0.3",),
    ("parameters.lr.min=0.2", "parameters.lr.value=0.3"),
    ("parameters.lr={value: 0.3}",),
    ("parameters.lr.distribution=constant", "parameters.lr.value=0.3"),
])  # fmt: skip
def test_a_value_takes_the_place_of_a_range(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    assert load(tmp_path, SPACE, *overrides).fixed["lr"] == 0.3


@pytest.mark.parametrize(
    ("name", "overrides", "parameter"),
    [
        ("batch_size", ["values=[8, 64]"], Choice((8, 64))),
        ("batch_size", ["values=[8, 64]", "probabilities=[0.5, 0.5]"], Choice((8, 64), (0.5, 0.5))),
        ("batch_size", ["min=8", "max=64"], Integer(8, 64)),
        ("batch_size", ["max=64", "min=8", "distribution=q_uniform", "q=8"], Real(8.0, 64.0, step=8)),
        ("lr", ["max=0.1"], Real(1e-4, 0.1, log=True)),
        ("lr", ["values=[0.1, 0.2]"], Choice((0.1, 0.2))),
        ("lr", ["distribution=uniform"], Real(1e-4, 1.0)),
        ("lr", ["distribution=log_normal", "mu=-3", "sigma=0.5"], Normal(-3.0, 0.5, log=True)),
        ("momentum", ["min=0.1", "max=0.9"], Real(0.1, 0.9, step=0.1)),
        ("weight_decay", ["values=[0.0, 0.1]"], Choice((0.0, 0.1))),
        ("weight_decay", ["min=0.0", "max=0.1"], Real(0.0, 0.1)),
    ],
)
def test_keys_of_one_kind_take_the_place_of_those_of_another(
    tmp_path: Path, name: str, overrides: list[str], parameter: object
) -> None:
    space = load(tmp_path, SPACE, "search.when=null", *(f"parameters.{name}.{each}" for each in overrides))
    assert space.parameters[name] == parameter


def test_what_the_file_says_of_an_overridden_parameter_yields_and_that_is_noted(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE, "parameters.batch_size.value=64")
    assert (space.initial_points, space.when["momentum"]) == (({"lr": 0.5},), {"batch_size": (16, 32)})
    assert "search.initial_points: left out what batch_size no longer allows" in space.notices
    narrowed = load(tmp_path, SPACE, "parameters.batch_size={values: [16, 128]}")
    assert narrowed.when == {"momentum": {"batch_size": (16,)}}
    assert "search.when: left out what batch_size no longer allows" in narrowed.notices
    assert "momentum" not in load(tmp_path, SPACE, "parameters.momentum.value=0.5").when


def test_start_points_that_contradict_in_the_file_or_on_the_line_are_still_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"search.initial_points\[0\].batch_size: is fixed at 64, got 8"):
        load(tmp_path, SPACE, "parameters.batch_size.value=64", "search.initial_points=[{batch_size: 8}]")
    with pytest.raises(
        SpaceError, match=r"search.initial_points\[0\].batch_size: must be one of 16, 32, got 8"
    ):
        load(tmp_path, SPACE, "search.initial_points=[{batch_size: 8}]")


GROUPED = """
parameters:
  optim: {parameters: {lr: {min: 0.1, max: 0.5}, adam: {parameters: {momentum: {min: 0.1, max: 0.9}}}}}
  model.weight_decay: {values: [0.1, 0.2]}
  batch_size: {values: [16, no]}
search: {trainable: ./model.py, data: mnist5k}
"""


def test_a_parameter_is_found_in_its_group_and_by_its_dots(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        GROUPED,
        "parameters.optim.lr.value=0.3",
        "parameters.optim.parameters.adam.momentum.max=0.5",
        "parameters.model.weight_decay.values=[0.3, 0.4]",
        "parameters.batch_size.values=[16, 64]",
    )
    assert space.fixed == {"lr": 0.3}
    assert space.parameters == {
        "momentum": Real(0.1, 0.5),
        "weight_decay": Choice((0.3, 0.4)),
        "batch_size": Choice((16, 64)),
    }
    assert not any("no is false" in note for note in space.notices)


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_parameter_of_every_space_can_be_fixed_by_a_word(path: Path) -> None:
    searched = load_space(path.name, spaces_dir=SPACES, is_of_run=True).parameters
    for name, parameter in searched.items():
        value = (
            str(middle(parameter)).replace("True", "true").replace("None", "null").replace("False", "false")
        )
        overrides = [f"parameters.{name}.value={value}"]
        fixed = load_space(
            path.name, overrides=overrides, spaces_dir=SPACES, is_of_run=True, may_be_fixed=True
        )
        assert fixed.fixed[name] == middle(parameter)


def test_a_parameter_whose_condition_can_no_longer_be_met_is_left_out_and_said(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE, "parameters.batch_size.values=[64, 128]")
    assert "momentum" not in space.parameters
    assert space.when == {}
    assert "parameters: left out momentum, whose conditions cannot be met" in space.notices
