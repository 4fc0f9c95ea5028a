"""How long an epoch may take: an unusually long one is reported, one over its limit fails. Pure.

How long an epoch takes is not known beforehand, so what is unusual follows from the run's own epochs at the
same budget. The limit is the user's `limits.epoch_minutes`; by default there is none: a slow machine must not
end a search overnight.
"""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

from search.budget import Ladder
from search.trial.failure import Failure
from search.trial.row import EpochRow

LONG = 20  # times the median: an epoch beside busier neighbours takes twice as long, not twenty times
_FEWEST = 10  # epochs at a budget before their median means anything: the first ones load and compile
_LATEST = 100  # so that a machine that has become permanently slower is not reported at every epoch
_LEAST_START_S = 3600.0  # the first start on a node may decode all its images
_LEAST_S = 5.0  # below this, a busy machine alone may make an epoch twenty times as long


class EpochWatch:
    """Seconds of the latest epochs at each budget, and the trials that were reported already.

    Rungs of one subset and resolution count as one budget: their epochs are the same work.
    """

    def __init__(self, ladder: Ladder) -> None:
        self._budgets = [(rung.subset, rung.resolution) for rung in ladder.rungs]
        self._epochs_s: dict[object, deque[float]] = defaultdict(lambda: deque(maxlen=_LATEST))
        self._starts_s: deque[float] = deque(maxlen=_LATEST)
        self._named: set[str] = set()

    def add(self, row: EpochRow) -> None:
        """Record a finished epoch."""
        self._epochs_s[self._budgets[row.rung]].append(row.seconds)
        if row.start_s is not None:
            self._starts_s.append(row.start_s)

    def newly_long(self, trial_id: str, seconds: float, rung: int, *, has_start: bool = False) -> bool:
        """Whether the trial's epoch at `rung` takes unusually long; True only once for each trial.

        Args:
            seconds: Time that it has taken so far.
            has_start: `seconds` include the trial's start, of which only the median is known.
        """
        if trial_id in self._named or not self.is_long(seconds, rung, has_start=has_start):
            return False
        self._named.add(trial_id)
        return True

    def median_s(self, rung: int) -> float | None:
        """Median seconds of the epochs at the budget of `rung`; None before the tenth."""
        seconds = self._epochs_s[self._budgets[rung]]
        return median(seconds) if len(seconds) >= _FEWEST else None

    def is_long(self, seconds: float, rung: int, *, has_start: bool = False) -> bool:
        """Whether an epoch at `rung` that has taken `seconds` so far takes unusually long."""
        typical_s = self.median_s(rung)
        if typical_s is None or seconds <= _LEAST_S:
            return False
        start_s = median(self._starts_s) if has_start and self._starts_s else 0.0
        return seconds > LONG * (typical_s + start_s)


def start_limit_s(epoch_s: float) -> float:
    """Seconds that a start may take if an epoch may take `epoch_s`."""
    return max(epoch_s, _LEAST_START_S)


def overdue_epoch(epoch_s: float) -> Failure:
    """The failure of an attempt whose epoch takes longer than `epoch_s`."""
    limit = f"limits.epoch_minutes ({epoch_s / 60:g})"
    return Failure(cause="timeout", message=f"an epoch took longer than {limit}")


def overdue_start(epoch_s: float) -> Failure:
    """The failure of an attempt whose start takes longer than a start may."""
    limit = f"limits.epoch_minutes, for a start {start_limit_s(epoch_s) / 60:g}"
    return Failure(cause="timeout", message=f"its start took longer than {limit}")


def overdue(row: EpochRow, epoch_s: float | None) -> Failure | None:
    """The failure of a completed epoch that took longer than `epoch_s`; None if it did not."""
    if epoch_s is None or row.is_replay or row.seconds <= epoch_s:
        return None
    return overdue_epoch(epoch_s)
