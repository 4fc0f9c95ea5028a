"""What rungs and sampler are told of each trial, and what follows: alike for a live run and a restart."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.ledger.history import Event, Status, TrialRecord
from search.run.objective import Objective, Unmeasured
from search.rungs import Rungs
from search.sampling.proposal import Proposal, Sampler
from search.space import Space
from search.trial import EpochRow
from search.trial.failure import Failure


@dataclass(frozen=True)
class Ending:
    """How a trial leaves its worker, for good or, paused, until it is promoted."""

    status: Status
    cause: str = ""
    message: str = ""


def ending_of(failure: Failure) -> Ending:
    """How a trial ends whose last attempt failed so."""
    status: Status = "diverged" if failure.cause == "diverged" else "failed"
    return Ending(status, failure.cause, failure.message)


@dataclass(frozen=True)
class Verdict:
    """What an epoch leads to.

    Attributes:
        ending: None lets the trial go on.
        is_audit: It goes on although its value does not let it, to see what the rung is worth.
    """

    ending: Ending | None = None
    is_audit: bool = False


class Judge:
    """Rungs and sampler together. Told the same in the same order, they decide the same."""

    def __init__(self, space: Space, sampler: Sampler) -> None:
        scheduler = space.scheduler
        self.rungs = Rungs(
            len(space.ladder.rungs),
            eta=scheduler.eta,
            mode=space.modes,
            kind=scheduler.mode,
            num_brackets=scheduler.brackets,
            epsilon=scheduler.epsilon,
            audit=scheduler.audit,
        )
        self._space, self._sampler = space, sampler
        self._objective = Objective(space)

    @property
    def may_promote(self) -> bool:
        """Whether trials pause at rungs, so that one may go on later."""
        return self._space.scheduler.mode in {"promotion", "grow"}

    @property
    def why_exhausted(self) -> str:
        return self._sampler.why_exhausted

    @property
    def why_blind(self) -> str:
        """Why the joules that the space asks for cannot be known; empty as long as they can."""
        return self._objective.why_blind

    def ask(self, trial_id: str) -> Proposal | None:
        """What trial `trial_id` shall train; None when there is nothing more."""
        return self._sampler.ask(trial_id)

    def recall(self, event: Event) -> None:
        """Take in what was asked for before a restart."""
        self._sampler.recall(event["trial"], event["hparams"], event["origin"])

    def on_epoch(self, trial: TrialRecord, row: EpochRow) -> Verdict:
        """Tell of a new epoch of `trial`, the latest of its rows."""
        metric, value = self._space.metric, row.metrics.get(self._space.metric)
        if value is None:  # an epoch without evaluation
            return Verdict()
        if not math.isfinite(value):
            return Verdict(Ending("diverged", "diverged", f"{metric} is {value}"))
        self.rungs.on_epoch(trial.trial_id, value)
        is_audit = False
        if row.is_rung_end:
            try:
                values, uncert = self._objective.values(trial, value)
            except Unmeasured as unmeasured:
                return Verdict(Ending("stopped", message=str(unmeasured)))
            self._sampler.report(trial.trial_id, row.rung, *values)
            why_last = row.why_done or self._why_eliminated(value)
            if why_last:
                self.rungs.withdraw(trial.trial_id)
            bracket = self.rungs.bracket_of(trial.number)
            decision = self.rungs.on_result(trial.trial_id, row.rung, values, bracket=bracket, uncert=uncert)
            if decision == "pause":
                return Verdict(Ending("paused"))
            if decision == "stop":
                is_top = row.rung == len(self._space.ladder.rungs) - 1
                return Verdict(Ending("finished" if is_top else "stopped", message=why_last))
            is_audit = decision == "audit"
        best, patience = trial.best(metric, self._space.mode), self._space.patience
        if patience is not None and best is not None and trial.epochs - best[0] >= patience:
            return Verdict(Ending("stopped", message=f"no gain in {patience} epochs"))
        return Verdict(is_audit=is_audit)

    def _why_eliminated(self, value: float) -> str:
        threshold, sign = self._space.early_stop_threshold, 1 if self._space.mode == "max" else -1
        if threshold is None or sign * value >= sign * threshold:
            return ""
        return f"{self._space.metric} {value:.4g} is worse than early_stop_threshold {threshold:g}"

    def on_end(self, trial_id: str, status: Status, cause: str) -> None:
        """Tell how a trial ended, or that it pauses."""
        if status in {"failed", "diverged", "stopped"}:
            self.rungs.withdraw(trial_id)
        self._sampler.finish(trial_id, status, cause=cause)

    def on_resumed(self, trial: TrialRecord, why: str) -> None:
        """Tell that a trial which was over goes on.

        Args:
            why: "promoted" of a paused trial, which the rungs gave; "failed" of one that is tried again.
                Whoever was merely interrupted, "", is still running to rungs and sampler.
        """
        if why == "failed":
            self.rungs.readmit(trial.trial_id)
        if why:
            self._sampler.resume(trial.trial_id, trial.hparams)
