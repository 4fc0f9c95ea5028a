"""One training, epoch by epoch, with its time and energy. No Ray inside.

A task, received as plain data, becomes a training on its ladder; each epoch becomes a row, and what a kill
must not cost is saved. After each row the caller (a warm worker, this process, train.py) decides whether
there is another: a generator that is no longer consumed is a paused trial.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.energy.reading import EnergyMeter
from search.space.limits import not_data_parallel_text
from search.space.objectives import Bound
from search.trial.checkpoints import (
    Checkpointing,
    Identity,
    Notes,
    SavedState,
    drop_previous,
    read_state,
    save_state,
)
from search.trial.failure import check_bounds
from search.trial.final_outputs import FinalOutputs, keep_model
from search.trial.progress import LadderProgress, counter_for
from search.trial.row import EpochRow, Stretch
from search.trial.task import TrialTask
from search.trial.trial_folder import TrialFolder
from trainables.core.checkpoint import load_torch
from trainables.core.contract import Mode, Trainable, Training, TrainingContext
from trainables.core.deferred import deferred
from trainables.core.model_folder import WeightsFormat
from trainables.core.optional import measured_by, notes_of, trained_weights_of
from trainables.core.promises import check_reported, check_test, plain_numbers

_start_in_processes = deferred("trainables.engine.parallel.leader:start")
_in_format = deferred("trainables.engine.inference.weights:in_format")


def run_task(
    task: TrialTask,
    meter: EnergyMeter,
    *,
    checkpointing: Checkpointing | None,
    resume: Path | None = None,
    should_keep_model: bool = False,
    importing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[EpochRow]:
    """Start to train `task` in this process; return the rows of `run_trial`.

    Loading the trainable counts as part of its start: a user's own file may import torch at its top.

    Args:
        checkpointing: Usually the task's own.
        should_keep_model: Keep the trained model, as a tested training does in any case.
        importing: A context manager that is entered while the trainable is loaded.
    """
    stretch = Stretch(meter)
    with stretch.starting(), importing():
        trainable, hparams = task.load()
        if task.training.num_processes > 1:
            trainable = _in_processes(trainable, task)
    return run_trial(
        trainable,
        hparams,
        task.ladder,
        task.context(),
        meter,
        checkpointing=checkpointing,
        identity=task.identity,
        resume=resume,
        metric=task.metric,
        mode=task.mode,
        final=task.final if task.should_test else None,
        best=task.files.best,
        model=task.files.model if task.should_test or should_keep_model else None,
        weights_format=task.weights_format,
        must_be_settled=task.is_judged_by_joules,
        stretch=stretch,
        asked_measures=task.asked_measures,
        bounds=task.bounds,
    )


def _in_processes(trainable: Trainable, task: TrialTask) -> Trainable:
    """The trainable, with trainings that run in several processes; a script has its own launcher.

    Raises:
        ValueError: Its training cannot be split. A user's own may use several GPUs in its one process.
    """
    if task.trainable.command is not None:
        return trainable
    if trainable.is_data_parallel:
        return replace(trainable, start=partial(_start_in_processes, task.trainable))
    if task.trainable.path is not None and task.gpus:
        return trainable
    raise ValueError(not_data_parallel_text(task.trainable.title))


def run_trial(
    trainable: Trainable,
    hparams: Any,
    ladder: Ladder,
    context: TrainingContext,
    meter: EnergyMeter,
    *,
    checkpointing: Checkpointing | None = None,
    identity: Identity | None = None,
    resume: Path | None = None,
    metric: str | None = None,
    mode: Mode | None = None,
    final: Path | None = None,
    best: Path | None = None,
    model: Path | None = None,
    weights_format: WeightsFormat = "fp32",
    must_be_settled: bool = False,
    stretch: Stretch | None = None,
    asked_measures: Collection[str] = (),
    bounds: Mapping[str, Bound] | None = None,
) -> Iterator[EpochRow]:
    """Start to train up the ladder; return an iterator that runs an epoch for each row it yields.

    The training has started when this returns, so a watcher of epochs knows when the first one begins.

    A trial that continues at the next rung continues its training, or begins another from its seed if
    `ladder.horizon` is "rung". With a checkpoint on disk the rows start with the one it was saved after,
    marked as a replay: its first report may have been lost with the worker.

    Args:
        identity: Identity to write into saved states; only states on disk with the same one are resumed
            from.
        resume: The state to resume from instead of the newest one: any file that a training of the same
            settings left.
        metric: Metric that each scored epoch must report; None means the trainable's own.
        mode: Direction of the metric; None means the trainable's own.
        final: For a promotion: evaluate on the test set after the last epoch and keep the state here, with
            whatever `FinalOutputs` leaves beside it.
        best: Keep the weights of the best epoch here: of a full training, else of the top rung.
        weights_format: Number format of the weights that are left when the training has ended.
        model: Leave the trained model in this folder after the last epoch, usable without the run.
        must_be_settled: The joules of a rung are needed at its end: wait for the sensors' next tick.
        stretch: The attempt's stretch, if it has begun already; None begins one now.
        asked_measures: Numbers that must be reported wherever the metric is. Those that the training knows
            before its first epoch are measured once and put into every row; a resumed trial keeps its own.
        bounds: Bounds on some of them.

    Raises:
        UnreadableCheckpoint: `resume` is damaged, or of other settings.
        ConstraintBroken: A number that is known before the first epoch is out of bounds.
        Diverged: The loss became NaN or infinite.
        BadResult: `run_epoch` returned anything but plain numbers, or no metric where it is needed: at the
            end of a rung, and beside any other validation value.
    """
    stretch, identity = stretch or Stretch(meter), identity or {}
    with stretch.starting():
        if checkpointing or final:
            load_torch()
        saved, reading_notes = read_state(checkpointing, identity, resume)
        last = saved.row if saved else None
        progress = LadderProgress(
            trainable, hparams, ladder, context, counter_for(ladder, context, meter, last), last
        )
        if saved:
            progress.resume(saved.training, saved.epochs_done)
            measured = dict(saved.measured)
        else:
            measured = dict(measured_by(progress.training, asked_measures, ladder.top))
            check_bounds(measured, bounds or {})
    metric, mode = metric or trainable.metric, mode or trainable.mode
    outputs = (
        FinalOutputs(final, metric=metric, mode=mode, best=saved.best if saved else None) if final else None
    )
    about: dict[str, Any] = {"identity": identity, "metric": metric, "weights_format": weights_format}
    keeping = partial(keep_model, model, **about) if model else None
    tracked = outputs or _best_of_top_rung(best, ladder, metric, mode, saved)
    return _EpochLoop(
        trainable,
        progress,
        stretch,
        meter,
        outputs,
        _States(checkpointing, tracked, identity, stretch.clock, weights_format, measured),
        metric=metric,
        asked_measures=asked_measures,
        measured=measured,
        keep_model=keeping,
        first_notes=reading_notes,
        must_be_settled=must_be_settled,
    ).rows(last)


class _EpochLoop:
    """A started training, epoch by epoch: what each yields, costs and leaves on disk."""

    def __init__(
        self,
        trainable: Trainable,
        progress: LadderProgress,
        stretch: Stretch,
        meter: EnergyMeter,
        outputs: FinalOutputs | None,
        states: _States,
        *,
        metric: str,
        asked_measures: Collection[str],
        measured: Mapping[str, float],
        keep_model: Callable[..., Notes] | None,
        first_notes: Notes,
        must_be_settled: bool,
    ) -> None:
        self._trainable, self._progress, self._stretch, self._meter = trainable, progress, stretch, meter
        self._final_outputs, self._states, self._metric = outputs, states, metric
        self._asked_measures, self._measured = asked_measures, measured
        self._keep_model, self._must_be_settled = keep_model, must_be_settled
        self._given_notes: Notes = {}
        # What an attempt's first row has beyond the others.
        self._first_notes = first_notes
        self._sensors: Mapping[str, str] = {}

    def rows(self, last: EpochRow | None) -> Iterator[EpochRow]:
        """Yield the rows of all further epochs, after the row that the training resumes from."""
        if last:
            yield replace(last, is_replay=True)
        self._sensors = self._meter.sensors.to_dict()
        try:
            while not self._progress.is_done:
                row = self._run_epoch()
                # Saved before the row is yielded, with the row in it: a kill in between loses neither, as a
                # state that is one epoch ahead of the journal yields its row again, as a replay.
                yield replace(row, notes={**row.notes, **self._states.save(row, self._progress)})
                self._first_notes, self._sensors = {}, {}
        finally:
            self._states.leave()

    def _run_epoch(self) -> EpochRow:
        progress, rung = self._progress, self._progress.rung
        if progress.is_start_due:
            with self._stretch.starting():
                progress.start()
        # Checked before the first epoch, as all epochs would be lost otherwise.
        if self._final_outputs and self._trainable.has_test:
            check_test(progress.training, self._trainable.start)
        with self._stretch.in_epoch():
            metrics = {**self._measured, **progress.run_epoch()}
        rungs_skipped = progress.end_rung(is_scored=self._metric in metrics)
        completes_rung = rungs_skipped is not None
        # A rung's result, or any validation score, without the metric is a mistake in the trainable; an epoch
        # without any score comes from a script that validates every few epochs.
        if completes_rung or any(name.startswith("val_") for name in metrics):
            check_reported(self._metric, metrics, progress.training)
            for name in self._asked_measures:
                check_reported(name, metrics, progress.training)
        test, notes = self._test(metrics)
        spent = self._stretch.cut(must_be_settled=self._must_be_settled and completes_rung)
        return EpochRow(
            epoch=progress.epochs_done,
            rung=rung,
            completes_rung=completes_rung,
            rungs_skipped=rungs_skipped or 0,
            used=progress.used,
            done_reason=progress.done_reason,
            metrics=metrics,
            **vars(spent),
            notes=notes,
            sensors=self._sensors,
            window=self._meter.window,
            test=test,
        )

    def _test(self, metrics: Mapping[str, float]) -> tuple[dict[str, float] | None, Notes]:
        """Test after the last epoch of a full training; keep what is to stay, and return scores and notes."""
        progress, test = self._progress, None
        if self._final_outputs and progress.is_done and self._trainable.has_test:
            with self._stretch.in_epoch():
                test = plain_numbers(progress.training.test(), progress.training.test)
        notes = self._new_notes() | self._first_notes
        if self._final_outputs and test is not None:
            notes |= self._final_outputs.keep_test(
                progress.epochs_done, {**metrics, **test}, progress.training
            )
        if self._keep_model and progress.is_done:
            value = metrics.get(self._metric)
            notes |= self._keep_model(progress.training, epoch=progress.epochs_done, value=value, test=test)
        return test, notes

    def _new_notes(self) -> Notes:
        """Return the training's notes that no row of the attempt has had yet."""
        now = notes_of(self._progress.training)
        notes = {name: note for name, note in now.items() if self._given_notes.get(name) != note}
        self._given_notes |= notes
        return notes


class _States:
    """Writes the state of a training to every file that is due after an epoch."""

    def __init__(
        self,
        checkpointing: Checkpointing | None,
        outputs: FinalOutputs | None,
        identity: Identity,
        clock: Callable[[], float],
        weights_format: WeightsFormat,
        measured: Mapping[str, float],
    ) -> None:
        self._measured = measured
        self._checkpointing, self._final_outputs, self._identity = checkpointing, outputs, identity
        self._weights_format = weights_format
        self._clock, self._saved_s = clock, clock()

    def leave(self) -> None:
        """Clean up as the trial leaves its worker, whether it ends, pauses or fails."""
        if self._checkpointing:
            drop_previous(self._checkpointing.path)

    def save(self, row: EpochRow, progress: LadderProgress) -> Notes:
        """Save the state after the epoch of `row`; return a note for each file that cannot be written."""
        outputs, checkpointing = self._final_outputs, self._checkpointing
        learnt = self._learnt(row, progress.training)
        kept = checkpointing.kept(row.epoch) if checkpointing else None
        is_due = checkpointing and (
            row.completes_rung
            or progress.may_pause
            or self._clock() - self._saved_s >= checkpointing.every_s
            or checkpointing.must_save()
        )
        notes: Notes = {}
        if not learnt and not kept and not is_due:
            return notes
        state = SavedState(
            training=progress.state(),
            epochs_done=progress.training.epochs_done,
            row=row,
            best=outputs.best if outputs else None,
            measured=self._measured,
        )
        if learnt:
            weights = trained_weights_of(progress.training)
            left = state if weights is None else self._weights_alone(state, weights)
            for path in learnt:
                notes |= save_state(path, left, self._identity)
        if kept:
            notes |= save_state(kept, state, self._identity)
        if checkpointing and is_due:
            notes |= save_state(checkpointing.path, state, self._identity, keeps_previous=True)
            self._saved_s = self._clock()
        return notes

    def _learnt(self, row: EpochRow, training: Training) -> list[Path]:
        """Return where to keep what was learnt by now: as the best so far, and as a full training's end.

        A search keeps the best only of trainings with weights: a formula or a script has nothing to keep.
        """
        outputs = self._final_outputs
        if outputs is None:
            return []
        places = []
        is_worth_keeping = not outputs.is_of_search or trained_weights_of(training) is not None
        if outputs.is_best(row.rung, row.metrics) and is_worth_keeping:
            places.append(outputs.best_path)
        if row.test is not None:
            places.append(outputs.path)
        return places

    def _weights_alone(self, state: SavedState, weights: Mapping[str, Any]) -> SavedState:
        stored = _in_format(weights, self._weights_format) if self._weights_format != "fp32" else weights
        return replace(state, training=stored, has_weights_only=True)


def _best_of_top_rung(
    path: Path | None, ladder: Ladder, metric: str, mode: Mode, saved: SavedState | None
) -> FinalOutputs | None:
    """The outputs that keep the best epoch of a search's trial at the top rung."""
    if path is None:
        return None
    return FinalOutputs(
        TrialFolder(path.parent).final,
        metric=metric,
        mode=mode,
        best=saved.best if saved else None,
        from_rung=len(ladder.rungs) - 1,
        is_of_search=True,
    )
