"""A trial's progress on its ladder: its current training and rung, and when each ends. No Ray."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from search.budget import Ladder
from search.energy.reading import EnergyMeter
from search.trial.row import EpochRow
from search.trial.rung_energy import RungEnergy, RungEnergyMeter
from trainables.core.contract import Trainable, Training, TrainingContext
from trainables.core.optional import done_reason
from trainables.core.promises import check_state, check_training, restore, trained_epoch


def counter_for(
    ladder: Ladder, context: TrainingContext, meter: EnergyMeter, last: EpochRow | None
) -> RungEnergyMeter | None:
    """The meter that counts joules for a ladder of joules; None for other ladders."""
    if not ladder.joules:
        return None
    return RungEnergyMeter(meter, is_on_gpu=context.device != "cpu", before=last.used if last else None)


class LadderProgress:
    """A trial's progress on its ladder: its current training, its rung, and the epochs it has run.

    Args:
        last: The row that the trial resumes from.
    """

    def __init__(
        self,
        trainable: Trainable,
        hparams: Any,
        ladder: Ladder,
        context: TrainingContext,
        counter: RungEnergyMeter | None,
        last: EpochRow | None,
    ) -> None:
        self._trainable, self._hparams, self._ladder, self._context = trainable, hparams, ladder, context
        self._counter = counter
        self._is_state_checked = False
        self.epochs_done = last.epoch if last else 0
        self._rung = last.rung + last.rungs_skipped + last.completes_rung if last else 0
        self._is_fresh = ladder.begins_training_at(self.epochs_done)
        self.training = self._start_training()

    def resume(self, state: Mapping[str, Any], epochs_done: int | None = None) -> None:
        """Continue the training from `state`, unless the next epoch is the first of a new training.

        Args:
            epochs_done: Epochs that the training had counted when it was saved.
        """
        if not self._is_fresh:
            restore(self.training, state, epochs_done)

    def state(self) -> dict[str, Any]:
        """The training's state, checked the first time: a file that cannot be read would lose the trial."""
        state = self.training.state_dict()
        if not self._is_state_checked:
            check_state(self.training, state)
            self._is_state_checked = True
        return state

    @property
    def used(self) -> RungEnergy | None:
        """Joules that the trial's epochs have used, on a ladder of joules; None on others."""
        return self._counter.used if self._counter else None

    @property
    def rung(self) -> int:
        """The rung at whose budget the next epoch runs."""
        return self._rung if self._ladder.joules else self._ladder.rung_for(self.epochs_done)

    @property
    def done_reason(self) -> str:
        """Why the trial ends before its ladder does; empty if it does not.

        Where each rung is a training of its own, only the last one's end is the trial's.
        """
        ladder, done = self._ladder, self.epochs_done
        is_early = 0 < done < ladder.ends[-1] and not self._has_completed_top
        if not is_early or (ladder.horizon == "rung" and ladder.rung_for(done - 1) < len(ladder.rungs) - 1):
            return ""
        return done_reason(self.training)

    @property
    def is_done(self) -> bool:
        return self.epochs_done >= self._ladder.ends[-1] or self._has_completed_top or bool(self.done_reason)

    @property
    def _has_completed_top(self) -> bool:
        """Whether the trial's joules have completed the top rung."""
        return self._rung == len(self._ladder.rungs) and bool(self._ladder.joules)

    @property
    def may_pause(self) -> bool:
        """Whether the trial may leave its worker after this epoch, to continue from its state later."""
        return self.epochs_done in self._ladder.pauses

    @property
    def is_start_due(self) -> bool:
        """Whether the next epoch is the first of a training that has not been started."""
        return self._ladder.begins_training_at(self.epochs_done) and not self._is_fresh

    def start(self) -> None:
        """Replace the current training by a new one."""
        del self.training
        if self._context.device != "cpu":  # it takes 0.2 s, and two models may be more than a GPU holds
            gc.collect()
        self.training = self._start_training()

    def run_epoch(self) -> dict[str, float]:
        """Run one epoch at its rung's budget; if `is_start_due`, call `start` first."""
        with self._counter or nullcontext():
            metrics = trained_epoch(self.training, self._ladder.rungs[self.rung])
        self._is_fresh = False
        self.epochs_done += 1
        return metrics

    def end_rung(self, *, is_scored: bool) -> int | None:
        """Complete a rung if the epoch does; return how many rungs it skipped, or None if it completes none.

        On a ladder of joules an epoch without a score completes no rung; the next one with a score does.
        """
        ladder, done = self._ladder, self.epochs_done
        if not ladder.joules:
            return 0 if done in ladder.ends or self.is_done else None
        # Unknown joules complete no rung; the scheduler stops such a trial at its first score.
        used_mj = self.used.mj or 0 if self.used else 0
        ended = ladder.rung_completed_at(done, used_mj, self._rung) if is_scored else None
        if ended is None:
            return 0 if self.is_done else None
        rungs_skipped, self._rung = ended - self._rung, ended + 1
        return rungs_skipped

    def _start_training(self) -> Training:
        budget = self._ladder.training_budget(self.epochs_done)
        training = self._trainable.start(self._hparams, budget, self._context)
        check_training(training, self._trainable.start)
        return training
