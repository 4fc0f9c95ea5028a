"""Full training of the best trials and the default, with fresh seeds and one score on the test set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search.budget import Limits
from search.ledger import LedgerError
from search.ledger.history import History, TrialRecord
from search.ranking import configurations
from search.run.objective import pareto_front
from search.sampling.proposal import Proposal
from search.space import Portfolio, Space
from search.space.parameters import Choice
from trainables.core.contract import Trainable
from trainables.core.load import TrainableRef

BASELINES = ("hog_svm", "linear_probe", "knn")
_RANDOM = "none"  # value of the hyperparameter `weights` for an untrained network

# Resources of a training that shares no device.
_UNSHARED: Mapping[str, Any] = {"pack": None, "memory_gib": None, "mps": None}


def chosen(history: History, space: Space, *, top: int) -> list[TrialRecord]:
    """Return the `top` best configurations, and the default one to compare them with.

    With several objectives, configurations on the Pareto front come before the others, each group in order of
    rank. A configuration with repeats ranks by their mean and is represented by the oldest.

    Raises:
        LedgerError: No trial of the run has a score.
    """
    found = configurations(history.trials.values(), space.metric, space.mode, repeats=space.repeats)
    ranked = [each.first for each in found]
    if space.beside:
        front = {trial.trial_id for trial, _ in pareto_front(space, history.trials.values())}
        ranked.sort(key=lambda trial: trial.trial_id not in front)
    best = ranked[:top]
    if not best:
        raise LedgerError("no trial of this run has a score, so there is nothing to promote")
    default = next((trial for trial in history.trials.values() if trial.proposed_by == "default"), None)
    if default is None or any(trial.proposed_by == "default" for trial in best):
        return best
    return [*best, default]


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Return seeds that the search has not used, the same for every configuration so that gains pair up."""
    return [
        int.from_bytes(hashlib.sha256(f"promotion {seed} {index}".encode()).digest()[:4])
        for index in range(count)
    ]


def proposals(trials: Sequence[TrialRecord], seeds: Sequence[int]) -> list[Proposal]:
    """Return one full training for each configuration and seed.

    Every configuration comes once before any comes again, so that a promotion cut short can compare them all.
    """
    return [
        Proposal(hparams=trial.hparams, proposed_by="promotion", seed=seed, parent_trial=trial.trial_id)
        for seed in seeds
        for trial in trials
    ]


def full_training(space: Space) -> Space:
    """Return the space of the promotion's run.

    It has the top rung's budget from the first epoch on, the space's number of epochs for promotion, and
    stops no trial.
    """
    return replace(
        space.with_training(patience=None, early_stop_threshold=None),
        ladder=space.ladder.only_top().with_top(epochs=space.promote.epochs),
        scheduler=space.scheduler.model_copy(update={"mode": "none"}),
        limits=Limits(cache_gib=space.limits.cache_gib),
        beside=(),  # known of the winner; a latency measured again might be just out of bounds
        constraints={},
        repeats=1,  # the promotion's seeds
    )


def alone_on_gpus(space: Space) -> tuple[Space, str]:
    """Return the space with a whole GPU for each training if the search shared GPUs, and a line about it.

    The joules of a training on a shared GPU are known to within 5 to 35 %; those of a training alone are the
    counter's. The line is empty if nothing changes.
    """
    resources = space.resources
    share = resources.gpus_per_trial
    if not share or (share >= 1 and not resources.pack):
        return space, ""
    shared = "packs them by memory" if resources.pack else f"gives each {share:g} GPU"
    line = f"one training per GPU, so that its joules are measured alone; --share-gpus {shared}"
    return replace(space, resources=resources.model_copy(update={**_UNSHARED, "gpus_per_trial": 1.0})), line


def with_gpus(space: Space, gpus: float | None) -> Space:
    """Return the space with `gpus` for each training; None leaves the number to the machine."""
    return replace(space, resources=space.resources.model_copy(update={"gpus_per_trial": gpus}))


def in_processes(space: Space, number: int) -> Space:
    """Return the space with each training in `number` processes, each with a GPU if trials had any.

    Raises:
        LedgerError: `number` is below 1.
    """
    if number < 1:
        raise LedgerError(f"--processes-per-trial must be at least 1, got {number}")
    resources = space.resources
    gpus = float(number) if resources.gpus_per_trial else resources.gpus_per_trial
    cores = None if resources.cpus_per_trial is None else max(resources.cpus_per_trial, number)
    changes = {"processes_per_trial": number, "gpus_per_trial": gpus, "cpus_per_trial": cores}
    if number > 1:
        changes |= _UNSHARED
    return replace(space, resources=resources.model_copy(update=changes))


def baseline_hparams(trainable: Trainable, trials: Sequence[TrialRecord], space: Space) -> dict[str, Any]:
    """Return a baseline's defaults; if it uses a pretrained network, with the winner's or space's backbone.

    Args:
        trials: The best trials, best first.

    Raises:
        LedgerError: It needs pretrained weights, and neither the trials nor the space have any.
    """
    defaults = dict(vars(trainable.hparams()))
    if not {"model", "weights"} <= defaults.keys():
        return defaults
    for trial in trials:
        if trial.hparams.get("weights", _RANDOM) != _RANDOM:
            return {**defaults, "model": trial.hparams["model"], "weights": trial.hparams["weights"]}
    models, weights = (_values_of(space, name) for name in ("model", "weights"))
    if pretrained := [each for each in weights if each != _RANDOM]:
        return {**defaults, "model": (models or [defaults["model"]])[0], "weights": pretrained[0]}
    raise LedgerError(
        "a baseline on a pretrained network's features needs weights, and neither the best trials nor the "
        "space have any; search one with weights: hub, or use the baseline hog_svm"
    )


def _values_of(space: Space, name: str) -> Sequence[Any]:
    """Return the values of a hyperparameter in the space if they are listed or fixed, else none."""
    parameter = space.parameters.get(name)
    if isinstance(parameter, Choice):
        return parameter.values
    return [space.fixed[name]] if name in space.fixed else []


def baseline_training(space: Space, trainable: TrainableRef, hparams: Mapping[str, Any]) -> Space:
    """Return the space of a baseline's run: another trainable on the same data, on the CPU."""
    return replace(
        full_training(space),
        trainable=trainable,
        parameters={},
        fixed=hparams,
        when={},
        defaults={},
        initial_points=(),
        portfolio=Portfolio(),
        resources=space.resources.model_copy(
            update={"gpus_per_trial": 0.0, "workers": 1, "processes_per_trial": None}
        ),
    )


def baseline_proposal(space: Space, seed: int) -> Proposal:
    """Return a baseline's one training: a model fitted in closed form has no seeds to average over."""
    return Proposal(
        hparams=dict(space.fixed), proposed_by="promotion", seed=seed, parent_trial=str(space.trainable)
    )
