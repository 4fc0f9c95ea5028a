"""What is tried next, and what Optuna is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import defaults_of, made_space, sampler_for

from search.history import Status
from search.proposal import grid_points
from search.sampler import make_sampler

SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
  noise: {distribution: normal, mu: 0.01, sigma: 0.001}
search:
  trainable: toy
  data: none
  ladder: {epochs: [1, 3, 9]}
  start: [{lr: 0.5}, {batch_size: 16, lr: 0.25}]
"""


def test_the_default_comes_first_then_the_start_points_then_samples(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SPACE))
    asked = [sampler.ask(f"t{number}") for number in range(4)]
    assert [proposal.origin for proposal in asked if proposal] == ["default", "start", "start", "sampler"]
    assert [proposal.hparams["lr"] for proposal in asked[:3] if proposal] == [0.01, 0.5, 0.25]
    assert [proposal.hparams["batch_size"] for proposal in asked[:3] if proposal] == [64, 64, 16]


def test_samples_lie_in_the_space(tmp_path: Path) -> None:
    space = made_space(tmp_path, SPACE)
    sampler = sampler_for(space)
    for number in range(40):
        proposal = sampler.ask(f"t{number}")
        assert proposal is not None
        assert proposal.origin == "default" or space.contains(proposal.hparams)
        sampler.report(f"t{number}", 0, float(number))
        sampler.finish(f"t{number}", "stopped")


def test_whole_numbers_on_a_log_scale_keep_their_step(tmp_path: Path) -> None:
    text = (
        "parameters: {batch_size: {distribution: q_log_uniform_values, q: 8, min: 32, max: 256}}\n"
        "search: {trainable: toy, data: none}"
    )
    space = made_space(tmp_path, text)
    sampler = sampler_for(space)
    sizes = {sampler.ask(f"t{number}").hparams["batch_size"] for number in range(60)}
    assert all(space.contains({"batch_size": size}) for size in sizes)
    assert len(sizes) > 10


def test_a_default_outside_the_ranges_runs_but_teaches_nothing(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SPACE, ["parameters.lr.min=0.1"]))
    first = sampler.ask("t0")
    assert first is not None
    assert first.hparams["lr"] == 0.01
    sampler.report("t0", 0, 0.9)
    sampler.finish("t0", "finished")
    assert sampler.states() == []


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("finished", "COMPLETE"),
        ("stopped", "PRUNED"),
        ("diverged", "PRUNED"),
        ("failed", "FAIL"),
        ("interrupted", "FAIL"),
    ],
)
def test_every_end_has_its_state_and_nothing_is_left_running(
    tmp_path: Path, status: Status, state: str
) -> None:
    sampler = sampler_for(made_space(tmp_path))
    sampler.ask("t0")
    sampler.report("t0", 0, 0.5)
    sampler.finish("t0", status)
    assert sampler.states() == [state]


def test_a_stopped_trial_is_known_with_its_value_at_each_rung(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path))
    sampler.ask("t0")
    sampler.report("t0", 0, 0.5)
    sampler.report("t0", 1, 0.7)
    sampler.finish("t0", "stopped")
    assert sampler.intermediate_values() == [{1: 0.5, 3: 0.7}]


def test_nan_is_never_told_as_a_value(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path))
    sampler.ask("t0")
    sampler.report("t0", 0, float("nan"))
    sampler.finish("t0", "diverged")
    assert (sampler.states(), sampler.intermediate_values()) == (["PRUNED"], [{}])


def test_a_grid_tries_each_point_and_then_has_no_more(tmp_path: Path) -> None:
    sizes = "parameters: {batch_size: {values: [16, 32, 64]}}"
    text = f"{{method: grid, {sizes}, search: {{trainable: toy, data: none}}}}"
    space = made_space(tmp_path, text)
    sampler = make_sampler(space, defaults_of(space))
    asked = [sampler.ask(f"t{number}") for number in range(4)]
    assert [proposal and proposal.hparams["batch_size"] for proposal in asked] == [64, 16, 32, None]


def test_a_grid_counts_points_that_differ_only_in_what_is_switched_off_once(tmp_path: Path) -> None:
    text = (
        "method: grid\n"
        "parameters: {batch_size: {values: [16, 64]}, lr: {values: [0.1, 0.2, 0.3]}}\n"
        "search: {trainable: toy, data: none, when: {lr: {batch_size: 16}}}"
    )
    space = made_space(tmp_path, text)
    points = [(point["batch_size"], point["lr"]) for point, _ in grid_points(space, defaults_of(space))]
    assert points == [(16, 0.1), (16, 0.2), (16, 0.3)]


def test_a_condition_decides_what_is_searched(tmp_path: Path) -> None:
    text = (
        "parameters: {batch_size: {values: [16, 64]}, lr: {min: 0.1, max: 0.9}}\n"
        "search: {trainable: toy, data: none, when: {lr: {batch_size: 16}}}"
    )
    sampler = sampler_for(made_space(tmp_path, text))
    asked = [sampler.ask(f"t{number}") for number in range(30)]
    for proposal in asked[1:]:
        assert proposal is not None
        is_searched = proposal.hparams["lr"] != 0.01
        assert is_searched == (proposal.hparams["batch_size"] == 16)
