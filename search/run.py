"""One search: which trial next, who goes on, why it ends. It decides; others execute. No Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from search.budget import Spent, limit_reached
from search.failure import Failure
from search.history import History, Status, TrialRecord
from search.ledger import Ledger
from search.proposal import Sampler
from search.ranking import ranked
from search.rungs import Decision, Rungs
from search.space import Space
from search.task import TrialTask, task_for
from search.trial import EpochRow

_ALIKE = 3  # first trials that fail for one cause before the run gives up


class Run:
    """A run alive: asked for tasks and told results by whoever executes them.

    Each change of state is one line of the journal first and is then taken in from that line,
    so that what a reader of the journal rebuilds is what this object holds.

    Args:
        should_test: Promotion: the last epoch of each trial is followed by the test set.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        ledger: Ledger,
        *,
        should_test: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space = space
        self.ledger = ledger
        self.history = History()
        eta = space.scheduler.eta if space.scheduler.mode == "stopping" else None
        self.rungs = Rungs(len(space.ladder.rungs), eta=eta, mode=space.mode)
        self._sampler = sampler
        self._should_test = should_test
        self._subscribers: list[Callable[[Mapping[str, Any]], None]] = []
        self._clock = clock
        self._started_s = clock()
        self._has_no_more = False
        self._interrupted_by: str | None = None

    def subscribe(self, subscriber: Callable[[Mapping[str, Any]], None]) -> None:
        """Call `subscriber` after each event; the console and the tables hang on this."""
        self._subscribers.append(subscriber)

    @property
    def ended_count(self) -> int:
        """Trials that have ended, in whatever way."""
        return len(self.history.trials) - len(self.history.running())

    def ranked(self) -> list[TrialRecord]:
        """The trials that have a score, best first."""
        trials = list(self.history.trials.values())  # the live view asks from a thread of its own
        return ranked(trials, self.space.metric, self.space.mode)

    def best(self) -> TrialRecord | None:
        return next(iter(self.ranked()), None)

    @property
    def spent(self) -> Spent:
        """What the run has used, failed and stopped trials included."""
        total_mj = self.history.energy.total_mj
        return Spent(
            trials=len(self.history.trials),
            hours=(self._clock() - self._started_s) / 3600,
            energy_j=None if total_mj is None else total_mj / 1000,
        )

    @property
    def is_exhausted(self) -> bool:
        """No further trial will be asked for."""
        limit = self.space.limits.trials
        full = limit is not None and len(self.history.trials) >= limit
        return self._has_no_more or full or self.stop_reason() is not None

    def stop_reason(self) -> str | None:
        """Why no further epoch may start, or None."""
        return self._interrupted_by or self._all_fail_alike() or limit_reached(self.space.limits, self.spent)

    def interrupt(self, reason: str) -> None:
        """Let every trial end after the epoch it is in."""
        self._interrupted_by = reason

    def next_task(self) -> TrialTask | None:
        """The next trial to start, or None when there is none now."""
        if self.is_exhausted:
            return None
        number = len(self.history.trials)
        trial_id = f"trial-{number:04d}"
        proposal = self._sampler.ask(trial_id)
        if proposal is None:
            self._has_no_more = True
            return None
        self._record(
            "trial_asked",
            trial_id,
            number=number,
            origin=proposal.origin,
            hparams=dict(proposal.hparams),
            seed=self.space.seed if proposal.seed is None else proposal.seed,
            source=proposal.source,
        )
        return self.task(self.history.trials[trial_id])

    def task(self, trial: TrialRecord) -> TrialTask:
        """What a worker is handed for `trial`."""
        return task_for(
            self.space,
            trial_id=trial.trial_id,
            hparams=trial.hparams,
            seed=trial.seed,
            folder=self.ledger.trial_folder(trial.trial_id),
            should_test=self._should_test,
        )

    def on_epoch(self, trial_id: str, row: EpochRow) -> Decision:
        """Take in an epoch; say whether its trial goes on to the next one.

        An epoch that was reported before (its worker was lost since) counts for time and
        energy only, and a replayed row for nothing.
        """
        trial = self.history.trials[trial_id]
        if trial.status != "running":
            return "stop"
        is_repeated = row.epoch <= trial.epochs
        if is_repeated and row.is_replay:
            return "go_on"
        self._record("epoch", trial_id, row=row.to_dict())
        if is_repeated:
            return "go_on"
        value = row.metrics[self.space.metric]
        if not math.isfinite(value):
            return self._end(trial_id, "diverged", "diverged", f"{self.space.metric} is {value}")
        if row.is_rung_end:
            self._sampler.report(trial_id, row.rung, value)
            if self.rungs.on_result(trial_id, row.rung, value) == "stop":
                is_top = row.rung == len(self.space.ladder.rungs) - 1
                return self._end(trial_id, "finished" if is_top else "stopped")
        if self._lost_patience(trial):
            return self._end(trial_id, "stopped", "", f"no gain in {self.space.patience} epochs")
        if reason := self.stop_reason():
            return self._end(trial_id, "interrupted", "", reason)
        return "go_on"

    def on_failure(self, trial_id: str, failure: Failure) -> bool:
        """Take in a failed attempt; say whether the trial is to be tried again."""
        will_retry = failure.may_pass(self.history.trials[trial_id].attempts) and not self.stop_reason()
        self._record("attempt_failed", trial_id, failure=failure.to_dict(), will_retry=will_retry)
        if not will_retry:
            status: Status = "diverged" if failure.cause == "diverged" else "failed"
            self._end(trial_id, status, failure.cause, failure.message)
        return will_retry

    def end(self) -> str:
        """Close the run: no trial is left running. Gives the reason it ended."""
        reason = self.stop_reason() or self._completed_reason()
        for trial in self.history.running():
            self._end(trial.trial_id, "interrupted", "", reason)
        self._record("run_ended", None, reason=reason)
        return reason

    def _all_fail_alike(self) -> str | None:
        first = list(self.history.trials.values())[:_ALIKE]
        causes = {trial.cause for trial in first if trial.status == "failed"}
        if len(first) < _ALIKE or len(causes) != 1 or any(trial.status != "failed" for trial in first):
            return None
        return f"the first {_ALIKE} trials all failed alike: {first[0].cause}: {first[0].message}"

    def _completed_reason(self) -> str:
        limit = self.space.limits.trials
        count = len(self.history.trials)
        if limit is not None and count >= limit and not self._has_no_more:
            return f"all {count} trials done"
        return f"nothing left to try after {count} trials"

    def _lost_patience(self, trial: TrialRecord) -> bool:
        best = trial.best(self.space.metric, self.space.mode)
        patience = self.space.patience
        return patience is not None and best is not None and trial.epochs - best[0] >= patience

    def _end(self, trial_id: str, status: Status, cause: str = "", message: str = "") -> Decision:
        self._record("trial_ended", trial_id, status=status, cause=cause, message=message)
        self._sampler.finish(trial_id, status)
        return "stop"

    def _record(self, kind: str, trial_id: str | None, **content: Any) -> None:
        trial = {} if trial_id is None else {"trial": trial_id}
        event = self.ledger.append({"event": kind, **trial, **content})
        self.history.apply(event)
        for subscriber in self._subscribers:
            subscriber(event)
