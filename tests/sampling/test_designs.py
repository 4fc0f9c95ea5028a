"""Points that are known before a run starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.sampling.designs import describe_design, designed, listed_values
from search.sampling.proposal import FixedList, Proposal
from search.sampling.warm_start import make_sampler
from search.space import Choice, Integer, Normal, Parameter, Real, Space
from tests.support.space_files import load
from tests.support.toy_runs import defaults_of

PARAMETERS = """
parameters:
  optimizer: {values: [sgd, adamw]}
  batch_size: {values: [32, 64, 128]}
search: {trainable: ./model.py, data: none}
"""
CONDITIONAL = """
parameters:
  optimizer: {values: [sgd, adamw]}
  momentum: {values: [0.5, 0.9]}
  weight_decay: {values: [0.0001, 0.01]}
search:
  trainable: ./model.py
  data: none
  when: {momentum: {optimizer: sgd}, weight_decay: {optimizer: adamw}}
"""
ABLATIONS = """
search:
  trainable: ./model.py
  data: none
  ablations:
    optimizer:
      - {optimizer: sgd, lr: [0.1, 0.5]}
      - {optimizer: adamw, lr: [0.001, 0.01]}
    model: {model: [small, large]}
"""


def proposals(space: Space) -> list[Proposal]:
    return designed(space, defaults_of(space))


def lines(space: Space) -> list[str]:
    return describe_design(proposals(space))


def test_one_factor_varies_each_parameter_alone(tmp_path: Path) -> None:
    assert lines(load(tmp_path, PARAMETERS, "search.design=one-factor")) == [
        "the default configuration",
        "optimizer=adamw",
        "batch_size=32",
        "batch_size=128",
    ]


@pytest.mark.parametrize("design", ["joint", "grid"])
def test_joint_and_grid_combine_all_values_with_the_default_first(tmp_path: Path, design: str) -> None:
    assert lines(load(tmp_path, PARAMETERS, f"search.design={design}")) == [
        "the default configuration",
        "batch_size=32",
        "batch_size=128",
        "optimizer=adamw batch_size=32",
        "optimizer=adamw",
        "optimizer=adamw batch_size=128",
    ]


def test_one_factor_sets_what_a_condition_needs(tmp_path: Path) -> None:
    assert lines(load(tmp_path, CONDITIONAL, "search.design=one-factor")) == [
        "the default configuration",
        "optimizer=adamw",
        "momentum=0.5",
        "optimizer=adamw weight_decay=0.01",
    ]


def test_a_joint_design_leaves_what_is_switched_off_at_its_default(tmp_path: Path) -> None:
    assert lines(load(tmp_path, CONDITIONAL, "search.design=joint")) == [
        "the default configuration",
        "momentum=0.5",
        "optimizer=adamw",
        "optimizer=adamw weight_decay=0.01",
    ]


def test_each_optimiser_is_ablated_with_learning_rates_of_its_own(tmp_path: Path) -> None:
    assert lines(load(tmp_path, ABLATIONS)) == [
        "the default configuration",
        "lr=0.5",
        "optimizer=adamw lr=0.001",
        "optimizer=adamw lr=0.01",
        "model=large",
    ]


def test_ablations_are_chosen_by_name(tmp_path: Path) -> None:
    space = load(tmp_path, ABLATIONS, "search.chosen_ablations=model")
    assert lines(space) == ["the default configuration", "model=large"]


def test_an_explicit_list_comes_in_its_order_each_point_once(tmp_path: Path) -> None:
    trials = "search.trials=[{lr: 0.2}, {training.optimizer.lr: 0.3, model: large}, {lr: 0.2}, {lr: 0.1}]"
    points = proposals(load(tmp_path, PARAMETERS, trials))
    assert describe_design(points) == ["the default configuration", "lr=0.2", "model=large lr=0.3"]
    assert [point.proposed_by for point in points] == ["default", "list", "list"]
    assert points[1].hparams == {**points[0].hparams, "lr": 0.2}


def test_start_points_come_right_after_the_default(tmp_path: Path) -> None:
    points = proposals(
        load(tmp_path, PARAMETERS, "search.design=joint", "search.initial_points=[{batch_size: 128}]")
    )
    assert [point.proposed_by for point in points[:3]] == ["default", "initial", "design"]
    assert len(points) == 6


def test_repeats_come_after_all_points_have_come_once_with_a_seed_of_their_own(tmp_path: Path) -> None:
    space = load(tmp_path, PARAMETERS, "search.trials=[{lr: 0.2}]", "search.repeats=3", "search.seed=5")
    points = proposals(space)
    assert [point.hparams["lr"] for point in points] == [0.1, 0.2] * 3
    seeds = [point.seed for point in points]
    assert seeds[:2] == [None, None]
    assert seeds[2:] == [3765896860] * 2 + [828575910] * 2
    assert describe_design(points)[3] == "lr=0.2 (seed 3765896860)"


def test_a_space_with_a_design_is_run_as_a_list(tmp_path: Path) -> None:
    space = load(tmp_path, PARAMETERS, "search.design=one-factor")
    sampler = make_sampler(space)
    assert isinstance(sampler, FixedList)
    asked = [sampler.ask(f"t{number}") for number in range(5)]
    assert [proposal and proposal.proposed_by for proposal in asked] == ["default", *["design"] * 3, None]


def test_a_space_that_leaves_the_choice_to_a_sampler_has_no_design(tmp_path: Path) -> None:
    space = load(tmp_path, PARAMETERS)
    assert (proposals(space), describe_design([])) == ([], [])


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (Choice(("sgd", "adamw")), ["sgd", "adamw"]),
        (Real(0.0, 1.0), [0.0, 0.5, 1.0]),
        (Real(1e-4, 1.0, log=True), [1e-4, 1e-2, 1.0]),
        (Real(0.0, 0.5, step=0.1), [0.0, 0.2, 0.5]),
        (Integer(1, 9), [1, 5, 9]),
        (Integer(1, 2), [1, 2]),
        (Real(8.0, 128.0, step=8), [8, 64, 128]),
        (Real(8.0, 128.0, log=True, step=8), [8, 32, 128]),
        (Normal(0.0, 1.0), [pytest.approx(-0.96742, abs=1e-5), 0.0, pytest.approx(0.96742, abs=1e-5)]),
    ],
)
def test_levels_lie_evenly_in_a_parameters_own_scale(parameter: Parameter, values: Sequence[object]) -> None:
    assert listed_values(parameter, 3) == values


@given(low=st.integers(-50, 50), width=st.integers(1, 200), step=st.integers(1, 9), levels=st.integers(2, 12))
def test_levels_of_whole_numbers_are_in_the_range_and_rise(
    low: int, width: int, step: int, levels: int
) -> None:
    parameter = Real(low * step, (low + width) * step, step=step)
    values = listed_values(parameter, levels)
    assert all(parameter.contains(value) for value in values)
    assert values == sorted(set(values))
    assert (values[0], values[-1]) == parameter.ends


def test_without_levels_whole_numbers_are_all_tried() -> None:
    assert listed_values(Integer(2, 4), None) == [2, 3, 4]
    assert listed_values(Real(2.0, 9.0, step=3), None) == [3, 6, 9]
