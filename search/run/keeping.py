"""Which checkpoints stay on disk: those a trial may go on from, and the best trial's."""

from __future__ import annotations

import shutil

from search.ledger.history import Event, TrialRecord
from search.run import Run
from trainables.checkpoint import previous_of

_GOES_ON = {"running", "interrupted", "paused"}
_GIB = 2**30
_PAUSES_PER_LOOK = 8  # looking at every paused trial is quadratic in their number


GIVEN_UP = "can no longer be promoted"  # message of a paused trial whose checkpoint went


class Keeper:
    """Follows a run and deletes the checkpoints it no longer needs.

    Full state is kept for every trial that is under way, interrupted or paused, and for the best of
    those that ended. A paused trial that can no longer be promoted is given up, and over
    `limits.disk_gib` the worst paused ones are. Everything else a trial left (its log, the final
    weights of a promotion) stays.

    Made for a run that is gone on with, it first catches up with what a kill kept it from.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._best: str | None = None
        self._keep_best(*run.history.trials)
        if self._paused():
            self._look_at_paused()

    def on_event(self, event: Event) -> None:
        """After a trial's end or pause, delete what has become useless."""
        if event["event"] != "trial_ended":
            return
        if event["status"] not in _GOES_ON:
            self._keep_best(event["trial"])
        elif event["status"] == "paused":
            self._look_at_paused()

    def _look_at_paused(self) -> None:
        # Counted by the rungs, which a restart rebuilds: it looks when an undisturbed run would.
        if sum(self._run.rungs.counts()[:-1]) % _PAUSES_PER_LOOK == 0:
            self._give_up_hopeless()
        self._hold_disk_limit()

    def _keep_best(self, *ended: str) -> None:
        best = self._run.best()
        best_id = best.trial_id if best else None
        for trial_id in (*ended, self._best):
            if trial_id not in (None, best_id) and self._run.history.trials[trial_id].status not in _GOES_ON:
                self._delete(trial_id)
        self._best = best_id

    def _give_up_hopeless(self) -> None:
        num_open = self._run.num_open()
        if num_open is None:
            return
        for trial in self._paused():
            if not self._run.rungs.can_go_on(trial.trial_id, num_open=num_open):
                self._run.give_up(trial.trial_id, GIVEN_UP)

    def _hold_disk_limit(self) -> None:
        limit = self._run.space.limits.disk_gib
        if limit is None:
            return
        used = sum(map(self._size, self._run.history.trials))
        for trial in reversed(self._paused()):
            if used <= limit * _GIB:
                return
            used -= self._size(trial.trial_id)
            self._run.give_up(trial.trial_id, f"its checkpoint went: over {limit:g} GiB of disk")

    def _paused(self) -> list[TrialRecord]:
        """The paused trials, best first."""
        return [trial for trial in self._run.ranked() if trial.status == "paused"]

    def _size(self, trial_id: str) -> int:
        """Bytes of a trial's checkpoint, a script's own included: 0 where the disk took none."""
        folder = self._run.ledger.trial_folder(trial_id)
        checkpoint = folder / "checkpoint.pt"
        files = [checkpoint, previous_of(checkpoint), *(folder / "checkpoint").rglob("*")]
        return sum(path.stat().st_size for path in files if path.is_file())

    def _delete(self, trial_id: str) -> None:
        """Delete a trial's checkpoint; a script's own stays in a promotion, where it alone has the model."""
        folder = self._run.ledger.trial_folder(trial_id)
        checkpoint = folder / "checkpoint.pt"
        for path in (checkpoint, previous_of(checkpoint)):  # the second where a kill ended its training
            if not path.is_dir():  # a damage, and nothing of ours
                path.unlink(missing_ok=True)
        if not self._run.should_test:
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)
