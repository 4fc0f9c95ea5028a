"""Execute a run in this process, one trial after another, without Ray: debugging, tests, benchmarks."""

from __future__ import annotations

from search.energy import EnergyMeter
from search.run import Run
from search.trial.deadline import overdue
from search.trial.failure import classify
from search.trial.task import TrialTask, run_task


def execute_here(run: Run, meter: EnergyMeter) -> str:
    """Run every trial of `run` to its end and give the reason the run ended.

    Nothing can end an epoch here: one that takes longer than `limits.epoch_minutes` costs its attempt, as on
    Ray, but only once it has come to its end, and one that hangs hangs the run.
    """
    while (task := run.next_task()) is not None:
        while _attempt(run, task, meter):
            task = run.retried(task)
    return run.end()


def _attempt(run: Run, task: TrialTask, meter: EnergyMeter) -> bool:
    """Train `task` until the run stops it; whether it failed and is to be tried again."""
    try:
        for row in run_task(task, meter):
            if not row.is_replay:
                run.look_at_epoch(task.trial_id, row.seconds)
            if late := overdue(row, task.epoch_limit_s):
                return run.on_failure(task.trial_id, late)
            if run.on_epoch(task.trial_id, row) == "stop":
                return False
    except (Exception, SystemExit, GeneratorExit) as error:  # a trial's own error never ends the run
        return run.on_failure(task.trial_id, classify(error))
    return False
