"""A restart: the journal of earlier sessions taken in, and what they decided but did not write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from search.ledger.history import Event, History, TrialRecord
from search.run.scheduler import Decision, Ending, TrialScheduler, ending_of
from search.trial import EpochRow
from search.trial.failure import Failure


@dataclass
class Pending:
    """What follows from the lines of a journal and was not written before the kill, by trial.

    Attributes:
        controls: The rung above which the trial goes on.
    """

    endings: dict[str, Ending] = field(default_factory=dict)
    controls: dict[str, int] = field(default_factory=dict)

    def take(self, trial: TrialRecord, decision: Decision) -> None:
        if decision.ending:
            self.endings[trial.trial_id] = decision.ending
        if decision.is_control:
            self.controls[trial.trial_id] = trial.rows[-1].rung


def replay(events: Iterable[Event], history: History, scheduler: TrialScheduler) -> Pending:
    """Bring `history` and `scheduler` to where they were when the last of `events` was written."""
    pending = Pending()
    for event in events:
        trial = history.trials.get(event.get("trial", ""))
        is_new = bool(
            trial and event["event"] == "epoch" and not trial.knows(EpochRow.from_dict(event["row"]))
        )
        history.apply(event)
        if event["event"] == "trial_asked":
            scheduler.replay(event)
        elif trial:
            _replay_event(event, trial, scheduler, pending, is_new=is_new)
    return pending


def _replay_event(
    event: Event, trial: TrialRecord, scheduler: TrialScheduler, pending: Pending, *, is_new: bool
) -> None:
    """Take in one event of a trial; an epoch that is not new was repeated after a lost worker."""
    match event["event"]:
        case "epoch" if is_new:
            pending.take(trial, scheduler.on_epoch(trial, trial.rows[-1]))
        case "trial_continued_as_control":
            pending.controls.pop(trial.trial_id, None)
        case "attempt_failed" if not event["will_retry"]:
            pending.endings[trial.trial_id] = ending_of(Failure(**event["failure"]))
        case "trial_ended":
            pending.endings.pop(trial.trial_id, None)
            if event["status"] != "interrupted":
                scheduler.on_end(trial.trial_id, event["status"], event["cause"])
        case "trial_resumed":
            why = event.get("why", "")
            if why == "promoted":
                scheduler.rungs.on_promoted(trial.trial_id)
            scheduler.on_resumed(trial, why)
