"""Right space files: what comes out of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.budget import Limits
from search.space import Choice, Integer, Normal, Real, Scheduler, dump_space, load_space
from search.space.distributions import Entry, read_parameters, to_entry, to_parameter
from search.space.errors import Problems
from search.space.parameters import identity, is_same
from tests.support.space_files import load, write_space
from trainables.core.contract import Budget
from trainables.core.load import TrainableRef

REPOSITORY = Path(__file__).parents[2]

MINIMAL = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
search: {trainable: ./model.py, data: mnist5k}
"""

SWEEP = """
program: train.py
name: my sweep
description: A sweep in the shape of the W&B documentation
project: first-sweep
entity: me
command: ["${env}", "python", "${program}", "${args}"]
method: bayes
metric: {name: val_loss, goal: minimize, target: 0.01}
run_cap: 40
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  optimizer: {values: [adamw, sgd]}
  model: {value: large}
  lr: {distribution: uniform, min: 0, max: 0.1}
  batch_size: {distribution: q_log_uniform_values, q: 8, min: 32, max: 256}
search: {trainable: ./model.py, data: mnist5k}
"""

CONDITIONAL = """
parameters:
  lr: {min: 0.01, max: 0.5}
  nesterov: {values: [true, false]}
  momentum: {min: 0.5, max: 0.9}
  optimizer: {values: [sgd, adamw]}
search:
  trainable: ./model.py
  data: mnist5k
  ladder: {epochs: [1, 3], subset: [0.5, 1], resolution: 28}
  when: {nesterov: {momentum: [0.6, 0.9]}, momentum: {optimizer: sgd}}
  initial_points: [{lr: 0.02}, {optimizer: adamw}]
  resources: {gpus_per_trial: 0.5}
"""


def parameter_of(folder: Path, entry: str) -> Any:
    name = "optimizer" if "sgd" in entry else "batch_size" if "int" in entry else "lr"
    file = f"parameters: {{{name}: {entry}}}\nsearch: {{trainable: ./model.py, data: mnist5k}}"
    return load(folder, file).parameters[name]


@pytest.mark.parametrize(
    ("entry", "parameter"),
    [
        ("{values: [sgd, adamw]}", Choice(("sgd", "adamw"))),
        ("{distribution: categorical, values: [sgd]}", Choice(("sgd",))),
        ("{values: [sgd, adamw], probabilities: [0.25, 0.75]}", Choice(("sgd", "adamw"), (0.25, 0.75))),
        (
            "{distribution: categorical_w_probabilities, values: [sgd, adamw], probabilities: [0, 1]}",
            Choice(("sgd", "adamw"), (0.0, 1.0)),
        ),
        ("{min: 1, max: 3}", Integer(1, 3)),
        ("{min: 1.0, max: 3}", Real(1.0, 3.0)),
        ("{distribution: int_uniform, min: 1, max: 3}", Integer(1, 3)),
        ("{distribution: uniform, min: 1, max: 3}", Real(1.0, 3.0)),
        ("{distribution: q_uniform, min: 1, max: 9, q: 4}", Real(1.0, 9.0, step=4)),
        ("{distribution: q_uniform, min: 0.05, max: 0.95, q: 0.1}", Real(0.05, 0.95, step=0.1)),
        ("{min: 0.0, max: 1.0, q: 0.5}", Real(0.0, 1.0, step=0.5)),
        ("{distribution: q_uniform, min: 0.5, max: 4.5}", Real(0.5, 4.5, step=1)),
        ("{distribution: log_uniform, min: -2, max: 0}", Real(0.1353352832366127, 1.0, log=True)),
        ("{distribution: log_uniform_values, min: 1e-4, max: 1}", Real(0.0001, 1.0, log=True)),
        (
            "{distribution: q_log_uniform, min: 0, max: 2, q: 2}",
            Real(1.0, 7.38905609893065, log=True, step=2),
        ),
        ("{distribution: q_log_uniform_values, min: 0.1, max: 1, q: 0.25}", Real(0.1, 1.0, True, 0.25)),
        (
            "{distribution: inv_log_uniform, min: 0, max: 2}",
            Real(0.1353352832366127, 1.0, log=True, inverse=True),
        ),
        (
            "{distribution: inv_log_uniform_values, min: 0.01, max: 1}",
            Real(0.01, 1.0, log=True, inverse=True),
        ),
        ("{mu: 1, sigma: 0.5}", Normal(1.0, 0.5)),
        ("{distribution: normal}", Normal(0.0, 1.0)),
        ("{distribution: q_normal, mu: 1}", Normal(1.0, 1.0, step=1)),
        ("{distribution: log_normal, mu: -3, sigma: 1}", Normal(-3.0, 1.0, log=True)),
        ("{distribution: q_log_normal, sigma: 2, q: 0.1}", Normal(0.0, 2.0, log=True, step=0.1)),
    ],
)
def test_each_distribution_becomes_its_parameter_and_survives_being_written(
    tmp_path: Path, entry: str, parameter: Any
) -> None:
    assert parameter_of(tmp_path, entry) == parameter
    space = load_space(str(tmp_path / "toy.yaml"), spaces_dir=tmp_path)
    dump_space(space, tmp_path / "space.yaml")
    assert load_space(str(tmp_path / "space.yaml"), spaces_dir=tmp_path).parameters == space.parameters


def test_a_sweep_file_of_weights_and_biases_is_read_as_it_is(tmp_path: Path) -> None:
    space = load(tmp_path, SWEEP)
    assert (space.name, space.sampler, space.metric, space.mode) == ("my sweep", "tpe", "val_loss", "min")
    assert space.limits == Limits(trials=40)
    assert [rung.epochs for rung in space.ladder.rungs] == [3, 9, 27, 81]
    assert space.fixed == {"model": "large"}
    assert space.parameters == {
        "optimizer": Choice(("adamw", "sgd")),
        "lr": Real(0.0, 0.1),
        "batch_size": Real(32.0, 256.0, log=True, step=8),
    }
    about = [notice.split(":")[0] for notice in space.notices]
    assert about[:3] == ["metric.name", "program, command", "project, entity"]
    assert {"metric.target", "early_terminate", "parameters.lr"} < set(about)


def test_what_is_not_given_has_the_documented_default(tmp_path: Path) -> None:
    space = load(tmp_path, MINIMAL)
    assert (space.name, space.metric, space.mode, space.sampler) == ("toy", "val_accuracy", "max", "tpe")
    assert [rung.epochs for rung in space.ladder.rungs] == [1, 3, 9]
    assert space.scheduler == Scheduler(mode="asha", eta=3)
    assert (space.promote.top, space.promote.seeds) == (3, 3)
    assert (space.training.seed, space.training.precision) == (0, "auto")
    assert (space.resources.workers, space.resources.cores_per_trial) == (None, 1)
    assert space.resources.gpus_per_trial is None
    assert (space.training.patience, space.training.validation_subset) == (None, None)
    assert space.trainable == TrainableRef(path=tmp_path / "model.py")
    assert space.notices == (
        "search.ladder: not given; epochs are [1, 3, 9]",
        "search.limits: none given; the run continues until it is interrupted",
    )


def test_brackets_counted_down_from_max_iter_rise_to_it(tmp_path: Path) -> None:
    space = load(tmp_path, MINIMAL + "early_terminate: {type: hyperband, max_iter: 32, s: 2, eta: 4}")
    assert [rung.epochs for rung in space.ladder.rungs] == [2, 8, 32]
    assert space.scheduler.eta == 4


def test_a_ladder_of_ours_goes_before_early_terminate_and_its_eta_before_the_other(tmp_path: Path) -> None:
    text = MINIMAL + "early_terminate: {type: hyperband, min_iter: 2, eta: 4}"
    space = load(tmp_path, text, "search.ladder={epochs: 5}", "search.scheduler.eta=2")
    assert (space.ladder.rungs, space.scheduler.eta) == ((Budget(epochs=5),), 2)
    assert any(notice.startswith("early_terminate: its brackets are ignored") for notice in space.notices)


@pytest.mark.parametrize(
    ("written", "subsets"),
    [
        ("[0.25, 0.5, 1]", [0.25, 0.5, 1.0]),
        ("[100, 200, 300]", [100, 200, 300]),
        ("[1, 50, 300]", [1, 50, 300]),
        ("0.5", [0.5, 0.5, 0.5]),
        ("500", [500, 500, 500]),
    ],
)
def test_a_subset_is_a_share_or_a_count(tmp_path: Path, written: str, subsets: list[Any]) -> None:
    space = load(tmp_path, MINIMAL, f"search.ladder={{epochs: [1, 3, 9], subset: {written}}}")
    assert [repr(rung.subset) for rung in space.ladder.rungs] == [repr(subset) for subset in subsets]


def test_overrides_are_yaml_and_may_add_keys(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        MINIMAL,
        "parameters.lr.min=1e-3",
        "parameters.momentum={values: [0.5, 0.9]}",
        "search.limits.trials=7",
        "search.sampler=random",
    )
    assert space.parameters == {"lr": Real(0.001, 1.0, log=True), "momentum": Choice((0.5, 0.9))}
    assert (space.limits.trials, space.sampler) == (7, "random")


def test_a_bare_name_is_looked_up_among_the_spaces(tmp_path: Path) -> None:
    write_space(tmp_path, MINIMAL)
    assert load_space("toy", spaces_dir=tmp_path) == load_space("toy.yaml", spaces_dir=tmp_path)


def test_the_space_of_an_earlier_run_can_be_read_when_its_data_has_gone(tmp_path: Path) -> None:
    metric = "metric: {name: val_accuracy, goal: maximize}\n"
    text = metric + MINIMAL.replace("mnist5k", f"imagefolder:{tmp_path}/gone")
    read = load_space(str(write_space(tmp_path, text)), spaces_dir=tmp_path, is_of_run=True)
    assert read.data == f"imagefolder:{tmp_path}/gone"


def test_a_parameter_is_active_only_under_its_condition(tmp_path: Path) -> None:
    space = load(tmp_path, CONDITIONAL)
    assert space.is_active("momentum", {"optimizer": "sgd"})
    assert not space.is_active("momentum", {"optimizer": "adamw"})
    assert space.is_active("nesterov", {"optimizer": "sgd", "momentum": 0.9})
    assert not space.is_active("nesterov", {"optimizer": "adamw", "momentum": 0.9})
    order = space.search_order()
    assert order.index("optimizer") < order.index("momentum") < order.index("nesterov")


def test_a_condition_on_a_fixed_value_holds_for_every_trial(tmp_path: Path) -> None:
    space = load(tmp_path, CONDITIONAL, "parameters.optimizer={value: adamw}", "search.initial_points=[]")
    assert not space.is_active("momentum", {})
    assert "search.when.momentum: never true, since optimizer is 'adamw'" in space.notices


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("{momentum: {lr: 0.1}}", "a draw of lr, from a range, is never exactly 0.1; give it values"),
        (
            "{momentum: {optimizer: sgd, model: small}, model: {optimizer: adamw}}",
            "conditions need different values of optimizer",
        ),
        ("{momentum: {batch_size: 32}}", ""),
        ("{momentum: {model: small}, model: {optimizer: adamw}}", ""),
    ],
)
def test_a_condition_that_never_holds_is_noted(tmp_path: Path, when: str, reason: str) -> None:
    text = f"""
parameters:
  lr: {{min: 0.01, max: 0.5}}
  optimizer: {{values: [sgd, adamw]}}
  model: {{values: [small, large]}}
  batch_size: {{distribution: q_uniform, min: 16, max: 64, q: 16}}
  momentum: {{min: 0.5, max: 0.9}}
search: {{trainable: ./model.py, data: mnist5k, when: {when}}}
"""
    never = [note for note in load(tmp_path, text).notices if "never true" in note]
    assert never == ([f"search.when.momentum: never true, since {reason}"] if reason else [])


def test_a_space_contains_points_whose_active_parameters_are_in_range(tmp_path: Path) -> None:
    space = load(tmp_path, CONDITIONAL)
    assert space.contains({"lr": 0.1, "optimizer": "sgd", "momentum": 0.5, "nesterov": "any"})
    assert space.contains({"lr": 0.1, "optimizer": "adamw", "momentum": 7.0})
    assert not space.contains({"lr": 0.1, "optimizer": "sgd", "momentum": 7.0})
    assert not space.contains({"lr": 0.6, "optimizer": "adamw"})
    assert not space.contains({"optimizer": "adamw"})


def test_the_default_configuration_has_the_fixed_values(tmp_path: Path) -> None:
    space = load(tmp_path, SWEEP)
    defaults = space.default_hparams(space.trainable.load())
    assert (defaults["model"], defaults["lr"], defaults["sizes"]) == ("large", 0.1, (8, 16))


def test_a_default_outside_the_range_is_noticed(tmp_path: Path) -> None:
    space = load(tmp_path, MINIMAL, "parameters.lr.max=0.05", "search.limits.trials=3")
    assert space.notices[-1] == (
        "parameters.lr: the default configuration, trial 0, has 0.1, "
        "which is not a number from 0.0001 to 0.05"
    )


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Real(0.0, 1.0), [0, 1.0, 0.3], [-0.1, 1.1, True, "0.5", None]),
        (Real(0.0, 0.3, step=0.1), [0.30000000000000004, 0.2], [0.35, 0.4]),
        (Real(9.0, 70.0, step=16), [16, 48, 64], [0, 20, 80, 32.0, True]),
        (Integer(1, 3), [1, 3], [0, 4, 2.0, True]),
        (Choice((1, "a", True, None, [8, 16])), [(8, 16), 1, 1.0, "a", True, None], [False, "b", 0]),
        (Normal(0.0, 1.0), [-5, 0.1], [float("nan"), "1"]),
        (Normal(0.0, 1.0, log=True, step=0.5), [0, 1.5], [-0.5, 0.7]),
    ],
)
def test_a_parameter_knows_what_it_contains(parameter: Any, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in inside if not parameter.contains(value)] == []
    assert [value for value in outside if parameter.contains(value)] == []


@pytest.mark.parametrize("text", [MINIMAL, SWEEP, CONDITIONAL])
def test_a_written_space_is_read_back_as_an_equal_one(tmp_path: Path, text: str) -> None:
    space = load(tmp_path, text)
    folder = tmp_path / "results"
    folder.mkdir()
    dump_space(space, folder / "space.yaml")
    assert load_space(str(folder / "space.yaml"), spaces_dir=tmp_path) == space
    assert [file.name for file in folder.iterdir()] == ["space.yaml"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    low=st.floats(1e-12, 10.0),
    factor=st.floats(1.001, 1e6),
    log=st.booleans(),
    share=st.one_of(st.none(), st.floats(1e-4, 0.3)),
)
def test_any_range_is_read_back_as_an_equal_one(
    low: float, factor: float, log: bool, share: float | None
) -> None:
    name = "log_uniform_values" if log else "uniform"
    fields: dict[str, Any] = {"distribution": name, "min": low, "max": low * factor}
    if share is not None:
        fields |= {"distribution": f"q_{name}", "q": share * low * (factor - 1)}
    parameter = to_parameter(Entry(**fields))
    assert not isinstance(parameter, Choice | Normal)
    assert to_parameter(Entry(**to_entry(parameter))) == parameter
    assert all(map(parameter.contains, parameter.ends))


def test_nested_groups_become_dotted_names() -> None:
    group = {"head": {"parameters": {"width": {"values": [1, 2]}, "depth": {"value": 3}}}}
    declared = read_parameters(group, Problems())
    assert (list(declared.entries), declared.broken) == (["head.width", "head.depth"], [])
    assert declared.groups["head.width"] == ("head", "width")


def test_the_module_loads_no_heavy_library() -> None:
    code = "import sys, search.space; print({'torch', 'ray', 'optuna', 'pandas'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        ((1, 2), [1, 2.0], True),
        ([1, 0], [True, False], False),
        ({"betas": [1]}, {"betas": (1.0,)}, True),
        ({"nesterov": 1}, {"nesterov": True}, False),
    ],
)
def test_two_values_are_the_same_setting_or_not_at_any_depth(one: Any, other: Any, are_same: bool) -> None:
    assert (is_same(one, other), identity(one) == identity(other)) == (are_same, are_same)


def test_a_budget_moves_the_top_of_the_ladder_and_the_rest_with_it(tmp_path: Path) -> None:
    text = """
    parameters: {lr: {min: 0.1, max: 0.2}}
    search: {trainable: ./model.py, data: digits, ladder: {epochs: [1, 3, 9], subset: [0.25, 0.5, 1.0]}}
    """
    space = load(
        tmp_path, text, "search.budget.epochs=18", "search.budget.subset=0.5", "search.budget.resolution=32"
    )
    assert space.ladder.rungs == (
        Budget(epochs=2, subset=0.125, resolution=32),
        Budget(epochs=6, subset=0.25, resolution=32),
        Budget(epochs=18, subset=0.5, resolution=32),
    )
