"""What is tried next, and what Optuna is told."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from search.ledger.history import Status
from search.sampling.designs import designed
from search.sampling.proposal import EarlierTrial, FixedList, Proposal, start_up_points
from search.sampling.sampler import OptunaSampler
from search.sampling.warm_start import make_sampler
from search.space import Space
from tests.support.toy_runs import defaults_of, made_space, sampler_for

SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
  noise: {distribution: normal, mu: 0.01, sigma: 0.001}
search:
  trainable: toy
  data: none
  ladder: {epochs: [1, 3, 9]}
  initial_points: [{lr: 0.5}, {batch_size: 16, lr: 0.25}]
"""


def test_the_default_comes_first_then_the_start_points_then_samples(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SPACE))
    asked = [sampler.ask(f"t{number}") for number in range(4)]
    assert [proposal.proposed_by for proposal in asked if proposal] == [
        "default",
        "initial",
        "initial",
        "sampler",
    ]
    assert [proposal.hparams["lr"] for proposal in asked[:3] if proposal] == [0.01, 0.5, 0.25]
    assert [proposal.hparams["batch_size"] for proposal in asked[:3] if proposal] == [64, 64, 16]


def test_samples_lie_in_the_space(tmp_path: Path) -> None:
    space = made_space(tmp_path, SPACE)
    sampler = sampler_for(space)
    for number in range(40):
        proposal = sampler.ask(f"t{number}")
        assert proposal is not None
        assert proposal.proposed_by == "default" or space.contains(proposal.hparams)
        sampler.report(f"t{number}", 0, float(number))
        sampler.finish(f"t{number}", "stopped")


def test_whole_numbers_on_a_log_scale_keep_their_step(tmp_path: Path) -> None:
    text = (
        "parameters: {batch_size: {distribution: q_log_uniform_values, q: 8, min: 32, max: 256}}\n"
        "search: {trainable: toy, data: none}"
    )
    space = made_space(tmp_path, text)
    sampler = sampler_for(space)
    asked = [sampler.ask(f"t{number}") for number in range(10)]
    sizes = {proposal.hparams["batch_size"] for proposal in asked if proposal}
    assert all(space.contains({"batch_size": size}) for size in sizes)
    assert len(sizes) == 10


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
    sampler = make_sampler(space)
    asked = [sampler.ask(f"t{number}") for number in range(4)]
    assert [proposal and proposal.hparams["batch_size"] for proposal in asked] == [64, 16, 32, None]


def test_a_grid_counts_points_that_differ_only_in_what_is_switched_off_once(tmp_path: Path) -> None:
    text = (
        "method: grid\n"
        "parameters: {batch_size: {values: [16, 64]}, lr: {values: [0.1, 0.2, 0.3]}}\n"
        "search: {trainable: toy, data: none, when: {lr: {batch_size: 16}}}"
    )
    space = made_space(tmp_path, text)
    points = [
        (each.hparams["batch_size"], each.hparams["lr"]) for each in designed(space, defaults_of(space))
    ]
    assert points == [(64, 0.01), (16, 0.1), (16, 0.2), (16, 0.3)]


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


KINDS = ["tpe", "random", "nsga2"]
SMALL = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128, 256, 512]}
search: {trainable: toy, data: none, ladder: {epochs: [1, 3]}, initial_points: [{lr: 0.5}]}
"""
SIZES = "parameters: {batch_size: {values: [16, 32, 64, 128]}}\nsearch: {trainable: toy, data: none}"


def score(hparams: Mapping[str, Any]) -> float:
    return -abs(math.log10(hparams["lr"]) + 1.5)


def proposed(sampler: OptunaSampler, numbers: Sequence[int]) -> list[Mapping[str, Any]]:
    """Ask for trials one by one and finish each, every third one stopped early."""
    points = []
    for number in numbers:
        proposal = sampler.ask(f"t{number}")
        assert proposal is not None
        points.append(proposal.hparams)
        tell(sampler, number, proposal.hparams)
    return points


def tell(sampler: OptunaSampler, number: int, hparams: Mapping[str, Any]) -> None:
    sampler.report(f"t{number}", 0, score(hparams))
    sampler.finish(f"t{number}", "stopped" if number % 3 == 2 else "finished")


def recalled(space: Space, points: Sequence[Mapping[str, Any]], firsts: int = 2) -> OptunaSampler:
    """A new sampler that is told all of an earlier one's trials."""
    sampler = sampler_for(space)
    for number, hparams in enumerate(points):
        proposed_by = "sampler" if number >= firsts else "initial" if number else "default"
        sampler.replay(f"t{number}", hparams, proposed_by)
        tell(sampler, number, hparams)
    return sampler


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_restarted_after_each_trial_asks_for_the_same_points(tmp_path: Path, kind: str) -> None:
    space = made_space(tmp_path, SMALL, [f"search.sampler={kind}"])
    straight = proposed(sampler_for(space), range(16))
    restarted: list[Mapping[str, Any]] = []
    for number in range(16):
        restarted += proposed(recalled(space, restarted), [number])
    assert restarted == straight


STEPPED = """
parameters:
  lr: {distribution: q_log_uniform_values, min: 0.001, max: 1.0, q: 0.001}
  batch_size: {distribution: q_uniform, min: 10, max: 300, q: 8}
  noise: {distribution: q_normal, mu: 0.3, sigma: 0.05, q: 0.01}
search: {trainable: toy, data: none, limits: {trials: 16}}
"""


@pytest.mark.parametrize("kind", ["tpe", "random", "gp"])
def test_rounded_values_survive_a_restart_as_well(tmp_path: Path, kind: str) -> None:
    space = made_space(tmp_path, STEPPED, [f"search.sampler={kind}"])
    straight = proposed(sampler_for(space), range(12))
    # The Gaussian process decides from the eleventh trial on; a restart there takes it a second each.
    for number in [0, 11] if kind == "gp" else range(12):
        known = straight[:number]
        assert proposed(recalled(space, known, firsts=1), [number]) == straight[number : number + 1]


def test_other_seeds_ask_for_other_points(tmp_path: Path) -> None:
    space, other = made_space(tmp_path, SMALL), made_space(tmp_path, SMALL, ["search.seed=1"])
    assert proposed(sampler_for(space), range(5))[2:] != proposed(sampler_for(other), range(5))[2:]


def test_a_recalled_trial_is_finished_like_any_other(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL))
    sampler.replay("t0", {"lr": 0.1, "batch_size": 64, "noise": 0.005}, "sampler")
    assert sampler.states() == ["RUNNING"]
    sampler.report("t0", 1, 0.5)
    sampler.finish("t0", "stopped")
    assert (sampler.states(), sampler.intermediate_values()) == (["PRUNED"], [{3: 0.5}])


def test_a_recalled_point_outside_a_narrowed_space_stays_out_of_the_study(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL, ["parameters.lr.max=0.6"]))
    sampler.replay("t0", {"lr": 0.9, "batch_size": 64, "noise": 0.005}, "sampler")
    sampler.report("t0", 0, 0.5)
    sampler.finish("t0", "stopped")
    assert sampler.states() == []


def test_a_recalled_default_is_not_asked_for_again_although_a_fixed_value_changed(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL, ["parameters.noise.value=0.1"]))
    sampler.replay("t0", {"lr": 0.01, "batch_size": 64, "noise": 0.005}, "default")
    proposal = sampler.ask("t1")
    assert proposal is not None
    assert proposal.proposed_by == "initial"


def test_a_list_strikes_out_what_is_recalled_and_keeps_the_seed_of_the_rest() -> None:
    points = [
        Proposal(hparams={"lr": lr}, proposed_by="list", seed=seed) for seed in (1, 2) for lr in (0.1, 0.2)
    ]
    sampler = FixedList(points)
    sampler.replay("t0", {"lr": 0.1}, "list")
    assert [sampler.ask("t") for _ in range(3)] == points[1:]
    assert (sampler.ask("t"), sampler.exhausted_reason) == (None, "the whole list was tried")


@pytest.mark.parametrize("kind", KINDS)
def test_no_point_is_proposed_twice_and_an_exhausted_space_says_so(tmp_path: Path, kind: str) -> None:
    sampler = sampler_for(made_space(tmp_path, SIZES, [f"search.sampler={kind}"]))
    asked = [sampler.ask(f"t{number}") for number in range(5)]
    assert sorted(proposal.hparams["batch_size"] for proposal in asked if proposal) == [16, 32, 64, 128]
    assert asked[4] is None
    assert sampler.exhausted_reason == "the space is exhausted: 20 draws repeated earlier points"
    for number in range(4):
        sampler.finish(f"t{number}", "interrupted")
    assert "RUNNING" not in sampler.states()


def test_a_start_point_that_repeats_the_default_is_left_out(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL, ["search.initial_points=[{lr: 0.01}, {lr: 0.5}]"]))
    asked = [sampler.ask(f"t{number}") for number in range(3)]
    assert [proposal.proposed_by for proposal in asked if proposal] == ["default", "initial", "sampler"]


def test_start_up_is_at_most_five_points_or_a_third_of_all() -> None:
    assert [start_up_points(trials) for trials in (None, 100, 12, 3, 1)] == [5, 5, 4, 1, 1]


def test_the_model_decides_after_start_up_although_most_trials_still_run(tmp_path: Path) -> None:
    """Optuna's own count would stay random here until ten trials have ended."""
    overrides = ["search.limits.trials=12"]
    informed, other = (sampler_for(made_space(tmp_path, SMALL, overrides)) for _ in range(2))
    asked: list[list[Mapping[str, Any]]] = [[], []]
    for index, sampler in enumerate((informed, other)):
        for number in range(8):
            proposal = sampler.ask(f"t{number}")
            assert proposal is not None
            asked[index].append(proposal.hparams)
            if number < 3:  # the rest runs on
                sampler.report(f"t{number}", 1, float(number if index else -number))
                sampler.finish(f"t{number}", "finished")
    assert asked[0][:4] == asked[1][:4]  # start-up: what was told makes no difference
    assert asked[0][4:] != asked[1][4:]


def share_out_of_memory(folder: Path, kind: str) -> float:
    """Of the 25 asks after the first 15, with 8 seeds: those of a batch size that never fits."""
    large = []
    for seed in range(8):
        sampler = sampler_for(made_space(folder, SMALL, [f"search.sampler={kind}", f"search.seed={seed}"]))
        for number in range(40):
            proposal = sampler.ask(f"t{number}")
            assert proposal is not None
            is_large = proposal.hparams["batch_size"] >= 256
            if is_large:
                sampler.finish(f"t{number}", "failed", cause="out_of_memory")
            else:
                sampler.report(f"t{number}", 1, score(proposal.hparams))
                sampler.finish(f"t{number}", "finished")
            large += [is_large] if number >= 15 else []
    return sum(large) / len(large)


@pytest.mark.slow  # 8 s
def test_points_near_those_that_ran_out_of_memory_become_rare(tmp_path: Path) -> None:
    at_random = share_out_of_memory(tmp_path, "random")
    assert at_random == pytest.approx(1 / 3, abs=0.06)
    assert share_out_of_memory(tmp_path, "tpe") < 0.6 * at_random


def test_out_of_memory_is_pruned_with_a_violated_constraint_and_a_crash_fails(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL))
    for number, cause in enumerate(["out_of_memory", "crash"]):
        sampler.ask(f"t{number}")
        sampler.finish(f"t{number}", "failed", cause=cause)
    assert sampler.states() == ["PRUNED", "FAIL"]
    assert [bool(trial.constraints) for trial in sampler._study.trials] == [True, False]


def test_earlier_trials_are_known_where_they_lie_in_this_space(tmp_path: Path) -> None:
    sampler = sampler_for(made_space(tmp_path, SMALL))
    inside = {"lr": 0.1, "batch_size": 64, "dropout": 0.5}
    earlier = [
        EarlierTrial(hparams=inside, values={1: 0.4, 27: 0.9}, status="finished"),
        EarlierTrial(hparams=inside, values={1: 0.4}, status="stopped"),
        EarlierTrial(hparams=inside, values={}, status="failed", cause="out_of_memory"),
        EarlierTrial(hparams=inside, values={1: 0.4}, status="running"),
        EarlierTrial(hparams={"lr": 0.1}, values={1: 0.4}, status="finished"),
        EarlierTrial(hparams={**inside, "lr": 2.0}, values={1: 0.4}, status="finished"),
    ]
    assert sampler.warm_start(earlier) == 3
    assert sampler.states() == ["COMPLETE", "PRUNED", "PRUNED"]
    assert sampler.intermediate_values() == [{1: 0.4, 27: 0.9}, {1: 0.4}, {}]
    proposal = sampler.ask("t0")
    assert proposal is not None
    assert proposal.proposed_by == "default"


def test_what_is_known_saves_the_random_start_up(tmp_path: Path) -> None:
    space = made_space(tmp_path, SMALL, ["search.initial_points=[]"])
    knowing, other = sampler_for(space), sampler_for(space)
    points = proposed(sampler_for(space), range(12))
    knowing.warm_start([EarlierTrial(hparams=p, values={3: score(p)}, status="finished") for p in points])
    assert proposed(knowing, range(2))[1] != proposed(other, range(2))[1]


def test_two_objectives_are_told_at_the_end_alone(tmp_path: Path) -> None:
    space = made_space(tmp_path, SMALL, ["search.objective=[val_accuracy, energy]"])
    sampler = sampler_for(space)
    for number in range(14):
        assert sampler.ask(f"t{number}") is not None
        sampler.report(f"t{number}", 0, 0.5, 100.0 + number)
        sampler.finish(f"t{number}", "stopped" if number % 2 else "finished")
    assert sampler.states() == ["COMPLETE", "PRUNED"] * 7
    assert sampler.intermediate_values() == [{}] * 14
    assert sampler._study.trials[2].values == [0.5, 102.0]


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="the package cmaes is not installed")
def test_cmaes_asks_within_the_space(tmp_path: Path) -> None:
    space = made_space(tmp_path, SMALL, ["search.sampler=cmaes"])
    assert all(space.contains(point) for point in proposed(sampler_for(space), range(20)))


def test_gp_asks_within_the_space_and_from_its_model(tmp_path: Path) -> None:
    overrides = ["search.sampler=gp", "search.limits.trials=9"]
    space = made_space(tmp_path, SMALL, overrides)
    at_random = made_space(tmp_path, SMALL, [*overrides, "search.sampler=random"])
    points = proposed(sampler_for(space), range(6))
    assert all(space.contains(point) for point in points)
    assert points[:3] == proposed(sampler_for(at_random), range(3))
    assert points[5] != proposed(sampler_for(at_random), range(6))[5]


def test_a_default_that_is_a_tuple_is_found_among_lists(tmp_path: Path) -> None:
    (tmp_path / "shaped.py").write_text(
        "from dataclasses import dataclass\n"
        "from trainables.core.contract import Trainable\n"
        "@dataclass(frozen=True)\n"
        "class Hparams:\n"
        "    sizes: tuple[int, ...] = (8, 16)\n"
        "TRAINABLE = Trainable(hparams=Hparams, metric='val_accuracy', mode='max', start=print)\n"
    )
    text = "parameters: {sizes: {values: [[8], [8, 16]]}}\nsearch: {trainable: ./shaped.py, data: none}"
    sampler = sampler_for(made_space(tmp_path, text))
    asked = [sampler.ask(f"t{number}") for number in range(3)]
    assert [proposal and proposal.hparams["sizes"] for proposal in asked] == [(8, 16), [8], None]
