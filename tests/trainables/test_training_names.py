"""How Ray's dashboard names what a worker trains."""

from __future__ import annotations

from pathlib import Path

from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.run import Run
from search.trial import EpochRow
from search.trial.rung_energy import RungEnergy
from tests.support.toy_runs import TOY, made_space, sampler_for


def test_a_training_is_named_by_its_trial_and_the_rung_of_its_next_epoch(tmp_path: Path) -> None:
    space = made_space(tmp_path, TOY, ["search.scheduler.mode=none"])  # rungs of 1, 3 and 9 epochs
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    task = run.next_task()
    assert task is not None
    names = [run.training_name(task.trial_id)]
    for epoch in range(1, 10):
        rung = space.ladder.rung_for(epoch - 1)
        metrics = {"val_accuracy": 0.5}
        run.on_epoch(
            task.trial_id,
            EpochRow(epoch=epoch, rung=rung, completes_rung=epoch in {1, 3, 9}, metrics=metrics, seconds=1.0),
        )
        names.append(run.training_name(task.trial_id))
    rungs = (0, 1, 1, 2, 2, 2, 2, 2, 2, 2)
    assert names == [f"trial-0000 rung {rung}" for rung in rungs]


def test_on_a_ladder_of_joules_it_is_the_rung_above_the_last_that_ended(tmp_path: Path) -> None:
    ladder = "search.ladder={resource: energy_j, joules: [1, 2], epochs: 9}"
    space = made_space(tmp_path, TOY, [ladder, "search.scheduler.mode=none"])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    task = run.next_task()
    assert task is not None
    names = [run.training_name(task.trial_id)]
    for epoch, completes_rung in ((1, False), (2, True), (3, False)):
        row = EpochRow(
            epoch=epoch,
            rung=0 if epoch < 3 else 1,
            completes_rung=completes_rung,
            metrics={"val_accuracy": 0.5},
            seconds=1.0,
            energy=EnergyReading(gpu_mj=600),
            used=RungEnergy(mj=600 * epoch, scope="gpu"),
        )
        run.on_epoch(task.trial_id, row)
        names.append(run.training_name(task.trial_id))
    assert names == [f"trial-0000 rung {rung}" for rung in (0, 0, 1, 1)]
