"""One training, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from search.budget import Ladder
from search.energy.reading import EnergyReading
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.checkpoints import SavedState
from search.trial.row import Stretch
from tests.support.fake_clock import FakeClock
from tests.support.toy_runs import SteadyMeter
from trainables.core.checkpoint import load_checkpoint
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable
from trainables.toy import ToyTraining

TOY = load_trainable("toy")
LADDER = Ladder((Budget(epochs=1, subset=0.25), Budget(epochs=3, subset=0.5), Budget(epochs=4, subset=1.0)))


def rows(
    folder: Path, count: int | None = None, clock: Callable[[], float] | None = None, **options: object
) -> list[EpochRow]:
    context, meter = TrainingContext(data="none", data_seed=0, seed=1, cache_dir=folder), SteadyMeter()
    stretch = Stretch(meter, clock) if clock else None
    running = run_trial(TOY, TOY.hparams(), LADDER, context, meter, stretch=stretch, **options)  # type: ignore[arg-type]
    return [row for _, row in zip(range(count or 99), running, strict=False)]


def training_in(path: Path) -> object:
    return SavedState.from_dict(load_checkpoint(path)).training


def test_each_epoch_runs_at_its_rungs_budget(tmp_path: Path) -> None:
    done = rows(tmp_path)
    assert [(row.epoch, row.rung, row.completes_rung) for row in done] == [
        (1, 0, True),
        (2, 1, False),
        (3, 1, True),
        (4, 2, True),
    ]
    assert [row.metrics["num_examples"] for row in done] == [250.0, 500.0, 500.0, 1000.0]


def test_every_stretch_of_time_and_energy_is_in_exactly_one_row(tmp_path: Path) -> None:
    clock = FakeClock(10.0)

    def ticking() -> float:
        clock.now_s += 0.5
        return clock.now_s

    done = rows(tmp_path, clock=ticking)
    spent_s = [row.seconds + (row.start_s or 0) + (row.overhead_s or 0) for row in done]
    assert sum(spent_s) == clock.now_s - 10.5
    assert EnergyReading.sum(row.energy for row in done) == EnergyReading(gpu_mj=400, cpu_mj=80)


def test_a_row_survives_the_journal(tmp_path: Path) -> None:
    row = rows(tmp_path)[0]
    row = replace(row, metrics={"val_accuracy": float("inf")}, test={"test_accuracy": 0.5}, seconds=0.0)
    assert EpochRow.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False))) == row


def test_a_trial_resumes_from_its_checkpoint_with_the_row_that_may_have_been_lost(tmp_path: Path) -> None:
    checkpointing = Checkpointing(path=tmp_path / "trial" / "checkpoint.pt")
    whole = rows(tmp_path)
    first = rows(tmp_path, count=3, checkpointing=checkpointing)
    rest = rows(tmp_path, checkpointing=checkpointing)
    assert rest[0].is_replay
    assert replace(rest[0], is_replay=False) == first[2]
    assert [row.metrics for row in [*first, *rest[1:]]] == [row.metrics for row in whole]


def test_checkpoints_are_written_at_rung_ends_and_at_intervals_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    rows(tmp_path, count=2, checkpointing=Checkpointing(path=path))
    assert training_in(path) == {"epochs_done": 1}
    path.unlink()
    rows(tmp_path, count=2, checkpointing=Checkpointing(path=path, every_s=0.0))
    assert training_in(path) == {"epochs_done": 2}


def test_the_test_set_is_touched_once_at_the_end_of_a_final_training(tmp_path: Path) -> None:
    final = tmp_path / "final.pt"
    done = rows(tmp_path, final=final)
    assert [row.test is None for row in done] == [True, True, True, False]
    assert set(done[-1].test or {}) == {"test_accuracy"}
    assert training_in(final) == {"epochs_done": 4}


def test_notes_and_sources_stand_in_the_first_row_only(tmp_path: Path) -> None:
    first, second, *_ = rows(tmp_path)
    assert first.sensors["gpu_sensor"] == "nvml_counter"
    assert second.sensors == {}


class DoneEarly(ToyTraining):
    """Scores every second epoch, has nothing to learn after `last`, and remarks on the second."""

    def __init__(self, last: int) -> None:
        super().__init__(TOY.hparams(), TrainingContext(data="none", data_seed=0, seed=1, cache_dir=Path()))
        self._last = last

    @property
    def done_reason(self) -> str:
        return "nothing to learn" if self.epochs_done >= self._last else ""

    def run_epoch(self, budget: Budget) -> dict[str, float]:
        values = dict(super().run_epoch(budget))
        is_scored = self.epochs_done % 2 == 0 or self.epochs_done == budget.epochs or self.done_reason
        return values if is_scored else {"num_examples": values["num_examples"]}

    def notes(self) -> dict[str, str]:
        return {"precision": "fp32"} | ({"memory": "it was too much"} if self.epochs_done == 2 else {})


def done_early(folder: Path, last: int, ladder: Ladder, **options: object) -> list[EpochRow]:
    trainable = replace(TOY, start=lambda hparams, budget, context: DoneEarly(last))
    context = TrainingContext(data="none", data_seed=0, seed=1, cache_dir=folder, horizon=ladder.horizon)
    return list(run_trial(trainable, TOY.hparams(), ladder, context, SteadyMeter(), **options))  # type: ignore[arg-type]


def test_a_training_that_is_done_ends_its_rung_and_is_tested(tmp_path: Path) -> None:
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt")
    options = {"checkpointing": checkpointing, "final": tmp_path / "final.pt"}
    ladder = Ladder((Budget(epochs=9),))
    done = done_early(tmp_path, 5, ladder, **options)
    assert [(row.epoch, row.completes_rung, row.done_reason) for row in done][-2:] == [
        (4, False, ""),
        (5, True, "nothing to learn"),
    ]
    assert done[-1].test is not None
    assert (tmp_path / "final.pt").exists()
    again = done_early(tmp_path, 5, ladder, **options)
    assert [(row.epoch, row.is_replay, row.done_reason) for row in again] == [(5, True, "nothing to learn")]


def test_where_rungs_are_trainings_only_the_last_one_ends_the_trial(tmp_path: Path) -> None:
    ladder = Ladder((Budget(epochs=2), Budget(epochs=4)), "rung")
    done = done_early(tmp_path, 1, ladder)
    assert [(row.epoch, row.rung, bool(row.done_reason)) for row in done] == [
        (1, 0, False),
        (2, 0, False),
        (3, 1, True),
    ]


def test_epochs_may_go_without_evaluation_but_not_the_last_of_a_rung(tmp_path: Path) -> None:
    done = done_early(tmp_path, 99, LADDER)
    assert ["val_accuracy" in row.metrics for row in done] == [True, True, True, True]
    long = done_early(tmp_path, 99, Ladder((Budget(epochs=5),)))
    assert ["val_accuracy" in row.metrics for row in long] == [False, True, False, True, True]


def test_a_note_is_reported_once(tmp_path: Path) -> None:
    notes = [dict(row.notes) for row in done_early(tmp_path, 99, LADDER)]
    assert notes == [{"precision": "fp32"}, {"memory": "it was too much"}, {}, {}]
