"""Random searches for tests: several workers, killed between any two events."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.ledger.journal import Journal
from search.ranking import Configuration, configurations
from search.run import Run
from search.trial import EpochRow
from search.trial.failure import Cause, Failure
from tests.support.toy_runs import made_space, sampler_for

EPOCHS = [1, 2, 4]
VALUES = st.one_of(st.integers(0, 4).map(lambda number: number / 4), st.just(math.nan))
ENERGIES = st.one_of(  # differences below 20 are ties; readings of other parts are not comparable
    st.sampled_from([400, 410, 500, 900]).map(lambda mj: EnergyReading(gpu_mj=mj, gpu_uncertainty_mj=10)),
    st.just(EnergyReading(gpu_mj=400, cpu_mj=90)),
)
HISTORIES = settings(stateful_step_count=25, deadline=None, phases=[Phase.generate])
CAUSES: list[Cause] = ["crash", "lost_worker", "out_of_memory", "network", "constraint"]


class MemoryJournal(Journal):
    """A journal in memory; a kill keeps only its beginning."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(Path("nowhere"))
        self.lines = lines

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        line = json.dumps({"time": float(len(self.lines)), **event}, allow_nan=False)
        self.lines.append(line)
        return dict(json.loads(line))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


class MemoryLedger(Ledger):
    """A ledger with its journal in memory."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__(Path("nowhere"))
        self.journal = journal


class Searches(RuleBasedStateMachine):
    """A state machine in which workers are the set of trials in training; the run decides everything else."""

    values: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, math.nan)
    amounts_mj: Sequence[int] = (400, 500, 900)

    @initialize(
        mode=st.sampled_from(["asha_stopping", "asha", "pasha"]),
        sampler=st.sampled_from(["random", "random", "tpe"]),
        control_fraction=st.sampled_from([0.0, 0.5]),
        brackets=st.integers(1, 2),
        patience=st.sampled_from(["null", 1, 2]),
        beside=st.sampled_from(["", "energy", "{size_m: min}", "{size_m: max}, energy"]),
        is_bounded=st.booleans(),
        can_skip=st.booleans(),
    )
    def begin(
        self,
        mode: str,
        sampler: str,
        control_fraction: float,
        brackets: int,
        patience: str | int,
        beside: str,
        is_bounded: bool,
        can_skip: bool,
    ) -> None:
        beside = beside if mode != "pasha" else ""
        changes = [
            f"search.scheduler={{mode: {mode}, eta: 2, control_fraction: {control_fraction}, "
            f"brackets: {brackets}, skip_weak_rungs: {str(can_skip).lower()}}}",
            f"search.sampler={sampler}",
            f"search.ladder.epochs={EPOCHS}",
            f"search.patience={patience}",
            "search.limits.trials=14",
            f"search.objective=[val_accuracy, {beside}]".replace(", ]", "]"),
            f"search.constraints={'{size_m: {max: 4}}' if is_bounded else '{}'}",
        ]
        with tempfile.TemporaryDirectory() as folder:
            self.space = made_space(Path(folder), overrides=changes)
        self.open([])

    def open(self, lines: list[str]) -> None:
        """Start a new process on the journal `lines`."""
        self.sampler = self.made_sampler()
        self.journal = MemoryJournal(lines)
        self.run = Run(self.space, self.sampler, MemoryLedger(self.journal), clock=lambda: 0.0)
        self.training: list[str] = []

    def made_sampler(self) -> Any:
        return sampler_for(self.space)

    @rule(num_free=st.integers(1, 3))
    def fill_workers(self, num_free: int) -> None:
        for _ in range(num_free):
            task = self.run.next_task()
            if task is not None:
                assert task.trial_id not in self.training
                self.training.append(task.trial_id)

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9), value=VALUES, energy=ENERGIES)
    def report(self, place: int, value: float, energy: EnergyReading) -> None:
        trial_id = self.training[place % len(self.training)]
        epoch = self.run.history.trials[trial_id].epochs + 1
        if self.run.on_epoch(trial_id, row(epoch, value, energy)) == "stop":
            self.training.remove(trial_id)

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9), value=VALUES, energy=ENERGIES)
    def repeat_an_epoch(self, place: int, value: float, energy: EnergyReading) -> None:
        """Repeat an epoch, like a worker that resumes from a checkpoint older than its last report."""
        trial_id = self.training[place % len(self.training)]
        if epochs := self.run.history.trials[trial_id].epochs:
            assert self.run.on_epoch(trial_id, row(epochs, value, energy)) == "continue"

    @precondition(lambda self: self.training)
    @rule(place=st.integers(0, 9), cause=st.sampled_from(CAUSES))
    def fail(self, place: int, cause: Cause) -> None:
        trial_id = self.training[place % len(self.training)]
        if not self.run.on_failure(trial_id, Failure(cause=cause, message="as the test says")):
            self.training.remove(trial_id)

    @rule(num_lost=st.integers(0, 4))
    def kill(self, num_lost: int) -> None:
        """Lose what was not written yet; the workers die with their process."""
        before = self.known()
        lines = list(self.journal.lines)
        kept = lines[: max(1, len(lines) - num_lost)]
        self.open(kept)
        if num_lost == 0:
            assert self.known() == before

    @rule()
    def end_and_try_failed_ones_again(self) -> None:
        self.run.end()
        assert "RUNNING" not in self.sampler.states()
        self.open(self.journal.lines)
        self.run.rerun_failed()

    @rule(seed=st.integers(0, 2**32))
    def search_on(self, seed: int) -> None:
        """Apply many events at once: hypothesis alone hardly gets beyond the lowest rung."""
        random = Random(seed)
        for _ in range(25):
            self.resume(random)

    def resume(self, random: Random) -> None:
        """Apply one event drawn by `random`."""
        self.fill_workers(1)
        if self.training:
            value = random.choice(self.values)
            self.report(random.randrange(9), value, EnergyReading(gpu_mj=random.choice(self.amounts_mj)))

    @invariant()
    def every_trial_is_there_once_and_no_epoch_counts_twice(self) -> None:
        if not hasattr(self, "run"):
            return
        lines = (line for line in self.journal.lines if '"trial_asked"' in line)  # a tenth to be parsed
        asked = [event["trial"] for event in map(json.loads, lines) if event["event"] == "trial_asked"]
        assert asked == list(self.run.history.trials) == [f"trial-{n:04d}" for n in range(len(asked))]
        assert self.run.num_training == len(self.training)
        for trial in self.run.history.trials.values():
            assert list(trial.curve) == list(range(1, trial.epochs + 1))

    @invariant()
    def what_is_kept_up_to_date_is_what_would_be_found_anew(self) -> None:
        if not hasattr(self, "run"):
            return
        trials, space = list(self.run.history.trials.values()), self.space
        found = configurations(trials, space.metric, space.mode)
        assert list(map(ids, self.run.ranking.configurations())) == list(map(ids, found))
        best = self.run.ranking.best()
        assert (best and best.trial_id) == (found[0].first.trial_id if found else None)
        paused = {trial.trial_id for trial in trials if trial.status == "paused"}
        hopeless = self.run.rungs.hopeless(num_open=0)
        assert len(hopeless) == len(set(hopeless))
        assert set(hopeless) == {name for name in paused if not self.run.rungs.can_continue(name, num_open=0)}

    def known(self) -> tuple[Any, ...]:
        """The state that a restart must rebuild. Optuna forgets draws that repeated a point."""
        trials = self.run.history.trials
        learnt = zip(self.sampler.states(), self.sampler.intermediate_values(), strict=True)
        return (
            repr(list(trials.values())),  # as text, because NaN != NaN
            self.run.rungs.counts(),
            [self.run.rungs.values(rung) for rung in range(len(EPOCHS))],
            {name: self.run.rungs.can_continue(name, num_open=1) for name in trials},
            sorted((state, sorted(values.items())) for state, values in learnt if state != "FAIL"),
        )

    def teardown(self) -> None:
        """Finish the search, whatever happened so far."""
        if not hasattr(self, "run"):
            return
        for number in range(2000):
            self.fill_workers(2)
            if not self.training:
                break
            self.report(number, (number % 7) / 7, EnergyReading(gpu_mj=500 + number % 5))
        assert not self.training
        has_given_up = self.run.stop_reason() is not None  # its first trials all failed alike
        self.run.end()
        statuses = {trial.status for trial in self.run.history.trials.values()}
        assert ("interrupted" in statuses) <= has_given_up
        assert statuses <= {
            "paused",
            "finished",
            "stopped",
            "diverged",
            "failed",
            "infeasible",
            "interrupted",
        }
        assert "RUNNING" not in self.sampler.states()


def ids(each: Configuration) -> tuple[list[str], list[str], int, tuple[float, ...]]:
    """A configuration as text and numbers."""
    scored, trials = ([trial.trial_id for trial in group] for group in (each.scored, each.trials))
    return scored, trials, each.rung, each.values


def row(epoch: int, value: float, energy: EnergyReading) -> EpochRow:
    rung = next(index for index, epochs in enumerate(EPOCHS) if epoch <= epochs)
    return EpochRow(
        epoch=epoch,
        rung=rung,
        completes_rung=epoch in EPOCHS,
        metrics={"val_accuracy": value, "size_m": (energy.gpu_mj or 0) / 200},
        seconds=1.0,
        energy=energy,
    )
