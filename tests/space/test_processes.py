"""Trials of several processes: what a space may ask for, and what it gets of a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.backends.backend import Capacity, NodeCapacity
from search.backends.errors import SessionError
from search.backends.resources import resolve_resources
from search.promotion import alone_on_gpus, in_processes
from search.space import Resources, Space, SpaceError, load_space
from search.space.space import dump_space
from search.trial.task import task_for
from tests.support.processes import ROOT
from tests.support.space_files import load

OWN = """
parameters: {lr: {values: [0.1, 0.2]}}
search: {trainable: ./model.py, data: none, ladder: {epochs: [1]}, resources: %s}
"""
BUILT_IN = """
parameters: {lr: {values: [0.1, 0.2]}}
search: {trainable: %s, data: digits, ladder: {epochs: [1]}, resources: {processes_per_trial: 2}}
"""
SCRIPT = """
parameters: {lr: {values: [0.1, 0.2]}}
search:
  trainable: command
  command: {run: "%s", metric: val_acc, mode: max, defaults: {lr: 0.1}, %s}
  ladder: {epochs: [1]}
  resources: {processes_per_trial: 2}
"""


def problem(folder: Path, text: str) -> str:
    with pytest.raises(SpaceError) as caught:
        load(folder, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ("{gpus_per_trial: 1.5}", "gpus_per_trial: must be a fraction of one GPU or a whole number"),
        (
            "{gpus_per_trial: 2, processes_per_trial: 3}",
            "processes_per_trial: must be 2, as each process has",
        ),
        ("{gpus_per_trial: 0.5, processes_per_trial: 2}", "processes_per_trial: must be 1, as each process"),
        ("{processes_per_trial: 0}", "processes_per_trial: must be at least 1, got 0"),
        ("{processes_per_trial: 1.5}", "processes_per_trial: must be a whole number"),
        ("{processes_per_trial: 2}", "processes_per_trial: ./model.py trains in one process, on one device"),
    ],
)
def test_processes_that_cannot_be_had_are_named(tmp_path: Path, resources: str, text: str) -> None:
    assert text in problem(tmp_path, OWN % resources)


@pytest.mark.parametrize("trainable", ["detection", "forward_forward", "hog_svm"])
def test_a_trainable_that_cannot_be_parted_is_refused_by_name(tmp_path: Path, trainable: str) -> None:
    assert f"{trainable} trains in one process, on one device" in problem(tmp_path, BUILT_IN % trainable)


def test_a_users_own_trainable_may_use_several_gpus_by_itself(tmp_path: Path) -> None:
    assert load(tmp_path, OWN % "{gpus_per_trial: 2}").resources.num_processes == 2


def test_a_command_of_several_processes_needs_a_launcher_and_python(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    assert "write search.command.launcher: torchrun to have 2" in problem(
        tmp_path, SCRIPT % ("python train.py", "timeout_s: 9")
    )
    (tmp_path / "train.sh").touch(mode=0o755)
    assert "torchrun starts Python" in problem(tmp_path, SCRIPT % ("./train.sh", "launcher: torchrun"))
    assert "must be one of torchrun, got 'mpirun'" in problem(
        tmp_path, SCRIPT % ("python train.py", "launcher: mpirun")
    )
    space = load(tmp_path, SCRIPT % ("python train.py", "launcher: torchrun"))
    assert space.trainable.load().is_data_parallel


def resolved(gpus: int, given: dict[str, Any], *, cpus: int = 16, **more: Any) -> Resources:
    node_gpus = more.pop("node_gpus", None) or max(gpus, 1)
    nodes = [NodeCapacity(num_cpus=cpus, num_gpus=min(gpus, node_gpus))] * max(1, gpus // node_gpus)
    capacity = Capacity(num_cpus=cpus * len(nodes), num_gpus=gpus, nodes=nodes)
    return resolve_resources(Resources(**given), capacity, **more)


def test_each_process_gets_a_core_and_where_there_are_gpus_one_of_them() -> None:
    on_cpu = resolved(0, {"processes_per_trial": 4})
    assert (on_cpu.gpus_per_trial, on_cpu.cores_per_trial, on_cpu.workers) == (0, 4, 4)
    on_gpus = resolved(8, {"processes_per_trial": 4})
    assert (on_gpus.gpus_per_trial, on_gpus.cores_per_trial, on_gpus.workers) == (4, 4, 2)
    by_gpus = resolved(8, {"gpus_per_trial": 2})
    assert (by_gpus.num_processes, by_gpus.cores_per_trial, by_gpus.workers) == (2, 2, 4)
    said = resolved(8, {"gpus_per_trial": 2, "cpus_per_trial": 1})
    assert said.cores_per_trial == 1
    with pytest.raises(
        SessionError, match="a trial needs 4 CPUs and 4 GPUs, but there are 16 CPUs and 2 GPUs"
    ):
        resolved(2, {"processes_per_trial": 4})


@pytest.mark.parametrize(
    ("gpus", "trainings", "node_gpus", "given", "each"),
    [
        (8, 4, None, {"gpus_per_trial": 1.0}, 2),
        (8, 3, None, {}, 2),
        (8, 1, None, {}, 8),
        (16, 1, 8, {}, 8),  # all GPUs of a training are on one node
        (8, 5, None, {}, 1),
        (8, 12, None, {}, 1),
        (0, 1, None, {}, 0),
        (8, 2, None, {"gpus_per_trial": 0.5}, 0.5),
        (8, 1, None, {"gpus_per_trial": 2}, 2),
        (8, 1, None, {"processes_per_trial": 1}, 1),
    ],
)
def test_a_promotion_of_fewer_trainings_than_gpus_gives_each_several(
    gpus: int, trainings: int, node_gpus: int | None, given: dict[str, Any], each: float
) -> None:
    found = resolved(gpus, given, node_gpus=node_gpus, spread_over=trainings)
    assert found.gpus_per_trial == each
    assert found.num_processes == max(1, int(each))


def test_a_promotion_in_processes_has_a_gpu_or_core_for_each() -> None:
    space = load_space("lr_bs.yaml", spaces_dir=ROOT / "spaces")
    on_gpu = in_processes(alone_on_gpus(with_resources(space, gpus_per_trial=0.5))[0], 4)
    assert (on_gpu.resources.gpus_per_trial, on_gpu.resources.num_processes) == (4.0, 4)
    on_cpu = in_processes(with_resources(space, gpus_per_trial=0.0, cpus_per_trial=1), 2)
    assert (on_cpu.resources.gpus_per_trial, on_cpu.resources.cores_per_trial) == (0.0, 2)
    task = task_for(on_cpu, trial_id="t", hparams={}, seed=1, folder=Path("unused"))
    assert (task.cpus, task.training.num_processes, task.training.num_workers) == (2, 2, 2)


def with_resources(space: Space, **given: Any) -> Space:
    return replace(space, resources=Resources(**given))


def test_resources_of_a_run_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    space = load(tmp_path, SCRIPT % ("python train.py", "launcher: torchrun"))
    dump_space(space, tmp_path / "again.yaml")
    again = load_space(str(tmp_path / "again.yaml"), spaces_dir=tmp_path)
    assert again.resources == space.resources
    assert again.trainable == space.trainable


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ("{pack: disk}", "search.resources.pack: must be one of memory, got 'disk'"),
        (
            "{pack: memory, gpus_per_trial: 0.5}",
            "gpus_per_trial: is chosen by pack: memory, from the memory that a trial needs; leave it out, "
            "or write 0 to train on the CPU, got 0.5",
        ),
        (
            "{pack: memory, processes_per_trial: 2}",
            "processes_per_trial: a trial of 2 processes shares no device, and pack: memory is for shared "
            "devices; leave one of them out",
        ),
        (
            "{memory_gib: 4}",
            "search.resources.memory_gib: has an effect only with pack: memory; write that too",
        ),
        (
            "{mps: auto, gpus_per_trial: 1}",
            "search.resources.mps: is for trials that share a GPU; write pack: memory, or a fraction as "
            "gpus_per_trial",
        ),
    ],
)
def test_what_is_said_of_shared_devices_must_fit_together(tmp_path: Path, resources: str, text: str) -> None:
    (tmp_path / "train.py").write_text("")
    assert text in problem(tmp_path, OWN % resources)


def test_a_ladder_of_joules_needs_a_gpu_alone_or_exclusive_slots(tmp_path: Path) -> None:
    ladder = "{resource: energy_j, joules: [10, 20], epochs: 4}"
    text = OWN.replace("{epochs: [1]}", ladder) % "{pack: memory}"
    assert "search.resources.pack: memory shares devices, whose joules" in problem(tmp_path, text)
