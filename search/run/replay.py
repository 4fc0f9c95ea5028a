"""A restart: the journal of earlier sessions taken in, and what they decided but did not write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from search.ledger.history import Event, History, TrialRecord
from search.run.scheduler import Ending, Judge, Verdict, ending_of
from search.trial import EpochRow
from search.trial.failure import Failure


@dataclass
class Undone:
    """What follows from the lines of a journal and was not written before the kill, by trial.

    Attributes:
        audits: The rung above which the trial goes on.
    """

    endings: dict[str, Ending] = field(default_factory=dict)
    audits: dict[str, int] = field(default_factory=dict)

    def take(self, trial: TrialRecord, verdict: Verdict) -> None:
        if verdict.ending:
            self.endings[trial.trial_id] = verdict.ending
        if verdict.is_audit:
            self.audits[trial.trial_id] = trial.rows[-1].rung


def replay(events: Iterable[Event], history: History, judge: Judge) -> Undone:
    """Bring `history` and `judge` to where they were when the last of `events` was written."""
    undone = Undone()
    for event in events:
        trial = history.trials.get(event.get("trial", ""))
        is_new = bool(
            trial and event["event"] == "epoch" and not trial.knows(EpochRow.from_dict(event["row"]))
        )
        history.apply(event)
        if event["event"] == "trial_asked":
            judge.recall(event)
        elif trial:
            _replay_event(event, trial, judge, undone, is_new=is_new)
    return undone


def _replay_event(event: Event, trial: TrialRecord, judge: Judge, undone: Undone, *, is_new: bool) -> None:
    """Take in one event of a trial; an epoch that is not new was repeated after a lost worker."""
    match event["event"]:
        case "epoch" if is_new:
            undone.take(trial, judge.on_epoch(trial, trial.rows[-1]))
        case "trial_audited":
            undone.audits.pop(trial.trial_id, None)
        case "attempt_failed" if not event["will_retry"]:
            undone.endings[trial.trial_id] = ending_of(Failure(**event["failure"]))
        case "trial_ended":
            undone.endings.pop(trial.trial_id, None)
            if event["status"] != "interrupted":
                judge.on_end(trial.trial_id, event["status"], event["cause"])
        case "trial_resumed":
            why = event.get("why", "")
            if why == "promoted":
                judge.rungs.on_promoted(trial.trial_id)
            judge.on_resumed(trial, why)
