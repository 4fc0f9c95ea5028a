"""The real command, killed without warning and started again. Slow.

JOULETUNE_KILLS=25 kills each search 25 times instead of 4, and tries the other modes and numbers of
workers too: half an hour.
"""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.tables import Tables
from tests.support.kill_tests import MOMENTS, Moment
from tests.support.killed_searches import (
    NUM_KILLS,
    assert_nothing_is_lost_or_counted_twice,
    killable,
    space_text,
)
from tests.support.toy_runs import SteadyMeter, made_space, sampler_for

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
IN_SHORT = [("asha", 1), ("pasha", 2)]
IN_FULL = [*IN_SHORT, ("asha_stopping", 1), ("pasha", 1), ("asha_stopping", 2), ("asha", 2)]

pytestmark = pytest.mark.slow


def undisturbed(folder: Path, mode: str) -> pd.DataFrame:
    """The table of the same search in this process, without Ray, epochs taking no time."""
    folder.mkdir()
    space = made_space(folder, space_text("toy", mode, 1))
    run = Run(space, sampler_for(space), Ledger.create(folder / "run"))
    tables = Tables(run.ledger, space, run.history)
    run.observe(CheckpointRetention(run))
    run.observe(tables)
    execute_here(run, SteadyMeter())
    return pd.read_csv(folder / "run" / "trials.csv")[COLUMNS]


def killed(folder: Path, mode: str, workers: int) -> int:
    """Kill the command NUM_KILLS times, let it come to its end; at how many kills a paused trial waited."""
    command, draw, num_waited = killable(folder, mode, workers), random.Random(f"{mode} {workers}"), 0
    for moment in moments(workers):
        command.start()
        moment(command, draw)
        assert command.was_killed or NUM_KILLS >= 25, "it ended before it was killed"
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


def test_workers_lost_between_two_trials_cost_no_attempt(tmp_path: Path) -> None:
    command = killable(tmp_path, "asha", 1, "--trials", "8")
    command.start()
    for how in ("reset", "reset fails"):
        command.order.write_text(how)
        command.wait_for(lambda: not command.order.exists())
        assert not command.order.exists(), command.log.read_text()[-3000:]
    assert command.wait_for_end() == 0, command.log.read_text()[-3000:]
    table = pd.read_csv(tmp_path / "results" / "killed" / "trials.csv")
    assert set(table["status"]) <= {"finished", "stopped", "paused"}
    assert table["attempts"].tolist() == [1] * 8


@pytest.mark.parametrize(("mode", "workers"), IN_SHORT if NUM_KILLS < 25 else IN_FULL)
def test_killed_at_random_moments_a_search_ends_with_every_trial_once(
    tmp_path: Path, mode: str, workers: int
) -> None:
    assert (killed(tmp_path, mode, workers) > 0) is (mode != "asha_stopping")
    folder = tmp_path / "results" / "killed"
    assert_nothing_is_lost_or_counted_twice(folder)
    if workers == 1:
        table = pd.read_csv(folder / "trials.csv")[COLUMNS]
        pd.testing.assert_frame_equal(table, undisturbed(tmp_path / "whole", mode))
