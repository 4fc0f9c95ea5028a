"""The real command, killed without warning and started again. Slow.

JOULETUNE_KILLS=25 kills each search 25 times instead of 4, and tries the other modes and numbers of
workers too: half an hour.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from killing import MOMENTS, SLOW, Command, Moment
from made_runs import SteadyMeter, made_space, sampler_for

from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.run import Run
from search.run.in_process import execute_here
from search.run.keeping import Keeper
from search.tables import Tables
from search.trial import EpochRow

NUM_KILLS = int(os.environ.get("JOULETUNE_KILLS", "4"))
NUM_TRIALS = 30
SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0}
  batch_size: {values: [16, 32, 64, 128]}
search:
  trainable: MODEL
  data: none
  ladder: {epochs: [1, 3, 6]}
  limits: {trials: 30}
  scheduler: {mode: MODE, eta: 3}
  resources: {workers: WORKERS}
"""
COLUMNS = [
    "rank",
    "trial_id",
    "status",
    "val_accuracy",
    "rung",
    "epochs",
    "lr",
    "batch_size",
    "noise",
    "seed",
]
IN_SHORT = [("promotion", 1), ("grow", 2)]
IN_FULL = [*IN_SHORT, ("stopping", 1), ("grow", 1), ("stopping", 2), ("promotion", 2)]

pytestmark = pytest.mark.slow


def space_text(model: str, mode: str, workers: int) -> str:
    return SPACE.replace("MODEL", model).replace("MODE", mode).replace("WORKERS", str(workers))


def undisturbed(folder: Path, mode: str) -> pd.DataFrame:
    """The table of the same search in this process, without Ray, epochs taking no time."""
    folder.mkdir()
    space = made_space(folder, space_text("toy", mode, 1))
    run = Run(space, sampler_for(space), Ledger.create(folder / "run"))
    tables = Tables(run.ledger, space)
    run.subscribe(Keeper(run).on_event)
    run.subscribe(lambda event: tables.on_event(event, run.history))
    execute_here(run, SteadyMeter())
    return pd.read_csv(folder / "run" / "trials.csv")[COLUMNS]


def killed(folder: Path, mode: str, workers: int) -> int:
    """Kill the command NUM_KILLS times, let it come to its end; at how many kills a paused trial waited."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "slow.yaml").write_text(space_text("./slow.py", mode, workers))
    command, draw, num_waited = Command(folder), random.Random(f"{mode} {workers}"), 0
    for moment in moments(workers):
        command.start()
        moment(command, draw)
        num_waited += any(trial.status == "paused" for trial in trials_in(command.journal.parent))
    command.start()
    assert command.wait_for_end() == 0, command.log.read_text()[-3000:]
    return num_waited


def moments(workers: int) -> list[Moment]:
    """NUM_KILLS of them; with two workers the second half of all comes first, so that eight kills see all."""
    first = len(MOMENTS) // 2 * (workers - 1)
    return [MOMENTS[(first + number) % len(MOMENTS)] for number in range(NUM_KILLS)]


def trials_in(folder: Path) -> list[TrialRecord]:
    ledger = Ledger(folder)
    return list(History(ledger.events()).trials.values()) if ledger.has_run else []


def assert_nothing_is_lost_or_counted_twice(folder: Path) -> None:
    """What holds with any number of workers."""
    events = Ledger.open(folder).events()
    asked = [event["trial"] for event in events if event["event"] == "trial_asked"]
    assert asked == [f"trial-{number:04d}" for number in range(NUM_TRIALS)]
    reported: dict[tuple[str, int], EpochRow] = {}
    for event in events:
        if event["event"] == "epoch":
            row = EpochRow.from_dict(event["row"])
            known = reported.setdefault((event["trial"], row.epoch), row)
            assert known is row or not row.is_replay  # an epoch is repeated by training, not by telling
            assert known.metrics == row.metrics
    history = History(events)
    assert not history.running()
    for trial in history.trials.values():
        assert list(trial.curve) == list(range(1, trial.epochs + 1))
    table = pd.read_csv(folder / "trials.csv")
    assert sorted(table["trial_id"]) == asked
    assert set(table["status"]) <= {"finished", "stopped", "paused"}, failures(events)
    assert table["rank"].tolist() == list(range(1, NUM_TRIALS + 1))
    assert dict(zip(table["trial_id"], table["epochs"], strict=True)) == epochs_by_trial(history)
    assert leftovers(folder) == []


def failures(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{event['trial']}: {event['failure']['message']}"
        for event in events
        if event["event"] == "attempt_failed"
    ]


def epochs_by_trial(history: History) -> Mapping[str, Any]:
    return {trial.trial_id: len(trial.curve) for trial in history.trials.values()}


def leftovers(folder: Path) -> list[str]:
    """What killed writers left."""
    return [str(path) for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize("how", ["reset", "reset fails"])
def test_a_worker_lost_between_two_trials_costs_one_attempt(tmp_path: Path, how: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "slow.yaml").write_text(space_text("./slow.py", "promotion", 1))
    command = Command(tmp_path)
    command.order.write_text(how)
    command.start()
    command.wait_for(lambda: not command.order.exists())
    assert command.wait_for_end() == 0, command.log.read_text()[-3000:]
    table = pd.read_csv(tmp_path / "results" / "killed" / "trials.csv")
    assert set(table["status"]) <= {"finished", "stopped", "paused"}
    assert sorted(table["attempts"]) == [1] * (NUM_TRIALS - 1) + [2]


@pytest.mark.parametrize(("mode", "workers"), IN_SHORT if NUM_KILLS < 25 else IN_FULL)
def test_killed_at_random_moments_a_search_ends_with_every_trial_once(
    tmp_path: Path, mode: str, workers: int
) -> None:
    assert (killed(tmp_path, mode, workers) > 0) is (mode != "stopping")
    folder = tmp_path / "results" / "killed"
    assert_nothing_is_lost_or_counted_twice(folder)
    if workers == 1:
        table = pd.read_csv(folder / "trials.csv")[COLUMNS]
        pd.testing.assert_frame_equal(table, undisturbed(tmp_path / "whole", mode))
