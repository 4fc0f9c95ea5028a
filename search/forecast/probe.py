"""Costs of a space's configurations from two training steps each, before a search starts.

A whole epoch would be a better measurement but may take an hour. Two steps after a warm-up show the seconds
per example, and the epoch follows from its number of examples. As many processes measure at once as trials
will run, each with its share of the cores: a single process would be faster than any trial.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from search.backends.costs import Costs, PointCost, filled, fixed_scoring_s
from search.budget import Ladder
from search.energy.process_meter import meter_for
from search.energy.units import to_joules
from search.ledger.journal import LedgerError
from search.preflight.points import points_of
from search.space import Choice, Space
from search.trial.batch_size import with_batch_size
from search.trial.task import TrialTask
from search.trial.trial_folder import TrialFolder
from trainables.core.checkpoint import save_checkpoint
from trainables.core.contract import Budget, DataError, Trainable, Training, TrainingContext
from trainables.core.deferred import deferred
from trainables.core.model_folder import WeightsFormat
from trainables.core.optional import trained_weights_of
from trainables.core.subprocess_pool import LoadedProcess

_in_format = deferred("trainables.engine.inference.weights:in_format")

_STEPS = 2  # measured steps, after as many for warming up
_MOST_POINTS = 9  # configurations: three models with three batch sizes each
_MOST_S = 20.0  # no further configuration is tried if the total would exceed this
_SURE_EXAMPLES = 64  # a fraction with this many examples gives the total within 1 %
_MIB = 2**20
_HANDOVER_S = 0.06  # from a training's end to the next one's start in a warm worker of Ray, on 2 idle cores
_UNSURE_FIRST = 0.4  # fraction of the time before the first epoch: two workers and the driver load at once


class UnfitError(LedgerError):
    """No training can start, as the model does not exist or data is missing; the space must be fixed."""


class ProbeError(LedgerError):
    """A configuration could not be tried; the message says which and why."""


def points_to_probe(space: Space, defaults: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the points to try: each model with its default, smallest and largest batch size, nine at most.

    Model and batch size decide what an example costs; other hyperparameters (learning rate, decay) change no
    shape. Of more than nine points every n-th is taken.
    """
    points = points_of(space, defaults)
    sizes = space.parameters.get("batch_size")
    ends = [min(sizes.values), max(sizes.values)] if isinstance(sizes, Choice) else []
    if sizes is not None and not ends:
        ends = [getattr(sizes, "low", defaults.get("batch_size")), getattr(sizes, "high", None)]
    wider = [{**point, "batch_size": size} for point in points for size in ends if size]
    every = [*points, *wider]
    return every[:: max(1, -(-len(every) // _MOST_POINTS))]


def probe_costs(
    space: Space, task: TrialTask, points: Sequence[Mapping[str, Any]], *, worker: str, loaded: LoadedProcess
) -> Costs:
    """Try the points in as many processes at once as there will be trials, each with its share of the cores.

    Args:
        task: A trial of the space on this machine; its hparams do not matter.
        worker: The module that trials' workers load before anything else.
        loaded: The process in whose forks the points are tried.

    Raises:
        ProbeError: A training does not start, fails at its first steps, or is killed.
        UnfitError: There is no such model or data.
    """
    workers = space.resources.workers or 1
    orders = [[*points[turn % len(points) :], *points[: turn % len(points)]] for turn in range(workers)]
    try:
        # Each worker of a search spends this time itself; whatever it trains, it needs torch to save states.
        loaded_s = loaded.load_s([worker, "torch"])
        probes = [(task, order, time.time() - loaded_s) for order in orders]
        answers = loaded.map_at_once(probe, probes, threads=max(1, int(task.cpus)))
    except BrokenProcessPool as error:
        raise ProbeError(
            "a process that tried some steps was killed, perhaps because memory ran out"
        ) from error
    seen = [found for answer in answers for found in answer.points]
    if not seen:
        raise ProbeError("no configuration could be tried")
    num_points = len({str(point.hparams) for point in seen})
    number = task.training.num_processes
    upper = f", each in one of its {number} processes: an upper bound" if number > 1 else ""
    first_s = max(answer.first_s for answer in answers)
    return Costs(
        points=filled(seen, space.ladder),
        source=f"two steps of {num_points} configurations, {workers} at a time{upper}",
        first_s=first_s,
        unsure_first_s=_UNSURE_FIRST * first_s,
    )


@dataclass(frozen=True)
class Probed:
    """The measurements of one process: costs of points, and seconds until its first training could begin."""

    points: tuple[PointCost, ...]
    first_s: float


def probe(task: TrialTask, points: Sequence[Mapping[str, Any]], asked_at: float) -> Probed:
    """Measure the cost of each point, as long as there is time.

    Args:
        asked_at: Unix time from which the wait for the first training counts: a worker, too, loads everything
            that is loaded during it.
    """
    ends_s, first_s, longest_s = time.monotonic() + _MOST_S, 0.0, 0.0
    found: list[PointCost] = []
    for point in points:
        if found and time.monotonic() + longest_s > ends_s:
            break
        try:
            tried = replace(task, hparams=point)
            _start_training(tried)  # the first loads libraries and data
            first_s = first_s or time.time() - asked_at
            began_s = time.monotonic()
            found.append(_measure(tried))
            longest_s = max(longest_s, time.monotonic() - began_s)
        except UnfitError:
            raise
        except Exception as error:
            raise ProbeError(
                f"{_distinctive_values(point, points)}: {type(error).__name__}: {error}"
            ) from error
    return Probed(tuple(found), first_s)


def _distinctive_values(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """Return the values of `point` that other points do not have."""
    own = [
        f"{name} {value}"
        for name, value in point.items()
        if any(other.get(name) != value for other in points)
    ]
    return ", ".join(own) or "the configuration"


def _start_training(task: TrialTask) -> Training:
    """Start a training as a trial would, at the top rung's budget, without writing anything.

    Raises:
        UnfitError: There is no such model, or data is missing.
    """
    trainable, hparams = task.load()
    context = replace(task.context(), folder=None)
    _check(trainable, hparams, context)
    return trainable.start(hparams, task.ladder.top, context)


def _measure(task: TrialTask) -> PointCost:
    """Measure the cost of one configuration in a second start, after the first has loaded libraries and data.

    Epochs are measured at the lowest and the top rung, if these differ. Joules are the mean power over the
    whole measurement times the epoch's seconds, because two steps may be shorter than a sensor's tick.
    """
    started_s = time.perf_counter()
    training = _start_training(task)
    start_s = time.perf_counter() - started_s
    meter = meter_for(gpus=task.gpus, cpus=task.cpus)
    try:
        count = cache(partial(_num_all, training, task.ladder.rungs[0]))
        low = top = _epoch(training, task, task.ladder.rungs[0], count)
        if len(set(_shapes(task.ladder))) > 1:
            top = _epoch(training, task, task.ladder.top, count)
        used_mj, taken_s = meter.read().total_mj, time.perf_counter() - started_s - start_s
    finally:
        meter.close()
    epoch_s = _by_rung(task.ladder, low.seconds, top.seconds)
    watts = None if used_mj is None else to_joules(used_mj) / taken_s
    return PointCost(
        hparams=task.hparams,
        start_s=start_s + _HANDOVER_S,
        epoch_s=epoch_s,
        scoring_s=fixed_scoring_s(task.training.validation_resolution, low.scoring_s),
        epoch_j=() if watts is None else tuple(one and watts * one for one in epoch_s),
        checkpoint_mib=_saved_mib({"training": training.state_dict()}),
        weights_mib=_weights_mib(training, task.weights_format),
    )


def _check(trainable: Trainable, hparams: Any, context: TrainingContext) -> None:
    """Ask the trainable whether the model and the data exist; its answer names what is missing.

    Raises:
        UnfitError: One of them does not.
    """
    try:
        trainable.weights(hparams)
    except ValueError as error:
        raise UnfitError(f"model: {error}") from error
    try:
        trainable.check_data(context)
    except DataError as error:
        raise UnfitError(f"data: {error}") from error


@dataclass(frozen=True)
class _Epoch:
    """Seconds of a whole epoch, and of its scoring."""

    seconds: float
    scoring_s: float


def _shapes(ladder: Ladder) -> list[Budget]:
    """Return the budget of a single epoch at each rung."""
    return [replace(rung, epochs=1) for rung in ladder.rungs]


def _by_rung(ladder: Ladder, low_s: float, top_s: float) -> tuple[float | None, ...]:
    """Return seconds per rung, known for the lowest, the top, and rungs whose epochs equal theirs."""
    shapes = _shapes(ladder)
    seen = {shapes[-1]: top_s, shapes[0]: low_s}
    return tuple(seen.get(shape) for shape in shapes)


def _epoch(training: Training, task: TrialTask, budget: Budget, count: Callable[[], float]) -> _Epoch:
    """Return the time of a whole epoch at `budget`, extrapolated from two steps after two for warming up.

    Args:
        count: Returns the number of all training examples.
    """
    size = with_batch_size(task.hparams, {}).get("batch_size", _SURE_EXAMPLES)
    few = replace(budget, epochs=task.ladder.top.epochs, subset=_STEPS * size)
    try:
        training.run_epoch(few)
    except DataError:  # there are fewer examples than that: all take less than two steps
        few = replace(few, subset=None)
        training.run_epoch(few)
    started_s = time.perf_counter()
    values = training.run_epoch(few)
    taken_s = time.perf_counter() - started_s
    if "num_examples" not in values or "train_s" not in values:
        return _Epoch(taken_s, 0.0)  # it does not train on examples, so there is nothing to extrapolate
    of_one_s = values["train_s"] / values["num_examples"]
    fraction = 1.0 if budget.subset is None else budget.subset
    num = fraction if isinstance(fraction, int) else fraction * count()
    return _Epoch(of_one_s * num + values["eval_s"], values["eval_s"])


def _num_all(training: Training, budget: Budget) -> float:
    """Return the number of all training examples, by epochs at `budget` on small fractions of them."""
    share = 0.001
    while True:
        num = training.run_epoch(replace(budget, subset=share))["num_examples"]
        if num >= _SURE_EXAMPLES or share == 1:
            return num / share
        # A fifth more than should be needed: rounding could leave it just short, and cost another epoch.
        share = min(1.0, share * 1.2 * _SURE_EXAMPLES / num)


def _weights_mib(training: Training, form: WeightsFormat) -> float | None:
    """Return the size of the weights that a trial leaves after its top rung; None if it has none."""
    weights = trained_weights_of(training)
    return None if weights is None else _saved_mib(weights if form == "fp32" else _in_format(weights, form))


def _saved_mib(content: Mapping[str, Any]) -> float:
    """Return the size of a checkpoint in MiB by writing it: an optimiser may hold twice the weights."""
    with tempfile.TemporaryDirectory() as folder:
        file = TrialFolder(Path(folder)).checkpoint
        save_checkpoint(file, content)
        return file.stat().st_size / _MIB
