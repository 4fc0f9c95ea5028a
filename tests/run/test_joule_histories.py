"""Random searches whose rungs are measured in joules, with workers that go back to their checkpoints."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from search.energy.reading import EnergyReading
from search.trial import EpochRow
from search.trial.failure import Cause
from search.trial.rung_energy import RungEnergy
from tests.support.histories import CAUSES, HISTORIES, VALUES, Searches
from tests.support.toy_runs import made_space

CAP = 6
AMOUNTS = [0, 120, 300, 300, 700, 1600, 4000]  # of one epoch in mJ; the last three jump rungs
ENERGIES = st.sampled_from(AMOUNTS).map(lambda mj: EnergyReading(gpu_mj=mj))


class JouleSearches(Searches):
    """Each trial has the rows it could resume from: every rung's end, and some between."""

    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    amounts_mj = AMOUNTS

    @initialize(
        mode=st.sampled_from(["asha_stopping", "asha"]),
        control_fraction=st.sampled_from([0.0, 0.5]),
        brackets=st.integers(1, 2),
        patience=st.sampled_from(["null", 2]),
    )
    def begin(self, mode: str, control_fraction: float, brackets: int, patience: str | int) -> None:  # type: ignore[override]
        changes = [
            f"search.scheduler={{mode: {mode}, eta: 2, control_fraction: {control_fraction}, "
            f"brackets: {brackets}}}",
            "search.sampler=random",
            f"search.ladder={{resource: energy_j, joules: [0.5, 1.0, 3.0], epochs: {CAP}}}",
            f"search.patience={patience}",
            "search.limits.trials=14",
        ]
        with tempfile.TemporaryDirectory() as folder:
            self.space = made_space(Path(folder), overrides=changes)
        self.saved: dict[str, list[EpochRow]] = {}
        self.open([])

    def open(self, lines: list[str]) -> None:
        super().open(lines)
        self.at: dict[str, EpochRow | None] = {}  # where each worker is
        for name, rows in self.saved.items():  # an epoch begins when the one before it is in the journal
            trial = self.run.history.trials.get(name)
            self.saved[name] = [row for row in rows if trial and row.epoch <= trial.epochs + 1]

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9), value=VALUES, energy=ENERGIES)
    def report(self, place: int, value: float, energy: EnergyReading) -> None:
        trial_id = self.training[place % len(self.training)]
        saved = self.saved.setdefault(trial_id, [])
        if trial_id not in self.at:
            self.at[trial_id] = saved[-1] if saved else None
            if saved and self.reported(trial_id, replace(saved[-1], is_replay=True)) == "stop":
                return
        row = self.next_row(self.at[trial_id], value, energy)
        self.at[trial_id] = row
        if row.completes_rung or place % 2:
            saved.append(row)
        self.reported(trial_id, row)

    def reported(self, trial_id: str, row: EpochRow) -> str:
        answer = self.run.on_epoch(trial_id, row)
        if answer == "stop":
            self.training.remove(trial_id)
            self.at.pop(trial_id)
        return answer

    def next_row(self, last: EpochRow | None, value: float, energy: EnergyReading) -> EpochRow:
        """As a worker makes it that continues after `last`."""
        rung = last.rung + last.rungs_skipped + last.completes_rung if last else 0
        before_mj = last.used.mj or 0 if last and last.used else 0
        used_mj, epoch = before_mj + (energy.gpu_mj or 0), last.epoch + 1 if last else 1
        ended = self.space.ladder.rung_completed_at(epoch, used_mj, rung)
        return EpochRow(
            epoch=epoch,
            rung=rung,
            completes_rung=ended is not None,
            rungs_skipped=0 if ended is None else ended - rung,
            used=RungEnergy(mj=used_mj, scope="gpu"),
            metrics={"val_accuracy": value},
            seconds=1.0,
            energy=energy,
        )

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9), cause=st.sampled_from(CAUSES))
    def fail(self, place: int, cause: Cause) -> None:
        trial_id = self.training[place % len(self.training)]
        super().fail(place, cause)
        self.at.pop(trial_id, None)

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9))
    def repeat_an_epoch(self, place: int) -> None:  # type: ignore[override]
        """The worker is lost; the disk may have lost its latest checkpoint too."""
        trial_id = self.training[place % len(self.training)]
        if place % 3 == 0:
            del self.saved.get(trial_id, [])[-1:]
        self.fail(place, "lost_worker")

    def resume(self, random: Random) -> None:
        super().resume(random)
        if self.training and random.random() < 0.2:
            self.repeat_an_epoch(random.randrange(9))

    @invariant()
    def a_rung_has_only_results_of_its_joules_or_of_whole_trainings(self) -> None:
        if not hasattr(self, "run"):
            return
        ladder = self.space.ladder
        above = [*ladder.joules[1:], float("inf")]
        for rung, (from_j, below_j) in enumerate(zip(ladder.joules, above, strict=True)):
            for name in self.run.rungs.values(rung):
                rows = [row for row in self.run.history.trials[name].rows if row.ended_rung == rung]
                first = rows[0]
                assert first.used is not None
                assert first.used.mj is not None
                is_whole = first.epoch == CAP and rung == len(above) - 1
                assert is_whole or from_j <= first.used.mj / 1000 < below_j


TestJouleSearches = JouleSearches.TestCase
TestJouleSearches.settings = settings(HISTORIES, max_examples=60)
