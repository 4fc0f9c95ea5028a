"""The Ray side, as far as it can be held without starting Ray."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution.tune_controller import TuneController

from search.accounting.account import NoMetering
from search.backends import sensors
from search.backends.backend import Capacity, NodeCapacity
from search.backends.errors import SessionError
from search.backends.ray import cluster as ray_side
from search.backends.ray.actors import KilledForMemory, first_sentence, places_text
from search.backends.ray.backend import RayBackend
from search.backends.ray.packing import Slots
from search.backends.ray.tune_adapter import SearchController, placement
from search.backends.resources import resolve_resources
from search.energy.node import CpuPower, CpuTdp
from search.ledger import Ledger
from search.run import Run
from search.space import Resources
from search.trial.failure import classify
from search.trial.task import cache_folder, task_for
from search.trial.worker_env import runtime_env
from tests.support.toy_runs import made_space, sampler_for


def chosen(resources: Resources, *, cpus: int, gpus: int) -> tuple[int | None, float | None]:
    fit = resolve_resources(resources, Capacity(num_cpus=cpus, num_gpus=gpus))
    return fit.workers, fit.gpus_per_trial


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "expected"),
    [
        (Resources(), 2, 0, (2, 0.0)),
        (Resources(), 16, 4, (4, 1.0)),
        (Resources(cpus_per_trial=8), 16, 4, (2, 1.0)),
        (Resources(gpus_per_trial=0.25), 16, 1, (4, 0.25)),
        (Resources(gpus_per_trial=0), 16, 4, (16, 0.0)),
        (Resources(workers=1), 16, 4, (1, 1.0)),
        (Resources(pack="memory"), 16, 1, (16, 1.0)),  # by cores: how many fit on a GPU, its memory says
        (Resources(pack="memory"), 200, 1, (50, 1.0)),  # a fiftieth of it is the smallest share
        (Resources(pack="memory", workers=3), 16, 1, (3, 1.0)),
        (Resources(pack="memory"), 16, 0, (16, 0.0)),
        (Resources(workers=64), 16, 0, (16, 0.0)),
        (Resources(cpus_per_trial=0.5), 2, 0, (4, 0.0)),
    ],
)
def test_what_is_left_open_is_chosen_from_the_machine(
    resources: Resources, cpus: int, gpus: int, expected: tuple[int, float]
) -> None:
    assert chosen(resources, cpus=cpus, gpus=gpus) == expected


@pytest.mark.parametrize(
    ("resources", "nodes", "workers"),
    [
        (Resources(cpus_per_trial=2), [(3, 0), (3, 0)], 2),  # not 3, as their totals say
        (Resources(), [(2, 0), (16, 4)], 4),  # a trial with a GPU takes no core of the node without any
        (Resources(cpus_per_trial=8), [(8, 4), (16, 1)], 2),
        (Resources(gpus_per_trial=2), [(16, 3), (16, 3)], 2),
        (Resources(gpus_per_trial=0.3), [(16, 4)], 12),  # three on each, not 13 on four
        (Resources(processes_per_trial=2, gpus_per_trial=0), [(1, 0), (5, 0)], 2),
    ],
)
def test_trials_are_counted_node_by_node(
    resources: Resources, nodes: list[tuple[int, int]], workers: int
) -> None:
    each = [NodeCapacity(num_cpus=cpus, num_gpus=gpus) for cpus, gpus in nodes]
    totals = {"num_cpus": sum(cpus for cpus, _ in nodes), "num_gpus": sum(gpus for _, gpus in nodes)}
    assert resolve_resources(resources, Capacity(**totals, nodes=each)).workers == workers


def test_what_no_node_has_alone_is_refused_although_together_they_do() -> None:
    nodes = [NodeCapacity(num_cpus=2, num_gpus=0)] * 2
    with pytest.raises(SessionError) as refused:
        resolve_resources(Resources(cpus_per_trial=3), Capacity(num_cpus=4, num_gpus=0, nodes=nodes))
    assert str(refused.value) == (
        "a trial needs 3 CPUs and 0 GPUs, but there are 4 CPUs and 0 GPUs on 2 nodes, and a trial is on one"
    )


def test_a_trial_that_fits_nowhere_is_refused_with_what_there_is() -> None:
    with pytest.raises(SessionError, match="a trial needs 1 CPU and 1 GPU, but there are 2 CPUs and 0 GPUs"):
        chosen(Resources(gpus_per_trial=1), cpus=2, gpus=0)


def test_a_trial_without_a_gpu_reserves_none() -> None:
    assert placement(1, 0).bundles == [{"CPU": 1}]
    assert placement(2, 0.5).bundles == [{"CPU": 2, "GPU": 0.5}]


def test_a_kill_by_the_memory_monitor_is_out_of_memory_in_one_line() -> None:
    error = OutOfMemoryError(
        "1 worker(s) were killed due to the node running low on memory. To see more, ...\nPID"
    )
    killed = KilledForMemory(error_msg=first_sentence(error))
    failure = classify(killed)
    assert failure.cause == "out_of_memory"
    assert (
        failure.message == "KilledForMemory: 1 worker(s) were killed due to the node running low on memory."
    )


def test_a_death_that_ray_reports_twice_is_one_failed_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray reports an actor's death and its task's failure; Tune passes on both where the worker was
    being prepared for its next trial."""
    monkeypatch.setattr(TuneController, "_process_trial_failure", lambda *_: None)
    space = made_space(tmp_path)
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    task = run.next_task()
    controller = SearchController.__new__(SearchController)
    controller._run, controller._taken_in, controller._resetting_trials = run, None, set()
    controller._tasks = Slots(run, slots=1)
    controller._overdue = {}
    trial = Mock(config={"task": task})
    death = RayActorError(error_msg="The actor died unexpectedly.")
    controller._process_trial_failure(trial, death)
    controller._process_trial_failure(trial, death)
    assert run.history.trials["trial-0000"].attempts == 2
    assert run.history.trials["trial-0000"].status == "running"
    controller._process_trial_failure(trial, RayActorError(error_msg="The next one died too."))
    assert run.history.trials["trial-0000"].status == "failed"


def test_a_token_is_random_and_the_users_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    token = ray_side._own_token()
    assert len(token) == 64
    assert ray_side._own_token() == token == os.environ["RAY_AUTH_TOKEN"]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    assert ray_side._own_token() == "mine"


def test_a_cluster_gets_the_program_and_the_names_of_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/shared/hub")
    runtime = runtime_env()
    assert [Path(package).name for package in runtime["py_modules"]] == ["search", "trainables"]
    assert runtime["env_vars"]["HF_HOME"] == "/shared/hub"


def test_a_task_carries_plain_data_and_makes_its_env_on_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULETUNE_CACHE", str(tmp_path / "cache"))
    space = made_space(tmp_path, overrides=["search.ladder.resolution=[8, 16, 32]", "search.precision=fp32"])
    task = task_for(space, trial_id="trial-0000", hparams={"lr": 0.5}, seed=7, folder=tmp_path)
    env = task.context()
    assert (env.device, env.seed, env.data_seed, env.resolution) == ("cpu", 7, 0, 32)
    assert (env.cache_dir, env.precision) == (tmp_path / "cache", "fp32")
    trainable, hparams = task.load()
    assert (trainable.metric, hparams.lr, hparams.batch_size) == ("val_accuracy", 0.5, 64)
    assert cache_folder() == tmp_path / "cache"


def test_a_limit_on_energy_that_nothing_measures_is_reported_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "_kinds_of_device", lambda power: set())
    both = made_space(tmp_path, overrides=["search.limits.kwh=1"])
    backend = RayBackend()
    meters, missing = backend.start_metering(both, {})
    assert isinstance(meters, NoMetering)
    assert missing.startswith("search.limits.kwh cannot be enforced, as nothing measures energy here: ")
    alone = made_space(tmp_path, overrides=["search.limits={kwh: 1}"])
    with pytest.raises(SessionError, match=r"^search\.limits\.kwh is the only limit, but nothing measures"):
        backend.start_metering(alone, {})
    assert backend.start_metering(made_space(tmp_path), {})[1] == ""


def test_a_limit_on_energy_that_is_estimated_is_said_and_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "_kinds_of_device", lambda power: {"estimated"})
    opened: list[CpuPower | None] = []

    def start(power: CpuPower | None) -> NoMetering:
        opened.append(power)
        return NoMetering()

    stated = "search.metering={cpu_tdp_w: 105, cpu_tdp_threads: 32}"
    limited = made_space(
        tmp_path, overrides=[stated, "search.limits.kwh=1", "search.objective=[val_accuracy, energy]"]
    )
    assert sensors.start_metering_if_measurable(limited, start, is_here=True)[1] == (
        "search.limits.kwh and the objective energy: the CPU's joules are estimated (quality E) from "
        "search.metering.cpu_tdp_w, as no sensor measures them"
    )
    silent = made_space(tmp_path, overrides=[stated])
    assert sensors.start_metering_if_measurable(silent, start, is_here=True)[1] == ""
    assert opened == [CpuTdp(tdp_w=105, threads=32)] * 2


@pytest.mark.parametrize(("cpus", "can_ever"), [(2, True), (3, False)])
def test_a_wait_for_a_place_says_what_each_node_has(
    cpus: int, can_ever: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"Alive": True, "NodeID": "a", "NodeManagerAddress": "10.0.0.5", "Resources": {"CPU": 2.0}}
    nodes = [node, {**node, "NodeID": "b", "NodeManagerAddress": "10.0.0.6"}, {**node, "Alive": False}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    free = {"a": {"CPU": 0.5}, "b": {"CPU": 2.0}}
    monkeypatch.setattr(ray._private.state, "available_resources_per_node", lambda: free)
    never = "; no node will ever have as much: lower what a trial reserves"
    assert places_text(cpus, 0) == (
        f"a worker with {cpus} CPUs and 0 GPUs; free: 10.0.0.5 has 0.5 of 2 CPUs and 0 of 0 GPUs, "
        f"10.0.0.6 has 2 of 2 CPUs and 0 of 0 GPUs{'' if can_ever else never}"
    )
