"""Which checkpoints stay on disk: those a trial may resume from, and the best trial's."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.ledger.history import UNFINISHED, Event
from search.ledger.journal import StorageError
from search.run import Run
from search.trial.checkpoints import drop_previous
from trainables.core.checkpoint import previous_of

_TRAINS = {"running", "interrupted"}
_GIB = 2**30
# Paused trials are examined after every 8th result at a rung: finding the hopeless ones compares all paused
# trials, which at each pause would cost more with every trial.
_PAUSES_PER_CHECK = 8


CANNOT_CONTINUE = "can no longer continue"  # message of a paused trial that is given up for this


class CheckpointRetention:
    """Follows a run and deletes the checkpoints it no longer needs.

    Full state is kept for every trial that is running, interrupted or paused, and for the best of those that
    ended, unless it has left its weights (best.pt): an optimiser's state is of no use then. A paused trial
    that can no longer continue is given up, as are the worst paused ones over `limits.disk_gib`. Everything
    else a trial left (its log, its weights) stays.

    For a resumed run it first catches up with what a kill prevented: it deletes, and examines the paused
    trials if nothing has happened since one paused. At any other moment it would give up trials that an
    undisturbed run still keeps, or never gives up.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._best: str | None = None
        self._undeleted: StorageError | None = None
        self._limit_gib = run.space.limits.disk_gib
        trials = run.history.trials
        for trial_id, trial in trials.items():
            if trial.status not in _TRAINS:  # a kill may have kept the worker from doing so
                drop_previous(self._checkpoint(trial_id))
        self._paused_bytes = {
            trial_id: self._size(trial_id) for trial_id, trial in trials.items() if trial.status == "paused"
        }
        self._keep_best(*trials)
        if run.history.pause_is_latest:
            self._check_paused()
        self._say_undeleted()

    def on_event(self, event: Event) -> None:
        """After a trial's end or pause, delete what has become useless.

        Raises:
            StorageError: Something could not be deleted; trials were given up regardless.
        """
        self._follow(event)
        self._say_undeleted()

    def _say_undeleted(self) -> None:
        if undeleted := self._undeleted:
            self._undeleted = None
            raise undeleted

    def _follow(self, event: Event) -> None:
        if event["event"] == "trial_resumed":
            self._paused_bytes.pop(event["trial"], None)
        if event["event"] != "trial_ended":
            return
        if event["status"] == "paused":
            self._paused_bytes[event["trial"]] = self._size(event["trial"])
            self._check_paused()
        elif event["status"] not in UNFINISHED:
            self._drop_ended(event["trial"])

    def _drop_ended(self, trial_id: str) -> None:
        self._paused_bytes.pop(trial_id, None)
        self._keep_best(trial_id)

    def _check_paused(self) -> None:
        """Give up paused trials that can no longer continue, and the worst ones over `limits.disk_gib`.

        If it is interrupted by a kill and repeated, it gives up the same trials: those over the limit follow
        a fixed order, and every hopeless one goes, including those that the loss of another made hopeless.
        """
        if self._limit_gib is not None:
            self._hold_disk_limit(self._limit_gib * _GIB)
        # Counted by the rungs, which a resumed run rebuilds, so it checks when an undisturbed run would.
        if sum(self._run.rungs.counts()[:-1]) % _PAUSES_PER_CHECK == 0:
            self._give_up_hopeless()

    def _keep_best(self, *ended: str) -> None:
        best = self._run.ranking.best()
        best_id = best.trial_id if best else None
        for trial_id in (*ended, self._best):
            if trial_id is None or self._run.history.trials[trial_id].status in UNFINISHED:
                continue
            if trial_id != best_id or self._run.ledger.trial(trial_id).best.is_file():
                self._delete(trial_id)
        self._best = best_id

    def _give_up_hopeless(self) -> None:
        while hopeless := self._run.hopeless():
            for trial_id in hopeless:
                self._give_up(trial_id, CANNOT_CONTINUE)

    def _hold_disk_limit(self, limit: float) -> None:
        kept = {trial.trial_id for trial in self._run.history.running()} | {self._best}
        others = kept - {None} - self._paused_bytes.keys()
        used = sum(self._paused_bytes.values()) + sum(self._size(each) for each in others if each)
        if used <= limit:
            return
        paused = [self._run.history.trials[trial_id] for trial_id in self._paused_bytes]
        for trial in sorted(paused, key=self._run.ranking.place_of, reverse=True):  # the worst first
            if used <= limit:
                return
            used -= self._paused_bytes[trial.trial_id]
            self._give_up(trial.trial_id, f"its checkpoint was deleted: over {self._limit_gib:g} GiB of disk")

    def _give_up(self, trial_id: str, why: str) -> None:
        self._run.give_up(trial_id, why)
        self._drop_ended(trial_id)  # needed in the constructor, when no event arrives here yet

    def _size(self, trial_id: str) -> int:
        """Bytes of a trial's checkpoint, including a script's own: 0 if there is none, or no limit.

        While the trial trains, the previous checkpoint counts too; its worker drops that as it leaves.
        """
        if self._limit_gib is None:
            return 0
        checkpoint = self._checkpoint(trial_id)
        files = [checkpoint, *checkpoint.with_suffix("").rglob("*")]
        if self._run.history.trials[trial_id].status in _TRAINS:
            files.append(previous_of(checkpoint))
        return sum(path.stat().st_size for path in files if path.is_file())

    def _checkpoint(self, trial_id: str) -> Path:
        return self._run.ledger.trial(trial_id).checkpoint

    def _delete(self, trial_id: str) -> None:
        """Delete a trial's checkpoint; a script's own stays in a promotion, where it alone has the model."""
        checkpoint = self._checkpoint(trial_id)
        for path in (checkpoint, previous_of(checkpoint)):  # the second if a kill ended its training
            if not path.is_dir():  # a folder would be damage, and not ours
                try:
                    self._run.ledger.delete(path)
                except StorageError as error:  # reported at the end: what is given up must not depend on it
                    self._undeleted = self._undeleted or error
        if not self._run.should_test:
            shutil.rmtree(checkpoint.with_suffix(""), ignore_errors=True)
