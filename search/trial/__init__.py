"""One training, epoch by epoch, with its time and energy, and what is sent to a worker for it. No Ray."""

from __future__ import annotations

from search.trial.checkpoints import Checkpointing
from search.trial.row import EpochRow
from search.trial.training import run_task, run_trial

__all__ = ["Checkpointing", "EpochRow", "run_task", "run_trial"]
