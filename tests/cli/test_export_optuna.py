"""A run as an Optuna study: what optuna.load_study finds in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.export.optuna import export_study
from search.run import Run
from tests.support.toy_runs import executed, fateful_space, listed, made_space

FATES = ["fine", "raise", "diverge", "fine"]


def exported(run: Run, folder: Path) -> optuna.Study:
    path = folder / "study.db"
    assert export_study(run.space, run.history, path, name="mine") == len(run.history.trials)
    assert [left.name for left in folder.glob("*study.db*")] == ["study.db"]
    return optuna.load_study(study_name="mine", storage=f"sqlite:///{path}")


def run_of(folder: Path, parameters: str, *points: dict[str, object]) -> Run:
    """A run of listed points over the toy."""
    text = (
        f"parameters: {parameters}\n"
        "search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}, scheduler: {mode: none}}\n"
    )
    return executed(made_space(folder, text), folder, listed(*points))[0]


def test_states_values_curves_and_times_are_those_of_the_run(tmp_path: Path) -> None:
    points = [{"fate": fate, "score": 0.5 - number / 10} for number, fate in enumerate(FATES)]
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed(*points))
    study = exported(run, tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "PRUNED", "PRUNED"]
    assert study.direction.name == "MAXIMIZE"
    assert study.metric_names == ["val_accuracy"]
    best, failed, diverged, stopped = study.trials
    assert best.values == [0.53]
    assert best.intermediate_values == {1: 0.51, 2: 0.52, 3: 0.53}
    assert stopped.intermediate_values == {1: pytest.approx(0.21)}
    assert stopped.values == [pytest.approx(0.21)]
    assert (failed.values, diverged.values) == (None, None)
    record = run.history.trials["trial-0000"]
    assert record.ended_at is not None
    assert best.datetime_start == datetime.fromtimestamp(record.asked_at)
    assert best.datetime_complete == datetime.fromtimestamp(record.ended_at)
    assert best.user_attrs["trial"] == "trial-0000"
    assert best.user_attrs["energy_j"] == record.energy.total_mj / 1000  # type: ignore[operator]
    assert failed.user_attrs["message"] == "KeyError: 'a mistake in the training code'"
    assert "message" not in best.user_attrs
    assert study.best_trial.number == 0


def test_each_kind_of_parameter_keeps_its_distribution(tmp_path: Path) -> None:
    parameters = (
        "{lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}, batch_size: {values: [16, 32]},"
        " noise: {distribution: q_uniform, min: 0.0, max: 0.5, q: 0.1}}"
    )
    run = run_of(tmp_path, parameters, {"lr": 0.1, "batch_size": 32, "noise": 0.1 * 3})
    (trial,) = exported(run, tmp_path).trials
    assert trial.params == {"lr": 0.1, "batch_size": 32, "noise": pytest.approx(0.3)}
    assert trial.distributions == {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "batch_size": CategoricalDistribution([16, 32]),
        "noise": FloatDistribution(0.0, 0.5, step=0.1),
    }


def test_a_bell_and_whole_steps_are_kept(tmp_path: Path) -> None:
    parameters = (
        "{lr: {distribution: log_normal, mu: -3, sigma: 1},"
        " batch_size: {distribution: q_uniform, min: 16, max: 64, q: 16}}"
    )
    run = run_of(tmp_path, parameters, {"lr": 0.1, "batch_size": 48})
    (trial,) = exported(run, tmp_path).trials
    lr = trial.distributions["lr"]
    assert isinstance(lr, FloatDistribution)
    assert (lr.low, lr.high, lr.log) == (
        pytest.approx(0.000335, rel=1e-2),
        pytest.approx(7.389, rel=1e-3),
        True,
    )
    assert trial.distributions["batch_size"] == IntDistribution(16, 64, step=16)


def test_a_default_outside_the_space_widens_what_it_must(tmp_path: Path) -> None:
    parameters = (
        "{lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}, batch_size: {values: [16, 32]}}"
    )
    points = [{"lr": 0.5, "batch_size": 64}, {"lr": 1e-3, "batch_size": 16}]
    outside, inside = exported(run_of(tmp_path, parameters, *points), tmp_path).trials
    assert outside.params == points[0]
    assert outside.distributions["lr"] == FloatDistribution(1e-4, 0.5, log=True)
    assert inside.distributions["lr"] == FloatDistribution(1e-4, 1e-2, log=True)
    assert inside.distributions["batch_size"] == CategoricalDistribution([16, 32, 64])


def test_zero_on_a_logarithmic_scale_is_left_out_and_stands_among_the_hparams(tmp_path: Path) -> None:
    parameters = "{lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}}"
    points = [{"lr": 0.0}, {"lr": 1e-3}]
    zero, other = exported(run_of(tmp_path, parameters, *points), tmp_path).trials
    assert (zero.params, other.params) == ({}, {"lr": 1e-3})
    assert json.loads(zero.user_attrs["hparams"]) == {"lr": 0.0}


def test_joules_are_the_second_value_of_a_run_that_minimises_them(tmp_path: Path) -> None:
    space = fateful_space(tmp_path, ["search.objective=[val_accuracy, energy]", "search.scheduler.mode=none"])
    run, _ = executed(
        space, tmp_path, listed({"fate": "fine", "score": 0.5}, {"fate": "raise", "score": 0.1})
    )
    study = exported(run, tmp_path)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["val_accuracy", "energy"]
    assert study.trials[0].values == [0.53, pytest.approx(0.36)]
    assert [trial.number for trial in study.best_trials] == [0]


def test_constraints_are_known_to_the_study(tmp_path: Path) -> None:
    space = made_space(
        tmp_path,
        "parameters: {lr: {min: 0.001, max: 0.1}, batch_size: {values: [16, 32]}}\n"
        "search: {trainable: toy, data: none, ladder: {epochs: [1, 3], subset: [0.1, 1.0]},\n"
        "  scheduler: {mode: none},\n"
        "  objective: [val_accuracy, {num_examples: min}], constraints: {num_examples: {max: 500}}}\n",
    )
    run, _ = executed(space, tmp_path, listed({"lr": 0.01, "batch_size": 16}))
    run.history.trials["trial-0001"] = replace(run.history.trials["trial-0000"], rows=[], measures={})
    broken, unknown = exported(run, tmp_path).trials
    assert (broken.state.name, broken.values) == ("PRUNED", None)
    assert broken.constraints == {"num_examples": 500.0}
    assert unknown.constraints == {}


def test_a_trial_that_runs_is_running(tmp_path: Path) -> None:
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed({"fate": "fine", "score": 0.5}))
    run.history.trials["trial-0000"].status = "running"
    assert [trial.state.name for trial in exported(run, tmp_path).trials] == ["RUNNING"]
