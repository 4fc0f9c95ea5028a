"""What an epoch may take, and the start before it, and how an attempt ends that takes longer. Pure."""

from __future__ import annotations

from search.trial.failure import Failure
from search.trial.row import EpochRow

_LEAST_START_S = 3600.0  # the first start on a node may decode all its images


def start_limit_s(epoch_s: float) -> float:
    """What a start may take where an epoch may take `epoch_s`."""
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
    """The failure that an epoch which came to its end is all the same, if it took longer than `epoch_s`."""
    if epoch_s is None or row.is_replay or row.seconds <= epoch_s:
        return None
    return overdue_epoch(epoch_s)
