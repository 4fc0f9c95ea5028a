"""Trials packed by memory: which has room, what one that outgrew its share costs, what a resume knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.backends.memory_need import MemoryNeed
from search.backends.ray.packing import Packing, Slots, needs_of, reserved, tasks_of
from search.backends.room import NodeMemory, Room
from search.ledger import Ledger
from search.run import Run
from search.space import dump_space
from search.trial import EpochRow
from search.trial.failure import Failure
from search.trial.task import MemoryShare, TrialTask, task_for
from tests.support.toy_runs import listed, made_space, replayed

SPACE = """
parameters:
  lr: {min: 0.1, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
search:
  trainable: toy
  data: none
  ladder: {epochs: [4]}
  scheduler: {mode: none}
  resources: {pack: memory, cpus_per_trial: 0.5}
  limits: {trials: 8}
"""
SIZES = {16: 100.0, 32: 200.0, 64: 400.0, 128: 600.0}  # MiB


class Packed:
    """A run whose trials are packed on one device of 1,000 MiB, without workers."""

    def __init__(
        self,
        folder: Path,
        *batch_sizes: int,
        cores: int = 8,
        slots: int = 8,
        is_own: bool = False,
        name: str = "run",
        overrides: Sequence[str] = (),
    ) -> None:
        space = made_space(folder, SPACE, overrides)
        points = [{"lr": 0.1 + 0.05 * number, "batch_size": size} for number, size in enumerate(batch_sizes)]
        ledger = Ledger(folder / name) if (folder / name).exists() else Ledger.create(folder / name)
        self.run = Run(space, listed(*points), ledger)
        self.said: list[str] = []
        room = Room([NodeMemory(num_cpus=cores, devices_mib=[1000.0])], is_own=is_own)
        needs = needs_of(self.run, say=self.said.append)
        self.tasks = Packing(self.run, slots, room, needs, has_gpus=False, say=self.said.append)

    def given(self) -> dict[str, float]:
        """What each task that has room now is given, in MiB, in the order in which they are handed out."""
        found = {}
        while task := self.tasks.next_task():
            assert task.memory
            found[task.trial_id] = task.memory.mib
        return found

    def epoch(self, trial_id: str, memory_mib: float | None = None) -> bool:
        """The next epoch of a trial, which holds what its batch size needs; whether it continues."""
        trial = self.run.history.trials[trial_id]
        number, metrics = trial.epochs + 1, {"val_accuracy": 0.5}
        held_mib = memory_mib or SIZES[trial.hparams["batch_size"]]
        row = EpochRow(
            epoch=number, rung=0, completes_rung=number == 4, metrics=metrics, seconds=1, memory_mib=held_mib
        )
        return self.tasks.on_epoch(trial_id, row)

    def ended(self, trial_id: str) -> None:
        while self.epoch(trial_id):
            pass
        assert self.run.history.trials[trial_id].status == "finished"


def trial(number: int) -> str:
    return f"trial-{number:04d}"


def test_an_unknown_kind_has_the_device_to_itself_until_it_was_measured(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32, 16, 64)
    assert packed.given() == {trial(0): 1000}
    assert not packed.epoch(trial(0))  # others wait for what it does not need: it is moved
    # 200 MiB and a tenth, in fiftieths of the device; 16 needs no more than 32 did, and 64 is not known
    assert packed.given() == {trial(0): 220, trial(1): 220, trial(2): 220}
    assert packed.run.history.trials[trial(0)].attempts == 1
    assert packed.run.history.trials[trial(0)].notes["memory"] == (
        "trials like it hold 200 MiB, and it leaves others the rest of its 1000"
    )
    assert packed.said == []
    packed.ended(trial(2))
    assert packed.given() == {}
    packed.ended(trial(1))
    packed.ended(trial(0))
    assert packed.given() == {trial(3): 1000}
    assert packed.epoch(trial(3))  # nobody waits
    packed.ended(trial(3))
    assert (packed.given(), packed.tasks.is_exhausted) == ({}, True)


def test_a_trial_that_outgrows_its_share_is_moved_and_loses_no_attempt(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32, 32)
    packed.given()
    packed.epoch(trial(0))
    assert packed.given() == {trial(0): 220, trial(1): 220, trial(2): 220}
    assert packed.epoch(trial(1), 220)  # all of its share, and no more
    assert not packed.epoch(trial(1), 300)
    assert packed.said == [
        f"{trial(1)}  is moved, which costs it no attempt: trials like it hold 300 MiB, more than its 220"
    ]
    moved = packed.run.history.trials[trial(1)]
    assert (moved.status, moved.attempts, moved.epochs, moved.memory_mib) == ("running", 1, 2, 300)
    task = packed.tasks.next_task()
    assert task
    assert (task.trial_id, task.known_epochs, task.memory) == (
        trial(1), 2, MemoryShare(mib=340, fraction=0.34, reserved_fraction=0.34, is_known=True),
    )  # fmt: skip
    # Those like it are moved before they grow as well.
    assert not packed.epoch(trial(2))
    assert packed.given() == {trial(2): 340}
    assert not packed.epoch(trial(0))
    assert packed.given() == {}  # 660 are taken
    packed.ended(trial(1))
    assert packed.given() == {trial(0): 340}
    packed.ended(trial(0))
    assert replayed(packed.run).trials[trial(1)].moves == [{"rung": 0, "memory_mib": pytest.approx(330)}]


def test_memory_that_runs_out_within_a_share_is_no_failure(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32)
    packed.given()
    packed.epoch(trial(0))
    packed.given()
    lost = Failure(cause="out_of_memory", message="OutOfMemoryError: CUDA out of memory")
    for share in (440, 880, 1000):
        assert not packed.tasks.on_failure(trial(1), lost)
        packed.tasks._room.leave(trial(0))  # it would not have room beside it
        assert packed.given()[trial(1)] == share
    assert packed.run.history.trials[trial(1)].attempts == 1
    assert packed.run.history.trials[trial(1)].failures == []
    assert not packed.tasks.on_failure(trial(1), lost)  # with all of the device it is one
    assert packed.run.history.trials[trial(1)].status == "failed"


def test_on_a_device_of_the_searchs_own_shares_change_in_place(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32, 16, is_own=True)
    first = packed.tasks.next_task()
    assert first
    assert reserved(first) == {
        "CPU": 0.5,
        "memory": 20 * 2**20,
    }  # the same for all: any worker takes any trial
    assert packed.given() == {}
    assert packed.epoch(trial(0))  # it leaves the others what it does not need, and stays
    assert packed.given() == {trial(1): 220, trial(2): 220}
    assert packed.epoch(trial(1), 500)  # 550 MiB, in fiftieths 560, and twice 220: just all
    assert packed.run.history.trials[trial(1)].moves == []


def test_what_has_no_room_to_grow_on_its_device_is_moved(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32, 32, 32, is_own=True)
    packed.given()
    packed.epoch(trial(0))
    assert packed.given() == {trial(1): 220, trial(2): 220, trial(3): 220}
    assert not packed.epoch(trial(1), 400)
    assert packed.given() == {}  # 440 beside three times 220
    assert packed.epoch(trial(0))  # there is room for it to grow
    assert not packed.epoch(trial(2))
    assert packed.given() == {}
    packed.ended(trial(0))
    assert packed.given() == {trial(2): 440}


def test_one_that_needs_much_is_passed_by_four_at_most(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 16, 128, *[16] * 6)
    assert packed.given() == {trial(0): 1000}
    packed.epoch(trial(0))
    passing = [trial(number) for number in (0, 2, 3, 4)]
    assert packed.given() == dict.fromkeys(passing, 120)  # there is room for four more
    for trial_id in passing:
        assert packed.given() == {}
        packed.ended(trial_id)
    assert packed.given() == {trial(1): 1000}


def test_a_bound_is_given_back_once_the_kind_was_measured(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 128, 16, 16)
    packed.given()
    packed.ended(trial(0))
    assert packed.given() == {trial(1): 660}  # 16 needs no more than 128 did
    assert not packed.epoch(trial(1))
    assert packed.given() == {trial(1): 120, trial(2): 120}


def test_a_warm_worker_is_kept_while_what_its_trial_had_is_free(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 16, 16, 128, is_own=True)
    first = packed.tasks.next_task()
    assert first
    packed.epoch(trial(0))
    second = packed.tasks.next_task()
    assert second
    packed.ended(trial(0))
    assert packed.tasks.may_keep([first])  # 120 MiB, and not the device that it was measured on
    packed.ended(trial(1))
    assert packed.given() == {trial(2): 1000}
    assert not packed.tasks.may_keep([first])
    assert packed.tasks.may_keep([])


def test_cores_are_a_limit_as_well(tmp_path: Path) -> None:
    packed = Packed(tmp_path, *[16] * 6, cores=2)
    packed.given()
    packed.epoch(trial(0))
    assert len(packed.given()) == 4  # half a core each


def test_no_more_trials_train_than_there_are_slots(tmp_path: Path) -> None:
    packed = Packed(tmp_path, *[16] * 6, slots=3)
    packed.given()
    packed.epoch(trial(0))
    assert len(packed.given()) == 3


def test_a_resumed_run_knows_what_was_measured_and_places_alike(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32, 32, 64)
    packed.given()
    packed.epoch(trial(0))
    packed.given()
    packed.epoch(trial(1), 300)
    again = Packed(tmp_path, 32, 32, 32, 64)
    needs = [packed.tasks.need(trial(number)) for number in range(3)]
    assert needs == [MemoryNeed(pytest.approx(330), is_measured=True)] * 3
    assert [again.tasks.need(trial(number)) for number in range(3)] == needs
    assert again.given() == {trial(0): 340, trial(1): 340}


def earlier_run(folder: Path, name: str, *overrides: str) -> None:
    """A packed run beside the next one, whose trials of 16 and 32 were measured."""
    packed = Packed(folder, 16, 32, name=name, overrides=overrides)
    packed.given()
    dump_space(packed.run.space, packed.run.ledger.space_file)
    for number in range(2):
        while packed.run.history.trials[trial(number)].status == "running":
            packed.epoch(trial(number))
            packed.given()


def test_what_trials_of_earlier_runs_needed_is_known_beforehand(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", "search.limits.trials=2")
    packed = Packed(tmp_path, 32, 32, 16, 64)
    assert packed.said == ["the memory of similar trials is known from an earlier run: earlier"]
    assert packed.given() == {trial(0): 220, trial(1): 220, trial(2): 120}  # 64 was not seen and waits
    assert packed.tasks.need(trial(3)) is None


@pytest.mark.parametrize(
    "other", ["resources.cpus_per_trial=1", "resources.gpus_per_trial=1", "precision=bf16", "data=digits"]
)
def test_a_run_that_trained_otherwise_says_nothing_of_memory(tmp_path: Path, other: str) -> None:
    earlier_run(tmp_path, "earlier", f"search.{other}")
    packed = Packed(tmp_path, 32, 32)
    assert (packed.said, packed.given()) == ([], {trial(0): 1000})


def test_a_damaged_run_beside_it_is_passed_over(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier")
    (tmp_path / "earlier/space.yaml").write_text("parameters: [")
    assert Packed(tmp_path, 32, 32).given() == {trial(0): 1000}


def test_where_the_run_is_to_end_a_trial_that_would_be_moved_is_interrupted(tmp_path: Path) -> None:
    packed = Packed(tmp_path, 32, 32)
    packed.given()
    packed.run.interrupt("SIGTERM received")
    assert not packed.tasks.on_failure(trial(0), Failure(cause="lost_worker", message="gone"))
    assert packed.run.history.trials[trial(0)].status == "interrupted"
    assert (packed.given(), packed.tasks.is_exhausted) == ({}, True)


def packed_task(folder: Path, *, gpus: float, share: MemoryShare | None) -> TrialTask:
    task = task_for(made_space(folder, SPACE), trial_id="t", hparams={}, seed=1, folder=folder)
    return TrialTask(**{**vars(task), "gpus": gpus, "memory": share})


@pytest.mark.parametrize(
    ("gpus", "share", "expected"),
    [
        (0.0, None, {"CPU": 0.5}),
        (1.0, None, {"CPU": 0.5, "GPU": 1.0}),
        (
            0.0,
            MemoryShare(mib=220, fraction=0.22, reserved_fraction=0.22, is_known=True),
            {"CPU": 0.5, "memory": 220 * 2**20},
        ),
        (
            0.22,
            MemoryShare(mib=220, fraction=0.22, reserved_fraction=0.22, is_known=True),
            {"CPU": 0.5, "GPU": 0.22},
        ),
    ],
)
def test_a_share_is_a_fraction_of_a_gpu_or_bytes_of_a_nodes_memory(
    tmp_path: Path, gpus: float, share: MemoryShare | None, expected: dict[str, float]
) -> None:
    assert reserved(packed_task(tmp_path, gpus=gpus, share=share)) == expected


def test_without_packing_tasks_are_handed_out_by_slots_alone(tmp_path: Path) -> None:
    space = made_space(tmp_path, SPACE, ["search.resources.pack=null"])
    run = Run(
        space,
        listed({"lr": 0.1, "batch_size": 16}, {"lr": 0.2, "batch_size": 16}),
        Ledger.create(tmp_path / "r"),
    )
    tasks = tasks_of(run, slots=1, say=pytest.fail)
    assert type(tasks) is Slots
    first = tasks.next_task()
    assert first
    assert (first.memory, tasks.next_task()) == (None, None)


def devices(*mib: float, cores: int = 8, count: int = 1) -> Room:
    return Room([NodeMemory(num_cpus=cores, devices_mib=mib)] * count)


def placed(room: Room, *needs: float | None, cpus: float = 1) -> list[tuple[float, float] | None]:
    shares: list[Any] = [
        room.place(f"t{number}", cpus=cpus, need=mib and MemoryNeed(mib, is_measured=True))
        for number, mib in enumerate(needs)
    ]
    return [share and (share.mib, share.fraction) for share in shares]


def test_a_trial_goes_where_it_leaves_least_and_gets_fiftieths() -> None:
    room = devices(1000.0, 2000.0)
    assert placed(room, 500, 1900, 490, 1, None) == [(500, 0.5), (1920, 0.96), (500, 0.5), (40, 0.02), None]
    room.leave("t0")
    assert placed(room, 501) == [None]
    assert placed(room, 500) == [(500, 0.5)]


def test_more_than_any_device_has_is_all_of_one() -> None:
    assert placed(devices(1000.0), 5000) == [(1000, 1.0)]


def test_devices_of_a_node_share_its_cores() -> None:
    assert placed(devices(1000.0, 1000.0, cores=2), 100, 100, 100) == [(100, 0.1), (100, 0.1), None]
    assert placed(devices(1000.0, cores=1, count=2), 100, 100, 100) == [(100, 0.1), (100, 0.1), None]


def test_idle_workers_are_kept_while_their_memory_and_cores_are_free() -> None:
    room, share = (
        devices(1000.0, cores=2),
        MemoryShare(mib=400, fraction=0.4, reserved_fraction=0.4, is_known=True),
    )
    placed(room, 500)
    assert room.has_room_for([(1, share)])
    assert not room.has_room_for([(1, share), (1, share)])
    placed(room, 100)
    assert not room.has_room_for([(1, share)])
    assert not devices(1000.0, 1000.0).has_room_for([(1, share)])  # Ray chooses the device
    assert devices(1000.0, 1000.0).has_room_for([])
