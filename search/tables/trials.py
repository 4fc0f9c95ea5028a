"""trials.csv: one row per trial, ranked; the table that most people open.

It has every trial, whatever became of it, and every column that applies to any: sort by `rank` for the
result, by `status` for what went wrong, by `energy_j` for what it cost. What a trial did at each rung is in
energy.csv, and at each epoch in its history.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from search.ledger.history import History
from search.ranking import configurations
from search.space import Space
from search.tables.columns import (
    METRIC,
    Column,
    ColumnGroup,
    Table,
    column_names,
    for_metric,
    header,
    hparams_group,
    rows_of,
)
from search.tables.energy_columns import ENERGY_OF_TRIAL, TrialEnergyRow
from trainables.core.contract import Budget


@dataclass
class TrialRow(TrialEnergyRow):
    """What the row of one trial is made of, with the joules that `TrialEnergyRow` adds up.

    Attributes:
        rank: From 1; None without a score. Repeats of one configuration share it.
    """

    rank: int | None

    @cached_property
    def budget(self) -> Budget | None:
        """The budget that the trial's score was trained at; None before its first rung.

        It is that of the rung where its epochs ran, which may be lower than the one they completed: on a
        ladder of joules an epoch may jump over a rung.
        """
        rows = self.trial.rows
        ended = [row for row in rows if row.ended_rung is not None and row.ended_rung == self.trial.rung]
        return self.space.ladder.rungs[ended[-1].rung] if ended else None

    @cached_property
    def best(self) -> tuple[int, float] | None:
        """Epoch and value of the best epoch at the highest rung it trained at; None without a finite
        score.

        It is not a value to rank by: the best of many epochs is too good by chance. The rank uses the score
        at the end of the rung.
        """
        return self.trial.best(self.space.metric, self.space.mode)


# In the order in which a row is read: which trial, how it ended, its score, the budget of that score, the
# hyperparameters, what it cost, and details. Metrics that only this trainable has are last, so that the
# columns before them have the same order in every run of a space.
TRIAL_TABLE: Table[TrialRow] = [
    Column("rank", "", "1 is best", lambda row: row.rank),
    Column("trial_id", "", "names the trial's folder", lambda row: row.trial.trial_id),
    Column(
        "status",
        "",
        (
            "`finished` (completed the ladder, or had nothing left to learn: see `message`), `stopped` (by "
            "`asha_stopping` at its rung, worse than `early_stop_threshold`, out of patience, or paused and "
            "sure not to continue), `paused` (at a rung, and not continued), `diverged`, `failed`, "
            "`infeasible` (broke one of `search.constraints`: see `message`), `interrupted` (the run ended "
            "first), `running`"
        ),
        lambda row: row.trial.status,
    ),
    Column(
        "cause",
        "",
        (
            "cause of a failure: `diverged`, `out_of_memory`, `weights_missing`, `network`, `data`, "
            "`disk`, `crash`, `lost_worker`, `timeout` (an epoch took longer than "
            "`limits.epoch_minutes`), `bad_result`; `constraint` for an infeasible trial"
        ),
        lambda row: row.trial.cause,
    ),
    Column(
        "proposed_by",
        "",
        "who proposed it: `default`, `initial`, `portfolio`, `sampler`, `list`, `design`, `promotion`",
        lambda row: row.trial.proposed_by,
    ),
    Column(
        "parent_trial",
        "",
        (
            "in a promotion, the trial of the search that is trained in full; for a point of a portfolio, "
            "the run and trial, or the publication, that it comes from"
        ),
        lambda row: row.trial.parent_trial,
    ),
    Column(
        METRIC,
        "its own",
        ("under its own name, such as `val_accuracy`: the value at the highest rung the trial completed"),
        lambda row: row.trial.value(row.space.metric),
    ),
    # The budget of the score. Scores of different rungs do not compare, so a plot of the metric over a
    # hyperparameter needs a filter on `rung` first.
    Column("rung", "", "the highest rung the trial completed, from 0", lambda row: row.trial.rung),
    Column(
        "epochs", "epochs", "epochs run, including those before a new start", lambda row: row.trial.epochs
    ),
    Column(
        "horizon",
        "",
        (
            "what the learning-rate schedule spans: `full` (the whole ladder, in one training), `rung` (one "
            "rung, with a new training for each), `anytime` (nothing: the rate is constant, and averaged "
            "weights are scored)"
        ),
        lambda row: row.space.ladder.horizon,
    ),
    Column(
        "subset",
        "fraction or count",
        (
            "part of the training set used at that rung; with a ladder of joules, by the epoch that "
            "completed the rung, which may have jumped there from a lower one"
        ),
        lambda row: row.budget and row.budget.subset,
    ),
    Column(
        "resolution",
        "px",
        "side length of the training images at that rung",
        lambda row: row.budget and row.budget.resolution,
    ),
    hparams_group(lambda row: row.trial.hparams),
    # The score above is of the rung's last epoch, by which trials are ranked; these two show how much later
    # epochs lost, which is overfitting if it is much.
    Column(
        "best_value",
        "the metric's",
        "best value of the epochs at the highest rung the trial trained at",
        lambda row: row.best and row.best[1],
    ),
    Column(
        "best_epoch",
        "",
        "the epoch that reached it, from 1, counted as in `epochs`",
        lambda row: row.best and row.best[0],
    ),
    # Three clocks that share no second. `seconds` compares trials. `start_s` depends on which trial came
    # first in its worker, and `overhead_s` on what else the search was doing.
    Column(
        "seconds",
        "s",
        ("wall time of training and evaluation alone, repeated epochs included"),
        lambda row: round(row.trial.seconds, 3),
    ),
    Column(
        "start_s",
        "s",
        (
            "wall time of its starts: imports (a worker's first trial does them for all that follow), "
            "reading or decoding data, building the model, loading weights and checkpoints. The start "
            "of a script is part of its first epoch"
        ),
        lambda row: _rounded(row.trial.start_s),
    ),
    Column(
        "overhead_s",
        "s",
        (
            "wall time between its epochs: checkpoints, waiting for the search's answer or for an "
            "exclusive slot on the GPU"
        ),
        lambda row: _rounded(row.trial.overhead_s),
    ),
    Column(
        "memory_mib",
        "MiB",
        (
            "peak memory of its processes on the device that they shared, if `resources: {pack: memory}` "
            "measured it: GPU memory, or on the CPU memory of their own (without libraries mapped from "
            "files)"
        ),
        lambda row: None if row.trial.memory_mib is None else round(row.trial.memory_mib, 1),
    ),
    Column(
        "num_examples",
        "examples",
        "examples trained on, repeated epochs included",
        lambda row: row.num_examples,
    ),
    # How often the trial was begun. Metrics are those of the attempt that got furthest; seconds and joules
    # are those of all.
    Column(
        "attempts",
        "",
        (
            "number of attempts: 2 if a worker was lost and the trial continued; a trial that loses two "
            "workers without getting further fails"
        ),
        lambda row: row.trial.attempts,
    ),
    Column("seed", "", "seed of weights, order and augmentation", lambda row: row.trial.seed),
    # Joules, where they come from, and how far they can be relied on; see `energy_columns`.
    *ENERGY_OF_TRIAL,
    Column(
        "started_at", "UTC", "when it was proposed, in ISO 8601", lambda row: _clock_time(row.trial.asked_at)
    ),
    Column(
        "ended_at",
        "UTC",
        "when it ended; empty if it is running or interrupted",
        lambda row: _clock_time(row.trial.ended_at),
    ),
    Column(
        "message",
        "",
        "why it failed, or ended below the top rung, in one line",
        lambda row: row.trial.message,
    ),
    Column(
        "notes",
        "",
        (
            "automatic choices with their reasons, such as the precision or the batch size that `auto` "
            "stands for; a checkpoint that could not be written or read; an epoch that took over 20 times "
            "the median; why the trial was moved to another share of a device's memory"
        ),
        lambda row: "; ".join(f"{name}: {text}" for name, text in row.trial.notes.items()),
    ),
    ColumnGroup(
        "*other metrics*",
        "",
        (
            "metrics of the last epoch, under their own names; `val_num_examples` is the number of examples "
            "scored, `val_accuracy_by_guessing` the accuracy of guessing (the share of the commonest "
            "class in the scored set), and so on"
        ),
        lambda row: row.trial.last_metrics,
    ),
]


RESERVED = frozenset(column_names(TRIAL_TABLE)) - {METRIC}


def trial_columns(space: Space, history: History) -> list[str]:
    """The names of the columns of a run's trials.csv."""
    return header(for_metric(TRIAL_TABLE, space.metric), _items(space, history))


def trial_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per trial: the ranked ones in their order, then the others. Repeats share a rank."""
    return rows_of(for_metric(TRIAL_TABLE, space.metric), _items(space, history))


def _items(space: Space, history: History) -> list[TrialRow]:
    """The trials in the order of the rows: ranked ones first, then those without a score as they were
    proposed."""
    found = configurations(history.trials.values(), space.metric, space.mode, repeats=space.repeats)
    order = [trial for each in found for trial in each.scored]
    ranks = {trial.trial_id: rank for rank, each in enumerate(found, start=1) for trial in each.scored}
    rest = [trial for trial in history.trials.values() if trial.trial_id not in ranks]
    return [TrialRow(space, trial, ranks.get(trial.trial_id)) for trial in [*order, *rest]]


def _rounded(seconds: float | None) -> float | None:
    """Seconds to the millisecond: a wall clock shows nothing finer."""
    return None if seconds is None else round(seconds, 3)


def _clock_time(seconds: float | None) -> str | None:
    """A Unix time as ISO 8601 in UTC, which sorts as text and means the same on every machine."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
