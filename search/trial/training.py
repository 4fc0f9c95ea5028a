"""One training, epoch by epoch, with its time and energy. No Ray inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.energy import EnergyMeter
from search.trial.climb import Climb, counter_for
from search.trial.finals import Finals
from search.trial.row import EpochRow
from search.trial.saving import read_state, save_state
from search.trial.stretch import Stretch
from trainables.checkpoint import load_torch
from trainables.contract import BadResult, Env, Mode, Trainable, Training
from trainables.promises import place_of, plain_numbers


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Where a trial's state lies and how often it is written.

    Attributes:
        path: Full state; a trial that finds it there goes on from it.
        every_s: Longest training that a kill may cost; rung ends are saved in any case.
        keep_every: Also keep the state of every so many epochs, beside it as epoch-0010.pt and so on.
    """

    path: Path
    every_s: float = 60.0
    keep_every: int | None = None

    def kept(self, epoch: int) -> Path | None:
        """Where the state after `epoch` is to stay for good, if it is."""
        if self.keep_every is None or epoch % self.keep_every:
            return None
        return self.path.with_name(f"epoch-{epoch:04d}.pt")


def run_trial(
    trainable: Trainable,
    hparams: Any,
    ladder: Ladder,
    env: Env,
    meter: EnergyMeter,
    *,
    checkpointing: Checkpointing | None = None,
    metric: str | None = None,
    mode: Mode | None = None,
    final: Path | None = None,
    must_be_settled: bool = False,
    stretch: Stretch | None = None,
) -> Iterator[EpochRow]:
    """Train up the ladder and give a row after each epoch, for as long as rows are asked for.

    A trial that goes on at the next rung continues its training, or begins another from its seed
    where `ladder.horizon` is "rung". With a checkpoint on disk the rows start with the one it was
    saved after, marked as a replay: its first report may have been lost with the worker.

    Args:
        metric: What each epoch that is scored must report; None is the trainable's own.
        mode: Whether more or less of it is better; None is the trainable's own.
        final: Promotion: evaluate on the test set after the last epoch and keep the state here, with
            all that `Finals` leaves beside it.
        must_be_settled: The joules of a rung are wanted at its end: wait for the sensors' next tick.
        stretch: What has begun to count the attempt; None begins now.

    Raises:
        Diverged: The loss became NaN or infinite.
        BadResult: `run_epoch` returned other things than plain numbers, with the metric where it
            is needed: at the end of a rung, and beside any other value of validation.
    """
    stretch = stretch or Stretch(meter)
    with stretch.starting():
        if checkpointing or final:
            load_torch()
        saved, reading_notes = read_state(checkpointing.path) if checkpointing else ({}, {})
        last = EpochRow.from_dict(saved["row"]) if saved else None
        climb = Climb(trainable, hparams, ladder, env, counter_for(ladder, env, meter, last), last)
        if last:
            climb.resume(saved["training"], saved.get("epochs_done"))
    metric, mode = metric or trainable.metric, mode or trainable.mode
    finals = Finals(final, metric=metric, mode=mode, best=saved.get("best")) if final else None
    if last:
        yield replace(last, is_replay=True)
    saved_s = stretch.clock()
    told: dict[str, str] = {}
    sources = meter.sources.to_dict()
    while not climb.is_done:
        rung = climb.rung
        if climb.is_start_due:
            with stretch.starting():
                climb.start()
        with stretch.in_epoch():
            metrics = climb.run_epoch()
        num_jumped = climb.end_rung(is_scored=metric in metrics)
        if num_jumped is not None or any(name.startswith("val_") for name in metrics):
            _check_has(metric, metrics, climb.training)
        should_test = finals and climb.is_done and trainable.has_test
        with stretch.in_epoch():
            test = plain_numbers(climb.training.test(), climb.training.test) if should_test else None
        notes = {name: note for name, note in climb.training.notes().items() if told.get(name) != note}
        told |= notes
        notes |= reading_notes
        if finals:
            notes |= finals.keep_best(rung, metrics, climb.training)
        if finals and test is not None:
            notes |= finals.keep_final(climb.epochs_done, metrics | test, climb.training)
        spent = stretch.cut(must_be_settled=must_be_settled and num_jumped is not None)
        row = EpochRow(
            epoch=climb.epochs_done,
            rung=rung,
            is_rung_end=num_jumped is not None,
            num_jumped=num_jumped or 0,
            used=climb.used,
            why_done=climb.why_done,
            metrics=metrics,
            **vars(spent),
            notes=notes,
            sources=sources,
            lease=meter.lease,
            test=test,
        )
        if checkpointing and (row.is_rung_end or stretch.clock() - saved_s >= checkpointing.every_s):
            state = {
                "training": climb.state(),
                "epochs_done": climb.training.epochs_done,
                "row": row.to_dict(),
                "best": finals.best if finals else None,
            }
            row = replace(row, notes=notes | save_state(checkpointing.path, state))
            saved_s = stretch.clock()
        if checkpointing and (kept := checkpointing.kept(row.epoch)):
            row = replace(row, notes={**row.notes, **save_state(kept, climb.training.state_dict())})
        yield row
        sources, reading_notes = {}, {}


def _check_has(metric: str, metrics: Mapping[str, float], training: Training) -> None:
    if metric not in metrics:
        got = f"got only {sorted(metrics)}{place_of(training.run_epoch)}"
        raise BadResult(f"run_epoch must return {metric!r}, {got}")
