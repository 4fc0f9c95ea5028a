"""Re-adding the energy tables of a run, and finding what was changed in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from search import cli
from search.accounting.reconciliation import check_run
from search.backends.local import execute_here
from search.energy.reading import EnergyReading, EnergySensors
from search.ledger import Ledger
from search.run import Run
from search.space import dump_space
from search.tables import Tables
from tests.support.energy_scenes import Scene, checked_tables, written
from tests.support.processes import typed
from tests.support.toy_runs import SteadyMeter, made_space, sampler_for


class Blind(SteadyMeter):
    """Reads nothing, as where there is no sensor."""

    sensors = EnergySensors(reason="no sensor")

    def read(self) -> EnergyReading:
        return EnergyReading()

    read_start = read


def ended_run(folder: Path) -> Scene:
    """Two trials on one GPU, one after the other, its tables written as the command does."""
    scene = Scene(folder, "search.limits.trials=2", "search.ladder.epochs=[1]")
    for joules in (10, 20):
        trial_id, window = scene.start()
        scene.epoch(trial_id, window, joules)
        scene.use(1)
    scene.run.observe(Tables(scene.run.ledger, scene.space, scene.run.history))
    scene.run.end()
    dump_space(scene.space, scene.run.ledger.space_file)
    return scene


def test_an_untouched_run_adds_up(tmp_path: Path) -> None:
    folder = ended_run(tmp_path).run.ledger.folder
    done = typed("check_energy", folder, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 trials, 1 device row, 32.000 J: everything adds up\n"


@pytest.mark.parametrize(
    ("table", "column", "value", "complaint"),
    [
        ("trials.csv", "energy_j", "9.0", "energy_j is 9.0, its parts make 10.0"),
        ("devices.csv", "energy_idle_j", "1.0", "its six parts make 31.0"),
        ("devices.csv", "counter_end_mj", "99", "the counter moved -0.901 J"),
        ("devices.csv", "energy_starts_j", "1.0", "its six parts make 33.0"),
        ("devices.csv", "residual_j", "0.5", "residual_j is 0.5, must be 0"),
        ("trials.csv", "energy_start_j", "1.0", "starts: devices gave 0.0 J, trials have 1.0 J"),
        ("energy.csv", "energy_gpu_j", "11.0", "in trials.csv, 11.0 in energy.csv"),
    ],
)
def test_one_changed_cell_is_found_and_named(
    tmp_path: Path, table: str, column: str, value: str, complaint: str
) -> None:
    scene = ended_run(tmp_path)
    tables = written(scene.run)
    tables[table][0][column] = value
    problems = checked_tables(tables).problems
    assert any(complaint in problem for problem in problems), problems


def test_a_trial_and_its_device_changed_alike_still_differ_from_the_journal(tmp_path: Path) -> None:
    folder = ended_run(tmp_path).run.ledger.folder
    path = folder / "trials.csv"
    path.write_text(path.read_text().replace("0.5,", "0.6,", 1))
    done = typed("check_energy", folder, folder=folder)
    assert done.returncode == 1
    assert done.stderr == "trials.csv: not what the journal says; changed after the run\n"


def test_a_table_that_is_behind_is_a_note_while_the_run_is_not_over_and_a_problem_afterwards(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, "search.limits.trials=2", "search.ladder.epochs=[1]")
    tables = Tables(scene.run.ledger, scene.space, scene.run.history)
    for joules in (10, 20):
        trial_id, window = scene.start()
        scene.epoch(trial_id, window, joules)
        if joules == 10:
            tables.write()
    check = check_run(scene.run.ledger, scene.space, scene.run.history)
    assert check.notes[-1] == (
        "trials.csv, energy.csv: older than the journal; the run continues, or was killed"
    )
    assert check.problems == []
    scene.run.end()
    stale = "trials.csv, energy.csv, devices.csv: not what the journal says; changed after the run"
    assert stale in check_run(scene.run.ledger, scene.space, scene.run.history).problems


@pytest.mark.parametrize("name", ["trials.csv", "energy.csv", "devices.csv"])
def test_a_table_that_was_removed_after_the_run_is_named(tmp_path: Path, name: str) -> None:
    run = ended_run(tmp_path).run
    (run.ledger.folder / name).unlink()
    check = check_run(run.ledger, run.space, run.history)
    assert check.problems[-1] == f"{name}: not what the journal says; changed after the run"


def test_a_table_that_a_spreadsheet_saved_its_own_way_is_named(tmp_path: Path) -> None:
    run = ended_run(tmp_path).run
    table = run.ledger.folder / "trials.csv"
    table.write_bytes(table.read_bytes().replace(b",", b";"))
    (run.ledger.folder / "notes.csv").write_bytes(b"caf\xe9")
    assert check_run(run.ledger, run.space, run.history).problems == [
        "the tables lack columns, or cells are not numbers",
        "trials.csv: not what the journal says; changed after the run",
    ]


def test_what_was_checked_is_counted(tmp_path: Path) -> None:
    run = ended_run(tmp_path).run
    assert check_run(run.ledger, run.space, run.history).checked == "2 trials, 1 device row, 32.000 J"


def test_a_run_without_joules_has_nothing_to_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = made_space(tmp_path, overrides=["search.limits.trials=2"])
    run = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    run.observe(Tables(run.ledger, space, run.history))
    execute_here(run, Blind())
    dump_space(space, run.ledger.space_file)
    assert cli.run("check-energy", [str(run.ledger.folder)]) == 0
    assert capsys.readouterr().out == "2 trials, no joules: nothing to add up\n"


def test_a_folder_without_a_run_is_reported(tmp_path: Path) -> None:
    done = typed("check_energy", tmp_path, folder=tmp_path)
    assert done.returncode == 2
    assert "holds no run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_was_lost_is_a_note_with_its_device_and_its_trial_says_so(tmp_path: Path) -> None:
    """The meter's last row is from before the trial's last epoch; its window was never closed."""
    scene = Scene(tmp_path, "search.limits.trials=1", "search.ladder.epochs=[1]")
    trial_id, window = scene.start()
    last_rows = [{**row, "is_closed": False} for row in scene.gpu.device_rows()]
    scene.gpu.device_rows, scene.gpu.close_windows = lambda: last_rows, lambda trial: ()  # type: ignore[method-assign]
    scene.epoch(trial_id, window, 10)
    scene.run.end()
    tables = written(scene.run)
    check = checked_tables(tables)
    assert check.problems == []
    assert check.notes == [
        "gpu: devices gave 0.0 J by the last reading, trials have 10.0 J; of GPU-one (session 0) the session "
        "was killed, or the node lost, between two readings"
    ]
    assert "the meter of 1 attempt was lost" in tables["trials.csv"][0]["energy_reason"]
