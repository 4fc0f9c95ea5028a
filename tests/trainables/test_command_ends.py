"""Scripts that are stopped, killed with their worker and resumed: nothing runs on, no line is lost."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from search.backends.ray.metering import node_meter
from search.backends.ray.worker import TrialWorker
from search.budget import Ladder
from search.trial import Checkpointing, EpochRow, run_trial
from search.trial.task import TrialTask
from tests.support.command_spaces import SCRIPT, made_command
from tests.support.processes import ROOT, is_alive, wait_for
from tests.support.script_families import alive, family, started, worker
from tests.support.toy_runs import SteadyMeter
from trainables.command import guardian
from trainables.core.contract import BadResult, Budget, Horizon, ScriptFailed, TrainingContext
from trainables.core.load import TrainableRef

RUN = ["{python}", "script.py"]


def test_a_stopped_training_leaves_no_process(tmp_path: Path) -> None:
    training = started(family(tmp_path), tmp_path)
    training.run_epoch(Budget(epochs=9))
    assert len(alive(tmp_path)) == 4
    del training
    assert alive(tmp_path) == []


def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    process = worker(tmp_path, family(tmp_path))
    assert len(alive(tmp_path)) == 4
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(tmp_path))


def test_a_guardian_that_is_killed_takes_the_script_with_it(tmp_path: Path) -> None:
    process = worker(tmp_path, family(tmp_path))
    script = int((tmp_path / "trial/script.lock").read_text())
    os.kill(parent_of(script), signal.SIGKILL)
    wait_for(lambda: not is_alive(script))
    for pid in alive(tmp_path):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_script_may_save_before_it_is_killed(tmp_path: Path) -> None:
    script = """
        import pathlib, signal, sys, time
        def save(*_):
            pathlib.Path("saved").touch()
            sys.exit()
        signal.signal(signal.SIGTERM, save)
        print('{"val_acc": 0.5}', flush=True)
        time.sleep(600)
    """
    training = started(made_command(tmp_path, script, run=RUN, resume=[], defaults={}), tmp_path)
    training.run_epoch(Budget(epochs=9))
    del training
    assert (tmp_path / "saved").exists()


def test_the_next_script_waits_until_the_last_one_is_gone(tmp_path: Path) -> None:
    """The worker is killed; its script still writes for a while, and another worker takes the trial."""
    script = """
        import os, signal, time
        def linger(*_):
            time.sleep(0.5)
            print("last words", flush=True)
            os._exit(0)
        signal.signal(signal.SIGTERM, linger)
        print('{"val_acc": 0.5}', flush=True)
        time.sleep(600)
    """
    command = made_command(tmp_path, script, run=RUN, resume=[], defaults={})
    process = worker(tmp_path, command)
    process.kill()
    process.communicate()
    training = started(command, tmp_path)
    training.run_epoch(Budget(epochs=9))
    before = (tmp_path / "trial/stdout-before.txt").read_text()
    assert before.endswith("last words\n")
    assert "last words" not in (tmp_path / "trial/stdout.txt").read_text()


def test_a_script_that_runs_elsewhere_is_waited_for_with_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run that starts over, one that resumes, and the guardian itself."""
    monkeypatch.setattr("trainables.command.script._SLACK_S", 0.1)
    command = made_command(tmp_path, graceful_s=0.0)
    training = started(command, tmp_path)
    training.run_epoch(Budget(epochs=9))
    state, lock = training.state_dict(), tmp_path / "trial/script.lock"
    pid = lock.read_text()
    held = f"another run of this script, process {pid}, still holds {lock} after 0.2 s"
    with lock.open("a") as file:
        del training
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ScriptFailed) as refused:
            started(command, tmp_path).run_epoch(Budget(epochs=9))
        assert str(refused.value) == f"{held}; end it (kill {pid}) and try again"
        with pytest.raises(ScriptFailed, match="still holds"):
            started(command, tmp_path).load_state_dict(state)
        guardian = [sys.executable, "-I", "-S", ROOT / "trainables/command/guardian.py"]
        waiting = subprocess.Popen(
            [*guardian, lock, "0.2", "0", "true"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert waiting.wait(60) == 75
        assert waiting.communicate()[1].decode().startswith(held)


def test_a_paused_trial_of_a_warm_worker_gives_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script stood still there with the lock, and another worker, to which it was promoted, waited."""
    command = made_command(tmp_path, resume=[], defaults={"lr": 0.5})
    ladder = Ladder((Budget(epochs=1), Budget(epochs=2)))
    task = TrialTask(
        trial_id="trial-0000",
        trainable=command,
        metric="val_acc",
        mode="max",
        hparams={"lr": 0.5},
        ladder=ladder,
        training=TrainingContext(
            data="none",
            data_seed=0,
            seed=0,
            cache_dir=tmp_path,
            precision="fp32",
            folder=tmp_path / "trial",
        ),
        folder=tmp_path / "trial",
    )
    first, second = TrialWorker(), TrialWorker()
    monkeypatch.setattr("search.backends.ray.worker._own_meter", lambda gpus, cpus: SteadyMeter())
    assert node_meter() is None  # and starts no Ray, which would end this process some time later
    assert not ray.is_initialized()
    for each in (first, second):
        each.take(task)
    assert first.step()["row"].epoch == 1
    first.release()
    assert [second.step()["row"].epoch for _ in range(2)] == [1, 2]  # a replay, and the next one
    second.release()


def test_lines_of_before_a_kill_are_not_lost(tmp_path: Path) -> None:
    """The script ran ahead of what was taken in: those epochs come from its file, and it continues there."""
    training = started(made_command(tmp_path), tmp_path)
    training.run_epoch(Budget(epochs=9))
    state = training.state_dict()
    del training
    (tmp_path / "trial/checkpoint/state.json").write_text('{"epoch": 3}')
    lines = (tmp_path / "trial/stdout.txt").read_text().splitlines()[:2]
    lines += [json.dumps({"epoch": epoch, "val_acc": epoch / 10}) for epoch in (2, 3)]
    (tmp_path / "trial/stdout.txt").write_text("\n".join([*lines, '{"epoch": 4, "val']))
    again = started(made_command(tmp_path), tmp_path)
    again.load_state_dict(state)
    assert [again.run_epoch(Budget(epochs=9))["val_acc"] for _ in range(2)] == [0.2, 0.3]
    assert "pid" not in again.notes()
    again.run_epoch(Budget(epochs=9))
    assert again.epochs_done == 4
    assert "--resume" in again.notes()["command"]


@pytest.mark.parametrize("saved", [2, 9])
def test_a_line_lost_between_saving_and_printing_costs_a_new_beginning(tmp_path: Path, saved: int) -> None:
    """The checkpoint is ahead of all lines, in the last epoch too, where nothing is left to print."""
    training = started(made_command(tmp_path), tmp_path)
    first = dict(training.run_epoch(Budget(epochs=9)))
    state = training.state_dict()
    del training
    (tmp_path / "trial/checkpoint/state.json").write_text(json.dumps({"epoch": saved}))
    stdout = tmp_path / "trial/stdout.txt"
    stdout.write_text("\n".join(stdout.read_text().splitlines()[:2]))
    again = started(made_command(tmp_path), tmp_path)
    again.load_state_dict(state)
    assert again.run_epoch(Budget(epochs=9))["val_acc"] > first["val_acc"]
    assert again.epochs_done == 2
    assert again.notes()["repeated"] == "epochs 1 to 1 trained again: the script started over"


def test_epochs_that_are_trained_again_are_reported_once(tmp_path: Path) -> None:
    """A checkpoint older than the lines: the script saves every third epoch only, and trains none before its
    turn, so that each stretch ends at its epoch."""
    waits = "while int(pathlib.Path('turn').read_text()) < epoch: time.sleep(0.01)"
    script = SCRIPT.replace("random, sys", "random, sys, time")
    script = script.replace("if args.out:", f"{waits}\n    if epoch % 3 == 0:")
    command = made_command(tmp_path, script)
    ladder = Ladder((Budget(epochs=2), Budget(epochs=5), Budget(epochs=7)))
    turn, stretches = tmp_path / "turn", []
    for last, count in ((2, 2), (5, 4), (7, 3)):  # from the second on, the first row is a replay
        turn.write_text(str(last))
        stretches.append(climbed(command, tmp_path, ladder, count))
    first, second, third = stretches
    rows = first + second[1:] + third[1:]
    assert [row.epoch for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    # Nothing was saved by epoch 2; by epoch 5 that of epoch 3 was.
    again = [row.notes.get("repeated", "") for row in (first[0], second[1], third[1])]
    assert again == ["", "epochs 1 to 2 trained again: the script started over", ""]
    assert ["--resume" in row.notes["command"] for row in (second[1], third[1])] == [False, True]
    (tmp_path / "whole").mkdir()
    assert scores(rows) == scores(climbed(command, tmp_path / "whole", ladder))


def test_without_resume_a_paused_trial_trains_its_epochs_again_and_says_so(tmp_path: Path) -> None:
    command = made_command(tmp_path, resume=[])
    ladder = Ladder((Budget(epochs=2), Budget(epochs=4)))
    first = climbed(command, tmp_path, ladder, 2)
    rest = climbed(command, tmp_path, ladder)[1:]
    assert [row.epoch for row in [*first, *rest]] == [1, 2, 3, 4]
    assert rest[0].notes["repeated"] == "epochs 1 to 2 trained again: the script started over"


def climbed(command: TrainableRef, folder: Path, ladder: Ladder, count: int = 99) -> list[EpochRow]:
    """Rows of a trial in folder/trial, from its checkpoint on."""
    trainable = command.load()
    context = TrainingContext(
        data="none", data_seed=0, seed=1, cache_dir=folder, folder=folder / "trial", horizon=ladder.horizon
    )
    checkpointing = Checkpointing(path=folder / "trial" / "checkpoint.pt", every_s=0.0)
    running = run_trial(
        trainable, trainable.hparams(), ladder, context, SteadyMeter(), checkpointing=checkpointing
    )
    return [row for _, row in zip(range(count), running, strict=False)]


def scores(rows: list[EpochRow]) -> list[tuple[int, float]]:
    return [(row.epoch, row.metrics["val_acc"]) for row in rows]


@pytest.mark.parametrize("horizon", ["full", "rung"])
def test_rungs_of_other_subsets_restart_the_script_with_them(tmp_path: Path, horizon: Horizon) -> None:
    """One schedule: from its checkpoint, given where to end. A schedule a rung: from the beginning."""
    flags = "--epochs {epochs} --until {until} --subset {subset} --out {checkpoint_dir}"
    run = [*RUN, *flags.split()]
    command = made_command(tmp_path, run=run)
    rungs = [Budget(epochs=epochs, subset=subset) for epochs, subset in ((1, 0.25), (3, 0.5), (5, 1.0))]
    rows = climbed(command, tmp_path, Ladder(tuple(rungs), horizon))
    expected = {"full": [25, 50, 50, 100, 100], "rung": [25, 50, 50, 50, 100, 100, 100, 100, 100]}
    assert [row.metrics["num_examples"] for row in rows] == expected[horizon]
    resumed = [row.epoch for row in rows if "--resume" in row.notes.get("command", "")]
    assert resumed == {"full": [2, 4], "rung": []}[horizon]


def test_a_script_that_was_given_its_end_finishes_what_it_does_after_it(tmp_path: Path) -> None:
    script = SCRIPT + "\nimport time; time.sleep(0.1); (args.out / 'model').touch()"
    climbed(made_command(tmp_path, script), tmp_path, Ladder((Budget(epochs=2),)))
    assert (tmp_path / "trial/checkpoint/model").exists()


@pytest.mark.slow
def test_a_script_that_leaves_its_training_in_the_background_is_told_what_became_of_it(
    tmp_path: Path,
) -> None:
    script = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    left = "it printed: the command has ended and left 1 running, which are ended too: let it wait for them"
    with pytest.raises(BadResult, match=left):
        climbed(made_command(tmp_path, script), tmp_path, Ladder((Budget(epochs=1),)))


def test_a_score_of_the_last_epoch_counts_however_the_script_then_ends(tmp_path: Path) -> None:
    """As `sys.exit(main())` does with the score that `main` returns, or a library that crashes at its end."""
    rows = climbed(made_command(tmp_path, SCRIPT + "\nsys.exit(0.5)"), tmp_path, Ladder((Budget(epochs=2),)))
    assert [row.epoch for row in rows] == [1, 2]
    assert rows[-1].notes["end"] == "after its last epoch, the script ended with status 1: 0.5"


def test_an_error_in_place_of_the_last_score_fails_it(tmp_path: Path) -> None:
    script = SCRIPT.replace(
        "    if args.out:\n", "    if epoch == 2:\n        raise OSError('disk full')\n    if args.out:\n"
    )
    with pytest.raises(ScriptFailed, match="disk full"):
        climbed(made_command(tmp_path, script), tmp_path, Ladder((Budget(epochs=2),)))


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_process_that_takes_no_signal_ends_nothing_else(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has ended already, or belongs to another user, as what a script starts by sudo."""
    sent = []

    def kill(pid: int, number: int) -> None:
        sent.append(pid)
        raise error

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(guardian, "_descendants", lambda root: [7, 8])
    guardian._signal_tree(1, signal.SIGTERM)
    assert sorted(sent) == [7, 8]
