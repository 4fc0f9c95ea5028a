"""Rungs measured in joules: which epoch ends which rung, and what becomes of joules that cannot say so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from search.budget import Ladder
from search.energy.reading import EnergyReading, EnergySensors
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.rung_energy import RungEnergy, RungEnergyMeter
from tests.support.toy_runs import SteadyMeter
from trainables.core.contract import Budget, Trainable, TrainingContext
from trainables.core.load import load_trainable
from trainables.toy import ToyTraining

TOY = load_trainable("toy")
LADDER = Ladder(
    (Budget(epochs=9, subset=0.25), Budget(epochs=9, subset=0.5), Budget(epochs=9, subset=1.0)),
    joules=(0.5, 1.5, 4.5),
)
GPU = EnergySensors(gpu_sensor="nvml_counter", gpu_attribution="exclusive", scope="gpu", quality="A")


class EpochMeter:
    """A GPU of which the n-th epoch draws the n-th amount, and everything between two epochs 14 J.

    Epochs are described by the readings around them: start, then before and after each epoch, then the row's.
    """

    window = ""

    def __init__(self, *epochs_mj: int | None, sensors: EnergySensors = GPU) -> None:
        self.sensors, self._epochs_mj = sensors, list(epochs_mj)
        self._total_mj = self._num_reads = 0

    def starting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_start(self) -> EnergyReading:
        return EnergyReading()

    def read(self) -> EnergyReading:
        place, self._num_reads = self._num_reads % 3, self._num_reads + 1
        if place != 2:
            self._total_mj += 7000
            return EnergyReading(gpu_mj=self._total_mj)
        drawn_mj = self._epochs_mj.pop(0)
        if drawn_mj is None:
            return EnergyReading()
        self._total_mj += drawn_mj
        return EnergyReading(gpu_mj=self._total_mj)

    def close(self) -> None:
        return None


def rows_of(
    folder: Path,
    meter: EpochMeter,
    *,
    count: int | None = None,
    ladder: Ladder | None = None,
    trainable: Trainable = TOY,
    checkpointing: Checkpointing | None = None,
) -> list[EpochRow]:
    context = TrainingContext(data="none", data_seed=0, seed=1, cache_dir=folder, device="cuda")
    running = run_trial(
        trainable, TOY.hparams(), ladder or LADDER, context, meter, checkpointing=checkpointing
    )
    return [row for _, row in zip(range(count or 99), running, strict=False)]


def used_mj(row: EpochRow) -> int | None:
    assert row.used is not None
    return row.used.mj


def test_a_rung_ends_with_the_first_epoch_that_reaches_its_joules(tmp_path: Path) -> None:
    done = rows_of(tmp_path, EpochMeter(300, 300, 300, 700, 2000, 901, 5))
    assert [(used_mj(row), row.rung, row.ended_rung) for row in done] == [
        (300, 0, None),
        (600, 0, 0),
        (900, 1, None),
        (1600, 1, 1),
        (3600, 2, None),
        (4501, 2, 2),
    ]
    assert [row.metrics["num_examples"] for row in done] == [250, 250, 500, 500, 1000, 1000]


def test_an_epoch_over_several_rungs_ends_the_highest_and_the_next_one_trains_above_it(
    tmp_path: Path,
) -> None:
    done = rows_of(tmp_path, EpochMeter(100, 1600, 10), count=3)
    assert [(row.rung, row.rungs_skipped, row.ended_rung) for row in done] == [
        (0, 0, None),
        (0, 1, 1),
        (2, 0, None),
    ]


def test_a_cheap_training_completes_the_top_rung_at_the_cap(tmp_path: Path) -> None:
    done = rows_of(tmp_path, EpochMeter(*[10] * 9))
    assert [row.ended_rung for row in done] == [*[None] * 8, 2]
    assert (used_mj(done[-1]), done[-1].rung, len(done)) == (90, 0, 9)


def test_only_the_joules_of_epochs_count_and_all_are_in_the_rows(tmp_path: Path) -> None:
    first, second = rows_of(tmp_path, EpochMeter(100, 200), count=2)
    assert [used_mj(first), used_mj(second)] == [100, 300]
    assert [first.energy.gpu_mj, second.energy.gpu_mj] == [14_100, 14_200]


def test_a_kill_takes_no_trial_nearer_to_a_rung(tmp_path: Path) -> None:
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=0.0)
    rows_of(tmp_path, EpochMeter(100, 200), count=2, checkpointing=checkpointing)
    never = replace(checkpointing, every_s=99.0)
    lost = rows_of(tmp_path, EpochMeter(150, 1), count=2, checkpointing=never)
    assert [(used_mj(row), row.is_replay) for row in lost] == [(300, True), (450, False)]
    replayed, again, next_one = rows_of(tmp_path, EpochMeter(160, 40), count=3, checkpointing=never)
    assert [used_mj(row) for row in (replayed, again, next_one)] == [300, 460, 500]
    assert [row.ended_rung for row in (replayed, again, next_one)] == [None, None, 0]


def test_a_training_continues_at_the_rung_above_the_one_it_paused_at(tmp_path: Path) -> None:
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=99.0)
    (paused,) = rows_of(tmp_path, EpochMeter(1600), count=1, checkpointing=checkpointing)
    replayed, row = rows_of(tmp_path, EpochMeter(5), count=2, checkpointing=checkpointing)
    assert [paused.ended_rung, replayed.ended_rung, row.rung, used_mj(row)] == [1, 1, 2, 1605]


def test_a_row_with_its_joules_survives_the_journal(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, EpochMeter(0, 1600, None), count=3)
    assert [EpochRow.from_dict(json.loads(json.dumps(row.to_dict()))) for row in rows] == rows
    assert [used_mj(row) for row in rows[:2]] == [0, 1600]


def test_an_epoch_without_a_score_leaves_the_end_of_the_rung_to_the_next_one(tmp_path: Path) -> None:
    class SeldomScored(ToyTraining):
        def run_epoch(self, budget: Budget) -> Mapping[str, float]:
            metrics = super().run_epoch(budget)
            is_scored = self.epochs_done % 2 == 0
            return metrics if is_scored else {"num_examples": metrics["num_examples"]}

    seldom = replace(TOY, start=lambda hparams, horizon, context: SeldomScored(hparams, context))
    done = rows_of(tmp_path, EpochMeter(600, 10, 10), count=3, trainable=seldom)
    assert [(row.rung, row.ended_rung) for row in done] == [(0, None), (0, 0), (1, None)]


SPLIT = replace(GPU, gpu_attribution="utilisation", quality="C")
CALIBRATED = replace(GPU, gpu_attribution="calibrated", quality="B")


@pytest.mark.parametrize(
    ("sensors", "why"),
    [
        (GPU, ""),
        (CALIBRATED, ""),
        (
            SPLIT,
            "its GPU's joules are split by the method utilisation; give each trial a whole GPU, or set "
            "search.metering.exclusive_slots: true",
        ),
        (
            replace(GPU, gpu_sensor="nvml_power_integral", quality="C"),
            "its GPU's joules do not come from a counter (nvml_power_integral)",
        ),
        (EnergySensors(reason="no driver"), "its GPU's joules are not known (no driver)"),
    ],
)
def test_joules_end_a_rung_where_they_are_a_counters_and_a_trials_own(
    tmp_path: Path, sensors: EnergySensors, why: str
) -> None:
    (row,) = rows_of(tmp_path, EpochMeter(600, sensors=sensors), count=1)
    assert row.used == RungEnergy(mj=600, scope="gpu", unusable_reason=why)
    assert row.completes_rung
    assert row.ended_rung == (None if why else 0)


def test_what_an_earlier_attempt_did_not_measure_well_stays_so(tmp_path: Path) -> None:
    checkpointing = Checkpointing(path=tmp_path / "checkpoint.pt", every_s=0.0)
    rows_of(tmp_path, EpochMeter(100, sensors=SPLIT), count=1, checkpointing=checkpointing)
    row = rows_of(tmp_path, EpochMeter(500), count=2, checkpointing=checkpointing)[-1]
    assert (used_mj(row), row.completes_rung, row.ended_rung) == (600, True, None)


def test_joules_that_become_unknown_stay_unknown(tmp_path: Path) -> None:
    done = rows_of(tmp_path, EpochMeter(100, None, 9000), count=3)
    assert [used_mj(row) for row in done] == [100, None, None]
    assert [row.ended_rung for row in done] == [None, None, None]


def test_without_a_gpu_the_joules_are_those_of_cpu_and_memory() -> None:
    class CpuMeter(SteadyMeter):
        def read(self) -> EnergyReading:
            return replace(super().read(), dram_mj=5 * self._reads)

    counter = RungEnergyMeter(CpuMeter(), is_on_gpu=False)
    with counter:
        pass
    assert counter.used == RungEnergy(mj=25, scope="cpu+dram")
