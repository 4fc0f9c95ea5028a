"""What a click on a trial shows: its curve, hyperparameters beside the default's, log and confusion, as data.

A page of 5,000 trials carries the details of all of them. So a trial has only what differs from the default,
numbers have six digits, and logs are kept only for trials that someone will open: the best and the failed
ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.ledger.history import TrialRecord
from search.printable import counted, printable
from search.report.charts.chart import rung_colour
from search.report.formatting import duration, value_text
from search.report.page.elements import TrialDetails
from search.report.page.mistakes import confusion_of
from search.report.page.run_data import Promotion, RunData

_MOST_LOGS = 150  # of the best and the failed trials; each takes a kilobyte
_LOG_LINES, _LINE_CHARACTERS, _LOG_BYTES = 12, 400, 16_384


def trial_details(run: RunData) -> TrialDetails:
    """The details of all trials, in the order of their table: those with a rank first."""
    names = list(dict.fromkeys((*run.shown_hparams, *(n for trial in run.trials for n in trial.hparams))))
    default = _texts(run.default, names) if run.default else [""] * len(names)
    logs = _worth_a_log(run.in_order)
    return TrialDetails(
        data={
            "metric": run.metric_title,
            "names": names,
            "default": default if run.default else None,
            "rungs": [
                [run.rung_name(rung), rung_colour(rung)] for rung in range(len(run.space.ladder.rungs))
            ],
            "trials": {
                trial.trial_id: [
                    _subtitle(run, trial),
                    *_curve(run, trial),
                    _differences(trial, names, default),
                    _log(run.ledger.trial(trial.trial_id).log) if trial.trial_id in logs else "",
                ]
                for trial in run.in_order
            },
            "promoted": _promoted(run),
        },
        has_curves=any(_curve(run, trial)[0] for trial in run.in_order),
    )


def _texts(trial: TrialRecord, names: Sequence[str]) -> list[str]:
    return [value_text(trial.hparams[name]) if name in trial.hparams else "" for name in names]


def _differences(trial: TrialRecord, names: Sequence[str], default: Sequence[str]) -> list[int | str]:
    """What differs from the default: the number of a name, its value, the next number, and so on."""
    texts = enumerate(zip(_texts(trial, names), default, strict=True))
    return [part for number, (text, other) in texts if text != other for part in (number, text)]


def _subtitle(run: RunData, trial: TrialRecord) -> str:
    """Rank, state, score, budget and cost in a line, and the message of what went wrong."""
    rank = run.ranks.get(trial.trial_id)
    place = f"rank {rank} of {len(run.configurations)}" if rank else "no rank"
    value = f"{run.metric} {value_text(trial.value(run.metric))}"
    at = "" if trial.rung is None else f"rung {trial.rung}"
    parts = [place, trial.status, value, at, f"{trial.epochs} epochs", duration(trial.seconds)]
    energy_mj = run.energy_mj[trial.trial_id]
    parts += [] if energy_mj is None else [f"{energy_mj / 1000:.1f} J"]
    parts += [f"seed {trial.seed}", f"proposed by {trial.proposed_by}", trial.message]
    return "; ".join(filter(None, parts))


def _curve(run: RunData, trial: TrialRecord) -> tuple[list[int], list[float], list[int]]:
    """Epochs, scores and rungs of the epochs that have a score."""
    points = [
        (epoch, value, row.rung)
        for epoch, row in trial.curve.items()
        if (value := row.metrics.get(run.metric)) is not None and abs(value) < float("inf")
    ]
    return [at for at, *_ in points], [value for _, value, _ in points], [rung for *_, rung in points]


def _worth_a_log(ordered: Sequence[TrialRecord]) -> set[str]:
    """The trials whose logs are kept: up to 75 that failed or diverged, and the best, 150 in all."""
    failed = [trial for trial in ordered if trial.status in ("failed", "diverged")][: _MOST_LOGS // 2]
    best = ordered[: _MOST_LOGS - len(failed)]
    return {trial.trial_id for trial in [*best, *failed]}


def _log(path: Path) -> str:
    """The last lines of a trial's log, each cut after 400 characters; empty without one."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return ""
    return "\n".join(printable(line)[:_LINE_CHARACTERS] for line in lines)


def _promoted(run: RunData) -> dict[str, list[Any]]:
    """By trial, a sentence on its full training, and the names and numbers of its confusion: empty lists if
    it does not classify or has too many classes."""
    if run.promotion is None:
        return {}
    return {str(row["trial_id"]): _full_training(run.promotion, row) for row in run.promotion.rows}


def _full_training(promotion: Promotion, row: Mapping[str, Any]) -> list[Any]:
    trainings = promotion.trainings(str(row["trial_id"]))
    matrix = confusion_of(promotion.ledger.trial_folder(trainings[0].trial_id)) if trainings else None
    mean = row["test_mean"] if row["test_mean"] is not None else row["val_mean"]
    num = row["num_seeds"]
    sentence = f"Full training: {value_text(mean)}, the mean of {counted(num, 'seed')}"
    sentence += f"; {row['conclusion']}" if row["conclusion"] else ""
    return [sentence, list(matrix.names) if matrix else [], [list(r) for r in matrix.texts] if matrix else []]
