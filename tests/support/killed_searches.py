"""Searches with the real command that tests kill: their space, and what none of them may lose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from search.ledger import Ledger
from search.ledger.history import History
from search.trial import EpochRow
from tests.support.kill_tests import SLOW, Command
from tests.support.toy_runs import TOY

NUM_KILLS = int(os.environ.get("JOULETUNE_KILLS", "4"))
NUM_TRIALS = 18 if NUM_KILLS < 25 else 30  # a kill takes up to ten of some hundred events
_SEARCH = """search:
  trainable: MODEL
  data: none
  ladder: {epochs: [1, 3, 6]}
  limits: {trials: TRIALS}
  scheduler: {mode: MODE, eta: 3}
  resources: {workers: WORKERS}
"""


def space_text(model: str, mode: str, workers: int) -> str:
    """A space of the toy's parameters with this trainable, mode and number of workers."""
    search = _SEARCH.replace("MODEL", model).replace("MODE", mode).replace("WORKERS", str(workers))
    search = search.replace("TRIALS", str(NUM_TRIALS))
    return TOY.partition("search:")[0] + search


def killable(folder: Path, mode: str, workers: int, *flags: str) -> Command:
    """Such a search with the real command, not yet started."""
    (folder / "slow.py").write_text(SLOW)
    (folder / "slow.yaml").write_text(space_text("./slow.py", mode, workers))
    return Command(folder, *flags)


def assert_nothing_is_lost_or_counted_twice(folder: Path) -> None:
    """Assert what holds with any number of workers."""
    events = Ledger.open(folder).events()
    asked = [event["trial"] for event in events if event["event"] == "trial_asked"]
    assert asked == [f"trial-{number:04d}" for number in range(NUM_TRIALS)]
    reported: dict[tuple[str, int], EpochRow] = {}
    for event in events:
        if event["event"] == "epoch":
            row = EpochRow.from_dict(event["row"])
            known = reported.setdefault((event["trial"], row.epoch), row)
            assert known is row or not row.is_replay  # an epoch is repeated by training, not by reporting
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
    assert list(folder.rglob("*.set-aside-*")) == []  # a kill damages no state, and no retry finds one ahead
    assert list(folder.rglob("checkpoint-previous.pt")) == []


def failures(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{event['trial']}: {event['failure']['message']}"
        for event in events
        if event["event"] == "attempt_failed"
    ]


def epochs_by_trial(history: History) -> Mapping[str, Any]:
    return {trial.trial_id: len(trial.curve) for trial in history.trials.values()}


def leftovers(folder: Path) -> list[str]:
    """Files that killed writers left behind."""
    return [str(path) for path in folder.rglob(".*") if path.name != ".lock"]
