"""A metric and joules together: which trials continue, which are on the front; a run without a sensor."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from search.backends.local import LocalBackend
from search.budget import Ladder
from search.energy.reading import EnergyReading, EnergySensors
from search.launch import Launch, launch
from search.ledger import Ledger, csv_text
from search.ledger.history import TrialRecord
from search.ledger.journal import LedgerError
from search.output import Output
from search.report.summary import print_summary, print_winner
from search.run import Run
from search.run.objective import Cost, cost_of, pareto_front, projected_full
from search.run.resume import check_resumable
from search.space import SpaceError
from search.tables import live_tables
from search.trial import EpochRow
from search.trial.failure import Failure
from tests.support.fake_clock import FakeClock
from tests.support.meters import OneGpu, OneWindow
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import executed, fateful_space, listed, made_space, sampler_for
from trainables.core.contract import Budget

LADDER = Ladder(tuple(Budget(epochs=epochs, subset=None, resolution=None) for epochs in (1, 3, 9)))
TWO = "search.objective=[val_accuracy, energy]"
STOPPING = "search.scheduler={mode: asha_stopping, eta: 2, control_fraction: 0.0}"


class Scene:
    """A run on a node with one GPU: whole trials, reported by the test."""

    def __init__(self, folder: Path, *overrides: str, share: str = "1") -> None:
        self.clock = FakeClock()
        self.gpu = OneGpu(self.clock, share)
        self.space = made_space(folder, overrides=[TWO, STOPPING, *overrides])
        ledger = Ledger.create(folder / "run")
        self.run = Run(self.space, sampler_for(self.space), ledger, metering=self.gpu, clock=self.clock)

    def train(self, value: float, joules: float, start_j: float = 0.0) -> TrialRecord:
        """A trial with this many joules an epoch, until the run stops it."""
        task = self.run.next_task()
        assert task is not None
        window, epoch = self.gpu.window(task.trial_id), 0
        self.use(start_j)
        answer = "continue"
        while answer == "continue" and epoch < 9:
            epoch += 1
            answer = self.epoch(task.trial_id, window, epoch, value, joules)
        return self.run.history.trials[task.trial_id]

    def epoch(self, trial_id: str, window: OneWindow, epoch: int, value: float, joules: float) -> str:
        before = window.read()
        self.use(joules)
        energy = window.read() - before
        row = made_row(epoch, value, energy, window.window, ladder=self.space.ladder)
        return self.run.on_epoch(trial_id, row)

    def use(self, joules: float) -> None:
        self.gpu.counter.metered_mj += round(joules * 1000)
        self.clock.now_s += 1.0

    def front(self) -> list[tuple[str, float]]:
        trials = self.run.history.trials.values()
        return [(trial.trial_id[-1], values.numbers[1]) for trial, values in pareto_front(self.space, trials)]


def joules(scene: Scene, trial: TrialRecord) -> float:
    cost = cost_of(scene.space, trial)
    assert cost is not None
    return cost.joules


def made_row(
    epoch: int, value: float, energy: EnergyReading, window: str = "", ladder: Ladder = LADDER
) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        rung=ladder.rung_for(epoch - 1),
        completes_rung=epoch in ladder.ends,
        metrics={"val_accuracy": value, "num_examples": 50},
        seconds=1.0,
        energy=energy,
        window=window,
    )


def test_a_trial_that_stopped_early_does_not_look_cheap(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.ladder.epochs=[1, 9]")
    assert scene.train(0.5, 10).status == "finished"
    stopped = scene.train(0.4, 20, start_j=3)
    assert (stopped.status, stopped.epochs, stopped.energy.gpu_mj) == ("stopped", 1, 23_000)
    assert joules(scene, stopped) == 180.0
    assert scene.train(0.1, 30).status == "stopped"
    assert scene.train(0.3, 5).status == "finished"  # spends 45 J, more than the stopped one
    assert scene.front() == [("0", 90.0), ("3", 45.0)]


def test_a_promising_value_at_a_low_rung_is_on_no_front(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.train(0.5, 10)
    task = scene.run.next_task()
    assert task is not None
    scene.epoch(task.trial_id, scene.gpu.window(task.trial_id), 1, 0.9, 1)
    assert scene.run.history.trials[task.trial_id].status == "running"
    assert scene.front() == [("0", 90.0)]


def test_joules_per_sample_are_those_of_the_epochs(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.objective=[val_accuracy, energy_per_example]")
    scene.train(0.5, 10)
    stopped = scene.train(0.5, 20, start_j=5)
    assert stopped.status == "stopped"
    assert joules(scene, stopped) == 0.4
    assert scene.front() == [("0", 0.2)]


def test_differences_within_the_uncertainty_are_ties(tmp_path: Path) -> None:
    scene = Scene(tmp_path, share="1/2")  # half a device: its share is uncertain
    first, second = scene.train(0.5, 10), scene.train(0.4, 9.9)
    cost = cost_of(scene.space, first)
    assert cost is not None
    assert cost.uncertainty_j > 0.01 * cost.joules
    assert second.status == "stopped"  # cheaper by less than is known, and less accurate
    assert [trial for trial, _ in scene.front()] == ["0"]


def test_an_epoch_that_a_sensor_missed_makes_nothing_cheaper(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[TWO])
    trial = TrialRecord("trial-0000", 0, "default", {}, 0, 0.0)
    both, cpu = EnergyReading(gpu_mj=8_000, cpu_mj=1_000), EnergyReading(cpu_mj=1_000)
    trial.rows += [made_row(1, 0.5, both), made_row(2, 0.5, cpu), made_row(3, 0.5, EnergyReading())]
    assert projected_full(space, trial) == Cost(joules=81.0, uncertainty_j=0.0, scope="gpu+cpu")


def test_a_row_that_was_lost_with_its_worker_counts_with_its_attempt(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    task = scene.run.next_task()
    assert task is not None
    window = scene.gpu.window(task.trial_id)
    scene.use(10)
    scene.run.on_failure(task.trial_id, Failure(cause="lost_worker", message="killed"))
    late = made_row(1, 0.5, EnergyReading(gpu_mj=10_000), window.window)
    assert scene.run.on_epoch(task.trial_id, replace(late, is_replay=True)) == "continue"
    assert joules(scene, scene.run.history.trials[task.trial_id]) == 90.0


def test_without_a_sensor_the_first_rung_ends_the_run_and_says_so(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[TWO])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    task = run.next_task()
    assert task is not None
    assert run.on_epoch(task.trial_id, made_row(1, 0.5, EnergyReading())) == "stop"
    assert run.next_task() is None
    reason = "energy cannot be measured (no sensor was read), and search.objective asks for it"
    assert run.end() == reason
    assert Run(space, sampler_for(space), Ledger(tmp_path / "run")).stop_reason() == reason


def test_a_later_trial_without_joules_or_with_others_ends_alone(tmp_path: Path) -> None:
    space = made_space(tmp_path, overrides=[TWO])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    tasks = [run.next_task() for _ in range(3)]
    readings = [EnergyReading(gpu_mj=5), EnergyReading(), EnergyReading(cpu_mj=1)]
    for task, reading in zip(tasks, readings, strict=True):
        assert task is not None
        run.on_epoch(task.trial_id, made_row(1, 0.5, reading))
    assert [(trial.status, trial.message) for trial in run.history.trials.values()] == [
        ("running", ""),
        ("stopped", "energy cannot be measured (no sensor was read)"),
        ("stopped", "its joules cover cpu, those of earlier trials cover gpu"),
    ]
    assert run.stop_reason() is None
    assert run.rungs.counts() == [1, 0, 0]


def test_without_a_sensor_here_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSensor:
        sensors = EnergySensors(reason="no GPU, no RAPL")

        def read(self) -> EnergyReading:
            return EnergyReading()

        def close(self) -> None:
            return None

    monkeypatch.setattr("search.backends.sensors.meter_for", lambda **_: NoSensor())
    how = Launch(folder=tmp_path / "run", command=["search.py"], backend=LocalBackend())
    with pytest.raises(SpaceError, match=r"energy cannot be measured on this machine \(no GPU, no RAPL\)"):
        launch(made_space(tmp_path, overrides=[TWO]), how, make_sampler=sampler_for, output=Output())
    assert not how.folder.exists()


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["objective=[energy]"], "search.objective: must begin with the metric, val_accuracy, got 'energy'"),
        (
            ["objective=[val_accuracy, energie]"],
            "search.objective: energie is not known; if the trainable reports it, say whether less or more "
            "is better: {energie: min}; did you mean energy?",
        ),
        (
            ["objective=[val_accuracy, energy, {a: min}, {b: min}]"],
            "search.objective: takes one or two numbers beside the metric, got energy, a, b",
        ),
        (
            ["objective=[val_accuracy, energy]", "scheduler.mode=pasha"],
            "search.scheduler.mode: pasha compares one objective; use asha or asha_stopping",
        ),
        (
            ["objective=[val_accuracy, energy]", "warm_start=[earlier]"],
            "search.warm_start: earlier runs report only their metric; leave it out, or leave out the other "
            "objectives",
        ),
    ],
)
def test_what_two_objectives_do_not_go_with_is_refused(
    tmp_path: Path, overrides: list[str], problem: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        made_space(tmp_path, overrides=[f"search.{change}" for change in overrides])
    assert caught.value.problems == (problem,)


def test_cmaes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"search\.sampler: cmaes takes one objective; use tpe, gp or nsga2"):
        made_space(tmp_path, overrides=[TWO, "search.sampler=cmaes"])


def test_another_objective_is_another_run(tmp_path: Path) -> None:
    one, two = made_space(tmp_path), made_space(tmp_path, overrides=[TWO])
    assert made_space(tmp_path, overrides=["search.objective=val_accuracy"]) == one
    with pytest.raises(LedgerError, match="objective: was val_accuracy, now val_accuracy, energy"):
        check_resumable(tmp_path / "run", one, two)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_samplers_search_for_two(tmp_path: Path, sampler: str) -> None:
    space = made_space(tmp_path, overrides=[TWO, STOPPING, f"search.sampler={sampler}"])
    run, reason = executed(space, tmp_path)
    assert reason == "all 12 trials done"
    assert {trial.status for trial in run.history.trials.values()} == {"finished", "stopped"}


def test_the_front_is_printed_and_written(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.1, 0.6, 0.4)]
    space = fateful_space(tmp_path, [TWO])
    run, reason = executed(space, tmp_path, listed(*points))
    output = console()
    print_summary(run, output)
    print_winner(run, reason, output)
    (front,) = csv.DictReader(csv_text(*live_tables(space, run.history)["pareto.csv"]).splitlines())
    assert (front["trial_id"], front["energy"], front["energy_uncertainty_j"]) == (
        "trial-0001",
        "0.36",
        "0.0",
    )
    text = shown(output)
    assert "J of full training" in text
    assert "trial-0001" in text.split("J of full training")[1].splitlines()[1]


def test_one_objective_leaves_no_front(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    assert "pareto.csv" not in live_tables(space, executed(space, tmp_path)[0].history)


def test_no_sampler_is_claimed_to_learn_from_stopped_trials(tmp_path: Path) -> None:
    line = "search.objective: with several, {} learns only from trials that complete the ladder, "
    for sampler in ("tpe", "nsga2"):
        notices = made_space(tmp_path, overrides=[TWO, f"search.sampler={sampler}"]).notices
        assert [notice for notice in notices if "learns" in notice] == [
            line.format(sampler) + "as a metric at a low rung is not final"
        ]
