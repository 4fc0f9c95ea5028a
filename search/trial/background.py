"""A background load that trains over and over beside the trials, on their device. No Ray inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.backends.errors import SessionError
from search.energy.reading import EnergyMeter
from search.printable import counted
from search.space import Space, load_space
from search.trial.row import EpochRow
from search.trial.task import TrialTask, task_for
from search.trial.training import run_trial

BACKGROUND_ID = "background"  # in place of "trial-0007"; also the name of its folder in the run's


@dataclass(frozen=True, kw_only=True)
class BackgroundSpec:
    """A user's request to measure trials beside a background load.

    Attributes:
        space: The space whose default configuration is the load.
        share: Fraction of the GPU for the load; None means what the trials leave, or half.
    """

    space: Space
    share: float | None = None


def background_spec(source: str | None, share: float | None, *, is_here: bool) -> BackgroundSpec | None:
    """The request for a load by the name of its space; None without a name.

    Args:
        is_here: The trials run on this machine.

    Raises:
        SpaceError: The workload's space cannot be used.
        SessionError: The settings contradict each other.
    """
    if source is None:
        if share is not None:
            raise SessionError("--background-share sets how much --background SPACE takes: give both")
        return None
    if not is_here:
        raise SessionError("--background loads this machine's device: leave --address out")
    return BackgroundSpec(space=load_space(source, may_be_fixed=True), share=share)


@dataclass(frozen=True, kw_only=True)
class Background:
    """The load and what it reserves.

    Attributes:
        name: Name of its space.
    """

    name: str
    task: TrialTask

    @property
    def note(self) -> str:
        """The note in the row of each trial."""
        task = self.task
        place = f"{task.gpus:g} of the same GPU" if task.gpus else f"{task.cpus:g} cores of the same CPUs"
        return f"{self.name} was trained repeatedly on {place}, as asked"

    def shared_text(self, workers: int | None) -> str:
        """How the load shares the device with `workers` trials at a time, printed when a run begins."""
        gpus = f" and {self.task.gpus:g} of the GPU" if self.task.gpus else ""
        return (
            f"background: {self.name} trains on {counted(self.task.cpus, 'CPU')}{gpus}, "
            f"beside {counted(workers or 1, 'trial')} at a time; the first begins after its first epoch"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the journal."""
        task = self.task
        return {
            "space": self.name,
            "trainable": task.trainable.plain,
            "hparams": dict(task.hparams),
            "gpus": task.gpus,
            "cpus": task.cpus,
        }


def background_of(space: Space, *, gpus: float, folder: Path) -> Background:
    """The default configuration of `space` as a load that reserves `gpus` of a GPU and its space's cores.

    Args:
        folder: The run's folder; only the load's log is written there.
    """
    resources = space.resources.model_copy(update={"gpus_per_trial": gpus})
    task = task_for(
        replace(space, resources=resources),
        trial_id=BACKGROUND_ID,
        hparams=space.default_hparams(space.trainable.load()),
        seed=space.training.seed,
        folder=folder / BACKGROUND_ID,
    )
    return Background(name=space.name, task=task)


def endless_rows(task: TrialTask, meter: EnergyMeter) -> Iterator[EpochRow]:
    """Train up the task's ladder over and over, for as long as rows are consumed.

    Nothing is saved, and each training repeats the one before: the same seed, the same work.
    """
    with meter.starting():
        trainable, hparams = task.load()
    while True:
        yield from run_trial(trainable, hparams, task.ladder, task.context(), meter, metric=task.metric)
