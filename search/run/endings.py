"""How trials and runs end, and in which words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from search.budget import Limits
from search.ledger.history import History, Status
from search.trial.failure import Failure

# First trials that fail for one cause before the run gives up. One may be unlucky and two may share a bad
# region of the space; after three alike it is the data, the machine or the code, and 100 more would fail too.
_ALIKE = 3


@dataclass(frozen=True)
class Ending:
    """How a trial leaves its worker, for good or, paused, until it is promoted."""

    status: Status
    cause: str = ""
    message: str = ""


def ending_of(failure: Failure) -> Ending:
    """How a trial ends whose last attempt failed like this."""
    status: Status = "diverged" if failure.cause == "diverged" else "failed"
    return Ending(status, failure.cause, failure.message)


def all_fail_alike(history: History) -> str | None:
    """Why the run should end because the first trials all failed for one cause; None if they did not."""
    first = list(islice(history.trials.values(), _ALIKE))
    causes = {trial.cause for trial in first if trial.status == "failed"}
    if len(first) < _ALIKE or len(causes) != 1 or any(trial.status != "failed" for trial in first):
        return None
    return f"the first {_ALIKE} trials all failed alike: {first[0].cause}: {first[0].message}"


def completed_reason(history: History, limits: Limits, *, no_more_reason: str) -> str:
    """Why a run ended that nothing cut short.

    Args:
        no_more_reason: Why nothing further could be proposed; empty when the limit on trials was reached.
    """
    count = len(history.trials)
    if limits.trials is not None and count >= limits.trials and not no_more_reason:
        return f"all {count} trials done"
    return f"{no_more_reason or 'nothing left to try'}, after {count} trials"
