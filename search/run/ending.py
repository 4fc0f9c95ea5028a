"""Why a run ends, in the words of its last line. Pure."""

from __future__ import annotations

from itertools import islice

from search.budget import Limits
from search.ledger.history import History

_ALIKE = 3  # first trials that fail for one cause before the run gives up


def all_fail_alike(history: History) -> str | None:
    """Said when the first trials all failed for one cause: the others would too."""
    first = list(islice(history.trials.values(), _ALIKE))
    causes = {trial.cause for trial in first if trial.status == "failed"}
    if len(first) < _ALIKE or len(causes) != 1 or any(trial.status != "failed" for trial in first):
        return None
    return f"the first {_ALIKE} trials all failed alike: {first[0].cause}: {first[0].message}"


def completed_reason(history: History, limits: Limits, *, no_more_reason: str) -> str:
    """Said when a run came to its end.

    Args:
        no_more_reason: Why nothing further could be proposed; empty when the limit on trials was reached.
    """
    count = len(history.trials)
    if limits.trials is not None and count >= limits.trials and not no_more_reason:
        return f"all {count} trials done"
    return f"{no_more_reason or 'nothing left to try'}, after {count} trials"
