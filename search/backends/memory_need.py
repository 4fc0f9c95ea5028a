"""Predict a trial's memory from what similar trials were measured to need.

Two trials are alike in memory if everything that decides the size of a training is equal. For the program's
own trainables this is model, optimiser, batch size and image resolution. Nothing is known about a user's
script or file, so there every value counts except fractions, which are rates far more often than sizes.

Without a similar trial, one that had no less of everything counted is an upper bound: a batch of 64 needs no
more than one of 128 did. Without any such trial nothing is known, and nothing is guessed: a trial with too
small a share takes its neighbours' memory, and they fail with it. This is also why the two steps that a
forecast tries do not count here: an epoch's peak is often in its scoring.

Trials of earlier runs count from the start, if they trained the same on the same kind of device.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.budget import Ladder
from search.ledger.history import TrialRecord
from search.ledger.journal import LedgerError
from search.ledger.run_folder import RunFolder, runs_in
from search.space import Space, SpaceError
from search.space.record import is_same_code
from trainables.core.contract import UnknownTrainable

# Above the largest measurement: samples miss peaks shorter than 0.05 s, and allocators vary between epochs.
HEADROOM = 1.1
_MOST_RUNS = 16  # that are looked at: reading a thousand spaces would hold up the start for seconds
_OWN_WORDS, _OWN_SIZES = {"model", "optimizer"}, {"batch_size"}


@dataclass(frozen=True)
class Kind:
    """What decides a training's memory.

    Attributes:
        words: Hyperparameters that must be equal.
        sizes: Hyperparameters that need no less memory when larger, and the image resolution.
    """

    words: tuple[tuple[str, str], ...]
    sizes: tuple[tuple[str, int], ...]

    def is_within(self, other: Kind) -> bool:
        """Return whether it needs no more than `other`."""
        names = [name for name, _ in self.sizes]
        return (
            self.words == other.words
            and names == [name for name, _ in other.sizes]
            and all(mine <= its for (_, mine), (_, its) in zip(self.sizes, other.sizes, strict=True))
        )


@dataclass(frozen=True)
class MemoryNeed:
    """The memory that a trial needs on its device.

    Attributes:
        is_measured: Whether it was measured on similar trials; otherwise it is an upper bound.
    """

    mib: float
    is_measured: bool


class MemoryNeeds:
    """What kinds of trials need, in MiB; depends on what was added, but not on the order."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._is_own = space.trainable.command is None and space.trainable.path is None
        self._known: dict[Kind, float] = {}

    def add_all(self, trials: Iterable[TrialRecord], ladder: Ladder) -> None:
        """Add what a journal has about these trials, which trained on this ladder."""
        for trial in trials:
            for row in trial.rows:
                self.add_measured(trial.hparams, ladder.rungs[row.rung].resolution, row.memory_mib)
            for move in trial.moves:
                self.add(trial.hparams, ladder.rungs[move["rung"]].resolution, move["memory_mib"])

    def add_earlier(self, folder: Path) -> list[str]:
        """Add the packed runs that trained alike among the newest beside `folder`, and return their names."""
        newest = [other for other in runs_in(folder.parent) if other.resolve() != folder.resolve()]
        return [other.name for other in newest[:_MOST_RUNS] if self._add_run(other)]

    def _add_run(self, folder: Path) -> bool:
        """Add a run if it tells what trials of this space need, and return whether it does."""
        try:
            run = RunFolder(folder)
            before = run.read_space()
            if not self._needs_alike(before, folder):
                return False
            trials = run.read_history().trials.values()
            self.add_all(trials, before.ladder)
            return any(trial.memory_mib is not None for trial in trials)
        except (LedgerError, SpaceError, UnknownTrainable, OSError, KeyError):
            return False  # from another version, or damaged: its trials are measured again

    def _needs_alike(self, before: Space, folder: Path) -> bool:
        """Return whether the run measured the same code on the same data and the same kind of device."""

        def settings(space: Space) -> object:
            resources = space.resources
            is_on_gpu = bool(resources.gpus_per_trial)
            return space.data, space.training, resources.pack, is_on_gpu, resources.cores_per_trial

        return settings(before) == settings(self._space) and is_same_code(
            folder, before.trainable, self._space.trainable
        )

    def add_measured(
        self, hparams: Mapping[str, Any], resolution: int | None, memory_mib: float | None
    ) -> None:
        """Add the peak measured for a trial with images of this resolution; None means not measured."""
        self.add(hparams, resolution, None if memory_mib is None else memory_mib * HEADROOM)

    def add(self, hparams: Mapping[str, Any], resolution: int | None, need_mib: float | None) -> None:
        """Add what a trial needs at least; None adds nothing."""
        if need_mib is not None:
            kind = self._kind(hparams, resolution)
            self._known[kind] = max(need_mib, self._known.get(kind, 0.0))

    def need(self, hparams: Mapping[str, Any], resolution: int | None) -> MemoryNeed | None:
        """Return what such a trial needs with images of this resolution in pixels; None if unknown."""
        kind = self._kind(hparams, resolution)
        if kind in self._known:
            return MemoryNeed(self._known[kind], is_measured=True)
        bounds = [mib for other, mib in self._known.items() if kind.is_within(other)]
        return MemoryNeed(min(bounds), is_measured=False) if bounds else None

    def _kind(self, hparams: Mapping[str, Any], resolution: int | None) -> Kind:
        words, sizes = {}, {"": resolution or 0}
        for name, value in hparams.items():
            is_word = isinstance(value, bool) or not isinstance(value, int | float)
            if is_word and (not self._is_own or name in _OWN_WORDS):
                words[name] = json.dumps(value, sort_keys=True)
            elif not is_word and isinstance(value, int) and (not self._is_own or name in _OWN_SIZES):
                sizes[name] = value
        return Kind(tuple(sorted(words.items())), tuple(sorted(sizes.items())))
