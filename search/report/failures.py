"""The failures of a run, grouped by cause: how many, the message of the first, and what to do.

A missing file fails every trial alike. Grouped, 40 such failures are one line and one remedy; listed, they
would push the one trial that ran out of memory off the screen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from search.ledger.history import TrialRecord
from search.output import Output
from search.run import Run
from search.trial.failure import remedy_for

_NAMED = 5  # trials of a group that are listed by name


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """The trials that failed for one cause, the oldest first.

    Attributes:
        message: The error of the oldest trial.
        remedy: What to do, in the imperative.
    """

    cause: str
    trials: tuple[str, ...]
    message: str
    remedy: str


def failure_groups(trials: Iterable[TrialRecord], folder: Path) -> list[FailureGroup]:
    """One group per cause, the most frequent first.

    Args:
        folder: The folder of the run, for the commands in remedies.
    """
    by_cause: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.status in {"failed", "diverged"}:
            by_cause.setdefault(trial.cause, []).append(trial)
    groups = [
        FailureGroup(
            cause=cause,
            trials=tuple(trial.trial_id for trial in alike),
            message=alike[0].message,
            remedy=remedy_for(cause, folder, alike[0].trial_id),
        )
        for cause, alike in by_cause.items()
    ]
    return sorted(groups, key=lambda group: -len(group.trials))


def print_failures(run: Run, output: Output, *, again: str) -> None:
    """Print each cause with its trials and remedy, and how to run the failed ones again.

    Args:
        again: What to do once the causes are fixed, such as "run them again: jouletune ...".

    Divergence is not an error: a search that tries high learning rates will see some, and the sampler avoids
    these rates from then on. It is printed, but not in red, and such trials are not run again.
    """
    folder = run.ledger.folder
    for group in failure_groups(run.history.trials.values(), folder):
        say = output.print if group.cause == "diverged" else output.error
        say(_failure_text(group, run))
        output.print(f"  remedy: {group.remedy}")
    if any(trial.status == "failed" for trial in run.history.trials.values()):
        output.print(f"once fixed, {again}")


def _failure_text(group: FailureGroup, run: Run) -> str:
    """The group in one line: "crash: t0003: ValueError: ... (see trials/t0003/log.txt); also t0007"."""
    first, *others = group.trials
    also = f"; also {', '.join(others[: _NAMED - 1])}" if others else ""
    more = f" and {len(others) - _NAMED + 1} more" if len(others) >= _NAMED else ""
    log = run.ledger.trial(first).log
    return f"{group.cause}: {first}: {group.message} (see {log}){also}{more}"
