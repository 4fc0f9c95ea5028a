"""A search whose rungs are measured in joules: reported rows, space, tables, messages."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from search.backends.sensors import check_measurable
from search.cli.train import main, parser
from search.energy.reading import EnergyReading, EnergySensors
from search.ledger import Ledger, LedgerError
from search.output import Output
from search.promotion import full_training
from search.report.console import ConsoleView
from search.report.plan import print_plan
from search.run import Run
from search.run.resume import check_resumable
from search.sampling.sampler import OptunaSampler
from search.sampling.warm_start import earlier_trials
from search.space import Space, SpaceError, dump_space, load_space
from search.tables import energy_rows, trial_rows
from search.trial import EpochRow
from search.trial.rung_energy import RungEnergy
from tests.support.toy_runs import SteadyMeter, defaults_of, executed, made_space, replayed, sampler_for
from trainables.core.contract import Budget

JOULES = "search.ladder={resource: energy_j, joules: [0.5, 1.5, 4.5], epochs: 9}"
UNFIT = "its GPU's joules are split by the method equal"


def joule_space(folder: Path, *overrides: str) -> Space:
    return made_space(folder, overrides=[JOULES, *overrides])


class Scene:
    """A run whose rows the test reports: `ended` is the rung a row ends, `at` the one it ran at."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.space = joule_space(folder, *overrides)
        self.ledger = Ledger.create(folder / "run")
        self.open()

    def open(self) -> None:
        self.sampler: OptunaSampler = sampler_for(self.space)
        self.run = Run(self.space, self.sampler, self.ledger)

    def start(self) -> str:
        task = self.run.next_task()
        assert task is not None
        return task.trial_id

    def report(
        self,
        trial_id: str,
        epoch: int,
        mj: int | None,
        *,
        at: int = 0,
        ended: int | None = None,
        value: float = 0.5,
        scope: str = "gpu",
        unusable_reason: str = "",
    ) -> str:
        row = EpochRow(
            epoch=epoch,
            rung=at,
            completes_rung=ended is not None,
            rungs_skipped=0 if ended is None else ended - at,
            used=RungEnergy(mj=mj, scope=scope, unusable_reason=unusable_reason),
            metrics={"val_accuracy": value, "num_examples": 1000.0},
            seconds=1.0,
            energy=EnergyReading(gpu_mj=400),
        )
        return self.run.on_epoch(trial_id, row)

    def ends(self) -> list[tuple[str, str]]:
        return [(trial.status, trial.message) for trial in self.run.history.trials.values()]


def test_a_jump_is_judged_at_the_rung_it_reached_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    low, jumper = scene.start(), scene.start()
    assert scene.report(low, 1, 600, ended=0) == "continue"
    assert scene.report(jumper, 1, 1700, ended=1, value=0.9) == "continue"
    assert scene.run.rungs.counts() == [1, 1, 0]
    trial = scene.run.history.trials[jumper]
    assert (trial.rung, trial.value_at("val_accuracy", 0), trial.value_at("val_accuracy", 1)) == (
        1,
        None,
        0.9,
    )
    assert scene.sampler.intermediate_values() == [{0: 0.5}, {1: 0.9}]


def test_a_repeated_epoch_that_uses_more_ends_its_rung_and_the_next_one_is_no_second_end(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    trial_id = scene.start()
    scene.report(trial_id, 1, 490)
    assert scene.report(trial_id, 1, 510, ended=0, value=0.4) == "continue"
    assert scene.run.rungs.values(0) == {trial_id: 0.4}
    scene.report(trial_id, 1, 480, value=0.6)  # from an older state once more
    assert scene.report(trial_id, 2, 700, ended=0, value=0.7) == "continue"
    assert scene.run.rungs.values(0) == {trial_id: 0.4}
    before = scene.run.rungs.counts(), scene.run.history.trials
    scene.open()
    assert (scene.run.rungs.counts(), scene.run.history.trials) == before
    assert scene.run.rungs.values(0) == {trial_id: 0.4}


def test_a_rung_end_that_only_the_checkpoint_knew_is_taken_in_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.scheduler.mode=asha")
    trial_id = scene.start()
    scene.report(trial_id, 1, 490)
    row = EpochRow(
        epoch=1,
        rung=0,
        completes_rung=True,
        used=RungEnergy(mj=510, scope="gpu"),
        metrics={"val_accuracy": 0.4},
        seconds=1.0,
        is_replay=True,
    )
    assert scene.run.on_epoch(trial_id, row) == "stop"
    assert scene.ends() == [("paused", "")]
    assert scene.run.rungs.values(0) == {trial_id: 0.4}


def test_joules_that_are_not_the_trials_own_end_the_run_when_the_first_rung_should_end(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    trial_id = scene.start()
    assert scene.report(trial_id, 1, 400, unusable_reason=UNFIT) == "continue"  # nothing to decide yet
    assert scene.report(trial_id, 2, 600, ended=0, unusable_reason=UNFIT) == "stop"
    assert scene.run.next_task() is None
    reason = f"{UNFIT}, and search.ladder measures rungs in joules"
    assert scene.run.end() == reason
    assert scene.ends() == [("stopped", UNFIT)]
    assert scene.run.ranking.best() is None
    assert scene.run.rungs.counts() == [0, 0, 0]
    scene.open()
    assert scene.run.stop_reason() == reason


def test_a_later_trial_whose_joules_cannot_decide_ends_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    good, split, lost, other = (scene.start() for _ in range(4))
    scene.report(good, 1, 600, ended=0)
    scene.report(split, 1, 600, ended=0, unusable_reason=UNFIT)
    scene.report(lost, 1, None, unusable_reason="its GPU's joules are not known (lost)")
    scene.report(other, 1, 600, ended=0, scope="cpu")
    assert scene.ends() == [
        ("running", ""),
        ("stopped", UNFIT),
        ("stopped", "its GPU's joules are not known (lost)"),
        ("stopped", "its joules cover cpu, those of earlier trials cover gpu"),
    ]
    assert scene.run.stop_reason() is None
    assert scene.run.rungs.counts() == [1, 0, 0]


def test_a_search_on_joules_comes_to_its_end_and_is_rebuilt_from_its_journal(tmp_path: Path) -> None:
    space = joule_space(tmp_path, "search.ladder.joules=[0.04, 0.1, 0.14]")  # an epoch is 20 mJ of CPU
    run, reason = executed(space, tmp_path)
    assert reason == "all 12 trials done"
    assert {trial.epochs for trial in run.history.trials.values()} == {2, 5, 7}
    assert repr(replayed(run).trials) == repr(run.history.trials)
    rows = {row["trial_id"]: row for row in trial_rows(space, run.history)}
    used_j = {(row["epochs"], row["rung"], row["energy_rungs_j"]) for row in rows.values()}
    assert used_j == {(2, 0, 0.04), (5, 1, 0.1), (7, 2, 0.14)}
    by_rung = {(row["rung"], row["epochs"]) for row in energy_rows(run.history)}
    assert by_rung == {(0, 2), (1, 3), (2, 2)}
    assert sampler_steps(run) <= {0, 1, 2}


def sampler_steps(run: Run) -> set[int]:
    sampler = sampler_for(run.space)
    Run(run.space, sampler, run.ledger)
    return {step for values in sampler.intermediate_values() for step in values}


def test_full_training_is_the_cap_at_the_top_rungs_budget(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "search.ladder.subset=[0.25, 0.5, 1.0]")
    trial_id = scene.start()
    scene.report(trial_id, 1, 400)
    scene.report(trial_id, 2, 1600, ended=1)
    (row,) = trial_rows(scene.space, scene.run.history)
    assert row["energy_projected_full_j"] == pytest.approx(0.8 / (2 * 0.25) * 9)  # of the rows' 400 mJ each
    assert (row["rung"], row["subset"], row["energy_rungs_j"]) == (1, 0.25, 1.6)
    full = full_training(replace(scene.space, promote=scene.space.promote.model_copy(update={"epochs": 20})))
    assert (full.ladder.joules, full.ladder.rungs) == ((), (Budget(epochs=20, subset=1.0),))


def test_a_space_of_joules_is_written_as_it_was_read(tmp_path: Path) -> None:
    space = joule_space(tmp_path, "search.ladder.subset=[0.25, 0.5, 1.0]", "search.horizon=anytime")
    dump_space(space, tmp_path / "again.yaml")
    assert load_space(str(tmp_path / "again.yaml"), spaces_dir=tmp_path) == space
    assert space.notices == ()
    assert made_space(tmp_path, overrides=[JOULES, "search.budget.epochs=4"]).ladder.top.epochs == 4


def test_a_schedule_that_joules_may_cut_short_is_noticed(tmp_path: Path) -> None:
    assert joule_space(tmp_path).notices == (
        "search.horizon: with full a trial that uses its 4.5 J before epoch 9 ends with its schedule cut "
        "short; anytime has none to cut",
    )


def test_what_joules_cannot_be_combined_with_comes_in_one_message(tmp_path: Path) -> None:
    changes = [
        "search.ladder.resolution=[14, 20, 28]",
        "search.horizon=rung",
        "search.scheduler.mode=pasha",
        "search.validation_resolution=rung",
        "search.resources.gpus_per_trial=0.5",
    ]
    with pytest.raises(SpaceError) as error:
        joule_space(tmp_path, *changes)
    lines = str(error.value).splitlines()[1:]
    assert sorted(line.split(": ")[0].strip() for line in lines) == [
        "search.horizon",
        "search.resources.gpus_per_trial",
        "search.scheduler.mode",
        "search.validation_resolution",
    ]
    assert joule_space(tmp_path, changes[-1], "search.metering.exclusive_slots=true").ladder.joules


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        (
            "{resource: energy_j, epochs: 9}",
            "search.ladder.joules: are missing with resource: energy_j; write",
        ),
        (
            "{resource: energy_j, joules: [1, 2]}",
            "search.ladder.epochs: is missing: with resource: energy_j it",
        ),
        (
            "{resource: energy_j, joules: [1, 2], epochs: [3, 9]}",
            r"search.ladder.epochs: must be one number, got \[3, 9\]: with resource: energy_j it caps",
        ),
        (
            "{resource: energy_j, joules: [2, 1], epochs: 9}",
            "search.ladder.joules: must rise from rung to rung",
        ),
        ("{resource: energy_j, joules: [1, 0], epochs: 9}", "search.ladder.joules: must be above 0, got 0"),
        (
            "{joules: [1, 2], epochs: [3, 9]}",
            "search.ladder.joules: have an effect only with resource: energy_j",
        ),
        ("{resource: watts, epochs: [3, 9]}", "search.ladder.resource: "),
        (
            "{resource: energy_j, joules: [1, 2], epochs: 9, subset: [0.1, 0.2, 1.0]}",
            "search.ladder: lists must have one value per rung, got subset 3, joules 2",
        ),
    ],
)
def test_a_mistake_in_a_ladder_of_joules_is_reported(tmp_path: Path, ladder: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        made_space(tmp_path, overrides=[f"search.ladder={ladder}"])


def test_plan_and_console_say_joules(tmp_path: Path) -> None:
    space = joule_space(tmp_path, "search.ladder.resolution=[14, 20, 28]")
    plan = StringIO()
    print_plan(space, Output(console=Console(file=plan, width=120)))
    assert "0.5 J, 14 px" in plan.getvalue()
    assert "4.5 J or 9 epochs, 28 px" in plan.getvalue()
    assert "horizon full: one learning-rate schedule over 9 epochs" in plan.getvalue()
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    live = StringIO()
    console = Output(console=Console(file=live, width=120, force_terminal=True))
    with ConsoleView(run, console):
        pass
    assert "rung 0  0.5 J, 14 px               0" in live.getvalue()


def test_runs_with_another_resource_teach_nothing_and_are_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    epochs = made_space(tmp_path / "a")
    run, _ = executed(epochs, tmp_path / "a")
    dump_space(epochs, run.ledger.space_file)
    joules = joule_space(tmp_path)
    with pytest.raises(
        LedgerError, match=r"\n  ladder.resource: there epochs, here energy_j; values at their"
    ):
        earlier_trials([run.ledger.folder], joules)
    other = joule_space(tmp_path, "search.ladder.joules=[0.5, 1.5, 5.0]")
    with pytest.raises(LedgerError, match=r"\n  ladder: was .*4.5.*, now .*5.0"):
        check_resumable(tmp_path, joules, other)


def test_earlier_runs_on_joules_are_known_by_the_place_of_the_rung(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    space = joule_space(tmp_path / "a", "search.ladder.joules=[0.04, 0.1, 0.14]")
    run, _ = executed(space, tmp_path / "a")
    dump_space(space, run.ledger.space_file)
    known, notices = earlier_trials([run.ledger.folder], space)
    assert notices == []
    assert list(known[0].values) == [0, 1, 2]
    assert OptunaSampler(space, defaults_of(space)).warm_start(known) == 12


class Sensor(SteadyMeter):
    """The meter of a trial alone on a machine."""

    def __init__(self, sensors: EnergySensors) -> None:
        super().__init__()
        self.sensors = sensors


@pytest.mark.parametrize(
    ("sensors", "line"),
    [
        (
            EnergySensors(reason="no GPU, no RAPL"),
            "search.ladder.resource: joules cannot end a rung on this machine: for a trial, its CPU's joules "
            "are not known (no GPU, no RAPL); use epochs",
        ),
        (
            EnergySensors(gpu_sensor="nvml_power_integral", gpu_attribution="exclusive", scope="gpu"),
            "search.ladder.resource: joules cannot end a rung on this machine: for a trial, its GPU's joules "
            "do not come from a counter (nvml_power_integral); use epochs",
        ),
    ],
)
def test_a_machine_that_cannot_end_a_rung_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sensors: EnergySensors, line: str
) -> None:
    monkeypatch.setattr("search.backends.sensors.meter_for", lambda **_: Sensor(sensors))
    with pytest.raises(SpaceError) as error:
        check_measurable(joule_space(tmp_path))
    assert str(error.value) == f"made: {line}"


def test_a_machine_that_counts_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, float]] = []

    def meter_for(**share: float) -> Sensor:
        asked.append(share)
        return Sensor(SteadyMeter.sensors)

    monkeypatch.setattr("search.backends.sensors.meter_for", meter_for)
    check_measurable(joule_space(tmp_path))
    check_measurable(joule_space(tmp_path, "search.resources.gpus_per_trial=0"))
    check_measurable(made_space(tmp_path))  # asks for no joules, so that nothing is opened
    assert [share["gpus"] for share in asked] == [1.0, 0]


def test_a_single_training_without_a_counter_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("search.training.meter_for", lambda **_: Sensor(EnergySensors(reason="no RAPL")))
    joule_space(tmp_path)
    command = ["--space", str(tmp_path / "made.yaml"), "--set", JOULES]
    assert main(parser().parse_args(command)) == 1
    message = "measures rungs in joules, but in this training its CPU's joules are not known (no RAPL)"
    assert message in " ".join(capsys.readouterr().out.split())
    assert main(parser().parse_args([*command, "--full"])) == 0
