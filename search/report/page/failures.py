"""What went wrong, why, and what to do about it; hyperparameters without effect. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from search.duplicate_curves import trials_with_one_curve
from search.ledger.history import TrialRecord
from search.report.formatting import duration
from search.report.page.elements import Cell, Element, Section, Table, Text, number_cell, text_cell
from search.report.page.run_data import RunData
from search.trial.failure import remedy_for

_NO_EFFECT = (
    "no effect of "  # beginning of the notes by which a trainable names a hyperparameter that cannot act
)


def failures_section(run: RunData) -> Section:
    """Failed attempts with cause and remedy, how complete the run is, and hyperparameters without effect."""
    ended = [trial for trial in run.trials if trial.status != "running"]
    failed = [trial for trial in ended if trial.status in ("failed", "diverged")]
    elements: list[Element] = [Text(text=_statistics(len(ended), len(failed))), Text(text=_complete(run))]
    rows = [row for trial in run.trials for row in _rows(run, trial)]
    if rows:
        columns = ("trial", "cause", "attempt", "when (UTC)", "trained for", "what happened", "what to do")
        elements.append(Table(caption="Failed attempts", columns=columns, rows=rows))
    elements += [Text(text=line, is_warning=True) for line in hparams_without_effect(run)]
    elements += [Text(text=line, is_warning=True) for line in run.space.notices]
    return Section(key="failures", title="Failures and warnings", elements=elements)


def hparams_without_effect(run: RunData) -> list[str]:
    """A sentence for each hyperparameter that was set but could have no effect, with the reason and its
    trials, and for each group of trials that differ in hyperparameters and have identical curves.

    The first comes from the trainable, which knows that momentum means nothing to Adam. The second is found
    in the scores, whatever the reason. Both waste trials: the search has one dimension less than it seems to.
    """
    trials: dict[tuple[str, str], list[str]] = {}
    for trial in run.trials:
        for name, reason in trial.notes.items():
            if name.startswith(_NO_EFFECT):
                trials.setdefault((name, reason), []).append(trial.trial_id)
    noted = [f"{name}: {reason} ({_listed(ids)})" for (name, reason), ids in trials.items()]
    return [*noted, *(group.warning for group in trials_with_one_curve(run.trials, run.metric))]


def _statistics(num_ended: int, num_failed: int) -> str:
    """How many of the ended trials failed, with the success rate; running trials are not counted."""
    if not num_ended:
        return "No trial has ended yet."
    share = (num_ended - num_failed) / num_ended
    return f"{num_failed} of {num_ended} ended trials failed or diverged: a success rate of {share:.3f}."


def _complete(run: RunData) -> str:
    """How many trials have a log, a score and joules.

    In a sound run with sensors all three equal the number of trials. Otherwise the difference shows what is
    missing before anyone relies on a mean over the rest.
    """
    num_logs = sum(run.ledger.trial(t.trial_id).log.is_file() for t in run.trials)
    num_scored = sum(trial.value(run.metric) is not None for trial in run.trials)
    num_measured = sum(mj is not None for mj in run.energy_mj.values())
    return (
        f"Of {len(run.trials)} trials {num_logs} have a log, {num_scored} a score and {num_measured} joules."
    )


def _rows(run: RunData, trial: TrialRecord) -> list[list[Cell]]:
    """A row for each failed attempt; a trial that diverged without an error has one too.

    A trial that failed once and then finished is included: elsewhere its second attempt hides the cause.
    """
    attempts = [
        (failure["attempt"], failure["cause"], failure["message"], failure["at"])
        for failure in trial.failures
    ]
    if not attempts and trial.status in ("failed", "diverged"):
        attempts = [(trial.attempts, trial.cause or trial.status, trial.message, trial.ended_at)]
    return [
        [
            text_cell(trial.trial_id),
            text_cell(cause),
            number_cell(attempt),
            _time_cell(at),
            number_cell(trial.seconds, duration(trial.seconds)),
            text_cell(message),
            text_cell(remedy_for(cause, run.ledger.folder, trial.trial_id)),
        ]
        for attempt, cause, message, at in attempts
    ]


def _time_cell(at: float | None) -> Cell:
    """A time for readers; it sorts by Unix seconds."""
    text = "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
    return Cell(text=text, order=at)


def _listed(ids: list[str]) -> str:
    """All of up to four names, else the first three and how many more."""
    return ", ".join(ids) if len(ids) <= 4 else f"{', '.join(ids[:3])} and {len(ids) - 3} more"
