"""Points near those that ran out of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from search.sampling.axes import Axis, axis_of
from search.sampling.feasibility import Feasibility
from tests.support.toy_runs import made_space, sampler_for

AXES = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  noise: {min: 0.0, max: 1.0}
  batch_size: {values: [16, 32, 64, 128, 256]}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}}
"""
LIMIT = 2 - math.sqrt(0.8)  # the sum of two uniform numbers lies above it in 40 % of all cases


@pytest.fixture
def feasibility(tmp_path: Path) -> Feasibility:
    space = made_space(tmp_path, AXES)
    return Feasibility({name: axis_of(parameter) for name, parameter in space.parameters.items()})


def test_nothing_is_unlikely_until_one_has_failed_and_one_has_fitted(feasibility: Feasibility) -> None:
    assert feasibility.is_likely({"noise": 0.5})
    feasibility.learn({"noise": 0.5}, fits=False)
    assert feasibility.clearance({"noise": 0.5}) == math.inf
    feasibility.learn({"noise": 0.0}, fits=True)
    assert feasibility.clearance({"noise": 0.5}) == 0.0


def test_clearance_is_the_ratio_of_the_nearest_distances(feasibility: Feasibility) -> None:
    for noise, fits in [(0.0, True), (0.25, True), (1.0, False)]:
        feasibility.learn({"noise": noise}, fits=fits)
    assert feasibility.clearance({"noise": 0.5}) == 2.0
    assert feasibility.clearance({"noise": 0.625}) == 1.0
    assert feasibility.clearance({"noise": 0.25}) == math.inf
    assert [feasibility.is_likely({"noise": noise}) for noise in (0.54, 0.56)] == [True, False]


def test_distances_follow_the_scale_of_each_axis(feasibility: Feasibility) -> None:
    feasibility.learn({"lr": 1e-4, "batch_size": 0}, fits=True)
    feasibility.learn({"lr": 1.0, "batch_size": 0}, fits=False)
    assert feasibility.clearance({"lr": 1e-2, "batch_size": 0}) == pytest.approx(1.0)
    assert feasibility.clearance({"lr": 1e-3, "batch_size": 0}) == pytest.approx(3.0)


def test_what_is_switched_off_has_no_part_in_a_distance(feasibility: Feasibility) -> None:
    feasibility.learn({"noise": 0.25}, fits=True)
    feasibility.learn({"noise": 1.0, "lr": 1e-4}, fits=False)
    assert feasibility.clearance({"noise": 0.5, "lr": 1.0}) == pytest.approx(math.hypot(0.5, 1.0) / 0.25)
    assert feasibility.clearance({"noise": 0.5}) == 2.0


def test_one_failure_does_not_shut_out_all_that_bears_its_name() -> None:
    kinds = Axis(low=0, high=2, decode=int, encode=int, is_whole=True, is_ordered=False)
    widths = Axis(low=0.0, high=1.0, decode=float, encode=float)
    named = Feasibility({"kind": kinds, "width": widths})
    named.learn({"kind": 0, "width": 0.0}, fits=True)
    named.learn({"kind": 1, "width": 1.0}, fits=False)
    assert named.clearance({"kind": 1, "width": 0.0}) == 4.0  # 1 from the failure, 0.25 from what fitted
    assert named.clearance({"kind": 2, "width": 1.0}) == pytest.approx(0.25 / math.hypot(0.25, 1.0))


def test_a_trial_that_fails_at_a_higher_rung_no_longer_fits(feasibility: Feasibility) -> None:
    feasibility.learn({"noise": 0.0}, fits=True)
    feasibility.learn({"noise": 0.5}, fits=True)
    feasibility.learn({"noise": 0.5}, fits=False)
    assert feasibility.clearance({"noise": 0.75}) == pytest.approx(0.25 / 0.75)


def test_fewer_points_run_out_of_memory_although_scores_rise_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_random, filtered = (share_out_of_memory(tmp_path, kind) for kind in ("random", "tpe"))
    monkeypatch.setattr(Feasibility, "is_likely", lambda self, codes: True)
    by_tpe_alone = share_out_of_memory(tmp_path, "tpe")
    assert at_random == pytest.approx(0.40, abs=0.05)
    assert filtered < 0.9 * by_tpe_alone
    assert filtered < 0.85 * at_random


def share_out_of_memory(folder: Path, kind: str) -> float:
    """Of the first 20 asks, with 8 seeds."""
    overrides = [f"search.sampler={kind}", "search.limits.trials=20"]
    asked = []
    for seed in range(8):
        sampler = sampler_for(made_space(folder, RISING, [*overrides, f"search.seed={seed}"]))
        for number in range(20):
            proposal = sampler.ask(f"t{number}")
            assert proposal is not None
            needs = memory(proposal.hparams)
            if needs > LIMIT:
                sampler.finish(f"t{number}", "failed", cause="out_of_memory")
            else:
                sampler.report(f"t{number}", 1, needs)
                sampler.finish(f"t{number}", "finished")
            asked.append(needs > LIMIT)
    return sum(asked) / len(asked)


RISING = """
parameters: {lr: {min: 0.0001, max: 1.0}, noise: {min: 0.0, max: 1.0}}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}}
"""


def memory(hparams: Mapping[str, Any]) -> float:
    return float(hparams["lr"] + hparams["noise"])


def test_where_nothing_likely_is_left_the_likeliest_point_is_asked_for(tmp_path: Path) -> None:
    sizes_alone = "parameters: {batch_size: {values: [16, 32, 64, 128, 256, 512]}}"
    text = f"{sizes_alone}\nsearch: {{trainable: toy, data: none}}"
    sampler = sampler_for(made_space(tmp_path, text))
    sizes = []
    for number in range(6):
        proposal = sampler.ask(f"t{number}")
        assert proposal is not None
        sizes.append(proposal.hparams["batch_size"])
        failed = sizes[-1] >= 128
        sampler.finish(
            f"t{number}", "failed" if failed else "stopped", cause="out_of_memory" if failed else ""
        )
    assert sorted(sizes) == [16, 32, 64, 128, 256, 512]
    assert sampler.ask("t6") is None
    assert sampler.states().count("RUNNING") == 0
