"""One search: which trial is next, which one continues, why it ends. It decides; a backend executes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from search.accounting.account import EnergyAccount, Metering, NoMetering
from search.budget import Spent, limit_reached
from search.ledger import Ledger
from search.ledger.history import History, TrialRecord
from search.ledger.journal_lines import bounded
from search.ledger.sessions import DeviceRow
from search.ranking import Ranking
from search.run.flatness import Flatness
from search.run.observers import Observer
from search.run.resume import replay
from search.run.scheduler import (
    Decision,
    Ending,
    TrialScheduler,
    all_fail_alike,
    completed_reason,
    ending_of,
)
from search.sampling.proposal import Sampler, Trust
from search.space import Space
from search.trial import EpochRow
from search.trial.background import BACKGROUND_ID, Background
from search.trial.batch_size import Choices, is_auto, reason_for, with_batch_size
from search.trial.epoch_time import EpochWatch
from search.trial.failure import Failure
from search.trial.task import TrialTask, task_for

Answer = Literal["continue", "stop"]


class Run:
    """A live run: a backend asks it for tasks and reports their results.

    Each change of state is first written as one line of the journal and then applied from that line. A run
    whose journal already has lines applies them and continues where they end: a finished trial is reported to
    the sampler, an unfinished one is the next task, from its last checkpoint.

    Args:
        should_test: For a promotion: test after the last epoch of each trial.
        metering: The meters of the nodes; None if trials have their own meters.
        auto_precision: What the precision "auto" means on the run's CPUs, with the reason. What an earlier
            session of the run chose stays.
        batch_sizes: What batch_size "auto" means, by model, with the reason; as for `auto_precision`.
        background: The workload that the backend trains beside the trials.
        estimates_gain: Record now and then what further trials are expected to gain; not for made-up scores.
        clock: Monotonic seconds.

    Attributes:
        ranking: The trials that have a score, of all sessions.
        has_failed: The run was ended by a failure that is no trial's.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        ledger: Ledger,
        *,
        should_test: bool = False,
        metering: Metering | None = None,
        background: Background | None = None,
        auto_precision: str = "",
        batch_sizes: Choices | None = None,
        estimates_gain: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space = space
        self.ledger = ledger
        self.history = History()
        self._scheduler = TrialScheduler(space, sampler)
        self.rungs = self._scheduler.rungs
        self.should_test = should_test
        self._background = background
        is_list = self._scheduler.num_left is not None
        self.flatness = Flatness(space, self.history, is_estimated=estimates_gain and not is_list)
        self._observers: list[Observer] = []
        self._clock = clock
        self._started_s = clock()
        self._ended_s: float | None = None
        self._account = EnergyAccount(metering or NoMetering(), self._record, clock)
        self._unfinished: deque[str] = deque()
        self._epoch_watch = EpochWatch(space.ladder)
        self._no_more_reason: str | None = None
        self._has_continued_all = False
        self._interrupted_by: str | None = None
        self.has_failed = False
        # Built twice: `_replay` records what a kill kept from being written, and recording updates a ranking.
        self.ranking = self._ranking_of_history()
        self._replay()
        self.ranking = self._ranking_of_history()
        self._begin_session(auto_precision, batch_sizes or {})

    def _begin_session(self, auto_precision: str, batch_sizes: Choices) -> None:
        """Record that a session begins, what it chose, and which devices it has."""
        with_load = {"background": self._background.to_dict()} if self._background else {}
        chosen = self.history.sessions.choices(
            auto_precision=auto_precision,
            batch_sizes=batch_sizes,
            portfolio=self.space.portfolio.to_dict().get("points"),
        )
        self._record("session_started", None, **with_load, **chosen)
        self._account.begin(self.history)
        self._account.open_devices()

    def observe(self, observer: Observer) -> None:
        """Pass each further event to `observer`."""
        self._observers.append(observer)

    @property
    def ended_count(self) -> int:
        """Trials that have ended, in whatever way."""
        return len(self.history.trials) - len(self.history.running())

    @property
    def num_training(self) -> int:
        """Trials that are training now; those that wait to be resumed are not counted."""
        return len(self.history.running()) - len(self._unfinished)

    @property
    def spent(self) -> Spent:
        """What the run has used in all its sessions, failed and stopped trials included."""
        until_s = self._clock() if self._ended_s is None else self._ended_s
        return Spent(
            trials=len(self.history.trials),
            hours=(self.history.sessions.earlier_s + until_s - self._started_s) / 3600,
            energy_j=self._account.spent_j(self.history),
        )

    def read_devices(self) -> tuple[float, Sequence[DeviceRow]]:
        """When the meters were read, at most a second ago, and what each device had used by then."""
        return self._account.read()

    @property
    def is_exhausted(self) -> bool:
        """Whether no further task will come.

        Paused trials count as tasks to come for as long as they may still continue: a rung that has no trial
        to pass on now may have one after the next result.
        """
        if self.stop_reason() is not None:
            return True
        may_continue = self._scheduler.may_continue and not self._has_continued_all
        return self._has_asked_all and not self._unfinished and not may_continue

    def stop_reason(self) -> str | None:
        """Why no further epoch may start, or None."""
        end_reason = self._interrupted_by or self._scheduler.no_energy_reason or all_fail_alike(self.history)
        return end_reason or limit_reached(self.space.limits, self.spent) or self.flatness.end_reason

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal asked the run to end; it can then be resumed."""
        return self._interrupted_by is not None and not self.has_failed

    def interrupt(self, reason: str, *, is_failure: bool = False) -> None:
        """End every trial after its current epoch."""
        self._interrupted_by, self.has_failed = reason, is_failure

    def keep_time_and_energy(self) -> None:
        """Record, at most once a minute, what a kill within long epochs would otherwise lose of both."""
        self._account.keep_if_due()

    def end_background(self) -> None:
        """Close the account of the background workload, which has ended."""
        self._account.close_windows(BACKGROUND_ID)

    def rerun_failed(self) -> None:
        """Queue every failed trial to run again."""
        for trial in self.history.trials.values():
            if trial.status == "failed":
                self._resume(trial, "failed")
                self._unfinished.append(trial.trial_id)

    def next_task(self) -> TrialTask | None:
        """Return the next trial to start or to resume, or None if there is none now."""
        self._account.refresh()
        if self.is_exhausted:
            return None
        limit_kwh = self.space.limits.most_kwh
        if limit_kwh and self._account.would_overspend(limit_kwh, self.history, self.num_training):
            return None
        if self._unfinished:  # of an earlier session first: their epochs are paid for
            return self._task(self._unfinished.popleft())
        # Paused trials before new ones, as in ASHA: a slot goes to the best that a rung has, and the bottom
        # grows only while no rung has a trial to pass on. The last call resumes trials that wait for results
        # which will no longer come.
        return self._continue_paused() or self._ask_sampler() or self._continue_paused(is_last_call=True)

    def _continue_paused(self, *, is_last_call: bool = False) -> TrialTask | None:
        """Resume a paused trial, if one is due; on the last call, with nothing running, the best one."""
        if is_last_call and (self.num_training or not self._has_asked_all):
            return None
        trial_id = self._scheduler.choose_paused(may_start=not self._has_asked_all, is_last_call=is_last_call)
        if trial_id is None:
            self._has_continued_all = is_last_call
            return None
        self._resume(self.history.trials[trial_id], "promoted")
        return self._task(trial_id)

    @property
    def _has_asked_all(self) -> bool:
        limit = self.space.limits.trials
        return self._no_more_reason is not None or (limit is not None and len(self.history.trials) >= limit)

    def _ask_sampler(self) -> TrialTask | None:
        """Start a new trial, if the limits allow one and the sampler has a point."""
        if self._has_asked_all:
            return None
        number = len(self.history.trials)
        trial_id = f"trial-{number:04d}"
        proposal = self._scheduler.ask(trial_id)
        if proposal is None:
            self._no_more_reason = self._scheduler.exhausted_reason
            return None
        start_rung = self.rungs.on_asked(trial_id, number)
        self._record(
            "trial_asked",
            trial_id,
            **({"start_rung": start_rung} if start_rung else {}),
            **self._scheduler.choice,
            number=number,
            proposed_by=proposal.proposed_by,
            hparams=with_batch_size(proposal.hparams, self.history.sessions.batch_sizes),
            seed=self.space.training.seed if proposal.seed is None else proposal.seed,
            parent_trial=proposal.parent_trial,
        )
        return self._task(trial_id)

    def on_epoch(self, trial_id: str, row: EpochRow) -> Answer:
        """Record an epoch and return whether its trial continues.

        An epoch that was reported before (its worker was lost since) counts only for time and energy, and a
        replayed row for nothing.
        """
        trial = self.history.trials[trial_id]
        if trial.status != "running":
            return "stop"
        # Known rows come after a lost worker: its trial goes back to its last checkpoint and reports those
        # epochs a second time. They cost time and joules; rungs and sampler already have their values.
        is_known = trial.knows(row)
        if is_known and row.is_replay:
            return "continue"
        if row.sensors:  # the first row of an attempt
            row = replace(row, notes={**row.notes, **self._notes(trial)})
        self._record("epoch", trial_id, row=row.to_dict())
        self._epoch_watch.add(row)
        self._account.on_epoch()
        ending = None if is_known else self._take(trial, self._scheduler.on_epoch(trial, row))
        if ending is None and (reason := self.stop_reason()):
            ending = Ending("interrupted", message=reason)
        return "continue" if ending is None else self._end(trial_id, ending)

    def _notes(self, trial: TrialRecord) -> dict[str, str]:
        """Notes for a trial's row on what the run chose for it."""
        notes = {"background": self._background.note} if self._background else {}
        if is_auto(self.space.fixed) and not self.should_test:  # a promoted trial has its search's
            reason = reason_for(trial.hparams, self.history.sessions.batch_sizes)
            notes["batch_size"] = f"chosen for this model: {reason}"
        return notes

    def check_epoch_time(self, trial_id: str, seconds: float, *, has_start: bool = False) -> None:
        """Record, once per trial, that its current epoch takes much longer than the median.

        Args:
            seconds: Time that the epoch has taken so far.
            has_start: Whether these include the training's start.
        """
        rung = self.history.trials[trial_id].next_rung(self.space.ladder)
        if self._epoch_watch.newly_long(trial_id, seconds, rung, has_start=has_start):
            median_s = self._epoch_watch.median_s(rung)
            self._record("epoch_overdue", trial_id, seconds=round(seconds, 3), median_s=median_s)

    def on_failure(self, trial_id: str, failure: Failure) -> bool:
        """Record a failed attempt and return whether the trial is tried again.

        If the run has to end, a trial that would be tried again is interrupted instead, and the failure does
        not count: a head node that is preempted takes workers along before the run knows that Ray is lost.
        """
        will_retry = failure.may_pass(self.history.trials[trial_id].attempts_here)
        if will_retry and (reason := self.stop_reason()):
            self._end(trial_id, Ending("interrupted", message=f"{reason}; {failure.message}"))
            return False
        self._account.close_windows(trial_id)
        self._record("attempt_failed", trial_id, failure=failure.to_dict(), will_retry=will_retry)
        if not will_retry:
            self._end(trial_id, ending_of(failure))
        return will_retry

    def retried(self, task: TrialTask) -> TrialTask:
        """The task for another attempt, with the number of epochs that earlier attempts completed."""
        return replace(task, known_epochs=self.history.trials[task.trial_id].epochs)

    def move(self, trial_id: str, *, need_mib: float | None, reason: str) -> TrialTask | None:
        """Record that a trial moves to another share of a device's memory.

        That is no failure and costs no attempt: the trial continues from its checkpoint.

        Args:
            need_mib: Memory it is known to need at least; None if that is to be measured.

        Returns:
            The task for its new place; None if the run has to end, and the trial with it.
        """
        if reason_to_end := self.stop_reason():
            self._end(trial_id, Ending("interrupted", message=reason_to_end))
            return None
        rung = self.history.trials[trial_id].next_rung(self.space.ladder)
        self._account.close_windows(trial_id)
        self._record("trial_moved", trial_id, rung=rung, memory_mib=need_mib, reason=reason)
        return self._task(trial_id)

    def give_up(self, trial_id: str, why: str) -> None:
        """End a paused trial permanently: it will not continue."""
        self._end(trial_id, Ending("stopped", message=why))

    def training_name(self, trial_id: str) -> str:
        """The name of a worker's call in Ray's dashboard, such as "trial-0007 rung 2"."""
        return f"{trial_id} rung {self.history.trials[trial_id].next_rung(self.space.ladder)}"

    def num_open(self) -> int | None:
        """Trials that are running or may still be started, by the journal alone; None without a limit.

        That the sampler has no further point is known only when it is asked.
        """
        limit, num_left = self.space.limits.trials, self._scheduler.num_left
        to_come = [] if limit is None else [max(0, limit - len(self.history.trials))]
        to_come += [] if num_left is None else [num_left]
        return min(to_come) + len(self.history.running()) if to_come else None

    @property
    def trust(self) -> Trust | None:
        """Whether ranks or a model of learning curves are trusted; None where ranks alone decide."""
        return self._scheduler.trust

    def hopeless(self) -> list[str]:
        """The paused trials that will not, or most likely not, be trained further."""
        return self._scheduler.hopeless(num_open=self.num_open())

    def end(self) -> str:
        """Close the session, leaving no trial running, and return why it ended."""
        reason = self.stop_reason() or completed_reason(
            self.history, self.space.limits, no_more_reason=self._no_more_reason or ""
        )
        for trial in self.history.running():
            self._end(trial.trial_id, Ending("interrupted", message=reason))
        self._account.end()
        self._ended_s = self._clock()  # before the event, at which observers write tables and charts
        self._record("run_ended", None, reason=reason)
        return reason

    def _ranking_of_history(self) -> Ranking:
        trials, space = self.history.trials.values(), self.space
        return Ranking(trials, space.metric, space.mode, repeats=space.repeats)

    def _task(self, trial_id: str) -> TrialTask:
        trial = self.history.trials[trial_id]
        task = task_for(
            self.space,
            trial_id=trial_id,
            hparams=trial.hparams,
            seed=trial.seed,
            folder=self.ledger.trial_folder(trial_id),
            should_test=self.should_test,
            auto_precision=self.history.sessions.auto_precision,
            run_id=self.history.run_id,
            known_epochs=trial.epochs,
        )
        return task.showing_progress()

    def _take(self, trial: TrialRecord, decision: Decision) -> Ending | None:
        if decision.is_control:
            self._record("trial_continued_as_control", trial.trial_id, rung=trial.rows[-1].ended_rung)
        return decision.ending

    def _resume(self, trial: TrialRecord, why: Literal["promoted", "failed"]) -> None:
        choice = self._scheduler.choice if why == "promoted" else {}
        self._record("trial_resumed", trial.trial_id, why=why, **choice)
        self._scheduler.on_resumed(trial.trial_id, trial.hparams, why)

    def _end(self, trial_id: str, ending: Ending) -> Answer:
        self._account.close_windows(trial_id)
        self._record(
            "trial_ended",
            trial_id,
            status=ending.status,
            cause=ending.cause,
            message=ending.message,
            **self._scheduler.ending_record(trial_id, ending.status),
        )
        self._scheduler.on_end(trial_id, ending.status, ending.cause)
        if ending.status != "interrupted":
            self._estimate_gain_if_due()
        return "stop"

    def _estimate_gain_if_due(self) -> None:
        """Record what a further trial is expected to gain, if an estimate is due."""
        if estimate := self.flatness.estimate_if_due(num_finished=self.rungs.counts()[-1]):
            self._record("gain_estimated", None, **estimate)

    def _record(self, kind: str, trial_id: str | None, **content: Any) -> None:
        trial = {} if trial_id is None else {"trial": trial_id}
        # Monotonic, beside the journal's own time: setting the clock changes no duration.
        elapsed = {"elapsed_s": round(self._clock() - self._started_s, 3)}
        # Written and fsynced first (0.1 ms), then applied from the line as a reader would see it: what the
        # live run decides by is exactly what a resumed one reads, down to the rounding of its numbers.
        event = self.ledger.journal.append({"event": kind, **trial, **elapsed, **_bounded(content)})
        self.history.apply(event)
        if trial_id is not None:
            self.ranking.update(self.history.trials[trial_id])
        for observer in self._observers:
            observer.on_event(event)

    def _replay(self) -> None:
        """Apply the journal of earlier sessions, and queue what they left unfinished.

        What follows from its lines but was not written before the kill is written first: which trials
        continue as control trials, which have ended, which run again.
        """
        events = self.ledger.journal.events()
        pending = replay(events, self.history, self._scheduler)
        for trial_id, rung in pending.controls.items():
            self._record("trial_continued_as_control", trial_id, rung=rung)
        for trial_id, ending in pending.endings.items():
            self._end(trial_id, ending)
        for trial in self.history.trials.values():
            if trial.status == "interrupted":
                self._record("trial_resumed", trial.trial_id)
        # Only if the kill came between an end and its estimate: otherwise an undisturbed run would make none.
        if events and events[-1]["event"] == "trial_ended" and events[-1]["status"] != "interrupted":
            self._estimate_gain_if_due()
        self._unfinished.extend(trial.trial_id for trial in self.history.running())


def _bounded(content: Mapping[str, Any]) -> dict[str, Any]:
    """The event with its texts cut to a journal's limit; a trial's hparams stay unchanged."""
    return {name: value if name == "hparams" else bounded(value) for name, value in content.items()}
