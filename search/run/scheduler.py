"""What follows from a trial's reports, and how trials and runs end: the same live and on resume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from search.budget import Limits
from search.energy.usable import Unmeasured
from search.guessing import ChanceLevel
from search.ledger.history import Event, History, Status, TrialRecord
from search.run.objective import LadderEnergy, Objective
from search.rungs import RungDecision, Rungs
from search.sampling.proposal import ChoosingSampler, Proposal, Sampler, Trust
from search.space import Space
from search.trial import EpochRow
from search.trial.batch_size import as_proposed
from search.trial.failure import Failure, broken_bounds

# First trials that fail for one cause before the run gives up. One may be unlucky and two may share a bad
# region of the space; after three alike it is the data, the machine or the code, and 100 more would fail too.
_ALIKE = 3


@dataclass(frozen=True)
class Ending:
    """How a trial leaves its worker: permanently or, paused, until it continues."""

    status: Status
    cause: str = ""
    message: str = ""


@dataclass(frozen=True)
class Decision:
    """What follows from an epoch.

    Attributes:
        ending: None lets the trial continue.
        is_control: The trial continues although its value does not qualify, to measure whether the rung's
            ranking can be trusted.
    """

    ending: Ending | None = None
    is_control: bool = False


class TrialScheduler:
    """Rungs and sampler together. The same events in the same order give the same decisions."""

    def __init__(self, space: Space, sampler: Sampler) -> None:
        scheduler = space.scheduler
        self.rungs = Rungs(
            len(space.ladder.rungs),
            eta=scheduler.eta,
            mode=space.modes,
            kind=scheduler.mode,
            num_brackets=scheduler.brackets,
            epsilon=scheduler.epsilon,
            control_fraction=scheduler.control_fraction,
            costs=space.ladder.costs,
            can_skip_rungs=scheduler.skip_weak_rungs,
            can_jump=bool(space.ladder.joules),
        )
        self._space, self._sampler = space, sampler
        self._chooser = sampler if isinstance(sampler, ChoosingSampler) else None
        self._objective = Objective(space)
        self._chance_level = ChanceLevel(space)
        self._used = LadderEnergy(space.ladder)

    @property
    def may_continue(self) -> bool:
        """Whether trials pause at rungs, so that one may continue later."""
        return self._space.scheduler.mode in {"asha", "pasha", "freeze_thaw"}

    @property
    def exhausted_reason(self) -> str:
        return self._sampler.exhausted_reason

    @property
    def no_energy_reason(self) -> str:
        """Why the joules that the space asks for cannot be known; empty as long as they can."""
        return self._objective.no_energy_reason or self._used.no_energy_reason

    @property
    def num_left(self) -> int | None:
        """Trials that may still be proposed; None where that is known only by asking."""
        return self._sampler.num_left

    def choose_paused(self, *, may_start: bool, is_last_call: bool = False) -> str | None:
        """Choose the paused trial to train further now; None if there is none, or a new one is worth more.

        Args:
            may_start: A new trial could be started instead.
            is_last_call: As for `Rungs.choose_paused`.
        """
        if self._chooser is None:
            return self.rungs.choose_paused(is_last_call=is_last_call)
        start_rung = self.rungs.start_rung
        trial_id = self._chooser.choose(
            lowest_rung=start_rung, may_start=may_start, is_last_call=is_last_call
        )
        if trial_id is not None:
            self.rungs.on_continued(trial_id)
        return trial_id

    def hopeless(self, *, num_open: int | None) -> list[str]:
        """The paused trials that will not, or most likely not, be trained further: their checkpoints can go.

        Args:
            num_open: Trials that run now or may still be started; None where nothing limits them.
        """
        if self._chooser:
            return self._chooser.hopeless()
        return [] if num_open is None else self.rungs.hopeless(num_open=num_open)

    @property
    def choice(self) -> Mapping[str, Any]:
        """Who made the latest choice of `choose_paused` or `ask`, and the model's score, for the journal."""
        return self._chooser.choice_record if self._chooser else {}

    def ending_record(self, trial_id: str, status: Status) -> Mapping[str, Any]:
        """What a model had predicted for the trial, for the event of its end; empty for an interruption."""
        return self._chooser.ending_record(trial_id) if self._chooser and status != "interrupted" else {}

    @property
    def trust(self) -> Trust | None:
        """Whether ranks or a model are trusted; None where ranks alone decide."""
        return self._chooser.trust if self._chooser else None

    def ask(self, trial_id: str) -> Proposal | None:
        """Return the point that trial `trial_id` is to train; None if there is no further one."""
        return self._sampler.ask(trial_id)

    def replay(self, event: Event) -> None:
        """Replay a point that was proposed before the run was resumed."""
        self.rungs.on_asked(event["trial"], event["number"], start_rung=event.get("start_rung", 0))
        hparams, proposed_by = event["hparams"], event["proposed_by"]
        if proposed_by != "promotion":  # a promotion repeats a trial, batch size included
            hparams = as_proposed(hparams, self._space.fixed)
        self._sampler.replay(event["trial"], hparams, proposed_by)

    def on_epoch(self, trial: TrialRecord, row: EpochRow) -> Decision:
        """Record `row`, the latest of `trial` and a new one, and decide what follows."""
        metric, value = self._space.metric, row.metrics.get(self._space.metric)
        if value is not None and not math.isfinite(value):  # at once: a diverged loss does not recover
            return Decision(Ending("diverged", "diverged", f"{metric} is {value}"))
        if broken := broken_bounds(row.metrics, self._space.constraints):
            return Decision(Ending("infeasible", "constraint", broken))
        if value is None:  # an epoch without evaluation
            return Decision()
        if all(other.epoch < row.epoch for other in trial.rows[:-1]):
            self.rungs.on_epoch(trial.trial_id, value)
        ended_rung = _newly_ended(trial)
        if self._chooser:
            self._chooser.on_epoch(trial.trial_id, row.epoch, value, ended_rung=ended_rung)
        is_control = False
        try:
            self._used.check(row)
            if (rung := ended_rung) is not None:
                decision, final_reason = self._report_rung(trial, rung, value)
                if decision not in {"continue", "control"}:
                    return Decision(self._ending(decision, rung, final_reason))
                is_control = decision == "control"
        except Unmeasured as unmeasured:
            return Decision(Ending("stopped", message=str(unmeasured)))
        best, patience = trial.best(metric, self._space.mode), self._space.training.patience
        if patience is not None and best is not None and trial.epochs - best[0] >= patience:
            return Decision(Ending("stopped", message=f"no gain in {patience} epochs"))
        if ended_rung is None and self.pauses_after(trial.trial_id, row.epoch):
            return Decision(Ending("paused"))
        return Decision(is_control=is_control)

    def pauses_after(self, trial_id: str, epoch: int) -> bool:
        """Whether the trial pauses between rungs, so that another can be chosen.

        It never does below the lowest rung at which it competes: its bracket's, or the one to which a control
        trial continues.
        """
        ladder = self._space.ladder
        judged_from = ladder.ends[self.rungs.judged_from(trial_id)]
        return self._chooser is not None and epoch in ladder.pauses and epoch > judged_from

    def _report_rung(self, trial: TrialRecord, rung: int, value: float) -> tuple[RungDecision, str]:
        """Report to rungs and sampler that the trial has completed `rung`.

        Returns:
            The decision of the rungs, and why the trial ends here anyway; empty if it does not.

        Raises:
            Unmeasured: The objective asks for joules that are not known.
        """
        values, uncertainty = self._objective.values(trial, value)
        # Ray Tune reports stopped trials to Optuna as complete with their last, cheap value (17 of 24 trials
        # in a run), and never the value at a rung; TPE ranks pruned trials well once it knows (rung, value).
        self._sampler.report(trial.trial_id, rung, *values)
        if self._space.scheduler.skip_rungs_at_chance:
            self.rungs.set_at_chance(rung, self._chance_level.on_result(rung, trial.rows[-1].metrics))
        final_reason = trial.rows[-1].done_reason or self._elimination_reason(value)
        if final_reason:
            self.rungs.withdraw(trial.trial_id)
        return self.rungs.on_result(trial.trial_id, rung, values, uncertainty=uncertainty), final_reason

    def _ending(self, decision: RungDecision, rung: int, final_reason: str) -> Ending:
        if decision == "pause":
            return Ending("paused")
        is_top = rung == len(self._space.ladder.rungs) - 1
        return Ending("finished" if is_top else "stopped", message=final_reason)

    def _elimination_reason(self, value: float) -> str:
        threshold, sign = self._space.training.early_stop_threshold, 1 if self._space.mode == "max" else -1
        if threshold is None or sign * value >= sign * threshold:
            return ""
        return f"{self._space.metric} {value:.4g} is worse than early_stop_threshold {threshold:g}"

    def on_end(self, trial_id: str, status: Status, cause: str) -> None:
        """Report to rungs and sampler how a trial ended, or that it pauses."""
        if status in {"failed", "diverged", "infeasible", "stopped"}:
            self.rungs.withdraw(trial_id)
        self._sampler.finish(trial_id, status, cause=cause)

    def on_resumed(self, trial_id: str, hparams: Mapping[str, Any], why: str) -> None:
        """Report that a trial which had left its worker runs again.

        Args:
            why: "promoted" for a paused trial that was chosen to continue, "failed" for one tried again. A
                trial that was merely interrupted, "", never stopped running for rungs and sampler.
        """
        if why == "failed":
            self.rungs.readmit(trial_id)
        if self._chooser and self._chooser.is_due_to_the_top(trial_id):
            self.rungs.judge_at_top_only(trial_id)
        if why:
            self._sampler.resume(trial_id, hparams)


def _newly_ended(trial: TrialRecord) -> int | None:
    """The rung that the trial's latest row completed for the first time; None if there is none.

    A training that went back to an older state completes low rungs again, and the first report counts.
    """
    *before, row = trial.rows
    ended = (rung for other in before if (rung := other.ended_rung) is not None)
    return row.ended_rung if row.ended_rung is not None and row.ended_rung > max(ended, default=-1) else None


def ending_of(failure: Failure) -> Ending:
    """The ending of a trial whose last attempt failed like this."""
    own: dict[str, Status] = {"diverged": "diverged", "constraint": "infeasible"}
    return Ending(own.get(failure.cause, "failed"), failure.cause, failure.message)


def all_fail_alike(history: History) -> str | None:
    """Why the run should end because the first trials all failed for one cause; None if they did not."""
    first = list(islice(history.trials.values(), _ALIKE))
    causes = {trial.cause for trial in first if trial.status == "failed"}
    if len(first) < _ALIKE or len(causes) != 1 or any(trial.status != "failed" for trial in first):
        return None
    return f"the first {_ALIKE} trials all failed alike: {first[0].cause}: {first[0].message}"


def completed_reason(history: History, limits: Limits, *, no_more_reason: str) -> str:
    """Why a run ended, if not because of a limit on time or energy, a signal or a failure.

    Args:
        no_more_reason: Why nothing further could be proposed; empty when the limit on trials was reached.
    """
    count = len(history.trials)
    if limits.trials is not None and count >= limits.trials and not no_more_reason:
        return f"all {count} trials done"
    return f"{no_more_reason or 'nothing left to try'}, after {count} trials"
