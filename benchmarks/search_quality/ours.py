"""Our own sampler and rungs, as `search.run` uses them, without the ledger."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.search_quality.simulate import Answer, Asked
from benchmarks.search_quality.table import Table
from search.budget import Ladder
from search.freeze_thaw.sampler import FreezeThawSampler
from search.run.scheduler import TrialScheduler
from search.rungs import Kind
from search.sampling.proposal import Proposal
from search.sampling.sampler import OptunaSampler
from search.space import Real, Sampler, Scheduler, Space, load_space
from search.space.parameters import identity
from trainables.core.contract import Budget

_ETA = 3
_SPACES = Path(__file__).resolve().parents[2] / "spaces"


@dataclass(frozen=True)
class Setup:
    """One way to set up our search.

    Attributes:
        lowest: Epochs of the lowest rung; each further rung has eta times as many.
        control_fraction: Fraction of the epochs that control trials may take.
        skip_weak_rungs: Whether to start new trials above a rung whose ranking proves weak.
    """

    kind: Kind = "asha"
    sampler: Sampler = "tpe"
    lowest: int = 1
    control_fraction: float = Scheduler().control_fraction
    skip_weak_rungs: bool = Scheduler().skip_weak_rungs

    @property
    def name(self) -> str:
        controls = "" if self.control_fraction else ", no control trials"
        skips = ", skipping weak rungs" if self.skip_weak_rungs else ""
        sampler = "" if self.kind == "freeze_thaw" else f", {self.sampler}"
        return f"ours: {self.kind} from {self.lowest}{sampler}{controls}{skips}"

    def contender(self, table: Table, seed: int, num_epochs: int) -> Ours:
        """Our search of `table`. A table has no default configuration: trial 0 is a random point."""
        space = self.space(table, seed)
        return Ours(space, default_of(space))

    def space(self, table: Table, seed: int) -> Space:
        """The space of a search of `table`."""
        ladder = Ladder(tuple(Budget(epochs=epochs) for epochs in rungs_from(self.lowest, table.num_epochs)))
        return replace(
            _any_space().with_training(seed=seed),
            parameters={f"x{index}": Real(0.0, 1.0) for index in range(table.num_dimensions)},
            ladder=ladder.with_pauses() if self.kind == "freeze_thaw" else ladder,
            scheduler=Scheduler(
                mode=self.kind,
                eta=_ETA,
                control_fraction=self.control_fraction,
                skip_weak_rungs=self.skip_weak_rungs,
            ),
            sampler=self.sampler,
        )


_KINDS: tuple[Kind, ...] = ("asha", "asha_stopping", "pasha")
_SAMPLERS: tuple[Sampler, ...] = ("tpe", "random")
SETUPS = [
    *(Setup(*choice) for choice in itertools.product(_KINDS, _SAMPLERS, (1, 3))),
    Setup(control_fraction=0.0),
    Setup(skip_weak_rungs=True),
    Setup("freeze_thaw"),
    Setup("freeze_thaw", skip_weak_rungs=True),
]


def default_of(space: Space) -> dict[str, Any]:
    """The random point of trial 0 in a search of a table."""
    draw = random.Random(space.training.seed)
    return {name: draw.random() for name in space.parameters}


def rungs_from(lowest: int, top: int) -> list[int]:
    """Epochs of each rung: `lowest` times powers of eta, with `top` in place of those near or above it."""
    rungs = [lowest]
    while rungs[-1] * _ETA * 1.5 <= top:  # a last step by a factor below 1.5 would decide little
        rungs.append(rungs[-1] * _ETA)
    return [*rungs, top]


@lru_cache(maxsize=1)
def _any_space() -> Space:
    return load_space("curves.yaml", spaces_dir=_SPACES)


class PlacedSampler(OptunaSampler):
    """The search's sampler, which accepts that a trial's point differs from the proposed one."""

    def place(self, trial_id: str, proposed: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
        """Treat `hparams` as if they had been proposed."""
        if hparams == proposed:
            return
        self.finish(trial_id, "failed")  # teaches nothing
        self._seen.discard(identity(proposed))
        self._take(trial_id, hparams)


class PlacedFreezeThaw(FreezeThawSampler):
    """The freeze-thaw search, which registers a new trial once its actual point is known."""

    def ask(self, trial_id: str) -> Proposal | None:
        self._is_placed = False
        return super().ask(trial_id)

    def place(self, trial_id: str, proposed: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
        """Treat `hparams` as the proposal."""
        self._is_placed = True
        self._take(trial_id, hparams)

    def _take(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        if self._is_placed:
            super()._take(trial_id, hparams)


class Ours:
    """A search of `space`; a trial's point is its searched hparams in the space's order.

    Args:
        num_trials: Maximum number of trials.
    """

    def __init__(self, space: Space, defaults: Mapping[str, Any], *, num_trials: int | None = None) -> None:
        self.space, self._num_trials = space, num_trials
        is_thawing = space.scheduler.mode == "freeze_thaw"
        self._sampler = (PlacedFreezeThaw if is_thawing else PlacedSampler)(space, defaults)
        self._chooser = self._sampler if isinstance(self._sampler, PlacedFreezeThaw) else None
        self._scheduler = TrialScheduler(space, self._sampler)
        self._rungs = self._scheduler.rungs
        self._hparams: dict[str, Mapping[str, Any]] = {}

    def next_trial(self) -> Asked | None:
        has_room = len(self._hparams) != self._num_trials
        if (paused := self._scheduler.choose_paused(may_start=has_room)) is not None:
            self._scheduler.on_resumed(paused, self._hparams[paused], "promoted")
            return self._asked(paused)
        if not has_room:
            return None
        trial_id = f"trial-{len(self._hparams):04d}"
        proposal = self._sampler.ask(trial_id)
        if proposal is None:
            return None
        self._rungs.on_asked(trial_id, len(self._hparams))
        self._hparams[trial_id] = proposal.hparams
        return self._asked(trial_id)

    def on_placed(self, trial_id: str, point: Sequence[float]) -> None:
        hparams = {**self._hparams[trial_id], **dict(zip(self.space.parameters, point, strict=True))}
        self._sampler.place(trial_id, self._hparams[trial_id], hparams)
        if hparams != self._hparams[trial_id]:  # an equal point keeps its own types: `row` is an integer
            self._hparams[trial_id] = hparams

    def on_epoch(self, trial_id: str, epoch: int, accuracy: float) -> Answer:
        self._rungs.on_epoch(trial_id, accuracy)
        rung = self.space.ladder.rung_completed_at(epoch)
        if self._chooser:
            self._chooser.on_epoch(trial_id, epoch, accuracy, ended_rung=rung)
        if rung is None:
            if not self._scheduler.pauses_after(trial_id, epoch):
                return "continue"
            self._sampler.finish(trial_id, "paused")
            return "pause"
        self._sampler.report(trial_id, rung, accuracy)
        decision = self._rungs.on_result(trial_id, rung, accuracy)
        answer: Answer = "continue" if decision == "control" else decision
        if epoch == self.space.ladder.top.epochs:
            self._sampler.finish(trial_id, "finished")
        elif answer != "continue":
            self._sampler.finish(trial_id, "paused" if answer == "pause" else "stopped")
        return answer

    def _asked(self, trial_id: str) -> Asked:
        return Asked(trial_id, [self._hparams[trial_id][name] for name in self.space.parameters])
