"""What is sent to a worker: one trial as plain data; and the text that repeats a training elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.space import Space
from search.space.objectives import Bound
from search.space.space import axes, yaml_text
from search.trial.checkpoints import Checkpointing, identity_of
from search.trial.trial_folder import TrialFolder
from trainables.core.contract import (
    Mode,
    Trainable,
    TrainingContext,
)
from trainables.core.load import TrainableRef
from trainables.core.model_folder import WeightsFormat


@dataclass(frozen=True, kw_only=True)
class MemoryShare:
    """The memory that a trial may hold on its device.

    Attributes:
        fraction: Fraction of what trials may use of the device; 1 means all of it.
        reserved_fraction: The fraction that Ray reserves: less if nothing else asks Ray for any of the
            device, so that the share can change while the trial trains.
        is_known: The share is what similar trials were seen to need; otherwise it is an upper bound, or all
            of the device.
    """

    mib: float
    fraction: float
    reserved_fraction: float
    is_known: bool

    @property
    def reserved_mib(self) -> float:
        return self.mib / self.fraction * self.reserved_fraction


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """Everything a worker needs to train one trial, or to resume it.

    Attributes:
        training: Data, seeds and settings; the node that trains decides where the cache is.
        folder: The trial's folder on storage that all nodes share: checkpoint, log, final weights.
        gpus: Fraction of a GPU that is reserved for the trial, or the number of whole GPUs.
        cpus: CPU cores that are reserved for the trial.
        has_exclusive_slots: Between epochs the trial waits while another trial works alone.
        should_test: Evaluate on the test set at the end and keep the final weights.
        asked_measures: Numbers beside the metric that the trial must report.
        bounds: Bounds on some of them; the trial ends before its first epoch if one is known to be broken.
        is_judged_by_joules: The joules of a rung must be known at its end.
        run_id: Id in the run's journal; empty if the trial belongs to no run.
        known_epochs: Epochs of the trial that the journal has; None without a journal.
        epoch_limit_s: Most time that any one epoch may take; None means no limit.
        weights_format: Number format of the weights that the trial leaves when it has ended.
        memory: The trial's share of a device that is packed by memory; None where devices are not.
    """

    trial_id: str
    trainable: TrainableRef
    metric: str
    mode: Mode
    hparams: Mapping[str, Any]
    ladder: Ladder
    training: TrainingContext
    folder: Path
    gpus: float = 0.0
    cpus: float = 1.0
    has_exclusive_slots: bool = False
    should_test: bool = False
    asked_measures: tuple[str, ...] = ()
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    is_judged_by_joules: bool = False
    run_id: str = ""
    known_epochs: int | None = None
    epoch_limit_s: float | None = None
    weights_format: WeightsFormat = "fp32"
    memory: MemoryShare | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The identity that its saved states carry: everything that decides them except the device.

        A user's own trainable is in it by its file's name, so that a folder that was moved is the same.
        """
        path = self.trainable.path
        return identity_of(
            run=self.run_id,
            trial=self.trial_id,
            trainable=path.name if path else str(self.trainable),
            hparams=self.hparams,
            budget=axes(self.ladder),
            metric=self.metric,
            mode=self.mode,
            **self.training.settings(),
        )

    @property
    def files(self) -> TrialFolder:
        return TrialFolder(self.folder)

    @property
    def checkpoint(self) -> Path:
        return self.files.checkpoint

    @property
    def checkpointing(self) -> Checkpointing:
        """Where the trial's state is kept, and how many of its epochs the journal has."""
        return Checkpointing(path=self.checkpoint, known_epochs=self.known_epochs)

    @property
    def log(self) -> Path:
        return self.files.log

    @property
    def final(self) -> Path:
        return self.files.final

    @property
    def kind_of_work(self) -> str:
        """A text that is the same for trials that draw alike at the same utilisation."""
        names = (self.hparams.get(name, "") for name in ("model", "batch_size"))
        return " ".join(map(str, (self.trainable, *names, self.training.resolution)))

    def load(self) -> tuple[Trainable, Any]:
        """The trainable, and the hparams as its own dataclass."""
        trainable = self.trainable.load()
        return trainable, trainable.hparams(**self.hparams)

    def showing_progress(self) -> TrialTask:
        """The task, with long epochs that write their progress into its folder."""
        return replace(self, training=replace(self.training, progress_file=self.files.progress))

    def context(self) -> TrainingContext:
        """The training's context on the node that calls this."""
        return replace(self.training, cache_dir=cache_folder())


def task_for(
    space: Space,
    *,
    trial_id: str,
    hparams: Mapping[str, Any],
    seed: int,
    folder: Path,
    should_test: bool = False,
    auto_precision: str = "",
    run_id: str = "",
    known_epochs: int | None = None,
) -> TrialTask:
    """The task that trains `hparams` as `space` asks for."""
    return TrialTask(
        trial_id=trial_id,
        trainable=space.trainable,
        metric=space.metric,
        mode=space.mode,
        hparams=hparams,
        ladder=space.ladder,
        training=_context_for(space, seed, folder, auto_precision),
        folder=folder,
        gpus=space.resources.gpus_per_trial or 0.0,
        cpus=space.resources.cores_per_trial,
        has_exclusive_slots=space.metering.exclusive_slots,
        should_test=should_test,
        asked_measures=space.asked_measures,
        bounds=space.constraints,
        is_judged_by_joules=space.joules_objective is not None,
        run_id=run_id,
        known_epochs=known_epochs,
        epoch_limit_s=space.limits.epoch_s,
        weights_format=space.promote.weights,
    )


def _context_for(space: Space, seed: int, folder: Path, auto_precision: str) -> TrainingContext:
    """What the training is given beside hyperparameters and budget."""
    return TrainingContext(
        data=space.data,
        data_seed=space.training.seed,
        seed=seed,
        cache_dir=cache_folder(),
        device="cuda" if space.resources.gpus_per_trial else "cpu",
        precision=space.training.precision,
        resolution=space.ladder.top.resolution,
        validation_subset=space.training.validation_subset,
        validation_resolution=space.training.validation_resolution,
        horizon=space.ladder.horizon,
        num_processes=space.resources.num_processes,
        num_workers=max(1, int(space.resources.cores_per_trial)),
        cache_gib=space.limits.cache_gib,
        folder=folder,
        auto_precision=auto_precision,
    )


def config_text(task: TrialTask, versions: Mapping[str, Any], *, command: str, parent_trial: str = "") -> str:
    """The content of config.yaml: everything that the result of a training depends on.

    Args:
        versions: Versions of Python, the packages and this program.
        command: The command that trains it again.
        parent_trial: For a promotion, the trial of the search with these hparams.
    """
    content = {
        "trial_id": task.trial_id,
        **({"parent_trial": parent_trial} if parent_trial else {}),
        "trainable": task.trainable.plain,
        "hparams": dict(task.hparams),
        "budget": axes(task.ladder),
        "metric": task.metric,
        "mode": task.mode,
        **task.training.settings(),
        "test_resolution": task.training.resolution,
        "precision": _precision(task.training),
        "gpus": task.gpus,
        "versions": dict(versions),
    }
    return f"# again: {command}\n{yaml_text(content, has_short_lines=True)}"


def _precision(training: TrainingContext) -> str:
    """The number format; for "auto", the one that was chosen, if any."""
    chosen = training.auto_precision.partition(":")[0]
    return chosen if chosen and training.precision == "auto" else training.precision


def cache_folder() -> Path:
    """Where a node keeps decoded data: JOULETUNE_CACHE, else ~/.cache/jouletune."""
    return Path(os.environ.get("JOULETUNE_CACHE", "~/.cache/jouletune")).expanduser()
