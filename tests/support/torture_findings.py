"""Checks that a tortured run ends with the results of an undisturbed one, and nothing else."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.ledger import Ledger
from search.ledger.history import History
from tests.support.forked_commands import command
from tests.support.killed_searches import leftovers
from tests.support.ray_sessions import outcome_of_history

# Like hparams and curves, these must not depend on interruptions; times, energy, notes and attempts may.
_COLUMNS = ("rank", "trial_id", "status", "cause", "val_accuracy", "rung", "epochs", "seed", "proposed_by")


@dataclass(frozen=True)
class Finding:
    """Something wrong with a run.

    Attributes:
        kind: "lost", "doubled", "ghost" or "other".
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of an undisturbed run.

    Attributes:
        trials: Trials by id, each with hparams, status, cause, epochs, rung and curve.
        table: The rows of trials.csv, best first.
    """

    trials: dict[str, tuple[object, ...]]
    table: Sequence[tuple[str, ...]]
    num_events: int


def outcome_of(run: Path) -> Outcome:
    events = Ledger.open(run).events()
    trials = {str(trial[0]): trial[1:] for trial in outcome_of_history(History(events))}
    return Outcome(trials=trials, table=_table(run), num_events=len(events))


def differences(run: Path, expected: Outcome, *, story: str) -> list[Finding]:
    """Every difference from the undisturbed run."""
    found = [*_of_trials(run, expected), *_of_epochs(run), *_of_files(run), *_of_commands(run)]
    return [Finding(one.kind, f"{one.text}\n{story}") for one in found]


def _of_trials(run: Path, expected: Outcome) -> Iterator[Finding]:
    got = outcome_of(run)
    for trial_id in expected.trials.keys() - got.trials.keys():
        yield Finding("lost", f"{trial_id} is not in the journal")
    for trial_id in got.trials.keys() - expected.trials.keys():
        is_again = got.trials[trial_id][0] in [trial[0] for trial in expected.trials.values()]
        yield Finding(
            "doubled" if is_again else "ghost", f"{trial_id} is in the journal, undisturbed it is not"
        )
    for trial_id in got.trials.keys() & expected.trials.keys():
        if got.trials[trial_id] != expected.trials[trial_id]:
            text = (
                f"{trial_id} came to\n  {got.trials[trial_id]}, undisturbed to\n  {expected.trials[trial_id]}"
            )
            yield Finding("other", text)
    if got.table != expected.table:
        yield Finding("other", f"the ranking is\n  {got.table}, undisturbed\n  {expected.table}")


def _of_epochs(run: Path) -> Iterator[Finding]:
    """Check that no epoch is missing, and that a repeated one was trained again to the same numbers."""
    history = History(Ledger.open(run).events())
    for trial in history.trials.values():
        missing = set(range(1, trial.epochs + 1)) - trial.curve.keys()
        if missing:
            yield Finding("lost", f"{trial.trial_id} lacks the epochs {sorted(missing)}")
        known: dict[int, Any] = {}
        for row in trial.rows:
            first = known.setdefault(row.epoch, row)
            if first is not row and row.is_replay:
                yield Finding("doubled", f"{trial.trial_id} has epoch {row.epoch} twice, trained once")
            if json.dumps(dict(first.metrics)) != json.dumps(dict(row.metrics)):
                yield Finding(
                    "other", f"{trial.trial_id}, epoch {row.epoch}: {first.metrics}, then {row.metrics}"
                )
    for trial in history.running():
        yield Finding("lost", f"{trial.trial_id} was left running")


def _of_files(run: Path) -> Iterator[Finding]:
    """Check that tables, folders and journal have the same trials."""
    known = set(History(Ledger.open(run).events()).trials)
    rows = Counter(row[1] for row in _table(run))
    folders = {path.name for path in (run / "trials").iterdir()}
    for trial_id in known - rows.keys():
        yield Finding("lost", f"{trial_id} is not in trials.csv")
    for trial_id in rows.keys() - known:
        yield Finding("ghost", f"{trial_id} is in trials.csv and not in the journal")
    for trial_id in folders - known:
        yield Finding("ghost", f"{trial_id} has a folder and is not in the journal")
    for trial_id in [trial_id for trial_id, count in rows.items() if count > 1]:
        yield Finding("doubled", f"{trial_id} has {rows[trial_id]} rows in trials.csv")
    for path in leftovers(run):
        yield Finding("ghost", f"{path} was left by a writer that was killed")
    for path in run.glob("trials/*/checkpoint-previous.pt"):
        if path.with_name("checkpoint.pt").exists():  # else it is the only state to return to
            yield Finding("ghost", f"{path} is of a trial that does not train")


def _of_commands(run: Path) -> Iterator[Finding]:
    """Run the project's own checks: the record is whole, and the joules add up."""
    for name in ("check", "check_energy"):
        ended = command(name, run, log=run.parent.parent / name)
        if ended.status != 0:
            yield Finding("other", f"{name}.py ends with {ended.status}:\n{ended.errors}\n{ended.output}")


def _table(run: Path) -> list[tuple[str, ...]]:
    with (run / "trials.csv").open(newline="") as file:
        return [tuple(row[name] for name in _COLUMNS) for row in csv.DictReader(file)]
